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

    /// Tries again to create the logs that could not be when their partitions came, for want of space. Call it every second or so.
    pub fn open_missing_logs(&self) {
        let missing = self.partitions().into_iter().filter(|partition| partition.log().is_err());
        for partition in missing {
            let (topic_partition, registration) = (partition.topic_partition(), partition.registration());
            let assigned = assigned_directory(&registration, self.broker_id);
            if !self.log_dirs.can_create(topic_partition, assigned) {
                continue;
            }
            let image = self.image();
            let config = (self.log_configs)(&image, &topic_partition.topic);
            let Ok(log) = self.log_dirs.create(topic_partition, partition.topic_id(), assigned, config) else { continue };
            let is_wanted = self.partition(&topic_partition.topic, topic_partition.partition).is_ok_and(|it| Arc::ptr_eq(&it, &partition));
            if is_wanted {
                info!("{topic_partition} has a log now");
                partition.set_online(log);
            } else if let Err(failure) = self.log_dirs.delete(topic_partition) {
                error!("the log of {topic_partition} could not be deleted: {failure}");
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
        let assigned = assigned_directory(registration, self.broker_id);
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

/// The directory that the cluster's metadata names.
fn assigned_directory(registration: &PartitionRegistration, broker_id: i32) -> Option<Uuid> {
    registration.directory(broker_id).filter(|&id| !directory::is_reserved(id))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::clock::SystemClock;
    use crate::metadata::image::Provenance;
    use crate::metadata::record::MetadataRecord;
    use crate::protocol::batch::BatchBuilder;
    use crate::protocol::compression::Compression;
    use crate::protocol::messages::{PartitionChangeRecord, PartitionRecord, RemoveTopicRecord, TopicRecord};
    use crate::replication::partition::{FetchOutcome, FetchParams, PartitionAppendError};
    use crate::replication::waiters::Waiter;
    use crate::storage::log::{AppendOrigin, FetchIsolation};
    use crate::storage::log_dirs::LogDirsOptions;
    use crate::storage::meta_properties::MetaProperties;

    const BROKER: i32 = 1;
    const TOPIC: Uuid = Uuid::from_u128(1000);

    /// Replicas over a directory, and the image they have been shown.
    struct Fixture {
        replicas: Replicas,
        image: Arc<MetadataImage>,
    }

    fn open(dir: &std::path::Path) -> Fixture {
        let meta = MetaProperties { cluster_id: "cluster".to_owned(), node_id: BROKER, directory_id: Some(Uuid::from_u128(777)) };
        if !dir.join("meta.properties").exists() {
            meta.write(dir, "now").expect("written");
        }
        let options = LogDirsOptions {
            dirs: vec![dir.to_owned()],
            metadata_only_dir: None,
            node_id: BROKER,
            clock: SystemClock::shared(),
            recovery_threads_per_data_dir: 1,
            producer_id_expiration_ms: 1000,
            progress: Arc::default(),
        };
        let log_dirs = Arc::new(LogDirs::open(options).expect("opened"));
        log_dirs.load(&|_| Arc::default());
        let configs: LogConfigs = Box::new(|_, _| Arc::default());
        Fixture { replicas: Replicas::new(BROKER, log_dirs, configs), image: Arc::default() }
    }

    impl Fixture {
        fn publish(&mut self, records: &[MetadataRecord]) {
            let mut delta = MetadataDelta::new(Arc::clone(&self.image));
            for record in records {
                delta.replay(record).expect("a valid record");
            }
            self.image = Arc::new(delta.apply(Provenance::default()));
            self.replicas.publish(&delta, &self.image);
        }

        fn append(&self) -> Result<i64, PartitionAppendError> {
            let mut batch = BatchBuilder::new(Compression::None);
            batch.append(1, None, Some(b"value"), &[]).expect("a small record");
            let batch = batch.finish().expect("a batch");
            let partition = self.replicas.partition("t", 0).map_err(PartitionAppendError::Refused)?;
            partition.append_as_leader(&batch, AppendOrigin::Client, -1).map(|info| info.first_offset)
        }
    }

    fn topic(id: Uuid) -> MetadataRecord {
        TopicRecord { name: "t".to_owned(), topic_id: id, ..Default::default() }.into()
    }

    fn partition(id: Uuid, leader: i32, isr: &[i32]) -> MetadataRecord {
        let replicas = vec![BROKER, 2];
        let directories = vec![Uuid::from_u128(777), Uuid::from_u128(888)];
        PartitionRecord {
            partition_id: 0,
            topic_id: id,
            replicas,
            directories,
            isr: isr.to_vec(),
            leader,
            leader_epoch: 3,
            ..Default::default()
        }
        .into()
    }

    #[test]
    fn a_created_partition_takes_records_and_a_deleted_one_is_gone() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut it = open(dir.path());
        it.publish(&[topic(TOPIC), partition(TOPIC, BROKER, &[BROKER])]);
        assert_eq!(it.append().expect("appended"), 0);
        let held = it.replicas.partition("t", 0).expect("the partition");
        assert_eq!(held.log().expect("its log").high_watermark(), 1);
        assert_eq!(it.replicas.partition("t", 1).err(), Some(ErrorCode::UnknownTopicOrPartition));

        it.publish(&[RemoveTopicRecord { topic_id: TOPIC, ..Default::default() }.into()]);
        assert_eq!(it.replicas.partition("t", 0).err(), Some(ErrorCode::UnknownTopicOrPartition));
        assert_eq!(held.leader_log(-1).err(), Some(ErrorCode::NotLeaderOrFollower));
        assert!(!dir.path().join("t-0").exists());
    }

    #[test]
    fn a_topic_deleted_and_created_again_starts_empty() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut it = open(dir.path());
        it.publish(&[topic(TOPIC), partition(TOPIC, BROKER, &[BROKER])]);
        it.append().expect("appended");
        let again = Uuid::from_u128(2000);
        it.publish(&[
            RemoveTopicRecord { topic_id: TOPIC, ..Default::default() }.into(),
            topic(again),
            partition(again, BROKER, &[BROKER]),
        ]);
        assert_eq!(it.replicas.partition("t", 0).expect("the new one").topic_id(), again);
        assert_eq!(it.append().expect("appended"), 0);
    }

    #[test]
    fn only_the_leader_appends_and_only_in_its_epoch() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut it = open(dir.path());
        it.publish(&[topic(TOPIC), partition(TOPIC, 2, &[BROKER, 2])]);
        assert_eq!(it.append().map_err(|error| error.error_code()), Err(ErrorCode::NotLeaderOrFollower));
        it.publish(&[PartitionChangeRecord {
            partition_id: 0,
            topic_id: TOPIC,
            leader: BROKER,
            isr: Some(vec![BROKER]),
            ..Default::default()
        }
        .into()]);
        assert_eq!(it.append().expect("appended"), 0);
        let partition = it.replicas.partition("t", 0).expect("the partition");
        assert_eq!(partition.leader_log(3).err(), Some(ErrorCode::FencedLeaderEpoch));
        assert_eq!(partition.leader_log(5).err(), Some(ErrorCode::UnknownLeaderEpoch));
        assert!(partition.leader_log(4).is_ok());
    }

    #[test]
    fn the_high_watermark_waits_for_the_other_replicas() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut it = open(dir.path());
        it.publish(&[topic(TOPIC), partition(TOPIC, BROKER, &[BROKER, 2])]);
        assert_eq!(it.append().expect("appended"), 0);
        let partition = it.replicas.partition("t", 0).expect("the partition");
        assert_eq!(partition.is_replicated(0, 3), Ok(false));
        // The other replica leaves the ISR: what this broker has alone counts.
        it.publish(&[PartitionChangeRecord { partition_id: 0, topic_id: TOPIC, isr: Some(vec![BROKER]), ..Default::default() }.into()]);
        assert_eq!(partition.is_replicated(0, 3), Ok(true));
        assert_eq!(partition.is_replicated(0, 2), Err(ErrorCode::NotLeaderOrFollower));
    }

    #[tokio::test]
    async fn whoever_waits_for_a_partition_is_woken() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut it = open(dir.path());
        it.publish(&[topic(TOPIC), partition(TOPIC, BROKER, &[BROKER])]);
        let partition = it.replicas.partition("t", 0).expect("the partition");
        let waiter = Waiter::new();
        let _registration = partition.register(&waiter);
        it.append().expect("appended");
        waiter.woken().await;
        it.publish(&[PartitionChangeRecord { partition_id: 0, topic_id: TOPIC, leader: 2, ..Default::default() }.into()]);
        waiter.woken().await;
        it.publish(&[RemoveTopicRecord { topic_id: TOPIC, ..Default::default() }.into()]);
        waiter.woken().await;
    }

    #[test]
    fn a_reader_whose_log_left_ours_is_told_where() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut it = open(dir.path());
        it.publish(&[topic(TOPIC), partition(TOPIC, BROKER, &[BROKER])]);
        it.append().expect("appended in epoch 3");
        it.publish(&[PartitionChangeRecord { partition_id: 0, topic_id: TOPIC, leader: BROKER, ..Default::default() }.into()]);
        it.append().expect("appended in epoch 4");
        let partition = it.replicas.partition("t", 0).expect("the partition");
        let fetch = |fetch_offset, last_fetched_epoch| {
            partition.fetch(&FetchParams {
                fetch_offset,
                current_leader_epoch: 4,
                last_fetched_epoch,
                max_bytes: 1000,
                min_one_message: true,
                isolation: FetchIsolation::HighWatermark,
            })
        };
        assert!(matches!(fetch(1, 3), Ok(FetchOutcome::Data(_))));
        assert!(matches!(fetch(2, 3), Ok(FetchOutcome::Diverging { epoch: 3, end_offset: 1, .. })));
        // An epoch before all of ours ends where the first of ours begins.
        assert!(matches!(fetch(1, 1), Ok(FetchOutcome::Diverging { epoch: 1, end_offset: 0, .. })));
    }

    #[test]
    fn logs_that_nobody_wants_are_set_aside_at_the_first_image() {
        let dir = tempfile::tempdir().expect("a directory");
        {
            let mut it = open(dir.path());
            it.publish(&[topic(TOPIC), partition(TOPIC, BROKER, &[BROKER])]);
            it.append().expect("appended");
            it.replicas.log_dirs().shutdown(1);
        }
        let mut it = open(dir.path());
        it.publish(&[]);
        assert!(!dir.path().join("t-0").exists());
        let names: Vec<String> = std::fs::read_dir(dir.path())
            .expect("a directory")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        assert!(names.iter().any(|name| name.starts_with("t-0.") && name.ends_with("-stray")), "{names:?}");
    }
}
