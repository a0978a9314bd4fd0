//! Client configuration: Kafka's property names, types, defaults, validators and messages.
//!
//! [`ClientConfig::builder`] merges the sources by precedence (flag, property, file, environment, default), accepts librdkafka's names
//! where they mean the same, resolves `${provider:...}` references, and parses every value once. Whatever stands in a built
//! [`ClientConfig`] is valid, so the getters cannot fail.
//!
//! Invariant: a bad value is an error that names its key; an unknown key is a warning.
//! Source: `ConfigDef`, `CommonClientConfigs`, `ProducerConfig`; KIP-1147 for the order of the sources; KIP-421 for providers.

mod bootstrap;
mod definitions;
mod providers;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

pub use bootstrap::BootstrapServer;
use definitions::{Definition, Type, Validator};

/// Which client the properties are for: it decides which keys exist and what their defaults are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    Admin,
    Consumer,
    Producer,
}

impl ClientKind {
    fn bit(self) -> definitions::Clients {
        match self {
            ClientKind::Admin => definitions::ADMIN,
            ClientKind::Consumer => definitions::CONSUMER,
            ClientKind::Producer => definitions::PRODUCER,
        }
    }

    fn noun(self) -> &'static str {
        match self {
            ClientKind::Admin => "admin client",
            ClientKind::Consumer => "consumer",
            ClientKind::Producer => "producer",
        }
    }
}

/// Where a value came from; of two sources the lesser wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A command-line flag of its own, such as `--bootstrap-server`.
    Flag,
    /// `--command-property key=value` and its siblings.
    Property,
    /// `--command-config FILE` and its siblings.
    File,
    /// An environment variable.
    Environment,
    Default,
}

/// A property that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("Invalid value {value} for configuration {key}: {reason}")]
    Invalid { key: String, value: String, reason: String },
    #[error("Missing required configuration \"{key}\" which has no default value.")]
    Missing { key: String },
    /// The value is Kafka's, but this program cannot do it.
    #[error("{key}={value} is not served yet: {reason}")]
    NotServed { key: String, value: String, reason: String },
    /// A rule over more than one property, or a list's own message.
    #[error("{message}")]
    Rule { key: String, message: String },
}

impl ConfigError {
    /// The property to change.
    pub fn key(&self) -> &str {
        match self {
            ConfigError::Invalid { key, .. }
            | ConfigError::Missing { key }
            | ConfigError::NotServed { key, .. }
            | ConfigError::Rule { key, .. } => key,
        }
    }

    pub(crate) fn invalid(key: &str, value: impl Into<String>, reason: impl Into<String>) -> ConfigError {
        ConfigError::Invalid { key: key.to_owned(), value: value.into(), reason: reason.into() }
    }

    pub(in crate::client) fn rule(key: &str, message: impl Into<String>) -> ConfigError {
        ConfigError::Rule { key: key.to_owned(), message: message.into() }
    }
}

/// A parsed value.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Null,
    Boolean(bool),
    Integer(i64),
    Real(f64),
    Text(String),
    List(Vec<String>),
}

/// The valid, merged properties of one client.
#[derive(Clone)]
pub struct ClientConfig {
    kind: ClientKind,
    values: BTreeMap<String, (Value, Source)>,
    servers: Vec<BootstrapServer>,
    warnings: Vec<String>,
}

// Values may be secrets, so they stay out of debug output.
impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig").field("kind", &self.kind).field("servers", &self.servers).finish_non_exhaustive()
    }
}

/// Collects the sources of a [`ClientConfig`]; later calls for the same source and key replace earlier ones.
#[derive(Clone)]
pub struct ClientConfigBuilder {
    kind: ClientKind,
    given: BTreeMap<Source, BTreeMap<String, String>>,
}

/// librdkafka's names and the property of Kafka's that means the same.
const ALIASES: &[(&str, &str)] = &[("metadata.broker.list", "bootstrap.servers"), ("sasl.mechanisms", "sasl.mechanism")];

/// librdkafka's names without a single counterpart: known, and used by what sets up security.
const KNOWN_ELSEWHERE: &[&str] = &["sasl.password", "sasl.username", "ssl.ca.location", "ssl.certificate.location", "ssl.key.location"];

/// The producer's partitioners that this client has, by any of the names people write.
const ROUND_ROBIN_PARTITIONER: &str = "org.apache.kafka.clients.producer.RoundRobinPartitioner";

