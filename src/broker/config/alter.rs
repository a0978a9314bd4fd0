//! What a broker checks of AlterConfigs and IncrementalAlterConfigs before the controller sees them: the form of the request, and
//! whether a change of broker configs would leave this broker with configs that it can take.
//!
//! Sources: `ConfigAdminManager`, `RuntimeLoggerManager`.

use std::collections::{BTreeMap, BTreeSet};

use super::DynamicConfig;
use crate::broker::loggers;
use crate::metadata::config::{self, ConfigError, ConfigType, DefaultValue};
use crate::metadata::image::ConfigResourceType;
use crate::protocol::error_code::ErrorCode;

type Properties = BTreeMap<String, String>;

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// One config that a request changes.
pub(crate) struct Change<'a> {
    pub(crate) name: &'a str,
    /// The operation of IncrementalAlterConfigs: 0 sets, 1 deletes, 2 appends, 3 subtracts.
    pub(crate) operation: i8,
    pub(crate) value: Option<&'a str>,
}

/// What a request wants of one resource.
pub(crate) struct Alteration<'a> {
    pub(crate) resource_type: i8,
    pub(crate) resource_name: &'a str,
    /// Do the changes start at nothing (AlterConfigs) or at what is set?
    pub(crate) replaces_all: bool,
    pub(crate) changes: Vec<Change<'a>>,
}

/// The broker's answer for one resource: a code and a text.
pub(crate) type Verdict = (ErrorCode, Option<String>);

/// The broker's answers, in the order of `alterations`; none where the controller is to answer.
pub(crate) fn preprocess(config: &DynamicConfig, alterations: &[Alteration<'_>]) -> Vec<Option<Verdict>> {
    let mut seen = BTreeSet::new();
    let repeated: BTreeSet<_> = alterations
        .iter()
        .map(|alteration| (alteration.resource_type, alteration.resource_name))
        .filter(|resource| !seen.insert(*resource))
        .collect();
    let verdict = |alteration: &Alteration<'_>| {
        if repeated.contains(&(alteration.resource_type, alteration.resource_name)) {
            return Some((ErrorCode::InvalidRequest, Some("Each resource must appear at most once.".to_owned())));
        }
        check(config, alteration).unwrap_or_else(Some)
    };
    alterations.iter().map(verdict).collect()
}

fn check(config: &DynamicConfig, alteration: &Alteration<'_>) -> Result<Option<Verdict>, Verdict> {
    let mut names = BTreeSet::new();
    if !alteration.changes.iter().all(|change| names.insert(change.name)) {
        return Err(invalid_request("Error due to duplicate config keys".to_owned()));
    }
    let is_null = |change: &&Change<'_>| change.operation != DELETE && change.value.is_none();
    let nulls: Vec<&str> = alteration.changes.iter().filter(is_null).map(|change| change.name).collect();
    if !nulls.is_empty() {
        return Err(invalid_request(format!("Null value not supported for : {}", nulls.join(", "))));
    }
    match ConfigResourceType::from_code(alteration.resource_type) {
        Some(ConfigResourceType::Broker) => {
            broker(config, alteration)?;
            Ok(None)
        }
        Some(ConfigResourceType::BrokerLogger) if !alteration.replaces_all => {
            validate_loggers(config.static_config().node_id, alteration)?;
            Ok(Some((ErrorCode::None, None)))
        }
        Some(ConfigResourceType::Topic | ConfigResourceType::ClientMetrics | ConfigResourceType::Group) => Ok(None),
        Some(ConfigResourceType::BrokerLogger) | None => {
            Err(invalid_request(format!("Unknown resource type {}", alteration.resource_type)))
        }
    }
}

fn invalid_request(text: String) -> Verdict {
    (ErrorCode::InvalidRequest, Some(text))
}

/// Would this broker take the configs that the change leaves it with?
fn broker(config: &DynamicConfig, alteration: &Alteration<'_>) -> Result<(), Verdict> {
    let name = alteration.resource_name;
    let per_broker = !name.is_empty();
    let id = config.static_config().node_id;
    if per_broker {
        match name.parse::<i32>() {
            Ok(given) if given == id => {}
            Ok(_) => return Err(invalid_request(format!("Unexpected broker id, expected {id}, but received {name}"))),
            Err(_) => return Err(invalid_request(format!("Node id must be an integer, but it is: {name}"))),
        }
    }
    let snapshot = config.snapshot();
    let mut configs = match (alteration.replaces_all, per_broker) {
        (true, _) => Properties::new(),
        (false, true) => snapshot.broker.clone(),
        (false, false) => snapshot.defaults.clone(),
    };
    for change in &alteration.changes {
        apply(&mut configs, change)?;
    }
    config.validate(&configs, per_broker).map_err(|error| match error {
        ConfigError::InvalidConfiguration(text) => (ErrorCode::InvalidConfig, Some(text)),
        // Kafka tells every other failure as an invalid request (KAFKA-13609).
        error => invalid_request(error.to_string()),
    })
}

