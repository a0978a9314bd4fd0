//! Assignors on the broker's side: a group's members and topics in, who gets which partition out. Sources: `PartitionAssignor`, `GroupSpec`,
//! `SubscribedTopicDescriber` of `coordinator.group.api.assignor`.
//!
//! Invariant: an assignment depends on nothing but its input, so that it is the same on every coordinator.

mod range;
mod simple;
mod uniform;
mod uniform_heterogeneous;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use range::RangeAssignor;
pub use simple::SimpleAssignor;
pub use uniform::UniformAssignor;

use super::{SubscriptionType, TopicPartitions};
use crate::common::uuid::Uuid;
use crate::metadata::image::MetadataImage;

/// Why there is no assignment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PartitionAssignorError(pub String);

/// One member, for an assignor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberSpec {
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    /// The topics it reads that exist. Shared: most members read the same.
    pub subscribed_topics: Arc<BTreeSet<Uuid>>,
    /// Its part of the target assignment that was.
    pub assignment: TopicPartitions,
}

/// A group, for an assignor.
#[derive(Debug)]
pub struct GroupSpec<'a> {
    pub members: BTreeMap<String, MemberSpec>,
    pub subscription_type: SubscriptionType,
    /// The member that had each partition in the target assignment that was.
    pub inverted: &'a BTreeMap<Uuid, BTreeMap<i32, String>>,
    /// The partitions that may be assigned; `None` when all may.
    pub assignable: Option<&'a TopicPartitions>,
    /// Partition counts and racks.
    pub image: &'a MetadataImage,
}

impl GroupSpec<'_> {
    /// The number of the topic's partitions.
    pub fn partition_count(&self, topic: Uuid) -> Result<i32, PartitionAssignorError> {
        let image = self.image.topics.topic_by_id(topic);
        let unknown =
            || PartitionAssignorError(format!("Members are subscribed to topic {topic} which doesn't exist in the topic metadata."));
        image.and_then(|topic| i32::try_from(topic.partition_count()).ok()).ok_or_else(unknown)
    }

    pub fn is_partition_assigned(&self, topic: Uuid, partition: i32) -> bool {
        self.inverted.get(&topic).is_some_and(|owners| owners.contains_key(&partition))
    }

    pub fn is_partition_assignable(&self, topic: Uuid, partition: i32) -> bool {
        self.assignable.is_none_or(|map| map.get(&topic).is_some_and(|partitions| partitions.contains(&partition)))
    }
}

/// Gives partitions to members.
pub trait PartitionAssignor: Send + Sync {
    /// The name in configs, requests and descriptions.
    fn name(&self) -> &'static str;

    /// The new target assignment. A member that is left out gets nothing.
    fn assign(&self, group: &GroupSpec<'_>) -> Result<BTreeMap<String, TopicPartitions>, PartitionAssignorError>;
}

/// The built-in assignor of this name, or of Kafka's class of that name, as `group.consumer.assignors` takes both.
pub fn consumer_assignor(name: &str) -> Option<&'static dyn PartitionAssignor> {
    match name {
        "uniform" | "org.apache.kafka.coordinator.group.assignor.UniformAssignor" => Some(&UniformAssignor),
        "range" | "org.apache.kafka.coordinator.group.assignor.RangeAssignor" => Some(&RangeAssignor),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
