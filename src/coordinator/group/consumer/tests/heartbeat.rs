//! Heartbeats of a consumer group: joining, reconciliation, fencing, static members, regular expressions.

use super::*;
use crate::coordinator::group::GroupRecord;
use crate::coordinator::group::modern::MemberState;
use crate::coordinator::group::validate_consumer_group_heartbeat;
use crate::metadata::delta::MetadataDelta;
use crate::protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};

fn error(response: &ConsumerGroupHeartbeatResponse) -> ErrorCode {
    ErrorCode::from_code(response.error_code)
}

#[test]
fn the_first_member_gets_everything_at_once() {
    let mut h = harness();
    let response = h.beat_ok(joining("a", &["foo", "bar"]));
    assert_eq!((response.member_epoch, response.heartbeat_interval_ms), (2, 5_000));
    assert_eq!(count(&assigned(response.assignment.expect("an assignment"))), 9);
    assert_eq!(h.consumer_group().state(), ConsumerGroupState::Stable);
    // Nothing is new: nothing is written, and the assignment is not repeated.
    let written = h.log.len();
    let response = h.beat_ok(ConsumerGroupHeartbeatRequest { topic_partitions: None, ..leaving("a", 2) });
    assert_eq!((response.assignment, h.log.len()), (None, written));
}

#[test]
fn a_partition_moves_only_after_its_owner_has_given_it_up() {
    let mut h = harness();
    let all = assigned(h.beat_ok(joining("a", &["foo"])).assignment.expect("an assignment"));
    h.advance(1_000);
    // The newcomer waits: the first member has everything yet.
    let response = h.beat_ok(joining("b", &["foo"]));
    assert_eq!(count(&assigned(response.assignment.expect("an assignment"))), 0);
    assert_eq!(h.consumer_group().member("b").expect("a member").state, MemberState::UnreleasedPartitions);
    let response = h.beat_ok(alive("a", 2, &all));
    let kept = assigned(response.assignment.expect("an assignment"));
    assert_eq!((response.member_epoch, count(&kept)), (2, 3));
    assert_eq!(
        count(&assigned(
            h.beat_ok(ConsumerGroupHeartbeatRequest {
                rebalance_timeout_ms: 30_000,
                subscribed_topic_names: Some(vec!["foo".to_owned()]),
                ..alive("b", 3, &TopicPartitions::new())
            })
            .assignment
            .expect("asked for")
        )),
        0
    );
    // It says it owns no more than it is to keep: now it goes to the new epoch, and the other gets the rest.
    let response = h.beat_ok(alive("a", 2, &kept));
    assert_eq!((response.member_epoch, response.assignment), (3, None));
    let response = h.beat_ok(alive("b", 3, &TopicPartitions::new()));
    assert_eq!(count(&assigned(response.assignment.expect("an assignment"))), 3);
    assert_eq!(h.consumer_group().state(), ConsumerGroupState::Stable);
}

#[test]
fn a_member_that_reads_nothing_is_given_nothing_by_a_target_that_is_due() {
    let mut h = harness();
    h.beat_ok(joining("a", &["foo"]));
    // Too soon for another target, which becomes due while the next member joins.
    h.beat_ok(joining("b", &["foo"]));
    h.advance(2_000);
    h.beat_ok(joining("c", &[]));
    let target = h.consumer_group().common().target();
    assert_eq!(h.consumer_group().common().assignment_epoch(), 3);
    assert_eq!(target.get("c").map_or(0, BTreeMap::len), 0, "{target:?}");
    assert_eq!(["a", "b"].map(|id| target[id][&FOO].len()), [3, 3]);
}

