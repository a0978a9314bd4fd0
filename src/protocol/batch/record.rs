//! Records: what a batch holds, borrowed, owned or summed up, and the varints they are made of.
//!
//! Source: Kafka's `DefaultRecord` and `ByteUtils`. As there, any negative size of a key, a value or a header's value means null, and
//! the bits a varint's last byte has too many are dropped.

use super::header::{BatchHeader, TimestampType};
use bytes::Bytes;

/// A record of its own. Header keys need not be UTF-8 and may repeat.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Record {
    pub offset: i64,
    /// Milliseconds since the epoch, -1 for none; the batch's append time where the broker sets timestamps.
    pub timestamp: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<RecordHeader>,
}

/// One header of a record.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RecordHeader {
    pub key: Bytes,
    pub value: Option<Bytes>,
}

/// A record that borrows its bytes. Its structure has been checked whole, so its parts cannot fail.
#[derive(Clone, Copy, Debug)]
pub struct RecordRef<'a> {
    pub offset: i64,
    pub timestamp: i64,
    /// Bytes of the record in the uncompressed batch, its own length field included.
    pub size_bytes: usize,
    /// No bit has a meaning yet.
    pub attributes: i8,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    headers: &'a [u8],
    header_count: usize,
}

impl<'a> RecordRef<'a> {
    /// The headers in their order, duplicates included.
    pub fn headers(&self) -> HeaderRefs<'a> {
        HeaderRefs { cursor: Cursor::new(self.headers), remaining: self.header_count }
    }

    pub fn header_count(&self) -> usize {
        self.header_count
    }

    /// A copy that stands alone: one allocation for all bytes, one for the headers if there are any.
    pub fn to_record(&self) -> Record {
        let key_len = self.key.map_or(0, <[u8]>::len);
        let value_len = self.value.map_or(0, <[u8]>::len);
        let mut all = Vec::with_capacity(key_len + value_len + self.headers.len());
        all.extend_from_slice(self.key.unwrap_or_default());
        all.extend_from_slice(self.value.unwrap_or_default());
        all.extend_from_slice(self.headers);
        let all = Bytes::from(all);
        let headers_start = key_len + value_len;
        let mut cursor = Cursor::new(&all[headers_start..]);
        let headers = (0..self.header_count)
            .map_while(|_| {
                let (key, value) = cursor.header().ok()?;
                let slice = |range: std::ops::Range<usize>| all.slice(headers_start + range.start..headers_start + range.end);
                Some(RecordHeader { key: slice(key), value: value.map(slice) })
            })
            .collect();
        Record {
            offset: self.offset,
            timestamp: self.timestamp,
            key: self.key.map(|_| all.slice(..key_len)),
            value: self.value.map(|_| all.slice(key_len..headers_start)),
            headers,
        }
    }

    /// The same record as slices of `owner`, which must hold this one's bytes.
    pub fn to_record_in(self, owner: &Bytes) -> Record {
        let slice = |bytes: &[u8]| owner.slice_ref(bytes);
        Record {
            offset: self.offset,
            timestamp: self.timestamp,
            key: self.key.map(slice),
            value: self.value.map(slice),
            headers: self.headers().map(|(key, value)| RecordHeader { key: slice(key), value: value.map(slice) }).collect(),
        }
    }
}

/// The headers of a [`RecordRef`]: keys and values.
#[derive(Clone, Debug)]
pub struct HeaderRefs<'a> {
    cursor: Cursor<'a>,
    remaining: usize,
}

impl<'a> Iterator for HeaderRefs<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.remaining = self.remaining.checked_sub(1)?;
        let bytes = self.cursor.bytes;
        let (key, value) = self.cursor.header().ok()?;
        Some((&bytes[key], value.map(|range| &bytes[range])))
    }
}

/// What validation needs of a record, without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordSummary {
    pub offset: i64,
    pub timestamp: i64,
    /// Bytes of the record in the uncompressed batch, its own length field included.
    pub size_bytes: usize,
    pub attributes: i8,
    /// `None` for a null key.
    pub key_len: Option<usize>,
    /// `None` for a null value.
    pub value_len: Option<usize>,
}

/// What turns a record's deltas into offsets and timestamps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Base {
    offset: i64,
    timestamp: i64,
    log_append_time: Option<i64>,
}

impl Base {
    pub(super) fn of(header: &BatchHeader) -> Base {
        Base {
            offset: header.base_offset,
            timestamp: header.base_timestamp,
            log_append_time: (header.timestamp_type() == TimestampType::LogAppendTime).then_some(header.max_timestamp),
        }
    }

    #[inline]
    pub(super) fn offset(&self, delta: i32) -> i64 {
        self.offset.wrapping_add(i64::from(delta))
    }

    #[inline]
    pub(super) fn timestamp(&self, delta: i64) -> i64 {
        self.log_append_time.unwrap_or_else(|| self.timestamp.wrapping_add(delta))
    }
}

