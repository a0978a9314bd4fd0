//! All partitions of this broker, kept as the metadata says: a follower of the metadata log that creates, updates and deletes logs.
//! Source: `ReplicaManager`, `BrokerMetadataPublisher`.
//!
//! Invariants:
//! - A partition exists here exactly while the newest image lists this broker among its replicas.
//! - When [`Replicas::publish`] returns, the partitions of the image can be produced to.
//! - An I/O error takes the log directory offline: its partitions answer KAFKA_STORAGE_ERROR, all others go on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tracing::{error, info, warn};

use super::partition::Partition;
use crate::common::topic_name;
use crate::common::topic_partition::TopicPartition;
use crate::common::uuid::Uuid;
use crate::metadata::delta::MetadataDelta;
use crate::metadata::image::{ConfigResourceType, MetadataImage, PartitionRegistration, TopicImage, directory};
use crate::metadata::publisher::Publisher;
use crate::protocol::error_code::ErrorCode;
use crate::storage::config::LogConfig;
use crate::storage::log::Log;
use crate::storage::log_dirs::{LogDirs, LogDirsError};

/// Gives the effective log configs of a topic in an image.
pub type LogConfigs = Box<dyn Fn(&MetadataImage, &str) -> Arc<LogConfig> + Send + Sync>;

/// Every partition this broker has a replica of.
pub struct Replicas {
    broker_id: i32,
    log_dirs: Arc<LogDirs>,
    log_configs: LogConfigs,
    topics: RwLock<HashMap<String, HostedTopic>>,
    /// The image the partitions were last brought in line with.
    image: RwLock<Arc<MetadataImage>>,
    /// Has the first image been published? Only then is it known which logs on disk nobody wants.
    loaded: AtomicBool,
}

struct HostedTopic {
    id: Uuid,
    partitions: HashMap<i32, Arc<Partition>>,
}

impl Replicas {
    /// Over loaded log directories; without partitions until the first image is published.
    pub fn new(broker_id: i32, log_dirs: Arc<LogDirs>, log_configs: LogConfigs) -> Replicas {
        Replicas { broker_id, log_dirs, log_configs, topics: RwLock::default(), image: RwLock::default(), loaded: AtomicBool::new(false) }
    }

    pub fn broker_id(&self) -> i32 {
        self.broker_id
    }

    pub fn log_dirs(&self) -> &Arc<LogDirs> {
        &self.log_dirs
    }

