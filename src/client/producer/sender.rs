//! The task that turns batches into Produce requests, and answers into outcomes.
//!
//! One task owns everything here. It never waits for one broker while another could be served: connecting, requests and metadata are tasks of
//! their own that report back. Requests to one broker are started in order, at most `max.in.flight.requests.per.connection` at a time.
//!
//! Source: `Sender`, `TransactionManager` (idempotence).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::Shared;
use super::accumulator::Terms;
use super::batch::{Batch, Outcome};
use super::coordination;
use super::sequences::{ProducerIdAndEpoch, Verdict};
use super::transactions::{Answer, Job};
use crate::client::cluster::{AutoCreate, Cluster, Topics};
use crate::client::conn::{Connection, RequestError};
use crate::client::error::{ApiError, ClientError};
use crate::client::metadata::{Broker, Metadata};
use crate::client::pool::Use;
use crate::client::retry::{Backoff, Recovery, recovery};
use crate::common::topic_partition::TopicPartition;
use crate::common::uuid::Uuid;
use crate::protocol::batch::{BatchBuilder, BatchView};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use crate::protocol::messages::produce_response::PartitionProduceResponse;
use crate::protocol::messages::{InitProducerIdRequest, ProduceRequest, ProduceResponse};
use crate::protocol::records::Records;

/// The last version of Produce that names topics by their names.
const LAST_BY_NAME: i16 = 12;
/// The last version of Produce before it meant `transaction.version` 2.
const LAST_BEFORE_VERSION_2: i16 = 11;

/// How batches are sent.
#[derive(Clone, Debug)]
pub(super) struct Sending {
    pub(super) acks: i16,
    pub(super) retries: u32,
    pub(super) max_in_flight: usize,
    pub(super) max_request_size: usize,
    pub(super) delivery_timeout: std::time::Duration,
    pub(super) metadata_max_age: std::time::Duration,
    pub(super) auto_create: AutoCreate,
}

/// What a task reports.
enum Event {
    Connected { broker: i32, outcome: Result<Connection, ClientError> },
    Answered { broker: i32, batches: Vec<Batch>, names: HashMap<Uuid, String>, outcome: Result<ProduceResponse, ClientError> },
    ProducerId(Result<ProducerIdAndEpoch, ClientError>),
    Coordinated { job: Job, answer: Answer, raises_epochs: Option<bool> },
    Refreshed(Result<(), ClientError>),
}

#[derive(Default)]
struct BrokerState {
    connection: Option<Connection>,
    connecting: bool,
    in_flight: usize,
}

enum Identity {
    /// It has none, or the one that its transactions have.
    NotWanted,
    Wanted {
        after: Option<Instant>,
        failures: u32,
    },
    Requested {
        failures: u32,
    },
    Known(ProducerIdAndEpoch),
}

pub(super) struct Sender {
    shared: Arc<Shared>,
    cluster: Cluster,
    /// As of this turn.
    metadata: Arc<Metadata>,
    sending: Sending,
    backoff: Backoff,
    brokers: HashMap<i32, BrokerState>,
    tasks: JoinSet<Event>,
    identity: Identity,
    /// Partitions whose sequences start anew with the next epoch; not empty means that one is wanted.
    rewrite: BTreeSet<TopicPartition>,
    refresh_wanted: bool,
    refreshing: bool,
    refresh_failures: u32,
    refresh_after: Instant,
    refreshed: Instant,
}

impl Sender {
    pub(super) fn new(shared: Arc<Shared>, cluster: Cluster, sending: Sending, backoff: Backoff, wants_id: bool) -> Sender {
        let identity = if wants_id { Identity::Wanted { after: None, failures: 0 } } else { Identity::NotWanted };
        Sender {
            shared,
            metadata: Arc::default(),
            cluster,
            sending,
            backoff,
            brokers: HashMap::new(),
            tasks: JoinSet::new(),
            identity,
            rewrite: BTreeSet::new(),
            refresh_wanted: false,
            refreshing: false,
            refresh_failures: 0,
            refresh_after: Instant::now(),
            refreshed: Instant::now(),
        }
    }

