//! One partition that this broker has a replica of: who leads it, its log, its high watermark, and who waits for it.
//! Source: Kafka's `Partition`.
//!
//! Invariants:
//! - Only the leader appends for clients, under the leader epoch that the metadata gave it.
//! - The high watermark moves when every in-sync replica has the data; with this broker alone in the ISR that is at once.
//! - Whoever moves the log end, the high watermark, the leadership or the log itself wakes the waiters.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::waiters::{Registration, Waiter, WaiterSet};
use crate::common::topic_partition::TopicPartition;
use crate::common::uuid::Uuid;
use crate::metadata::image::PartitionRegistration;
use crate::protocol::error_code::ErrorCode;
use crate::storage::errors::{AppendError, ReadError, StorageError};
use crate::storage::log::{AppendInfo, AppendOrigin, AppendTransaction, FetchIsolation, Log, ReadInfo, VerificationGuard};

/// Why a partition refused an append.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PartitionAppendError {
    /// Leadership or the log is not here; the code says which.
    #[error("{}", .0.message())]
    Refused(ErrorCode),
    /// The log's own reasons.
    #[error(transparent)]
    Log(#[from] AppendError),
}

impl PartitionAppendError {
    /// What the wire says.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            PartitionAppendError::Refused(code) => *code,
            PartitionAppendError::Log(error) => append_error_code(error),
        }
    }
}

/// The wire's code for a log's refusal.
fn append_error_code(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::Storage(_) => ErrorCode::KafkaStorageError,
        AppendError::CorruptMessage(_) => ErrorCode::CorruptMessage,
        AppendError::InvalidRecord { .. } => ErrorCode::InvalidRecord,
        AppendError::InvalidTimestamp { .. } => ErrorCode::InvalidTimestamp,
        AppendError::MessageTooLarge(_) => ErrorCode::MessageTooLarge,
        AppendError::RecordListTooLarge(_) => ErrorCode::RecordListTooLarge,
        AppendError::UnsupportedForMessageFormat(_) => ErrorCode::UnsupportedForMessageFormat,
        AppendError::UnsupportedCompressionType(_) => ErrorCode::UnsupportedCompressionType,
        AppendError::OutOfOrderSequence(_) => ErrorCode::OutOfOrderSequenceNumber,
        AppendError::InvalidProducerEpoch(_) => ErrorCode::InvalidProducerEpoch,
        AppendError::InvalidTxnState(_) => ErrorCode::InvalidTxnState,
        AppendError::TransactionCoordinatorFenced(_) => ErrorCode::TransactionCoordinatorFenced,
        AppendError::UnexpectedAppendOffset(_) => ErrorCode::UnknownServerError,
    }
}

/// What a fetch of one partition asks for, beyond the offset: who asks and what it believes.
#[derive(Debug, Clone, Copy)]
pub struct FetchParams {
    pub fetch_offset: i64,
    /// -1: unknown.
    pub current_leader_epoch: i32,
    /// The epoch of the last record the reader has; -1: unknown. Reveals a log that diverged from ours (KIP-595).
    pub last_fetched_epoch: i32,
    /// In bytes.
    pub max_bytes: usize,
    /// Give the first batch even if it is larger than `max_bytes`.
    pub min_one_message: bool,
    pub isolation: FetchIsolation,
}

/// What a fetch of one partition gives.
#[derive(Debug)]
pub enum FetchOutcome {
    Data(ReadInfo),
    /// The reader's log left ours: the largest epoch both know and where it ends here.
    Diverging {
        epoch: i32,
        end_offset: i64,
        high_watermark: i64,
        log_start_offset: i64,
        last_stable_offset: i64,
    },
}

/// A replica of one partition on this broker.
pub struct Partition {
    broker_id: i32,
    topic_partition: TopicPartition,
    topic_id: Uuid,
    waiters: Arc<WaiterSet>,
    state: RwLock<State>,
}

struct State {
    /// None while its log directory is offline.
    log: Option<Arc<Log>>,
    registration: Arc<PartitionRegistration>,
    /// Deleted, or moved to another broker: whoever still holds this partition must let go.
    gone: bool,
}

impl Partition {
    /// A partition as the metadata describes it, with its open log, or without one when its log directory is offline.
    pub fn new(
        broker_id: i32,
        topic_partition: TopicPartition,
        topic_id: Uuid,
        registration: Arc<PartitionRegistration>,
        log: Option<Arc<Log>>,
    ) -> Partition {
        let partition = Partition {
            broker_id,
            topic_partition,
            topic_id,
            waiters: Arc::default(),
            state: RwLock::new(State { log, registration, gone: false }),
        };
        let failed = partition.state_mut().begin_epoch(broker_id);
        partition.note(failed);
        partition
    }

    pub fn topic_partition(&self) -> &TopicPartition {
        &self.topic_partition
    }

    pub fn topic_id(&self) -> Uuid {
        self.topic_id
    }

