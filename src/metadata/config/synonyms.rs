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

/// A broker config that gives the default of a topic config, and the milliseconds that one of its units is; 1 too where it is no time.
pub type TopicSynonym = (&'static str, i64);

/// The broker configs that give the default of the topic config `name`, in the order in which they are looked at.
pub fn of_topic_config(name: &str) -> Vec<TopicSynonym> {
    match name {
        "segment.ms" => vec![("log.roll.ms", 1), ("log.roll.hours", 3_600_000)],
        "segment.jitter.ms" => vec![("log.roll.jitter.ms", 1), ("log.roll.jitter.hours", 3_600_000)],
        "flush.ms" => vec![("log.flush.interval.ms", 1), ("log.flush.scheduler.interval.ms", 1)],
        "retention.ms" => vec![("log.retention.ms", 1), ("log.retention.minutes", 60_000), ("log.retention.hours", 3_600_000)],
        _ => super::topic().get(name).and_then(|definition| definition.synonym).map(|synonym| (synonym, 1)).into_iter().collect(),
    }
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

    #[test]
    fn the_first_synonym_of_a_topic_config_is_the_defined_one() {
        for definition in super::super::topic().iter() {
            assert_eq!(of_topic_config(definition.name).first().map(|synonym| synonym.0), definition.synonym);
        }
    }
}
