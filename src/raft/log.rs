//! What the engine's shell needs: a log, and a way to the other voters.

use bytes::Bytes;

use super::voters::ReplicaKey;
use crate::protocol::messages::{BeginQuorumEpochRequest, EndQuorumEpochRequest, FetchRequest, VoteRequest};

/// The metadata log's failure.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RaftLogError {
    /// Fatal to the node that owns the log.
    #[error("{0}")]
    Failed(String),
    /// There was no space to append; the log is as it was.
    #[error("{0}")]
    Full(String),
}

/// The replicated log on this node. Whole batches go in and come out; offsets and epochs are in them.
pub trait RaftLog {
    /// Appends batches that carry their offsets and epochs; not durable before [`RaftLog::flush`].
    fn append(&mut self, batches: &[u8]) -> Result<(), RaftLogError>;

    /// Makes everything appended so far durable.
    fn flush(&mut self) -> Result<(), RaftLogError>;

    /// Whole batches from the one that holds `offset` on, about `max_bytes`, at least one; empty at the end of the log.
    fn read(&self, offset: i64, max_bytes: usize) -> Result<Bytes, RaftLogError>;

    /// The first offset that can be read.
    fn start_offset(&self) -> i64;

    /// The offset that the next record gets.
    fn end_offset(&self) -> i64;

    /// The epoch of the last batch; 0 when there is none.
    fn last_epoch(&self) -> i32;

    /// The largest epoch not above `epoch` and where it ends.
    fn end_offset_for_epoch(&self, epoch: i32) -> Option<(i32, i64)>;

    /// Cuts the log so that it ends at `offset`.
    fn truncate_to(&mut self, offset: i64) -> Result<(), RaftLogError>;

    /// Empties the log; it goes on at `offset`, where a snapshot ends.
    fn truncate_fully_and_start_at(&mut self, offset: i64) -> Result<(), RaftLogError>;

    /// Forgets what lies before `offset`, which a snapshot holds.
    fn delete_before(&mut self, offset: i64) -> Result<(), RaftLogError>;

    /// How many bytes the log takes.
    fn size_bytes(&self) -> u64;
}

/// A request to another voter.
#[derive(Debug, Clone, PartialEq)]
pub enum PeerRequest {
    Vote(VoteRequest),
    BeginQuorumEpoch(BeginQuorumEpochRequest),
    EndQuorumEpoch(EndQuorumEpochRequest),
    Fetch(FetchRequest),
}

/// The other voters.
pub trait Peers {
    /// Sends without waiting; the answer comes back as an event, or never.
    fn send(&mut self, to: ReplicaKey, request: PeerRequest);
}

/// A log in memory that can lose what was not flushed, for simulations.
#[derive(Debug, Clone, Default)]
pub struct MemoryLog {
    batches: Vec<(super::control::LogBatch, Bytes)>,
    start_offset: i64,
    durable: usize,
}

impl MemoryLog {
    /// What is left after a crash: what was flushed, and at chance a part of what was not.
    pub fn crash(&mut self, random: &mut crate::common::random::Random) {
        let unflushed = self.batches.len() - self.durable;
        self.batches.truncate(self.durable + random.below(unflushed as u64 + 1) as usize);
        self.durable = self.batches.len();
    }

    /// All batches.
    pub fn batches(&self) -> impl Iterator<Item = &super::control::LogBatch> {
        self.batches.iter().map(|(batch, _)| batch)
    }
}

impl RaftLog for MemoryLog {
    fn append(&mut self, batches: &[u8]) -> Result<(), RaftLogError> {
        let bytes = Bytes::copy_from_slice(batches);
        let mut position = 0;
        for batch in super::control::read_batches(&bytes) {
            let batch = batch.map_err(|error| RaftLogError::Failed(error.to_string()))?;
            if batch.base_offset != self.end_offset() {
                return Err(RaftLogError::Failed(format!("batch at {} appended at {}", batch.base_offset, self.end_offset())));
            }
            if batch.epoch < self.last_epoch() {
                return Err(RaftLogError::Failed(format!("epoch {} after epoch {}", batch.epoch, self.last_epoch())));
            }
            let raw = bytes.slice(position..position + batch.size_bytes);
            position += batch.size_bytes;
            self.batches.push((batch, raw));
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), RaftLogError> {
        self.durable = self.batches.len();
        Ok(())
    }

    fn read(&self, offset: i64, max_bytes: usize) -> Result<Bytes, RaftLogError> {
        let mut read = Vec::new();
        for (_, raw) in self.batches.iter().filter(|(batch, _)| batch.last_offset >= offset) {
            if !read.is_empty() && read.len() + raw.len() > max_bytes {
                break;
            }
            read.extend_from_slice(raw);
        }
        Ok(read.into())
    }

    fn start_offset(&self) -> i64 {
        self.start_offset
    }

    fn end_offset(&self) -> i64 {
        self.batches.last().map_or(self.start_offset, |(batch, _)| batch.last_offset + 1)
    }

    fn last_epoch(&self) -> i32 {
        self.batches.last().map_or(0, |(batch, _)| batch.epoch)
    }

    fn end_offset_for_epoch(&self, epoch: i32) -> Option<(i32, i64)> {
        self.batches().filter(|batch| batch.epoch <= epoch).last().map(|batch| (batch.epoch, batch.last_offset + 1))
    }

    fn truncate_to(&mut self, offset: i64) -> Result<(), RaftLogError> {
        self.batches.retain(|(batch, _)| batch.last_offset < offset);
        self.durable = self.durable.min(self.batches.len());
        Ok(())
    }

    fn truncate_fully_and_start_at(&mut self, offset: i64) -> Result<(), RaftLogError> {
        *self = MemoryLog { start_offset: offset, ..MemoryLog::default() };
        Ok(())
    }

    fn delete_before(&mut self, offset: i64) -> Result<(), RaftLogError> {
        let before = self.batches.len();
        self.batches.retain(|(batch, _)| batch.last_offset >= offset);
        self.durable -= (before - self.batches.len()).min(self.durable);
        self.start_offset = self.start_offset.max(offset);
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        self.batches.iter().map(|(_, raw)| raw.len() as u64).sum()
    }
}
