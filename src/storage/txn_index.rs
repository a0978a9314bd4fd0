//! `.txnindex`: the aborted transactions that end in a segment. Sources: `TransactionIndex`, `AbortedTxn`.
//!
//! 34-byte entries in the order of their markers: version i16 = 0, producer id i64, first offset i64, offset of the abort marker i64,
//! last stable offset i64 at that moment. The file is created with its first entry.

use std::path::PathBuf;

use super::entry_file::EntryFile;
use super::errors::StorageError;
use super::fs;

const ENTRY_SIZE: usize = 34;

/// One aborted transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AbortedTxn {
    pub(super) producer_id: i64,
    pub(super) first_offset: i64,
    pub(super) last_offset: i64,
    pub(super) last_stable_offset: i64,
}

impl AbortedTxn {
    fn to_bytes(self) -> [u8; ENTRY_SIZE] {
        let mut entry = [0; ENTRY_SIZE];
        let fields = [self.producer_id, self.first_offset, self.last_offset, self.last_stable_offset];
        for (place, field) in entry[2..].chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_be_bytes());
        }
        entry
    }

    fn parse(entry: &[u8; ENTRY_SIZE]) -> AbortedTxn {
        let field = |n: usize| i64::from_be_bytes(entry[2 + n * 8..10 + n * 8].try_into().expect("eight bytes"));
        AbortedTxn { producer_id: field(0), first_offset: field(1), last_offset: field(2), last_stable_offset: field(3) }
    }
}

pub(super) struct TxnIndex {
    base_offset: i64,
    /// The file's name may be gone after a power cut: the directory is still to be synced.
    has_new_name: bool,
    pub(super) file: EntryFile<ENTRY_SIZE>,
}

impl TxnIndex {
    pub(super) fn new(path: PathBuf, base_offset: i64) -> Result<TxnIndex, StorageError> {
        Ok(TxnIndex { base_offset, has_new_name: false, file: EntryFile::existing(path)? })
    }

    pub(super) fn missing(path: PathBuf, base_offset: i64) -> TxnIndex {
        TxnIndex { base_offset, has_new_name: false, file: EntryFile::missing(path) }
    }

    pub(super) fn append(&mut self, txn: AbortedTxn) -> Result<(), StorageError> {
        self.has_new_name |= self.file.len() == 0;
        self.file.push(txn.to_bytes())?;
        // Unlike the other indexes this one cannot be read around when an entry is late.
        self.file.write_out_if_there_is_space()
    }

    /// True once after the file was created.
    pub(super) fn take_has_new_name(&mut self) -> bool {
        std::mem::take(&mut self.has_new_name)
    }

    pub(super) fn entry(&mut self, n: usize) -> Result<AbortedTxn, StorageError> {
        self.file.entry(n).map(|entry| AbortedTxn::parse(&entry))
    }

    /// Adds the transactions that overlap `[from, to)` to `found`; true when no later segment can hold another one.
    pub(super) fn collect(&mut self, from: i64, to: i64, found: &mut Vec<AbortedTxn>) -> Result<bool, StorageError> {
        for n in 0..self.file.len() {
            let txn = self.entry(n)?;
            if txn.last_offset >= from && txn.first_offset < to {
                found.push(txn);
            }
            if txn.last_stable_offset >= to {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Drops the transactions whose marker is at or above `offset`.
    pub(super) fn truncate_to(&mut self, offset: i64) -> Result<(), StorageError> {
        let mut kept = 0;
        while kept < self.file.len() && self.entry(kept)?.last_offset < offset {
            kept += 1;
        }
        self.file.truncate(kept)
    }

    pub(super) fn reset(&mut self) -> Result<(), StorageError> {
        if fs::exists(self.file.path()) { self.file.reset() } else { Ok(()) }
    }

    /// Can this file belong to its segment, and its entries to each other? No transaction that ends later begins before what was stable.
    pub(super) fn is_sane(&mut self) -> Result<bool, StorageError> {
        let mut last_stable_offset = i64::MIN;
        for n in 0..self.file.len() {
            let version = self.file.entry(n).map(|entry| [entry[0], entry[1]])?;
            let txn = self.entry(n)?;
            let begins_and_ends = txn.last_offset >= self.base_offset && (0..txn.last_offset).contains(&txn.first_offset);
            let is_stable = (last_stable_offset..=txn.last_offset + 1).contains(&txn.last_stable_offset);
            if version != [0, 0] || !begins_and_ends || !is_stable || txn.first_offset < last_stable_offset {
                return Ok(false);
            }
            last_stable_offset = txn.last_stable_offset;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn txn(producer_id: i64, first_offset: i64, last_offset: i64, last_stable_offset: i64) -> AbortedTxn {
        AbortedTxn { producer_id, first_offset, last_offset, last_stable_offset }
    }

    #[test]
    fn an_entry_has_kafkas_bytes() {
        let expected = "000000000000000003e8000000000000000600000000000000080000000000000009";
        let bytes = txn(1000, 6, 8, 9).to_bytes();
        assert_eq!(bytes.iter().map(|b| format!("{b:02x}")).collect::<String>(), expected);
        assert_eq!(AbortedTxn::parse(&bytes), txn(1000, 6, 8, 9));
    }

    #[test]
    fn overlapping_transactions_are_collected() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut index = TxnIndex::new(dir.path().join("x.txnindex"), 0).expect("opened");
        for entry in [txn(1, 0, 10, 2), txn(2, 2, 13, 14), txn(3, 14, 20, 21)] {
            index.append(entry).expect("appended");
        }
        let mut found = Vec::new();
        assert!(index.collect(11, 14, &mut found).expect("searched"));
        assert_eq!(found, [txn(2, 2, 13, 14)]);
        index.truncate_to(13).expect("truncated");
        assert_eq!(index.file.len(), 1);
        assert!(index.is_sane().expect("read"));
    }
}
