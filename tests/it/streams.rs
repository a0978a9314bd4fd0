//! Streams groups over the wire: internal topics that are created for them, tasks, offsets, and what of it survives a broker that is killed.

use ottla::protocol::error_code::ErrorCode;
use ottla::protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use ottla::protocol::messages::streams_group_heartbeat_request::{Subtopology, TaskIds, TopicInfo, Topology};
use ottla::protocol::messages::*;

use crate::broker::{Broker, Connection, data_dir};

const GROUP: &str = "app";

fn start_in(dir: &std::path::Path) -> Broker {
    let dir = dir.display().to_string();
    let overrides = ["--override", "group.streams.initial.rebalance.delay.ms=0", "--override", "offsets.topic.num.partitions=4"];
    Broker::start_with(&[&["--data", &dir], &overrides[..]].concat())
}

/// A connection to a broker that coordinates the group, its offsets topic created and loaded.
fn connect(broker: &Broker) -> Connection {
    let mut connection = broker.connect();
    for _ in 0..100_000 {
        let request = FindCoordinatorRequest { coordinator_keys: vec![GROUP.to_owned()], ..Default::default() };
        let found = connection.call(&request, 6).coordinators[0].error_code == 0;
        let code = describe(&mut connection).error_code;
        if found && [ErrorCode::None.code(), ErrorCode::GroupIdNotFound.code()].contains(&code) {
            return connection;
        }
        std::thread::yield_now();
    }
    panic!("the coordinator does not come");
}

fn describe(connection: &mut Connection) -> streams_group_describe_response::DescribedGroup {
    let request = StreamsGroupDescribeRequest { group_ids: vec![GROUP.to_owned()], ..Default::default() };
    connection.call(&request, 0).groups.swap_remove(0)
}

fn joining() -> StreamsGroupHeartbeatRequest {
    let subtopology = Subtopology {
        subtopology_id: "0".to_owned(),
        source_topics: vec!["in".to_owned()],
        state_changelog_topics: vec![TopicInfo { name: "app-store-changelog".to_owned(), ..Default::default() }],
        ..Default::default()
    };
    StreamsGroupHeartbeatRequest {
        group_id: GROUP.to_owned(),
        member_id: "m".to_owned(),
        rebalance_timeout_ms: 10_000,
        topology: Some(Topology { epoch: 1, subtopologies: vec![subtopology], ..Default::default() }),
        active_tasks: Some(Vec::new()),
        standby_tasks: Some(Vec::new()),
        warmup_tasks: Some(Vec::new()),
        process_id: Some("p".to_owned()),
        ..Default::default()
    }
}

fn living(member_epoch: i32) -> StreamsGroupHeartbeatRequest {
    StreamsGroupHeartbeatRequest { member_epoch, rebalance_timeout_ms: -1, topology: None, process_id: None, ..joining() }
}

fn commit(connection: &mut Connection, epoch: i32) -> i16 {
    let partition = OffsetCommitRequestPartition { partition_index: 1, committed_offset: 7, ..Default::default() };
    let topic = OffsetCommitRequestTopic { name: "in".to_owned(), partitions: vec![partition], ..Default::default() };
    let request = OffsetCommitRequest {
        group_id: GROUP.to_owned(),
        member_id: "m".to_owned(),
        generation_id_or_member_epoch: epoch,
        topics: vec![topic],
        ..Default::default()
    };
    connection.call(&request, 9).topics[0].partitions[0].error_code
}

#[test]
fn an_application_gets_its_topics_and_its_tasks_and_keeps_them_over_a_kill() {
    let (_keep, dir) = data_dir();
    let broker = start_in(&dir);
    let mut connection = connect(&broker);
    let refused = connection.call(&StreamsGroupHeartbeatRequest { instance_id: Some("i".to_owned()), ..joining() }, 0);
    assert_eq!(refused.error_code, ErrorCode::InvalidRequest.code());
    connection.create_topic("in", 2);

    let joined = connection.call(&joining(), 0);
    assert_eq!((joined.error_code, joined.member_epoch), (0, 2));
    assert_eq!(joined.status.expect("statuses")[0].status_code, 3, "the changelog is missing");
    let mut answer = connection.call(&living(2), 0);
    for _ in 0..100_000 {
        if answer.active_tasks.as_ref().is_some_and(|tasks| !tasks.is_empty()) {
            break;
        }
        std::thread::yield_now();
        answer = connection.call(&living(answer.member_epoch), 0);
        assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
    }
    let tasks = TaskIds { subtopology_id: "0".to_owned(), partitions: vec![0, 1], ..Default::default() };
    assert_eq!(answer.active_tasks.expect("tasks")[0].partitions, tasks.partitions);
    let epoch = answer.member_epoch;
    assert_eq!(commit(&mut connection, epoch), 0);
    let before = describe(&mut connection);
    assert_eq!((before.group_state.as_str(), before.members.len(), before.group_epoch), ("Stable", 1, epoch));
    broker.kill();

    let broker = start_in(&dir);
    let mut connection = connect(&broker);
    let after = describe(&mut connection);
    assert_eq!((after.group_state, after.group_epoch, after.members), (before.group_state, before.group_epoch, before.members));
    let listed = connection.call(&ListGroupsRequest { types_filter: vec!["Streams".to_owned()], ..Default::default() }, 5).groups;
    assert_eq!((listed.len(), listed[0].group_type.as_str()), (1, "streams"));
    let quiet = connection.call(&StreamsGroupHeartbeatRequest { active_tasks: Some(vec![tasks]), ..living(epoch) }, 0);
    assert_eq!((quiet.error_code, quiet.member_epoch, quiet.active_tasks), (0, epoch, None));
    assert_eq!(commit(&mut connection, epoch - 2), ErrorCode::StaleMemberEpoch.code());
    let left = connection.call(&living(-1), 0);
    assert_eq!((left.error_code, describe(&mut connection).group_state.as_str()), (0, "Empty"));
}
