//! Tasks and who has them. A task is one partition number of one subtopology; it is active (it processes), a standby or a warm-up (it keeps
//! a copy of the state). Source: `TasksTuple`, `TasksTupleWithEpochs`.
//!
//! Invariant: maps and sets are ordered, so that records, answers and assignments are reproducible.

use std::collections::{BTreeMap, BTreeSet};

use crate::protocol::messages::{
    streams_group_current_member_assignment_value as current_value, streams_group_describe_response as describe_response,
    streams_group_heartbeat_request as heartbeat_request, streams_group_heartbeat_response as heartbeat_response,
    streams_group_target_assignment_member_value as target_value,
};

/// Tasks of one kind: subtopology -> partition numbers.
pub type TaskSets = BTreeMap<String, BTreeSet<i32>>;
/// Active tasks: subtopology -> partition number -> the assignment epoch since which its member has it.
pub type TasksByEpoch = BTreeMap<String, BTreeMap<i32, i32>>;

/// One task.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId {
    pub subtopology_id: String,
    pub partition: i32,
}

/// The tasks in these sets, one by one.
pub(super) fn ids(tasks: &TaskSets) -> impl Iterator<Item = TaskId> {
    tasks
        .iter()
        .flat_map(|(subtopology, partitions)| partitions.iter().map(|&partition| TaskId { subtopology_id: subtopology.clone(), partition }))
}

/// What a member shall have, or says that it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tasks {
    pub active: TaskSets,
    pub standby: TaskSets,
    pub warmup: TaskSets,
}

impl Tasks {
    pub fn is_empty(&self) -> bool {
        self.active.is_empty() && self.standby.is_empty() && self.warmup.is_empty()
    }

    /// Whether one of `other`'s tasks is here too, in the same role.
    pub fn contains_any(&self, other: &AssignedTasks) -> bool {
        let active = self.active.iter().any(|(subtopology, partitions)| {
            other.active.get(subtopology).is_some_and(|others| others.keys().any(|partition| partitions.contains(partition)))
        });
        active || overlaps(&self.standby, &other.standby) || overlaps(&self.warmup, &other.warmup)
    }

    /// What a heartbeat says its member has; `None` when it does not say.
    pub(super) fn from_request(request: &crate::protocol::messages::StreamsGroupHeartbeatRequest) -> Option<Tasks> {
        let sets = |tasks: &Option<Vec<heartbeat_request::TaskIds>>| {
            tasks.as_ref().map(|tasks| task_sets(tasks.iter().map(|task| (&task.subtopology_id, &task.partitions))))
        };
        Some(Tasks { active: sets(&request.active_tasks)?, standby: sets(&request.standby_tasks)?, warmup: sets(&request.warmup_tasks)? })
    }

    pub(super) fn from_record(value: &target_value::StreamsGroupTargetAssignmentMemberValue) -> Tasks {
        let sets = |tasks: &[target_value::TaskIds]| task_sets(tasks.iter().map(|task| (&task.subtopology_id, &task.partitions)));
        Tasks { active: sets(&value.active_tasks), standby: sets(&value.standby_tasks), warmup: sets(&value.warmup_tasks) }
    }

    pub(super) fn to_record(&self) -> target_value::StreamsGroupTargetAssignmentMemberValue {
        let ids = |tasks: &TaskSets| {
            let id = |(subtopology_id, partitions)| target_value::TaskIds { subtopology_id, partitions, ..Default::default() };
            lists(tasks).map(id).collect()
        };
        target_value::StreamsGroupTargetAssignmentMemberValue {
            active_tasks: ids(&self.active),
            standby_tasks: ids(&self.standby),
            warmup_tasks: ids(&self.warmup),
            ..Default::default()
        }
    }

    pub(super) fn describe(&self) -> describe_response::Assignment {
        describe_response::Assignment {
            active_tasks: described(&self.active),
            standby_tasks: described(&self.standby),
            warmup_tasks: described(&self.warmup),
            ..Default::default()
        }
    }
}

