//! Who has which record of a partition: the acquisition state machine of one share group in one partition, without I/O (KIP-932).
//! Source: `SharePartition`.
//!
//! Between the start offset (everything before it is over) and the end offset (nothing behind it was ever given to anybody) each record
//! is available, acquired by one member under a lock that expires, acknowledged, or archived. What changes durably is handed out as state
//! batches; the caller persists them and says how it went ([`SharePartition::complete`]).
//!
//! Invariants (each has a check of its own in the model test):
//! - A record is acquired by one member at a time.
//! - A record whose acknowledgement was persisted is never given out again.
//! - A record is delivered at most as often as the limit says.
//! - The start offset never goes back.
//!
//! Differs from Kafka's inside, not at the wire: states are kept as runs, not as batches or single offsets; gaps between persisted batches
//! are available records that were never delivered; what falls below the start offset is forgotten at once, whoever has it.

use std::sync::Arc;

use super::in_flight::{AcquisitionLock, InFlight, RecordState, Run, Transition};
use crate::coordinator::share::batches::StateBatch;
use crate::coordinator::share::{ReadState, WriteState};
use crate::protocol::error_code::ErrorCode;

/// The settings of a group, which may change at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShareSettings {
    /// `share.record.lock.duration.ms`.
    pub(crate) lock_duration_ms: u64,
    /// `share.delivery.count.limit`.
    pub(crate) max_delivery_count: i16,
    /// `share.partition.max.record.locks`.
    pub(crate) max_in_flight_records: i64,
    /// `share.renew.acknowledge.enable`.
    pub(crate) renew_enabled: bool,
}

/// How closely `max_records` of a fetch is kept (KIP-1206).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AcquireMode {
    /// Whole batches, so that the last one may exceed it.
    BatchOptimized,
    /// Never more.
    RecordLimit,
}

/// A batch of the log as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogBatch {
    pub(crate) base_offset: i64,
    pub(crate) last_offset: i64,
    /// A batch of a transaction that was aborted, for readers that want none of those.
    pub(crate) aborted: bool,
}

/// Who wants records, and how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AcquireParams<'a> {
    pub(crate) member_id: &'a Arc<str>,
    pub(crate) mode: AcquireMode,
    /// New batches are cut at log batches when they have this many records.
    pub(crate) batch_size: i64,
    pub(crate) max_records: i64,
    /// Where the log was read from: [`SharePartition::next_fetch_offset`].
    pub(crate) fetch_offset: i64,
}

/// Records that a member has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Acquired {
    pub(crate) first_offset: i64,
    pub(crate) last_offset: i64,
    pub(crate) delivery_count: i16,
}

/// What a member says of records it has: one type for all, or one for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AcknowledgementBatch {
    pub(crate) first_offset: i64,
    pub(crate) last_offset: i64,
    pub(crate) acknowledge_types: Vec<i8>,
}

/// What the types of an acknowledgement mean.
pub(crate) mod acknowledge_type {
    /// There is no record at this offset.
    pub(crate) const GAP: i8 = 0;
    pub(crate) const ACCEPT: i8 = 1;
    pub(crate) const RELEASE: i8 = 2;
    pub(crate) const REJECT: i8 = 3;
    /// Not done yet: the lock begins anew (KIP-1222).
    pub(crate) const RENEW: i8 = 4;
}

/// Why an acknowledgement was refused. Nothing of it has happened, except that locks may have been renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct AcknowledgeError {
    pub(crate) code: ErrorCode,
    pub(crate) message: &'static str,
}

const fn invalid_state(message: &'static str) -> AcknowledgeError {
    AcknowledgeError { code: ErrorCode::InvalidRecordState, message }
}

const fn invalid_request(message: &'static str) -> AcknowledgeError {
    AcknowledgeError { code: ErrorCode::InvalidRequest, message }
}

/// Changes to persist: the transition to complete afterwards, and the batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) transition: u64,
    pub(crate) state_batches: Vec<StateBatch>,
}

