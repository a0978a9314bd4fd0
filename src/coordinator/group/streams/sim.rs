//! A seeded simulation: processes with threads come, go, fall silent and come back, lose answers, are slow to give tasks back; topics vanish,
//! settings change, and the coordinator restarts from its log. After every step each invariant is checked; a failure names its seed.

use std::collections::{BTreeMap, BTreeSet};

use super::tasks::{AssignedTasks, TaskId, ids};
use super::tests::{CHANGELOG, Client, SESSION_TIMEOUT_MS, TASKS, durable, group, send, set_topics};
use super::*;
use crate::common::histories;
use crate::common::random::Random;
use crate::coordinator::group::config::{Bounded, GroupCoordinatorConfig};
use crate::coordinator::group::tests::Harness;

const HISTORIES: u64 = 600;
/// Most histories are short, which finds more than few long ones.
const LONG_EVERY: u64 = 20;
const STEPS: [usize; 2] = [50, 200];

struct Sim {
    seed: u64,
    random: Random,
    h: Harness,
    clients: Vec<Client>,
    /// Topics that exist just now.
    topics: BTreeMap<&'static str, i32>,
    group_epoch: i32,
    started: usize,
    checks: usize,
}

impl Sim {
    fn new(seed: u64) -> Sim {
        let mut random = Random::new(seed);
        let config = GroupCoordinatorConfig {
            streams_initial_rebalance_delay_ms: Bounded { default: random.below(3_000) as i32, min: 0, max: i32::MAX },
            streams_assignment_interval_ms: Bounded { default: random.below(1_500) as i32, min: 0, max: i32::MAX },
            streams_num_standby_replicas: Bounded { default: random.below(3) as i32, min: 0, max: 2 },
            ..GroupCoordinatorConfig::default()
        };
        let topics = BTreeMap::from([("in", TASKS)]);
        let mut sim = Sim { seed, random, h: Harness::with(config), clients: Vec::new(), topics, group_epoch: 0, started: 0, checks: 0 };
        sim.tell_topics();
        sim
    }

    fn tell_topics(&mut self) {
        let topics: Vec<(&str, i32)> = self.topics.iter().map(|(name, partitions)| (*name, *partitions)).collect();
        set_topics(&mut self.h, &topics);
    }

    fn step(&mut self) {
        match self.random.below(60) {
            0 => self.restart(),
            1 => {
                self.topics.remove(CHANGELOG);
                self.tell_topics();
            }
            2 => self.h.shard.config.streams_num_standby_replicas.default = self.random.below(3) as i32,
            3..=5 if self.clients.len() < 8 => self.start_thread(),
            6 => {
                let ms = self.random.below(2 * SESSION_TIMEOUT_MS);
                self.h.advance(ms);
            }
            7..=12 => {
                let ms = self.random.below(3_000);
                self.h.advance(ms);
            }
            _ if self.clients.is_empty() => self.start_thread(),
            action => {
                let at = self.random.below(self.clients.len() as u64) as usize;
                match action {
                    13 => self.leave(at),
                    // It is gone without a word.
                    14 => drop(self.clients.remove(at)),
                    // Its answer is lost, and it asks again in the epoch it knows.
                    15..=17 => drop(self.beat(at)),
                    // It has the tasks it was told to give back a little longer.
                    18..=20 => {
                        let response = self.beat(at);
                        if response.error_code == 0 {
                            self.clients[at].epoch = response.member_epoch;
                        } else {
                            self.clients[at].follow(&response);
                        }
                    }
                    _ => {
                        let response = self.beat(at);
                        self.clients[at].follow(&response);
                    }
                }
            }
        }
        self.check();
    }

    fn start_thread(&mut self) {
        self.started += 1;
        let process = format!("p{}", self.random.below(4));
        self.clients.push(Client::new(&format!("m{}", self.started), &process));
    }

    fn beat(&mut self, at: usize) -> crate::protocol::messages::StreamsGroupHeartbeatResponse {
        let answer = send(&mut self.h, self.clients[at].request());
        // The controller does what it is asked.
        for topic in answer.topics_to_create {
            assert_eq!((topic.name.as_str(), topic.num_partitions), (CHANGELOG, TASKS), "seed {}", self.seed);
            self.topics.insert(CHANGELOG, TASKS);
            self.tell_topics();
        }
        answer.response
    }

    fn leave(&mut self, at: usize) {
        let client = self.clients.remove(at);
        let mut request = client.request();
        (request.member_epoch, request.topology, request.process_id) = (-1, None, None);
        send(&mut self.h, request);
    }

    fn restart(&mut self) {
        self.h = self.h.restarted();
        self.tell_topics();
    }

    fn group(&self) -> Option<&StreamsGroup> {
        self.h.shard.streams_group("g").ok()
    }

    // Invariants.

    fn check(&mut self) {
        self.checks += 1;
        self.the_group_epoch_never_goes_back();
        let Some(group) = self.group() else { return };
        each_active_task_has_one_owner(group, self.seed);
        no_process_has_a_task_twice(group, self.seed);
        no_member_is_ahead_of_its_group(group, self.seed);
        self.members_of_the_group_own_only_what_they_were_given(group);
        self.no_two_members_work_on_one_task(group);
        // Reading the whole log takes long.
        if self.checks.is_multiple_of(50) {
            self.replay_equals_live(group);
        }
    }

