//! The group coordinator's core: the groups and committed offsets of one partition of `__consumer_offsets`.
//!
//! Source: `GroupMetadataManager`, `OffsetMetadataManager`, `GroupCoordinatorShard`.
//!
//! A [`GroupShard`] takes requests and deadlines in, and gives out [`Effects`]: records to append, parked requests to answer, and what to do
//! once the records are committed. The groups are of several types ([`Group`]), of one type each at a time:
//! - classic groups (in this directory): a rebalance in progress, who joins and who waits, is lost with its coordinator, and clients start
//!   over; the outcome becomes durable as a group metadata record when the leader's assignment arrives;
//! - consumer groups ([`consumer`], KIP-848), share groups ([`share`], KIP-932), streams groups ([`streams`], KIP-1071), on what they have
//!   in common ([`modern`]): everything is durable, only replay changes it.
//!
//! A request for one type at a group of another is answered as if there were no such group, or as the types' migration demands.
//!
//! The topics of the cluster come in as metadata images, handed in by whoever owns the shard ([`GroupShard::on_new_metadata_image`]).
//!
//! Invariant: a response that tells of a record is given out only after the record is committed ([`AfterCommit`], or the runtime's wait).
//!
//! Invariant: every parked request is answered exactly once, in [`Effects::completed`].

mod admin;
mod classic_group;
pub mod config;
pub mod consumer;
mod expiry;
mod group_type;
mod join;
mod leave;
pub mod modern;
mod offsets;
mod rebalance;
pub mod records;
pub mod share;
pub mod streams;
mod subscription;
mod sync;
mod transactions;

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

pub use classic_group::{CONSUMER_PROTOCOL_TYPE, ClassicGroup, ClassicGroupMember, ClassicGroupState, MemberProtocol};
use config::{Bounded, GroupCoordinatorConfig};
pub use consumer::validate_consumer_group_heartbeat;
use consumer::{ConsumerGroup, RegexResolution};
pub use group_type::{Group, GroupError, GroupType};
pub use join::validate_join_group;
use modern::topics::{Topics, TopicsDelta};
pub use offsets::{OffsetAndMetadata, Offsets};
use records::GroupRecord;
pub use share::{ShareGroup, validate_share_group_heartbeat};

use super::runtime::{self, LogEntry, Shard, WaiterId, operation_error};
use super::timers::{Now, Timers};
use crate::common::random::Random;
use crate::common::uuid::Uuid;
use crate::metadata::image::{ConfigResource, MetadataImage};
use crate::protocol::codec::EncodeError;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::{JoinGroupResponse, SyncGroupResponse};

/// Who sends a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientContext {
    /// The header's client id; empty when there is none.
    pub client_id: String,
    /// The client's address as Java prints it: `/127.0.0.1`.
    pub client_host: String,
    /// The version of the request.
    pub api_version: i16,
}

/// The answer to a request that waited.
#[derive(Clone, Debug, PartialEq)]
pub enum ParkedResponse {
    Join(JoinGroupResponse),
    Sync(SyncGroupResponse),
}

/// A parked request and its answer.
pub type Completed = runtime::Completed<ParkedResponse>;

/// What an operation on a [`GroupShard`] did besides giving its own answer. The records of a live classic group are not replayed: they only
/// say what the group already is.
pub type Effects = runtime::Effects<GroupRecord, AfterCommit, ParkedResponse>;

/// A step that waits for records to be committed.
#[derive(Clone, Debug)]
pub enum AfterCommit {
    /// A new group's first record: the group goes when it could not be written.
    GroupCreated { group_id: String },
    /// A generation without members; when it could not be written, the one before stays in the log, which does no harm.
    GroupEmptied { group_id: String },
    /// The leader's assignment, to be handed to the members.
    AssignmentStored { group_id: String, generation_id: i32, assignment: HashMap<String, Bytes> },
    /// A static member's new id, in a stable group.
    StaticMemberReplaced(Box<StaticMemberReplaced>),
    /// A classic member's place in a consumer group.
    ClassicMemberJoined(Box<ClassicMemberJoined>),
    /// A consumer group's end as a classic group.
    ConvertedToClassic(Box<ConversionToClassic>),
}

