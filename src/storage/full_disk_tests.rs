//! Histories of one log on a disk that fills up and is freed again, over and over, while the log stays open. A step that finds no space
//! changes nothing; one that does is there, now and after every way to end.

use std::sync::Arc;

use super::config::LogConfig;
use super::errors::{AppendError, ReadError, StorageError};
use super::fs::faults;
use super::log::tests::{Fixture, START_MS, records_from};
use super::log::{AppendOrigin, FetchIsolation, Log, LogOptions};
use super::transaction_tests::read_committed;
use crate::common::histories;
use crate::common::random::Random;
use crate::protocol::batch::{BatchBuilder, ControlRecord};
use crate::protocol::compression::Compression;

const HISTORIES: u64 = 300;
const STEPS: usize = 60;
const PRODUCERS: u64 = 3;

#[derive(Clone, Copy, Default)]
struct Producer {
    sequence: i32,
    in_transaction: bool,
}

struct Model {
    random: Random,
    fixture: Fixture,
    log: Log,
    /// What was appended at each offset from 0 on; None for a marker.
    written: Vec<Option<String>>,
    log_start_offset: i64,
    producers: [Producer; PRODUCERS as usize],
    /// Steps that found no space, and appends that succeeded after one.
    refused: u64,
    is_full: bool,
    recovered: u64,
}

impl Model {
    fn new(seed: u64) -> Model {
        let mut random = Random::new(seed);
        let fixture = Fixture::new(LogConfig {
            segment_bytes: 600 + random.below(2000) as i32,
            index_interval_bytes: random.below(300) as i32,
            flush_messages: if random.one_in(3) { 1 } else { i64::MAX },
            retention_ms: -1,
            retention_bytes: 4000,
            file_delete_delay_ms: 0,
            ..LogConfig::default()
        });
        let log = fixture.open();
        let (written, producers) = (Vec::new(), Default::default());
        Model { random, fixture, log, written, log_start_offset: 0, producers, refused: 0, is_full: false, recovered: 0 }
    }

    fn play(&mut self) {
        for _ in 0..STEPS {
            match self.random.below(8) {
                0 => faults::leave_space(self.random.below(1500)),
                1 => faults::leave_space(0),
                2 | 3 => faults::clear(),
                _ => {}
            }
            let end = self.log.log_end_offset();
            if let Err(error) = self.step() {
                assert!(error.is_full(), "{error}");
                assert_eq!(self.log.log_end_offset(), end, "a step without space has changed something");
                self.refused += 1;
                self.is_full = true;
            }
            assert!(self.log.is_online());
            if self.random.one_in(5) {
                self.everything_is_there();
            }
            if self.random.one_in(12) {
                self.restart();
            }
        }
        self.restart();
    }

    fn step(&mut self) -> Result<(), StorageError> {
        match self.random.below(16) {
            0..=8 => self.append(),
            9 | 10 => self.end_transaction(),
            11 => self.log.roll(),
            12 => self.delete_records(),
            13 => self.retention(),
            14 => self.log.flush(),
            _ => self.log.flush_rolled(),
        }
    }

    fn append(&mut self) -> Result<(), StorageError> {
        let id = self.random.below(PRODUCERS);
        let producer = self.producers[id as usize];
        let transactional = producer.in_transaction || self.random.one_in(3);
        let mut builder = BatchBuilder::new(Compression::None).producer(id as i64, 0, producer.sequence).transactional(transactional);
        let mut values = Vec::new();
        for n in 0..1 + self.random.below(3) {
            let value = format!("{} of {id} {}", producer.sequence + n as i32, "x".repeat(self.random.below(150) as usize));
            builder.append(START_MS, None, Some(value.as_bytes()), &[]).expect("a small record");
            values.push(value);
        }
        self.write(&builder.finish_vec().expect("finished"), AppendOrigin::Client)?;
        self.producers[id as usize] = Producer { sequence: producer.sequence + values.len() as i32, in_transaction: transactional };
        self.written.extend(values.into_iter().map(Some));
        Ok(())
    }

    fn end_transaction(&mut self) -> Result<(), StorageError> {
        let Some(id) = self.producers.iter().position(|producer| producer.in_transaction) else { return Ok(()) };
        let mut builder = BatchBuilder::new(Compression::None).producer(id as i64, 0, -1).transactional(true).control(true);
        let record = ControlRecord::end_transaction(self.random.one_in(2), 1);
        builder.append_control(START_MS, &record).expect("a small record");
        self.write(&builder.finish_vec().expect("finished"), AppendOrigin::Coordinator)?;
        self.producers[id].in_transaction = false;
        self.written.push(None);
        Ok(())
    }

    fn write(&mut self, batch: &[u8], origin: AppendOrigin) -> Result<(), StorageError> {
        match self.log.append_as_leader(batch, 0, origin) {
            Ok(info) => assert_eq!((info.first_offset, info.duplicate), (self.written.len() as i64, false)),
            Err(AppendError::Storage(error)) => return Err(error),
            Err(error) => panic!("{error}"),
        }
        self.log.maybe_increment_high_watermark(self.log.log_end_offset());
        self.recovered += u64::from(std::mem::take(&mut self.is_full));
        Ok(())
    }

