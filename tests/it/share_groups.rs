//! Share groups over the wire: members join, share the records of a partition, say what became of them, and come back after a kill.

use std::path::Path;
use std::time::{Duration, Instant};

use ottla::common::uuid::Uuid;
use ottla::protocol::error_code::ErrorCode;
use ottla::protocol::messages::alter_share_group_offsets_request::{
    AlterShareGroupOffsetsRequestPartition, AlterShareGroupOffsetsRequestTopic,
};
use ottla::protocol::messages::delete_share_group_offsets_request::DeleteShareGroupOffsetsRequestTopic;
use ottla::protocol::messages::describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestGroup;
use ottla::protocol::messages::describe_share_group_offsets_response::DescribeShareGroupOffsetsResponsePartition;
use ottla::protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use ottla::protocol::messages::share_acknowledge_request::{AcknowledgePartition, AcknowledgeTopic, AcknowledgementBatch};
use ottla::protocol::messages::share_fetch_request::{FetchPartition, FetchTopic};
use ottla::protocol::messages::share_fetch_response::PartitionData;
use ottla::protocol::messages::{
    AlterShareGroupOffsetsRequest, DeleteGroupsRequest, DeleteShareGroupOffsetsRequest, DescribeShareGroupOffsetsRequest,
    FindCoordinatorRequest, IncrementalAlterConfigsRequest, ShareAcknowledgeRequest, ShareFetchRequest, ShareGroupDescribeRequest,
    ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse,
};

use crate::broker::transactions::Producer;
use crate::broker::{Broker, Connection, batch, data_dir};

const GROUP: &str = "g";
/// The number of a group among the types of config resources.
const GROUP_RESOURCE: i8 = 32;
const ACCEPT: i8 = 1;
const RELEASE: i8 = 2;
const RENEW: i8 = 4;

/// A broker that assigns at once.
fn start(dir: &Path) -> Broker {
    Broker::start_with(&["--data", &dir.display().to_string(), "--override", "group.share.assignment.interval.ms=0"])
}

/// A topic with one partition and so many records, and a group that reads it from the beginning.
fn prepare(broker: &Broker, records: usize) -> Connection {
    let mut connection = broker.connect();
    // Creates the topic of the groups.
    connection.call(&FindCoordinatorRequest { key: GROUP.to_owned(), ..Default::default() }, 3);
    connection.create_topic("t", 1);
    let values: Vec<String> = (0..records).map(|at| format!("value {at}")).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    assert_eq!(connection.produce("t", 0, batch(&values), -1).error_code, 0);
    set_group_config(&mut connection, "share.auto.offset.reset", "earliest");
    connection
}

fn set_group_config(connection: &mut Connection, name: &str, value: &str) {
    let config = AlterableConfig { name: name.to_owned(), value: Some(value.to_owned()), ..Default::default() };
    let resource = AlterConfigsResource {
        resource_type: GROUP_RESOURCE,
        resource_name: GROUP.to_owned(),
        configs: vec![config],
        ..Default::default()
    };
    let altered = connection.call(&IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() }, 1);
    assert_eq!(altered.responses[0].error_code, 0, "{:?}", altered.responses[0].error_message);
}

/// A member of the group that reads `t`.
struct Member {
    connection: Connection,
    member_id: &'static str,
    member_epoch: i32,
    session_epoch: i32,
    topic_id: Uuid,
    /// What its acknowledgements say of themselves.
    is_renew_ack: bool,
}

impl Member {
    /// Joins and waits for the partition.
    fn join(broker: &Broker, member_id: &'static str) -> Member {
        let connection = broker.connect();
        let mut member = Member { connection, member_id, member_epoch: 0, session_epoch: 0, topic_id: Uuid::ZERO, is_renew_ack: false };
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut topics = Some(vec!["t".to_owned()]);
        while member.topic_id == Uuid::ZERO {
            let response = member.beat(member.member_epoch, topics.take());
            // Only a member's own heartbeat tells it of its assignment.
            match ErrorCode::from_code(response.error_code) {
                ErrorCode::None => member.member_epoch = response.member_epoch,
                ErrorCode::CoordinatorLoadInProgress | ErrorCode::NotCoordinator => topics = Some(vec!["t".to_owned()]),
                error => panic!("{error:?}: {:?}", response.error_message),
            }
            if let Some(topic) = response.assignment.as_ref().and_then(|it| it.topic_partitions.first()) {
                member.topic_id = topic.topic_id;
            }
            assert!(Instant::now() < deadline, "no assignment");
            std::thread::sleep(Duration::from_millis(20));
        }
        member
    }

