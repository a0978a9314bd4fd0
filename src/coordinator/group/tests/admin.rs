//! What tools ask of groups, and what groups are after a restart.

use super::*;

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
        let (results, effects) = h.shard.delete_groups(&["g".to_owned(), "none".to_owned()]);
        h.apply(effects);
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
    let effects = h.shard.on_unloaded(h.now);
    h.apply(effects);
    assert_eq!(h.joined(join).error_code, ErrorCode::NotCoordinator.code());
    assert_eq!(h.shard.next_deadline(), None);
}
