//! Share groups at the group coordinator of this broker, and the steps that the group coordinator and the share coordinator take together:
//! states are initialized before partitions are assigned, set when offsets are, and forgotten with offsets and groups. Source: the share
//! parts of `GroupCoordinatorService`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::auto_topic_creation;
use super::group_coordinator::{GroupCoordinator, client};
use super::request_context::RequestContext;
use super::server::Broker;
use super::share_coordinator::with_retries;
use crate::common::topic_name;
use crate::common::uuid::Uuid;
use crate::coordinator::group::modern::TopicPartitions;
use crate::coordinator::group::share::{OffsetDeletion, StateDeletion, StateInitialization};
use crate::coordinator::group::{GroupError, validate_share_group_heartbeat};
use crate::coordinator::runtime::Effects;
use crate::coordinator::share::{SharePartitionKey, ShareStateError};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::alter_share_group_offsets_response::AlterShareGroupOffsetsResponseTopic;
use crate::protocol::messages::delete_share_group_offsets_response::DeleteShareGroupOffsetsResponseTopic;
use crate::protocol::messages::share_group_describe_response::DescribedGroup;
use crate::protocol::messages::{
    AlterShareGroupOffsetsRequest, DeleteShareGroupOffsetsRequest, ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse,
};

type StateErrors = BTreeMap<(Uuid, i32), ShareStateError>;

fn group_error(error: ErrorCode) -> GroupError {
    GroupError::new(error, error.message())
}

impl GroupCoordinator {
    /// The answer, and what the share coordinator is to be asked for; see [`initialize_in_background`].
    pub(crate) async fn share_group_heartbeat(
        &self,
        ctx: &RequestContext,
        request: ShareGroupHeartbeatRequest,
    ) -> (ShareGroupHeartbeatResponse, Option<StateInitialization>) {
        let failed = |error: GroupError| ShareGroupHeartbeatResponse {
            error_code: error.error.code(),
            error_message: Some(error.message),
            ..ShareGroupHeartbeatResponse::default()
        };
        if let Err(error) = validate_share_group_heartbeat(&request) {
            return (failed(error), None);
        }
        let client = client(ctx);
        let partition = self.partition_for(&request.group_id);
        let beat = self.runtime.write(partition, move |shard, now| Ok(shard.share_group_heartbeat(now, &client, request))).await;
        beat.unwrap_or_else(|error| (failed(group_error(error)), None))
    }

    pub(crate) async fn describe_share_groups(&self, group_ids: Vec<String>) -> Vec<DescribedGroup> {
        let mut described = Vec::with_capacity(group_ids.len());
        for group_id in group_ids {
            let failed = |group_id: String, error: ErrorCode| DescribedGroup {
                group_id,
                error_code: error.code(),
                error_message: Some(error.message().to_owned()),
                ..DescribedGroup::default()
            };
            if group_id.is_empty() {
                described.push(failed(group_id, ErrorCode::InvalidGroupId));
                continue;
            }
            let partition = self.partition_for(&group_id);
            let id = group_id.clone();
            let group = self.runtime.read(partition, move |shard| shard.describe_share_group(&id)).await;
            described.push(group.unwrap_or_else(|error| failed(group_id, error)));
        }
        described
    }

    /// The partitions of a group that have a state; none for a group that is not there.
    pub(crate) async fn initialized_share_partitions(&self, group_id: &str) -> Result<TopicPartitions, ErrorCode> {
        let (partition, id) = (self.partition_for(group_id), group_id.to_owned());
        let initialized = self.runtime.read(partition, move |shard| {
            let state = shard.share_group(&id).ok().and_then(|group| group.state_partitions());
            state.map(|state| state.initialized_partitions()).unwrap_or_default()
        });
        initialized.await
    }

    async fn share_state_initialized(&self, group_id: String, partitions: TopicPartitions, succeeded: bool) -> Result<(), ErrorCode> {
        let partition = self.partition_for(&group_id);
        let written = self.runtime.write(partition, move |shard, _| {
            let effects = match succeeded {
                true => shard.share_state_initialized(&group_id, &partitions),
                false => shard.share_state_not_initialized(&group_id, &partitions),
            };
            Ok(((), effects))
        });
        written.await
    }

    async fn alter_share_group_offsets(
        &self,
        request: AlterShareGroupOffsetsRequest,
    ) -> Result<(Vec<AlterShareGroupOffsetsResponseTopic>, StateInitialization), GroupError> {
        let partition = self.partition_for(&request.group_id);
        let altered = self.runtime.write(partition, move |shard, now| {
            Ok(match shard.alter_share_group_offsets(now, &request) {
                Ok((answer, effects)) => (Ok(answer), effects),
                Err(error) => (Err(error), Effects::default()),
            })
        });
        altered.await.unwrap_or_else(|error| Err(group_error(error)))
    }

    async fn begin_share_offset_deletion(&self, request: DeleteShareGroupOffsetsRequest) -> Result<OffsetDeletion, GroupError> {
        let partition = self.partition_for(&request.group_id);
        let begun = self.runtime.write(partition, move |shard, _| {
            Ok(match shard.begin_share_offset_deletion(&request) {
                Ok((deletion, effects)) => (Ok(deletion), effects),
                Err(error) => (Err(error), Effects::default()),
            })
        });
        begun.await.unwrap_or_else(|error| Err(group_error(error)))
    }

    async fn complete_share_offset_deletion(&self, group_id: String, topics: BTreeSet<Uuid>) -> Result<(), ErrorCode> {
        let partition = self.partition_for(&group_id);
        self.runtime.write(partition, move |shard, _| Ok(((), shard.complete_share_offset_deletion(&group_id, &topics)))).await
    }

