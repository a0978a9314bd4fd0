//! The transactional producer against a scripted coordinator and leader: both protocols, and a test for each kind of error.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ottla::client::cluster::{AutoCreate, Cluster};
use ottla::client::config::{ClientConfig, ClientKind};
use ottla::client::consumer::{ConsumerGroupMetadata, OffsetAndMetadata};
use ottla::client::producer::{Producer, ProducerRecord};
use ottla::client::{ClientError, TransactionError};
use ottla::common::clock::SystemClock;
use ottla::common::topic_partition::TopicPartition;
use ottla::protocol::api_key::ApiKey;
use ottla::protocol::batch::Batches;
use ottla::protocol::error_code::ErrorCode;
use ottla::protocol::messages::add_partitions_to_txn_response::{AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult};
use ottla::protocol::messages::find_coordinator_response::Coordinator;
use ottla::protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use ottla::protocol::messages::txn_offset_commit_response::{TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic};
use ottla::protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, EndTxnRequest, EndTxnResponse,
    FindCoordinatorRequest, FindCoordinatorResponse, InitProducerIdRequest, InitProducerIdResponse, MetadataRequest, ProduceRequest,
    ProduceResponse, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};

use super::fake_broker::{Action, Bound, FakeBroker, metadata, metadata_for};

/// The answers to come of each API, in order; afterwards all is well.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<BTreeMap<ApiKey, Vec<ErrorCode>>>>);

impl Script {
    fn of(answers: &[(ApiKey, &[ErrorCode])]) -> Script {
        Script(Arc::new(Mutex::new(answers.iter().map(|(key, codes)| (*key, codes.to_vec())).collect())))
    }

    fn next(&self, key: ApiKey) -> i16 {
        let mut script = self.0.lock().expect("no panic");
        let codes = script.entry(key).or_default();
        if codes.is_empty() { 0 } else { codes.remove(0).code() }
    }
}

/// Leads `t-0` and `t-1` and coordinates everything, with this level of `transaction.version`.
async fn broker(level: i16, script: Script) -> FakeBroker {
    let bound = Bound::new().await;
    let port = bound.port();
    let answers = |key: ApiKey| {
        let script = script.clone();
        move || script.next(key)
    };
    let bound = bound.feature("transaction.version", level).versions(ApiKey::Produce, 3, 12);
    let bound = bound.on::<MetadataRequest>(move |request, _| metadata_for(&request, metadata(&[(1, port)], &[("t", &[1, 1])], 0)));
    let find = answers(ApiKey::FindCoordinator);
    let bound = bound.on::<FindCoordinatorRequest>(move |request, _| {
        let error_code = find();
        let coordinator = |key: &String| Coordinator {
            key: key.clone(),
            node_id: 1,
            host: "127.0.0.1".to_owned(),
            port,
            error_code,
            ..Default::default()
        };
        let coordinators = request.coordinator_keys.iter().map(coordinator).collect();
        Action::Answer(FindCoordinatorResponse { coordinators, ..Default::default() })
    });
    let init = answers(ApiKey::InitProducerId);
    let bound = bound.on::<InitProducerIdRequest>(move |request, _| {
        let producer_epoch = request.producer_epoch + 1;
        Action::Answer(InitProducerIdResponse { error_code: init(), producer_id: 7, producer_epoch, ..Default::default() })
    });
    let add = answers(ApiKey::AddPartitionsToTxn);
    let bound = bound.on::<AddPartitionsToTxnRequest>(move |request, _| {
        let error = add();
        let topics = request.v3_and_below_topics.into_iter().map(|topic| {
            let results = topic.partitions.into_iter().map(|partition_index| AddPartitionsToTxnPartitionResult {
                partition_index,
                partition_error_code: error,
                ..Default::default()
            });
            AddPartitionsToTxnTopicResult { name: topic.name, results_by_partition: results.collect(), ..Default::default() }
        });
        Action::Answer(AddPartitionsToTxnResponse { results_by_topic_v3_and_below: topics.collect(), ..Default::default() })
    });
    let offsets = answers(ApiKey::AddOffsetsToTxn);
    let bound = bound
        .on::<AddOffsetsToTxnRequest>(move |_, _| Action::Answer(AddOffsetsToTxnResponse { error_code: offsets(), ..Default::default() }));
    let commit = answers(ApiKey::TxnOffsetCommit);
    let bound = bound.on::<TxnOffsetCommitRequest>(move |request, _| {
        let error_code = commit();
        let topics = request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.into_iter();
            let partitions = partitions.map(|it| TxnOffsetCommitResponsePartition {
                partition_index: it.partition_index,
                error_code,
                ..Default::default()
            });
            TxnOffsetCommitResponseTopic { name: topic.name, partitions: partitions.collect(), ..Default::default() }
        });
        Action::Answer(TxnOffsetCommitResponse { topics: topics.collect(), ..Default::default() })
    });
    let end = answers(ApiKey::EndTxn);
    let bound = bound.on::<EndTxnRequest>(move |request, version| {
        let (producer_id, producer_epoch) = if version >= 5 { (7, request.producer_epoch + 1) } else { (-1, -1) };
        Action::Answer(EndTxnResponse { error_code: end(), producer_id, producer_epoch, ..Default::default() })
    });
    let produce = answers(ApiKey::Produce);
    let bound = bound.on::<ProduceRequest>(move |request, _| {
        let error_code = produce();
        if error_code == ErrorCode::RequestTimedOut.code() {
            return Action::Silence;
        }
        let topics = request.topic_data.into_iter().map(|topic| {
            let partitions = topic.partition_data.into_iter();
            let partitions = partitions.map(|it| PartitionProduceResponse { index: it.index, error_code, ..Default::default() });
            TopicProduceResponse { name: topic.name, partition_responses: partitions.collect(), ..Default::default() }
        });
        Action::Answer(ProduceResponse { responses: topics.collect(), ..Default::default() })
    });
    bound.start()
}

