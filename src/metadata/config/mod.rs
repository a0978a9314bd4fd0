//! What Kafka 4.3 knows about its configs: names, types, defaults, validators, update modes and synonyms of broker, topic, group and
//! client metrics configs.
//!
//! Invariant: this module knows definitions only. Which value is in force on a node is decided in `broker::config`.
//! Invariant: the texts of [`ConfigError`] are Kafka's own; clients and tools print them as they are.
//!
//! Sources: `ConfigDef`, `AbstractKafkaConfig`, `LogConfig`, `GroupConfig`, `ClientMetricsConfigs`, `DynamicBrokerConfig`.

mod broker;
mod client_metrics;
pub mod documentation;
mod group;
pub mod rules;
pub mod synonyms;
mod topic;
mod validator;
mod value;

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

pub use validator::Validator;
pub use value::ConfigValue;
pub(crate) use value::double_text;

/// The type of a config's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigType {
    Boolean,
    String,
    Int,
    Short,
    Long,
    Double,
    List,
    Class,
    Password,
}

impl ConfigType {
    /// The code of this type in a DescribeConfigs response; 0 stands for a config that nobody knows.
    pub fn code(self) -> i8 {
        match self {
            ConfigType::Boolean => 1,
            ConfigType::String => 2,
            ConfigType::Int => 3,
            ConfigType::Short => 4,
            ConfigType::Long => 5,
            ConfigType::Double => 6,
            ConfigType::List => 7,
            ConfigType::Class => 8,
            ConfigType::Password => 9,
        }
    }

    /// Java's name of the type, as error texts have it.
    pub fn name(self) -> &'static str {
        match self {
            ConfigType::Boolean => "BOOLEAN",
            ConfigType::String => "STRING",
            ConfigType::Int => "INT",
            ConfigType::Short => "SHORT",
            ConfigType::Long => "LONG",
            ConfigType::Double => "DOUBLE",
            ConfigType::List => "LIST",
            ConfigType::Class => "CLASS",
            ConfigType::Password => "PASSWORD",
        }
    }
}

/// How much a config matters to who runs a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Importance {
    High,
    Medium,
    Low,
}

/// Whether a broker config can be changed while the node runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateMode {
    /// Only by a restart.
    ReadOnly,
    /// For one broker at a time.
    PerBroker,
    /// For one broker or as the default of all.
    ClusterWide,
}

/// The value of a config that nobody set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultValue {
    /// There is none: it must be set.
    Required,
    /// Java's null: unset.
    Null,
    /// This text, parsed as the config's type.
    Text(&'static str),
}

/// One config.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    pub name: &'static str,
    pub config_type: ConfigType,
    pub default: DefaultValue,
    pub validator: Validator,
    pub importance: Importance,
    /// Internal configs can be set, but are described only when they are.
    pub internal: bool,
    /// Of a broker config; topic, group and client metrics configs can always be changed.
    pub update_mode: UpdateMode,
    /// The broker config that gives the default of this topic or group config.
    pub synonym: Option<&'static str>,
}

impl Definition {
    /// Sensitive values are never shown to a client.
    pub fn is_sensitive(&self) -> bool {
        self.config_type == ConfigType::Password
    }

    /// Parses and validates the text of a value.
    pub fn parse(&self, text: &str) -> Result<ConfigValue, ConfigError> {
        self.validated(ConfigValue::parse(self.name, self.config_type, text)?)
    }

    /// The value when nobody sets one, or an error for a required config.
    pub fn default_value(&self) -> Result<ConfigValue, ConfigError> {
        match self.default {
            DefaultValue::Required => {
                Err(ConfigError::Config(format!("Missing required configuration \"{}\" which has no default value.", self.name)))
            }
            DefaultValue::Null => Ok(ConfigValue::Null),
            DefaultValue::Text(text) => self.parse(text),
        }
    }

    fn validated(&self, mut value: ConfigValue) -> Result<ConfigValue, ConfigError> {
        if self.validator.wants_distinct_values() {
            value.remove_duplicates();
        }
        self.validator.ensure_valid(self.name, &value)?;
        Ok(value)
    }