    /// The newest registration this partition has been told of.
    pub fn registration(&self) -> Arc<PartitionRegistration> {
        Arc::clone(&self.state().registration)
    }

    pub fn is_leader(&self) -> bool {
        self.state().registration.leader == self.broker_id
    }

    pub fn leader_epoch(&self) -> i32 {
        self.state().registration.leader_epoch
    }

    /// The log, whoever leads; KAFKA_STORAGE_ERROR while its directory is offline.
    pub fn log(&self) -> Result<Arc<Log>, ErrorCode> {
        self.state().log.clone().ok_or(ErrorCode::KafkaStorageError)
    }

    /// The log of a leader. `current_leader_epoch` is what the client believes (-1: nothing).
    pub fn leader_log(&self, current_leader_epoch: i32) -> Result<Arc<Log>, ErrorCode> {
        let state = self.state();
        state.check_leader_epoch(current_leader_epoch)?;
        state.leader_log(self.broker_id).cloned()
    }

    /// Appends batches as the leader. `required_acks` -1 also asks for `min.insync.replicas`. When this returns, readers that waited
    /// have been woken; that all in-sync replicas have the data is another matter: [`Partition::is_replicated`].
    pub fn append_as_leader(&self, records: &[u8], origin: AppendOrigin, required_acks: i16) -> Result<AppendInfo, PartitionAppendError> {
        self.append_in_transaction(records, origin, required_acks, AppendTransaction::default())
    }

    /// As [`Partition::append_as_leader`], for records that may be part of a transaction, and for the markers that end one.
    pub fn append_in_transaction(
        &self,
        records: &[u8],
        origin: AppendOrigin,
        required_acks: i16,
        transaction: AppendTransaction,
    ) -> Result<AppendInfo, PartitionAppendError> {
        // Held over the append, so that a new leader epoch begins either before or after it. Appends do not exclude each other here.
        let state = self.state();
        let log = state.leader_log(self.broker_id).map_err(PartitionAppendError::Refused)?;
        let isr = &state.registration.isr;
        if required_acks == -1 && (isr.len() as i64) < state.effective_min_insync_replicas(log) {
            return Err(PartitionAppendError::Refused(ErrorCode::NotEnoughReplicas));
        }
        let appended = log.append_in_transaction(records, state.registration.leader_epoch, origin, transaction);
        if appended.is_ok() && isr.as_slice() == [self.broker_id] {
            log.maybe_increment_high_watermark(log.log_end_offset());
        }
        drop(state);
        if let Err(AppendError::Storage(error)) = &appended {
            self.log_failed(error);
        }
        let appended = appended?;
        self.waiters.wake_all();
        Ok(appended)
    }

    /// As [`Log::maybe_begin_verification`].
    pub fn maybe_begin_verification(
        &self,
        producer_id: i64,
        producer_epoch: i16,
        sequence: i32,
        supports_epoch_bump: bool,
    ) -> Result<Option<VerificationGuard>, ErrorCode> {
        let log = self.leader_log(-1)?;
        let begun = log.maybe_begin_verification(producer_id, producer_epoch, sequence, supports_epoch_bump);
        begun.map_err(|error| append_error_code(&error))
    }

