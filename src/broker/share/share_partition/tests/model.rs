//! Random histories of a share partition with its coordinator: fetches, acknowledgements, expiries, failed and lost writes,
//! retention, crashes that leave only what the coordinator's log holds. A failure prints its seed.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::common::histories;
use crate::common::random::Random;
use crate::common::uuid::Uuid;
use crate::coordinator::runtime::{LogEntry, Shard};
use crate::coordinator::share::{Effects, ShareCoordinatorConfig, SharePartitionKey, ShareShard};
use crate::coordinator::timers::Now;

const MEMBERS: [&str; 3] = ["a", "b", "c"];
const HISTORIES: u64 = 1_500;
const STEPS: u64 = 120;

type Entry = (bytes::Bytes, Option<bytes::Bytes>);

struct World {
    random: Random,
    seed: u64,
    now_ms: u64,
    log: Vec<LogBatch>,
    settings: ShareSettings,
    partition: SharePartition,
    leader_epoch: i32,
    shard: ShareShard,
    shard_log: Vec<Entry>,
    /// Writes not yet answered, in order.
    writes: Vec<Change>,
    /// Who has which record, as the members were told, and until when.
    held: BTreeMap<i64, (&'static str, u64)>,
    /// Acceptances that their member was told are persisted.
    accepted: BTreeSet<i64>,
    /// What an acceptance on its way covers.
    accepting: BTreeMap<u64, Vec<i64>>,
    log_start_offset: i64,
    highest_start_offset: i64,
    highest_persisted_start_offset: i64,
    delivered: BTreeSet<i64>,
}

fn key() -> SharePartitionKey {
    SharePartitionKey { group_id: "g".to_owned(), topic_id: Uuid::from_u128(1), partition: 0 }
}

fn new_shard() -> ShareShard {
    ShareShard::new(ShareCoordinatorConfig { update_records_per_snapshot: 4, cold_partition_snapshot_interval_ms: 300_000 })
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let settings = ShareSettings {
            lock_duration_ms: 50,
            max_delivery_count: 2 + random.below(4) as i16,
            max_in_flight_records: 20 + random.below(40) as i64,
            renew_enabled: true,
        };
        let mut world = World {
            random,
            seed,
            now_ms: 0,
            log: Vec::new(),
            settings,
            partition: fresh(0),
            leader_epoch: 0,
            shard: new_shard(),
            shard_log: Vec::new(),
            writes: Vec::new(),
            held: BTreeMap::new(),
            accepted: BTreeSet::new(),
            accepting: BTreeMap::new(),
            log_start_offset: 0,
            highest_start_offset: 0,
            highest_persisted_start_offset: 0,
            delivered: BTreeSet::new(),
        };
        let effects = world.shard.initialize_state(world.now(), key(), 0, 0, true).expect("initialized");
        world.append(effects);
        world.load();
        world
    }

    fn now(&self) -> Now {
        Now { wall_ms: self.now_ms as i64, monotonic_ms: self.now_ms }
    }

    fn append(&mut self, effects: Effects) {
        for record in effects.records {
            let (key, value) = ShareShard::encode(&record).expect("encoded");
            let offset = self.shard_log.len() as i64;
            self.shard_log.push((key.clone(), value.clone()));
            self.shard.load(LogEntry::Record { offset, producer_id: None, key, value });
        }
    }

    /// A new leader reads the state.
    fn load(&mut self) {
        let (read, effects) = self.shard.read_state(self.now(), key(), self.leader_epoch, true).expect("read");
        self.append(effects);
        self.partition = SharePartition::new(self.leader_epoch, read.start_offset, &read).expect("a valid state");
    }

    fn produce(&mut self) {
        let mut next = self.log.last().map_or(0, |batch| batch.last_offset + 1);
        for _ in 0..=self.random.below(3) {
            // Now and then compaction has left a hole.
            if self.random.below(8) == 0 {
                next += 1 + self.random.below(3) as i64;
            }
            let last_offset = next + self.random.below(8) as i64;
            let aborted = self.random.below(12) == 0;
            self.log.push(LogBatch { base_offset: next, last_offset, aborted });
            next = last_offset + 1;
        }
    }

