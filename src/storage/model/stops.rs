//! How a history stops, and how it goes on: clean stops, kills, power cuts, failures of the disk.

use std::io::ErrorKind;
use std::path::PathBuf;

use super::invariants::{self, Found};
use super::{Expected, Model};
use crate::storage::fs;
use crate::storage::fs::faults;
use crate::storage::log::Log;

impl Model {
    pub(super) fn stop_cleanly(&mut self) {
        self.flush().expect("flushed");
        self.has_unsynced_rolled = false;
        let log = self.log.take().expect("open");
        log.close().expect("closed");
        self.expected.checkpointed_start = self.expected.log_start_offset;
        let (recovery_point, cleaned_to) = (log.recovery_point(), log.cleaning().cleaned_to());
        drop(log);
        if self.random.one_in(4) {
            invariants::a_log_that_was_closed_is_sound(self);
        }
        if self.random.one_in(2) {
            self.cut_power();
        }
        self.reopen(recovery_point, cleaned_to, true, true);
    }

    /// The process ends; the system still has what was written.
    pub(super) fn kill(&mut self) {
        let (recovery_point, cleaned_to) = self.close_abruptly();
        match self.random.below(4) {
            0 => self.lose_a_file(),
            1 => self.tear_the_end(),
            _ => {}
        }
        self.reopen(recovery_point, cleaned_to, false, true);
    }

    pub(super) fn lose_power(&mut self) {
        if self.is_compacted() {
            self.log().flush_rolled().expect("flushed");
        }
        let (recovery_point, cleaned_to) = self.close_abruptly();
        self.cut_power();
        self.reopen(recovery_point, cleaned_to, false, false);
    }

    /// A step in the middle of which the disk begins to fail; a restart follows when that is over, with the power gone in between or not.
    pub(super) fn fail(&mut self) {
        let before = self.expected;
        let most = if self.random.one_in(3) { 80 } else { 12 };
        let operations = self.random.below(most);
        faults::fail_with(operations, if self.random.one_in(2) { ErrorKind::StorageFull } else { ErrorKind::Other });
        let done = self.step();
        faults::clear();
        if done.is_err() {
            self.expect_half_of_a_step(before);
        }
        self.restart_after_a_failure();
    }

    /// Some steps while there is space for so much only. What finds none leaves the log as it was, and in use.
    pub(super) fn fill_up(&mut self) {
        faults::leave_space(self.random.below(1200));
        for _ in 0..=self.random.below(4) {
            let (before, end) = (self.expected, self.log().log_end_offset());
            let Err(error) = self.step() else { continue };
            self.refused += 1;
            self.expect_half_of_a_step(before);
            if !self.log().is_online() {
                // A truncation comes to its end, or the log to its.
                faults::clear();
                return self.restart_after_a_failure();
            }
            assert!(error.is_full(), "{error}");
            let log = self.log.take().expect("open");
            assert_eq!(log.log_end_offset(), end, "a step without space has changed something");
            self.expected.synced_end = log.recovery_point();
            let found = self.check(&log, self.expected);
            self.go_on_from(log, &found);
        }
        faults::clear();
        if self.random.one_in(3) {
            self.restart_after_a_failure();
        }
    }

    fn expect_half_of_a_step(&mut self, before: Expected) {
        self.expected = Expected {
            synced_end: before.synced_end.min(self.expected.synced_end),
            log_end_offset: before.log_end_offset.max(self.expected.log_end_offset),
            checkpointed_start: before.checkpointed_start,
            log_start_offset: self.expected.log_start_offset,
        };
        self.may_end_at = self.may_end_at.max(self.expected.log_end_offset);
    }

    fn restart_after_a_failure(&mut self) {
        let (recovery_point, cleaned_to) = self.close_abruptly();
        if self.random.one_in(2) {
            self.cut_power();
        }
        self.reopen(recovery_point, cleaned_to, false, false);
    }

    /// Not while a compacted log has rolled segments that are not synced, as it has for a moment: the cut may take one and leave the next, and
    /// nothing tells such a gap from those that Apache Kafka's compaction leaves.
    fn cut_power(&mut self) {
        if self.is_compacted() && self.has_unsynced_rolled {
            return;
        }
        self.disk.cut_power(&mut self.random);
        self.came_back_to = self.came_back_to.max(std::mem::take(&mut self.may_end_at));
    }

