//! The sequence numbers of one partition's batches, by which a leader tells a retry from a new batch.
//!
//! Invariants: batches in flight are kept in the order of their sequences and are contiguous. Sequences are only given out under one
//! producer id and epoch at a time; a new epoch starts at 0 when nothing of the old one is in flight, or rewrites all that is.
//!
//! Source: `TransactionManager`, `TxnPartitionEntry`; KIP-98, KIP-360.

use crate::protocol::batch::{NO_SEQUENCE, decrement_sequence, increment_sequence};
use crate::protocol::error_code::ErrorCode;

/// Who produces, as brokers know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProducerIdAndEpoch {
    pub(super) id: i64,
    pub(super) epoch: i16,
}

/// The stamp of one batch in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) producer: ProducerIdAndEpoch,
    pub(super) base_sequence: i32,
}

#[derive(Debug)]
struct InFlight {
    batch: u64,
    stamp: Stamp,
    count: i32,
    /// The sequence was given anew after the batch had been sent.
    reset: bool,
}

/// What to do about a batch that a broker refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Retry,
    /// Retry under a new epoch, with all sequences of the partition from 0.
    RetryWithNewEpoch,
    /// Retry under the same epoch, with all sequences of the partition from 0: its leader knows nothing of the producer any more.
    RetryFromZero,
    Fail,
}

#[derive(Debug)]
pub(super) struct Sequences {
    producer: Option<ProducerIdAndEpoch>,
    next: i32,
    last_acked_sequence: i32,
    last_acked_offset: i64,
    in_flight: Vec<InFlight>,
    /// The sequence after a batch whose fate is unknown.
    unresolved: Option<i32>,
}

impl Default for Sequences {
    fn default() -> Sequences {
        Sequences {
            producer: None,
            next: 0,
            last_acked_sequence: NO_SEQUENCE,
            last_acked_offset: -1,
            in_flight: Vec::new(),
            unresolved: None,
        }
    }
}

impl Sequences {
    fn position(&self, batch: u64) -> Option<usize> {
        self.in_flight.iter().position(|it| it.batch == batch)
    }

    /// The stamp of a batch, if it has one.
    pub(super) fn stamp(&self, batch: u64) -> Option<Stamp> {
        self.position(batch).map(|at| self.in_flight[at].stamp)
    }

    /// May this batch, the first in the queue, be sent now?
    ///
    /// Differs: the first batch of an epoch goes alone until it is acknowledged. A leader that knows nothing of a producer takes any
    /// sequence for its first, so a second batch that overtakes a first one refused for a passing reason (the leader was not ready yet)
    /// would leave the first out of order for good.
    pub(super) fn may_send(&self, batch: u64, current: ProducerIdAndEpoch) -> bool {
        match self.position(batch) {
            // A batch that is sent again goes alone, and those behind it wait for it.
            Some(at) => at == 0,
            None => {
                let begun = self.producer == Some(current) && self.last_acked_sequence != NO_SEQUENCE;
                (self.in_flight.is_empty() || begun) && self.unresolved.is_none()
            }
        }
    }

    /// Gives a batch its place. It must be one that [`Sequences::may_send`].
    pub(super) fn assign(&mut self, batch: u64, count: i32, current: ProducerIdAndEpoch) -> Stamp {
        if self.producer != Some(current) {
            self.start_at_zero(current);
        }
        let stamp = Stamp { producer: current, base_sequence: self.next };
        self.next = increment_sequence(self.next, count);
        self.in_flight.push(InFlight { batch, stamp, count, reset: false });
        stamp
    }

    /// Numbers everything in flight anew, from 0 under a new epoch.
    pub(super) fn start_at_zero(&mut self, current: ProducerIdAndEpoch) {
        let mut next = 0;
        for batch in &mut self.in_flight {
            batch.stamp = Stamp { producer: current, base_sequence: next };
            batch.reset = true;
            next = increment_sequence(next, batch.count);
        }
        self.producer = Some(current);
        self.next = next;
        self.last_acked_sequence = NO_SEQUENCE;
        self.unresolved = None;
    }

    /// A broker has the batch.
    pub(super) fn acknowledged(&mut self, batch: u64, base_offset: i64) {
        let Some(at) = self.position(batch) else { return };
        let done = self.in_flight.remove(at);
        let last = increment_sequence(done.stamp.base_sequence, done.count - 1);
        self.last_acked_sequence = self.last_acked_sequence.max(last);
        if base_offset >= 0 {
            self.last_acked_offset = self.last_acked_offset.max(base_offset + i64::from(done.count) - 1);
        }
    }

