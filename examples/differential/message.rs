//! Messages as JSON and back, by the definition files: independent of the generated code, and able to write what that refuses.
//!
//! A request's field that the version lacks is left out, one that is not given has Kafka's default, and `null` is written as null also
//! where a schema forbids it. In responses records are read down to keys and values; bytes that are text are shown as text.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use ottla::common::uuid::Uuid;
use ottla::protocol::batch::{Batches, Record};
use ottla::protocol::codec::{Reader, Writer};
use serde_json::{Map, Value, json};

use crate::definition::{self, Field, Message, Type, Versions};
use crate::special;

type Result<T> = std::result::Result<T, String>;

/// Every message of the protocol by name.
pub(crate) struct Messages(BTreeMap<String, Message>);

impl Messages {
    pub(crate) fn read() -> Result<Messages> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/protocol/definitions");
        Ok(Messages(definition::read(&folder)?.into_iter().map(|message| (message.name.clone(), message)).collect()))
    }

    pub(crate) fn message(&self, name: &str) -> Result<&Message> {
        self.0.get(name).ok_or_else(|| format!("no message {name}"))
    }

    /// The message's bytes. A version that the definition lacks is written as its nearest one.
    pub(crate) fn encode(&self, name: &str, version: i16, value: &Value) -> Result<Bytes> {
        let message = self.message(name)?;
        let mut writer = Writer::new();
        let version = version.clamp(message.versions.min, message.versions.max);
        self.encode_fields(message, &message.fields, version, value, &mut writer)?;
        Ok(writer.into_bytes())
    }

    fn encode_fields(&self, message: &Message, fields: &[Field], version: i16, value: &Value, writer: &mut Writer) -> Result<()> {
        let given = value.as_object().ok_or_else(|| format!("{}: an object is wanted, not {value}", message.name))?;
        if let Some(unknown) = given.keys().find(|key| !fields.iter().any(|field| json_name(field) == **key)) {
            return Err(format!("{} has no field {unknown}", message.name));
        }
        let flexible = within(message.flexible, version);
        let mut tagged = Vec::new();
        for field in fields.iter().filter(|field| within(field.versions, version)) {
            let default = default_of(field, &message.structs);
            let value = given.get(&json_name(field)).unwrap_or(&default);
            let compact = flexible && !field.never_flexible;
            match field.tag.filter(|(_, versions)| within(*versions, version)) {
                Some((tag, _)) if *value != default => {
                    let mut inner = Writer::new();
                    self.encode_value(message, &field.type_, nullable_struct(field, version), compact, version, value, &mut inner)?;
                    tagged.push((tag, inner.into_bytes()));
                }
                Some(_) => {}
                None => self
                    .encode_value(message, &field.type_, nullable_struct(field, version), compact, version, value, writer)
                    .map_err(|error| format!("{}: {error}", field.name))?,
            }
        }
        if flexible {
            writer.uvarint(tagged.len() as u32);
            for (tag, bytes) in tagged {
                writer.uvarint(tag);
                writer.uvarint(bytes.len() as u32);
                writer.raw(&bytes);
            }
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "one place in a message is described by as much")]
    fn encode_value(
        &self,
        message: &Message,
        type_: &Type,
        nullable_struct: bool,
        compact: bool,
        version: i16,
        value: &Value,
        writer: &mut Writer,
    ) -> Result<()> {
        match type_ {
            Type::Scalar(kind) => return encode_scalar(kind, value, writer),
            Type::String if value.is_null() => put_len(writer, None, compact, 2),
            Type::String => {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                put_len(writer, Some(text.len()), compact, 2);
                writer.raw(text.as_bytes());
            }
            Type::Bytes | Type::Records if value.is_null() => put_len(writer, None, compact, 4),
            Type::Bytes | Type::Records => {
                let bytes = special::bytes(self, value)?;
                put_len(writer, Some(bytes.len()), compact, 4);
                writer.raw(&bytes);
            }
            Type::Struct(_) if nullable_struct && value.is_null() => writer.i8(-1),
            Type::Struct(name) => {
                if nullable_struct {
                    writer.i8(1);
                }
                self.encode_fields(message, structure(message, name)?, version, value, writer)?;
            }
            Type::Array(_) if value.is_null() => put_len(writer, None, compact, 4),
            Type::Array(element) => {
                let elements = value.as_array().ok_or_else(|| format!("an array is wanted, not {value}"))?;
                put_len(writer, Some(elements.len()), compact, 4);
                for value in elements {
                    self.encode_value(message, element, false, compact, version, value, writer)?;
                }
            }
        }
        Ok(())
    }

    /// The message in these bytes, all of them.
    pub(crate) fn decode(&self, name: &str, version: i16, bytes: Bytes) -> Result<Value> {
        let message = self.message(name)?;
        let mut reader = Reader::new(bytes);
        let value = self.decode_fields(message, &message.fields, version, &mut reader)?;
        match reader.remaining() {
            0 => Ok(value),
            left => Err(format!("{left} bytes behind {name} version {version}")),
        }
    }

    fn decode_fields(&self, message: &Message, fields: &[Field], version: i16, reader: &mut Reader) -> Result<Value> {
        let flexible = within(message.flexible, version);
        let mut map = Map::new();
        let mut tagged = BTreeMap::new();
        for field in fields.iter().filter(|field| within(field.versions, version)) {
            let compact = flexible && !field.never_flexible;
            match field.tag.filter(|(_, versions)| within(*versions, version)) {
                Some((tag, _)) => {
                    map.insert(json_name(field), default_of(field, &message.structs));
                    tagged.insert(tag, (field, compact));
                }
                None => {
                    let value = self
                        .decode_value(message, &field.type_, nullable_struct(field, version), compact, version, reader)
                        .map_err(|error| format!("{}: {error}", field.name))?;
                    map.insert(json_name(field), value);
                }
            }
        }
        if flexible {
            for _ in 0..reader.uvarint().map_err(text)? {
                let (tag, len) = (reader.uvarint().map_err(text)?, reader.uvarint().map_err(text)?);
                let mut inner = Reader::new(reader.take(len as usize).map_err(text)?);
                if let Some((field, compact)) = tagged.get(&tag) {
                    let nullable = nullable_struct(field, version);
                    map.insert(json_name(field), self.decode_value(message, &field.type_, nullable, *compact, version, &mut inner)?);
                } else {
                    map.insert(format!("tag{tag}"), show_bytes(&inner.into_rest()));
                }
            }
        }
        Ok(Value::Object(map))
    }

    fn decode_value(
        &self,
        message: &Message,
        type_: &Type,
        nullable_struct: bool,
        compact: bool,
        version: i16,
        reader: &mut Reader,
    ) -> Result<Value> {
        Ok(match type_ {
            Type::Scalar(kind) => decode_scalar(kind, reader)?,
            Type::String => match take_len(reader, compact, 2)? {
                None => Value::Null,
                Some(len) => Value::String(String::from_utf8_lossy(&reader.take(len).map_err(text)?).into_owned()),
            },
            Type::Bytes => match take_len(reader, compact, 4)? {
                None => Value::Null,
                Some(len) => show_bytes(&reader.take(len).map_err(text)?),
            },
            Type::Records => match take_len(reader, compact, 4)? {
                None => Value::Null,
                Some(len) => show_records(&reader.take(len).map_err(text)?),
            },
            Type::Struct(_) if nullable_struct && reader.i8().map_err(text)? < 0 => Value::Null,
            Type::Struct(name) => self.decode_fields(message, structure(message, name)?, version, reader)?,
            Type::Array(element) => match take_len(reader, compact, 4)? {
                None => Value::Null,
                Some(len) => {
                    (0..len).map(|_| self.decode_value(message, element, false, compact, version, reader)).collect::<Result<_>>()?
                }
            },
        })
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn within(versions: Versions, version: i16) -> bool {
    (versions.min..=versions.max).contains(&version)
}

fn structure<'a>(message: &'a Message, name: &str) -> Result<&'a [Field]> {
    message.structs.get(name).map(Vec::as_slice).ok_or_else(|| format!("{}: no structure {name}", message.name))
}

