//! What must hold of a log whenever somebody looks at it.

use std::collections::{BTreeMap, BTreeSet};

use super::written::{FoundRecord, Transactions, What};
use super::{Expected, Model};
use crate::common::topic_partition::TopicPartition;
use crate::protocol::batch::{BatchHeader, BatchView, Batches, ControlRecordType, Record};
use crate::storage::check::{Checker, Finding};
use crate::storage::checkpoint::LEADER_EPOCH_CHECKPOINT;
use crate::storage::cleaner::tests::committed;
use crate::storage::fs;
use crate::storage::log::tests::bytes_of;
use crate::storage::log::{FetchIsolation, Log};
use crate::storage::partition_metadata::PARTITION_METADATA;

/// What was read from the log, from its start on.
#[derive(Default)]
pub(super) struct Found {
    pub(super) batches: Vec<BatchHeader>,
    pub(super) records: Vec<FoundRecord>,
}

impl Found {
    fn read(log: &Log, max_bytes: usize) -> Found {
        let (mut found, start, end) = (Found::default(), log.log_start_offset(), log.log_end_offset());
        let mut offset = start;
        while offset < end {
            let bytes = bytes_of(&log.read(offset, max_bytes, true, FetchIsolation::LogEnd).expect("read").records);
            let before = offset;
            for batch in Batches::new(&bytes).map_while(Result::ok) {
                batch.verify_crc().expect("whole");
                let header = *batch.header();
                assert!(header.last_offset() >= offset, "a batch comes twice or late");
                found.records.extend(records(&batch).filter(|record| record.offset >= start));
                found.batches.push(header);
                offset = header.next_offset();
            }
            assert!(offset > before, "nothing can be read from offset {offset} on, but the log ends at {end}");
        }
        found
    }

    fn has(&self, offset: i64) -> bool {
        self.records.binary_search_by_key(&offset, |record| record.offset).is_ok()
    }
}

pub(super) fn records(batch: &BatchView<'_>) -> impl Iterator<Item = FoundRecord> {
    let header = *batch.header();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let what = move |record: &Record| match &record.key {
        Some(key) if header.is_control() => What::Marker { commit: ControlRecordType::parse(key) == Some(ControlRecordType::Commit) },
        key => What::Data { key: key.as_deref().map(text).expect("a key"), value: record.value.as_deref().map(text) },
    };
    let records: Vec<Record> = batch.records().map(|record| record.expect("readable")).collect();
    records.into_iter().map(move |record| FoundRecord {
        offset: record.offset,
        timestamp: record.timestamp,
        producer_id: header.producer_id,
        transactional: header.is_transactional(),
        what: what(&record),
    })
}

impl Model {
    /// Gives what is there.
    pub(super) fn check(&mut self, log: &Log, expected: Expected) -> Found {
        offsets_are_between_what_was_synced_and_what_was_written(&expected, log);
        let found = Found::read(log, if self.random.one_in(4) { 700 } else { 4000 });
        nothing_never_written_appears(self, &found);
        nothing_synced_is_lost(self, &expected, &found);
        if self.is_compacted() {
            offsets_grow(&found);
            what_is_gone_stays_gone(self, log, &found);
        } else {
            offsets_are_dense(log, &found);
        }
        // From here on by what is there.
        found.records.iter().for_each(|record| self.written.settle(record));
        let transactions = self.written.transactions(log.log_end_offset());
        indexes_agree_with_the_log(self, log, &found);
        segments_are_whole_and_in_order(log);
        epochs_agree_with_the_log(self, log, &found);
        producers_are_remembered(self, log, &found);
        the_last_stable_offset_is_before_what_is_undecided(self, log, &transactions);
        let read_committed = committed(log, 1 + self.random.below(2000) as usize);
        only_what_was_committed_is_read_committed(self, log, &found, &transactions, &read_committed);
        if self.is_compacted() {
            the_latest_value_of_each_key_is_there(self, log, &found, &transactions);
            a_deleted_key_stays_deleted(self, log, &transactions, &read_committed);
            a_young_tombstone_is_there(self, log, &found, &transactions);
            an_open_transaction_is_whole(log, &found, &transactions);
        }
        found
    }
}

