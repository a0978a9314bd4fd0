//! A member of a streams group: one processing thread of one process, and where it stands. Source: `StreamsGroupMember`, `MemberState`.

use std::collections::BTreeMap;

use super::tasks::{AssignedTasks, Tasks};
use crate::protocol::messages::streams_group_describe_response as describe_response;
use crate::protocol::messages::streams_group_member_metadata_value::{Endpoint, KeyValue};
use crate::protocol::messages::{StreamsGroupCurrentMemberAssignmentValue, StreamsGroupMemberMetadataValue};

/// How far a member is on its way to its target assignment. The codes are those of the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberState {
    /// It has what it was given.
    Stable,
    /// It has to give tasks back first.
    UnrevokedTasks,
    /// It waits for tasks that others still have.
    UnreleasedTasks,
    /// A state of a later version of Kafka.
    Unknown,
}

impl MemberState {
    fn from_code(code: i8) -> MemberState {
        match code {
            1 => MemberState::Stable,
            2 => MemberState::UnrevokedTasks,
            3 => MemberState::UnreleasedTasks,
            _ => MemberState::Unknown,
        }
    }

    fn code(self) -> i8 {
        match self {
            MemberState::Stable => 1,
            MemberState::UnrevokedTasks => 2,
            MemberState::UnreleasedTasks => 3,
            MemberState::Unknown => 127,
        }
    }
}

/// Where a member can be asked for its state by other members' users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserEndpoint {
    pub host: String,
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamsGroupMember {
    pub member_id: String,
    /// 0 while it joins, -1 when it has left.
    pub member_epoch: i32,
    pub previous_member_epoch: i32,
    pub state: MemberState,
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout_ms: i32,
    pub topology_epoch: i32,
    /// Members of one process share its disk.
    pub process_id: String,
    pub user_endpoint: Option<UserEndpoint>,
    pub client_tags: BTreeMap<String, String>,
    pub assigned: AssignedTasks,
    pub pending_revocation: AssignedTasks,
}

impl StreamsGroupMember {
    /// A member that has told nothing yet.
    pub fn new(member_id: &str) -> StreamsGroupMember {
        StreamsGroupMember {
            member_id: member_id.to_owned(),
            member_epoch: 0,
            previous_member_epoch: 0,
            state: MemberState::Stable,
            instance_id: None,
            rack_id: None,
            client_id: String::new(),
            client_host: String::new(),
            rebalance_timeout_ms: -1,
            topology_epoch: -1,
            process_id: String::new(),
            user_endpoint: None,
            client_tags: BTreeMap::new(),
            assigned: AssignedTasks::default(),
            pending_revocation: AssignedTasks::default(),
        }
    }

    pub fn is_reconciled_to(&self, assignment_epoch: i32) -> bool {
        self.state == MemberState::Stable && self.member_epoch == assignment_epoch
    }

    /// In another state, in `member_epoch`, with these tasks.
    pub(super) fn moved_to(
        &self,
        state: MemberState,
        member_epoch: i32,
        assigned: AssignedTasks,
        pending_revocation: AssignedTasks,
    ) -> StreamsGroupMember {
        StreamsGroupMember { state, member_epoch, previous_member_epoch: self.member_epoch, assigned, pending_revocation, ..self.clone() }
    }

    /// As it is once its current assignment is removed: on its way out.
    pub(super) fn without_assignment(&self) -> StreamsGroupMember {
        StreamsGroupMember {
            member_epoch: -1,
            previous_member_epoch: -1,
            assigned: AssignedTasks::default(),
            pending_revocation: AssignedTasks::default(),
            ..self.clone()
        }
    }

    pub(super) fn with_metadata(self, value: StreamsGroupMemberMetadataValue) -> StreamsGroupMember {
        StreamsGroupMember {
            instance_id: value.instance_id,
            rack_id: value.rack_id,
            client_id: value.client_id,
            client_host: value.client_host,
            rebalance_timeout_ms: value.rebalance_timeout_ms,
            topology_epoch: value.topology_epoch,
            process_id: value.process_id,
            user_endpoint: value.user_endpoint.map(|endpoint| UserEndpoint { host: endpoint.host, port: endpoint.port }),
            client_tags: value.client_tags.into_iter().map(|tag| (tag.key, tag.value)).collect(),
            ..self
        }
    }

    pub(super) fn metadata_value(&self) -> StreamsGroupMemberMetadataValue {
        let tag = |(key, value): (&String, &String)| KeyValue { key: key.clone(), value: value.clone(), ..Default::default() };
        let endpoint = |endpoint: &UserEndpoint| Endpoint { host: endpoint.host.clone(), port: endpoint.port, ..Default::default() };
        StreamsGroupMemberMetadataValue {
            instance_id: self.instance_id.clone(),
            rack_id: self.rack_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            topology_epoch: self.topology_epoch,
            process_id: self.process_id.clone(),
            user_endpoint: self.user_endpoint.as_ref().map(endpoint),
            client_tags: self.client_tags.iter().map(tag).collect(),
            ..Default::default()
        }
    }

    pub(super) fn with_current_assignment(self, value: &StreamsGroupCurrentMemberAssignmentValue) -> StreamsGroupMember {
        let epoch = value.member_epoch;
        StreamsGroupMember {
            member_epoch: epoch,
            previous_member_epoch: value.previous_member_epoch,
            state: MemberState::from_code(value.state),
            assigned: AssignedTasks::from_record(&value.active_tasks, &value.standby_tasks, &value.warmup_tasks, epoch),
            pending_revocation: AssignedTasks::from_record(
                &value.active_tasks_pending_revocation,
                &value.standby_tasks_pending_revocation,
                &value.warmup_tasks_pending_revocation,
                epoch,
            ),
            ..self
        }
    }

    pub(super) fn current_assignment_value(&self) -> StreamsGroupCurrentMemberAssignmentValue {
        let [active_tasks, standby_tasks, warmup_tasks] = self.assigned.to_record();
        let [active_tasks_pending_revocation, standby_tasks_pending_revocation, warmup_tasks_pending_revocation] =
            self.pending_revocation.to_record();
        StreamsGroupCurrentMemberAssignmentValue {
            member_epoch: self.member_epoch,
            previous_member_epoch: self.previous_member_epoch,
            state: self.state.code(),
            active_tasks,
            standby_tasks,
            warmup_tasks,
            active_tasks_pending_revocation,
            standby_tasks_pending_revocation,
            warmup_tasks_pending_revocation,
            ..Default::default()
        }
    }

    pub(super) fn describe(&self, target: Option<&Tasks>) -> describe_response::Member {
        let tag =
            |(key, value): (&String, &String)| describe_response::KeyValue { key: key.clone(), value: value.clone(), ..Default::default() };
        let endpoint = |endpoint: &UserEndpoint| describe_response::Endpoint {
            host: endpoint.host.clone(),
            port: endpoint.port,
            ..Default::default()
        };
        describe_response::Member {
            member_id: self.member_id.clone(),
            member_epoch: self.member_epoch,
            instance_id: self.instance_id.clone(),
            rack_id: self.rack_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            topology_epoch: self.topology_epoch,
            process_id: self.process_id.clone(),
            user_endpoint: self.user_endpoint.as_ref().map(endpoint),
            client_tags: self.client_tags.iter().map(tag).collect(),
            assignment: self.assigned.describe(),
            target_assignment: target.map(Tasks::describe).unwrap_or_default(),
            ..Default::default()
        }
    }
}