async fn producer(broker: &FakeBroker, properties: &[(&str, &str)]) -> Producer {
    let mut builder = ClientConfig::builder(ClientKind::Producer)
        .flag("bootstrap.servers", broker.servers())
        .property("transactional.id", "x")
        .file([("retry.backoff.ms", "1"), ("retry.backoff.max.ms", "1"), ("reconnect.backoff.ms", "1")]);
    for (key, value) in properties {
        builder = builder.property(*key, *value);
    }
    let config = builder.build().expect("valid");
    let cluster = Cluster::connect(&config, "test").await.expect("connects");
    Producer::start(&config, cluster, AutoCreate::Never, SystemClock::shared()).expect("starts")
}

async fn initialized(broker: &FakeBroker) -> Producer {
    let producer = producer(broker, &[]).await;
    producer.init_transactions().await.expect("initialized");
    producer
}

async fn send(producer: &Producer, partition: i32) -> Result<(), ClientError> {
    let record = ProducerRecord { topic: "t", partition: Some(partition), value: Some(b"v"), ..Default::default() };
    producer.send(record).await.map(drop)
}

fn offsets() -> BTreeMap<TopicPartition, OffsetAndMetadata> {
    BTreeMap::from([(TopicPartition::new("in", 0), OffsetAndMetadata::from(5))])
}

/// The batches that were produced: version of the request, epoch, base sequence, in a transaction?
fn produced(broker: &FakeBroker) -> Vec<(i16, i16, i32, bool)> {
    let mut all = Vec::new();
    for (version, request) in broker.requests::<ProduceRequest>() {
        assert_eq!(request.transactional_id.as_deref(), Some("x"));
        for partition in request.topic_data.iter().flat_map(|topic| &topic.partition_data) {
            let bytes = partition.records.as_ref().and_then(|records| records.as_bytes()).expect("records");
            let header = *Batches::new(bytes).next().expect("a batch").expect("whole").header();
            all.push((version, header.producer_epoch, header.base_sequence, header.is_transactional()));
        }
    }
    all
}

fn keys(broker: &FakeBroker) -> Vec<ApiKey> {
    let of_transactions = [
        ApiKey::InitProducerId,
        ApiKey::AddPartitionsToTxn,
        ApiKey::AddOffsetsToTxn,
        ApiKey::TxnOffsetCommit,
        ApiKey::Produce,
        ApiKey::EndTxn,
    ];
    broker.seen().into_iter().map(|seen| seen.key).filter(|key| of_transactions.contains(key)).collect()
}

