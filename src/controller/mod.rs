//! The active controller: what turns requests into records of the metadata log.
//!
//! An operation reads the controller's image, decides, and returns an [`Outcome`]: the answer and the records that make it
//! true. It changes nothing itself. Whoever drives the controller appends the records, has them replayed by
//! [`Controller::replay`], and gives the answer once they are committed.
//!
//! Invariant: only `replay` changes the image. Invariant: no I/O and no clock here; the driver tells the time
//! ([`Controller::set_time`]) and the offset that the next record will have.
//! Sources: Kafka's `QuorumController` and the control managers below it (KIP-631), `ControllerApis` for what is checked
//! before an operation.

pub mod activation;
pub mod api_error;
pub mod brokers;
pub mod configs;
pub mod directories;
pub mod elections;
pub mod features;
pub mod partition_change;
pub mod placement;
pub mod producer_ids;
pub mod quotas;
pub mod reassignments;
pub mod refusal;
pub mod scram;
pub mod sessions;
pub mod topics;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::common::random::Random;
use crate::common::topic_name;
use crate::metadata::delta::MetadataDelta;
use crate::metadata::features::{LATEST_METADATA_VERSION, MetadataVersion};
use crate::metadata::image::{ConfigResource, MetadataImage};
use crate::metadata::record::{MetadataRecord, VersionedRecord};
use crate::metadata::replay::ReplayError;
use crate::metadata::schema::ConfigSchema;
use crate::protocol::error_code::ErrorCode;

/// The most records that one request may cause (`QuorumController.MAX_RECORDS_PER_USER_OP`).
pub const MAX_RECORDS_PER_OPERATION: usize = 10_000;

/// An operation's answer, and the records that must be committed before it may be given.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome<R> {
    /// One atomic batch; empty when nothing changes.
    pub records: Vec<VersionedRecord>,
    pub response: R,
}

impl<R> Outcome<R> {
    /// An answer that changes nothing.
    pub fn without_records(response: R) -> Outcome<R> {
        Outcome { records: Vec::new(), response }
    }
}

/// What a client may still change (KIP-599): takes the number of partitions that an operation creates or deletes, and says whether that
/// is within the client's quota.
pub type PartitionChangeQuota = Box<dyn FnMut(usize) -> bool + Send>;

/// What a controller must be told at its start.
pub struct ControllerOptions {
    pub node_id: i32,
    pub cluster_id: String,
    pub schema: Arc<dyn ConfigSchema>,
    /// The source of topic IDs and placements.
    pub random: Random,
    /// `broker.session.timeout.ms`.
    pub session_timeout_ms: u64,
}

/// The active controller.
pub struct Controller {
    node_id: i32,
    cluster_id: String,
    schema: Arc<dyn ConfigSchema>,
    random: Random,
    image: Arc<MetadataImage>,
    /// The image and its collision index before the metadata transaction that is open, and the transaction's first offset.
    transaction: Option<OpenTransaction>,
    /// Topics whose names hold '.' or '_', under the name with every '.' made '_': they may not differ in just that.
    collisions: BTreeMap<String, BTreeSet<String>>,
    /// The offset of each broker's last registration.
    registration_offsets: BTreeMap<i32, i64>,
    sessions: sessions::Sessions,
    /// Of the operation that is being decided.
    partition_change_quota: Option<PartitionChangeQuota>,
    now_ms: u64,
    next_offset: i64,
}

struct OpenTransaction {
    start_offset: i64,
    image: Arc<MetadataImage>,
    registration_offsets: BTreeMap<i32, i64>,
}

impl std::fmt::Debug for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controller").field("node_id", &self.node_id).field("next_offset", &self.next_offset).finish_non_exhaustive()
    }
}

impl Controller {
    /// A controller that knows nothing yet; replay the log, or begin with [`Controller::load_snapshot`].
    pub fn new(options: ControllerOptions) -> Controller {
        Controller {
            node_id: options.node_id,
            cluster_id: options.cluster_id,
            schema: options.schema,
            random: options.random,
            image: Arc::default(),
            transaction: None,
            collisions: BTreeMap::new(),
            registration_offsets: BTreeMap::new(),
            sessions: sessions::Sessions::new(options.session_timeout_ms),
            partition_change_quota: None,
            now_ms: 0,
            next_offset: 0,
        }
    }

    /// Starts over from the image in a snapshot, which ends before `next_offset`.
    pub fn load_snapshot(&mut self, image: Arc<MetadataImage>, next_offset: i64) {
        self.collisions.clear();
        for topic in image.topics.iter() {
            self.index_name(&topic.name);
        }
        // The registrations lie somewhere before the snapshot's end: a broker that has read the snapshot has read them.
        self.registration_offsets = image.cluster.brokers.keys().map(|&id| (id, next_offset - 1)).collect();
        self.sessions.clear();
        for broker in image.cluster.brokers.values() {
            self.sessions.register(broker.id, broker.fenced, broker.in_controlled_shutdown, self.now_ms);
        }
        self.image = image;
        self.transaction = None;
        self.next_offset = next_offset;
    }

