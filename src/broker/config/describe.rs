//! DescribeConfigs: every config of a resource, where its value comes from, and what it would be without that.
//!
//! Source: `ConfigHelper`. The order of the entries is that of Java's hash maps, as in Kafka's responses.

use std::collections::BTreeMap;

use super::DynamicConfig;
use super::dynamic::Snapshot;
use crate::broker::loggers;
use crate::common::topic_name;
use crate::metadata::config::{self, ConfigType, ConfigValue, DefaultValue, Definition, UpdateMode, synonyms};
use crate::metadata::image::{ConfigResource, ConfigResourceType, MetadataImage};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::describe_configs_request::DescribeConfigsResource;
use crate::protocol::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym};

type Properties = BTreeMap<String, String>;

const DYNAMIC_TOPIC: i8 = 1;
const DYNAMIC_BROKER: i8 = 2;
const DYNAMIC_DEFAULT_BROKER: i8 = 3;
const STATIC_BROKER: i8 = 4;
const DEFAULT: i8 = 5;
const DYNAMIC_BROKER_LOGGER: i8 = 6;
const CLIENT_METRICS: i8 = 7;
const GROUP: i8 = 8;

/// A refusal: the error code and the text for the client, none for the code's own.
type Refusal = (ErrorCode, Option<String>);

/// Describes one resource of a DescribeConfigs request.
pub fn describe(
    dynamic_config: &DynamicConfig,
    image: &MetadataImage,
    resource: &DescribeConfigsResource,
    include_synonyms: bool,
    include_documentation: bool,
) -> DescribeConfigsResult {
    let describer = Describer {
        node_id: dynamic_config.static_config().node_id,
        statics: dynamic_config.static_config().originals(),
        snapshot: &dynamic_config.snapshot(),
    };
    let (error_code, error_message, mut configs) = match describer.entries(image, resource) {
        // Kafka leaves the schema's default, which is no null.
        Ok(configs) => (ErrorCode::None.code(), Some(String::new()), configs),
        Err((code, message)) => (code.code(), message, Vec::new()),
    };
    if let Some(wanted) = resource.configuration_keys.as_deref().filter(|wanted| !wanted.is_empty()) {
        configs.retain(|entry| wanted.contains(&entry.name));
    }
    for entry in &mut configs {
        let documentation = config::documentation::of(&entry.name).filter(|_| include_documentation);
        entry.documentation = documentation.map(str::to_owned);
    }
    if !include_synonyms {
        configs.iter_mut().for_each(|entry| entry.synonyms.clear());
    }
    DescribeConfigsResult {
        error_code,
        error_message,
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
        configs,
        ..Default::default()
    }
}

struct Describer<'a> {
    node_id: i32,
    statics: &'a Properties,
    snapshot: &'a Snapshot,
}

