//! Histories of one log on a disk that fails, against a plain list of what was ever written at each offset.
//!
//! A history appends, with and without transactions, rolls, truncates, compacts, deletes, flushes and stops ([`Model::step`]); between two
//! steps the process is killed, the machine loses its power, an index or snapshot is lost, the log has a torn end, a step fails half way, or
//! some find no space while the log stays in use ([`stops`]). After each reopening, and now and then in between, every invariant is checked
//! ([`invariants`], one function each). [`flips`] inverts a bit of a file at rest, and says what covers which bits. [`found`] tells what was
//! wrong with the log by itself.
//!
//! Injected, and counted, so that a kind that never happens fails the test: I/O errors, want of space with a write that comes to a part of
//! what it should, short reads, unsynced writes lost altogether or torn, names lost out of order, and flipped bits ([`Fault`]).
//!
//! Does it see what it should? Mistakes were put into the storage code by hand, one at a time, and each was found within the usual number of
//! seeds: syncs left out (of a log, a directory, a compacted segment, before a rename), truncation one batch short or without its indexes,
//! epochs, producers, recovery point or high watermark, recovery that leaves a torn end, later segments, old index entries or bad checksums,
//! a clean stop without its snapshot or index, compaction of tombstones, last values and undecided records, retention beyond its bounds.
//! One is too rare for that and has a test in [`found`]: a producer snapshot that was removed and comes back with a power cut.
//!
//! The list knows nothing of files. After a stop that may have lost something, what the log still holds is looked for in it, and says what
//! the list goes on from: so a log may lose what was not synced, but may not hold anything else.
//!
//! Invariant: a history follows from its seed alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::cleaner::CleanError;
use super::cleaner::tests::{DAY_MS, clean_within};
use super::config::{CleanupPolicy, LogConfig};
use super::errors::{AppendError, ReadError, StorageError};
use super::fs::faults::{Disk, Fault, injected};
use super::log::tests::START_MS;
use super::log::{AppendOrigin, Log, LogOptions};
use crate::common::clock::{Clock, ManualClock};
use crate::common::histories;
use crate::common::random::Random;
use crate::common::topic_partition::TopicPartition;
use crate::protocol::batch::{BatchBuilder, ControlRecord};
use crate::protocol::compression::Compression;

mod flips;
mod found;
mod invariants;
mod stops;
mod written;

use written::{What, Written, WrittenRecord};

/// In a normal run, of each kind of log.
const HISTORIES: u64 = 10_000;
const COMPACTED_HISTORIES: u64 = 8_000;
const STEPS: usize = 14;

/// Between what the log may be when it is opened.
#[derive(Clone, Copy, Debug)]
struct Expected {
    /// Everything below was synced: it is there, as it was written last.
    synced_end: i64,
    /// Nothing was written from here on.
    log_end_offset: i64,
    /// Of `log-start-offset-checkpoint`.
    checkpointed_start: i64,
    log_start_offset: i64,
}

struct Model {
    random: Random,
    disk: Disk,
    clock: Arc<ManualClock>,
    config: Arc<LogConfig>,
    log: Option<Log>,
    written: Written,
    expected: Expected,
    /// What every replica has: a compacted log is never cut below.
    high_watermark: i64,
    leader_epoch: i32,
    /// Of each producer, the next.
    sequences: BTreeMap<i64, i32>,
    /// What compaction has taken away, as far as anybody looked.
    gone: BTreeSet<i64>,
    /// Markers below may count as replicated when they are not: the log was reloaded since, and the producer snapshot does not tell
    /// (`ProducerStateManager.unreplicatedTxns`).
    reloaded_to: i64,
    /// The log start offset was here once, and a crash may take that back; leader epochs of what came before are not known any more.
    began_at: i64,
    /// Where the log ended before a truncation that failed: a power cut may bring that back.
    may_end_at: i64,
    /// Where a truncation that failed was to cut: nothing above is safe, whatever the recovery point.
    cutting_at: Option<i64>,
    came_back_to: i64,
    /// When it was stopped last.
    has_unsynced_rolled: bool,
    /// Steps that found no space.
    refused: u64,
    /// What happened, for whom sees a failure.
    story: Vec<String>,
}

impl Drop for Model {
    fn drop(&mut self) {
        use std::io::Write as _;

        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "{}\n{:?}", self.story.join("\n"), self.config);
        }
    }
}

