//! The sticky task assignor: tasks stay where they are as long as that is fair, a standby is promoted before anybody starts from nothing,
//! and what is left goes to the process with the least work for its number of members. Source: `StickyTaskAssignor`, `ProcessState`.
//!
//! Two copies of a task never meet in one process. Kafka breaks ties by the order of its hash maps; here they are broken by name.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::internal_topics::ConfiguredSubtopology;
use super::tasks::{TaskId, TaskSets, Tasks, ids};

/// What the assignor knows of a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssignmentMember {
    pub process_id: String,
    /// What it was to have so far.
    pub previous: Tasks,
}

/// Divides the tasks of `subtopologies` among `members`, with `standby_replicas` copies of those that keep state; fewer when there are not
/// enough processes. Gives every member its tasks, and how many copies found no place. `None` when there are tasks but no members.
pub fn assign(
    members: &BTreeMap<String, AssignmentMember>,
    subtopologies: &BTreeMap<String, ConfiguredSubtopology>,
    standby_replicas: usize,
) -> Option<(BTreeMap<String, Tasks>, usize)> {
    let mut assignor = Assignor::new(members, subtopologies, standby_replicas);
    assignor.assign_active(task_ids(subtopologies, false))?;
    let unplaced = if standby_replicas > 0 { assignor.assign_standby(task_ids(subtopologies, true)) } else { 0 };
    Some((assignor.assignments(), unplaced))
}

fn task_ids(subtopologies: &BTreeMap<String, ConfiguredSubtopology>, stateful_only: bool) -> Vec<TaskId> {
    let chosen = subtopologies.iter().filter(|(_, subtopology)| !stateful_only || subtopology.is_stateful());
    let ids = chosen
        .flat_map(|(id, subtopology)| (0..subtopology.number_of_tasks).map(|partition| TaskId { subtopology_id: id.clone(), partition }));
    ids.collect()
}

fn by_partition(task: &TaskId) -> (i32, String) {
    (task.partition, task.subtopology_id.clone())
}

/// Tasks for each unit of capacity, compared without rounding.
#[derive(Clone, Copy, Debug)]
struct Load {
    tasks: u64,
    capacity: u64,
}

impl Ord for Load {
    fn cmp(&self, other: &Load) -> std::cmp::Ordering {
        (self.tasks * other.capacity).cmp(&(other.tasks * self.capacity))
    }
}

