//! `sticky` and `cooperative-sticky`: as even as can be, and of what is even, what moves the fewest partitions.
//!
//! When all members want the same topics, [`constrained`] does it by quotas; otherwise [`general`] moves partitions until it is balanced.
//! The cooperative kind leaves out what another member still owns: its owner gives it up first, and the next rebalance assigns it.
//!
//! Source: `AbstractStickyAssignor`, `StickyAssignor`, `CooperativeStickyAssignor`; KIP-54, KIP-429, KIP-881.

mod constrained;
mod general;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bytes::{BufMut, Bytes, BytesMut};

use super::hash_order::sort_as_map;
use super::{Assignment, Member, TopicRacks, is_rack_aware};
use crate::common::topic_partition::TopicPartition;
use crate::protocol::codec::{DecodeError, Reader};

const NO_GENERATION: i32 = -1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Eager,
    Cooperative,
}

/// What a member had before.
struct Previous {
    partitions: Vec<TopicPartition>,
    generation: Option<i32>,
}

/// Racks, if they help at all; else empty.
#[derive(Default)]
struct Racks<'a> {
    of_members: HashMap<&'a str, &'a str>,
    of_partitions: HashMap<TopicPartition, &'a BTreeSet<String>>,
    /// How many members stand in a rack of the partition.
    members_near: HashMap<TopicPartition, usize>,
}

impl<'a> Racks<'a> {
    fn new(topics: &'a TopicRacks, members: &'a [Member]) -> Racks<'a> {
        let of_members: HashMap<&str, &str> =
            members.iter().filter_map(|member| Some((member.id.as_str(), member.rack.as_deref()?))).collect();
        if of_members.is_empty() {
            return Racks::default();
        }
        let mut racks = Racks::default();
        for (topic, partitions) in topics {
            for (partition, near) in partitions.iter().enumerate() {
                let count = of_members.values().filter(|rack| near.contains(**rack)).count();
                let partition = TopicPartition::new(topic.as_str(), partition as i32);
                racks.members_near.insert(partition.clone(), count);
                racks.of_partitions.insert(partition, near);
            }
        }
        let member_racks = of_members.values().copied().collect();
        if is_rack_aware(&member_racks, topics.values().flatten()) {
            racks.of_members = of_members;
        } else {
            racks.of_partitions.clear();
        }
        racks
    }

    fn matter(&self) -> bool {
        !self.of_members.is_empty()
    }

    fn is_far(&self, member: &str, partition: &TopicPartition) -> bool {
        let Some(rack) = self.of_members.get(member) else { return false };
        !self.of_partitions.get(partition).is_some_and(|racks| racks.contains(*rack))
    }

    fn is_near(&self, member: &str, partition: &TopicPartition) -> bool {
        self.of_members.contains_key(member) && !self.is_far(member, partition)
    }
}

/// What the members' claims come to.
struct Claims<'a> {
    /// In the order in which Java's map goes through the members.
    owned: Vec<(&'a str, Vec<TopicPartition>)>,
    /// Claimed twice in the same generation.
    disputed: BTreeSet<TopicPartition>,
    all_want_the_same: bool,
    max_generation: i32,
}

pub(super) fn assign(topics: &TopicRacks, members: &[Member], kind: Kind) -> Assignment {
    let previous: Vec<Previous> = members.iter().map(|member| previous(member, kind)).collect();
    let racks = Racks::new(topics, members);
    let claims = claims(topics, members, &previous);
    let (mut assignment, moving) = if claims.all_want_the_same {
        constrained::assign(topics, &racks, claims)
    } else {
        let assignment = general::assign(topics, members, &previous, &racks, claims);
        let moving = if kind == Kind::Cooperative { moving(members, &assignment) } else { BTreeMap::new() };
        (assignment, moving)
    };
    if kind == Kind::Cooperative {
        for (partition, member) in moving {
            if let Some(list) = assignment.get_mut(&member) {
                list.retain(|it| *it != partition);
            }
        }
    }
    assignment
}

