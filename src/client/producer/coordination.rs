//! Carries the requests of [`super::transactions`] to coordinators, each once.

use super::sequences::ProducerIdAndEpoch;
use super::transactions::{Answer, EPOCH_BUMP_VERSION, Job, Offsets, Work};
use crate::client::cluster::{Cluster, CoordinatorKind};
use crate::client::conn::Connection;
use crate::client::consumer::ConsumerGroupMetadata;
use crate::client::error::ClientError;
use crate::client::pool::Use;
use crate::common::topic_partition::by_topic;
use crate::protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use crate::protocol::messages::txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic};
use crate::protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest, TxnOffsetCommitRequest,
};

/// The last versions of requests before they meant `transaction.version` 2. Later versions of AddPartitionsToTxn are for brokers.
const LAST_END_BEFORE_VERSION_2: i16 = 4;
const LAST_OFFSET_COMMIT_BEFORE_VERSION_2: i16 = 4;
const LAST_ADD_PARTITIONS_OF_CLIENTS: i16 = 3;

/// Before there is a producer id.
const NOBODY: ProducerIdAndEpoch = ProducerIdAndEpoch { id: -1, epoch: -1 };

/// Sends a job to its coordinator. Also says whether that coordinator can raise epochs, if it is the transactions' and was reached.
pub(super) async fn perform(cluster: &Cluster, job: &Job) -> (Answer, Option<bool>) {
    let (kind, key) = job.coordinator();
    let broker = match cluster.coordinator(kind, key).await {
        Ok(broker) => broker,
        Err(error) => return (Answer::NoCoordinator(error), None),
    };
    let connection = match cluster.connection(broker, Use::General).await {
        Ok(connection) => connection,
        Err(error) => return (Answer::Failed(error), None),
    };
    let raises = connection.version_of::<InitProducerIdRequest>().is_ok_and(|version| version >= EPOCH_BUMP_VERSION);
    let raises = (kind == CoordinatorKind::Transaction).then_some(raises);
    (send(&connection, job).await.unwrap_or_else(Answer::Failed), raises)
}

async fn send(connection: &Connection, job: &Job) -> Result<Answer, ClientError> {
    let transactional_id = job.transactional_id.to_string();
    let ProducerIdAndEpoch { id: producer_id, epoch: producer_epoch } = job.producer.unwrap_or(NOBODY);
    Ok(match &job.work {
        Work::InitProducerId { raise } => {
            let known = if *raise { job.producer.unwrap_or(NOBODY) } else { NOBODY };
            let request = InitProducerIdRequest {
                transactional_id: Some(transactional_id),
                transaction_timeout_ms: job.transaction_timeout_ms,
                producer_id: known.id,
                producer_epoch: known.epoch,
                ..Default::default()
            };
            Answer::InitProducerId(connection.send(&request).await?)
        }
        Work::AddPartitions(partitions) => {
            let topics = by_topic(partitions.iter().map(|it| (&it.topic, it.partition))).into_iter();
            let topics = topics.map(|(name, partitions)| AddPartitionsToTxnTopic { name: name.clone(), partitions, ..Default::default() });
            let request = AddPartitionsToTxnRequest {
                v3_and_below_transactional_id: transactional_id,
                v3_and_below_producer_id: producer_id,
                v3_and_below_producer_epoch: producer_epoch,
                v3_and_below_topics: topics.collect(),
                ..Default::default()
            };
            let version = connection.version_up_to::<AddPartitionsToTxnRequest>(LAST_ADD_PARTITIONS_OF_CLIENTS)?;
            Answer::AddPartitions(connection.send_at(&request, version).await?)
        }
        Work::AddOffsets { group, .. } => {
            let group_id = group.group_id.clone();
            let request = AddOffsetsToTxnRequest { transactional_id, producer_id, producer_epoch, group_id, ..Default::default() };
            Answer::AddOffsets(connection.send(&request).await?)
        }
        Work::CommitOffsets { group, offsets } => {
            let max = if job.version_2 { i16::MAX } else { LAST_OFFSET_COMMIT_BEFORE_VERSION_2 };
            let version = connection.version_up_to::<TxnOffsetCommitRequest>(max)?;
            let ConsumerGroupMetadata { group_id, generation_id, member_id, group_instance_id } = group.clone();
            let request = TxnOffsetCommitRequest {
                transactional_id,
                group_id,
                producer_id,
                producer_epoch,
                // On brokers too old for it this is an error, rather than let a member commit that is gone.
                generation_id,
                member_id,
                group_instance_id,
                topics: offset_topics(offsets),
                ..Default::default()
            };
            Answer::CommitOffsets(connection.send_at(&request, version).await?)
        }
        Work::End { commit, version_2 } => {
            let max = if *version_2 { i16::MAX } else { LAST_END_BEFORE_VERSION_2 };
            let version = connection.version_up_to::<EndTxnRequest>(max)?;
            let request = EndTxnRequest { transactional_id, producer_id, producer_epoch, committed: *commit, ..Default::default() };
            Answer::End(connection.send_at(&request, version).await?)
        }
    })
}

fn offset_topics(offsets: &Offsets) -> Vec<TxnOffsetCommitRequestTopic> {
    let topics = by_topic(offsets.iter().map(|(partition, offset)| {
        let entry = TxnOffsetCommitRequestPartition {
            partition_index: partition.partition,
            committed_offset: offset.offset,
            committed_leader_epoch: offset.leader_epoch.unwrap_or(-1),
            committed_metadata: Some(offset.metadata.clone()),
            ..Default::default()
        };
        (&partition.topic, entry)
    }));
    let topic = |(name, partitions): (&String, _)| TxnOffsetCommitRequestTopic { name: name.clone(), partitions, ..Default::default() };
    topics.into_iter().map(topic).collect()
}
