//! Very many partitions on a node that may have few descriptors: each is created, written and read, over a kill and a clean end.

use std::collections::BTreeMap;

use ottla::protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use ottla::protocol::messages::{ListOffsetsRequest, MetadataRequest};

use super::*;

const TOPICS: i32 = 20;
const PARTITIONS: i32 = 100;
/// A tenth of the partitions would use up all of them, with a log and an index each.
const DESCRIPTORS: usize = 200;

/// A broker on the directory that may have [`DESCRIPTORS`] descriptors and no more.
fn start_with_few_descriptors(dir: &Path) -> Broker {
    // The records of a test are older than what is kept.
    let keep = ["--override", "log.retention.ms=-1"];
    let serve = command(&[&["--data", &dir.display().to_string(), "--listen", "127.0.0.1:0"], &keep[..]].concat());
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("ulimit -n {DESCRIPTORS} && exec \"$0\" \"$@\"")]).arg(serve.get_program()).args(serve.get_args());
    limited.env("KAFKA_LOG", "error").stdin(Stdio::null());
    Broker::start_command(&mut limited)
}

fn name(topic: i32) -> String {
    format!("topic-{topic}")
}

fn create_all(connection: &mut Connection) {
    let topic = |n| CreatableTopic { name: name(n), num_partitions: PARTITIONS, replication_factor: 1, ..Default::default() };
    let request = CreateTopicsRequest { topics: (0..TOPICS).map(topic).collect(), timeout_ms: 60_000, ..Default::default() };
    for created in connection.call(&request, 7).topics {
        assert_eq!(ErrorCode::from_code(created.error_code), ErrorCode::None, "{:?}", created.error_message);
    }
}

/// One record to every partition, which says which it is.
fn write_all(connection: &mut Connection, round: i64) {
    for topic in 0..TOPICS {
        let partition = |index| {
            let records = Records::Bytes(batch(&[&format!("{topic}/{index} {round}")]));
            PartitionProduceData { index, records: Some(records), ..Default::default() }
        };
        let data = TopicProduceData { name: name(topic), partition_data: (0..PARTITIONS).map(partition).collect(), ..Default::default() };
        let request = ProduceRequest { acks: -1, timeout_ms: 60_000, topic_data: vec![data], ..Default::default() };
        for written in connection.call(&request, 9).responses.remove(0).partition_responses {
            assert_eq!(
                (ErrorCode::from_code(written.error_code), written.base_offset),
                (ErrorCode::None, round),
                "{topic}/{}",
                written.index
            );
        }
    }
}

/// Every partition holds what `rounds` rounds have written.
fn read_all(connection: &mut Connection, rounds: i64) {
    for topic in 0..TOPICS {
        let mut expected: BTreeMap<i32, Vec<(i64, String)>> =
            (0..PARTITIONS).map(|index| (index, (0..rounds).map(|round| (round, format!("{topic}/{index} {round}"))).collect())).collect();
        let partition = |partition| FetchPartition { partition, partition_max_bytes: 1 << 20, ..Default::default() };
        let wanted = FetchTopic { topic: name(topic), partitions: (0..PARTITIONS).map(partition).collect(), ..Default::default() };
        let request = FetchRequest { min_bytes: 1, max_bytes: 64 << 20, topics: vec![wanted], ..Default::default() };
        for data in connection.call(&request, 12).responses.remove(0).partitions {
            assert_eq!(ErrorCode::from_code(data.error_code), ErrorCode::None, "{topic}/{}", data.partition_index);
            assert_eq!(expected.remove(&data.partition_index), Some(values(&data)), "{topic}/{}", data.partition_index);
        }
        assert!(expected.is_empty(), "{topic}: nothing of {:?}", expected.keys());
    }
}

/// As ListOffsets has it, which opens no file.
fn assert_all_end_at(connection: &mut Connection, end: i64) {
    const LATEST: i64 = -1;
    let partition = |partition_index| ListOffsetsPartition { partition_index, timestamp: LATEST, ..Default::default() };
    let topic = |n| ListOffsetsTopic { name: name(n), partitions: (0..PARTITIONS).map(partition).collect(), ..Default::default() };
    let request = ListOffsetsRequest { replica_id: -1, topics: (0..TOPICS).map(topic).collect(), ..Default::default() };
    let topics = connection.call(&request, 6).topics;
    let ends: Vec<i64> = topics.iter().flat_map(|topic| &topic.partitions).map(|found| found.offset).collect();
    assert_eq!(ends, vec![end; (TOPICS * PARTITIONS) as usize]);
}

/// That they have a leader is what a client needs to begin.
fn assert_all_are_led(connection: &mut Connection) {
    let topics = connection.call(&MetadataRequest { topics: None, ..Default::default() }, 9).topics;
    let led = topics.iter().flat_map(|topic| &topic.partitions).filter(|partition| partition.leader_id >= 0).count();
    assert_eq!(led as i32, TOPICS * PARTITIONS);
}

#[test]
fn two_thousand_partitions_survive_a_kill_and_an_end_with_few_descriptors() {
    let (_keep, dir) = data_dir();
    let broker = start_with_few_descriptors(&dir);
    let mut connection = broker.connect();
    create_all(&mut connection);
    write_all(&mut connection, 0);
    broker.kill();

    let broker = start_with_few_descriptors(&dir);
    let mut connection = broker.connect();
    assert_all_are_led(&mut connection);
    assert_all_end_at(&mut connection, 1);
    read_all(&mut connection, 1);
    write_all(&mut connection, 1);
    assert_eq!(broker.terminate(), Some(0));

    let broker = start_with_few_descriptors(&dir);
    let mut connection = broker.connect();
    assert_all_end_at(&mut connection, 2);
    read_all(&mut connection, 2);
    write_all(&mut connection, 2);
}
