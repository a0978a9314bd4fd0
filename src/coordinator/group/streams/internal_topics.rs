//! From a topology to tasks: how many partitions each internal topic must have, which internal topics are missing, how many tasks each
//! subtopology has. Source: `InternalTopicManager`, `RepartitionTopics`, `CopartitionedTopicsEnforcer`, `ChangelogTopics`.
//!
//! Repartition topics without a count of their own take the largest count of what flows into them; topics that are joined must have the
//! same count; a changelog has as many partitions as its subtopology has tasks.

use std::collections::{BTreeMap, BTreeSet};

use super::StreamsError;
use super::topology::{StreamsTopology, source_topics};
use crate::protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use crate::protocol::messages::streams_group_describe_response as describe_response;
use crate::protocol::messages::streams_group_heartbeat_response::Status;
use crate::protocol::messages::streams_group_topology_value::{Subtopology, TopicInfo};

/// What a member is told about its group, beside its tasks. The codes are the protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusCode {
    StaleTopology = 0,
    MissingSourceTopics = 1,
    IncorrectlyPartitionedTopics = 2,
    MissingInternalTopics = 3,
    ShutdownApplication = 4,
    AssignmentDelayed = 5,
}

impl StatusCode {
    pub(super) fn with(self, detail: String) -> Status {
        Status { status_code: self as i8, status_detail: detail, ..Default::default() }
    }
}

/// An internal topic with all that is needed to create it.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfiguredInternalTopic {
    pub name: String,
    pub partitions: i32,
    /// `None`: the controller's default.
    pub replication_factor: Option<i16>,
    pub configs: BTreeMap<String, String>,
}

/// A subtopology whose tasks are known.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfiguredSubtopology {
    pub number_of_tasks: i32,
    pub source_topics: BTreeSet<String>,
    pub repartition_source_topics: BTreeMap<String, ConfiguredInternalTopic>,
    pub repartition_sink_topics: BTreeSet<String>,
    pub state_changelog_topics: BTreeMap<String, ConfiguredInternalTopic>,
}

impl ConfiguredSubtopology {
    /// Whether its tasks keep state that others could keep a copy of.
    pub fn is_stateful(&self) -> bool {
        !self.state_changelog_topics.is_empty()
    }
}

/// A topology against the topics that exist.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfiguredTopology {
    pub epoch: i32,
    /// `None` when the topics do not allow to tell.
    pub subtopologies: Option<BTreeMap<String, ConfiguredSubtopology>>,
    pub topics_to_create: Vec<CreatableTopic>,
    /// Why no tasks can run yet.
    pub problem: Option<Status>,
}

impl ConfiguredTopology {
    /// The subtopologies, if tasks can run.
    pub fn ready(&self) -> Option<&BTreeMap<String, ConfiguredSubtopology>> {
        self.subtopologies.as_ref().filter(|_| self.problem.is_none())
    }

    pub(super) fn describe(&self) -> describe_response::Topology {
        let subtopologies = self.subtopologies.iter().flatten().map(|(id, subtopology)| describe_response::Subtopology {
            subtopology_id: id.clone(),
            source_topics: subtopology.source_topics.iter().cloned().collect(),
            repartition_sink_topics: subtopology.repartition_sink_topics.iter().cloned().collect(),
            state_changelog_topics: subtopology.state_changelog_topics.values().map(described).collect(),
            repartition_source_topics: subtopology.repartition_source_topics.values().map(described).collect(),
            ..Default::default()
        });
        describe_response::Topology { epoch: self.epoch, subtopologies: Some(subtopologies.collect()), ..Default::default() }
    }
}

fn described(topic: &ConfiguredInternalTopic) -> describe_response::TopicInfo {
    let config =
        |(key, value): (&String, &String)| describe_response::KeyValue { key: key.clone(), value: value.clone(), ..Default::default() };
    describe_response::TopicInfo {
        name: topic.name.clone(),
        partitions: topic.partitions,
        replication_factor: topic.replication_factor.unwrap_or(0),
        topic_configs: topic.configs.iter().map(config).collect(),
        ..Default::default()
    }
}

/// Why a topology cannot be configured.
enum Obstacle {
    /// The topics are to blame; members are told, and wait.
    Topics(Status),
    /// The topology itself is; the request fails.
    Topology(StreamsError),
}