#[test]
fn assignments_are_not_computed_more_often_than_the_interval_allows() {
    let mut h = harness();
    h.beat_ok(joining("a", &["foo"]));
    h.beat_ok(joining("b", &["foo"]));
    assert_eq!(h.consumer_group().common().assignment_epoch(), 2, "the interval is a second");
    assert_eq!(h.consumer_group().state(), ConsumerGroupState::Assigning);
    h.advance(1_000);
    h.beat_ok(alive("b", 2, &TopicPartitions::new()));
    assert_eq!(h.consumer_group().common().assignment_epoch(), 3);
}

#[test]
fn assignments_do_not_wait_for_a_clock_that_was_set_back() {
    let mut h = harness();
    h.beat_ok(joining("a", &["foo"]));
    h.now.wall_ms -= 6 * 60 * 60 * 1000;
    h.beat_ok(joining("b", &["foo"]));
    assert_eq!(h.consumer_group().common().assignment_epoch(), 3);
    h.beat_ok(joining("c", &["foo"]));
    assert_eq!(h.consumer_group().common().assignment_epoch(), 3, "the interval is a second by the new time");
    h.advance(1_000);
    h.beat_ok(alive("c", 3, &TopicPartitions::new()));
    assert_eq!(h.consumer_group().common().assignment_epoch(), 4);
}

#[test]
fn a_member_that_leaves_frees_its_partitions() {
    let mut h = harness();
    h.beat_ok(joining("a", &["foo"]));
    h.advance(1_000);
    h.beat_ok(joining("b", &["foo"]));
    let members = h.settle(&["a", "b"]);
    assert_eq!((count(&members["a"].1), count(&members["b"].1)), (3, 3));
    let response = h.beat_ok(leaving("b", -1));
    assert_eq!(response.member_epoch, -1);
    assert_eq!(count(&h.settle(&["a"])["a"].1), 6);
}

#[test]
fn an_unknown_member_and_a_wrong_epoch_are_told_so() {
    let mut h = harness();
    assert_eq!(error(&h.beat(alive("a", 1, &TopicPartitions::new()))), ErrorCode::GroupIdNotFound);
    h.beat_ok(joining("a", &["foo"]));
    assert_eq!(error(&h.beat(alive("b", 1, &TopicPartitions::new()))), ErrorCode::UnknownMemberId);
    let response = h.beat(alive("a", 7, &TopicPartitions::new()));
    assert_eq!(error(&response), ErrorCode::FencedMemberEpoch);
    assert_eq!(
        response.error_message.as_deref(),
        Some(
            "The consumer group member has a greater member epoch (7) than the one known by the group coordinator (2). The member must \
             abandon all its partitions and rejoin."
        )
    );
    assert_eq!(error(&h.beat(alive("a", 1, &TopicPartitions::new()))), ErrorCode::FencedMemberEpoch);
}

#[test]
fn a_member_whose_answer_was_lost_goes_on_from_its_previous_epoch() {
    let mut h = harness();
    let all = assigned(h.beat_ok(joining("a", &["foo"])).assignment.expect("an assignment"));
    h.advance(1_000);
    let more =
        ConsumerGroupHeartbeatRequest { subscribed_topic_names: Some(vec!["foo".to_owned(), "bar".to_owned()]), ..alive("a", 2, &all) };
    assert_eq!(h.beat_ok(more.clone()).member_epoch, 3);
    assert_eq!(h.beat_ok(more).member_epoch, 3, "epoch 2 is its previous one");
    let foreign = TopicPartitions::from([(Uuid::from_u128(99), [0].into())]);
    assert_eq!(error(&h.beat(alive("a", 2, &foreign))), ErrorCode::FencedMemberEpoch, "it owns what it was not given");
}

#[test]
fn a_silent_member_is_fenced_after_its_session() {
    let mut h = harness();
    h.beat_ok(joining("a", &["foo"]));
    h.advance(44_999);
    assert!(h.consumer_group().member("a").is_some());
    h.advance(1);
    assert!(h.consumer_group().is_empty());
    assert_eq!(h.consumer_group().state(), ConsumerGroupState::Empty);
}

