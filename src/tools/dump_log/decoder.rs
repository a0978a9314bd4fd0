//! What the records of a log say: bytes to text, or to the JSON of the records of Kafka's own topics.
//!
//! Sources: `DumpLogSegments.MessageParser` and its implementations, `org.apache.kafka.tools.api.Decoder`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::remote_log;
use crate::metadata::record::{MetadataRecord, RecordError};
use crate::protocol::batch::Record;
use crate::protocol::codec::{Message, Reader};
use crate::protocol::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
use crate::tools::args::Options;
use crate::tools::coordinator_records::{Coordinator, split};
use crate::tools::exit::{Failure, Usage};
use crate::tools::java_json;

/// A key or a value, decoded.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Decoded {
    Text(String),
    Json(Value),
}

impl Decoded {
    /// As Kafka's tool prints it.
    pub(super) fn plain(&self) -> String {
        match self {
            Decoded::Text(text) => text.clone(),
            Decoded::Json(value) => java_json::text(value),
        }
    }

    pub(super) fn json(self) -> Value {
        match self {
            Decoded::Text(text) => Value::String(text),
            Decoded::Json(value) => value,
        }
    }
}

/// A decoder class that is built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BytesDecoder {
    Text,
    Integer,
    Long,
    /// Differs: Kafka's `DefaultDecoder` prints the address of a Java array; this is the bytes' Base64.
    Default,
}

impl BytesDecoder {
    /// A decoder by the name of Kafka's class, in full or short.
    fn by_name(name: &str) -> Result<BytesDecoder, Usage> {
        let short = ["org.apache.kafka.tools.api.", "kafka.serializer."].iter().find_map(|package| name.strip_prefix(package));
        match short.unwrap_or(name) {
            // The flag without its value.
            "" | "StringDecoder" | "string" => Ok(BytesDecoder::Text),
            "IntegerDecoder" | "integer" => Ok(BytesDecoder::Integer),
            "LongDecoder" | "long" => Ok(BytesDecoder::Long),
            "DefaultDecoder" => Ok(BytesDecoder::Default),
            _ => Err(Usage(format!(
                "decoder {name} is not built in; there are StringDecoder, IntegerDecoder, LongDecoder and DefaultDecoder of \
                 org.apache.kafka.tools.api"
            ))),
        }
    }

    fn decode(self, bytes: &Bytes) -> Result<Decoded, String> {
        let too_short = |size| format!("{} bytes where {size} are needed", bytes.len());
        Ok(match self {
            BytesDecoder::Text => Decoded::Text(String::from_utf8_lossy(bytes).into_owned()),
            BytesDecoder::Integer => {
                let number = bytes.first_chunk().ok_or_else(|| too_short(4))?;
                Decoded::Json(i32::from_be_bytes(*number).into())
            }
            BytesDecoder::Long => {
                let number = bytes.first_chunk().ok_or_else(|| too_short(8))?;
                Decoded::Json(i64::from_be_bytes(*number).into())
            }
            BytesDecoder::Default => Decoded::Text(STANDARD.encode(bytes)),
        })
    }
}

/// How keys and values are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decoder {
    Bytes { key: BytesDecoder, value: BytesDecoder },
    Coordinator(Coordinator),
    ClusterMetadata,
    RemoteLogMetadata,
}

/// The flags that choose a decoder, each of which also asks for the records' content.
pub(super) const DECODERS: [&str; 7] = [
    "offsets-decoder",
    "transaction-log-decoder",
    "cluster-metadata-decoder",
    "remote-log-metadata-decoder",
    "share-group-state-decoder",
    "value-decoder-class",
    "key-decoder-class",
];

impl Decoder {
    /// The decoder that the flags ask for: the first in the order of [`DECODERS`].
    pub(super) fn choose(options: &Options) -> Result<Decoder, Usage> {
        Ok(match DECODERS.iter().find(|name| options.has(name)).copied() {
            Some("offsets-decoder") => Decoder::Coordinator(Coordinator::Group),
            Some("transaction-log-decoder") => Decoder::Coordinator(Coordinator::Transaction),
            Some("cluster-metadata-decoder") => Decoder::ClusterMetadata,
            Some("remote-log-metadata-decoder") => Decoder::RemoteLogMetadata,
            Some("share-group-state-decoder") => Decoder::Coordinator(Coordinator::Share),
            _ => Decoder::Bytes {
                key: BytesDecoder::by_name(options.value("key-decoder-class")?.unwrap_or_default())?,
                value: BytesDecoder::by_name(options.value("value-decoder-class")?.unwrap_or_default())?,
            },
        })
    }

