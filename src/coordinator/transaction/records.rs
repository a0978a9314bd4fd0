//! The records of `__transaction_state` and their bytes: the transactional id, and what the coordinator knows of it, or nothing, which is
//! a tombstone. Source: `TransactionLog`.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::metadata::{NO_PRODUCER_EPOCH, TransactionMetadata, TransactionState};
use crate::common::topic_partition::TopicPartition;
use crate::protocol::codec::{DecodeError, EncodeError, Message, Reader, Writer};
use crate::protocol::messages::transaction_log_value::PartitionsSchema;
use crate::protocol::messages::{TransactionLogKey, TransactionLogValue};

const TRANSACTION_LOG: i16 = 0;

/// One record of the transaction log.
#[derive(Clone, Debug, PartialEq)]
pub struct TransactionRecord {
    pub transactional_id: String,
    pub metadata: Option<TransactionMetadata>,
    /// Of the value: 1, with tagged fields, from transaction.version 1 on; before, 0.
    pub value_version: i16,
}

impl TransactionRecord {
    /// The record's key and value as they stand in the log.
    pub fn encode(&self) -> Result<(Bytes, Option<Bytes>), EncodeError> {
        let key = TransactionLogKey { transactional_id: self.transactional_id.clone(), ..TransactionLogKey::default() };
        let value = self.metadata.as_ref().map(|metadata| {
            let mut value = to_value(metadata);
            if self.value_version == 0 {
                // What this version has no place for.
                value.previous_producer_id = TransactionLogValue::default().previous_producer_id;
                value.next_producer_id = TransactionLogValue::default().next_producer_id;
                value.client_transaction_version = 0;
            }
            prefixed(self.value_version, &value, self.value_version)
        });
        Ok((prefixed(TRANSACTION_LOG, &key, 0)?, value.transpose()?))
    }

    /// Reads a record of the log; `None` for types and versions this coordinator does not know, which a later Kafka may have written.
    pub fn decode(key: Bytes, value: Option<Bytes>) -> Result<Option<TransactionRecord>, DecodeError> {
        let mut key = Reader::new(key);
        if key.i16()? != TRANSACTION_LOG {
            return Ok(None);
        }
        let transactional_id = TransactionLogKey::decode(&mut key, 0)?.transactional_id;
        let Some(value) = value else { return Ok(Some(TransactionRecord { transactional_id, metadata: None, value_version: 0 })) };
        let mut value = Reader::new(value);
        let value_version = value.i16()?;
        if !TransactionLogValue::VERSIONS.contains(value_version) {
            return Ok(None);
        }
        let metadata = from_value(TransactionLogValue::decode(&mut value, value_version)?);
        Ok(metadata.map(|metadata| TransactionRecord { transactional_id, metadata: Some(metadata), value_version }))
    }
}

fn prefixed<M: Message>(prefix: i16, message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    writer.i16(prefix);
    message.encode(&mut writer, version)?;
    Ok(writer.into_bytes())
}

fn to_value(metadata: &TransactionMetadata) -> TransactionLogValue {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in &metadata.partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition);
    }
    let topics = topics.into_iter().map(|(topic, partition_ids)| PartitionsSchema {
        topic: topic.to_owned(),
        partition_ids,
        ..PartitionsSchema::default()
    });
    TransactionLogValue {
        producer_id: metadata.producer_id,
        previous_producer_id: metadata.previous_producer_id,
        next_producer_id: metadata.next_producer_id,
        producer_epoch: metadata.producer_epoch,
        transaction_timeout_ms: metadata.timeout_ms,
        transaction_status: metadata.state.id(),
        transaction_partitions: (metadata.state != TransactionState::Empty).then(|| topics.collect()),
        transaction_last_update_timestamp_ms: metadata.last_update_timestamp_ms,
        transaction_start_timestamp_ms: metadata.start_timestamp_ms,
        client_transaction_version: metadata.client_transaction_version,
        ..TransactionLogValue::default()
    }
}

