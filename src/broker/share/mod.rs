//! Share groups at the leader of a partition (KIP-932): who has which record, persisted through the share coordinator.
//!
//! Source: `SharePartitionManager`, the parts of `SharePartition` that do I/O, `PersisterStateManager`.
//!
//! - [`share_partition`]: the pure state machine of one group in one partition; [`in_flight`]: its records.
//! - [`sessions`]: which partitions a member fetches.
//! - [`fetch`]: a ShareFetch that waits for something to acquire.
//! - this module: the share partitions this broker has loaded, their locks' expiry, and the order of their writes.
//!
//! Invariants:
//! - A share partition is loaded at its first use and dropped when this broker no longer leads the partition, when its state turns out to
//!   belong to another life (fenced), or when the last session of its group ends.
//! - The writes of one share partition go to the coordinator one after the other; what comes up meanwhile goes together in the next.
//! - No lock is held while something is awaited. The map of share partitions is locked before one of them, never after.

mod fetch;
mod in_flight;
mod log_batches;
mod offset_reset;
mod sessions;
mod share_partition;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

pub(crate) use self::fetch::{FetchedPartition, ShareFetch};
use self::offset_reset::OffsetReset;
pub(crate) use self::sessions::{FINAL_EPOCH, SessionContext, SessionKey, ShareSessions, TopicIdPartition};
pub(crate) use self::share_partition::{AcknowledgementBatch, AcquireMode, acknowledge_type};
use self::share_partition::{Change, SharePartition, ShareSettings};
use super::config::DynamicConfig;
use super::share_coordinator::{ShareCoordinator, with_retries};
use crate::common::clock::Clock;
use crate::common::uuid::Uuid;
use crate::coordinator::share::batches::StateBatch;
use crate::coordinator::share::{SharePartitionKey, ShareStateError, UNINITIALIZED_START_OFFSET};
use crate::metadata::delta::MetadataDelta;
use crate::metadata::image::{ConfigResource, MetadataImage};
use crate::metadata::publisher::Publisher;
use crate::protocol::error_code::ErrorCode;
use crate::replication::partition::Partition;
use crate::replication::replicas::Replicas;
use crate::replication::waiters::WaiterSet;
use crate::storage::log::FetchIsolation;

/// An error and its text for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", message.as_deref().unwrap_or(code.message()))]
pub(crate) struct ShareError {
    pub(crate) code: ErrorCode,
    pub(crate) message: Option<String>,
}

impl From<ErrorCode> for ShareError {
    fn from(code: ErrorCode) -> ShareError {
        ShareError { code, message: Some(code.message().to_owned()) }
    }
}

impl From<ShareStateError> for ShareError {
    /// What the members of a group are told of what the coordinator said. Source: `SharePartition.fetchPersisterError`.
    fn from(error: ShareStateError) -> ShareError {
        let code = match error.code {
            ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable | ErrorCode::CoordinatorLoadInProgress => {
                ErrorCode::CoordinatorNotAvailable
            }
            ErrorCode::FencedLeaderEpoch | ErrorCode::FencedStateEpoch => ErrorCode::NotLeaderOrFollower,
            code @ (ErrorCode::GroupIdNotFound | ErrorCode::UnknownTopicOrPartition) => code,
            _ => ErrorCode::UnknownServerError,
        };
        ShareError { code, message: Some(error.message) }
    }
}

/// Does this say that the share partition is another's by now?
fn is_fencing(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NotLeaderOrFollower | ErrorCode::FencedStateEpoch | ErrorCode::GroupIdNotFound | ErrorCode::UnknownTopicOrPartition
    )
}

/// Changes on their way to the coordinator.
struct Write {
    /// None: the states hold, persisted or not.
    transition: Option<u64>,
    state_batches: Vec<StateBatch>,
    answer: Option<oneshot::Sender<Result<(), ShareError>>>,
}

enum State {
    /// The coordinator is being asked.
    Loading,
    Active(SharePartition),
    /// It could not be loaded, or is another's by now.
    Ended(ShareError),
}

struct Inner {
    state: State,
    writes: Vec<Write>,
    /// A task takes `writes` to the coordinator.
    is_writing: bool,
}

