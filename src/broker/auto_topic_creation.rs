//! Topics that come into being because somebody asked for them: a client's metadata request for a topic that is not there, or the first
//! request for a coordinator, whose state lives in a topic. Source: `AutoTopicCreationManager`.
//!
//! Differs: Kafka answers the first request with UNKNOWN_TOPIC_OR_PARTITION while the topic is being created; here the request waits for
//! the topic, so that a client needs no second one.

use std::sync::Arc;

use tracing::{info, warn};

use super::config::BrokerConfig;
use super::request_context::RequestContext;
use super::server::Broker;
use crate::common::topic_name;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::CreateTopicsRequest;
use crate::protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};

/// "The controller's default", for partitions and replicas.
const NONE: i16 = -1;

/// Creates those of `names` that may be created, with the broker's defaults. Gives the names that now exist neither, with the reason;
/// when it returns, the others are in the image.
pub(crate) async fn create(broker: &Arc<Broker>, _ctx: &RequestContext, names: &[&str]) -> Vec<(String, ErrorCode)> {
    let (creatable, invalid): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| topic_name::validate(name).is_ok());
    let mut refused: Vec<(String, ErrorCode)> =
        invalid.into_iter().map(|name| (name.to_owned(), ErrorCode::InvalidTopicException)).collect();
    if creatable.is_empty() {
        return refused;
    }
    let config = broker.config();
    let request = CreateTopicsRequest {
        topics: creatable.iter().map(|name| creatable_topic(&config, name)).collect(),
        timeout_ms: config.request_timeout_ms,
        ..Default::default()
    };
    for result in broker.controller.create_topics(request).await.topics {
        match ErrorCode::from_code(result.error_code) {
            ErrorCode::None => info!("created topic {} because it was asked for", result.name),
            // Somebody else was faster.
            ErrorCode::TopicAlreadyExists => {}
            code => {
                let text = result.error_message.as_deref().unwrap_or(code.message());
                warn!("topic {} could not be created: {} ({text})", result.name, code.name());
                refused.push((result.name, ErrorCode::UnknownTopicOrPartition));
            }
        }
    }
    refused
}

/// How a topic is created of which only the name is known.
fn creatable_topic(config: &BrokerConfig, name: &str) -> CreatableTopic {
    let (num_partitions, replication_factor, configs) = match name {
        topic_name::CONSUMER_OFFSETS => (
            config.offsets_topic_num_partitions,
            config.offsets_topic_replication_factor,
            vec![
                ("cleanup.policy", "compact".to_owned()),
                ("compression.type", "producer".to_owned()),
                ("segment.bytes", config.offsets_topic_segment_bytes.to_string()),
            ],
        ),
        topic_name::TRANSACTION_STATE => (
            config.transaction_state_log_num_partitions,
            config.transaction_state_log_replication_factor,
            vec![
                ("cleanup.policy", "compact".to_owned()),
                ("compression.type", "uncompressed".to_owned()),
                ("min.insync.replicas", config.transaction_state_log_min_isr.to_string()),
                ("segment.bytes", config.transaction_state_log_segment_bytes.to_string()),
                ("unclean.leader.election.enable", "false".to_owned()),
            ],
        ),
        topic_name::SHARE_GROUP_STATE => {
            let setting = |name: &str| config.long(&format!("share.coordinator.state.topic.{name}"));
            (
                i32::try_from(setting("num.partitions")).unwrap_or(i32::MAX),
                i16::try_from(setting("replication.factor")).unwrap_or(i16::MAX),
                vec![
                    ("cleanup.policy", "delete".to_owned()),
                    ("compression.type", "producer".to_owned()),
                    ("min.insync.replicas", setting("min.isr").to_string()),
                    ("retention.ms", "-1".to_owned()),
                    ("segment.bytes", setting("segment.bytes").to_string()),
                ],
            )
        }
        // The controller has defaults of its own; the broker's count only when somebody has set them.
        _ => {
            let is_set = |name: &str| config.originals().contains_key(name);
            let partitions = if is_set("num.partitions") { config.num_partitions } else { i32::from(NONE) };
            let replicas = if is_set("default.replication.factor") { config.default_replication_factor } else { i32::from(NONE) };
            (partitions, i16::try_from(replicas).unwrap_or(i16::MAX), Vec::new())
        }
    };
    let configs = configs
        .into_iter()
        .map(|(name, value)| CreatableTopicConfig { name: name.to_owned(), value: Some(value), ..Default::default() })
        .collect();
    CreatableTopic { name: name.to_owned(), num_partitions, replication_factor, configs, ..Default::default() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn config(pairs: &[(&str, &str)]) -> BrokerConfig {
        let properties = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>();
        BrokerConfig::from_properties(&properties).expect("valid")
    }

    #[test]
    fn a_topic_of_a_client_has_the_controllers_defaults_unless_the_broker_sets_its_own() {
        let topic = creatable_topic(&config(&[]), "t");
        assert_eq!((topic.num_partitions, topic.replication_factor, topic.configs.len()), (-1, -1, 0));
        let topic = creatable_topic(&config(&[("num.partitions", "4"), ("default.replication.factor", "2")]), "t");
        assert_eq!((topic.num_partitions, topic.replication_factor), (4, 2));
    }

    #[test]
    fn a_coordinators_topic_has_the_coordinators_configs() {
        let topic = creatable_topic(&config(&[("offsets.topic.num.partitions", "5")]), "__consumer_offsets");
        assert_eq!((topic.num_partitions, topic.replication_factor), (5, 1));
        let configs: Vec<_> = topic.configs.iter().map(|config| (config.name.as_str(), config.value.as_deref().unwrap_or(""))).collect();
        assert_eq!(configs, [("cleanup.policy", "compact"), ("compression.type", "producer"), ("segment.bytes", "104857600")]);
    }
}
