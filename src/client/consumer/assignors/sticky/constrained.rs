//! All members want the same topics: each gets the same number, some one more.
//!
//! Source: `ConstrainedAssignmentBuilder`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Claims, Racks};
use crate::client::consumer::assignors::{Assignment, TopicRacks};
use crate::common::topic_partition::TopicPartition;

struct Builder<'a> {
    racks: &'a Racks<'a>,
    disputed: BTreeSet<TopicPartition>,
    /// Taken from a member, who may yet get them back.
    maybe_revoked: HashMap<TopicPartition, &'a str>,
    under_min: Vec<&'a str>,
    at_min: Vec<&'a str>,
    min: usize,
    max: usize,
    /// How many members may have more than `min`, and how many have.
    expected_over: usize,
    over: usize,
    assignment: Assignment,
    moving: BTreeMap<TopicPartition, String>,
}

pub(super) fn assign(topics: &TopicRacks, racks: &Racks<'_>, claims: Claims<'_>) -> (Assignment, BTreeMap<TopicPartition, String>) {
    let total: usize = topics.values().map(Vec::len).sum();
    let count = claims.owned.len().max(1);
    let mut builder = Builder {
        racks,
        disputed: claims.disputed,
        maybe_revoked: HashMap::new(),
        under_min: Vec::new(),
        at_min: Vec::new(),
        min: total / count,
        max: total.div_ceil(count),
        expected_over: total % count,
        over: 0,
        assignment: claims.owned.iter().map(|(member, _)| ((*member).to_owned(), Vec::new())).collect(),
        moving: BTreeMap::new(),
    };
    let mut assigned = BTreeSet::new();
    for (member, owned) in claims.owned {
        builder.keep_owned(member, owned, &mut assigned);
    }
    let mut unassigned: Vec<TopicPartition> = Vec::with_capacity(total - assigned.len().min(total));
    for (topic, partitions) in topics {
        let all = (0..partitions.len()).map(|partition| TopicPartition::new(topic.as_str(), partition as i32));
        unassigned.extend(all.filter(|partition| !assigned.contains(partition)));
    }
    builder.under_min.sort_unstable();
    builder.at_min.sort_unstable();
    unassigned.sort_by_key(|partition| racks.members_near.get(partition).copied().unwrap_or(0));
    if racks.matter() {
        let mut next = 0;
        unassigned.retain(|partition| !builder.assign_near(partition, &mut next));
    }
    builder.deal(&unassigned);
    (builder.assignment, builder.moving)
}

impl<'a> Builder<'a> {
    fn keep_owned(&mut self, member: &'a str, owned: Vec<TopicPartition>, assigned: &mut BTreeSet<TopicPartition>) {
        let (far, mut kept): (Vec<_>, Vec<_>) = owned.into_iter().partition(|partition| self.racks.is_far(member, partition));
        self.maybe_revoked.extend(far.into_iter().map(|partition| (partition, member)));
        kept.sort_by(|a, b| (a.partition, &a.topic).cmp(&(b.partition, &b.topic)));
        kept.retain(|partition| !self.disputed.contains(partition));
        let quota = if kept.len() < self.min {
            self.under_min.push(member);
            kept.len()
        } else if kept.len() >= self.max && self.over < self.expected_over {
            self.over += 1;
            if self.over == self.expected_over {
                self.at_min.clear();
            }
            self.max
        } else {
            if self.over < self.expected_over {
                self.at_min.push(member);
            }
            self.min
        };
        for partition in kept.split_off(quota) {
            self.maybe_revoked.insert(partition, member);
        }
        assigned.extend(kept.iter().cloned());
        if let Some(list) = self.assignment.get_mut(member) {
            list.extend(kept);
        }
    }

    fn count(&self, member: &str) -> usize {
        self.assignment.get(member).map_or(0, Vec::len)
    }

    fn add(&mut self, partition: &TopicPartition, member: &str) -> usize {
        let owner = self.maybe_revoked.get(partition);
        if owner.is_some_and(|owner| *owner != member) || self.disputed.contains(partition) {
            self.moving.insert(partition.clone(), member.to_owned());
        }
        if let Some(list) = self.assignment.get_mut(member) {
            list.push(partition.clone());
        }
        self.count(member)
    }
}

impl Builder<'_> {
    fn near(&self, partition: &TopicPartition, members: &[&str], first: usize) -> Option<usize> {
        let mut order = (0..members.len()).map(|at| (first + at) % members.len());
        order.find(|at| self.racks.is_near(members[*at], partition))
    }

    /// Gives a partition to a member in one of its racks, those with too few in turn from `next`. False when there is none.
    fn assign_near(&mut self, partition: &TopicPartition, next: &mut usize) -> bool {
        if let Some(at) = self.near(partition, &self.under_min, *next) {
            let member = self.under_min[at];
            let count = self.count(member) + 1;
            let mut after = at;
            if count >= self.min {
                self.under_min.remove(at);
                if count < self.max && self.over < self.expected_over {
                    self.at_min.push(member);
                }
            } else {
                after += 1;
            }
            *next = after.checked_rem(self.under_min.len()).unwrap_or(0);
            self.add(partition, member);
            return true;
        }
        let Some(at) = self.near(partition, &self.at_min, 0) else { return false };
        let member = self.at_min[at];
        if self.count(member) + 1 == self.max {
            self.at_min.remove(at);
            self.over += 1;
            if self.over == self.expected_over {
                self.at_min.clear();
            }
        }
        self.add(partition, member);
        true
    }

    /// Deals partitions to the members with too few in turn, then to those with just enough.
    fn deal(&mut self, unassigned: &[TopicPartition]) {
        let mut at = 0;
        for partition in unassigned {
            let from_under = !self.under_min.is_empty();
            let member = if from_under {
                if at >= self.under_min.len() {
                    at = 0;
                }
                self.under_min[at]
            } else if !self.at_min.is_empty() {
                self.at_min.remove(0)
            } else {
                // The quotas add up to all partitions, so nobody is left over.
                debug_assert!(false, "no member has room for {partition}");
                return;
            };
            let count = self.add(partition, member);
            if count == self.min && from_under {
                self.under_min.remove(at);
                self.at_min.push(member);
            } else {
                at += usize::from(from_under);
                if count == self.max {
                    self.over += 1;
                }
            }
        }
    }
}
