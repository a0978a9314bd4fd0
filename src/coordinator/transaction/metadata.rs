//! What the coordinator knows of one transactional id, and the steps from one state to the next. Source: `TransactionMetadata`,
//! `TransactionState`.
//!
//! ```text
//!             InitProducerId        AddPartitions           EndTxn                 all markers written
//!   (nothing) ---------------> Empty -------------> Ongoing --------> PrepareCommit -----------------> CompleteCommit
//!                                |                     |  \  or timeout
//!                                |  transaction.version 2 `---------> PrepareAbort ------------------> CompleteAbort
//!                                `----- abort of nothing -------------^
//! ```
//! From a Complete state a new transaction begins (Ongoing), or a new producer (Empty).
//!
//! Invariant: each step gives the whole new metadata and leaves the old one as it is; it becomes true by replay, after it is in the log.

use std::collections::BTreeSet;

use crate::common::topic_partition::TopicPartition;

/// "No producer id" and "no epoch".
pub const NO_PRODUCER_ID: i64 = -1;
pub const NO_PRODUCER_EPOCH: i16 = -1;
/// From this level of transaction.version on, each transaction has an epoch of its own (KIP-890).
pub const EPOCH_BUMP_VERSION: i16 = 2;

/// Where a transactional id stands. Kafka's `Dead` and `PrepareEpochFence` are moments between two appends there; here a step is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TransactionState {
    Empty,
    Ongoing,
    PrepareCommit,
    PrepareAbort,
    CompleteCommit,
    CompleteAbort,
}

impl TransactionState {
    pub const ALL: [TransactionState; 6] = [
        TransactionState::Empty,
        TransactionState::Ongoing,
        TransactionState::PrepareCommit,
        TransactionState::PrepareAbort,
        TransactionState::CompleteCommit,
        TransactionState::CompleteAbort,
    ];

    /// The number in a transaction log record.
    pub fn id(self) -> i8 {
        match self {
            TransactionState::Empty => 0,
            TransactionState::Ongoing => 1,
            TransactionState::PrepareCommit => 2,
            TransactionState::PrepareAbort => 3,
            TransactionState::CompleteCommit => 4,
            TransactionState::CompleteAbort => 5,
        }
    }

    pub fn from_id(id: i8) -> Option<TransactionState> {
        TransactionState::ALL.into_iter().find(|state| state.id() == id)
    }

    /// As DescribeTransactions and ListTransactions tell it.
    pub fn name(self) -> &'static str {
        match self {
            TransactionState::Empty => "Empty",
            TransactionState::Ongoing => "Ongoing",
            TransactionState::PrepareCommit => "PrepareCommit",
            TransactionState::PrepareAbort => "PrepareAbort",
            TransactionState::CompleteCommit => "CompleteCommit",
            TransactionState::CompleteAbort => "CompleteAbort",
        }
    }

    pub fn from_name(name: &str) -> Option<TransactionState> {
        TransactionState::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Decided, but not all partitions have their marker yet: nothing else can happen meanwhile.
    pub fn is_prepared(self) -> bool {
        matches!(self, TransactionState::PrepareCommit | TransactionState::PrepareAbort)
    }

    /// May the transactional id be forgotten?
    pub fn is_expiration_allowed(self) -> bool {
        !self.is_prepared() && self != TransactionState::Ongoing
    }
}

/// A producer's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProducerIdAndEpoch {
    pub producer_id: i64,
    pub producer_epoch: i16,
}

impl ProducerIdAndEpoch {
    pub const NONE: ProducerIdAndEpoch = ProducerIdAndEpoch { producer_id: NO_PRODUCER_ID, producer_epoch: NO_PRODUCER_EPOCH };
}

