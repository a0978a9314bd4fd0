//! Groups that change their protocol while members live: classic to consumer and back.

use super::*;
use crate::coordinator::group::config::MigrationPolicy;
use crate::coordinator::group::{ClassicGroupState, GroupType};
use crate::protocol::messages::leave_group_request::MemberIdentity;
use crate::protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use crate::protocol::messages::{ConsumerProtocolAssignment, HeartbeatRequest, LeaveGroupRequest, SyncGroupRequest, SyncGroupResponse};

impl Harness {
    fn answered_join(&mut self, waiter: WaiterId) -> JoinGroupResponse {
        match self.answers.remove(&waiter) {
            Some(ParkedResponse::Join(response)) => response,
            other => panic!("a JoinGroup response wanted, got {other:?}"),
        }
    }

    fn sync_classic(&mut self, member_id: &str, generation_id: i32, assignments: Vec<(&str, Bytes)>) -> SyncGroupResponse {
        let waiter = self.waiter();
        let assignment = |(member_id, assignment): (&str, Bytes)| SyncGroupRequestAssignment {
            member_id: member_id.to_owned(),
            assignment,
            ..SyncGroupRequestAssignment::default()
        };
        let request = SyncGroupRequest {
            group_id: "g".to_owned(),
            member_id: member_id.to_owned(),
            generation_id,
            protocol_type: Some(CONSUMER_PROTOCOL_TYPE.to_owned()),
            protocol_name: Some("range".to_owned()),
            assignments: assignments.into_iter().map(assignment).collect(),
            ..SyncGroupRequest::default()
        };
        let effects = self.shard.sync_group(self.now, request, waiter);
        self.apply(effects);
        match self.answers.remove(&waiter) {
            Some(ParkedResponse::Sync(response)) => response,
            other => panic!("a SyncGroup response wanted, got {other:?}"),
        }
    }

    fn beat_classic(&mut self, member_id: &str, generation_id: i32) -> ErrorCode {
        let request = HeartbeatRequest { group_id: "g".to_owned(), member_id: member_id.to_owned(), generation_id, ..Default::default() };
        self.shard.heartbeat(self.now, &request).err().unwrap_or(ErrorCode::None)
    }

    /// A classic group of one member, with all of `foo`: its id.
    fn classic_member(&mut self) -> String {
        let waiter = self.send_join(classic_join("", &["foo"]));
        let id = self.answered_join(waiter).member_id;
        let waiter = self.send_join(classic_join(&id, &["foo"]));
        self.advance(3_000);
        let joined = self.answered_join(waiter);
        assert_eq!(joined.error_code, 0);
        let response = self.sync_classic(&id, joined.generation_id, vec![(&id, foo_assignment(&[0, 1, 2, 3, 4, 5]))]);
        assert_eq!(response.error_code, 0);
        id
    }

    fn group_type(&self) -> GroupType {
        self.shard.group("g").expect("a group").group_type()
    }
}

fn foo_assignment(partitions: &[i32]) -> Bytes {
    let topic = crate::protocol::messages::consumer_protocol_assignment::TopicPartition {
        topic: "foo".to_owned(),
        partitions: partitions.to_vec(),
        ..Default::default()
    };
    subscription::encode_assignment(&ConsumerProtocolAssignment { assigned_partitions: vec![topic], ..Default::default() }, 1)
}

fn partitions_of(assignment: &Bytes) -> Vec<i32> {
    let mut topics = subscription::assignment(assignment).expect("an assignment").assigned_partitions;
    topics.pop().map(|topic| topic.partitions).unwrap_or_default()
}

#[test]
fn a_classic_group_becomes_a_consumer_group_with_its_first_new_member() {
    let mut h = harness();
    let old = h.classic_member();
    let epoch = h.shard.classic_group("g").expect("a classic group").generation_id();
    let new_epoch = h.beat_ok(joining("new", &["foo"])).member_epoch;
    assert_eq!(h.group_type(), GroupType::Consumer);
    assert_eq!((h.consumer_group().common().group_epoch(), new_epoch), (epoch + 1, epoch + 1));
    let member = h.consumer_group().member(&old).expect("it is still there");
    assert!(member.uses_classic_protocol());
    assert_eq!(h.restarted().consumer_group().members().count(), 2);

    // The old member is led to its part by the means it knows.
    assert_eq!(h.beat_classic(&old, epoch), ErrorCode::RebalanceInProgress);
    let waiter = h.send_join(classic_join(&old, &["foo"]));
    let joined = h.answered_join(waiter);
    assert_eq!((joined.error_code, joined.leader.as_str(), joined.protocol_name.as_deref()), (0, "", Some("range")));
    let synced = h.sync_classic(&old, joined.generation_id, Vec::new());
    assert_eq!(partitions_of(&synced.assignment).len(), 3);
    assert_eq!(h.beat_classic(&old, joined.generation_id), ErrorCode::None);
    let new = h.beat_ok(alive("new", new_epoch, &TopicPartitions::new()));
    assert_eq!(count(&assigned(new.assignment.expect("an assignment"))), 3);
    assert_eq!(h.consumer_group().state(), ConsumerGroupState::Stable);
}

