//! The share coordinator's core: how far each share group has come in each partition, in one partition of `__share_group_state` (KIP-932).
//!
//! Source: `ShareCoordinatorShard`, `ShareGroupOffset`, `ShareCoordinatorOffsetsManager`.
//!
//! The leader of a topic's partition decides who gets which record; what must outlive it is written here: the start offset of the share
//! partition, and the delivery states of the records after it that are not simply "not yet delivered". A write is a small update record;
//! after so many of them the whole state is written as a snapshot, and what lies before the oldest snapshot still in use is of no use to
//! anybody ([`ShareShard::last_redundant_offset`]) and is pruned from the log.
//!
//! Invariants:
//! - A state exists only after it was initialized; reads and writes of others are refused.
//! - Epochs never go back: a leader of an earlier epoch (leader epoch) and a write meant for an earlier life of the state (state epoch) are
//!   fenced.
//! - Only [`ShareShard::replay`] changes state, so that a restart finds what was answered.

pub mod batches;
mod offsets;
pub mod records;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use self::batches::{StateBatch, combine};
use self::offsets::Offsets;
use self::records::ShareRecord;
use super::java_hash;
use super::runtime::{self, LogEntry, Shard};
use super::timers::{Now, Timers};
use crate::common::uuid::Uuid;
use crate::protocol::codec::EncodeError;
use crate::protocol::error_code::ErrorCode;

/// The start offset of a state that knows none yet: the leader of the partition chooses one by `share.auto.offset.reset`.
pub const UNINITIALIZED_START_OFFSET: i64 = -1;
/// The delivery complete count of a state without start offset.
pub const UNINITIALIZED_DELIVERY_COMPLETE_COUNT: i32 = -1;

/// What a share group's state of one partition is filed under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SharePartitionKey {
    pub group_id: String,
    pub topic_id: Uuid,
    pub partition: i32,
}

impl SharePartitionKey {
    /// The partition of `__share_group_state` this belongs to.
    pub fn coordinator_partition(&self, partitions: i32) -> i32 {
        java_hash::partition_for(&self.to_string(), partitions)
    }
}

/// As FindCoordinator has it.
impl fmt::Display for SharePartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.group_id, self.topic_id, self.partition)
    }
}

/// The state of one share partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareGroupOffset {
    /// Counts the snapshots of this state.
    pub snapshot_epoch: i32,
    /// Counts the lives of this state: it grows when offsets are reset.
    pub state_epoch: i32,
    /// Of the topic's partition, as its leader last told.
    pub leader_epoch: i32,
    /// -1: not yet chosen; in an update: unchanged.
    pub start_offset: i64,
    /// Records from the start offset on whose delivery is over (KIP-1226); -1: not known.
    pub delivery_complete_count: i32,
    /// Sorted, without overlaps.
    pub state_batches: Vec<StateBatch>,
    /// Milliseconds since 1970.
    pub create_timestamp: i64,
    /// Milliseconds since 1970; later than the creation when the state was only written again because it had been long ago.
    pub write_timestamp: i64,
}

/// What the leader of a partition writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteState {
    /// -1: not checked.
    pub state_epoch: i32,
    /// -1: not checked.
    pub leader_epoch: i32,
    /// -1: unchanged.
    pub start_offset: i64,
    pub delivery_complete_count: i32,
    pub state_batches: Vec<StateBatch>,
}

/// What the leader of a partition reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadState {
    pub state_epoch: i32,
    pub start_offset: i64,
    pub state_batches: Vec<StateBatch>,
}

/// What a description of a group needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateSummary {
    pub state_epoch: i32,
    pub leader_epoch: i32,
    pub start_offset: i64,
    pub delivery_complete_count: i32,
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ShareStateError {
    pub code: ErrorCode,
    pub message: String,
}

impl ShareStateError {
    fn new(code: ErrorCode, message: &str) -> ShareStateError {
        ShareStateError { code, message: message.to_owned() }
    }
}

impl From<ErrorCode> for ShareStateError {
    fn from(code: ErrorCode) -> ShareStateError {
        ShareStateError::new(code, code.message())
    }
}

/// The settings of a shard.
#[derive(Clone, Debug)]
pub struct ShareCoordinatorConfig {
    /// `share.coordinator.snapshot.update.records.per.snapshot`.
    pub update_records_per_snapshot: i32,
    /// `share.coordinator.cold.partition.snapshot.interval.ms`: a state this long unwritten is written again, so that the log before it can go.
    pub cold_partition_snapshot_interval_ms: i64,
}

