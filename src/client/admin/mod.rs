//! Administrative calls, under the names of Kafka's `Admin`.
//!
//! Every call retries what [`super::retry`] calls retriable until `default.api.timeout.ms` is over. Calls about several items give a
//! [`Results`]: one item's failure is a value and leaves the others alone; an error of the whole call stands at every item.
//!
//! Source: `KafkaAdminClient` and the handlers in `admin/internals`.

mod cluster;
mod configs;
mod elections;
mod features;
mod groups;
mod log_dirs;
mod offsets;
mod quorum;
mod quotas;
mod reassignments;
mod share_groups;
mod streams_groups;
mod topics;
mod transactions;

use std::collections::BTreeMap;
use std::future::Future;

pub use super::committed::OffsetAndMetadata;
pub use cluster::{ClusterDescription, DescribedBroker, LogDirDescription, ReplicaInfo};
pub use configs::{
    AlterConfigOp, AlterConfigOpType, ConfigEntry, ConfigResource, ConfigResourceType, ConfigSource, ConfigSynonym, ConfigType,
};
pub use elections::ElectionType;
pub use features::{FeatureMetadata, FeatureUpdate, FeatureVersions, UpgradeType};
pub use groups::{
    ClassicGroupDescription, ClassicMemberDescription, ConsumerGroupDescription, GroupListing, GroupState, GroupType, ListGroupsFilter,
    ListedGroups, MemberDescription, MemberToRemove,
};
pub use log_dirs::{ReplicaLogDirInfo, TopicPartitionReplica};
pub use offsets::{IsolationLevel, ListedOffset, OffsetSpec, ProducerState};
pub use quorum::{QuorumInfo, QuorumListener, QuorumReplica};
pub use quotas::{ClientQuotaAlteration, ClientQuotaEntity, ClientQuotaFilter, ClientQuotaMatch};
pub use reassignments::PartitionReassignment;
pub use share_groups::{ShareGroupDescription, ShareMemberDescription, SharePartitionOffset};
pub use streams_groups::{
    StreamsGroupDescription, StreamsMemberDescription, StreamsSubtopology, StreamsTasks, StreamsTopicInfo, StreamsTopology,
};
pub use topics::{CreatedTopic, NewPartitions, NewTopic, TopicDescription, TopicListing, TopicPartitionInfo};
pub use transactions::{AbortTransactionSpec, ListTransactionsFilter, TransactionDescription, TransactionListing, TransactionState};

use super::cluster::{Cluster, CoordinatorKind};
use super::config::ClientConfig;
use super::conn::Connection;
use super::error::{ApiError, ClientError};
use super::pool::Use;
use super::retry::Recovery;
use crate::common::topic_partition::TopicPartition;
use crate::protocol::codec::Request;
use crate::protocol::error_code::ErrorCode;

/// One outcome for each item of a call.
pub type Results<K, T> = BTreeMap<K, Result<T, ClientError>>;

/// An administrative client; clones share its connections.
#[derive(Clone)]
pub struct Admin {
    cluster: Cluster,
}

/// How often a partition or topic that the metadata does not know is asked for again: enough for news to reach all brokers.
const UNKNOWN_TOPIC_ATTEMPTS: u32 = 2;

/// An item of a call, as far as finding its broker again goes.
trait Item: Ord + Clone {
    fn topic(&self) -> Option<&str> {
        None
    }

    fn coordinator(&self) -> Option<(CoordinatorKind, &str)> {
        None
    }
}

impl Item for TopicPartition {
    fn topic(&self) -> Option<&str> {
        Some(&self.topic)
    }
}

/// A group's id.
impl Item for String {
    fn coordinator(&self) -> Option<(CoordinatorKind, &str)> {
        Some((CoordinatorKind::Group, self))
    }
}

impl Admin {
    /// Connects as [`Cluster::connect`] does.
    pub async fn connect(config: &ClientConfig) -> Result<Admin, ClientError> {
        Ok(Admin { cluster: Cluster::connect(config, "adminclient-1").await? })
    }

    /// An administrative client over connections that exist.
    pub fn new(cluster: Cluster) -> Admin {
        Admin { cluster }
    }

    /// The cluster, for requests that have no call of their own here.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Closes all connections.
    pub fn close(&self) {
        self.cluster.close();
    }

