use super::*;
use crate::common::uuid::Uuid;
use crate::metadata::features;
use crate::metadata::image::{ConfigResourceType, LeaderRecoveryState, NO_LEADER};
use crate::metadata::schema::{EffectiveConfig, InvalidConfig};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig};
use crate::protocol::messages::*;

/// Configs as far as the controller's own rules need them.
pub(crate) struct StubSchema;

impl ConfigSchema for StubSchema {
    fn is_list(&self, _: ConfigResourceType, name: &str) -> bool {
        name == "cleanup.policy"
    }

    fn default_value(&self, _: ConfigResourceType, name: &str) -> Option<String> {
        (name == "cleanup.policy").then(|| "delete".to_owned())
    }

    fn validate(
        &self,
        _: &ConfigResource,
        configs: &BTreeMap<String, Option<String>>,
        _: &BTreeMap<String, String>,
    ) -> Result<(), InvalidConfig> {
        match configs.get("retention.ms") {
            Some(Some(value)) if value.parse::<i64>().is_err() => {
                Err(InvalidConfig { code: ErrorCode::InvalidConfig, message: format!("Invalid value {value}") })
            }
            _ => Ok(()),
        }
    }

    fn effective_topic_value(
        &self,
        name: &str,
        topic: &BTreeMap<String, String>,
        _: &BTreeMap<String, String>,
        cluster: &BTreeMap<String, String>,
    ) -> Option<String> {
        topic.get(name).or_else(|| cluster.get(name)).cloned()
    }

    fn effective_topic_configs(
        &self,
        topic: &BTreeMap<String, String>,
        _: &BTreeMap<String, String>,
        _: &BTreeMap<String, String>,
    ) -> Vec<EffectiveConfig> {
        let config = |(name, value): (&String, &String)| EffectiveConfig {
            name: name.clone(),
            value: Some(value.clone()),
            read_only: false,
            source: 1,
            is_sensitive: false,
        };
        topic.iter().map(config).collect()
    }

    fn default_replication_factor(&self) -> i16 {
        1
    }

    fn default_num_partitions(&self) -> i32 {
        1
    }

    fn static_min_insync_replicas(&self) -> i32 {
        1
    }
}

/// A controller with its records applied at once, as if each were committed.
struct Cluster {
    controller: Controller,
}

impl Cluster {
    /// A cluster with these brokers, unfenced.
    fn new(brokers: &[i32]) -> Cluster {
        let controller = Controller::new(ControllerOptions {
            node_id: 1,
            cluster_id: "cluster".to_owned(),
            schema: Arc::new(StubSchema),
            random: Random::new(7),
            session_timeout_ms: 9000,
        });
        let mut cluster = Cluster { controller };
        let levels = features::NEW_CLUSTER.iter().map(|&(name, feature_level)| {
            VersionedRecord::new(FeatureLevelRecord { name: name.to_owned(), feature_level, ..Default::default() }, 0)
        });
        let bootstrap: Vec<_> = levels.collect();
        let records = cluster.controller.activation_records(&bootstrap);
        assert_eq!(records.len(), 9, "begin, six levels, min.insync.replicas, end");
        cluster.apply(&records);
        assert_eq!(cluster.controller.activation_records(&bootstrap), []);
        for &id in brokers {
            cluster.register(id, 1, -1);
            cluster.heartbeat(id, false);
        }
        cluster
    }

    fn apply(&mut self, records: &[VersionedRecord]) {
        // What is written must be readable, at the version it is written.
        for record in records {
            let value = record.to_value().expect("a record that can be written");
            let (read, version) = MetadataRecord::from_value(value).expect("a record that can be read");
            assert_eq!((&read, version), (&record.record, record.version));
        }
        let offset = self.controller.next_offset();
        self.controller.replay(offset, records.iter().map(|record| &record.record)).expect("replayed");
    }

    fn run<R>(&mut self, operation: impl FnOnce(&mut Controller) -> Outcome<R>) -> R {
        let outcome = operation(&mut self.controller);
        self.apply(&outcome.records);
        outcome.response
    }