    /// What the log says so far, records included that are not committed yet.
    pub fn image(&self) -> &Arc<MetadataImage> {
        &self.image
    }

    /// The offset that the next record of an operation will have.
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// Tells the offset that the next record will have, where control records lie between it and the last one.
    pub fn set_next_offset(&mut self, offset: i64) {
        self.next_offset = offset;
    }

    /// Tells the monotonic time in milliseconds.
    pub fn set_time(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    /// The first offset of the metadata transaction that is open.
    pub fn open_transaction(&self) -> Option<i64> {
        self.transaction.as_ref().map(|transaction| transaction.start_offset)
    }

    /// Applies a batch of records that was appended to the log at `base_offset`.
    pub fn replay<'a>(&mut self, base_offset: i64, records: impl IntoIterator<Item = &'a MetadataRecord>) -> Result<(), ReplayError> {
        let mut delta = MetadataDelta::new(Arc::clone(&self.image));
        let mut offset = base_offset;
        for record in records {
            match record {
                MetadataRecord::BeginTransaction(_) => {
                    self.install(&delta);
                    let (image, registration_offsets) = (Arc::clone(&self.image), self.registration_offsets.clone());
                    let open = OpenTransaction { start_offset: offset, image, registration_offsets };
                    if self.transaction.replace(open).is_some() {
                        return Err(ReplayError::Transaction("BeginTransactionRecord"));
                    }
                    delta = MetadataDelta::new(Arc::clone(&self.image));
                }
                MetadataRecord::EndTransaction(_) => {
                    self.transaction.take().ok_or(ReplayError::Transaction("EndTransactionRecord"))?;
                }
                MetadataRecord::AbortTransaction(_) => {
                    let open = self.transaction.take().ok_or(ReplayError::Transaction("AbortTransactionRecord"))?;
                    self.load_snapshot(Arc::clone(&open.image), offset);
                    self.registration_offsets = open.registration_offsets;
                    delta = MetadataDelta::new(open.image);
                }
                record => {
                    delta.replay(record)?;
                    if let MetadataRecord::RegisterBroker(registration) = record {
                        self.registration_offsets.insert(registration.broker_id, offset);
                    }
                }
            }
            offset += 1;
        }
        self.install(&delta);
        self.next_offset = offset;
        Ok(())
    }

    fn install(&mut self, delta: &MetadataDelta) {
        for topic in delta.deleted_topics() {
            let normalized = topic_name::without_dots(&topic.name);
            if let Some(names) = self.collisions.get_mut(&normalized) {
                names.remove(&topic.name);
                if names.is_empty() {
                    self.collisions.remove(&normalized);
                }
            }
        }
        for (topic, changes) in delta.changed_topics() {
            if changes.created {
                self.index_name(&topic.name);
            }
        }
        for &id in delta.changed_brokers() {
            match delta.next().cluster.broker(id) {
                Some(broker) => self.sessions.register(id, broker.fenced, broker.in_controlled_shutdown, self.now_ms),
                None => self.sessions.remove(id),
            }
        }
        self.image = Arc::new(delta.apply(delta.image().provenance));
    }

    fn index_name(&mut self, name: &str) {
        if topic_name::has_collision_characters(name) {
            self.collisions.entry(topic_name::without_dots(name)).or_default().insert(name.to_owned());
        }
    }

    /// Decides an operation of a client that has a quota.
    pub fn within<R>(&mut self, quota: Option<PartitionChangeQuota>, operation: impl FnOnce(&mut Controller) -> R) -> R {
        self.partition_change_quota = quota;
        let result = operation(self);
        self.partition_change_quota = None;
        result
    }

    /// Counts partitions that are about to be created or deleted.
    fn apply_partition_change_quota(&mut self, partitions: usize) -> Result<(), api_error::ApiError> {
        let allowed = self.partition_change_quota.as_mut().is_none_or(|quota| quota(partitions));
        allowed.then_some(()).ok_or_else(|| api_error::ApiError::generic(ErrorCode::ThrottlingQuotaExceeded))
    }

    fn metadata_version(&self) -> MetadataVersion {
        self.image.features.metadata_version.map_or(LATEST_METADATA_VERSION, MetadataVersion)
    }

    fn elr_enabled(&self) -> bool {
        self.image.features.elr_enabled()
    }

    fn configs_of(&self, resource: &ConfigResource) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.image.configs.resource(resource).map_or(&NONE, |configs| configs)
    }

    /// The value that a topic config has for `topic` on this node.
    fn topic_config(&self, topic: &str, name: &str) -> Option<String> {
        let topic = self.configs_of(&ConfigResource::topic(topic));
        let broker = self.configs_of(&ConfigResource::broker(self.node_id));
        self.schema.effective_topic_value(name, topic, broker, self.configs_of(&ConfigResource::broker_default()))
    }
}

#[cfg(test)]
mod tests;
