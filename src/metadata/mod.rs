//! The cluster's metadata as every part of a node sees it: an immutable [`image::MetadataImage`], moved forward by
//! [`delta::MetadataDelta`]s, which replay the records of `__cluster_metadata`, and handed to [`publisher::Publisher`]s.
//!
//! Invariant: only a replayed record changes an image; nothing here writes but [`format`], before there is a cluster. Invariant: an image and the records that
//! `snapshot` writes for it are equivalent.
//! Source: Kafka's `org.apache.kafka.image` and `org.apache.kafka.metadata`.

pub mod cache;
pub mod config;
pub mod delta;
pub mod features;
pub mod format;
pub mod image;
pub mod loader;
pub mod publisher;
pub mod record;
pub mod replay;
pub mod schema;
pub mod snapshot;
