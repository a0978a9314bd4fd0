//! DescribeTopicPartitions 0 (KIP-966): topics with their partitions and eligible leader replicas, a limited number at a time; a cursor
//! tells where to go on. Source: `DescribeTopicPartitionsRequestHandler`, `KRaftMetadataCache`.
//!
//! Differs: Kafka fails a request whose cursor is wrong by closing the connection after an answer that its own client cannot read; here
//! each topic that was asked for has INVALID_REQUEST.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::metadata::TOPIC_OPERATIONS;
use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::common::topic_name;
use crate::metadata::image::{MetadataImage, PartitionRegistration, TopicImage};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use crate::protocol::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let limit = request.response_partition_limit.min(broker.config().max_request_partition_size_limit).max(1);
    describe(&broker.image(), &ctx.listener_name, &request, usize::try_from(limit).unwrap_or(1))
}

fn describe(
    image: &MetadataImage,
    listener_name: &str,
    request: &DescribeTopicPartitionsRequest,
    limit: usize,
) -> DescribeTopicPartitionsResponse {
    let cursor = request.cursor.as_ref();
    let first_topic = cursor.map_or("", |cursor| cursor.topic_name.as_str());
    let all = request.topics.is_empty();
    let named: BTreeSet<&str> = request.topics.iter().map(|topic| topic.name.as_str()).filter(|name| *name >= first_topic).collect();
    let cursor_is_wrong = cursor.is_some_and(|cursor| cursor.partition_index < 0 || !all && !named.contains(first_topic));
    if cursor_is_wrong {
        let topics = request.topics.iter().map(|topic| DescribeTopicPartitionsResponseTopic {
            error_code: ErrorCode::InvalidRequest.code(),
            name: Some(topic.name.clone()),
            ..Default::default()
        });
        return DescribeTopicPartitionsResponse { topics: topics.collect(), ..Default::default() };
    }
    let names: Box<dyn Iterator<Item = &str>> = match all {
        true => Box::new(image.topics.iter_from(first_topic).map(|topic| topic.name.as_str())),
        false => Box::new(named.into_iter()),
    };
    let mut response = DescribeTopicPartitionsResponse::default();
    let mut remaining = limit;
    let next = |topic: &str, partition_index: i32| Some(Cursor { topic_name: topic.to_owned(), partition_index, ..Default::default() });
    for name in names {
        if remaining == 0 {
            response.next_cursor = next(name, 0);
            break;
        }
        let Some(topic) = image.topics.topic(name) else {
            let code = match topic_name::validate(name) {
                Ok(()) => ErrorCode::UnknownTopicOrPartition,
                Err(_) => ErrorCode::InvalidTopicException,
            };
            response.topics.push(refusal(name, code));
            continue;
        };
        let start = cursor.filter(|_| name == first_topic).map_or(0, |cursor| cursor.partition_index);
        let partitions = describe_partitions(image, listener_name, topic, start, remaining);
        let end = usize::try_from(start).unwrap_or(0).saturating_add(remaining);
        remaining = remaining.saturating_sub(partitions.len());
        response.topics.push(DescribeTopicPartitionsResponseTopic {
            name: Some(name.to_owned()),
            topic_id: topic.id,
            is_internal: topic_name::is_internal(name),
            partitions,
            topic_authorized_operations: TOPIC_OPERATIONS,
            ..Default::default()
        });
        if end < topic.partition_count() {
            response.next_cursor = next(name, i32::try_from(end).unwrap_or(i32::MAX));
            break;
        }
    }
    response
}

fn describe_partitions(
    image: &MetadataImage,
    listener_name: &str,
    topic: &TopicImage,
    start: i32,
    limit: usize,
) -> Vec<DescribeTopicPartitionsResponsePartition> {
    let describe = |(&partition_index, partition): (&i32, &Arc<PartitionRegistration>)| {
        let leader = image.cluster.broker(partition.leader).filter(|leader| leader.listener(listener_name).is_some());
        let is_offline = |replica: &&i32| {
            image.cluster.broker(**replica).is_none_or(|broker| {
                let directory = partition.directory(broker.id);
                let lost = directory.is_some_and(|directory| !broker.has_online_directory(directory));
                broker.fenced || broker.listener(listener_name).is_none() || lost
            })
        };
        DescribeTopicPartitionsResponsePartition {
            partition_index,
            leader_id: leader.map_or(-1, |leader| leader.id),
            leader_epoch: partition.leader_epoch,
            replica_nodes: partition.replicas.clone(),
            isr_nodes: partition.isr.clone(),
            eligible_leader_replicas: Some(partition.elr.clone()),
            last_known_elr: Some(partition.last_known_elr.clone()),
            offline_replicas: partition.replicas.iter().filter(is_offline).copied().collect(),
            ..Default::default()
        }
    };
    topic.partitions.range(start..).take(limit).map(describe).collect()
}