fn offsets_are_between_what_was_synced_and_what_was_written(expected: &Expected, log: &Log) {
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    assert!(start <= end);
    // What begins later than it should begins where nothing was synced before.
    let starts = (expected.checkpointed_start..=expected.log_start_offset).contains(&start) || start > expected.synced_end;
    assert!(starts, "starts at {start}: {expected:?}");
    let at_least = expected.synced_end.max(expected.checkpointed_start);
    assert!((at_least..=expected.log_end_offset.max(start)).contains(&end), "ends at {end}: {expected:?}");
    assert!((start..=end).contains(&log.high_watermark()) && log.recovery_point() <= end);
}

fn nothing_never_written_appears(model: &Model, found: &Found) {
    for record in &found.records {
        assert!(model.written.was_ever(record), "{record:?} was never written");
    }
}

fn nothing_synced_is_lost(model: &Model, expected: &Expected, found: &Found) {
    for record in found.records.iter().filter(|record| record.offset < expected.synced_end) {
        let last = model.written.last(record.offset).expect("written");
        assert!(record.is(last), "offset {}: {last:?} was synced, {record:?} is there", record.offset);
    }
}

fn offsets_are_dense(log: &Log, found: &Found) {
    assert!(found.records.iter().map(|record| record.offset).eq(log.log_start_offset()..log.log_end_offset()));
}

fn offsets_grow(found: &Found) {
    assert!(found.records.is_sorted_by(|a, b| a.offset < b.offset));
}

fn what_is_gone_stays_gone(model: &mut Model, log: &Log, found: &Found) {
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    let gone: BTreeSet<i64> = model.written.range(start, end).map(|(offset, _)| offset).filter(|offset| !found.has(*offset)).collect();
    let back: Vec<&i64> = model.gone.range(start..end).filter(|offset| found.has(**offset)).collect();
    assert!(back.is_empty(), "came back: {back:?}");
    model.gone = gone;
}

/// Some offsets and timestamps are found where a scan finds them.
fn indexes_agree_with_the_log(model: &mut Model, log: &Log, found: &Found) {
    for _ in 0..found.records.len().min(3) {
        let record = &found.records[model.random.below(found.records.len() as u64) as usize];
        let read = log.read(record.offset, 1, true, FetchIsolation::LogEnd).expect("read");
        let header = BatchHeader::parse(&bytes_of(&read.records)).expect("a batch");
        assert!((header.base_offset..=header.last_offset()).contains(&record.offset));
        let target = record.timestamp + model.random.below(2) as i64;
        let first = found.records.iter().find(|it| it.timestamp >= target).map(|it| it.offset);
        let searched = log.offset_for_timestamp(target).expect("searched").map(|it| it.offset);
        assert_eq!(searched, first, "timestamp {target}");
    }
}

fn segments_are_whole_and_in_order(log: &Log) {
    let paths = log.segment_paths();
    assert!(paths.is_sorted() && log.first_segment_base_offset() <= log.log_start_offset());
    let mut all_bytes = 0;
    for path in paths {
        // The first segment may have no files yet.
        let content = fs::read_if_exists(&path).expect("read").unwrap_or_default();
        let mut bytes = 0;
        for batch in Batches::new(&content) {
            let batch = batch.expect("a batch");
            batch.verify_crc().expect("whole");
            bytes += batch.header().size_bytes();
        }
        assert_eq!(bytes, content.len(), "{}", path.display());
        all_bytes += bytes as u64;
    }
    assert_eq!(log.size_bytes(), all_bytes);
}

fn epochs_agree_with_the_log(model: &Model, log: &Log, found: &Found) {
    for header in found.batches.iter().filter(|header| header.last_offset() >= model.began_at) {
        let offset = header.base_offset.max(log.log_start_offset()).max(model.began_at);
        assert_eq!(log.epoch_of(offset), Some(header.partition_leader_epoch), "offset {offset}");
    }
    // None began in what was cut off.
    if let Some(last) = found.batches.last().filter(|header| header.last_offset() >= model.began_at) {
        let epoch = last.partition_leader_epoch;
        assert_eq!(log.end_offset_for_epoch(epoch), Some((epoch, log.log_end_offset())), "the end of the last epoch");
    }
}

