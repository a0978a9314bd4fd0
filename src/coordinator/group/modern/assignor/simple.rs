//! The assignor of share groups: any number of members may have the same partition. Sources: `SimpleAssignor`,
//! `SimpleHomogeneousAssignmentBuilder`, `SimpleHeterogeneousAssignmentBuilder`.
//!
//! Every partition is had by about the same number of members and every member has about as many partitions as the others; what a member
//! has it keeps if it can. Members that read different topics share each topic for itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{GroupSpec, PartitionAssignor, PartitionAssignorError, SubscriptionType, TopicPartitions};
use crate::common::uuid::Uuid;

/// Kafka's `simple`.
#[derive(Clone, Copy, Debug)]
pub struct SimpleAssignor;

impl PartitionAssignor for SimpleAssignor {
    fn name(&self) -> &'static str {
        "simple"
    }

    fn assign(&self, group: &GroupSpec<'_>) -> Result<BTreeMap<String, TopicPartitions>, PartitionAssignorError> {
        let topics: BTreeSet<Uuid> = group.members.values().flat_map(|member| member.subscribed_topics.iter().copied()).collect();
        let mut targets: BTreeMap<Uuid, Vec<(Uuid, i32)>> = BTreeMap::new();
        for &topic in &topics {
            let partitions = 0..group.partition_count(topic)?;
            let assignable = partitions.filter(|&partition| group.is_partition_assignable(topic, partition));
            targets.insert(topic, assignable.map(|partition| (topic, partition)).collect());
        }
        let mut assigned: Vec<BTreeSet<(Uuid, i32)>> = group
            .members
            .values()
            .map(|member| {
                let held = member.assignment.iter().filter(|(topic, _)| member.subscribed_topics.contains(topic));
                let held = held.flat_map(|(&topic, partitions)| partitions.iter().map(move |&partition| (topic, partition)));
                held.filter(|&(topic, partition)| group.is_partition_assignable(topic, partition)).collect()
            })
            .collect();
        if group.subscription_type == SubscriptionType::Homogeneous {
            let all: Vec<usize> = (0..assigned.len()).collect();
            let targets: Vec<(Uuid, i32)> = targets.into_values().flatten().collect();
            balance(&targets, &all, &mut assigned);
        } else {
            for (topic, targets) in targets {
                let members = group.members.values().enumerate().filter(|(_, member)| member.subscribed_topics.contains(&topic));
                let members: Vec<usize> = members.map(|(at, _)| at).collect();
                balance(&targets, &members, &mut assigned);
            }
        }
        let assignment = |partitions: BTreeSet<(Uuid, i32)>| {
            let mut topics = TopicPartitions::new();
            for (topic, partition) in partitions {
                topics.entry(topic).or_default().insert(partition);
            }
            topics
        };
        Ok(group.members.keys().cloned().zip(assigned.into_iter().map(assignment)).collect())
    }
}

