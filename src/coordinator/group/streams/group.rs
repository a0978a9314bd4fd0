//! A streams group: what the log says of it, and what its coordinator has found out meanwhile. Source: `StreamsGroup`.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::StreamsError;
use super::internal_topics::ConfiguredTopology;
use super::member::StreamsGroupMember;
use super::reconcile::CurrentTasks;
use super::tasks::{AssignedTasks, TaskId, Tasks};
use super::topology::StreamsTopology;
use crate::coordinator::group::consumer::CommitPermission;
use crate::coordinator::group::modern::INITIAL_EPOCH;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::StreamsGroupMetadataValue;

/// The type of the protocol, as ListGroups shows it.
pub(in crate::coordinator::group) const PROTOCOL_TYPE: &str = "streams";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamsGroupState {
    /// It has no members.
    Empty,
    /// Its topology is not valid for the topics that exist.
    NotReady,
    /// Its target assignment is older than the group.
    Assigning,
    /// Members are on their way to the target assignment.
    Reconciling,
    Stable,
}

impl StreamsGroupState {
    /// The state's name in descriptions and filters.
    pub fn name(self) -> &'static str {
        match self {
            StreamsGroupState::Empty => "Empty",
            StreamsGroupState::NotReady => "NotReady",
            StreamsGroupState::Assigning => "Assigning",
            StreamsGroupState::Reconciling => "Reconciling",
            StreamsGroupState::Stable => "Stable",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct StreamsGroup {
    pub group_id: String,
    pub group_epoch: i32,
    pub(super) metadata_hash: i64,
    /// The epoch of the topology that fits the topics; -1 when none does.
    pub(super) validated_topology_epoch: i32,
    pub(super) last_assignment_configs: BTreeMap<String, String>,
    members: BTreeMap<String, StreamsGroupMember>,
    /// -1 when the assignment has been deleted.
    pub assignment_epoch: i32,
    /// When the assignment was computed, milliseconds since 1970; 0 when that is not known.
    pub(super) assignment_timestamp_ms: i64,
    pub(super) target_assignment: BTreeMap<String, Tasks>,
    topology: Option<StreamsTopology>,
    owners: TaskOwners,
    // What follows is soft state.
    pub(super) configured: Option<ConfiguredTopology>,
    pub(super) metadata_deadline: MetadataDeadline,
    pub(super) shutdown_requested_by: Option<String>,
    pub(super) endpoint_information_epoch: i32,
}

/// Until when the hash of the topics need not be computed again. It holds for a group epoch, so that it does not outlive a write that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MetadataDeadline {
    /// Milliseconds since 1970.
    pub(super) at_ms: i64,
    pub(super) group_epoch: i32,
}

/// The processes that have each task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct TaskOwners {
    active: HashMap<TaskId, String>,
    standby: HashMap<TaskId, BTreeSet<String>>,
    warmup: HashMap<TaskId, BTreeSet<String>>,
}

impl StreamsGroup {
    pub fn new(group_id: &str) -> StreamsGroup {
        StreamsGroup {
            group_id: group_id.to_owned(),
            group_epoch: INITIAL_EPOCH,
            metadata_hash: 0,
            validated_topology_epoch: 0,
            last_assignment_configs: BTreeMap::new(),
            members: BTreeMap::new(),
            assignment_epoch: INITIAL_EPOCH,
            assignment_timestamp_ms: 0,
            target_assignment: BTreeMap::new(),
            topology: None,
            owners: TaskOwners::default(),
            configured: None,
            metadata_deadline: MetadataDeadline::default(),
            shutdown_requested_by: None,
            endpoint_information_epoch: 0,
        }
    }

