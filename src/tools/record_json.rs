//! One record as one line of JSON, without loss: what `kafka-console-consumer --output json` prints is what
//! `kafka-console-producer --input json` reads.
//!
//! ```json
//! {"topic":"t","partition":0,"offset":5,"timestamp":1700000000000,"timestampType":"CreateTime","leaderEpoch":0,"headers":[{"key":"a","value":"x"}],"key":"text","value":null}
//! ```
//!
//! Bytes are a string where they are UTF-8, else `{"base64":"…"}`; no bytes at all are `null`. Headers are a list because order,
//! duplicates and null values count.
//!
//! Invariant: [`read`] of [`write`]'s line gives the same record, and a line that is not of this shape is an error that names its field:
//! nothing is left out in silence.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value};

use crate::protocol::batch::{RecordHeader, TimestampType};

/// A record to write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordToWrite<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// Milliseconds since the epoch; -1 where the record has none.
    pub(crate) timestamp: i64,
    pub(crate) timestamp_type: TimestampType,
    pub(crate) leader_epoch: Option<i32>,
    pub(crate) headers: &'a [RecordHeader],
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
}

/// A record that was read: what a producer needs. Offset, timestamp type and leader epoch may stand in the line, but are the log's to
/// give.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RecordRead {
    pub(crate) topic: Option<String>,
    pub(crate) partition: Option<i32>,
    /// Milliseconds since the epoch.
    pub(crate) timestamp: Option<i64>,
    pub(crate) headers: Vec<RecordHeader>,
    pub(crate) key: Option<Bytes>,
    pub(crate) value: Option<Bytes>,
}

/// Why a line is no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordJsonError {
    #[error("line {line}: no JSON: {reason}")]
    Syntax { line: u64, reason: String },
    #[error("line {line}: {}expected {expected}, found {found}", named(.field))]
    Shape { line: u64, field: String, expected: &'static str, found: &'static str },
    #[error("line {line}: no field of a record: '{field}'")]
    Unknown { line: u64, field: String },
    #[error("line {line}: {field}: missing")]
    Missing { line: u64, field: String },
    #[error("line {line}: {field}: {reason}")]
    Invalid { line: u64, field: String, reason: String },
}

fn named(field: &str) -> String {
    if field.is_empty() { String::new() } else { format!("{field}: ") }
}

/// Appends the record's line, its end included.
pub(crate) fn write(out: &mut Vec<u8>, record: &RecordToWrite<'_>) {
    out.extend_from_slice(b"{\"topic\":");
    write_text(out, record.topic);
    append(out, format_args!(",\"partition\":{},\"offset\":{},\"timestamp\":", record.partition, record.offset));
    append(out, format_args!("{},\"timestampType\":\"{}\",\"leaderEpoch\":", record.timestamp, record.timestamp_type.name()));
    match record.leader_epoch {
        Some(epoch) => append(out, format_args!("{epoch}")),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"headers\":[");
    for (at, header) in record.headers.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"{\"key\":" } else { b",{\"key\":" });
        write_bytes(out, Some(&header.key));
        out.extend_from_slice(b",\"value\":");
        write_bytes(out, header.value.as_deref());
        out.push(b'}');
    }
    out.extend_from_slice(b"],\"key\":");
    write_bytes(out, record.key);
    out.extend_from_slice(b",\"value\":");
    write_bytes(out, record.value);
    out.extend_from_slice(b"}\n");
}

fn append(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    std::io::Write::write_fmt(out, text).expect("a Vec takes all that is written");
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a string has a JSON form, and a Vec takes all that is written");
}

fn write_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => out.extend_from_slice(b"null"),
        Some((_, Ok(text))) => write_text(out, text),
        Some((bytes, Err(_))) => append(out, format_args!("{{\"base64\":\"{}\"}}", STANDARD.encode(bytes))),
    }
}

