//! Who asks, over which connection, for what: everything about a request that is not in its body.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

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
}

impl RequestContext {
    /// The client's host as Kafka prints it in group descriptions: `/127.0.0.1`.
    pub fn client_host(&self) -> String {
        format!("/{}", self.client_address.ip())
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
