//! Configurations of topics, brokers, groups and the rest: describe and alter.

use std::collections::BTreeMap;
use std::fmt;

use super::{Admin, Results, spread};
use crate::client::error::{ApiError, ClientError};
use crate::client::pool::Use;
use crate::protocol::codec::Request;
use crate::protocol::messages::create_topics_response::CreatableTopicConfigs;
use crate::protocol::messages::describe_configs_request::DescribeConfigsResource;
use crate::protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use crate::protocol::messages::{
    AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest, alter_configs_request, incremental_alter_configs_request,
};

/// What can have a configuration. The numbers are the wire's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConfigResourceType {
    Unknown = 0,
    Topic = 2,
    Broker = 4,
    BrokerLogger = 8,
    ClientMetrics = 16,
    Group = 32,
}

impl ConfigResourceType {
    fn from_code(code: i8) -> ConfigResourceType {
        match code {
            2 => ConfigResourceType::Topic,
            4 => ConfigResourceType::Broker,
            8 => ConfigResourceType::BrokerLogger,
            16 => ConfigResourceType::ClientMetrics,
            32 => ConfigResourceType::Group,
            _ => ConfigResourceType::Unknown,
        }
    }
}

/// A thing with a configuration. A broker's name is its id; the empty name means the default of all brokers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConfigResource {
    pub type_: ConfigResourceType,
    pub name: String,
}

impl ConfigResource {
    pub fn new(type_: ConfigResourceType, name: impl Into<String>) -> ConfigResource {
        ConfigResource { type_, name: name.into() }
    }

    pub fn topic(name: impl Into<String>) -> ConfigResource {
        ConfigResource::new(ConfigResourceType::Topic, name)
    }

    /// The one broker that must be asked, as its own configuration is nobody else's.
    fn broker(&self) -> Option<i32> {
        match self.type_ {
            ConfigResourceType::Broker | ConfigResourceType::BrokerLogger => self.name.parse().ok(),
            _ => None,
        }
    }
}

/// Where a value comes from, under Kafka's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    Unknown,
    DynamicTopicConfig,
    DynamicBrokerConfig,
    DynamicDefaultBrokerConfig,
    StaticBrokerConfig,
    DefaultConfig,
    DynamicBrokerLoggerConfig,
    DynamicClientMetricsConfig,
    DynamicGroupConfig,
}

impl ConfigSource {
    fn from_code(code: i8) -> ConfigSource {
        match code {
            1 => ConfigSource::DynamicTopicConfig,
            2 => ConfigSource::DynamicBrokerConfig,
            3 => ConfigSource::DynamicDefaultBrokerConfig,
            4 => ConfigSource::StaticBrokerConfig,
            5 => ConfigSource::DefaultConfig,
            6 => ConfigSource::DynamicBrokerLoggerConfig,
            7 => ConfigSource::DynamicClientMetricsConfig,
            8 => ConfigSource::DynamicGroupConfig,
            _ => ConfigSource::Unknown,
        }
    }

    /// As Kafka's tools print it, for example `DYNAMIC_TOPIC_CONFIG`.
    pub fn name(self) -> &'static str {
        match self {
            ConfigSource::Unknown => "UNKNOWN",
            ConfigSource::DynamicTopicConfig => "DYNAMIC_TOPIC_CONFIG",
            ConfigSource::DynamicBrokerConfig => "DYNAMIC_BROKER_CONFIG",
            ConfigSource::DynamicDefaultBrokerConfig => "DYNAMIC_DEFAULT_BROKER_CONFIG",
            ConfigSource::StaticBrokerConfig => "STATIC_BROKER_CONFIG",
            ConfigSource::DefaultConfig => "DEFAULT_CONFIG",
            ConfigSource::DynamicBrokerLoggerConfig => "DYNAMIC_BROKER_LOGGER_CONFIG",
            ConfigSource::DynamicClientMetricsConfig => "DYNAMIC_CLIENT_METRICS_CONFIG",
            ConfigSource::DynamicGroupConfig => "DYNAMIC_GROUP_CONFIG",
        }
    }
}

