//! Coordinators: state machines whose state lives in the partitions of an internal topic.
//!
//! A coordinator's core is pure: a request yields a response (now, or parked until something else happens) and records; records become
//! state only through `replay`, the same code for a live request, a restart and a new leader. [`runtime`] gives each partition of
//! the internal topic one owner task, appends the records, and lets a response go only when its records are committed.
//!
//! Invariant: nothing below `group` and `transaction` knows of sockets, files, clocks or chance; time is passed in ([`timers::Now`]), member ids come from a
//! seeded generator.

pub mod group;
pub mod java_hash;
pub mod runtime;
pub mod share;
pub mod timers;
pub mod transaction;
