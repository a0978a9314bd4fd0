//! What an operator asks of the whole cluster, over the wire: the quorum, features, credentials, elections, reassignments, loggers,
//! metrics of clients, and what a node without security refuses.

use ottla::protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use ottla::protocol::messages::alter_user_scram_credentials_request::{ScramCredentialDeletion, ScramCredentialUpsertion};
use ottla::protocol::messages::describe_configs_request::DescribeConfigsResource;
use ottla::protocol::messages::elect_leaders_request::TopicPartitions;
use ottla::protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use ottla::protocol::messages::update_features_request::FeatureUpdateKey;
use ottla::protocol::messages::*;

use super::*;

const CLIENT_METRICS: i8 = 16;
const BROKER_LOGGER: i8 = 8;

fn code(code: i16) -> ErrorCode {
    ErrorCode::from_code(code)
}

#[test]
fn the_quorum_is_this_node() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    let partition = describe_quorum_request::PartitionData::default();
    let topic = |name: &str| describe_quorum_request::TopicData {
        topic_name: name.to_owned(),
        partitions: vec![partition.clone()],
        ..Default::default()
    };
    let request = DescribeQuorumRequest { topics: vec![topic("__cluster_metadata")], ..Default::default() };
    let response = connection.call(&request, 2);
    let quorum = &response.topics[0].partitions[0];
    assert_eq!((code(quorum.error_code), quorum.leader_id, quorum.observers.len()), (ErrorCode::None, 1, 0));
    let [voter] = &quorum.current_voters[..] else { panic!("{quorum:?}") };
    assert_eq!((voter.replica_id, voter.log_end_offset), (1, quorum.high_watermark));
    assert!(!voter.replica_directory_id.is_zero() && voter.last_fetch_timestamp > 0);
    assert_eq!(response.nodes[0].listeners[0].name, "CONTROLLER");
    assert!(connection.call(&request, 0).nodes.is_empty());
    let request = DescribeQuorumRequest { topics: vec![topic("t")], ..Default::default() };
    assert_eq!(code(connection.call(&request, 2).topics[0].partitions[0].error_code), ErrorCode::UnknownTopicOrPartition);
}

fn update(connection: &mut Connection, updates: &[(&str, i16, i8)], validate_only: bool) -> (ErrorCode, String) {
    let update = |&(feature, max_version_level, upgrade_type): &(&str, i16, i8)| FeatureUpdateKey {
        feature: feature.to_owned(),
        max_version_level,
        upgrade_type,
        ..Default::default()
    };
    let request = UpdateFeaturesRequest {
        feature_updates: updates.iter().map(update).collect(),
        validate_only,
        timeout_ms: 30_000,
        ..Default::default()
    };
    let response = connection.call(&request, 2);
    (code(response.error_code), response.error_message.unwrap_or_default())
}

fn level(connection: &mut Connection, feature: &str) -> i16 {
    let request =
        ApiVersionsRequest { client_software_name: "it".to_owned(), client_software_version: "1".to_owned(), ..Default::default() };
    let response = connection.call(&request, 4);
    response.finalized_features.iter().find(|known| known.name == feature).map_or(0, |known| known.max_version_level)
}