/// Every producer that has a batch in the log goes on with the sequence number after its last one.
fn producers_are_remembered(model: &Model, log: &Log, found: &Found) {
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    let active: BTreeMap<i64, i32> = log.active_producers().iter().map(|it| (it.producer_id, it.last_sequence)).collect();
    let mut last: BTreeMap<i64, (i64, i32)> = BTreeMap::new();
    for (offset, record) in model.written.range(0, end).filter(|(_, record)| record.sequence >= 0) {
        last.insert(record.producer_id, (offset, record.sequence));
    }
    for (producer_id, sequence) in active.iter().filter(|(_, sequence)| **sequence >= 0) {
        if let Some((_, expected)) = last.get(producer_id).filter(|(offset, _)| *offset >= start) {
            assert_eq!(sequence, expected, "producer {producer_id}");
        }
    }
    // Of what was deleted before a crash brought it back the log need not know.
    let data = found.batches.iter().filter(|header| !header.is_control() && header.base_offset >= model.began_at);
    let last_batches: BTreeMap<i64, i32> = data.map(|header| (header.producer_id, header.last_sequence())).collect();
    for (producer_id, sequence) in last_batches {
        assert_eq!(active.get(&producer_id), Some(&sequence), "producer {producer_id}");
    }
}

fn the_last_stable_offset_is_before_what_is_undecided(model: &Model, log: &Log, transactions: &Transactions) {
    let (start, high_watermark) = (log.log_start_offset(), log.high_watermark());
    assert_eq!(high_watermark, model.high_watermark.max(start));
    let (mut lowest, mut highest) = (high_watermark, high_watermark);
    for transaction in &transactions.all {
        let ends = transaction.marker.map_or(i64::MAX, |(offset, _)| offset);
        if ends >= high_watermark {
            lowest = lowest.min(transaction.offsets[0].max(start));
        }
        // One that is known from what was deleted only may be forgotten, even when a crash brings that back.
        if let Some(first) = transaction.offsets.iter().find(|offset| **offset >= start.max(model.began_at))
            && ends >= high_watermark.max(model.reloaded_to)
        {
            highest = highest.min(*first);
        }
    }
    let stable = log.last_stable_offset();
    assert!((lowest..=highest).contains(&stable), "{stable} is not of {lowest}..={highest}");
    assert!(log.cleaning().cleaned_to().is_none_or(|cleaned_to| cleaned_to <= highest), "undecided data was compacted");
}

type ReadCommitted = [(i64, String, Option<String>)];

/// From where on the log start offset never was: of a transaction that is known from deleted records only, which a crash has brought back, the
/// end may be forgotten.
fn only_what_was_committed_is_read_committed(model: &Model, log: &Log, found: &Found, transactions: &Transactions, read: &ReadCommitted) {
    let (began_at, stable) = (model.began_at, log.last_stable_offset());
    let expected = found.records.iter().filter_map(|record| match &record.what {
        What::Data { key, value } if record.offset < stable && transactions.is_committed(record.offset) => {
            Some((record.offset, key.clone(), value.clone()))
        }
        _ => None,
    });
    let read = read.iter().filter(|(offset, ..)| *offset >= began_at).cloned();
    assert_eq!(read.collect::<Vec<_>>(), expected.filter(|(offset, ..)| *offset >= began_at).collect::<Vec<_>>());
}

/// Of each key its last record that counts, in `[log start, end)`.
fn latest<'a>(model: &'a Model, log: &Log, end: i64, transactions: &Transactions) -> BTreeMap<&'a str, (i64, Option<&'a str>, i64)> {
    let counting = model.written.range(log.log_start_offset(), end).filter(|(offset, _)| transactions.is_committed(*offset));
    counting.filter_map(|(offset, record)| record.key_and_value().map(|(key, value)| (key, (offset, value, record.at_ms)))).collect()
}

fn the_latest_value_of_each_key_is_there(model: &Model, log: &Log, found: &Found, transactions: &Transactions) {
    for (key, (offset, value, _)) in latest(model, log, log.log_end_offset(), transactions) {
        assert!(value.is_none() || found.has(offset), "the last value of {key}, at {offset}, is gone");
    }
}

