//! ShareGroupHeartbeat: a member joins, says what it reads, is told what to have, and leaves. Source: `shareGroupHeartbeat`,
//! `shareGroupLeave`, `shareGroupFenceMember` of `GroupMetadataManager`, `ShareGroupAssignmentBuilder`.

use std::borrow::Cow;

use super::{ShareGroup, ShareGroupMember, StateInitialization, records};
use crate::coordinator::group::modern::assignor::SimpleAssignor;
use crate::coordinator::group::modern::target_assignment::TargetAssignment;
use crate::coordinator::group::modern::{
    LEAVE_GROUP_MEMBER_EPOCH, MemberState, ModernMember, SubscriptionType, TopicPartitions, subscription_type,
};
use crate::coordinator::group::{ClientContext, Effects, Group, GroupError, GroupShard, TimerAction, TimerKey};
use crate::coordinator::timers::Now;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::share_group_heartbeat_response::{Assignment, TopicPartitions as ResponseTopicPartitions};
use crate::protocol::messages::{ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse};

/// What is wrong with a request whatever the state of its group.
pub fn validate_share_group_heartbeat(request: &ShareGroupHeartbeatRequest) -> Result<(), GroupError> {
    let invalid = |message: &str| Err(GroupError::new(ErrorCode::InvalidRequest, message));
    let is_blank = |text: &str| text.trim().is_empty();
    if is_blank(&request.member_id) {
        return invalid("MemberId can't be empty.");
    }
    if is_blank(&request.group_id) {
        return invalid("GroupId can't be empty.");
    }
    if request.rack_id.as_deref().is_some_and(is_blank) {
        return invalid("RackId can't be empty.");
    }
    match request.member_epoch {
        0 if request.subscribed_topic_names.as_ref().is_none_or(Vec::is_empty) => {
            invalid("SubscribedTopicNames must be set in first request.")
        }
        epoch if epoch < LEAVE_GROUP_MEMBER_EPOCH => invalid("MemberEpoch is invalid."),
        _ => Ok(()),
    }
}

/// A response, and what the share coordinator is to be asked for beside it.
type Answer = (ShareGroupHeartbeatResponse, Option<StateInitialization>);

impl GroupShard {
    /// Handles a ShareGroupHeartbeat that passed [`validate_share_group_heartbeat`].
    pub fn share_group_heartbeat(&mut self, now: Now, client: &ClientContext, request: ShareGroupHeartbeatRequest) -> (Answer, Effects) {
        let result = match request.member_epoch {
            LEAVE_GROUP_MEMBER_EPOCH => self.share_group_leave(&request).map(|(response, effects)| ((response, None), effects)),
            _ => self.share_member_heartbeat(now, client, request),
        };
        result.unwrap_or_else(|error| {
            let response = ShareGroupHeartbeatResponse {
                error_code: error.error.code(),
                error_message: Some(error.message),
                ..ShareGroupHeartbeatResponse::default()
            };
            ((response, None), Effects::default())
        })
    }

    fn share_member_heartbeat(
        &mut self,
        now: Now,
        client: &ClientContext,
        request: ShareGroupHeartbeatRequest,
    ) -> Result<(Answer, Effects), GroupError> {
        let group_id = request.group_id.clone();
        let is_joining = request.member_epoch == 0;
        match self.groups.get(&group_id) {
            Some(Group::Share(_)) => {}
            Some(_) => return Err(GroupError::not_found(format!("Group {group_id} is not a share group."))),
            None if is_joining => {
                let mut group = ShareGroup::new(&group_id);
                return self.share_heartbeat_in(now, client, request, &mut group);
            }
            None => return Err(GroupError::not_found(format!("Share group {group_id} not found."))),
        }
        // Taken out while the shard's other parts are worked with.
        let Some(Group::Share(mut group)) = self.groups.remove(&group_id) else {
            return Err(GroupError::not_found(format!("Share group {group_id} not found.")));
        };
        let result = self.share_heartbeat_in(now, client, request, &mut group);
        self.groups.insert(group_id, Group::Share(group));
        result
    }

