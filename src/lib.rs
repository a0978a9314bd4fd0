//! ottla: Kafka as one native program.

pub mod broker;
pub mod client;
pub mod common;
pub mod controller;
pub mod coordinator;
pub mod metadata;
pub mod protocol;
pub mod raft;
pub mod replication;
pub mod security;
pub mod storage;
pub mod tools;
