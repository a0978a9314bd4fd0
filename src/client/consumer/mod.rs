//! The consumer, under the names of Kafka's `KafkaConsumer`.
//!
//! Two tasks work in the background: [`driver`] finds positions and fetches ahead of the caller, in sessions ([`fetch_session`]); [`group`],
//! or with `group.protocol=consumer` [`membership`], keeps this consumer a member of its group. They and the caller meet in [`state`].
//! Offsets are read and committed in [`offsets`]; [`assignors`] says who gets what in a classic group.
//!
//! Every future here may be dropped at any point without losing a record: a position moves in the same step that hands records out.
//!
//! Invariant: a group's rebalance takes partitions away only while a caller polls, when all it was handed before is done with. Positions
//! that are committed then, or by the timer, are therefore never ahead of the caller.
//! Source: `ClassicKafkaConsumer`, `AsyncKafkaConsumer`; KIP-227, KIP-320, KIP-345, KIP-429, KIP-848.

pub mod assignors;
mod driver;
mod fetch_session;
mod fetched;
mod group;
mod membership;
mod offsets;
mod protocol;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use self::assignors::Assignor;
use self::fetched::Reading;
use self::state::{State, Subscription};
use super::admin::{Admin, IsolationLevel, ListedOffset, OffsetSpec, Results};
use super::cluster::{AutoCreate, Cluster, Topics};
pub use super::committed::OffsetAndMetadata;
use super::config::{ClientConfig, ConfigError};
use super::error::ClientError;
use super::metadata::TopicMetadata;
use crate::common::clock::{Clock, SystemClock};
use crate::common::topic_partition::TopicPartition;
use crate::protocol::batch::BatchError;
pub use crate::protocol::batch::{RecordHeader, RecordRef, TimestampType};
use crate::protocol::error_code::ErrorCode;

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerRecord {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    pub leader_epoch: Option<i32>,
    /// Milliseconds since the epoch; -1 for none.
    pub timestamp: i64,
    pub timestamp_type: TimestampType,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    /// In their order, with duplicates.
    pub headers: Vec<RecordHeader>,
}

/// A record that is only lent.
#[derive(Clone, Copy, Debug)]
pub struct LentRecord<'a> {
    pub topic_partition: &'a TopicPartition,
    pub leader_epoch: Option<i32>,
    pub timestamp_type: TimestampType,
    pub record: RecordRef<'a>,
}

/// Who commits offsets as part of a transaction: what a producer tells the group's coordinator (KIP-447).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupMetadata {
    pub group_id: String,
    /// The generation, or the member's epoch; -1 outside a group.
    pub generation_id: i32,
    pub member_id: String,
    pub group_instance_id: Option<String>,
}

impl ConsumerGroupMetadata {
    /// Of a group that is only used for its offsets.
    pub fn new(group_id: impl Into<String>) -> ConsumerGroupMetadata {
        ConsumerGroupMetadata { group_id: group_id.into(), generation_id: -1, member_id: String::new(), group_instance_id: None }
    }
}

/// Where to go when there is no position, or it is out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetReset {
    Earliest,
    Latest,
    /// Nowhere: [`Consumer::poll`] fails.
    None,
    /// To the first record no older than this.
    ByDuration(Duration),
}

impl OffsetReset {
    fn parse(text: &str) -> Result<OffsetReset, ConfigError> {
        let by_duration = || {
            let span: jiff::Span = text.strip_prefix("by_duration:")?.parse().ok()?;
            let duration = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok()?;
            Some(OffsetReset::ByDuration(Duration::try_from(duration).ok()?))
        };
        match text {
            "earliest" => Ok(OffsetReset::Earliest),
            "latest" => Ok(OffsetReset::Latest),
            "none" => Ok(OffsetReset::None),
            _ => by_duration().ok_or_else(|| ConfigError::invalid("auto.offset.reset", text, "it is no ISO 8601 duration")),
        }
    }

    /// The timestamp to ask the leader for, -1 and -2 being the ends; `None` where there is nowhere to go.
    fn timestamp(self, clock: &dyn Clock) -> Option<i64> {
        match self {
            OffsetReset::Earliest => Some(-2),
            OffsetReset::Latest => Some(-1),
            OffsetReset::None => None,
            OffsetReset::ByDuration(duration) => {
                let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
                Some(clock.now_ms().saturating_sub(millis).max(0))
            }
        }
    }
}