#[test]
fn a_join_that_waits_is_answered_when_the_group_becomes_a_consumer_group() {
    let mut h = harness();
    let old = h.classic_member();
    let second = h.send_join(classic_join("", &["foo"]));
    let second = h.answered_join(second).member_id;
    let waiter = h.send_join(classic_join(&second, &["foo"]));
    assert!(!h.answers.contains_key(&waiter));
    h.beat_ok(joining("new", &["foo"]));
    assert_eq!(ErrorCode::from_code(h.answered_join(waiter).error_code), ErrorCode::RebalanceInProgress);
    assert!(h.consumer_group().member(&old).is_some());
}

#[test]
fn a_consumer_group_becomes_classic_when_its_last_new_member_leaves() {
    let mut h = harness();
    let old = h.classic_member();
    h.beat_ok(joining("new", &["foo"]));
    h.beat_ok(leaving("new", -1));
    assert_eq!(h.group_type(), GroupType::Classic);
    let group = h.shard.classic_group("g").expect("a classic group");
    assert_eq!(group.state(), ClassicGroupState::PreparingRebalance);
    assert!(group.has_member(&old) && group.is_leader(&old));
    let waiter = h.send_join(classic_join(&old, &["foo"]));
    assert_eq!(h.answered_join(waiter).error_code, 0);
    let restarted = h.restarted();
    assert_eq!(restarted.group_type(), GroupType::Classic);
    assert!(restarted.shard.classic_group("g").expect("a classic group").has_member(&old));
}

#[test]
fn the_session_of_the_last_new_member_ends_the_consumer_group_too() {
    let mut h = harness();
    let old = h.classic_member();
    h.beat_ok(joining("new", &["foo"]));
    let waiter = h.send_join(classic_join(&old, &["foo"]));
    let generation_id = h.answered_join(waiter).generation_id;
    assert_eq!(h.sync_classic(&old, generation_id, Vec::new()).error_code, 0);
    for _ in 0..11 {
        h.advance(4_000);
        assert_eq!(h.beat_classic(&old, generation_id), ErrorCode::None);
    }
    h.advance(1_000);
    assert_eq!(h.group_type(), GroupType::Classic);
}

#[test]
fn the_policy_decides_on_migration() {
    for (policy, upgrades) in [(MigrationPolicy::Disabled, false), (MigrationPolicy::Downgrade, false), (MigrationPolicy::Upgrade, true)] {
        let mut h = harness_with(GroupCoordinatorConfig { consumer_migration_policy: policy, ..GroupCoordinatorConfig::default() });
        h.classic_member();
        let response = h.beat(joining("new", &["foo"]));
        let expected = if upgrades { ErrorCode::None } else { ErrorCode::GroupIdNotFound };
        assert_eq!(ErrorCode::from_code(response.error_code), expected, "{policy:?}");
        if upgrades {
            h.beat_ok(leaving("new", -1));
            assert_eq!(h.group_type(), GroupType::Consumer, "it may not go back");
        }
    }
}

#[test]
fn an_empty_group_changes_its_protocol_whatever_the_policy() {
    let config = GroupCoordinatorConfig { consumer_migration_policy: MigrationPolicy::Disabled, ..GroupCoordinatorConfig::default() };
    let mut h = harness_with(config);
    assert_eq!(h.commit(&h.commit_request("", -1, "foo", 0, 7)), Ok(0));
    assert_eq!(h.group_type(), GroupType::Classic);
    h.beat_ok(joining("new", &["foo"]));
    assert_eq!(h.group_type(), GroupType::Consumer);
    assert_eq!(h.shard.offsets().get("g", "foo", 0).map(|offset| offset.committed_offset), Some(7), "offsets stay");
    h.beat_ok(leaving("new", -1));
    h.classic_member();
    assert_eq!(h.group_type(), GroupType::Classic);
    let restarted = h.restarted();
    assert_eq!(restarted.group_type(), GroupType::Classic);
    assert_eq!(restarted.shard.offsets().get("g", "foo", 0).map(|offset| offset.committed_offset), Some(7));
}

