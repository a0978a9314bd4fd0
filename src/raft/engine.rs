//! The protocol itself, without I/O.
//!
//! Commands are carried out in order, and each before the next event is handled. A command to persist comes before what relies
//! on it. Of what a quorum of several needs, elections (pre-vote, vote, either side) and the high watermark are here; the fetch of
//! followers, truncation and the installation of snapshots come with the shell that can carry them.
//!
//! Invariant: at most one vote an epoch, persisted before it is told. Invariant: the high watermark never falls, and passes only
//! offsets that are durable on a majority of the voters, one of them in the leader's own epoch (Raft §5.4.2).

use std::collections::{BTreeMap, BTreeSet};

use super::control::RaftRecord;
use super::quorum_state::QuorumState;
use super::state::{Ballot, Leadership, Progress, State};
use super::voters::{ReplicaKey, Voter, VoterEndpoint, VoterHistory, VoterSet};
use crate::common::random::Random;
use crate::protocol::error_code::ErrorCode;

/// The engine's fixed parameters.
#[derive(Debug, Clone, Copy)]
pub struct RaftOptions {
    pub local: ReplicaKey,
    /// `controller.quorum.election.timeout.ms`; the real timeout is up to twice as long, at random.
    pub election_timeout_ms: u64,
    /// `controller.quorum.fetch.timeout.ms`.
    pub fetch_timeout_ms: u64,
}

impl RaftOptions {
    /// Kafka's default timeouts.
    pub fn new(local: ReplicaKey) -> RaftOptions {
        RaftOptions { local, election_timeout_ms: 1000, fetch_timeout_ms: 2000 }
    }
}

/// The end of a log, by which logs are compared: the later epoch wins, then the longer log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogEnd {
    pub last_epoch: i32,
    pub end_offset: i64,
}

/// A vote that someone asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoteAsked {
    pub epoch: i32,
    pub candidate: ReplicaKey,
    pub log_end: LogEnd,
    pub pre_vote: bool,
}

/// The answer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoteAnswer {
    pub error: ErrorCode,
    pub epoch: i32,
    pub leader_id: Option<i32>,
    pub granted: bool,
}

/// What happens to a replica.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Nothing but time.
    Tick,
    /// The log was appended to (by this leader's state machine or from its leader) and ends here now.
    Appended(LogEnd),
    /// The log is durable up to this offset.
    Flushed { end_offset: i64 },
    /// A voter answered a vote or pre-vote of this epoch.
    VoteAnswered { from: i32, epoch: i32, pre_vote: bool, answer: VoteAnswer },
    /// A replica asked this leader for what follows `fetch_offset`, which it has durably.
    Fetched { from: ReplicaKey, fetch_offset: i64 },
    /// Another node says that it leads.
    LeaderAnnounced { leader_id: i32, epoch: i32 },
    /// Give up leadership in good order.
    Resign,
}

/// What the shell must do.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Write the file quorum-state, durably.
    Persist(QuorumState),
    /// Append a control batch of this epoch at the end of the log.
    AppendControl { epoch: i32, records: Vec<RaftRecord> },
    /// This node leads now; the state machine may append once it has replayed everything before `epoch_start_offset`.
    BecameLeader { epoch: i32, epoch_start_offset: i64 },
    /// This node leads no more: what is not committed is void for the state machine.
    LostLeadership { epoch: i32 },
    /// Everything below is committed.
    HighWatermark(i64),
    /// Ask all other voters for their (pre-)vote.
    RequestVotes { epoch: i32, pre_vote: bool, log_end: LogEnd },
    /// Tell all other voters who leads.
    AnnounceLeader { epoch: i32 },
    /// Tell all other voters that this node leads no more.
    AnnounceResignation { epoch: i32 },
}

/// One replica of the metadata log.
#[derive(Debug)]
pub struct Engine {
    options: RaftOptions,
    voters: VoterHistory,
    /// Where this node listens, when that is to stand in the voter set.
    local_endpoints: Option<Vec<VoterEndpoint>>,
    epoch: i32,
    state: State,
    log_end: LogEnd,
    flushed: i64,
    random: Random,
}