    async fn begin_share_group_deletion(&self, group_id: String) -> Result<Option<StateDeletion>, ErrorCode> {
        let partition = self.partition_for(&group_id);
        self.runtime.write(partition, move |shard, _| shard.begin_share_group_deletion(&group_id)).await
    }
}

/// Asks the share coordinator, whose topic is created if it has to be; gives what failed.
async fn initialize(broker: &Arc<Broker>, ctx: &RequestContext, initialization: &StateInitialization) -> StateErrors {
    if !initialization.partitions.is_empty() && !broker.share_coordinator.topic_exists() {
        auto_topic_creation::create(broker, ctx, &[topic_name::SHARE_GROUP_STATE]).await;
    }
    let mut errors = StateErrors::new();
    for &(topic_id, partition, start_offset) in &initialization.partitions {
        let key = SharePartitionKey { group_id: initialization.group_id.clone(), topic_id, partition };
        let asked = with_retries(|| broker.share_coordinator.initialize(key.clone(), initialization.state_epoch, start_offset)).await;
        if let Err(error) = asked {
            tracing::warn!("the share group state of {key} could not be initialized: {error}");
            errors.insert((topic_id, partition), error);
        }
    }
    errors
}

/// Asks the share coordinator to forget; gives the topics of which something is left, with the reason.
async fn forget(broker: &Arc<Broker>, deletion: &StateDeletion) -> BTreeMap<Uuid, ShareStateError> {
    let mut errors = BTreeMap::new();
    for (&topic_id, partitions) in &deletion.partitions {
        for &partition in partitions {
            let key = SharePartitionKey { group_id: deletion.group_id.clone(), topic_id, partition };
            if let Err(error) = with_retries(|| broker.share_coordinator.delete(key.clone())).await {
                tracing::warn!("the share group state of {key} could not be deleted: {error}");
                errors.entry(topic_id).or_insert(error);
            }
        }
    }
    errors
}

/// Sees an initialization that a heartbeat asked for through; the member learns of it by its next heartbeats.
pub(crate) fn initialize_in_background(broker: &Arc<Broker>, ctx: &RequestContext, initialization: StateInitialization) {
    let (broker, ctx) = (Arc::clone(broker), ctx.clone());
    tokio::spawn(async move {
        let errors = initialize(&broker, &ctx, &initialization).await;
        let partitions = initialization.topic_partitions();
        let group_id = initialization.group_id;
        if let Err(error) = broker.groups.share_state_initialized(group_id.clone(), partitions, errors.is_empty()).await {
            tracing::warn!(group = group_id, %error, "the initialization of share partitions could not be written down");
        }
    });
}

/// Sets offsets of a group without members.
pub(crate) async fn alter_offsets(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: AlterShareGroupOffsetsRequest,
) -> Result<Vec<AlterShareGroupOffsetsResponseTopic>, GroupError> {
    if request.group_id.is_empty() {
        return Err(group_error(ErrorCode::InvalidGroupId));
    }
    let (mut topics, initialization) = broker.groups.alter_share_group_offsets(request).await?;
    let errors = initialize(broker, ctx, &initialization).await;
    if errors.is_empty() {
        let partitions = initialization.topic_partitions();
        broker.groups.share_state_initialized(initialization.group_id, partitions, true).await.map_err(group_error)?;
        return Ok(topics);
    }
    for topic in &mut topics {
        for partition in topic.partitions.iter_mut().filter(|partition| partition.error_code == 0) {
            if let Some(error) = errors.get(&(topic.topic_id, partition.partition_index)) {
                partition.error_code = error.code.code();
                partition.error_message = Some(error.message.clone());
            }
        }
    }
    Ok(topics)
}

/// Removes the offsets of topics from a group without members.
pub(crate) async fn delete_offsets(
    broker: &Arc<Broker>,
    request: DeleteShareGroupOffsetsRequest,
) -> Result<Vec<DeleteShareGroupOffsetsResponseTopic>, GroupError> {
    if request.group_id.is_empty() {
        return Err(group_error(ErrorCode::InvalidGroupId));
    }
    let OffsetDeletion { deletion, errors } = broker.groups.begin_share_offset_deletion(request).await?;
    let Some(deletion) = deletion else { return Ok(errors) };
    let failed = forget(broker, &deletion).await;
    let image = broker.image();
    let answer = |topic_id: Uuid, error: Option<ErrorCode>| DeleteShareGroupOffsetsResponseTopic {
        topic_name: image.topics.topic_by_id(topic_id).map(|topic| topic.name.clone()).unwrap_or_default(),
        topic_id,
        error_code: error.unwrap_or(ErrorCode::None).code(),
        error_message: error.map(|error| error.message().to_owned()),
        ..Default::default()
    };
    let (left, gone): (Vec<Uuid>, Vec<Uuid>) = deletion.partitions.keys().partition(|id| failed.contains_key(id));
    if !gone.is_empty() {
        let completed = broker.groups.complete_share_offset_deletion(deletion.group_id, gone.iter().copied().collect()).await;
        completed.map_err(group_error)?;
    }
    let answered = gone.into_iter().map(|id| answer(id, None));
    let unanswered = left.into_iter().map(|id| answer(id, failed.get(&id).map(|error| error.code)));
    Ok(answered.chain(errors).chain(unanswered).collect())
}

/// Before a group is deleted: if it is a share group, what the share coordinator has of it goes first.
pub(crate) async fn prepare_deletion(broker: &Arc<Broker>, group_id: &str) -> Result<(), ErrorCode> {
    let Some(deletion) = broker.groups.begin_share_group_deletion(group_id.to_owned()).await? else { return Ok(()) };
    match forget(broker, &deletion).await.into_values().next() {
        Some(error) => Err(error.code),
        None => Ok(()),
    }
}
