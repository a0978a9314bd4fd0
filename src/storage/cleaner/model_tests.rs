//! Random histories of a compacted log against a plain map of them, one seed after the other; a failure names its seed.
//!
//! Keyed records, tombstones, transactions that commit, abort or stay open, every codec, rounds with maps large and tiny, time that passes,
//! replicas that lag behind, truncations of what they do not have, crashes. The model knows every record that was ever written and what
//! became of its transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::tests::{DAY_MS, append_marker, batch, batch_with, clean, clean_within, committed, compacted, contents, end_transaction};
use crate::common::clock::Clock;
use crate::common::histories;
use crate::common::random::Random;
use crate::protocol::batch::{BatchHeader, Batches};
use crate::protocol::compression::Compression;
use crate::storage::config::LogConfig;
use crate::storage::fs;
use crate::storage::log::tests::{Fixture, bytes_of, produce};
use crate::storage::log::{AppendOrigin, FetchIsolation, Log, LogOptions};

const HISTORIES: u64 = 120;
const OPERATIONS: usize = 120;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Open,
    Committed,
    Aborted,
}

struct Written {
    at_ms: i64,
    key: String,
    value: Option<String>,
    /// Producer id and number of the transaction; None outside of one.
    txn: Option<(i64, usize)>,
}

struct Model {
    random: Random,
    fixture: Fixture,
    log: Option<Log>,
    written: BTreeMap<i64, Written>,
    /// First offsets of the batches and markers, where a truncation may cut.
    batch_starts: BTreeSet<i64>,
    /// By offset of the marker or, while open, i64::MAX: what became of transaction `(producer, number)`.
    fates: BTreeMap<(i64, usize), (i64, Fate)>,
    open: BTreeMap<i64, usize>,
    transactions: usize,
    sequences: BTreeMap<i64, i32>,
    /// What was not there any more at the last look.
    gone: BTreeSet<i64>,
    log_end_offset: i64,
    /// What every replica has: nothing below is ever cut off.
    high_watermark: i64,
    /// Transactions whose markers were not replicated yet when the log was last reloaded: nor does Kafka's producer snapshot tell of them, so
    /// that they count as decided (`ProducerStateManager.unreplicatedTxns`).
    reloaded: BTreeSet<(i64, usize)>,
}

impl Model {
    fn new(seed: u64) -> Model {
        let mut random = Random::new(seed);
        // The largest batch fits into the smallest segment.
        let mut fixture = compacted(450 + random.below(2000) as i32);
        fixture.config = LogConfig {
            index_interval_bytes: random.below(600) as i32,
            delete_retention_ms: random.below(2) as i64 * DAY_MS,
            min_compaction_lag_ms: random.below(2) as i64 * 20,
            file_delete_delay_ms: 0,
            ..fixture.config
        };
        let log = Some(fixture.open());
        Model {
            random,
            fixture,
            log,
            written: BTreeMap::new(),
            batch_starts: BTreeSet::new(),
            fates: BTreeMap::new(),
            open: BTreeMap::new(),
            transactions: 0,
            sequences: BTreeMap::new(),
            gone: BTreeSet::new(),
            log_end_offset: 0,
            high_watermark: 0,
            reloaded: BTreeSet::new(),
        }
    }

    fn log(&self) -> &Log {
        self.log.as_ref().expect("the log is open between operations")
    }

    /// Is the log to be looked at now? Nothing is lost by an append.
    fn step(&mut self) -> bool {
        let action = self.random.below(26);
        match action {
            0..=8 => self.append(None),
            9..=13 => {
                let producer_id = 100 + self.random.below(3) as i64;
                self.append(Some(producer_id));
            }
            14..=16 => self.end_transaction(),
            17 => self.log().roll().expect("rolled"),
            18 => self.fixture.clock.advance(self.random.below(2 * DAY_MS as u64) as i64),
            19 => self.crash(),
            20 if self.random.one_in(4) => self.truncate(),
            21 => self.log().remove_deleted_files().expect("removed"),
            22 | 23 => self.replicate(),
            _ => self.clean(),
        }
        matches!(action, 17 | 19 | 20 | 24..) || self.random.one_in(6)
    }

