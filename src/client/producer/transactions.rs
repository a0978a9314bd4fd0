//! What a transactional producer is doing: its state, the requests that follow from it, and what their answers mean.
//!
//! Pure state, under the accumulator's lock: calls of the user and answers of coordinators come in, the next request to send comes out
//! ([`Transactions::next_job`]). [`super::coordination`] carries requests to coordinators, [`super::sender`] decides when.
//!
//! With `transaction.version` 0 and 1 a partition is added to the transaction by a request before anything is sent to it, and an epoch is
//! only raised by the client after an error. With 2 (KIP-890) the partition's leader and the group's coordinator do the adding, and
//! every end of a transaction gives a new epoch.
//!
//! Invariants: one request at a time. A transaction ends only when no batch of it is under way. After an error that can be aborted nothing
//! but the abort is sent; after a fatal one nothing at all.
//! Source: `TransactionManager`; KIP-98, KIP-360, KIP-447, KIP-588, KIP-890, KIP-939, KIP-1050.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::sequences::ProducerIdAndEpoch;
use crate::client::cluster::CoordinatorKind;
use crate::client::consumer::{ConsumerGroupMetadata, OffsetAndMetadata};
use crate::client::error::{ApiError, ClientError, TransactionError};
use crate::common::topic_partition::TopicPartition;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::{
    AddOffsetsToTxnResponse, AddPartitionsToTxnResponse, EndTxnResponse, InitProducerIdResponse, TxnOffsetCommitResponse,
};

/// The pause before the first partitions of a transaction are added again while the one before it is being completed.
const FIRST_PARTITIONS_PAUSE: Duration = Duration::from_millis(20);
/// The first version of InitProducerId that can raise an epoch.
pub(super) const EPOCH_BUMP_VERSION: i16 = 3;

pub(super) type Offsets = BTreeMap<TopicPartition, OffsetAndMetadata>;

/// The outcome to come of a call.
#[derive(Debug, Default)]
pub(super) struct Completion {
    outcome: OnceLock<Result<(), ClientError>>,
    done: Notify,
    /// The caller has seen the outcome.
    seen: AtomicBool,
}

impl Completion {
    /// The first outcome stays.
    fn complete(&self, outcome: Result<(), ClientError>) {
        if self.outcome.set(outcome).is_ok() {
            self.done.notify_waiters();
        }
    }

    pub(super) async fn wait(&self) -> Result<(), ClientError> {
        loop {
            let done = self.done.notified();
            tokio::pin!(done);
            // Before looking, so that an outcome between looking and waiting is not missed.
            done.as_mut().enable();
            if let Some(outcome) = self.outcome.get() {
                self.seen.store(true, Ordering::Relaxed);
                return outcome.clone();
            }
            done.await;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Uninitialized,
    Initializing,
    Ready,
    InTransaction,
    Committing,
    Aborting,
    AbortableError,
    FatalError,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Uninitialized => "UNINITIALIZED",
            State::Initializing => "INITIALIZING",
            State::Ready => "READY",
            State::InTransaction => "IN_TRANSACTION",
            State::Committing => "COMMITTING_TRANSACTION",
            State::Aborting => "ABORTING_TRANSACTION",
            State::AbortableError => "ABORTABLE_ERROR",
            State::FatalError => "FATAL_ERROR",
        }
    }

    fn may_become(self, next: State) -> bool {
        use State::{AbortableError, Aborting, Committing, FatalError, InTransaction, Initializing, Ready, Uninitialized};
        match next {
            Uninitialized => matches!(self, Ready | AbortableError),
            Initializing => matches!(self, Uninitialized | Committing | Aborting),
            Ready => matches!(self, Initializing | Committing | Aborting),
            InTransaction => matches!(self, Ready),
            Committing => matches!(self, InTransaction),
            Aborting => matches!(self, InTransaction | AbortableError),
            AbortableError => matches!(self, InTransaction | Committing | AbortableError | Initializing),
            FatalError => true,
        }
    }
}