impl Model {
    fn new(seed: u64, compact: bool) -> Model {
        let mut random = Random::new(seed);
        let is_retained = random.one_in(2);
        let mut chosen = |or: i64| if is_retained && random.one_in(2) { or } else { -1 };
        let (retention_ms, retention_bytes) = (chosen(if compact { 2 * DAY_MS } else { 10_000 }), chosen(1500));
        let config = LogConfig {
            // The largest batch fits into the smallest segment.
            segment_bytes: 700 + random.below(1500) as i32,
            index_interval_bytes: random.below(400) as i32,
            retention_ms,
            retention_bytes,
            file_delete_delay_ms: 0,
            cleanup_policy: CleanupPolicy { compact, delete: !compact || is_retained },
            delete_retention_ms: random.below(2) as i64 * DAY_MS,
            min_compaction_lag_ms: random.below(2) as i64 * 20,
            flush_messages: if random.one_in(6) { 1 } else { i64::MAX },
            ..LogConfig::default()
        };
        let mut model = Model {
            random,
            disk: Disk::new(),
            clock: Arc::new(ManualClock::new(START_MS)),
            config: Arc::new(config),
            log: None,
            written: Written::default(),
            expected: Expected { synced_end: 0, log_end_offset: 0, checkpointed_start: 0, log_start_offset: 0 },
            high_watermark: 0,
            leader_epoch: 0,
            sequences: BTreeMap::new(),
            gone: BTreeSet::new(),
            reloaded_to: 0,
            began_at: 0,
            may_end_at: 0,
            cutting_at: None,
            came_back_to: 0,
            has_unsynced_rolled: false,
            refused: 0,
            story: Vec::new(),
        };
        model.log = Some(model.open(0, false).expect("opened"));
        model
    }

    fn dir(&self) -> PathBuf {
        self.disk.dir().join("t-0")
    }

    fn now_ms(&self) -> i64 {
        Clock::now_ms(&*self.clock)
    }

    fn is_compacted(&self) -> bool {
        self.config.cleanup_policy.compact
    }

    fn open(&self, recovery_point: i64, had_clean_shutdown: bool) -> Result<Log, StorageError> {
        let options = LogOptions::new(self.dir(), TopicPartition::new("t", 0), Arc::clone(&self.config), self.clock.clone());
        let log_start_offset = self.expected.checkpointed_start;
        Log::open(LogOptions { recovery_point, had_clean_shutdown, log_start_offset, producer_id_expiration_ms: i64::MAX, ..options })
    }

    fn log(&self) -> &Log {
        self.log.as_ref().expect("the log is open between steps")
    }

    fn play(&mut self) {
        for _ in 0..STEPS {
            match self.random.below(21) {
                0..=14 => {
                    self.step().expect("done");
                    if self.random.one_in(8) {
                        self.look();
                    }
                }
                15 => self.stop_cleanly(),
                16 => self.kill(),
                17 | 18 => self.lose_power(),
                19 => self.fail(),
                _ => self.fill_up(),
            }
        }
        self.lose_power();
    }

    fn step(&mut self) -> Result<(), StorageError> {
        let action = self.random.below(20);
        let before = self.expected;
        let done = self.act(action);
        let Expected { synced_end, log_end_offset, log_start_offset, .. } = self.expected;
        self.began_at = self.began_at.max(log_start_offset);
        let (from, hw, epoch) = (before.log_end_offset, self.high_watermark, self.leader_epoch);
        self.story.push(format!(
            "action {action}: start {log_start_offset}, synced {synced_end}, hw {hw}, end {from} -> {log_end_offset}, epoch {epoch}{}",
            done.as_ref().err().map_or(String::new(), |error| format!(": {error}"))
        ));
        done
    }

    fn act(&mut self, action: u64) -> Result<(), StorageError> {
        let is_compacted = self.is_compacted();
        match action {
            0..=5 => self.append(false),
            6..=8 => self.append(true),
            9 | 10 => self.end_transaction(),
            11 => self.log().roll(),
            12 => self.truncate(),
            13 | 14 if is_compacted => self.clean(),
            13 => self.delete_records(),
            14 => self.delete_old_segments(),
            15 => match self.random.below(4) {
                0 => self.log().remove_deleted_files(),
                1 => self.delete_old_segments(),
                2 => {
                    self.leader_epoch += 1;
                    Ok(())
                }
                _ => {
                    self.clock.advance(self.random.below(if is_compacted { 2 * DAY_MS as u64 } else { 15_000 }) as i64);
                    Ok(())
                }
            },
            16 => {
                self.replicate();
                Ok(())
            }
            17 => self.log().flush_rolled(),
            18 if is_compacted => self.clean(),
            _ => self.flush(),
        }
    }

