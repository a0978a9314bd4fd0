//! The task that finds positions and fetches ahead.
//!
//! It looks at the assigned partitions whenever something changed, and starts what each of them needs: metadata, the committed offset, a
//! reset, a validation, or a fetch together with the others of its leader.
//!
//! Invariants: one fetch at a time for each broker; no partition is fetched while [`MAX_WAITING`] answers of it wait, nor any other of its
//! leader then, because that fetch could be held back by the broker for partitions that have nothing new.
//! Source: `Fetcher`, `OffsetsRequestManager`, `AbstractFetch`; KIP-227, KIP-320, KIP-516 (topic ids), KIP-951.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::fetch_session::{Answered, FetchSession, Wanted};
use super::fetched::Fetched;
use super::state::{MAX_WAITING, Need, Subscription};
use super::{ConsumerError, OffsetAndMetadata, OffsetReset, Shared, offsets};
use crate::client::admin::IsolationLevel;
use crate::client::cluster::{AutoCreate, Topics};
use crate::client::error::ClientError;
use crate::client::metadata::Broker;
use crate::client::pool::Use;
use crate::client::retry::{Recovery, recovery};
use crate::common::topic_partition::{TopicPartition, by_topic};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::fetch_response::PartitionData;
use crate::protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use crate::protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use crate::protocol::messages::{
    FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, MetadataResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
};

/// The last version of Fetch that names topics by their names.
const LAST_BY_NAME: i16 = 12;
/// The first version of OffsetForLeaderEpoch that consumers may use.
const FIRST_EPOCH_VERSION: i16 = 3;

/// A partition as it was when a request about it was made.
#[derive(Clone, Debug)]
struct Asked {
    partition: TopicPartition,
    serial: u64,
    offset: i64,
    offset_epoch: Option<i32>,
    leader_epoch: i32,
}

/// What came of a job.
enum Outcome {
    Metadata { names: Option<BTreeSet<String>>, result: Result<MetadataResponse, ClientError> },
    Committed { asked: Vec<Asked>, result: Result<BTreeMap<TopicPartition, OffsetAndMetadata>, ClientError> },
    Reset { asked: Vec<Asked>, result: Result<ListOffsetsResponse, ClientError> },
    Validated { asked: Vec<Asked>, result: Result<Option<OffsetForLeaderEpochResponse>, ClientError> },
    Fetched { broker: i32, asked: Vec<Asked>, session: FetchSession, result: Result<FetchResponse, ClientError> },
}

struct Driver {
    shared: Arc<Shared>,
    jobs: JoinSet<Outcome>,
    fetching: HashSet<i32>,
    /// By broker, of those that are not being fetched from.
    sessions: HashMap<i32, FetchSession>,
    metadata_asked: bool,
    metadata_retry_at: Option<Instant>,
    metadata_failures: u32,
    /// When the topics of a subscription were last asked for, and which.
    subscribed_at: Option<Instant>,
    subscribed: Option<BTreeSet<String>>,
}

/// Works until the consumer is closed.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut driver = Driver {
        shared: Arc::clone(&shared),
        jobs: JoinSet::new(),
        fetching: HashSet::new(),
        sessions: HashMap::new(),
        metadata_asked: false,
        metadata_retry_at: None,
        metadata_failures: 0,
        subscribed_at: None,
        subscribed: None,
    };
    loop {
        let next = driver.start_jobs();
        tokio::select! {
            biased;
            () = shared.closed() => break,
            Some(done) = driver.jobs.join_next(), if !driver.jobs.is_empty() => {
                if let Ok(outcome) = done {
                    driver.finish(outcome);
                }
            }
            () = shared.wake.notified() => {}
            () = tokio::time::sleep_until(next) => {}
        }
    }
    driver.end_sessions().await;
}

/// How long brokers get to hear that sessions have ended; they find out by themselves too.
const FAREWELL: Duration = Duration::from_millis(100);

impl Driver {
    async fn end_sessions(&mut self) {
        let mut farewells = JoinSet::new();
        for (broker, session) in self.sessions.drain() {
            let Some(request) = session.farewell() else { continue };
            let shared = Arc::clone(&self.shared);
            farewells.spawn(async move {
                if let Ok(connection) = shared.cluster.connection(broker, Use::Fetch).await {
                    drop(connection.send(&request).await);
                }
            });
        }
        let all = async { while farewells.join_next().await.is_some() {} };
        drop(tokio::time::timeout(FAREWELL, all).await);
    }