/// Shares `targets` evenly among `members`, which are places in `assigned`.
fn balance(targets: &[(Uuid, i32)], members: &[usize], assigned: &mut [BTreeSet<(Uuid, i32)>]) {
    if targets.is_empty() || members.is_empty() {
        return;
    }
    let sharing = members.len().div_ceil(targets.len());
    // Together the members have every partition `sharing` times; the remainder is spread over them.
    let total = sharing * targets.len();
    let desired: Vec<usize> =
        (0..members.len()).map(|at| (total * (at + 1)).div_ceil(members.len()) - (total * at).div_ceil(members.len())).collect();
    let scope: BTreeSet<(Uuid, i32)> = targets.iter().copied().collect();
    let mut counts = Vec::with_capacity(members.len());
    for (&member, &desired) in members.iter().zip(&desired) {
        let held: Vec<(Uuid, i32)> = assigned[member].intersection(&scope).copied().collect();
        let surplus = held.len().saturating_sub(desired);
        held.iter().take(surplus).for_each(|partition| {
            assigned[member].remove(partition);
        });
        counts.push(held.len() - surplus);
    }
    let mut holders: BTreeMap<(Uuid, i32), BTreeSet<usize>> = targets.iter().map(|&target| (target, BTreeSet::new())).collect();
    for (at, &member) in members.iter().enumerate() {
        for target in assigned[member].intersection(&scope) {
            if let Some(holders) = holders.get_mut(target) {
                holders.insert(at);
            }
        }
    }
    for (target, holders) in &mut holders {
        while holders.len() > sharing
            && let Some(at) = holders.pop_first()
        {
            assigned[members[at]].remove(target);
            counts[at] -= 1;
        }
    }
    let mut unfilled: VecDeque<usize> = (0..members.len()).filter(|&at| counts[at] < desired[at]).collect();
    for (target, holders) in &mut holders {
        let mut passed_over = 0;
        while holders.len() < sharing && passed_over < unfilled.len() {
            let Some(at) = unfilled.pop_front() else { break };
            if !holders.insert(at) {
                unfilled.push_back(at);
                passed_over += 1;
                continue;
            }
            passed_over = 0;
            assigned[members[at]].insert(*target);
            counts[at] += 1;
            if counts[at] < desired[at] {
                unfilled.push_back(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::MemberSpec;
    use super::*;
    use crate::coordinator::group::modern::assignor::SubscriptionType::{Heterogeneous, Homogeneous};
    use crate::metadata::delta::MetadataDelta;
    use crate::metadata::image::{MetadataImage, Provenance};
    use crate::protocol::messages::{PartitionRecord, TopicRecord};

    const T1: Uuid = Uuid::from_u128(1);
    const T2: Uuid = Uuid::from_u128(2);

    fn image(topics: &[(Uuid, i32)]) -> MetadataImage {
        let mut delta = MetadataDelta::new(Arc::default());
        for &(topic_id, partitions) in topics {
            delta.replay(&TopicRecord { name: topic_id.to_string(), topic_id, ..Default::default() }.into()).expect("a topic");
            for partition_id in 0..partitions {
                delta.replay(&PartitionRecord { partition_id, topic_id, ..Default::default() }.into()).expect("a partition");
            }
        }
        delta.apply(Provenance::default())
    }

    type Members<'a> = Vec<(&'a str, Vec<Uuid>, TopicPartitions)>;

    fn assign(image: &MetadataImage, kind: SubscriptionType, members: Members<'_>) -> BTreeMap<String, TopicPartitions> {
        let members = members.into_iter().map(|(id, topics, assignment)| {
            let subscribed_topics = Arc::new(topics.into_iter().collect());
            (id.to_owned(), MemberSpec { subscribed_topics, assignment, ..MemberSpec::default() })
        });
        let inverted = BTreeMap::new();
        let group = GroupSpec { members: members.collect(), subscription_type: kind, inverted: &inverted, assignable: None, image };
        SimpleAssignor.assign(&group).expect("an assignment")
    }

    fn partitions(topic: Uuid, partitions: impl IntoIterator<Item = i32>) -> TopicPartitions {
        TopicPartitions::from([(topic, partitions.into_iter().collect())])
    }

    #[test]
    fn one_partition_is_everybodys() {
        let image = image(&[(T1, 1)]);
        let members = ["a", "b", "c"].map(|id| (id, vec![T1], TopicPartitions::new())).to_vec();
        let assigned = assign(&image, Homogeneous, members);
        assert!(assigned.values().all(|it| *it == partitions(T1, [0])), "{assigned:?}");
    }

    #[test]
    fn partitions_are_spread_evenly_and_kept() {
        let image = image(&[(T1, 4)]);
        let alone = assign(&image, Homogeneous, vec![("a", vec![T1], TopicPartitions::new())]);
        assert_eq!(alone["a"], partitions(T1, 0..4));
        let two = assign(&image, Homogeneous, vec![("a", vec![T1], alone["a"].clone()), ("b", vec![T1], TopicPartitions::new())]);
        assert_eq!((two["a"][&T1].len(), two["b"][&T1].len()), (2, 2));
        assert!(two["a"][&T1].is_disjoint(&two["b"][&T1]));
        let again = assign(&image, Homogeneous, vec![("a", vec![T1], two["a"].clone()), ("b", vec![T1], two["b"].clone())]);
        assert_eq!(again, two);
        let back = assign(&image, Homogeneous, vec![("a", vec![T1], two["a"].clone())]);
        assert_eq!(back["a"], partitions(T1, 0..4));
    }

    #[test]
    fn every_partition_has_somebody_however_many_members_there_are() {
        for (count, members) in [(3, 2), (2, 3), (5, 7), (7, 5), (1, 4), (6, 3)] {
            let image = image(&[(T1, count)]);
            let names: Vec<String> = (0..members).map(|at| format!("m{at}")).collect();
            let assigned = assign(&image, Homogeneous, names.iter().map(|id| (id.as_str(), vec![T1], TopicPartitions::new())).collect());
            let had: BTreeSet<i32> = assigned.values().filter_map(|it| it.get(&T1)).flatten().copied().collect();
            assert_eq!(had.len() as i32, count);
            assert!(assigned.values().all(|it| !it.is_empty()), "{count} partitions, {members} members: {assigned:?}");
        }
    }

    #[test]
    fn members_get_only_what_they_read() {
        let image = image(&[(T1, 2), (T2, 3)]);
        let held = partitions(T2, 0..3);
        let assigned = assign(&image, Heterogeneous, vec![("a", vec![T1], held), ("b", vec![T1, T2], TopicPartitions::new())]);
        assert_eq!(assigned["a"].keys().copied().collect::<Vec<_>>(), [T1]);
        assert_eq!(assigned["b"][&T2], (0..3).collect());
        assert!(assign(&image, Heterogeneous, Vec::new()).is_empty());
    }
}
