//! `roundrobin`: all partitions in order, dealt to the members in turn; who does not want a topic is passed over.
//!
//! Source: `RoundRobinAssignor`.

use super::{Assignment, Member, TopicRacks, no_partitions};
use crate::common::topic_partition::TopicPartition;

pub(super) fn assign(topics: &TopicRacks, members: &[Member]) -> Assignment {
    let mut assignment = no_partitions(members);
    let mut order: Vec<&Member> = members.iter().collect();
    order.sort_by_key(|member| member.order());
    let mut next = 0;
    for (topic, racks) in topics {
        // Whoever asked for the topics left out those that nobody wants.
        if !order.iter().any(|member| member.topics.contains(topic)) {
            continue;
        }
        for partition in 0..racks.len() {
            while !order[next].topics.contains(topic) {
                next = (next + 1) % order.len();
            }
            if let Some(list) = assignment.get_mut(&order[next].id) {
                list.push(TopicPartition::new(topic.as_str(), partition as i32));
            }
            next = (next + 1) % order.len();
        }
    }
    assignment
}