    /// Sends until the producer is closed and nothing is left to send.
    pub(super) async fn run(mut self) {
        loop {
            while let Some(event) = self.tasks.try_join_next() {
                if let Ok(event) = event {
                    self.handle(event);
                }
            }
            let (progress, next) = self.turn();
            if progress {
                continue;
            }
            {
                let mut accumulator = self.shared.accumulator();
                if accumulator.closed && accumulator.is_empty() {
                    match &mut accumulator.transactions {
                        Some(transactions) if transactions.is_completing() || transactions.has_jobs() => {}
                        Some(transactions) if transactions.is_ongoing() => {
                            if transactions.abort(None).is_err() {
                                return;
                            }
                            continue;
                        }
                        _ => return,
                    }
                }
            }
            let timer = async {
                match next {
                    Some(next) => sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(event) = self.tasks.join_next() => {
                    if let Ok(event) = event {
                        self.handle(event);
                    }
                }
                () = self.shared.wake.notified() => {}
                () = timer => {}
            }
        }
    }

    /// Starts what can be started: one request for each broker. Says whether there was one, and when to look again if nothing happens.
    fn turn(&mut self) -> (bool, Option<Instant>) {
        let now = Instant::now();
        let mut next = None;
        self.expire(now, &mut next);
        self.settle_identity(now, &mut next);
        self.coordinate(now, &mut next);
        let metadata = self.cluster.metadata();
        let news = !Arc::ptr_eq(&metadata, &self.metadata);
        let ready = {
            let mut accumulator = self.shared.accumulator();
            if news {
                accumulator.learn_all(&metadata);
            }
            accumulator.ready(&metadata, now, self.shared.memory_is_short(), &self.backoff)
        };
        self.metadata = metadata;
        next = earlier(next, ready.next);
        let mut progress = false;
        for (broker, partitions) in &ready.brokers {
            progress |= self.serve(*broker, partitions, now, &mut next);
        }
        if !ready.unknown_leaders.is_empty() {
            self.refresh_wanted = true;
        }
        self.refresh(now, &mut next);
        (progress, next)
    }

    /// Sends one request to a broker, if it is connected and takes more.
    fn serve(&mut self, broker: i32, partitions: &[TopicPartition], now: Instant, next: &mut Option<Instant>) -> bool {
        let state = self.brokers.entry(broker).or_default();
        if state.connection.as_ref().is_some_and(Connection::is_closed) {
            state.connection = None;
        }
        let Some(connection) = state.connection.clone() else {
            if !state.connecting {
                state.connecting = true;
                let cluster = self.cluster.clone();
                self.tasks.spawn(async move { Event::Connected { broker, outcome: cluster.connection(broker, Use::General).await } });
            }
            return false;
        };
        if state.in_flight >= self.sending.max_in_flight {
            return false;
        }
        if let Some(until) = connection.throttled_until() {
            *next = earlier(*next, Some(until));
            return false;
        }
        let producer = match &self.identity {
            Identity::NotWanted => self.shared.accumulator().transactions.as_ref().and_then(|transactions| transactions.producer()),
            Identity::Known(producer) => Some(*producer),
            Identity::Wanted { .. } | Identity::Requested { .. } => return false,
        };
        let (metadata, max_size) = (&*self.metadata, self.sending.max_request_size);
        let terms = Terms { metadata, max_size, now, producer, backoff: &self.backoff };
        let batches = self.shared.accumulator().drain(broker, partitions, &terms);
        if batches.is_empty() {
            return false;
        }
        let sealed = self.seal(batches);
        if !sealed.is_empty() {
            self.send(broker, &connection, sealed);
        }
        true
    }

    /// Finishes batches outside the lock, because compression takes its time.
    fn seal(&mut self, batches: Vec<Batch>) -> Vec<Batch> {
        let mut sealed = Vec::with_capacity(batches.len());
        for mut batch in batches {
            match batch.seal() {
                Ok(None) => sealed.push(batch),
                Ok(Some((compressed, uncompressed))) => {
                    if compressed != uncompressed {
                        self.shared.accumulator().observe_ratio(&batch.topic_partition.topic, compressed, uncompressed);
                    }
                    sealed.push(batch);
                }
                Err(error) => {
                    self.shared.accumulator().landed(&batch.topic_partition);
                    self.fail(batch, super::unwritable(&error), Vec::new(), true);
                }
            }
        }
        sealed
    }

    fn send(&mut self, broker: i32, connection: &Connection, batches: Vec<Batch>) {
        let metadata = self.cluster.metadata();
        let id = |topic: &str| metadata.topic(topic).map_or(Uuid::ZERO, |topic| topic.id);
        let mut names = HashMap::new();
        let mut topics: BTreeMap<&str, Vec<PartitionProduceData>> = BTreeMap::new();
        for batch in &batches {
            let data = PartitionProduceData {
                index: batch.topic_partition.partition,
                records: Some(Records::Bytes(batch.bytes())),
                ..Default::default()
            };
            topics.entry(&batch.topic_partition.topic).or_default().push(data);
        }
        let known_by_id = topics.keys().all(|topic| !id(topic).is_zero());
        let transactions = self.shared.accumulator().transactions.as_ref().map(|it| (it.id().to_string(), it.is_version_2()));
        let max = match transactions {
            // A later version would add its partitions to the transaction as it comes.
            Some((_, false)) => LAST_BEFORE_VERSION_2,
            _ if known_by_id => i16::MAX,
            _ => LAST_BY_NAME,
        };
        let version = connection.version_up_to::<ProduceRequest>(max);
        let topic_data = topics.into_iter().map(|(name, partition_data)| {
            let topic_id = id(name);
            if !topic_id.is_zero() {
                names.insert(topic_id, name.to_owned());
            }
            TopicProduceData { name: name.to_owned(), topic_id, partition_data, ..Default::default() }
        });
        let request = ProduceRequest {
            transactional_id: transactions.map(|(id, _)| id),
            acks: self.sending.acks,
            timeout_ms: i32::try_from(self.cluster.request_timeout().as_millis()).unwrap_or(i32::MAX),
            topic_data: topic_data.collect(),
            ..Default::default()
        };
        let has_answer = self.sending.acks != 0;
        let pending = version.and_then(|version| connection.start_at(&request, version, self.cluster.request_timeout(), has_answer));
        self.brokers.entry(broker).or_default().in_flight += 1;
        self.tasks.spawn(async move {
            let outcome = match pending {
                Ok(pending) => pending.answer().await,
                Err(error) => Err(error),
            };
            Event::Answered { broker, batches, names, outcome: outcome.map_err(ClientError::from) }
        });
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Connected { broker, outcome } => {
                let state = self.brokers.entry(broker).or_default();
                state.connecting = false;
                match outcome {
                    Ok(connection) => state.connection = Some(connection),
                    Err(error) => {
                        tracing::debug!(broker, %error, "cannot connect");
                        self.refresh_wanted = true;
                        self.shared.set_last_error(error);
                    }
                }
            }
            Event::Answered { broker, batches, names, outcome } => {
                if let Some(state) = self.brokers.get_mut(&broker) {
                    state.in_flight = state.in_flight.saturating_sub(1);
                }
                self.answered(batches, &names, outcome);
            }
            Event::ProducerId(Ok(producer)) => self.identity = Identity::Known(producer),
            Event::ProducerId(Err(error)) => {
                let failures = if let Identity::Requested { failures } = self.identity { failures } else { 0 };
                if error.recovery().is_retriable() {
                    self.shared.set_last_error(error);
                    let after = Instant::now() + self.backoff.pause(failures);
                    self.identity = Identity::Wanted { after: Some(after), failures: failures + 1 };
                } else {
                    self.fail_all(&error);
                    self.identity = Identity::Wanted { after: Some(Instant::now() + self.backoff.pause(failures)), failures: failures + 1 };
                }
            }
            Event::Coordinated { job, answer, raises_epochs } => {
                if let Answer::NoCoordinator(error) | Answer::Failed(error) = &answer {
                    tracing::debug!(%error, "a transaction's request failed");
                    self.shared.set_last_error(error.clone());
                }
                let (kind, key) = job.coordinator();
                let key = key.to_owned();
                let mut accumulator = self.shared.accumulator();
                let Some(transactions) = &mut accumulator.transactions else { return };
                let effects = transactions.answered(job, answer, raises_epochs, Instant::now());
                if effects.reset_sequences {
                    accumulator.reset_sequences();
                }
                drop(accumulator);
                if effects.find_coordinator {
                    self.cluster.forget_coordinator(kind, &key);
                }
            }
            Event::Refreshed(outcome) => {
                self.refreshing = false;
                self.refreshed = Instant::now();
                match outcome {
                    Ok(()) => self.refresh_failures = 0,
                    Err(error) => {
                        self.refresh_wanted = true;
                        self.refresh_failures += 1;
                        self.shared.set_last_error(error);
                    }
                }
                // Also after success: a leader that is being elected is not to be asked for in a tight loop.
                self.refresh_after = self.refreshed + self.backoff.pause(self.refresh_failures);
            }
        }
    }

