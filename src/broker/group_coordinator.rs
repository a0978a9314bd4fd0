//! The group coordinator on this broker: its shards over the real `__consumer_offsets`, and the checks that come before a shard is asked.
//! Source: `GroupCoordinatorService`.
//!
//! Which shards are here follows the metadata ([`Publisher`]): a partition that this broker leads is loaded from its log and served; until
//! it is loaded, clients are told COORDINATOR_LOAD_IN_PROGRESS, elsewhere NOT_COORDINATOR. Register after [`Replicas`], whose partitions
//! are read.

use std::sync::Arc;

use super::config::BrokerConfig;
use super::coordinator_log::CoordinatorLog;
use super::request_context::RequestContext;
use crate::common::clock::Clock;
use crate::common::random::Random;
use crate::common::topic_name;
use crate::common::uuid::Uuid;
use crate::coordinator::group::config::GroupCoordinatorConfig;
use crate::coordinator::group::{ClientContext, GroupShard, ParkedResponse, validate_join_group};
use crate::coordinator::java_hash;
use crate::coordinator::runtime::{Effects, Runtime, TransactionMarker, TransactionalProducer};
use crate::metadata::delta::MetadataDelta;
use crate::metadata::image::MetadataImage;
use crate::metadata::publisher::Publisher;
use crate::protocol::compression::Compression;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::delete_groups_response::DeletableGroupResult;
use crate::protocol::messages::describe_groups_response::DescribedGroup;
use crate::protocol::messages::list_groups_response::ListedGroup;
use crate::protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use crate::protocol::messages::offset_fetch_response::OffsetFetchResponseGroup;
use crate::protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, OffsetCommitRequest,
    OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse, SyncGroupRequest, SyncGroupResponse, TxnOffsetCommitRequest,
    TxnOffsetCommitResponse,
};
use crate::replication::replicas::Replicas;

/// The group coordinator. Shared as an `Arc`.
pub(crate) struct GroupCoordinator {
    runtime: Arc<Runtime<GroupShard, CoordinatorLog>>,
    config: GroupCoordinatorConfig,
    replicas: Arc<Replicas>,
    tasks: tokio::runtime::Handle,
}

impl GroupCoordinator {
    /// A coordinator without shards; they come with the first metadata. Must be called within a tokio runtime.
    pub(crate) fn new(config: &BrokerConfig, clock: Arc<dyn Clock>, replicas: Arc<Replicas>) -> GroupCoordinator {
        let group_config = group_config(config);
        let log = Arc::new(CoordinatorLog {
            topic: topic_name::CONSUMER_OFFSETS,
            replicas: Arc::clone(&replicas),
            clock: Arc::clone(&clock),
            compression: u8::try_from(config.offsets_topic_compression_codec)
                .ok()
                .and_then(Compression::from_id)
                .unwrap_or(Compression::None),
            load_buffer_bytes: usize::try_from(config.offsets_load_buffer_size).unwrap_or(1).max(1),
        });
        let shard_config = group_config.clone();
        let commit_timeout_ms = group_config.offsets_commit_timeout_ms;
        let new_shard = move |_| GroupShard::new(shard_config.clone(), Random::from_entropy());
        GroupCoordinator {
            runtime: Arc::new(Runtime::new(log, clock, commit_timeout_ms, new_shard)),
            config: group_config,
            replicas,
            tasks: tokio::runtime::Handle::current(),
        }
    }

    /// The partition of `__consumer_offsets` that a group belongs to; by the number the topic will have when it does not exist yet.
    pub(crate) fn partition_for(&self, group_id: &str) -> i32 {
        let image = self.replicas.image();
        let count = image.topics.topic(topic_name::CONSUMER_OFFSETS).map(|topic| topic.partition_count());
        let count = count.and_then(|count| i32::try_from(count).ok()).unwrap_or(self.config.offsets_topic_num_partitions);
        java_hash::partition_for(group_id, count)
    }

    pub(crate) async fn join_group(&self, ctx: &RequestContext, request: JoinGroupRequest) -> JoinGroupResponse {
        let failed =
            |member_id: String, error: ErrorCode| JoinGroupResponse { member_id, error_code: error.code(), ..JoinGroupResponse::default() };
        if let Err(error) = validate_join_group(&self.config, &request) {
            return failed(request.member_id, error);
        }
        let client = client(ctx);
        let partition = self.partition_for(&request.group_id);
        let parked = self.runtime.park(partition, move |shard, now, waiter| shard.join_group(now, &client, request, waiter)).await;
        match parked {
            Ok(ParkedResponse::Join(response)) => response,
            Ok(ParkedResponse::Sync(_)) => failed(String::new(), ErrorCode::UnknownServerError),
            Err(error) => failed(String::new(), error),
        }
    }

