//! One log under its ordinary operations and after a crash.

use super::*;
use crate::common::clock::ManualClock;
use crate::protocol::batch::{BatchBuilder, BatchView, Batches, ControlRecord, Record};
use crate::protocol::compression::Compression;
use crate::protocol::records::Records;
use crate::storage::checkpoint;
use crate::storage::config::{CleanupPolicy, TimestampType};
use crate::storage::errors::{AppendError, ReadError};

pub(crate) const START_MS: i64 = 1_700_000_000_000;

/// A log in a directory of its own, on a clock that stands still.
pub(crate) struct Fixture {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) config: LogConfig,
}

impl Fixture {
    pub(crate) fn new(config: LogConfig) -> Fixture {
        Fixture { dir: fs::faults::dir_in_memory(), clock: Arc::new(ManualClock::new(START_MS)), config }
    }

    pub(crate) fn options(&self) -> LogOptions {
        let dir = self.dir.path().join("t-0");
        LogOptions::new(dir, TopicPartition::new("t", 0), Arc::new(self.config.clone()), self.clock.clone())
    }

    /// Opens as after a crash, with everything to be checked.
    pub(crate) fn open(&self) -> Log {
        Log::open(self.options()).expect("opened")
    }
}

pub(crate) fn plain_batch(timestamp: i64, values: &[&str]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None);
    for value in values {
        builder.append(timestamp, None, Some(value.as_bytes()), &[]).expect("appended");
    }
    builder.finish_vec().expect("finished")
}

fn idempotent_batch(producer_id: i64, sequence: i32, transactional: bool, values: &[&str]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None).producer(producer_id, 0, sequence).transactional(transactional);
    for value in values {
        builder.append(START_MS, None, Some(value.as_bytes()), &[]).expect("appended");
    }
    builder.finish_vec().expect("finished")
}

fn marker(producer_id: i64, commit: bool) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None).producer(producer_id, 0, -1).transactional(true).control(true);
    builder.append_control(START_MS, &ControlRecord::end_transaction(commit, 1)).expect("appended");
    builder.finish_vec().expect("finished")
}

/// Appends and lets the high watermark follow, as a partition with one replica does.
pub(crate) fn produce(log: &Log, records: &[u8]) -> AppendInfo {
    let info = log.append_as_leader(records, 0, AppendOrigin::Client).expect("appended");
    log.maybe_increment_high_watermark(log.log_end_offset());
    info
}

pub(crate) fn bytes_of(records: &Records) -> Vec<u8> {
    match records {
        Records::Bytes(bytes) => bytes.to_vec(),
        Records::File(slice) => {
            let mut bytes = vec![0; slice.len];
            let read = fs::read_at(&slice.file, Path::new("slice"), &mut bytes, slice.position).expect("read");
            bytes.truncate(read);
            bytes
        }
    }
}

/// Every record from `offset` on, read in steps of `max_bytes`.
pub(crate) fn records_from(log: &Log, mut offset: i64, max_bytes: usize, isolation: FetchIsolation) -> Vec<Record> {
    let mut found = Vec::new();
    loop {
        let read = log.read(offset, max_bytes, true, isolation).expect("read");
        let bytes = bytes_of(&read.records);
        let before = offset;
        for batch in Batches::new(&bytes).map_while(Result::ok) {
            batch.verify_crc().expect("whole");
            found.extend(batch.records().map(|record| record.expect("readable")).filter(|record| record.offset >= offset));
            offset = batch.header().next_offset();
        }
        if offset == before {
            return found;
        }
    }
}

fn values(log: &Log) -> Vec<String> {
    let records = records_from(log, log.log_start_offset(), 1, FetchIsolation::LogEnd);
    let text = |record: &Record| String::from_utf8(record.value.as_ref().expect("a value").to_vec()).expect("text");
    records.iter().map(text).collect()
}

fn small_segments() -> LogConfig {
    LogConfig { segment_bytes: 300, index_interval_bytes: 0, ..LogConfig::default() }
}

