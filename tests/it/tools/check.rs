//! `ottla check` on directories that a broker left, whole and damaged.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::call;
use crate::broker::{Broker, batch, data_dir};
use ottla::protocol::batch::BatchBuilder;
use ottla::protocol::compression::Compression;
use ottla::protocol::messages::DeleteRecordsRequest;
use ottla::protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};

/// A stopped broker's directory: topic `t` with ten batches of two records.
fn stopped() -> (tempfile::TempDir, PathBuf) {
    let (dir, data) = data_dir();
    let broker = Broker::start_in(&data);
    let mut connection = broker.connect();
    connection.create_topic_with("t", 1, &[("index.interval.bytes", "1")]);
    for n in 0..10 {
        let produced = connection.produce("t", 0, batch(&[&format!("a{n}"), &format!("b{n}")]), -1);
        assert_eq!(produced.error_code, 0);
    }
    broker.terminate();
    (dir, data)
}

fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(path) = pending.pop() {
        match path.is_dir() {
            true => pending.extend(fs::read_dir(&path).expect("readable").map(|entry| entry.expect("readable").path())),
            false => drop(files.insert(path.clone(), fs::read(&path).expect("readable"))),
        }
    }
    files
}

/// What `ottla check` says, with `DIR` for the directory, and whether it found nothing.
async fn check(data: &Path, flags: &str) -> (String, bool) {
    let output = call(&format!("ottla check{flags}")).argument(&data.display().to_string()).output().await;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (said.replace(&data.display().to_string(), "DIR"), output.status.success())
}

fn damage(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut content = fs::read(path).expect("readable");
    change(&mut content);
    fs::write(path, content).expect("written");
}

/// Where each batch begins.
fn positions(log: &[u8]) -> Vec<usize> {
    let mut positions = vec![0];
    while let Some(length) = log.get(positions[positions.len() - 1] + 8..).and_then(|rest| rest.first_chunk()) {
        positions.push(positions[positions.len() - 1] + 12 + i32::from_be_bytes(*length) as usize);
    }
    positions.pop();
    positions
}

#[tokio::test]
async fn a_whole_directory_is_left_alone_and_nothing_is_wrong_with_it() {
    let (_dir, data) = stopped();
    let before = contents(&data);
    let (said, is_well) = check(&data, "").await;
    assert!(is_well && said.ends_with(": nothing is wrong\n"), "{said}");
    assert!(said.starts_with("2 logs, 2 segments, "), "{said}");
    assert!(contents(&data) == before, "nothing was changed");
}

#[tokio::test]
async fn nothing_is_wrong_with_a_log_whose_beginning_was_deleted() {
    let (_dir, data) = stopped();
    let broker = Broker::start_in(&data);
    let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset: 7, ..Default::default() }];
    let topics = vec![DeleteRecordsTopic { name: "t".to_owned(), partitions, ..Default::default() }];
    let request = DeleteRecordsRequest { topics, timeout_ms: 30_000, ..Default::default() };
    let deleted = broker.connect().call(&request, 2);
    assert_eq!((deleted.topics[0].partitions[0].error_code, deleted.topics[0].partitions[0].low_watermark), (0, 7));
    broker.terminate();
    let epochs = fs::read_to_string(data.join("t-0/leader-epoch-checkpoint")).expect("readable");
    assert!(epochs.lines().any(|line| line == "0 7"), "{epochs}");
    let (said, is_well) = check(&data, "").await;
    assert!(is_well, "{said}");
}

#[tokio::test]
async fn a_flipped_bit_is_found_with_its_place_and_what_a_repair_would_lose() {
    let (_dir, data) = stopped();
    let log = data.join("t-0/00000000000000000000.log");
    let positions = positions(&fs::read(&log).expect("readable"));
    let (third, size) = (positions[3], fs::metadata(&log).expect("there").len() as usize);
    damage(&log, |content| content[third + 65] ^= 4);
    let before = contents(&data);
    let (said, is_well) = check(&data, "").await;
    let lost = size - third;
    let finding = format!(
        "DIR/t-0/00000000000000000000.log:{third}: the checksum of the batch of offsets 6 to 7 is wrong; recovery: the log is cut here, \
         offsets 6 to 19 ({lost} bytes) would be lost\n"
    );
    assert!(!is_well && said.contains(&finding), "{said}");
    assert!(contents(&data) == before, "nothing was changed");
    let (json, _) = check(&data, " --output json").await;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let first = json["findings"].as_array().expect("findings").iter().find(|finding| finding["position"] == third).expect("the finding");
    assert_eq!(first["lost"], serde_json::json!({"firstOffset": 6, "lastOffset": 19, "bytes": lost}));

    check(&data, " --repair").await;
    assert_eq!(fs::metadata(&log).expect("there").len() as usize, third);
    let broker = Broker::start_in(&data);
    let fetched = broker.connect().fetch("t", 0, 0);
    let values: Vec<String> = crate::broker::values(&fetched).into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, ["a0", "b0", "a1", "b1", "a2", "b2"]);
}