#[test]
fn a_member_that_does_not_give_up_its_partitions_is_fenced() {
    let mut h = harness();
    let all = assigned(h.beat_ok(joining("a", &["foo"])).assignment.expect("an assignment"));
    h.advance(1_000);
    h.beat_ok(joining("b", &["foo"]));
    h.beat_ok(alive("a", 2, &all));
    for _ in 0..29 {
        h.advance(1_000);
        h.beat_ok(alive("a", 2, &all));
    }
    h.advance(1_000);
    assert_eq!(error(&h.beat(alive("a", 2, &all))), ErrorCode::UnknownMemberId);
}

#[test]
fn a_group_with_its_own_session_timeout_obeys_it_within_the_bounds() {
    let mut h = harness();
    let mut delta = MetadataDelta::new(std::sync::Arc::clone(h.shard.topics().image()));
    let mut set = |name: &str, value: &str| {
        let record = crate::protocol::messages::ConfigRecord {
            resource_type: 32,
            resource_name: "g".to_owned(),
            name: name.to_owned(),
            value: Some(value.to_owned()),
            ..Default::default()
        };
        delta.replay(&crate::metadata::record::MetadataRecord::Config(record)).expect("a record that fits");
    };
    set("consumer.session.timeout.ms", "50000");
    set("consumer.heartbeat.interval.ms", "99000");
    let image = delta.apply(h.shard.topics().image().provenance);
    h.shard.on_new_metadata_image(std::sync::Arc::new(image), &Default::default());
    assert_eq!(h.beat_ok(joining("a", &["foo"])).heartbeat_interval_ms, 15_000);
    h.advance(49_999);
    assert!(!h.consumer_group().is_empty());
    h.advance(1);
    assert!(h.consumer_group().is_empty());
}

#[test]
fn a_static_member_that_comes_back_has_its_partitions_again() {
    let mut h = harness();
    h.beat_ok(with_instance(joining("a", &["foo"]), "i"));
    h.advance(1_000);
    assert_eq!(error(&h.beat(with_instance(joining("b", &["foo"]), "i"))), ErrorCode::UnreleasedInstanceId);
    let left = h.beat_ok(with_instance(leaving("a", -2), "i"));
    assert_eq!(left.member_epoch, -2);
    let epoch = h.consumer_group().common().group_epoch();
    let response = h.beat_ok(with_instance(joining("b", &["foo"]), "i"));
    assert_eq!(count(&assigned(response.assignment.expect("an assignment"))), 6);
    assert_eq!(h.consumer_group().common().group_epoch(), epoch, "nobody else notices");
    assert_eq!(error(&h.beat(with_instance(alive("a", 2, &TopicPartitions::new()), "i"))), ErrorCode::FencedInstanceId);
    assert_eq!(h.restarted().consumer_group().members().count(), 1);
}

#[test]
fn a_static_member_that_does_not_come_back_is_fenced_after_its_session() {
    let mut h = harness();
    h.beat_ok(with_instance(joining("a", &["foo"]), "i"));
    h.beat_ok(with_instance(leaving("a", -2), "i"));
    h.advance(45_000);
    assert!(h.consumer_group().is_empty());
}

#[test]
fn a_topic_that_grows_or_goes_changes_the_assignment() {
    let mut h = harness();
    h.beat_ok(joining("a", &["foo", "bar"]));
    h.set_topics(2, &[("foo", FOO, 8), ("bar", BAR, 3)]);
    assert_eq!(count(&h.settle(&["a"])["a"].1), 11);
    h.set_topics(3, &[("foo", FOO, 8)]);
    assert_eq!(count(&h.settle(&["a"])["a"].1), 8);
    // The same again is no change.
    let epoch = h.consumer_group().common().group_epoch();
    h.set_topics(4, &[("foo", FOO, 8), ("other", Uuid::from_u128(5), 1)]);
    h.settle(&["a"]);
    assert_eq!(h.consumer_group().common().group_epoch(), epoch);
}

