//! The checks over whole resources: names that exist, values that agree with each other.
//!
//! Sources: `LogConfig.validate`, `GroupConfig.validate`, `ClientMetricsConfigs.validate`.

use std::collections::BTreeMap;

use super::{ConfigError, ConfigValues, client_metrics, group, topic};

/// Texts by config name.
pub type Properties = BTreeMap<String, String>;

/// Checks the configs that a topic will have.
///
/// `existing` are those it has now, `broker_defaults` the texts of what the node gives to topics that set nothing.
/// Returns the effective values.
pub fn validate_topic(
    existing: &Properties,
    configs: &Properties,
    broker_defaults: &Properties,
    remote_storage_system: bool,
) -> Result<ConfigValues, ConfigError> {
    if let Some(unknown) = configs.keys().find(|name| topic().get(name).is_none()) {
        return Err(ConfigError::InvalidConfiguration(format!("Unknown topic config name: {unknown}")));
    }
    let mut combined = broker_defaults.clone();
    combined.extend(configs.iter().map(|(name, value)| (name.clone(), value.clone())));
    let values = topic().parse(&combined)?;
    compaction_lags(&values)?;
    let flag = |name: &str| values.get(name).and_then(|value| value.as_bool()).unwrap_or(false);
    if flag("remote.storage.enable") {
        remote_storage(&values, remote_storage_system, flag("remote.log.copy.disable"))?;
    } else {
        let was_enabled = existing.get("remote.storage.enable").is_some_and(|text| text.eq_ignore_ascii_case("true"));
        if was_enabled && !flag("remote.log.delete.on.disable") {
            return Err(ConfigError::InvalidConfiguration(
                "It is invalid to disable remote storage without deleting remote data. If you want to keep the remote data and turn to \
                 read only, please set `remote.storage.enable=true,remote.log.copy.disable=true`. If you want to disable remote storage \
                 and delete all remote data, please set `remote.storage.enable=false,remote.log.delete.on.disable=true`."
                    .to_owned(),
            ));
        }
    }
    Ok(values)
}

/// A record must not be due for compaction before it may be compacted.
pub fn compaction_lags(values: &ConfigValues) -> Result<(), ConfigError> {
    let (min, max) = (long(values, "min.compaction.lag.ms"), long(values, "max.compaction.lag.ms"));
    if min > max {
        return Err(ConfigError::InvalidConfiguration(format!(
            "conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})"
        )));
    }
    Ok(())
}

fn remote_storage(values: &ConfigValues, remote_storage_system: bool, copy_disabled: bool) -> Result<(), ConfigError> {
    if !remote_storage_system {
        return Err(ConfigError::Config(
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.".to_owned(),
        ));
    }
    let policies = values.get("cleanup.policy").and_then(|value| value.as_list()).unwrap_or_default();
    if policies.iter().any(|policy| policy != "delete") {
        return Err(ConfigError::Config(
            "Remote log storage only supports topics with cleanup.policy=delete or cleanup.policy being an empty list.".to_owned(),
        ));
    }
    for (whole, local) in [("retention.bytes", "local.retention.bytes"), ("retention.ms", "local.retention.ms")] {
        let (retention, local_retention) = (long(values, whole), long(values, local));
        if retention > -1 && local_retention == -1 {
            return Err(ConfigError::invalid_value(
                local,
                local_retention,
                &format!("Value must not be -1 as {whole} value is set as {retention}."),
            ));
        }
        if retention > -1 && local_retention > retention {
            return Err(ConfigError::invalid_value(
                local,
                local_retention,
                &format!("Value must not be more than {whole} property value: {retention}"),
            ));
        }
    }
    for (whole, local) in [("retention.bytes", "local.retention.bytes"), ("retention.ms", "local.retention.ms")] {
        if copy_disabled && long(values, local) != -2 && long(values, local) != long(values, whole) {
            return Err(ConfigError::InvalidConfiguration(format!(
                "When `remote.log.copy.disable` is set to true, the `{local}` and `{whole}` must be set to the identical value because \
                 there will be no more logs copied to the remote storage."
            )));
        }
    }
    Ok(())
}

