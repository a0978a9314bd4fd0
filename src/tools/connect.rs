//! From flags, files and the environment to a client's configuration.
//!
//! Precedence: flag, `--command-property`, `--command-config` file, environment, default (KIP-1147).

use std::io;

use super::args::Options;
use super::exit::Failure;
use super::session::Session;
use crate::client::conn;
use crate::client::{ClientConfig, ClientError, ClientKind, ConfigError};
use crate::common::properties;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("cannot read {path}: {source}")]
    File { path: String, source: io::Error },
    #[error("{path}: {source}")]
    Malformed { path: String, source: properties::ParsePropertiesError },
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl ConnectError {
    /// The text of Apache Kafka's exception, which its tools print.
    pub(crate) fn kafka_message(&self) -> String {
        match self {
            ConnectError::File { path, source } => match source.kind() {
                io::ErrorKind::NotFound => path.clone(),
                io::ErrorKind::IsADirectory => "Is a directory".to_owned(),
                io::ErrorKind::PermissionDenied => path.clone(),
                _ => source.to_string(),
            },
            ConnectError::Malformed { .. } => "Malformed \\uxxxx encoding.".to_owned(),
            ConnectError::Config(error) if error.key() == "bootstrap.servers" => NO_ADMIN_CLIENT.to_owned(),
            ConnectError::Config(error) => error.to_string(),
        }
    }

    /// The Java class of an I/O error.
    pub(crate) fn kafka_exception(&self) -> Option<&'static str> {
        match self {
            ConnectError::File { source, .. } => Some(match source.kind() {
                io::ErrorKind::NotFound => "java.nio.file.NoSuchFileException",
                io::ErrorKind::PermissionDenied => "java.nio.file.AccessDeniedException",
                _ => "java.io.IOException",
            }),
            _ => None,
        }
    }

    /// The same with what to do about it.
    pub(crate) fn explained(&self) -> Failure {
        let failure = Failure::new(self.to_string());
        match self {
            ConnectError::Config(ConfigError::Missing { key }) if key == "bootstrap.servers" => Failure::new("no broker to connect to")
                .advise("give --bootstrap-server, KAFKA_BOOTSTRAP_SERVERS, or bootstrap.servers in the --command-config file"),
            ConnectError::Config(error) if error.key() == "bootstrap.servers" => {
                failure.advise("addresses are HOST:PORT, as in localhost:9092, with commas between them")
            }
            _ => failure,
        }
    }
}

/// What Kafka's tools say when none of the addresses is one.
pub(crate) const NO_ADMIN_CLIENT: &str = "Failed to create new KafkaAdminClient";

/// An error of [`admin_config`] in the words of Kafka's exception.
pub(crate) fn in_kafkas_words(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<ConnectError>() {
        Some(connect) => Failure::new(connect.kafka_message()).into(),
        None => error,
    }
}

/// Did no address resolve? Then Kafka's clients cannot even be made.
pub(crate) fn is_unresolvable(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::Connect(failures)) => {
            failures.failures.iter().all(|failure| matches!(failure.error, conn::ConnectError::Resolve(_)))
        }
        _ => false,
    }
}

/// The next step after a connection that did not come to be, where one is known.
pub(crate) fn advice(error: &anyhow::Error) -> Option<&'static str> {
    let failures = error.chain().find_map(|cause| match cause.downcast_ref::<ClientError>() {
        Some(ClientError::Connect(failures)) => Some(failures),
        _ => None,
    })?;
    let all = |matches: fn(&conn::ConnectError) -> bool| failures.failures.iter().all(|failure| matches(&failure.error));
    if all(|error| matches!(error, conn::ConnectError::Io(_))) {
        Some("is a broker running there?")
    } else if all(|error| matches!(error, conn::ConnectError::TimedOut(_))) {
        Some("is the address right, and does a firewall let it through?")
    } else if all(|error| matches!(error, conn::ConnectError::Resolve(_))) {
        Some("is the name right?")
    } else {
        None
    }
}

/// The addresses to connect to first, as they are shown to people.
pub(crate) fn describe_servers(config: &ClientConfig) -> String {
    config.bootstrap_servers().iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Reads a properties file.
pub(crate) fn read_properties(path: &str) -> Result<Vec<(String, String)>, ConnectError> {
    // Java reads a directory by opening it and failing at the first byte.
    let bytes = std::fs::read(path).map_err(|source| ConnectError::File { path: path.to_owned(), source })?;
    let parsed =
        properties::parse(&String::from_utf8_lossy(&bytes)).map_err(|source| ConnectError::Malformed { path: path.to_owned(), source })?;
    Ok(parsed.into_iter().collect())
}

/// Where the brokers' addresses come from besides the flag.
fn environment(session: &Session) -> Option<String> {
    session.variable("KAFKA_BOOTSTRAP_SERVERS").map(str::to_owned)
}

/// Could a configuration without `--bootstrap-server` still know where to connect?
pub(crate) fn has_servers(session: &Session, options: &Options) -> bool {
    if options.has("bootstrap-server") {
        return true;
    }
    if session.compat() {
        return false;
    }
    environment(session).is_some()
        || options.values("command-config").iter().any(|path| {
            read_properties(path).is_ok_and(|properties| {
                properties.iter().any(|(key, _)| matches!(key.as_str(), "bootstrap.servers" | "metadata.broker.list"))
            })
        })
}

/// The configuration of an admin client from `--bootstrap-server`, `--command-config` and the environment; `timeout_ms` limits each
/// call. Its warnings are printed.
pub(crate) fn admin_config(session: &mut Session, options: &Options, timeout_ms: Option<u64>) -> anyhow::Result<ClientConfig> {
    let mut builder = ClientConfig::builder(ClientKind::Admin).environment(environment(session));
    if let Some(path) = options.value("command-config")? {
        builder = builder.file(read_properties(path)?);
    }
    if let Some(servers) = options.value("bootstrap-server")? {
        builder = builder.flag("bootstrap.servers", servers);
    }
    if let Some(timeout_ms) = timeout_ms {
        builder = builder.flag("default.api.timeout.ms", timeout_ms.to_string());
    }
    let config = builder.build().map_err(ConnectError::from)?;
    for warning in config.warnings() {
        session.warn(warning);
    }
    Ok(config)
}
