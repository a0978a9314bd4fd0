//! ListConfigResources 0-1: the resources that have configs; version 0 is the old ListClientMetricsResources. Source: `KafkaApis`.
//!
//! Groups and client metrics subscriptions are listed once configs are set on them; brokers and topics always.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::metadata::image::{ConfigResourceType, MetadataImage};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::list_config_resources_response::ConfigResource;
use crate::protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};

/// In the order of the response.
const TYPES: [ConfigResourceType; 5] = [
    ConfigResourceType::Group,
    ConfigResourceType::ClientMetrics,
    ConfigResourceType::BrokerLogger,
    ConfigResourceType::Broker,
    ConfigResourceType::Topic,
];

pub(crate) async fn handle(broker: &Arc<Broker>, ctx: &RequestContext, request: ListConfigResourcesRequest) -> ListConfigResourcesResponse {
    let supported = if ctx.api_version == 0 { &[ConfigResourceType::ClientMetrics][..] } else { &TYPES[..] };
    let is_supported = |code: &i8| supported.iter().any(|type_| type_.code() == *code);
    if !request.resource_types.iter().all(is_supported) {
        return ListConfigResourcesResponse { error_code: ErrorCode::UnsupportedVersion.code(), ..Default::default() };
    }
    let wanted = |type_: &&ConfigResourceType| request.resource_types.is_empty() || request.resource_types.contains(&type_.code());
    let image = broker.image();
    let config_resources = supported
        .iter()
        .filter(wanted)
        .flat_map(|&type_| {
            names(&image, type_, &ctx.listener_name).into_iter().map(move |resource_name| ConfigResource {
                resource_name,
                resource_type: type_.code(),
                ..Default::default()
            })
        })
        .collect();
    ListConfigResourcesResponse { config_resources, ..Default::default() }
}

fn names(image: &MetadataImage, type_: ConfigResourceType, listener_name: &str) -> Vec<String> {
    match type_ {
        ConfigResourceType::Topic => image.topics.iter().map(|topic| topic.name.clone()).collect(),
        ConfigResourceType::Broker | ConfigResourceType::BrokerLogger => {
            let reachable = image.cluster.brokers.values().filter(|broker| broker.listener(listener_name).is_some());
            reachable.map(|broker| broker.id.to_string()).collect()
        }
        ConfigResourceType::ClientMetrics | ConfigResourceType::Group => {
            image.configs.iter().filter(|(resource, _)| resource.type_ == type_).map(|(resource, _)| resource.name.clone()).collect()
        }
    }
}
