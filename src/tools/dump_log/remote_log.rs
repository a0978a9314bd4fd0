//! The records of `__remote_log_metadata` as text. Sources: `RemoteLogMetadataSerde` and the `toString` of its classes, KIP-405.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::common::uuid::Uuid;
use crate::protocol::codec::{DecodeError, Message, Reader};
use crate::protocol::messages::*;

/// A record's value as Kafka's tool prints it, or why it cannot be read.
pub(super) fn text(value: Bytes) -> Result<String, String> {
    let mut reader = Reader::new(value);
    let malformed = |error: DecodeError| error.to_string();
    let frame = reader.uvarint().map_err(malformed)?;
    if frame != 1 {
        return Err(format!(
            "Could not deserialize metadata record due to unknown frame version {frame}(only frame version 1 is supported)"
        ));
    }
    let number = reader.uvarint().map_err(malformed)?;
    let version = i16::try_from(reader.uvarint().map_err(malformed)?).unwrap_or(i16::MAX);
    let body = reader.into_rest();
    match number {
        0 => segment(&read(number, body, version)?),
        1 => update(&read(number, body, version)?),
        2 => deletion(&read(number, body, version)?),
        3 => snapshot(&read(number, body, version)?),
        _ => Err(format!("Unknown metadata id {number}")),
    }
}

fn read<M: Message>(number: u32, body: Bytes, version: i16) -> Result<M, String> {
    M::from_bytes(body, version).map_err(|error| format!("Failed to deserialize record with type {number}: {error}"))
}

fn segment(record: &RemoteLogSegmentMetadataRecord) -> Result<String, String> {
    let id = &record.remote_log_segment_id;
    let partition = &id.topic_id_partition;
    let epochs = epochs(record.segment_leader_epochs.iter().map(|entry| (entry.leader_epoch, entry.offset)));
    Ok(format!(
        "RemoteLogSegmentMetadata{{remoteLogSegmentId={}, startOffset={}, endOffset={}, brokerId={}, maxTimestampMs={}, \
         eventTimestampMs={}, segmentLeaderEpochs={epochs}, segmentSizeInBytes={}, customMetadata={}, state={}, txnIdxEmpty={}}}",
        segment_id(partition.id, &partition.name, partition.partition, id.id),
        record.start_offset,
        record.end_offset,
        record.broker_id,
        record.max_timestamp_ms,
        record.event_timestamp_ms,
        record.segment_size_in_bytes,
        custom(record.custom_metadata.as_ref()),
        segment_state(record.remote_log_segment_state)?,
        record.txn_index_empty,
    ))
}

fn update(record: &RemoteLogSegmentMetadataUpdateRecord) -> Result<String, String> {
    let id = &record.remote_log_segment_id;
    let partition = &id.topic_id_partition;
    Ok(format!(
        "RemoteLogSegmentMetadataUpdate{{remoteLogSegmentId={}, customMetadata={}, state={}, eventTimestampMs={}, brokerId={}}}",
        segment_id(partition.id, &partition.name, partition.partition, id.id),
        custom(record.custom_metadata.as_ref()),
        segment_state(record.remote_log_segment_state)?,
        record.event_timestamp_ms,
        record.broker_id,
    ))
}

fn deletion(record: &RemotePartitionDeleteMetadataRecord) -> Result<String, String> {
    let partition = &record.topic_id_partition;
    let state = match record.remote_partition_delete_state {
        0 => "DELETE_PARTITION_MARKED",
        1 => "DELETE_PARTITION_STARTED",
        2 => "DELETE_PARTITION_FINISHED",
        other => return Err(format!("unknown state {other} of a deletion")),
    };
    Ok(format!(
        "RemotePartitionDeleteMetadata{{topicPartition={}:{}-{}, state={state}, eventTimestampMs={}, brokerId={}}}",
        partition.id, partition.name, partition.partition, record.event_timestamp_ms, record.broker_id,
    ))
}

fn snapshot(record: &RemoteLogSegmentMetadataSnapshotRecord) -> Result<String, String> {
    let epochs = epochs(record.segment_leader_epochs.iter().map(|entry| (entry.leader_epoch, entry.offset)));
    Ok(format!(
        "RemoteLogSegmentMetadataSnapshot{{segmentId={}, startOffset={}, endOffset={}, maxTimestampMs={}, segmentLeaderEpochs={epochs}, \
         segmentSizeInBytes={}, customMetadata={}, state={}, txnIdxEmpty={}}}",
        record.segment_id,
        record.start_offset,
        record.end_offset,
        record.max_timestamp_ms,
        record.segment_size_in_bytes,
        custom(record.custom_metadata.as_ref()),
        segment_state(record.remote_log_segment_state)?,
        record.txn_index_empty,
    ))
}

fn segment_id(topic_id: Uuid, topic: &str, partition: i32, id: Uuid) -> String {
    format!("RemoteLogSegmentId{{topicIdPartition={topic_id}:{topic}-{partition}, id={id}}}")
}

fn custom(metadata: Option<&Bytes>) -> String {
    metadata.map_or_else(|| "Optional.empty".to_owned(), |bytes| format!("Optional[CustomMetadata{{{} bytes}}]", bytes.len()))
}

fn segment_state(number: i8) -> Result<&'static str, String> {
    const STATES: [&str; 4] = ["COPY_SEGMENT_STARTED", "COPY_SEGMENT_FINISHED", "DELETE_SEGMENT_STARTED", "DELETE_SEGMENT_FINISHED"];
    let state = usize::try_from(number).ok().and_then(|number| STATES.get(number)).copied();
    state.ok_or_else(|| format!("unknown state {number} of a segment"))
}

/// By epoch, as a Java map.
fn epochs(entries: impl Iterator<Item = (i32, i64)>) -> String {
    let sorted: BTreeMap<i32, i64> = entries.collect();
    let entries: Vec<String> = sorted.iter().map(|(epoch, offset)| format!("{epoch}={offset}")).collect();
    format!("{{{}}}", entries.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_that_kafka_wrote_are_shown_in_its_words() {
        // As `RemoteLogMetadataSerde` of Kafka 4.3.0 writes and shows it.
        let record = RemotePartitionDeleteMetadataRecord {
            topic_id_partition: remote_partition_delete_metadata_record::TopicIdPartitionEntry {
                name: "t".into(),
                id: Uuid::from_u128(1),
                partition: 3,
                ..Default::default()
            },
            broker_id: 1,
            event_timestamp_ms: 5,
            remote_partition_delete_state: 1,
            ..Default::default()
        };
        let value = |number: u8, body: Bytes| Bytes::from([&[1, number, 0][..], &body].concat());
        assert_eq!(
            text(value(2, record.to_bytes(0).expect("encodes"))),
            Ok("RemotePartitionDeleteMetadata{topicPartition=AAAAAAAAAAAAAAAAAAAAAQ:t-3, state=DELETE_PARTITION_STARTED, \
                eventTimestampMs=5, brokerId=1}"
                .to_owned())
        );
        assert_eq!(text(Bytes::from_static(&[1, 9, 0])), Err("Unknown metadata id 9".to_owned()));
        assert!(text(Bytes::from_static(&[2, 0, 0])).is_err_and(|reason| reason.contains("unknown frame version 2")));
    }
}