fn apply(configs: &mut Properties, change: &Change<'_>) -> Result<(), Verdict> {
    let value = change.value.unwrap_or_default();
    match change.operation {
        SET => {
            configs.insert(change.name.to_owned(), value.to_owned());
        }
        DELETE => {
            configs.remove(change.name);
        }
        APPEND | SUBTRACT => {
            let invalid_config = |text: String| (ErrorCode::InvalidConfig, Some(text));
            let definition =
                config::broker().get(change.name).ok_or_else(|| invalid_config(format!("Unknown config name: {}", change.name)))?;
            if definition.config_type != ConfigType::List {
                let verb = if change.operation == APPEND { "append" } else { "subtract" };
                return Err(invalid_config(format!("Config value {verb} is not allowed for config key: {}", change.name)));
            }
            let default = match definition.default {
                DefaultValue::Text(text) => text,
                DefaultValue::Required | DefaultValue::Null => "",
            };
            let old = configs.get(change.name).map_or(default, String::as_str);
            let mut values: Vec<&str> = old.split(',').filter(|value| !value.is_empty()).collect();
            for value in value.split(',') {
                let at = values.iter().position(|old| *old == value);
                match (change.operation, at) {
                    (APPEND, None) => values.push(value),
                    (SUBTRACT, Some(at)) => drop(values.remove(at)),
                    _ => {}
                }
            }
            let joined = values.join(",");
            configs.insert(change.name.to_owned(), joined);
        }
        unknown => return Err(invalid_request(format!("Unknown operations type {unknown}"))),
    }
    Ok(())
}

/// Are these changes of loggers that exist, to levels that exist?
fn validate_loggers(node_id: i32, alteration: &Alteration<'_>) -> Result<(), Verdict> {
    let name = alteration.resource_name;
    match name.parse::<i32>() {
        Ok(id) if id == node_id => {}
        Ok(id) => return Err(invalid_request(format!("Unexpected node id. Expected {node_id}, but received {id}"))),
        Err(_) => return Err(invalid_request(format!("Node id must be an integer, but it is: {name}"))),
    }
    for change in &alteration.changes {
        let logger = change.name;
        if matches!(change.operation, SET | DELETE) && !loggers::loggers().exists(logger) {
            return Err((ErrorCode::InvalidConfig, Some(format!("Logger {logger} does not exist!"))));
        }
        let level = change.value.unwrap_or_default();
        match change.operation {
            SET if loggers::LEVELS.contains(&level) => {}
            SET => {
                let text = format!(
                    "Cannot set the log level of {logger} to {level} as it is not a supported log level. Valid log levels are {}",
                    loggers::LEVELS.join(", ")
                );
                return Err((ErrorCode::InvalidConfig, Some(text)));
            }
            DELETE if logger == loggers::ROOT => {
                return Err(invalid_request("Removing the log level of the root logger is not allowed".to_owned()));
            }
            DELETE => {}
            APPEND => return Err(invalid_request("APPEND operation is not allowed for the BROKER_LOGGER resource".to_owned())),
            SUBTRACT => return Err(invalid_request("SUBTRACT operation is not allowed for the BROKER_LOGGER resource".to_owned())),
            unknown => {
                return Err(invalid_request(format!("Unknown operation type {unknown} is not allowed for the BROKER_LOGGER resource")));
            }
        }
    }
    Ok(())
}

