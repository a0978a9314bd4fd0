//! replication: being built.
