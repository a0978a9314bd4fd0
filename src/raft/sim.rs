//! A node that crashes at every possible point, with the engine, the log and its snapshots in memory.
//!
//! A counter that grows is the state machine: its records hold the numbers from 0 on, so what must be in the log is known.

use bytes::Bytes;

use super::control::{BatchContent, RaftRecord, control_batch, data_batch, read_batches};
use super::engine::{Command, Engine, Event, LogEnd, RaftOptions};
use super::log::{MemoryLog, RaftLog};
use super::quorum_state::QuorumState;
use super::snapshot::{Snapshot, SnapshotId};
use super::voters::{ReplicaKey, Voter, VoterHistory, VoterSet};
use crate::common::histories;
use crate::common::random::Random;
use crate::common::uuid::Uuid;

/// What survives a crash.
struct Disk {
    log: MemoryLog,
    quorum_state: Option<String>,
    snapshots: Vec<(SnapshotId, Vec<u8>)>,
}

struct Crash;

struct Node<'a> {
    disk: &'a mut Disk,
    engine: Engine,
    /// The next number to write; all below it are in the log.
    next: u32,
    /// Everything below this offset is committed, as this process has told.
    committed: i64,
    random: &'a mut Random,
}

const LOCAL: ReplicaKey = ReplicaKey { id: 1, directory_id: Uuid::from_u128(900) };

fn number(value: &Bytes) -> u32 {
    u32::from_be_bytes(value[..].try_into().expect("four bytes"))
}