    /// The batch will not be sent again. True when a new epoch must close the gap it leaves.
    pub(super) fn failed(&mut self, batch: u64, code: Option<ErrorCode>, fate_is_known: bool) -> bool {
        if let Some(at) = self.position(batch) {
            self.in_flight.remove(at);
        } else {
            return false;
        }
        match code {
            Some(ErrorCode::OutOfOrderSequenceNumber) => true,
            Some(ErrorCode::UnknownProducerId) => {
                self.next = 0;
                self.last_acked_sequence = NO_SEQUENCE;
                false
            }
            _ => fate_is_known,
        }
    }

    /// Closes the gap that a refused batch leaves in a transaction, whose epoch only changes when it ends: what comes behind moves up.
    pub(super) fn close_gap(&mut self, batch: u64) {
        let Some(at) = self.position(batch) else { return };
        let gone = self.in_flight.remove(at);
        for batch in &mut self.in_flight[at..] {
            batch.stamp.base_sequence = decrement_sequence(batch.stamp.base_sequence, gone.count);
            batch.reset = true;
        }
        self.next = decrement_sequence(self.next, gone.count);
    }

    /// The batch was sent and given up without an answer: what follows must wait until its fate is known.
    pub(super) fn given_up(&mut self, batch: u64) {
        if let Some(at) = self.position(batch) {
            let done = self.in_flight.remove(at);
            self.unresolved = Some(increment_sequence(done.stamp.base_sequence, done.count));
        }
    }

    /// Settles an unknown fate once nothing is in flight. True when a new epoch must be taken.
    pub(super) fn resolve(&mut self) -> bool {
        if self.unresolved.is_none() || !self.in_flight.is_empty() {
            return false;
        }
        self.unresolved = None;
        !self.is_next(self.next)
    }

    fn is_next(&self, sequence: i32) -> bool {
        i64::from(sequence) - i64::from(self.last_acked_sequence) == 1
    }

    /// What an error of a broker means for a batch in flight. A `transactional` producer takes no new epoch within a transaction.
    pub(super) fn verdict(&self, batch: u64, code: ErrorCode, log_start_offset: i64, otherwise: bool, transactional: bool) -> Verdict {
        let otherwise = if otherwise { Verdict::Retry } else { Verdict::Fail };
        let Some(it) = self.position(batch).map(|at| &self.in_flight[at]) else { return otherwise };
        match code {
            // A broker that does not know the log's start will answer better next time.
            ErrorCode::UnknownProducerId if log_start_offset == -1 || it.reset => Verdict::Retry,
            // The producer's records are all deleted.
            ErrorCode::UnknownProducerId if transactional && self.last_acked_offset < log_start_offset => Verdict::RetryFromZero,
            ErrorCode::UnknownProducerId if transactional => otherwise,
            // They are, or the broker lost its state.
            ErrorCode::UnknownProducerId => Verdict::RetryWithNewEpoch,
            ErrorCode::OutOfOrderSequenceNumber => match self.unresolved {
                // One before it failed and will be sent again first.
                None if it.reset || !self.is_next(it.stamp.base_sequence) => Verdict::Retry,
                _ if transactional => otherwise,
                None => Verdict::RetryWithNewEpoch,
                Some(sequence) if sequence == it.stamp.base_sequence => Verdict::RetryWithNewEpoch,
                Some(_) => Verdict::Retry,
            },
            _ => otherwise,
        }
    }

    /// Replaces a batch by its parts, which share its sequences.
    pub(super) fn split(&mut self, batch: u64, parts: &[(u64, i32)]) {
        let Some(at) = self.position(batch) else { return };
        let whole = self.in_flight.remove(at);
        let mut base_sequence = whole.stamp.base_sequence;
        for (index, (part, count)) in parts.iter().enumerate() {
            let stamp = Stamp { producer: whole.stamp.producer, base_sequence };
            self.in_flight.insert(at + index, InFlight { batch: *part, stamp, count: *count, reset: whole.reset });
            base_sequence = increment_sequence(base_sequence, *count);
        }
    }

