//! A dry run sends no request that changes anything, and nothing is changed without a yes.

use ottla::protocol::api_key::ApiKey;
use ottla::protocol::codec::Request;
use ottla::protocol::messages::consumer_group_describe_response::DescribedGroup;
use ottla::protocol::messages::describe_topic_partitions_response::{
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use ottla::protocol::messages::find_coordinator_response::Coordinator;
use ottla::protocol::messages::list_groups_response::ListedGroup;
use ottla::protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use ottla::protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use ottla::protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest,
    DeleteTopicsResponse, DescribeClusterRequest, DescribeClusterResponse, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    FindCoordinatorRequest, FindCoordinatorResponse, ListGroupsRequest, ListGroupsResponse, ListOffsetsRequest, ListOffsetsResponse,
    MetadataRequest, OffsetFetchRequest, OffsetFetchResponse, create_topics_response, delete_topics_response, describe_cluster_response,
};

use super::call;
use crate::client::fake_broker::{Action, Bound, FakeBroker, metadata, metadata_for};

/// A broker with the topics `a.b` and `axb` and the groups `g` and `h`, each with an offset of 4 of 10 in `a.b`. It knows no request that
/// changes anything but the creation and deletion of topics, which it only records.
async fn broker() -> FakeBroker {
    let bound = Bound::new().await;
    let port = bound.port();
    let topics = move || metadata(&[(1, port)], &[("a.b", &[1]), ("axb", &[1])], 0);
    bound
        .on::<MetadataRequest>(move |request, _| metadata_for(&request, topics()))
        .on::<DescribeClusterRequest>(move |_, _| {
            let broker =
                describe_cluster_response::DescribeClusterBroker { broker_id: 1, host: "127.0.0.1".into(), port, ..Default::default() };
            Action::Answer(DescribeClusterResponse {
                cluster_id: "c".into(),
                controller_id: 1,
                brokers: vec![broker],
                ..Default::default()
            })
        })
        .on::<DescribeTopicPartitionsRequest>(|request, _| {
            let partition =
                DescribeTopicPartitionsResponsePartition { leader_id: 1, replica_nodes: vec![1], isr_nodes: vec![1], ..Default::default() };
            let topics = request.topics.into_iter().map(|topic| DescribeTopicPartitionsResponseTopic {
                name: Some(topic.name),
                partitions: vec![partition.clone()],
                ..Default::default()
            });
            Action::Answer(DescribeTopicPartitionsResponse { topics: topics.collect(), ..Default::default() })
        })
        .on::<ListOffsetsRequest>(|request, _| {
            let topics = request.topics.into_iter().map(|topic| {
                let partitions = topic.partitions.iter().map(|partition| ListOffsetsPartitionResponse {
                    partition_index: partition.partition_index,
                    offset: if partition.timestamp == -2 { 0 } else { 10 },
                    ..Default::default()
                });
                ListOffsetsTopicResponse { name: topic.name, partitions: partitions.collect(), ..Default::default() }
            });
            Action::Answer(ListOffsetsResponse { topics: topics.collect(), ..Default::default() })
        })
        .on::<ListGroupsRequest>(|_, _| {
            let groups = ["g", "h"].map(|group| ListedGroup {
                group_id: group.into(),
                protocol_type: "consumer".into(),
                group_state: "Empty".into(),
                group_type: "Consumer".into(),
                ..Default::default()
            });
            Action::Answer(ListGroupsResponse { groups: groups.into(), ..Default::default() })
        })
        .on::<FindCoordinatorRequest>(move |request, _| {
            let coordinators = request.coordinator_keys.into_iter().map(|key| Coordinator {
                key,
                node_id: 1,
                host: "127.0.0.1".into(),
                port,
                ..Default::default()
            });
            Action::Answer(FindCoordinatorResponse { coordinators: coordinators.collect(), ..Default::default() })
        })
        .on::<ConsumerGroupDescribeRequest>(|request, _| {
            let groups = request.group_ids.into_iter().map(|group_id| DescribedGroup {
                group_id,
                group_state: "Empty".into(),
                assignor_name: "uniform".into(),
                ..Default::default()
            });
            Action::Answer(ConsumerGroupDescribeResponse { groups: groups.collect(), ..Default::default() })
        })
        .on::<OffsetFetchRequest>(|request, _| {
            let groups = request.groups.into_iter().map(|group| {
                let partition = OffsetFetchResponsePartitions { committed_offset: 4, ..Default::default() };
                let topic = OffsetFetchResponseTopics { name: "a.b".into(), partitions: vec![partition], ..Default::default() };
                OffsetFetchResponseGroup { group_id: group.group_id, topics: vec![topic], ..Default::default() }
            });
            Action::Answer(OffsetFetchResponse { groups: groups.collect(), ..Default::default() })
        })
        .on::<CreateTopicsRequest>(|request, _| {
            let topics = request
                .topics
                .into_iter()
                .map(|topic| create_topics_response::CreatableTopicResult { name: topic.name, ..Default::default() });
            Action::Answer(CreateTopicsResponse { topics: topics.collect(), ..Default::default() })
        })
        .on::<DeleteTopicsRequest>(|request, _| {
            let names = request.topics.into_iter().map(|topic| topic.name).chain(request.topic_names.into_iter().map(Some));
            let responses = names.map(|name| delete_topics_response::DeletableTopicResult { name, ..Default::default() });
            Action::Answer(DeleteTopicsResponse { responses: responses.collect(), ..Default::default() })
        })
        .start()
}

