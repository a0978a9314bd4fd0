//! The HTTP endpoint of `metrics.listener`: `/metrics` for Prometheus, `/health` (the process works) and `/ready` (clients are served) for
//! whatever starts and watches brokers. `/health` and `/ready` answer one line, with 200 or 503.
//!
//! Invariant: no client of this port costs Kafka's clients anything: few connections at once, short requests, a time limit for each.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tracing::{debug, error, warn};

use super::{exposition, scrape};
use crate::broker::server::Broker;

/// The config that turns the endpoint on: `HOST:PORT`. Kafka has none of this name, and takes it for a plug-in's.
pub(crate) const LISTENER_CONFIG: &str = "metrics.listener";

const MAX_CONNECTIONS: usize = 16;
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// A scrape that takes longer has lost its reader: Prometheus waits 10 s by default.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Serves the endpoint until the task is dropped.
pub(crate) async fn serve(broker: Arc<Broker>, listener: TcpListener) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, address)) => {
                let broker = Arc::clone(&broker);
                tokio::spawn(async move {
                    match tokio::time::timeout(CONNECTION_TIMEOUT, serve_connection(broker, stream)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(failure)) => debug!(%address, "a metrics connection failed: {failure}"),
                        Err(_) => debug!(%address, "a metrics connection took too long"),
                    }
                    drop(permit);
                });
            }
            Err(failure) => {
                warn!("accepting a metrics connection failed: {failure}");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

async fn serve_connection(broker: Arc<Broker>, stream: TcpStream) -> hyper::Result<()> {
    let service = service_fn(move |request| {
        let broker = Arc::clone(&broker);
        async move { Ok::<_, Infallible>(answer(&broker, &request).await) }
    });
    http1::Builder::new().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).serve_connection(TokioIo::new(stream), service).await
}

async fn answer(broker: &Arc<Broker>, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return line(StatusCode::METHOD_NOT_ALLOWED, "only GET");
    }
    match request.uri().path() {
        "/metrics" => match scrape::scrape(broker).await {
            Ok(text) => {
                let mut response = Response::new(Full::from(text));
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(exposition::CONTENT_TYPE));
                response
            }
            Err(failure) => {
                error!("the metrics could not be written: {failure}");
                line(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written")
            }
        },
        "/health" => verdict(unhealthy(broker)),
        "/ready" => verdict(unhealthy(broker).or_else(|| unready(broker))),
        "/" => line(StatusCode::OK, "/metrics /health /ready"),
        _ => line(StatusCode::NOT_FOUND, "not here: /metrics, /health and /ready are"),
    }
}

/// Why the node should be started anew.
fn unhealthy(broker: &Broker) -> Option<&'static str> {
    let directories = broker.replicas.log_dirs().directories();
    if directories.iter().all(|dir| !dir.online) {
        return Some("every log directory has failed");
    }
    broker.controller.has_failed().then_some("the controller has failed")
}

/// Why clients should go elsewhere for now.
fn unready(broker: &Broker) -> Option<&'static str> {
    if broker.is_stopping() {
        return Some("shutting down");
    }
    (!broker.image().cluster.is_active(broker.node_id())).then_some("fenced: not registered with the controller")
}

fn verdict(objection: Option<&'static str>) -> Response<Full<Bytes>> {
    match objection {
        None => line(StatusCode::OK, "ok"),
        Some(text) => line(StatusCode::SERVICE_UNAVAILABLE, text),
    }
}

fn line(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(format!("{text}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
