//! Membership by KIP-848 against a scripted coordinator.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ottla::client::config::{ClientConfig, ClientKind};
use ottla::client::consumer::{Consumer, ConsumerError, RebalanceEvent};
use ottla::common::topic_partition::TopicPartition;
use ottla::common::uuid::Uuid;
use ottla::protocol::api_key::ApiKey;
use ottla::protocol::error_code::ErrorCode;
use ottla::protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use ottla::protocol::messages::find_coordinator_response::Coordinator;
use ottla::protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use ottla::protocol::messages::metadata_response::MetadataResponseTopic;
use ottla::protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use ottla::protocol::messages::offset_fetch_response::OffsetFetchResponseGroup;
use ottla::protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, FetchRequest, FindCoordinatorRequest, FindCoordinatorResponse,
    ListOffsetsRequest, ListOffsetsResponse, MetadataRequest, MetadataResponse, OffsetCommitRequest, OffsetCommitResponse,
    OffsetFetchRequest, OffsetFetchResponse,
};

use super::fake_broker::{Action, Bound, FakeBroker, metadata, metadata_for};

const LONG: Duration = Duration::from_secs(60);
const ID: Uuid = Uuid::from_u128(7);

fn with_id(mut response: MetadataResponse) -> MetadataResponse {
    response.topics.iter_mut().for_each(|topic: &mut MetadataResponseTopic| topic.topic_id = ID);
    response
}