fn asked(broker: &FakeBroker, key: ApiKey) -> bool {
    broker.seen().iter().any(|seen| seen.key == key)
}

/// The transcript without its first line, in which the port is.
async fn run(broker: &FakeBroker, line: &str) -> String {
    let (program, rest) = line.split_once(' ').expect("arguments");
    let transcript = call(&format!("{program} --bootstrap-server {} {rest}", broker.servers())).transcript().await;
    transcript.split_once('\n').expect("a line").1.replace(&broker.servers(), "BROKER")
}

#[tokio::test]
async fn a_name_goes_before_a_pattern() {
    let broker = broker().await;
    assert_eq!(run(&broker, "kafka-topics --delete --topic a.b").await, "");
    let deleted: Vec<_> = broker
        .requests::<DeleteTopicsRequest>()
        .into_iter()
        .flat_map(|(_, request)| request.topics.into_iter().filter_map(|topic| topic.name))
        .collect();
    assert_eq!(deleted, ["a.b"]);
}

#[tokio::test]
async fn a_pattern_deletes_nothing_without_a_yes() {
    let broker = broker().await;
    assert_eq!(
        run(&broker, "kafka-topics --delete --topic a.+").await,
        "! These topics match and will be deleted (2):\n!   a.b\n!   axb\n\
         ! kafka-topics: not done without a confirmation; add --yes to go on without a question\nexit code 1\n"
    );
    assert!(!asked(&broker, DeleteTopicsRequest::KEY));
    assert_eq!(
        run(&broker, "kafka-topics --delete --topic a.+ --yes").await,
        "! These topics match and will be deleted (2):\n!   a.b\n!   axb\n"
    );
    assert!(asked(&broker, DeleteTopicsRequest::KEY));
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let broker = broker().await;
    for (line, expected) in [
        ("kafka-topics --delete --topic a.+ --dry-run", "Topic a.b would be deleted.\nTopic axb would be deleted.\n"),
        ("kafka-topics --create --topic new --dry-run", "Topic new can be created.\n"),
        ("kafka-consumer-groups --delete --all-groups --dry-run", "Group 'g' would be deleted.\nGroup 'h' would be deleted.\n"),
        (
            "kafka-consumer-groups --delete-offsets --group g --topic a.b --dry-run",
            "The offset 4 of a.b-0 would be deleted from group 'g'.\n",
        ),
        (
            "kafka-consumer-groups --reset-offsets --group g --all-topics --shift-by -9 --dry-run",
            "\nGROUP           TOPIC           PARTITION  NEW-OFFSET\ng               a.b             0          0\n\
             ! kafka-consumer-groups: New offset (-5) is lower than earliest offset for topic partition a.b-0. Value will be set to 0\n",
        ),
        (
            "kafka-consumer-groups --reset-offsets --group g --topic a.b --to-latest",
            "\nGROUP           TOPIC           PARTITION  NEW-OFFSET\ng               a.b             0          10\n\
             ! kafka-consumer-groups: a dry run: nothing is changed without --execute\n",
        ),
    ] {
        assert_eq!(run(&broker, line).await, expected, "{line}");
    }
    // The broker would have panicked at a request of any other kind.
    assert!(!asked(&broker, DeleteTopicsRequest::KEY));
    assert!(broker.requests::<CreateTopicsRequest>().iter().all(|(_, request)| request.validate_only));
}

#[tokio::test]
async fn all_groups_are_deleted_only_with_a_yes() {
    let broker = broker().await;
    assert_eq!(
        run(&broker, "kafka-consumer-groups --delete --all-groups").await,
        "! These groups will be deleted (2):\n!   g\n!   h\n\
         ! kafka-consumer-groups: not done without a confirmation; add --yes to go on without a question\nexit code 1\n"
    );
}

#[tokio::test]
async fn missing_topics_are_named_beside_those_that_are_there() {
    let broker = broker().await;
    let line = "kafka-topics --list --topic axb --topic none --output json";
    assert_eq!(
        run(&broker, line).await,
        "[{\"topic\":\"axb\",\"topicId\":null,\"partitionCount\":1,\"replicationFactor\":1,\"internal\":false}]\n"
    );
    assert_eq!(
        run(&broker, "kafka-topics --delete --topic axc").await,
        "! kafka-topics: topic 'axc' does not exist; did you mean 'axb'?\nexit code 1\n"
    );
}

#[tokio::test]
async fn offsets_are_json_on_request() {
    let broker = broker().await;
    assert_eq!(
        run(&broker, "kafka-consumer-groups --describe --group g --output json").await,
        "[{\"group\":\"g\",\"state\":\"Empty\",\"totalLag\":6,\"partitions\":[{\"topic\":\"a.b\",\"partition\":0,\"leaderEpoch\":null,\
         \"currentOffset\":4,\"logEndOffset\":10,\"lag\":6,\"consumerId\":null,\"host\":null,\"clientId\":null}]}]\n"
    );
    assert_eq!(
        run(&broker, "kafka-consumer-groups --list --output json").await,
        "[{\"group\":\"g\",\"type\":\"Consumer\",\"state\":\"Empty\"},{\"group\":\"h\",\"type\":\"Consumer\",\"state\":\"Empty\"}]\n"
    );
}
