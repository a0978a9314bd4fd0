//! The connections of one client: at most one to each broker for each use, made when first wanted and again when it has ended.
//!
//! Invariant: one attempt at a time for each broker and use; whoever comes meanwhile waits for its outcome.
//! Source: `ClusterConnectionStates`; RFC 8305 (staggered attempts over several addresses).

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::conn::{ConnectError, ConnectFailure, ConnectFailures, Connection, ConnectionOptions};
use super::retry::Backoff;

/// What a connection is for. Requests that brokers hold back on purpose have connections of their own, so that nothing waits behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Use {
    General,
    /// Joins, syncs and heartbeats of a group member.
    Coordinator,
    Fetch,
}

/// How long the next address waits for the one before it.
const STAGGER: Duration = Duration::from_millis(250);

#[derive(Default)]
struct Slot {
    connection: Option<Connection>,
    failures: u32,
    not_before: Option<Instant>,
}

/// Locked for as long as an attempt takes.
type SharedSlot = Arc<tokio::sync::Mutex<Slot>>;

pub(super) struct Pool {
    options: ConnectionOptions,
    backoff: Backoff,
    slots: Mutex<HashMap<(i32, Use), SharedSlot>>,
}

impl Pool {
    pub(super) fn new(options: ConnectionOptions, backoff: Backoff) -> Pool {
        Pool { options, backoff, slots: Mutex::default() }
    }

    pub(super) fn options(&self) -> &ConnectionOptions {
        &self.options
    }

    fn slot(&self, broker: i32, use_: Use) -> SharedSlot {
        let mut slots = self.slots.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Arc::clone(slots.entry((broker, use_)).or_default())
    }

    /// The open connection to a broker at `host:port`, or a new one.
    pub(super) async fn connection(&self, broker: i32, use_: Use, host: &str, port: u16) -> Result<Connection, ConnectFailures> {
        let slot = self.slot(broker, use_);
        // Held over the attempt, so that it is made once however many wait.
        let mut slot = slot.lock().await;
        if let Some(connection) = &slot.connection
            && !connection.is_closed()
        {
            return Ok(connection.clone());
        }
        slot.connection = None;
        if let Some(at) = slot.not_before.take() {
            sleep_until(at).await;
        }
        match connect_any(&[(host.to_owned(), port)], &self.options).await {
            Ok((connection, _)) => {
                slot.failures = 0;
                slot.connection = Some(connection.clone());
                Ok(connection)
            }
            Err(failures) => {
                slot.not_before = Some(Instant::now() + self.backoff.pause(slot.failures));
                slot.failures += 1;
                Err(failures)
            }
        }
    }

    /// Makes an open connection the one to `broker`, unless there is one.
    pub(super) async fn adopt(&self, broker: i32, connection: Connection) {
        let slot = self.slot(broker, Use::General);
        let mut slot = slot.lock().await;
        if slot.connection.as_ref().is_none_or(Connection::is_closed) {
            slot.connection = Some(connection);
        }
    }

    /// An open general connection with the fewest requests in flight.
    pub(super) fn least_loaded(&self) -> Option<Connection> {
        let slots = self.slots.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let open = slots.iter().filter(|((_, use_), _)| *use_ == Use::General);
        let open = open.filter_map(|(_, slot)| slot.try_lock().ok()?.connection.clone()).filter(|connection| !connection.is_closed());
        open.min_by_key(Connection::in_flight)
    }

    /// Closes all connections.
    pub(super) fn close(&self) {
        let slots = std::mem::take(&mut *self.slots.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        for slot in slots.into_values() {
            if let Ok(slot) = slot.try_lock()
                && let Some(connection) = &slot.connection
            {
                connection.close();
            }
        }
    }
}

/// The addresses of a host, as the system orders them.
async fn resolve(host: &str, port: u16, limit: Duration) -> Result<Vec<SocketAddr>, ConnectError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    match timeout(limit, tokio::net::lookup_host((host, port))).await {
        Err(_) => Err(ConnectError::Resolve(format!("no answer within {} ms", limit.as_millis()))),
        Ok(Err(error)) => Err(ConnectError::Resolve(super::conn::reason(&error))),
        Ok(Ok(found)) => {
            let found: Vec<SocketAddr> = found.collect();
            if found.is_empty() { Err(ConnectError::Resolve("it has no address".to_owned())) } else { Ok(found) }
        }
    }
}

/// Connects to the first of several servers that answers, all their addresses being tried in order, each a little later than the one
/// before. Gives the connection and the index of its server. All must answer within the setup timeout, counted once for all.
pub(super) async fn connect_any(servers: &[(String, u16)], options: &ConnectionOptions) -> Result<(Connection, usize), ConnectFailures> {
    let start = Instant::now();
    let limit = options.setup_timeout;
    let mut failures = Vec::new();
    let mut lookups = JoinSet::new();
    for (index, (host, port)) in servers.iter().cloned().enumerate() {
        lookups.spawn(async move { (index, resolve(&host, port, limit).await) });
    }
    // By the order of the servers, then of their addresses.
    let mut waiting = BTreeSet::new();
    let mut attempts = JoinSet::new();
    let mut launch = start;
    loop {
        tokio::select! {
            biased;
            outcome = attempts.join_next(), if !attempts.is_empty() => {
                match outcome {
                    Some(Ok((index, _, _, Ok(connection)))) => return Ok((connection, index)),
                    Some(Ok((index, rank, address, Err(error)))) => {
                        failures.push((index, rank, ConnectFailure { server: text(&servers[index]), address: Some(address), error }));
                        launch = Instant::now();
                    }
                    Some(Err(_)) | None => {}
                }
            }
            found = lookups.join_next(), if !lookups.is_empty() => {
                match found {
                    Some(Ok((index, Ok(found)))) => {
                        waiting.extend(found.into_iter().enumerate().map(|(rank, address)| (index, rank, address)));
                    }
                    Some(Ok((index, Err(error)))) => {
                        failures.push((index, 0, ConnectFailure { server: text(&servers[index]), address: None, error }));
                    }
                    Some(Err(_)) | None => {}
                }
            }
            () = sleep_until(launch), if !waiting.is_empty() => {
                if let Some((index, rank, address)) = waiting.pop_first() {
                    let mut options = options.clone();
                    options.setup_timeout = options.setup_timeout.saturating_sub(start.elapsed()).max(Duration::from_millis(1));
                    attempts.spawn(async move {
                        let outcome = match Connection::connect(address, &options).await {
                            // It is the time of all attempts that is over.
                            Err(ConnectError::TimedOut(_)) => Err(ConnectError::TimedOut(limit)),
                            outcome => outcome,
                        };
                        (index, rank, address, outcome)
                    });
                }
                launch = Instant::now() + STAGGER;
            }
            else => {
                failures.sort_by_key(|(index, rank, _)| (*index, *rank));
                return Err(ConnectFailures { failures: failures.into_iter().map(|(_, _, failure)| failure).collect() });
            }
        }
    }
}

fn text((host, port): &(String, u16)) -> String {
    super::config::BootstrapServer::new(host.clone(), *port).to_string()
}
