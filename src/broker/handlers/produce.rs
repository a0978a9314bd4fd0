//! Produce 3-13: appends one record batch to each of any number of partitions. Sources: `KafkaApis.handleProduceRequest`,
//! `ReplicaManager.appendRecords`, `ProduceRequest.validateRecords`.
//!
//! - `acks=0`: no response; an error closes the connection, the only way this client can learn of it. `acks=1`: after the leader's
//!   append. `acks=-1`: after the high watermark has passed it, or REQUEST_TIMED_OUT after the request's timeout.
//! - From version 13 on topics are named by id; an unknown id is UNKNOWN_TOPIC_ID.
//! - From version 10 on NOT_LEADER_OR_FOLLOWER carries the leader (KIP-951); from version 8 on a refused batch carries the records at
//!   fault (KIP-467).
//! - The first batch of a transaction in a partition is verified with the transaction coordinator; from version 12 on it adds the
//!   partition to the transaction (KIP-890). Version 11 knows TRANSACTION_ABORTABLE.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::broker::dispatch::Answer;
use crate::broker::leader_endpoints;
use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::broker::transaction_verification::{self, TransactionSupport, Verified};
use crate::common::topic_name;
use crate::common::topic_partition::TopicPartition;
use crate::coordinator::transaction::ProducerIdAndEpoch;
use crate::metadata::image::MetadataImage;
use crate::protocol::batch::{BatchError, BatchHeader, Batches};
use crate::protocol::compression::Compression;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use crate::protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use crate::protocol::messages::{ProduceRequest, ProduceResponse};
use crate::protocol::records::Records;
use crate::replication::partition::{Partition, PartitionAppendError};
use crate::replication::waiters::Waiter;
use crate::storage::errors::{AppendError, RecordError};
use crate::storage::log::{AppendOrigin, AppendTransaction};

/// The client that may write to internal topics.
const ADMIN_CLIENT_ID: &str = "__admin_client";
/// From this size on a compressed batch may take a noticeable time to check, if it was made for that.
const HEAVY_BATCH_BYTES: usize = 16 * 1024;
/// After an append that took this long others have their turn.
const LONG_APPEND: Duration = Duration::from_millis(2);

/// A refusal of one partition's records.
#[derive(Debug)]
struct Refusal {
    code: ErrorCode,
    /// Only where Kafka gives more than the code's own text.
    message: Option<String>,
    record_errors: Vec<RecordError>,
    /// -1 where Kafka does not look.
    log_start_offset: i64,
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Refusal {
        Refusal { code, message: None, record_errors: Vec::new(), log_start_offset: -1 }
    }
}

impl From<PartitionAppendError> for Refusal {
    fn from(error: PartitionAppendError) -> Refusal {
        let code = error.error_code();
        match error {
            PartitionAppendError::Log(
                AppendError::InvalidRecord { message, record_errors } | AppendError::InvalidTimestamp { message, record_errors },
                // Without records at fault Kafka keeps the text to itself.
            ) => Refusal { message: (!record_errors.is_empty()).then_some(message), record_errors, ..code.into() },
            _ => code.into(),
        }
    }
}

/// A partition whose `acks=-1` is still to come: where its response is and up to which offset it must be replicated.
struct Pending {
    partition: Arc<Partition>,
    topic_at: usize,
    partition_at: usize,
    last_offset: i64,
    leader_epoch: i32,
}

pub(crate) async fn handle(broker: &Arc<Broker>, ctx: &RequestContext, request: ProduceRequest) -> Answer<ProduceResponse> {
    let image = broker.image();
    let acks = request.acks;
    let transaction = match Transaction::of(broker, ctx, &image, &request).await {
        Ok(transaction) => transaction,
        Err(error) => return refuse_all(request, error),
    };
    let shared = Shared { broker, ctx, image: &image, acks, transaction };
    let mut pending = Vec::new();
    let mut responses: Vec<TopicProduceResponse> = Vec::with_capacity(request.topic_data.len());
    for topic in request.topic_data.into_iter().filter(|topic| !topic.partition_data.is_empty()) {
        let topic_at = responses.len();
        responses.push(append_topic(&shared, topic, topic_at, &mut pending).await);
    }
    if acks == 0 {
        return without_response(&responses);
    }
    if !pending.is_empty() {
        let started = Instant::now();
        wait_for_replicas(&mut responses, pending, request.timeout_ms).await;
        ctx.waited.add(started.elapsed());
    }
    let node_endpoints = name_leaders(&broker.image(), ctx, &mut responses);
    Answer::Response(ProduceResponse { responses, node_endpoints, ..Default::default() })
}

