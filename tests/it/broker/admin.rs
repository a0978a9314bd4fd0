//! Topics and configs over the wire: made, described, changed, refused, kept.

use ottla::protocol::messages::alter_configs_request;
use ottla::protocol::messages::create_partitions_request::CreatePartitionsTopic;
use ottla::protocol::messages::create_topics_request::CreatableReplicaAssignment;
use ottla::protocol::messages::delete_topics_request::DeleteTopicState;
use ottla::protocol::messages::describe_configs_request::DescribeConfigsResource;
use ottla::protocol::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
use ottla::protocol::messages::describe_topic_partitions_request::TopicRequest;
use ottla::protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use ottla::protocol::messages::metadata_request::MetadataRequestTopic;
use ottla::protocol::messages::*;

use super::*;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

const DYNAMIC_TOPIC: i8 = 1;
const DYNAMIC_BROKER: i8 = 2;
const STATIC_BROKER: i8 = 4;
const DEFAULT: i8 = 5;

fn code(code: i16) -> ErrorCode {
    ErrorCode::from_code(code)
}

fn topic(name: &str, partitions: i32, replicas: i16) -> CreatableTopic {
    CreatableTopic { name: name.to_owned(), num_partitions: partitions, replication_factor: replicas, ..Default::default() }
}

fn create(connection: &mut Connection, topic: CreatableTopic, version: i16) -> (ErrorCode, String) {
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 30_000, ..Default::default() };
    let result = connection.call(&request, version).topics.remove(0);
    (code(result.error_code), result.error_message.unwrap_or_default())
}

/// Changes one config: 0 sets it, 1 unsets it, 2 appends, 3 subtracts.
fn alter(connection: &mut Connection, resource: (i8, &str), name: &str, operation: i8, value: Option<&str>) -> (ErrorCode, String) {
    let config =
        AlterableConfig { name: name.to_owned(), config_operation: operation, value: value.map(str::to_owned), ..Default::default() };
    let resource = AlterConfigsResource {
        resource_type: resource.0,
        resource_name: resource.1.to_owned(),
        configs: vec![config],
        ..Default::default()
    };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
    let result = connection.call(&request, 1).responses.remove(0);
    (code(result.error_code), result.error_message.unwrap_or_default())
}

fn describe(connection: &mut Connection, resource: (i8, &str)) -> DescribeConfigsResult {
    let resource = DescribeConfigsResource {
        resource_type: resource.0,
        resource_name: resource.1.to_owned(),
        configuration_keys: None,
        ..Default::default()
    };
    let request = DescribeConfigsRequest { resources: vec![resource], include_synonyms: true, ..Default::default() };
    connection.call(&request, 4).results.remove(0)
}

fn config(connection: &mut Connection, resource: (i8, &str), name: &str) -> DescribeConfigsResourceResult {
    let result = describe(connection, resource);
    result.configs.into_iter().find(|config| config.name == name).unwrap_or_else(|| panic!("no {name}"))
}

/// The value of a config and where it comes from.
fn value(connection: &mut Connection, resource: (i8, &str), name: &str) -> (String, i8) {
    let config = config(connection, resource, name);
    (config.value.unwrap_or_default(), config.config_source)
}

fn ok() -> (ErrorCode, String) {
    (ErrorCode::None, String::new())
}

#[test]
fn topics_come_and_go_at_every_version() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    for version in 2..=7 {
        let name = format!("v{version}");
        assert_eq!(create(&mut connection, topic(&name, 2, 1), version), ok());
        assert_eq!(create(&mut connection, topic(&name, 2, 1), version).0, ErrorCode::TopicAlreadyExists);
    }
    for version in 1..=6 {
        let name = format!("v{}", version + 1);
        let mut request = DeleteTopicsRequest { timeout_ms: 30_000, ..Default::default() };
        match version {
            6 => request.topics.push(DeleteTopicState { name: Some(name), ..Default::default() }),
            _ => request.topic_names.push(name),
        }
        assert_eq!(code(connection.call(&request, version).responses[0].error_code), ErrorCode::None);
        assert_eq!(code(connection.call(&request, version).responses[0].error_code), ErrorCode::UnknownTopicOrPartition);
    }
    let all = connection.call(&MetadataRequest { topics: None, ..Default::default() }, 12);
    assert!(all.topics.is_empty());
}

