//! ConsumerGroupHeartbeat: a member joins, says what it wants and has, is told what to have, and leaves. Source: `consumerGroupHeartbeat`,
//! `consumerGroupLeave`, `consumerGroupFenceMembers` of `GroupMetadataManager`.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::current_assignment::Reconciliation;
use super::member::without_epochs;
use super::regex::RegexUpdate;
use super::{ConsumerGroup, ConsumerGroupMember, LEAVE_GROUP_MEMBER_EPOCH, PartitionEpochs, consumer_subscription_type, records};
use crate::common::uuid::Uuid;
use crate::coordinator::group::config::GroupCoordinatorConfig;
use crate::coordinator::group::modern::target_assignment::TargetAssignment;
use crate::coordinator::group::modern::{
    LEAVE_GROUP_STATIC_MEMBER_EPOCH, MemberState, ModernMember, SubscriptionType, TopicPartitions, assignor,
};
use crate::coordinator::group::records::GroupRecord;
use crate::coordinator::group::{ClientContext, Effects, Group, GroupError, GroupShard, TimerAction, TimerKey};
use crate::coordinator::timers::Now;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions as ResponseTopicPartitions};
use crate::protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

/// Since this version members make their ids themselves.
const CONSUMER_GENERATED_MEMBER_ID_REQUIRED_VERSION: i16 = 1;

/// What is wrong with a request whatever the state of its group.
pub fn validate_consumer_group_heartbeat(
    config: &GroupCoordinatorConfig,
    request: &ConsumerGroupHeartbeatRequest,
    api_version: i16,
) -> Result<(), GroupError> {
    let invalid = |message: &str| Err(GroupError::new(ErrorCode::InvalidRequest, message));
    let is_blank = |text: &str| text.trim().is_empty();
    let needs_member_id = api_version >= CONSUMER_GENERATED_MEMBER_ID_REQUIRED_VERSION
        || request.member_epoch > 0
        || request.member_epoch == LEAVE_GROUP_MEMBER_EPOCH;
    if needs_member_id && is_blank(&request.member_id) {
        return invalid("MemberId can't be empty.");
    }
    if is_blank(&request.group_id) {
        return invalid("GroupId can't be empty.");
    }
    if request.instance_id.as_deref().is_some_and(is_blank) {
        return invalid("InstanceId can't be empty.");
    }
    if request.rack_id.as_deref().is_some_and(is_blank) {
        return invalid("RackId can't be empty.");
    }
    match request.member_epoch {
        0 if request.rebalance_timeout_ms == -1 => return invalid("RebalanceTimeoutMs must be provided in first request."),
        0 if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) => {
            return invalid("TopicPartitions must be empty when (re-)joining.");
        }
        0 if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() => {
            return invalid("Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.");
        }
        LEAVE_GROUP_STATIC_MEMBER_EPOCH if request.instance_id.is_none() => return invalid("InstanceId can't be null."),
        epoch if epoch < LEAVE_GROUP_STATIC_MEMBER_EPOCH => return invalid("MemberEpoch is invalid."),
        _ => {}
    }
    if let Some(name) = &request.server_assignor
        && !config.consumer_assignors.iter().any(|assignor| assignor == name)
    {
        let message = format!("ServerAssignor {name} is not supported. Supported assignors: {}.", config.consumer_assignors.join(", "));
        return Err(GroupError::new(ErrorCode::UnsupportedAssignor, message));
    }
    Ok(())
}

/// What a member of either protocol brings to the group.
pub(super) struct MemberUpdate<'a> {
    pub(super) now: Now,
    pub(super) old: &'a ConsumerGroupMember,
    pub(super) new: ConsumerGroupMember,
    pub(super) owned: Option<TopicPartitions>,
    pub(super) is_classic: bool,
}

/// How far a group is after a member's update, before the member itself has moved.
pub(super) struct GroupUpdate {
    pub(super) group_epoch: i32,
    pub(super) subscription_type: SubscriptionType,
    pub(super) has_subscription_changed: bool,
    /// The metadata of the group's topics was looked at.
    pub(super) is_refreshed: bool,
}

