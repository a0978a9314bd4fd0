//! What a Kafka Streams application is made of, as its members tell it: subtopologies, the topics each reads, and the internal topics
//! it needs. Source: `StreamsTopology`, `StreamsCoordinatorRecordHelpers`.

use std::collections::{BTreeMap, BTreeSet};

use super::StreamsError;
use crate::protocol::messages::streams_group_describe_response as describe_response;
use crate::protocol::messages::streams_group_heartbeat_request as heartbeat_request;
use crate::protocol::messages::streams_group_topology_value::{
    CopartitionGroup, StreamsGroupTopologyValue, Subtopology, TopicConfig, TopicInfo,
};

/// The topology of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamsTopology {
    /// Never negative.
    pub epoch: i32,
    /// By subtopology id.
    pub subtopologies: BTreeMap<String, Subtopology>,
    /// The subtopology that reads a topic, by the topic's name.
    subtopology_of: BTreeMap<String, String>,
}

impl StreamsTopology {
    /// Refuses a negative epoch and a subtopology that is there twice.
    pub fn from_record(value: StreamsGroupTopologyValue) -> Result<StreamsTopology, StreamsError> {
        if value.epoch < 0 {
            return Err(StreamsError::unknown("a negative topology epoch"));
        }
        let mut subtopologies = BTreeMap::new();
        let mut subtopology_of = BTreeMap::new();
        for subtopology in value.subtopologies {
            let id = subtopology.subtopology_id.clone();
            for topic in source_topics(&subtopology) {
                subtopology_of.insert(topic.to_owned(), id.clone());
            }
            if subtopologies.insert(id, subtopology).is_some() {
                return Err(StreamsError::unknown("a subtopology that is there twice"));
            }
        }
        Ok(StreamsTopology { epoch: value.epoch, subtopologies, subtopology_of })
    }

    /// Every topic that has to exist before tasks can run.
    pub fn required_topics(&self) -> BTreeSet<&str> {
        let topics = self
            .subtopologies
            .values()
            .flat_map(|subtopology| source_topics(subtopology).chain(names(&subtopology.state_changelog_topics)));
        topics.collect()
    }

    /// The subtopology that reads `topic`.
    pub fn subtopology_of(&self, topic: &str) -> Option<&str> {
        self.subtopology_of.get(topic).map(String::as_str)
    }

    /// Every topic that is read, with the subtopology that reads it.
    pub(super) fn topics_and_subtopologies(&self) -> impl Iterator<Item = (&str, &str)> {
        self.subtopology_of.iter().map(|(topic, subtopology)| (topic.as_str(), subtopology.as_str()))
    }

    pub(super) fn describe(&self) -> describe_response::Topology {
        let subtopologies = self.subtopologies.values().map(|subtopology| describe_response::Subtopology {
            subtopology_id: subtopology.subtopology_id.clone(),
            source_topics: sorted(&subtopology.source_topics),
            repartition_sink_topics: sorted(&subtopology.repartition_sink_topics),
            state_changelog_topics: described_topics(&subtopology.state_changelog_topics),
            repartition_source_topics: described_topics(&subtopology.repartition_source_topics),
            ..Default::default()
        });
        describe_response::Topology { epoch: self.epoch, subtopologies: Some(subtopologies.collect()), ..Default::default() }
    }
}

/// The topics a subtopology reads: those of others, and its repartition topics.
pub(super) fn source_topics(subtopology: &Subtopology) -> impl Iterator<Item = &str> {
    subtopology.source_topics.iter().map(String::as_str).chain(names(&subtopology.repartition_source_topics))
}

fn names(topics: &[TopicInfo]) -> impl Iterator<Item = &str> {
    topics.iter().map(|topic| topic.name.as_str())
}

fn sorted(names: &[String]) -> Vec<String> {
    let mut names = names.to_vec();
    names.sort_unstable();
    names
}

fn described_topics(topics: &[TopicInfo]) -> Vec<describe_response::TopicInfo> {
    let mut described: Vec<_> = topics
        .iter()
        .map(|topic| describe_response::TopicInfo {
            name: topic.name.clone(),
            partitions: topic.partitions,
            replication_factor: topic.replication_factor,
            topic_configs: topic
                .topic_configs
                .iter()
                .map(|config| describe_response::KeyValue { key: config.key.clone(), value: config.value.clone(), ..Default::default() })
                .collect(),
            ..Default::default()
        })
        .collect();
    described.sort_by(|left, right| left.name.cmp(&right.name));
    described
}

/// A topology as a member sends it, in the form in which it is kept.
pub(super) fn topology_value(topology: &heartbeat_request::Topology) -> StreamsGroupTopologyValue {
    let topics = |topics: &[heartbeat_request::TopicInfo]| topics.iter().map(topic_info).collect();
    let subtopologies = topology.subtopologies.iter().map(|subtopology| Subtopology {
        subtopology_id: subtopology.subtopology_id.clone(),
        source_topics: subtopology.source_topics.clone(),
        source_topic_regex: subtopology.source_topic_regex.clone(),
        state_changelog_topics: topics(&subtopology.state_changelog_topics),
        repartition_sink_topics: subtopology.repartition_sink_topics.clone(),
        repartition_source_topics: topics(&subtopology.repartition_source_topics),
        copartition_groups: subtopology
            .copartition_groups
            .iter()
            .map(|group| CopartitionGroup {
                source_topics: group.source_topics.clone(),
                source_topic_regex: group.source_topic_regex.clone(),
                repartition_source_topics: group.repartition_source_topics.clone(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    StreamsGroupTopologyValue { epoch: topology.epoch, subtopologies: subtopologies.collect(), ..Default::default() }
}

fn topic_info(topic: &heartbeat_request::TopicInfo) -> TopicInfo {
    let config =
        |config: &heartbeat_request::KeyValue| TopicConfig { key: config.key.clone(), value: config.value.clone(), ..Default::default() };
    TopicInfo {
        name: topic.name.clone(),
        partitions: topic.partitions,
        replication_factor: topic.replication_factor,
        topic_configs: topic.topic_configs.iter().map(config).collect(),
        ..Default::default()
    }
}
