//! Who asks, over which connection, for what: everything about a request that is not in its body.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::quota::Account;
use crate::common::uuid::Uuid;
use crate::protocol::api_key::ApiKey;

/// The facts of one request. Cheap to make: strings that live as long as the connection are shared.
#[derive(Clone, Debug)]
pub struct RequestContext {
    pub api_key: ApiKey,
    pub api_version: i16,
    pub correlation_id: i32,
    /// What the client calls itself; null in some clients.
    pub client_id: Option<String>,
    pub client_address: SocketAddr,
    /// The name of the listener that accepted the connection, such as `PLAINTEXT`.
    pub listener_name: Arc<str>,
    pub principal: Arc<Principal>,
    pub connection: Arc<ConnectionFacts>,
    /// The size of the request without its length field.
    pub request_bytes: usize,
    /// What the request uses, where anybody has a quota.
    pub(crate) account: Option<Arc<Account>>,
    /// How long the request has waited for other replicas or for data so far.
    pub waited: Waited,
}

/// A time that its owner's readers may lengthen.
#[derive(Debug, Default)]
pub struct Waited(AtomicU64);

impl Waited {
    pub fn add(&self, wait: Duration) {
        self.0.fetch_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub fn duration(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

impl Clone for Waited {
    fn clone(&self) -> Waited {
        Waited(AtomicU64::new(self.0.load(Ordering::Relaxed)))
    }
}

impl RequestContext {
    /// The client's host as Kafka prints it in group descriptions: `/127.0.0.1`.
    pub fn client_host(&self) -> String {
        format!("/{}", self.client_address.ip())
    }
}

/// What becomes known of a connection while it lasts.
#[derive(Debug, Default)]
pub struct ConnectionFacts {
    /// The name and the version that the client gave in ApiVersions.
    software: OnceLock<(String, String)>,
    /// Under which identifier the client sends its metrics.
    telemetry_instance: Mutex<Option<Uuid>>,
}

impl ConnectionFacts {
    /// The first word counts, as in Kafka.
    pub(crate) fn set_software(&self, name: &str, version: &str) {
        let _ = self.software.set((name.to_owned(), version.to_owned()));
    }

    /// The client's name and version; `unknown` where it has not said.
    pub fn software(&self) -> (&str, &str) {
        self.software.get().map_or(("unknown", "unknown"), |(name, version)| (name, version))
    }

    pub(crate) fn set_telemetry_instance(&self, id: Uuid) {
        *self.telemetry_instance.lock().unwrap_or_else(PoisonError::into_inner) = Some(id);
    }

    pub(crate) fn telemetry_instance(&self) -> Option<Uuid> {
        *self.telemetry_instance.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An authenticated identity; its text is `Type:name`. Source: `KafkaPrincipal`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    pub principal_type: String,
    pub name: String,
}

impl Principal {
    /// Who a connection without authentication is.
    pub fn anonymous() -> Principal {
        Principal { principal_type: "User".to_owned(), name: "ANONYMOUS".to_owned() }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.principal_type, self.name)
    }
}
