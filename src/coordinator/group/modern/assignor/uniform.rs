//! The uniform assignor of consumer groups: everyone gets as many partitions as everyone else, and keeps as many of its own as that allows.
//! Sources: `assignor.UniformAssignor`, `UniformHomogeneousAssignmentBuilder`.

use std::collections::BTreeMap;

use super::{GroupSpec, PartitionAssignor, PartitionAssignorError, SubscriptionType, TopicPartitions, uniform_heterogeneous};
use crate::common::uuid::Uuid;

/// `uniform`.
#[derive(Debug)]
pub struct UniformAssignor;

impl PartitionAssignor for UniformAssignor {
    fn name(&self) -> &'static str {
        "uniform"
    }

    fn assign(&self, group: &GroupSpec<'_>) -> Result<BTreeMap<String, TopicPartitions>, PartitionAssignorError> {
        if group.members.is_empty() {
            return Ok(BTreeMap::new());
        }
        match group.subscription_type {
            SubscriptionType::Homogeneous => assign_homogeneous(group),
            SubscriptionType::Heterogeneous => uniform_heterogeneous::assign(group),
        }
    }
}

fn assign_homogeneous(group: &GroupSpec<'_>) -> Result<BTreeMap<String, TopicPartitions>, PartitionAssignorError> {
    let Some(topics) = group.members.values().next().map(|member| &member.subscribed_topics) else { return Ok(BTreeMap::new()) };
    if topics.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut unassigned: Vec<(Uuid, i32)> = Vec::new();
    let mut total = 0usize;
    for &topic in topics.iter() {
        let partitions = group.partition_count(topic)?;
        unassigned.extend((0..partitions).filter(|&p| !group.is_partition_assigned(topic, p)).map(|p| (topic, p)));
        total += usize::try_from(partitions).unwrap_or(0);
    }
    let members = group.members.len();
    let quota = total / members;
    let mut larger_left = total % members;

    let mut assignment = BTreeMap::new();
    let mut wanting: Vec<(&String, usize)> = Vec::new();
    for (index, (id, member)) in group.members.iter().enumerate() {
        // As long as members may still have one more than the others, everyone is offered it; it counts when it is used, or when no
        // more members are left than have to have it.
        let mut left = quota;
        let mut extra = larger_left > 0;
        left += usize::from(extra);
        let mut kept = TopicPartitions::new();
        for (&topic, partitions) in &member.assignment {
            if !topics.contains(&topic) {
                continue;
            }
            for &partition in partitions {
                if left > 0 {
                    left -= 1;
                    kept.entry(topic).or_default().insert(partition);
                } else {
                    unassigned.push((topic, partition));
                }
            }
        }
        if left > 0 && extra && members - index > larger_left {
            left -= 1;
            extra = false;
        }
        if left > 0 {
            wanting.push((id, left));
        }
        larger_left -= usize::from(extra);
        assignment.insert(id.clone(), kept);
    }
    let mut unassigned = unassigned.into_iter();
    for (id, left) in wanting {
        let Some(partitions) = assignment.get_mut(id) else { continue };
        for (topic, partition) in unassigned.by_ref().take(left) {
            partitions.entry(topic).or_default().insert(partition);
        }
    }
    if unassigned.next().is_some() {
        return Err(PartitionAssignorError("Partitions were left unassigned".to_owned()));
    }
    Ok(assignment)
}
