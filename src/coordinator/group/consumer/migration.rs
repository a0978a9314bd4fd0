//! Groups that change their protocol while they live (KIP-848): a classic group becomes a consumer group when the first member of the new
//! protocol joins, and a classic group again when the last one has left and classic members remain. Sources: `validateOnlineUpgrade`,
//! `convertToConsumerGroup`, `validateOnlineDowngrade*`, `convertToClassicGroup` of `GroupMetadataManager`, `ConsumerGroup.fromClassicGroup`,
//! `ClassicGroup.fromConsumerGroup`.
//!
//! Both ways are records that remove the one group and write the other, in one batch; replaying them does the change.

use std::collections::BTreeMap;

use super::member::with_epoch;
use super::{ConsumerGroup, ConsumerGroupMember, records};
use crate::coordinator::group::modern::{MemberState, TopicPartitions};
use crate::coordinator::group::records::{GroupRecord, group_metadata_record, group_metadata_tombstone};
use crate::coordinator::group::{
    AfterCommit, CONSUMER_PROTOCOL_TYPE, ClassicGroup, ClassicGroupMember, ClassicGroupState, ConversionToClassic, Effects, Group,
    GroupError, GroupShard, MemberProtocol, TimerAction, TimerKey, classic_group, subscription,
};
use crate::coordinator::timers::Now;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::consumer_group_member_metadata_value::{ClassicMemberMetadata, ClassicProtocol};
use crate::protocol::messages::consumer_protocol_assignment::TopicPartition;
use crate::protocol::messages::{ConsumerProtocolAssignment, SyncGroupResponse};

/// A consumer group that is worked on, out of the shard's hands so that both may be used.
pub(super) struct HeldGroup {
    pub(super) group: Box<ConsumerGroup>,
    origin: Origin,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// It goes back when the work is done.
    Shard,
    /// Records will bring it into being.
    New,
    /// Records will bring it into being in the place of a classic group, which still is there.
    ClassicGroup,
}

impl GroupShard {
    pub(super) fn hold(&mut self, group_id: &str) -> Result<HeldGroup, GroupError> {
        self.consumer_group(group_id)?;
        match self.groups.remove(group_id) {
            Some(Group::Consumer(group)) => Ok(HeldGroup { group, origin: Origin::Shard }),
            // It was looked at in the line above.
            _ => Err(GroupError::not_found(format!("Group {group_id} is not a consumer group."))),
        }
    }

    /// The group for a member that heartbeats. One that joins may create it, or make one of a classic group; the records say so then.
    pub(super) fn hold_or_create(&mut self, group_id: &str, create: bool, records: &mut Vec<GroupRecord>) -> Result<HeldGroup, GroupError> {
        let new = |origin| HeldGroup { group: Box::new(ConsumerGroup::new(group_id)), origin };
        match self.groups.get(group_id) {
            Some(Group::Consumer(_)) => self.hold(group_id),
            None if create => Ok(new(Origin::New)),
            None => Err(GroupError::not_found(format!("Consumer group {group_id} not found."))),
            Some(Group::Classic(group)) if create && group.is_in(ClassicGroupState::Empty) => {
                records.push(group_metadata_tombstone(group_id));
                Ok(new(Origin::New))
            }
            Some(Group::Classic(group)) if create => {
                self.check_upgrade(group)?;
                let Some(Group::Classic(group)) = self.groups.get(group_id) else { return Ok(new(Origin::New)) };
                let mut upgraded = consumer_group_of(group, &self.topics)?;
                upgraded.common.metadata_hash = self.topics.group_hash(upgraded.common.subscribed_topics().names());
                records.push(group_metadata_tombstone(group_id));
                records::whole_group(&upgraded, records);
                Ok(HeldGroup { group: Box::new(upgraded), origin: Origin::ClassicGroup })
            }
            Some(_) => Err(GroupError::not_found(format!("Group {group_id} is not a consumer group."))),
        }
    }

    /// Ends the work on a group that was held; `done` says whether its records go out.
    pub(super) fn release(&mut self, now: Now, held: HeldGroup, done: bool, effects: &mut Effects) {
        let group_id = held.group.group_id().to_owned();
        match held.origin {
            Origin::Shard => {
                self.groups.insert(group_id, Group::Consumer(held.group));
            }
            Origin::ClassicGroup if done => {
                tracing::info!(group = group_id, "classic group becomes a consumer group");
                self.answer_all_classic_members(&group_id, ErrorCode::RebalanceInProgress, effects);
                for member in held.group.members() {
                    let session_timeout_ms = member.classic.as_ref().map_or(0, |classic| classic.session_timeout_ms);
                    self.schedule_session(now, &group_id, &member.member_id, session_timeout_ms);
                }
            }
            Origin::ClassicGroup | Origin::New => {}
        }
    }

    /// Everyone whose JoinGroup or SyncGroup is parked has to come again.
    fn answer_all_classic_members(&mut self, group_id: &str, error: ErrorCode, effects: &mut Effects) {
        let Some(Group::Classic(group)) = self.groups.get_mut(group_id) else { return };
        for member_id in group.member_ids() {
            group.complete_join(&member_id, classic_group::join_error(&member_id, error), effects);
            let response = SyncGroupResponse { error_code: error.code(), ..SyncGroupResponse::default() };
            group.complete_sync(&member_id, response, effects);
        }
    }