impl GroupShard {
    /// Handles a ConsumerGroupHeartbeat that passed [`validate_consumer_group_heartbeat`]. A resolution of regular expressions may be
    /// asked for ([`GroupShard::take_regex_resolution`]), also when the answer is an error.
    pub fn consumer_group_heartbeat(
        &mut self,
        now: Now,
        client: &ClientContext,
        request: ConsumerGroupHeartbeatRequest,
    ) -> (ConsumerGroupHeartbeatResponse, Effects) {
        let answer = match request.member_epoch {
            LEAVE_GROUP_MEMBER_EPOCH | LEAVE_GROUP_STATIC_MEMBER_EPOCH => self.consumer_group_leave(now, &request),
            _ => self.consumer_group_member_heartbeat(now, client, request),
        };
        answer.unwrap_or_else(|error| {
            let response = ConsumerGroupHeartbeatResponse {
                error_code: error.error.code(),
                error_message: Some(error.message),
                ..ConsumerGroupHeartbeatResponse::default()
            };
            (response, Effects::default())
        })
    }

    fn consumer_group_member_heartbeat(
        &mut self,
        now: Now,
        client: &ClientContext,
        request: ConsumerGroupHeartbeatRequest,
    ) -> Result<(ConsumerGroupHeartbeatResponse, Effects), GroupError> {
        let mut effects = Effects { replay: true, ..Effects::default() };
        let group_id = request.group_id.clone();
        let mut held = self.hold_or_create(&group_id, request.member_epoch == 0, &mut effects.records)?;
        let result = self.heartbeat_in(now, client, request, &mut held.group, &mut effects);
        self.release(now, held, result.is_ok(), &mut effects);
        Ok((result?, effects))
    }

    fn heartbeat_in(
        &mut self,
        now: Now,
        client: &ClientContext,
        request: ConsumerGroupHeartbeatRequest,
        group: &mut ConsumerGroup,
        effects: &mut Effects,
    ) -> Result<ConsumerGroupHeartbeatResponse, GroupError> {
        let is_joining = request.member_epoch == 0;
        self.check_consumer_group_size(group, &request.member_id)?;
        let member_id = match request.member_id.is_empty() {
            true => Uuid::random(&mut self.random).to_string(),
            false => request.member_id,
        };
        let owned: Option<TopicPartitions> =
            request.topic_partitions.map(|topics| topics.into_iter().map(|t| (t.topic_id, t.partitions.into_iter().collect())).collect());
        let member = match request.instance_id.as_deref() {
            None => dynamic_member(group, &member_id, Some((request.member_epoch, owned.as_ref())), is_joining)?,
            Some(instance) => {
                let epoch = Some((request.member_epoch, owned.as_ref()));
                static_member(group, &member_id, epoch, instance, is_joining, &mut effects.records)?
            }
        };
        let mut updated = member.clone();
        updated.instance_id = request.instance_id.or(updated.instance_id);
        updated.rack_id = request.rack_id.or(updated.rack_id);
        if request.rebalance_timeout_ms != -1 {
            updated.rebalance_timeout_ms = request.rebalance_timeout_ms;
        }
        updated.server_assignor = request.server_assignor.or(updated.server_assignor);
        let is_full = request.rebalance_timeout_ms != -1
            && (request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some())
            && owned.is_some();
        if let Some(names) = request.subscribed_topic_names {
            updated.subscribed_topic_names = names.into_iter().collect();
        }
        updated.subscribed_topic_regex = request.subscribed_topic_regex.or(updated.subscribed_topic_regex);
        updated.client_id.clone_from(&client.client_id);
        updated.client_host.clone_from(&client.client_host);
        updated.classic = None;

        let mut update = MemberUpdate { now, old: &member, new: updated, owned, is_classic: false };
        let group_update = self.update_group(group, &update, effects)?;
        if group_update.is_refreshed {
            group.common.metadata_refreshed(now.wall_ms, group_update.group_epoch);
        }
        let (target_epoch, target) = self.update_target_assignment(group, &update, &group_update, effects)?;
        update.new = self.reconcile(group, &update, &group_update, target_epoch, &target, effects)?;
        let updated = update.new;

        self.schedule_session(now, &request.group_id, &updated.member_id, self.consumer_session_timeout_ms(&request.group_id));
        let has_changed = member.assigned_partitions != updated.assigned_partitions;
        Ok(ConsumerGroupHeartbeatResponse {
            assignment: (is_joining || is_full || has_changed).then(|| response_assignment(&updated.assigned_partitions)),
            member_id: Some(updated.member_id),
            member_epoch: updated.member_epoch,
            heartbeat_interval_ms: self.consumer_heartbeat_interval_ms(&request.group_id),
            ..ConsumerGroupHeartbeatResponse::default()
        })
    }

