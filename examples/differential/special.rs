//! Values of a scenario that stand for bytes: record batches, messages inside messages, hexadecimal.
//!
//! | Written | Is |
//! |---|---|
//! | `"text"` | its UTF-8 |
//! | `@hex "00ff"` | these bytes |
//! | `@repeat {text: a, times: 300}` | a long text, in any string too |
//! | `@batch {records: [[key, value], …], codec: gzip, …}` | a record batch, see [`Batch`] |
//! | `@batches [{…}, {…}]` | several, one behind the other |
//! | `@ConsumerProtocolSubscription {version: 1, topics: […]}` | its version as an int16, then the message |

use bytes::Bytes;
use ottla::protocol::batch::{BATCH_OVERHEAD, BatchBuilder, BatchViewMut, ControlRecord, RecordHeader};
use ottla::protocol::compression::Compression;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::message::Messages;

/// The name behind the `@` of a special value, and what it was given.
fn special(value: &Value) -> Option<(&str, &Value)> {
    let (name, given) = value.as_object().filter(|map| map.len() == 1)?.iter().next()?;
    Some((name.strip_prefix('@')?, given))
}

/// Special values that are texts, wherever they stand.
pub(crate) fn text(value: &Value) -> Option<String> {
    match special(value)? {
        ("repeat", given) => Some(given.get("text")?.as_str()?.repeat(usize::try_from(given.get("times")?.as_u64()?).ok()?)),
        _ => None,
    }
}

/// The bytes that a value stands for.
pub(crate) fn bytes(messages: &Messages, value: &Value) -> Result<Bytes, String> {
    match special(value) {
        None => value.as_str().map(|text| Bytes::from(text.to_owned())).ok_or_else(|| format!("bytes are wanted, not {value}")),
        Some(("hex", given)) => {
            let digits = given.as_str().unwrap_or_default();
            (0..digits.len() / 2).map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).map_err(|error| error.to_string())).collect()
        }
        Some(("batch", given)) => batch(given),
        Some(("batches", given)) => {
            let parts = given.as_array().ok_or("@batches wants an array")?.iter().map(batch).collect::<Result<Vec<_>, _>>()?;
            Ok(parts.concat().into())
        }
        Some((name, given)) => {
            let mut given = given.as_object().cloned().unwrap_or_else(Map::new);
            let version = given.remove("version").and_then(|version| version.as_i64()).unwrap_or(0) as i16;
            let mut all = version.to_be_bytes().to_vec();
            all.extend_from_slice(&messages.encode(name, version, &Value::Object(given))?);
            Ok(all.into())
        }
    }
}

/// What can be said of a batch. Everything has a default; the last ones make it wrong.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Batch {
    /// Each `[key, value]`, `[key, value, timestamp]` or `[key, value, timestamp, [[header, value], …]]`; null is null.
    records: Vec<Vec<Value>>,
    codec: String,
    base_offset: i64,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    transactional: bool,
    /// The type of a control batch's only record: 0 abort, 1 commit.
    control: Option<i16>,
    /// Overwritten afterwards, with the checksum made right again.
    last_offset_delta: Option<i32>,
    record_count: Option<i32>,
    attributes: Option<i16>,
    max_timestamp: Option<i64>,
    /// Overwritten last.
    magic: Option<i8>,
    crc: Option<u32>,
    length: Option<i32>,
    /// Bytes cut off at the end.
    cut: usize,
}

impl Default for Batch {
    fn default() -> Batch {
        Batch {
            records: Vec::new(),
            codec: "none".to_owned(),
            base_offset: 0,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            transactional: false,
            control: None,
            last_offset_delta: None,
            record_count: None,
            attributes: None,
            max_timestamp: None,
            magic: None,
            crc: None,
            length: None,
            cut: 0,
        }
    }
}

/// A time long ago, so that retention and "now" have no part in what is compared.
const TIMESTAMP: i64 = 1_700_000_000_000;

fn batch(given: &Value) -> Result<Bytes, String> {
    let batch: Batch = serde_json::from_value(given.clone()).map_err(|error| format!("@batch: {error}"))?;
    let codec = (0..8).filter_map(Compression::from_id).find(|codec| codec.name() == batch.codec);
    let codec = codec.ok_or_else(|| format!("no codec {}", batch.codec))?;
    let mut builder = BatchBuilder::new(codec).base_offset(batch.base_offset).control(batch.control.is_some());
    if let Some(type_) = batch.control {
        let record = ControlRecord::end_transaction(type_ == 1, 0);
        builder.append_control(TIMESTAMP, &record).map_err(|error| error.to_string())?;
    }
    for record in &batch.records {
        let part = |at: usize| record.get(at).and_then(|value| text(value).or_else(|| value.as_str().map(str::to_owned)));
        let headers = record.get(3).and_then(Value::as_array).map_or(&[][..], Vec::as_slice).iter().map(|header| RecordHeader {
            key: Bytes::from(header.get(0).and_then(Value::as_str).unwrap_or_default().to_owned()),
            value: header.get(1).and_then(Value::as_str).map(|value| Bytes::from(value.to_owned())),
        });
        let timestamp = record.get(2).and_then(Value::as_i64).unwrap_or(TIMESTAMP);
        let (key, value) = (part(0), part(1));
        builder
            .append(timestamp, key.as_deref().map(str::as_bytes), value.as_deref().map(str::as_bytes), &headers.collect::<Vec<_>>())
            .map_err(|error| error.to_string())?;
    }
    let mut bytes = builder.finish_vec().map_err(|error| error.to_string())?;
    for (at, field) in [
        (21, batch.attributes.map(|value| value.to_be_bytes().to_vec())),
        (23, batch.last_offset_delta.map(|value| value.to_be_bytes().to_vec())),
        (35, batch.max_timestamp.map(|value| value.to_be_bytes().to_vec())),
        (57, batch.record_count.map(|value| value.to_be_bytes().to_vec())),
    ] {
        if let Some(field) = field {
            bytes[at..at + field.len()].copy_from_slice(&field);
        }
    }
    // The producer's fields, which need not be consistent, and with them a checksum over all.
    let mut view = BatchViewMut::parse(&mut bytes).map_err(|error| error.to_string())?;
    let transactional = batch.transactional || view.header().is_transactional();
    view.set_producer_state(batch.producer_id, batch.producer_epoch, batch.base_sequence, transactional);
    for (at, field) in [
        (8, batch.length.map(|value| value.to_be_bytes().to_vec())),
        (16, batch.magic.map(|value| value.to_be_bytes().to_vec())),
        (17, batch.crc.map(|value| value.to_be_bytes().to_vec())),
    ] {
        if let Some(field) = field {
            bytes[at..at + field.len()].copy_from_slice(&field);
        }
    }
    bytes.truncate(bytes.len().saturating_sub(batch.cut).max(BATCH_OVERHEAD.min(bytes.len())));
    Ok(bytes.into())
}