fn is_abortable(error: &ClientError) -> bool {
    matches!(error, ClientError::Transaction(TransactionError::Abortable(_)))
}

fn is_fatal(error: &ClientError) -> bool {
    matches!(error, ClientError::Transaction(TransactionError::Fatal(_)))
}

fn is_fenced(error: &ClientError) -> bool {
    matches!(error, ClientError::Transaction(TransactionError::Fenced { .. }))
}

#[tokio::test]
async fn the_classic_protocol_adds_partitions_and_offsets_and_keeps_the_epoch() {
    let broker = broker(1, Script::default()).await;
    let producer = initialized(&broker).await;
    for _ in 0..2 {
        producer.begin_transaction().expect("begins");
        send(&producer, 0).await.expect("accepted");
        producer.flush().await;
        producer.send_offsets_to_transaction(&offsets(), &ConsumerGroupMetadata::new("g")).await.expect("committed");
        producer.commit_transaction().await.expect("committed");
    }
    let transaction = [ApiKey::AddPartitionsToTxn, ApiKey::Produce, ApiKey::AddOffsetsToTxn, ApiKey::TxnOffsetCommit, ApiKey::EndTxn];
    assert_eq!(keys(&broker), [&[ApiKey::InitProducerId], &transaction[..], &transaction[..]].concat());
    assert_eq!(produced(&broker), [(11, 0, 0, true), (11, 0, 1, true)], "one epoch, one sequence");
    assert_eq!(broker.requests::<EndTxnRequest>().iter().map(|(version, _)| *version).collect::<Vec<_>>(), [4, 4]);
    assert_eq!(broker.requests::<TxnOffsetCommitRequest>()[0].0, 4);
    assert_eq!(broker.requests::<AddPartitionsToTxnRequest>()[0].0, 3);
}

#[tokio::test]
async fn transaction_version_2_leaves_the_adding_to_brokers_and_changes_the_epoch_each_time() {
    let broker = broker(2, Script::default()).await;
    let producer = initialized(&broker).await;
    let group = ConsumerGroupMetadata { generation_id: 3, member_id: "m".to_owned(), ..ConsumerGroupMetadata::new("g") };
    for _ in 0..2 {
        producer.begin_transaction().expect("begins");
        send(&producer, 0).await.expect("accepted");
        producer.flush().await;
        producer.send_offsets_to_transaction(&offsets(), &group).await.expect("committed");
        producer.commit_transaction().await.expect("committed");
    }
    let transaction = [ApiKey::Produce, ApiKey::TxnOffsetCommit, ApiKey::EndTxn];
    assert_eq!(keys(&broker), [&[ApiKey::InitProducerId], &transaction[..], &transaction[..]].concat());
    assert_eq!(produced(&broker), [(12, 0, 0, true), (12, 1, 0, true)]);
    let ends: Vec<(i16, i16)> = broker.requests::<EndTxnRequest>().iter().map(|(version, end)| (*version, end.producer_epoch)).collect();
    assert_eq!(ends, [(5, 0), (5, 1)]);
    let (version, commit) = &broker.requests::<TxnOffsetCommitRequest>()[1];
    assert_eq!((*version, commit.producer_epoch, commit.generation_id, commit.member_id.as_str()), (5, 1, 3, "m"));
}

#[tokio::test]
async fn brokers_that_say_nothing_of_features_get_the_classic_protocol() {
    let script = Script::default();
    let bound = broker(0, script).await;
    let producer = initialized(&bound).await;
    producer.begin_transaction().expect("begins");
    send(&producer, 1).await.expect("accepted");
    producer.commit_transaction().await.expect("committed");
    assert_eq!(keys(&bound), [ApiKey::InitProducerId, ApiKey::AddPartitionsToTxn, ApiKey::Produce, ApiKey::EndTxn]);
}

#[tokio::test]
async fn nothing_can_be_sent_before_or_between_transactions() {
    let broker = broker(2, Script::default()).await;
    let producer = producer(&broker, &[]).await;
    assert!(send(&producer, 0).await.expect_err("too early").to_string().contains("initTransactions"));
    producer.init_transactions().await.expect("initialized");
    assert!(send(&producer, 0).await.expect_err("too early").to_string().contains("while in state READY"));
    producer.begin_transaction().expect("begins");
    producer.commit_transaction().await.expect("nothing to commit");
    assert_eq!(keys(&broker), [ApiKey::InitProducerId]);
}

