//! Transactions in one log: verification, markers, the last stable offset, and what read_committed readers see, over restarts and cuts.

use std::collections::{BTreeMap, BTreeSet};

use super::errors::AppendError;
use super::log::tests::{Fixture, START_MS, bytes_of};
use super::log::{AppendOrigin, AppendTransaction, FetchIsolation, Log, LogOptions, VerificationGuard};
use crate::common::random::Random;
use crate::protocol::batch::{BatchBuilder, Batches, ControlRecord};
use crate::protocol::compression::Compression;
use crate::storage::config::LogConfig;

fn data(producer_id: i64, epoch: i16, sequence: i32, value: &str) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None).producer(producer_id, epoch, sequence).transactional(true);
    builder.append(START_MS, None, Some(value.as_bytes()), &[]).expect("appended");
    builder.finish_vec().expect("finished")
}

fn marker(producer_id: i64, epoch: i16, coordinator_epoch: i32, commit: bool) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None).producer(producer_id, epoch, -1).transactional(true).control(true);
    builder.append_control(START_MS, &ControlRecord::end_transaction(commit, coordinator_epoch)).expect("appended");
    builder.finish_vec().expect("finished")
}

/// Appends for a client whose transaction must be verified.
fn produce(log: &Log, records: &[u8], guard: Option<VerificationGuard>) -> Result<i64, AppendError> {
    let transaction = AppendTransaction { verify: true, guard, version: 0 };
    let appended = log.append_in_transaction(records, 0, AppendOrigin::Client, transaction).map(|info| info.first_offset);
    log.maybe_increment_high_watermark(log.log_end_offset());
    appended
}

fn end(log: &Log, records: &[u8], version: i16) -> Result<i64, AppendError> {
    let transaction = AppendTransaction { version, ..AppendTransaction::default() };
    let appended = log.append_in_transaction(records, 0, AppendOrigin::Coordinator, transaction).map(|info| info.first_offset);
    log.maybe_increment_high_watermark(log.log_end_offset());
    appended
}

/// The values a read_committed consumer sees, read in small steps.
pub(super) fn read_committed(log: &Log) -> Vec<String> {
    let mut values = Vec::new();
    let mut offset = log.log_start_offset();
    loop {
        let read = log.read(offset, 150, true, FetchIsolation::TransactionCommitted).expect("read");
        // Each answer is complete: it names what was aborted in it, also what began before.
        let found = read.aborted_transactions.expect("asked for");
        let mut aborted: BTreeSet<(i64, i64)> = found.iter().map(|it| (it.first_offset, it.producer_id)).collect();
        let mut skipping = BTreeSet::new();
        let before = offset;
        for batch in Batches::new(&bytes_of(&read.records)).map_while(Result::ok) {
            let header = batch.header();
            if header.base_offset < before {
                continue;
            }
            while let Some(&(first, producer_id)) = aborted.first().filter(|(first, _)| *first <= header.last_offset()) {
                aborted.remove(&(first, producer_id));
                skipping.insert(producer_id);
            }
            if header.is_control() {
                skipping.remove(&header.producer_id);
            } else if !skipping.contains(&header.producer_id) {
                let text = |value: &[u8]| String::from_utf8(value.to_vec()).expect("text");
                values.extend(batch.records().map(|record| text(&record.expect("readable").value.expect("a value"))));
            }
            offset = header.next_offset();
        }
        if offset == before {
            return values;
        }
    }
}

#[test]
fn a_transaction_begins_only_with_the_guard_of_its_verification() {
    let fixture = Fixture::new(LogConfig::default());
    let log = fixture.open();
    assert!(matches!(produce(&log, &data(1, 0, 0, "a"), None), Err(AppendError::InvalidTxnState(_))));
    let guard = log.maybe_begin_verification(1, 0, 0, false).expect("begun");
    assert!(guard.is_some());
    assert!(matches!(produce(&log, &data(1, 0, 0, "a"), Some(VerificationGuard(77))), Err(AppendError::InvalidTxnState(_))));
    assert_eq!(produce(&log, &data(1, 0, 0, "a"), guard).expect("appended"), 0);
    // It is open now, and the guard is spent.
    assert_eq!(log.maybe_begin_verification(1, 0, 1, false).expect("open"), None);
    assert_eq!(produce(&log, &data(1, 0, 1, "b"), None).expect("appended"), 1);
    assert_eq!(produce(&log, &data(1, 0, 1, "b"), None).expect("a duplicate"), 1);
    // A marker comes while somebody asks.
    let guard = log.maybe_begin_verification(2, 0, 0, false).expect("begun");
    end(&log, &marker(2, 0, 1, false), 0).expect("a marker without data");
    assert!(matches!(produce(&log, &data(2, 0, 0, "c"), guard), Err(AppendError::InvalidTxnState(_))));
    // Its own marker ends what was open.
    end(&log, &marker(1, 0, 1, true), 0).expect("marker");
    assert!(matches!(produce(&log, &data(1, 0, 2, "late"), None), Err(AppendError::InvalidTxnState(_))));
    assert_eq!(read_committed(&log), ["a", "b"]);
}

