//! Members want different topics: partitions move from who has more to who has less, until no move makes it more even.
//!
//! Source: `GeneralAssignmentBuilder`, `PartitionMovements`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Claims, NO_GENERATION, Previous, Racks};
use crate::client::consumer::assignors::hash_order::{bucket, capacity};
use crate::client::consumer::assignors::{Assignment, Member, TopicRacks};
use crate::common::topic_partition::TopicPartition;

struct Builder<'a> {
    topics: &'a TopicRacks,
    racks: &'a Racks<'a>,
    members_of: BTreeMap<&'a str, Vec<&'a str>>,
    topics_of: HashMap<&'a str, Vec<&'a str>>,
    total: usize,
    current: BTreeMap<&'a str, Vec<TopicPartition>>,
    owner: HashMap<TopicPartition, &'a str>,
    /// Members that may still change, by how much they have.
    order: BTreeSet<(usize, &'a str)>,
    movements: Movements<'a>,
}

/// Who a partition was taken from on the way to where it is, per topic, so that two members do not swap partitions of a topic.
#[derive(Default)]
struct Movements<'a> {
    of_partition: HashMap<TopicPartition, (&'a str, &'a str)>,
    by_topic: HashMap<String, HashMap<(&'a str, &'a str), HashOrdered>>,
}

/// A set that Java would go through by hash.
#[derive(Default)]
struct HashOrdered {
    partitions: Vec<TopicPartition>,
    most: usize,
}

impl HashOrdered {
    fn first(&self) -> Option<&TopicPartition> {
        let capacity = capacity(self.most);
        self.partitions.iter().min_by_key(|partition| bucket(*partition, capacity))
    }
}

impl<'a> Movements<'a> {
    fn record(&mut self, partition: &TopicPartition, pair: (&'a str, &'a str)) {
        self.of_partition.insert(partition.clone(), pair);
        let set = self.by_topic.entry(partition.topic.clone()).or_default().entry(pair).or_default();
        set.partitions.push(partition.clone());
        set.most = set.most.max(set.partitions.len());
    }

    fn forget(&mut self, partition: &TopicPartition) -> Option<(&'a str, &'a str)> {
        let pair = self.of_partition.remove(partition)?;
        if let Some(pairs) = self.by_topic.get_mut(&partition.topic) {
            if let Some(set) = pairs.get_mut(&pair) {
                set.partitions.retain(|it| it != partition);
                if set.partitions.is_empty() {
                    pairs.remove(&pair);
                }
            }
            if pairs.is_empty() {
                self.by_topic.remove(&partition.topic);
            }
        }
        Some(pair)
    }

    fn moved(&mut self, partition: &TopicPartition, from: &'a str, to: &'a str) {
        match self.forget(partition) {
            // Back where it came from: as if it had never moved.
            Some((source, _)) if source == to => {}
            Some((source, _)) => self.record(partition, (source, to)),
            None => self.record(partition, (from, to)),
        }
    }

    /// Instead of `partition`, one that went the other way, if there is one: it goes back.
    fn rather(&self, partition: &TopicPartition, from: &'a str, to: &'a str) -> TopicPartition {
        let Some(pairs) = self.by_topic.get(&partition.topic) else { return partition.clone() };
        let from = self.of_partition.get(partition).map_or(from, |(source, _)| source);
        pairs.get(&(to, from)).and_then(HashOrdered::first).unwrap_or(partition).clone()
    }
}

