//! A cluster: bootstrap, leaders, coordinators.

use std::sync::{Arc, Mutex};

use ottla::client::cluster::{AutoCreate, Cluster, CoordinatorKind};
use ottla::client::config::{ClientConfig, ClientKind};
use ottla::client::error::ClientError;
use ottla::common::topic_partition::TopicPartition;
use ottla::protocol::api_key::ApiKey;
use ottla::protocol::error_code::ErrorCode;
use ottla::protocol::messages::find_coordinator_response::Coordinator;
use ottla::protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse, MetadataRequest};
use tokio::net::TcpListener;

use super::fake_broker::{Action, Bound, FakeBroker, metadata, metadata_for, stranger};

async fn connect(servers: &str) -> Result<Cluster, ClientError> {
    let config = ClientConfig::builder(ClientKind::Admin)
        .flag("bootstrap.servers", servers)
        .property("retry.backoff.ms", "1")
        .property("retry.backoff.max.ms", "1");
    Cluster::connect(&config.build().expect("valid"), "test").await
}

/// A port that nobody listens on.
async fn closed_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port").local_addr().expect("bound").port()
}

#[tokio::test]
async fn every_address_is_reported_with_its_reason() {
    let (closed, http) = (closed_port().await, stranger(b"HTTP/1.0 400 No\r\n", false).await);
    let error = connect(&format!("127.0.0.1:{closed},{http},no-such-host.invalid:9092")).await.err().expect("nobody is there").to_string();
    assert!(
        error.starts_with(&format!("could not connect to 127.0.0.1:{closed}: connection refused; {http}: answers HTTP, not Kafka; ")),
        "{error}"
    );
    assert!(error.contains("no-such-host.invalid:9092: the name cannot be resolved"), "{error}");
}

#[tokio::test]
async fn one_live_server_among_dead_ones_is_enough() {
    let bound = Bound::new().await;
    let port = bound.port();
    let broker = bound.on::<MetadataRequest>(move |request, _| metadata_for(&request, metadata(&[(1, port)], &[("t", &[1])], 3))).start();
    let cluster = connect(&format!("127.0.0.1:{},{}", closed_port().await, broker.servers())).await.expect("one is alive");
    assert_eq!(cluster.leader(&TopicPartition::new("t", 0)).await, Ok((1, 3)));
    assert_eq!(cluster.leader(&TopicPartition::new("t", 0)).await, Ok((1, 3)));
    assert_eq!(broker.requests::<MetadataRequest>().len(), 2, "one for the brokers, one for the topic, then the cache");
    let connections: Vec<usize> = broker.seen().iter().map(|seen| seen.connection).collect();
    assert!(connections.iter().all(|connection| *connection == 0), "the bootstrap connection is the broker's: {connections:?}");
}

#[tokio::test]
async fn a_missing_topic_is_an_error_at_once_and_is_not_created() {
    let bound = Bound::new().await;
    let port = bound.port();
    let broker = bound.on::<MetadataRequest>(move |request, _| metadata_for(&request, metadata(&[(1, port)], &[], 0))).start();
    let cluster = connect(&broker.servers()).await.expect("connects");
    let error = cluster.topic("missing", AutoCreate::Never).await.expect_err("it is not there");
    assert!(error.is(ErrorCode::UnknownTopicOrPartition), "{error}");
    assert!(broker.requests::<MetadataRequest>().iter().all(|(_, request)| !request.allow_auto_topic_creation));
}

#[tokio::test]
async fn a_topic_under_creation_is_waited_for() {
    let bound = Bound::new().await;
    let port = bound.port();
    let asked = Arc::new(Mutex::new(0));
    let count = Arc::clone(&asked);
    let broker = bound
        .on::<MetadataRequest>(move |request, _| {
            let named = request.topics.as_ref().is_some_and(|topics| !topics.is_empty());
            let mut asked = count.lock().expect("no panic");
            *asked += u32::from(named);
            let topics: &[(&str, &[i32])] = if *asked >= 3 { &[("t", &[1])] } else { &[] };
            metadata_for(&request, metadata(&[(1, port)], topics, 0))
        })
        .start();
    let cluster = connect(&broker.servers()).await.expect("connects");
    let topic = cluster.topic("t", AutoCreate::Allowed).await.expect("it appears");
    assert_eq!((topic.partitions.len(), *asked.lock().expect("no panic")), (1, 3));
}

async fn coordinated(versions: (i16, i16)) -> (Cluster, FakeBroker) {
    let bound = Bound::new().await;
    let port = bound.port();
    let broker = bound
        .on::<MetadataRequest>(move |request, _| metadata_for(&request, metadata(&[(1, port)], &[], 0)))
        .on::<FindCoordinatorRequest>(move |request, version| {
            let host = "127.0.0.1".to_owned();
            Action::Answer(if version >= 4 {
                let key = request.coordinator_keys[0].clone();
                let found = Coordinator { key, node_id: 5, host, port, ..Default::default() };
                FindCoordinatorResponse { coordinators: vec![found], ..Default::default() }
            } else {
                FindCoordinatorResponse { node_id: 5, host, port, ..Default::default() }
            })
        })
        .versions(ApiKey::FindCoordinator, versions.0, versions.1)
        .start();
    (connect(&broker.servers()).await.expect("connects"), broker)
}

#[tokio::test]
async fn a_coordinator_is_found_once_until_it_moves() {
    for versions in [(0, 6), (0, 2)] {
        let (cluster, broker) = coordinated(versions).await;
        for _ in 0..2 {
            assert_eq!(cluster.coordinator(CoordinatorKind::Group, "g").await, Ok(5));
        }
        assert_eq!(broker.requests::<FindCoordinatorRequest>().len(), 1);
        let moved = ClientError::from(ErrorCode::NotCoordinator);
        cluster.recover(&moved, None, Some((CoordinatorKind::Group, "g"))).await;
        assert_eq!(cluster.coordinator(CoordinatorKind::Group, "g").await, Ok(5));
        assert_eq!(broker.requests::<FindCoordinatorRequest>().len(), 2);
    }
}
