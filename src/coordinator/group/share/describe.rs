//! ShareGroupDescribe. Source: `ShareGroup.asDescribedGroup`, `ShareGroupMember.asShareGroupDescribeMember`.

use super::{ShareGroup, ShareGroupMember};
use crate::coordinator::group::GroupShard;
use crate::coordinator::group::modern::assignor::{PartitionAssignor, SimpleAssignor};
use crate::coordinator::group::modern::topics::Topics;
use crate::protocol::messages::share_group_describe_response::{Assignment, DescribedGroup, Member, TopicPartitions};

impl GroupShard {
    /// One group, for ShareGroupDescribe.
    pub fn describe_share_group(&self, group_id: &str) -> DescribedGroup {
        match self.share_group(group_id) {
            Ok(group) => describe(group, &self.topics),
            Err(error) => DescribedGroup {
                group_id: group_id.to_owned(),
                error_code: error.error.code(),
                error_message: Some(error.message),
                ..DescribedGroup::default()
            },
        }
    }
}

fn describe(group: &ShareGroup, topics: &Topics) -> DescribedGroup {
    DescribedGroup {
        group_id: group.group_id().to_owned(),
        group_state: group.state_name().to_owned(),
        group_epoch: group.common.group_epoch(),
        assignment_epoch: group.common.assignment_epoch(),
        assignor_name: SimpleAssignor.name().to_owned(),
        members: group.members().map(|member| describe_member(member, topics)).collect(),
        ..DescribedGroup::default()
    }
}

/// Topics that are gone are left out.
fn describe_member(member: &ShareGroupMember, topics: &Topics) -> Member {
    let assigned = member.assigned_partitions.iter().filter_map(|(&topic_id, partitions)| {
        Some(TopicPartitions {
            topic_id,
            topic_name: topics.topic_by_id(topic_id)?.name.clone(),
            partitions: partitions.iter().copied().collect(),
            ..TopicPartitions::default()
        })
    });
    Member {
        member_id: member.member_id.clone(),
        rack_id: member.rack_id.clone(),
        member_epoch: member.member_epoch,
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        subscribed_topic_names: member.subscribed_topic_names.iter().cloned().collect(),
        assignment: Assignment { topic_partitions: assigned.collect(), ..Assignment::default() },
        ..Member::default()
    }
}
