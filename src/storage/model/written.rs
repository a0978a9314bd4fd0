//! What was ever written at each offset, and what became of the transactions.

use std::collections::BTreeMap;

/// A record, or a transaction's marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Data { key: String, value: Option<String> },
    Marker { commit: bool },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WrittenRecord {
    pub(super) timestamp: i64,
    /// The broker's time then.
    pub(super) at_ms: i64,
    pub(super) producer_id: i64,
    pub(super) sequence: i32,
    pub(super) transactional: bool,
    pub(super) begins_batch: bool,
    pub(super) what: What,
}

impl WrittenRecord {
    pub(super) fn key_and_value(&self) -> Option<(&str, Option<&str>)> {
        match &self.what {
            What::Data { key, value } => Some((key, value.as_deref())),
            What::Marker { .. } => None,
        }
    }
}

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FoundRecord {
    pub(super) offset: i64,
    pub(super) timestamp: i64,
    pub(super) producer_id: i64,
    pub(super) transactional: bool,
    pub(super) what: What,
}

impl FoundRecord {
    pub(super) fn is(&self, written: &WrittenRecord) -> bool {
        self.timestamp == written.timestamp
            && self.producer_id == written.producer_id
            && self.transactional == written.transactional
            && self.what == written.what
    }
}

#[derive(Default)]
pub(super) struct Written {
    /// What was ever written at an offset, in order of time: the last counts.
    records: BTreeMap<i64, Vec<WrittenRecord>>,
}

impl Written {
    pub(super) fn add(&mut self, offset: i64, record: WrittenRecord) {
        self.records.entry(offset).or_default().push(record);
    }

    pub(super) fn last(&self, offset: i64) -> Option<&WrittenRecord> {
        self.records.get(&offset)?.last()
    }

    /// What counts, in `[from, end)`.
    pub(super) fn range(&self, from: i64, end: i64) -> impl DoubleEndedIterator<Item = (i64, &WrittenRecord)> {
        self.records.range(from..end.max(from)).filter_map(|(offset, all)| Some((*offset, all.last()?)))
    }

    pub(super) fn was_ever(&self, found: &FoundRecord) -> bool {
        self.records.get(&found.offset).is_some_and(|all| all.iter().any(|written| found.is(written)))
    }

    /// This is what is there, of all that was written at its offset.
    pub(super) fn settle(&mut self, found: &FoundRecord) {
        if let Some(all) = self.records.get_mut(&found.offset)
            && let Some(at) = all.iter().rposition(|written| found.is(written))
        {
            let record = all.remove(at);
            all.push(record);
        }
    }

    /// The last place in `[from, to]` where a batch begins.
    pub(super) fn batch_begin(&self, from: i64, to: i64) -> Option<i64> {
        self.range(from, to + 1).rfind(|(_, record)| record.begins_batch).map(|(offset, _)| offset)
    }

    pub(super) fn has_marker(&self, from: i64, end: i64) -> bool {
        self.range(from, end).any(|(_, record)| matches!(record.what, What::Marker { .. }))
    }

    /// Of a log that ends at `end`.
    pub(super) fn transactions(&self, end: i64) -> Transactions {
        let (mut all, mut open): (Vec<Transaction>, BTreeMap<i64, usize>) = (Vec::new(), BTreeMap::new());
        for (offset, record) in self.range(0, end) {
            match record.what {
                What::Data { .. } if record.transactional => {
                    let at = *open.entry(record.producer_id).or_insert_with(|| {
                        all.push(Transaction { producer_id: record.producer_id, offsets: Vec::new(), marker: None });
                        all.len() - 1
                    });
                    all[at].offsets.push(offset);
                }
                What::Marker { commit } => {
                    if let Some(at) = open.remove(&record.producer_id) {
                        all[at].marker = Some((offset, commit));
                    }
                }
                What::Data { .. } => {}
            }
        }
        let mut undecided_or_aborted = Vec::new();
        for transaction in all.iter().filter(|transaction| transaction.marker.is_none_or(|(_, commit)| !commit)) {
            undecided_or_aborted.extend(&transaction.offsets);
        }
        undecided_or_aborted.sort_unstable();
        Transactions { all, undecided_or_aborted }
    }
}

pub(super) struct Transaction {
    pub(super) producer_id: i64,
    /// Of its records.
    pub(super) offsets: Vec<i64>,
    /// Where it ended, and how.
    pub(super) marker: Option<(i64, bool)>,
}

pub(super) struct Transactions {
    pub(super) all: Vec<Transaction>,
    undecided_or_aborted: Vec<i64>,
}

impl Transactions {
    /// The producers that have one open.
    pub(super) fn open(&self) -> Vec<i64> {
        self.all.iter().filter(|transaction| transaction.marker.is_none()).map(|transaction| transaction.producer_id).collect()
    }

    /// Does a record count, being of no transaction or of one that was committed?
    pub(super) fn is_committed(&self, offset: i64) -> bool {
        self.undecided_or_aborted.binary_search(&offset).is_err()
    }
}
