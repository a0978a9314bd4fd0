//! Batches over bytes somebody else owns, and the ways to their records.

use super::header::{BatchHeader, compute_crc};
use super::record::{Base, Cursor, ENDS_EARLY, NULL_HEADER_KEY, Varints, header_count, parse_body, varint_size};
use super::{BATCH_OVERHEAD, BatchError, DecompressionLimits, Record, RecordRef, RecordSummary};
use crate::protocol::compression::{Compression, Decompressor};
use bytes::Bytes;
use std::io::{BufRead, BufReader};

/// The batches in `bytes`, one after the other. Ends at the end of the bytes or after its first error, whose position counts from
/// their start; [`Batches::position`] then still says where the valid batches end.
///
/// Only lengths and magic are checked: see [`BatchView::verify_crc`].
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    bytes: &'a [u8],
    position: usize,
    failed: bool,
}

impl<'a> Batches<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Batches { bytes, position: 0, failed: false }
    }

    /// Bytes of the batches returned so far: where the next one starts, or where the invalid one does.
    pub fn position(&self) -> usize {
        self.position
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<BatchView<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.position == self.bytes.len() {
            return None;
        }
        match BatchView::parse(&self.bytes[self.position..]) {
            Ok(batch) => {
                self.position += batch.bytes.len();
                Some(Ok(batch))
            }
            Err(error) => {
                self.failed = true;
                Some(Err(error.at(self.position)))
            }
        }
    }
}

/// One whole batch: exactly its bytes, and its header parsed.
#[derive(Clone, Copy, Debug)]
pub struct BatchView<'a> {
    bytes: &'a [u8],
    header: BatchHeader,
}

impl<'a> BatchView<'a> {
    /// The batch at the start of `bytes`, which may go on after it. Errors as [`BatchHeader::parse`], and
    /// [`BatchError::Truncated`] when the bytes end before the batch does.
    pub fn parse(bytes: &'a [u8]) -> Result<BatchView<'a>, BatchError> {
        let header = BatchHeader::parse(bytes)?;
        match bytes.get(..header.size_bytes()) {
            Some(bytes) => Ok(BatchView { bytes, header }),
            None => Err(BatchError::Truncated { position: 0, needed: header.size_bytes(), available: bytes.len() }),
        }
    }

    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch, header included.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What follows the header, still compressed.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[BATCH_OVERHEAD..]
    }

    /// Compares the stored CRC-32C with that of the bytes. Error: [`BatchError::CrcMismatch`].
    pub fn verify_crc(&self) -> Result<(), BatchError> {
        let computed = compute_crc(self.bytes);
        if computed == self.header.crc { Ok(()) } else { Err(BatchError::CrcMismatch { stored: self.header.crc, computed }) }
    }