/// A structure that may be absent has a byte in front that says so.
fn nullable_struct(field: &Field, version: i16) -> bool {
    matches!(field.type_, Type::Struct(_)) && within(field.nullable, version)
}

/// `TopicId` is `topicId` in JSON.
fn json_name(field: &Field) -> String {
    let mut letters = field.name.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

fn default_of(field: &Field, structs: &BTreeMap<String, Vec<Field>>) -> Value {
    match (&field.type_, field.default.as_deref()) {
        (_, Some("null")) => Value::Null,
        (Type::Scalar(kind), default) if kind == "bool" => json!(default == Some("true")),
        (Type::Scalar(kind), None) if kind == "uuid" => json!(Uuid::ZERO.to_string()),
        (Type::Scalar(_), Some(number)) => json!(match number.strip_prefix("0x") {
            Some(digits) => i64::from_str_radix(digits, 16).unwrap_or(0),
            None => number.parse().unwrap_or(0),
        }),
        (Type::Scalar(_), None) => json!(0),
        (Type::String | Type::Bytes, default) => json!(default.unwrap_or("")),
        (Type::Records, _) => Value::Null,
        (Type::Array(_), _) => json!([]),
        (Type::Struct(name), _) => {
            let fields = structs.get(name).map_or(&[][..], Vec::as_slice);
            Value::Object(fields.iter().map(|field| (json_name(field), default_of(field, structs))).collect())
        }
    }
}

fn encode_scalar(kind: &str, value: &Value, writer: &mut Writer) -> Result<()> {
    let number = || value.as_i64().or_else(|| value.as_u64().map(|n| n as i64)).ok_or_else(|| format!("a number is wanted, not {value}"));
    match kind {
        "bool" => writer.bool(value.as_bool().ok_or_else(|| format!("true or false is wanted, not {value}"))?),
        "int8" => writer.i8(number()? as i8),
        "int16" | "uint16" => writer.i16(number()? as i16),
        "int32" | "uint32" => writer.i32(number()? as i32),
        "int64" => writer.i64(number()?),
        "float64" => writer.f64(value.as_f64().ok_or_else(|| format!("a number is wanted, not {value}"))?),
        "uuid" => writer.uuid(value.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| format!("a uuid is wanted, not {value}"))?),
        other => return Err(format!("no type {other}")),
    }
    Ok(())
}

