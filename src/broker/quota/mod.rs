//! Quotas: how much of the broker's bandwidth, time and patience a client may use, and what happens when it uses more.
//!
//! A client over its quota is answered at once, told the throttle time, and not read from for as long (KIP-219); a fetch is answered
//! without records. A strict controller mutation quota refuses instead (KIP-599).
//!
//! Invariant: while no quota is set, a request costs one look at a flag ([`Quotas::account`]).
//! Sources: Kafka's `ClientQuotaManager` and its kin, `RequestHandlerHelper`, `KafkaApis` for what counts.
//!
//! Differs: the time of a request is what its handler computes, without that of the network threads, which are no threads of their own.

mod clients;
pub(crate) mod connections;
mod rate;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use self::clients::{ClientQuotas, connection_rates};
use self::connections::{ConnectionLimits, Connections};
use self::rate::Windows;
use super::config::BrokerConfig;
use super::request_context::RequestContext;
use crate::common::clock::Clock;
use crate::controller::{PartitionChangeQuota, quotas as names};
use crate::metadata::delta::MetadataDelta;
use crate::metadata::image::MetadataImage;
use crate::metadata::publisher::Publisher;
use crate::protocol::api_key::ApiKey;

/// What a client has a quota of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QuotaKind {
    /// Bytes of Produce requests a second.
    Produce,
    /// Bytes of Fetch responses a second.
    Fetch,
    /// Time to handle requests, as a percentage of one processor's.
    Request,
    /// Partitions created and deleted a second.
    ControllerMutation,
}

const KINDS: [(QuotaKind, &str); 4] = [
    (QuotaKind::Produce, names::PRODUCER_BYTE_RATE),
    (QuotaKind::Fetch, names::CONSUMER_BYTE_RATE),
    (QuotaKind::Request, names::REQUEST_PERCENTAGE),
    (QuotaKind::ControllerMutation, names::CONTROLLER_MUTATION_RATE),
];

/// "Not decided yet", in an account.
const UNDECIDED: u64 = u64::MAX;

/// What one request has used so far.
#[derive(Debug)]
pub(crate) struct Account {
    opened: Instant,
    /// Time spent on the request, without the current turn.
    busy_nanos: AtomicU64,
    /// When the current turn began, since `opened`.
    turn_nanos: AtomicU64,
    /// The throttle time that controller mutations earned.
    mutation_ms: AtomicU32,
    /// The throttle time, once it is known.
    decided_ms: AtomicU64,
}

impl Account {
    fn new() -> Account {
        Account {
            opened: Instant::now(),
            busy_nanos: AtomicU64::new(0),
            turn_nanos: AtomicU64::new(0),
            mutation_ms: AtomicU32::new(0),
            decided_ms: AtomicU64::new(UNDECIDED),
        }
    }

    fn nanos(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Time spent on the request, the current turn included.
    fn busy(&self) -> u64 {
        let turn = self.nanos().saturating_sub(self.turn_nanos.load(Ordering::Relaxed));
        self.busy_nanos.load(Ordering::Relaxed).saturating_add(turn)
    }

    fn decided(&self) -> Option<u32> {
        u32::try_from(self.decided_ms.load(Ordering::Relaxed)).ok()
    }
}

/// A request being handled, with its time measured: only the turns in which it computes count, not those in which it waits.
pub(crate) struct Measured<'a, T> {
    work: Pin<Box<dyn Future<Output = T> + Send + 'a>>,
    account: Arc<Account>,
}

impl<'a, T> Measured<'a, T> {
    pub(crate) fn new(work: Pin<Box<dyn Future<Output = T> + Send + 'a>>, account: Arc<Account>) -> Measured<'a, T> {
        Measured { work, account }
    }
}

impl<T> Future for Measured<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let account = Arc::clone(&self.account);
        let start = account.nanos();
        account.turn_nanos.store(start, Ordering::Relaxed);
        let result = self.work.as_mut().poll(context);
        account.busy_nanos.fetch_add(account.nanos().saturating_sub(start), Ordering::Relaxed);
        result
    }
}

/// All quotas of a node, and what they are used of.
pub(crate) struct Quotas {
    clock: Arc<dyn Clock>,
    /// Is any quota of clients set?
    any: AtomicBool,
    set: [AtomicBool; KINDS.len()],
    clients: [Mutex<ClientQuotas>; KINDS.len()],
    pub(crate) connections: Mutex<Connections>,
    /// `quota.window.size.seconds`: a request quota never throttles for longer.
    window_ms: i64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Quotas {
    pub(crate) fn new(config: &BrokerConfig, clock: Arc<dyn Clock>) -> Quotas {
        let windows = |prefix: &str| Windows {
            count: usize::try_from(config.long(&format!("{prefix}quota.window.num"))).unwrap_or(1).max(1),
            size_ms: config.long(&format!("{prefix}quota.window.size.seconds")).max(1).saturating_mul(1000),
        };
        let (requests, mutations) = (windows(""), windows("controller."));
        let quotas = |kind| if kind == QuotaKind::ControllerMutation { mutations } else { requests };
        Quotas {
            clock,
            any: AtomicBool::new(false),
            set: Default::default(),
            clients: KINDS.map(|(kind, _)| Mutex::new(ClientQuotas::new(quotas(kind)))),
            connections: Mutex::new(Connections::new(requests, ConnectionLimits::of(config))),
            window_ms: requests.size_ms,
        }
    }

    /// The time that quotas go by.
    pub(crate) fn now_ms(&self) -> i64 {
        i64::try_from(self.clock.monotonic_ms()).unwrap_or(i64::MAX)
    }

    /// An account for a request, if anybody has a quota.
    pub(crate) fn account(&self) -> Option<Arc<Account>> {
        self.any.load(Ordering::Relaxed).then(|| Arc::new(Account::new()))
    }

    fn is_set(&self, kind: QuotaKind) -> bool {
        self.set[kind as usize].load(Ordering::Relaxed)
    }

    fn clients(&self, kind: QuotaKind) -> MutexGuard<'_, ClientQuotas> {
        lock(&self.clients[kind as usize])
    }