pub(super) fn assign(topics: &TopicRacks, members: &[Member], previous: &[Previous], racks: &Racks<'_>, claims: Claims<'_>) -> Assignment {
    let mut before: HashMap<TopicPartition, (&str, i32)> = HashMap::new();
    for (member, previous) in members.iter().zip(previous) {
        let generation = match previous.generation {
            Some(generation) if generation < claims.max_generation => generation,
            None if claims.max_generation > NO_GENERATION => NO_GENERATION,
            _ => continue,
        };
        for partition in &previous.partitions {
            let newest = before.entry(partition.clone()).or_insert((&member.id, generation));
            if generation > newest.1 {
                *newest = (&member.id, generation);
            }
        }
    }
    let mut members_of: BTreeMap<&str, Vec<&str>> = topics.keys().map(|topic| (topic.as_str(), Vec::new())).collect();
    let mut topics_of: HashMap<&str, Vec<&str>> = HashMap::new();
    for member in members {
        let list = topics_of.entry(&member.id).or_default();
        for topic in &member.topics {
            if let Some(members) = members_of.get_mut(topic.as_str()) {
                list.push(topic);
                members.push(&member.id);
            }
        }
    }
    let owner = claims.owned.iter().flat_map(|(member, owned)| owned.iter().map(|partition| (partition.clone(), *member))).collect();
    let mut builder = Builder {
        topics,
        racks,
        members_of,
        topics_of,
        total: topics.values().map(Vec::len).sum(),
        current: claims.owned.into_iter().collect(),
        owner,
        order: BTreeSet::new(),
        movements: Movements::default(),
    };
    let mut by_demand: Vec<&str> = topics.keys().map(String::as_str).collect();
    by_demand.sort_by_key(|topic| (builder.members_of.get(topic).map_or(0, Vec::len), *topic));
    let all: Vec<TopicPartition> = by_demand.into_iter().flat_map(|topic| builder.partitions(topic)).collect();
    let mut kept = BTreeSet::new();
    let mut revoked = false;
    for member in members {
        let Some(list) = builder.current.get_mut(member.id.as_str()) else { continue };
        list.retain(|partition| {
            let keep = member.topics.contains(&partition.topic) && !racks.is_far(&member.id, partition);
            revoked |= !keep;
            keep
        });
        kept.extend(list.iter().cloned());
    }
    let unassigned: Vec<TopicPartition> = all.iter().filter(|partition| !kept.contains(partition)).cloned().collect();
    builder.order = builder.current.iter().map(|(member, list)| (list.len(), *member)).collect();
    builder.balance(&before, all, unassigned, revoked);
    builder.current.into_iter().map(|(member, list)| (member.to_owned(), list)).collect()
}