#[tokio::test]
async fn passing_errors_of_coordinators_are_waited_out() {
    let passing = [ErrorCode::CoordinatorNotAvailable, ErrorCode::CoordinatorLoadInProgress, ErrorCode::ConcurrentTransactions];
    let script = Script::of(&[
        (ApiKey::FindCoordinator, &passing[..1]),
        (ApiKey::InitProducerId, &passing),
        (ApiKey::AddPartitionsToTxn, &passing),
        (ApiKey::AddOffsetsToTxn, &passing),
        (ApiKey::TxnOffsetCommit, &passing[..2]),
        (ApiKey::EndTxn, &passing),
    ]);
    let broker = broker(1, script).await;
    let producer = initialized(&broker).await;
    producer.begin_transaction().expect("begins");
    send(&producer, 0).await.expect("accepted");
    producer.send_offsets_to_transaction(&offsets(), &ConsumerGroupMetadata::new("g")).await.expect("committed");
    producer.commit_transaction().await.expect("committed");
    assert_eq!(broker.requests::<EndTxnRequest>().len(), 4);
}

#[tokio::test]
async fn a_fenced_producer_says_so_at_every_call() {
    for code in [ErrorCode::ProducerFenced, ErrorCode::InvalidProducerEpoch] {
        let broker = broker(2, Script::of(&[(ApiKey::EndTxn, &[code])])).await;
        let producer = initialized(&broker).await;
        producer.begin_transaction().expect("begins");
        send(&producer, 0).await.expect("accepted");
        assert!(is_fenced(&producer.commit_transaction().await.expect_err("fenced")));
        assert!(is_fenced(&producer.abort_transaction().await.expect_err("fenced")));
        assert!(is_fenced(&producer.begin_transaction().expect_err("fenced")));
        assert!(is_fenced(&send(&producer, 0).await.expect_err("fenced")));
        assert!(producer.close(Duration::from_secs(60)).await, "closing needs nothing more");
    }
}

#[tokio::test]
async fn a_refused_record_makes_the_commit_fail_and_the_abort_possible() {
    for level in [1, 2] {
        let broker = broker(level, Script::of(&[(ApiKey::Produce, &[ErrorCode::InvalidRecord])])).await;
        let producer = initialized(&broker).await;
        producer.begin_transaction().expect("begins");
        send(&producer, 0).await.expect("accepted");
        producer.flush().await;
        let error = producer.commit_transaction().await.expect_err("not committed");
        assert!(is_abortable(&error) && error.is(ErrorCode::InvalidRecord), "{error}");
        producer.abort_transaction().await.expect("aborted");
        producer.begin_transaction().expect("begins");
        send(&producer, 0).await.expect("accepted");
        producer.commit_transaction().await.expect("committed");
        let ends: Vec<bool> = broker.requests::<EndTxnRequest>().iter().map(|(_, end)| end.committed).collect();
        assert_eq!(ends, [false, true]);
        // Before transaction.version 2 the client itself asks for the new epoch.
        assert_eq!(broker.requests::<InitProducerIdRequest>().len(), if level == 1 { 2 } else { 1 });
        assert_eq!(produced(&broker).last().map(|(_, epoch, sequence, _)| (*epoch, *sequence)), Some((1, 0)));
    }
}

#[tokio::test]
async fn a_record_that_expires_in_a_transaction_makes_it_abortable() {
    let broker = broker(2, Script::of(&[(ApiKey::Produce, &[ErrorCode::RequestTimedOut])])).await;
    let properties = [("request.timeout.ms", "50"), ("linger.ms", "0"), ("delivery.timeout.ms", "50")];
    let producer = producer(&broker, &properties).await;
    producer.init_transactions().await.expect("initialized");
    producer.begin_transaction().expect("begins");
    send(&producer, 0).await.expect("accepted");
    assert!(is_abortable(&producer.commit_transaction().await.expect_err("not committed")));
    producer.abort_transaction().await.expect("aborted");
    producer.begin_transaction().expect("begins");
}

