//! What operators watch: counters and histograms that the broker keeps as it works, and an endpoint that shows them.
//!
//! The names are those under which the world's dashboards know Kafka's metrics: the JMX name in lower case, joined by underscores, as
//! Prometheus' JMX exporter writes it (`kafka.server:type=BrokerTopicMetrics,name=BytesInPerSec` is
//! `kafka_server_brokertopicmetrics_bytesin_total`; its rates are left to the reader, who has them from the counter). Group lag has no
//! JMX name; it stands under those of the usual exporter for it, `kafka_consumergroup_lag` and so on.
//!
//! - [`requests`]: each API's count, errors, sizes and latency histograms. Kept always, with a few relaxed atomic additions a request.
//! - [`topics`]: records and bytes through each topic. Kept always.
//! - [`scrape`]: everything that can be looked up when somebody asks: partitions, logs, groups, the quorum, the process.
//! - [`endpoint`]: HTTP, off unless `metrics.listener` is set: `/metrics`, `/health`, `/ready`.
//!
//! Invariant: nothing here takes a lock that a request holds while it waits.
//! Sources: `RequestMetrics`, `BrokerTopicMetrics`, `ReplicaManager`'s and `KafkaController`'s gauges.

pub(super) mod endpoint;
mod exposition;
mod histogram;
mod requests;
mod scrape;
mod topics;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) use requests::RequestMetrics;
pub(crate) use topics::TopicMetrics;

/// All that is counted while the broker works.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) requests: RequestMetrics,
    pub(crate) topics: TopicMetrics,
    connections: Mutex<BTreeMap<Arc<str>, Arc<ListenerMetrics>>>,
}

/// The connections of one listener.
#[derive(Debug, Default)]
pub(crate) struct ListenerMetrics {
    open: AtomicI64,
    created: AtomicU64,
}

impl ListenerMetrics {
    /// Counts a connection until the returned value is dropped.
    pub(crate) fn opened(self: &Arc<Self>) -> OpenConnection {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.created.fetch_add(1, Ordering::Relaxed);
        OpenConnection(Arc::clone(self))
    }
}

/// One connection, for as long as it is open.
#[derive(Debug)]
pub(crate) struct OpenConnection(Arc<ListenerMetrics>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// The counters of a listener, made when it is first asked for.
    pub(crate) fn listener(&self, name: &Arc<str>) -> Arc<ListenerMetrics> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(connections.entry(Arc::clone(name)).or_default())
    }

    /// Each listener with its open connections and all that it ever had.
    fn connections(&self) -> Vec<(Arc<str>, i64, u64)> {
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let read = |metrics: &ListenerMetrics| (metrics.open.load(Ordering::Relaxed), metrics.created.load(Ordering::Relaxed));
        connections
            .iter()
            .map(|(name, metrics)| {
                let (open, created) = read(metrics);
                (Arc::clone(name), open, created)
            })
            .collect()
    }
}
