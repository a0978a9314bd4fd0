use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::common::random::Random;
use crate::common::uuid::Uuid;
use crate::coordinator::group::config::GroupCoordinatorConfig;
use crate::coordinator::group::modern::TopicPartitions;
use crate::coordinator::group::modern::topics::TopicsDelta;
use crate::coordinator::group::records::GroupRecord;
use crate::coordinator::group::{ClientContext, Effects};
use crate::coordinator::runtime::{LogEntry, Shard};
use crate::coordinator::timers::Now;
use crate::metadata::delta::MetadataDelta;
use crate::metadata::image::{MetadataImage, Provenance};
use crate::protocol::messages::alter_share_group_offsets_request::{
    AlterShareGroupOffsetsRequestPartition, AlterShareGroupOffsetsRequestTopic,
};
use crate::protocol::messages::delete_share_group_offsets_request::DeleteShareGroupOffsetsRequestTopic;
use crate::protocol::messages::{
    AlterShareGroupOffsetsRequest, DeleteShareGroupOffsetsRequest, PartitionRecord, ShareGroupHeartbeatRequest,
    ShareGroupHeartbeatResponse, TopicRecord,
};

const T: Uuid = Uuid::from_u128(1);
const U: Uuid = Uuid::from_u128(2);

fn image(topics: &[(&str, Uuid, i32)]) -> Arc<MetadataImage> {
    let mut delta = MetadataDelta::new(Arc::default());
    for &(name, topic_id, partitions) in topics {
        delta.replay(&TopicRecord { name: name.to_owned(), topic_id, ..Default::default() }.into()).expect("a topic");
        for partition_id in 0..partitions {
            delta.replay(&PartitionRecord { partition_id, topic_id, ..Default::default() }.into()).expect("a partition");
        }
    }
    Arc::new(delta.apply(Provenance::default()))
}

/// A shard and its log; records go through their bytes.
struct Fixture {
    shard: GroupShard,
    log: Vec<(bytes::Bytes, Option<bytes::Bytes>)>,
    now_ms: i64,
}

fn new_shard(image: Arc<MetadataImage>) -> GroupShard {
    let config = GroupCoordinatorConfig {
        share_assignment_interval_ms: crate::coordinator::group::config::Bounded { default: 0, min: 0, max: 0 },
        share_max_size: 2,
        ..GroupCoordinatorConfig::default()
    };
    GroupShard::new(config, image, Random::new(1))
}

impl Fixture {
    fn new() -> Fixture {
        Fixture { shard: new_shard(image(&[("t", T, 2), ("u", U, 1)])), log: Vec::new(), now_ms: 1_000_000 }
    }

    fn now(&self) -> Now {
        Now { wall_ms: self.now_ms, monotonic_ms: self.now_ms as u64 }
    }

    fn apply(&mut self, effects: Effects) -> Vec<GroupRecord> {
        for record in &effects.records {
            let (key, value) = record.encode().expect("encoded");
            let offset = self.log.len() as i64;
            self.log.push((key.clone(), value.clone()));
            self.shard.load(LogEntry::Record { offset, producer_id: None, key, value });
        }
        effects.records
    }

    fn beat(&mut self, member: &str, epoch: i32, topics: Option<&[&str]>) -> (ShareGroupHeartbeatResponse, Option<StateInitialization>) {
        let client = ClientContext { client_id: "c".to_owned(), client_host: "/127.0.0.1".to_owned(), api_version: 1 };
        let request = ShareGroupHeartbeatRequest {
            group_id: "g".to_owned(),
            member_id: member.to_owned(),
            member_epoch: epoch,
            subscribed_topic_names: topics.map(|topics| topics.iter().map(|topic| (*topic).to_owned()).collect()),
            ..Default::default()
        };
        let (answer, effects) = self.shard.share_group_heartbeat(self.now(), &client, request);
        self.apply(effects);
        answer
    }