    /// The records, each a copy of its own, with the default [`DecompressionLimits`]. Ends after its first error.
    pub fn records(&self) -> RecordIter<'a> {
        self.records_within(DecompressionLimits::default())
    }

    /// As [`BatchView::records`], with other limits.
    pub fn records_within(&self, limits: DecompressionLimits) -> RecordIter<'a> {
        RecordIter { owner: None, walk: Walk::new(self, limits) }
    }

    /// As [`BatchView::records`], but an uncompressed batch's records share `owner`, which must hold this batch's bytes (else they
    /// are copied). The records then keep all of `owner` alive.
    pub fn records_shared(&self, owner: &Bytes) -> RecordIter<'a> {
        let outer = owner.as_ptr_range();
        let inner = self.bytes.as_ptr_range();
        let within = outer.start <= inner.start && inner.end <= outer.end;
        RecordIter { owner: within.then(|| owner.clone()), walk: Walk::new(self, DecompressionLimits::default()) }
    }

    /// The uncompressed records behind the header, all at once: what the batch holds itself, or `buffer`, which is then filled with them.
    /// That is faster than to stream them, and takes the memory of all.
    pub fn unpack<'b>(&self, limits: DecompressionLimits, buffer: &'b mut Vec<u8>) -> Result<&'b [u8], BatchError>
    where
        'a: 'b,
    {
        // A batch that compaction has emptied holds no stream at all.
        if self.header.record_count <= 0 {
            return Ok(self.payload());
        }
        let compression = self.header.compression()?;
        if compression == Compression::None {
            return Ok(self.payload());
        }
        buffer.clear();
        let limit = usize::try_from(limits.max_batch_bytes).unwrap_or(usize::MAX - 1);
        match compression.decompress_into(self.payload(), limit, buffer) {
            Ok(()) => Ok(buffer),
            Err(_) if buffer.len() > limit => Err(BatchError::TooLarge { limit: limits.max_batch_bytes }),
            Err(error) => Err(BatchError::Decompression { index: 0, reason: error.to_string() }),
        }
    }

    /// Calls `visit` with each record of `unpacked`, which [`BatchView::unpack`] gave. Stops at the first error, be it the batch's or the
    /// visitor's.
    pub fn visit_unpacked<'b, E: From<BatchError>>(
        &self,
        unpacked: &'b [u8],
        mut visit: impl FnMut(RecordRef<'b>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut walk = Walk::over(&self.header, unpacked);
        while let Some(body) = walk.next_plain() {
            visit(walk.parse(body?)?)?;
        }
        Ok(())
    }

    /// Calls `visit` with each record, borrowed: no allocation when uncompressed, one reused buffer else. Stops at the first error,
    /// be it the batch's or the visitor's.
    pub fn visit_records<E: From<BatchError>>(
        &self,
        limits: DecompressionLimits,
        mut visit: impl FnMut(RecordRef<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut walk = Walk::new(self, limits);
        let mut buffer = Vec::new();
        while let Some(body) = walk.next_body(&mut buffer) {
            visit(walk.parse(body?)?)?;
        }
        Ok(())
    }

    /// The records' sizes, offsets and timestamps, for which a compressed batch is streamed through a small buffer. Checks the
    /// structure as strictly as the other ways do. Ends after its first error.
    pub fn summaries(&self, limits: DecompressionLimits) -> Summaries<'a> {
        Summaries { walk: Walk::new(self, limits) }
    }
}

/// Owned records of a batch.
pub struct RecordIter<'a> {
    owner: Option<Bytes>,
    walk: Walk<'a>,
}

impl Iterator for RecordIter<'_> {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        // A fresh buffer for each: a decompressed record becomes slices of it.
        let mut buffer = Vec::new();
        let body = match self.walk.next_body(&mut buffer)? {
            Ok(body) => body,
            Err(error) => return Some(Err(error)),
        };
        if let Source::Plain(_) = self.walk.source {
            return Some(self.walk.parse(body).map(|record| match &self.owner {
                Some(owner) => record.to_record_in(owner),
                None => record.to_record(),
            }));
        }
        let body = Bytes::from(buffer);
        Some(self.walk.parse(&body).map(|record| record.to_record_in(&body)))
    }
}

/// Summaries of a batch's records.
pub struct Summaries<'a> {
    walk: Walk<'a>,
}

impl Iterator for Summaries<'_> {
    type Item = Result<RecordSummary, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.walk.next_summary()
    }
}

/// Goes from record to record; what it yields of them is up to the caller.
struct Walk<'a> {
    base: Base,
    limits: DecompressionLimits,
    /// Records the header declares.
    count: usize,
    /// Records read, the one just returned included.
    read: usize,
    source: Source<'a>,
}

