//! Administrative calls: partial success, retries, pages.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ottla::client::Admin;
use ottla::client::admin::{IsolationLevel, OffsetSpec};
use ottla::client::config::{ClientConfig, ClientKind};
use ottla::common::topic_partition::TopicPartition;
use ottla::protocol::api_key::ApiKey;
use ottla::protocol::error_code::ErrorCode;
use ottla::protocol::messages::delete_groups_response::DeletableGroupResult;
use ottla::protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use ottla::protocol::messages::find_coordinator_response::Coordinator;
use ottla::protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use ottla::protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, FindCoordinatorRequest,
    FindCoordinatorResponse, ListOffsetsRequest, ListOffsetsResponse, MetadataRequest,
};

use super::fake_broker::{Action, Bound, metadata, metadata_for};

async fn admin(servers: &str) -> Admin {
    let config = ClientConfig::builder(ClientKind::Admin)
        .flag("bootstrap.servers", servers)
        .property("retry.backoff.ms", "1")
        .property("retry.backoff.max.ms", "1");
    Admin::connect(&config.build().expect("valid")).await.expect("connects")
}

#[tokio::test]
async fn one_partitions_failure_leaves_the_others_alone_and_a_moved_leader_is_asked() {
    let bound = Bound::new().await;
    let port = bound.port();
    let rounds = Arc::new(Mutex::new(0));
    let round = Arc::clone(&rounds);
    let broker = bound
        .on::<MetadataRequest>(move |request, _| metadata_for(&request, metadata(&[(1, port)], &[("t", &[1, 1, 1])], 0)))
        .on::<ListOffsetsRequest>(move |request, _| {
            *round.lock().expect("no panic") += 1;
            let first = *round.lock().expect("no panic") == 1;
            let partitions = request.topics[0].partitions.iter().map(|partition| {
                let code = match partition.partition_index {
                    1 => ErrorCode::TopicAuthorizationFailed,
                    2 if first => ErrorCode::NotLeaderOrFollower,
                    _ => ErrorCode::None,
                };
                let offset = 10 + i64::from(partition.partition_index);
                ListOffsetsPartitionResponse {
                    partition_index: partition.partition_index,
                    error_code: code.code(),
                    offset,
                    ..Default::default()
                }
            });
            let topic = ListOffsetsTopicResponse { name: "t".to_owned(), partitions: partitions.collect(), ..Default::default() };
            Action::Answer(ListOffsetsResponse { topics: vec![topic], ..Default::default() })
        })
        .start();
    let admin = admin(&broker.servers()).await;
    let specs: BTreeMap<_, _> = (0..3).map(|partition| (TopicPartition::new("t", partition), OffsetSpec::Latest)).collect();
    let results = admin.list_offsets(&specs, IsolationLevel::ReadUncommitted).await;
    let offset = |partition| results[&TopicPartition::new("t", partition)].as_ref().map(|listed| listed.offset);
    assert_eq!((offset(0), offset(2)), (Ok(10), Ok(12)));
    assert!(offset(1).expect_err("not allowed").is(ErrorCode::TopicAuthorizationFailed));
    let asked: Vec<usize> = broker.requests::<ListOffsetsRequest>().iter().map(|(_, request)| request.topics[0].partitions.len()).collect();
    assert_eq!(asked, [3, 1], "only what can be retried is asked for again");
}

#[tokio::test]
async fn a_question_that_an_old_broker_does_not_know_is_not_asked() {
    let bound = Bound::new().await.versions(ApiKey::ListOffsets, 0, 5);
    let port = bound.port();
    let broker = bound.on::<MetadataRequest>(move |request, _| metadata_for(&request, metadata(&[(1, port)], &[("t", &[1])], 0))).start();
    let specs = BTreeMap::from([(TopicPartition::new("t", 0), OffsetSpec::MaxTimestamp)]);
    let results = admin(&broker.servers()).await.list_offsets(&specs, IsolationLevel::ReadUncommitted).await;
    let error = results[&TopicPartition::new("t", 0)].as_ref().expect_err("came with version 7");
    assert!(error.is_unsupported_version(), "{error}");
    assert!(broker.requests::<ListOffsetsRequest>().is_empty());
}