    /// Key and value of a record. What is in a record of Kafka's own topics and cannot be read is said in place of it; other errors end
    /// the dump.
    pub(super) fn decode(self, record: &Record) -> Result<(Option<Decoded>, Option<Decoded>), Failure> {
        let offset = record.offset;
        match self {
            Decoder::Bytes { key, value } => {
                let decode = |what, decoder: BytesDecoder, bytes: &Option<Bytes>| {
                    let decoded = bytes.as_ref().map(|bytes| decoder.decode(bytes)).transpose();
                    decoded.map_err(|reason| Failure::new(format!("cannot decode the {what} of the record at offset {offset}: {reason}")))
                };
                Ok((decode("key", key, &record.key)?, decode("value", value, &record.value)?))
            }
            Decoder::Coordinator(coordinator) => {
                let Some(key) = &record.key else {
                    return Err(Failure::new(format!(
                        "Failed to decode message at offset {offset} using the specified decoder (message had a missing key)"
                    )));
                };
                Ok(coordinator_record(coordinator, offset, key, record.value.as_ref()))
            }
            Decoder::ClusterMetadata => {
                let value = record.value.clone().ok_or_else(|| "it has no value".to_owned());
                let read = value.and_then(|value| MetadataRecord::from_value(value).map_err(|error| parse_error(&error)));
                let decoded = match read {
                    Ok((record, version)) => {
                        Decoded::Json(json!({"type": record.type_name(), "version": version, "data": record.to_json(version)}))
                    }
                    Err(reason) => Decoded::Text(format!("Error at {offset}, skipping. {reason}")),
                };
                Ok((None, Some(decoded)))
            }
            Decoder::RemoteLogMetadata => {
                let value = record.value.clone().ok_or_else(|| "it has no value".to_owned());
                let text =
                    value.and_then(remote_log::text).unwrap_or_else(|reason| format!("Error at offset {offset}, skipping. {reason}"));
                Ok((None, Some(Decoded::Text(text))))
            }
        }
    }
}

/// Why a metadata record cannot be read, in the words of Kafka's `MetadataParseException` where it has some.
fn parse_error(error: &RecordError) -> String {
    match error {
        RecordError::UnknownFrameVersion(0) => "Could not deserialize metadata record with frame version 0. Note that upgrades from the \
                                                preview release of KRaft in 2.8 to newer versions are not supported."
            .to_owned(),
        RecordError::UnknownFrameVersion(version) => {
            format!("Could not deserialize metadata record due to unknown frame version {version}(only frame version 1 is supported)")
        }
        RecordError::UnknownType(number) => {
            format!("org.apache.kafka.common.errors.UnsupportedVersionException: Unknown metadata id {number}")
        }
        RecordError::UnknownVersion { .. } | RecordError::Malformed { .. } => error.to_string(),
    }
}

fn coordinator_record(coordinator: Coordinator, offset: i64, key: &Bytes, value: Option<&Bytes>) -> (Option<Decoded>, Option<Decoded>) {
    let key_only = |text: String| (Some(Decoded::Text(text)), None);
    match try_coordinator_record(coordinator, key, value) {
        Ok((key, value)) => (Some(Decoded::Json(key)), Some(value.map_or_else(|| Decoded::Text("<DELETE>".to_owned()), Decoded::Json))),
        Err(Unreadable::Type(number)) => key_only(format!("Unknown record type {number} at offset {offset}, skipping.")),
        Err(Unreadable::Other(reason)) => key_only(format!("Error at offset {offset}, skipping. {reason}")),
    }
}

enum Unreadable {
    Type(i16),
    Other(String),
}

fn try_coordinator_record(coordinator: Coordinator, key: &Bytes, value: Option<&Bytes>) -> Result<(Value, Option<Value>), Unreadable> {
    let no_version = |name: &str| Unreadable::Other(format!("Could not read version from {name}'s buffer."));
    let unreadable = |version: i16, name: &str, reason: &dyn std::fmt::Display| {
        Unreadable::Other(format!("Could not read record with version {version} from {name}'s buffer due to: {reason}."))
    };
    let (number, key) = split(key).ok_or_else(|| no_version("key"))?;
    let record_type = coordinator.record_type(number).ok_or(Unreadable::Type(number))?;
    let key = (record_type.key)(key).map_err(|error| unreadable(number, "key", &error))?;
    // Kafka prints type and version as strings.
    let key = json!({"type": number.to_string(), "data": key});
    let Some(value) = value else { return Ok((key, None)) };
    let (version, value) = split(value).ok_or_else(|| no_version("value"))?;
    if !record_type.value_versions.contains(version) {
        return Err(Unreadable::Other(format!("Found an unknown record version {version} for {number} type")));
    }
    let mut value = (record_type.value)(value, version).map_err(|error| unreadable(version, "value", &error))?;
    if (coordinator, number) == (Coordinator::Group, 2) {
        show_members(&mut value);
    }
    Ok((key, Some(json!({"version": version.to_string(), "data": value}))))
}

