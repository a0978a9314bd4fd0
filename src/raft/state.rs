//! The states a replica can be in, each with just what it needs. Source: Kafka's `EpochState` and its kinds.

use std::collections::{BTreeMap, BTreeSet};

use super::voters::ReplicaKey;

/// A replica's state in its epoch.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// No leader is known; perhaps a vote was given.
    Unattached {
        voted: Option<ReplicaKey>,
        election_deadline_ms: u64,
    },
    /// Fetches from a leader.
    Follower {
        leader_id: i32,
        voted: Option<ReplicaKey>,
        fetch_deadline_ms: u64,
        has_fetched: bool,
    },
    /// Asks whether it would be elected (KIP-996), without disturbing anyone: the epoch stays.
    Prospective {
        leader_id: Option<i32>,
        voted: Option<ReplicaKey>,
        ballot: Ballot,
        election_deadline_ms: u64,
    },
    /// Asks for votes in a new epoch; has voted for itself.
    Candidate {
        ballot: Ballot,
        election_deadline_ms: u64,
    },
    Leader(Leadership),
    /// Led this epoch and does so no more.
    Resigned {
        election_deadline_ms: u64,
    },
}

impl State {
    pub fn name(&self) -> &'static str {
        match self {
            State::Unattached { .. } => "Unattached",
            State::Follower { .. } => "Follower",
            State::Prospective { .. } => "Prospective",
            State::Candidate { .. } => "Candidate",
            State::Leader(_) => "Leader",
            State::Resigned { .. } => "Resigned",
        }
    }
}

/// The votes in an election, by node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ballot {
    pub granted: BTreeSet<i32>,
    pub rejected: BTreeSet<i32>,
}

/// How far a replica is, as its leader knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub end_offset: i64,
    /// Monotonic.
    pub last_fetch_ms: u64,
    /// When the replica last had everything; monotonic.
    pub last_caught_up_ms: u64,
}

/// What a leader keeps.
#[derive(Debug, Clone, PartialEq)]
pub struct Leadership {
    /// The offset of the LeaderChange record.
    pub epoch_start_offset: i64,
    /// `None` until a record of this epoch is committed.
    pub high_watermark: Option<i64>,
    pub granting: BTreeSet<i32>,
    /// Voters, and observers that fetch, with the leader itself among them.
    pub progress: BTreeMap<ReplicaKey, Progress>,
    /// Without fetches from a majority until then the leader resigns; monotonic.
    pub check_quorum_deadline_ms: u64,
}
