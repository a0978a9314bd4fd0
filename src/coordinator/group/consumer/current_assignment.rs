//! One step of a member towards its target assignment. Source: `CurrentAssignmentBuilder`.
//!
//! A member first gives up what it has to give up, in its old epoch; when it owns none of that any more it goes to the new epoch and gets
//! what is free; what others still have comes as they give it up.
//!
//! Invariant: a partition is added to a member only when nobody has it.

use std::collections::{BTreeMap, BTreeSet};

use super::{ConsumerGroup, ConsumerGroupMember, PartitionEpochs};
use crate::common::uuid::Uuid;
use crate::coordinator::group::GroupError;
use crate::coordinator::group::modern::{MemberState, TopicPartitions};
use crate::protocol::error_code::ErrorCode;

/// What decides on a member's next step.
pub(super) struct Reconciliation<'a> {
    pub(super) group: &'a ConsumerGroup,
    pub(super) target_epoch: i32,
    pub(super) target: &'a TopicPartitions,
    /// The topics the member reads, those that exist.
    pub(super) subscribed_topics: BTreeSet<Uuid>,
    pub(super) has_subscription_changed: bool,
    /// What the member says it owns; `None` when it says nothing.
    pub(super) owned: Option<&'a TopicPartitions>,
}

impl Reconciliation<'_> {
    /// The member after this step; the same when there is nothing to do.
    pub(super) fn next(&self, member: &ConsumerGroupMember) -> Result<ConsumerGroupMember, GroupError> {
        match member.state {
            MemberState::Stable if member.member_epoch != self.target_epoch => Ok(self.advance(member, member.member_epoch)),
            MemberState::Stable if self.has_subscription_changed => Ok(self.drop_unsubscribed(member)),
            MemberState::Stable => Ok(member.clone()),
            MemberState::UnrevokedPartitions if self.owns_any(&member.partitions_pending_revocation) => {
                Ok(if self.has_subscription_changed { self.drop_unsubscribed(member) } else { member.clone() })
            }
            MemberState::UnrevokedPartitions | MemberState::UnreleasedPartitions => Ok(self.advance(member, member.member_epoch)),
            // Only a member that owns nothing can be led on from a state that is not known here.
            MemberState::Unknown if self.owned.is_some_and(BTreeMap::is_empty) => Ok(self.advance(member, self.target_epoch)),
            MemberState::Unknown => Err(GroupError::new(
                ErrorCode::FencedMemberEpoch,
                "The consumer group member is in a unknown state. The member must abandon all its partitions and rejoin.",
            )),
        }
    }

    /// Does the member still own any of these? It is taken to when it does not say.
    fn owns_any(&self, partitions: &PartitionEpochs) -> bool {
        let Some(owned) = self.owned else { return true };
        owned.iter().any(|(topic, owned)| {
            partitions.get(topic).is_some_and(|pending| owned.iter().any(|partition| pending.contains_key(partition)))
        })
    }

    /// Takes the topics away that the member does not read any more, without waiting for a new target assignment.
    fn drop_unsubscribed(&self, member: &ConsumerGroupMember) -> ConsumerGroupMember {
        let mut next = member.clone();
        next.assigned_partitions.retain(|topic, _| self.subscribed_topics.contains(topic));
        if next.assigned_partitions.len() == member.assigned_partitions.len() {
            return next;
        }
        let mut pending = member.partitions_pending_revocation.clone();
        for (topic, epochs) in member.assigned_partitions.iter().filter(|(topic, _)| !self.subscribed_topics.contains(topic)) {
            pending.entry(*topic).or_default().extend(epochs);
        }
        next.set_epoch(member.member_epoch);
        if self.owns_any(&pending) {
            next.state = MemberState::UnrevokedPartitions;
            next.partitions_pending_revocation = pending;
        }
        next
    }

    /// Compares what the member has with its target.
    fn advance(&self, member: &ConsumerGroupMember, member_epoch: i32) -> ConsumerGroupMember {
        let mut assigned = PartitionEpochs::new();
        let mut to_revoke = PartitionEpochs::new();
        let mut to_assign = TopicPartitions::new();
        let mut waits = false;
        let topics: BTreeSet<Uuid> = self.target.keys().chain(member.assigned_partitions.keys()).copied().collect();
        for topic in topics {
            let target = self.target.get(&topic).filter(|_| self.subscribed_topics.contains(&topic));
            let current = member.assigned_partitions.get(&topic);
            for (&partition, &epoch) in current.into_iter().flatten() {
                let kept = target.is_some_and(|target| target.contains(&partition));
                let side = if kept { &mut assigned } else { &mut to_revoke };
                side.entry(topic).or_default().insert(partition, epoch);
            }
            for &partition in target.into_iter().flatten() {
                if current.is_some_and(|current| current.contains_key(&partition)) {
                    continue;
                }
                let is_own = member.partitions_pending_revocation.get(&topic).is_some_and(|own| own.contains_key(&partition));
                if is_own || self.group.partition_epoch(topic, partition).is_none() {
                    to_assign.entry(topic).or_default().insert(partition);
                } else {
                    waits = true;
                }
            }
        }
        let mut next = member.clone();
        if !to_revoke.is_empty() && self.owns_any(&to_revoke) {
            next.state = MemberState::UnrevokedPartitions;
            next.set_epoch(member_epoch);
            next.assigned_partitions = assigned;
            next.partitions_pending_revocation = to_revoke;
            return next;
        }
        for (topic, partitions) in to_assign {
            assigned.entry(topic).or_default().extend(partitions.into_iter().map(|partition| (partition, self.target_epoch)));
        }
        next.state = if waits { MemberState::UnreleasedPartitions } else { MemberState::Stable };
        next.set_epoch(self.target_epoch);
        next.assigned_partitions = assigned;
        next.partitions_pending_revocation = PartitionEpochs::new();
        next
    }
}
