//! One node: everything a handler may use, and the wiring of it, from start to end. Sources: `KafkaRaftServer`, `BrokerServer`.
//!
//! The order of a start: log directories (formatted when new, locked, checked) -> metadata log -> partition logs -> ports -> quorum
//! (leader, first image, this broker registered and unfenced) -> connections. A client that reaches us finds everything there.
//! The order of an end is the reverse: no more requests -> controlled shutdown -> logs closed -> quorum closed.

use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use super::complaints::Complaints;
use super::config::{BrokerConfig, DynamicConfig, NodeConfigSchema, SecurityProtocol};
use super::fetch_session::FetchSessions;
use super::group_coordinator::GroupCoordinator;
use super::housekeeping;
use super::listener::{self, Admissions, SocketOptions};
use super::metrics::{self, Metrics};
use super::producer_ids::ProducerIds;
use super::quorum::{BrokerOptions, ControllerHandle, METADATA_DIR, MetadataLogConfig, Quorum, QuorumError, QuorumOptions};
use super::quota::Quotas;
use super::share::SharePartitions;
use super::share_coordinator::ShareCoordinator;
use super::streams_topics::StreamsTopics;
use super::telemetry::Telemetry;
use super::transaction_coordinator::TransactionCoordinator;
use crate::common::clock::Clock;
use crate::common::random::Random;
use crate::common::uuid::Uuid;
use crate::metadata;
use crate::metadata::cache::MetadataCache;
use crate::metadata::format::{FormatError, FormatOptions, format_if_new};
use crate::metadata::image::MetadataImage;
use crate::metadata::publisher::Publisher;
use crate::raft::snapshot::SnapshotPolicy;
use crate::raft::voters::VoterEndpoint;
use crate::replication::replicas::Replicas;
use crate::storage::load_progress::LoadProgress;
use crate::storage::log_dirs::{LogDirs, LogDirsOptions, OpenError};

/// How soon it is noticed that no log directory is left to work with.
const LOG_DIRS_CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// How long an end waits for work on the logs that has begun.
const HOUSEKEEPING_PATIENCE: Duration = Duration::from_secs(30);

/// What handlers are given. Shared as `Arc<Broker>`; every field has its own synchronisation.
pub struct Broker {
    /// The configs in force; [`Broker::config`] for what they are now.
    pub(crate) dynamic_config: Arc<DynamicConfig>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) cluster_id: String,
    /// The finalized level of kraft.version, which is in no image.
    pub(crate) kraft_version: i16,
    pub(crate) controller: ControllerHandle,
    pub(crate) metadata: Arc<MetadataCache>,
    pub(crate) replicas: Arc<Replicas>,
    pub(crate) fetch_sessions: FetchSessions,
    pub(crate) producer_ids: Arc<ProducerIds>,
    pub(crate) groups: Arc<GroupCoordinator>,
    pub(crate) streams_topics: StreamsTopics,
    pub(crate) transactions: Arc<TransactionCoordinator>,
    pub(crate) quotas: Arc<Quotas>,
    /// There are replicas to move to other directories.
    pub(crate) replica_moves: Notify,
    pub(crate) telemetry: Arc<Telemetry>,
    /// Of clients that talk nonsense.
    pub(crate) complaints: Complaints,
    pub(crate) share_coordinator: Arc<ShareCoordinator>,
    pub(crate) shares: Arc<SharePartitions>,
    /// Turns of appends that may take long to check: as many as there are processors.
    pub(crate) heavy_appends: Semaphore,
    pub(crate) metrics: Metrics,
    shutdown: watch::Sender<bool>,
}

impl Broker {
    /// The configs in force now.
    pub(crate) fn config(&self) -> Arc<BrokerConfig> {
        self.dynamic_config.current()
    }

    /// The newest metadata.
    pub(crate) fn image(&self) -> Arc<MetadataImage> {
        self.metadata.image()
    }

    /// Does the cluster have share groups (KIP-932)?
    pub(crate) fn share_groups_enabled(&self) -> bool {
        self.image().features.level("share.version") >= 1
    }