fn refusal(name: &str, code: ErrorCode) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code: code.code(),
        name: Some(name.to_owned()),
        is_internal: topic_name::is_internal(name),
        topic_authorized_operations: TOPIC_OPERATIONS,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::uuid::Uuid;
    use crate::metadata::delta::MetadataDelta;
    use crate::metadata::image::Provenance;
    use crate::metadata::record::MetadataRecord;
    use crate::protocol::messages::describe_topic_partitions_request::{self, TopicRequest};
    use crate::protocol::messages::{PartitionRecord, TopicRecord};

    /// Topics a (2 partitions), b (3) and c (1).
    fn image() -> MetadataImage {
        let mut delta = MetadataDelta::new(Arc::default());
        for (id, (name, partitions)) in [("a", 2), ("b", 3), ("c", 1)].into_iter().enumerate() {
            let topic_id = Uuid::from_u128(1000 + id as u128);
            let topic = TopicRecord { name: name.to_owned(), topic_id, ..Default::default() };
            delta.replay(&MetadataRecord::from(topic)).expect("replayed");
            for partition_id in 0..partitions {
                let partition = PartitionRecord {
                    topic_id,
                    partition_id,
                    replicas: vec![1],
                    isr: vec![1],
                    leader: 1,
                    directories: vec![Uuid::from_u128(500)],
                    ..Default::default()
                };
                delta.replay(&MetadataRecord::from(partition)).expect("replayed");
            }
        }
        delta.apply(Provenance::default())
    }

    fn request(topics: &[&str], cursor: Option<(&str, i32)>) -> DescribeTopicPartitionsRequest {
        DescribeTopicPartitionsRequest {
            topics: topics.iter().map(|name| TopicRequest { name: (*name).to_owned(), ..Default::default() }).collect(),
            cursor: cursor.map(|(topic, partition_index)| describe_topic_partitions_request::Cursor {
                topic_name: topic.to_owned(),
                partition_index,
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    /// Topic, error and partitions of each result, and the next cursor.
    type Page = (Vec<(String, i16, Vec<i32>)>, Option<(String, i32)>);

    fn page(request: &DescribeTopicPartitionsRequest, limit: usize) -> Page {
        let response = describe(&image(), "PLAINTEXT", request, limit);
        let topics = response.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| partition.partition_index).collect();
            (topic.name.unwrap_or_default(), topic.error_code, partitions)
        });
        (topics.collect(), response.next_cursor.map(|cursor| (cursor.topic_name, cursor.partition_index)))
    }

    #[test]
    fn all_topics_come_page_by_page() {
        let topic = |name: &str, partitions: &[i32]| (name.to_owned(), 0, partitions.to_vec());
        let cursor = |name: &str, partition| Some((name.to_owned(), partition));
        let all = request(&[], None);
        assert_eq!(page(&all, 100), (vec![topic("a", &[0, 1]), topic("b", &[0, 1, 2]), topic("c", &[0])], None));
        assert_eq!(page(&all, 2), (vec![topic("a", &[0, 1])], cursor("b", 0)));
        assert_eq!(page(&request(&[], Some(("b", 0))), 2), (vec![topic("b", &[0, 1])], cursor("b", 2)));
        assert_eq!(page(&request(&[], Some(("b", 2))), 2), (vec![topic("b", &[2]), topic("c", &[0])], None));
    }

    #[test]
    fn absent_topics_are_refused_only_when_they_are_named() {
        let (topics, next) = page(&request(&["c", "bb", "no good"], None), 10);
        let codes: Vec<_> = topics.iter().map(|(name, code, _)| (name.as_str(), *code)).collect();
        assert_eq!(codes, [("bb", 3), ("c", 0), ("no good", 17)]);
        assert_eq!(next, None);
        assert_eq!(page(&request(&[], Some(("bb", 0))), 10).0.len(), 1);
    }

    #[test]
    fn a_cursor_must_be_among_the_topics() {
        let (topics, _) = page(&request(&["a", "c"], Some(("b", 0))), 10);
        assert!(topics.iter().all(|(_, code, _)| *code == ErrorCode::InvalidRequest.code()));
        let (topics, _) = page(&request(&["a"], Some(("a", -1))), 10);
        assert_eq!(topics[0].1, ErrorCode::InvalidRequest.code());
    }
}
