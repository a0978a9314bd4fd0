//! One LZ4 frame of independent blocks, as Kafka's `Lz4BlockOutputStream` writes it: blocks of 64 KB, no checksums but that of the
//! frame descriptor, no content size.
//!
//! The decoder is as strict as Kafka's `Lz4BlockInputStream`, so that nothing is accepted that a Java consumer would fail on: no
//! linked blocks, no legacy frames, no dictionaries. As there, the content checksum is not looked at (the batch has a CRC).

use super::xxhash::xxh32;
use super::{Block, invalid_data, take, take_array};
use std::io;

const MAGIC: u32 = 0x184D_2204;
/// Version 1, independent blocks.
const FLAGS: u8 = 0x60;
/// Blocks of at most 64 KB.
const BLOCK_DESCRIPTOR: u8 = 0x40;
const BLOCK_SIZE: usize = 64 * 1024;
/// Set in a block's length when the block is stored as it is.
const UNCOMPRESSED: u32 = 0x8000_0000;

const FLAG_RESERVED: u8 = 0x03;
const FLAG_CONTENT_SIZE: u8 = 0x08;
const FLAG_BLOCK_CHECKSUM: u8 = 0x10;
const FLAG_INDEPENDENT: u8 = 0x20;

pub(super) fn compress_into(input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    out.extend_from_slice(&MAGIC.to_le_bytes());
    let descriptor = [FLAGS, BLOCK_DESCRIPTOR];
    out.extend_from_slice(&descriptor);
    out.push(header_checksum(&descriptor));
    for block in input.chunks(BLOCK_SIZE) {
        let length_at = out.len();
        let start = length_at + 4;
        out.resize(start + lz4_flex::block::get_maximum_output_size(block.len()), 0);
        let len = lz4_flex::block::compress_into(block, &mut out[start..]).map_err(|error| invalid_data(error.to_string()))?;
        let stored = if len < block.len() {
            out.truncate(start + len);
            len as u32
        } else {
            out.truncate(start);
            out.extend_from_slice(block);
            block.len() as u32 | UNCOMPRESSED
        };
        out[length_at..start].copy_from_slice(&stored.to_le_bytes());
    }
    out.extend_from_slice(&[0; 4]);
    Ok(())
}

fn header_checksum(descriptor: &[u8]) -> u8 {
    (xxh32(descriptor, 0) >> 8) as u8
}

pub(super) struct Decoder<'a> {
    input: &'a [u8],
    max_block_size: usize,
    block_checksums: bool,
    finished: bool,
    block: Block,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(mut input: &'a [u8]) -> io::Result<Self> {
        if u32::from_le_bytes(take_array(&mut input)?) != MAGIC {
            return Err(invalid_data("not an lz4 frame"));
        }
        let descriptor = input;
        let [flags, block_descriptor] = take_array(&mut input)?;
        if flags >> 6 != 1 || flags & FLAG_RESERVED != 0 {
            return Err(invalid_data("unsupported version or flags of an lz4 frame"));
        }
        if flags & FLAG_INDEPENDENT == 0 {
            return Err(invalid_data("linked blocks of an lz4 frame are not supported"));
        }
        if block_descriptor & 0x8f != 0 || block_descriptor >> 4 < 4 {
            return Err(invalid_data("invalid block size of an lz4 frame"));
        }
        if flags & FLAG_CONTENT_SIZE != 0 {
            take(&mut input, 8)?;
        }
        let checksummed = &descriptor[..descriptor.len() - input.len()];
        let [checksum] = take_array(&mut input)?;
        if checksum != header_checksum(checksummed) {
            return Err(invalid_data("wrong checksum of an lz4 frame's descriptor"));
        }
        Ok(Decoder {
            input,
            max_block_size: 1 << (2 * (block_descriptor >> 4) + 8),
            block_checksums: flags & FLAG_BLOCK_CHECKSUM != 0,
            finished: false,
            block: Block::default(),
        })
    }

    pub(super) fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut block = std::mem::take(&mut self.block);
        while block.is_empty() && block.fill(|bytes| self.append_block(bytes))? {}
        self.block = block;
        Ok(self.block.read(buf))
    }

    /// Appends the next block, decompressed. False at the end.
    pub(super) fn append_block(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        if self.finished {
            return Ok(false);
        }
        let word = u32::from_le_bytes(take_array(&mut self.input)?);
        let len = (word & !UNCOMPRESSED) as usize;
        if len == 0 {
            self.finished = true;
            return Ok(false);
        }
        if len > self.max_block_size {
            return Err(invalid_data("a block of an lz4 frame is too large"));
        }
        let stored = take(&mut self.input, len)?;
        if self.block_checksums && u32::from_le_bytes(take_array(&mut self.input)?) != xxh32(stored, 0) {
            return Err(invalid_data("wrong checksum of an lz4 block"));
        }
        if word & UNCOMPRESSED != 0 {
            out.extend_from_slice(stored);
            return Ok(true);
        }
        // Each byte of a length adds at most 255 to a match, so this bounds what a valid block yields.
        let start = out.len();
        out.resize(start + self.max_block_size.min(len.saturating_mul(255) + 64), 0);
        let written = lz4_flex::block::decompress_into(stored, &mut out[start..]).map_err(|error| invalid_data(error.to_string()))?;
        out.truncate(start + written);
        Ok(true)
    }
}