/// Parses one record's body: all that its length field counts. The error is the reason.
pub(super) fn parse_body(body: &[u8], base: Base) -> Result<RecordRef<'_>, &'static str> {
    let mut cursor = Cursor::new(body);
    let attributes = cursor.byte()? as i8;
    let timestamp = base.timestamp(cursor.varlong()?);
    let offset = base.offset(cursor.varint()?);
    let key = cursor.nullable()?;
    let value = cursor.nullable()?;
    let header_count = header_count(cursor.varint()?, cursor.remaining())?;
    let headers = &body[cursor.position..];
    for _ in 0..header_count {
        cursor.header()?;
    }
    if cursor.remaining() != 0 {
        return Err("its length is larger than its content");
    }
    Ok(RecordRef {
        offset,
        timestamp,
        size_bytes: varint_size(body.len() as i32) + body.len(),
        attributes,
        key: key.map(|range| &body[range]),
        value: value.map(|range| &body[range]),
        headers,
        header_count,
    })
}

/// A header takes at least a byte, so a larger count is a lie.
#[inline]
pub(super) fn header_count(count: i32, remaining: usize) -> Result<usize, &'static str> {
    let count = usize::try_from(count).map_err(|_| "negative number of headers")?;
    if count > remaining { Err("more headers than bytes") } else { Ok(count) }
}

pub(super) const ENDS_EARLY: &str = "it ends before its declared length";

/// Where varints are read from, a byte at a time.
pub(super) trait Varints {
    type Error: From<&'static str>;

    fn byte(&mut self) -> Result<u8, Self::Error>;

    fn varint(&mut self) -> Result<i32, Self::Error> {
        let mut value = 0u32;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1) as i32 ^ -((value & 1) as i32));
            }
        }
        Err("a varint is longer than 5 bytes".into())
    }

    fn varlong(&mut self) -> Result<i64, Self::Error> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err("a varint is longer than 10 bytes".into())
    }
}

impl Varints for Cursor<'_> {
    type Error = &'static str;

    #[inline]
    fn byte(&mut self) -> Result<u8, &'static str> {
        let byte = *self.bytes.get(self.position).ok_or(ENDS_EARLY)?;
        self.position += 1;
        Ok(byte)
    }
}

/// Reads varints and ranges off a slice.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) position: usize,
}

type Range = std::ops::Range<usize>;

impl<'a> Cursor<'a> {
    #[inline]
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes, position: 0 }
    }

    #[inline]
    pub(super) fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    #[inline]
    pub(super) fn take(&mut self, len: usize) -> Result<Range, &'static str> {
        if len > self.remaining() {
            return Err(ENDS_EARLY);
        }
        let start = self.position;
        self.position += len;
        Ok(start..self.position)
    }

    #[inline]
    fn nullable(&mut self) -> Result<Option<Range>, &'static str> {
        match usize::try_from(self.varint()?) {
            Ok(len) => self.take(len).map(Some),
            Err(_) => Ok(None),
        }
    }

    fn header(&mut self) -> Result<(Range, Option<Range>), &'static str> {
        let len = usize::try_from(self.varint()?).map_err(|_| NULL_HEADER_KEY)?;
        Ok((self.take(len)?, self.nullable()?))
    }
}

pub(super) const NULL_HEADER_KEY: &str = "negative size of a header's key";

#[inline]
pub(super) fn put_varint(out: &mut Vec<u8>, value: i32) {
    put_varlong(out, i64::from(value));
}

#[inline]
pub(super) fn put_varlong(out: &mut Vec<u8>, value: i64) {
    let mut value = ((value << 1) ^ (value >> 63)) as u64;
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[inline]
pub(super) fn varint_size(value: i32) -> usize {
    varlong_size(i64::from(value))
}

#[inline]
pub(super) fn varlong_size(value: i64) -> usize {
    let value = ((value << 1) ^ (value >> 63)) as u64;
    ((70 - (value | 1).leading_zeros()) / 7) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_round_trip_and_know_their_size() {
        for shift in 0..64 {
            for value in [1i64 << shift, -(1i64 << shift.min(62)), (1i64 << shift).wrapping_sub(1)] {
                let mut out = Vec::new();
                put_varlong(&mut out, value);
                assert_eq!(out.len(), varlong_size(value), "{value}");
                assert_eq!(Cursor::new(&out).varlong(), Ok(value));
                let small = value as i32;
                out.clear();
                put_varint(&mut out, small);
                assert_eq!(out.len(), varint_size(small), "{small}");
                assert_eq!(Cursor::new(&out).varint(), Ok(small));
            }
        }
    }

    #[test]
    fn endless_varints_are_refused() {
        assert!(Cursor::new(&[0xff; 20]).varint().is_err());
        assert!(Cursor::new(&[0xff; 20]).varlong().is_err());
        assert!(Cursor::new(&[0xff; 3]).varint().is_err());
    }
}