/// To `acks=0`: the only way to tell this client of an error is to close its connection.
fn without_response(responses: &[TopicProduceResponse]) -> Answer<ProduceResponse> {
    let failed = responses.iter().flat_map(|topic| topic.partition_responses.iter().map(move |partition| (topic, partition)));
    let mut failed = failed.filter(|(_, partition)| partition.error_code != ErrorCode::None.code());
    match failed.next() {
        None => Answer::Nothing,
        Some((topic, partition)) => Answer::Close(format!(
            "a produce request with acks=0 failed for {}-{}: {}",
            topic.name,
            partition.index,
            ErrorCode::from_code(partition.error_code).name()
        )),
    }
}

/// The same error for every partition.
fn refuse_all(request: ProduceRequest, error: ErrorCode) -> Answer<ProduceResponse> {
    let topics = request.topic_data.into_iter();
    let responses: Vec<TopicProduceResponse> = topics
        .map(|topic| TopicProduceResponse {
            partition_responses: topic.partition_data.iter().map(|it| refused(it.index, error.into())).collect(),
            name: topic.name,
            topic_id: topic.topic_id,
            ..Default::default()
        })
        .collect();
    if request.acks == 0 {
        return without_response(&responses);
    }
    Answer::Response(ProduceResponse { responses, ..Default::default() })
}

/// What is known of the transaction that a request's batches belong to; of none, nothing.
#[derive(Default)]
struct Transaction {
    /// Batches of an unverified transaction are to be kept out.
    verify: bool,
    verified: HashMap<TopicPartition, Verified>,
    support: Option<TransactionSupport>,
}

impl Transaction {
    /// Verifies the partitions that get transactional batches.
    async fn of(broker: &Broker, ctx: &RequestContext, image: &MetadataImage, request: &ProduceRequest) -> Result<Transaction, ErrorCode> {
        let mut batches = Vec::new();
        let mut producer = None;
        for topic in &request.topic_data {
            for data in &topic.partition_data {
                let Some(Records::Bytes(records)) = &data.records else { continue };
                let Some(header) = BatchHeader::parse(records).ok().filter(|it| it.is_transactional() && it.has_producer_id()) else {
                    continue;
                };
                let this = ProducerIdAndEpoch { producer_id: header.producer_id, producer_epoch: header.producer_epoch };
                if *producer.get_or_insert(this) != this {
                    return Err(ErrorCode::InvalidProducerIdMapping);
                }
                let name = match ctx.api_version {
                    13.. => image.topics.topic_by_id(topic.topic_id).map(|topic| topic.name.as_str()),
                    _ => Some(topic.name.as_str()),
                };
                // What is refused anyway joins no transaction.
                let may_join =
                    |name: &&str| image.topics.partition(name, data.index).is_some() && validate(ctx.api_version, records).is_ok();
                if let Some(name) = name.filter(may_join) {
                    batches.push((TopicPartition::new(name, data.index), header.base_sequence));
                }
            }
        }
        let Some(producer) = producer else { return Ok(Transaction::default()) };
        let Some(transactional_id) = &request.transactional_id else { return Err(ErrorCode::TransactionalIdAuthorizationFailed) };
        let support = TransactionSupport::of_produce(ctx.api_version);
        let verified = transaction_verification::verify(broker, transactional_id, producer, &batches, support).await;
        Ok(Transaction { verify: transaction_verification::is_required(broker), verified, support: Some(support) })
    }

