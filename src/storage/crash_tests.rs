//! Histories of one log on a disk that fails, against a plain list of what was ever written at each offset.
//!
//! A history appends, rolls, truncates, deletes, flushes and stops; between two steps the process is killed, the machine loses its power, an
//! index or snapshot is lost, or a step fails half way for want of space or with an I/O error. After each reopening every invariant is
//! checked; one function each.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use super::config::LogConfig;
use super::errors::{AppendError, ReadError, StorageError};
use super::fs;
use super::fs::faults::{self, Disk};
use super::log::tests::{START_MS, bytes_of, records_from};
use super::log::{AppendOrigin, FetchIsolation, Log, LogOptions};
use crate::common::clock::ManualClock;
use crate::common::histories;
use crate::common::random::Random;
use crate::common::topic_partition::TopicPartition;
use crate::protocol::batch::{BatchBuilder, BatchHeader, Batches, Record};
use crate::protocol::compression::Compression;
use crate::protocol::records::Records;

const HISTORIES: u64 = 2_000;
const STEPS: usize = 25;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Written {
    timestamp: i64,
    value: String,
    producer_id: i64,
    sequence: i32,
}

/// The log may be anything between two states, until it is opened again.
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
    /// What was ever written at an offset, in order of time.
    written: BTreeMap<i64, Vec<Written>>,
    expected: Expected,
    producer_id: i64,
    sequence: i32,
    leader_epoch: i32,
    timestamp: i64,
    /// A truncation has begun and not come to its end.
    is_truncating: bool,
}

impl Model {
    fn new(seed: u64) -> Model {
        let mut random = Random::new(seed);
        let config = LogConfig {
            segment_bytes: 800 + random.below(2000) as i32,
            index_interval_bytes: random.below(400) as i32,
            retention_ms: -1,
            file_delete_delay_ms: 0,
            ..LogConfig::default()
        };
        let mut model = Model {
            random,
            disk: Disk::new(),
            clock: Arc::new(ManualClock::new(START_MS)),
            config: Arc::new(config),
            log: None,
            written: BTreeMap::new(),
            expected: Expected { synced_end: 0, log_end_offset: 0, checkpointed_start: 0, log_start_offset: 0 },
            producer_id: 1,
            sequence: 0,
            leader_epoch: 0,
            timestamp: START_MS,
            is_truncating: false,
        };
        model.log = Some(model.open(0, false).expect("opened"));
        model
    }

    fn dir(&self) -> PathBuf {
        self.disk.dir().join("t-0")
    }

    fn open(&self, recovery_point: i64, had_clean_shutdown: bool) -> Result<Log, StorageError> {
        let options = LogOptions::new(self.dir(), TopicPartition::new("t", 0), Arc::clone(&self.config), self.clock.clone());
        let log_start_offset = self.expected.checkpointed_start;
        Log::open(LogOptions { recovery_point, had_clean_shutdown, log_start_offset, ..options })
    }

    fn log(&self) -> &Log {
        self.log.as_ref().expect("the log is open between steps")
    }

    fn play(&mut self) {
        for _ in 0..STEPS {
            match self.random.below(20) {
                0..=13 => self.step().expect("done"),
                14 => self.stop_cleanly(),
                15 | 16 => self.kill(),
                17 | 18 => self.lose_power(),
                _ => self.fail(),
            }
        }
        self.lose_power();
    }

    fn step(&mut self) -> Result<(), StorageError> {
        match self.random.below(16) {
            0..=7 => self.append(),
            8 => self.log().roll(),
            9 => self.truncate(),
            10 => self.delete_records(),
            11 => self.log().delete_old_segments().map(drop),
            12 => self.log().remove_deleted_files(),
            13 => {
                self.leader_epoch += 1;
                Ok(())
            }
            14 => self.log().flush_rolled(),
            _ => self.flush(),
        }
    }