#[test]
fn topics_that_cannot_be_are_refused_in_kafkas_words() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    connection.create_topic("a.b", 1);
    let with = |name: &str, value: &str| CreatableTopic {
        configs: vec![CreatableTopicConfig { name: name.to_owned(), value: Some(value.to_owned()), ..Default::default() }],
        ..topic("t", 1, 1)
    };
    let assigned = CreatableTopic {
        assignments: vec![CreatableReplicaAssignment { partition_index: 0, broker_ids: vec![7], ..Default::default() }],
        ..topic("t", -1, -1)
    };
    for (wanted, error, text) in [
        (topic("t", 0, 1), ErrorCode::InvalidPartitions, "Number of partitions was set to an invalid non-positive value."),
        (
            topic("t", 1, 0),
            ErrorCode::InvalidReplicationFactor,
            "Replication factor must be larger than 0, or -1 to use the default value.",
        ),
        (
            topic("t", 1, 2),
            ErrorCode::InvalidReplicationFactor,
            "Unable to replicate the partition 2 time(s): The target replication factor of 2 cannot be reached because only 1 broker(s) \
             are registered or some brokers have all their log directories cordoned.",
        ),
        (topic(".", 1, 1), ErrorCode::InvalidTopicException, "Topic name is invalid: '.' is not allowed"),
        (topic("a_b", 1, 1), ErrorCode::InvalidTopicException, "Topic 'a_b' collides with existing topic: a.b"),
        (topic("__cluster_metadata", 1, 1), ErrorCode::InvalidRequest, "Creation of internal topic __cluster_metadata is prohibited."),
        (with("nope", "1"), ErrorCode::InvalidConfig, "Unknown topic config name: nope"),
        (
            with("retention.ms", "abc"),
            ErrorCode::InvalidConfig,
            "Invalid value abc for configuration retention.ms: Not a number of type LONG",
        ),
        (
            assigned,
            ErrorCode::InvalidReplicaAssignment,
            "The manual partition assignment includes broker 7, but no such broker is registered.",
        ),
    ] {
        assert_eq!(create(&mut connection, wanted, 7), (error, text.to_owned()));
    }
    let request = CreateTopicsRequest { topics: vec![topic("t", 1, 1)], timeout_ms: 30_000, validate_only: true, ..Default::default() };
    assert_eq!(code(connection.call(&request, 7).topics[0].error_code), ErrorCode::None);
    assert_eq!(describe(&mut connection, (TOPIC, "t")).error_code, ErrorCode::UnknownTopicOrPartition.code());
}

#[test]
fn partitions_only_ever_grow() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    connection.create_topic("t", 2);
    let mut grow = |name: &str, count: i32| {
        let topic = CreatePartitionsTopic { name: name.to_owned(), count, assignments: None, ..Default::default() };
        let request = CreatePartitionsRequest { topics: vec![topic], timeout_ms: 30_000, ..Default::default() };
        let result = connection.call(&request, 3).results.remove(0);
        (code(result.error_code), result.error_message.unwrap_or_default())
    };
    assert_eq!(grow("t", 3), ok());
    assert_eq!(grow("t", 3), (ErrorCode::InvalidPartitions, "Topic already has 3 partition(s).".to_owned()));
    assert_eq!(
        grow("t", 1),
        (ErrorCode::InvalidPartitions, "The topic t currently has 3 partition(s); 1 would not be an increase.".to_owned())
    );
    assert_eq!(grow("absent", 1).0, ErrorCode::UnknownTopicOrPartition);
    assert_eq!(code(connection.produce("t", 2, batch(&["x"]), -1).error_code), ErrorCode::None);
    let request = DescribeTopicPartitionsRequest {
        topics: vec![TopicRequest { name: "t".to_owned(), ..Default::default() }],
        response_partition_limit: 2,
        ..Default::default()
    };
    let page = connection.call(&request, 0);
    assert_eq!(page.topics[0].partitions.len(), 2);
    assert_eq!(page.next_cursor.map(|cursor| cursor.partition_index), Some(2));
}