    const fn internal(mut self) -> Definition {
        self.internal = true;
        self
    }

    const fn per_broker(mut self) -> Definition {
        self.update_mode = UpdateMode::PerBroker;
        self
    }

    const fn cluster_wide(mut self) -> Definition {
        self.update_mode = UpdateMode::ClusterWide;
        self
    }

    const fn synonym(mut self, broker_config: &'static str) -> Definition {
        self.synonym = Some(broker_config);
        self
    }
}

const fn define(
    name: &'static str,
    config_type: ConfigType,
    default: &'static str,
    validator: Validator,
    importance: Importance,
) -> Definition {
    definition(name, config_type, DefaultValue::Text(default), validator, importance)
}

const fn no_default(name: &'static str, config_type: ConfigType, validator: Validator, importance: Importance) -> Definition {
    definition(name, config_type, DefaultValue::Null, validator, importance)
}

const fn required(name: &'static str, config_type: ConfigType, validator: Validator, importance: Importance) -> Definition {
    definition(name, config_type, DefaultValue::Required, validator, importance)
}

const fn definition(
    name: &'static str,
    config_type: ConfigType,
    default: DefaultValue,
    validator: Validator,
    importance: Importance,
) -> Definition {
    Definition { name, config_type, default, validator, importance, internal: false, update_mode: UpdateMode::ReadOnly, synonym: None }
}

/// Why a config was refused, with Kafka's text. The variants are Kafka's exception classes, because the error code that a client sees
/// depends on which of them came from where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// `ConfigException`: a value of the wrong type or out of its bounds.
    #[error("{0}")]
    Config(String),
    /// `InvalidConfigurationException`: error code INVALID_CONFIG.
    #[error("{0}")]
    InvalidConfiguration(String),
    /// `InvalidRequestException`: error code INVALID_REQUEST.
    #[error("{0}")]
    InvalidRequest(String),
    /// `InvalidTopicException`: error code INVALID_TOPIC_EXCEPTION.
    #[error("{0}")]
    InvalidTopic(String),
    /// Scala's failed `require`: settings that contradict each other. Kafka tells clients so with "requirement failed: " before the text.
    #[error("{0}")]
    Requirement(String),
}

impl ConfigError {
    /// The error of a value that does not fit: `value` as Java prints it.
    pub fn invalid_value(name: &str, value: impl std::fmt::Display, reason: &str) -> ConfigError {
        ConfigError::Config(format!("Invalid value {value} for configuration {name}: {reason}"))
    }
}

/// The configs of one kind of resource.
pub struct ConfigDef {
    definitions: Vec<&'static Definition>,
    by_name: HashMap<&'static str, &'static Definition>,
    /// Indexes into `definitions`, in the order of a Java hash map.
    hash_order: Vec<usize>,
}

/// Parsed values by name: every defined config has one.
pub type ConfigValues = HashMap<&'static str, ConfigValue>;

impl ConfigDef {
    fn new(definitions: impl IntoIterator<Item = &'static Definition>) -> ConfigDef {
        let definitions: Vec<_> = definitions.into_iter().collect();
        let by_name = definitions.iter().map(|definition| (definition.name, *definition)).collect();
        let hash_order = java_hash_map_order(definitions.iter().map(|definition| definition.name));
        ConfigDef { definitions, by_name, hash_order }
    }

    /// The definition of a config, if there is such a config.
    pub fn get(&self, name: &str) -> Option<&'static Definition> {
        self.by_name.get(name).copied()
    }

    /// All definitions, in the order in which Kafka defines them.
    pub fn iter(&self) -> impl Iterator<Item = &'static Definition> + '_ {
        self.definitions.iter().copied()
    }

    /// The definitions that are described although nobody set them, in the order in which Kafka lists them in a response.
    pub fn described(&self) -> impl Iterator<Item = &'static Definition> + '_ {
        self.hash_order.iter().map(|&index| self.definitions[index]).filter(|definition| !definition.internal)
    }

    /// Parses and validates every defined config, taking defaults for those that `texts` lacks; unknown names are not looked at.
    pub fn parse(&self, texts: &BTreeMap<String, String>) -> Result<ConfigValues, ConfigError> {
        let value_of = |definition: &'static Definition| match texts.get(definition.name) {
            Some(text) => definition.parse(text),
            None => definition.default_value(),
        };
        self.iter().map(|definition| Ok((definition.name, value_of(definition)?))).collect()
    }
}