    fn append(&mut self) -> Result<(), StorageError> {
        let compression = Compression::ALL[self.random.below(5) as usize];
        let mut builder = BatchBuilder::new(compression).producer(self.producer_id, 0, self.sequence);
        let count = 1 + self.random.below(4) as i64;
        for offset in self.expected.log_end_offset..self.expected.log_end_offset + count {
            self.timestamp += self.random.below(20) as i64 - 5;
            let value = format!("{offset} {} {}", self.random.below(1 << 30), "x".repeat(self.random.below(120) as usize));
            builder.append(self.timestamp, None, Some(value.as_bytes()), &[]).expect("a small record");
            let written = Written { timestamp: self.timestamp, value, producer_id: self.producer_id, sequence: self.sequence };
            self.written.entry(offset).or_default().push(written);
            self.sequence += 1;
        }
        self.expected.log_end_offset += count;
        let batch = builder.finish_vec().expect("finished");
        self.log().append_as_leader(&batch, self.leader_epoch, AppendOrigin::Client).map_err(|error| match error {
            AppendError::Storage(error) => error,
            error => panic!("{error}"),
        })?;
        self.log().maybe_increment_high_watermark(self.expected.log_end_offset);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StorageError> {
        self.log().flush()?;
        self.expected.synced_end = self.expected.log_end_offset;
        Ok(())
    }

    /// To the beginning of some batch, where a real truncation always is.
    fn truncate(&mut self) -> Result<(), StorageError> {
        let (start, end) = (self.expected.log_start_offset, self.expected.log_end_offset);
        let wanted = end - self.random.below((end - start).min(12) as u64 + 1) as i64;
        let Some(offset) = self.batch_at(wanted)? else { return Ok(()) };
        if offset < start {
            return Ok(());
        }
        self.expected.synced_end = self.expected.synced_end.min(offset);
        self.is_truncating = true;
        self.log().truncate_to(offset)?;
        self.is_truncating = false;
        self.expected.log_end_offset = offset;
        self.new_producer();
        Ok(())
    }

    /// The base offset of the batch that has this offset.
    fn batch_at(&self, offset: i64) -> Result<Option<i64>, StorageError> {
        let read = self.log().read(offset, 1, true, FetchIsolation::LogEnd).map_err(|error| match error {
            ReadError::Storage(error) => error,
            error => panic!("{error}"),
        })?;
        let Records::File(slice) = &read.records else { return Ok(None) };
        let mut header = vec![0; slice.len];
        fs::read_at(&slice.file, &self.dir(), &mut header, slice.position)?;
        Ok(BatchHeader::parse(&header).ok().map(|header| header.base_offset))
    }

    fn new_producer(&mut self) {
        (self.producer_id, self.sequence) = (self.producer_id + 1, 0);
    }

    fn delete_records(&mut self) -> Result<(), StorageError> {
        let span = self.expected.log_end_offset - self.expected.log_start_offset;
        self.expected.log_start_offset += self.random.below(span.min(10) as u64 + 1) as i64;
        match self.log().delete_records_before(self.expected.log_start_offset) {
            Ok(_) => {}
            Err(ReadError::Storage(error)) => return Err(error),
            Err(error) => panic!("{error}"),
        }
        if self.random.one_in(2) {
            self.expected.checkpointed_start = self.expected.log_start_offset;
        }
        Ok(())
    }

    fn stop_cleanly(&mut self) {
        self.flush().expect("flushed");
        let log = self.log.take().expect("open");
        log.close().expect("closed");
        self.expected.checkpointed_start = self.expected.log_start_offset;
        let recovery_point = log.recovery_point();
        drop(log);
        if self.random.one_in(2) {
            self.disk.cut_power(&mut self.random);
        }
        self.reopen(recovery_point, true, true);
    }

    /// The process ends; the system still has what was written.
    fn kill(&mut self) {
        let recovery_point = self.close_abruptly();
        self.lose_a_file();
        self.reopen(recovery_point, false, true);
    }

    fn lose_power(&mut self) {
        let recovery_point = self.close_abruptly();
        self.disk.cut_power(&mut self.random);
        self.reopen(recovery_point, false, false);
    }

    /// A step in the middle of which the disk begins to fail; a restart follows when that is over, with the power gone in between or not.
    fn fail(&mut self) {
        let before = self.expected;
        let error = if self.random.one_in(2) { ErrorKind::StorageFull } else { ErrorKind::Other };
        faults::fail_with(self.random.below(12), error);
        let done = self.step();
        faults::clear();
        let synced_end = before.synced_end.min(self.expected.synced_end);
        let recovery_point = self.close_abruptly();
        if done.is_err() {
            self.expected = Expected {
                synced_end,
                log_end_offset: before.log_end_offset.max(self.expected.log_end_offset),
                checkpointed_start: before.checkpointed_start,
                log_start_offset: self.expected.log_start_offset,
            };
        }
        if self.random.one_in(2) {
            self.disk.cut_power(&mut self.random);
        } else if std::mem::take(&mut self.is_truncating) {
            // Or a later power cut undoes it, which recovery cannot know. That is as if it had not been tried: a replica that has more than its
            // leader knows truncates again by the leader's epochs, so recovery need not sync every log for it.
            self.disk.settle();
        }
        self.is_truncating = false;
        self.reopen(recovery_point, false, false);
    }

    /// The recovery point that a checkpoint may hold.
    fn close_abruptly(&mut self) -> i64 {
        let log = self.log.take().expect("open");
        let reached = log.recovery_point();
        self.expected.synced_end = self.expected.synced_end.max(reached.min(self.expected.log_end_offset));
        if self.random.one_in(3) { 0 } else { reached }
    }

    /// What recovery makes anew: an index, a snapshot, the epochs.
    fn lose_a_file(&mut self) {
        let paths: Vec<PathBuf> = fs::list(&self.dir()).expect("listed");
        let is_derived = |path: &&PathBuf| path.extension().is_some_and(|it| it == "index" || it == "timeindex" || it == "snapshot");
        let derived: Vec<&PathBuf> = paths.iter().filter(is_derived).collect();
        if derived.is_empty() || self.random.one_in(2) {
            return;
        }
        let path = derived[self.random.below(derived.len() as u64) as usize];
        match self.random.below(3) {
            0 => fs::remove_file(path).expect("removed"),
            1 => fs::write(path, &[]).expect("written"),
            _ => fs::write(path, &[0; 24]).expect("written"),
        }
    }

    /// `everything_is_there`: neither the power nor an operation has failed since the last step.
    fn reopen(&mut self, recovery_point: i64, had_clean_shutdown: bool, mut everything_is_there: bool) {
        if self.random.one_in(4) {
            faults::read_at_most(1 + self.random.below(300) as usize);
        }
        if self.random.one_in(6) {
            // A first try that does not come to its end.
            faults::fail_with(self.random.below(30), ErrorKind::Other);
            let failed = self.open(recovery_point, had_clean_shutdown).is_err();
            faults::fail_with(u64::MAX, ErrorKind::Other);
            if failed && self.random.one_in(2) {
                self.disk.cut_power(&mut self.random);
                everything_is_there = false;
            }
        }
        if everything_is_there {
            self.expected.synced_end = self.expected.log_end_offset;
        }
        let log = self.open(recovery_point, had_clean_shutdown).expect("opened");
        log.update_high_watermark(log.log_end_offset());
        let found = records_from(&log, log.log_start_offset(), 700, FetchIsolation::LogEnd);
        offsets_are_between_what_was_synced_and_what_was_written(&self.expected, &log);
        offsets_are_dense(&found, &log);
        nothing_synced_is_lost(self, &found);
        nothing_never_written_appears(self, &found);
        indexes_agree_with_the_log(&found, &log);
        batches_are_whole_in_every_segment(&log);
        the_last_producer_is_remembered(self, &found, &log);
        faults::clear();
        for record in found {
            let all = self.written.get_mut(&record.offset).expect("written");
            let at = all.iter().rposition(|written| is(written, &record)).expect("written");
            let last = all.remove(at);
            all.push(last);
        }
        self.expected = Expected {
            synced_end: log.recovery_point().min(log.log_end_offset()),
            log_end_offset: log.log_end_offset(),
            checkpointed_start: self.expected.checkpointed_start,
            log_start_offset: log.log_start_offset(),
        };
        self.leader_epoch = self.leader_epoch.max(log.latest_epoch().unwrap_or(0));
        self.log = Some(log);
        self.new_producer();
    }
}

fn is(written: &Written, record: &Record) -> bool {
    record.timestamp == written.timestamp && record.value.as_deref() == Some(written.value.as_bytes())
}

fn offsets_are_between_what_was_synced_and_what_was_written(expected: &Expected, log: &Log) {
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    assert!(start <= end);
    // What begins later than it should begins where nothing was synced before.
    let starts = (expected.checkpointed_start..=expected.log_start_offset).contains(&start) || start > expected.synced_end;
    assert!(starts, "starts at {start}: {expected:?}");
    let at_least = expected.synced_end.max(expected.checkpointed_start);
    assert!((at_least..=expected.log_end_offset.max(start)).contains(&end), "ends at {end}: {expected:?}");
}

fn offsets_are_dense(found: &[Record], log: &Log) {
    assert!(found.iter().map(|record| record.offset).eq(log.log_start_offset()..log.log_end_offset()));
}

fn nothing_synced_is_lost(model: &Model, found: &[Record]) {
    for record in found.iter().filter(|record| record.offset < model.expected.synced_end) {
        let last = model.written[&record.offset].last().expect("written");
        assert!(is(last, record), "offset {}: {last:?} was synced, {record:?} is there", record.offset);
    }
}

fn nothing_never_written_appears(model: &Model, found: &[Record]) {
    for record in found {
        let written = model.written.get(&record.offset).is_some_and(|all| all.iter().any(|written| is(written, record)));
        assert!(written, "{record:?} was never written");
    }
}

/// Each offset and each timestamp is found where a scan finds it.
fn indexes_agree_with_the_log(found: &[Record], log: &Log) {
    for record in found.iter().step_by(5) {
        let read = log.read(record.offset, 1, true, FetchIsolation::LogEnd).expect("read");
        let header = BatchHeader::parse(&bytes_of(&read.records)).expect("a batch");
        assert!((header.base_offset..=header.last_offset()).contains(&record.offset));
        let first = found.iter().find(|it| it.timestamp >= record.timestamp).map(|it| it.offset);
        let searched = log.offset_for_timestamp(record.timestamp).expect("searched").map(|it| it.offset);
        assert_eq!(searched, first, "timestamp {}", record.timestamp);
    }
}

fn batches_are_whole_in_every_segment(log: &Log) {
    for path in log.segment_paths() {
        let content = fs::read_if_exists(&path).expect("read").unwrap_or_default();
        let mut bytes = 0;
        for batch in Batches::new(&content) {
            let batch = batch.expect("a batch");
            batch.verify_crc().expect("whole");
            bytes += batch.header().size_bytes();
        }
        assert_eq!(bytes, content.len(), "{}", path.display());
    }
}

fn the_last_producer_is_remembered(model: &Model, found: &[Record], log: &Log) {
    let Some(record) = found.last() else { return };
    let written = model.written[&record.offset].iter().rfind(|written| is(written, record)).expect("written");
    let producers = log.active_producers();
    let producer = producers.iter().find(|producer| producer.producer_id == written.producer_id);
    assert_eq!(producer.map(|producer| producer.last_sequence), Some(written.sequence));
}

#[test]
fn histories_on_a_failing_disk_lose_nothing_synced() {
    histories::play("histories_on_a_failing_disk", HISTORIES, |seed| Model::new(seed).play());
}