/// What the coordinator has given to a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssignedTasks {
    pub active: TasksByEpoch,
    pub standby: TaskSets,
    pub warmup: TaskSets,
}

impl AssignedTasks {
    pub fn is_empty(&self) -> bool {
        self.active.is_empty() && self.standby.is_empty() && self.warmup.is_empty()
    }

    /// Both together; the epochs of `other` win.
    pub fn merged(mut self, other: AssignedTasks) -> AssignedTasks {
        for (subtopology, partitions) in other.active {
            self.active.entry(subtopology).or_default().extend(partitions);
        }
        for (mine, others) in [(&mut self.standby, other.standby), (&mut self.warmup, other.warmup)] {
            for (subtopology, partitions) in others {
                mine.entry(subtopology).or_default().extend(partitions);
            }
        }
        self
    }

    /// Whether everything in `tasks` is here, in the same role.
    pub fn contains_all(&self, tasks: &Tasks) -> bool {
        let active = tasks.active.iter().all(|(subtopology, partitions)| {
            self.active.get(subtopology).is_some_and(|mine| partitions.iter().all(|partition| mine.contains_key(partition)))
        });
        let within = |tasks: &TaskSets, mine: &TaskSets| {
            tasks.iter().all(|(subtopology, partitions)| mine.get(subtopology).is_some_and(|mine| partitions.is_subset(mine)))
        };
        active && within(&tasks.standby, &self.standby) && within(&tasks.warmup, &self.warmup)
    }

    /// The active tasks without their epochs.
    pub fn active_sets(&self) -> TaskSets {
        self.active.iter().map(|(subtopology, partitions)| (subtopology.clone(), partitions.keys().copied().collect())).collect()
    }

    /// All tasks, as one who has them lists them.
    pub fn without_epochs(&self) -> Tasks {
        Tasks { active: self.active_sets(), standby: self.standby.clone(), warmup: self.warmup.clone() }
    }

    /// The epoch since which this has an active task.
    pub fn active_epoch(&self, subtopology_id: &str, partition: i32) -> Option<i32> {
        self.active.get(subtopology_id)?.get(&partition).copied()
    }

    /// Epochs that are missing, or are not one for each partition, are the member's.
    pub(super) fn from_record(
        active: &[current_value::TaskIds],
        standby: &[current_value::TaskIds],
        warmup: &[current_value::TaskIds],
        member_epoch: i32,
    ) -> AssignedTasks {
        let with_epochs = |task: &current_value::TaskIds| {
            let epochs = task.assignment_epochs.as_ref().filter(|epochs| epochs.len() == task.partitions.len());
            let epoch = |place: usize| epochs.and_then(|epochs| epochs.get(place)).copied().unwrap_or(member_epoch);
            let partitions = task.partitions.iter().enumerate().map(|(place, &partition)| (partition, epoch(place))).collect();
            (task.subtopology_id.clone(), partitions)
        };
        let sets = |tasks: &[current_value::TaskIds]| task_sets(tasks.iter().map(|task| (&task.subtopology_id, &task.partitions)));
        AssignedTasks { active: active.iter().map(with_epochs).collect(), standby: sets(standby), warmup: sets(warmup) }
    }

    /// The active, standby and warm-up tasks of a record.
    pub(super) fn to_record(&self) -> [Vec<current_value::TaskIds>; 3] {
        let active = self.active.iter().map(|(subtopology, partitions)| current_value::TaskIds {
            subtopology_id: subtopology.clone(),
            partitions: partitions.keys().copied().collect(),
            assignment_epochs: Some(partitions.values().copied().collect()),
            ..Default::default()
        });
        let ids = |tasks: &TaskSets| {
            let id = |(subtopology_id, partitions)| current_value::TaskIds {
                subtopology_id,
                partitions,
                assignment_epochs: None,
                ..Default::default()
            };
            lists(tasks).map(id).collect()
        };
        [active.collect(), ids(&self.standby), ids(&self.warmup)]
    }

