//! Walking the batches of a segment file without mapping it: headers only, or whole batches.
//!
//! Invariant: no length found in a file is allocated for unless the file holds that many bytes.

use std::fs::File;
use std::path::Path;

use crate::protocol::batch::{BATCH_OVERHEAD, BatchError, BatchHeader, BatchView};

use super::errors::StorageError;
use super::fs;

/// Bytes read at a time when only headers are wanted: about what lies between two index entries.
const HEADER_CHUNK: usize = 8 * 1024;
/// Bytes read at a time when all of the file is wanted.
const BATCH_CHUNK: usize = 256 * 1024;

/// A part of a file in memory.
pub(super) struct Window<'a> {
    file: &'a File,
    path: &'a Path,
    end: u64,
    start: u64,
    buffer: Vec<u8>,
    chunk: usize,
}

impl<'a> Window<'a> {
    /// Of a file's first `end` bytes, `chunk` bytes at a time where no more are wanted.
    pub(super) fn new(file: &'a File, path: &'a Path, end: u64, chunk: usize) -> Window<'a> {
        Window { file, path, end, start: 0, buffer: Vec::new(), chunk }
    }

    /// Up to `wanted` bytes from `position` on; fewer only at the end.
    pub(super) fn bytes(&mut self, position: u64, wanted: usize) -> Result<&[u8], StorageError> {
        let available = usize::try_from(self.end.saturating_sub(position)).unwrap_or(usize::MAX);
        let wanted = wanted.min(available);
        let held = position >= self.start && position + wanted as u64 <= self.start + self.buffer.len() as u64;
        if !held {
            let len = wanted.max(self.chunk).min(available);
            self.buffer.resize(len, 0);
            let read = fs::read_at(self.file, self.path, &mut self.buffer, position)?;
            self.buffer.truncate(read);
            self.start = position;
        }
        let from = (position - self.start) as usize;
        Ok(&self.buffer[from..(from + wanted).min(self.buffer.len())])
    }
}

/// A batch's header and where it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Located {
    pub(super) header: BatchHeader,
    pub(super) position: u64,
}

/// The headers of the batches in `[position, end)`. Ends at the first thing that is not a whole batch.
pub(super) struct Headers<'a> {
    window: Window<'a>,
    position: u64,
}

impl<'a> Headers<'a> {
    pub(super) fn new(file: &'a File, path: &'a Path, position: u64, end: u64) -> Headers<'a> {
        Headers { window: Window::new(file, path, end, HEADER_CHUNK), position }
    }

    /// What [`Headers::next`] will give.
    pub(super) fn peek(&mut self) -> Result<Option<Located>, StorageError> {
        let position = self.position;
        let found = self.next();
        self.position = position;
        found
    }

    pub(super) fn next(&mut self) -> Result<Option<Located>, StorageError> {
        let position = self.position;
        let Ok(header) = BatchHeader::parse(self.window.bytes(position, BATCH_OVERHEAD)?) else { return Ok(None) };
        if position + header.size_bytes() as u64 > self.window.end {
            return Ok(None);
        }
        self.position += header.size_bytes() as u64;
        Ok(Some(Located { header, position }))
    }
}

/// The whole batches in `[position, end)`.
pub(super) struct WholeBatches<'a> {
    window: Window<'a>,
    position: u64,
}

impl<'a> WholeBatches<'a> {
    pub(super) fn new(file: &'a File, path: &'a Path, position: u64, end: u64) -> WholeBatches<'a> {
        WholeBatches { window: Window::new(file, path, end, BATCH_CHUNK), position }
    }

    /// Where the next batch begins.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The next batch; None at the end; an error for what is no whole batch, after which the walk must stop.
    pub(super) fn next(&mut self) -> Result<Option<Result<BatchView<'_>, BatchError>>, StorageError> {
        let position = self.position;
        if position >= self.window.end {
            return Ok(None);
        }
        let size = match BatchHeader::parse(self.window.bytes(position, BATCH_OVERHEAD)?) {
            Ok(header) => header.size_bytes(),
            Err(error) => return Ok(Some(Err(error))),
        };
        let batch = BatchView::parse(self.window.bytes(position, size)?);
        if batch.is_ok() {
            self.position += size as u64;
        }
        Ok(Some(batch))
    }
}