/// What is needed to answer a classic member that joined a consumer group.
#[derive(Clone, Debug)]
pub struct ClassicMemberJoined {
    group_id: String,
    response: JoinGroupResponse,
    waiter: WaiterId,
    session_timeout_ms: i32,
    rebalance_timeout_ms: i32,
    /// The member was the last of the consumer protocol, so that the group is a classic one from now on.
    conversion: Option<Box<ConversionToClassic>>,
}

/// What the record of a classic group that was a consumer group does not tell.
#[derive(Clone, Debug)]
pub struct ConversionToClassic {
    group_id: String,
    /// All protocols of each member.
    protocols: Vec<(String, Vec<MemberProtocol>)>,
    rebalance: bool,
}

/// What is needed to answer, or to undo, the replacement of a static member.
#[derive(Clone, Debug)]
pub struct StaticMemberReplaced {
    group_id: String,
    group_instance_id: String,
    old_member_id: String,
    new_member_id: String,
    old_leader: Option<String>,
    old_protocols: Vec<MemberProtocol>,
    old_rebalance_timeout_ms: i32,
    old_session_timeout_ms: i32,
    waiter: WaiterId,
    supports_skipping_assignment: bool,
}

/// The key of a deadline.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum TimerKey {
    /// A member's session, a pending member's, or a new member's wait in JoinGroup.
    Heartbeat { group_id: String, member_id: String },
    /// The join phase of a rebalance.
    Join { group_id: String },
    /// The SyncGroups of a generation.
    Sync { group_id: String },
    /// The regular look for offsets that expired.
    Expiration,
    /// The session of a member of a group that is not classic.
    Session { group_id: String, member_id: String },
    /// The time a member of a group that is not classic has to give up what it has to.
    Rebalance { group_id: String, member_id: String },
    /// The first assignment of a streams group waits for more members.
    InitialRebalance { group_id: String },
    /// A classic member of a consumer group is to join again.
    ClassicJoin { group_id: String, member_id: String },
    /// A classic member of a consumer group is to ask for its assignment.
    ClassicSync { group_id: String, member_id: String },
}

#[derive(Clone, Debug)]
enum TimerAction {
    ExpireMember,
    InitialJoin {
        delay_ms: i32,
        remaining_ms: i32,
    },
    CompleteJoin,
    ExpireSync {
        generation_id: i32,
    },
    ExpireOffsets,
    /// The members that have come so far are given their tasks.
    InitialRebalance,
    /// The member goes.
    Fence,
    /// The member goes if it still is in this epoch.
    LeaveEpoch {
        member_epoch: i32,
    },
}

/// When the fencing of a member is tried again whose records may not have reached the log.
const FENCE_RETRY_MS: i64 = 500;

type GroupTimers = Timers<TimerKey, TimerAction>;

/// What a group needs of its shard while something happens to it.
struct Step<'a> {
    now: Now,
    config: &'a GroupCoordinatorConfig,
    timers: &'a mut GroupTimers,
    random: &'a mut Random,
    effects: Effects,
}

/// The groups and offsets of one partition of `__consumer_offsets`.
#[derive(Debug)]
pub struct GroupShard {
    config: GroupCoordinatorConfig,
    groups: BTreeMap<String, Group>,
    offsets: Offsets,
    topics: Topics,
    timers: GroupTimers,
    random: Random,
    /// Groups whose regular expressions are being resolved.
    resolving: HashSet<String>,
    requested_resolutions: Vec<RegexResolution>,
    /// Since when share groups wait for the share coordinator to initialize topics, in monotonic milliseconds.
    share_initializing: HashMap<String, BTreeMap<Uuid, u64>>,
}

impl GroupShard {
    /// An empty shard at this metadata; `random` only makes member ids.
    pub fn new(config: GroupCoordinatorConfig, image: Arc<MetadataImage>, random: Random) -> GroupShard {
        GroupShard {
            config,
            groups: BTreeMap::new(),
            offsets: Offsets::default(),
            topics: Topics::new(image),
            timers: GroupTimers::default(),
            random,
            resolving: HashSet::new(),
            requested_resolutions: Vec::new(),
            share_initializing: HashMap::new(),
        }
    }