#[test]
fn appends_are_read_back_from_any_offset() {
    let fixture = Fixture::new(small_segments());
    let log = fixture.open();
    for n in 0..20 {
        let info = produce(&log, &plain_batch(START_MS + n, &[&format!("a{n}"), &format!("b{n}")]));
        assert_eq!((info.first_offset, info.last_offset, info.log_append_time_ms), (n * 2, n * 2 + 1, -1));
    }
    assert!(log.segment_paths().len() > 3);
    assert_eq!((log.log_end_offset(), log.high_watermark()), (40, 40));
    for offset in 0..40 {
        for max_bytes in [1, 100, 10_000] {
            let records = records_from(&log, offset, max_bytes, FetchIsolation::HighWatermark);
            assert!(records.iter().map(|record| record.offset).eq(offset..40));
        }
    }
    let beyond = log.read(41, 10, true, FetchIsolation::LogEnd);
    assert!(matches!(beyond, Err(ReadError::OffsetOutOfRange { .. })), "{beyond:?}");
    assert!(log.read(40, 10, true, FetchIsolation::LogEnd).expect("the end is in range").records.is_empty());
}

#[test]
fn consumers_see_nothing_above_the_high_watermark() {
    let fixture = Fixture::new(small_segments());
    let log = fixture.open();
    for n in 0..10 {
        log.append_as_leader(&plain_batch(START_MS, &[&n.to_string()]), 0, AppendOrigin::Client).expect("appended");
    }
    assert!(records_from(&log, 0, 1000, FetchIsolation::HighWatermark).is_empty());
    for high_watermark in 1..=10 {
        assert!(log.maybe_increment_high_watermark(high_watermark));
        assert_eq!(records_from(&log, 0, 1000, FetchIsolation::HighWatermark).len() as i64, high_watermark);
        assert_eq!(records_from(&log, 0, 1000, FetchIsolation::LogEnd).len(), 10);
    }
    assert!(!log.maybe_increment_high_watermark(9));
    assert!(!log.maybe_increment_high_watermark(99));
}

#[test]
fn max_bytes_is_obeyed_but_for_the_first_batch() {
    let fixture = Fixture::new(LogConfig::default());
    let log = fixture.open();
    let size = produce(&log, &plain_batch(START_MS, &["0123456789"])).size_bytes;
    produce(&log, &plain_batch(START_MS, &["0123456789"]));
    let read = |max_bytes, min_one| log.read(0, max_bytes, min_one, FetchIsolation::HighWatermark).expect("read");
    assert_eq!(read(1, true).records.len(), size);
    assert_eq!((read(10, false).records.len(), read(10, false).first_entry_incomplete), (10, true));
    assert_eq!(read(0, false).records.len(), 0);
    assert_eq!(read(size + 3, true).records.len(), size + 3);
    assert_eq!(read(10_000, false).records.len(), 2 * size);
}

#[test]
fn a_retried_batch_gets_its_first_offsets() {
    let fixture = Fixture::new(LogConfig::default());
    let log = fixture.open();
    let first = produce(&log, &idempotent_batch(9, 0, false, &["a", "b"]));
    let again = produce(&log, &idempotent_batch(9, 0, false, &["a", "b"]));
    assert!(again.duplicate && !first.duplicate);
    assert_eq!((again.first_offset, again.last_offset), (0, 1));
    assert_eq!(log.log_end_offset(), 2);
    let gap = log.append_as_leader(&idempotent_batch(9, 3, false, &["d"]), 0, AppendOrigin::Client);
    assert!(matches!(gap, Err(AppendError::OutOfOrderSequence(_))), "{gap:?}");
    drop(log);
    let reopened = fixture.open();
    assert!(produce(&reopened, &idempotent_batch(9, 0, false, &["a", "b"])).duplicate);
    produce(&reopened, &idempotent_batch(9, 2, false, &["c"]));
    assert_eq!(reopened.active_producers()[0].last_sequence, 2);
}