    fn fetch(&mut self) {
        let name = MEMBERS[self.random.below(3) as usize];
        if !self.partition.can_acquire(&self.settings) {
            return;
        }
        let mut fetch_offset = self.partition.next_fetch_offset();
        if fetch_offset < self.log_start_offset {
            self.partition.advance_log_start_offset(self.log_start_offset);
            fetch_offset = self.partition.next_fetch_offset();
        }
        let max_records = 1 + self.random.below(30) as i64;
        let bound = self.partition.acquire_bound(fetch_offset, max_records);
        let mut batches: Vec<LogBatch> =
            self.log.iter().copied().filter(|batch| batch.last_offset >= fetch_offset && batch.base_offset < bound).collect();
        batches.truncate(1 + self.random.below(5) as usize);
        let mode = if self.random.below(2) == 0 { AcquireMode::BatchOptimized } else { AcquireMode::RecordLimit };
        let member_id = member(name);
        let batch_size = 1 + self.random.below(20) as i64;
        let params = AcquireParams { member_id: &member_id, mode, batch_size, max_records, fetch_offset };
        let acquired = self.partition.acquire(self.now_ms, &self.settings, &params, &batches);
        let total: i64 = acquired.iter().map(|it| it.last_offset - it.first_offset + 1).sum();
        assert!(mode == AcquireMode::BatchOptimized || total <= max_records, "seed {}: {total} of {max_records}", self.seed);
        assert!(acquired.windows(2).all(|pair| pair[0].last_offset < pair[1].first_offset), "seed {}", self.seed);
        for it in acquired {
            self.delivery_count_is_bounded(it);
            for offset in it.first_offset..=it.last_offset {
                self.accepted_records_are_never_delivered_again(offset);
                self.nobody_else_has(offset, name);
                self.held.insert(offset, (name, self.now_ms + self.settings.lock_duration_ms));
                self.delivered.insert(offset);
            }
        }
    }

    fn acknowledge(&mut self) {
        let at = self.random.below(self.held.len().max(1) as u64) as usize;
        let Some((&first, &(name, _))) = self.held.iter().nth(at) else { return };
        let mut last = first;
        while self.random.below(6) != 0 && self.held.get(&(last + 1)).is_some_and(|(holder, _)| *holder == name) {
            last += 1;
        }
        let kind = |random: &mut Random| [ACCEPT, ACCEPT, ACCEPT, RELEASE, REJECT, GAP, RENEW][random.below(7) as usize];
        let types: Vec<i8> = match self.random.below(2) {
            0 => vec![kind(&mut self.random)],
            _ => (first..=last).map(|_| kind(&mut self.random)).collect(),
        };
        let type_of = |offset: i64| if types.len() == 1 { types[0] } else { types[(offset - first) as usize] };
        let batch = AcknowledgementBatch { first_offset: first, last_offset: last, acknowledge_types: types.clone() };
        let Ok(change) = self.partition.acknowledge(self.now_ms, &self.settings, name, &[batch]) else { return };
        for offset in first..=last {
            if type_of(offset) == RENEW {
                self.held.insert(offset, (name, self.now_ms + self.settings.lock_duration_ms));
            } else {
                self.held.remove(&offset);
            }
        }
        if let Some(change) = change {
            let start_offset = self.partition.start_offset();
            let accepted = (first..=last).filter(|&offset| type_of(offset) == ACCEPT && offset >= start_offset);
            self.accepting.insert(change.transition, accepted.collect());
            self.writes.push(change);
        }
    }

    fn leave(&mut self) {
        let name = MEMBERS[self.random.below(3) as usize];
        self.held.retain(|_, (holder, _)| *holder != name);
        if let Some(change) = self.partition.release_acquired(&self.settings, name) {
            self.writes.push(change);
        }
    }

    fn expire(&mut self) {
        self.now_ms += self.random.below(60);
        let states = self.partition.expire_locks(self.now_ms, &self.settings);
        let now_ms = self.now_ms;
        self.held.retain(|_, (_, expires_at_ms)| *expires_at_ms > now_ms);
        if !states.is_empty() && self.random.below(4) != 0 {
            self.write(states);
        }
    }

    fn write(&mut self, states: Vec<StateBatch>) {
        let write = self.partition.write_state(states);
        let effects = self.shard.write_state(self.now(), key(), write, true).expect("written");
        self.append(effects);
    }

    /// The oldest writes go out as one, and succeed, fail, or reach the coordinator while the answer is lost.
    fn persist(&mut self) {
        let together = (1 + self.random.below(3) as usize).min(self.writes.len());
        if together == 0 {
            return;
        }
        let changes: Vec<Change> = self.writes.drain(..together).collect();
        let fate = self.random.below(10);
        if fate != 0 {
            self.write(changes.iter().flat_map(|change| change.state_batches.iter().copied()).collect());
        }
        let persisted = fate > 1;
        for change in changes {
            let accepted = self.accepting.remove(&change.transition).unwrap_or_default();
            if persisted {
                self.accepted.extend(accepted);
            }
            self.partition.complete(self.now_ms, &self.settings, change.transition, persisted);
        }
    }