fn a_deleted_key_stays_deleted(model: &Model, log: &Log, transactions: &Transactions, read: &ReadCommitted) {
    let mut values: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for (_, key, value) in read {
        values.insert(key, value.as_deref());
    }
    let expected = latest(model, log, log.last_stable_offset(), transactions);
    let expected = expected.into_iter().filter_map(|(key, (_, value, _))| Some((key, value?)));
    let values = values.into_iter().filter_map(|(key, value)| Some((key, value?)));
    assert_eq!(values.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}

/// Whoever reads on within `delete.retention.ms` learns of a deletion.
fn a_young_tombstone_is_there(model: &Model, log: &Log, found: &Found, transactions: &Transactions) {
    let since_ms = model.now_ms() - model.config.delete_retention_ms;
    for (key, (offset, value, at_ms)) in latest(model, log, log.log_end_offset(), transactions) {
        if value.is_none() && at_ms > since_ms {
            assert!(found.has(offset), "the tombstone of {key}, at {offset}, is gone too soon");
        }
    }
}

fn an_open_transaction_is_whole(log: &Log, found: &Found, transactions: &Transactions) {
    for transaction in transactions.all.iter().filter(|transaction| transaction.marker.is_none()) {
        for offset in transaction.offsets.iter().filter(|offset| **offset >= log.log_start_offset()) {
            assert!(found.has(*offset), "{offset} of an open transaction is gone");
        }
    }
}

/// After a round of retention that began at `start` with a log of `size_bytes`.
pub(super) fn retention_takes_what_is_old_or_too_much(model: &Model, start: i64, size_bytes: u64) {
    let (log, config) = (model.log(), &model.config);
    let (new_start, high_watermark) = (log.log_start_offset(), log.high_watermark());
    assert!((start..=high_watermark.max(start)).contains(&new_start));
    let is_too_large = |bytes: u64| u64::try_from(config.retention_bytes).is_ok_and(|limit| bytes > limit);
    if new_start > start && !is_too_large(size_bytes) {
        let taken = model.written.range(start, new_start).filter(|(offset, _)| !model.gone.contains(offset));
        let youngest = taken.map(|(_, record)| record.timestamp).min().unwrap_or(i64::MIN);
        assert!(config.retention_ms >= 0 && model.now_ms() - youngest > config.retention_ms, "nothing was old");
    }
    // What is left is young enough, not too much, not replicated yet, or in use.
    let bases: Vec<i64> = log.all_segments().iter().map(|segment| segment.base_offset()).collect();
    if let [first, next, ..] = bases[..]
        && next <= high_watermark
        && config.cleanup_policy.delete
    {
        let size = fs::size(&log.segment_paths()[0]).expect("read").unwrap_or(0);
        assert!(!is_too_large(log.size_bytes().saturating_sub(size).max(1)), "too much is left");
        let left = model.written.range(first, next).filter(|(offset, _)| !model.gone.contains(offset));
        let newest = left.map(|(_, record)| record.timestamp).max();
        let is_old = config.retention_ms >= 0 && newest.is_some_and(|newest| model.now_ms() - newest > config.retention_ms);
        assert!(!is_old, "what is left is old");
    }
}

pub(super) fn nothing_is_left_over(log: &Log) {
    for path in fs::list(&log.dir()).expect("listed") {
        let is_left_over = path.extension().is_some_and(|it| it == "swap" || it == "cleaned" || it == "deleted");
        assert!(!is_left_over, "{}", path.display());
    }
}

/// What `ottla check` says of the log's directory. The model's log has no topic id.
pub(super) fn findings(model: &Model) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut report = |finding: Finding| {
        if !finding.path.ends_with(PARTITION_METADATA) {
            found.push(finding);
        }
    };
    let mut checker = Checker::new(&mut report, &|_| {});
    checker.check_log(&model.dir(), TopicPartition::new("t", 0), model.expected.checkpointed_start).expect("read");
    found
}

pub(super) fn a_log_that_was_closed_is_sound(model: &Model) {
    let mut found = findings(model);
    // Of what was deleted before a crash brought it back no epoch is known.
    let knows_all_epochs = model.expected.log_start_offset >= model.began_at;
    found.retain(|finding| {
        !finding.problem.starts_with("left over") && (knows_all_epochs || !finding.path.ends_with(LEADER_EPOCH_CHECKPOINT))
    });
    assert!(found.is_empty(), "{found:#?}");
}