/// Why a consumer's call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConsumerError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("Undefined offset with no reset policy for partitions: [{}]", List(.0))]
    NoOffsetForPartition(Vec<TopicPartition>),
    #[error("Fetch position {offset} is out of range for partition {partition}, and auto.offset.reset is none")]
    OffsetOutOfRange { partition: TopicPartition, offset: i64 },
    /// The log was cut below the position, and there is no reset policy.
    #[error("the log of {partition} was truncated below the position {offset}{}", End(*.end_offset))]
    LogTruncation { partition: TopicPartition, offset: i64, end_offset: Option<i64> },
    #[error(
        "the record at offset {offset} of {partition} cannot be read: {error}. If needed, please seek past the record to continue consumption."
    )]
    Corrupt { partition: TopicPartition, offset: i64, error: BatchError },
    #[error("{0} is not assigned to this consumer")]
    NotAssigned(TopicPartition),
    #[error("To use the group management or offset commit APIs, you must provide a valid group.id in the consumer configuration.")]
    NoGroup,
    /// The group has given this consumer's partitions to others.
    #[error(
        "Offset commit cannot be completed since the consumer is not part of an active group for auto partition assignment; it is likely \
         that the consumer was kicked out of the group."
    )]
    CommitFailed,
    #[error("not a valid regular expression: {0}")]
    Pattern(String),
    #[error("Operation not supported when using CLASSIC group protocol")]
    ClassicProtocol,
}

impl ConsumerError {
    /// The broker's error code, if it was a broker that refused.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            ConsumerError::Client(error) => error.code(),
            _ => None,
        }
    }
}

impl From<ConfigError> for ConsumerError {
    fn from(error: ConfigError) -> ConsumerError {
        ConsumerError::Client(error.into())
    }
}

struct List<'a>(&'a [TopicPartition]);

impl std::fmt::Display for List<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (number, partition) in self.0.iter().enumerate() {
            write!(f, "{}{partition}", if number == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

struct End(Option<i64>);

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |end| write!(f, ", to {end}"))
    }
}

/// What a rebalance did. The partitions are never none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RebalanceEvent {
    Assigned(Vec<TopicPartition>),
    /// Taken away in good order: their positions could be committed.
    Revoked(Vec<TopicPartition>),
    /// Others may already have them.
    Lost(Vec<TopicPartition>),
}

/// Hears of rebalances, on a background task: it must not block.
pub type RebalanceListener = Box<dyn Fn(&RebalanceEvent) + Send + Sync>;

/// The properties, as values.
struct Settings {
    group_id: Option<String>,
    group_instance_id: Option<String>,
    /// `group.protocol=consumer`: KIP-848's.
    by_consumer_protocol: bool,
    group_remote_assignor: Option<String>,
    client_rack: String,
    auto_offset_reset: OffsetReset,
    auto_create: AutoCreate,
    exclude_internal_topics: bool,
    /// `None`: no automatic commits.
    auto_commit_interval: Option<Duration>,
    reading: Reading,
    fetch_max_bytes: i32,
    fetch_max_wait: Duration,
    fetch_min_bytes: i32,
    max_partition_fetch_bytes: i32,
    max_poll_records: usize,
    max_poll_interval: Duration,
    session_timeout: Duration,
    heartbeat_interval: Duration,
    metadata_max_age: Duration,
    assignors: Vec<Assignor>,
}

