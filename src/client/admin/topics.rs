//! Topics: list, describe, create, delete, grow.

use std::collections::BTreeMap;

use super::configs::ConfigEntry;
use super::{Admin, Results, all_failed, authorized_operations, spread, wire_millis};
use crate::client::cluster::{AutoCreate, Topics};
use crate::client::error::{ApiError, ClientError};
use crate::client::metadata::partition_metadata;
use crate::common::uuid::Uuid;
use crate::protocol::api_key::ApiKey;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use crate::protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig};
use crate::protocol::messages::delete_topics_request::DeleteTopicState;
use crate::protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use crate::protocol::messages::describe_topic_partitions_response::DescribeTopicPartitionsResponsePartition;
use crate::protocol::messages::metadata_request::MetadataRequestTopic;
use crate::protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeTopicPartitionsRequest, MetadataRequest,
};

/// A topic's name and nature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicListing {
    pub name: String,
    pub topic_id: Uuid,
    pub is_internal: bool,
}

/// A topic to create. `None` leaves the choice to the broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewTopic {
    pub name: String,
    pub num_partitions: Option<i32>,
    pub replication_factor: Option<i16>,
    /// Brokers by partition; instead of the two numbers.
    pub replicas_assignments: BTreeMap<i32, Vec<i32>>,
    pub configs: BTreeMap<String, String>,
}

/// What a broker says of a topic it created; older brokers say nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    pub topic_id: Uuid,
    pub num_partitions: Option<i32>,
    pub replication_factor: Option<i16>,
    pub configs: Option<Vec<ConfigEntry>>,
}

/// A topic's new number of partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPartitions {
    pub total_count: i32,
    /// Brokers for each added partition; `None` lets the broker choose.
    pub assignments: Option<Vec<Vec<i32>>>,
}

/// A topic and its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    pub name: String,
    pub topic_id: Uuid,
    pub is_internal: bool,
    /// In order of their numbers.
    pub partitions: Vec<TopicPartitionInfo>,
    /// Bits of Kafka's AclOperation codes, if asked for.
    pub authorized_operations: Option<i32>,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPartitionInfo {
    pub partition: i32,
    pub leader: Option<i32>,
    pub leader_epoch: Option<i32>,
    pub replicas: Vec<i32>,
    pub isr: Vec<i32>,
    pub offline_replicas: Vec<i32>,
    /// Eligible leader replicas; `None` where the broker does not tell.
    pub elr: Option<Vec<i32>>,
    pub last_known_elr: Option<Vec<i32>>,
}

/// How many partitions one answer may describe.
const PARTITIONS_A_PAGE: i32 = 2000;

