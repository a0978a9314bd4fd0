//! What the groups of the newer protocols have in common: consumer groups (KIP-848), share groups (KIP-932), streams groups (KIP-1071).
//!
//! The idea of all of them: members tell what they want in heartbeats; a change raises the *group epoch*; an assignor computes a *target
//! assignment* for that epoch; each member is led to its part of it by its own heartbeats, and its *member epoch* says how far it has come.
//!
//! To add a type of group `X`:
//! 1. Its state is a struct that holds a [`ModernGroup`] of its members ([`ModernMember`]) and what is its own; a variant of
//!    [`super::Group`] and of [`super::GroupType`].
//! 2. Its records are lines of the table in [`super::records`]; `GroupShard::replay_record` hands them to the type's `replay`, which alone
//!    changes the group. [`super::GroupShard::subscriptions_changed`] keeps the index of who reads which topic.
//! 3. A request is a method of [`super::GroupShard`] that reads `self`, may set timers, and gives the response and
//!    `Effects { records, replay: true, .. }`: the runtime appends them, replays them, and answers when they are committed. What an
//!    earlier record of the same request makes of the group is not seen by it; work on clones of members, as the consumer group does.
//! 4. Timers are keys of `super::TimerKey`: `Session` and `Rebalance` serve every type (`GroupShard::fence_by_timer` dispatches).
//! 5. The topics of the cluster are in [`topics::Topics`], which the shard holds: the newest metadata image and the hashes of topics. A
//!    group whose topics changed has its metadata refresh requested, so that its next heartbeat compares the metadata hash.
//!
//! Sources: `ModernGroup`, `ModernGroupMember`, `MemberState`, `SubscriptionCount`, `Assignment` of `coordinator.group.modern`.
//!
//! Invariant: `subscribed_topics` counts the members' subscriptions; `inverted` is the inverse of `target`.

pub mod assignor;
pub mod target_assignment;
pub mod topics;

use std::collections::{BTreeMap, BTreeSet};

use crate::common::uuid::Uuid;
use crate::coordinator::timers::Now;

/// Partitions by topic; no empty set inside.
pub type TopicPartitions = BTreeMap<Uuid, BTreeSet<i32>>;

/// The member epoch of a member that leaves, and of one that is gone.
pub const LEAVE_GROUP_MEMBER_EPOCH: i32 = -1;
/// The member epoch of a static member that leaves for a while.
pub const LEAVE_GROUP_STATIC_MEMBER_EPOCH: i32 = -2;

/// How far a member of a consumer or share group has come with its target assignment. The number is the record's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemberState {
    /// It has what its epoch gives it.
    #[default]
    Stable,
    /// It has to give partitions up before it goes on.
    UnrevokedPartitions,
    /// It waits for partitions that others have not given up.
    UnreleasedPartitions,
    /// Written by a newer version.
    Unknown,
}

impl MemberState {
    pub fn code(self) -> i8 {
        match self {
            MemberState::Stable => 0,
            MemberState::UnrevokedPartitions => 1,
            MemberState::UnreleasedPartitions => 2,
            MemberState::Unknown => 127,
        }
    }

    pub fn from_code(code: i8) -> MemberState {
        match code {
            0 => MemberState::Stable,
            1 => MemberState::UnrevokedPartitions,
            2 => MemberState::UnreleasedPartitions,
            _ => MemberState::Unknown,
        }
    }
}

/// What every group of [`ModernGroup`] knows of a member.
pub trait ModernMember: Clone + std::fmt::Debug + PartialEq {
    fn member_id(&self) -> &str;
    fn instance_id(&self) -> Option<&str>;
    fn rack_id(&self) -> Option<&str>;
    /// The topics it names itself; those of a regular expression are the group's to know.
    fn subscribed_topic_names(&self) -> &BTreeSet<String>;
    /// Has it come to the target assignment of this epoch?
    fn is_reconciled_to(&self, assignment_epoch: i32) -> bool;
}

/// How many subscribe to a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionCount {
    /// Members that name it.
    pub by_name: usize,
    /// Regular expressions that match it.
    pub by_regex: usize,
}

/// The topics a group reads, each with its subscribers; no topic without any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscribedTopics(BTreeMap<String, SubscriptionCount>);

