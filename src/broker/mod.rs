//! The broker: listeners, connections, the table of served APIs and their handlers, and the wiring that makes one node of it all.
//!
//! The way of a request: `listener` -> `connection` (`socket`) -> `dispatch` -> `handlers` -> `replication::partition` -> `storage::log`.
//! Invariant: only `server` builds things; everything else is handed an `Arc<Broker>`.

mod auto_topic_creation;
mod complaints;
pub mod config;
mod connection;
mod coordinator_log;
pub mod dispatch;
mod fetch_session;
mod group_coordinator;
mod handlers;
mod housekeeping;
mod leader_endpoints;
mod listener;
mod load_bar;
mod loggers;
mod metrics;
mod producer_ids;
pub mod quorum;
mod quota;
mod replica_moves;
pub mod request_context;
pub mod serve;
pub mod server;
mod share;
mod share_acknowledgements;
mod share_coordinator;
mod share_groups;
mod socket;
mod streams_topics;
mod telemetry;
mod transaction_coordinator;
mod transaction_verification;
