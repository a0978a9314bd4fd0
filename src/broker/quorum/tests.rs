use std::path::Path;
use std::sync::Mutex;

use super::*;
use crate::broker::config::{BrokerConfig, DynamicConfig, NodeConfigSchema};
use crate::common::clock::SystemClock;
use crate::metadata::delta::MetadataDelta;
use crate::metadata::format::{FormatOptions, format_if_new};
use crate::metadata::image::NO_LEADER;
use crate::protocol::messages::create_topics_request::CreatableTopic;
use crate::protocol::messages::{AllocateProducerIdsRequest, CreateTopicsRequest, DeleteTopicsRequest};

/// Keeps what it is told.
#[derive(Default)]
struct Recorder {
    published: Mutex<Vec<(i64, Vec<String>)>>,
}

impl Publisher for Recorder {
    fn name(&self) -> &str {
        "Recorder"
    }

    fn publish(&self, delta: &MetadataDelta, image: &Arc<MetadataImage>) {
        let changed = delta.changed_topics().map(|(topic, _)| topic.name.clone()).collect();
        self.published.lock().expect("not poisoned").push((image.provenance.offset, changed));
    }
}

/// A node's quorum over a directory, without the rest of the node.
struct Node {
    handle: ControllerHandle,
    cache: Arc<MetadataCache>,
    recorder: Arc<Recorder>,
}

impl Node {
    fn start(dir: &Path, seed: u64, policy: SnapshotPolicy, previous_broker_epoch: i64) -> Result<Node, QuorumError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let endpoint = VoterEndpoint { name: "CONTROLLER".to_owned(), host: "localhost".to_owned(), port: 9093 };
        let format = FormatOptions {
            log_dirs: vec![dir.to_owned()],
            metadata_log_dir: dir.to_owned(),
            node_id: 1,
            cluster_id: None,
            controller_endpoint: endpoint.clone(),
            clock: Arc::clone(&clock),
        };
        let mut random = Random::new(seed);
        format_if_new(&format, &mut random).expect("formatted");
        let config = BrokerConfig::from_properties(&Default::default()).expect("defaults");
        let quorum = Quorum::open(QuorumOptions {
            node_id: 1,
            metadata_log_dir: dir.to_owned(),
            controller_endpoint: endpoint,
            schema: Arc::new(NodeConfigSchema::new(Arc::new(DynamicConfig::new(Arc::new(config))))),
            clock,
            random: Random::new(seed + 1),
            session_timeout_ms: 9000,
            auto_leader_rebalance: true,
            unclean_election_interval_ms: 300_000,
            snapshot_policy: policy,
            log_config: MetadataLogConfig::default(),
        })?;
        let broker = BrokerOptions {
            cluster_id: quorum.cluster_id().to_owned(),
            listeners: Vec::new(),
            rack: None,
            directories: vec![quorum.directory_id()],
            previous_broker_epoch,
            incarnation_id: Uuid::random(&mut random),
        };
        let (cache, recorder) = (Arc::new(MetadataCache::new()), Arc::new(Recorder::default()));
        let publishers: Vec<Arc<dyn Publisher>> = vec![cache.clone(), recorder.clone()];
        Ok(Node { handle: quorum.start(Some(broker), publishers)?, cache, recorder })
    }

    async fn create(&self, name: &str, num_partitions: i32) -> ErrorCode {
        let topic = CreatableTopic { name: name.to_owned(), num_partitions, replication_factor: 1, ..Default::default() };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        let response = self.handle.create_topics(request).await;
        ErrorCode::from_code(response.topics[0].error_code)
    }
}

#[tokio::test]
async fn an_answer_comes_after_its_publication() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let node = Node::start(dir.path(), 1, SnapshotPolicy::default(), -1).expect("started");
    assert!(node.cache.image().cluster.is_active(1), "the broker is unfenced on return");
    for i in 0..20 {
        let name = format!("topic-{i}");
        assert_eq!(node.create(&name, 2).await, ErrorCode::None);
        assert!(node.cache.image().topics.topic(&name).is_some());
    }
    assert_eq!(node.create("topic-0", 1).await, ErrorCode::TopicAlreadyExists);
    let published = node.recorder.published.lock().expect("not poisoned").clone();
    assert!(published.windows(2).all(|pair| pair[0].0 < pair[1].0), "images only move forward");
    assert_eq!(published.iter().flat_map(|(_, topics)| topics).count(), 20);
    node.handle.close().await;
    assert_eq!(node.create("late", 1).await, ErrorCode::BrokerNotAvailable);
}

#[tokio::test]
async fn operations_that_come_together_are_all_answered() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let node = Arc::new(Node::start(dir.path(), 2, SnapshotPolicy::default(), -1).expect("started"));
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let node = Arc::clone(&node);
            tokio::spawn(async move {
                let broker_epoch = node.handle.broker_epoch();
                let request = AllocateProducerIdsRequest { broker_id: 1, broker_epoch, ..Default::default() };
                node.handle.allocate_producer_ids(request).await.producer_id_start
            })
        })
        .collect();
    let mut starts = Vec::new();
    for task in tasks {
        starts.push(task.await.expect("finished"));
    }
    starts.sort_unstable();
    assert_eq!(starts, (0..100).map(|block| block * 1000).collect::<Vec<i64>>());
    node.handle.close().await;
}

