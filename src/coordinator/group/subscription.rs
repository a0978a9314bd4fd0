//! What the coordinator reads of a consumer's subscription: its topics. Source: `ConsumerProtocol`.
//!
//! Only version 0 is read, which every later version begins with, so that the coordinator does not depend on what consumers add.

use bytes::Bytes;

use crate::protocol::codec::{Message, Reader};
use crate::protocol::messages::ConsumerProtocolSubscription;

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