impl Admin {
    /// All topics, by name, internal ones too.
    pub async fn list_topics(&self) -> Result<Vec<TopicListing>, ClientError> {
        let response = self.retried("listTopics", || async { self.cluster.refresh(Topics::All, AutoCreate::Never).await }).await?;
        let mut listings: Vec<TopicListing> = response
            .topics
            .into_iter()
            .filter_map(|topic| Some(TopicListing { name: topic.name?, topic_id: topic.topic_id, is_internal: topic.is_internal }))
            .collect();
        listings.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listings)
    }

    /// Describes topics by name, page by page where the broker can (Kafka 3.8), so that no answer is huge.
    pub async fn describe_topics(&self, names: &[String]) -> Results<String, TopicDescription> {
        self.describe_topics_by_pages_of(PARTITIONS_A_PAGE, names).await
    }

    /// The same with at most so many partitions in an answer.
    pub async fn describe_topics_by_pages_of(&self, partitions: i32, names: &[String]) -> Results<String, TopicDescription> {
        let outcome = self
            .retried("describeTopics", || async {
                if self.cluster.serves(ApiKey::DescribeTopicPartitions).await? {
                    self.describe_by_pages(partitions, names).await
                } else {
                    let topics = names.iter().map(|name| MetadataRequestTopic { name: Some(name.clone()), ..Default::default() });
                    let found = self.describe_by_metadata(topics.collect()).await?;
                    Ok(found.into_iter().map(|(name, _, outcome)| (name, outcome)).collect())
                }
            })
            .await;
        spread(names.iter().cloned(), outcome)
    }

    /// Describes topics by id.
    pub async fn describe_topics_by_id(&self, ids: &[Uuid]) -> Results<Uuid, TopicDescription> {
        let outcome = self
            .retried("describeTopics", || async {
                let topics = ids.iter().map(|id| MetadataRequestTopic { topic_id: *id, name: None, ..Default::default() });
                let found = self.describe_by_metadata(topics.collect()).await?;
                Ok(found.into_iter().map(|(_, id, outcome)| (id, outcome)).collect())
            })
            .await;
        spread(ids.iter().copied(), outcome)
    }

    async fn describe_by_pages(&self, partitions_a_page: i32, names: &[String]) -> Result<Results<String, TopicDescription>, ClientError> {
        let mut sorted = names.to_vec();
        sorted.sort();
        sorted.dedup();
        let mut found: Results<String, TopicDescription> = BTreeMap::new();
        let mut cursor: Option<Cursor> = None;
        if sorted.is_empty() {
            return Ok(found);
        }
        loop {
            let from = cursor.as_ref().map_or("", |cursor| cursor.topic_name.as_str());
            let topics = sorted.iter().filter(|name| name.as_str() >= from);
            let request = DescribeTopicPartitionsRequest {
                topics: topics.map(|name| TopicRequest { name: name.clone(), ..Default::default() }).collect(),
                response_partition_limit: partitions_a_page,
                cursor: cursor.clone(),
                ..Default::default()
            };
            let response = self.cluster.send_to_any(&request).await?;
            for topic in response.topics {
                let Some(name) = topic.name else { continue };
                if let Err(error) = ApiError::check(topic.error_code, None) {
                    found.insert(name, Err(error));
                    continue;
                }
                let partitions = topic.partitions.into_iter().map(TopicPartitionInfo::from);
                match found.get_mut(&name) {
                    // A topic larger than a page goes on in the next.
                    Some(Ok(description)) => description.partitions.extend(partitions),
                    _ => {
                        let description = TopicDescription {
                            name: name.clone(),
                            topic_id: topic.topic_id,
                            is_internal: topic.is_internal,
                            partitions: partitions.collect(),
                            authorized_operations: authorized_operations(topic.topic_authorized_operations),
                        };
                        found.insert(name, Ok(description));
                    }
                }
            }
            let next = response.next_cursor.map(|next| Cursor {
                topic_name: next.topic_name,
                partition_index: next.partition_index,
                ..Default::default()
            });
            // A cursor that does not move on would never end.
            match (next, &cursor) {
                (None, _) => break,
                (Some(next), Some(old)) if (&next.topic_name, next.partition_index) <= (&old.topic_name, old.partition_index) => break,
                (Some(next), _) => cursor = Some(next),
            }
        }
        for description in found.values_mut().flatten() {
            description.partitions.sort_by_key(|partition| partition.partition);
        }
        Ok(found)
    }

    async fn describe_by_metadata(
        &self,
        topics: Vec<MetadataRequestTopic>,
    ) -> Result<Vec<(String, Uuid, Result<TopicDescription, ClientError>)>, ClientError> {
        let connection = self.cluster.any_connection().await?;
        let version = connection.version_of::<MetadataRequest>()?;
        let request = MetadataRequest { topics: Some(topics), allow_auto_topic_creation: version < 4, ..Default::default() };
        let response = connection.send(&request).await?;
        ApiError::check(response.error_code, None)?;
        let described = response.topics.into_iter().map(|topic| {
            let name = topic.name.unwrap_or_default();
            let id = topic.topic_id;
            let outcome = ApiError::check(topic.error_code, None).map(|()| {
                let mut partitions: Vec<TopicPartitionInfo> = topic.partitions.iter().map(|it| partition_metadata(it).into()).collect();
                partitions.sort_by_key(|partition| partition.partition);
                TopicDescription {
                    name: name.clone(),
                    topic_id: id,
                    is_internal: topic.is_internal,
                    partitions,
                    authorized_operations: authorized_operations(topic.topic_authorized_operations),
                }
            });
            (name, id, outcome)
        });
        Ok(described.collect())
    }

    /// Creates topics, or with `validate_only` asks whether it would work.
    pub async fn create_topics(&self, topics: &[NewTopic], validate_only: bool) -> Results<String, CreatedTopic> {
        let names = topics.iter().map(|topic| topic.name.clone());
        if let Err(error) = self.check_defaults(topics).await {
            return all_failed(names, &error);
        }
        let request = CreateTopicsRequest {
            topics: topics.iter().map(creatable).collect(),
            timeout_ms: wire_millis(self.cluster.call_timeout()),
            validate_only,
            ..Default::default()
        };
        let controller_moved =
            |response: &crate::protocol::messages::CreateTopicsResponse| first_code(response.topics.iter().map(|it| it.error_code));
        let outcome = self.on_controller("createTopics", &request, controller_moved).await;
        let results = outcome.map(|response| {
            let results = response.topics.into_iter().map(|topic| {
                let created = CreatedTopic {
                    topic_id: topic.topic_id,
                    num_partitions: (topic.num_partitions >= 0).then_some(topic.num_partitions),
                    replication_factor: (topic.replication_factor >= 0).then_some(topic.replication_factor),
                    configs: topic.configs.map(|configs| configs.into_iter().map(ConfigEntry::from).collect()),
                };
                (topic.name, ApiError::check(topic.error_code, topic.error_message).map(|()| created))
            });
            results.collect()
        });
        spread(names, results)
    }

    /// Brokers before Kafka 2.4 do not choose the number of partitions or replicas.
    async fn check_defaults(&self, topics: &[NewTopic]) -> Result<(), ClientError> {
        let needs = |topic: &&NewTopic| {
            topic.replicas_assignments.is_empty() && (topic.num_partitions.is_none() || topic.replication_factor.is_none())
        };
        let names: Vec<&str> = topics.iter().filter(needs).map(|topic| topic.name.as_str()).collect();
        if names.is_empty() || self.cluster.controller().await?.version_of::<CreateTopicsRequest>()? >= 4 {
            return Ok(());
        }
        let message = format!(
            "Creating topics with default partitions/replication factor are only supported in CreateTopicRequest version 4+. The following \
             topics need values for partitions and replicas: [{}]",
            names.join(", ")
        );
        Err(ApiError::new(ErrorCode::UnsupportedVersion, Some(message)).into())
    }

    /// Deletes topics by name.
    pub async fn delete_topics(&self, names: &[String]) -> Results<String, ()> {
        let request = DeleteTopicsRequest {
            topics: Vec::new(),
            topic_names: names.to_vec(),
            timeout_ms: wire_millis(self.cluster.call_timeout()),
            ..Default::default()
        };
        // Names stand in one of two places, and putting them where a version has no such place is an error.
        let by_state = DeleteTopicsRequest {
            topics: names.iter().map(|name| DeleteTopicState { name: Some(name.clone()), ..Default::default() }).collect(),
            topic_names: Vec::new(),
            ..request.clone()
        };
        let version = match self.cluster.controller().await {
            Ok(connection) => connection.version_of::<DeleteTopicsRequest>().unwrap_or(i16::MAX),
            Err(error) => return all_failed(names.iter().cloned(), &error),
        };
        let request = if version >= 6 { by_state } else { request };
        let controller_moved =
            |response: &crate::protocol::messages::DeleteTopicsResponse| first_code(response.responses.iter().map(|it| it.error_code));
        let outcome = self.on_controller("deleteTopics", &request, controller_moved).await;
        let results = outcome.map(|response| {
            let results = response
                .responses
                .into_iter()
                .filter_map(|topic| Some((topic.name?, ApiError::check(topic.error_code, topic.error_message))));
            results.collect()
        });
        spread(names.iter().cloned(), results)
    }

    /// Gives topics more partitions, or with `validate_only` asks whether it would work.
    pub async fn create_partitions(&self, topics: &BTreeMap<String, NewPartitions>, validate_only: bool) -> Results<String, ()> {
        let assignment = |brokers: &Vec<i32>| CreatePartitionsAssignment { broker_ids: brokers.clone(), ..Default::default() };
        let request = CreatePartitionsRequest {
            topics: topics
                .iter()
                .map(|(name, new)| CreatePartitionsTopic {
                    name: name.clone(),
                    count: new.total_count,
                    assignments: new.assignments.as_ref().map(|assignments| assignments.iter().map(assignment).collect()),
                    ..Default::default()
                })
                .collect(),
            timeout_ms: wire_millis(self.cluster.call_timeout()),
            validate_only,
            ..Default::default()
        };
        let controller_moved =
            |response: &crate::protocol::messages::CreatePartitionsResponse| first_code(response.results.iter().map(|it| it.error_code));
        let outcome = self.on_controller("createPartitions", &request, controller_moved).await;
        let results = outcome.map(|response| {
            let results = response.results.into_iter().map(|topic| (topic.name, ApiError::check(topic.error_code, topic.error_message)));
            results.collect()
        });
        spread(topics.keys().cloned(), results)
    }
}

