//! The client against scripted brokers.

mod admin;
mod cluster;
mod conn;
mod consumer;
pub(crate) mod fake_broker;
mod producer;
