//! Brokers: registration, heartbeats, fencing, controlled shutdown.
//!
//! Sources: Kafka's `ClusterControlManager`, and `ReplicationControlManager.processBrokerHeartbeat` with what it calls.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::api_error::ApiError;
use super::partition_change::{Election, PartitionChange};
use super::sessions::BrokerState;
use super::{Controller, Outcome};
use crate::common::uuid::Uuid;
use crate::metadata::features;
use crate::metadata::image::{PartitionRegistration, TopicImage, directory};
use crate::metadata::record::VersionedRecord;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::*;

/// `min.insync.replicas`.
pub(super) const MIN_ISR: &str = "min.insync.replicas";

/// `unclean.leader.election.enable`.
const UNCLEAN_ELECTION: &str = "unclean.leader.election.enable";

/// Who comes and who goes, in a change of many partitions.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Movement {
    /// Leaves the ISR and may not lead.
    pub(super) removed: Option<i32>,
    /// May lead, though the image still shows it fenced.
    pub(super) added: Option<i32>,
    /// Leaves the ISR and the ELR and may not lead.
    pub(super) unclean: Option<i32>,
}

impl Controller {
    /// BrokerRegistration.
    pub fn register_broker(&mut self, request: &BrokerRegistrationRequest) -> Outcome<BrokerRegistrationResponse> {
        match self.try_register_broker(request) {
            Ok(outcome) => outcome,
            Err(error) => {
                tracing::warn!(broker = request.broker_id, error = %error.code, reason = ?error.message, "registration refused");
                let error_code = error.code.code();
                Outcome::without_records(BrokerRegistrationResponse { error_code, broker_epoch: -1, ..Default::default() })
            }
        }
    }

    fn try_register_broker(&mut self, request: &BrokerRegistrationRequest) -> Result<Outcome<BrokerRegistrationResponse>, ApiError> {
        let id = request.broker_id;
        if request.cluster_id != self.cluster_id {
            let text = format!("Expected cluster ID {}, but got cluster ID {}", self.cluster_id, request.cluster_id);
            return Err(ApiError::new(ErrorCode::InconsistentClusterId, text));
        }
        let existing = self.image.cluster.broker(id).cloned();
        let same_incarnation = existing.as_ref().is_some_and(|existing| existing.incarnation_id == request.incarnation_id);
        if existing.is_some() && !same_incarnation && self.sessions.is_valid(id, self.now_ms) {
            let text = "Another broker is registered with that broker id. If the broker was recently restarted this should \
                        self-resolve once the heartbeat manager expires the broker's session.";
            return Err(ApiError::new(ErrorCode::DuplicateBrokerRegistration, text));
        }
        if request.is_migrating_zk_broker {
            let text = "Controller does not support registering ZK brokers.";
            return Err(ApiError::new(ErrorCode::BrokerIdNotRegistered, text));
        }
        let version = self.metadata_version();
        if version.has_directories() {
            self.validate_directories(id, &request.log_dirs)?;
        }
        self.validate_features(&request.features)?;

        let mut record = RegisterBrokerRecord {
            broker_id: id,
            incarnation_id: request.incarnation_id,
            rack: request.rack.clone(),
            end_points: request
                .listeners
                .iter()
                .map(|listener| register_broker_record::BrokerEndpoint {
                    name: listener.name.clone(),
                    host: listener.host.clone(),
                    port: listener.port,
                    security_protocol: listener.security_protocol,
                    ..Default::default()
                })
                .collect(),
            features: request
                .features
                .iter()
                .map(|feature| register_broker_record::BrokerFeature {
                    name: feature.name.clone(),
                    min_supported_version: feature.min_supported_version,
                    max_supported_version: feature.max_supported_version,
                    ..Default::default()
                })
                .collect(),
            log_dirs: if version.has_directories() { request.log_dirs.clone() } else { Vec::new() },
            ..Default::default()
        };
        let mut records = Vec::new();
        match existing {
            Some(existing) if same_incarnation => {
                record.fenced = existing.fenced;
                record.in_controlled_shutdown = existing.in_controlled_shutdown;
                record.broker_epoch = existing.epoch;
            }
            existing => {
                let clean = existing.is_some_and(|existing| existing.epoch == request.previous_broker_epoch);
                self.handle_broker_shutdown(id, clean, &mut records);
                record.broker_epoch = self.next_offset;
                self.sessions.remove(id);
            }
        }
        let broker_epoch = record.broker_epoch;
        records.push(VersionedRecord::new(record, version.register_broker_record_version()));
        Ok(Outcome { records, response: BrokerRegistrationResponse { broker_epoch, ..Default::default() } })
    }

