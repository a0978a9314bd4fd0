//! What a metadata log may ask for that this build does not have: a node says so, and leaves the directory as it is.

use crate::metadata::features;
use crate::metadata::image::{ConfigResourceType, MetadataImage};
use crate::metadata::record::{MetadataRecord, VersionedRecord};

/// What the cluster needs and this build lacks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("topic '{topic}' has remote.storage.enable=true: tiered storage is not supported yet")]
    TieredTopic { topic: String },
    #[error("feature {name} is at level {level}, which is not supported: this build reads levels {min} to {max}")]
    FeatureLevel { name: String, level: i16, min: i16, max: i16 },
    #[error("feature {name} is at level {level}, and this build does not know the feature: it is of a later release")]
    UnknownFeature { name: String, level: i16 },
    #[error("the migration from ZooKeeper has not ended (state {state}): end it with Kafka 3.9, or go back there")]
    ZooKeeperMigration { state: i8 },
}

/// The states of a migration that hold nobody up: there was none, or it is over.
const SETTLED: [i8; 2] = [0, 3];

/// Can this build serve a cluster with this image?
pub(super) fn check(image: &MetadataImage) -> Result<(), Refusal> {
    let levels = &image.features;
    if let Some(level) = levels.metadata_version {
        check_level(features::METADATA_VERSION, level)?;
    }
    levels.finalized.iter().try_for_each(|(name, &level)| check_level(name, level))?;
    if !SETTLED.contains(&levels.zk_migration_state) {
        return Err(Refusal::ZooKeeperMigration { state: levels.zk_migration_state });
    }
    let is_tiered = |value: &String| value.eq_ignore_ascii_case("true");
    for (resource, set) in image.configs.iter() {
        if resource.type_ == ConfigResourceType::Topic && set.get("remote.storage.enable").is_some_and(is_tiered) {
            return Err(Refusal::TieredTopic { topic: resource.name.clone() });
        }
    }
    Ok(())
}

/// Can this build serve the cluster that begins with these records?
pub(super) fn check_bootstrap(records: &[VersionedRecord]) -> Result<(), Refusal> {
    records.iter().try_for_each(|versioned| match &versioned.record {
        MetadataRecord::FeatureLevel(record) => check_level(&record.name, record.feature_level),
        _ => Ok(()),
    })
}

fn check_level(name: &str, level: i16) -> Result<(), Refusal> {
    let name = name.to_owned();
    match features::supported(&name) {
        Some(range) if !range.contains(level) => Err(Refusal::FeatureLevel { name, level, min: range.min, max: range.max }),
        None if level != 0 => Err(Refusal::UnknownFeature { name, level }),
        _ => Ok(()),
    }
}