#[test]
fn read_committed_stops_at_the_open_transaction_and_names_the_aborted() {
    let fixture = Fixture::new(small_segments());
    let log = fixture.open();
    produce(&log, &idempotent_batch(1, 0, true, &["a"]));
    produce(&log, &plain_batch(START_MS, &["x"]));
    assert_eq!((log.last_stable_offset(), log.high_watermark()), (0, 2));
    assert!(records_from(&log, 0, 1000, FetchIsolation::TransactionCommitted).is_empty());
    log.append_as_leader(&marker(1, false), 0, AppendOrigin::Coordinator).expect("appended");
    assert_eq!(log.last_stable_offset(), 0, "the marker is not replicated yet");
    log.maybe_increment_high_watermark(3);
    assert_eq!(log.last_stable_offset(), 3);
    let read = log.read(0, 1000, true, FetchIsolation::TransactionCommitted).expect("read");
    assert_eq!(read.aborted_transactions, Some(vec![AbortedTransaction { producer_id: 1, first_offset: 0 }]));
    for n in 0..20 {
        produce(&log, &plain_batch(START_MS, &[&n.to_string()]));
    }
    let read = log.read(10, 1000, true, FetchIsolation::TransactionCommitted).expect("read");
    assert_eq!(read.aborted_transactions, Some(vec![]));
    drop(log);
    let reopened = fixture.open();
    reopened.update_high_watermark(23);
    let read = reopened.read(0, 1000, true, FetchIsolation::TransactionCommitted).expect("read");
    assert_eq!(read.aborted_transactions, Some(vec![AbortedTransaction { producer_id: 1, first_offset: 0 }]));
}

#[test]
fn segments_roll_by_size_time_and_full_index() {
    let fixture = Fixture::new(LogConfig { segment_ms: 1000, ..LogConfig::default() });
    let log = fixture.open();
    produce(&log, &plain_batch(START_MS, &["a"]));
    produce(&log, &plain_batch(START_MS + 1000, &["b"]));
    assert_eq!(log.segment_paths().len(), 1);
    produce(&log, &plain_batch(START_MS + 1001, &["c"]));
    assert_eq!(log.segment_paths().len(), 2);

    let fixture = Fixture::new(LogConfig { segment_index_bytes: 36, index_interval_bytes: 0, ..LogConfig::default() });
    let log = fixture.open();
    for n in 0..10 {
        produce(&log, &plain_batch(START_MS + n, &["a"]));
    }
    assert!(log.segment_paths().len() > 1);

    let fixture = Fixture::new(LogConfig { segment_bytes: 60, ..LogConfig::default() });
    let too_large = fixture.open().append_as_leader(&plain_batch(START_MS, &["a"]), 0, AppendOrigin::Client);
    assert!(matches!(too_large, Err(AppendError::RecordListTooLarge(_))), "{too_large:?}");
}

#[test]
fn offsets_are_found_by_timestamp() {
    let fixture = Fixture::new(small_segments());
    let log = fixture.open();
    let none = log.offset_for_timestamp(MAX_TIMESTAMP).expect("searched");
    assert_eq!(none, None);
    for n in 0..30 {
        produce(&log, &plain_batch(START_MS + n * 10, &["a", "b"]));
    }
    let at =
        |timestamp| log.offset_for_timestamp(timestamp).expect("searched").map(|found| (found.timestamp, found.offset, found.leader_epoch));
    assert_eq!(at(EARLIEST_TIMESTAMP), Some((-1, 0, 0)));
    assert_eq!(at(EARLIEST_LOCAL_TIMESTAMP), Some((-1, 0, 0)));
    assert_eq!(at(LATEST_TIMESTAMP), Some((-1, 60, 0)));
    assert_eq!(at(LATEST_TIERED_TIMESTAMP), Some((-1, -1, -1)));
    assert_eq!(at(MAX_TIMESTAMP), Some((START_MS + 290, 58, 0)));
    assert_eq!(at(0), Some((START_MS, 0, 0)));
    for n in 0..30 {
        assert_eq!(at(START_MS + n * 10), Some((START_MS + n * 10, n * 2, 0)));
        assert_eq!(at(START_MS + n * 10 - 5), Some((START_MS + n * 10, n * 2, 0)));
    }
    assert_eq!(at(START_MS + 291), None);
    log.delete_records_before(31).expect("deleted");
    assert_eq!(at(0), Some((START_MS + 150, 31, 0)));
    assert_eq!(at(EARLIEST_TIMESTAMP), Some((-1, 31, 0)));
}

