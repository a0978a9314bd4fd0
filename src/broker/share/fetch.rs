//! A ShareFetch: waits until there is something to acquire, then acquires it. Sources: `DelayedShareFetch`, `ShareFetchUtils`,
//! `PartitionRotateStrategy`, `PartitionMaxBytesStrategy`.
//!
//! - It is answered at once when the partitions that may be acquired have `min_bytes` behind their fetch offsets, or when there is an error
//!   to tell; else as soon as records arrive, or become available, or the time is up.
//! - Partitions take turns at being first, by the session's epoch, and share `max_bytes` equally.

use std::sync::Arc;
use std::time::Duration;

use super::log_batches::{self, PlacedBatch};
use super::share_partition::{AcquireMode, AcquireParams, Acquired, LogBatch};
use super::{Loaded, ShareError, SharePartitions, State, TopicIdPartition};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::records::Records;
use crate::replication::partition::{FetchOutcome, FetchParams};
use crate::replication::waiters::Waiter;
use crate::storage::log::{FetchIsolation, ReadInfo};

/// What a member wants.
#[derive(Clone, Debug)]
pub(crate) struct ShareFetch {
    pub(crate) group_id: String,
    pub(crate) member_id: Arc<str>,
    pub(crate) mode: AcquireMode,
    pub(crate) batch_size: i64,
    pub(crate) max_records: i64,
    pub(crate) min_bytes: usize,
    pub(crate) max_bytes: usize,
    pub(crate) max_wait_ms: u64,
    /// The epoch the request has, by which partitions take turns.
    pub(crate) session_epoch: i32,
}

/// What a member gets of one partition.
#[derive(Debug)]
pub(crate) struct FetchedPartition {
    pub(crate) partition: TopicIdPartition,
    pub(crate) error: Option<ShareError>,
    pub(crate) records: Records,
    pub(crate) acquired: Vec<Acquired>,
}

impl FetchedPartition {
    pub(crate) fn failed(partition: TopicIdPartition, error: ShareError) -> FetchedPartition {
        FetchedPartition { partition, error: Some(error), records: Records::default(), acquired: Vec::new() }
    }

    fn empty(partition: TopicIdPartition) -> FetchedPartition {
        FetchedPartition { partition, error: None, records: Records::default(), acquired: Vec::new() }
    }
}

/// A partition whose records may be acquired, and what the log has of them.
struct Candidate {
    at: usize,
    fetch_offset: i64,
    read: Result<ReadInfo, ErrorCode>,
}

struct Fetching<'a> {
    shares: &'a SharePartitions,
    fetch: &'a ShareFetch,
    isolation: FetchIsolation,
    partitions: Vec<(TopicIdPartition, Result<Arc<Loaded>, ShareError>)>,
}

impl SharePartitions {
    /// Acquires records of these partitions for a member. Partitions of which nothing can be said now are not in the answer.
    pub(crate) async fn fetch(&self, fetch: &ShareFetch, mut partitions: Vec<TopicIdPartition>) -> Vec<FetchedPartition> {
        if partitions.is_empty() || fetch.max_records <= 0 || fetch.max_bytes == 0 {
            return Vec::new();
        }
        if let Ok(epoch) = usize::try_from(fetch.session_epoch) {
            let turn = epoch % partitions.len();
            partitions.rotate_left(turn);
        }
        let opened = partitions.into_iter().map(|it| (it, self.open(&fetch.group_id, it).map_err(ShareError::from)));
        let fetching = Fetching { shares: self, fetch, isolation: self.isolation(&fetch.group_id), partitions: opened.collect() };
        fetching.run().await
    }
}

