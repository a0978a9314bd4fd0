//! What a node will not start on: it says so in one line, with Kafka's exit code, and leaves every file of the directory as it was.

use std::collections::BTreeMap;

use ottla::metadata::format::{Formatting, NewDirectory};
use ottla::metadata::record::{MetadataRecord, VersionedRecord};
use ottla::protocol::messages::{ConfigRecord, FeatureLevelRecord, TopicRecord, ZkMigrationStateRecord};
use ottla::raft::control::{RaftRecord, control_batch, data_batch, read_batches};
use ottla::raft::voters::{ReplicaKey, Voter, VoterEndpoint, VoterSet};

use super::*;

const METADATA_LOG: &str = "__cluster_metadata-0/00000000000000000000.log";

/// A node's directories and its properties file, after a first run.
struct Node {
    root: tempfile::TempDir,
    properties: Vec<String>,
}

impl Node {
    fn new(dirs: &[&str]) -> Node {
        let root = tempfile::tempdir().expect("a temporary directory");
        let dirs: Vec<String> = dirs.iter().map(|dir| root.path().join(dir).display().to_string()).collect();
        let node = Node { properties: vec![format!("log.dirs={}", dirs.join(",")), "node.id=1".to_owned()], root };
        let config = node.config(&[]);
        let broker = Broker::start_with(&["--config", &config]);
        broker.connect().create_topic("orders", 2);
        assert_eq!(broker.terminate(), Some(0));
        node
    }