#[test]
fn retention_deletes_whole_old_segments_and_unlinks_them_later() {
    let fixture = Fixture::new(LogConfig { retention_ms: 10_000, ..small_segments() });
    let log = fixture.open();
    for n in 0..20 {
        produce(&log, &plain_batch(START_MS + n * 1000, &["0123456789"]));
    }
    fixture.clock.advance(19_000);
    assert!(log.delete_old_segments().expect("deleted") > 0);
    let start = log.log_start_offset();
    assert!((1..=9).contains(&start), "{start}");
    let oldest = records_from(&log, start, 1000, FetchIsolation::HighWatermark);
    assert_eq!(oldest.len() as i64, 20 - start);
    let deleted_files = || {
        let paths = fs::list(&fixture.dir.path().join("t-0")).expect("listed");
        paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "deleted")).count()
    };
    assert!(deleted_files() > 0);
    log.remove_deleted_files().expect("removed");
    assert!(deleted_files() > 0, "the delay is not over");
    fixture.clock.advance(60_000);
    log.remove_deleted_files().expect("removed");
    assert_eq!(deleted_files(), 0);
    fixture.clock.advance(1_000_000);
    log.delete_old_segments().expect("deleted");
    assert_eq!((log.log_start_offset(), log.log_end_offset(), log.size_bytes()), (20, 20, 0));
    produce(&log, &plain_batch(START_MS, &["more"]));
    assert_eq!(log.log_end_offset(), 21);
}

#[test]
fn what_is_stamped_while_the_clock_jumps_is_found_by_time_and_kept_by_its_stamp() {
    const HOUR_MS: i64 = 60 * 60 * 1000;
    let fixture =
        Fixture::new(LogConfig { message_timestamp_type: TimestampType::LogAppendTime, retention_ms: 10 * HOUR_MS, ..small_segments() });
    let mut log = fixture.open();
    let mut stamps = Vec::new();
    for (n, jump_hours) in [0, 6, -6, -3, 20, -20, 0, 3].into_iter().enumerate() {
        fixture.clock.jump(jump_hours * HOUR_MS);
        for _ in 0..5 {
            fixture.clock.advance(10);
            let info = produce(&log, &plain_batch(START_MS, &["a", "b"]));
            assert_eq!(info.log_append_time_ms, fixture.clock.now_ms());
            stamps.extend([info.log_append_time_ms; 2]);
        }
        if n % 2 == 1 {
            drop(log);
            log = fixture.open();
            log.maybe_increment_high_watermark(log.log_end_offset());
        }
        for target in stamps.iter().flat_map(|stamp| [stamp - 5, *stamp, stamp + 5]) {
            let found = log.offset_for_timestamp(target).expect("searched").map(|found| found.offset);
            assert_eq!(found, stamps.iter().position(|stamp| *stamp >= target).map(|offset| offset as i64), "{target} after jump {n}");
        }
    }
    let last = stamps.iter().max().and_then(|last| stamps.iter().position(|stamp| stamp == last)).expect("some");
    assert_eq!(log.offset_for_timestamp(MAX_TIMESTAMP).expect("searched").map(|found| found.offset), Some(last as i64));
    assert_eq!(log.delete_old_segments().expect("deleted"), 0, "all are of the last hours, or of hours to come");
    fixture.clock.jump(11 * HOUR_MS);
    assert!(log.delete_old_segments().expect("deleted") > 0);
    let start = log.log_start_offset();
    assert!((1..=10).contains(&start), "{start}: up to what was stamped six hours ahead");
    fixture.clock.jump(-30 * HOUR_MS);
    assert_eq!((log.delete_old_segments().expect("deleted"), log.log_start_offset()), (0, start));
}

#[test]
fn retention_by_size_and_never_above_the_high_watermark() {
    let fixture = Fixture::new(LogConfig { retention_ms: -1, retention_bytes: 500, ..small_segments() });
    let log = fixture.open();
    for _ in 0..20 {
        log.append_as_leader(&plain_batch(START_MS, &["0123456789"]), 0, AppendOrigin::Client).expect("appended");
    }
    assert_eq!(log.delete_old_segments().expect("deleted"), 0);
    log.maybe_increment_high_watermark(20);
    assert!(log.delete_old_segments().expect("deleted") > 0);
    assert!((500..800).contains(&log.size_bytes()), "{}", log.size_bytes());
    log.update_config(Arc::new(LogConfig {
        retention_bytes: 0,
        cleanup_policy: CleanupPolicy { compact: true, delete: false },
        ..small_segments()
    }));
    assert_eq!(log.delete_old_segments().expect("deleted"), 0, "a compacted topic is not cut by size");
}