    /// This node's id.
    pub(crate) fn node_id(&self) -> i32 {
        self.dynamic_config.static_config().node_id
    }

    /// Becomes true when the broker stops serving.
    pub(crate) fn shutdown_signal(&self) -> watch::Receiver<bool> {
        self.shutdown.subscribe()
    }

    /// Is the broker about to end?
    pub(crate) fn is_stopping(&self) -> bool {
        *self.shutdown.borrow()
    }

    /// Tells listeners and connections to end.
    pub(crate) fn begin_shutdown(&self) {
        self.shutdown.send_replace(true);
    }
}

/// Why a node cannot start; each is one line for a person.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}")]
    Config(String),
    #[error("cannot listen on {address}: {}", in_words(.source))]
    Listen { address: String, source: io::Error },
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error(transparent)]
    LogDirs(#[from] OpenError),
    #[error(transparent)]
    Quorum(#[from] QuorumError),
    /// No log directory is left to work with.
    #[error("{0}")]
    LogDirsFailed(String),
}

fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "the address is in use (by another broker?)".to_owned(),
        _ => error.to_string(),
    }
}

/// A node that serves clients.
pub struct Server {
    broker: Arc<Broker>,
    /// `host:port` as clients are told.
    address: String,
    accepting: JoinSet<()>,
    housekeeping: JoinSet<()>,
    /// Serves the metrics until the node has ended.
    _metrics: JoinSet<()>,
}

/// A listener that is bound, and what clients are told of it.
struct Bound {
    name: Arc<str>,
    sockets: Vec<TcpListener>,
    port: u16,
}