/// Properties that mean nothing with `group.protocol=consumer`, in the order in which Kafka lists them.
const OF_OTHERS_THAN_CONSUMER: &[&str] =
    &["partition.assignment.strategy", "heartbeat.interval.ms", "session.timeout.ms", "share.acknowledgement.mode", "share.acquire.mode"];

/// Properties that mean nothing with `group.protocol=classic`.
const OF_OTHERS_THAN_CLASSIC: &[&str] = &["group.remote.assignor", "share.acknowledgement.mode", "share.acquire.mode"];

impl ClientConfigBuilder {
    /// One value, from a source.
    pub fn set(mut self, source: Source, key: impl Into<String>, value: impl Into<String>) -> ClientConfigBuilder {
        self.given.entry(source).or_default().insert(key.into(), value.into());
        self
    }

    /// A value from a flag of its own.
    pub fn flag(self, key: impl Into<String>, value: impl Into<String>) -> ClientConfigBuilder {
        self.set(Source::Flag, key, value)
    }

    /// A `key=value` from the command line.
    pub fn property(self, key: impl Into<String>, value: impl Into<String>) -> ClientConfigBuilder {
        self.set(Source::Property, key, value)
    }

    /// All of a properties file's values (see [`crate::common::properties::parse`]).
    pub fn file<K: Into<String>, V: Into<String>>(mut self, values: impl IntoIterator<Item = (K, V)>) -> ClientConfigBuilder {
        for (key, value) in values {
            self = self.set(Source::File, key, value);
        }
        self
    }

    /// The value of `KAFKA_BOOTSTRAP_SERVERS`, if it is set.
    pub fn environment(self, bootstrap_servers: Option<String>) -> ClientConfigBuilder {
        match bootstrap_servers.filter(|servers| !servers.trim().is_empty()) {
            Some(servers) => self.set(Source::Environment, "bootstrap.servers", servers),
            None => self,
        }
    }

    /// Merges, parses and checks.
    pub fn build(self) -> Result<ClientConfig, ConfigError> {
        let mut merged: BTreeMap<String, (String, Source)> = BTreeMap::new();
        for (source, values) in self.given {
            for (key, value) in values {
                let own_name = !ALIASES.iter().any(|(alias, _)| *alias == key);
                let name = ALIASES.iter().find(|(alias, _)| *alias == key).map_or(key, |(_, name)| (*name).to_owned());
                match merged.get(&name) {
                    // A source that comes later in the order is weaker; within one source Kafka's own name beats an alias.
                    Some((_, earlier)) if *earlier < source || !own_name => {}
                    _ => {
                        merged.insert(name, (value, source));
                    }
                }
            }
        }
        providers::resolve(&mut merged)?;
        ClientConfig::from_merged(self.kind, merged)
    }
}

impl ClientConfig {
    pub fn builder(kind: ClientKind) -> ClientConfigBuilder {
        ClientConfigBuilder { kind, given: BTreeMap::new() }
    }

    /// A client that only knows where to connect.
    pub fn with_servers(kind: ClientKind, bootstrap_servers: &str) -> Result<ClientConfig, ConfigError> {
        ClientConfig::builder(kind).flag("bootstrap.servers", bootstrap_servers).build()
    }

    fn from_merged(kind: ClientKind, merged: BTreeMap<String, (String, Source)>) -> Result<ClientConfig, ConfigError> {
        let mut values = BTreeMap::new();
        for definition in definitions::DEFINITIONS.iter().filter(|definition| definition.clients & kind.bit() != 0) {
            let (value, source) = match merged.get(definition.name) {
                Some((text, source)) => (parse(definition, text)?, *source),
                None => {
                    (definition.default.map_or(Ok(Value::Null), |text| parse_type(definition.name, definition.ty, text))?, Source::Default)
                }
            };
            values.insert(definition.name.to_owned(), (value, source));
        }
        let unknown: Vec<&str> = merged.keys().map(String::as_str).filter(|key| !is_known(key)).collect();
        let mut warnings = Vec::new();
        if !unknown.is_empty() {
            warnings.push(format!("These configurations are not known and have no effect: {}", unknown.join(", ")));
        }
        let mut config = ClientConfig { kind, values, servers: Vec::new(), warnings };
        config.check_lists()?;
        config.check_security()?;
        config.check_rules()?;
        config.servers = config.bootstrap()?;
        Ok(config)
    }