    fn answered(&mut self, batches: Vec<Batch>, names: &HashMap<Uuid, String>, outcome: Result<ProduceResponse, ClientError>) {
        {
            let mut accumulator = self.shared.accumulator();
            for batch in &batches {
                accumulator.landed(&batch.topic_partition);
            }
        }
        let mut answers: HashMap<TopicPartition, PartitionProduceResponse> = HashMap::new();
        let otherwise = match outcome {
            Ok(_) if self.sending.acks == 0 => {
                let delivered =
                    PartitionProduceResponse { base_offset: -1, log_append_time_ms: -1, log_start_offset: -1, ..Default::default() };
                for batch in &batches {
                    answers.insert(batch.topic_partition.clone(), delivered.clone());
                }
                ErrorCode::UnknownServerError
            }
            Ok(response) => {
                for node in response.node_endpoints {
                    self.cluster.update_broker(Broker { id: node.node_id, host: node.host, port: node.port, rack: node.rack });
                }
                for topic in response.responses {
                    let name = names.get(&topic.topic_id).cloned().unwrap_or(topic.name);
                    for partition in topic.partition_responses {
                        answers.insert(TopicPartition::new(name.clone(), partition.index), partition);
                    }
                }
                // The broker was asked for a partition and does not answer for it.
                ErrorCode::UnknownServerError
            }
            Err(error) => {
                let code = match &error {
                    ClientError::Request(RequestError::TimedOut { .. }) => ErrorCode::RequestTimedOut,
                    ClientError::Request(RequestError::Disconnected { .. }) => ErrorCode::NetworkException,
                    ClientError::Request(error) if error.is_unsupported_version() => ErrorCode::UnsupportedVersion,
                    _ => ErrorCode::UnknownServerError,
                };
                tracing::debug!(%error, "a produce request failed");
                self.shared.set_last_error(error);
                self.refresh_wanted = true;
                code
            }
        };
        for batch in batches {
            let answer = answers.remove(&batch.topic_partition).unwrap_or_else(|| PartitionProduceResponse {
                index: batch.topic_partition.partition,
                error_code: otherwise.code(),
                base_offset: -1,
                log_append_time_ms: -1,
                log_start_offset: -1,
                ..Default::default()
            });
            self.settle(batch, answer);
        }
    }

