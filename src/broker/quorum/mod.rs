//! The node's part in the metadata quorum: the I/O around [`crate::raft`] and [`crate::controller`].
//!
//! One thread owns the metadata log, the Raft engine and the controller. Requests come to it as closures over the controller;
//! it appends the records that they ask for, makes them durable (one fsync for all that came meanwhile), publishes the new
//! image, and only then lets the answers go.
//!
//! How a node starts:
//! 1. [`format::format_if_new`], then lock and check the directories ([`crate::storage::log_dirs::LogDirs::open`]);
//! 2. [`Quorum::open`]: recover the log, load the image;
//! 3. bind the listeners, so that the advertised ports are known;
//! 4. [`Quorum::start`]: become leader, register the broker, publish the first image, unfence the broker, publish.
//!
//! How it stops: [`ControllerHandle::controlled_shutdown`], close the partitions' logs, [`ControllerHandle::close`], and last
//! of all the clean-shutdown file with [`ControllerHandle::broker_epoch`].
//!
//! Invariant: until [`Quorum::open`] knows that this build can serve what the directory says, it only reads there.
//!
//! Differs: no NoOpRecord is written while nothing happens; it would cost an idle node two fsyncs a second.

mod cleaning;
mod handle;
mod loading;
mod metadata_log;
mod owner;
pub mod refusal;
mod snapshot_files;

use std::path::PathBuf;
use std::sync::{Arc, mpsc};

pub use self::handle::{ControllerHandle, QuorumDescription};
use self::loading::Loading;
use self::metadata_log::MetadataLog;
pub use self::metadata_log::{METADATA_DIR, METADATA_TOPIC_ID, MetadataLogConfig};
use self::owner::{Owner, OwnerParts};
pub use self::snapshot_files::SnapshotFileError;
use self::snapshot_files::{SnapshotFiles, read_snapshot};
use crate::common::clock::Clock;
use crate::common::random::Random;
use crate::common::uuid::Uuid;
use crate::controller::{Controller, ControllerOptions};
pub use crate::metadata::cache::MetadataCache;
use crate::metadata::features;
use crate::metadata::format;
use crate::metadata::image::{Endpoint, MetadataImage};
use crate::metadata::loader::Loader;
use crate::metadata::publisher::Publisher;
use crate::metadata::record::{MetadataRecord, RecordError, VersionedRecord};
use crate::metadata::replay::ReplayError;
use crate::metadata::schema::ConfigSchema;
use crate::protocol::codec::EncodeError;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::{RegisterControllerRecord, register_controller_record};
use crate::raft::control::RaftRecordError;
use crate::raft::engine::{Engine, LogEnd, RaftOptions};
use crate::raft::log::{RaftLog, RaftLogError};
use crate::raft::quorum_state::{QuorumState, QuorumStateError};
use crate::raft::snapshot::SnapshotPolicy;
use crate::raft::voters::{ReplicaKey, Voter, VoterEndpoint, VoterSet};
use crate::storage::errors::StorageError;
use crate::storage::fs;
use crate::storage::meta_properties::MetaProperties;

/// What a node's part in the quorum needs to know.
#[derive(Clone)]
pub struct QuorumOptions {
    pub node_id: i32,
    /// `metadata.log.dir`; formatted, and locked by the caller.
    pub metadata_log_dir: PathBuf,
    /// Where the controller listens, or would listen.
    pub controller_endpoint: VoterEndpoint,
    pub schema: Arc<dyn ConfigSchema>,
    pub clock: Arc<dyn Clock>,
    pub random: Random,
    /// `broker.session.timeout.ms`.
    pub session_timeout_ms: u64,
    /// `auto.leader.rebalance.enable`.
    pub auto_leader_rebalance: bool,
    /// `unclean.leader.election.interval.ms`.
    pub unclean_election_interval_ms: u64,
    pub snapshot_policy: SnapshotPolicy,
    pub log_config: MetadataLogConfig,
}

/// What the broker of this node registers with.
#[derive(Debug, Clone)]
pub struct BrokerOptions {
    pub cluster_id: String,
    /// The advertised listeners.
    pub listeners: Vec<Endpoint>,
    pub rack: Option<String>,
    /// The log directories that are online.
    pub directories: Vec<Uuid>,
    /// From the clean-shutdown file; -1 after an unclean stop.
    pub previous_broker_epoch: i64,
    /// New for every process.
    pub incarnation_id: Uuid,
}

