//! The metadata of the whole cluster at one offset of the metadata log.
//!
//! Invariant: an image never changes; a clone costs a few reference counts, whatever the number of topics.
//! Source: Kafka's `MetadataImage` and its parts, `PartitionRegistration`, `BrokerRegistration`.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::{HashMap, OrdMap};

use crate::common::uuid::Uuid;

/// "No leader", in a partition's `leader`.
pub const NO_LEADER: i32 = -1;

/// "The leader stays", in a PartitionChangeRecord's `leader`.
pub const NO_LEADER_CHANGE: i32 = -2;

/// The epoch of a leader that never was.
pub const NO_LEADER_EPOCH: i32 = -1;

/// Directory identifiers that do not name a directory.
pub mod directory {
    use crate::common::uuid::Uuid;

    /// Assigned before directories were known.
    pub const MIGRATING: Uuid = Uuid::from_u128(0);
    /// The broker has not said yet in which directory the replica lies.
    pub const UNASSIGNED: Uuid = Uuid::from_u128(1);
    /// The directory is offline.
    pub const LOST: Uuid = Uuid::from_u128(2);

    /// Is `id` one of the first hundred values, which no directory may have?
    pub fn is_reserved(id: Uuid) -> bool {
        u128::from_be_bytes(id.0) < 100
    }
}

/// Where in the metadata log an image stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Provenance {
    /// The offset of the last record in the image; -1 when it is empty.
    pub offset: i64,
    /// The epoch of that record; -1 when the image is empty.
    pub epoch: i32,
    /// The time of that record's batch in milliseconds; -1 when the image is empty.
    pub timestamp_ms: i64,
}

impl Default for Provenance {
    fn default() -> Provenance {
        Provenance { offset: -1, epoch: -1, timestamp_ms: -1 }
    }
}

/// The cluster's metadata at one offset.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MetadataImage {
    pub provenance: Provenance,
    pub features: FeaturesImage,
    pub cluster: ClusterImage,
    pub topics: TopicsImage,
    pub configs: ConfigsImage,
    pub client_quotas: ClientQuotasImage,
    pub producer_ids: ProducerIdsImage,
    pub acls: AclsImage,
    pub scram: ScramImage,
    pub delegation_tokens: DelegationTokensImage,
}

impl MetadataImage {
    /// The record state without its place in the log: what two nodes at the same point must agree on.
    pub fn same_state(&self, other: &MetadataImage) -> bool {
        let mut moved = other.clone();
        moved.provenance = self.provenance;
        *self == moved
    }
}

/// The feature levels of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FeaturesImage {
    /// The level of `metadata.version`; `None` before the first FeatureLevelRecord for it.
    pub metadata_version: Option<i16>,
    /// The levels of the other features that are not 0, by name. Never holds `kraft.version`, which lives in control records.
    pub finalized: BTreeMap<String, i16>,
    /// How far a migration from ZooKeeper was, of a cluster that Kafka 3 began. No snapshot says it any more.
    pub zk_migration_state: i8,
}

impl FeaturesImage {
    /// The level of a feature; 0 when it has none.
    pub fn level(&self, name: &str) -> i16 {
        if name == super::features::METADATA_VERSION {
            self.metadata_version.unwrap_or(0)
        } else {
            self.finalized.get(name).copied().unwrap_or(0)
        }
    }

    /// Is `eligible.leader.replicas.version` on (KIP-966)?
    pub fn elr_enabled(&self) -> bool {
        self.level(super::features::ELIGIBLE_LEADER_REPLICAS_VERSION) > 0
    }
}

/// One listener of a broker or controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The listener's name, such as `PLAINTEXT`.
    pub name: String,
    pub host: String,
    pub port: u16,
    /// 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL.
    pub security_protocol: i16,
}

/// A broker as it last registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerRegistration {
    pub id: i32,
    /// The offset at which the registration was written.
    pub epoch: i64,
    /// New for every process.
    pub incarnation_id: Uuid,
    pub listeners: Vec<Endpoint>,
    /// The lowest and highest level of each feature that the broker supports.
    pub supported_features: BTreeMap<String, (i16, i16)>,
    pub rack: Option<String>,
    pub fenced: bool,
    pub in_controlled_shutdown: bool,
    /// Sorted.
    pub directories: Vec<Uuid>,
    /// The directories that take no new replicas (KIP-1066); `None` until the broker has said so in a heartbeat.
    pub cordoned_directories: Option<Vec<Uuid>>,
}

impl BrokerRegistration {
    /// The listener of this name.
    pub fn listener(&self, name: &str) -> Option<&Endpoint> {
        self.listeners.iter().find(|endpoint| endpoint.name == name)
    }

    /// May the broker lead partitions?
    pub fn is_active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }

    /// Is a replica in `directory` reachable? True too where directories are not known.
    pub fn has_online_directory(&self, directory: Uuid) -> bool {
        if self.directories.is_empty() || directory == directory::MIGRATING || directory == directory::UNASSIGNED {
            return true;
        }
        directory != directory::LOST && self.directories.contains(&directory)
    }
}