    pub(crate) async fn sync_group(&self, request: SyncGroupRequest) -> SyncGroupResponse {
        let failed = |error: ErrorCode| SyncGroupResponse { error_code: error.code(), ..SyncGroupResponse::default() };
        if request.group_id.is_empty() {
            return failed(ErrorCode::InvalidGroupId);
        }
        let partition = self.partition_for(&request.group_id);
        match self.runtime.park(partition, move |shard, now, waiter| shard.sync_group(now, request, waiter)).await {
            Ok(ParkedResponse::Sync(response)) => response,
            Ok(ParkedResponse::Join(_)) => failed(ErrorCode::UnknownServerError),
            Err(error) => failed(error),
        }
    }

    pub(crate) async fn heartbeat(&self, request: HeartbeatRequest) -> Result<(), ErrorCode> {
        if request.group_id.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        let partition = self.partition_for(&request.group_id);
        let beat = self.runtime.write(partition, move |shard, now| shard.heartbeat(now, &request).map(|()| ((), Effects::default()))).await;
        match beat {
            // The member is known in all likelihood, only not yet to us.
            Err(ErrorCode::CoordinatorLoadInProgress) => Ok(()),
            other => other,
        }
    }

    /// `request` in the form of version 3 and later.
    pub(crate) async fn leave_group(&self, request: LeaveGroupRequest) -> LeaveGroupResponse {
        let failed = |error: ErrorCode| LeaveGroupResponse { error_code: error.code(), ..LeaveGroupResponse::default() };
        if request.group_id.is_empty() {
            return failed(ErrorCode::InvalidGroupId);
        }
        let partition = self.partition_for(&request.group_id);
        match self.runtime.write(partition, move |shard, now| Ok(shard.leave_group(now, &request))).await {
            Ok(response) => response,
            Err(error) => failed(error),
        }
    }

    /// `request` with topics that exist, by name and id.
    pub(crate) async fn commit_offsets(
        &self,
        ctx: &RequestContext,
        request: OffsetCommitRequest,
    ) -> Result<OffsetCommitResponse, ErrorCode> {
        let client = client(ctx);
        let partition = self.partition_for(&request.group_id);
        self.runtime.append(partition, move |shard, now| shard.commit_offsets(now, &client, &request)).await
    }

    /// `request` with topics that exist, within the producer's transaction.
    pub(crate) async fn commit_transactional_offsets(
        &self,
        ctx: &RequestContext,
        producer: TransactionalProducer,
        request: TxnOffsetCommitRequest,
    ) -> Result<TxnOffsetCommitResponse, ErrorCode> {
        let (partition, api_version) = (self.partition_for(&request.group_id), ctx.api_version);
        let commit = move |shard: &mut GroupShard, now| shard.commit_transactional_offsets(now, api_version, &request);
        self.runtime.write_in_transaction(partition, producer, commit).await
    }

    /// Ends a producer's transaction in a partition of `__consumer_offsets`.
    pub(crate) async fn end_transaction(&self, partition: i32, marker: TransactionMarker) -> Result<(), ErrorCode> {
        self.runtime.end_transaction(partition, marker).await.map_err(|error| match error {
            // Who has the marker written knows partitions, not coordinators.
            ErrorCode::CoordinatorNotAvailable | ErrorCode::CoordinatorLoadInProgress | ErrorCode::NotCoordinator => {
                ErrorCode::NotLeaderOrFollower
            }
            error => error,
        })
    }

    /// `request` with the topics' names; errors of the whole group are the caller's to put into the response.
    pub(crate) async fn fetch_offsets(
        &self,
        request: OffsetFetchRequestGroup,
        require_stable: bool,
    ) -> Result<OffsetFetchResponseGroup, ErrorCode> {
        let partition = self.partition_for(&request.group_id);
        let fetched = self.runtime.read(partition, move |shard| shard.fetch_offsets(&request, require_stable)).await;
        // Consumers before 3.9 know only this of the errors that say "not now".
        fetched.map_err(|error| if error == ErrorCode::CoordinatorNotAvailable { ErrorCode::NotCoordinator } else { error })
    }

    /// `request` with topics that exist.
    pub(crate) async fn delete_offsets(&self, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
        let failed = |error: ErrorCode| OffsetDeleteResponse { error_code: error.code(), ..OffsetDeleteResponse::default() };
        if request.group_id.is_empty() {
            return failed(ErrorCode::InvalidGroupId);
        }
        let partition = self.partition_for(&request.group_id);
        match self.runtime.write(partition, move |shard, _| shard.delete_offsets(&request)).await {
            Ok(response) => response,
            Err(error) => failed(error),
        }
    }

