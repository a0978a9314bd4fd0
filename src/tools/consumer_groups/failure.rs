//! Failures of calls, with the words that Kafka's tool has for each: they depend on how many Java exceptions it wraps around them.

use crate::client::ClientError;

/// A failed call.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub(super) struct KafkaFailure {
    /// The message of the exception that Kafka's tool would have caught.
    pub(super) kafka: String,
    #[source]
    pub(super) error: ClientError,
}

/// The text of a Java exception: its class and its message.
pub(super) fn exception(error: &ClientError) -> String {
    match error {
        ClientError::Api(error) => format!("org.apache.kafka.common.errors.{}: {}", error.code.exception(), error.message()),
        other => format!("org.apache.kafka.common.errors.TimeoutException: {other}"),
    }
}

/// A failure that Kafka's tool waits for and wraps once more.
pub(super) fn thrown(error: ClientError) -> anyhow::Error {
    KafkaFailure { kafka: format!("java.util.concurrent.ExecutionException: {}", exception(&error)), error }.into()
}

/// A failure that Kafka's tool waits for.
pub(super) fn awaited(error: ClientError) -> anyhow::Error {
    KafkaFailure { kafka: exception(&error), error }.into()
}

/// A failure whose cause Kafka's tool takes out again.
pub(super) fn unwrapped(error: ClientError) -> anyhow::Error {
    let kafka = match &error {
        ClientError::Api(error) => error.message().to_owned(),
        other => other.to_string(),
    };
    KafkaFailure { kafka, error }.into()
}
