//! How a partition's leader, in-sync and eligible replicas follow from a change of its replicas or of who is alive.
//!
//! The steps have a fixed order, because each looks at what the ones before decided: finish a reassignment, compute the
//! eligible leader replicas (KIP-966), elect, then write only what differs.
//! Source: Kafka's `PartitionChangeBuilder`, `PartitionReassignmentReplicas`.

use std::collections::BTreeSet;

use crate::common::uuid::Uuid;
use crate::metadata::features::MetadataVersion;
use crate::metadata::image::{LeaderRecoveryState, NO_LEADER, NO_LEADER_CHANGE, PartitionRegistration};
use crate::metadata::record::VersionedRecord;
use crate::protocol::messages::PartitionChangeRecord;

/// How hard an election tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Election {
    /// The first replica if it is in sync; else as `Online`.
    Preferred,
    /// A replica in sync.
    Online,
    /// Any live replica when none in sync is alive, at the price of lost records.
    Unclean,
}

/// A change of one partition in the making.
pub struct PartitionChange<'a> {
    pub partition: &'a PartitionRegistration,
    pub topic_id: Uuid,
    pub partition_id: i32,
    /// May this broker lead: is it alive, and its replica's directory too?
    pub is_acceptable_leader: &'a dyn Fn(i32) -> bool,
    /// The directory of a new replica on this broker.
    pub default_directory: &'a dyn Fn(i32) -> Uuid,
    pub metadata_version: MetadataVersion,
    /// The topic's `min.insync.replicas`, at most its replication factor.
    pub min_isr: usize,
    pub elr_enabled: bool,
    pub election: Election,
    pub target_isr: Vec<i32>,
    pub target_replicas: Vec<i32>,
    pub target_removing: Vec<i32>,
    pub target_adding: Vec<i32>,
    pub target_recovery_state: LeaderRecoveryState,
    /// The directory that a broker has put its replica into.
    pub target_directory: Option<(i32, Uuid)>,
    /// Brokers that may have lost what was not on disk yet: neither in sync nor eligible.
    pub unclean_shutdown: Vec<i32>,
}