impl Describer<'_> {
    fn entries(&self, image: &MetadataImage, resource: &DescribeConfigsResource) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
        let name = resource.resource_name.as_str();
        let invalid_request = |message: String| Err((ErrorCode::InvalidRequest, Some(message)));
        let Some(type_) = ConfigResourceType::from_code(resource.resource_type) else {
            return invalid_request(ErrorCode::InvalidRequest.message().to_owned());
        };
        let none = Properties::new();
        let set = image.configs.resource(&ConfigResource { type_, name: name.to_owned() }).map_or(&none, |set| set);
        match type_ {
            ConfigResourceType::Topic => {
                topic_name::validate(name).map_err(|message| (ErrorCode::InvalidTopicException, Some(message)))?;
                if image.topics.topic(name).is_none() {
                    return Err((ErrorCode::UnknownTopicOrPartition, Some(String::new())));
                }
                Ok(self.topic(set))
            }
            ConfigResourceType::Broker if name.is_empty() => Ok(self.broker_defaults()),
            ConfigResourceType::Broker => {
                self.require_own_id(name, " or empty string,")?;
                Ok(self.broker())
            }
            ConfigResourceType::BrokerLogger if name.is_empty() => invalid_request("Broker id must not be empty".to_owned()),
            ConfigResourceType::BrokerLogger => {
                self.require_own_id(name, "")?;
                let entry = |(name, level): (String, String)| DescribeConfigsResourceResult {
                    name,
                    value: Some(level),
                    config_source: DYNAMIC_BROKER_LOGGER,
                    ..Default::default()
                };
                Ok(loggers::loggers().list().into_iter().map(entry).collect())
            }
            ConfigResourceType::ClientMetrics if name.is_empty() => {
                invalid_request("Client metrics subscription name must not be empty".to_owned())
            }
            ConfigResourceType::ClientMetrics => {
                Ok(self.overridden(config::client_metrics(), set, CLIENT_METRICS, |_| None, |_| Vec::new()))
            }
            ConfigResourceType::Group if name.is_empty() => invalid_request("Group name must not be empty".to_owned()),
            ConfigResourceType::Group => Ok(self.group(set)),
        }
    }

    fn require_own_id(&self, name: &str, alternative: &str) -> Result<(), Refusal> {
        let id = self.node_id;
        let message = match name.parse::<i32>() {
            Ok(given) if given == id => return Ok(()),
            Ok(_) => format!("Unexpected broker id, expected {id}{alternative} but received {name}"),
            Err(_) => format!("Broker id must be an integer, but it is: {name}"),
        };
        Err((ErrorCode::InvalidRequest, Some(message)))
    }

    fn topic(&self, set: &Properties) -> Vec<DescribeConfigsResourceResult> {
        let defaults = self.snapshot.current.topic_defaults();
        let inherited = |definition: &Definition| defaults.get(definition.name).cloned();
        let synonyms = |definition: &Definition| {
            definition.synonym.map(|synonym| self.broker_synonyms(synonym, definition.is_sensitive())).unwrap_or_default()
        };
        self.overridden(config::topic(), set, DYNAMIC_TOPIC, inherited, synonyms)
    }

    fn group(&self, set: &Properties) -> Vec<DescribeConfigsResourceResult> {
        let inherited = |definition: &Definition| self.snapshot.current.value(definition.synonym?).to_text();
        let synonyms = |definition: &Definition| match (definition.synonym, definition.default) {
            (Some(synonym), _) => self.broker_synonyms(synonym, definition.is_sensitive()),
            (None, DefaultValue::Text(text)) => vec![synonym(definition.name, Some(text.to_owned()), DEFAULT)],
            (None, _) => Vec::new(),
        };
        self.overridden(config::group(), set, GROUP, inherited, synonyms)
    }

    /// The configs of a resource that may be set on it, else are `inherited`, else are the definition's default.
    fn overridden(
        &self,
        definitions: &config::ConfigDef,
        set: &Properties,
        source: i8,
        inherited: impl Fn(&Definition) -> Option<String>,
        below: impl Fn(&Definition) -> Vec<DescribeConfigsSynonym>,
    ) -> Vec<DescribeConfigsResourceResult> {
        let entry = |definition: &'static Definition| {
            let own = set.get(definition.name).map(|text| normalised(definition, text));
            let value = own
                .clone()
                .or_else(|| inherited(definition))
                .or_else(|| definition.default_value().ok().and_then(|value| value.to_text()))
                .filter(|_| !definition.is_sensitive());
            let mut synonyms = below(definition);
            if own.is_some() {
                synonyms.insert(0, synonym(definition.name, value.clone(), source));
            }
            DescribeConfigsResourceResult {
                name: definition.name.to_owned(),
                value,
                config_source: source_of(&synonyms),
                is_sensitive: definition.is_sensitive(),
                config_type: definition.config_type.code(),
                synonyms,
                ..Default::default()
            }
        };
        let hidden = definitions.iter().filter(|definition| definition.internal && set.contains_key(definition.name));
        hidden.chain(definitions.described()).map(entry).collect()
    }

    /// What is set for all brokers.
    fn broker_defaults(&self) -> Vec<DescribeConfigsResourceResult> {
        let mut entries: Vec<_> = self.snapshot.defaults.iter().map(|(name, text)| self.broker_entry(name, Some(text.clone()))).collect();
        for entry in &mut entries {
            entry.synonyms.retain(|synonym| synonym.source == DYNAMIC_DEFAULT_BROKER);
            entry.config_source = source_of(&entry.synonyms);
        }
        entries
    }

    fn broker(&self) -> Vec<DescribeConfigsResourceResult> {
        let current = &self.snapshot.current;
        let is_described = |name: &str| config::broker().get(name).is_some_and(|definition| !definition.internal);
        let set =
            current.originals().iter().filter(|(name, _)| !is_described(name)).map(|(name, text)| (name.as_str(), Some(text.clone())));
        let described = config::broker().described().map(|definition| (definition.name, current.value(definition.name).to_text()));
        set.chain(described).map(|(name, value)| self.broker_entry(name, value)).collect()
    }

    fn broker_entry(&self, name: &str, value: Option<String>) -> DescribeConfigsResourceResult {
        let definition = broker_definition(name);
        // What nobody knows may be a secret.
        let is_sensitive = definition.is_none_or(Definition::is_sensitive);
        let synonyms = self.broker_synonyms(name, is_sensitive);
        let exact = config::broker().get(name).or_else(|| config::dynamic_broker().get(name));
        DescribeConfigsResourceResult {
            name: name.to_owned(),
            value: value.filter(|_| !is_sensitive),
            read_only: exact.is_none_or(|definition| definition.update_mode == UpdateMode::ReadOnly),
            config_source: source_of(&synonyms),
            is_sensitive,
            config_type: definition.map_or(0, |definition| definition.config_type.code()),
            synonyms,
            ..Default::default()
        }
    }

    /// Everywhere a broker config is set under any of its names, the strongest first.
    fn broker_synonyms(&self, name: &str, is_sensitive: bool) -> Vec<DescribeConfigsSynonym> {
        let names = synonyms::of_broker_config(name);
        let layers =
            [(&self.snapshot.broker, DYNAMIC_BROKER), (&self.snapshot.defaults, DYNAMIC_DEFAULT_BROKER), (self.statics, STATIC_BROKER)];
        let shown = |text: String| Some(text).filter(|_| !is_sensitive);
        let mut found = Vec::new();
        for (layer, source) in layers {
            found.extend(names.iter().filter_map(|name| Some(synonym(name, shown(layer.get(*name)?.clone()), source))));
        }
        let default = |name: &str| match config::broker().get(name)?.default {
            DefaultValue::Text(text) => Some(text.to_owned()),
            DefaultValue::Required | DefaultValue::Null => None,
        };
        found.extend(names.iter().filter_map(|name| Some(synonym(name, shown(default(name)?), DEFAULT))));
        // A synonym that is stronger than the config itself hides nothing of it: Kafka begins with the config's own name.
        let first = found.iter().position(|synonym| synonym.name == name).unwrap_or(found.len());
        found.split_off(first)
    }
}

