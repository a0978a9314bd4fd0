//! Joining, rebalancing, syncing, heartbeats and leaving, request by request.

use super::*;

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
    h.shard = GroupShard::new(config, Arc::default(), Random::new(9));
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