/// Why the quorum cannot go on. The node stops.
#[derive(Debug, thiserror::Error)]
pub enum QuorumError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Log(#[from] RaftLogError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotFileError),
    #[error("{path}: {source}", path = path.display())]
    QuorumState { path: PathBuf, source: QuorumStateError },
    #[error("{0} is not formatted")]
    NotFormatted(PathBuf),
    #[error("metadata log: {0}")]
    RaftRecord(#[from] RaftRecordError),
    #[error("metadata record at offset {offset}: {source}")]
    Record { offset: i64, source: RecordError },
    #[error("metadata record in {file}: {source}")]
    SnapshotRecord { file: String, source: RecordError },
    #[error("metadata batch at offset {offset}: {source}")]
    Replay { offset: i64, source: ReplayError },
    #[error("{file}: {source}")]
    ReplaySnapshot { file: String, source: ReplayError },
    #[error("a metadata record cannot be written: {0}")]
    Unwritable(EncodeError),
    #[error("node {node_id} is not the only voter of its metadata quorum; quorums of several nodes are not supported yet")]
    NotOnlyVoter { node_id: i32 },
    #[error("directory id {directory_id} is not that of the voter: node {node_id} votes with another metadata log directory")]
    OtherDirectory { node_id: i32, directory_id: Uuid },
    #[error(transparent)]
    Refused(#[from] refusal::Refusal),
    #[error("the metadata log begins at offset {start_offset}, but no snapshot reaches that far")]
    NoSnapshot { start_offset: i64 },
    #[error("the broker's registration was refused: {code}")]
    RegistrationRefused { code: ErrorCode },
}

/// The quorum's state on this node, loaded and not yet alive.
pub struct Quorum {
    cluster_id: String,
    directory_id: Uuid,
    parts: OwnerParts,
    random: Random,
    bootstrap: Vec<VersionedRecord>,
    controller_endpoint: VoterEndpoint,
}

impl std::fmt::Debug for Quorum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Quorum").field("cluster_id", &self.cluster_id).finish_non_exhaustive()
    }
}

impl Quorum {
    /// Loads what the metadata log says, and recovers it.
    pub fn open(options: QuorumOptions) -> Result<Quorum, QuorumError> {
        let dir = &options.metadata_log_dir;
        let meta = MetaProperties::read(dir)?.ok_or_else(|| QuorumError::NotFormatted(dir.clone()))?;
        let directory_id = meta.directory_id.unwrap_or(Uuid::ZERO);
        let mut random = options.random;
        let metadata_dir = dir.join(METADATA_DIR);
        let snapshots = SnapshotFiles::new(metadata_dir.clone());
        let local = ReplicaKey { id: options.node_id, directory_id };

        let controller = Controller::new(ControllerOptions {
            node_id: options.node_id,
            cluster_id: meta.cluster_id.clone(),
            schema: options.schema,
            random: Random::new(random.next_u64()),
            session_timeout_ms: options.session_timeout_ms,
        });
        let mut loading = Loading::new(controller, Loader::new(Arc::new(MetadataImage::default())));
        loading.controller.set_time(options.clock.monotonic_ms());

        let stored = snapshots.list()?;
        let newest = stored.last().map(|&(id, _)| id);
        let start_offset = newest.map_or(0, |id| id.end_offset);
        if let Some(id) = newest {
            loading.load_snapshot(&snapshots, id)?;
        }
        if loading.voters.latest().is_none() {
            // A quorum of kraft.version 0 has its voters in its configs: here, this node alone.
            let voter = Voter {
                key: ReplicaKey { id: options.node_id, directory_id: Uuid::ZERO },
                endpoints: vec![options.controller_endpoint.clone()],
                kraft_versions: (0, 1),
            };
            loading.voters.load_snapshot(start_offset, 0, Some(VoterSet::new([voter])));
        }
        let read = loading.load_log(&metadata_dir, start_offset)?;
        match loading.voters.latest() {
            Some(voters) if voters.is_only(local) => {}
            Some(voters) if voters.len() == 1 && voters.get(local.id).is_some() => {
                return Err(QuorumError::OtherDirectory { node_id: local.id, directory_id });
            }
            _ => return Err(QuorumError::NotOnlyVoter { node_id: options.node_id }),
        }
        refusal::check(loading.loader.next())?;
        let bootstrap_path = dir.join(format::BOOTSTRAP);
        let bootstrap = match fs::exists(&bootstrap_path) && loading.loader.next().features.metadata_version.is_none() {
            true => bootstrap_records(&bootstrap_path)?,
            false => format::bootstrap_records(),
        };
        refusal::check_bootstrap(&bootstrap)?;

        let quorum_state_path = metadata_dir.join("quorum-state");
        let quorum_state = match fs::read_if_exists(&quorum_state_path)? {
            Some(content) => {
                let state = QuorumState::parse(&String::from_utf8_lossy(&content));
                Some(state.map_err(|source| QuorumError::QuorumState { path: quorum_state_path.clone(), source })?)
            }
            None => None,
        };

        // From here on the directory is this node's to change.
        fs::create_dir_all(&metadata_dir)?;
        snapshots.remove_unfinished()?;
        let oldest = stored.first().map_or(0, |&(id, _)| id.end_offset);
        let mut log = MetadataLog::open(dir, oldest, &options.log_config, Arc::clone(&options.clock))?;
        if log.start_offset() > start_offset {
            return Err(QuorumError::NoSnapshot { start_offset: log.start_offset() });
        }
        if log.end_offset() < start_offset {
            // The snapshot was installed, and then the node died before it cut the log.
            log.truncate_fully_and_start_at(start_offset)?;
        }
        if log.end_offset() != read.end_offset {
            return Err(RaftLogError::Failed(format!(
                "metadata log: read up to {}, recovered up to {}",
                read.end_offset,
                log.end_offset()
            ))
            .into());
        }

        let last_epoch = log.last_epoch().max(newest.map_or(0, |id| id.epoch));
        let log_end = LogEnd { last_epoch, end_offset: log.end_offset() };
        let now_ms = options.clock.monotonic_ms();
        let engine_random = Random::new(random.next_u64());
        let mut engine = Engine::new(RaftOptions::new(local), quorum_state, log_end, loading.voters, engine_random, now_ms);
        engine.set_local_endpoints(vec![options.controller_endpoint.clone()]);

        Ok(Quorum {
            cluster_id: meta.cluster_id,
            directory_id,
            random,
            bootstrap,
            controller_endpoint: options.controller_endpoint,
            parts: OwnerParts {
                node_id: options.node_id,
                clock: options.clock,
                engine,
                log: Box::new(log),
                controller: loading.controller,
                loader: loading.loader,
                snapshots,
                policy: options.snapshot_policy,
                quorum_state_path,
                bytes_since_snapshot: read.size_bytes,
                auto_leader_rebalance: options.auto_leader_rebalance,
                unclean_election_interval_ms: options.unclean_election_interval_ms,
            },
        })
    }

    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// The ID of the metadata log's directory.
    pub fn directory_id(&self) -> Uuid {
        self.directory_id
    }