    fn try_register(&mut self, id: i32, incarnation: u64, previous_broker_epoch: i64) -> BrokerRegistrationResponse {
        let features = features::SUPPORTED.iter().map(|&(name, range)| broker_registration_request::Feature {
            name: name.to_owned(),
            min_supported_version: range.min,
            max_supported_version: range.max,
            ..Default::default()
        });
        let request = BrokerRegistrationRequest {
            broker_id: id,
            cluster_id: "cluster".to_owned(),
            incarnation_id: Uuid::from_u128((u128::from(incarnation) << 100) + 1),
            features: features.collect(),
            log_dirs: vec![directory(id)],
            previous_broker_epoch,
            ..Default::default()
        };
        self.run(|controller| controller.register_broker(&request))
    }

    fn register(&mut self, id: i32, incarnation: u64, previous_broker_epoch: i64) -> i64 {
        let response = self.try_register(id, incarnation, previous_broker_epoch);
        assert_eq!(response.error_code, 0);
        response.broker_epoch
    }

    fn epoch(&self, id: i32) -> i64 {
        self.controller.image().cluster.broker(id).expect("a broker").epoch
    }

    fn heartbeat(&mut self, id: i32, want_shut_down: bool) -> BrokerHeartbeatResponse {
        let request = BrokerHeartbeatRequest {
            broker_id: id,
            broker_epoch: self.epoch(id),
            current_metadata_offset: self.controller.next_offset(),
            want_shut_down,
            ..Default::default()
        };
        self.run(|controller| controller.heartbeat(&request))
    }

    fn create(&mut self, topics: Vec<CreatableTopic>) -> Vec<(String, ErrorCode, Option<String>)> {
        let request = CreateTopicsRequest { topics, ..Default::default() };
        let response = self.run(|controller| controller.create_topics(&request));
        let results = response.topics.into_iter();
        results.map(|topic| (topic.name, ErrorCode::from_code(topic.error_code), topic.error_message)).collect()
    }

    fn create_one(&mut self, topic: CreatableTopic) -> (ErrorCode, Option<String>) {
        let mut results = self.create(vec![topic]);
        let (_, code, message) = results.pop().expect("one result");
        (code, message)
    }

    fn partition(&self, topic: &str, index: i32) -> Arc<crate::metadata::image::PartitionRegistration> {
        Arc::clone(self.controller.image().topics.partition(topic, index).expect("a partition"))
    }
}

fn directory(id: i32) -> Uuid {
    Uuid::from_u128(5000 + id as u128)
}

fn topic(name: &str, num_partitions: i32, replication_factor: i16) -> CreatableTopic {
    CreatableTopic { name: name.to_owned(), num_partitions, replication_factor, ..Default::default() }
}

fn assigned(name: &str, assignments: &[(i32, &[i32])]) -> CreatableTopic {
    let assignments = assignments.iter().map(|&(partition_index, broker_ids)| CreatableReplicaAssignment {
        partition_index,
        broker_ids: broker_ids.to_vec(),
        ..Default::default()
    });
    CreatableTopic { assignments: assignments.collect(), ..topic(name, -1, -1) }
}

#[test]
fn a_topic_is_created_with_its_partitions() {
    let mut cluster = Cluster::new(&[1]);
    assert_eq!(cluster.create_one(topic("a", 3, 1)), (ErrorCode::None, None));
    let partition = cluster.partition("a", 2);
    assert_eq!((partition.replicas.as_slice(), partition.leader, partition.leader_epoch), ([1].as_slice(), 1, 0));
    assert_eq!(partition.directories, [directory(1)]);
    assert_eq!(cluster.controller.image().topics.topic("a").expect("a topic").partition_count(), 3);
}

#[test]
fn defaults_fill_in_counts() {
    let mut cluster = Cluster::new(&[1]);
    let request = CreateTopicsRequest { topics: vec![topic("a", -1, -1)], ..Default::default() };
    let response = cluster.run(|controller| controller.create_topics(&request));
    assert_eq!((response.topics[0].num_partitions, response.topics[0].replication_factor), (1, 1));
    assert!(!response.topics[0].topic_id.is_zero());
}

