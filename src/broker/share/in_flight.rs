//! The records between a share partition's start and end offset, and what has become of each: runs of neighbours in the same state.
//! Source: `InFlightBatch`, `InFlightState`; there every batch has one state or one for each of its offsets, here runs split and merge.
//!
//! Invariants:
//! - Runs are sorted, do not overlap, and lie within one batch each. A batch is what was acquired at once, or one persisted state.
//! - No run lies below the start offset.
//! - A run that is in transition is neither acquired nor acknowledged by anybody until the transition is completed.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::coordinator::share::batches::delivery_state;

/// What has become of a record. Its code is the wire's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub(crate) enum RecordState {
    /// Anybody may have it.
    Available = delivery_state::AVAILABLE,
    /// A member has it, until its lock expires.
    Acquired = delivery_state::ACQUIRED,
    /// A member has accepted it.
    Acknowledged = delivery_state::ACKNOWLEDGED,
    /// Nobody shall have it any more: rejected, delivered too often, or no longer there.
    Archived = delivery_state::ARCHIVED,
}

impl RecordState {
    pub(crate) fn from_code(code: i8) -> Option<RecordState> {
        Some(match code {
            delivery_state::AVAILABLE => RecordState::Available,
            delivery_state::ACQUIRED => RecordState::Acquired,
            delivery_state::ACKNOWLEDGED => RecordState::Acknowledged,
            delivery_state::ARCHIVED => RecordState::Archived,
            _ => return None,
        })
    }

    pub(crate) fn code(self) -> i8 {
        self as i8
    }

    pub(crate) fn is_terminal(self) -> bool {
        delivery_state::is_terminal(self.code())
    }
}

/// A member's claim on records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AcquisitionLock {
    pub(crate) member_id: Arc<str>,
    /// In monotonic milliseconds.
    pub(crate) expires_at_ms: u64,
}

/// A change of state that holds once it is persisted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transition {
    pub(crate) id: u64,
    /// What the records go back to if it cannot be persisted: acquired, under this lock.
    pub(crate) lock: AcquisitionLock,
}

/// Neighbours in the same state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) last_offset: i64,
    pub(crate) state: RecordState,
    pub(crate) delivery_count: i16,
    /// Of acquired records.
    pub(crate) lock: Option<AcquisitionLock>,
    pub(crate) transition: Option<Transition>,
}

impl Run {
    /// Nobody has these records, and they are not about to change.
    pub(crate) fn is_available(&self) -> bool {
        self.state == RecordState::Available && self.transition.is_none()
    }

    /// The delivery of these records is over, for good.
    pub(crate) fn is_done(&self) -> bool {
        self.state.is_terminal() && self.transition.is_none()
    }

    fn same_state(&self, other: &Run) -> bool {
        self.state == other.state
            && self.delivery_count == other.delivery_count
            && self.lock == other.lock
            && self.transition == other.transition
    }
}

/// All batches and their runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct InFlight {
    /// Last offsets by first.
    batches: BTreeMap<i64, i64>,
    /// By first offset.
    runs: BTreeMap<i64, Run>,
}

impl InFlight {
    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// The last offset of the last batch.
    pub(crate) fn last_offset(&self) -> Option<i64> {
        self.batches.last_key_value().map(|(_, &last)| last)
    }

    /// The batch that begins at or before this offset, as first and last offset.
    pub(crate) fn floor_batch(&self, offset: i64) -> Option<(i64, i64)> {
        self.batches.range(..=offset).next_back().map(|(&first, &last)| (first, last))
    }

    /// The batches that begin within these offsets, both included.
    pub(crate) fn batches_between(&self, first: i64, last: i64) -> Vec<(i64, i64)> {
        if first > last {
            return Vec::new();
        }
        self.batches.range(first..=last).map(|(&first, &last)| (first, last)).collect()
    }

    pub(crate) fn runs(&self) -> impl Iterator<Item = (i64, &Run)> {
        self.runs.iter().map(|(&first, run)| (first, run))
    }

    /// The runs that have a record within these offsets, whole.
    pub(crate) fn runs_between(&self, first: i64, last: i64) -> impl Iterator<Item = (i64, &Run)> {
        let begin = self.runs.range(..=first).next_back().filter(|(_, run)| run.last_offset >= first).map_or(first, |(&begin, _)| begin);
        self.runs.range(begin..=last.max(begin)).map(|(&first, run)| (first, run)).filter(move |(begin, _)| *begin <= last)
    }

    /// Adds a batch of one state behind or between the others.
    pub(crate) fn insert(&mut self, first_offset: i64, run: Run) {
        self.batches.insert(first_offset, run.last_offset);
        self.runs.insert(first_offset, run);
    }

