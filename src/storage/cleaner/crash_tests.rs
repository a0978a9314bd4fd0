//! A crash after each single file operation of a compaction, and of the recovery from it.
//!
//! Invariant: whatever the moment, the log that is found afterwards is that of before the swap of a group or that of after it.

use super::tests::{DAY_MS, batch, clean, clean_within, committed, compacted, contents, end_transaction};
use crate::storage::fs;
use crate::storage::log::tests::{Fixture, produce};
use crate::storage::log::{Log, LogOptions};

/// Segments with replaced values, a tombstone past its horizon, an aborted transaction, and one whose last batches all go.
fn history() -> (Fixture, Log) {
    let fixture = compacted(420);
    let log = fixture.open();
    produce(&log, &batch(1, 0, false, &[("a", Some("1")), ("b", Some("1")), ("gone", Some("1"))]));
    produce(&log, &batch(1, 3, false, &[("gone", None)]));
    log.roll().expect("rolled");
    produce(&log, &batch(2, 0, false, &[("x", Some("y"))]));
    clean(&log, &fixture.clock);
    fixture.clock.advance(DAY_MS);
    for n in 1..4 {
        produce(&log, &batch(2, n, false, &[("a", Some(format!("{n}").as_str()))]));
    }
    produce(&log, &batch(7, 0, true, &[("a", Some("aborted")), ("c", Some("aborted"))]));
    end_transaction(&log, 7, false);
    produce(&log, &batch(7, 2, true, &[("d", Some("committed"))]));
    end_transaction(&log, 7, true);
    log.roll().expect("rolled");
    for n in 0..3 {
        produce(&log, &batch(3, n, false, &[("tail", Some("replaced"))]));
    }
    log.roll().expect("rolled");
    produce(&log, &batch(3, 3, false, &[("tail", Some("last"))]));
    (fixture, log)
}

fn reopen(fixture: &Fixture) -> Log {
    let log = Log::open(LogOptions { had_clean_shutdown: false, ..fixture.options() }).expect("opened");
    log.update_high_watermark(log.log_end_offset());
    log
}

/// Does `found` come from `before` by taking some segments' records of `after` instead?
fn is_between(found: &[i64], before: &[i64], after: &[i64]) -> bool {
    found.iter().all(|offset| before.contains(offset)) && after.iter().all(|offset| found.contains(offset))
}

fn offsets(log: &Log) -> Vec<i64> {
    contents(log).iter().map(|(offset, ..)| *offset).collect()
}

#[test]
fn a_crash_after_any_file_operation_loses_nothing_and_brings_nothing_back() {
    let (before, after, values) = {
        let (fixture, log) = history();
        let before = offsets(&log);
        let values = super::tests::last_values(committed(&log, 1000));
        clean(&log, &fixture.clock);
        (before, offsets(&log), values)
    };
    assert!(after.len() < before.len());
    let expected: Vec<(String, String)> = values.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    for operations in 0.. {
        let (fixture, log) = history();
        let end = log.log_end_offset();
        fs::faults::fail_after(operations);
        let done = clean_within(&log, &fixture.clock, 1 << 20).is_ok();
        fs::faults::clear();
        drop(log);
        // The recovery too may be cut off, wherever.
        if !done {
            fs::faults::fail_after(operations % 37);
            drop(Log::open(LogOptions { had_clean_shutdown: false, ..fixture.options() }));
            fs::faults::clear();
        }
        let log = reopen(&fixture);
        let found = offsets(&log);
        assert!(is_between(&found, &before, &after), "{operations} operations: {found:?}");
        assert_eq!(log.log_end_offset(), end, "{operations} operations");
        assert_eq!(log.last_stable_offset(), end, "{operations} operations");
        let now: Vec<(String, String)> =
            super::tests::last_values(committed(&log, 300)).into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        assert_eq!(now, expected, "{operations} operations");
        let names: Vec<String> = fs::list(&log.dir()).expect("listed").iter().map(|path| path.to_string_lossy().into_owned()).collect();
        assert!(names.iter().all(|name| !name.ends_with(".swap") && !name.ends_with(".cleaned")), "{names:?}");
        // Cleaned again it is what it would have been.
        clean(&log, &fixture.clock);
        assert_eq!(offsets(&log), after, "{operations} operations");
        if done {
            assert!(operations > 40, "{operations}");
            break;
        }
    }
}

/// What takes the place of a synced value must be synced before the value goes.
#[test]
fn a_power_cut_after_compaction_loses_no_value_that_was_synced() {
    for seed in 0..40 {
        let disk = fs::faults::Disk::new();
        // Each segment is a group of its own.
        let fixture = compacted(200);
        let options = || LogOptions { dir: disk.dir().join("t-0"), ..fixture.options() };
        let log = Log::open(options()).expect("opened");
        let value = "x".repeat(60);
        produce(&log, &batch(1, 0, false, &[("k", Some(&format!("synced {value}")))]));
        log.roll().expect("rolled");
        log.flush().expect("flushed");
        let recovery_point = log.recovery_point();
        produce(&log, &batch(1, 1, false, &[("k", Some(&format!("unsynced {value}")))]));
        log.roll().expect("rolled");
        produce(&log, &batch(1, 2, false, &[("other", Some("value"))]));
        fs::faults::fail_after(seed * 2);
        let _ = clean_within(&log, &fixture.clock, 1 << 20);
        fs::faults::clear();
        drop(log);
        disk.cut_power(&mut crate::common::random::Random::new(seed));
        let log = Log::open(LogOptions { recovery_point, ..options() }).expect("opened");
        log.update_high_watermark(log.log_end_offset());
        let values = super::tests::last_values(committed(&log, 1000));
        assert!(values.contains_key("k"), "seed {seed}: {values:?}");
    }
}

/// Another log with the same files.
fn copy(of: &Fixture) -> Fixture {
    let mut copy = compacted(0);
    copy.config = of.config.clone();
    let (from, to) = (of.options().dir, copy.options().dir);
    fs::create_dir_all(&to).expect("created");
    for path in fs::list(&from).expect("listed") {
        fs::write(&to.join(path.file_name().expect("a name")), &fs::read(&path).expect("read")).expect("written");
    }
    copy
}

#[test]
fn a_recovery_cut_off_anywhere_is_finished_by_the_next() {
    let mut seen = 0;
    for operations in 0.. {
        let (fixture, log) = history();
        fs::faults::fail_after(operations);
        let done = clean_within(&log, &fixture.clock, 1 << 20).is_ok();
        fs::faults::clear();
        drop(log);
        if done {
            break;
        }
        // The moments when the new log is there and the old ones are not all gone.
        let names = fs::list(&fixture.options().dir).expect("listed");
        if !names.iter().any(|path| path.to_string_lossy().ends_with(".swap")) {
            continue;
        }
        seen += 1;
        for recovery_operations in (operations % 7..).step_by(7) {
            let fixture = copy(&fixture);
            fs::faults::fail_after(recovery_operations);
            let opened = Log::open(LogOptions { had_clean_shutdown: false, ..fixture.options() }).is_ok();
            fs::faults::clear();
            let log = reopen(&fixture);
            let values = super::tests::last_values(committed(&log, 300));
            assert_eq!(values.get("tail").cloned().flatten().as_deref(), Some("last"));
            assert_eq!(values.get("d").cloned().flatten().as_deref(), Some("committed"), "{operations}, {recovery_operations}");
            assert!(!values.contains_key("c"), "{operations}, {recovery_operations}");
            assert_eq!(log.last_stable_offset(), log.log_end_offset());
            if opened {
                break;
            }
        }
    }
    assert!(seen > 3, "{seen}");
}