/// One transactional id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionMetadata {
    pub producer_id: i64,
    /// The producer id before the last step.
    pub previous_producer_id: i64,
    /// The producer id that follows when this transaction is complete, because the epochs of this one are used up.
    pub next_producer_id: i64,
    pub producer_epoch: i16,
    /// The epoch that a producer may name when it asks again for what it was already given. Not in the log: a restart forgets it.
    pub last_producer_epoch: i16,
    /// `i32::MAX`: a two-phase commit, which does not time out.
    pub timeout_ms: i32,
    pub state: TransactionState,
    pub partitions: BTreeSet<TopicPartition>,
    /// -1: no transaction yet.
    pub start_timestamp_ms: i64,
    pub last_update_timestamp_ms: i64,
    /// The transaction.version that the client showed.
    pub client_transaction_version: i16,
}

/// An epoch that no client is ever given: the coordinator can always fence with one more.
pub fn is_epoch_exhausted(epoch: i16) -> bool {
    epoch >= i16::MAX - 1
}

impl TransactionMetadata {
    /// A transactional id that has just been heard of, before its producer has an epoch.
    pub fn new(producer_id: i64, timeout_ms: i32, now_ms: i64) -> TransactionMetadata {
        TransactionMetadata {
            producer_id,
            previous_producer_id: NO_PRODUCER_ID,
            next_producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            last_producer_epoch: NO_PRODUCER_EPOCH,
            timeout_ms,
            state: TransactionState::Empty,
            partitions: BTreeSet::new(),
            start_timestamp_ms: -1,
            last_update_timestamp_ms: now_ms,
            client_transaction_version: 0,
        }
    }

    pub fn producer(&self) -> ProducerIdAndEpoch {
        ProducerIdAndEpoch { producer_id: self.producer_id, producer_epoch: self.producer_epoch }
    }

    pub fn is_epoch_exhausted(&self) -> bool {
        is_epoch_exhausted(self.producer_epoch)
    }

    pub fn is_two_phase_commit(&self) -> bool {
        self.timeout_ms == i32::MAX
    }

    fn step_to(&self, state: TransactionState) -> TransactionMetadata {
        TransactionMetadata { state, previous_producer_id: self.producer_id, ..self.clone() }
    }

    /// A producer begins, or goes on after an error (it names the epoch it had). `None`: the epoch it names is neither the current nor
    /// the last one, so that another producer has come since.
    pub fn with_next_epoch(&self, timeout_ms: i32, expected_epoch: Option<i16>, now_ms: i64) -> Option<TransactionMetadata> {
        let bumped = self.producer_epoch.saturating_add(1);
        let (producer_epoch, last_producer_epoch) = match expected_epoch {
            None => (bumped, NO_PRODUCER_EPOCH),
            Some(expected) if self.producer_epoch == NO_PRODUCER_EPOCH || expected == self.producer_epoch => (bumped, self.producer_epoch),
            // It asks again. Another producer's InitProducerId would have removed the last epoch.
            Some(expected) if expected == self.last_producer_epoch => (self.producer_epoch, self.last_producer_epoch),
            Some(_) => return None,
        };
        Some(TransactionMetadata {
            producer_epoch,
            last_producer_epoch,
            timeout_ms,
            partitions: BTreeSet::new(),
            start_timestamp_ms: -1,
            last_update_timestamp_ms: now_ms,
            ..self.step_to(TransactionState::Empty)
        })
    }

    /// As [`TransactionMetadata::with_next_epoch`], when there is none left: a new producer id begins at epoch 0.
    pub fn with_new_producer_id(&self, producer_id: i64, timeout_ms: i32, keep_last_epoch: bool, now_ms: i64) -> TransactionMetadata {
        TransactionMetadata {
            producer_id,
            producer_epoch: 0,
            last_producer_epoch: if keep_last_epoch { self.producer_epoch } else { NO_PRODUCER_EPOCH },
            timeout_ms,
            partitions: BTreeSet::new(),
            start_timestamp_ms: -1,
            last_update_timestamp_ms: now_ms,
            ..self.step_to(TransactionState::Empty)
        }
    }

    /// Partitions join the transaction; the first begin it.
    pub fn with_partitions(&self, added: &BTreeSet<TopicPartition>, client_version: i16, now_ms: i64) -> TransactionMetadata {
        let begins = self.state != TransactionState::Ongoing;
        TransactionMetadata {
            partitions: self.partitions.union(added).cloned().collect(),
            start_timestamp_ms: if begins { now_ms } else { self.start_timestamp_ms },
            last_update_timestamp_ms: now_ms,
            client_transaction_version: client_version,
            ..self.step_to(TransactionState::Ongoing)
        }
    }

