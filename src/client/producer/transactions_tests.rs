//! The rules of transactions, answer by answer: what each error makes of the producer.

use super::*;
use crate::protocol::messages::add_partitions_to_txn_response::{AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult};
use crate::protocol::messages::txn_offset_commit_response::{TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic};

const LEVEL_1: AnnouncedVersion = AnnouncedVersion { epoch: 5, level: 1 };
const LEVEL_2: AnnouncedVersion = AnnouncedVersion { epoch: 6, level: 2 };

fn partition(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

fn group() -> ConsumerGroupMetadata {
    ConsumerGroupMetadata::new("g")
}

fn offsets() -> Offsets {
    BTreeMap::from([(partition(0), OffsetAndMetadata::from(7)), (partition(1), OffsetAndMetadata::from(8))])
}

/// The state under test, at a time of its own.
struct Fixture {
    transactions: Transactions,
    now: Instant,
}

impl Fixture {
    fn new() -> Fixture {
        Fixture { transactions: Transactions::new("x", 60_000, Duration::from_millis(100)), now: Instant::now() }
    }

    /// Initialized, in a cluster of this `transaction.version`, whose coordinators can raise epochs.
    fn ready(announced: AnnouncedVersion) -> Fixture {
        let mut fixture = Fixture::new();
        let done = fixture.transactions.initialize().expect("begins");
        fixture.answer(init(0, ErrorCode::None));
        fixture.see(&done).expect("initialized");
        fixture.transactions.learn_version(announced, true);
        fixture
    }

    /// As `ready`, in a transaction that its coordinator knows of.
    fn in_transaction(announced: AnnouncedVersion) -> Fixture {
        let mut fixture = Fixture::ready(announced);
        fixture.transactions.begin().expect("begins");
        fixture.transactions.add_partition(&partition(0));
        if announced.level < 2 {
            fixture.answer(added(&[(0, ErrorCode::None)]));
        }
        fixture
    }

    fn next(&mut self) -> Option<Job> {
        // Every pause is over by then.
        self.now += Duration::from_secs(10);
        self.transactions.next_job(false, self.now, &mut None)
    }

    fn work(&mut self) -> Option<Work> {
        self.next().map(|job| {
            let work = job.work.clone();
            self.transactions.in_flight = false;
            self.transactions.jobs.push(job);
            work
        })
    }

    fn answer(&mut self, answer: Answer) -> Effects {
        let job = self.next().expect("a request");
        self.transactions.answered(job, answer, Some(true), self.now)
    }

    /// The outcome of a call, if there is one.
    fn outcome(done: &Completion) -> Option<Result<(), ClientError>> {
        done.outcome.get().cloned()
    }

    /// As if the caller had waited for it.
    fn see(&self, done: &Completion) -> Result<(), ClientError> {
        done.seen.store(true, Ordering::Relaxed);
        Fixture::outcome(done).expect("an outcome")
    }
}

fn init(epoch: i16, code: ErrorCode) -> Answer {
    Answer::InitProducerId(InitProducerIdResponse { producer_id: 7, producer_epoch: epoch, error_code: code.code(), ..Default::default() })
}

fn added(results: &[(i32, ErrorCode)]) -> Answer {
    let result = |(partition_index, code): &(i32, ErrorCode)| AddPartitionsToTxnPartitionResult {
        partition_index: *partition_index,
        partition_error_code: code.code(),
        ..Default::default()
    };
    let topic = AddPartitionsToTxnTopicResult {
        name: "t".to_owned(),
        results_by_partition: results.iter().map(result).collect(),
        ..Default::default()
    };
    Answer::AddPartitions(AddPartitionsToTxnResponse { results_by_topic_v3_and_below: vec![topic], ..Default::default() })
}

fn offsets_added(code: ErrorCode) -> Answer {
    Answer::AddOffsets(AddOffsetsToTxnResponse { error_code: code.code(), ..Default::default() })
}

fn committed(results: &[(i32, ErrorCode)]) -> Answer {
    let result = |(partition_index, code): &(i32, ErrorCode)| TxnOffsetCommitResponsePartition {
        partition_index: *partition_index,
        error_code: code.code(),
        ..Default::default()
    };
    let topic =
        TxnOffsetCommitResponseTopic { name: "t".to_owned(), partitions: results.iter().map(result).collect(), ..Default::default() };
    Answer::CommitOffsets(TxnOffsetCommitResponse { topics: vec![topic], ..Default::default() })
}

fn ended(producer: Option<(i64, i16)>, code: ErrorCode) -> Answer {
    let (producer_id, producer_epoch) = producer.unwrap_or((-1, -1));
    Answer::End(EndTxnResponse { producer_id, producer_epoch, error_code: code.code(), ..Default::default() })
}

fn is_fenced(error: &ClientError) -> bool {
    matches!(error, ClientError::Transaction(TransactionError::Fenced { .. }))
}

fn is_abortable(error: &ClientError) -> bool {
    matches!(error, ClientError::Transaction(TransactionError::Abortable(_)))
}

fn is_fatal(error: &ClientError) -> bool {
    matches!(error, ClientError::Transaction(TransactionError::Fatal(_) | TransactionError::Fenced { .. }))
}

#[test]
fn before_version_2_partitions_are_added_before_anything_is_sent_to_them() {
    let mut fixture = Fixture::ready(LEVEL_1);
    fixture.transactions.begin().expect("begins");
    fixture.transactions.add_partition(&partition(0));
    fixture.transactions.add_partition(&partition(1));
    assert!(!fixture.transactions.may_send_to(&partition(0)));
    assert_eq!(fixture.work(), Some(Work::AddPartitions(BTreeSet::from([partition(0), partition(1)]))));
    fixture.answer(added(&[(0, ErrorCode::None), (1, ErrorCode::None)]));
    assert!(fixture.transactions.may_send_to(&partition(0)) && fixture.transactions.may_send_to(&partition(1)));
    fixture.transactions.add_partition(&partition(0));
    assert_eq!(fixture.work(), None, "once");
    let done = fixture.transactions.commit(None).expect("begins");
    assert_eq!(fixture.work(), Some(Work::End { commit: true, version_2: false }));
    assert_eq!(fixture.answer(ended(None, ErrorCode::None)), Effects::default(), "the epoch stays");
    assert_eq!(Fixture::outcome(&done), Some(Ok(())));
    assert_eq!(fixture.transactions.producer(), Some(ProducerIdAndEpoch { id: 7, epoch: 0 }));
}

#[test]
fn with_version_2_leaders_add_partitions_and_each_end_raises_the_epoch() {
    let mut fixture = Fixture::ready(LEVEL_2);
    fixture.transactions.begin().expect("begins");
    fixture.transactions.add_partition(&partition(0));
    assert!(fixture.transactions.may_send_to(&partition(0)));
    assert_eq!(fixture.work(), None, "nothing to ask for");
    let sent = fixture.transactions.send_offsets(offsets(), group()).expect("begins");
    assert!(matches!(fixture.work(), Some(Work::CommitOffsets { .. })));
    fixture.answer(committed(&[(0, ErrorCode::None), (1, ErrorCode::None)]));
    assert_eq!(Fixture::outcome(&sent), Some(Ok(())));
    let done = fixture.transactions.commit(None).expect("begins");
    assert_eq!(fixture.work(), Some(Work::End { commit: true, version_2: true }));
    assert!(fixture.answer(ended(Some((7, 1)), ErrorCode::None)).reset_sequences);
    assert_eq!(fixture.see(&done), Ok(()));
    assert_eq!(fixture.transactions.producer(), Some(ProducerIdAndEpoch { id: 7, epoch: 1 }));
    assert!(!fixture.transactions.may_send_to(&partition(0)), "the next transaction adds it anew");
    fixture.transactions.begin().expect("the next begins");
}

#[test]
fn the_end_waits_for_batches_under_way() {
    let mut fixture = Fixture::in_transaction(LEVEL_2);
    fixture.transactions.commit(None).expect("begins");
    assert!(fixture.transactions.next_job(true, fixture.now, &mut None).is_none());
    assert!(fixture.transactions.next_job(false, fixture.now, &mut None).is_some());
}

#[test]
fn a_transaction_that_nobody_knows_of_ends_without_a_request() {
    for announced in [LEVEL_1, LEVEL_2] {
        let mut fixture = Fixture::ready(announced);
        fixture.transactions.begin().expect("begins");
        let done = fixture.transactions.commit(None).expect("begins");
        assert_eq!(fixture.work(), None);
        assert_eq!(fixture.see(&done), Ok(()));
        fixture.transactions.begin().expect("the next begins");
    }
}

#[test]
fn offsets_are_added_and_then_committed_before_version_2() {
    let mut fixture = Fixture::in_transaction(LEVEL_1);
    let done = fixture.transactions.send_offsets(offsets(), group()).expect("begins");
    assert!(matches!(fixture.work(), Some(Work::AddOffsets { .. })));
    fixture.answer(offsets_added(ErrorCode::None));
    assert_eq!(Fixture::outcome(&done), None);
    let again = [(0, ErrorCode::None), (1, ErrorCode::CoordinatorLoadInProgress)];
    fixture.answer(committed(&again));
    let left = BTreeMap::from([(partition(1), OffsetAndMetadata::from(8))]);
    assert_eq!(fixture.work(), Some(Work::CommitOffsets { group: group(), offsets: left }), "only what was not taken");
    assert!(fixture.answer(committed(&[(1, ErrorCode::NotCoordinator)])).find_coordinator);
    fixture.answer(committed(&[(1, ErrorCode::None)]));
    assert_eq!(Fixture::outcome(&done), Some(Ok(())));
}

#[test]
fn calls_that_do_not_fit_are_refused_and_change_nothing() {
    let mut fixture = Fixture::new();
    let text = |error: ClientError| error.to_string();
    assert_eq!(
        text(fixture.transactions.begin().expect_err("too early")),
        "TransactionalId x: Invalid transition attempted from state UNINITIALIZED to state IN_TRANSACTION"
    );
    assert!(text(fixture.transactions.check_send().expect_err("too early")).contains("before completing a call to initTransactions"));
    let mut fixture = Fixture::ready(LEVEL_2);
    assert!(fixture.transactions.commit(None).is_err());
    assert!(fixture.transactions.send_offsets(offsets(), group()).is_err());
    fixture.transactions.begin().expect("fits");
    assert!(fixture.transactions.begin().is_err(), "one at a time");
    fixture.transactions.check_send().expect("fits");
}

#[test]
fn a_call_whose_outcome_was_not_seen_can_only_be_repeated() {
    let mut fixture = Fixture::in_transaction(LEVEL_2);
    let done = fixture.transactions.commit(None).expect("begins");
    assert!(Arc::ptr_eq(&done, &fixture.transactions.commit(None).expect("again")), "the same");
    let error = fixture.transactions.abort(None).expect_err("another").to_string();
    assert!(error.contains("the previous call to `commitTransaction` timed out and must be retried"), "{error}");
    fixture.answer(ended(Some((7, 1)), ErrorCode::None));
    assert!(fixture.transactions.begin().is_err(), "not seen yet");
    assert_eq!(fixture.see(&done), Ok(()));
    fixture.transactions.begin().expect("seen");
}

#[test]
fn passing_errors_are_retried_and_moved_coordinators_found() {
    let mut fixture = Fixture::new();
    let done = fixture.transactions.initialize().expect("begins");
    for (answer, find) in [
        (Answer::NoCoordinator(ErrorCode::CoordinatorNotAvailable.into()), true),
        (init(0, ErrorCode::NotCoordinator), true),
        (init(0, ErrorCode::ConcurrentTransactions), false),
        (init(0, ErrorCode::CoordinatorLoadInProgress), false),
    ] {
        assert_eq!(fixture.answer(answer).find_coordinator, find);
        assert_eq!(Fixture::outcome(&done), None);
        let mut next = None;
        assert!(fixture.transactions.next_job(false, fixture.now, &mut next).is_none(), "after a pause");
        assert_eq!(next, Some(fixture.now + Duration::from_millis(100)));
    }
    fixture.answer(init(3, ErrorCode::None));
    assert_eq!(fixture.see(&done), Ok(()));
}

#[test]
fn the_first_partitions_are_added_again_soon_while_the_transaction_before_is_being_completed() {
    let mut fixture = Fixture::ready(LEVEL_1);
    fixture.transactions.begin().expect("begins");
    fixture.transactions.add_partition(&partition(0));
    fixture.answer(added(&[(0, ErrorCode::ConcurrentTransactions)]));
    let mut next = None;
    assert!(fixture.transactions.next_job(false, fixture.now, &mut next).is_none());
    assert_eq!(next, Some(fixture.now + FIRST_PARTITIONS_PAUSE));
}

#[test]
fn a_fenced_producer_can_only_be_closed() {
    for code in [ErrorCode::ProducerFenced, ErrorCode::InvalidProducerEpoch] {
        for announced in [LEVEL_1, LEVEL_2] {
            let mut fixture = Fixture::in_transaction(announced);
            let done = fixture.transactions.commit(None).expect("begins");
            fixture.answer(ended(None, code));
            assert!(is_fenced(&fixture.see(&done).expect_err("fenced")));
            assert!(is_fenced(&fixture.transactions.abort(None).expect_err("fenced")));
            assert!(is_fenced(&fixture.transactions.check_send().expect_err("fenced")));
            assert!(fixture.transactions.fatal_error().is_some());
            assert!(!fixture.transactions.may_send_to(&partition(0)));
        }
    }
    let mut fixture = Fixture::in_transaction(LEVEL_2);
    fixture.transactions.delivery_failed(&ErrorCode::ProducerFenced.into());
    assert!(is_fenced(&fixture.transactions.commit(None).expect_err("fenced")));
}

#[test]
fn fatal_errors_end_the_producer() {
    for code in [
        ErrorCode::TransactionalIdAuthorizationFailed,
        ErrorCode::InvalidTxnState,
        ErrorCode::InvalidProducerIdMapping,
        ErrorCode::UnknownServerError,
    ] {
        let mut fixture = Fixture::in_transaction(LEVEL_2);
        let done = fixture.transactions.commit(None).expect("begins");
        fixture.answer(ended(None, code));
        let error = fixture.see(&done).expect_err("fatal");
        assert!(is_fatal(&error) && error.is(code), "{error}");
        assert!(is_fatal(&fixture.transactions.abort(None).expect_err("fatal")));
    }
    for code in [
        ErrorCode::ClusterAuthorizationFailed,
        ErrorCode::TransactionalIdAuthorizationFailed,
        ErrorCode::UnsupportedVersion,
        ErrorCode::InvalidProducerIdMapping,
    ] {
        let mut fixture = Fixture::in_transaction(LEVEL_2);
        fixture.transactions.delivery_failed(&code.into());
        assert!(is_fatal(&fixture.transactions.check_send().expect_err("fatal")), "{}", code.name());
    }
}

#[test]
fn after_an_abortable_error_only_the_abort_is_sent() {
    for code in [
        ErrorCode::TransactionAbortable,
        ErrorCode::MessageTooLarge,
        ErrorCode::RequestTimedOut,
        ErrorCode::InvalidTxnState,
        ErrorCode::InvalidProducerEpoch,
        ErrorCode::OutOfOrderSequenceNumber,
        ErrorCode::TopicAuthorizationFailed,
    ] {
        let mut fixture = Fixture::in_transaction(LEVEL_2);
        fixture.transactions.delivery_failed(&code.into());
        for error in [
            fixture.transactions.check_send().expect_err("refused"),
            fixture.transactions.commit(None).expect_err("refused"),
            fixture.transactions.send_offsets(offsets(), group()).expect_err("refused"),
        ] {
            assert!(is_abortable(&error), "{}: {error}", code.name());
        }
        assert!(fixture.transactions.unsent_are_lost().is_some());
        let done = fixture.transactions.abort(None).expect("fits");
        assert_eq!(fixture.work(), Some(Work::End { commit: false, version_2: true }));
        fixture.answer(ended(Some((7, 1)), ErrorCode::None));
        assert_eq!(fixture.see(&done), Ok(()));
        fixture.transactions.begin().expect("the next begins");
    }
}

#[test]
fn a_batch_that_fails_during_the_commit_makes_it_fail() {
    let mut fixture = Fixture::in_transaction(LEVEL_2);
    let done = fixture.transactions.commit(None).expect("begins");
    fixture.transactions.delivery_failed(&ErrorCode::RequestTimedOut.into());
    assert_eq!(fixture.work(), None);
    assert!(is_abortable(&fixture.see(&done).expect_err("not committed")));
    fixture.transactions.abort(None).expect("fits");
    assert_eq!(fixture.work(), Some(Work::End { commit: false, version_2: true }));
}

#[test]
fn before_version_2_the_epoch_is_raised_after_an_error() {
    let mut fixture = Fixture::in_transaction(LEVEL_1);
    fixture.transactions.delivery_failed(&ErrorCode::OutOfOrderSequenceNumber.into());
    let done = fixture.transactions.abort(None).expect("fits");
    assert_eq!(fixture.work(), Some(Work::End { commit: false, version_2: false }));
    fixture.answer(ended(None, ErrorCode::None));
    assert_eq!(Fixture::outcome(&done), None, "the abort includes the new epoch");
    let job = fixture.next().expect("a request");
    assert_eq!((&job.work, job.producer), (&Work::InitProducerId { raise: true }, Some(ProducerIdAndEpoch { id: 7, epoch: 0 })));
    let effects = fixture.transactions.answered(job, init(1, ErrorCode::None), Some(true), fixture.now);
    assert!(effects.reset_sequences);
    assert_eq!(fixture.see(&done), Ok(()));
    assert_eq!(fixture.transactions.producer(), Some(ProducerIdAndEpoch { id: 7, epoch: 1 }));
}

#[test]
fn a_cluster_that_moves_to_version_2_between_transactions_gives_a_new_epoch_first() {
    let mut fixture = Fixture::in_transaction(LEVEL_1);
    fixture.transactions.commit(Some(LEVEL_2)).expect("fits");
    assert_eq!(fixture.work(), Some(Work::End { commit: true, version_2: false }), "as it began");
    fixture.answer(ended(None, ErrorCode::None));
    assert_eq!(fixture.work(), Some(Work::InitProducerId { raise: true }));
    fixture.answer(init(1, ErrorCode::None));
    assert!(fixture.transactions.is_version_2());
    fixture.transactions.learn_version(LEVEL_1, false);
    assert!(fixture.transactions.is_version_2(), "old news");
}

#[test]
fn an_unknown_fate_is_abortable_where_epochs_can_be_raised() {
    let mut fixture = Fixture::in_transaction(LEVEL_1);
    fixture.transactions.deliveries_unknown();
    assert!(is_abortable(&fixture.transactions.check_send().expect_err("refused")));
    let mut fixture = Fixture::in_transaction(LEVEL_1);
    fixture.transactions.coordinator_raises_epochs = false;
    fixture.transactions.deliveries_unknown();
    assert!(is_fatal(&fixture.transactions.check_send().expect_err("refused")));
}

#[test]
fn an_unknown_producer_id_is_fatal_where_epochs_cannot_be_raised() {
    for (raises, abortable) in [(true, true), (false, false)] {
        let mut fixture = Fixture::in_transaction(LEVEL_1);
        let done = fixture.transactions.send_offsets(offsets(), group()).expect("begins");
        let job = fixture.next().expect("a request");
        fixture.transactions.answered(job, offsets_added(ErrorCode::UnknownProducerId), Some(raises), fixture.now);
        let error = Fixture::outcome(&done).expect("an outcome").expect_err("an error");
        assert_eq!(is_abortable(&error), abortable, "{error}");
    }
}

#[test]
fn an_abort_that_can_only_be_aborted_is_fatal() {
    let mut fixture = Fixture::in_transaction(LEVEL_2);
    let done = fixture.transactions.abort(None).expect("fits");
    fixture.answer(ended(None, ErrorCode::TransactionAbortable));
    assert!(is_fatal(&fixture.see(&done).expect_err("fatal")));
    let mut fixture = Fixture::in_transaction(LEVEL_2);
    let done = fixture.transactions.commit(None).expect("fits");
    fixture.answer(ended(None, ErrorCode::TransactionAbortable));
    assert!(is_abortable(&fixture.see(&done).expect_err("abortable")));
}

#[test]
fn errors_of_partitions_and_groups_are_abortable() {
    let mut fixture = Fixture::ready(LEVEL_1);
    fixture.transactions.begin().expect("begins");
    fixture.transactions.add_partition(&partition(0));
    fixture.answer(added(&[(0, ErrorCode::TopicAuthorizationFailed), (1, ErrorCode::OperationNotAttempted)]));
    assert_eq!(
        fixture.transactions.check_send().expect_err("refused").to_string(),
        "the transaction must be aborted: Not authorized to access topics: [t]"
    );
    for code in [
        ErrorCode::GroupAuthorizationFailed,
        ErrorCode::FencedInstanceId,
        ErrorCode::UnknownMemberId,
        ErrorCode::IllegalGeneration,
        ErrorCode::TransactionAbortable,
    ] {
        let mut fixture = Fixture::in_transaction(LEVEL_2);
        let done = fixture.transactions.send_offsets(offsets(), group()).expect("begins");
        fixture.answer(committed(&[(0, code), (1, ErrorCode::None)]));
        let error = Fixture::outcome(&done).expect("an outcome").expect_err("an error");
        assert!(is_abortable(&error) && error.is(code), "{error}");
    }
}

#[test]
fn a_producer_that_was_not_authorized_may_be_initialized_again() {
    for code in [ErrorCode::TransactionalIdAuthorizationFailed, ErrorCode::ClusterAuthorizationFailed] {
        let mut fixture = Fixture::new();
        let done = fixture.transactions.initialize().expect("begins");
        fixture.answer(init(0, code));
        assert!(fixture.see(&done).expect_err("refused").is(code));
        assert!(fixture.transactions.leave_authorization_error().is_some());
        let done = fixture.transactions.initialize().expect("begins again");
        fixture.answer(init(0, ErrorCode::None));
        assert_eq!(fixture.see(&done), Ok(()));
    }
    let mut fixture = Fixture::new();
    fixture.transactions.initialize().expect("begins");
    fixture.answer(Answer::NoCoordinator(ErrorCode::TransactionalIdAuthorizationFailed.into()));
    assert!(fixture.transactions.fatal_error().is_some(), "whoever may not even find the coordinator gets no further");
}

#[test]
fn records_of_an_aborted_transaction_are_given_up() {
    let mut fixture = Fixture::in_transaction(LEVEL_1);
    fixture.transactions.add_partition(&partition(1));
    fixture.transactions.abort(None).expect("fits");
    assert_eq!(fixture.transactions.unsent_are_lost(), Some(TransactionError::Aborted.into()));
    assert_eq!(fixture.work(), Some(Work::End { commit: false, version_2: false }), "and their partitions are not added any more");
}
