//! Feature levels of the cluster. Source: `KafkaAdminClient.describeFeatures`, `updateFeatures`; KIP-584, KIP-1022.

use std::collections::BTreeMap;

use super::{Admin, Results, spread, wire_millis};
use crate::client::error::{ApiError, ClientError};
use crate::client::pool::Use;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::update_features_request::FeatureUpdateKey;
use crate::protocol::messages::{ApiVersionsRequest, UpdateFeaturesRequest};

/// The first version of UpdateFeatures that tells a safe downgrade from an unsafe one.
const UPGRADE_TYPE_VERSION: i16 = 1;

/// A range of levels, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureVersions {
    pub min: i16,
    pub max: i16,
}

/// What a broker says of features, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeatureMetadata {
    pub finalized: BTreeMap<String, FeatureVersions>,
    /// Of the finalized levels; grows with each change.
    pub finalized_epoch: Option<i64>,
    pub supported: BTreeMap<String, FeatureVersions>,
}

/// In which direction a level may change. The numbers are the wire's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeType {
    Upgrade = 1,
    SafeDowngrade = 2,
    UnsafeDowngrade = 3,
}

/// A feature's new level; 0 takes it out of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureUpdate {
    pub max_version_level: i16,
    pub upgrade_type: UpgradeType,
}

impl Admin {
    /// Features as a broker knows them: the given one, or any.
    pub async fn describe_features(&self, broker: Option<i32>) -> Result<FeatureMetadata, ClientError> {
        let request = ApiVersionsRequest {
            client_software_name: crate::client::conn::SOFTWARE_NAME.to_owned(),
            client_software_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Default::default()
        };
        let response = self
            .retried("describeFeatures", || async {
                let connection = match broker {
                    Some(broker) => self.cluster.connection(broker, Use::General).await?,
                    None => self.cluster.any_connection().await?,
                };
                let response = connection.send(&request).await?;
                ApiError::check(response.error_code, None)?;
                Ok(response)
            })
            .await?;
        let finalized = response
            .finalized_features
            .into_iter()
            .map(|it| (it.name, FeatureVersions { min: it.min_version_level, max: it.max_version_level }));
        let supported =
            response.supported_features.into_iter().map(|it| (it.name, FeatureVersions { min: it.min_version, max: it.max_version }));
        Ok(FeatureMetadata {
            finalized: finalized.collect(),
            finalized_epoch: (response.finalized_features_epoch >= 0).then_some(response.finalized_features_epoch),
            supported: supported.collect(),
        })
    }

    /// Changes feature levels, or with `validate_only` says whether that would be possible.
    pub async fn update_features(&self, updates: &BTreeMap<String, FeatureUpdate>, validate_only: bool) -> Results<String, ()> {
        let mut attempts = self.cluster.attempts("updateFeatures");
        let outcome = loop {
            let attempt = async {
                let connection = self.cluster.controller().await?;
                let version = connection.version_of::<UpdateFeaturesRequest>()?;
                let feature_updates = updates.iter().map(|(feature, update)| {
                    let downgrade = update.upgrade_type != UpgradeType::Upgrade;
                    FeatureUpdateKey {
                        feature: feature.clone(),
                        max_version_level: update.max_version_level,
                        allow_downgrade: version < UPGRADE_TYPE_VERSION && downgrade,
                        upgrade_type: if version < UPGRADE_TYPE_VERSION { 1 } else { update.upgrade_type as i8 },
                        ..Default::default()
                    }
                });
                let request = UpdateFeaturesRequest {
                    timeout_ms: wire_millis(self.cluster.request_timeout()),
                    feature_updates: feature_updates.collect(),
                    validate_only,
                    ..Default::default()
                };
                let response = connection.send_at(&request, version).await?;
                match ErrorCode::from_code(response.error_code) {
                    code @ (ErrorCode::NotController | ErrorCode::RequestTimedOut) => Err(ClientError::from(code)),
                    _ => Ok(response),
                }
            };
            match attempt.await {
                Ok(response) => break Ok(response),
                Err(error) => match attempts.pause(error.clone()).await {
                    Ok(()) => self.cluster.recover(&error, None, None).await,
                    Err(error) => break Err(error),
                },
            }
        };
        let outcome = outcome.and_then(|response| {
            ApiError::check(response.error_code, response.error_message)?;
            // Since version 2 success has no results of its own.
            let mut results: Results<String, ()> = updates.keys().map(|feature| (feature.clone(), Ok(()))).collect();
            results.extend(response.results.into_iter().map(|it| (it.feature, ApiError::check(it.error_code, it.error_message))));
            Ok(results)
        });
        spread(updates.keys().cloned(), outcome)
    }
}