    fn crash(&mut self) {
        self.writes.clear();
        self.accepting.clear();
        self.held.clear();
        self.leader_epoch += 1;
        if self.random.below(2) == 0 {
            self.shard = new_shard();
            for (offset, (key, value)) in self.shard_log.iter().enumerate() {
                self.shard.load(LogEntry::Record { offset: offset as i64, producer_id: None, key: key.clone(), value: value.clone() });
            }
        }
        self.load();
        // What memory alone knew may be lost with it, never what was persisted.
        self.highest_start_offset = self.partition.start_offset();
    }

    fn retention(&mut self) {
        if self.log.len() > 4 {
            self.log.remove(0);
            self.log_start_offset = self.log[0].base_offset;
        }
    }

    fn step(&mut self) {
        match self.random.below(40) {
            0..4 => self.produce(),
            4..16 => self.fetch(),
            16..26 => self.acknowledge(),
            26..34 => self.persist(),
            34..37 => self.expire(),
            37 => self.leave(),
            38 => self.retention(),
            _ => self.crash(),
        }
        self.start_offset_never_goes_back();
        self.no_record_is_lost();
    }

    fn accepted_records_are_never_delivered_again(&self, offset: i64) {
        assert!(!self.accepted.contains(&offset), "seed {}: {offset} was accepted", self.seed);
    }

    fn nobody_else_has(&self, offset: i64, name: &str) {
        // Not even the member itself: it would count twice.
        let holder = self.held.get(&offset).filter(|(_, expires_at_ms)| *expires_at_ms > self.now_ms);
        assert!(holder.is_none(), "seed {}: {offset} for {name} is {holder:?}'s", self.seed);
    }

    fn delivery_count_is_bounded(&self, it: Acquired) {
        assert!((1..=self.settings.max_delivery_count).contains(&it.delivery_count), "seed {}: {it:?}", self.seed);
    }

    fn start_offset_never_goes_back(&mut self) {
        let now = self.partition.start_offset();
        assert!(now >= self.highest_start_offset, "seed {}: {now} after {}", self.seed, self.highest_start_offset);
        self.highest_start_offset = now;
        let persisted = self.shard.state(&key()).expect("a state").start_offset;
        assert!(persisted >= self.highest_persisted_start_offset, "seed {}: {persisted} persisted", self.seed);
        self.highest_persisted_start_offset = persisted;
    }

    /// From the start to the end offset every record of the log is accounted for.
    fn no_record_is_lost(&self) {
        let covered: BTreeSet<i64> = self.partition.in_flight.runs().flat_map(|(first, run)| first..=run.last_offset).collect();
        let last = if self.partition.in_flight.is_empty() { self.partition.start_offset() - 1 } else { self.partition.end_offset() };
        let start = self.partition.start_offset().max(self.log_start_offset);
        for batch in &self.log {
            for offset in batch.base_offset.max(start)..=batch.last_offset.min(last) {
                assert!(covered.contains(&offset), "seed {}: nobody knows of {offset}", self.seed);
            }
        }
    }

    /// When members behave and writes succeed, everything is delivered and done in the end.
    fn drain(&mut self) {
        let first_kept = self.log_start_offset;
        for _ in 0..400 {
            self.now_ms += self.settings.lock_duration_ms;
            let states = self.partition.expire_locks(self.now_ms, &self.settings);
            self.held.clear();
            if !states.is_empty() {
                self.write(states);
            }
            while !self.writes.is_empty() {
                self.persist();
            }
            self.fetch();
            while let Some((first, (name, _))) = self.held.pop_first() {
                let batch = AcknowledgementBatch { first_offset: first, last_offset: first, acknowledge_types: vec![ACCEPT] };
                if let Ok(Some(change)) = self.partition.acknowledge(self.now_ms, &self.settings, name, &[batch]) {
                    self.writes.push(change);
                }
            }
        }
        let end = self.log.last().map_or(0, |batch| batch.last_offset + 1);
        assert!(self.partition.start_offset() >= end, "seed {}: {} of {end}", self.seed, self.partition.start_offset());
        for batch in self.log.iter().filter(|batch| !batch.aborted && batch.base_offset >= first_kept) {
            for offset in batch.base_offset..=batch.last_offset {
                assert!(self.delivered.contains(&offset), "seed {}: {offset} was never delivered", self.seed);
            }
        }
    }
}

#[test]
fn histories_of_a_share_partition_keep_its_promises() {
    let test = "broker::share::share_partition::tests::model::histories_of_a_share_partition_keep_its_promises";
    histories::play(test, HISTORIES, |seed| {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        world.drain();
    });
}