fn decode_scalar(kind: &str, reader: &mut Reader) -> Result<Value> {
    Ok(match kind {
        "bool" => json!(reader.bool().map_err(text)?),
        "int8" => json!(reader.i8().map_err(text)?),
        "int16" => json!(reader.i16().map_err(text)?),
        "uint16" => json!(reader.i16().map_err(text)? as u16),
        "int32" => json!(reader.i32().map_err(text)?),
        "uint32" => json!(reader.i32().map_err(text)? as u32),
        "int64" => json!(reader.i64().map_err(text)?),
        "float64" => json!(reader.f64().map_err(text)?),
        "uuid" => json!(reader.uuid().map_err(text)?.to_string()),
        other => return Err(format!("no type {other}")),
    })
}

fn put_len(writer: &mut Writer, len: Option<usize>, compact: bool, width: usize) {
    match (compact, width) {
        (true, _) => writer.uvarint(len.map_or(0, |len| len as u32 + 1)),
        (false, 2) => writer.i16(len.map_or(-1, |len| len as i16)),
        (false, _) => writer.i32(len.map_or(-1, |len| len as i32)),
    }
}

fn take_len(reader: &mut Reader, compact: bool, width: usize) -> Result<Option<usize>> {
    let len = match (compact, width) {
        (true, _) => i64::from(reader.uvarint().map_err(text)?) - 1,
        (false, 2) => i64::from(reader.i16().map_err(text)?),
        (false, _) => i64::from(reader.i32().map_err(text)?),
    };
    match usize::try_from(len) {
        Ok(len) if len > reader.remaining() => Err(format!("a length of {len} with {} bytes left", reader.remaining())),
        Ok(len) => Ok(Some(len)),
        Err(_) => Ok(None),
    }
}

fn show_bytes(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => json!(text),
        _ => json!(format!("hex:{}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())),
    }
}

fn show_records(bytes: &Bytes) -> Value {
    let show_batch = |batch: &ottla::protocol::batch::BatchView<'_>| {
        let header = batch.header();
        let show = |record: std::result::Result<Record, _>| match record {
            Ok(record) => json!([
                record.offset,
                record.timestamp,
                record.key.as_deref().map(show_bytes),
                record.value.as_deref().map(show_bytes),
                record.headers.iter().map(|h| json!([show_bytes(&h.key), h.value.as_deref().map(show_bytes)])).collect::<Vec<_>>()
            ]),
            Err(error) => json!(format!("{error}")),
        };
        json!({
            "offsets": [header.base_offset, header.last_offset()],
            "leaderEpoch": header.partition_leader_epoch,
            "attributes": header.attributes,
            "maxTimestamp": header.max_timestamp,
            "producer": [header.producer_id, header.producer_epoch, header.base_sequence],
            "crc": if batch.verify_crc().is_ok() { "right" } else { "wrong" },
            "records": batch.records().map(show).collect::<Vec<_>>(),
        })
    };
    Batches::new(bytes).map(|batch| batch.map_or_else(|error| json!(format!("{error}")), |batch| show_batch(&batch))).collect()
}