    /// The finalized kraft.version, for ApiVersions.
    pub fn kraft_version(&self) -> i16 {
        self.parts.engine.voters().kraft_version()
    }

    /// What the log says before this node adds to it. All of it is committed: the only voter has it.
    pub fn image(&self) -> &MetadataImage {
        self.parts.loader.next()
    }

    /// Brings the quorum to life. On return the first image has been published, with the broker registered (if it is to be)
    /// and unfenced. Called inside a runtime, the publishers run inside it too, later on a thread of the controller's own.
    pub fn start(mut self, broker: Option<BrokerOptions>, publishers: Vec<Arc<dyn Publisher>>) -> Result<ControllerHandle, QuorumError> {
        let registration = controller_registration(self.parts.node_id, &self.controller_endpoint, &mut self.random);
        let mut owner = Owner::new(self.parts, publishers, broker);
        owner.start(&self.bootstrap, registration)?;
        let (sender, receiver) = mpsc::channel();
        let handle = ControllerHandle {
            sender,
            node_id: owner.node_id,
            broker_epoch: Arc::clone(&owner.broker_epoch),
            failure: owner.failure.subscribe(),
        };
        let runtime = tokio::runtime::Handle::try_current().ok();
        let run = move || {
            let _inside = runtime.as_ref().map(|runtime| runtime.enter());
            owner.run(receiver);
        };
        let spawned = std::thread::Builder::new().name("controller".to_owned()).spawn(run);
        spawned.map_err(|error| RaftLogError::Failed(format!("cannot start the controller's thread: {error}")))?;
        Ok(handle)
    }
}

/// The records that the format step left for a new cluster.
fn bootstrap_records(path: &std::path::Path) -> Result<Vec<VersionedRecord>, QuorumError> {
    let file = || path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let values = read_snapshot(path)?.values.into_iter();
    let records = values.map(|value| match MetadataRecord::from_value(value) {
        Ok((record, version)) => Ok(VersionedRecord { record, version }),
        Err(source) => Err(QuorumError::SnapshotRecord { file: file(), source }),
    });
    records.collect()
}

fn controller_registration(node_id: i32, endpoint: &VoterEndpoint, random: &mut Random) -> RegisterControllerRecord {
    let features = features::SUPPORTED.iter().map(|&(name, range)| register_controller_record::ControllerFeature {
        name: name.to_owned(),
        min_supported_version: range.min,
        max_supported_version: range.max,
        ..Default::default()
    });
    RegisterControllerRecord {
        controller_id: node_id,
        incarnation_id: Uuid::random(random),
        end_points: vec![register_controller_record::ControllerEndpoint {
            name: endpoint.name.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            security_protocol: 0,
            ..Default::default()
        }],
        features: features.collect(),
        ..Default::default()
    }
}

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod tests;
