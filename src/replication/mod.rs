//! The partitions that this broker has replicas of, kept as the metadata says: [`replicas::Replicas`] owns them all,
//! [`partition::Partition`] is one, [`waiters`] holds the requests that wait for one to move.
//!
//! Invariant: nothing here speaks the protocol to a client; handlers do. Invariant: no lock is held over an `await`.
//! Source: Kafka's `ReplicaManager`, `Partition`.

pub mod partition;
pub mod replicas;
pub mod waiters;
