//! The codecs of record batches, in the framings Kafka's Java clients read and write.
//!
//! - gzip: RFC 1952, as `GZIPOutputStream` writes it.
//! - snappy: the frame of xerial's `SnappyOutputStream` ([`snappy`]); a lone raw block is read too, as other clients write it.
//! - lz4: LZ4 frames of independent 64 KB blocks ([`lz4`]).
//! - zstd: RFC 8878 frames.
//!
//! Sources: Kafka's `org.apache.kafka.common.compress`, `CompressionType`.
//!
//! Invariant: decompressing streams. A [`Decompressor`] holds one block at a time, and no more of it than its compressed bytes can
//! expand to; how much it may yield in all is its reader's decision. The exception is zstd, whose frames may ask for a window of up
//! to 128 MiB (the limit of Kafka's own decoder), which is touched only as far as data arrives.

mod lz4;
mod snappy;
mod xxhash;

use flate2::bufread::MultiGzDecoder;
use std::io::{self, Read, Write};
use std::ops::RangeInclusive;
use std::str::FromStr;

/// How a batch's records are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Compression {
    pub const ALL: [Compression; 5] = [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    /// The codec's number in a batch's attributes.
    pub fn id(self) -> u8 {
        self as u8
    }

    pub fn from_id(id: u8) -> Option<Compression> {
        Self::ALL.get(usize::from(id)).copied()
    }

    /// Kafka's name, as configurations and tools write it.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    /// The level used when none is configured; `None` for a codec without levels.
    pub fn default_level(self) -> Option<i32> {
        match self {
            Compression::None | Compression::Snappy => None,
            Compression::Gzip => Some(-1),
            Compression::Lz4 => Some(9),
            Compression::Zstd => Some(3),
        }
    }

    /// The levels Kafka allows (gzip: also -1, its default); `None` for a codec without levels.
    pub fn level_range(self) -> Option<RangeInclusive<i32>> {
        match self {
            Compression::None | Compression::Snappy => None,
            Compression::Gzip => Some(1..=9),
            Compression::Lz4 => Some(1..=17),
            Compression::Zstd => Some(-131072..=22),
        }
    }

    /// True for a level Kafka's configuration accepts for this codec.
    pub fn is_valid_level(self, level: i32) -> bool {
        self.level_range().is_some_and(|range| range.contains(&level) || self.default_level() == Some(level))
    }

    /// Appends `input`, compressed, to `out`. `None` is the default level; a codec without levels ignores it.
    ///
    /// Errors: `InvalidInput` for a level out of range.
    ///
    /// Differs: lz4 has one strength here, that of Kafka's default level.
    pub fn compress_into(self, level: Option<i32>, input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let level = level.or(self.default_level()).unwrap_or(0);
        if self.level_range().is_some() && !self.is_valid_level(level) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} doesn't support compression level {level}", self.name())));
        }
        match self {
            Compression::None => out.extend_from_slice(input),
            Compression::Gzip => {
                let level = u32::try_from(level).map_or(flate2::Compression::default(), flate2::Compression::new);
                let mut encoder = flate2::write::GzEncoder::new(out, level);
                encoder.write_all(input)?;
                encoder.finish()?;
            }
            Compression::Snappy => snappy::compress_into(input, out)?,
            Compression::Lz4 => lz4::compress_into(input, out)?,
            Compression::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(out, level)?;
                encoder.set_pledged_src_size(Some(input.len() as u64))?;
                encoder.write_all(input)?;
                encoder.finish()?;
            }
        }
        Ok(())
    }

    /// Decompresses all of `input`. Error: `InvalidData` for a broken stream or more than `limit` bytes; the buffer grows with what
    /// really comes out.
    pub fn decompress(self, input: &[u8], limit: usize) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        self.decompress_into(input, limit, &mut out)?;
        Ok(out)
    }

    /// As [`Compression::decompress`], behind what `out` holds. lz4 and snappy are unpacked in place, without a buffer between.
    pub fn decompress_into(self, input: &[u8], limit: usize, out: &mut Vec<u8>) -> io::Result<()> {
        let start = out.len();
        match Decompressor::new(self, input)?.0 {
            Codec::Lz4(mut decoder) => while out.len() - start <= limit && decoder.append_block(out)? {},
            Codec::Snappy(mut decoder) => while out.len() - start <= limit && decoder.append_block(out)? {},
            codec => {
                Decompressor(codec).take((limit as u64).saturating_add(1)).read_to_end(out)?;
            }
        }
        if out.len() - start > limit { Err(invalid_data(format!("more than {limit} bytes"))) } else { Ok(()) }
    }
}

impl std::fmt::Display for Compression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Compression {
    type Err = String;

    /// Kafka's names, lower case.
    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|compression| compression.name() == name);
        found.ok_or_else(|| format!("Unknown compression name: {name}"))
    }
}

/// Streams the decompressed bytes of a slice.
pub struct Decompressor<'a>(Codec<'a>);

enum Codec<'a> {
    None(&'a [u8]),
    Gzip(Box<MultiGzDecoder<&'a [u8]>>),
    Snappy(snappy::Decoder<'a>),
    Lz4(lz4::Decoder<'a>),
    Zstd(zstd::stream::read::Decoder<'static, &'a [u8]>),
}

impl<'a> Decompressor<'a> {
    /// Error: `InvalidData` when the stream's own header is broken already.
    pub fn new(compression: Compression, input: &'a [u8]) -> io::Result<Decompressor<'a>> {
        Ok(Decompressor(match compression {
            Compression::None => Codec::None(input),
            Compression::Gzip => Codec::Gzip(Box::new(MultiGzDecoder::new(input))),
            Compression::Snappy => Codec::Snappy(snappy::Decoder::new(input)?),
            Compression::Lz4 => Codec::Lz4(lz4::Decoder::new(input)?),
            Compression::Zstd => Codec::Zstd(zstd::stream::read::Decoder::with_buffer(input)?),
        }))
    }
}

impl Read for Decompressor<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Codec::None(input) => input.read(buf),
            Codec::Gzip(decoder) => decoder.read(buf),
            Codec::Snappy(decoder) => decoder.read(buf),
            Codec::Lz4(decoder) => decoder.read(buf),
            Codec::Zstd(decoder) => decoder.read(buf),
        }
    }
}

/// One decompressed block, read from its front.
#[derive(Default)]
struct Block {
    bytes: Vec<u8>,
    position: usize,
}

impl Block {
    /// Fills it anew.
    fn fill<T>(&mut self, append: impl FnOnce(&mut Vec<u8>) -> io::Result<T>) -> io::Result<T> {
        self.position = 0;
        self.bytes.clear();
        append(&mut self.bytes)
    }

    fn is_empty(&self) -> bool {
        self.position == self.bytes.len()
    }

    fn read(&mut self, buf: &mut [u8]) -> usize {
        let len = buf.len().min(self.bytes.len() - self.position);
        buf[..len].copy_from_slice(&self.bytes[self.position..self.position + len]);
        self.position += len;
        len
    }
}

/// Takes `len` bytes off the front of `input`.
fn take<'a>(input: &mut &'a [u8], len: usize) -> io::Result<&'a [u8]> {
    let (taken, rest) = input.split_at_checked(len).ok_or_else(|| invalid_data("the compressed stream ends early"))?;
    *input = rest;
    Ok(taken)
}

fn take_array<const N: usize>(input: &mut &[u8]) -> io::Result<[u8; N]> {
    take(input, N).map(|bytes| bytes.try_into().expect("N bytes were taken"))
}

fn invalid_data(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}

#[cfg(test)]
mod tests;