#[test]
fn delete_records_moves_the_start_and_survives_by_checkpoint() {
    let fixture = Fixture::new(small_segments());
    let log = fixture.open();
    for n in 0..20 {
        produce(&log, &plain_batch(START_MS, &[&n.to_string(), "x"]));
    }
    assert_eq!(log.delete_records_before(13).expect("deleted"), 13);
    assert!(matches!(log.delete_records_before(41), Err(ReadError::OffsetOutOfRange { .. })));
    assert_eq!(log.delete_records_before(5).expect("nothing to do"), 13);
    assert!(matches!(log.read(12, 10, true, FetchIsolation::LogEnd), Err(ReadError::OffsetOutOfRange { .. })));
    assert_eq!(values(&log)[0], "x");
    log.delete_old_segments().expect("deleted");
    assert!(log.first_segment_base_offset() <= 13);
    drop(log);
    let reopened = Log::open(LogOptions { log_start_offset: 13, ..fixture.options() }).expect("opened");
    assert_eq!((reopened.log_start_offset(), reopened.log_end_offset()), (13, 40));
}

#[test]
fn truncation_cuts_data_epochs_and_producers() {
    let fixture = Fixture::new(small_segments());
    let log = fixture.open();
    for n in 0..20 {
        let batch = idempotent_batch(5, n * 2, false, &["a", "b"]);
        log.append_as_leader(&batch, n / 10, AppendOrigin::Client).expect("appended");
    }
    assert_eq!((log.latest_epoch(), log.end_offset_for_epoch(0)), (Some(1), Some((0, 20))));
    assert!(!log.truncate_to(40).expect("nothing to cut"));
    assert!(log.truncate_to(11).expect("cut"));
    // The batch that holds offset 11 goes as a whole, as in Kafka, but the end is where it was asked to be.
    assert_eq!((log.log_end_offset(), log.latest_epoch()), (11, Some(0)));
    assert_eq!(log.active_producers()[0].last_sequence, 9);
    assert!(log.truncate_to(10).expect("cut"));
    log.append_as_leader(&idempotent_batch(5, 10, false, &["c"]), 2, AppendOrigin::Client).expect("appended");
    assert_eq!(values(&log).len(), 11);
    log.truncate_fully_and_start_at(100).expect("emptied");
    assert_eq!((log.log_start_offset(), log.log_end_offset(), log.high_watermark()), (100, 100, 100));
    assert_eq!((log.size_bytes(), log.latest_epoch()), (0, None));
    produce(&log, &plain_batch(START_MS, &["z"]));
    drop(log);
    assert_eq!(values(&fixture.open()), ["z"]);
}

#[test]
fn a_follower_keeps_offsets_and_epochs() {
    let (leader, follower) = (Fixture::new(small_segments()), Fixture::new(small_segments()));
    let (leader_log, follower_log) = (leader.open(), follower.open());
    for n in 0..10 {
        leader_log.append_as_leader(&plain_batch(START_MS, &[&n.to_string()]), n / 4, AppendOrigin::Client).expect("appended");
    }
    let mut offset = 0;
    while offset < 10 {
        let read = leader_log.read(offset, 200, true, FetchIsolation::LogEnd).expect("read");
        let info = follower_log.append_as_follower(&bytes_of(&read.records)).expect("appended");
        offset = info.last_offset + 1;
    }
    assert_eq!(values(&follower_log), values(&leader_log));
    assert_eq!(follower_log.latest_epoch(), Some(2));
    assert_eq!(follower_log.end_offset_for_epoch(1), Some((1, 8)));
    let read = leader_log.read(3, 200, true, FetchIsolation::LogEnd).expect("read");
    let again = follower_log.append_as_follower(&bytes_of(&read.records));
    assert!(matches!(again, Err(AppendError::UnexpectedAppendOffset(_))), "{again:?}");
}

