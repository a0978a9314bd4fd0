//! One listener of a node, `NAME://host:port`.
//!
//! Sources: `SocketServerConfigs.listenerListToEndPoints`, `SecurityProtocol`.

use std::fmt;

/// How a listener is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityProtocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl SecurityProtocol {
    /// All of them, in the order of their codes.
    pub const ALL: [SecurityProtocol; 4] =
        [SecurityProtocol::Plaintext, SecurityProtocol::Ssl, SecurityProtocol::SaslPlaintext, SecurityProtocol::SaslSsl];

    /// The number in metadata records and requests.
    pub fn code(self) -> i16 {
        match self {
            SecurityProtocol::Plaintext => 0,
            SecurityProtocol::Ssl => 1,
            SecurityProtocol::SaslPlaintext => 2,
            SecurityProtocol::SaslSsl => 3,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            SecurityProtocol::Plaintext => "PLAINTEXT",
            SecurityProtocol::Ssl => "SSL",
            SecurityProtocol::SaslPlaintext => "SASL_PLAINTEXT",
            SecurityProtocol::SaslSsl => "SASL_SSL",
        }
    }

    /// The protocol of this name, in any case.
    pub fn from_name(name: &str) -> Option<SecurityProtocol> {
        SecurityProtocol::ALL.into_iter().find(|protocol| protocol.name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for SecurityProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The listener's name, in upper case.
    pub listener: String,
    pub security_protocol: SecurityProtocol,
    /// None for all addresses of the machine.
    pub host: Option<String>,
    /// 0 lets the operating system choose one.
    pub port: u16,
}

/// `name`, `host` and `port` of `name://host:port`, the host without the brackets of an IPv6 address.
pub(super) fn split(text: &str) -> Option<(&str, &str, &str)> {
    let (name, address) = text.rsplit_once("://")?;
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').unwrap_or(host);
    let host = host.strip_suffix(']').unwrap_or(host);
    let is_host = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-%._:".contains(&byte));
    let digits = port.strip_prefix('-').unwrap_or(port);
    let is_port = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    (is_host && is_port).then_some((name, host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_split_into_name_host_and_port() {
        assert_eq!(split("PLAINTEXT://localhost:9092"), Some(("PLAINTEXT", "localhost", "9092")));
        assert_eq!(split("EXT://[::1]:9092"), Some(("EXT", "::1", "9092")));
        assert_eq!(split("PLAINTEXT://:9092"), Some(("PLAINTEXT", "", "9092")));
        assert_eq!(split("localhost:9092"), None);
        assert_eq!(split("PLAINTEXT://localhost"), None);
        assert_eq!(split("PLAINTEXT://local host:1"), None);
    }
}