/// A share partition that is loaded here, or about to be.
struct Loaded {
    key: SharePartitionKey,
    partition: Arc<Partition>,
    inner: Mutex<Inner>,
    /// ShareFetches that wait for this group's records to become available.
    waiters: Arc<WaiterSet>,
    /// Something was acquired or renewed: the next expiry may be another.
    locks_changed: Arc<Notify>,
}

impl Loaded {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it, whatever is under way; whoever waits learns of it.
    fn end(&self, error: ShareError) {
        let writes = {
            let mut inner = self.lock();
            inner.state = State::Ended(error.clone());
            std::mem::take(&mut inner.writes)
        };
        for write in writes {
            if let Some(answer) = write.answer {
                let _ = answer.send(Err(error.clone()));
            }
        }
        self.waiters.wake_all();
        self.locks_changed.notify_one();
    }
}

impl Drop for Loaded {
    /// The task that watches over the locks ends.
    fn drop(&mut self) {
        self.locks_changed.notify_one();
    }
}

/// All share partitions of this broker, and the sessions that read them. Shared as an `Arc`.
pub(crate) struct SharePartitions {
    pub(crate) sessions: ShareSessions,
    loaded: Mutex<HashMap<SharePartitionKey, Arc<Loaded>>>,
    coordinator: Arc<ShareCoordinator>,
    replicas: Arc<Replicas>,
    config: Arc<DynamicConfig>,
    clock: Arc<dyn Clock>,
    tasks: tokio::runtime::Handle,
    /// For the tasks, which are not to keep it alive.
    this: Weak<SharePartitions>,
}

impl SharePartitions {
    /// Must be called within a tokio runtime.
    pub(crate) fn new(
        config: Arc<DynamicConfig>,
        clock: Arc<dyn Clock>,
        replicas: Arc<Replicas>,
        coordinator: Arc<ShareCoordinator>,
    ) -> Arc<SharePartitions> {
        let max_sessions = usize::try_from(config.static_config().long("group.share.max.share.sessions")).unwrap_or(0);
        Arc::new_cyclic(|this| SharePartitions {
            sessions: ShareSessions::new(max_sessions),
            loaded: Mutex::default(),
            coordinator,
            replicas,
            config,
            clock,
            tasks: tokio::runtime::Handle::current(),
            this: Weak::clone(this),
        })
    }

    fn loaded(&self) -> MutexGuard<'_, HashMap<SharePartitionKey, Arc<Loaded>>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that a group may set within the broker's bounds. `name` is the part that the configs' names have in common.
    fn setting(&self, image: &MetadataImage, group_id: &str, name: &str) -> i64 {
        let config = self.config.current();
        let set = image.configs.value(&ConfigResource::group(group_id), &format!("share.{name}"));
        match set.and_then(|text| text.trim().parse::<i64>().ok()) {
            // Not `clamp`, which panics when the bounds are the wrong way round.
            Some(value) => {
                let (min, max) = (config.long(&format!("group.share.min.{name}")), config.long(&format!("group.share.max.{name}")));
                value.min(max).max(min)
            }
            None => config.long(&format!("group.share.{name}")),
        }
    }

    /// `share.record.lock.duration.ms` of a group.
    pub(crate) fn lock_duration_ms(&self, group_id: &str) -> i32 {
        i32::try_from(self.setting(&self.replicas.image(), group_id, "record.lock.duration.ms")).unwrap_or(i32::MAX)
    }

    fn settings(&self, group_id: &str) -> ShareSettings {
        let image = self.replicas.image();
        let renew = image.configs.value(&ConfigResource::group(group_id), "share.renew.acknowledge.enable");
        ShareSettings {
            lock_duration_ms: u64::try_from(self.setting(&image, group_id, "record.lock.duration.ms")).unwrap_or(0),
            max_delivery_count: i16::try_from(self.setting(&image, group_id, "delivery.count.limit")).unwrap_or(i16::MAX),
            max_in_flight_records: self.setting(&image, group_id, "partition.max.record.locks"),
            renew_enabled: renew.is_none_or(|text| !text.trim().eq_ignore_ascii_case("false")),
        }
    }

    /// `share.isolation.level` of a group.
    fn isolation(&self, group_id: &str) -> FetchIsolation {
        let image = self.replicas.image();
        match image.configs.value(&ConfigResource::group(group_id), "share.isolation.level") {
            Some(level) if level.trim().eq_ignore_ascii_case("read_committed") => FetchIsolation::TransactionCommitted,
            _ => FetchIsolation::HighWatermark,
        }
    }