    fn append(&mut self, transactional: Option<i64>) {
        let producer_id = transactional.unwrap_or_else(|| self.random.below(3) as i64);
        let compression = Compression::ALL[self.random.below(5) as usize];
        let count = 1 + self.random.below(5) as usize;
        let txn = transactional.map(|producer_id| {
            let transactions = &mut self.transactions;
            let number = *self.open.entry(producer_id).or_insert_with(|| {
                *transactions += 1;
                *transactions
            });
            self.fates.entry((producer_id, number)).or_insert((i64::MAX, Fate::Open));
            (producer_id, number)
        });
        let records: Vec<(String, Option<String>)> = (0..count)
            .map(|n| {
                let value = format!("{} {}", self.log_end_offset + n as i64, "x".repeat(self.random.below(60) as usize));
                (format!("k{}", self.random.below(12)), (!self.random.one_in(5)).then_some(value))
            })
            .collect();
        let borrowed: Vec<(&str, Option<&str>)> = records.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        let sequence = self.sequences.entry(producer_id).or_insert(0);
        let now_ms = Clock::now_ms(&*self.fixture.clock);
        let bytes = batch_with(compression, producer_id, *sequence, transactional.is_some(), now_ms, &borrowed);
        *sequence += count as i32;
        let info = self.log().append_as_leader(&bytes, 0, AppendOrigin::Client).expect("appended");
        assert_eq!(info.first_offset, self.log_end_offset);
        self.batch_starts.insert(info.first_offset);
        for (n, (key, value)) in records.into_iter().enumerate() {
            self.written.insert(info.first_offset + n as i64, Written { at_ms: now_ms, key, value, txn });
        }
        self.log_end_offset = info.last_offset + 1;
        self.replicate_soon();
    }

    /// The slowest replica gets up to the end, or to some batch before it.
    fn replicate(&mut self) {
        let wanted = self.high_watermark + self.random.below((self.log_end_offset - self.high_watermark) as u64 + 1) as i64;
        let reached = if self.random.one_in(2) { Some(&self.log_end_offset) } else { self.batch_starts.range(..=wanted).next_back() };
        self.high_watermark = self.high_watermark.max(reached.copied().unwrap_or(0));
        self.log().maybe_increment_high_watermark(self.high_watermark);
    }

    /// Mostly at once.
    fn replicate_soon(&mut self) {
        if !self.random.one_in(4) {
            self.replicate();
        }
    }

    fn end_transaction(&mut self) {
        let Some((&producer_id, &number)) = self.open.iter().next() else { return };
        self.open.remove(&producer_id);
        self.reloaded.remove(&(producer_id, number));
        let commit = self.random.one_in(2);
        append_marker(self.log(), producer_id, commit);
        self.fates.insert((producer_id, number), (self.log_end_offset, if commit { Fate::Committed } else { Fate::Aborted }));
        self.batch_starts.insert(self.log_end_offset);
        self.log_end_offset += 1;
        self.replicate_soon();
    }

    fn clean(&mut self) {
        let memory_bytes = if self.random.one_in(3) { 8 * 24 } else { 1 << 20 };
        let before = (self.log().log_end_offset(), self.log().last_stable_offset(), self.log().high_watermark());
        clean_within(self.log(), &self.fixture.clock, memory_bytes).expect("cleaned");
        assert_eq!(before, (self.log().log_end_offset(), self.log().last_stable_offset(), self.log().high_watermark()));
    }

    /// As a follower that has a new leader: what every replica has stays. So does what was compacted, with the markers that decided about
    /// it: the last stable offset, which compaction does not pass, is below both. Except after a reload, when Kafka's would not be either.
    fn truncate(&mut self) {
        let span = (self.log_end_offset - self.high_watermark) as u64;
        let wanted = self.log_end_offset - self.random.below(span + 1) as i64;
        let Some(&offset) = self.batch_starts.range(self.high_watermark..=wanted).next_back() else { return };
        if self.reloaded.iter().any(|txn| self.fates.get(txn).is_some_and(|fate| (offset..i64::MAX).contains(&fate.0))) {
            return;
        }
        self.log().truncate_to(offset).expect("truncated");
        self.log_end_offset = offset;
        self.written.split_off(&offset);
        self.batch_starts.split_off(&offset);
        self.gone.split_off(&offset);
        let begun: BTreeSet<(i64, usize)> = self.written.values().filter_map(|written| written.txn).collect();
        self.fates.retain(|txn, _| begun.contains(txn));
        self.open.clear();
        for (&(producer_id, number), fate) in &mut self.fates {
            if fate.0 >= offset {
                *fate = (i64::MAX, Fate::Open);
                self.open.insert(producer_id, number);
            }
        }
        self.forget_what_is_unreplicated();
        // What the log remembers, the producers continue.
        self.sequences = self.log().active_producers().iter().map(|producer| (producer.producer_id, producer.last_sequence + 1)).collect();
    }

    fn forget_what_is_unreplicated(&mut self) {
        let unreplicated = self.fates.iter().filter(|(_, fate)| (self.high_watermark..i64::MAX).contains(&fate.0));
        self.reloaded.extend(unreplicated.map(|(txn, _)| *txn));
    }