    pub fn config(&self) -> &GroupCoordinatorConfig {
        &self.config
    }

    /// The group of this id, of whatever type.
    pub fn group(&self, group_id: &str) -> Option<&Group> {
        self.groups.get(group_id)
    }

    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    pub fn classic_group(&self, group_id: &str) -> Option<&ClassicGroup> {
        match self.groups.get(group_id) {
            Some(Group::Classic(group)) => Some(group),
            _ => None,
        }
    }

    /// The consumer group of this id, or the error that says there is none.
    pub fn consumer_group(&self, group_id: &str) -> Result<&ConsumerGroup, GroupError> {
        match self.groups.get(group_id) {
            Some(Group::Consumer(group)) => Ok(group),
            Some(_) => Err(GroupError::not_found(format!("Group {group_id} is not a consumer group."))),
            None => Err(GroupError::not_found(format!("Group {group_id} not found."))),
        }
    }

    pub fn offsets(&self) -> &Offsets {
        &self.offsets
    }

    /// The newest metadata the shard was given.
    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    /// Other settings hold from now on; deadlines that are set stay.
    pub fn set_config(&mut self, config: GroupCoordinatorConfig) {
        self.config = config;
    }

    /// The cluster's metadata has changed.
    pub fn on_new_metadata_image(&mut self, image: Arc<MetadataImage>, delta: &TopicsDelta) {
        for group_id in self.topics.update(image, delta) {
            if let Some(group) = self.groups.get_mut(&group_id) {
                group.request_metadata_refresh();
            }
        }
    }

    /// The value of a setting for a group: its own within the broker's bounds, else the broker's. `config` is the group config's name.
    fn group_setting(&self, group_id: &str, config: &str, setting: Bounded) -> i32 {
        setting.for_group(self.topics.image().configs.value(&ConfigResource::group(group_id), config))
    }

    fn consumer_session_timeout_ms(&self, group_id: &str) -> i32 {
        self.group_setting(group_id, "consumer.session.timeout.ms", self.config.consumer_session_timeout_ms)
    }

    fn consumer_heartbeat_interval_ms(&self, group_id: &str) -> i32 {
        self.group_setting(group_id, "consumer.heartbeat.interval.ms", self.config.consumer_heartbeat_interval_ms)
    }

    fn consumer_assignment_interval_ms(&self, group_id: &str) -> i64 {
        i64::from(self.group_setting(group_id, "consumer.assignment.interval.ms", self.config.consumer_assignment_interval_ms))
    }

    fn streams_session_timeout_ms(&self, group_id: &str) -> i32 {
        self.group_setting(group_id, "streams.session.timeout.ms", self.config.streams_session_timeout_ms)
    }

    /// How often members of this streams group are told to heartbeat.
    pub fn streams_heartbeat_interval_ms(&self, group_id: &str) -> i32 {
        self.group_setting(group_id, "streams.heartbeat.interval.ms", self.config.streams_heartbeat_interval_ms)
    }

    fn streams_assignment_interval_ms(&self, group_id: &str) -> i32 {
        self.group_setting(group_id, "streams.assignment.interval.ms", self.config.streams_assignment_interval_ms)
    }

    fn streams_initial_rebalance_delay_ms(&self, group_id: &str) -> i32 {
        self.group_setting(group_id, "streams.initial.rebalance.delay.ms", self.config.streams_initial_rebalance_delay_ms)
    }

    fn streams_num_standby_replicas(&self, group_id: &str) -> i32 {
        self.group_setting(group_id, "streams.num.standby.replicas", self.config.streams_num_standby_replicas)
    }

