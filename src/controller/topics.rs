//! Creating topics, adding partitions to them, deleting them.
//!
//! Sources: Kafka's `ReplicationControlManager` for the rules and their texts, `ControllerApis` for duplicates.

use std::collections::{BTreeMap, BTreeSet};

use super::api_error::{ApiError, error_of};
use super::placement::{UsableBroker, place};
use super::{Controller, MAX_RECORDS_PER_OPERATION, Outcome};
use crate::common::topic_name;
use crate::common::uuid::Uuid;
use crate::metadata::image::{ConfigResource, LeaderRecoveryState, PartitionRegistration, directory};
use crate::metadata::record::VersionedRecord;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::create_partitions_request::CreatePartitionsTopic;
use crate::protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use crate::protocol::messages::create_topics_request::CreatableTopic;
use crate::protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use crate::protocol::messages::delete_topics_response::DeletableTopicResult;
use crate::protocol::messages::*;

/// The most partitions that one CreateTopics request may create.
const MAX_PARTITIONS_PER_REQUEST: i64 = 10_000;

/// The text of a request that would cause more records than fit one batch.
pub(super) const TOO_LARGE: &str = "Unable to perform excessively large batch operation.";

impl Controller {
    /// CreateTopics: validation, placement and records, as `ReplicationControlManager.createTopics`.
    pub fn create_topics(&mut self, request: &CreateTopicsRequest) -> Outcome<CreateTopicsResponse> {
        let (mut seen, mut duplicates) = (BTreeSet::new(), BTreeSet::new());
        for topic in &request.topics {
            if !seen.insert(topic.name.as_str()) {
                duplicates.insert(topic.name.as_str());
            }
        }
        let wanted: Vec<&CreatableTopic> = request
            .topics
            .iter()
            .filter(|topic| !duplicates.contains(topic.name.as_str()) && topic.name != topic_name::CLUSTER_METADATA)
            .collect();

        let mut records = Vec::new();
        let too_many = self.planned_partitions(&wanted) > MAX_PARTITIONS_PER_REQUEST;
        let mut topics: Vec<CreatableTopicResult> = Vec::with_capacity(request.topics.len());
        for topic in wanted {
            let created = match too_many {
                true => Err(ApiError::new(ErrorCode::PolicyViolation, "Excessively large number of partitions per request.")),
                false => self.create_topic(topic, &mut records),
            };
            topics.push(created.unwrap_or_else(|error| failed(&topic.name, error)));
        }
        if records.len() > MAX_RECORDS_PER_OPERATION {
            records.clear();
            let refused = ApiError::new(ErrorCode::PolicyViolation, TOO_LARGE);
            topics.iter_mut().for_each(|topic| *topic = failed(&topic.name, refused.clone()));
        }
        for name in duplicates {
            topics.push(failed(name, ApiError::new(ErrorCode::InvalidRequest, "Duplicate topic name.")));
        }
        if seen.contains(topic_name::CLUSTER_METADATA) && !topics.iter().any(|topic| topic.name == topic_name::CLUSTER_METADATA) {
            let text = format!("Creation of internal topic {} is prohibited.", topic_name::CLUSTER_METADATA);
            topics.push(failed(topic_name::CLUSTER_METADATA, ApiError::new(ErrorCode::InvalidRequest, text)));
        }
        if request.validate_only {
            records.clear();
        }
        Outcome { records, response: CreateTopicsResponse { topics, ..Default::default() } }
    }

    /// An upper bound of how many partitions the topics will have.
    fn planned_partitions(&self, topics: &[&CreatableTopic]) -> i64 {
        let default = i64::from(self.schema.default_num_partitions());
        let planned = topics.iter().map(|topic| match topic.num_partitions {
            _ if !topic.assignments.is_empty() => topic.assignments.len() as i64,
            -1 => default,
            count => i64::from(count.max(0)),
        });
        planned.sum()
    }