    fn pause(&self, failures: u32) -> Duration {
        self.shared.cluster.backoff().pause(failures)
    }

    /// Starts all that can be started; gives the time by which to look again.
    fn start_jobs(&mut self) -> Instant {
        let now = Instant::now();
        let mut next = now + self.shared.settings.metadata_max_age.max(Duration::from_millis(100)).min(Duration::from_secs(60));
        let shared = Arc::clone(&self.shared);
        let metadata = shared.cluster.metadata();
        let mut unknown: BTreeSet<String> = BTreeSet::new();
        let mut committed = Vec::new();
        let mut resets: BTreeMap<i32, (Vec<Asked>, Vec<i64>)> = BTreeMap::new();
        let mut validations: BTreeMap<i32, Vec<Asked>> = BTreeMap::new();
        let mut fetches: BTreeMap<i32, Vec<Asked>> = BTreeMap::new();
        let mut full: HashSet<i32> = HashSet::new();
        let mut without_offset = Vec::new();
        let mut state = shared.state();
        let subscription = state.subscription.clone();
        for (partition, assigned) in state.assigned_mut() {
            let stale = metadata.topic(&partition.topic).is_none_or(|topic| topic.fetched.elapsed() >= shared.settings.metadata_max_age);
            let leader = metadata.leader(partition);
            if stale || leader.is_none() {
                unknown.insert(partition.topic.clone());
            }
            if let Some(at) = assigned.retry_at
                && at > now
            {
                next = next.min(at);
            }
            if !assigned.is_due(now) {
                continue;
            }
            let asked = |assigned: &super::state::Assigned, leader_epoch| Asked {
                partition: partition.clone(),
                serial: assigned.serial,
                offset: assigned.fetch_offset,
                offset_epoch: assigned.offset_epoch,
                leader_epoch,
            };
            if assigned.need == Need::Committed {
                if shared.settings.group_id.is_some() {
                    committed.push(asked(assigned, -1));
                    assigned.asked = true;
                    continue;
                }
                assigned.need = Need::Reset(shared.settings.auto_offset_reset);
            }
            if let Need::Reset(OffsetReset::None) = assigned.need {
                without_offset.push(partition.clone());
                // Told once; another seek or assignment brings it back.
                assigned.asked = true;
                continue;
            }
            let Some((leader, epoch)) = leader else { continue };
            match assigned.need {
                Need::Reset(to) => {
                    if let Some(timestamp) = to.timestamp(&*shared.clock) {
                        let (all, timestamps) = resets.entry(leader).or_default();
                        all.push(asked(assigned, epoch));
                        timestamps.push(timestamp);
                        assigned.asked = true;
                    }
                }
                Need::Nothing | Need::Validation => {
                    let unchecked = assigned.offset_epoch.is_some() && epoch >= 0 && assigned.checked_epoch != Some(epoch);
                    // Only what has been handed out can be compared by its epoch; what waits is dropped and fetched again.
                    if unchecked && assigned.waiting == 0 {
                        assigned.need = Need::Validation;
                        validations.entry(leader).or_default().push(asked(assigned, epoch));
                        assigned.asked = true;
                    } else if assigned.paused || unchecked {
                        // Nothing to ask for until it is resumed, or what waits has been handed out.
                    } else if assigned.waiting >= MAX_WAITING {
                        full.insert(leader);
                    } else {
                        fetches.entry(leader).or_default().push(asked(assigned, epoch));
                    }
                }
                Need::Committed => {}
            }
        }
        drop(state);
        if !without_offset.is_empty() {
            shared.fail(ConsumerError::NoOffsetForPartition(without_offset));
        }
        next = next.min(self.ask_metadata(&subscription, unknown, now));
        if !committed.is_empty() {
            let shared = Arc::clone(&shared);
            self.jobs.spawn(async move {
                let group = shared.settings.group_id.clone().unwrap_or_default();
                let partitions: Vec<_> = committed.iter().map(|asked| asked.partition.clone()).collect();
                let result = offsets::committed_once(&shared, &group, &partitions).await;
                Outcome::Committed { asked: committed, result }
            });
        }
        for (leader, (asked, timestamps)) in resets {
            let shared = Arc::clone(&shared);
            self.jobs.spawn(async move {
                let result = list_offsets(&shared, leader, &asked, &timestamps).await;
                Outcome::Reset { asked, result }
            });
        }
        for (leader, asked) in validations {
            let shared = Arc::clone(&shared);
            self.jobs.spawn(async move {
                let result = ask_epochs(&shared, leader, &asked).await;
                Outcome::Validated { asked, result }
            });
        }
        for (broker, asked) in fetches {
            if full.contains(&broker) || !self.fetching.insert(broker) {
                continue;
            }
            let shared = Arc::clone(&shared);
            let mut session = self.sessions.remove(&broker).unwrap_or_default();
            self.jobs.spawn(async move {
                let result = fetch(&shared, broker, &asked, &mut session).await;
                Outcome::Fetched { broker, asked, session, result }
            });
        }
        next
    }