    fn crash(&mut self) {
        self.forget_what_is_unreplicated();
        let log = self.log.take().expect("open");
        let cleaned_to = log.cleaning().cleaned_to();
        let dir = log.dir();
        drop(log);
        if self.random.one_in(2) {
            for path in fs::list(&dir).expect("listed") {
                if path.extension().is_some_and(|extension| extension == "snapshot") {
                    fs::remove_file(&path).expect("removed");
                }
            }
        }
        let log = Log::open(LogOptions { had_clean_shutdown: false, ..self.fixture.options() }).expect("opened");
        log.update_high_watermark(self.high_watermark);
        log.cleaning().set_cleaned_to(cleaned_to);
        self.log = Some(log);
    }

    fn is_committed(&self, written: &Written) -> bool {
        written.txn.is_none_or(|txn| self.fates[&txn].1 == Fate::Committed)
    }

    fn check(&mut self) {
        let log = self.log.take().expect("open");
        let (all, read_committed) = (contents(&log), committed(&log, 1 + self.random.below(600) as usize));
        the_ends_are_the_models(self, &log);
        offsets_never_change(self, &all);
        what_is_gone_stays_gone(self, &all);
        the_latest_value_of_each_key_is_there(self, &all);
        a_deleted_key_stays_deleted(self, &log, &read_committed);
        a_young_tombstone_is_there(self, &all);
        nothing_aborted_or_undecided_is_read(self, &log, &read_committed);
        an_open_transaction_is_whole(self, &all);
        sequences_go_on(self, &log);
        self.log = Some(log);
    }
}

type Found = [(i64, String, Option<String>)];

fn the_ends_are_the_models(model: &Model, log: &Log) {
    let first = |is_undecided: &dyn Fn((i64, usize)) -> bool| {
        let found = model.written.iter().find(|(_, written)| written.txn.is_some_and(is_undecided));
        found.map_or(model.high_watermark, |(offset, _)| model.high_watermark.min(*offset))
    };
    let stable = first(&|txn| model.fates[&txn].0 >= model.high_watermark);
    let reloaded = first(&|txn| model.fates[&txn].0 >= model.high_watermark && !model.reloaded.contains(&txn));
    let expected = (0, model.log_end_offset, model.high_watermark);
    assert_eq!((log.log_start_offset(), log.log_end_offset(), log.high_watermark()), expected);
    assert!((stable..=reloaded).contains(&log.last_stable_offset()), "{} is not of {stable}..={reloaded}", log.last_stable_offset());
    assert!(log.cleaning().cleaned_to().is_none_or(|cleaned_to| cleaned_to <= reloaded), "undecided data was cleaned");
}

fn offsets_never_change(model: &Model, found: &Found) {
    for (offset, key, value) in found {
        let written = model.written.get(offset).unwrap_or_else(|| panic!("nothing was written at {offset}"));
        assert_eq!((key, value), (&written.key, &written.value), "offset {offset}");
    }
    assert!(found.is_sorted_by(|a, b| a.0 < b.0));
}

fn what_is_gone_stays_gone(model: &mut Model, found: &Found) {
    let there: BTreeSet<i64> = found.iter().map(|(offset, ..)| *offset).collect();
    let gone: BTreeSet<i64> = model.written.keys().copied().filter(|offset| !there.contains(offset)).collect();
    let back: Vec<&i64> = model.gone.difference(&gone).collect();
    assert!(back.is_empty(), "came back: {back:?}");
    model.gone = gone;
}

fn latest(model: &Model, is_wanted: impl Fn(&Written) -> bool) -> BTreeMap<&str, (i64, &Written)> {
    let wanted = model.written.iter().filter(|(_, written)| is_wanted(written));
    wanted.map(|(offset, written)| (written.key.as_str(), (*offset, written))).collect()
}

fn the_latest_value_of_each_key_is_there(model: &Model, found: &Found) {
    for (key, (offset, written)) in latest(model, |written| model.is_committed(written)) {
        if written.value.is_some() {
            assert!(found.iter().any(|(at, ..)| *at == offset), "the last value of {key}, at {offset}, is gone");
        }
    }
}

fn a_deleted_key_stays_deleted(model: &Model, log: &Log, found: &Found) {
    let stable = log.last_stable_offset();
    let mut values: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for (_, key, value) in found {
        values.insert(key, value.as_deref());
    }
    let mut expected: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for (_, written) in model.written.range(..stable).filter(|(_, written)| model.is_committed(written)) {
        expected.insert(&written.key, written.value.as_deref());
    }
    values.retain(|_, value| value.is_some());
    expected.retain(|_, value| value.is_some());
    assert_eq!(values, expected);
}

