//! What the coordinator reads and writes of the consumer protocol inside classic groups: subscriptions and assignments. Source:
//! `ConsumerProtocol`.
//!
//! Of a classic group only the topics matter; for these version 0 is read, which every later version begins with, so that the coordinator
//! does not depend on what consumers add. A group that migrates (KIP-848) needs the rest too.

use bytes::Bytes;

use crate::protocol::codec::{Message, Reader, Writer};
use crate::protocol::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};

/// The version a subscription or assignment begins with; `None` when it cannot be one.
pub(super) fn version(metadata: &Bytes) -> Option<i16> {
    Reader::new(metadata.clone()).i16().ok().filter(|&version| version >= 0)
}

/// A whole subscription; one of a version that is not known is read as the newest that is.
pub(super) fn subscription(metadata: &Bytes) -> Option<ConsumerProtocolSubscription> {
    decode(metadata)
}

/// A whole assignment, read likewise.
pub(super) fn assignment(assignment: &Bytes) -> Option<ConsumerProtocolAssignment> {
    decode(assignment)
}

fn decode<M: Message>(bytes: &Bytes) -> Option<M> {
    let mut reader = Reader::new(bytes.clone());
    let version = reader.i16().ok()?;
    if version < M::VERSIONS.min {
        return None;
    }
    M::decode(&mut reader, version.min(M::VERSIONS.max)).ok()
}

/// An assignment in this version, or the newest that is known.
pub(super) fn encode_assignment(assignment: &ConsumerProtocolAssignment, version: i16) -> Bytes {
    let version = version.min(ConsumerProtocolAssignment::VERSIONS.max);
    let mut writer = Writer::new();
    writer.i16(version);
    match assignment.encode(&mut writer, version) {
        Ok(()) => writer.into_bytes(),
        // Names and numbers of partitions that exist always fit.
        Err(error) => {
            tracing::error!(%error, "an assignment cannot be written");
            Bytes::new()
        }
    }
}

/// The topics of a subscription; `None` when it cannot be read.
pub(super) fn topics(metadata: &Bytes) -> Option<Vec<String>> {
    let mut reader = Reader::new(metadata.clone());
    let version = reader.i16().ok()?;
    if version < 0 {
        return None;
    }
    Some(ConsumerProtocolSubscription::decode(&mut reader, 0).ok()?.topics)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::codec::Writer;

    fn subscription(version: i16, topics: &[&str]) -> Bytes {
        let mut writer = Writer::new();
        writer.i16(version);
        let message = ConsumerProtocolSubscription {
            topics: topics.iter().map(|&t| t.to_owned()).collect(),
            ..ConsumerProtocolSubscription::default()
        };
        message.encode(&mut writer, version.min(3)).expect("a well-formed subscription");
        writer.into_bytes()
    }

    #[test]
    fn topics_of_every_version_are_read() {
        for version in 0..=3 {
            assert_eq!(topics(&subscription(version, &["a", "b"])), Some(vec!["a".to_owned(), "b".to_owned()]));
        }
    }

    #[test]
    fn what_is_not_a_subscription_is_refused() {
        assert_eq!(topics(&Bytes::new()), None);
        assert_eq!(topics(&Bytes::from_static(&[0xff, 0xff, 0, 0, 0, 0])), None);
        assert_eq!(topics(&Bytes::from_static(&[0, 0, 0x7f, 0xff, 0xff, 0xff])), None);
    }
}