    fn validate_directories(&self, id: i32, directories: &[Uuid]) -> Result<(), ApiError> {
        let invalid = |text: String| Err(ApiError::new(ErrorCode::InvalidRegistration, text));
        if directories.is_empty() {
            return invalid("No directories specified in request".to_owned());
        }
        if directories.iter().any(|&directory| directory::is_reserved(directory)) {
            return invalid("Reserved directory ID in request".to_owned());
        }
        let mut sorted = directories.to_vec();
        sorted.sort_unstable();
        if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            return invalid("Duplicate directory ID in request".to_owned());
        }
        for other in self.image.cluster.brokers.values().filter(|broker| broker.id != id) {
            if let Some(shared) = directories.iter().find(|directory| other.directories.contains(directory)) {
                return invalid(format!("Broker {} is already registered with directory {shared}", other.id));
            }
        }
        Ok(())
    }

    /// Does the broker support every level that is finalized?
    fn validate_features(&self, offered: &[broker_registration_request::Feature]) -> Result<(), ApiError> {
        let features = &self.image.features;
        let offered: BTreeMap<&str, (i16, i16)> =
            offered.iter().map(|f| (f.name.as_str(), (f.min_supported_version, f.max_supported_version))).collect();
        if !offered.contains_key(features::METADATA_VERSION) {
            let text = format!("Request features do not contain '{}'", features::METADATA_VERSION);
            return Err(ApiError::new(ErrorCode::InvalidRegistration, text));
        }
        let finalized = features.finalized.iter().map(|(name, &level)| (name.as_str(), level));
        let metadata_version = (features::METADATA_VERSION, self.metadata_version().0);
        let zero = offered.keys().filter(|name| !features.finalized.contains_key(**name)).map(|&name| (name, 0));
        let zero = zero.filter(|(name, _)| *name != features::METADATA_VERSION);
        for (name, level) in finalized.chain([metadata_version]).chain(zero) {
            let (min, max) = offered.get(name).copied().unwrap_or((0, 0));
            if level < min || level > max {
                let text = format!(
                    "Unable to register because the broker does not support finalized version {level} of {name}. The broker wants \
                     a version between {min} and {max}, inclusive."
                );
                return Err(ApiError::new(ErrorCode::UnsupportedVersion, text));
            }
        }
        Ok(())
    }

    /// UnregisterBroker.
    pub fn unregister_broker(&mut self, request: &UnregisterBrokerRequest) -> Outcome<UnregisterBrokerResponse> {
        let id = request.broker_id;
        let Some(broker) = self.image.cluster.broker(id).cloned() else {
            return Outcome::without_records(UnregisterBrokerResponse {
                error_code: ErrorCode::BrokerIdNotRegistered.code(),
                error_message: Some(format!("Broker ID {id} is not currently registered")),
                ..Default::default()
            });
        };
        let mut records = Vec::new();
        let removed = Movement { removed: Some(id), ..Movement::default() };
        self.move_leaders(removed, &mut records, |partition| partition.isr.contains(&id));
        self.move_leaders(removed, &mut records, |partition| partition.elr.contains(&id));
        let record = UnregisterBrokerRecord { broker_id: id, broker_epoch: broker.epoch, ..Default::default() };
        records.push(VersionedRecord::new(record, 0));
        Outcome { records, response: UnregisterBrokerResponse::default() }
    }

    /// RegisterController.
    pub fn register_controller(&mut self, record: RegisterControllerRecord) -> Outcome<()> {
        let records = match self.metadata_version().has_controller_registration() {
            true => vec![VersionedRecord::new(record, 0)],
            false => Vec::new(),
        };
        Outcome { records, response: () }
    }

    /// BrokerHeartbeat.
    pub fn heartbeat(&mut self, request: &BrokerHeartbeatRequest) -> Outcome<BrokerHeartbeatResponse> {
        let id = request.broker_id;
        let Some(broker) = self.image.cluster.broker(id).filter(|broker| broker.epoch == request.broker_epoch).cloned() else {
            let error_code = ErrorCode::StaleBrokerEpoch.code();
            return Outcome::without_records(BrokerHeartbeatResponse { error_code, ..Default::default() });
        };
        let registered_at = self.registration_offsets.get(&id).copied().unwrap_or(i64::MAX);
        let caught_up = request.current_metadata_offset >= registered_at;
        let state = self.sessions.state(id);
        let next = self.next_broker_state(state, request, caught_up);
        let mut records = Vec::new();
        if state != next {
            match next {
                BrokerState::Fenced | BrokerState::ShutdownNow => self.handle_broker_fenced(id, broker.epoch, &mut records),
                BrokerState::Unfenced => self.handle_broker_unfenced(id, broker.epoch, &mut records),
                BrokerState::ControlledShutdown => self.handle_controlled_shutdown(id, broker.epoch, &mut records),
            }
        }
        self.sessions.touch(id, request.current_metadata_offset, self.now_ms);
        if next == BrokerState::ControlledShutdown {
            let end_offset = self.next_offset + records.len() as i64;
            self.sessions.update_controlled_shutdown_offset(id, end_offset - 1);
        }
        if self.metadata_version().has_directories() {
            self.handle_offline_directories(&broker, &request.offline_log_dirs, &mut records);
        }
        if self.metadata_version().has_cordoned_directories()
            && let Some(cordoned) = &request.cordoned_log_dirs
            && broker.cordoned_directories.as_ref() != Some(cordoned)
        {
            let record = BrokerRegistrationChangeRecord {
                broker_id: id,
                broker_epoch: broker.epoch,
                cordoned_log_dirs: Some(cordoned.clone()),
                ..Default::default()
            };
            records.push(VersionedRecord::new(record, 3));
        }
        let response = BrokerHeartbeatResponse {
            is_caught_up: caught_up,
            is_fenced: next.fenced(),
            should_shut_down: next == BrokerState::ShutdownNow,
            ..Default::default()
        };
        Outcome { records, response }
    }

    fn next_broker_state(&self, state: BrokerState, request: &BrokerHeartbeatRequest, caught_up: bool) -> BrokerState {
        match state {
            BrokerState::Fenced if request.want_shut_down => BrokerState::ShutdownNow,
            BrokerState::Fenced if !request.want_fence && caught_up => BrokerState::Unfenced,
            BrokerState::Fenced => BrokerState::Fenced,
            BrokerState::Unfenced if request.want_fence && request.want_shut_down => BrokerState::ShutdownNow,
            BrokerState::Unfenced if request.want_fence => BrokerState::Fenced,
            BrokerState::Unfenced if request.want_shut_down && self.leads_anything(request.broker_id) => BrokerState::ControlledShutdown,
            BrokerState::Unfenced if request.want_shut_down => BrokerState::ShutdownNow,
            BrokerState::Unfenced => BrokerState::Unfenced,
            BrokerState::ControlledShutdown
                if self.leads_anything(request.broker_id) || !self.sessions.may_finish_shutdown(request.broker_id) =>
            {
                BrokerState::ControlledShutdown
            }
            BrokerState::ControlledShutdown | BrokerState::ShutdownNow => BrokerState::ShutdownNow,
        }
    }

    fn leads_anything(&self, id: i32) -> bool {
        self.image.topics.iter().any(|topic| topic.partitions.values().any(|partition| partition.leader == id))
    }

    /// Fences one broker that has not been heard from for too long; the answer says which.
    pub fn fence_stale_broker(&mut self) -> Outcome<Option<i32>> {
        let Some(id) = self.sessions.stale(self.now_ms) else { return Outcome::without_records(None) };
        let Some(broker) = self.image.cluster.broker(id).cloned() else { return Outcome::without_records(None) };
        let mut records = Vec::new();
        self.handle_broker_fenced(id, broker.epoch, &mut records);
        Outcome { records, response: Some(id) }
    }

    /// Ends a broker's session: the driver knows that the process behind it is gone.
    pub fn expire_session(&mut self, id: i32) {
        self.sessions.expire(id);
    }

    fn handle_broker_fenced(&self, id: i32, epoch: i64, records: &mut Vec<VersionedRecord>) {
        let removed = Movement { removed: Some(id), ..Movement::default() };
        self.move_leaders(removed, records, |partition| partition.isr.contains(&id));
        let record = BrokerRegistrationChangeRecord { broker_id: id, broker_epoch: epoch, fenced: 1, ..Default::default() };
        records.push(VersionedRecord::new(record, 0));
    }

    fn handle_broker_unfenced(&self, id: i32, epoch: i64, records: &mut Vec<VersionedRecord>) {
        let record = BrokerRegistrationChangeRecord { broker_id: id, broker_epoch: epoch, fenced: -1, ..Default::default() };
        records.push(VersionedRecord::new(record, 0));
        let added = Movement { added: Some(id), ..Movement::default() };
        self.move_leaders(added, records, |partition| !partition.has_leader());
    }

    fn handle_controlled_shutdown(&self, id: i32, epoch: i64, records: &mut Vec<VersionedRecord>) {
        if !self.image.cluster.broker(id).is_some_and(|broker| broker.in_controlled_shutdown) {
            let record =
                BrokerRegistrationChangeRecord { broker_id: id, broker_epoch: epoch, in_controlled_shutdown: 1, ..Default::default() };
            records.push(VersionedRecord::new(record, 1));
        }
        let removed = Movement { removed: Some(id), ..Movement::default() };
        self.move_leaders(removed, records, |partition| partition.isr.contains(&id));
    }

    /// A new incarnation of a broker has come: the old one's place is void. After an unclean stop it is not even eligible,
    /// since what it had not written to disk is gone.
    fn handle_broker_shutdown(&self, id: i32, clean: bool, records: &mut Vec<VersionedRecord>) {
        if self.elr_enabled() && !clean {
            let unclean = Movement { unclean: Some(id), ..Movement::default() };
            self.move_leaders(unclean, records, |partition| partition.isr.contains(&id));
            self.move_leaders(unclean, records, |partition| partition.elr.contains(&id));
        } else {
            let removed = Movement { removed: Some(id), ..Movement::default() };
            self.move_leaders(removed, records, |partition| partition.isr.contains(&id));
        }
    }

    fn handle_offline_directories(
        &self,
        broker: &crate::metadata::image::BrokerRegistration,
        offline: &[Uuid],
        records: &mut Vec<VersionedRecord>,
    ) {
        let newly: Vec<Uuid> = broker.directories.iter().copied().filter(|id| offline.contains(id)).collect();
        if newly.is_empty() {
            return;
        }
        let id = broker.id;
        let removed = Movement { removed: Some(id), ..Movement::default() };
        self.move_leaders(removed, records, |partition| partition.directory(id).is_some_and(|dir| newly.contains(&dir)));
        let record = BrokerRegistrationChangeRecord {
            broker_id: id,
            broker_epoch: broker.epoch,
            log_dirs: broker.directories.iter().copied().filter(|id| !offline.contains(id)).collect(),
            ..Default::default()
        };
        records.push(VersionedRecord::new(record, 2));
    }

    /// Adds the records by which the partitions that `affected` picks follow `movement`.
    pub(super) fn move_leaders(
        &self,
        movement: Movement,
        records: &mut Vec<VersionedRecord>,
        affected: impl Fn(&PartitionRegistration) -> bool,
    ) {
        for topic in self.image.topics.iter() {
            // What the configs say is looked up once, and only for a topic with something to do.
            let mut rules = None;
            for (&index, partition) in topic.partitions.iter().filter(|(_, partition)| affected(partition)) {
                let (min_isr, unclean) = *rules.get_or_insert_with(|| (self.min_isr(topic), self.unclean_election(&topic.name)));
                let acceptable = |id: i32| {
                    let alive = movement.removed != Some(id)
                        && movement.unclean != Some(id)
                        && (movement.added == Some(id) || self.image.cluster.is_active(id));
                    alive && self.has_online_replica(partition, id)
                };
                let default_directory = |id: i32| self.default_directory(id);
                let gone = [movement.removed, movement.unclean];
                let change = PartitionChange {
                    election: if unclean { Election::Unclean } else { Election::Online },
                    target_isr: partition.isr.iter().copied().filter(|&id| !gone.contains(&Some(id))).collect(),
                    unclean_shutdown: movement.unclean.into_iter().collect(),
                    ..self.change_of(topic, index, partition, &acceptable, &default_directory, min_isr)
                };
                records.extend(change.build());
            }
        }
    }

    /// A change of a partition that as yet changes nothing.
    pub(super) fn change_of<'a>(
        &self,
        topic: &TopicImage,
        index: i32,
        partition: &'a PartitionRegistration,
        is_acceptable_leader: &'a dyn Fn(i32) -> bool,
        default_directory: &'a dyn Fn(i32) -> Uuid,
        min_isr: usize,
    ) -> PartitionChange<'a> {
        PartitionChange {
            partition,
            topic_id: topic.id,
            partition_id: index,
            is_acceptable_leader,
            default_directory,
            metadata_version: self.metadata_version(),
            min_isr,
            elr_enabled: self.elr_enabled(),
            election: Election::Online,
            target_isr: partition.isr.clone(),
            target_replicas: partition.replicas.clone(),
            target_removing: partition.removing_replicas.clone(),
            target_adding: partition.adding_replicas.clone(),
            target_recovery_state: partition.leader_recovery_state,
            target_directory: None,
            unclean_shutdown: Vec::new(),
        }
    }

    /// Is the directory of `id`'s replica online?
    pub(super) fn has_online_replica(&self, partition: &PartitionRegistration, id: i32) -> bool {
        let Some(directory) = partition.directory(id) else { return false };
        self.image.cluster.broker(id).is_some_and(|broker| broker.has_online_directory(directory))
    }

    pub(super) fn min_isr(&self, topic: &Arc<TopicImage>) -> usize {
        let configured = self.topic_config(&topic.name, MIN_ISR).and_then(|value| value.parse().ok()).unwrap_or(1);
        let replication_factor = topic.partition(0).map_or(usize::MAX, |partition| partition.replicas.len());
        replication_factor.min(configured)
    }

    pub(super) fn unclean_election(&self, topic: &str) -> bool {
        self.topic_config(topic, UNCLEAN_ELECTION).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }
}