    fn check_upgrade(&self, group: &ClassicGroup) -> Result<(), GroupError> {
        let group_id = group.group_id();
        let refused = |why: &str| {
            tracing::info!(group = group_id, why, "classic group cannot become a consumer group");
            Err(GroupError::not_found(format!("Cannot upgrade classic group {group_id} to consumer group because {why}.")))
        };
        if !self.config.consumer_migration_policy.allows_upgrade() {
            refused("online upgrade is disabled")
        } else if !group.uses_consumer_group_protocol() {
            refused("the group does not use the consumer embedded protocol")
        } else if group.members().count() > self.config.consumer_max_size {
            refused("the group size exceeds the consumer group maximum size")
        } else {
            Ok(())
        }
    }

    pub(super) fn may_downgrade_without(&self, group: &ConsumerGroup, gone: &[&ConsumerGroupMember]) -> bool {
        let remaining = group.common.members().len() - gone.len();
        group.are_all_classic_except(gone) && remaining > 0 && self.may_downgrade_to(group, remaining)
    }

    /// May the group be downgraded now that a classic member takes the place of this one?
    pub(super) fn may_downgrade_replacing(&self, group: &ConsumerGroup, replaced: &ConsumerGroupMember) -> bool {
        let members = group.common.members().len();
        !replaced.uses_classic_protocol() && group.classic_members == members - 1 && self.may_downgrade_to(group, members)
    }

    fn may_downgrade_to(&self, group: &ConsumerGroup, members: usize) -> bool {
        let may = self.config.consumer_migration_policy.allows_downgrade() && members <= self.config.max_size;
        if !may {
            tracing::info!(group = group.group_id(), members, "consumer group may not become a classic group");
        }
        may
    }

    /// Makes a classic group of the group without `gone`; `joining` is a static member that takes another's place.
    pub(super) fn downgrade(
        &mut self,
        now: Now,
        group: &ConsumerGroup,
        gone: &[&ConsumerGroupMember],
        joining: Option<&ConsumerGroupMember>,
        rebalance: bool,
        effects: &mut Effects,
    ) -> Result<ConversionToClassic, GroupError> {
        let group_id = group.group_id();
        let replaced = joining.and_then(|joining| group.static_member(joining.instance_id.as_deref()?));
        let names = joining.zip(replaced).map(|(joining, replaced)| (replaced.member_id.as_str(), joining.member_id.as_str()));
        records::group_tombstones(group, names, &mut effects.records);

        let mut classic = ClassicGroup::empty(group_id, Some(now.wall_ms));
        classic.state = ClassicGroupState::Stable;
        classic.generation_id = group.common.group_epoch();
        classic.protocol_type = Some(CONSUMER_PROTOCOL_TYPE.to_owned());
        let is_gone = |member: &ConsumerGroupMember| gone.iter().chain(&replaced).any(|gone| gone.member_id == member.member_id);
        for member in group.members().filter(|member| !is_gone(member)).chain(joining) {
            classic.add(classic_member(member));
        }
        classic.protocol_name = classic.select_protocol();
        let protocol = classic.protocol_name.clone().unwrap_or_default();
        let mut assignments = BTreeMap::new();
        for member in classic.members() {
            let target = match names {
                Some((old, new)) if new == member.member_id => group.common.target_assignment(old),
                _ => group.common.target_assignment(&member.member_id),
            };
            let version = member.metadata(&protocol).and_then(subscription::version).ok_or_else(|| {
                GroupError::not_found(format!(
                    "Cannot downgrade the classic group {group_id}: the embedded consumer protocol is malformed."
                ))
            })?;
            assignments.insert(member.member_id.clone(), subscription::encode_assignment(&self.protocol_assignment(&target), version));
        }
        effects.records.push(group_metadata_record(&classic, |member| assignments.get(&member.member_id).cloned().unwrap_or_default()));
        tracing::info!(group = group_id, generation = classic.generation_id, "consumer group becomes a classic group");
        let protocols = classic.members().map(|member| (member.member_id.clone(), member.protocols.clone())).collect();
        let conversion = ConversionToClassic { group_id: group_id.to_owned(), protocols, rebalance };
        effects.after_commit = Some(AfterCommit::ConvertedToClassic(Box::new(conversion.clone())));
        Ok(conversion)
    }

    /// The classic group is in the log: its members have sessions from now on, and know again what its record does not tell of them.
    pub(in crate::coordinator::group) fn converted_to_classic(&mut self, now: Now, conversion: ConversionToClassic) -> Effects {
        let ConversionToClassic { group_id, protocols, rebalance } = conversion;
        if self.classic_group(&group_id).is_none() {
            return Effects::default();
        }
        for (member_id, _) in &protocols {
            self.cancel_member_timers(&group_id, member_id);
        }
        self.with_group(now, &group_id, |group, step| {
            for (member_id, protocols) in protocols {
                let Some(member) = group.member(&member_id).filter(|member| member.protocols.len() == 1).cloned() else { continue };
                let (rebalance_timeout_ms, session_timeout_ms) = (member.rebalance_timeout_ms, member.session_timeout_ms);
                group.update_member(&member_id, protocols, rebalance_timeout_ms, session_timeout_ms, member.awaiting_join);
            }
            for member_id in group.member_ids() {
                group.renew_session(&member_id, step);
            }
            if rebalance && group.is_in(ClassicGroupState::Stable) {
                group.prepare_rebalance("the group was a consumer group", step);
            }
        })
    }