impl PartialOrd for Load {
    fn partial_cmp(&self, other: &Load) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Load {
    fn eq(&self, other: &Load) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Load {}

/// The members of one process, and what they have been given.
#[derive(Debug, Default)]
struct Process {
    /// Places in [`Assignor::members`].
    members: Vec<usize>,
    task_count: u64,
    assigned: HashSet<TaskId>,
}

impl Process {
    fn load(&self) -> Load {
        Load { tasks: self.task_count, capacity: self.members.len() as u64 }
    }
}

#[derive(Debug)]
struct Member {
    id: String,
    process: usize,
    task_count: usize,
    active: TaskSets,
    standby: TaskSets,
}

/// How many tasks a member may be given before the others have theirs: the average of what is left over those who may still get some.
#[derive(Debug)]
struct Quota {
    tasks: usize,
    members: usize,
    per_member: usize,
}

impl Quota {
    fn new(tasks: usize, members: usize) -> Quota {
        let mut quota = Quota { tasks, members, per_member: 0 };
        quota.recompute();
        quota
    }

    fn recompute(&mut self) {
        self.per_member = if self.members == 0 { 0 } else { self.tasks.div_ceil(self.members) };
    }

    /// A member now has `count` tasks.
    fn given(&mut self, count: usize) {
        if count == self.per_member {
            self.members = self.members.saturating_sub(1);
            self.tasks = self.tasks.saturating_sub(count);
            self.recompute();
        }
    }
}

/// Processes by load, each with its members by number of tasks. Built anew when tasks have been given past it.
struct Queue {
    processes: BTreeSet<(Load, usize)>,
    members: HashMap<usize, BTreeSet<(usize, usize)>>,
}

struct Assignor {
    members: Vec<Member>,
    processes: Vec<Process>,
    standby_replicas: usize,
    active_quota: Quota,
    total_quota: Quota,
    previous_active: HashMap<TaskId, usize>,
    previous_standby: HashMap<TaskId, Vec<usize>>,
}

impl Assignor {
    fn new(
        specs: &BTreeMap<String, AssignmentMember>,
        subtopologies: &BTreeMap<String, ConfiguredSubtopology>,
        standby_replicas: usize,
    ) -> Assignor {
        let count = |subtopology: &ConfiguredSubtopology| usize::try_from(subtopology.number_of_tasks).unwrap_or(0);
        let active: usize = subtopologies.values().map(count).sum();
        let stateful: usize = subtopologies.values().filter(|subtopology| subtopology.is_stateful()).map(count).sum();
        let mut assignor = Assignor {
            members: Vec::with_capacity(specs.len()),
            processes: Vec::new(),
            standby_replicas,
            active_quota: Quota::new(active, specs.len()),
            total_quota: Quota::new(active + stateful * standby_replicas, specs.len()),
            previous_active: HashMap::new(),
            previous_standby: HashMap::new(),
        };
        let mut process_of: BTreeMap<&str, usize> = BTreeMap::new();
        for (id, spec) in specs {
            let place = assignor.members.len();
            let process = *process_of.entry(&spec.process_id).or_insert_with(|| {
                assignor.processes.push(Process::default());
                assignor.processes.len() - 1
            });
            assignor.processes[process].members.push(place);
            assignor.members.push(Member { id: id.clone(), process, task_count: 0, active: TaskSets::new(), standby: TaskSets::new() });
            for task in ids(&spec.previous.active) {
                assignor.previous_active.insert(task, place);
            }
            for task in ids(&spec.previous.standby) {
                assignor.previous_standby.entry(task).or_default().push(place);
            }
        }
        assignor
    }

    fn process_of(&self, member: usize) -> &Process {
        &self.processes[self.members[member].process]
    }

    fn give(&mut self, member: usize, task: &TaskId, active: bool) {
        let Member { process, task_count, active: active_tasks, standby, .. } = &mut self.members[member];
        let tasks = if active { active_tasks } else { standby };
        tasks.entry(task.subtopology_id.clone()).or_default().insert(task.partition);
        *task_count += 1;
        let count = *task_count;
        let process = &mut self.processes[*process];
        process.task_count += 1;
        process.assigned.insert(task.clone());
        if active {
            self.active_quota.given(count);
        }
        self.total_quota.given(count);
    }

    fn has_room(&self, member: usize, quota: &Quota) -> bool {
        self.members[member].task_count < quota.per_member
    }

    fn assign_active(&mut self, mut tasks: Vec<TaskId>) -> Option<()> {
        // Assignments are made in ranges; going by partition lets each member keep some of its range.
        tasks.sort_by_cached_key(by_partition);
        tasks.retain(|task| {
            let previous = self.previous_active.get(task).copied().filter(|&member| self.has_room(member, &self.active_quota));
            previous.inspect(|&member| self.give(member, task, true)).is_none()
        });
        tasks.retain(|task| {
            let previous = self.least_loaded_previous_standby(task, false).filter(|&member| self.has_room(member, &self.active_quota));
            previous.inspect(|&member| self.give(member, task, true)).is_none()
        });
        tasks.sort();
        let mut queue = self.queue();
        for task in tasks {
            let process = queue.processes.first()?.1;
            self.give_to_least_loaded(&mut queue, process, &task, true);
        }
        Some(())
    }

    /// The number of copies without a place.
    fn assign_standby(&mut self, mut tasks: Vec<TaskId>) -> usize {
        let mut rest: Vec<(TaskId, usize)> = Vec::new();
        tasks.sort_by_cached_key(by_partition);
        for task in tasks.into_iter().rev() {
            for given in 0..self.standby_replicas {
                let previous_active = self.previous_active.get(&task).copied();
                let mut place = previous_active
                    .filter(|&member| !self.process_of(member).assigned.contains(&task) && self.has_room(member, &self.total_quota));
                if place.is_none() {
                    let previous = self.least_loaded_previous_standby(&task, true);
                    place = previous.filter(|&member| self.has_room(member, &self.total_quota));
                }
                let Some(member) = place else {
                    rest.push((task, self.standby_replicas - given));
                    break;
                };
                self.give(member, &task, false);
            }
        }
        rest.sort();
        let mut queue = self.queue();
        let mut unplaced = 0;
        for (task, copies) in rest.into_iter().rev() {
            for given in 0..copies {
                let free =
                    queue.processes.iter().map(|&(_, process)| process).find(|&process| !self.processes[process].assigned.contains(&task));
                let Some(process) = free else {
                    unplaced += copies - given;
                    break;
                };
                self.give_to_least_loaded(&mut queue, process, &task, false);
            }
        }
        unplaced
    }

    /// Of those who had a copy of the task, the one with the least load. With `without_task`, not one whose process has the task now.
    ///
    /// As in Kafka, a first candidate whose process has the task rules the others out as well.
    fn least_loaded_previous_standby(&self, task: &TaskId, without_task: bool) -> Option<usize> {
        let (&first, others) = self.previous_standby.get(task)?.split_first()?;
        let allowed = |member: usize| !without_task || !self.process_of(member).assigned.contains(task);
        if !allowed(first) {
            return None;
        }
        let mut candidate = first;
        for &member in others {
            let lower = self.process_of(member).load() < self.process_of(candidate).load();
            if lower && allowed(member) && self.members[member].task_count < self.members[candidate].task_count {
                candidate = member;
            }
        }
        Some(candidate)
    }

    fn queue(&self) -> Queue {
        let processes = self.processes.iter().enumerate().map(|(place, process)| (process.load(), place)).collect();
        Queue { processes, members: HashMap::new() }
    }

    fn give_to_least_loaded(&mut self, queue: &mut Queue, process: usize, task: &TaskId, active: bool) {
        queue.processes.remove(&(self.processes[process].load(), process));
        let members = queue.members.entry(process).or_insert_with(|| {
            let members = self.processes[process].members.iter();
            members.map(|&member| (self.members[member].task_count, member)).collect()
        });
        // A process comes into being with its first member.
        if let Some((count, member)) = members.pop_first() {
            members.insert((count + 1, member));
            self.give(member, task, active);
        }
        queue.processes.insert((self.processes[process].load(), process));
    }

    fn assignments(self) -> BTreeMap<String, Tasks> {
        let tasks = |member: Member| (member.id, Tasks { active: member.active, standby: member.standby, warmup: TaskSets::new() });
        self.members.into_iter().map(tasks).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::random::Random;
    use crate::coordinator::group::streams::internal_topics::ConfiguredInternalTopic;

    fn subtopologies(tasks: &[(&str, i32, bool)]) -> BTreeMap<String, ConfiguredSubtopology> {
        let configured = |&(id, number_of_tasks, stateful): &(&str, i32, bool)| {
            let changelog = ConfiguredInternalTopic {
                name: format!("{id}-changelog"),
                partitions: number_of_tasks,
                replication_factor: None,
                configs: BTreeMap::new(),
            };
            let subtopology = ConfiguredSubtopology {
                number_of_tasks,
                source_topics: BTreeSet::new(),
                repartition_source_topics: BTreeMap::new(),
                repartition_sink_topics: BTreeSet::new(),
                state_changelog_topics: stateful.then_some((changelog.name.clone(), changelog)).into_iter().collect(),
            };
            (id.to_owned(), subtopology)
        };
        tasks.iter().map(configured).collect()
    }

    fn members(processes: &[(&str, &str)]) -> BTreeMap<String, AssignmentMember> {
        let member = |&(id, process): &(&str, &str)| {
            (id.to_owned(), AssignmentMember { process_id: process.to_owned(), previous: Tasks::default() })
        };
        processes.iter().map(member).collect()
    }

    fn sets(tasks: &[(&str, &[i32])]) -> TaskSets {
        tasks.iter().map(|(subtopology, partitions)| ((*subtopology).to_owned(), partitions.iter().copied().collect())).collect()
    }

    /// The members with what `assignment` gave them.
    fn afterwards(
        members: &BTreeMap<String, AssignmentMember>,
        assignment: &BTreeMap<String, Tasks>,
    ) -> BTreeMap<String, AssignmentMember> {
        let after = |(id, member): (&String, &AssignmentMember)| {
            (id.clone(), AssignmentMember { previous: assignment.get(id).cloned().unwrap_or_default(), ..member.clone() })
        };
        members.iter().map(after).collect()
    }

    fn active_count(tasks: &Tasks) -> usize {
        ids(&tasks.active).count()
    }

    #[test]
    fn a_first_assignment_is_in_ranges() {
        let (assignment, _) =
            assign(&members(&[("a", "p"), ("b", "q")]), &subtopologies(&[("0", 2, false), ("1", 2, false)]), 0).expect("members");
        assert_eq!(assignment["a"].active, sets(&[("0", &[0]), ("1", &[0])]));
        assert_eq!(assignment["b"].active, sets(&[("0", &[1]), ("1", &[1])]));
    }

    #[test]
    fn a_process_with_twice_the_members_gets_twice_the_tasks() {
        let members = members(&[("a", "p"), ("b", "p"), ("c", "q")]);
        let (assignment, _) = assign(&members, &subtopologies(&[("0", 9, false)]), 0).expect("members");
        assert_eq!(assignment.values().map(active_count).collect::<Vec<_>>(), [3, 3, 3]);
    }

    #[test]
    fn who_joins_takes_only_a_fair_share() {
        let topology = subtopologies(&[("0", 6, false)]);
        let two = members(&[("a", "p"), ("b", "q")]);
        let (before, _) = assign(&two, &topology, 0).expect("members");
        let mut three = afterwards(&two, &before);
        three.extend(members(&[("c", "r")]));
        let (after, _) = assign(&three, &topology, 0).expect("members");
        for id in ["a", "b"] {
            assert!(after[id].active["0"].is_subset(&before[id].active["0"]), "{id} got a task it did not have");
        }
        assert_eq!(after.values().map(active_count).collect::<Vec<_>>(), [2, 2, 2]);
    }

    #[test]
    fn a_standby_becomes_active_when_its_task_is_orphaned() {
        let topology = subtopologies(&[("0", 2, true)]);
        let two = members(&[("a", "p"), ("b", "q")]);
        let (before, _) = assign(&two, &topology, 1).expect("members");
        assert_eq!(before["a"].standby, before["b"].active);
        let mut left = afterwards(&two, &before);
        left.remove("b");
        let (after, unplaced) = assign(&left, &topology, 1).expect("members");
        assert_eq!((after["a"].active.clone(), after["a"].standby.is_empty(), unplaced), (sets(&[("0", &[0, 1])]), true, 2));
    }

    #[test]
    fn tasks_without_state_have_no_copies() {
        let (assignment, unplaced) = assign(&members(&[("a", "p"), ("b", "q")]), &subtopologies(&[("0", 4, false)]), 2).expect("members");
        assert!(unplaced == 0 && assignment.values().all(|tasks| tasks.standby.is_empty()));
    }

    #[test]
    fn nobody_can_be_given_a_task_when_there_is_nobody() {
        assert_eq!(assign(&BTreeMap::new(), &subtopologies(&[("0", 1, false)]), 0), None);
    }

    fn each_active_task_has_one_owner(topology: &BTreeMap<String, ConfiguredSubtopology>, assignment: &BTreeMap<String, Tasks>) {
        let mut given: Vec<TaskId> = assignment.values().flat_map(|tasks| ids(&tasks.active)).collect();
        given.sort();
        assert_eq!(given, task_ids(topology, false));
    }

    fn copies_never_meet_in_a_process(members: &BTreeMap<String, AssignmentMember>, assignment: &BTreeMap<String, Tasks>) {
        let mut seen = HashSet::new();
        for (id, tasks) in assignment {
            for task in ids(&tasks.active).chain(ids(&tasks.standby)) {
                let process = members[id].process_id.clone();
                assert!(seen.insert((process.clone(), task.clone())), "two copies of {task:?} in {process}");
            }
        }
    }

    /// Nobody has more active tasks than the average, rounded up.
    fn active_tasks_are_shared(assignment: &BTreeMap<String, Tasks>) {
        let counts: Vec<usize> = assignment.values().map(active_count).collect();
        let fair = counts.iter().sum::<usize>().div_ceil(counts.len());
        assert!(counts.iter().all(|&count| count <= fair), "{counts:?}");
    }

    #[test]
    fn random_groups_keep_the_rules() {
        for seed in 0..300 {
            let mut random = Random::new(seed);
            let topology = subtopologies(&[("0", 1 + random.below(12) as i32, true), ("1", 1 + random.below(12) as i32, false)]);
            let replicas = random.below(3) as usize;
            let threads = 1 + random.below(3);
            let mut current: BTreeMap<String, AssignmentMember> = BTreeMap::new();
            for _ in 0..8 {
                // A process comes or goes, with all its threads.
                let process = format!("p{}", random.below(5));
                let ids: Vec<String> = (0..threads).map(|thread| format!("{process}-{thread}")).collect();
                if current.contains_key(&ids[0]) && current.len() > ids.len() {
                    ids.iter().for_each(|id| drop(current.remove(id)));
                } else {
                    for id in ids {
                        let joined = AssignmentMember { process_id: process.clone(), previous: Tasks::default() };
                        current.entry(id).or_insert(joined);
                    }
                }
                let (assignment, unplaced) = assign(&current, &topology, replicas).unwrap_or_else(|| panic!("seed {seed}"));
                each_active_task_has_one_owner(&topology, &assignment);
                copies_never_meet_in_a_process(&current, &assignment);
                active_tasks_are_shared(&assignment);
                let processes = current.values().map(|member| &member.process_id).collect::<BTreeSet<_>>().len();
                let stateful = task_ids(&topology, true).len();
                assert_eq!(unplaced, stateful * replicas.saturating_sub(processes - 1), "seed {seed}");
                current = afterwards(&current, &assignment);
                // What was even among processes may become even within them; then nothing moves any more.
                let settled = |current: &BTreeMap<String, AssignmentMember>| {
                    let next = assign(current, &topology, replicas).unwrap_or_else(|| panic!("seed {seed}")).0;
                    (next.values().map(|tasks| tasks.active.clone()).collect::<Vec<_>>(), afterwards(current, &next))
                };
                let (first, once) = settled(&current);
                let (second, twice) = settled(&once);
                assert!(first == second || second == settled(&twice).0, "seed {seed}: active tasks move for no reason");
            }
        }
    }
}