    /// The transaction is decided. `next_producer_id` follows when the epochs of this producer id are used up. Without a transaction
    /// (`begins_now`) there is still an end, with a new epoch (transaction.version 2).
    pub fn prepared(&self, commit: bool, client_version: i16, next_producer_id: i64, begins_now: bool, now_ms: i64) -> TransactionMetadata {
        let state = if commit { TransactionState::PrepareCommit } else { TransactionState::PrepareAbort };
        let (producer_epoch, last_producer_epoch) = match client_version {
            // i16::MAX here and now would be a mistake of before; the abort is let through, so that the id recovers.
            EPOCH_BUMP_VERSION.. => (self.producer_epoch.saturating_add(1), self.producer_epoch),
            _ => (self.producer_epoch, self.last_producer_epoch),
        };
        TransactionMetadata {
            producer_epoch,
            last_producer_epoch,
            next_producer_id,
            start_timestamp_ms: if begins_now { now_ms } else { self.start_timestamp_ms },
            last_update_timestamp_ms: now_ms,
            client_transaction_version: client_version,
            ..self.step_to(state)
        }
    }

    /// An abort that no client asked for, before transaction.version 2: the epoch is raised, so that the producer is fenced.
    pub fn fenced_and_prepared(&self, now_ms: i64) -> TransactionMetadata {
        let fenced = TransactionMetadata {
            producer_epoch: self.producer_epoch.saturating_add(1),
            last_producer_epoch: NO_PRODUCER_EPOCH,
            ..self.clone()
        };
        fenced.prepared(false, 0, NO_PRODUCER_ID, false, now_ms)
    }

    /// Every partition has its marker.
    pub fn completed(&self, now_ms: i64) -> TransactionMetadata {
        let state = match self.state {
            TransactionState::PrepareCommit => TransactionState::CompleteCommit,
            _ => TransactionState::CompleteAbort,
        };
        let rotates = self.client_transaction_version >= EPOCH_BUMP_VERSION && self.next_producer_id != NO_PRODUCER_ID;
        let (producer_id, producer_epoch) = if rotates { (self.next_producer_id, 0) } else { (self.producer_id, self.producer_epoch) };
        TransactionMetadata {
            producer_id,
            producer_epoch,
            next_producer_id: NO_PRODUCER_ID,
            partitions: BTreeSet::new(),
            last_update_timestamp_ms: now_ms,
            ..self.step_to(state)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_kafkas_numbers_and_names() {
        for (number, state) in TransactionState::ALL.into_iter().enumerate() {
            assert_eq!(state.id(), number as i8);
            assert_eq!(TransactionState::from_id(state.id()), Some(state));
            assert_eq!(TransactionState::from_name(state.name()), Some(state));
        }
        assert_eq!(TransactionState::from_id(6), None);
        assert_eq!(TransactionState::from_name("Dead"), None);
    }

    #[test]
    fn a_completed_transaction_moves_to_the_next_producer_id_only_with_epoch_bumps() {
        let ongoing = TransactionMetadata { producer_epoch: i16::MAX - 1, ..TransactionMetadata::new(7, 1000, 0) };
        let prepared = ongoing.prepared(true, 2, 9, false, 5);
        assert_eq!((prepared.producer_epoch, prepared.last_producer_epoch, prepared.next_producer_id), (i16::MAX, i16::MAX - 1, 9));
        let completed = prepared.completed(6);
        assert_eq!((completed.producer_id, completed.producer_epoch, completed.previous_producer_id), (9, 0, 7));
        assert_eq!((completed.next_producer_id, completed.last_producer_epoch), (NO_PRODUCER_ID, i16::MAX - 1));
        let completed = TransactionMetadata { client_transaction_version: 0, ..prepared }.completed(6);
        assert_eq!((completed.producer_id, completed.producer_epoch), (7, i16::MAX));
    }
}