impl Settings {
    fn new(config: &ClientConfig) -> Result<Settings, ConsumerError> {
        let given = |key: &str| config.string(key).map(str::to_owned);
        let group_id = given("group.id");
        let auto_commit = config.boolean("enable.auto.commit");
        if group_id.is_none() && auto_commit && config.is_set("enable.auto.commit") {
            let message = "enable.auto.commit cannot be set to true when default group id (null) is used.";
            return Err(ConfigError::rule("enable.auto.commit", message).into());
        }
        if group_id.as_deref() == Some("") {
            return Err(ConfigError::rule("group.id", "The configured group.id should not be an empty string or whitespace.").into());
        }
        let by_consumer_protocol = config.string("group.protocol").is_some_and(|protocol| protocol.eq_ignore_ascii_case("consumer"));
        let mut assignors = Vec::new();
        for name in config.list("partition.assignment.strategy") {
            let assignor = Assignor::parse(name).ok_or_else(|| {
                let known = "the built-in ones are range, roundrobin, sticky and cooperative-sticky";
                ConfigError::invalid("partition.assignment.strategy", name, format!("Class {name} could not be found; {known}"))
            })?;
            if assignors.contains(&assignor) {
                let message = format!("The assignor {} is listed twice", assignor.name());
                return Err(ConfigError::rule("partition.assignment.strategy", message).into());
            }
            assignors.push(assignor);
        }
        if assignors.is_empty() && group_id.is_some() {
            return Err(ConfigError::rule("partition.assignment.strategy", "At least one assignor must be configured").into());
        }
        let (session_timeout, heartbeat_interval) = (config.millis("session.timeout.ms"), config.millis("heartbeat.interval.ms"));
        if !by_consumer_protocol && heartbeat_interval >= session_timeout {
            return Err(ConfigError::rule("heartbeat.interval.ms", "Heartbeat must be set lower than the session timeout").into());
        }
        Ok(Settings {
            auto_commit_interval: (auto_commit && group_id.is_some()).then(|| config.millis("auto.commit.interval.ms")),
            group_id,
            group_instance_id: given("group.instance.id"),
            by_consumer_protocol,
            group_remote_assignor: given("group.remote.assignor"),
            client_rack: given("client.rack").unwrap_or_default(),
            auto_offset_reset: OffsetReset::parse(config.string("auto.offset.reset").unwrap_or("latest"))?,
            auto_create: if config.boolean("allow.auto.create.topics") { AutoCreate::Allowed } else { AutoCreate::Never },
            exclude_internal_topics: config.boolean("exclude.internal.topics"),
            reading: Reading {
                isolation_level: match config.string("isolation.level") {
                    Some("read_committed") => IsolationLevel::ReadCommitted,
                    _ => IsolationLevel::ReadUncommitted,
                },
                check_crcs: config.boolean("check.crcs"),
            },
            fetch_max_bytes: config.int("fetch.max.bytes"),
            fetch_max_wait: config.millis("fetch.max.wait.ms"),
            fetch_min_bytes: config.int("fetch.min.bytes"),
            max_partition_fetch_bytes: config.int("max.partition.fetch.bytes"),
            max_poll_records: config.size("max.poll.records"),
            max_poll_interval: config.millis("max.poll.interval.ms"),
            session_timeout,
            heartbeat_interval,
            metadata_max_age: config.millis("metadata.max.age.ms"),
            assignors,
        })
    }
}

/// What the handle and the tasks share.
struct Shared {
    cluster: Cluster,
    settings: Settings,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Something for callers: records, an error, a position.
    ready: Notify,
    /// Something for the driver: a partition, room, a seek.
    wake: Notify,
    /// Something for the group: a subscription, a poll, a permission, changed topics.
    group_wake: Notify,
    closing: watch::Sender<bool>,
    listener: Mutex<Option<RebalanceListener>>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held, so it is never poisoned with a broken state.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Gives an error to the next poll.
    fn fail(&self, error: ConsumerError) {
        self.state().errors.push_back(error);
        self.ready.notify_waiters();
    }

    fn tell(&self, event: RebalanceEvent) {
        let (RebalanceEvent::Assigned(partitions) | RebalanceEvent::Revoked(partitions) | RebalanceEvent::Lost(partitions)) = &event;
        if partitions.is_empty() {
            return;
        }
        tracing::info!(?event, "rebalanced");
        if let Ok(listener) = self.listener.lock()
            && let Some(listener) = listener.as_ref()
        {
            listener(&event);
        }
    }

    /// The names of the topics that are subscribed to; `None` when nothing is.
    fn subscribed_topics(&self) -> Option<BTreeSet<String>> {
        match &self.state().subscription {
            Subscription::Topics(topics) => Some(topics.clone()),
            Subscription::Pattern(pattern) => {
                let metadata = self.cluster.metadata();
                let internal = |is_internal| is_internal && self.settings.exclude_internal_topics;
                let matching = metadata.topics.values().filter(|topic| pattern.is_match(&topic.name) && !internal(topic.is_internal));
                Some(matching.map(|topic| topic.name.clone()).collect())
            }
            Subscription::None | Subscription::ServerPattern(_) | Subscription::Manual => None,
        }
    }

    /// Has no poll come for longer than `max.poll.interval.ms`?
    fn is_idle(&self) -> bool {
        let state = self.state();
        state.polls == 0 && state.last_poll.is_some_and(|at| at.elapsed() > self.settings.max_poll_interval)
    }