impl From<StreamsError> for Obstacle {
    fn from(error: StreamsError) -> Obstacle {
        Obstacle::Topology(error)
    }
}

/// Configures `topology`; `partitions` gives the partition count of a topic that exists. An error is the fault of the topology, whatever
/// topics there are.
pub fn configure(topology: &StreamsTopology, partitions: &dyn Fn(&str) -> Option<i32>) -> Result<ConfiguredTopology, StreamsError> {
    let copartition_groups = copartition_groups(topology)?;
    match subtopologies_and_missing_topics(topology, partitions, &copartition_groups) {
        Ok((subtopologies, topics_to_create)) => {
            let missing = summarize(topics_to_create.iter().map(|topic| topic.name.as_str()));
            let problem = (!topics_to_create.is_empty())
                .then(|| StatusCode::MissingInternalTopics.with(format!("Internal topics are missing: {missing}")));
            Ok(ConfiguredTopology { epoch: topology.epoch, subtopologies: Some(subtopologies), topics_to_create, problem })
        }
        Err(Obstacle::Topics(problem)) => {
            Ok(ConfiguredTopology { epoch: topology.epoch, subtopologies: None, topics_to_create: Vec::new(), problem: Some(problem) })
        }
        Err(Obstacle::Topology(error)) => Err(error),
    }
}

type Configured = (BTreeMap<String, ConfiguredSubtopology>, Vec<CreatableTopic>);

fn subtopologies_and_missing_topics(
    topology: &StreamsTopology,
    partitions: &dyn Fn(&str) -> Option<i32>,
    copartition_groups: &[BTreeSet<&str>],
) -> Result<Configured, Obstacle> {
    let external = topology.subtopologies.values().flat_map(|subtopology| &subtopology.source_topics);
    let missing: BTreeSet<&str> = external.map(String::as_str).filter(|topic| partitions(topic).is_none()).collect();
    if !missing.is_empty() {
        let detail = format!("Source topics {} are missing.", summarize(missing.into_iter()));
        return Err(Obstacle::Topics(StatusCode::MissingSourceTopics.with(detail)));
    }
    let mut counts = Counts { existing: partitions, decided: repartition_counts(topology, partitions)? };
    enforce_copartitioning(topology, copartition_groups, &mut counts)?;
    decide_changelog_counts(topology, &mut counts)?;
    let mut subtopologies = BTreeMap::new();
    for (id, subtopology) in &topology.subtopologies {
        subtopologies.insert(id.clone(), configured_subtopology(subtopology, &counts)?);
    }
    let topics_to_create = missing_topics(&subtopologies, partitions)?;
    Ok((subtopologies, topics_to_create))
}

/// How many partitions a topic has, or will have.
struct Counts<'a> {
    existing: &'a dyn Fn(&str) -> Option<i32>,
    decided: BTreeMap<String, i32>,
}

impl Counts<'_> {
    fn get(&self, topic: &str) -> Option<i32> {
        (self.existing)(topic).or_else(|| self.decided.get(topic).copied())
    }

    fn expect(&self, topic: &str) -> Result<i32, StreamsError> {
        self.get(topic).ok_or_else(|| StreamsError::unknown("a topic without a number of partitions"))
    }
}

/// The topics that must have equally many partitions, a set for each join. The record names them by their place in the subtopology.
fn copartition_groups(topology: &StreamsTopology) -> Result<Vec<BTreeSet<&str>>, StreamsError> {
    let out_of_range = || StreamsError::unknown("a copartition group names a topic that is not there");
    let mut groups = Vec::new();
    for subtopology in topology.subtopologies.values() {
        for group in &subtopology.copartition_groups {
            let mut topics = BTreeSet::new();
            for &place in &group.source_topics {
                let topic = usize::try_from(place).ok().and_then(|place| subtopology.source_topics.get(place));
                topics.insert(topic.ok_or_else(out_of_range)?.as_str());
            }
            for &place in &group.repartition_source_topics {
                let topic = usize::try_from(place).ok().and_then(|place| subtopology.repartition_source_topics.get(place));
                topics.insert(topic.ok_or_else(out_of_range)?.name.as_str());
            }
            groups.push(topics);
        }
    }
    Ok(groups)
}