#[test]
fn bad_topics_are_refused_with_kafkas_words() {
    let mut cluster = Cluster::new(&[1]);
    let mut refused = |wanted: CreatableTopic, code: ErrorCode, text: &str| {
        assert_eq!(cluster.create_one(wanted), (code, Some(text.to_owned())));
    };
    refused(topic("", 1, 1), ErrorCode::InvalidTopicException, "Topic name is invalid: the empty string is not allowed");
    refused(topic("a", 0, 1), ErrorCode::InvalidPartitions, "Number of partitions was set to an invalid non-positive value.");
    refused(
        topic("a", 1, 0),
        ErrorCode::InvalidReplicationFactor,
        "Replication factor must be larger than 0, or -1 to use the default value.",
    );
    refused(
        topic("a", 1, 3),
        ErrorCode::InvalidReplicationFactor,
        "Unable to replicate the partition 3 time(s): The target replication factor of 3 cannot be reached because only 1 broker(s) \
         are registered or some brokers have all their log directories cordoned.",
    );
    refused(topic("__cluster_metadata", 1, 1), ErrorCode::InvalidRequest, "Creation of internal topic __cluster_metadata is prohibited.");
    refused(
        assigned("a", &[(0, &[1, 1])]),
        ErrorCode::InvalidReplicaAssignment,
        "The manual partition assignment includes the broker 1 more than once.",
    );
    refused(
        assigned("a", &[(0, &[9])]),
        ErrorCode::InvalidReplicaAssignment,
        "The manual partition assignment includes broker 9, but no such broker is registered.",
    );
    refused(
        assigned("a", &[(1, &[1])]),
        ErrorCode::InvalidReplicaAssignment,
        "partitions should be a consecutive 0-based integer sequence",
    );
    refused(
        CreatableTopic { num_partitions: 2, ..assigned("a", &[(0, &[1])]) },
        ErrorCode::InvalidRequest,
        "A manual partition assignment was specified, but numPartitions was not set to -1.",
    );
    refused(topic("a", 10_001, 1), ErrorCode::PolicyViolation, "Excessively large number of partitions per request.");
    let config = CreatableTopicConfig { name: "retention.ms".to_owned(), value: None, ..Default::default() };
    refused(
        CreatableTopic { configs: vec![config.clone()], ..topic("a", 1, 1) },
        ErrorCode::InvalidConfig,
        "Null value not supported for topic configs: retention.ms",
    );
    let config = CreatableTopicConfig { value: Some("soon".to_owned()), ..config };
    refused(CreatableTopic { configs: vec![config], ..topic("a", 1, 1) }, ErrorCode::InvalidConfig, "Invalid value soon");
    assert!(cluster.controller.image().topics.is_empty());
}

#[test]
fn names_collide_when_only_dots_and_underscores_differ() {
    let mut cluster = Cluster::new(&[1]);
    assert_eq!(cluster.create_one(topic("a.b", 1, 1)).0, ErrorCode::None);
    assert_eq!(
        cluster.create_one(topic("a_b", 1, 1)),
        (ErrorCode::InvalidTopicException, Some("Topic 'a_b' collides with existing topic: a.b".to_owned()))
    );
    assert_eq!(cluster.create_one(topic("a.b", 1, 1)), (ErrorCode::TopicAlreadyExists, Some("Topic 'a.b' already exists.".to_owned())));
    let request = DeleteTopicsRequest { topic_names: vec!["a.b".to_owned()], ..Default::default() };
    cluster.run(|controller| controller.delete_topics(&request));
    assert_eq!(cluster.create_one(topic("a_b", 1, 1)).0, ErrorCode::None);
}

#[test]
fn a_name_twice_in_a_request_is_refused_and_the_rest_created() {
    let mut cluster = Cluster::new(&[1]);
    let results = cluster.create(vec![topic("a", 1, 1), topic("b", 1, 1), topic("a", 1, 1)]);
    assert_eq!(
        results,
        [("b".to_owned(), ErrorCode::None, None), ("a".to_owned(), ErrorCode::InvalidRequest, Some("Duplicate topic name.".to_owned())),]
    );
}

#[test]
fn validate_only_creates_nothing() {
    let mut cluster = Cluster::new(&[1]);
    let request = CreateTopicsRequest { topics: vec![topic("a", 1, 1)], validate_only: true, ..Default::default() };
    let response = cluster.run(|controller| controller.create_topics(&request));
    assert_eq!(response.topics[0].error_code, 0);
    assert!(cluster.controller.image().topics.is_empty());
}

