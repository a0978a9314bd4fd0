//! How many connections there may be, and how fast new ones may come: of the whole broker, of a listener, of one address.
//!
//! A listener at its limit, or over its rate, leaves new connections to the kernel's queue for a while. An address over its rate has its
//! connections closed after the time that it should have waited; one over its number has them closed at once. The listener between
//! brokers is not held by the limits of the whole broker where there are others, so that clients cannot shut brokers out.
//! Source: Kafka's `ConnectionQuotas`. Pure: the time is passed in.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;

use super::rate::{Rate, Windows};
use crate::broker::config::BrokerConfig;

/// "No limit", for rates.
const UNLIMITED: i64 = i32::MAX as i64;

/// Addresses whose rates are remembered before those are looked for that can be forgotten.
const ADDRESSES_BEFORE_SWEEP: usize = 1024;

/// What the configs say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ConnectionLimits {
    total: usize,
    per_ip: usize,
    per_ip_overrides: HashMap<IpAddr, usize>,
    rate: Option<f64>,
    /// By the listener's name in lower case.
    listeners: BTreeMap<String, ListenerLimits>,
    /// The listener that the broker's own limits do not hold.
    protected: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct ListenerLimits {
    total: Option<usize>,
    rate: Option<f64>,
}

fn count(number: i64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

fn rate(number: i64) -> Option<f64> {
    (number < UNLIMITED).then_some(number as f64)
}

impl ConnectionLimits {
    pub(crate) fn of(config: &BrokerConfig) -> ConnectionLimits {
        let mut listeners: BTreeMap<String, ListenerLimits> = BTreeMap::new();
        for (name, value) in config.originals() {
            let Some((listener, name)) = name.strip_prefix("listener.name.").and_then(|rest| rest.split_once('.')) else { continue };
            let Ok(value) = value.trim().parse::<i64>() else { continue };
            match name {
                "max.connections" => listeners.entry(listener.to_owned()).or_default().total = Some(count(value)),
                "max.connection.creation.rate" => listeners.entry(listener.to_owned()).or_default().rate = rate(value),
                _ => {}
            }
        }
        let client_listeners = config.broker_listeners().count();
        ConnectionLimits {
            total: count(i64::from(config.max_connections)),
            per_ip: count(i64::from(config.max_connections_per_ip)),
            per_ip_overrides: overrides(config.value("max.connections.per.ip.overrides").as_str().unwrap_or_default()),
            rate: rate(config.long("max.connection.creation.rate")),
            listeners,
            protected: (client_listeners > 1).then(|| config.inter_broker_listener_name.clone()),
        }
    }

    fn listener(&self, name: &str) -> ListenerLimits {
        self.listeners.get(&name.to_ascii_lowercase()).copied().unwrap_or_default()
    }

    fn is_protected(&self, listener: &str) -> bool {
        self.protected.as_deref() == Some(listener)
    }

    fn per_ip(&self, ip: IpAddr) -> usize {
        self.per_ip_overrides.get(&ip).copied().unwrap_or(self.per_ip)
    }
}

/// `host:count,host:count`; an IPv6 address has colons of its own.
fn overrides(text: &str) -> HashMap<IpAddr, usize> {
    let pairs = text.split(',').filter_map(|pair| pair.trim().rsplit_once(':'));
    pairs.filter_map(|(host, number)| Some((resolve(host.trim())?, number.trim().parse().ok()?))).collect()
}

/// The address that a name in a config stands for.
fn resolve(host: &str) -> Option<IpAddr> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    // Only a name costs a question to the network, and only when the configs change.
    host.parse().ok().or_else(|| Some((host, 0).to_socket_addrs().ok()?.next()?.ip())).map(|ip: IpAddr| ip.to_canonical())
}

/// What becomes of a connection that has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    Admitted,
    /// All places are taken; it may wait.
    Full,
    /// Its address is over its rate: to be closed after this many milliseconds.
    Throttled {
        ms: u32,
    },
    /// Its address has this many connections already: to be closed.
    TooMany {
        limit: usize,
    },
}

/// The connections that there are, and how fast they came.
#[derive(Debug)]
pub(crate) struct Connections {
    windows: Windows,
    limits: ConnectionLimits,
    default_ip_rate: Option<f64>,
    ip_rates: HashMap<IpAddr, f64>,
    total: usize,
    per_ip: HashMap<IpAddr, usize>,
    per_listener: HashMap<Arc<str>, usize>,
    rate: Rate,
    listener_rates: HashMap<Arc<str>, Rate>,
    ip_usage: HashMap<IpAddr, (Rate, i64)>,
    sweep_at: usize,
}

