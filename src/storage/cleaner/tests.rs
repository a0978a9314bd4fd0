//! Compaction of one log, rule by rule. What the other test modules share is here too.

use std::collections::BTreeMap;

use super::*;
use crate::common::clock::ManualClock;
use crate::protocol::batch::{BatchBuilder, ControlRecord, ControlRecordType, Record, TimestampType};
use crate::protocol::compression::Compression;
use crate::storage::config::{CleanupPolicy, LogConfig};
use crate::storage::log::tests::{Fixture, START_MS, bytes_of, produce, records_from};
use crate::storage::log::{AppendOrigin, FetchIsolation};

pub(in crate::storage) const DAY_MS: i64 = 24 * 60 * 60 * 1000;

pub(in crate::storage) fn compacted(segment_bytes: i32) -> Fixture {
    Fixture::new(LogConfig {
        segment_bytes,
        index_interval_bytes: 0,
        cleanup_policy: CleanupPolicy { compact: true, delete: false },
        ..LogConfig::default()
    })
}

/// One round with a map of `memory_bytes`, as a broker's thread does it.
pub(in crate::storage) fn clean_within(log: &Log, clock: &ManualClock, memory_bytes: u64) -> Result<Round, CleanError> {
    let config = CleanerConfig { dedupe_buffer_size_bytes: memory_bytes, ..CleanerConfig::default() };
    let cleaner = Cleaner { config: &config, throttle: &Throttle::new(), clock, stopping: &AtomicBool::new(false) };
    let found = cleanable(log, clock.now_ms())?;
    let running = log.cleaning().begin().expect("nobody else cleans");
    let round = cleaner.clean(log, &found)?;
    log.cleaning().on_cleaned(round.end_offset);
    drop(running);
    Ok(round)
}

pub(super) fn clean(log: &Log, clock: &ManualClock) -> i64 {
    clean_within(log, clock, 1 << 20).expect("cleaned").end_offset
}

/// Records of one producer; its sequence numbers are the offsets it would have had alone.
pub(in crate::storage) fn batch(producer_id: i64, sequence: i32, transactional: bool, records: &[(&str, Option<&str>)]) -> Vec<u8> {
    batch_with(Compression::None, producer_id, sequence, transactional, START_MS, records)
}

pub(super) fn batch_with(
    compression: Compression,
    producer_id: i64,
    sequence: i32,
    transactional: bool,
    timestamp: i64,
    records: &[(&str, Option<&str>)],
) -> Vec<u8> {
    let mut builder = BatchBuilder::new(compression).producer(producer_id, 0, sequence).transactional(transactional);
    for (n, (key, value)) in records.iter().enumerate() {
        builder.append(timestamp + n as i64, Some(key.as_bytes()), value.map(str::as_bytes), &[]).expect("appended");
    }
    builder.finish_vec().expect("finished")
}

fn put(log: &Log, sequence: i32, records: &[(&str, Option<&str>)]) {
    produce(log, &batch(1, sequence, false, records));
}

/// Only the log has the marker yet, nobody else.
pub(super) fn append_marker(log: &Log, producer_id: i64, commit: bool) {
    let mut builder = BatchBuilder::new(Compression::None).producer(producer_id, 0, -1).transactional(true).control(true);
    builder.append_control(START_MS, &ControlRecord::end_transaction(commit, 1)).expect("appended");
    log.append_as_leader(&builder.finish_vec().expect("finished"), 0, AppendOrigin::Coordinator).expect("appended");
}

pub(in crate::storage) fn end_transaction(log: &Log, producer_id: i64, commit: bool) {
    append_marker(log, producer_id, commit);
    log.maybe_increment_high_watermark(log.log_end_offset());
}

