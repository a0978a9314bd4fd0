//! A partition that Apache Kafka 4.3 wrote (`tests/golden/log/golden-0`): five codecs, idempotent and transactional producers, three
//! segments, two leader epochs, clean stops after offsets 513 and 815.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::config::LogConfig;
use super::fs;
use super::log::tests::records_from;
use super::log::{EARLIEST_TIMESTAMP, FetchIsolation, LATEST_TIMESTAMP, Log, LogOptions, MAX_TIMESTAMP};
use crate::common::clock::ManualClock;
use crate::common::topic_partition::TopicPartition;

const END_OFFSET: i64 = 815;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/log/golden-0")
}

/// A copy of the files that `wanted` picks by name.
fn copy(wanted: impl Fn(&str) -> bool) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("temporary directory");
    fs::create_dir_all(&dir.path().join("golden-0")).expect("created");
    for path in fs::list(&golden()).expect("listed") {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        if wanted(name) {
            fs::write(&dir.path().join("golden-0").join(name), &fs::read(&path).expect("read")).expect("written");
        }
    }
    dir
}

fn open(dir: &tempfile::TempDir, had_clean_shutdown: bool) -> Log {
    let config = LogConfig { segment_bytes: 20_000, index_interval_bytes: 1000, ..LogConfig::default() };
    // Shortly after the records were written, so that their producers have not expired.
    let last = fs::read(&golden().join("00000000000000000541.timeindex")).expect("read");
    let timestamp = i64::from_be_bytes(last[last.len() - 12..][..8].try_into().expect("eight bytes"));
    let clock = Arc::new(ManualClock::new(timestamp + 1000));
    let options = LogOptions::new(dir.path().join("golden-0"), TopicPartition::new("golden", 0), Arc::new(config), clock);
    Log::open(LogOptions { had_clean_shutdown, ..options }).expect("opened")
}

fn content(dir: &tempfile::TempDir, name: &str) -> Vec<u8> {
    fs::read(&dir.path().join("golden-0").join(name)).unwrap_or_else(|error| panic!("{error}"))
}

fn golden_content(name: &str) -> Vec<u8> {
    fs::read(&golden().join(name)).expect("read")
}

#[test]
fn kafkas_partition_is_served() {
    let dir = copy(|_| true);
    let log = open(&dir, true);
    assert_eq!((log.log_start_offset(), log.log_end_offset(), log.recovery_point()), (0, END_OFFSET, END_OFFSET));
    log.update_high_watermark(END_OFFSET);
    assert_eq!(log.last_stable_offset(), END_OFFSET);
    assert_eq!(log.end_offset_for_epoch(0), Some((0, 513)));
    assert_eq!(log.latest_epoch(), Some(2));
    assert!(log.topic_id().is_some());
    for max_bytes in [1, 4000, 1 << 20] {
        let records = records_from(&log, 0, max_bytes, FetchIsolation::TransactionCommitted);
        assert!(records.iter().map(|record| record.offset).eq(0..END_OFFSET));
        assert_eq!(records[813].key.as_deref(), Some(&b"k1"[..]));
        assert_eq!(records[814].value.as_deref(), Some(&b"v2"[..]));
    }
    let at = |timestamp| log.offset_for_timestamp(timestamp).expect("searched").expect("found");
    assert_eq!((at(EARLIEST_TIMESTAMP).offset, at(EARLIEST_TIMESTAMP).leader_epoch), (0, 0));
    assert_eq!((at(LATEST_TIMESTAMP).offset, at(LATEST_TIMESTAMP).leader_epoch), (END_OFFSET, 2));
    let records = records_from(&log, 0, 1 << 20, FetchIsolation::LogEnd);
    let newest = records.iter().map(|record| record.timestamp).max().expect("records");
    let first_newest = records.iter().find(|record| record.timestamp == newest).expect("a record");
    assert_eq!((at(MAX_TIMESTAMP).timestamp, at(MAX_TIMESTAMP).offset), (newest, first_newest.offset));
    for record in records.iter().step_by(37) {
        let first = records.iter().find(|other| other.timestamp >= record.timestamp).expect("a record");
        assert_eq!((at(record.timestamp).timestamp, at(record.timestamp).offset), (first.timestamp, first.offset));
    }
}

#[test]
fn a_clean_open_and_stop_changes_no_file() {
    let dir = copy(|_| true);
    let log = open(&dir, true);
    log.flush().expect("flushed");
    log.close().expect("closed");
    for path in fs::list(&golden()).expect("listed") {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        // Kafka, too, removes the snapshot of a stop that is neither the newest nor a segment's.
        if name != "00000000000000000513.snapshot" {
            assert_eq!(content(&dir, &name), golden_content(&name), "{name}");
        }
    }
}

#[test]
fn what_is_rebuilt_from_the_log_alone_equals_kafkas_files() {
    let dir = copy(|name| name.ends_with(".log") || name == "partition.metadata");
    let log = open(&dir, false);
    assert_eq!(log.log_end_offset(), END_OFFSET);
    log.flush().expect("flushed");
    log.close().expect("closed");
    // The second segment was open during a restart, which shifts Kafka's index entries; the others must be equal to the byte.
    for base in ["00000000000000000000", "00000000000000000541"] {
        for suffix in ["index", "timeindex"] {
            let name = format!("{base}.{suffix}");
            assert_eq!(content(&dir, &name), golden_content(&name), "{name}");
        }
    }
    for name in ["00000000000000000541.snapshot", "00000000000000000815.snapshot", "leader-epoch-checkpoint"] {
        assert_eq!(content(&dir, name), golden_content(name), "{name}");
    }
}