    pub(super) fn check_consumer_group_size(&self, group: &ConsumerGroup, member_id: &str) -> Result<(), GroupError> {
        let max_size = self.config.consumer_max_size;
        if group.common.members().len() < max_size || (!member_id.is_empty() && group.member(member_id).is_some()) {
            return Ok(());
        }
        let message = format!("The consumer group has reached its maximum capacity of {max_size} members.");
        Err(GroupError::new(ErrorCode::GroupMaxSizeReached, message))
    }

    /// Writes down what is new about the member, and a new group epoch when the group's subscriptions or topics are others than before.
    pub(super) fn update_group(
        &mut self,
        group: &ConsumerGroup,
        update: &MemberUpdate<'_>,
        effects: &mut Effects,
    ) -> Result<GroupUpdate, GroupError> {
        let (group_id, old, new) = (group.group_id(), update.old, &update.new);
        let names_changed = old != new && old.subscribed_topic_names != new.subscribed_topic_names;
        if old != new {
            effects.records.push(records::member_metadata(group_id, new));
        }
        let regex = self.update_regexes(update.now, group, old, new, &mut effects.records)?;
        let regex_bumps = match regex {
            RegexUpdate::Unchanged => false,
            // A consumer member's new expression raises the epoch once it is resolved.
            RegexUpdate::Updated => update.is_classic,
            RegexUpdate::UpdatedAndResolved => true,
        };
        let mut bump = names_changed || regex_bumps;
        let is_known = group.member(&new.member_id).is_some()
            || new.instance_id.as_ref().is_some_and(|instance| group.static_members.contains_key(instance));
        let members = group.common.members().len() + usize::from(!is_known);
        // Differs: Kafka leaves out a member that joins with no subscription, or one that is not resolved yet, which raises no epoch; a
        // target that has become due meanwhile would then give it partitions that it does not read.
        let regexes = group.subscribed_regexes_after(old, new);
        let mut group_update = GroupUpdate {
            group_epoch: group.common.group_epoch(),
            subscription_type: consumer_subscription_type(&regexes, group.common.subscribed_topics(), members),
            has_subscription_changed: names_changed || regex != RegexUpdate::Unchanged,
            is_refreshed: false,
        };
        if !bump && !group.common.has_metadata_expired(update.now.wall_ms) {
            return Ok(group_update);
        }
        let topics = group.subscribed_topics_after(old, new);
        let hash = self.topics.group_hash(topics.names());
        group_update.subscription_type = consumer_subscription_type(&regexes, &topics, members);
        bump |= hash != group.common.metadata_hash();
        if bump {
            group_update.group_epoch += 1;
            effects.records.push(records::group_epoch(group_id, group_update.group_epoch, hash));
            tracing::info!(group = group_id, epoch = group_update.group_epoch, hash, "group epoch raised");
        }
        group_update.is_refreshed = true;
        if group.has_subscription_metadata_record {
            effects.records.push(records::partition_metadata_tombstone(group_id));
        }
        Ok(group_update)
    }

