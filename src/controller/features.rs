//! Changing feature levels.
//!
//! Sources: Kafka's `FeatureControlManager`, `ConfigurationControlManager.updateFeatures` for what eligible leader replicas need.
//!
//! Differs: kraft.version is decided when a directory is formatted; an upgrade of it is refused.

use std::collections::BTreeMap;

use super::api_error::ApiError;
use super::brokers::MIN_ISR;
use super::{Controller, Outcome};
use crate::metadata::features::{self, MetadataVersion};
use crate::metadata::image::{ConfigResource, ConfigResourceType};
use crate::metadata::record::VersionedRecord;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::*;

/// The upgrade types of UpdateFeatures.
const UPGRADE: i8 = 1;
const SAFE_DOWNGRADE: i8 = 2;
const UNSAFE_DOWNGRADE: i8 = 3;

fn invalid_update(name: &str, level: i16, reason: impl std::fmt::Display) -> ApiError {
    ApiError::new(ErrorCode::InvalidUpdateVersion, format!("Invalid update version {level} for feature {name}. {reason}"))
}

impl Controller {
    /// UpdateFeatures: all of the changes or none. `kraft_version` is the finalized one, which no image holds; up to `api_version` 1
    /// the answer names each feature.
    pub fn update_features(
        &mut self,
        request: &UpdateFeaturesRequest,
        kraft_version: i16,
        api_version: i16,
    ) -> Outcome<UpdateFeaturesResponse> {
        match self.try_update_features(request, kraft_version) {
            Ok(records) => {
                let results = request.feature_updates.iter().filter(|_| api_version <= 1);
                let results = results.map(|update| update_features_response::UpdatableFeatureResult {
                    feature: update.feature.clone(),
                    // What Java prints for an error without a message is its name.
                    error_message: Some("NONE".to_owned()),
                    ..Default::default()
                });
                let response = UpdateFeaturesResponse { results: results.collect(), error_message: None, ..Default::default() };
                Outcome { records: if request.validate_only { Vec::new() } else { records }, response }
            }
            Err(error) => {
                let reason = error.message.unwrap_or_default();
                let text = format!("The update failed for all features since the following feature had an error: {reason}");
                let error_code = error.code.code();
                Outcome::without_records(UpdateFeaturesResponse { error_code, error_message: Some(text), ..Default::default() })
            }
        }
    }

    fn try_update_features(&self, request: &UpdateFeaturesRequest, kraft_version: i16) -> Result<Vec<VersionedRecord>, ApiError> {
        // Of several changes of the same feature the last counts.
        let updates: BTreeMap<&str, (i16, i8)> = request
            .feature_updates
            .iter()
            .map(|update| (update.feature.as_str(), (update.max_version_level, update.upgrade_type)))
            .collect();
        let proposed_metadata_version =
            updates.get(features::METADATA_VERSION).map_or(self.metadata_version(), |&(level, _)| MetadataVersion(level));
        let mut records = Vec::new();
        for (&name, &(level, upgrade_type)) in &updates {
            self.validate_update(name, level, upgrade_type, kraft_version)?;
            match name {
                features::METADATA_VERSION => self.validate_metadata_version(level, upgrade_type)?,
                // Nothing to write: the level is the one it has.
                features::KRAFT_VERSION => continue,
                _ => validate_dependencies(name, level, proposed_metadata_version)?,
            }
            let record = FeatureLevelRecord { name: name.to_owned(), feature_level: level, ..Default::default() };
            records.push(VersionedRecord::new(record, 0));
        }
        if updates.get(features::ELIGIBLE_LEADER_REPLICAS_VERSION).is_some_and(|&(level, _)| level > 0) {
            let mut safe = self.elr_safety_records();
            safe.append(&mut records);
            return Ok(safe);
        }
        Ok(records)
    }

    fn validate_update(&self, name: &str, level: i16, upgrade_type: i8, kraft_version: i16) -> Result<(), ApiError> {
        let refuse = |reason: &dyn std::fmt::Display| Err(invalid_update(name, level, reason));
        if ![UPGRADE, SAFE_DOWNGRADE, UNSAFE_DOWNGRADE].contains(&upgrade_type) {
            return refuse(&"The controller does not support the given upgrade type.");
        }
        let current = match name {
            features::METADATA_VERSION => self.metadata_version().0,
            features::KRAFT_VERSION => kraft_version,
            _ => self.image.features.level(name),
        };
        if level < 0 {
            return refuse(&"A feature version cannot be less than 0.");
        }
        if let Some(reason) = self.reason_not_supported(name, level) {
            return refuse(&reason);
        }
        if level < current && upgrade_type == UPGRADE {
            return refuse(
                &"Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade.",
            );
        }
        if level > current && upgrade_type != UPGRADE {
            return refuse(&"Can't downgrade to a newer version.");
        }
        if name == features::KRAFT_VERSION && level < current {
            return refuse(&"Can't downgrade the version of this feature.");
        }
        if name == features::KRAFT_VERSION && level > current {
            return refuse(&"This controller cannot upgrade the version of this feature.");
        }
        Ok(())
    }