    /// Takes this consumer out of its generation and gives up the partitions it had.
    fn lose_partitions(&self) -> Vec<TopicPartition> {
        let mut state = self.state();
        state.member.generation = -1;
        state.permission = state::Permission::NotNeeded;
        let lost: Vec<_> = state.assigned().keys().cloned().collect();
        if state.subscription.is_by_group() {
            state.assign([]);
        }
        lost
    }

    async fn closed(&self) {
        let _ = self.closing.subscribe().wait_for(|closing| *closing).await;
    }
}

/// Counts a poll while it is under way, also one that is dropped.
struct Polling<'a>(&'a Shared);

impl<'a> Polling<'a> {
    fn start(shared: &'a Shared) -> Polling<'a> {
        let mut state = shared.state();
        state.polls += 1;
        state.last_poll = Some(Instant::now());
        state.grant();
        drop(state);
        shared.group_wake.notify_one();
        Polling(shared)
    }
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.polls -= 1;
        state.last_poll = Some(Instant::now());
    }
}

/// A consumer. Dropping it ends its tasks without waiting; [`Consumer::close`] commits and leaves the group first.
pub struct Consumer {
    shared: Arc<Shared>,
    admin: Admin,
    tasks: tokio::sync::Mutex<Vec<tokio::task::JoinHandle<()>>>,
}

impl Consumer {
    /// Connects as [`Cluster::connect`] does. Errors: the properties', or that no bootstrap server answers.
    pub async fn new(config: &ClientConfig) -> Result<Consumer, ConsumerError> {
        let settings = Settings::new(config)?;
        let client_id = match &settings.group_id {
            Some(group) => format!("consumer-{group}-1"),
            None => "consumer-null-1".to_owned(),
        };
        let cluster = Cluster::connect(config, &client_id).await?;
        let shared = Arc::new(Shared {
            cluster: cluster.clone(),
            settings,
            clock: SystemClock::shared(),
            state: Mutex::default(),
            ready: Notify::new(),
            wake: Notify::new(),
            group_wake: Notify::new(),
            closing: watch::Sender::new(false),
            listener: Mutex::default(),
        });
        let driver = tokio::spawn(driver::run(Arc::clone(&shared)));
        let group = shared.settings.group_id.as_ref().map(|_| match shared.settings.by_consumer_protocol {
            true => tokio::spawn(membership::run(Arc::clone(&shared))),
            false => tokio::spawn(group::run(Arc::clone(&shared))),
        });
        Ok(Consumer { shared, admin: Admin::new(cluster), tasks: tokio::sync::Mutex::new(group.into_iter().chain([driver]).collect()) })
    }

    /// The cluster, for requests that have no call of their own here.
    pub fn cluster(&self) -> &Cluster {
        &self.shared.cluster
    }

    /// Names who hears of rebalances from now on.
    pub fn set_rebalance_listener(&self, listener: RebalanceListener) {
        if let Ok(mut place) = self.shared.listener.lock() {
            *place = Some(listener);
        }
    }

    /// Reads topics as a member of the group, in place of what was subscribed or assigned before. None: as [`Consumer::unsubscribe`].
    pub fn subscribe<S: Into<String>>(&self, topics: impl IntoIterator<Item = S>) -> Result<(), ConsumerError> {
        let topics: BTreeSet<String> = topics.into_iter().map(Into::into).collect();
        if topics.is_empty() {
            self.unsubscribe();
            return Ok(());
        }
        self.subscribe_to(Subscription::Topics(topics))
    }

    /// Reads all topics whose whole name matches a regular expression, also those to come.
    pub fn subscribe_pattern(&self, pattern: &str) -> Result<(), ConsumerError> {
        let pattern = regex::Regex::new(&format!("^(?:{pattern})$")).map_err(|error| ConsumerError::Pattern(error.to_string()))?;
        self.subscribe_to(Subscription::Pattern(pattern))
    }

    /// Reads all topics that match a regular expression of RE2's syntax, which the group's coordinator resolves: `group.protocol=consumer`.
    pub fn subscribe_server_pattern(&self, pattern: &str) -> Result<(), ConsumerError> {
        if !self.shared.settings.by_consumer_protocol {
            return Err(ConsumerError::ClassicProtocol);
        }
        self.subscribe_to(Subscription::ServerPattern(pattern.to_owned()))
    }

