//! The records of `__share_group_state` and their bytes: a key of the record type and the key's fields, a value of the version and the
//! value's fields, or no value, which is a tombstone. Source: `ShareCoordinatorRecordHelpers`, `ShareCoordinatorRecordSerde`.

use bytes::Bytes;

use super::{ShareGroupOffset, SharePartitionKey};
use crate::protocol::codec::{DecodeError, EncodeError, Message, Reader, Writer};
use crate::protocol::messages::{ShareSnapshotKey, ShareSnapshotValue, ShareUpdateKey, ShareUpdateValue};

const SHARE_SNAPSHOT: i16 = 0;
const SHARE_UPDATE: i16 = 1;

/// One record of a share partition's state.
#[derive(Clone, Debug, PartialEq)]
pub enum ShareRecord {
    /// The whole state; without a value the partition is forgotten.
    Snapshot(SharePartitionKey, Option<ShareGroupOffset>),
    /// What changed since the snapshot of the same epoch. Of [`ShareGroupOffset`] the state epoch and the timestamps are not written.
    Update(SharePartitionKey, ShareGroupOffset),
}

impl ShareRecord {
    /// The record's key and value as they stand in the log.
    pub fn encode(&self) -> Result<(Bytes, Option<Bytes>), EncodeError> {
        match self {
            ShareRecord::Snapshot(key, state) => {
                let value = state.as_ref().map(|state| prefixed(0, &snapshot_value(state))).transpose()?;
                let SharePartitionKey { group_id, topic_id, partition } = key.clone();
                Ok((prefixed(SHARE_SNAPSHOT, &ShareSnapshotKey { group_id, topic_id, partition, ..Default::default() })?, value))
            }
            ShareRecord::Update(key, state) => {
                let SharePartitionKey { group_id, topic_id, partition } = key.clone();
                let key = prefixed(SHARE_UPDATE, &ShareUpdateKey { group_id, topic_id, partition, ..Default::default() })?;
                Ok((key, Some(prefixed(0, &update_value(state))?)))
            }
        }
    }

    /// Reads a record of the log; `None` for types that are not known here, which later versions of Kafka may write.
    pub fn decode(key: Bytes, value: Option<Bytes>) -> Result<Option<ShareRecord>, DecodeError> {
        let mut key = Reader::new(key);
        Ok(match key.i16()? {
            SHARE_SNAPSHOT => {
                let ShareSnapshotKey { group_id, topic_id, partition, .. } = ShareSnapshotKey::decode(&mut key, 0)?;
                let value = value.map(versioned::<ShareSnapshotValue>).transpose()?.map(from_snapshot);
                Some(ShareRecord::Snapshot(SharePartitionKey { group_id, topic_id, partition }, value))
            }
            SHARE_UPDATE => {
                let ShareUpdateKey { group_id, topic_id, partition, .. } = ShareUpdateKey::decode(&mut key, 0)?;
                // Tombstones are snapshots without a value; an update is never without one.
                let Some(value) = value.map(versioned::<ShareUpdateValue>).transpose()? else { return Ok(None) };
                Some(ShareRecord::Update(SharePartitionKey { group_id, topic_id, partition }, from_update(value)))
            }
            _ => None,
        })
    }
}

fn prefixed<M: Message>(prefix: i16, message: &M) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    writer.i16(prefix);
    message.encode(&mut writer, 0)?;
    Ok(writer.into_bytes())
}

fn versioned<M: Message>(bytes: Bytes) -> Result<M, DecodeError> {
    let mut reader = Reader::new(bytes);
    let version = reader.i16()?;
    M::decode(&mut reader, version)
}

fn snapshot_value(state: &ShareGroupOffset) -> ShareSnapshotValue {
    ShareSnapshotValue {
        snapshot_epoch: state.snapshot_epoch,
        state_epoch: state.state_epoch,
        leader_epoch: state.leader_epoch,
        start_offset: state.start_offset,
        delivery_complete_count: state.delivery_complete_count,
        create_timestamp: state.create_timestamp,
        write_timestamp: state.write_timestamp,
        state_batches: state.state_batches.iter().map(Into::into).collect(),
        ..Default::default()
    }
}