#[test]
fn feature_levels_go_up_and_down_as_far_as_they_may() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    const UPGRADE: i8 = 1;
    const SAFE: i8 = 2;
    const UNSAFE: i8 = 3;
    let before = level(&mut connection, "group.version");
    assert_eq!(before, 1);
    assert_eq!(update(&mut connection, &[("group.version", 0, SAFE)], true), (ErrorCode::None, String::new()));
    assert_eq!(level(&mut connection, "group.version"), 1, "a dry run changes nothing");
    assert_eq!(update(&mut connection, &[("group.version", 0, SAFE)], false), (ErrorCode::None, String::new()));
    assert_eq!(level(&mut connection, "group.version"), 0);
    assert_eq!(update(&mut connection, &[("group.version", 1, UPGRADE)], false), (ErrorCode::None, String::new()));
    assert_eq!(level(&mut connection, "group.version"), 1);
    let mut refusal = |updates: &[(&str, i16, i8)]| {
        let (code, text) = update(&mut connection, updates, false);
        assert_eq!(code, ErrorCode::InvalidUpdateVersion);
        text.strip_prefix("The update failed for all features since the following feature had an error: ")
            .expect("Kafka's words")
            .to_owned()
    };
    assert_eq!(
        refusal(&[("group.version", 0, UPGRADE)]),
        "Invalid update version 0 for feature group.version. Can't downgrade the version of this feature without setting the upgrade \
         type to either safe or unsafe downgrade."
    );
    assert_eq!(
        refusal(&[("group.version", 9, UPGRADE)]),
        "Invalid update version 9 for feature group.version. Local controller 1 only supports versions 0-1"
    );
    assert_eq!(
        refusal(&[("nonsense", 1, UPGRADE)]),
        "Invalid update version 1 for feature nonsense. Local controller 1 does not support this feature."
    );
    assert_eq!(
        refusal(&[("metadata.version", 29, SAFE)]),
        "Unsupported metadata.version downgrade from 30 to 29. Refusing to perform the requested downgrade because it might delete \
         metadata information."
    );
    assert_eq!(
        refusal(&[("metadata.version", 7, UNSAFE)]),
        "Unsupported metadata.version downgrade from 30 to 7. Unsafe metadata downgrade is not supported in this version."
    );
    assert!(refusal(&[("group.version", 0, 9)]).ends_with("The controller does not support the given upgrade type."));
    assert!(refusal(&[("kraft.version", 0, SAFE)]).ends_with("Can't downgrade the version of this feature."));
}

#[test]
fn scram_credentials_are_kept_and_never_shown() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    let upsertion = |name: &str, mechanism: i8, iterations: i32| ScramCredentialUpsertion {
        name: name.to_owned(),
        mechanism,
        iterations,
        salt: Bytes::from_static(b"salt"),
        salted_password: Bytes::from_static(b"salted"),
        ..Default::default()
    };
    let deletion = |name: &str, mechanism: i8| ScramCredentialDeletion { name: name.to_owned(), mechanism, ..Default::default() };
    let mut alter = |deletions: Vec<ScramCredentialDeletion>, upsertions: Vec<ScramCredentialUpsertion>| {
        let request = AlterUserScramCredentialsRequest { deletions, upsertions, ..Default::default() };
        let results = connection.call(&request, 0).results;
        results.iter().map(|result| (result.user.clone(), code(result.error_code))).collect::<Vec<_>>()
    };
    let answered = |user: &str, code: ErrorCode| vec![(user.to_owned(), code)];
    assert_eq!(alter(vec![], vec![upsertion("u", 1, 4096)]), answered("u", ErrorCode::None));
    assert_eq!(alter(vec![], vec![upsertion("u", 1, 4095)]), answered("u", ErrorCode::UnacceptableCredential));
    assert_eq!(alter(vec![], vec![upsertion("u", 1, 16_385)]), answered("u", ErrorCode::UnacceptableCredential));
    assert_eq!(alter(vec![], vec![upsertion("", 1, 4096)]), answered("", ErrorCode::UnacceptableCredential));
    assert_eq!(alter(vec![], vec![upsertion("u", 3, 4096)]), answered("u", ErrorCode::UnsupportedSaslMechanism));
    assert_eq!(alter(vec![deletion("u", 2)], vec![]), answered("u", ErrorCode::ResourceNotFound));
    assert_eq!(alter(vec![deletion("u", 1)], vec![upsertion("u", 1, 4096)]), answered("u", ErrorCode::DuplicateResource));
    let response = connection.call(&DescribeUserScramCredentialsRequest { users: None, ..Default::default() }, 0);
    let [only] = &response.results[..] else { panic!("{response:?}") };
    assert_eq!((only.user.as_str(), only.credential_infos[0].mechanism, only.credential_infos[0].iterations), ("u", 1, 4096));
    let name = |name: &str| describe_user_scram_credentials_request::UserName { name: name.to_owned(), ..Default::default() };
    let request = DescribeUserScramCredentialsRequest { users: Some(vec![name("x"), name("y"), name("y")]), ..Default::default() };
    let codes: Vec<ErrorCode> = connection.call(&request, 0).results.iter().map(|result| code(result.error_code)).collect();
    assert_eq!(codes, [ErrorCode::ResourceNotFound, ErrorCode::DuplicateResource]);
}