/// A request to a coordinator.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Work {
    /// `raise`: for a new epoch after an error, rather than for the first.
    InitProducerId {
        raise: bool,
    },
    AddPartitions(BTreeSet<TopicPartition>),
    /// Before `transaction.version` 2; followed by [`Work::CommitOffsets`].
    AddOffsets {
        group: ConsumerGroupMetadata,
        offsets: Offsets,
    },
    CommitOffsets {
        group: ConsumerGroupMetadata,
        offsets: Offsets,
    },
    /// `version_2`: by the protocol that the transaction began with.
    End {
        commit: bool,
        version_2: bool,
    },
}

impl Work {
    /// Lesser goes first. The end comes last, but for the epoch that the next transaction begins with.
    fn priority(&self) -> u8 {
        match self {
            Work::InitProducerId { raise: false } => 1,
            Work::AddPartitions(_) | Work::AddOffsets { .. } | Work::CommitOffsets { .. } => 2,
            Work::End { .. } => 3,
            Work::InitProducerId { raise: true } => 4,
        }
    }
}

/// A request with what it takes to write it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) work: Work,
    pub(super) transactional_id: Arc<str>,
    pub(super) transaction_timeout_ms: i32,
    /// `None` before the first.
    pub(super) producer: Option<ProducerIdAndEpoch>,
    pub(super) version_2: bool,
    done: Arc<Completion>,
    order: u64,
    not_before: Option<Instant>,
}

impl Job {
    /// Who answers it.
    pub(super) fn coordinator(&self) -> (CoordinatorKind, &str) {
        match &self.work {
            Work::CommitOffsets { group, .. } => (CoordinatorKind::Group, &group.group_id),
            _ => (CoordinatorKind::Transaction, &self.transactional_id),
        }
    }
}

/// What came of a job.
#[derive(Debug)]
pub(super) enum Answer {
    /// The coordinator could not be found.
    NoCoordinator(ClientError),
    /// The request did not reach it, or its answer did not come back.
    Failed(ClientError),
    InitProducerId(InitProducerIdResponse),
    AddPartitions(AddPartitionsToTxnResponse),
    AddOffsets(AddOffsetsToTxnResponse),
    CommitOffsets(TxnOffsetCommitResponse),
    End(EndTxnResponse),
}

/// What the owner has to do about an answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Effects {
    /// The producer id or epoch is a new one: sequences begin anew.
    pub(super) reset_sequences: bool,
    /// The coordinator of the job is another one.
    pub(super) find_coordinator: bool,
}

/// What an error means for a job.
enum Fate {
    Again(Option<Duration>),
    FindCoordinator,
    Fenced,
    Fatal(ClientError),
    Abortable(ClientError),
    /// Fatal where the coordinator cannot raise epochs.
    AbortableIfPossible(ClientError),
}

/// The level of `transaction.version` that the cluster has announced, and the epoch of that announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AnnouncedVersion {
    pub(super) epoch: i64,
    pub(super) level: i16,
}

/// A call that has begun and whose outcome the caller has not seen yet.
struct Transition {
    state: State,
    operation: &'static str,
    done: Arc<Completion>,
}

pub(super) struct Transactions {
    id: Arc<str>,
    timeout_ms: i32,
    retry_pause: Duration,
    state: State,
    /// As calls give it, in the error states.
    error: Option<ClientError>,
    producer: Option<ProducerIdAndEpoch>,
    /// Something of the transaction is known to a coordinator, or may be.
    started: bool,
    /// A new epoch is to be asked for once the transaction has ended.
    raise_epoch: bool,
    version_2: bool,
    features_epoch: i64,
    coordinator_raises_epochs: bool,
    new_partitions: BTreeSet<TopicPartition>,
    pending_partitions: BTreeSet<TopicPartition>,
    partitions: BTreeSet<TopicPartition>,
    jobs: Vec<Job>,
    next_order: u64,
    in_flight: bool,
    transition: Option<Transition>,
}

fn api(code: ErrorCode, message: impl Into<String>) -> ClientError {
    ApiError::new(code, Some(message.into())).into()
}

fn invalid(message: String) -> ClientError {
    TransactionError::InvalidState(message).into()
}