    pub(crate) async fn describe_groups(&self, group_ids: Vec<String>, api_version: i16) -> Vec<DescribedGroup> {
        let mut described = Vec::with_capacity(group_ids.len());
        for group_id in group_ids {
            let partition = self.partition_for(&group_id);
            let id = group_id.clone();
            let group = self.runtime.read(partition, move |shard| shard.describe_group(&id, api_version)).await;
            described.push(group.unwrap_or_else(|error| DescribedGroup {
                group_id,
                error_code: error.code(),
                ..DescribedGroup::default()
            }));
        }
        described
    }

    pub(crate) async fn list_groups(&self, states_filter: Vec<String>, types_filter: Vec<String>) -> Result<Vec<ListedGroup>, ErrorCode> {
        let (states, types) = (Arc::new(states_filter), Arc::new(types_filter));
        let mut groups = Vec::new();
        for partition in self.runtime.partitions() {
            let (states, types) = (Arc::clone(&states), Arc::clone(&types));
            match self.runtime.read(partition, move |shard| shard.list_groups(&states, &types)).await {
                Ok(listed) => groups.extend(listed),
                // Its groups are another broker's to list.
                Err(ErrorCode::NotCoordinator) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(groups)
    }

    pub(crate) async fn delete_groups(&self, group_ids: Vec<String>) -> Vec<DeletableGroupResult> {
        let mut results = Vec::with_capacity(group_ids.len());
        for group_id in group_ids {
            let partition = self.partition_for(&group_id);
            let ids = vec![group_id.clone()];
            match self.runtime.write(partition, move |shard, _| Ok(shard.delete_groups(&ids))).await {
                Ok(deleted) => results.extend(deleted),
                Err(error) => results.push(DeletableGroupResult { group_id, error_code: error.code(), ..DeletableGroupResult::default() }),
            }
        }
        results
    }

    /// Removes the offsets of topics that are no more, in the background.
    fn forget_topics(&self, deleted: Vec<(String, Uuid)>) {
        let deleted = Arc::new(deleted);
        for partition in self.runtime.partitions() {
            let (runtime, deleted) = (Arc::clone(&self.runtime), Arc::clone(&deleted));
            self.tasks.spawn(async move {
                let forgotten = runtime.write(partition, move |shard, _| Ok(((), shard.on_topics_deleted(&deleted)))).await;
                if let Err(error) = forgotten {
                    tracing::warn!(partition, %error, "offsets of deleted topics stay behind");
                }
            });
        }
    }
}

impl Publisher for GroupCoordinator {
    fn name(&self) -> &str {
        "GroupCoordinator"
    }

    fn publish(&self, delta: &MetadataDelta, _image: &Arc<MetadataImage>) {
        let mut deleted = Vec::new();
        for topic in delta.deleted_topics() {
            if topic.name == topic_name::CONSUMER_OFFSETS {
                topic.partitions.keys().for_each(|&partition| self.runtime.unload(partition));
            } else {
                deleted.push((topic.name.clone(), topic.id));
            }
        }
        for (topic, changes) in delta.changed_topics().filter(|(topic, _)| topic.name == topic_name::CONSUMER_OFFSETS) {
            for &partition in &changes.partitions {
                match topic.partition(partition) {
                    Some(registration) if registration.leader == self.replicas.broker_id() => {
                        self.runtime.load(partition, registration.leader_epoch);
                    }
                    _ => self.runtime.unload(partition),
                }
            }
        }
        if !deleted.is_empty() {
            self.forget_topics(deleted);
        }
    }
}

fn client(ctx: &RequestContext) -> ClientContext {
    ClientContext { client_id: ctx.client_id.clone().unwrap_or_default(), client_host: ctx.client_host(), api_version: ctx.api_version }
}

fn group_config(config: &BrokerConfig) -> GroupCoordinatorConfig {
    GroupCoordinatorConfig {
        min_session_timeout_ms: config.group_min_session_timeout_ms,
        max_session_timeout_ms: config.group_max_session_timeout_ms,
        initial_rebalance_delay_ms: config.group_initial_rebalance_delay_ms,
        max_size: usize::try_from(config.group_max_size).unwrap_or(0),
        offset_metadata_max_size: usize::try_from(config.long("offset.metadata.max.bytes")).unwrap_or(0),
        offsets_retention_ms: i64::from(config.offsets_retention_minutes) * 60_000,
        offsets_retention_check_interval_ms: config.offsets_retention_check_interval_ms,
        offsets_topic_num_partitions: config.offsets_topic_num_partitions,
        offsets_topic_replication_factor: config.offsets_topic_replication_factor,
        offsets_topic_segment_bytes: config.offsets_topic_segment_bytes,
        offsets_commit_timeout_ms: u64::try_from(config.offsets_commit_timeout_ms).unwrap_or(0),
        ..GroupCoordinatorConfig::default()
    }
}
