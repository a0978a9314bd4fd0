//! What can go wrong between a client and a cluster, in the order in which it does: properties, connecting, a request, the answer.

use std::fmt;
use std::time::Duration;

use super::config::ConfigError;
use super::conn::{ConnectFailures, RequestError};
use crate::protocol::error_code::ErrorCode;

/// Why a call failed. Cheap to clone, because one failed request fails every item that was in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No broker, or not the one that was needed, could be reached.
    #[error(transparent)]
    Connect(#[from] ConnectFailures),
    /// The request was not sent, or its answer did not come or could not be read.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A broker answered with an error.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The call's own time was up; `last` is what was retried.
    #[error("{call} did not finish within {} ms{}", timeout.as_millis(), Cause(last.as_deref()))]
    TimedOut { call: &'static str, timeout: Duration, last: Option<Box<ClientError>> },
    /// A transaction cannot go on, or the call does not fit it.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    /// The client was closed while the call was under way.
    #[error("the {0} was closed")]
    Closed(&'static str),
}

struct Cause<'a>(Option<&'a ClientError>);

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |cause| write!(f, ": {cause}"))
    }
}

impl ClientError {
    /// The broker's error code, if it was a broker that refused.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            ClientError::Api(error) => Some(error.code),
            ClientError::TimedOut { last: Some(last), .. } => last.code(),
            ClientError::Transaction(error) => error.code(),
            _ => None,
        }
    }

    /// Is it this error of a broker's?
    pub fn is(&self, code: ErrorCode) -> bool {
        self.code() == Some(code)
    }

    /// Is it about a transaction as a whole?
    pub fn is_of_transaction(&self) -> bool {
        matches!(self, ClientError::Transaction(_))
    }

    /// The broker is too old for the request.
    pub fn is_unsupported_version(&self) -> bool {
        matches!(self, ClientError::Request(RequestError::UnsupportedVersion { .. } | RequestError::Encode { .. }))
            || self.is(ErrorCode::UnsupportedVersion)
    }
}

impl From<ErrorCode> for ClientError {
    fn from(code: ErrorCode) -> ClientError {
        ClientError::Api(ApiError { code, message: None })
    }
}

/// Why a transactional producer refuses a call or gave a transaction up: what is left to do depends on which it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// Another producer with the same transactional id has begun since: this one can only be closed.
    #[error(
        "Producer with transactionalId '{transactional_id}' and {} has been fenced by another producer with the same transactionalId",
        Holder(*producer)
    )]
    Fenced { transactional_id: String, producer: Option<(i64, i16)> },
    /// The transaction can only be aborted; after that the next may begin.
    #[error("the transaction must be aborted: {0}")]
    Abortable(Box<ClientError>),
    /// The producer can only be closed.
    #[error("the producer cannot go on: {0}")]
    Fatal(Box<ClientError>),
    /// Of a record: its transaction was aborted before it was sent.
    #[error("Failing batch since transaction was aborted")]
    Aborted,
    /// The call does not fit what the producer is doing; nothing has changed.
    #[error("{0}")]
    InvalidState(String),
}

impl TransactionError {
    /// The broker's error code behind it, if it was a broker that refused.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            TransactionError::Fenced { .. } => Some(ErrorCode::ProducerFenced),
            TransactionError::Abortable(error) | TransactionError::Fatal(error) => error.code(),
            TransactionError::Aborted | TransactionError::InvalidState(_) => None,
        }
    }
}

struct Holder(Option<(i64, i16)>);

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, epoch) = self.0.unwrap_or((-1, -1));
        write!(f, "ProducerIdAndEpoch(producerId={id}, epoch={epoch})")
    }
}

/// A broker's answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.message())]
pub struct ApiError {
    pub code: ErrorCode,
    /// The broker's own words, when it sent some.
    pub message: Option<String>,
}

impl ApiError {
    pub fn new(code: ErrorCode, message: Option<String>) -> ApiError {
        ApiError { code, message: message.filter(|message| !message.is_empty()) }
    }

    /// The broker's words, or else Kafka's for the code.
    pub fn message(&self) -> &str {
        self.message.as_deref().unwrap_or_else(|| self.code.message())
    }

    /// `Ok` for the code of success.
    pub fn check(code: i16, message: Option<String>) -> Result<(), ClientError> {
        match ErrorCode::from_code(code) {
            ErrorCode::None => Ok(()),
            code => Err(ClientError::Api(ApiError::new(code, message))),
        }
    }
}
