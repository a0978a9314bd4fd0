//! What to do about an error, and how long to wait first. The one place in the client that classifies errors.
//!
//! Sources: the `RetriableException` family of `org.apache.kafka.common.errors`; `ExponentialBackoff`; KIP-580.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::config::ClientConfig;
use super::conn::RequestError;
use super::error::ClientError;
use crate::common::random::Random;
use crate::protocol::error_code::ErrorCode;

/// What makes another attempt worthwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Nothing: the same request will fail again.
    Fatal,
    /// Time.
    Retry,
    /// The cached metadata is wrong: fetch it again, then retry.
    RefreshMetadata,
    /// The coordinator moved or is loading: find it again, then retry.
    FindCoordinator,
}

impl Recovery {
    pub fn is_retriable(self) -> bool {
        self != Recovery::Fatal
    }
}

/// What to do about a broker's error code.
pub fn recovery(code: ErrorCode) -> Recovery {
    match code {
        ErrorCode::NotLeaderOrFollower
        | ErrorCode::LeaderNotAvailable
        | ErrorCode::ReplicaNotAvailable
        | ErrorCode::UnknownTopicOrPartition
        | ErrorCode::UnknownTopicId
        | ErrorCode::InconsistentTopicId
        | ErrorCode::FencedLeaderEpoch
        | ErrorCode::UnknownLeaderEpoch
        | ErrorCode::ListenerNotFound
        | ErrorCode::KafkaStorageError
        | ErrorCode::PreferredLeaderNotAvailable
        | ErrorCode::EligibleLeadersNotAvailable
        | ErrorCode::OffsetNotAvailable
        | ErrorCode::RebootstrapRequired
        | ErrorCode::NotController => Recovery::RefreshMetadata,
        // Kafka's table calls it retriable, but what was asked for is already so.
        ErrorCode::ElectionNotNeeded => Recovery::Fatal,
        ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable => Recovery::FindCoordinator,
        code if code.is_retriable() => Recovery::Retry,
        _ => Recovery::Fatal,
    }
}

impl ClientError {
    /// What makes another attempt worthwhile.
    pub fn recovery(&self) -> Recovery {
        match self {
            ClientError::Api(error) => recovery(error.code),
            // The broker may be gone for good: another one may have its partitions by now.
            ClientError::Request(RequestError::Disconnected { .. } | RequestError::TimedOut { .. }) => Recovery::RefreshMetadata,
            ClientError::Connect(failures) if failures.is_final() => Recovery::Fatal,
            ClientError::Connect(_) => Recovery::RefreshMetadata,
            ClientError::Request(_)
            | ClientError::Config(_)
            | ClientError::TimedOut { .. }
            | ClientError::Transaction(_)
            | ClientError::Closed(_) => Recovery::Fatal,
        }
    }
}

/// Exponentially growing pauses with a random part of a fifth, so that clients that failed together do not return together.
#[derive(Debug)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    random: Mutex<Random>,
}

impl Backoff {
    pub fn new(initial: Duration, max: Duration) -> Backoff {
        Backoff { initial: initial.min(max), max, random: Mutex::new(Random::from_entropy()) }
    }

    /// `retry.backoff.ms` to `retry.backoff.max.ms`.
    pub fn for_retries(config: &ClientConfig) -> Backoff {
        Backoff::new(config.millis("retry.backoff.ms"), config.millis("retry.backoff.max.ms"))
    }

    /// `reconnect.backoff.ms` to `reconnect.backoff.max.ms`.
    pub fn for_reconnects(config: &ClientConfig) -> Backoff {
        Backoff::new(config.millis("reconnect.backoff.ms"), config.millis("reconnect.backoff.max.ms"))
    }

    /// The pause after this many failures without its random part.
    pub fn base(&self, failures: u32) -> Duration {
        self.initial.saturating_mul(1u32.checked_shl(failures).unwrap_or(u32::MAX)).min(self.max)
    }

    /// The pause after this many failures, counted from 0.
    pub fn pause(&self, failures: u32) -> Duration {
        if self.max <= self.initial {
            return self.initial;
        }
        let grown = self.base(failures);
        let percent = 80 + self.random.lock().map_or(20, |mut random| random.below(41)) as u32;
        (grown * percent / 100).min(self.max)
    }
}

/// The attempts of one call: until when, how often, and the last error.
#[derive(Debug)]
pub struct Attempts<'a> {
    call: &'static str,
    timeout: Duration,
    deadline: Instant,
    backoff: &'a Backoff,
    failures: u32,
}

impl<'a> Attempts<'a> {
    pub fn new(call: &'static str, timeout: Duration, backoff: &'a Backoff) -> Attempts<'a> {
        Attempts { call, timeout, deadline: Instant::now() + timeout, backoff, failures: 0 }
    }

    /// Waits before the next attempt; gives the error back when there must be none.
    pub async fn pause(&mut self, error: ClientError) -> Result<(), ClientError> {
        if !error.recovery().is_retriable() {
            return Err(error);
        }
        let pause = self.backoff.pause(self.failures);
        self.failures += 1;
        let now = Instant::now();
        if now + pause >= self.deadline {
            return Err(ClientError::TimedOut { call: self.call, timeout: self.timeout, last: Some(Box::new(error)) });
        }
        tracing::debug!(call = self.call, %error, ?pause, "retrying");
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// What is left of the call's time.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_limit_and_stay_near_their_size() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(1000));
        for (failures, expected) in [(0, 100), (1, 200), (2, 400), (3, 800), (40, 1000)] {
            let pause = backoff.pause(failures).as_millis();
            assert!((expected * 8 / 10..=(expected * 12 / 10).min(1000)).contains(&pause), "{failures}: {pause}");
        }
    }

    #[test]
    fn errors_are_told_apart() {
        assert_eq!(recovery(ErrorCode::NotLeaderOrFollower), Recovery::RefreshMetadata);
        assert_eq!(recovery(ErrorCode::NotCoordinator), Recovery::FindCoordinator);
        assert_eq!(recovery(ErrorCode::CoordinatorLoadInProgress), Recovery::Retry);
        assert_eq!(recovery(ErrorCode::TopicAuthorizationFailed), Recovery::Fatal);
        assert_eq!(recovery(ErrorCode::ElectionNotNeeded), Recovery::Fatal);
    }
}