    /// The target assignment for the member, newly computed when that is due, and the epoch it is of.
    pub(super) fn update_target_assignment(
        &mut self,
        group: &ConsumerGroup,
        update: &MemberUpdate<'_>,
        group_update: &GroupUpdate,
        effects: &mut Effects,
    ) -> Result<(i32, TopicPartitions), GroupError> {
        let (group_id, new) = (group.group_id(), &update.new);
        let interval_ms = self.consumer_assignment_interval_ms(group_id);
        if !group.common.is_target_assignment_due(group_update.group_epoch, interval_ms, update.now) {
            return Ok((group.common.assignment_epoch(), target_of(group, new)));
        }
        let name = group.preferred_assignor_after(update.old, new);
        let name = name.as_deref().or_else(|| self.config.consumer_assignors.first().map(String::as_str)).unwrap_or("uniform");
        let failed = |message: String| {
            let message = format!("Failed to compute a new target assignment for epoch {}: {message}", group_update.group_epoch);
            tracing::error!(group = group_id, message);
            GroupError::new(ErrorCode::UnknownServerError, message)
        };
        let assignor = assignor::consumer_assignor(name).ok_or_else(|| failed(format!("no assignor {name}")))?;
        let replaced = new.instance_id.as_deref().and_then(|instance| group.static_members.get(instance));
        let computed = TargetAssignment {
            group: &group.common,
            assignor,
            subscription_type: group_update.subscription_type,
            image: self.topics.image(),
            updated: Some(new),
            replaced: replaced.filter(|&id| *id != new.member_id).map(String::as_str),
            assignable: None,
        };
        let computed =
            computed.compute(|member| Cow::Owned(group.topics_of(member).into_owned())).map_err(|error| failed(error.to_string()))?;
        tracing::info!(group = group_id, epoch = group_update.group_epoch, assignor = name, "new target assignment");
        effects.records.extend(computed.changed.iter().map(|(id, partitions)| records::target_assignment(group_id, id, partitions)));
        effects.records.push(records::target_assignment_metadata(group_id, group_update.group_epoch, update.now.wall_ms));
        let mut all = computed.all;
        Ok((group_update.group_epoch, all.remove(&new.member_id).unwrap_or_default()))
    }

    /// Leads the member one step towards its target.
    pub(super) fn reconcile(
        &mut self,
        group: &ConsumerGroup,
        update: &MemberUpdate<'_>,
        group_update: &GroupUpdate,
        target_epoch: i32,
        target: &TopicPartitions,
        effects: &mut Effects,
    ) -> Result<ConsumerGroupMember, GroupError> {
        let member = &update.new;
        if !group_update.has_subscription_changed && member.is_reconciled_to(target_epoch) {
            return Ok(member.clone());
        }
        let next = Reconciliation {
            group,
            target_epoch,
            target,
            subscribed_topics: self.topics.ids(group.topics_of(member).iter()),
            has_subscription_changed: group_update.has_subscription_changed,
            owned: update.owned.as_ref(),
        }
        .next(member)?;
        if next != *member {
            effects.records.push(records::current_assignment(group.group_id(), &next));
            if !next.uses_classic_protocol() {
                let key = TimerKey::Rebalance { group_id: group.group_id().to_owned(), member_id: next.member_id.clone() };
                if next.state == MemberState::UnrevokedPartitions {
                    let action = TimerAction::LeaveEpoch { member_epoch: next.member_epoch };
                    self.timers.schedule(update.now, key, i64::from(next.rebalance_timeout_ms), action);
                } else {
                    self.timers.cancel(&key);
                }
            }
        }
        Ok(next)
    }