    /// Why some node of the cluster cannot work with this level of a feature.
    fn reason_not_supported(&self, name: &str, level: i16) -> Option<String> {
        let reason = |what: String, (min, max): (i16, i16)| match (min..=max).contains(&level) {
            true => None,
            false if max == 0 => Some(format!("{what} does not support this feature.")),
            false if min == max => Some(format!("{what} only supports versions {min}")),
            false => Some(format!("{what} only supports versions {min}-{max}")),
        };
        let local = features::supported(name).map_or((0, 0), |range| (range.min, range.max));
        if let Some(reason) = reason(format!("Local controller {}", self.node_id), local) {
            return Some(reason);
        }
        let of = |supported: &BTreeMap<String, (i16, i16)>| supported.get(name).copied().unwrap_or((0, 0));
        let brokers = self.image.cluster.brokers.values();
        if let Some(reason) = brokers.into_iter().find_map(|broker| reason(format!("Broker {}", broker.id), of(&broker.supported_features)))
        {
            return Some(reason);
        }
        let controllers = self.image.cluster.controllers.values().filter(|controller| controller.id != self.node_id);
        controllers.into_iter().find_map(|other| reason(format!("Controller {}", other.id), of(&other.supported_features)))
    }

    fn validate_metadata_version(&self, level: i16, upgrade_type: i8) -> Result<(), ApiError> {
        let (current, new) = (self.metadata_version(), MetadataVersion(level));
        if new >= current || !current.changed_metadata_since(new) {
            return Ok(());
        }
        let reason = match upgrade_type {
            UNSAFE_DOWNGRADE => "Unsafe metadata downgrade is not supported in this version.",
            _ => "Refusing to perform the requested downgrade because it might delete metadata information.",
        };
        let text = format!("Unsupported metadata.version downgrade from {} to {level}. {reason}", current.0);
        Err(ApiError::new(ErrorCode::InvalidUpdateVersion, text))
    }

    /// With eligible leader replicas the minimum of in-sync replicas is one for the whole cluster.
    fn elr_safety_records(&self) -> Vec<VersionedRecord> {
        let record = |resource_name: &str, value: Option<String>| {
            let record = ConfigRecord {
                resource_type: ConfigResourceType::Broker.code(),
                resource_name: resource_name.to_owned(),
                name: MIN_ISR.to_owned(),
                value,
                ..Default::default()
            };
            VersionedRecord::new(record, 0)
        };
        let mut records = Vec::new();
        if !self.configs_of(&ConfigResource::broker_default()).contains_key(MIN_ISR) {
            records.push(record("", Some(self.schema.static_min_insync_replicas().to_string())));
        }
        let brokers = self.image.configs.iter().filter(|(resource, set)| {
            resource.type_ == ConfigResourceType::Broker && !resource.name.is_empty() && set.contains_key(MIN_ISR)
        });
        records.extend(brokers.map(|(resource, _)| record(&resource.name, None)));
        records
    }
}

/// Every feature needs the lowest metadata.version, and eligible leader replicas the one that knows their records.
fn validate_dependencies(name: &str, level: i16, metadata_version: MetadataVersion) -> Result<(), ApiError> {
    const LOWEST: MetadataVersion = MetadataVersion(7);
    let depends = |on: String| invalid_update(name, level, format!("{name} could not be set to {level} because it depends on {on}"));
    if level >= 1 && metadata_version < LOWEST {
        return Err(depends(format!("metadata.version={} ({})", LOWEST.0, LOWEST.name().unwrap_or_default())));
    }
    if name == features::ELIGIBLE_LEADER_REPLICAS_VERSION && level >= 1 && !metadata_version.has_elr() {
        return Err(depends(format!("metadata.version level {}", MetadataVersion::FIRST_WITH_ELR.0)));
    }
    Ok(())
}