    /// Asks for the metadata of assigned partitions without a known leader, of a subscription's topics, and of what is too old.
    fn ask_metadata(&mut self, subscription: &Subscription, mut wanted: BTreeSet<String>, now: Instant) -> Instant {
        let max_age = self.shared.settings.metadata_max_age;
        let subscribed = match subscription {
            Subscription::Topics(topics) => Some(Some(topics.clone())),
            // All topics.
            Subscription::Pattern(_) => Some(None),
            Subscription::None | Subscription::ServerPattern(_) | Subscription::Manual => None,
        };
        let mut all = false;
        if let Some(subscribed) = subscribed {
            let old = self.subscribed_at.is_none_or(|at| now >= at + max_age) || self.subscribed != subscribed;
            match subscribed {
                Some(topics) if old => wanted.extend(topics),
                Some(topics) => wanted.extend(topics.into_iter().filter(|topic| self.shared.cluster.metadata().topic(topic).is_none())),
                None => all = old,
            }
        }
        let later = self.subscribed_at.map_or(now + max_age, |at| at + max_age).max(now + Duration::from_millis(50));
        if self.metadata_asked || (wanted.is_empty() && !all) {
            return later;
        }
        if let Some(at) = self.metadata_retry_at
            && at > now
        {
            return at;
        }
        self.metadata_asked = true;
        let shared = Arc::clone(&self.shared);
        self.jobs.spawn(async move {
            let names: Vec<String> = wanted.iter().cloned().collect();
            let topics = if all { Topics::All } else { Topics::Named(&names) };
            let auto_create = if all { AutoCreate::Never } else { shared.settings.auto_create };
            let result = shared.cluster.refresh(topics, auto_create).await;
            Outcome::Metadata { names: (!all).then_some(wanted), result }
        });
        later
    }

