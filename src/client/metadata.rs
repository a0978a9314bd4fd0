//! What a client knows of a cluster: brokers, topics, leaders. An immutable snapshot; [`super::cluster::Cluster`] replaces it.
//!
//! Invariant: a partition's leader epoch never goes back for the same topic id, so that a slow broker cannot undo news.
//! Source: `MetadataSnapshot`, `Metadata.update`; KIP-320 (epochs), KIP-951 (leaders told in responses).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::time::Instant;

use crate::common::topic_partition::TopicPartition;
use crate::common::uuid::Uuid;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::MetadataResponse;
use crate::protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};

/// A broker as the cluster announces it to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    pub id: i32,
    pub host: String,
    pub port: i32,
    pub rack: Option<String>,
}

/// One partition; negative ids and epochs of the wire are `None` here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionMetadata {
    pub partition: i32,
    /// `LeaderNotAvailable` and the like, or `None`.
    pub error: ErrorCode,
    pub leader: Option<i32>,
    pub leader_epoch: Option<i32>,
    pub replicas: Vec<i32>,
    pub isr: Vec<i32>,
    pub offline_replicas: Vec<i32>,
}

/// One topic.
#[derive(Clone, Debug)]
pub struct TopicMetadata {
    pub name: String,
    /// Zero when the brokers are older than topic ids.
    pub id: Uuid,
    pub is_internal: bool,
    /// In order of their numbers.
    pub partitions: Vec<PartitionMetadata>,
    /// When this was learned.
    pub fetched: Instant,
}

impl TopicMetadata {
    pub fn partition(&self, partition: i32) -> Option<&PartitionMetadata> {
        let at = self.partitions.binary_search_by_key(&partition, |it| it.partition).ok()?;
        self.partitions.get(at)
    }

    /// Does every partition have a leader?
    pub fn is_complete(&self) -> bool {
        !self.partitions.is_empty() && self.partitions.iter().all(|partition| partition.leader.is_some())
    }
}

/// A snapshot of what is known.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    pub cluster_id: Option<String>,
    pub controller_id: Option<i32>,
    pub brokers: BTreeMap<i32, Broker>,
    pub topics: BTreeMap<String, Arc<TopicMetadata>>,
    names: HashMap<Uuid, String>,
}

impl Metadata {
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicMetadata>> {
        self.topics.get(name)
    }

    pub fn topic_by_id(&self, id: Uuid) -> Option<&Arc<TopicMetadata>> {
        self.topics.get(self.names.get(&id)?)
    }

    pub fn partition(&self, topic_partition: &TopicPartition) -> Option<&PartitionMetadata> {
        self.topic(&topic_partition.topic)?.partition(topic_partition.partition)
    }

    /// The leader and its epoch (-1 where brokers are too old to tell).
    pub fn leader(&self, topic_partition: &TopicPartition) -> Option<(i32, i32)> {
        let partition = self.partition(topic_partition)?;
        Some((partition.leader?, partition.leader_epoch.unwrap_or(-1)))
    }

    /// This snapshot with the answer of a broker laid over it. Topics the answer calls unknown are dropped; with `all` set so are those it
    /// does not mention.
    pub(super) fn updated(&self, response: &MetadataResponse, all: bool) -> Metadata {
        let mut next = Metadata {
            cluster_id: response.cluster_id.clone().or_else(|| self.cluster_id.clone()),
            controller_id: known(response.controller_id),
            brokers: BTreeMap::new(),
            topics: if all { BTreeMap::new() } else { self.topics.clone() },
            names: HashMap::new(),
        };
        for broker in &response.brokers {
            let rack = broker.rack.clone();
            next.brokers.insert(broker.node_id, Broker { id: broker.node_id, host: broker.host.clone(), port: broker.port, rack });
        }
        let fetched = Instant::now();
        for topic in &response.topics {
            let Some(name) = topic.name.clone() else { continue };
            if ErrorCode::from_code(topic.error_code).is_error() {
                // An error without partitions says nothing new of the topic, unless it says that there is none.
                if matches!(
                    ErrorCode::from_code(topic.error_code),
                    ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId | ErrorCode::InvalidTopicException
                ) {
                    next.topics.remove(&name);
                }
                continue;
            }
            let old = self.topics.get(&name).filter(|old| old.id == topic.topic_id);
            next.topics.insert(name.clone(), Arc::new(topic_metadata(name, topic, old, fetched)));
        }
        next.names = next.topics.values().filter(|topic| !topic.id.is_zero()).map(|topic| (topic.id, topic.name.clone())).collect();
        next
    }

