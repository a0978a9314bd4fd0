//! Consumer groups (KIP-848): members of the consumer protocol, and of the classic protocol beside them while a group migrates. Source:
//! `modern.consumer.ConsumerGroup`.
//!
//! - [`heartbeat`], which is ConsumerGroupHeartbeat: joining, leaving, being led to the target assignment.
//! - [`current_assignment`]: one step of a member towards its target.
//! - [`regex`]: subscriptions by regular expression, resolved beside the shard.
//! - [`classic_members`]: JoinGroup, SyncGroup, Heartbeat and LeaveGroup of classic members.
//! - [`migration`]: classic groups that become consumer groups, and the other way round.
//! - [`describe`], which is ConsumerGroupDescribe.
//!
//! Invariant: `static_members`, `server_assignors`, `partition_epochs`, `subscribed_regexes` and the counts of classic members follow from
//! the members. Invariant: a partition is one member's at a time: whoever is to get it waits until `partition_epochs` has it no more.

mod classic_members;
mod current_assignment;
mod describe;
mod heartbeat;
mod member;
mod migration;
mod offsets;
pub(super) mod records;
mod regex;
mod replay;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

pub use heartbeat::validate_consumer_group_heartbeat;
pub use member::{ConsumerGroupMember, PartitionEpochs};
pub use offsets::CommitPermission;
pub use regex::{RegexResolution, ResolvedRegex, resolve_regexes};

use super::modern::{
    LEAVE_GROUP_MEMBER_EPOCH, MemberState, ModernGroup, ModernMember, SubscribedTopics, SubscriptionType, subscription_type,
};
use super::{CONSUMER_PROTOCOL_TYPE, GroupError};
use crate::common::uuid::Uuid;
use crate::protocol::error_code::ErrorCode;

/// Where a consumer group is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConsumerGroupState {
    /// No members; offsets may remain.
    Empty,
    /// The target assignment is of an older epoch than the group.
    Assigning,
    /// Members are on their way to the target assignment.
    Reconciling,
    Stable,
}

impl ConsumerGroupState {
    pub fn name(self) -> &'static str {
        match self {
            ConsumerGroupState::Empty => "Empty",
            ConsumerGroupState::Assigning => "Assigning",
            ConsumerGroupState::Reconciling => "Reconciling",
            ConsumerGroupState::Stable => "Stable",
        }
    }
}

/// One consumer group.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsumerGroup {
    pub(super) common: ModernGroup<ConsumerGroupMember>,
    /// Member ids by instance id.
    static_members: BTreeMap<String, String>,
    /// How many members ask for each assignor.
    server_assignors: BTreeMap<String, usize>,
    /// The epoch of the member that has the partition, to give it up or not.
    partition_epochs: BTreeMap<Uuid, BTreeMap<i32, i32>>,
    classic_members: usize,
    /// How many of the classic members support each protocol.
    classic_protocols: BTreeMap<String, usize>,
    /// How many members subscribe by each regular expression.
    subscribed_regexes: BTreeMap<String, usize>,
    resolved_regexes: BTreeMap<String, ResolvedRegex>,
    /// The log has a subscription metadata record of Kafka 4.0 or before, which is to be removed.
    has_subscription_metadata_record: bool,
}

impl ConsumerGroup {
    pub(super) fn new(group_id: &str) -> ConsumerGroup {
        ConsumerGroup {
            common: ModernGroup::new(group_id),
            static_members: BTreeMap::new(),
            server_assignors: BTreeMap::new(),
            partition_epochs: BTreeMap::new(),
            classic_members: 0,
            classic_protocols: BTreeMap::new(),
            subscribed_regexes: BTreeMap::new(),
            resolved_regexes: BTreeMap::new(),
            has_subscription_metadata_record: false,
        }
    }

    pub fn group_id(&self) -> &str {
        self.common.group_id()
    }

    pub fn common(&self) -> &ModernGroup<ConsumerGroupMember> {
        &self.common
    }