    fn record(&self, kind: QuotaKind, ctx: &RequestContext, amount: f64, at_most_ms: i64, now_ms: i64) -> u32 {
        match self.is_set(kind) {
            true => self.clients(kind).record(&ctx.principal.name, client_id(ctx), amount, at_most_ms, now_ms),
            false => 0,
        }
    }

    fn record_time(&self, ctx: &RequestContext, account: &Account, now_ms: i64) -> u32 {
        let percentage = account.busy() as f64 * 100.0 / 1e9;
        self.record(QuotaKind::Request, ctx, percentage, self.window_ms, now_ms)
    }

    /// Counts a request that has been handled; gives its throttle time in milliseconds. One that nobody hears of the end of (`acks=0`)
    /// may take its time.
    pub(crate) fn settle(&self, ctx: &RequestContext, has_response: bool) -> u32 {
        let Some(account) = &ctx.account else { return 0 };
        if let Some(decided_ms) = account.decided() {
            return decided_ms;
        }
        let now_ms = self.now_ms();
        let bandwidth_ms = match ctx.api_key {
            ApiKey::Produce => self.record(QuotaKind::Produce, ctx, ctx.request_bytes as f64, i64::MAX, now_ms),
            _ => 0,
        };
        let time_ms = if has_response { self.record_time(ctx, account, now_ms) } else { 0 };
        let throttle_ms = bandwidth_ms.max(time_ms).max(account.mutation_ms.load(Ordering::Relaxed));
        account.decided_ms.store(u64::from(throttle_ms), Ordering::Relaxed);
        throttle_ms
    }

    /// Counts a fetch whose response would have this many bytes. When it gives a throttle time the response must have no records, and
    /// its bytes do not count.
    pub(crate) fn settle_fetch(&self, ctx: &RequestContext, bytes: usize) -> u32 {
        let Some(account) = &ctx.account else { return 0 };
        let now_ms = self.now_ms();
        let time_ms = self.record_time(ctx, account, now_ms);
        let bandwidth_ms = self.record(QuotaKind::Fetch, ctx, bytes as f64, i64::MAX, now_ms);
        let throttle_ms = bandwidth_ms.max(time_ms);
        if throttle_ms > 0 && self.is_set(QuotaKind::Fetch) {
            self.clients(QuotaKind::Fetch).unrecord(&ctx.principal.name, client_id(ctx), bytes as f64, now_ms);
        }
        account.decided_ms.store(u64::from(throttle_ms), Ordering::Relaxed);
        throttle_ms
    }

    /// The most bytes that a client may fetch at once with a chance not to be throttled: more would never come through.
    pub(crate) fn fetch_burst(&self, ctx: &RequestContext) -> Option<usize> {
        if ctx.account.is_none() || !self.is_set(QuotaKind::Fetch) {
            return None;
        }
        let burst = self.clients(QuotaKind::Fetch).burst(&ctx.principal.name, client_id(ctx))?;
        Some(burst as usize)
    }

    /// What the client of this request may still change; `None` when it has no quota. From version `strict_since` of the API on what
    /// is beyond it is refused; before that it only earns a throttle time.
    pub(crate) fn partition_changes(self: &Arc<Self>, ctx: &RequestContext, strict_since: i16) -> Option<PartitionChangeQuota> {
        let account = Arc::clone(ctx.account.as_ref().filter(|_| self.is_set(QuotaKind::ControllerMutation))?);
        let (quotas, user, client) = (Arc::clone(self), ctx.principal.name.clone(), client_id(ctx).to_owned());
        let strict = ctx.api_version >= strict_since;
        Some(Box::new(move |partitions| {
            let mut mutations = quotas.clients(QuotaKind::ControllerMutation);
            let (allowed, throttle_ms) = mutations.take(&user, &client, partitions as f64, strict, quotas.now_ms());
            account.mutation_ms.fetch_max(throttle_ms, Ordering::Relaxed);
            allowed
        }))
    }
}

fn client_id(ctx: &RequestContext) -> &str {
    ctx.client_id.as_deref().unwrap_or_default()
}

impl Publisher for Quotas {
    fn name(&self) -> &str {
        "quotas"
    }

    fn publish(&self, delta: &MetadataDelta, image: &Arc<MetadataImage>) {
        if !delta.client_quotas_changed() {
            return;
        }
        let mut any = false;
        for (kind, key) in KINDS {
            let is_set = self.clients(kind).update(&image.client_quotas, key);
            self.set[kind as usize].store(is_set, Ordering::Relaxed);
            any |= is_set;
        }
        self.any.store(any, Ordering::Relaxed);
        let (default, named) = connection_rates(&image.client_quotas, names::CONNECTION_CREATION_RATE);
        lock(&self.connections).update_ip_rates(default, named);
    }
}
