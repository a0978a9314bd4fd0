//! The consumer against brokers that move, forget and refuse, and a coordinator that rebalances.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use ottla::client::config::{ClientConfig, ClientKind};
use ottla::client::consumer::{Consumer, ConsumerError, ConsumerRecord, RebalanceEvent};
use ottla::common::topic_partition::TopicPartition;
use ottla::protocol::batch::{BatchBuilder, ControlRecord};
use ottla::protocol::codec::{Message, Writer};
use ottla::protocol::compression::Compression;
use ottla::protocol::error_code::ErrorCode;
use ottla::protocol::messages::consumer_protocol_assignment::TopicPartition as AssignedTopic;
use ottla::protocol::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
use ottla::protocol::messages::find_coordinator_response::Coordinator;
use ottla::protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use ottla::protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use ottla::protocol::messages::offset_fetch_response::OffsetFetchResponseGroup;
use ottla::protocol::messages::{
    ConsumerProtocolAssignment, FetchRequest, FetchResponse, FindCoordinatorRequest, FindCoordinatorResponse, HeartbeatRequest,
    HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, ListOffsetsRequest, ListOffsetsResponse,
    MetadataRequest, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, SyncGroupRequest,
    SyncGroupResponse,
};

use super::fake_broker::{Action, Bound, FakeBroker, metadata, metadata_for};

const LONG: Duration = Duration::from_secs(60);