    fn append(&mut self, transactional: bool) -> Result<(), StorageError> {
        let producer_id = self.random.below(3) as i64 + if transactional { 100 } else { 0 };
        // The codecs are no affair of the disk, and expensive to begin.
        let compression = if self.random.one_in(12) { Compression::ALL[self.random.below(5) as usize] } else { Compression::None };
        let mut sequence = self.sequences.get(&producer_id).copied().unwrap_or(0);
        let mut builder = BatchBuilder::new(compression).producer(producer_id, 0, sequence).transactional(transactional);
        let (at_ms, first) = (self.now_ms(), self.expected.log_end_offset);
        for offset in first..=first + self.random.below(4) as i64 {
            let timestamp = at_ms + self.random.below(20) as i64 - 5;
            let key = format!("k{}", self.random.below(8));
            let is_tombstone = self.is_compacted() && self.random.one_in(5);
            let length = self.random.below(100) as usize;
            let value = (!is_tombstone).then(|| format!("{offset} {} {}", self.random.below(1 << 30), "x".repeat(length)));
            builder.append(timestamp, Some(key.as_bytes()), value.as_deref().map(str::as_bytes), &[]).expect("a small record");
            let what = What::Data { key, value };
            let begins_batch = offset == first;
            self.written.add(offset, WrittenRecord { timestamp, at_ms, producer_id, sequence, transactional, begins_batch, what });
            sequence += 1;
            self.expected.log_end_offset = offset + 1;
        }
        self.sequences.insert(producer_id, sequence);
        self.append_batch(builder, AppendOrigin::Client)
    }

    fn append_batch(&mut self, builder: BatchBuilder, origin: AppendOrigin) -> Result<(), StorageError> {
        let batch = builder.finish_vec().expect("finished");
        self.log().append_as_leader(&batch, self.leader_epoch, origin).map_err(|error| match error {
            AppendError::Storage(error) => error,
            error => panic!("{error}"),
        })?;
        if self.config.flush_messages == 1 {
            self.expected.synced_end = self.expected.log_end_offset;
        }
        // Mostly at once.
        if !self.random.one_in(4) {
            self.replicate();
        }
        Ok(())
    }

    fn end_transaction(&mut self) -> Result<(), StorageError> {
        let open = self.written.transactions(self.expected.log_end_offset).open();
        let Some(&producer_id) = open.get(self.random.below(open.len() as u64) as usize) else { return Ok(()) };
        let (commit, timestamp, offset) = (self.random.one_in(2), self.now_ms(), self.expected.log_end_offset);
        let mut builder = BatchBuilder::new(Compression::None).producer(producer_id, 0, -1).transactional(true).control(true);
        builder.append_control(timestamp, &ControlRecord::end_transaction(commit, 1)).expect("a small record");
        let (at_ms, what) = (timestamp, What::Marker { commit });
        let marker = WrittenRecord { timestamp, at_ms, producer_id, sequence: -1, transactional: true, begins_batch: true, what };
        self.written.add(offset, marker);
        self.expected.log_end_offset += 1;
        self.append_batch(builder, AppendOrigin::Coordinator)
    }

    /// The slowest replica gets up to the end, or to some batch before it.
    fn replicate(&mut self) {
        let (from, end) = (self.high_watermark, self.expected.log_end_offset);
        let wanted = from + self.random.below((end - from) as u64 + 1) as i64;
        let reached = if self.random.one_in(2) { Some(end) } else { self.written.batch_begin(from, wanted) };
        self.high_watermark = from.max(reached.unwrap_or(from));
        self.log().maybe_increment_high_watermark(self.high_watermark);
    }

    fn flush(&mut self) -> Result<(), StorageError> {
        self.log().flush()?;
        self.expected.synced_end = self.expected.log_end_offset;
        Ok(())
    }