/// The configs of a node: `server.properties`.
pub fn broker() -> &'static ConfigDef {
    static DEF: LazyLock<ConfigDef> = LazyLock::new(|| ConfigDef::new(broker::BROKER));
    &DEF
}

/// The configs of a topic.
pub fn topic() -> &'static ConfigDef {
    static DEF: LazyLock<ConfigDef> = LazyLock::new(|| ConfigDef::new(topic::TOPIC));
    &DEF
}

/// The configs of a group.
pub fn group() -> &'static ConfigDef {
    static DEF: LazyLock<ConfigDef> = LazyLock::new(|| ConfigDef::new(group::GROUP));
    &DEF
}

/// The configs of a client metrics subscription.
pub fn client_metrics() -> &'static ConfigDef {
    static DEF: LazyLock<ConfigDef> = LazyLock::new(|| ConfigDef::new(client_metrics::CLIENT_METRICS));
    &DEF
}

/// The broker configs that can be changed while the node runs, the replication quotas that exist only so among them.
pub fn dynamic_broker() -> &'static ConfigDef {
    static DEF: LazyLock<ConfigDef> = LazyLock::new(|| {
        let dynamic = broker::BROKER.iter().filter(|definition| definition.update_mode != UpdateMode::ReadOnly);
        ConfigDef::new(broker::REPLICATION_QUOTAS.iter().chain(dynamic))
    });
    &DEF
}

/// The order in which a `java.util.HashMap`, filled in the order of `names`, lists them. Kafka answers DescribeConfigs in this order.
fn java_hash_map_order<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> Vec<usize> {
    // A map of 16 buckets doubles whenever it holds more than three quarters of its buckets; a doubling keeps the order in a bucket.
    let mut buckets = 16usize;
    while names.len() * 4 > buckets * 3 {
        buckets *= 2;
    }
    let bucket_of = |name: &str| {
        let hash = name.encode_utf16().fold(0u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)));
        (hash ^ (hash >> 16)) as usize & (buckets - 1)
    };
    let mut order: Vec<(usize, usize)> = names.enumerate().map(|(index, name)| (bucket_of(name), index)).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, index)| index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_valid() {
        for def in [broker(), topic(), group(), client_metrics(), dynamic_broker()] {
            for definition in def.iter().filter(|definition| definition.default != DefaultValue::Required) {
                definition.default_value().unwrap_or_else(|error| panic!("{}: {error}", definition.name));
            }
        }
    }

    #[test]
    fn no_config_is_defined_twice() {
        for def in [broker(), topic(), group(), client_metrics(), dynamic_broker()] {
            assert_eq!(def.definitions.len(), def.by_name.len());
        }
    }

    #[test]
    fn every_synonym_is_a_broker_config_of_the_same_type() {
        for definition in topic().iter().chain(group().iter()) {
            if let Some(synonym) = definition.synonym {
                let broker = broker().get(synonym).unwrap_or_else(|| panic!("{synonym}"));
                assert_eq!(broker.config_type, definition.config_type, "{synonym}");
            }
        }
    }

    #[test]
    fn a_missing_required_config_is_named() {
        let error = broker().parse(&BTreeMap::new()).expect_err("process.roles has no default");
        assert_eq!(error.to_string(), "Missing required configuration \"process.roles\" which has no default value.");
    }

    #[test]
    fn the_order_of_a_response_is_that_of_javas_hash_map() {
        // A kind of resource and a config's name a line, as Kafka 4.3 lists them.
        let recorded = include_str!("../../../tests/golden/configs/order.txt");
        let kinds = [("broker", broker()), ("topic", topic()), ("group", group()), ("client-metrics", client_metrics())];
        let ours = kinds.iter().flat_map(|(kind, def)| def.described().map(move |definition| format!("{kind} {}", definition.name)));
        assert_eq!(ours.collect::<Vec<_>>(), recorded.lines().collect::<Vec<_>>());
    }
}
