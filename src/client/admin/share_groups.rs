//! Share groups. Source: `DescribeShareGroupsHandler`, `ListShareGroupOffsetsHandler` and their siblings; KIP-932.

use std::collections::{BTreeMap, BTreeSet};

use super::groups::GroupState;
use super::{Admin, Results, authorized_operations, spread};
use crate::client::conn::Connection;
use crate::client::error::{ApiError, ClientError};
use crate::client::metadata::Broker;
use crate::common::topic_partition::{TopicPartition, by_topic};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::alter_share_group_offsets_request::{
    AlterShareGroupOffsetsRequestPartition, AlterShareGroupOffsetsRequestTopic,
};
use crate::protocol::messages::delete_share_group_offsets_request::DeleteShareGroupOffsetsRequestTopic;
use crate::protocol::messages::describe_share_group_offsets_request::{
    DescribeShareGroupOffsetsRequestGroup, DescribeShareGroupOffsetsRequestTopic,
};
use crate::protocol::messages::{
    AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsResponse, DeleteShareGroupOffsetsRequest, DeleteShareGroupOffsetsResponse,
    DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsResponse, ShareGroupDescribeRequest, ShareGroupDescribeResponse,
    share_group_describe_response,
};

/// A share group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareGroupDescription {
    pub group_id: String,
    /// By member id.
    pub members: Vec<ShareMemberDescription>,
    pub state: GroupState,
    pub coordinator: Broker,
    pub assignor_name: String,
    pub group_epoch: i32,
    pub target_assignment_epoch: i32,
    pub authorized_operations: Option<i32>,
}

/// A member of a share group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareMemberDescription {
    pub member_id: String,
    pub rack_id: Option<String>,
    pub client_id: String,
    pub host: String,
    pub member_epoch: i32,
    pub subscribed_topic_names: Vec<String>,
    pub assignment: BTreeSet<TopicPartition>,
}

/// Where a share group stands in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharePartitionOffset {
    /// The share-partition start offset.
    pub start_offset: i64,
    pub leader_epoch: Option<i32>,
    pub lag: Option<i64>,
}

fn member(member: share_group_describe_response::Member) -> ShareMemberDescription {
    let topics = member.assignment.topic_partitions.into_iter();
    let partitions = topics.flat_map(|topic| topic.partitions.into_iter().map(move |it| TopicPartition::new(topic.topic_name.clone(), it)));
    ShareMemberDescription {
        assignment: partitions.collect(),
        member_id: member.member_id,
        rack_id: member.rack_id,
        client_id: member.client_id,
        host: member.client_host,
        member_epoch: member.member_epoch,
        subscribed_topic_names: member.subscribed_topic_names,
    }
}

impl Admin {
    /// Describes share groups.
    pub async fn describe_share_groups(&self, groups: &[String]) -> Results<String, ShareGroupDescription> {
        let request = |groups: &[String]| ShareGroupDescribeRequest { group_ids: groups.to_vec(), ..Default::default() };
        let read = |broker, response: ShareGroupDescribeResponse| {
            let described = response.groups.into_iter().map(|group| {
                let outcome = ApiError::check(group.error_code, group.error_message);
                let mut members: Vec<ShareMemberDescription> = group.members.into_iter().map(member).collect();
                members.sort_by(|a, b| a.member_id.cmp(&b.member_id));
                let description = ShareGroupDescription {
                    group_id: group.group_id.clone(),
                    members,
                    state: GroupState::parse(&group.group_state),
                    coordinator: self.coordinator_node(broker),
                    assignor_name: group.assignor_name,
                    group_epoch: group.group_epoch,
                    target_assignment_epoch: group.assignment_epoch,
                    authorized_operations: authorized_operations(group.authorized_operations),
                };
                (group.group_id, outcome.map(|()| description))
            });
            described.collect()
        };
        self.ask_coordinators("describeShareGroups", groups.iter().cloned(), request, read).await
    }