    /// To the beginning of some batch, where a real truncation always is. What was compacted stays, with the markers that decided about it,
    /// because the last stable offset, which compaction does not pass, is not above the high watermark; except after a reload, when it may
    /// be (nor would Kafka's not be).
    fn truncate(&mut self) -> Result<(), StorageError> {
        let end = self.expected.log_end_offset;
        let lowest = if self.is_compacted() { self.high_watermark } else { self.expected.log_start_offset };
        let wanted = end - self.random.below((end - lowest).min(12) as u64 + 1) as i64;
        let Some(offset) = self.written.batch_begin(lowest, wanted) else { return Ok(()) };
        if self.is_compacted() && self.written.has_marker(offset, self.reloaded_to) {
            return Ok(());
        }
        self.expected.synced_end = self.expected.synced_end.min(offset);
        self.cutting_at = Some(offset);
        self.log().truncate_to(offset)?;
        self.cutting_at = None;
        self.expected.log_end_offset = offset;
        self.high_watermark = self.high_watermark.min(offset);
        self.reloaded_to = offset;
        self.continue_sequences();
        Ok(())
    }

    /// What the log remembers, the producers go on with.
    fn continue_sequences(&mut self) {
        let producers = self.log().active_producers();
        self.sequences = producers.iter().map(|producer| (producer.producer_id, producer.last_sequence + 1)).collect();
    }

    fn delete_records(&mut self) -> Result<(), StorageError> {
        let span = self.high_watermark - self.expected.log_start_offset;
        self.expected.log_start_offset += self.random.below(span.clamp(0, 10) as u64 + 1) as i64;
        match self.log().delete_records_before(self.expected.log_start_offset) {
            Ok(_) => {}
            Err(ReadError::Storage(error)) => return Err(error),
            Err(error) => panic!("{error}"),
        }
        self.checkpoint_start();
        Ok(())
    }

    fn checkpoint_start(&mut self) {
        if self.random.one_in(2) {
            self.expected.checkpointed_start = self.expected.log_start_offset;
        }
    }

    fn delete_old_segments(&mut self) -> Result<(), StorageError> {
        let (start, size_bytes) = (self.expected.log_start_offset, self.log().size_bytes());
        let deleted = self.log().delete_old_segments();
        self.expected.log_start_offset = self.log().log_start_offset();
        deleted?;
        invariants::retention_takes_what_is_old_or_too_much(self, start, size_bytes);
        self.checkpoint_start();
        Ok(())
    }

    fn clean(&mut self) -> Result<(), StorageError> {
        let memory_bytes = if self.random.one_in(3) { 8 * 24 } else { 1 << 20 };
        let ends = |log: &Log| (log.log_start_offset(), log.last_stable_offset(), log.high_watermark(), log.log_end_offset());
        let before = ends(self.log());
        match clean_within(self.log(), &self.clock, memory_bytes) {
            Ok(_) => {}
            Err(CleanError::Storage(error)) => return Err(error),
            Err(error) => panic!("{error}"),
        }
        assert_eq!(before, ends(self.log()));
        Ok(())
    }
}

/// Nothing is shown by a fault that never happens.
fn assert_injected(faults: &[Fault]) {
    for fault in faults {
        assert!(injected(*fault) > 0, "{fault:?} was never injected");
    }
}

const FAULTS: [Fault; 6] = [Fault::IoError, Fault::NoSpace, Fault::ShortRead, Fault::LostWrite, Fault::TornWrite, Fault::Reordered];

#[test]
fn histories_on_a_failing_disk() {
    let mut refused = 0;
    let is_usual = histories::play("histories_on_a_failing_disk", HISTORIES, |seed| {
        let mut model = Model::new(seed, false);
        model.play();
        refused += model.refused;
    });
    if is_usual {
        assert_injected(&FAULTS);
        assert!(refused > HISTORIES / 10, "only {refused} steps found no space");
    }
}

#[test]
fn histories_of_a_compacted_log_on_a_failing_disk() {
    let mut pruned = 0;
    let test = "histories_of_a_compacted_log_on_a_failing_disk";
    let is_usual = histories::play(test, COMPACTED_HISTORIES, |seed| {
        let mut model = Model::new(seed, true);
        model.play();
        pruned += model.gone.len();
    });
    if is_usual {
        assert_injected(&FAULTS);
        assert!(pruned > 0, "nothing was ever compacted away");
    }
}

/// Or a seed would not be all that is needed to see a failure again.
#[test]
fn a_seed_says_what_happens() {
    for seed in 0..20 {
        let end = |seed| {
            let mut model = Model::new(seed, seed % 2 == 0);
            model.play();
            (model.random.next_u64(), model.expected.log_end_offset, model.log().size_bytes())
        };
        assert_eq!(end(seed), end(seed), "seed {seed}");
    }
}