impl Engine {
    /// A replica after a start, with what it finds on its disk.
    pub fn new(
        options: RaftOptions,
        stored: Option<QuorumState>,
        log_end: LogEnd,
        voters: VoterHistory,
        mut random: Random,
        now_ms: u64,
    ) -> Engine {
        let stored = stored.unwrap_or(QuorumState { epoch: 0, leader_id: None, voted: None });
        let election_deadline_ms = now_ms + options.election_timeout_ms + random.below(options.election_timeout_ms.max(1));
        let unattached = |voted| State::Unattached { voted, election_deadline_ms };
        let (epoch, state) = if log_end.last_epoch > stored.epoch {
            (log_end.last_epoch, unattached(None))
        } else if stored.leader_id == Some(options.local.id) {
            // What it had promised as a leader is not known any more; only a new epoch is safe.
            (stored.epoch, State::Resigned { election_deadline_ms })
        } else if stored.voted == Some(options.local) {
            let ballot = Ballot { granted: BTreeSet::from([options.local.id]), rejected: BTreeSet::new() };
            (stored.epoch, State::Candidate { ballot, election_deadline_ms })
        } else {
            (stored.epoch, unattached(stored.voted))
        };
        let flushed = log_end.end_offset;
        Engine { options, voters, local_endpoints: None, epoch, state, log_end, flushed, random }
    }

    /// Tells where this node listens: when it leads next and the voter set says otherwise, it puts that right.
    pub fn set_local_endpoints(&mut self, endpoints: Vec<VoterEndpoint>) {
        self.local_endpoints = Some(endpoints);
    }

