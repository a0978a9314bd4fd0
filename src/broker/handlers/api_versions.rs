//! ApiVersions 0-4: what this broker serves, and the cluster's features. Source: `ApiVersionManager`, KIP-511, KIP-584.
//!
//! Produce is announced from version 0 on although 3 is the first that is served: old librdkafka takes a broker without version 0 for
//! one that cannot compress (KAFKA-18659). Up to version 3, a supported feature whose lowest level is 0 is left out (KAFKA-17492).

use std::sync::Arc;

use crate::broker::dispatch;
use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::metadata::features;
use crate::metadata::image::MetadataImage;
use crate::protocol::api_key::ApiKey;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use crate::protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};

pub(crate) async fn handle(broker: &Arc<Broker>, ctx: &RequestContext, request: ApiVersionsRequest) -> ApiVersionsResponse {
    let named = |name: &str| ctx.api_version < 3 || is_software_name(name);
    if !named(&request.client_software_name) || !named(&request.client_software_version) {
        return ApiVersionsResponse { error_code: ErrorCode::InvalidRequest.code(), ..Default::default() };
    }
    if ctx.api_version >= 3 {
        ctx.connection.set_software(&request.client_software_name, &request.client_software_version);
    }
    let image = broker.image();
    let mut finalized: Vec<(&str, i16)> = image.features.finalized.iter().map(|(name, &level)| (name.as_str(), level)).collect();
    finalized.extend(image.features.metadata_version.map(|level| (features::METADATA_VERSION, level)));
    if broker.kraft_version > 0 {
        finalized.push((features::KRAFT_VERSION, broker.kraft_version));
    }
    ApiVersionsResponse {
        api_keys: served(),
        supported_features: supported(&image, broker.node_id(), ctx.api_version),
        finalized_features_epoch: image.provenance.offset,
        finalized_features: finalized
            .into_iter()
            .map(|(name, level)| FinalizedFeatureKey {
                name: name.to_owned(),
                max_version_level: level,
                min_version_level: level,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

/// The answer to a version of ApiVersions that is not served; it goes out in version 0, which every client can read.
pub(crate) fn unsupported_version() -> ApiVersionsResponse {
    let api_keys = served().into_iter().filter(|api| api.api_key == ApiKey::ApiVersions.code()).collect();
    ApiVersionsResponse { error_code: ErrorCode::UnsupportedVersion.code(), api_keys, ..Default::default() }
}

fn served() -> Vec<ApiVersion> {
    let mut served: Vec<ApiVersion> = dispatch::SERVED
        .iter()
        .map(|api| ApiVersion {
            api_key: api.key.code(),
            min_version: if api.key == ApiKey::Produce { 0 } else { api.min },
            max_version: api.max,
            ..Default::default()
        })
        .collect();
    served.sort_by_key(|api| api.api_key);
    served
}

/// What this broker registered with.
fn supported(image: &MetadataImage, node_id: i32, version: i16) -> Vec<SupportedFeatureKey> {
    let Some(registration) = image.cluster.broker(node_id) else { return Vec::new() };
    let shown = registration.supported_features.iter().filter(|&(_, &(min, _))| version >= 4 || min > 0);
    shown
        .map(|(name, &(min_version, max_version))| SupportedFeatureKey {
            name: name.clone(),
            min_version,
            max_version,
            ..Default::default()
        })
        .collect()
}

/// Letters, digits, and inside also `-` and `.`.
fn is_software_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    name.chars().all(inner) && !name.is_empty() && !name.starts_with(['-', '.']) && !name.ends_with(['-', '.'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_names_are_plain() {
        assert!(["a", "apache-kafka-java", "4.3.0", "sarama"].into_iter().all(is_software_name));
        assert!(!["", "-a", "a-", "a b", "ä", "a_b"].into_iter().any(is_software_name));
    }

    #[test]
    fn produce_is_announced_from_version_0() {
        let produce = served().into_iter().find(|api| api.api_key == ApiKey::Produce.code());
        assert!(produce.is_none_or(|api| api.min_version == 0));
    }
}