#[test]
fn topic_configs_take_effect_at_once_and_survive_a_restart() {
    let (_guard, dir) = data_dir();
    let broker = Broker::start_in(&dir);
    let mut connection = broker.connect();
    connection.create_topic_with("t", 1, &[("retention.ms", "5000")]);
    assert_eq!(value(&mut connection, (TOPIC, "t"), "retention.ms"), ("5000".to_owned(), DYNAMIC_TOPIC));
    assert_eq!(value(&mut connection, (TOPIC, "t"), "segment.ms"), ("604800000".to_owned(), DEFAULT));

    assert_eq!(alter(&mut connection, (TOPIC, "t"), "max.message.bytes", 0, Some("100")), ok());
    let large = "x".repeat(200);
    assert_eq!(code(connection.produce("t", 0, batch(&[&large]), -1).error_code), ErrorCode::MessageTooLarge);
    assert_eq!(alter(&mut connection, (TOPIC, "t"), "cleanup.policy", 2, Some("compact")), ok());
    assert_eq!(alter(&mut connection, (TOPIC, "t"), "retention.ms", 1, None), ok());
    assert_eq!(broker.terminate(), Some(0));

    let broker = Broker::start_in(&dir);
    let mut connection = broker.connect();
    assert_eq!(value(&mut connection, (TOPIC, "t"), "cleanup.policy"), ("delete,compact".to_owned(), DYNAMIC_TOPIC));
    assert_eq!(value(&mut connection, (TOPIC, "t"), "retention.ms").1, DEFAULT);
    assert_eq!(code(connection.produce("t", 0, batch(&[&large]), -1).error_code), ErrorCode::MessageTooLarge);
    assert_eq!(alter(&mut connection, (TOPIC, "t"), "max.message.bytes", 1, None), ok());
    assert_eq!(alter(&mut connection, (TOPIC, "t"), "cleanup.policy", 1, None), ok());
    assert_eq!(code(connection.produce("t", 0, batch(&[&large]), -1).error_code), ErrorCode::None);
}

#[test]
fn broker_configs_change_while_the_broker_runs() {
    let broker = Broker::start_with(&["--ephemeral", "--override", "log.retention.ms=70000"]);
    let mut connection = broker.connect();
    connection.create_topic("t", 1);
    assert_eq!(value(&mut connection, (TOPIC, "t"), "retention.ms"), ("70000".to_owned(), STATIC_BROKER));
    let large = "x".repeat(200);
    assert_eq!(alter(&mut connection, (BROKER, ""), "message.max.bytes", 0, Some("100")), ok());
    assert_eq!(code(connection.produce("t", 0, batch(&[&large]), -1).error_code), ErrorCode::MessageTooLarge);
    assert_eq!(alter(&mut connection, (BROKER, "1"), "message.max.bytes", 0, Some("1000")), ok());
    assert_eq!(code(connection.produce("t", 0, batch(&[&large]), -1).error_code), ErrorCode::None);
    let synonyms: Vec<_> = config(&mut connection, (BROKER, "1"), "message.max.bytes")
        .synonyms
        .into_iter()
        .map(|synonym| (synonym.source, synonym.value.unwrap_or_default()))
        .collect();
    assert_eq!(synonyms, [(2, "1000".to_owned()), (3, "100".to_owned()), (5, "1048588".to_owned())]);
    assert_eq!(value(&mut connection, (TOPIC, "t"), "max.message.bytes"), ("1000".to_owned(), DYNAMIC_BROKER));

    let invalid = |text: &str| (ErrorCode::InvalidRequest, text.to_owned());
    for (resource, name, value, text) in [
        ("1", "num.partitions", "5", "Cannot update these configs dynamically: [num.partitions]"),
        ("1", "message.max.bytes", "x", "Invalid value x for configuration message.max.bytes: Not a number of type INT"),
        ("", "listeners", "X://:1", "Cannot update these configs at default cluster level, broker id must be specified: [listeners]"),
        ("7", "message.max.bytes", "5", "Unexpected broker id, expected 1, but received 7"),
    ] {
        assert_eq!(alter(&mut connection, (BROKER, resource), name, 0, Some(value)), invalid(text));
    }
}

