//! An image as the records that make it.
//!
//! Invariant: replaying the records on the empty image gives an image of the same state.
//! Source: the `write` methods of Kafka's images; their order of groups, with the items of a group sorted.

use super::features::{self, LATEST_METADATA_VERSION, MetadataVersion};
use super::image::*;
use super::record::VersionedRecord;
use crate::common::uuid::Uuid;
use crate::protocol::messages::*;

/// The records of `image`, at the versions that its metadata.version calls for.
pub fn records(image: &MetadataImage) -> Vec<VersionedRecord> {
    let version = image.features.metadata_version.map_or(LATEST_METADATA_VERSION, MetadataVersion);
    let mut records = Vec::new();
    features(&image.features, &mut records);
    for broker in image.cluster.brokers.values() {
        records.push(broker_record(broker, version));
    }
    if version.has_controller_registration() {
        records.extend(image.cluster.controllers.values().map(|controller| controller_record(controller)));
    }
    for topic in image.topics.iter() {
        let record = TopicRecord { name: topic.name.clone(), topic_id: topic.id, ..Default::default() };
        records.push(VersionedRecord::new(record, 0));
        records.extend(topic.partitions.iter().map(|(&index, partition)| partition_record(topic.id, index, partition, version)));
    }
    for (resource, configs) in image.configs.iter() {
        records.extend(configs.iter().map(|(name, value)| config_record(resource, name, value)));
    }
    for (entity, quotas) in &image.client_quotas.entities {
        records.extend(quotas.iter().map(|(key, &value)| quota_record(entity, key, value)));
    }
    if let Some(next_producer_id) = image.producer_ids.next_producer_id {
        let record = ProducerIdsRecord { broker_id: -1, broker_epoch: -1, next_producer_id, ..Default::default() };
        records.push(VersionedRecord::new(record, 0));
    }
    records.extend(image.acls.entries.values().map(|entry| acl_record(entry)));
    if version.has_scram() {
        records.extend(image.scram.credentials.iter().map(|((mechanism, name), credential)| {
            let record = UserScramCredentialRecord {
                name: name.clone(),
                mechanism: *mechanism,
                salt: credential.salt.clone(),
                stored_key: credential.stored_key.clone(),
                server_key: credential.server_key.clone(),
                iterations: credential.iterations,
                ..Default::default()
            };
            VersionedRecord::new(record, 0)
        }));
    }
    if version.has_delegation_tokens() {
        records.extend(image.delegation_tokens.tokens.values().map(|token| token_record(token)));
    }
    records
}

fn features(image: &FeaturesImage, records: &mut Vec<VersionedRecord>) {
    let Some(metadata_version) = image.metadata_version else { return };
    let others = image.finalized.iter().map(|(name, &level)| (name.as_str(), level));
    for (name, feature_level) in std::iter::once((features::METADATA_VERSION, metadata_version)).chain(others) {
        records.push(VersionedRecord::new(FeatureLevelRecord { name: name.to_owned(), feature_level, ..Default::default() }, 0));
    }
}

fn broker_record(broker: &BrokerRegistration, version: MetadataVersion) -> VersionedRecord {
    use register_broker_record::{BrokerEndpoint, BrokerFeature};
    let end_points = broker.listeners.iter().map(|endpoint| BrokerEndpoint {
        name: endpoint.name.clone(),
        host: endpoint.host.clone(),
        port: endpoint.port,
        security_protocol: endpoint.security_protocol,
        ..Default::default()
    });
    let features = broker.supported_features.iter().map(|(name, &(min, max))| BrokerFeature {
        name: name.clone(),
        min_supported_version: min,
        max_supported_version: max,
        ..Default::default()
    });
    let record = RegisterBrokerRecord {
        broker_id: broker.id,
        incarnation_id: broker.incarnation_id,
        broker_epoch: broker.epoch,
        end_points: end_points.collect(),
        features: features.collect(),
        rack: broker.rack.clone(),
        fenced: broker.fenced,
        in_controlled_shutdown: broker.in_controlled_shutdown,
        log_dirs: if version.has_directories() { broker.directories.clone() } else { Vec::new() },
        cordoned_log_dirs: broker.cordoned_directories.clone().filter(|_| version.has_cordoned_directories()),
        ..Default::default()
    };
    VersionedRecord::new(record, version.register_broker_record_version())
}