#[test]
fn a_clean_stop_leaves_nothing_to_recover() {
    let fixture = Fixture::new(LogConfig { index_interval_bytes: 100, ..LogConfig::default() });
    let log = fixture.open();
    for n in 0..50 {
        produce(&log, &idempotent_batch(5, n, false, &["value"]));
    }
    log.flush().expect("flushed");
    assert_eq!(log.recovery_point(), 50);
    log.close().expect("closed");
    assert!(log.append_as_leader(&plain_batch(START_MS, &["late"]), 0, AppendOrigin::Client).is_err());
    drop(log);
    let before = files(&fixture);
    let reopened = Log::open(LogOptions { had_clean_shutdown: true, ..fixture.options() }).expect("opened");
    assert_eq!(files(&fixture), before);
    assert_eq!((reopened.log_end_offset(), reopened.recovery_point()), (50, 50));
    assert_eq!(reopened.active_producers()[0].last_sequence, 49);
    produce(&reopened, &idempotent_batch(5, 50, false, &["value"]));
}

fn files(fixture: &Fixture) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = fs::list(&fixture.dir.path().join("t-0")).expect("listed");
    paths.into_iter().map(|path| (path.clone(), fs::read(&path).expect("read"))).collect()
}

#[test]
fn a_torn_tail_is_cut_wherever_the_write_stopped() {
    let fixture = Fixture::new(LogConfig { index_interval_bytes: 0, ..LogConfig::default() });
    let log = fixture.open();
    for n in 0..5 {
        produce(&log, &idempotent_batch(5, n, false, &[&format!("value {n}")]));
    }
    let path = log.segment_paths()[0].clone();
    drop(log);
    let whole = fs::read(&path).expect("read");
    let batch = whole.len() / 5;
    for len in whole.len() - batch..=whole.len() {
        fs::write(&path, &whole[..len]).expect("written");
        let log = fixture.open();
        let expected = if len == whole.len() { 5 } else { 4 };
        assert_eq!((log.log_end_offset(), log.size_bytes()), (expected, expected as u64 * batch as u64), "cut at {len}");
        assert_eq!(values(&log).len() as i64, expected);
        assert_eq!(log.active_producers()[0].last_sequence as i64, expected - 1);
        let appended = produce(&log, &idempotent_batch(5, expected as i32, false, &["again"]));
        assert_eq!(appended.first_offset, expected);
    }
}

#[test]
fn corruption_inside_cuts_all_that_follows() {
    let fixture = Fixture::new(small_segments());
    let log = fixture.open();
    for n in 0..20 {
        produce(&log, &plain_batch(START_MS, &[&format!("value {n}")]));
    }
    let paths = log.segment_paths();
    drop(log);
    let victim = &paths[paths.len() / 2];
    let mut content = fs::read(victim).expect("read");
    let last = content.len() - 1;
    content[last] ^= 0xff;
    fs::write(victim, &content).expect("written");
    let log = fixture.open();
    assert_eq!(log.segment_paths().len(), paths.len() / 2 + 1);
    let survivors = values(&log);
    assert!(survivors.iter().enumerate().all(|(n, value)| *value == format!("value {n}")));
    assert_eq!(log.log_end_offset(), survivors.len() as i64);
    produce(&log, &plain_batch(START_MS, &["on it goes"]));
    assert_eq!(values(&log).len(), survivors.len() + 1);
}

#[test]
fn lost_and_zeroed_indexes_are_rebuilt() {
    let fixture = Fixture::new(LogConfig { segment_bytes: 1000, index_interval_bytes: 100, ..LogConfig::default() });
    let log = fixture.open();
    for n in 0..60 {
        produce(&log, &plain_batch(START_MS + n, &[&format!("value {n}")]));
    }
    let expected = values(&log);
    log.flush().expect("flushed");
    log.close().expect("closed");
    drop(log);
    let before = files(&fixture);
    for (n, (path, content)) in before.iter().enumerate() {
        if path.extension().is_some_and(|extension| extension == "index" || extension == "timeindex") {
            match n % 3 {
                0 => fs::remove_file(path).expect("removed"),
                1 => fs::write(path, &vec![0; content.len().max(24)]).expect("written"),
                _ => fs::write(path, b"odd").expect("written"),
            }
        }
    }
    let log = Log::open(LogOptions { had_clean_shutdown: true, ..fixture.options() }).expect("opened");
    assert_eq!(values(&log), expected);
    drop(log);
    let after = files(&fixture);
    for file in before.iter().filter(|(path, _)| path.extension().is_some_and(|extension| extension != "snapshot")) {
        assert!(after.contains(file), "{}", file.0.display());
    }
}

