//! The producer against brokers that refuse, move, forget and hang up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ottla::client::cluster::{AutoCreate, Cluster};
use ottla::client::config::{ClientConfig, ClientKind};
use ottla::client::producer::{Delivery, Producer, ProducerRecord};
use ottla::common::clock::SystemClock;
use ottla::protocol::api_key::ApiKey;
use ottla::protocol::batch::{BatchHeader, Batches};
use ottla::protocol::error_code::ErrorCode;
use ottla::protocol::messages::produce_response::{LeaderIdAndEpoch, PartitionProduceResponse, TopicProduceResponse};
use ottla::protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, MetadataRequest, ProduceRequest, ProduceResponse};

use super::fake_broker::{Action, Bound, FakeBroker, Gate, metadata, metadata_for};

/// One batch as the fake log took it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Taken {
    epoch: i16,
    base_sequence: i32,
    values: Vec<String>,
}

/// A log that checks sequences as a leader does.
#[derive(Default)]
struct FakeLog {
    taken: Vec<Taken>,
    requests: usize,
}

impl FakeLog {
    fn values(&self) -> Vec<String> {
        self.taken.iter().flat_map(|batch| batch.values.clone()).collect()
    }

    /// Appends a batch, or finds why not.
    fn append(&mut self, header: &BatchHeader, values: Vec<String>) -> (ErrorCode, i64) {
        let end = self.values().len() as i64;
        if header.has_producer_id() {
            if self.taken.iter().any(|batch| (batch.epoch, batch.base_sequence) == (header.producer_epoch, header.base_sequence)) {
                return (ErrorCode::DuplicateSequenceNumber, -1);
            }
            let same_epoch = self.taken.iter().filter(|batch| batch.epoch == header.producer_epoch);
            let next: i32 = same_epoch.map(|batch| batch.values.len() as i32).sum();
            if header.base_sequence != next {
                return (ErrorCode::OutOfOrderSequenceNumber, -1);
            }
        }
        self.taken.push(Taken { epoch: header.producer_epoch, base_sequence: header.base_sequence, values });
        (ErrorCode::None, end)
    }
}

/// A refusal comes from the number of the request (from 0) and the batch.
type Refusal = Box<dyn FnMut(usize, &BatchHeader) -> Option<PartitionProduceResponse> + Send>;

fn refuse(code: ErrorCode) -> Option<PartitionProduceResponse> {
    Some(PartitionProduceResponse { error_code: code.code(), base_offset: -1, log_start_offset: -1, ..Default::default() })
}

/// Answers a produce request for partitions of topic `t`, all of which are one log.
fn produce(log: &Mutex<FakeLog>, request: &ProduceRequest, refusal: &mut Refusal) -> ProduceResponse {
    let mut log = log.lock().expect("no panic");
    let number = log.requests;
    log.requests += 1;
    let mut response = TopicProduceResponse { name: "t".to_owned(), ..Default::default() };
    for partition in &request.topic_data[0].partition_data {
        let bytes = partition.records.as_ref().and_then(|records| records.as_bytes()).expect("records");
        let batch = Batches::new(bytes).next().expect("a batch").expect("a whole batch");
        batch.verify_crc().expect("a good checksum");
        let values = batch.records().map(|it| String::from_utf8(it.expect("a record").value.expect("a value").to_vec()).expect("text"));
        let mut answer = match refusal(number, batch.header()) {
            Some(answer) => answer,
            None => {
                let (code, base_offset) = log.append(batch.header(), values.collect());
                PartitionProduceResponse { error_code: code.code(), base_offset, log_append_time_ms: -1, ..Default::default() }
            }
        };
        answer.index = partition.index;
        response.partition_responses.push(answer);
    }
    ProduceResponse { responses: vec![response], ..Default::default() }
}

struct Fixture {
    broker: FakeBroker,
    log: Arc<Mutex<FakeLog>>,
}

/// Topic ids are left out (Produce up to version 12), as on brokers before Kafka 4.1.
async fn broker(leaders: &'static [i32], mut refusal: Refusal) -> Fixture {
    let log = Arc::new(Mutex::new(FakeLog::default()));
    let (appending, bound) = (Arc::clone(&log), Bound::new().await);
    let bound =
        with_metadata(bound, leaders).on::<ProduceRequest>(move |request, _| Action::Answer(produce(&appending, &request, &mut refusal)));
    Fixture { broker: bound.start(), log }
}