impl Connections {
    pub(crate) fn new(windows: Windows, limits: ConnectionLimits) -> Connections {
        Connections {
            windows,
            limits,
            default_ip_rate: None,
            ip_rates: HashMap::new(),
            total: 0,
            per_ip: HashMap::new(),
            per_listener: HashMap::new(),
            rate: Rate::default(),
            listener_rates: HashMap::new(),
            ip_usage: HashMap::new(),
            sweep_at: ADDRESSES_BEFORE_SWEEP,
        }
    }

    pub(crate) fn update_limits(&mut self, limits: ConnectionLimits) {
        self.limits = limits;
    }

    /// Takes over the quotas of addresses, by name, and that of those without one.
    pub(crate) fn update_ip_rates(&mut self, default: Option<f64>, named: BTreeMap<String, f64>) {
        self.default_ip_rate = default.filter(|&rate| rate < UNLIMITED as f64);
        self.ip_rates = named.into_iter().filter_map(|(name, rate)| Some((resolve(&name)?, rate))).collect();
    }

    /// Is there room for one more on this listener?
    pub(crate) fn has_room(&self, listener: &str) -> bool {
        let on_listener = self.per_listener.get(listener).copied().unwrap_or(0);
        let room = self.limits.listener(listener).total.is_none_or(|limit| on_listener < limit);
        room && (self.limits.is_protected(listener) || self.total < self.limits.total)
    }

    /// Counts a connection that has come; gives for how long its listener shall take no other, in milliseconds.
    pub(crate) fn arrived(&mut self, listener: &Arc<str>, now_ms: i64) -> u32 {
        let windows = self.windows;
        let mut pause_ms = 0;
        let throttle = |rate: &mut Rate, limit: Option<f64>| {
            rate.record(windows, 1.0, now_ms);
            limit.map_or(0, |limit| rate.throttle_ms(windows, limit, now_ms))
        };
        if !self.limits.is_protected(listener) {
            pause_ms = throttle(&mut self.rate, self.limits.rate);
        }
        let limit = self.limits.listener(listener).rate;
        pause_ms = pause_ms.max(throttle(self.listener_rates.entry(Arc::clone(listener)).or_default(), limit));
        bounded(pause_ms, windows)
    }

    /// Takes a connection in, or says why not. What is taken in leaves by [`Connections::left`].
    pub(crate) fn admit(&mut self, listener: &Arc<str>, ip: IpAddr, now_ms: i64) -> Admission {
        let ip = ip.to_canonical();
        if !self.has_room(listener) {
            return Admission::Full;
        }
        if let Some(limit) = self.ip_rates.get(&ip).copied().or(self.default_ip_rate) {
            let windows = self.windows;
            self.sweep(ip, now_ms);
            let (rate, last_ms) = self.ip_usage.entry(ip).or_default();
            *last_ms = now_ms;
            rate.record(windows, 1.0, now_ms);
            let throttle_ms = rate.throttle_ms(windows, limit, now_ms);
            if throttle_ms > 0 {
                // As if it had never come.
                rate.record(windows, -1.0, now_ms);
                if !self.limits.is_protected(listener) {
                    self.rate.record(windows, -1.0, now_ms);
                }
                self.listener_rates.entry(Arc::clone(listener)).or_default().record(windows, -1.0, now_ms);
                return Admission::Throttled { ms: bounded(throttle_ms, windows) };
            }
        }
        let limit = self.limits.per_ip(ip);
        let on_ip = self.per_ip.get(&ip).copied().unwrap_or(0);
        if on_ip >= limit {
            return Admission::TooMany { limit };
        }
        self.per_ip.insert(ip, on_ip + 1);
        *self.per_listener.entry(Arc::clone(listener)).or_default() += 1;
        self.total += 1;
        Admission::Admitted
    }

    /// A connection that was taken in has ended.
    pub(crate) fn left(&mut self, listener: &str, ip: IpAddr) {
        let ip = ip.to_canonical();
        if let Some(on_ip) = self.per_ip.get_mut(&ip) {
            *on_ip -= 1;
            if *on_ip == 0 {
                self.per_ip.remove(&ip);
            }
        }
        if let Some(on_listener) = self.per_listener.get_mut(listener) {
            *on_listener = on_listener.saturating_sub(1);
        }
        self.total = self.total.saturating_sub(1);
    }

