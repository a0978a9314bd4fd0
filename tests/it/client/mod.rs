//! The client against scripted brokers.

mod admin;
mod cluster;
mod conn;
pub(crate) mod fake_broker;
mod producer;