#[test]
fn records_of_a_new_topic_stand_in_kafkas_order() {
    let mut cluster = Cluster::new(&[1]);
    let config =
        |name: &str, value: &str| CreatableTopicConfig { name: name.to_owned(), value: Some(value.to_owned()), ..Default::default() };
    let wanted = CreatableTopic { configs: vec![config("min.insync.replicas", "1")], ..topic("a", 2, 1) };
    let request = CreateTopicsRequest { topics: vec![wanted], ..Default::default() };
    let outcome = cluster.controller.create_topics(&request);
    let types: Vec<_> = outcome.records.iter().map(|record| record.record.type_name()).collect();
    assert_eq!(types, ["TOPIC_RECORD", "CONFIG_RECORD", "CLEAR_ELR_RECORD", "PARTITION_RECORD", "PARTITION_RECORD"]);
    cluster.apply(&outcome.records);
}

#[test]
fn partitions_are_only_ever_added() {
    let mut cluster = Cluster::new(&[1]);
    cluster.create_one(topic("a", 2, 1));
    let mut grow = |name: &str, count: i32| {
        let topic =
            create_partitions_request::CreatePartitionsTopic { name: name.to_owned(), count, assignments: None, ..Default::default() };
        let request = CreatePartitionsRequest { topics: vec![topic], ..Default::default() };
        let result = cluster.run(|controller| controller.create_partitions(&request)).results.remove(0);
        (ErrorCode::from_code(result.error_code), result.error_message)
    };
    assert_eq!(grow("b", 2), (ErrorCode::UnknownTopicOrPartition, None));
    assert_eq!(grow("a", 2), (ErrorCode::InvalidPartitions, Some("Topic already has 2 partition(s).".to_owned())));
    assert_eq!(
        grow("a", 1),
        (ErrorCode::InvalidPartitions, Some("The topic a currently has 2 partition(s); 1 would not be an increase.".to_owned()))
    );
    assert_eq!(grow("a", 5), (ErrorCode::None, None));
    assert_eq!(cluster.partition("a", 4).leader, 1);
}

#[test]
fn topics_are_deleted_by_name_or_id_but_not_both() {
    let mut cluster = Cluster::new(&[1]);
    cluster.create(vec![topic("a", 1, 1), topic("b", 1, 1), topic("c", 1, 1)]);
    let id = |name: &str| cluster.controller.image().topics.topic(name).expect("a topic").id;
    let state = |name: Option<&str>, topic_id: Uuid| delete_topics_request::DeleteTopicState {
        name: name.map(str::to_owned),
        topic_id,
        ..Default::default()
    };
    let (b, c) = (id("b"), id("c"));
    let topics = vec![
        state(Some("a"), Uuid::ZERO),
        state(None, b),
        state(Some("c"), c),
        state(Some("missing"), Uuid::ZERO),
        state(None, Uuid::from_u128(77)),
        state(None, Uuid::ZERO),
    ];
    let request = DeleteTopicsRequest { topics, ..Default::default() };
    let response = cluster.run(|controller| controller.delete_topics(&request));
    let codes: Vec<_> = response.responses.iter().map(|result| ErrorCode::from_code(result.error_code)).collect();
    assert_eq!(
        codes,
        [
            ErrorCode::InvalidRequest,
            ErrorCode::InvalidRequest,
            ErrorCode::UnknownTopicId,
            ErrorCode::UnknownTopicOrPartition,
            ErrorCode::None,
            ErrorCode::None,
        ]
    );
    let left: Vec<_> = cluster.controller.image().topics.iter().map(|topic| topic.name.clone()).collect();
    assert_eq!(left, ["c"]);
}

#[test]
fn a_deleted_topic_takes_its_configs_with_it() {
    let mut cluster = Cluster::new(&[1]);
    let config = CreatableTopicConfig { name: "retention.ms".to_owned(), value: Some("1".to_owned()), ..Default::default() };
    cluster.create_one(CreatableTopic { configs: vec![config], ..topic("a", 1, 1) });
    let resource = ConfigResource::topic("a");
    assert_eq!(cluster.controller.image().configs.value(&resource, "retention.ms"), Some("1"));
    let request = DeleteTopicsRequest { topic_names: vec!["a".to_owned()], ..Default::default() };
    cluster.run(|controller| controller.delete_topics(&request));
    assert_eq!(cluster.controller.image().configs.resource(&resource), None);
}

fn alter(type_: i8, name: &str, changes: &[(&str, i8, Option<&str>)]) -> IncrementalAlterConfigsRequest {
    use incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let configs = changes.iter().map(|&(name, config_operation, value)| AlterableConfig {
        name: name.to_owned(),
        config_operation,
        value: value.map(str::to_owned),
        ..Default::default()
    });
    let resource =
        AlterConfigsResource { resource_type: type_, resource_name: name.to_owned(), configs: configs.collect(), ..Default::default() };
    IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() }
}

