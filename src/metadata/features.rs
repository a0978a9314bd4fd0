//! The features of a cluster, and which levels of them this build can read and write.
//!
//! Source: Kafka 4.3's `MetadataVersion` and `Feature`.

/// The feature that says which records a metadata log may hold.
pub const METADATA_VERSION: &str = "metadata.version";
/// The feature that says how voters are known; it lives in control records, never in a FeatureLevelRecord.
pub const KRAFT_VERSION: &str = "kraft.version";
pub const TRANSACTION_VERSION: &str = "transaction.version";
pub const GROUP_VERSION: &str = "group.version";
pub const ELIGIBLE_LEADER_REPLICAS_VERSION: &str = "eligible.leader.replicas.version";
pub const SHARE_VERSION: &str = "share.version";
pub const STREAMS_VERSION: &str = "streams.version";
