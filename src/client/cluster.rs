//! A cluster as a client sees it: where its brokers are, who leads what, and how to send a request to the right one.
//!
//! [`Cluster::connect`] asks the bootstrap servers; from then on the brokers' own announcements count. Metadata is cached and fetched
//! again when it is older than `metadata.max.age.ms`, or when a call finds it wrong ([`Cluster::recover`]). When no announced broker can
//! be reached any more, the bootstrap servers are asked again.
//!
//! Invariant: one metadata request at a time for the cache; the snapshot only changes here.
//! Source: `Metadata`, `NetworkClient`, KIP-899 (rebootstrap).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use tokio::time::Instant;

use super::config::ClientConfig;
use super::conn::{ConnectError, ConnectFailure, ConnectFailures, Connection, ConnectionOptions, RequestError};
use super::error::{ApiError, ClientError};
use super::metadata::{Broker, Metadata, TopicMetadata};
use super::pool::{Pool, Use, connect_any};
use super::retry::{Attempts, Backoff, Recovery};
use crate::common::topic_partition::TopicPartition;
use crate::common::uuid::Uuid;
use crate::protocol::api_key::ApiKey;
use crate::protocol::codec::Request;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::metadata_request::MetadataRequestTopic;
use crate::protocol::messages::{FindCoordinatorRequest, MetadataRequest, MetadataResponse};

/// Which topics a metadata request is about.
#[derive(Clone, Copy, Debug)]
pub enum Topics<'a> {
    /// None: the brokers only.
    None,
    All,
    Named(&'a [String]),
    /// By id, of brokers since Kafka 3.1.
    Ids(&'a [Uuid]),
}

/// Whether asking for a topic that does not exist may create it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoCreate {
    /// As the broker's `auto.create.topics.enable` says.
    Allowed,
    Never,
}

/// What a coordinator coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CoordinatorKind {
    Group,
    Transaction,
}

/// A handle on a cluster; clones share connections and caches.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Pool,
    bootstrap: Vec<(String, u16)>,
    max_age: Duration,
    call_timeout: Duration,
    backoff: Backoff,
    metadata: RwLock<Arc<Metadata>>,
    /// When brokers were last fetched.
    brokers_fetched: Mutex<Instant>,
    refreshing: tokio::sync::Mutex<()>,
    coordinators: Mutex<HashMap<(CoordinatorKind, String), i32>>,
    /// The newest finalized feature levels that a broker has announced, and their epoch.
    features: Mutex<(i64, HashMap<String, i16>)>,
}

impl Cluster {
    /// Connects to the first bootstrap server that answers. Fails with every address and its reason within the setup timeout
    /// (5 s, or `socket.connection.setup.timeout.ms` if it is set). `client_id` stands in when `client.id` is not set.
    pub async fn connect(config: &ClientConfig, client_id: &str) -> Result<Cluster, ClientError> {
        let options = ConnectionOptions::new(config, client_id);
        let bootstrap = config.bootstrap_servers().iter().map(|server| (server.host.clone(), server.port)).collect();
        let call_timeout = match config.kind() {
            super::config::ClientKind::Producer => config.millis("max.block.ms"),
            _ => config.millis("default.api.timeout.ms"),
        };
        let cluster = Cluster {
            inner: Arc::new(Inner {
                pool: Pool::new(options, Backoff::for_reconnects(config)),
                bootstrap,
                max_age: config.millis("metadata.max.age.ms"),
                call_timeout,
                backoff: Backoff::for_retries(config),
                metadata: RwLock::default(),
                brokers_fetched: Mutex::new(Instant::now()),
                refreshing: tokio::sync::Mutex::default(),
                coordinators: Mutex::default(),
                features: Mutex::new((-1, HashMap::new())),
            }),
        };
        cluster.refresh(Topics::None, AutoCreate::Never).await?;
        Ok(cluster)
    }