    /// Has a run begin at this offset, if one covers it.
    fn split_at(&mut self, offset: i64) {
        let Some((_, run)) = self.runs.range_mut(..offset).next_back() else { return };
        if run.last_offset >= offset {
            let rest = run.clone();
            run.last_offset = offset - 1;
            self.runs.insert(offset, rest);
        }
    }

    /// Changes the runs within these offsets, cut to them; then joins neighbours that became equal.
    pub(crate) fn update(&mut self, first: i64, last: i64, mut change: impl FnMut(i64, &mut Run)) {
        if first > last {
            return;
        }
        self.split_at(first);
        if let Some(after) = last.checked_add(1) {
            self.split_at(after);
        }
        for (&begin, run) in self.runs.range_mut(first..=last) {
            change(begin, run);
        }
        self.join(first, last);
    }

    /// Joins equal neighbours of the same batch, from the run before `first` to the one after `last`.
    fn join(&mut self, first: i64, last: i64) {
        let begin = self.runs.range(..first).next_back().map_or(first, |(&begin, _)| begin);
        let end = last.saturating_add(1);
        let mut starts = self.runs.range(begin..=end).map(|(&start, _)| start).collect::<Vec<_>>().into_iter();
        let Some(mut current) = starts.next() else { return };
        for start in starts {
            let (Some(left), Some(right)) = (self.runs.get(&current), self.runs.get(&start)) else { continue };
            let adjacent = left.last_offset + 1 == start && !self.batches.contains_key(&start);
            if adjacent && left.same_state(right) {
                let last_offset = right.last_offset;
                self.runs.remove(&start);
                if let Some(left) = self.runs.get_mut(&current) {
                    left.last_offset = last_offset;
                }
            } else {
                current = start;
            }
        }
    }

    /// Forgets everything below this offset. A batch that reaches over it keeps its bounds.
    pub(crate) fn remove_before(&mut self, offset: i64) {
        self.split_at(offset);
        self.runs = self.runs.split_off(&offset);
        while let Some(entry) = self.batches.first_entry() {
            if *entry.get() >= offset {
                break;
            }
            entry.remove();
        }
    }

    pub(crate) fn clear(&mut self) {
        self.batches.clear();
        self.runs.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(last_offset: i64, state: RecordState) -> Run {
        Run { last_offset, state, delivery_count: 1, lock: None, transition: None }
    }

    fn shape(in_flight: &InFlight) -> Vec<(i64, i64, RecordState)> {
        in_flight.runs().map(|(first, run)| (first, run.last_offset, run.state)).collect()
    }

    use RecordState::{Acknowledged, Available};

    #[test]
    fn runs_split_where_the_state_changes_and_join_when_it_is_the_same_again() {
        let mut it = InFlight::default();
        it.insert(0, run(9, Available));
        it.update(3, 5, |_, run| run.state = Acknowledged);
        assert_eq!(shape(&it), [(0, 2, Available), (3, 5, Acknowledged), (6, 9, Available)]);
        it.update(0, 2, |_, run| run.state = Acknowledged);
        assert_eq!(shape(&it), [(0, 5, Acknowledged), (6, 9, Available)]);
        it.update(0, 9, |_, run| run.state = Available);
        assert_eq!(shape(&it), [(0, 9, Available)]);
    }

    #[test]
    fn runs_of_different_batches_stay_apart() {
        let mut it = InFlight::default();
        it.insert(0, run(4, Available));
        it.insert(5, run(9, Available));
        it.update(0, 9, |_, run| run.state = Acknowledged);
        assert_eq!(shape(&it), [(0, 4, Acknowledged), (5, 9, Acknowledged)]);
    }

    #[test]
    fn runs_between_offsets_are_those_with_a_record_there() {
        let mut it = InFlight::default();
        it.insert(0, run(4, Available));
        it.insert(10, run(14, Available));
        let found = |first, last| it.runs_between(first, last).map(|(first, _)| first).collect::<Vec<_>>();
        assert_eq!(found(0, 20), [0, 10]);
        assert_eq!(found(4, 9), [0]);
        assert_eq!(found(5, 9), [] as [i64; 0]);
        assert_eq!(found(12, 12), [10]);
    }

    #[test]
    fn what_lies_before_the_start_is_forgotten() {
        let mut it = InFlight::default();
        it.insert(0, run(4, Available));
        it.insert(5, run(9, Available));
        it.remove_before(7);
        assert_eq!(shape(&it), [(7, 9, Available)]);
        assert_eq!(it.floor_batch(7), Some((5, 9)));
        it.remove_before(10);
        assert!(it.is_empty());
    }
}
