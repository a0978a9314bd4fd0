//! Metrics that clients send about themselves (KIP-714): who is asked for which, and what becomes of them.
//!
//! A subscription is a set of configs of the type CLIENT_METRICS: metric name prefixes, an interval, and patterns that the client must
//! match. A client that subscriptions match is told their metrics and the shortest of their intervals, and sends OpenTelemetry data,
//! compressed or not, which is counted and noted in the log (at DEBUG), and not looked into.
//!
//! Invariant: what is remembered of clients is bounded in number and in time, and forgotten with the connection.
//! Source: Kafka's `ClientMetricsManager`, `ClientMetricsInstance`, `ClientMetricsConfigs`.
//!
//! Differs: Kafka serves these two APIs only where a plug-in takes the metrics; here they are always served and counted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use regex::Regex;
use tracing::{debug, warn};

use super::request_context::RequestContext;
use crate::common::clock::Clock;
use crate::common::random::Random;
use crate::common::uuid::Uuid;
use crate::metadata::delta::MetadataDelta;
use crate::metadata::image::{ConfigResourceType, MetadataImage};
use crate::metadata::publisher::Publisher;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::{
    GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse, PushTelemetryRequest, PushTelemetryResponse,
};

/// `interval.ms` where no subscription says it.
const DEFAULT_INTERVAL_MS: i32 = 300_000;
/// "All metrics".
const ALL_METRICS: &str = "*";
/// How many clients are remembered.
const MAX_INSTANCES: usize = 16_384;
/// How long a client is remembered at least.
const MIN_EXPIRY_MS: i64 = 60_000;
/// The compression types that are taken, the best first: zstd, lz4, gzip, snappy. None at all (0) is taken too.
const COMPRESSION_TYPES: [i8; 4] = [4, 3, 1, 2];

/// What has been pushed since the start.
#[derive(Debug, Default)]
pub(crate) struct TelemetryCounters {
    pub(crate) pushes: AtomicU64,
    pub(crate) throttled: AtomicU64,
    pub(crate) unknown_subscriptions: AtomicU64,
}

/// One subscription.
#[derive(Debug)]
struct Subscription {
    metrics: BTreeSet<String>,
    interval_ms: i32,
    /// By what of the client they must match; all of them. A pattern that cannot be understood matches nobody.
    patterns: Vec<(String, Option<Regex>)>,
}

/// The facts of a client that patterns are about.
#[derive(Debug, Clone)]
struct ClientFacts {
    values: BTreeMap<&'static str, String>,
}

impl ClientFacts {
    fn of(id: Uuid, ctx: &RequestContext) -> ClientFacts {
        let (name, version) = ctx.connection.software();
        let address = ctx.client_address.ip().to_canonical();
        let mut values = BTreeMap::from([
            ("client_instance_id", id.to_string()),
            ("client_software_name", name.to_owned()),
            ("client_software_version", version.to_owned()),
            ("client_source_address", address.to_string()),
            ("client_source_port", ctx.client_address.port().to_string()),
        ]);
        values.extend(ctx.client_id.clone().map(|client_id| ("client_id", client_id)));
        ClientFacts { values }
    }
}