impl Transactions {
    pub(super) fn new(id: &str, timeout_ms: i32, retry_pause: Duration) -> Transactions {
        Transactions {
            id: Arc::from(id),
            timeout_ms,
            retry_pause,
            state: State::Uninitialized,
            error: None,
            producer: None,
            started: false,
            raise_epoch: false,
            version_2: false,
            features_epoch: -1,
            coordinator_raises_epochs: false,
            new_partitions: BTreeSet::new(),
            pending_partitions: BTreeSet::new(),
            partitions: BTreeSet::new(),
            jobs: Vec::new(),
            next_order: 0,
            in_flight: false,
            transition: None,
        }
    }

    pub(super) fn id(&self) -> &Arc<str> {
        &self.id
    }

    pub(super) fn producer(&self) -> Option<ProducerIdAndEpoch> {
        self.producer
    }

    pub(super) fn is_version_2(&self) -> bool {
        self.version_2
    }

    pub(super) fn is_completing(&self) -> bool {
        matches!(self.state, State::Committing | State::Aborting)
    }

    /// From the beginning of a transaction until it has ended, or nothing more can be done.
    pub(super) fn is_ongoing(&self) -> bool {
        matches!(self.state, State::InTransaction | State::Committing | State::Aborting | State::AbortableError)
    }

    pub(super) fn has_jobs(&self) -> bool {
        self.in_flight || !self.jobs.is_empty()
    }

    /// The error after which nothing more is sent.
    pub(super) fn fatal_error(&self) -> Option<&ClientError> {
        self.error.as_ref().filter(|_| self.state == State::FatalError)
    }

    fn move_to(&mut self, next: State) -> Result<(), ClientError> {
        if !self.state.may_become(next) {
            let (id, from, to) = (&self.id, self.state.name(), next.name());
            return Err(invalid(format!("TransactionalId {id}: Invalid transition attempted from state {from} to state {to}")));
        }
        tracing::debug!(from = self.state.name(), to = next.name(), "transaction state");
        self.state = next;
        self.error = None;
        Ok(())
    }