#[tokio::test]
async fn a_record_that_is_too_large_makes_the_transaction_abortable() {
    let broker = broker(2, Script::default()).await;
    let producer = producer(&broker, &[("max.request.size", "200")]).await;
    producer.init_transactions().await.expect("initialized");
    producer.begin_transaction().expect("begins");
    let record = ProducerRecord { topic: "t", value: Some(&[0; 500]), ..Default::default() };
    assert!(producer.send(record).await.expect_err("too large").is(ErrorCode::MessageTooLarge));
    assert!(is_abortable(&producer.commit_transaction().await.expect_err("not committed")));
    producer.abort_transaction().await.expect("aborted");
}

#[tokio::test]
async fn fatal_errors_leave_only_closing() {
    for (key, code) in [
        (ApiKey::EndTxn, ErrorCode::InvalidTxnState),
        (ApiKey::EndTxn, ErrorCode::InvalidProducerIdMapping),
        (ApiKey::EndTxn, ErrorCode::TransactionalIdAuthorizationFailed),
        (ApiKey::Produce, ErrorCode::ClusterAuthorizationFailed),
    ] {
        let broker = broker(2, Script::of(&[(key, &[code])])).await;
        let producer = initialized(&broker).await;
        producer.begin_transaction().expect("begins");
        send(&producer, 0).await.expect("accepted");
        let error = producer.commit_transaction().await.expect_err("fatal");
        assert!(is_fatal(&error) && error.is(code), "{error}");
        assert!(is_fatal(&producer.abort_transaction().await.expect_err("fatal")));
        assert!(producer.close(Duration::from_secs(60)).await);
    }
}

#[tokio::test]
async fn a_group_that_has_moved_on_makes_the_transaction_abortable() {
    for code in [ErrorCode::IllegalGeneration, ErrorCode::UnknownMemberId, ErrorCode::FencedInstanceId] {
        let broker = broker(2, Script::of(&[(ApiKey::TxnOffsetCommit, &[code])])).await;
        let producer = initialized(&broker).await;
        producer.begin_transaction().expect("begins");
        let error = producer.send_offsets_to_transaction(&offsets(), &ConsumerGroupMetadata::new("g")).await.expect_err("refused");
        assert!(is_abortable(&error) && error.is(code), "{error}");
        producer.abort_transaction().await.expect("aborted");
    }
}

#[tokio::test]
async fn records_that_were_not_sent_fail_with_the_abort() {
    let broker = broker(2, Script::default()).await;
    let producer = producer(&broker, &[("linger.ms", "60000"), ("delivery.timeout.ms", "120000")]).await;
    producer.init_transactions().await.expect("initialized");
    producer.begin_transaction().expect("begins");
    let record = ProducerRecord { topic: "t", value: Some(b"v"), ..Default::default() };
    let delivery = producer.send(record).await.expect("accepted");
    producer.abort_transaction().await.expect("aborted");
    assert_eq!(delivery.wait().await, Err(TransactionError::Aborted.into()));
    assert_eq!(keys(&broker), [ApiKey::InitProducerId, ApiKey::EndTxn]);
}

#[tokio::test]
async fn closing_aborts_what_is_open() {
    let broker = broker(2, Script::default()).await;
    let producer = initialized(&broker).await;
    producer.begin_transaction().expect("begins");
    send(&producer, 0).await.expect("accepted");
    assert!(producer.close(Duration::from_secs(60)).await);
    let ends: Vec<bool> = broker.requests::<EndTxnRequest>().iter().map(|(_, end)| end.committed).collect();
    assert_eq!(ends, [false]);
    assert_eq!(producer.begin_transaction(), Err(ClientError::Closed("producer")));
}

#[tokio::test]
async fn a_call_that_times_out_can_be_repeated() {
    let many = [ErrorCode::ConcurrentTransactions; 200];
    let broker = broker(2, Script::of(&[(ApiKey::InitProducerId, &many)])).await;
    let producer = producer(&broker, &[("max.block.ms", "20")]).await;
    let error = producer.init_transactions().await.expect_err("takes longer");
    assert!(matches!(error, ClientError::TimedOut { call: "initTransactions", .. }), "{error}");
    assert!(producer.begin_transaction().expect_err("not yet").to_string().contains("must be retried"));
    while let Err(error) = producer.init_transactions().await {
        assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
    }
    producer.begin_transaction().expect("begins");
}