impl Subscription {
    fn parse(name: &str, configs: &BTreeMap<String, String>) -> Subscription {
        let list = |key: &str| {
            let text = configs.get(key).map_or("", String::as_str);
            text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        let patterns = list("match").into_iter().filter_map(|pair| {
            let (param, pattern) = pair.split_once('=')?;
            let regex = Regex::new(&format!("^(?:{})$", pattern.trim()));
            if let Err(error) = &regex {
                warn!("the client metrics subscription {name} matches nobody: {error}");
            }
            Some((param.trim().to_owned(), regex.ok()))
        });
        Subscription {
            patterns: patterns.collect(),
            metrics: list("metrics").into_iter().collect(),
            interval_ms: configs.get("interval.ms").and_then(|text| text.trim().parse().ok()).unwrap_or(DEFAULT_INTERVAL_MS),
        }
    }

    fn matches(&self, client: &ClientFacts) -> bool {
        self.patterns.iter().all(|(param, pattern)| {
            let value = client.values.get(param.as_str());
            value.is_some_and(|value| pattern.as_ref().is_some_and(|pattern| pattern.is_match(value)))
        })
    }
}

/// A client that has asked.
#[derive(Debug)]
struct Instance {
    facts: ClientFacts,
    subscription_id: i32,
    /// Of the subscriptions that this was computed from.
    version: u64,
    metrics: BTreeSet<String>,
    interval_ms: i32,
    last_get_ms: Option<i64>,
    last_push_ms: Option<i64>,
    terminating: bool,
    last_error: ErrorCode,
    expires_ms: i64,
}

impl Instance {
    fn new(id: Uuid, facts: ClientFacts, version: u64, subscriptions: &[Subscription]) -> Instance {
        let mut interval_ms = DEFAULT_INTERVAL_MS;
        let mut metrics = BTreeSet::new();
        for subscription in subscriptions.iter().filter(|subscription| subscription.matches(&facts)) {
            metrics.extend(subscription.metrics.iter().cloned());
            interval_ms = interval_ms.min(subscription.interval_ms);
        }
        if metrics.contains(ALL_METRICS) {
            metrics = BTreeSet::from([ALL_METRICS.to_owned()]);
        }
        Instance {
            subscription_id: subscription_id(id, &metrics, interval_ms),
            facts,
            version,
            metrics,
            interval_ms,
            last_get_ms: None,
            last_push_ms: None,
            terminating: false,
            last_error: ErrorCode::None,
            expires_ms: 0,
        }
    }

    /// May the client ask now? Not before the time of its next push.
    fn may_get(&mut self, now_ms: i64) -> bool {
        let last = self.last_get_ms.max(self.last_push_ms);
        let may = last.is_none_or(|last| now_ms - last >= i64::from(self.interval_ms));
        if may {
            self.last_get_ms = Some(now_ms);
        }
        may
    }

