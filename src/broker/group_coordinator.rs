//! The group coordinator on this broker: its shards over the real `__consumer_offsets`, and the checks that come before a shard is asked.
//! Source: `GroupCoordinatorService`.
//!
//! Which shards are here follows the metadata ([`Publisher`]): a partition that this broker leads is loaded from its log and served; until
//! it is loaded, clients are told COORDINATOR_LOAD_IN_PROGRESS, elsewhere NOT_COORDINATOR. Register after [`Replicas`], whose partitions
//! are read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::config::{BrokerConfig, DynamicConfig};
use super::coordinator_log::CoordinatorLog;
use super::request_context::RequestContext;
use crate::common::clock::Clock;
use crate::common::random::Random;
use crate::common::topic_name;
use crate::common::uuid::Uuid;
use crate::coordinator::group::config::{Bounded, GroupCoordinatorConfig, MigrationPolicy};
use crate::coordinator::group::consumer::{RegexResolution, resolve_regexes};
use crate::coordinator::group::modern::assignor;
use crate::coordinator::group::modern::topics::TopicsDelta;
use crate::coordinator::group::streams::{StreamsHeartbeatAnswer, validate_streams_group_heartbeat};
use crate::coordinator::group::{ClientContext, GroupShard, ParkedResponse, validate_consumer_group_heartbeat, validate_join_group};
use crate::coordinator::java_hash;
use crate::coordinator::runtime::{Effects, Runtime, TransactionMarker, TransactionalProducer};
use crate::metadata::delta::MetadataDelta;
use crate::metadata::features;
use crate::metadata::image::{ConfigResource, ConfigResourceType, MetadataImage};
use crate::metadata::publisher::Publisher;
use crate::protocol::compression::Compression;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::consumer_group_describe_response::DescribedGroup as ConsumerDescribedGroup;
use crate::protocol::messages::delete_groups_response::DeletableGroupResult;
use crate::protocol::messages::describe_groups_response::DescribedGroup;
use crate::protocol::messages::list_groups_response::ListedGroup;
use crate::protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use crate::protocol::messages::offset_fetch_response::OffsetFetchResponseGroup;
use crate::protocol::messages::streams_group_describe_response::DescribedGroup as StreamsDescribedGroup;
use crate::protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, LeaveGroupResponse, OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse,
    StreamsGroupHeartbeatRequest, SyncGroupRequest, SyncGroupResponse, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};
use crate::replication::replicas::Replicas;

/// The group coordinator. Shared as an `Arc`.
pub(crate) struct GroupCoordinator {
    pub(super) runtime: Arc<Runtime<GroupShard, CoordinatorLog>>,
    config: GroupCoordinatorConfig,
    /// Does `group.coordinator.rebalance.protocols` name the consumer protocol?
    consumer_protocol_enabled: bool,
    /// Does it name the streams protocol?
    streams_protocol_enabled: bool,
    newest: Arc<Mutex<Newest>>,
    dynamic_config: Arc<DynamicConfig>,
    replicas: Arc<Replicas>,
    tasks: tokio::runtime::Handle,
}

/// What a new shard begins with.
struct Newest {
    image: Arc<MetadataImage>,
    config: GroupCoordinatorConfig,
}

/// An offset that a group has committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupOffset {
    pub(crate) group_id: String,
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