    fn finish(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Metadata { names, result } => self.finish_metadata(names, result),
            Outcome::Committed { asked, result } => self.finish_committed(asked, result),
            Outcome::Reset { asked, result } => self.finish_reset(asked, result),
            Outcome::Validated { asked, result } => self.finish_validation(asked, result),
            Outcome::Fetched { broker, asked, mut session, result } => {
                self.fetching.remove(&broker);
                self.finish_fetch(asked, &mut session, result);
                self.sessions.insert(broker, session);
            }
        }
    }

    fn finish_metadata(&mut self, names: Option<BTreeSet<String>>, result: Result<MetadataResponse, ClientError>) {
        self.metadata_asked = false;
        let mut failed = None;
        match result {
            Err(error) => {
                if !error.recovery().is_retriable() {
                    self.shared.fail(error.clone().into());
                }
                failed = Some(error);
            }
            Ok(response) => {
                for topic in &response.topics {
                    let Some(name) = &topic.name else { continue };
                    let code = ErrorCode::from_code(topic.error_code);
                    if code.is_error() {
                        tracing::warn!("Error while fetching metadata: {{{name}={}}}", code.name());
                        let error = ClientError::from(code);
                        if !error.recovery().is_retriable() && names.is_some() {
                            self.shared.fail(error.clone().into());
                        }
                        failed = Some(error);
                    } else if topic.partitions.iter().any(|partition| partition.leader_id < 0) {
                        failed = Some(ErrorCode::LeaderNotAvailable.into());
                    }
                }
                let subscription = self.shared.state().subscription.clone();
                self.subscribed = match subscription {
                    Subscription::Topics(topics) if names.as_ref().is_some_and(|names| names.is_superset(&topics)) => {
                        self.subscribed_at = Some(Instant::now());
                        Some(topics)
                    }
                    Subscription::Pattern(_) if names.is_none() => {
                        self.subscribed_at = Some(Instant::now());
                        None
                    }
                    _ => self.subscribed.take(),
                };
            }
        }
        // Nobody gains by asking more often than this, even when it went well: what is missing was missing just now.
        let pause = self.pause(if failed.is_some() { self.metadata_failures } else { 0 });
        self.metadata_failures = if failed.is_some() { self.metadata_failures.saturating_add(1) } else { 0 };
        self.metadata_retry_at = Some(Instant::now() + pause);
        self.shared.group_wake.notify_one();
    }

    fn finish_committed(&mut self, asked: Vec<Asked>, result: Result<BTreeMap<TopicPartition, OffsetAndMetadata>, ClientError>) {
        if let Err(error) = &result {
            self.recover(error, None);
        }
        let shared = Arc::clone(&self.shared);
        let mut failure = None;
        let mut state = shared.state();
        for asked in asked {
            let Some(assigned) = state.current(&asked.partition, asked.serial) else { continue };
            assigned.asked = false;
            match &result {
                Ok(found) => {
                    assigned.succeeded();
                    match found.get(&asked.partition) {
                        Some(offset) => {
                            assigned.need = Need::Nothing;
                            assigned.offset = offset.offset;
                            assigned.fetch_offset = offset.offset;
                            assigned.offset_epoch = offset.leader_epoch;
                        }
                        None => assigned.need = Need::Reset(shared.settings.auto_offset_reset),
                    }
                }
                Err(error) => {
                    let pause = shared.cluster.backoff().pause(assigned.failures);
                    assigned.back_off(pause);
                    if !error.recovery().is_retriable() {
                        failure = Some(error.clone());
                    }
                }
            }
        }
        drop(state);
        if let Some(error) = failure {
            shared.fail(error.into());
        }
        shared.ready.notify_waiters();
    }

    /// Forgets what an error says is wrong.
    fn recover(&self, error: &ClientError, topic: Option<&str>) {
        match error.recovery() {
            Recovery::RefreshMetadata => {
                if let Some(topic) = topic {
                    self.shared.cluster.forget_topic(topic);
                } else if let Some(group) = &self.shared.settings.group_id {
                    self.shared.cluster.forget_coordinator(crate::client::cluster::CoordinatorKind::Group, group);
                }
            }
            Recovery::FindCoordinator => {
                if let Some(group) = &self.shared.settings.group_id {
                    self.shared.cluster.forget_coordinator(crate::client::cluster::CoordinatorKind::Group, group);
                }
            }
            Recovery::Retry | Recovery::Fatal => {}
        }
    }

    fn finish_reset(&mut self, asked: Vec<Asked>, result: Result<ListOffsetsResponse, ClientError>) {
        let shared = Arc::clone(&self.shared);
        let mut listed = BTreeMap::new();
        let error = match result {
            Ok(response) => {
                for topic in response.topics {
                    for it in topic.partitions {
                        listed.insert(TopicPartition::new(topic.name.clone(), it.partition_index), (it.error_code, it.offset));
                    }
                }
                None
            }
            Err(error) => Some(error),
        };
        let mut failure = None;
        let mut forget = BTreeSet::new();
        let mut state = shared.state();
        for asked in asked {
            let Some(assigned) = state.current(&asked.partition, asked.serial) else { continue };
            assigned.asked = false;
            let error = match (&error, listed.remove(&asked.partition)) {
                (Some(error), _) => error.clone(),
                (None, None) => ErrorCode::UnknownServerError.into(),
                // No record is that young: then behind the last.
                (None, Some((0, ..0))) => {
                    state.reset(&asked.partition, OffsetReset::Latest);
                    continue;
                }
                (None, Some((0, offset))) => {
                    assigned.succeeded();
                    assigned.need = Need::Nothing;
                    assigned.offset = offset;
                    assigned.fetch_offset = offset;
                    assigned.offset_epoch = None;
                    tracing::info!(partition = %asked.partition, offset, "the position was reset");
                    continue;
                }
                (None, Some((code, _))) => ErrorCode::from_code(code).into(),
            };
            assigned.back_off(shared.cluster.backoff().pause(assigned.failures));
            match error.recovery() {
                Recovery::RefreshMetadata => {
                    forget.insert(asked.partition.topic.clone());
                }
                Recovery::Fatal if !error.is(ErrorCode::UnknownServerError) => failure = Some(error),
                Recovery::Fatal | Recovery::Retry | Recovery::FindCoordinator => {}
            }
        }
        drop(state);
        for topic in forget {
            shared.cluster.forget_topic(&topic);
        }
        if let Some(error) = failure {
            shared.fail(error.into());
        }
        shared.ready.notify_waiters();
    }

    fn finish_validation(&mut self, asked: Vec<Asked>, result: Result<Option<OffsetForLeaderEpochResponse>, ClientError>) {
        let shared = Arc::clone(&self.shared);
        let mut ends = BTreeMap::new();
        let mut failure = None;
        let error = match result {
            // The leader is too old to tell: nothing can be compared.
            Ok(None) => None,
            Ok(Some(response)) => {
                for topic in response.topics {
                    for end in topic.partitions {
                        ends.insert(TopicPartition::new(topic.topic.clone(), end.partition), end);
                    }
                }
                None
            }
            Err(error) => Some(error),
        };
        let comparable = !ends.is_empty();
        let mut forget = BTreeSet::new();
        let mut state = shared.state();
        for asked in asked {
            let Some(assigned) = state.current(&asked.partition, asked.serial) else { continue };
            assigned.asked = false;
            if let Some(error) = &error {
                if error.recovery() == Recovery::RefreshMetadata {
                    forget.insert(asked.partition.topic.clone());
                }
                assigned.back_off(shared.cluster.backoff().pause(assigned.failures));
                continue;
            }
            if !comparable {
                assigned.checked_epoch = Some(asked.leader_epoch);
                assigned.need = Need::Nothing;
                continue;
            }
            let Some(end) = ends.get(&asked.partition) else {
                assigned.back_off(shared.cluster.backoff().pause(assigned.failures));
                continue;
            };
            let code = ErrorCode::from_code(end.error_code);
            if code.is_error() {
                if recovery(code) == Recovery::RefreshMetadata {
                    forget.insert(asked.partition.topic.clone());
                }
                if !recovery(code).is_retriable() {
                    failure = Some(ConsumerError::Client(code.into()));
                }
                assigned.back_off(shared.cluster.backoff().pause(assigned.failures));
                continue;
            }
            let undefined = end.end_offset < 0 || end.leader_epoch < 0;
            if !undefined && end.end_offset >= asked.offset {
                assigned.succeeded();
                assigned.checked_epoch = Some(asked.leader_epoch);
                assigned.need = Need::Nothing;
                continue;
            }
            tracing::warn!(partition = %asked.partition, offset = asked.offset, end_offset = end.end_offset, "the log was truncated");
            let end_offset = (!undefined).then_some(end.end_offset);
            if shared.settings.auto_offset_reset == OffsetReset::None {
                failure = Some(ConsumerError::LogTruncation { partition: asked.partition.clone(), offset: asked.offset, end_offset });
                assigned.back_off(shared.cluster.backoff().pause(assigned.failures));
            } else if undefined {
                state.reset(&asked.partition, shared.settings.auto_offset_reset);
            } else {
                state.seek(&asked.partition, end.end_offset, Some(end.leader_epoch));
            }
        }
        drop(state);
        for topic in forget {
            shared.cluster.forget_topic(&topic);
        }
        if let Some(error) = failure {
            shared.fail(error);
        }
        shared.ready.notify_waiters();
    }

    fn finish_fetch(&mut self, asked: Vec<Asked>, session: &mut FetchSession, result: Result<FetchResponse, ClientError>) {
        let response = match result {
            Ok(response) => response,
            Err(error) => {
                session.failed();
                return self.fetch_failed(&asked, &error);
            }
        };
        let answered = session.answered(&response);
        match answered {
            Answered::Full | Answered::Incremental => {}
            Answered::Throttled => return,
            Answered::Forgotten => {
                tracing::debug!("the broker has forgotten the fetch session");
                return;
            }
            Answered::Odd => return self.fetch_failed(&asked, &ErrorCode::UnknownTopicId.into()),
            Answered::Refused(code) => return self.fetch_failed(&asked, &code.into()),
        }
        for node in response.node_endpoints {
            self.shared.cluster.update_broker(Broker { id: node.node_id, host: node.host, port: node.port, rack: node.rack });
        }
        let mut by_partition: BTreeMap<TopicPartition, PartitionData> = BTreeMap::new();
        for topic in response.responses {
            let name = session.topic(topic.topic_id).map_or(topic.topic, str::to_owned);
            for data in topic.partitions {
                by_partition.insert(TopicPartition::new(name.clone(), data.partition_index), data);
            }
        }
        let shared = Arc::clone(&self.shared);
        let mut errors = Vec::new();
        for asked in asked {
            // Of a session, only partitions with news come.
            let Some(data) = by_partition.remove(&asked.partition) else { continue };
            if let Err(error) = take_answer(&shared, &asked, data) {
                errors.push(error);
            }
        }
        for error in errors {
            shared.fail(error);
        }
        shared.ready.notify_waiters();
    }

    fn fetch_failed(&self, asked: &[Asked], error: &ClientError) {
        tracing::debug!(%error, "a fetch failed");
        let mut topics = BTreeSet::new();
        {
            let mut state = self.shared.state();
            for asked in asked {
                topics.insert(asked.partition.topic.as_str());
                if let Some(assigned) = state.current(&asked.partition, asked.serial) {
                    assigned.back_off(self.shared.cluster.backoff().pause(assigned.failures));
                }
            }
        }
        for topic in topics {
            self.recover(error, Some(topic));
        }
        if !error.recovery().is_retriable() {
            self.shared.fail(error.clone().into());
        }
    }
}