    fn beat(&mut self, member_epoch: i32, topics: Option<Vec<String>>) -> ShareGroupHeartbeatResponse {
        let request = ShareGroupHeartbeatRequest {
            group_id: GROUP.to_owned(),
            member_id: self.member_id.to_owned(),
            member_epoch,
            subscribed_topic_names: topics,
            ..Default::default()
        };
        self.connection.call(&request, 1)
    }

    fn leave(mut self) {
        assert_eq!(self.acknowledge_in(-1, 0, -1, &[]), Vec::new());
        assert_eq!(self.beat(-1, None).error_code, 0);
    }

    fn fetch_request(&mut self, max_records: i32) -> ShareFetchRequest {
        let partitions = vec![FetchPartition::default()];
        let topics = vec![FetchTopic { topic_id: self.topic_id, partitions, ..Default::default() }];
        let request = ShareFetchRequest {
            group_id: Some(GROUP.to_owned()),
            member_id: Some(self.member_id.to_owned()),
            share_session_epoch: self.session_epoch,
            max_wait_ms: 30_000,
            min_bytes: 1,
            max_bytes: 1 << 20,
            max_records,
            batch_size: max_records,
            share_acquire_mode: 1,
            topics: if self.session_epoch == 0 { topics } else { Vec::new() },
            ..Default::default()
        };
        self.session_epoch += 1;
        request
    }

    /// Acquires at most so many records, waiting for them: first and last offset and delivery count.
    fn fetch(&mut self, max_records: i32) -> Vec<(i64, i64, i16)> {
        let request = self.fetch_request(max_records);
        acquired(&self.fetched(&request))
    }

    fn fetched(&mut self, request: &ShareFetchRequest) -> PartitionData {
        let mut response = self.connection.call(request, 2);
        assert_eq!(response.error_code, 0);
        let data = response.responses.remove(0).partitions.remove(0);
        assert_eq!(data.error_code, 0, "{:?}", data.error_message);
        data
    }

    fn acknowledge(&mut self, first_offset: i64, last_offset: i64, acknowledge_type: i8) -> ErrorCode {
        let epoch = self.session_epoch;
        self.session_epoch += 1;
        self.acknowledge_in(epoch, first_offset, last_offset, &[acknowledge_type]).remove(0)
    }

    fn acknowledge_in(&mut self, share_session_epoch: i32, first_offset: i64, last_offset: i64, types: &[i8]) -> Vec<ErrorCode> {
        let batch = AcknowledgementBatch { first_offset, last_offset, acknowledge_types: types.to_vec(), ..Default::default() };
        let partition = AcknowledgePartition { acknowledgement_batches: vec![batch], ..Default::default() };
        let topic = AcknowledgeTopic { topic_id: self.topic_id, partitions: vec![partition], ..Default::default() };
        let request = ShareAcknowledgeRequest {
            group_id: Some(GROUP.to_owned()),
            member_id: Some(self.member_id.to_owned()),
            share_session_epoch,
            is_renew_ack: self.is_renew_ack,
            topics: if types.is_empty() { Vec::new() } else { vec![topic] },
            ..Default::default()
        };
        let response = self.connection.call(&request, 2);
        assert_eq!(response.error_code, 0);
        response.responses.iter().flat_map(|topic| &topic.partitions).map(|it| ErrorCode::from_code(it.error_code)).collect()
    }
}

fn acquired(data: &PartitionData) -> Vec<(i64, i64, i16)> {
    data.acquired_records.iter().map(|it| (it.first_offset, it.last_offset, it.delivery_count)).collect()
}

fn describe(connection: &mut Connection) -> Option<DescribeShareGroupOffsetsResponsePartition> {
    let group = DescribeShareGroupOffsetsRequestGroup { group_id: GROUP.to_owned(), topics: None, ..Default::default() };
    let mut response = connection.call(&DescribeShareGroupOffsetsRequest { groups: vec![group], ..Default::default() }, 1);
    assert_eq!(response.groups[0].error_code, 0);
    response.groups.remove(0).topics.pop().map(|mut topic| topic.partitions.remove(0))
}

#[test]
fn members_share_the_records_of_one_partition() {
    let (_keep, dir) = data_dir();
    let broker = start(&dir);
    let mut connection = prepare(&broker, 10);
    let (mut a, mut b) = (Member::join(&broker, "a"), Member::join(&broker, "b"));
    assert_eq!(a.fetch(4), [(0, 3, 1)]);
    assert_eq!(b.fetch(4), [(4, 7, 1)]);
    assert_eq!(b.acknowledge(0, 3, ACCEPT), ErrorCode::InvalidRecordState, "they are a's");
    assert_eq!(a.acknowledge(0, 1, ACCEPT), ErrorCode::None);
    assert_eq!(a.acknowledge(2, 3, RELEASE), ErrorCode::None);
    assert_eq!(b.fetch(4), [(2, 3, 2), (8, 9, 1)]);
    let described = describe(&mut connection).expect("a partition");
    assert_eq!((described.start_offset, described.lag), (2, 8));
}

