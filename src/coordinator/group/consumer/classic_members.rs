//! Members of the classic protocol in a consumer group: the generation they are told is their member epoch, and rebalance means that their
//! epoch or their partitions are to change. Source: `classicGroupJoinToConsumerGroup`, `classicGroupSyncToConsumerGroup`,
//! `classicGroupHeartbeatToConsumerGroup`, `classicGroupLeaveToConsumerGroup` of `GroupMetadataManager`.

use std::collections::BTreeSet;

use super::heartbeat::{MemberUpdate, dynamic_member, known_static_member, static_member};
use super::member::without_epochs;
use super::migration::classic_protocol;
use super::{ConsumerGroup, ConsumerGroupMember};
use crate::common::uuid::Uuid;
use crate::coordinator::group::modern::{MemberState, TopicPartitions};
use crate::coordinator::group::{
    AfterCommit, CONSUMER_PROTOCOL_TYPE, ClassicMemberJoined, ClientContext, Completed, Effects, GroupError, GroupShard, MemberProtocol,
    ParkedResponse, TimerAction, TimerKey, WaiterId, classic_group, subscription,
};
use crate::coordinator::timers::Now;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::consumer_group_member_metadata_value::ClassicMemberMetadata;
use crate::protocol::messages::leave_group_response::MemberResponse;
use crate::protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse,
};

impl GroupShard {
    /// JoinGroup at a consumer group that has members.
    pub(in crate::coordinator::group) fn join_consumer_group(
        &mut self,
        now: Now,
        client: &ClientContext,
        request: JoinGroupRequest,
        waiter: WaiterId,
    ) -> Effects {
        let mut effects = Effects { replay: true, ..Effects::default() };
        let group_id = request.group_id.clone();
        let result = self.hold(&group_id).and_then(|mut held| {
            let result = self.join_in(now, client, request, waiter, &mut held.group, &mut effects);
            self.release(now, held, result.is_ok(), &mut effects);
            result
        });
        result.err().map_or(effects, |error| {
            let response = JoinGroupResponse { error_code: error.error.code(), ..JoinGroupResponse::default() };
            Effects { completed: vec![Completed { waiter, response: ParkedResponse::Join(response) }], ..Effects::default() }
        })
    }

    fn join_in(
        &mut self,
        now: Now,
        client: &ClientContext,
        request: JoinGroupRequest,
        waiter: WaiterId,
        group: &mut ConsumerGroup,
        effects: &mut Effects,
    ) -> Result<(), GroupError> {
        let is_unknown_member = request.member_id.is_empty();
        let member_id = match is_unknown_member {
            true => Uuid::random(&mut self.random).to_string(),
            false => request.member_id.clone(),
        };
        self.check_consumer_group_size(group, &member_id)?;
        if !group.supports_classic_protocols(&request.protocol_type, request.protocols.iter().map(|p| p.name.as_str())) {
            let message = format!("Member {member_id}'s protocols are not supported.");
            return Err(GroupError::new(ErrorCode::InconsistentGroupProtocol, message));
        }
        let instance = request.group_instance_id.clone();
        if client.api_version >= 4 && is_unknown_member && instance.is_none() {
            let response = classic_group::join_error(&member_id, ErrorCode::MemberIdRequired);
            effects.completed.push(Completed { waiter, response: ParkedResponse::Join(response) });
            return Ok(());
        }
        let member = match instance.as_deref() {
            None => dynamic_member(group, &member_id, None, true)?,
            Some(instance) => static_member(group, &member_id, None, instance, is_unknown_member, &mut effects.records)?,
        };
        let replaced = instance.as_deref().and_then(|instance| group.static_member(instance)).cloned();
        let downgrade = replaced.as_ref().is_some_and(|replaced| self.may_downgrade_replacing(group, replaced));

        let malformed = || GroupError::new(ErrorCode::InconsistentGroupProtocol, "Malformed embedded consumer protocol.");
        let first = request.protocols.first().ok_or_else(malformed)?;
        let subscription = subscription::subscription(&first.metadata).ok_or_else(malformed)?;
        let mut owned = TopicPartitions::new();
        for topic in subscription.owned_partitions {
            if let Some(known) = self.topics.topic(&topic.topic) {
                owned.entry(known.id).or_default().extend(topic.partitions);
            }
        }
        let mut updated = member.clone();
        updated.instance_id = instance.or(updated.instance_id);
        updated.rack_id = subscription.rack_id.filter(|rack| !rack.is_empty()).or(updated.rack_id);
        if request.rebalance_timeout_ms != -1 {
            updated.rebalance_timeout_ms = request.rebalance_timeout_ms;
        }
        updated.subscribed_topic_names = subscription.topics.into_iter().collect();
        // Classic members resolve their patterns themselves.
        updated.subscribed_topic_regex = Some(String::new());
        updated.client_id.clone_from(&client.client_id);
        updated.client_host.clone_from(&client.client_host);
        let protocols = request.protocols.into_iter().map(|p| classic_protocol(&MemberProtocol { name: p.name, metadata: p.metadata }));
        updated.classic = Some(ClassicMemberMetadata {
            session_timeout_ms: request.session_timeout_ms,
            supported_protocols: protocols.collect(),
            ..ClassicMemberMetadata::default()
        });

        let mut update = MemberUpdate { now, old: &member, new: updated, owned: Some(owned), is_classic: true };
        let group_update = self.update_group(group, &update, effects)?;
        if group_update.is_refreshed {
            group.common.metadata_refreshed(now.wall_ms, group_update.group_epoch);
        }
        let mut conversion = None;
        if downgrade {
            let rebalance = group.common.assignment_epoch() < group_update.group_epoch;
            if !rebalance && let Some(replaced) = &replaced {
                let target = group.common.target_assignment(&replaced.member_id);
                let epoch = group.common.assignment_epoch();
                update.new = self.reconcile(group, &update, &group_update, epoch, &target, effects)?;
            }
            conversion = Some(Box::new(self.downgrade(now, group, &[], Some(&update.new), rebalance, effects)?));
        } else {
            let (epoch, target) = self.update_target_assignment(group, &update, &group_update, effects)?;
            update.new = self.reconcile(group, &update, &group_update, epoch, &target, effects)?;
        }
        let member = update.new;
        let response = JoinGroupResponse {
            generation_id: member.member_epoch,
            protocol_type: Some(CONSUMER_PROTOCOL_TYPE.to_owned()),
            protocol_name: member.classic_protocol().map(|protocol| protocol.name.clone()),
            member_id: member.member_id,
            ..JoinGroupResponse::default()
        };
        effects.after_commit = Some(AfterCommit::ClassicMemberJoined(Box::new(ClassicMemberJoined {
            group_id: request.group_id,
            response,
            waiter,
            session_timeout_ms: request.session_timeout_ms,
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            conversion,
        })));
        Ok(())
    }

