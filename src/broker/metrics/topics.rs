//! What went through each topic, and through all of them together. Source: `BrokerTopicMetrics`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        /// One topic's counters.
        #[derive(Debug, Default)]
        pub(crate) struct TopicCounters {
            $($(#[$doc])* pub(crate) $name: AtomicU64,)*
        }

        impl TopicCounters {
            /// Each counter by Kafka's name for it, in lower case.
            pub(super) fn read(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name.load(Ordering::Relaxed)),)*].into_iter().map(|(name, count)| (name, count))
            }
        }
    };
}

counters! {
    /// Records appended.
    messages_in;
    /// Bytes of batches appended.
    bytes_in;
    /// Bytes of batches sent to clients.
    bytes_out;
    /// Bytes of batches that were refused.
    bytes_rejected;
    /// Partitions in Produce requests.
    total_produce_requests;
    failed_produce_requests;
    /// Partitions in Fetch requests.
    total_fetch_requests;
    failed_fetch_requests;
}

impl TopicCounters {
    /// A partition of a Produce request brought `bytes`, and `records` of them were appended; none when it was refused.
    pub(crate) fn produced(&self, bytes: usize, records: Option<usize>) {
        add(&self.total_produce_requests, 1);
        match records {
            Some(records) => {
                add(&self.bytes_in, bytes);
                add(&self.messages_in, records);
            }
            None => {
                add(&self.failed_produce_requests, 1);
                add(&self.bytes_rejected, bytes);
            }
        }
    }

    /// A partition of a Fetch request got `bytes`; none when it was refused.
    pub(crate) fn fetched(&self, bytes: Option<usize>) {
        add(&self.total_fetch_requests, 1);
        match bytes {
            Some(bytes) => add(&self.bytes_out, bytes),
            None => add(&self.failed_fetch_requests, 1),
        }
    }
}

/// Adds to a counter.
fn add(counter: &AtomicU64, by: usize) {
    counter.fetch_add(by as u64, Ordering::Relaxed);
}

/// The counters of all topics.
#[derive(Debug, Default)]
pub(crate) struct TopicMetrics {
    by_topic: RwLock<HashMap<String, Arc<TopicCounters>>>,
}

impl TopicMetrics {
    /// A topic's counters. Ask once a request and topic, and only for topics that exist.
    pub(crate) fn of(&self, topic: &str) -> Arc<TopicCounters> {
        if let Some(found) = self.by_topic.read().unwrap_or_else(PoisonError::into_inner).get(topic) {
            return Arc::clone(found);
        }
        Arc::clone(self.by_topic.write().unwrap_or_else(PoisonError::into_inner).entry(topic.to_owned()).or_default())
    }

    /// Every topic that `exists`, by name; the others are forgotten.
    pub(super) fn read(&self, exists: impl Fn(&str) -> bool) -> Vec<(String, Arc<TopicCounters>)> {
        let mut by_topic = self.by_topic.write().unwrap_or_else(PoisonError::into_inner);
        by_topic.retain(|topic, _| exists(topic));
        let mut all: Vec<_> = by_topic.iter().map(|(topic, counters)| (topic.clone(), Arc::clone(counters))).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_is_gone_is_forgotten() {
        let metrics = TopicMetrics::default();
        add(&metrics.of("kept").messages_in, 3);
        add(&metrics.of("gone").messages_in, 4);
        let read = metrics.read(|topic| topic == "kept");
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].1.read().next(), Some(("messages_in", 3)));
        assert_eq!(metrics.of("gone").read().next(), Some(("messages_in", 0)));
    }
}
