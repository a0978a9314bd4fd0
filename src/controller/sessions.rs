//! Which brokers are alive, by their heartbeats. Source: Kafka's `BrokerHeartbeatManager` and `BrokerHeartbeatTracker`.

use std::collections::BTreeMap;

/// A broker that has registered with this controller or with one before it.
#[derive(Debug, Clone, Copy)]
struct Session {
    fenced: bool,
    /// How far the broker has read the metadata log; -1 before its first heartbeat.
    metadata_offset: i64,
    /// The offset from which the broker's partitions are led elsewhere; -1 unless it is shutting down.
    controlled_shutdown_offset: i64,
    /// Monotonic; `None` while no session counts (just registered, fenced).
    last_contact_ms: Option<u64>,
}

/// The state that a broker is in, for heartbeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerState {
    Fenced,
    Unfenced,
    ControlledShutdown,
    /// The broker may stop now.
    ShutdownNow,
}

impl BrokerState {
    /// Does the broker count as fenced?
    pub fn fenced(self) -> bool {
        matches!(self, BrokerState::Fenced | BrokerState::ShutdownNow)
    }
}

/// The sessions of all registered brokers. In memory only: a new controller gives every unfenced broker a fresh one.
#[derive(Debug)]
pub struct Sessions {
    timeout_ms: u64,
    brokers: BTreeMap<i32, Session>,
}

impl Sessions {
    pub fn new(timeout_ms: u64) -> Sessions {
        Sessions { timeout_ms, brokers: BTreeMap::new() }
    }

    /// Takes over what a replayed registration or its change says.
    pub fn register(&mut self, id: i32, fenced: bool, shutting_down: bool, now_ms: u64) {
        let session = self.brokers.entry(id).or_insert(Session {
            fenced,
            metadata_offset: -1,
            controlled_shutdown_offset: -1,
            last_contact_ms: None,
        });
        session.fenced = fenced;
        if !fenced && session.last_contact_ms.is_none() {
            session.last_contact_ms = Some(now_ms);
        }
        if shutting_down && session.controlled_shutdown_offset < 0 {
            session.controlled_shutdown_offset = 0;
        }
        if !shutting_down {
            session.controlled_shutdown_offset = -1;
        }
    }

    /// Forgets all brokers.
    pub fn clear(&mut self) {
        self.brokers.clear();
    }

    pub fn remove(&mut self, id: i32) {
        self.brokers.remove(&id);
    }

    /// Ends a session, so that another incarnation may register at once.
    pub fn expire(&mut self, id: i32) {
        if let Some(session) = self.brokers.get_mut(&id) {
            session.last_contact_ms = None;
        }
    }

    /// Has the broker been heard from within the session timeout?
    pub fn is_valid(&self, id: i32, now_ms: u64) -> bool {
        let contact = self.brokers.get(&id).and_then(|session| session.last_contact_ms);
        contact.is_some_and(|contact| now_ms.saturating_sub(contact) < self.timeout_ms)
    }

    /// Notes a heartbeat.
    pub fn touch(&mut self, id: i32, metadata_offset: i64, now_ms: u64) {
        if let Some(session) = self.brokers.get_mut(&id) {
            session.last_contact_ms = Some(now_ms);
            session.metadata_offset = session.metadata_offset.max(metadata_offset);
        }
    }

    /// Notes up to where the others must have read the log before a broker that shuts down may stop.
    pub fn update_controlled_shutdown_offset(&mut self, id: i32, offset: i64) {
        if let Some(session) = self.brokers.get_mut(&id) {
            session.controlled_shutdown_offset = session.controlled_shutdown_offset.max(offset);
        }
    }

    pub fn state(&self, id: i32) -> BrokerState {
        match self.brokers.get(&id) {
            Some(session) if session.controlled_shutdown_offset >= 0 => BrokerState::ControlledShutdown,
            Some(session) if !session.fenced => BrokerState::Unfenced,
            _ => BrokerState::Fenced,
        }
    }

    /// Have all active brokers read the metadata up to where `id`'s partitions were moved away?
    pub fn may_finish_shutdown(&self, id: i32) -> bool {
        let wanted = self.brokers.get(&id).map_or(-1, |session| session.controlled_shutdown_offset);
        let active = self.brokers.values().filter(|session| !session.fenced && session.controlled_shutdown_offset < 0);
        active.map(|session| session.metadata_offset).min().is_none_or(|lowest| wanted <= lowest)
    }

    /// An unfenced broker whose session has run out.
    pub fn stale(&self, now_ms: u64) -> Option<i32> {
        let expired = |session: &Session| session.last_contact_ms.is_none_or(|at| now_ms.saturating_sub(at) >= self.timeout_ms);
        self.brokers.iter().find(|(_, session)| !session.fenced && expired(session)).map(|(&id, _)| id)
    }
}