#[test]
fn a_fetch_waits_for_records_that_come_or_come_back() {
    let (_keep, dir) = data_dir();
    let broker = start(&dir);
    let mut connection = prepare(&broker, 3);
    let (mut a, mut b) = (Member::join(&broker, "a"), Member::join(&broker, "b"));
    assert_eq!(a.fetch(10), [(0, 2, 1)]);
    let request = b.fetch_request(10);
    b.connection.send(&request, 2);
    assert_eq!(a.acknowledge(0, 2, RELEASE), ErrorCode::None);
    let response = b.connection.receive::<ShareFetchRequest>(2).expect("an answer");
    assert_eq!(acquired(&response.responses[0].partitions[0]), [(0, 2, 2)]);

    let request = a.fetch_request(10);
    a.connection.send(&request, 2);
    assert_eq!(connection.produce("t", 0, batch(&["one more"]), -1).error_code, 0);
    let response = a.connection.receive::<ShareFetchRequest>(2).expect("an answer");
    assert_eq!(acquired(&response.responses[0].partitions[0]), [(3, 3, 1)]);
}

#[test]
fn what_a_member_had_that_went_away_is_anothers() {
    let (_keep, dir) = data_dir();
    let broker = start(&dir);
    prepare(&broker, 5);
    let (mut a, mut b) = (Member::join(&broker, "a"), Member::join(&broker, "b"));
    assert_eq!(a.fetch(10), [(0, 4, 1)]);
    drop(a.connection);
    assert_eq!(b.fetch(10), [(0, 4, 2)]);
}

#[test]
fn a_member_that_needs_longer_renews_its_locks() {
    let (_keep, dir) = data_dir();
    let broker = start(&dir);
    prepare(&broker, 5);
    let mut a = Member::join(&broker, "a");
    assert_eq!(a.fetch(10), [(0, 4, 1)]);
    assert_eq!(a.acknowledge(0, 4, RENEW), ErrorCode::InvalidRequest, "the request does not say that it renews");
    a.is_renew_ack = true;
    assert_eq!(a.acknowledge(0, 4, RENEW), ErrorCode::None);
    a.is_renew_ack = false;
    assert_eq!(a.acknowledge(0, 4, ACCEPT), ErrorCode::None);
    let mut request = a.fetch_request(10);
    request.is_renew_ack = true;
    assert_eq!(ErrorCode::from_code(a.connection.call(&request, 2).error_code), ErrorCode::InvalidRequest, "it fetches as well");
}

#[test]
fn what_was_accepted_stays_so_after_a_kill() {
    let (_keep, dir) = data_dir();
    let broker = start(&dir);
    prepare(&broker, 10);
    let mut a = Member::join(&broker, "a");
    assert_eq!(a.fetch(10), [(0, 9, 1)]);
    assert_eq!(a.acknowledge(0, 4, ACCEPT), ErrorCode::None);
    assert_eq!(a.acknowledge(7, 7, ACCEPT), ErrorCode::None);
    broker.kill();

    let broker = start(&dir);
    let mut b = Member::join(&broker, "b");
    // What was only acquired is counted no more.
    assert_eq!(b.fetch(10), [(5, 6, 1), (8, 9, 1)]);
    assert_eq!(b.acknowledge(5, 9, ACCEPT), ErrorCode::InvalidRecordState, "it does not have 7");
    assert_eq!(b.acknowledge(5, 6, ACCEPT), ErrorCode::None);
    assert_eq!(b.acknowledge(8, 9, ACCEPT), ErrorCode::None);
    let described = describe(&mut b.connection).expect("a partition");
    assert_eq!(described.lag, 0);
}

#[test]
fn a_group_that_reads_committed_records_acquires_no_others() {
    let (_keep, dir) = data_dir();
    let broker = start(&dir);
    let mut connection = prepare(&broker, 2);
    set_group_config(&mut connection, "share.isolation.level", "read_committed");
    let mut producer = Producer::new(&mut connection, "a-transaction", true);
    // 2 and its marker 3, 4 and its marker 5, 6.
    for (value, commit) in [("aborted", false), ("committed", true)] {
        assert_eq!(producer.send("t", 0, value), ErrorCode::None);
        producer.finish(commit);
    }
    assert_eq!(producer.send("t", 0, "still open"), ErrorCode::None);
    let mut a = Member::join(&broker, "a");
    // Markers are acquired as other offsets are; a client finds no records there and says so.
    let mut found = a.fetch(20);
    while found.last().is_none_or(|(_, last, _)| *last < 5) {
        found.extend(a.fetch(20));
    }
    assert_eq!(found, [(0, 1, 1), (3, 5, 1)]);
    assert_eq!(a.acknowledge(0, 1, ACCEPT), ErrorCode::None);
    let request = a.fetch_request(20);
    a.connection.send(&request, 2);
    producer.finish(true);
    let response = a.connection.receive::<ShareFetchRequest>(2).expect("an answer");
    let first = acquired(&response.responses[0].partitions[0]).remove(0);
    assert_eq!((first.0, first.2), (6, 1));
}

