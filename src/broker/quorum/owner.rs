//! The one owner of the metadata log, the Raft engine and the controller.
//!
//! Invariant: an answer leaves after its records are durable, committed and published, and after those of every operation
//! before it. Invariant: operations that wait together share one fsync.
//! Invariant: only an append may find no space: what it was for is refused with KAFKA_STORAGE_ERROR, and nothing has changed. Any other
//! failure of the disk ends the node, since nobody could know what is on it.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tokio::sync::watch;

use super::cleaning;
use super::handle::{Completion, Message, Operation, QuorumDescription};
use super::snapshot_files::SnapshotFiles;
use super::{BrokerOptions, QuorumError};
use crate::common::clock::Clock;
use crate::controller::Controller;
use crate::metadata::features;
use crate::metadata::image::MetadataImage;
use crate::metadata::loader::{CommittedBatch, Loader};
use crate::metadata::publisher::Publisher;
use crate::metadata::record::{MetadataRecord, VersionedRecord};
use crate::metadata::snapshot;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::*;
use crate::raft::control::{control_batch, data_batch};
use crate::raft::engine::{Command, Engine, Event, LogEnd};
use crate::raft::log::{RaftLog, RaftLogError};
use crate::raft::quorum_state::QuorumState;
use crate::raft::snapshot::{Snapshot, SnapshotId, SnapshotPolicy};
use crate::storage::fs;

/// A batch of one operation is at most this large, as Raft's batches are.
const MAX_BATCH_BYTES: usize = 8 << 20;
/// How many operations share an fsync at most.
const MAX_OPERATIONS_TOGETHER: usize = 256;
/// `broker.heartbeat.interval.ms`.
const HEARTBEAT_INTERVAL_MS: u64 = 2000;
/// `leader.imbalance.check.interval.seconds`.
const BALANCE_INTERVAL_MS: u64 = 300_000;
/// How often old snapshots are looked for.
const CLEANING_INTERVAL_MS: u64 = 60_000;
/// After how long a snapshot is tried again that found no space.
const SNAPSHOT_RETRY_MS: u64 = 60_000;

/// A batch that is in the log and waits to be committed.
struct PendingBatch {
    base_offset: i64,
    epoch: i32,
    timestamp_ms: i64,
    records: Vec<MetadataRecord>,
}

pub(super) struct Owner {
    pub(super) node_id: i32,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) engine: Engine,
    pub(super) log: Box<dyn MetadataLogFile>,
    pub(super) controller: Controller,
    pub(super) loader: Loader,
    pub(super) publishers: Vec<Arc<dyn Publisher>>,
    pub(super) snapshots: SnapshotFiles,
    pub(super) policy: SnapshotPolicy,
    pub(super) quorum_state_path: PathBuf,
    pub(super) broker: Option<BrokerOptions>,
    pub(super) broker_epoch: Arc<AtomicI64>,
    pub(super) failure: watch::Sender<Option<String>>,
    pub(super) auto_leader_rebalance: bool,
    pending: VecDeque<PendingBatch>,
    completions: Vec<Completion>,
    /// The next commit writes it.
    unwritten_state: Option<QuorumState>,
    bytes_since_snapshot: u64,
    last_snapshot_ms: u64,
    next_snapshot_ms: u64,
    next_heartbeat_ms: u64,
    next_balance_ms: u64,
    unclean_election_interval_ms: u64,
    next_unclean_election_ms: u64,
    next_cleaning_ms: u64,
}

/// What the owner wants of its log beyond Raft: a clean end.
pub(super) trait MetadataLogFile: RaftLog + Send {
    fn close(&mut self) -> Result<(), RaftLogError>;
    /// Unlinks the files of segments that were deleted a while ago.
    fn remove_deleted_files(&mut self) -> Result<(), RaftLogError>;
}

impl MetadataLogFile for super::metadata_log::MetadataLog {
    fn close(&mut self) -> Result<(), RaftLogError> {
        super::metadata_log::MetadataLog::close(self)
    }

    fn remove_deleted_files(&mut self) -> Result<(), RaftLogError> {
        super::metadata_log::MetadataLog::remove_deleted_files(self)
    }
}