    /// A member that joins and lives until it has what the group's target gives it.
    fn settle(&mut self, member: &str, topics: &[&str]) -> (i32, TopicPartitions) {
        let (mut response, mut initialization) = self.beat(member, 0, Some(topics));
        let mut assigned = assignment(&response);
        for _ in 0..3 {
            if let Some(initialization) = initialization.take() {
                let effects = self.shard.share_state_initialized("g", &initialization.topic_partitions());
                self.apply(effects);
            }
            self.now_ms += 10;
            (response, initialization) = self.beat(member, response.member_epoch, None);
            assert_eq!(response.error_code, 0, "{response:?}");
            if response.assignment.is_some() {
                assigned = assignment(&response);
            }
        }
        (response.member_epoch, assigned)
    }

    fn restarted(&self) -> GroupShard {
        let mut shard = new_shard(Arc::clone(self.shard.topics().image()));
        for (offset, (key, value)) in self.log.iter().enumerate() {
            shard.load(LogEntry::Record { offset: offset as i64, producer_id: None, key: key.clone(), value: value.clone() });
        }
        shard
    }

    fn group(&self) -> &ShareGroup {
        self.shard.share_group("g").expect("the group")
    }
}

fn assignment(response: &ShareGroupHeartbeatResponse) -> TopicPartitions {
    let topics = response.assignment.as_ref().map(|it| it.topic_partitions.as_slice()).unwrap_or_default();
    topics.iter().map(|topic| (topic.topic_id, topic.partitions.iter().copied().collect())).collect()
}

fn partitions(topic: Uuid, partitions: &[i32]) -> TopicPartitions {
    TopicPartitions::from([(topic, partitions.iter().copied().collect())])
}

fn code(response: &ShareGroupHeartbeatResponse) -> ErrorCode {
    ErrorCode::from_code(response.error_code)
}

#[test]
fn partitions_are_assigned_once_their_states_are_initialized() {
    let mut it = Fixture::new();
    let (response, initialization) = it.beat("a", 0, Some(&["t"]));
    assert_eq!((response.error_code, assignment(&response)), (0, TopicPartitions::new()));
    let initialization = initialization.expect("an initialization");
    assert_eq!(initialization.partitions, [(T, 0, -1), (T, 1, -1)]);
    let (_, again) = it.beat("a", response.member_epoch, None);
    assert_eq!(again, None, "it is on its way");

    let effects = it.shard.share_state_initialized("g", &partitions(T, &[0, 1]));
    it.apply(effects);
    let (response, _) = it.beat("a", response.member_epoch, None);
    assert_eq!(assignment(&response), partitions(T, &[0, 1]));
    let state = it.group().state_partitions().expect("states");
    assert_eq!((state.initializing.len(), state.initialized_partitions()), (0, partitions(T, &[0, 1])));
}

#[test]
fn an_initialization_that_failed_or_was_lost_is_asked_for_again() {
    let mut it = Fixture::new();
    let (response, initialization) = it.beat("a", 0, Some(&["t"]));
    let effects = it.shard.share_state_not_initialized("g", &initialization.expect("one").topic_partitions());
    it.apply(effects);
    let (_, again) = it.beat("a", response.member_epoch, None);
    assert!(again.is_some(), "it failed");
    it.now_ms += 30_000;
    let (_, again) = it.beat("a", response.member_epoch, None);
    assert!(again.is_some(), "it was lost");
}

#[test]
fn members_share_partitions_and_more_of_them_than_there_are() {
    let mut it = Fixture::new();
    assert_eq!(it.settle("a", &["u"]).1, partitions(U, &[0]));
    assert_eq!(it.settle("b", &["u"]).1, partitions(U, &[0]));
    let (response, _) = it.beat("c", 0, Some(&["u"]));
    assert_eq!(code(&response), ErrorCode::GroupMaxSizeReached);
}

#[test]
fn what_a_member_reads_decides_what_it_has() {
    let mut it = Fixture::new();
    let (epoch, assigned) = it.settle("a", &["t", "u"]);
    assert_eq!(assigned.len(), 2);
    let (response, _) = it.beat("a", epoch, Some(&["t"]));
    assert_eq!(assignment(&response), partitions(T, &[0, 1]));
}