/// Gives loggers the levels of an alteration that has been found valid.
pub(crate) fn alter_loggers(alteration: &Alteration<'_>) {
    for change in &alteration.changes {
        loggers::loggers().set_level(change.name, if change.operation == SET { change.value } else { None });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::BrokerConfig;
    use super::*;

    fn verdict(resource: (i8, &str), changes: &[(&str, i8, Option<&str>)]) -> Option<(ErrorCode, String)> {
        let config = DynamicConfig::new(Arc::new(BrokerConfig::from_properties(&Properties::new()).expect("valid")));
        let changes = changes.iter().map(|&(name, operation, value)| Change { name, operation, value }).collect();
        let alteration = Alteration { resource_type: resource.0, resource_name: resource.1, replaces_all: false, changes };
        let [verdict] = &preprocess(&config, &[alteration])[..] else { panic!("one resource, one verdict") };
        verdict.clone().map(|(code, text)| (code, text.unwrap_or_default()))
    }

    fn invalid(text: &str) -> Option<(ErrorCode, String)> {
        Some((ErrorCode::InvalidRequest, text.to_owned()))
    }

    #[test]
    fn changes_that_a_broker_can_take_go_on_to_the_controller() {
        assert_eq!(verdict((4, "1"), &[("log.retention.ms", SET, Some("5"))]), None);
        assert_eq!(verdict((4, ""), &[("message.max.bytes", SET, Some("5")), ("log.retention.ms", DELETE, None)]), None);
        assert_eq!(verdict((4, ""), &[("log.cleanup.policy", APPEND, Some("compact"))]), None);
        assert_eq!(verdict((2, "t"), &[("nonsense", SET, Some("5"))]), None);
    }

    #[test]
    fn changes_that_a_broker_cannot_take_are_refused_in_kafkas_words() {
        assert_eq!(
            verdict((4, "1"), &[("num.partitions", SET, Some("5"))]),
            invalid("Cannot update these configs dynamically: [num.partitions]")
        );
        assert_eq!(
            verdict((4, ""), &[("listeners", SET, Some("PLAINTEXT://:1"))]),
            invalid("Cannot update these configs at default cluster level, broker id must be specified: [listeners]")
        );
        assert_eq!(
            verdict((4, "1"), &[("ssl.keystore.type", SET, Some("PEM"))]),
            invalid("These security configs can be dynamically updated only per-listener using the listener prefix: [ssl.keystore.type]")
        );
        assert_eq!(
            verdict((4, "1"), &[("message.max.bytes", SET, Some("-1"))]),
            invalid("Invalid value -1 for configuration message.max.bytes: Value must be at least 0")
        );
        assert_eq!(
            verdict((4, "1"), &[("num.io.threads", SET, Some("100"))]),
            invalid(
                "Invalid value org.apache.kafka.common.config.ConfigException: Dynamic thread count update validation failed for \
                 num.io.threads=100, value should not be greater than double the current value 8 for configuration Invalid dynamic \
                 configuration"
            )
        );
        assert_eq!(
            verdict((4, "1"), &[("log.roll.ms", SET, Some("0"))]),
            invalid("requirement failed: log.roll.ms must be greater than or equal to 1")
        );
        assert_eq!(
            verdict((4, "1"), &[("message.max.bytes", APPEND, Some("1"))]),
            Some((ErrorCode::InvalidConfig, "Config value append is not allowed for config key: message.max.bytes".to_owned()))
        );
        assert_eq!(verdict((4, "2"), &[]), invalid("Unexpected broker id, expected 1, but received 2"));
        assert_eq!(verdict((3, "x"), &[]), invalid("Unknown resource type 3"));
    }

    #[test]
    fn malformed_changes_are_refused() {
        assert_eq!(verdict((2, "t"), &[("a", SET, Some("1")), ("a", DELETE, None)]), invalid("Error due to duplicate config keys"));
        assert_eq!(verdict((2, "t"), &[("a", SET, None), ("b", APPEND, None)]), invalid("Null value not supported for : a, b"));
        assert_eq!(verdict((4, "1"), &[("log.retention.ms", 9, Some("1"))]), invalid("Unknown operations type 9"));
    }

    #[test]
    fn a_resource_appears_once() {
        let config = DynamicConfig::new(Arc::new(BrokerConfig::from_properties(&Properties::new()).expect("valid")));
        let alteration = |resource_name| Alteration { resource_type: 2, resource_name, replaces_all: true, changes: Vec::new() };
        let verdicts = preprocess(&config, &[alteration("a"), alteration("b"), alteration("a")]);
        assert_eq!(verdicts.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true]);
    }

    #[test]
    fn the_root_logger_is_the_only_one() {
        assert_eq!(verdict((8, "1"), &[("root", SET, Some("DEBUG"))]), Some((ErrorCode::None, String::new())));
        assert_eq!(
            verdict((8, "1"), &[("kafka.server", SET, Some("DEBUG"))]),
            Some((ErrorCode::InvalidConfig, "Logger kafka.server does not exist!".to_owned()))
        );
        assert_eq!(verdict((8, "1"), &[("root", DELETE, None)]), invalid("Removing the log level of the root logger is not allowed"));
    }
}