/// The bounds that a broker sets for group configs: group config, the broker's minimum, the broker's maximum, and whether they count
/// only when the group sets the config itself.
const GROUP_BOUNDS: [(&str, &str, &str, bool); 12] = [
    ("consumer.heartbeat.interval.ms", "group.consumer.min.heartbeat.interval.ms", "group.consumer.max.heartbeat.interval.ms", false),
    ("consumer.session.timeout.ms", "group.consumer.min.session.timeout.ms", "group.consumer.max.session.timeout.ms", false),
    ("consumer.assignment.interval.ms", "group.consumer.min.assignment.interval.ms", "group.consumer.max.assignment.interval.ms", true),
    ("share.heartbeat.interval.ms", "group.share.min.heartbeat.interval.ms", "group.share.max.heartbeat.interval.ms", false),
    ("share.session.timeout.ms", "group.share.min.session.timeout.ms", "group.share.max.session.timeout.ms", false),
    ("share.record.lock.duration.ms", "group.share.min.record.lock.duration.ms", "group.share.max.record.lock.duration.ms", false),
    ("share.delivery.count.limit", "group.share.min.delivery.count.limit", "group.share.max.delivery.count.limit", false),
    ("share.partition.max.record.locks", "group.share.min.partition.max.record.locks", "group.share.max.partition.max.record.locks", false),
    ("share.assignment.interval.ms", "group.share.min.assignment.interval.ms", "group.share.max.assignment.interval.ms", true),
    ("streams.heartbeat.interval.ms", "group.streams.min.heartbeat.interval.ms", "group.streams.max.heartbeat.interval.ms", false),
    ("streams.session.timeout.ms", "group.streams.min.session.timeout.ms", "group.streams.max.session.timeout.ms", false),
    ("streams.assignment.interval.ms", "group.streams.min.assignment.interval.ms", "group.streams.max.assignment.interval.ms", true),
];

/// Checks the configs that a group will have, on a node whose values are `broker`.
pub fn validate_group(configs: &Properties, broker: &ConfigValues) -> Result<(), ConfigError> {
    if let Some(unknown) = configs.keys().find(|name| group().get(name).is_none()) {
        return Err(ConfigError::InvalidConfiguration(format!("Unknown group config name: {unknown}")));
    }
    let mut combined: Properties =
        group().iter().filter_map(|definition| Some((definition.name.to_owned(), broker.get(definition.synonym?)?.to_text()?))).collect();
    combined.extend(configs.iter().map(|(name, value)| (name.clone(), value.clone())));
    let values = group().parse(&combined)?;
    let refuse = |text: String| Err(ConfigError::InvalidConfiguration(text));
    for (name, min, max, only_if_set) in GROUP_BOUNDS {
        if only_if_set && !configs.contains_key(name) {
            continue;
        }
        if long(&values, name) < long(broker, min) {
            return refuse(format!("{name} must be greater than or equal to {min}"));
        }
        if long(&values, name) > long(broker, max) {
            return refuse(format!("{name} must be less than or equal to {max}"));
        }
    }
    if long(&values, "streams.num.standby.replicas") > long(broker, "group.streams.max.standby.replicas") {
        return refuse("streams.num.standby.replicas must be less than or equal to group.streams.max.standby.replicas".to_owned());
    }
    for kind in ["consumer", "share", "streams"] {
        let (session, heartbeat) = (format!("{kind}.session.timeout.ms"), format!("{kind}.heartbeat.interval.ms"));
        if long(&values, &session) <= long(&values, &heartbeat) {
            return refuse(format!("{session} must be greater than {heartbeat}"));
        }
    }
    Ok(())
}

/// What a client metrics subscription can match clients by.
const MATCH_PARAMETERS: [&str; 6] =
    ["client_id", "client_instance_id", "client_software_name", "client_software_version", "client_source_address", "client_source_port"];