    fn check_error(&self) -> Result<(), ClientError> {
        match (&self.state, &self.error) {
            (State::AbortableError | State::FatalError, Some(error)) => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// A call that its user has given up waiting for can only be repeated.
    fn check_transition(&mut self, operation: &str) -> Result<(), ClientError> {
        match &self.transition {
            Some(transition) if transition.done.seen.load(Ordering::Relaxed) => {
                self.transition = None;
                Ok(())
            }
            Some(Transition { operation: earlier, .. }) => Err(invalid(format!(
                "Cannot attempt operation `{operation}` because the previous call to `{earlier}` timed out and must be retried"
            ))),
            None => Ok(()),
        }
    }

    fn in_transition(
        &mut self,
        state: State,
        operation: &'static str,
        begin: impl FnOnce(&mut Transactions) -> Result<Arc<Completion>, ClientError>,
    ) -> Result<Arc<Completion>, ClientError> {
        if let Some(transition) = &self.transition
            && transition.state == state
            && !transition.done.seen.load(Ordering::Relaxed)
        {
            return Ok(Arc::clone(&transition.done));
        }
        self.check_transition(operation)?;
        let done = begin(self)?;
        self.transition = Some(Transition { state, operation, done: Arc::clone(&done) });
        Ok(done)
    }

    fn enqueue(&mut self, work: Work, done: Arc<Completion>) {
        self.next_order += 1;
        self.jobs.push(Job {
            work,
            transactional_id: Arc::clone(&self.id),
            transaction_timeout_ms: self.timeout_ms,
            producer: self.producer,
            version_2: self.version_2,
            done,
            order: self.next_order,
            not_before: None,
        });
    }

    pub(super) fn initialize(&mut self) -> Result<Arc<Completion>, ClientError> {
        self.in_transition(State::Initializing, "initTransactions", |this| {
            this.check_error()?;
            this.move_to(State::Initializing)?;
            let done = Arc::<Completion>::default();
            this.enqueue(Work::InitProducerId { raise: false }, Arc::clone(&done));
            Ok(done)
        })
    }

    /// Learns which protocol the cluster speaks. When it becomes version 2 between two transactions the next one needs a new epoch, since
    /// markers of the one before may still be on their way.
    pub(super) fn learn_version(&mut self, announced: AnnouncedVersion, initializing: bool) {
        if self.features_epoch >= announced.epoch {
            return;
        }
        self.features_epoch = announced.epoch;
        let before = self.version_2;
        self.version_2 = announced.level >= 2;
        if !initializing && !before && self.version_2 {
            self.raise_epoch = true;
        }
    }

    pub(super) fn begin(&mut self) -> Result<(), ClientError> {
        self.check_transition("beginTransaction")?;
        self.check_error()?;
        self.move_to(State::InTransaction)
    }

    pub(super) fn commit(&mut self, announced: Option<AnnouncedVersion>) -> Result<Arc<Completion>, ClientError> {
        self.in_transition(State::Committing, "commitTransaction", |this| {
            this.check_error()?;
            this.move_to(State::Committing)?;
            Ok(this.complete(true, announced))
        })
    }

    pub(super) fn abort(&mut self, announced: Option<AnnouncedVersion>) -> Result<Arc<Completion>, ClientError> {
        self.in_transition(State::Aborting, "abortTransaction", |this| {
            if this.state != State::AbortableError {
                this.check_error()?;
            }
            this.move_to(State::Aborting)?;
            // Nothing more will be sent to them.
            this.new_partitions.clear();
            Ok(this.complete(false, announced))
        })
    }

    fn complete(&mut self, commit: bool, announced: Option<AnnouncedVersion>) -> Arc<Completion> {
        self.add_new_partitions();
        let mut done = Arc::<Completion>::default();
        // Before the version is learnt anew: a transaction ends by the protocol that it began with.
        self.enqueue(Work::End { commit, version_2: self.version_2 }, Arc::clone(&done));
        if let Some(announced) = announced {
            self.learn_version(announced, false);
        }
        if self.raise_epoch {
            done = Arc::default();
            self.enqueue(Work::InitProducerId { raise: true }, Arc::clone(&done));
        }
        done
    }

    pub(super) fn send_offsets(&mut self, offsets: Offsets, group: ConsumerGroupMetadata) -> Result<Arc<Completion>, ClientError> {
        self.check_transition("sendOffsetsToTransaction")?;
        self.check_error()?;
        if self.state != State::InTransaction {
            let state = self.state.name();
            return Err(invalid(format!("Cannot send offsets if a transaction is not in progress (currentState= {state})")));
        }
        let done = Arc::<Completion>::default();
        if self.version_2 {
            self.started = true;
            self.enqueue(Work::CommitOffsets { group, offsets }, Arc::clone(&done));
        } else {
            self.enqueue(Work::AddOffsets { group, offsets }, Arc::clone(&done));
        }
        Ok(done)
    }

    /// May a record be accepted?
    pub(super) fn check_send(&mut self) -> Result<(), ClientError> {
        if self.state == State::InTransaction {
            return Ok(());
        }
        self.check_error()?;
        self.check_transition("send")?;
        if self.producer.is_none() {
            return Err(invalid("Cannot send to a transaction before completing a call to initTransactions".to_owned()));
        }
        Err(invalid(format!("Cannot send to a transaction while in state {}", self.state.name())))
    }

    /// A record for the partition has been accepted.
    pub(super) fn add_partition(&mut self, partition: &TopicPartition) {
        if self.partitions.contains(partition) {
            return;
        }
        if self.version_2 {
            self.partitions.insert(partition.clone());
            self.started = true;
        } else if !self.pending_partitions.contains(partition) {
            self.new_partitions.insert(partition.clone());
        }
    }

    /// Is the partition part of the transaction, so that batches may go there?
    pub(super) fn may_send_to(&self, partition: &TopicPartition) -> bool {
        self.state != State::FatalError && self.partitions.contains(partition)
    }

    fn add_new_partitions(&mut self) {
        if !self.new_partitions.is_empty() {
            self.pending_partitions.append(&mut self.new_partitions);
            self.enqueue(Work::AddPartitions(self.pending_partitions.clone()), Arc::default());
        }
    }

    /// Why batches that were never sent are given up, if they are.
    pub(super) fn unsent_are_lost(&self) -> Option<ClientError> {
        match self.state {
            State::AbortableError => self.error.clone(),
            State::Aborting => Some(TransactionError::Aborted.into()),
            _ => None,
        }
    }

    /// Leaves an error of authorization, after which the producer may be initialized again. Gives it for the batches.
    pub(super) fn leave_authorization_error(&mut self) -> Option<ClientError> {
        let error = self.error.clone().filter(|_| self.state == State::AbortableError)?;
        if !matches!(error.code(), Some(ErrorCode::TransactionalIdAuthorizationFailed | ErrorCode::ClusterAuthorizationFailed)) {
            return None;
        }
        for job in self.jobs.drain(..) {
            job.done.complete(Err(error.clone()));
        }
        if let Some(transition) = &self.transition {
            transition.done.complete(Err(error.clone()));
        }
        self.state = State::Uninitialized;
        self.error = None;
        Some(error)
    }

    /// The next request, if one may be sent now; otherwise `next` learns when to ask again.
    pub(super) fn next_job(&mut self, batches_under_way: bool, now: Instant, next: &mut Option<Instant>) -> Option<Job> {
        if self.in_flight {
            return None;
        }
        self.add_new_partitions();
        loop {
            let at = (0..self.jobs.len()).min_by_key(|at| (self.jobs[*at].work.priority(), self.jobs[*at].order))?;
            if let Err(error) = self.check_error() {
                self.jobs.remove(at).done.complete(Err(error));
                continue;
            }
            let is_end = matches!(self.jobs[at].work, Work::End { .. });
            if is_end && batches_under_way {
                return None;
            }
            if let Some(not_before) = self.jobs[at].not_before.filter(|not_before| *not_before > now) {
                *next = Some(next.map_or(not_before, |next| next.min(not_before)));
                return None;
            }
            let mut job = self.jobs.remove(at);
            if is_end && !self.started {
                // No coordinator knows of it.
                self.reset();
                job.done.complete(Ok(()));
                continue;
            }
            if !is_end {
                job.producer = self.producer;
            }
            self.in_flight = true;
            return Some(job);
        }
    }

    /// The transaction has ended.
    fn reset(&mut self) {
        let next = if self.raise_epoch { State::Initializing } else { State::Ready };
        if self.move_to(next).is_err() {
            return;
        }
        self.raise_epoch = false;
        self.started = false;
        self.new_partitions.clear();
        self.pending_partitions.clear();
        self.partitions.clear();
    }

    fn client_raises_epochs(&self) -> bool {
        self.coordinator_raises_epochs && !self.version_2
    }

    fn can_abort(&self) -> bool {
        self.coordinator_raises_epochs || self.version_2
    }

    fn abortable(&mut self, error: ClientError) -> ClientError {
        let error = ClientError::from(TransactionError::Abortable(Box::new(error)));
        if self.state == State::Aborting {
            return error;
        }
        if self.state.may_become(State::AbortableError) {
            tracing::info!(%error, "the transaction can only be aborted");
            self.state = State::AbortableError;
            self.error = Some(error.clone());
        }
        error
    }

    fn fatal(&mut self, error: ClientError) -> ClientError {
        let error = match error {
            ClientError::Transaction(_) => error,
            error => TransactionError::Fatal(Box::new(error)).into(),
        };
        tracing::info!(%error, "the producer can only be closed");
        self.state = State::FatalError;
        self.error = Some(error.clone());
        for job in self.jobs.drain(..) {
            job.done.complete(Err(error.clone()));
        }
        if let Some(transition) = &self.transition {
            transition.done.complete(Err(error.clone()));
        }
        error
    }

    /// Fails all calls, because the producer is closed.
    pub(super) fn close(&mut self) {
        let closed = || Err(ClientError::Closed("producer"));
        for job in self.jobs.drain(..) {
            job.done.complete(closed());
        }
        if let Some(transition) = &self.transition {
            transition.done.complete(closed());
        }
    }

    /// A record was not delivered, or not accepted.
    pub(super) fn delivery_failed(&mut self, error: &ClientError) {
        if self.state == State::FatalError {
            return;
        }
        let code = error.code();
        if let Some(
            ErrorCode::ClusterAuthorizationFailed
            | ErrorCode::TransactionalIdAuthorizationFailed
            | ErrorCode::UnsupportedVersion
            | ErrorCode::InvalidProducerIdMapping,
        ) = code
        {
            self.fatal(error.clone());
        } else if code == Some(ErrorCode::ProducerFenced) {
            self.fatal(self.fenced());
        } else if !error.is_of_transaction() {
            let exhausted = error.recovery().is_retriable() || code == Some(ErrorCode::InvalidTxnState);
            let error = match exhausted {
                true => {
                    api(ErrorCode::TransactionAbortable, format!("Transaction Request was aborted after exhausting retries. ({error})"))
                }
                false => error.clone(),
            };
            if self.client_raises_epochs() && !self.is_completing() {
                self.raise_epoch = true;
            }
            self.abortable(error);
        }
    }

    /// Some records may be in a log or not, and no answer will tell.
    pub(super) fn deliveries_unknown(&mut self) {
        let what = "The client hasn't received acknowledgment for some previously sent messages and can no longer retry them.";
        if self.can_abort() {
            self.raise_epoch |= self.client_raises_epochs();
            self.abortable(api(ErrorCode::TransactionAbortable, format!("{what} It is safe to abort the transaction and continue.")));
        } else {
            self.fatal(api(ErrorCode::UnknownServerError, format!("{what} It isn't safe to continue.")));
        }
    }

    fn fenced(&self) -> ClientError {
        TransactionError::Fenced { transactional_id: self.id.to_string(), producer: self.producer.map(|it| (it.id, it.epoch)) }.into()
    }

    /// Takes in the answer to a job. `coordinator_raises_epochs` is what the connection to it said, where there was one.
    pub(super) fn answered(&mut self, job: Job, answer: Answer, coordinator_raises_epochs: Option<bool>, now: Instant) -> Effects {
        self.in_flight = false;
        if let Some(raises) = coordinator_raises_epochs {
            self.coordinator_raises_epochs = raises;
        }
        let mut effects = Effects::default();
        if self.state == State::FatalError {
            job.done.complete(Err(self.error.clone().unwrap_or(ClientError::Closed("producer"))));
            return effects;
        }
        let fate = match answer {
            Answer::NoCoordinator(error) => Err(no_coordinator(error, &job)),
            Answer::Failed(error) if error.recovery().is_retriable() => Err(Fate::FindCoordinator),
            Answer::Failed(error) => Err(Fate::Fatal(error)),
            Answer::InitProducerId(response) => self.initialized(&job, &response, &mut effects),
            Answer::AddPartitions(response) => self.added(response),
            Answer::AddOffsets(response) => self.offsets_added(&job, &response),
            Answer::CommitOffsets(response) => return self.offsets_committed(job, response, now),
            Answer::End(response) => self.ended(&job, &response, &mut effects),
        };
        match fate {
            Ok(true) => job.done.complete(Ok(())),
            // What follows will tell.
            Ok(false) => {}
            Err(fate) => self.settle(job, fate, now, &mut effects),
        }
        effects
    }

    fn settle(&mut self, mut job: Job, fate: Fate, now: Instant, effects: &mut Effects) {
        let error = match fate {
            Fate::Again(_) | Fate::FindCoordinator => {
                effects.find_coordinator = matches!(fate, Fate::FindCoordinator);
                let pause = if let Fate::Again(Some(pause)) = fate { pause.min(self.retry_pause) } else { self.retry_pause };
                job.not_before = Some(now + pause);
                self.jobs.push(job);
                return;
            }
            Fate::Fenced => self.fatal(self.fenced()),
            Fate::Fatal(error) => self.fatal(error),
            Fate::Abortable(error) => self.abortable(error),
            Fate::AbortableIfPossible(error) if self.can_abort() => {
                self.raise_epoch |= self.client_raises_epochs();
                self.abortable(error)
            }
            Fate::AbortableIfPossible(error) => self.fatal(error),
        };
        job.done.complete(Err(error));
    }

    fn initialized(&mut self, job: &Job, response: &InitProducerIdResponse, effects: &mut Effects) -> Result<bool, Fate> {
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::None => {
                self.producer = Some(ProducerIdAndEpoch { id: response.producer_id, epoch: response.producer_epoch });
                effects.reset_sequences = job.work == Work::InitProducerId { raise: true };
                match self.move_to(State::Ready) {
                    Ok(()) => Ok(true),
                    Err(error) => Err(Fate::Fatal(error)),
                }
            }
            code @ (ErrorCode::TransactionalIdAuthorizationFailed | ErrorCode::ClusterAuthorizationFailed) => {
                Err(Fate::Abortable(code.into()))
            }
            code @ (ErrorCode::InvalidTxnState | ErrorCode::InvalidProducerIdMapping | ErrorCode::UnknownProducerId) => {
                Err(Fate::Fatal(api(code, format!("Unexpected error in InitProducerIdResponse; {}", code.message()))))
            }
            code => Err(fate(code, |text| format!("Unexpected error in InitProducerIdResponse; {text}"))),
        }
    }

    fn added(&mut self, response: AddPartitionsToTxnResponse) -> Result<bool, Fate> {
        let mut partitions = BTreeSet::new();
        let mut errors = Vec::new();
        let mut unauthorized = BTreeSet::new();
        for topic in response.results_by_topic_v3_and_below {
            for it in topic.results_by_partition {
                let partition = TopicPartition::new(topic.name.clone(), it.partition_index);
                match ErrorCode::from_code(it.partition_error_code) {
                    ErrorCode::None => {}
                    // The one before is being completed, which seldom takes long.
                    ErrorCode::ConcurrentTransactions => {
                        return Err(Fate::Again(self.partitions.is_empty().then_some(FIRST_PARTITIONS_PAUSE)));
                    }
                    ErrorCode::TopicAuthorizationFailed => {
                        unauthorized.insert(topic.name.clone());
                    }
                    code if is_told_apart(code) => return Err(fate(code, str::to_owned)),
                    code => errors.push(format!("{partition}={}", code.name())),
                }
                partitions.insert(partition);
            }
        }
        // Whatever became of them, they are not waited for any more.
        self.pending_partitions.retain(|partition| !partitions.contains(partition));
        if !unauthorized.is_empty() {
            let topics: Vec<String> = unauthorized.into_iter().collect();
            let message = format!("Not authorized to access topics: [{}]", topics.join(", "));
            return Err(Fate::Abortable(api(ErrorCode::TopicAuthorizationFailed, message)));
        }
        if !errors.is_empty() {
            let message = format!("Could not add partitions to transaction due to errors: {{{}}}", errors.join(", "));
            return Err(Fate::Abortable(api(ErrorCode::UnknownServerError, message)));
        }
        self.partitions.append(&mut partitions);
        self.started = true;
        Ok(true)
    }

    fn offsets_added(&mut self, job: &Job, response: &AddOffsetsToTxnResponse) -> Result<bool, Fate> {
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::None => {
                self.started = true;
                if let Work::AddOffsets { group, offsets } = &job.work {
                    self.enqueue(Work::CommitOffsets { group: group.clone(), offsets: offsets.clone() }, Arc::clone(&job.done));
                }
                Ok(false)
            }
            code @ ErrorCode::GroupAuthorizationFailed => Err(Fate::Abortable(code.into())),
            code => Err(fate(code, |text| format!("Unexpected error in AddOffsetsToTxnResponse: {text}"))),
        }
    }