/// The parts of an [`Owner`] that are given.
pub(super) struct OwnerParts {
    pub(super) node_id: i32,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) engine: Engine,
    pub(super) log: Box<dyn MetadataLogFile>,
    pub(super) controller: Controller,
    pub(super) loader: Loader,
    pub(super) snapshots: SnapshotFiles,
    pub(super) policy: SnapshotPolicy,
    pub(super) quorum_state_path: PathBuf,
    pub(super) bytes_since_snapshot: u64,
    pub(super) auto_leader_rebalance: bool,
    pub(super) unclean_election_interval_ms: u64,
}

impl Owner {
    pub(super) fn new(parts: OwnerParts, publishers: Vec<Arc<dyn Publisher>>, broker: Option<BrokerOptions>) -> Owner {
        let now = parts.clock.monotonic_ms();
        Owner {
            node_id: parts.node_id,
            engine: parts.engine,
            log: parts.log,
            controller: parts.controller,
            loader: parts.loader,
            publishers,
            snapshots: parts.snapshots,
            policy: parts.policy,
            quorum_state_path: parts.quorum_state_path,
            broker,
            broker_epoch: Arc::new(AtomicI64::new(-1)),
            failure: watch::Sender::new(None),
            auto_leader_rebalance: parts.auto_leader_rebalance,
            pending: VecDeque::new(),
            completions: Vec::new(),
            unwritten_state: None,
            bytes_since_snapshot: parts.bytes_since_snapshot,
            last_snapshot_ms: now,
            next_snapshot_ms: now,
            next_heartbeat_ms: now + HEARTBEAT_INTERVAL_MS,
            next_balance_ms: now + BALANCE_INTERVAL_MS,
            unclean_election_interval_ms: parts.unclean_election_interval_ms,
            next_unclean_election_ms: now.saturating_add(parts.unclean_election_interval_ms),
            next_cleaning_ms: now + CLEANING_INTERVAL_MS,
            clock: parts.clock,
        }
    }

    /// Becomes leader, brings the log in order, registers the broker and unfences it: one commit, and one image for the publishers.
    /// That the broker is unfenced is seen by nobody before its registration: its clients come when all publishers are done.
    pub(super) fn start(
        &mut self,
        bootstrap: &[VersionedRecord],
        controller_registration: RegisterControllerRecord,
    ) -> Result<(), QuorumError> {
        self.handle(Event::Tick)?;
        if !self.engine.is_leader() {
            return Err(QuorumError::NotOnlyVoter { node_id: self.node_id });
        }
        self.controller.set_time(self.clock.monotonic_ms());
        // The broker of this node was part of a process that is gone; nobody need wait for its session to run out.
        // Differs: Kafka's combined node waits for it after a kill.
        self.controller.expire_session(self.node_id);
        let activation = self.controller.activation_records(bootstrap);
        self.append(activation)?;
        let registration = self.controller.register_controller(controller_registration);
        self.append(registration.records)?;
        if let Some(broker) = self.broker.clone() {
            let request = self.registration_request(&broker);
            let outcome = self.controller.register_broker(&request);
            let code = ErrorCode::from_code(outcome.response.error_code);
            if code.is_error() {
                return Err(QuorumError::RegistrationRefused { code });
            }
            self.append(outcome.records)?;
            self.broker_epoch.store(outcome.response.broker_epoch, Ordering::SeqCst);
            // What it is unfenced for is published by the same commit.
            self.heartbeat(self.log.end_offset() - 1)?;
        }
        self.commit()
    }

    /// Serves operations until [`Message::Close`] or until no handle is left.
    pub(super) fn run(mut self, messages: Receiver<Message>) {
        match self.serve(&messages) {
            Ok(reply) => {
                let closed = self.log.close();
                if let Err(error) = &closed {
                    tracing::error!(%error, "the metadata log could not be closed cleanly");
                }
                if let Some(reply) = reply {
                    let _ = reply.send(());
                }
            }
            Err(error) => {
                tracing::error!(%error, "the controller stops: its state cannot be trusted any more");
                for completion in self.completions.drain(..) {
                    completion(Err(ErrorCode::UnknownServerError));
                }
                self.failure.send_replace(Some(error.to_string()));
            }
        }
    }