    /// Has every in-sync replica what was appended up to and including `last_offset`? An error when this broker no longer leads under
    /// `leader_epoch`, so that the promise can no longer be kept.
    pub fn is_replicated(&self, last_offset: i64, leader_epoch: i32) -> Result<bool, ErrorCode> {
        let state = self.state();
        let log = state.leader_log(self.broker_id)?;
        if state.registration.leader_epoch != leader_epoch {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        if log.high_watermark() <= last_offset {
            return Ok(false);
        }
        if (state.registration.isr.len() as i64) < state.effective_min_insync_replicas(log) {
            return Err(ErrorCode::NotEnoughReplicasAfterAppend);
        }
        Ok(true)
    }

    /// Reads for a fetch request.
    pub fn fetch(&self, params: &FetchParams) -> Result<FetchOutcome, ErrorCode> {
        let log = self.leader_log(params.current_leader_epoch)?;
        if params.last_fetched_epoch >= 0 {
            let (epoch, end_offset) = log.end_offset_for_epoch(params.last_fetched_epoch).ok_or(ErrorCode::OffsetOutOfRange)?;
            if epoch < params.last_fetched_epoch || end_offset < params.fetch_offset {
                return Ok(FetchOutcome::Diverging {
                    epoch,
                    end_offset,
                    high_watermark: log.high_watermark(),
                    log_start_offset: log.log_start_offset(),
                    last_stable_offset: log.last_stable_offset(),
                });
            }
        }
        match log.read(params.fetch_offset, params.max_bytes, params.min_one_message, params.isolation) {
            Ok(info) => Ok(FetchOutcome::Data(info)),
            Err(ReadError::OffsetOutOfRange { .. }) => Err(ErrorCode::OffsetOutOfRange),
            Err(ReadError::Storage(error)) => {
                self.log_failed(&error);
                Err(ErrorCode::KafkaStorageError)
            }
        }
    }

    /// DeleteRecords: `offset` -1 means the high watermark. Gives the new low watermark.
    pub fn delete_records(&self, offset: i64) -> Result<i64, ErrorCode> {
        let log = self.leader_log(-1)?;
        if !log.config().cleanup_policy.delete {
            return Err(ErrorCode::PolicyViolation);
        }
        let offset = if offset == -1 { log.high_watermark() } else { offset };
        if offset < 0 {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        let result = match log.delete_records_before(offset) {
            Ok(log_start_offset) => Ok(log_start_offset),
            Err(ReadError::OffsetOutOfRange { .. }) => Err(ErrorCode::OffsetOutOfRange),
            Err(ReadError::Storage(error)) => {
                self.log_failed(&error);
                Err(ErrorCode::KafkaStorageError)
            }
        };
        self.waiters.wake_all();
        result
    }

    /// Has `waiter` woken whenever something happens here, until the registration is dropped.
    pub fn register(&self, waiter: &Arc<Waiter>) -> Registration {
        self.waiters.register(waiter)
    }

    /// Takes over a newer registration.
    pub fn update(&self, registration: &Arc<PartitionRegistration>) {
        let failed = {
            let mut state = self.state_mut();
            if state.registration.partition_epoch > registration.partition_epoch {
                return;
            }
            state.registration = Arc::clone(registration);
            state.begin_epoch(self.broker_id)
        };
        self.note(failed);
        self.waiters.wake_all();
    }

    /// Takes the log away: its directory went offline.
    pub fn set_offline(&self) {
        self.state_mut().log = None;
        self.waiters.wake_all();
    }

    /// Gives a partition without a log this one.
    pub fn set_online(&self, log: Arc<Log>) {
        let failed = {
            let mut state = self.state_mut();
            if state.log.is_some() {
                return;
            }
            state.log = Some(log);
            state.begin_epoch(self.broker_id)
        };
        self.note(failed);
        self.waiters.wake_all();
    }

    /// Puts the log that `replace` gives, if it does, in the place of the present one. Nobody appends meanwhile.
    pub fn replace_log<E>(&self, replace: impl FnOnce() -> Result<Option<Arc<Log>>, E>) -> Result<bool, E> {
        let replaced = {
            let mut state = self.state_mut();
            match replace()? {
                Some(log) => {
                    state.log = Some(log);
                    true
                }
                None => false,
            }
        };
        self.waiters.wake_all();
        Ok(replaced)
    }

    /// Ends this partition: every later request fails, and everyone who waits learns of it.
    pub fn set_gone(&self) {
        self.state_mut().gone = true;
        self.waiters.wake_all();
    }

    fn note(&self, result: Result<(), StorageError>) {
        if let Err(error) = result {
            self.log_failed(&error);
        }
    }

    /// The file system refused; the log's directory is offline by now, and so is this partition. Unless there was only no space.
    fn log_failed(&self, error: &StorageError) {
        if error.is_full() && self.log().is_ok_and(|log| log.is_online()) {
            return;
        }
        if self.state_mut().log.take().is_some() {
            tracing::error!("{}: {error}; the partition is offline", self.topic_partition);
            self.waiters.wake_all();
        }
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A leader notes where its epoch begins, and takes what it alone has for replicated.
    fn begin_epoch(&self, broker_id: i32) -> Result<(), StorageError> {
        let registration = &self.registration;
        let Some(log) = self.log.as_ref().filter(|_| registration.leader == broker_id) else { return Ok(()) };
        if log.latest_epoch().is_none_or(|epoch| epoch < registration.leader_epoch) {
            log.assign_epoch_start_offset(registration.leader_epoch, log.log_end_offset())?;
        }
        if registration.isr == [broker_id] {
            log.maybe_increment_high_watermark(log.log_end_offset());
        }
        Ok(())
    }

    fn leader_log(&self, broker_id: i32) -> Result<&Arc<Log>, ErrorCode> {
        if self.gone || self.registration.leader != broker_id {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        self.log.as_ref().ok_or(ErrorCode::KafkaStorageError)
    }

    /// `min.insync.replicas`, but never more than there are replicas. Source: `Partition.effectiveMinIsr`.
    fn effective_min_insync_replicas(&self, log: &Log) -> i64 {
        i64::from(log.config().min_insync_replicas).min(self.registration.replicas.len() as i64)
    }

    /// The client's belief about the leader epoch against ours (KIP-320).
    fn check_leader_epoch(&self, current_leader_epoch: i32) -> Result<(), ErrorCode> {
        match current_leader_epoch {
            -1 => Ok(()),
            epoch if epoch < self.registration.leader_epoch => Err(ErrorCode::FencedLeaderEpoch),
            epoch if epoch > self.registration.leader_epoch => Err(ErrorCode::UnknownLeaderEpoch),
            _ => Ok(()),
        }
    }
}