enum Source<'a> {
    Plain(Cursor<'a>),
    Stream(Box<Stream<'a>>),
    /// Nothing more; the error that has not been returned yet.
    Ended(Option<BatchError>),
}

impl<'a> Walk<'a> {
    /// Over bytes that are not compressed, whatever the header says.
    fn over(header: &BatchHeader, unpacked: &'a [u8]) -> Self {
        let plain = Source::Plain(Cursor::new(unpacked));
        let source = Self::nothing_of(header).map_or(plain, Source::Ended);
        let count = usize::try_from(header.record_count).unwrap_or(0);
        Walk { base: Base::of(header), limits: DecompressionLimits::default(), count, read: 0, source }
    }

    /// What there is to say of a batch without records.
    fn nothing_of(header: &BatchHeader) -> Option<Option<BatchError>> {
        match header.record_count {
            0 => Some(None),
            ..0 => {
                let text = format!("Found invalid record count {} in magic v2 batch", header.record_count);
                Some(Some(BatchError::InvalidBatch(text)))
            }
            _ => None,
        }
    }

    /// The body of the next record of [`Walk::over`].
    fn next_plain(&mut self) -> Option<Result<&'a [u8], BatchError>> {
        self.step(
            |cursor| {
                let len = usize::try_from(cursor.varint()?).map_err(|_| NEGATIVE_LENGTH)?;
                let range = cursor.take(len)?;
                Ok(&cursor.bytes[range])
            },
            |_| Err(StreamError::Invalid(ENDS_EARLY)),
        )
    }

    fn new(batch: &BatchView<'a>, limits: DecompressionLimits) -> Self {
        let header = batch.header();
        let source = match (Self::nothing_of(header), header.compression()) {
            (Some(end), _) => Source::Ended(end),
            (None, Err(error)) => Source::Ended(Some(error)),
            (None, Ok(Compression::None)) => Source::Plain(Cursor::new(batch.payload())),
            (None, Ok(compression)) => match Decompressor::new(compression, batch.payload()) {
                Ok(decompressor) => Source::Stream(Box::new(Stream {
                    reader: BufReader::with_capacity(STREAM_BUFFER, decompressor),
                    remaining: limits.max_batch_bytes,
                })),
                Err(error) => Source::Ended(Some(BatchError::Decompression { index: 0, reason: error.to_string() })),
            },
        };
        Walk { base: Base::of(header), limits, count: usize::try_from(header.record_count).unwrap_or(0), read: 0, source }
    }

    /// The body of the next record: a slice of the batch, or of `buffer`, which is then filled with exactly it.
    fn next_body<'b>(&mut self, buffer: &'b mut Vec<u8>) -> Option<Result<&'b [u8], BatchError>>
    where
        'a: 'b,
    {
        let max_record_bytes = self.limits.max_record_bytes;
        self.step(
            |cursor| {
                let len = usize::try_from(cursor.varint()?).map_err(|_| NEGATIVE_LENGTH)?;
                let range = cursor.take(len)?;
                Ok(Some(&cursor.bytes[range]))
            },
            |stream| stream.body(buffer, max_record_bytes).map(|()| None),
        )
        .map(|result| result.map(|plain| plain.unwrap_or(buffer)))
    }

    fn next_summary(&mut self) -> Option<Result<RecordSummary, BatchError>> {
        let base = self.base;
        self.step(
            |cursor| {
                let len = usize::try_from(cursor.varint()?).map_err(|_| NEGATIVE_LENGTH)?;
                let record = parse_body(&cursor.bytes[cursor.take(len)?], base)?;
                Ok(RecordSummary {
                    offset: record.offset,
                    timestamp: record.timestamp,
                    size_bytes: record.size_bytes,
                    attributes: record.attributes,
                    key_len: record.key.map(<[u8]>::len),
                    value_len: record.value.map(<[u8]>::len),
                })
            },
            |stream| stream.summary(base),
        )
    }

    /// Reads one record by the reader that fits the source. After the last one nothing may be left over.
    fn step<T>(
        &mut self,
        plain: impl FnOnce(&mut Cursor<'a>) -> Result<T, &'static str>,
        streamed: impl FnOnce(&mut Stream<'a>) -> Result<T, StreamError>,
    ) -> Option<Result<T, BatchError>> {
        let index = self.read;
        if index == self.count && !matches!(self.source, Source::Ended(_)) {
            return None;
        }
        self.read += 1;
        let last = self.read == self.count;
        let result = match &mut self.source {
            Source::Ended(error) => return error.take().map(Err),
            Source::Plain(cursor) => match plain(cursor) {
                Ok(_) if last && cursor.remaining() > 0 => Err(StreamError::Invalid(LEFT_OVER)),
                result => result.map_err(StreamError::Invalid),
            },
            Source::Stream(stream) => match streamed(stream) {
                Ok(value) if last => stream.ensure_end().map(|()| value),
                result => result,
            },
        };
        Some(result.map_err(|error| {
            self.source = Source::Ended(None);
            match error {
                StreamError::Invalid(reason) => BatchError::InvalidRecord { index, reason },
                StreamError::Broken(reason) => BatchError::Decompression { index, reason },
                StreamError::TooLarge => BatchError::TooLarge { limit: self.limits.max_batch_bytes },
                StreamError::RecordTooLarge => BatchError::TooLarge { limit: self.limits.max_record_bytes as u64 },
            }
        }))
    }

    /// Parses the body [`Walk::next_body`] has just returned.
    fn parse<'b>(&mut self, body: &'b [u8]) -> Result<RecordRef<'b>, BatchError> {
        parse_body(body, self.base).map_err(|reason| {
            self.source = Source::Ended(None);
            BatchError::InvalidRecord { index: self.read - 1, reason }
        })
    }
}