/// A controller as it last registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerRegistration {
    pub id: i32,
    pub incarnation_id: Uuid,
    pub zk_migration_ready: bool,
    pub listeners: Vec<Endpoint>,
    pub supported_features: BTreeMap<String, (i16, i16)>,
}

/// The registered brokers and controllers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClusterImage {
    pub brokers: OrdMap<i32, Arc<BrokerRegistration>>,
    pub controllers: OrdMap<i32, Arc<ControllerRegistration>>,
}

impl ClusterImage {
    pub fn broker(&self, id: i32) -> Option<&Arc<BrokerRegistration>> {
        self.brokers.get(&id)
    }

    /// Is the broker registered, unfenced and not shutting down?
    pub fn is_active(&self, id: i32) -> bool {
        self.brokers.get(&id).is_some_and(|broker| broker.is_active())
    }
}

/// Has a leader taken over after an unclean election, or is it still at it?
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LeaderRecoveryState {
    #[default]
    Recovered,
    Recovering,
}

impl LeaderRecoveryState {
    /// The number in records and requests.
    pub fn code(self) -> i8 {
        match self {
            LeaderRecoveryState::Recovered => 0,
            LeaderRecoveryState::Recovering => 1,
        }
    }

    pub fn from_code(code: i8) -> Option<LeaderRecoveryState> {
        match code {
            0 => Some(LeaderRecoveryState::Recovered),
            1 => Some(LeaderRecoveryState::Recovering),
            _ => None,
        }
    }
}

/// One partition's replicas and leadership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionRegistration {
    pub replicas: Vec<i32>,
    /// The directory of each replica, in the order of `replicas`.
    pub directories: Vec<Uuid>,
    pub isr: Vec<i32>,
    pub removing_replicas: Vec<i32>,
    pub adding_replicas: Vec<i32>,
    /// Eligible leader replicas (KIP-966).
    pub elr: Vec<i32>,
    pub last_known_elr: Vec<i32>,
    /// [`NO_LEADER`] when there is none.
    pub leader: i32,
    pub leader_recovery_state: LeaderRecoveryState,
    /// Rises with every election.
    pub leader_epoch: i32,
    /// Rises with every change.
    pub partition_epoch: i32,
}

impl PartitionRegistration {
    pub fn has_leader(&self) -> bool {
        self.leader != NO_LEADER
    }

    /// The first replica, which leads when all is well.
    pub fn preferred_replica(&self) -> i32 {
        self.replicas.first().copied().unwrap_or(NO_LEADER)
    }

    /// The directory of this broker's replica; `None` when it has none.
    pub fn directory(&self, broker_id: i32) -> Option<Uuid> {
        let index = self.replicas.iter().position(|&replica| replica == broker_id)?;
        self.directories.get(index).copied()
    }

    /// Are replicas being moved?
    pub fn is_reassigning(&self) -> bool {
        !self.removing_replicas.is_empty() || !self.adding_replicas.is_empty()
    }
}

/// A topic and its partitions.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicImage {
    pub name: String,
    pub id: Uuid,
    /// By partition index; without gaps in a healthy log.
    pub partitions: OrdMap<i32, Arc<PartitionRegistration>>,
}

impl TopicImage {
    pub fn partition(&self, index: i32) -> Option<&Arc<PartitionRegistration>> {
        self.partitions.get(&index)
    }

    pub fn partition_count(&self) -> usize {
        self.partitions.len()
    }
}

/// All topics, by identifier and by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TopicsImage {
    pub(super) by_id: HashMap<Uuid, Arc<TopicImage>>,
    pub(super) by_name: OrdMap<String, Arc<TopicImage>>,
}

impl TopicsImage {
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.by_name.get(name)
    }

    pub fn topic_by_id(&self, id: Uuid) -> Option<&Arc<TopicImage>> {
        self.by_id.get(&id)
    }

    pub fn partition(&self, topic: &str, partition: i32) -> Option<&Arc<PartitionRegistration>> {
        self.topic(topic)?.partition(partition)
    }

    /// All topics in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.by_name.values()
    }

    /// The topics whose name is `name` or sorts after it, in order.
    pub fn iter_from(&self, name: &str) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.by_name.range::<_, str>((std::ops::Bound::Included(name), std::ops::Bound::Unbounded)).map(|(_, topic)| topic)
    }

    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    pub(super) fn insert(&mut self, topic: TopicImage) {
        let topic = Arc::new(topic);
        self.by_id.insert(topic.id, Arc::clone(&topic));
        self.by_name.insert(topic.name.clone(), topic);
    }

    pub(super) fn remove(&mut self, id: Uuid) -> Option<Arc<TopicImage>> {
        let topic = self.by_id.remove(&id)?;
        self.by_name.remove(&topic.name);
        Some(topic)
    }
}