    /// What the checkpoints of recovery point and compaction may hold.
    fn close_abruptly(&mut self) -> (i64, Option<i64>) {
        let log = self.log.take().expect("open");
        let reached = log.recovery_point();
        // By the files, since a roll that failed may have left one that the log does not know of.
        let bases = fs::list(&log.dir()).expect("listed").into_iter().filter(|path| path.extension().is_some_and(|it| it == "log"));
        let newest: Option<i64> = bases.filter_map(|path| path.file_stem()?.to_str()?.parse().ok()).max();
        self.has_unsynced_rolled = newest.is_some_and(|base_offset| reached < base_offset);
        let safe = reached.min(self.expected.log_end_offset).min(self.cutting_at.take().unwrap_or(i64::MAX));
        self.expected.synced_end = self.expected.synced_end.max(safe);
        let recovery_point = if self.random.one_in(3) { 0 } else { reached };
        (recovery_point, log.cleaning().cleaned_to().filter(|_| !self.random.one_in(3)))
    }

    /// What recovery makes anew: an index, a snapshot.
    fn lose_a_file(&mut self) {
        let paths: Vec<PathBuf> = fs::list(&self.dir()).expect("listed");
        let is_derived = |path: &&PathBuf| path.extension().is_some_and(|it| it == "index" || it == "timeindex" || it == "snapshot");
        let derived: Vec<&PathBuf> = paths.iter().filter(is_derived).collect();
        if derived.is_empty() {
            return;
        }
        let path = derived[self.random.below(derived.len() as u64) as usize];
        match self.random.below(3) {
            0 => fs::remove_file(path).expect("removed"),
            1 => fs::write(path, &[]).expect("written"),
            _ => fs::write(path, &[0; 24]).expect("written"),
        }
    }

    /// A write that came to no end.
    fn tear_the_end(&mut self) {
        let paths = fs::list(&self.dir()).expect("listed");
        let Some(active) = paths.iter().rfind(|path| path.extension().is_some_and(|it| it == "log")) else { return };
        let mut content = fs::read(active).expect("read");
        let torn = 1 + self.random.below(100) as usize;
        content.extend((0..torn).map(|_| self.random.below(256) as u8));
        fs::write(active, &content).expect("written");
    }

    /// `everything_is_there`: neither the power nor an operation has failed since the last step.
    fn reopen(&mut self, recovery_point: i64, cleaned_to: Option<i64>, had_clean_shutdown: bool, mut everything_is_there: bool) {
        if self.random.one_in(4) {
            faults::read_at_most(1 + self.random.below(300) as usize);
        }
        if self.random.one_in(6) {
            // A first try that does not come to its end.
            faults::fail_with(self.random.below(30), ErrorKind::Other);
            let failed = self.open(recovery_point, had_clean_shutdown).is_err();
            faults::fail_with(u64::MAX, ErrorKind::Other);
            if failed && self.random.one_in(2) {
                self.cut_power();
                everything_is_there = false;
            }
        }
        if everything_is_there {
            self.expected.synced_end = self.expected.log_end_offset;
        }
        self.expected.log_end_offset = self.expected.log_end_offset.max(std::mem::take(&mut self.came_back_to));
        let what = if had_clean_shutdown { "clean stop" } else { "stop" };
        self.story.push(format!("{what}, all there: {everything_is_there}, from {recovery_point}, {:?}", self.expected));
        let log = self.open(recovery_point, had_clean_shutdown).expect("opened");
        self.high_watermark = self.high_watermark.clamp(log.log_start_offset(), log.log_end_offset());
        log.update_high_watermark(self.high_watermark);
        log.cleaning().set_cleaned_to(cleaned_to);
        self.reloaded_to = log.log_end_offset();
        invariants::nothing_is_left_over(&log);
        let found = self.check(&log, self.expected);
        faults::clear();
        self.go_on_from(log, &found);
    }

    /// The list is now what the log holds.
    fn go_on_from(&mut self, log: Log, found: &Found) {
        found.records.iter().for_each(|record| self.written.settle(record));
        self.expected = Expected {
            synced_end: log.recovery_point().min(log.log_end_offset()),
            log_end_offset: log.log_end_offset(),
            checkpointed_start: self.expected.checkpointed_start,
            log_start_offset: log.log_start_offset(),
        };
        self.leader_epoch = self.leader_epoch.max(log.latest_epoch().unwrap_or(0));
        self.log = Some(log);
        self.continue_sequences();
    }

    /// At a log that nothing has happened to.
    pub(super) fn look(&mut self) {
        let log = self.log.take().expect("open");
        let expected =
            Expected { synced_end: self.expected.log_end_offset, checkpointed_start: self.expected.log_start_offset, ..self.expected };
        self.check(&log, expected);
        self.log = Some(log);
    }
}