    fn delete_records(&mut self) -> Result<(), StorageError> {
        // What a transaction loses of itself before its end is a matter of its own.
        let span = self.log.last_stable_offset() - self.log_start_offset;
        let offset = self.log_start_offset + self.random.below(span.min(6) as u64 + 1) as i64;
        match self.log.delete_records_before(offset) {
            Ok(start) => assert_eq!(start, offset),
            Err(ReadError::Storage(error)) => return Err(error),
            Err(error) => panic!("{error}"),
        }
        self.log_start_offset = offset;
        Ok(())
    }

    /// Makes space, so that it must not need any, unless all segments go.
    fn retention(&mut self) -> Result<(), StorageError> {
        if self.producers.iter().any(|producer| producer.in_transaction) {
            return Ok(());
        }
        let deleted = self.log.delete_old_segments();
        self.log.remove_deleted_files()?;
        self.log_start_offset = self.log_start_offset.max(self.log.log_start_offset());
        deleted.map(drop)
    }

    fn everything_is_there(&self) {
        assert_eq!((self.log.log_start_offset(), self.log.log_end_offset()), (self.log_start_offset, self.written.len() as i64));
        let found = records_from(&self.log, self.log_start_offset, 2000, FetchIsolation::LogEnd).into_iter();
        let found: Vec<(i64, Option<String>)> = found
            .map(|record| {
                let text = record.value.map(|value| String::from_utf8(value.to_vec()).expect("text"));
                (record.offset, text.filter(|text| text.contains(" of ")))
            })
            .collect();
        // A marker's value is no text, or none that a record has.
        let expected: Vec<(i64, Option<String>)> = (0..).zip(self.written.iter().cloned()).skip(self.log_start_offset as usize).collect();
        assert_eq!(found, expected);
    }

    fn restart(&mut self) {
        let (committed, last_stable_offset) = (read_committed(&self.log), self.log.last_stable_offset());
        let closed = self.random.one_in(2) && self.log.flush().and_then(|()| self.log.close()).is_ok();
        let recovery_point = if self.random.one_in(2) { self.log.recovery_point() } else { 0 };
        faults::clear();
        let options = self.fixture.options();
        let options = LogOptions { had_clean_shutdown: closed, recovery_point, log_start_offset: self.log_start_offset, ..options };
        self.log = Log::open(options).expect("opened");
        self.log.update_high_watermark(self.log.log_end_offset());
        self.everything_is_there();
        assert_eq!((read_committed(&self.log), self.log.last_stable_offset()), (committed, last_stable_offset), "clean: {closed}");
        // Sequences go on where they were, or begin anew where nothing, or nothing but a marker, is left.
        let known = self.log.active_producers();
        for (id, producer) in self.producers.iter_mut().enumerate() {
            match known.iter().find(|known| known.producer_id == id as i64).map(|known| known.last_sequence) {
                None => *producer = Producer::default(),
                Some(-1) => producer.sequence = 0,
                Some(last) => {
                    assert!(last + 1 == producer.sequence || self.log_start_offset > 0, "producer {id}: {last}");
                    producer.sequence = last + 1;
                }
            }
        }
    }
}

#[test]
fn histories_of_a_disk_that_fills_up_and_is_freed() {
    let (mut refused, mut recovered) = (0, 0);
    let many = histories::play("full_disk_tests::histories", HISTORIES, |seed| {
        let mut model = Model::new(seed);
        model.play();
        (refused, recovered) = (refused + model.refused, recovered + model.recovered);
    });
    assert!(!many || (refused > HISTORIES && recovered > HISTORIES / 2), "{refused} steps were refused, {recovered} went on");
}

#[test]
fn a_failed_sync_for_want_of_space_takes_the_directory_offline() {
    let fixture = Fixture::new(LogConfig { flush_messages: 1, ..LogConfig::default() });
    let log = fixture.open();
    let mut batch = BatchBuilder::new(Compression::None);
    batch.append(START_MS, None, Some(b"value"), &[]).expect("a small record");
    let batch = batch.finish_vec().expect("finished");
    log.append_as_leader(&batch, 0, AppendOrigin::Client).expect("appended");
    let path = log.dir();
    // The write succeeds, the sync does not.
    faults::fail_after(0);
    let error = super::fs::sync_dir(&path).expect_err("no sync");
    faults::clear();
    assert!(!error.is_full(), "{error}");
    let health = super::dir_health::DirHealth::default();
    let _ = health.note_unless_full::<()>(Err(error));
    assert!(!health.is_online());
    let full = StorageError::new(&path, std::io::ErrorKind::StorageFull.into());
    let health = Arc::new(super::dir_health::DirHealth::default());
    let _ = health.note_unless_full::<()>(Err(full));
    assert!(health.is_online());
}
