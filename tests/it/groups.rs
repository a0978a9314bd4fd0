//! Classic groups and offsets over the wire: membership, assignments, commits, and what of it survives a broker that is killed.

use bytes::Bytes;
use ottla::common::uuid::Uuid;
use ottla::protocol::batch::Batches;
use ottla::protocol::error_code::ErrorCode;
use ottla::protocol::messages::join_group_request::JoinGroupRequestProtocol;
use ottla::protocol::messages::leave_group_request::MemberIdentity;
use ottla::protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use ottla::protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use ottla::protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics};
use ottla::protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use ottla::protocol::messages::*;

use crate::broker::{Broker, Connection, data_dir};

const OPTIONS: [&str; 4] = ["--override", "group.initial.rebalance.delay.ms=0", "--override", "offsets.topic.num.partitions=4"];

fn start() -> Broker {
    Broker::start_with(&[&["--ephemeral"], &OPTIONS[..]].concat())
}

fn start_in(dir: &std::path::Path) -> Broker {
    let dir = dir.display().to_string();
    Broker::start_with(&[&["--data", &dir], &OPTIONS[..]].concat())
}

/// A connection to a broker that coordinates `group`, its offsets topic created and loaded.
fn connect(broker: &Broker, group: &str) -> Connection {
    let mut connection = broker.connect();
    retry(|| {
        let request = FindCoordinatorRequest { coordinator_keys: vec![group.to_owned()], ..Default::default() };
        connection.call(&request, 6).coordinators[0].error_code
    });
    retry(|| connection.call(&describe(group), 5).groups[0].error_code);
    connection
}

/// Asks again while a coordinator is not there yet, as every client does.
fn retry(mut ask: impl FnMut() -> i16) {
    for _ in 0..10_000 {
        match ErrorCode::from_code(ask()) {
            ErrorCode::CoordinatorNotAvailable | ErrorCode::CoordinatorLoadInProgress | ErrorCode::NotCoordinator => {
                std::thread::yield_now();
            }
            ErrorCode::None => return,
            other => panic!("{other}"),
        }
    }
    panic!("the coordinator does not come");
}

fn describe(group: &str) -> DescribeGroupsRequest {
    DescribeGroupsRequest { groups: vec![group.to_owned()], ..Default::default() }
}

/// One member, with a connection of its own.
struct Member {
    connection: Connection,
    group: &'static str,
    instance: Option<&'static str>,
    member_id: String,
    generation: i32,
}

impl Member {
    fn new(broker: &Broker, group: &'static str, instance: Option<&'static str>) -> Member {
        Member { connection: connect(broker, group), group, instance, member_id: String::new(), generation: -1 }
    }

    fn join_request(&self) -> JoinGroupRequest {
        // Version 0, one topic `t`, no user data.
        let metadata = Bytes::from_static(b"\x00\x00\x00\x00\x00\x01\x00\x01t\xff\xff\xff\xff");
        JoinGroupRequest {
            group_id: self.group.to_owned(),
            member_id: self.member_id.clone(),
            group_instance_id: self.instance.map(str::to_owned),
            session_timeout_ms: 30_000,
            rebalance_timeout_ms: 30_000,
            protocol_type: "consumer".to_owned(),
            protocols: vec![JoinGroupRequestProtocol { name: "range".to_owned(), metadata, ..Default::default() }],
            ..Default::default()
        }
    }

    fn send_join(&mut self) {
        let request = self.join_request();
        self.connection.send(&request, 9);
    }

    fn receive_join(&mut self) -> JoinGroupResponse {
        let response = self.connection.receive::<JoinGroupRequest>(9).expect("a response");
        if response.error_code == ErrorCode::MemberIdRequired.code() {
            self.member_id = response.member_id;
            self.send_join();
            return self.receive_join();
        }
        assert_eq!(ErrorCode::from_code(response.error_code), ErrorCode::None);
        self.member_id.clone_from(&response.member_id);
        self.generation = response.generation_id;
        response
    }