    /// This snapshot with one partition's leader replaced, if the news is newer.
    pub(super) fn with_leader(&self, topic_partition: &TopicPartition, leader: i32, leader_epoch: i32) -> Option<Metadata> {
        let topic = self.topic(&topic_partition.topic)?;
        let old = topic.partition(topic_partition.partition)?;
        if old.leader_epoch.is_some_and(|epoch| epoch >= leader_epoch) {
            return None;
        }
        let mut topic = TopicMetadata::clone(topic);
        for partition in topic.partitions.iter_mut().filter(|it| it.partition == topic_partition.partition) {
            partition.leader = Some(leader);
            partition.leader_epoch = Some(leader_epoch);
            partition.error = ErrorCode::None;
        }
        let mut next = self.clone();
        next.topics.insert(topic.name.clone(), Arc::new(topic));
        Some(next)
    }

    pub(super) fn with_broker(&self, broker: Broker) -> Metadata {
        let mut next = self.clone();
        next.brokers.insert(broker.id, broker);
        next
    }

    pub(super) fn without_topic(&self, name: &str) -> Metadata {
        let mut next = self.clone();
        if let Some(topic) = next.topics.remove(name) {
            next.names.remove(&topic.id);
        }
        next
    }
}

/// A number of the wire that is negative when there is none.
fn known(number: i32) -> Option<i32> {
    (number >= 0).then_some(number)
}

pub(super) fn partition_metadata(partition: &MetadataResponsePartition) -> PartitionMetadata {
    PartitionMetadata {
        partition: partition.partition_index,
        error: ErrorCode::from_code(partition.error_code),
        leader: known(partition.leader_id),
        leader_epoch: known(partition.leader_epoch),
        replicas: partition.replica_nodes.clone(),
        isr: partition.isr_nodes.clone(),
        offline_replicas: partition.offline_replicas.clone(),
    }
}

fn topic_metadata(name: String, topic: &MetadataResponseTopic, old: Option<&Arc<TopicMetadata>>, fetched: Instant) -> TopicMetadata {
    let mut partitions: Vec<PartitionMetadata> = topic.partitions.iter().map(partition_metadata).collect();
    partitions.sort_by_key(|partition| partition.partition);
    for partition in &mut partitions {
        if let Some(old) = old.and_then(|old| old.partition(partition.partition))
            && old.leader_epoch > partition.leader_epoch
            && partition.leader_epoch.is_some()
        {
            *partition = old.clone();
        }
    }
    TopicMetadata { name, id: topic.topic_id, is_internal: topic.is_internal, partitions, fetched }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(epoch: i32, leader: i32) -> MetadataResponse {
        let partition = MetadataResponsePartition { partition_index: 0, leader_id: leader, leader_epoch: epoch, ..Default::default() };
        let topic = MetadataResponseTopic {
            name: Some("t".to_owned()),
            topic_id: Uuid::from_u128(7),
            partitions: vec![partition],
            ..Default::default()
        };
        MetadataResponse { topics: vec![topic], ..Default::default() }
    }

    #[test]
    fn an_older_leader_epoch_changes_nothing() {
        let metadata = Metadata::default().updated(&response(5, 1), false).updated(&response(4, 2), false);
        assert_eq!(metadata.leader(&TopicPartition::new("t", 0)), Some((1, 5)));
        assert!(metadata.with_leader(&TopicPartition::new("t", 0), 3, 5).is_none());
        let newer = metadata.with_leader(&TopicPartition::new("t", 0), 3, 6).expect("newer");
        assert_eq!(newer.leader(&TopicPartition::new("t", 0)), Some((3, 6)));
        assert_eq!(newer.topic_by_id(Uuid::from_u128(7)).map(|topic| topic.name.as_str()), Some("t"));
    }

    #[test]
    fn a_topic_that_is_gone_is_forgotten() {
        let metadata = Metadata::default().updated(&response(5, 1), false);
        let mut gone = response(5, 1);
        gone.topics[0].error_code = ErrorCode::UnknownTopicOrPartition.code();
        assert!(metadata.updated(&gone, false).topic("t").is_none());
        gone.topics[0].error_code = ErrorCode::LeaderNotAvailable.code();
        assert!(metadata.updated(&gone, false).topic("t").is_some());
        assert!(metadata.updated(&MetadataResponse::default(), true).topic("t").is_none());
    }
}
