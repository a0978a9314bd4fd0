//! ShareFetch 1-2: records for a member of a share group, and what it says of those it has (KIP-932). Sources:
//! `KafkaApis.handleShareFetchRequest`, `ShareSessionContext`.
//!
//! - The session's partitions are fetched; the request names only what it adds, forgets, or acknowledges.
//! - Acknowledgements come before the fetch, and both are answered together.
//! - Counts towards the quota of fetches. Differs: what a throttled request acquired is released, Kafka lets it wait for its locks to expire.
//! - 2: a limit of records that is kept exactly (KIP-1206), renewed locks (KIP-1222). A request that renews fetches nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::broker::leader_endpoints;
use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::broker::share::{
    AcknowledgementBatch, AcquireMode, FetchedPartition, SessionContext, SessionKey, ShareError, ShareFetch, TopicIdPartition,
    acknowledge_type,
};
use crate::broker::share_acknowledgements::{self, AcknowledgementRules};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::share_fetch_response::{
    AcquiredRecords, LeaderIdAndEpoch, NodeEndpoint, PartitionData, ShareFetchableTopicResponse,
};
use crate::protocol::messages::{ShareFetchRequest, ShareFetchResponse};
use crate::protocol::records::Records;

fn failed(error: ErrorCode) -> ShareFetchResponse {
    ShareFetchResponse { error_code: error.code(), ..Default::default() }
}

pub(crate) async fn handle(broker: &Arc<Broker>, ctx: &RequestContext, request: ShareFetchRequest) -> ShareFetchResponse {
    if !broker.share_groups_enabled() {
        return failed(ErrorCode::UnsupportedVersion);
    }
    let key = match share_acknowledgements::session_key(request.group_id.clone(), request.member_id.clone()) {
        Ok(key) => key,
        Err(error) => return failed(error),
    };
    let renews = ctx.api_version >= 2 && request.is_renew_ack;
    if renews && (request.max_bytes, request.min_bytes, request.max_records, request.max_wait_ms) != (0, 0, 0, 0) {
        return failed(ErrorCode::InvalidRequest);
    }
    let requested: Vec<TopicIdPartition> =
        request.topics.iter().flat_map(|topic| topic.partitions.iter().map(|it| (topic.topic_id, it.partition_index))).collect();
    let forgotten: Vec<TopicIdPartition> =
        request.forgotten_topics_data.iter().flat_map(|topic| topic.partitions.iter().map(|&it| (topic.topic_id, it))).collect();
    let has_acknowledgements = request.topics.iter().flat_map(|topic| &topic.partitions).any(|it| !it.acknowledgement_batches.is_empty());
    let shares = &broker.shares;
    let max_wait_ms = u64::try_from(request.max_wait_ms).unwrap_or(0);
    let opened = shares.sessions.open(&key, request.share_session_epoch, ctx.client_address, &requested, &forgotten, has_acknowledgements);
    let context = match opened {
        Ok(context) => context,
        Err(ErrorCode::ShareSessionLimitReached) => {
            // So that a client without session does not ask again at once.
            tokio::time::sleep(Duration::from_millis(max_wait_ms)).await;
            return failed(ErrorCode::ShareSessionLimitReached);
        }
        Err(error) => return failed(error),
    };

    let acknowledgements = if has_acknowledgements {
        let batches = request.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|it| {
                let batches = it.acknowledgement_batches.iter().map(|batch| AcknowledgementBatch {
                    first_offset: batch.first_offset,
                    last_offset: batch.last_offset,
                    acknowledge_types: batch.acknowledge_types.clone(),
                });
                ((topic.topic_id, it.partition_index), batches.collect())
            })
        });
        let rules = AcknowledgementRules { supports_renew: ctx.api_version >= 2, is_renew: request.is_renew_ack };
        Some(share_acknowledgements::begin(broker, &key, rules, batches.collect()))
    } else {
        None
    };
    let mut fetched = if renews { Vec::new() } else { fetch(broker, ctx, &request, &key, &context, max_wait_ms).await };
    if ctx.account.is_some() {
        let bytes = fetched.iter().map(|it| it.records.len()).sum();
        if broker.quotas.settle_fetch(ctx, bytes) > 0 {
            give_back(broker, &key, &fetched);
            fetched.clear();
        }
    }
    let acknowledged = match acknowledgements {
        Some(acknowledgements) => acknowledgements.finish().await,
        None => HashMap::new(),
    };

    let response = match select(broker, &key, &context, fetched) {
        Ok(fetched) => respond(broker, ctx, &key.group_id, fetched, acknowledged),
        Err(error) => failed(error),
    };
    if context == SessionContext::Final {
        shares.release_session(&key);
    }
    response
}

/// Releases what a throttled request has acquired and does not get.
fn give_back(broker: &Broker, key: &SessionKey, fetched: &[FetchedPartition]) {
    for it in fetched.iter().filter(|it| !it.acquired.is_empty()) {
        let batches: Vec<AcknowledgementBatch> = it
            .acquired
            .iter()
            .map(|acquired| AcknowledgementBatch {
                first_offset: acquired.first_offset,
                last_offset: acquired.last_offset,
                acknowledge_types: vec![acknowledge_type::RELEASE],
            })
            .collect();
        // It takes effect by itself; nobody waits for it.
        drop(broker.shares.acknowledge(key, it.partition, &batches));
    }
}

