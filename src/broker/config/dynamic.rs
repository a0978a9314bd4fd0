//! The configs in force: the properties of the node, under what the cluster sets for all brokers, under what it sets for this one.
//!
//! Invariant: what is in force is always valid as a whole. A change that would make it invalid leaves it as it was (and is logged),
//! because a record in the metadata log cannot be refused any more.
//! Source: `DynamicBrokerConfig`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::watch;

use super::{BrokerConfig, Endpoint};
use crate::metadata::config::{self, ConfigError, UpdateMode, synonyms};
use crate::metadata::delta::MetadataDelta;
use crate::metadata::image::{ConfigResource, ConfigResourceType, MetadataImage};
use crate::metadata::publisher::Publisher;
use crate::storage::config::LogConfig;

type Properties = BTreeMap<String, String>;

/// Of the configs that are set per broker, those of a listener that are not.
const CLUSTER_WIDE_LISTENER_CONFIGS: [&str; 3] = ["max.connections", "max.connection.creation.rate", "num.network.threads"];

/// Thread counts that change by a factor of two at most.
const THREAD_COUNTS: [&str; 4] = ["num.io.threads", "num.replica.fetchers", "num.recovery.threads.per.data.dir", "background.threads"];

/// What is set where, and what that comes to.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// Set for all brokers of the cluster.
    pub(super) defaults: Properties,
    /// Set for this broker.
    pub(super) broker: Properties,
    pub(super) current: Arc<BrokerConfig>,
}

/// The configs in force on a node.
#[derive(Debug)]
pub struct DynamicConfig {
    static_config: Arc<BrokerConfig>,
    snapshot: watch::Sender<Arc<Snapshot>>,
}

impl DynamicConfig {
    /// What is in force before any metadata: the node's own properties.
    pub fn new(static_config: Arc<BrokerConfig>) -> DynamicConfig {
        let current = Arc::clone(&static_config);
        let snapshot = Snapshot { defaults: Properties::new(), broker: Properties::new(), current };
        DynamicConfig { static_config, snapshot: watch::Sender::new(Arc::new(snapshot)) }
    }

    /// The node's own properties.
    pub fn static_config(&self) -> &Arc<BrokerConfig> {
        &self.static_config
    }

