//! The controller's view of configs: their definitions with this node's properties behind them.
//!
//! Sources: `KafkaConfigSchema`, `ControllerConfigurationValidator`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::DynamicConfig;
use crate::common::topic_name;
use crate::metadata::config::{self, ConfigDef, ConfigError, ConfigType, DefaultValue, Definition, rules, synonyms};
use crate::metadata::image::{ConfigResource, ConfigResourceType};
use crate::metadata::schema::{ConfigSchema, EffectiveConfig, InvalidConfig};
use crate::protocol::error_code::ErrorCode;

type Properties = BTreeMap<String, String>;

const DYNAMIC_TOPIC: i8 = 1;
const DYNAMIC_BROKER: i8 = 2;
const DYNAMIC_DEFAULT_BROKER: i8 = 3;
const STATIC_BROKER: i8 = 4;
const DEFAULT: i8 = 5;

/// The definitions of all configs, and those of one node.
pub struct NodeConfigSchema {
    /// What may be set on topics and groups depends on what is in force; what a topic inherits, on the node's own properties, because
    /// the controller has the dynamic configs of each broker itself.
    config: Arc<DynamicConfig>,
}

impl NodeConfigSchema {
    /// The schema of a controller on the node of these configs.
    pub fn new(config: Arc<DynamicConfig>) -> NodeConfigSchema {
        NodeConfigSchema { config }
    }

    /// The value of a topic config and where it comes from.
    fn resolve(
        &self,
        definition: &'static Definition,
        topic: &Properties,
        broker: &Properties,
        cluster: &Properties,
    ) -> (Option<String>, i8) {
        if let Some(value) = topic.get(definition.name) {
            return (Some(value.clone()), DYNAMIC_TOPIC);
        }
        let synonyms = synonyms::of_topic_config(definition.name);
        let layers =
            [(broker, DYNAMIC_BROKER), (cluster, DYNAMIC_DEFAULT_BROKER), (self.config.static_config().originals(), STATIC_BROKER)];
        for (layer, source) in layers {
            if let Some((value, unit_ms)) = synonyms.iter().find_map(|(name, unit_ms)| Some((layer.get(*name)?, *unit_ms))) {
                return (Some(in_milliseconds(value, unit_ms)), source);
            }
        }
        (default_text(definition), DEFAULT)
    }
}

/// Converts hours and minutes; a text that is no number stays as it is, because it never was a valid config.
fn in_milliseconds(text: &str, unit_ms: i64) -> String {
    match text.trim().parse::<i64>() {
        Ok(count) if unit_ms != 1 => count.saturating_mul(unit_ms).to_string(),
        _ => text.to_owned(),
    }
}

fn default_text(definition: &Definition) -> Option<String> {
    match definition.default {
        DefaultValue::Text(text) => Some(text.to_owned()),
        DefaultValue::Required | DefaultValue::Null => None,
    }
}

fn definitions(type_: ConfigResourceType) -> Option<&'static ConfigDef> {
    match type_ {
        ConfigResourceType::Topic => Some(config::topic()),
        ConfigResourceType::Broker => Some(config::broker()),
        ConfigResourceType::Group => Some(config::group()),
        ConfigResourceType::ClientMetrics => Some(config::client_metrics()),
        ConfigResourceType::BrokerLogger => None,
    }
}

impl ConfigSchema for NodeConfigSchema {
    fn is_list(&self, type_: ConfigResourceType, name: &str) -> bool {
        definitions(type_)
            .and_then(|definitions| definitions.get(name))
            .is_some_and(|definition| definition.config_type == ConfigType::List)
    }

    fn default_value(&self, type_: ConfigResourceType, name: &str) -> Option<String> {
        default_text(definitions(type_)?.get(name)?)
    }

