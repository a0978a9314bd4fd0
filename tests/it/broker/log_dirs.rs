//! Several log directories: replicas that move between them while clients go on.

use ottla::protocol::error_code::ErrorCode;
use ottla::protocol::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use ottla::protocol::messages::create_partitions_request::CreatePartitionsTopic;
use ottla::protocol::messages::{AlterReplicaLogDirsRequest, CreatePartitionsRequest, DescribeLogDirsRequest};

use super::{Broker, Connection, batch, command, data_dir, values};

fn move_to(connection: &mut Connection, path: &str, partitions: &[i32]) -> Vec<ErrorCode> {
    let topics = vec![AlterReplicaLogDirTopic { name: "t".to_owned(), partitions: partitions.to_vec(), ..Default::default() }];
    let dirs = vec![AlterReplicaLogDir { path: path.to_owned(), topics, ..Default::default() }];
    let response = connection.call(&AlterReplicaLogDirsRequest { dirs, ..Default::default() }, 2);
    response.results[0].partitions.iter().map(|it| ErrorCode::from_code(it.error_code)).collect()
}

/// Directory, partition, is it a future one.
fn placed(connection: &mut Connection) -> Vec<(String, i32, bool)> {
    let response = connection.call(&DescribeLogDirsRequest { topics: None, ..Default::default() }, 4);
    let mut found = Vec::new();
    for dir in response.results {
        for topic in dir.topics.iter().filter(|topic| topic.name == "t") {
            found.extend(topic.partitions.iter().map(|it| (dir.log_dir.clone(), it.partition_index, it.is_future_key)));
        }
    }
    found
}

fn everything(connection: &mut Connection) -> Vec<(i64, String)> {
    let mut all: Vec<(i64, String)> = Vec::new();
    loop {
        let next = all.last().map_or(0, |(offset, _)| offset + 1);
        let found = values(&connection.fetch("t", 0, next));
        if found.is_empty() {
            return all;
        }
        all.extend(found.into_iter().filter(|(offset, _)| *offset >= next));
    }
}

#[test]
fn a_replica_moves_while_clients_produce_and_stays_there_after_a_restart() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let dirs: Vec<String> = ["a", "b"].iter().map(|name| root.path().join(name).display().to_string()).collect();
    let option = format!("log.dirs={}", dirs.join(","));
    let broker = Broker::start_with(&["--override", &option]);
    let mut connection = broker.connect();
    connection.create_topic("t", 1);
    // So many that they are not copied at once.
    let long = "x".repeat(700);
    connection.produce("t", 0, batch(&vec![long.as_str(); 900]), -1);
    connection.produce("t", 0, batch(&vec![long.as_str(); 1150]), -1);
    for n in 0..50 {
        connection.produce("t", 0, batch(&[&format!("value {n}")]), -1);
    }
    let (from, false) = (placed(&mut connection)[0].0.clone(), placed(&mut connection)[0].2) else { panic!("no move has begun") };
    let to = dirs.iter().find(|dir| **dir != from).expect("the other one").clone();
    assert_eq!(move_to(&mut connection, "/nowhere", &[0]), [ErrorCode::LogDirNotFound]);
    assert_eq!(move_to(&mut connection, &to, &[0, 7]), [ErrorCode::None, ErrorCode::UnknownTopicOrPartition]);
    let mut produced = 2100;
    while placed(&mut connection) != [(to.clone(), 0, false)] {
        connection.produce("t", 0, batch(&[&format!("value {produced}")]), -1);
        produced += 1;
    }
    connection.produce("t", 0, batch(&["the last"]), -1);
    let all = everything(&mut connection);
    assert_eq!(all.len(), produced + 1);
    assert!(all.iter().enumerate().all(|(n, (offset, _))| *offset == n as i64));
    broker.kill();
    let broker = Broker::start_with(&["--override", &option]);
    let mut connection = broker.connect();
    assert_eq!(placed(&mut connection), [(to.clone(), 0, false)]);
    assert_eq!(everything(&mut connection), all);
}

#[test]
fn a_replica_is_created_where_it_was_wanted_before_it_came() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let dirs: Vec<String> = ["a", "b"].iter().map(|name| root.path().join(name).display().to_string()).collect();
    let broker = Broker::start_with(&["--override", &format!("log.dirs={}", dirs.join(","))]);
    let mut connection = broker.connect();
    connection.create_topic("t", 1);
    let here = placed(&mut connection)[0].0.clone();
    // Else the next ones would go to the other, this one, the other.
    assert_eq!(move_to(&mut connection, &here, &[1, 3]), [ErrorCode::UnknownTopicOrPartition; 2]);
    let topics = vec![CreatePartitionsTopic { name: "t".to_owned(), count: 4, assignments: None, ..Default::default() }];
    let request = CreatePartitionsRequest { topics, timeout_ms: 30_000, ..Default::default() };
    assert_eq!(connection.call(&request, 3).results[0].error_code, 0);
    let there = dirs.iter().find(|dir| **dir != here).expect("the other one").clone();
    let mut found = placed(&mut connection);
    found.sort_by_key(|(_, partition, _)| *partition);
    assert_eq!(found, [(here.clone(), 0, false), (here.clone(), 1, false), (there, 2, false), (here, 3, false)]);
}

#[test]
fn the_metadata_log_may_have_a_directory_of_its_own() {
    let (_keep, dir) = data_dir();
    std::fs::create_dir_all(&dir).expect("a directory");
    let path = |name: &str| dir.join(name).display().to_string();
    let (logs, metadata) = (format!("log.dirs={},{}", path("a"), path("b")), format!("metadata.log.dir={}", path("m")));
    let options = ["--override", &logs, "--override", &metadata];
    let broker = Broker::start_with(&options);
    let mut connection = broker.connect();
    connection.create_topic("kept", 3);
    connection.produce("kept", 0, batch(&["x"]), -1);
    let taken = command(&options).args(["--listen", "127.0.0.1:0"]).output().expect("it runs");
    assert!(String::from_utf8_lossy(&taken.stderr).contains("another process"), "{taken:?}");
    broker.terminate();
    assert!(dir.join("m/__cluster_metadata-0").is_dir() && !dir.join("a/__cluster_metadata-0").exists());
    assert!(!dir.join("m/kept-0").exists());

    let broker = Broker::start_with(&options);
    assert_eq!(values(&broker.connect().fetch("kept", 0, 0)), [(0, "x".to_owned())]);
    broker.kill();
    let foreign = dir.join("m/meta.properties");
    let content = std::fs::read_to_string(&foreign).expect("read").replace("node.id=1", "node.id=2");
    std::fs::write(&foreign, content).expect("written");
    let refused = command(&options).args(["--listen", "127.0.0.1:0"]).output().expect("it runs");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("stored node id 2 doesn't match node.id 1"), "{refused:?}");
}