    /// What is in force now.
    pub fn current(&self) -> Arc<BrokerConfig> {
        Arc::clone(&self.snapshot.borrow().current)
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.borrow())
    }

    /// The configs of `topic`, with what is set on it in `image` over what is in force here.
    pub fn log_config(&self, image: &MetadataImage, topic: &str) -> Arc<LogConfig> {
        let resource = ConfigResource { type_: ConfigResourceType::Topic, name: topic.to_owned() };
        let none = Properties::new();
        self.current().log_config(image.configs.resource(&resource).map_or(&none, |set| set))
    }

    /// Takes over what `image` sets for brokers. Returns whether anything is in force now that was not.
    pub fn update(&self, image: &MetadataImage) -> bool {
        let set_on = |resource: &ConfigResource| image.configs.resource(resource).map(|set| (**set).clone()).unwrap_or_default();
        let own = ConfigResource { type_: ConfigResourceType::Broker, name: self.static_config.node_id.to_string() };
        let defaults = applicable(set_on(&ConfigResource::broker_default()), false);
        let broker = applicable(set_on(&own), true);
        let old = self.snapshot();
        if (&defaults, &broker) == (&old.defaults, &old.broker) {
            return false;
        }
        match self.merged(&[&defaults, &broker]) {
            Ok(current) => {
                self.snapshot.send_replace(Arc::new(Snapshot { defaults, broker, current: Arc::new(current) }));
                true
            }
            Err(error) => {
                tracing::error!(%error, "the dynamic broker configs could not be applied and stay as they were");
                false
            }
        }
    }

    /// Would these be valid as all that is set on this broker (`per_broker`) or for all brokers?
    pub fn validate(&self, configs: &Properties, per_broker: bool) -> Result<(), ConfigError> {
        let none = |names: BTreeSet<&str>, text: &str| {
            if names.is_empty() {
                return Ok(());
            }
            let names: Vec<_> = names.into_iter().collect();
            Err(ConfigError::Config(format!("{text}: [{}]", names.join(", "))))
        };
        let named = |wanted: fn(&str) -> bool| configs.keys().map(String::as_str).filter(|name| wanted(name)).collect::<BTreeSet<_>>();
        none(named(is_static), "Cannot update these configs dynamically")?;
        none(named(is_security), "These security configs can be dynamically updated only per-listener using the listener prefix")?;
        validate_types(configs)?;
        if !per_broker {
            none(named(is_per_broker), "Cannot update these configs at default cluster level, broker id must be specified")?;
        }
        let snapshot = self.snapshot();
        let merged = if per_broker { self.merged(&[&snapshot.defaults, configs]) } else { self.merged(&[configs, &snapshot.broker]) };
        let merged = merged.map_err(|error| match error {
            ConfigError::Requirement(text) => ConfigError::Requirement(format!("requirement failed: {text}")),
            error => error,
        })?;
        self.validate_change(&merged)
    }

    /// The node's properties under each of `layers`. A config that is set in a layer hides its synonyms below.
    fn merged(&self, layers: &[&Properties]) -> Result<BrokerConfig, ConfigError> {
        let mut merged = self.static_config.originals().clone();
        for layer in layers {
            for (name, value) in *layer {
                if synonyms::without_listener_prefix(name).is_none() {
                    for synonym in synonyms::of_broker_config(name) {
                        merged.remove(synonym);
                    }
                }
                merged.insert(name.clone(), value.clone());
            }
        }
        BrokerConfig::reparsed(merged, &self.static_config)
    }

    /// What a node cannot do while it runs, although the configs are valid.
    fn validate_change(&self, new: &BrokerConfig) -> Result<(), ConfigError> {
        let current = self.current();
        for name in THREAD_COUNTS {
            let (old, new) = (current.long(name), new.long(name));
            let count = format!("Dynamic thread count update validation failed for {name}={new}");
            if new < old / 2 {
                return Err(refused(&format!("{count}, value should be at least half the current value {old}")));
            }
            if new > old * 2 {
                return Err(refused(&format!("{count}, value should not be greater than double the current value {old}")));
            }
        }
        let (old, new_threads) = (current.log_cleaner_threads, new.log_cleaner_threads);
        if new_threads < 1 {
            return Err(refused("Log cleaner threads should be at least 1"));
        } else if new_threads < old / 2 {
            return Err(refused(&format!("Log cleaner threads cannot be reduced to less than half the current value {old}")));
        } else if new_threads > old * 2 {
            return Err(refused(&format!("Log cleaner threads cannot be increased to more than double the current value {old}")));
        }
        for (name, whole, local) in [
            ("retention.ms", new.log_retention_ms(), new.long("log.local.retention.ms")),
            ("retention.bytes", new.long("log.retention.bytes"), new.long("log.local.retention.bytes")),
        ] {
            let reason = match local {
                -2 => continue,
                -1 if whole > -1 => format!("Value must not be -1 as log.{name} value is set as {whole}."),
                _ if whole > -1 && local > whole => format!("Value must not be more than log.{name} property value: {whole}"),
                _ => continue,
            };
            return Err(refused(&ConfigError::invalid_value(&format!("log.local.{name}"), local, &reason).to_string()));
        }
        let names = |endpoints: &[Endpoint]| endpoints.iter().map(|endpoint| endpoint.listener.clone()).collect::<Vec<_>>();
        let (advertised, listeners) = (names(&current.advertised_listeners), names(&new.listeners));
        if !advertised.iter().all(|listener| listeners.contains(listener)) {
            let sets = (advertised.join(", "), listeners.join(", "));
            return Err(refused(&format!("Advertised listeners 'Set({})' must be a subset of listeners 'Set({})'", sets.0, sets.1)));
        }
        Ok(())
    }
}

/// Kafka's text for a change that a part of the node cannot follow: its exception has cause and message mixed up.
fn refused(reason: &str) -> ConfigError {
    ConfigError::Config(format!(
        "Invalid value org.apache.kafka.common.config.ConfigException: {reason} for configuration Invalid dynamic configuration"
    ))
}

impl Publisher for DynamicConfig {
    fn name(&self) -> &str {
        "DynamicConfig"
    }

    fn publish(&self, _delta: &MetadataDelta, image: &Arc<MetadataImage>) {
        self.update(image);
    }
}

/// A broker config that only a restart changes.
fn is_static(name: &str) -> bool {
    config::broker().get(name).is_some_and(|definition| definition.update_mode == UpdateMode::ReadOnly)
}

/// A config of keys and certificates without the listener it is for.
fn is_security(name: &str) -> bool {
    const CONFIGS: [&str; 10] = [
        "ssl.keystore.type",
        "ssl.keystore.location",
        "ssl.keystore.password",
        "ssl.key.password",
        "ssl.keystore.certificate.chain",
        "ssl.keystore.key",
        "ssl.truststore.type",
        "ssl.truststore.location",
        "ssl.truststore.password",
        "ssl.truststore.certificates",
    ];
    CONFIGS.contains(&name)
}