impl Node<'_> {
    /// Reads what the disk holds, checking that it is a gapless row of numbers.
    fn boot<'a>(disk: &'a mut Disk, random: &'a mut Random) -> Node<'a> {
        let mut voters = VoterHistory::default();
        let (id, content) = disk.snapshots.last().expect("the first snapshot");
        let snapshot = Snapshot::parse(&Bytes::from(content.clone())).expect("snapshots are whole");
        voters.load_snapshot(id.end_offset, snapshot.kraft_version, snapshot.voters);
        let mut next = snapshot.values.last().map_or(0, |value| number(value) + 1);
        assert!(disk.log.start_offset() <= id.end_offset, "the log goes on where the snapshot ends");
        let mut offset = id.end_offset;
        let mut last_epoch = id.epoch;
        let bytes = disk.log.read(offset, usize::MAX).expect("read");
        for batch in read_batches(&bytes) {
            let batch = batch.expect("batches are whole");
            assert_eq!(batch.base_offset, offset, "no gaps");
            assert!(batch.epoch >= last_epoch, "epochs never fall");
            (offset, last_epoch) = (batch.last_offset + 1, batch.epoch);
            match batch.content {
                BatchContent::Data(values) => {
                    for value in values {
                        assert_eq!(number(&value), next, "no number is lost or doubled");
                        next += 1;
                    }
                }
                BatchContent::Control(records) => {
                    for (record, at) in records.into_iter().zip(batch.base_offset..) {
                        match record {
                            RaftRecord::Voters(set) => voters.add_voters(at, set),
                            RaftRecord::KRaftVersion(version) => voters.add_kraft_version(at, version),
                            _ => {}
                        }
                    }
                }
            }
        }
        let stored = disk.quorum_state.as_deref().map(|text| QuorumState::parse(text).expect("quorum-state is whole"));
        let log_end = LogEnd { last_epoch, end_offset: disk.log.end_offset() };
        if let Some(stored) = stored {
            assert!(stored.epoch >= last_epoch, "the epoch is on disk before its first batch");
        }
        let engine = Engine::new(RaftOptions::new(LOCAL), stored, log_end, voters, Random::new(random.next_u64()), 0);
        Node { disk, engine, next, committed: 0, random }
    }

    /// Perhaps the process ends here.
    fn step(&mut self) -> Result<(), Crash> {
        if self.random.one_in(25) { Err(Crash) } else { Ok(()) }
    }

    fn handle(&mut self, event: Event) -> Result<(), Crash> {
        for command in self.engine.handle(event, 0) {
            self.step()?;
            match command {
                Command::Persist(state) => self.disk.quorum_state = Some(state.to_text(1, std::iter::empty())),
                Command::AppendControl { epoch, records } => {
                    let batch = control_batch(self.disk.log.end_offset(), epoch, 0, &records).expect("a batch");
                    self.append(&batch)?;
                }
                Command::HighWatermark(offset) => {
                    assert!(offset > self.committed, "the high watermark rises");
                    assert!(offset <= self.disk.log.end_offset());
                    self.committed = offset;
                }
                Command::BecameLeader { .. } => {}
                other => panic!("a quorum of one does not {other:?}"),
            }
        }
        Ok(())
    }

    fn append(&mut self, batch: &Bytes) -> Result<(), Crash> {
        self.disk.log.append(batch).expect("appended");
        self.step()?;
        let log_end = LogEnd { last_epoch: self.engine.epoch(), end_offset: self.disk.log.end_offset() };
        self.handle(Event::Appended(log_end))
    }

    fn flush(&mut self) -> Result<(), Crash> {
        self.disk.log.flush().expect("flushed");
        self.step()?;
        self.handle(Event::Flushed { end_offset: self.disk.log.end_offset() })
    }

    fn write(&mut self, count: u32) -> Result<(), Crash> {
        let values = (self.next..self.next + count).map(|number| Bytes::copy_from_slice(&number.to_be_bytes()));
        let batch = data_batch(self.disk.log.end_offset(), self.engine.epoch(), 0, values).expect("a batch");
        self.next += count;
        self.append(&batch)
    }

    fn snapshot(&mut self) -> Result<(), Crash> {
        let id = SnapshotId { end_offset: self.committed, epoch: self.engine.epoch() };
        if self.committed < self.disk.log.end_offset() || self.disk.snapshots.iter().any(|(known, _)| *known == id) {
            return Ok(());
        }
        let voters = self.engine.voters();
        let snapshot = Snapshot {
            last_contained_log_timestamp_ms: 0,
            kraft_version: voters.kraft_version(),
            voters: voters.latest().cloned(),
            values: (0..self.next).map(|number| Bytes::copy_from_slice(&number.to_be_bytes())).collect(),
        };
        self.step()?;
        self.disk.snapshots.push((id, snapshot.to_bytes(id.epoch, 0).expect("written")));
        self.step()?;
        if self.random.one_in(2) {
            self.disk.snapshots.remove(0);
            self.step()?;
            let oldest = self.disk.snapshots[0].0;
            self.disk.log.delete_before(oldest.end_offset).expect("cut");
        }
        Ok(())
    }

    /// Works until a crash; `acknowledged` is the count of numbers that were ever told to be safe.
    fn live(&mut self, acknowledged: &mut u32) -> Result<(), Crash> {
        self.handle(Event::Tick)?;
        assert!(self.engine.is_leader());
        loop {
            for _ in 0..self.random.below(4) {
                let count = 1 + self.random.below(3) as u32;
                self.write(count)?;
            }
            self.flush()?;
            if self.engine.high_watermark() == Some(self.disk.log.end_offset()) {
                *acknowledged = self.next;
            }
            if self.random.one_in(3) {
                self.snapshot()?;
            }
        }
    }
}

#[test]
fn what_was_acknowledged_survives_every_crash_of_random_histories() {
    histories::play("raft::sim::what_was_acknowledged_survives_every_crash_of_random_histories", 400, |seed| {
        let mut random = Random::new(seed);
        let voters = VoterSet::new([Voter { key: LOCAL, endpoints: Vec::new(), kraft_versions: (0, 1) }]);
        let first = Snapshot { kraft_version: 1, voters: Some(voters), ..Snapshot::default() };
        let first = (SnapshotId { end_offset: 0, epoch: 0 }, first.to_bytes(0, 0).expect("written"));
        let mut disk = Disk { log: MemoryLog::default(), quorum_state: None, snapshots: vec![first] };
        let (mut acknowledged, mut epoch) = (0, 0);
        for _ in 0..12 {
            let mut node = Node::boot(&mut disk, &mut random);
            assert!(node.next >= acknowledged, "seed {seed}: {} numbers left of {acknowledged}", node.next);
            let _ = node.live(&mut acknowledged);
            assert!(node.engine.epoch() >= epoch, "seed {seed}: the epoch fell");
            epoch = node.engine.epoch();
            disk.log.crash(&mut random);
        }
    });
}
