//! Formatters: a record to the bytes that are printed.
//!
//! Invariant: nothing is copied but into the one buffer that is written out.
//! Source: `DefaultMessageFormatter`, `LoggingMessageFormatter`, `NoOpMessageFormatter`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;

use bytes::Bytes;

use super::coordinator_records::Kind;
use super::deserializer::{self, Deserializer};
use crate::client::consumer::{ConsumerRecord, RecordHeader, TimestampType};
use crate::tools::exit::{Failure, Usage};
use crate::tools::record_json::{self, RecordToWrite};
use crate::tools::suggest;

/// Why a record cannot be printed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct FormatError(String);

impl FormatError {
    pub(super) fn new(message: String) -> FormatError {
        FormatError(message)
    }
}

/// A record to print.
#[derive(Clone, Copy, Debug)]
pub(super) struct ToPrint<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) leader_epoch: Option<i32>,
    /// Milliseconds since the epoch; -1 for none.
    pub(super) timestamp: i64,
    pub(super) timestamp_type: TimestampType,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: &'a [RecordHeader],
}

impl<'a> From<&'a ConsumerRecord> for ToPrint<'a> {
    fn from(record: &'a ConsumerRecord) -> ToPrint<'a> {
        ToPrint {
            topic: &record.topic,
            partition: record.partition,
            offset: record.offset,
            leader_epoch: record.leader_epoch,
            timestamp: record.timestamp,
            timestamp_type: record.timestamp_type,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &record.headers,
        }
    }
}

/// What prints records.
#[derive(Clone, Debug)]
pub(super) enum Formatter {
    Default(Columns),
    /// As the default one, and a line in the log.
    Logging(Columns),
    NoOp,
    Coordinator(Kind, &'static [u8]),
    /// One line of JSON a record, without loss.
    Json,
}

const PACKAGE: &str = "org.apache.kafka.tools.consumer.";
const NAMES: [&str; 7] = [
    "DefaultMessageFormatter",
    "GroupMetadataMessageFormatter",
    "LoggingMessageFormatter",
    "NoOpMessageFormatter",
    "OffsetsMessageFormatter",
    "ShareGroupMessageFormatter",
    "TransactionLogMessageFormatter",
];

/// The names of all formatters, for help texts.
pub(super) fn names() -> String {
    NAMES.join(", ")
}

impl Formatter {
    /// By the name of its class, with or without the package. `compat`: with all of Kafka's peculiarities.
    pub(super) fn new(
        class: &str,
        properties: &BTreeMap<String, String>,
        compat: bool,
        warn: &mut dyn FnMut(String),
    ) -> anyhow::Result<Formatter> {
        let name = class.strip_prefix(PACKAGE).or(if compat && class != NAMES[0] { None } else { Some(class) });
        // Kafka writes these records one behind the other.
        let line_end: &[u8] = if compat { b"" } else { b"\n" };
        let coordinator = |kind| Formatter::Coordinator(kind, line_end);
        Ok(match name.unwrap_or_default() {
            "DefaultMessageFormatter" => Formatter::Default(Columns::new(properties, compat, warn)?),
            "LoggingMessageFormatter" => Formatter::Logging(Columns::new(properties, compat, warn)?),
            "NoOpMessageFormatter" => Formatter::NoOp,
            "OffsetsMessageFormatter" => coordinator(Kind::Offsets),
            "GroupMetadataMessageFormatter" => coordinator(Kind::GroupMetadata),
            "ShareGroupMessageFormatter" => coordinator(Kind::ShareGroup),
            "TransactionLogMessageFormatter" => coordinator(Kind::TransactionLog),
            _ if compat => return Err(Usage::new(class).into()),
            _ => {
                let near = suggest::closest(class.rsplit('.').next().unwrap_or(class), NAMES);
                let near = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
                return Err(Usage(format!("there is no formatter '{class}'{near}")).into());
            }
        })
    }