impl GroupCoordinator {
    /// A coordinator without shards; they come with the first metadata. Must be called within a tokio runtime.
    pub(crate) fn new(dynamic_config: Arc<DynamicConfig>, clock: Arc<dyn Clock>, replicas: Arc<Replicas>) -> GroupCoordinator {
        let config = dynamic_config.static_config();
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
        let commit_timeout_ms = group_config.offsets_commit_timeout_ms;
        let newest = Arc::new(Mutex::new(Newest { image: Arc::default(), config: group_config.clone() }));
        let of_new_shards = Arc::clone(&newest);
        let new_shard = move |_| {
            let newest = locked(&of_new_shards);
            GroupShard::new(newest.config.clone(), Arc::clone(&newest.image), Random::from_entropy())
        };
        GroupCoordinator {
            runtime: Arc::new(Runtime::new(log, clock, commit_timeout_ms, new_shard)),
            config: group_config,
            consumer_protocol_enabled: is_protocol_enabled(config, "consumer"),
            streams_protocol_enabled: is_protocol_enabled(config, "streams"),
            newest,
            dynamic_config,
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

    /// Runs the resolutions of regular expressions that a shard's operation asked for, beside the shard.
    fn regex_resolver(&self, partition: i32) -> impl FnOnce(&mut GroupShard) + Send + 'static {
        let (runtime, tasks) = (Arc::clone(&self.runtime), self.tasks.clone());
        move |shard| {
            while let Some(resolution) = shard.take_regex_resolution() {
                tasks.spawn(resolve(Arc::clone(&runtime), partition, resolution));
            }
        }
    }

    pub(crate) async fn join_group(&self, ctx: &RequestContext, request: JoinGroupRequest) -> JoinGroupResponse {
        let failed =
            |member_id: String, error: ErrorCode| JoinGroupResponse { member_id, error_code: error.code(), ..JoinGroupResponse::default() };
        if let Err(error) = validate_join_group(&self.config, &request) {
            return failed(request.member_id, error);
        }
        let client = client(ctx);
        let partition = self.partition_for(&request.group_id);
        let resolve_regexes = self.regex_resolver(partition);
        let parked = self.runtime.park(partition, move |shard, now, waiter| {
            let effects = shard.join_group(now, &client, request, waiter);
            resolve_regexes(shard);
            effects
        });
        match parked.await {
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

    /// Do the configs and the features of the cluster let members use the consumer protocol (KIP-848)?
    pub(crate) fn is_consumer_protocol_enabled(&self) -> bool {
        self.consumer_protocol_enabled && self.replicas.image().features.level(features::GROUP_VERSION) >= 1
    }

    pub(crate) async fn consumer_group_heartbeat(
        &self,
        ctx: &RequestContext,
        request: ConsumerGroupHeartbeatRequest,
    ) -> ConsumerGroupHeartbeatResponse {
        let failed = |error: ErrorCode, error_message: Option<String>| ConsumerGroupHeartbeatResponse {
            error_code: error.code(),
            error_message,
            ..ConsumerGroupHeartbeatResponse::default()
        };
        if let Err(error) = validate_consumer_group_heartbeat(&self.config, &request, ctx.api_version) {
            return failed(error.error, Some(error.message));
        }
        let client = client(ctx);
        let partition = self.partition_for(&request.group_id);
        let resolve_regexes = self.regex_resolver(partition);
        let beat = self.runtime.write(partition, move |shard, now| {
            let answer = shard.consumer_group_heartbeat(now, &client, request);
            resolve_regexes(shard);
            Ok(answer)
        });
        beat.await.unwrap_or_else(|error| failed(error, Some(error.message().to_owned())))
    }

    pub(crate) async fn describe_consumer_groups(&self, group_ids: Vec<String>) -> Vec<ConsumerDescribedGroup> {
        let mut described = Vec::with_capacity(group_ids.len());
        for group_id in group_ids {
            let failed = |group_id: String, error: ErrorCode| ConsumerDescribedGroup {
                group_id,
                error_code: error.code(),
                ..ConsumerDescribedGroup::default()
            };
            if group_id.is_empty() {
                described.push(failed(group_id, ErrorCode::InvalidGroupId));
                continue;
            }
            let partition = self.partition_for(&group_id);
            let id = group_id.clone();
            let group = self.runtime.read(partition, move |shard| shard.describe_consumer_group(&id)).await;
            described.push(group.unwrap_or_else(|error| failed(group_id, error)));
        }
        described
    }

    /// Do the configs and the features of the cluster let members use the streams protocol (KIP-1071)?
    pub(crate) fn is_streams_protocol_enabled(&self) -> bool {
        self.streams_protocol_enabled && self.replicas.image().features.level(features::STREAMS_VERSION) >= 1
    }

    pub(crate) async fn streams_group_heartbeat(
        &self,
        ctx: &RequestContext,
        request: StreamsGroupHeartbeatRequest,
    ) -> StreamsHeartbeatAnswer {
        if let Err(error) = validate_streams_group_heartbeat(&request) {
            return error.into();
        }
        let client = client(ctx);
        let partition = self.partition_for(&request.group_id);
        let beat = self.runtime.write(partition, move |shard, now| Ok(shard.streams_group_heartbeat(now, &client, request)));
        beat.await.unwrap_or_else(StreamsHeartbeatAnswer::from)
    }

    /// How often members of this group are told to heartbeat.
    pub(crate) fn streams_heartbeat_interval_ms(&self, group_id: &str) -> i32 {
        let image = self.replicas.image();
        let own = image.configs.value(&ConfigResource::group(group_id), "streams.heartbeat.interval.ms");
        self.config.streams_heartbeat_interval_ms.for_group(own)
    }

    pub(crate) async fn describe_streams_groups(&self, group_ids: Vec<String>) -> Vec<StreamsDescribedGroup> {
        let mut described = Vec::with_capacity(group_ids.len());
        for group_id in group_ids {
            let failed = |group_id: String, error: ErrorCode| StreamsDescribedGroup {
                group_id,
                error_code: error.code(),
                ..StreamsDescribedGroup::default()
            };
            if group_id.is_empty() {
                described.push(failed(group_id, ErrorCode::InvalidGroupId));
                continue;
            }
            let partition = self.partition_for(&group_id);
            let id = group_id.clone();
            let group = self.runtime.read(partition, move |shard| shard.describe_streams_group(&id)).await;
            described.push(group.unwrap_or_else(|error| failed(group_id, error)));
        }
        described
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

    /// Every offset committed by the groups here; those of shards that are being loaded are left out.
    pub(crate) async fn committed_offsets(&self) -> Vec<GroupOffset> {
        let mut all = Vec::new();
        for partition in self.runtime.partitions() {
            let read = self.runtime.read(partition, |shard| {
                let committed = shard.offsets().iter().map(|(group, topic, partition, committed)| GroupOffset {
                    group_id: group.to_owned(),
                    topic: topic.to_owned(),
                    partition,
                    offset: committed.committed_offset,
                });
                committed.collect::<Vec<_>>()
            });
            all.extend(read.await.unwrap_or_default());
        }
        all
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

    fn publish(&self, delta: &MetadataDelta, image: &Arc<MetadataImage>) {
        // Before any shard is made, so that none begins with less than it is told of.
        locked(&self.newest).image = Arc::clone(image);
        if delta.changed_configs().iter().any(|resource| resource.type_ == ConfigResourceType::Broker) {
            let config = group_config(&self.dynamic_config.current());
            locked(&self.newest).config = config.clone();
            self.runtime.tell_all(move |shard, _| {
                shard.set_config(config.clone());
                Effects::default()
            });
        }
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
        let mut topics = TopicsDelta::default();
        for (topic, changes) in delta.changed_topics() {
            topics.created |= changes.created;
            topics.changed.insert(topic.name.clone());
        }
        topics.changed.extend(delta.deleted_topics().map(|topic| topic.name.clone()));
        let image = Arc::clone(image);
        self.runtime.tell_all(move |shard, _| {
            shard.on_new_metadata_image(Arc::clone(&image), &topics);
            Effects::default()
        });
        if !deleted.is_empty() {
            self.forget_topics(deleted);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while the lock was held leaves a whole value: it is only ever replaced.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Matches a group's regular expressions with the topics, beside the shard, and gives it the result.
async fn resolve(runtime: Arc<Runtime<GroupShard, CoordinatorLog>>, partition: i32, resolution: RegexResolution) {
    let group_id = resolution.group_id.clone();
    let resolved = tokio::task::spawn_blocking(move || resolve_regexes(&resolution)).await.ok();
    let stored = runtime.write(partition, move |shard, now| Ok(((), shard.regexes_resolved(now, &group_id, resolved)))).await;
    if let Err(error) = stored {
        tracing::debug!(partition, %error, "resolved regular expressions could not be stored");
    }
}

pub(super) fn client(ctx: &RequestContext) -> ClientContext {
    ClientContext { client_id: ctx.client_id.clone().unwrap_or_default(), client_host: ctx.client_host(), api_version: ctx.api_version }
}

/// `group.KIND.SETTING` with its bounds `group.KIND.min.SETTING` and `group.KIND.max.SETTING`.
fn bounded(config: &BrokerConfig, kind: &str, setting: &str) -> Bounded {
    Bounded {
        default: int(config, &format!("group.{kind}.{setting}")),
        min: int(config, &format!("group.{kind}.min.{setting}")),
        max: int(config, &format!("group.{kind}.max.{setting}")),
    }
}

fn int(config: &BrokerConfig, name: &str) -> i32 {
    i32::try_from(config.long(name)).unwrap_or(i32::MAX)
}

/// Does `group.coordinator.rebalance.protocols` name this protocol?
fn is_protocol_enabled(config: &BrokerConfig, protocol: &str) -> bool {
    config.value("group.coordinator.rebalance.protocols").as_list().is_some_and(|names| names.iter().any(|name| name == protocol))
}

/// The names of the assignors, which the config may give by their classes.
fn consumer_assignors(config: &BrokerConfig) -> Vec<String> {
    let named = config.value("group.consumer.assignors").as_list().unwrap_or_default();
    let mut names = Vec::with_capacity(named.len());
    for name in named {
        match assignor::consumer_assignor(name) {
            Some(assignor) => names.push(assignor.name().to_owned()),
            None => tracing::error!(assignor = name, "group.consumer.assignors names an assignor that is not built in"),
        }
    }
    names
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
        consumer_session_timeout_ms: bounded(config, "consumer", "session.timeout.ms"),
        consumer_heartbeat_interval_ms: bounded(config, "consumer", "heartbeat.interval.ms"),
        consumer_assignment_interval_ms: bounded(config, "consumer", "assignment.interval.ms"),
        streams_session_timeout_ms: bounded(config, "streams", "session.timeout.ms"),
        streams_heartbeat_interval_ms: bounded(config, "streams", "heartbeat.interval.ms"),
        streams_assignment_interval_ms: bounded(config, "streams", "assignment.interval.ms"),
        streams_initial_rebalance_delay_ms: Bounded {
            default: int(config, "group.streams.initial.rebalance.delay.ms"),
            min: 0,
            max: i32::MAX,
        },
        streams_num_standby_replicas: Bounded {
            default: int(config, "group.streams.num.standby.replicas"),
            min: 0,
            max: int(config, "group.streams.max.standby.replicas"),
        },
        streams_max_size: usize::try_from(config.long("group.streams.max.size")).unwrap_or(0),
        consumer_max_size: usize::try_from(config.long("group.consumer.max.size")).unwrap_or(0),
        consumer_assignors: consumer_assignors(config),
        consumer_migration_policy: MigrationPolicy::parse(config.value("group.consumer.migration.policy").as_str().unwrap_or_default()),
        consumer_regex_refresh_interval_ms: config.long("group.consumer.regex.refresh.interval.ms"),
        share_session_timeout_ms: bounded(config, "share", "session.timeout.ms"),
        share_heartbeat_interval_ms: bounded(config, "share", "heartbeat.interval.ms"),
        share_assignment_interval_ms: bounded(config, "share", "assignment.interval.ms"),
        share_max_size: usize::try_from(config.long("group.share.max.size")).unwrap_or(0),
        share_initialize_retry_interval_ms: config.long("group.share.initialize.retry.interval.ms"),
        ..GroupCoordinatorConfig::default()
    }
}
