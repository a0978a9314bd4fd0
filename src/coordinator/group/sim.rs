//! A seeded simulation: members join, sync, heartbeat, commit, leave, fall silent and come back at random, writes are committed late or
//! fail, and the coordinator restarts from its log, which may have lost what was not committed. After every step each invariant is checked;
//! a failure names its seed.

use std::collections::BTreeSet;

use super::tests::Harness;
use super::tests::acknowledged::Acknowledged;
use super::*;
use crate::common::histories;
use crate::protocol::messages::{JoinGroupRequest, SyncGroupRequest};

const HISTORIES: u64 = 4_000;
/// Most histories are short, which finds more than few long ones.
const LONG_EVERY: u64 = 200;
const STEPS: [usize; 2] = [40, 1_500];

/// What a simulated client is doing.
#[derive(Clone, Debug, PartialEq)]
enum Doing {
    Nothing,
    Joining(WaiterId),
    Joined,
    Syncing(WaiterId),
    Working,
}

#[derive(Clone, Debug)]
struct Client {
    member_id: String,
    instance: Option<String>,
    generation: i32,
    is_leader: bool,
    members: Vec<String>,
    doing: Doing,
    protocols: usize,
}

struct Sim {
    seed: u64,
    random: Random,
    h: Harness,
    clients: Vec<Client>,
    /// The highest generation seen, since the group last came into being.
    generation: i32,
    acknowledged: Acknowledged,
    /// How much of the log is committed while the rest is held back.
    committed: usize,
    next_offset: i64,
    /// Every assignment that a leader has sent.
    sent: BTreeSet<String>,
}

impl Sim {
    fn new(seed: u64) -> Sim {
        let mut random = Random::new(seed);
        let config = GroupCoordinatorConfig {
            max_size: if random.one_in(4) { 3 } else { usize::MAX },
            initial_rebalance_delay_ms: random.below(4_000) as i32,
            ..GroupCoordinatorConfig::default()
        };
        let clients = (0..2 + random.below(5))
            .map(|n| Client {
                member_id: String::new(),
                instance: (n % 3 == 0).then(|| format!("i{n}")),
                generation: -1,
                is_leader: false,
                members: Vec::new(),
                doing: Doing::Nothing,
                protocols: 1,
            })
            .collect();
        let h = Harness::with(config);
        let (acknowledged, sent) = (Acknowledged::default(), BTreeSet::new());
        Sim { seed, random, h, clients, generation: 0, acknowledged, committed: 0, next_offset: 0, sent }
    }

    fn step(&mut self) {
        match self.random.below(40) {
            0 => self.restart(),
            1 if self.h.held.is_none() => {
                self.h.held = Some(Vec::new());
                self.committed = self.h.log.len();
            }
            2..=4 => self.release(),
            5..=12 => {
                let ms = 1 + self.random.below(3_000);
                self.h.advance(ms);
            }
            13 => {
                let ms = self.random.below(40_000);
                self.h.advance(ms);
            }
            _ => {
                let at = self.random.below(self.clients.len() as u64) as usize;
                self.act(at);
            }
        }
        self.deliver();
        self.check();
    }

    fn act(&mut self, at: usize) {
        let client = self.clients[at].clone();
        match client.doing {
            Doing::Nothing => self.join(at),
            // Its connection may break, and it asks again.
            Doing::Joining(_) if self.random.one_in(8) => self.join(at),
            Doing::Joined if self.random.one_in(10) => {}
            Doing::Joined => self.sync(at),
            Doing::Working => match self.random.below(12) {
                0 => self.leave(at),
                1 if client.instance.is_some() => {
                    // A static member restarts and does not know its member id.
                    self.clients[at].member_id.clear();
                    self.join(at);
                }
                2 => {
                    self.clients[at].protocols = 1 + self.random.below(3) as usize;
                    self.join(at);
                }
                3..=6 => self.commit(at),
                _ => match self.h.heartbeat(&client.member_id, client.generation) {
                    Ok(()) => {}
                    Err(ErrorCode::RebalanceInProgress) => self.join(at),
                    Err(_) => self.forget(at),
                },
            },
            Doing::Joining(_) | Doing::Syncing(_) => {}
        }
    }