#[tokio::test]
async fn what_can_be_made_anew_is_repaired_without_loss() {
    let (_dir, data) = stopped();
    let file = |name: &str| data.join("t-0").join(name);
    let log = fs::read(file("00000000000000000000.log")).expect("readable");
    damage(&file("00000000000000000000.index"), |content| content[11] ^= 1);
    damage(&file("00000000000000000000.timeindex"), |content| content.truncate(content.len() - 5));
    damage(&file("leader-epoch-checkpoint"), |content| *content = b"0\n1\n7 3\n".to_vec());
    fs::write(file("00000000000000000005.txnindex"), b"").expect("written");
    fs::write(data.join("replication-offset-checkpoint"), b"0\n2\n").expect("written");
    let (said, is_well) = check(&data, "").await;
    for part in [
        "DIR/replication-offset-checkpoint: expected 2 entries in the checkpoint but found 0; recovery: it is begun anew, nothing is lost\n",
        "DIR/t-0/00000000000000000000.index:8: entry 1 says that offset ",
        "DIR/t-0/00000000000000000000.timeindex: Time index file DIR/t-0/00000000000000000000.timeindex is corrupt, found ",
        "DIR/t-0/leader-epoch-checkpoint: offset 0 is of epoch 0, which is missing; recovery: it is made anew from the log",
        "DIR/t-0/00000000000000000005.txnindex: an index without its log; recovery: it is removed, nothing is lost\n",
        ": 5 findings\n",
    ] {
        assert!(!is_well && said.contains(part), "{part}\nis not in\n{said}");
    }
    let (said, is_well) = check(&data, " --repair").await;
    assert!(is_well && said.ends_with(": nothing is wrong after the repair\n"), "{said}");
    assert!(fs::read(file("00000000000000000000.log")).expect("readable") == log, "no record was touched");
    let (said, is_well) = check(&data, "").await;
    assert!(is_well, "{said}");
}

#[tokio::test]
async fn a_torn_tail_and_a_missing_committed_record_are_told_apart() {
    let (_dir, data) = stopped();
    let log = data.join("t-0/00000000000000000000.log");
    let positions = positions(&fs::read(&log).expect("readable"));
    damage(&log, |content| content.truncate(positions[9] + 20));
    let (said, is_well) = check(&data, "").await;
    let torn =
        format!("DIR/t-0/00000000000000000000.log:{}: 20 bytes at the end are no whole batch; recovery: the log is cut here", positions[9]);
    assert!(!is_well && said.contains(&torn), "{said}");
    assert!(said.contains("records of t-0 up to offset 20 were committed, but the log ends at 18; recovery leaves it as it is"), "{said}");
}

/// A batch of one record with a value that fills half a segment, and a small one; each with a key.
fn large_batch(number: usize) -> bytes::Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for (key, value) in [("a", format!("{number}{}", "x".repeat(600_000))), ("b", "b".to_owned())] {
        builder.append(1_700_000_000_000, Some(key.as_bytes()), Some(value.as_bytes()), &[]).expect("appended");
    }
    builder.finish().expect("a batch")
}

/// A stopped broker's directory: topic `t` with a segment for each of eight batches of two records.
fn many_segments(configs: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
    let (dir, data) = data_dir();
    let broker = Broker::start_in(&data);
    let mut connection = broker.connect();
    connection.create_topic_with("t", 1, &[&[("segment.bytes", "1048576")], configs].concat());
    for n in 0..8 {
        assert_eq!(connection.produce("t", 0, large_batch(n), -1).error_code, 0);
    }
    broker.terminate();
    (dir, data)
}

fn remove_segment(data: &Path, offset: i64) {
    for suffix in ["log", "index", "timeindex"] {
        fs::remove_file(data.join(format!("t-0/{offset:020}.{suffix}"))).expect("removed");
    }
}