    /// What the append to a partition brings with it, or why there is none.
    fn of_partition(&self, topic: &str, partition: i32) -> Result<AppendTransaction, Refusal> {
        if self.support.is_none() {
            return Ok(AppendTransaction::default());
        }
        let verified = self.verified.get(&TopicPartition::new(topic, partition)).copied().unwrap_or(Ok(None));
        let guard = verified.map_err(|error| {
            let unverified = |code: ErrorCode| {
                let message =
                    format!("Unable to verify the partition has been added to the transaction. Underlying error: {}", error.name());
                Refusal { message: Some(message), ..code.into() }
            };
            match error {
                ErrorCode::InvalidTxnState => {
                    let message = Some("Partition was not added to the transaction".to_owned());
                    Refusal { message, ..error.into() }
                }
                // Older clients do not ask again after these; after NOT_ENOUGH_REPLICAS they do, without fetching metadata.
                ErrorCode::NetworkException
                | ErrorCode::CoordinatorLoadInProgress
                | ErrorCode::CoordinatorNotAvailable
                | ErrorCode::NotCoordinator => unverified(ErrorCode::NotEnoughReplicas),
                ErrorCode::ConcurrentTransactions if self.support != Some(TransactionSupport::AddPartition) => {
                    unverified(ErrorCode::NotEnoughReplicas)
                }
                error => error.into(),
            }
        })?;
        Ok(AppendTransaction { verify: self.verify, guard, ..AppendTransaction::default() })
    }
}

/// What all partitions of a request share.
struct Shared<'a> {
    broker: &'a Broker,
    ctx: &'a RequestContext,
    image: &'a MetadataImage,
    acks: i16,
    transaction: Transaction,
}

async fn append_topic(shared: &Shared<'_>, topic: TopicProduceData, topic_at: usize, pending: &mut Vec<Pending>) -> TopicProduceResponse {
    let &Shared { broker, ctx, image, .. } = shared;
    let mut response =
        TopicProduceResponse { name: topic.name, topic_id: topic.topic_id, partition_responses: Vec::new(), ..Default::default() };
    let by_id = ctx.api_version >= 13;
    let mut refusal = None;
    if by_id {
        match image.topics.topic_by_id(response.topic_id) {
            Some(found) => response.name = found.name.clone(),
            None => refusal = Some(ErrorCode::UnknownTopicId),
        }
    }
    if topic_name::is_internal(&response.name)
        && image.topics.topic(&response.name).is_some()
        && ctx.client_id.as_deref() != Some(ADMIN_CLIENT_ID)
    {
        refusal = refusal.or(Some(ErrorCode::InvalidTopicException));
    }
    let exists = image.topics.topic(&response.name).is_some();
    let counters = exists.then(|| broker.metrics.topics.of(&response.name));
    for data in topic.partition_data {
        let index = data.index;
        let partition_at = response.partition_responses.len();
        let is_heavy = is_heavy(&data);
        let bytes = data.records.as_ref().map_or(0, Records::len);
        let appended = match refusal {
            Some(code) => Err(code.into()),
            None => {
                let topic_id = by_id.then_some(response.topic_id);
                let append = || append_partition(shared, &response.name, topic_id, data);
                if is_heavy {
                    // Only as many at once as there are processors, and no other task waits behind any of them.
                    let _turn = broker.heavy_appends.acquire().await;
                    tokio::task::block_in_place(append)
                } else {
                    let started = Instant::now();
                    let appended = append();
                    if started.elapsed() > LONG_APPEND {
                        // A request may have a thousand of these.
                        tokio::task::yield_now().await;
                    }
                    appended
                }
            }
        };
        if let Some(counters) = &counters {
            counters.produced(bytes, appended.as_ref().ok().map(|appended| appended.records));
        }
        response.partition_responses.push(match appended {
            Ok(Appended { response: appended, wait_for, .. }) => {
                pending.extend(wait_for.map(|(partition, leader_epoch, last_offset)| Pending {
                    partition,
                    topic_at,
                    partition_at,
                    last_offset,
                    leader_epoch,
                }));
                PartitionProduceResponse { index, ..appended }
            }
            Err(refusal) => refused(index, refusal),
        });
    }
    response
}

/// May the records take long to check? A compressed batch can inflate to some thousand times its size.
fn is_heavy(data: &PartitionProduceData) -> bool {
    let Some(Records::Bytes(records)) = &data.records else { return false };
    records.len() > HEAVY_BATCH_BYTES
        && BatchHeader::parse(records).is_ok_and(|header| header.compression().is_ok_and(|codec| codec != Compression::None))
}