/// The effects of an operation.
pub type Effects = runtime::Effects<ShareRecord, (), ()>;

fn record(record: ShareRecord) -> Effects {
    records(vec![record])
}

fn records(records: Vec<ShareRecord>) -> Effects {
    Effects { records, replay: true, divisible: true, ..Effects::default() }
}

struct State {
    offset: ShareGroupOffset,
    /// The highest told so far.
    leader_epoch: i32,
    /// The highest so far.
    state_epoch: i32,
    /// Since the last snapshot that was due to their number.
    updates: i32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ColdSnapshots;

/// The states in one partition of `__share_group_state`.
pub struct ShareShard {
    config: ShareCoordinatorConfig,
    states: BTreeMap<SharePartitionKey, State>,
    offsets: Offsets,
    timers: Timers<ColdSnapshots, ()>,
}

impl ShareShard {
    pub fn new(config: ShareCoordinatorConfig) -> ShareShard {
        ShareShard { config, states: BTreeMap::new(), offsets: Offsets::default(), timers: Timers::default() }
    }

    /// The state of a share partition, if it was initialized.
    pub fn state(&self, key: &SharePartitionKey) -> Option<&ShareGroupOffset> {
        self.states.get(key).map(|state| &state.offset)
    }

    /// Everything below this offset of the log is superseded; `None` when that is nothing.
    pub fn last_redundant_offset(&self) -> Option<i64> {
        self.offsets.last_redundant_offset()
    }

    /// Begins a state, or begins it anew with a higher state epoch. `topic_exists`: the metadata has the topic and the partition.
    pub fn initialize_state(
        &self,
        now: Now,
        key: SharePartitionKey,
        state_epoch: i32,
        start_offset: i64,
        topic_exists: bool,
    ) -> Result<Effects, ShareStateError> {
        check_partition(&key)?;
        let current = self.states.get(&key);
        if state_epoch != -1 && current.is_some_and(|current| current.state_epoch > state_epoch) {
            // Kafka answers with its exception's text, which is the code's.
            return Err(ErrorCode::FencedStateEpoch.into());
        }
        check_exists(topic_exists)?;
        let uninitialized = start_offset == UNINITIALIZED_START_OFFSET;
        let state = ShareGroupOffset {
            snapshot_epoch: current.map_or(0, |current| current.offset.snapshot_epoch.wrapping_add(1)),
            state_epoch,
            leader_epoch: 0,
            start_offset,
            delivery_complete_count: if uninitialized { UNINITIALIZED_DELIVERY_COMPLETE_COUNT } else { 0 },
            state_batches: Vec::new(),
            create_timestamp: now.wall_ms,
            write_timestamp: now.wall_ms,
        };
        Ok(record(ShareRecord::Snapshot(key, Some(state))))
    }

    /// Takes over what a leader tells of its partition.
    pub fn write_state(&self, now: Now, key: SharePartitionKey, write: WriteState, topic_exists: bool) -> Result<Effects, ShareStateError> {
        check_partition(&key)?;
        let current = self.states.get(&key).ok_or_else(|| {
            let message = "Write operation on uninitialized share partition not allowed.";
            ShareStateError::new(ErrorCode::InvalidRequest, message)
        })?;
        if write.leader_epoch != -1 && current.leader_epoch > write.leader_epoch {
            return Err(ErrorCode::FencedLeaderEpoch.into());
        }
        if write.state_epoch != -1 && current.state_epoch > write.state_epoch {
            return Err(ErrorCode::FencedStateEpoch.into());
        }
        check_exists(topic_exists)?;
        Ok(record(self.state_record(now, key, current, write, false)))
    }