#[test]
fn elections_and_reassignments_of_one_node_are_not_needed_or_not_possible() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    connection.create_topic("t", 1);
    let elect = |name: &str| ElectLeadersRequest {
        topic_partitions: Some(vec![TopicPartitions { topic: name.to_owned(), partitions: vec![0], ..Default::default() }]),
        timeout_ms: 30_000,
        ..Default::default()
    };
    let mut elected = |name: &str| code(connection.call(&elect(name), 2).replica_election_results[0].partition_result[0].error_code);
    assert_eq!(elected("t"), ErrorCode::ElectionNotNeeded);
    assert_eq!(elected("nothing"), ErrorCode::UnknownTopicOrPartition);
    let mut reassign = |name: &str, replicas: Option<Vec<i32>>| {
        let partition = ReassignablePartition { partition_index: 0, replicas, ..Default::default() };
        let topic = ReassignableTopic { name: name.to_owned(), partitions: vec![partition], ..Default::default() };
        let request = AlterPartitionReassignmentsRequest { topics: vec![topic], ..Default::default() };
        let answer = connection.call(&request, 0).responses.remove(0).partitions.remove(0);
        (code(answer.error_code), answer.error_message.unwrap_or_default())
    };
    assert_eq!(reassign("t", Some(vec![1])), (ErrorCode::None, String::new()));
    assert_eq!(reassign("t", None).0, ErrorCode::NoReassignmentInProgress);
    let (refused, text) = reassign("t", Some(vec![1, 2]));
    assert_eq!(refused, ErrorCode::InvalidReplicaAssignment);
    assert_eq!(text, "The manual partition assignment includes broker 2, but no such broker is registered.");
    assert_eq!(reassign("t", Some(vec![])).0, ErrorCode::InvalidReplicaAssignment);
    assert_eq!(reassign("x", Some(vec![1])), (ErrorCode::UnknownTopicOrPartition, "Unable to find a topic named x.".to_owned()));
    assert!(connection.call(&ListPartitionReassignmentsRequest { topics: None, ..Default::default() }, 0).topics.is_empty());
    let request = UnregisterBrokerRequest { broker_id: 7, ..Default::default() };
    assert_eq!(code(connection.call(&request, 0).error_code), ErrorCode::BrokerIdNotRegistered);
    let request = UnregisterBrokerRequest { broker_id: 1, ..Default::default() };
    assert_eq!(code(connection.call(&request, 0).error_code), ErrorCode::InvalidRequest);
}

#[test]
fn what_needs_security_is_refused_as_kafka_refuses_it() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    assert_eq!(code(connection.call(&DescribeAclsRequest::default(), 3).error_code), ErrorCode::SecurityDisabled);
    let request = CreateAclsRequest { creations: vec![Default::default(); 2], ..Default::default() };
    let results = connection.call(&request, 1).results;
    assert!(results.len() == 2 && results.iter().all(|result| code(result.error_code) == ErrorCode::SecurityDisabled));
    let request = DeleteAclsRequest { filters: vec![Default::default()], ..Default::default() };
    assert_eq!(code(connection.call(&request, 1).filter_results[0].error_code), ErrorCode::SecurityDisabled);
    let refused = ErrorCode::DelegationTokenRequestNotAllowed;
    let created = connection.call(&CreateDelegationTokenRequest::default(), 3);
    assert_eq!((code(created.error_code), created.token_requester_principal_name.as_str()), (refused, "ANONYMOUS"));
    assert_eq!(code(connection.call(&DescribeDelegationTokenRequest::default(), 3).error_code), refused);
    assert_eq!(code(connection.call(&RenewDelegationTokenRequest::default(), 2).error_code), refused);
    assert_eq!(code(connection.call(&ExpireDelegationTokenRequest::default(), 2).error_code), refused);
    assert_eq!(code(connection.call(&SaslHandshakeRequest::default(), 1).error_code), ErrorCode::IllegalSaslState);
    assert_eq!(code(connection.call(&SaslAuthenticateRequest::default(), 2).error_code), ErrorCode::IllegalSaslState);
    let request = AddRaftVoterRequest { cluster_id: Some("x".to_owned()), ..Default::default() };
    assert_eq!(code(connection.call(&request, 0).error_code), ErrorCode::InconsistentClusterId);
    let request = RemoveRaftVoterRequest { cluster_id: None, voter_id: 9, voter_directory_id: Uuid::from_u128(1000), ..Default::default() };
    assert_eq!(code(connection.call(&request, 0).error_code), ErrorCode::VoterNotFound);
}