    /// Decides what a broker's answer means for a batch.
    fn settle(&mut self, mut batch: Batch, answer: PartitionProduceResponse) {
        let code = ErrorCode::from_code(answer.error_code);
        if code == ErrorCode::None || code == ErrorCode::DuplicateSequenceNumber {
            // A duplicate is there already, but where, its leader does not remember.
            let base_offset = (code == ErrorCode::None && answer.base_offset >= 0).then_some(answer.base_offset);
            let log_append_time = (answer.log_append_time_ms >= 0).then_some(answer.log_append_time_ms);
            let mut accumulator = self.shared.accumulator();
            if let Some(sequences) = accumulator.sequences(&batch.topic_partition) {
                sequences.acknowledged(batch.id, base_offset.unwrap_or(-1));
            }
            accumulator.completed(batch.id);
            drop(accumulator);
            batch.complete(Outcome::Delivered { base_offset, log_append_time });
            return;
        }
        if code == ErrorCode::MessageTooLarge && batch.record_count > 1 {
            match self.split(&batch) {
                Ok(parts) => {
                    let mut accumulator = self.shared.accumulator();
                    accumulator.reset_ratio(&batch.topic_partition.topic);
                    let results = place_parts(&mut batch, parts);
                    let outcome = Outcome::Split(results.iter().map(|(first, part)| (*first, Arc::clone(&part.result))).collect());
                    accumulator.replace(batch.id, &batch.topic_partition, results.into_iter().map(|(_, part)| part).collect());
                    accumulator.completed(batch.id);
                    drop(accumulator);
                    batch.complete(outcome);
                    return;
                }
                Err(error) => tracing::warn!(%error, "a batch cannot be split"),
            }
        }
        let what = recovery(code);
        if what == Recovery::RefreshMetadata {
            let leader = &answer.current_leader;
            let told = leader.leader_id >= 0 && self.cluster.update_leader(&batch.topic_partition, leader.leader_id, leader.leader_epoch);
            self.refresh_wanted |= !told;
        }
        let in_time = batch.created.elapsed() < self.sending.delivery_timeout;
        let attempts_left = batch.attempts < self.sending.retries;
        let otherwise = what.is_retriable();
        let verdict = {
            let mut accumulator = self.shared.accumulator();
            let transactional = accumulator.transactions.is_some();
            match accumulator.sequences(&batch.topic_partition) {
                Some(sequences) => sequences.verdict(batch.id, code, answer.log_start_offset, otherwise, transactional),
                None if otherwise => Verdict::Retry,
                None => Verdict::Fail,
            }
        };
        let error = ClientError::Api(ApiError::new(code, answer.error_message));
        if verdict != Verdict::Fail && in_time && attempts_left {
            tracing::debug!(partition = %batch.topic_partition, %error, attempts = batch.attempts, "retrying a batch");
            if verdict == Verdict::RetryWithNewEpoch {
                self.rewrite.insert(batch.topic_partition.clone());
            }
            self.shared.set_last_error(error);
            batch.attempts += 1;
            let mut accumulator = self.shared.accumulator();
            if verdict == Verdict::RetryFromZero
                && let Some(producer) = accumulator.transactions.as_ref().and_then(|transactions| transactions.producer())
                && let Some(sequences) = accumulator.sequences(&batch.topic_partition)
            {
                sequences.start_at_zero(producer);
            }
            accumulator.requeue(batch);
            return;
        }
        let record_errors = answer.record_errors.into_iter().map(|it| (it.batch_index, it.batch_index_error_message)).collect();
        self.fail(batch, error, record_errors, attempts_left);
    }

