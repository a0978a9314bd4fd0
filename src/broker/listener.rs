//! Accepting connections.
//!
//! Invariants: the number of connections never exceeds `max.connections` (the next one waits in the kernel's queue) nor, for one
//! address, `max.connections.per.ip` (the next one is closed); their rate is held down too, see [`super::quota`]. A panic in a connection's task ends that connection alone.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tracing::{debug, error, info, warn};

use super::config::{BrokerConfig, DynamicConfig};
use super::connection::{self, Peer};
use super::quota::Quotas;
use super::quota::connections::{Admission, ConnectionLimits, Connections};
use super::request_context::Principal;
use super::server::Broker;

/// How long to leave the kernel alone after it refused to give us a connection (most often for want of file descriptors).
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// How often a listener without room looks for it when nobody has left: configs may have changed.
const ROOM_INTERVAL: Duration = Duration::from_secs(1);

/// The connections of all listeners, and the places that they take.
pub(crate) struct Admissions {
    quotas: Arc<Quotas>,
    configs: Arc<DynamicConfig>,
    /// The configs that the limits were taken from.
    known: Mutex<Weak<BrokerConfig>>,
    left: Notify,
}

impl Admissions {
    pub(crate) fn new(quotas: Arc<Quotas>, configs: Arc<DynamicConfig>) -> Arc<Admissions> {
        Arc::new(Admissions { quotas, configs, known: Mutex::default(), left: Notify::new() })
    }

    fn connections(&self) -> MutexGuard<'_, Connections> {
        let current = self.configs.current();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut connections = self.quotas.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ptr() != Arc::as_ptr(&current) {
            connections.update_limits(ConnectionLimits::of(&current));
            *known = Arc::downgrade(&current);
        }
        connections
    }

    /// Waits until there is room for one more connection on `listener`.
    async fn room(&self, listener: &str) {
        loop {
            let left = self.left.notified();
            if self.connections().has_room(listener) {
                return;
            }
            let _ = tokio::time::timeout(ROOM_INTERVAL, left).await;
        }
    }
}

/// The place of one connection, free again when this is dropped.
struct Place {
    admissions: Arc<Admissions>,
    listener: Arc<str>,
    ip: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admissions.connections().left(&self.listener, self.ip);
        self.admissions.left.notify_waiters();
    }
}

/// How sockets are made; connections inherit the buffers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketOptions {
    pub(crate) backlog: u32,
    /// None leaves the size to the operating system, which adapts it to the connection.
    pub(crate) send_buffer_bytes: Option<u32>,
    pub(crate) receive_buffer_bytes: Option<u32>,
}

impl SocketOptions {
    /// Differs: buffer sizes count only when somebody has set them. Kafka's default of 100 kB is less than what systems choose today.
    pub(crate) fn of(config: &BrokerConfig) -> SocketOptions {
        let set = |name: &str, size: i32| u32::try_from(size).ok().filter(|_| config.originals().contains_key(name));
        SocketOptions {
            backlog: u32::try_from(config.socket_listen_backlog_size).ok().filter(|&size| size > 0).unwrap_or(50),
            send_buffer_bytes: set("socket.send.buffer.bytes", config.socket_send_buffer_bytes),
            receive_buffer_bytes: set("socket.receive.buffer.bytes", config.socket_receive_buffer_bytes),
        }
    }
}

/// Binds every address that `host` (all of the machine's when it is none) resolves to, all at the same port; port 0 takes a free one.
/// One address is enough: `localhost` may have an IPv6 address that the machine does not.
pub(crate) async fn bind(host: Option<&str>, port: u16, options: SocketOptions) -> io::Result<Vec<TcpListener>> {
    let addresses: Vec<SocketAddr> = match host {
        None | Some("") => vec![SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port)), SocketAddr::from(([0, 0, 0, 0], port))],
        Some(host) => tokio::net::lookup_host((host, port)).await?.collect(),
    };
    let mut listeners: Vec<TcpListener> = Vec::new();
    let mut failure = io::Error::new(ErrorKind::AddrNotAvailable, "the host has no address");
    for mut address in addresses {
        if let Some(bound) = listeners.first() {
            address.set_port(bound.local_addr()?.port());
        }
        match listen(address, options) {
            Ok(listener) => listeners.push(listener),
            // Another program has the port: to go on with the next address would split the clients between the two.
            Err(error) if listeners.is_empty() && error.kind() == ErrorKind::AddrInUse => return Err(error),
            Err(error) if listeners.is_empty() => failure = error,
            Err(_) => {}
        }
    }
    if listeners.is_empty() { Err(failure) } else { Ok(listeners) }
}

