//! Who reads which partition: Kafka's assignors, with exactly its results, down to the order of Java's hash maps where that decides.
//!
//! Source: `RangeAssignor`, `RoundRobinAssignor`, `StickyAssignor`, `CooperativeStickyAssignor`, KIP-54, KIP-429, KIP-881 (racks).

mod hash_order;
mod range;
mod round_robin;
mod sticky;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::common::topic_partition::TopicPartition;

/// An assignor that is built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    Range,
    RoundRobin,
    Sticky,
    CooperativeSticky,
}

/// A member of a group as its leader sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    pub id: String,
    pub group_instance_id: Option<String>,
    pub topics: Vec<String>,
    /// The assignor's own.
    pub user_data: Option<Bytes>,
    pub owned_partitions: Vec<TopicPartition>,
    /// In which the partitions were owned.
    pub generation: Option<i32>,
    pub rack: Option<String>,
}

impl Member {
    /// Static members come first, by their instance ids; the others by their ids.
    fn order(&self) -> (bool, &str) {
        match &self.group_instance_id {
            Some(instance) => (false, instance),
            None => (true, &self.id),
        }
    }
}

/// The topics there are, with the racks of each partition's replicas.
pub type TopicRacks = BTreeMap<String, Vec<BTreeSet<String>>>;

/// Partitions by member id; every member is there.
pub type Assignment = BTreeMap<String, Vec<TopicPartition>>;

impl Assignor {
    /// By its name in the protocol, or by the name of Kafka's class.
    pub fn parse(text: &str) -> Option<Assignor> {
        match text.strip_prefix("org.apache.kafka.clients.consumer.").unwrap_or(text) {
            "range" | "RangeAssignor" => Some(Assignor::Range),
            "roundrobin" | "RoundRobinAssignor" => Some(Assignor::RoundRobin),
            "sticky" | "StickyAssignor" => Some(Assignor::Sticky),
            "cooperative-sticky" | "CooperativeStickyAssignor" => Some(Assignor::CooperativeSticky),
            _ => None,
        }
    }

    /// Its name in the protocol.
    pub fn name(self) -> &'static str {
        match self {
            Assignor::Range => "range",
            Assignor::RoundRobin => "roundrobin",
            Assignor::Sticky => "sticky",
            Assignor::CooperativeSticky => "cooperative-sticky",
        }
    }

    /// May members keep their partitions while the group rebalances?
    pub fn is_cooperative(self) -> bool {
        self == Assignor::CooperativeSticky
    }

    /// Spreads the partitions of `topics` over `members`, which stand in the order in which the coordinator listed them. A topic that
    /// somebody wants but that is not in `topics` does not exist (yet).
    pub fn assign(self, topics: &TopicRacks, members: &[Member]) -> Assignment {
        let wanted = |topic: &str| members.iter().any(|member| member.topics.iter().any(|it| it == topic));
        let topics: TopicRacks = topics.iter().filter(|(topic, racks)| !racks.is_empty() && wanted(topic)).map(own).collect();
        if members.is_empty() {
            return Assignment::new();
        }
        // Kafka's leader keeps them in a hash map, whose order decides where nothing else does.
        let mut members = members.to_vec();
        hash_order::sort_as_map(&mut members, |member| member.id.as_str());
        match self {
            Assignor::Range => range::assign(&topics, &members),
            Assignor::RoundRobin => round_robin::assign(&topics, &members),
            Assignor::Sticky => sticky::assign(&topics, &members, sticky::Kind::Eager),
            Assignor::CooperativeSticky => sticky::assign(&topics, &members, sticky::Kind::Cooperative),
        }
    }

    /// What a member tells the assignor when it joins: what it was assigned last (`None` before), and in which generation (-1 before).
    pub fn user_data(self, assigned: Option<&[TopicPartition]>, generation: i32) -> Option<Bytes> {
        match self {
            Assignor::Range | Assignor::RoundRobin => None,
            Assignor::Sticky => Some(sticky::write_user_data(assigned?, generation)),
            Assignor::CooperativeSticky => Some(Bytes::copy_from_slice(&generation.to_be_bytes())),
        }
    }
}

fn own<K: Clone, V: Clone>((key, value): (&K, &V)) -> (K, V) {
    (key.clone(), value.clone())
}

fn no_partitions(members: &[Member]) -> Assignment {
    members.iter().map(|member| (member.id.clone(), Vec::new())).collect()
}

/// Do racks help? Only if members and replicas share some, and not every partition is in every rack.
fn is_rack_aware<'a>(member_racks: &BTreeSet<&str>, partition_racks: impl Iterator<Item = &'a BTreeSet<String>> + Clone) -> bool {
    let all: BTreeSet<&str> = partition_racks.clone().flatten().map(String::as_str).collect();
    if member_racks.is_disjoint(&all) {
        return false;
    }
    let mut racks = partition_racks;
    racks.any(|racks| racks.len() != all.len())
}

#[cfg(test)]
mod tests;