    fn forget(&mut self, at: usize) {
        let client = &mut self.clients[at];
        client.member_id.clear();
        client.doing = Doing::Nothing;
    }

    fn join(&mut self, at: usize) {
        let client = self.clients[at].clone();
        let mut request = self.h.join_request(&client.member_id);
        request.group_instance_id.clone_from(&client.instance);
        request.rebalance_timeout_ms = 20_000;
        let range = request.protocols[0].clone();
        for name in ["sticky", "cooperative-sticky"].iter().take(client.protocols - 1) {
            let mut protocol = range.clone();
            protocol.name = (*name).to_owned();
            request.protocols.push(protocol);
        }
        self.clients[at].doing = Doing::Joining(self.send(request));
    }

    fn send(&mut self, request: JoinGroupRequest) -> WaiterId {
        self.h.send_join(request)
    }

    fn sync(&mut self, at: usize) {
        let client = self.clients[at].clone();
        let text = |id: &str| format!("{} of {id}", client.generation);
        let assignments: Vec<(String, String)> = match client.is_leader {
            true => client.members.iter().map(|id| (id.clone(), text(id))).collect(),
            false => Vec::new(),
        };
        if client.is_leader {
            self.sent.extend(assignments.iter().map(|(_, a)| a.clone()));
        }
        let borrowed: Vec<(&str, &str)> = assignments.iter().map(|(id, a)| (id.as_str(), a.as_str())).collect();
        self.clients[at].doing = Doing::Syncing(self.h.send_sync(&client.member_id, client.generation, &borrowed));
    }

    fn leave(&mut self, at: usize) {
        let client = self.clients[at].clone();
        self.h.leave(&[(client.member_id.as_str(), client.instance.as_deref())]);
        self.forget(at);
    }

    fn commit(&mut self, at: usize) {
        let client = self.clients[at].clone();
        self.next_offset += 1;
        let partition = self.random.below(3) as i32;
        let request = self.h.commit_request(&client.member_id, client.generation, "t", partition, self.next_offset);
        match self.h.commit(&request) {
            Ok(_) if self.h.held.is_some() => self.acknowledged.unheard("t", partition, self.next_offset),
            Ok(_) => self.acknowledged.heard("t", partition, self.next_offset),
            Err(ErrorCode::RebalanceInProgress) => self.join(at),
            Err(_) => self.forget(at),
        }
    }

    /// The records that wait are committed, or fail.
    fn release(&mut self) {
        let result = if self.random.one_in(5) { Err(ErrorCode::NotEnoughReplicas) } else { Ok(()) };
        for after in self.h.held.take().unwrap_or_default() {
            // A record that failed is not in the log; the harness has put it there, which a real log may also do.
            let effects = self.h.shard.committed(after, result, self.h.now);
            self.h.apply(effects);
        }
        self.acknowledged.settle(&self.h.shard);
    }

    /// The coordinator dies; all it knows is its log, of which what was not committed may be lost, and its clients' connections break.
    fn restart(&mut self) {
        if self.h.held.is_some() {
            let ends: Vec<usize> = self.h.batch_ends.iter().copied().filter(|end| *end > self.committed).collect();
            let kept = self.random.below(ends.len() as u64 + 1) as usize;
            self.h.lose(if kept == 0 { self.committed } else { ends[kept - 1] });
        }
        let waiters = self.h.waiters;
        self.h = self.h.restarted();
        self.h.waiters = waiters;
        self.h.shard.random = Random::new(self.random.next_u64());
        self.acknowledged.settle(&self.h.shard);
        self.generation = self.h.shard.classic_group("g").map_or(0, ClassicGroup::generation_id);
        for client in &mut self.clients {
            match client.doing {
                Doing::Joining(_) => client.doing = Doing::Nothing,
                Doing::Syncing(_) => client.doing = Doing::Joined,
                _ => {}
            }
        }
    }