#[test]
fn a_classic_member_of_a_consumer_group_has_to_be_quick() {
    let mut h = harness();
    h.beat_ok(joining("new", &["foo"]));
    let waiter = h.send_join(classic_join("", &["foo"]));
    let id = h.answered_join(waiter).member_id;
    let waiter = h.send_join(classic_join(&id, &["foo"]));
    assert_eq!(h.answered_join(waiter).error_code, 0);
    h.advance(10_000);
    assert!(h.consumer_group().member(&id).is_none(), "its own session timeout is ten seconds");
}

#[test]
fn classic_members_are_told_what_is_wrong_with_their_requests() {
    let mut h = harness();
    h.beat_ok(joining("new", &["foo"]));
    assert_eq!(h.beat_classic("new", 2), ErrorCode::UnknownMemberId, "it is not a classic member");
    assert_eq!(h.beat_classic("nobody", 2), ErrorCode::UnknownMemberId);
    let waiter = h.send_join(classic_join("", &["foo"]));
    let id = h.answered_join(waiter).member_id;
    let waiter = h.send_join(JoinGroupRequest { protocol_type: "connect".to_owned(), ..classic_join(&id, &["foo"]) });
    assert_eq!(ErrorCode::from_code(h.answered_join(waiter).error_code), ErrorCode::InconsistentGroupProtocol);
    let waiter = h.send_join(classic_join(&id, &["foo"]));
    let joined = h.answered_join(waiter);
    assert_eq!(h.beat_classic(&id, joined.generation_id + 1), ErrorCode::IllegalGeneration);
    assert_eq!(ErrorCode::from_code(h.sync_classic(&id, 99, Vec::new()).error_code), ErrorCode::IllegalGeneration);
    let mut request = LeaveGroupRequest { group_id: "g".to_owned(), ..LeaveGroupRequest::default() };
    for member_id in ["nobody", &id] {
        request.members.push(MemberIdentity { member_id: member_id.to_owned(), ..MemberIdentity::default() });
    }
    let (response, effects) = h.shard.leave_group(h.now, &request);
    h.apply(effects);
    let errors: Vec<ErrorCode> = response.members.iter().map(|member| ErrorCode::from_code(member.error_code)).collect();
    assert_eq!(errors, [ErrorCode::UnknownMemberId, ErrorCode::None]);
    assert_eq!(h.consumer_group().members().count(), 1);
}

#[test]
fn a_classic_member_in_the_place_of_the_last_new_one_ends_the_consumer_group() {
    let mut h = harness();
    h.beat_ok(with_instance(joining("new", &["foo"]), "i"));
    let waiter = h.send_join(JoinGroupRequest { group_instance_id: Some("i".to_owned()), ..classic_join("", &["foo"]) });
    let joined = h.answered_join(waiter);
    assert_eq!(joined.error_code, 0);
    assert_eq!(h.group_type(), GroupType::Classic);
    let synced = h.sync_classic(&joined.member_id, joined.generation_id, Vec::new());
    assert_eq!((synced.error_code, partitions_of(&synced.assignment).len()), (0, 6), "it has the other's partitions");
}

#[test]
fn a_classic_member_that_joins_may_have_the_expressions_of_others_resolved_again() {
    let mut h = harness();
    let expression =
        ConsumerGroupHeartbeatRequest { subscribed_topic_names: None, subscribed_topic_regex: Some("fo.".to_owned()), ..joining("a", &[]) };
    h.beat_ok(expression);
    let waiter = h.send_join(classic_join("", &["bar"]));
    let id = h.answered_join(waiter).member_id;
    h.advance(11_000);
    h.set_topics(2, &[("foo", FOO, 6), ("bar", BAR, 3), ("fox", Uuid::from_u128(0xf0), 1)]);
    let waiter = h.send_join(classic_join(&id, &["bar"]));
    assert_eq!(h.answered_join(waiter).error_code, 0);
    let resolution = h.shard.take_regex_resolution().expect("there is a new topic");
    assert!(resolve_regexes(&resolution)["fo."].topics.contains("fox"));
}
