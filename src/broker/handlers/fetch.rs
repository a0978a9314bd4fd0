//! Fetch 4-18: records of any number of partitions, waiting for them when there are none. Sources: `KafkaApis.handleFetchRequest`,
//! `ReplicaManager.fetchMessages`, `DelayedFetch`, KIP-74 (limits), KIP-227 (sessions), KIP-320 and KIP-595 (epochs), KIP-951.
//!
//! - Answers at once when `min_bytes` are there, when any partition has an error or the reader's log diverged, or when the request does
//!   not want to wait; else as soon as something arrives that completes it, at the latest after `max_wait_ms`.
//! - The first batch of the first partition that has one is given whole, even if it exceeds the limits, so that a reader gets on.
//! - From version 13 on topics are named by id.
//!
//! Differs: followers are not served yet; a request with a replica id is NOT_LEADER_OR_FOLLOWER, as for a broker that is not among
//! a partition's replicas.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::broker::fetch_session::{TopicKey, WantedPartition};
use crate::broker::leader_endpoints;
use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::metadata::image::MetadataImage;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use crate::protocol::messages::{FetchRequest, FetchResponse};
use crate::protocol::records::Records;
use crate::replication::partition::{FetchOutcome, FetchParams, Partition};
use crate::replication::waiters::Waiter;
use crate::storage::log::FetchIsolation;

/// The replica id of a client that looks at a follower's log.
const DEBUGGING_CONSUMER: i32 = -2;

/// What one pass over the partitions found.
struct Pass {
    results: Vec<(TopicKey, PartitionData)>,
    bytes: usize,
    /// Something must be told at once: an error, a diverging epoch.
    urgent: bool,
}

/// The limits of a request, from its fields and the broker's configs.
struct Limits {
    max_bytes: usize,
    min_bytes: usize,
    isolation: FetchIsolation,
    from_replica: bool,
}

pub(crate) async fn handle(broker: &Arc<Broker>, ctx: &RequestContext, request: FetchRequest) -> FetchResponse {
    let by_id = ctx.api_version >= 13;
    let key = |name: &str, id| if by_id { TopicKey::Id(id) } else { TopicKey::Name(name.into()) };
    let forgotten: Vec<(TopicKey, i32)> = request
        .forgotten_topics_data
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|&partition| (key(&topic.topic, topic.topic_id), partition)))
        .collect();
    let mut requested = Vec::with_capacity(request.topics.iter().map(|topic| topic.partitions.len()).sum());
    for topic in &request.topics {
        let topic_key = key(&topic.topic, topic.topic_id);
        requested.extend(topic.partitions.iter().map(|partition| WantedPartition {
            topic: topic_key.clone(),
            partition: partition.partition,
            current_leader_epoch: partition.current_leader_epoch,
            fetch_offset: partition.fetch_offset,
            last_fetched_epoch: partition.last_fetched_epoch,
            max_bytes: partition.partition_max_bytes,
        }));
    }
    let now_ms = broker.clock.monotonic_ms();
    let context = match broker.fetch_sessions.open(request.session_id, request.session_epoch, by_id, requested, &forgotten, now_ms) {
        Ok(context) => context,
        Err(error) => return FetchResponse { error_code: error.code(), ..Default::default() },
    };

    let replica_id = if ctx.api_version >= 15 { request.replica_state.replica_id } else { request.replica_id };
    let max_bytes = usize::try_from(request.max_bytes.min(broker.config().fetch_max_bytes)).unwrap_or(0);
    let max_bytes = max_bytes.min(broker.quotas.fetch_burst(ctx).unwrap_or(usize::MAX));
    let limits = Limits {
        max_bytes,
        min_bytes: usize::try_from(request.min_bytes).unwrap_or(0).min(max_bytes),
        isolation: match (replica_id, request.isolation_level) {
            (DEBUGGING_CONSUMER, _) => FetchIsolation::LogEnd,
            (_, 1) => FetchIsolation::TransactionCommitted,
            _ => FetchIsolation::HighWatermark,
        },
        from_replica: replica_id >= 0,
    };
    let results = read_or_wait(broker, ctx, &context.wanted, &limits, request.max_wait_ms).await;

    if ctx.account.is_some() {
        let throttle_ms = broker.quotas.settle_fetch(ctx, response_bytes(&results));
        if throttle_ms > 0 {
            // Nothing, and the session stays as it was: the client asks for the same again.
            return FetchResponse { session_id: context.session_id(), ..Default::default() };
        }
    }
    let (session_id, results) = broker.fetch_sessions.close(&context, results, broker.clock.monotonic_ms());
    let image = broker.image();
    count(broker, &image, &results);
    respond(&image, ctx, session_id, results)
}