/// Throttling of records that failed before begins at this delivery count at the earliest.
const MINIMUM_THROTTLE_DELIVERY_COUNT: i16 = 2;

/// One share group in one partition.
#[derive(Clone, Debug)]
pub(crate) struct SharePartition {
    state_epoch: i32,
    leader_epoch: i32,
    start_offset: i64,
    end_offset: i64,
    in_flight: InFlight,
    next_transition: u64,
}

impl SharePartition {
    /// As it was persisted; `start_offset` is the persisted one, or the one chosen for a group that has none yet. An error for a state that
    /// cannot be.
    pub(crate) fn new(leader_epoch: i32, start_offset: i64, read: &ReadState) -> Result<SharePartition, String> {
        let mut partition = SharePartition {
            state_epoch: read.state_epoch,
            leader_epoch,
            start_offset,
            end_offset: start_offset,
            in_flight: InFlight::default(),
            next_transition: 0,
        };
        let unlocked = |last_offset, state, delivery_count| Run { last_offset, state, delivery_count, lock: None, transition: None };
        let mut next_offset = start_offset;
        for batch in &read.state_batches {
            if batch.first_offset < next_offset || batch.last_offset < batch.first_offset || batch.last_offset == i64::MAX {
                return Err(format!("a state batch {}-{} after offset {next_offset}", batch.first_offset, batch.last_offset));
            }
            let state = RecordState::from_code(batch.delivery_state).filter(|&state| state != RecordState::Acquired);
            let state = state.ok_or_else(|| format!("delivery state {}", batch.delivery_state))?;
            if batch.first_offset > next_offset {
                partition.in_flight.insert(next_offset, unlocked(batch.first_offset - 1, RecordState::Available, 0));
            }
            partition.in_flight.insert(batch.first_offset, unlocked(batch.last_offset, state, batch.delivery_count));
            next_offset = batch.last_offset + 1;
        }
        if let Some(last_offset) = partition.in_flight.last_offset() {
            partition.end_offset = last_offset;
            partition.advance_start_offset();
        }
        Ok(partition)
    }

    #[cfg(test)]
    fn start_offset(&self) -> i64 {
        self.start_offset
    }

    #[cfg(test)]
    fn end_offset(&self) -> i64 {
        self.end_offset
    }

    /// Records from the start offset on whose delivery is over or about to be.
    pub(crate) fn delivery_complete_count(&self) -> i32 {
        let done = self.in_flight.runs().filter(|(_, run)| run.state.is_terminal());
        i32::try_from(done.map(|(first, run)| run.last_offset - first + 1).sum::<i64>()).unwrap_or(i32::MAX)
    }

    /// What to persist together with these batches.
    pub(crate) fn write_state(&self, state_batches: Vec<StateBatch>) -> WriteState {
        WriteState {
            state_epoch: self.state_epoch,
            leader_epoch: self.leader_epoch,
            start_offset: self.start_offset,
            delivery_complete_count: self.delivery_complete_count(),
            state_batches,
        }
    }

    /// Where to read the log next: at the first record that anybody may have, or behind all that were ever given out.
    pub(crate) fn next_fetch_offset(&self) -> i64 {
        let available = self.in_flight.runs().find(|(_, run)| run.is_available());
        available.map_or_else(|| self.first_new_offset(), |(first, _)| first)
    }

    /// The first offset behind the end offset.
    fn first_new_offset(&self) -> i64 {
        if self.in_flight.is_empty() { self.end_offset } else { self.end_offset + 1 }
    }

    fn in_flight_records(&self) -> i64 {
        if self.in_flight.is_empty() { 0 } else { self.end_offset - self.start_offset + 1 }
    }

    /// May there be something to acquire, if the log has it?
    pub(crate) fn can_acquire(&self, settings: &ShareSettings) -> bool {
        self.next_fetch_offset() != self.end_offset + 1 || self.in_flight_records() < settings.max_in_flight_records
    }