fn controller_record(controller: &ControllerRegistration) -> VersionedRecord {
    use register_controller_record::{ControllerEndpoint, ControllerFeature};
    let end_points = controller.listeners.iter().map(|endpoint| ControllerEndpoint {
        name: endpoint.name.clone(),
        host: endpoint.host.clone(),
        port: endpoint.port,
        security_protocol: endpoint.security_protocol,
        ..Default::default()
    });
    let features = controller.supported_features.iter().map(|(name, &(min, max))| ControllerFeature {
        name: name.clone(),
        min_supported_version: min,
        max_supported_version: max,
        ..Default::default()
    });
    let record = RegisterControllerRecord {
        controller_id: controller.id,
        incarnation_id: controller.incarnation_id,
        zk_migration_ready: controller.zk_migration_ready,
        end_points: end_points.collect(),
        features: features.collect(),
        ..Default::default()
    };
    VersionedRecord::new(record, 0)
}

/// A partition's whole state as a record.
pub fn partition_record(topic_id: Uuid, index: i32, partition: &PartitionRegistration, version: MetadataVersion) -> VersionedRecord {
    let unless_empty = |ids: &Vec<i32>| (version.has_elr() && !ids.is_empty()).then(|| ids.clone());
    let record = PartitionRecord {
        partition_id: index,
        topic_id,
        replicas: partition.replicas.clone(),
        isr: partition.isr.clone(),
        removing_replicas: partition.removing_replicas.clone(),
        adding_replicas: partition.adding_replicas.clone(),
        leader: partition.leader,
        leader_recovery_state: partition.leader_recovery_state.code(),
        leader_epoch: partition.leader_epoch,
        partition_epoch: partition.partition_epoch,
        directories: if version.has_directories() { partition.directories.clone() } else { Vec::new() },
        eligible_leader_replicas: unless_empty(&partition.elr),
        last_known_elr: unless_empty(&partition.last_known_elr),
        ..Default::default()
    };
    VersionedRecord::new(record, version.partition_record_version())
}

fn config_record(resource: &ConfigResource, name: &str, value: &str) -> VersionedRecord {
    let record = ConfigRecord {
        resource_type: resource.type_.code(),
        resource_name: resource.name.clone(),
        name: name.to_owned(),
        value: Some(value.to_owned()),
        ..Default::default()
    };
    VersionedRecord::new(record, 0)
}

fn quota_record(entity: &ClientQuotaEntity, key: &str, value: f64) -> VersionedRecord {
    let entity = entity.iter().map(|(entity_type, entity_name)| client_quota_record::EntityData {
        entity_type: entity_type.clone(),
        entity_name: entity_name.clone(),
        ..Default::default()
    });
    let record = ClientQuotaRecord { entity: entity.collect(), key: key.to_owned(), value, remove: false, ..Default::default() };
    VersionedRecord::new(record, 0)
}

fn acl_record(entry: &AccessControlEntry) -> VersionedRecord {
    let record = AccessControlEntryRecord {
        id: entry.id,
        resource_type: entry.resource_type,
        resource_name: entry.resource_name.clone(),
        pattern_type: entry.pattern_type,
        principal: entry.principal.clone(),
        host: entry.host.clone(),
        operation: entry.operation,
        permission_type: entry.permission_type,
        ..Default::default()
    };
    VersionedRecord::new(record, 0)
}

fn token_record(token: &DelegationToken) -> VersionedRecord {
    let record = DelegationTokenRecord {
        owner: token.owner.clone(),
        requester: token.requester.clone(),
        renewers: token.renewers.clone(),
        issue_timestamp: token.issue_timestamp_ms,
        max_timestamp: token.max_timestamp_ms,
        expiration_timestamp: token.expiration_timestamp_ms,
        token_id: token.token_id.clone(),
        ..Default::default()
    };
    VersionedRecord::new(record, 0)
}