#[test]
fn altering_all_configs_unsets_what_is_not_named() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    connection.create_topic_with("t", 1, &[("retention.ms", "5000"), ("segment.ms", "6000")]);
    let resource = |configs: &[(&str, &str)]| alter_configs_request::AlterConfigsResource {
        resource_type: TOPIC,
        resource_name: "t".to_owned(),
        configs: configs
            .iter()
            .map(|(name, value)| alter_configs_request::AlterableConfig {
                name: (*name).to_owned(),
                value: Some((*value).to_owned()),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    for version in 0..=2 {
        let request = AlterConfigsRequest { resources: vec![resource(&[("segment.ms", "7000")])], ..Default::default() };
        assert_eq!(code(connection.call(&request, version).responses[0].error_code), ErrorCode::None);
    }
    assert_eq!(value(&mut connection, (TOPIC, "t"), "segment.ms"), ("7000".to_owned(), DYNAMIC_TOPIC));
    assert_eq!(value(&mut connection, (TOPIC, "t"), "retention.ms").1, DEFAULT);
    let twice = AlterConfigsRequest { resources: vec![resource(&[]), resource(&[])], ..Default::default() };
    let answers = connection.call(&twice, 2).responses;
    assert!(answers.iter().all(|answer| answer.error_message.as_deref() == Some("Each resource must appear at most once.")));
}

#[test]
fn the_cluster_and_its_resources_are_described() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    connection.create_topic("t", 1);
    for version in 0..=2 {
        let cluster = connection.call(&DescribeClusterRequest::default(), version);
        assert_eq!((cluster.brokers.len(), cluster.controller_id, cluster.cluster_id.len()), (1, 1, 22));
        assert_eq!(cluster.brokers[0].port, i32::from(broker.address.port()));
    }
    let controllers = DescribeClusterRequest { endpoint_type: 2, ..Default::default() };
    assert_eq!(code(connection.call(&controllers, 1).error_code), ErrorCode::MismatchedEndpointType);
    let request = ListConfigResourcesRequest { resource_types: vec![TOPIC, BROKER], ..Default::default() };
    let resources = connection.call(&request, 1).config_resources;
    let resources: Vec<_> = resources.iter().map(|it| (it.resource_type, it.resource_name.as_str())).collect();
    assert_eq!(resources, [(BROKER, "1"), (TOPIC, "t")]);
    let unknown = ListConfigResourcesRequest { resource_types: vec![7], ..Default::default() };
    assert_eq!(code(connection.call(&unknown, 1).error_code), ErrorCode::UnsupportedVersion);
}

#[test]
fn a_topic_that_is_asked_for_is_there_at_once_with_the_brokers_defaults() {
    let broker = Broker::start_with(&["--ephemeral", "--override", "num.partitions=3"]);
    let mut connection = broker.connect();
    let mut ask = |name: &str| {
        let topic = MetadataRequestTopic { name: Some(name.to_owned()), ..Default::default() };
        let request = MetadataRequest { topics: Some(vec![topic]), allow_auto_topic_creation: true, ..Default::default() };
        let topic = connection.call(&request, 12).topics.remove(0);
        (code(topic.error_code), topic.partitions.len())
    };
    assert_eq!(ask("wanted"), (ErrorCode::None, 3));
    assert_eq!(ask("not a name"), (ErrorCode::InvalidTopicException, 0));
    assert_eq!(ask("__consumer_offsets"), (ErrorCode::None, 50));
    assert_eq!(value(&mut connection, (TOPIC, "__consumer_offsets"), "cleanup.policy"), ("compact".to_owned(), DYNAMIC_TOPIC));
    assert_eq!(value(&mut connection, (TOPIC, "__consumer_offsets"), "segment.bytes"), ("104857600".to_owned(), DYNAMIC_TOPIC));
}

#[test]
fn the_interval_between_assignments_of_groups_changes_without_a_restart() {
    let broker = Broker::start_with(&["--ephemeral", "--override", "group.consumer.assignment.interval.ms=15000"]);
    let mut connection = broker.connect();
    connection.create_topic("t", 2);
    connection.call(&FindCoordinatorRequest { key: "g".to_owned(), ..Default::default() }, 3);
    assert_eq!(alter(&mut connection, (BROKER, ""), "group.consumer.assignment.interval.ms", 0, Some("0")), ok());
    let mut join = |member_id: &str| {
        let request = ConsumerGroupHeartbeatRequest {
            group_id: "g".to_owned(),
            member_id: member_id.to_owned(),
            rebalance_timeout_ms: 30_000,
            subscribed_topic_names: Some(vec!["t".to_owned()]),
            topic_partitions: Some(Vec::new()),
            ..Default::default()
        };
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let response = connection.call(&request, 1);
            match code(response.error_code) {
                ErrorCode::None => return response.member_epoch,
                ErrorCode::CoordinatorLoadInProgress | ErrorCode::NotCoordinator if std::time::Instant::now() < deadline => {
                    std::thread::yield_now()
                }
                error => panic!("{error:?}: {:?}", response.error_message),
            }
        }
    };
    // Each newcomer has the group assigned anew, at once.
    assert_eq!([join("a"), join("b"), join("c")], [2, 3, 4]);
}