    fn consumer_group_leave(
        &mut self,
        now: Now,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<(ConsumerGroupHeartbeatResponse, Effects), GroupError> {
        let group = self.consumer_group(&request.group_id)?;
        let response = ConsumerGroupHeartbeatResponse {
            member_id: Some(request.member_id.clone()),
            member_epoch: request.member_epoch,
            ..ConsumerGroupHeartbeatResponse::default()
        };
        let member = match request.instance_id.as_deref() {
            None => group.known_member(&request.member_id)?,
            Some(instance) => known_static_member(group, &request.member_id, instance)?,
        };
        let member_id = member.member_id.clone();
        tracing::info!(group = request.group_id, member = member_id, epoch = request.member_epoch, "member left");
        if request.instance_id.is_some() && request.member_epoch == LEAVE_GROUP_STATIC_MEMBER_EPOCH {
            // It keeps what it has until its session ends or it comes back.
            let mut leaving = member.clone();
            leaving.member_epoch = LEAVE_GROUP_STATIC_MEMBER_EPOCH;
            leaving.partitions_pending_revocation = PartitionEpochs::new();
            leaving.assigned_partitions.values_mut().flat_map(|epochs| epochs.values_mut()).for_each(|epoch| *epoch = 0);
            let records = vec![records::current_assignment(&request.group_id, &leaving)];
            return Ok((response, Effects { records, replay: true, ..Effects::default() }));
        }
        let effects = self.fence_consumer_members(now, &request.group_id, &[member_id])?;
        Ok((response, effects))
    }

    /// Takes members out of a group, which becomes a classic group when only classic members remain.
    pub(super) fn fence_consumer_members(&mut self, now: Now, group_id: &str, member_ids: &[String]) -> Result<Effects, GroupError> {
        let mut effects = Effects { replay: true, ..Effects::default() };
        let held = self.hold(group_id)?;
        let result = self.fence_in(now, &held.group, member_ids, &mut effects);
        self.release(now, held, true, &mut effects);
        result.map(|()| effects)
    }

    fn fence_in(&mut self, now: Now, group: &ConsumerGroup, member_ids: &[String], effects: &mut Effects) -> Result<(), GroupError> {
        let group_id = group.group_id();
        let members: Vec<&ConsumerGroupMember> = member_ids.iter().filter_map(|id| group.member(id)).collect();
        if members.is_empty() {
            return Ok(());
        }
        if self.may_downgrade_without(group, &members) {
            self.downgrade(now, group, &members, None, true, effects)?;
        } else {
            members.iter().for_each(|member| records::remove_member(group_id, &member.member_id, &mut effects.records));
            let mut gone_regexes = BTreeSet::new();
            for regex in members.iter().filter_map(|member| member.regex()) {
                let leaving = members.iter().filter(|member| member.regex() == Some(regex)).count();
                if group.regex_subscribers(regex) == leaving && gone_regexes.insert(regex.to_owned()) {
                    effects.records.push(records::regular_expression_tombstone(group_id, regex));
                }
            }
            let topics = group.subscribed_topics_without(&members, &gone_regexes);
            let hash = self.topics.group_hash(topics.names());
            effects.records.push(records::group_epoch(group_id, group.common.group_epoch() + 1, hash));
        }
        // Its deadlines stay: should the records not reach the log, it is still there; else they find nobody.
        Ok(())
    }

    /// A member's session has ended, or it has not done in time what it had to.
    pub(in crate::coordinator::group) fn fence_consumer_member(
        &mut self,
        now: Now,
        group_id: &str,
        member_id: &str,
        reason: &str,
    ) -> Effects {
        if self.consumer_group(group_id).is_ok_and(|group| group.member(member_id).is_some()) {
            tracing::info!(group = group_id, member = member_id, reason, "member is fenced");
        }
        self.fence_consumer_members(now, group_id, &[member_id.to_owned()]).unwrap_or_default()
    }

    /// The member has not given its partitions up in time, if it is still in that epoch.
    pub(in crate::coordinator::group) fn end_consumer_rebalance(
        &mut self,
        now: Now,
        group_id: &str,
        member_id: &str,
        member_epoch: i32,
    ) -> Effects {
        match self.consumer_group(group_id).ok().and_then(|group| group.member(member_id)) {
            Some(member) if member.member_epoch == member_epoch => {
                self.fence_consumer_member(now, group_id, member_id, "it has not given up its partitions in time")
            }
            _ => Effects::default(),
        }
    }

    /// Deadlines of the members that replay found.
    pub(in crate::coordinator::group) fn on_consumer_group_loaded(&mut self, now: Now, group_id: &str) {
        let session_timeout_ms = self.consumer_session_timeout_ms(group_id);
        let Some(Group::Consumer(group)) = self.groups.get(group_id) else { return };
        for member in group.members() {
            let key = TimerKey::Session { group_id: group_id.to_owned(), member_id: member.member_id.clone() };
            self.timers.schedule(now, key, i64::from(session_timeout_ms), TimerAction::Fence);
            if member.state == MemberState::UnrevokedPartitions {
                let key = TimerKey::Rebalance { group_id: group_id.to_owned(), member_id: member.member_id.clone() };
                let action = TimerAction::LeaveEpoch { member_epoch: member.member_epoch };
                self.timers.schedule(now, key, i64::from(member.rebalance_timeout_ms), action);
            }
        }
    }
}

/// What the target assignment there is gives the member, or the static member whose place it takes.
fn target_of(group: &ConsumerGroup, member: &ConsumerGroupMember) -> TopicPartitions {
    match member.instance_id.as_deref() {
        None => group.common.target_assignment(&member.member_id),
        Some(instance) => group.static_members.get(instance).map(|id| group.common.target_assignment(id)).unwrap_or_default(),
    }
}

/// The epoch a member says it is in and the partitions it says it owns; `None` for classic members, whose generation is checked elsewhere.
type SaidEpoch<'a> = Option<(i32, Option<&'a TopicPartitions>)>;