#[test]
fn configs_are_set_appended_and_deleted() {
    let mut cluster = Cluster::new(&[1]);
    cluster.create_one(topic("a", 1, 1));
    let mut change = |request: IncrementalAlterConfigsRequest| {
        let answer = cluster.run(|controller| controller.incremental_alter_configs(&request)).responses.remove(0);
        let configs = cluster.controller.configs_of(&ConfigResource::topic("a")).clone();
        (ErrorCode::from_code(answer.error_code), answer.error_message, configs)
    };
    let (code, _, configs) = change(alter(2, "a", &[("cleanup.policy", 2, Some("compact")), ("retention.ms", 0, Some("5"))]));
    assert_eq!((code, configs["cleanup.policy"].as_str(), configs["retention.ms"].as_str()), (ErrorCode::None, "delete,compact", "5"));
    let (code, _, configs) = change(alter(2, "a", &[("cleanup.policy", 3, Some("delete")), ("retention.ms", 1, None)]));
    assert_eq!((code, configs["cleanup.policy"].as_str(), configs.get("retention.ms")), (ErrorCode::None, "compact", None));
    let (code, message, _) = change(alter(2, "a", &[("retention.ms", 2, Some("1"))]));
    assert_eq!(code, ErrorCode::InvalidConfig);
    assert_eq!(message.as_deref(), Some("Can't APPEND to key retention.ms because its type is not LIST."));
    let (code, message, _) = change(alter(2, "nowhere", &[("retention.ms", 0, Some("1"))]));
    assert_eq!(code, ErrorCode::UnknownTopicOrPartition);
    assert_eq!(message.as_deref(), Some("The topic 'nowhere' does not exist."));
    let (code, message, _) = change(alter(3, "a", &[]));
    assert_eq!((code, message.as_deref()), (ErrorCode::UnsupportedVersion, Some("Unknown resource type 3.")));
    let (code, message, _) = change(alter(4, "9", &[("x", 0, Some("1"))]));
    assert_eq!((code, message.as_deref()), (ErrorCode::BrokerIdNotRegistered, Some("No node with id 9 found.")));
    let (code, message, _) = change(alter(4, "1", &[("min.insync.replicas", 0, Some("1"))]));
    assert_eq!(code, ErrorCode::InvalidConfig);
    assert_eq!(message.as_deref(), Some("Broker-level min.insync.replicas cannot be altered while ELR is enabled."));
}

#[test]
fn alter_configs_replaces_everything() {
    let mut cluster = Cluster::new(&[1]);
    cluster.create_one(topic("a", 1, 1));
    cluster.run(|controller| controller.incremental_alter_configs(&alter(2, "a", &[("retention.ms", 0, Some("5"))])));
    use alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let config = AlterableConfig { name: "cleanup.policy".to_owned(), value: Some("compact".to_owned()), ..Default::default() };
    let resource = AlterConfigsResource { resource_type: 2, resource_name: "a".to_owned(), configs: vec![config], ..Default::default() };
    let request = AlterConfigsRequest { resources: vec![resource], ..Default::default() };
    assert_eq!(cluster.run(|controller| controller.alter_configs(&request)).responses[0].error_code, 0);
    let configs = cluster.controller.configs_of(&ConfigResource::topic("a"));
    assert_eq!(configs.keys().map(String::as_str).collect::<Vec<_>>(), ["cleanup.policy"]);
}

#[test]
fn producer_ids_come_in_blocks() {
    let mut cluster = Cluster::new(&[1]);
    let mut allocate = |broker_epoch: i64| {
        let request = AllocateProducerIdsRequest { broker_id: 1, broker_epoch, ..Default::default() };
        cluster.run(|controller| controller.allocate_producer_ids(&request))
    };
    let epoch = 9;
    assert_eq!(allocate(epoch).producer_id_start, 0);
    let second = allocate(epoch);
    assert_eq!((second.producer_id_start, second.producer_id_len), (1000, 1000));
    assert_eq!(ErrorCode::from_code(allocate(3).error_code), ErrorCode::StaleBrokerEpoch);
}

#[test]
fn a_brokers_epoch_is_the_offset_of_its_registration() {
    let cluster = Cluster::new(&[1]);
    assert_eq!(cluster.epoch(1), 9, "after the nine activation records");
}