    /// Appends the record's text. After an error, part of it may have been appended.
    pub(super) fn write(&self, record: &ToPrint<'_>, out: &mut Vec<u8>) -> Result<(), FormatError> {
        match self {
            Formatter::Default(columns) => columns.write(record, out),
            Formatter::Logging(columns) => {
                columns.write(record, out)?;
                let text = |bytes: Option<&[u8]>| bytes.map_or(Cow::from("null"), |it| String::from_utf8_lossy(it).into_owned().into());
                tracing::info!(
                    "{}:{}, key:{}, value:{}",
                    record.timestamp_type.name(),
                    record.timestamp,
                    text(record.key),
                    text(record.value)
                );
                Ok(())
            }
            Formatter::NoOp => Ok(()),
            Formatter::Coordinator(kind, line_end) => {
                let [key, value] = [record.key, record.value].map(|it| it.map(Bytes::copy_from_slice));
                kind.write(record.offset, key.as_ref(), value.as_ref(), line_end, out)
            }
            Formatter::Json => {
                let record = RecordToWrite {
                    topic: record.topic,
                    partition: record.partition,
                    offset: record.offset,
                    timestamp: record.timestamp,
                    timestamp_type: record.timestamp_type,
                    leader_epoch: record.leader_epoch,
                    headers: record.headers,
                    key: record.key,
                    value: record.value,
                };
                record_json::write(out, &record);
                Ok(())
            }
        }
    }
}

/// The default formatter: chosen columns in a fixed order.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    timestamp: bool,
    partition: bool,
    offset: bool,
    delivery: bool,
    epoch: bool,
    headers: bool,
    key: bool,
    value: bool,
    key_separator: Vec<u8>,
    line_separator: Vec<u8>,
    headers_separator: Vec<u8>,
    null_literal: Vec<u8>,
    key_deserializer: Option<Deserializer>,
    value_deserializer: Option<Deserializer>,
    headers_deserializer: Option<Deserializer>,
    /// As in Kafka, epochs are never present, and a null is deserialized as if it were the bytes of its literal.
    compat: bool,
}

impl Columns {
    pub(super) fn new(properties: &BTreeMap<String, String>, compat: bool, warn: &mut dyn FnMut(String)) -> anyhow::Result<Columns> {
        let shown = |key: &str, default| properties.get(key).map_or(default, |value| value.trim().eq_ignore_ascii_case("true"));
        let bytes = |key: &str, default: &str| properties.get(key).map_or(default, String::as_str).as_bytes().to_vec();
        let mut deserializer = |key: &str| -> anyhow::Result<Option<Deserializer>> {
            let Some(class) = properties.get(key) else { return Ok(None) };
            match Deserializer::parse(class, compat) {
                Some(found) => Ok(Some(found)),
                // Kafka's tool goes on with the bytes as they are.
                None if compat => {
                    warn(format!("Unable to instantiate a deserializer from {class}"));
                    Ok(None)
                }
                None => {
                    let known = format!("there are: {}", deserializer::names());
                    Err(Failure::new(format!("there is no deserializer '{class}'")).advise(known).into())
                }
            }
        };
        let headers_deserializer = match deserializer("headers.deserializer")? {
            // What Kafka's own help calls it.
            None if !compat => deserializer("header.deserializer")?,
            found => found,
        };
        let (key_deserializer, value_deserializer) = (deserializer("key.deserializer")?, deserializer("value.deserializer")?);
        if !compat {
            let known = |key: &str| {
                KEYS.contains(&key)
                    || ["key.deserializer", "value.deserializer", "headers.deserializer", "header.deserializer"]
                        .iter()
                        .any(|it| key.starts_with(it))
            };
            for key in properties.keys().filter(|key| !known(key)) {
                let near = suggest::closest(key, KEYS.iter().copied()).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
                warn(format!("the formatter has no property '{key}'{near}"));
            }
        }
        Ok(Columns {
            timestamp: shown("print.timestamp", false),
            partition: shown("print.partition", false),
            offset: shown("print.offset", false),
            delivery: shown("print.delivery", false),
            epoch: shown("print.epoch", false),
            headers: shown("print.headers", false),
            key: shown("print.key", false),
            value: shown("print.value", true),
            key_separator: bytes("key.separator", "\t"),
            line_separator: bytes("line.separator", "\n"),
            headers_separator: bytes("headers.separator", ","),
            null_literal: bytes("null.literal", "null"),
            key_deserializer,
            value_deserializer,
            headers_deserializer,
            compat,
        })
    }

    fn write(&self, record: &ToPrint<'_>, out: &mut Vec<u8>) -> Result<(), FormatError> {
        // How many columns are still to come decides which separator follows one.
        let mut left = [self.timestamp, self.partition, self.offset, self.delivery, self.epoch, self.headers, self.key, self.value]
            .into_iter()
            .filter(|shown| *shown)
            .count();
        let mut end_column = |out: &mut Vec<u8>| {
            left -= 1;
            out.extend_from_slice(if left == 0 { &self.line_separator } else { &self.key_separator });
        };
        if self.timestamp {
            append(out, format_args!("{}:{}", record.timestamp_type.name(), record.timestamp));
            end_column(out);
        }
        if self.partition {
            append(out, format_args!("Partition:{}", record.partition));
            end_column(out);
        }
        if self.offset {
            append(out, format_args!("Offset:{}", record.offset));
            end_column(out);
        }
        if self.delivery {
            out.extend_from_slice(b"Delivery:NOT_PRESENT");
            end_column(out);
        }
        if self.epoch {
            match record.leader_epoch.filter(|_| !self.compat) {
                Some(epoch) => append(out, format_args!("Epoch:{epoch}")),
                None => out.extend_from_slice(b"Epoch:NOT_PRESENT"),
            }
            end_column(out);
        }
        if self.headers {
            if record.headers.is_empty() {
                out.extend_from_slice(b"NO_HEADERS");
            }
            for (at, header) in record.headers.iter().enumerate() {
                if at > 0 {
                    out.extend_from_slice(&self.headers_separator);
                }
                Deserializer::String.write(&header.key, out)?;
                out.push(b':');
                self.bytes(self.headers_deserializer, header.value.as_deref(), out)?;
            }
            end_column(out);
        }
        if self.key {
            self.bytes(self.key_deserializer, record.key, out)?;
            end_column(out);
        }
        if self.value {
            self.bytes(self.value_deserializer, record.value, out)?;
            end_column(out);
        }
        Ok(())
    }

