//! ottla: Kafka as one native program. The broker (`ottla serve`) and every `kafka-*` tool, on a client core of our own.
//!
//! # How to use this document
//! It is the map of the house: read it once, then open the module that the work is about; each begins with its purpose, its invariants
//! and its sources. Names are Kafka's, so the Kafka documentation, a KIP or a Java class named in a header explains the same thing.
//!
//! # Bird's-eye view
//! A client's bytes take six named places to the disk: [`broker`]`::connection` (one task a socket, one request at a time) ->
//! `broker::dispatch` (the one table of served APIs) -> `broker::handlers::<api>` (validate, call one method, shape the reply) ->
//! [`replication`]`::partition` (leadership, high watermark, waiting) -> [`storage`]`::log` -> `storage::segment`. A record batch is
//! checked and stamped on that way, never decoded, and goes back from the file to the socket inside the kernel.
//!
//! What topics, configs and brokers there are is a log too: `__cluster_metadata`, Kafka's own KRaft log, also on one node. A change is
//! decided by [`controller`] (pure: request in, response and records out), agreed on by [`raft`] (pure: events in, commands out), and
//! only then seen by anyone, when the records are replayed into the [`metadata`] image and published.
//!
//! The tools and whatever else talks to a broker do so through [`client`]; they know no broker internals. `kafka-dump-log`, `kafka-storage`
//! and `ottla check` work on files.
//!
//! # Entry points
//! | To see | Open |
//! |---|---|
//! | what a request does | `broker/dispatch.rs`, then its file in `broker/handlers/` |
//! | how a node starts | `broker/serve.rs`, `broker/server.rs` |
//! | how data lies on disk | `storage/log.rs`, `storage/loader.rs`; to look at it, `storage/inspect.rs`, `storage/check.rs` |
//! | how a directory is formatted | `metadata/format.rs` |
//! | how a topic comes to be | `controller/topics.rs`, `metadata/image.rs`, `replication/replicas.rs` |
//! | how groups work | `coordinator/group/` |
//! | how transactions work | `coordinator/transaction/`, then `broker/transaction_coordinator.rs` and `storage/verification.rs` |
//! | who gets which record of a share group | `broker/share/share_partition.rs`, then `coordinator/share/` |
//! | how a client is held to its quota | `broker/quota/`, then `broker/dispatch.rs` |
//! | what a tool does | `tools/mod.rs`, then the tool's own module |
//! | what the bytes mean | `protocol/definitions/*.def`, from which `protocol/messages/` is generated |
//!
//! # Modules
//! Each may use only what stands below it in this list; `tests/it/tidy.rs` holds that.
//! - [`tools`]: the command-line tools. Invariant: none of them touches a broker but over the wire; those that look at a data directory do so
//!   through [`storage`], beside a broker or without one.
//! - [`broker`]: sockets, dispatch, handlers, the wiring of a node.
//! - [`coordinator`], [`controller`], [`replication`]: groups and transactions; the metadata's owner; partitions and their waiting requests.
//!   Invariant: the first two hold no socket, file, clock or random source.
//! - [`client`], [`metadata`], [`raft`], [`storage`]: the client core; images and configs; consensus; logs on disk.
//!   Invariant: `storage` is synchronous and the only module that touches files.
//! - [`protocol`]: the wire. Invariant: nothing read from it allocates more than came with it.
//! - [`common`]: time, chance, identifiers. Invariant: the only door to clocks and random numbers.
//!
//! # Non-obvious
//! - Metadata records take effect when replayed, never when written: a handler that creates a topic waits for its own record to come back.
//! - The file a fetch reads is sent by the kernel after the partition's lock is released; segments only grow and a deleted file stays
//!   readable while it is open, so the slice stays valid.
//! - With `KAFKA_CLI_COMPAT=4.3` in the environment the tools' stdout and exit codes are Apache Kafka's exactly, its oddities included.

pub mod broker;
pub mod client;
pub mod common;
pub mod controller;
pub mod coordinator;
pub mod metadata;
pub mod protocol;
pub mod raft;
pub mod replication;
pub mod storage;
pub mod tools;
