//! Each API around the log: what it answers, at every version, and with which errors.

use std::collections::BTreeSet;

use ottla::broker::dispatch;
use ottla::protocol::api_key::ApiKey;
use ottla::protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use ottla::protocol::messages::describe_producers_request::TopicRequest;
use ottla::protocol::messages::fetch_request::ForgottenTopic;
use ottla::protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use ottla::protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use ottla::protocol::messages::metadata_request::MetadataRequestTopic;
use ottla::protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use ottla::protocol::messages::*;

use super::*;

fn code(code: i16) -> ErrorCode {
    ErrorCode::from_code(code)
}

fn metadata(connection: &mut Connection, name: &str, create: bool) -> metadata_response::MetadataResponseTopic {
    let topic = MetadataRequestTopic { name: Some(name.to_owned()), ..Default::default() };
    let request = MetadataRequest { topics: Some(vec![topic]), allow_auto_topic_creation: create, ..Default::default() };
    connection.call(&request, 12).topics.remove(0)
}

#[test]
fn api_versions_is_the_table_of_served_apis() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    for version in 0..=4 {
        let request = ApiVersionsRequest {
            client_software_name: if version < 3 { String::new() } else { "test".to_owned() },
            client_software_version: if version < 3 { String::new() } else { "1.0".to_owned() },
            ..Default::default()
        };
        let response = connection.call(&request, version);
        assert_eq!(code(response.error_code), ErrorCode::None);
        let announced: BTreeSet<_> = response.api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect();
        // Produce is announced from version 0 on for the sake of old librdkafka.
        let first = |api: &dispatch::ServedApi| if api.key == ApiKey::Produce { 0 } else { api.min };
        let served: BTreeSet<_> = dispatch::SERVED.iter().map(|api| (api.key.code(), first(api), api.max)).collect();
        assert_eq!(announced, served);
        if version >= 3 {
            assert!(response.finalized_features.iter().any(|feature| feature.name == "metadata.version"));
            assert!(response.finalized_features_epoch >= 0);
        }
        // Up to version 3 no feature may begin at level 0.
        assert!(version == 4 || response.supported_features.iter().all(|feature| feature.min_version > 0));
    }
    assert_eq!(code(connection.call(&ApiVersionsRequest::default(), 4).error_code), ErrorCode::InvalidRequest);
}

#[test]
fn the_table_serves_only_versions_that_the_protocol_has() {
    for api in dispatch::SERVED {
        let defined = api.key.versions();
        assert!(defined.min <= api.min && api.min <= api.max && api.max <= defined.max, "{}", api.key.name());
    }
    assert!(dispatch::SERVED.is_sorted_by_key(|api| api.key.name()));
}

#[test]
fn metadata_describes_topics_at_every_version() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    connection.create_topic("described", 3);
    let id = metadata(&mut connection, "described", false).topic_id;
    for version in 0..=13 {
        let topics = if version == 0 { Some(Vec::new()) } else { None };
        let response = connection.call(&MetadataRequest { topics, ..Default::default() }, version);
        assert_eq!(response.brokers.len(), 1);
        assert_eq!((&*response.brokers[0].host, response.brokers[0].port), ("127.0.0.1", i32::from(broker.address.port())));
        let described = response.topics.iter().find(|topic| topic.name.as_deref() == Some("described")).expect("the topic");
        assert_eq!((described.partitions.len(), described.error_code), (3, 0));
        assert!(described.partitions.iter().all(|partition| partition.leader_id == response.brokers[0].node_id));
        assert!(version < 10 || described.topic_id == id);
        assert!(version < 2 || response.cluster_id.is_some());
        assert!(version < 1 || response.controller_id == response.brokers[0].node_id);
    }
    let by_id = |topic_id| MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { topic_id, name: None, ..Default::default() }]),
        ..Default::default()
    };
    assert_eq!(connection.call(&by_id(id), 12).topics[0].name.as_deref(), Some("described"));
    let unknown = connection.call(&by_id(Uuid::from_u128(12345)), 12).topics.remove(0);
    assert_eq!((code(unknown.error_code), unknown.name), (ErrorCode::UnknownTopicId, None));
    // An empty list is no topic from version 1 on.
    assert_eq!(connection.call(&MetadataRequest { topics: Some(Vec::new()), ..Default::default() }, 1).topics.len(), 0);
}