    /// The partition, if this broker leads it and it is of the topic with this id.
    fn led_partition(&self, topic_id: Uuid, index: i32) -> Result<Arc<Partition>, ErrorCode> {
        let image = self.replicas.image();
        let topic = image.topics.topic_by_id(topic_id).ok_or(ErrorCode::UnknownTopicId)?;
        let partition = self.replicas.partition(&topic.name, index)?;
        match partition.topic_id() == topic_id {
            true if partition.is_leader() => Ok(partition),
            true => Err(ErrorCode::NotLeaderOrFollower),
            false => Err(ErrorCode::UnknownTopicOrPartition),
        }
    }

    /// The share partition; begins to load it if it is not here.
    fn open(&self, group_id: &str, (topic_id, index): TopicIdPartition) -> Result<Arc<Loaded>, ErrorCode> {
        let key = SharePartitionKey { group_id: group_id.to_owned(), topic_id, partition: index };
        let mut loaded = self.loaded();
        if let Some(loaded) = loaded.get(&key) {
            return Ok(Arc::clone(loaded));
        }
        let partition = self.led_partition(topic_id, index)?;
        let new = Arc::new(Loaded {
            key: key.clone(),
            partition,
            inner: Mutex::new(Inner { state: State::Loading, writes: Vec::new(), is_writing: false }),
            waiters: Arc::default(),
            locks_changed: Arc::default(),
        });
        loaded.insert(key, Arc::clone(&new));
        if let Some(this) = self.this.upgrade() {
            self.tasks.spawn(load(this, Arc::clone(&new)));
        }
        Ok(new)
    }

    /// The share partition if it is here.
    fn find(&self, group_id: &str, (topic_id, partition): TopicIdPartition) -> Option<Arc<Loaded>> {
        self.loaded().get(&SharePartitionKey { group_id: group_id.to_owned(), topic_id, partition }).map(Arc::clone)
    }

    /// Lets go of a share partition; the next use loads it again.
    fn drop_loaded(&self, it: &Arc<Loaded>, error: ShareError) {
        {
            let mut loaded = self.loaded();
            if loaded.get(&it.key).is_some_and(|current| Arc::ptr_eq(current, it)) {
                loaded.remove(&it.key);
            }
        }
        it.end(error);
    }

    fn drop_where(&self, gone: impl Fn(&Loaded) -> bool, error: ErrorCode) {
        let gone: Vec<Arc<Loaded>> = self.loaded().values().filter(|it| gone(it)).map(Arc::clone).collect();
        for it in gone {
            self.drop_loaded(&it, error.into());
        }
    }

    /// Takes what a member says of records of a partition. The answer comes when it is persisted; what is awaited holds nothing.
    pub(crate) fn acknowledge(
        &self,
        key: &SessionKey,
        partition: TopicIdPartition,
        batches: &[AcknowledgementBatch],
    ) -> impl Future<Output = Result<(), ShareError>> + use<> {
        let begun = self.begin_acknowledge(key, partition, batches);
        async move {
            match begun? {
                Some(answer) => answer.await.unwrap_or(Err(ErrorCode::NotLeaderOrFollower.into())),
                None => Ok(()),
            }
        }
    }