    /// The classic member's place in the group is stored, or could not be.
    pub(in crate::coordinator::group) fn classic_member_joined(
        &mut self,
        now: Now,
        joined: ClassicMemberJoined,
        result: Result<(), ErrorCode>,
    ) -> Effects {
        let ClassicMemberJoined { group_id, mut response, waiter, session_timeout_ms, rebalance_timeout_ms, conversion } = joined;
        let member_id = response.member_id.clone();
        let mut effects = Effects::default();
        let is_converted = conversion.is_some();
        if let Some(conversion) = conversion {
            effects = self.converted_to_classic(now, *conversion);
        }
        match result {
            Err(error) => response = JoinGroupResponse { error_code: error.code(), ..JoinGroupResponse::default() },
            Ok(()) => {
                self.timers.cancel(&TimerKey::ClassicJoin { group_id: group_id.clone(), member_id: member_id.clone() });
                if !is_converted {
                    self.schedule_session(now, &group_id, &member_id, session_timeout_ms);
                    let key = TimerKey::ClassicSync { group_id, member_id };
                    self.timers.schedule(now, key, i64::from(rebalance_timeout_ms), TimerAction::Fence);
                }
            }
        }
        effects.completed.push(Completed { waiter, response: ParkedResponse::Join(response) });
        effects
    }

    /// SyncGroup at a consumer group: the classic member is told its partitions.
    pub(in crate::coordinator::group) fn sync_consumer_group(&mut self, now: Now, request: &SyncGroupRequest) -> SyncGroupResponse {
        self.sync_in(now, request)
            .unwrap_or_else(|error| SyncGroupResponse { error_code: error.error.code(), ..SyncGroupResponse::default() })
    }

    fn sync_in(&mut self, now: Now, request: &SyncGroupRequest) -> Result<SyncGroupResponse, GroupError> {
        let group = self.consumer_group(&request.group_id)?;
        let member = classic_member(group, &request.member_id, request.group_instance_id.as_deref(), request.generation_id)?;
        let protocol = member.classic_protocol();
        let is_other = |said: &Option<String>, known: Option<&str>| said.as_deref().is_some_and(|said| Some(said) != known);
        if is_other(&request.protocol_type, Some(CONSUMER_PROTOCOL_TYPE))
            || is_other(&request.protocol_name, protocol.map(|p| p.name.as_str()))
        {
            let message = format!("The protocol of member {} is another.", member.member_id);
            return Err(GroupError::new(ErrorCode::InconsistentGroupProtocol, message));
        }
        let session_timeout_ms = member.classic.as_ref().map_or(0, |classic| classic.session_timeout_ms);
        if group.common.assignment_epoch() > member.member_epoch && member.state != MemberState::UnrevokedPartitions {
            let message =
                format!("A new rebalance is triggered in group {} and member {} should rejoin.", request.group_id, member.member_id);
            let rebalance_timeout_ms = member.rebalance_timeout_ms;
            self.schedule_classic_join(now, &request.group_id, &request.member_id, rebalance_timeout_ms);
            return Err(GroupError::new(ErrorCode::RebalanceInProgress, message));
        }
        let version = protocol.and_then(|protocol| subscription::version(&protocol.metadata)).unwrap_or(0);
        let assignment = self.protocol_assignment(&without_epochs(&member.assigned_partitions));
        let response = SyncGroupResponse {
            protocol_type: request.protocol_type.clone(),
            protocol_name: request.protocol_name.clone(),
            assignment: subscription::encode_assignment(&assignment, version),
            ..SyncGroupResponse::default()
        };
        let (group_id, member_id) = (request.group_id.clone(), request.member_id.clone());
        self.schedule_session(now, &group_id, &member_id, session_timeout_ms);
        self.timers.cancel(&TimerKey::ClassicSync { group_id, member_id });
        Ok(response)
    }

