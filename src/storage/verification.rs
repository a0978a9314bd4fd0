//! Producers that are about to begin a transaction in one log (KIP-890). Source: `VerificationStateEntry`, `VerificationGuard`.
//!
//! Before a producer's first transactional batch is appended, the transaction coordinator is asked whether the partition belongs to the
//! transaction. Meanwhile a marker may end that transaction; the answer must then not let the batch in. So asking leaves a guard here,
//! the append has to bring the same one, and a marker takes it away.
//!
//! Differs: a later epoch of the producer begins a verification of its own. Kafka goes on with the one before and its protocol, so that
//! after a change from the newer protocol to the classic one a guard could outlive the transaction it was given for.
//!
//! The lowest sequence number that was seen while asking holds back higher ones: a batch whose predecessor has still to be verified
//! would otherwise be the producer's first, and the predecessor out of order for ever.

use std::collections::HashMap;

/// Stands for one verification in one log; no two are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerificationGuard(pub u64);

/// A verification that has begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verification {
    guard: VerificationGuard,
    since_ms: i64,
    pub(super) lowest_sequence: i32,
    producer_epoch: i16,
    /// Of a producer that changes its epoch with every transaction (transaction.version 2).
    pub(super) supports_epoch_bump: bool,
}

/// The verifications of one log, by producer id. Not durable: after a restart they begin again.
#[derive(Debug, Default)]
pub(super) struct Verifications {
    by_producer: HashMap<i64, Verification>,
    guards: u64,
}

impl Verifications {
    /// Begins a verification, or goes on with the one that has begun.
    pub(super) fn begin(
        &mut self,
        producer_id: i64,
        producer_epoch: i16,
        sequence: i32,
        supports_epoch_bump: bool,
        now_ms: i64,
    ) -> VerificationGuard {
        match self.by_producer.get_mut(&producer_id) {
            Some(known) if producer_epoch <= known.producer_epoch => {
                if producer_epoch == known.producer_epoch {
                    known.lowest_sequence = known.lowest_sequence.min(sequence);
                }
                known.guard
            }
            _ => {
                self.guards += 1;
                let guard = VerificationGuard(self.guards);
                let begun = Verification { guard, since_ms: now_ms, lowest_sequence: sequence, producer_epoch, supports_epoch_bump };
                self.by_producer.insert(producer_id, begun);
                guard
            }
        }
    }

    pub(super) fn get(&self, producer_id: i64) -> Option<Verification> {
        self.by_producer.get(&producer_id).copied()
    }

    /// Is this the guard of the producer's verification?
    pub(super) fn matches(&self, producer_id: i64, guard: Option<VerificationGuard>) -> bool {
        guard.is_some() && self.by_producer.get(&producer_id).map(|verification| verification.guard) == guard
    }

    /// A transactional batch of the producer was appended: there is an open transaction now, or a marker has ended it. Only the marker of
    /// the transaction before leaves the verification of the next one alone, whose epoch is already the marker's.
    pub(super) fn on_append(&mut self, producer_id: i64, producer_epoch: i16, is_marker: bool) {
        let is_for_the_next =
            |verification: &Verification| is_marker && verification.supports_epoch_bump && verification.producer_epoch == producer_epoch;
        if self.by_producer.get(&producer_id).is_some_and(|verification| !is_for_the_next(verification)) {
            self.by_producer.remove(&producer_id);
        }
    }

    pub(super) fn remove_expired(&mut self, now_ms: i64, expiration_ms: i64) {
        self.by_producer.retain(|_, verification| now_ms - verification.since_ms < expiration_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_again_goes_on_with_the_same_guard() {
        let mut verifications = Verifications::default();
        let guard = verifications.begin(1, 0, 5, false, 0);
        assert_eq!(verifications.begin(1, 0, 3, false, 0), guard);
        assert_eq!(verifications.get(1).map(|it| it.lowest_sequence), Some(3));
        assert!(verifications.matches(1, Some(guard)));
        assert!(!verifications.matches(1, None) && !verifications.matches(2, Some(guard)));
        let next = verifications.begin(1, 1, 9, false, 0);
        assert!(next != guard, "a new epoch begins anew");
        assert_eq!(verifications.get(1).map(|it| it.lowest_sequence), Some(9));
    }

    #[test]
    fn a_marker_makes_a_guard_worthless() {
        let mut verifications = Verifications::default();
        let before = verifications.begin(1, 0, 0, false, 0);
        verifications.on_append(1, 0, true);
        let after = verifications.begin(1, 0, 0, false, 0);
        assert!(!verifications.matches(1, Some(before)) && verifications.matches(1, Some(after)));
    }

    #[test]
    fn the_marker_of_the_transaction_before_leaves_the_next_one_alone() {
        let mut verifications = Verifications::default();
        let guard = verifications.begin(1, 4, 0, true, 0);
        verifications.on_append(1, 4, true);
        assert!(verifications.matches(1, Some(guard)));
        verifications.on_append(1, 4, false);
        assert!(!verifications.matches(1, Some(guard)));
    }

    #[test]
    fn what_nobody_finishes_expires() {
        let mut verifications = Verifications::default();
        verifications.begin(1, 0, 0, false, 100);
        verifications.remove_expired(199, 100);
        assert!(verifications.get(1).is_some());
        verifications.remove_expired(200, 100);
        assert!(verifications.get(1).is_none());
    }
}
