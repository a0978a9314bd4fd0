use super::batches::delivery_state::{ACKNOWLEDGED, AVAILABLE};
use super::*;

const TOPIC: Uuid = Uuid::from_u128(7);

fn at(ms: i64) -> Now {
    Now { wall_ms: ms, monotonic_ms: ms as u64 }
}

fn key() -> SharePartitionKey {
    SharePartitionKey { group_id: "g".to_owned(), topic_id: TOPIC, partition: 0 }
}

fn batch(first_offset: i64, last_offset: i64, delivery_state: i8) -> StateBatch {
    StateBatch { first_offset, last_offset, delivery_state, delivery_count: 1 }
}

fn write(start_offset: i64, state_batches: Vec<StateBatch>) -> WriteState {
    WriteState { state_epoch: 0, leader_epoch: 0, start_offset, delivery_complete_count: 0, state_batches }
}

/// A shard and the log it would have: records go through their bytes.
struct Fixture {
    shard: ShareShard,
    log: Vec<(Bytes, Option<Bytes>)>,
}

fn config() -> ShareCoordinatorConfig {
    ShareCoordinatorConfig { update_records_per_snapshot: 3, cold_partition_snapshot_interval_ms: 1000 }
}

impl Fixture {
    fn new() -> Fixture {
        Fixture { shard: ShareShard::new(config()), log: Vec::new() }
    }

    fn apply(&mut self, effects: Effects) -> Vec<ShareRecord> {
        for record in &effects.records {
            let (key, value) = record.encode().expect("encoded");
            let offset = self.log.len() as i64;
            self.log.push((key.clone(), value.clone()));
            self.shard.load(LogEntry::Record { offset, producer_id: None, key, value });
        }
        effects.records
    }

    fn initialize(&mut self, state_epoch: i32, start_offset: i64) {
        let effects = self.shard.initialize_state(at(5), key(), state_epoch, start_offset, true).expect("initialized");
        self.apply(effects);
    }

    fn write(&mut self, write: WriteState) -> ShareRecord {
        let effects = self.shard.write_state(at(10), key(), write, true).expect("written");
        self.apply(effects).remove(0)
    }

    fn read(&mut self, leader_epoch: i32) -> Result<ReadState, ErrorCode> {
        let (read, effects) = self.shard.read_state(at(10), key(), leader_epoch, true).map_err(|error| error.code)?;
        self.apply(effects);
        Ok(read)
    }

    fn restarted(&self) -> ShareShard {
        let mut shard = ShareShard::new(config());
        for (offset, (key, value)) in self.log.iter().enumerate() {
            shard.load(LogEntry::Record { offset: offset as i64, producer_id: None, key: key.clone(), value: value.clone() });
        }
        shard
    }
}

#[test]
fn what_was_never_initialized_can_be_neither_read_nor_written() {
    let mut it = Fixture::new();
    assert_eq!(it.read(0), Err(ErrorCode::InvalidRequest));
    let refused = it.shard.write_state(at(0), key(), write(0, vec![]), true).expect_err("refused");
    assert_eq!(refused.message, "Write operation on uninitialized share partition not allowed.");
    let summary = it.shard.read_state_summary(&key(), true).expect("a summary");
    assert_eq!((summary.start_offset, summary.delivery_complete_count), (-1, -1));
}

#[test]
fn a_state_begins_with_a_snapshot() {
    let mut it = Fixture::new();
    it.initialize(0, 17);
    let state = it.shard.state(&key()).expect("a state");
    assert_eq!((state.start_offset, state.delivery_complete_count, state.create_timestamp), (17, 0, 5));
    it.initialize(1, -1);
    let state = it.shard.state(&key()).expect("a state");
    assert_eq!((state.snapshot_epoch, state.state_epoch, state.start_offset, state.delivery_complete_count), (1, 1, -1, -1));
}

