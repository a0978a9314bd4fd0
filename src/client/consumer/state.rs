//! What a consumer has subscribed to, is assigned, and has read: the state that its tasks and its callers share under one lock.
//!
//! Invariants: everything here is synchronous and pure. An assignment, a seek and a reset give a partition a new `serial`, and whatever
//! was asked for under an older one is dropped when it arrives. A position moves only when records are handed out ([`State::take`]).
//! Source: `SubscriptionState`, `FetchBuffer`, `FetchCollector`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::fetched::{Fetched, Visit};
use super::{ConsumerError, ConsumerRecord, OffsetAndMetadata, OffsetReset};
use crate::common::topic_partition::TopicPartition;
use crate::protocol::batch::BatchError;

/// How many answers a partition may have waiting: one that is read and the next.
pub(super) const MAX_WAITING: u32 = 2;

/// How the partitions to read are chosen.
#[derive(Clone, Debug, Default)]
pub(super) enum Subscription {
    #[default]
    None,
    Topics(BTreeSet<String>),
    Pattern(regex::Regex),
    /// For the coordinator to resolve (KIP-848).
    ServerPattern(String),
    Manual,
}

impl Subscription {
    pub(super) fn is_by_group(&self) -> bool {
        matches!(self, Subscription::Topics(_) | Subscription::Pattern(_) | Subscription::ServerPattern(_))
    }
}

/// What a partition needs before it can be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// The group's committed offset, or else what `auto.offset.reset` says.
    Committed,
    Reset(OffsetReset),
    /// That the leader's log still has what was read under another epoch (KIP-320).
    Validation,
    Nothing,
}

/// One partition that is read.
#[derive(Debug)]
pub(super) struct Assigned {
    pub(super) serial: u64,
    pub(super) need: Need,
    /// The next record to hand out, and the epoch of the one before it.
    pub(super) offset: i64,
    pub(super) offset_epoch: Option<i32>,
    /// The next record to ask for: ahead of `offset` by what waits.
    pub(super) fetch_offset: i64,
    /// The leader epoch under which the position was last found to be good.
    pub(super) checked_epoch: Option<i32>,
    pub(super) waiting: u32,
    pub(super) paused: bool,
    /// Being taken away: neither fetched nor handed out any more.
    pub(super) revoking: bool,
    /// A request about its position is under way.
    pub(super) asked: bool,
    pub(super) retry_at: Option<Instant>,
    pub(super) failures: u32,
    pub(super) high_watermark: Option<i64>,
    pub(super) log_start_offset: Option<i64>,
}

impl Assigned {
    fn new(serial: u64) -> Assigned {
        Assigned {
            serial,
            need: Need::Committed,
            offset: -1,
            offset_epoch: None,
            fetch_offset: -1,
            checked_epoch: None,
            waiting: 0,
            paused: false,
            revoking: false,
            asked: false,
            retry_at: None,
            failures: 0,
            high_watermark: None,
            log_start_offset: None,
        }
    }

    /// The position, once there is one.
    pub(super) fn position(&self) -> Option<OffsetAndMetadata> {
        let known = matches!(self.need, Need::Nothing | Need::Validation);
        known.then(|| OffsetAndMetadata { offset: self.offset, leader_epoch: self.offset_epoch, metadata: String::new() })
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        !self.asked && !self.revoking && self.retry_at.is_none_or(|at| at <= now)
    }

    /// Puts off the next request about this partition.
    pub(super) fn back_off(&mut self, pause: Duration) {
        self.retry_at = Some(Instant::now() + pause);
        self.failures = self.failures.saturating_add(1);
    }

    pub(super) fn succeeded(&mut self) {
        self.retry_at = None;
        self.failures = 0;
    }
}

/// Whether the group may go on with a rebalance: only while a caller polls, because only then is all that was handed out also done with.
#[derive(Debug, Default)]
pub(super) enum Permission {
    #[default]
    NotNeeded,
    /// These partitions are to be taken away.
    Requested(BTreeSet<TopicPartition>),
    /// With all positions as they were at that moment.
    Granted(BTreeMap<TopicPartition, OffsetAndMetadata>),
}

/// This consumer as its group knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Empty until the coordinator gave one.
    pub(super) id: String,
    /// -1 when not in a generation.
    pub(super) generation: i32,
}

impl Default for Member {
    fn default() -> Member {
        Member { id: String::new(), generation: -1 }
    }
}

#[derive(Default)]
pub(super) struct State {
    pub(super) subscription: Subscription,
    assigned: BTreeMap<TopicPartition, Assigned>,
    next_serial: u64,
    waiting: VecDeque<Fetched>,
    pub(super) errors: VecDeque<ConsumerError>,
    pub(super) polls: u32,
    pub(super) last_poll: Option<Instant>,
    pub(super) permission: Permission,
    pub(super) member: Member,
    pub(super) next_auto_commit: Option<Instant>,
}

impl State {
    pub(super) fn assigned(&self) -> &BTreeMap<TopicPartition, Assigned> {
        &self.assigned
    }

    pub(super) fn assigned_mut(&mut self) -> impl Iterator<Item = (&TopicPartition, &mut Assigned)> {
        self.assigned.iter_mut()
    }

    pub(super) fn partition_mut(&mut self, partition: &TopicPartition) -> Option<&mut Assigned> {
        self.assigned.get_mut(partition)
    }

    /// The partition, if what was asked for under `serial` still concerns it.
    pub(super) fn current(&mut self, partition: &TopicPartition, serial: u64) -> Option<&mut Assigned> {
        self.assigned.get_mut(partition).filter(|assigned| assigned.serial == serial)
    }

    fn serial(&mut self) -> u64 {
        self.next_serial += 1;
        self.next_serial
    }

