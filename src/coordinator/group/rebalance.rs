//! The life of a rebalance: preparing it, closing the join phase, and what happens when members are not heard of in time.
//! Source: `prepareRebalance`, `completeClassicGroupJoin`, `tryCompleteInitialRebalanceElseSchedule`, `expire*` of
//! `GroupMetadataManager`; KIP-134 (initial delay).
//!
//! Invariant: in PreparingRebalance a Join deadline is set, unless all members have joined, which ends the state at once.

use super::classic_group::join_error;
use super::records::group_metadata_record;
use super::{AfterCommit, ClassicGroup, ClassicGroupState, Step, TimerAction, TimerKey};
use crate::protocol::error_code::ErrorCode;

impl ClassicGroup {
    pub(super) fn maybe_prepare_rebalance_or_complete_join(&mut self, reason: &str, step: &mut Step<'_>) {
        if self.can_rebalance() {
            self.prepare_rebalance(reason, step);
        } else {
            self.maybe_complete_join_phase(step);
        }
    }

    /// Asks everyone to join anew.
    pub(super) fn prepare_rebalance(&mut self, reason: &str, step: &mut Step<'_>) {
        if self.is_in(ClassicGroupState::CompletingRebalance) {
            self.reset_assignment_with_error(ErrorCode::RebalanceInProgress, step);
        }
        self.pending_sync_members.clear();
        step.timers.cancel(&TimerKey::Sync { group_id: self.group_id.clone() });

        let is_initial = self.is_in(ClassicGroupState::Empty);
        self.transition_to(step.now, ClassicGroupState::PreparingRebalance);
        tracing::info!(group = self.group_id, generation = self.generation_id, reason, "preparing to rebalance");
        if is_initial {
            // The members of a new group come one after the other: waiting a little saves a rebalance for each.
            let delay_ms = step.config.initial_rebalance_delay_ms;
            let remaining_ms = self.rebalance_timeout_ms().saturating_sub(delay_ms).max(0);
            self.schedule_join(delay_ms, TimerAction::InitialJoin { delay_ms, remaining_ms }, step);
        } else if self.has_all_members_joined() {
            self.complete_join_phase(step);
        } else {
            self.schedule_join(self.rebalance_timeout_ms(), TimerAction::CompleteJoin, step);
        }
    }

    fn schedule_join(&self, delay_ms: i32, action: TimerAction, step: &mut Step<'_>) {
        step.timers.schedule(step.now, TimerKey::Join { group_id: self.group_id.clone() }, i64::from(delay_ms), action);
    }

    /// Waits once more for as long as newcomers keep coming, within the rebalance timeout.
    pub(super) fn try_complete_initial_join(&mut self, delay_ms: i32, remaining_ms: i32, step: &mut Step<'_>) {
        if self.new_member_added && remaining_ms != 0 {
            self.new_member_added = false;
            let next_delay_ms = step.config.initial_rebalance_delay_ms.min(remaining_ms);
            let next_remaining_ms = remaining_ms.saturating_sub(delay_ms).max(0);
            let action = TimerAction::InitialJoin { delay_ms: next_delay_ms, remaining_ms: next_remaining_ms };
            self.schedule_join(next_delay_ms, action, step);
        } else {
            self.complete_join_phase(step);
        }
    }

    /// Closes the join phase if everyone is there. An initial rebalance ends by its deadline only.
    pub(super) fn maybe_complete_join_phase(&mut self, step: &mut Step<'_>) {
        if self.is_in(ClassicGroupState::PreparingRebalance)
            && self.previous_state != ClassicGroupState::Empty
            && self.has_all_members_joined()
        {
            self.complete_join_phase(step);
        }
    }