    /// Where share groups stand, in all their partitions or in those given; `None` in a partition the group has not begun.
    pub async fn list_share_group_offsets(
        &self,
        groups: &BTreeMap<String, Option<Vec<TopicPartition>>>,
    ) -> Results<String, Results<TopicPartition, Option<SharePartitionOffset>>> {
        let request = |ids: &[String]| {
            let wanted = ids.iter().map(|group| {
                let topics = groups.get(group).and_then(Option::as_ref).map(|partitions| {
                    let topics = by_topic(partitions.iter().map(|it| (it.topic.clone(), it.partition)));
                    let topics = topics.into_iter().map(|(topic_name, partitions)| DescribeShareGroupOffsetsRequestTopic {
                        topic_name,
                        partitions,
                        ..Default::default()
                    });
                    topics.collect()
                });
                DescribeShareGroupOffsetsRequestGroup { group_id: group.clone(), topics, ..Default::default() }
            });
            DescribeShareGroupOffsetsRequest { groups: wanted.collect(), ..Default::default() }
        };
        let read = |_, response: DescribeShareGroupOffsetsResponse| {
            let described = response.groups.into_iter().map(|group| {
                let outcome = ApiError::check(group.error_code, group.error_message);
                let offsets = group.topics.into_iter().flat_map(|topic| {
                    topic.partitions.into_iter().map(move |it| {
                        let offset = SharePartitionOffset {
                            start_offset: it.start_offset,
                            leader_epoch: (it.leader_epoch >= 0).then_some(it.leader_epoch),
                            lag: (it.lag >= 0).then_some(it.lag),
                        };
                        let outcome = ApiError::check(it.error_code, it.error_message);
                        let partition = TopicPartition::new(topic.topic_name.clone(), it.partition_index);
                        (partition, outcome.map(|()| (offset.start_offset >= 0).then_some(offset)))
                    })
                });
                let offsets = offsets.collect();
                (group.group_id, outcome.map(|()| offsets))
            });
            described.collect()
        };
        self.ask_coordinators("listShareGroupOffsets", groups.keys().cloned(), request, read).await
    }

    /// Moves a share group without members to other start offsets.
    pub async fn alter_share_group_offsets(&self, group: &str, offsets: &BTreeMap<TopicPartition, i64>) -> Results<TopicPartition, ()> {
        let build = |connection: &Connection| {
            let topics = by_topic(offsets.iter().map(|(TopicPartition { topic, partition }, offset)| {
                let (partition_index, start_offset) = (*partition, *offset);
                (topic.clone(), AlterShareGroupOffsetsRequestPartition { partition_index, start_offset, ..Default::default() })
            }));
            let topics = topics.into_iter().map(|(topic_name, partitions)| AlterShareGroupOffsetsRequestTopic {
                topic_name,
                partitions,
                ..Default::default()
            });
            let request = AlterShareGroupOffsetsRequest { group_id: group.to_owned(), topics: topics.collect(), ..Default::default() };
            Ok((request, connection.version_of::<AlterShareGroupOffsetsRequest>()?))
        };
        let code = |response: &AlterShareGroupOffsetsResponse, _: i16| coordinator_code(response.error_code);
        let outcome = self.on_coordinator("alterShareGroupOffsets", group, build, code).await.and_then(|(response, _)| {
            ApiError::check(response.error_code, response.error_message)?;
            let results = response.responses.into_iter().flat_map(|topic| {
                topic.partitions.into_iter().map(move |it| {
                    let partition = TopicPartition::new(topic.topic_name.clone(), it.partition_index);
                    (partition, ApiError::check(it.error_code, it.error_message))
                })
            });
            Ok(results.collect())
        });
        spread(offsets.keys().cloned(), outcome)
    }

    /// Makes a share group without members forget topics.
    pub async fn delete_share_group_offsets(&self, group: &str, topics: &[String]) -> Results<String, ()> {
        let build = |connection: &Connection| {
            let topics = topics.iter().map(|name| DeleteShareGroupOffsetsRequestTopic { topic_name: name.clone(), ..Default::default() });
            let request = DeleteShareGroupOffsetsRequest { group_id: group.to_owned(), topics: topics.collect(), ..Default::default() };
            Ok((request, connection.version_of::<DeleteShareGroupOffsetsRequest>()?))
        };
        let code = |response: &DeleteShareGroupOffsetsResponse, _: i16| coordinator_code(response.error_code);
        let outcome = self.on_coordinator("deleteShareGroupOffsets", group, build, code).await.and_then(|(response, _)| {
            ApiError::check(response.error_code, response.error_message)?;
            let results = response.responses.into_iter().map(|it| (it.topic_name, ApiError::check(it.error_code, it.error_message)));
            Ok(results.collect())
        });
        spread(topics.iter().cloned(), outcome)
    }
}

/// What another attempt can heal; the rest comes back with the broker's words.
fn coordinator_code(code: i16) -> ErrorCode {
    match ErrorCode::from_code(code) {
        code if ClientError::from(code).recovery().is_retriable() => code,
        _ => ErrorCode::None,
    }
}
