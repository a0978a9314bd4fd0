//! Incremental fetch sessions (KIP-227): a consumer names its partitions once, later requests carry only what changed, and responses
//! only partitions with news. Sources: `FetchManager`, `FetchSession`, `FetchContext`.
//!
//! Invariants:
//! - At most `max.incremental.fetch.session.cache.slots` sessions exist; a client that gets none goes on without.
//! - A session's epoch counts its requests, so that a repeated or lost request is noticed (INVALID_FETCH_SESSION_EPOCH).
//! - Within a session the partitions take turns at being first: one that filled the last response is asked last in the next.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::common::random::Random;
use crate::common::uuid::Uuid;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::fetch_response::PartitionData;

/// The session id of a request without session.
const NO_SESSION: i32 = 0;
/// The epoch of a request that wants a new session.
const INITIAL_EPOCH: i32 = 0;
/// The epoch of a request that wants none and closes the one it names.
const FINAL_EPOCH: i32 = -1;
/// A session this long unused may be evicted by any other; one this old by a larger one.
const EVICTION_MS: u64 = 120_000;

/// A topic as the request names it: by id from version 13 on, by name before.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TopicKey {
    Id(Uuid),
    Name(Arc<str>),
}

/// What a client wants of one partition.
#[derive(Clone, Debug)]
pub(crate) struct WantedPartition {
    pub(crate) topic: TopicKey,
    pub(crate) partition: i32,
    pub(crate) current_leader_epoch: i32,
    pub(crate) fetch_offset: i64,
    pub(crate) last_fetched_epoch: i32,
    pub(crate) max_bytes: i32,
}

/// How a request relates to sessions, and which partitions it is about.
#[derive(Debug)]
pub(crate) struct FetchContext {
    pub(crate) wanted: Vec<WantedPartition>,
    kind: Kind,
}

impl FetchContext {
    /// The session of the request; 0 when it has none or wants a new one.
    pub(crate) fn session_id(&self) -> i32 {
        match &self.kind {
            Kind::Sessionless | Kind::WantsSession { .. } => NO_SESSION,
            Kind::Incremental(session) => lock(session).id,
        }
    }
}

#[derive(Debug)]
enum Kind {
    Sessionless,
    WantsSession { uses_topic_ids: bool },
    Incremental(Arc<Mutex<FetchSession>>),
}

/// One session.
#[derive(Debug)]
struct FetchSession {
    id: i32,
    epoch: i32,
    uses_topic_ids: bool,
    partitions: Vec<CachedPartition>,
    /// Where in `partitions` each one is.
    index: HashMap<(TopicKey, i32), usize>,
    /// Where the next request begins.
    turn: usize,
}

#[derive(Debug)]
struct CachedPartition {
    wanted: WantedPartition,
    /// As last told to the client; -1 after an error, so that the partition is told again when it has gone.
    high_watermark: i64,
    log_start_offset: i64,
}

#[derive(Debug)]
struct Slot {
    session: Arc<Mutex<FetchSession>>,
    created_ms: u64,
    last_used_ms: u64,
    size: usize,
}

