//! Members with a `group.instance.id` (KIP-345, KIP-814).

use super::*;

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
fn a_static_members_new_id_that_a_rebalance_has_told_of_stays() {
    let mut h = Harness::new();
    let ids = stable_static_group(&mut h);
    let dynamic = h.member_id();
    h.held = Some(Vec::new());
    let returns = h.send_join(instance(h.join_request(""), "i1"));
    let others = [h.send_join(h.join_request(&dynamic)), h.send_join(instance(h.join_request(&ids[1]), "i2"))];
    let response = h.joined(returns);
    assert_eq!((response.error_code, response.generation_id), (0, 2));
    h.release(Err(ErrorCode::RequestTimedOut));
    assert!(h.group().has_member(&response.member_id) && !h.group().has_member(&ids[0]));
    assert_eq!(others.map(|other| h.joined(other).generation_id), [2, 2]);
    assert!(h.answers.is_empty(), "{:?}", h.answers);
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