    /// The properties file, with these lines at its end.
    fn config(&self, more: &[&str]) -> String {
        let path = self.root.path().join("server.properties");
        let lines: Vec<&str> = self.properties.iter().map(String::as_str).chain(more.iter().copied()).collect();
        std::fs::write(&path, lines.join("\n")).expect("written");
        path.display().to_string()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Adds records to the metadata log in `a`, as a release of the future would.
    fn append(&self, record: impl Into<MetadataRecord>) {
        self.append_batch(|offset, epoch| {
            let value = VersionedRecord::new(record, 0).to_value().expect("a record");
            data_batch(offset, epoch, 1_700_000_000_000, [value]).expect("a batch")
        });
    }

    fn append_batch(&self, batch: impl FnOnce(i64, i32) -> Bytes) {
        let path = self.path("a").join(METADATA_LOG);
        let mut log = std::fs::read(&path).expect("the metadata log");
        let last = read_batches(&Bytes::from(log.clone())).last().expect("a batch").expect("whole");
        log.extend_from_slice(&batch(last.last_offset + 1, last.epoch));
        std::fs::write(&path, log).expect("written");
    }

    /// What the node says instead of starting. Its directories are the same before and after.
    fn refuses(&self, more: &[&str]) -> String {
        let config = self.config(more);
        let before = tree(self.root.path());
        let output = command(&["--config", &config, "--listen", "127.0.0.1:0"]).env("KAFKA_LOG", "off").output().expect("it runs");
        let said = String::from_utf8(output.stderr).expect("text");
        assert_eq!((output.status.code(), output.stdout.as_slice(), said.lines().count()), (Some(1), &b""[..], 1), "{said}");
        let after = tree(self.root.path());
        assert!(before == after, "changed: {:?}", before.iter().zip(&after).find(|(before, after)| before != after).map(|(it, _)| it.0));
        said.trim_end().strip_prefix("ottla serve: ").expect("the program's name").replace(&self.root.path().display().to_string(), "DIR")
    }
}

/// Every file and directory with its content and when it was last changed.
fn tree(dir: &Path) -> BTreeMap<PathBuf, (std::time::SystemTime, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(path) = left.pop() {
        let metadata = std::fs::metadata(&path).expect("metadata");
        let content = if metadata.is_dir() { Vec::new() } else { std::fs::read(&path).expect("content") };
        if metadata.is_dir() {
            left.extend(std::fs::read_dir(&path).expect("entries").map(|entry| entry.expect("an entry").path()));
        }
        found.insert(path, (metadata.modified().expect("a time"), content));
    }
    found
}

fn feature(name: &str, feature_level: i16) -> FeatureLevelRecord {
    FeatureLevelRecord { name: name.to_owned(), feature_level, ..Default::default() }
}

fn voter(id: i32, directory_id: Uuid) -> Voter {
    let endpoint = VoterEndpoint { name: "CONTROLLER".to_owned(), host: "localhost".to_owned(), port: 9093 };
    Voter { key: ReplicaKey { id, directory_id }, endpoints: vec![endpoint], kraft_versions: (0, 1) }
}

#[test]
fn what_nothing_is_wrong_with_starts_again() {
    let node = Node::new(&["a", "b"]);
    node.append(ZkMigrationStateRecord { zk_migration_state: 0, ..Default::default() });
    node.append(feature("kraft.version", 9));
    node.append(feature("of.the.future", 0));
    let broker = Broker::start_with(&["--config", &node.config(&[])]);
    assert_eq!(broker.terminate(), Some(0));
}

#[test]
fn properties_that_ask_for_more_than_there_is_are_refused() {
    let node = Node::new(&["a"]);
    for (line, said) in [
        ("remote.log.storage.system.enable=true", "remote.log.storage.system.enable=true: tiered storage is not supported yet"),
        (
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "authorizer.class.name is set: nobody would be authorized, because ACLs are not enforced yet",
        ),
        ("zookeeper.connect=localhost:2181", "zookeeper.connect is set, and process.roles is not: migrate to KRaft with Kafka 3.9 first"),
        ("zookeeper.metadata.migration.enable=true", "zookeeper.metadata.migration.enable=true: migrate to KRaft with Kafka 3.9 first"),
        ("node.id=2\nbroker.id=2", "stored node id 1 doesn't match node.id 2 in DIR/a"),
    ] {
        assert_eq!(node.refuses(&[line]), said);
    }
}

#[test]
fn levels_of_a_later_release_are_refused() {
    for (name, level, said) in [
        ("metadata.version", 31, "metadata.version level 31 is not supported: this build reads levels 7 to 30"),
        ("group.version", 2, "group.version level 2 is not supported: this build reads levels 0 to 1"),
        ("of.the.future", 1, "feature of.the.future is at level 1, and this build does not know the feature: it is of a later release"),
    ] {
        let node = Node::new(&["a"]);
        node.append(feature(name, level));
        let refusal = node.refuses(&[]);
        assert!(refusal.ends_with(said), "{refusal}");
    }
}

#[test]
fn a_directory_formatted_for_a_later_release_is_refused() {
    let node = Node::new(&["a"]);
    std::fs::remove_dir_all(node.path("a")).expect("removed");
    let id: Uuid = "Ag6enxK0Mem8InHHPBxIlQ".parse().expect("an id");
    let formatting = Formatting {
        cluster_id: "cluster".to_owned(),
        node_id: 1,
        bootstrap: vec![VersionedRecord::new(feature("metadata.version", 30), 0), VersionedRecord::new(feature("share.version", 7), 0)],
        kraft_version: 1,
        voters: Some(VoterSet::new([voter(1, id)])),
        now_ms: 1_700_000_000_000,
    };
    formatting.write(&[NewDirectory { path: node.path("a"), id, is_metadata: true }]).expect("formatted");
    // Whoever opens the directory leaves this behind.
    std::fs::write(node.path("a/.lock"), "").expect("written");
    assert_eq!(node.refuses(&[]), "feature share.version is at level 7, which is not supported: this build reads levels 0 to 1");
}

#[test]
fn a_topic_in_tiered_storage_is_refused() {
    let node = Node::new(&["a"]);
    node.append(TopicRecord { name: "far".to_owned(), topic_id: Uuid::from_u128(1 << 100), ..Default::default() });
    let config = |value: &str| ConfigRecord {
        resource_type: 2,
        resource_name: "far".to_owned(),
        name: "remote.storage.enable".to_owned(),
        value: Some(value.to_owned()),
        ..Default::default()
    };
    node.append(config("true"));
    assert_eq!(node.refuses(&[]), "topic 'far' has remote.storage.enable=true: tiered storage is not supported yet");
    node.append(config("false"));
    let broker = Broker::start_with(&["--config", &node.config(&[])]);
    assert_eq!(broker.terminate(), Some(0));
}

#[test]
fn a_migration_from_zookeeper_that_has_not_ended_is_refused() {
    let node = Node::new(&["a"]);
    node.append(ZkMigrationStateRecord { zk_migration_state: 2, ..Default::default() });
    assert_eq!(node.refuses(&[]), "the migration from ZooKeeper has not ended (state 2): end it with Kafka 3.9, or go back there");
    node.append(ZkMigrationStateRecord { zk_migration_state: 3, ..Default::default() });
    let broker = Broker::start_with(&["--config", &node.config(&[])]);
    assert_eq!(broker.terminate(), Some(0));
}

#[test]
fn directories_that_do_not_belong_together_are_refused() {
    let node = Node::new(&["a", "b"]);
    let (a, b) = (node.path("a/meta.properties"), node.path("b/meta.properties"));
    let (of_a, of_b) = (std::fs::read_to_string(&a).expect("read"), std::fs::read_to_string(&b).expect("read"));
    let line = |text: &str, key: &str| text.lines().find(|line| line.starts_with(key)).map(str::to_owned).expect("the line");
    let with = |key: &str, value: &str| of_b.replace(&line(&of_b, key), &format!("{key}={value}"));
    let cluster = line(&of_a, "cluster.id").replace("cluster.id=", "");
    let id = line(&of_a, "directory.id").replace("directory.id=", "");
    for (content, said) in [
        (with("cluster.id", "other"), format!("cluster id other in DIR/b is not that in DIR/a, {cluster}")),
        (with("node.id", "7"), "stored node id 7 doesn't match node.id 1 in DIR/b".to_owned()),
        (with("directory.id", &id), format!("duplicate directory id {id} in DIR/a and DIR/b")),
        (with("directory.id", "AAAAAAAAAAAAAAAAAAAAAQ"), "directory id AAAAAAAAAAAAAAAAAAAAAQ in DIR/b is reserved".to_owned()),
        (
            "version=0\nbroker.id=1\n".to_owned(),
            "DIR/b is a ZooKeeper broker's (meta.properties is of version 0): migrate to KRaft with Kafka 3.9 first".to_owned(),
        ),
    ] {
        std::fs::write(&b, content).expect("written");
        assert_eq!(node.refuses(&[]), said);
    }
    std::fs::remove_file(&b).expect("removed");
    assert_eq!(node.refuses(&[]), "DIR/b is not formatted, but other log directories are; is a disk not mounted?");
    std::fs::write(&b, of_b).expect("written");
    // The voter is known by the ID of its directory.
    std::fs::write(&a, of_a.replace(&id, "Ag6enxK0Mem8InHHPBxIlQ")).expect("written");
    assert_eq!(
        node.refuses(&[]),
        "directory id Ag6enxK0Mem8InHHPBxIlQ is not that of the voter: node 1 votes with another metadata log directory"
    );
}

#[test]
fn a_metadata_log_elsewhere_than_configured_is_refused() {
    let node = Node::new(&["a", "b"]);
    let metadata_dir = format!("metadata.log.dir={}", node.path("b").display());
    assert_eq!(node.refuses(&[&metadata_dir]), "DIR/a/__cluster_metadata-0 is a metadata log, but metadata.log.dir is DIR/b");
}

#[test]
fn a_quorum_of_several_voters_is_refused() {
    let node = Node::new(&["a"]);
    let meta = std::fs::read_to_string(node.path("a/meta.properties")).expect("read");
    let id = meta.lines().find_map(|line| line.strip_prefix("directory.id=")).expect("an id").parse().expect("an id");
    node.append_batch(|offset, epoch| {
        let voters = VoterSet::new([voter(1, id), voter(2, Uuid::from_u128(1 << 100))]);
        control_batch(offset, epoch, 1_700_000_000_000, &[RaftRecord::Voters(voters)]).expect("a batch")
    });
    let said = "node 1 is not the only voter of its metadata quorum; quorums of several nodes are not supported yet";
    assert_eq!(node.refuses(&[]), said);
}

#[test]
fn a_damaged_snapshot_is_refused() {
    let node = Node::new(&["a"]);
    let path = node.path("a/__cluster_metadata-0/00000000000000000000-0000000000.checkpoint");
    let mut bytes = std::fs::read(&path).expect("the snapshot");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    // Snapshots are read-only.
    std::fs::remove_file(&path).expect("removed");
    std::fs::write(&path, bytes).expect("written");
    let refusal = node.refuses(&[]);
    assert!(refusal.starts_with("DIR/a/__cluster_metadata-0/00000000000000000000-0000000000.checkpoint: "), "{refusal}");
}
