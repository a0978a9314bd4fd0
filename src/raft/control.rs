//! The control records that KRaft writes into its log and its snapshots, and the batches they come in.
//!
//! Their values have no frame; each begins with a version of its own, 0 so far. Source: `MemoryRecordsBuilder`, KIP-595, KIP-853.

use bytes::Bytes;

use super::voters::{ReplicaKey, VoterSet};
use crate::protocol::batch::{BatchBuilder, BatchError, ControlRecord, ControlRecordType};
use crate::protocol::codec::{DecodeError, EncodeError, Message};
use crate::protocol::compression::Compression;
use crate::protocol::messages::*;

/// A control record, taken apart.
#[derive(Debug, Clone, PartialEq)]
pub enum RaftRecord {
    LeaderChange(LeaderChangeMessage),
    KRaftVersion(i16),
    Voters(VoterSet),
    SnapshotHeader {
        last_contained_log_timestamp_ms: i64,
    },
    SnapshotFooter,
    /// A kind that does not concern KRaft, or of a later release.
    Other(i16),
}

/// Why a batch of the metadata log or of a snapshot cannot be read or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RaftRecordError {
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error("malformed control record: {0}")]
    Malformed(#[from] DecodeError),
    #[error("control record cannot be written: {0}")]
    Unwritable(#[from] EncodeError),
    #[error("a control record lacks its key or value")]
    Incomplete,
    #[error("a record of the metadata log has no value")]
    NoValue,
}

impl RaftRecord {
    /// The first record of every epoch.
    pub fn leader_change(leader_id: i32, voters: &VoterSet, granting: impl Iterator<Item = ReplicaKey>) -> RaftRecord {
        let voter = |id: i32| leader_change_message::Voter { voter_id: id, ..Default::default() };
        RaftRecord::LeaderChange(LeaderChangeMessage {
            version: 0,
            leader_id,
            voters: voters.iter().map(|known| voter(known.key.id)).collect(),
            granting_voters: granting.map(|key| voter(key.id)).collect(),
            ..Default::default()
        })
    }

    /// Reads a record of a control batch.
    pub fn parse(key: &[u8], value: Bytes) -> Result<RaftRecord, RaftRecordError> {
        Ok(match ControlRecordType::parse(key) {
            Some(ControlRecordType::LeaderChange) => RaftRecord::LeaderChange(Message::from_bytes(value, 0)?),
            Some(ControlRecordType::KRaftVersion) => RaftRecord::KRaftVersion(KRaftVersionRecord::from_bytes(value, 0)?.kraft_version),
            Some(ControlRecordType::KRaftVoters) => RaftRecord::Voters(VoterSet::from_record(&VotersRecord::from_bytes(value, 0)?)),
            Some(ControlRecordType::SnapshotHeader) => {
                let header = SnapshotHeaderRecord::from_bytes(value, 0)?;
                RaftRecord::SnapshotHeader { last_contained_log_timestamp_ms: header.last_contained_log_timestamp }
            }
            Some(ControlRecordType::SnapshotFooter) => RaftRecord::SnapshotFooter,
            _ => RaftRecord::Other(ControlRecordType::parse_id(key).ok_or(RaftRecordError::Incomplete)?),
        })
    }

    fn to_control_record(&self) -> Result<ControlRecord, RaftRecordError> {
        let (type_, value) = match self {
            RaftRecord::LeaderChange(message) => (ControlRecordType::LeaderChange, message.to_bytes(0)?),
            RaftRecord::KRaftVersion(version) => {
                let record = KRaftVersionRecord { version: 0, kraft_version: *version, ..Default::default() };
                (ControlRecordType::KRaftVersion, record.to_bytes(0)?)
            }
            RaftRecord::Voters(voters) => (ControlRecordType::KRaftVoters, voters.to_record().to_bytes(0)?),
            RaftRecord::SnapshotHeader { last_contained_log_timestamp_ms } => {
                let last_contained_log_timestamp = *last_contained_log_timestamp_ms;
                let record = SnapshotHeaderRecord { version: 0, last_contained_log_timestamp, ..Default::default() };
                (ControlRecordType::SnapshotHeader, record.to_bytes(0)?)
            }
            RaftRecord::SnapshotFooter => (ControlRecordType::SnapshotFooter, SnapshotFooterRecord::default().to_bytes(0)?),
            RaftRecord::Other(_) => return Err(RaftRecordError::Incomplete),
        };
        Ok(ControlRecord::new(type_, value))
    }
}

/// A control batch.
pub fn control_batch(base_offset: i64, epoch: i32, timestamp_ms: i64, records: &[RaftRecord]) -> Result<Bytes, RaftRecordError> {
    let mut builder = BatchBuilder::new(Compression::None).base_offset(base_offset).partition_leader_epoch(epoch).control(true);
    for record in records {
        builder.append_control(timestamp_ms, &record.to_control_record()?)?;
    }
    Ok(builder.finish()?)
}

/// A batch of the state machine's records.
pub fn data_batch(
    base_offset: i64,
    epoch: i32,
    timestamp_ms: i64,
    values: impl IntoIterator<Item = Bytes>,
) -> Result<Bytes, RaftRecordError> {
    let mut builder = BatchBuilder::new(Compression::None).base_offset(base_offset).partition_leader_epoch(epoch);
    for value in values {
        builder.append(timestamp_ms, None, Some(&value), &[])?;
    }
    Ok(builder.finish()?)
}

/// A batch as the reader of a log or a snapshot wants it.
#[derive(Debug, Clone, PartialEq)]
pub struct LogBatch {
    pub base_offset: i64,
    pub last_offset: i64,
    pub epoch: i32,
    pub timestamp_ms: i64,
    pub size_bytes: usize,
    pub content: BatchContent,
}

/// Control batches and data batches never mix.
#[derive(Debug, Clone, PartialEq)]
pub enum BatchContent {
    Control(Vec<RaftRecord>),
    /// The records' values.
    Data(Vec<Bytes>),
}

/// Reads whole batches one after the other, checking their CRCs.
pub fn read_batches(bytes: &Bytes) -> impl Iterator<Item = Result<LogBatch, RaftRecordError>> + '_ {
    crate::protocol::batch::Batches::new(bytes).map(move |batch| {
        let batch = batch?;
        batch.verify_crc()?;
        let header = batch.header();
        let records = batch.records_shared(bytes);
        let content = if header.is_control() {
            let mut control = Vec::new();
            for record in records {
                let record = record?;
                let (Some(key), Some(value)) = (record.key, record.value) else { return Err(RaftRecordError::Incomplete) };
                control.push(RaftRecord::parse(&key, value)?);
            }
            BatchContent::Control(control)
        } else {
            let values = records.map(|record| record?.value.ok_or(RaftRecordError::NoValue));
            BatchContent::Data(values.collect::<Result<_, _>>()?)
        };
        Ok(LogBatch {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            epoch: header.partition_leader_epoch,
            timestamp_ms: header.max_timestamp,
            size_bytes: header.size_bytes(),
            content,
        })
    })
}