    /// The first offset that an acquisition of so many records cannot reach, so that the log need not be looked at from there on.
    pub(crate) fn acquire_bound(&self, fetch_offset: i64, max_records: i64) -> i64 {
        self.end_offset.max(fetch_offset).saturating_add(max_records.max(0)).saturating_add(1)
    }

    /// Gives records of these batches of the log, which begin at or before the fetch offset and are without overlaps, to a member. The
    /// result is sorted.
    pub(crate) fn acquire(
        &mut self,
        now_ms: u64,
        settings: &ShareSettings,
        params: &AcquireParams<'_>,
        batches: &[LogBatch],
    ) -> Vec<Acquired> {
        let (Some(first_batch), Some(last_batch)) = (batches.first(), batches.last()) else { return Vec::new() };
        if last_batch.last_offset < self.start_offset {
            return Vec::new();
        }
        let mut last_offset = last_batch.last_offset;
        let mut max_records = params.max_records.min(settings.max_in_flight_records - self.in_flight_records());
        if max_records <= 0 {
            // No new ones; but what was in flight already may be given again.
            max_records = params.max_records.min(self.end_offset - params.fetch_offset + 1);
            last_offset = last_offset.min(self.end_offset);
        }
        if max_records <= 0 {
            return Vec::new();
        }
        self.archive_stale(params.fetch_offset, first_batch.base_offset);

        let mut base_offset = first_batch.base_offset;
        match self.in_flight.floor_batch(base_offset) {
            None => base_offset = base_offset.max(self.start_offset),
            Some((first, last)) if last >= base_offset => base_offset = first,
            Some(_) => {}
        }
        let lock =
            AcquisitionLock { member_id: Arc::clone(params.member_id), expires_at_ms: now_ms.saturating_add(settings.lock_duration_ms) };
        let known = self.in_flight.batches_between(first_batch.base_offset.min(base_offset), last_offset);
        let mut acquired = Vec::new();
        let mut count = 0;
        let mut only_known = false;
        for &(first, last) in &known {
            if count >= max_records || only_known {
                break;
            }
            let (from, to) = (first.max(first_batch.base_offset), last.min(last_offset));
            let throttled = self.is_throttled(settings, from, to);
            if throttled && count > 0 {
                // What failed before shall not take others with it.
                only_known = true;
                break;
            }
            let limit = (params.mode == AcquireMode::RecordLimit).then_some(max_records - count);
            let got = self.acquire_known(settings, &lock, (first, last), (from, to), limit, &mut acquired);
            count += got;
            only_known = throttled && got > 0;
        }
        let next_new = known.last().map_or(base_offset, |&(_, last)| last + 1);
        if !only_known && count < max_records && next_new <= last_offset {
            self.acquire_new(&lock, params, batches, next_new, last_offset, max_records - count, &mut acquired);
        }
        self.archive_aborted(batches, &mut acquired);
        self.advance_start_offset();
        acquired
    }

    /// Has this range records that failed so often that they are given out few at a time?
    fn is_throttled(&self, settings: &ShareSettings, first: i64, last: i64) -> bool {
        if first > last {
            return false;
        }
        let available = self.in_flight.runs_between(first, last).filter(|(_, run)| run.is_available());
        available.map(|(_, run)| run.delivery_count).max().unwrap_or(0) >= throttle_delivery_count(settings)
    }

