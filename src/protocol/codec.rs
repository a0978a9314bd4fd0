//! Reading and writing the primitive types of Kafka's protocol, without trust in what the wire says.
//!
//! Invariants:
//! - A decoder never allocates by a length or count that it read, only by the bytes that are really there: strings and byte
//!   fields are checked against the remaining input first, arrays start with a capacity bounded by it and grow with what was decoded.
//! - Byte fields are slices of the input ([`Bytes`]), not copies.
//! - Record data that lies in a file stays there: the [`Writer`] notes the place, the connection sends it from the kernel.
//!
//! Sources: the protocol guide's primitive types; KIP-482 (compact types, tagged fields).

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::records::Records;
use crate::common::file_slice::FileSlice;
use crate::common::uuid::Uuid;

/// Why bytes are not the message they claim to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("{wanted} bytes wanted, {remaining} left")]
    Truncated { wanted: usize, remaining: usize },
    #[error("invalid length {0}")]
    InvalidLength(i64),
    #[error("a variable-length integer is too long")]
    VarintTooLong,
    #[error("a string is not UTF-8")]
    NotUtf8,
    #[error("non-nullable field {0} was serialized as null")]
    Null(&'static str),
    #[error("{0} bytes left over")]
    TrailingBytes(usize),
    #[error("{message} has no version {version}")]
    UnsupportedVersion { message: &'static str, version: i16 },
    #[error("tag {0} appears twice or out of order")]
    TagOrder(u32),
}

/// Why a message cannot be written at a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    #[error("{message} has no version {version}")]
    UnsupportedVersion { message: &'static str, version: i16 },
    #[error("attempted to write a non-default {field} at version {version}")]
    FieldNotInVersion { field: &'static str, version: i16 },
    #[error("field {0} may not be null at this version")]
    Null(&'static str),
    #[error("{0} bytes are too long for their field")]
    TooLong(usize),
}

/// First to last version, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionRange {
    pub min: i16,
    pub max: i16,
}

impl VersionRange {
    pub const fn new(min: i16, max: i16) -> VersionRange {
        VersionRange { min, max }
    }

    pub const fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }
}

/// A message of Kafka's protocol or a record value in one of its internal topics. Implementations are generated.
pub trait Message: Default + Clone + std::fmt::Debug + PartialEq + Send + Sync + 'static {
    /// The schema's name, such as `FetchRequest`.
    const NAME: &'static str;
    /// The versions that this code reads and writes.
    const VERSIONS: VersionRange;
    /// The first version with compact types and tagged fields; `i16::MAX` when there is none.
    const FLEXIBLE_FROM: i16;

    /// Reads one message, leaving what follows it in `reader`.
    fn decode(reader: &mut Reader, version: i16) -> Result<Self, DecodeError>;

    /// Appends the message. Fails when a field that `version` lacks holds something other than its default and the schema
    /// does not call it ignorable.
    fn encode(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError>;

    /// The message as Kafka's own JSON converters print it.
    fn to_json(&self, version: i16) -> serde_json::Value;

    /// How long the client shall send nothing more on the connection, in milliseconds (KIP-219); 0 in messages that cannot say it.
    fn throttle_time_ms(&self) -> i32 {
        0
    }

    /// Sets what [`Message::throttle_time_ms`] gives, in messages that can say it.
    fn set_throttle_time_ms(&mut self, _throttle_time_ms: i32) {}
    /// Visits every error code of a response, NONE among them, whatever the version; other messages have none.
    fn each_error_code(&self, _visit: &mut dyn FnMut(i16)) {}

    /// Reads a message that fills `bytes`.
    fn from_bytes(bytes: Bytes, version: i16) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let message = Self::decode(&mut reader, version)?;
        match reader.remaining() {
            0 => Ok(message),
            left => Err(DecodeError::TrailingBytes(left)),
        }
    }

    /// The message's bytes. Record data that lies in files is left out; see [`Writer::finish`].
    fn to_bytes(&self, version: i16) -> Result<Bytes, EncodeError> {
        let mut writer = Writer::new();
        self.encode(&mut writer, version)?;
        Ok(writer.into_bytes())
    }

    /// The number of bytes that [`Message::to_bytes`] gives.
    fn size(&self, version: i16) -> Result<usize, EncodeError> {
        self.to_bytes(version).map(|bytes| bytes.len())
    }
}

/// A request, and what answers it.
pub trait Request: Message {
    const KEY: super::api_key::ApiKey;
    type Response: Message;
}