const STREAM_BUFFER: usize = 16 * 1024;
const NEGATIVE_LENGTH: &str = "its length is negative";
const LEFT_OVER: &str = "bytes are left after the last record";

/// The records of a compressed batch, as the decompressor yields them.
struct Stream<'a> {
    reader: BufReader<Decompressor<'a>>,
    /// Bytes that may still come before the batch counts as a bomb.
    remaining: u64,
}

enum StreamError {
    Invalid(&'static str),
    Broken(String),
    TooLarge,
    RecordTooLarge,
}

impl From<&'static str> for StreamError {
    fn from(reason: &'static str) -> Self {
        StreamError::Invalid(reason)
    }
}

impl Stream<'_> {
    /// At least one decompressed byte; empty at the end of the stream.
    fn fill(&mut self) -> Result<&[u8], StreamError> {
        self.reader.fill_buf().map_err(|error| StreamError::Broken(error.to_string()))
    }

    fn consume(&mut self, len: usize) -> Result<(), StreamError> {
        self.reader.consume(len);
        self.remaining = self.remaining.checked_sub(len as u64).ok_or(StreamError::TooLarge)?;
        Ok(())
    }

    fn length(&mut self) -> Result<usize, StreamError> {
        usize::try_from(self.varint()?).map_err(|_| NEGATIVE_LENGTH.into())
    }

    fn body(&mut self, buffer: &mut Vec<u8>, max_record_bytes: usize) -> Result<(), StreamError> {
        let len = self.length()?;
        if len > max_record_bytes {
            return Err(StreamError::RecordTooLarge);
        }
        buffer.clear();
        // Exact for the usual record; a large one grows with what really arrives.
        buffer.reserve_exact(len.min(64 * 1024));
        while buffer.len() < len {
            let chunk = self.fill()?;
            if chunk.is_empty() {
                return Err(ENDS_EARLY.into());
            }
            let taken = chunk.len().min(len - buffer.len());
            buffer.extend_from_slice(&chunk[..taken]);
            self.consume(taken)?;
        }
        Ok(())
    }

    fn summary(&mut self, base: Base) -> Result<RecordSummary, StreamError> {
        let len = self.length()?;
        let mut body = StreamedBody { stream: self, remaining: len };
        let attributes = body.byte()? as i8;
        let timestamp = base.timestamp(body.varlong()?);
        let offset = base.offset(body.varint()?);
        let key_len = body.skip_nullable()?;
        let value_len = body.skip_nullable()?;
        let headers = body.varint()?;
        for _ in 0..header_count(headers, body.remaining)? {
            body.skip_nullable()?.ok_or(NULL_HEADER_KEY)?;
            body.skip_nullable()?;
        }
        if body.remaining > 0 {
            return Err("its length is larger than its content".into());
        }
        Ok(RecordSummary { offset, timestamp, size_bytes: varint_size(len as i32) + len, attributes, key_len, value_len })
    }

    fn ensure_end(&mut self) -> Result<(), StreamError> {
        if self.fill()?.is_empty() { Ok(()) } else { Err(LEFT_OVER.into()) }
    }
}

impl Varints for Stream<'_> {
    type Error = StreamError;

    fn byte(&mut self) -> Result<u8, StreamError> {
        let byte = *self.fill()?.first().ok_or(ENDS_EARLY)?;
        self.consume(1)?;
        Ok(byte)
    }
}

/// One record of a stream that is read past, not kept.
struct StreamedBody<'s, 'a> {
    stream: &'s mut Stream<'a>,
    remaining: usize,
}

impl Varints for StreamedBody<'_, '_> {
    type Error = StreamError;

    fn byte(&mut self) -> Result<u8, StreamError> {
        self.remaining = self.remaining.checked_sub(1).ok_or(ENDS_EARLY)?;
        self.stream.byte()
    }
}

impl StreamedBody<'_, '_> {
    /// Skips a key, a value or a part of a header; its length, or `None` for null.
    fn skip_nullable(&mut self) -> Result<Option<usize>, StreamError> {
        let Ok(len) = usize::try_from(self.varint()?) else { return Ok(None) };
        self.remaining = self.remaining.checked_sub(len).ok_or(ENDS_EARLY)?;
        let mut left = len;
        while left > 0 {
            let available = self.stream.fill()?.len();
            if available == 0 {
                return Err(ENDS_EARLY.into());
            }
            let skipped = available.min(left);
            self.stream.consume(skipped)?;
            left -= skipped;
        }
        Ok(Some(len))
    }
}
