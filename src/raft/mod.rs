//! KRaft: how the nodes of a quorum agree on one log (KIP-595, KIP-630, KIP-853, KIP-996).
//!
//! [`engine::Engine`] is pure: events go in (a timer, a vote, "the log is durable up to here"), commands come out, to be carried
//! out in their order. It knows no file, no socket and no clock. [`log::RaftLog`] and [`log::Peers`] are what the shell around it
//! offers. Today's shell runs quorums of one voter; the states, the votes and the high watermark are those of any size.
//!
//! Invariant: what a node says or does depends only on what is durable: a command that persists comes before every command that
//! relies on it. Invariant: the log is opaque here, but for KRaft's own control records.
//! Sources: Kafka's `KafkaRaftClient`, `QuorumState` and the `EpochState`s.

pub mod control;
pub mod engine;
pub mod log;
pub mod quorum_state;
pub mod snapshot;
pub mod state;
pub mod voters;

#[cfg(test)]
mod sim;
