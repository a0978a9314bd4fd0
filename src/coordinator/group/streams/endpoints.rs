//! Which partitions can be asked for at which user endpoint: what interactive queries of Kafka Streams need. Source:
//! `EndpointToPartitionsManager`.
//!
//! Differs: Kafka fails the heartbeat while the topology is not configured, and lists partitions that a topic does not have when the
//! topics of a subtopology have different numbers of partitions; here there is nothing to list, and only partitions that are there are.

use super::StreamsGroup;
use super::member::StreamsGroupMember;
use super::tasks::TaskSets;
use crate::protocol::messages::streams_group_heartbeat_response::{Endpoint, EndpointToPartitions, TopicPartition};

/// The endpoints of all members, `updated` in the place of what the group knows of it; `partitions` counts those of a topic.
pub(super) fn partitions_by_endpoint(
    group: &StreamsGroup,
    updated: &StreamsGroupMember,
    partitions: &dyn Fn(&str) -> Option<i32>,
) -> Vec<EndpointToPartitions> {
    let others = group.members().values().filter(|member| member.member_id != updated.member_id);
    let endpoint = |member: &StreamsGroupMember| {
        let endpoint = member.user_endpoint.as_ref()?;
        Some(EndpointToPartitions {
            user_endpoint: Endpoint { host: endpoint.host.clone(), port: endpoint.port, ..Default::default() },
            active_partitions: topic_partitions(group, &member.assigned.active_sets(), partitions),
            standby_partitions: topic_partitions(group, &member.assigned.standby, partitions),
            ..Default::default()
        })
    };
    others.chain([updated]).filter_map(endpoint).collect()
}

fn topic_partitions(group: &StreamsGroup, tasks: &TaskSets, partitions: &dyn Fn(&str) -> Option<i32>) -> Vec<TopicPartition> {
    let Some(subtopologies) = group.configured.as_ref().and_then(|configured| configured.subtopologies.as_ref()) else { return Vec::new() };
    let mut listed = Vec::new();
    for (id, tasks) in tasks {
        let Some(subtopology) = subtopologies.get(id) else { continue };
        for topic in subtopology.source_topics.iter().chain(subtopology.repartition_source_topics.keys()) {
            let Some(count) = partitions(topic) else { continue };
            let partitions = tasks.iter().copied().filter(|&partition| partition < count).collect();
            listed.push(TopicPartition { topic: topic.clone(), partitions, ..Default::default() });
        }
    }
    listed
}