/// Checks the configs that a client metrics subscription will have.
pub fn validate_client_metrics(subscription: &str, configs: &Properties) -> Result<(), ConfigError> {
    if subscription.is_empty() {
        return Err(ConfigError::InvalidRequest("Subscription name can't be empty".to_owned()));
    }
    if let Some(unknown) = configs.keys().find(|name| client_metrics().get(name).is_none()) {
        return Err(ConfigError::InvalidRequest(format!("Unknown client metrics configuration: {unknown}")));
    }
    let values = client_metrics().parse(configs)?;
    let interval_ms = long(&values, "interval.ms");
    if configs.contains_key("interval.ms") && !(100..=3_600_000).contains(&interval_ms) {
        return Err(ConfigError::InvalidRequest(format!(
            "Invalid value {interval_ms} for interval.ms, interval must be between 100 and 3600000 (1 hour)"
        )));
    }
    for pattern in values.get("match").and_then(|value| value.as_list()).unwrap_or_default() {
        let valid = pattern.split_once('=').is_some_and(|(parameter, expression)| {
            MATCH_PARAMETERS.contains(&parameter.trim())
                && !expression.is_empty()
                && !expression.contains('=')
                && regex::Regex::new(expression.trim()).is_ok()
        });
        if !valid {
            return Err(ConfigError::InvalidConfiguration(format!("Illegal client matching pattern: {pattern}")));
        }
    }
    Ok(())
}

fn long(values: &ConfigValues, name: &str) -> i64 {
    values.get(name).and_then(|value| value.as_i64()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::broker;
    use super::*;

    fn properties(pairs: &[(&str, &str)]) -> Properties {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn topic_error(pairs: &[(&str, &str)]) -> String {
        validate_topic(&Properties::new(), &properties(pairs), &Properties::new(), false).expect_err("invalid").to_string()
    }

    #[test]
    fn unknown_names_are_refused() {
        assert_eq!(topic_error(&[("retention", "1")]), "Unknown topic config name: retention");
        let error = validate_client_metrics("s", &properties(&[("x", "1")])).expect_err("unknown");
        assert_eq!(error, ConfigError::InvalidRequest("Unknown client metrics configuration: x".to_owned()));
    }

    #[test]
    fn compaction_lags_must_agree() {
        assert_eq!(
            topic_error(&[("min.compaction.lag.ms", "10"), ("max.compaction.lag.ms", "5")]),
            "conflict topic config setting min.compaction.lag.ms (10) > max.compaction.lag.ms (5)"
        );
    }

    #[test]
    fn tiered_topics_need_a_tiered_broker() {
        assert_eq!(
            topic_error(&[("remote.storage.enable", "true")]),
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage."
        );
        let existing = properties(&[("remote.storage.enable", "true")]);
        validate_topic(&existing, &Properties::new(), &Properties::new(), true).expect_err("the remote data would be orphaned");
    }

    #[test]
    fn a_topics_own_configs_come_before_the_brokers() {
        let values = validate_topic(
            &Properties::new(),
            &properties(&[("retention.ms", "5")]),
            &properties(&[("retention.ms", "7"), ("segment.ms", "9")]),
            false,
        )
        .expect("valid");
        assert_eq!((long(&values, "retention.ms"), long(&values, "segment.ms")), (5, 9));
    }

    #[test]
    fn groups_stay_in_the_brokers_bounds() {
        let node = properties(&[("process.roles", "broker"), ("node.id", "1"), ("controller.listener.names", "C")]);
        let node = broker().parse(&node).expect("valid");
        validate_group(&properties(&[("consumer.session.timeout.ms", "50000")]), &node).expect("in bounds");
        assert_eq!(
            validate_group(&properties(&[("consumer.session.timeout.ms", "60001")]), &node).expect_err("too long").to_string(),
            "consumer.session.timeout.ms must be less than or equal to group.consumer.max.session.timeout.ms"
        );
        assert_eq!(
            validate_group(&properties(&[("session.timeout.ms", "1")]), &node).expect_err("unknown").to_string(),
            "Unknown group config name: session.timeout.ms"
        );
    }

    #[test]
    fn client_metrics_have_an_interval_and_patterns() {
        validate_client_metrics("s", &properties(&[("match", "client_id=app.*")])).expect("valid");
        assert_eq!(
            validate_client_metrics("s", &properties(&[("interval.ms", "10")])).expect_err("too short").to_string(),
            "Invalid value 10 for interval.ms, interval must be between 100 and 3600000 (1 hour)"
        );
        assert_eq!(
            validate_client_metrics("s", &properties(&[("match", "host=x")])).expect_err("unknown parameter").to_string(),
            "Illegal client matching pattern: host=x"
        );
    }
}