/// Follows the flow through the subtopologies until every repartition topic has a count.
fn repartition_counts(topology: &StreamsTopology, partitions: &dyn Fn(&str) -> Option<i32>) -> Result<BTreeMap<String, i32>, StreamsError> {
    let sources = || topology.subtopologies.values().flat_map(|subtopology| &subtopology.repartition_source_topics);
    let mut counts: BTreeMap<String, i32> =
        sources().filter(|topic| topic.partitions != 0).map(|topic| (topic.name.clone(), topic.partitions)).collect();
    loop {
        let (mut progress, mut open) = (false, false);
        for subtopology in topology.subtopologies.values() {
            for sink in &subtopology.repartition_sink_topics {
                if counts.contains_key(sink) {
                    continue;
                }
                let repartitioned = subtopology.repartition_source_topics.iter().filter_map(|topic| counts.get(&topic.name).copied());
                let external = subtopology.source_topics.iter().filter_map(|topic| partitions(topic));
                match repartitioned.chain(external).max() {
                    Some(count) => {
                        counts.insert(sink.clone(), count);
                        progress = true;
                    }
                    None => open = true,
                }
            }
        }
        if !open {
            break;
        }
        if !progress {
            return Err(StreamsError::invalid_topology(
                "Failed to compute number of partitions for all repartition topics. There may be loops in the topology that cannot be resolved.",
            ));
        }
    }
    if sources().any(|topic| !counts.contains_key(&topic.name)) {
        return Err(StreamsError::invalid_topology(
            "Failed to compute number of partitions for all repartition topics, because a repartition source topic is never used as a sink topic.",
        ));
    }
    Ok(counts)
}

fn enforce_copartitioning(topology: &StreamsTopology, groups: &[BTreeSet<&str>], counts: &mut Counts<'_>) -> Result<(), Obstacle> {
    let sources = || topology.subtopologies.values().flat_map(|subtopology| &subtopology.repartition_source_topics);
    let named = |fixed: bool| sources().filter(move |topic| (topic.partitions != 0) == fixed).map(|topic| topic.name.as_str());
    let fixed: BTreeSet<&str> = named(true).collect();
    let repartition: BTreeSet<&str> = fixed.iter().copied().chain(named(false)).collect();
    for group in groups.iter().filter(|group| !group.is_empty()) {
        let mut internal = BTreeMap::new();
        let mut external = BTreeMap::new();
        for &topic in group {
            let counted = if repartition.contains(topic) { &mut internal } else { &mut external };
            counted.insert(topic, counts.expect(topic)?);
        }
        let count = if let Some(&count) = external.values().next() {
            if external.values().any(|&other| other != count) {
                return Err(incorrectly_partitioned(different_counts(&external)));
            }
            count
        } else if let Some(first) = fixed.first() {
            // Kafka compares all fixed topics of the topology here, not only those of this group.
            let count = counts.expect(first)?;
            for topic in &fixed {
                if counts.expect(topic)? != count {
                    return Err(incorrectly_partitioned(different_counts(&internal)));
                }
            }
            count
        } else {
            internal.values().copied().max().unwrap_or(0)
        };
        for (topic, own) in internal {
            if fixed.contains(topic) && own != count {
                return Err(incorrectly_partitioned(format!(
                    "Number of partitions [{own}] of repartition topic [{topic}] doesn't match number of partitions [{count}] of the source topic."
                )));
            }
            counts.decided.insert(topic.to_owned(), count);
        }
    }
    Ok(())
}

fn incorrectly_partitioned(detail: String) -> Obstacle {
    Obstacle::Topics(StatusCode::IncorrectlyPartitionedTopics.with(detail))
}

fn different_counts(counts: &BTreeMap<&str, i32>) -> String {
    let counts: Vec<String> = counts.iter().map(|(topic, count)| format!("{topic}={count}")).collect();
    format!("Following topics do not have the same number of partitions: [{{{}}}]", counts.join(", "))
}

/// How many tasks a subtopology has: the most partitions of what it reads.
fn number_of_tasks(subtopology: &Subtopology, counts: &Counts<'_>) -> Result<Option<i32>, StreamsError> {
    let mut most = None;
    for topic in source_topics(subtopology) {
        most = most.max(Some(counts.expect(topic)?));
    }
    Ok(most)
}

