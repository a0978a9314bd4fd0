//! The client side of Kafka's protocol: what the tools, a follower's fetcher and a broker's calls to the controller stand on.
//!
//! From the outside in: [`admin`], [`producer`] and the consumer say what they want of a cluster; [`cluster`] knows which broker that is and keeps
//! metadata; [`pool`] keeps connections; [`conn`] is one connection. [`retry`] decides what an error means for all of them, [`config`] holds
//! the properties.
//!
//! Invariant: nothing here blocks a thread or holds a lock of the standard library over an `await`.

pub mod admin;
pub mod cluster;
mod committed;
pub mod config;
pub mod conn;
pub mod consumer;
pub mod error;
pub mod metadata;
pub mod pool;
pub mod producer;
pub mod retry;

pub use admin::Admin;
pub use cluster::Cluster;
pub use config::{ClientConfig, ClientKind, ConfigError};
pub use error::{ApiError, ClientError, TransactionError};
pub use producer::{Producer, ProducerRecord};
