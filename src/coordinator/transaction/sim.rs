//! A seeded simulation: producers begin, write, commit, abort, die, come back and fence each other, in both protocols; the coordinator
//! loses requests, answers and uncommitted records, refuses appends, dies and comes back from its log; markers come late, fail, or are
//! written without anybody hearing of it; consumers read in between. Every few steps each invariant is checked; a failure names its seed.
//!
//! The partitions are a model of what `storage` does with transactions, small enough to be read at once.

use std::sync::atomic::Ordering;

use super::tests::{Appended, Harness};
use super::*;
use crate::common::histories;
use crate::common::random::Random;
use crate::coordinator::runtime::TransactionMarker;

const PARTITIONS: u64 = 4;
const PRODUCERS: usize = 4;
const STEPS: usize = 200;
const HISTORIES: u64 = 10_000;
/// Replaying the whole log after every single step would take most of the time.
const CHECK_EVERY: usize = 10;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Entry {
    Data { producer_id: i64, transaction: u64 },
    Marker { producer_id: i64, commit: bool },
}

#[derive(Clone, Debug)]
struct KnownProducer {
    epoch: i16,
    coordinator_epoch: i32,
    /// Where its open transaction began.
    open_since: Option<usize>,
}

impl Default for KnownProducer {
    fn default() -> KnownProducer {
        KnownProducer { epoch: -1, coordinator_epoch: -1, open_since: None }
    }
}

/// An aborted transaction of a partition: the offsets of its first record and of its marker.
#[derive(Clone, Copy, Debug)]
struct Aborted {
    producer_id: i64,
    first_offset: usize,
    marker_offset: usize,
}

/// The verification of a batch to come.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Guard {
    number: u64,
    bumps_epoch: bool,
    epoch: i16,
}

/// One partition.
#[derive(Clone, Debug, Default)]
struct PartitionLog {
    entries: Vec<Entry>,
    aborted: Vec<Aborted>,
    producers: BTreeMap<i64, KnownProducer>,
    guards: BTreeMap<i64, Guard>,
    guards_given: u64,
}

impl PartitionLog {
    fn check_epoch(&self, producer: ProducerIdAndEpoch) -> Result<(), ErrorCode> {
        let known = self.producers.get(&producer.producer_id);
        if known.is_some_and(|it| producer.producer_epoch < it.epoch) { Err(ErrorCode::InvalidProducerEpoch) } else { Ok(()) }
    }

    fn is_open(&self, producer: ProducerIdAndEpoch) -> bool {
        self.producers.get(&producer.producer_id).is_some_and(|it| it.open_since.is_some() && it.epoch == producer.producer_epoch)
    }

    fn begin_verification(&mut self, producer: ProducerIdAndEpoch, bumps_epoch: bool) -> Result<Option<u64>, ErrorCode> {
        self.check_epoch(producer)?;
        if self.is_open(producer) {
            return Ok(None);
        }
        if let Some(guard) = self.guards.get(&producer.producer_id).filter(|it| producer.producer_epoch <= it.epoch) {
            return Ok(Some(guard.number));
        }
        self.guards_given += 1;
        let guard = Guard { number: self.guards_given, bumps_epoch, epoch: producer.producer_epoch };
        self.guards.insert(producer.producer_id, guard);
        Ok(Some(guard.number))
    }

    fn append(&mut self, producer: ProducerIdAndEpoch, guard: Option<u64>, transaction: u64) -> Result<(), ErrorCode> {
        self.check_epoch(producer)?;
        let producer_id = producer.producer_id;
        let is_verified = guard.is_some() && self.guards.get(&producer_id).map(|it| it.number) == guard;
        if !self.is_open(producer) && !is_verified {
            return Err(ErrorCode::InvalidTxnState);
        }
        let known = self.producers.entry(producer_id).or_default();
        known.epoch = producer.producer_epoch;
        known.open_since.get_or_insert(self.entries.len());
        self.guards.remove(&producer_id);
        self.entries.push(Entry::Data { producer_id, transaction });
        Ok(())
    }