fn with_metadata(bound: Bound, leaders: &'static [i32]) -> Bound {
    let port = bound.port();
    bound
        .versions(ApiKey::Produce, 3, 12)
        .on::<MetadataRequest>(move |request, _| metadata_for(&request, metadata(&[(1, port)], &[("t", leaders)], 0)))
        .on::<InitProducerIdRequest>(|_, _| {
            Action::Answer(InitProducerIdResponse { producer_id: 7, producer_epoch: 0, ..Default::default() })
        })
}

async fn producer(servers: &str, properties: &[(&str, &str)]) -> Producer {
    let mut builder = ClientConfig::builder(ClientKind::Producer).flag("bootstrap.servers", servers).file([
        ("retry.backoff.ms", "1"),
        ("retry.backoff.max.ms", "1"),
        ("linger.ms", "0"),
        ("reconnect.backoff.ms", "1"),
    ]);
    for (key, value) in properties {
        builder = builder.property(*key, *value);
    }
    let config = builder.build().expect("valid");
    let cluster = Cluster::connect(&config, "test").await.expect("connects");
    Producer::start(&config, cluster, AutoCreate::Never, SystemClock::shared()).expect("starts")
}

async fn send(producer: &Producer, value: &str) -> Delivery {
    let record = ProducerRecord { topic: "t", value: Some(value.as_bytes()), ..Default::default() };
    producer.send(record).await.expect("accepted")
}

/// Sends values one batch each: the batch size is too small for two.
async fn send_all(producer: &Producer, count: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    for number in 0..count {
        deliveries.push(send(producer, &number.to_string()).await);
    }
    deliveries
}

