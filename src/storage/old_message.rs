//! Messages of the formats before Kafka 0.11 (magic 0 and 1), as far as it takes to show them. Nothing here writes them, and no broker
//! of this build serves them.
//!
//! ```text
//!   offset i64, length i32 | crc u32, magic i8, attributes i8, [timestamp i64 from magic 1 on], key (i32, bytes), value (i32, bytes)
//! ```
//! A compressed message's value holds the messages proper; with magic 1 their offsets count from that of the first.
//! Sources: `LegacyRecord`, `AbstractLegacyRecordBatch`.

use bytes::Bytes;

use crate::protocol::compression::Compression;

/// Offset and length.
const OVERHEAD: usize = 12;
/// What a compressed message may expand to.
const MOST_BYTES: usize = 256 << 20;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldMessage {
    pub offset: i64,
    /// Bytes with offset and length.
    pub size_bytes: u64,
    pub magic: i8,
    /// As stored.
    pub crc: u32,
    pub is_valid: bool,
    attributes: i8,
    /// Milliseconds since 1970; -1 where the format has none.
    pub timestamp: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
}

impl OldMessage {
    /// A whole message, offset and length included. The error is the reason.
    pub(super) fn parse(bytes: &Bytes) -> Result<OldMessage, &'static str> {
        const ENDS_EARLY: &str = "the message ends before its fields do";
        fn number<const N: usize>(bytes: &Bytes, at: &mut usize) -> Result<[u8; N], &'static str> {
            let found = bytes.get(*at..).and_then(|rest| rest.first_chunk::<N>()).copied().ok_or(ENDS_EARLY)?;
            *at += N;
            Ok(found)
        }
        fn field(bytes: &Bytes, at: &mut usize) -> Result<Option<Bytes>, &'static str> {
            let Ok(len) = usize::try_from(i32::from_be_bytes(number(bytes, at)?)) else { return Ok(None) };
            let end = at.checked_add(len).filter(|end| *end <= bytes.len()).ok_or(ENDS_EARLY)?;
            let field = bytes.slice(*at..end);
            *at = end;
            Ok(Some(field))
        }
        let mut at = 0;
        let offset = i64::from_be_bytes(number(bytes, &mut at)?);
        at = OVERHEAD;
        let crc = u32::from_be_bytes(number(bytes, &mut at)?);
        let mut computed = flate2::Crc::new();
        computed.update(&bytes[at..]);
        let [magic, attributes] = number(bytes, &mut at)?.map(u8::cast_signed);
        let timestamp = if magic == 0 { -1 } else { i64::from_be_bytes(number(bytes, &mut at)?) };
        let key = field(bytes, &mut at)?;
        let value = field(bytes, &mut at)?;
        let (size_bytes, is_valid) = (bytes.len() as u64, computed.sum() == crc);
        Ok(OldMessage { offset, size_bytes, magic, crc, is_valid, attributes, timestamp, key, value })
    }

    /// Kafka's name of what the timestamp means.
    pub fn timestamp_type(&self) -> &'static str {
        match (self.magic, self.attributes & 0x08) {
            (0, _) => "NoTimestampType",
            (_, 0) => "CreateTime",
            _ => "LogAppendTime",
        }
    }

    /// The codec; the error is its unknown number.
    pub fn compression(&self) -> Result<Compression, u8> {
        let id = (self.attributes & 0x07).cast_unsigned();
        Compression::from_id(id).ok_or(id)
    }

    /// The messages proper: this one, or those in it. The error is the reason.
    pub fn messages(&self) -> Result<Vec<OldMessage>, String> {
        let compression = self.compression().map_err(|id| format!("Unknown compression type id: {id}"))?;
        if compression == Compression::None {
            return Ok(vec![self.clone()]);
        }
        let value = self.value.as_ref().ok_or("Found invalid compressed record set with null value")?;
        let content = Bytes::from(compression.decompress(value, MOST_BYTES).map_err(|error| error.to_string())?);
        let (mut messages, mut at) = (Vec::new(), 0);
        while let Some(length) = content.get(at + 8..).and_then(|rest| rest.first_chunk::<4>()) {
            let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| "a message has a negative length")?;
            let end = at + OVERHEAD + length;
            if end > content.len() {
                break;
            }
            messages.push(OldMessage::parse(&content.slice(at..end))?);
            at = end;
        }
        if self.magic > 0 {
            let last = messages.last().map_or(0, |message| message.offset);
            for message in &mut messages {
                message.offset = message.offset.wrapping_add(self.offset.wrapping_sub(last));
                if self.timestamp_type() == "LogAppendTime" {
                    (message.timestamp, message.attributes) = (self.timestamp, message.attributes | 0x08);
                }
            }
        }
        Ok(messages)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The bytes of a message; `timestamp` makes it one of magic 1.
    pub(in crate::storage) fn message(
        offset: i64,
        attributes: u8,
        timestamp: Option<i64>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Vec<u8> {
        let mut body = vec![u8::from(timestamp.is_some()), attributes];
        body.extend(timestamp.into_iter().flat_map(i64::to_be_bytes));
        for field in [key, value] {
            body.extend(field.map_or(-1, |field| field.len() as i32).to_be_bytes());
            body.extend(field.unwrap_or_default());
        }
        let mut crc = flate2::Crc::new();
        crc.update(&body);
        [&offset.to_be_bytes()[..], &(body.len() as i32 + 4).to_be_bytes(), &crc.sum().to_be_bytes(), &body].concat()
    }

    #[test]
    fn messages_of_both_formats_are_read() {
        let plain = OldMessage::parse(&message(7, 0, None, Some(b"k"), None).into()).expect("parsed");
        assert_eq!((plain.offset, plain.magic, plain.timestamp, plain.is_valid), (7, 0, -1, true));
        assert_eq!((plain.key, plain.value), (Some(Bytes::from_static(b"k")), None));
        let inner = [message(0, 0, Some(5), None, Some(b"a")), message(1, 0, Some(6), None, Some(b"b"))].concat();
        let mut gzip = Vec::new();
        Compression::Gzip.compress_into(None, &inner, &mut gzip).expect("compressed");
        let wrapper = OldMessage::parse(&message(11, 1, Some(6), None, Some(&gzip)).into()).expect("parsed");
        let messages = wrapper.messages().expect("decompressed");
        assert_eq!(messages.iter().map(|message| (message.offset, message.timestamp)).collect::<Vec<_>>(), [(10, 5), (11, 6)]);
        let mut broken = message(7, 0, None, Some(b"k"), Some(b"v"));
        broken[26] = 99;
        assert!(OldMessage::parse(&broken.into()).is_err_and(|reason| reason.contains("ends before")));
    }
}
