//! One entry of `bootstrap.servers`. Source: `Utils.getHost`, `Utils.getPort`.

use std::fmt;
use std::net::Ipv6Addr;

use super::ConfigError;

/// A host name, IPv4 or IPv6 address (without brackets) and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BootstrapServer {
    pub host: String,
    pub port: u16,
}

impl BootstrapServer {
    pub fn new(host: impl Into<String>, port: u16) -> BootstrapServer {
        BootstrapServer { host: host.into(), port }
    }

    /// `host:port`, `[v6]:port`, or either after `PROTOCOL://`.
    pub(super) fn parse(key: &str, text: &str) -> Result<BootstrapServer, ConfigError> {
        let invalid = || ConfigError::Rule { key: key.to_owned(), message: format!("Invalid url in {key}: {text}") };
        let address = text.split_once("://").map_or(text, |(_, address)| address);
        let (host, port) = address.rsplit_once(':').ok_or_else(invalid)?;
        let host = match (host.strip_prefix('['), host.strip_suffix(']')) {
            (Some(_), Some(_)) => &host[1..host.len() - 1],
            (None, None) => host,
            _ => return Err(invalid()),
        };
        // What is left of an IPv6 address whose last group would be the port.
        if host.contains(':') && host.parse::<Ipv6Addr>().is_err() && text.parse::<Ipv6Addr>().is_ok() {
            let message = format!("Invalid url in {key}: {text} (an IPv6 address goes in brackets: [{text}]:9092)");
            return Err(ConfigError::Rule { key: key.to_owned(), message });
        }
        let good_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '%' | '.' | '_' | ':');
        if host.is_empty() || !host.chars().all(good_host) || port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(invalid());
        }
        let port =
            port.parse().map_err(|_| ConfigError::Rule { key: key.to_owned(), message: format!("Invalid port in {key}: {text}") })?;
        Ok(BootstrapServer::new(host, port))
    }
}

impl fmt::Display for BootstrapServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') { write!(f, "[{}]:{}", self.host, self.port) } else { write!(f, "{}:{}", self.host, self.port) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_addresses_and_brackets_parse() {
        for (text, host) in
            [("h:1", "h"), ("[::1]:1", "::1"), ("::1:1", "::1"), ("PLAINTEXT://h-x_y.z:1", "h-x_y.z"), ("10.0.0.1:1", "10.0.0.1")]
        {
            assert_eq!(BootstrapServer::parse("k", text), Ok(BootstrapServer::new(host, 1)), "{text}");
        }
        assert_eq!(BootstrapServer::new("::1", 9).to_string(), "[::1]:9");
    }

    #[test]
    fn malformed_ones_name_the_key() {
        for text in ["h", "h:", ":1", "[::1:1", "h:x", "a b:1"] {
            let error = BootstrapServer::parse("bootstrap.servers", text).expect_err(text);
            assert_eq!(error.to_string(), format!("Invalid url in bootstrap.servers: {text}"));
        }
        for text in ["::1", "fe80::1", "2001:db8:0:0:0:0:0:5"] {
            let error = BootstrapServer::parse("bootstrap.servers", text).expect_err(text).to_string();
            assert!(error.ends_with(&format!("in brackets: [{text}]:9092)")), "{error}");
        }
        let error = BootstrapServer::parse("bootstrap.servers", "h:70000").expect_err("too large");
        assert_eq!(error.to_string(), "Invalid port in bootstrap.servers: h:70000");
    }
}
