//! JoinGroup: how a member enters a group, or a generation. Source: `classicGroupJoin*` of `GroupMetadataManager`; KIP-394 (a member
//! id before membership), KIP-345 (static members), KIP-814 (skip assignment).

use super::classic_group::{MemberProtocol, join_error};
use super::records::{group_metadata_record, group_tombstones};
use super::{
    AfterCommit, ClassicGroup, ClassicGroupMember, ClassicGroupState, ClientContext, Completed, Effects, Group, GroupCoordinatorConfig,
    GroupShard, ParkedResponse, StaticMemberReplaced, Step, TimerAction, TimerKey, WaiterId,
};
use crate::coordinator::timers::Now;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::join_group_request::JoinGroupRequestProtocol;
use crate::protocol::messages::{JoinGroupRequest, JoinGroupResponse};

/// The member id of those who have none yet.
const UNKNOWN_MEMBER_ID: &str = "";

/// What is wrong with a request whatever the state of its group.
pub fn validate_join_group(config: &GroupCoordinatorConfig, request: &JoinGroupRequest) -> Result<(), ErrorCode> {
    if request.group_id.is_empty() {
        return Err(ErrorCode::InvalidGroupId);
    }
    if !(config.min_session_timeout_ms..=config.max_session_timeout_ms).contains(&request.session_timeout_ms) {
        return Err(ErrorCode::InvalidSessionTimeout);
    }
    Ok(())
}

impl GroupShard {
    /// Handles a JoinGroup that passed [`validate_join_group`]. The answer comes under `waiter`, now or later. A resolution of regular
    /// expressions may be asked for ([`GroupShard::take_regex_resolution`]), if it is to a consumer group.
    pub fn join_group(&mut self, now: Now, client: &ClientContext, request: JoinGroupRequest, waiter: WaiterId) -> Effects {
        let group_id = request.group_id.clone();
        let is_unknown_member = request.member_id == UNKNOWN_MEMBER_ID;
        let mut tombstones = Vec::new();
        match self.groups.get(&group_id) {
            None | Some(Group::Classic(_)) => {}
            Some(Group::Consumer(group)) if !group.is_empty() => return self.join_consumer_group(now, client, request, waiter),
            // The old group makes room: it has no members.
            Some(group) if group.group_type().may_become_classic() && group.is_empty() && is_unknown_member => {
                group_tombstones(group, &mut tombstones);
                self.groups.remove(&group_id);
            }
            Some(group) => {
                let of_type = group.group_type().may_become_classic() && group.is_empty();
                let error = if of_type { ErrorCode::UnknownMemberId } else { ErrorCode::InconsistentGroupProtocol };
                let member_id = if of_type { request.member_id.as_str() } else { UNKNOWN_MEMBER_ID };
                let response = join_error(member_id, error);
                return Effects { completed: vec![Completed { waiter, response: ParkedResponse::Join(response) }], ..Effects::default() };
            }
        }
        let is_new_group = !self.groups.contains_key(&group_id);
        if is_new_group {
            if !is_unknown_member {
                let response = join_error(&request.member_id, ErrorCode::UnknownMemberId);
                return Effects { completed: vec![Completed { waiter, response: ParkedResponse::Join(response) }], ..Effects::default() };
            }
            self.groups.insert(group_id.clone(), Group::Classic(Box::new(ClassicGroup::empty(&group_id, Some(now.wall_ms)))));
        }
        let mut effects = self.with_group(now, &group_id, |group, step| {
            if !group.accepts_joining_member(&request.member_id, step.config) {
                group.remove(&request.member_id);
                step.answer_join(waiter, join_error(UNKNOWN_MEMBER_ID, ErrorCode::GroupMaxSizeReached));
            } else if is_unknown_member {
                group.join_new_member(client, request, waiter, step);
            } else {
                group.join_existing_member(client, request, waiter, step);
            }
        });
        if is_new_group && effects.records.is_empty() {
            // The group must exist in the log before anything can refer to it.
            effects.records.push(super::records::empty_group_metadata_record(&group_id, Some(now.wall_ms)));
            effects.after_commit = Some(AfterCommit::GroupCreated { group_id });
        }
        effects.records.splice(0..0, tombstones);
        effects
    }