#[test]
fn after_so_many_updates_comes_a_snapshot() {
    let mut it = Fixture::new();
    it.initialize(0, 0);
    for offset in 0..3 {
        assert!(matches!(it.write(write(-1, vec![batch(offset, offset, ACKNOWLEDGED)])), ShareRecord::Update(..)));
    }
    let ShareRecord::Snapshot(_, Some(snapshot)) = it.write(write(2, vec![batch(5, 6, AVAILABLE)])) else { panic!("an update") };
    assert_eq!((snapshot.snapshot_epoch, snapshot.start_offset), (1, 2));
    assert_eq!(snapshot.state_batches, [batch(2, 2, ACKNOWLEDGED), batch(5, 6, AVAILABLE)]);
    assert_eq!(it.shard.last_redundant_offset(), Some(4));
    assert!(matches!(it.write(write(-1, vec![batch(7, 7, AVAILABLE)])), ShareRecord::Update(..)));
}

#[test]
fn a_restart_finds_what_was_written() {
    let mut it = Fixture::new();
    it.initialize(2, 0);
    for offset in 0..10 {
        it.write(WriteState { state_epoch: 2, ..write(offset, vec![batch(offset, offset + 1, AVAILABLE)]) });
        assert_eq!(it.restarted().state(&key()), it.shard.state(&key()));
    }
}

#[test]
fn a_new_leader_fences_the_earlier_one() {
    let mut it = Fixture::new();
    it.initialize(0, 0);
    assert!(it.read(4).is_ok());
    assert_eq!(it.log.len(), 2, "the leader epoch is written");
    assert!(it.read(4).is_ok());
    assert_eq!(it.log.len(), 2, "once");
    assert_eq!(it.read(3), Err(ErrorCode::FencedLeaderEpoch));
    let refused = it.shard.write_state(at(0), key(), write(0, vec![]), true).expect_err("an old leader");
    assert_eq!(refused.code, ErrorCode::FencedLeaderEpoch);
    assert_eq!(it.restarted().state(&key()).expect("a state").leader_epoch, 4);
}

#[test]
fn a_reset_fences_writes_of_the_life_before() {
    let mut it = Fixture::new();
    it.initialize(1, 0);
    let refused = it.shard.write_state(at(0), key(), write(0, vec![]), true).expect_err("an old epoch");
    assert_eq!(refused.code, ErrorCode::FencedStateEpoch);
    let refused = it.shard.initialize_state(at(0), key(), 0, 0, true).expect_err("an old epoch");
    assert_eq!(refused.code, ErrorCode::FencedStateEpoch);
}

#[test]
fn topics_and_partitions_that_are_not_there_are_refused() {
    let mut it = Fixture::new();
    assert_eq!(it.shard.initialize_state(at(0), key(), 0, 0, false).map_err(|e| e.code).err(), Some(ErrorCode::UnknownTopicOrPartition));
    let negative = SharePartitionKey { partition: -1, ..key() };
    assert_eq!(it.shard.initialize_state(at(0), negative, 0, 0, true).map_err(|e| e.code).err(), Some(ErrorCode::InvalidRequest));
    it.initialize(0, 0);
    assert_eq!(it.shard.read_state(at(0), key(), 0, false).map_err(|e| e.code).err(), Some(ErrorCode::UnknownTopicOrPartition));
}

#[test]
fn deleted_states_leave_a_tombstone() {
    let mut it = Fixture::new();
    it.initialize(0, 0);
    let effects = it.shard.on_topics_deleted(&[TOPIC]);
    assert_eq!(it.apply(effects), [ShareRecord::Snapshot(key(), None)]);
    assert!(it.shard.state(&key()).is_none());
    let effects = it.shard.delete_state(key(), true).expect("nothing to do");
    assert!(effects.records.is_empty());
}

#[test]
fn states_long_unwritten_are_written_again_once() {
    let mut it = Fixture::new();
    it.initialize(0, 3);
    it.shard.on_loaded(at(5));
    assert_eq!(it.shard.next_deadline(), Some(1005));
    let effects = it.shard.poll(at(1005)).expect("due");
    let ShareRecord::Snapshot(_, Some(again)) = it.apply(effects).remove(0) else { panic!("no snapshot") };
    assert_eq!((again.snapshot_epoch, again.start_offset, again.create_timestamp, again.write_timestamp), (1, 3, 5, 1005));
    assert!(it.shard.poll(at(2005)).expect("due").records.is_empty());
}

#[test]
fn keys_are_placed_as_kafka_places_them() {
    assert_eq!(key().to_string(), format!("g:{TOPIC}:0"));
    assert_eq!(key().coordinator_partition(50), java_hash::partition_for(&key().to_string(), 50));
}
