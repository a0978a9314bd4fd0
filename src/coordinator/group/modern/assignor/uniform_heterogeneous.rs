//! The uniform assignor for members with different subscriptions. Members keep what they had and still read; partitions without owner go to
//! the topic's subscriber with the fewest; then topic by topic partitions move from the most to the least loaded subscriber until the loads
//! of each topic's subscribers differ by one at most, or moving goes on for too long. Source: `UniformHeterogeneousAssignmentBuilder`.
//!
//! Invariant: `owners` and `loads` say the same.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::{GroupSpec, PartitionAssignorError, TopicPartitions};
use crate::common::uuid::Uuid;

/// Rounds over all topics. With partitions spread over overlapping subscriptions balance can take long to settle.
const MAX_ROUNDS: usize = 16;

struct Topic {
    id: Uuid,
    /// Indices of members.
    subscribers: Vec<usize>,
    /// The index of each partition's owner.
    owners: Vec<Option<usize>>,
}

pub(super) fn assign(group: &GroupSpec<'_>) -> Result<BTreeMap<String, TopicPartitions>, PartitionAssignorError> {
    let mut topics: BTreeMap<Uuid, Topic> = BTreeMap::new();
    for (index, member) in group.members.values().enumerate() {
        for &id in member.subscribed_topics.iter() {
            let topic = match topics.entry(id) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    let partitions = usize::try_from(group.partition_count(id)?).unwrap_or(0);
                    entry.insert(Topic { id, subscribers: Vec::new(), owners: vec![None; partitions] })
                }
            };
            topic.subscribers.push(index);
        }
    }
    if topics.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut loads = vec![0usize; group.members.len()];
    for (index, member) in group.members.values().enumerate() {
        for (topic, partitions) in member.assignment.iter().filter(|(topic, _)| member.subscribed_topics.contains(topic)) {
            let Some(topic) = topics.get_mut(topic) else { continue };
            for &partition in partitions {
                if let Some(owner @ None) = usize::try_from(partition).ok().and_then(|p| topic.owners.get_mut(p)) {
                    *owner = Some(index);
                    loads[index] += 1;
                }
            }
        }
    }
    let mut topics: Vec<Topic> = topics.into_values().collect();
    topics.sort_by(by_need);
    for topic in &mut topics {
        place_unassigned(topic, &mut loads);
    }
    balance(&mut topics, &mut loads);
    Ok(collect(group, &topics))
}

/// Topics with the most partitions for each subscriber first, then those with fewer subscribers.
fn by_need(a: &Topic, b: &Topic) -> Ordering {
    let (a_share, b_share) = (a.owners.len() * b.subscribers.len(), b.owners.len() * a.subscribers.len());
    b_share.cmp(&a_share).then(a.subscribers.len().cmp(&b.subscribers.len())).then(a.id.cmp(&b.id))
}

fn place_unassigned(topic: &mut Topic, loads: &mut [usize]) {
    let mut queue = std::collections::BTreeSet::new();
    queue.extend(topic.subscribers.iter().map(|&member| (loads[member], member)));
    for owner in topic.owners.iter_mut().filter(|owner| owner.is_none()) {
        let Some((load, member)) = queue.pop_first() else { return };
        *owner = Some(member);
        loads[member] = load + 1;
        queue.insert((load + 1, member));
    }
}

fn balance(topics: &mut [Topic], loads: &mut [usize]) {
    for _ in 0..MAX_ROUNDS {
        let mut moved = 0;
        for topic in topics.iter_mut().filter(|topic| topic.subscribers.len() > 1) {
            moved += balance_topic(topic, loads);
        }
        if moved == 0 {
            return;
        }
    }
}

/// Moves partitions of the topic from its most loaded owners to its least loaded subscribers. How many moved?
fn balance_topic(topic: &mut Topic, loads: &mut [usize]) -> usize {
    let mut partitions_of: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (partition, owner) in topic.owners.iter().enumerate() {
        partitions_of.entry(owner.unwrap_or(usize::MAX)).or_default().push(partition);
    }
    let mut least = std::collections::BTreeSet::new();
    least.extend(topic.subscribers.iter().map(|&member| (loads[member], member)));
    let mut most: std::collections::BTreeSet<(usize, usize)> =
        topic.subscribers.iter().filter(|member| partitions_of.contains_key(member)).map(|&member| (loads[member], member)).collect();
    let mut moved = 0;
    while let (Some(&(high, from)), Some(&(low, to))) = (most.last(), least.first()) {
        if high <= low + 1 {
            break;
        }
        let Some(partition) = partitions_of.get_mut(&from).and_then(Vec::pop) else {
            // It is loaded with other topics' partitions.
            most.pop_last();
            continue;
        };
        topic.owners[partition] = Some(to);
        partitions_of.entry(to).or_default().push(partition);
        for (member, load) in [(from, high - 1), (to, low + 1)] {
            least.remove(&(loads[member], member));
            most.remove(&(loads[member], member));
            loads[member] = load;
            least.insert((load, member));
            most.insert((load, member));
        }
        moved += 1;
    }
    moved
}

fn collect(group: &GroupSpec<'_>, topics: &[Topic]) -> BTreeMap<String, TopicPartitions> {
    let ids: Vec<&String> = group.members.keys().collect();
    let mut assignment: BTreeMap<String, TopicPartitions> = ids.iter().map(|&id| (id.clone(), TopicPartitions::new())).collect();
    for topic in topics {
        for (partition, owner) in topic.owners.iter().enumerate() {
            let Some(partitions) = owner.and_then(|owner| assignment.get_mut(ids[owner])) else { continue };
            partitions.entry(topic.id).or_default().extend(i32::try_from(partition));
        }
    }
    assignment
}