    fn offsets_committed(&mut self, mut job: Job, response: TxnOffsetCommitResponse, now: Instant) -> Effects {
        let mut effects = Effects::default();
        let Work::CommitOffsets { offsets, .. } = &mut job.work else { return effects };
        let mut final_fate = None;
        for topic in response.topics {
            for it in topic.partitions {
                let code = ErrorCode::from_code(it.error_code);
                let what = match code {
                    ErrorCode::None => {
                        offsets.remove(&TopicPartition::new(topic.name.clone(), it.partition_index));
                        continue;
                    }
                    ErrorCode::RequestTimedOut => Fate::FindCoordinator,
                    ErrorCode::GroupAuthorizationFailed | ErrorCode::FencedInstanceId => Fate::Abortable(code.into()),
                    ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration => {
                        let what = "Transaction offset Commit failed due to consumer group metadata mismatch";
                        Fate::Abortable(api(code, format!("{what}: {}", code.message())))
                    }
                    code => fate(code, |text| format!("Unexpected error in TxnOffsetCommitResponse: {text}")),
                };
                match what {
                    Fate::Again(_) => {}
                    Fate::FindCoordinator => effects.find_coordinator = true,
                    what => final_fate = final_fate.or(Some(what)),
                }
            }
        }
        match final_fate {
            Some(what) => self.settle(job, what, now, &mut Effects::default()),
            None if offsets.is_empty() => job.done.complete(Ok(())),
            None => self.settle(job, Fate::Again(None), now, &mut Effects::default()),
        }
        effects
    }

