//! An error on its way into a response. Source: Kafka's `ApiError`.

use crate::metadata::schema::InvalidConfig;
use crate::protocol::error_code::ErrorCode;

/// A code, and Kafka's text where it says more than the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    pub code: ErrorCode,
    pub message: Option<String>,
}

impl ApiError {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> ApiError {
        ApiError { code, message: Some(message.into()) }
    }

    /// The code with its own sentence as the message.
    pub fn generic(code: ErrorCode) -> ApiError {
        ApiError { code, message: Some(code.message().to_owned()) }
    }

    /// The code alone.
    pub fn bare(code: ErrorCode) -> ApiError {
        ApiError { code, message: None }
    }

    /// Success.
    pub fn none() -> ApiError {
        ApiError::bare(ErrorCode::None)
    }
}

impl From<InvalidConfig> for ApiError {
    fn from(error: InvalidConfig) -> ApiError {
        ApiError::new(error.code, error.message)
    }
}

/// The error of a result, or success.
pub(super) fn error_of<T>(result: Result<T, ApiError>) -> ApiError {
    result.err().unwrap_or_else(ApiError::none)
}
