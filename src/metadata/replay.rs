//! What each record does to an image.
//!
//! Invariant: every replica of the log reaches the same image from the same records; so nothing here looks at a clock, at
//! configs or at chance.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::delta::MetadataDelta;
use super::features;
use super::image::*;
use super::record::MetadataRecord;
use crate::common::uuid::Uuid;
use crate::protocol::messages::*;

/// A record that contradicts the records before it, or that asks for more than this build knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    #[error("{record}: no topic has the ID {topic_id}")]
    UnknownTopicId { record: &'static str, topic_id: Uuid },
    #[error("{record}: no topic is named '{name}'")]
    UnknownTopic { record: &'static str, name: String },
    #[error("{record}: topic '{topic}' has no partition {partition}")]
    UnknownPartition { record: &'static str, topic: String, partition: i32 },
    #[error("topic '{name}' is created a second time with the ID {topic_id}")]
    DuplicateTopic { name: String, topic_id: Uuid },
    #[error("{record}: broker {id} is not registered with epoch {epoch}")]
    UnknownBroker { record: &'static str, id: i32, epoch: i64 },
    #[error("{record}: {field} has the unknown value {value}")]
    UnknownValue { record: &'static str, field: &'static str, value: i64 },
    #[error("{name} level {level} is not supported: this build reads levels {min} to {max}")]
    UnsupportedFeatureLevel { name: String, level: i16, min: i16, max: i16 },
    #[error("next producer ID {next} is not greater than the current one, {current}")]
    ProducerIdsGoBack { next: i64, current: i64 },
    #[error("access control entry {0} exists already")]
    DuplicateAcl(Uuid),
    #[error("access control entry {0} does not exist")]
    UnknownAcl(Uuid),
    #[error("{0} inside of another metadata transaction, or without one")]
    Transaction(&'static str),
}

impl MetadataDelta {
    /// Applies one record. Records that only frame a transaction change nothing; who reads a log minds them
    /// (the loader).
    pub fn replay(&mut self, record: &MetadataRecord) -> Result<(), ReplayError> {
        match record {
            MetadataRecord::RegisterBroker(record) => self.register_broker(record),
            MetadataRecord::UnregisterBroker(record) => return self.unregister_broker(record),
            MetadataRecord::Topic(record) => return self.topic(record),
            MetadataRecord::Partition(record) => return self.partition(record),
            MetadataRecord::Config(record) => return self.config(record),
            MetadataRecord::PartitionChange(record) => return self.partition_change(record),
            MetadataRecord::FenceBroker(record) => {
                return self.change_broker("FenceBrokerRecord", record.id, record.epoch, |broker| broker.fenced = true);
            }
            MetadataRecord::UnfenceBroker(record) => {
                return self.change_broker("UnfenceBrokerRecord", record.id, record.epoch, |broker| broker.fenced = false);
            }
            MetadataRecord::RemoveTopic(record) => return self.remove_topic(record),
            MetadataRecord::DelegationToken(record) => self.delegation_token(record),
            MetadataRecord::UserScramCredential(record) => self.scram_credential(record),
            MetadataRecord::FeatureLevel(record) => return self.feature_level(record),
            MetadataRecord::ClientQuota(record) => self.client_quota(record),
            MetadataRecord::ProducerIds(record) => return self.producer_ids_record(record),
            MetadataRecord::BrokerRegistrationChange(record) => return self.broker_registration_change(record),
            MetadataRecord::AccessControlEntry(record) => return self.access_control_entry(record),
            MetadataRecord::RemoveAccessControlEntry(record) => {
                self.acls = true;
                self.next.acls.entries.remove(&record.id).ok_or(ReplayError::UnknownAcl(record.id))?;
            }
            MetadataRecord::RemoveUserScramCredential(record) => {
                self.scram = true;
                self.next.scram.credentials.remove(&(record.mechanism, record.name.clone()));
            }
            MetadataRecord::RemoveDelegationToken(record) => {
                self.delegation_tokens = true;
                self.next.delegation_tokens.tokens.remove(&record.token_id);
            }
            MetadataRecord::RegisterController(record) => self.register_controller(record),
            MetadataRecord::ClearElr(record) => return self.clear_elr(record),
            MetadataRecord::ZkMigrationState(record) => self.next.features.zk_migration_state = record.zk_migration_state,
            MetadataRecord::NoOp(_)
            | MetadataRecord::BeginTransaction(_)
            | MetadataRecord::EndTransaction(_)
            | MetadataRecord::AbortTransaction(_) => {}
        }
        Ok(())
    }

    fn topic(&mut self, record: &TopicRecord) -> Result<(), ReplayError> {
        let topics = &mut self.next.topics;
        if topics.topic(&record.name).is_some() || topics.topic_by_id(record.topic_id).is_some() {
            return Err(ReplayError::DuplicateTopic { name: record.name.clone(), topic_id: record.topic_id });
        }
        topics.insert(TopicImage { name: record.name.clone(), id: record.topic_id, partitions: Default::default() });
        self.topics.entry(record.topic_id).or_default().created = true;
        Ok(())
    }

    fn remove_topic(&mut self, record: &RemoveTopicRecord) -> Result<(), ReplayError> {
        let unknown = ReplayError::UnknownTopicId { record: "RemoveTopicRecord", topic_id: record.topic_id };
        let topic = self.next.topics.remove(record.topic_id).ok_or(unknown)?;
        self.topics.remove(&record.topic_id);
        self.deleted_topics.insert(record.topic_id);
        let resource = ConfigResource::topic(&topic.name);
        self.next.configs.by_resource.remove(&resource);
        self.configs.remove(&resource);
        Ok(())
    }

    /// The topic that a partition's record names.
    fn topic_of(&self, record: &'static str, topic_id: Uuid) -> Result<TopicImage, ReplayError> {
        let topic = self.next.topics.topic_by_id(topic_id).ok_or(ReplayError::UnknownTopicId { record, topic_id })?;
        Ok(TopicImage::clone(topic))
    }

    fn put_partition(&mut self, mut topic: TopicImage, index: i32, partition: PartitionRegistration) {
        self.topics.entry(topic.id).or_default().partitions.insert(index);
        topic.partitions.insert(index, Arc::new(partition));
        self.next.topics.insert(topic);
    }

    fn partition(&mut self, record: &PartitionRecord) -> Result<(), ReplayError> {
        let topic = self.topic_of("PartitionRecord", record.topic_id)?;
        let mut directories = record.directories.clone();
        if directories.is_empty() {
            directories = vec![directory::MIGRATING; record.replicas.len()];
        }
        let partition = PartitionRegistration {
            replicas: record.replicas.clone(),
            directories,
            isr: record.isr.clone(),
            removing_replicas: record.removing_replicas.clone(),
            adding_replicas: record.adding_replicas.clone(),
            elr: record.eligible_leader_replicas.clone().unwrap_or_default(),
            last_known_elr: record.last_known_elr.clone().unwrap_or_default(),
            leader: record.leader,
            leader_recovery_state: recovery_state("PartitionRecord", record.leader_recovery_state)?,
            leader_epoch: record.leader_epoch,
            partition_epoch: record.partition_epoch,
        };
        self.put_partition(topic, record.partition_id, partition);
        Ok(())
    }

    fn partition_change(&mut self, record: &PartitionChangeRecord) -> Result<(), ReplayError> {
        let topic = self.topic_of("PartitionChangeRecord", record.topic_id)?;
        let Some(partition) = topic.partition(record.partition_id) else {
            let (topic, partition) = (topic.name, record.partition_id);
            return Err(ReplayError::UnknownPartition { record: "PartitionChangeRecord", topic, partition });
        };
        let changed = merge(partition, record)?;
        self.put_partition(topic, record.partition_id, changed);
        Ok(())
    }

    fn clear_elr(&mut self, record: &ClearElrRecord) -> Result<(), ReplayError> {
        let topics: Vec<Arc<TopicImage>> = if record.topic_name.is_empty() {
            self.next.topics.iter().cloned().collect()
        } else {
            let unknown = || ReplayError::UnknownTopic { record: "ClearElrRecord", name: record.topic_name.clone() };
            vec![Arc::clone(self.next.topics.topic(&record.topic_name).ok_or_else(unknown)?)]
        };
        for topic in topics {
            for (&index, partition) in &topic.partitions {
                if partition.elr.is_empty() && partition.last_known_elr.is_empty() {
                    continue;
                }
                let mut cleared = PartitionRegistration::clone(partition);
                cleared.elr.clear();
                cleared.last_known_elr.clear();
                cleared.partition_epoch += 1;
                let current = self.topic_of("ClearElrRecord", topic.id)?;
                self.put_partition(current, index, cleared);
            }
        }
        Ok(())
    }

    fn config(&mut self, record: &ConfigRecord) -> Result<(), ReplayError> {
        let Some(type_) = ConfigResourceType::from_code(record.resource_type) else {
            let value = i64::from(record.resource_type);
            return Err(ReplayError::UnknownValue { record: "ConfigRecord", field: "resourceType", value });
        };
        let resource = ConfigResource { type_, name: record.resource_name.clone() };
        let by_resource = &mut self.next.configs.by_resource;
        let mut configs = by_resource.get(&resource).map(|configs| BTreeMap::clone(configs)).unwrap_or_default();
        match &record.value {
            Some(value) => configs.insert(record.name.clone(), value.clone()),
            None => configs.remove(&record.name),
        };
        if configs.is_empty() {
            by_resource.remove(&resource);
        } else {
            by_resource.insert(resource.clone(), Arc::new(configs));
        }
        self.configs.insert(resource);
        Ok(())
    }

    fn register_broker(&mut self, record: &RegisterBrokerRecord) {
        let listeners = record.end_points.iter().map(|endpoint| Endpoint {
            name: endpoint.name.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            security_protocol: endpoint.security_protocol,
        });
        let features = record.features.iter();
        let mut directories = record.log_dirs.clone();
        directories.sort_unstable();
        let broker = BrokerRegistration {
            id: record.broker_id,
            epoch: record.broker_epoch,
            incarnation_id: record.incarnation_id,
            listeners: listeners.collect(),
            supported_features: features.map(|f| (f.name.clone(), (f.min_supported_version, f.max_supported_version))).collect(),
            rack: record.rack.clone(),
            fenced: record.fenced,
            in_controlled_shutdown: record.in_controlled_shutdown,
            directories,
            cordoned_directories: record.cordoned_log_dirs.clone(),
        };
        self.brokers.insert(broker.id);
        self.next.cluster.brokers.insert(broker.id, Arc::new(broker));
    }

    fn unregister_broker(&mut self, record: &UnregisterBrokerRecord) -> Result<(), ReplayError> {
        let id = record.broker_id;
        if self.next.cluster.broker(id).is_none_or(|broker| broker.epoch != record.broker_epoch) {
            return Err(ReplayError::UnknownBroker { record: "UnregisterBrokerRecord", id, epoch: record.broker_epoch });
        }
        self.next.cluster.brokers.remove(&id);
        self.brokers.insert(id);
        Ok(())
    }

    fn change_broker(
        &mut self,
        record: &'static str,
        id: i32,
        epoch: i64,
        change: impl FnOnce(&mut BrokerRegistration),
    ) -> Result<(), ReplayError> {
        let broker = self.next.cluster.broker(id).filter(|broker| broker.epoch == epoch);
        let broker = broker.ok_or(ReplayError::UnknownBroker { record, id, epoch })?;
        let mut changed = BrokerRegistration::clone(broker);
        change(&mut changed);
        if changed != **broker {
            self.next.cluster.brokers.insert(id, Arc::new(changed));
            self.brokers.insert(id);
        }
        Ok(())
    }

    fn broker_registration_change(&mut self, record: &BrokerRegistrationChangeRecord) -> Result<(), ReplayError> {
        const NAME: &str = "BrokerRegistrationChangeRecord";
        let unknown = |field, value: i8| ReplayError::UnknownValue { record: NAME, field, value: i64::from(value) };
        let fenced = match record.fenced {
            0 => None,
            1 => Some(true),
            -1 => Some(false),
            value => return Err(unknown("fenced", value)),
        };
        if !matches!(record.in_controlled_shutdown, 0 | 1) {
            return Err(unknown("inControlledShutdown", record.in_controlled_shutdown));
        }
        self.change_broker(NAME, record.broker_id, record.broker_epoch, |broker| {
            if let Some(fenced) = fenced {
                broker.fenced = fenced;
            }
            if record.in_controlled_shutdown == 1 {
                broker.in_controlled_shutdown = true;
            }
            if !record.log_dirs.is_empty() {
                broker.directories = record.log_dirs.clone();
                broker.directories.sort_unstable();
            }
            if let Some(cordoned) = &record.cordoned_log_dirs {
                broker.cordoned_directories = Some(cordoned.clone());
            }
        })
    }

    fn register_controller(&mut self, record: &RegisterControllerRecord) {
        let listeners = record.end_points.iter().map(|endpoint| Endpoint {
            name: endpoint.name.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            security_protocol: endpoint.security_protocol,
        });
        let features = record.features.iter();
        let controller = ControllerRegistration {
            id: record.controller_id,
            incarnation_id: record.incarnation_id,
            zk_migration_ready: record.zk_migration_ready,
            listeners: listeners.collect(),
            supported_features: features.map(|f| (f.name.clone(), (f.min_supported_version, f.max_supported_version))).collect(),
        };
        self.controllers.insert(controller.id);
        self.next.cluster.controllers.insert(controller.id, Arc::new(controller));
    }

    fn feature_level(&mut self, record: &FeatureLevelRecord) -> Result<(), ReplayError> {
        let (name, level) = (record.name.as_str(), record.feature_level);
        if name == features::KRAFT_VERSION {
            // Some releases wrote such a record by mistake (KAFKA-18979); the level is in control records.
            return Ok(());
        }
        if let Some(supported) = features::supported(name)
            && !supported.contains(level)
        {
            let (name, min, max) = (name.to_owned(), supported.min, supported.max);
            return Err(ReplayError::UnsupportedFeatureLevel { name, level, min, max });
        }
        self.features = true;
        if name == features::METADATA_VERSION {
            self.next.features.metadata_version = Some(level);
        } else if level == 0 {
            self.next.features.finalized.remove(name);
        } else {
            self.next.features.finalized.insert(name.to_owned(), level);
        }
        Ok(())
    }

    fn client_quota(&mut self, record: &ClientQuotaRecord) {
        let entity: ClientQuotaEntity = record.entity.iter().map(|part| (part.entity_type.clone(), part.entity_name.clone())).collect();
        let entities = &mut self.next.client_quotas.entities;
        let mut quotas = entities.get(&entity).map(|quotas| BTreeMap::clone(quotas)).unwrap_or_default();
        if record.remove {
            quotas.remove(&record.key);
        } else {
            quotas.insert(record.key.clone(), record.value);
        }
        if quotas.is_empty() {
            entities.remove(&entity);
        } else {
            entities.insert(entity, Arc::new(quotas));
        }
        self.client_quotas = true;
    }

    fn producer_ids_record(&mut self, record: &ProducerIdsRecord) -> Result<(), ReplayError> {
        let next = record.next_producer_id;
        if let Some(current) = self.next.producer_ids.next_producer_id
            && next <= current
        {
            return Err(ReplayError::ProducerIdsGoBack { next, current });
        }
        self.next.producer_ids.next_producer_id = Some(next);
        self.producer_ids = true;
        Ok(())
    }

    fn access_control_entry(&mut self, record: &AccessControlEntryRecord) -> Result<(), ReplayError> {
        let entry = AccessControlEntry {
            id: record.id,
            resource_type: record.resource_type,
            resource_name: record.resource_name.clone(),
            pattern_type: record.pattern_type,
            principal: record.principal.clone(),
            host: record.host.clone(),
            operation: record.operation,
            permission_type: record.permission_type,
        };
        self.acls = true;
        match self.next.acls.entries.insert(record.id, Arc::new(entry)) {
            Some(_) => Err(ReplayError::DuplicateAcl(record.id)),
            None => Ok(()),
        }
    }

    fn scram_credential(&mut self, record: &UserScramCredentialRecord) {
        let credential = ScramCredential {
            salt: record.salt.clone(),
            stored_key: record.stored_key.clone(),
            server_key: record.server_key.clone(),
            iterations: record.iterations,
        };
        self.scram = true;
        self.next.scram.credentials.insert((record.mechanism, record.name.clone()), Arc::new(credential));
    }

    fn delegation_token(&mut self, record: &DelegationTokenRecord) {
        let token = DelegationToken {
            token_id: record.token_id.clone(),
            owner: record.owner.clone(),
            requester: record.requester.clone(),
            renewers: record.renewers.clone(),
            issue_timestamp_ms: record.issue_timestamp,
            max_timestamp_ms: record.max_timestamp,
            expiration_timestamp_ms: record.expiration_timestamp,
        };
        self.delegation_tokens = true;
        self.next.delegation_tokens.tokens.insert(record.token_id.clone(), Arc::new(token));
    }
}

fn recovery_state(record: &'static str, code: i8) -> Result<LeaderRecoveryState, ReplayError> {
    let unknown = ReplayError::UnknownValue { record, field: "leaderRecoveryState", value: i64::from(code) };
    LeaderRecoveryState::from_code(code).ok_or(unknown)
}

/// A partition after a change. The partition epoch rises with every change, the leader epoch whenever a leader is named, the
/// same one included.
pub fn merge(partition: &PartitionRegistration, record: &PartitionChangeRecord) -> Result<PartitionRegistration, ReplayError> {
    let mut changed = partition.clone();
    if let Some(replicas) = &record.replicas {
        changed.replicas = replicas.clone();
    }
    if let Some(directories) = &record.directories {
        changed.directories = directories.clone();
    }
    if changed.directories.len() != changed.replicas.len() {
        changed.directories = vec![directory::MIGRATING; changed.replicas.len()];
    }
    if let Some(isr) = &record.isr {
        changed.isr = isr.clone();
    }
    if let Some(removing) = &record.removing_replicas {
        changed.removing_replicas = removing.clone();
    }
    if let Some(adding) = &record.adding_replicas {
        changed.adding_replicas = adding.clone();
    }
    if record.leader != NO_LEADER_CHANGE {
        changed.leader = record.leader;
        changed.leader_epoch += 1;
    }
    if record.leader_recovery_state != -1 {
        changed.leader_recovery_state = recovery_state("PartitionChangeRecord", record.leader_recovery_state)?;
    }
    if let Some(elr) = &record.eligible_leader_replicas {
        changed.elr = elr.clone();
    }
    if let Some(last_known) = &record.last_known_elr {
        changed.last_known_elr = last_known.clone();
    }
    changed.partition_epoch += 1;
    Ok(changed)
}