#[test]
fn metadata_creates_a_topic_that_is_asked_for_only_when_it_may() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    assert_eq!(code(metadata(&mut connection, "wanted", false).error_code), ErrorCode::UnknownTopicOrPartition);
    assert_eq!(code(metadata(&mut connection, "not a name", true).error_code), ErrorCode::InvalidTopicException);
    let created = metadata(&mut connection, "wanted", true);
    assert_eq!((code(created.error_code), created.partitions.len()), (ErrorCode::None, 1));
    assert_eq!(connection.produce("wanted", 0, batch(&["at once"]), -1).error_code, 0);
    drop(broker);

    let broker = Broker::start_with(&["--ephemeral", "--override", "auto.create.topics.enable=false"]);
    assert_eq!(code(metadata(&mut broker.connect(), "wanted", true).error_code), ErrorCode::UnknownTopicOrPartition);
}

#[test]
fn produce_and_fetch_work_at_every_version() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    connection.create_topic("t", 1);
    let id = metadata(&mut connection, "t", false).topic_id;
    let mut offset = 0;
    for version in 3..=13 {
        for acks in [1, -1] {
            let mut request = produce_request("t", 0, batch(&["a", "b"]), acks);
            request.topic_data[0].topic_id = id;
            let response = connection.call(&request, version).responses.remove(0);
            let partition = &response.partition_responses[0];
            assert_eq!((code(partition.error_code), partition.base_offset), (ErrorCode::None, offset), "version {version}");
            assert_eq!(partition.log_append_time_ms, -1);
            offset += 2;
        }
    }
    connection.send(&produce_request("t", 0, batch(&["silent"]), 0), 9);
    // There is no response to acks=0: the next frame answers the next request.
    assert_eq!(connection.produce("t", 0, batch(&["loud"]), 1).base_offset, offset + 1);
    for version in 4..=18 {
        let mut request = fetch_request("t", 0, offset);
        request.topics[0].topic_id = id;
        let response = connection.call(&request, version);
        assert_eq!(code(response.error_code), ErrorCode::None);
        let data = only_partition(response);
        assert_eq!((data.high_watermark, data.last_stable_offset), (offset + 2, offset + 2));
        assert_eq!(values(&data), [(offset, "silent".to_owned()), (offset + 1, "loud".to_owned())], "version {version}");
    }
}

#[test]
fn produce_says_per_partition_what_is_wrong() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    connection.create_topic_with("t", 1, &[("max.message.bytes", "300")]);
    let refused = |connection: &mut Connection, topic, partition, records, acks| {
        let response: PartitionProduceResponse = connection.produce(topic, partition, records, acks);
        assert_eq!(response.base_offset, -1);
        code(response.error_code)
    };
    let good = batch(&["x"]);
    assert_eq!(refused(&mut connection, "nowhere", 0, good.clone(), 1), ErrorCode::UnknownTopicOrPartition);
    assert_eq!(refused(&mut connection, "t", 1, good.clone(), 1), ErrorCode::UnknownTopicOrPartition);
    assert_eq!(refused(&mut connection, "t", 0, good.clone(), 2), ErrorCode::InvalidRequiredAcks);
    assert_eq!(refused(&mut connection, "t", 0, Bytes::new(), 1), ErrorCode::InvalidRecord);
    assert_eq!(refused(&mut connection, "t", 0, [&good[..], &good[..]].concat().into(), 1), ErrorCode::InvalidRecord);
    assert_eq!(refused(&mut connection, "t", 0, batch(&[&"x".repeat(300)]), 1), ErrorCode::MessageTooLarge);
    let unknown = connection.call(&produce_request("t", 0, good.clone(), 1), 13).responses.remove(0);
    assert_eq!(code(unknown.partition_responses[0].error_code), ErrorCode::UnknownTopicId);
    // One refused partition does not touch the others.
    let mut request = produce_request("t", 0, good.clone(), 1);
    request.topic_data.insert(0, produce_request("nowhere", 7, good, 1).topic_data.remove(0));
    let response = connection.call(&request, 9);
    let codes: Vec<_> = response.responses.iter().map(|topic| code(topic.partition_responses[0].error_code)).collect();
    assert_eq!(codes, [ErrorCode::UnknownTopicOrPartition, ErrorCode::None]);
}