    /// Forgets a group whose first record could not be written. Who still waits, waits at a member.
    pub(super) fn undo_group(&mut self, group_id: &str, error: ErrorCode) -> Effects {
        let mut effects = Effects::default();
        if self.classic_group(group_id).is_some()
            && let Some(Group::Classic(mut group)) = self.groups.remove(group_id)
        {
            for member_id in group.member_ids() {
                group.complete_join(
                    &member_id,
                    JoinGroupResponse { error_code: error.code(), ..JoinGroupResponse::default() },
                    &mut effects,
                );
                group.complete_sync(&member_id, super::sync::sync_response(error), &mut effects);
            }
            self.cancel_timers(&group);
        }
        effects
    }

    /// Cancels every deadline of a group.
    pub(super) fn cancel_timers(&mut self, group: &ClassicGroup) {
        let group_id = group.group_id.clone();
        self.timers.cancel(&TimerKey::Join { group_id: group_id.clone() });
        self.timers.cancel(&TimerKey::Sync { group_id: group_id.clone() });
        for member_id in group.members.keys().chain(&group.pending_join_members) {
            self.timers.cancel(&TimerKey::Heartbeat { group_id: group_id.clone(), member_id: member_id.clone() });
        }
    }
}

impl Step<'_> {
    pub(super) fn answer_join(&mut self, waiter: WaiterId, response: JoinGroupResponse) {
        self.effects.completed.push(Completed { waiter, response: ParkedResponse::Join(response) });
    }
}

impl ClassicGroup {
    /// Is there room? Counted by those who wait while a rebalance gathers members: the group may be above its limit already, when
    /// the limit was lowered, and then it is the last to rejoin who have to go.
    fn accepts_joining_member(&self, member_id: &str, config: &GroupCoordinatorConfig) -> bool {
        match self.state {
            ClassicGroupState::Empty | ClassicGroupState::Dead => true,
            ClassicGroupState::PreparingRebalance => {
                self.member(member_id).is_some_and(ClassicGroupMember::is_awaiting_join) || self.awaiting_join < config.max_size
            }
            ClassicGroupState::CompletingRebalance | ClassicGroupState::Stable => {
                self.has_member(member_id) || self.members.len() < config.max_size
            }
        }
    }

    fn join_new_member(&mut self, client: &ClientContext, request: JoinGroupRequest, waiter: WaiterId, step: &mut Step<'_>) {
        if self.is_in(ClassicGroupState::Dead) {
            return step.answer_join(waiter, join_error(UNKNOWN_MEMBER_ID, ErrorCode::CoordinatorNotAvailable));
        }
        if !self.supports_protocols(&request.protocol_type, &protocols(&request)) {
            return step.answer_join(waiter, join_error(UNKNOWN_MEMBER_ID, ErrorCode::InconsistentGroupProtocol));
        }
        let instance = request.group_instance_id.as_deref();
        let new_member_id = ClassicGroup::generate_member_id(step.random, &client.client_id, instance);
        match instance.map(|instance| self.static_members.get(instance).cloned()) {
            Some(Some(existing)) => {
                tracing::info!(group = self.group_id, instance, old = existing, new = new_member_id, "replacing static member");
                self.replace_static_member_and_rejoin(client, request, &existing, new_member_id, waiter, step);
            }
            Some(None) => self.add_member(client, request, new_member_id, waiter, step),
            // KIP-394: whoever is not ready to come back with the id would otherwise leave a member behind at every retry.
            None if client.api_version >= 4 => {
                tracing::debug!(group = self.group_id, member = new_member_id, "member id handed out");
                self.pending_join_members.insert(new_member_id.clone());
                step.schedule_heartbeat(&self.group_id, &new_member_id, request.session_timeout_ms);
                step.answer_join(waiter, join_error(&new_member_id, ErrorCode::MemberIdRequired));
            }
            None => self.add_member(client, request, new_member_id, waiter, step),
        }
    }

