//! Groups and offsets, request by request. Many of these situations are those of Kafka's `GroupMetadataManagerTest`.

use std::collections::HashMap;

use bytes::Bytes;

use super::classic_group::CONSUMER_PROTOCOL_TYPE;
use super::*;
use crate::common::uuid::Uuid;
use crate::protocol::codec::{Message, Writer};
use crate::protocol::messages::join_group_request::JoinGroupRequestProtocol;
use crate::protocol::messages::leave_group_request::MemberIdentity;
use crate::protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use crate::protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use crate::protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use crate::protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use crate::protocol::messages::{
    ConsumerProtocolSubscription, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, OffsetCommitRequest, OffsetDeleteRequest,
    SyncGroupRequest,
};

pub(super) const TOPIC_ID: Uuid = Uuid::from_u128(77);

pub(super) fn subscription(topics: &[&str]) -> Bytes {
    let mut writer = Writer::new();
    writer.i16(0);
    let message = ConsumerProtocolSubscription {
        topics: topics.iter().map(|&topic| topic.to_owned()).collect(),
        ..ConsumerProtocolSubscription::default()
    };
    message.encode(&mut writer, 0).expect("a subscription of version 0");
    writer.into_bytes()
}

/// A shard with its log and its clients.
pub(super) struct Harness {
    pub(super) shard: GroupShard,
    pub(super) now: Now,
    pub(super) log: Vec<(Bytes, Option<Bytes>)>,
    pub(super) answers: HashMap<WaiterId, ParkedResponse>,
    pub(super) held: Option<Vec<AfterCommit>>,
    pub(super) waiters: u64,
    pub(super) api_version: i16,
}

impl Harness {
    fn new() -> Harness {
        Harness::with(GroupCoordinatorConfig::default())
    }

    pub(super) fn with(config: GroupCoordinatorConfig) -> Harness {
        Harness {
            shard: GroupShard::new(config, Random::new(1)),
            now: Now { wall_ms: 1_000_000, monotonic_ms: 0 },
            log: Vec::new(),
            answers: HashMap::new(),
            held: None,
            waiters: 0,
            api_version: 9,
        }
    }

    pub(super) fn client(&self) -> ClientContext {
        ClientContext { client_id: "client".to_owned(), client_host: "/127.0.0.1".to_owned(), api_version: self.api_version }
    }

    pub(super) fn apply(&mut self, fx: Effects) {
        for completed in fx.completed {
            let twice = self.answers.insert(completed.waiter, completed.response);
            assert!(twice.is_none(), "{:?} was answered twice", completed.waiter);
        }
        for record in fx.records {
            let (key, value) = record.encode().expect("a record that can be written");
            let mut read = GroupRecord::decode(key.clone(), value.clone()).expect("readable").expect("of a known type");
            if let (GroupRecord::OffsetCommit(_, Some(read)), GroupRecord::OffsetCommit(_, Some(written))) = (&mut read, &record)
                && written.expire_timestamp != -1
            {
                // The version of the record that has a time of expiry has no topic id.
                read.topic_id = written.topic_id;
            }
            assert_eq!(read, record);
            self.log.push((key, value));
            if fx.replay {
                self.shard.replay(self.log.len() as i64 - 1, record);
            }
        }
        match (&mut self.held, fx.after_commit) {
            (Some(held), Some(after)) => held.push(after),
            (None, Some(after)) => {
                let fx = self.shard.committed(after, Ok(()), self.now);
                self.apply(fx);
            }
            (_, None) => {}
        }
    }

    fn release(&mut self, result: Result<(), ErrorCode>) {
        for after in self.held.take().unwrap_or_default() {
            let fx = self.shard.committed(after, result, self.now);
            self.apply(fx);
        }
    }

    /// Lets time pass, deadline by deadline.
    pub(super) fn advance(&mut self, ms: u64) {
        let end = self.now.monotonic_ms + ms;
        loop {
            match self.shard.next_deadline() {
                Some(deadline) if deadline <= end => {
                    let step = deadline.saturating_sub(self.now.monotonic_ms);
                    self.now = Now { wall_ms: self.now.wall_ms + step as i64, monotonic_ms: self.now.monotonic_ms + step };
                    if let Some(fx) = self.shard.poll(self.now) {
                        self.apply(fx);
                    }
                }
                _ => break,
            }
        }
        let step = end - self.now.monotonic_ms;
        self.now = Now { wall_ms: self.now.wall_ms + step as i64, monotonic_ms: end };
    }

    pub(super) fn waiter(&mut self) -> WaiterId {
        self.waiters += 1;
        WaiterId(self.waiters)
    }