    /// Orders batches as their sequences do; those without one come last.
    pub(super) fn rank(&self, batch: u64) -> usize {
        self.position(batch).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: ProducerIdAndEpoch = ProducerIdAndEpoch { id: 7, epoch: 0 };
    const SECOND: ProducerIdAndEpoch = ProducerIdAndEpoch { id: 7, epoch: 1 };

    #[test]
    fn sequences_follow_each_other_and_a_retry_goes_alone() {
        let mut sequences = Sequences::default();
        assert_eq!(sequences.assign(0, 1, FIRST).base_sequence, 0);
        sequences.acknowledged(0, 99);
        assert_eq!(sequences.assign(1, 3, FIRST).base_sequence, 1);
        assert_eq!(sequences.assign(2, 2, FIRST).base_sequence, 4);
        assert!(sequences.may_send(1, FIRST));
        assert!(!sequences.may_send(2, FIRST), "the one before it comes first");
        assert!(sequences.may_send(3, FIRST), "a new one may follow");
        sequences.acknowledged(1, 100);
        assert!(sequences.may_send(2, FIRST));
    }

    #[test]
    fn the_first_batch_of_an_epoch_goes_alone_until_it_is_acknowledged() {
        let mut sequences = Sequences::default();
        assert!(sequences.may_send(1, FIRST));
        sequences.assign(1, 3, FIRST);
        assert!(!sequences.may_send(2, FIRST), "a leader that knows nothing would take it for the first");
        assert!(sequences.may_send(1, FIRST), "again, after a passing error");
        sequences.acknowledged(1, 0);
        assert!(sequences.may_send(2, FIRST));
    }

    #[test]
    fn a_new_epoch_waits_for_the_old_one() {
        let mut sequences = Sequences::default();
        sequences.assign(1, 3, FIRST);
        assert!(!sequences.may_send(2, SECOND));
        sequences.acknowledged(1, 0);
        assert!(sequences.may_send(2, SECOND));
        assert_eq!(sequences.assign(2, 1, SECOND), Stamp { producer: SECOND, base_sequence: 0 });
    }

    #[test]
    fn out_of_order_is_retried_unless_it_is_the_very_next() {
        let mut sequences = Sequences::default();
        sequences.assign(1, 3, FIRST);
        sequences.assign(2, 3, FIRST);
        assert_eq!(sequences.verdict(2, ErrorCode::OutOfOrderSequenceNumber, -1, false, false), Verdict::Retry);
        assert_eq!(sequences.verdict(1, ErrorCode::OutOfOrderSequenceNumber, -1, false, false), Verdict::RetryWithNewEpoch);
        sequences.start_at_zero(SECOND);
        assert_eq!(sequences.stamp(2), Some(Stamp { producer: SECOND, base_sequence: 3 }));
        assert_eq!(sequences.verdict(1, ErrorCode::OutOfOrderSequenceNumber, -1, false, false), Verdict::Retry);
    }

    #[test]
    fn a_lost_producer_gets_a_new_epoch() {
        let mut sequences = Sequences::default();
        sequences.assign(1, 3, FIRST);
        assert_eq!(sequences.verdict(1, ErrorCode::UnknownProducerId, -1, false, false), Verdict::Retry);
        assert_eq!(sequences.verdict(1, ErrorCode::UnknownProducerId, 5, false, false), Verdict::RetryWithNewEpoch);
    }

    #[test]
    fn an_unknown_fate_holds_back_what_follows_until_it_is_settled() {
        let mut sequences = Sequences::default();
        sequences.assign(1, 3, FIRST);
        sequences.assign(2, 2, FIRST);
        sequences.given_up(1);
        assert!(!sequences.may_send(3, FIRST));
        assert!(!sequences.resolve(), "one is in flight");
        sequences.acknowledged(2, 3);
        assert!(!sequences.resolve(), "the broker took the later one, so it had the earlier");
        assert!(sequences.may_send(3, FIRST));
        sequences.assign(3, 1, FIRST);
        sequences.given_up(3);
        assert!(sequences.resolve(), "nothing tells what became of it");
    }

    #[test]
    fn within_a_transaction_what_follows_a_refused_batch_moves_up() {
        let mut sequences = Sequences::default();
        sequences.assign(1, 3, FIRST);
        sequences.assign(2, 2, FIRST);
        sequences.close_gap(1);
        assert_eq!(sequences.stamp(2), Some(Stamp { producer: FIRST, base_sequence: 0 }));
        assert_eq!(sequences.assign(3, 1, FIRST).base_sequence, 2);
    }

    #[test]
    fn a_transaction_starts_from_zero_where_its_records_were_deleted_and_fails_where_they_were_lost() {
        let mut sequences = Sequences::default();
        sequences.assign(1, 3, FIRST);
        sequences.acknowledged(1, 10);
        sequences.assign(2, 1, FIRST);
        assert_eq!(sequences.verdict(2, ErrorCode::UnknownProducerId, 13, false, true), Verdict::RetryFromZero);
        assert_eq!(sequences.verdict(2, ErrorCode::UnknownProducerId, 5, false, true), Verdict::Fail);
        assert_eq!(sequences.verdict(2, ErrorCode::OutOfOrderSequenceNumber, -1, false, true), Verdict::Fail);
    }

    #[test]
    fn parts_of_a_batch_share_its_sequences() {
        let mut sequences = Sequences::default();
        sequences.assign(1, 5, FIRST);
        sequences.assign(2, 1, FIRST);
        sequences.split(1, &[(3, 2), (4, 3)]);
        assert_eq!(sequences.stamp(4).map(|stamp| stamp.base_sequence), Some(2));
        assert!(sequences.rank(3) < sequences.rank(4) && sequences.rank(4) < sequences.rank(2));
    }
}
