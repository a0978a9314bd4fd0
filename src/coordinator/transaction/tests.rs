//! The shard over a log in memory, its commits and markers in the test's hands.

use std::sync::atomic::{AtomicBool, AtomicI16, AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::metadata::{NO_PRODUCER_EPOCH, NO_PRODUCER_ID};
use super::*;

/// A broker that keeps what it is handed.
pub(super) struct TestEnvironment {
    next_producer_id: AtomicI64,
    pub(super) is_out_of_ids: AtomicBool,
    version: AtomicI16,
    markers: Mutex<Vec<TransactionMarkers>>,
}

impl Environment for TestEnvironment {
    fn next_producer_id(&self) -> Result<i64, ErrorCode> {
        if self.is_out_of_ids.load(Ordering::Relaxed) {
            return Err(ErrorCode::CoordinatorLoadInProgress);
        }
        Ok(self.next_producer_id.fetch_add(1, Ordering::Relaxed))
    }

    fn transaction_version(&self) -> i16 {
        self.version.load(Ordering::Relaxed)
    }

    fn write_markers(&self, markers: TransactionMarkers) {
        self.markers.lock().unwrap_or_else(PoisonError::into_inner).push(markers);
    }
}

/// What became of an operation's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Appended {
    Committed,
    /// In the log, until [`Harness::release`].
    Held,
    Refused(ErrorCode),
}

pub(super) struct Harness {
    pub(super) config: TransactionCoordinatorConfig,
    pub(super) environment: Arc<TestEnvironment>,
    pub(super) shard: TransactionShard,
    pub(super) now: Now,
    pub(super) leader_epoch: i32,
    pub(super) log: Vec<(Bytes, Option<Bytes>)>,
    /// Records below this are committed.
    pub(super) committed: usize,
    /// While some, commits are held back, with what waits for each.
    pub(super) held: Option<Vec<AfterCommit>>,
    pub(super) refuse: Option<ErrorCode>,
}

impl Harness {
    pub(super) fn new(version: i16) -> Harness {
        Harness::with(TransactionCoordinatorConfig::default(), version)
    }

    pub(super) fn with(config: TransactionCoordinatorConfig, version: i16) -> Harness {
        let environment = Arc::new(TestEnvironment {
            next_producer_id: AtomicI64::new(100),
            is_out_of_ids: AtomicBool::new(false),
            version: AtomicI16::new(version),
            markers: Mutex::default(),
        });
        let mut harness = Harness {
            shard: TransactionShard::new(config.clone(), Arc::clone(&environment) as _),
            config,
            environment,
            now: Now { wall_ms: 1_000_000, monotonic_ms: 0 },
            leader_epoch: 0,
            log: Vec::new(),
            committed: 0,
            held: None,
            refuse: None,
        };
        harness.restart();
        harness
    }

    /// Another coordinator takes over from the log.
    pub(super) fn restart(&mut self) {
        self.leader_epoch += 1;
        self.held = None;
        self.refuse = None;
        self.committed = self.log.len();
        self.shard = self.loaded();
        let effects = self.shard.on_loaded(self.now);
        self.apply(effects);
    }

    /// A shard with the state that the log tells of.
    pub(super) fn loaded(&self) -> TransactionShard {
        let mut shard = TransactionShard::new(self.config.clone(), Arc::clone(&self.environment) as _);
        shard.begin_epoch(self.leader_epoch);
        for (offset, (key, value)) in self.log.iter().cloned().enumerate() {
            shard.load(LogEntry::Record { offset: offset as i64, producer_id: None, key, value });
        }
        shard
    }

    pub(super) fn apply(&mut self, effects: Effects) -> Appended {
        if !effects.records.is_empty() {
            if let Some(error) = self.refuse {
                if let Some(after) = effects.after_commit {
                    let effects = self.shard.committed(after, Err(error), self.now);
                    self.apply(effects);
                }
                return Appended::Refused(error);
            }
            assert!(effects.replay, "every record of a transaction is state");
        }
        for record in effects.records {
            self.log.push(record.encode().expect("a record that can be written"));
            self.shard.replay(self.log.len() as i64 - 1, record);
        }
        match (&mut self.held, effects.after_commit) {
            (Some(held), after) => {
                held.extend(after);
                Appended::Held
            }
            (None, after) => {
                self.committed = self.log.len();
                if let Some(after) = after {
                    let effects = self.shard.committed(after, Ok(()), self.now);
                    self.apply(effects);
                }
                Appended::Committed
            }
        }
    }

