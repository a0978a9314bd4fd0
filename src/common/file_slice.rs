//! A range of bytes in an open file: what a fetch hands to the socket without reading it.

use std::fs::File;
use std::sync::Arc;

/// `len` bytes of `file` from `position` on. The range is immutable while the slice lives: segments only grow, and a deleted file
/// stays readable while it is open.
#[derive(Clone, Debug)]
pub struct FileSlice {
    pub file: Arc<File>,
    pub position: u64,
    pub len: usize,
}
