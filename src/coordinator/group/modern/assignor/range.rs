//! The range assignor of consumer groups: of every topic, each member gets a run of neighbouring partitions, members in the same order for
//! all topics, so that partitions of equal number in equally sized topics go together. Source: `assignor.RangeAssignor`.

use std::collections::BTreeMap;

use super::{GroupSpec, PartitionAssignor, PartitionAssignorError, TopicPartitions};
use crate::common::uuid::Uuid;

/// `range`.
#[derive(Debug)]
pub struct RangeAssignor;

/// How a topic is cut up.
struct Ranges {
    partitions: i32,
    subscribers: i32,
    next: i32,
    /// Members so far that got one more than the rest.
    larger: i32,
}

impl Ranges {
    fn take(&mut self) -> std::ops::Range<i32> {
        let mut quota = self.partitions / self.subscribers;
        if self.larger < self.partitions % self.subscribers {
            self.larger += 1;
            quota += 1;
        }
        let start = self.next;
        self.next = (start + quota).min(self.partitions);
        start..self.next
    }
}

impl PartitionAssignor for RangeAssignor {
    fn name(&self) -> &'static str {
        "range"
    }

    fn assign(&self, group: &GroupSpec<'_>) -> Result<BTreeMap<String, TopicPartitions>, PartitionAssignorError> {
        let mut topics: BTreeMap<Uuid, Ranges> = BTreeMap::new();
        for member in group.members.values() {
            for &topic in member.subscribed_topics.iter() {
                if let Some(ranges) = topics.get_mut(&topic) {
                    ranges.subscribers += 1;
                } else {
                    let partitions = group.partition_count(topic)?;
                    topics.insert(topic, Ranges { partitions, subscribers: 1, next: 0, larger: 0 });
                }
            }
        }
        // Static members first, by instance, so that a restart under another member id changes nothing.
        let mut members: Vec<_> = group.members.iter().collect();
        members.sort_by_key(|(id, member)| (member.instance_id.is_none(), member.instance_id.as_ref().unwrap_or(id)));
        let mut assignment = BTreeMap::new();
        for (id, member) in members {
            let mut partitions = TopicPartitions::new();
            for topic in member.subscribed_topics.iter() {
                let Some(ranges) = topics.get_mut(topic) else { continue };
                let range = ranges.take();
                if !range.is_empty() {
                    partitions.insert(*topic, range.collect());
                }
            }
            assignment.insert(id.clone(), partitions);
        }
        Ok(assignment)
    }
}