    fn validate(
        &self,
        resource: &ConfigResource,
        configs: &BTreeMap<String, Option<String>>,
        existing: &Properties,
    ) -> Result<(), InvalidConfig> {
        validate_name(resource)?;
        let set = || {
            let nulls: Vec<&str> = configs.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| name.as_str()).collect();
            if nulls.is_empty() {
                return Ok(configs.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect::<Properties>());
            }
            let kind = match resource.type_ {
                ConfigResourceType::Topic => "topic",
                ConfigResourceType::ClientMetrics => "client metrics",
                _ => "group",
            };
            Err(ConfigError::InvalidConfiguration(format!("Null value not supported for {kind} configs: {}", nulls.join(","))))
        };
        let checked = match resource.type_ {
            ConfigResourceType::Topic => set().and_then(|configs| {
                let current = self.config.current();
                let tiered = current.value("remote.log.storage.system.enable").as_bool().unwrap_or(false);
                rules::validate_topic(existing, &configs, &current.topic_defaults(), tiered).map(drop)
            }),
            ConfigResourceType::ClientMetrics => set().and_then(|configs| rules::validate_client_metrics(&resource.name, &configs)),
            ConfigResourceType::Group => set().and_then(|configs| rules::validate_group(&configs, self.config.current().values())),
            ConfigResourceType::Broker | ConfigResourceType::BrokerLogger => Ok(()),
        };
        checked.map_err(InvalidConfig::from)
    }

    fn effective_topic_value(&self, name: &str, topic: &Properties, broker: &Properties, cluster: &Properties) -> Option<String> {
        self.resolve(config::topic().get(name)?, topic, broker, cluster).0
    }

    fn effective_topic_configs(&self, topic: &Properties, broker: &Properties, cluster: &Properties) -> Vec<EffectiveConfig> {
        let mut configs: Vec<EffectiveConfig> = config::topic()
            .iter()
            .filter(|definition| !definition.internal || topic.contains_key(definition.name))
            .map(|definition| {
                let (value, source) = self.resolve(definition, topic, broker, cluster);
                EffectiveConfig {
                    name: definition.name.to_owned(),
                    value,
                    read_only: false,
                    source,
                    is_sensitive: definition.is_sensitive(),
                }
            })
            .collect();
        configs.sort_by(|a, b| a.name.cmp(&b.name));
        configs
    }

    fn default_replication_factor(&self) -> i16 {
        i16::try_from(self.config.static_config().default_replication_factor).unwrap_or(i16::MAX)
    }

    fn default_num_partitions(&self) -> i32 {
        self.config.static_config().num_partitions
    }

    fn static_min_insync_replicas(&self) -> i32 {
        self.config.static_config().min_insync_replicas
    }
}

fn validate_name(resource: &ConfigResource) -> Result<(), InvalidConfig> {
    let invalid_request = |message: &str| Err(InvalidConfig { code: ErrorCode::InvalidRequest, message: message.to_owned() });
    match resource.type_ {
        ConfigResourceType::Topic if resource.name.is_empty() => invalid_request("Default topic resources are not allowed."),
        ConfigResourceType::Topic => {
            topic_name::validate(&resource.name).map_err(|message| InvalidConfig { code: ErrorCode::InvalidTopicException, message })
        }
        ConfigResourceType::Broker if resource.name.is_empty() => Ok(()),
        ConfigResourceType::Broker => match resource.name.parse::<i32>() {
            Err(_) => invalid_request("Unable to parse broker name as a base 10 number."),
            Ok(id) if id < 0 => invalid_request("Invalid negative broker ID."),
            Ok(_) => Ok(()),
        },
        ConfigResourceType::Group if resource.name.is_empty() => invalid_request("Default group resources are not allowed."),
        ConfigResourceType::Group | ConfigResourceType::ClientMetrics => Ok(()),
        ConfigResourceType::BrokerLogger => invalid_request("Unknown resource type BROKER_LOGGER"),
    }
}