#[tokio::test]
async fn a_missing_segment_is_found_and_what_is_behind_it_stays() {
    let (_dir, data) = many_segments(&[]);
    remove_segment(&data, 6);
    let (said, is_well) = check(&data, "").await;
    let finding = "DIR/t-0/00000000000000000008.log:0: offsets 6 to 7 are missing before it, in a log that is not compacted; recovery leaves it as it is\n";
    assert!(!is_well && said.contains(finding), "{said}");
    fs::remove_file(data.join("t-0/00000000000000000010.index")).expect("removed");
    check(&data, " --repair").await;
    assert!(data.join("t-0/00000000000000000014.log").exists() && data.join("t-0/00000000000000000010.index").exists());
    let broker = Broker::start_in(&data);
    assert_eq!(crate::broker::values(&broker.connect().fetch("t", 0, 13))[0].0, 12);
}

#[tokio::test]
async fn a_compacted_log_is_repaired_without_losing_what_is_behind_the_gaps_of_compaction() {
    let (_dir, data) = many_segments(&[("cleanup.policy", "compact")]);
    remove_segment(&data, 6);
    let (said, is_well) = check(&data, "").await;
    assert!(is_well, "{said}");
    let last = data.join("t-0/00000000000000000014.log");
    damage(&last, |content| content.extend_from_slice(&[0; 100]));
    let (said, _) = check(&data, " --repair").await;
    assert!(said.contains("; recovery: the log is cut here, what follows offset 15 (100 bytes) would be lost\n"), "{said}");
    assert!(said.ends_with(": nothing is wrong after the repair\n") && last.exists(), "{said}");
}

#[tokio::test]
async fn a_partition_in_two_directories_is_found() {
    let (_dir, data) = stopped();
    let (_other_dir, other) = data_dir();
    fs::create_dir_all(other.join("t-0")).expect("created");
    for name in ["meta.properties", "t-0/00000000000000000000.log", "t-0/partition.metadata"] {
        fs::copy(data.join(name), other.join(name)).expect("copied");
    }
    let output = call("ottla check").argument(&data.display().to_string()).argument(&other.display().to_string()).output().await;
    let said = String::from_utf8_lossy(&output.stdout);
    let finding = format!(
        "{}: the partition is in {} too: Apache Kafka does not start with both",
        other.join("t-0").display(),
        data.join("t-0").display()
    );
    assert!(said.contains(&finding), "{said}");
}

#[tokio::test]
async fn logs_are_held_against_the_metadata() {
    let (_dir, data) = stopped();
    let copy = |name: &str| {
        fs::create_dir(data.join(name)).expect("created");
        for file in fs::read_dir(data.join("t-0")).expect("readable") {
            let path = file.expect("readable").path();
            fs::copy(&path, data.join(name).join(path.file_name().expect("a name"))).expect("copied");
        }
    };
    copy("t-7");
    copy("gone-0");
    damage(&data.join("t-0/partition.metadata"), |content| *content = b"version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ".to_vec());
    let (said, is_well) = check(&data, "").await;
    for part in [
        "DIR/gone-0: the metadata knows no topic of this name; recovery: the directory is renamed to …-stray, nothing in it is lost\n",
        "DIR/t-7: the metadata's topic has 1 partitions only; ",
        "DIR/t-0: it belongs to a topic of the same name that is gone: the metadata's has the id ",
        "DIR/t-7/partition.metadata: the topic's id is ",
    ] {
        assert!(!is_well && said.contains(part), "{part}\nis not in\n{said}");
    }
    let (said, _) = check(&data, " --repair").await;
    assert!(said.contains("after the repair there is still\nDIR/recovery-point-offset-checkpoint: t-0 has no directory\n"), "{said}");
    let names: Vec<String> =
        fs::read_dir(&data).expect("readable").map(|it| it.expect("readable").file_name().to_string_lossy().into_owned()).collect();
    for name in ["gone-0", "t-0", "t-7"] {
        assert!(names.iter().any(|it| it.starts_with(&format!("{name}.")) && it.ends_with("-stray")), "{name}: {names:?}");
        assert!(!names.contains(&name.to_owned()), "{names:?}");
    }
}

#[tokio::test]
async fn a_directory_in_use_is_read_but_not_repaired() {
    let (_dir, data) = data_dir();
    let _broker = Broker::start_in(&data);
    let (said, _) = check(&data, "").await;
    assert!(said.contains("ottla: DIR is in use: what is being written just now may look torn, and checkpoints may lag\n"), "{said}");
    let (said, is_well) = check(&data, " --repair").await;
    assert!(!is_well && said == "ottla: DIR is in use; stop the broker first\n", "{said}");
}