/// What became of one partition's records.
struct Appended {
    response: PartitionProduceResponse,
    /// How many were appended.
    records: usize,
    /// The partition, its leader epoch and the last offset, if that is still to be replicated.
    wait_for: Option<(Arc<Partition>, i32, i64)>,
}

fn append_partition(
    shared: &Shared<'_>,
    topic: &str,
    topic_id: Option<crate::common::uuid::Uuid>,
    data: PartitionProduceData,
) -> Result<Appended, Refusal> {
    let &Shared { broker, ctx, acks, .. } = shared;
    let partition = broker.replicas.partition(topic, data.index)?;
    if topic_id.is_some_and(|id| id != partition.topic_id()) {
        return Err(ErrorCode::UnknownTopicId.into());
    }
    let records = match data.records {
        Some(Records::Bytes(bytes)) => bytes,
        // A request never carries a file; an absent field has no batches.
        Some(Records::File(_)) | None => Bytes::new(),
    };
    validate(ctx.api_version, &records)?;
    if !(-1..=1).contains(&acks) {
        return Err(ErrorCode::InvalidRequiredAcks.into());
    }
    let transaction = shared.transaction.of_partition(topic, data.index)?;
    let leader_epoch = partition.leader_epoch();
    let info = partition.append_in_transaction(&records, AppendOrigin::Client, acks, transaction).map_err(|error| {
        let log_start_offset = if tells_log_start(&error) { partition.log().map_or(-1, |log| log.log_start_offset()) } else { -1 };
        Refusal { log_start_offset, ..error.into() }
    })?;
    let response = PartitionProduceResponse {
        base_offset: info.first_offset,
        log_append_time_ms: info.log_append_time_ms,
        log_start_offset: info.log_start_offset,
        ..Default::default()
    };
    let replicated = acks != -1 || partition.is_replicated(info.last_offset, leader_epoch)?;
    let wait_for = (!replicated).then_some((partition, leader_epoch, info.last_offset));
    // What the log had already is not counted again.
    let records = if info.duplicate { 0 } else { usize::try_from(info.record_count).unwrap_or(0) };
    Ok(Appended { response, records, wait_for })
}

/// Does the answer to this error say where the log starts? Errors that Kafka expects do not. Source: `ReplicaManager.appendToLocalLog`.
fn tells_log_start(error: &PartitionAppendError) -> bool {
    use AppendError::{CorruptMessage, MessageTooLarge, RecordListTooLarge, Storage};
    match error {
        PartitionAppendError::Refused(code) => *code == ErrorCode::NotEnoughReplicas,
        PartitionAppendError::Log(error) => !matches!(error, Storage(_) | CorruptMessage(_) | MessageTooLarge(_) | RecordListTooLarge(_)),
    }
}

/// What a produce request may carry for one partition: one batch of magic 2.
fn validate(version: i16, records: &[u8]) -> Result<(), Refusal> {
    let invalid = || Err(ErrorCode::InvalidRecord.into());
    let corrupt = |message| Err(Refusal { message: Some(message), ..ErrorCode::CorruptMessage.into() });
    let mut batches = Batches::new(records);
    let batch = match batches.next() {
        // A torn batch is none at all, as Kafka reads it.
        None | Some(Err(BatchError::Truncated { .. })) => return invalid(),
        Some(Err(BatchError::OldMagic { .. })) => return invalid(),
        Some(Err(BatchError::InvalidMagic { magic, .. })) => return corrupt(format!("Invalid magic found in record: {magic}")),
        Some(Err(BatchError::InvalidLength { length, .. })) if length < 14 => {
            return corrupt(format!("Record size {length} is less than the minimum record overhead (14)"));
        }
        Some(Err(_)) => return Err(ErrorCode::CorruptMessage.into()),
        Some(Ok(batch)) => batch,
    };
    if version < 7 && batch.header().compression().is_ok_and(|compression| compression == Compression::Zstd) {
        return Err(ErrorCode::UnsupportedCompressionType.into());
    }
    if batches.next().is_some_and(|next| !matches!(next, Err(BatchError::Truncated { .. }))) {
        return invalid();
    }
    Ok(())
}