#[tokio::test]
async fn a_group_is_asked_of_its_new_coordinator() {
    let bound = Bound::new().await;
    let port = bound.port();
    let mut moved = false;
    let broker = bound
        .on::<MetadataRequest>(move |request, _| metadata_for(&request, metadata(&[(1, port)], &[], 0)))
        .on::<FindCoordinatorRequest>(move |request, _| {
            let found = request.coordinator_keys.iter().map(|key| Coordinator {
                key: key.clone(),
                node_id: 1,
                host: "127.0.0.1".to_owned(),
                port,
                ..Default::default()
            });
            Action::Answer(FindCoordinatorResponse { coordinators: found.collect(), ..Default::default() })
        })
        .on::<DeleteGroupsRequest>(move |request, _| {
            let results = request.groups_names.iter().map(|group| DeletableGroupResult {
                group_id: group.clone(),
                error_code: match (group.as_str(), moved) {
                    ("full", _) => ErrorCode::NonEmptyGroup.code(),
                    (_, false) => ErrorCode::NotCoordinator.code(),
                    (_, true) => 0,
                },
                ..Default::default()
            });
            let results = results.collect();
            moved = true;
            Action::Answer(DeleteGroupsResponse { results, ..Default::default() })
        })
        .start();
    let results = admin(&broker.servers()).await.delete_groups(&["empty".to_owned(), "full".to_owned()]).await;
    assert_eq!(results["empty"], Ok(()));
    assert!(results["full"].as_ref().expect_err("it has members").is(ErrorCode::NonEmptyGroup));
    assert_eq!(broker.requests::<FindCoordinatorRequest>().len(), 3, "the one that moved is found again");
}

#[tokio::test]
async fn topics_are_described_page_by_page() {
    let bound = Bound::new().await;
    let port = bound.port();
    let broker = bound
        .on::<MetadataRequest>(move |request, _| metadata_for(&request, metadata(&[(1, port)], &[], 0)))
        .on::<DescribeTopicPartitionsRequest>(|request, _| {
            // Two partitions a page, of a topic with three; then the next topic.
            let (name, first) = match &request.cursor {
                None => ("a".to_owned(), 0),
                Some(cursor) => (cursor.topic_name.clone(), cursor.partition_index),
            };
            let cursor = |topic: &str, partition_index| Cursor { topic_name: topic.to_owned(), partition_index, ..Default::default() };
            let (partitions, next) = match (name.as_str(), first) {
                ("a", 0) => (vec![0, 1], Some(cursor("a", 2))),
                ("a", _) => (vec![2], Some(cursor("b", 0))),
                _ => (vec![0], None),
            };
            let partitions = partitions.into_iter().map(|partition_index| DescribeTopicPartitionsResponsePartition {
                partition_index,
                leader_id: 1,
                ..Default::default()
            });
            let topic = DescribeTopicPartitionsResponseTopic { name: Some(name), partitions: partitions.collect(), ..Default::default() };
            Action::Answer(DescribeTopicPartitionsResponse { topics: vec![topic], next_cursor: next, ..Default::default() })
        })
        .start();
    let results = admin(&broker.servers()).await.describe_topics(&["b".to_owned(), "a".to_owned()]).await;
    let partitions = |topic: &str| results[topic].as_ref().map(|topic| topic.partitions.iter().map(|it| it.partition).collect::<Vec<_>>());
    assert_eq!((partitions("a"), partitions("b")), (Ok(vec![0, 1, 2]), Ok(vec![0])));
    assert_eq!(broker.requests::<DescribeTopicPartitionsRequest>().len(), 3);
}
