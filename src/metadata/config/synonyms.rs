//! The other names of a broker config, the first of which that is set wins.
//!
//! Sources: `DynamicBrokerConfig.brokerConfigSynonyms`, `ServerTopicConfigSynonyms`.

/// Broker configs that mean the same in different units, the finest first.
const UNITS: [&[&str]; 3] = [
    &["log.roll.ms", "log.roll.hours"],
    &["log.roll.jitter.ms", "log.roll.jitter.hours"],
    &["log.retention.ms", "log.retention.minutes", "log.retention.hours"],
];

/// Configs of a SASL mechanism: their full name has the mechanism before the listener's prefix.
const LISTENER_MECHANISM: [&str; 5] = [
    "sasl.jaas.config",
    "sasl.login.callback.handler.class",
    "sasl.login.class",
    "sasl.server.callback.handler.class",
    "connections.max.reauth.ms",
];

/// The names under which a value of the broker config `name` may be set, in the order in which they are looked at.
pub fn of_broker_config(name: &str) -> Vec<&str> {
    if name == "log.flush.interval.ms" {
        return vec![name, "log.flush.scheduler.interval.ms"];
    }
    if let Some(unit) = UNITS.iter().find(|unit| unit.contains(&name)) {
        return unit.to_vec();
    }
    match without_listener_prefix(name) {
        Some(base) => {
            let mechanism = LISTENER_MECHANISM.iter().find(|mechanism| base.ends_with(**mechanism));
            vec![name, mechanism.copied().unwrap_or(base)]
        }
        None => vec![name],
    }
}

/// `ssl.keystore.location` of `listener.name.external.ssl.keystore.location`; none without such a prefix.
pub fn without_listener_prefix(name: &str) -> Option<&str> {
    name.strip_prefix("listener.name.")?.split_once('.').map(|(_, base)| base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_listener_overrides_are_synonyms() {
        assert_eq!(of_broker_config("log.retention.ms"), ["log.retention.ms", "log.retention.minutes", "log.retention.hours"]);
        assert_eq!(of_broker_config("log.flush.scheduler.interval.ms"), ["log.flush.scheduler.interval.ms"]);
        assert_eq!(of_broker_config("listener.name.ext.ssl.keystore.type"), ["listener.name.ext.ssl.keystore.type", "ssl.keystore.type"]);
        assert_eq!(
            of_broker_config("listener.name.ext.plain.sasl.jaas.config"),
            ["listener.name.ext.plain.sasl.jaas.config", "sasl.jaas.config"]
        );
        assert_eq!(of_broker_config("num.partitions"), ["num.partitions"]);
    }
}