#[test]
fn sessions_are_counted() {
    let (_keep, dir) = data_dir();
    let broker = start(&dir);
    prepare(&broker, 1);
    let mut a = Member::join(&broker, "a");
    let mut request = a.fetch_request(10);
    request.share_session_epoch = 5;
    assert_eq!(ErrorCode::from_code(a.connection.call(&request, 2).error_code), ErrorCode::ShareSessionNotFound);
    request.share_session_epoch = 0;
    a.fetched(&request);
    request.share_session_epoch = 7;
    assert_eq!(ErrorCode::from_code(a.connection.call(&request, 2).error_code), ErrorCode::InvalidShareSessionEpoch);
    request.member_id = Some("m".repeat(37));
    assert_eq!(ErrorCode::from_code(a.connection.call(&request, 2).error_code), ErrorCode::InvalidRequest);
}

#[test]
fn offsets_of_a_group_are_set_and_deleted_while_it_is_empty() {
    let (_keep, dir) = data_dir();
    let broker = start(&dir);
    let mut connection = prepare(&broker, 10);
    let mut a = Member::join(&broker, "a");
    assert_eq!(a.fetch(10), [(0, 9, 1)]);
    assert_eq!(a.acknowledge(0, 9, ACCEPT), ErrorCode::None);
    let partition = AlterShareGroupOffsetsRequestPartition { partition_index: 0, start_offset: 6, ..Default::default() };
    let topic = AlterShareGroupOffsetsRequestTopic { topic_name: "t".to_owned(), partitions: vec![partition], ..Default::default() };
    let alter = AlterShareGroupOffsetsRequest { group_id: GROUP.to_owned(), topics: vec![topic], ..Default::default() };
    assert_eq!(ErrorCode::from_code(connection.call(&alter, 0).error_code), ErrorCode::NonEmptyGroup);
    a.leave();
    let response = connection.call(&alter, 0);
    assert_eq!((response.error_code, response.responses[0].partitions[0].error_code), (0, 0));
    let described = describe(&mut connection).expect("a partition");
    assert_eq!((described.start_offset, described.lag), (6, 4));
    let mut b = Member::join(&broker, "b");
    assert_eq!(b.fetch(10), [(6, 9, 1)]);
    b.leave();

    let topic = DeleteShareGroupOffsetsRequestTopic { topic_name: "t".to_owned(), ..Default::default() };
    let delete = DeleteShareGroupOffsetsRequest { group_id: GROUP.to_owned(), topics: vec![topic], ..Default::default() };
    let response = connection.call(&delete, 0);
    assert_eq!((response.error_code, response.responses[0].error_code), (0, 0));
    assert!(describe(&mut connection).is_none());
}

#[test]
fn a_group_is_described_and_deleted() {
    let (_keep, dir) = data_dir();
    let broker = start(&dir);
    let mut connection = prepare(&broker, 1);
    let mut a = Member::join(&broker, "a");
    assert_eq!(a.fetch(10), [(0, 0, 1)]);
    let describe_request = ShareGroupDescribeRequest { group_ids: vec![GROUP.to_owned()], ..Default::default() };
    let group = connection.call(&describe_request, 1).groups.remove(0);
    assert_eq!((group.error_code, group.group_state.as_str(), group.members.len()), (0, "Stable", 1));
    assert_eq!(group.members[0].assignment.topic_partitions[0].topic_name, "t");
    let delete = DeleteGroupsRequest { groups_names: vec![GROUP.to_owned()], ..Default::default() };
    assert_eq!(ErrorCode::from_code(connection.call(&delete, 2).results[0].error_code), ErrorCode::NonEmptyGroup);
    a.leave();
    assert_eq!(connection.call(&delete, 2).results[0].error_code, 0);
    let group = connection.call(&describe_request, 1).groups.remove(0);
    assert_eq!(ErrorCode::from_code(group.error_code), ErrorCode::GroupIdNotFound);
    assert!(describe(&mut connection).is_none());
}