    /// One request for the controller, retried as a whole. `code` finds in an answer the error that concerns all of it.
    async fn on_controller<R: Request>(
        &self,
        call: &'static str,
        request: &R,
        code: impl Fn(&R::Response) -> ErrorCode,
    ) -> Result<R::Response, ClientError> {
        let mut attempts = self.cluster.attempts(call);
        loop {
            let error = match self.cluster.send_to_controller(request).await {
                Ok(response) if code(&response) == ErrorCode::NotController => ErrorCode::NotController.into(),
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            attempts.pause(error.clone()).await?;
            self.cluster.recover(&error, None, None).await;
        }
    }

    /// Calls `attempt` until it succeeds, fails for good, or the call's time is over.
    async fn retried<T, F>(&self, call: &'static str, mut attempt: impl FnMut() -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let mut attempts = self.cluster.attempts(call);
        loop {
            match attempt().await {
                Ok(value) => return Ok(value),
                Err(error) => {
                    attempts.pause(error.clone()).await?;
                    self.cluster.recover(&error, None, None).await;
                }
            }
        }
    }

    /// Calls `round` with the items that have no final outcome yet, until all have one. An item that a round leaves out is retried too.
    async fn rounds<K: Item, T, F>(
        &self,
        call: &'static str,
        items: impl IntoIterator<Item = K>,
        mut round: impl FnMut(Vec<K>) -> F,
    ) -> Results<K, T>
    where
        F: Future<Output = Results<K, T>>,
    {
        let mut attempts = self.cluster.attempts(call);
        let mut done = BTreeMap::new();
        let mut pending: Vec<K> = items.into_iter().collect();
        while !pending.is_empty() {
            let mut outcomes = round(pending.clone()).await;
            let mut again = Vec::new();
            let mut last = ClientError::from(ErrorCode::UnknownServerError);
            for item in pending {
                match outcomes.remove(&item) {
                    None => again.push(item),
                    Some(Err(error)) if self.is_worth_a_retry(&error, attempts.failures()) => {
                        self.cluster.recover(&error, item.topic(), item.coordinator()).await;
                        last = error;
                        again.push(item);
                    }
                    Some(outcome) => {
                        done.insert(item, outcome);
                    }
                }
            }
            pending = again;
            if !pending.is_empty()
                && let Err(error) = attempts.pause(retriable(last)).await
            {
                done.extend(pending.drain(..).map(|item| (item, Err(error.clone()))));
            }
        }
        done
    }

    fn is_worth_a_retry(&self, error: &ClientError, failures: u32) -> bool {
        match error {
            ClientError::Api(ApiError { code: ErrorCode::UnknownTopicOrPartition, .. }) => failures < UNKNOWN_TOPIC_ATTEMPTS,
            error => error.recovery() != Recovery::Fatal,
        }
    }

    /// Sends to each broker the request for its items, all at once, and collects the answers with the version each was asked at.
    async fn to_brokers<R: Request, K>(
        &self,
        items: BTreeMap<i32, Vec<K>>,
        build: impl Fn(&Connection, &[K]) -> Result<(R, i16), ClientError>,
    ) -> Vec<(i32, Vec<K>, Result<(R::Response, i16), ClientError>)> {
        let mut started = Vec::new();
        for (broker, items) in items {
            let pending = match self.cluster.connection(broker, Use::General).await {
                Ok(connection) => build(&connection, &items)
                    .and_then(|(request, version)| Ok(connection.start_at(&request, version, self.cluster.request_timeout(), true)?)),
                Err(error) => Err(error),
            };
            started.push((broker, items, pending));
        }
        let mut answers = Vec::new();
        for (broker, items, pending) in started {
            let answer = match pending {
                Ok(pending) => {
                    let version = pending.version();
                    pending.answer().await.map(|answer| (answer, version)).map_err(ClientError::from)
                }
                Err(error) => Err(error),
            };
            answers.push((broker, items, answer));
        }
        answers
    }

    /// Sorts partitions by their leaders; those without one come back with the reason.
    async fn by_leader<T>(&self, partitions: &[TopicPartition]) -> (BTreeMap<i32, Vec<(TopicPartition, i32)>>, Results<TopicPartition, T>) {
        let mut leaders: BTreeMap<i32, Vec<(TopicPartition, i32)>> = BTreeMap::new();
        let mut failed = BTreeMap::new();
        let found = self.cluster.leaders(partitions).await;
        for (partition, outcome) in partitions.iter().zip(found) {
            match outcome {
                Ok((leader, epoch)) => leaders.entry(leader).or_default().push((partition.clone(), epoch)),
                Err(error) => {
                    failed.insert(partition.clone(), Err(error));
                }
            }
        }
        (leaders, failed)
    }

    /// Sorts groups, or transactional ids, by their coordinators; those without one come back with the reason.
    async fn by_coordinator<K: Item, T>(&self, items: &[K]) -> (BTreeMap<i32, Vec<K>>, Results<K, T>) {
        let mut coordinators: BTreeMap<i32, Vec<K>> = BTreeMap::new();
        let mut failed = BTreeMap::new();
        for item in items {
            let Some((kind, key)) = item.coordinator() else { continue };
            match self.cluster.coordinator(kind, key).await {
                Ok(coordinator) => coordinators.entry(coordinator).or_default().push(item.clone()),
                Err(error) => {
                    failed.insert(item.clone(), Err(error));
                }
            }
        }
        (coordinators, failed)
    }

    /// Asks the coordinators of all items, each for its own. `read` gives the outcomes that an answer of this broker brings.
    async fn ask_coordinators<K: Item, R: Request, T>(
        &self,
        call: &'static str,
        items: impl IntoIterator<Item = K>,
        request: impl Fn(&[K]) -> R,
        read: impl Fn(i32, R::Response) -> Results<K, T>,
    ) -> Results<K, T> {
        let (request, read) = (&request, &read);
        let round = |pending: Vec<K>| async move {
            let (coordinators, mut results) = self.by_coordinator(&pending).await;
            let build = |connection: &Connection, items: &[K]| Ok((request(items), connection.version_of::<R>()?));
            for (broker, items, answer) in self.to_brokers(coordinators, build).await {
                results.extend(match answer {
                    Ok((response, _)) => read(broker, response),
                    Err(error) => all_failed(items, &error),
                });
            }
            results
        };
        self.rounds(call, items, round).await
    }

    /// One request to a group's coordinator, retried. `code` finds in an answer the error that concerns all of it.
    async fn on_coordinator<R: Request>(
        &self,
        call: &'static str,
        group: &str,
        build: impl Fn(&Connection) -> Result<(R, i16), ClientError>,
        code: impl Fn(&R::Response, i16) -> ErrorCode,
    ) -> Result<(R::Response, i16), ClientError> {
        let mut attempts = self.cluster.attempts(call);
        loop {
            let attempt = async {
                let broker = self.cluster.coordinator(CoordinatorKind::Group, group).await?;
                let connection = self.cluster.connection(broker, Use::General).await?;
                let (request, version) = build(&connection)?;
                let response = connection.send_at(&request, version).await?;
                match code(&response, version) {
                    ErrorCode::None => Ok((response, version)),
                    code => Err(ClientError::from(code)),
                }
            };
            match attempt.await {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    attempts.pause(error.clone()).await?;
                    self.cluster.recover(&error, None, Some((CoordinatorKind::Group, group))).await;
                }
            }
        }
    }
}