    /// Replaces the assignment; partitions that stay keep their positions.
    pub(super) fn assign(&mut self, partitions: impl IntoIterator<Item = TopicPartition>) {
        let mut next = BTreeMap::new();
        for partition in partitions {
            let assigned = match self.assigned.remove(&partition) {
                Some(assigned) if !assigned.revoking => assigned,
                _ => Assigned::new(self.serial()),
            };
            next.insert(partition, assigned);
        }
        self.assigned = next;
        self.drop_stale();
    }

    fn drop_stale(&mut self) {
        let assigned = &self.assigned;
        self.waiting.retain(|fetched| assigned.get(&fetched.partition).is_some_and(|it| it.serial == fetched.serial));
    }

    /// Sets a partition's position. False when it is not assigned.
    pub(super) fn seek(&mut self, partition: &TopicPartition, offset: i64, epoch: Option<i32>) -> bool {
        self.restart(partition, Need::Nothing, offset, epoch)
    }

    /// Makes a partition find its position anew.
    pub(super) fn reset(&mut self, partition: &TopicPartition, to: OffsetReset) -> bool {
        self.restart(partition, Need::Reset(to), -1, None)
    }

    fn restart(&mut self, partition: &TopicPartition, need: Need, offset: i64, epoch: Option<i32>) -> bool {
        let serial = self.serial();
        let Some(assigned) = self.assigned.get_mut(partition) else { return false };
        *assigned = Assigned {
            need,
            offset,
            offset_epoch: epoch,
            fetch_offset: offset,
            paused: assigned.paused,
            revoking: assigned.revoking,
            high_watermark: assigned.high_watermark,
            log_start_offset: assigned.log_start_offset,
            ..Assigned::new(serial)
        };
        self.drop_stale();
        true
    }

    /// Takes in an answer.
    pub(super) fn push(&mut self, fetched: Fetched) {
        let Some(end) = fetched.end() else { return };
        if let Some(assigned) = self.current(&fetched.partition, fetched.serial) {
            assigned.fetch_offset = end.0.max(assigned.fetch_offset);
            assigned.waiting += 1;
            self.waiting.push_back(fetched);
        }
    }

    /// Hands out up to `max` records and moves the positions behind them. An error comes only when there is nothing before it to hand out.
    pub(super) fn take(&mut self, max: usize) -> Result<Vec<ConsumerRecord>, ConsumerError> {
        let mut records = Vec::new();
        self.take_each(max, |fetched| {
            let record = fetched.next()?;
            Ok(record.map(|record| {
                records.push(record);
                1
            }))
        })?;
        Ok(records)
    }

    /// Lends records until there are at least `enough`, whole batches of them, as [`State::take`] hands them out; gives how many.
    pub(super) fn visit(&mut self, enough: usize, visit: &mut Visit<'_>) -> Result<usize, ConsumerError> {
        self.take_each(enough, |fetched| fetched.visit_batch(visit))
    }

    /// Goes through what waits with `step`, which takes some records and says how many, until there are `enough` of them.
    fn take_each(
        &mut self,
        enough: usize,
        mut step: impl FnMut(&mut Fetched) -> Result<Option<usize>, BatchError>,
    ) -> Result<usize, ConsumerError> {
        let mut count = 0;
        let mut put_aside = VecDeque::new();
        let mut failure = None;
        while count < enough
            && let Some(mut fetched) = self.waiting.pop_front()
        {
            let Some(assigned) = self.assigned.get_mut(&fetched.partition).filter(|it| it.serial == fetched.serial) else { continue };
            if assigned.paused || assigned.revoking || put_aside.iter().any(|other: &Fetched| other.partition == fetched.partition) {
                put_aside.push_back(fetched);
                continue;
            }
            let used_up = loop {
                if count >= enough {
                    break false;
                }
                match step(&mut fetched) {
                    Ok(Some(taken)) => count += taken,
                    Ok(None) => break true,
                    Err(error) => {
                        let (offset, _) = fetched.position();
                        failure = Some(ConsumerError::Corrupt { partition: fetched.partition.clone(), offset, error });
                        break true;
                    }
                }
            };
            let (offset, epoch) = fetched.position();
            assigned.offset = offset;
            assigned.offset_epoch = epoch.or(assigned.offset_epoch);
            if failure.is_some() {
                let (partition, epoch) = (fetched.partition.clone(), assigned.offset_epoch);
                // The next poll fetches the bad batch again, and fails again until somebody seeks past it.
                self.seek(&partition, offset, epoch);
                break;
            }
            if used_up {
                assigned.waiting -= 1;
            } else {
                put_aside.push_front(fetched);
                break;
            }
        }
        while let Some(fetched) = put_aside.pop_back() {
            self.waiting.push_front(fetched);
        }
        match failure {
            Some(error) if count == 0 => Err(error),
            Some(error) => {
                self.errors.push_back(error);
                Ok(count)
            }
            None => Ok(count),
        }
    }

    /// All positions that are known.
    pub(super) fn positions(&self) -> BTreeMap<TopicPartition, OffsetAndMetadata> {
        let known = self.assigned.iter().filter_map(|(partition, assigned)| Some((partition.clone(), assigned.position()?)));
        known.collect()
    }

    /// Grants a rebalance if it is asked for and somebody polls. True when that changed something.
    pub(super) fn grant(&mut self) -> bool {
        if self.polls == 0 {
            return false;
        }
        let Permission::Requested(partitions) = &mut self.permission else { return false };
        let partitions = std::mem::take(partitions);
        for partition in &partitions {
            if let Some(assigned) = self.assigned.get_mut(partition) {
                assigned.revoking = true;
            }
        }
        self.permission = Permission::Granted(self.positions());
        true
    }
}