/// `None` for a state of which no record should tell.
fn from_value(value: TransactionLogValue) -> Option<TransactionMetadata> {
    let state = TransactionState::from_id(value.transaction_status)?;
    let topics = value.transaction_partitions.into_iter().flatten();
    let partitions = topics.flat_map(|topic| {
        let PartitionsSchema { topic, partition_ids, .. } = topic;
        partition_ids.into_iter().map(move |partition| TopicPartition::new(topic.clone(), partition))
    });
    Some(TransactionMetadata {
        producer_id: value.producer_id,
        previous_producer_id: value.previous_producer_id,
        next_producer_id: value.next_producer_id,
        producer_epoch: value.producer_epoch,
        last_producer_epoch: NO_PRODUCER_EPOCH,
        timeout_ms: value.transaction_timeout_ms,
        state,
        partitions: if state == TransactionState::Empty { Default::default() } else { partitions.collect() },
        start_timestamp_ms: value.transaction_start_timestamp_ms,
        last_update_timestamp_ms: value.transaction_last_update_timestamp_ms,
        client_transaction_version: value.client_transaction_version,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ongoing() -> TransactionMetadata {
        TransactionMetadata {
            producer_epoch: 3,
            previous_producer_id: 7,
            state: TransactionState::Ongoing,
            partitions: [TopicPartition::new("b", 0), TopicPartition::new("a", 2), TopicPartition::new("a", 1)].into(),
            start_timestamp_ms: 1000,
            last_update_timestamp_ms: 1001,
            client_transaction_version: 2,
            ..TransactionMetadata::new(7, 60_000, 0)
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_record_has_kafkas_bytes() {
        let record = TransactionRecord { transactional_id: "id".to_owned(), metadata: Some(ongoing()), value_version: 1 };
        let (key, value) = record.encode().expect("encodable");
        assert_eq!(hex(&key), "000000026964");
        assert_eq!(
            hex(&value.expect("a value")),
            "00010000000000000007\
             0003\
             0000ea60\
             01\
             03\
             0261030000000100000002\
             00\
             02620200000000\
             00\
             00000000000003e9\
             00000000000003e8\
             02\
             00080000000000000007\
             02020002"
        );
    }

    #[test]
    fn what_is_written_is_read_again_but_for_the_last_epoch() {
        let mut metadata = ongoing();
        for (state, value_version) in [(TransactionState::Ongoing, 1), (TransactionState::PrepareAbort, 1), (TransactionState::Ongoing, 0)]
        {
            metadata.state = state;
            let record = TransactionRecord { transactional_id: "id".to_owned(), metadata: Some(metadata.clone()), value_version };
            let (key, value) = record.encode().expect("encodable");
            let mut expected = record.clone();
            if let (0, Some(metadata)) = (value_version, &mut expected.metadata) {
                metadata.previous_producer_id = -1;
                metadata.client_transaction_version = 0;
            }
            assert_eq!(TransactionRecord::decode(key, value).expect("decodable"), Some(expected));
        }
        let (key, _) =
            TransactionRecord { transactional_id: "id".to_owned(), metadata: None, value_version: 0 }.encode().expect("encodable");
        assert!(TransactionRecord::decode(key, None).expect("decodable").is_some_and(|record| record.metadata.is_none()));
    }

    #[test]
    fn records_of_a_later_kafka_are_passed_over() {
        let key = Bytes::from_static(&[0, 1, 0, 2, b'i', b'd']);
        assert_eq!(TransactionRecord::decode(key, None).expect("decodable"), None);
        let key = Bytes::from_static(&[0, 0, 0, 2, b'i', b'd']);
        assert_eq!(TransactionRecord::decode(key.clone(), Some(Bytes::from_static(&[0, 2, 1, 1]))).expect("decodable"), None);
        assert!(TransactionRecord::decode(key, Some(Bytes::from_static(&[0, 1, 1]))).is_err());
    }
}
