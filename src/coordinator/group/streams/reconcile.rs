//! Brings one member nearer to its target assignment: first it gives back what is not its any more, then it moves to the target's epoch,
//! then it is given what nobody else still has. Source: `CurrentAssignmentBuilder`.
//!
//! Invariant: an active task is never given while somebody has it, nor a task of any role to a process that has it in another.

use std::collections::{BTreeMap, BTreeSet};

use super::StreamsError;
use super::member::{MemberState, StreamsGroupMember};
use super::tasks::{AssignedTasks, TaskSets, Tasks};

/// Which processes have which tasks just now.
pub trait CurrentTasks {
    fn active_process(&self, subtopology_id: &str, partition: i32) -> Option<&str>;
    fn is_standby_in(&self, subtopology_id: &str, partition: i32, process_id: &str) -> bool;
    fn is_warmup_in(&self, subtopology_id: &str, partition: i32, process_id: &str) -> bool;
}

/// `member` after one step towards `target`, the assignment of `target_epoch`; `owned` is what the member says it has, if it says so.
pub fn reconcile(
    member: &StreamsGroupMember,
    target_epoch: i32,
    target: &Tasks,
    owned: Option<&Tasks>,
    current: &dyn CurrentTasks,
) -> Result<StreamsGroupMember, StreamsError> {
    let next = |member_epoch| next_assignment(member, member_epoch, target_epoch, target, owned, current);
    Ok(match member.state {
        MemberState::Stable if member.member_epoch == target_epoch => member.clone(),
        MemberState::Stable | MemberState::UnreleasedTasks => next(member.member_epoch),
        // Tasks are given back when a heartbeat lists what its member has, and they are not there.
        MemberState::UnrevokedTasks if owned.is_none_or(|owned| owned.contains_any(&member.pending_revocation)) => member.clone(),
        MemberState::UnrevokedTasks => next(member.member_epoch.saturating_add(1)),
        // A later version of Kafka wrote it; nothing is known but that a member without tasks can start over.
        MemberState::Unknown if owned.is_none_or(|owned| !owned.is_empty()) => {
            return Err(StreamsError::fenced(
                "The streams group member is in a unknown state. The member must abandon all its tasks and rejoin.",
            ));
        }
        MemberState::Unknown => next(target_epoch),
    })
}

fn next_assignment(
    member: &StreamsGroupMember,
    member_epoch: i32,
    target_epoch: i32,
    target: &Tasks,
    owned: Option<&Tasks>,
    current: &dyn CurrentTasks,
) -> StreamsGroupMember {
    let process = member.process_id.as_str();
    let is_copy_here = |subtopology: &str, partition: i32| {
        current.is_standby_in(subtopology, partition, process) || current.is_warmup_in(subtopology, partition, process)
    };
    let active_is_taken =
        |subtopology: &str, partition| current.active_process(subtopology, partition).is_some() || is_copy_here(subtopology, partition);
    let copy_is_taken = |subtopology: &str, partition| {
        current.active_process(subtopology, partition) == Some(process) || is_copy_here(subtopology, partition)
    };

    let active = difference(&member.assigned.active_sets(), &target.active, &active_is_taken);
    let standby = difference(&member.assigned.standby, &target.standby, &copy_is_taken);
    let warmup = difference(&member.assigned.warmup, &target.warmup, &copy_is_taken);
    let has_unreleased = active.unreleased || standby.unreleased || warmup.unreleased;

    // What stays keeps the epoch in which it was given.
    let with_epochs = |tasks: TaskSets, new: bool| -> BTreeMap<String, BTreeMap<i32, i32>> {
        let epoch = |subtopology: &str, partition| {
            if new { target_epoch } else { member.assigned.active_epoch(subtopology, partition).unwrap_or(target_epoch) }
        };
        tasks
            .into_iter()
            .map(|(subtopology, partitions)| {
                let partitions = partitions.into_iter().map(|partition| (partition, epoch(&subtopology, partition))).collect();
                (subtopology, partitions)
            })
            .collect()
    };
    let kept = AssignedTasks { active: with_epochs(active.kept, false), standby: standby.kept, warmup: warmup.kept };
    let revoked = AssignedTasks { active: with_epochs(active.revoked, false), standby: standby.revoked, warmup: warmup.revoked };
    let given = AssignedTasks { active: with_epochs(active.given, true), standby: standby.given, warmup: warmup.given };

    if !revoked.is_empty() && owned.is_none_or(|owned| owned.contains_any(&revoked)) {
        return member.moved_to(MemberState::UnrevokedTasks, member_epoch, kept, revoked);
    }
    let state = if has_unreleased { MemberState::UnreleasedTasks } else { MemberState::Stable };
    member.moved_to(state, target_epoch, kept.merged(given), AssignedTasks::default())
}

