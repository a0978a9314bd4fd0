//! Every topic config of Kafka 4.3 and the broker config that gives its default.
//!
//! Source: `LogConfig`, `ServerTopicConfigSynonyms`.

use super::ConfigType::{Boolean, Double, Int, List, Long, String};
use super::Importance::Medium;
use super::Validator::{Any, AtLeast, Between, BetweenDoubles, GzipLevel, OneOf, SubsetOf, ThrottledReplicas};
use super::{Definition, define, no_default};

#[rustfmt::skip]
pub(super) const TOPIC: &[Definition] = &[
    define("segment.bytes", Int, "1073741824", AtLeast(1048576), Medium).synonym("log.segment.bytes"),
    define("segment.ms", Long, "604800000", AtLeast(1), Medium).synonym("log.roll.ms"),
    define("segment.jitter.ms", Long, "0", AtLeast(0), Medium).synonym("log.roll.jitter.ms"),
    define("segment.index.bytes", Int, "10485760", AtLeast(4), Medium).synonym("log.index.size.max.bytes"),
    define("flush.messages", Long, "9223372036854775807", AtLeast(1), Medium).synonym("log.flush.interval.messages"),
    define("flush.ms", Long, "9223372036854775807", AtLeast(0), Medium).synonym("log.flush.interval.ms"),
    define("retention.bytes", Long, "-1", Any, Medium).synonym("log.retention.bytes"),
    define("retention.ms", Long, "604800000", AtLeast(-1), Medium).synonym("log.retention.ms"),
    define("max.message.bytes", Int, "1048588", AtLeast(0), Medium).synonym("message.max.bytes"),
    define("index.interval.bytes", Int, "4096", AtLeast(0), Medium).synonym("log.index.interval.bytes"),
    define("delete.retention.ms", Long, "86400000", AtLeast(0), Medium).synonym("log.cleaner.delete.retention.ms"),
    define("min.compaction.lag.ms", Long, "0", AtLeast(0), Medium).synonym("log.cleaner.min.compaction.lag.ms"),
    define("max.compaction.lag.ms", Long, "9223372036854775807", AtLeast(1), Medium).synonym("log.cleaner.max.compaction.lag.ms"),
    define("file.delete.delay.ms", Long, "60000", AtLeast(0), Medium).synonym("log.segment.delete.delay.ms"),
    define("min.cleanable.dirty.ratio", Double, "0.5", BetweenDoubles(0.0, 1.0), Medium).synonym("log.cleaner.min.cleanable.ratio"),
    define("cleanup.policy", List, "delete", SubsetOf(&["compact", "delete"]), Medium).synonym("log.cleanup.policy"),
    define("unclean.leader.election.enable", Boolean, "false", Any, Medium).synonym("unclean.leader.election.enable"),
    define("min.insync.replicas", Int, "1", AtLeast(1), Medium).synonym("min.insync.replicas"),
    define("compression.type", String, "producer", OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), Medium).synonym("compression.type"),
    define("compression.gzip.level", Int, "-1", GzipLevel, Medium).synonym("compression.gzip.level"),
    define("compression.lz4.level", Int, "9", Between(1, 17), Medium).synonym("compression.lz4.level"),
    define("compression.zstd.level", Int, "3", Between(-131072, 22), Medium).synonym("compression.zstd.level"),
    define("preallocate", Boolean, "false", Any, Medium).synonym("log.preallocate"),
    define("message.timestamp.type", String, "CreateTime", OneOf(&["CreateTime", "LogAppendTime"]), Medium).synonym("log.message.timestamp.type"),
    define("message.timestamp.before.max.ms", Long, "9223372036854775807", AtLeast(0), Medium).synonym("log.message.timestamp.before.max.ms"),
    define("message.timestamp.after.max.ms", Long, "3600000", AtLeast(0), Medium).synonym("log.message.timestamp.after.max.ms"),
    define("leader.replication.throttled.replicas", List, "", ThrottledReplicas, Medium),
    define("follower.replication.throttled.replicas", List, "", ThrottledReplicas, Medium),
    define("remote.storage.enable", Boolean, "false", Any, Medium),
    define("local.retention.ms", Long, "-2", AtLeast(-2), Medium).synonym("log.local.retention.ms"),
    define("local.retention.bytes", Long, "-2", AtLeast(-2), Medium).synonym("log.local.retention.bytes"),
    define("remote.log.copy.disable", Boolean, "false", Any, Medium),
    define("remote.log.delete.on.disable", Boolean, "false", Any, Medium),
    no_default("internal.segment.bytes", Int, Any, Medium).internal(),
];
