//! What requests cost: for each API how many came in which version, what they were answered, and how long each stage took.
//!
//! Kafka's stages, as far as they exist here: a request waits in no queue, because its connection's task serves it at once. LocalTimeMs is
//! the handler's own time, RemoteTimeMs its wait for other replicas or for data (Produce, Fetch), ResponseSendTimeMs the time until the
//! kernel had taken the response, TotalTimeMs all of it. Source: `RequestMetrics`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::histogram::{Histogram, Observations};
use crate::protocol::api_key::ApiKey;
use crate::protocol::error_code::ErrorCode;

/// More than any version of any API.
const VERSIONS: usize = 24;

/// One API's counters.
#[derive(Debug)]
struct ApiMetrics {
    requests: [AtomicU64; VERSIONS],
    request_bytes: AtomicU64,
    /// Responses without any error; every other code is in `errors`.
    successes: AtomicU64,
    errors: Mutex<BTreeMap<i16, u64>>,
    total: Histogram,
    local: Histogram,
    remote: Histogram,
    send: Histogram,
}

impl Default for ApiMetrics {
    fn default() -> ApiMetrics {
        ApiMetrics {
            requests: Default::default(),
            request_bytes: AtomicU64::new(0),
            successes: AtomicU64::new(0),
            errors: Mutex::default(),
            total: Histogram::default(),
            local: Histogram::default(),
            remote: Histogram::default(),
            send: Histogram::default(),
        }
    }
}

/// The counters of all APIs, by their keys.
#[derive(Debug)]
pub(crate) struct RequestMetrics {
    by_key: Box<[ApiMetrics]>,
}

/// One API at one moment.
#[derive(Debug)]
pub(super) struct ApiReading {
    pub(super) key: ApiKey,
    /// Version to count, of those that came.
    pub(super) requests: Vec<(usize, u64)>,
    pub(super) request_bytes: u64,
    /// Error to count, NONE among them.
    pub(super) errors: Vec<(ErrorCode, u64)>,
    pub(super) total: Observations,
    pub(super) local: Observations,
    pub(super) remote: Observations,
    pub(super) send: Observations,
}

impl Default for RequestMetrics {
    fn default() -> RequestMetrics {
        let keys = ApiKey::all().map(|key| usize::try_from(key.code()).unwrap_or(0) + 1).max().unwrap_or(0);
        RequestMetrics { by_key: std::iter::repeat_with(ApiMetrics::default).take(keys).collect() }
    }
}

impl RequestMetrics {
    fn of(&self, key: ApiKey) -> Option<&ApiMetrics> {
        self.by_key.get(usize::try_from(key.code()).ok()?)
    }

    /// A request of `bytes` was handled in `elapsed`, of which it `waited` for something else.
    pub(crate) fn handled(&self, key: ApiKey, version: i16, bytes: usize, elapsed: Duration, waited: Duration) {
        let Some(api) = self.of(key) else { return };
        if let Some(count) = usize::try_from(version).ok().and_then(|version| api.requests.get(version)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        api.request_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        api.local.observe(elapsed.saturating_sub(waited));
        if !waited.is_zero() {
            api.remote.observe(waited);
        }
    }

    /// A response was sent in `send`, `total` after its request had arrived.
    pub(crate) fn sent(&self, key: ApiKey, send: Duration, total: Duration) {
        let Some(api) = self.of(key) else { return };
        api.send.observe(send);
        api.total.observe(total);
    }

    /// A response holds this code; NONE is worth a cheaper way.
    pub(crate) fn answered(&self, key: ApiKey, error_code: i16) {
        let Some(api) = self.of(key) else { return };
        if error_code == ErrorCode::None.code() {
            api.successes.fetch_add(1, Ordering::Relaxed);
        } else {
            *api.errors.lock().unwrap_or_else(PoisonError::into_inner).entry(error_code).or_default() += 1;
        }
    }

    /// The APIs that were asked for, by key.
    pub(super) fn read(&self) -> Vec<ApiReading> {
        let read = |key: ApiKey| {
            let api = self.of(key)?;
            let requests: Vec<(usize, u64)> = api
                .requests
                .iter()
                .enumerate()
                .map(|(version, count)| (version, count.load(Ordering::Relaxed)))
                .filter(|&(_, count)| count > 0)
                .collect();
            if requests.is_empty() {
                return None;
            }
            let mut errors = vec![(ErrorCode::None, api.successes.load(Ordering::Relaxed))];
            let others = api.errors.lock().unwrap_or_else(PoisonError::into_inner);
            errors.extend(others.iter().map(|(&code, &count)| (ErrorCode::from_code(code), count)));
            Some(ApiReading {
                key,
                requests,
                request_bytes: api.request_bytes.load(Ordering::Relaxed),
                errors,
                total: api.total.read(),
                local: api.local.read(),
                remote: api.remote.read(),
                send: api.send.read(),
            })
        };
        ApiKey::all().filter_map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_that_nobody_asked_for_is_not_shown() {
        let metrics = RequestMetrics::default();
        metrics.handled(ApiKey::Fetch, 18, 100, Duration::from_millis(510), Duration::from_millis(500));
        metrics.answered(ApiKey::Fetch, ErrorCode::None.code());
        metrics.answered(ApiKey::Fetch, ErrorCode::OffsetOutOfRange.code());
        metrics.sent(ApiKey::Fetch, Duration::from_millis(1), Duration::from_millis(511));
        let read = metrics.read();
        assert_eq!(read.iter().map(|api| api.key).collect::<Vec<_>>(), [ApiKey::Fetch]);
        assert_eq!(read[0].requests, [(18, 1)]);
        assert_eq!(read[0].errors, [(ErrorCode::None, 1), (ErrorCode::OffsetOutOfRange, 1)]);
        assert_eq!((read[0].request_bytes, read[0].remote.count, read[0].total.count), (100, 1, 1));
        assert!((read[0].local.sum_ms - 10.0).abs() < 1e-6);
    }

    #[test]
    fn every_version_of_every_api_has_its_count() {
        let highest = ApiKey::all().map(|key| usize::try_from(key.all_versions().max).unwrap_or(0)).max();
        assert!(highest.is_some_and(|version| version < VERSIONS), "{highest:?}");
    }
}