#[test]
fn interrupted_swaps_are_finished_or_undone() {
    let fixture = Fixture::new(small_segments());
    let log = fixture.open();
    for n in 0..10 {
        produce(&log, &plain_batch(START_MS, &[&format!("value {n}")]));
    }
    let first = log.segment_paths()[0].clone();
    let expected = values(&log);
    log.flush().expect("flushed");
    log.close().expect("closed");
    drop(log);
    let clean = || Log::open(LogOptions { had_clean_shutdown: true, ..fixture.options() }).expect("opened");
    // A complete replacement takes the place of its original, which may be there or gone.
    let swap = fs::with_suffix(&first, ".swap");
    fs::rename(&first, &swap).expect("renamed");
    assert_eq!(values(&clean()), expected);
    assert!(!fs::exists(&swap) && fs::exists(&first));
    // A replacement that was not complete goes.
    fs::write(&fs::with_suffix(&first, ".cleaned"), b"half").expect("written");
    fs::write(&fs::with_suffix(&first, ".deleted"), b"old").expect("written");
    assert_eq!(values(&clean()), expected);
    assert!(!fs::exists(&fs::with_suffix(&first, ".cleaned")) && !fs::exists(&fs::with_suffix(&first, ".deleted")));
}

#[test]
fn an_io_error_takes_the_directory_offline_and_loses_nothing_acknowledged() {
    for failing in 0..12 {
        let fixture = Fixture::new(small_segments());
        let log = fixture.open();
        let mut acknowledged = 0;
        fs::faults::fail_with(40 + failing, std::io::ErrorKind::Other);
        while acknowledged < 1000 {
            let batch = plain_batch(START_MS, &[&acknowledged.to_string()]);
            match log.append_as_leader(&batch, 0, AppendOrigin::Client) {
                Ok(_) => acknowledged += 1,
                Err(error) => {
                    assert!(matches!(error, AppendError::Storage(_)), "{error:?}");
                    break;
                }
            }
        }
        fs::faults::clear();
        assert!(log.append_as_leader(&plain_batch(START_MS, &["more"]), 0, AppendOrigin::Client).is_err(), "offline for good");
        assert!(log.read(0, 10, true, FetchIsolation::LogEnd).is_err());
        drop(log);
        let reopened = values(&fixture.open());
        assert!(reopened.len() >= acknowledged, "{} of {acknowledged}", reopened.len());
        assert!(reopened.iter().enumerate().all(|(n, value)| *value == n.to_string()));
    }
}

#[test]
fn the_topic_id_and_the_epoch_are_durable_with_the_first_record_or_flush() {
    let id = Uuid::from_u128(77);
    for with_record in [true, false] {
        let fixture = Fixture::new(LogConfig::default());
        let log = Log::open(LogOptions { topic_id: Some(id), ..fixture.options() }).expect("opened");
        assert_eq!(log.topic_id(), Some(id));
        log.assign_epoch_start_offset(3, 0).expect("assigned");
        match with_record {
            true => drop(log.append_as_leader(&plain_batch(START_MS, &["first"]), 3, AppendOrigin::Client).expect("appended")),
            false => log.flush().expect("flushed"),
        }
        assert_eq!(log.unsynced_topic_id(), None);
        let dir = log.dir();
        drop(log);
        let epochs = checkpoint::read_epochs(&dir.join(checkpoint::LEADER_EPOCH_CHECKPOINT)).expect("read");
        assert_eq!((partition_metadata::read(&dir).expect("read"), epochs), (Some(id), vec![(3, 0)]));
    }
}

#[test]
fn leader_epochs_that_cannot_be_understood_are_read_from_the_log() {
    for had_clean_shutdown in [true, false] {
        let fixture = Fixture::new(LogConfig::default());
        let log = fixture.open();
        for (offset, epoch) in [(0, 2), (1, 2), (2, 5)] {
            log.assign_epoch_start_offset(epoch, offset).expect("assigned");
            log.append_as_leader(&plain_batch(START_MS, &["a"]), epoch, AppendOrigin::Client).expect("appended");
        }
        log.close().expect("closed");
        let path = log.dir().join(checkpoint::LEADER_EPOCH_CHECKPOINT);
        drop(log);
        fs::write(&path, b"0\n2\n2 0\n\0\0").expect("written");
        let log = Log::open(LogOptions { had_clean_shutdown, recovery_point: 3, ..fixture.options() }).expect("opened");
        assert_eq!(log.end_offset_for_epoch(2), Some((2, 2)));
        // As one does that becomes leader.
        log.assign_epoch_start_offset(7, 3).expect("assigned");
        log.flush().expect("flushed");
        log.close().expect("closed");
        assert_eq!(checkpoint::read_epochs(&path).expect("read"), [(2, 0), (5, 2)]);
    }
}