    pub fn protocol_type(&self) -> &'static str {
        CONSUMER_PROTOCOL_TYPE
    }

    pub fn members(&self) -> impl Iterator<Item = &ConsumerGroupMember> {
        self.common.members().values()
    }

    pub fn member(&self, member_id: &str) -> Option<&ConsumerGroupMember> {
        self.common.member(member_id)
    }

    pub(super) fn known_member(&self, member_id: &str) -> Result<&ConsumerGroupMember, GroupError> {
        self.member(member_id).ok_or_else(|| {
            GroupError::new(ErrorCode::UnknownMemberId, format!("Member {member_id} is not a member of group {}.", self.group_id()))
        })
    }

    /// The static member of this instance.
    pub(super) fn static_member(&self, instance_id: &str) -> Option<&ConsumerGroupMember> {
        self.member(self.static_members.get(instance_id)?)
    }

    pub fn is_empty(&self) -> bool {
        self.common.members().is_empty()
    }

    pub fn state(&self) -> ConsumerGroupState {
        let assignment_epoch = self.common.assignment_epoch();
        if self.is_empty() {
            ConsumerGroupState::Empty
        } else if self.common.group_epoch() > assignment_epoch {
            ConsumerGroupState::Assigning
        } else if self.members().all(|member| member.is_reconciled_to(assignment_epoch)) {
            ConsumerGroupState::Stable
        } else {
            ConsumerGroupState::Reconciling
        }
    }

    /// The epoch of the member that has this partition; `None` when nobody has.
    fn partition_epoch(&self, topic: Uuid, partition: i32) -> Option<i32> {
        self.partition_epochs.get(&topic)?.get(&partition).copied()
    }

    /// Puts a member in place of what the group knew under its id.
    fn put_member(&mut self, member: ConsumerGroupMember) {
        let old = self.common.put_member(member.clone());
        if let Some(old) = &old {
            self.uncount(old);
        }
        self.count(&member);
    }

    fn remove_member(&mut self, member_id: &str) {
        if let Some(old) = self.common.remove_member(member_id) {
            self.uncount(&old);
            if let Some(instance) = &old.instance_id
                && self.static_members.get(instance).is_some_and(|id| id == member_id)
            {
                self.static_members.remove(instance);
            }
        }
    }

    fn count(&mut self, member: &ConsumerGroupMember) {
        if let Some(instance) = &member.instance_id {
            self.static_members.insert(instance.clone(), member.member_id.clone());
        }
        member.server_assignor.iter().for_each(|assignor| increment(&mut self.server_assignors, assignor));
        member.regex().into_iter().for_each(|regex| increment(&mut self.subscribed_regexes, regex));
        for (&topic, partitions) in member.assigned_partitions.iter().chain(&member.partitions_pending_revocation) {
            let epochs = self.partition_epochs.entry(topic).or_default();
            for &partition in partitions.keys() {
                let epoch = epochs.entry(partition).or_insert(member.member_epoch);
                *epoch = member.member_epoch.max(*epoch);
            }
        }
        if let Some(classic) = &member.classic {
            self.classic_members += 1;
            classic.supported_protocols.iter().for_each(|protocol| increment(&mut self.classic_protocols, &protocol.name));
        }
    }

    fn uncount(&mut self, member: &ConsumerGroupMember) {
        member.server_assignor.iter().for_each(|assignor| decrement(&mut self.server_assignors, assignor));
        member.regex().into_iter().for_each(|regex| decrement(&mut self.subscribed_regexes, regex));
        for (topic, partitions) in member.assigned_partitions.iter().chain(&member.partitions_pending_revocation) {
            let Some(epochs) = self.partition_epochs.get_mut(topic) else { continue };
            for partition in partitions.keys() {
                // Another member may have it already, when records of different members come out of order after compaction.
                if epochs.get(partition) == Some(&member.member_epoch) {
                    epochs.remove(partition);
                }
            }
            if epochs.is_empty() {
                self.partition_epochs.remove(topic);
            }
        }
        if let Some(classic) = &member.classic {
            self.classic_members -= 1;
            classic.supported_protocols.iter().for_each(|protocol| decrement(&mut self.classic_protocols, &protocol.name));
        }
    }

    fn put_resolved_regex(&mut self, regex: &str, resolved: ResolvedRegex) {
        self.remove_resolved_regex(regex);
        self.common.subscribed_topics_mut().add_regex(&resolved.topics);
        self.resolved_regexes.insert(regex.to_owned(), resolved);
    }

    fn remove_resolved_regex(&mut self, regex: &str) {
        if let Some(old) = self.resolved_regexes.remove(regex) {
            self.common.subscribed_topics_mut().remove_regex(&old.topics);
        }
    }

    /// The members that subscribe by this regular expression.
    fn regex_subscribers(&self, regex: &str) -> usize {
        self.subscribed_regexes.get(regex).copied().unwrap_or(0)
    }

    /// All topics the member reads: those it names and those of its regular expression, as far as that is resolved.
    pub(super) fn topics_of<'a>(&'a self, member: &'a ConsumerGroupMember) -> Cow<'a, BTreeSet<String>> {
        let resolved = member.regex().and_then(|regex| self.resolved_regexes.get(regex)).map(|resolved| &resolved.topics);
        match resolved {
            Some(topics) if member.subscribed_topic_names.is_empty() => Cow::Borrowed(topics),
            Some(topics) if !topics.is_empty() => Cow::Owned(member.subscribed_topic_names.union(topics).cloned().collect()),
            _ => Cow::Borrowed(&member.subscribed_topic_names),
        }
    }

    /// The subscriptions as they will be with `new` in the place of `old`, which is a member or, without subscriptions, a newcomer.
    fn subscribed_topics_after(&self, old: &ConsumerGroupMember, new: &ConsumerGroupMember) -> SubscribedTopics {
        let mut topics = self.common.subscribed_topics_after(Some(old), Some(new));
        if let Some(regex) = old.regex()
            && new.regex() != Some(regex)
            && self.regex_subscribers(regex) == 1
            && let Some(resolved) = self.resolved_regexes.get(regex)
        {
            topics.remove_regex(&resolved.topics);
        }
        topics
    }

    /// The subscriptions as they will be without these members.
    fn subscribed_topics_without(&self, gone: &[&ConsumerGroupMember], gone_regexes: &BTreeSet<String>) -> SubscribedTopics {
        let mut topics = self.common.subscribed_topics().clone();
        gone.iter().for_each(|member| topics.remove_names(&member.subscribed_topic_names));
        for regex in gone_regexes {
            if let Some(resolved) = self.resolved_regexes.get(regex) {
                topics.remove_regex(&resolved.topics);
            }
        }
        topics
    }

    /// How many members subscribe by each regular expression with `new` in the place of `old`.
    fn subscribed_regexes_after(&self, old: &ConsumerGroupMember, new: &ConsumerGroupMember) -> BTreeMap<String, usize> {
        let mut regexes = self.subscribed_regexes.clone();
        old.regex().into_iter().for_each(|regex| decrement(&mut regexes, regex));
        new.regex().into_iter().for_each(|regex| increment(&mut regexes, regex));
        regexes
    }

    /// The assignor most members ask for with `new` in the place of `old`.
    fn preferred_assignor_after(&self, old: &ConsumerGroupMember, new: &ConsumerGroupMember) -> Option<String> {
        let mut assignors = self.server_assignors.clone();
        old.server_assignor.iter().for_each(|assignor| decrement(&mut assignors, assignor));
        new.server_assignor.iter().for_each(|assignor| increment(&mut assignors, assignor));
        most_wanted(&assignors)
    }

    pub fn preferred_assignor(&self) -> Option<String> {
        most_wanted(&self.server_assignors)
    }

    fn are_all_classic_except(&self, members: &[&ConsumerGroupMember]) -> bool {
        let classic = members.iter().filter(|member| member.uses_classic_protocol()).count();
        self.classic_members - classic == self.common.members().len() - members.len()
    }

    /// May a classic member with these protocols join?
    fn supports_classic_protocols<'a>(&self, protocol_type: &str, protocols: impl IntoIterator<Item = &'a str>) -> bool {
        if protocol_type != CONSUMER_PROTOCOL_TYPE {
            return false;
        }
        let mut protocols = protocols.into_iter();
        if self.is_empty() {
            return protocols.next().is_some();
        }
        protocols.any(|name| self.classic_protocols.get(name).copied().unwrap_or(0) == self.classic_members)
    }

    /// Does the member wait for a partition that another still has?
    fn waits_for_unreleased_partition(&self, member: &ConsumerGroupMember) -> bool {
        let has =
            |topic: &Uuid, partition: &i32| member.assigned_partitions.get(topic).is_some_and(|epochs| epochs.contains_key(partition));
        let target = self.common.target().get(&member.member_id);
        member.state == MemberState::UnreleasedPartitions
            && target.into_iter().flatten().any(|(topic, partitions)| {
                partitions.iter().any(|partition| !has(topic, partition) && self.partition_epoch(*topic, *partition).is_some())
            })
    }
}

fn most_wanted(assignors: &BTreeMap<String, usize>) -> Option<String> {
    let most = assignors.values().max()?;
    assignors.iter().find(|&(_, count)| count == most).map(|(name, _)| name.clone())
}

fn increment(counts: &mut BTreeMap<String, usize>, key: &str) {
    *counts.entry(key.to_owned()).or_default() += 1;
}

fn decrement(counts: &mut BTreeMap<String, usize>, key: &str) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// The subscription type of a group with these subscriptions.
fn consumer_subscription_type(regexes: &BTreeMap<String, usize>, topics: &SubscribedTopics, members: usize) -> SubscriptionType {
    let Some(&subscribers) = regexes.values().next() else { return subscription_type(topics, members) };
    let same = subscribers == members && topics.counts().all(|count| count.by_regex == 1 && count.by_name == 0);
    if same { SubscriptionType::Homogeneous } else { SubscriptionType::Heterogeneous }
}