/// All sessions of a broker.
#[derive(Debug)]
pub(crate) struct FetchSessions {
    max_sessions: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    slots: HashMap<i32, Slot>,
    random: Random,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FetchSessions {
    pub(crate) fn new(max_sessions: usize, random: Random) -> FetchSessions {
        FetchSessions { max_sessions, state: Mutex::new(State { slots: HashMap::new(), random }) }
    }

    /// How many sessions there are, and partitions in them.
    pub(crate) fn size(&self) -> (usize, usize) {
        let state = lock(&self.state);
        (state.slots.len(), state.slots.values().map(|slot| slot.size).sum())
    }

    /// Understands a request's session fields. `requested` are the partitions it names, `forgotten` those it drops from the session.
    pub(crate) fn open(
        &self,
        session_id: i32,
        epoch: i32,
        uses_topic_ids: bool,
        requested: Vec<WantedPartition>,
        forgotten: &[(TopicKey, i32)],
        now_ms: u64,
    ) -> Result<FetchContext, ErrorCode> {
        if epoch == INITIAL_EPOCH || epoch == FINAL_EPOCH {
            if session_id != NO_SESSION {
                lock(&self.state).slots.remove(&session_id);
            }
            let kind = if epoch == FINAL_EPOCH { Kind::Sessionless } else { Kind::WantsSession { uses_topic_ids } };
            return Ok(FetchContext { wanted: requested, kind });
        }
        let mut state = lock(&self.state);
        let slot = state.slots.get_mut(&session_id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        let shared = Arc::clone(&slot.session);
        let mut session = lock(&shared);
        if session.epoch != epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.uses_topic_ids != uses_topic_ids {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        session.update(&requested, forgotten);
        if session.partitions.is_empty() {
            state.slots.remove(&session_id);
            return Ok(FetchContext { wanted: requested, kind: Kind::Sessionless });
        }
        slot.last_used_ms = now_ms;
        slot.size = session.partitions.len();
        session.epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
        let wanted = session.wanted_in_turn();
        drop(session);
        Ok(FetchContext { wanted, kind: Kind::Incremental(shared) })
    }

    /// Turns the results, one for each of the context's partitions in their order, into what the response says: the session id and the
    /// partitions to include.
    pub(crate) fn close(
        &self,
        context: &FetchContext,
        mut results: Vec<(TopicKey, PartitionData)>,
        now_ms: u64,
    ) -> (i32, Vec<(TopicKey, PartitionData)>) {
        match &context.kind {
            Kind::Sessionless => (NO_SESSION, results),
            Kind::WantsSession { uses_topic_ids } => {
                let id = self.create(&context.wanted, &results, *uses_topic_ids, now_ms);
                (id, results)
            }
            Kind::Incremental(session) => {
                let mut session = lock(session);
                let mut last_with_records = None;
                results.retain(|(topic, data)| {
                    let Some(&at) = session.index.get(&(topic.clone(), data.partition_index)) else { return true };
                    if has_records(data) {
                        last_with_records = Some(at);
                    }
                    session.partitions[at].is_news(data)
                });
                if let Some(at) = last_with_records {
                    session.turn = (at + 1) % session.partitions.len().max(1);
                }
                (session.id, results)
            }
        }
    }

    /// Makes a session when there is room for one; 0 otherwise.
    fn create(&self, wanted: &[WantedPartition], results: &[(TopicKey, PartitionData)], uses_topic_ids: bool, now_ms: u64) -> i32 {
        if self.max_sessions == 0 {
            return NO_SESSION;
        }
        let mut state = lock(&self.state);
        if state.slots.len() >= self.max_sessions && !state.evict(wanted.len(), now_ms) {
            return NO_SESSION;
        }
        let id = loop {
            let id = (state.random.next_u64() >> 33) as i32;
            if id != NO_SESSION && !state.slots.contains_key(&id) {
                break id;
            }
        };
        let mut session = FetchSession { id, epoch: 1, uses_topic_ids, partitions: Vec::new(), index: HashMap::new(), turn: 0 };
        session.update(wanted, &[]);
        for (topic, data) in results {
            if let Some(&at) = session.index.get(&(topic.clone(), data.partition_index)) {
                session.partitions[at].is_news(data);
            }
        }
        let size = session.partitions.len();
        state.slots.insert(id, Slot { session: Arc::new(Mutex::new(session)), created_ms: now_ms, last_used_ms: now_ms, size });
        id
    }
}

impl State {
    /// Makes room for a session of `size` partitions, if another may be sent away for it.
    fn evict(&mut self, size: usize, now_ms: u64) -> bool {
        let stale = self.slots.iter().min_by_key(|(_, slot)| slot.last_used_ms).map(|(&id, slot)| (id, slot.last_used_ms));
        let victim = match stale {
            Some((id, last_used_ms)) if now_ms.saturating_sub(last_used_ms) > EVICTION_MS => Some(id),
            _ => self
                .slots
                .iter()
                .filter(|(_, slot)| now_ms.saturating_sub(slot.created_ms) > EVICTION_MS && slot.size < size)
                .min_by_key(|(_, slot)| slot.size)
                .map(|(&id, _)| id),
        };
        victim.is_some_and(|id| self.slots.remove(&id).is_some())
    }
}

impl FetchSession {
    fn update(&mut self, requested: &[WantedPartition], forgotten: &[(TopicKey, i32)]) {
        for wanted in requested {
            let key = (wanted.topic.clone(), wanted.partition);
            match self.index.get(&key) {
                Some(&at) => self.partitions[at].wanted = wanted.clone(),
                None => {
                    self.index.insert(key, self.partitions.len());
                    self.partitions.push(CachedPartition { wanted: wanted.clone(), high_watermark: -1, log_start_offset: -1 });
                }
            }
        }
        if forgotten.iter().filter(|key| self.index.remove(key).is_some()).count() > 0 {
            let index = &self.index;
            self.partitions.retain(|cached| index.contains_key(&(cached.wanted.topic.clone(), cached.wanted.partition)));
            for (at, cached) in self.partitions.iter().enumerate() {
                if let Some(place) = self.index.get_mut(&(cached.wanted.topic.clone(), cached.wanted.partition)) {
                    *place = at;
                }
            }
            self.turn = 0;
        }
    }

    fn wanted_in_turn(&self) -> Vec<WantedPartition> {
        let (late, early) = self.partitions.split_at(self.turn.min(self.partitions.len()));
        early.iter().chain(late).map(|cached| cached.wanted.clone()).collect()
    }
}

impl CachedPartition {
    /// Must the client hear of this? Remembers what it is told.
    fn is_news(&mut self, data: &PartitionData) -> bool {
        let mut news = has_records(data) || data.preferred_read_replica >= 0 || data.diverging_epoch.epoch >= 0;
        if self.high_watermark != data.high_watermark {
            self.high_watermark = data.high_watermark;
            news = true;
        }
        if self.log_start_offset != data.log_start_offset {
            self.log_start_offset = data.log_start_offset;
            news = true;
        }
        if data.error_code != ErrorCode::None.code() {
            self.high_watermark = -1;
            news = true;
        }
        news
    }
}

fn has_records(data: &PartitionData) -> bool {
    data.records.as_ref().is_some_and(|records| !records.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::records::Records;

    fn wanted(partition: i32) -> WantedPartition {
        WantedPartition {
            topic: TopicKey::Name("t".into()),
            partition,
            current_leader_epoch: -1,
            fetch_offset: 0,
            last_fetched_epoch: -1,
            max_bytes: 100,
        }
    }

    fn result(partition: i32, high_watermark: i64, records: &'static [u8]) -> (TopicKey, PartitionData) {
        let records = Some(Records::Bytes(bytes::Bytes::from_static(records)));
        let data = PartitionData { partition_index: partition, high_watermark, records, ..PartitionData::default() };
        (TopicKey::Name("t".into()), data)
    }

    fn partitions(results: &[(TopicKey, PartitionData)]) -> Vec<i32> {
        results.iter().map(|(_, data)| data.partition_index).collect()
    }

    fn sessions(max: usize) -> FetchSessions {
        FetchSessions::new(max, Random::new(1))
    }

    fn new_session(sessions: &FetchSessions, count: i32, now_ms: u64) -> i32 {
        let context = sessions.open(0, 0, false, (0..count).map(wanted).collect(), &[], now_ms).expect("a full request");
        let results = (0..count).map(|partition| result(partition, 0, b"")).collect();
        sessions.close(&context, results, now_ms).0
    }

    #[test]
    fn an_incremental_response_leaves_out_what_did_not_change() {
        let sessions = sessions(10);
        let id = new_session(&sessions, 3, 0);
        assert_ne!(id, 0);
        let context = sessions.open(id, 1, false, vec![], &[], 0).expect("the session");
        assert_eq!(context.wanted.len(), 3);
        let (same, told) = sessions.close(&context, vec![result(0, 0, b""), result(1, 5, b"x"), result(2, 0, b"")], 0);
        assert_eq!((same, partitions(&told)), (id, vec![1]));
        // The partition that had records comes last the next time.
        let context = sessions.open(id, 2, false, vec![], &[], 0).expect("the session");
        assert_eq!(context.wanted.iter().map(|wanted| wanted.partition).collect::<Vec<_>>(), [2, 0, 1]);
    }

    #[test]
    fn an_error_is_told_and_so_is_its_end() {
        let sessions = sessions(10);
        let id = new_session(&sessions, 1, 0);
        let context = sessions.open(id, 1, false, vec![], &[], 0).expect("the session");
        let mut failed = result(0, 0, b"");
        failed.1.error_code = ErrorCode::KafkaStorageError.code();
        assert_eq!(sessions.close(&context, vec![failed], 0).1.len(), 1);
        let context = sessions.open(id, 2, false, vec![], &[], 0).expect("the session");
        assert_eq!(sessions.close(&context, vec![result(0, 0, b"")], 0).1.len(), 1);
    }

    #[test]
    fn forgotten_partitions_leave_and_an_empty_session_ends() {
        let sessions = sessions(10);
        let id = new_session(&sessions, 3, 0);
        let gone = |partition| (TopicKey::Name("t".into()), partition);
        let context = sessions.open(id, 1, false, vec![], &[gone(1)], 0).expect("the session");
        assert_eq!(context.wanted.iter().map(|wanted| wanted.partition).collect::<Vec<_>>(), [0, 2]);
        sessions.open(id, 2, false, vec![], &[gone(0), gone(2)], 0).expect("the session");
        assert_eq!(sessions.open(id, 3, false, vec![], &[], 0).err(), Some(ErrorCode::FetchSessionIdNotFound));
    }

    #[test]
    fn wrong_ids_epochs_and_topic_forms_are_refused() {
        let sessions = sessions(10);
        let id = new_session(&sessions, 1, 0);
        assert_eq!(sessions.open(id ^ 1, 1, false, vec![], &[], 0).err(), Some(ErrorCode::FetchSessionIdNotFound));
        assert_eq!(sessions.open(id, 2, false, vec![], &[], 0).err(), Some(ErrorCode::InvalidFetchSessionEpoch));
        assert_eq!(sessions.open(id, 1, true, vec![], &[], 0).err(), Some(ErrorCode::FetchSessionTopicIdError));
        sessions.open(id, -1, false, vec![], &[], 0).expect("closing");
        assert_eq!(sessions.open(id, 1, false, vec![], &[], 0).err(), Some(ErrorCode::FetchSessionIdNotFound));
    }

    #[test]
    fn a_full_cache_gives_no_session_until_one_is_stale_or_smaller() {
        let sessions = sessions(1);
        let first = new_session(&sessions, 2, 0);
        assert_eq!(new_session(&sessions, 9, 1), 0);
        assert_ne!(new_session(&sessions, 9, EVICTION_MS + 1), 0);
        assert_eq!(sessions.open(first, 1, false, vec![], &[], 0).err(), Some(ErrorCode::FetchSessionIdNotFound));
    }
}
