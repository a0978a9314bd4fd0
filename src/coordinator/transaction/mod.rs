//! The transaction coordinator's core: the transactional ids of one partition of `__transaction_state`. Source: `TransactionCoordinator`,
//! `TransactionStateManager`, `TransactionMarkerChannelManager`; KIP-98, KIP-360, KIP-890.
//!
//! A transaction is decided by one record (PrepareCommit, PrepareAbort). Once that is committed, every partition of the transaction gets
//! a marker, and when all have it a second record (CompleteCommit, CompleteAbort) makes room for the next transaction. A coordinator that
//! finds a decided transaction in its log goes on with the markers, so that whatever was decided happens.
//!
//! A [`TransactionShard`] takes requests, deadlines and reports of markers in, and gives out [`Effects`]: records to append and what to do
//! once they are committed. What it needs of its broker it asks through [`Environment`].
//!
//! Invariant: no marker is handed out before the record that decides it is committed.
//!
//! Invariant: while a transaction is decided but not complete, nothing else happens to its transactional id; clients are told
//! CONCURRENT_TRANSACTIONS.
//!
//! Differs: Kafka also answers CONCURRENT_TRANSACTIONS while any record is being appended; here a request waits its turn.

mod add_partitions;
mod completion;
pub mod config;
mod describe;
mod end_transaction;
mod expiry;
mod init_producer_id;
pub mod metadata;
pub mod records;

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;

pub use completion::{MarkersWritten, TransactionMarkers};
use config::TransactionCoordinatorConfig;
pub use describe::TransactionFilter;
pub use end_transaction::EndTransaction;
pub use init_producer_id::{InitProducerId, validate_init_producer_id};
pub use metadata::{ProducerIdAndEpoch, TransactionMetadata, TransactionState};
use records::TransactionRecord;

use super::runtime::{self, LogEntry, Shard};
use super::timers::{Now, Timers};
use crate::common::topic_partition::TopicPartition;
use crate::protocol::codec::EncodeError;
use crate::protocol::error_code::ErrorCode;

/// What a shard asks of its broker. Nothing here waits.
pub trait Environment: Send + Sync + 'static {
    /// A producer id that was never used. Fails, with an error that clients retry, while there is none at hand.
    fn next_producer_id(&self) -> Result<i64, ErrorCode>;

    /// The finalized level of the feature transaction.version.
    fn transaction_version(&self) -> i16;

    /// Has markers written, to this broker's partitions and to others', and reports with [`TransactionShard::markers_written`].
    fn write_markers(&self, markers: TransactionMarkers);
}

/// What an operation on a [`TransactionShard`] did besides giving its own answer. Every record is replayed; nobody is parked.
pub type Effects = runtime::Effects<TransactionRecord, AfterCommit, Infallible>;