#[test]
fn a_restart_finds_the_group_as_it_was() {
    let mut it = Fixture::new();
    it.settle("a", &["t"]);
    it.settle("b", &["t", "u"]);
    let restarted = it.restarted();
    let (before, after) = (it.group(), restarted.share_group("g").expect("the group"));
    assert_eq!(before.members().collect::<Vec<_>>(), after.members().collect::<Vec<_>>());
    assert_eq!((before.common.group_epoch(), before.common.target()), (after.common.group_epoch(), after.common.target()));
    assert_eq!(before.state_partitions(), after.state_partitions());
}

#[test]
fn epochs_that_do_not_fit_are_fenced() {
    let mut it = Fixture::new();
    let (response, _) = it.beat("a", 3, None);
    assert_eq!(code(&response), ErrorCode::GroupIdNotFound);
    let (epoch, _) = it.settle("a", &["t"]);
    let (response, _) = it.beat("a", epoch + 1, None);
    assert_eq!(code(&response), ErrorCode::FencedMemberEpoch);
    let (response, _) = it.beat("stranger", epoch, None);
    assert_eq!(code(&response), ErrorCode::UnknownMemberId);
}

#[test]
fn a_member_leaves_or_is_fenced_when_it_is_silent() {
    let mut it = Fixture::new();
    it.settle("a", &["t"]);
    it.settle("b", &["t"]);
    let (response, _) = it.beat("a", -1, None);
    assert_eq!((response.error_code, response.member_epoch), (0, -1));
    assert_eq!(it.group().members().count(), 1);
    it.now_ms += 60_000;
    let effects = it.shard.poll(it.now()).expect("the session of b");
    it.apply(effects);
    assert_eq!(it.group().state_name(), "Empty");
    let effects = it.shard.expire_offsets(it.now());
    assert!(effects.records.is_empty(), "a share group stays until it is deleted");
}

#[test]
fn requests_are_checked() {
    let request = |member: &str, epoch: i32, topics: Option<Vec<String>>| ShareGroupHeartbeatRequest {
        group_id: "g".to_owned(),
        member_id: member.to_owned(),
        member_epoch: epoch,
        subscribed_topic_names: topics,
        ..Default::default()
    };
    assert!(validate_share_group_heartbeat(&request("m", 0, Some(vec!["t".to_owned()]))).is_ok());
    for wrong in [request(" ", 1, None), request("m", 0, None), request("m", 0, Some(vec![])), request("m", -2, None)] {
        assert!(validate_share_group_heartbeat(&wrong).is_err(), "{wrong:?}");
    }
}

fn alter(topic: &str, partition_index: i32, start_offset: i64) -> AlterShareGroupOffsetsRequest {
    let partitions = vec![AlterShareGroupOffsetsRequestPartition { partition_index, start_offset, ..Default::default() }];
    let topics = vec![AlterShareGroupOffsetsRequestTopic { topic_name: topic.to_owned(), partitions, ..Default::default() }];
    AlterShareGroupOffsetsRequest { group_id: "g".to_owned(), topics, ..Default::default() }
}

#[test]
fn offsets_are_set_while_nobody_is_there() {
    let mut it = Fixture::new();
    it.settle("a", &["t"]);
    let refused = it.shard.alter_share_group_offsets(it.now(), &alter("t", 0, 5)).expect_err("a member");
    assert_eq!(refused.error, ErrorCode::NonEmptyGroup);
    it.beat("a", -1, None);
    let ((responses, initialization), effects) = it.shard.alter_share_group_offsets(it.now(), &alter("t", 0, 5)).expect("altered");
    it.apply(effects);
    assert_eq!(responses[0].partitions[0].error_code, 0);
    assert_eq!(initialization.partitions, [(T, 0, 5)]);
    assert_eq!(initialization.state_epoch, it.group().common.group_epoch());
    let ((responses, initialization), _) = it.shard.alter_share_group_offsets(it.now(), &alter("t", 9, 5)).expect("answered");
    assert_eq!(responses[0].partitions[0].error_code, ErrorCode::UnknownTopicOrPartition.code());
    assert!(initialization.partitions.is_empty());
}