    /// Gives a batch up. `fate_is_known` says that a broker refused it, rather than that nobody knows.
    fn fail(&mut self, batch: Batch, error: ClientError, record_errors: Vec<(i32, Option<String>)>, fate_is_known: bool) {
        let code = error.code();
        {
            let mut accumulator = self.shared.accumulator();
            if let Some(transactions) = &mut accumulator.transactions {
                transactions.delivery_failed(&error);
                if let Some(sequences) = accumulator.sequences(&batch.topic_partition).filter(|_| fate_is_known) {
                    sequences.close_gap(batch.id);
                }
            }
            let gap =
                accumulator.sequences(&batch.topic_partition).is_some_and(|sequences| sequences.failed(batch.id, code, fate_is_known));
            accumulator.completed(batch.id);
            // In a transaction the epoch changes when it has ended.
            if gap && matches!(self.identity, Identity::Known(_)) {
                self.rewrite.insert(batch.topic_partition.clone());
            }
            if matches!(code, Some(ErrorCode::ClusterAuthorizationFailed | ErrorCode::ProducerFenced | ErrorCode::UnsupportedVersion)) {
                accumulator.fatal.get_or_insert_with(|| error.clone());
            }
        }
        batch.complete(Outcome::Failed { error, record_errors });
    }

    fn fail_all(&mut self, error: &ClientError) {
        let batches = {
            let mut accumulator = self.shared.accumulator();
            if matches!(error.code(), Some(ErrorCode::ClusterAuthorizationFailed)) || error.is_unsupported_version() {
                accumulator.fatal = Some(error.clone());
            }
            accumulator.take_all()
        };
        for batch in batches {
            self.fail(batch, error.clone(), Vec::new(), false);
        }
    }

