//! The checks that a value must pass, with the error texts of Kafka's validators.

use super::{ConfigError, ConfigValue};

/// What a value must be, beyond its type.
#[derive(Clone, Copy, Debug)]
pub enum Validator {
    /// Anything.
    Any,
    /// A number, not below this.
    AtLeast(i64),
    /// A number in these bounds.
    Between(i64, i64),
    /// A double in these bounds.
    BetweenDoubles(f64, f64),
    /// A gzip level: 1 to 9, or -1 for the library's own choice.
    GzipLevel,
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// One of these upper-case strings, in any case.
    OneOfIgnoreCase(&'static [&'static str]),
    /// A string that is not empty, or null.
    NonEmptyString,
    /// Anything but null.
    NonNull,
    /// A list of distinct values out of these.
    SubsetOf(&'static [&'static str]),
    /// The same, and not empty.
    NonEmptySubsetOf(&'static [&'static str]),
    /// A list of distinct values.
    AnyDistinct,
    /// A list of distinct values, or null.
    AnyDistinctOrNull,
    /// A list of distinct values that is not empty.
    NonEmptyDistinct,
    /// A list of distinct values that is not empty, or null.
    NonEmptyDistinctOrNull,
    /// `*`, or a list of `partition:broker`.
    ThrottledReplicas,
    /// A list of `id@host:port`.
    QuorumVoters,
    /// A list of `host:port`.
    BootstrapServers,
    /// `earliest`, `latest` or `by_duration:` and an ISO 8601 duration.
    ShareOffsetReset,
}

impl Validator {
    /// Kafka drops repeated values of such a list before it looks at them.
    pub(super) fn wants_distinct_values(self) -> bool {
        self.list_rules().is_some()
    }

    /// Of a list: may it be empty, may it be null, which values may it have (empty: all)?
    fn list_rules(self) -> Option<(bool, bool, &'static [&'static str])> {
        match self {
            Validator::SubsetOf(values) => Some((true, false, values)),
            Validator::NonEmptySubsetOf(values) => Some((false, false, values)),
            Validator::AnyDistinct => Some((true, false, &[])),
            Validator::AnyDistinctOrNull => Some((true, true, &[])),
            Validator::NonEmptyDistinct => Some((false, false, &[])),
            Validator::NonEmptyDistinctOrNull => Some((false, true, &[])),
            _ => None,
        }
    }

    /// Refuses a value that does not fit.
    pub fn ensure_valid(self, name: &str, value: &ConfigValue) -> Result<(), ConfigError> {
        let invalid = |reason: &str| Err(ConfigError::invalid_value(name, value, reason));
        let text = value.as_str();
        match self {
            Validator::Any => Ok(()),
            Validator::AtLeast(_) | Validator::Between(..) | Validator::BetweenDoubles(..) | Validator::GzipLevel if value.is_null() => {
                invalid("Value must be non-null")
            }
            Validator::AtLeast(min) if number(value) < min as f64 => invalid(&format!("Value must be at least {min}")),
            Validator::AtLeast(_) => Ok(()),
            Validator::Between(min, _) if number(value) < min as f64 => invalid(&format!("Value must be at least {min}")),
            Validator::Between(_, max) if number(value) > max as f64 => invalid(&format!("Value must be no more than {max}")),
            Validator::Between(..) => Ok(()),
            Validator::BetweenDoubles(min, _) if number(value) < min => invalid(&format!("Value must be at least {}", short(min))),
            Validator::BetweenDoubles(_, max) if number(value) > max => invalid(&format!("Value must be no more than {}", short(max))),
            Validator::BetweenDoubles(..) => Ok(()),
            Validator::GzipLevel => match value.as_i32() {
                Some(-1 | 1..=9) => Ok(()),
                _ => invalid("Value must be between 1 and 9 or equal to -1"),
            },
            Validator::OneOf(values) => match text {
                Some(text) if values.contains(&text) => Ok(()),
                _ => invalid(&format!("String must be one of: {}", values.join(", "))),
            },
            Validator::OneOfIgnoreCase(values) => match text {
                Some(text) if values.contains(&text.to_uppercase().as_str()) => Ok(()),
                _ => invalid(&format!("String must be one of (case insensitive): {}", values.join(", "))),
            },
            Validator::NonEmptyString if text == Some("") => invalid("String must be non-empty"),
            Validator::NonEmptyString => Ok(()),
            Validator::NonNull if value.is_null() => invalid("entry must be non null"),
            Validator::NonNull => Ok(()),
            Validator::ThrottledReplicas => throttled_replicas(name, value),
            Validator::QuorumVoters => value.as_list().unwrap_or_default().iter().try_for_each(|voter| quorum_voter(name, voter)),
            Validator::BootstrapServers => value.as_list().unwrap_or_default().iter().try_for_each(|server| bootstrap_server(name, server)),
            Validator::ShareOffsetReset => share_offset_reset(name, value),
            Validator::SubsetOf(_)
            | Validator::NonEmptySubsetOf(_)
            | Validator::AnyDistinct
            | Validator::AnyDistinctOrNull
            | Validator::NonEmptyDistinct
            | Validator::NonEmptyDistinctOrNull => self.list(name, value),
        }
    }

    fn list(self, name: &str, value: &ConfigValue) -> Result<(), ConfigError> {
        let Some((may_be_empty, may_be_null, allowed)) = self.list_rules() else { return Ok(()) };
        let Some(values) = value.as_list() else {
            return if may_be_null { Ok(()) } else { Err(ConfigError::Config(format!("Configuration '{name}' values must not be null."))) };
        };
        if !may_be_empty && values.is_empty() {
            let valid = if allowed.is_empty() { "any non-empty value".to_owned() } else { format!("[{}]", allowed.join(", ")) };
            return Err(ConfigError::Config(format!("Configuration '{name}' must not be empty. Valid values include: {valid}")));
        }
        for value in values {
            if value.is_empty() {
                return Err(ConfigError::Config(format!("Configuration '{name}' values must not be empty.")));
            }
            if !allowed.is_empty() && !allowed.contains(&value.as_str()) {
                return Err(ConfigError::invalid_value(name, value, &format!("String must be one of: {}", allowed.join(", "))));
            }
        }
        Ok(())
    }
}