async fn offsets(deliveries: Vec<Delivery>) -> Vec<Option<i64>> {
    let mut offsets = Vec::new();
    for delivery in deliveries {
        offsets.push(delivery.wait().await.expect("delivered").offset);
    }
    offsets
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn records_get_offsets_and_batches_share_them() {
    let fixture = broker(&[1], Box::new(|_, _| None)).await;
    let producer = producer(&fixture.broker.servers(), &[("linger.ms", "60000"), ("delivery.timeout.ms", "120000")]).await;
    let deliveries = send_all(&producer, 100).await;
    producer.flush().await;
    assert_eq!(offsets(deliveries).await, (0..100).map(Some).collect::<Vec<_>>());
    assert_eq!(fixture.log.lock().expect("no panic").taken.len(), 1, "one batch, as nothing was full and nothing had lingered");
    assert!(producer.close(Duration::from_secs(60)).await);
    let record = ProducerRecord { topic: "t", value: Some(b"late"), ..Default::default() };
    assert_eq!(producer.send(record).await.expect_err("closed").to_string(), "the producer was closed");
}

#[tokio::test]
async fn keys_choose_partitions_as_javas_do() {
    let fixture = broker(&[1, 1, 1], Box::new(|_, _| None)).await;
    let producer = producer(&fixture.broker.servers(), &[("enable.idempotence", "false")]).await;
    for (key, partition) in [("abc", 0), ("UA", 1), ("abcd", 2)] {
        let record = ProducerRecord { topic: "t", key: Some(key.as_bytes()), value: Some(b"v"), ..Default::default() };
        let delivery = producer.send(record).await.expect("accepted");
        assert_eq!(delivery.wait().await.expect("delivered").topic_partition.partition, partition, "{key}");
    }
}

#[tokio::test]
async fn order_survives_retries_with_five_requests_in_flight() {
    // The first two attempts fail for a reason that passes; what was in flight behind them is out of order then.
    let refusal: Refusal = Box::new(|number, _| if number < 2 { refuse(ErrorCode::NotEnoughReplicas) } else { None });
    let fixture = broker(&[1], refusal).await;
    let producer = producer(&fixture.broker.servers(), &[("batch.size", "1")]).await;
    let deliveries = send_all(&producer, 50).await;
    assert_eq!(offsets(deliveries).await, (0..50).map(Some).collect::<Vec<_>>());
    let log = fixture.log.lock().expect("no panic");
    assert_eq!(log.values(), numbers(50));
    assert!(log.requests > 50, "some were sent again");
}

#[tokio::test]
async fn order_without_idempotence_takes_one_request_in_flight() {
    let refusal: Refusal = Box::new(|number, _| if number % 3 == 0 { refuse(ErrorCode::NotEnoughReplicas) } else { None });
    let fixture = broker(&[1], refusal).await;
    let properties = [("batch.size", "1"), ("enable.idempotence", "false"), ("max.in.flight.requests.per.connection", "1")];
    let producer = producer(&fixture.broker.servers(), &properties).await;
    let deliveries = send_all(&producer, 20).await;
    assert_eq!(offsets(deliveries).await.len(), 20);
    assert_eq!(fixture.log.lock().expect("no panic").values(), numbers(20));
}

#[tokio::test]
async fn a_lost_answer_does_not_duplicate() {
    let log = Arc::new(Mutex::new(FakeLog::default()));
    let appending = Arc::clone(&log);
    let bound = with_metadata(Bound::new().await, &[1]).on::<ProduceRequest>(move |request, _| {
        let mut none: Refusal = Box::new(|_, _| None);
        let response = produce(&appending, &request, &mut none);
        let first = appending.lock().expect("no panic").requests == 1;
        if first { Action::Close } else { Action::Answer(response) }
    });
    let broker = bound.start();
    let producer = producer(&broker.servers(), &[("batch.size", "1")]).await;
    let deliveries = send_all(&producer, 5).await;
    let offsets = offsets(deliveries).await;
    assert_eq!(offsets[0], None, "the log has it, but where is not known any more");
    assert_eq!(offsets[1..], [Some(1), Some(2), Some(3), Some(4)]);
    assert_eq!(log.lock().expect("no panic").values(), numbers(5));
}

#[tokio::test]
async fn a_new_leader_is_found() {
    let (old, new) = (Bound::new().await, Bound::new().await);
    let ports = [(1, old.port()), (2, new.port())];
    let log = Arc::new(Mutex::new(FakeLog::default()));
    let moved = Arc::new(Mutex::new(false));
    let script = |bound: Bound, moved: &Arc<Mutex<bool>>| {
        let moved = Arc::clone(moved);
        bound
            .versions(ApiKey::Produce, 3, 9)
            .on::<MetadataRequest>(move |request, _| {
                let leader: (&[i32], i32) = if *moved.lock().expect("no panic") { (&[2], 6) } else { (&[1], 5) };
                metadata_for(&request, metadata(&ports, &[("t", leader.0)], leader.1))
            })
            .on::<InitProducerIdRequest>(|_, _| Action::Answer(InitProducerIdResponse { producer_id: 7, ..Default::default() }))
    };
    let (moving, unused, appending) = (Arc::clone(&moved), Arc::new(Mutex::new(FakeLog::default())), Arc::clone(&log));
    let old = script(old, &moved).on::<ProduceRequest>(move |request, _| {
        *moving.lock().expect("no panic") = true;
        let mut refusal: Refusal = Box::new(|_, _| refuse(ErrorCode::NotLeaderOrFollower));
        Action::Answer(produce(&unused, &request, &mut refusal))
    });
    let new = script(new, &moved).on::<ProduceRequest>(move |request, _| {
        let mut none: Refusal = Box::new(|_, _| None);
        Action::Answer(produce(&appending, &request, &mut none))
    });
    let (old, _new) = (old.start(), new.start());
    let producer = producer(&old.servers(), &[("batch.size", "1")]).await;
    let deliveries = send_all(&producer, 3).await;
    assert_eq!(offsets(deliveries).await, [Some(0), Some(1), Some(2)]);
    assert_eq!(log.lock().expect("no panic").values(), numbers(3));
}

#[tokio::test]
async fn a_refusal_that_names_the_new_leader_needs_no_metadata() {
    let (old, new) = (Bound::new().await, Bound::new().await);
    let ports = [(1, old.port()), (2, new.port())];
    let log = Arc::new(Mutex::new(FakeLog::default()));
    let script = |bound: Bound| {
        bound
            .versions(ApiKey::Produce, 3, 12)
            .on::<MetadataRequest>(move |request, _| metadata_for(&request, metadata(&ports, &[("t", &[1])], 5)))
            .on::<InitProducerIdRequest>(|_, _| Action::Answer(InitProducerIdResponse { producer_id: 7, ..Default::default() }))
    };
    let (unused, appending) = (Arc::new(Mutex::new(FakeLog::default())), Arc::clone(&log));
    let old = script(old).on::<ProduceRequest>(move |request, _| {
        let mut refusal: Refusal = Box::new(|_, _| {
            let current_leader = LeaderIdAndEpoch { leader_id: 2, leader_epoch: 6, ..Default::default() };
            refuse(ErrorCode::NotLeaderOrFollower).map(|answer| PartitionProduceResponse { current_leader, ..answer })
        });
        Action::Answer(produce(&unused, &request, &mut refusal))
    });
    let new = script(new).on::<ProduceRequest>(move |request, _| {
        let mut none: Refusal = Box::new(|_, _| None);
        Action::Answer(produce(&appending, &request, &mut none))
    });
    let (old, _new) = (old.start(), new.start());
    let producer = producer(&old.servers(), &[]).await;
    assert_eq!(send(&producer, "x").await.wait().await.expect("delivered").offset, Some(0));
}

#[tokio::test]
async fn a_broker_that_forgot_the_producer_gets_a_new_epoch() {
    let refusal: Refusal = Box::new(|number, _| match number {
        1 => refuse(ErrorCode::UnknownProducerId).map(|answer| PartitionProduceResponse { log_start_offset: 1, ..answer }),
        _ => None,
    });
    let fixture = broker(&[1], refusal).await;
    let producer = producer(&fixture.broker.servers(), &[]).await;
    for number in 0..3 {
        send(&producer, &number.to_string()).await.wait().await.expect("delivered");
    }
    let log = fixture.log.lock().expect("no panic");
    let stamps: Vec<(i16, i32)> = log.taken.iter().map(|batch| (batch.epoch, batch.base_sequence)).collect();
    assert_eq!(stamps, [(0, 0), (1, 0), (1, 1)]);
    assert_eq!(log.values(), numbers(3));
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_split() {
    for (idempotent, most) in [("true", 3), ("false", 1)] {
        let refusal: Refusal =
            Box::new(move |_, header| if header.record_count > most { refuse(ErrorCode::MessageTooLarge) } else { None });
        let fixture = broker(&[1], refusal).await;
        let properties =
            [("linger.ms", "60000"), ("delivery.timeout.ms", "120000"), ("batch.size", "100000"), ("enable.idempotence", idempotent)];
        let producer = producer(&fixture.broker.servers(), &properties).await;
        let outcomes = Arc::new(Mutex::new(BTreeMap::new()));
        for number in 0..20_i64 {
            let outcomes = Arc::clone(&outcomes);
            let value = number.to_string();
            let record = ProducerRecord { topic: "t", value: Some(value.as_bytes()), ..Default::default() };
            let note = move |outcome: Result<ottla::client::producer::RecordMetadata, _>| {
                outcomes.lock().expect("no panic").insert(number, outcome.expect("delivered").offset);
            };
            producer.send_with(record, note).await.expect("accepted");
        }
        producer.flush().await;
        assert_eq!(fixture.log.lock().expect("no panic").values(), numbers(20));
        assert_eq!(*outcomes.lock().expect("no panic"), (0..20).map(|number| (number, Some(number))).collect());
    }
}

#[tokio::test]
async fn what_cannot_be_delivered_in_time_fails_with_the_reason() {
    let fixture = broker(&[1], Box::new(|_, _| refuse(ErrorCode::NotEnoughReplicas))).await;
    let properties = [("delivery.timeout.ms", "200"), ("request.timeout.ms", "100")];
    let producer = producer(&fixture.broker.servers(), &properties).await;
    let error = send(&producer, "x").await.wait().await.expect_err("never enough replicas").to_string();
    let reason = ErrorCode::NotEnoughReplicas.message();
    assert!(error.contains(reason), "{error}");
}

#[tokio::test]
async fn an_error_that_will_not_pass_fails_at_once_and_the_rest_goes_on() {
    let refusal: Refusal = Box::new(|number, _| if number == 0 { refuse(ErrorCode::TopicAuthorizationFailed) } else { None });
    let fixture = broker(&[1], refusal).await;
    let producer = producer(&fixture.broker.servers(), &[]).await;
    let error = send(&producer, "x").await.wait().await.expect_err("not allowed");
    assert!(error.is(ErrorCode::TopicAuthorizationFailed), "{error}");
    send(&producer, "y").await.wait().await.expect("delivered");
    let log = fixture.log.lock().expect("no panic");
    assert_eq!(log.taken.iter().map(|batch| (batch.epoch, batch.base_sequence)).collect::<Vec<_>>(), [(1, 0)]);
}

#[tokio::test]
async fn a_full_buffer_holds_senders_back() {
    let gate = Gate::new();
    let held = gate.clone();
    let log = Arc::new(Mutex::new(FakeLog::default()));
    let appending = Arc::clone(&log);
    let bound = with_metadata(Bound::new().await, &[1]).on::<ProduceRequest>(move |request, _| {
        let mut none: Refusal = Box::new(|_, _| None);
        Action::AnswerAfter(held.clone(), produce(&appending, &request, &mut none))
    });
    let broker = bound.start();
    let properties = [("batch.size", "100"), ("buffer.memory", "250"), ("max.block.ms", "100")];
    let producer = producer(&broker.servers(), &properties).await;
    let value = "v".repeat(90);
    let first = send(&producer, &value).await;
    let record = ProducerRecord { topic: "t", value: Some(value.as_bytes()), ..Default::default() };
    let error = producer.send(record).await.expect_err("no room").to_string();
    assert!(error.starts_with("Failed to allocate "), "{error}");
    gate.open();
    first.wait().await.expect("delivered");
    send(&producer, &value).await.wait().await.expect("there is room again");
}

#[tokio::test]
async fn a_record_beyond_the_largest_request_is_refused() {
    let fixture = broker(&[1], Box::new(|_, _| None)).await;
    let producer = producer(&fixture.broker.servers(), &[("max.request.size", "1000")]).await;
    let record = ProducerRecord { topic: "t", value: Some(&[0; 1000]), ..Default::default() };
    let error = producer.send(record).await.expect_err("too large");
    assert!(error.is(ErrorCode::MessageTooLarge), "{error}");
    assert!(error.to_string().contains("which is the value of the max.request.size configuration."), "{error}");
}

#[tokio::test]
async fn closing_in_no_time_fails_what_is_left() {
    let log = Arc::new(Mutex::new(FakeLog::default()));
    let bound = with_metadata(Bound::new().await, &[1]).on::<ProduceRequest>(|_, _| Action::Silence);
    let broker = bound.start();
    let producer = producer(&broker.servers(), &[]).await;
    let called = Arc::clone(&log);
    let record = ProducerRecord { topic: "t", value: Some(b"x"), ..Default::default() };
    let note = move |outcome: Result<_, _>| {
        assert!(outcome.is_err());
        called.lock().expect("no panic").requests += 1;
    };
    let delivery = producer.send_with(record, note).await.expect("accepted");
    broker.wait_for::<ProduceRequest>(1).await;
    assert!(!producer.close(Duration::ZERO).await);
    assert_eq!(delivery.wait().await.expect_err("closed").to_string(), "the producer was closed");
    assert_eq!(log.lock().expect("no panic").requests, 1, "the callback was called once");
}

#[tokio::test]
async fn without_acknowledgements_nothing_is_waited_for() {
    let log = Arc::new(Mutex::new(FakeLog::default()));
    let appending = Arc::clone(&log);
    let bound = with_metadata(Bound::new().await, &[1]).on::<ProduceRequest>(move |request, _| {
        assert_eq!(request.acks, 0);
        let mut none: Refusal = Box::new(|_, _| None);
        produce(&appending, &request, &mut none);
        Action::Silence
    });
    let broker = bound.start();
    let producer = producer(&broker.servers(), &[("acks", "0"), ("batch.size", "1")]).await;
    let deliveries = send_all(&producer, 20).await;
    assert_eq!(offsets(deliveries).await, [None; 20]);
    broker.wait_for::<ProduceRequest>(20).await;
    assert_eq!(log.lock().expect("no panic").values(), numbers(20));
}

#[tokio::test]
async fn a_broker_of_kafka_2_1_is_spoken_to_in_its_versions() {
    let log = Arc::new(Mutex::new(FakeLog::default()));
    let appending = Arc::clone(&log);
    let bound = with_metadata(Bound::new().await, &[1])
        .api_versions_up_to(2)
        .versions(ApiKey::Produce, 0, 7)
        .versions(ApiKey::Metadata, 0, 7)
        .versions(ApiKey::InitProducerId, 0, 1)
        .on::<ProduceRequest>(move |request, _| {
            let mut none: Refusal = Box::new(|_, _| None);
            Action::Answer(produce(&appending, &request, &mut none))
        });
    let broker = bound.start();
    let producer = producer(&broker.servers(), &[("compression.type", "zstd")]).await;
    assert_eq!(send(&producer, "x").await.wait().await.expect("delivered").offset, Some(0));
    let mut versions: Vec<(ApiKey, i16)> = broker.seen().iter().map(|seen| (seen.key, seen.version)).collect();
    versions.sort();
    versions.dedup();
    let expected =
        [(ApiKey::Produce, 7), (ApiKey::Metadata, 7), (ApiKey::ApiVersions, 0), (ApiKey::ApiVersions, 4), (ApiKey::InitProducerId, 1)];
    assert_eq!(versions, expected);
    assert_eq!(log.lock().expect("no panic").values(), ["x"]);
}