fn decide_changelog_counts(topology: &StreamsTopology, counts: &mut Counts<'_>) -> Result<(), StreamsError> {
    let mut changelogs = Vec::new();
    for (id, subtopology) in &topology.subtopologies {
        let tasks = number_of_tasks(subtopology, counts)?
            .ok_or_else(|| StreamsError::invalid_topology(&format!("No source topics found for subtopology {id}")))?;
        changelogs.extend(subtopology.state_changelog_topics.iter().map(|topic| (topic.name.clone(), tasks)));
    }
    counts.decided.extend(changelogs);
    Ok(())
}

fn configured_subtopology(subtopology: &Subtopology, counts: &Counts<'_>) -> Result<ConfiguredSubtopology, StreamsError> {
    let topics = |topics: &[TopicInfo]| -> Result<BTreeMap<String, ConfiguredInternalTopic>, StreamsError> {
        topics.iter().map(|topic| Ok((topic.name.clone(), configured_topic(topic, &counts.decided)?))).collect()
    };
    let number_of_tasks = number_of_tasks(subtopology, counts)?.filter(|&tasks| tasks > 0);
    Ok(ConfiguredSubtopology {
        number_of_tasks: number_of_tasks.ok_or_else(|| StreamsError::unknown("a subtopology without tasks"))?,
        source_topics: subtopology.source_topics.iter().cloned().collect(),
        repartition_source_topics: topics(&subtopology.repartition_source_topics)?,
        repartition_sink_topics: subtopology.repartition_sink_topics.iter().cloned().collect(),
        state_changelog_topics: topics(&subtopology.state_changelog_topics)?,
    })
}

fn configured_topic(topic: &TopicInfo, decided: &BTreeMap<String, i32>) -> Result<ConfiguredInternalTopic, StreamsError> {
    let partitions = if topic.partitions == 0 { decided.get(&topic.name).copied() } else { Some(topic.partitions) };
    Ok(ConfiguredInternalTopic {
        name: topic.name.clone(),
        partitions: partitions
            .filter(|&partitions| partitions > 0)
            .ok_or_else(|| StreamsError::unknown("an internal topic without partitions"))?,
        replication_factor: (topic.replication_factor != 0).then_some(topic.replication_factor),
        configs: topic.topic_configs.iter().map(|config| (config.key.clone(), config.value.clone())).collect(),
    })
}

/// The internal topics that do not exist; one that exists must have the right number of partitions.
fn missing_topics(
    subtopologies: &BTreeMap<String, ConfiguredSubtopology>,
    partitions: &dyn Fn(&str) -> Option<i32>,
) -> Result<Vec<CreatableTopic>, Obstacle> {
    let internal = subtopologies
        .values()
        .flat_map(|subtopology| subtopology.repartition_source_topics.values().chain(subtopology.state_changelog_topics.values()));
    let internal: BTreeMap<&str, &ConfiguredInternalTopic> = internal.map(|topic| (topic.name.as_str(), topic)).collect();
    let mut missing = Vec::new();
    for topic in internal.into_values() {
        match partitions(&topic.name) {
            None => missing.push(creatable(topic)),
            Some(found) if found != topic.partitions => {
                return Err(incorrectly_partitioned(format!(
                    "Existing topic {} has different number of partitions: expected {}, found {found}",
                    topic.name, topic.partitions
                )));
            }
            Some(_) => {}
        }
    }
    Ok(missing)
}

fn creatable(topic: &ConfiguredInternalTopic) -> CreatableTopic {
    let config =
        |(name, value): (&String, &String)| CreatableTopicConfig { name: name.clone(), value: Some(value.clone()), ..Default::default() };
    CreatableTopic {
        name: topic.name.clone(),
        num_partitions: topic.partitions,
        replication_factor: topic.replication_factor.unwrap_or(-1),
        configs: topic.configs.iter().map(config).collect(),
        ..Default::default()
    }
}

