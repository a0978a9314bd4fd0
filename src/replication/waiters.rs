//! Waiting for a partition to move: long polls of Fetch, and Produce with `acks=all` for the high watermark.
//!
//! A request that has to wait registers one [`Waiter`] in the [`WaiterSet`] of every partition it looks at, looks again (something may
//! have happened between the first look and the registration), and then sleeps. Whoever moves a partition wakes everyone registered
//! there; each re-evaluates its own condition, so a wake-up promises nothing. Kafka does the same with purgatories keyed by partition
//! (`DelayedOperation`).
//!
//! Invariant: a wake-up between registration and sleep is not lost ([`Notify::notify_one`] leaves a permit). A dropped
//! [`Registration`] leaves nothing behind.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// One waiting request, shared by all partitions it waits for.
#[derive(Debug, Default)]
pub struct Waiter {
    notify: Notify,
}

impl Waiter {
    pub fn new() -> Arc<Waiter> {
        Arc::default()
    }

    /// Ends the present or the next [`Waiter::woken`].
    pub fn wake(&self) {
        self.notify.notify_one();
    }

    /// Returns once something this waiter registered for has happened since the last return.
    pub async fn woken(&self) {
        self.notify.notified().await;
    }
}

/// Everyone who waits for one partition.
#[derive(Debug, Default)]
pub struct WaiterSet {
    waiters: Mutex<Vec<Arc<Waiter>>>,
}

impl WaiterSet {
    /// Adds `waiter` until the registration is dropped.
    pub fn register(self: &Arc<Self>, waiter: &Arc<Waiter>) -> Registration {
        self.lock().push(Arc::clone(waiter));
        Registration { set: Arc::clone(self), waiter: Arc::clone(waiter) }
    }

    /// Wakes everyone registered at this moment.
    pub fn wake_all(&self) {
        for waiter in self.lock().iter() {
            waiter.wake();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Waiter>>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a waiter in a set.
#[derive(Debug)]
pub struct Registration {
    set: Arc<WaiterSet>,
    waiter: Arc<Waiter>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut waiters = self.set.lock();
        if let Some(at) = waiters.iter().position(|other| Arc::ptr_eq(other, &self.waiter)) {
            waiters.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wake_up_before_the_sleep_is_not_lost() {
        let (set, waiter) = (Arc::new(WaiterSet::default()), Waiter::new());
        let _registration = set.register(&waiter);
        set.wake_all();
        waiter.woken().await;
    }

    #[test]
    fn a_dropped_registration_leaves_nothing_behind() {
        let set = Arc::new(WaiterSet::default());
        let (a, b) = (Waiter::new(), Waiter::new());
        let first = set.register(&a);
        let second = set.register(&b);
        drop(first);
        assert_eq!(set.lock().len(), 1);
        assert!(Arc::ptr_eq(&set.lock()[0], &b));
        drop(second);
        assert!(set.lock().is_empty());
    }
}