/// Reads a record from a line; `line` is its number from 1, for the errors.
pub(crate) fn read(text: &[u8], line: u64) -> Result<RecordRead, RecordJsonError> {
    let value: Value = serde_json::from_slice(text).map_err(|error| RecordJsonError::Syntax { line, reason: reason(&error) })?;
    let at = At { line };
    let mut record = RecordRead::default();
    let mut has_value = false;
    for (field, value) in at.object("", value)? {
        match field.as_str() {
            "topic" => record.topic = Some(at.text(&field, value)?),
            "partition" => record.partition = at.number(&field, value, 0)?,
            "timestamp" => record.timestamp = at.number(&field, value, -1)?.filter(|timestamp| *timestamp != -1),
            "headers" => record.headers = at.headers(value)?,
            "key" => record.key = at.bytes(&field, value)?,
            "value" => {
                record.value = at.bytes(&field, value)?;
                has_value = true;
            }
            "offset" => _ = at.number::<i64>(&field, value, 0)?,
            "leaderEpoch" => _ = at.number::<i32>(&field, value, -1)?,
            "timestampType" => _ = at.text(&field, value)?,
            _ => return Err(RecordJsonError::Unknown { line, field }),
        }
    }
    // Without it one could not tell a deletion from a mistake.
    if has_value { Ok(record) } else { Err(RecordJsonError::Missing { line, field: "value".to_owned() }) }
}

/// The parser counts lines within the one line it was given, which helps nobody.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let cut = text.rfind(" at line ").unwrap_or(text.len());
    format!("{} at column {}", &text[..cut], error.column())
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Takes values out of one line.
#[derive(Clone, Copy)]
struct At {
    line: u64,
}

impl At {
    fn wrong(self, field: &str, expected: &'static str, value: &Value) -> RecordJsonError {
        RecordJsonError::Shape { line: self.line, field: field.to_owned(), expected, found: kind_of(value) }
    }

    fn object(self, field: &str, value: Value) -> Result<Map<String, Value>, RecordJsonError> {
        match value {
            Value::Object(fields) => Ok(fields),
            other => Err(self.wrong(field, "an object", &other)),
        }
    }

    fn text(self, field: &str, value: Value) -> Result<String, RecordJsonError> {
        match value {
            Value::String(text) => Ok(text),
            other => Err(self.wrong(field, "a string", &other)),
        }
    }

    fn number<N: TryFrom<i64>>(self, field: &str, value: Value, least: i64) -> Result<Option<N>, RecordJsonError> {
        let number = match &value {
            Value::Null => return Ok(None),
            Value::Number(number) => number,
            other => return Err(self.wrong(field, "a whole number", other)),
        };
        let fitting = number.as_i64().filter(|number| *number >= least).and_then(|number| N::try_from(number).ok());
        match fitting {
            Some(number) => Ok(Some(number)),
            None => Err(RecordJsonError::Invalid { line: self.line, field: field.to_owned(), reason: format!("{number} is out of range") }),
        }
    }

    fn bytes(self, field: &str, value: Value) -> Result<Option<Bytes>, RecordJsonError> {
        match value {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text.into())),
            Value::Object(fields) => {
                let encoded = match fields.get("base64") {
                    Some(encoded) if fields.len() == 1 => encoded,
                    _ => return Err(self.wrong(field, BYTES, &Value::Object(fields))),
                };
                let name = || format!("{field}.base64");
                let Value::String(encoded) = encoded else { return Err(self.wrong(&name(), "a string", encoded)) };
                let bytes = STANDARD.decode(encoded);
                bytes.map(|bytes| Some(bytes.into())).map_err(|error| RecordJsonError::Invalid {
                    line: self.line,
                    field: name(),
                    reason: error.to_string(),
                })
            }
            other => Err(self.wrong(field, BYTES, &other)),
        }
    }

    fn headers(self, value: Value) -> Result<Vec<RecordHeader>, RecordJsonError> {
        let headers = match value {
            Value::Null => return Ok(Vec::new()),
            Value::Array(headers) => headers,
            other => return Err(self.wrong("headers", "a list", &other)),
        };
        headers.into_iter().enumerate().map(|(at, header)| self.header(&format!("headers[{at}]"), header)).collect()
    }

    fn header(self, name: &str, header: Value) -> Result<RecordHeader, RecordJsonError> {
        let (mut key, mut value) = (None, None);
        for (field, content) in self.object(name, header)? {
            let part = format!("{name}.{field}");
            match field.as_str() {
                "key" if content.is_null() => return Err(self.wrong(&part, BYTES_NOT_NULL, &content)),
                "key" => key = self.bytes(&part, content)?,
                "value" => value = self.bytes(&part, content)?,
                _ => return Err(RecordJsonError::Unknown { line: self.line, field: part }),
            }
        }
        let key = key.ok_or_else(|| RecordJsonError::Missing { line: self.line, field: format!("{name}.key") })?;
        Ok(RecordHeader { key, value })
    }
}