    fn schedule_classic_join(&mut self, now: Now, group_id: &str, member_id: &str, rebalance_timeout_ms: i32) {
        let key = TimerKey::ClassicJoin { group_id: group_id.to_owned(), member_id: member_id.to_owned() };
        if !self.timers.is_set(&key) {
            self.timers.schedule(now, key, i64::from(rebalance_timeout_ms), TimerAction::Fence);
        }
    }

    /// Heartbeat of a classic member of a consumer group.
    pub(in crate::coordinator::group) fn heartbeat_consumer_group(
        &mut self,
        now: Now,
        request: &HeartbeatRequest,
    ) -> Result<(), ErrorCode> {
        let beat = |shard: &mut GroupShard| {
            let group = shard.consumer_group(&request.group_id)?;
            let member = classic_member(group, &request.member_id, request.group_instance_id.as_deref(), request.generation_id)?;
            let is_behind = member.member_epoch < group.common.assignment_epoch()
                || member.state == MemberState::UnrevokedPartitions
                || (member.state == MemberState::UnreleasedPartitions && !group.waits_for_unreleased_partition(member));
            let session_timeout_ms = member.classic.as_ref().map_or(0, |classic| classic.session_timeout_ms);
            let rebalance_timeout_ms = member.rebalance_timeout_ms;
            shard.schedule_session(now, &request.group_id, &request.member_id, session_timeout_ms);
            if is_behind {
                shard.schedule_classic_join(now, &request.group_id, &request.member_id, rebalance_timeout_ms);
                return Err(GroupError::new(ErrorCode::RebalanceInProgress, "The member is behind the group."));
            }
            Ok(())
        };
        beat(self).map_err(|error: GroupError| error.error)
    }

    /// LeaveGroup at a consumer group, of members of either protocol.
    pub(in crate::coordinator::group) fn leave_consumer_group(
        &mut self,
        now: Now,
        request: &LeaveGroupRequest,
    ) -> (LeaveGroupResponse, Effects) {
        let mut leaving = BTreeSet::new();
        let mut members = Vec::with_capacity(request.members.len());
        for identity in &request.members {
            let found = self.consumer_group(&request.group_id).and_then(|group| match identity.group_instance_id.as_deref() {
                None => group.known_member(&identity.member_id),
                Some(instance) if identity.member_id.is_empty() => group
                    .static_member(instance)
                    .ok_or_else(|| GroupError::new(ErrorCode::UnknownMemberId, format!("Instance id {instance} is unknown."))),
                Some(instance) => known_static_member(group, &identity.member_id, instance),
            });
            let error = match found {
                Ok(member) => {
                    let reason = identity.reason.as_deref().unwrap_or("not provided");
                    tracing::info!(group = request.group_id, member = member.member_id, reason, "member left");
                    leaving.insert(member.member_id.clone());
                    ErrorCode::None
                }
                Err(error) => error.error,
            };
            members.push(MemberResponse {
                member_id: identity.member_id.clone(),
                group_instance_id: identity.group_instance_id.clone(),
                error_code: error.code(),
                ..MemberResponse::default()
            });
        }
        let leaving: Vec<String> = leaving.into_iter().collect();
        match self.fence_consumer_members(now, &request.group_id, &leaving) {
            Ok(effects) => (LeaveGroupResponse { members, ..LeaveGroupResponse::default() }, effects),
            Err(error) => (LeaveGroupResponse { error_code: error.error.code(), ..LeaveGroupResponse::default() }, Effects::default()),
        }
    }
}

/// The classic member that a request of this generation is from.
fn classic_member<'a>(
    group: &'a ConsumerGroup,
    member_id: &str,
    instance: Option<&str>,
    generation_id: i32,
) -> Result<&'a ConsumerGroupMember, GroupError> {
    let member = match instance {
        None => group.known_member(member_id)?,
        Some(instance) => known_static_member(group, member_id, instance)?,
    };
    if !member.uses_classic_protocol() {
        return Err(GroupError::new(ErrorCode::UnknownMemberId, format!("Member {member_id} does not use the classic protocol.")));
    }
    if member.member_epoch != generation_id {
        let message = format!(
            "The request generation id {generation_id} is not equal to the member epoch {} of member {member_id}.",
            member.member_epoch
        );
        return Err(GroupError::new(ErrorCode::IllegalGeneration, message));
    }
    Ok(member)
}
