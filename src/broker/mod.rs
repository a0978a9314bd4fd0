//! broker: being built.
pub mod config;
pub mod quorum;
