//! What holds for every consumer group at any time. A failure names the seed of the history.

use super::*;

pub(super) fn one_owner_per_partition(group: &ConsumerGroup, seed: u64) {
    let mut owners: BTreeMap<(Uuid, i32), &str> = BTreeMap::new();
    for member in group.members() {
        for (&topic, partitions) in member.assigned_partitions.iter().chain(&member.partitions_pending_revocation) {
            for &partition in partitions.keys() {
                let other = owners.insert((topic, partition), &member.member_id);
                assert_eq!(other, None, "seed {seed}: {topic}-{partition} is also {}'s", member.member_id);
            }
        }
    }
    let mut targets: BTreeMap<(Uuid, i32), &str> = BTreeMap::new();
    for (member_id, topics) in group.common().target() {
        for (&topic, partitions) in topics {
            for &partition in partitions {
                assert_eq!(targets.insert((topic, partition), member_id), None, "seed {seed}: the target gives {topic}-{partition} twice");
            }
        }
    }
}

pub(super) fn what_follows_from_members_does(group: &ConsumerGroup, seed: u64) {
    let mut again = ConsumerGroup::new("g");
    for member in group.members() {
        again.put_member(member.clone());
    }
    for (regex, resolved) in &group.resolved_regexes {
        again.put_resolved_regex(regex, resolved.clone());
    }
    for (member_id, partitions) in group.common().target() {
        again.common.put_target_assignment(member_id, partitions.clone());
    }
    assert_eq!(again.static_members, group.static_members, "seed {seed}");
    assert_eq!(again.server_assignors, group.server_assignors, "seed {seed}");
    assert_eq!(again.partition_epochs, group.partition_epochs, "seed {seed}");
    assert_eq!(again.subscribed_regexes, group.subscribed_regexes, "seed {seed}");
    assert_eq!((again.classic_members, &again.classic_protocols), (group.classic_members, &group.classic_protocols), "seed {seed}");
    assert_eq!(again.common().subscribed_topics(), group.common().subscribed_topics(), "seed {seed}");
    assert_eq!(again.common().inverted_target(), group.common().inverted_target(), "seed {seed}");
    for regex in group.resolved_regexes.keys() {
        assert!(group.regex_subscribers(regex) > 0, "seed {seed}: nobody subscribes by {regex} any more");
    }
}

pub(super) fn epochs_are_in_order(group: &ConsumerGroup, seed: u64) {
    let common = group.common();
    assert!(common.assignment_epoch() <= common.group_epoch(), "seed {seed}: a target of an epoch that never was");
    for member in group.members() {
        assert!(member.member_epoch <= common.assignment_epoch().max(common.group_epoch()), "seed {seed}: {} is ahead", member.member_id);
    }
    assert!(common.target().keys().all(|id| group.member(id).is_some()), "seed {seed}: a target for nobody");
}

pub(super) fn every_member_has_a_session(h: &Harness, group: &ConsumerGroup, seed: u64) {
    for member in group.members() {
        let key = crate::coordinator::group::TimerKey::Session { group_id: "g".to_owned(), member_id: member.member_id.clone() };
        assert!(h.shard.timers.is_set(&key), "seed {seed}: {} would stay for ever", member.member_id);
    }
}
