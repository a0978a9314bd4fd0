//! Partition logs on disk, in Apache Kafka's own format, so that either program can open what the other left.
//!
//! [`log::Log`] is one partition (Kafka's UnifiedLog); [`log_dirs::LogDirs`] owns every log directory of a node (Kafka's LogManager).
//! Everything here is synchronous.
//!
//! Invariant: every access to the file system goes through [`fs`].
//! Invariant: a batch is opaque bytes; only validation, compaction and lookup by timestamp look at records.

pub mod check;
pub mod checkpoint;
pub mod chores;
pub mod cleaner;
pub mod config;
pub mod dir_health;
mod entry_file;
mod epochs;
pub mod errors;
pub mod fs;
#[cfg(test)]
mod golden_tests;
mod index;
pub mod inspect;
pub mod load_progress;
mod loader;
pub mod log;
pub mod log_dirs;
pub mod meta_properties;
#[cfg(test)]
mod model;
mod old_message;
mod open_files;
pub mod partition_metadata;
mod producer_state;
mod scan;
mod segment;
mod time_index;
#[cfg(test)]
mod transaction_tests;
mod txn_index;
mod validator;
mod verification;
