//! What every other module may use and what uses none of them: time, chance, identifiers, Java's property files.
//!
//! Invariant: the wall clock, the monotonic clock and randomness enter the program here and nowhere else, so that
//! tests can own both ([`clock::ManualClock`], a seeded [`random::Random`]).

pub mod clock;
pub mod file_slice;
#[cfg(test)]
pub(crate) mod histories;
pub mod properties;
pub mod random;
pub mod scram;
pub mod topic_name;
pub mod topic_partition;
pub mod uuid;
