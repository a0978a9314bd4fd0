//! Snapshots: all that a prefix of the log says, in one file (KIP-630).
//!
//! Invariant: a snapshot ends where a batch ends, at or below the high watermark, outside of every metadata transaction.
//! Sources: Kafka's `RecordsSnapshotWriter`, `Snapshots`, `SnapshotGenerator`, `KafkaMetadataLog` for cleaning.

use bytes::Bytes;

use super::control::{BatchContent, RaftRecord, RaftRecordError, control_batch, data_batch, read_batches};
use super::voters::VoterSet;

/// Which prefix of the log a snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId {
    /// The first offset that is not in it.
    pub end_offset: i64,
    /// The epoch of the last record in it.
    pub epoch: i32,
}

impl SnapshotId {
    /// The name of the snapshot's file.
    pub fn file_name(self) -> String {
        format!("{:020}-{:010}.checkpoint", self.end_offset, self.epoch)
    }

    /// The snapshot whose file has this name.
    pub fn from_file_name(name: &str) -> Option<SnapshotId> {
        let (offset, epoch) = name.strip_suffix(".checkpoint")?.split_once('-')?;
        if offset.len() != 20 || epoch.len() != 10 || !offset.bytes().chain(epoch.bytes()).all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(SnapshotId { end_offset: offset.parse().ok()?, epoch: epoch.parse().ok()? })
    }
}

/// A batch in a snapshot is cut at about this size.
const BATCH_BYTES: usize = 1 << 20;
/// And at this many records.
const BATCH_RECORDS: usize = 10_000;

/// What a snapshot holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// The time of the last batch in the log that the snapshot covers, in milliseconds.
    pub last_contained_log_timestamp_ms: i64,
    pub kraft_version: i16,
    /// `None` under kraft.version 0.
    pub voters: Option<VoterSet>,
    /// The state machine's records.
    pub values: Vec<Bytes>,
}

/// Why a snapshot cannot be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SnapshotError {
    #[error(transparent)]
    Record(#[from] RaftRecordError),
    #[error("the snapshot has no header")]
    NoHeader,
    #[error("the snapshot has no footer: it is incomplete")]
    NoFooter,
}

impl Snapshot {
    /// The file's content. Batches are numbered from 0 and carry the snapshot's epoch.
    pub fn to_bytes(&self, epoch: i32, now_ms: i64) -> Result<Vec<u8>, RaftRecordError> {
        let mut header = vec![RaftRecord::SnapshotHeader { last_contained_log_timestamp_ms: self.last_contained_log_timestamp_ms }];
        if let (Some(voters), true) = (&self.voters, self.kraft_version > 0) {
            header.push(RaftRecord::KRaftVersion(self.kraft_version));
            header.push(RaftRecord::Voters(voters.clone()));
        }
        let mut offset = header.len() as i64;
        let mut bytes = control_batch(0, epoch, now_ms, &header)?.to_vec();
        let mut rest = self.values.as_slice();
        while !rest.is_empty() {
            let mut size = 0;
            let fits = rest.iter().take(BATCH_RECORDS).take_while(|value| {
                let first = size == 0;
                size += value.len() + 16;
                first || size <= BATCH_BYTES
            });
            let (batch, later) = rest.split_at(fits.count());
            bytes.extend_from_slice(&data_batch(offset, epoch, now_ms, batch.iter().cloned())?);
            offset += batch.len() as i64;
            rest = later;
        }
        bytes.extend_from_slice(&control_batch(offset, epoch, now_ms, &[RaftRecord::SnapshotFooter])?);
        Ok(bytes)
    }

