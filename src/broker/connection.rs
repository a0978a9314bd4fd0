//! One client connection: read a request, answer it, read the next.
//!
//! Invariants: one request of a connection is in flight at a time, so that responses leave in the order of the requests (Kafka does the
//! same by muting the channel). Whatever goes wrong here ends this connection and nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::net::TcpStream;
use tracing::{debug, info, warn};

use super::dispatch::{self, Handled, Reply};
use super::request_context::{ConnectionFacts, Principal};
use super::server::Broker;
use super::socket::{ReadError, Socket};
use crate::protocol::api_key::ApiKey;

/// The facts all requests of a connection share.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) listener_name: Arc<str>,
    pub(crate) principal: Arc<Principal>,
    pub(crate) connection: Arc<ConnectionFacts>,
}

/// Serves `stream` until either side has had enough.
pub(crate) async fn serve(broker: Arc<Broker>, stream: TcpStream, peer: Peer) {
    // Without this a response may sit in the kernel until the client acknowledges the one before it.
    let _ = stream.set_nodelay(true);
    let config = broker.config();
    let idle = Duration::from_millis(u64::try_from(config.connections_max_idle_ms).unwrap_or(u64::MAX / 1_000_000));
    let mut socket = Socket::new(stream, config.socket_request_max_bytes, idle);
    let mut shutdown = broker.shutdown_signal();
    let address = peer.address;
    tokio::select! {
        biased;
        _ = shutdown.wait_for(|&stopping| stopping) => {}
        () = serve_requests(&broker, &mut socket, &peer) => {}
    }
    if let Some(instance) = peer.connection.telemetry_instance() {
        broker.telemetry.forget(instance);
    }
    broker.shares.connection_closed(address);
    debug!(%address, "connection closed");
}

async fn serve_requests(broker: &Arc<Broker>, socket: &mut Socket, peer: &Peer) {
    let address = peer.address;
    loop {
        let frame = match socket.read_frame().await {
            Ok(Some(frame)) => frame,
            Ok(None) => return,
            Err(ReadError::Idle(_)) => return debug!(%address, "closing an idle connection"),
            Err(ReadError::Io(error)) => return debug!(%address, "reading a request failed: {error}"),
            Err(error) => return complain(broker, address, &error),
        };
        let arrived = Instant::now();
        let api_key = api_key(&frame);
        let Handled { reply, throttle_ms } = match dispatch::handle(broker, peer, frame).await {
            Ok(handled) => handled,
            Err(error) => return complain(broker, address, &error),
        };
        match reply {
            Reply::Frame(frame) => {
                let handled = Instant::now();
                if let Err(error) = socket.write_frame(frame).await {
                    return debug!(%address, "writing a response failed: {error}");
                }
                if let Some(api_key) = api_key {
                    broker.metrics.requests.sent(api_key, handled.elapsed(), arrived.elapsed());
                }
            }
            Reply::Nothing => {}
            Reply::Close(reason) => return info!("closing the connection from {address}: {reason}"),
        }
        if throttle_ms > 0 {
            debug!(%address, throttle_ms, "over a quota: not reading");
            tokio::time::sleep(Duration::from_millis(u64::from(throttle_ms))).await;
        }
    }
}

/// Warns of a client that talks nonsense; of many such in a row only now and then.
fn complain(broker: &Broker, address: SocketAddr, error: &dyn std::fmt::Display) {
    match broker.complaints.admit(broker.clock.monotonic_ms()) {
        Some(0) => warn!("closing the connection from {address}: {error}"),
        Some(silenced) => warn!("closing the connection from {address}: {error} ({silenced} more were closed since the last warnings)"),
        None => debug!("closing the connection from {address}: {error}"),
    }
}

/// The API that a frame claims to be for.
fn api_key(frame: &Bytes) -> Option<ApiKey> {
    let code = frame.first_chunk::<2>()?;
    ApiKey::from_code(i16::from_be_bytes(*code))
}