fn claims<'a>(topics: &TopicRacks, members: &'a [Member], previous: &[Previous]) -> Claims<'a> {
    let mut claims = Claims { owned: Vec::new(), disputed: BTreeSet::new(), all_want_the_same: true, max_generation: NO_GENERATION };
    let mut wanted: HashSet<&str> = HashSet::new();
    let mut owners: HashMap<TopicPartition, usize> = HashMap::new();
    for (at, (member, before)) in members.iter().zip(previous).enumerate() {
        if wanted.is_empty() {
            wanted.extend(member.topics.iter().map(String::as_str));
        } else if member.topics.len() != wanted.len() || !member.topics.iter().all(|topic| wanted.contains(topic.as_str())) {
            claims.all_want_the_same = false;
        }
        let generation = before.generation.unwrap_or(NO_GENERATION);
        claims.max_generation = claims.max_generation.max(generation);
        claims.owned.push((&member.id, Vec::new()));
        for partition in before.partitions.iter().filter(|partition| topics.contains_key(&partition.topic)) {
            let Some(&other) = owners.get(partition) else {
                claims.owned[at].1.push(partition.clone());
                owners.insert(partition.clone(), at);
                continue;
            };
            // Kafka compares with what the subscription itself says, which for user data of the sticky assignor may be less.
            let other_generation = members[other].generation.unwrap_or(NO_GENERATION);
            if generation < other_generation {
                continue;
            }
            if generation == other_generation {
                claims.disputed.insert(partition.clone());
            } else {
                claims.owned[at].1.push(partition.clone());
            }
            if let Some(position) = claims.owned[other].1.iter().position(|it| it == partition) {
                claims.owned[other].1.remove(position);
            }
            owners.insert(partition.clone(), at);
        }
    }
    // The claims stand in a map of their own, filled in the members' order.
    sort_as_map(&mut claims.owned, |(member, _)| *member);
    claims
}

/// The partitions that one member gets while another has not given them up.
fn moving(members: &[Member], assignment: &Assignment) -> BTreeMap<TopicPartition, String> {
    let mut added = BTreeMap::new();
    let mut revoked = BTreeSet::new();
    for member in members {
        let owned: BTreeSet<&TopicPartition> = member.owned_partitions.iter().collect();
        let assigned: BTreeSet<&TopicPartition> = assignment.get(&member.id).into_iter().flatten().collect();
        added.extend(assigned.difference(&owned).map(|partition| ((*partition).clone(), member.id.clone())));
        revoked.extend(owned.difference(&assigned).map(|partition| (*partition).clone()));
    }
    added.retain(|partition, _| revoked.contains(partition));
    added
}

fn previous(member: &Member, kind: Kind) -> Previous {
    match kind {
        Kind::Cooperative => {
            let generation = member.generation.or_else(|| {
                let bytes = member.user_data.clone()?;
                Some(Reader::new(bytes).i32().unwrap_or(NO_GENERATION))
            });
            Previous { partitions: member.owned_partitions.clone(), generation }
        }
        Kind::Eager => match member.user_data.clone().filter(|bytes| !bytes.is_empty()) {
            None => Previous { partitions: Vec::new(), generation: None },
            Some(bytes) => match read_user_data(bytes) {
                Ok(previous) => previous,
                Err(_) => Previous { partitions: Vec::new(), generation: Some(NO_GENERATION) },
            },
        },
    }
}

/// The sticky assignor's user data: the partitions by topic, then the generation, which version 0 of it lacks.
pub(super) fn write_user_data(partitions: &[TopicPartition], generation: i32) -> Bytes {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition);
    }
    let mut bytes = BytesMut::new();
    bytes.put_i32(topics.len() as i32);
    for (topic, partitions) in topics {
        // Topic names have 249 bytes at most.
        bytes.put_i16(topic.len() as i16);
        bytes.put_slice(topic.as_bytes());
        bytes.put_i32(partitions.len() as i32);
        partitions.into_iter().for_each(|partition| bytes.put_i32(partition));
    }
    bytes.put_i32(generation);
    bytes.freeze()
}

fn read_user_data(bytes: Bytes) -> Result<Previous, DecodeError> {
    let mut reader = Reader::new(bytes);
    let topics = reader.array(false, "previous_assignment", |reader| {
        let topic = reader.string(false, "topic")?;
        let partitions = reader.array(false, "partitions", |reader| reader.i32())?;
        Ok((topic, partitions))
    })?;
    let generation = reader.i32().ok();
    let partitions =
        topics.into_iter().flat_map(|(topic, partitions)| partitions.into_iter().map(move |it| TopicPartition::new(topic.clone(), it)));
    Ok(Previous { partitions: partitions.collect(), generation })
}