    /// Runs `act` on a classic group, if there still is one.
    fn with_group(&mut self, now: Now, group_id: &str, act: impl FnOnce(&mut ClassicGroup, &mut Step<'_>)) -> Effects {
        let Some(Group::Classic(group)) = self.groups.get_mut(group_id) else { return Effects::default() };
        let mut step = Step { now, config: &self.config, timers: &mut self.timers, random: &mut self.random, effects: Effects::default() };
        act(group, &mut step);
        step.effects
    }

    /// Cancels every deadline of a member of a group that is not classic.
    fn cancel_member_timers(&mut self, group_id: &str, member_id: &str) {
        let ids = || (group_id.to_owned(), member_id.to_owned());
        let (group_id, member_id) = ids();
        self.timers.cancel(&TimerKey::Session { group_id, member_id });
        let (group_id, member_id) = ids();
        self.timers.cancel(&TimerKey::Rebalance { group_id, member_id });
        let (group_id, member_id) = ids();
        self.timers.cancel(&TimerKey::ClassicJoin { group_id, member_id });
        let (group_id, member_id) = ids();
        self.timers.cancel(&TimerKey::ClassicSync { group_id, member_id });
    }

    /// A deadline of a member of a group that is not classic.
    fn poll_member(&mut self, now: Now, key: TimerKey, action: TimerAction) -> Effects {
        let effects = match (&key, &action) {
            (TimerKey::Session { group_id, member_id }, _) => self.fence_by_timer(now, group_id, member_id, "the member session expired"),
            (TimerKey::Rebalance { group_id, member_id }, &TimerAction::LeaveEpoch { member_epoch }) => {
                self.end_rebalance_by_timer(now, group_id, member_id, member_epoch)
            }
            (TimerKey::ClassicJoin { group_id, member_id }, _) => {
                self.fence_by_timer(now, group_id, member_id, "the classic member failed to join within the rebalance timeout")
            }
            (TimerKey::ClassicSync { group_id, member_id }, _) => {
                self.fence_by_timer(now, group_id, member_id, "the member failed to sync within timeout")
            }
            _ => Effects::default(),
        };
        if !effects.records.is_empty() {
            // Should they not reach the log, once more; else it will find nobody.
            self.timers.schedule(now, key, FENCE_RETRY_MS, action);
        }
        effects
    }

    /// A member's deadline has passed; what that means is its group's to say.
    fn fence_by_timer(&mut self, now: Now, group_id: &str, member_id: &str, reason: &str) -> Effects {
        match self.groups.get(group_id) {
            Some(Group::Consumer(_)) => self.fence_consumer_member(now, group_id, member_id, reason),
            Some(Group::Share(_)) => self.fence_share_member(group_id, member_id, reason),
            Some(Group::Streams(_)) => self.fence_streams_member(group_id, member_id, reason),
            Some(Group::Classic(_)) | None => Effects::default(),
        }
    }

    /// A member has not left its epoch in time.
    fn end_rebalance_by_timer(&mut self, now: Now, group_id: &str, member_id: &str, member_epoch: i32) -> Effects {
        match self.groups.get(group_id) {
            Some(Group::Consumer(_)) => self.end_consumer_rebalance(now, group_id, member_id, member_epoch),
            // Members of share groups have nothing to give up.
            Some(Group::Classic(_) | Group::Share(_)) | None => Effects::default(),
            Some(Group::Streams(_)) => self.end_streams_rebalance(group_id, member_id, member_epoch),
        }
    }

    /// Keeps the index of who reads which topic, after a group's subscriptions have changed.
    fn subscriptions_changed(&mut self, group_id: &str, old: &BTreeSet<String>, new: &BTreeSet<String>) {
        self.topics.subscriptions_changed(group_id, old, new);
    }
}

impl Shard for GroupShard {
    type Record = GroupRecord;
    type AfterCommit = AfterCommit;
    type Parked = ParkedResponse;

    fn encode(record: &GroupRecord) -> Result<(Bytes, Option<Bytes>), EncodeError> {
        record.encode()
    }

    fn replay(&mut self, offset: i64, record: GroupRecord) {
        self.replay_record(offset, None, record);
    }

    fn replay_transactional(&mut self, offset: i64, producer_id: i64, record: GroupRecord) {
        self.replay_record(offset, Some(producer_id), record);
    }

    fn replay_end_transaction(&mut self, producer_id: i64, commit: bool) {
        self.offsets.end_transaction(producer_id, commit);
    }

    fn load(&mut self, entry: LogEntry) {
        match entry {
            LogEntry::Record { offset, producer_id, key, value } => match GroupRecord::decode(key, value) {
                Ok(Some(record)) => self.replay_record(offset, producer_id, record),
                Ok(None) => tracing::debug!(offset, "a record of a type that is not known here, skipped"),
                Err(error) => tracing::warn!(offset, %error, "a record that cannot be read, skipped"),
            },
            LogEntry::EndTransaction { producer_id, commit } => self.replay_end_transaction(producer_id, commit),
        }
    }

