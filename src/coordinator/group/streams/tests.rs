//! Streams groups, heartbeat by heartbeat. Many of these situations are those of Kafka's `GroupMetadataManagerTest`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::tasks::{TaskSets, Tasks};
use super::*;
use crate::common::uuid::Uuid;
use crate::coordinator::group::config::{Bounded, GroupCoordinatorConfig};
use crate::coordinator::group::modern::topics::TopicsDelta;
use crate::coordinator::group::records::GroupRecord;
use crate::coordinator::group::tests::{Harness, image_with_topics};
use crate::coordinator::group::{Group, GroupShard};
use crate::protocol::messages::streams_group_heartbeat_request::{
    Endpoint, KeyValue, Subtopology, TaskIds, TaskOffset, TopicInfo, Topology,
};
use crate::protocol::messages::streams_group_heartbeat_response as heartbeat_response;
use crate::protocol::messages::{OffsetCommitRequest, StreamsGroupHeartbeatRequest, StreamsGroupHeartbeatResponse};

const SOURCE: &str = "in";
pub(super) const CHANGELOG: &str = "app-store-changelog";
pub(super) const TASKS: i32 = 4;
const REBALANCE_TIMEOUT_MS: i32 = 10_000;
pub(super) const SESSION_TIMEOUT_MS: u64 = 45_000;

