//! One member of a consumer group. Source: `ConsumerGroupMember`.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::uuid::Uuid;
use crate::coordinator::group::modern::{MemberState, ModernMember, TopicPartitions};
use crate::protocol::messages::consumer_group_current_member_assignment_value::TopicPartitions as RecordTopicPartitions;
use crate::protocol::messages::consumer_group_member_metadata_value::ClassicMemberMetadata;
use crate::protocol::messages::{ConsumerGroupCurrentMemberAssignmentValue, ConsumerGroupMemberMetadataValue};

/// Partitions by topic, each with the assignment epoch at which the member got it: from that epoch on it may commit its offsets
/// (KIP-1251).
pub type PartitionEpochs = BTreeMap<Uuid, BTreeMap<i32, i32>>;

/// One member of a consumer group, of either protocol.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsumerGroupMember {
    pub member_id: String,
    pub member_epoch: i32,
    pub previous_member_epoch: i32,
    pub state: MemberState,
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    /// -1 when it was never told.
    pub rebalance_timeout_ms: i32,
    pub subscribed_topic_names: BTreeSet<String>,
    /// Empty or none when the member has no regular expression.
    pub subscribed_topic_regex: Option<String>,
    pub server_assignor: Option<String>,
    pub assigned_partitions: PartitionEpochs,
    /// What the member still has to give up.
    pub partitions_pending_revocation: PartitionEpochs,
    /// What a member of the classic protocol came with.
    pub classic: Option<ClassicMemberMetadata>,
}

impl ConsumerGroupMember {
    /// A member that nothing is known of.
    pub fn new(member_id: &str) -> ConsumerGroupMember {
        ConsumerGroupMember {
            member_id: member_id.to_owned(),
            member_epoch: 0,
            previous_member_epoch: -1,
            state: MemberState::Stable,
            instance_id: None,
            rack_id: None,
            client_id: String::new(),
            client_host: String::new(),
            rebalance_timeout_ms: -1,
            subscribed_topic_names: BTreeSet::new(),
            subscribed_topic_regex: Some(String::new()),
            server_assignor: None,
            assigned_partitions: PartitionEpochs::new(),
            partitions_pending_revocation: PartitionEpochs::new(),
            classic: None,
        }
    }

    pub fn uses_classic_protocol(&self) -> bool {
        self.classic.is_some()
    }

    /// The member's regular expression, if it has one.
    pub fn regex(&self) -> Option<&str> {
        self.subscribed_topic_regex.as_deref().filter(|regex| !regex.is_empty())
    }

    /// The protocol that a classic member is told it uses: its first.
    pub(super) fn classic_protocol(&self) -> Option<&crate::protocol::messages::consumer_group_member_metadata_value::ClassicProtocol> {
        self.classic.as_ref()?.supported_protocols.first()
    }

    pub(super) fn set_epoch(&mut self, member_epoch: i32) {
        self.previous_member_epoch = self.member_epoch;
        self.member_epoch = member_epoch;
    }

    /// The epoch since which the member has the partition, to give it up or not; `None` when it has it not.
    pub(super) fn partition_epoch(&self, topic: Uuid, partition: i32) -> Option<i32> {
        let epoch = |partitions: &PartitionEpochs| partitions.get(&topic)?.get(&partition).copied();
        epoch(&self.assigned_partitions).or_else(|| epoch(&self.partitions_pending_revocation))
    }

    /// Takes over what a member metadata record says.
    pub(super) fn update_metadata(&mut self, value: ConsumerGroupMemberMetadataValue) {
        self.instance_id = value.instance_id;
        self.rack_id = value.rack_id;
        self.client_id = value.client_id;
        self.client_host = value.client_host;
        self.subscribed_topic_names = value.subscribed_topic_names.into_iter().collect();
        self.subscribed_topic_regex = value.subscribed_topic_regex;
        self.rebalance_timeout_ms = value.rebalance_timeout_ms;
        self.server_assignor = value.server_assignor;
        self.classic = value.classic_member_metadata;
    }

    /// Takes over what a current assignment record says.
    pub(super) fn update_assignment(&mut self, value: ConsumerGroupCurrentMemberAssignmentValue) {
        self.member_epoch = value.member_epoch;
        self.previous_member_epoch = value.previous_member_epoch;
        self.state = MemberState::from_code(value.state);
        self.assigned_partitions = from_record(value.assigned_partitions, value.member_epoch);
        self.partitions_pending_revocation = from_record(value.partitions_pending_revocation, value.member_epoch);
    }
}

impl ModernMember for ConsumerGroupMember {
    fn member_id(&self) -> &str {
        &self.member_id
    }

    fn instance_id(&self) -> Option<&str> {
        self.instance_id.as_deref()
    }

    fn rack_id(&self) -> Option<&str> {
        self.rack_id.as_deref()
    }

    fn subscribed_topic_names(&self) -> &BTreeSet<String> {
        &self.subscribed_topic_names
    }

    fn is_reconciled_to(&self, assignment_epoch: i32) -> bool {
        self.state == MemberState::Stable && self.member_epoch == assignment_epoch
    }
}

/// Records of before 4.3 have no epochs: then it is the member's.
fn from_record(topics: Vec<RecordTopicPartitions>, member_epoch: i32) -> PartitionEpochs {
    let default_epoch = member_epoch.max(0);
    let topic = |topic: RecordTopicPartitions| {
        let epochs = topic.assignment_epochs.filter(|epochs| epochs.len() == topic.partitions.len());
        let epochs = epochs.unwrap_or_else(|| vec![default_epoch; topic.partitions.len()]);
        (topic.topic_id, topic.partitions.into_iter().zip(epochs).collect())
    };
    topics.into_iter().map(topic).collect()
}

pub(super) fn to_record(partitions: &PartitionEpochs) -> Vec<RecordTopicPartitions> {
    let topic = |(&topic_id, epochs): (&Uuid, &BTreeMap<i32, i32>)| RecordTopicPartitions {
        topic_id,
        partitions: epochs.keys().copied().collect(),
        assignment_epochs: Some(epochs.values().copied().collect()),
        ..RecordTopicPartitions::default()
    };
    partitions.iter().map(topic).collect()
}

/// These partitions, all got at one epoch.
pub(super) fn with_epoch(partitions: &TopicPartitions, epoch: i32) -> PartitionEpochs {
    partitions.iter().map(|(&topic, partitions)| (topic, partitions.iter().map(|&partition| (partition, epoch)).collect())).collect()
}

/// These partitions, whenever they were got.
pub(super) fn without_epochs(partitions: &PartitionEpochs) -> TopicPartitions {
    partitions.iter().map(|(&topic, epochs)| (topic, epochs.keys().copied().collect())).collect()
}