    /// Acquires what is available of a batch within `range`; gives how many that were.
    fn acquire_known(
        &mut self,
        settings: &ShareSettings,
        lock: &AcquisitionLock,
        batch: (i64, i64),
        range: (i64, i64),
        limit: Option<i64>,
        acquired: &mut Vec<Acquired>,
    ) -> i64 {
        let (first, last) = range;
        if first > last {
            return 0;
        }
        let throttle_at = throttle_delivery_count(settings);
        let max_delivery_count = settings.max_delivery_count;
        let mut taken: Vec<Acquired> = Vec::new();
        let mut count = 0;
        let mut throttle_limit: Option<i64> = None;
        for (begin, run) in self.in_flight.runs_between(first, last).filter(|(_, run)| run.is_available()) {
            let (begin, end) = (begin.max(first), run.last_offset.min(last));
            let is_last_attempt = max_delivery_count > 2 && run.delivery_count == max_delivery_count - 1;
            if is_last_attempt && count > 0 {
                break;
            }
            if run.delivery_count >= throttle_at && throttle_limit.is_none() {
                let halvings = u32::try_from(run.delivery_count - throttle_at + 1).unwrap_or(0).min(62);
                throttle_limit = Some(((batch.1 - batch.0 + 1) >> halvings).max(1));
            }
            let mut take = end - begin + 1;
            if is_last_attempt {
                take = 1;
            }
            for limit in [limit, throttle_limit].into_iter().flatten() {
                take = take.min(limit - count);
            }
            if take <= 0 {
                break;
            }
            count += take;
            taken.push(Acquired {
                first_offset: begin,
                last_offset: begin + take - 1,
                delivery_count: run.delivery_count.saturating_add(1),
            });
            if is_last_attempt || begin + take - 1 < end {
                break;
            }
        }
        for it in &taken {
            self.in_flight.update(it.first_offset, it.last_offset, |_, run| {
                run.state = RecordState::Acquired;
                run.delivery_count = run.delivery_count.saturating_add(1);
                run.lock = Some(lock.clone());
            });
        }
        // One answer for neighbours of the same batch and delivery count.
        let of_earlier_batches = acquired.len();
        for it in taken {
            match acquired.get_mut(of_earlier_batches..).and_then(<[Acquired]>::last_mut) {
                Some(left) if left.last_offset + 1 == it.first_offset && left.delivery_count == it.delivery_count => {
                    left.last_offset = it.last_offset;
                }
                _ => acquired.push(it),
            }
        }
        count
    }

    /// Acquires records that were never given to anybody.
    #[expect(clippy::too_many_arguments, reason = "one step of `acquire`, which has these at hand")]
    fn acquire_new(
        &mut self,
        lock: &AcquisitionLock,
        params: &AcquireParams<'_>,
        batches: &[LogBatch],
        first: i64,
        last: i64,
        max_records: i64,
        acquired: &mut Vec<Acquired>,
    ) {
        let first = if self.in_flight.is_empty() { first.max(self.end_offset) } else { first };
        if first > last {
            return;
        }
        let mut last_acquired = last;
        if max_records < last - first + 1 {
            // To the end of the batch that holds the last one.
            let wanted = first + max_records - 1;
            let holder = batches.iter().take_while(|batch| batch.base_offset <= wanted).last();
            last_acquired = holder.map_or(wanted, |batch| batch.last_offset.max(wanted)).min(last);
        }
        let mut run =
            Run { last_offset: last_acquired, state: RecordState::Acquired, delivery_count: 1, lock: Some(lock.clone()), transition: None };
        if self.in_flight.is_empty() {
            self.start_offset = self.start_offset.max(first);
        }
        self.end_offset = self.end_offset.max(last_acquired);
        if params.mode == AcquireMode::RecordLimit {
            let limited = last_acquired.min(first + max_records - 1);
            self.in_flight.insert(first, run);
            self.in_flight.update(limited + 1, last_acquired, |_, run| {
                run.state = RecordState::Available;
                run.delivery_count = 0;
                run.lock = None;
            });
            acquired.push(Acquired { first_offset: first, last_offset: limited, delivery_count: 1 });
            return;
        }
        let mut begin = first;
        let mut cuts = Vec::new();
        if last_acquired - first + 1 > params.batch_size {
            for batch in batches.iter().take_while(|batch| batch.base_offset <= last_acquired) {
                if batch.base_offset > begin && batch.base_offset - begin >= params.batch_size {
                    cuts.push((begin, batch.base_offset - 1));
                    begin = batch.base_offset;
                }
            }
        }
        cuts.push((begin, last_acquired));
        for (first_offset, last_offset) in cuts {
            run.last_offset = last_offset;
            self.in_flight.insert(first_offset, run.clone());
            acquired.push(Acquired { first_offset, last_offset, delivery_count: 1 });
        }
    }