#[test]
fn no_more_replicas_must_be_in_sync_than_there_are() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    connection.create_topic_with("strict", 1, &[("min.insync.replicas", "2")]);
    assert_eq!(code(connection.produce("strict", 0, batch(&["x"]), -1).error_code), ErrorCode::None);
}

#[test]
fn a_refused_batch_is_answered_as_by_kafka() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    connection.create_topic("t", 1);
    let good = batch(&["x"]);
    // Two batches: Kafka keeps the text to itself, and has not looked at the log.
    let twice = connection.produce("t", 0, [&good[..], &good[..]].concat().into(), 1);
    assert_eq!((code(twice.error_code), twice.error_message, twice.log_start_offset), (ErrorCode::InvalidRecord, None, -1));
    let mut old = good.to_vec();
    old[16] = 9;
    let corrupt = connection.produce("t", 0, old.into(), 1);
    assert_eq!(
        (code(corrupt.error_code), corrupt.error_message.as_deref()),
        (ErrorCode::CorruptMessage, Some("Invalid magic found in record: 9"))
    );
    // A topic without partitions is not answered, and an internal one that does not exist is unknown.
    let mut request = produce_request("t", 0, good.clone(), 1);
    request.topic_data[0].partition_data.clear();
    assert_eq!(connection.call(&request, 9).responses.len(), 0);
    assert_eq!(code(connection.produce("__transaction_state", 0, good, 1).error_code), ErrorCode::UnknownTopicOrPartition);
}

#[test]
fn delegation_tokens_are_refused_at_every_version() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    for version in 1..=3 {
        let response = connection.call(&CreateDelegationTokenRequest::default(), version);
        assert_eq!(code(response.error_code), ErrorCode::DelegationTokenRequestNotAllowed);
        assert_eq!(response.token_requester_principal_name.is_empty(), version < 3);
    }
}

#[test]
fn an_idempotent_producer_is_appended_once() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    connection.create_topic("t", 1);
    let init = InitProducerIdRequest { transactional_id: None, producer_id: -1, producer_epoch: -1, ..Default::default() };
    let first = connection.call(&init, 5);
    let second = connection.call(&init, 2);
    assert_eq!((code(first.error_code), first.producer_epoch), (ErrorCode::None, 0));
    assert_ne!(first.producer_id, second.producer_id);
    let numbered = |sequence| batch_of(BatchBuilder::new(Compression::None).producer(first.producer_id, 0, sequence), &["a", "b"]);
    assert_eq!(connection.produce("t", 0, numbered(0), -1).base_offset, 0);
    assert_eq!(connection.produce("t", 0, numbered(2), -1).base_offset, 2);
    let again = connection.produce("t", 0, numbered(2), -1);
    assert_eq!((code(again.error_code), again.base_offset), (ErrorCode::None, 2));
    assert_eq!(code(connection.produce("t", 0, numbered(9), -1).error_code), ErrorCode::OutOfOrderSequenceNumber);
    assert_eq!(values(&connection.fetch("t", 0, 0)).len(), 4);

    let wanted = TopicRequest { name: "t".to_owned(), partition_indexes: vec![0, 1], ..Default::default() };
    let described = connection.call(&DescribeProducersRequest { topics: vec![wanted], ..Default::default() }, 0).topics.remove(0);
    let producer = &described.partitions[0].active_producers[0];
    assert_eq!((producer.producer_id, producer.last_sequence), (first.producer_id, 3));
    assert_eq!(code(described.partitions[1].error_code), ErrorCode::UnknownTopicOrPartition);

    let transactional = InitProducerIdRequest { transactional_id: Some("tx".to_owned()), ..init };
    assert_ne!(connection.call(&transactional, 5).error_code, 0);
}