    pub(super) fn join_request(&self, member_id: &str) -> JoinGroupRequest {
        JoinGroupRequest {
            group_id: "g".to_owned(),
            member_id: member_id.to_owned(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 30_000,
            protocol_type: CONSUMER_PROTOCOL_TYPE.to_owned(),
            protocols: vec![JoinGroupRequestProtocol {
                name: "range".to_owned(),
                metadata: subscription(&["t"]),
                ..JoinGroupRequestProtocol::default()
            }],
            ..JoinGroupRequest::default()
        }
    }

    pub(super) fn send_join(&mut self, request: JoinGroupRequest) -> WaiterId {
        let waiter = self.waiter();
        let fx = self.shard.join_group(self.now, &self.client(), request, waiter);
        self.apply(fx);
        waiter
    }

    pub(super) fn send_sync(&mut self, member_id: &str, generation_id: i32, assignments: &[(&str, &str)]) -> WaiterId {
        self.send_sync_request(SyncGroupRequest {
            group_id: "g".to_owned(),
            member_id: member_id.to_owned(),
            generation_id,
            assignments: assignments
                .iter()
                .map(|&(member_id, assignment)| SyncGroupRequestAssignment {
                    member_id: member_id.to_owned(),
                    assignment: Bytes::copy_from_slice(assignment.as_bytes()),
                    ..SyncGroupRequestAssignment::default()
                })
                .collect(),
            ..SyncGroupRequest::default()
        })
    }

    fn send_sync_request(&mut self, request: SyncGroupRequest) -> WaiterId {
        let waiter = self.waiter();
        let fx = self.shard.sync_group(self.now, request, waiter);
        self.apply(fx);
        waiter
    }

    fn joined(&mut self, waiter: WaiterId) -> JoinGroupResponse {
        match self.answers.remove(&waiter) {
            Some(ParkedResponse::Join(response)) => response,
            other => panic!("a JoinGroup response wanted, got {other:?}"),
        }
    }

    fn synced(&mut self, waiter: WaiterId) -> SyncGroupResponse {
        match self.answers.remove(&waiter) {
            Some(ParkedResponse::Sync(response)) => response,
            other => panic!("a SyncGroup response wanted, got {other:?}"),
        }
    }

    fn is_parked(&self, waiter: WaiterId) -> bool {
        !self.answers.contains_key(&waiter)
    }

    /// A member id, by the detour of KIP-394.
    fn member_id(&mut self) -> String {
        let waiter = self.send_join(self.join_request(""));
        let response = self.joined(waiter);
        assert_eq!(response.error_code, ErrorCode::MemberIdRequired.code());
        response.member_id
    }

    /// A stable group of dynamic members: their ids, the leader first.
    fn stable_group(&mut self, size: usize) -> Vec<String> {
        let ids: Vec<String> = (0..size).map(|_| self.member_id()).collect();
        let waiters: Vec<WaiterId> = ids.iter().map(|id| self.send_join(self.join_request(id))).collect();
        self.advance(60_000.min(3_000 * (size as u64 + 1)));
        let responses: Vec<JoinGroupResponse> = waiters.iter().map(|&w| self.joined(w)).collect();
        self.sync_all(&responses)
    }

    fn sync_all(&mut self, responses: &[JoinGroupResponse]) -> Vec<String> {
        let leader = responses[0].leader.clone();
        let generation = responses[0].generation_id;
        let mut ids: Vec<String> = responses.iter().map(|r| r.member_id.clone()).collect();
        ids.sort_by_key(|id| *id != leader);
        let assignments: Vec<(String, String)> = ids.iter().map(|id| (id.clone(), format!("of {id}"))).collect();
        let borrowed: Vec<(&str, &str)> = assignments.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let mut waiters = Vec::new();
        for id in ids.iter().rev() {
            waiters.push((id.clone(), self.send_sync(id, generation, if *id == leader { &borrowed } else { &[] })));
        }
        for (id, waiter) in waiters {
            let response = self.synced(waiter);
            assert_eq!(response.error_code, 0);
            assert_eq!(response.assignment, format!("of {id}").as_bytes());
        }
        assert_eq!(self.state(), ClassicGroupState::Stable);
        ids
    }

    fn state(&self) -> ClassicGroupState {
        self.group().state()
    }

    fn group(&self) -> &ClassicGroup {
        self.shard.group("g").expect("the group exists")
    }

    fn generation(&self) -> i32 {
        self.group().generation_id()
    }

    pub(super) fn heartbeat(&mut self, member_id: &str, generation_id: i32) -> Result<(), ErrorCode> {
        let request =
            HeartbeatRequest { group_id: "g".to_owned(), member_id: member_id.to_owned(), generation_id, ..HeartbeatRequest::default() };
        self.shard.heartbeat(self.now, &request)
    }

    pub(super) fn leave(&mut self, members: &[(&str, Option<&str>)]) -> Vec<i16> {
        let request = LeaveGroupRequest {
            group_id: "g".to_owned(),
            members: members
                .iter()
                .map(|&(id, instance)| MemberIdentity {
                    member_id: id.to_owned(),
                    group_instance_id: instance.map(str::to_owned),
                    ..MemberIdentity::default()
                })
                .collect(),
            ..LeaveGroupRequest::default()
        };
        let (response, fx) = self.shard.leave_group(self.now, &request);
        self.apply(fx);
        response.members.iter().map(|m| m.error_code).collect()
    }

    pub(super) fn commit_request(
        &self,
        member_id: &str,
        generation_id: i32,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> OffsetCommitRequest {
        OffsetCommitRequest {
            group_id: "g".to_owned(),
            member_id: member_id.to_owned(),
            generation_id_or_member_epoch: generation_id,
            topics: vec![OffsetCommitRequestTopic {
                name: topic.to_owned(),
                topic_id: TOPIC_ID,
                partitions: vec![OffsetCommitRequestPartition {
                    partition_index: partition,
                    committed_offset: offset,
                    committed_metadata: Some("m".to_owned()),
                    ..OffsetCommitRequestPartition::default()
                }],
                ..OffsetCommitRequestTopic::default()
            }],
            ..OffsetCommitRequest::default()
        }
    }

    pub(super) fn commit(&mut self, request: &OffsetCommitRequest) -> Result<i16, ErrorCode> {
        let (response, fx) = self.shard.commit_offsets(self.now, &self.client(), request)?;
        self.apply(fx);
        Ok(response.topics[0].partitions[0].error_code)
    }

    fn fetch(&self, topic: &str, partition: i32) -> i64 {
        self.fetch_by_id(topic, TOPIC_ID, partition)
    }

    fn fetch_by_id(&self, topic: &str, topic_id: Uuid, partition: i32) -> i64 {
        let request = OffsetFetchRequestGroup {
            group_id: "g".to_owned(),
            topics: Some(vec![OffsetFetchRequestTopics {
                name: topic.to_owned(),
                topic_id,
                partition_indexes: vec![partition],
                ..OffsetFetchRequestTopics::default()
            }]),
            ..OffsetFetchRequestGroup::default()
        };
        self.shard.fetch_offsets(&request, false).topics[0].partitions[0].committed_offset
    }

    fn delete_offset(&mut self, topic: &str) -> Result<i16, ErrorCode> {
        let request = OffsetDeleteRequest {
            group_id: "g".to_owned(),
            topics: vec![OffsetDeleteRequestTopic {
                name: topic.to_owned(),
                partitions: vec![OffsetDeleteRequestPartition { partition_index: 0, ..OffsetDeleteRequestPartition::default() }],
                ..OffsetDeleteRequestTopic::default()
            }],
            ..OffsetDeleteRequest::default()
        };
        let (response, fx) = self.shard.delete_offsets(&request)?;
        self.apply(fx);
        Ok(response.topics[0].partitions[0].error_code)
    }

    /// A new shard from nothing but the log.
    pub(super) fn restarted(&self) -> Harness {
        let mut next = Harness::with(self.shard.config().clone());
        next.now = self.now;
        for (at, (key, value)) in self.log.iter().enumerate() {
            let entry = LogEntry::Record { offset: at as i64, producer_id: None, key: key.clone(), value: value.clone() };
            next.shard.load(entry);
        }
        next.log.clone_from(&self.log);
        let fx = next.shard.on_loaded(next.now);
        next.apply(fx);
        next
    }
}

fn instance(request: JoinGroupRequest, instance: &str) -> JoinGroupRequest {
    JoinGroupRequest { group_instance_id: Some(instance.to_owned()), ..request }
}

fn with_protocols(request: JoinGroupRequest, names: &[&str]) -> JoinGroupRequest {
    let protocols = names
        .iter()
        .map(|&name| JoinGroupRequestProtocol {
            name: name.to_owned(),
            metadata: subscription(&["t"]),
            ..JoinGroupRequestProtocol::default()
        })
        .collect();
    JoinGroupRequest { protocols, ..request }
}

// Joining.

#[test]
fn a_new_member_is_given_an_id_first() {
    let mut h = Harness::new();
    let id = h.member_id();
    assert!(id.starts_with("client-"), "{id}");
    assert_eq!(id.len(), "client-".len() + 36);
    assert_eq!(h.state(), ClassicGroupState::Empty);
    assert_eq!(h.group().members().count(), 0);
}

#[test]
fn before_version_4_a_new_member_is_a_member_at_once() {
    let mut h = Harness::new();
    h.api_version = 3;
    let waiter = h.send_join(h.join_request(""));
    assert!(h.is_parked(waiter));
    h.advance(3_000);
    let response = h.joined(waiter);
    assert_eq!((response.error_code, response.generation_id), (0, 1));
    assert_eq!(response.leader, response.member_id);
}

#[test]
fn an_unknown_member_of_an_unknown_group_is_rejected() {
    let mut h = Harness::new();
    let waiter = h.send_join(h.join_request("nobody"));
    let response = h.joined(waiter);
    assert_eq!(response.error_code, ErrorCode::UnknownMemberId.code());
    assert_eq!(response.member_id, "nobody");
    assert!(h.shard.group("g").is_none());
}

#[test]
fn an_unknown_member_is_rejected() {
    let mut h = Harness::new();
    h.stable_group(1);
    let waiter = h.send_join(h.join_request("nobody"));
    assert_eq!(h.joined(waiter).error_code, ErrorCode::UnknownMemberId.code());
}

#[test]
fn a_group_that_is_created_is_in_the_log_before_anything_else() {
    let mut h = Harness::new();
    h.member_id();
    assert_eq!(h.log.len(), 1);
    assert_eq!(h.log[0].0, &b"\x00\x02\x00\x01g"[..]);
    let restarted = h.restarted();
    assert_eq!(restarted.state(), ClassicGroupState::Empty);
}

#[test]
fn a_group_whose_first_record_is_not_stored_goes_again() {
    let mut h = Harness::new();
    h.api_version = 3;
    h.held = Some(Vec::new());
    let waiter = h.send_join(h.join_request(""));
    h.release(Err(ErrorCode::NotLeaderOrFollower));
    assert_eq!(h.joined(waiter).error_code, ErrorCode::NotCoordinator.code());
    assert!(h.shard.group("g").is_none());
    // Only the look for expired offsets may remain, and that was never started here.
    assert_eq!(h.shard.next_deadline(), None);
}

#[test]
fn session_timeouts_outside_the_limits_are_rejected() {
    let h = Harness::new();
    let config = h.shard.config();
    let request = h.join_request("");
    assert_eq!(validate_join_group(config, &request), Ok(()));
    let with = |ms| JoinGroupRequest { session_timeout_ms: ms, ..request.clone() };
    assert_eq!(validate_join_group(config, &with(5_999)), Err(ErrorCode::InvalidSessionTimeout));
    assert_eq!(validate_join_group(config, &with(1_800_001)), Err(ErrorCode::InvalidSessionTimeout));
    let nameless = JoinGroupRequest { group_id: String::new(), session_timeout_ms: 1, ..request };
    assert_eq!(validate_join_group(config, &nameless), Err(ErrorCode::InvalidGroupId));
}

#[test]
fn a_member_without_protocols_cannot_start_a_group() {
    let mut h = Harness::new();
    let waiter = h.send_join(with_protocols(h.join_request(""), &[]));
    assert_eq!(h.joined(waiter).error_code, ErrorCode::InconsistentGroupProtocol.code());
    let nameless = JoinGroupRequest { protocol_type: String::new(), ..h.join_request("") };
    let waiter = h.send_join(nameless);
    assert_eq!(h.joined(waiter).error_code, ErrorCode::InconsistentGroupProtocol.code());
}

#[test]
fn a_member_with_another_protocol_type_or_nothing_in_common_is_rejected() {
    let mut h = Harness::new();
    h.stable_group(1);
    let connect = JoinGroupRequest { protocol_type: "connect".to_owned(), ..h.join_request("") };
    for request in [connect, with_protocols(h.join_request(""), &["sticky"])] {
        let waiter = h.send_join(request);
        assert_eq!(h.joined(waiter).error_code, ErrorCode::InconsistentGroupProtocol.code());
    }
    assert_eq!(h.state(), ClassicGroupState::Stable);
}

#[test]
fn only_the_leader_learns_who_the_members_are() {
    let mut h = Harness::new();
    let ids = [h.member_id(), h.member_id()];
    let waiters = [h.send_join(h.join_request(&ids[0])), h.send_join(h.join_request(&ids[1]))];
    h.advance(10_000);
    let leader = h.joined(waiters[0]);
    let follower = h.joined(waiters[1]);
    assert_eq!(leader.leader, ids[0]);
    assert_eq!(leader.members.len(), 2);
    assert_eq!(leader.members[0].metadata, subscription(&["t"]));
    assert!(follower.members.is_empty());
    assert_eq!(follower.leader, ids[0]);
    assert_eq!(follower.protocol_name.as_deref(), Some("range"));
    assert_eq!(follower.protocol_type.as_deref(), Some("consumer"));
}

#[test]
fn the_protocol_most_members_prefer_is_chosen() {
    let mut h = Harness::new();
    h.api_version = 3;
    let waiters: Vec<WaiterId> = [&["range", "sticky"][..], &["sticky", "range"], &["sticky", "x", "range"]]
        .into_iter()
        .map(|names| h.send_join(with_protocols(h.join_request(""), names)))
        .collect();
    h.advance(20_000);
    for waiter in waiters {
        assert_eq!(h.joined(waiter).protocol_name.as_deref(), Some("sticky"));
    }
}

#[test]
fn a_pending_member_that_never_comes_is_forgotten() {
    let mut h = Harness::new();
    let id = h.member_id();
    h.advance(10_000);
    let waiter = h.send_join(h.join_request(&id));
    assert_eq!(h.joined(waiter).error_code, ErrorCode::UnknownMemberId.code());
}

#[test]
fn a_rebalance_waits_for_pending_members() {
    let mut h = Harness::new();
    let ids = h.stable_group(1);
    let pending = h.member_id();
    let rejoin = h.send_join(h.join_request(&ids[0]));
    assert!(h.is_parked(rejoin), "the pending member may still come");
    let joins = h.send_join(h.join_request(&pending));
    assert_eq!(h.joined(rejoin).generation_id, 2);
    assert_eq!(h.joined(joins).generation_id, 2);
}

// The initial delay.

#[test]
fn the_first_rebalance_waits_for_the_initial_delay() {
    let mut h = Harness::new();
    let id = h.member_id();
    let waiter = h.send_join(h.join_request(&id));
    h.advance(2_999);
    assert!(h.is_parked(waiter));
    h.advance(1);
    assert_eq!(h.joined(waiter).generation_id, 1);
}

#[test]
fn each_newcomer_extends_the_initial_delay() {
    let mut h = Harness::new();
    let ids = [h.member_id(), h.member_id()];
    let first = h.send_join(h.join_request(&ids[0]));
    h.advance(2_000);
    let second = h.send_join(h.join_request(&ids[1]));
    h.advance(3_999);
    assert!(h.is_parked(first) && h.is_parked(second));
    h.advance(1);
    assert_eq!(h.joined(first).generation_id, 1);
    assert_eq!(h.joined(second).generation_id, 1);
}

#[test]
fn the_initial_delay_never_exceeds_the_rebalance_timeout() {
    let mut h = Harness::with(GroupCoordinatorConfig { initial_rebalance_delay_ms: 3_000, ..GroupCoordinatorConfig::default() });
    h.api_version = 3;
    let short = |h: &Harness| JoinGroupRequest { rebalance_timeout_ms: 7_000, ..h.join_request("") };
    let mut waiters = Vec::new();
    for _ in 0..20 {
        waiters.push(h.send_join(short(&h)));
        h.advance(500);
        if !h.is_parked(waiters[0]) {
            break;
        }
    }
    assert!(!h.is_parked(waiters[0]), "newcomers kept the first member waiting for {} ms", h.now.monotonic_ms);
    assert!(h.now.monotonic_ms <= 7_500);
}

#[test]
fn without_a_delay_the_first_member_is_alone_in_its_generation() {
    let mut h = Harness::with(GroupCoordinatorConfig { initial_rebalance_delay_ms: 0, ..GroupCoordinatorConfig::default() });
    let id = h.member_id();
    let waiter = h.send_join(h.join_request(&id));
    h.advance(0);
    assert_eq!(h.joined(waiter).generation_id, 1);
}

// Rebalances.

#[test]
fn a_second_member_makes_the_group_rebalance() {
    let mut h = Harness::new();
    let ids = h.stable_group(1);
    let second = h.member_id();
    let waiter = h.send_join(h.join_request(&second));
    assert_eq!(h.state(), ClassicGroupState::PreparingRebalance);
    assert_eq!(h.heartbeat(&ids[0], 1), Err(ErrorCode::RebalanceInProgress));
    let first = h.send_join(h.join_request(&ids[0]));
    let responses = [h.joined(first), h.joined(waiter)];
    assert_eq!(responses[0].generation_id, 2);
    let after = h.sync_all(&responses);
    assert_eq!(after.len(), 2);
    assert_eq!(after[0], ids[0], "the leader stays the leader");
}

#[test]
fn who_does_not_rejoin_in_time_is_out() {
    let mut h = Harness::new();
    let ids = h.stable_group(2);
    let waiter = h.send_join(h.join_request(&ids[0]));
    for _ in 0..29 {
        // Alive, but it does not rejoin.
        h.advance(1_000);
        assert_eq!(h.heartbeat(&ids[1], 1), Err(ErrorCode::RebalanceInProgress));
    }
    assert!(h.is_parked(waiter));
    h.advance(1_000);
    assert_eq!(h.joined(waiter).generation_id, 2);
    assert_eq!(h.heartbeat(&ids[1], 2), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn a_leader_that_does_not_rejoin_is_replaced() {
    let mut h = Harness::new();
    let ids = h.stable_group(2);
    // The follower changes what it supports, which makes it rejoin.
    let waiter = h.send_join(with_protocols(h.join_request(&ids[1]), &["range", "sticky"]));
    assert_eq!(h.state(), ClassicGroupState::PreparingRebalance);
    h.advance(30_000);
    let response = h.joined(waiter);
    assert_eq!(response.leader, ids[1]);
    assert_eq!(response.members.len(), 1);
}

#[test]
fn a_leader_that_rejoins_makes_the_group_rebalance() {
    let mut h = Harness::new();
    let ids = h.stable_group(2);
    let waiter = h.send_join(h.join_request(&ids[0]));
    assert!(h.is_parked(waiter));
    assert_eq!(h.state(), ClassicGroupState::PreparingRebalance);
}

#[test]
fn a_follower_that_rejoins_unchanged_is_told_the_generation_it_is_in() {
    let mut h = Harness::new();
    let ids = h.stable_group(2);
    let waiter = h.send_join(h.join_request(&ids[1]));
    let response = h.joined(waiter);
    assert_eq!((response.generation_id, response.leader.as_str()), (1, ids[0].as_str()));
    assert!(response.members.is_empty());
    assert_eq!(h.state(), ClassicGroupState::Stable);
}

#[test]
fn a_member_that_missed_its_join_response_gets_it_again() {
    let mut h = Harness::new();
    let id = h.member_id();
    let first = h.send_join(h.join_request(&id));
    h.advance(3_000);
    h.joined(first);
    assert_eq!(h.state(), ClassicGroupState::CompletingRebalance);
    let again = h.send_join(h.join_request(&id));
    let response = h.joined(again);
    assert_eq!((response.generation_id, response.members.len()), (1, 1));
    // With other metadata it is a new rebalance.
    let changed = h.send_join(with_protocols(h.join_request(&id), &["sticky", "range"]));
    assert_eq!(h.joined(changed).generation_id, 2);
}

#[test]
fn a_join_that_is_repeated_while_it_waits_replaces_the_first() {
    let mut h = Harness::new();
    let ids = h.stable_group(2);
    let first = h.send_join(h.join_request(&ids[0]));
    let second = h.send_join(h.join_request(&ids[0]));
    assert_eq!(h.joined(first).error_code, ErrorCode::RebalanceInProgress.code());
    assert!(h.is_parked(second));
    let other = h.send_join(h.join_request(&ids[1]));
    assert_eq!(h.joined(second).generation_id, 2);
    assert_eq!(h.joined(other).generation_id, 2);
}

#[test]
fn a_new_member_whose_client_is_gone_does_not_stay_for_ever() {
    let mut h = Harness::new();
    let ids = h.stable_group(1);
    let second = h.member_id();
    let waiter = h.send_join(JoinGroupRequest { rebalance_timeout_ms: 600_000, ..h.join_request(&second) });
    for _ in 0..299 {
        h.advance(1_000);
        assert_eq!(h.heartbeat(&ids[0], 1), Err(ErrorCode::RebalanceInProgress));
    }
    assert!(h.is_parked(waiter));
    h.advance(1_000);
    assert_eq!(h.joined(waiter).error_code, ErrorCode::UnknownMemberId.code());
    assert!(!h.group().has_member(&second));
}

#[test]
fn the_group_size_is_limited() {
    let mut h = Harness::with(GroupCoordinatorConfig { max_size: 2, ..GroupCoordinatorConfig::default() });
    let ids = h.stable_group(2);
    let waiter = h.send_join(h.join_request(""));
    let response = h.joined(waiter);
    assert_eq!((response.error_code, response.member_id.as_str()), (ErrorCode::GroupMaxSizeReached.code(), ""));
    // Members may rejoin.
    let waiter = h.send_join(h.join_request(&ids[0]));
    assert!(h.is_parked(waiter));
    let waiter = h.send_join(h.join_request(&ids[1]));
    assert_eq!(h.joined(waiter).error_code, 0);
}

#[test]
fn a_loaded_group_over_its_limit_rebalances_down_to_it() {
    let mut h = Harness::new();
    let ids = h.stable_group(3);
    let config = GroupCoordinatorConfig { max_size: 2, ..GroupCoordinatorConfig::default() };
    h.shard = GroupShard::new(config, Random::new(9));
    let mut h = h.restarted();
    assert_eq!(h.state(), ClassicGroupState::PreparingRebalance);
    let waiters: Vec<WaiterId> = ids.iter().map(|id| h.send_join(h.join_request(id))).collect();
    assert_eq!(h.joined(waiters[2]).error_code, ErrorCode::GroupMaxSizeReached.code());
    // As in Kafka, a refusal does not look whether the others are complete: they wait for the deadline.
    h.advance(30_000);
    assert_eq!(h.joined(waiters[0]).error_code, 0);
    assert_eq!(h.group().members().count(), 2);
}

// Sync and heartbeat.

#[test]
fn members_wait_for_the_leaders_assignment() {
    let mut h = Harness::new();
    let ids = [h.member_id(), h.member_id()];
    let joins = [h.send_join(h.join_request(&ids[0])), h.send_join(h.join_request(&ids[1]))];
    h.advance(10_000);
    let _ = joins.map(|w| h.joined(w));
    let follower = h.send_sync(&ids[1], 1, &[]);
    assert!(h.is_parked(follower));
    assert_eq!(h.heartbeat(&ids[1], 1), Ok(()), "a member may heartbeat while it waits");
    let leader = h.send_sync(&ids[0], 1, &[(&ids[1], "all")]);
    assert_eq!(h.synced(follower).assignment, "all".as_bytes());
    let response = h.synced(leader);
    assert_eq!(response.assignment, Bytes::new(), "who is not in the assignment gets an empty one");
    assert_eq!(response.protocol_name.as_deref(), Some("range"));
}

#[test]
fn an_assignment_is_given_out_only_when_it_is_stored() {
    let mut h = Harness::new();
    let id = h.member_id();
    let join = h.send_join(h.join_request(&id));
    h.advance(3_000);
    h.joined(join);
    h.held = Some(Vec::new());
    let sync = h.send_sync(&id, 1, &[(&id, "a")]);
    assert!(h.is_parked(sync));
    assert_eq!(h.state(), ClassicGroupState::CompletingRebalance);
    h.release(Ok(()));
    assert_eq!(h.synced(sync).assignment, "a".as_bytes());
    assert_eq!(h.state(), ClassicGroupState::Stable);
}

#[test]
fn an_assignment_that_cannot_be_stored_means_a_new_rebalance() {
    let mut h = Harness::new();
    let id = h.member_id();
    let join = h.send_join(h.join_request(&id));
    h.advance(3_000);
    h.joined(join);
    h.held = Some(Vec::new());
    let sync = h.send_sync(&id, 1, &[(&id, "a")]);
    h.release(Err(ErrorCode::NotEnoughReplicas));
    let response = h.synced(sync);
    assert_eq!(response.error_code, ErrorCode::CoordinatorNotAvailable.code());
    assert_eq!(response.protocol_name, None);
    assert_eq!(h.state(), ClassicGroupState::PreparingRebalance);
}

#[test]
fn an_assignment_of_an_earlier_generation_is_not_given_out() {
    let mut h = Harness::new();
    let id = h.member_id();
    let join = h.send_join(h.join_request(&id));
    h.advance(3_000);
    h.joined(join);
    h.held = Some(Vec::new());
    let sync = h.send_sync(&id, 1, &[(&id, "a")]);
    let rejoin = h.send_join(with_protocols(h.join_request(&id), &["sticky", "range"]));
    assert_eq!(h.synced(sync).error_code, ErrorCode::RebalanceInProgress.code());
    assert_eq!(h.joined(rejoin).generation_id, 2);
    h.release(Ok(()));
    assert_eq!(h.state(), ClassicGroupState::CompletingRebalance);
    assert_eq!(h.group().member(&id).expect("a member").assignment, Bytes::new());
}

#[test]
fn sync_errors_come_in_kafkas_order() {
    let mut h = Harness::new();
    let waiter = h.send_sync("x", 1, &[]);
    assert_eq!(h.synced(waiter).error_code, ErrorCode::UnknownMemberId.code(), "no such group");
    let ids = h.stable_group(1);
    let sync = |member: &str, generation, protocol_type: &str, protocol_name: &str| SyncGroupRequest {
        group_id: "g".to_owned(),
        member_id: member.to_owned(),
        generation_id: generation,
        protocol_type: Some(protocol_type.to_owned()),
        protocol_name: Some(protocol_name.to_owned()),
        ..SyncGroupRequest::default()
    };
    for (request, error) in [
        (sync("x", 7, "y", "z"), ErrorCode::UnknownMemberId),
        (sync(&ids[0], 7, "y", "z"), ErrorCode::IllegalGeneration),
        (sync(&ids[0], 1, "y", "range"), ErrorCode::InconsistentGroupProtocol),
        (sync(&ids[0], 1, "consumer", "z"), ErrorCode::InconsistentGroupProtocol),
        (sync(&ids[0], 1, "consumer", "range"), ErrorCode::None),
    ] {
        let waiter = h.send_sync_request(request);
        assert_eq!(h.synced(waiter).error_code, error.code());
    }
}

#[test]
fn a_member_of_a_stable_group_may_fetch_its_assignment_again() {
    let mut h = Harness::new();
    let ids = h.stable_group(2);
    let waiter = h.send_sync(&ids[1], 1, &[]);
    assert_eq!(h.synced(waiter).assignment, format!("of {}", ids[1]).as_bytes());
}

#[test]
fn members_that_do_not_sync_in_time_are_out() {
    let mut h = Harness::new();
    let ids = [h.member_id(), h.member_id()];
    let joins = [h.send_join(h.join_request(&ids[0])), h.send_join(h.join_request(&ids[1]))];
    h.advance(6_000);
    let _ = joins.map(|w| h.joined(w));
    let leader = h.send_sync(&ids[0], 1, &[(&ids[0], "a"), (&ids[1], "b")]);
    assert_eq!(h.synced(leader).error_code, 0);
    for _ in 0..29 {
        h.advance(1_000);
        assert_eq!(h.heartbeat(&ids[0], 1), Ok(()));
        assert_eq!(h.heartbeat(&ids[1], 1), Ok(()));
    }
    h.advance(1_000);
    assert_eq!(h.state(), ClassicGroupState::PreparingRebalance);
    assert!(!h.group().has_member(&ids[1]));
}

#[test]
fn a_silent_member_is_removed_after_its_session() {
    let mut h = Harness::new();
    let ids = h.stable_group(2);
    h.advance(5_000);
    assert_eq!(h.heartbeat(&ids[0], 1), Ok(()));
    h.advance(5_000);
    assert!(!h.group().has_member(&ids[1]));
    assert_eq!(h.state(), ClassicGroupState::PreparingRebalance);
    assert_eq!(h.heartbeat(&ids[1], 1), Err(ErrorCode::UnknownMemberId));
    assert_eq!(h.heartbeat(&ids[0], 1), Err(ErrorCode::RebalanceInProgress));
}

#[test]
fn the_last_member_to_fail_leaves_the_group_empty() {
    let mut h = Harness::new();
    h.stable_group(1);
    h.advance(10_000);
    assert_eq!(h.state(), ClassicGroupState::Empty);
    assert_eq!(h.generation(), 2);
    assert_eq!(h.group().protocol_name(), None);
    assert_eq!(h.group().protocol_type(), Some("consumer"));
    assert_eq!(h.group().leader_id(), None);
}

#[test]
fn heartbeat_errors_come_in_kafkas_order() {
    let mut h = Harness::new();
    assert_eq!(h.heartbeat("x", 1), Err(ErrorCode::UnknownMemberId));
    let ids = h.stable_group(1);
    assert_eq!(h.heartbeat("x", 9), Err(ErrorCode::UnknownMemberId));
    assert_eq!(h.heartbeat(&ids[0], 9), Err(ErrorCode::IllegalGeneration));
    assert_eq!(h.heartbeat(&ids[0], 1), Ok(()));
}

// Leaving.

#[test]
fn a_member_that_leaves_makes_the_others_rebalance() {
    let mut h = Harness::new();
    let ids = h.stable_group(2);
    assert_eq!(h.leave(&[(&ids[0], None)]), [0]);
    assert_eq!(h.state(), ClassicGroupState::PreparingRebalance);
    assert_eq!(h.group().leader_id(), Some(ids[1].as_str()));
    let waiter = h.send_join(h.join_request(&ids[1]));
    assert_eq!(h.joined(waiter).generation_id, 2);
}

#[test]
fn the_last_member_that_leaves_empties_the_group_at_once() {
    let mut h = Harness::new();
    let ids = h.stable_group(1);
    assert_eq!(h.leave(&[(&ids[0], None)]), [0]);
    assert_eq!(h.state(), ClassicGroupState::Empty);
    let restarted = h.restarted();
    assert_eq!((restarted.state(), restarted.generation()), (ClassicGroupState::Empty, 2));
}

#[test]
fn leaving_answers_for_each_member() {
    let mut h = Harness::new();
    let unknown = ErrorCode::UnknownMemberId.code();
    assert_eq!(h.leave(&[("a", None), ("b", Some("i"))]), [unknown, unknown], "no such group");
    let ids = h.stable_group(2);
    let pending = h.member_id();
    assert_eq!(h.leave(&[(&ids[1], None), ("x", None), (&pending, None), ("", None)]), [0, unknown, 0, unknown]);
    assert_eq!(h.group().members().count(), 1);
}

#[test]
fn a_parked_join_is_answered_when_its_member_is_removed() {
    let mut h = Harness::new();
    let ids = h.stable_group(2);
    let waiter = h.send_join(h.join_request(&ids[0]));
    assert_eq!(h.leave(&[(&ids[0], None)]), [0]);
    let response = h.joined(waiter);
    assert_eq!((response.error_code, response.member_id.as_str()), (ErrorCode::UnknownMemberId.code(), ""));
}

#[test]
fn a_parked_sync_is_answered_when_its_member_is_removed() {
    let mut h = Harness::new();
    let ids = [h.member_id(), h.member_id()];
    let joins = [h.send_join(h.join_request(&ids[0])), h.send_join(h.join_request(&ids[1]))];
    h.advance(6_000);
    let _ = joins.map(|w| h.joined(w));
    let follower = h.send_sync(&ids[1], 1, &[]);
    assert_eq!(h.leave(&[(&ids[1], None)]), [0]);
    assert_eq!(h.synced(follower).error_code, ErrorCode::UnknownMemberId.code());
}

// Static members.

fn stable_static_group(h: &mut Harness) -> Vec<String> {
    let waiters = [h.send_join(instance(h.join_request(""), "i1")), h.send_join(instance(h.join_request(""), "i2"))];
    h.advance(10_000);
    let responses = waiters.map(|w| h.joined(w));
    h.sync_all(&responses)
}

#[test]
fn a_static_member_needs_no_id_first() {
    let mut h = Harness::new();
    let ids = stable_static_group(&mut h);
    assert!(ids[0].starts_with("i1-"), "{ids:?}");
}

#[test]
fn a_static_member_that_returns_keeps_its_assignment_without_a_rebalance() {
    let mut h = Harness::new();
    let ids = stable_static_group(&mut h);
    let waiter = h.send_join(instance(h.join_request(""), "i2"));
    let response = h.joined(waiter);
    assert_eq!((response.error_code, response.generation_id), (0, 1));
    assert_ne!(response.member_id, ids[1]);
    assert_eq!(response.leader, ids[0]);
    assert!(!response.skip_assignment);
    assert_eq!(h.state(), ClassicGroupState::Stable);
    let sync = h.send_sync(&response.member_id, 1, &[]);
    assert_eq!(h.synced(sync).assignment, format!("of {}", ids[1]).as_bytes());
    // The new id is in the log.
    let mut restarted = h.restarted();
    assert_eq!(restarted.heartbeat(&response.member_id, 1), Ok(()));
    assert_eq!(restarted.heartbeat(&ids[1], 1), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn a_static_leader_that_returns_is_told_to_skip_the_assignment() {
    let mut h = Harness::new();
    let ids = stable_static_group(&mut h);
    let waiter = h.send_join(instance(h.join_request(""), "i1"));
    let response = h.joined(waiter);
    assert_eq!(response.leader, response.member_id);
    assert!(response.skip_assignment);
    assert_eq!(response.members.len(), 2);
    // Older clients do not know of skipping: they are told of the leader that was.
    h.api_version = 8;
    let waiter = h.send_join(instance(h.join_request(""), "i1"));
    let older = h.joined(waiter);
    assert_eq!(older.leader, response.member_id);
    assert_ne!(older.member_id, older.leader);
    assert!(older.members.is_empty() && !older.skip_assignment);
    assert!(!h.group().has_member(&ids[0]));
}

#[test]
fn the_old_id_of_a_static_member_is_fenced() {
    let mut h = Harness::new();
    let ids = stable_static_group(&mut h);
    let waiter = h.send_join(instance(h.join_request(""), "i2"));
    h.joined(waiter);
    let heartbeat = HeartbeatRequest {
        group_id: "g".to_owned(),
        member_id: ids[1].clone(),
        generation_id: 1,
        group_instance_id: Some("i2".to_owned()),
        ..HeartbeatRequest::default()
    };
    assert_eq!(h.shard.heartbeat(h.now, &heartbeat), Err(ErrorCode::FencedInstanceId));
    let waiter = h.send_join(instance(h.join_request(&ids[1]), "i2"));
    assert_eq!(h.joined(waiter).error_code, ErrorCode::FencedInstanceId.code());
    let mut commit = h.commit_request(&ids[1], 1, "t", 0, 1);
    commit.group_instance_id = Some("i2".to_owned());
    assert_eq!(h.commit(&commit), Err(ErrorCode::FencedInstanceId));
    commit.group_instance_id = Some("i9".to_owned());
    assert_eq!(h.commit(&commit), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn a_static_member_that_waits_is_fenced_by_its_successor() {
    let mut h = Harness::new();
    let ids = stable_static_group(&mut h);
    let leader = h.send_join(instance(h.join_request(&ids[0]), "i1"));
    let successor = h.send_join(instance(h.join_request(""), "i1"));
    let fenced = h.joined(leader);
    assert_eq!((fenced.error_code, fenced.member_id.as_str()), (ErrorCode::FencedInstanceId.code(), ids[0].as_str()));
    let other = h.send_join(instance(h.join_request(&ids[1]), "i2"));
    assert_eq!(h.joined(successor).generation_id, 2);
    assert_eq!(h.joined(other).generation_id, 2);
}

#[test]
fn a_static_member_that_changes_the_protocol_makes_the_group_rebalance() {
    let mut h = Harness::new();
    let both = |h: &Harness, i| with_protocols(instance(h.join_request(""), i), &["range", "sticky"]);
    let waiters = [h.send_join(both(&h, "i1")), h.send_join(both(&h, "i2"))];
    h.advance(10_000);
    let responses = waiters.map(|w| h.joined(w));
    h.sync_all(&responses);
    let waiter = h.send_join(with_protocols(instance(h.join_request(""), "i2"), &["sticky"]));
    assert!(h.is_parked(waiter));
    assert_eq!(h.state(), ClassicGroupState::PreparingRebalance);
}

#[test]
fn a_static_member_that_returns_before_the_assignment_makes_the_group_rebalance() {
    let mut h = Harness::new();
    let waiters = [h.send_join(instance(h.join_request(""), "i1")), h.send_join(instance(h.join_request(""), "i2"))];
    h.advance(10_000);
    let responses = waiters.map(|w| h.joined(w));
    let parked = h.send_sync(&responses[1].member_id, 1, &[]);
    let waiter = h.send_join(instance(h.join_request(""), "i2"));
    assert_eq!(h.synced(parked).error_code, ErrorCode::FencedInstanceId.code());
    assert!(h.is_parked(waiter));
    assert_eq!(h.state(), ClassicGroupState::PreparingRebalance);
}

#[test]
fn a_static_members_new_id_that_is_not_stored_is_taken_back() {
    let mut h = Harness::new();
    let ids = stable_static_group(&mut h);
    h.held = Some(Vec::new());
    let waiter = h.send_join(instance(h.join_request(""), "i1"));
    h.release(Err(ErrorCode::RequestTimedOut));
    let response = h.joined(waiter);
    assert_eq!(response.error_code, ErrorCode::CoordinatorNotAvailable.code());
    assert_eq!((response.member_id.as_str(), response.leader.as_str()), ("", ids[0].as_str()));
    assert_eq!(h.heartbeat(&ids[0], 1), Ok(()));
    assert!(h.group().is_leader(&ids[0]));
}

#[test]
fn a_static_member_is_not_removed_for_being_late_in_a_rebalance() {
    let mut h = Harness::new();
    let ids = stable_static_group(&mut h);
    let long = |request| JoinGroupRequest { rebalance_timeout_ms: 5_000, ..request };
    h.heartbeat(&ids[1], 1).expect("alive");
    let dynamic = h.member_id();
    let joins = h.send_join(long(h.join_request(&dynamic)));
    for _ in 0..6 {
        h.advance(5_000);
        let _ = h.heartbeat(&ids[0], 1);
        let _ = h.heartbeat(&ids[1], 1);
    }
    let response = h.joined(joins);
    assert_eq!(response.generation_id, 2);
    assert_eq!(h.group().members().count(), 3, "the static members stay in the generation");
}

#[test]
fn an_operator_removes_a_static_member_by_its_instance_id() {
    let mut h = Harness::new();
    let ids = stable_static_group(&mut h);
    let unknown = ErrorCode::UnknownMemberId.code();
    let fenced = ErrorCode::FencedInstanceId.code();
    assert_eq!(h.leave(&[("", Some("i9")), ("wrong", Some("i1")), ("", Some("i2"))]), [unknown, fenced, 0]);
    assert!(!h.group().has_member(&ids[1]));
}

// Offsets.

#[test]
fn members_commit_and_fetch() {
    let mut h = Harness::new();
    let ids = h.stable_group(1);
    let request = h.commit_request(&ids[0], 1, "t", 0, 42);
    assert_eq!(h.commit(&request), Ok(0));
    assert_eq!(h.fetch("t", 0), 42);
    assert_eq!(h.fetch("t", 1), -1);
    assert_eq!(h.restarted().fetch("t", 0), 42);
}

#[test]
fn a_commit_renews_the_session() {
    let mut h = Harness::new();
    let ids = h.stable_group(1);
    for _ in 0..4 {
        h.advance(6_000);
        let request = h.commit_request(&ids[0], 1, "t", 0, 1);
        assert_eq!(h.commit(&request), Ok(0));
    }
    assert_eq!(h.state(), ClassicGroupState::Stable);
}

#[test]
fn commit_errors_come_in_kafkas_order() {
    let mut h = Harness::new();
    let request = h.commit_request("x", 3, "t", 0, 1);
    assert_eq!(h.commit(&request), Err(ErrorCode::GroupIdNotFound));
    h.api_version = 8;
    assert_eq!(h.commit(&request), Err(ErrorCode::IllegalGeneration));
    h.api_version = 9;
    let ids = h.stable_group(2);
    assert_eq!(h.commit(&request), Err(ErrorCode::UnknownMemberId));
    let request = h.commit_request(&ids[0], 3, "t", 0, 1);
    assert_eq!(h.commit(&request), Err(ErrorCode::IllegalGeneration));
    let request = h.commit_request("", -1, "t", 0, 1);
    assert_eq!(h.commit(&request), Err(ErrorCode::UnknownMemberId), "an outsider, while there are members");
    // While the group gathers, members may commit what they have done so far.
    let join = h.send_join(h.join_request(&ids[0]));
    let request = h.commit_request(&ids[1], 1, "t", 0, 1);
    assert_eq!(h.commit(&request), Ok(0));
    let other = h.send_join(h.join_request(&ids[1]));
    h.joined(join);
    h.joined(other);
    let request = h.commit_request(&ids[1], 2, "t", 0, 1);
    assert_eq!(h.commit(&request), Err(ErrorCode::RebalanceInProgress));
}

#[test]
fn a_simple_consumers_commit_makes_a_group_without_protocol() {
    let mut h = Harness::new();
    let request = h.commit_request("", -1, "t", 0, 5);
    assert_eq!(h.commit(&request), Ok(0));
    assert_eq!(h.fetch("t", 0), 5);
    assert_eq!(h.state(), ClassicGroupState::Empty);
    assert_eq!(h.shard.list_groups(&[], &[])[0].protocol_type, "");
    assert_eq!(h.log.len(), 1, "such a group has no record of its own");
    assert_eq!(h.restarted().fetch("t", 0), 5);
}

#[test]
fn an_empty_group_takes_commits_from_anybody() {
    let mut h = Harness::new();
    let ids = h.stable_group(1);
    h.leave(&[(&ids[0], None)]);
    let request = h.commit_request("", -1, "t", 0, 5);
    assert_eq!(h.commit(&request), Ok(0));
    let request = h.commit_request(&ids[0], 1, "t", 0, 5);
    assert_eq!(h.commit(&request), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn metadata_that_is_too_long_is_refused_for_its_partition_only() {
    let mut h = Harness::new();
    let mut request = h.commit_request("", -1, "t", 0, 5);
    // Java counts UTF-16 units: these are 2 bytes each in UTF-8, and one unit.
    request.topics[0].partitions[0].committed_metadata = Some("é".repeat(4096));
    let mut second = request.topics[0].partitions[0].clone();
    second.partition_index = 1;
    second.committed_metadata = Some("x".repeat(4097));
    request.topics[0].partitions.push(second);
    let (response, fx) = h.shard.commit_offsets(h.now, &h.client(), &request).expect("accepted");
    h.apply(fx);
    let codes: Vec<i16> = response.topics[0].partitions.iter().map(|p| p.error_code).collect();
    assert_eq!(codes, [0, ErrorCode::OffsetMetadataTooLarge.code()]);
    assert_eq!((h.fetch("t", 0), h.fetch("t", 1)), (5, -1));
}

#[test]
fn offsets_of_a_topic_that_was_created_anew_are_not_found() {
    let mut h = Harness::new();
    let request = h.commit_request("", -1, "t", 0, 5);
    h.commit(&request).expect("accepted");
    assert_eq!(h.fetch_by_id("t", Uuid::from_u128(78), 0), -1);
    assert_eq!(h.fetch_by_id("t", Uuid::ZERO, 0), 5);
    let fx = h.shard.on_topics_deleted(&[("t".to_owned(), Uuid::from_u128(78))]);
    assert!(fx.records.is_empty());
    let fx = h.shard.on_topics_deleted(&[("t".to_owned(), TOPIC_ID)]);
    h.apply(fx);
    assert_eq!(h.fetch_by_id("t", Uuid::ZERO, 0), -1);
}

#[test]
fn all_offsets_of_a_group_are_fetched_without_naming_topics() {
    let mut h = Harness::new();
    for (topic, partition) in [("b", 1), ("a", 0), ("b", 0)] {
        let request = h.commit_request("", -1, topic, partition, 5);
        h.commit(&request).expect("accepted");
    }
    let all = OffsetFetchRequestGroup { group_id: "g".to_owned(), topics: None, ..OffsetFetchRequestGroup::default() };
    let response = h.shard.fetch_offsets(&all, false);
    let found: Vec<(&str, usize)> = response.topics.iter().map(|t| (t.name.as_str(), t.partitions.len())).collect();
    assert_eq!(found, [("a", 1), ("b", 2)]);
    let none = OffsetFetchRequestGroup { group_id: "other".to_owned(), ..all };
    assert!(h.shard.fetch_offsets(&none, false).topics.is_empty());
}

#[test]
fn offsets_of_an_open_transaction_are_unstable_until_it_ends() {
    let commit = |offset| {
        let offset = OffsetAndMetadata {
            record_offset: -1,
            committed_offset: offset,
            leader_epoch: -1,
            metadata: String::new(),
            commit_timestamp_ms: 1,
            expire_timestamp_ms: None,
            topic_id: TOPIC_ID,
        };
        records::offset_commit_record("g", "t", 0, &offset)
    };
    let request = OffsetFetchRequestGroup { group_id: "g".to_owned(), topics: None, ..OffsetFetchRequestGroup::default() };
    let fetched = |h: &Harness, stable: bool| {
        let partition = h.shard.fetch_offsets(&request, stable).topics[0].partitions[0].clone();
        (partition.error_code, partition.committed_offset)
    };
    let mut h = Harness::new();
    h.shard.replay_record(0, None, commit(1));
    h.shard.replay_record(1, Some(7), commit(2));
    assert_eq!(fetched(&h, false), (0, 1));
    assert_eq!(fetched(&h, true), (ErrorCode::UnstableOffsetCommit.code(), -1));
    h.shard.replay_end_transaction(7, true);
    assert_eq!(fetched(&h, true), (0, 2));
    // Aborted, and overtaken.
    h.shard.replay_record(2, Some(7), commit(3));
    h.shard.replay_end_transaction(7, false);
    assert_eq!(fetched(&h, true), (0, 2));
    h.shard.replay_record(3, Some(8), commit(4));
    h.shard.replay_record(4, None, commit(5));
    h.shard.replay_end_transaction(8, true);
    assert_eq!(fetched(&h, true), (0, 5), "the later record wins");
    // A tombstone takes open commits along.
    h.shard.replay_record(5, Some(9), commit(6));
    h.shard.replay_record(6, None, records::offset_commit_tombstone("g", "t", 0));
    h.shard.replay_end_transaction(9, true);
    assert!(!h.shard.offsets().has_any("g"));
    assert_eq!(*h.shard.offsets(), Offsets::default());
}

#[test]
fn offsets_of_subscribed_topics_are_not_deleted() {
    let mut h = Harness::new();
    assert_eq!(h.delete_offset("t"), Err(ErrorCode::GroupIdNotFound));
    let request = h.commit_request("", -1, "t", 0, 5);
    h.commit(&request).expect("accepted");
    let request = h.commit_request("", -1, "u", 0, 5);
    h.commit(&request).expect("accepted");
    let ids = h.stable_group(1);
    assert_eq!(h.delete_offset("t"), Ok(ErrorCode::GroupSubscribedToTopic.code()));
    assert_eq!(h.delete_offset("u"), Ok(0));
    assert_eq!((h.fetch("t", 0), h.fetch("u", 0)), (5, -1));
    h.leave(&[(&ids[0], None)]);
    assert_eq!(h.delete_offset("t"), Ok(0));
    assert_eq!(h.fetch("t", 0), -1);
    assert_eq!(h.delete_offset("never"), Ok(0));
}

#[test]
fn offsets_of_a_live_group_of_another_kind_are_not_deleted() {
    let mut h = Harness::new();
    h.api_version = 3;
    let waiter = h.send_join(JoinGroupRequest { protocol_type: "connect".to_owned(), ..h.join_request("") });
    h.advance(3_000);
    h.joined(waiter);
    assert_eq!(h.delete_offset("t"), Err(ErrorCode::NonEmptyGroup));
}

// Expiry.

const WEEK: u64 = 7 * 24 * 60 * 60 * 1000;

#[test]
fn offsets_of_a_simple_group_expire_a_week_after_their_commit() {
    let mut h = Harness::new().restarted();
    let request = h.commit_request("", -1, "t", 0, 5);
    h.commit(&request).expect("accepted");
    h.advance(WEEK / 2);
    let request = h.commit_request("", -1, "u", 0, 5);
    h.commit(&request).expect("accepted");
    h.advance(WEEK / 2 + 600_000);
    assert_eq!((h.fetch("t", 0), h.fetch("u", 0)), (-1, 5));
    h.advance(WEEK / 2 + 600_000);
    assert!(h.shard.group("g").is_none(), "a group without offsets or members goes");
    assert!(h.restarted().shard.group("g").is_none());
}

#[test]
fn offsets_of_an_empty_group_expire_a_week_after_the_last_member_left() {
    let mut h = Harness::new().restarted();
    let ids = h.stable_group(1);
    let request = h.commit_request(&ids[0], 1, "t", 0, 5);
    h.commit(&request).expect("accepted");
    for _ in 0..(WEEK / 9_000 + 100) {
        h.advance(9_000);
        h.heartbeat(&ids[0], 1).expect("alive");
    }
    assert_eq!(h.fetch("t", 0), 5, "the topic is being read");
    h.leave(&[(&ids[0], None)]);
    h.advance(WEEK - 1_000);
    assert_eq!(h.fetch("t", 0), 5);
    h.advance(600_000 + 1_000);
    assert!(h.shard.group("g").is_none());
}

#[test]
fn topics_a_stable_group_no_longer_reads_expire() {
    let mut h = Harness::new().restarted();
    let request = h.commit_request("", -1, "old", 0, 5);
    h.commit(&request).expect("accepted");
    let ids = h.stable_group(1);
    for _ in 0..(WEEK / 9_000 + 100) {
        h.advance(9_000);
        h.heartbeat(&ids[0], 1).expect("alive");
    }
    assert_eq!(h.fetch("old", 0), -1);
}

#[test]
fn a_commit_with_a_retention_of_its_own_keeps_to_it() {
    let mut h = Harness::new().restarted();
    let mut request = h.commit_request("", -1, "t", 0, 5);
    request.retention_time_ms = 1_000;
    h.commit(&request).expect("accepted");
    assert_eq!(&h.log[0].1.as_ref().expect("a value")[..2], b"\x00\x01", "only version 1 has a time of expiry");
    h.advance(600_000);
    assert_eq!(h.fetch("t", 0), -1);
}

// Tools.

#[test]
fn groups_are_described_by_state() {
    let mut h = Harness::new();
    let dead = h.shard.describe_group("g", 5);
    assert_eq!((dead.group_state.as_str(), dead.error_code), ("Dead", 0));
    let dead = h.shard.describe_group("g", 6);
    assert_eq!(dead.error_code, ErrorCode::GroupIdNotFound.code());
    assert_eq!(dead.error_message.as_deref(), Some("Group g not found."));
    let ids = h.stable_group(1);
    let stable = h.shard.describe_group("g", 6);
    assert_eq!((stable.group_state.as_str(), stable.protocol_data.as_str()), ("Stable", "range"));
    let member = &stable.members[0];
    assert_eq!((member.client_id.as_str(), member.client_host.as_str()), ("client", "/127.0.0.1"));
    assert_eq!((member.member_metadata.clone(), member.member_assignment.clone()), (subscription(&["t"]), format!("of {}", ids[0]).into()));
    let pending = h.member_id();
    h.send_join(h.join_request(&pending));
    let rebalancing = h.shard.describe_group("g", 6);
    assert_eq!((rebalancing.group_state.as_str(), rebalancing.protocol_data.as_str()), ("PreparingRebalance", ""));
    assert!(rebalancing.members.iter().all(|m| m.member_metadata.is_empty()));
}

#[test]
fn groups_are_listed_by_state_and_type() {
    let mut h = Harness::new();
    h.stable_group(1);
    let request = OffsetCommitRequest { group_id: "simple".to_owned(), ..h.commit_request("", -1, "t", 0, 1) };
    h.commit(&request).expect("accepted");
    let list = |states: &[&str], types: &[&str]| -> Vec<String> {
        let owned = |list: &[&str]| list.iter().map(|&s| s.to_owned()).collect::<Vec<_>>();
        h.shard.list_groups(&owned(states), &owned(types)).into_iter().map(|g| g.group_id).collect()
    };
    assert_eq!(list(&[], &[]), ["g", "simple"]);
    assert_eq!(list(&["STABLE"], &[]), ["g"]);
    assert_eq!(list(&[" empty "], &["classic"]), ["simple"]);
    assert_eq!(list(&["Dead", "CompletingRebalance"], &[]), [""; 0]);
    assert_eq!(list(&[], &["consumer"]), [""; 0]);
}

#[test]
fn only_groups_without_members_are_deleted() {
    let mut h = Harness::new();
    let ids = h.stable_group(1);
    let request = h.commit_request(&ids[0], 1, "t", 0, 5);
    h.commit(&request).expect("accepted");
    let delete = |h: &mut Harness| -> Vec<i16> {
        let (results, fx) = h.shard.delete_groups(&["g".to_owned(), "none".to_owned()]);
        h.apply(fx);
        results.iter().map(|r| r.error_code).collect()
    };
    let none = ErrorCode::GroupIdNotFound.code();
    assert_eq!(delete(&mut h), [ErrorCode::NonEmptyGroup.code(), none]);
    h.leave(&[(&ids[0], None)]);
    assert_eq!(delete(&mut h), [0, none]);
    assert!(h.shard.group("g").is_none());
    assert_eq!(h.fetch("t", 0), -1);
    let restarted = h.restarted();
    assert_eq!(restarted.shard.groups().count(), 0);
    assert_eq!(restarted.fetch("t", 0), -1);
}

// Restart.

#[test]
fn a_stable_group_survives_a_restart() {
    let mut h = Harness::new();
    let ids = h.stable_group(3);
    let mut restarted = h.restarted();
    assert_eq!((restarted.state(), restarted.generation()), (ClassicGroupState::Stable, 1));
    assert!(restarted.group().is_leader(&ids[0]));
    assert!(restarted.group().is_subscribed_to_topic("t"));
    assert!(!restarted.group().is_subscribed_to_topic("u"));
    for id in &ids {
        assert_eq!(restarted.heartbeat(id, 1), Ok(()));
        let sync = restarted.send_sync(id, 1, &[]);
        assert_eq!(restarted.synced(sync).assignment, format!("of {id}").as_bytes());
    }
    // And its members have to show themselves.
    restarted.advance(10_000);
    assert_eq!(restarted.state(), ClassicGroupState::Empty);
}

#[test]
fn everyone_who_waits_is_told_when_the_partition_moves() {
    let mut h = Harness::new();
    let ids = h.stable_group(2);
    let join = h.send_join(h.join_request(&ids[0]));
    let fx = h.shard.on_unloaded(h.now);
    h.apply(fx);
    assert_eq!(h.joined(join).error_code, ErrorCode::NotCoordinator.code());
    assert_eq!(h.shard.next_deadline(), None);
}

// Bytes.

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[test]
fn records_are_byte_for_byte_kafkas() {
    // Both from a directory that Apache Kafka wrote.
    let offset = OffsetAndMetadata {
        record_offset: -1,
        committed_offset: 0,
        leader_epoch: -1,
        metadata: String::new(),
        commit_timestamp_ms: 0x01a2_05af_4e96,
        expire_timestamp_ms: None,
        topic_id: Uuid::ZERO,
    };
    let (key, value) = records::offset_commit_record("x", "test2", 1, &offset).encode().expect("writable");
    assert_eq!(hex(&key), "00010001780005746573743200000001");
    assert_eq!(hex(&value.expect("a value")), "00040000000000000000ffffffff01000001a205af4e9600");
    let (key, value) = records::empty_group_metadata_record("x", Some(0x01a2_05af_3ac2)).encode().expect("writable");
    assert_eq!(hex(&key), "0002000178");
    assert_eq!(hex(&value.expect("a value")), "0003000000000000ffffffff000001a205af3ac200000000");
}

#[test]
fn a_group_that_kafka_wrote_is_read_and_written_back_the_same() {
    // A dynamic member, alone in generation 2 with an empty assignment, and an offset with its topic's id.
    let member = "636c2d32346133356262322d383764392d343563302d393662392d623337343061336338313033";
    let group = format!(
        "00030008636f6e73756d657200000002000572616e67650027{member}000001a20818939d000000010027{member}\
         ffff0002636c000a2f3132372e302e302e3100002710000027100000000d000000000001000174ffffffff00000000"
    );
    let offset = "0004000000000000000bffffffff0278000001a2081891a3010010c8af7e93931d417a8882334ab1678169";
    let mut h = Harness::new();
    for (key, value) in [("0002000167", group.as_str()), ("000100016700017400000000", offset)] {
        let (key, value) = (unhex(key), unhex(value));
        let record = GroupRecord::decode(key.clone(), Some(value.clone())).expect("readable").expect("of a known type");
        assert_eq!(record.encode(), Ok((key.clone(), Some(value.clone()))));
        h.shard.load(LogEntry::Record { offset: 3, producer_id: None, key, value: Some(value) });
    }
    let group = h.group();
    assert_eq!((group.state(), group.generation_id(), group.protocol_name()), (ClassicGroupState::Stable, 2, Some("range")));
    let member = group.members().next().expect("a member");
    assert_eq!(member.member_id, "cl-24a35bb2-87d9-45c0-96b9-b3740a3c8103");
    assert_eq!((member.client_id.as_str(), member.client_host.as_str()), ("cl", "/127.0.0.1"));
    assert_eq!((member.rebalance_timeout_ms, member.session_timeout_ms), (10_000, 10_000));
    assert!(group.is_leader(&member.member_id) && group.is_subscribed_to_topic("t"));
    let rewritten = records::group_metadata_record(group, |m| m.assignment.clone()).encode().expect("writable");
    assert!(hex(&rewritten.1.expect("a value")).starts_with("00030008636f6e73756d657200000002000572616e6765"));
    assert_eq!(h.fetch_by_id("t", Uuid::ZERO, 0), 11);
}

#[test]
fn records_of_other_kinds_and_of_old_versions_are_read() {
    // Type 3: a group of the consumer protocol, which this shard does not keep.
    assert_eq!(GroupRecord::decode(Bytes::from_static(b"\x00\x03\x00\x01g"), None), Ok(None));
    // Type 0, the offsets of Kafka 0.8.
    let key = Bytes::from_static(b"\x00\x00\x00\x01g\x00\x01t\x00\x00\x00\x02");
    let value = Bytes::from_static(b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x09\x00\x01m\x00\x00\x00\x00\x00\x00\x00\x05");
    let mut h = Harness::new();
    h.shard.load(LogEntry::Record { offset: 0, producer_id: None, key, value: Some(value) });
    assert_eq!(h.fetch_by_id("t", Uuid::ZERO, 2), 9);
    // Whatever else stands there is skipped.
    for key in [&b""[..], b"\x00", b"\x00\x01", b"\x00\x02\xff\xff"] {
        h.shard.load(LogEntry::Record { offset: 0, producer_id: None, key: Bytes::copy_from_slice(key), value: None });
    }
}