    /// The log has nothing from the fetch offset up to its first batch any more: compaction took it.
    fn archive_stale(&mut self, fetch_offset: i64, base_offset: i64) {
        if fetch_offset < base_offset {
            self.in_flight.update(fetch_offset, base_offset - 1, |_, run| {
                if run.state == RecordState::Available {
                    archive(run);
                }
            });
            self.advance_start_offset();
        }
    }

    /// Takes the records of aborted transactions out again.
    fn archive_aborted(&mut self, batches: &[LogBatch], acquired: &mut Vec<Acquired>) {
        for batch in batches.iter().filter(|batch| batch.aborted) {
            self.in_flight.update(batch.base_offset, batch.last_offset, |_, run| {
                if run.state == RecordState::Acquired {
                    archive(run);
                }
            });
            let whole = std::mem::take(acquired);
            for it in whole {
                if it.last_offset < batch.base_offset || it.first_offset > batch.last_offset {
                    acquired.push(it);
                    continue;
                }
                if it.first_offset < batch.base_offset {
                    acquired.push(Acquired { last_offset: batch.base_offset - 1, ..it });
                }
                if it.last_offset > batch.last_offset {
                    acquired.push(Acquired { first_offset: batch.last_offset + 1, ..it });
                }
            }
        }
    }

    /// Takes what a member says of its records. `None`: there is nothing to persist.
    pub(crate) fn acknowledge(
        &mut self,
        now_ms: u64,
        settings: &ShareSettings,
        member_id: &str,
        batches: &[AcknowledgementBatch],
    ) -> Result<Option<Change>, AcknowledgeError> {
        self.next_transition += 1;
        let transition = self.next_transition;
        let mut state_batches = Vec::new();
        for batch in batches {
            if let Err(error) = self.acknowledge_batch(now_ms, settings, member_id, batch, transition, &mut state_batches) {
                self.complete(now_ms, settings, transition, false);
                return Err(error);
            }
        }
        Ok((!state_batches.is_empty()).then_some(Change { transition, state_batches }))
    }