/// Reads until there is enough to answer, or the time is up.
async fn read_or_wait(
    broker: &Broker,
    ctx: &RequestContext,
    wanted: &[WantedPartition],
    limits: &Limits,
    max_wait_ms: i32,
) -> Vec<(TopicKey, PartitionData)> {
    let enough = |pass: &Pass| pass.urgent || pass.bytes >= limits.min_bytes;
    let partitions = find(broker, wanted);
    let pass = read(wanted, &partitions, limits);
    let Some(max_wait) = u64::try_from(max_wait_ms).ok().filter(|&ms| ms > 0 && !wanted.is_empty() && !enough(&pass)) else {
        return pass.results;
    };
    let deadline = tokio::time::Instant::now() + Duration::from_millis(max_wait);
    let waiter = Waiter::new();
    let _registrations: Vec<_> = partitions.iter().flatten().map(|partition| partition.register(&waiter)).collect();
    loop {
        // Again after the registration: what came in between has woken nobody.
        let pass = read(wanted, &partitions, limits);
        if enough(&pass) {
            return pass.results;
        }
        let asleep = Instant::now();
        let woken = tokio::time::timeout_at(deadline, waiter.woken()).await;
        ctx.waited.add(asleep.elapsed());
        if woken.is_err() {
            return read(wanted, &partitions, limits).results;
        }
    }
}

/// The partitions of a request, in its order; or why one cannot be read.
fn find(broker: &Broker, wanted: &[WantedPartition]) -> Vec<Result<Arc<Partition>, ErrorCode>> {
    let image = broker.image();
    wanted
        .iter()
        .map(|wanted| match &wanted.topic {
            TopicKey::Name(name) => broker.replicas.partition(name, wanted.partition),
            TopicKey::Id(id) => {
                let topic = image.topics.topic_by_id(*id).ok_or(ErrorCode::UnknownTopicId)?;
                let partition = broker.replicas.partition(&topic.name, wanted.partition)?;
                if partition.topic_id() == *id { Ok(partition) } else { Err(ErrorCode::InconsistentTopicId) }
            }
        })
        .collect()
}

fn read(wanted: &[WantedPartition], partitions: &[Result<Arc<Partition>, ErrorCode>], limits: &Limits) -> Pass {
    let mut pass = Pass { results: Vec::with_capacity(wanted.len()), bytes: 0, urgent: false };
    for (wanted, partition) in wanted.iter().zip(partitions) {
        let outcome = match partition {
            Err(error) => Err(*error),
            Ok(_) if limits.from_replica => Err(ErrorCode::NotLeaderOrFollower),
            Ok(partition) => partition.fetch(&FetchParams {
                fetch_offset: wanted.fetch_offset,
                current_leader_epoch: wanted.current_leader_epoch,
                last_fetched_epoch: wanted.last_fetched_epoch,
                max_bytes: usize::try_from(wanted.max_bytes).unwrap_or(0).min(limits.max_bytes.saturating_sub(pass.bytes)),
                min_one_message: pass.bytes == 0,
                isolation: limits.isolation,
            }),
        };
        let data = match outcome {
            Ok(FetchOutcome::Data(info)) => {
                // A cut batch is of no use to anyone: KIP-74's readers never get one.
                let records = if info.first_entry_incomplete { Records::default() } else { info.records };
                pass.bytes += records.len();
                PartitionData {
                    partition_index: wanted.partition,
                    high_watermark: info.high_watermark,
                    last_stable_offset: info.last_stable_offset,
                    log_start_offset: info.log_start_offset,
                    aborted_transactions: info.aborted_transactions.map(|aborted| {
                        aborted
                            .into_iter()
                            .map(|it| AbortedTransaction {
                                producer_id: it.producer_id,
                                first_offset: it.first_offset,
                                ..Default::default()
                            })
                            .collect()
                    }),
                    records: Some(records),
                    ..Default::default()
                }
            }
            Ok(FetchOutcome::Diverging { epoch, end_offset, high_watermark, log_start_offset, last_stable_offset }) => {
                pass.urgent = true;
                PartitionData {
                    partition_index: wanted.partition,
                    high_watermark,
                    last_stable_offset,
                    log_start_offset,
                    diverging_epoch: EpochEndOffset { epoch, end_offset, ..Default::default() },
                    aborted_transactions: None,
                    records: Some(Records::default()),
                    ..Default::default()
                }
            }
            Err(error) => {
                pass.urgent = true;
                PartitionData {
                    partition_index: wanted.partition,
                    error_code: error.code(),
                    high_watermark: -1,
                    // As in Kafka: none for what was looked up, an empty list for what does not exist.
                    aborted_transactions: partition.is_err().then(Vec::new),
                    records: Some(Records::default()),
                    ..Default::default()
                }
            }
        };
        pass.results.push((wanted.topic.clone(), data));
    }
    pass
}

