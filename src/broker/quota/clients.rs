//! The quotas of users and client ids: which one binds a client, and how much of it is used.
//!
//! The most specific quota counts, in this order: user and client id, user and any client id, user, any user and client id, any user and
//! any client id, any user, client id, any client id. Those whom a quota of "any" binds share nothing: each has the whole of it.
//! Source: Kafka's `ClientQuotaManager`, `ControllerMutationQuotaManager`. Pure: the time is passed in.

use std::collections::{BTreeMap, HashMap};

use super::rate::{Rate, TokenBucket, Windows};
use crate::controller::quotas::{CLIENT_ID, IP, USER};
use crate::metadata::image::ClientQuotasImage;

/// Clients that are remembered before those are looked for that can be forgotten.
const CLIENTS_BEFORE_SWEEP: usize = 1024;

/// One side of an entity.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Name {
    Absent,
    Any,
    Named(String),
}

/// Whom a quota binds.
type Entity = (Name, Name);

/// Who shares a quota: a user, a client id, or both; empty where it does not count.
type Sharer = (String, String);

/// The levels at which quotas are set.
const BY_CLIENT_ID: u8 = 1;
const BY_USER: u8 = 2;
const BY_USER_AND_CLIENT_ID: u8 = 4;

/// One kind of quota for all clients.
#[derive(Debug)]
pub(super) struct ClientQuotas {
    windows: Windows,
    limits: HashMap<Entity, f64>,
    levels: u8,
    usage: HashMap<Sharer, Usage>,
    sweep_at: usize,
}

#[derive(Debug, Default)]
struct Usage {
    rate: Rate,
    tokens: TokenBucket,
    last_ms: i64,
}

impl ClientQuotas {
    pub(super) fn new(windows: Windows) -> ClientQuotas {
        ClientQuotas { windows, limits: HashMap::new(), levels: 0, usage: HashMap::new(), sweep_at: CLIENTS_BEFORE_SWEEP }
    }

    /// Takes over the quotas named `key`. What has been used stays used. Gives whether there are any.
    pub(super) fn update(&mut self, image: &ClientQuotasImage, key: &str) -> bool {
        self.limits.clear();
        self.levels = 0;
        for (entity, values) in image.entities.iter().filter(|(entity, _)| !entity.contains_key(IP)) {
            let Some(&limit) = values.get(key) else { continue };
            let name = |entity_type: &str| match entity.get(entity_type) {
                None => Name::Absent,
                Some(None) => Name::Any,
                Some(Some(name)) => Name::Named(name.clone()),
            };
            let entity = (name(USER), name(CLIENT_ID));
            self.levels |= match &entity {
                (Name::Absent, _) => BY_CLIENT_ID,
                (_, Name::Absent) => BY_USER,
                _ => BY_USER_AND_CLIENT_ID,
            };
            self.limits.insert(entity, limit);
        }
        if self.levels == 0 {
            self.usage.clear();
        }
        self.levels != 0
    }

    /// With whom a client shares its quota.
    fn sharer(&self, user: &str, client_id: &str) -> Sharer {
        let both = || (user.to_owned(), client_id.to_owned());
        let by_user = || (user.to_owned(), String::new());
        match self.levels {
            0 | BY_CLIENT_ID => (String::new(), client_id.to_owned()),
            BY_USER => by_user(),
            BY_USER_AND_CLIENT_ID => both(),
            _ => {
                let (named_user, named_client) = (Name::Named(user.to_owned()), Name::Named(client_id.to_owned()));
                let is_set = |user: &Name, client: &Name| self.limits.contains_key(&(user.clone(), client.clone()));
                if is_set(&named_user, &named_client) || is_set(&named_user, &Name::Any) {
                    both()
                } else if is_set(&named_user, &Name::Absent) {
                    by_user()
                } else if is_set(&Name::Any, &named_client) || is_set(&Name::Any, &Name::Any) {
                    both()
                } else if is_set(&Name::Any, &Name::Absent) {
                    by_user()
                } else {
                    (String::new(), client_id.to_owned())
                }
            }
        }
    }

    fn limit_of(&self, (user, client_id): &Sharer) -> Option<f64> {
        let find = |user: Name, client: Name| self.limits.get(&(user, client)).copied();
        let named = |name: &str| Name::Named(name.to_owned());
        match (user.is_empty(), client_id.is_empty()) {
            (false, false) => find(named(user), named(client_id))
                .or_else(|| find(named(user), Name::Any))
                .or_else(|| find(Name::Any, named(client_id)))
                .or_else(|| find(Name::Any, Name::Any)),
            (false, true) => find(named(user), Name::Absent).or_else(|| find(Name::Any, Name::Absent)),
            (true, false) => find(Name::Absent, named(client_id)).or_else(|| find(Name::Absent, Name::Any)),
            (true, true) => None,
        }
    }

