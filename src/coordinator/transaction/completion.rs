//! From a decided transaction to a complete one: markers handed out, reports taken in, and another try when something failed. Source:
//! `TransactionMarkerChannelManager`, `TransactionMarkerRequestCompletionHandler`.
//!
//! Invariant: a transaction is complete only when every one of its partitions has the marker, or is no more.

use std::collections::BTreeSet;

use super::metadata::{ProducerIdAndEpoch, TransactionMetadata};
use super::records::TransactionRecord;
use super::{AfterCommit, Effects, RESUME_BACKOFF_MS, TimerKey, TransactionShard};
use crate::common::topic_partition::TopicPartition;
use crate::coordinator::runtime::TransactionMarker;
use crate::coordinator::timers::Now;
use crate::protocol::error_code::ErrorCode;

/// A marker, and the partitions that are to have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionMarkers {
    pub transactional_id: String,
    pub marker: TransactionMarker,
    pub partitions: BTreeSet<TopicPartition>,
}

/// What became of markers. A partition that exists no more counts as one that has its marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkersWritten {
    pub transactional_id: String,
    pub marker: TransactionMarker,
    pub results: Vec<(TopicPartition, ErrorCode)>,
}

/// What a partition's answer means for the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Done,
    Again,
    /// Another coordinator, or a later transaction of the same producer, has been there: what is to be done is not ours to say any more.
    Abandon,
}

fn verdict(error: ErrorCode) -> Verdict {
    match error {
        // A log of a format without transactions has no data of this one.
        ErrorCode::None | ErrorCode::UnsupportedForMessageFormat | ErrorCode::UnsupportedVersion => Verdict::Done,
        ErrorCode::InvalidProducerEpoch | ErrorCode::TransactionCoordinatorFenced => Verdict::Abandon,
        _ => Verdict::Again,
    }
}

impl TransactionShard {
    /// Hands out the markers of a decided transaction. Gives the record of its completion when no partition needs one.
    pub(super) fn send_markers(&mut self, now: Now, transactional_id: &str) -> Option<TransactionRecord> {
        let metadata = self.transactions.get(transactional_id).filter(|metadata| metadata.state.is_prepared())?;
        if metadata.partitions.is_empty() {
            self.awaiting_markers.insert(transactional_id.to_owned(), BTreeSet::new());
            return Some(self.record(transactional_id, Some(metadata.completed(now.wall_ms))));
        }
        let markers = self.markers(transactional_id, metadata, metadata.partitions.clone());
        self.awaiting_markers.insert(transactional_id.to_owned(), markers.partitions.clone());
        self.environment.write_markers(markers);
        None
    }

    fn markers(&self, transactional_id: &str, metadata: &TransactionMetadata, partitions: BTreeSet<TopicPartition>) -> TransactionMarkers {
        TransactionMarkers {
            transactional_id: transactional_id.to_owned(),
            marker: TransactionMarker {
                producer_id: metadata.producer_id,
                producer_epoch: metadata.producer_epoch,
                coordinator_epoch: self.leader_epoch,
                commit: metadata.state == super::TransactionState::PrepareCommit,
                transaction_version: metadata.client_transaction_version,
            },
            partitions,
        }
    }

    /// Some markers were written, or not.
    pub fn markers_written(&mut self, now: Now, report: &MarkersWritten) -> Effects {
        let id = &report.transactional_id;
        let Some(metadata) = self.transactions.get(id) else { return Effects::default() };
        let marker = &report.marker;
        let producer = ProducerIdAndEpoch { producer_id: marker.producer_id, producer_epoch: marker.producer_epoch };
        // A report may be late: of a transaction, or of a coordinator, before this one.
        let is_current = metadata.state.is_prepared() && metadata.producer() == producer && marker.coordinator_epoch == self.leader_epoch;
        let Some(waiting) = self.awaiting_markers.get_mut(id).filter(|_| is_current) else { return Effects::default() };
        for (partition, error) in &report.results {
            match verdict(*error) {
                Verdict::Done => {
                    waiting.remove(partition);
                }
                Verdict::Again => tracing::debug!(transactional_id = id, %partition, %error, "a marker could not be written, will retry"),
                Verdict::Abandon => {
                    tracing::warn!(transactional_id = id, %partition, %error, "a marker was refused for good; no more are sent");
                    self.awaiting_markers.remove(id);
                    return Effects::default();
                }
            }
        }
        if waiting.is_empty() {
            return self.complete(now, id);
        }
        self.resume_later(now, id.clone());
        Effects::default()
    }

    fn complete(&self, now: Now, transactional_id: &str) -> Effects {
        let Some(metadata) = self.transactions.get(transactional_id) else { return Effects::default() };
        let effects = self.step(transactional_id, metadata.completed(now.wall_ms));
        Effects { after_commit: Some(AfterCommit::Complete(transactional_id.to_owned())), ..effects }
    }

    pub(super) fn resume_later(&mut self, now: Now, transactional_id: String) {
        self.timers.schedule(now, TimerKey::Resume(transactional_id), RESUME_BACKOFF_MS, ());
    }

    /// Goes on where a decided transaction stopped.
    pub(super) fn resume(&mut self, now: Now, transactional_id: &str) -> Effects {
        let Some(metadata) = self.transactions.get(transactional_id).filter(|metadata| metadata.state.is_prepared()) else {
            return Effects::default();
        };
        match self.awaiting_markers.get(transactional_id) {
            // The decision may not be committed, so it is written once more.
            None => self.step(transactional_id, metadata.clone()),
            Some(waiting) if waiting.is_empty() => self.complete(now, transactional_id),
            Some(waiting) => {
                self.environment.write_markers(self.markers(transactional_id, metadata, waiting.clone()));
                Effects::default()
            }
        }
    }
}
