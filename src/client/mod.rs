//! The client side of Kafka's protocol.

pub mod config;
