//! Which partitions are read without a group, from where, and up to where.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use super::options::{Source, Start};
use crate::client::admin::{ListedOffset, Results};
use crate::client::cluster::{AutoCreate, Topics};
use crate::client::consumer::Consumer;
use crate::client::{ApiError, ClientError};
use crate::common::topic_partition::TopicPartition;
use crate::protocol::error_code::ErrorCode;
use crate::tools::exit::Failure;
use crate::tools::suggest;

/// Finds the partitions of a source again and again.
pub(super) struct Finder {
    topic: Option<String>,
    pattern: Option<Regex>,
    partition: Option<i32>,
    exclude_internal: bool,
}

impl Finder {
    pub(super) fn new(source: &Source, partition: Option<i32>, exclude_internal: bool) -> anyhow::Result<Finder> {
        let (topic, pattern) = match source {
            Source::Topic(topic) => (Some(topic.clone()), None),
            Source::Include(pattern) => {
                let regex = Regex::new(&format!("^(?:{pattern})$"));
                (None, Some(regex.map_err(|_| Failure::new(format!("'{pattern}' is not a valid regular expression")))?))
            }
        };
        Ok(Finder { topic, pattern, partition, exclude_internal })
    }

    /// The partitions there are now. `None`: the topic does not exist.
    pub(super) async fn find(&self, consumer: &Consumer) -> Result<Option<BTreeSet<TopicPartition>>, ClientError> {
        let names: Vec<String> = self.topic.iter().cloned().collect();
        let asked = if names.is_empty() { Topics::All } else { Topics::Named(&names) };
        let response = consumer.cluster().refresh(asked, AutoCreate::Never).await?;
        let mut found = BTreeSet::new();
        for topic in response.topics {
            let Some(name) = topic.name else { continue };
            match &self.pattern {
                Some(pattern) => {
                    if !pattern.is_match(&name) || (self.exclude_internal && topic.is_internal) {
                        continue;
                    }
                }
                None => match ErrorCode::from_code(topic.error_code) {
                    ErrorCode::UnknownTopicOrPartition => return Ok(None),
                    // Its partitions are known; who leads them is found out when they are read.
                    ErrorCode::LeaderNotAvailable => {}
                    _ => ApiError::check(topic.error_code, None)?,
                },
            }
            let numbers = topic.partitions.into_iter().map(|partition| partition.partition_index);
            found.extend(
                numbers
                    .filter(|number| self.partition.is_none_or(|wanted| wanted == *number))
                    .map(|number| TopicPartition::new(name.clone(), number)),
            );
        }
        Ok(Some(found))
    }

    /// The error about a topic that is not there, with the nearest one that is.
    pub(super) async fn does_not_exist(&self, consumer: &Consumer) -> anyhow::Error {
        let topic = self.topic.clone().unwrap_or_default();
        let failure = Failure::new(format!("topic '{topic}' does not exist"));
        let known = consumer.list_topics().await.unwrap_or_default();
        match suggest::closest(&topic, known.iter().map(String::as_str)) {
            Some(near) => failure.advise(format!("did you mean '{near}'?")).into(),
            None => failure.into(),
        }
    }
}

fn offsets(results: Results<TopicPartition, ListedOffset>) -> Result<BTreeMap<TopicPartition, i64>, ClientError> {
    results.into_iter().map(|(partition, listed)| listed.map(|listed| (partition, listed.offset))).collect()
}

/// The offsets behind the last records, or those of the first records of a moment or later.
pub(super) async fn ends(
    consumer: &Consumer,
    partitions: &[TopicPartition],
    to: Option<i64>,
) -> Result<BTreeMap<TopicPartition, i64>, ClientError> {
    let mut ends = offsets(consumer.end_offsets(partitions).await)?;
    if let Some(to) = to {
        let times = partitions.iter().map(|partition| (partition.clone(), to)).collect();
        let found = offsets(consumer.offsets_for_times(&times).await)?;
        ends.extend(found.into_iter().filter(|(_, offset)| *offset >= 0));
    }
    Ok(ends)
}

/// The offsets to start at; none where the consumer finds out by itself.
pub(super) async fn starts(
    consumer: &Consumer,
    partitions: &[TopicPartition],
    start: Start,
) -> Result<BTreeMap<TopicPartition, i64>, ClientError> {
    match start {
        Start::Configured => Ok(BTreeMap::new()),
        Start::Offset(offset) => Ok(partitions.iter().map(|partition| (partition.clone(), offset)).collect()),
        Start::Earliest => offsets(consumer.beginning_offsets(partitions).await),
        Start::Latest => offsets(consumer.end_offsets(partitions).await),
        Start::Tail(count) => {
            let mut starts = offsets(consumer.end_offsets(partitions).await)?;
            let beginnings = offsets(consumer.beginning_offsets(partitions).await)?;
            for (partition, start) in &mut starts {
                let beginning = beginnings.get(partition).copied().unwrap_or_default();
                *start = (*start - count).max(beginning);
            }
            Ok(starts)
        }
        Start::Time(time) => {
            let mut starts = offsets(consumer.end_offsets(partitions).await)?;
            let times = partitions.iter().map(|partition| (partition.clone(), time)).collect();
            let found = offsets(consumer.offsets_for_times(&times).await)?;
            starts.extend(found.into_iter().filter(|(_, offset)| *offset >= 0));
            Ok(starts)
        }
    }
}