    fn begin_acknowledge(
        &self,
        key: &SessionKey,
        partition: TopicIdPartition,
        batches: &[AcknowledgementBatch],
    ) -> Result<Option<Answer>, ShareError> {
        let loaded = self.find(&key.group_id, partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let settings = self.settings(&key.group_id);
        let answer = {
            let mut inner = loaded.lock();
            let State::Active(partition) = &mut inner.state else { return Err(ErrorCode::UnknownTopicOrPartition.into()) };
            let change = partition.acknowledge(self.clock.monotonic_ms(), &settings, &key.member_id, batches);
            let change = change.map_err(|error| ShareError { code: error.code, message: Some(error.message.to_owned()) })?;
            change.map(|change| self.submit(&loaded, &mut inner, change))
        };
        // Renewed locks expire later.
        loaded.locks_changed.notify_one();
        Ok(answer)
    }

    /// Queues a change; the answer comes when it is persisted.
    fn submit(&self, loaded: &Arc<Loaded>, inner: &mut Inner, change: Change) -> Answer {
        let (sender, answer) = oneshot::channel();
        let write = Write { transition: Some(change.transition), state_batches: change.state_batches, answer: Some(sender) };
        self.queue(loaded, inner, write);
        answer
    }

    fn queue(&self, loaded: &Arc<Loaded>, inner: &mut Inner, write: Write) {
        inner.writes.push(write);
        if !inner.is_writing
            && let Some(this) = self.this.upgrade()
        {
            inner.is_writing = true;
            self.tasks.spawn(write_all(this, Arc::clone(loaded)));
        }
    }

    /// Ends a session: what its member has is anybody's again. A group that has no session left is forgotten, once that is written.
    pub(crate) fn release_session(&self, key: &SessionKey) {
        let Some(partitions) = self.sessions.remove(key) else { return };
        let settings = self.settings(&key.group_id);
        for partition in partitions {
            let Some(loaded) = self.find(&key.group_id, partition) else { continue };
            let mut inner = loaded.lock();
            let State::Active(partition) = &mut inner.state else { continue };
            if let Some(change) = partition.release_acquired(&settings, &key.member_id) {
                let write = Write { transition: Some(change.transition), state_batches: change.state_batches, answer: None };
                self.queue(&loaded, &mut inner, write);
            }
        }
        if !self.sessions.has_group(&key.group_id) {
            self.forget_when_written(&key.group_id);
        }
    }

    /// The sessions of a connection end with it.
    pub(crate) fn connection_closed(&self, connection: SocketAddr) {
        for key in self.sessions.of_connection(connection) {
            self.release_session(&key);
        }
    }

    /// Lets go of a group's share partitions, except those that are being written, which follow when they are.
    fn forget_when_written(&self, group_id: &str) {
        let idle: Vec<Arc<Loaded>> =
            self.loaded().values().filter(|it| it.key.group_id == group_id && !it.lock().is_writing).map(Arc::clone).collect();
        for it in idle {
            self.drop_loaded(&it, ErrorCode::NotLeaderOrFollower.into());
        }
    }
}

type Answer = oneshot::Receiver<Result<(), ShareError>>;

/// Reads a share partition's state and makes it active.
async fn load(shares: Arc<SharePartitions>, loaded: Arc<Loaded>) {
    let leader_epoch = loaded.partition.leader_epoch();
    let read = with_retries(|| shares.coordinator.read(loaded.key.clone(), leader_epoch)).await;
    let partition = read.map_err(ShareError::from).and_then(|read| {
        let start_offset = match read.start_offset {
            UNINITIALIZED_START_OFFSET => initial_offset(&shares, &loaded)?,
            start_offset => start_offset,
        };
        SharePartition::new(leader_epoch, start_offset, &read).map_err(|problem| {
            tracing::error!("the share group state of {} is damaged: {problem}", loaded.key);
            ShareError {
                code: ErrorCode::UnknownServerError,
                message: Some(format!("Failed to initialize the share partition {}", loaded.key)),
            }
        })
    });
    match partition {
        Ok(partition) => {
            {
                let mut inner = loaded.lock();
                if !matches!(inner.state, State::Loading) {
                    return;
                }
                inner.state = State::Active(partition);
            }
            shares.tasks.spawn(expire_locks(Weak::clone(&shares.this), Arc::downgrade(&loaded), Arc::clone(&loaded.locks_changed)));
            loaded.waiters.wake_all();
        }
        Err(error) => {
            tracing::debug!("share partition {} could not be loaded: {error}", loaded.key);
            shares.drop_loaded(&loaded, error);
        }
    }
}

/// Where a group begins that has no offset.
fn initial_offset(shares: &SharePartitions, loaded: &Loaded) -> Result<i64, ShareError> {
    let image = shares.replicas.image();
    let reset = image.configs.value(&ConfigResource::group(loaded.key.group_id.as_str()), "share.auto.offset.reset");
    let log = loaded.partition.leader_log(-1)?;
    match OffsetReset::parse(reset.unwrap_or("latest").trim()) {
        OffsetReset::Earliest => Ok(log.log_start_offset()),
        OffsetReset::Latest => Ok(log.high_watermark()),
        OffsetReset::ByDuration(duration_ms) => {
            let timestamp = shares.clock.now_ms().saturating_sub(duration_ms).max(0);
            let found = log.offset_for_timestamp(timestamp).map_err(|_| ErrorCode::KafkaStorageError)?;
            let found = found.map(|found| found.offset).filter(|&offset| offset < log.high_watermark());
            found.ok_or_else(|| {
                let message = format!("Offset for timestamp {timestamp} not found for topic partition: {}", loaded.key);
                ShareError { code: ErrorCode::OffsetNotAvailable, message: Some(message) }
            })
        }
    }
}

/// Takes the writes of a share partition to the coordinator, one after the other, until there are no more.
async fn write_all(shares: Arc<SharePartitions>, loaded: Arc<Loaded>) {
    loop {
        let (writes, request) = {
            let mut inner = loaded.lock();
            let writes = std::mem::take(&mut inner.writes);
            let State::Active(partition) = &inner.state else {
                inner.is_writing = false;
                break;
            };
            if writes.is_empty() {
                inner.is_writing = false;
                break;
            }
            let state_batches = writes.iter().flat_map(|write| write.state_batches.iter().copied()).collect();
            (writes, partition.write_state(state_batches))
        };
        let result = with_retries(|| shares.coordinator.write_state(loaded.key.clone(), request.clone())).await;
        let result = result.map_err(ShareError::from);
        if let Err(error) = &result {
            tracing::warn!("the share group state of {} could not be written: {error}", loaded.key);
        }
        let settings = shares.settings(&loaded.key.group_id);
        {
            let mut inner = loaded.lock();
            if let State::Active(partition) = &mut inner.state {
                for transition in writes.iter().filter_map(|write| write.transition) {
                    partition.complete(shares.clock.monotonic_ms(), &settings, transition, result.is_ok());
                }
            }
        }
        for answer in writes.into_iter().filter_map(|write| write.answer) {
            let _ = answer.send(result.clone());
        }
        loaded.waiters.wake_all();
        loaded.locks_changed.notify_one();
        if let Err(error) = result
            && is_fencing(error.code)
        {
            loaded.lock().is_writing = false;
            return shares.drop_loaded(&loaded, error);
        }
    }
    if !shares.sessions.has_group(&loaded.key.group_id) {
        shares.forget_when_written(&loaded.key.group_id);
    }
}

/// Makes records available again when their locks expire, as long as the share partition lives.
async fn expire_locks(shares: Weak<SharePartitions>, loaded: Weak<Loaded>, locks_changed: Arc<Notify>) {
    loop {
        let next = {
            let (Some(shares), Some(loaded)) = (shares.upgrade(), loaded.upgrade()) else { return };
            let settings = shares.settings(&loaded.key.group_id);
            let now_ms = shares.clock.monotonic_ms();
            let mut inner = loaded.lock();
            let State::Active(partition) = &mut inner.state else { return };
            let expired = partition.expire_locks(now_ms, &settings);
            let next = partition.next_lock_expiry();
            if !expired.is_empty() {
                shares.queue(&loaded, &mut inner, Write { transition: None, state_batches: expired, answer: None });
                drop(inner);
                loaded.waiters.wake_all();
            }
            next.map(|at| Duration::from_millis(at.saturating_sub(now_ms).max(1)))
        };
        tokio::select! {
            () = locks_changed.notified() => {}
            () = tokio::time::sleep(next.unwrap_or_default()), if next.is_some() => {}
        }
    }
}

impl Publisher for SharePartitions {
    fn name(&self) -> &str {
        "SharePartitions"
    }

    /// Share partitions go with their topics, and with the leadership of their partitions.
    fn publish(&self, delta: &MetadataDelta, image: &Arc<MetadataImage>) {
        let broker_id = self.replicas.broker_id();
        let topics_changed = delta.deleted_topics().next().is_some() || delta.changed_topics().next().is_some();
        if topics_changed && !self.loaded().is_empty() {
            let is_led = |it: &Loaded| {
                let topic = image.topics.topic_by_id(it.key.topic_id);
                topic.and_then(|topic| topic.partition(it.key.partition)).is_some_and(|partition| partition.leader == broker_id)
            };
            self.drop_where(|it| !is_led(it), ErrorCode::NotLeaderOrFollower);
        }
        if delta.features_changed() && image.features.level("share.version") < 1 {
            self.sessions.clear();
            self.drop_where(|_| true, ErrorCode::NotLeaderOrFollower);
        }
    }
}