    /// The state, for a leader of this epoch (-1: somebody else), which from then on fences earlier leaders.
    pub fn read_state(
        &self,
        now: Now,
        key: SharePartitionKey,
        leader_epoch: i32,
        topic_exists: bool,
    ) -> Result<(ReadState, Effects), ShareStateError> {
        check_partition(&key)?;
        let current = self.states.get(&key).ok_or_else(|| {
            let message = "Read operation on uninitialized share partition not allowed.";
            ShareStateError::new(ErrorCode::InvalidRequest, message)
        })?;
        if current.leader_epoch > leader_epoch {
            return Err(ErrorCode::FencedLeaderEpoch.into());
        }
        check_exists(topic_exists)?;
        let offset = &current.offset;
        let read =
            ReadState { state_epoch: offset.state_epoch, start_offset: offset.start_offset, state_batches: offset.state_batches.clone() };
        if leader_epoch == -1 || current.leader_epoch == leader_epoch {
            return Ok((read, Effects::default()));
        }
        let write = WriteState {
            state_epoch: offset.state_epoch,
            leader_epoch,
            start_offset: offset.start_offset,
            delivery_complete_count: offset.delivery_complete_count,
            state_batches: Vec::new(),
        };
        Ok((read, record(self.state_record(now, key, current, write, true))))
    }

    /// Epochs and offsets; of a state that was never initialized, what an uninitialized one has.
    pub fn read_state_summary(&self, key: &SharePartitionKey, topic_exists: bool) -> Result<StateSummary, ShareStateError> {
        check_partition(key)?;
        check_exists(topic_exists)?;
        Ok(match self.state(key) {
            Some(state) => StateSummary {
                state_epoch: state.state_epoch,
                leader_epoch: state.leader_epoch,
                start_offset: state.start_offset,
                delivery_complete_count: state.delivery_complete_count,
            },
            None => StateSummary {
                state_epoch: 0,
                leader_epoch: 0,
                start_offset: UNINITIALIZED_START_OFFSET,
                delivery_complete_count: UNINITIALIZED_DELIVERY_COMPLETE_COUNT,
            },
        })
    }

    /// Forgets a state; one that is not there needs nothing.
    pub fn delete_state(&self, key: SharePartitionKey, topic_exists: bool) -> Result<Effects, ShareStateError> {
        check_partition(&key)?;
        check_exists(topic_exists)?;
        if !self.states.contains_key(&key) {
            return Ok(Effects::default());
        }
        Ok(record(ShareRecord::Snapshot(key, None)))
    }

    /// Forgets the states of topics that are no more.
    pub fn on_topics_deleted(&self, topic_ids: &[Uuid]) -> Effects {
        let gone = self.states.keys().filter(|key| topic_ids.contains(&key.topic_id));
        records(gone.map(|key| ShareRecord::Snapshot(key.clone(), None)).collect())
    }

    fn state_record(&self, now: Now, key: SharePartitionKey, current: &State, write: WriteState, update_leader_epoch: bool) -> ShareRecord {
        let offset = &current.offset;
        let leader_epoch = if update_leader_epoch && write.leader_epoch != -1 { write.leader_epoch } else { offset.leader_epoch };
        if current.updates >= self.config.update_records_per_snapshot {
            let start_offset = if write.start_offset == -1 { offset.start_offset } else { write.start_offset };
            return ShareRecord::Snapshot(
                key,
                Some(ShareGroupOffset {
                    snapshot_epoch: offset.snapshot_epoch.wrapping_add(1),
                    state_epoch: offset.state_epoch,
                    leader_epoch,
                    start_offset,
                    delivery_complete_count: write.delivery_complete_count,
                    state_batches: combine(&offset.state_batches, &write.state_batches, start_offset),
                    create_timestamp: now.wall_ms,
                    write_timestamp: now.wall_ms,
                }),
            );
        }
        ShareRecord::Update(
            key,
            ShareGroupOffset {
                snapshot_epoch: offset.snapshot_epoch,
                state_epoch: 0,
                leader_epoch,
                start_offset: write.start_offset,
                delivery_complete_count: write.delivery_complete_count,
                state_batches: combine(&[], &write.state_batches, write.start_offset),
                create_timestamp: 0,
                write_timestamp: 0,
            },
        )
    }

    /// Writes states again that were written long ago, so that they do not hold the log before them.
    fn snapshot_cold_partitions(&mut self, now: Now) -> Effects {
        let interval_ms = self.config.cold_partition_snapshot_interval_ms;
        self.timers.schedule(now, ColdSnapshots, interval_ms, ());
        let is_cold = |state: &ShareGroupOffset| state.create_timestamp != state.write_timestamp;
        if self.states.values().all(|state| is_cold(&state.offset)) {
            return Effects::default();
        }
        let old = self.states.iter().filter(|(_, state)| now.wall_ms.saturating_sub(state.offset.write_timestamp) >= interval_ms);
        records(
            old.map(|(key, state)| {
                let snapshot_epoch = state.offset.snapshot_epoch.wrapping_add(1);
                let again = ShareGroupOffset { snapshot_epoch, write_timestamp: now.wall_ms, ..state.offset.clone() };
                ShareRecord::Snapshot(key.clone(), Some(again))
            })
            .collect(),
        )
    }