const BYTES: &str = "a string, null or {\"base64\": \"…\"}";
const BYTES_NOT_NULL: &str = "a string or {\"base64\": \"…\"}";

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        read(text.as_bytes(), 7).unwrap_err().to_string()
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        let header = |key: &'static [u8], value: Option<&'static [u8]>| RecordHeader {
            key: Bytes::from_static(key),
            value: value.map(Bytes::from_static),
        };
        let headers = [
            header(b"a", Some(b"x")),
            header(b"a", Some(b"")),
            header(b"\xff", None),
            header(b"", Some(b"\x80\x00")),
            header("ü\"\n".as_bytes(), Some("\u{0}\u{2028}".as_bytes())),
        ];
        for (key, value) in [
            (None, None),
            (Some(&b"text"[..]), Some(&b"\xf0\x28"[..])),
            (Some(&b""[..]), Some(&b"{\"base64\":\"AA==\"}"[..])),
            (Some(&b"\\\t"[..]), Some("😀".as_bytes())),
        ] {
            let mut line = Vec::new();
            let record = RecordToWrite {
                topic: "t",
                partition: 3,
                offset: i64::MAX,
                timestamp: 1_700_000_000_000,
                timestamp_type: TimestampType::LogAppendTime,
                leader_epoch: None,
                headers: &headers,
                key,
                value,
            };
            write(&mut line, &record);
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
            let read = read(&line, 1).unwrap();
            let expected = RecordRead {
                topic: Some("t".to_owned()),
                partition: Some(3),
                timestamp: Some(1_700_000_000_000),
                headers: headers.to_vec(),
                key: key.map(Bytes::copy_from_slice),
                value: value.map(Bytes::copy_from_slice),
            };
            assert_eq!(read, expected);
        }
    }

    #[test]
    fn the_line_is_exactly_this() {
        let headers = [RecordHeader { key: Bytes::from_static(b"a"), value: Some(Bytes::from_static(b"x")) }];
        let mut line = Vec::new();
        let record = RecordToWrite {
            topic: "t",
            partition: 0,
            offset: 5,
            timestamp: 1_700_000_000_000,
            timestamp_type: TimestampType::CreateTime,
            leader_epoch: Some(0),
            headers: &headers,
            key: Some(b"\xff"),
            value: None,
        };
        write(&mut line, &record);
        assert_eq!(
            String::from_utf8(line).unwrap(),
            "{\"topic\":\"t\",\"partition\":0,\"offset\":5,\"timestamp\":1700000000000,\"timestampType\":\"CreateTime\",\"leaderEpoch\":0,\
             \"headers\":[{\"key\":\"a\",\"value\":\"x\"}],\"key\":{\"base64\":\"/w==\"},\"value\":null}\n"
        );
    }

    #[test]
    fn only_the_value_is_needed() {
        assert_eq!(read(b"{\"value\":\"x\"}", 1).unwrap(), RecordRead { value: Some("x".into()), ..RecordRead::default() });
        assert_eq!(read(b"{\"value\":null,\"headers\":null,\"timestamp\":-1}", 1).unwrap(), RecordRead::default());
        assert_eq!(error("{\"key\":\"x\"}"), "line 7: value: missing");
    }

    #[test]
    fn what_is_no_record_is_named_with_line_and_field() {
        assert_eq!(error("hello"), "line 7: no JSON: expected value at column 1");
        assert_eq!(error("[]"), "line 7: expected an object, found a list");
        assert_eq!(error("{\"vale\":null}"), "line 7: no field of a record: 'vale'");
        assert_eq!(error("{\"value\":5}"), "line 7: value: expected a string, null or {\"base64\": \"…\"}, found a number");
        assert_eq!(error("{\"value\":{\"base64\":1}}"), "line 7: value.base64: expected a string, found a number");
        assert!(error("{\"value\":{\"base64\":\"*\"}}").starts_with("line 7: value.base64: Invalid"));
        assert_eq!(error("{\"partition\":-1}"), "line 7: partition: -1 is out of range");
        assert_eq!(error("{\"partition\":2147483648}"), "line 7: partition: 2147483648 is out of range");
        assert_eq!(error("{\"timestamp\":1.5}"), "line 7: timestamp: 1.5 is out of range");
        assert_eq!(error("{\"headers\":{}}"), "line 7: headers: expected a list, found an object");
        assert_eq!(error("{\"headers\":[{\"key\":\"a\"},{}]}"), "line 7: headers[1].key: missing");
        assert_eq!(error("{\"headers\":[{\"key\":null}]}"), "line 7: headers[0].key: expected a string or {\"base64\": \"…\"}, found null");
        assert_eq!(error("{\"headers\":[{\"key\":\"a\",\"v\":1}]}"), "line 7: no field of a record: 'headers[0].v'");
    }
}