    /// Gives up batches that are not delivered in time.
    fn expire(&mut self, now: Instant, next: &mut Option<Instant>) {
        let timeout = self.sending.delivery_timeout;
        let expired = self.shared.accumulator().expired(now, timeout, next);
        for batch in expired {
            let cause = self.shared.last_error().map_or(String::new(), |error| format!(" ({error})"));
            let (count, partition) = (batch.record_count, &batch.topic_partition);
            let message =
                format!("Expiring {count} record(s) for {partition}:{} ms has passed since batch creation{cause}", timeout.as_millis());
            // Does nothing to a batch that never had a sequence.
            if let Some(sequences) = self.shared.accumulator().sequences(&batch.topic_partition) {
                sequences.given_up(batch.id);
            }
            self.fail(batch, ApiError::new(ErrorCode::RequestTimedOut, Some(message)).into(), Vec::new(), false);
        }
    }

    /// Settles what transactions need: gives up batches that will not be sent any more, and starts the next request to a coordinator.
    fn coordinate(&mut self, now: Instant, next: &mut Option<Instant>) {
        let mut accumulator = self.shared.accumulator();
        if accumulator.transactions.is_none() {
            return;
        }
        let unknown = !accumulator.resolve_sequences().is_empty();
        let Some(transactions) = &mut accumulator.transactions else { return };
        if unknown {
            transactions.deliveries_unknown();
        }
        let mut lost = Vec::new();
        if let Some(error) = transactions.fatal_error().cloned().or_else(|| transactions.leave_authorization_error()) {
            lost.extend(accumulator.take_all().into_iter().map(|batch| (batch, error.clone())));
        } else if let Some(error) = transactions.unsent_are_lost() {
            lost.extend(accumulator.take_unsent().into_iter().map(|batch| (batch, error.clone())));
        }
        for (batch, _) in &lost {
            accumulator.completed(batch.id);
        }
        let under_way = !accumulator.is_empty();
        let job = accumulator.transactions.as_mut().and_then(|transactions| transactions.next_job(under_way, now, next));
        drop(accumulator);
        for (batch, error) in lost {
            batch.complete(Outcome::Failed { error, record_errors: Vec::new() });
        }
        if let Some(job) = job {
            let cluster = self.cluster.clone();
            self.tasks.spawn(async move {
                let (answer, raises_epochs) = coordination::perform(&cluster, &job).await;
                Event::Coordinated { job, answer, raises_epochs }
            });
        }
    }

    /// Splits a batch that a broker found too large, into parts of the usual size, or of half its own if it is a part already.
    fn split(&mut self, batch: &Batch) -> Result<Vec<Batch>, crate::protocol::batch::BatchError> {
        let gathering = &self.shared.gathering;
        let limit = match batch.is_part {
            true => batch.largest_record.max(batch.estimated_size() / 2),
            false => gathering.batch_size,
        };
        let bytes = batch.bytes();
        let view = BatchView::parse(&bytes)?;
        let transactional = self.shared.accumulator().transactions.is_some();
        let new = || {
            let builder = BatchBuilder::new(gathering.compression).compression_level(gathering.compression_level);
            builder.transactional(transactional)
        };
        let mut builders = Vec::new();
        let mut builder = new();
        for record in view.records_shared(&bytes) {
            let record = record?;
            let (key, value) = (record.key.as_deref(), record.value.as_deref());
            if !builder.has_room_for(limit, record.timestamp, key, value, &record.headers) {
                builders.push(std::mem::replace(&mut builder, new()));
            }
            builder.append(record.timestamp, key, value, &record.headers)?;
        }
        builders.push(builder);
        if builders.len() == 1 {
            // The limit did not divide it: give each record a batch of its own.
            builders.clear();
            for record in view.records_shared(&bytes) {
                let record = record?;
                let mut builder = new();
                builder.append(record.timestamp, record.key.as_deref(), record.value.as_deref(), &record.headers)?;
                builders.push(builder);
            }
        }
        builders.into_iter().map(|builder| Batch::part(self.shared.accumulator().new_batch_id(), batch, builder)).collect()
    }