impl<'a> Builder<'a> {
    fn partitions(&self, topic: &'a str) -> impl Iterator<Item = TopicPartition> + use<'a> {
        let count = self.topics.get(topic).map_or(0, Vec::len);
        (0..count).map(move |partition| TopicPartition::new(topic, partition as i32))
    }

    fn count(&self, member: &str) -> usize {
        self.current.get(member).map_or(0, Vec::len)
    }

    fn wants(&self, member: &str, topic: &str) -> bool {
        self.topics_of.get(member).is_some_and(|topics| topics.contains(&topic))
    }

    /// The most a member could have.
    fn most(&self, member: &str) -> usize {
        let Some(topics) = self.topics_of.get(member) else { return 0 };
        if topics.len() == self.topics.len() {
            return self.total;
        }
        topics.iter().map(|topic| self.topics.get(*topic).map_or(0, Vec::len)).sum()
    }

    fn can_move(&self, topic: &str) -> bool {
        self.members_of.get(topic).is_some_and(|members| members.len() >= 2)
    }

    fn can_change(&self, member: &str) -> bool {
        let current = self.current.get(member).map_or(&[][..], Vec::as_slice);
        current.len() < self.most(member) || current.iter().any(|partition| self.can_move(&partition.topic))
    }

    /// Gives a partition to whoever has least of those who want it, and with `near` are in its rack.
    fn place(&mut self, partition: &TopicPartition, near: bool) -> bool {
        let fits =
            |(_, member): &&(usize, &'a str)| self.wants(member, &partition.topic) && (!near || !self.racks.is_far(member, partition));
        let Some(&(count, member)) = self.order.iter().find(fits) else { return false };
        self.order.remove(&(count, member));
        self.current.entry(member).or_default().push(partition.clone());
        self.owner.insert(partition.clone(), member);
        self.order.insert((count + 1, member));
        true
    }

    fn balance(
        &mut self,
        before: &HashMap<TopicPartition, (&'a str, i32)>,
        mut all: Vec<TopicPartition>,
        mut unassigned: Vec<TopicPartition>,
        revoked: bool,
    ) {
        let initial = self.order.last().is_none_or(|(count, _)| *count == 0);
        let mut to_place = unassigned.clone();
        if self.racks.matter() {
            to_place.retain(|partition| !self.place(partition, true));
        }
        for partition in &to_place {
            self.place(partition, false);
        }
        // What only one member wants, and who cannot change, stays out of it.
        all.retain(|partition| self.can_move(&partition.topic));
        unassigned.retain(|partition| self.can_move(&partition.topic));
        let fixed: Vec<&str> = self.current.keys().copied().filter(|member| !self.can_change(member)).collect();
        let mut aside = Vec::new();
        for member in fixed {
            self.order.remove(&(self.count(member), member));
            aside.extend(self.current.remove_entry(member));
        }
        let (current, owner) = (self.current.clone(), self.owner.clone());
        if !revoked {
            self.reassign(&unassigned, before);
        }
        let moved = self.reassign(&all, before);
        if !initial && moved && score(&self.current) >= score(&current) {
            self.current = current;
            self.owner = owner;
        }
        self.current.extend(aside);
    }

    fn is_balanced(&self) -> bool {
        let (Some((least, _)), Some((most, _))) = (self.order.first(), self.order.last()) else { return true };
        if least + 1 >= *most {
            return true;
        }
        let owners: HashMap<&TopicPartition, &str> =
            self.current.iter().flat_map(|(member, list)| list.iter().map(|partition| (partition, *member))).collect();
        for (count, member) in &self.order {
            if *count == self.most(member) {
                continue;
            }
            for topic in self.topics_of.get(member).into_iter().flatten() {
                let better = self.partitions(topic).any(|partition| {
                    let other = owners.get(&partition).filter(|other| *other != member);
                    other.is_some_and(|other| count + 1 < self.count(other))
                });
                if better {
                    return false;
                }
            }
        }
        true
    }

    fn reassign(&mut self, partitions: &[TopicPartition], before: &HashMap<TopicPartition, (&'a str, i32)>) -> bool {
        let mut any = false;
        loop {
            let mut modified = false;
            for partition in partitions {
                if self.is_balanced() {
                    break;
                }
                let Some(&member) = self.owner.get(partition) else { continue };
                let count = self.count(member);
                if let Some((previous, _)) = before.get(partition)
                    && self.current.contains_key(previous)
                    && count > self.count(previous) + 1
                {
                    self.give(partition, previous);
                    modified = true;
                    continue;
                }
                let others = self.members_of.get(partition.topic.as_str()).into_iter().flatten();
                if others.into_iter().any(|other| self.current.contains_key(other) && count > self.count(other) + 1) {
                    self.give_to_least(partition);
                    modified = true;
                }
            }
            any |= modified;
            if !modified {
                return any;
            }
        }
    }

    fn give_to_least(&mut self, partition: &TopicPartition) {
        let least = self.order.iter().find(|(_, member)| self.wants(member, &partition.topic));
        if let Some(&(_, member)) = least {
            self.give(partition, member);
        }
    }

    /// Gives `partition`, or rather one of its topic that came from there, to a member.
    fn give(&mut self, partition: &TopicPartition, to: &'a str) {
        let Some(&from) = self.owner.get(partition) else { return };
        let partition = self.movements.rather(partition, from, to);
        let Some(&from) = self.owner.get(&partition) else { return };
        self.order.remove(&(self.count(from), from));
        self.order.remove(&(self.count(to), to));
        self.movements.moved(&partition, from, to);
        if let Some(list) = self.current.get_mut(from) {
            list.retain(|it| *it != partition);
        }
        self.current.entry(to).or_default().push(partition.clone());
        self.owner.insert(partition, to);
        self.order.insert((self.count(from), from));
        self.order.insert((self.count(to), to));
    }
}

/// How uneven an assignment is: the differences of all pairs.
fn score(assignment: &BTreeMap<&str, Vec<TopicPartition>>) -> usize {
    let counts: Vec<usize> = assignment.values().map(Vec::len).collect();
    let pairs = counts.iter().enumerate().flat_map(|(at, one)| counts[at + 1..].iter().map(move |other| one.abs_diff(*other)));
    pairs.sum()
}