    fn create_topic(&mut self, topic: &CreatableTopic, records: &mut Vec<VersionedRecord>) -> Result<CreatableTopicResult, ApiError> {
        if self.image.topics.topic(&topic.name).is_some() {
            let text = format!("Topic '{}' already exists.", topic.name);
            return Err(ApiError::new(ErrorCode::TopicAlreadyExists, text));
        }
        if topic_name::has_collision_characters(&topic.name)
            && let Some(colliding) = self.collisions.get(&topic_name::without_dots(&topic.name)).and_then(BTreeSet::first)
        {
            let text = format!("Topic '{}' collides with existing topic: {colliding}", topic.name);
            return Err(ApiError::new(ErrorCode::InvalidTopicException, text));
        }
        topic_name::validate(&topic.name).map_err(|reason| ApiError::new(ErrorCode::InvalidTopicException, reason))?;

        let mut configs = BTreeMap::new();
        let without_value: Vec<&str> =
            topic.configs.iter().filter(|config| config.value.is_none()).map(|config| config.name.as_str()).collect();
        if !without_value.is_empty() {
            let text = format!("Null value not supported for topic configs: {}", without_value.join(","));
            return Err(ApiError::new(ErrorCode::InvalidConfig, text));
        }
        for config in &topic.configs {
            configs.insert(config.name.clone(), config.value.clone().unwrap_or_default());
        }
        let resource = ConfigResource::topic(&topic.name);
        let config_records = self.new_topic_config_records(&resource, &configs)?;
        let partitions = self.new_partitions(topic)?;
        self.apply_partition_change_quota(partitions.len())?;

        let topic_id = Uuid::random(&mut self.random);
        let broker = self.configs_of(&ConfigResource::broker(self.node_id));
        let cluster = self.configs_of(&ConfigResource::broker_default());
        let effective = self.schema.effective_topic_configs(&configs, broker, cluster).into_iter();
        let result = CreatableTopicResult {
            name: topic.name.clone(),
            topic_id,
            // The schema's own default is the empty text.
            error_message: None,
            num_partitions: partitions.len() as i32,
            replication_factor: partitions.first().map_or(-1, |partition| partition.replicas.len() as i16),
            configs: Some(
                effective
                    .map(|config| CreatableTopicConfigs {
                        name: config.name,
                        value: config.value.filter(|_| !config.is_sensitive),
                        read_only: config.read_only,
                        config_source: config.source,
                        is_sensitive: config.is_sensitive,
                        ..Default::default()
                    })
                    .collect(),
            ),
            ..Default::default()
        };
        records.push(VersionedRecord::new(TopicRecord { name: topic.name.clone(), topic_id, ..Default::default() }, 0));
        records.extend(config_records);
        for (index, partition) in partitions.iter().enumerate() {
            records.push(self.partition_record(topic_id, index as i32, partition));
        }
        Ok(result)
    }

    /// The partitions of a new topic: as assigned by hand, or placed.
    fn new_partitions(&mut self, topic: &CreatableTopic) -> Result<Vec<PartitionRegistration>, ApiError> {
        if !topic.assignments.is_empty() {
            return self.assigned_partitions(topic);
        }
        if topic.replication_factor < -1 || topic.replication_factor == 0 {
            let text = "Replication factor must be larger than 0, or -1 to use the default value.";
            return Err(ApiError::new(ErrorCode::InvalidReplicationFactor, text));
        }
        if topic.num_partitions < -1 || topic.num_partitions == 0 {
            let text = "Number of partitions was set to an invalid non-positive value.";
            return Err(ApiError::new(ErrorCode::InvalidPartitions, text));
        }
        let count = if topic.num_partitions == -1 { self.schema.default_num_partitions() } else { topic.num_partitions };
        let factor = match topic.replication_factor {
            -1 => self.schema.default_replication_factor(),
            factor => factor,
        };
        let refuse = |reason: String| {
            let text = format!("Unable to replicate the partition {factor} time(s): {reason}");
            ApiError::new(ErrorCode::InvalidReplicationFactor, text)
        };
        let placements = self.place(count.max(0) as usize, factor).map_err(refuse)?;
        let placed = placements.into_iter().map(|replicas| self.new_partition(replicas));
        let placed: Option<Vec<PartitionRegistration>> = placed.collect();
        placed.ok_or_else(|| refuse("All brokers are currently fenced or in controlled shutdown.".to_owned()))
    }