#[test]
fn a_second_incarnation_waits_for_the_first_ones_session() {
    let mut cluster = Cluster::new(&[1]);
    let refused = cluster.try_register(1, 2, -1);
    assert_eq!(ErrorCode::from_code(refused.error_code), ErrorCode::DuplicateBrokerRegistration);
    cluster.controller.set_time(9000);
    assert_eq!(cluster.try_register(1, 2, -1).error_code, 0);
}

#[test]
fn a_clean_restart_keeps_the_leader_clean() {
    let mut cluster = Cluster::new(&[1]);
    cluster.create_one(topic("a", 1, 1));
    let epoch = cluster.epoch(1);
    let stopping = cluster.heartbeat(1, true);
    assert!(!stopping.should_shut_down, "it leads a partition");
    let partition = cluster.partition("a", 0);
    assert_eq!((partition.leader, partition.isr.len(), partition.elr.as_slice()), (NO_LEADER, 0, [1].as_slice()));
    assert!(cluster.heartbeat(1, true).should_shut_down);
    assert!(cluster.controller.image().cluster.broker(1).is_some_and(|broker| broker.fenced));
    cluster.controller.expire_session(1);
    cluster.register(1, 2, epoch);
    cluster.heartbeat(1, false);
    let partition = cluster.partition("a", 0);
    assert_eq!((partition.leader, partition.isr.as_slice()), (1, [1].as_slice()));
    assert_eq!(partition.leader_recovery_state, LeaderRecoveryState::Recovered);
    assert_eq!((partition.elr.len(), partition.last_known_elr.len()), (0, 0));
}

#[test]
fn a_killed_broker_leads_again_but_recovers() {
    let mut cluster = Cluster::new(&[1]);
    cluster.create_one(topic("a", 1, 1));
    cluster.controller.expire_session(1);
    cluster.register(1, 2, -1);
    assert_eq!(cluster.partition("a", 0).leader, NO_LEADER);
    cluster.heartbeat(1, false);
    let partition = cluster.partition("a", 0);
    assert_eq!((partition.leader, partition.isr.as_slice()), (1, [1].as_slice()));
    assert_eq!(partition.leader_recovery_state, LeaderRecoveryState::Recovering);
    assert_eq!(partition.leader_epoch, 2);
}

#[test]
fn a_silent_broker_is_fenced_and_its_partitions_move() {
    let mut cluster = Cluster::new(&[1, 2]);
    assert_eq!(cluster.create_one(assigned("a", &[(0, &[1, 2])])).0, ErrorCode::None);
    cluster.controller.set_time(8999);
    cluster.heartbeat(2, false);
    assert_eq!(cluster.run(Controller::fence_stale_broker), None);
    cluster.controller.set_time(9000);
    assert_eq!(cluster.run(Controller::fence_stale_broker), Some(1));
    assert_eq!(cluster.run(Controller::fence_stale_broker), None);
    let partition = cluster.partition("a", 0);
    assert_eq!((partition.leader, partition.isr.as_slice(), partition.leader_epoch), (2, [2].as_slice(), 1));
}

#[test]
fn preferred_leaders_are_put_back() {
    let mut cluster = Cluster::new(&[1, 2]);
    cluster.create_one(assigned("a", &[(0, &[1, 2])]));
    let epoch = cluster.epoch(1);
    cluster.heartbeat(1, true);
    assert_eq!(cluster.partition("a", 0).leader, 2);
    cluster.heartbeat(1, true);
    cluster.controller.expire_session(1);
    cluster.register(1, 2, epoch);
    cluster.heartbeat(1, false);
    // The replica is out of sync, so nothing can be put back yet.
    let request = ElectLeadersRequest { topic_partitions: None, ..Default::default() };
    let response = cluster.run(|controller| controller.elect_leaders(&request));
    let code = response.replica_election_results[0].partition_result[0].error_code;
    assert_eq!(ErrorCode::from_code(code), ErrorCode::PreferredLeaderNotAvailable);
    let topic_id = cluster.controller.image().topics.topic("a").expect("a topic").id;
    let caught_up = PartitionChangeRecord { topic_id, partition_id: 0, isr: Some(vec![1, 2]), ..Default::default() };
    cluster.apply(&[VersionedRecord::new(caught_up, 2)]);
    assert!(!cluster.run(Controller::balance_leaders));
    assert_eq!(cluster.partition("a", 0).leader, 1);
}