    pub fn state(&self) -> StreamsGroupState {
        if self.members.is_empty() {
            StreamsGroupState::Empty
        } else if self.topology.as_ref().is_none_or(|topology| topology.epoch != self.validated_topology_epoch) {
            StreamsGroupState::NotReady
        } else if self.group_epoch > self.assignment_epoch {
            StreamsGroupState::Assigning
        } else if self.members.values().any(|member| !member.is_reconciled_to(self.assignment_epoch)) {
            StreamsGroupState::Reconciling
        } else {
            StreamsGroupState::Stable
        }
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub fn members(&self) -> &BTreeMap<String, StreamsGroupMember> {
        &self.members
    }

    /// The member, or UNKNOWN_MEMBER_ID.
    pub fn member(&self, member_id: &str) -> Result<&StreamsGroupMember, StreamsError> {
        self.members.get(member_id).ok_or_else(|| {
            StreamsError::new(ErrorCode::UnknownMemberId, &format!("Member {member_id} is not a member of group {}.", self.group_id))
        })
    }

    pub fn topology(&self) -> Option<&StreamsTopology> {
        self.topology.as_ref()
    }

    pub fn target(&self, member_id: &str) -> Tasks {
        self.target_assignment.get(member_id).cloned().unwrap_or_default()
    }

    /// Whether offsets of `topic` are in use.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        !self.is_empty() && self.topology.as_ref().is_some_and(|topology| topology.subtopology_of(topic).is_some())
    }

    pub(super) fn has_metadata_expired(&self, now_ms: i64) -> bool {
        now_ms >= self.metadata_deadline.at_ms || self.group_epoch < self.metadata_deadline.group_epoch
    }

    /// The next heartbeat looks at the topics again.
    pub fn request_metadata_refresh(&mut self) {
        self.metadata_deadline = MetadataDeadline::default();
    }

    pub(super) fn set_topology(&mut self, topology: Option<StreamsTopology>) {
        self.topology = topology;
    }

    pub(super) fn set_metadata(&mut self, value: StreamsGroupMetadataValue) {
        self.group_epoch = value.epoch;
        self.metadata_hash = value.metadata_hash;
        self.validated_topology_epoch = value.validated_topology_epoch;
        let configs = value.last_assignment_configs.unwrap_or_default();
        self.last_assignment_configs = configs.into_iter().map(|config| (config.key, config.value)).collect();
    }

    pub(super) fn update_member(&mut self, member: StreamsGroupMember) {
        let process_id = member.process_id.clone();
        let tasks = [member.assigned.clone(), member.pending_revocation.clone()];
        if let Some(old) = self.members.insert(member.member_id.clone(), member) {
            self.owners.remove_all(&old);
        }
        tasks.iter().for_each(|tasks| self.owners.add(tasks, &process_id));
    }

    pub(super) fn remove_member(&mut self, member_id: &str) {
        if let Some(old) = self.members.remove(member_id) {
            self.owners.remove_all(&old);
        }
        if self.members.is_empty() {
            self.shutdown_requested_by = None;
        }
    }

    /// Asks all members to end; the first who asks is remembered.
    pub(super) fn request_shutdown(&mut self, member_id: &str) {
        self.shutdown_requested_by.get_or_insert_with(|| {
            tracing::info!(group = self.group_id, member_id, "a member asks for the end of the whole application");
            member_id.to_owned()
        });
    }

    /// May this member, of this epoch, commit? Transactions need not tell of the group; an older epoch will do for what the member has had
    /// since. The order of the checks is Kafka's.
    pub(in crate::coordinator::group) fn validate_offset_commit(
        &self,
        member_id: &str,
        group_instance_id: Option<&str>,
        member_epoch: i32,
        is_transactional: bool,
        api_version: i16,
    ) -> Result<CommitPermission, ErrorCode> {
        if member_epoch < 0 && self.members.is_empty() {
            return Ok(CommitPermission::Everything);
        }
        if is_transactional && member_epoch == -1 && member_id.is_empty() && group_instance_id.is_none() {
            return Ok(CommitPermission::Everything);
        }
        let member = self.members.get(member_id).ok_or(ErrorCode::UnknownMemberId)?;
        if !is_transactional && api_version < 9 {
            return Err(ErrorCode::UnsupportedVersion);
        }
        match member_epoch.cmp(&member.member_epoch) {
            Ordering::Equal => Ok(CommitPermission::Everything),
            Ordering::Greater => Err(ErrorCode::StaleMemberEpoch),
            Ordering::Less => Ok(CommitPermission::SinceTaskEpoch { since: self.topic_epochs(member), member_epoch }),
        }
    }

