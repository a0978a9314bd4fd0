//! One file per served API: `handle` checks what the client asks, calls one method of the broker's parts, and builds the response.
//! Errors of single topics or partitions are data in the response.
//!
//! Deliberate differences from Kafka are marked `Differs:` in a handler's header.

pub(crate) mod api_versions;
pub(crate) mod metadata;