    fn share_heartbeat_in(
        &mut self,
        now: Now,
        client: &ClientContext,
        request: ShareGroupHeartbeatRequest,
        group: &mut ShareGroup,
    ) -> Result<(Answer, Effects), GroupError> {
        let mut effects = Effects { replay: true, ..Effects::default() };
        let is_joining = request.member_epoch == 0;
        let group_id = request.group_id;
        let max_size = self.config.share_max_size;
        if group.common.members().len() >= max_size && group.member(&request.member_id).is_none() {
            let message = format!("The share group has reached its maximum capacity of {max_size} members.");
            return Err(GroupError::new(ErrorCode::GroupMaxSizeReached, message));
        }
        let old = match group.member(&request.member_id) {
            Some(member) => member.clone(),
            None if is_joining => ShareGroupMember::new(&request.member_id),
            None => group.known_member(&request.member_id)?.clone(),
        };
        check_epoch(&old, request.member_epoch)?;

        let is_full = request.subscribed_topic_names.is_some();
        let mut updated = old.clone();
        updated.rack_id = request.rack_id.or(updated.rack_id);
        if let Some(names) = request.subscribed_topic_names {
            updated.subscribed_topic_names = names.into_iter().collect();
        }
        updated.client_id.clone_from(&client.client_id);
        updated.client_host.clone_from(&client.client_host);
        if updated != old {
            effects.records.push(records::member_metadata(&group_id, &updated));
        }
        let mut bump = updated.subscribed_topic_names != old.subscribed_topic_names;

        let mut group_epoch = group.common.group_epoch();
        if group.common.assignment_epoch() >= group_epoch {
            bump |= group.is_initialized_assignment_pending();
        }
        let mut topics = Cow::Borrowed(group.common.subscribed_topics());
        let is_new = group.member(&updated.member_id).is_none();
        let members = group.common.members().len() + usize::from(is_new);
        let mut kind = subscription_type(&topics, members);
        let refresh = bump || group.common.has_metadata_expired(now.wall_ms);
        if refresh {
            topics = Cow::Owned(group.common.subscribed_topics_after(Some(&old), Some(&updated)));
            let hash = self.topics.group_hash(topics.names());
            kind = subscription_type(&topics, members);
            bump |= hash != group.common.metadata_hash();
            if bump {
                group_epoch += 1;
                effects.records.push(records::group_epoch(&group_id, group_epoch, hash));
                tracing::info!(group = group_id, epoch = group_epoch, hash, "group epoch raised");
            }
        }
        let topics: Vec<String> = topics.names().map(str::to_owned).collect();
        if refresh {
            group.common.metadata_refreshed(now.wall_ms, group_epoch);
        }

        let (target_epoch, target) = self.update_share_target(now, group, group_epoch, &updated, kind, &mut effects)?;
        let reconciled = self.reconcile_share_member(&updated, target_epoch, &target, bump);
        if reconciled != updated {
            effects.records.push(records::current_assignment(&group_id, &reconciled));
        }

        let session_timeout_ms = self.share_session_timeout_ms(&group_id);
        let key = TimerKey::Session { group_id: group_id.clone(), member_id: reconciled.member_id.clone() };
        self.timers.schedule(now, key, i64::from(session_timeout_ms), TimerAction::Fence);

        let initialization = self.initialize_subscribed(now, group, group_epoch, topics.iter().map(String::as_str), &mut effects);
        let has_changed = reconciled.assigned_partitions != old.assigned_partitions;
        let response = ShareGroupHeartbeatResponse {
            assignment: (is_joining || is_full || has_changed).then(|| response_assignment(&reconciled.assigned_partitions)),
            member_id: Some(reconciled.member_id),
            member_epoch: reconciled.member_epoch,
            heartbeat_interval_ms: self.share_heartbeat_interval_ms(&group_id),
            ..ShareGroupHeartbeatResponse::default()
        };
        Ok(((response, initialization), effects))
    }

    /// The target assignment for the member, newly computed when that is due, and the epoch it is of.
    fn update_share_target(
        &self,
        now: Now,
        group: &ShareGroup,
        group_epoch: i32,
        updated: &ShareGroupMember,
        subscription_type: SubscriptionType,
        effects: &mut Effects,
    ) -> Result<(i32, TopicPartitions), GroupError> {
        let group_id = group.group_id();
        let interval_ms = self.share_assignment_interval_ms(group_id);
        if !group.common.is_target_assignment_due(group_epoch, interval_ms, now) {
            return Ok((group.common.assignment_epoch(), group.common.target_assignment(&updated.member_id)));
        }
        let assignable = group.state_partitions().map(super::StatePartitions::initialized_partitions).unwrap_or_default();
        let computed = TargetAssignment {
            group: &group.common,
            assignor: &SimpleAssignor,
            subscription_type,
            image: self.topics.image(),
            updated: Some(updated),
            replaced: None,
            assignable: Some(&assignable),
        };
        let computed = computed.compute(|member| Cow::Borrowed(member.subscribed_topic_names())).map_err(|error| {
            let message = format!("Failed to compute a new target assignment for epoch {group_epoch}: {error}");
            tracing::error!(group = group_id, message);
            GroupError::new(ErrorCode::UnknownServerError, message)
        })?;
        tracing::info!(group = group_id, epoch = group_epoch, "new target assignment");
        effects.records.extend(computed.changed.iter().map(|(id, partitions)| records::target_assignment(group_id, id, partitions)));
        effects.records.push(records::target_assignment_metadata(group_id, group_epoch, now.wall_ms));
        let mut all = computed.all;
        Ok((group_epoch, all.remove(&updated.member_id).unwrap_or_default()))
    }