/// What becomes of the tasks of one role.
#[derive(Default)]
struct Difference {
    kept: TaskSets,
    revoked: TaskSets,
    given: TaskSets,
    /// Whether a task of the target is still somebody else's.
    unreleased: bool,
}

fn difference(current: &TaskSets, target: &TaskSets, is_taken: &dyn Fn(&str, i32) -> bool) -> Difference {
    let mut difference = Difference::default();
    let nothing = BTreeSet::new();
    let subtopologies: BTreeSet<&String> = current.keys().chain(target.keys()).collect();
    for subtopology in subtopologies {
        let has = current.get(subtopology).unwrap_or(&nothing);
        let wants = target.get(subtopology).unwrap_or(&nothing);
        let (taken, given) = wants.difference(has).partition::<BTreeSet<i32>, _>(|&&partition| is_taken(subtopology, partition));
        difference.unreleased |= !taken.is_empty();
        let put = |into: &mut TaskSets, partitions: BTreeSet<i32>| {
            if !partitions.is_empty() {
                into.insert(subtopology.clone(), partitions);
            }
        };
        put(&mut difference.kept, has.intersection(wants).copied().collect());
        put(&mut difference.revoked, has.difference(wants).copied().collect());
        put(&mut difference.given, given);
    }
    difference
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::error_code::ErrorCode;

    /// Active tasks of subtopology 0 by partition, and copies, with their processes.
    #[derive(Default)]
    struct Held {
        active: BTreeMap<i32, &'static str>,
        standby: BTreeSet<(i32, &'static str)>,
    }

    impl CurrentTasks for Held {
        fn active_process(&self, _: &str, partition: i32) -> Option<&str> {
            self.active.get(&partition).copied()
        }

        fn is_standby_in(&self, _: &str, partition: i32, process_id: &str) -> bool {
            self.standby.iter().any(|&(held, process)| held == partition && process == process_id)
        }

        fn is_warmup_in(&self, _: &str, _: i32, _: &str) -> bool {
            false
        }
    }

    fn active(partitions: &[i32]) -> Tasks {
        Tasks { active: sets(partitions), ..Tasks::default() }
    }

    fn sets(partitions: &[i32]) -> TaskSets {
        if partitions.is_empty() { TaskSets::new() } else { TaskSets::from([("0".to_owned(), partitions.iter().copied().collect())]) }
    }

    fn member(state: MemberState, epoch: i32, assigned: &[(i32, i32)], pending: &[(i32, i32)]) -> StreamsGroupMember {
        let tasks = |tasks: &[(i32, i32)]| AssignedTasks {
            active: if tasks.is_empty() { BTreeMap::new() } else { BTreeMap::from([("0".to_owned(), tasks.iter().copied().collect())]) },
            ..AssignedTasks::default()
        };
        StreamsGroupMember {
            process_id: "p".to_owned(),
            state,
            member_epoch: epoch,
            previous_member_epoch: epoch,
            assigned: tasks(assigned),
            pending_revocation: tasks(pending),
            ..StreamsGroupMember::new("m")
        }
    }

    fn step(member: &StreamsGroupMember, target_epoch: i32, target: &Tasks, owned: Option<&Tasks>, held: &Held) -> StreamsGroupMember {
        reconcile(member, target_epoch, target, owned, held).expect("not fenced")
    }

    /// Partitions with their epochs.
    type Shown = Vec<(i32, i32)>;

    fn shows(member: &StreamsGroupMember) -> (MemberState, i32, Shown, Shown) {
        let tasks =
            |tasks: &AssignedTasks| tasks.active.get("0").into_iter().flatten().map(|(&partition, &epoch)| (partition, epoch)).collect();
        (member.state, member.member_epoch, tasks(&member.assigned), tasks(&member.pending_revocation))
    }

    #[test]
    fn free_tasks_are_given_in_the_epoch_of_the_target() {
        let after = step(&member(MemberState::Stable, 1, &[(0, 1)], &[]), 2, &active(&[0, 1]), None, &Held::default());
        assert_eq!(shows(&after), (MemberState::Stable, 2, vec![(0, 1), (1, 2)], vec![]));
        assert_eq!(after.previous_member_epoch, 1);
    }

    #[test]
    fn a_member_keeps_its_epoch_until_it_has_given_its_tasks_back() {
        let held = Held::default();
        let first = step(&member(MemberState::Stable, 1, &[(0, 1), (1, 1)], &[]), 2, &active(&[0]), None, &held);
        assert_eq!(shows(&first), (MemberState::UnrevokedTasks, 1, vec![(0, 1)], vec![(1, 1)]));
        assert_eq!(step(&first, 2, &active(&[0]), None, &held), first);
        assert_eq!(step(&first, 2, &active(&[0]), Some(&active(&[0, 1])), &held), first);
        let done = step(&first, 2, &active(&[0]), Some(&active(&[0])), &held);
        assert_eq!(shows(&done), (MemberState::Stable, 2, vec![(0, 1)], vec![]));
    }

    #[test]
    fn what_is_given_back_in_the_same_heartbeat_needs_no_further_step() {
        let after = step(&member(MemberState::Stable, 1, &[(0, 1), (1, 1)], &[]), 2, &active(&[0]), Some(&active(&[0])), &Held::default());
        assert_eq!(shows(&after), (MemberState::Stable, 2, vec![(0, 1)], vec![]));
    }

    #[test]
    fn a_task_of_another_is_waited_for() {
        let held = Held { active: BTreeMap::from([(1, "q")]), ..Held::default() };
        let waiting = step(&member(MemberState::Stable, 1, &[], &[]), 2, &active(&[0, 1]), None, &held);
        assert_eq!(shows(&waiting), (MemberState::UnreleasedTasks, 2, vec![(0, 2)], vec![]));
        let done = step(&waiting, 2, &active(&[0, 1]), None, &Held::default());
        assert_eq!(shows(&done), (MemberState::Stable, 2, vec![(0, 2), (1, 2)], vec![]));
    }

    #[test]
    fn a_process_never_has_two_copies_of_a_task() {
        let held = Held { standby: BTreeSet::from([(0, "p")]), ..Held::default() };
        let waiting = step(&member(MemberState::Stable, 1, &[], &[]), 2, &active(&[0]), None, &held);
        assert_eq!(waiting.state, MemberState::UnreleasedTasks);
        let elsewhere = Held { standby: BTreeSet::from([(0, "q")]), ..Held::default() };
        assert_eq!(step(&waiting, 2, &active(&[0]), None, &elsewhere).state, MemberState::Stable);
        let copy = Tasks { standby: sets(&[0]), ..Tasks::default() };
        let active_here = Held { active: BTreeMap::from([(0, "p")]), ..Held::default() };
        assert_eq!(step(&member(MemberState::Stable, 1, &[], &[]), 2, &copy, None, &active_here).state, MemberState::UnreleasedTasks);
        let active_elsewhere = Held { active: BTreeMap::from([(0, "q")]), ..Held::default() };
        assert_eq!(step(&member(MemberState::Stable, 1, &[], &[]), 2, &copy, None, &active_elsewhere).state, MemberState::Stable);
    }

    #[test]
    fn a_member_in_a_state_of_the_future_starts_over() {
        let strange = member(MemberState::Unknown, 3, &[(0, 1)], &[]);
        for owned in [None, Some(active(&[0]))] {
            let error = reconcile(&strange, 4, &active(&[0]), owned.as_ref(), &Held::default()).expect_err("fenced");
            assert_eq!(error.code, ErrorCode::FencedMemberEpoch);
        }
        assert_eq!(step(&strange, 4, &active(&[0]), Some(&Tasks::default()), &Held::default()).state, MemberState::Stable);
    }
}