#[test]
fn leader_epochs_that_recovery_finds_are_on_disk_though_nothing_is_appended() {
    let fixture = Fixture::new(LogConfig::default());
    let log = fixture.open();
    log.append_as_leader(&plain_batch(START_MS, &["a"]), 3, AppendOrigin::Client).expect("appended");
    log.roll().expect("rolled");
    log.append_as_leader(&plain_batch(START_MS, &["b"]), 3, AppendOrigin::Client).expect("appended");
    log.flush().expect("flushed");
    let path = log.dir().join(checkpoint::LEADER_EPOCH_CHECKPOINT);
    drop(log);
    fs::remove_file(&path).expect("removed");
    // Its segment is recovered before the first one is.
    fs::remove_file(&fixture.options().dir.join(format!("{:020}.timeindex", 1))).expect("removed");
    let log = fixture.open();
    log.assign_epoch_start_offset(4, 2).expect("assigned");
    log.flush().expect("flushed");
    log.close().expect("closed");
    assert_eq!(checkpoint::read_epochs(&path).expect("read"), [(3, 0)]);
}

#[test]
fn an_empty_log_without_topic_id_adopts_one() {
    let fixture = Fixture::new(LogConfig::default());
    let id = Uuid::from_u128(77);
    let dir = Log::open(LogOptions { topic_id: Some(id), ..fixture.options() }).expect("opened").dir();
    // The power failed before the file was synced.
    fs::write(&dir.join(partition_metadata::PARTITION_METADATA), b"").expect("written");
    let log = fixture.open();
    assert_eq!(log.topic_id(), None);
    log.adopt_topic_id(id).expect("written");
    produce(&log, &plain_batch(START_MS, &["first"]));
    drop(log);
    assert_eq!(fixture.open().topic_id(), Some(id));
}

#[test]
fn what_is_stored_is_what_was_sent_but_for_offset_and_epoch() {
    let fixture = Fixture::new(LogConfig::default());
    let log = fixture.open();
    produce(&log, &plain_batch(START_MS, &["first"]));
    let sent = plain_batch(START_MS, &["second"]);
    log.append_as_leader(&sent, 6, AppendOrigin::Client).expect("appended");
    let stored = bytes_of(&log.read(1, 1000, true, FetchIsolation::LogEnd).expect("read").records);
    let header = *BatchView::parse(&stored).expect("a batch").header();
    assert_eq!((header.base_offset, header.partition_leader_epoch), (1, 6));
    assert_eq!(stored[16..], sent[16..]);
}

#[test]
fn messages_of_old_formats_are_refused_not_cut() {
    let fixture = Fixture::new(LogConfig::default());
    let dir = fixture.options().dir;
    fs::create_dir_all(&dir).expect("created");
    let path = dir.join("00000000000000000000.log");
    let old = crate::storage::old_message::tests::message(0, 0, Some(START_MS), Some(b"k"), Some(b"v"));
    fs::write(&path, &old).expect("written");
    let error = Log::open(fixture.options()).expect_err("refused").to_string();
    assert!(error.contains("before Kafka 0.11 (magic 1)"), "{error}");
    assert_eq!(fs::read(&path).expect("read"), old);

    let mut damaged = old;
    damaged[20] ^= 1;
    fs::write(&path, &damaged).expect("written");
    assert_eq!(fixture.open().log_end_offset(), 0, "damage is cut as everywhere");
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
                produce(&writer, &plain_batch(START_MS + n, &["a value of some length"]));
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
                    let bytes = bytes_of(&read.records);
                    for batch in Batches::new(&bytes).map_while(Result::ok) {
                        batch.verify_crc().expect("whole");
                        assert!(batch.header().base_offset >= offset);
                        offset = batch.header().next_offset();
                    }
                }
            });
        }
    });
}