/// Kafka compares all numbers as doubles.
fn number(value: &ConfigValue) -> f64 {
    value.as_f64().or(value.as_i64().map(|value| value as f64)).unwrap_or(f64::NAN)
}

/// Kafka writes the whole bounds of its ratios without a fraction.
fn short(bound: f64) -> String {
    bound.to_string()
}

fn throttled_replicas(name: &str, value: &ConfigValue) -> Result<(), ConfigError> {
    let values = value.as_list().unwrap_or_default();
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_replica =
        |text: &str| text.is_empty() || text.split_once(':').is_some_and(|(partition, broker)| digits(partition) && digits(broker));
    let joined: String = values.iter().map(|value| value.trim()).collect();
    if values.iter().all(|value| is_replica(value.trim())) || joined == "*" {
        return Ok(());
    }
    Err(ConfigError::invalid_value(
        name,
        value,
        &format!(
            "{name} must be the literal '*' or a list of replicas in the following format: \
             [partitionId]:[brokerId],[partitionId]:[brokerId],..."
        ),
    ))
}

fn quorum_voter(name: &str, voter: &str) -> Result<(), ConfigError> {
    let form = "Each entry should be in the form `{id}@{host}:{port}`.";
    let Some((id, address)) = voter.split_once('@').filter(|(_, address)| !address.is_empty() && !address.contains('@')) else {
        return Err(ConfigError::Config(format!("Invalid configuration value for {name}. {form}")));
    };
    if id.parse::<i32>().is_err() {
        return Err(ConfigError::Config(format!("Failed to parse voter ID as an integer from {id}")));
    }
    match host_and_port(address) {
        Some((host, _)) if !is_host(host) => {
            Err(ConfigError::Config(format!("Failed to parse host name from entry {voter} for the configuration {name}. {form}")))
        }
        Some((_, port)) if port.parse::<u16>().is_ok() => Ok(()),
        Some(_) => Err(ConfigError::Config(format!("Failed to parse host port from entry {voter} for the configuration {name}. {form}"))),
        None => Err(ConfigError::Config(format!("Failed to parse host name from entry {voter} for the configuration {name}. {form}"))),
    }
}

fn bootstrap_server(name: &str, server: &str) -> Result<(), ConfigError> {
    let error = |part: &str| {
        Err(ConfigError::Config(format!(
            "Failed to parse host {part} from {server} for the configuration {name}. Each entry should be in the form \"{{host}}:{{port}}\""
        )))
    };
    match host_and_port(server) {
        Some((host, port)) if is_host(host) => port.parse::<u16>().map_or_else(|_| error("port"), |_| Ok(())),
        _ => error("name"),
    }
}

/// Splits `host:port` or `[v6]:port`.
fn host_and_port(address: &str) -> Option<(&str, &str)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    (!port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())).then_some((host, port))
}

fn is_host(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:%".contains(&byte))
}

fn share_offset_reset(name: &str, value: &ConfigValue) -> Result<(), ConfigError> {
    let text = value.as_str().unwrap_or_default();
    let fits = match text.split_once(':') {
        None => matches!(text, "earliest" | "latest"),
        Some((strategy, duration)) => strategy == "by_duration" && is_iso_duration(duration),
    };
    if fits {
        return Ok(());
    }
    let reason = format!(
        "Invalid value `{text}` for configuration {name}. The value must be either 'earliest', 'latest' or of the format \
         'by_duration:<PnDTnHnMn.nS>'."
    );
    Err(ConfigError::invalid_value(name, value, &reason))
}