/// A batch of one-digit values, one a record.
fn batch(base_offset: i64, values: &[&'static str]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None).base_offset(base_offset).partition_leader_epoch(0);
    for value in values {
        builder.append(1, None, Some(value.as_bytes()), &[]).expect("fits");
    }
    builder.finish().expect("a batch")
}

fn transactional(base_offset: i64, producer_id: i64, values: &[&'static str]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None).base_offset(base_offset).producer(producer_id, 0, 0).transactional(true);
    for value in values {
        builder.append(1, None, Some(value.as_bytes()), &[]).expect("fits");
    }
    builder.finish().expect("a batch")
}

fn marker(offset: i64, producer_id: i64, committed: bool) -> Bytes {
    let builder = BatchBuilder::new(Compression::None).base_offset(offset).producer(producer_id, 0, -1);
    let mut builder = builder.transactional(true).control(true);
    builder.append_control(1, &ControlRecord::end_transaction(committed, 0)).expect("fits");
    builder.finish().expect("a batch")
}

/// An answer to a fetch of partition 0 of `t`.
fn fetched(request: &FetchRequest, data: impl Fn(i64) -> PartitionData) -> Action<FetchResponse> {
    let responses = request.topics.iter().map(|topic| FetchableTopicResponse {
        topic: topic.topic.clone(),
        topic_id: topic.topic_id,
        partitions: topic.partitions.iter().map(|it| PartitionData { partition_index: it.partition, ..data(it.fetch_offset) }).collect(),
        ..Default::default()
    });
    Action::Answer(FetchResponse { responses: responses.collect(), ..Default::default() })
}

/// A leader's answer out of a log of whole batches, each with its first offset and the offset behind it.
fn from_log(log: &[(i64, i64, Bytes)], offset: i64) -> PartitionData {
    let end = log.last().map_or(0, |(_, end, _)| *end);
    let found = log.iter().find(|(_, end, _)| *end > offset);
    let records = found.map(|(_, _, bytes)| bytes.clone()).unwrap_or_default();
    PartitionData { high_watermark: end, last_stable_offset: end, records: Some(records.into()), ..Default::default() }
}

fn list(request: &ListOffsetsRequest, earliest: i64, latest: i64) -> Action<ListOffsetsResponse> {
    let topics = request.topics.iter().map(|topic| ListOffsetsTopicResponse {
        name: topic.name.clone(),
        partitions: topic
            .partitions
            .iter()
            .map(|it| ListOffsetsPartitionResponse {
                partition_index: it.partition_index,
                offset: if it.timestamp == -2 { earliest } else { latest },
                timestamp: -1,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    Action::Answer(ListOffsetsResponse { topics: topics.collect(), ..Default::default() })
}

fn config(broker: &FakeBroker, properties: &[(&str, &str)]) -> ClientConfig {
    let builder = ClientConfig::builder(ClientKind::Consumer).flag("bootstrap.servers", broker.servers());
    let builder = builder.property("retry.backoff.ms", "1").property("retry.backoff.max.ms", "2");
    properties.iter().fold(builder, |builder, (key, value)| builder.property(*key, *value)).build().expect("valid")
}

async fn consumer(broker: &FakeBroker, properties: &[(&str, &str)]) -> Consumer {
    Consumer::new(&config(broker, properties)).await.expect("connects")
}

fn values(records: &[ConsumerRecord]) -> Vec<(i64, String)> {
    let text = |record: &ConsumerRecord| String::from_utf8(record.value.clone().expect("a value").to_vec()).expect("text");
    records.iter().map(|record| (record.offset, text(record))).collect()
}

/// Polls until as many records have come.
async fn read(consumer: &Consumer, count: usize) -> Vec<(i64, String)> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(values(&consumer.poll(LONG).await.expect("records")));
    }
    all
}

/// A broker that leads partition 0 of `t` with a log of two batches.
async fn with_log() -> Bound {
    let bound = Bound::new().await;
    let port = bound.port();
    let log = [(0, 3, batch(0, &["a", "b", "c"])), (3, 5, batch(3, &["d", "e"]))];
    let bound = bound.on::<MetadataRequest>(move |request, _| metadata_for(&request, metadata(&[(1, port)], &[("t", &[1])], 0)));
    let bound = bound.on::<ListOffsetsRequest>(|request, _| list(&request, 0, 5));
    bound.on::<FetchRequest>(move |request, _| match request.topics[0].partitions[0].fetch_offset {
        // Nothing new: as a broker that holds the fetch back.
        5 => Action::Silence,
        offset if !(0..=5).contains(&offset) => {
            fetched(&request, |_| PartitionData { error_code: ErrorCode::OffsetOutOfRange.code(), ..Default::default() })
        }
        _ => fetched(&request, |offset| from_log(&log, offset)),
    })
}

fn partition() -> TopicPartition {
    TopicPartition::new("t", 0)
}

#[tokio::test]
async fn all_records_come_in_order_and_the_position_is_behind_what_was_handed_out() {
    let broker = with_log().await.start();
    let consumer = consumer(&broker, &[("auto.offset.reset", "earliest"), ("max.poll.records", "2")]).await;
    consumer.assign([partition()]);
    assert_eq!(values(&consumer.poll(LONG).await.expect("records")), [(0, "a".to_owned()), (1, "b".to_owned())]);
    assert_eq!(consumer.position(&partition()).await, Ok(2));
    assert_eq!(read(&consumer, 3).await, [(2, "c".to_owned()), (3, "d".to_owned()), (4, "e".to_owned())]);
}

#[tokio::test]
async fn a_batch_that_starts_before_the_position_is_trimmed() {
    let broker = with_log().await.start();
    let consumer = consumer(&broker, &[]).await;
    consumer.assign([partition()]);
    consumer.seek(&partition(), 1).expect("assigned");
    assert_eq!(values(&consumer.poll(LONG).await.expect("records"))[0], (1, "b".to_owned()));
}

#[tokio::test]
async fn a_position_out_of_range_is_reset_as_the_policy_says() {
    let broker = with_log().await.start();
    let earliest = consumer(&broker, &[("auto.offset.reset", "earliest")]).await;
    earliest.assign([partition()]);
    earliest.seek(&partition(), 99).expect("assigned");
    assert_eq!(read(&earliest, 5).await[0].0, 0);

    let none = consumer(&broker, &[("auto.offset.reset", "none")]).await;
    none.assign([partition()]);
    assert_eq!(none.poll(LONG).await, Err(ConsumerError::NoOffsetForPartition(vec![partition()])));
    none.seek(&partition(), 99).expect("assigned");
    assert_eq!(none.poll(LONG).await, Err(ConsumerError::OffsetOutOfRange { partition: partition(), offset: 99 }));
}

#[tokio::test]
async fn a_fetch_goes_to_the_new_leader() {
    let (first, second) = (Bound::new().await, Bound::new().await);
    let brokers = [(1, first.port()), (2, second.port())];
    let mut asked = 0;
    let first = first.on::<MetadataRequest>(move |request, _| {
        let about_t = request.topics.as_ref().is_some_and(|topics| !topics.is_empty());
        asked += usize::from(about_t);
        let (leader, epoch) = if asked <= 1 { (1, 0) } else { (2, 1) };
        metadata_for(&request, metadata(&brokers, &[("t", &[leader])], epoch))
    });
    let first = first.on::<FetchRequest>(|request, _| {
        fetched(&request, |_| PartitionData { error_code: ErrorCode::NotLeaderOrFollower.code(), ..Default::default() })
    });
    let log = [(0, 1, batch(0, &["a"]))];
    let second = second.on::<MetadataRequest>(move |request, _| metadata_for(&request, metadata(&brokers, &[("t", &[2])], 1)));
    let second = second.on::<FetchRequest>(move |request, _| match request.topics[0].partitions[0].fetch_offset {
        0 => fetched(&request, |offset| from_log(&log, offset)),
        _ => Action::Silence,
    });
    let (first, _second) = (first.start(), second.start());
    let consumer = consumer(&first, &[]).await;
    consumer.assign([partition()]);
    consumer.seek(&partition(), 0).expect("assigned");
    assert_eq!(read(&consumer, 1).await, [(0, "a".to_owned())]);
}

#[tokio::test]
async fn aborted_transactions_and_markers_are_left_out_of_what_is_read_committed() {
    let parts = [
        transactional(0, 7, &["x"]),
        transactional(1, 8, &["a"]),
        marker(2, 7, false),
        transactional(3, 7, &["b"]),
        marker(4, 8, true),
        marker(5, 7, true),
        batch(6, &["c"]),
    ];
    let all: Bytes = parts.concat().into();
    let bound = Bound::new().await;
    let port = bound.port();
    let bound = bound.on::<MetadataRequest>(move |request, _| metadata_for(&request, metadata(&[(1, port)], &[("t", &[1])], 0)));
    let bound = bound.on::<FetchRequest>(move |request, _| {
        if request.topics[0].partitions[0].fetch_offset > 0 {
            return Action::Silence;
        }
        let aborted =
            (request.isolation_level == 1).then(|| vec![AbortedTransaction { producer_id: 7, first_offset: 0, ..Default::default() }]);
        fetched(&request, |_| PartitionData {
            high_watermark: 7,
            last_stable_offset: 7,
            aborted_transactions: aborted.clone(),
            records: Some(all.clone().into()),
            ..Default::default()
        })
    });
    let broker = bound.start();
    for (level, expected) in [("read_committed", "abc"), ("read_uncommitted", "xabc")] {
        let consumer = consumer(&broker, &[("isolation.level", level)]).await;
        consumer.assign([partition()]);
        consumer.seek(&partition(), 0).expect("assigned");
        let text: String = read(&consumer, expected.len()).await.into_iter().map(|(_, value)| value).collect();
        assert_eq!(text, expected);
    }
}

fn assignment(partitions: &[i32]) -> Bytes {
    let mut writer = Writer::new();
    writer.i16(0);
    let topic = AssignedTopic { topic: "t".to_owned(), partitions: partitions.to_vec(), ..Default::default() };
    ConsumerProtocolAssignment { assigned_partitions: vec![topic], ..Default::default() }.encode(&mut writer, 0).expect("encodes");
    writer.into_bytes()
}

/// A broker that also coordinates: every join makes a new generation, whose assignment is the next of `assignments`.
async fn with_group(assignments: Vec<Vec<i32>>, mut heartbeat: impl FnMut(&HeartbeatRequest) -> ErrorCode + Send + 'static) -> FakeBroker {
    let bound = with_log().await;
    let port = bound.port();
    let bound = bound.on::<MetadataRequest>(move |request, _| metadata_for(&request, metadata(&[(1, port)], &[("t", &[1, 1, 1])], 0)));
    let bound = bound.on::<FindCoordinatorRequest>(move |request, _| {
        let coordinator =
            |key: &String| Coordinator { key: key.clone(), node_id: 1, host: "127.0.0.1".to_owned(), port, ..Default::default() };
        let coordinators = request.coordinator_keys.iter().map(coordinator).collect();
        Action::Answer(FindCoordinatorResponse { coordinators, ..Default::default() })
    });
    let mut generation = 0;
    let bound = bound.on::<JoinGroupRequest>(move |request, _| {
        if request.member_id.is_empty() {
            let error_code = ErrorCode::MemberIdRequired.code();
            return Action::Answer(JoinGroupResponse { error_code, member_id: "m-1".to_owned(), ..Default::default() });
        }
        generation += 1;
        Action::Answer(JoinGroupResponse {
            generation_id: generation,
            protocol_type: Some("consumer".to_owned()),
            protocol_name: Some(request.protocols[0].name.clone()),
            leader: "another".to_owned(),
            member_id: request.member_id,
            ..Default::default()
        })
    });
    let bound = bound.on::<SyncGroupRequest>(move |request, _| {
        let index = usize::try_from(request.generation_id - 1).expect("from 1");
        let partitions = assignments.get(index).or(assignments.last()).expect("an assignment");
        Action::Answer(SyncGroupResponse { assignment: assignment(partitions), ..Default::default() })
    });
    let bound = bound.on::<HeartbeatRequest>(move |request, _| {
        Action::Answer(HeartbeatResponse { error_code: heartbeat(&request).code(), ..Default::default() })
    });
    let bound = bound.on::<LeaveGroupRequest>(|_, _| Action::Answer(LeaveGroupResponse::default()));
    let bound = bound.on::<OffsetFetchRequest>(|request, _| {
        let groups = request.groups.iter().map(|it| OffsetFetchResponseGroup { group_id: it.group_id.clone(), ..Default::default() });
        Action::Answer(OffsetFetchResponse { groups: groups.collect(), ..Default::default() })
    });
    let bound = bound.on::<OffsetCommitRequest>(|request, _| {
        let partition = |index: i32| OffsetCommitResponsePartition { partition_index: index, ..Default::default() };
        let topics = request.topics.iter().map(|topic| OffsetCommitResponseTopic {
            name: topic.name.clone(),
            partitions: topic.partitions.iter().map(|it| partition(it.partition_index)).collect(),
            ..Default::default()
        });
        Action::Answer(OffsetCommitResponse { topics: topics.collect(), ..Default::default() })
    });
    bound.start()
}

type Events = Arc<Mutex<Vec<RebalanceEvent>>>;

async fn member(broker: &FakeBroker, assignor: &str) -> (Consumer, Events) {
    let properties =
        [("group.id", "g"), ("auto.offset.reset", "earliest"), ("heartbeat.interval.ms", "5"), ("partition.assignment.strategy", assignor)];
    let consumer = consumer(broker, &properties).await;
    let events = Events::default();
    let heard = Arc::clone(&events);
    consumer.set_rebalance_listener(Box::new(move |event| heard.lock().expect("no panic").push(event.clone())));
    consumer.subscribe(["t"]).expect("a group");
    (consumer, events)
}

fn partitions(numbers: &[i32]) -> Vec<TopicPartition> {
    numbers.iter().map(|number| TopicPartition::new("t", *number)).collect()
}

/// Polls until the listener has heard of as many events.
async fn hear(consumer: &Consumer, events: &Events, count: usize) -> Vec<RebalanceEvent> {
    while events.lock().expect("no panic").len() < count {
        consumer.poll(Duration::from_millis(5)).await.expect("no error");
    }
    events.lock().expect("no panic").clone()
}

/// Says once to each of the first generations that the group rebalances.
fn rebalancing(generations: i32) -> impl FnMut(&HeartbeatRequest) -> ErrorCode + Send + 'static {
    let mut told = 0;
    move |request| {
        if request.generation_id > told && request.generation_id <= generations {
            told = request.generation_id;
            return ErrorCode::RebalanceInProgress;
        }
        ErrorCode::None
    }
}

#[tokio::test]
async fn an_eager_member_commits_and_gives_all_up_before_it_joins_again() {
    let broker = with_group(vec![vec![0, 1], vec![1, 2]], rebalancing(1)).await;
    let (consumer, events) = member(&broker, "range").await;
    let expected = [
        RebalanceEvent::Assigned(partitions(&[0, 1])),
        RebalanceEvent::Revoked(partitions(&[0, 1])),
        RebalanceEvent::Assigned(partitions(&[1, 2])),
    ];
    assert_eq!(hear(&consumer, &events, 3).await, expected);
    assert_eq!(consumer.group_member(), Some(("m-1".to_owned(), 2)));
    let before = consumer.assignment();
    consumer.close(LONG).await.expect("commits");
    assert_eq!(before, partitions(&[1, 2]));
    assert_eq!(broker.requests::<LeaveGroupRequest>().len(), 1);
}

#[tokio::test]
async fn a_cooperative_member_keeps_what_stays_its_own_and_joins_again_for_the_rest() {
    let broker = with_group(vec![vec![0, 1], vec![1], vec![1, 2]], rebalancing(1)).await;
    let (consumer, events) = member(&broker, "cooperative-sticky").await;
    let expected = [
        RebalanceEvent::Assigned(partitions(&[0, 1])),
        RebalanceEvent::Revoked(partitions(&[0])),
        RebalanceEvent::Assigned(partitions(&[2])),
    ];
    assert_eq!(hear(&consumer, &events, 3).await, expected);
    assert_eq!(consumer.assignment(), partitions(&[1, 2]));
}

#[tokio::test]
async fn a_member_that_the_coordinator_forgot_has_lost_its_partitions_and_joins_as_a_new_one() {
    let mut told = false;
    let broker = with_group(vec![vec![0]], move |_| match std::mem::replace(&mut told, true) {
        false => ErrorCode::UnknownMemberId,
        true => ErrorCode::None,
    });
    let broker = broker.await;
    let (consumer, events) = member(&broker, "range").await;
    let expected =
        [RebalanceEvent::Assigned(partitions(&[0])), RebalanceEvent::Lost(partitions(&[0])), RebalanceEvent::Assigned(partitions(&[0]))];
    assert_eq!(hear(&consumer, &events, 3).await, expected);
    let without_id = broker.requests::<JoinGroupRequest>().iter().filter(|(_, request)| request.member_id.is_empty()).count();
    assert_eq!(without_id, 2);
}

#[tokio::test]
async fn positions_are_committed_when_the_consumer_closes() {
    let broker = with_group(vec![vec![0]], |_| ErrorCode::None).await;
    let (consumer, _events) = member(&broker, "range").await;
    assert_eq!(read(&consumer, 5).await.len(), 5);
    consumer.close(LONG).await.expect("commits");
    let commits = broker.requests::<OffsetCommitRequest>();
    let (_, last) = commits.last().expect("a commit");
    assert_eq!((last.member_id.as_str(), last.generation_id_or_member_epoch), ("m-1", 1));
    assert_eq!(last.topics[0].partitions[0].committed_offset, 5);
}