/// One subtopology with a store: reads SOURCE, keeps CHANGELOG.
pub(super) fn topology(epoch: i32) -> Topology {
    Topology {
        epoch,
        subtopologies: vec![Subtopology {
            subtopology_id: "0".to_owned(),
            source_topics: vec![SOURCE.to_owned()],
            state_changelog_topics: vec![TopicInfo { name: CHANGELOG.to_owned(), ..Default::default() }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// A member as its own process knows it.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) id: String,
    pub(super) process: String,
    pub(super) epoch: i32,
    pub(super) owned: Tasks,
}

impl Client {
    pub(super) fn new(id: &str, process: &str) -> Client {
        Client { id: id.to_owned(), process: process.to_owned(), epoch: 0, owned: Tasks::default() }
    }

    pub(super) fn request(&self) -> StreamsGroupHeartbeatRequest {
        let ids = |tasks: &TaskSets| {
            let id = |(subtopology, partitions): (&String, &BTreeSet<i32>)| TaskIds {
                subtopology_id: subtopology.clone(),
                partitions: partitions.iter().copied().collect(),
                ..Default::default()
            };
            Some(tasks.iter().map(id).collect())
        };
        let is_joining = self.epoch == 0;
        StreamsGroupHeartbeatRequest {
            group_id: "g".to_owned(),
            member_id: self.id.clone(),
            member_epoch: self.epoch,
            endpoint_information_epoch: 0,
            rebalance_timeout_ms: if is_joining { REBALANCE_TIMEOUT_MS } else { -1 },
            topology: is_joining.then(|| topology(1)),
            active_tasks: ids(&self.owned.active),
            standby_tasks: ids(&self.owned.standby),
            warmup_tasks: ids(&self.owned.warmup),
            process_id: is_joining.then(|| self.process.clone()),
            ..Default::default()
        }
    }

    /// Does what it is told: gives back what is not listed, takes what is.
    pub(super) fn follow(&mut self, response: &StreamsGroupHeartbeatResponse) {
        if response.error_code != 0 {
            // Fenced, unknown: it gives up everything and comes again.
            (self.epoch, self.owned) = (0, Tasks::default());
            return;
        }
        self.epoch = response.member_epoch;
        let sets = |tasks: &Option<Vec<heartbeat_response::TaskIds>>| -> Option<TaskSets> {
            let tasks = tasks.as_ref()?.iter();
            Some(tasks.map(|task| (task.subtopology_id.clone(), task.partitions.iter().copied().collect())).collect())
        };
        if let (Some(active), Some(standby)) = (sets(&response.active_tasks), sets(&response.standby_tasks)) {
            self.owned = Tasks { active, standby, warmup: TaskSets::new() };
        }
    }
}

pub(super) fn send(h: &mut Harness, request: StreamsGroupHeartbeatRequest) -> StreamsHeartbeatAnswer {
    let (answer, effects) = h.shard.streams_group_heartbeat(h.now, &h.client(), request);
    h.apply(effects);
    answer
}

fn beat(h: &mut Harness, client: &mut Client) -> StreamsGroupHeartbeatResponse {
    let answer = send(h, client.request());
    client.follow(&answer.response);
    answer.response
}

/// The cluster's topics are now these.
pub(super) fn set_topics(h: &mut Harness, topics: &[(&str, i32)]) {
    let version = h.shard.topics().image().provenance.offset + 1;
    let id = |name: &str| Uuid::from_u128(name.bytes().map(u128::from).sum());
    let with_ids: Vec<(&str, Uuid, i32)> = topics.iter().map(|&(name, partitions)| (name, id(name), partitions)).collect();
    let image = image_with_topics(version, &with_ids);
    let changed = [SOURCE, CHANGELOG].map(str::to_owned).into();
    h.shard.on_new_metadata_image(Arc::clone(&image), &TopicsDelta { changed, created: true });
}

fn harness(initial_delay_ms: i32) -> Harness {
    let config = GroupCoordinatorConfig {
        streams_initial_rebalance_delay_ms: Bounded { default: initial_delay_ms, min: 0, max: i32::MAX },
        streams_assignment_interval_ms: Bounded { default: 0, min: 0, max: 0 },
        ..GroupCoordinatorConfig::default()
    };
    let mut h = Harness::with(config);
    set_topics(&mut h, &[(SOURCE, TASKS), (CHANGELOG, TASKS)]);
    h
}

pub(super) fn group(shard: &GroupShard) -> &StreamsGroup {
    shard.streams_group("g").expect("a streams group")
}

fn statuses(response: &StreamsGroupHeartbeatResponse) -> Vec<i8> {
    response.status.iter().flatten().map(|status| status.status_code).collect()
}

fn tasks(partitions: &[i32]) -> TaskSets {
    if partitions.is_empty() { TaskSets::new() } else { BTreeMap::from([("0".to_owned(), partitions.iter().copied().collect())]) }
}

fn error(response: &StreamsGroupHeartbeatResponse) -> (ErrorCode, &str) {
    (ErrorCode::from_code(response.error_code), response.error_message.as_deref().unwrap_or(""))
}

#[test]
fn a_new_group_waits_for_its_topics_and_for_its_members() {
    let mut h = harness(3_000);
    set_topics(&mut h, &[]);
    let (mut a, mut b) = (Client::new("a", "p"), Client::new("b", "q"));
    let first = send(&mut h, a.request());
    assert_eq!(statuses(&first.response), [5, 1]);
    assert!(first.topics_to_create.is_empty());
    a.follow(&first.response);
    assert_eq!((a.epoch, group(&h.shard).state()), (1, StreamsGroupState::NotReady));

    set_topics(&mut h, &[(SOURCE, TASKS)]);
    let second = send(&mut h, a.request());
    assert_eq!(statuses(&second.response), [5, 3]);
    let [topic] = second.topics_to_create.as_slice() else { panic!("a topic to create") };
    assert_eq!((topic.name.as_str(), topic.num_partitions, topic.replication_factor), (CHANGELOG, TASKS, -1));

    set_topics(&mut h, &[(SOURCE, TASKS), (CHANGELOG, TASKS)]);
    assert_eq!(statuses(&beat(&mut h, &mut a)), [5]);
    assert_eq!(statuses(&beat(&mut h, &mut b)), [5]);
    assert_eq!(group(&h.shard).state(), StreamsGroupState::Assigning);
    h.advance(3_000);
    assert_eq!(group(&h.shard).state(), StreamsGroupState::Reconciling);
    for client in [&mut a, &mut b] {
        assert_eq!(statuses(&beat(&mut h, client)), [0i8; 0]);
    }
    assert_eq!((a.owned.active.clone(), b.owned.active.clone()), (tasks(&[0, 2]), tasks(&[1, 3])));
    assert_eq!(group(&h.shard).state(), StreamsGroupState::Stable);
}

#[test]
fn who_joins_gets_tasks_when_they_are_given_back() {
    let mut h = harness(0);
    let (mut a, mut b) = (Client::new("a", "p"), Client::new("b", "q"));
    beat(&mut h, &mut a);
    assert_eq!(a.owned.active, tasks(&[0, 1, 2, 3]));
    beat(&mut h, &mut b);
    assert!(b.owned.active.is_empty());
    let before = a.epoch;
    let revoking = beat(&mut h, &mut a);
    assert_eq!((revoking.member_epoch, a.owned.active.clone()), (before, tasks(&[0, 1])));
    // Not yet: the coordinator does not know that it has given them back.
    beat(&mut h, &mut b);
    assert!(b.owned.active.is_empty());
    beat(&mut h, &mut a);
    beat(&mut h, &mut b);
    assert_eq!((b.owned.active.clone(), a.epoch, b.epoch), (tasks(&[2, 3]), 3, 3));
    assert_eq!(group(&h.shard).state(), StreamsGroupState::Stable);
    // Nothing new, nothing told.
    let quiet = beat(&mut h, &mut a);
    assert_eq!((quiet.active_tasks, quiet.status), (None, Some(Vec::new())));
}

#[test]
fn a_member_that_does_not_give_back_in_time_is_fenced() {
    let mut h = harness(0);
    let (mut a, mut b) = (Client::new("a", "p"), Client::new("b", "q"));
    beat(&mut h, &mut a);
    beat(&mut h, &mut b);
    send(&mut h, a.request());
    h.advance(REBALANCE_TIMEOUT_MS as u64);
    let fenced = beat(&mut h, &mut a);
    assert_eq!(error(&fenced), (ErrorCode::UnknownMemberId, "Member a is not a member of group g."));
    beat(&mut h, &mut b);
    assert_eq!(b.owned.active, tasks(&[0, 1, 2, 3]));
}

#[test]
fn who_is_silent_loses_its_session_and_who_leaves_says_so() {
    let mut h = harness(0);
    let (mut a, mut b) = (Client::new("a", "p"), Client::new("b", "q"));
    beat(&mut h, &mut a);
    beat(&mut h, &mut b);
    h.advance(SESSION_TIMEOUT_MS - 1);
    beat(&mut h, &mut b);
    h.advance(1);
    assert_eq!(group(&h.shard).members().keys().collect::<Vec<_>>(), ["b"]);
    let leave = StreamsGroupHeartbeatRequest { member_epoch: -1, topology: None, process_id: None, ..b.request() };
    let left = send(&mut h, leave.clone()).response;
    assert_eq!((left.member_id.as_str(), left.member_epoch, left.error_code), ("b", -1, 0));
    assert_eq!(group(&h.shard).state(), StreamsGroupState::Empty);
    assert_eq!(error(&send(&mut h, leave).response).0, ErrorCode::UnknownMemberId);
}

#[test]
fn epochs_that_do_not_fit_are_fenced() {
    let mut h = harness(0);
    let (mut a, mut b) = (Client::new("a", "p"), Client::new("b", "q"));
    beat(&mut h, &mut a);
    let old = a.request();
    let ahead = StreamsGroupHeartbeatRequest { member_epoch: a.epoch + 1, ..a.request() };
    let text = "The streams group member has a greater member epoch (3) than the one known by the group coordinator (2). The member must \
                abandon all its partitions and rejoin.";
    assert_eq!(error(&send(&mut h, ahead).response), (ErrorCode::FencedMemberEpoch, text));
    beat(&mut h, &mut b);
    for _ in 0..2 {
        beat(&mut h, &mut a);
    }
    assert_eq!(a.epoch, 3);
    // It claims tasks of the epoch before.
    let text = "The streams group member has a smaller member epoch (2) than the one known by the group coordinator (3). The member must \
                abandon all its partitions and rejoin.";
    assert_eq!(error(&send(&mut h, old).response), (ErrorCode::FencedMemberEpoch, text));
    // The answer that told it of the epoch was lost, and it has nothing that it should not have.
    let lost = StreamsGroupHeartbeatRequest { member_epoch: 2, ..a.request() };
    assert_eq!(error(&send(&mut h, lost).response).0, ErrorCode::None);
}

#[test]
fn a_member_that_missed_its_tasks_is_told_again() {
    let mut h = harness(0);
    let mut a = Client::new("a", "p");
    let lost = send(&mut h, a.request()).response;
    a.epoch = lost.member_epoch;
    let told = beat(&mut h, &mut a);
    assert_eq!((told.member_epoch, a.owned.active.clone()), (lost.member_epoch, tasks(&[0, 1, 2, 3])));
    assert_eq!(beat(&mut h, &mut a).active_tasks, None);
}

#[test]
fn a_topology_stays_as_it_is() {
    let mut h = harness(0);
    let mut a = Client::new("a", "p");
    beat(&mut h, &mut a);
    let joining = |epoch| StreamsGroupHeartbeatRequest { topology: Some(topology(epoch)), ..Client::new("b", "q").request() };
    let updated = send(&mut h, joining(2)).response;
    assert_eq!(error(&updated), (ErrorCode::InvalidRequest, "Topology updates are not supported yet."));
    let stale = send(&mut h, joining(0)).response;
    assert_eq!((stale.error_code, statuses(&stale)), (0, vec![0]));
    let detail = "The member's topology epoch 0 is behind the group's topology epoch 1.";
    assert_eq!(stale.status.unwrap_or_default()[0].status_detail, detail);
}

#[test]
fn topics_that_come_and_go_are_noticed() {
    let mut h = harness(0);
    let mut a = Client::new("a", "p");
    beat(&mut h, &mut a);
    assert_eq!(a.owned.active, tasks(&[0, 1, 2, 3]));
    set_topics(&mut h, &[(CHANGELOG, TASKS)]);
    assert_eq!(statuses(&beat(&mut h, &mut a)), [1]);
    assert_eq!(group(&h.shard).state(), StreamsGroupState::NotReady);
    assert!(a.owned.active.is_empty());
    set_topics(&mut h, &[(SOURCE, TASKS + 1), (CHANGELOG, TASKS)]);
    assert_eq!(statuses(&beat(&mut h, &mut a)), [2]);
    set_topics(&mut h, &[(SOURCE, TASKS), (CHANGELOG, TASKS)]);
    beat(&mut h, &mut a);
    beat(&mut h, &mut a);
    assert_eq!((a.owned.active.clone(), group(&h.shard).state()), (tasks(&[0, 1, 2, 3]), StreamsGroupState::Stable));
}

#[test]
fn standby_replicas_are_given_when_the_group_asks_for_them() {
    let mut h = harness(0);
    let (mut a, mut b) = (Client::new("a", "p"), Client::new("b", "q"));
    for _ in 0..2 {
        beat(&mut h, &mut a);
        beat(&mut h, &mut b);
    }
    assert!(a.owned.standby.is_empty() && b.owned.standby.is_empty());
    h.shard.config.streams_num_standby_replicas.default = 1;
    for _ in 0..3 {
        beat(&mut h, &mut a);
        beat(&mut h, &mut b);
    }
    assert_eq!((a.owned.standby.clone(), b.owned.standby.clone()), (b.owned.active.clone(), a.owned.active.clone()));
    let configs = &group(&h.shard).last_assignment_configs;
    assert_eq!(configs.get("num.standby.replicas").map(String::as_str), Some("1"));
}

#[test]
fn assignments_keep_their_distance() {
    let mut h = harness(0);
    h.shard.config.streams_assignment_interval_ms = Bounded { default: 1_000, min: 0, max: 1_000 };
    let (mut a, mut b) = (Client::new("a", "p"), Client::new("b", "q"));
    beat(&mut h, &mut a);
    let delayed = beat(&mut h, &mut b);
    assert_eq!(statuses(&delayed), [5]);
    assert_eq!(delayed.status.unwrap_or_default()[0].status_detail, "Assignment delayed due to the configured assignment interval.");
    h.advance(1_000);
    assert_eq!(statuses(&beat(&mut h, &mut b)), [0i8; 0]);
    assert_eq!(group(&h.shard).assignment_epoch, group(&h.shard).group_epoch);
    // Nobody waits for a clock that was set back.
    h.now.wall_ms -= 3_600_000;
    assert_eq!(statuses(&beat(&mut h, &mut Client::new("c", "r"))), [0i8; 0]);
    assert_eq!(group(&h.shard).assignment_epoch, group(&h.shard).group_epoch);
}

#[test]
fn a_shutdown_reaches_every_member_until_all_are_gone() {
    let mut h = harness(0);
    let (mut a, mut b) = (Client::new("a", "p"), Client::new("b", "q"));
    beat(&mut h, &mut a);
    beat(&mut h, &mut b);
    let leave = |client: &Client| StreamsGroupHeartbeatRequest { member_epoch: -1, topology: None, process_id: None, ..client.request() };
    send(&mut h, StreamsGroupHeartbeatRequest { shutdown_application: true, ..leave(&a) });
    let told = beat(&mut h, &mut b);
    assert_eq!(statuses(&told), [4]);
    let detail = "Streams group member a encountered a fatal error and requested a shutdown for the entire application.";
    assert_eq!(told.status.unwrap_or_default()[0].status_detail, detail);
    send(&mut h, leave(&b));
    assert_eq!(statuses(&beat(&mut h, &mut Client::new("c", "p"))), [0i8; 0]);
}

#[test]
fn endpoints_are_told_with_their_partitions() {
    let mut h = harness(0);
    let (mut a, mut b) = (Client::new("a", "p"), Client::new("b", "q"));
    beat(&mut h, &mut b);
    let endpoint = Some(Endpoint { host: "host".to_owned(), port: 7, ..Default::default() });
    let joined = send(&mut h, StreamsGroupHeartbeatRequest { user_endpoint: endpoint, ..a.request() }).response;
    a.follow(&joined);
    beat(&mut h, &mut b);
    beat(&mut h, &mut b);
    let given = beat(&mut h, &mut a);
    assert_eq!(given.endpoint_information_epoch, 2);
    let told = send(&mut h, b.request()).response.partitions_by_user_endpoint.unwrap_or_default();
    let [by_endpoint] = told.as_slice() else { panic!("one endpoint: {told:?}") };
    assert_eq!((by_endpoint.user_endpoint.host.as_str(), by_endpoint.user_endpoint.port), ("host", 7));
    let [topic] = by_endpoint.active_partitions.as_slice() else { panic!("one topic") };
    assert_eq!((topic.topic.as_str(), topic.partitions.clone()), (SOURCE, a.owned.active["0"].iter().copied().collect::<Vec<_>>()));
    let known = StreamsGroupHeartbeatRequest { endpoint_information_epoch: 2, ..b.request() };
    assert_eq!(send(&mut h, known).response.partitions_by_user_endpoint, None);
}

#[test]
fn tasks_that_do_not_exist_cannot_be_owned() {
    let mut h = harness(0);
    let mut a = Client::new("a", "p");
    beat(&mut h, &mut a);
    a.owned.active = tasks(&[4]);
    let text = "Task 4 for subtopology 0 is invalid. Number of tasks for this subtopology: 4";
    assert_eq!(error(&send(&mut h, a.request()).response), (ErrorCode::InvalidRequest, text));
    a.owned.active = BTreeMap::from([("1".to_owned(), BTreeSet::from([0]))]);
    assert_eq!(error(&send(&mut h, a.request()).response), (ErrorCode::InvalidRequest, "Subtopology 1 does not exist in the topology."));
}

#[test]
fn a_full_group_takes_nobody() {
    let mut h = harness(0);
    h.shard.config.streams_max_size = 1;
    let (mut a, mut b) = (Client::new("a", "p"), Client::new("b", "q"));
    beat(&mut h, &mut a);
    let text = "The streams group has reached its maximum capacity of 1 members.";
    assert_eq!(error(&beat(&mut h, &mut b)), (ErrorCode::GroupMaxSizeReached, text));
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let joining = || Client::new("a", "p").request();
    let living = || Client { epoch: 3, ..Client::new("a", "p") }.request();
    let text = |request: StreamsGroupHeartbeatRequest| match validate_streams_group_heartbeat(&request) {
        Ok(()) => String::new(),
        Err(error) => format!("{}: {}", error.code.name(), error.message.unwrap_or_default()),
    };
    assert_eq!(text(joining()), "");
    assert_eq!(text(living()), "");
    type Change = fn(&mut StreamsGroupHeartbeatRequest);
    let refused: &[(bool, Change, &str)] = &[
        (true, |r| r.instance_id = Some("i".to_owned()), "Static membership is not yet supported."),
        (true, |r| r.task_offsets = Some(vec![TaskOffset::default()]), "TaskOffsets are not supported yet."),
        (true, |r| r.task_end_offsets = Some(Vec::new()), "TaskEndOffsets are not supported yet."),
        (false, |r| r.warmup_tasks = Some(vec![TaskIds::default()]), "WarmupTasks are not supported yet."),
        (
            true,
            |r| r.topology.iter_mut().for_each(|topology| topology.subtopologies[0].source_topic_regex = vec!["a.*".to_owned()]),
            "Regular expressions for source topics are not supported yet.",
        ),
        (true, |r| r.member_id = " ".to_owned(), "MemberId can't be empty."),
        (true, |r| r.group_id.clear(), "GroupId can't be empty."),
        (true, |r| r.rack_id = Some(String::new()), "RackId can't be empty."),
        (true, |r| r.rebalance_timeout_ms = -1, "RebalanceTimeoutMs must be provided in first request."),
        (true, |r| r.active_tasks = Some(vec![TaskIds::default()]), "ActiveTasks must be empty when (re-)joining."),
        (true, |r| r.standby_tasks = None, "StandbyTasks must be empty when (re-)joining."),
        (true, |r| r.warmup_tasks = None, "WarmupTasks must be empty when (re-)joining."),
        (true, |r| r.topology = None, "Topology must be non-null when (re-)joining."),
        (false, |r| r.member_epoch = -2, "InstanceId can't be null."),
        (false, |r| r.member_epoch = -3, "MemberEpoch is -3, but must be greater than or equal to -2."),
        (false, |r| r.active_tasks = None, "If one task-type is non-null, all must be non-null."),
        (false, |r| r.topology = Some(Topology::default()), "Topology can only be provided when (re-)joining."),
    ];
    for (is_joining, change, expected) in refused {
        let mut request = if *is_joining { joining() } else { living() };
        change(&mut request);
        assert_eq!(text(request), format!("INVALID_REQUEST: {expected}"));
    }
    let mut counted = joining();
    counted.topology.iter_mut().for_each(|topology| topology.subtopologies[0].state_changelog_topics[0].partitions = 2);
    let expected = "Changelog topic app-store-changelog must have an undefined partition count, but it is set to 2.";
    assert_eq!(text(counted), format!("STREAMS_INVALID_TOPOLOGY: {expected}"));
}

#[test]
fn groups_of_other_types_stay_what_they_are_unless_they_are_empty() {
    let mut h = harness(0);
    let mut a = Client::new("a", "p");
    assert_eq!(
        error(&send(&mut h, StreamsGroupHeartbeatRequest { member_epoch: 1, topology: None, ..a.request() }).response).1,
        "Streams group g not found."
    );
    // A simple consumer's offsets make an empty classic group.
    commit(&mut h, "", -1, 0).expect("nobody is there");
    assert!(matches!(h.shard.group("g"), Some(Group::Classic(_))));
    beat(&mut h, &mut a);
    assert!(matches!(h.shard.group("g"), Some(Group::Streams(_))));
    assert_eq!(h.shard.offsets().get("g", SOURCE, 0).map(|offset| offset.committed_offset), Some(5));

    let mut h = harness(0);
    let waiter = h.send_join(h.join_request(""));
    let _ = h.answers.remove(&waiter);
    h.send_join(crate::protocol::messages::JoinGroupRequest { group_instance_id: Some("i".to_owned()), ..h.join_request("") });
    let refused = beat(&mut h, &mut Client::new("a", "p"));
    assert_eq!(error(&refused), (ErrorCode::GroupIdNotFound, "Group g is not a streams group."));
}

fn commit(h: &mut Harness, member_id: &str, epoch: i32, partition: i32) -> Result<(), ErrorCode> {
    let request: OffsetCommitRequest = h.commit_request(member_id, epoch, SOURCE, partition, 5);
    h.commit(&request).map(|_| ())
}

#[test]
fn a_member_commits_what_it_has_had_since_its_epoch() {
    let mut h = harness(0);
    let (mut a, mut b) = (Client::new("a", "p"), Client::new("b", "q"));
    beat(&mut h, &mut a);
    beat(&mut h, &mut b);
    for _ in 0..2 {
        beat(&mut h, &mut a);
        beat(&mut h, &mut b);
    }
    assert_eq!((a.epoch, b.epoch), (3, 3));
    // Task 0 is a's since epoch 2, task 2 is b's since 3.
    assert_eq!(commit(&mut h, "a", 3, 0), Ok(()));
    assert_eq!(commit(&mut h, "a", 2, 0), Ok(()));
    assert_eq!(commit(&mut h, "a", 1, 0), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(commit(&mut h, "a", 4, 0), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(commit(&mut h, "a", 2, 2), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(commit(&mut h, "b", 2, 2), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(commit(&mut h, "c", 3, 0), Err(ErrorCode::UnknownMemberId));
    h.api_version = 8;
    assert_eq!(commit(&mut h, "a", 3, 0), Err(ErrorCode::UnsupportedVersion));
    let group = group(&h.shard);
    assert_eq!(group.validate_offset_fetch(None, -1), Ok(()));
    assert_eq!(group.validate_offset_fetch(Some("a"), 3), Ok(()));
    assert_eq!(group.validate_offset_fetch(Some("a"), 2), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(group.validate_offset_fetch(Some("c"), 3), Err(ErrorCode::UnknownMemberId));
    assert!(group.is_subscribed_to(SOURCE) && !group.is_subscribed_to(CHANGELOG));
}

#[test]
fn tools_see_the_group_and_delete_it_when_it_is_empty() {
    let mut h = harness(0);
    let mut a = Client::new("a", "p");
    let tags = Some(vec![KeyValue { key: "zone".to_owned(), value: "z".to_owned(), ..Default::default() }]);
    let joined = send(&mut h, StreamsGroupHeartbeatRequest { client_tags: tags, ..a.request() }).response;
    a.follow(&joined);
    // The new group is not configured before its next heartbeat, as in Kafka.
    beat(&mut h, &mut a);
    commit(&mut h, "a", a.epoch, 0).expect("a member");
    let described = h.shard.describe_streams_group("g");
    assert_eq!((described.group_state.as_str(), described.group_epoch, described.assignment_epoch), ("Stable", 2, 2));
    let topology = described.topology.expect("a topology");
    let subtopology = &topology.subtopologies.expect("configured")[0];
    assert_eq!((subtopology.source_topics.clone(), subtopology.state_changelog_topics[0].partitions), (vec![SOURCE.to_owned()], TASKS));
    let member = &described.members[0];
    assert_eq!((member.member_id.as_str(), member.process_id.as_str(), member.client_tags[0].key.as_str()), ("a", "p", "zone"));
    assert_eq!(
        (member.assignment.active_tasks[0].partitions.as_slice(), &member.assignment),
        ([0, 1, 2, 3].as_slice(), &member.target_assignment)
    );
    let unknown = h.shard.describe_streams_group("x");
    assert_eq!((unknown.error_code, unknown.error_message.as_deref()), (ErrorCode::GroupIdNotFound.code(), Some("Group x not found.")));
    let listed = h.shard.list_groups(&[], &["streams".to_owned()]);
    let shown: Vec<_> =
        listed.iter().map(|group| (group.group_type.as_str(), group.protocol_type.as_str(), group.group_state.as_str())).collect();
    assert_eq!(shown, [("streams", "streams", "Stable")]);

    let delete = |h: &mut Harness| {
        let (results, effects) = h.shard.delete_groups(&["g".to_owned()]);
        h.apply(effects);
        ErrorCode::from_code(results[0].error_code)
    };
    assert_eq!(delete(&mut h), ErrorCode::NonEmptyGroup);
    send(&mut h, StreamsGroupHeartbeatRequest { member_epoch: -1, topology: None, process_id: None, ..a.request() });
    assert_eq!(delete(&mut h), ErrorCode::None);
    assert!(h.shard.group("g").is_none() && !h.shard.offsets().has_any("g"));
    assert!(h.restarted().shard.group("g").is_none());
}

#[test]
fn the_log_tells_what_the_group_is() {
    let mut h = harness(0);
    let (mut a, mut b) = (Client::new("a", "p"), Client::new("b", "q"));
    beat(&mut h, &mut a);
    beat(&mut h, &mut b);
    beat(&mut h, &mut a);
    let types: Vec<i16> = h.log.iter().map(|(key, _)| i16::from_be_bytes([key[0], key[1]])).collect();
    // a joins: member, topology, group, target of a, target's epoch, a's tasks; b likewise; a is asked to give back.
    assert_eq!(types, [19, 23, 17, 21, 20, 22, 19, 17, 21, 21, 20, 22, 22]);
    let again = h.restarted();
    assert_eq!(durable(group(&again.shard)), durable(group(&h.shard)));
    // A compacted log may have the records in any order, and tombstones of what is not there.
    let mut shard = GroupShard::new(GroupCoordinatorConfig::default(), Arc::default(), crate::common::random::Random::new(1));
    let mut latest = BTreeMap::new();
    for (key, value) in &h.log {
        latest.insert(key.clone(), value.clone());
    }
    for (key, value) in latest.into_iter().rev() {
        let record = GroupRecord::decode(key, value).expect("readable").expect("known");
        shard.replay_record(0, None, record);
    }
    assert_eq!(durable(group(&shard)), durable(group(&h.shard)));
    for record in records::remove_group(&StreamsGroup::new("nowhere")).into_iter().chain(records::remove_member("g", "nobody")) {
        shard.replay_record(0, None, record);
    }
    assert_eq!(durable(group(&shard)), durable(group(&h.shard)));
}

/// Without what a new coordinator has to find out.
pub(super) fn durable(group: &StreamsGroup) -> StreamsGroup {
    let mut group = group.clone();
    group.configured = None;
    group.request_metadata_refresh();
    group.shutdown_requested_by = None;
    group.endpoint_information_epoch = 0;
    group
}
