//! EndTxn, and the aborts that no client asks for: of a transaction that timed out, or whose producer has a successor. Source:
//! `TransactionCoordinator.endTransaction`, `endTransactionWithTV1`, KIP-890.
//!
//! With transaction.version 2 every end raises the epoch, so that an epoch stands for one transaction. A client that does not know how
//! its EndTxn went asks again with the epoch it had, one below ours; with ours it asks for the end of its next transaction:
//!
//! | state          | abort again | abort      | commit again | commit |
//! |----------------|-------------|------------|--------------|--------|
//! | Empty          | fenced      | next epoch | fenced       | wrong  |
//! | CompleteAbort  | as before   | next epoch | wrong        | wrong  |
//! | CompleteCommit | wrong       | next epoch | as before    | wrong  |
//!
//! Differs: an epoch one below ours asks again only if ours came from the end of a transaction with epoch bump. In Kafka a zombie of the
//! newer protocol is so given the identity of a successor that speaks the classic one.
use super::metadata::{EPOCH_BUMP_VERSION, NO_PRODUCER_ID, ProducerIdAndEpoch, TransactionMetadata, TransactionState};
use super::{AfterCommit, Effects, IDS_PER_SWEEP, TimerKey, TransactionShard};
use crate::coordinator::timers::Now;
use crate::protocol::error_code::ErrorCode;

/// A producer's decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndTransaction {
    pub transactional_id: String,
    pub producer: ProducerIdAndEpoch,
    pub commit: bool,
    /// The transaction.version that the client shows.
    pub client_version: i16,
}

impl TransactionShard {
    /// Ends a transaction as its producer wishes. Gives the identity for the next transaction, with transaction.version 2; before, none.
    pub fn end_transaction(&mut self, now: Now, request: &EndTransaction) -> Result<(ProducerIdAndEpoch, Effects), ErrorCode> {
        let metadata = self.find(&request.transactional_id)?;
        let (answer, next) = match request.client_version {
            EPOCH_BUMP_VERSION.. => self.end_with_epoch_bump(metadata, now, request)?,
            _ => end_with_same_epoch(metadata, now, request)?,
        };
        let effects = next.map_or_else(Effects::default, |next| self.step(&request.transactional_id, next));
        Ok((answer, effects))
    }

    fn end_with_epoch_bump(
        &self,
        metadata: &TransactionMetadata,
        now: Now,
        request: &EndTransaction,
    ) -> Result<(ProducerIdAndEpoch, Option<TransactionMetadata>), ErrorCode> {
        let ProducerIdAndEpoch { producer_id, producer_epoch } = request.producer;
        if metadata.state.is_prepared() {
            // First of all: the producer may have got a new id, which is not in force yet.
            return Err(ErrorCode::ConcurrentTransactions);
        }
        let asks_after_rotation =
            metadata.previous_producer_id == producer_id && producer_epoch == i16::MAX - 1 && metadata.producer_epoch == 0;
        let asks_after_bump = i32::from(metadata.producer_epoch) == i32::from(producer_epoch) + 1
            && metadata.client_transaction_version >= EPOCH_BUMP_VERSION;
        let asks_again = asks_after_rotation || asks_after_bump;
        if metadata.producer_id != producer_id && !asks_after_rotation {
            return Err(ErrorCode::InvalidProducerIdMapping);
        }
        let is_complete = matches!(metadata.state, TransactionState::CompleteCommit | TransactionState::CompleteAbort);
        if producer_epoch != metadata.producer_epoch && !(is_complete && asks_again) {
            return Err(ErrorCode::ProducerFenced);
        }
        let was_decided_so = match metadata.state {
            TransactionState::CompleteCommit => request.commit,
            TransactionState::CompleteAbort => !request.commit,
            _ => false,
        };
        let begins_now = match metadata.state {
            TransactionState::Ongoing => false,
            _ if is_complete && asks_again && was_decided_so => return Ok((metadata.producer(), None)),
            // There is nothing to commit; the end of nothing is an abort, which a client may want when it knows no better.
            _ if request.commit || asks_again => return Err(wrong_state(metadata, request)),
            _ => true,
        };
        let next_producer_id = self.producer_id_after(metadata)?;
        let next = metadata.prepared(request.commit, request.client_version, next_producer_id, begins_now, now.wall_ms);
        Ok((next.completed(now.wall_ms).producer(), Some(next)))
    }

    /// With epoch bumps: the producer id that follows when this one has no epoch left.
    fn producer_id_after(&self, metadata: &TransactionMetadata) -> Result<i64, ErrorCode> {
        if metadata.is_epoch_exhausted() { self.environment.next_producer_id() } else { Ok(NO_PRODUCER_ID) }
    }

