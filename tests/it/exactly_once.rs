//! Consume, transform, produce in transactions on our own broker: clients that die at any point of a transaction, and a broker that is
//! killed, change nothing of what readers of committed records see.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ottla::client::admin::{IsolationLevel, NewTopic, OffsetSpec};
use ottla::client::config::{ClientConfig, ClientKind};
use ottla::client::consumer::{Consumer, OffsetAndMetadata};
use ottla::client::{Admin, ClientError, Producer, ProducerRecord, TransactionError};
use ottla::common::random::Random;
use ottla::common::topic_partition::TopicPartition;
use tokio::sync::Notify;

use crate::broker::Broker;

const NUMBERS: i64 = 400;
const PARTITIONS: i32 = 3;

/// How many steps a client takes before it dies.
struct Life {
    steps: AtomicI64,
    over: Notify,
}

impl Life {
    fn new(steps: i64) -> Arc<Life> {
        Arc::new(Life { steps: AtomicI64::new(steps), over: Notify::new() })
    }

    /// Goes on, or dies here: whoever is dead is dropped soon.
    async fn step(&self) {
        if self.steps.fetch_sub(1, Ordering::Relaxed) <= 0 {
            self.over.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

fn config(kind: ClientKind, servers: &str, properties: &[(&str, &str)]) -> ClientConfig {
    let builder = ClientConfig::builder(kind).flag("bootstrap.servers", servers);
    properties.iter().fold(builder, |builder, (key, value)| builder.property(*key, *value)).build().expect("valid")
}

/// One life of the application.
async fn application(servers: String, group: Vec<(&'static str, &'static str)>, life: Arc<Life>) {
    loop {
        match copy(&servers, &group, &life).await {
            Ok(never) => never,
            Err(ClientError::Transaction(TransactionError::Abortable(_)) | ClientError::TimedOut { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

async fn copy(servers: &str, group: &[(&str, &str)], life: &Life) -> Result<(), ClientError> {
    let properties = [("transactional.id", "copier"), ("transaction.timeout.ms", "10000")];
    let producer = Producer::connect(&config(ClientKind::Producer, servers, &properties)).await?;
    producer.init_transactions().await?;
    let mut properties = vec![
        ("group.id", "copiers"),
        ("enable.auto.commit", "false"),
        ("auto.offset.reset", "earliest"),
        ("isolation.level", "read_committed"),
        ("max.poll.records", "10"),
    ];
    properties.extend_from_slice(group);
    let consumer = Consumer::new(&config(ClientKind::Consumer, servers, &properties)).await.expect("connects");
    consumer.subscribe(["in"]).expect("a group");
    loop {
        let records = consumer.poll(Duration::from_millis(100)).await.expect("records");
        life.step().await;
        if records.is_empty() {
            continue;
        }
        producer.begin_transaction()?;
        let mut offsets = BTreeMap::new();
        for record in &records {
            let number: i64 = std::str::from_utf8(record.value.as_deref().expect("a value")).expect("text").parse().expect("a number");
            let value = (2 * number).to_string();
            let key = record.key.as_deref();
            producer.send(ProducerRecord { topic: "out", key, value: Some(value.as_bytes()), ..Default::default() }).await?;
            offsets.insert(TopicPartition::new(&*record.topic, record.partition), OffsetAndMetadata::from(record.offset + 1));
            life.step().await;
        }
        producer.flush().await;
        life.step().await;
        producer.send_offsets_to_transaction(&offsets, &consumer.group_metadata().expect("a group")).await?;
        life.step().await;
        let dies_during_the_commit = async {
            tokio::task::yield_now().await;
            life.step().await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            committed = producer.commit_transaction() => committed?,
            () = dies_during_the_commit => {}
        }
    }
}

async fn prepare(servers: &str) {
    let admin = Admin::connect(&config(ClientKind::Admin, servers, &[])).await.expect("connects");
    let topic = |name: &str| NewTopic { name: name.to_owned(), num_partitions: Some(PARTITIONS), ..Default::default() };
    for (name, outcome) in admin.create_topics(&[topic("in"), topic("out")], false).await {
        outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let producer = Producer::connect(&config(ClientKind::Producer, servers, &[])).await.expect("connects");
    for number in 1..=NUMBERS {
        let text = number.to_string();
        let record = ProducerRecord { topic: "in", key: Some(text.as_bytes()), value: Some(text.as_bytes()), ..Default::default() };
        producer.send(record).await.expect("accepted");
    }
    assert!(producer.close(Duration::from_secs(60)).await);
}

/// All of `out` that is committed now, in numerical order.
async fn committed(servers: &str) -> Vec<i64> {
    let consumer = Consumer::new(&config(ClientKind::Consumer, servers, &[("isolation.level", "read_committed")])).await.expect("connects");
    let partitions: Vec<TopicPartition> = (0..PARTITIONS).map(|partition| TopicPartition::new("out", partition)).collect();
    consumer.assign(partitions.clone());
    consumer.seek_to_beginning(&partitions).expect("assigned");
    let mut numbers = Vec::new();
    for (partition, end) in consumer.end_offsets(&partitions).await {
        let end = end.expect("an end").offset;
        while consumer.position(&partition).await.expect("a position") < end {
            for record in consumer.poll(Duration::from_millis(100)).await.expect("records") {
                numbers.push(std::str::from_utf8(record.value.as_deref().expect("a value")).expect("text").parse().expect("a number"));
            }
        }
    }
    numbers.sort_unstable();
    numbers
}

/// Lets clients die, and once the broker, until all input is through.
async fn live_and_die(dir: &Path, group: Vec<(&'static str, &'static str)>, seed: u64) {
    let overrides = [
        "group.consumer.min.session.timeout.ms=500",
        "group.consumer.session.timeout.ms=1000",
        "group.consumer.min.heartbeat.interval.ms=100",
        "group.consumer.heartbeat.interval.ms=200",
        "group.initial.rebalance.delay.ms=0",
    ];
    let mut options = vec!["--data".to_owned(), dir.display().to_string()];
    options.extend(overrides.iter().flat_map(|it| ["--override".to_owned(), (*it).to_owned()]));
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let mut broker = Broker::start_with(&options);
    prepare(&broker.address.to_string()).await;
    let mut random = Random::new(seed);
    for life in 0..12 {
        if life == 6 {
            broker.kill();
            broker = Broker::start_with(&options);
        }
        let life = Life::new(random.below(60) as i64);
        let running = tokio::spawn(application(broker.address.to_string(), group.clone(), Arc::clone(&life)));
        life.over.notified().await;
        running.abort();
        assert!(running.await.is_err_and(|error| error.is_cancelled()));
    }
    let servers = broker.address.to_string();
    let running = tokio::spawn(application(servers.clone(), group, Life::new(i64::MAX)));
    let admin = Admin::connect(&config(ClientKind::Admin, &servers, &[])).await.expect("connects");
    let inputs: Vec<TopicPartition> = (0..PARTITIONS).map(|partition| TopicPartition::new("in", partition)).collect();
    let specs = inputs.iter().map(|partition| (partition.clone(), OffsetSpec::Latest)).collect();
    let ends = admin.list_offsets(&specs, IsolationLevel::ReadUncommitted).await;
    loop {
        let offsets = admin.list_group_offsets("copiers", Some(&inputs), true).await.expect("offsets");
        let done = inputs.iter().all(|partition| {
            let end = ends[partition].as_ref().expect("an end").offset;
            offsets.get(partition).is_some_and(|it| it.as_ref().is_ok_and(|it| it.as_ref().is_some_and(|it| it.offset == end)) || end == 0)
        });
        if done {
            break;
        }
        assert!(!running.is_finished(), "the application ended");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    running.abort();
    let expected: Vec<i64> = (1..=NUMBERS).map(|number| 2 * number).collect();
    assert_eq!(committed(&servers).await, expected, "seed {seed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_record_counts_once_with_a_classic_group() {
    let dir = tempfile::tempdir().expect("a directory");
    live_and_die(dir.path(), vec![("group.instance.id", "one"), ("session.timeout.ms", "6000")], 11).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_record_counts_once_with_a_consumer_group() {
    let dir = tempfile::tempdir().expect("a directory");
    live_and_die(dir.path(), vec![("group.protocol", "consumer")], 12).await;
}