#[test]
fn log_append_time_is_the_brokers() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    connection.create_topic_with("t", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let response = connection.produce("t", 0, batch(&["x"]), 1);
    assert!(response.log_append_time_ms > 1_700_000_000_000);
    let data = connection.fetch("t", 0, 0);
    let bytes = data.records.as_ref().and_then(Records::as_bytes).cloned().expect("records");
    let batch = ottla::protocol::batch::Batches::new(&bytes).next().expect("a batch").expect("a whole one");
    batch.verify_crc().expect("an intact batch");
    assert_eq!(batch.header().max_timestamp, response.log_append_time_ms);
}

#[test]
fn a_long_poll_ends_when_data_arrives() {
    let broker = Broker::start();
    let (mut reader, mut writer) = (broker.connect(), broker.connect());
    writer.create_topic("t", 2);
    let mut request = fetch_request("t", 0, 0);
    // Far longer than the test's patience: only data can end it.
    request.max_wait_ms = 10 * PATIENCE.as_millis() as i32;
    reader.send(&request, 12);
    writer.produce("t", 1, batch(&["elsewhere"]), 1);
    writer.produce("t", 0, batch(&["here"]), 1);
    let response = reader.receive::<FetchRequest>(12).expect("a response");
    assert_eq!(values(&only_partition(response)), [(0, "here".to_owned())]);

    // More bytes than one record has: the second completes it.
    request.topics[0].partitions[0].fetch_offset = 1;
    request.min_bytes = batch(&["one"]).len() as i32 + 1;
    reader.send(&request, 12);
    writer.produce("t", 0, batch(&["one"]), 1);
    writer.produce("t", 0, batch(&["two"]), 1);
    let response = reader.receive::<FetchRequest>(12).expect("a response");
    assert_eq!(values(&only_partition(response)), [(1, "one".to_owned()), (2, "two".to_owned())]);

    // A deleted topic ends it too.
    request.topics[0].partitions[0].fetch_offset = 3;
    reader.send(&request, 12);
    let delete = DeleteTopicsRequest { topic_names: vec!["t".to_owned()], timeout_ms: 30_000, ..Default::default() };
    assert_eq!(writer.call(&delete, 5).responses[0].error_code, 0);
    let response = reader.receive::<FetchRequest>(12).expect("a response");
    assert_ne!(only_partition(response).error_code, 0);
}

#[test]
fn an_empty_fetch_ends_after_its_wait() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    connection.create_topic("t", 1);
    let mut request = fetch_request("t", 0, 0);
    request.max_wait_ms = 1;
    let data = only_partition(connection.call(&request, 12));
    assert_eq!((code(data.error_code), data.high_watermark, values(&data).len()), (ErrorCode::None, 0, 0));
}

#[test]
fn fetch_limits_hold_but_never_stop_a_reader() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    connection.create_topic("t", 2);
    for partition in 0..2 {
        for _ in 0..3 {
            connection.produce("t", partition, batch(&[&"x".repeat(1000)]), 1);
        }
    }
    let mut request = fetch_request("t", 0, 0);
    let mut second = request.topics[0].partitions[0].clone();
    second.partition = 1;
    request.topics[0].partitions.push(second);
    let counts = |response: FetchResponse| response.responses[0].partitions.iter().map(|data| values(data).len()).collect::<Vec<_>>();
    assert_eq!(counts(connection.call(&request, 12)), [3, 3]);
    request.max_bytes = 1;
    assert_eq!(counts(connection.call(&request, 12)), [1, 0]);
    request.max_bytes = 2500;
    assert_eq!(counts(connection.call(&request, 12)), [2, 0]);
    request.max_bytes = 1 << 20;
    request.topics[0].partitions[0].partition_max_bytes = 1;
    request.topics[0].partitions[1].partition_max_bytes = 2500;
    assert_eq!(counts(connection.call(&request, 12)), [1, 2]);
}