/// About how many bytes a response with these results has.
fn response_bytes(results: &[(TopicKey, PartitionData)]) -> usize {
    /// What a partition has beside its records.
    const PARTITION_BYTES: usize = 50;
    results.iter().map(|(_, data)| PARTITION_BYTES + data.records.as_ref().map_or(0, Records::len)).sum()
}

/// Counts what each topic's readers get.
fn count(broker: &Broker, image: &MetadataImage, results: &[(TopicKey, PartitionData)]) {
    for of_topic in results.chunk_by(|a, b| a.0 == b.0) {
        let topic = match &of_topic[0].0 {
            TopicKey::Name(name) => image.topics.topic(name),
            TopicKey::Id(id) => image.topics.topic_by_id(*id),
        };
        let Some(topic) = topic else { continue };
        let counters = broker.metrics.topics.of(&topic.name);
        for (_, data) in of_topic {
            let bytes = data.records.as_ref().map_or(0, Records::len);
            counters.fetched((data.error_code == ErrorCode::None.code()).then_some(bytes));
        }
    }
}

fn respond(image: &MetadataImage, ctx: &RequestContext, session_id: i32, results: Vec<(TopicKey, PartitionData)>) -> FetchResponse {
    let mut response = FetchResponse { session_id, ..Default::default() };
    let mut leaders = Vec::new();
    let mut current: Option<TopicKey> = None;
    for (topic, mut data) in results {
        let stale = [ErrorCode::NotLeaderOrFollower.code(), ErrorCode::FencedLeaderEpoch.code()].contains(&data.error_code);
        if ctx.api_version >= 16 && stale {
            let registration = match &topic {
                TopicKey::Name(name) => image.topics.partition(name, data.partition_index),
                TopicKey::Id(id) => image.topics.topic_by_id(*id).and_then(|topic| topic.partition(data.partition_index)),
            };
            if let Some(registration) = registration {
                data.current_leader =
                    LeaderIdAndEpoch { leader_id: registration.leader, leader_epoch: registration.leader_epoch, ..Default::default() };
                leaders.push(registration.leader);
            }
        }
        if current.as_ref() != Some(&topic) {
            let (name, topic_id) = match &topic {
                TopicKey::Name(name) => (name.to_string(), crate::common::uuid::Uuid::ZERO),
                TopicKey::Id(id) => (String::new(), *id),
            };
            response.responses.push(FetchableTopicResponse { topic: name, topic_id, ..Default::default() });
            current = Some(topic);
        }
        if let Some(last) = response.responses.last_mut() {
            last.partitions.push(data);
        }
    }
    if ctx.api_version >= 16 {
        response.node_endpoints = leader_endpoints::of(image, &ctx.listener_name, leaders, |node_id, host, port, rack| NodeEndpoint {
            node_id,
            host,
            port,
            rack,
            ..Default::default()
        });
    }
    response
}