    /// The partition, whoever leads it. UNKNOWN_TOPIC_OR_PARTITION when the cluster has none of this name, NOT_LEADER_OR_FOLLOWER when
    /// it has but without a replica here.
    pub fn partition(&self, topic: &str, partition: i32) -> Result<Arc<Partition>, ErrorCode> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = topics.get(topic).and_then(|hosted| hosted.partitions.get(&partition)) {
            return Ok(Arc::clone(found));
        }
        drop(topics);
        match self.image().topics.partition(topic, partition) {
            Some(_) => Err(ErrorCode::NotLeaderOrFollower),
            None => Err(ErrorCode::UnknownTopicOrPartition),
        }
    }

    /// Every partition here, in no order.
    pub fn partitions(&self) -> Vec<Arc<Partition>> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics.values().flat_map(|hosted| hosted.partitions.values().cloned()).collect()
    }

    /// The newest image that the partitions follow.
    pub fn image(&self) -> Arc<MetadataImage> {
        Arc::clone(&self.image.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes partitions offline whose log directory has failed since the last call. Call it every second or so.
    pub fn take_failed_logs_offline(&self) {
        if self.log_dirs.directories().iter().all(|dir| dir.online) {
            return;
        }
        for partition in self.partitions() {
            if partition.log().is_ok() && self.log_dirs.log(partition.topic_partition()).is_none() {
                warn!("{} is offline with its log directory", partition.topic_partition());
                partition.set_offline();
            }
        }
    }

    /// Creates or updates one partition.
    fn apply(&self, topic: &TopicImage, index: i32, registration: &Arc<PartitionRegistration>, image: &MetadataImage) {
        if !registration.replicas.contains(&self.broker_id) {
            self.remove(&topic.name, index);
            return;
        }
        let existing = {
            let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
            topics.get(&topic.name).filter(|hosted| hosted.id == topic.id).and_then(|hosted| hosted.partitions.get(&index).cloned())
        };
        if let Some(partition) = existing {
            partition.update(registration);
            return;
        }
        let topic_partition = TopicPartition::new(topic.name.clone(), index);
        let log = self.open_log(&topic_partition, topic, registration, image);
        let partition = Arc::new(Partition::new(self.broker_id, topic_partition, topic.id, Arc::clone(registration), log));
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        let hosted = topics.entry(topic.name.clone()).or_insert_with(|| HostedTopic { id: topic.id, partitions: HashMap::new() });
        if hosted.id != topic.id {
            // Deleted and created again in one delta: whoever still waits for the old one must learn that it is gone.
            hosted.partitions.values().for_each(|old| old.set_gone());
            *hosted = HostedTopic { id: topic.id, partitions: HashMap::new() };
        }
        hosted.partitions.insert(index, partition);
    }

    /// The partition's log, or none (said in the program's log) when it cannot be had.
    fn open_log(
        &self,
        topic_partition: &TopicPartition,
        topic: &TopicImage,
        registration: &PartitionRegistration,
        image: &MetadataImage,
    ) -> Option<Arc<Log>> {
        let assigned = registration.directory(self.broker_id).filter(|&id| !directory::is_reserved(id));
        let assigned_offline = assigned.is_some_and(|id| self.log_dirs.directories().iter().any(|dir| dir.id == id && !dir.online));
        if assigned_offline {
            warn!("{topic_partition} is offline with its log directory");
            return None;
        }
        let config = (self.log_configs)(image, &topic.name);
        let created = match self.log_dirs.create(topic_partition, topic.id, assigned, Arc::clone(&config)) {
            Err(LogDirsError::InconsistentTopicId { found, wanted, .. }) => {
                warn!("the log of {topic_partition} belongs to an older topic of that name ({found}, not {wanted}); setting it aside");
                self.log_dirs.mark_stray(topic_partition).and_then(|()| self.log_dirs.create(topic_partition, topic.id, assigned, config))
            }
            result => result,
        };
        match created {
            Ok(log) => Some(log),
            Err(failure) => {
                error!("no log for {topic_partition}: {failure}");
                None
            }
        }
    }

    /// Forgets a partition and deletes its log.
    fn remove(&self, topic: &str, index: i32) {
        let removed = {
            let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
            let Some(hosted) = topics.get_mut(topic) else { return };
            let removed = hosted.partitions.remove(&index);
            if hosted.partitions.is_empty() {
                topics.remove(topic);
            }
            removed
        };
        let Some(partition) = removed else { return };
        partition.set_gone();
        if let Err(failure) = self.log_dirs.delete(partition.topic_partition()) {
            error!("the log of {} could not be deleted: {failure}", partition.topic_partition());
        }
    }

    /// Gives every log its configs anew.
    fn update_configs(&self, image: &MetadataImage, concerns: impl Fn(&str) -> bool) {
        for partition in self.partitions() {
            let topic = &partition.topic_partition().topic;
            if let Some(log) = partition.log().ok().filter(|_| concerns(topic)) {
                log.update_config((self.log_configs)(image, topic));
            }
        }
    }

    /// After the first image: a log on disk that no partition wants is set aside, never deleted.
    fn set_strays_aside(&self, image: &MetadataImage) {
        for log in self.log_dirs.logs() {
            let found = log.topic_partition();
            let wanted = image.topics.partition(&found.topic, found.partition).is_some_and(|it| it.replicas.contains(&self.broker_id));
            if !wanted && found.topic != topic_name::CLUSTER_METADATA {
                warn!("{found} is not in the cluster's metadata; setting its log aside");
                if let Err(failure) = self.log_dirs.mark_stray(found) {
                    error!("the log of {found} could not be set aside: {failure}");
                }
            }
        }
    }
}

impl Publisher for Replicas {
    fn name(&self) -> &str {
        "Replicas"
    }

    fn publish(&self, delta: &MetadataDelta, image: &Arc<MetadataImage>) {
        for topic in delta.deleted_topics() {
            for &index in topic.partitions.keys() {
                let same = self.partition(&topic.name, index).is_ok_and(|partition| partition.topic_id() == topic.id);
                if same {
                    self.remove(&topic.name, index);
                }
            }
        }
        for (topic, changes) in delta.changed_topics() {
            for &index in &changes.partitions {
                if let Some(registration) = topic.partition(index) {
                    self.apply(topic, index, registration, image);
                }
            }
        }
        let changed = delta.changed_configs();
        if changed.iter().any(|resource| resource.type_ == ConfigResourceType::Broker) {
            self.update_configs(image, |_| true);
        } else if !changed.is_empty() {
            let topics: Vec<&str> = changed
                .iter()
                .filter(|resource| resource.type_ == ConfigResourceType::Topic)
                .map(|resource| resource.name.as_str())
                .collect();
            self.update_configs(image, |topic| topics.contains(&topic));
        }
        if !self.loaded.swap(true, Ordering::SeqCst) {
            self.set_strays_aside(image);
            info!("serving {} partitions", self.partitions().len());
        }
        *self.image.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(image);
    }
}