#[test]
fn fetch_says_per_partition_what_is_wrong() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    connection.create_topic("t", 1);
    connection.produce("t", 0, batch(&["a"]), 1);
    assert_eq!(code(connection.fetch("nowhere", 0, 0).error_code), ErrorCode::UnknownTopicOrPartition);
    assert_eq!(code(connection.fetch("t", 1, 0).error_code), ErrorCode::UnknownTopicOrPartition);
    for offset in [2, -1] {
        let data = connection.fetch("t", 0, offset);
        assert_eq!((code(data.error_code), data.high_watermark), (ErrorCode::OffsetOutOfRange, -1));
    }
    // An error is told at once, however long the client would wait.
    let mut request = fetch_request("t", 0, 0);
    request.max_wait_ms = i32::MAX;
    for (epoch, expected) in [(0, ErrorCode::None), (99, ErrorCode::UnknownLeaderEpoch)] {
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        assert_eq!(code(only_partition(connection.call(&request, 12)).error_code), expected);
    }
    let unknown = only_partition(connection.call(&request, 13));
    assert_eq!(code(unknown.error_code), ErrorCode::UnknownTopicId);
}

#[test]
fn a_fetch_session_tells_only_news() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    connection.create_topic("t", 2);
    let mut request = fetch_request("t", 0, 0);
    let mut second = request.topics[0].partitions[0].clone();
    second.partition = 1;
    request.topics[0].partitions.push(second);
    request.session_epoch = 0;
    let response = connection.call(&request, 12);
    let session_id = response.session_id;
    assert_ne!(session_id, 0);
    assert_eq!(response.responses[0].partitions.len(), 2);

    let mut next = FetchRequest { session_id, session_epoch: 1, max_wait_ms: 1, ..request.clone() };
    next.topics.clear();
    assert_eq!(connection.call(&next, 12).responses.len(), 0);
    connection.produce("t", 1, batch(&["news"]), 1);
    next.session_epoch = 2;
    let told = connection.call(&next, 12);
    assert_eq!((told.session_id, told.responses[0].partitions.len(), told.responses[0].partitions[0].partition_index), (session_id, 1, 1));
    // The same epoch again.
    assert_eq!(code(connection.call(&next, 12).error_code), ErrorCode::InvalidFetchSessionEpoch);
    next.session_epoch = 3;
    next.forgotten_topics_data = vec![ForgottenTopic { topic: "t".to_owned(), partitions: vec![1], ..Default::default() }];
    assert_eq!(connection.call(&next, 12).responses.len(), 0);
    next.session_id ^= 1;
    assert_eq!(code(connection.call(&next, 12).error_code), ErrorCode::FetchSessionIdNotFound);
}

fn list(connection: &mut Connection, topic: &str, timestamps: &[(i32, i64)], version: i16) -> Vec<ListOffsetsPartitionResponse> {
    let partitions =
        timestamps.iter().map(|&(partition_index, timestamp)| ListOffsetsPartition { partition_index, timestamp, ..Default::default() });
    let topic = ListOffsetsTopic { name: topic.to_owned(), partitions: partitions.collect(), ..Default::default() };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    connection.call(&request, version).topics.remove(0).partitions
}

#[test]
fn offsets_are_found_by_time() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    connection.create_topic("t", 1);
    let at = |timestamp: i64| {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.append(timestamp, None, Some(b"x"), &[]).expect("a small record");
        builder.finish().expect("a batch")
    };
    for timestamp in [1000, 3000, 2000] {
        assert_eq!(connection.produce("t", 0, at(timestamp), 1).error_code, 0);
    }
    for version in 1..=11 {
        for (wanted, offset, timestamp) in [(-1, 3, -1), (-2, 0, -1), (1000, 0, 1000), (1001, 1, 3000), (3001, -1, -1)] {
            let found = list(&mut connection, "t", &[(0, wanted)], version).remove(0);
            assert_eq!((code(found.error_code), found.offset, found.timestamp), (ErrorCode::None, offset, timestamp), "{wanted}");
        }
    }
    let largest = list(&mut connection, "t", &[(0, -3)], 7).remove(0);
    assert_eq!((largest.offset, largest.timestamp), (1, 3000));
    assert_eq!(code(list(&mut connection, "t", &[(0, -3)], 6)[0].error_code), ErrorCode::UnsupportedVersion);
    assert_eq!(code(list(&mut connection, "t", &[(0, -7)], 11)[0].error_code), ErrorCode::UnsupportedVersion);
    assert_eq!(code(list(&mut connection, "t", &[(5, -1)], 5)[0].error_code), ErrorCode::UnknownTopicOrPartition);
    let twice = list(&mut connection, "t", &[(0, -1), (0, -2)], 5);
    assert!(twice.iter().all(|partition| code(partition.error_code) == ErrorCode::InvalidRequest));
}