    fn ended(&mut self, job: &Job, response: &EndTxnResponse, effects: &mut Effects) -> Result<bool, Fate> {
        let is_abort = matches!(job.work, Work::End { commit: false, .. });
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::None => {
                // With transaction.version 2 each end comes with the epoch of the next transaction, or with another id when epochs run out.
                if response.producer_id != -1 {
                    self.producer = Some(ProducerIdAndEpoch { id: response.producer_id, epoch: response.producer_epoch });
                    effects.reset_sequences = true;
                }
                self.reset();
                Ok(true)
            }
            // An abort that could only be aborted would go round in circles.
            code @ ErrorCode::TransactionAbortable if is_abort => Err(Fate::Fatal(api(code, "Failed to abort transaction"))),
            code => Err(fate(code, |text| format!("Unhandled error in EndTxnResponse: {text}"))),
        }
    }
}

/// Does an error mean the same in every answer of a coordinator?
fn is_told_apart(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::InvalidProducerEpoch
            | ErrorCode::ProducerFenced
            | ErrorCode::TransactionalIdAuthorizationFailed
            | ErrorCode::InvalidTxnState
            | ErrorCode::InvalidProducerIdMapping
            | ErrorCode::UnknownProducerId
            | ErrorCode::TransactionAbortable
    ) || ClientError::from(code).recovery().is_retriable()
}

