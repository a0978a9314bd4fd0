//! Streams groups. Their offsets are those of any group: see `list_group_offsets` and its siblings.
//!
//! Source: `DescribeStreamsGroupsHandler`; KIP-1071.

use std::collections::BTreeMap;

use super::groups::GroupState;
use super::{Admin, Results, authorized_operations};
use crate::client::error::ApiError;
use crate::client::metadata::Broker;
use crate::protocol::messages::streams_group_describe_response::{self, Assignment, TaskIds, TaskOffset, TopicInfo};
use crate::protocol::messages::{StreamsGroupDescribeRequest, StreamsGroupDescribeResponse};

/// A streams group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamsGroupDescription {
    pub group_id: String,
    pub group_epoch: i32,
    pub target_assignment_epoch: i32,
    pub topology: Option<StreamsTopology>,
    /// By member id.
    pub members: Vec<StreamsMemberDescription>,
    pub state: GroupState,
    pub coordinator: Broker,
    pub authorized_operations: Option<i32>,
}

/// What a streams application reads and writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamsTopology {
    pub epoch: i32,
    /// `None` while the group has not agreed on one.
    pub subtopologies: Option<Vec<StreamsSubtopology>>,
}

/// A part of a topology whose tasks are one for each partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamsSubtopology {
    pub subtopology_id: String,
    pub source_topics: Vec<String>,
    pub repartition_sink_topics: Vec<String>,
    pub state_changelog_topics: Vec<StreamsTopicInfo>,
    pub repartition_source_topics: Vec<StreamsTopicInfo>,
}

/// An internal topic of a topology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamsTopicInfo {
    pub name: String,
    /// 0: as many as the subtopology's sources have.
    pub partitions: i32,
    /// 0: the broker's default.
    pub replication_factor: i16,
    pub configs: BTreeMap<String, String>,
}

/// A member of a streams group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamsMemberDescription {
    pub member_id: String,
    pub member_epoch: i32,
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub client_id: String,
    pub host: String,
    pub topology_epoch: i32,
    pub process_id: String,
    /// Host and port.
    pub user_endpoint: Option<(String, u16)>,
    pub client_tags: BTreeMap<String, String>,
    /// By subtopology and partition.
    pub task_offsets: BTreeMap<(String, i32), i64>,
    /// By subtopology and partition.
    pub task_end_offsets: BTreeMap<(String, i32), i64>,
    pub assignment: StreamsTasks,
    pub target_assignment: StreamsTasks,
    pub is_classic: bool,
}

/// Partitions by subtopology.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamsTasks {
    pub active: BTreeMap<String, Vec<i32>>,
    pub standby: BTreeMap<String, Vec<i32>>,
    pub warmup: BTreeMap<String, Vec<i32>>,
}

fn tasks(assignment: Assignment) -> StreamsTasks {
    let by_subtopology = |tasks: Vec<TaskIds>| tasks.into_iter().map(|it| (it.subtopology_id, it.partitions)).collect();
    StreamsTasks {
        active: by_subtopology(assignment.active_tasks),
        standby: by_subtopology(assignment.standby_tasks),
        warmup: by_subtopology(assignment.warmup_tasks),
    }
}

fn offsets(offsets: Vec<TaskOffset>) -> BTreeMap<(String, i32), i64> {
    offsets.into_iter().map(|it| ((it.subtopology_id, it.partition), it.offset)).collect()
}

fn topics(topics: Vec<TopicInfo>) -> Vec<StreamsTopicInfo> {
    let topics = topics.into_iter().map(|it| StreamsTopicInfo {
        name: it.name,
        partitions: it.partitions,
        replication_factor: it.replication_factor,
        configs: it.topic_configs.into_iter().map(|it| (it.key, it.value)).collect(),
    });
    topics.collect()
}

fn topology(topology: streams_group_describe_response::Topology) -> StreamsTopology {
    let subtopologies = topology.subtopologies.map(|subtopologies| {
        let subtopologies = subtopologies.into_iter().map(|it| StreamsSubtopology {
            subtopology_id: it.subtopology_id,
            source_topics: it.source_topics,
            repartition_sink_topics: it.repartition_sink_topics,
            state_changelog_topics: topics(it.state_changelog_topics),
            repartition_source_topics: topics(it.repartition_source_topics),
        });
        subtopologies.collect()
    });
    StreamsTopology { epoch: topology.epoch, subtopologies }
}

fn member(member: streams_group_describe_response::Member) -> StreamsMemberDescription {
    StreamsMemberDescription {
        member_id: member.member_id,
        member_epoch: member.member_epoch,
        instance_id: member.instance_id,
        rack_id: member.rack_id,
        client_id: member.client_id,
        host: member.client_host,
        topology_epoch: member.topology_epoch,
        process_id: member.process_id,
        user_endpoint: member.user_endpoint.map(|it| (it.host, it.port)),
        client_tags: member.client_tags.into_iter().map(|it| (it.key, it.value)).collect(),
        task_offsets: offsets(member.task_offsets),
        task_end_offsets: offsets(member.task_end_offsets),
        assignment: tasks(member.assignment),
        target_assignment: tasks(member.target_assignment),
        is_classic: member.is_classic,
    }
}

impl Admin {
    /// Describes streams groups.
    pub async fn describe_streams_groups(&self, groups: &[String]) -> Results<String, StreamsGroupDescription> {
        let request = |groups: &[String]| StreamsGroupDescribeRequest { group_ids: groups.to_vec(), ..Default::default() };
        let read = |broker, response: StreamsGroupDescribeResponse| {
            let described = response.groups.into_iter().map(|group| {
                let outcome = ApiError::check(group.error_code, group.error_message);
                let mut members: Vec<StreamsMemberDescription> = group.members.into_iter().map(member).collect();
                members.sort_by(|a, b| a.member_id.cmp(&b.member_id));
                let description = StreamsGroupDescription {
                    group_id: group.group_id.clone(),
                    group_epoch: group.group_epoch,
                    target_assignment_epoch: group.assignment_epoch,
                    topology: group.topology.map(topology),
                    members,
                    state: GroupState::parse(&group.group_state),
                    coordinator: self.coordinator_node(broker),
                    authorized_operations: authorized_operations(group.authorized_operations),
                };
                (group.group_id, outcome.map(|()| description))
            });
            described.collect()
        };
        self.ask_coordinators("describeStreamsGroups", groups.iter().cloned(), request, read).await
    }
}