/// An error to pause for, where it was already decided that there is another attempt.
fn retriable(error: ClientError) -> ClientError {
    if error.recovery().is_retriable() { error } else { ErrorCode::RequestTimedOut.into() }
}

/// The same failure for every item.
fn all_failed<K: Ord, T>(items: impl IntoIterator<Item = K>, error: &ClientError) -> Results<K, T> {
    items.into_iter().map(|item| (item, Err(error.clone()))).collect()
}

/// Spreads the outcome of a whole call over its items: `Err` to each, or each item's own; an item without one was not answered.
fn spread<K: Ord, T>(items: impl IntoIterator<Item = K>, outcome: Result<Results<K, T>, ClientError>) -> Results<K, T> {
    match outcome {
        Err(error) => all_failed(items, &error),
        Ok(mut results) => {
            for item in items {
                results
                    .entry(item)
                    .or_insert_with(|| Err(ApiError::new(ErrorCode::UnknownServerError, Some(NOT_ANSWERED.to_owned())).into()));
            }
            results
        }
    }
}

const NOT_ANSWERED: &str = "The broker's answer does not mention this item.";

/// `timeout.ms` fields are 32 bits wide.
fn wire_millis(duration: std::time::Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

/// Authorized operations as the wire has them; `None` when they were not asked for.
fn authorized_operations(bits: i32) -> Option<i32> {
    (bits != i32::MIN).then_some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compiles only if it is so.
    #[test]
    fn calls_can_be_awaited_on_any_thread() {
        fn is_send<T: Send>(_: T) {}
        fn check(admin: &Admin) {
            is_send(admin.list_offsets(&BTreeMap::new(), IsolationLevel::ReadCommitted));
            is_send(admin.describe_consumer_groups(&[]));
            is_send(admin.list_group_offsets("g", None, true));
            is_send(admin.describe_transactions(&[]));
            is_send(admin.describe_client_quotas(&ClientQuotaFilter::default()));
            is_send(admin.describe_configs(&[], None, false, false));
            is_send(admin.describe_topics(&[]));
            is_send(admin.list_groups(&ListGroupsFilter::default()));
        }
        let _ = check;
    }
}