    /// Clients read the answers that have come.
    fn deliver(&mut self) {
        for at in 0..self.clients.len() {
            match self.clients[at].doing {
                Doing::Joining(waiter) => {
                    let Some(ParkedResponse::Join(response)) = self.h.answers.remove(&waiter) else { continue };
                    self.joined(at, response);
                }
                Doing::Syncing(waiter) => {
                    let Some(ParkedResponse::Sync(response)) = self.h.answers.remove(&waiter) else { continue };
                    self.synced(at, &response);
                }
                _ => {}
            }
        }
    }

    fn joined(&mut self, at: usize, response: JoinGroupResponse) {
        let client = &mut self.clients[at];
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::None => {
                assert!(!response.member_id.is_empty(), "seed {}", self.seed);
                client.is_leader = response.leader == response.member_id && !response.skip_assignment;
                client.member_id = response.member_id;
                client.generation = response.generation_id;
                client.members = response.members.iter().map(|m| m.member_id.clone()).collect();
                client.doing = Doing::Joined;
                if client.is_leader {
                    assert!(client.members.contains(&client.member_id), "seed {}: a leader is a member", self.seed);
                }
            }
            ErrorCode::MemberIdRequired => {
                client.member_id = response.member_id;
                self.join(at);
            }
            ErrorCode::RebalanceInProgress => client.doing = Doing::Nothing,
            _ => self.forget(at),
        }
    }

    fn synced(&mut self, at: usize, response: &SyncGroupResponse) {
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::None => {
                self.assignments_are_given_only_to_members_of_their_generation(at, response);
                self.clients[at].doing = Doing::Working;
            }
            ErrorCode::RebalanceInProgress | ErrorCode::CoordinatorNotAvailable => self.join(at),
            _ => self.forget(at),
        }
    }

    // Invariants.

    fn check(&mut self) {
        if let Some(group) = self.h.shard.classic_group("g") {
            let seed = self.seed;
            assert!(group.generation_id() >= self.generation, "seed {seed}: the generation went back");
            self.generation = group.generation_id();
            the_leader_is_a_member(group, seed);
            counts_agree_with_members(group, seed);
            a_stable_group_waits_for_nobody(group, seed);
            a_rebalance_has_a_deadline(&self.h.shard, group, seed);
            every_member_has_a_deadline_or_waits(&self.h.shard, group, seed);
        } else {
            self.generation = 0;
        }
        self.acknowledged.committed_offsets_never_go_back(&self.h.shard, self.seed);
    }

    fn assignments_are_given_only_to_members_of_their_generation(&self, at: usize, response: &SyncGroupResponse) {
        let client = &self.clients[at];
        if response.assignment.is_empty() {
            return;
        }
        let assignment = String::from_utf8_lossy(&response.assignment).into_owned();
        assert!(self.sent.contains(&assignment), "seed {}: {assignment} was never sent by a leader", self.seed);
        // A static member's assignment names the id it had then.
        if client.instance.is_none() {
            let expected = format!("{} of {}", client.generation, client.member_id);
            assert_eq!(assignment, expected, "seed {}: someone else's assignment", self.seed);
        }
    }

    fn replay_gives_the_live_offsets(&self) {
        assert_eq!(self.h.restarted().shard.offsets(), self.h.shard.offsets(), "seed {}", self.seed);
    }
}

fn the_leader_is_a_member(group: &ClassicGroup, seed: u64) {
    if let Some(leader) = group.leader_id() {
        assert!(group.has_member(leader), "seed {seed}: the leader {leader} is not a member");
    } else {
        assert_eq!(group.members().count(), 0, "seed {seed}: members without a leader");
    }
}