/// A tagged field that this code does not know, kept as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaggedField {
    pub tag: u32,
    pub data: Bytes,
}

/// The unknown tagged fields of one structure, in ascending order; usually none, so it is one pointer wide.
#[derive(Clone, Default, PartialEq, Eq)]
#[allow(clippy::box_collection, reason = "every structure carries one of these, and a vector would treble what an empty one takes")]
pub struct TaggedFields(Option<Box<Vec<TaggedField>>>);

impl TaggedFields {
    pub fn as_slice(&self) -> &[TaggedField] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Adds a field; tags come in ascending order.
    pub fn push(&mut self, field: TaggedField) {
        self.0.get_or_insert_default().push(field);
    }
}

impl std::fmt::Debug for TaggedFields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.as_slice()).finish()
    }
}

/// A cursor over received bytes.
#[derive(Debug, Clone)]
pub struct Reader {
    bytes: Bytes,
}

macro_rules! fixed {
    ($($name:ident $get:ident $type:ty),*) => {
        $(
            pub fn $name(&mut self) -> Result<$type, DecodeError> {
                self.check(size_of::<$type>())?;
                Ok(self.bytes.$get())
            }
        )*
    };
}

impl Reader {
    pub fn new(bytes: Bytes) -> Reader {
        Reader { bytes }
    }

    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// What has not been read yet.
    pub fn into_rest(self) -> Bytes {
        self.bytes
    }

    fn check(&self, wanted: usize) -> Result<(), DecodeError> {
        match self.bytes.len() {
            remaining if remaining < wanted => Err(DecodeError::Truncated { wanted, remaining }),
            _ => Ok(()),
        }
    }