impl SubscribedTopics {
    pub fn contains(&self, topic: &str) -> bool {
        self.0.contains_key(topic)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub fn counts(&self) -> impl Iterator<Item = SubscriptionCount> {
        self.0.values().copied()
    }

    pub fn add_names<'a>(&mut self, topics: impl IntoIterator<Item = &'a String>) {
        self.change(topics, |count| count.by_name += 1);
    }

    pub fn remove_names<'a>(&mut self, topics: impl IntoIterator<Item = &'a String>) {
        self.change(topics, |count| count.by_name = count.by_name.saturating_sub(1));
    }

    pub fn add_regex<'a>(&mut self, topics: impl IntoIterator<Item = &'a String>) {
        self.change(topics, |count| count.by_regex += 1);
    }

    pub fn remove_regex<'a>(&mut self, topics: impl IntoIterator<Item = &'a String>) {
        self.change(topics, |count| count.by_regex = count.by_regex.saturating_sub(1));
    }

    fn change<'a>(&mut self, topics: impl IntoIterator<Item = &'a String>, change: impl Fn(&mut SubscriptionCount)) {
        for topic in topics {
            let count = self.0.entry(topic.clone()).or_default();
            change(count);
            if *count == SubscriptionCount::default() {
                self.0.remove(topic);
            }
        }
    }
}

/// Do all members of a group subscribe to the same topics? Assignors have a quicker way when they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionType {
    Homogeneous,
    Heterogeneous,
}

/// The subscription type of members that subscribe by name only.
pub fn subscription_type(topics: &SubscribedTopics, members: usize) -> SubscriptionType {
    match topics.counts().all(|count| count.by_name == members) {
        true => SubscriptionType::Homogeneous,
        false => SubscriptionType::Heterogeneous,
    }
}

/// When the group has to look at the metadata of its topics again. Not persisted: a group that was loaded looks at its first heartbeat.
/// The epoch is the group's when this was set, so that it does not hold when the records that went with it could not be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetadataRefresh {
    pub deadline_ms: i64,
    pub group_epoch: i32,
}

/// How long a look at the metadata lasts when nothing changes: Kafka relies on being told of changes.
pub const METADATA_REFRESH_INTERVAL_MS: i64 = i32::MAX as i64;

/// The epoch of a group that is new, and of its assignment, which gives nobody anything.
pub(in crate::coordinator::group) const INITIAL_EPOCH: i32 = 1;

/// The state that consumer and share groups have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct ModernGroup<M> {
    group_id: String,
    /// Raised by every change of subscriptions, membership or topics.
    pub(super) group_epoch: i32,
    /// The hash of the subscribed topics' metadata at the last look; see [`topics::Topics::group_hash`].
    pub(super) metadata_hash: i64,
    members: BTreeMap<String, M>,
    subscribed_topics: SubscribedTopics,
    /// The group epoch that the target assignment is of; -1 after it was removed.
    pub(super) assignment_epoch: i32,
    /// When the target assignment was computed; 0 when never.
    pub(super) assignment_timestamp_ms: i64,
    target: BTreeMap<String, TopicPartitions>,
    inverted: BTreeMap<Uuid, BTreeMap<i32, String>>,
    pub(super) metadata_refresh: MetadataRefresh,
}

impl<M: ModernMember> ModernGroup<M> {
    /// A group without members, at the epoch Kafka begins with.
    pub fn new(group_id: &str) -> ModernGroup<M> {
        ModernGroup {
            group_id: group_id.to_owned(),
            group_epoch: INITIAL_EPOCH,
            metadata_hash: 0,
            members: BTreeMap::new(),
            subscribed_topics: SubscribedTopics::default(),
            assignment_epoch: INITIAL_EPOCH,
            assignment_timestamp_ms: 0,
            target: BTreeMap::new(),
            inverted: BTreeMap::new(),
            metadata_refresh: MetadataRefresh::default(),
        }
    }

    pub fn group_id(&self) -> &str {
        &self.group_id
    }

    pub fn group_epoch(&self) -> i32 {
        self.group_epoch
    }

    pub fn assignment_epoch(&self) -> i32 {
        self.assignment_epoch
    }

    pub fn metadata_hash(&self) -> i64 {
        self.metadata_hash
    }

    pub fn members(&self) -> &BTreeMap<String, M> {
        &self.members
    }

