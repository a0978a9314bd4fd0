//! The configs of a topic as its logs take them: what is set on the topic over what the node gives to all topics.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::BrokerConfig;
use crate::metadata::config::{self, ConfigValue, ConfigValues};
use crate::storage::config::{CleanupPolicy, CompressionType, LogConfig, TimestampType};

impl BrokerConfig {
    /// The configs of a topic on which `overrides` are set.
    ///
    /// The controller checks configs before they become records; an override that is wrong all the same (set by another release, or
    /// valid only where it was set) is passed over, because a log must open with something.
    /// Topics that set nothing share one value, because a node may have hundreds of thousands of partitions.
    pub fn log_config(&self, overrides: &BTreeMap<String, String>) -> Arc<LogConfig> {
        let parsed = overrides.iter().filter_map(|(name, text)| {
            let definition = config::topic().get(name)?;
            Some((definition.name, definition.parse(text).ok()?))
        });
        let parsed: Vec<_> = parsed.collect();
        if parsed.is_empty() {
            return Arc::clone(&self.log_defaults);
        }
        let mut values = self.topic_values.clone();
        values.extend(parsed);
        Arc::new(from_values(&values))
    }
}

pub(super) fn from_values(values: &ConfigValues) -> LogConfig {
    let value = |name: &str| values.get(name).unwrap_or(&ConfigValue::Null);
    let int = |name: &str| value(name).as_i32().unwrap_or_default();
    let long = |name: &str| value(name).as_i64().unwrap_or_default();
    let boolean = |name: &str| value(name).as_bool().unwrap_or_default();
    let policies = value("cleanup.policy").as_list().unwrap_or_default();
    let has_policy = |policy: &str| policies.iter().any(|set| set == policy);
    LogConfig {
        // Tests of Kafka's own set the internal config to roll segments that are smaller than the smallest allowed.
        segment_bytes: value("internal.segment.bytes").as_i32().unwrap_or_else(|| int("segment.bytes")),
        segment_ms: long("segment.ms"),
        segment_jitter_ms: long("segment.jitter.ms"),
        segment_index_bytes: int("segment.index.bytes"),
        flush_messages: long("flush.messages"),
        flush_ms: long("flush.ms"),
        retention_bytes: long("retention.bytes"),
        retention_ms: long("retention.ms"),
        max_message_bytes: int("max.message.bytes"),
        index_interval_bytes: int("index.interval.bytes"),
        file_delete_delay_ms: long("file.delete.delay.ms"),
        delete_retention_ms: long("delete.retention.ms"),
        min_compaction_lag_ms: long("min.compaction.lag.ms"),
        max_compaction_lag_ms: long("max.compaction.lag.ms"),
        min_cleanable_dirty_ratio: value("min.cleanable.dirty.ratio").as_f64().unwrap_or_default(),
        cleanup_policy: CleanupPolicy { compact: has_policy("compact"), delete: has_policy("delete") },
        unclean_leader_election_enable: boolean("unclean.leader.election.enable"),
        min_insync_replicas: int("min.insync.replicas"),
        compression_type: match value("compression.type").as_str() {
            Some("uncompressed") => CompressionType::Uncompressed,
            Some("gzip") => CompressionType::Gzip { level: int("compression.gzip.level") },
            Some("snappy") => CompressionType::Snappy,
            Some("lz4") => CompressionType::Lz4 { level: int("compression.lz4.level") },
            Some("zstd") => CompressionType::Zstd { level: int("compression.zstd.level") },
            _ => CompressionType::Producer,
        },
        preallocate: boolean("preallocate"),
        message_timestamp_type: match value("message.timestamp.type").as_str() {
            Some("LogAppendTime") => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        },
        message_timestamp_before_max_ms: long("message.timestamp.before.max.ms"),
        message_timestamp_after_max_ms: long("message.timestamp.after.max.ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_defaults_of_both_sides_agree() {
        let config = BrokerConfig::from_properties(&BTreeMap::new()).expect("defaults are valid");
        assert_eq!(*config.log_config(&BTreeMap::new()), LogConfig::default());
    }

    #[test]
    fn a_topics_own_configs_come_first_and_the_brokers_next() {
        let node = properties(&[("log.retention.hours", "2"), ("log.segment.bytes", "2000000"), ("compression.type", "zstd")]);
        let config = BrokerConfig::from_properties(&node).expect("valid");
        let log = config.log_config(&properties(&[("segment.bytes", "3000000"), ("cleanup.policy", "compact")]));
        assert_eq!((log.retention_ms, log.segment_bytes), (7_200_000, 3_000_000));
        assert_eq!(log.compression_type, CompressionType::Zstd { level: 3 });
        assert_eq!(log.cleanup_policy, CleanupPolicy { compact: true, delete: false });
    }

    #[test]
    fn an_override_that_is_wrong_is_passed_over() {
        let config = BrokerConfig::from_properties(&BTreeMap::new()).expect("defaults are valid");
        let log = config.log_config(&properties(&[("segment.bytes", "1"), ("retention.ms", "5")]));
        assert_eq!((log.segment_bytes, log.retention_ms), (1 << 30, 5));
    }
}