fn alter(connection: &mut Connection, resource: (i8, &str), name: &str, value: Option<&str>) -> (ErrorCode, String) {
    let config_operation = if value.is_some() { 0 } else { 1 };
    let config = AlterableConfig { name: name.to_owned(), config_operation, value: value.map(str::to_owned), ..Default::default() };
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

fn log_level(connection: &mut Connection, logger: &str) -> Option<String> {
    let resource = DescribeConfigsResource {
        resource_type: BROKER_LOGGER,
        resource_name: "1".to_owned(),
        configuration_keys: None,
        ..Default::default()
    };
    let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
    let entries = connection.call(&request, 4).results.remove(0).configs;
    entries.into_iter().find(|entry| entry.name == logger).and_then(|entry| entry.value)
}

#[test]
fn log_levels_change_while_the_broker_runs() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let log = dir.path().join("log");
    let stderr = std::fs::File::create(&log).expect("a file");
    let broker = Broker::start_command(command(&["--ephemeral"]).args(["--listen", "127.0.0.1:0"]).stderr(stderr));
    let mut connection = broker.connect();
    assert_eq!(log_level(&mut connection, "root").as_deref(), Some("ERROR"), "what KAFKA_LOG says");
    assert_eq!(alter(&mut connection, (BROKER_LOGGER, "1"), "ottla::broker", Some("DEBUG")), (ErrorCode::None, String::new()));
    assert_eq!(log_level(&mut connection, "ottla::broker").as_deref(), Some("DEBUG"));
    assert_eq!(log_level(&mut connection, "ottla::storage").as_deref(), Some("ERROR"));
    drop(broker.connect());
    // The next connection's end is noted at DEBUG, and this answer comes after it only by chance: wait for the line.
    while !std::fs::read_to_string(&log).expect("a log").contains("connection closed") {
        assert_eq!(broker.connect().call(&ApiVersionsRequest::default(), 0).error_code, 0);
    }
    assert_eq!(log_level(&mut connection, "ottla::broker::connection").as_deref(), Some("DEBUG"), "a logger exists once it is used");
    assert_eq!(alter(&mut connection, (BROKER_LOGGER, "1"), "ottla::broker", None), (ErrorCode::None, String::new()));
    assert_eq!(log_level(&mut connection, "ottla::broker").as_deref(), Some("ERROR"));
    let (refused, text) = alter(&mut connection, (BROKER_LOGGER, "1"), "kafka.server.KafkaApis", Some("DEBUG"));
    assert_eq!((refused, text.as_str()), (ErrorCode::InvalidConfig, "Logger kafka.server.KafkaApis does not exist!"));
    assert_eq!(alter(&mut connection, (BROKER_LOGGER, "1"), "root", None).0, ErrorCode::InvalidRequest);
}

#[test]
fn clients_are_asked_for_their_metrics_and_may_send_them() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    for (name, value) in [("metrics", "org.apache.kafka.producer."), ("interval.ms", "100"), ("match", "client_id=te.*")] {
        assert_eq!(alter(&mut connection, (CLIENT_METRICS, "s"), name, Some(value)), (ErrorCode::None, String::new()));
    }
    let asked = connection.call(&GetTelemetrySubscriptionsRequest::default(), 0);
    assert_eq!((asked.requested_metrics, asked.push_interval_ms), (vec!["org.apache.kafka.producer.".to_owned()], 100));
    let request = PushTelemetryRequest {
        client_instance_id: asked.client_instance_id,
        subscription_id: asked.subscription_id,
        metrics: Bytes::from_static(b"metrics"),
        ..Default::default()
    };
    assert_eq!(code(connection.call(&request, 0).error_code), ErrorCode::None);
    let wrong = PushTelemetryRequest { subscription_id: asked.subscription_id ^ 1, terminating: true, ..request };
    assert_eq!(code(connection.call(&wrong, 0).error_code), ErrorCode::UnknownSubscriptionId);
}