impl From<ConfigError> for InvalidConfig {
    /// What the controller makes of each of Kafka's exceptions.
    fn from(error: ConfigError) -> InvalidConfig {
        let code = match &error {
            ConfigError::Config(_) | ConfigError::InvalidConfiguration(_) | ConfigError::Requirement(_) => ErrorCode::InvalidConfig,
            ConfigError::InvalidRequest(_) => ErrorCode::InvalidRequest,
            ConfigError::InvalidTopic(_) => ErrorCode::InvalidTopicException,
        };
        InvalidConfig { code, message: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::BrokerConfig;
    use super::*;

    fn properties(pairs: &[(&str, &str)]) -> Properties {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn schema(pairs: &[(&str, &str)]) -> NodeConfigSchema {
        let config = BrokerConfig::from_properties(&properties(pairs)).expect("valid");
        NodeConfigSchema::new(Arc::new(DynamicConfig::new(Arc::new(config))))
    }

    fn refusal(resource: (ConfigResourceType, &str), configs: &[(&str, Option<&str>)]) -> (ErrorCode, String) {
        let resource = ConfigResource { type_: resource.0, name: resource.1.to_owned() };
        let configs = configs.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect();
        let refused = schema(&[]).validate(&resource, &configs, &Properties::new()).expect_err("refused");
        (refused.code, refused.message)
    }

    #[test]
    fn the_nearest_layer_gives_the_value_of_a_topic_config() {
        let schema = schema(&[("log.retention.hours", "2"), ("log.retention.minutes", "5")]);
        let none = Properties::new();
        let value = |topic: &Properties, broker: &Properties, cluster: &Properties| {
            schema.resolve(config::topic().get("retention.ms").expect("defined"), topic, broker, cluster)
        };
        assert_eq!(value(&none, &none, &none), (Some("300000".to_owned()), STATIC_BROKER));
        let cluster = properties(&[("log.retention.ms", "3")]);
        assert_eq!(value(&none, &none, &cluster), (Some("3".to_owned()), DYNAMIC_DEFAULT_BROKER));
        let broker = properties(&[("log.retention.hours", "1")]);
        assert_eq!(value(&none, &broker, &cluster), (Some("3600000".to_owned()), DYNAMIC_BROKER));
        let topic = properties(&[("retention.ms", "1")]);
        assert_eq!(value(&topic, &broker, &cluster), (Some("1".to_owned()), DYNAMIC_TOPIC));
        assert_eq!(schema.effective_topic_value("segment.ms", &none, &none, &none), Some("604800000".to_owned()));
    }

    #[test]
    fn refusals_have_kafkas_code_and_text() {
        use ConfigResourceType::{Broker, Group, Topic};
        assert_eq!(
            refusal((Topic, "t"), &[("retention", Some("1"))]),
            (ErrorCode::InvalidConfig, "Unknown topic config name: retention".to_owned())
        );
        assert_eq!(
            refusal((Topic, "t"), &[("retention.ms", Some("x"))]),
            (ErrorCode::InvalidConfig, "Invalid value x for configuration retention.ms: Not a number of type LONG".to_owned())
        );
        assert_eq!(
            refusal((Topic, "t"), &[("retention.ms", None)]),
            (ErrorCode::InvalidConfig, "Null value not supported for topic configs: retention.ms".to_owned())
        );
        assert_eq!(refusal((Topic, ""), &[]), (ErrorCode::InvalidRequest, "Default topic resources are not allowed.".to_owned()));
        assert_eq!(refusal((Broker, "x"), &[]).0, ErrorCode::InvalidRequest);
        assert_eq!(refusal((Group, ""), &[]).1, "Default group resources are not allowed.");
    }

    #[test]
    fn lists_are_known() {
        let schema = schema(&[]);
        assert!(schema.is_list(ConfigResourceType::Topic, "cleanup.policy"));
        assert!(!schema.is_list(ConfigResourceType::Topic, "retention.ms"));
        assert_eq!(schema.default_value(ConfigResourceType::Topic, "cleanup.policy").as_deref(), Some("delete"));
    }
}