impl fmt::Display for ConfigSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A value's type, under Kafka's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigType {
    Unknown,
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
    fn from_code(code: i8) -> ConfigType {
        match code {
            1 => ConfigType::Boolean,
            2 => ConfigType::String,
            3 => ConfigType::Int,
            4 => ConfigType::Short,
            5 => ConfigType::Long,
            6 => ConfigType::Double,
            7 => ConfigType::List,
            8 => ConfigType::Class,
            9 => ConfigType::Password,
            _ => ConfigType::Unknown,
        }
    }
}

/// A value that would hold if a stronger one did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSynonym {
    pub name: String,
    pub value: Option<String>,
    pub source: ConfigSource,
}

/// One configuration of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    pub name: String,
    /// `None` when it has none or is sensitive.
    pub value: Option<String>,
    pub source: ConfigSource,
    pub is_sensitive: bool,
    pub is_read_only: bool,
    pub synonyms: Vec<ConfigSynonym>,
    pub type_: ConfigType,
    pub documentation: Option<String>,
}

impl ConfigEntry {
    pub fn is_default(&self) -> bool {
        self.source == ConfigSource::DefaultConfig
    }
}

impl From<DescribeConfigsResourceResult> for ConfigEntry {
    fn from(config: DescribeConfigsResourceResult) -> ConfigEntry {
        let synonyms = config.synonyms.into_iter().map(|synonym| ConfigSynonym {
            name: synonym.name,
            value: synonym.value,
            source: ConfigSource::from_code(synonym.source),
        });
        ConfigEntry {
            name: config.name,
            value: config.value,
            source: ConfigSource::from_code(config.config_source),
            is_sensitive: config.is_sensitive,
            is_read_only: config.read_only,
            synonyms: synonyms.collect(),
            type_: ConfigType::from_code(config.config_type),
            documentation: config.documentation,
        }
    }
}

impl From<CreatableTopicConfigs> for ConfigEntry {
    fn from(config: CreatableTopicConfigs) -> ConfigEntry {
        ConfigEntry {
            name: config.name,
            value: config.value,
            source: ConfigSource::from_code(config.config_source),
            is_sensitive: config.is_sensitive,
            is_read_only: config.read_only,
            synonyms: Vec::new(),
            type_: ConfigType::Unknown,
            documentation: None,
        }
    }
}

/// What to do with one key. The numbers are the wire's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlterConfigOpType {
    Set = 0,
    Delete = 1,
    Append = 2,
    Subtract = 3,
}

/// A change of one key; `value` is `None` for deletions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterConfigOp {
    pub name: String,
    pub type_: AlterConfigOpType,
    pub value: Option<String>,
}

impl Admin {
    /// The configurations of resources; only `keys` if given. Synonyms and documentation on request.
    pub async fn describe_configs(
        &self,
        resources: &[ConfigResource],
        keys: Option<&[String]>,
        include_synonyms: bool,
        include_documentation: bool,
    ) -> Results<ConfigResource, Vec<ConfigEntry>> {
        let mut results = BTreeMap::new();
        for (broker, resources) in by_broker(resources.iter().cloned().map(|resource| (resource, ()))) {
            let request = DescribeConfigsRequest {
                resources: resources
                    .iter()
                    .map(|(resource, ())| DescribeConfigsResource {
                        resource_type: resource.type_ as i8,
                        resource_name: resource.name.clone(),
                        configuration_keys: keys.map(<[String]>::to_vec),
                        ..Default::default()
                    })
                    .collect(),
                include_synonyms,
                include_documentation,
                ..Default::default()
            };
            let outcome =
                self.retried("describeConfigs", || async { self.to_broker_or_any(broker, &request).await }).await.map(|response| {
                    let results = response.results.into_iter().map(|result| {
                        let resource = ConfigResource::new(ConfigResourceType::from_code(result.resource_type), result.resource_name);
                        let entries = result.configs.into_iter().map(ConfigEntry::from).collect();
                        (resource, ApiError::check(result.error_code, result.error_message).map(|()| entries))
                    });
                    results.collect()
                });
            results.extend(spread(resources.into_iter().map(|(resource, ())| resource), outcome));
        }
        results
    }

