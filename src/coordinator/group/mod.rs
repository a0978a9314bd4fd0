//! The group coordinator's core: classic consumer groups and committed offsets of one partition of `__consumer_offsets`.
//!
//! Source: `GroupMetadataManager` (its classic parts), `OffsetMetadataManager`, `GroupCoordinatorShard`.
//!
//! A [`GroupShard`] takes requests and deadlines in, and gives out [`Effects`]: records to append, parked requests to answer, and what to do
//! once the records are committed. Two kinds of state live here:
//! - durable: the offsets, and which groups exist. Only [`GroupShard::replay`] changes these.
//! - a rebalance in progress: who joins, who waits. It is lost with its coordinator, and clients start over; the outcome of a rebalance
//!   becomes durable as a group metadata record when the leader's assignment arrives.
//!
//! Invariant: a response that tells of a record is given out only after the record is committed ([`AfterCommit`], or the runtime's wait).
//!
//! Invariant: every parked request is answered exactly once, in [`Effects::completed`].

mod admin;
mod classic_group;
pub mod config;
mod expiry;
mod join;
mod leave;
mod offsets;
mod rebalance;
pub mod records;
mod subscription;
mod sync;
mod transactions;

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

pub use classic_group::{CONSUMER_PROTOCOL_TYPE, ClassicGroup, ClassicGroupMember, ClassicGroupState, MemberProtocol};
use config::GroupCoordinatorConfig;
pub use join::validate_join_group;
pub use offsets::{OffsetAndMetadata, Offsets};
use records::GroupRecord;

use super::runtime::{self, LogEntry, Shard, WaiterId, operation_error};
use super::timers::{Now, Timers};
use crate::common::random::Random;
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
    GroupCreated { group_id: String, waiter: WaiterId },
    /// A generation without members; when it could not be written, the one before stays in the log, which does no harm.
    GroupEmptied { group_id: String },
    /// The leader's assignment, to be handed to the members.
    AssignmentStored { group_id: String, generation_id: i32, assignment: HashMap<String, Bytes> },
    /// A static member's new id, in a stable group.
    StaticMemberReplaced(Box<StaticMemberReplaced>),
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
}

#[derive(Clone, Debug)]
enum TimerAction {
    ExpireMember,
    InitialJoin { delay_ms: i32, remaining_ms: i32 },
    CompleteJoin,
    ExpireSync { generation_id: i32 },
    ExpireOffsets,
}

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
    groups: BTreeMap<String, ClassicGroup>,
    offsets: Offsets,
    timers: GroupTimers,
    random: Random,
}

impl GroupShard {
    /// An empty shard; `random` only makes member ids.
    pub fn new(config: GroupCoordinatorConfig, random: Random) -> GroupShard {
        GroupShard { config, groups: BTreeMap::new(), offsets: Offsets::default(), timers: GroupTimers::default(), random }
    }

    pub fn config(&self) -> &GroupCoordinatorConfig {
        &self.config
    }

    pub fn group(&self, group_id: &str) -> Option<&ClassicGroup> {
        self.groups.get(group_id)
    }

    pub fn groups(&self) -> impl Iterator<Item = &ClassicGroup> {
        self.groups.values()
    }

    pub fn offsets(&self) -> &Offsets {
        &self.offsets
    }

    /// Runs `act` on a group, if there still is one.
    fn with_group(&mut self, now: Now, group_id: &str, act: impl FnOnce(&mut ClassicGroup, &mut Step<'_>)) -> Effects {
        let Some(group) = self.groups.get_mut(group_id) else { return Effects::default() };
        let mut step = Step { now, config: &self.config, timers: &mut self.timers, random: &mut self.random, effects: Effects::default() };
        act(group, &mut step);
        step.effects
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
        })
    }

    fn committed(&mut self, after: AfterCommit, result: Result<(), ErrorCode>, now: Now) -> Effects {
        match after {
            AfterCommit::GroupCreated { group_id, waiter } => match result {
                Ok(()) => Effects::default(),
                Err(error) => self.undo_group(&group_id, waiter, operation_error(error)),
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
        }
    }

    /// Starts the sessions of the members that replay found.
    fn on_loaded(&mut self, now: Now) -> Effects {
        let mut all = Effects::default();
        for group_id in self.groups.keys().cloned().collect::<Vec<_>>() {
            let effects = self.with_group(now, &group_id, ClassicGroup::on_loaded);
            all.completed.extend(effects.completed);
        }
        self.schedule_expiration(now);
        all
    }

    fn on_unloaded(&mut self, now: Now) -> Effects {
        let mut all = Effects::default();
        for group in self.groups.values_mut() {
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