    fn serve(&mut self, messages: &Receiver<Message>) -> Result<Option<tokio::sync::oneshot::Sender<()>>, QuorumError> {
        loop {
            let wait = self.next_deadline_ms().saturating_sub(self.clock.monotonic_ms());
            let mut message = match messages.recv_timeout(Duration::from_millis(wait)) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            };
            let mut taken = 0;
            while let Some(current) = message.take() {
                match current {
                    Message::Operation(operation) => self.operate(operation)?,
                    Message::Describe(reply) => {
                        let _ = reply.send(self.describe());
                    }
                    Message::Close(reply) => {
                        self.commit()?;
                        return Ok(Some(reply));
                    }
                }
                taken += 1;
                if taken < MAX_OPERATIONS_TOGETHER {
                    message = messages.try_recv().ok();
                }
            }
            self.commit()?;
            self.tick()?;
        }
    }

    fn next_deadline_ms(&self) -> u64 {
        let mut deadline = self.next_cleaning_ms.min(self.next_unclean_election_ms);
        if self.broker.is_some() {
            deadline = deadline.min(self.next_heartbeat_ms);
        }
        if self.auto_leader_rebalance {
            deadline = deadline.min(self.next_balance_ms);
        }
        deadline.min(self.engine.next_deadline_ms().unwrap_or(u64::MAX))
    }

    fn tick(&mut self) -> Result<(), QuorumError> {
        let now = self.clock.monotonic_ms();
        self.controller.set_time(now);
        self.handle(Event::Tick)?;
        if self.broker.is_some() && now >= self.next_heartbeat_ms {
            self.next_heartbeat_ms = now + HEARTBEAT_INTERVAL_MS;
            let state = self.controller.image().cluster.broker(self.node_id);
            // Else it is stopping.
            if state.is_some_and(|broker| !broker.in_controlled_shutdown && !broker.fenced) {
                let alive = self.heartbeat(self.loader.image().provenance.offset);
                unless_full(alive)?;
            }
            let stale = self.controller.fence_stale_broker();
            self.append_if_there_is_space(stale.records)?;
        }
        if self.auto_leader_rebalance && now >= self.next_balance_ms {
            let outcome = self.controller.balance_leaders();
            let is_done = self.append_if_there_is_space(outcome.records)?;
            self.next_balance_ms = now + if outcome.response && is_done { 0 } else { BALANCE_INTERVAL_MS };
        }
        if now >= self.next_unclean_election_ms {
            let outcome = self.controller.elect_unclean_leaders();
            let is_done = self.append_if_there_is_space(outcome.records)?;
            self.next_unclean_election_ms =
                now.saturating_add(if outcome.response && is_done { 0 } else { self.unclean_election_interval_ms });
        }
        if now >= self.next_cleaning_ms {
            self.next_cleaning_ms = now + CLEANING_INTERVAL_MS;
            cleaning::clean(&self.policy, &self.snapshots, self.log.as_mut(), self.clock.now_ms())?;
            self.log.remove_deleted_files()?;
        }
        self.commit()?;
        if now >= self.next_snapshot_ms && self.policy.is_due(self.bytes_since_snapshot, now.saturating_sub(self.last_snapshot_ms)) {
            self.take_snapshot()?;
        }
        Ok(())
    }

    fn operate(&mut self, operation: Operation) -> Result<(), QuorumError> {
        self.controller.set_time(self.clock.monotonic_ms());
        let (records, completion) = operation(&mut self.controller);
        match encoded_size(&records) {
            Ok(size) if size <= MAX_BATCH_BYTES => {
                // Even an answer without records may rest on records that are not committed yet, so it waits with them.
                match self.append_if_there_is_space(records)? {
                    true => self.completions.push(completion),
                    false => completion(Err(ErrorCode::KafkaStorageError)),
                }
            }
            Ok(_) => completion(Err(ErrorCode::PolicyViolation)),
            Err(error) => {
                tracing::error!(%error, "an operation made a record that cannot be written");
                completion(Err(ErrorCode::UnknownServerError));
            }
        }
        Ok(())
    }

    /// As `append`; false, with nothing changed, when there is no space for the records.
    fn append_if_there_is_space(&mut self, records: Vec<VersionedRecord>) -> Result<bool, QuorumError> {
        unless_full(self.append(records))
    }

    /// Appends an operation's records as one batch, and applies them to the controller.
    fn append(&mut self, records: Vec<VersionedRecord>) -> Result<(), QuorumError> {
        if records.is_empty() {
            return Ok(());
        }
        let (base_offset, epoch, timestamp_ms) = (self.log.end_offset(), self.engine.epoch(), self.clock.now_ms());
        let values: Result<Vec<_>, _> = records.iter().map(VersionedRecord::to_value).collect();
        let batch = data_batch(base_offset, epoch, timestamp_ms, values.map_err(QuorumError::Unwritable)?)?;
        self.log.append(&batch)?;
        self.bytes_since_snapshot += batch.len() as u64;
        let records: Vec<MetadataRecord> = records.into_iter().map(|record| record.record).collect();
        let replayed = self.controller.replay(base_offset, &records);
        replayed.map_err(|source| QuorumError::Replay { offset: base_offset, source })?;
        self.pending.push_back(PendingBatch { base_offset, epoch, timestamp_ms, records });
        self.appended()
    }

    fn appended(&mut self) -> Result<(), QuorumError> {
        let log_end = LogEnd { last_epoch: self.engine.epoch(), end_offset: self.log.end_offset() };
        self.handle(Event::Appended(log_end))
    }

    /// Makes what was appended durable, publishes what is thereby committed, lets the answers go.
    fn commit(&mut self) -> Result<(), QuorumError> {
        let state = self.unwritten_state.take();
        if state.is_some() || !self.pending.is_empty() || self.engine.high_watermark().is_none() {
            // Differs: with other voters the state must be durable before any of them hears of it. The answers of the only voter come
            // after both, and its epoch can be told from its log, so that the two need not wait for each other.
            let state = state.map(|state| self.state_text(&state));
            let (log, path) = (&mut self.log, &self.quorum_state_path);
            std::thread::scope(|scope| {
                let persisted = state.map(|text| scope.spawn(move || fs::write_atomically(path, text.as_bytes())));
                log.flush().map_err(QuorumError::from)?;
                let persisted = persisted.map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
                persisted.transpose().map_err(QuorumError::from)
            })?;
            let end_offset = self.log.end_offset();
            self.handle(Event::Flushed { end_offset })?;
        }
        for completion in self.completions.drain(..) {
            completion(Ok(()));
        }
        Ok(())
    }

    fn handle(&mut self, event: Event) -> Result<(), QuorumError> {
        for command in self.engine.handle(event, self.clock.monotonic_ms()) {
            match command {
                Command::Persist(state) => self.unwritten_state = Some(state),
                Command::AppendControl { epoch, records } => {
                    let batch = control_batch(self.log.end_offset(), epoch, self.clock.now_ms(), &records)?;
                    self.log.append(&batch)?;
                    self.controller.set_next_offset(self.log.end_offset());
                    self.appended()?;
                }
                Command::BecameLeader { epoch, epoch_start_offset } => {
                    tracing::info!(epoch, epoch_start_offset, "leading the metadata quorum");
                }
                Command::LostLeadership { epoch } => tracing::info!(epoch, "no longer leading the metadata quorum"),
                Command::HighWatermark(offset) => self.publish(offset)?,
                // A quorum of one has nobody to talk to.
                Command::RequestVotes { .. } | Command::AnnounceLeader { .. } | Command::AnnounceResignation { .. } => {}
            }
        }
        Ok(())
    }

    fn state_text(&self, state: &QuorumState) -> String {
        let voters = self.engine.voters();
        let ids: Vec<i32> = voters.latest().map(|voters| voters.iter().map(|voter| voter.key.id).collect()).unwrap_or_default();
        state.to_text(voters.kraft_version(), ids.into_iter())
    }

    /// Hands what lies below the high watermark to the publishers.
    fn publish(&mut self, high_watermark: i64) -> Result<(), QuorumError> {
        while self.pending.front().is_some_and(|batch| batch.base_offset < high_watermark) {
            let Some(batch) = self.pending.pop_front() else { break };
            let PendingBatch { base_offset, epoch, timestamp_ms, records } = batch;
            let batch = CommittedBatch { base_offset, epoch, timestamp_ms, records: &records };
            self.loader.load(&batch).map_err(|source| QuorumError::Replay { offset: base_offset, source })?;
        }
        if let Some((delta, image)) = self.loader.take() {
            for publisher in &self.publishers {
                publisher.publish(&delta, &image);
            }
        }
        Ok(())
    }

    /// The broker of this node says that it is alive and has read the metadata up to this offset.
    fn heartbeat(&mut self, current_metadata_offset: i64) -> Result<(), QuorumError> {
        let broker_epoch = self.broker_epoch.load(Ordering::SeqCst);
        let request = BrokerHeartbeatRequest {
            broker_id: self.node_id,
            broker_epoch,
            current_metadata_offset,
            cordoned_log_dirs: Some(Vec::new()),
            ..Default::default()
        };
        let outcome = self.controller.heartbeat(&request);
        self.append(outcome.records)
    }

    fn registration_request(&self, broker: &BrokerOptions) -> BrokerRegistrationRequest {
        let listeners = broker.listeners.iter().map(|endpoint| broker_registration_request::Listener {
            name: endpoint.name.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            security_protocol: endpoint.security_protocol,
            ..Default::default()
        });
        let features = features::SUPPORTED.iter().map(|&(name, range)| broker_registration_request::Feature {
            name: name.to_owned(),
            min_supported_version: range.min,
            max_supported_version: range.max,
            ..Default::default()
        });
        BrokerRegistrationRequest {
            broker_id: self.node_id,
            cluster_id: broker.cluster_id.clone(),
            incarnation_id: broker.incarnation_id,
            listeners: listeners.collect(),
            features: features.collect(),
            rack: broker.rack.clone(),
            log_dirs: broker.directories.clone(),
            previous_broker_epoch: broker.previous_broker_epoch,
            ..Default::default()
        }
    }

    fn describe(&self) -> QuorumDescription {
        let voters = self.engine.voters();
        QuorumDescription {
            leader_id: self.engine.leader_id().unwrap_or(-1),
            leader_epoch: self.engine.epoch(),
            high_watermark: self.engine.high_watermark().unwrap_or(-1),
            log_end_offset: self.log.end_offset(),
            kraft_version: voters.kraft_version(),
            voters: voters.latest().cloned().unwrap_or_default(),
            now_ms: self.clock.now_ms(),
        }
    }

    /// Writes all that is committed as a snapshot.
    fn take_snapshot(&mut self) -> Result<(), QuorumError> {
        let image: Arc<MetadataImage> = Arc::clone(self.loader.image());
        if self.loader.in_transaction() || image.provenance.offset < 0 {
            return Ok(());
        }
        let id = SnapshotId { end_offset: image.provenance.offset + 1, epoch: image.provenance.epoch };
        let values: Result<Vec<_>, _> = snapshot::records(&image).iter().map(VersionedRecord::to_value).collect();
        let voters = self.engine.voters();
        let snapshot = Snapshot {
            last_contained_log_timestamp_ms: image.provenance.timestamp_ms,
            kraft_version: voters.kraft_version(),
            voters: voters.latest().cloned(),
            values: values.map_err(QuorumError::Unwritable)?,
        };
        let content = snapshot.to_bytes(id.epoch, self.clock.now_ms())?;
        match self.snapshots.write(id, &content) {
            Err(error) if error.is_full() => {
                tracing::warn!(%error, "no space for a metadata snapshot; it is tried again later");
                self.next_snapshot_ms = self.clock.monotonic_ms() + SNAPSHOT_RETRY_MS;
                return Ok(());
            }
            written => written?,
        }
        tracing::info!(end_offset = id.end_offset, epoch = id.epoch, bytes = content.len(), "wrote a metadata snapshot");
        self.bytes_since_snapshot = 0;
        self.last_snapshot_ms = self.clock.monotonic_ms();
        Ok(())
    }
}

/// False when there was no space, which is no reason to end.
fn unless_full(appended: Result<(), QuorumError>) -> Result<bool, QuorumError> {
    match appended {
        Err(QuorumError::Log(RaftLogError::Full(_))) => Ok(false),
        appended => appended.map(|()| true),
    }
}

fn encoded_size(records: &[VersionedRecord]) -> Result<usize, crate::protocol::codec::EncodeError> {
    records.iter().map(|record| record.to_value().map(|value| value.len() + 16)).sum()
}
