//! Streams groups (KIP-1071): Kafka Streams applications whose coordinator knows their topology, has their internal topics created, and
//! divides their tasks. Sources: `coordinator.group.streams` and the streams parts of `GroupMetadataManager`.
//!
//! A heartbeat goes through [`topology`] (what the application is made of), [`internal_topics`] (its topics and the number of its tasks),
//! [`assignor`] (who shall do what: the target assignment of a group epoch) and [`reconcile`] (one member's next step towards it).
//!
//! As in Kafka 4.3, members are dynamic (a group instance id is refused), topologies are fixed once a group has one, source topics are
//! named, not matched, and no warm-up tasks are given out.
//!
//! Invariant: only replay changes what is durable of a group; the configured topology, the endpoints' epoch, the deadline of the metadata
//! and a requested shutdown are soft state, which a new coordinator finds out again.

pub mod assignor;
mod describe;
mod endpoints;
mod group;
mod heartbeat;
pub mod internal_topics;
pub mod member;
pub mod reconcile;
pub(super) mod records;
mod replay;
pub mod tasks;
pub mod topology;

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;

pub(in crate::coordinator::group) use group::PROTOCOL_TYPE;
pub use group::{StreamsGroup, StreamsGroupState};
pub use heartbeat::{StreamsHeartbeatAnswer, validate_streams_group_heartbeat};
pub use internal_topics::StatusCode;

use crate::protocol::error_code::ErrorCode;

/// Why a request of a streams group is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", code.name(), message.as_deref().unwrap_or(code.message()))]
pub struct StreamsError {
    pub code: ErrorCode,
    /// What the client is told beside the code; `None` where Kafka keeps it to itself.
    pub message: Option<String>,
}

impl StreamsError {
    fn new(code: ErrorCode, message: &str) -> StreamsError {
        StreamsError { code, message: Some(message.to_owned()) }
    }

    fn invalid_topology(message: &str) -> StreamsError {
        StreamsError::new(ErrorCode::StreamsInvalidTopology, message)
    }

    fn fenced(message: &str) -> StreamsError {
        StreamsError::new(ErrorCode::FencedMemberEpoch, message)
    }

    /// What Kafka has no answer for but UNKNOWN_SERVER_ERROR; the reason is for the log.
    fn unknown(reason: &str) -> StreamsError {
        tracing::debug!(reason, "a request of a streams group that makes no sense");
        StreamsError { code: ErrorCode::UnknownServerError, message: None }
    }
}