    fn assigned_partitions(&self, topic: &CreatableTopic) -> Result<Vec<PartitionRegistration>, ApiError> {
        if topic.replication_factor != -1 {
            let text = "A manual partition assignment was specified, but replication factor was not set to -1.";
            return Err(ApiError::new(ErrorCode::InvalidRequest, text));
        }
        if topic.num_partitions != -1 {
            let text = "A manual partition assignment was specified, but numPartitions was not set to -1.";
            return Err(ApiError::new(ErrorCode::InvalidRequest, text));
        }
        let mut partitions = BTreeMap::new();
        let mut replication_factor = None;
        for assignment in &topic.assignments {
            let index = assignment.partition_index;
            if partitions.contains_key(&index) {
                let text = format!("Found multiple manual partition assignments for partition {index}");
                return Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, text));
            }
            self.validate_assignment(&assignment.broker_ids, replication_factor)?;
            replication_factor = Some(assignment.broker_ids.len());
            partitions.insert(index, self.assigned_partition(index, &assignment.broker_ids)?);
        }
        if (0..).zip(partitions.keys()).any(|(expected, &index)| expected != index) {
            let text = "partitions should be a consecutive 0-based integer sequence";
            return Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, text));
        }
        Ok(partitions.into_values().collect())
    }

    fn assigned_partition(&self, index: i32, replicas: &[i32]) -> Result<PartitionRegistration, ApiError> {
        self.new_partition(replicas.to_vec()).ok_or_else(|| {
            let text = format!(
                "All brokers specified in the manual partition assignment for partition {index} are fenced or in controlled shutdown."
            );
            ApiError::new(ErrorCode::InvalidReplicaAssignment, text)
        })
    }

    /// A partition that starts with all active replicas in sync; `None` when there are none.
    fn new_partition(&self, replicas: Vec<i32>) -> Option<PartitionRegistration> {
        let isr: Vec<i32> = replicas.iter().copied().filter(|&id| self.image.cluster.is_active(id)).collect();
        Some(PartitionRegistration {
            directories: replicas.iter().map(|&id| self.default_directory(id)).collect(),
            leader: *isr.first()?,
            isr,
            removing_replicas: Vec::new(),
            adding_replicas: Vec::new(),
            elr: Vec::new(),
            last_known_elr: Vec::new(),
            leader_recovery_state: LeaderRecoveryState::Recovered,
            leader_epoch: 0,
            partition_epoch: 0,
            replicas,
        })
    }

    /// The directory in which a broker will put a new replica: known where it has just one.
    pub(super) fn default_directory(&self, broker_id: i32) -> Uuid {
        match self.image.cluster.broker(broker_id).map(|broker| broker.directories.as_slice()) {
            Some([only]) => *only,
            Some([]) => directory::MIGRATING,
            _ => directory::UNASSIGNED,
        }
    }

    fn place(&mut self, partitions: usize, replication_factor: i16) -> Result<Vec<Vec<i32>>, String> {
        let usable = self.image.cluster.brokers.values().filter(|broker| {
            let cordoned = broker.cordoned_directories.as_deref().unwrap_or_default();
            let uncordoned = broker.directories.is_empty() || broker.directories.iter().any(|id| !cordoned.contains(id));
            !broker.in_controlled_shutdown && uncordoned
        });
        let usable = usable.map(|broker| UsableBroker { id: broker.id, rack: broker.rack.clone(), fenced: broker.fenced });
        place(usable, partitions, replication_factor, &mut self.random)
    }

    pub(super) fn validate_assignment(&self, replicas: &[i32], replication_factor: Option<usize>) -> Result<(), ApiError> {
        let refuse = |text: String| Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, text));
        if replicas.is_empty() {
            return refuse("The manual partition assignment includes an empty replica list.".to_owned());
        }
        let mut sorted = replicas.to_vec();
        sorted.sort_unstable();
        for (index, id) in sorted.iter().enumerate() {
            if self.image.cluster.broker(*id).is_none() {
                return refuse(format!("The manual partition assignment includes broker {id}, but no such broker is registered."));
            }
            if index > 0 && sorted[index - 1] == *id {
                return refuse(format!("The manual partition assignment includes the broker {id} more than once."));
            }
        }
        match replication_factor {
            Some(expected) if expected != sorted.len() => refuse(format!(
                "The manual partition assignment includes a partition with {} replica(s), but this is not consistent with previous \
                 partitions, which have {expected} replica(s).",
                sorted.len()
            )),
            _ => Ok(()),
        }
    }

    /// A partition's whole state as a record.
    fn partition_record(&self, topic_id: Uuid, index: i32, partition: &PartitionRegistration) -> VersionedRecord {
        crate::metadata::snapshot::partition_record(topic_id, index, partition, self.metadata_version())
    }

    /// CreatePartitions: more partitions, never fewer, as `ReplicationControlManager.createPartitions`.
    pub fn create_partitions(&mut self, request: &CreatePartitionsRequest) -> Outcome<CreatePartitionsResponse> {
        let (mut seen, mut duplicates) = (BTreeSet::new(), BTreeSet::new());
        for topic in &request.topics {
            if !seen.insert(topic.name.as_str()) {
                duplicates.insert(topic.name.as_str());
            }
        }
        let result = |name: &str, error: ApiError| CreatePartitionsTopicResult {
            name: name.to_owned(),
            error_code: error.code.code(),
            error_message: error.message,
            ..Default::default()
        };
        let mut results: Vec<CreatePartitionsTopicResult> =
            duplicates.iter().map(|name| result(name, ApiError::new(ErrorCode::InvalidRequest, "Duplicate topic name."))).collect();
        let mut records = Vec::new();
        for topic in request.topics.iter().filter(|topic| !duplicates.contains(topic.name.as_str())) {
            let added = self.add_partitions(topic);
            let error = match added {
                Ok(added) if records.len() + added.len() > MAX_RECORDS_PER_OPERATION => {
                    ApiError::new(ErrorCode::PolicyViolation, TOO_LARGE)
                }
                Ok(added) => {
                    records.extend(added);
                    ApiError::none()
                }
                Err(error) => error,
            };
            results.push(result(&topic.name, error));
        }
        if request.validate_only {
            records.clear();
        }
        Outcome { records, response: CreatePartitionsResponse { results, ..Default::default() } }
    }

    fn add_partitions(&mut self, wanted: &CreatePartitionsTopic) -> Result<Vec<VersionedRecord>, ApiError> {
        let unknown = || ApiError::bare(ErrorCode::UnknownTopicOrPartition);
        let topic = self.image.topics.topic(&wanted.name).cloned().ok_or_else(unknown)?;
        let current = topic.partition_count() as i32;
        if wanted.count == current {
            let text = format!("Topic already has {current} partition(s).");
            return Err(ApiError::new(ErrorCode::InvalidPartitions, text));
        }
        if wanted.count < current {
            let text =
                format!("The topic {} currently has {current} partition(s); {} would not be an increase.", wanted.name, wanted.count);
            return Err(ApiError::new(ErrorCode::InvalidPartitions, text));
        }
        let additional = (wanted.count - current) as usize;
        if let Some(assignments) = &wanted.assignments
            && assignments.len() != additional
        {
            let text = format!(
                "Attempted to add {additional} additional partition(s), but only {} assignment(s) were specified.",
                assignments.len()
            );
            return Err(ApiError::new(ErrorCode::InvalidReplicaAssignment, text));
        }
        if additional > MAX_RECORDS_PER_OPERATION {
            return Err(ApiError::new(ErrorCode::PolicyViolation, TOO_LARGE));
        }
        self.apply_partition_change_quota(additional)?;
        let Some((_, first)) = topic.partitions.get_min() else {
            return Err(ApiError::bare(ErrorCode::UnknownServerError));
        };
        let replication_factor = first.replicas.len();
        let mut records = Vec::with_capacity(additional);
        if let Some(assignments) = &wanted.assignments {
            for (assignment, index) in assignments.iter().zip(current..) {
                self.validate_assignment(&assignment.broker_ids, Some(replication_factor))?;
                let partition = self.assigned_partition(index, &assignment.broker_ids)?;
                records.push(self.partition_record(topic.id, index, &partition));
            }
        } else {
            let refuse = |text: String| ApiError::new(ErrorCode::InvalidReplicationFactor, text);
            let placements = self.place(additional, replication_factor as i16).map_err(refuse)?;
            for (replicas, index) in placements.into_iter().zip(current..) {
                let Some(partition) = self.new_partition(replicas) else {
                    return Err(refuse(format!(
                        "Unable to replicate the partition {replication_factor} time(s): All brokers are currently fenced or in \
                         controlled shutdown."
                    )));
                };
                records.push(self.partition_record(topic.id, index, &partition));
            }
        }
        Ok(records)
    }

    /// DeleteTopics, by name or id, as `ReplicationControlManager.deleteTopics`.
    ///
    /// Differs: answers come in the order of the request, the impossible ones first; Kafka shuffles them to hide which topics
    /// exist, which matters only with an authorizer.
    pub fn delete_topics(&mut self, request: &DeleteTopicsRequest) -> Outcome<DeleteTopicsResponse> {
        let mut responses: Vec<DeletableTopicResult> = Vec::new();
        let mut respond = |name: Option<&str>, id: Uuid, error: ApiError| {
            responses.push(DeletableTopicResult {
                name: name.map(str::to_owned),
                topic_id: id,
                error_code: error.code.code(),
                error_message: error.message,
                ..Default::default()
            });
        };
        let invalid = |text: &str| ApiError::new(ErrorCode::InvalidRequest, text);
        let (mut names, mut ids): (Vec<&str>, Vec<Uuid>) = (request.topic_names.iter().map(String::as_str).collect(), Vec::new());
        for topic in &request.topics {
            match &topic.name {
                None if topic.topic_id.is_zero() => respond(None, Uuid::ZERO, invalid("Neither topic name nor id were specified.")),
                None => ids.push(topic.topic_id),
                Some(name) if topic.topic_id.is_zero() => names.push(name),
                Some(name) => respond(Some(name), topic.topic_id, invalid("You may not specify both topic name and topic id.")),
            }
        }
        let (names, duplicate_names) = without_repeated(&names);
        let (ids, duplicate_ids) = without_repeated(&ids);
        duplicate_names.iter().for_each(|name| respond(Some(name), Uuid::ZERO, invalid("Duplicate topic name.")));
        duplicate_ids.iter().for_each(|&id| respond(None, id, invalid("Duplicate topic id.")));

        let mut doomed: Vec<(String, Uuid)> = Vec::new();
        for id in ids {
            match self.image.topics.topic_by_id(id) {
                Some(topic) => doomed.push((topic.name.clone(), id)),
                None => respond(None, id, ApiError::generic(ErrorCode::UnknownTopicId)),
            }
        }
        for name in names {
            let Some(topic) = self.image.topics.topic(name) else {
                respond(Some(name), Uuid::ZERO, ApiError::generic(ErrorCode::UnknownTopicOrPartition));
                continue;
            };
            let before = doomed.len();
            doomed.retain(|(_, id)| *id != topic.id);
            if doomed.len() < before || duplicate_ids.contains(&topic.id) {
                respond(Some(name), topic.id, invalid("The provided topic name maps to an ID that was already supplied."));
            } else {
                doomed.push((topic.name.clone(), topic.id));
            }
        }
        let mut records = Vec::with_capacity(doomed.len());
        for (name, id) in &doomed {
            let partitions = self.image.topics.topic_by_id(*id).map_or(0, |topic| topic.partition_count());
            let allowed = match records.len() < MAX_RECORDS_PER_OPERATION {
                true => self.apply_partition_change_quota(partitions),
                false => Err(ApiError::new(ErrorCode::PolicyViolation, TOO_LARGE)),
            };
            if allowed.is_ok() {
                records.push(VersionedRecord::new(RemoveTopicRecord { topic_id: *id, ..Default::default() }, 0));
            }
            respond(Some(name), *id, error_of(allowed));
        }
        Outcome { records, response: DeleteTopicsResponse { responses, ..Default::default() } }
    }
}

fn failed(name: &str, error: ApiError) -> CreatableTopicResult {
    CreatableTopicResult {
        name: name.to_owned(),
        error_code: error.code.code(),
        error_message: error.message,
        configs: Some(Vec::new()),
        ..Default::default()
    }
}

/// The items that occur once, in order, and those that occur more often.
fn without_repeated<T: Copy + Ord>(items: &[T]) -> (Vec<T>, BTreeSet<T>) {
    let (mut seen, mut repeated) = (BTreeSet::new(), BTreeSet::new());
    for &item in items {
        if !seen.insert(item) {
            repeated.insert(item);
        }
    }
    (items.iter().copied().filter(|item| !repeated.contains(item)).collect(), repeated)
}