impl Server {
    /// Starts a node, which tells `progress` how far the loading of its logs is. When it returns, clients are served.
    pub async fn start(config: Arc<BrokerConfig>, clock: Arc<dyn Clock>, progress: Arc<LoadProgress>) -> Result<Server, StartError> {
        check_config(&config)?;
        let mut random = Random::from_entropy();
        let controller_endpoint = controller_endpoint(&config);
        let metadata_only_dir = Some(&config.metadata_log_dir).filter(|dir| !config.log_dirs.contains(dir));
        let format = FormatOptions {
            log_dirs: config.log_dirs.iter().chain(metadata_only_dir).cloned().collect(),
            metadata_log_dir: config.metadata_log_dir.clone(),
            node_id: config.node_id,
            cluster_id: None,
            controller_endpoint: controller_endpoint.clone(),
            clock: Arc::clone(&clock),
        };
        if format_if_new(&format, &mut random)? {
            info!("formatted {}", format.log_dirs.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(", "));
        }
        let log_dirs = Arc::new(LogDirs::open(LogDirsOptions {
            dirs: config.log_dirs.clone(),
            metadata_only_dir: metadata_only_dir.cloned(),
            node_id: config.node_id,
            clock: Arc::clone(&clock),
            recovery_threads_per_data_dir: usize::try_from(config.num_recovery_threads_per_data_dir).unwrap_or(1).max(1),
            producer_id_expiration_ms: i64::from(config.producer_id_expiration_ms),
            progress,
        })?);
        let dynamic_config = Arc::new(DynamicConfig::new(Arc::clone(&config)));
        let quorum = Quorum::open(QuorumOptions {
            node_id: config.node_id,
            metadata_log_dir: config.metadata_log_dir.clone(),
            controller_endpoint,
            schema: Arc::new(NodeConfigSchema::new(Arc::clone(&dynamic_config))),
            clock: Arc::clone(&clock),
            random: Random::new(random.next_u64()),
            session_timeout_ms: u64::try_from(config.broker_session_timeout_ms).unwrap_or(0),
            auto_leader_rebalance: config.value("auto.leader.rebalance.enable").as_bool().unwrap_or(true),
            unclean_election_interval_ms: u64::try_from(config.long("unclean.leader.election.interval.ms")).unwrap_or(u64::MAX),
            snapshot_policy: snapshot_policy(&config),
            log_config: MetadataLogConfig { segment_bytes: config.metadata_log_segment_bytes, segment_ms: config.metadata_log_segment_ms },
        })?;
        let image = quorum.image();
        dynamic_config.update(image);
        log_dirs.load(&|topic| dynamic_config.log_config(image, topic));
        if let Some(reason) = log_dirs.fatal_failure(&config.metadata_log_dir) {
            return Err(StartError::LogDirsFailed(reason));
        }

        let bound = bind(&config).await?;
        let metrics_listeners = bind_metrics(&config).await?;
        let advertised = advertise(&config, &bound);
        let address = advertised.first().map(|endpoint| host_and_port(&endpoint.host, endpoint.port)).unwrap_or_default();

        let metadata = Arc::new(MetadataCache::new());
        let log_configs = {
            let dynamic_config = Arc::clone(&dynamic_config);
            Box::new(move |image: &MetadataImage, topic: &str| dynamic_config.log_config(image, topic))
        };
        let replicas = Arc::new(Replicas::new(config.node_id, Arc::clone(&log_dirs), log_configs));
        let groups = Arc::new(GroupCoordinator::new(Arc::clone(&dynamic_config), Arc::clone(&clock), Arc::clone(&replicas)));
        let producer_ids = Arc::new(ProducerIds::default());
        let transactions = Arc::new(TransactionCoordinator::new(
            &config,
            Arc::clone(&clock),
            Arc::clone(&replicas),
            Arc::clone(&groups),
            Arc::clone(&producer_ids),
        ));
        let quotas = Arc::new(Quotas::new(&config, Arc::clone(&clock)));
        let telemetry = Arc::new(Telemetry::new(config.long("telemetry.max.bytes"), Arc::clone(&clock), Random::new(random.next_u64())));
        let share_coordinator = ShareCoordinator::new(&config, Arc::clone(&clock), Arc::clone(&replicas));
        let shares =
            SharePartitions::new(Arc::clone(&dynamic_config), Arc::clone(&clock), Arc::clone(&replicas), Arc::clone(&share_coordinator));
        // Configs before the partitions that obey them; partitions before the coordinators that read them; the cache last, so that who
        // sees a topic in the metadata can produce to it.
        let publishers: Vec<Arc<dyn Publisher>> = vec![
            Arc::clone(&dynamic_config) as _,
            Arc::clone(&quotas) as _,
            Arc::clone(&telemetry) as _,
            Arc::clone(&replicas) as _,
            Arc::clone(&groups) as _,
            Arc::clone(&transactions) as _,
            Arc::clone(&share_coordinator) as _,
            Arc::clone(&shares) as _,
            Arc::clone(&metadata) as _,
        ];
        let cluster_id = quorum.cluster_id().to_owned();
        let kraft_version = quorum.kraft_version();
        let registration = BrokerOptions {
            cluster_id: cluster_id.clone(),
            listeners: advertised,
            rack: config.broker_rack.clone(),
            directories: log_dirs.directories().iter().filter(|dir| dir.online).map(|dir| dir.id).collect(),
            previous_broker_epoch: log_dirs.previous_broker_epoch(),
            incarnation_id: Uuid::random(&mut random),
        };
        let controller = quorum.start(Some(registration), publishers)?;
        let slots = usize::try_from(config.max_incremental_fetch_session_cache_slots).unwrap_or(0);
        let broker = Arc::new(Broker {
            streams_topics: StreamsTopics::default(),
            fetch_sessions: FetchSessions::new(slots, random),
            producer_ids,
            shutdown: watch::Sender::new(false),
            metrics: Metrics::default(),
            dynamic_config,
            clock,
            cluster_id,
            kraft_version,
            controller,
            metadata,
            replicas,
            groups,
            transactions,
            quotas,
            replica_moves: Notify::new(),
            telemetry,
            complaints: Complaints::default(),
            share_coordinator,
            shares,
            heavy_appends: Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)),
        });

        let admissions = Admissions::new(Arc::clone(&broker.quotas), Arc::clone(&broker.dynamic_config));
        let mut accepting = JoinSet::new();
        for bound in bound {
            for socket in bound.sockets {
                accepting.spawn(listener::accept(Arc::clone(&broker), socket, Arc::clone(&bound.name), Arc::clone(&admissions)));
            }
        }
        let housekeeping = housekeeping::start(&config, &broker);
        let mut metrics = JoinSet::new();
        for listener in metrics_listeners {
            metrics.spawn(metrics::endpoint::serve(Arc::clone(&broker), listener));
        }
        Ok(Server { broker, address, accepting, housekeeping, _metrics: metrics })
    }

    /// What clients connect to, as `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn cluster_id(&self) -> &str {
        &self.broker.cluster_id
    }

    pub fn node_id(&self) -> i32 {
        self.broker.node_id()
    }

    /// Returns, with the reason, when the node cannot go on and must be shut down.
    pub async fn failed(&self) -> String {
        tokio::select! {
            reason = self.broker.controller.failed() => format!("the controller failed: {reason}"),
            reason = self.log_dirs_failed() => reason,
        }
    }

    async fn log_dirs_failed(&self) -> String {
        let (log_dirs, config) = (self.broker.replicas.log_dirs(), self.broker.config());
        loop {
            if let Some(reason) = log_dirs.fatal_failure(&config.metadata_log_dir) {
                return reason;
            }
            tokio::time::sleep(LOG_DIRS_CHECK_INTERVAL).await;
        }
    }

    /// Ends everything in order. Requests that wait are given up; what was acknowledged is on disk when this returns.
    pub async fn shutdown(mut self) {
        self.broker.begin_shutdown();
        while self.accepting.join_next().await.is_some() {}
        let ended = async { while self.housekeeping.join_next().await.is_some() {} };
        if tokio::time::timeout(HOUSEKEEPING_PATIENCE, ended).await.is_err() {
            warn!("compaction or deletion still runs; the logs are closed under it");
        }
        let controller = &self.broker.controller;
        if let Err(error) = controller.controlled_shutdown().await {
            warn!("no controlled shutdown: {}", error.name());
        }
        controller.close().await;
        let broker_epoch = controller.broker_epoch();
        let log_dirs = Arc::clone(self.broker.replicas.log_dirs());
        if let Err(failure) = tokio::task::spawn_blocking(move || log_dirs.shutdown(broker_epoch)).await {
            error!("the logs could not be closed: {failure}");
        }
    }
}

