//! LeaveGroup, for one member or many (KIP-345). Source: `classicGroupLeave*` of `GroupMetadataManager`.

use super::{ClassicGroup, ClassicGroupState, Effects, Group, GroupShard, Step};
use crate::coordinator::timers::Now;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::leave_group_request::MemberIdentity;
use crate::protocol::messages::leave_group_response::MemberResponse;
use crate::protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

impl GroupShard {
    /// Handles a LeaveGroup in the form of version 3 and later (`members`). The answer goes out once the records are committed.
    pub fn leave_group(&mut self, now: Now, request: &LeaveGroupRequest) -> (LeaveGroupResponse, Effects) {
        if matches!(self.groups.get(&request.group_id), Some(Group::Consumer(_))) {
            return self.leave_consumer_group(now, request);
        }
        if self.classic_group(&request.group_id).is_none() {
            let unknown = |member: &MemberIdentity| response(member, ErrorCode::UnknownMemberId);
            let members = request.members.iter().map(unknown).collect();
            return (LeaveGroupResponse { members, ..LeaveGroupResponse::default() }, Effects::default());
        }
        let mut answer = LeaveGroupResponse::default();
        let effects = self.with_group(now, &request.group_id, |group, step| answer = group.leave(&request.members, step));
        (answer, effects)
    }
}

impl ClassicGroup {
    fn leave(&mut self, members: &[MemberIdentity], step: &mut Step<'_>) -> LeaveGroupResponse {
        if self.is_in(ClassicGroupState::Dead) {
            return LeaveGroupResponse { error_code: ErrorCode::CoordinatorNotAvailable.code(), ..LeaveGroupResponse::default() };
        }
        let responses: Vec<MemberResponse> =
            members.iter().map(|member| response(member, self.leave_member(member, step).err().unwrap_or(ErrorCode::None))).collect();
        if responses.iter().any(|r| r.error_code == ErrorCode::None.code()) {
            match self.state {
                ClassicGroupState::Stable | ClassicGroupState::CompletingRebalance => {
                    self.maybe_prepare_rebalance_or_complete_join("members left", step);
                }
                ClassicGroupState::PreparingRebalance => self.maybe_complete_join_phase(step),
                ClassicGroupState::Empty | ClassicGroupState::Dead => {}
            }
        }
        LeaveGroupResponse { members: responses, ..LeaveGroupResponse::default() }
    }

    fn leave_member(&mut self, member: &MemberIdentity, step: &mut Step<'_>) -> Result<(), ErrorCode> {
        let member_id = if member.member_id.is_empty() {
            // An operator removes a static member by its instance id alone.
            let instance = member.group_instance_id.as_deref().ok_or(ErrorCode::UnknownMemberId)?;
            self.static_members.get(instance).cloned().ok_or(ErrorCode::UnknownMemberId)?
        } else if self.pending_join_members.contains(&member.member_id) {
            member.member_id.clone()
        } else {
            self.validate_member(&member.member_id, member.group_instance_id.as_deref())?;
            member.member_id.clone()
        };
        let reason = member.reason.as_deref().unwrap_or("not provided");
        tracing::info!(group = self.group_id, member = member_id, reason, "member left");
        step.cancel_heartbeat(&self.group_id, &member_id);
        self.answer_and_remove(&member_id, step);
        Ok(())
    }
}

fn response(member: &MemberIdentity, error: ErrorCode) -> MemberResponse {
    MemberResponse {
        member_id: member.member_id.clone(),
        group_instance_id: member.group_instance_id.clone(),
        error_code: error.code(),
        ..MemberResponse::default()
    }
}