    fn write_marker(&mut self, marker: &TransactionMarker) -> Result<(), ErrorCode> {
        let producer_id = marker.producer_id;
        let known = self.producers.entry(producer_id).or_default();
        let is_late = marker.transaction_version >= 2 && marker.producer_epoch == known.epoch && known.open_since.is_some();
        if marker.producer_epoch < known.epoch || (is_late && known.epoch != i16::MAX) {
            return Err(ErrorCode::InvalidProducerEpoch);
        }
        if marker.coordinator_epoch < known.coordinator_epoch {
            return Err(ErrorCode::TransactionCoordinatorFenced);
        }
        if let Some(first_offset) = known.open_since.filter(|_| !marker.commit) {
            self.aborted.push(Aborted { producer_id, first_offset, marker_offset: self.entries.len() });
        }
        *known = KnownProducer { epoch: marker.producer_epoch, coordinator_epoch: marker.coordinator_epoch, open_since: None };
        if self.guards.get(&producer_id).is_some_and(|it| !it.bumps_epoch || it.epoch != marker.producer_epoch) {
            self.guards.remove(&producer_id);
        }
        self.entries.push(Entry::Marker { producer_id, commit: marker.commit });
        Ok(())
    }

    fn last_stable_offset(&self) -> usize {
        self.producers.values().filter_map(|it| it.open_since).min().unwrap_or(self.entries.len())
    }

    /// What the markers say of each transaction with data here; `None` while there is none.
    fn outcomes(&self) -> Vec<(u64, Option<bool>)> {
        let mut outcomes: Vec<(i64, u64, Option<bool>)> = Vec::new();
        for entry in &self.entries {
            match *entry {
                Entry::Data { producer_id, transaction } => outcomes.push((producer_id, transaction, None)),
                Entry::Marker { producer_id, commit } => {
                    let open = outcomes.iter_mut().filter(|(id, _, outcome)| *id == producer_id && outcome.is_none());
                    open.for_each(|(_, _, outcome)| *outcome = Some(commit));
                }
            }
        }
        outcomes.into_iter().map(|(_, transaction, outcome)| (transaction, outcome)).collect()
    }
}

/// A consumer of one partition that reads only what is committed, as Kafka's does: by the broker's list of aborted transactions.
#[derive(Clone, Debug, Default)]
struct Reader {
    position: usize,
    /// The transaction of every record that it got.
    read: Vec<u64>,
}

