//! Metadata 0-13: brokers, topics, partitions and their leaders; may create a topic that is asked for. Source:
//! `KafkaApis.handleTopicMetadataRequest`, `KRaftMetadataCache`.
//!
//! - All topics: null; in version 0 an empty list.
//! - Topic ids count from version 12 on; a request with one is answered by ids alone.
//! - A partition whose leader is unknown or fenced is LEADER_NOT_AVAILABLE; a leader without the listener the client uses is
//!   LISTENER_NOT_FOUND from version 6 on, LEADER_NOT_AVAILABLE before.
//! - Without an authorizer every operation is allowed, and said to be.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::broker::auto_topic_creation;
use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::common::topic_name;
use crate::common::uuid::Uuid;
use crate::metadata::image::{MetadataImage, PartitionRegistration, TopicImage};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic};
use crate::protocol::messages::{MetadataRequest, MetadataResponse};

/// The operations on a topic as bits: read, write, create, delete, alter, describe, describe configs, alter configs.
pub(crate) const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
/// The operations on the cluster as bits: create, alter, describe, cluster action, describe configs, alter configs, idempotent write.
pub(crate) const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;

pub(crate) async fn handle(broker: &Arc<Broker>, ctx: &RequestContext, request: MetadataRequest) -> MetadataResponse {
    let version = ctx.api_version;
    let requested = request.topics.filter(|topics| !(version == 0 && topics.is_empty()));
    let mut image = broker.image();
    let mut topics = Vec::new();
    match &requested {
        None => topics.extend(image.topics.iter().map(|topic| describe(&image, topic, ctx))),
        Some(requested) if version < 12 && requested.iter().any(|topic| topic.name.is_none() || !topic.topic_id.is_zero()) => {
            let error_code = ErrorCode::InvalidRequest.code();
            let refused = requested.iter().map(|topic| MetadataResponseTopic {
                error_code,
                name: Some(topic.name.clone().unwrap_or_default()),
                topic_id: topic.topic_id,
                ..Default::default()
            });
            return MetadataResponse { error_code, topics: refused.collect(), ..Default::default() };
        }
        Some(requested) if requested.iter().any(|topic| !topic.topic_id.is_zero()) => {
            let ids: BTreeSet<Uuid> = requested.iter().map(|topic| topic.topic_id).filter(|id| !id.is_zero()).collect();
            topics.extend(ids.into_iter().map(|id| match image.topics.topic_by_id(id) {
                Some(topic) => describe(&image, topic, ctx),
                None => refusal(ErrorCode::UnknownTopicId, None, id),
            }));
        }
        Some(requested) => {
            let names: BTreeSet<&str> = requested.iter().filter_map(|topic| topic.name.as_deref()).collect();
            let missing: Vec<&str> = names.iter().copied().filter(|name| image.topics.topic(name).is_none()).collect();
            let mut refusals: Vec<(String, ErrorCode)> = Vec::new();
            if !missing.is_empty() && request.allow_auto_topic_creation && broker.config().auto_create_topics_enable {
                refusals = auto_topic_creation::create(broker, ctx, &missing).await;
                image = broker.image();
            }
            topics.extend(names.into_iter().map(|name| match image.topics.topic(name) {
                Some(topic) => describe(&image, topic, ctx),
                None => {
                    let refused = refusals.iter().find(|(refused, _)| refused == name).map(|&(_, code)| code);
                    let code = refused.unwrap_or_else(|| match topic_name::validate(name).is_ok() {
                        true => ErrorCode::UnknownTopicOrPartition,
                        false => ErrorCode::InvalidTopicException,
                    });
                    refusal(code, Some(name), Uuid::ZERO)
                }
            }));
        }
    }
    if version >= 8 && request.include_topic_authorized_operations {
        topics.iter_mut().for_each(|topic| topic.topic_authorized_operations = TOPIC_OPERATIONS);
    }
    let mut response = MetadataResponse {
        brokers: alive_brokers(&image, &ctx.listener_name),
        cluster_id: Some(broker.cluster_id.clone()),
        controller_id: image.cluster.brokers.values().find(|it| it.is_active()).map_or(-1, |it| it.id),
        topics,
        ..Default::default()
    };
    if (8..=10).contains(&version) && request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    response
}

fn alive_brokers(image: &MetadataImage, listener_name: &str) -> Vec<MetadataResponseBroker> {
    let alive = image.cluster.brokers.values().filter(|broker| !broker.fenced);
    alive
        .filter_map(|broker| {
            let endpoint = broker.listener(listener_name)?;
            Some(MetadataResponseBroker {
                node_id: broker.id,
                host: endpoint.host.clone(),
                port: i32::from(endpoint.port),
                rack: broker.rack.clone(),
                ..Default::default()
            })
        })
        .collect()
}

fn describe(image: &MetadataImage, topic: &TopicImage, ctx: &RequestContext) -> MetadataResponseTopic {
    MetadataResponseTopic {
        name: Some(topic.name.clone()),
        topic_id: topic.id,
        is_internal: topic_name::is_internal(&topic.name),
        partitions: topic.partitions.iter().map(|(&index, partition)| describe_partition(image, index, partition, ctx)).collect(),
        ..Default::default()
    }
}

fn describe_partition(
    image: &MetadataImage,
    index: i32,
    partition: &PartitionRegistration,
    ctx: &RequestContext,
) -> MetadataResponsePartition {
    let leader = image.cluster.broker(partition.leader).filter(|leader| !leader.fenced);
    let error = match leader {
        None => ErrorCode::LeaderNotAvailable,
        Some(leader) if leader.listener(&ctx.listener_name).is_some() => ErrorCode::None,
        Some(_) if ctx.api_version >= 6 => ErrorCode::ListenerNotFound,
        Some(_) => ErrorCode::LeaderNotAvailable,
    };
    let is_offline = |&&replica: &&i32| {
        image.cluster.broker(replica).is_none_or(|broker| {
            broker.fenced || partition.directory(replica).is_some_and(|directory| !broker.has_online_directory(directory))
        })
    };
    let offline: Vec<i32> = partition.replicas.iter().filter(is_offline).copied().collect();
    // Version 0 has no field for offline replicas: it leaves them out and says so with an error.
    let shown = |replicas: &[i32]| match ctx.api_version {
        0 => replicas.iter().filter(|replica| !offline.contains(replica)).copied().collect(),
        _ => replicas.to_vec(),
    };
    let replica_nodes = shown(&partition.replicas);
    let isr_nodes = shown(&partition.isr);
    let hidden = replica_nodes.len() < partition.replicas.len() || isr_nodes.len() < partition.isr.len();
    MetadataResponsePartition {
        error_code: if error == ErrorCode::None && hidden { ErrorCode::ReplicaNotAvailable.code() } else { error.code() },
        partition_index: index,
        leader_id: if error == ErrorCode::None { partition.leader } else { -1 },
        leader_epoch: partition.leader_epoch,
        replica_nodes,
        isr_nodes,
        offline_replicas: offline,
        ..Default::default()
    }
}

fn refusal(error: ErrorCode, name: Option<&str>, topic_id: Uuid) -> MetadataResponseTopic {
    MetadataResponseTopic {
        error_code: error.code(),
        name: name.map(str::to_owned),
        topic_id,
        is_internal: name.is_some_and(topic_name::is_internal),
        ..Default::default()
    }
}