    /// Forgets addresses that have not come for so long that they are like new ones.
    fn sweep(&mut self, coming: IpAddr, now_ms: i64) {
        if self.ip_usage.len() >= self.sweep_at && !self.ip_usage.contains_key(&coming) {
            let memory_ms = self.windows.memory_ms();
            self.ip_usage.retain(|_, (_, last_ms)| now_ms - *last_ms < memory_ms);
            self.sweep_at = (self.ip_usage.len() * 2).max(ADDRESSES_BEFORE_SWEEP);
        }
    }
}

/// A pause is never longer than one window.
fn bounded(ms: i64, windows: Windows) -> u32 {
    u32::try_from(ms.clamp(0, windows.size_ms)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOWS: Windows = Windows { count: 11, size_ms: 1000 };
    const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    fn connections(pairs: &[(&str, &str)]) -> Connections {
        let base = [("listeners", "PLAINTEXT://:0,CONTROLLER://:0"), ("advertised.listeners", "PLAINTEXT://a:1")];
        let properties = base.iter().chain(pairs).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Connections::new(WINDOWS, ConnectionLimits::of(&BrokerConfig::from_properties(&properties).expect("valid")))
    }

    fn listener() -> Arc<str> {
        "PLAINTEXT".into()
    }

    #[test]
    fn an_address_has_only_so_many_connections() {
        let mut all = connections(&[("max.connections.per.ip", "1"), ("max.connections.per.ip.overrides", "10.0.0.2:2")]);
        assert_eq!(all.admit(&listener(), IP, 0), Admission::Admitted);
        assert_eq!(all.admit(&listener(), IP, 0), Admission::TooMany { limit: 1 });
        assert_eq!(all.admit(&listener(), OTHER, 0), Admission::Admitted);
        assert_eq!(all.admit(&listener(), OTHER, 0), Admission::Admitted);
        assert_eq!(all.admit(&listener(), OTHER, 0), Admission::TooMany { limit: 2 });
        all.left("PLAINTEXT", IP);
        assert_eq!(all.admit(&listener(), IP, 0), Admission::Admitted);
        // The same address in the form of IPv6.
        assert_eq!(all.admit(&listener(), "::ffff:10.0.0.1".parse().expect("an address"), 0), Admission::TooMany { limit: 1 });
    }

    #[test]
    fn a_full_broker_or_listener_takes_no_more() {
        let mut all = connections(&[("max.connections", "1")]);
        assert_eq!(all.admit(&listener(), IP, 0), Admission::Admitted);
        assert_eq!(all.admit(&listener(), OTHER, 0), Admission::Full);
        all.left("PLAINTEXT", IP);
        assert!(all.has_room("PLAINTEXT"));
        let mut all = connections(&[("listener.name.plaintext.max.connections", "1")]);
        assert_eq!(all.admit(&listener(), IP, 0), Admission::Admitted);
        assert!(!all.has_room("PLAINTEXT"));
        assert!(all.has_room("OTHER"));
    }

    #[test]
    fn a_listener_over_its_rate_pauses() {
        let mut all = connections(&[("max.connection.creation.rate", "5")]);
        // Fifty in ten seconds are allowed; the next one costs 0.2 seconds.
        assert!((0..50).all(|_| all.arrived(&listener(), 0) == 0));
        assert_eq!(all.arrived(&listener(), 0), 200);
        // Never more than a window.
        (0..100).for_each(|_| assert!(all.arrived(&listener(), 0) > 0));
        assert_eq!(all.arrived(&listener(), 0), 1000);
    }

    #[test]
    fn an_address_over_its_rate_is_closed_later_and_does_not_count() {
        let mut all = connections(&[]);
        all.update_ip_rates(None, BTreeMap::from([("10.0.0.1".to_owned(), 1.0)]));
        assert!((0..10).all(|_| all.admit(&listener(), IP, 0) == Admission::Admitted));
        assert_eq!(all.admit(&listener(), IP, 0), Admission::Throttled { ms: 1000 });
        assert_eq!(all.admit(&listener(), OTHER, 0), Admission::Admitted);
        assert_eq!(all.admit(&listener(), IP, 12_000), Admission::Admitted);
        all.update_ip_rates(Some(1.0), BTreeMap::new());
        assert!((0..10).all(|_| all.admit(&listener(), OTHER, 20_000) == Admission::Admitted));
        assert_eq!(all.admit(&listener(), OTHER, 20_000), Admission::Throttled { ms: 1000 });
    }
}
