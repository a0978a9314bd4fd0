//! `range`: each topic's partitions in runs, the first members one more when they do not divide.
//!
//! Source: `RangeAssignor`.

use std::collections::{BTreeMap, BTreeSet};

use super::{Assignment, Member, TopicRacks, is_rack_aware, no_partitions};
use crate::common::topic_partition::TopicPartition;

/// One topic on its way to being assigned.
struct Topic<'a> {
    name: &'a str,
    racks: &'a [BTreeSet<String>],
    /// In their order.
    members: Vec<&'a Member>,
    has_racks: bool,
    is_rack_aware: bool,
    unassigned: BTreeSet<usize>,
    assigned: BTreeMap<&'a str, usize>,
    each: usize,
    /// How many members still get one more.
    extras: usize,
}

impl<'a> Topic<'a> {
    fn new(name: &'a str, racks: &'a [BTreeSet<String>], members: &'a [Member]) -> Topic<'a> {
        let mut members: Vec<&Member> = members.iter().filter(|member| member.topics.iter().any(|topic| topic == name)).collect();
        members.sort_by_key(|member| member.order());
        let member_racks: BTreeSet<&str> = members.iter().filter_map(|member| member.rack.as_deref()).collect();
        Topic {
            name,
            racks,
            has_racks: !member_racks.is_empty(),
            is_rack_aware: is_rack_aware(&member_racks, racks.iter()),
            unassigned: (0..racks.len()).collect(),
            assigned: BTreeMap::new(),
            each: racks.len().checked_div(members.len()).unwrap_or(0),
            extras: racks.len().checked_rem(members.len()).unwrap_or(0),
            members,
        }
    }

    fn racks_match(&self, member: &Member, partition: usize) -> bool {
        let Some(rack) = &member.rack else { return true };
        self.has_racks && self.racks.get(partition).is_some_and(|racks| racks.contains(rack))
    }

    fn room(&self, member: &Member) -> usize {
        let assigned = self.assigned.get(member.id.as_str()).copied().unwrap_or(0);
        (self.each + usize::from(self.extras > 0)).saturating_sub(assigned)
    }

    fn take(&mut self, member: &'a Member, partitions: &[usize], assignment: &mut Assignment) {
        let assigned = self.assigned.entry(&member.id).or_default();
        *assigned += partitions.len();
        if *assigned > self.each {
            self.extras = self.extras.saturating_sub(1);
        }
        let list = assignment.entry(member.id.clone()).or_default();
        for partition in partitions {
            self.unassigned.remove(partition);
            list.push(TopicPartition::new(self.name, *partition as i32));
        }
    }

    fn take_ranges(&mut self, match_racks: bool, assignment: &mut Assignment) {
        for member in self.members.clone() {
            let fits = |partition: &usize| !match_racks || self.racks_match(member, *partition);
            let run: Vec<usize> = self.unassigned.iter().copied().filter(fits).take(self.room(member)).collect();
            if !run.is_empty() {
                self.take(member, &run, assignment);
            }
        }
    }
}

pub(super) fn assign(topics: &TopicRacks, members: &[Member]) -> Assignment {
    let mut assignment = no_partitions(members);
    let mut states: Vec<Topic<'_>> = topics.iter().map(|(name, racks)| Topic::new(name, racks, members)).collect();
    let rack_aware = states.iter().any(|topic| topic.is_rack_aware);
    if rack_aware {
        // Topics with the same members and as many partitions are read together: the same number goes to the same member.
        let mut together: BTreeMap<(Vec<&str>, usize), Vec<&mut Topic<'_>>> = BTreeMap::new();
        for topic in &mut states {
            let ids = topic.members.iter().map(|member| member.id.as_str()).collect();
            let count = if topic.has_racks { topic.racks.len() } else { 0 };
            together.entry((ids, count)).or_default().push(topic);
        }
        for ((_, count), mut topics) in together {
            match topics.as_mut_slice() {
                [topic] if topic.is_rack_aware => topic.take_ranges(true, &mut assignment),
                [_] => {}
                topics => take_together(count, topics, &mut assignment),
            }
        }
    }
    for topic in &mut states {
        topic.take_ranges(false, &mut assignment);
    }
    if rack_aware {
        assignment.values_mut().for_each(|list| list.sort());
    }
    assignment
}

fn take_together(count: usize, topics: &mut [&mut Topic<'_>], assignment: &mut Assignment) {
    let Some(first) = topics.first() else { return };
    let mut remaining: Vec<&Member> = first.members.clone();
    for partition in 0..count {
        let fits = |member: &&Member| topics.iter().all(|topic| topic.racks_match(member, partition) && topic.room(member) > 0);
        let Some(at) = remaining.iter().position(fits) else { continue };
        let member = remaining[at];
        for topic in topics.iter_mut() {
            let Some(own) = topic.members.iter().copied().find(|it| it.id == member.id) else { continue };
            topic.take(own, &[partition], assignment);
        }
        if topics.iter().all(|topic| topic.room(member) == 0) {
            remaining.remove(at);
            if remaining.is_empty() {
                break;
            }
        }
    }
}