/// Takes in one partition's part of a Fetch answer.
fn take_answer(shared: &Shared, asked: &Asked, data: PartitionData) -> Result<(), ConsumerError> {
    let settings = &shared.settings;
    let mut guard = shared.state();
    let state = &mut *guard;
    let Some(assigned) = state.current(&asked.partition, asked.serial).filter(|it| it.fetch_offset == asked.offset) else { return Ok(()) };
    let pause = shared.cluster.backoff().pause(assigned.failures);
    let code = ErrorCode::from_code(data.error_code);
    match code {
        ErrorCode::None => {
            assigned.succeeded();
            assigned.checked_epoch = assigned.checked_epoch.or((asked.leader_epoch >= 0).then_some(asked.leader_epoch));
            assigned.high_watermark = match settings.reading.isolation_level {
                IsolationLevel::ReadCommitted => Some(data.last_stable_offset),
                IsolationLevel::ReadUncommitted => Some(data.high_watermark),
            };
            assigned.log_start_offset = Some(data.log_start_offset);
            let bytes = data.records.as_ref().and_then(|records| records.as_bytes()).cloned().unwrap_or_default();
            let aborted = data.aborted_transactions.unwrap_or_default();
            let size = bytes.len();
            let fetched = Fetched::new(asked.partition.clone(), asked.serial, asked.offset, bytes, aborted, settings.reading);
            if size > 0 && fetched.end().is_none() {
                // Bytes that begin with no whole batch: the reader tells what is wrong with them.
                assigned.back_off(pause);
                let error = fetched.first_error();
                return Err(ConsumerError::Corrupt { partition: asked.partition.clone(), offset: asked.offset, error });
            }
            state.push(fetched);
            Ok(())
        }
        ErrorCode::OffsetOutOfRange => {
            if assigned.waiting > 0 {
                // What waits comes first; the fetch after it will tell again.
                assigned.back_off(pause);
                return Ok(());
            }
            match settings.auto_offset_reset {
                OffsetReset::None => {
                    assigned.back_off(pause.max(Duration::from_secs(1)));
                    Err(ConsumerError::OffsetOutOfRange { partition: asked.partition.clone(), offset: asked.offset })
                }
                to => {
                    tracing::info!(partition = %asked.partition, offset = asked.offset, "the position is out of range");
                    state.reset(&asked.partition, to);
                    Ok(())
                }
            }
        }
        code => {
            assigned.back_off(pause);
            tracing::debug!(partition = %asked.partition, error = code.name(), "a fetch was refused");
            let told = data.current_leader.leader_id >= 0
                && shared.cluster.update_leader(&asked.partition, data.current_leader.leader_id, data.current_leader.leader_epoch);
            match recovery(code) {
                Recovery::RefreshMetadata if !told => shared.cluster.forget_topic(&asked.partition.topic),
                Recovery::RefreshMetadata => assigned.retry_at = None,
                // Of the broker's own making; it may pass.
                Recovery::Retry if code != ErrorCode::CorruptMessage => {}
                _ if code == ErrorCode::UnknownServerError => {}
                _ => return Err(ConsumerError::Client(code.into())),
            }
            Ok(())
        }
    }
}