#[test]
fn an_unregistered_broker_leaves_no_trace() {
    let mut cluster = Cluster::new(&[1, 2]);
    cluster.create_one(assigned("a", &[(0, &[2, 1])]));
    let request = UnregisterBrokerRequest { broker_id: 2, ..Default::default() };
    assert_eq!(cluster.run(|controller| controller.unregister_broker(&request)).error_code, 0);
    assert_eq!(cluster.partition("a", 0).leader, 1);
    assert!(cluster.controller.image().cluster.broker(2).is_none());
    let again = cluster.run(|controller| controller.unregister_broker(&request));
    assert_eq!(again.error_message.as_deref(), Some("Broker ID 2 is not currently registered"));
}

#[test]
fn an_aborted_transaction_leaves_nothing() {
    let mut cluster = Cluster::new(&[1]);
    let before = Arc::clone(cluster.controller.image());
    cluster.apply(&[VersionedRecord::new(BeginTransactionRecord::default(), 0)]);
    cluster.create_one(topic("a.b", 1, 1));
    assert!(cluster.controller.open_transaction().is_some());
    let activation = cluster.controller.activation_records(&[]);
    assert_eq!(activation[0].record.type_name(), "ABORT_TRANSACTION_RECORD");
    cluster.apply(&activation);
    assert!(before.same_state(cluster.controller.image()));
    assert_eq!(cluster.create_one(topic("a_b", 1, 1)).0, ErrorCode::None, "the name that was rolled back does not collide");
}

fn reassign(cluster: &mut Cluster, name: &str, replicas: Option<Vec<i32>>) -> (ErrorCode, Option<String>) {
    use alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
    let partition = ReassignablePartition { partition_index: 0, replicas, ..Default::default() };
    let topic = ReassignableTopic { name: name.to_owned(), partitions: vec![partition], ..Default::default() };
    let request = AlterPartitionReassignmentsRequest { topics: vec![topic], ..Default::default() };
    let answer = cluster.run(|controller| controller.alter_partition_reassignments(&request));
    let answer = answer.responses[0].partitions[0].clone();
    (ErrorCode::from_code(answer.error_code), answer.error_message)
}

#[test]
fn a_reassignment_adds_first_and_can_be_taken_back() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    cluster.create_one(topic("a", 1, 1));
    let now = |cluster: &Cluster| cluster.controller.image().topics.partition("a", 0).expect("a partition").clone();
    let old = now(&cluster).replicas[0];
    let new = if old == 1 { 2 } else { 1 };
    assert_eq!(reassign(&mut cluster, "a", Some(vec![new])), (ErrorCode::None, None));
    let moving = now(&cluster);
    assert_eq!((&moving.replicas, &moving.adding_replicas, &moving.removing_replicas), (&vec![new, old], &vec![new], &vec![old]));
    let listed = reassignments::list_partition_reassignments(
        cluster.controller.image(),
        &ListPartitionReassignmentsRequest { topics: None, ..Default::default() },
    );
    assert_eq!(listed.topics[0].partitions[0].replicas, [new, old]);
    assert_eq!(reassign(&mut cluster, "a", None), (ErrorCode::None, None));
    let back = now(&cluster);
    assert_eq!((&back.replicas, back.leader, back.is_reassigning()), (&vec![old], old, false));
    assert_eq!(reassign(&mut cluster, "a", None).0, ErrorCode::NoReassignmentInProgress);
    assert_eq!(reassign(&mut cluster, "a", Some(vec![9])).0, ErrorCode::InvalidReplicaAssignment);
    assert_eq!(reassign(&mut cluster, "b", Some(vec![1])).0, ErrorCode::UnknownTopicOrPartition);
}

#[test]
fn the_replication_factor_stays_unless_it_may_change() {
    use alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
    let mut cluster = Cluster::new(&[1, 2]);
    cluster.create_one(topic("a", 1, 1));
    let partition = ReassignablePartition { partition_index: 0, replicas: Some(vec![1, 2]), ..Default::default() };
    let topic = ReassignableTopic { name: "a".to_owned(), partitions: vec![partition], ..Default::default() };
    let request = AlterPartitionReassignmentsRequest { topics: vec![topic], allow_replication_factor_change: false, ..Default::default() };
    let answer = cluster.run(|controller| controller.alter_partition_reassignments(&request)).responses[0].partitions[0].clone();
    assert_eq!(ErrorCode::from_code(answer.error_code), ErrorCode::InvalidReplicationFactor);
    assert_eq!(answer.error_message.as_deref(), Some("The replication factor is changed from 1 to 2"));
}