/// What an error of a coordinator means, unless the answer it stands in says otherwise.
fn fate(code: ErrorCode, unexpected: impl Fn(&str) -> String) -> Fate {
    match code {
        ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable => Fate::FindCoordinator,
        // Old coordinators say the one, new ones the other.
        ErrorCode::InvalidProducerEpoch | ErrorCode::ProducerFenced => Fate::Fenced,
        ErrorCode::TransactionalIdAuthorizationFailed | ErrorCode::InvalidTxnState | ErrorCode::InvalidProducerIdMapping => {
            Fate::Fatal(code.into())
        }
        ErrorCode::UnknownProducerId => Fate::AbortableIfPossible(code.into()),
        ErrorCode::TransactionAbortable => Fate::Abortable(code.into()),
        code if ClientError::from(code).recovery().is_retriable() => Fate::Again(None),
        code => Fate::Fatal(api(code, unexpected(code.message()))),
    }
}

fn no_coordinator(error: ClientError, job: &Job) -> Fate {
    match error.code() {
        _ if error.recovery().is_retriable() => Fate::FindCoordinator,
        Some(ErrorCode::GroupAuthorizationFailed | ErrorCode::TransactionAbortable) => Fate::Abortable(error),
        Some(ErrorCode::TransactionalIdAuthorizationFailed) | None => Fate::Fatal(error),
        Some(code) => {
            let (kind, key) = job.coordinator();
            let kind = if kind == CoordinatorKind::Group { "GROUP" } else { "TRANSACTION" };
            let message = format!("Could not find a coordinator with type {kind} with key {key} due to unexpected error: {error}");
            Fate::Fatal(api(code, message))
        }
    }
}

#[cfg(test)]
#[path = "transactions_tests.rs"]
mod tests;