#[tokio::test]
async fn a_clean_restart_finds_everything() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let node = Node::start(dir.path(), 3, SnapshotPolicy::default(), -1).expect("started");
    node.create("kept", 3).await;
    let before = node.cache.image();
    let epoch = node.handle.broker_epoch();
    node.handle.controlled_shutdown().await.expect("granted");
    assert_eq!(node.cache.image().topics.partition("kept", 0).expect("a partition").leader, NO_LEADER);
    assert!(node.cache.image().cluster.broker(1).is_some_and(|broker| broker.fenced));
    node.handle.close().await;

    let node = Node::start(dir.path(), 4, SnapshotPolicy::default(), epoch).expect("started again");
    let after = node.cache.image();
    let (old, new) = (before.topics.topic("kept").expect("a topic"), after.topics.topic("kept").expect("a topic"));
    assert_eq!((old.id, old.partition_count()), (new.id, new.partition_count()));
    let partition = new.partition(0).expect("a partition");
    assert_eq!((partition.leader, partition.isr.as_slice()), (1, [1].as_slice()));
    assert_eq!(partition.leader_recovery_state, Default::default());
    assert!(node.handle.broker_epoch() > epoch);
    let quorum = node.handle.describe_quorum().await.expect("alive");
    assert_eq!((quorum.leader_id, quorum.leader_epoch, quorum.voters.len()), (1, 2, 1));
    assert_eq!(quorum.high_watermark, quorum.log_end_offset);
    node.handle.close().await;
}

#[tokio::test]
async fn snapshots_replace_the_log() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let policy = SnapshotPolicy { max_new_record_bytes: 500, ..SnapshotPolicy::default() };
    let node = Node::start(dir.path(), 5, policy, -1).expect("started");
    for i in 0..10 {
        node.create(&format!("topic-{i}"), 1).await;
    }
    let request = DeleteTopicsRequest { topic_names: vec!["topic-3".to_owned()], ..Default::default() };
    node.handle.delete_topics(request).await;
    node.handle.close().await;
    let files = SnapshotFiles::new(dir.path().join(METADATA_DIR));
    let snapshots = files.list().expect("listed");
    assert!(snapshots.len() > 2, "{snapshots:?}");

    let node = Node::start(dir.path(), 6, policy, -1).expect("started again");
    let image = node.cache.image();
    assert_eq!(image.topics.len(), 9);
    assert!(image.topics.topic("topic-3").is_none() && image.topics.topic("topic-9").is_some());
    node.handle.close().await;
}

#[tokio::test]
async fn a_copy_of_the_directory_at_any_moment_starts() {
    // What a kill leaves is what was written so far: a copy taken between operations is one.
    let dir = tempfile::tempdir().expect("temporary directory");
    let policy = SnapshotPolicy { max_new_record_bytes: 800, ..SnapshotPolicy::default() };
    let node = Node::start(dir.path(), 7, policy, -1).expect("started");
    for i in 0..8 {
        node.create(&format!("topic-{i}"), 1).await;
        let copy = tempfile::tempdir().expect("temporary directory");
        copy_dir(dir.path(), copy.path());
        if i % 2 == 1 {
            // A torn write at the end.
            let log = copy.path().join(METADATA_DIR).join("00000000000000000000.log");
            let mut bytes = std::fs::read(&log).expect("read");
            bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 99, 0, 0, 1]);
            std::fs::write(&log, bytes).expect("written");
        }
        let other = Node::start(copy.path(), 8 + i, policy, -1).expect("started from a copy");
        let image = other.cache.image();
        assert_eq!(image.topics.len() as u64, i + 1);
        assert!(image.topics.iter().all(|topic| topic.partition(0).is_some_and(|partition| partition.leader == 1)));
        other.handle.close().await;
    }
    node.handle.close().await;
}

/// Copies a directory that a node is writing to. A file that was renamed between the listing and its copy makes this a copy of no single
/// moment, so it begins again.
fn copy_dir(from: &Path, to: &Path) {
    loop {
        match try_copy_dir(from, to) {
            Ok(()) => return,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                std::fs::remove_dir_all(to).expect("removed");
                std::fs::create_dir_all(to).expect("created");
            }
            Err(error) => panic!("{}: {error}", from.display()),
        }
    }
}

fn try_copy_dir(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir_all(&target)?;
            try_copy_dir(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_record_from_the_future_stops_the_node_with_its_reason() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let node = Node::start(dir.path(), 9, SnapshotPolicy::default(), -1).expect("started");
    let end_offset = node.handle.describe_quorum().await.expect("alive").log_end_offset;
    node.handle.close().await;
    let log = dir.path().join(METADATA_DIR).join("00000000000000000000.log");
    let unknown = bytes::Bytes::from_static(&[1, 99, 0, 0]);
    let batch = crate::raft::control::data_batch(end_offset, 1, 0, [unknown]).expect("a batch");
    let mut bytes = std::fs::read(&log).expect("read");
    bytes.extend_from_slice(&batch);
    std::fs::write(&log, bytes).expect("written");
    let Err(error) = Node::start(dir.path(), 10, SnapshotPolicy::default(), -1) else { panic!("it started") };
    assert_eq!(
        error.to_string(),
        format!("metadata record at offset {end_offset}: unknown metadata record type 99: the log was written by a newer release")
    );
}