    /// A list given by hand may not repeat or leave out an item.
    fn check_lists(&self) -> Result<(), ConfigError> {
        for (key, (value, source)) in &self.values {
            let Value::List(items) = value else { continue };
            if *source == Source::Default {
                continue;
            }
            if items.iter().collect::<BTreeSet<_>>().len() != items.len() {
                return Err(ConfigError::rule(key, format!("Configuration '{key}' values must not be duplicated.")));
            }
            if items.iter().any(String::is_empty) {
                return Err(ConfigError::rule(key, format!("Configuration '{key}' values must not be empty.")));
            }
        }
        Ok(())
    }

    fn check_security(&self) -> Result<(), ConfigError> {
        let protocol = self.string("security.protocol").unwrap_or("PLAINTEXT");
        if protocol.eq_ignore_ascii_case("PLAINTEXT") {
            return Ok(());
        }
        Err(ConfigError::NotServed {
            key: "security.protocol".to_owned(),
            value: protocol.to_owned(),
            reason: "this client speaks PLAINTEXT only".to_owned(),
        })
    }

    fn check_rules(&mut self) -> Result<(), ConfigError> {
        if self.is_set("reconnect.backoff.ms") && !self.is_set("reconnect.backoff.max.ms") {
            let backoff = self.long("reconnect.backoff.ms");
            self.put("reconnect.backoff.max.ms", Value::Integer(backoff));
        }
        match self.kind {
            ClientKind::Producer => self.check_producer(),
            ClientKind::Consumer => self.check_consumer(),
            ClientKind::Admin => Ok(()),
        }
    }

    fn check_producer(&mut self) -> Result<(), ConfigError> {
        if self.boolean("enable.idempotence") {
            let explicit = self.is_set("enable.idempotence");
            let in_flight = self.int("max.in.flight.requests.per.connection");
            let conflict = if self.int("retries") == 0 {
                Some(("retries", "Must set retries to non-zero when using the idempotent producer."))
            } else if !matches!(self.string("acks"), Some("all" | "-1")) {
                let message = "Must set acks to all in order to use the idempotent producer. Otherwise we cannot guarantee idempotence.";
                Some(("acks", message))
            } else {
                None
            };
            match conflict {
                Some((key, message)) if explicit => return Err(ConfigError::rule(key, message)),
                Some(_) => self.put("enable.idempotence", Value::Boolean(false)),
                None => {}
            }
            if in_flight > 5 {
                let key = "max.in.flight.requests.per.connection";
                let message = format!("To use the idempotent producer, {key} must be set to at most 5. Current value is {in_flight}.");
                return Err(ConfigError::rule(key, message));
            }
        }
        if self.is_set("transactional.id") && !self.boolean("enable.idempotence") {
            let message = "Cannot set a transactional.id without also enabling idempotence.";
            return Err(ConfigError::rule("transactional.id", message));
        }
        if self.boolean("transaction.two.phase.commit.enable") && self.is_set("transaction.timeout.ms") {
            let message = "Cannot set transaction.timeout.ms when transaction.two.phase.commit.enable is set to true. \
                           Transactions will not expire with two-phase commit enabled.";
            return Err(ConfigError::rule("transaction.timeout.ms", message));
        }
        let least = self.long("linger.ms").saturating_add(self.long("request.timeout.ms")).min(i64::from(i32::MAX));
        if self.long("delivery.timeout.ms") < least {
            if self.is_set("delivery.timeout.ms") {
                let message = "delivery.timeout.ms should be equal to or larger than linger.ms + request.timeout.ms";
                return Err(ConfigError::rule("delivery.timeout.ms", message));
            }
            self.put("delivery.timeout.ms", Value::Integer(least));
        }
        match self.string("partitioner.class").map(str::to_owned) {
            None => Ok(()),
            Some(class) if class == ROUND_ROBIN_PARTITIONER => Ok(()),
            Some(class) => {
                let reason = format!("Class {class} could not be found; {ROUND_ROBIN_PARTITIONER} and the default are built in");
                Err(ConfigError::invalid("partitioner.class", class, reason))
            }
        }
    }

    fn check_consumer(&mut self) -> Result<(), ConfigError> {
        let (protocol, others): (_, &[&str]) = match self.string("group.protocol") {
            Some(protocol) if protocol.eq_ignore_ascii_case("consumer") => ("CONSUMER", OF_OTHERS_THAN_CONSUMER),
            _ => ("CLASSIC", OF_OTHERS_THAN_CLASSIC),
        };
        let unsupported: Vec<&str> = others.iter().copied().filter(|key| self.is_set(key)).collect();
        match unsupported.first() {
            Some(key) => Err(ConfigError::rule(key, format!("{} cannot be set when group.protocol={protocol}", unsupported.join(", ")))),
            None => Ok(()),
        }
    }