    fn acknowledge_batch(
        &mut self,
        now_ms: u64,
        settings: &ShareSettings,
        member_id: &str,
        batch: &AcknowledgementBatch,
        transition: u64,
        state_batches: &mut Vec<StateBatch>,
    ) -> Result<(), AcknowledgeError> {
        if batch.acknowledge_types.iter().any(|kind| !(acknowledge_type::GAP..=acknowledge_type::RENEW).contains(kind)) {
            return Err(invalid_request("Invalid acknowledge type."));
        }
        if batch.last_offset < self.start_offset {
            // It is over for these records, whatever the member says.
            return Ok(());
        }
        let floor = self.in_flight.floor_batch(batch.first_offset);
        let floor =
            floor.or_else(|| (batch.first_offset < self.start_offset).then(|| self.in_flight.floor_batch(self.start_offset)).flatten());
        let Some((floor, _)) = floor else {
            return Err(invalid_state("Batch record not found. The request batch offsets are not found in the cache."));
        };
        let last_known = self.in_flight.floor_batch(batch.last_offset).filter(|&(first, _)| first >= floor).map(|(_, last)| last);
        match last_known {
            Some(last) if last < batch.first_offset => {
                return Err(invalid_request("Batch record not found. The first offset in request is past acquired records."));
            }
            Some(last) if last >= batch.last_offset => {}
            _ => return Err(invalid_request("Batch record not found. The last offset in request is past acquired records.")),
        }
        let first = batch.first_offset.max(self.start_offset);
        let acquired = self.in_flight.runs_between(first, batch.last_offset);
        for (_, run) in acquired {
            if run.transition.is_some() {
                return Err(invalid_state("The record state is invalid. The acknowledgement of delivery could not be completed."));
            }
            match &run.lock {
                Some(lock) if *lock.member_id == *member_id => {}
                Some(_) => return Err(invalid_state("Member is not the owner of batch record")),
                None => return Err(invalid_state("The batch cannot be acknowledged. The batch is not in the acquired state.")),
            }
        }
        // Neighbours that get the same type are changed together.
        let type_at = |offset: i64| match batch.acknowledge_types.as_slice() {
            [one] => Some(*one),
            many => usize::try_from(offset - batch.first_offset).ok().and_then(|at| many.get(at).copied()),
        };
        let mut begin = first;
        while begin <= batch.last_offset {
            let Some(kind) = type_at(begin) else { return Err(invalid_request("An offset without acknowledge type.")) };
            let mut end = begin;
            if batch.acknowledge_types.len() == 1 {
                end = batch.last_offset;
            } else {
                while end < batch.last_offset && type_at(end + 1) == Some(kind) {
                    end += 1;
                }
            }
            self.acknowledge_range(now_ms, settings, begin, end, kind, transition, state_batches)?;
            begin = end + 1;
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "one step of `acknowledge_batch`, which has these at hand")]
    fn acknowledge_range(
        &mut self,
        now_ms: u64,
        settings: &ShareSettings,
        first: i64,
        last: i64,
        kind: i8,
        transition: u64,
        state_batches: &mut Vec<StateBatch>,
    ) -> Result<(), AcknowledgeError> {
        if kind == acknowledge_type::RENEW {
            if !settings.renew_enabled {
                return Err(invalid_state("Renewing acquisition locks is not enabled for the group."));
            }
            let expires_at_ms = now_ms.saturating_add(settings.lock_duration_ms);
            self.in_flight.update(first, last, |_, run| {
                if let Some(lock) = &mut run.lock {
                    lock.expires_at_ms = expires_at_ms;
                }
            });
            return Ok(());
        }
        let state = match kind {
            acknowledge_type::ACCEPT => RecordState::Acknowledged,
            acknowledge_type::RELEASE => RecordState::Available,
            _ => RecordState::Archived,
        };
        self.in_flight.update(first, last, |begin, run| {
            begin_transition(settings, run, state, transition);
            state_batches.push(state_batch(begin, run));
        });
        Ok(())
    }

    /// A member is gone: what it has is anybody's. `None`: it had nothing.
    pub(crate) fn release_acquired(&mut self, settings: &ShareSettings, member_id: &str) -> Option<Change> {
        self.next_transition += 1;
        let transition = self.next_transition;
        let has = |run: &Run| run.transition.is_none() && run.lock.as_ref().is_some_and(|lock| *lock.member_id == *member_id);
        let held: Vec<(i64, i64)> =
            self.in_flight.runs().filter(|(_, run)| has(run)).map(|(first, run)| (first, run.last_offset)).collect();
        let mut state_batches = Vec::with_capacity(held.len());
        for (first, last) in held {
            self.in_flight.update(first, last, |begin, run| {
                begin_transition(settings, run, RecordState::Available, transition);
                state_batches.push(state_batch(begin, run));
            });
        }
        (!state_batches.is_empty()).then_some(Change { transition, state_batches })
    }

    /// When the next lock expires, in monotonic milliseconds.
    pub(crate) fn next_lock_expiry(&self) -> Option<u64> {
        self.in_flight.runs().filter_map(|(_, run)| run.lock.as_ref()).map(|lock| lock.expires_at_ms).min()
    }