    fixed!(i8 get_i8 i8, i16 get_i16 i16, u16 get_u16 u16, i32 get_i32 i32, u32 get_u32 u32, i64 get_i64 i64, f64 get_f64 f64);

    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.i8()? != 0)
    }

    pub fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        self.check(16)?;
        let mut bytes = [0; 16];
        self.bytes.copy_to_slice(&mut bytes);
        Ok(Uuid(bytes))
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<Bytes, DecodeError> {
        self.check(len)?;
        Ok(self.bytes.split_to(len))
    }

    /// An unsigned LEB128 integer of at most 32 bits.
    pub fn uvarint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0u32;
        for shift in (0..35).step_by(7) {
            self.check(1)?;
            let byte = self.bytes.get_u8();
            if shift == 28 && byte > 0x0f {
                return Err(DecodeError::VarintTooLong);
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::VarintTooLong)
    }

    /// The length of a string, bytes or array: `None` is null.
    fn len(&mut self, classic: Length, flexible: bool) -> Result<Option<usize>, DecodeError> {
        let len = if flexible {
            i64::from(self.uvarint()?) - 1
        } else {
            match classic {
                Length::I16 => i64::from(self.i16()?),
                Length::I32 => i64::from(self.i32()?),
            }
        };
        match len {
            -1 => Ok(None),
            len => usize::try_from(len).map(Some).map_err(|_| DecodeError::InvalidLength(len)),
        }
    }

    pub fn nullable_string(&mut self, flexible: bool) -> Result<Option<String>, DecodeError> {
        let Some(len) = self.len(Length::I16, flexible)? else { return Ok(None) };
        self.check(len)?;
        let text = std::str::from_utf8(&self.bytes[..len]).map_err(|_| DecodeError::NotUtf8)?.to_owned();
        self.bytes.advance(len);
        Ok(Some(text))
    }

    pub fn string(&mut self, flexible: bool, field: &'static str) -> Result<String, DecodeError> {
        self.nullable_string(flexible)?.ok_or(DecodeError::Null(field))
    }

    pub fn nullable_bytes(&mut self, flexible: bool) -> Result<Option<Bytes>, DecodeError> {
        self.len(Length::I32, flexible)?.map(|len| self.take(len)).transpose()
    }

    pub fn bytes(&mut self, flexible: bool, field: &'static str) -> Result<Bytes, DecodeError> {
        self.nullable_bytes(flexible)?.ok_or(DecodeError::Null(field))
    }

    pub fn nullable_records(&mut self, flexible: bool) -> Result<Option<Records>, DecodeError> {
        Ok(self.nullable_bytes(flexible)?.map(Records::Bytes))
    }

    pub fn records(&mut self, flexible: bool, field: &'static str) -> Result<Records, DecodeError> {
        self.bytes(flexible, field).map(Records::Bytes)
    }

    pub fn nullable_array<T>(
        &mut self,
        flexible: bool,
        mut element: impl FnMut(&mut Reader) -> Result<T, DecodeError>,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let Some(count) = self.len(Length::I32, flexible)? else { return Ok(None) };
        // No element of any schema is smaller than a byte.
        self.check(count)?;
        let mut elements = Vec::with_capacity(count.min(self.remaining() / size_of::<T>().max(1) + 1));
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Ok(Some(elements))
    }

    pub fn array<T>(
        &mut self,
        flexible: bool,
        field: &'static str,
        element: impl FnMut(&mut Reader) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        self.nullable_array(flexible, element)?.ok_or(DecodeError::Null(field))
    }

    /// The section of tagged fields at the end of a flexible structure. `known` reads the fields it knows from a reader over just
    /// that field's bytes, and says whether it knew the tag.
    pub fn tagged_fields(
        &mut self,
        unknown: &mut TaggedFields,
        mut known: impl FnMut(u32, &mut Reader) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        let mut previous = None;
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            if previous.is_some_and(|previous| tag <= previous) {
                return Err(DecodeError::TagOrder(tag));
            }
            previous = Some(tag);
            let len = self.uvarint()? as usize;
            let data = self.take(len)?;
            let mut field = Reader::new(data.clone());
            if !known(tag, &mut field)? {
                unknown.push(TaggedField { tag, data });
            } else if field.remaining() > 0 {
                return Err(DecodeError::TrailingBytes(field.remaining()));
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Length {
    I16,
    I32,
}

/// A part of a frame: bytes in memory, or bytes of a file that are still there.
#[derive(Debug, Clone)]
pub enum Chunk {
    Bytes(Bytes),
    File(FileSlice),
}

impl Chunk {
    pub fn len(&self) -> usize {
        match self {
            Chunk::Bytes(bytes) => bytes.len(),
            Chunk::File(slice) => slice.len,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Collects the bytes of a message.
#[derive(Debug, Default)]
pub struct Writer {
    /// Finished chunks; large byte fields are kept as they are instead of being copied.
    chunks: Vec<Chunk>,
    tail: BytesMut,
    /// Bytes in `chunks`.
    chunks_len: usize,
}

/// Byte fields from this size on are referenced, not copied.
const COPY_LIMIT: usize = 4096;

macro_rules! put {
    ($($name:ident $put:ident $type:ty),*) => {
        $(
            pub fn $name(&mut self, value: $type) {
                self.tail.$put(value);
            }
        )*
    };
}

impl Writer {
    pub fn new() -> Writer {
        Writer::default()
    }

    /// All bytes written so far, those in files included.
    pub fn len(&self) -> usize {
        self.chunks_len + self.tail.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The frame's parts, in order.
    pub fn finish(mut self) -> Vec<Chunk> {
        self.cut();
        self.chunks
    }

    /// Everything in one piece; without the records that lie in files.
    pub fn into_bytes(mut self) -> Bytes {
        if self.chunks.is_empty() {
            return self.tail.freeze();
        }
        self.cut();
        let mut all = BytesMut::with_capacity(self.chunks_len);
        for chunk in &self.chunks {
            if let Chunk::Bytes(bytes) = chunk {
                all.extend_from_slice(bytes);
            }
        }
        all.freeze()
    }

    fn cut(&mut self) {
        if !self.tail.is_empty() {
            let bytes = self.tail.split().freeze();
            self.chunks_len += bytes.len();
            self.chunks.push(Chunk::Bytes(bytes));
        }
    }

    fn chunk(&mut self, chunk: Chunk) {
        self.cut();
        self.chunks_len += chunk.len();
        self.chunks.push(chunk);
    }

    put!(i8 put_i8 i8, i16 put_i16 i16, u16 put_u16 u16, i32 put_i32 i32, u32 put_u32 u32, i64 put_i64 i64, f64 put_f64 f64);

    pub fn bool(&mut self, value: bool) {
        self.i8(i8::from(value));
    }

    pub fn uuid(&mut self, value: Uuid) {
        self.tail.put_slice(&value.0);
    }

    /// Bytes as they are, with no length in front.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.tail.put_slice(bytes);
    }

    pub fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.tail.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.tail.put_u8(value as u8);
    }

    fn put_len(&mut self, len: Option<usize>, classic: Length, flexible: bool) -> Result<(), EncodeError> {
        let too_long = || EncodeError::TooLong(len.unwrap_or(0));
        if flexible {
            let len = len.map_or(Some(0), |len| len.checked_add(1)).ok_or_else(too_long)?;
            self.uvarint(u32::try_from(len).map_err(|_| too_long())?);
            return Ok(());
        }
        match (len, classic) {
            (None, Length::I16) => self.i16(-1),
            (None, Length::I32) => self.i32(-1),
            (Some(len), Length::I16) => self.i16(i16::try_from(len).map_err(|_| too_long())?),
            (Some(len), Length::I32) => self.i32(i32::try_from(len).map_err(|_| too_long())?),
        }
        Ok(())
    }

    pub fn string(&mut self, flexible: bool, value: &str) -> Result<(), EncodeError> {
        self.put_len(Some(value.len()), Length::I16, flexible)?;
        self.tail.put_slice(value.as_bytes());
        Ok(())
    }

    pub fn nullable_string(&mut self, flexible: bool, value: Option<&str>) -> Result<(), EncodeError> {
        match value {
            Some(value) => self.string(flexible, value),
            None => self.put_len(None, Length::I16, flexible),
        }
    }

    pub fn bytes(&mut self, flexible: bool, value: &Bytes) -> Result<(), EncodeError> {
        self.put_len(Some(value.len()), Length::I32, flexible)?;
        if value.len() < COPY_LIMIT {
            self.tail.put_slice(value);
        } else {
            self.chunk(Chunk::Bytes(value.clone()));
        }
        Ok(())
    }

    pub fn nullable_bytes(&mut self, flexible: bool, value: Option<&Bytes>) -> Result<(), EncodeError> {
        match value {
            Some(value) => self.bytes(flexible, value),
            None => self.put_len(None, Length::I32, flexible),
        }
    }

    pub fn records(&mut self, flexible: bool, value: &Records) -> Result<(), EncodeError> {
        match value {
            Records::Bytes(bytes) => self.bytes(flexible, bytes),
            Records::File(slice) => {
                self.put_len(Some(slice.len), Length::I32, flexible)?;
                self.chunk(Chunk::File(slice.clone()));
                Ok(())
            }
        }
    }

    pub fn nullable_records(&mut self, flexible: bool, value: Option<&Records>) -> Result<(), EncodeError> {
        match value {
            Some(value) => self.records(flexible, value),
            None => self.put_len(None, Length::I32, flexible),
        }
    }

    pub fn array<T>(
        &mut self,
        flexible: bool,
        values: &[T],
        mut element: impl FnMut(&mut Writer, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.put_len(Some(values.len()), Length::I32, flexible)?;
        values.iter().try_for_each(|value| element(self, value))
    }

    pub fn nullable_array<T>(
        &mut self,
        flexible: bool,
        values: Option<&[T]>,
        element: impl FnMut(&mut Writer, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        match values {
            Some(values) => self.array(flexible, values, element),
            None => self.put_len(None, Length::I32, flexible),
        }
    }

    /// The tagged section: `known` (ascending, already encoded) merged with what was unknown when the structure was read.
    pub fn tagged_fields(&mut self, known: &[TaggedField], unknown: &TaggedFields) {
        let mut fields: Vec<&TaggedField> = known.iter().chain(unknown.as_slice()).collect();
        fields.sort_by_key(|field| field.tag);
        self.uvarint(fields.len() as u32);
        for field in fields {
            self.uvarint(field.tag);
            self.uvarint(field.data.len() as u32);
            self.raw(&field.data);
        }
    }
}

/// One tagged field, encoded on its own; a part of the generated code.
pub(crate) fn tagged(tag: u32, encode: impl FnOnce(&mut Writer) -> Result<(), EncodeError>) -> Result<TaggedField, EncodeError> {
    let mut writer = Writer::new();
    encode(&mut writer)?;
    Ok(TaggedField { tag, data: writer.into_bytes() })
}

/// Values as Kafka's JSON converters print them; a part of the generated code.
pub(crate) mod json {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::Value;

    use super::Records;

    pub(crate) fn bytes(value: &[u8]) -> Value {
        Value::String(STANDARD.encode(value))
    }

    /// Kafka prints no record data: an empty string says that there is some.
    pub(crate) fn records(_: &Records) -> Value {
        Value::String(String::new())
    }

    pub(crate) fn array<T>(values: &[T], element: impl FnMut(&T) -> Value) -> Value {
        Value::Array(values.iter().map(element).collect())
    }
}
