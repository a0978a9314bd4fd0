//! A metadata log and a snapshot that Apache Kafka 4.3 wrote (tests/golden/metadata/): one node; topics with configs created, grown
//! and deleted, a client quota, a SCRAM credential, a cluster-wide broker config, a clean restart.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::metadata::image::*;
use crate::metadata::loader::{CommittedBatch, Loader};
use crate::metadata::record::{MetadataRecord, VersionedRecord};
use crate::metadata::snapshot;
use crate::raft::control::{BatchContent, data_batch, read_batches};
use crate::raft::snapshot::Snapshot;

const LOG: &[u8] = include_bytes!("../../../tests/golden/metadata/kafka-4.3.log");
const SNAPSHOT: &[u8] = include_bytes!("../../../tests/golden/metadata/00000000000000000369-0000000002.checkpoint");
const SNAPSHOT_END: i64 = 369;

/// The image after all records below `end_offset`.
fn replay(end_offset: i64) -> Arc<MetadataImage> {
    let mut loader = Loader::new(Arc::default());
    for batch in read_batches(&Bytes::from_static(LOG)) {
        let batch = batch.expect("a whole batch");
        if batch.base_offset >= end_offset {
            break;
        }
        if let BatchContent::Data(values) = batch.content {
            let records: Vec<_> = values.into_iter().map(|value| MetadataRecord::from_value(value).expect("a record").0).collect();
            let batch =
                CommittedBatch { base_offset: batch.base_offset, epoch: batch.epoch, timestamp_ms: batch.timestamp_ms, records: &records };
            loader.load(&batch).expect("replayed");
        }
    }
    loader.take().expect("something was loaded").1
}

/// A record with its lists in a fixed order, since Kafka writes what comes out of hash tables as it comes.
fn canonical(record: &MetadataRecord) -> String {
    let mut record = record.clone();
    if let MetadataRecord::RegisterBroker(registration) = &mut record {
        registration.features.sort_by(|a, b| a.name.cmp(&b.name));
    }
    if let MetadataRecord::RegisterController(registration) = &mut record {
        registration.features.sort_by(|a, b| a.name.cmp(&b.name));
    }
    format!("{record:?}")
}

#[test]
fn kafkas_log_gives_the_image() {
    let image = replay(i64::MAX);
    assert_eq!(image.features.metadata_version, Some(30));
    let levels: Vec<_> = image.features.finalized.iter().map(|(name, &level)| (name.as_str(), level)).collect();
    let expected = [
        ("eligible.leader.replicas.version", 1),
        ("group.version", 1),
        ("share.version", 1),
        ("streams.version", 1),
        ("transaction.version", 2),
    ];
    assert_eq!(levels, expected);
    let topics: Vec<_> = image.topics.iter().map(|topic| (topic.name.as_str(), topic.partition_count())).collect();
    assert_eq!(topics, [("fix.a", 3)]);
    let configs = image.configs.resource(&ConfigResource::topic("fix.a")).expect("configs");
    let expected = BTreeMap::from([("cleanup.policy", "compact"), ("min.insync.replicas", "1")]);
    assert_eq!(configs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<BTreeMap<_, _>>(), expected);
    let cluster = ConfigResource::broker_default();
    assert_eq!(image.configs.value(&cluster, "log.retention.ms"), Some("120000"));
    let entity = BTreeMap::from([("user".to_owned(), Some("alice".to_owned()))]);
    assert_eq!(image.client_quotas.entities[&entity]["producer_byte_rate"], 1024.0);
    assert_eq!(image.scram.credentials[&(1, "alice".to_owned())].iterations, 4096);
    let broker = image.cluster.broker(1).expect("broker 1");
    assert!(broker.fenced && broker.directories.len() == 1 && broker.cordoned_directories == Some(Vec::new()));
    // The last clean stop left every partition without a leader, its only replica eligible.
    let partition = image.topics.partition("fix.a", 2).expect("a partition");
    assert_eq!((partition.leader, partition.isr.len(), partition.elr.as_slice()), (NO_LEADER, 0, [1].as_slice()));
    assert_eq!(partition.last_known_elr, [1]);
}

#[test]
fn our_snapshot_holds_the_records_of_kafkas() {
    let ours = snapshot::records(&replay(SNAPSHOT_END));
    let mut ours: Vec<String> = ours.iter().map(|record| canonical(&record.record)).collect();
    let theirs = Snapshot::parse(&Bytes::from_static(SNAPSHOT)).expect("a whole snapshot");
    let mut theirs: Vec<String> =
        theirs.values.into_iter().map(|value| canonical(&MetadataRecord::from_value(value).expect("a record").0)).collect();
    ours.sort();
    theirs.sort();
    assert_eq!(ours, theirs);
}

#[test]
fn every_record_and_batch_encodes_to_kafkas_bytes() {
    let mut position = 0;
    for batch in read_batches(&Bytes::from_static(LOG)) {
        let batch = batch.expect("a whole batch");
        let bytes = &LOG[position..position + batch.size_bytes];
        position += batch.size_bytes;
        let BatchContent::Data(values) = batch.content else { continue };
        for value in &values {
            let (record, version) = MetadataRecord::from_value(value.clone()).expect("a record");
            assert_eq!(record.to_value(version).expect("encoded"), value, "{}", record.type_name());
        }
        let ours = data_batch(batch.base_offset, batch.epoch, batch.timestamp_ms, values).expect("a batch");
        assert_eq!(ours, bytes, "batch at {}", batch.base_offset);
    }
}

#[test]
fn an_image_survives_its_own_snapshot() {
    let image = replay(i64::MAX);
    let records: Vec<VersionedRecord> = snapshot::records(&image);
    let read = records.iter().map(|record| {
        let value = record.to_value().expect("encoded");
        MetadataRecord::from_value(value).expect("decoded").0
    });
    let mut loader = Loader::new(Arc::default());
    loader.load_snapshot(&read.collect::<Vec<_>>(), image.provenance).expect("replayed");
    assert_eq!(*loader.take().expect("an image").1, *image);
}
