//! What control batches hold: transaction markers (KIP-98) and KRaft's own records (KIP-595, KIP-630, KIP-853).
//!
//! A control record's key is a version and a type, its value a version and a message of that type. The messages are the callers'
//! business, except the tiny end-of-transaction marker.
//!
//! Source: Kafka's `ControlRecordType`, `EndTransactionMarker`.

use bytes::{BufMut, Bytes, BytesMut};

/// The kinds of control records Kafka 4.3 knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ControlRecordType {
    Abort,
    Commit,
    LeaderChange,
    SnapshotHeader,
    SnapshotFooter,
    KRaftVersion,
    KRaftVoters,
}

impl ControlRecordType {
    pub fn id(self) -> i16 {
        match self {
            ControlRecordType::Abort => 0,
            ControlRecordType::Commit => 1,
            ControlRecordType::LeaderChange => 2,
            ControlRecordType::SnapshotHeader => 3,
            ControlRecordType::SnapshotFooter => 4,
            ControlRecordType::KRaftVersion => 5,
            ControlRecordType::KRaftVoters => 6,
        }
    }

    /// `None` for a type of a later version, which readers are to skip.
    pub fn from_id(id: i16) -> Option<ControlRecordType> {
        Some(match id {
            0 => ControlRecordType::Abort,
            1 => ControlRecordType::Commit,
            2 => ControlRecordType::LeaderChange,
            3 => ControlRecordType::SnapshotHeader,
            4 => ControlRecordType::SnapshotFooter,
            5 => ControlRecordType::KRaftVersion,
            6 => ControlRecordType::KRaftVoters,
            _ => return None,
        })
    }

    /// The type id in a control record's key, known or not; `None` when the key is too short or its version is negative. Keys of a
    /// later version begin with the same fields.
    pub fn parse_id(key: &[u8]) -> Option<i16> {
        match key {
            [v0, v1, t0, t1, ..] if i16::from_be_bytes([*v0, *v1]) >= 0 => Some(i16::from_be_bytes([*t0, *t1])),
            _ => None,
        }
    }

    /// As [`ControlRecordType::parse_id`], but `None` for unknown types too.
    pub fn parse(key: &[u8]) -> Option<ControlRecordType> {
        Self::parse_id(key).and_then(Self::from_id)
    }

    /// The key of a record of this type.
    pub fn key(self) -> Bytes {
        let mut key = BytesMut::with_capacity(4);
        key.put_i16(0);
        key.put_i16(self.id());
        key.freeze()
    }

    /// Kafka's name of the constant, as its tools print it.
    pub fn name(self) -> &'static str {
        match self {
            ControlRecordType::Abort => "ABORT",
            ControlRecordType::Commit => "COMMIT",
            ControlRecordType::LeaderChange => "LEADER_CHANGE",
            ControlRecordType::SnapshotHeader => "SNAPSHOT_HEADER",
            ControlRecordType::SnapshotFooter => "SNAPSHOT_FOOTER",
            ControlRecordType::KRaftVersion => "KRAFT_VERSION",
            ControlRecordType::KRaftVoters => "KRAFT_VOTERS",
        }
    }
}

/// A control record's key and value, ready for a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlRecord {
    pub key: Bytes,
    pub value: Bytes,
}

impl ControlRecord {
    /// A record of `control_type`; `value` is the whole value. In KRaft's records that is the message alone or behind its version,
    /// as their writers have it.
    pub fn new(control_type: ControlRecordType, value: Bytes) -> ControlRecord {
        ControlRecord { key: control_type.key(), value }
    }

    /// The marker that ends a transaction in one partition.
    pub fn end_transaction(committed: bool, coordinator_epoch: i32) -> ControlRecord {
        let mut value = BytesMut::with_capacity(6);
        value.put_i16(0);
        value.put_i32(coordinator_epoch);
        let control_type = if committed { ControlRecordType::Commit } else { ControlRecordType::Abort };
        ControlRecord::new(control_type, value.freeze())
    }

    /// The coordinator epoch in an end-of-transaction marker's value; `None` when it is too short or its version is negative.
    pub fn coordinator_epoch(value: &[u8]) -> Option<i32> {
        match value {
            [v0, v1, e0, e1, e2, e3, ..] if i16::from_be_bytes([*v0, *v1]) >= 0 => Some(i32::from_be_bytes([*e0, *e1, *e2, *e3])),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_found_again_by_its_key() {
        for id in 0..7 {
            let control_type = ControlRecordType::from_id(id).unwrap();
            assert_eq!(control_type.id(), id);
            assert_eq!(ControlRecordType::parse(&control_type.key()), Some(control_type));
        }
        assert_eq!(ControlRecordType::from_id(7), None);
        assert_eq!(ControlRecordType::parse_id(&[0, 0, 0, 7]), Some(7));
        assert_eq!(ControlRecordType::parse_id(&[0xff, 0xff, 0, 0]), None);
        assert_eq!(ControlRecordType::parse_id(&[0, 0, 0]), None);
    }

    #[test]
    fn a_marker_carries_its_coordinator_epoch() {
        let marker = ControlRecord::end_transaction(false, 77);
        assert_eq!(marker.key, Bytes::from_static(&[0, 0, 0, 0]));
        assert_eq!(ControlRecord::coordinator_epoch(&marker.value), Some(77));
        assert_eq!(ControlRecord::coordinator_epoch(&[0, 0, 0]), None);
    }
}
