//! A message chosen by name at run time.

use bytes::Bytes;
use serde_json::Value;

use super::codec::{DecodeError, EncodeError, Message, VersionRange};

/// One kind of message.
pub struct Entry {
    pub name: &'static str,
    pub versions: VersionRange,
    pub flexible_from: i16,
    /// Reads a message that fills the bytes.
    pub decode: fn(Bytes, i16) -> Result<Box<dyn AnyMessage>, DecodeError>,
}

/// What can be done with a message of any kind.
pub trait AnyMessage: std::fmt::Debug {
    fn to_json(&self, version: i16) -> Value;
    fn to_bytes(&self, version: i16) -> Result<Bytes, EncodeError>;
}

impl<M: Message> AnyMessage for M {
    fn to_json(&self, version: i16) -> Value {
        Message::to_json(self, version)
    }

    fn to_bytes(&self, version: i16) -> Result<Bytes, EncodeError> {
        Message::to_bytes(self, version)
    }
}

/// The entry of one message.
pub(crate) const fn entry<M: Message>() -> Entry {
    Entry {
        name: M::NAME,
        versions: M::VERSIONS,
        flexible_from: M::FLEXIBLE_FROM,
        decode: |bytes, version| Ok(Box::new(M::from_bytes(bytes, version)?)),
    }
}
