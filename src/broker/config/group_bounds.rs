//! The bounds that a node sets for group configs must hold for its own defaults.
//!
//! Sources: `GroupCoordinatorConfig`, `ShareGroupConfig`.

use crate::metadata::config::{ConfigError, ConfigValue, ConfigValues};

/// Refuses a default below its minimum or above its maximum.
pub(super) fn validate(values: &ConfigValues) -> Result<(), ConfigError> {
    for kind in ["consumer", "share", "streams"] {
        for setting in ["heartbeat.interval.ms", "session.timeout.ms", "assignment.interval.ms"] {
            bounded(values, kind, setting)?;
        }
        let (heartbeat, session) = (format!("group.{kind}.heartbeat.interval.ms"), format!("group.{kind}.session.timeout.ms"));
        if long(values, &heartbeat) >= long(values, &session) {
            return Err(ConfigError::Config(format!("{heartbeat} must be less than {session}")));
        }
    }
    for setting in ["delivery.count.limit", "partition.max.record.locks", "record.lock.duration.ms"] {
        bounded(values, "share", setting)?;
    }
    let assignors = values.get("group.share.assignors").and_then(ConfigValue::as_list).unwrap_or_default().len();
    if assignors != 1 {
        return Err(ConfigError::Config(format!("group.share.assignors must contain exactly one assignor, but found {assignors}")));
    }
    not_above(values, "group.streams.num.standby.replicas", "group.streams.max.standby.replicas")?;
    not_below(values, "group.share.max.share.sessions", "group.share.max.size")?;
    let protocols = values.get("group.coordinator.rebalance.protocols").and_then(ConfigValue::as_list).unwrap_or_default();
    if !protocols.iter().any(|protocol| protocol == "classic") {
        return Err(ConfigError::Config("Disabling the 'classic' protocol is not supported.".to_owned()));
    }
    Ok(())
}

fn bounded(values: &ConfigValues, kind: &str, setting: &str) -> Result<(), ConfigError> {
    let (min, max) = (format!("group.{kind}.min.{setting}"), format!("group.{kind}.max.{setting}"));
    let own = format!("group.{kind}.{setting}");
    not_below(values, &max, &min)?;
    not_below(values, &own, &min)?;
    not_above(values, &own, &max)
}

fn not_below(values: &ConfigValues, name: &str, min: &str) -> Result<(), ConfigError> {
    if long(values, name) >= long(values, min) {
        return Ok(());
    }
    Err(ConfigError::Config(format!("{name} must be greater than or equal to {min}")))
}

fn not_above(values: &ConfigValues, name: &str, max: &str) -> Result<(), ConfigError> {
    if long(values, name) <= long(values, max) {
        return Ok(());
    }
    Err(ConfigError::Config(format!("{name} must be less than or equal to {max}")))
}

fn long(values: &ConfigValues, name: &str) -> i64 {
    values.get(name).and_then(ConfigValue::as_i64).unwrap_or_default()
}
