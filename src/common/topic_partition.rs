//! The name of one partition.

use std::collections::BTreeMap;
use std::fmt;

/// A topic's name and a partition's number; sorts by topic, then partition. Its text is `topic-partition`, as everywhere in Kafka.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    pub topic: String,
    pub partition: i32,
}

impl TopicPartition {
    pub fn new(topic: impl Into<String>, partition: i32) -> TopicPartition {
        TopicPartition { topic: topic.into(), partition }
    }
}

/// Puts together what is said of the partitions of each topic, as requests and responses are written. `entries`: each with its topic.
pub fn by_topic<K: Ord, T>(entries: impl IntoIterator<Item = (K, T)>) -> BTreeMap<K, Vec<T>> {
    let mut topics: BTreeMap<K, Vec<T>> = BTreeMap::new();
    for (topic, entry) in entries {
        topics.entry(topic).or_default().push(entry);
    }
    topics
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}