    fn join_existing_member(&mut self, client: &ClientContext, request: JoinGroupRequest, waiter: WaiterId, step: &mut Step<'_>) {
        let member_id = request.member_id.clone();
        if self.is_in(ClassicGroupState::Dead) {
            return step.answer_join(waiter, join_error(&member_id, ErrorCode::CoordinatorNotAvailable));
        }
        let protocols = protocols(&request);
        if !self.supports_protocols(&request.protocol_type, &protocols) {
            return step.answer_join(waiter, join_error(&member_id, ErrorCode::InconsistentGroupProtocol));
        }
        if self.pending_join_members.contains(&member_id) {
            if request.group_instance_id.is_some() {
                // Ids are handed out to dynamic members only.
                return step.answer_join(waiter, join_error(&member_id, ErrorCode::UnknownServerError));
            }
            return self.add_member(client, request, member_id, waiter, step);
        }
        if let Err(error) = self.validate_member(&member_id, request.group_instance_id.as_deref()) {
            let response = JoinGroupResponse { protocol_type: None, protocol_name: None, ..join_error(&member_id, error) };
            return step.answer_join(waiter, response);
        }
        let unchanged = self.member(&member_id).is_some_and(|member| member.protocols == protocols);
        let is_leader = self.is_leader(&member_id);
        match self.state {
            ClassicGroupState::PreparingRebalance => self.rejoin(&request, protocols, waiter, step),
            // The member may have missed the response: the generation is still the same for it.
            ClassicGroupState::CompletingRebalance if unchanged => {
                let members = if is_leader { self.members_for_leader() } else { Vec::new() };
                step.answer_join(waiter, self.join_response(&member_id, members));
            }
            ClassicGroupState::CompletingRebalance => self.rejoin(&request, protocols, waiter, step),
            // A leader may ask for a rebalance when what it assigns has changed without any subscription changing.
            ClassicGroupState::Stable if is_leader || !unchanged => self.rejoin(&request, protocols, waiter, step),
            ClassicGroupState::Stable => step.answer_join(waiter, self.join_response(&member_id, Vec::new())),
            ClassicGroupState::Empty | ClassicGroupState::Dead => {
                step.answer_join(waiter, join_error(&member_id, ErrorCode::UnknownMemberId));
            }
        }
    }

    /// A known member joins the coming generation.
    fn rejoin(&mut self, request: &JoinGroupRequest, protocols: Vec<MemberProtocol>, waiter: WaiterId, step: &mut Step<'_>) {
        self.fence_earlier_join(&request.member_id, step);
        self.update_member(&request.member_id, protocols, request.rebalance_timeout_ms, request.session_timeout_ms, Some(waiter));
        self.maybe_prepare_rebalance_or_complete_join(&reason("member rejoins", request), step);
    }

    /// A member that asks again while its earlier JoinGroup waits has given that one up, but it still has to be answered.
    fn fence_earlier_join(&mut self, member_id: &str, step: &mut Step<'_>) {
        self.complete_join(member_id, join_error(member_id, ErrorCode::RebalanceInProgress), &mut step.effects);
    }

    fn add_member(&mut self, client: &ClientContext, request: JoinGroupRequest, member_id: String, waiter: WaiterId, step: &mut Step<'_>) {
        let why = reason("new member", &request);
        let member = ClassicGroupMember {
            member_id: member_id.clone(),
            client_id: client.client_id.clone(),
            client_host: client.client_host.clone(),
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            session_timeout_ms: request.session_timeout_ms,
            protocols: protocols(&request),
            protocol_type: request.protocol_type,
            group_instance_id: request.group_instance_id,
            assignment: bytes::Bytes::new(),
            is_new: true,
            awaiting_join: Some(waiter),
            awaiting_sync: None,
        };
        if self.is_in(ClassicGroupState::PreparingRebalance) && self.previous_state == ClassicGroupState::Empty {
            self.new_member_added = true;
        }
        self.add(member);
        // A new member has no id to heartbeat with, and a lost connection goes unseen while its request is parked: without a limit,
        // every retry of a slow client would leave a member that nobody is.
        step.schedule_heartbeat(&self.group_id, &member_id, step.config.new_member_join_timeout_ms);
        self.maybe_prepare_rebalance_or_complete_join(&why, step);
    }

    /// A static member came back without its member id: it gets a new one in its old place.
    fn replace_static_member_and_rejoin(
        &mut self,
        client: &ClientContext,
        request: JoinGroupRequest,
        old_member_id: &str,
        new_member_id: String,
        waiter: WaiterId,
        step: &mut Step<'_>,
    ) {
        let Some(instance) = request.group_instance_id.clone() else { return };
        let Some(old) = self.members.get(old_member_id).cloned() else { return };
        let old_leader = self.leader_id.clone();
        if self.replace_static_member(&instance, old_member_id, &new_member_id, &mut step.effects).is_none() {
            return;
        }
        // The old id's deadline finds nobody when it comes.
        step.schedule_heartbeat(&self.group_id, &new_member_id, old.session_timeout_ms);
        self.update_member(&new_member_id, protocols(&request), request.rebalance_timeout_ms, request.session_timeout_ms, Some(waiter));
        match self.state {
            ClassicGroupState::Stable if self.select_protocol() == self.protocol_name => {
                step.effects.records.push(group_metadata_record(self, |member| member.assignment.clone()));
                step.effects.after_commit = Some(AfterCommit::StaticMemberReplaced(Box::new(StaticMemberReplaced {
                    group_id: self.group_id.clone(),
                    group_instance_id: instance,
                    old_member_id: old_member_id.to_owned(),
                    new_member_id,
                    old_leader,
                    old_protocols: old.protocols,
                    old_rebalance_timeout_ms: old.rebalance_timeout_ms,
                    old_session_timeout_ms: old.session_timeout_ms,
                    waiter,
                    supports_skipping_assignment: client.api_version >= 9,
                })));
            }
            ClassicGroupState::Stable => {
                self.maybe_prepare_rebalance_or_complete_join(&reason("static member changes the protocol", &request), step);
            }
            // The leader may have the old id in its hands and would assign to it, so it has to see the members again.
            ClassicGroupState::CompletingRebalance => {
                self.prepare_rebalance(&reason("static member rejoins", &request), step);
            }
            _ => self.maybe_complete_join_phase(step),
        }
    }