    /// Asks for a producer id, or takes the next epoch of it, when one is wanted.
    fn settle_identity(&mut self, now: Instant, next: &mut Option<Instant>) {
        if let Identity::Known(producer) = self.identity {
            let unresolved = self.shared.accumulator().resolve_sequences();
            self.rewrite.extend(unresolved);
            if !self.rewrite.is_empty() {
                if producer.epoch == i16::MAX {
                    self.identity = Identity::Wanted { after: None, failures: 0 };
                } else {
                    let bumped = ProducerIdAndEpoch { id: producer.id, epoch: producer.epoch + 1 };
                    self.take_epoch(bumped);
                }
            }
        }
        if let Identity::Wanted { after, failures } = self.identity {
            if let Some(after) = after.filter(|after| *after > now) {
                *next = earlier(*next, Some(after));
                return;
            }
            self.identity = Identity::Requested { failures };
            let cluster = self.cluster.clone();
            self.tasks.spawn(async move { Event::ProducerId(init_producer_id(&cluster).await) });
        }
    }

    fn take_epoch(&mut self, producer: ProducerIdAndEpoch) {
        self.identity = Identity::Known(producer);
        let mut accumulator = self.shared.accumulator();
        for topic_partition in std::mem::take(&mut self.rewrite) {
            if let Some(sequences) = accumulator.sequences(&topic_partition) {
                sequences.start_at_zero(producer);
            }
        }
    }

    /// Fetches metadata of the topics in use, when it is wanted or old.
    fn refresh(&mut self, now: Instant, next: &mut Option<Instant>) {
        if self.refreshing {
            return;
        }
        let due = if self.refresh_wanted { self.refresh_after } else { self.refreshed + self.sending.metadata_max_age };
        if due > now {
            *next = earlier(*next, Some(due));
            return;
        }
        let topics = self.shared.accumulator().topics_in_use();
        self.refresh_wanted = false;
        self.refreshed = now;
        if topics.is_empty() {
            return;
        }
        self.refreshing = true;
        let (cluster, auto_create) = (self.cluster.clone(), self.sending.auto_create);
        self.tasks.spawn(async move { Event::Refreshed(cluster.refresh(Topics::Named(&topics), auto_create).await.map(drop)) });
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Hands the callbacks of a batch to its parts; gives each part with the index of its first record.
fn place_parts(batch: &mut Batch, parts: Vec<Batch>) -> Vec<(u32, Batch)> {
    let mut placed = Vec::new();
    let mut first = 0;
    for part in parts {
        let count = part.record_count as u32;
        placed.push((first, part));
        first += count;
    }
    for (index, timestamp, callback) in std::mem::take(&mut batch.callbacks) {
        let at = placed.partition_point(|(first, _)| *first <= index).saturating_sub(1);
        if let Some((first, part)) = placed.get_mut(at) {
            part.callbacks.push((index - *first, timestamp, callback));
        }
    }
    placed
}

async fn init_producer_id(cluster: &Cluster) -> Result<ProducerIdAndEpoch, ClientError> {
    let request = InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: i32::MAX,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    let response = cluster.send_to_any(&request).await?;
    ApiError::check(response.error_code, None)?;
    Ok(ProducerIdAndEpoch { id: response.producer_id, epoch: response.producer_epoch })
}