    pub fn epoch(&self) -> i32 {
        self.epoch
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    pub fn is_leader(&self) -> bool {
        matches!(self.state, State::Leader(_))
    }

    /// The leader of the epoch, as far as it is known.
    pub fn leader_id(&self) -> Option<i32> {
        match &self.state {
            State::Leader(_) => Some(self.options.local.id),
            State::Follower { leader_id, .. } => Some(*leader_id),
            State::Prospective { leader_id, .. } => *leader_id,
            _ => None,
        }
    }

    /// Everything below is committed, as this leader knows.
    pub fn high_watermark(&self) -> Option<i64> {
        match &self.state {
            State::Leader(leadership) => leadership.high_watermark,
            _ => None,
        }
    }

    pub fn voters(&self) -> &VoterHistory {
        &self.voters
    }

    /// The voter set and kraft.version change with what is appended; the shell tells.
    pub fn voters_mut(&mut self) -> &mut VoterHistory {
        &mut self.voters
    }

    /// When [`Event::Tick`] is due next; monotonic. `None` when time alone changes nothing.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        match &self.state {
            State::Unattached { election_deadline_ms, .. }
            | State::Prospective { election_deadline_ms, .. }
            | State::Candidate { election_deadline_ms, .. }
            | State::Resigned { election_deadline_ms } => Some(*election_deadline_ms),
            State::Follower { fetch_deadline_ms, .. } => Some(*fetch_deadline_ms),
            State::Leader(leadership) if !self.is_only_voter() => Some(leadership.check_quorum_deadline_ms),
            State::Leader(_) => None,
        }
    }

    fn voter_set(&self) -> VoterSet {
        self.voters.latest().cloned().unwrap_or_default()
    }

    fn is_voter(&self) -> bool {
        self.voters.latest().is_some_and(|voters| voters.contains(self.options.local))
    }

    fn is_only_voter(&self) -> bool {
        self.voters.latest().is_some_and(|voters| voters.is_only(self.options.local))
    }

    fn election_deadline(&mut self, now_ms: u64) -> u64 {
        now_ms + self.options.election_timeout_ms + self.random.below(self.options.election_timeout_ms.max(1))
    }

    /// Handles an event at the monotonic time `now_ms`.
    pub fn handle(&mut self, event: Event, now_ms: u64) -> Vec<Command> {
        let mut commands = Vec::new();
        match event {
            Event::Tick => self.tick(now_ms, &mut commands),
            Event::Appended(log_end) => self.log_end = log_end,
            Event::Flushed { end_offset } => {
                self.flushed = self.flushed.max(end_offset.min(self.log_end.end_offset));
                self.advance_high_watermark(now_ms, &mut commands);
            }
            Event::VoteAnswered { from, epoch, pre_vote, answer } => {
                self.vote_answered(from, epoch, pre_vote, answer, now_ms, &mut commands)
            }
            Event::Fetched { from, fetch_offset } => self.fetched(from, fetch_offset, now_ms, &mut commands),
            Event::LeaderAnnounced { leader_id, epoch } => self.leader_announced(leader_id, epoch, now_ms, &mut commands),
            Event::Resign => {
                if self.is_leader() {
                    commands.push(Command::LostLeadership { epoch: self.epoch });
                    if !self.is_only_voter() {
                        commands.push(Command::AnnounceResignation { epoch: self.epoch });
                    }
                    let election_deadline_ms = self.election_deadline(now_ms);
                    self.state = State::Resigned { election_deadline_ms };
                }
            }
        }
        commands
    }

    fn tick(&mut self, now_ms: u64, commands: &mut Vec<Command>) {
        // Nobody else could be elected, and nobody must be asked: no reason to wait.
        if self.is_only_voter() && !self.is_leader() {
            self.become_candidate(now_ms, commands);
            return;
        }
        if self.next_deadline_ms().is_none_or(|deadline| now_ms < deadline) || !self.is_voter() {
            return;
        }
        match &self.state {
            State::Leader(_) => {
                tracing::warn!(epoch = self.epoch, "resigning: a majority of the voters has not fetched in time");
                commands.push(Command::LostLeadership { epoch: self.epoch });
                let election_deadline_ms = self.election_deadline(now_ms);
                self.state = State::Resigned { election_deadline_ms };
            }
            State::Prospective { leader_id: None, voted, .. } => {
                // The others did not say yes: wait again.
                let voted = *voted;
                let election_deadline_ms = self.election_deadline(now_ms);
                self.state = State::Unattached { voted, election_deadline_ms };
            }
            _ => self.become_prospective(now_ms, commands),
        }
    }

    fn become_prospective(&mut self, now_ms: u64, commands: &mut Vec<Command>) {
        let leader_id = self.leader_id();
        let voted = match &self.state {
            State::Unattached { voted, .. } | State::Follower { voted, .. } | State::Prospective { voted, .. } => *voted,
            State::Candidate { .. } => Some(self.options.local),
            State::Leader(_) | State::Resigned { .. } => None,
        };
        let ballot = Ballot { granted: BTreeSet::from([self.options.local.id]), rejected: BTreeSet::new() };
        let election_deadline_ms = self.election_deadline(now_ms);
        self.state = State::Prospective { leader_id, voted, ballot, election_deadline_ms };
        commands.push(Command::RequestVotes { epoch: self.epoch, pre_vote: true, log_end: self.log_end });
    }

    fn become_candidate(&mut self, now_ms: u64, commands: &mut Vec<Command>) {
        self.epoch += 1;
        let ballot = Ballot { granted: BTreeSet::from([self.options.local.id]), rejected: BTreeSet::new() };
        let election_deadline_ms = self.election_deadline(now_ms);
        self.state = State::Candidate { ballot, election_deadline_ms };
        if self.is_only_voter() {
            // The vote for itself and the victory are one step here, so the file is written once, with the victory.
            self.become_leader(now_ms, commands);
            return;
        }
        self.persist(commands);
        commands.push(Command::RequestVotes { epoch: self.epoch, pre_vote: false, log_end: self.log_end });
    }

    fn become_leader(&mut self, now_ms: u64, commands: &mut Vec<Command>) {
        let granting = match &self.state {
            State::Candidate { ballot, .. } => ballot.granted.clone(),
            _ => BTreeSet::from([self.options.local.id]),
        };
        let voters = self.voter_set();
        let epoch_start_offset = self.log_end.end_offset;
        let progress = Progress { end_offset: -1, last_fetch_ms: now_ms, last_caught_up_ms: now_ms };
        self.state = State::Leader(Leadership {
            epoch_start_offset,
            high_watermark: None,
            progress: voters.iter().map(|voter| (voter.key, progress)).collect(),
            granting: granting.clone(),
            check_quorum_deadline_ms: now_ms + self.options.fetch_timeout_ms * 3 / 2,
        });
        self.persist(commands);
        let granting = voters.iter().filter(|voter| granting.contains(&voter.key.id)).map(|voter| voter.key);
        let mut records = vec![RaftRecord::leader_change(self.options.local.id, &voters, granting)];
        let mut current = voters.clone();
        if let (Some(endpoints), Some(voter)) = (&self.local_endpoints, voters.get(self.options.local.id)) {
            current.insert(Voter { endpoints: endpoints.clone(), ..voter.clone() });
        }
        // The log shall not depend on a snapshot that only the format step wrote.
        let kraft_version = self.voters.kraft_version();
        if kraft_version > 0 && (!self.voters.is_in_log() || current != voters) {
            records.push(RaftRecord::KRaftVersion(kraft_version));
            records.push(RaftRecord::Voters(current.clone()));
            self.voters.add_kraft_version(epoch_start_offset + 1, kraft_version);
            self.voters.add_voters(epoch_start_offset + 2, current);
        }
        commands.push(Command::AppendControl { epoch: self.epoch, records });
        commands.push(Command::BecameLeader { epoch: self.epoch, epoch_start_offset });
        if !self.is_only_voter() {
            commands.push(Command::AnnounceLeader { epoch: self.epoch });
        }
    }

    fn become_unattached(&mut self, epoch: i32, now_ms: u64, commands: &mut Vec<Command>) {
        if self.is_leader() {
            commands.push(Command::LostLeadership { epoch: self.epoch });
        }
        self.epoch = epoch;
        let election_deadline_ms = self.election_deadline(now_ms);
        self.state = State::Unattached { voted: None, election_deadline_ms };
        self.persist(commands);
    }

    fn persist(&self, commands: &mut Vec<Command>) {
        let voted = match &self.state {
            State::Unattached { voted, .. } | State::Follower { voted, .. } | State::Prospective { voted, .. } => *voted,
            State::Candidate { .. } => Some(self.options.local),
            State::Leader(_) | State::Resigned { .. } => None,
        };
        commands.push(Command::Persist(QuorumState { epoch: self.epoch, leader_id: self.leader_id(), voted }));
    }

    /// Decides about a vote; the commands come before the answer may be sent.
    pub fn vote(&mut self, asked: VoteAsked, now_ms: u64) -> (VoteAnswer, Vec<Command>) {
        let mut commands = Vec::new();
        if asked.epoch < self.epoch {
            return (self.vote_answer(ErrorCode::FencedLeaderEpoch, false), commands);
        }
        if asked.epoch > self.epoch {
            self.become_unattached(asked.epoch, now_ms, &mut commands);
        }
        let up_to_date = asked.log_end >= self.log_end;
        let granted = if asked.pre_vote {
            match &self.state {
                State::Leader(_) => false,
                State::Follower { has_fetched, .. } => up_to_date && !has_fetched,
                _ => up_to_date,
            }
        } else {
            match &self.state {
                State::Unattached { voted: Some(voted), .. } | State::Prospective { voted: Some(voted), .. } => *voted == asked.candidate,
                State::Unattached { voted: None, .. } | State::Prospective { leader_id: None, voted: None, .. } => up_to_date,
                _ => false,
            }
        };
        if granted && !asked.pre_vote {
            let election_deadline_ms = self.election_deadline(now_ms);
            self.state = State::Unattached { voted: Some(asked.candidate), election_deadline_ms };
            self.persist(&mut commands);
        }
        (self.vote_answer(ErrorCode::None, granted), commands)
    }

    fn vote_answer(&self, error: ErrorCode, granted: bool) -> VoteAnswer {
        VoteAnswer { error, epoch: self.epoch, leader_id: self.leader_id(), granted }
    }

    fn vote_answered(&mut self, from: i32, epoch: i32, pre_vote: bool, answer: VoteAnswer, now_ms: u64, commands: &mut Vec<Command>) {
        if answer.epoch > self.epoch {
            self.become_unattached(answer.epoch, now_ms, commands);
            if let Some(leader_id) = answer.leader_id {
                self.leader_announced(leader_id, answer.epoch, now_ms, commands);
            }
            return;
        }
        let majority = self.voter_set().majority();
        let is_voter = self.voters.latest().is_some_and(|voters| voters.get(from).is_some());
        if epoch != self.epoch || !is_voter {
            return;
        }
        let ballot = match &mut self.state {
            State::Prospective { ballot, .. } if pre_vote => ballot,
            State::Candidate { ballot, .. } if !pre_vote => ballot,
            _ => return,
        };
        if answer.granted {
            ballot.granted.insert(from);
        } else {
            ballot.rejected.insert(from);
        }
        if ballot.granted.len() >= majority {
            if pre_vote { self.become_candidate(now_ms, commands) } else { self.become_leader(now_ms, commands) }
        }
    }

    fn leader_announced(&mut self, leader_id: i32, epoch: i32, now_ms: u64, commands: &mut Vec<Command>) {
        let known = epoch == self.epoch && matches!(self.state, State::Follower { .. } | State::Leader(_));
        if epoch < self.epoch || known || leader_id == self.options.local.id {
            return;
        }
        if self.is_leader() {
            commands.push(Command::LostLeadership { epoch: self.epoch });
        }
        let voted = match &self.state {
            State::Unattached { voted, .. } | State::Prospective { voted, .. } if epoch == self.epoch => *voted,
            State::Candidate { .. } if epoch == self.epoch => Some(self.options.local),
            _ => None,
        };
        self.epoch = epoch;
        let fetch_deadline_ms = now_ms + self.options.fetch_timeout_ms;
        self.state = State::Follower { leader_id, voted, fetch_deadline_ms, has_fetched: false };
        self.persist(commands);
    }

    fn fetched(&mut self, from: ReplicaKey, fetch_offset: i64, now_ms: u64, commands: &mut Vec<Command>) {
        let end_offset = self.log_end.end_offset;
        let (local, voters) = (self.options.local, self.voter_set());
        let State::Leader(leadership) = &mut self.state else { return };
        let progress =
            leadership.progress.entry(from).or_insert(Progress { end_offset: -1, last_fetch_ms: now_ms, last_caught_up_ms: now_ms });
        progress.end_offset = progress.end_offset.max(fetch_offset);
        progress.last_fetch_ms = now_ms;
        if fetch_offset >= end_offset {
            progress.last_caught_up_ms = now_ms;
        }
        // A majority has been heard from since the newest of the oldest contacts of any majority.
        let mut contacts: Vec<u64> = voters
            .iter()
            .map(|voter| match leadership.progress.get(&voter.key) {
                Some(_) if voter.key.id == local.id => now_ms,
                Some(progress) => progress.last_fetch_ms,
                None => 0,
            })
            .collect();
        contacts.sort_unstable_by(|a, b| b.cmp(a));
        if let Some(contact) = contacts.get(voters.majority() - 1) {
            leadership.check_quorum_deadline_ms = contact + self.options.fetch_timeout_ms * 3 / 2;
        }
        self.advance_high_watermark(now_ms, commands);
    }

    fn advance_high_watermark(&mut self, now_ms: u64, commands: &mut Vec<Command>) {
        let voters = self.voter_set();
        let (local, flushed) = (self.options.local, self.flushed);
        let State::Leader(leadership) = &mut self.state else { return };
        if let Some(own) = leadership.progress.get_mut(&local) {
            *own = Progress { end_offset: flushed, last_fetch_ms: now_ms, last_caught_up_ms: now_ms };
        }
        let ends: BTreeMap<i32, i64> = leadership.progress.iter().map(|(key, progress)| (key.id, progress.end_offset)).collect();
        let mut offsets: Vec<i64> = voters.iter().map(|voter| ends.get(&voter.key.id).copied().unwrap_or(-1)).collect();
        offsets.sort_unstable_by(|a, b| b.cmp(a));
        let Some(&committed) = offsets.get(voters.majority().saturating_sub(1)) else { return };
        let advances = leadership.high_watermark.is_none_or(|current| committed > current);
        if advances && committed > leadership.epoch_start_offset {
            leadership.high_watermark = Some(committed);
            commands.push(Command::HighWatermark(committed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::uuid::Uuid;

    fn key(id: i32) -> ReplicaKey {
        ReplicaKey { id, directory_id: Uuid::from_u128(1000 + id as u128) }
    }

    fn history(ids: &[i32]) -> VoterHistory {
        let voters = ids.iter().map(|&id| Voter { key: key(id), endpoints: Vec::new(), kraft_versions: (0, 1) });
        let mut history = VoterHistory::default();
        history.load_snapshot(0, 1, Some(VoterSet::new(voters)));
        history
    }

    const EMPTY: LogEnd = LogEnd { last_epoch: 0, end_offset: 0 };

    fn engine(id: i32, voters: &[i32], stored: Option<QuorumState>, log_end: LogEnd) -> Engine {
        Engine::new(RaftOptions::new(key(id)), stored, log_end, history(voters), Random::new(id as u64), 0)
    }

    #[test]
    fn the_only_voter_elects_itself_at_once() {
        let mut engine = engine(1, &[1], None, EMPTY);
        let commands = engine.handle(Event::Tick, 0);
        let persisted = QuorumState { epoch: 1, leader_id: Some(1), voted: None };
        assert_eq!(commands[0], Command::Persist(persisted));
        let Command::AppendControl { epoch: 1, records } = &commands[1] else { panic!("{commands:?}") };
        assert!(matches!(records[..], [RaftRecord::LeaderChange(_), RaftRecord::KRaftVersion(1), RaftRecord::Voters(_)]));
        assert_eq!(commands[2], Command::BecameLeader { epoch: 1, epoch_start_offset: 0 });
        assert_eq!(commands.len(), 3);
        assert_eq!(engine.handle(Event::Tick, 1), []);
    }

    #[test]
    fn only_what_is_durable_is_committed() {
        let mut engine = engine(1, &[1], None, EMPTY);
        engine.handle(Event::Tick, 0);
        assert_eq!(engine.handle(Event::Appended(LogEnd { last_epoch: 1, end_offset: 5 }), 0), []);
        assert_eq!(engine.high_watermark(), None);
        assert_eq!(engine.handle(Event::Flushed { end_offset: 5 }, 0), [Command::HighWatermark(5)]);
        engine.handle(Event::Appended(LogEnd { last_epoch: 1, end_offset: 9 }), 0);
        assert_eq!(engine.handle(Event::Flushed { end_offset: 5 }, 0), []);
        assert_eq!(engine.handle(Event::Flushed { end_offset: 9 }, 0), [Command::HighWatermark(9)]);
    }

    #[test]
    fn a_former_leader_takes_a_new_epoch() {
        let stored = Some(QuorumState { epoch: 4, leader_id: Some(1), voted: None });
        let mut engine = engine(1, &[1], stored, LogEnd { last_epoch: 4, end_offset: 50 });
        assert_eq!(engine.state().name(), "Resigned");
        let commands = engine.handle(Event::Tick, 0);
        assert!(commands.contains(&Command::BecameLeader { epoch: 5, epoch_start_offset: 50 }));
    }

    #[test]
    fn the_logs_epoch_outranks_the_file() {
        let engine = engine(1, &[1], None, LogEnd { last_epoch: 7, end_offset: 50 });
        assert_eq!((engine.epoch(), engine.state().name()), (7, "Unattached"));
    }

    #[test]
    fn three_voters_ask_before_they_stand() {
        let mut engine = engine(1, &[1, 2, 3], None, EMPTY);
        assert_eq!(engine.handle(Event::Tick, 0), []);
        let deadline = engine.next_deadline_ms().expect("an election timeout");
        assert_eq!(engine.handle(Event::Tick, deadline), [Command::RequestVotes { epoch: 0, pre_vote: true, log_end: EMPTY }]);
        let yes = VoteAnswer { error: ErrorCode::None, epoch: 0, leader_id: None, granted: true };
        let commands = engine.handle(Event::VoteAnswered { from: 2, epoch: 0, pre_vote: true, answer: yes }, deadline);
        assert_eq!(commands[0], Command::Persist(QuorumState { epoch: 1, leader_id: None, voted: Some(key(1)) }));
        assert_eq!(commands[1], Command::RequestVotes { epoch: 1, pre_vote: false, log_end: EMPTY });
        let yes = VoteAnswer { epoch: 1, ..yes };
        let commands = engine.handle(Event::VoteAnswered { from: 3, epoch: 1, pre_vote: false, answer: yes }, deadline);
        assert!(commands.contains(&Command::AnnounceLeader { epoch: 1 }), "{commands:?}");
    }

    #[test]
    fn a_vote_is_given_once_an_epoch() {
        let mut engine = engine(1, &[1, 2, 3], None, EMPTY);
        let asked = VoteAsked { epoch: 3, candidate: key(2), log_end: EMPTY, pre_vote: false };
        let (answer, commands) = engine.vote(asked, 0);
        assert!(answer.granted);
        assert!(commands.contains(&Command::Persist(QuorumState { epoch: 3, leader_id: None, voted: Some(key(2)) })));
        assert!(engine.vote(asked, 0).0.granted, "the same candidate asks again");
        assert!(!engine.vote(VoteAsked { candidate: key(3), ..asked }, 0).0.granted);
        let old = engine.vote(VoteAsked { epoch: 2, ..asked }, 0).0;
        assert_eq!((old.error, old.granted), (ErrorCode::FencedLeaderEpoch, false));
    }

    #[test]
    fn a_shorter_log_gets_no_vote() {
        let mut engine = engine(1, &[1, 2, 3], None, LogEnd { last_epoch: 2, end_offset: 10 });
        let asked = VoteAsked { epoch: 5, candidate: key(2), log_end: LogEnd { last_epoch: 2, end_offset: 9 }, pre_vote: false };
        assert!(!engine.vote(asked, 0).0.granted);
        let longer = VoteAsked { log_end: LogEnd { last_epoch: 3, end_offset: 1 }, ..asked };
        assert!(engine.vote(longer, 0).0.granted);
    }

    #[test]
    fn the_high_watermark_needs_a_majority() {
        let mut engine = engine(1, &[1, 2, 3], Some(QuorumState { epoch: 0, leader_id: None, voted: None }), EMPTY);
        let deadline = engine.next_deadline_ms().expect("an election timeout");
        engine.handle(Event::Tick, deadline);
        let yes = VoteAnswer { error: ErrorCode::None, epoch: 0, leader_id: None, granted: true };
        engine.handle(Event::VoteAnswered { from: 2, epoch: 0, pre_vote: true, answer: yes }, deadline);
        engine.handle(Event::VoteAnswered { from: 2, epoch: 1, pre_vote: false, answer: VoteAnswer { epoch: 1, ..yes } }, deadline);
        assert!(engine.is_leader());
        engine.handle(Event::Appended(LogEnd { last_epoch: 1, end_offset: 4 }), deadline);
        assert_eq!(engine.handle(Event::Flushed { end_offset: 4 }, deadline), []);
        assert_eq!(engine.handle(Event::Fetched { from: key(3), fetch_offset: 2 }, deadline), [Command::HighWatermark(2)]);
        assert_eq!(engine.handle(Event::Fetched { from: key(2), fetch_offset: 4 }, deadline), [Command::HighWatermark(4)]);
    }
}