    /// What is known now, without asking anybody.
    pub fn metadata(&self) -> Arc<Metadata> {
        Arc::clone(&self.inner.metadata.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn replace(&self, change: impl FnOnce(&Metadata) -> Option<Metadata>) {
        let mut metadata = self.inner.metadata.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(next) = change(&metadata) {
            *metadata = Arc::new(next);
        }
    }

    /// `default.api.timeout.ms` (of a producer: `max.block.ms`): how long calls of several requests may take.
    pub fn call_timeout(&self) -> Duration {
        self.inner.call_timeout
    }

    /// The pauses between retries.
    pub fn backoff(&self) -> &Backoff {
        &self.inner.backoff
    }

    /// The attempts of one call, with the cluster's time limit and pauses.
    pub fn attempts(&self, call: &'static str) -> Attempts<'_> {
        Attempts::new(call, self.inner.call_timeout, &self.inner.backoff)
    }

    /// `request.timeout.ms`.
    pub fn request_timeout(&self) -> Duration {
        self.inner.pool.options().request_timeout
    }

    /// Fetches metadata once and lays it over the cache. Returns the raw answer too, for its per-topic errors.
    pub async fn refresh(&self, topics: Topics<'_>, auto_create: AutoCreate) -> Result<MetadataResponse, ClientError> {
        let _one_at_a_time = self.inner.refreshing.lock().await;
        let connection = self.any_connection().await?;
        let version = connection.version_of::<MetadataRequest>()?;
        let named = |name: &String| MetadataRequestTopic { name: Some(name.clone()), ..Default::default() };
        let of_id = |id: &Uuid| MetadataRequestTopic { name: None, topic_id: *id, ..Default::default() };
        let request = MetadataRequest {
            topics: match topics {
                // Version 0 has no way to ask for no topics, only for all.
                Topics::None | Topics::All if version == 0 => Some(Vec::new()),
                Topics::None => Some(Vec::new()),
                Topics::All => None,
                Topics::Named(names) => Some(names.iter().map(named).collect()),
                Topics::Ids(ids) => Some(ids.iter().map(of_id).collect()),
            },
            // Before version 4 the broker's own setting decides.
            allow_auto_topic_creation: version < 4 || auto_create == AutoCreate::Allowed,
            ..Default::default()
        };
        let response = connection.send(&request).await?;
        ApiError::check(response.error_code, None)?;
        self.replace(|metadata| Some(metadata.updated(&response, matches!(topics, Topics::All))));
        if let Ok(mut fetched) = self.inner.brokers_fetched.lock() {
            *fetched = Instant::now();
        }
        self.adopt(&response, connection).await;
        Ok(response)
    }

    /// A bootstrap connection is as good as one to the broker that announces the same address.
    async fn adopt(&self, response: &MetadataResponse, connection: Connection) {
        let port = connection.peer().port();
        let ip = connection.peer().ip();
        let same =
            |host: &str| host.parse().is_ok_and(|address: std::net::IpAddr| address == ip) || (host == "localhost" && ip.is_loopback());
        let mut matching = response.brokers.iter().filter(|broker| broker.port == i32::from(port) && same(&broker.host));
        if let (Some(broker), None) = (matching.next(), matching.next()) {
            self.inner.pool.adopt(broker.node_id, connection).await;
        }
    }

    /// Metadata of topics, fetched if it is not cached or too old. Waits through leader elections and creations until the call's time
    /// is up. A topic that does not exist is an error at once, unless `auto_create` allows to create it.
    pub async fn topics(
        &self,
        names: &[String],
        auto_create: AutoCreate,
    ) -> Result<BTreeMap<String, Result<Arc<TopicMetadata>, ClientError>>, ClientError> {
        let mut attempts = self.attempts("metadata");
        let mut found = BTreeMap::new();
        let mut wanted: Vec<String> = names.to_vec();
        {
            let metadata = self.metadata();
            let fresh = |topic: &Arc<TopicMetadata>| topic.is_complete() && topic.fetched.elapsed() < self.inner.max_age;
            wanted.retain(|name| match metadata.topic(name).filter(|topic| fresh(topic)) {
                Some(topic) => {
                    found.insert(name.clone(), Ok(Arc::clone(topic)));
                    false
                }
                None => true,
            });
        }
        while !wanted.is_empty() {
            let response = match self.refresh(Topics::Named(&wanted), auto_create).await {
                Ok(response) => response,
                Err(error) => {
                    attempts.pause(error).await?;
                    continue;
                }
            };
            let metadata = self.metadata();
            let mut error = None;
            for topic in &response.topics {
                let Some(name) = &topic.name else { continue };
                let code = ErrorCode::from_code(topic.error_code);
                match code {
                    ErrorCode::None => {
                        if let Some(topic) = metadata.topic(name) {
                            found.insert(name.clone(), Ok(Arc::clone(topic)));
                        }
                    }
                    ErrorCode::UnknownTopicOrPartition if auto_create == AutoCreate::Never => {
                        found.insert(name.clone(), Err(code.into()));
                    }
                    code if super::retry::recovery(code).is_retriable() => error = Some(ClientError::from(code)),
                    code => {
                        found.insert(name.clone(), Err(code.into()));
                    }
                }
            }
            wanted.retain(|name| !found.contains_key(name));
            if !wanted.is_empty() {
                // A topic the answer does not mention counts as one that is not there yet.
                let error = error.unwrap_or_else(|| ErrorCode::UnknownTopicOrPartition.into());
                if let Err(last) = attempts.pause(error).await {
                    for name in wanted.drain(..) {
                        found.insert(name, Err(last.clone()));
                    }
                }
            }
        }
        Ok(found)
    }

    /// As [`Cluster::topics`], of one topic.
    pub async fn topic(&self, name: &str, auto_create: AutoCreate) -> Result<Arc<TopicMetadata>, ClientError> {
        let mut found = self.topics(&[name.to_owned()], auto_create).await?;
        found.remove(name).unwrap_or_else(|| Err(ErrorCode::UnknownTopicOrPartition.into()))
    }

    /// The leader of a partition and its epoch (-1 when unknown), fetched if need be. One attempt: callers retry by [`Cluster::recover`].
    pub async fn leader(&self, topic_partition: &TopicPartition) -> Result<(i32, i32), ClientError> {
        let mut found = self.leaders(std::slice::from_ref(topic_partition)).await;
        found.pop().unwrap_or_else(|| Err(ErrorCode::UnknownTopicOrPartition.into()))
    }

    /// As [`Cluster::leader`], of many partitions in their order, with one request at most.
    pub async fn leaders(&self, partitions: &[TopicPartition]) -> Vec<Result<(i32, i32), ClientError>> {
        let metadata = self.metadata();
        let known = |partition: &TopicPartition| {
            let fresh = metadata.topic(&partition.topic).is_some_and(|topic| topic.fetched.elapsed() < self.inner.max_age);
            fresh && metadata.leader(partition).is_some()
        };
        let mut wanted: Vec<String> = partitions.iter().filter(|it| !known(it)).map(|it| it.topic.clone()).collect();
        wanted.sort();
        wanted.dedup();
        let mut errors: HashMap<String, ClientError> = HashMap::new();
        if !wanted.is_empty() {
            match self.refresh(Topics::Named(&wanted), AutoCreate::Never).await {
                Ok(response) => {
                    for topic in response.topics {
                        if let (Some(name), Err(error)) = (topic.name, ApiError::check(topic.error_code, None)) {
                            errors.insert(name, error);
                        }
                    }
                }
                Err(error) => errors.extend(wanted.into_iter().map(|name| (name, error.clone()))),
            }
        }
        let metadata = self.metadata();
        let leader = |it: &TopicPartition| match (errors.get(&it.topic), metadata.partition(it)) {
            (Some(error), _) => Err(error.clone()),
            (None, None) => Err(ErrorCode::UnknownTopicOrPartition.into()),
            (None, Some(partition)) => match partition.leader {
                Some(leader) => Ok((leader, partition.leader_epoch.unwrap_or(-1))),
                None => Err(ErrorCode::LeaderNotAvailable.into()),
            },
        };
        partitions.iter().map(leader).collect()
    }

    /// Takes the news of a new leader from a response (KIP-951). False when it is old news.
    pub fn update_leader(&self, topic_partition: &TopicPartition, leader: i32, leader_epoch: i32) -> bool {
        let mut changed = false;
        self.replace(|metadata| {
            let next = metadata.with_leader(topic_partition, leader, leader_epoch);
            changed = next.is_some();
            next
        });
        changed
    }

    /// Takes the news of a broker's address from a response (KIP-951).
    pub fn update_broker(&self, broker: Broker) {
        self.replace(|metadata| (metadata.brokers.get(&broker.id) != Some(&broker)).then(|| metadata.with_broker(broker)));
    }

    /// Drops what is cached of a topic, so that the next call asks again.
    pub fn forget_topic(&self, name: &str) {
        self.replace(|metadata| metadata.topic(name).is_some().then(|| metadata.without_topic(name)));
    }

    /// The name of a topic whose metadata is cached.
    pub fn name_of(&self, topic_id: Uuid) -> Option<String> {
        self.metadata().topic_by_id(topic_id).map(|topic| topic.name.clone())
    }

    /// Does what an error asks for before another attempt, apart from waiting: forgets the topic or the coordinator.
    pub async fn recover(&self, error: &ClientError, topic: Option<&str>, coordinator: Option<(CoordinatorKind, &str)>) {
        match error.recovery() {
            Recovery::RefreshMetadata => {
                match topic {
                    Some(topic) => self.forget_topic(topic),
                    // It may fail for the same reason as the call did; the next attempt will tell.
                    None => drop(self.refresh(Topics::None, AutoCreate::Never).await),
                }
                if let Some((kind, key)) = coordinator {
                    self.forget_coordinator(kind, key);
                }
            }
            Recovery::FindCoordinator => {
                if let Some((kind, key)) = coordinator {
                    self.forget_coordinator(kind, key);
                }
            }
            Recovery::Retry | Recovery::Fatal => {}
        }
    }

    /// A connection to whichever broker is easiest to reach: an open one, else a known broker, else a bootstrap server.
    pub async fn any_connection(&self) -> Result<Connection, ClientError> {
        if let Some(connection) = self.inner.pool.least_loaded() {
            return Ok(connection);
        }
        let metadata = self.metadata();
        let mut failures = Vec::new();
        for broker in metadata.brokers.values() {
            match self.connection_to(broker, Use::General).await {
                Ok(connection) => return Ok(connection),
                Err(error) => failures.extend(error.failures),
            }
        }
        let servers = &self.inner.bootstrap;
        match connect_any(servers, self.inner.pool.options()).await {
            Ok((connection, _)) => {
                self.learn_features(&connection);
                Ok(connection)
            }
            Err(mut error) => {
                failures.retain(|failure: &ConnectFailure| error.failures.iter().all(|other| other.server != failure.server));
                error.failures.extend(failures);
                Err(error.into())
            }
        }
    }

    async fn connection_to(&self, broker: &Broker, use_: Use) -> Result<Connection, ConnectFailures> {
        match u16::try_from(broker.port) {
            Ok(port) => {
                let connection = self.inner.pool.connection(broker.id, use_, &broker.host, port).await?;
                self.learn_features(&connection);
                Ok(connection)
            }
            Err(_) => {
                let error = ConnectError::Io("the port is out of range".to_owned());
                let server = format!("{}:{}", broker.host, broker.port);
                Err(ConnectFailures { failures: vec![ConnectFailure { server, address: None, error }] })
            }
        }
    }

    /// A connection to a broker. Asks for metadata once when the broker is not known.
    pub async fn connection(&self, broker_id: i32, use_: Use) -> Result<Connection, ClientError> {
        let mut broker = self.metadata().brokers.get(&broker_id).cloned();
        if broker.is_none() {
            self.refresh(Topics::None, AutoCreate::Never).await?;
            broker = self.metadata().brokers.get(&broker_id).cloned();
        }
        match broker {
            Some(broker) => Ok(self.connection_to(&broker, use_).await?),
            None => Err(ClientError::Api(ApiError::new(ErrorCode::BrokerNotAvailable, Some(format!("broker {broker_id} is not known"))))),
        }
    }

    /// Sends a request to a broker, once.
    pub async fn send_to<R: Request>(&self, broker_id: i32, request: &R) -> Result<R::Response, ClientError> {
        Ok(self.connection(broker_id, Use::General).await?.send(request).await?)
    }

    /// Sends a request to any broker, once.
    pub async fn send_to_any<R: Request>(&self, request: &R) -> Result<R::Response, ClientError> {
        Ok(self.any_connection().await?.send(request).await?)
    }

    /// The broker that takes administrative requests: the controller as metadata names it, or with none any broker.
    pub async fn controller(&self) -> Result<Connection, ClientError> {
        let metadata = self.metadata();
        match metadata.controller_id.filter(|id| metadata.brokers.contains_key(id)) {
            Some(id) => self.connection(id, Use::General).await,
            None => self.any_connection().await,
        }
    }

    /// Sends a request to the controller, once.
    pub async fn send_to_controller<R: Request>(&self, request: &R) -> Result<R::Response, ClientError> {
        Ok(self.controller().await?.send(request).await?)
    }

    /// Remembers the feature levels that came with the newest epoch.
    fn learn_features(&self, connection: &Connection) {
        let served = connection.served();
        if let Ok(mut features) = self.inner.features.lock()
            && served.finalized_features_epoch > features.0
        {
            *features = (served.finalized_features_epoch, served.finalized_features.clone());
        }
    }

    /// The level of a feature that brokers have announced when they were connected to (0 when it is not in use), and the epoch of the
    /// announcement. `None` when no broker said anything of features.
    pub fn finalized_feature(&self, name: &str) -> Option<(i64, i16)> {
        let features = self.inner.features.lock().ok()?;
        (features.0 >= 0).then(|| (features.0, features.1.get(name).copied().unwrap_or(0)))
    }

    /// Does some broker, the one that is asked next, serve an API?
    pub async fn serves(&self, key: ApiKey) -> Result<bool, ClientError> {
        Ok(self.any_connection().await?.served().serves(key))
    }

    /// The broker that coordinates a group or transactional id, from the cache or found. One attempt: callers retry by [`Cluster::recover`].
    pub async fn coordinator(&self, kind: CoordinatorKind, key: &str) -> Result<i32, ClientError> {
        if let Ok(cache) = self.inner.coordinators.lock()
            && let Some(broker) = cache.get(&(kind, key.to_owned()))
        {
            return Ok(*broker);
        }
        let connection = self.any_connection().await?;
        let version = connection.version_of::<FindCoordinatorRequest>()?;
        let key_type = match kind {
            CoordinatorKind::Group => 0,
            CoordinatorKind::Transaction => 1,
        };
        let request = if version >= 4 {
            FindCoordinatorRequest { key_type, coordinator_keys: vec![key.to_owned()], ..Default::default() }
        } else {
            FindCoordinatorRequest { key: key.to_owned(), key_type, ..Default::default() }
        };
        let response = connection.send(&request).await?;
        let (node, host, port) = if version >= 4 {
            let found = response.coordinators.into_iter().find(|found| found.key == key);
            let found = found.ok_or_else(|| ClientError::from(ErrorCode::CoordinatorNotAvailable))?;
            ApiError::check(found.error_code, found.error_message)?;
            (found.node_id, found.host, found.port)
        } else {
            ApiError::check(response.error_code, response.error_message)?;
            (response.node_id, response.host, response.port)
        };
        let known = self.metadata().brokers.get(&node).is_some_and(|broker| broker.host == host && broker.port == port);
        if !known {
            self.update_broker(Broker { id: node, host, port, rack: None });
        }
        if let Ok(mut cache) = self.inner.coordinators.lock() {
            cache.insert((kind, key.to_owned()), node);
        }
        Ok(node)
    }

    /// Makes the next call find the coordinator again.
    pub fn forget_coordinator(&self, kind: CoordinatorKind, key: &str) {
        if let Ok(mut cache) = self.inner.coordinators.lock() {
            cache.remove(&(kind, key.to_owned()));
        }
    }

    /// Fetches the brokers again when what is known of them is too old.
    pub async fn refresh_if_old(&self) -> Result<(), ClientError> {
        let old = self.inner.brokers_fetched.lock().is_ok_and(|fetched| fetched.elapsed() >= self.inner.max_age);
        if old {
            self.refresh(Topics::None, AutoCreate::Never).await?;
        }
        Ok(())
    }

    /// Closes all connections; calls under way fail.
    pub fn close(&self) {
        self.inner.pool.close();
    }
}

impl RequestError {
    /// Did the request never reach a broker that understands it?
    pub fn is_unsupported_version(&self) -> bool {
        matches!(self, RequestError::UnsupportedVersion { .. } | RequestError::Encode { .. })
    }
}