async fn fetch(shared: &Shared, broker: i32, asked: &[Asked], session: &mut FetchSession) -> Result<FetchResponse, ClientError> {
    let connection = shared.cluster.connection(broker, Use::Fetch).await?;
    let metadata = shared.cluster.metadata();
    let wanted = asked.iter().map(|asked| {
        let wanted = Wanted {
            topic_id: metadata.topic(&asked.partition.topic).map(|known| known.id).unwrap_or_default(),
            offset: asked.offset,
            leader_epoch: asked.leader_epoch,
            max_bytes: shared.settings.max_partition_fetch_bytes,
        };
        (asked.partition.clone(), wanted)
    });
    let wanted: BTreeMap<TopicPartition, Wanted> = wanted.collect();
    let by_name = wanted.values().any(|wanted| wanted.topic_id.is_zero());
    let version = connection.version_up_to::<FetchRequest>(if by_name { LAST_BY_NAME } else { i16::MAX })?;
    let wait = shared.settings.fetch_max_wait;
    let mut request = FetchRequest {
        max_wait_ms: i32::try_from(wait.as_millis()).unwrap_or(i32::MAX),
        min_bytes: shared.settings.fetch_min_bytes,
        max_bytes: shared.settings.fetch_max_bytes,
        isolation_level: shared.settings.reading.isolation_level as i8,
        rack_id: shared.settings.client_rack.clone(),
        ..Default::default()
    };
    session.plan(wanted, version > LAST_BY_NAME, &mut request);
    let limit = shared.cluster.request_timeout().max(wait + Duration::from_secs(5));
    Ok(connection.start_at(&request, version, limit, true)?.answer().await?)
}

