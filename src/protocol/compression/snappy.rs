//! The frame of xerial's `SnappyOutputStream`: a 16-byte header, then blocks of a big-endian length and a raw snappy block.
//!
//! As its `SnappyInputStream`, the decoder takes bytes without that header for one raw block, and lets another header stand where a
//! block could (streams put together).

use super::{Block, invalid_data, take, take_array};
use std::io;

const MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
const VERSION: i32 = 1;
/// Uncompressed bytes of each block but the last.
const BLOCK_SIZE: usize = 32 * 1024;
/// A copy of three bytes yields at most 64, so no block expands more.
const MAX_EXPANSION: usize = 22;

pub(super) fn compress_into(input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&VERSION.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for block in input.chunks(BLOCK_SIZE) {
        let length_at = out.len();
        let start = length_at + 4;
        out.resize(start + snap::raw::max_compress_len(block.len()), 0);
        let len = encoder.compress(block, &mut out[start..]).map_err(|error| invalid_data(error.to_string()))?;
        out.truncate(start + len);
        out[length_at..start].copy_from_slice(&(len as u32).to_be_bytes());
    }
    Ok(())
}

pub(super) struct Decoder<'a> {
    input: &'a [u8],
    /// All of the input is one block without a frame.
    raw: bool,
    block: Block,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(mut input: &'a [u8]) -> io::Result<Self> {
        let raw = !input.starts_with(&MAGIC);
        if !raw {
            skip_header(&mut input)?;
        }
        Ok(Decoder { input, raw, block: Block::default() })
    }

    pub(super) fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut block = std::mem::take(&mut self.block);
        while block.is_empty() && block.fill(|bytes| self.append_block(bytes))? {}
        self.block = block;
        Ok(self.block.read(buf))
    }

    /// Appends the next block, decompressed. False at the end.
    pub(super) fn append_block(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        while self.input.starts_with(&MAGIC) && !self.raw {
            skip_header(&mut self.input)?;
        }
        if self.input.is_empty() {
            return Ok(false);
        }
        let compressed = if self.raw {
            std::mem::take(&mut self.input)
        } else {
            let len = u32::from_be_bytes(take_array(&mut self.input)?);
            take(&mut self.input, len as usize)?
        };
        let broken = |error: snap::Error| invalid_data(error.to_string());
        let len = snap::raw::decompress_len(compressed).map_err(broken)?;
        if len > compressed.len().saturating_mul(MAX_EXPANSION) {
            return Err(invalid_data("a snappy block declares more than it can hold"));
        }
        let start = out.len();
        out.resize(start + len, 0);
        let written = snap::raw::Decoder::new().decompress(compressed, &mut out[start..]).map_err(broken)?;
        out.truncate(start + written);
        Ok(true)
    }
}

/// Magic, version, and the oldest version that can read it.
fn skip_header(input: &mut &[u8]) -> io::Result<()> {
    take(input, MAGIC.len() + 4)?;
    // Java reads what is compatible with its version or later; there has only ever been version 1.
    match i32::from_be_bytes(take_array(input)?) {
        ..VERSION => Err(invalid_data("incompatible version of the snappy frame")),
        _ => Ok(()),
    }
}
