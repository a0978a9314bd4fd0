//! Deadlines of a pure state machine: it sets and cancels them by key, its owner asks when the next is due and collects what expired.
//!
//! Invariant: a key has at most one deadline; setting it again replaces the earlier one. Deadlines of the same millisecond expire in the
//! order in which they were set, so that a run is reproducible.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// The moment at which something happens, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since 1970: what goes into records.
    pub wall_ms: i64,
    /// Milliseconds that never go back: what deadlines are measured in.
    pub monotonic_ms: u64,
}

impl Now {
    /// Is it `interval_ms` after what was stamped with a wall-clock time? A stamp of the future is one of before the clock was set back: nobody
    /// knows how long ago that was, and waiting for it could take hours.
    pub fn is_past(self, stamp_ms: i64, interval_ms: i64) -> bool {
        self.wall_ms < stamp_ms || self.wall_ms >= stamp_ms.saturating_add(interval_ms)
    }
}

/// Deadlines by key, each with the action `A` that is due then.
#[derive(Debug)]
pub struct Timers<K, A> {
    by_key: HashMap<K, (u64, u64)>,
    by_deadline: BTreeMap<(u64, u64), (K, A)>,
    set: u64,
}

impl<K: Eq + Hash + Clone, A> Default for Timers<K, A> {
    fn default() -> Timers<K, A> {
        Timers { by_key: HashMap::new(), by_deadline: BTreeMap::new(), set: 0 }
    }
}

impl<K: Eq + Hash + Clone, A> Timers<K, A> {
    /// Makes `action` due `delay_ms` from `now`, in place of whatever the key was set to; a negative delay is due at once.
    pub fn schedule(&mut self, now: Now, key: K, delay_ms: i64, action: A) {
        self.cancel(&key);
        let deadline = now.monotonic_ms.saturating_add(u64::try_from(delay_ms).unwrap_or(0));
        self.set += 1;
        self.by_key.insert(key.clone(), (deadline, self.set));
        self.by_deadline.insert((deadline, self.set), (key, action));
    }

    pub fn cancel(&mut self, key: &K) {
        if let Some(at) = self.by_key.remove(key) {
            self.by_deadline.remove(&at);
        }
    }

    pub fn is_set(&self, key: &K) -> bool {
        self.by_key.contains_key(key)
    }

    /// When the next action is due, in monotonic milliseconds.
    pub fn next_deadline(&self) -> Option<u64> {
        self.by_deadline.keys().next().map(|&(deadline, _)| deadline)
    }

    /// Takes the earliest action that is due at `now`.
    pub fn pop_due(&mut self, now: Now) -> Option<(K, A)> {
        let (&at, _) = self.by_deadline.first_key_value()?;
        if at.0 > now.monotonic_ms {
            return None;
        }
        let (key, action) = self.by_deadline.remove(&at)?;
        self.by_key.remove(&key);
        Some((key, action))
    }

    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    pub fn clear(&mut self) {
        self.by_key.clear();
        self.by_deadline.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now { wall_ms: ms as i64, monotonic_ms: ms }
    }

    #[test]
    fn setting_a_key_again_replaces_its_deadline() {
        let mut timers = Timers::default();
        timers.schedule(at(0), "a", 10, 1);
        timers.schedule(at(0), "b", 20, 2);
        timers.schedule(at(0), "a", 30, 3);
        assert_eq!(timers.next_deadline(), Some(20));
        assert_eq!(timers.pop_due(at(19)), None);
        assert_eq!(timers.pop_due(at(100)), Some(("b", 2)));
        assert_eq!(timers.pop_due(at(100)), Some(("a", 3)));
        assert!(timers.is_empty());
    }

    #[test]
    fn a_cancelled_key_never_expires() {
        let mut timers = Timers::default();
        timers.schedule(at(5), "a", -1, ());
        assert_eq!(timers.next_deadline(), Some(5));
        timers.cancel(&"a");
        assert_eq!(timers.pop_due(at(100)), None);
    }

    #[test]
    fn equal_deadlines_expire_in_the_order_they_were_set() {
        let mut timers = Timers::default();
        for key in ["c", "a", "b"] {
            timers.schedule(at(0), key, 1, ());
        }
        let order: Vec<_> = std::iter::from_fn(|| timers.pop_due(at(1))).map(|(key, ())| key).collect();
        assert_eq!(order, ["c", "a", "b"]);
    }
}