    fn bootstrap(&self) -> Result<Vec<BootstrapServer>, ConfigError> {
        let key = "bootstrap.servers";
        let servers = self.list(key);
        if servers.is_empty() {
            if self.kind == ClientKind::Admin && !self.list("bootstrap.controllers").is_empty() {
                return self
                    .list("bootstrap.controllers")
                    .iter()
                    .map(|text| BootstrapServer::parse("bootstrap.controllers", text))
                    .collect();
            }
            return Err(ConfigError::Missing { key: key.to_owned() });
        }
        servers.iter().map(|text| BootstrapServer::parse(key, text)).collect()
    }

    pub fn kind(&self) -> ClientKind {
        self.kind
    }

    /// Where to connect first; never empty.
    pub fn bootstrap_servers(&self) -> &[BootstrapServer] {
        &self.servers
    }

    /// What deserves a line on stderr, one warning an item; at most one for all unknown keys.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Was the key given by anyone?
    pub fn is_set(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(|(_, source)| *source != Source::Default)
    }

    /// Where the value of a key came from.
    pub fn source(&self, key: &str) -> Source {
        self.values.get(key).map_or(Source::Default, |(_, source)| *source)
    }

    /// Replaces a value that nobody gave: how a tool states a default of its own.
    pub fn or_default(mut self, key: &str, text: &str) -> Result<ClientConfig, ConfigError> {
        if !self.is_set(key) {
            let definition = definitions::find(key, self.kind.bit());
            let definition = definition.unwrap_or_else(|| panic!("{key} is no property of a {}", self.kind.noun()));
            let value = parse(definition, text)?;
            self.put(key, value);
        }
        Ok(self)
    }

    /// `client.id`, or `fallback` when there is none.
    pub fn client_id(&self, fallback: &str) -> String {
        self.string("client.id").filter(|id| !id.is_empty()).unwrap_or(fallback).to_owned()
    }

    fn put(&mut self, key: &str, value: Value) {
        self.values.insert(key.to_owned(), (value, Source::Default));
    }

    // Asking for a key that this kind of client does not define, or as another type, is a mistake in this program: hence the panics.
    fn value(&self, key: &str) -> &Value {
        &self.values.get(key).unwrap_or_else(|| panic!("{key} is no property of a {}", self.kind.noun())).0
    }

    /// A string, password or class property; `None` when it has neither value nor default.
    pub fn string(&self, key: &str) -> Option<&str> {
        match self.value(key) {
            Value::Text(text) => Some(text),
            Value::Null => None,
            other => panic!("{key} is no string: {other:?}"),
        }
    }

    /// A 32-bit or smaller integer.
    pub fn int(&self, key: &str) -> i32 {
        i32::try_from(self.long(key)).unwrap_or_else(|_| panic!("{key} is no 32-bit integer"))
    }

    /// An integer.
    pub fn long(&self, key: &str) -> i64 {
        match self.value(key) {
            Value::Integer(value) => *value,
            other => panic!("{key} is no integer: {other:?}"),
        }
    }

    /// A non-negative number of bytes or items.
    pub fn size(&self, key: &str) -> usize {
        usize::try_from(self.long(key).max(0)).unwrap_or(usize::MAX)
    }

    /// A real number.
    pub fn double(&self, key: &str) -> f64 {
        match self.value(key) {
            Value::Real(value) => *value,
            other => panic!("{key} is no real number: {other:?}"),
        }
    }

    pub fn boolean(&self, key: &str) -> bool {
        match self.value(key) {
            Value::Boolean(value) => *value,
            other => panic!("{key} is no boolean: {other:?}"),
        }
    }

    pub fn list(&self, key: &str) -> &[String] {
        match self.value(key) {
            Value::List(items) => items,
            Value::Null => &[],
            other => panic!("{key} is no list: {other:?}"),
        }
    }

    /// A property in milliseconds; negative ones count as 0.
    pub fn millis(&self, key: &str) -> Duration {
        Duration::from_millis(u64::try_from(self.long(key)).unwrap_or(0))
    }
}