/// A coordinator that answers heartbeats from a script; it also leads partitions 0 to 2 of `t`, all empty.
async fn coordinator(
    mut heartbeat: impl FnMut(&ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse + Send + 'static,
) -> FakeBroker {
    let bound = Bound::new().await;
    let port = bound.port();
    let bound = bound.on::<MetadataRequest>(move |request, _| {
        let all = with_id(metadata(&[(1, port)], &[("t", &[1, 1, 1])], 0));
        let by_id = request.topics.as_ref().is_some_and(|topics| topics.iter().any(|topic| topic.name.is_none()));
        if by_id { Action::Answer(all) } else { metadata_for(&request, all) }
    });
    let bound = bound.on::<FindCoordinatorRequest>(move |request, _| {
        let coordinator =
            |key: &String| Coordinator { key: key.clone(), node_id: 1, host: "127.0.0.1".to_owned(), port, ..Default::default() };
        let coordinators = request.coordinator_keys.iter().map(coordinator).collect();
        Action::Answer(FindCoordinatorResponse { coordinators, ..Default::default() })
    });
    let bound = bound.on::<ConsumerGroupHeartbeatRequest>(move |request, _| Action::Answer(heartbeat(&request)));
    let bound = bound.on::<OffsetFetchRequest>(|request, _| {
        let groups = request.groups.iter().map(|it| OffsetFetchResponseGroup { group_id: it.group_id.clone(), ..Default::default() });
        Action::Answer(OffsetFetchResponse { groups: groups.collect(), ..Default::default() })
    });
    let bound = bound.on::<ListOffsetsRequest>(|request, _| {
        let topics = request.topics.iter().map(|topic| {
            let answer = |index| ListOffsetsPartitionResponse { partition_index: index, offset: 5, timestamp: -1, ..Default::default() };
            let partitions = topic.partitions.iter().map(|it| answer(it.partition_index)).collect();
            ListOffsetsTopicResponse { name: topic.name.clone(), partitions, ..Default::default() }
        });
        Action::Answer(ListOffsetsResponse { topics: topics.collect(), ..Default::default() })
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
    bound.on::<FetchRequest>(|_, _| Action::Silence).start()
}

fn fine(epoch: i32, partitions: Option<&[i32]>) -> ConsumerGroupHeartbeatResponse {
    let topic = |partitions: &[i32]| TopicPartitions { topic_id: ID, partitions: partitions.to_vec(), ..Default::default() };
    let assignment = partitions.map(|it| Assignment { topic_partitions: vec![topic(it)], ..Default::default() });
    ConsumerGroupHeartbeatResponse { member_epoch: epoch, heartbeat_interval_ms: 5, assignment, ..Default::default() }
}

fn refused(code: ErrorCode) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse { error_code: code.code(), ..Default::default() }
}

type Events = Arc<Mutex<Vec<RebalanceEvent>>>;

async fn consumer(broker: &FakeBroker, properties: &[(&str, &str)]) -> (Consumer, Events) {
    let builder = ClientConfig::builder(ClientKind::Consumer).flag("bootstrap.servers", broker.servers()).flag("group.id", "g").file([
        ("group.protocol", "consumer"),
        ("retry.backoff.ms", "1"),
        ("retry.backoff.max.ms", "2"),
    ]);
    let builder = properties.iter().fold(builder, |builder, (key, value)| builder.property(*key, *value));
    let consumer = Consumer::new(&builder.build().expect("valid")).await.expect("connects");
    let events = Events::default();
    let heard = Arc::clone(&events);
    consumer.set_rebalance_listener(Box::new(move |event| heard.lock().expect("no panic").push(event.clone())));
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

fn acknowledged(request: &ConsumerGroupHeartbeatRequest) -> Option<Vec<i32>> {
    request.topic_partitions.as_ref().map(|topics| topics.iter().flat_map(|topic| topic.partitions.clone()).collect())
}

#[tokio::test]
async fn partitions_are_committed_and_given_up_before_the_coordinator_hears_of_it() {
    let positioned = Arc::new(AtomicBool::new(false));
    let ready = Arc::clone(&positioned);
    let broker = coordinator(move |request| match (request.member_epoch, acknowledged(request).as_deref()) {
        (0, _) => fine(1, Some(&[0, 1])),
        // Once it has something to commit, it is to give one away.
        (1, _) if ready.load(Ordering::Relaxed) => fine(2, Some(&[1])),
        (2, Some([1])) => fine(3, Some(&[1, 2])),
        (epoch, _) => fine(epoch.max(1), None),
    });
    let broker = broker.await;
    let (consumer, events) = consumer(&broker, &[]).await;
    consumer.subscribe(["t"]).expect("a group");
    let expected = [
        RebalanceEvent::Assigned(partitions(&[0, 1])),
        RebalanceEvent::Revoked(partitions(&[0])),
        RebalanceEvent::Assigned(partitions(&[2])),
    ];
    hear(&consumer, &events, 1).await;
    for partition in partitions(&[0, 1]) {
        assert_eq!(consumer.position(&partition).await, Ok(5));
    }
    positioned.store(true, Ordering::Relaxed);
    assert_eq!(hear(&consumer, &events, 3).await, expected);
    assert_eq!(consumer.assignment(), partitions(&[1, 2]));
    let member = consumer.group_member().expect("in the group");
    consumer.close(LONG).await.expect("commits");

    let order: Vec<ApiKey> = broker.seen().into_iter().map(|seen| seen.key).collect();
    let heartbeats = broker.requests::<ConsumerGroupHeartbeatRequest>();
    let gave_up = heartbeats.iter().position(|(_, it)| acknowledged(it) == Some(vec![1])).expect("acknowledged");
    let at = order.iter().enumerate().filter(|(_, key)| **key == ApiKey::ConsumerGroupHeartbeat).nth(gave_up).expect("sent").0;
    assert!(order[..at].contains(&ApiKey::OffsetCommit), "committed before");
    for (_, commit) in broker.requests::<OffsetCommitRequest>() {
        assert_eq!(commit.member_id, member.0);
        assert!(commit.generation_id_or_member_epoch > 0);
    }
    let (_, last) = heartbeats.last().expect("heartbeats");
    assert_eq!((last.member_epoch, last.member_id.as_str()), (-1, member.0.as_str()), "it left");
}

#[tokio::test]
async fn a_fenced_member_loses_its_partitions_and_joins_again_under_its_id() {
    let mut told = false;
    let broker = coordinator(move |request| match (request.member_epoch, acknowledged(request).as_deref()) {
        (0, _) => fine(4, Some(&[0])),
        (4, Some([0])) if !std::mem::replace(&mut told, true) => refused(ErrorCode::FencedMemberEpoch),
        (epoch, _) => fine(epoch, None),
    });
    let broker = broker.await;
    let (consumer, events) = consumer(&broker, &[("enable.auto.commit", "false")]).await;
    consumer.subscribe(["t"]).expect("a group");
    let expected =
        [RebalanceEvent::Assigned(partitions(&[0])), RebalanceEvent::Lost(partitions(&[0])), RebalanceEvent::Assigned(partitions(&[0]))];
    assert_eq!(hear(&consumer, &events, 3).await, expected);
    let joins: Vec<String> = broker
        .requests::<ConsumerGroupHeartbeatRequest>()
        .into_iter()
        .filter(|(_, request)| request.member_epoch == 0)
        .map(|(_, request)| request.member_id)
        .collect();
    assert_eq!(joins.len(), 2);
    assert_eq!(joins[0], joins[1]);
}

#[tokio::test]
async fn a_regular_expression_is_the_coordinators_to_resolve() {
    let broker = coordinator(|request| match request.member_epoch {
        0 => fine(1, Some(&[2])),
        epoch => fine(epoch, None),
    });
    let broker = broker.await;
    let (consumer, events) = consumer(&broker, &[("group.remote.assignor", "range")]).await;
    consumer.subscribe_server_pattern("t.*").expect("a group");
    // The topic's name is asked for by its id.
    assert_eq!(hear(&consumer, &events, 1).await, [RebalanceEvent::Assigned(partitions(&[2]))]);
    let (_, join) = broker.requests::<ConsumerGroupHeartbeatRequest>().remove(0);
    assert_eq!((join.subscribed_topic_regex.as_deref(), join.server_assignor.as_deref()), (Some("t.*"), Some("range")));
    assert_eq!(join.subscribed_topic_names, Some(Vec::new()));
}

#[tokio::test]
async fn a_static_member_keeps_its_place_when_it_closes() {
    let broker = coordinator(|request| fine(request.member_epoch.max(1), (request.member_epoch == 0).then_some(&[0])));
    let broker = broker.await;
    let (consumer, events) = consumer(&broker, &[("group.instance.id", "i")]).await;
    consumer.subscribe(["t"]).expect("a group");
    hear(&consumer, &events, 1).await;
    consumer.close(LONG).await.expect("closes");
    let (_, last) = broker.requests::<ConsumerGroupHeartbeatRequest>().pop().expect("heartbeats");
    assert_eq!((last.member_epoch, last.instance_id.as_deref()), (-2, Some("i")));
}

#[tokio::test]
async fn unsubscribing_leaves_the_group() {
    let broker = coordinator(|request| fine(request.member_epoch.max(1), (request.member_epoch == 0).then_some(&[0])));
    let broker = broker.await;
    let (consumer, events) = consumer(&broker, &[]).await;
    consumer.subscribe(["t"]).expect("a group");
    hear(&consumer, &events, 1).await;
    consumer.unsubscribe();
    while broker.requests::<ConsumerGroupHeartbeatRequest>().last().is_none_or(|(_, last)| last.member_epoch != -1) {
        consumer.poll(Duration::from_millis(5)).await.expect("no error");
    }
    assert_eq!((consumer.assignment(), consumer.group_member()), (Vec::new(), None));
}

#[tokio::test]
async fn what_a_member_cannot_help_comes_out_of_poll() {
    for code in
        [ErrorCode::UnsupportedAssignor, ErrorCode::UnreleasedInstanceId, ErrorCode::GroupMaxSizeReached, ErrorCode::UnsupportedVersion]
    {
        let broker = coordinator(move |_| refused(code)).await;
        let (consumer, _events) = consumer(&broker, &[]).await;
        consumer.subscribe(["t"]).expect("a group");
        let error = consumer.poll(LONG).await.expect_err("refused");
        assert_eq!(error.code(), Some(code), "{error}");
    }
}

#[tokio::test]
async fn a_moved_or_loading_coordinator_is_asked_again() {
    let mut codes = vec![ErrorCode::NotCoordinator, ErrorCode::CoordinatorLoadInProgress];
    let broker = coordinator(move |request| match codes.pop() {
        Some(code) => refused(code),
        None => fine(request.member_epoch.max(1), (request.member_epoch == 0).then_some(&[0])),
    });
    let broker = broker.await;
    let (consumer, events) = consumer(&broker, &[]).await;
    consumer.subscribe(["t"]).expect("a group");
    assert_eq!(hear(&consumer, &events, 1).await, [RebalanceEvent::Assigned(partitions(&[0]))]);
    assert_eq!(broker.requests::<FindCoordinatorRequest>().len(), 2);
}

#[tokio::test]
async fn properties_of_the_other_protocol_are_refused() {
    let build = |properties: &[(&str, &str)]| {
        let builder = ClientConfig::builder(ClientKind::Consumer).flag("bootstrap.servers", "127.0.0.1:1");
        properties.iter().fold(builder, |builder, (key, value)| builder.property(*key, *value)).build().map(drop)
    };
    let refused = |properties: &[(&str, &str)]| build(properties).expect_err("refused").to_string();
    assert_eq!(
        refused(&[("group.protocol", "consumer"), ("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "100")]),
        "heartbeat.interval.ms, session.timeout.ms cannot be set when group.protocol=CONSUMER"
    );
    assert_eq!(refused(&[("group.remote.assignor", "range")]), "group.remote.assignor cannot be set when group.protocol=CLASSIC");
    assert_eq!(build(&[("group.protocol", "CONSUMER"), ("group.remote.assignor", "range")]), Ok(()));
    let broker = coordinator(|_| fine(1, None)).await;
    let config = ClientConfig::builder(ClientKind::Consumer).flag("bootstrap.servers", broker.servers()).flag("group.id", "g").build();
    let classic = Consumer::new(&config.expect("valid")).await.expect("connects");
    assert_eq!(classic.subscribe_server_pattern("t"), Err(ConsumerError::ClassicProtocol));
}