    /// An assignment as the consumer protocol writes it: by name, topics that are gone left out.
    pub(super) fn protocol_assignment(&self, partitions: &TopicPartitions) -> ConsumerProtocolAssignment {
        let topic = |(&id, partitions): (&crate::common::uuid::Uuid, &std::collections::BTreeSet<i32>)| {
            Some(TopicPartition {
                topic: self.topics.topic_by_id(id)?.name.clone(),
                partitions: partitions.iter().copied().collect(),
                ..TopicPartition::default()
            })
        };
        ConsumerProtocolAssignment { assigned_partitions: partitions.iter().filter_map(topic).collect(), ..Default::default() }
    }

    pub(super) fn schedule_session(&mut self, now: Now, group_id: &str, member_id: &str, session_timeout_ms: i32) {
        let key = TimerKey::Session { group_id: group_id.to_owned(), member_id: member_id.to_owned() };
        self.timers.schedule(now, key, i64::from(session_timeout_ms), TimerAction::Fence);
    }
}

fn classic_member(member: &ConsumerGroupMember) -> ClassicGroupMember {
    let classic = member.classic.clone().unwrap_or_default();
    let protocol = |protocol: ClassicProtocol| MemberProtocol { name: protocol.name, metadata: protocol.metadata };
    ClassicGroupMember {
        member_id: member.member_id.clone(),
        group_instance_id: member.instance_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        session_timeout_ms: classic.session_timeout_ms,
        protocol_type: CONSUMER_PROTOCOL_TYPE.to_owned(),
        protocols: classic.supported_protocols.into_iter().map(protocol).collect(),
        assignment: bytes::Bytes::new(),
        is_new: false,
        awaiting_join: None,
        awaiting_sync: None,
    }
}

/// The consumer group that a classic group is to become: its members stay where they are, at the epoch of their generation.
fn consumer_group_of(
    classic: &ClassicGroup,
    topics: &crate::coordinator::group::modern::topics::Topics,
) -> Result<ConsumerGroup, GroupError> {
    let group_id = classic.group_id();
    let malformed = || {
        GroupError::not_found(format!(
            "Cannot upgrade classic group {group_id} to consumer group because the embedded consumer protocol is malformed."
        ))
    };
    let generation_id = classic.generation_id();
    let mut group = ConsumerGroup::new(group_id);
    group.common.group_epoch = generation_id;
    group.common.assignment_epoch = generation_id;
    for member in classic.members() {
        let mut assigned = TopicPartitions::new();
        if !member.assignment.is_empty() {
            let assignment = subscription::assignment(&member.assignment).ok_or_else(malformed)?;
            if assignment.user_data.is_some_and(|data| !data.is_empty()) {
                return Err(GroupError::not_found(format!(
                    "Cannot upgrade classic group {group_id} to consumer group because an unsupported custom assignor is in use. Please \
                     refer to the documentation or switch to a default assignor before re-attempting the upgrade."
                )));
            }
            for topic in assignment.assigned_partitions {
                if let Some(known) = topics.topic(&topic.topic) {
                    assigned.insert(known.id, topic.partitions.into_iter().collect());
                }
            }
        }
        let protocol = classic.protocol_name().unwrap_or("");
        let subscription = member.metadata(protocol).and_then(subscription::subscription).ok_or_else(malformed)?;
        let mut new = ConsumerGroupMember::new(&member.member_id);
        new.member_epoch = generation_id;
        new.previous_member_epoch = generation_id;
        new.state = MemberState::Stable;
        new.instance_id.clone_from(&member.group_instance_id);
        new.rack_id = subscription.rack_id.filter(|rack| !rack.is_empty());
        new.rebalance_timeout_ms = member.rebalance_timeout_ms;
        new.client_id.clone_from(&member.client_id);
        new.client_host.clone_from(&member.client_host);
        new.subscribed_topic_names = subscription.topics.into_iter().collect();
        new.assigned_partitions = with_epoch(&assigned, generation_id);
        new.classic = Some(ClassicMemberMetadata {
            session_timeout_ms: member.session_timeout_ms,
            supported_protocols: member.protocols.iter().map(classic_protocol).collect(),
            ..ClassicMemberMetadata::default()
        });
        group.common.put_target_assignment(&member.member_id, assigned);
        group.put_member(new);
    }
    Ok(group)
}

pub(super) fn classic_protocol(protocol: &MemberProtocol) -> ClassicProtocol {
    ClassicProtocol { name: protocol.name.clone(), metadata: protocol.metadata.clone(), ..ClassicProtocol::default() }
}