/// Does the properties file ask for what this build lacks, and must not be silently without?
fn check_config(config: &BrokerConfig) -> Result<(), StartError> {
    let is_set = |name: &str| config.originals().get(name).is_some_and(|value| !value.trim().is_empty());
    let is_true = |name: &str| config.originals().get(name).is_some_and(|value| value.trim().eq_ignore_ascii_case("true"));
    let refuse = |text: String| Err(StartError::Config(text));
    if is_true("remote.log.storage.system.enable") {
        return refuse("remote.log.storage.system.enable=true: tiered storage is not supported yet".to_owned());
    }
    if is_set("authorizer.class.name") {
        return refuse("authorizer.class.name is set: nobody would be authorized, because ACLs are not enforced yet".to_owned());
    }
    if is_true("zookeeper.metadata.migration.enable") {
        return refuse("zookeeper.metadata.migration.enable=true: migrate to KRaft with Kafka 3.9 first".to_owned());
    }
    // With roles it is a leftover, which Kafka 4 passes over too.
    if is_set("zookeeper.connect") && !config.roles_are_given() {
        return refuse("zookeeper.connect is set, and process.roles is not: migrate to KRaft with Kafka 3.9 first".to_owned());
    }
    let misplaced = config.log_dirs.iter().filter(|dir| **dir != config.metadata_log_dir).map(|dir| dir.join(METADATA_DIR));
    match misplaced.into_iter().find(|path| path.exists()) {
        Some(path) => {
            let (path, expected) = (path.display(), config.metadata_log_dir.display());
            refuse(format!("{path} is a metadata log, but metadata.log.dir is {expected}"))
        }
        None => Ok(()),
    }
}

