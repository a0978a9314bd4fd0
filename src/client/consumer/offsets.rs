//! The group's committed offsets: reading and writing them at its coordinator.
//!
//! Source: `ConsumerCoordinator` (`OffsetCommitResponseHandler`, `OffsetFetchResponseHandler`), KIP-709.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{ConsumerError, OffsetAndMetadata, Shared};
use crate::client::cluster::CoordinatorKind;
use crate::client::committed::offset_commit_topics;
use crate::client::error::{ApiError, ClientError};
use crate::client::pool::Use;
use crate::client::retry::Attempts;
use crate::common::topic_partition::TopicPartition;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics};
use crate::protocol::messages::{OffsetCommitRequest, OffsetFetchRequest};

/// The last versions that name topics by their names.
const LAST_BY_NAME: i16 = 9;

/// Commits offsets, retrying what time can heal until `limit` is over.
pub(super) async fn commit(
    shared: &Shared,
    offsets: &BTreeMap<TopicPartition, OffsetAndMetadata>,
    limit: Duration,
) -> Result<(), ConsumerError> {
    let group = shared.settings.group_id.as_deref().ok_or(ConsumerError::NoGroup)?;
    if offsets.is_empty() {
        return Ok(());
    }
    let mut attempts = Attempts::new("commit", limit, shared.cluster.backoff());
    loop {
        let member = shared.state().member.clone();
        let error = match tokio::time::timeout(attempts.remaining(), commit_once(shared, group, offsets)).await {
            Ok(Ok(())) => return Ok(()),
            // The member has another epoch by now.
            Ok(Err(ConsumerError::Client(error))) if error.is(ErrorCode::StaleMemberEpoch) && shared.state().member != member => continue,
            Ok(Err(ConsumerError::Client(error))) if error.is(ErrorCode::StaleMemberEpoch) => return Err(ConsumerError::CommitFailed),
            Ok(Err(ConsumerError::Client(error))) => error,
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(ClientError::TimedOut { call: "commit", timeout: limit, last: None }.into()),
        };
        attempts.pause(error.clone()).await?;
        shared.cluster.recover(&error, None, Some((CoordinatorKind::Group, group))).await;
    }
}

async fn commit_once(shared: &Shared, group: &str, offsets: &BTreeMap<TopicPartition, OffsetAndMetadata>) -> Result<(), ConsumerError> {
    let coordinator = shared.cluster.coordinator(CoordinatorKind::Group, group).await?;
    let connection = shared.cluster.connection(coordinator, Use::General).await?;
    let member = {
        let state = shared.state();
        match state.subscription.is_by_group() {
            true if state.member.generation < 0 => return Err(ConsumerError::CommitFailed),
            true => Some(state.member.clone()),
            false => None,
        }
    };
    let version = connection.version_up_to::<OffsetCommitRequest>(LAST_BY_NAME).map_err(ClientError::from)?;
    let request = OffsetCommitRequest {
        group_id: group.to_owned(),
        generation_id_or_member_epoch: member.as_ref().map_or(-1, |member| member.generation),
        member_id: member.as_ref().map(|member| member.id.clone()).unwrap_or_default(),
        group_instance_id: member.as_ref().and(shared.settings.group_instance_id.clone()),
        topics: offset_commit_topics(offsets),
        ..Default::default()
    };
    let response = connection.send_at(&request, version).await.map_err(ClientError::from)?;
    let mut retriable = None;
    for partition in response.topics.iter().flat_map(|topic| &topic.partitions) {
        match ErrorCode::from_code(partition.error_code) {
            ErrorCode::None => {}
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration if member.is_some() => {
                // A rebalance may have replaced the generation since; then the commit is out of date, not the member.
                if member.as_ref() == Some(&shared.state().member) {
                    shared.group_wake.notify_one();
                }
                return Err(ConsumerError::CommitFailed);
            }
            code => {
                let error = ClientError::from(code);
                if !error.recovery().is_retriable() || code == ErrorCode::RebalanceInProgress {
                    return Err(error.into());
                }
                retriable = Some(error);
            }
        }
    }
    retriable.map_or(Ok(()), |error| Err(error.into()))
}

/// The group's committed offsets of some partitions; those without one are absent.
pub(super) async fn committed(
    shared: &Shared,
    partitions: &[TopicPartition],
) -> Result<BTreeMap<TopicPartition, OffsetAndMetadata>, ConsumerError> {
    let group = shared.settings.group_id.as_deref().ok_or(ConsumerError::NoGroup)?;
    let mut attempts = shared.cluster.attempts("committed");
    loop {
        let error = match committed_once(shared, group, partitions).await {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        attempts.pause(error.clone()).await?;
        shared.cluster.recover(&error, None, Some((CoordinatorKind::Group, group))).await;
    }
}

/// One attempt of [`committed`].
pub(super) async fn committed_once(
    shared: &Shared,
    group: &str,
    partitions: &[TopicPartition],
) -> Result<BTreeMap<TopicPartition, OffsetAndMetadata>, ClientError> {
    let coordinator = shared.cluster.coordinator(CoordinatorKind::Group, group).await?;
    let connection = shared.cluster.connection(coordinator, Use::General).await?;
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition);
    }
    let version = connection.version_up_to::<OffsetFetchRequest>(LAST_BY_NAME)?;
    // Before version 7 a broker cannot be told to wait for open transactions' commits.
    let mut request = OffsetFetchRequest { require_stable: version >= 7, ..Default::default() };
    if version >= 8 {
        let topics = topics.into_iter().map(|(name, partition_indexes)| OffsetFetchRequestTopics {
            name: name.to_owned(),
            partition_indexes,
            ..Default::default()
        });
        let topics = Some(topics.collect());
        request.groups = vec![OffsetFetchRequestGroup { group_id: group.to_owned(), topics, ..Default::default() }];
    } else {
        let topics = topics.into_iter().map(|(name, partition_indexes)| OffsetFetchRequestTopic {
            name: name.to_owned(),
            partition_indexes,
            ..Default::default()
        });
        request.group_id = group.to_owned();
        request.topics = Some(topics.collect());
    }
    let response = connection.send_at(&request, version).await?;
    let mut found = BTreeMap::new();
    let mut take = |topic: &str, partition: i32, offset: i64, epoch: i32, metadata: Option<String>, code: i16| {
        match ErrorCode::from_code(code) {
            ErrorCode::None => {}
            code => return Err(ClientError::from(code)),
        }
        if offset >= 0 {
            let leader_epoch = (epoch >= 0).then_some(epoch);
            let metadata = metadata.unwrap_or_default();
            found.insert(TopicPartition::new(topic, partition), OffsetAndMetadata { offset, leader_epoch, metadata });
        }
        Ok(())
    };
    if version >= 8 {
        for answer in response.groups.into_iter().filter(|answer| answer.group_id == group) {
            ApiError::check(answer.error_code, None)?;
            for topic in answer.topics {
                for it in topic.partitions {
                    take(&topic.name, it.partition_index, it.committed_offset, it.committed_leader_epoch, it.metadata, it.error_code)?;
                }
            }
        }
    } else {
        ApiError::check(response.error_code, None)?;
        for topic in response.topics {
            for it in topic.partitions {
                take(&topic.name, it.partition_index, it.committed_offset, it.committed_leader_epoch, it.metadata, it.error_code)?;
            }
        }
    }
    Ok(found)
}
