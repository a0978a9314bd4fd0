//! Every group config of Kafka 4.3 and the broker config that gives its default.
//!
//! Source: `GroupConfig`.

use super::ConfigType::{Boolean, Int, String};
use super::Importance::Medium;
use super::Validator::{Any, AtLeast, OneOf, ShareOffsetReset};
use super::{Definition, define};

#[rustfmt::skip]
pub(super) const GROUP: &[Definition] = &[
    define("consumer.session.timeout.ms", Int, "45000", AtLeast(1), Medium).synonym("group.consumer.session.timeout.ms"),
    define("consumer.heartbeat.interval.ms", Int, "5000", AtLeast(1), Medium).synonym("group.consumer.heartbeat.interval.ms"),
    define("consumer.assignment.interval.ms", Int, "1000", AtLeast(0), Medium).synonym("group.consumer.assignment.interval.ms"),
    define("share.session.timeout.ms", Int, "45000", AtLeast(1), Medium).synonym("group.share.session.timeout.ms"),
    define("share.heartbeat.interval.ms", Int, "5000", AtLeast(1), Medium).synonym("group.share.heartbeat.interval.ms"),
    define("share.record.lock.duration.ms", Int, "30000", AtLeast(1000), Medium).synonym("group.share.record.lock.duration.ms"),
    define("share.delivery.count.limit", Int, "5", AtLeast(2), Medium).synonym("group.share.delivery.count.limit"),
    define("share.partition.max.record.locks", Int, "2000", AtLeast(100), Medium).synonym("group.share.partition.max.record.locks"),
    define("share.auto.offset.reset", String, "latest", ShareOffsetReset, Medium),
    define("share.isolation.level", String, "read_uncommitted", OneOf(&["read_committed", "read_uncommitted"]), Medium),
    define("share.renew.acknowledge.enable", Boolean, "true", Any, Medium),
    define("share.assignment.interval.ms", Int, "1000", AtLeast(0), Medium).synonym("group.share.assignment.interval.ms"),
    define("streams.session.timeout.ms", Int, "45000", AtLeast(1), Medium).synonym("group.streams.session.timeout.ms"),
    define("streams.heartbeat.interval.ms", Int, "5000", AtLeast(1), Medium).synonym("group.streams.heartbeat.interval.ms"),
    define("streams.num.standby.replicas", Int, "0", AtLeast(0), Medium).synonym("group.streams.num.standby.replicas"),
    define("streams.initial.rebalance.delay.ms", Int, "3000", AtLeast(0), Medium).synonym("group.streams.initial.rebalance.delay.ms"),
    define("streams.assignment.interval.ms", Int, "1000", AtLeast(0), Medium).synonym("group.streams.assignment.interval.ms"),
];