    /// What binds a client, and what it has used.
    fn usage(&mut self, user: &str, client_id: &str, now_ms: i64) -> Option<(f64, &mut Usage)> {
        let sharer = self.sharer(user, client_id);
        let limit = self.limit_of(&sharer)?;
        if self.usage.len() >= self.sweep_at && !self.usage.contains_key(&sharer) {
            // Who has used nothing for so long is like someone new.
            let memory_ms = self.windows.memory_ms();
            self.usage.retain(|_, usage| now_ms - usage.last_ms < memory_ms);
            self.sweep_at = (self.usage.len() * 2).max(CLIENTS_BEFORE_SWEEP);
        }
        let usage = self.usage.entry(sharer).or_default();
        usage.last_ms = now_ms;
        Some((limit, usage))
    }

    /// Counts usage; gives the throttle time that it earns, in milliseconds, at most `at_most_ms`.
    pub(super) fn record(&mut self, user: &str, client_id: &str, amount: f64, at_most_ms: i64, now_ms: i64) -> u32 {
        let windows = self.windows;
        let Some((limit, usage)) = self.usage(user, client_id, now_ms) else { return 0 };
        usage.rate.record(windows, amount, now_ms);
        to_u32(usage.rate.throttle_ms(windows, limit, now_ms).min(at_most_ms))
    }

    /// Takes back what was counted at this moment.
    pub(super) fn unrecord(&mut self, user: &str, client_id: &str, amount: f64, now_ms: i64) {
        let windows = self.windows;
        if let Some((_, usage)) = self.usage(user, client_id, now_ms) {
            usage.rate.record(windows, -amount, now_ms);
        }
    }

    /// The most that a client can use at once and have a chance not to be throttled.
    pub(super) fn burst(&mut self, user: &str, client_id: &str) -> Option<f64> {
        let limit = self.limit_of(&self.sharer(user, client_id))?;
        Some(self.windows.burst(limit))
    }

    /// Takes tokens. A strict quota that is overdrawn already gives none. Gives whether they were taken, and the throttle time in
    /// milliseconds.
    pub(super) fn take(&mut self, user: &str, client_id: &str, amount: f64, strict: bool, now_ms: i64) -> (bool, u32) {
        let windows = self.windows;
        let Some((limit, usage)) = self.usage(user, client_id, now_ms) else { return (true, 0) };
        if strict {
            let throttle_ms = usage.tokens.throttle_ms(windows, limit, now_ms);
            if throttle_ms > 0 {
                return (false, to_u32(throttle_ms));
            }
            usage.tokens.take(windows, limit, amount, now_ms);
            return (true, 0);
        }
        usage.tokens.take(windows, limit, amount, now_ms);
        (true, to_u32(usage.tokens.throttle_ms(windows, limit, now_ms)))
    }
}

fn to_u32(ms: i64) -> u32 {
    // Kafka's throttle times are Java ints.
    u32::try_from(ms.clamp(0, i64::from(i32::MAX))).unwrap_or(0)
}

