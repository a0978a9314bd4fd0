//! What a person at a terminal sees while the logs are loaded: a bar on standard error, which goes when they are.
//!
//! Invariant: without a terminal, in the background, or with a log for programs nothing is drawn; the log's own lines say how far it is.
//! Invariant: the bar and the log's lines share the terminal: a line is written in its place, and the bar drawn again below.

use std::io::{IsTerminal, Write};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::storage::load_progress::{LoadProgress, Loaded};

/// A start that is over sooner shows nothing.
const PATIENCE: Duration = Duration::from_millis(300);
const REDRAW: Duration = Duration::from_millis(100);

/// The bar that is on the terminal.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

fn shown() -> Option<ProgressBar> {
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Standard error, beside the bar.
pub(super) struct LogLines;

impl Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match shown() {
            Some(bar) => bar.suspend(|| std::io::stderr().write(bytes)),
            None => std::io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// The bar, drawn by a thread of its own until it is dropped.
pub(super) struct LoadBar {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl LoadBar {
    /// A bar of `progress` if there is someone to look at it.
    pub(super) fn on_terminal(progress: &Arc<LoadProgress>) -> Option<LoadBar> {
        let stderr = std::io::stderr();
        let in_foreground = rustix::termios::tcgetpgrp(&stderr).is_ok_and(|group| group == rustix::process::getpgrp());
        (stderr.is_terminal() && in_foreground).then(|| LoadBar::start(Arc::clone(progress), ProgressDrawTarget::stderr(), PATIENCE))
    }

    fn start(progress: Arc<LoadProgress>, target: ProgressDrawTarget, patience: Duration) -> LoadBar {
        let (stop, stopped) = mpsc::channel();
        progress.is_shown.store(true, Ordering::Relaxed);
        let show = move || {
            if stopped.recv_timeout(patience) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let bar = bar(target);
            *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
            loop {
                draw(&bar, progress.now());
                if stopped.recv_timeout(REDRAW) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
            *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = None;
            bar.finish_and_clear();
        };
        let thread = std::thread::Builder::new().name("load-bar".to_owned()).spawn(show).ok();
        LoadBar { stop: Some(stop), thread }
    }
}

impl Drop for LoadBar {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn bar(target: ProgressDrawTarget) -> ProgressBar {
    let style = ProgressStyle::with_template("Loading logs {bar:40} {pos}/{len} {msg}");
    ProgressBar::with_draw_target(Some(0), target).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn draw(bar: &ProgressBar, now: Loaded) {
    if now.logs_found == 0 {
        return;
    }
    bar.set_length(now.logs_found);
    bar.set_position(now.logs_loaded);
    if now.segments_recovered > 0 {
        bar.set_message(format!("recovery has read {} of {} segments", HumanBytes(now.bytes_recovered), now.segments_recovered));
    }
    bar.tick();
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::{InMemoryTerm, TermLike};

    fn terminal() -> (InMemoryTerm, ProgressDrawTarget) {
        let terminal = InMemoryTerm::new(5, 120);
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        (terminal, target)
    }

    #[test]
    fn the_bar_says_how_many_logs_are_loaded_and_what_recovery_read() {
        let (terminal, target) = terminal();
        let bar = bar(target);
        draw(&bar, Loaded::default());
        assert_eq!(terminal.contents(), "");
        draw(&bar, Loaded { logs_found: 40, logs_loaded: 20, ..Loaded::default() });
        assert_eq!(terminal.contents().trim_end(), format!("Loading logs {}{} 20/40", "█".repeat(20), "░".repeat(20)));
        draw(&bar, Loaded { logs_found: 40, logs_loaded: 40, segments_recovered: 3, bytes_recovered: 3 << 20 });
        assert!(terminal.contents().ends_with("40/40 recovery has read 3.00 MiB of 3 segments"), "{}", terminal.contents());
        bar.finish_and_clear();
        assert_eq!(terminal.contents(), "");
    }

    #[test]
    fn it_goes_when_loading_is_over() {
        let (terminal, target) = terminal();
        let progress = Arc::new(LoadProgress::default());
        progress.logs_found.store(7, Ordering::Release);
        let shown = LoadBar::start(Arc::clone(&progress), target, Duration::ZERO);
        while !terminal.contents().contains("0/7") {
            std::thread::yield_now();
        }
        assert!(progress.is_shown.load(Ordering::Relaxed));
        drop(shown);
        assert_eq!(terminal.contents(), "");
        assert!(terminal.width() > 0);
    }
}