    pub fn member(&self, member_id: &str) -> Option<&M> {
        self.members.get(member_id)
    }

    pub fn subscribed_topics(&self) -> &SubscribedTopics {
        &self.subscribed_topics
    }

    /// For the topics of regular expressions.
    pub(super) fn subscribed_topics_mut(&mut self) -> &mut SubscribedTopics {
        &mut self.subscribed_topics
    }

    /// Puts a member in place of what the group knew under its id, which is given back.
    pub(super) fn put_member(&mut self, member: M) -> Option<M> {
        self.subscribed_topics.add_names(member.subscribed_topic_names());
        let old = self.members.insert(member.member_id().to_owned(), member);
        if let Some(old) = &old {
            self.subscribed_topics.remove_names(old.subscribed_topic_names());
        }
        old
    }

    pub(super) fn remove_member(&mut self, member_id: &str) -> Option<M> {
        let old = self.members.remove(member_id)?;
        self.subscribed_topics.remove_names(old.subscribed_topic_names());
        Some(old)
    }

    /// What the target assignment gives the member; nothing to a stranger.
    pub fn target_assignment(&self, member_id: &str) -> TopicPartitions {
        self.target.get(member_id).cloned().unwrap_or_default()
    }

    /// The target assignment by member.
    pub fn target(&self) -> &BTreeMap<String, TopicPartitions> {
        &self.target
    }

    /// The member that the target assignment gives each partition.
    pub fn inverted_target(&self) -> &BTreeMap<Uuid, BTreeMap<i32, String>> {
        &self.inverted
    }

    pub(super) fn put_target_assignment(&mut self, member_id: &str, assignment: TopicPartitions) {
        self.clear_inverted(member_id);
        for (&topic, partitions) in &assignment {
            let owners = self.inverted.entry(topic).or_default();
            for &partition in partitions {
                owners.insert(partition, member_id.to_owned());
            }
        }
        self.target.insert(member_id.to_owned(), assignment);
    }

    pub(super) fn remove_target_assignment(&mut self, member_id: &str) {
        self.clear_inverted(member_id);
        self.target.remove(member_id);
    }

    /// Only what is still the member's: another may have been given the partition already.
    fn clear_inverted(&mut self, member_id: &str) {
        for (topic, partitions) in self.target.get(member_id).into_iter().flatten() {
            let Some(owners) = self.inverted.get_mut(topic) else { continue };
            for partition in partitions {
                if owners.get(partition).is_some_and(|owner| owner == member_id) {
                    owners.remove(partition);
                }
            }
            if owners.is_empty() {
                self.inverted.remove(topic);
            }
        }
    }

    /// Makes the next heartbeat look at the topics' metadata.
    pub(super) fn request_metadata_refresh(&mut self) {
        self.metadata_refresh = MetadataRefresh::default();
    }

    /// The metadata was looked at, for a group of this epoch.
    pub(super) fn metadata_refreshed(&mut self, now_ms: i64, group_epoch: i32) {
        self.metadata_refresh = MetadataRefresh { deadline_ms: now_ms.saturating_add(METADATA_REFRESH_INTERVAL_MS), group_epoch };
    }

    pub(super) fn has_metadata_expired(&self, now_ms: i64) -> bool {
        now_ms >= self.metadata_refresh.deadline_ms || self.group_epoch < self.metadata_refresh.group_epoch
    }

    /// Is a new target assignment due: is the one there of an older epoch, and the last computation `interval_ms` ago?
    ///
    /// Differs: when the clock was set back, Kafka computes none until it shows again what it showed before.
    pub(super) fn is_target_assignment_due(&self, group_epoch: i32, interval_ms: i64, now: Now) -> bool {
        let may_compute = self.assignment_timestamp_ms == 0 || now.is_past(self.assignment_timestamp_ms, interval_ms);
        self.assignment_epoch < group_epoch && may_compute
    }

    /// The subscriptions as they will be with `new` in the place of `old`.
    pub(super) fn subscribed_topics_after(&self, old: Option<&M>, new: Option<&M>) -> SubscribedTopics {
        let mut topics = self.subscribed_topics.clone();
        if let Some(new) = new {
            topics.add_names(new.subscribed_topic_names());
        }
        if let Some(old) = old {
            topics.remove_names(old.subscribed_topic_names());
        }
        topics
    }
}