/// The quotas of addresses: how many connections a second each may make.
pub(super) fn connection_rates(image: &ClientQuotasImage, key: &str) -> (Option<f64>, BTreeMap<String, f64>) {
    let (mut default, mut named) = (None, BTreeMap::new());
    for (entity, values) in &image.entities {
        if let (Some(name), Some(&rate)) = (entity.get(IP), values.get(key)) {
            match name {
                Some(name) => drop(named.insert(name.clone(), rate)),
                None => default = Some(rate),
            }
        }
    }
    (default, named)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const WINDOWS: Windows = Windows { count: 11, size_ms: 1000 };
    const KEY: &str = "producer_byte_rate";

    type Parts<'a> = &'a [(&'a str, Option<&'a str>)];

    fn quotas(entities: &[(Parts<'_>, f64)]) -> ClientQuotas {
        let mut image = ClientQuotasImage::default();
        for (entity, limit) in entities {
            let entity = entity.iter().map(|(entity_type, name)| ((*entity_type).to_owned(), name.map(str::to_owned))).collect();
            image.entities.insert(entity, Arc::new(BTreeMap::from([(KEY.to_owned(), *limit)])));
        }
        let mut quotas = ClientQuotas::new(WINDOWS);
        quotas.update(&image, KEY);
        quotas
    }

    fn limit(quotas: &ClientQuotas, user: &str, client_id: &str) -> Option<f64> {
        quotas.limit_of(&quotas.sharer(user, client_id))
    }

    #[test]
    fn the_most_specific_quota_counts() {
        // As in ClientQuotaManagerTest.testUserClientIdQuotaParsingIdWithDefaultClientIdQuota and its neighbours.
        let all = quotas(&[
            (&[(USER, Some("A")), (CLIENT_ID, Some("1"))], 1.0),
            (&[(USER, Some("A")), (CLIENT_ID, None)], 2.0),
            (&[(USER, Some("B"))], 3.0),
            (&[(USER, None), (CLIENT_ID, Some("1"))], 4.0),
            (&[(USER, None), (CLIENT_ID, None)], 5.0),
            (&[(USER, None)], 6.0),
            (&[(CLIENT_ID, Some("1"))], 7.0),
            (&[(CLIENT_ID, None)], 8.0),
        ]);
        let expected = [("A", "1", 1.0), ("A", "2", 2.0), ("B", "1", 3.0), ("B", "9", 3.0), ("C", "1", 4.0), ("C", "2", 5.0)];
        for (user, client_id, expected) in expected {
            assert_eq!(limit(&all, user, client_id), Some(expected), "{user} {client_id}");
        }
        let some = quotas(&[(&[(USER, None)], 6.0), (&[(CLIENT_ID, Some("1"))], 7.0)]);
        assert_eq!(limit(&some, "C", "1"), Some(6.0), "a user's quota goes before a client id's");
        let by_client = quotas(&[(&[(CLIENT_ID, Some("1"))], 7.0), (&[(CLIENT_ID, None)], 8.0)]);
        assert_eq!((limit(&by_client, "C", "1"), limit(&by_client, "C", "2")), (Some(7.0), Some(8.0)));
        let by_user = quotas(&[(&[(USER, Some("B"))], 3.0)]);
        assert_eq!((limit(&by_user, "B", "x"), limit(&by_user, "C", "x")), (Some(3.0), None));
    }

    #[test]
    fn clients_of_one_user_share_the_users_quota() {
        let mut quotas = quotas(&[(&[(USER, Some("A"))], 100.0)]);
        assert_eq!(quotas.record("A", "1", 1000.0, i64::MAX, 0), 0);
        // 2000 in 10 seconds against 100 a second.
        assert_eq!(quotas.record("A", "2", 1000.0, i64::MAX, 0), 10_000);
        assert_eq!(quotas.record("B", "1", 1_000_000.0, i64::MAX, 0), 0);
    }

    #[test]
    fn a_changed_quota_binds_what_was_used_already() {
        let mut quotas = quotas(&[(&[(CLIENT_ID, None)], 1000.0)]);
        assert_eq!(quotas.record("A", "1", 5000.0, i64::MAX, 0), 0);
        let mut image = ClientQuotasImage::default();
        let entity = BTreeMap::from([(CLIENT_ID.to_owned(), Some("1".to_owned()))]);
        image.entities.insert(entity, Arc::new(BTreeMap::from([(KEY.to_owned(), 250.0)])));
        assert!(quotas.update(&image, KEY));
        assert_eq!(quotas.record("A", "1", 0.0, i64::MAX, 0), 10_000);
        assert!(!quotas.update(&ClientQuotasImage::default(), KEY));
        assert_eq!(quotas.record("A", "1", 1e9, i64::MAX, 0), 0);
    }

    #[test]
    fn a_strict_quota_takes_nothing_while_it_is_overdrawn() {
        let mut quotas = quotas(&[(&[(USER, None)], 10.0)]);
        assert_eq!(quotas.take("A", "1", 200.0, true, 0), (true, 0));
        // 11 windows of 10: 110 - 200 = -90, which is nine seconds.
        assert_eq!(quotas.take("A", "1", 1.0, true, 0), (false, 9000));
        assert_eq!(quotas.take("A", "1", 1.0, false, 0), (true, 9100));
        assert_eq!(quotas.take("A", "1", 1.0, true, 9100), (true, 0));
    }

    #[test]
    fn who_uses_nothing_any_more_is_forgotten() {
        let mut quotas = quotas(&[(&[(CLIENT_ID, None)], 1000.0)]);
        for client in 0..5000 {
            quotas.record("A", &client.to_string(), 1.0, i64::MAX, client * 20);
        }
        assert!(quotas.usage.len() < 2100, "{}", quotas.usage.len());
    }
}