    fn the_group_epoch_never_goes_back(&mut self) {
        let epoch = self.group().map_or(0, |group| group.group_epoch);
        assert!(epoch >= self.group_epoch, "seed {}: from {} to {epoch}", self.seed, self.group_epoch);
        self.group_epoch = epoch;
    }

    /// What a live member works on is among what the coordinator thinks it has, as long as it is in an epoch that the coordinator accepts.
    fn members_of_the_group_own_only_what_they_were_given(&self, group: &StreamsGroup) {
        for client in &self.clients {
            let Some(member) = group.members().get(&client.id) else { continue };
            if client.epoch == 0 || client.epoch != member.member_epoch {
                continue;
            }
            let has = member.assigned.clone().merged(member.pending_revocation.clone());
            assert!(has.contains_all(&client.owned), "seed {}: {} owns {:?} of {has:?}", self.seed, client.id, client.owned);
        }
    }

    fn no_two_members_work_on_one_task(&self, group: &StreamsGroup) {
        let mut working = BTreeMap::new();
        for client in &self.clients {
            // Who has been fenced finds out with its next heartbeat; what it commits is refused.
            let is_current = group.members().get(&client.id).is_some_and(|member| {
                client.epoch == member.member_epoch
                    || (client.epoch == member.previous_member_epoch && member.assigned.contains_all(&client.owned))
            });
            for task in ids(&client.owned.active).filter(|_| is_current && client.epoch != 0) {
                let other = working.insert(task.clone(), &client.id);
                assert_eq!(other, None, "seed {}: {task:?} is worked on by {} too", self.seed, client.id);
            }
        }
    }

    fn replay_equals_live(&self, live: &StreamsGroup) {
        let again = self.h.restarted();
        assert_eq!(durable(group(&again.shard)), durable(live), "seed {}", self.seed);
    }
}

fn has(member: &member::StreamsGroupMember) -> AssignedTasks {
    member.assigned.clone().merged(member.pending_revocation.clone())
}

/// Given or not yet given back: a task is one member's, which has it since one epoch.
fn each_active_task_has_one_owner(group: &StreamsGroup, seed: u64) {
    let mut owners: BTreeMap<TaskId, &str> = BTreeMap::new();
    for member in group.members().values() {
        for task in ids(&has(member).active_sets()) {
            let other = owners.insert(task.clone(), &member.member_id);
            assert_eq!(other, None, "seed {seed}: {task:?} is {}'s too", member.member_id);
        }
    }
}

/// Active or standby: two would fight for the same directory.
fn no_process_has_a_task_twice(group: &StreamsGroup, seed: u64) {
    let mut seen = BTreeSet::new();
    for member in group.members().values() {
        let has = has(member);
        for task in ids(&has.active_sets()).chain(ids(&has.standby)) {
            assert!(seen.insert((member.process_id.clone(), task.clone())), "seed {seed}: {task:?} twice in {}", member.process_id);
        }
    }
}

fn no_member_is_ahead_of_its_group(group: &StreamsGroup, seed: u64) {
    assert!(group.assignment_epoch <= group.group_epoch, "seed {seed}");
    for member in group.members().values() {
        assert!(member.member_epoch <= group.assignment_epoch, "seed {seed}: {member:?}");
    }
}

/// When nothing happens but heartbeats, every task is worked on by one member, and has as many copies as there is room for.
fn converges(sim: &mut Sim) {
    let seed = sim.seed;
    if sim.clients.is_empty() {
        sim.start_thread();
    }
    for _ in 0..25 {
        // Silent members lose their session meanwhile, the others keep theirs.
        sim.h.advance(3_000);
        for at in 0..sim.clients.len() {
            let response = sim.beat(at);
            sim.clients[at].follow(&response);
            sim.check();
        }
    }
    let group = group(&sim.h.shard);
    assert_eq!(group.state(), StreamsGroupState::Stable, "seed {seed}");
    let mut active: Vec<TaskId> = sim.clients.iter().flat_map(|client| ids(&client.owned.active)).collect();
    active.sort();
    let all: Vec<TaskId> = (0..TASKS).map(|partition| TaskId { subtopology_id: "0".to_owned(), partition }).collect();
    assert_eq!(active, all, "seed {seed}");
    let processes = sim.clients.iter().map(|client| &client.process).collect::<BTreeSet<_>>().len();
    let copies = usize::try_from(sim.h.shard.config.streams_num_standby_replicas.default).unwrap_or(0).min(processes - 1);
    let standby: usize = sim.clients.iter().map(|client| ids(&client.owned.standby).count()).sum();
    assert_eq!(standby, all.len() * copies, "seed {seed}");
}

#[test]
fn histories_of_applications_keep_every_invariant_and_converge() {
    let test = "coordinator::group::streams::sim::histories_of_applications_keep_every_invariant_and_converge";
    histories::play(test, HISTORIES, |seed| {
        let mut sim = Sim::new(seed);
        let is_long = seed.is_multiple_of(LONG_EVERY);
        (0..STEPS[usize::from(is_long)]).for_each(|_| sim.step());
        if seed.is_multiple_of(4) {
            converges(&mut sim);
        }
    });
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let mut sim = Sim::new(5);
        (0..300).for_each(|_| sim.step());
        sim.h.log
    };
    assert_eq!(run(), run());
}