/// A config that must not be set for all brokers at once.
fn is_per_broker(name: &str) -> bool {
    match synonyms::without_listener_prefix(name) {
        Some(base) => !CLUSTER_WIDE_LISTENER_CONFIGS.contains(&base),
        None => config::broker().get(name).is_some_and(|definition| definition.update_mode == UpdateMode::PerBroker),
    }
}

/// Does every value fit the type and bounds of its config?
fn validate_types(configs: &Properties) -> Result<(), ConfigError> {
    let text_of = |name: &str| {
        configs
            .get(name)
            .or_else(|| configs.iter().find(|(set, _)| synonyms::without_listener_prefix(set) == Some(name)).map(|(_, text)| text))
    };
    config::dynamic_broker()
        .iter()
        .filter_map(|definition| Some((definition, text_of(definition.name)?)))
        .try_for_each(|(definition, text)| definition.parse(text).map(drop))
}

/// Leaves out what cannot apply: static configs, values that do not fit, per-broker configs that are set for all.
fn applicable(mut configs: Properties, per_broker: bool) -> Properties {
    configs.retain(|name, text| {
        let fits = validate_types(&BTreeMap::from([(name.clone(), text.clone())])).is_ok();
        let applies = fits && !is_static(name) && !is_security(name) && (per_broker || !is_per_broker(name));
        if !applies {
            tracing::error!(config = name, per_broker, "a dynamic broker config is ignored");
        }
        applies
    });
    configs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::image::Provenance;
    use crate::metadata::record::MetadataRecord;
    use crate::protocol::messages::ConfigRecord;

    fn node(pairs: &[(&str, &str)]) -> DynamicConfig {
        let properties = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        DynamicConfig::new(Arc::new(BrokerConfig::from_properties(&properties).expect("valid")))
    }

    /// An image in which these configs are set: broker id (or nothing), name, value.
    fn image(configs: &[(&str, &str, &str)]) -> MetadataImage {
        let mut delta = MetadataDelta::new(Arc::default());
        for (broker, name, value) in configs {
            let record = ConfigRecord {
                resource_type: ConfigResourceType::Broker.code(),
                resource_name: (*broker).to_owned(),
                name: (*name).to_owned(),
                value: Some((*value).to_owned()),
                ..Default::default()
            };
            delta.replay(&MetadataRecord::from(record)).expect("replayed");
        }
        delta.apply(Provenance::default())
    }

    #[test]
    fn this_brokers_configs_come_before_those_of_all_and_both_before_the_file() {
        let node = node(&[("message.max.bytes", "100")]);
        assert_eq!(node.current().message_max_bytes, 100);
        assert!(node.update(&image(&[("", "message.max.bytes", "200")])));
        assert_eq!(node.current().message_max_bytes, 200);
        let both = image(&[("", "message.max.bytes", "200"), ("1", "message.max.bytes", "300"), ("2", "message.max.bytes", "400")]);
        assert!(node.update(&both));
        assert_eq!(node.current().message_max_bytes, 300);
        assert!(!node.update(&both), "nothing new");
        assert!(node.update(&image(&[])));
        assert_eq!(node.current().message_max_bytes, 100);
    }

    #[test]
    fn a_dynamic_config_hides_its_synonyms_in_the_file() {
        let node = node(&[("log.retention.ms", "5")]);
        node.update(&image(&[("", "log.retention.ms", "7")]));
        assert_eq!(node.log_config(&image(&[]), "t").retention_ms, 7);
    }

    #[test]
    fn what_cannot_apply_is_ignored() {
        let node = node(&[]);
        node.update(&image(&[
            ("", "num.partitions", "7"),
            ("", "message.max.bytes", "many"),
            ("", "listeners", "PLAINTEXT://:1"),
            ("", "log.retention.bytes", "9"),
        ]));
        let current = node.current();
        assert_eq!((current.num_partitions, current.message_max_bytes, current.long("log.retention.bytes")), (1, 1_048_588, 9));
        assert_eq!(current.listeners[0].port, 9092);
    }

    #[test]
    fn configs_that_contradict_each_other_leave_all_as_it_was() {
        let node = node(&[]);
        node.update(&image(&[("", "message.max.bytes", "200")]));
        assert!(!node.update(&image(&[("", "message.max.bytes", "300"), ("", "log.roll.ms", "0")])));
        assert_eq!(node.current().message_max_bytes, 200);
    }
}
