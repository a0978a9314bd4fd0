//! broker: being built.
pub mod config;
