use super::*;
use crate::common::clock::ManualClock;
use crate::storage::log::tests::{START_MS, plain_batch, produce};

struct Node {
    dirs: Vec<tempfile::TempDir>,
    clock: Arc<ManualClock>,
}

impl Node {
    fn new(count: u64) -> Node {
        let dirs: Vec<_> = (0..count).map(|_| tempfile::tempdir().expect("temporary directory")).collect();
        for (n, dir) in dirs.iter().enumerate() {
            let directory_id = Some(Uuid::from_u128(1000 + n as u128));
            let properties = MetaProperties { cluster_id: "cluster".to_owned(), node_id: 1, directory_id };
            properties.write(dir.path(), &java_date(0)).expect("written");
        }
        Node { dirs, clock: Arc::new(ManualClock::new(START_MS)) }
    }

    fn options(&self) -> LogDirsOptions {
        LogDirsOptions {
            dirs: self.dirs.iter().map(|dir| dir.path().to_owned()).collect(),
            metadata_only_dir: None,
            node_id: 1,
            clock: self.clock.clone(),
            recovery_threads_per_data_dir: 2,
            producer_id_expiration_ms: 86_400_000,
            progress: Arc::default(),
        }
    }

    fn start(&self) -> LogDirs {
        let dirs = LogDirs::open(self.options()).expect("opened");
        dirs.load(&|_| Arc::new(LogConfig::default()));
        dirs
    }

    fn create(&self, dirs: &LogDirs, partition: i32) -> Arc<Log> {
        dirs.create(&tp(partition), Uuid::from_u128(5), None, Arc::new(LogConfig::default())).expect("created")
    }
}

fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