    /// Reads a whole file.
    pub fn parse(bytes: &Bytes) -> Result<Snapshot, SnapshotError> {
        let mut snapshot = Snapshot::default();
        let (mut has_header, mut has_footer) = (false, false);
        for batch in read_batches(bytes) {
            match batch?.content {
                BatchContent::Data(values) => snapshot.values.extend(values),
                BatchContent::Control(records) => {
                    for record in records {
                        match record {
                            RaftRecord::SnapshotHeader { last_contained_log_timestamp_ms } => {
                                has_header = true;
                                snapshot.last_contained_log_timestamp_ms = last_contained_log_timestamp_ms;
                            }
                            RaftRecord::KRaftVersion(version) => snapshot.kraft_version = version,
                            RaftRecord::Voters(voters) => snapshot.voters = Some(voters),
                            RaftRecord::SnapshotFooter => has_footer = true,
                            RaftRecord::LeaderChange(_) | RaftRecord::Other(_) => {}
                        }
                    }
                }
            }
        }
        match (has_header, has_footer) {
            (true, true) => Ok(snapshot),
            (true, false) => Err(SnapshotError::NoFooter),
            (false, _) => Err(SnapshotError::NoHeader),
        }
    }
}

/// When to take snapshots and which to keep.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotPolicy {
    /// `metadata.log.max.record.bytes.between.snapshots`.
    pub max_new_record_bytes: u64,
    /// `metadata.log.max.snapshot.interval.ms`; 0 for never.
    pub max_interval_ms: u64,
    /// `metadata.max.retention.bytes`, of the log and its snapshots; negative for no limit.
    pub retention_bytes: i64,
    /// `metadata.max.retention.ms`, of a snapshot; negative for no limit.
    pub retention_ms: i64,
}

impl Default for SnapshotPolicy {
    fn default() -> SnapshotPolicy {
        SnapshotPolicy {
            max_new_record_bytes: 20 << 20,
            max_interval_ms: 60 * 60 * 1000,
            retention_bytes: 100 << 20,
            retention_ms: 7 * 24 * 60 * 60 * 1000,
        }
    }
}

/// A snapshot that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredSnapshot {
    pub id: SnapshotId,
    pub size_bytes: u64,
    /// The time of the last record in it, in milliseconds.
    pub last_timestamp_ms: i64,
}

impl SnapshotPolicy {
    /// Is it time for a snapshot, with so many bytes appended, and so much time passed, since the last one?
    pub fn is_due(&self, new_bytes: u64, since_last_ms: u64) -> bool {
        new_bytes > 0 && (new_bytes >= self.max_new_record_bytes || (self.max_interval_ms > 0 && since_last_ms >= self.max_interval_ms))
    }