    /// Makes records available again whose locks have expired. Their states are to be persisted, but hold either way.
    pub(crate) fn expire_locks(&mut self, now_ms: u64, settings: &ShareSettings) -> Vec<StateBatch> {
        let has_expired = |run: &Run| run.lock.as_ref().is_some_and(|lock| lock.expires_at_ms <= now_ms);
        let expired: Vec<(i64, i64)> =
            self.in_flight.runs().filter(|(_, run)| has_expired(run)).map(|(first, run)| (first, run.last_offset)).collect();
        let mut state_batches = Vec::with_capacity(expired.len());
        for (first, last) in expired {
            self.in_flight.update(first, last, |begin, run| {
                unlock(settings, run);
                state_batches.push(state_batch(begin, run));
            });
        }
        self.advance_start_offset();
        state_batches
    }

    /// A change was persisted, or could not be: then the records are their members' again, unless the locks have expired by now.
    pub(crate) fn complete(&mut self, now_ms: u64, settings: &ShareSettings, transition: u64, persisted: bool) {
        let is_part = |run: &Run| run.transition.as_ref().is_some_and(|it| it.id == transition);
        let parts: Vec<(i64, i64)> =
            self.in_flight.runs().filter(|(_, run)| is_part(run)).map(|(first, run)| (first, run.last_offset)).collect();
        for (first, last) in parts {
            self.in_flight.update(first, last, |_, run| {
                let Some(before) = run.transition.take() else { return };
                if persisted {
                    return;
                }
                run.state = RecordState::Acquired;
                if before.lock.expires_at_ms <= now_ms {
                    unlock(settings, run);
                } else {
                    run.lock = Some(before.lock);
                }
            });
        }
        self.advance_start_offset();
    }

    /// The log begins later now: what was before is over.
    pub(crate) fn advance_log_start_offset(&mut self, log_start_offset: i64) {
        if log_start_offset <= self.start_offset {
            return;
        }
        self.in_flight.remove_before(log_start_offset);
        self.start_offset = log_start_offset;
        self.end_offset = self.end_offset.max(log_start_offset);
        self.advance_start_offset();
    }

    /// Moves the start offset over records whose delivery is over.
    fn advance_start_offset(&mut self) {
        let mut done_to = None;
        let mut next = None;
        for (first, run) in self.in_flight.runs() {
            if !run.is_done() {
                next = Some(first);
                break;
            }
            done_to = Some(run.last_offset);
        }
        let Some(done_to) = done_to else { return };
        match next {
            Some(next) => {
                self.start_offset = self.start_offset.max(next);
                self.in_flight.remove_before(next);
            }
            None => {
                self.start_offset = self.start_offset.max(done_to + 1);
                self.end_offset = self.start_offset;
                self.in_flight.clear();
            }
        }
    }
}

/// From this delivery count on, records are given out few at a time.
fn throttle_delivery_count(settings: &ShareSettings) -> i16 {
    let half = settings.max_delivery_count / 2 + settings.max_delivery_count % 2;
    half.max(MINIMUM_THROTTLE_DELIVERY_COUNT)
}

fn state_batch(first_offset: i64, run: &Run) -> StateBatch {
    StateBatch { first_offset, last_offset: run.last_offset, delivery_state: run.state.code(), delivery_count: run.delivery_count }
}

/// A record that was delivered as often as may be is not made available again.
fn available_or_archived(settings: &ShareSettings, delivery_count: i16) -> RecordState {
    if delivery_count >= settings.max_delivery_count { RecordState::Archived } else { RecordState::Available }
}

fn begin_transition(settings: &ShareSettings, run: &mut Run, state: RecordState, id: u64) {
    let Some(lock) = run.lock.take() else { return };
    run.state = if state == RecordState::Available { available_or_archived(settings, run.delivery_count) } else { state };
    run.transition = Some(Transition { id, lock });
}

fn unlock(settings: &ShareSettings, run: &mut Run) {
    run.state = available_or_archived(settings, run.delivery_count);
    run.lock = None;
}

fn archive(run: &mut Run) {
    run.state = RecordState::Archived;
    run.lock = None;
    run.transition = None;
}

#[cfg(test)]
mod tests;