#[test]
fn logs_survive_clean_and_unclean_stops() {
    let node = Node::new(2);
    let dirs = node.start();
    assert_eq!((dirs.cluster_id(), dirs.previous_broker_epoch()), ("cluster", -1));
    for partition in 0..4 {
        produce(&node.create(&dirs, partition), &plain_batch(START_MS, &["a", "b"]));
    }
    dirs.shutdown(42);
    drop(dirs);
    let checkpoint = fs::read(&node.dirs[0].path().join(RECOVERY_POINT_CHECKPOINT)).expect("read");
    assert_eq!(checkpoint, b"0\n2\nt 0 2\nt 2 2\n");
    let marker = fs::read(&node.dirs[1].path().join(CLEAN_SHUTDOWN_FILE)).expect("read");
    assert_eq!(marker, br#"{"version":0,"brokerEpoch":42}"#);

    let dirs = node.start();
    assert_eq!(dirs.previous_broker_epoch(), 42);
    assert!(dirs.had_clean_shutdown(node.dirs[0].path()));
    assert!(!fs::exists(&node.dirs[0].path().join(CLEAN_SHUTDOWN_FILE)));
    assert_eq!(dirs.logs().len(), 4);
    let log = dirs.log(&tp(3)).expect("loaded");
    assert_eq!((log.log_end_offset(), log.high_watermark(), log.topic_id()), (2, 2, Some(Uuid::from_u128(5))));
    produce(&log, &plain_batch(START_MS, &["c"]));
    drop((dirs, log));

    let dirs = node.start();
    assert_eq!((dirs.previous_broker_epoch(), dirs.had_clean_shutdown(node.dirs[0].path())), (-1, false));
    assert_eq!(dirs.log(&tp(3)).expect("recovered").log_end_offset(), 3);
}

#[test]
fn checkpoints_that_cannot_be_understood_are_begun_anew() {
    for is_clean in [true, false] {
        let node = Node::new(1);
        let dirs = node.start();
        produce(&node.create(&dirs, 0), &plain_batch(START_MS, &["a", "b"]));
        if is_clean {
            dirs.shutdown(1);
        }
        drop(dirs);
        let names = [RECOVERY_POINT_CHECKPOINT, LOG_START_OFFSET_CHECKPOINT, HIGH_WATERMARK_CHECKPOINT, CLEANER_OFFSET_CHECKPOINT];
        for (name, content) in names.into_iter().zip(["0\n9\nt 0 2\n", "7\n", "0\n1\n\0\0\0\0", "\u{1}"]) {
            fs::write(&node.dirs[0].path().join(name), content.as_bytes()).expect("written");
        }
        let dirs = node.start();
        let log = dirs.log(&tp(0)).expect("loaded");
        assert_eq!((log.log_start_offset(), log.log_end_offset(), log.is_online()), (0, 2, true));
        dirs.shutdown(2);
        for name in names {
            assert!(checkpoint::read_offsets(&node.dirs[0].path().join(name)).is_ok() || name == CLEANER_OFFSET_CHECKPOINT, "{name}");
        }
    }
}

#[test]
fn what_was_compacted_may_lack_offsets_between_its_segments_whatever_its_policy_is_now() {
    let node = Node::new(1);
    let dirs = node.start();
    let log = node.create(&dirs, 0);
    for value in ["a", "b", "c"] {
        produce(&log, &plain_batch(START_MS, &[value]));
        log.roll().expect("rolled");
    }
    drop((dirs, log));
    let dir = node.dirs[0].path();
    let remove = || {
        for suffix in ["log", "index", "timeindex", "snapshot"] {
            fs::remove_file(&dir.join(format!("t-0/{:020}.{suffix}", 1))).expect("removed");
        }
    };
    remove();
    fs::write(&dir.join(CLEANER_OFFSET_CHECKPOINT), b"0\n1\nt 0 2\n").expect("written");
    let dirs = node.start();
    assert_eq!(dirs.log(&tp(0)).expect("loaded").log_end_offset(), 3);
    drop(dirs);
    // Elsewhere a segment is missing, and what follows it was not flushed.
    fs::remove_file(&dir.join(CLEANER_OFFSET_CHECKPOINT)).expect("removed");
    let dirs = node.start();
    assert_eq!(dirs.log(&tp(0)).expect("loaded").log_end_offset(), 1);
}

#[test]
fn many_logs_are_closed_with_one_sync() {
    let node = Node::new(1);
    let dirs = node.start();
    let count = 2 * MANY_FILES as i32;
    for partition in 0..count {
        produce(&node.create(&dirs, partition), &plain_batch(START_MS, &["a", "b"]));
    }
    dirs.shutdown(1);
    drop(dirs);
    let dirs = node.start();
    for partition in 0..count {
        let log = dirs.log(&tp(partition)).expect("loaded");
        assert_eq!((log.log_end_offset(), log.high_watermark(), log.recovery_point()), (2, 2, 2));
    }
    // And many are recovered after a crash, twice.
    for partition in 0..count {
        produce(&dirs.log(&tp(partition)).expect("loaded"), &plain_batch(START_MS, &["c"]));
    }
    drop(dirs);
    drop(node.start());
    let dirs = node.start();
    assert!((0..count).all(|partition| dirs.log(&tp(partition)).is_some_and(|log| log.log_end_offset() == 3 && log.recovery_point() == 2)));
}

#[test]
fn a_partition_goes_to_the_directory_asked_for_or_the_emptiest() {
    let node = Node::new(2);
    let dirs = node.start();
    let second = Uuid::from_u128(1001);
    let config = || Arc::new(LogConfig::default());
    dirs.create(&tp(0), Uuid::from_u128(5), Some(second), config()).expect("created");
    assert_eq!(dirs.directory_of(&tp(0)), Some(second));
    node.create(&dirs, 1);
    assert_eq!(dirs.directory_of(&tp(1)), Some(Uuid::from_u128(1000)));
    let again = dirs.create(&tp(0), Uuid::from_u128(5), None, config()).expect("the same");
    assert!(Arc::ptr_eq(&again, &dirs.log(&tp(0)).expect("known")));
    let other = dirs.create(&tp(0), Uuid::from_u128(6), None, config());
    assert!(matches!(other, Err(LogDirsError::InconsistentTopicId { .. })));
}

#[test]
fn a_new_partition_is_a_directory_with_its_topic_id() {
    let node = Node::new(1);
    let dirs = node.start();
    let log = node.create(&dirs, 0);
    // At once, whatever happens to the process next.
    let dir = node.dirs[0].path().join("t-0");
    let found = || fs::list(&dir).expect("listed");
    assert_eq!(found(), [dir.join("partition.metadata")]);
    assert_eq!(log.unsynced_topic_id(), Some(dir.join("partition.metadata")));
    dirs.remove_deleted();
    assert_eq!(log.unsynced_topic_id(), None);
    drop((dirs, log));
    let dirs = node.start();
    let log = dirs.log(&tp(0)).expect("loaded");
    assert_eq!((log.topic_id(), log.log_end_offset()), (Some(Uuid::from_u128(5)), 0));
    assert_eq!(log.delete_old_segments().expect("nothing to delete"), 0);
    assert_eq!(log.offset_for_timestamp(0).expect("looked for"), None);
    dirs.shutdown(1);
    assert_eq!(found(), [dir.join("partition.metadata")]);
    drop((dirs, log));
    let dirs = node.start();
    produce(&dirs.log(&tp(0)).expect("loaded"), &plain_batch(START_MS, &["a"]));
    let names: Vec<_> = found().iter().filter_map(|path| Some(path.extension()?.to_str()?.to_owned())).collect();
    assert_eq!(names, ["index", "log", "timeindex", "metadata"]);
}

#[test]
fn a_partition_of_the_same_name_gets_nothing_of_the_old_one() {
    let node = Node::new(1);
    let dirs = node.start();
    for partition in 0..2 {
        let log = node.create(&dirs, partition);
        produce(&log, &plain_batch(START_MS, &["a", "b"]));
        log.flush().expect("flushed");
    }
    dirs.checkpoint_offsets();
    let checkpoint = || {
        let text = fs::read(&node.dirs[0].path().join(RECOVERY_POINT_CHECKPOINT)).expect("read");
        String::from_utf8(text).expect("text")
    };
    (0..2).for_each(|partition| dirs.delete(&tp(partition)).expect("deleted"));
    assert_eq!(checkpoint(), "0\n2\nt 0 2\nt 1 2\n");
    // Another partition need not wait for the checkpoint.
    node.create(&dirs, 2);
    assert_eq!(checkpoint(), "0\n2\nt 0 2\nt 1 2\n");
    node.create(&dirs, 1);
    assert_eq!(checkpoint(), "0\n1\nt 2 0\n");
}

#[test]
fn a_replica_is_created_where_it_was_wanted_before_it_came() {
    let node = Node::new(2);
    let dirs = node.start();
    let (first, second) = (Uuid::from_u128(1000), Uuid::from_u128(1001));
    assert!(matches!(dirs.begin_move(&tp(0), node.dirs[1].path()), Err(MoveError::NoReplica)));
    let config = || Arc::new(LogConfig::default());
    dirs.create(&tp(0), Uuid::from_u128(5), Some(first), config()).expect("created");
    assert_eq!(dirs.directory_of(&tp(0)), Some(second));
    // Once.
    dirs.delete(&tp(0)).expect("deleted");
    dirs.create(&tp(0), Uuid::from_u128(6), Some(first), config()).expect("created");
    assert_eq!(dirs.directory_of(&tp(0)), Some(first));
    // The emptiest is the one with the fewest replicas, those on their way there counted.
    assert!(dirs.begin_move(&tp(0), node.dirs[1].path()).expect("begun"));
    node.create(&dirs, 1);
    node.create(&dirs, 2);
    assert_eq!((dirs.directory_of(&tp(1)), dirs.directory_of(&tp(2))), (Some(first), Some(second)));
}

#[test]
fn a_deleted_partition_can_be_created_anew_at_once() {
    let node = Node::new(1);
    let dirs = node.start();
    produce(&node.create(&dirs, 0), &plain_batch(START_MS, &["old"]));
    let old = dirs.log(&tp(0)).expect("known");
    dirs.delete(&tp(0)).expect("deleted");
    assert!(dirs.log(&tp(0)).is_none());
    assert!(old.append_as_leader(&plain_batch(START_MS, &["late"]), 0, crate::storage::log::AppendOrigin::Client).is_err());
    assert_eq!(node.create(&dirs, 0).log_end_offset(), 0);
    let set_aside = || {
        let paths = fs::list(node.dirs[0].path()).expect("listed");
        paths.iter().filter(|path| path.to_str().is_some_and(|path| path.ends_with(DELETE_DIR_SUFFIX))).count()
    };
    dirs.remove_deleted();
    assert_eq!(set_aside(), 1);
    drop(dirs);
    let dirs = node.start();
    assert_eq!(dirs.logs().len(), 1);
    node.clock.advance(60_000);
    dirs.remove_deleted();
    assert_eq!(set_aside(), 0);
}

#[test]
fn a_clock_that_is_set_back_holds_up_no_flush_and_no_deletion() {
    let node = Node::new(1);
    let dirs = node.start();
    let log = node.create(&dirs, 0);
    log.update_config(Arc::new(LogConfig { flush_ms: 1000, ..LogConfig::default() }));
    node.create(&dirs, 1);
    dirs.delete(&tp(1)).expect("deleted");
    produce(&log, &plain_batch(START_MS, &["a"]));
    for jump_ms in [86_400_000, -2 * 86_400_000] {
        node.clock.jump(jump_ms);
        dirs.flush_dirty_logs();
        dirs.remove_deleted();
        assert_eq!(log.recovery_point(), 0, "the interval is not over");
        assert_eq!(fs::list(node.dirs[0].path()).expect("listed").iter().filter(|path| path.is_dir()).count(), 2);
    }
    node.clock.advance(60_000);
    dirs.flush_dirty_logs();
    dirs.remove_deleted();
    assert_eq!(log.recovery_point(), 1);
    assert_eq!(fs::list(node.dirs[0].path()).expect("listed").iter().filter(|path| path.is_dir()).count(), 1);
}

#[test]
fn an_io_error_takes_one_directory_offline() {
    let node = Node::new(2);
    let dirs = node.start();
    (0..4).for_each(|partition| drop(node.create(&dirs, partition)));
    let log = dirs.log(&tp(0)).expect("known");
    fs::faults::fail_with(0, std::io::ErrorKind::Other);
    let failed = log.append_as_leader(&plain_batch(START_MS, &["a"]), 0, crate::storage::log::AppendOrigin::Client);
    fs::faults::clear();
    assert!(failed.is_err());
    assert_eq!(dirs.directories().iter().map(|dir| dir.online).collect::<Vec<_>>(), [false, true]);
    assert_eq!(dirs.logs().len(), 2);
    assert!(dirs.log(&tp(0)).is_none() && dirs.log(&tp(1)).is_some());
    dirs.shutdown(1);
    assert!(!fs::exists(&node.dirs[0].path().join(CLEAN_SHUTDOWN_FILE)));
    assert!(fs::exists(&node.dirs[1].path().join(CLEAN_SHUTDOWN_FILE)));
}

#[test]
fn directories_of_others_are_refused() {
    let node = Node::new(1);
    let other_node = LogDirs::open(LogDirsOptions { node_id: 2, ..node.options() });
    assert!(matches!(other_node, Err(OpenError::Inconsistent(_))));
    fs::remove_file(&node.dirs[0].path().join("meta.properties")).expect("removed");
    assert!(matches!(LogDirs::open(node.options()), Err(OpenError::NotFormatted { .. })));
}

fn move_all(dirs: &LogDirs, partition: i32) -> Arc<Log> {
    while dirs.copy_to_future(&tp(partition), 300).expect("copied") > 0 {}
    dirs.promote_future(&tp(partition)).expect("promoted").expect("it has caught up")
}

#[test]
fn a_replica_moves_to_another_directory_with_everything_it_has() {
    let node = Node::new(2);
    let dirs = node.start();
    let log = node.create(&dirs, 0);
    for n in 0..20 {
        produce(&log, &plain_batch(START_MS + n, &["a value"]));
    }
    log.delete_records_before(3).expect("deleted");
    let (from, to) = (node.dirs[0].path(), node.dirs[1].path());
    assert!(dirs.begin_move(&tp(0), to).expect("begun"));
    assert_eq!(dirs.copy_to_future(&tp(0), 100).expect("copied"), 100);
    let future = dirs.future_replicas().remove(0);
    assert!(future.offset_lag > 0 && future.log.dir().to_string_lossy().ends_with("-future"));
    assert!(dirs.promote_future(&tp(0)).expect("looked at").is_none());
    // What comes meanwhile is copied too, and who reads the old log is not disturbed.
    produce(&log, &plain_batch(START_MS, &["the last"]));
    let moved = move_all(&dirs, 0);
    assert_eq!((moved.log_start_offset(), moved.log_end_offset(), moved.high_watermark()), (3, 21, 21));
    assert_eq!((moved.dir(), moved.topic_id()), (to.join("t-0"), Some(Uuid::from_u128(5))));
    let read = |log: &Log| crate::storage::log::tests::records_from(log, 3, 500, crate::storage::log::FetchIsolation::LogEnd).len();
    assert_eq!((read(&log), read(&moved)), (18, 18));
    assert!(!fs::exists(&from.join("t-0")) && dirs.future_replicas().is_empty());
    assert!(dirs.directories().iter().all(|dir| dir.online));
    produce(&moved, &plain_batch(START_MS, &["after"]));
    dirs.shutdown(1);
    let dirs = node.start();
    assert_eq!((dirs.log(&tp(0)).expect("there").log_end_offset(), dirs.directory_of(&tp(0))), (22, Some(Uuid::from_u128(1001))));
}

#[test]
fn a_move_goes_on_after_a_restart_and_ends_where_the_replica_is() {
    let node = Node::new(2);
    let dirs = node.start();
    let log = node.create(&dirs, 0);
    for n in 0..20 {
        produce(&log, &plain_batch(START_MS + n, &["a value"]));
    }
    assert!(dirs.begin_move(&tp(0), node.dirs[1].path()).expect("begun"));
    dirs.copy_to_future(&tp(0), 300).expect("copied");
    let copied = dirs.future_replicas()[0].log.log_end_offset();
    dirs.shutdown(1);
    let dirs = node.start();
    dirs.log(&tp(0)).expect("there").update_high_watermark(20);
    assert_eq!(dirs.future_replicas()[0].log.log_end_offset(), copied);
    assert_eq!(move_all(&dirs, 0).log_end_offset(), 20);
    // Back, and then not.
    assert!(dirs.begin_move(&tp(0), node.dirs[0].path()).expect("begun"));
    assert!(!dirs.begin_move(&tp(0), node.dirs[1].path()).expect("it is there"));
    assert!(dirs.future_replicas().is_empty() && dirs.log(&tp(0)).expect("there").cleaning().is_idle());
    let unknown = dirs.begin_move(&tp(0), Path::new("/nowhere"));
    assert!(matches!(unknown, Err(MoveError::UnknownDirectory(_))));
    assert!(matches!(dirs.begin_move(&tp(7), node.dirs[0].path()), Err(MoveError::NoReplica)));
}

#[test]
fn of_two_logs_of_a_partition_the_longer_is_kept() {
    let node = Node::new(2);
    {
        let dirs = node.start();
        let log = node.create(&dirs, 0);
        produce(&log, &plain_batch(START_MS, &["a", "b"]));
        dirs.shutdown(1);
    }
    // What a crash between the two renames of a move leaves.
    let (from, to) = (node.dirs[0].path().join("t-0"), node.dirs[1].path().join("t-0"));
    fs::create_dir_all(&to).expect("created");
    fs::write(&to.join("partition.metadata"), &fs::read(&from.join("partition.metadata")).expect("read")).expect("written");
    let dirs = node.start();
    assert_eq!(dirs.log(&tp(0)).expect("there").log_end_offset(), 2);
    assert!(!fs::exists(&to));
}

#[test]
fn names_set_aside_fit_a_file_name() {
    let name = set_aside_name(&TopicPartition::new("x".repeat(249), 7), DELETE_DIR_SUFFIX);
    assert_eq!(name.len(), 255);
    assert!(name.ends_with(DELETE_DIR_SUFFIX) && name.contains("-7."));
}