/// Asks a leader once for the offsets that belong to timestamps, those of Kafka's for the ends included.
async fn list_offsets(shared: &Shared, leader: i32, asked: &[Asked], timestamps: &[i64]) -> Result<ListOffsetsResponse, ClientError> {
    let connection = shared.cluster.connection(leader, Use::General).await?;
    let topics = by_topic(asked.iter().zip(timestamps).map(|(asked, timestamp)| {
        let partition = ListOffsetsPartition {
            partition_index: asked.partition.partition,
            current_leader_epoch: asked.leader_epoch,
            timestamp: *timestamp,
            ..Default::default()
        };
        (&asked.partition.topic, partition)
    }));
    let topics = topics.into_iter().map(|(name, partitions)| ListOffsetsTopic { name: name.clone(), partitions, ..Default::default() });
    let request = ListOffsetsRequest {
        replica_id: -1,
        isolation_level: shared.settings.reading.isolation_level as i8,
        topics: topics.collect(),
        timeout_ms: i32::try_from(shared.cluster.request_timeout().as_millis()).unwrap_or(i32::MAX),
        ..Default::default()
    };
    Ok(connection.send(&request).await?)
}

/// Where the leader's log ends for the epochs of positions; `None` from a broker that consumers cannot ask.
async fn ask_epochs(shared: &Shared, leader: i32, asked: &[Asked]) -> Result<Option<OffsetForLeaderEpochResponse>, ClientError> {
    let connection = shared.cluster.connection(leader, Use::General).await?;
    let version = match connection.version_of::<OffsetForLeaderEpochRequest>() {
        Ok(version) if version >= FIRST_EPOCH_VERSION => version,
        _ => return Ok(None),
    };
    let topics = by_topic(asked.iter().map(|asked| {
        let partition = OffsetForLeaderPartition {
            partition: asked.partition.partition,
            current_leader_epoch: asked.leader_epoch,
            leader_epoch: asked.offset_epoch.unwrap_or(-1),
            ..Default::default()
        };
        (&asked.partition.topic, partition)
    }));
    let topics =
        topics.into_iter().map(|(topic, partitions)| OffsetForLeaderTopic { topic: topic.clone(), partitions, ..Default::default() });
    let request = OffsetForLeaderEpochRequest { replica_id: -1, topics: topics.collect(), ..Default::default() };
    Ok(Some(connection.send_at(&request, version).await?))
}