pub(super) fn dynamic_member(
    group: &ConsumerGroup,
    member_id: &str,
    epoch: SaidEpoch<'_>,
    is_joining: bool,
) -> Result<ConsumerGroupMember, GroupError> {
    let member = match group.member(member_id) {
        None if is_joining => ConsumerGroupMember::new(member_id),
        _ => group.known_member(member_id)?.clone(),
    };
    check_epoch(&member, epoch)?;
    Ok(member)
}

pub(super) fn static_member(
    group: &ConsumerGroup,
    member_id: &str,
    epoch: SaidEpoch<'_>,
    instance: &str,
    is_joining: bool,
    effects: &mut Vec<GroupRecord>,
) -> Result<ConsumerGroupMember, GroupError> {
    let uses_classic_protocol = epoch.is_none();
    if !is_joining {
        let member = known_static_member(group, member_id, instance)?;
        check_epoch(member, epoch)?;
        return Ok(member.clone());
    }
    let Some(existing) = group.static_member(instance) else {
        return Ok(group.member(member_id).cloned().unwrap_or_else(|| ConsumerGroupMember::new(member_id)));
    };
    let has_left = existing.member_epoch == LEAVE_GROUP_STATIC_MEMBER_EPOCH;
    if !uses_classic_protocol && !existing.uses_classic_protocol() && !has_left {
        let message = format!(
            "Static member {member_id} with instance id {instance} cannot join the group because the instance id is owned by {} member.",
            existing.member_id
        );
        return Err(GroupError::new(ErrorCode::UnreleasedInstanceId, message));
    }
    let mut member = existing.clone();
    member.member_id = member_id.to_owned();
    member.member_epoch = 0;
    member.previous_member_epoch = 0;
    let group_id = group.group_id();
    records::remove_member(group_id, &existing.member_id, effects);
    effects.push(records::member_metadata(group_id, &member));
    effects.push(records::target_assignment(group_id, member_id, &group.common.target_assignment(&existing.member_id)));
    effects.push(records::current_assignment(group_id, &member));
    tracing::info!(group = group_id, instance, old = existing.member_id, new = member_id, "static member came back");
    Ok(member)
}

/// The member of this instance, when it is known under this member id.
pub(super) fn known_static_member<'a>(
    group: &'a ConsumerGroup,
    member_id: &str,
    instance: &str,
) -> Result<&'a ConsumerGroupMember, GroupError> {
    let unknown = || GroupError::new(ErrorCode::UnknownMemberId, format!("Instance id {instance} is unknown."));
    let member = group.static_member(instance).ok_or_else(unknown)?;
    if member.member_id != member_id {
        let message = format!("Static member {member_id} with instance id {instance} was fenced by member {}.", member.member_id);
        return Err(GroupError::new(ErrorCode::FencedInstanceId, message));
    }
    Ok(member)
}

/// A member may be one epoch behind when the answer that told it of the next was lost, as long as it owns nothing it has not.
fn check_epoch(member: &ConsumerGroupMember, epoch: SaidEpoch<'_>) -> Result<(), GroupError> {
    let Some((epoch, owned)) = epoch else { return Ok(()) };
    let owns_only_assigned = || {
        owned.is_some_and(|owned| {
            let assigned = without_epochs(&member.assigned_partitions);
            owned.iter().all(|(topic, partitions)| assigned.get(topic).is_some_and(|assigned| partitions.is_subset(assigned)))
        })
    };
    let comparison = match epoch {
        0 => return Ok(()),
        _ if epoch == member.member_epoch => return Ok(()),
        _ if epoch > member.member_epoch => "greater",
        _ if epoch == member.previous_member_epoch && owns_only_assigned() => return Ok(()),
        _ => "smaller",
    };
    let message = format!(
        "The consumer group member has a {comparison} member epoch ({epoch}) than the one known by the group coordinator ({}). The member \
         must abandon all its partitions and rejoin.",
        member.member_epoch
    );
    Err(GroupError::new(ErrorCode::FencedMemberEpoch, message))
}

fn response_assignment(partitions: &PartitionEpochs) -> Assignment {
    let topic = |(&topic_id, epochs): (&Uuid, &std::collections::BTreeMap<i32, i32>)| ResponseTopicPartitions {
        topic_id,
        partitions: epochs.keys().copied().collect(),
        ..ResponseTopicPartitions::default()
    };
    Assignment { topic_partitions: partitions.iter().map(topic).collect(), ..Assignment::default() }
}
