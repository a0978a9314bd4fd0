//! How much was read, on standard error: for those who send the records elsewhere and wait.

use std::time::Duration;

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use tokio::time::Instant;

use crate::tools::session::Session;

/// A line that is brought up to date more often only costs time.
const EVERY: Duration = Duration::from_millis(100);

pub(super) struct Progress {
    bar: Option<ProgressBar>,
    started: Instant,
    shown: Instant,
    records: u64,
    bytes: u64,
}

impl Progress {
    /// Shown only where standard error is a terminal and the records go elsewhere.
    pub(super) fn new(session: &Session) -> Progress {
        let wanted = session.terminals.stderr && !session.terminals.stdout && !session.quiet() && !session.compat();
        let now = Instant::now();
        Progress { bar: wanted.then(ProgressBar::new_spinner), started: now, shown: now, records: 0, bytes: 0 }
    }

    /// How many offsets there are to read, once that is known.
    pub(super) fn expect(&self, offsets: u64) {
        if let Some(bar) = &self.bar
            && let Ok(style) = ProgressStyle::with_template("{spinner} {wide_bar} {percent}% {msg}")
        {
            bar.set_length(offsets);
            bar.set_style(style);
        }
    }

    /// Adds what was read.
    pub(super) fn add(&mut self, records: u64, bytes: u64) {
        let Some(bar) = &self.bar else { return };
        self.records += records;
        self.bytes += bytes;
        if self.shown.elapsed() >= EVERY {
            self.shown = Instant::now();
            let per_second = self.bytes as f64 / self.started.elapsed().as_secs_f64().max(0.001);
            bar.set_position(self.records);
            bar.set_message(format!(
                "{} records, {}, {}/s",
                HumanCount(self.records),
                HumanBytes(self.bytes),
                HumanBytes(per_second as u64)
            ));
            bar.tick();
        }
    }

    /// Takes the line away.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