#[test]
fn a_leader_epoch_ends_where_the_log_does() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    connection.create_topic("t", 1);
    connection.produce("t", 0, batch(&["a", "b"]), 1);
    let mut ask = |partition, current_leader_epoch, leader_epoch| {
        let wanted = OffsetForLeaderPartition { partition, current_leader_epoch, leader_epoch, ..Default::default() };
        let topic = OffsetForLeaderTopic { topic: "t".to_owned(), partitions: vec![wanted], ..Default::default() };
        let request = OffsetForLeaderEpochRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
        let end = connection.call(&request, 4).topics.remove(0).partitions.remove(0);
        (code(end.error_code), end.leader_epoch, end.end_offset)
    };
    assert_eq!(ask(0, 0, 0), (ErrorCode::None, 0, 2));
    assert_eq!(ask(0, -1, 5), (ErrorCode::None, -1, -1));
    assert_eq!(ask(0, 5, 0).0, ErrorCode::UnknownLeaderEpoch);
    assert_eq!(ask(3, -1, 0).0, ErrorCode::UnknownTopicOrPartition);
}

#[test]
fn deleted_records_are_out_of_range() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    connection.create_topic("t", 1);
    connection.create_topic_with("compacted", 1, &[("cleanup.policy", "compact")]);
    for _ in 0..3 {
        connection.produce("t", 0, batch(&["a"]), 1);
    }
    let mut delete = |topic: &str, offset| {
        let partition = DeleteRecordsPartition { partition_index: 0, offset, ..Default::default() };
        let topic = DeleteRecordsTopic { name: topic.to_owned(), partitions: vec![partition], ..Default::default() };
        let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms: 30_000, ..Default::default() };
        let result = connection.call(&request, 2).topics.remove(0).partitions.remove(0);
        (code(result.error_code), result.low_watermark)
    };
    assert_eq!(delete("t", 2), (ErrorCode::None, 2));
    assert_eq!(delete("t", 4), (ErrorCode::OffsetOutOfRange, -1));
    assert_eq!(delete("nowhere", 1), (ErrorCode::UnknownTopicOrPartition, -1));
    assert_eq!(delete("compacted", 0), (ErrorCode::PolicyViolation, -1));
    assert_eq!(delete("t", -1), (ErrorCode::None, 3));
    assert_eq!(code(connection.fetch("t", 0, 1).error_code), ErrorCode::OffsetOutOfRange);
    assert_eq!(list(&mut connection, "t", &[(0, -2)], 5)[0].offset, 3);
}

#[test]
fn log_directories_show_their_partitions() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    connection.create_topic("t", 2);
    connection.produce("t", 1, batch(&["a"]), 1);
    for version in 1..=5 {
        let response = connection.call(&DescribeLogDirsRequest { topics: None, ..Default::default() }, version);
        let dir = &response.results[0];
        assert_eq!(code(dir.error_code), ErrorCode::None);
        assert!(dir.log_dir.starts_with('/'));
        let topic = dir.topics.iter().find(|topic| topic.name == "t").expect("the topic");
        let sizes: Vec<_> = topic.partitions.iter().map(|partition| (partition.partition_index, partition.partition_size)).collect();
        assert_eq!(sizes, [(0, 0), (1, batch(&["a"]).len() as i64)]);
        assert!(version < 4 || (dir.total_bytes > 0 && dir.usable_bytes >= 0));
    }
}