    fn bytes(&self, deserializer: Option<Deserializer>, bytes: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), FormatError> {
        match (deserializer, bytes) {
            (Some(deserializer), None) if self.compat => deserializer.write(&self.null_literal, out),
            (Some(deserializer), Some(bytes)) => deserializer.write(bytes, out),
            (_, bytes) => {
                out.extend_from_slice(bytes.unwrap_or(&self.null_literal));
                Ok(())
            }
        }
    }
}

const KEYS: [&str; 12] = [
    "print.timestamp",
    "print.partition",
    "print.offset",
    "print.delivery",
    "print.epoch",
    "print.headers",
    "print.key",
    "print.value",
    "key.separator",
    "line.separator",
    "headers.separator",
    "null.literal",
];

fn append(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a Vec takes all that is written");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> ConsumerRecord {
        let header = |key: &'static str, value: Option<&'static str>| RecordHeader { key: key.into(), value: value.map(Into::into) };
        ConsumerRecord {
            topic: "t".into(),
            partition: 2,
            offset: 7,
            leader_epoch: Some(3),
            timestamp: 1_700_000_000_000,
            timestamp_type: TimestampType::CreateTime,
            key: Some("k".into()),
            value: None,
            headers: vec![header("a", Some("x")), header("b", None)],
        }
    }

    fn properties(pairs: &[&str]) -> BTreeMap<String, String> {
        pairs.iter().filter_map(|pair| pair.split_once('=')).map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    fn text(pairs: &[&str], compat: bool) -> String {
        let formatter = Formatter::new("DefaultMessageFormatter", &properties(pairs), compat, &mut |_| {}).unwrap();
        let mut out = Vec::new();
        formatter.write(&ToPrint::from(&record()), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    const ALL: [&str; 7] = [
        "print.timestamp=true",
        "print.partition=TRUE",
        "print.offset= true",
        "print.delivery=true",
        "print.epoch=true",
        "print.headers=true",
        "print.key=true",
    ];

    #[test]
    fn columns_are_in_kafkas_order() {
        assert_eq!(text(&[], false), "null\n");
        assert_eq!(
            text(&ALL, false),
            "CreateTime:1700000000000\tPartition:2\tOffset:7\tDelivery:NOT_PRESENT\tEpoch:3\ta:x,b:null\tk\tnull\n"
        );
        assert!(text(&ALL, true).contains("\tEpoch:NOT_PRESENT\t"));
    }

    #[test]
    fn separators_and_the_null_literal_can_be_chosen() {
        let chosen =
            ["print.key=true", "print.headers=true", "key.separator=|", "line.separator=;", "headers.separator=+", "null.literal="];
        assert_eq!(text(&chosen, false), "a:x+b:|k|;");
        assert_eq!(text(&["print.key=true", "print.value=false"], false), "k\n");
        assert_eq!(text(&["print.value=yes"], false), "");
    }

    #[test]
    fn a_null_is_deserialized_as_kafka_does_on_request_only() {
        let integer = ["value.deserializer=org.apache.kafka.common.serialization.IntegerDeserializer"];
        assert_eq!(text(&integer, false), "null\n");
        assert_eq!(text(&integer, true), "1853189228\n");
    }

    #[test]
    fn names_that_are_not_known_are_refused() {
        let error = |class: &str, pairs: &[&str]| Formatter::new(class, &properties(pairs), false, &mut |_| {}).unwrap_err().to_string();
        assert_eq!(error("NoOpMesageFormatter", &[]), "there is no formatter 'NoOpMesageFormatter'; did you mean NoOpMessageFormatter?");
        assert!(error("DefaultMessageFormatter", &["key.deserializer=x"]).starts_with("there is no deserializer 'x'; there are: Boolean"));
        let mut warnings = Vec::new();
        Formatter::new("DefaultMessageFormatter", &properties(&["print.keys=true"]), false, &mut |warning| warnings.push(warning)).unwrap();
        assert_eq!(warnings, ["the formatter has no property 'print.keys'; did you mean print.key?"]);
    }
}