async fn fetch(
    broker: &Broker,
    ctx: &RequestContext,
    request: &ShareFetchRequest,
    key: &SessionKey,
    context: &SessionContext,
    max_wait_ms: u64,
) -> Vec<FetchedPartition> {
    let partitions = match context {
        SessionContext::Initial(partitions) | SessionContext::Subsequent { partitions, .. } => partitions,
        SessionContext::Final => return Vec::new(),
    };
    let image = broker.image();
    let (mut fetched, mut known) = (Vec::new(), Vec::new());
    for &(topic_id, index) in partitions {
        let error = match image.topics.topic_by_id(topic_id) {
            None => Some(ErrorCode::UnknownTopicId),
            Some(topic) if topic.partition(index).is_none() => Some(ErrorCode::UnknownTopicOrPartition),
            Some(_) => None,
        };
        match error {
            Some(code) => fetched.push(FetchedPartition::failed((topic_id, index), ShareError { code, message: None })),
            None => known.push((topic_id, index)),
        }
    }
    if known.is_empty() {
        return fetched;
    }
    let max_bytes = usize::try_from(request.max_bytes.min(broker.config().fetch_max_bytes)).unwrap_or(0);
    let max_bytes = max_bytes.min(broker.quotas.fetch_burst(ctx).unwrap_or(usize::MAX));
    let fetch = ShareFetch {
        group_id: key.group_id.clone(),
        member_id: key.member_id.as_str().into(),
        mode: if request.share_acquire_mode == 1 { AcquireMode::RecordLimit } else { AcquireMode::BatchOptimized },
        batch_size: i64::from(request.batch_size),
        max_records: i64::from(request.max_records),
        min_bytes: usize::try_from(request.min_bytes).unwrap_or(0).min(max_bytes),
        max_bytes,
        max_wait_ms,
        session_epoch: request.share_session_epoch,
    };
    fetched.extend(broker.shares.fetch(&fetch, known).await);
    fetched
}

/// In a session that goes on, only news is told.
fn select(
    broker: &Broker,
    key: &SessionKey,
    context: &SessionContext,
    fetched: Vec<FetchedPartition>,
) -> Result<Vec<FetchedPartition>, ErrorCode> {
    let SessionContext::Subsequent { epoch, .. } = context else { return Ok(fetched) };
    let answers: Vec<_> = fetched.iter().map(|it| (it.partition, !it.records.is_empty(), it.error.is_some())).collect();
    let selected = broker.shares.sessions.select(key, *epoch, &answers)?;
    Ok(fetched.into_iter().zip(selected).filter(|(_, selected)| *selected).map(|(it, _)| it).collect())
}

fn respond(
    broker: &Broker,
    ctx: &RequestContext,
    group_id: &str,
    fetched: Vec<FetchedPartition>,
    mut acknowledged: HashMap<TopicIdPartition, Result<(), ShareError>>,
) -> ShareFetchResponse {
    let image = broker.image();
    let mut leaders = Vec::new();
    let mut topics: BTreeMap<_, Vec<PartitionData>> = BTreeMap::new();
    let acknowledge = |data: &mut PartitionData, result: Result<(), ShareError>| {
        if let Err(error) = result {
            data.acknowledge_error_code = error.code.code();
            data.acknowledge_error_message = error.message;
        }
    };
    for it in fetched {
        let (topic_id, partition_index) = it.partition;
        let mut data = PartitionData {
            partition_index,
            records: Some(it.records),
            acquired_records: it
                .acquired
                .iter()
                .map(|acquired| AcquiredRecords {
                    first_offset: acquired.first_offset,
                    last_offset: acquired.last_offset,
                    delivery_count: acquired.delivery_count,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        };
        if let Some(error) = it.error {
            data.error_code = error.code.code();
            data.error_message = error.message;
            if matches!(error.code, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch)
                && let Some(partition) = image.topics.topic_by_id(topic_id).and_then(|topic| topic.partition(partition_index))
            {
                data.current_leader =
                    LeaderIdAndEpoch { leader_id: partition.leader, leader_epoch: partition.leader_epoch, ..Default::default() };
                leaders.push(partition.leader);
            }
        }
        if let Some(result) = acknowledged.remove(&it.partition) {
            acknowledge(&mut data, result);
        }
        topics.entry(topic_id).or_default().push(data);
    }
    for ((topic_id, partition_index), result) in acknowledged {
        let mut data = PartitionData { partition_index, records: Some(Records::default()), ..Default::default() };
        acknowledge(&mut data, result);
        topics.entry(topic_id).or_default().push(data);
    }
    ShareFetchResponse {
        acquisition_lock_timeout_ms: broker.shares.lock_duration_ms(group_id),
        responses: topics
            .into_iter()
            .map(|(topic_id, partitions)| ShareFetchableTopicResponse { topic_id, partitions, ..Default::default() })
            .collect(),
        node_endpoints: leader_endpoints::of(&image, &ctx.listener_name, leaders, |node_id, host, port, rack| NodeEndpoint {
            node_id,
            host,
            port,
            rack,
            ..Default::default()
        }),
        ..Default::default()
    }
}