impl PartitionChange<'_> {
    /// The record; `None` when nothing differs.
    pub fn build(mut self) -> Option<VersionedRecord> {
        let mut record =
            PartitionChangeRecord { topic_id: self.topic_id, partition_id: self.partition_id, ..PartitionChangeRecord::default() };
        self.complete_reassignment();
        let mut target_elr = self.target_elr();
        self.elect(&mut record, &mut target_elr);
        self.bump_leader_epoch_for_reassignment(&mut record);

        // The election sets the ISR only when it was unclean.
        if record.isr.is_some() || !self.elr_enabled {
            target_elr.clear();
        }
        if target_elr != self.partition.elr {
            record.eligible_leader_replicas = Some(target_elr);
        }
        // Without ELR the last in-sync replica is kept, dead or not.
        if record.isr.is_none() && (!self.target_isr.is_empty() || self.elr_enabled) && self.target_isr != self.partition.isr {
            record.isr = Some(self.target_isr.clone());
        }
        self.bump_leader_epoch_for_isr_shrink(&mut record);
        self.update_last_known_leader(&mut record);
        self.change_assignment(&mut record);
        if self.target_recovery_state != self.partition.leader_recovery_state {
            record.leader_recovery_state = self.target_recovery_state.code();
        }
        let unchanged = PartitionChangeRecord { topic_id: self.topic_id, partition_id: self.partition_id, ..Default::default() };
        (record != unchanged).then(|| VersionedRecord::new(record, self.metadata_version.partition_record_version()))
    }

    /// A reassignment is done when the new replicas are in sync; where there will be fewer than before, when all that stay are.
    fn complete_reassignment(&mut self) {
        if self.target_removing.is_empty() && self.target_adding.is_empty() {
            return;
        }
        let stays = |id: &&i32| !self.target_removing.contains(id);
        let isr: Vec<i32> = self.target_isr.iter().filter(stays).copied().collect();
        let replicas: Vec<i32> = self.target_replicas.iter().filter(stays).copied().collect();
        let in_sync = |ids: &[i32]| ids.iter().all(|id| isr.contains(id));
        let shrinks = self.target_adding.len() < self.target_removing.len();
        if isr.is_empty() || replicas.is_empty() || !in_sync(&self.target_adding) || (shrinks && !in_sync(&replicas)) {
            return;
        }
        self.target_isr = isr;
        self.target_replicas = replicas;
        self.target_removing = Vec::new();
        self.target_adding = Vec::new();
    }

    /// Who left the ISR below the minimum but still has every committed record.
    fn target_elr(&self) -> Vec<i32> {
        if !self.elr_enabled {
            return self.partition.elr.clone();
        }
        if self.target_isr.len() >= self.min_isr {
            return Vec::new();
        }
        let candidates: BTreeSet<i32> = self.partition.elr.iter().chain(&self.partition.isr).copied().collect();
        let eligible = |id: &i32| !self.target_isr.contains(id) && !self.unclean_shutdown.contains(id);
        candidates.into_iter().filter(eligible).collect()
    }

    fn is_valid_leader(&self, id: i32, target_elr: &[i32]) -> bool {
        let eligible = self.target_isr.contains(&id) || (self.target_isr.is_empty() && target_elr.contains(&id));
        eligible && (self.is_acceptable_leader)(id)
    }

    /// Who should lead, and whether electing it is unclean.
    fn choose_leader(&self, target_elr: &[i32]) -> (i32, bool) {
        let valid = |id: &i32| self.is_valid_leader(*id, target_elr);
        if self.election == Election::Preferred
            && let Some(preferred) = self.target_replicas.first().copied().filter(valid)
        {
            return (preferred, false);
        }
        if valid(&self.partition.leader) {
            return (self.partition.leader, false);
        }
        if let Some(online) = self.target_replicas.iter().copied().find(valid) {
            return (online, false);
        }
        if let Some(last_known) = self.last_known_leader(target_elr) {
            return (last_known, true);
        }
        let alive = |id: &i32| (self.is_acceptable_leader)(*id);
        if self.election == Election::Unclean
            && let Some(alive) = self.target_replicas.iter().copied().find(alive)
        {
            return (alive, true);
        }
        (NO_LEADER, false)
    }

    /// The leader before all were gone: the best guess when no one else is eligible.
    fn last_known_leader(&self, target_elr: &[i32]) -> Option<i32> {
        if !self.elr_enabled || !target_elr.is_empty() || !self.target_isr.is_empty() {
            return None;
        }
        match self.partition.last_known_elr.as_slice() {
            &[only] if (self.is_acceptable_leader)(only) => Some(only),
            _ => None,
        }
    }

    fn elect(&mut self, record: &mut PartitionChangeRecord, target_elr: &mut Vec<i32>) {
        let (leader, unclean) = self.choose_leader(target_elr);
        if leader == self.partition.leader {
            return;
        }
        if target_elr.contains(&leader) {
            self.target_isr = vec![leader];
            target_elr.retain(|&id| id != leader);
        }
        record.leader = leader;
        if unclean {
            // Records may be lost: whoever else was in sync is not any more.
            record.isr = Some(vec![leader]);
            if self.partition.leader_recovery_state != LeaderRecoveryState::Recovering {
                record.leader_recovery_state = LeaderRecoveryState::Recovering.code();
            }
        }
    }

    fn bump_leader_epoch_for_reassignment(&self, record: &mut PartitionChangeRecord) {
        let removed = self.partition.replicas.iter().any(|id| !self.target_replicas.contains(id));
        if record.leader == NO_LEADER_CHANGE && removed {
            record.leader = self.partition.leader;
        }
    }

    /// Before metadata.version 3.6 brokers relied on it (KAFKA-15021).
    fn bump_leader_epoch_for_isr_shrink(&self, record: &mut PartitionChangeRecord) {
        if !self.metadata_version.leader_epoch_bump_on_isr_shrink() || record.leader != NO_LEADER_CHANGE {
            return;
        }
        if record.isr.as_ref().is_some_and(|isr| self.partition.isr.iter().any(|id| !isr.contains(id))) {
            record.leader = self.partition.leader;
        }
    }

    fn update_last_known_leader(&self, record: &mut PartitionChangeRecord) {
        if !self.elr_enabled {
            return;
        }
        if record.leader == NO_LEADER && self.partition.last_known_elr.is_empty() {
            record.last_known_elr = Some(vec![self.partition.leader]);
        } else if record.leader >= 0 && !self.partition.last_known_elr.is_empty() {
            record.last_known_elr = Some(Vec::new());
        }
    }

    fn change_assignment(&self, record: &mut PartitionChangeRecord) {
        if !self.target_replicas.is_empty() {
            if self.metadata_version.has_directories() {
                let directory = |&id: &i32| match self.target_directory {
                    Some((broker, directory)) if broker == id => directory,
                    _ => self.partition.directory(id).unwrap_or_else(|| (self.default_directory)(id)),
                };
                let directories: Vec<Uuid> = self.target_replicas.iter().map(directory).collect();
                if directories != self.partition.directories {
                    record.directories = Some(directories);
                }
            }
            if self.target_replicas != self.partition.replicas {
                record.replicas = Some(self.target_replicas.clone());
            }
        }
        if self.target_removing != self.partition.removing_replicas {
            record.removing_replicas = Some(self.target_removing.clone());
        }
        if self.target_adding != self.partition.adding_replicas {
            record.adding_replicas = Some(self.target_adding.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::record::MetadataRecord;

    fn partition(replicas: &[i32], isr: &[i32], leader: i32) -> PartitionRegistration {
        PartitionRegistration {
            replicas: replicas.to_vec(),
            directories: replicas.iter().map(|&id| Uuid::from_u128(1000 + id as u128)).collect(),
            isr: isr.to_vec(),
            removing_replicas: Vec::new(),
            adding_replicas: Vec::new(),
            elr: Vec::new(),
            last_known_elr: Vec::new(),
            leader,
            leader_recovery_state: LeaderRecoveryState::Recovered,
            leader_epoch: 0,
            partition_epoch: 0,
        }
    }

    fn change(
        partition: &PartitionRegistration,
        alive: &[i32],
        adjust: impl FnOnce(&mut PartitionChange<'_>),
    ) -> Option<PartitionChangeRecord> {
        let mut change = PartitionChange {
            partition,
            topic_id: Uuid::from_u128(1 << 100),
            partition_id: 0,
            is_acceptable_leader: &|id| alive.contains(&id),
            default_directory: &|id| Uuid::from_u128(1000 + id as u128),
            metadata_version: MetadataVersion(30),
            min_isr: 1,
            elr_enabled: true,
            election: Election::Online,
            target_isr: partition.isr.clone(),
            target_replicas: partition.replicas.clone(),
            target_removing: partition.removing_replicas.clone(),
            target_adding: partition.adding_replicas.clone(),
            target_recovery_state: partition.leader_recovery_state,
            target_directory: None,
            unclean_shutdown: Vec::new(),
        };
        adjust(&mut change);
        change.build().map(|record| match record.record {
            MetadataRecord::PartitionChange(record) => record,
            other => panic!("not a change: {other:?}"),
        })
    }

    #[test]
    fn nothing_to_do_is_no_record() {
        assert_eq!(change(&partition(&[1, 2, 3], &[1, 2, 3], 1), &[1, 2, 3], |_| ()), None);
    }

    #[test]
    fn a_fenced_leader_is_replaced_from_the_isr() {
        let record = change(&partition(&[1, 2, 3], &[1, 2, 3], 1), &[2, 3], |change| change.target_isr = vec![2, 3]).expect("a change");
        assert_eq!((record.leader, record.isr), (2, Some(vec![2, 3])));
        assert_eq!(record.eligible_leader_replicas, None);
    }

    #[test]
    fn the_last_replica_becomes_eligible_when_it_is_fenced() {
        let record = change(&partition(&[1], &[1], 1), &[], |change| change.target_isr = vec![]).expect("a change");
        assert_eq!((record.leader, record.isr), (NO_LEADER, Some(vec![])));
        assert_eq!((record.eligible_leader_replicas, record.last_known_elr), (Some(vec![1]), Some(vec![1])));
    }

    #[test]
    fn without_elr_the_last_replica_stays_in_sync() {
        let record = change(&partition(&[1], &[1], 1), &[], |change| {
            change.target_isr = vec![];
            change.elr_enabled = false;
        });
        let record = record.expect("a change");
        assert_eq!((record.leader, record.isr, record.eligible_leader_replicas), (NO_LEADER, None, None));
    }

    #[test]
    fn an_eligible_replica_comes_back_as_leader() {
        let mut gone = partition(&[1], &[], NO_LEADER);
        gone.elr = vec![1];
        gone.last_known_elr = vec![1];
        let record = change(&gone, &[1], |_| ()).expect("a change");
        assert_eq!((record.leader, record.isr), (1, Some(vec![1])));
        assert_eq!((record.eligible_leader_replicas, record.last_known_elr), (Some(vec![]), Some(vec![])));
        assert_eq!(record.leader_recovery_state, -1);
    }

    #[test]
    fn after_an_unclean_stop_the_last_known_leader_recovers() {
        let mut gone = partition(&[1], &[], NO_LEADER);
        gone.last_known_elr = vec![1];
        let record = change(&gone, &[1], |_| ()).expect("a change");
        assert_eq!((record.leader, record.isr, record.leader_recovery_state), (1, Some(vec![1]), 1));
    }

    #[test]
    fn unclean_election_takes_who_is_alive() {
        let lost = partition(&[1, 2, 3], &[1], NO_LEADER);
        assert_eq!(change(&lost, &[3], |_| ()), None);
        let record = change(&lost, &[3], |change| change.election = Election::Unclean);
        // The ISR still names a dead replica, so the last known leader does not count.
        let record = record.expect("a change");
        assert_eq!((record.leader, record.isr, record.leader_recovery_state), (3, Some(vec![3]), 1));
    }

    #[test]
    fn a_reassignment_completes_when_the_new_replicas_are_in_sync() {
        let mut moving = partition(&[2, 1], &[1], 1);
        moving.adding_replicas = vec![2];
        moving.removing_replicas = vec![1];
        assert_eq!(change(&moving, &[1, 2], |_| ()), None);
        let record = change(&moving, &[1, 2], |change| change.target_isr = vec![1, 2]).expect("a change");
        assert_eq!((record.leader, record.isr, record.replicas), (2, Some(vec![2]), Some(vec![2])));
        assert_eq!((record.removing_replicas, record.adding_replicas), (Some(vec![]), Some(vec![])));
    }

    #[test]
    fn the_preferred_replica_takes_over() {
        let record = change(&partition(&[1, 2], &[1, 2], 2), &[1, 2], |change| change.election = Election::Preferred);
        assert_eq!(record.expect("a change").leader, 1);
    }
}