/// Is the key one of any client, an alias, or one that belongs to something a value names (a provider, a class)?
fn is_known(key: &str) -> bool {
    definitions::find(key, definitions::ALL).is_some()
        || KNOWN_ELSEWHERE.contains(&key)
        || key.starts_with("config.providers.")
        // Serializers' and deserializers' own settings, which those classes read.
        || ["key.serializer.", "value.serializer.", "key.deserializer.", "value.deserializer."].iter().any(|prefix| key.starts_with(prefix))
}

fn parse(definition: &Definition, text: &str) -> Result<Value, ConfigError> {
    let value = parse_type(definition.name, definition.ty, text)?;
    validate(definition, &value)?;
    Ok(value)
}

fn parse_type(key: &str, ty: Type, text: &str) -> Result<Value, ConfigError> {
    let trimmed = text.trim();
    let integer = |ty: &str, min: i64, max: i64| {
        // Java's parser takes a leading plus as Rust's does, and nothing else that Rust's refuses but other scripts' digits.
        match trimmed.parse::<i64>() {
            Ok(number) if (min..=max).contains(&number) => Ok(Value::Integer(number)),
            _ => Err(ConfigError::invalid(key, text, format!("Not a number of type {ty}"))),
        }
    };
    match ty {
        Type::Boolean if trimmed.eq_ignore_ascii_case("true") => Ok(Value::Boolean(true)),
        Type::Boolean if trimmed.eq_ignore_ascii_case("false") => Ok(Value::Boolean(false)),
        Type::Boolean => Err(ConfigError::invalid(key, text, "Expected value to be either true or false")),
        Type::String | Type::Password | Type::Class => Ok(Value::Text(trimmed.to_owned())),
        Type::Short => integer("SHORT", i16::MIN.into(), i16::MAX.into()),
        Type::Int => integer("INT", i32::MIN.into(), i32::MAX.into()),
        Type::Long => integer("LONG", i64::MIN, i64::MAX),
        Type::Double => match trimmed.parse() {
            Ok(number) => Ok(Value::Real(number)),
            Err(_) => Err(ConfigError::invalid(key, text, "Not a number of type DOUBLE")),
        },
        Type::List if trimmed.is_empty() => Ok(Value::List(Vec::new())),
        Type::List => Ok(Value::List(trimmed.split(',').map(|item| item.trim().to_owned()).collect())),
    }
}