#[test]
fn a_topic_that_comes_to_prefer_any_leader_gets_one_in_the_next_pass() {
    let mut cluster = Cluster::new(&[1, 2]);
    cluster.create_one(topic("a", 1, 2));
    // The follower goes first, so that the leader alone is in sync; then the leader goes too, and the follower comes back.
    let leader = cluster.controller.image().topics.partition("a", 0).expect("a partition").leader;
    let follower = 3 - leader;
    for id in [follower, leader] {
        cluster.controller.set_time(cluster.controller.now_ms + 1);
        let epoch = cluster.epoch(id);
        let request = BrokerHeartbeatRequest {
            broker_id: id,
            broker_epoch: epoch,
            current_metadata_offset: cluster.controller.next_offset(),
            want_fence: true,
            ..Default::default()
        };
        cluster.run(|controller| controller.heartbeat(&request));
    }
    cluster.heartbeat(follower, false);
    let now = |cluster: &Cluster| cluster.controller.image().topics.partition("a", 0).expect("a partition").leader;
    assert!(!cluster.run(Controller::elect_unclean_leaders));
    assert_eq!(now(&cluster), NO_LEADER, "nobody in sync is alive");
    cluster.run(|controller| controller.incremental_alter_configs(&alter(2, "a", &[("unclean.leader.election.enable", 0, Some("true"))])));
    assert!(!cluster.run(Controller::elect_unclean_leaders));
    assert_eq!(now(&cluster), follower);
}

#[test]
fn a_replica_in_a_directory_that_is_offline_leads_nothing() {
    use assign_replicas_to_dirs_request::{DirectoryData, PartitionData, TopicData};
    let mut cluster = Cluster::new(&[1]);
    cluster.create_one(topic("a", 1, 1));
    let topic_id = cluster.controller.image().topics.topic("a").expect("a topic").id;
    let mut assign = |topic_id: Uuid, directory: Uuid| {
        let partition = PartitionData { partition_index: 0, ..Default::default() };
        let topic = TopicData { topic_id, partitions: vec![partition], ..Default::default() };
        let request = AssignReplicasToDirsRequest {
            broker_id: 1,
            broker_epoch: cluster.epoch(1),
            directories: vec![DirectoryData { id: directory, topics: vec![topic], ..Default::default() }],
            ..Default::default()
        };
        let response = cluster.run(|controller| controller.assign_replicas_to_directories(&request));
        let partition = cluster.controller.image().topics.partition("a", 0).expect("a partition").clone();
        (ErrorCode::from_code(response.directories[0].topics[0].partitions[0].error_code), partition.directories[0], partition.leader)
    };
    assert_eq!(assign(topic_id, directory(1)), (ErrorCode::None, directory(1), 1));
    let lost = Uuid::from_u128(1 << 90);
    assert_eq!(assign(topic_id, lost), (ErrorCode::None, lost, NO_LEADER));
    assert_eq!(assign(Uuid::from_u128(5000), lost).0, ErrorCode::UnknownTopicId);
}

#[test]
fn a_quota_counts_partitions_and_refuses_single_topics() {
    let mut cluster = Cluster::new(&[1]);
    let request = CreateTopicsRequest { topics: vec![topic("a", 3, 1), topic("b", 2, 1)], ..Default::default() };
    let mut left = 4;
    let quota: PartitionChangeQuota = Box::new(move |partitions| {
        let allowed = left > 0;
        left -= partitions as i32;
        allowed && left >= 0
    });
    let response = cluster.run(|controller| controller.within(Some(quota), |controller| controller.create_topics(&request)));
    let codes: Vec<ErrorCode> = response.topics.iter().map(|topic| ErrorCode::from_code(topic.error_code)).collect();
    assert_eq!(codes, [ErrorCode::None, ErrorCode::ThrottlingQuotaExceeded]);
    assert!(cluster.controller.image().topics.topic("b").is_none());
    // The next operation has no quota.
    assert_eq!(cluster.create(vec![topic("b", 2, 1)])[0].1, ErrorCode::None);
}
