//! From committed batches to published images.
//!
//! Records between the begin and the end of a metadata transaction (KIP-868) become visible together, or not at all when it
//! is aborted. Source: Kafka's `MetadataBatchLoader`.

use std::sync::Arc;

use super::delta::MetadataDelta;
use super::image::{MetadataImage, Provenance};
use super::record::MetadataRecord;
use super::replay::ReplayError;

/// A batch of committed records.
#[derive(Debug)]
pub struct CommittedBatch<'a> {
    pub base_offset: i64,
    pub epoch: i32,
    pub timestamp_ms: i64,
    pub records: &'a [MetadataRecord],
}

/// Builds images from committed batches.
#[derive(Debug)]
pub struct Loader {
    image: Arc<MetadataImage>,
    /// What has been committed since `image`.
    delta: MetadataDelta,
    /// What belongs to the open transaction, on top of `delta`.
    transaction: Option<MetadataDelta>,
    provenance: Provenance,
}

impl Loader {
    /// A loader that goes on after `image`.
    pub fn new(image: Arc<MetadataImage>) -> Loader {
        let (delta, provenance) = (MetadataDelta::new(Arc::clone(&image)), image.provenance);
        Loader { image, delta, transaction: None, provenance }
    }

    /// Applies what a snapshot holds, to the empty image.
    pub fn load_snapshot(&mut self, records: &[MetadataRecord], provenance: Provenance) -> Result<(), ReplayError> {
        for record in records {
            self.delta.replay(record)?;
        }
        self.provenance = provenance;
        Ok(())
    }

    /// The image that [`Loader::take`] would give, to look at only.
    pub fn next(&self) -> &MetadataImage {
        self.delta.next()
    }

    /// The newest image that was taken.
    pub fn image(&self) -> &Arc<MetadataImage> {
        &self.image
    }

    /// The last offset that was loaded; -1 at first.
    pub fn last_offset(&self) -> i64 {
        self.provenance.offset
    }

    /// Is a transaction open? Then no snapshot may be taken: it would cut the transaction in two.
    pub fn in_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    /// Applies a batch.
    pub fn load(&mut self, batch: &CommittedBatch<'_>) -> Result<(), ReplayError> {
        for record in batch.records {
            match record {
                MetadataRecord::BeginTransaction(_) => {
                    if self.transaction.replace(self.delta.clone()).is_some() {
                        return Err(ReplayError::Transaction("BeginTransactionRecord"));
                    }
                }
                MetadataRecord::EndTransaction(_) => {
                    self.delta = self.transaction.take().ok_or(ReplayError::Transaction("EndTransactionRecord"))?;
                }
                MetadataRecord::AbortTransaction(_) => {
                    self.transaction.take().ok_or(ReplayError::Transaction("AbortTransactionRecord"))?;
                }
                record => self.transaction.as_mut().unwrap_or(&mut self.delta).replay(record)?,
            }
        }
        let last = batch.base_offset + batch.records.len() as i64 - 1;
        self.passed(last, batch.epoch, batch.timestamp_ms);
        Ok(())
    }

    /// Notes that the log goes up to `offset` now: control records count too.
    pub fn passed(&mut self, offset: i64, epoch: i32, timestamp_ms: i64) {
        self.provenance = Provenance { offset, epoch, timestamp_ms };
    }

    /// The image up to the last batch (up to the open transaction, if there is one) and what changed since the last time;
    /// `None` when no batch came since.
    pub fn take(&mut self) -> Option<(MetadataDelta, Arc<MetadataImage>)> {
        if self.provenance == self.image.provenance {
            return None;
        }
        let image = Arc::new(self.delta.apply(self.provenance));
        let delta = std::mem::replace(&mut self.delta, MetadataDelta::new(Arc::clone(&image)));
        if let Some(transaction) = &mut self.transaction {
            // Its changes so far are still to come for whoever sees the next delta.
            transaction.rebase(&image);
        }
        self.image = Arc::clone(&image);
        Some((delta, image))
    }
}