/// Every batch of the log, whole.
pub(super) fn batches(log: &Log) -> Vec<Vec<u8>> {
    let (mut found, mut offset) = (Vec::new(), log.log_start_offset());
    while offset < log.log_end_offset() {
        let bytes = bytes_of(&log.read(offset, 1 << 20, true, FetchIsolation::LogEnd).expect("read").records);
        let before = offset;
        for batch in Batches::new(&bytes).map_while(Result::ok) {
            batch.verify_crc().expect("whole");
            assert!(batch.header().last_offset() >= offset, "a batch comes twice or late");
            offset = batch.header().next_offset();
            found.push(batch.bytes().to_vec());
        }
        if offset == before {
            break;
        }
    }
    found
}

pub(in crate::storage) type Content = Vec<(i64, String, Option<String>)>;

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

fn plain(record: &Record) -> (i64, String, Option<String>) {
    (record.offset, text(record.key.as_ref().expect("a key")), record.value.as_deref().map(text))
}

/// All data records, those of aborted transactions too.
pub(super) fn contents(log: &Log) -> Content {
    let mut found = Vec::new();
    for bytes in batches(log) {
        let batch = BatchView::parse(&bytes).expect("a batch");
        if !batch.header().is_control() {
            found.extend(batch.records().map(|record| plain(&record.expect("readable"))));
        }
    }
    found
}

/// What a consumer that reads committed records sees, with the algorithm of Kafka's: aborted producers by the broker's list, until their marker.
pub(in crate::storage) fn committed(log: &Log, max_bytes: usize) -> Content {
    let (mut found, mut offset) = (Content::new(), log.log_start_offset());
    loop {
        let read = log.read(offset, max_bytes, true, FetchIsolation::TransactionCommitted).expect("read");
        let bytes = bytes_of(&read.records);
        let mut aborted = read.aborted_transactions.expect("asked for");
        aborted.sort_by_key(|txn| std::cmp::Reverse(txn.first_offset));
        let mut producers = std::collections::BTreeSet::new();
        let before = offset;
        for batch in Batches::new(&bytes).map_while(Result::ok) {
            let header = batch.header();
            while aborted.last().is_some_and(|txn| txn.first_offset <= header.last_offset()) {
                producers.extend(aborted.pop().map(|txn| txn.producer_id));
            }
            if header.is_control() {
                let record = batch.records().next().and_then(Result::ok);
                if record.and_then(|record| ControlRecordType::parse(record.key.as_ref()?)) == Some(ControlRecordType::Abort) {
                    producers.remove(&header.producer_id);
                }
            } else if !(header.is_transactional() && producers.contains(&header.producer_id)) {
                let records = batch.records().map(|record| plain(&record.expect("readable")));
                found.extend(records.filter(|(at, ..)| *at >= offset));
            }
            offset = header.next_offset();
        }
        if offset == before {
            return found;
        }
    }
}

/// The last value of each key, and tombstones.
pub(super) fn last_values(content: Content) -> BTreeMap<String, Option<String>> {
    content.into_iter().map(|(_, key, value)| (key, value)).collect()
}

fn offsets(log: &Log) -> Vec<i64> {
    contents(log).iter().map(|(offset, ..)| *offset).collect()
}

fn remove_snapshots(log: &Log) {
    for path in fs::list(&log.dir()).expect("listed") {
        if path.extension().is_some_and(|extension| extension == "snapshot") {
            fs::remove_file(&path).expect("removed");
        }
    }
}

#[test]
fn the_last_record_of_each_key_stays_at_its_offset() {
    let fixture = compacted(400);
    let log = fixture.open();
    for n in 0..40 {
        let long_value = format!("v{n} {}", "x".repeat(60));
        put(&log, n * 2, &[(&format!("k{}", n % 3), Some(&long_value)), (&format!("unique{n}"), Some("u"))]);
    }
    let before = last_values(contents(&log));
    let segments_before = log.segment_paths().len();
    let clean_to = clean(&log, &fixture.clock);
    assert!(clean_to > 60, "{clean_to}");
    assert_eq!(last_values(contents(&log)), before);
    assert!(contents(&log).len() < 60, "{}", contents(&log).len());
    assert!(contents(&log).iter().filter(|(_, key, _)| key.starts_with("unique")).count() == 40);
    assert_eq!(log.log_end_offset(), 80);
    // What the first round has shrunk the next one joins.
    log.cleaning().set_cleaned_to(None);
    clean(&log, &fixture.clock);
    assert!(log.segment_paths().len() < segments_before);
    assert_eq!(last_values(contents(&log)), before);
    let after = contents(&log);
    // Nothing is left of the old files but what waits for its deletion, and a restart finds the same log.
    drop(log);
    let log = fixture.open();
    assert_eq!(contents(&log), after);
    assert_eq!(log.active_producers()[0].last_sequence, 79);
    log.cleaning().set_cleaned_to(Some(clean_to));
    assert_eq!(clean(&log, &fixture.clock), clean_to);
}