/// A broker that is not the controller says so at every item.
fn first_code(codes: impl Iterator<Item = i16>) -> ErrorCode {
    codes.map(ErrorCode::from_code).next().unwrap_or(ErrorCode::None)
}

fn creatable(topic: &NewTopic) -> CreatableTopic {
    let assignment = |(partition, brokers): (&i32, &Vec<i32>)| CreatableReplicaAssignment {
        partition_index: *partition,
        broker_ids: brokers.clone(),
        ..Default::default()
    };
    let config =
        |(name, value): (&String, &String)| CreatableTopicConfig { name: name.clone(), value: Some(value.clone()), ..Default::default() };
    CreatableTopic {
        name: topic.name.clone(),
        num_partitions: topic.num_partitions.unwrap_or(-1),
        replication_factor: topic.replication_factor.unwrap_or(-1),
        assignments: topic.replicas_assignments.iter().map(assignment).collect(),
        configs: topic.configs.iter().map(config).collect(),
        ..Default::default()
    }
}

impl From<DescribeTopicPartitionsResponsePartition> for TopicPartitionInfo {
    fn from(partition: DescribeTopicPartitionsResponsePartition) -> TopicPartitionInfo {
        TopicPartitionInfo {
            partition: partition.partition_index,
            leader: (partition.leader_id >= 0).then_some(partition.leader_id),
            leader_epoch: (partition.leader_epoch >= 0).then_some(partition.leader_epoch),
            replicas: partition.replica_nodes,
            isr: partition.isr_nodes,
            offline_replicas: partition.offline_replicas,
            elr: partition.eligible_leader_replicas,
            last_known_elr: partition.last_known_elr,
        }
    }
}

impl From<crate::client::metadata::PartitionMetadata> for TopicPartitionInfo {
    fn from(partition: crate::client::metadata::PartitionMetadata) -> TopicPartitionInfo {
        TopicPartitionInfo {
            partition: partition.partition,
            leader: partition.leader,
            leader_epoch: partition.leader_epoch,
            replicas: partition.replicas,
            isr: partition.isr,
            offline_replicas: partition.offline_replicas,
            elr: None,
            last_known_elr: None,
        }
    }
}