#[test]
fn a_batch_waits_for_those_before_it_to_be_verified() {
    let fixture = Fixture::new(LogConfig::default());
    let log = fixture.open();
    log.maybe_begin_verification(1, 0, 3, false).expect("begun");
    let guard = log.maybe_begin_verification(1, 0, 0, false).expect("begun");
    assert!(matches!(produce(&log, &data(1, 0, 3, "second"), guard), Err(AppendError::OutOfOrderSequence(_))));
    produce(&log, &data(1, 0, 0, "first"), guard).expect("appended");
    // With an epoch for each transaction the first batch has sequence 0.
    let guard = log.maybe_begin_verification(2, 5, 4, true).expect("begun");
    assert!(matches!(produce(&log, &data(2, 5, 4, "x"), guard), Err(AppendError::OutOfOrderSequence(_))));
}

#[test]
fn zombies_are_told_so_before_they_are_verified() {
    let fixture = Fixture::new(LogConfig::default());
    let log = fixture.open();
    end(&log, &marker(1, 4, 1, false), 2).expect("marker");
    assert!(matches!(log.maybe_begin_verification(1, 3, 0, true), Err(AppendError::InvalidProducerEpoch(_))));
    assert!(matches!(produce(&log, &data(1, 3, 0, "x"), None), Err(AppendError::InvalidProducerEpoch(_))));
    assert!(matches!(end(&log, &marker(1, 4, 0, true), 2), Err(AppendError::TransactionCoordinatorFenced(_))));
}

#[test]
fn a_late_marker_is_told_from_a_repeated_one() {
    let fixture = Fixture::new(LogConfig::default());
    let log = fixture.open();
    let guard = log.maybe_begin_verification(1, 4, 0, true).expect("begun");
    produce(&log, &data(1, 4, 0, "a"), guard).expect("appended");
    assert!(matches!(end(&log, &marker(1, 4, 1, true), 2), Err(AppendError::InvalidProducerEpoch(_))), "of the transaction before");
    end(&log, &marker(1, 5, 1, true), 2).expect("marker");
    end(&log, &marker(1, 5, 1, true), 2).expect("nobody heard of the first");
    let guard = log.maybe_begin_verification(1, 5, 0, true).expect("begun");
    end(&log, &marker(1, 5, 1, true), 2).expect("once more");
    produce(&log, &data(1, 5, 0, "b"), guard).expect("the next transaction has been verified all the same");
    assert_eq!(read_committed(&log), ["a"]);
    // Before transaction.version 2 the marker has the epoch of the data.
    end(&log, &marker(1, 5, 1, true), 0).expect("marker");
    assert_eq!(read_committed(&log), ["a", "b"]);
}

/// A batch or a marker, as it stands in the log.
#[derive(Clone, Debug)]
enum Written {
    Data { producer_id: i64, value: String },
    Marker { producer_id: i64, commit: bool },
}

/// What read_committed readers see, and the last stable offset.
fn expected(written: &[Written]) -> (Vec<String>, i64) {
    let mut outcomes: Vec<Option<bool>> = vec![None; written.len()];
    let mut open: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (at, entry) in written.iter().enumerate() {
        match entry {
            Written::Data { producer_id, .. } => open.entry(*producer_id).or_default().push(at),
            Written::Marker { producer_id, commit } => {
                for data in open.remove(producer_id).unwrap_or_default() {
                    outcomes[data] = Some(*commit);
                }
            }
        }
    }
    let last_stable = open.values().flatten().min().copied().unwrap_or(written.len());
    let visible = written[..last_stable].iter().zip(&outcomes).filter_map(|(entry, outcome)| match entry {
        Written::Data { value, .. } if *outcome == Some(true) => Some(value.clone()),
        _ => None,
    });
    (visible.collect(), last_stable as i64)
}

#[test]
fn readers_see_whole_transactions_over_restarts_crashes_and_cuts() {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let fixture = Fixture::new(LogConfig { segment_bytes: 400, index_interval_bytes: 0, ..LogConfig::default() });
        let mut log = fixture.open();
        let mut written: Vec<Written> = Vec::new();
        // Sequence numbers go on where the log ends for each producer.
        let next_sequence = |log: &Log, producer_id: i64| {
            let active = log.active_producers();
            active.iter().find(|it| it.producer_id == producer_id).map_or(0, |it| it.last_sequence + 1)
        };
        for step in 0..80 {
            let producer_id = random.below(4) as i64;
            match random.below(20) {
                0 => {
                    log.flush().expect("flushed");
                    log.close().expect("closed");
                    let options = LogOptions { had_clean_shutdown: true, recovery_point: log.log_end_offset(), ..fixture.options() };
                    log = Log::open(options).expect("opened");
                }
                1 => log = fixture.open(),
                2 if !written.is_empty() => {
                    let keep = random.below(written.len() as u64 + 1) as usize;
                    log.truncate_to(keep as i64).expect("cut");
                    written.truncate(keep);
                }
                3..=8 => {
                    let commit = random.one_in(2);
                    end(&log, &marker(producer_id, 0, 1, commit), 0).expect("marker");
                    written.push(Written::Marker { producer_id, commit });
                }
                _ => {
                    let sequence = next_sequence(&log, producer_id);
                    let value = format!("{seed}-{step}");
                    let guard = log.maybe_begin_verification(producer_id, 0, sequence, false).expect("begun");
                    produce(&log, &data(producer_id, 0, sequence, &value), guard).expect("appended");
                    written.push(Written::Data { producer_id, value });
                }
            }
            log.maybe_increment_high_watermark(log.log_end_offset());
            let (values, last_stable_offset) = expected(&written);
            assert_eq!(log.last_stable_offset(), last_stable_offset, "seed {seed}, step {step}");
            assert_eq!(read_committed(&log), values, "seed {seed}, step {step}");
        }
    }
}
