//! What the controller must know about configs: a trait, so that the controller does not depend on their definitions.
//!
//! Source: Kafka's `KafkaConfigSchema` and `ConfigurationValidator`.

use std::collections::BTreeMap;

use super::image::{ConfigResource, ConfigResourceType};
use crate::protocol::error_code::ErrorCode;

/// A config of a topic with everything that has a say in it applied, as CreateTopics answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveConfig {
    pub name: String,
    /// `None` for a sensitive config, or one without a value.
    pub value: Option<String>,
    pub read_only: bool,
    /// The protocol's config source: 1 dynamic topic, 2 dynamic broker, 3 dynamic default broker, 4 static broker, 5 default.
    pub source: i8,
    pub is_sensitive: bool,
}

/// Why configs were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidConfig {
    pub code: ErrorCode,
    /// Kafka's text.
    pub message: String,
}

/// The definitions of all configs together with this node's static ones.
pub trait ConfigSchema: Send + Sync {
    /// Is the config a list, to which values can be appended?
    fn is_list(&self, type_: ConfigResourceType, name: &str) -> bool;

    /// The default of a config of `type_`; for a topic config that of its definition, not that of the broker.
    fn default_value(&self, type_: ConfigResourceType, name: &str) -> Option<String>;

    /// May `configs` be what is set on `resource`, in which `existing` is set now? Judges the resource's name too.
    /// `configs` holds all that would be set, unchanged keys included; a null value is itself an error for some types.
    fn validate(
        &self,
        resource: &ConfigResource,
        configs: &BTreeMap<String, Option<String>>,
        existing: &BTreeMap<String, String>,
    ) -> Result<(), InvalidConfig>;

    /// The value a topic config has when `topic`, `broker` and `cluster` (the dynamic broker configs) are set: with the
    /// static configs and the defaults behind them. `None` when it has none.
    fn effective_topic_value(
        &self,
        name: &str,
        topic: &BTreeMap<String, String>,
        broker: &BTreeMap<String, String>,
        cluster: &BTreeMap<String, String>,
    ) -> Option<String>;

    /// All configs of a topic, in the order of their names, for the answer to CreateTopics.
    fn effective_topic_configs(
        &self,
        topic: &BTreeMap<String, String>,
        broker: &BTreeMap<String, String>,
        cluster: &BTreeMap<String, String>,
    ) -> Vec<EffectiveConfig>;

    /// `default.replication.factor` of the static configs.
    fn default_replication_factor(&self) -> i16;

    /// `num.partitions` of the static configs.
    fn default_num_partitions(&self) -> i32;

    /// `min.insync.replicas` of the static configs.
    fn static_min_insync_replicas(&self) -> i32;
}