    /// Leads the member to its target.
    fn reconcile_share_member(
        &self,
        member: &ShareGroupMember,
        target_epoch: i32,
        target: &TopicPartitions,
        has_subscription_changed: bool,
    ) -> ShareGroupMember {
        if !has_subscription_changed && member.is_reconciled_to(target_epoch) {
            return member.clone();
        }
        let mut next = member.clone();
        if target_epoch != member.member_epoch {
            next.state = MemberState::Stable;
            next.previous_member_epoch = member.member_epoch;
            next.member_epoch = target_epoch;
        } else if !has_subscription_changed {
            return next;
        }
        let read = self.topics.ids(&member.subscribed_topic_names);
        next.assigned_partitions = target.iter().filter(|(id, _)| read.contains(id)).map(|(&id, it)| (id, it.clone())).collect();
        next
    }

    fn share_group_leave(&mut self, request: &ShareGroupHeartbeatRequest) -> Result<(ShareGroupHeartbeatResponse, Effects), GroupError> {
        self.share_group(&request.group_id)?.known_member(&request.member_id)?;
        tracing::info!(group = request.group_id, member = request.member_id, "member left");
        let response = ShareGroupHeartbeatResponse {
            member_id: Some(request.member_id.clone()),
            member_epoch: request.member_epoch,
            ..ShareGroupHeartbeatResponse::default()
        };
        Ok((response, self.remove_share_member(&request.group_id, &request.member_id)))
    }

    /// A member's session has ended.
    pub(in crate::coordinator::group) fn fence_share_member(&mut self, group_id: &str, member_id: &str, reason: &str) -> Effects {
        if self.share_group(group_id).is_ok_and(|group| group.member(member_id).is_some()) {
            tracing::info!(group = group_id, member = member_id, reason, "member is fenced");
            return self.remove_share_member(group_id, member_id);
        }
        Effects::default()
    }

    fn remove_share_member(&mut self, group_id: &str, member_id: &str) -> Effects {
        let Ok(group) = self.share_group(group_id) else { return Effects::default() };
        let topics = group.common.subscribed_topics_after(group.member(member_id), None);
        let epoch = group.common.group_epoch() + 1;
        let mut effects = Effects { replay: true, ..Effects::default() };
        records::remove_member(group_id, member_id, &mut effects.records);
        let hash = self.topics.group_hash(topics.names());
        effects.records.push(records::group_epoch(group_id, epoch, hash));
        self.cancel_member_timers(group_id, member_id);
        effects
    }

    /// Starts the sessions of a group that was loaded.
    pub(in crate::coordinator::group) fn on_share_group_loaded(&mut self, now: Now, group_id: &str) {
        let timeout_ms = i64::from(self.share_session_timeout_ms(group_id));
        let Some(Group::Share(group)) = self.groups.get(group_id) else { return };
        for member in group.members() {
            let key = TimerKey::Session { group_id: group_id.to_owned(), member_id: member.member_id.clone() };
            self.timers.schedule(now, key, timeout_ms, TimerAction::Fence);
        }
    }

    fn share_session_timeout_ms(&self, group_id: &str) -> i32 {
        self.group_setting(group_id, "share.session.timeout.ms", self.config.share_session_timeout_ms)
    }

    fn share_heartbeat_interval_ms(&self, group_id: &str) -> i32 {
        self.group_setting(group_id, "share.heartbeat.interval.ms", self.config.share_heartbeat_interval_ms)
    }

    fn share_assignment_interval_ms(&self, group_id: &str) -> i64 {
        i64::from(self.group_setting(group_id, "share.assignment.interval.ms", self.config.share_assignment_interval_ms))
    }
}

/// A member may be one epoch behind, when the last answer did not reach it.
fn check_epoch(member: &ShareGroupMember, received: i32) -> Result<(), GroupError> {
    let (known, previous) = (member.member_epoch, member.previous_member_epoch);
    let fenced = |message: String| Err(GroupError::new(ErrorCode::FencedMemberEpoch, message));
    if received == 0 {
        return Ok(());
    }
    if received > known {
        return fenced(format!(
            "The share group member has a greater member epoch ({received}) than the one known by the group coordinator ({known}). The \
             member must abandon all its partitions and rejoin."
        ));
    }
    if received < known && received != previous {
        return fenced(format!(
            "The share group member has a smaller member epoch ({received}) than the one known by the group coordinator ({known}), and it \
             does not match the previous member epoch ({previous}). The member must abandon all its partitions and rejoin."
        ));
    }
    Ok(())
}

fn response_assignment(partitions: &TopicPartitions) -> Assignment {
    let topic_partitions = partitions
        .iter()
        .map(|(&topic_id, partitions)| ResponseTopicPartitions {
            topic_id,
            partitions: partitions.iter().copied().collect(),
            ..ResponseTopicPartitions::default()
        })
        .collect();
    Assignment { topic_partitions, ..Assignment::default() }
}