/// Whoever reads on within `delete.retention.ms` learns of a deletion.
fn a_young_tombstone_is_there(model: &Model, found: &Found) {
    let since_ms = Clock::now_ms(&*model.fixture.clock) - model.fixture.config.delete_retention_ms;
    for (key, (offset, written)) in latest(model, |written| model.is_committed(written)) {
        if written.value.is_none() && written.at_ms > since_ms {
            assert!(found.iter().any(|(at, ..)| *at == offset), "the tombstone of {key}, at {offset}, is gone too soon");
        }
    }
}

fn nothing_aborted_or_undecided_is_read(model: &Model, log: &Log, found: &Found) {
    for (offset, ..) in found {
        assert!(model.is_committed(&model.written[offset]) && *offset < log.last_stable_offset(), "offset {offset}");
    }
}

fn an_open_transaction_is_whole(model: &Model, found: &Found) {
    let there: BTreeSet<i64> = found.iter().map(|(offset, ..)| *offset).collect();
    let open = model.written.iter().filter(|(_, written)| written.txn.is_some_and(|txn| model.fates[&txn].1 == Fate::Open));
    for (offset, _) in open {
        assert!(there.contains(offset), "{offset} of an open transaction is gone");
    }
}

fn sequences_go_on(model: &Model, log: &Log) {
    for producer in log.active_producers() {
        // Only a marker is left of a producer whose data was aborted and is past every horizon.
        if producer.last_sequence >= 0 {
            assert_eq!(producer.last_sequence + 1, model.sequences[&producer.producer_id], "producer {}", producer.producer_id);
        }
    }
}

#[test]
fn random_histories_agree_with_the_model() {
    let mut pruned = 0;
    histories::play("storage::cleaner::model_tests::random_histories_agree_with_the_model", HISTORIES, |seed| {
        let mut model = Model::new(seed);
        for _ in 0..OPERATIONS {
            if model.step() {
                model.check();
            }
        }
        pruned += model.gone.len();
    });
    assert!(pruned > 0, "nothing was ever cleaned away");
}

/// Readers of all kinds beside swaps: no batch twice, none above what the reader may see, no committed value missing.
#[test]
fn readers_in_the_middle_of_a_swap_see_consistent_data() {
    let fixture = compacted(1500);
    let log = fixture.open();
    let mut sequence = 0;
    for n in 0..300 {
        produce(&log, &batch(1, sequence, false, &[(&format!("k{}", n % 7), Some("some value")), (&format!("unique{n}"), Some("u"))]));
        sequence += 2;
        if n % 10 == 0 {
            produce(&log, &batch(9, n / 10, true, &[("aborted", Some("never seen"))]));
            end_transaction(&log, 9, false);
        }
    }
    // From here on undecided, inside a segment that is cleaned beside it.
    produce(&log, &batch(8, 0, true, &[("open", Some("undecided"))]));
    let stable = log.last_stable_offset();
    for n in 0..100 {
        produce(&log, &batch(1, sequence + n, false, &[(&format!("k{}", n % 7), Some("above"))]));
    }
    let high_watermark = log.high_watermark();
    produce(&log, &batch(1, sequence + 100, false, &[("beyond", Some("unreplicated"))]));
    log.update_high_watermark(high_watermark);
    let stop = AtomicBool::new(false);
    let log = Arc::new(log);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut passes = 0;
                    while !stop.load(Ordering::Relaxed) || passes == 0 {
                        let keys: BTreeSet<String> = committed(&log, 700).into_iter().map(|(_, key, _)| key).collect();
                        assert!(!keys.contains("aborted") && !keys.contains("open") && !keys.contains("beyond"));
                        assert!((0..300).all(|n| keys.contains(&format!("unique{n}"))));
                        for (isolation, end) in
                            [(FetchIsolation::HighWatermark, high_watermark), (FetchIsolation::TransactionCommitted, stable)]
                        {
                            let mut offset = 0;
                            while offset < end {
                                let read = log.read(offset, 2000, true, isolation).expect("read");
                                let bytes = bytes_of(&read.records);
                                let before = offset;
                                for batch in Batches::new(&bytes).map_while(Result::ok) {
                                    batch.verify_crc().expect("whole");
                                    let BatchHeader { base_offset, .. } = *batch.header();
                                    assert!(base_offset < end && batch.header().last_offset() >= offset);
                                    offset = batch.header().next_offset();
                                }
                                if offset == before {
                                    break;
                                }
                            }
                        }
                        passes += 1;
                    }
                })
            })
            .collect();
        for _ in 0..30 {
            log.cleaning().set_cleaned_to(None);
            clean(&log, &fixture.clock);
        }
        stop.store(true, Ordering::Relaxed);
        readers.into_iter().for_each(|reader| reader.join().expect("no reader fails"));
    });
}
