//! SyncGroup and Heartbeat: the assignment of a generation, and the sign that a member lives. Source: `classicGroupSync*`,
//! `classicGroupHeartbeat*` of `GroupMetadataManager`.

use std::collections::HashMap;

use bytes::Bytes;

use super::records::group_metadata_record;
use super::{
    AfterCommit, ClassicGroup, ClassicGroupState, Completed, Effects, Group, GroupShard, ParkedResponse, Step, TimerKey, WaiterId,
};
use crate::coordinator::timers::Now;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::{HeartbeatRequest, SyncGroupRequest, SyncGroupResponse};

impl GroupShard {
    /// Handles a SyncGroup. The answer comes under `waiter`, now or later.
    pub fn sync_group(&mut self, now: Now, request: SyncGroupRequest, waiter: WaiterId) -> Effects {
        match self.groups.get(&request.group_id) {
            Some(Group::Consumer(group)) if !group.is_empty() => {
                let response = self.sync_consumer_group(now, &request);
                Effects { completed: vec![answer(waiter, response)], ..Effects::default() }
            }
            Some(Group::Classic(group)) if !group.is_in(ClassicGroupState::Empty) => {
                let group_id = request.group_id.clone();
                self.with_group(now, &group_id, |group, step| group.sync(request, waiter, step))
            }
            _ => Effects { completed: vec![answer(waiter, sync_response(ErrorCode::UnknownMemberId))], ..Effects::default() },
        }
    }

    /// Handles a Heartbeat. `RebalanceInProgress` tells the member to rejoin; its session is renewed all the same.
    pub fn heartbeat(&mut self, now: Now, request: &HeartbeatRequest) -> Result<(), ErrorCode> {
        if matches!(self.groups.get(&request.group_id), Some(Group::Consumer(_))) {
            return self.heartbeat_consumer_group(now, request);
        }
        let mut result = Err(ErrorCode::UnknownMemberId);
        self.with_group(now, &request.group_id, |group, step| result = group.heartbeat(request, step));
        result
    }
}

impl ClassicGroup {
    fn sync(&mut self, request: SyncGroupRequest, waiter: WaiterId, step: &mut Step<'_>) {
        if let Err(error) = self.validate_sync(&request) {
            return step.effects.completed.push(answer(waiter, sync_response(error)));
        }
        match self.state {
            ClassicGroupState::PreparingRebalance => {
                step.effects.completed.push(answer(waiter, sync_response(ErrorCode::RebalanceInProgress)));
            }
            ClassicGroupState::CompletingRebalance => {
                // A second SyncGroup takes the place of one that its sender has given up.
                self.complete_sync(&request.member_id, sync_response(ErrorCode::RebalanceInProgress), &mut step.effects);
                if let Some(member) = self.members.get_mut(&request.member_id) {
                    member.awaiting_sync = Some(waiter);
                }
                self.remove_pending_sync(&request.member_id, step);
                if self.is_leader(&request.member_id) {
                    self.store_assignment(request, step);
                }
            }
            ClassicGroupState::Stable => {
                self.remove_pending_sync(&request.member_id, step);
                let assignment = self.member(&request.member_id).map(|m| m.assignment.clone()).unwrap_or_default();
                let response = SyncGroupResponse {
                    protocol_type: self.protocol_type.clone(),
                    protocol_name: self.protocol_name.clone(),
                    assignment,
                    ..SyncGroupResponse::default()
                };
                step.effects.completed.push(answer(waiter, response));
            }
            ClassicGroupState::Empty | ClassicGroupState::Dead => {
                step.effects.completed.push(answer(waiter, sync_response(ErrorCode::UnknownMemberId)));
            }
        }
    }