    /// May the client push now? Once at any time after it has asked, since it spreads its first push at random.
    fn may_push(&mut self, now_ms: i64) -> bool {
        let since_last = self.last_push_ms.is_none_or(|last| now_ms - last >= i64::from(self.interval_ms));
        let may = self.last_get_ms > self.last_push_ms || since_last;
        if may {
            self.last_push_ms = Some(now_ms);
        }
        may
    }
}

/// The same for as long as a client is asked for the same.
fn subscription_id(id: Uuid, metrics: &BTreeSet<String>, interval_ms: i32) -> i32 {
    let names: Vec<&str> = metrics.iter().map(String::as_str).collect();
    let text = format!("[{}]{interval_ms}", names.join(", "));
    let number = u128::from_be_bytes(id.0);
    let folded = (number >> 64) as u64 ^ number as u64;
    (crc32c::crc32c(text.as_bytes()) ^ (folded >> 32) as u32 ^ folded as u32) as i32
}

#[derive(Default)]
struct State {
    subscriptions: Vec<Subscription>,
    /// Rises with every change of the subscriptions.
    version: u64,
    instances: HashMap<Uuid, Instance>,
}

/// The node's part in client telemetry.
pub(crate) struct Telemetry {
    clock: Arc<dyn Clock>,
    /// `telemetry.max.bytes`.
    max_bytes: i64,
    random: Mutex<Random>,
    state: Mutex<State>,
    counters: TelemetryCounters,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Telemetry {
    pub(crate) fn new(max_bytes: i64, clock: Arc<dyn Clock>, random: Random) -> Telemetry {
        Telemetry { clock, max_bytes, random: Mutex::new(random), state: Mutex::default(), counters: TelemetryCounters::default() }
    }

    /// What has been pushed.
    pub(crate) fn counters(&self) -> &TelemetryCounters {
        &self.counters
    }

    /// How many clients are remembered.
    pub(crate) fn instance_count(&self) -> usize {
        lock(&self.state).instances.len()
    }

    /// The connection of this client has ended.
    pub(crate) fn forget(&self, id: Uuid) {
        lock(&self.state).instances.remove(&id);
    }

    fn now_ms(&self) -> i64 {
        i64::try_from(self.clock.monotonic_ms()).unwrap_or(i64::MAX)
    }

    /// GetTelemetrySubscriptions.
    pub(crate) fn subscriptions(
        &self,
        ctx: &RequestContext,
        request: &GetTelemetrySubscriptionsRequest,
    ) -> GetTelemetrySubscriptionsResponse {
        let now_ms = self.now_ms();
        let id = match request.client_instance_id {
            Uuid::ZERO => Uuid::random(&mut lock(&self.random)),
            id => id,
        };
        let mut state = lock(&self.state);
        let instance = state.instance(id, ctx, now_ms);
        let forgiven = [ErrorCode::UnknownSubscriptionId, ErrorCode::UnsupportedCompressionType].contains(&instance.last_error);
        if !instance.may_get(now_ms) && !forgiven {
            self.counters.throttled.fetch_add(1, Ordering::Relaxed);
            let error_code = ErrorCode::ThrottlingQuotaExceeded.code();
            return GetTelemetrySubscriptionsResponse { error_code, ..Default::default() };
        }
        instance.last_error = ErrorCode::None;
        GetTelemetrySubscriptionsResponse {
            client_instance_id: id,
            subscription_id: instance.subscription_id,
            accepted_compression_types: COMPRESSION_TYPES.to_vec(),
            push_interval_ms: instance.interval_ms,
            telemetry_max_bytes: i32::try_from(self.max_bytes).unwrap_or(i32::MAX),
            delta_temporality: true,
            requested_metrics: instance.metrics.iter().cloned().collect(),
            ..Default::default()
        }
    }

    /// PushTelemetry.
    pub(crate) fn push(&self, ctx: &RequestContext, request: &PushTelemetryRequest) -> PushTelemetryResponse {
        let code = match self.accept(ctx, request) {
            Ok(()) => ErrorCode::None,
            Err(code) => code,
        };
        if code == ErrorCode::None && !request.metrics.is_empty() {
            self.counters.pushes.fetch_add(1, Ordering::Relaxed);
            debug!(
                instance = %request.client_instance_id,
                client_id = ctx.client_id.as_deref().unwrap_or_default(),
                software = ?ctx.connection.software(),
                compression_type = request.compression_type,
                bytes = request.metrics.len(),
                terminating = request.terminating,
                "a client pushed metrics"
            );
        }
        PushTelemetryResponse { error_code: code.code(), ..Default::default() }
    }

    fn accept(&self, ctx: &RequestContext, request: &PushTelemetryRequest) -> Result<(), ErrorCode> {
        let id = request.client_instance_id;
        if id == Uuid::ZERO || id == Uuid::from_u128(1) {
            return Err(ErrorCode::InvalidRequest);
        }
        let now_ms = self.now_ms();
        let mut state = lock(&self.state);
        let instance = state.instance(id, ctx, now_ms);
        let accepted = if instance.terminating {
            Err(ErrorCode::InvalidRequest)
        } else if !instance.may_push(now_ms) && !request.terminating {
            self.counters.throttled.fetch_add(1, Ordering::Relaxed);
            Err(ErrorCode::ThrottlingQuotaExceeded)
        } else if request.subscription_id != instance.subscription_id {
            self.counters.unknown_subscriptions.fetch_add(1, Ordering::Relaxed);
            Err(ErrorCode::UnknownSubscriptionId)
        } else if request.compression_type != 0 && !COMPRESSION_TYPES.contains(&request.compression_type) {
            Err(ErrorCode::UnsupportedCompressionType)
        } else if request.metrics.len() as i64 > self.max_bytes {
            Err(ErrorCode::TelemetryTooLarge)
        } else {
            Ok(())
        };
        instance.terminating = request.terminating;
        instance.last_error = accepted.err().unwrap_or(ErrorCode::None);
        accepted
    }
}

impl State {
    /// What is known of a client, by the subscriptions of now.
    fn instance(&mut self, id: Uuid, ctx: &RequestContext, now_ms: i64) -> &mut Instance {
        ctx.connection.set_telemetry_instance(id);
        let known = self.instances.get(&id).filter(|instance| instance.expires_ms > now_ms);
        let facts = match known {
            Some(instance) if instance.version >= self.version => None,
            Some(instance) => Some(instance.facts.clone()),
            None => Some(ClientFacts::of(id, ctx)),
        };
        if let Some(facts) = facts {
            if self.instances.len() >= MAX_INSTANCES && !self.instances.contains_key(&id) {
                self.make_room(now_ms);
            }
            self.instances.insert(id, Instance::new(id, facts, self.version, &self.subscriptions));
        }
        let version = self.version;
        let instance = self.instances.entry(id).or_insert_with(|| Instance::new(id, ClientFacts::of(id, ctx), version, &[]));
        instance.expires_ms = now_ms + MIN_EXPIRY_MS.max(i64::from(instance.interval_ms) * 3);
        instance
    }