/// The definition that gives the type of a broker config; for a listener's config that of the config without the listener.
fn broker_definition(name: &str) -> Option<&'static Definition> {
    let exact = |name: &str| config::broker().get(name).or_else(|| config::dynamic_broker().get(name));
    exact(name).or_else(|| synonyms::of_broker_config(name).into_iter().find_map(exact))
}

fn source_of(synonyms: &[DescribeConfigsSynonym]) -> i8 {
    synonyms.first().map_or(DEFAULT, |synonym| synonym.source)
}

fn synonym(name: &str, value: Option<String>, source: i8) -> DescribeConfigsSynonym {
    DescribeConfigsSynonym { name: name.to_owned(), value, source, ..Default::default() }
}

/// The text of a value as it is after parsing, which drops blanks and repetitions; a value that does not parse is shown as it was set.
fn normalised(definition: &Definition, text: &str) -> String {
    let value = definition.parse(text).or_else(|_| ConfigValue::parse(definition.name, definition.config_type, text));
    match (definition.config_type, value) {
        (ConfigType::Password, _) | (_, Err(_)) => text.to_owned(),
        (_, Ok(value)) => value.to_text().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::BrokerConfig;
    use super::*;
    use crate::common::uuid::Uuid;
    use crate::metadata::delta::MetadataDelta;
    use crate::metadata::image::Provenance;
    use crate::metadata::record::MetadataRecord;
    use crate::protocol::messages::{ConfigRecord, TopicRecord};

    // What `kafka-configs --describe --all` of Kafka 4.3 printed.
    const BROKER: &str = include_str!("../../../tests/golden/configs/broker.txt");
    const TOPIC: &str = include_str!("../../../tests/golden/configs/topic.txt");
    const TUNED_TOPIC: &str = include_str!("../../../tests/golden/configs/tuned.txt");
    const GROUP: &str = include_str!("../../../tests/golden/configs/group.txt");

    /// The node and the cluster that the golden files show.
    fn node() -> (DynamicConfig, Arc<MetadataImage>) {
        let properties = [
            ("process.roles", "broker,controller"),
            ("node.id", "1"),
            ("controller.quorum.bootstrap.servers", "localhost:9093"),
            ("listeners", "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093"),
            ("advertised.listeners", "PLAINTEXT://localhost:9092"),
            ("controller.listener.names", "CONTROLLER"),
            ("inter.broker.listener.name", "PLAINTEXT"),
            ("log.dirs", "/data"),
            ("offsets.topic.replication.factor", "1"),
            ("transaction.state.log.replication.factor", "1"),
            ("transaction.state.log.min.isr", "1"),
            ("share.coordinator.state.topic.replication.factor", "1"),
            ("share.coordinator.state.topic.min.isr", "1"),
            ("group.initial.rebalance.delay.ms", "0"),
        ];
        let properties = properties.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let config = DynamicConfig::new(Arc::new(BrokerConfig::from_properties(&properties).expect("valid")));
        let topic = |name: &str, id| TopicRecord { name: name.to_owned(), topic_id: Uuid::from_u128(id), ..Default::default() };
        let set = |type_: ConfigResourceType, resource: &str, name: &str, value: &str| ConfigRecord {
            resource_type: type_.code(),
            resource_name: resource.to_owned(),
            name: name.to_owned(),
            value: Some(value.to_owned()),
            ..Default::default()
        };
        let mut delta = MetadataDelta::new(Arc::default());
        for record in [topic("plain", 1000), topic("tuned", 1001)] {
            delta.replay(&MetadataRecord::from(record)).expect("replayed");
        }
        for record in [
            set(ConfigResourceType::Broker, "", "min.insync.replicas", "1"),
            set(ConfigResourceType::Topic, "tuned", "retention.ms", "1000"),
            set(ConfigResourceType::Topic, "tuned", "cleanup.policy", "compact,delete"),
        ] {
            delta.replay(&MetadataRecord::from(record)).expect("replayed");
        }
        let image = Arc::new(delta.apply(Provenance::default()));
        assert!(config.update(&image));
        (config, image)
    }

    /// As the tool prints it.
    fn printed(type_: ConfigResourceType, name: &str) -> String {
        let (config, image) = node();
        let resource = DescribeConfigsResource { resource_type: type_.code(), resource_name: name.to_owned(), ..Default::default() };
        let mut result = describe(&config, &image, &resource, true, false);
        assert_eq!(result.error_code, 0, "{:?}", result.error_message);
        result.configs.sort_by(|a, b| a.name.cmp(&b.name));
        let sources = [
            "",
            "DYNAMIC_TOPIC_CONFIG",
            "DYNAMIC_BROKER_CONFIG",
            "DYNAMIC_DEFAULT_BROKER_CONFIG",
            "STATIC_BROKER_CONFIG",
            "DEFAULT_CONFIG",
        ];
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
        let synonym =
            |synonym: &DescribeConfigsSynonym| format!("{}:{}={}", sources[synonym.source as usize], synonym.name, text(&synonym.value));
        let mut lines = vec![format!("All configs for {} {name} are:", type_.name().to_lowercase())];
        lines.extend(result.configs.iter().map(|entry| {
            let synonyms: Vec<_> = entry.synonyms.iter().map(synonym).collect();
            format!("  {}={} sensitive={} synonyms={{{}}}", entry.name, text(&entry.value), entry.is_sensitive, synonyms.join(", "))
        }));
        lines.join("\n") + "\n"
    }

    /// Compares line by line, so that a failure shows the lines that differ.
    fn assert_same(ours: &str, kafkas: &str) {
        for (ours, kafkas) in ours.lines().zip(kafkas.lines()) {
            assert_eq!(ours, kafkas);
        }
        assert_eq!(ours.lines().count(), kafkas.lines().count());
    }

    #[test]
    fn a_broker_is_described_as_kafka_describes_it() {
        assert_same(&printed(ConfigResourceType::Broker, "1"), BROKER);
    }

    #[test]
    fn topics_are_described_as_kafka_describes_them() {
        assert_same(&printed(ConfigResourceType::Topic, "plain"), TOPIC);
        assert_same(&printed(ConfigResourceType::Topic, "tuned"), TUNED_TOPIC);
    }

    #[test]
    fn groups_are_described_as_kafka_describes_them() {
        assert_same(&printed(ConfigResourceType::Group, "g"), GROUP);
    }

    fn refusal(type_: i8, name: &str) -> (i16, Option<String>) {
        let (config, image) = node();
        let resource = DescribeConfigsResource { resource_type: type_, resource_name: name.to_owned(), ..Default::default() };
        let result = describe(&config, &image, &resource, false, true);
        assert!(result.configs.is_empty());
        (result.error_code, result.error_message)
    }

    #[test]
    fn what_cannot_be_described_says_why() {
        assert_eq!(refusal(2, "absent"), (3, Some(String::new())));
        assert_eq!(refusal(2, "a b").0, 17);
        assert_eq!(refusal(4, "2"), (42, Some("Unexpected broker id, expected 1 or empty string, but received 2".to_owned())));
        assert_eq!(refusal(4, "x"), (42, Some("Broker id must be an integer, but it is: x".to_owned())));
        assert_eq!(refusal(8, ""), (42, Some("Broker id must not be empty".to_owned())));
        assert_eq!(refusal(16, ""), (42, Some("Client metrics subscription name must not be empty".to_owned())));
        assert_eq!(refusal(32, ""), (42, Some("Group name must not be empty".to_owned())));
    }

    #[test]
    fn only_the_wanted_keys_are_described() {
        let (config, image) = node();
        let resource = DescribeConfigsResource {
            resource_type: 2,
            resource_name: "tuned".to_owned(),
            configuration_keys: Some(vec!["retention.ms".to_owned(), "nonsense".to_owned()]),
            ..Default::default()
        };
        let result = describe(&config, &image, &resource, false, true);
        let entries: Vec<_> = result.configs.iter().map(|entry| (entry.name.as_str(), entry.config_source, entry.synonyms.len())).collect();
        assert_eq!(entries, [("retention.ms", DYNAMIC_TOPIC, 0)]);
        assert!(result.configs[0].documentation.is_some());
    }

    #[test]
    fn the_defaults_of_all_brokers_are_only_what_is_set_for_them() {
        let (config, image) = node();
        let resource = DescribeConfigsResource { resource_type: 4, ..Default::default() };
        let result = describe(&config, &image, &resource, true, false);
        let [entry] = &result.configs[..] else { panic!("{:?}", result.configs) };
        assert_eq!((entry.name.as_str(), entry.config_source, entry.synonyms.len()), ("min.insync.replicas", DYNAMIC_DEFAULT_BROKER, 1));
    }
}
