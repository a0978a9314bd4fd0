//! Which directory of a broker holds a replica. Source: `KafkaAdminClient`; KIP-113.

use std::collections::{BTreeMap, BTreeSet};

use super::{Admin, Results, spread};
use crate::client::error::{ApiError, ClientError};
use crate::common::topic_partition::{TopicPartition, by_topic};
use crate::protocol::messages::AlterReplicaLogDirsRequest;
use crate::protocol::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};

/// A partition on one broker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicPartitionReplica {
    pub topic_partition: TopicPartition,
    pub broker_id: i32,
}

/// Where a replica is, and where it is on its way to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaLogDirInfo {
    /// `None`: the broker has no such replica.
    pub current_log_dir: Option<String>,
    pub current_offset_lag: i64,
    pub future_log_dir: Option<String>,
    pub future_offset_lag: i64,
}

impl Admin {
    /// Moves replicas to other directories of their brokers. Done means begun: the broker copies in the background.
    pub async fn alter_replica_log_dirs(&self, assignment: &BTreeMap<TopicPartitionReplica, String>) -> Results<TopicPartitionReplica, ()> {
        let mut by_broker: BTreeMap<i32, BTreeMap<&str, Vec<TopicPartition>>> = BTreeMap::new();
        for (replica, path) in assignment {
            let directories = by_broker.entry(replica.broker_id).or_default();
            directories.entry(path).or_default().push(replica.topic_partition.clone());
        }
        let mut results = BTreeMap::new();
        for (broker_id, directories) in by_broker {
            let replicas: Vec<TopicPartitionReplica> = directories
                .values()
                .flatten()
                .map(|partition| TopicPartitionReplica { topic_partition: partition.clone(), broker_id })
                .collect();
            let dirs = directories.into_iter().map(|(path, partitions)| {
                let topics = by_topic(partitions.into_iter().map(|it| (it.topic, it.partition)));
                let topics =
                    topics.into_iter().map(|(name, partitions)| AlterReplicaLogDirTopic { name, partitions, ..Default::default() });
                AlterReplicaLogDir { path: path.to_owned(), topics: topics.collect(), ..Default::default() }
            });
            let request = AlterReplicaLogDirsRequest { dirs: dirs.collect(), ..Default::default() };
            let outcome = self.retried("alterReplicaLogDirs", || async { self.cluster.send_to(broker_id, &request).await }).await;
            let outcome = outcome.map(|response| {
                let answered = response.results.into_iter().flat_map(|topic| {
                    topic.partitions.into_iter().map(move |it| {
                        let topic_partition = TopicPartition::new(topic.topic_name.clone(), it.partition_index);
                        (TopicPartitionReplica { topic_partition, broker_id }, ApiError::check(it.error_code, None))
                    })
                });
                answered.collect()
            });
            results.extend(spread(replicas, outcome));
        }
        results
    }

    /// Where replicas are.
    pub async fn describe_replica_log_dirs(&self, replicas: &[TopicPartitionReplica]) -> Results<TopicPartitionReplica, ReplicaLogDirInfo> {
        let mut by_broker: BTreeMap<i32, BTreeSet<TopicPartition>> = BTreeMap::new();
        for replica in replicas {
            by_broker.entry(replica.broker_id).or_default().insert(replica.topic_partition.clone());
        }
        let mut results = BTreeMap::new();
        for (broker_id, wanted) in by_broker {
            let wanted: Vec<TopicPartition> = wanted.into_iter().collect();
            let mut described = self.describe_log_dirs(&[broker_id], Some(&wanted)).await;
            let directories = described.remove(&broker_id);
            for topic_partition in wanted {
                let outcome = match &directories {
                    Some(Err(error)) => Err(error.clone()),
                    Some(Ok(directories)) => {
                        let mut info = ReplicaLogDirInfo::default();
                        for (path, directory) in directories.iter().filter(|(_, directory)| directory.error.is_none()) {
                            match directory.replicas.get(&topic_partition) {
                                Some(replica) if replica.is_future => {
                                    info.future_log_dir = Some(path.clone());
                                    info.future_offset_lag = replica.offset_lag;
                                }
                                Some(replica) => {
                                    info.current_log_dir = Some(path.clone());
                                    info.current_offset_lag = replica.offset_lag;
                                }
                                None => {}
                            }
                        }
                        Ok(info)
                    }
                    None => Err(ClientError::from(crate::protocol::error_code::ErrorCode::UnknownServerError)),
                };
                results.insert(TopicPartitionReplica { topic_partition, broker_id }, outcome);
            }
        }
        results
    }
}