    /// Closes the join phase with those who are there: dynamic members who are not lose their membership.
    pub(super) fn complete_join_phase(&mut self, step: &mut Step<'_>) {
        step.timers.cancel(&TimerKey::Join { group_id: self.group_id.clone() });
        let absent: Vec<String> =
            self.members.values().filter(|m| !m.is_awaiting_join() && !m.is_static()).map(|m| m.member_id.clone()).collect();
        for member_id in &absent {
            self.drop_parked_sync(member_id, step);
            self.remove(member_id);
            step.cancel_heartbeat(&self.group_id, member_id);
        }
        if !absent.is_empty() {
            tracing::info!(group = self.group_id, members = ?absent, "removed members that have not rejoined");
        }
        if self.is_in(ClassicGroupState::Dead) {
            return;
        }
        if !self.members.is_empty() && !self.maybe_elect_new_joined_leader() {
            // Only static members are left and none has rejoined: until their sessions end, they may.
            tracing::warn!(group = self.group_id, "nobody has rejoined, waiting on");
            self.schedule_join(self.rebalance_timeout_ms(), TimerAction::CompleteJoin, step);
            return;
        }
        self.init_next_generation(step.now);
        if self.is_in(ClassicGroupState::Empty) {
            tracing::info!(group = self.group_id, generation = self.generation_id, "group is now empty");
            step.effects.records.push(group_metadata_record(self, |_| bytes::Bytes::new()));
            step.effects.after_commit = Some(AfterCommit::GroupEmptied { group_id: self.group_id.clone() });
            return;
        }
        tracing::info!(group = self.group_id, generation = self.generation_id, members = self.members.len(), "stabilized");
        for member_id in self.member_ids() {
            let members = if self.is_leader(&member_id) { self.members_for_leader() } else { Vec::new() };
            let response = self.join_response(&member_id, members);
            self.complete_join(&member_id, response, &mut step.effects);
            if let Some(member) = self.members.get_mut(&member_id) {
                member.is_new = false;
                step.schedule_heartbeat(&self.group_id, &member_id, member.session_timeout_ms);
            }
            self.pending_sync_members.insert(member_id);
        }
        let action = TimerAction::ExpireSync { generation_id: self.generation_id };
        let key = TimerKey::Sync { group_id: self.group_id.clone() };
        step.timers.schedule(step.now, key, i64::from(self.rebalance_timeout_ms()), action);
    }

    /// Nothing was heard of a member for its session timeout.
    pub(super) fn expire_member(&mut self, member_id: &str, step: &mut Step<'_>) {
        if self.is_in(ClassicGroupState::Dead) {
            return;
        }
        if self.pending_join_members.contains(member_id) {
            tracing::info!(group = self.group_id, member = member_id, "pending member never came");
            self.remove(member_id);
            if self.is_in(ClassicGroupState::PreparingRebalance) && self.has_all_members_joined() {
                self.complete_join_phase(step);
            }
            return;
        }
        if self.member(member_id).is_none_or(super::ClassicGroupMember::has_satisfied_heartbeat) {
            return;
        }
        tracing::info!(group = self.group_id, member = member_id, "member has failed");
        self.answer_and_remove(member_id, step);
        match self.state {
            ClassicGroupState::Stable | ClassicGroupState::CompletingRebalance => {
                self.maybe_prepare_rebalance_or_complete_join("a member's heartbeat expired", step);
            }
            ClassicGroupState::PreparingRebalance if self.has_all_members_joined() => self.complete_join_phase(step),
            _ => {}
        }
    }

    /// Removes a member whose JoinGroup may be parked: if it is alive after all, UNKNOWN_MEMBER_ID makes it start over.
    pub(super) fn answer_and_remove(&mut self, member_id: &str, step: &mut Step<'_>) {
        self.complete_join(member_id, join_error("", ErrorCode::UnknownMemberId), &mut step.effects);
        self.drop_parked_sync(member_id, step);
        self.remove(member_id);
    }

    /// Differs: Kafka leaves the parked SyncGroup of a member that is removed without an answer; its client would time out.
    fn drop_parked_sync(&mut self, member_id: &str, step: &mut Step<'_>) {
        self.complete_sync(member_id, super::sync::sync_response(ErrorCode::UnknownMemberId), &mut step.effects);
    }

    /// Members of this generation never asked for their assignment: they go, the others rebalance.
    pub(super) fn expire_pending_sync(&mut self, generation_id: i32, step: &mut Step<'_>) {
        let expected = matches!(self.state, ClassicGroupState::CompletingRebalance | ClassicGroupState::Stable);
        if generation_id != self.generation_id || !expected || self.pending_sync_members.is_empty() {
            return;
        }
        let pending = std::mem::take(&mut self.pending_sync_members);
        for member_id in &pending {
            self.answer_and_remove(member_id, step);
            step.cancel_heartbeat(&self.group_id, member_id);
        }
        tracing::info!(group = self.group_id, members = ?pending, "removed members that have not synced");
        self.prepare_rebalance("members have not synced in time", step);
    }

    /// A group as replay left it: its members have a session from now on.
    pub(super) fn on_loaded(&mut self, step: &mut Step<'_>) {
        for member in self.members.values() {
            step.schedule_heartbeat(&self.group_id, &member.member_id, member.session_timeout_ms);
        }
        if self.members.len() > step.config.max_size {
            self.prepare_rebalance("the loaded group is over capacity", step);
        }
    }
}