    /// Forgets who has not been heard of for long, or else who will be the first to be.
    fn make_room(&mut self, now_ms: i64) {
        self.instances.retain(|_, instance| instance.expires_ms > now_ms);
        if self.instances.len() >= MAX_INSTANCES
            && let Some(first) = self.instances.iter().min_by_key(|(_, instance)| instance.expires_ms).map(|(&id, _)| id)
        {
            self.instances.remove(&first);
        }
    }
}

impl Publisher for Telemetry {
    fn name(&self) -> &str {
        "client telemetry"
    }

    fn publish(&self, delta: &MetadataDelta, image: &Arc<MetadataImage>) {
        let is_subscription = |type_| type_ == ConfigResourceType::ClientMetrics;
        if !delta.changed_configs().iter().any(|resource| is_subscription(resource.type_)) {
            return;
        }
        let set = image.configs.iter().filter(|(resource, _)| is_subscription(resource.type_));
        let subscriptions = set.map(|(resource, configs)| Subscription::parse(&resource.name, configs)).collect();
        let mut state = lock(&self.state);
        state.subscriptions = subscriptions;
        state.version += 1;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::broker::request_context::{ConnectionFacts, Principal, Waited};
    use crate::common::clock::ManualClock;
    use crate::metadata::image::Provenance;
    use crate::metadata::record::MetadataRecord;
    use crate::protocol::api_key::ApiKey;
    use crate::protocol::messages::ConfigRecord;

    fn context(client_id: &str) -> RequestContext {
        let connection = ConnectionFacts::default();
        connection.set_software("apache-kafka-java", "4.3.0");
        RequestContext {
            api_key: ApiKey::GetTelemetrySubscriptions,
            api_version: 0,
            correlation_id: 0,
            client_id: Some(client_id.to_owned()),
            client_address: ([127, 0, 0, 1], 5000).into(),
            listener_name: "PLAINTEXT".into(),
            principal: Arc::new(Principal::anonymous()),
            connection: Arc::new(connection),
            request_bytes: 0,
            account: None,
            waited: Waited::default(),
        }
    }

    struct Node {
        clock: Arc<ManualClock>,
        telemetry: Telemetry,
        image: Arc<MetadataImage>,
    }

    impl Node {
        fn new() -> Node {
            let clock = Arc::new(ManualClock::new(1000));
            let telemetry = Telemetry::new(100, Arc::clone(&clock) as _, Random::new(7));
            Node { clock, telemetry, image: Arc::default() }
        }

        fn set(&mut self, subscription: &str, configs: &[(&str, &str)]) {
            let mut delta = MetadataDelta::new(Arc::clone(&self.image));
            for (name, value) in configs {
                let record = ConfigRecord {
                    resource_type: ConfigResourceType::ClientMetrics.code(),
                    resource_name: subscription.to_owned(),
                    name: (*name).to_owned(),
                    value: Some((*value).to_owned()),
                    ..Default::default()
                };
                delta.replay(&MetadataRecord::from(record)).expect("replayed");
            }
            self.image = Arc::new(delta.apply(Provenance::default()));
            self.telemetry.publish(&delta, &self.image);
        }

        fn get(&self, ctx: &RequestContext, id: Uuid) -> GetTelemetrySubscriptionsResponse {
            let request = GetTelemetrySubscriptionsRequest { client_instance_id: id, ..Default::default() };
            self.telemetry.subscriptions(ctx, &request)
        }

        fn push(&self, ctx: &RequestContext, id: Uuid, adjust: impl FnOnce(&mut PushTelemetryRequest)) -> ErrorCode {
            let subscription_id = lock(&self.telemetry.state).instances.get(&id).map_or(0, |instance| instance.subscription_id);
            let metrics = Bytes::from_static(b"metrics");
            let mut request = PushTelemetryRequest { client_instance_id: id, subscription_id, metrics, ..Default::default() };
            adjust(&mut request);
            ErrorCode::from_code(self.telemetry.push(ctx, &request).error_code)
        }
    }

    #[test]
    fn a_client_is_asked_for_what_the_subscriptions_that_match_it_name() {
        let mut node = Node::new();
        node.set("java", &[("metrics", "org.apache.kafka.producer., org.apache.kafka.consumer."), ("interval.ms", "5000")]);
        node.set("java", &[("match", "client_software_name=apache-kafka-.*,client_id=app-[0-9]+")]);
        node.set("odd", &[("metrics", "x"), ("match", "client_id=(unclosed")]);
        let response = node.get(&context("app-1"), Uuid::ZERO);
        assert_eq!(response.error_code, 0);
        assert_eq!(response.requested_metrics, ["org.apache.kafka.consumer.", "org.apache.kafka.producer."]);
        assert_eq!((response.push_interval_ms, response.telemetry_max_bytes), (5000, 100));
        assert_eq!(response.accepted_compression_types, [4, 3, 1, 2]);
        let other = node.get(&context("my-app-1"), Uuid::ZERO);
        assert_eq!((other.requested_metrics.len(), other.push_interval_ms), (0, DEFAULT_INTERVAL_MS));
        assert_ne!(other.client_instance_id, response.client_instance_id);
        node.set("all", &[("metrics", "*")]);
        assert_eq!(node.get(&context("app-1"), response.client_instance_id).requested_metrics, ["*"]);
    }

    #[test]
    fn pushes_come_at_the_interval_and_for_the_subscription_that_is_known() {
        let mut node = Node::new();
        node.set("all", &[("metrics", "*"), ("interval.ms", "1000")]);
        let ctx = context("c");
        let id = node.get(&ctx, Uuid::ZERO).client_instance_id;
        assert_eq!(node.push(&ctx, id, |_| ()), ErrorCode::None);
        assert_eq!(node.push(&ctx, id, |_| ()), ErrorCode::ThrottlingQuotaExceeded);
        assert_eq!(ErrorCode::from_code(node.get(&ctx, id).error_code), ErrorCode::ThrottlingQuotaExceeded);
        node.clock.advance(1000);
        assert_eq!(node.push(&ctx, id, |request| request.subscription_id += 1), ErrorCode::UnknownSubscriptionId);
        assert_eq!(node.get(&ctx, id).error_code, 0, "who had the wrong one may ask at once");
        assert_eq!(node.push(&ctx, id, |request| request.compression_type = 9), ErrorCode::ThrottlingQuotaExceeded);
        node.clock.advance(1000);
        assert_eq!(node.push(&ctx, id, |request| request.compression_type = 9), ErrorCode::UnsupportedCompressionType);
        node.clock.advance(1000);
        assert_eq!(node.push(&ctx, id, |request| request.metrics = Bytes::from(vec![0; 101])), ErrorCode::TelemetryTooLarge);
        assert_eq!(node.push(&ctx, id, |request| request.terminating = true), ErrorCode::None);
        node.clock.advance(1000);
        assert_eq!(node.push(&ctx, id, |_| ()), ErrorCode::InvalidRequest, "after the last push there is none");
        assert_eq!(node.push(&ctx, Uuid::ZERO, |_| ()), ErrorCode::InvalidRequest);
        assert_eq!(node.telemetry.counters().pushes.load(Ordering::Relaxed), 2);
        node.telemetry.forget(id);
        assert_eq!(node.telemetry.instance_count(), 0);
    }

    #[test]
    fn clients_beyond_the_limit_push_out_the_oldest() {
        let node = Node::new();
        let ctx = context("c");
        for number in 0..MAX_INSTANCES as u128 + 10 {
            node.get(&ctx, Uuid::from_u128(1000 + number));
        }
        assert_eq!(node.telemetry.instance_count(), MAX_INSTANCES);
    }
}
