//! What the model has found, each told by itself.

use crate::common::random::Random;
use crate::storage::cleaner::tests::{batch, committed, compacted, end_transaction};
use crate::storage::config::LogConfig;
use crate::storage::fs;
use crate::storage::fs::faults::{self, Disk};
use crate::storage::log::tests::{Fixture, produce};
use crate::storage::log::{Log, LogOptions};
use crate::storage::segment::{INDEX_SUFFIX, LOG_SUFFIX, TIME_INDEX_SUFFIX, segment_path};

fn numbered(producer_id: i64, sequence: i32, count: usize) -> Vec<u8> {
    let records: Vec<(&str, Option<&str>)> = vec![("key", Some("value")); count];
    batch(producer_id, sequence, false, &records)
}

/// It would be loaded instead of the records that have taken the place of those it knows.
#[test]
fn a_producer_snapshot_of_what_was_cut_off_stays_away() {
    for seed in 0..20 {
        let (disk, fixture) = (Disk::new(), Fixture::new(LogConfig::default()));
        let options = || LogOptions { dir: disk.dir().join("t-0"), ..fixture.options() };
        let log = Log::open(options()).expect("opened");
        produce(&log, &numbered(1, 0, 2));
        produce(&log, &numbered(1, 2, 1));
        log.flush().and_then(|()| log.close()).expect("closed, with a snapshot at 3");
        let log = Log::open(LogOptions { recovery_point: 3, had_clean_shutdown: true, ..options() }).expect("opened");
        log.truncate_to(2).expect("cut");
        produce(&log, &numbered(2, 0, 1));
        log.roll().and_then(|()| log.flush()).expect("flushed, with another snapshot at 3");
        let recovery_point = log.recovery_point();
        drop(log);
        disk.cut_power(&mut Random::new(seed));
        let log = Log::open(LogOptions { recovery_point, ..options() }).expect("opened");
        let last: Vec<(i64, i32)> = log.active_producers().iter().map(|it| (it.producer_id, it.last_sequence)).collect();
        assert_eq!(last, [(1, 1), (2, 0)], "seed {seed}");
    }
}

/// The file of a segment's first aborted transaction is created long after the others.
#[test]
fn a_transaction_that_was_aborted_before_a_power_cut_stays_aborted() {
    for seed in 0..20 {
        let (disk, fixture) = (Disk::new(), Fixture::new(LogConfig::default()));
        let options = || LogOptions { dir: disk.dir().join("t-0"), ..fixture.options() };
        let log = Log::open(options()).expect("opened");
        produce(&log, &batch(1, 0, true, &[("key", Some("aborted"))]));
        log.flush().expect("flushed");
        end_transaction(&log, 1, false);
        log.roll().and_then(|()| log.flush_rolled()).expect("flushed");
        let recovery_point = log.recovery_point();
        drop(log);
        disk.cut_power(&mut Random::new(seed));
        let log = Log::open(LogOptions { recovery_point, ..options() }).expect("opened");
        log.update_high_watermark(log.log_end_offset());
        assert_eq!(committed(&log, 1000), [], "seed {seed}");
    }
}

/// To make an index anew takes the snapshots of all that comes later away.
#[test]
fn producers_are_known_after_an_index_was_made_anew() {
    let fixture = Fixture::new(LogConfig::default());
    let log = fixture.open();
    produce(&log, &numbered(1, 0, 2));
    log.roll().expect("rolled");
    produce(&log, &numbered(2, 0, 3));
    log.delete_records_before(3).expect("deleted");
    log.flush().and_then(|()| log.close()).expect("closed");
    fs::remove_file(&segment_path(&log.dir(), 0, TIME_INDEX_SUFFIX, "")).expect("removed");
    let options = LogOptions { recovery_point: 5, had_clean_shutdown: true, log_start_offset: 3, ..fixture.options() };
    let log = Log::open(options).expect("opened");
    let last: Vec<(i64, i32)> = log.active_producers().iter().map(|it| (it.producer_id, it.last_sequence)).collect();
    assert_eq!(last, [(2, 2)]);
}

/// Recovery found nothing to cut where the making of an index had cut already, and in a compacted log a gap is no sign either.
#[test]
fn what_follows_damage_is_cut_off_even_when_an_index_was_made_anew_before() {
    let fixture = compacted(1 << 20);
    let log = fixture.open();
    produce(&log, &numbered(1, 0, 2));
    log.roll().expect("rolled");
    produce(&log, &numbered(1, 2, 2));
    log.flush().and_then(|()| log.close()).expect("closed");
    let path = segment_path(&log.dir(), 0, LOG_SUFFIX, "");
    faults::flip_bit(&path, 70, 3);
    fs::remove_file(&segment_path(&log.dir(), 0, INDEX_SUFFIX, "")).expect("removed");
    assert_eq!(fixture.open().log_end_offset(), 0);
}

/// Nothing is verified after a clean stop, but a log must end where a batch does, or the next one is appended to what no reader passes.
#[test]
fn what_is_no_batch_at_the_end_goes_after_a_clean_stop_too() {
    let fixture = Fixture::new(LogConfig::default());
    let log = fixture.open();
    produce(&log, &numbered(1, 0, 2));
    log.flush().and_then(|()| log.close()).expect("closed");
    let path = segment_path(&log.dir(), 0, LOG_SUFFIX, "");
    let mut content = fs::read(&path).expect("read");
    content.extend([7; 80]);
    fs::write(&path, &content).expect("written");
    let log = Log::open(LogOptions { recovery_point: 2, had_clean_shutdown: true, ..fixture.options() }).expect("opened");
    produce(&log, &numbered(1, 2, 1));
    assert_eq!(committed(&log, 1000).len(), 3);
}

#[test]
fn a_damaged_index_entry_misleads_nobody() {
    let fixture = Fixture::new(LogConfig { index_interval_bytes: 0, ..LogConfig::default() });
    let log = fixture.open();
    for sequence in 0..5 {
        produce(&log, &numbered(1, sequence, 1));
    }
    log.flush().and_then(|()| log.close()).expect("closed");
    let path = segment_path(&log.dir(), 0, INDEX_SUFFIX, "");
    let index = fs::read(&path).expect("read");
    for byte in 0..index.len() {
        for bit in 0..8 {
            fs::write(&path, &index).expect("written");
            faults::flip_bit(&path, byte, bit);
            let log = Log::open(LogOptions { recovery_point: 5, had_clean_shutdown: true, ..fixture.options() }).expect("opened");
            log.update_high_watermark(5);
            let offsets: Vec<i64> = committed(&log, 1).iter().map(|(offset, ..)| *offset).collect();
            assert_eq!(offsets, [0, 1, 2, 3, 4], "bit {bit} of byte {byte}");
        }
    }
}