impl Reader {
    fn fetch(&mut self, log: &PartitionLog, max: usize) {
        let end = log.last_stable_offset().min(self.position + max);
        let mut aborted: Vec<_> = log.aborted.iter().filter(|it| it.marker_offset >= self.position && it.first_offset < end).collect();
        aborted.sort_by_key(|it| std::cmp::Reverse(it.first_offset));
        let mut aborting = BTreeSet::new();
        for offset in self.position..end {
            while let Some(begun) = aborted.pop_if(|it| it.first_offset <= offset) {
                aborting.insert(begun.producer_id);
            }
            match log.entries[offset] {
                Entry::Data { producer_id, transaction } if !aborting.contains(&producer_id) => self.read.push(transaction),
                Entry::Marker { producer_id, commit: false } => drop(aborting.remove(&producer_id)),
                _ => {}
            }
        }
        self.position = self.position.max(end);
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Doing {
    Initializing,
    Idle,
    Writing { transaction: u64, added: BTreeSet<TopicPartition>, has_failed: bool },
    Ending { transaction: u64, commit: bool },
}

/// A producer's answer from the coordinator.
#[derive(Clone, Debug)]
enum Answer {
    Identity(ProducerIdAndEpoch),
    Added(BTreeSet<TopicPartition>),
    Ended(ProducerIdAndEpoch),
    /// It may ask again.
    Again,
    Failed,
}

#[derive(Clone, Debug)]
struct Producer {
    transactional_id: String,
    /// 0, or 2 with epoch bumps.
    version: i16,
    /// Anew with every InitProducerId that it begins.
    incarnation: u64,
    identity: Option<ProducerIdAndEpoch>,
    doing: Doing,
    /// It waits for an answer.
    is_waiting: bool,
}

/// A batch on its way, at the partition's leader.
#[derive(Clone, Debug)]
struct Write {
    at: usize,
    incarnation: u64,
    identity: ProducerIdAndEpoch,
    transaction: u64,
    partition: TopicPartition,
    stage: Stage,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    New,
    Verifying(Option<u64>),
    Verified(Option<u64>),
}

struct Sim {
    seed: u64,
    random: Random,
    h: Harness,
    level: i16,
    logs: BTreeMap<TopicPartition, PartitionLog>,
    readers: BTreeMap<TopicPartition, Reader>,
    producers: Vec<Producer>,
    writes: Vec<Write>,
    /// Answers that wait for commits.
    held: Vec<(usize, u64, Answer)>,
    markers: Vec<TransactionMarkers>,
    /// Who has a transactional id, and which identity was given to whom.
    owners: BTreeMap<String, u64>,
    given: BTreeMap<ProducerIdAndEpoch, u64>,
    /// What producers were told of their transactions, and what they were told is written.
    told: BTreeMap<u64, bool>,
    written: BTreeMap<u64, BTreeSet<TopicPartition>>,
    numbers: u64,
    steps: usize,
}

fn partition(n: u64) -> TopicPartition {
    TopicPartition::new("t", n as i32)
}

impl Sim {
    fn new(seed: u64) -> Sim {
        let mut random = Random::new(seed);
        let level = [0, 1, 2, 2][random.below(4) as usize];
        let mut h = Harness::new(level);
        if random.one_in(2) {
            // Epochs are soon used up.
            for n in 0..2 {
                let metadata = TransactionMetadata {
                    producer_epoch: i16::MAX - 1 - random.below(6) as i16,
                    ..TransactionMetadata::new(50 + n, 60_000, h.now.wall_ms)
                };
                let record = TransactionRecord { transactional_id: format!("id{n}"), metadata: Some(metadata), value_version: 1 };
                h.apply(Effects { records: vec![record], replay: true, ..Effects::default() });
            }
        }
        let producers = (0..PRODUCERS).map(|n| Producer {
            // Two for each id, so that they fence each other.
            transactional_id: format!("id{}", n / 2),
            version: if level == 2 && !random.one_in(4) { 2 } else { 0 },
            incarnation: n as u64,
            identity: None,
            doing: Doing::Initializing,
            is_waiting: false,
        });
        Sim {
            seed,
            producers: producers.collect(),
            random,
            h,
            level,
            logs: (0..PARTITIONS).map(|n| (partition(n), PartitionLog::default())).collect(),
            readers: (0..PARTITIONS).map(|n| (partition(n), Reader::default())).collect(),
            writes: Vec::new(),
            held: Vec::new(),
            markers: Vec::new(),
            owners: BTreeMap::new(),
            given: BTreeMap::new(),
            told: BTreeMap::new(),
            written: BTreeMap::new(),
            numbers: 100,
            steps: 0,
        }
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn step(&mut self) {
        match self.random.below(66) {
            0 => self.crash_coordinator(),
            60.. => {
                let (at, max) = (partition(self.random.below(PARTITIONS)), 1 + self.random.below(6) as usize);
                self.fetch(&at, max);
            }
            1 => self.h.held = Some(self.h.held.take().unwrap_or_default()),
            2..=4 => self.release(),
            5 => self.h.refuse = if self.h.refuse.is_some() { None } else { Some(ErrorCode::NotEnoughReplicas) },
            6 => self.h.refuse = None,
            7 => {
                let is_out = self.random.one_in(4);
                self.h.environment.is_out_of_ids.store(is_out, Ordering::Relaxed);
            }
            8 if self.random.one_in(3) => {
                let at = self.random.below(PRODUCERS as u64) as usize;
                self.crash_producer(at);
            }
            9 => {
                let ms = self.random.below(30_000);
                self.h.advance(ms);
            }
            10..=12 => {
                let ms = self.random.below(300);
                self.h.advance(ms);
            }
            13..=24 => self.deliver_marker(),
            25..=39 => self.progress_write(),
            _ => {
                let at = self.random.below(PRODUCERS as u64) as usize;
                if !self.producers[at].is_waiting {
                    self.act(at);
                }
            }
        }
        self.markers.extend(self.take_decided_markers());
        self.steps += 1;
        if self.steps.is_multiple_of(CHECK_EVERY) {
            self.check();
        }
    }

    fn fetch(&mut self, partition: &TopicPartition, max: usize) {
        let (Some(reader), Some(log)) = (self.readers.get_mut(partition), self.logs.get(partition)) else { return };
        reader.fetch(log, max);
    }

    /// Markers that were handed out. Each must be of a decision that is committed.
    fn take_decided_markers(&self) -> Vec<TransactionMarkers> {
        let taken = self.h.take_markers();
        for markers in &taken {
            let decided = self.h.log[..self.h.committed].iter().rev().any(|(key, value)| {
                let record = TransactionRecord::decode(key.clone(), value.clone()).expect("readable").expect("of a known type");
                let state = if markers.marker.commit { TransactionState::PrepareCommit } else { TransactionState::PrepareAbort };
                record.transactional_id == markers.transactional_id
                    && record.metadata.is_some_and(|it| {
                        it.state == state
                            && (it.producer_id, it.producer_epoch) == (markers.marker.producer_id, markers.marker.producer_epoch)
                    })
            });
            assert!(decided, "seed {}: {markers:?} without a committed decision", self.seed);
        }
        taken
    }

    fn crash_coordinator(&mut self) {
        self.check();
        // What was not committed may be lost with it.
        let lost = self.random.below((self.h.log.len() - self.h.committed) as u64 + 1) as usize;
        self.h.log.truncate(self.h.log.len() - lost);
        for (at, incarnation, _) in std::mem::take(&mut self.held) {
            if self.producers[at].incarnation == incarnation {
                self.producers[at].is_waiting = false;
            }
        }
        self.h.restart();
    }

    fn release(&mut self) {
        let result = if self.random.one_in(5) { Err(ErrorCode::RequestTimedOut) } else { Ok(()) };
        self.h.release(result);
        for (at, incarnation, answer) in std::mem::take(&mut self.held) {
            let answer = if result.is_ok() { answer } else { Answer::Again };
            self.answer(at, incarnation, answer);
        }
    }

    fn crash_producer(&mut self, at: usize) {
        let incarnation = self.number();
        let producer = &mut self.producers[at];
        producer.identity = None;
        producer.incarnation = incarnation;
        producer.doing = Doing::Initializing;
        producer.is_waiting = false;
    }

    /// The producer's next request.
    fn act(&mut self, at: usize) {
        let producer = self.producers[at].clone();
        match (producer.doing, producer.identity) {
            (Doing::Initializing, expected) => {
                let request = InitProducerId {
                    transactional_id: producer.transactional_id,
                    timeout_ms: 60_000,
                    enable_two_phase_commit: false,
                    keep_prepared_transaction: false,
                    expected,
                };
                match self.h.shard.init_producer_id(self.h.now, &request) {
                    Ok((Ok(identity), effects)) => self.reply(at, Answer::Identity(identity), effects),
                    Ok((Err(_), effects)) => self.reply(at, Answer::Again, effects),
                    Err(error) => self.reply_error(at, error),
                }
            }
            (Doing::Idle, Some(_)) => {
                let transaction = self.number();
                self.producers[at].doing = Doing::Writing { transaction, added: BTreeSet::new(), has_failed: false };
            }
            (Doing::Writing { transaction, added, has_failed }, Some(identity)) => {
                let target = partition(self.random.below(PARTITIONS));
                let wrote = self.written.contains_key(&transaction);
                let is_pending = self.writes.iter().any(|write| write.transaction == transaction);
                // Else nothing would ever be through, and be committed.
                let writes_more = !is_pending || self.random.one_in(6);
                match self.random.below(9) {
                    0 | 1 if producer.version == 0 && !added.contains(&target) => {
                        let wanted: BTreeSet<_> = [target].into();
                        match self.h.shard.add_partitions(self.h.now, &producer.transactional_id, identity, &wanted, 0) {
                            Ok(((), effects)) => self.reply(at, Answer::Added(wanted), effects),
                            Err(error) => self.reply_error(at, error),
                        }
                    }
                    0..=3 if !has_failed && writes_more && (producer.version == 2 || added.contains(&target)) => self.writes.push(Write {
                        at,
                        incarnation: producer.incarnation,
                        identity,
                        transaction,
                        partition: target,
                        stage: Stage::New,
                    }),
                    4..=7 if !has_failed && !is_pending && wrote && (producer.version == 2 || !added.is_empty()) => {
                        self.producers[at].doing = Doing::Ending { transaction, commit: true };
                    }
                    // An abort does not wait for what is on its way.
                    8 if (wrote || self.random.one_in(4)) && (producer.version == 2 || !added.is_empty()) => {
                        self.producers[at].doing = Doing::Ending { transaction, commit: false };
                    }
                    _ => {}
                }
            }
            (Doing::Ending { commit, .. }, Some(identity)) => {
                let request = EndTransaction {
                    transactional_id: producer.transactional_id,
                    producer: identity,
                    commit,
                    client_version: producer.version,
                };
                match self.h.shard.end_transaction(self.h.now, &request) {
                    Ok((next, effects)) => self.reply(at, Answer::Ended(next), effects),
                    Err(error) => self.reply_error(at, error),
                }
            }
            (_, None) => unreachable!("only an initializing producer has no identity"),
        }
    }

    fn reply(&mut self, at: usize, answer: Answer, effects: Effects) {
        let incarnation = self.producers[at].incarnation;
        match self.h.apply(effects) {
            Appended::Committed => self.answer(at, incarnation, answer),
            Appended::Held => {
                self.producers[at].is_waiting = true;
                self.held.push((at, incarnation, answer));
            }
            Appended::Refused(_) => self.answer(at, incarnation, Answer::Again),
        }
    }

    fn reply_error(&mut self, at: usize, error: ErrorCode) {
        let may_ask_again = matches!(error, ErrorCode::ConcurrentTransactions | ErrorCode::CoordinatorLoadInProgress);
        let answer = if may_ask_again { Answer::Again } else { Answer::Failed };
        self.answer(at, self.producers[at].incarnation, answer);
    }

    /// The coordinator's answer, which may be lost on its way.
    fn answer(&mut self, at: usize, incarnation: u64, answer: Answer) {
        let producer = &mut self.producers[at];
        if let Answer::Identity(identity) = answer {
            // From here on the id is this incarnation's, whether it hears of it or not.
            self.owners.insert(producer.transactional_id.clone(), incarnation);
            let before = self.given.insert(identity, incarnation);
            assert!(before.is_none_or(|it| it == incarnation), "seed {}: {identity:?} was given twice", self.seed);
        }
        if producer.incarnation != incarnation {
            return;
        }
        producer.is_waiting = false;
        if self.random.one_in(25) {
            return;
        }
        match (answer, &mut producer.doing) {
            (Answer::Identity(identity), Doing::Initializing) => {
                producer.identity = Some(identity);
                producer.doing = Doing::Idle;
            }
            (Answer::Added(partitions), Doing::Writing { added, .. }) => added.extend(partitions),
            (Answer::Ended(next), Doing::Ending { transaction, commit }) => {
                self.told.insert(*transaction, *commit);
                if producer.version == 2 {
                    producer.identity = Some(next);
                }
                producer.doing = Doing::Idle;
            }
            (Answer::Failed, _) => {
                // Most begin anew; some go on from the identity they have (KIP-360).
                let goes_on = self.random.one_in(3);
                let kept = producer.identity.filter(|_| goes_on);
                self.crash_producer(at);
                self.producers[at].identity = kept;
            }
            _ => {}
        }
    }

    /// A batch gets one step further.
    fn progress_write(&mut self) {
        if self.writes.is_empty() {
            return;
        }
        let n = self.random.below(self.writes.len() as u64) as usize;
        let mut write = self.writes.swap_remove(n);
        let producer = &self.producers[write.at];
        let (version, transactional_id) = (producer.version, producer.transactional_id.clone());
        let log = self.logs.get_mut(&write.partition).expect("every partition has a log");
        match write.stage {
            Stage::New => match log.begin_verification(write.identity, version == 2) {
                Ok(None) => write.stage = Stage::Verified(None),
                Ok(guard) => write.stage = Stage::Verifying(guard),
                Err(_) => return self.write_failed(&write),
            },
            Stage::Verifying(guard) => {
                let wanted: BTreeSet<_> = [write.partition.clone()].into();
                let is_verified = if version == 2 {
                    match self.h.shard.add_partitions(self.h.now, &transactional_id, write.identity, &wanted, 2) {
                        // While commits are held back the answer would come later: the broker has given up.
                        Ok(((), effects)) => self.h.apply(effects) == Appended::Committed,
                        Err(_) => false,
                    }
                } else {
                    let verified = self.h.shard.verify_partitions(&transactional_id, write.identity, &wanted);
                    self.h.held.is_none() && verified.iter().all(|(_, error)| *error == ErrorCode::None)
                };
                if !is_verified {
                    return self.write_failed(&write);
                }
                write.stage = Stage::Verified(guard);
            }
            Stage::Verified(guard) => {
                if log.append(write.identity, guard, write.transaction).is_err() {
                    return self.write_failed(&write);
                }
                // The invariant of fencing: nobody writes after a successor has its identity.
                let owner = self.owners.get(&transactional_id);
                assert_eq!(owner, Some(&write.incarnation), "seed {}: a zombie has written {write:?}", self.seed);
                if self.random.one_in(30) {
                    // Nobody hears of it.
                    return self.write_failed(&write);
                }
                self.written.entry(write.transaction).or_default().insert(write.partition);
                return;
            }
        }
        self.writes.push(write);
    }

    fn write_failed(&mut self, write: &Write) {
        let producer = &mut self.producers[write.at];
        if let Doing::Writing { transaction, has_failed, .. } = &mut producer.doing
            && *transaction == write.transaction
        {
            *has_failed = true;
        }
    }

    /// Some of a marker's partitions get it, and the coordinator hears of it, or not.
    fn deliver_marker(&mut self) {
        if self.markers.is_empty() {
            return;
        }
        let n = self.random.below(self.markers.len() as u64) as usize;
        let TransactionMarkers { transactional_id, marker, partitions } = self.markers.swap_remove(n);
        let mut results = Vec::new();
        for partition in partitions {
            let log = self.logs.get_mut(&partition).expect("every partition has a log");
            let error = match self.random.below(12) {
                0 => ErrorCode::NotLeaderOrFollower,
                1 => {
                    let _ = log.write_marker(&marker);
                    ErrorCode::RequestTimedOut
                }
                _ => log.write_marker(&marker).err().unwrap_or(ErrorCode::None),
            };
            results.push((partition, error));
        }
        let effects = self.h.shard.markers_written(self.h.now, &MarkersWritten { transactional_id, marker, results });
        self.h.apply(effects);
    }

    fn check(&self) {
        let outcomes = self.every_partition_tells_of_the_same_end();
        self.producers_are_told_the_truth(&outcomes);
        self.readers_get_only_what_is_committed(&outcomes);
        self.replay_equals_live();
    }

    /// A transaction is committed at all partitions or at none: which, by transaction.
    fn every_partition_tells_of_the_same_end(&self) -> BTreeMap<u64, bool> {
        let mut outcomes: BTreeMap<u64, bool> = BTreeMap::new();
        for (partition, log) in &self.logs {
            for (transaction, outcome) in log.outcomes() {
                let Some(outcome) = outcome else { continue };
                let known = *outcomes.entry(transaction).or_insert(outcome);
                assert_eq!(known, outcome, "seed {}: transaction {transaction} is torn at {partition}", self.seed);
            }
        }
        outcomes
    }

    fn producers_are_told_the_truth(&self, outcomes: &BTreeMap<u64, bool>) {
        for (transaction, told) in &self.told {
            let outcome = outcomes.get(transaction).unwrap_or(told);
            assert_eq!(told, outcome, "seed {}: transaction {transaction} is not what was told", self.seed);
        }
    }

    /// No reader has got anything of a transaction that is not committed by then.
    fn readers_get_only_what_is_committed(&self, outcomes: &BTreeMap<u64, bool>) {
        for (partition, reader) in &self.readers {
            let wrong = reader.read.iter().find(|transaction| outcomes.get(transaction) != Some(&true));
            assert_eq!(wrong, None, "seed {}: a reader of {partition} got what was not committed", self.seed);
        }
    }

    /// In the end the readers have everything of each committed transaction, in order and once, and nothing else.
    fn every_reader_gets_all_of_a_transaction_or_nothing(&mut self) {
        for n in 0..PARTITIONS {
            self.fetch(&partition(n), usize::MAX / 2);
        }
        for (partition, reader) in &self.readers {
            let committed = self.logs[partition].outcomes().into_iter().filter(|(_, outcome)| *outcome == Some(true));
            let committed: Vec<u64> = committed.map(|(transaction, _)| transaction).collect();
            assert_eq!(reader.read, committed, "seed {}: the reader of {partition}", self.seed);
        }
        for (transaction, _) in self.told.iter().filter(|(_, commit)| **commit) {
            for partition in self.written.get(transaction).into_iter().flatten() {
                let is_read = self.readers[partition].read.contains(transaction);
                assert!(is_read, "seed {}: of transaction {transaction} {partition} is missing", self.seed);
            }
        }
    }

    /// The log tells all that the coordinator knows, but for the last epochs.
    fn replay_equals_live(&self) {
        let forget = |shard: &TransactionShard| -> Vec<(String, TransactionMetadata)> {
            let transactions =
                shard.transactions().map(|(id, it)| (id.to_owned(), TransactionMetadata { last_producer_epoch: -1, ..it.clone() }));
            transactions
                .map(|(id, it)| match self.level {
                    // Records of that version have no place for these.
                    0 => (id, TransactionMetadata { previous_producer_id: -1, next_producer_id: -1, client_transaction_version: 0, ..it }),
                    _ => (id, it),
                })
                .collect()
        };
        assert_eq!(forget(&self.h.shard), forget(&self.h.loaded()), "seed {}", self.seed);
    }

    /// Nothing fails any more, nobody begins anything: whatever is open comes to its end.
    fn every_transaction_ends(&mut self) {
        self.writes.clear();
        self.h.refuse = None;
        self.h.environment.is_out_of_ids.store(false, Ordering::Relaxed);
        self.h.release(Ok(()));
        for _ in 0..200 {
            self.h.advance(1_000);
            self.markers.extend(self.take_decided_markers());
            for TransactionMarkers { transactional_id, marker, partitions } in std::mem::take(&mut self.markers) {
                let mut results = Vec::new();
                for partition in partitions {
                    let log = self.logs.get_mut(&partition).expect("every partition has a log");
                    results.push((partition, log.write_marker(&marker).err().unwrap_or(ErrorCode::None)));
                }
                let effects = self.h.shard.markers_written(self.h.now, &MarkersWritten { transactional_id, marker, results });
                self.h.apply(effects);
            }
        }
        self.check();
        for (id, metadata) in self.h.shard.transactions() {
            assert!(metadata.state.is_expiration_allowed(), "seed {}: {id} is left as {metadata:?}", self.seed);
        }
        for (partition, log) in &self.logs {
            let open = log.outcomes().into_iter().find(|(_, outcome)| outcome.is_none());
            assert_eq!(open, None, "seed {}: {partition} has a hanging transaction", self.seed);
        }
        self.every_reader_gets_all_of_a_transaction_or_nothing();
    }
}

#[test]
fn thousands_of_histories_hold_every_invariant() {
    let (mut committed, mut aborted, mut read) = (0, 0, 0);
    let test = "coordinator::transaction::sim::thousands_of_histories_hold_every_invariant";
    let is_usual = histories::play(test, HISTORIES, |seed| {
        let mut sim = Sim::new(seed);
        for _ in 0..STEPS {
            sim.step();
        }
        read += sim.readers.values().map(|reader| reader.read.len()).sum::<usize>();
        sim.every_transaction_ends();
        committed += sim.told.values().filter(|commit| **commit).count();
        aborted += sim.told.values().filter(|commit| !**commit).count();
    });
    // The histories are worth something only if much happens in them.
    let least = committed.min(aborted).min(read);
    assert!(!is_usual || least > 1_000, "{committed} committed, {aborted} aborted, {read} read in between");
}
