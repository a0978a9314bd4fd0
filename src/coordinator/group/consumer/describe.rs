//! ConsumerGroupDescribe. Source: `ConsumerGroup.asDescribedGroup`, `ConsumerGroupMember.asConsumerGroupDescribeMember`.

use std::collections::{BTreeMap, BTreeSet};

use super::member::without_epochs;
use super::{ConsumerGroup, ConsumerGroupMember};
use crate::coordinator::group::GroupShard;
use crate::coordinator::group::modern::TopicPartitions;
use crate::coordinator::group::modern::topics::Topics;
use crate::protocol::messages::consumer_group_describe_response::{
    Assignment, DescribedGroup, Member, TopicPartitions as ResponseTopicPartitions,
};

/// What MemberType says of members of the classic and of the consumer protocol.
const CLASSIC_MEMBER: i8 = 0;
const CONSUMER_MEMBER: i8 = 1;

impl GroupShard {
    /// One group, for ConsumerGroupDescribe.
    pub fn describe_consumer_group(&self, group_id: &str) -> DescribedGroup {
        match self.consumer_group(group_id) {
            Ok(group) => {
                let default_assignor = self.config.consumer_assignors.first().cloned().unwrap_or_default();
                describe(group, default_assignor, &self.topics)
            }
            Err(error) => DescribedGroup {
                group_id: group_id.to_owned(),
                error_code: error.error.code(),
                error_message: Some(error.message),
                ..DescribedGroup::default()
            },
        }
    }
}

fn describe(group: &ConsumerGroup, default_assignor: String, topics: &Topics) -> DescribedGroup {
    DescribedGroup {
        group_id: group.group_id().to_owned(),
        group_state: group.state().name().to_owned(),
        group_epoch: group.common.group_epoch(),
        assignment_epoch: group.common.assignment_epoch(),
        assignor_name: group.preferred_assignor().unwrap_or(default_assignor),
        members: group.members().map(|member| describe_member(group, member, topics)).collect(),
        ..DescribedGroup::default()
    }
}

fn describe_member(group: &ConsumerGroup, member: &ConsumerGroupMember, topics: &Topics) -> Member {
    let mut partitions = without_epochs(&member.assigned_partitions);
    for (topic, pending) in without_epochs(&member.partitions_pending_revocation) {
        partitions.entry(topic).or_default().extend(pending);
    }
    Member {
        member_id: member.member_id.clone(),
        instance_id: member.instance_id.clone(),
        rack_id: member.rack_id.clone(),
        member_epoch: member.member_epoch,
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        subscribed_topic_names: member.subscribed_topic_names.iter().cloned().collect(),
        subscribed_topic_regex: member.subscribed_topic_regex.clone(),
        assignment: assignment(&partitions, topics),
        target_assignment: assignment(group.common.target().get(&member.member_id).unwrap_or(&BTreeMap::new()), topics),
        member_type: if member.uses_classic_protocol() { CLASSIC_MEMBER } else { CONSUMER_MEMBER },
        ..Member::default()
    }
}

/// Topics that are gone are left out.
fn assignment(partitions: &TopicPartitions, topics: &Topics) -> Assignment {
    let topic = |(&topic_id, partitions): (&crate::common::uuid::Uuid, &BTreeSet<i32>)| {
        Some(ResponseTopicPartitions {
            topic_id,
            topic_name: topics.topic_by_id(topic_id)?.name.clone(),
            partitions: partitions.iter().copied().collect(),
            ..ResponseTopicPartitions::default()
        })
    };
    Assignment { topic_partitions: partitions.iter().filter_map(topic).collect(), ..Assignment::default() }
}