/// What a config belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConfigResourceType {
    Topic,
    Broker,
    BrokerLogger,
    ClientMetrics,
    Group,
}

impl ConfigResourceType {
    /// The number in records and requests.
    pub fn code(self) -> i8 {
        match self {
            ConfigResourceType::Topic => 2,
            ConfigResourceType::Broker => 4,
            ConfigResourceType::BrokerLogger => 8,
            ConfigResourceType::ClientMetrics => 16,
            ConfigResourceType::Group => 32,
        }
    }

    pub fn from_code(code: i8) -> Option<ConfigResourceType> {
        match code {
            2 => Some(ConfigResourceType::Topic),
            4 => Some(ConfigResourceType::Broker),
            8 => Some(ConfigResourceType::BrokerLogger),
            16 => Some(ConfigResourceType::ClientMetrics),
            32 => Some(ConfigResourceType::Group),
            _ => None,
        }
    }

    /// Kafka's name, such as `BROKER_LOGGER`.
    pub fn name(self) -> &'static str {
        match self {
            ConfigResourceType::Topic => "TOPIC",
            ConfigResourceType::Broker => "BROKER",
            ConfigResourceType::BrokerLogger => "BROKER_LOGGER",
            ConfigResourceType::ClientMetrics => "CLIENT_METRICS",
            ConfigResourceType::Group => "GROUP",
        }
    }
}

/// A thing that has configs; a broker with the empty name is the cluster's default for brokers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigResource {
    pub type_: ConfigResourceType,
    pub name: String,
}

impl ConfigResource {
    pub fn topic(name: impl Into<String>) -> ConfigResource {
        ConfigResource { type_: ConfigResourceType::Topic, name: name.into() }
    }

    pub fn broker(id: i32) -> ConfigResource {
        ConfigResource { type_: ConfigResourceType::Broker, name: id.to_string() }
    }

    /// The cluster's default for brokers.
    pub fn broker_default() -> ConfigResource {
        ConfigResource { type_: ConfigResourceType::Broker, name: String::new() }
    }

    pub fn group(name: impl Into<String>) -> ConfigResource {
        ConfigResource { type_: ConfigResourceType::Group, name: name.into() }
    }
}

/// The dynamic configs that have been set, by resource.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConfigsImage {
    pub(super) by_resource: OrdMap<ConfigResource, Arc<BTreeMap<String, String>>>,
}

impl ConfigsImage {
    /// What is set on `resource`; `None` when nothing is.
    pub fn resource(&self, resource: &ConfigResource) -> Option<&Arc<BTreeMap<String, String>>> {
        self.by_resource.get(resource)
    }

    /// The value set on `resource` under `name`.
    pub fn value(&self, resource: &ConfigResource, name: &str) -> Option<&str> {
        self.by_resource.get(resource)?.get(name).map(String::as_str)
    }

    /// All resources with configs, ordered by type and name.
    pub fn iter(&self) -> impl Iterator<Item = (&ConfigResource, &Arc<BTreeMap<String, String>>)> {
        self.by_resource.iter()
    }
}

/// Whom a quota binds: entity type (`user`, `client-id`, `ip`) to name, `None` for the default.
pub type ClientQuotaEntity = BTreeMap<String, Option<String>>;

/// The client quotas: entity to quota name to value.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClientQuotasImage {
    pub entities: OrdMap<ClientQuotaEntity, Arc<BTreeMap<String, f64>>>,
}

/// How far producer identifiers have been handed out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProducerIdsImage {
    /// The first identifier of the next block; `None` before the first block.
    pub next_producer_id: Option<i64>,
}

/// One access control entry; the numbers are the protocol's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessControlEntry {
    pub id: Uuid,
    pub resource_type: i8,
    pub resource_name: String,
    pub pattern_type: i8,
    pub principal: String,
    pub host: String,
    pub operation: i8,
    pub permission_type: i8,
}

/// The access control entries by their identifier.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AclsImage {
    pub entries: OrdMap<Uuid, Arc<AccessControlEntry>>,
}

/// The stored half of a SCRAM credential.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramCredential {
    pub salt: bytes::Bytes,
    pub stored_key: bytes::Bytes,
    pub server_key: bytes::Bytes,
    pub iterations: i32,
}

impl std::fmt::Debug for ScramCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys stay out of logs.
        f.debug_struct("ScramCredential").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

/// The SCRAM credentials by mechanism (1 SCRAM-SHA-256, 2 SCRAM-SHA-512) and user.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ScramImage {
    pub credentials: OrdMap<(i8, String), Arc<ScramCredential>>,
}

/// A delegation token without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelegationToken {
    pub token_id: String,
    pub owner: String,
    pub requester: String,
    pub renewers: Vec<String>,
    pub issue_timestamp_ms: i64,
    pub max_timestamp_ms: i64,
    pub expiration_timestamp_ms: i64,
}

/// The delegation tokens by their identifier.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DelegationTokensImage {
    pub tokens: OrdMap<String, Arc<DelegationToken>>,
}
