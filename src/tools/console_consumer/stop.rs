//! What ends reading from outside: Ctrl-C or SIGTERM, or a reader of standard output that went away.

use tokio::sync::watch;

/// How far the end is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Ending {
    #[default]
    No,
    /// Nobody reads standard output any more.
    HangUp,
    /// A signal; the exit code of Kafka's tool for it.
    Signal(u8),
    /// A second signal: do not even tidy up.
    Again,
}

/// Hears of the end.
#[derive(Clone, Debug)]
pub(super) struct Stop {
    ending: watch::Receiver<Ending>,
}

impl Stop {
    /// Starts to listen. Must be called within the runtime.
    pub(super) fn listen() -> anyhow::Result<Stop> {
        let (sender, ending) = watch::channel(Ending::No);
        listen_for_signals(sender.clone())?;
        watch_output(sender);
        Ok(Stop { ending })
    }

    pub(super) fn now(&self) -> Ending {
        *self.ending.borrow()
    }

    /// Comes back at the end.
    pub(super) async fn wait(&self) -> Ending {
        self.until(|ending| *ending != Ending::No).await
    }

    /// Comes back at the second signal.
    pub(super) async fn wait_for_second_signal(&self) {
        self.until(|ending| *ending == Ending::Again).await;
    }

    async fn until(&self, reached: impl FnMut(&Ending) -> bool) -> Ending {
        let mut ending = self.ending.clone();
        match ending.wait_for(reached).await {
            Ok(ending) => *ending,
            // Nobody is left who could stop this.
            Err(_) => std::future::pending().await,
        }
    }
}

fn signalled(sender: &watch::Sender<Ending>, exit: u8) {
    sender.send_modify(|ending| {
        *ending = if matches!(ending, Ending::Signal(_) | Ending::Again) { Ending::Again } else { Ending::Signal(exit) }
    });
}

#[cfg(unix)]
fn listen_for_signals(sender: watch::Sender<Ending>) -> anyhow::Result<()> {
    use anyhow::Context;
    use tokio::signal::unix::{SignalKind, signal};
    for (kind, exit) in [(SignalKind::interrupt(), 130), (SignalKind::terminate(), 143)] {
        let mut signals = signal(kind).context("cannot listen for signals")?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                signalled(&sender, exit);
            }
        });
    }
    Ok(())
}

#[cfg(not(unix))]
fn listen_for_signals(sender: watch::Sender<Ending>) -> anyhow::Result<()> {
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            signalled(&sender, 130);
        }
    });
    Ok(())
}

/// Waits, on a thread of its own that ends with the process, until the other end of standard output is closed.
#[cfg(unix)]
fn watch_output(sender: watch::Sender<Ending>) {
    use rustix::event::{PollFd, PollFlags, poll};
    std::thread::spawn(move || {
        let output = std::io::stdout();
        let gone = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
        loop {
            // Asked for nothing, poll reports errors and hang-ups only.
            let mut watched = [PollFd::new(&output, PollFlags::empty())];
            match poll(&mut watched, None) {
                Ok(_) if watched[0].revents().intersects(gone) => break,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
        sender.send_if_modified(|ending| {
            let first = *ending == Ending::No;
            if first {
                *ending = Ending::HangUp;
            }
            first
        });
    });
}

#[cfg(not(unix))]
fn watch_output(_sender: watch::Sender<Ending>) {}