fn counts_agree_with_members(group: &ClassicGroup, seed: u64) {
    let waiting = group.members().filter(|m| m.is_awaiting_join()).count();
    assert_eq!(group.awaiting_join, waiting, "seed {seed}");
    let mut supported: HashMap<String, usize> = HashMap::new();
    for protocol in group.members().flat_map(|m| &m.protocols) {
        *supported.entry(protocol.name.clone()).or_default() += 1;
    }
    assert_eq!(group.supported_protocols, supported, "seed {seed}");
    let instances: HashMap<String, String> =
        group.members().filter_map(|m| Some((m.group_instance_id.clone()?, m.member_id.clone()))).collect();
    assert_eq!(group.static_members, instances, "seed {seed}");
    for pending in &group.pending_join_members {
        assert!(!group.has_member(pending), "seed {seed}: {pending} is pending and a member");
    }
    for pending in &group.pending_sync_members {
        assert!(group.has_member(pending), "seed {seed}: the sync of {pending} is awaited, who is no member");
    }
}

fn a_stable_group_waits_for_nobody(group: &ClassicGroup, seed: u64) {
    match group.state() {
        ClassicGroupState::Stable => {
            assert!(group.members().all(|m| !m.is_awaiting_sync()), "seed {seed}: a parked SyncGroup in a stable group");
        }
        ClassicGroupState::CompletingRebalance => {
            assert!(group.members().all(|m| !m.is_awaiting_join()), "seed {seed}: a parked JoinGroup in a complete generation");
        }
        ClassicGroupState::PreparingRebalance => {
            assert!(group.members().all(|m| !m.is_awaiting_sync()), "seed {seed}: a parked SyncGroup in a rebalance");
        }
        ClassicGroupState::Empty | ClassicGroupState::Dead => assert_eq!(group.members().count(), 0, "seed {seed}"),
    }
}

fn a_rebalance_has_a_deadline(shard: &GroupShard, group: &ClassicGroup, seed: u64) {
    if group.is_in(ClassicGroupState::PreparingRebalance) {
        assert!(shard.timers.is_set(&TimerKey::Join { group_id: "g".to_owned() }), "seed {seed}: a rebalance that never ends");
    }
}

fn every_member_has_a_deadline_or_waits(shard: &GroupShard, group: &ClassicGroup, seed: u64) {
    for member in group.members() {
        let key = TimerKey::Heartbeat { group_id: "g".to_owned(), member_id: member.member_id.clone() };
        let waits = member.is_awaiting_join() || member.is_awaiting_sync();
        assert!(waits || shard.timers.is_set(&key), "seed {seed}: {} would stay for ever", member.member_id);
    }
}

#[test]
fn histories_of_classic_groups_keep_every_invariant() {
    let mut stable = 0;
    let test = "coordinator::group::sim::histories_of_classic_groups_keep_every_invariant";
    let is_usual = histories::play(test, HISTORIES, |seed| {
        let mut sim = Sim::new(seed);
        for _ in 0..STEPS[usize::from(seed.is_multiple_of(LONG_EVERY))] {
            sim.step();
            stable += usize::from(sim.h.shard.classic_group("g").is_some_and(|g| g.is_in(ClassicGroupState::Stable)));
        }
        sim.replay_gives_the_live_offsets();
    });
    // The simulation is worth something only if groups do become stable in it.
    assert!(!is_usual || stable > 10_000, "only {stable} steps in a stable group");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let mut sim = Sim::new(7);
        (0..500).for_each(|_| sim.step());
        sim.h.log
    };
    assert_eq!(run(), run());
}

#[test]
fn a_sync_from_nobody_is_answered() {
    let mut shard = GroupShard::new(GroupCoordinatorConfig::default(), Arc::default(), Random::new(1));
    let now = Now { wall_ms: 0, monotonic_ms: 0 };
    let effects = shard.sync_group(now, SyncGroupRequest::default(), WaiterId(1));
    assert_eq!(effects.completed.len(), 1);
}
