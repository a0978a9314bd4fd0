//! What a controller writes first when it becomes the active one. Source: Kafka's `ActivationRecordsGenerator`.

use super::Controller;
use super::brokers::MIN_ISR;
use crate::metadata::features::{self, MetadataVersion};
use crate::metadata::image::ConfigResourceType;
use crate::metadata::record::{MetadataRecord, VersionedRecord};
use crate::protocol::messages::*;

impl Controller {
    /// The records that a new cluster begins with, or that put right what a controller before this one left half done.
    /// `bootstrap` is what the format step decided.
    pub fn activation_records(&self, bootstrap: &[VersionedRecord]) -> Vec<VersionedRecord> {
        let mut records = Vec::new();
        if self.open_transaction().is_some() {
            let reason = Some("Controller failover".to_owned());
            records.push(VersionedRecord::new(AbortTransactionRecord { reason, ..Default::default() }, 0));
        }
        // A transaction that was open holds nothing: the image is the one from before it.
        let image = self.transaction.as_ref().map_or(&self.image, |transaction| &transaction.image);
        if image.features.metadata_version.is_some() {
            return records;
        }
        let level = |name: &str| {
            let levels = bootstrap.iter().filter_map(|record| match &record.record {
                MetadataRecord::FeatureLevel(record) if record.name == name => Some(record.feature_level),
                _ => None,
            });
            levels.last().unwrap_or(0)
        };
        let transactions = MetadataVersion(level(features::METADATA_VERSION)).has_metadata_transactions();
        if transactions {
            let name = Some("Bootstrap records".to_owned());
            records.push(VersionedRecord::new(BeginTransactionRecord { name, ..Default::default() }, 0));
        }
        records.extend_from_slice(bootstrap);
        if level(features::ELIGIBLE_LEADER_REPLICAS_VERSION) > 0 {
            let record = ConfigRecord {
                resource_type: ConfigResourceType::Broker.code(),
                resource_name: String::new(),
                name: MIN_ISR.to_owned(),
                value: Some(self.schema.static_min_insync_replicas().to_string()),
                ..Default::default()
            };
            records.push(VersionedRecord::new(record, 0));
        }
        if transactions {
            records.push(VersionedRecord::new(EndTransactionRecord::default(), 0));
        }
        records
    }
}
