//! Damaged files, and what a broker that is started on them makes of them: of a log what lies before the damage, of everything that can
//! be made anew all of it; where nothing can be done, one line, and nothing is touched.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::process::Output;

use ottla::common::random::Random;
use ottla::protocol::batch::{Batches, ControlRecord};
use ottla::protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use ottla::protocol::messages::{ListOffsetsRequest, MetadataRequest};

use super::*;

const PADDING: usize = 9_000;
const RECORDS: i64 = 180;

/// A directory with a log `t-0` of two segments, left by a broker that was killed.
fn killed_broker() -> (tempfile::TempDir, PathBuf) {
    let (keep, dir) = data_dir();
    let broker = Broker::start_in(&dir);
    let mut connection = broker.connect();
    connection.create_topic_with("t", 1, &[("segment.bytes", "1048576")]);
    for n in 0..RECORDS {
        connection.produce("t", 0, batch(&[&value(n)]), -1);
    }
    broker.kill();
    (keep, dir)
}

fn value(n: i64) -> String {
    let mut random = Random::new(n as u64);
    format!("{n} ") + &(0..PADDING).map(|_| char::from(b'a' + random.below(26) as u8)).collect::<String>()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("created");
    for entry in fs::read_dir(from).expect("listed") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("copied");
        }
    }
}

/// Every file below a directory, with its content.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("listed") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).expect("read"));
        }
    }
    found
}

fn in_partition(dir: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = files(&dir.join("t-0")).into_keys().filter(|path| path.display().to_string().ends_with(suffix)).collect();
    found.sort();
    found
}

