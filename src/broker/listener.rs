//! Accepting connections.
//!
//! Invariants: the number of connections never exceeds `max.connections` (the next one waits in the kernel's queue) nor, for one
//! address, `max.connections.per.ip` (the next one is closed). A panic in a connection's task ends that connection alone.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use super::config::BrokerConfig;
use super::connection::{self, Peer};
use super::request_context::Principal;
use super::server::Broker;

/// How long to leave the kernel alone after it refused to give us a connection (most often for want of file descriptors).
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Connections that may exist at once, over all listeners.
#[derive(Debug)]
pub(crate) struct ConnectionQuota {
    total: Arc<Semaphore>,
    per_ip: Mutex<HashMap<IpAddr, usize>>,
    max_per_ip: usize,
}

impl ConnectionQuota {
    pub(crate) fn new(max_connections: i32, max_per_ip: i32) -> Arc<ConnectionQuota> {
        let total = usize::try_from(max_connections).unwrap_or(0).min(Semaphore::MAX_PERMITS);
        Arc::new(ConnectionQuota {
            total: Arc::new(Semaphore::new(total)),
            per_ip: Mutex::default(),
            max_per_ip: usize::try_from(max_per_ip).unwrap_or(0),
        })
    }

    fn admit(self: &Arc<Self>, ip: IpAddr) -> Option<IpPermit> {
        let mut per_ip = self.per_ip.lock().unwrap_or_else(PoisonError::into_inner);
        let count = per_ip.entry(ip).or_insert(0);
        if *count >= self.max_per_ip {
            if *count == 0 {
                per_ip.remove(&ip);
            }
            return None;
        }
        *count += 1;
        Some(IpPermit { quota: Arc::clone(self), ip })
    }
}

struct IpPermit {
    quota: Arc<ConnectionQuota>,
    ip: IpAddr,
}

impl Drop for IpPermit {
    fn drop(&mut self) {
        let mut per_ip = self.quota.per_ip.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = per_ip.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                per_ip.remove(&self.ip);
            }
        }
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
pub(crate) async fn accept(broker: Arc<Broker>, listener: TcpListener, name: Arc<str>, quota: Arc<ConnectionQuota>) {
    let principal = Arc::new(Principal::anonymous());
    let mut shutdown = broker.shutdown_signal();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            _ = shutdown.wait_for(|&stopping| stopping) => break,
            Some(ended) = connections.join_next() => {
                if let Err(failure) = ended {
                    error!("a connection's task failed: {failure}");
                }
            }
            accepted = next(&listener, &quota) => {
                let Some((stream, address, permit)) = accepted else { continue };
                let Some(ip_permit) = quota.admit(address.ip()) else {
                    info!("closing the connection from {address}: too many connections from this address (max.connections.per.ip)");
                    continue;
                };
                let peer = Peer { address, listener_name: Arc::clone(&name), principal: Arc::clone(&principal) };
                let broker = Arc::clone(&broker);
                connections.spawn(async move {
                    connection::serve(broker, stream, peer).await;
                    drop((permit, ip_permit));
                });
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// A connection within `max.connections`, or `None` after a failure that was worth a pause.
async fn next(listener: &TcpListener, quota: &ConnectionQuota) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(&quota.total).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, address)) => Some((stream, address, permit)),
        Err(error) => {
            warn!("accepting a connection failed: {error}");
            tokio::time::sleep(ACCEPT_BACKOFF).await;
            None
        }
    }
}