#[test]
fn most_members_decide_on_the_assignor() {
    let mut h = harness();
    let with =
        |id: &str, assignor: &str| ConsumerGroupHeartbeatRequest { server_assignor: Some(assignor.to_owned()), ..joining(id, &["foo"]) };
    h.beat_ok(with("a", "range"));
    assert_eq!(h.shard.describe_consumer_group("g").assignor_name, "range");
    h.beat_ok(with("b", "uniform"));
    h.beat_ok(with("c", "uniform"));
    assert_eq!(h.shard.describe_consumer_group("g").assignor_name, "uniform");
}

#[test]
fn a_full_group_takes_no_more_members() {
    let mut h = harness_with(GroupCoordinatorConfig { consumer_max_size: 1, ..GroupCoordinatorConfig::default() });
    h.beat_ok(joining("a", &["foo"]));
    assert_eq!(error(&h.beat(joining("b", &["foo"]))), ErrorCode::GroupMaxSizeReached);
    h.beat_ok(joining("a", &["foo"]));
}

#[test]
fn a_regular_expression_is_resolved_and_follows_new_topics() {
    let mut h = harness();
    let by_regex = |id: &str, regex: &str| ConsumerGroupHeartbeatRequest {
        subscribed_topic_names: None,
        subscribed_topic_regex: Some(regex.to_owned()),
        ..joining(id, &[])
    };
    h.beat_ok(by_regex("a", "fo+"));
    let members = h.settle(&["a"]);
    assert_eq!(members["a"].1.keys().collect::<Vec<_>>(), [&FOO]);
    h.set_topics(2, &[("foo", FOO, 6), ("bar", BAR, 3), ("fooo", Uuid::from_u128(3), 2), ("foobar", Uuid::from_u128(4), 2)]);
    h.advance(11_000);
    assert_eq!(count(&h.settle(&["a"])["a"].1), 8, "the whole name has to match");
    let restarted = h.restarted();
    assert_eq!(restarted.consumer_group().resolved_regexes, h.consumer_group().resolved_regexes);
    let response = h.beat(by_regex("b", "foo("));
    assert_eq!(error(&response), ErrorCode::InvalidRegularExpression);
    assert!(
        response
            .error_message
            .is_some_and(|message| message.starts_with("SubscribedTopicRegex `foo(` is not a valid regular expression: "))
    );
    h.beat_ok(leaving("a", -1));
    assert!(h.consumer_group().resolved_regexes.is_empty());
    assert!(h.consumer_group().common().subscribed_topics().is_empty());
}

#[test]
fn names_and_a_regular_expression_add_up() {
    let mut h = harness();
    h.beat_ok(ConsumerGroupHeartbeatRequest { subscribed_topic_regex: Some("ba.".to_owned()), ..joining("a", &["foo"]) });
    assert_eq!(count(&h.settle(&["a"])["a"].1), 9);
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let config = GroupCoordinatorConfig::default();
    let check = |request: ConsumerGroupHeartbeatRequest, version: i16| {
        validate_consumer_group_heartbeat(&config, &request, version).map_err(|error| error.error)
    };
    let join = || joining("a", &["foo"]);
    assert_eq!(check(join(), 1), Ok(()));
    assert_eq!(check(ConsumerGroupHeartbeatRequest { member_id: String::new(), ..join() }, 0), Ok(()));
    let invalid = [
        ConsumerGroupHeartbeatRequest { member_id: String::new(), ..join() },
        ConsumerGroupHeartbeatRequest { group_id: " ".to_owned(), ..join() },
        ConsumerGroupHeartbeatRequest { instance_id: Some(String::new()), ..join() },
        ConsumerGroupHeartbeatRequest { rack_id: Some(" ".to_owned()), ..join() },
        ConsumerGroupHeartbeatRequest { rebalance_timeout_ms: -1, ..join() },
        ConsumerGroupHeartbeatRequest { topic_partitions: None, ..join() },
        ConsumerGroupHeartbeatRequest { subscribed_topic_names: None, ..join() },
        leaving("a", -2),
        leaving("a", -3),
    ];
    for request in invalid {
        assert_eq!(check(request.clone(), 1), Err(ErrorCode::InvalidRequest), "{request:?}");
    }
    let other = ConsumerGroupHeartbeatRequest { server_assignor: Some("sticky".to_owned()), ..join() };
    assert_eq!(check(other, 1), Err(ErrorCode::UnsupportedAssignor));
}