impl Fetching<'_> {
    async fn run(&self) -> Vec<FetchedPartition> {
        let deadline = tokio::time::Instant::now() + Duration::from_millis(self.fetch.max_wait_ms);
        let waiter = Waiter::new();
        let loaded = || self.partitions.iter().filter_map(|(_, loaded)| loaded.as_ref().ok());
        // Before the first look, so that nothing that happens after it is missed.
        let _of_groups: Vec<_> = loaded().map(|it| it.waiters.register(&waiter)).collect();
        let _of_logs: Vec<_> = loaded().map(|it| it.partition.register(&waiter)).collect();
        let mut is_late = self.fetch.max_wait_ms == 0;
        loop {
            let mut failed = self.failed();
            if failed.len() == self.partitions.len() {
                return failed;
            }
            let candidates = self.candidates();
            let bytes: usize = candidates.iter().filter_map(|it| it.read.as_ref().ok()).map(|read| read.records.len()).sum();
            let has_error = candidates.iter().any(|it| it.read.is_err());
            if is_late || has_error || (!candidates.is_empty() && bytes >= self.fetch.min_bytes) {
                let (fetched, again) = self.acquire(candidates);
                let has_news = fetched.iter().any(|it| it.error.is_some() || !it.acquired.is_empty());
                if again && !has_news {
                    continue;
                }
                if is_late || has_news {
                    failed.extend(fetched);
                    return failed;
                }
            }
            is_late = tokio::time::timeout_at(deadline, waiter.woken()).await.is_err();
        }
    }

    /// The partitions that are in error.
    fn failed(&self) -> Vec<FetchedPartition> {
        let error = |loaded: &Result<Arc<Loaded>, ShareError>| match loaded {
            Err(error) => Some(error.clone()),
            Ok(loaded) => match &loaded.lock().state {
                State::Ended(error) => Some(error.clone()),
                _ => None,
            },
        };
        self.partitions.iter().filter_map(|(it, loaded)| Some(FetchedPartition::failed(*it, error(loaded)?))).collect()
    }

    /// Reads where records may be acquired.
    fn candidates(&self) -> Vec<Candidate> {
        let settings = self.shares.settings(&self.fetch.group_id);
        let mut offsets = Vec::new();
        for (at, (_, loaded)) in self.partitions.iter().enumerate() {
            let Ok(loaded) = loaded else { continue };
            if let State::Active(partition) = &loaded.lock().state
                && partition.can_acquire(&settings)
            {
                offsets.push((at, partition.next_fetch_offset()));
            }
        }
        let max_bytes = (self.fetch.max_bytes / offsets.len().max(1)).max(1);
        let mut has_records = false;
        let mut candidates = Vec::with_capacity(offsets.len());
        for (at, fetch_offset) in offsets {
            let Ok(loaded) = &self.partitions[at].1 else { continue };
            let read = self.read(loaded, fetch_offset, max_bytes, !has_records);
            has_records |= read.as_ref().is_ok_and(|read| !read.records.is_empty());
            candidates.push(Candidate { at, fetch_offset, read });
        }
        candidates
    }

    fn read(&self, loaded: &Loaded, fetch_offset: i64, max_bytes: usize, min_one_message: bool) -> Result<ReadInfo, ErrorCode> {
        let params = FetchParams {
            fetch_offset,
            current_leader_epoch: -1,
            last_fetched_epoch: -1,
            max_bytes,
            min_one_message,
            isolation: self.isolation,
        };
        match loaded.partition.fetch(&params)? {
            FetchOutcome::Data(mut info) => {
                if info.first_entry_incomplete {
                    info.records = Records::default();
                }
                Ok(info)
            }
            // Only who says a last fetched epoch is told this.
            FetchOutcome::Diverging { .. } => Err(ErrorCode::UnknownServerError),
        }
    }

    /// Acquires what was found, and says whether it is worth looking again at once: somebody else was faster, or the log begins later.
    /// Both have moved the share partition on, so that this comes to an end.
    fn acquire(&self, candidates: Vec<Candidate>) -> (Vec<FetchedPartition>, bool) {
        let mut remaining = self.fetch.max_records;
        let mut again = false;
        let mut fetched = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            let (id, Ok(loaded)) = &self.partitions[candidate.at] else { continue };
            let result = match &candidate.read {
                Ok(read) => self.acquire_from(loaded, *id, candidate.fetch_offset, read, remaining),
                Err(ErrorCode::OffsetOutOfRange) => Ok(self.skip_to_log_start(loaded, *id)),
                Err(error) => Err((*error).into()),
            };
            let result = result.unwrap_or_else(|error| FetchedPartition::failed(*id, error));
            remaining -= result.acquired.iter().map(|it| it.last_offset - it.first_offset + 1).sum::<i64>();
            again |= result.acquired.is_empty()
                && matches!(&loaded.lock().state, State::Active(it) if it.next_fetch_offset() != candidate.fetch_offset);
            fetched.push(result);
        }
        (fetched, again)
    }

    fn acquire_from(
        &self,
        loaded: &Arc<Loaded>,
        id: TopicIdPartition,
        fetch_offset: i64,
        read: &ReadInfo,
        max_records: i64,
    ) -> Result<FetchedPartition, ShareError> {
        if read.records.is_empty() || max_records <= 0 {
            return Ok(FetchedPartition::empty(id));
        }
        let bound = match &loaded.lock().state {
            State::Active(partition) => partition.acquire_bound(fetch_offset, max_records),
            _ => return Ok(FetchedPartition::empty(id)),
        };
        let dir = loaded.partition.log()?.dir();
        let placed = log_batches::read(&read.records, &dir, bound, read.aborted_transactions.as_deref());
        let placed: Vec<PlacedBatch> = placed.map_err(|error| {
            tracing::error!("records of {} cannot be read: {error}", loaded.key);
            ErrorCode::KafkaStorageError
        })?;
        let batches: Vec<LogBatch> = placed.iter().map(|it| it.batch).collect();
        let settings = self.shares.settings(&self.fetch.group_id);
        let params = AcquireParams {
            member_id: &self.fetch.member_id,
            mode: self.fetch.mode,
            batch_size: self.fetch.batch_size,
            max_records,
            fetch_offset,
        };
        let acquired = {
            let mut inner = loaded.lock();
            let State::Active(partition) = &mut inner.state else { return Ok(FetchedPartition::empty(id)) };
            if partition.next_fetch_offset() != fetch_offset {
                // Somebody else was faster.
                return Ok(FetchedPartition::empty(id));
            }
            partition.acquire(self.shares.clock.monotonic_ms(), &settings, &params, &batches)
        };
        // What was acquired expires, and what was found to be gone may have moved the start offset.
        loaded.locks_changed.notify_one();
        let (Some(first), Some(last)) = (acquired.first(), acquired.last()) else { return Ok(FetchedPartition::empty(id)) };
        let records = log_batches::slice(&read.records, &placed, first.first_offset, last.last_offset);
        Ok(FetchedPartition { partition: id, error: None, records, acquired })
    }

    /// The log begins later by now.
    fn skip_to_log_start(&self, loaded: &Arc<Loaded>, id: TopicIdPartition) -> FetchedPartition {
        if let Ok(log) = loaded.partition.leader_log(-1)
            && let State::Active(partition) = &mut loaded.lock().state
        {
            partition.advance_log_start_offset(log.log_start_offset());
        }
        FetchedPartition::empty(id)
    }
}