/// Where each batch of a segment lies, and the offset after it.
fn batches(log: &Path) -> Vec<(Range<u64>, i64)> {
    let (bytes, mut position) = (fs::read(log).expect("read"), 0);
    let batches = Batches::new(&bytes).map_while(Result::ok).map(|batch| {
        let begin = position;
        position += batch.header().size_bytes() as u64;
        (begin..position, batch.header().base_offset)
    });
    batches.collect()
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

/// The log holds the first `count` records and goes on after them.
fn holds(dir: &Path, count: i64, what: &str) {
    let broker = Broker::start_in(dir);
    let mut connection = broker.connect();
    let found = everything(&mut connection);
    assert_eq!(found.len() as i64, count, "{what}");
    assert!(found.iter().all(|(offset, text)| *text == value(*offset)), "{what}");
    assert_eq!(connection.produce("t", 0, batch(&["next"]), -1).base_offset, count, "{what}");
    assert_eq!(offset_at(&mut connection, 1_700_000_000_000), 0, "{what}");
    assert_eq!(broker.terminate(), Some(0), "{what}");
}

fn offset_at(connection: &mut Connection, timestamp: i64) -> i64 {
    let partitions = vec![ListOffsetsPartition { partition_index: 0, timestamp, ..Default::default() }];
    let topics = vec![ListOffsetsTopic { name: "t".to_owned(), partitions, ..Default::default() }];
    connection.call(&ListOffsetsRequest { replica_id: -1, topics, ..Default::default() }, 7).topics[0].partitions[0].offset
}

/// What `ottla serve` says on a directory that it must refuse, and leave as it is.
fn refused(dir: &Path) -> String {
    let before = files(dir);
    let mut command = command(&["--data", &dir.display().to_string(), "--listen", "127.0.0.1:0"]);
    let Output { status, stderr, .. } = command.env("KAFKA_LOG", "off").output().expect("it runs");
    let stderr = String::from_utf8(stderr).expect("text");
    assert_eq!((status.code(), stderr.lines().count()), (Some(1), 1), "{stderr}");
    let changed: Vec<PathBuf> =
        files(dir).into_iter().filter(|(path, content)| before.get(path) != Some(content)).map(|(path, _)| path).collect();
    let expected = |path: &PathBuf| path.ends_with(".lock");
    assert!(changed.iter().all(expected) && before.keys().all(|path| path.exists()), "{changed:?}");
    stderr
}

#[test]
fn of_a_torn_or_zeroed_log_everything_before_the_damage_is_served() {
    let (_keep, dir) = killed_broker();
    let logs = in_partition(&dir, ".log");
    assert_eq!(logs.len(), 2);
    for seed in 0..12 {
        let mut random = Random::new(seed);
        let damaged = dir.with_file_name(format!("damaged-{seed}"));
        copy(&dir, &damaged);
        let log = damaged.join("t-0").join(logs[random.below(2) as usize].file_name().expect("a name"));
        let batches = batches(&log);
        let size = batches.last().expect("a batch").0.end;
        let position = random.below(size);
        let whole = batches.iter().find(|(place, _)| place.contains(&position)).expect("some batch holds it").1;
        let mut content = fs::read(&log).expect("read");
        match seed % 4 {
            0 => content.truncate(position as usize),
            // The length had reached the disk, the content had not.
            1 => content[position as usize..].fill(0),
            2 => content.iter_mut().skip(position as usize).take(512).for_each(|byte| *byte = 0),
            _ => content[position as usize] ^= 1 << random.below(8),
        }
        fs::write(&log, content).expect("written");
        // Of a batch the offset and the epoch lie outside its checksum; but offsets must follow each other.
        holds(&damaged, whole, &format!("seed {seed}: {} at {position}", log.display()));
        fs::remove_dir_all(damaged).expect("removed");
    }
}

#[test]
fn everything_but_the_log_itself_is_made_anew() {
    let (_keep, dir) = killed_broker();
    for clean in [false, true] {
        let whole = dir.with_file_name(format!("whole-{clean}"));
        copy(&dir, &whole);
        if clean {
            assert_eq!(Broker::start_in(&whole).terminate(), Some(0));
        }
        let in_log = [".index", ".timeindex", ".snapshot", "leader-epoch-checkpoint"].map(|suffix| in_partition(&whole, suffix));
        let of_dir = [
            "recovery-point-offset-checkpoint",
            "replication-offset-checkpoint",
            "log-start-offset-checkpoint",
            "cleaner-offset-checkpoint",
            ".kafka_cleanshutdown",
        ];
        let names = in_log.concat().into_iter().chain(of_dir.map(|name| whole.join(name)));
        for name in names.map(|path| path.strip_prefix(&whole).expect("below").to_owned()) {
            for (how, content) in
                [("deleted", None), ("empty", Some(&b""[..])), ("garbled", Some(b"\xff\x00 no such thing\n7")), ("zeroed", Some(&[0; 48]))]
            {
                if name.ends_with(".kafka_cleanshutdown") && how != "deleted" {
                    continue;
                }
                let damaged = whole.with_file_name("damaged");
                copy(&whole, &damaged);
                match content {
                    None => drop(fs::remove_file(damaged.join(&name))),
                    Some(content) => fs::write(damaged.join(&name), content).expect("written"),
                }
                holds(&damaged, RECORDS, &format!("{} {how}, clean: {clean}", name.display()));
                fs::remove_dir_all(damaged).expect("removed");
            }
        }
    }
}

#[test]
fn what_was_aborted_stays_so_without_the_index_of_it() {
    let (_keep, dir) = data_dir();
    let broker = Broker::start_in(&dir);
    let mut connection = broker.connect();
    connection.create_topic("t", 1);
    let builder = || BatchBuilder::new(Compression::None).producer(7, 0, 0).transactional(true);
    assert_eq!(connection.produce("t", 0, batch(&["before"]), -1).base_offset, 0);
    let fetched = |dir: &Path| {
        let broker = Broker::start_in(dir);
        let mut request = fetch_request("t", 0, 0);
        request.isolation_level = 1;
        let data = only_partition(broker.connect().call(&request, 12));
        (data.aborted_transactions.unwrap_or_default().len(), data.last_stable_offset)
    };
    drop(connection);
    assert_eq!(broker.terminate(), Some(0));
    // A transaction and its abort, as a log has them.
    let log = in_partition(&dir, ".log").remove(0);
    let mut content = fs::read(&log).expect("read");
    let mut control = BatchBuilder::new(Compression::None).producer(7, 0, -1).transactional(true).control(true);
    control.append_control(1_700_000_000_000, &ControlRecord::end_transaction(false, 1)).expect("a marker");
    for (offset, mut batch) in [(1i64, batch_of(builder(), &["aborted"]).to_vec()), (2, control.finish().expect("a batch").to_vec())] {
        batch[..8].copy_from_slice(&offset.to_be_bytes());
        batch[12..16].fill(0);
        content.extend(batch);
    }
    fs::write(&log, content).expect("written");
    for name in in_partition(&dir, "index").into_iter().chain(in_partition(&dir, ".snapshot")) {
        fs::remove_file(name).expect("removed");
    }
    fs::remove_file(dir.join(".kafka_cleanshutdown")).expect("removed");
    assert_eq!(fetched(&dir), (1, 3));
    for name in in_partition(&dir, ".txnindex") {
        fs::remove_file(name).expect("removed");
    }
    assert_eq!(fetched(&dir), (1, 3));
}

#[test]
fn a_torn_metadata_log_is_cut_and_the_logs_that_it_no_longer_knows_are_kept() {
    let (_keep, dir) = killed_broker();
    let metadata = dir.join("__cluster_metadata-0/00000000000000000000.log");
    let batches = batches(&metadata);
    let content = fs::read(&metadata).expect("read");
    // From the last batch back to the first that is not of the node's start.
    for (place, _) in batches.iter().rev().take(3) {
        for zeroed in [false, true] {
            let damaged = dir.with_file_name("damaged");
            copy(&dir, &damaged);
            let cut = (place.start + 70).min(place.end - 1) as usize;
            let mut torn = content[..cut].to_vec();
            torn.resize(if zeroed { content.len() } else { cut }, 0);
            fs::write(damaged.join("__cluster_metadata-0/00000000000000000000.log"), torn).expect("written");
            // A snapshot that was being written.
            fs::write(damaged.join("__cluster_metadata-0/00000000000000000009-0000000001.checkpoint.part"), b"half").expect("written");
            let broker = Broker::start_in(&damaged);
            let mut connection = broker.connect();
            let known = connection
                .call(&MetadataRequest { topics: None, ..Default::default() }, 9)
                .topics
                .iter()
                .any(|topic| topic.name.as_deref() == Some("t"));
            if known {
                assert_eq!(everything(&mut connection).len() as i64, RECORDS);
            } else {
                let strays = fs::read_dir(&damaged)
                    .expect("listed")
                    .filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().ends_with("-stray")));
                assert_eq!(strays.count(), 1);
            }
            connection.create_topic("after", 1);
            assert_eq!(broker.terminate(), Some(0));
            fs::remove_dir_all(damaged).expect("removed");
        }
    }
}

#[test]
fn what_cannot_be_made_anew_is_named_and_left_as_it_is() {
    let (_keep, dir) = killed_broker();
    let snapshot = "__cluster_metadata-0/00000000000000000000-0000000000.checkpoint";
    for (name, contents) in [
        ("meta.properties", [&b""[..], b"\xff\xfe\x00", b"version=1\n"]),
        ("__cluster_metadata-0/quorum-state", [b"", b"{\"leaderId\":1", b"\0\0\0\0"]),
        (
            snapshot,
            [b"", b"\0\0\0\0\0\0\0\0", b"no batch at all, but long enough that it could be one, if somebody looked only at lengths"],
        ),
    ] {
        for content in contents {
            let damaged = dir.with_file_name("damaged");
            copy(&dir, &damaged);
            fs::remove_file(damaged.join(name)).expect("it was there");
            fs::write(damaged.join(name), content).expect("written");
            let error = refused(&damaged);
            assert!(error.contains(name), "{error}");
            fs::remove_dir_all(damaged).expect("removed");
        }
    }
}