    fn subscribe_to(&self, subscription: Subscription) -> Result<(), ConsumerError> {
        if self.shared.settings.group_id.is_none() {
            return Err(ConsumerError::NoGroup);
        }
        let mut state = self.shared.state();
        if matches!(state.subscription, Subscription::Manual) {
            state.assign([]);
        }
        state.subscription = subscription;
        drop(state);
        self.shared.group_wake.notify_one();
        self.shared.wake.notify_one();
        Ok(())
    }

    /// Reads nothing any more and leaves the group.
    pub fn unsubscribe(&self) {
        let mut state = self.shared.state();
        state.subscription = Subscription::None;
        state.assign([]);
        drop(state);
        self.shared.group_wake.notify_one();
    }

    /// Reads exactly these partitions, without a group's help, in place of what was subscribed or assigned before.
    pub fn assign(&self, partitions: impl IntoIterator<Item = TopicPartition>) {
        let mut state = self.shared.state();
        if state.subscription.is_by_group() {
            state.assign([]);
        }
        state.subscription = Subscription::Manual;
        state.assign(partitions);
        drop(state);
        self.shared.group_wake.notify_one();
        self.shared.wake.notify_one();
    }

    /// The partitions that are read now.
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.shared.state().assigned().keys().cloned().collect()
    }

    /// The member id and generation (by KIP-848: epoch), while in a group.
    pub fn group_member(&self) -> Option<(String, i32)> {
        let state = self.shared.state();
        (state.member.generation >= 0 && !state.member.id.is_empty()).then(|| (state.member.id.clone(), state.member.generation))
    }

    /// What a transactional producer needs to commit this consumer's offsets. Errors: there is no group.
    pub fn group_metadata(&self) -> Result<ConsumerGroupMetadata, ConsumerError> {
        let group_id = self.shared.settings.group_id.clone().ok_or(ConsumerError::NoGroup)?;
        let member = self.shared.state().member.clone();
        Ok(ConsumerGroupMetadata {
            group_id,
            generation_id: member.generation,
            member_id: member.id,
            group_instance_id: self.shared.settings.group_instance_id.clone(),
        })
    }

    /// The next records, at most `max.poll.records`, in each partition in order; none when `timeout` is over first. The positions are then
    /// behind them. Errors that concern a partition's data come back here; the call may be repeated after any of them.
    pub async fn poll(&self, timeout: Duration) -> Result<Vec<ConsumerRecord>, ConsumerError> {
        self.poll_with(timeout, |state, max| state.take(max), Vec::is_empty).await
    }

    /// As [`Consumer::poll`], but the records are lent instead of handed out, which costs no allocation, and in whole batches: until there
    /// are at least `max.poll.records` of them. Gives how many. `visit` must be quick and must not call this consumer; records of which it
    /// has seen a part when the batch turns out to be corrupt are followed by an error, now or at the next poll.
    pub async fn poll_visit(&self, timeout: Duration, mut visit: impl FnMut(&LentRecord<'_>)) -> Result<usize, ConsumerError> {
        self.poll_with(timeout, |state, max| state.visit(max, &mut visit), |count| *count == 0).await
    }

    /// Waits until `take` takes something.
    async fn poll_with<T: Default>(
        &self,
        timeout: Duration,
        mut take: impl FnMut(&mut State, usize) -> Result<T, ConsumerError>,
        is_nothing: impl Fn(&T) -> bool,
    ) -> Result<T, ConsumerError> {
        let deadline = Instant::now().checked_add(timeout);
        self.auto_commit_if_due();
        let _polling = Polling::start(&self.shared);
        loop {
            let mut ready = std::pin::pin!(self.shared.ready.notified());
            ready.as_mut().enable();
            {
                let mut state = self.shared.state();
                if let Some(error) = state.errors.pop_front() {
                    return Err(error);
                }
                let records = take(&mut state, self.shared.settings.max_poll_records)?;
                if !is_nothing(&records) {
                    drop(state);
                    self.shared.wake.notify_one();
                    return Ok(records);
                }
            }
            // Taking may have used up answers that held no record.
            self.shared.wake.notify_one();
            match deadline {
                Some(deadline) => tokio::select! {
                    biased;
                    () = &mut ready => {}
                    () = tokio::time::sleep_until(deadline) => return Ok(T::default()),
                },
                None => ready.await,
            }
            self.auto_commit_if_due();
        }
    }

    fn auto_commit_if_due(&self) {
        let Some(interval) = self.shared.settings.auto_commit_interval else { return };
        let positions = {
            let mut state = self.shared.state();
            let now = Instant::now();
            let due = *state.next_auto_commit.get_or_insert(now + interval);
            if due > now || (state.subscription.is_by_group() && state.member.generation < 0) {
                return;
            }
            state.next_auto_commit = Some(now + interval);
            state.positions()
        };
        if !positions.is_empty() {
            let shared = Arc::clone(&self.shared);
            tokio::spawn(async move {
                if let Err(error) = offsets::commit(&shared, &positions, shared.cluster.request_timeout()).await {
                    tracing::warn!(%error, "the automatic commit failed");
                }
            });
        }
    }

    fn with_partition(&self, partition: &TopicPartition, change: impl FnOnce(&mut State) -> bool) -> Result<(), ConsumerError> {
        let found = change(&mut self.shared.state());
        self.shared.wake.notify_one();
        if found { Ok(()) } else { Err(ConsumerError::NotAssigned(partition.clone())) }
    }

    /// Goes on at `offset`.
    pub fn seek(&self, partition: &TopicPartition, offset: impl Into<OffsetAndMetadata>) -> Result<(), ConsumerError> {
        let OffsetAndMetadata { offset, leader_epoch, .. } = offset.into();
        self.with_partition(partition, |state| state.seek(partition, offset, leader_epoch))
    }

    /// Goes on at the first offset there is; of no partitions, with all that are assigned.
    pub fn seek_to_beginning(&self, partitions: &[TopicPartition]) -> Result<(), ConsumerError> {
        self.seek_to(partitions, OffsetReset::Earliest)
    }

    /// Goes on behind the last record; of no partitions, with all that are assigned.
    pub fn seek_to_end(&self, partitions: &[TopicPartition]) -> Result<(), ConsumerError> {
        self.seek_to(partitions, OffsetReset::Latest)
    }

    fn seek_to(&self, partitions: &[TopicPartition], to: OffsetReset) -> Result<(), ConsumerError> {
        let all = if partitions.is_empty() { self.assignment() } else { partitions.to_vec() };
        all.iter().try_for_each(|partition| self.with_partition(partition, |state| state.reset(partition, to)))
    }

    /// Keeps the partitions but hands out nothing of them.
    pub fn pause(&self, partitions: &[TopicPartition]) -> Result<(), ConsumerError> {
        self.set_paused(partitions, true)
    }

    /// Ends [`Consumer::pause`].
    pub fn resume(&self, partitions: &[TopicPartition]) -> Result<(), ConsumerError> {
        self.set_paused(partitions, false)
    }

    fn set_paused(&self, partitions: &[TopicPartition], paused: bool) -> Result<(), ConsumerError> {
        for partition in partitions {
            self.with_partition(partition, |state| state.partition_mut(partition).map(|assigned| assigned.paused = paused).is_some())?;
        }
        self.shared.ready.notify_waiters();
        Ok(())
    }

    /// The partitions that are paused.
    pub fn paused(&self) -> Vec<TopicPartition> {
        let state = self.shared.state();
        state.assigned().iter().filter(|(_, assigned)| assigned.paused).map(|(partition, _)| partition.clone()).collect()
    }

    /// The offset of the next record, waited for as long as `default.api.timeout.ms` when it has to be found first.
    pub async fn position(&self, partition: &TopicPartition) -> Result<i64, ConsumerError> {
        let limit = self.shared.cluster.call_timeout();
        let found = tokio::time::timeout(limit, async {
            loop {
                let mut ready = std::pin::pin!(self.shared.ready.notified());
                ready.as_mut().enable();
                {
                    let mut state = self.shared.state();
                    let assigned = state.assigned().get(partition).ok_or_else(|| ConsumerError::NotAssigned(partition.clone()))?;
                    if let Some(position) = assigned.position() {
                        return Ok(position.offset);
                    }
                    if let Some(error) = state.errors.pop_front() {
                        return Err(error);
                    }
                }
                ready.await;
            }
        });
        let timed_out = || ClientError::TimedOut { call: "position", timeout: limit, last: None };
        found.await.unwrap_or_else(|_| Err(timed_out().into()))
    }

    /// How many records there were after the position when the partition was last fetched.
    pub fn current_lag(&self, partition: &TopicPartition) -> Option<i64> {
        let state = self.shared.state();
        let assigned = state.assigned().get(partition)?;
        Some((assigned.high_watermark? - assigned.position()?.offset).max(0))
    }

    /// The offsets the group has committed; partitions without one are absent.
    pub async fn committed(&self, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, OffsetAndMetadata>, ConsumerError> {
        offsets::committed(&self.shared, partitions).await
    }

    /// Commits the positions, and retries until `default.api.timeout.ms` is over.
    pub async fn commit_sync(&self) -> Result<(), ConsumerError> {
        let positions = self.shared.state().positions();
        self.commit_sync_offsets(&positions).await
    }

    /// As [`Consumer::commit_sync`], of chosen offsets.
    pub async fn commit_sync_offsets(&self, offsets: &BTreeMap<TopicPartition, OffsetAndMetadata>) -> Result<(), ConsumerError> {
        offsets::commit(&self.shared, offsets, self.shared.cluster.call_timeout()).await
    }

    /// Starts to commit the positions as they are now. The outcome may be waited for or not.
    pub fn commit_async(&self) -> tokio::task::JoinHandle<Result<(), ConsumerError>> {
        let positions = self.shared.state().positions();
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let outcome = offsets::commit(&shared, &positions, shared.cluster.request_timeout()).await;
            if let Err(error) = &outcome {
                tracing::warn!(%error, "a commit failed");
            }
            outcome
        })
    }

    /// The offset of each partition's first record with the timestamp (ms) or a later one; -1 when there is none.
    pub async fn offsets_for_times(&self, times: &BTreeMap<TopicPartition, i64>) -> Results<TopicPartition, ListedOffset> {
        let specs = times.iter().map(|(partition, time)| (partition.clone(), OffsetSpec::Timestamp(*time))).collect();
        self.admin.list_offsets(&specs, self.shared.settings.reading.isolation_level).await
    }

    /// The first offsets there are.
    pub async fn beginning_offsets(&self, partitions: &[TopicPartition]) -> Results<TopicPartition, ListedOffset> {
        self.list_offsets(partitions, OffsetSpec::Earliest).await
    }

    /// The offsets behind the last records; with `isolation.level=read_committed`, the last stable offsets.
    pub async fn end_offsets(&self, partitions: &[TopicPartition]) -> Results<TopicPartition, ListedOffset> {
        self.list_offsets(partitions, OffsetSpec::Latest).await
    }

    async fn list_offsets(&self, partitions: &[TopicPartition], spec: OffsetSpec) -> Results<TopicPartition, ListedOffset> {
        let specs = partitions.iter().map(|partition| (partition.clone(), spec)).collect();
        self.admin.list_offsets(&specs, self.shared.settings.reading.isolation_level).await
    }

    /// A topic's partitions; creates the topic if `allow.auto.create.topics` and the broker let it.
    pub async fn partitions_for(&self, topic: &str) -> Result<Arc<TopicMetadata>, ConsumerError> {
        Ok(self.shared.cluster.topic(topic, self.shared.settings.auto_create).await?)
    }

    /// The names of all topics.
    pub async fn list_topics(&self) -> Result<Vec<String>, ConsumerError> {
        let response = self.shared.cluster.refresh(Topics::All, AutoCreate::Never).await?;
        Ok(response.topics.into_iter().filter_map(|topic| topic.name).collect())
    }

    /// Commits the positions if commits are automatic, leaves the group unless it is a static member, and closes all connections.
    /// Takes no longer than `timeout`; an error is that of the commit. Further calls do nothing.
    pub async fn close(&self, timeout: Duration) -> Result<(), ConsumerError> {
        let deadline = Instant::now() + timeout;
        let mut tasks = self.tasks.lock().await;
        if *self.shared.closing.borrow() {
            return Ok(());
        }
        let mut outcome = Ok(());
        let (positions, active) = {
            let state = self.shared.state();
            (state.positions(), !state.subscription.is_by_group() || state.member.generation >= 0)
        };
        if self.shared.settings.auto_commit_interval.is_some() && active && !positions.is_empty() {
            outcome = offsets::commit(&self.shared, &positions, timeout).await;
        }
        self.shared.closing.send_replace(true);
        for task in tasks.drain(..) {
            let _ = tokio::time::timeout_at(deadline, task).await;
        }
        self.shared.cluster.close();
        outcome
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.shared.closing.send_replace(true);
    }
}