/// A step that waits for records to be committed; each names its transactional ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AfterCommit {
    /// They are decided.
    SendMarkers(Vec<String>),
    /// It is complete.
    Complete(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum TimerKey {
    /// The regular look for transactions that timed out.
    AbortTimedOut,
    /// The regular look for transactional ids that nobody uses.
    RemoveExpired,
    /// A decided transaction did not get on.
    Resume(String),
}

/// How long a decided transaction rests when a marker or a record could not be written, ms.
const RESUME_BACKOFF_MS: i64 = 100;
/// Transactional ids that one look for the timed out or the expired changes; then it looks again.
const IDS_PER_SWEEP: usize = 1000;

/// The transactional ids of one partition of `__transaction_state`.
pub struct TransactionShard {
    config: TransactionCoordinatorConfig,
    environment: Arc<dyn Environment>,
    /// The coordinator epoch in the markers.
    leader_epoch: i32,
    transactions: BTreeMap<String, TransactionMetadata>,
    /// Of decided transactions whose markers were handed out: the partitions that have not answered.
    awaiting_markers: BTreeMap<String, BTreeSet<TopicPartition>>,
    /// Of open transactions: when each began by the wall clock, which names it, and by the monotonic one, ms.
    open: BTreeMap<String, (i64, i64)>,
    /// The monotonic time of the last look at them, ms.
    looked_at_ms: Option<i64>,
    timers: Timers<TimerKey, ()>,
}

impl TransactionShard {
    /// An empty shard.
    pub fn new(config: TransactionCoordinatorConfig, environment: Arc<dyn Environment>) -> TransactionShard {
        TransactionShard {
            config,
            environment,
            leader_epoch: -1,
            transactions: BTreeMap::new(),
            awaiting_markers: BTreeMap::new(),
            open: BTreeMap::new(),
            looked_at_ms: None,
            timers: Timers::default(),
        }
    }

    pub fn transaction(&self, transactional_id: &str) -> Option<&TransactionMetadata> {
        self.transactions.get(transactional_id)
    }

    pub fn transactions(&self) -> impl Iterator<Item = (&str, &TransactionMetadata)> {
        self.transactions.iter().map(|(id, metadata)| (id.as_str(), metadata))
    }

    /// The effects of a step of one transactional id.
    fn step(&self, transactional_id: &str, metadata: TransactionMetadata) -> Effects {
        let after_commit = match metadata.state.is_prepared() {
            true => Some(AfterCommit::SendMarkers(vec![transactional_id.to_owned()])),
            false => None,
        };
        Effects { records: vec![self.record(transactional_id, Some(metadata))], replay: true, after_commit, ..Effects::default() }
    }

    fn record(&self, transactional_id: &str, metadata: Option<TransactionMetadata>) -> TransactionRecord {
        let value_version = i16::from(self.environment.transaction_version() >= 1);
        TransactionRecord { transactional_id: transactional_id.to_owned(), metadata, value_version }
    }

    /// The metadata of a request's transactional id.
    fn find(&self, transactional_id: &str) -> Result<&TransactionMetadata, ErrorCode> {
        if transactional_id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        self.transactions.get(transactional_id).ok_or(ErrorCode::InvalidProducerIdMapping)
    }
}

impl Shard for TransactionShard {
    type Record = TransactionRecord;
    type AfterCommit = AfterCommit;
    type Parked = Infallible;

    fn encode(record: &TransactionRecord) -> Result<(Bytes, Option<Bytes>), EncodeError> {
        record.encode()
    }

    fn begin_epoch(&mut self, leader_epoch: i32) {
        self.leader_epoch = leader_epoch;
    }

    fn replay(&mut self, _offset: i64, record: TransactionRecord) {
        if !record.metadata.as_ref().is_some_and(|metadata| metadata.state.is_prepared()) {
            self.awaiting_markers.remove(&record.transactional_id);
        }
        match record.metadata {
            Some(metadata) => self.transactions.insert(record.transactional_id, metadata),
            None => self.transactions.remove(&record.transactional_id),
        };
    }

    fn load(&mut self, entry: LogEntry) {
        let LogEntry::Record { offset, key, value, .. } = entry else { return };
        match TransactionRecord::decode(key, value) {
            Ok(Some(record)) => self.replay(offset, record),
            Ok(None) => tracing::warn!(offset, "a transaction log record of a type or version that is not known here, skipped"),
            Err(error) => tracing::warn!(offset, %error, "a transaction log record that cannot be read, skipped"),
        }
    }

    /// Goes on with the transactions that are decided.
    fn on_loaded(&mut self, now: Now) -> Effects {
        self.look_at_open(now);
        self.timers.schedule(now, TimerKey::AbortTimedOut, self.config.abort_timed_out_interval_ms, ());
        self.timers.schedule(now, TimerKey::RemoveExpired, self.config.remove_expired_interval_ms, ());
        let decided = self.transactions.iter().filter(|(_, metadata)| metadata.state.is_prepared());
        let decided: Vec<String> = decided.map(|(id, _)| id.clone()).collect();
        Effects { after_commit: (!decided.is_empty()).then_some(AfterCommit::SendMarkers(decided)), ..Effects::default() }
    }

    fn on_unloaded(&mut self, _now: Now) -> Effects {
        self.awaiting_markers.clear();
        self.timers.clear();
        Effects::default()
    }

    fn next_deadline(&self) -> Option<u64> {
        self.timers.next_deadline()
    }

    fn poll(&mut self, now: Now) -> Option<Effects> {
        let (key, ()) = self.timers.pop_due(now)?;
        Some(match key {
            TimerKey::AbortTimedOut => self.abort_timed_out(now),
            TimerKey::RemoveExpired => self.remove_expired(now),
            TimerKey::Resume(transactional_id) => self.resume(now, &transactional_id),
        })
    }

    fn committed(&mut self, after: AfterCommit, result: Result<(), ErrorCode>, now: Now) -> Effects {
        match (after, result) {
            (AfterCommit::SendMarkers(ids), Ok(())) => {
                let mut effects = Effects::default();
                for id in &ids {
                    effects.records.extend(self.send_markers(now, id));
                }
                // Those without any partition are complete at once.
                effects.replay = true;
                effects.divisible = true;
                effects.after_commit = match effects.records.as_slice() {
                    [] => None,
                    [record] => Some(AfterCommit::Complete(record.transactional_id.clone())),
                    // Each is looked after again, should this append fail.
                    records => {
                        let ids: Vec<String> = records.iter().map(|record| record.transactional_id.clone()).collect();
                        ids.into_iter().for_each(|id| self.resume_later(now, id));
                        None
                    }
                };
                effects
            }
            (AfterCommit::SendMarkers(ids), Err(error)) => {
                tracing::warn!(%error, "the end of {} transactions is not known to be in the log", ids.len());
                ids.into_iter().for_each(|id| self.resume_later(now, id));
                Effects::default()
            }
            (AfterCommit::Complete(_), Ok(())) => Effects::default(),
            (AfterCommit::Complete(id), Err(error)) => {
                tracing::warn!(transactional_id = id, %error, "could not write that a transaction is complete");
                self.resume_later(now, id);
                Effects::default()
            }
        }
    }
}