#[test]
fn tombstones_stay_for_their_time_then_go() {
    let fixture = compacted(400);
    let log = fixture.open();
    put(&log, 0, &[("gone", Some("value")), ("kept", Some("value"))]);
    put(&log, 2, &[("gone", None)]);
    log.roll().expect("rolled");
    put(&log, 3, &[("other", Some("value"))]);
    clean(&log, &fixture.clock);
    assert_eq!(offsets(&log), [1, 2, 3]);
    let horizon = BatchView::parse(&batches(&log)[1]).expect("a batch").header().delete_horizon_ms();
    assert_eq!(horizon, Some(START_MS + DAY_MS));
    fixture.clock.advance(DAY_MS - 1);
    log.roll().expect("rolled");
    put(&log, 4, &[("more", Some("value"))]);
    clean(&log, &fixture.clock);
    assert!(last_values(contents(&log)).contains_key("gone"));
    fixture.clock.advance(1);
    log.roll().expect("rolled");
    put(&log, 5, &[("yet more", Some("value"))]);
    clean(&log, &fixture.clock);
    assert!(!last_values(contents(&log)).contains_key("gone"));
    assert_eq!(last_values(contents(&log)).len(), 4);
}

#[test]
fn a_delete_horizon_leaves_the_timestamps_as_they_are() {
    for compression in Compression::ALL {
        let fixture = compacted(4000);
        let log = fixture.open();
        produce(&log, &batch_with(compression, 1, 0, false, START_MS + 7, &[("a", None), ("b", Some("value")), ("a", None)]));
        log.roll().expect("rolled");
        put(&log, 3, &[("other", Some("value"))]);
        clean(&log, &fixture.clock);
        let records = records_from(&log, 0, 1000, FetchIsolation::LogEnd);
        let found: Vec<(i64, i64)> = records.iter().map(|record| (record.offset, record.timestamp)).collect();
        assert_eq!(found, [(1, START_MS + 8), (2, START_MS + 9), (3, START_MS)]);
        let first = &batches(&log)[0];
        let header = *BatchView::parse(first).expect("a batch").header();
        assert_eq!((header.base_offset, header.last_offset(), header.max_timestamp), (0, 2, START_MS + 9));
        assert_eq!((header.compression().expect("known"), header.base_timestamp), (compression, START_MS + DAY_MS));
        assert_eq!(header.timestamp_type(), TimestampType::CreateTime);
        // Found by timestamp through the new indexes.
        let found = log.offset_for_timestamp(START_MS + 9).expect("searched").expect("found");
        assert_eq!((found.offset, found.timestamp), (2, START_MS + 9));
    }
}

#[test]
fn an_emptied_last_batch_still_remembers_its_producer() {
    let fixture = compacted(400);
    let log = fixture.open();
    produce(&log, &batch(9, 0, false, &[("k", Some("old"))]));
    put(&log, 0, &[("k", Some("new"))]);
    log.roll().expect("rolled");
    put(&log, 1, &[("x", Some("y"))]);
    clean(&log, &fixture.clock);
    assert_eq!(contents(&log).len(), 2);
    remove_snapshots(&log);
    drop(log);
    let log = fixture.open();
    assert!(log.active_producers().iter().any(|producer| producer.producer_id == 9 && producer.last_sequence == 0));
}