    fn replay_snapshot(&mut self, offset: i64, key: SharePartitionKey, value: Option<ShareGroupOffset>) {
        self.offsets.update(&key, offset, value.is_none());
        let Some(value) = value else {
            self.states.remove(&key);
            return;
        };
        match self.states.get_mut(&key) {
            Some(state) => {
                state.leader_epoch = state.leader_epoch.max(value.leader_epoch);
                state.state_epoch = state.state_epoch.max(value.state_epoch);
                state.offset = value;
                if state.updates >= self.config.update_records_per_snapshot {
                    state.updates = 0;
                }
            }
            None => {
                let (leader_epoch, state_epoch) = (value.leader_epoch, value.state_epoch);
                self.states.insert(key, State { offset: value, leader_epoch, state_epoch, updates: 0 });
            }
        }
    }

    fn replay_update(&mut self, key: SharePartitionKey, value: ShareGroupOffset) {
        let Some(state) = self.states.get_mut(&key) else {
            let (leader_epoch, state_epoch) = (value.leader_epoch, value.state_epoch);
            self.states.insert(key, State { offset: value, leader_epoch, state_epoch, updates: 1 });
            return;
        };
        state.leader_epoch = state.leader_epoch.max(value.leader_epoch);
        state.updates = state.updates.saturating_add(1);
        let offset = &mut state.offset;
        if value.start_offset != -1 {
            offset.start_offset = value.start_offset;
        }
        if value.leader_epoch != -1 {
            offset.leader_epoch = value.leader_epoch;
        }
        offset.delivery_complete_count = value.delivery_complete_count;
        offset.state_batches = combine(&offset.state_batches, &value.state_batches, offset.start_offset);
    }
}

fn check_partition(key: &SharePartitionKey) -> Result<(), ShareStateError> {
    if key.partition < 0 {
        return Err(ShareStateError::new(ErrorCode::InvalidRequest, "The partition id cannot be a negative number."));
    }
    Ok(())
}

fn check_exists(topic_exists: bool) -> Result<(), ShareStateError> {
    if topic_exists { Ok(()) } else { Err(ErrorCode::UnknownTopicOrPartition.into()) }
}

impl Shard for ShareShard {
    type Record = ShareRecord;
    type AfterCommit = ();
    type Parked = ();

    fn encode(record: &ShareRecord) -> Result<(Bytes, Option<Bytes>), EncodeError> {
        record.encode()
    }

    fn replay(&mut self, offset: i64, record: ShareRecord) {
        match record {
            ShareRecord::Snapshot(key, value) => self.replay_snapshot(offset, key, value),
            ShareRecord::Update(key, value) => self.replay_update(key, value),
        }
    }

    fn load(&mut self, entry: LogEntry) {
        let LogEntry::Record { offset, key, value, .. } = entry else { return };
        match ShareRecord::decode(key, value) {
            Ok(Some(record)) => self.replay(offset, record),
            Ok(None) => tracing::debug!(offset, "a record of a type that is not known here, skipped"),
            Err(error) => tracing::warn!(offset, %error, "a record that cannot be read, skipped"),
        }
    }

    fn on_loaded(&mut self, now: Now) -> Effects {
        self.timers.schedule(now, ColdSnapshots, self.config.cold_partition_snapshot_interval_ms, ());
        Effects::default()
    }

    fn on_unloaded(&mut self, _now: Now) -> Effects {
        self.timers.clear();
        Effects::default()
    }

    fn next_deadline(&self) -> Option<u64> {
        self.timers.next_deadline()
    }

    fn poll(&mut self, now: Now) -> Option<Effects> {
        self.timers.pop_due(now)?;
        Some(self.snapshot_cold_partitions(now))
    }

    fn committed(&mut self, _after: (), _result: Result<(), ErrorCode>, _now: Now) -> Effects {
        Effects::default()
    }
}