    /// Is the oldest of the snapshots (oldest first) to be deleted? Never the only one.
    pub fn is_surplus(&self, snapshots: &[StoredSnapshot], log_bytes: u64, now_ms: i64) -> bool {
        let [oldest, _, ..] = snapshots else { return false };
        let total = log_bytes + snapshots.iter().map(|snapshot| snapshot.size_bytes).sum::<u64>();
        let too_large = self.retention_bytes >= 0 && total > self.retention_bytes as u64;
        too_large || self.retention_ms >= 0 && now_ms.saturating_sub(oldest.last_timestamp_ms) > self.retention_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::voters::{ReplicaKey, Voter, VoterEndpoint};

    fn bytes(hex: &str) -> Bytes {
        (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex")).collect()
    }

    /// The `00000000000000000000-0000000000.checkpoint` of a formatted Apache Kafka 4.1.1 node: header and footer batch.
    const GOLDEN: &str = "00000000000000000000009a0000000002f6f241f8002000000002000001a205ab7914000001a205ab7914ffffffffffffffffffffffff\
                          ffff000000032a0000000800000003160000000001a205ab790800001e00000208000000050a000000010000820100000408000000066e\
                          00000200000001020e9e9ef12b431e9bc225c73c1c4895020b434f4e54524f4c4c45520a6c6f63616c686f73744a950000000001000000\
                          0000000000000000030000003f0000000002da2ffd1b002000000000000001a205ab791a000001a205ab791affffffffffffffffffffff\
                          ffffff000000011a00000008000000040600000000";

    fn golden_voters() -> VoterSet {
        let directory_id = "Ag6enxK0Mem8InHHPBxIlQ".parse().expect("a UUID");
        VoterSet::new([Voter {
            key: ReplicaKey { id: 1, directory_id },
            endpoints: vec![VoterEndpoint { name: "CONTROLLER".to_owned(), host: "localhost".to_owned(), port: 19093 }],
            kraft_versions: (0, 1),
        }])
    }

    #[test]
    fn kafkas_first_snapshot_is_read() {
        let snapshot = Snapshot::parse(&bytes(GOLDEN)).expect("parsed");
        assert_eq!(snapshot.kraft_version, 1);
        let voters = snapshot.voters.expect("voters");
        let voter = voters.get(1).expect("voter 1");
        assert_eq!(voter.endpoints, golden_voters().get(1).expect("voter 1").endpoints);
        assert_eq!(voter.key.directory_id.0, <[u8; 16]>::try_from(&bytes("020e9e9ef12b431e9bc225c73c1c4895")[..]).expect("16 bytes"));
    }

    #[test]
    fn what_is_written_is_kafkas_bytes() {
        let golden = Snapshot::parse(&bytes(GOLDEN)).expect("parsed");
        let written = golden.to_bytes(0, 0x01a2_05ab_7914).expect("written");
        // The footer was written 6 ms later; up to it all bytes agree.
        assert_eq!(written[..166], bytes(GOLDEN)[..166]);
        assert_eq!(written.len(), bytes(GOLDEN).len());
    }

    #[test]
    fn many_records_round_trip_in_several_batches() {
        let values: Vec<Bytes> = (0..25_000u32).map(|i| Bytes::copy_from_slice(&i.to_be_bytes())).collect();
        let snapshot = Snapshot { last_contained_log_timestamp_ms: 5, kraft_version: 1, voters: Some(golden_voters()), values };
        let written = Bytes::from(snapshot.to_bytes(3, 9).expect("written"));
        assert_eq!(read_batches(&written).count(), 5);
        assert_eq!(Snapshot::parse(&written).expect("parsed"), snapshot);
        let cut = written.slice(..written.len() - 75);
        assert!(matches!(Snapshot::parse(&cut), Err(SnapshotError::NoFooter)));
    }

    #[test]
    fn file_names_round_trip() {
        let id = SnapshotId { end_offset: 42, epoch: 7 };
        assert_eq!(id.file_name(), "00000000000000000042-0000000007.checkpoint");
        assert_eq!(SnapshotId::from_file_name(&id.file_name()), Some(id));
        assert_eq!(SnapshotId::from_file_name("42-7.checkpoint"), None);
        assert_eq!(SnapshotId::from_file_name("bootstrap.checkpoint"), None);
    }

    #[test]
    fn old_and_large_snapshots_go_but_the_newest_stays() {
        let stored = |end_offset, last_timestamp_ms| StoredSnapshot {
            id: SnapshotId { end_offset, epoch: 1 },
            size_bytes: 60 << 20,
            last_timestamp_ms,
        };
        let policy = SnapshotPolicy::default();
        let day = 24 * 60 * 60 * 1000;
        let snapshots = [stored(1, 0), stored(2, 8 * day), stored(3, 8 * day)];
        assert!(policy.is_surplus(&snapshots, 0, 8 * day), "large and old");
        assert!(policy.is_surplus(&snapshots[1..], 0, 8 * day), "large");
        assert!(!policy.is_surplus(&snapshots[2..], 1 << 40, 100 * day), "the newest");
        let small = SnapshotPolicy { retention_bytes: 60 << 21, ..policy };
        assert!(small.is_surplus(&snapshots[1..], 1, 8 * day) && !small.is_surplus(&snapshots[1..], 0, 8 * day), "with the log");
        assert!(policy.is_due(20 << 20, 0) && policy.is_due(1, 3_600_000) && !policy.is_due(0, 3_600_000) && !policy.is_due(1, 0));
    }
}