fn update_value(state: &ShareGroupOffset) -> ShareUpdateValue {
    ShareUpdateValue {
        snapshot_epoch: state.snapshot_epoch,
        leader_epoch: state.leader_epoch,
        start_offset: state.start_offset,
        delivery_complete_count: state.delivery_complete_count,
        state_batches: state.state_batches.iter().map(Into::into).collect(),
        ..Default::default()
    }
}

fn from_snapshot(value: ShareSnapshotValue) -> ShareGroupOffset {
    ShareGroupOffset {
        snapshot_epoch: value.snapshot_epoch,
        state_epoch: value.state_epoch,
        leader_epoch: value.leader_epoch,
        start_offset: value.start_offset,
        delivery_complete_count: value.delivery_complete_count,
        state_batches: value.state_batches.iter().map(Into::into).collect(),
        create_timestamp: value.create_timestamp,
        write_timestamp: value.write_timestamp,
    }
}

fn from_update(value: ShareUpdateValue) -> ShareGroupOffset {
    ShareGroupOffset {
        snapshot_epoch: value.snapshot_epoch,
        state_epoch: 0,
        leader_epoch: value.leader_epoch,
        start_offset: value.start_offset,
        delivery_complete_count: value.delivery_complete_count,
        state_batches: value.state_batches.iter().map(Into::into).collect(),
        create_timestamp: 0,
        write_timestamp: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::batches::StateBatch;
    use super::*;
    use crate::common::uuid::Uuid;

    fn hex(bytes: &Bytes) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn records_have_kafkas_bytes_and_are_read_back() {
        let key = SharePartitionKey { group_id: "g".to_owned(), topic_id: Uuid::from_u128(1), partition: 2 };
        let state = ShareGroupOffset {
            snapshot_epoch: 1,
            state_epoch: 2,
            leader_epoch: 3,
            start_offset: 4,
            delivery_complete_count: 5,
            state_batches: vec![StateBatch { first_offset: 6, last_offset: 7, delivery_state: 2, delivery_count: 8 }],
            create_timestamp: 9,
            write_timestamp: 10,
        };
        let snapshot = ShareRecord::Snapshot(key.clone(), Some(state.clone()));
        let (key_bytes, value) = snapshot.encode().expect("encoded");
        assert_eq!(hex(&key_bytes), "0000000167000000000000000000000000000000010000 0002".replace(' ', ""));
        let value_hex = "0000000000010000000200000003000000000000000400000000000000090000 00000000000a02\
                         000000000000000600000000000000070200080001000400000005"
            .replace(' ', "");
        assert_eq!(hex(value.as_ref().expect("a value")), value_hex);
        assert_eq!(ShareRecord::decode(key_bytes.clone(), value).expect("decoded"), Some(snapshot));
        let tombstone = ShareRecord::Snapshot(key.clone(), None);
        assert_eq!(ShareRecord::decode(key_bytes, None).expect("decoded"), Some(tombstone));

        let state = ShareGroupOffset { state_epoch: 0, create_timestamp: 0, write_timestamp: 0, ..state };
        let update = ShareRecord::Update(key, state);
        let (key_bytes, value) = update.encode().expect("encoded");
        assert_eq!(ShareRecord::decode(key_bytes, value).expect("decoded"), Some(update));
    }

    #[test]
    fn unknown_types_and_damaged_records_do_no_harm() {
        assert_eq!(ShareRecord::decode(Bytes::from_static(&[0, 9, 1]), None).expect("skipped"), None);
        assert!(ShareRecord::decode(Bytes::from_static(&[0]), None).is_err());
        assert!(ShareRecord::decode(Bytes::from_static(&[0, 0, 0, 5]), None).is_err());
    }
}
