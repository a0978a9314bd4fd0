//! Commits, fetches, deletions and expiry of offsets.

use super::*;

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
    let (response, effects) = h.shard.commit_offsets(h.now, &h.client(), &request).expect("accepted");
    h.apply(effects);
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
    let effects = h.shard.on_topics_deleted(&[("t".to_owned(), Uuid::from_u128(78))]);
    assert!(effects.records.is_empty());
    let effects = h.shard.on_topics_deleted(&[("t".to_owned(), TOPIC_ID)]);
    h.apply(effects);
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
        super::super::records::offset_commit_record("g", "t", 0, &offset)
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
    h.shard.replay_record(6, None, super::super::records::offset_commit_tombstone("g", "t", 0));
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
