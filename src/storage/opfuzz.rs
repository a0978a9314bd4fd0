//! Random operations on a log against a plain model of it, one seed after the other; a failure names its seed.
//!
//! The model is the list of values by offset. A crash is simulated by dropping the log without closing it, sometimes with a torn batch
//! at the end, a lost index or a recovery point that says that older segments are safe.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::config::LogConfig;
use super::fs;
use super::log::tests::{Fixture, START_MS, records_from};
use super::log::{AppendOrigin, FetchIsolation, LATEST_TIMESTAMP, Log, LogOptions};
use crate::common::histories;
use crate::common::random::Random;
use crate::protocol::batch::BatchBuilder;
use crate::protocol::compression::Compression;

const HISTORIES: u64 = 25;
const OPERATIONS: usize = 120;

struct Model {
    random: Random,
    fixture: Fixture,
    log: Option<Log>,
    records: BTreeMap<i64, (i64, String)>,
    log_start_offset: i64,
    log_end_offset: i64,
    sequence: i32,
    leader_epoch: i32,
    timestamp: i64,
}

impl Model {
    fn new(seed: u64) -> Model {
        let mut random = Random::new(seed);
        let config = LogConfig {
            segment_bytes: 400 + random.below(2000) as i32,
            index_interval_bytes: random.below(600) as i32,
            retention_ms: -1,
            file_delete_delay_ms: 0,
            ..LogConfig::default()
        };
        let fixture = Fixture::new(config);
        let log = Some(fixture.open());
        Model {
            random,
            fixture,
            log,
            records: BTreeMap::new(),
            log_start_offset: 0,
            log_end_offset: 0,
            sequence: 0,
            leader_epoch: 0,
            timestamp: START_MS,
        }
    }

    fn log(&self) -> &Log {
        self.log.as_ref().expect("the log is open between operations")
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..=9 => self.append(),
            10 => self.log().roll().expect("rolled"),
            11 => self.truncate(),
            12 => self.delete_records(),
            13 => drop(self.log().delete_old_segments().expect("deleted")),
            14 => self.log().flush().expect("flushed"),
            15 => self.log().remove_deleted_files().expect("removed"),
            16 => self.leader_epoch += 1,
            17 => self.stop_cleanly(),
            _ => self.crash(),
        }
    }

    fn append(&mut self) {
        let compression = Compression::ALL[self.random.below(5) as usize];
        let mut builder = BatchBuilder::new(compression).producer(7, 0, self.sequence);
        let count = 1 + self.random.below(4);
        for n in 0..count {
            self.timestamp += self.random.below(20) as i64 - 5;
            let offset = self.log_end_offset + n as i64;
            let value = format!("{offset} {}", "x".repeat(self.random.below(60) as usize));
            builder.append(self.timestamp, None, Some(value.as_bytes()), &[]).expect("appended");
            self.records.insert(offset, (self.timestamp, value));
        }
        let batch = builder.finish_vec().expect("finished");
        let info = self.log().append_as_leader(&batch, self.leader_epoch, AppendOrigin::Client).expect("appended");
        assert_eq!(info.first_offset, self.log_end_offset);
        self.sequence += count as i32;
        self.log_end_offset += count as i64;
        self.log().maybe_increment_high_watermark(self.log_end_offset);
    }

    /// To the beginning of some batch, where a real truncation always is.
    fn truncate(&mut self) {
        let span = (self.log_end_offset - self.log_start_offset) as u64;
        let wanted = self.log_end_offset - self.random.below(span.min(20) + 1) as i64;
        let read = self.log().read(wanted, 1, true, FetchIsolation::LogEnd).expect("read");
        if read.records.is_empty() {
            return;
        }
        let bytes = super::log::tests::bytes_of(&read.records);
        let offset = crate::protocol::batch::BatchHeader::parse(&bytes).expect("a batch").base_offset.max(self.log_start_offset);
        if offset != crate::protocol::batch::BatchHeader::parse(&bytes).expect("a batch").base_offset {
            return;
        }
        self.log().truncate_to(offset).expect("truncated");
        self.sequence -= (self.log_end_offset - offset) as i32;
        self.log_end_offset = offset;
        self.records.split_off(&offset);
    }

    fn delete_records(&mut self) {
        let span = (self.log_end_offset - self.log_start_offset) as u64;
        let offset = self.log_start_offset + self.random.below(span.min(10) + 1) as i64;
        self.log().delete_records_before(offset).expect("deleted");
        self.log_start_offset = offset;
        self.records = self.records.split_off(&offset);
    }

    fn stop_cleanly(&mut self) {
        let log = self.log.take().expect("open");
        log.flush().expect("flushed");
        log.close().expect("closed");
        self.reopen(log.recovery_point(), true);
    }

    fn crash(&mut self) {
        let log = self.log.take().expect("open");
        let recovery_point = if self.random.one_in(2) { log.recovery_point() } else { 0 };
        let paths = log.segment_paths();
        drop(log);
        let active = paths.last().expect("an active segment");
        match self.random.below(4) {
            _ if !fs::exists(active) => {}
            0 => {
                let mut content = fs::read(active).expect("read");
                let torn = 1 + self.random.below(100) as usize;
                content.extend((0..torn).map(|_| self.random.below(256) as u8));
                fs::write(active, &content).expect("written");
            }
            1 => fs::remove_file(&active.with_extension("index")).expect("removed"),
            2 => fs::write(&active.with_extension("timeindex"), &[0; 24]).expect("written"),
            _ => {}
        }
        self.reopen(recovery_point, false);
    }

    fn reopen(&mut self, recovery_point: i64, had_clean_shutdown: bool) {
        let options = LogOptions { log_start_offset: self.log_start_offset, recovery_point, had_clean_shutdown, ..self.fixture.options() };
        let log = Log::open(options).expect("opened");
        log.update_high_watermark(self.log_end_offset);
        self.log = Some(log);
    }

    fn check(&self) {
        let log = self.log();
        offsets_are_the_models(self, log);
        every_record_is_read_back(self, log);
        timestamps_find_the_first_record(self, log);
        the_producer_is_remembered(self, log);
        segments_are_in_order(log);
    }
}