#[test]
fn the_active_segment_and_young_segments_are_left_alone() {
    let fixture = compacted(400);
    let log = fixture.open();
    put(&log, 0, &[("k", Some("1"))]);
    put(&log, 1, &[("k", Some("2"))]);
    assert_eq!(clean(&log, &fixture.clock), 0);
    assert_eq!(contents(&log).len(), 2);
    log.roll().expect("rolled");
    put(&log, 2, &[("k", Some("3"))]);
    log.update_config(Arc::new(LogConfig { min_compaction_lag_ms: 1000, ..fixture.config.clone() }));
    clean(&log, &fixture.clock);
    assert_eq!(contents(&log).len(), 3);
    fixture.clock.advance(1001);
    clean(&log, &fixture.clock);
    assert_eq!(offsets(&log), [1, 2]);
}

#[test]
fn a_log_is_overdue_when_its_oldest_dirty_record_has_waited_too_long() {
    let fixture = compacted(400);
    let log = fixture.open();
    put(&log, 0, &[("k", Some("1"))]);
    log.roll().expect("rolled");
    put(&log, 1, &[("k", Some("2"))]);
    log.update_config(Arc::new(LogConfig { max_compaction_lag_ms: 1000, ..fixture.config.clone() }));
    let found = |now_ms| cleanable(&log, now_ms).expect("looked at");
    assert_eq!(found(START_MS + 1000).overdue_ms, 0);
    assert_eq!(found(START_MS + 1500).overdue_ms, 500);
    assert!(found(START_MS + 1500).is_wanted(1.0) && !found(START_MS + 1000).is_wanted(1.0));
    // What was compacted is not overdue.
    log.cleaning().set_cleaned_to(Some(1));
    assert_eq!(found(START_MS + 5000).overdue_ms, 0);
}

#[test]
fn the_dirty_ratio_is_that_of_the_bytes() {
    let fixture = compacted(400);
    let log = fixture.open();
    for n in 0..4 {
        put(&log, n, &[("k", Some("1"))]);
        log.roll().expect("rolled");
    }
    log.cleaning().set_cleaned_to(Some(3));
    let found = cleanable(&log, START_MS).expect("looked at");
    assert_eq!((found.first_dirty_offset, found.end_offset), (3, 4));
    assert!((found.dirty_ratio() - 0.25).abs() < 0.01, "{found:?}");
    log.cleaning().set_cleaned_to(Some(9));
    let found = cleanable(&log, START_MS).expect("looked at");
    assert_eq!((found.first_dirty_offset, found.checkpoint_is_invalid), (0, true));
}

#[test]
fn nothing_in_a_segment_with_an_open_transaction_is_touched() {
    let fixture = compacted(4000);
    let log = fixture.open();
    put(&log, 0, &[("k", Some("0"))]);
    put(&log, 1, &[("k", Some("1"))]);
    log.roll().expect("rolled");
    put(&log, 2, &[("k", Some("2"))]);
    produce(&log, &batch(7, 0, true, &[("t", Some("open"))]));
    put(&log, 3, &[("k", Some("3"))]);
    log.roll().expect("rolled");
    put(&log, 4, &[("k", Some("4"))]);
    assert_eq!(clean(&log, &fixture.clock), 2);
    assert_eq!(offsets(&log), [1, 2, 3, 4, 5]);
    end_transaction(&log, 7, true);
    log.roll().expect("rolled");
    put(&log, 5, &[("k", Some("5"))]);
    clean(&log, &fixture.clock);
    assert_eq!(offsets(&log), [3, 5, 7]);
}