/// A positive ISO 8601 duration of days, hours, minutes and seconds, at least one of them.
fn is_iso_duration(text: &str) -> bool {
    let upper = text.to_ascii_uppercase();
    let Some(rest) = upper.strip_prefix('P') else { return false };
    let (days, time) = match rest.split_once('T') {
        Some((days, time)) => (days, Some(time)),
        None => (rest, None),
    };
    let is_count = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let days_fit = days.is_empty() || days.strip_suffix('D').is_some_and(is_count);
    let time_fits = time.is_none_or(|time| {
        let mut rest = time;
        for unit in ['H', 'M'] {
            if let Some((count, after)) = rest.split_once(unit) {
                if !is_count(count) {
                    return false;
                }
                rest = after;
            }
        }
        let is_seconds = |text: &str| match text.split_once('.') {
            Some((whole, fraction)) => is_count(whole) && fraction.bytes().all(|byte| byte.is_ascii_digit()),
            None => is_count(text),
        };
        !time.is_empty() && (rest.is_empty() || rest.strip_suffix('S').is_some_and(is_seconds))
    });
    days_fit && time_fits && !(days.is_empty() && time.is_none())
}

#[cfg(test)]
mod tests {
    use super::super::{broker, group, topic};

    fn topic_error(name: &str, text: &str) -> String {
        topic().get(name).expect("a topic config").parse(text).expect_err(text).to_string()
    }

    fn broker_error(name: &str, text: &str) -> String {
        broker().get(name).expect("a broker config").parse(text).expect_err(text).to_string()
    }

    #[test]
    fn numbers_out_of_bounds_are_refused() {
        assert_eq!(topic_error("segment.ms", "0"), "Invalid value 0 for configuration segment.ms: Value must be at least 1");
        assert_eq!(topic_error("retention.ms", "-2"), "Invalid value -2 for configuration retention.ms: Value must be at least -1");
        assert_eq!(
            topic_error("compression.lz4.level", "18"),
            "Invalid value 18 for configuration compression.lz4.level: Value must be no more than 17"
        );
        assert_eq!(
            topic_error("compression.gzip.level", "0"),
            "Invalid value 0 for configuration compression.gzip.level: Value must be between 1 and 9 or equal to -1"
        );
        assert_eq!(
            topic_error("min.cleanable.dirty.ratio", "1.5"),
            "Invalid value 1.5 for configuration min.cleanable.dirty.ratio: Value must be no more than 1"
        );
    }

    #[test]
    fn strings_and_lists_have_their_values() {
        assert_eq!(
            topic_error("message.timestamp.type", "Now"),
            "Invalid value Now for configuration message.timestamp.type: String must be one of: CreateTime, LogAppendTime"
        );
        assert_eq!(
            topic_error("cleanup.policy", "delete,shrink"),
            "Invalid value shrink for configuration cleanup.policy: String must be one of: compact, delete"
        );
        assert_eq!(topic_error("cleanup.policy", "delete,"), "Configuration 'cleanup.policy' values must not be empty.");
        assert_eq!(
            broker_error("process.roles", ""),
            "Configuration 'process.roles' must not be empty. Valid values include: [broker, controller]"
        );
        assert_eq!(broker_error("log.dirs", ""), "Configuration 'log.dirs' must not be empty. Valid values include: any non-empty value");
    }

    #[test]
    fn repeated_values_of_a_list_count_once() {
        let value = topic().get("cleanup.policy").expect("defined").parse("delete,delete").expect("valid");
        assert_eq!(value.as_list(), Some(&["delete".to_owned()][..]));
    }

    #[test]
    fn throttled_replicas_are_pairs_or_a_star() {
        let definition = topic().get("leader.replication.throttled.replicas").expect("defined");
        for text in ["*", "0:1,2:3", ""] {
            definition.parse(text).expect(text);
        }
        assert_eq!(
            topic_error("leader.replication.throttled.replicas", "0:1,x"),
            "Invalid value [0:1, x] for configuration leader.replication.throttled.replicas: leader.replication.throttled.replicas \
             must be the literal '*' or a list of replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],..."
        );
    }

    #[test]
    fn voters_and_bootstrap_servers_are_addresses() {
        let voters = broker().get("controller.quorum.voters").expect("defined");
        voters.parse("1@localhost:9093,2@[::1]:9093").expect("valid");
        assert_eq!(
            broker_error("controller.quorum.voters", "localhost:9093"),
            "Invalid configuration value for controller.quorum.voters. Each entry should be in the form `{id}@{host}:{port}`."
        );
        assert_eq!(
            broker_error("controller.quorum.bootstrap.servers", "localhost"),
            "Failed to parse host name from localhost for the configuration controller.quorum.bootstrap.servers. \
             Each entry should be in the form \"{host}:{port}\""
        );
    }

    #[test]
    fn share_offset_reset_takes_durations() {
        let definition = group().get("share.auto.offset.reset").expect("defined");
        for text in ["earliest", "latest", "by_duration:P1DT2H3M4.5S", "by_duration:PT1H"] {
            definition.parse(text).expect(text);
        }
        for text in ["none", "by_duration:", "by_duration:PT", "by_duration:1H", "later:P1D"] {
            definition.parse(text).expect_err(text);
        }
    }
}