    /// Changes single keys of resources, or with `validate_only` asks whether it would work.
    pub async fn incremental_alter_configs(
        &self,
        changes: &BTreeMap<ConfigResource, Vec<AlterConfigOp>>,
        validate_only: bool,
    ) -> Results<ConfigResource, ()> {
        let mut results = BTreeMap::new();
        for (broker, changes) in by_broker(changes.iter().map(|(resource, ops)| (resource.clone(), ops))) {
            let config = |op: &AlterConfigOp| incremental_alter_configs_request::AlterableConfig {
                name: op.name.clone(),
                config_operation: op.type_ as i8,
                value: op.value.clone(),
                ..Default::default()
            };
            let request = IncrementalAlterConfigsRequest {
                resources: changes
                    .iter()
                    .map(|(resource, ops)| incremental_alter_configs_request::AlterConfigsResource {
                        resource_type: resource.type_ as i8,
                        resource_name: resource.name.clone(),
                        configs: ops.iter().map(config).collect(),
                        ..Default::default()
                    })
                    .collect(),
                validate_only,
                ..Default::default()
            };
            let outcome = self.retried("incrementalAlterConfigs", || async { self.to_broker_or_controller(broker, &request).await }).await;
            let outcome = outcome.map(|response| {
                let results = response.responses.into_iter().map(|result| {
                    let resource = ConfigResource::new(ConfigResourceType::from_code(result.resource_type), result.resource_name);
                    (resource, ApiError::check(result.error_code, result.error_message))
                });
                results.collect()
            });
            results.extend(spread(changes.into_iter().map(|(resource, _)| resource), outcome));
        }
        results
    }

    /// Replaces the whole dynamic configuration of resources: for brokers before Kafka 2.3, which cannot change single keys.
    pub async fn alter_configs(
        &self,
        configs: &BTreeMap<ConfigResource, BTreeMap<String, String>>,
        validate_only: bool,
    ) -> Results<ConfigResource, ()> {
        let mut results = BTreeMap::new();
        for (broker, configs) in by_broker(configs.iter().map(|(resource, configs)| (resource.clone(), configs))) {
            let config = |(name, value): (&String, &String)| alter_configs_request::AlterableConfig {
                name: name.clone(),
                value: Some(value.clone()),
                ..Default::default()
            };
            let request = AlterConfigsRequest {
                resources: configs
                    .iter()
                    .map(|(resource, configs)| alter_configs_request::AlterConfigsResource {
                        resource_type: resource.type_ as i8,
                        resource_name: resource.name.clone(),
                        configs: configs.iter().map(config).collect(),
                        ..Default::default()
                    })
                    .collect(),
                validate_only,
                ..Default::default()
            };
            let outcome = self.retried("alterConfigs", || async { self.to_broker_or_controller(broker, &request).await }).await;
            let outcome = outcome.map(|response| {
                let results = response.responses.into_iter().map(|result| {
                    let resource = ConfigResource::new(ConfigResourceType::from_code(result.resource_type), result.resource_name);
                    (resource, ApiError::check(result.error_code, result.error_message))
                });
                results.collect()
            });
            results.extend(spread(configs.into_iter().map(|(resource, _)| resource), outcome));
        }
        results
    }

    async fn to_broker_or_any<R: Request>(&self, broker: Option<i32>, request: &R) -> Result<R::Response, ClientError> {
        match broker {
            Some(broker) => Ok(self.cluster.connection(broker, Use::General).await?.send(request).await?),
            None => self.cluster.send_to_any(request).await,
        }
    }

    async fn to_broker_or_controller<R: Request>(&self, broker: Option<i32>, request: &R) -> Result<R::Response, ClientError> {
        match broker {
            Some(broker) => Ok(self.cluster.connection(broker, Use::General).await?.send(request).await?),
            None => self.cluster.send_to_controller(request).await,
        }
    }
}

fn by_broker<T>(resources: impl Iterator<Item = (ConfigResource, T)>) -> BTreeMap<Option<i32>, Vec<(ConfigResource, T)>> {
    let mut brokers: BTreeMap<Option<i32>, Vec<(ConfigResource, T)>> = BTreeMap::new();
    for (resource, value) in resources {
        brokers.entry(resource.broker()).or_default().push((resource, value));
    }
    brokers
}