/// Where the controller listens, or would listen: no other node can reach it yet.
fn controller_endpoint(config: &BrokerConfig) -> VoterEndpoint {
    let listener = config.controller_listeners().next();
    VoterEndpoint {
        name: config.controller_listener_names.first().cloned().unwrap_or_else(|| "CONTROLLER".to_owned()),
        host: listener.and_then(|endpoint| endpoint.host.clone()).unwrap_or_else(|| "localhost".to_owned()),
        port: listener.map_or(9093, |endpoint| endpoint.port),
    }
}

fn snapshot_policy(config: &BrokerConfig) -> SnapshotPolicy {
    SnapshotPolicy {
        max_new_record_bytes: u64::try_from(config.metadata_log_max_record_bytes_between_snapshots).unwrap_or(u64::MAX),
        max_interval_ms: u64::try_from(config.metadata_log_max_snapshot_interval_ms).unwrap_or(0),
        retention_bytes: config.metadata_max_retention_bytes,
        retention_ms: config.metadata_max_retention_ms,
    }
}

/// Binds every listener for clients, so that the ports are known before they are advertised.
async fn bind(config: &BrokerConfig) -> Result<Vec<Bound>, StartError> {
    let mut bound = Vec::new();
    for endpoint in config.broker_listeners() {
        if endpoint.security_protocol != SecurityProtocol::Plaintext {
            return Err(StartError::Config(format!(
                "listener {} wants {}, which is not served yet: only PLAINTEXT is",
                endpoint.listener, endpoint.security_protocol
            )));
        }
        let address = || host_and_port(endpoint.host.as_deref().unwrap_or("0.0.0.0"), endpoint.port);
        let failed = |source| StartError::Listen { address: address(), source };
        let sockets = listener::bind(endpoint.host.as_deref(), endpoint.port, SocketOptions::of(config)).await.map_err(failed)?;
        let port = sockets[0].local_addr().map_err(failed)?.port();
        bound.push(Bound { name: endpoint.listener.as_str().into(), sockets, port });
    }
    Ok(bound)
}

/// Binds the endpoint for metrics, if there is to be one, and says where it is.
async fn bind_metrics(config: &BrokerConfig) -> Result<Vec<TcpListener>, StartError> {
    let Some(address) = config.originals().get(metrics::endpoint::LISTENER_CONFIG).filter(|address| !address.is_empty()) else {
        return Ok(Vec::new());
    };
    let invalid = || StartError::Config(format!("{}={address}: expected HOST:PORT", metrics::endpoint::LISTENER_CONFIG));
    let (host, port) = address.rsplit_once(':').ok_or_else(invalid)?;
    let port: u16 = port.parse().map_err(|_| invalid())?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let failed = |source| StartError::Listen { address: address.clone(), source };
    let listeners = listener::bind(Some(host), port, SocketOptions::of(config)).await.map_err(failed)?;
    let port = listeners[0].local_addr().map_err(failed)?.port();
    info!("metrics on http://{}/metrics", host_and_port(if host.is_empty() { "localhost" } else { host }, port));
    Ok(listeners)
}

/// As bootstrap.servers takes it: an IPv6 address in brackets.
fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// What clients are told to connect to: the configured names, with the ports that were chosen and a name for "all addresses".
fn advertise(config: &BrokerConfig, bound: &[Bound]) -> Vec<metadata::image::Endpoint> {
    let endpoints = config.advertised_listeners.iter();
    endpoints
        .map(|endpoint| {
            let chosen = bound.iter().find(|bound| *bound.name == *endpoint.listener).map(|bound| bound.port);
            let host = endpoint.host.clone().filter(|host| !matches!(host.as_str(), "" | "0.0.0.0" | "::"));
            metadata::image::Endpoint {
                name: endpoint.listener.clone(),
                host: host.unwrap_or_else(host_name),
                port: if endpoint.port == 0 { chosen.unwrap_or(0) } else { endpoint.port },
                security_protocol: endpoint.security_protocol.code(),
            }
        })
        .collect()
}

/// The machine's name when it can be resolved, as Kafka advertises it; else the loopback address.
fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let resolves = (name.as_str(), 0).to_socket_addrs().is_ok_and(|mut addresses| addresses.next().is_some());
    if resolves { name } else { "localhost".to_owned() }
}