#[test]
fn setting_offsets_creates_the_group() {
    let mut it = Fixture::new();
    let (_, effects) = it.shard.alter_share_group_offsets(it.now(), &alter("u", 0, 7)).expect("altered");
    it.apply(effects);
    assert_eq!(it.group().state_name(), "Empty");
    assert!(it.group().state_partitions().expect("states").initializing.contains_key(&U));
}

#[test]
fn offsets_are_deleted_in_two_steps() {
    let mut it = Fixture::new();
    it.settle("a", &["t"]);
    it.beat("a", -1, None);
    let topics = ["t", "u", "gone"].map(|name| DeleteShareGroupOffsetsRequestTopic { topic_name: name.to_owned(), ..Default::default() });
    let request = DeleteShareGroupOffsetsRequest { group_id: "g".to_owned(), topics: topics.to_vec(), ..Default::default() };
    let (begun, effects) = it.shard.begin_share_offset_deletion(&request).expect("begun");
    it.apply(effects);
    assert_eq!(begun.deletion.expect("something to forget").partitions, partitions(T, &[0, 1]));
    assert_eq!(begun.errors.iter().map(|topic| topic.topic_name.as_str()).collect::<Vec<_>>(), ["u", "gone"]);
    assert_eq!(it.group().state_partitions().expect("states").deleting, BTreeSet::from([T]));
    let effects = it.shard.complete_share_offset_deletion("g", &BTreeSet::from([T]));
    it.apply(effects);
    assert_eq!(*it.group().state_partitions().expect("states"), StatePartitions::default());
}

#[test]
fn a_group_is_deleted_with_its_states() {
    let mut it = Fixture::new();
    it.settle("a", &["t"]);
    assert_eq!(it.shard.begin_share_group_deletion("g").err(), Some(ErrorCode::NonEmptyGroup));
    it.beat("a", -1, None);
    let (deletion, effects) = it.shard.begin_share_group_deletion("g").expect("begun");
    it.apply(effects);
    assert_eq!(deletion.expect("something to forget").partitions, partitions(T, &[0, 1]));
    let (results, effects) = it.shard.delete_groups(&["g".to_owned()]);
    it.apply(effects);
    assert_eq!(results[0].error_code, 0);
    assert!(it.shard.group("g").is_none());
    assert!(it.restarted().group("g").is_none());
    let (deletion, effects) = it.shard.begin_share_group_deletion("other").expect("nothing to do");
    assert!(deletion.is_none() && effects.records.is_empty());
}

#[test]
fn deleted_topics_are_forgotten() {
    let mut it = Fixture::new();
    it.settle("a", &["t", "u"]);
    let effects = it.shard.on_topics_deleted(&[("t".to_owned(), T)]);
    it.apply(effects);
    assert_eq!(it.group().state_partitions().expect("states").initialized_partitions(), partitions(U, &[0]));
}

#[test]
fn a_topic_that_grows_is_initialized_and_assigned_further() {
    let mut it = Fixture::new();
    let (epoch, _) = it.settle("a", &["u"]);
    let image = image(&[("t", T, 2), ("u", U, 3)]);
    it.shard.on_new_metadata_image(image, &TopicsDelta { changed: BTreeSet::from(["u".to_owned()]), created: false });
    let (response, initialization) = it.beat("a", epoch, None);
    assert_eq!(initialization.as_ref().map(|it| it.topic_partitions()), Some(partitions(U, &[1, 2])));
    let effects = it.shard.share_state_initialized("g", &partitions(U, &[1, 2]));
    it.apply(effects);
    let (response, _) = it.beat("a", response.member_epoch, None);
    assert_eq!(assignment(&response), partitions(U, &[0, 1, 2]));
}

#[test]
fn descriptions_name_topics_that_exist() {
    let mut it = Fixture::new();
    it.settle("a", &["t"]);
    let described = it.shard.describe_share_group("g");
    assert_eq!((described.group_state.as_str(), described.assignor_name.as_str()), ("Stable", "simple"));
    assert_eq!(described.members[0].assignment.topic_partitions[0].topic_name, "t");
    assert_eq!(it.shard.describe_share_group("x").error_code, ErrorCode::GroupIdNotFound.code());
}