    fn next_deadline(&self) -> Option<u64> {
        self.timers.next_deadline()
    }

    fn poll(&mut self, now: Now) -> Option<Effects> {
        let (key, action) = self.timers.pop_due(now)?;
        Some(match (key, action) {
            (TimerKey::Heartbeat { group_id, member_id }, _) => {
                self.with_group(now, &group_id, |group, step| group.expire_member(&member_id, step))
            }
            (TimerKey::Join { group_id }, TimerAction::InitialJoin { delay_ms, remaining_ms }) => {
                self.with_group(now, &group_id, |group, step| group.try_complete_initial_join(delay_ms, remaining_ms, step))
            }
            (TimerKey::Join { group_id }, _) => self.with_group(now, &group_id, ClassicGroup::complete_join_phase),
            (TimerKey::Sync { group_id }, TimerAction::ExpireSync { generation_id }) => {
                self.with_group(now, &group_id, |group, step| group.expire_pending_sync(generation_id, step))
            }
            (TimerKey::Sync { .. }, _) => Effects::default(),
            (TimerKey::Expiration, _) => self.expire_offsets(now),
            (TimerKey::InitialRebalance { group_id }, _) => self.initial_streams_rebalance(now, &group_id),
            (key, action) => self.poll_member(now, key, action),
        })
    }

    fn committed(&mut self, after: AfterCommit, result: Result<(), ErrorCode>, now: Now) -> Effects {
        match after {
            AfterCommit::GroupCreated { group_id } => match result {
                Ok(()) => Effects::default(),
                Err(error) => self.undo_group(&group_id, operation_error(error)),
            },
            AfterCommit::GroupEmptied { group_id } => {
                if let Err(error) = result {
                    tracing::warn!(group = group_id, %error, "could not write that the group is empty");
                }
                Effects::default()
            }
            AfterCommit::AssignmentStored { group_id, generation_id, assignment } => self.with_group(now, &group_id, |group, step| {
                group.assignment_stored(generation_id, assignment, result.map_err(operation_error), step)
            }),
            AfterCommit::StaticMemberReplaced(replaced) => {
                let group_id = replaced.group_id.clone();
                self.with_group(now, &group_id, |group, step| {
                    group.static_member_replaced(*replaced, result.map_err(operation_error), step)
                })
            }
            AfterCommit::ClassicMemberJoined(joined) => self.classic_member_joined(now, *joined, result.map_err(operation_error)),
            AfterCommit::ConvertedToClassic(conversion) => self.converted_to_classic(now, *conversion),
        }
    }

    /// Starts the sessions of the members that replay found.
    fn on_loaded(&mut self, now: Now) -> Effects {
        let mut all = Effects::default();
        let ids: Vec<(String, GroupType)> = self.groups.iter().map(|(id, group)| (id.clone(), group.group_type())).collect();
        for (group_id, group_type) in ids {
            match group_type {
                GroupType::Classic => {
                    let effects = self.with_group(now, &group_id, ClassicGroup::on_loaded);
                    all.completed.extend(effects.completed);
                }
                GroupType::Consumer => self.on_consumer_group_loaded(now, &group_id),
                GroupType::Share => self.on_share_group_loaded(now, &group_id),
                GroupType::Streams => self.on_streams_group_loaded(now, &group_id),
            }
        }
        self.schedule_expiration(now);
        all
    }

    fn on_unloaded(&mut self, now: Now) -> Effects {
        let mut all = Effects::default();
        for group in self.groups.values_mut() {
            let Group::Classic(group) = group else { continue };
            group.transition_to(now, ClassicGroupState::Dead);
            for member_id in group.member_ids() {
                group.complete_join(&member_id, classic_group::join_error(&member_id, ErrorCode::NotCoordinator), &mut all);
                let response = SyncGroupResponse { error_code: ErrorCode::NotCoordinator.code(), ..SyncGroupResponse::default() };
                group.complete_sync(&member_id, response, &mut all);
            }
        }
        self.timers.clear();
        all
    }
}
