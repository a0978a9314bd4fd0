//! One client connection: read a request, answer it, read the next.
//!
//! Invariants: one request of a connection is in flight at a time, so that responses leave in the order of the requests (Kafka does the
//! same by muting the channel). Whatever goes wrong here ends this connection and nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tracing::{debug, info, warn};

use super::dispatch::{self, Reply};
use super::request_context::Principal;
use super::server::Broker;
use super::socket::{ReadError, Socket};

/// The facts all requests of a connection share.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) listener_name: Arc<str>,
    pub(crate) principal: Arc<Principal>,
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
            Err(error) => return warn!("closing the connection from {address}: {error}"),
        };
        match dispatch::handle(broker, peer, frame).await {
            Ok(Reply::Frame(frame)) => {
                if let Err(error) = socket.write_frame(frame).await {
                    return debug!(%address, "writing a response failed: {error}");
                }
            }
            Ok(Reply::Nothing) => {}
            Ok(Reply::Close(reason)) => return info!("closing the connection from {address}: {reason}"),
            Err(error) => return warn!("closing the connection from {address}: {error}"),
        }
    }
}