    fn join(&mut self) -> JoinGroupResponse {
        self.send_join();
        self.receive_join()
    }

    fn send_sync(&mut self, assignments: &[(&str, &'static str)]) {
        let assignment = |&(id, text): &(&str, &'static str)| SyncGroupRequestAssignment {
            member_id: id.to_owned(),
            assignment: Bytes::from_static(text.as_bytes()),
            ..Default::default()
        };
        let request = SyncGroupRequest {
            group_id: self.group.to_owned(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: self.instance.map(str::to_owned),
            protocol_type: Some("consumer".to_owned()),
            protocol_name: Some("range".to_owned()),
            assignments: assignments.iter().map(assignment).collect(),
            ..Default::default()
        };
        self.connection.send(&request, 5);
    }

    fn receive_sync(&mut self) -> Result<Bytes, ErrorCode> {
        let response = self.connection.receive::<SyncGroupRequest>(5).expect("a response");
        ErrorCode::from_code(response.error_code).into_result().map(|()| response.assignment)
    }

    /// Joins a group of which it is the only member, and takes its assignment.
    fn join_alone(&mut self) {
        self.join();
        let id = self.member_id.clone();
        self.send_sync(&[(&id, "all")]);
        assert_eq!(self.receive_sync(), Ok(Bytes::from_static(b"all")));
    }

    fn heartbeat(&mut self) -> ErrorCode {
        let request = HeartbeatRequest {
            group_id: self.group.to_owned(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: self.instance.map(str::to_owned),
            ..Default::default()
        };
        ErrorCode::from_code(self.connection.call(&request, 4).error_code)
    }

    fn commit(&mut self, topic: &str, partition: i32, offset: i64) -> ErrorCode {
        let request = commit_request(self.group, &self.member_id, self.generation, topic, partition, offset);
        ErrorCode::from_code(self.connection.call(&request, 8).topics[0].partitions[0].error_code)
    }

    fn leave(&mut self) -> ErrorCode {
        let member = MemberIdentity { member_id: self.member_id.clone(), ..Default::default() };
        let request = LeaveGroupRequest { group_id: self.group.to_owned(), members: vec![member], ..Default::default() };
        ErrorCode::from_code(self.connection.call(&request, 5).members[0].error_code)
    }
}

fn commit_request(group: &str, member_id: &str, generation: i32, topic: &str, partition: i32, offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition {
        partition_index: partition,
        committed_offset: offset,
        committed_leader_epoch: 3,
        committed_metadata: Some("note".to_owned()),
        ..Default::default()
    };
    let topic = OffsetCommitRequestTopic { name: topic.to_owned(), partitions: vec![partition], ..Default::default() };
    OffsetCommitRequest {
        group_id: group.to_owned(),
        member_id: member_id.to_owned(),
        generation_id_or_member_epoch: generation,
        topics: vec![topic],
        ..Default::default()
    }
}

/// All offsets of a group, as topic, partition and offset.
fn offsets(connection: &mut Connection, group: &str) -> Vec<(String, i32, i64)> {
    let group = OffsetFetchRequestGroup { group_id: group.to_owned(), topics: None, ..Default::default() };
    let response = connection.call(&OffsetFetchRequest { groups: vec![group], require_stable: true, ..Default::default() }, 9);
    assert_eq!(response.groups[0].error_code, 0);
    let topics = response.groups.into_iter().flat_map(|group| group.topics);
    let mut all: Vec<_> =
        topics.flat_map(|t| t.partitions.into_iter().map(move |p| (t.name.clone(), p.partition_index, p.committed_offset))).collect();
    all.sort();
    all
}

#[test]
fn two_members_share_a_group() {
    let broker = start();
    let mut first = Member::new(&broker, "g", None);
    first.join_alone();
    let mut second = Member::new(&broker, "g", None);
    second.send_join();
    // The second member's arrival reaches the first one by its heartbeat.
    let waiting = std::thread::spawn(move || {
        let response = second.receive_join();
        (second, response)
    });
    while first.heartbeat() != ErrorCode::RebalanceInProgress {
        std::thread::yield_now();
    }
    let leader = first.join();
    let (mut second, follower) = waiting.join().expect("no panic");
    assert_eq!((leader.generation_id, follower.generation_id), (2, 2));
    assert_eq!(leader.leader, first.member_id);
    assert_eq!((leader.members.len(), follower.members.len()), (2, 0));
    second.send_sync(&[]);
    let ids = (first.member_id.clone(), second.member_id.clone());
    first.send_sync(&[(&ids.0, "one"), (&ids.1, "two")]);
    assert_eq!(first.receive_sync(), Ok(Bytes::from_static(b"one")));
    assert_eq!(second.receive_sync(), Ok(Bytes::from_static(b"two")));
    assert_eq!((first.heartbeat(), second.heartbeat()), (ErrorCode::None, ErrorCode::None));
    assert_eq!(second.leave(), ErrorCode::None);
    assert_eq!(first.heartbeat(), ErrorCode::RebalanceInProgress);
    assert_eq!(first.join().members.len(), 1);
}

#[test]
fn groups_and_offsets_survive_a_kill() {
    let (_keep, dir) = data_dir();
    let broker = start_in(&dir);
    let mut member = Member::new(&broker, "g", None);
    member.connection.create_topic("t", 2);
    member.join_alone();
    assert_eq!(member.commit("t", 0, 10), ErrorCode::None);
    assert_eq!(member.commit("t", 1, 20), ErrorCode::None);
    assert_eq!(member.commit("t", 0, 11), ErrorCode::None);
    broker.kill();

    let broker = start_in(&dir);
    member.connection = connect(&broker, "g");
    assert_eq!(member.heartbeat(), ErrorCode::None, "the member is still one, of the same generation");
    member.send_sync(&[]);
    assert_eq!(member.receive_sync(), Ok(Bytes::from_static(b"all")));
    assert_eq!(offsets(&mut member.connection, "g"), [("t".to_owned(), 0, 11), ("t".to_owned(), 1, 20)]);
    assert_eq!(member.commit("t", 1, 21), ErrorCode::None);
    assert_eq!(member.leave(), ErrorCode::None);
    broker.kill();

    let broker = start_in(&dir);
    let mut connection = connect(&broker, "g");
    let group = connection.call(&describe("g"), 6).groups.remove(0);
    assert_eq!((group.group_state.as_str(), group.protocol_type.as_str()), ("Empty", "consumer"));
    assert_eq!(offsets(&mut connection, "g"), [("t".to_owned(), 0, 11), ("t".to_owned(), 1, 21)]);
}

#[test]
fn a_torn_tail_of_the_offsets_costs_what_lay_there_and_nothing_before_it() {
    let (_keep, dir) = data_dir();
    let mut broker = start_in(&dir);
    connect(&broker, "g").create_topic("t", 1);
    for is_zeroed in [false, true, false] {
        let mut connection = connect(&broker, "g");
        for offset in 1..=5 {
            let response = connection.call(&commit_request("g", "", -1, "t", 0, offset), 8);
            assert_eq!(response.topics[0].partitions[0].error_code, 0);
        }
        broker.kill();
        let mut logs = (0..4).map(|n| dir.join(format!("__consumer_offsets-{n}/00000000000000000000.log")));
        let log = logs.find(|log| std::fs::metadata(log).is_ok_and(|log| log.len() > 0)).expect("one holds the group");
        let mut content = std::fs::read(&log).expect("read");
        let last = Batches::new(&content).map_while(Result::ok).last().expect("a batch").header().size_bytes();
        let (size, tear) = (content.len(), content.len() - last / 2);
        content.truncate(tear);
        content.resize(if is_zeroed { size } else { tear }, 0);
        std::fs::write(&log, content).expect("written");
        broker = start_in(&dir);
        assert_eq!(offsets(&mut connect(&broker, "g"), "g"), [("t".to_owned(), 0, 4)], "zeroed: {is_zeroed}");
    }
}

#[test]
fn a_static_member_keeps_its_place_over_its_own_and_the_brokers_restart() {
    let (_keep, dir) = data_dir();
    let broker = start_in(&dir);
    let mut member = Member::new(&broker, "g", Some("i1"));
    member.join_alone();
    let old_id = member.member_id.clone();
    broker.kill();

    let broker = start_in(&dir);
    let mut successor = Member::new(&broker, "g", Some("i1"));
    let response = successor.join();
    assert_eq!(response.generation_id, 1, "no rebalance");
    assert!(response.skip_assignment && response.leader == response.member_id && response.member_id != old_id);
    successor.send_sync(&[]);
    assert_eq!(successor.receive_sync(), Ok(Bytes::from_static(b"all")));
    member.connection = connect(&broker, "g");
    assert_eq!(member.heartbeat(), ErrorCode::FencedInstanceId);
    // An operator takes it out by its name.
    let identity = MemberIdentity { group_instance_id: Some("i1".to_owned()), ..Default::default() };
    let request = LeaveGroupRequest { group_id: "g".to_owned(), members: vec![identity], ..Default::default() };
    assert_eq!(member.connection.call(&request, 5).members[0].error_code, 0);
    assert_eq!(successor.heartbeat(), ErrorCode::UnknownMemberId);
}

#[test]
fn every_version_of_membership_is_served() {
    let broker = start();
    let mut member = Member::new(&broker, "g", None);
    for version in 0..=9 {
        member.member_id.clear();
        let mut response = member.connection.call(&member.join_request(), version);
        if version >= 4 {
            assert_eq!(response.error_code, ErrorCode::MemberIdRequired.code());
            member.member_id = response.member_id;
            response = member.connection.call(&member.join_request(), version);
        }
        assert_eq!((response.error_code, response.members.len()), (0, 1), "JoinGroup {version}");
        assert_eq!(response.protocol_name.as_deref(), Some("range"));
        (member.member_id, member.generation) = (response.member_id, response.generation_id);
        let sync = SyncGroupRequest {
            group_id: "g".to_owned(),
            generation_id: member.generation,
            member_id: member.member_id.clone(),
            protocol_type: (version >= 5).then(|| "consumer".to_owned()),
            protocol_name: (version >= 5).then(|| "range".to_owned()),
            ..Default::default()
        };
        assert_eq!(member.connection.call(&sync, version.min(5)).error_code, 0, "SyncGroup {version}");
        let heartbeat = HeartbeatRequest {
            group_id: "g".to_owned(),
            generation_id: member.generation,
            member_id: member.member_id.clone(),
            ..Default::default()
        };
        assert_eq!(member.connection.call(&heartbeat, version.min(4)).error_code, 0, "Heartbeat {version}");
        let group = member.connection.call(&describe("g"), version.min(6)).groups.remove(0);
        assert_eq!((group.group_state.as_str(), group.members.len()), ("Stable", 1), "DescribeGroups {version}");
        assert_eq!(group.members[0].client_host, "/127.0.0.1");
        let listed = member.connection.call(&ListGroupsRequest::default(), version.min(5)).groups;
        assert_eq!(listed.len(), 1, "ListGroups {version}");
        let leave_version = version.min(5);
        let leave = match leave_version {
            0..=2 => LeaveGroupRequest { group_id: "g".to_owned(), member_id: member.member_id.clone(), ..Default::default() },
            _ => {
                let identity = MemberIdentity { member_id: member.member_id.clone(), ..Default::default() };
                LeaveGroupRequest { group_id: "g".to_owned(), members: vec![identity], ..Default::default() }
            }
        };
        assert_eq!(member.connection.call(&leave, leave_version).error_code, 0, "LeaveGroup {version}");
        // The member of one whose error stands at the top, in the versions that have no place for members.
        let again = member.connection.call(&leave, leave_version);
        let code = if leave_version < 3 { again.error_code } else { again.members[0].error_code };
        assert_eq!(ErrorCode::from_code(code), ErrorCode::UnknownMemberId);
    }
    let nameless = SyncGroupRequest { group_id: "g".to_owned(), ..Default::default() };
    assert_eq!(member.connection.call(&nameless, 5).error_code, ErrorCode::InconsistentGroupProtocol.code());
}

#[test]
fn every_version_of_offsets_is_served() {
    let broker = start();
    let mut connection = connect(&broker, "g");
    connection.create_topic("t", 1);
    let topic_id = topic_id(&mut connection, "t");
    for version in 2..=10 {
        let mut request = commit_request("g", "", -1, "t", 0, i64::from(version));
        request.topics[0].topic_id = topic_id;
        let response = connection.call(&request, version);
        assert_eq!(response.topics[0].partitions[0].error_code, 0, "OffsetCommit {version}");
        assert_eq!(response.topics[0].topic_id, if version >= 10 { topic_id } else { Uuid::ZERO });
    }
    for version in 1..=7 {
        let topic = OffsetFetchRequestTopic { name: "t".to_owned(), partition_indexes: vec![0, 1], ..Default::default() };
        let request =
            OffsetFetchRequest { group_id: "g".to_owned(), topics: Some(vec![topic]), require_stable: version >= 7, ..Default::default() };
        let response = connection.call(&request, version);
        let found: Vec<_> = response.topics[0].partitions.iter().map(|p| (p.committed_offset, p.error_code)).collect();
        assert_eq!(found, [(10, 0), (-1, 0)], "OffsetFetch {version}");
        if version >= 2 {
            let all = connection.call(&OffsetFetchRequest { topics: None, ..request }, version);
            assert_eq!((all.error_code, all.topics.len(), all.topics[0].partitions.len()), (0, 1, 1), "OffsetFetch {version}");
        }
    }
    for version in 8..=10 {
        let topic = OffsetFetchRequestTopics { name: "t".to_owned(), topic_id, partition_indexes: vec![0], ..Default::default() };
        let group = |group: &str, topics: Option<Vec<OffsetFetchRequestTopics>>| OffsetFetchRequestGroup {
            group_id: group.to_owned(),
            topics,
            ..Default::default()
        };
        let groups = vec![group("g", Some(vec![topic.clone()])), group("g", None), group("other", Some(vec![topic]))];
        let response = connection.call(&OffsetFetchRequest { groups, ..Default::default() }, version);
        let found: Vec<_> = response.groups.iter().map(|g| g.topics[0].partitions[0].committed_offset).collect();
        assert_eq!(found, [10, 10, -1], "OffsetFetch {version}");
        let first = &response.groups[1].topics[0];
        assert_eq!((first.name.as_str(), first.topic_id), if version >= 10 { ("", topic_id) } else { ("t", Uuid::ZERO) });
        assert_eq!(first.partitions[0].metadata.as_deref(), Some("note"));
        assert_eq!(first.partitions[0].committed_leader_epoch, 3);
    }
}

fn topic_id(connection: &mut Connection, name: &str) -> Uuid {
    let topic = metadata_request::MetadataRequestTopic { name: Some(name.to_owned()), ..Default::default() };
    connection.call(&MetadataRequest { topics: Some(vec![topic]), ..Default::default() }, 12).topics[0].topic_id
}

#[test]
fn commits_for_what_does_not_exist_are_refused_each_for_itself() {
    let broker = start();
    let mut connection = connect(&broker, "g");
    connection.create_topic("t", 1);
    let mut request = commit_request("g", "", -1, "t", 0, 1);
    let mut second = request.topics[0].partitions[0].clone();
    second.partition_index = 7;
    request.topics[0].partitions.push(second);
    request.topics.extend(commit_request("g", "", -1, "nope", 0, 1).topics);
    let response = connection.call(&request, 9);
    let mut codes: Vec<_> = response
        .topics
        .iter()
        .flat_map(|t| t.partitions.iter().map(|p| (t.name.as_str(), p.partition_index, ErrorCode::from_code(p.error_code))))
        .collect();
    codes.sort_by_key(|&(name, partition, _)| (name, partition));
    let unknown = ErrorCode::UnknownTopicOrPartition;
    assert_eq!(codes, [("nope", 0, unknown), ("t", 0, ErrorCode::None), ("t", 7, unknown)]);
    // By id, from version 10 on.
    let mut by_id = commit_request("g", "", -1, "", 0, 1);
    by_id.topics[0].topic_id = Uuid::from_u128(5);
    let response = connection.call(&by_id, 10);
    assert_eq!(ErrorCode::from_code(response.topics[0].partitions[0].error_code), ErrorCode::UnknownTopicId);
    // A group nobody knows, of a generation it cannot have.
    for (version, error) in [(8, ErrorCode::IllegalGeneration), (9, ErrorCode::GroupIdNotFound)] {
        let response = connection.call(&commit_request("nobody", "m", 3, "t", 0, 1), version);
        assert_eq!(ErrorCode::from_code(response.topics[0].partitions[0].error_code), error);
    }
}

#[test]
fn groups_are_listed_described_and_deleted() {
    let broker = start();
    let mut member = Member::new(&broker, "active", None);
    member.connection.create_topic("t", 1);
    member.join_alone();
    let mut connection = connect(&broker, "idle");
    assert_eq!(connection.call(&commit_request("idle", "", -1, "t", 0, 1), 9).topics[0].partitions[0].error_code, 0);
    let list = |connection: &mut Connection, states: &[&str], types: &[&str]| {
        let owned = |list: &[&str]| list.iter().map(|&s| s.to_owned()).collect();
        let request = ListGroupsRequest { states_filter: owned(states), types_filter: owned(types), ..Default::default() };
        let mut groups = connection.call(&request, 5).groups;
        groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
        groups.into_iter().map(|g| format!("{} {} {} {}", g.group_id, g.protocol_type, g.group_state, g.group_type)).collect::<Vec<_>>()
    };
    assert_eq!(list(&mut connection, &[], &[]), ["active consumer Stable classic", "idle  Empty classic"]);
    assert_eq!(list(&mut connection, &["stable"], &["CLASSIC"]), ["active consumer Stable classic"]);
    assert_eq!(list(&mut connection, &[], &["consumer"]), [""; 0]);
    let mut request = describe("active");
    request.include_authorized_operations = true;
    request.groups.push("nobody".to_owned());
    let groups = connection.call(&request, 6).groups;
    assert_eq!((groups[0].protocol_data.as_str(), groups[0].authorized_operations), ("range", 3400));
    assert_eq!((groups[1].group_state.as_str(), groups[1].error_code), ("Dead", ErrorCode::GroupIdNotFound.code()));
    for version in 0..=2 {
        let names = ["active", "nobody", "active"].map(str::to_owned).to_vec();
        let results = connection.call(&DeleteGroupsRequest { groups_names: names, ..Default::default() }, version).results;
        let codes: Vec<_> = results.iter().map(|r| ErrorCode::from_code(r.error_code)).collect();
        assert_eq!(codes, [ErrorCode::NonEmptyGroup, ErrorCode::GroupIdNotFound]);
    }
    let request = DeleteGroupsRequest { groups_names: vec!["idle".to_owned()], ..Default::default() };
    assert_eq!(connection.call(&request, 2).results[0].error_code, 0);
    assert_eq!(offsets(&mut connection, "idle"), []);
    assert_eq!(list(&mut connection, &[], &[]), ["active consumer Stable classic"]);
}

#[test]
fn offsets_are_deleted_by_hand_and_with_their_topic() {
    let broker = start();
    let mut member = Member::new(&broker, "g", None);
    member.connection.create_topic("t", 1);
    member.connection.create_topic("u", 1);
    member.join_alone();
    for topic in ["t", "u"] {
        assert_eq!(member.commit(topic, 0, 5), ErrorCode::None);
    }
    let topic = |name: &str| OffsetDeleteRequestTopic {
        name: name.to_owned(),
        partitions: vec![OffsetDeleteRequestPartition { partition_index: 0, ..Default::default() }],
        ..Default::default()
    };
    let delete = |group: &str| OffsetDeleteRequest {
        group_id: group.to_owned(),
        topics: vec![topic("t"), topic("u"), topic("nope")],
        ..Default::default()
    };
    let response = member.connection.call(&delete("g"), 0);
    let mut codes: Vec<_> = response.topics.iter().map(|t| (t.name.as_str(), ErrorCode::from_code(t.partitions[0].error_code))).collect();
    codes.sort_by_key(|&(name, _)| name);
    let expected = [("nope", ErrorCode::UnknownTopicOrPartition), ("t", ErrorCode::GroupSubscribedToTopic), ("u", ErrorCode::None)];
    assert_eq!(codes, expected);
    assert_eq!(member.connection.call(&delete("nobody"), 0).error_code, ErrorCode::GroupIdNotFound.code());
    assert_eq!(offsets(&mut member.connection, "g"), [("t".to_owned(), 0, 5)]);
    let state = delete_topics_request::DeleteTopicState { name: Some("t".to_owned()), ..Default::default() };
    let request = DeleteTopicsRequest { topics: vec![state], timeout_ms: 30_000, ..Default::default() };
    assert_eq!(member.connection.call(&request, 6).responses[0].error_code, 0);
    // In the background, as soon as the topic is gone.
    while !offsets(&mut member.connection, "g").is_empty() {
        std::thread::yield_now();
    }
}

#[test]
fn every_kind_of_coordinator_is_found() {
    let broker = start();
    let mut connection = broker.connect();
    let node = |response: &FindCoordinatorResponse| (response.error_code, response.host.clone(), response.port);
    let here = (0, "127.0.0.1".to_owned(), i32::from(broker.address.port()));
    for version in 0..=3 {
        let request = FindCoordinatorRequest { key: "g".to_owned(), ..Default::default() };
        assert_eq!(node(&connection.call(&request, version)), here);
    }
    let bad = FindCoordinatorRequest { key: "g".to_owned(), key_type: 9, ..Default::default() };
    assert_eq!(node(&connection.call(&bad, 3)), (ErrorCode::InvalidRequest.code(), String::new(), -1));
    for (key_type, keys, version) in
        [(0, ["a", "b"], 4), (1, ["a", "b"], 5), (2, ["g:AAAAAAAAAAAAAAAAAAAAAQ:0", "h:i:AAAAAAAAAAAAAAAAAAAAAQ:1"], 6)]
    {
        let request = FindCoordinatorRequest { coordinator_keys: keys.map(str::to_owned).to_vec(), key_type, ..Default::default() };
        let found = connection.call(&request, version).coordinators;
        let keys_found: Vec<_> = found.iter().map(|c| (c.key.as_str(), c.error_code, c.port)).collect();
        assert_eq!(keys_found, keys.map(|key| (key, 0, here.2)));
    }
    let request = FindCoordinatorRequest { coordinator_keys: vec!["no partition".to_owned()], key_type: 2, ..Default::default() };
    assert_eq!(connection.call(&request, 6).coordinators[0].error_code, ErrorCode::InvalidRequest.code());
}