/// What the members of a classic group of consumers have told each other, in place of its bytes.
fn show_members(group: &mut Value) {
    if group.get("protocolType").and_then(Value::as_str) != Some("consumer") {
        return;
    }
    for member in group.get_mut("members").and_then(Value::as_array_mut).into_iter().flatten() {
        show_field::<ConsumerProtocolSubscription>(member, "subscription");
        show_field::<ConsumerProtocolAssignment>(member, "assignment");
    }
}

/// What cannot be read stays as it is.
fn show_field<M: Message>(member: &mut Value, field: &str) {
    let Some(shown) = member.get_mut(field) else { return };
    let bytes = shown.as_str().and_then(|text| STANDARD.decode(text).ok()).map(Bytes::from);
    let message = bytes.as_ref().and_then(split).and_then(|(version, bytes)| {
        // A later version begins with the same fields.
        let version = Some(version.min(M::VERSIONS.max)).filter(|version| *version >= M::VERSIONS.min)?;
        Some(M::decode(&mut Reader::new(bytes), version).ok()?.to_json(version))
    });
    if let Some(message) = message {
        *shown = message;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::messages::{OffsetCommitKey, OffsetCommitValue, ShareUpdateKey};

    fn versioned<M: Message>(number: i16, version: i16, message: &M) -> Bytes {
        [&number.to_be_bytes()[..], &message.to_bytes(version).expect("encodes")].concat().into()
    }

    fn plain(decoder: Decoder, key: Option<Bytes>, value: Option<Bytes>) -> (Option<String>, Option<String>) {
        let record = Record { offset: 7, key, value, ..Record::default() };
        let (key, value) = decoder.decode(&record).expect("decoded");
        (key.map(|key| key.plain()), value.map(|value| value.plain()))
    }

    #[test]
    fn what_cannot_be_read_is_said_in_its_place() {
        let offsets = Decoder::Coordinator(Coordinator::Group);
        let key = OffsetCommitKey { group: "g".into(), topic: "t".into(), partition: 2, ..Default::default() };
        let shown = "{\"type\":\"1\",\"data\":{\"group\":\"g\",\"topic\":\"t\",\"partition\":2}}";
        let key = versioned(1, 0, &key);
        assert_eq!(plain(offsets, Some(key.clone()), None), (Some(shown.to_owned()), Some("<DELETE>".to_owned())));
        let later = versioned(9, 3, &OffsetCommitValue::default());
        let unknown = "Error at offset 7, skipping. Found an unknown record version 9 for 1 type";
        assert_eq!(plain(offsets, Some(key.clone()), Some(later)), (Some(unknown.to_owned()), None));
        let torn = "Error at offset 7, skipping. Could not read version from value's buffer.";
        assert_eq!(plain(offsets, Some(key), Some(Bytes::from_static(b"\0"))), (Some(torn.to_owned()), None));
        let share = versioned(99, 0, &ShareUpdateKey::default());
        let skipped = "Unknown record type 99 at offset 7, skipping.";
        assert_eq!(plain(Decoder::Coordinator(Coordinator::Share), Some(share), None), (Some(skipped.to_owned()), None));
        let error = offsets.decode(&Record { offset: 7, ..Record::default() }).expect_err("no key");
        assert!(error.to_string().ends_with("(message had a missing key)"));
    }

    #[test]
    fn numbers_need_their_bytes() {
        let numbers = Decoder::Bytes { key: BytesDecoder::Integer, value: BytesDecoder::Long };
        let long = Bytes::copy_from_slice(&(-3i64).to_be_bytes());
        assert_eq!(plain(numbers, Some(Bytes::from_static(&[0, 0, 1, 0, 9])), Some(long)), (Some("256".into()), Some("-3".into())));
        let error = numbers.decode(&Record { offset: 5, key: Some("abc".into()), ..Record::default() }).expect_err("too short");
        assert_eq!(error.to_string(), "cannot decode the key of the record at offset 5: 3 bytes where 4 are needed");
        let unknown = BytesDecoder::by_name("com.example.AvroDecoder").expect_err("unknown");
        assert!(unknown.to_string().starts_with("decoder com.example.AvroDecoder is not built in"));
    }
}