    /// Answers a replaced static member once the group with its new id is stored, or puts the old one back.
    ///
    /// Differs: once the request has its answer, by a rebalance in between or because the member was replaced again, the new id is in use
    /// and stays. Kafka puts the old one back all the same, and the member is fenced by its own former id.
    pub(super) fn static_member_replaced(&mut self, replaced: StaticMemberReplaced, result: Result<(), ErrorCode>, step: &mut Step<'_>) {
        let new_id = replaced.new_member_id.as_str();
        if self.member(new_id).is_none_or(|member| member.awaiting_join != Some(replaced.waiter)) {
            return;
        }
        match result {
            Err(error) => {
                tracing::warn!(group = self.group_id, %error, member = new_id, "could not store the static member's new id");
                let StaticMemberReplaced { old_protocols, old_rebalance_timeout_ms, old_session_timeout_ms, .. } = replaced;
                let updated = self.update_member(new_id, old_protocols, old_rebalance_timeout_ms, old_session_timeout_ms, None);
                if updated.is_some() {
                    self.replace_static_member(&replaced.group_instance_id, new_id, &replaced.old_member_id, &mut step.effects);
                    step.schedule_heartbeat(&self.group_id, &replaced.old_member_id, old_session_timeout_ms);
                }
                let mut response = self.join_response(UNKNOWN_MEMBER_ID, Vec::new());
                response.leader = replaced.old_leader.unwrap_or_default();
                response.error_code = error.code();
                step.answer_join(replaced.waiter, response);
            }
            // KIP-814: a leader that returns learns its members but need not assign anew.
            Ok(()) if replaced.supports_skipping_assignment => {
                let is_leader = self.is_leader(new_id);
                let members = if is_leader { self.members_for_leader() } else { Vec::new() };
                let mut response = self.join_response(new_id, members);
                response.skip_assignment = is_leader;
                self.complete_join(new_id, response, &mut step.effects);
            }
            // Older clients that find themselves leader would assign; told of the old leader, they do not.
            Ok(()) => {
                let mut response = self.join_response(new_id, Vec::new());
                response.leader = replaced.old_leader.unwrap_or_default();
                self.complete_join(new_id, response, &mut step.effects);
            }
        }
    }
}

impl Step<'_> {
    /// Sets or moves the deadline by which a member must be heard of again.
    pub(super) fn schedule_heartbeat(&mut self, group_id: &str, member_id: &str, timeout_ms: i32) {
        let key = TimerKey::Heartbeat { group_id: group_id.to_owned(), member_id: member_id.to_owned() };
        self.timers.schedule(self.now, key, i64::from(timeout_ms), TimerAction::ExpireMember);
    }

    pub(super) fn cancel_heartbeat(&mut self, group_id: &str, member_id: &str) {
        self.timers.cancel(&TimerKey::Heartbeat { group_id: group_id.to_owned(), member_id: member_id.to_owned() });
    }
}

fn protocols(request: &JoinGroupRequest) -> Vec<MemberProtocol> {
    let copy = |p: &JoinGroupRequestProtocol| MemberProtocol { name: p.name.clone(), metadata: p.metadata.clone() };
    request.protocols.iter().map(copy).collect()
}

/// For the log: what happened, and what the client says of it.
fn reason(what: &str, request: &JoinGroupRequest) -> String {
    let client_reason = request.reason.as_deref().filter(|reason| !reason.is_empty()).unwrap_or("not provided");
    format!("{what}; client reason: {client_reason}")
}
