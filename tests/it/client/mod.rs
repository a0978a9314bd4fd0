//! The client against scripted brokers.

mod admin;
mod cluster;
mod conn;
mod consumer;
mod consumer_protocol;
pub(crate) mod fake_broker;
mod fetch_sessions;
mod producer;
mod transactions;
