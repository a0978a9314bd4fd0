//! Standard input in blocks of whole lines.
//!
//! A thread reads, because a read of standard input cannot be given up; the tool takes the blocks, as they come, from a short queue.
//!
//! Invariant: a block ends with the end of a line, except the last one. What a terminal or pipe gives is passed on at once, never kept
//! until a block is full.

use std::io::{self, Read};

use memchr::{memchr2, memrchr2};
use tokio::sync::mpsc;

/// Bytes asked for at once.
const CHUNK: usize = 256 * 1024;
/// Blocks that wait for the tool.
const WAITING: usize = 8;
/// The longest line. No broker takes a record of that size; without a limit, input without line ends would take all memory.
const LONGEST: usize = 1 << 30;

/// The blocks to come.
pub(super) struct Blocks {
    blocks: mpsc::Receiver<io::Result<Vec<u8>>>,
    used: std::sync::mpsc::Sender<Vec<u8>>,
}

impl Blocks {
    /// Starts to read. The thread ends with the input, or with the process.
    pub(super) fn read(input: impl Read + Send + 'static) -> io::Result<Blocks> {
        let (sender, blocks) = mpsc::channel(WAITING);
        let (used, reusable) = std::sync::mpsc::channel();
        std::thread::Builder::new().name("stdin".to_owned()).spawn(move || pump(input, &sender, &reusable, LONGEST))?;
        Ok(Blocks { blocks, used })
    }

    /// The next block; `None` at the end. May be given up and asked again.
    pub(super) async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.blocks.recv().await.transpose()
    }

    /// Gives a block's memory back.
    pub(super) fn done(&self, block: Vec<u8>) {
        // At the end of the input nobody wants it.
        let _ = self.used.send(block);
    }
}

fn pump(mut input: impl Read, blocks: &mpsc::Sender<io::Result<Vec<u8>>>, reusable: &std::sync::mpsc::Receiver<Vec<u8>>, longest: usize) {
    let mut block = Vec::new();
    loop {
        let start = block.len();
        block.resize(start + CHUNK, 0);
        let count = match input.read(&mut block[start..]) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                block.truncate(start);
                continue;
            }
            Err(error) => {
                let _ = blocks.blocking_send(Err(error));
                return;
            }
        };
        block.truncate(start + count);
        if count == 0 {
            if !block.is_empty() {
                let _ = blocks.blocking_send(Ok(block));
            }
            return;
        }
        if let Some(last) = memrchr2(b'\n', b'\r', &block[start..]) {
            let mut next: Vec<u8> = reusable.try_recv().unwrap_or_default();
            next.clear();
            next.extend_from_slice(&block[start + last + 1..]);
            block.truncate(start + last + 1);
            if blocks.blocking_send(Ok(std::mem::replace(&mut block, next))).is_err() {
                return;
            }
        } else if block.len() > longest {
            let _ = blocks.blocking_send(Err(io::Error::other(format!("a line is longer than {longest} bytes"))));
            return;
        }
    }
}

/// Cuts blocks into lines as Java's `BufferedReader` does: `\n`, `\r` and `\r\n` end a line.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The line before ended in `\r`, so that a `\n` now belongs to that.
    after_return: bool,
}

impl Lines {
    /// Takes the next line off the front of what is left of a block. Only the last block may end without the end of a line.
    pub(super) fn next<'a>(&mut self, rest: &mut &'a [u8]) -> Option<&'a [u8]> {
        // At the end of a block the answer lies in the next one.
        if !rest.is_empty()
            && std::mem::take(&mut self.after_return)
            && let Some(after) = rest.strip_prefix(b"\n")
        {
            *rest = after;
        }
        if rest.is_empty() {
            return None;
        }
        let Some(end) = memchr2(b'\n', b'\r', rest) else { return Some(std::mem::take(rest)) };
        let (line, after) = rest.split_at(end);
        self.after_return = after[0] == b'\r';
        *rest = &after[1..];
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its pieces one read at a time.
    struct Pieces(Vec<&'static [u8]>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let piece = self.0.remove(0);
            if piece.is_empty() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            buffer[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    async fn lines(pieces: &[&'static [u8]]) -> Vec<String> {
        let mut blocks = Blocks::read(Pieces(pieces.to_vec())).unwrap();
        let mut lines = Lines::default();
        let mut found = Vec::new();
        while let Some(block) = blocks.next().await.unwrap() {
            let mut rest = block.as_slice();
            while let Some(line) = lines.next(&mut rest) {
                found.push(String::from_utf8(line.to_vec()).unwrap());
            }
            blocks.done(block);
        }
        found
    }

    #[tokio::test]
    async fn lines_end_as_in_java() {
        assert_eq!(lines(&[b"a\nb\r\nc\rd\n\n\re"]).await, ["a", "b", "c", "d", "", "", "e"]);
        assert_eq!(lines(&[b"a\n"]).await, ["a"]);
        assert_eq!(lines(&[b"\n"]).await, [""]);
        assert_eq!(lines(&[b"\r\n"]).await, [""]);
        assert!(lines(&[]).await.is_empty());
    }

    #[tokio::test]
    async fn a_line_may_come_in_pieces() {
        assert_eq!(lines(&[b"on", b"e\ntw", b"o", b"", b"\r", b"\nthree\r", b"four"]).await, ["one", "two", "three", "four"]);
    }

    #[tokio::test]
    async fn input_without_line_ends_is_refused_at_some_length() {
        let (sender, mut receiver) = mpsc::channel(4);
        let (_used, reusable) = std::sync::mpsc::channel();
        std::thread::spawn(move || pump(Pieces(vec![b"short\n", b"0123456789", b"0"]), &sender, &reusable, 10));
        assert_eq!(receiver.recv().await.unwrap().unwrap(), b"short\n");
        assert!(receiver.recv().await.unwrap().is_err());
        assert!(receiver.recv().await.is_none());
    }
}