#[test]
fn commits_are_checked_by_member_epoch_and_by_when_the_partition_was_got() {
    let mut h = harness();
    let all = assigned(h.beat_ok(joining("a", &["foo"])).assignment.expect("an assignment"));
    let commit = |h: &mut Harness, member: &str, epoch: i32, partition: i32| {
        let mut request = h.commit_request(member, epoch, "foo", partition, 5);
        request.topics[0].topic_id = FOO;
        h.commit(&request)
    };
    assert_eq!(commit(&mut h, "a", 2, 0), Ok(0));
    assert_eq!(commit(&mut h, "b", 2, 0), Err(ErrorCode::UnknownMemberId));
    assert_eq!(commit(&mut h, "a", 3, 0), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(commit(&mut h, "", -1, 0), Err(ErrorCode::UnknownMemberId), "the group has members");
    h.advance(1_000);
    h.beat_ok(joining("b", &["foo"]));
    h.beat_ok(alive("a", 2, &all));
    let members = h.settle(&["a", "b"]);
    let (of_a, of_b) = (*members["a"].1[&FOO].first().expect("some"), *members["b"].1[&FOO].first().expect("some"));
    assert_eq!(members["a"].0, 3);
    assert_eq!(commit(&mut h, "a", 2, of_a), Ok(0), "it has had the partition since epoch 2");
    assert_eq!(commit(&mut h, "a", 2, of_b), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(commit(&mut h, "b", 2, of_b), Err(ErrorCode::StaleMemberEpoch), "it got the partition later");
    h.api_version = 8;
    assert_eq!(commit(&mut h, "a", 3, of_a), Err(ErrorCode::UnsupportedVersion));
}

#[test]
fn a_member_that_asks_for_offsets_in_its_name_has_to_be_it() {
    let mut h = harness();
    h.beat_ok(joining("a", &["foo"]));
    let fetch = |h: &Harness, member: Option<&str>, epoch: i32| {
        let request = OffsetFetchRequestGroup {
            group_id: "g".to_owned(),
            member_id: member.map(str::to_owned),
            member_epoch: epoch,
            topics: Some(vec![OffsetFetchRequestTopics { name: "foo".to_owned(), partition_indexes: vec![0], ..Default::default() }]),
            ..OffsetFetchRequestGroup::default()
        };
        ErrorCode::from_code(h.shard.fetch_offsets(&request, true).error_code)
    };
    assert_eq!(fetch(&h, None, -1), ErrorCode::None);
    assert_eq!(fetch(&h, Some("a"), 2), ErrorCode::None);
    assert_eq!(fetch(&h, Some("a"), 1), ErrorCode::StaleMemberEpoch);
    assert_eq!(fetch(&h, Some("z"), 2), ErrorCode::UnknownMemberId);
}

#[test]
fn a_group_with_members_is_not_deleted_and_an_empty_one_is_whole() {
    let mut h = harness();
    h.beat_ok(joining("a", &["foo"]));
    let delete = |h: &mut Harness| {
        let (results, effects) = h.shard.delete_groups(&["g".to_owned()]);
        h.apply(effects);
        ErrorCode::from_code(results[0].error_code)
    };
    assert_eq!(delete(&mut h), ErrorCode::NonEmptyGroup);
    h.beat_ok(leaving("a", -1));
    assert_eq!(delete(&mut h), ErrorCode::None);
    assert!(h.shard.group("g").is_none());
    assert!(h.restarted().shard.group("g").is_none());
    assert_eq!(delete(&mut h), ErrorCode::GroupIdNotFound);
}

#[test]
fn tools_see_the_group_as_what_it_is() {
    let mut h = harness();
    h.beat_ok(joining("a", &["foo"]));
    let listed = |states: &[&str], types: &[&str]| {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        h.shard.list_groups(&owned(states), &owned(types)).len()
    };
    assert_eq!((listed(&["stable"], &["CONSUMER"]), listed(&["empty"], &[]), listed(&[], &["classic"])), (1, 0, 0));
    let described = h.shard.describe_consumer_group("g");
    assert_eq!((described.group_state.as_str(), described.group_epoch, described.assignment_epoch), ("Stable", 2, 2));
    let member = &described.members[0];
    assert_eq!((member.member_epoch, member.member_type, member.assignment.topic_partitions[0].topic_name.as_str()), (2, 1, "foo"));
    assert_eq!(h.shard.describe_group("g", 5).group_state, "Dead");
    let described = h.shard.describe_group("g", 6);
    assert_eq!(ErrorCode::from_code(described.error_code), ErrorCode::GroupIdNotFound);
    assert_eq!(described.error_message.as_deref(), Some("Group g is not a classic group."));
}

#[test]
fn offsets_of_a_group_without_members_expire_and_the_group_with_them() {
    let mut h = harness();
    h.beat_ok(joining("a", &["foo"]));
    let mut request = h.commit_request("a", 2, "foo", 0, 5);
    request.topics[0].topic_id = FOO;
    assert_eq!(h.commit(&request), Ok(0));
    // The look for expired offsets begins with the load.
    let mut h = h.restarted();
    h.advance(8 * 24 * 3_600_000);
    assert!(h.shard.group("g").is_none(), "its member was fenced long ago");
    assert!(!h.shard.offsets().has_any("g"));
}

#[test]
fn a_restarted_coordinator_goes_on_where_the_old_one_was() {
    let mut h = harness();
    h.beat_ok(joining("a", &["foo"]));
    h.advance(1_000);
    h.beat_ok(joining("b", &["foo"]));
    let mut restarted = h.restarted();
    let members = restarted.settle(&["a", "b"]);
    assert_eq!((count(&members["a"].1), count(&members["b"].1)), (3, 3));
    assert_eq!(restarted.consumer_group().common().group_epoch(), 3, "the metadata hash is the same");
    restarted.advance(45_000);
    assert!(restarted.consumer_group().is_empty(), "loaded members have sessions");
}

#[test]
fn a_group_begins_with_an_assignment_of_its_first_epoch() {
    let mut h = harness();
    let expression =
        ConsumerGroupHeartbeatRequest { subscribed_topic_names: None, subscribed_topic_regex: Some("f.*".to_owned()), ..joining("a", &[]) };
    let (response, effects) = h.shard.consumer_group_heartbeat(h.now, &h.client(), expression);
    assert_eq!((response.error_code, response.member_epoch), (0, 1));
    // Until the expression is resolved nothing is new, so that there is nothing to compute.
    let is_target = |record: &&GroupRecord| {
        matches!(record, GroupRecord::ConsumerGroupTargetAssignmentMetadata(..) | GroupRecord::ConsumerGroupTargetAssignmentMember(..))
    };
    assert_eq!(effects.records.iter().filter(is_target).count(), 0);
    h.apply(effects);
    assert_eq!((h.consumer_group().common.group_epoch(), h.consumer_group().common.assignment_epoch()), (1, 1));
    h.resolve_all();
    let members = h.settle(&["a"]);
    assert_eq!((members["a"].0, count(&members["a"].1)), (2, 6));
}