    /// Since which epochs `member` has had what its tasks read, by topic and partition.
    fn topic_epochs(&self, member: &StreamsGroupMember) -> BTreeMap<String, BTreeMap<i32, i32>> {
        let tasks = member.pending_revocation.clone().merged(member.assigned.clone()).active;
        let topics = self.topology.iter().flat_map(StreamsTopology::topics_and_subtopologies);
        topics.filter_map(|(topic, subtopology)| Some((topic.to_owned(), tasks.get(subtopology)?.clone()))).collect()
    }

    /// May this member, of this epoch, read offsets? Tools, which say neither, may.
    pub(in crate::coordinator::group) fn validate_offset_fetch(&self, member_id: Option<&str>, epoch: i32) -> Result<(), ErrorCode> {
        let Some(member_id) = member_id else {
            return if epoch < 0 { Ok(()) } else { Err(ErrorCode::UnknownMemberId) };
        };
        let member = self.members.get(member_id).ok_or(ErrorCode::UnknownMemberId)?;
        if member.member_epoch == epoch { Ok(()) } else { Err(ErrorCode::StaleMemberEpoch) }
    }
}

impl CurrentTasks for StreamsGroup {
    fn active_process(&self, subtopology_id: &str, partition: i32) -> Option<&str> {
        self.owners.active.get(&task_id(subtopology_id, partition)).map(String::as_str)
    }

    fn is_standby_in(&self, subtopology_id: &str, partition: i32, process_id: &str) -> bool {
        self.owners.standby.get(&task_id(subtopology_id, partition)).is_some_and(|processes| processes.contains(process_id))
    }

    fn is_warmup_in(&self, subtopology_id: &str, partition: i32, process_id: &str) -> bool {
        self.owners.warmup.get(&task_id(subtopology_id, partition)).is_some_and(|processes| processes.contains(process_id))
    }
}

fn task_id(subtopology_id: &str, partition: i32) -> TaskId {
    TaskId { subtopology_id: subtopology_id.to_owned(), partition }
}

impl TaskOwners {
    fn add(&mut self, tasks: &AssignedTasks, process_id: &str) {
        for task in active_ids(tasks) {
            self.active.insert(task, process_id.to_owned());
        }
        for (owners, tasks) in [(&mut self.standby, &tasks.standby), (&mut self.warmup, &tasks.warmup)] {
            for task in super::tasks::ids(tasks) {
                owners.entry(task).or_default().insert(process_id.to_owned());
            }
        }
    }

    fn remove_all(&mut self, member: &StreamsGroupMember) {
        self.remove(&member.assigned, &member.process_id);
        self.remove(&member.pending_revocation, &member.process_id);
    }

    fn remove(&mut self, tasks: &AssignedTasks, process_id: &str) {
        for task in active_ids(tasks) {
            // It may be another process's by now.
            if self.active.get(&task).is_some_and(|owner| owner == process_id) {
                self.active.remove(&task);
            }
        }
        for (owners, tasks) in [(&mut self.standby, &tasks.standby), (&mut self.warmup, &tasks.warmup)] {
            for task in super::tasks::ids(tasks) {
                if let Some(processes) = owners.get_mut(&task) {
                    processes.remove(process_id);
                    if processes.is_empty() {
                        owners.remove(&task);
                    }
                }
            }
        }
    }
}

fn active_ids(tasks: &AssignedTasks) -> impl Iterator<Item = TaskId> {
    let ids = |(subtopology, partitions): (_, &BTreeMap<i32, i32>)| {
        let subtopology: &String = subtopology;
        partitions.keys().map(|&partition| task_id(subtopology, partition)).collect::<Vec<_>>()
    };
    tasks.active.iter().flat_map(ids)
}