/// The first three names, and how many more there are.
fn summarize<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const SHOWN: usize = 3;
    let names: Vec<&str> = names.collect();
    let shown = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} additional topics"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::error_code::ErrorCode;
    use crate::protocol::messages::StreamsGroupTopologyValue;
    use crate::protocol::messages::streams_group_topology_value::{CopartitionGroup, TopicConfig};

    fn topic(name: &str, partitions: i32) -> TopicInfo {
        TopicInfo { name: name.to_owned(), partitions, ..Default::default() }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    struct Sub(Subtopology);

    impl Sub {
        fn new(id: &str, sources: &[&str]) -> Sub {
            Sub(Subtopology { subtopology_id: id.to_owned(), source_topics: names(sources), ..Default::default() })
        }

        fn repartition_sources(mut self, topics: &[(&str, i32)]) -> Sub {
            self.0.repartition_source_topics = topics.iter().map(|(name, partitions)| topic(name, *partitions)).collect();
            self
        }

        fn sinks(mut self, topics: &[&str]) -> Sub {
            self.0.repartition_sink_topics = names(topics);
            self
        }

        fn changelogs(mut self, topics: &[&str]) -> Sub {
            self.0.state_changelog_topics = topics.iter().map(|name| topic(name, 0)).collect();
            self
        }

        fn copartition(mut self, sources: &[i16], repartition: &[i16]) -> Sub {
            self.0.copartition_groups.push(CopartitionGroup {
                source_topics: sources.to_vec(),
                repartition_source_topics: repartition.to_vec(),
                ..Default::default()
            });
            self
        }
    }

    fn topology(subtopologies: Vec<Sub>) -> StreamsTopology {
        let subtopologies = subtopologies.into_iter().map(|Sub(subtopology)| subtopology).collect();
        StreamsTopology::from_record(StreamsGroupTopologyValue { epoch: 3, subtopologies, ..Default::default() }).expect("valid")
    }

    fn configured(subtopologies: Vec<Sub>, topics: &[(&str, i32)]) -> ConfiguredTopology {
        configure(&topology(subtopologies), &lookup(topics)).expect("a topology without fault")
    }

    fn lookup(topics: &[(&str, i32)]) -> impl Fn(&str) -> Option<i32> {
        let topics: BTreeMap<String, i32> = topics.iter().map(|(name, partitions)| ((*name).to_owned(), *partitions)).collect();
        move |name: &str| topics.get(name).copied()
    }

    fn problem(configured: &ConfiguredTopology) -> (i8, &str) {
        let problem = configured.problem.as_ref().expect("a problem");
        (problem.status_code, problem.status_detail.as_str())
    }

    fn to_create(configured: &ConfiguredTopology) -> Vec<(&str, i32)> {
        configured.topics_to_create.iter().map(|topic| (topic.name.as_str(), topic.num_partitions)).collect()
    }

    #[test]
    fn counts_flow_through_repartition_topics_into_changelogs() {
        let subtopologies = || {
            vec![
                // The later stage comes first, so that one pass is not enough.
                Sub::new("0", &[]).repartition_sources(&[("r2", 0)]).changelogs(&["c0"]),
                Sub::new("1", &[]).repartition_sources(&[("r1", 0)]).sinks(&["r2"]).changelogs(&["c1"]),
                Sub::new("2", &["a", "b"]).sinks(&["r1"]),
            ]
        };
        let before = configured(subtopologies(), &[("a", 2), ("b", 5)]);
        assert_eq!(to_create(&before), [("c0", 5), ("c1", 5), ("r1", 5), ("r2", 5)]);
        assert_eq!(problem(&before), (3, "Internal topics are missing: c0, c1, r1 and 1 additional topics"));
        assert!(before.ready().is_none());
        let after = configured(subtopologies(), &[("a", 2), ("b", 5), ("c0", 5), ("c1", 5), ("r1", 5), ("r2", 5)]);
        let tasks: Vec<i32> = after.ready().expect("ready").values().map(|subtopology| subtopology.number_of_tasks).collect();
        assert_eq!(tasks, [5, 5, 5]);
    }

    #[test]
    fn missing_source_topics_are_named() {
        let configured = configured(vec![Sub::new("0", &["d", "c", "b", "a", "x"])], &[("x", 1)]);
        assert_eq!(problem(&configured), (1, "Source topics a, b, c and 1 additional topics are missing."));
        assert_eq!(configured.subtopologies, None);
    }

    #[test]
    fn topics_that_are_joined_must_have_equally_many_partitions() {
        let join = |topics: &[(&str, i32)]| configured(vec![Sub::new("0", &["a", "b"]).copartition(&[0, 1], &[])], topics);
        assert_eq!(join(&[("a", 2), ("b", 2)]).problem, None);
        let text = "Following topics do not have the same number of partitions: [{a=2, b=3}]";
        assert_eq!(problem(&join(&[("a", 2), ("b", 3)])), (2, text));
    }

    #[test]
    fn a_repartition_topic_takes_the_count_of_the_topic_it_is_joined_with() {
        let subtopologies = |count| {
            vec![Sub::new("0", &["big"]).sinks(&["r"]), Sub::new("1", &["a"]).repartition_sources(&[("r", count)]).copartition(&[0], &[0])]
        };
        assert_eq!(to_create(&configured(subtopologies(0), &[("a", 2), ("big", 9)])), [("r", 2)]);
        assert_eq!(
            problem(&configured(subtopologies(4), &[("a", 2), ("big", 9)])),
            (2, "Number of partitions [4] of repartition topic [r] doesn't match number of partitions [2] of the source topic.")
        );
    }

    #[test]
    fn repartition_topics_that_are_joined_take_the_largest_count_or_the_one_that_is_fixed() {
        let subtopologies = |first, second| {
            vec![
                Sub::new("0", &["a"]).sinks(&["r1"]),
                Sub::new("1", &["b"]).sinks(&["r2"]),
                Sub::new("2", &[]).repartition_sources(&[("r1", first), ("r2", second)]).copartition(&[], &[0, 1]),
            ]
        };
        let topics = [("a", 2), ("b", 6)];
        assert_eq!(to_create(&configured(subtopologies(0, 0), &topics)), [("r1", 6), ("r2", 6)]);
        assert_eq!(to_create(&configured(subtopologies(3, 0), &topics)), [("r1", 3), ("r2", 3)]);
        let text = "Following topics do not have the same number of partitions: [{r1=3, r2=4}]";
        assert_eq!(problem(&configured(subtopologies(3, 4), &topics)), (2, text));
    }

    #[test]
    fn an_internal_topic_that_exists_must_have_the_right_count() {
        let configured = configured(vec![Sub::new("0", &["a"]).changelogs(&["c"])], &[("a", 2), ("c", 1)]);
        assert_eq!(problem(&configured), (2, "Existing topic c has different number of partitions: expected 2, found 1"));
    }

    #[test]
    fn faults_of_the_topology_fail_the_request() {
        let code = |subtopologies| configure(&topology(subtopologies), &lookup(&[("a", 1)])).expect_err("a fault").code;
        let looping = Sub::new("0", &[]).repartition_sources(&[("r", 0)]).sinks(&["r"]);
        assert_eq!(code(vec![looping]), ErrorCode::StreamsInvalidTopology);
        assert_eq!(code(vec![Sub::new("0", &["a"]).repartition_sources(&[("r", 0)])]), ErrorCode::StreamsInvalidTopology);
        assert_eq!(code(vec![Sub::new("0", &[])]), ErrorCode::StreamsInvalidTopology);
        assert_eq!(code(vec![Sub::new("0", &["a"]).copartition(&[1], &[])]), ErrorCode::UnknownServerError);
        assert_eq!(code(vec![Sub::new("0", &["a"]).copartition(&[-1], &[])]), ErrorCode::UnknownServerError);
        assert_eq!(code(vec![Sub::new("0", &["a"]).repartition_sources(&[("r", -1)])]), ErrorCode::UnknownServerError);
    }

    #[test]
    fn a_topic_is_created_as_the_application_wants_it() {
        let mut subtopology = Sub::new("0", &["a"]).changelogs(&["c", "d"]);
        subtopology.0.state_changelog_topics[0].replication_factor = 3;
        let config = TopicConfig { key: "cleanup.policy".to_owned(), value: "compact".to_owned(), ..Default::default() };
        subtopology.0.state_changelog_topics[0].topic_configs = vec![config];
        let configured = configured(vec![subtopology], &[("a", 2)]);
        let [c, d] = configured.topics_to_create.as_slice() else { panic!("two topics") };
        assert_eq!((c.replication_factor, d.replication_factor), (3, -1));
        assert_eq!((c.configs[0].name.as_str(), c.configs[0].value.as_deref()), ("cleanup.policy", Some("compact")));
    }
}
