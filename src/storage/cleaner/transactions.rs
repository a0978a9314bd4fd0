//! Which transactions were aborted, and whether anything is left of each, as the cleaner walks along a log. Source:
//! `CleanedTransactionMetadata`.
//!
//! Pure: batches are told in their order, answers come back.
//!
//! Invariant: a marker is given up only when no data batch of its transaction was met before it.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::protocol::batch::{BatchHeader, BatchView, ControlRecordType};

use crate::storage::txn_index::AbortedTxn;

struct Ongoing {
    txn: AbortedTxn,
    /// A data batch of it is in the log.
    has_data: bool,
}

/// The transactions around the place where the walk is.
#[derive(Default)]
pub(super) struct Transactions {
    /// Producers whose transaction was met and is not among the aborted ones.
    committed: HashSet<i64>,
    /// Aborted transactions that have begun and whose marker is still to come, by producer.
    aborted: HashMap<i64, Ongoing>,
    /// Aborted transactions that are still to begin, by first offset.
    to_come: BTreeMap<(i64, i64), AbortedTxn>,
    /// Aborted transactions whose marker was met and that still have data: entries of the new transaction index.
    retained: Vec<AbortedTxn>,
}

impl Transactions {
    /// `aborted`: every aborted transaction that overlaps what will be walked.
    pub(super) fn new(aborted: Vec<AbortedTxn>) -> Transactions {
        let to_come = aborted.into_iter().map(|txn| ((txn.first_offset, txn.producer_id), txn)).collect();
        Transactions { to_come, ..Transactions::default() }
    }

    fn begin_up_to(&mut self, offset: i64) {
        while let Some(entry) = self.to_come.first_entry().filter(|entry| entry.key().0 <= offset) {
            let txn = entry.remove();
            // One that is there still has lost its marker, and before that its data.
            self.aborted.insert(txn.producer_id, Ongoing { txn, has_data: false });
        }
    }

    /// A data batch; true when it belongs to an aborted transaction.
    pub(super) fn is_aborted(&mut self, header: &BatchHeader) -> bool {
        self.begin_up_to(header.last_offset());
        if !header.is_transactional() {
            return false;
        }
        match self.aborted.get_mut(&header.producer_id) {
            Some(ongoing) if header.base_offset <= ongoing.txn.last_offset => {
                ongoing.has_data = true;
                true
            }
            _ => {
                self.committed.insert(header.producer_id);
                false
            }
        }
    }

    /// A control batch; true when it is of no use any more: nothing is left of its transaction, or it is empty itself. Other control
    /// records than transaction markers are always of use.
    pub(super) fn is_marker_of_nothing(&mut self, batch: &BatchView<'_>) -> bool {
        let header = batch.header();
        self.begin_up_to(header.last_offset());
        let Some(Ok(record)) = batch.records().next() else { return true };
        match record.key.as_deref().and_then(ControlRecordType::parse) {
            Some(ControlRecordType::Abort) => match self.aborted.remove(&header.producer_id) {
                Some(Ongoing { txn, has_data: true }) => {
                    self.retained.push(txn);
                    false
                }
                _ => true,
            },
            Some(ControlRecordType::Commit) => !self.committed.remove(&header.producer_id),
            _ => false,
        }
    }

    /// Aborted transactions met completely since the last call, in the order of their markers.
    pub(super) fn take_retained(&mut self) -> Vec<AbortedTxn> {
        std::mem::take(&mut self.retained)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::batch::{BatchBuilder, ControlRecord};
    use crate::protocol::compression::Compression;

    fn data(producer_id: i64, base_offset: i64) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Compression::None).base_offset(base_offset).producer(producer_id, 0, 0).transactional(true);
        builder.append(0, Some(b"k"), Some(b"v"), &[]).expect("appended");
        builder.finish_vec().expect("finished")
    }

    fn marker(producer_id: i64, base_offset: i64, commit: bool) -> Vec<u8> {
        let builder = BatchBuilder::new(Compression::None).base_offset(base_offset);
        let mut builder = builder.producer(producer_id, 0, -1).transactional(true).control(true);
        builder.append_control(0, &ControlRecord::end_transaction(commit, 0)).expect("appended");
        builder.finish_vec().expect("finished")
    }

    fn view(bytes: &[u8]) -> BatchView<'_> {
        BatchView::parse(bytes).expect("a batch")
    }

    fn aborted(producer_id: i64, first_offset: i64, last_offset: i64) -> AbortedTxn {
        AbortedTxn { producer_id, first_offset, last_offset, last_stable_offset: last_offset + 1 }
    }

    #[test]
    fn only_batches_of_aborted_transactions_are_aborted() {
        let mut transactions = Transactions::new(vec![aborted(1, 0, 2)]);
        assert!(transactions.is_aborted(view(&data(1, 0)).header()));
        assert!(!transactions.is_aborted(view(&data(2, 1)).header()));
        assert!(!transactions.is_marker_of_nothing(&view(&marker(1, 2, false))));
        assert_eq!(transactions.take_retained(), [aborted(1, 0, 2)]);
        // The next transaction of the same producer commits.
        assert!(!transactions.is_aborted(view(&data(1, 3)).header()));
        assert!(!transactions.is_marker_of_nothing(&view(&marker(1, 4, true))));
        assert!(!transactions.is_marker_of_nothing(&view(&marker(2, 5, true))));
    }

    #[test]
    fn a_marker_without_data_is_of_no_use() {
        let mut transactions = Transactions::new(vec![aborted(1, 0, 5)]);
        assert!(transactions.is_marker_of_nothing(&view(&marker(1, 5, false))));
        assert!(transactions.is_marker_of_nothing(&view(&marker(2, 6, true))));
        assert_eq!(transactions.take_retained(), []);
    }

    #[test]
    fn a_batch_after_the_end_of_an_aborted_transaction_is_not_of_it() {
        let mut transactions = Transactions::new(vec![aborted(1, 0, 5)]);
        assert!(!transactions.is_aborted(view(&data(1, 7)).header()));
    }
}