#[test]
fn aborted_records_go_at_once_and_their_marker_after_two_rounds_and_its_horizon() {
    let fixture = compacted(4000);
    let log = fixture.open();
    put(&log, 0, &[("k", Some("committed"))]);
    produce(&log, &batch(7, 0, true, &[("k", Some("aborted")), ("only", Some("aborted"))]));
    end_transaction(&log, 7, false);
    // Another transaction, so that the batch that is cleaned is not its producer's last.
    produce(&log, &batch(7, 2, true, &[("later", Some("committed"))]));
    end_transaction(&log, 7, true);
    let mut sequence = 1;
    let mut next_round = || {
        log.roll().expect("rolled");
        put(&log, sequence, &[("more", Some("value"))]);
        sequence += 1;
        clean(&log, &fixture.clock);
    };
    let markers = || {
        let of = |bytes: &Vec<u8>| *BatchView::parse(bytes).expect("a batch").header();
        batches(&log).iter().map(of).filter(|header| header.is_control()).map(|header| header.base_offset).collect::<Vec<_>>()
    };
    let expected = last_values(committed(&log, 1 << 20));
    next_round();
    assert_eq!(last_values(contents(&log)).get("k").cloned().flatten().as_deref(), Some("committed"));
    assert!(!contents(&log).iter().any(|(_, _, value)| value.as_deref() == Some("aborted")));
    assert_eq!(markers(), [3, 5]);
    // The aborted transaction's marker stands for nothing now: its horizon is set.
    next_round();
    assert_eq!(markers(), [3, 5]);
    fixture.clock.advance(DAY_MS - 1);
    next_round();
    assert_eq!(markers(), [3, 5]);
    fixture.clock.advance(1);
    next_round();
    // The committed one still has data.
    assert_eq!(markers(), [5]);
    for (key, value) in expected {
        assert_eq!(last_values(committed(&log, 50)).get(&key), Some(&value));
    }
    remove_snapshots(&log);
    drop(log);
    let log = fixture.open();
    assert_eq!(log.last_stable_offset(), log.log_start_offset());
    log.update_high_watermark(log.log_end_offset());
    assert_eq!(log.last_stable_offset(), log.log_end_offset());
}

#[test]
fn a_map_that_is_too_small_takes_several_rounds() {
    let fixture = compacted(1000);
    let log = fixture.open();
    for n in 0..400 {
        put(&log, n, &[(&format!("k{}", n % 200), Some(&format!("v{n}")))]);
    }
    let before = last_values(contents(&log));
    // Room for 36 keys.
    let (mut rounds, mut clean_to) = (0, 0);
    loop {
        let round = clean_within(&log, &fixture.clock, 40 * 24).expect("cleaned");
        assert_eq!(last_values(contents(&log)), before);
        if round.end_offset == clean_to {
            break;
        }
        assert!(round.end_offset > clean_to);
        (rounds, clean_to) = (rounds + 1, round.end_offset);
    }
    assert!(rounds > 5, "{rounds}");
    assert_eq!(contents(&log).len() as i64, 200 + log.log_end_offset() - clean_to.max(200), "{clean_to}");
}

#[test]
fn a_batch_with_more_keys_than_the_map_does_not_stop_the_cleaner() {
    let fixture = compacted(4000);
    let log = fixture.open();
    let keys: Vec<String> = (0..30).map(|n| format!("key{n}")).collect();
    for n in 0..2 {
        put(&log, n * 30, &keys.iter().map(|key| (key.as_str(), Some("v"))).collect::<Vec<_>>());
        log.roll().expect("rolled");
    }
    let first = clean_within(&log, &fixture.clock, 10 * 24).expect("cleaned").end_offset;
    let second = clean_within(&log, &fixture.clock, 10 * 24).expect("cleaned").end_offset;
    assert_eq!((first, second, contents(&log).len()), (30, 60, 30));
}

#[test]
fn a_batch_that_cannot_be_read_is_never_written_anew() {
    let fixture = compacted(4000);
    let log = fixture.open();
    put(&log, 0, &[("k", Some("0")), ("a", Some("0"))]);
    put(&log, 2, &[("k", Some("1"))]);
    log.roll().expect("rolled");
    put(&log, 3, &[("k", Some("2"))]);
    let path = log.segment_paths()[0].clone();
    let mut content = fs::read(&path).expect("read");
    let last = content.len() - 2;
    content[last] ^= 1;
    fs::write(&path, &content).expect("written");
    let failed = clean_within(&log, &fixture.clock, 1 << 20);
    assert!(matches!(failed, Err(CleanError::Unreadable { position, .. }) if position > 0), "{failed:?}");
    assert_eq!(fs::read(&path).expect("read"), content);
    assert!(fs::list(&log.dir()).expect("listed").iter().all(|path| !path.to_string_lossy().contains(".cleaned")));
}