fn offsets_are_the_models(model: &Model, log: &Log) {
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (model.log_start_offset, model.log_end_offset));
    assert_eq!((log.high_watermark(), log.last_stable_offset()), (model.log_end_offset, model.log_end_offset));
    assert!(log.recovery_point() <= model.log_end_offset);
}

fn every_record_is_read_back(model: &Model, log: &Log) {
    let found = records_from(log, model.log_start_offset, 700, FetchIsolation::HighWatermark);
    let found = found.iter().map(|record| (record.offset, record.timestamp, record.value.as_deref().expect("a value")));
    assert!(found.eq(model.records.iter().map(|(offset, (timestamp, value))| (*offset, *timestamp, value.as_bytes()))));
}

fn timestamps_find_the_first_record(model: &Model, log: &Log) {
    let latest = log.offset_for_timestamp(LATEST_TIMESTAMP).expect("searched").expect("always there");
    assert_eq!(latest.offset, model.log_end_offset);
    for (target, _) in model.records.values().step_by(7) {
        let expected = model.records.iter().find(|(_, (timestamp, _))| timestamp >= target).map(|(offset, _)| *offset);
        let found = log.offset_for_timestamp(*target).expect("searched").map(|found| found.offset);
        assert_eq!(found, expected, "timestamp {target}");
    }
}

fn the_producer_is_remembered(model: &Model, log: &Log) {
    // When its last record was deleted or cut, the producer may be forgotten.
    if let (Some(producer), true) = (log.active_producers().first(), model.records.contains_key(&(model.log_end_offset - 1))) {
        assert_eq!(producer.last_sequence, model.sequence - 1);
    }
}

fn segments_are_in_order(log: &Log) {
    let paths = log.segment_paths();
    // The first segment may have no files yet.
    assert!(paths.is_sorted() && paths.iter().all(|path| fs::exists(path) || log.size_bytes() == 0));
    assert!(log.first_segment_base_offset() <= log.log_start_offset());
}

#[test]
fn random_histories_agree_with_the_model() {
    histories::play("storage::opfuzz::random_histories_agree_with_the_model", HISTORIES, |seed| {
        let mut model = Model::new(seed);
        for _ in 0..OPERATIONS {
            model.step();
            model.check();
        }
    });
}

/// Reads beside appends, rolls and retention on another thread see whole batches in order.
#[test]
fn readers_run_beside_the_writer() {
    let config =
        LogConfig { segment_bytes: 2000, index_interval_bytes: 100, retention_ms: -1, retention_bytes: 50_000, ..LogConfig::default() };
    let fixture = Fixture::new(config);
    let log = Arc::new(fixture.open());
    std::thread::scope(|scope| {
        let writer = log.clone();
        scope.spawn(move || {
            for n in 0..3000 {
                super::log::tests::produce(&writer, &super::log::tests::plain_batch(START_MS + n, &["a value of some length"]));
                if n % 100 == 0 {
                    writer.delete_old_segments().expect("deleted");
                }
            }
        });
        for _ in 0..2 {
            let reader = log.clone();
            scope.spawn(move || {
                let mut offset = 0;
                while offset < 3000 {
                    // Retention may overtake the reader.
                    let Ok(read) = reader.read(offset, 500, true, FetchIsolation::HighWatermark) else {
                        offset = reader.log_start_offset();
                        continue;
                    };
                    let bytes = super::log::tests::bytes_of(&read.records);
                    for batch in crate::protocol::batch::Batches::new(&bytes).map_while(Result::ok) {
                        batch.verify_crc().expect("whole");
                        assert!(batch.header().base_offset >= offset);
                        offset = batch.header().next_offset();
                    }
                }
            });
        }
    });
}
