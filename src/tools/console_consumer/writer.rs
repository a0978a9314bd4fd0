//! A thread that writes to standard output, so that records are fetched and formatted meanwhile, and a reader that stalls keeps nobody
//! from hearing a signal.

use std::io::{self, Write};
use std::sync::mpsc as std_mpsc;

use tokio::sync::{mpsc, oneshot, watch};

/// Buffers on their way to the thread: one is written while the next is filled.
const QUEUED: usize = 2;

pub(super) struct Writer {
    buffers: mpsc::Sender<Vec<u8>>,
    /// How many buffers were written whole.
    written: watch::Receiver<u64>,
    sent: u64,
    /// Written buffers, to be filled again.
    empty: std_mpsc::Receiver<Vec<u8>>,
    done: oneshot::Receiver<(Box<dyn Write + Send>, io::Result<()>)>,
}

/// The thread has ended, by an error that [`Writer::finish`] tells.
#[derive(Debug)]
pub(super) struct Broken;

impl Writer {
    pub(super) fn start(mut out: Box<dyn Write + Send>) -> Writer {
        let (buffers, mut filled) = mpsc::channel::<Vec<u8>>(QUEUED);
        let (progress, written) = watch::channel(0u64);
        let (back, empty) = std_mpsc::channel();
        let (end, done) = oneshot::channel();
        std::thread::spawn(move || {
            let mut result = Ok(());
            while let Some(mut buffer) = filled.blocking_recv() {
                result = out.write_all(&buffer).and_then(|()| out.flush());
                if result.is_err() {
                    break;
                }
                progress.send_modify(|written| *written += 1);
                buffer.clear();
                // Nobody fills buffers any more when the end is near.
                let _ = back.send(buffer);
            }
            drop(filled);
            drop(progress);
            let _ = end.send((out, result));
        });
        Writer { buffers, written, sent: 0, empty, done }
    }

    /// Queues what is in `buffer` and leaves an empty one. May be dropped: then the buffer is as it was.
    pub(super) async fn send(&mut self, buffer: &mut Vec<u8>) -> Result<(), Broken> {
        if buffer.is_empty() {
            return Ok(());
        }
        let permit = self.buffers.reserve().await.map_err(|_| Broken)?;
        let next = self.empty.try_recv().unwrap_or_default();
        permit.send(std::mem::replace(buffer, next));
        self.sent += 1;
        Ok(())
    }

    /// Waits until all that was sent is written.
    pub(super) async fn drain(&mut self) -> Result<(), Broken> {
        let sent = self.sent;
        self.written.wait_for(|written| *written == sent).await.map(|_| ()).map_err(|_| Broken)
    }

    /// Waits for the end of the thread; gives back the output, and the error that ended writing.
    pub(super) async fn finish(self) -> (Box<dyn Write + Send>, io::Result<()>) {
        drop(self.buffers);
        match self.done.await {
            Ok(result) => result,
            Err(_) => (Box::new(io::sink()), Err(io::Error::other("the thread that writes ended"))),
        }
    }
}