#[test]
fn a_truncation_during_a_round_leaves_the_segments_alone() {
    let fixture = compacted(4000);
    let log = fixture.open();
    put(&log, 0, &[("k", Some("0"))]);
    put(&log, 1, &[("k", Some("1"))]);
    log.roll().expect("rolled");
    put(&log, 2, &[("k", Some("2"))]);
    let before = log.truncations();
    let first = log.all_segments()[0].clone();
    let cleaned = Segment::open(&log.dir(), 0, &log.config(), START_MS, true, CLEANED_SUFFIX).expect("opened");
    // Cut inside the segment that is being replaced: it is the active one now.
    log.truncate_to(1).expect("truncated");
    assert!(!log.replace_segments(&[first], &cleaned, before).expect("refused"));
    assert_eq!(offsets(&log), [0]);
    log.cleaning().set_cleaned_to(Some(2));
    log.truncate_to(0).expect("truncated");
    assert_eq!(log.cleaning().cleaned_to(), Some(0));
}

#[test]
fn grouped_segments_fit_one() {
    let fixture = compacted(1000);
    let log = fixture.open();
    for n in 0..20 {
        put(&log, n, &[("k", Some("some value or other"))]);
        log.roll().expect("rolled");
    }
    let segments = log.all_segments();
    let inactive = &segments[..segments.len() - 1];
    for group in groups(inactive, 300, u64::MAX, 20) {
        assert!(group.iter().map(|segment| segment.size_bytes()).sum::<u64>() <= 300 && group.len() > 1);
    }
    assert_eq!(groups(inactive, u64::MAX, u64::MAX, 20).len(), 1);
    // Two index entries of eight bytes are too many.
    assert!(groups(inactive, u64::MAX, 0, 20).len() <= 20);
    assert_eq!(groups(inactive, u64::MAX, u64::MAX, i64::from(i32::MAX) + 2).len(), 2);
}

#[test]
fn the_time_of_the_last_change_is_that_of_the_originals() {
    let fixture = compacted(4000);
    let log = fixture.open();
    put(&log, 0, &[("k", Some("0"))]);
    log.roll().expect("rolled");
    put(&log, 1, &[("k", Some("1"))]);
    let path = log.segment_paths()[0].clone();
    fs::set_modified_ms(&path, 1_600_000_000_000).expect("set");
    clean(&log, &fixture.clock);
    assert_eq!(fs::modified_ms(&path).expect("read"), 1_600_000_000_000);
}

#[test]
fn a_slow_budget_does_not_delay_an_abort() {
    let fixture = compacted(4000);
    let log = fixture.open();
    put(&log, 0, &[("k", Some("0"))]);
    log.roll().expect("rolled");
    put(&log, 1, &[("k", Some("1"))]);
    let config = CleanerConfig { io_max_bytes_per_second: 0.001, ..CleanerConfig::default() };
    let stopping = AtomicBool::new(false);
    let cleaner = Cleaner { config: &config, throttle: &Throttle::new(), clock: &*fixture.clock, stopping: &stopping };
    let found = cleanable(&log, START_MS).expect("looked at");
    let running = log.cleaning().begin().expect("idle");
    std::thread::scope(|scope| {
        let cleaning = scope.spawn(|| {
            let result = cleaner.clean(&log, &found);
            drop(running);
            result
        });
        // Whether it sleeps already or not.
        let _paused = log.cleaning().abort_and_pause();
        assert!(matches!(cleaning.join().expect("ended"), Err(CleanError::Aborted)));
    });
    assert_eq!(offsets(&log), [0, 1]);
}