fn validate(definition: &Definition, value: &Value) -> Result<(), ConfigError> {
    let shown = || match value {
        Value::Text(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    let fail = |reason: String| Err(ConfigError::invalid(definition.name, shown(), reason));
    match (definition.validator, value) {
        (Validator::AtLeast(min) | Validator::Between(min, _), Value::Integer(number)) if *number < min => {
            fail(format!("Value must be at least {min}"))
        }
        (Validator::Between(_, max), Value::Integer(number)) if *number > max => fail(format!("Value must be no more than {max}")),
        (Validator::BetweenReal(min, _), Value::Real(number)) if *number < min => fail(format!("Value must be at least {min:?}")),
        (Validator::BetweenReal(_, max), Value::Real(number)) if *number > max => fail(format!("Value must be no more than {max:?}")),
        (Validator::OneOf(allowed), Value::Text(text)) if !allowed.contains(&text.as_str()) => {
            fail(format!("String must be one of: {}", allowed.join(", ")))
        }
        (Validator::OneOfIgnoreCase(allowed), Value::Text(text)) if !allowed.iter().any(|one| one.eq_ignore_ascii_case(text)) => {
            fail(format!("String must be one of (case insensitive): {}", allowed.join(", ")))
        }
        (Validator::NonEmpty, Value::Text(text)) if text.is_empty() => fail("String must be non-empty".to_owned()),
        (Validator::GzipLevel, Value::Integer(level)) if *level != -1 && !(1..=9).contains(level) => {
            fail("Value must be between 1 and 9 or equal to -1".to_owned())
        }
        (Validator::OffsetReset, Value::Text(text)) if !is_offset_reset(text) => fail(format!(
            "Invalid value `{text}` for configuration {}. The value must be either 'earliest', 'latest', 'none' or of the format \
             'by_duration:<PnDTnHnMn.nS.>'.",
            definition.name
        )),
        _ => Ok(()),
    }
}

fn is_offset_reset(text: &str) -> bool {
    matches!(text, "earliest" | "latest" | "none")
        || text.strip_prefix("by_duration:").is_some_and(|duration| {
            // Java's Duration.parse: days to seconds, never years, months or a negative whole.
            duration.parse::<jiff::Span>().is_ok_and(|span| span.get_years() == 0 && span.get_months() == 0 && !span.is_negative())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn producer(properties: &[(&str, &str)]) -> Result<ClientConfig, ConfigError> {
        let builder = ClientConfig::builder(ClientKind::Producer).flag("bootstrap.servers", "localhost:9092");
        properties.iter().fold(builder, |builder, (key, value)| builder.property(*key, *value)).build()
    }

    fn message(properties: &[(&str, &str)]) -> String {
        producer(properties).expect_err("the properties are bad").to_string()
    }

    #[test]
    fn definitions_are_sorted_and_their_defaults_are_valid() {
        assert!(definitions::DEFINITIONS.is_sorted_by_key(|definition| definition.name));
        for definition in definitions::DEFINITIONS {
            if let Some(default) = definition.default {
                parse(definition, default).expect("a default is valid");
            }
        }
    }

    #[test]
    fn a_flag_beats_a_property_beats_a_file_beats_the_environment() {
        let builder = ClientConfig::builder(ClientKind::Admin).environment(Some("env:1".to_owned()));
        let host = |builder: &ClientConfigBuilder| builder.clone().build().expect("valid").bootstrap_servers()[0].host.clone();
        assert_eq!(host(&builder), "env");
        let builder = builder.file([("bootstrap.servers", "file:1")]);
        assert_eq!(host(&builder), "file");
        let builder = builder.property("metadata.broker.list", "property:1");
        assert_eq!(host(&builder), "property");
        assert_eq!(host(&builder.flag("bootstrap.servers", "flag:1")), "flag");
    }

    #[test]
    fn kafkas_own_name_beats_an_alias_of_the_same_source() {
        let builder = ClientConfig::builder(ClientKind::Admin);
        let config = builder.property("bootstrap.servers", "a:1").property("metadata.broker.list", "b:1").build().expect("valid");
        assert_eq!(config.bootstrap_servers()[0].host, "a");
    }

    #[test]
    fn bad_values_are_refused_in_kafkas_words() {
        assert_eq!(message(&[("linger.ms", "x")]), "Invalid value x for configuration linger.ms: Not a number of type LONG");
        assert_eq!(message(&[("linger.ms", "-1")]), "Invalid value -1 for configuration linger.ms: Value must be at least 0");
        assert_eq!(message(&[("acks", "2")]), "Invalid value 2 for configuration acks: String must be one of: all, -1, 0, 1");
        assert_eq!(
            message(&[("enable.idempotence", "yes")]),
            "Invalid value yes for configuration enable.idempotence: Expected value to be either true or false"
        );
    }

    #[test]
    fn unknown_keys_are_one_warning_and_other_clients_keys_none() {
        let config = producer(&[("lingerms", "1"), ("zzz", "1"), ("group.id", "g"), ("sasl.username", "u")]).expect("valid");
        assert_eq!(config.warnings(), ["These configurations are not known and have no effect: lingerms, zzz"]);
    }

    #[test]
    fn idempotence_yields_to_acks_unless_it_was_asked_for() {
        assert!(!producer(&[("acks", "1")]).expect("valid").boolean("enable.idempotence"));
        assert!(message(&[("acks", "1"), ("enable.idempotence", "true")]).starts_with("Must set acks to all"));
        assert!(message(&[("max.in.flight.requests.per.connection", "6")]).contains("at most 5"));
    }

    #[test]
    fn other_security_protocols_are_not_served_and_the_error_names_the_key() {
        let error = producer(&[("security.protocol", "SASL_SSL")]).expect_err("not served");
        assert_eq!(error.key(), "security.protocol");
        let error = producer(&[("security.protocol", "x")]).expect_err("invalid").to_string();
        assert!(error.starts_with("Invalid value x for configuration security.protocol: String must be one of (case insensitive): "));
    }

    #[test]
    fn a_missing_bootstrap_list_is_an_error_that_names_the_key() {
        let error = ClientConfig::builder(ClientKind::Consumer).build().expect_err("missing");
        assert_eq!(error.to_string(), "Missing required configuration \"bootstrap.servers\" which has no default value.");
    }

    #[test]
    fn offset_reset_takes_a_duration() {
        let reset = |value: &str| {
            ClientConfig::builder(ClientKind::Consumer).flag("bootstrap.servers", "a:1").property("auto.offset.reset", value).build()
        };
        assert!(reset("by_duration:P1DT2H").is_ok());
        assert!(reset("by_duration:1d").is_err() || reset("by_duration:P1Y").is_err());
        assert!(reset("sometimes").is_err());
    }
}