    /// An open transaction, aborted without its producer's consent, which is fenced.
    pub(super) fn fenced(&self, metadata: &TransactionMetadata, now: Now) -> Result<TransactionMetadata, ErrorCode> {
        let version = self.environment.transaction_version();
        if version < EPOCH_BUMP_VERSION {
            return Ok(metadata.fenced_and_prepared(now.wall_ms));
        }
        Ok(metadata.prepared(false, version, self.producer_id_after(metadata)?, false, now.wall_ms))
    }

    /// Notes which transactions are open, and since when. What their records say of that is of the wall clock, which somebody may set: it
    /// is believed once, and for no more than the time since the last look.
    pub(super) fn look_at_open(&mut self, now: Now) {
        let now_ms = i64::try_from(now.monotonic_ms).unwrap_or(i64::MAX);
        let most_ms = self.looked_at_ms.map_or(i64::MAX, |last_ms| now_ms - last_ms);
        let open = self.transactions.iter().filter(|(_, metadata)| metadata.state == TransactionState::Ongoing);
        let open = open.map(|(id, metadata)| {
            let start_ms = metadata.start_timestamp_ms;
            let age_ms = now.wall_ms.saturating_sub(start_ms).clamp(0, most_ms);
            let known = self.open.get(id).filter(|(known_ms, _)| *known_ms == start_ms).copied();
            (id.clone(), known.unwrap_or((start_ms, now_ms.saturating_sub(age_ms))))
        });
        self.open = open.collect();
        self.looked_at_ms = Some(now_ms);
    }

    /// Aborts the transactions that are open for longer than they may.
    ///
    /// Differs: Kafka goes by the wall clock, and aborts them all when it is set forward.
    pub(super) fn abort_timed_out(&mut self, now: Now) -> Effects {
        self.look_at_open(now);
        let now_ms = i64::try_from(now.monotonic_ms).unwrap_or(i64::MAX);
        let timed_out = |id: &str, metadata: &TransactionMetadata| {
            metadata.state == TransactionState::Ongoing
                && !metadata.is_two_phase_commit()
                && self.open.get(id).is_some_and(|(_, since_ms)| since_ms.saturating_add(i64::from(metadata.timeout_ms)) < now_ms)
        };
        let mut effects = Effects { replay: true, divisible: true, ..Effects::default() };
        let mut aborted = Vec::new();
        for (id, metadata) in self.transactions.iter().filter(|(id, metadata)| timed_out(id, metadata)).take(IDS_PER_SWEEP) {
            match self.fenced(metadata, now) {
                Ok(next) => {
                    tracing::info!(transactional_id = id, timeout_ms = metadata.timeout_ms, "a transaction timed out and is aborted");
                    effects.records.push(self.record(id, Some(next)));
                    aborted.push(id.clone());
                }
                Err(error) => tracing::warn!(transactional_id = id, %error, "a transaction that timed out cannot be aborted yet"),
            }
        }
        let again_ms = if aborted.len() == IDS_PER_SWEEP { 0 } else { self.config.abort_timed_out_interval_ms };
        self.timers.schedule(now, TimerKey::AbortTimedOut, again_ms, ());
        effects.after_commit = (!aborted.is_empty()).then_some(AfterCommit::SendMarkers(aborted));
        effects
    }
}

/// Before transaction.version 2.
fn end_with_same_epoch(
    metadata: &TransactionMetadata,
    now: Now,
    request: &EndTransaction,
) -> Result<(ProducerIdAndEpoch, Option<TransactionMetadata>), ErrorCode> {
    if metadata.producer_id != request.producer.producer_id {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    if metadata.producer_epoch != request.producer.producer_epoch {
        return Err(ErrorCode::ProducerFenced);
    }
    let none = ProducerIdAndEpoch::NONE;
    match metadata.state {
        TransactionState::PrepareCommit | TransactionState::PrepareAbort => Err(ErrorCode::ConcurrentTransactions),
        TransactionState::Ongoing => Ok((none, Some(metadata.prepared(request.commit, 0, NO_PRODUCER_ID, false, now.wall_ms)))),
        TransactionState::CompleteCommit if request.commit => Ok((none, None)),
        TransactionState::CompleteAbort if !request.commit => Ok((none, None)),
        TransactionState::CompleteCommit | TransactionState::CompleteAbort | TransactionState::Empty => Err(wrong_state(metadata, request)),
    }
}

fn wrong_state(metadata: &TransactionMetadata, request: &EndTransaction) -> ErrorCode {
    let (transactional_id, state) = (&request.transactional_id, metadata.state.name());
    tracing::warn!(transactional_id, state, commit = request.commit, "the end of a transaction does not fit its state");
    ErrorCode::InvalidTxnState
}
