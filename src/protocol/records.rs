//! The records field of a message: a run of record batches that nobody on the way decodes.

use bytes::Bytes;

use crate::common::file_slice::FileSlice;

/// Record batches, in memory or still in their segment file.
#[derive(Debug, Clone)]
pub enum Records {
    Bytes(Bytes),
    File(FileSlice),
}

impl Records {
    /// The size in bytes.
    pub fn len(&self) -> usize {
        match self {
            Records::Bytes(bytes) => bytes.len(),
            Records::File(slice) => slice.len,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The batches, when they are in memory.
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match self {
            Records::Bytes(bytes) => Some(bytes),
            Records::File(_) => None,
        }
    }
}

impl Default for Records {
    fn default() -> Records {
        Records::Bytes(Bytes::new())
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Records {
        Records::Bytes(bytes)
    }
}

impl PartialEq for Records {
    /// Ranges of files are equal when they are the same range of the same open file.
    fn eq(&self, other: &Records) -> bool {
        match (self, other) {
            (Records::Bytes(a), Records::Bytes(b)) => a == b,
            (Records::File(a), Records::File(b)) => std::sync::Arc::ptr_eq(&a.file, &b.file) && (a.position, a.len) == (b.position, b.len),
            _ => false,
        }
    }
}