fn listen(address: SocketAddr, options: SocketOptions) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // As Java does: a broker can be started again while connections of the last one still linger.
    socket.set_reuseaddr(true)?;
    if let Some(size) = options.send_buffer_bytes {
        socket.set_send_buffer_size(size)?;
    }
    if let Some(size) = options.receive_buffer_bytes {
        socket.set_recv_buffer_size(size)?;
    }
    socket.bind(address)?;
    socket.listen(options.backlog)
}

/// Accepts connections of one listener until the broker shuts down, and returns when the last of them has ended.
pub(crate) async fn accept(broker: Arc<Broker>, listener: TcpListener, name: Arc<str>, admissions: Arc<Admissions>) {
    let principal = Arc::new(Principal::anonymous());
    let listener_metrics = broker.metrics.listener(&name);
    let mut shutdown = broker.shutdown_signal();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut shutdown) => break,
            Some(ended) = connections.join_next() => {
                if let Err(failure) = ended {
                    error!("a connection's task failed: {failure}");
                }
            }
            accepted = next(&listener, &name, &admissions) => {
                let Some((stream, address)) = accepted else { continue };
                let mut stop = broker.shutdown_signal();
                let admission = tokio::select! {
                    biased;
                    () = stopped(&mut stop) => break,
                    admission = admit(&admissions, &name, address.ip()) => admission,
                };
                match admission {
                    Ok(place) => {
                        let peer = Peer {
                            address,
                            listener_name: Arc::clone(&name),
                            principal: Arc::clone(&principal),
                            connection: Arc::default(),
                        };
                        let broker = Arc::clone(&broker);
                        let counted = listener_metrics.opened();
                        connections.spawn(async move {
                            connection::serve(broker, stream, peer).await;
                            drop((place, counted));
                        });
                    }
                    Err(Admission::Throttled { ms }) => {
                        debug!("closing the connection from {address} in {ms} ms: too many new ones from this address");
                        connections.spawn(async move {
                            let _ = tokio::time::timeout(Duration::from_millis(u64::from(ms)), stopped(&mut stop)).await;
                            drop(stream);
                        });
                    }
                    Err(Admission::TooMany { limit }) => {
                        info!("closing the connection from {address}: its address has {limit} already (max.connections.per.ip)");
                    }
                    Err(Admission::Admitted | Admission::Full) => {}
                }
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    // An error means that the broker is gone.
    let _ = shutdown.wait_for(|&stopping| stopping).await;
}

/// The next connection when there is room for it, or `None` after a failure that was worth a pause.
async fn next(listener: &TcpListener, name: &str, admissions: &Admissions) -> Option<(TcpStream, SocketAddr)> {
    admissions.room(name).await;
    match listener.accept().await {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            warn!("accepting a connection failed: {error}");
            tokio::time::sleep(ACCEPT_BACKOFF).await;
            None
        }
    }
}

/// A place for a connection that has come, after the pause that a rate of connections may ask for; or why it gets none.
async fn admit(admissions: &Arc<Admissions>, name: &Arc<str>, ip: IpAddr) -> Result<Place, Admission> {
    let pause_ms = admissions.connections().arrived(name, admissions.quotas.now_ms());
    if pause_ms > 0 {
        tokio::time::sleep(Duration::from_millis(u64::from(pause_ms))).await;
    }
    loop {
        let admission = admissions.connections().admit(name, ip, admissions.quotas.now_ms());
        match admission {
            Admission::Admitted => return Ok(Place { admissions: Arc::clone(admissions), listener: Arc::clone(name), ip }),
            // Another listener was faster.
            Admission::Full => admissions.room(name).await,
            refusal => return Err(refusal),
        }
    }
}