    pub(super) fn describe(&self) -> describe_response::Assignment {
        describe_response::Assignment {
            active_tasks: described(&self.active_sets()),
            standby_tasks: described(&self.standby),
            warmup_tasks: described(&self.warmup),
            ..Default::default()
        }
    }
}

/// Tasks as a heartbeat's answer lists them.
pub(super) fn answered(tasks: &TaskSets) -> Vec<heartbeat_response::TaskIds> {
    let id = |(subtopology_id, partitions)| heartbeat_response::TaskIds { subtopology_id, partitions, ..Default::default() };
    lists(tasks).map(id).collect()
}

fn described(tasks: &TaskSets) -> Vec<describe_response::TaskIds> {
    let id = |(subtopology_id, partitions)| describe_response::TaskIds { subtopology_id, partitions, ..Default::default() };
    lists(tasks).map(id).collect()
}

fn lists(tasks: &TaskSets) -> impl Iterator<Item = (String, Vec<i32>)> {
    tasks.iter().map(|(subtopology, partitions)| (subtopology.clone(), partitions.iter().copied().collect()))
}

fn task_sets<'a>(tasks: impl Iterator<Item = (&'a String, &'a Vec<i32>)>) -> TaskSets {
    tasks.map(|(subtopology, partitions)| (subtopology.clone(), partitions.iter().copied().collect())).collect()
}

fn overlaps(left: &TaskSets, right: &TaskSets) -> bool {
    left.iter().any(|(subtopology, partitions)| right.get(subtopology).is_some_and(|others| !partitions.is_disjoint(others)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets(tasks: &[(&str, &[i32])]) -> TaskSets {
        tasks.iter().map(|(subtopology, partitions)| ((*subtopology).to_owned(), partitions.iter().copied().collect())).collect()
    }

    fn assigned(epoch: i32, active: &[(&str, &[i32])], standby: &[(&str, &[i32])]) -> AssignedTasks {
        let active = sets(active).into_iter().map(|(subtopology, partitions)| {
            let partitions = partitions.into_iter().map(|partition| (partition, epoch)).collect();
            (subtopology, partitions)
        });
        AssignedTasks { active: active.collect(), standby: sets(standby), warmup: TaskSets::new() }
    }

    #[test]
    fn a_record_without_epochs_takes_those_of_its_member() {
        let task = |epochs| current_value::TaskIds {
            subtopology_id: "0".to_owned(),
            partitions: vec![1, 2],
            assignment_epochs: epochs,
            ..Default::default()
        };
        for epochs in [None, Some(vec![4])] {
            let tasks = AssignedTasks::from_record(&[task(epochs)], &[], &[], 7);
            assert_eq!(tasks, assigned(7, &[("0", &[1, 2])], &[]));
        }
        let tasks = AssignedTasks::from_record(&[task(Some(vec![4, 5]))], &[], &[], 7);
        assert_eq!((tasks.active_epoch("0", 1), tasks.active_epoch("0", 2), tasks.active_epoch("0", 3)), (Some(4), Some(5), None));
    }

    #[test]
    fn merging_keeps_what_both_have_and_the_newer_epochs() {
        let merged = assigned(1, &[("0", &[0, 1])], &[("1", &[0])]).merged(assigned(2, &[("0", &[1, 2])], &[("1", &[1])]));
        assert_eq!(merged.active["0"], BTreeMap::from([(0, 1), (1, 2), (2, 2)]));
        assert_eq!(merged.standby, sets(&[("1", &[0, 1])]));
    }

    #[test]
    fn a_task_in_another_role_is_another_thing_to_own() {
        let owned = Tasks { standby: sets(&[("0", &[0])]), ..Tasks::default() };
        assert!(!owned.contains_any(&assigned(1, &[("0", &[0])], &[])));
        assert!(owned.contains_any(&assigned(1, &[], &[("0", &[0, 1])])));
        assert!(!assigned(1, &[("0", &[0])], &[]).contains_all(&owned));
        assert!(assigned(1, &[], &[("0", &[0, 1])]).contains_all(&owned));
    }
}