    /// Ends the holding back of commits; with an error, nobody knows whether the records are committed.
    pub(super) fn release(&mut self, result: Result<(), ErrorCode>) {
        let held = self.held.take().unwrap_or_default();
        if result.is_ok() {
            self.committed = self.log.len();
        }
        for after in held {
            let effects = self.shard.committed(after, result, self.now);
            self.apply(effects);
        }
    }

    pub(super) fn advance(&mut self, ms: u64) {
        let end = self.now.monotonic_ms + ms;
        while let Some(deadline) = self.shard.next_deadline().filter(|deadline| *deadline <= end) {
            self.pass(deadline.saturating_sub(self.now.monotonic_ms));
            if let Some(effects) = self.shard.poll(self.now) {
                self.apply(effects);
            }
        }
        self.pass(end - self.now.monotonic_ms);
    }

    fn pass(&mut self, ms: u64) {
        self.now = Now { wall_ms: self.now.wall_ms + ms as i64, monotonic_ms: self.now.monotonic_ms + ms };
    }

    pub(super) fn take_markers(&self) -> Vec<TransactionMarkers> {
        std::mem::take(&mut *self.environment.markers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reports the same outcome for every partition of these markers.
    pub(super) fn report(&mut self, markers: &TransactionMarkers, error: ErrorCode) {
        let results = markers.partitions.iter().map(|partition| (partition.clone(), error)).collect();
        let report = MarkersWritten { transactional_id: markers.transactional_id.clone(), marker: markers.marker, results };
        let effects = self.shard.markers_written(self.now, &report);
        self.apply(effects);
    }

    /// Writes all markers that are handed out.
    fn finish_markers(&mut self) {
        for markers in self.take_markers() {
            self.report(&markers, ErrorCode::None);
        }
    }

    fn init(&mut self, expected: Option<ProducerIdAndEpoch>) -> Result<ProducerIdAndEpoch, ErrorCode> {
        let request = InitProducerId {
            transactional_id: "id".to_owned(),
            timeout_ms: 60_000,
            enable_two_phase_commit: false,
            keep_prepared_transaction: false,
            expected,
        };
        let (answer, effects) = self.shard.init_producer_id(self.now, &request)?;
        self.apply(effects);
        answer
    }

    fn add(&mut self, producer: ProducerIdAndEpoch, names: &[&str], version: i16) -> Result<(), ErrorCode> {
        let ((), effects) = self.shard.add_partitions(self.now, "id", producer, &partitions(names), version)?;
        self.apply(effects);
        Ok(())
    }

    fn end(&mut self, producer: ProducerIdAndEpoch, commit: bool, version: i16) -> Result<ProducerIdAndEpoch, ErrorCode> {
        let request = EndTransaction { transactional_id: "id".to_owned(), producer, commit, client_version: version };
        let (answer, effects) = self.shard.end_transaction(self.now, &request)?;
        self.apply(effects);
        Ok(answer)
    }

    fn metadata(&self) -> &TransactionMetadata {
        self.shard.transaction("id").expect("the id is known")
    }

    fn state(&self) -> TransactionState {
        self.metadata().state
    }

    /// Puts the id into a state that takes long to reach.
    fn set(&mut self, change: impl FnOnce(&mut TransactionMetadata)) {
        let mut metadata = self.metadata().clone();
        change(&mut metadata);
        let record = TransactionRecord { transactional_id: "id".to_owned(), metadata: Some(metadata), value_version: 1 };
        self.apply(Effects { records: vec![record], replay: true, ..Effects::default() });
    }
}

fn partitions(names: &[&str]) -> BTreeSet<TopicPartition> {
    names.iter().map(|name| TopicPartition::new(*name, 0)).collect()
}

fn identity(producer_id: i64, producer_epoch: i16) -> ProducerIdAndEpoch {
    ProducerIdAndEpoch { producer_id, producer_epoch }
}

#[test]
fn a_transaction_goes_from_nothing_to_complete() {
    let mut h = Harness::new(1);
    let producer = h.init(None).expect("an identity");
    assert_eq!(producer, identity(100, 0));
    h.add(producer, &["a", "b"], 0).expect("added");
    assert_eq!(h.state(), TransactionState::Ongoing);
    assert_eq!(h.end(producer, true, 0), Ok(ProducerIdAndEpoch::NONE));
    assert_eq!(h.state(), TransactionState::PrepareCommit);
    let markers = h.take_markers();
    assert_eq!(markers.len(), 1);
    assert_eq!(markers[0].partitions, partitions(&["a", "b"]));
    let marker = markers[0].marker;
    assert!(marker.commit && (marker.producer_id, marker.producer_epoch, marker.coordinator_epoch) == (100, 0, 1));
    h.report(&markers[0], ErrorCode::None);
    assert_eq!(h.state(), TransactionState::CompleteCommit);
    assert_eq!(h.end(producer, true, 0), Ok(ProducerIdAndEpoch::NONE), "asked again");
    assert_eq!(h.end(producer, false, 0), Err(ErrorCode::InvalidTxnState));
    h.add(producer, &["c"], 0).expect("the next transaction");
    assert_eq!(h.metadata().partitions, partitions(&["c"]));
}

#[test]
fn with_epoch_bumps_each_transaction_has_its_own_epoch() {
    let mut h = Harness::new(2);
    let producer = h.init(None).expect("an identity");
    h.add(producer, &["a"], 2).expect("added");
    let next = h.end(producer, true, 2).expect("decided");
    assert_eq!(next, identity(100, 1));
    assert_eq!(h.end(producer, true, 2), Err(ErrorCode::ConcurrentTransactions), "asked again too early");
    let markers = h.take_markers();
    assert_eq!((markers[0].marker.producer_epoch, markers[0].marker.transaction_version), (1, 2));
    h.report(&markers[0], ErrorCode::None);
    assert_eq!(h.end(producer, true, 2), Ok(next), "asked again");
    assert_eq!(h.end(producer, false, 2), Err(ErrorCode::InvalidTxnState));
    assert_eq!(h.add(producer, &["a"], 2), Err(ErrorCode::ProducerFenced));
    h.add(next, &["a"], 2).expect("the next transaction");
}

#[test]
fn the_end_of_nothing_follows_kafkas_table() {
    // Of each state: what an end with the epoch before, and with the current one, is answered.
    let fenced = Err(ErrorCode::ProducerFenced);
    let wrong = Err(ErrorCode::InvalidTxnState);
    let after = |h: &mut Harness, state: &str| {
        let producer = h.init(None).expect("an identity");
        if state == "Empty" {
            return h.init(None).expect("another epoch");
        }
        h.add(producer, &["a"], 2).expect("added");
        let next = h.end(producer, state == "CompleteCommit", 2).expect("decided");
        h.finish_markers();
        next
    };
    for (state, commit, again, current) in [
        ("Empty", false, fenced, None),
        ("Empty", true, fenced, Some(wrong)),
        ("CompleteAbort", false, Ok(0), None),
        ("CompleteAbort", true, wrong, Some(wrong)),
        ("CompleteCommit", false, wrong, None),
        ("CompleteCommit", true, Ok(0), Some(wrong)),
    ] {
        let mut h = Harness::new(2);
        let now = after(&mut h, state);
        let before = identity(now.producer_id, now.producer_epoch - 1);
        assert_eq!(h.end(before, commit, 2), again.map(|_: i32| now), "{state}, commit {commit}, asked again");
        let answer = h.end(now, commit, 2);
        match current {
            Some(expected) => assert_eq!(answer, expected.map(|_| now), "{state}, commit {commit}"),
            None => {
                assert_eq!(answer, Ok(identity(now.producer_id, now.producer_epoch + 1)), "{state}, commit {commit}");
                assert_eq!(h.state(), TransactionState::CompleteAbort, "without partitions it is complete at once");
            }
        }
    }
}

#[test]
fn a_new_producer_aborts_the_open_transaction_and_fences_the_one_before() {
    for version in [1, 2] {
        let mut h = Harness::new(version);
        let producer = h.init(None).expect("an identity");
        h.add(producer, &["a"], version).expect("added");
        assert_eq!(h.init(None), Err(ErrorCode::ConcurrentTransactions));
        assert_eq!(h.state(), TransactionState::PrepareAbort);
        assert_eq!(h.init(None), Err(ErrorCode::ConcurrentTransactions), "until the markers are written");
        let markers = h.take_markers();
        assert!(!markers[0].marker.commit);
        assert_eq!(markers[0].marker.producer_epoch, 1, "above that of the data");
        h.report(&markers[0], ErrorCode::None);
        assert_eq!(h.init(None), Ok(identity(100, 2)));
        assert_eq!(h.add(producer, &["a"], version), Err(ErrorCode::ProducerFenced));
        assert_eq!(h.end(producer, true, version), Err(ErrorCode::ProducerFenced));
    }
}

#[test]
fn a_producer_that_names_its_identity_goes_on_from_it() {
    let mut h = Harness::new(2);
    let first = h.init(None).expect("an identity");
    let second = h.init(Some(first)).expect("the next epoch");
    assert_eq!(second, identity(100, 1));
    assert_eq!(h.init(Some(first)), Ok(second), "asked again");
    let other = h.init(None).expect("another producer");
    assert_eq!(h.init(Some(second)), Err(ErrorCode::ProducerFenced));
    assert_eq!(h.init(Some(identity(99, 0))), Err(ErrorCode::ProducerFenced));
    assert_eq!(h.init(Some(other)), Ok(identity(100, 3)));
    let mut h = Harness::new(2);
    assert_eq!(h.init(Some(identity(7, 5))), Ok(identity(100, 0)), "its id was forgotten");
}

#[test]
fn used_up_epochs_are_followed_by_a_new_producer_id() {
    let mut h = Harness::new(2);
    h.init(None).expect("an identity");
    h.set(|metadata| metadata.producer_epoch = i16::MAX - 1);
    let last = identity(100, i16::MAX - 1);
    let next = h.init(Some(last)).expect("a new producer id");
    assert_eq!(next, identity(101, 0));
    assert_eq!(h.init(Some(last)), Ok(identity(101, 0)), "asked again");
    // By the end of a transaction.
    h.set(|metadata| metadata.producer_epoch = i16::MAX - 1);
    let last = identity(101, i16::MAX - 1);
    h.add(last, &["a"], 2).expect("added");
    let next = h.end(last, true, 2).expect("decided");
    assert_eq!(next, identity(102, 0));
    let markers = h.take_markers();
    assert_eq!((markers[0].marker.producer_id, markers[0].marker.producer_epoch), (101, i16::MAX));
    h.report(&markers[0], ErrorCode::None);
    assert_eq!(h.end(last, true, 2), Ok(next), "asked again");
    h.add(next, &["a"], 2).expect("added");
    // Without a producer id at hand nothing happens.
    h.set(|metadata| metadata.producer_epoch = i16::MAX - 1);
    h.environment.is_out_of_ids.store(true, Ordering::Relaxed);
    assert_eq!(h.end(identity(102, i16::MAX - 1), true, 2), Err(ErrorCode::CoordinatorLoadInProgress));
    assert_eq!(h.state(), TransactionState::Ongoing);
}

#[test]
fn only_the_producer_of_now_adds_partitions() {
    let mut h = Harness::new(1);
    let producer = h.init(None).expect("an identity");
    assert_eq!(h.add(identity(5, 0), &["a"], 0), Err(ErrorCode::InvalidProducerIdMapping));
    assert_eq!(h.add(identity(100, 1), &["a"], 0), Err(ErrorCode::ProducerFenced));
    let unknown = h.shard.add_partitions(h.now, "other", producer, &partitions(&["a"]), 0);
    assert_eq!(unknown.err(), Some(ErrorCode::InvalidProducerIdMapping));
    assert_eq!(h.shard.add_partitions(h.now, "", producer, &partitions(&["a"]), 0).err(), Some(ErrorCode::InvalidRequest));
    h.add(producer, &["a"], 0).expect("added");
    let records = h.log.len();
    h.add(producer, &["a"], 0).expect("there already");
    assert_eq!(h.log.len(), records);
}

#[test]
fn a_partitions_leader_is_told_whether_it_is_in_the_transaction() {
    let mut h = Harness::new(1);
    let producer = h.init(None).expect("an identity");
    h.add(producer, &["a"], 0).expect("added");
    let errors = |h: &Harness, producer| h.shard.verify_partitions("id", producer, &partitions(&["a", "b"])).into_iter().map(|(_, e)| e);
    assert!(errors(&h, producer).eq([ErrorCode::None, ErrorCode::TransactionAbortable]));
    assert!(errors(&h, identity(100, 1)).eq([ErrorCode::ProducerFenced; 2]));
    assert!(errors(&h, identity(1, 0)).eq([ErrorCode::InvalidProducerIdMapping; 2]));
    h.end(producer, true, 0).expect("decided");
    assert!(errors(&h, producer).eq([ErrorCode::ConcurrentTransactions; 2]));
}

#[test]
fn a_transaction_that_is_open_too_long_is_aborted() {
    for version in [1, 2] {
        let mut h = Harness::new(version);
        let producer = h.init(None).expect("an identity");
        h.add(producer, &["a"], version).expect("added");
        h.advance(60_000);
        assert_eq!(h.state(), TransactionState::Ongoing);
        h.advance(10_000);
        assert_eq!(h.state(), TransactionState::PrepareAbort);
        h.finish_markers();
        assert_eq!(h.state(), TransactionState::CompleteAbort);
        let expected = if version == 2 { Err(ErrorCode::InvalidTxnState) } else { Err(ErrorCode::ProducerFenced) };
        assert_eq!(h.end(producer, true, version), expected);
    }
}

#[test]
fn a_clock_that_is_set_ends_no_transaction_and_keeps_none_open() {
    const HOURS: i64 = 6 * 60 * 60 * 1000;
    for (jump_ms, before_ms) in [(HOURS, 0), (HOURS, 15_000), (-HOURS, 0), (-HOURS, 15_000)] {
        let mut h = Harness::new(2);
        let producer = h.init(None).expect("an identity");
        h.add(producer, &["a"], 2).expect("added");
        h.advance(before_ms);
        h.now.wall_ms += jump_ms;
        // Of one that the jump comes before any look at, only that much is known.
        h.advance(49_000 - before_ms);
        assert_eq!(h.state(), TransactionState::Ongoing, "{jump_ms} after {before_ms}");
        h.advance(32_000);
        assert_ne!(h.state(), TransactionState::Ongoing, "{jump_ms} after {before_ms}");
    }
}

#[test]
fn a_two_phase_commit_does_not_time_out() {
    let mut h = Harness::with(TransactionCoordinatorConfig { two_phase_commit_enable: true, ..Default::default() }, 2);
    let mut request = InitProducerId {
        transactional_id: "id".to_owned(),
        timeout_ms: 0,
        enable_two_phase_commit: true,
        keep_prepared_transaction: false,
        expected: None,
    };
    assert_eq!(validate_init_producer_id(&h.config, &request), Ok(()));
    let (answer, effects) = h.shard.init_producer_id(h.now, &request).expect("no error");
    h.apply(effects);
    h.add(answer.expect("an identity"), &["a"], 2).expect("added");
    h.advance(i32::MAX as u64 + 20_000);
    assert_eq!(h.state(), TransactionState::Ongoing);
    let default = TransactionCoordinatorConfig::default();
    assert_eq!(validate_init_producer_id(&default, &request), Err(ErrorCode::TransactionalIdAuthorizationFailed));
    request.enable_two_phase_commit = false;
    assert_eq!(validate_init_producer_id(&default, &request), Err(ErrorCode::InvalidTransactionTimeout));
    request.timeout_ms = default.max_timeout_ms + 1;
    assert_eq!(validate_init_producer_id(&default, &request), Err(ErrorCode::InvalidTransactionTimeout));
    request.keep_prepared_transaction = true;
    assert_eq!(validate_init_producer_id(&default, &request), Err(ErrorCode::UnsupportedVersion));
}

#[test]
fn a_coordinator_goes_on_with_what_the_one_before_has_decided() {
    let mut h = Harness::new(2);
    let producer = h.init(None).expect("an identity");
    h.add(producer, &["a", "b"], 2).expect("added");
    h.end(producer, true, 2).expect("decided");
    let late = h.take_markers();
    h.restart();
    let markers = h.take_markers();
    assert_eq!(markers[0].partitions, partitions(&["a", "b"]));
    assert_eq!(markers[0].marker.coordinator_epoch, 2);
    h.report(&late[0], ErrorCode::None);
    assert_eq!(h.state(), TransactionState::PrepareCommit, "what the one before hears is not for this one");
    h.report(&markers[0], ErrorCode::None);
    assert_eq!(h.state(), TransactionState::CompleteCommit);
}

#[test]
fn markers_wait_for_the_decision_to_be_committed() {
    let mut h = Harness::new(2);
    let producer = h.init(None).expect("an identity");
    h.add(producer, &["a"], 2).expect("added");
    h.held = Some(Vec::new());
    h.end(producer, true, 2).expect("decided");
    assert_eq!(h.take_markers(), []);
    // Nobody knows whether it is committed: it is written again.
    h.release(Err(ErrorCode::RequestTimedOut));
    assert_eq!(h.take_markers(), []);
    let records = h.log.len();
    h.advance(RESUME_BACKOFF_MS as u64);
    assert_eq!(h.log.len(), records + 1);
    assert_eq!(h.take_markers().len(), 1);
}

#[test]
fn markers_that_fail_are_written_again_to_those_that_lack_them() {
    let mut h = Harness::new(1);
    let producer = h.init(None).expect("an identity");
    h.add(producer, &["a", "b", "c"], 0).expect("added");
    h.end(producer, false, 0).expect("decided");
    let markers = h.take_markers().remove(0);
    let results = ["a", "b", "c"].map(|name| TopicPartition::new(name, 0)).into_iter();
    let results = results.zip([ErrorCode::None, ErrorCode::NotLeaderOrFollower, ErrorCode::UnknownTopicOrPartition]).collect();
    let report = MarkersWritten { transactional_id: "id".to_owned(), marker: markers.marker, results };
    let effects = h.shard.markers_written(h.now, &report);
    h.apply(effects);
    let described = h.shard.describe_transaction("id");
    assert_eq!(described.topics.iter().map(|topic| topic.topic.as_str()).collect::<Vec<_>>(), ["b", "c"]);
    h.advance(RESUME_BACKOFF_MS as u64);
    let again = h.take_markers().remove(0);
    assert_eq!(again.partitions, partitions(&["b", "c"]));
    h.refuse = Some(ErrorCode::NotEnoughReplicas);
    h.report(&again, ErrorCode::None);
    assert_eq!(h.state(), TransactionState::PrepareAbort, "its completion could not be written");
    h.refuse = None;
    h.advance(RESUME_BACKOFF_MS as u64);
    assert_eq!(h.state(), TransactionState::CompleteAbort);
}

#[test]
fn a_coordinator_that_is_fenced_sends_no_more_markers() {
    let mut h = Harness::new(1);
    let producer = h.init(None).expect("an identity");
    h.add(producer, &["a"], 0).expect("added");
    h.end(producer, true, 0).expect("decided");
    let markers = h.take_markers().remove(0);
    h.report(&markers, ErrorCode::TransactionCoordinatorFenced);
    h.advance(10_000);
    assert_eq!((h.take_markers(), h.state()), (vec![], TransactionState::PrepareCommit));
}

#[test]
fn transactional_ids_that_nobody_uses_are_forgotten() {
    let mut h = Harness::new(2);
    let producer = h.init(None).expect("an identity");
    let week_ms = 7 * 24 * 3_600_000;
    h.add(producer, &["a"], 2).expect("added");
    h.set(|metadata| metadata.timeout_ms = i32::MAX);
    h.advance(week_ms + 3_600_000);
    assert_eq!(h.state(), TransactionState::Ongoing, "an open transaction is in use");
    h.end(producer, true, 2).expect("decided");
    h.finish_markers();
    h.advance(week_ms - 3_600_000);
    assert!(h.shard.transaction("id").is_some());
    h.advance(2 * 3_600_000);
    assert!(h.shard.transaction("id").is_none());
    assert!(h.loaded().transaction("id").is_none(), "a tombstone says so");
    assert_eq!(h.end(producer, true, 2), Err(ErrorCode::InvalidProducerIdMapping));
}

#[test]
fn operators_see_what_they_filter_for() {
    let mut h = Harness::new(2);
    let producer = h.init(None).expect("an identity");
    h.add(producer, &["b", "a"], 2).expect("added");
    h.advance(5_000);
    let listed = |filter: TransactionFilter| h.shard.list_transactions(&filter, h.now.wall_ms).len();
    let all = || TransactionFilter { duration_ms: -1, ..TransactionFilter::default() };
    assert_eq!(listed(all()), 1);
    assert_eq!(listed(TransactionFilter { producer_ids: [1].into(), ..all() }), 0);
    assert_eq!(listed(TransactionFilter { states: Some([TransactionState::Ongoing].into()), ..all() }), 1);
    assert_eq!(listed(TransactionFilter { states: Some([TransactionState::Empty].into()), ..all() }), 0);
    assert_eq!(listed(TransactionFilter { duration_ms: 4_999, ..all() }), 1);
    assert_eq!(listed(TransactionFilter { duration_ms: 5_000, ..all() }), 0);
    let described = h.shard.describe_transaction("id");
    assert_eq!((described.transaction_state.as_str(), described.producer_id), ("Ongoing", 100));
    assert_eq!(described.topics.len(), 2);
    let unknown = h.shard.describe_transaction("other");
    assert_eq!(unknown.error_code, ErrorCode::TransactionalIdNotFound.code());
    assert_eq!((unknown.producer_id, unknown.producer_epoch), (0, 0));
    assert_eq!((NO_PRODUCER_ID, NO_PRODUCER_EPOCH), (-1, -1));
}