    fn validate_sync(&self, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
        if self.is_in(ClassicGroupState::Dead) {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        self.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation_id {
            return Err(ErrorCode::IllegalGeneration);
        }
        let differs = |sent: &Option<String>, own: &Option<String>| sent.is_some() && own.is_some() && sent != own;
        if differs(&request.protocol_type, &self.protocol_type) || differs(&request.protocol_name, &self.protocol_name) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn remove_pending_sync(&mut self, member_id: &str, step: &mut Step<'_>) {
        self.pending_sync_members.remove(member_id);
        if self.pending_sync_members.is_empty() {
            step.timers.cancel(&TimerKey::Sync { group_id: self.group_id.clone() });
        }
    }

    /// The leader's assignment becomes the group's as soon as it is committed. Who is not in it gets an empty one.
    fn store_assignment(&mut self, request: SyncGroupRequest, step: &mut Step<'_>) {
        let assignment: HashMap<String, Bytes> = request.assignments.into_iter().map(|a| (a.member_id, a.assignment)).collect();
        tracing::info!(group = self.group_id, generation = self.generation_id, members = self.members.len(), "assignment received");
        step.effects.records.push(group_metadata_record(self, |m| assignment.get(&m.member_id).cloned().unwrap_or_default()));
        step.effects.after_commit =
            Some(AfterCommit::AssignmentStored { group_id: self.group_id.clone(), generation_id: self.generation_id, assignment });
    }

    /// The record with the assignment is committed, or is not: unless the group has moved on since.
    pub(super) fn assignment_stored(
        &mut self,
        generation_id: i32,
        mut assignment: HashMap<String, Bytes>,
        result: Result<(), ErrorCode>,
        step: &mut Step<'_>,
    ) {
        if !self.is_in(ClassicGroupState::CompletingRebalance) || generation_id != self.generation_id {
            return;
        }
        match result {
            Ok(()) => {
                for member in self.members.values_mut() {
                    member.assignment = assignment.remove(&member.member_id).unwrap_or_default();
                }
                self.propagate_assignment(ErrorCode::None, step);
                self.transition_to(step.now, ClassicGroupState::Stable);
            }
            Err(error) => {
                self.reset_assignment_with_error(error, step);
                self.maybe_prepare_rebalance_or_complete_join("the assignment could not be stored", step);
            }
        }
    }

    /// Tells everyone who waits for an assignment that there is none.
    pub(super) fn reset_assignment_with_error(&mut self, error: ErrorCode, step: &mut Step<'_>) {
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
        }
        self.propagate_assignment(error, step);
    }

    fn propagate_assignment(&mut self, error: ErrorCode, step: &mut Step<'_>) {
        let (protocol_type, protocol_name) = match error {
            ErrorCode::None => (self.protocol_type.clone(), self.protocol_name.clone()),
            _ => (None, None),
        };
        for member_id in self.member_ids() {
            let Some(member) = self.members.get(&member_id) else { continue };
            let session_timeout_ms = member.session_timeout_ms;
            let response = SyncGroupResponse {
                protocol_type: protocol_type.clone(),
                protocol_name: protocol_name.clone(),
                assignment: member.assignment.clone(),
                error_code: error.code(),
                ..SyncGroupResponse::default()
            };
            if self.complete_sync(&member_id, response, &mut step.effects) {
                // Its session may have expired while it waited, which was overlooked then: from now on it counts again.
                step.schedule_heartbeat(&self.group_id, &member_id, session_timeout_ms);
            }
        }
    }

    fn heartbeat(&mut self, request: &HeartbeatRequest, step: &mut Step<'_>) -> Result<(), ErrorCode> {
        if self.is_in(ClassicGroupState::Dead) {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        self.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation_id {
            return Err(ErrorCode::IllegalGeneration);
        }
        match self.state {
            ClassicGroupState::Empty | ClassicGroupState::Dead => Err(ErrorCode::UnknownMemberId),
            ClassicGroupState::PreparingRebalance => {
                self.renew_session(&request.member_id, step);
                Err(ErrorCode::RebalanceInProgress)
            }
            ClassicGroupState::CompletingRebalance | ClassicGroupState::Stable => {
                self.renew_session(&request.member_id, step);
                Ok(())
            }
        }
    }

    pub(super) fn renew_session(&mut self, member_id: &str, step: &mut Step<'_>) {
        if let Some(member) = self.members.get(member_id) {
            step.schedule_heartbeat(&self.group_id, member_id, member.session_timeout_ms);
        }
    }
}

fn answer(waiter: WaiterId, response: SyncGroupResponse) -> Completed {
    Completed { waiter, response: ParkedResponse::Sync(response) }
}

/// A SyncGroup response that only says what went wrong.
pub(super) fn sync_response(error: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse { error_code: error.code(), ..SyncGroupResponse::default() }
}