fn refused(index: i32, refusal: Refusal) -> PartitionProduceResponse {
    PartitionProduceResponse {
        index,
        error_code: refusal.code.code(),
        base_offset: -1,
        log_start_offset: refusal.log_start_offset,
        record_errors: refusal
            .record_errors
            .into_iter()
            .map(|error| BatchIndexAndErrorMessage {
                batch_index: error.batch_index,
                batch_index_error_message: Some(error.message),
                ..Default::default()
            })
            .collect(),
        error_message: refusal.message,
        ..Default::default()
    }
}

/// Waits until every pending partition is replicated, or cannot be any more, or the time is up.
async fn wait_for_replicas(responses: &mut [TopicProduceResponse], mut pending: Vec<Pending>, timeout_ms: i32) {
    let waiter = Waiter::new();
    let _registrations: Vec<_> = pending.iter().map(|pending| pending.partition.register(&waiter)).collect();
    let deadline = tokio::time::Instant::now() + Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
    loop {
        pending.retain(|pending| {
            let outcome = pending.partition.is_replicated(pending.last_offset, pending.leader_epoch);
            if let Err(code) = outcome {
                responses[pending.topic_at].partition_responses[pending.partition_at].error_code = code.code();
            }
            outcome == Ok(false)
        });
        if pending.is_empty() {
            return;
        }
        if tokio::time::timeout_at(deadline, waiter.woken()).await.is_err() {
            for pending in pending {
                responses[pending.topic_at].partition_responses[pending.partition_at].error_code = ErrorCode::RequestTimedOut.code();
            }
            return;
        }
    }
}

/// Tells clients that asked the wrong broker which one leads. Gives the endpoints of the leaders that were named.
fn name_leaders(image: &MetadataImage, ctx: &RequestContext, responses: &mut [TopicProduceResponse]) -> Vec<NodeEndpoint> {
    if ctx.api_version < 10 {
        return Vec::new();
    }
    let mut leaders = Vec::new();
    for topic in responses {
        for partition in &mut topic.partition_responses {
            if partition.error_code != ErrorCode::NotLeaderOrFollower.code() {
                continue;
            }
            let Some(registration) = image.topics.partition(&topic.name, partition.index) else { continue };
            partition.current_leader =
                LeaderIdAndEpoch { leader_id: registration.leader, leader_epoch: registration.leader_epoch, ..Default::default() };
            leaders.push(registration.leader);
        }
    }
    leader_endpoints::of(image, &ctx.listener_name, leaders, |node_id, host, port, rack| NodeEndpoint {
        node_id,
        host,
        port,
        rack,
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::batch::BatchBuilder;

    fn batch(compression: Compression) -> Vec<u8> {
        let mut builder = BatchBuilder::new(compression);
        builder.append(1, None, Some(b"value"), &[]).expect("a small record");
        builder.finish_vec().expect("a batch")
    }

    fn code(version: i16, records: &[u8]) -> ErrorCode {
        validate(version, records).err().map_or(ErrorCode::None, |refusal| refusal.code)
    }

    #[test]
    fn a_partition_gets_exactly_one_batch() {
        let one = batch(Compression::None);
        assert_eq!(code(3, &one), ErrorCode::None);
        assert_eq!(code(3, &[one.clone(), one.clone()].concat()), ErrorCode::InvalidRecord);
        assert_eq!(code(3, b""), ErrorCode::InvalidRecord);
        assert_eq!(code(3, &one[..20]), ErrorCode::InvalidRecord);
    }

    #[test]
    fn zstd_needs_version_7() {
        let zstd = batch(Compression::Zstd);
        assert_eq!(code(6, &zstd), ErrorCode::UnsupportedCompressionType);
        assert_eq!(code(7, &zstd), ErrorCode::None);
    }

    #[test]
    fn old_formats_are_invalid_records() {
        let mut old = batch(Compression::None);
        old[16] = 1;
        assert_eq!(code(9, &old), ErrorCode::InvalidRecord);
    }
}
