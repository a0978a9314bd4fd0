//! Share sessions: which partitions a member of a share group fetches, told once and then only what changed (KIP-932). Sources:
//! `ShareSessionCache`, `ShareSession`, `SharePartitionManager.newContext`.
//!
//! Invariants:
//! - At most `group.share.max.share.sessions` sessions exist.
//! - A session's epoch counts its requests, so that a repeated or lost request is noticed (INVALID_SHARE_SESSION_EPOCH).
//! - A session ends with its connection at the latest.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::common::uuid::Uuid;
use crate::protocol::error_code::ErrorCode;

/// The epoch of a request that begins a session.
pub(crate) const INITIAL_EPOCH: i32 = 0;
/// The epoch of a request that ends its session.
pub(crate) const FINAL_EPOCH: i32 = -1;

/// The epoch after this one; a session goes on at 1 after the highest.
fn next_epoch(epoch: i32) -> i32 {
    match epoch {
        ..0 => FINAL_EPOCH,
        i32::MAX => 1,
        epoch => epoch + 1,
    }
}

/// A partition of a topic, by the topic's id.
pub(crate) type TopicIdPartition = (Uuid, i32);

/// Whose session it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SessionKey {
    pub(crate) group_id: String,
    pub(crate) member_id: String,
}

#[derive(Debug)]
struct CachedPartition {
    partition: TopicIdPartition,
    /// The client is told of the partition next time even if there is no news.
    requires_update: bool,
}

#[derive(Debug)]
struct Session {
    epoch: i32,
    connection: SocketAddr,
    partitions: Vec<CachedPartition>,
}

/// What a request is about.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SessionContext {
    /// A new session: every partition that is asked for is answered.
    Initial(Vec<TopicIdPartition>),
    /// All partitions of the session; only those with news are answered. The epoch is the session's after the request.
    Subsequent { partitions: Vec<TopicIdPartition>, epoch: i32 },
    /// The end: nothing is fetched.
    Final,
}

/// All sessions of a broker.
#[derive(Debug)]
pub(crate) struct ShareSessions {
    max_sessions: usize,
    sessions: Mutex<HashMap<SessionKey, Session>>,
}

impl ShareSessions {
    pub(crate) fn new(max_sessions: usize) -> ShareSessions {
        ShareSessions { max_sessions, sessions: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionKey, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Understands the session fields of a ShareFetch.
    pub(crate) fn open(
        &self,
        key: &SessionKey,
        epoch: i32,
        connection: SocketAddr,
        requested: &[TopicIdPartition],
        forgotten: &[TopicIdPartition],
        has_acknowledgements: bool,
    ) -> Result<SessionContext, ErrorCode> {
        let mut sessions = self.lock();
        match epoch {
            FINAL_EPOCH => match sessions.contains_key(key) {
                true => Ok(SessionContext::Final),
                false => Err(ErrorCode::ShareSessionNotFound),
            },
            INITIAL_EPOCH => {
                if has_acknowledgements {
                    return Err(ErrorCode::InvalidRequest);
                }
                sessions.remove(key);
                if sessions.len() >= self.max_sessions {
                    return Err(ErrorCode::ShareSessionLimitReached);
                }
                let mut seen = HashSet::with_capacity(requested.len());
                let partitions: Vec<TopicIdPartition> = requested.iter().copied().filter(|partition| seen.insert(*partition)).collect();
                let cached = partitions.iter().map(|&partition| CachedPartition { partition, requires_update: false });
                sessions.insert(key.clone(), Session { epoch: next_epoch(INITIAL_EPOCH), connection, partitions: cached.collect() });
                Ok(SessionContext::Initial(partitions))
            }
            _ => {
                let session = sessions.get_mut(key).ok_or(ErrorCode::ShareSessionNotFound)?;
                if session.epoch != epoch {
                    return Err(ErrorCode::InvalidShareSessionEpoch);
                }
                if !requested.is_empty() {
                    let mut known: HashSet<TopicIdPartition> = session.partitions.iter().map(|cached| cached.partition).collect();
                    let added = requested.iter().filter(|partition| known.insert(**partition));
                    session.partitions.extend(added.map(|&partition| CachedPartition { partition, requires_update: true }));
                }
                if !forgotten.is_empty() {
                    let forgotten: HashSet<&TopicIdPartition> = forgotten.iter().collect();
                    session.partitions.retain(|cached| !forgotten.contains(&cached.partition));
                }
                session.epoch = next_epoch(session.epoch);
                let partitions = session.partitions.iter().map(|cached| cached.partition).collect();
                Ok(SessionContext::Subsequent { partitions, epoch: session.epoch })
            }
        }
    }

    /// Understands the session fields of a ShareAcknowledge.
    pub(crate) fn acknowledge(&self, key: &SessionKey, epoch: i32) -> Result<(), ErrorCode> {
        if epoch == INITIAL_EPOCH {
            return Err(ErrorCode::InvalidShareSessionEpoch);
        }
        let mut sessions = self.lock();
        let session = sessions.get_mut(key).ok_or(ErrorCode::ShareSessionNotFound)?;
        if epoch == FINAL_EPOCH {
            return Ok(());
        }
        if session.epoch != epoch {
            return Err(ErrorCode::InvalidShareSessionEpoch);
        }
        session.epoch = next_epoch(session.epoch);
        Ok(())
    }

    /// Decides, for a session of this epoch, whether a partition is in the answer; `has_records` and `has_error` say what there is to tell.
    /// Partitions that had records take their turn behind the others next time. An error when the session has gone on meanwhile.
    pub(crate) fn select(&self, key: &SessionKey, epoch: i32, answers: &[(TopicIdPartition, bool, bool)]) -> Result<Vec<bool>, ErrorCode> {
        let mut sessions = self.lock();
        let session = sessions.get_mut(key).filter(|session| session.epoch == epoch).ok_or(ErrorCode::InvalidShareSessionEpoch)?;
        let places: HashMap<TopicIdPartition, usize> =
            session.partitions.iter().enumerate().map(|(at, cached)| (cached.partition, at)).collect();
        let mut had_records = HashSet::new();
        let mut selected = Vec::with_capacity(answers.len());
        for &(partition, has_records, has_error) in answers {
            let Some(cached) = places.get(&partition).and_then(|&at| session.partitions.get_mut(at)) else {
                selected.push(true);
                continue;
            };
            selected.push(has_records || has_error || cached.requires_update);
            cached.requires_update = has_error;
            if has_records {
                had_records.insert(partition);
            }
        }
        // Stable: among themselves both keep their order.
        session.partitions.sort_by_key(|cached| had_records.contains(&cached.partition));
        Ok(selected)
    }

    /// Ends a session. Gives its partitions; `None` when there is none.
    pub(crate) fn remove(&self, key: &SessionKey) -> Option<Vec<TopicIdPartition>> {
        let session = self.lock().remove(key)?;
        Some(session.partitions.into_iter().map(|cached| cached.partition).collect())
    }

    /// The sessions that a connection began and that have not moved to another.
    pub(crate) fn of_connection(&self, connection: SocketAddr) -> Vec<SessionKey> {
        self.lock().iter().filter(|(_, session)| session.connection == connection).map(|(key, _)| key.clone()).collect()
    }

    /// Has any member of the group a session?
    pub(crate) fn has_group(&self, group_id: &str) -> bool {
        self.lock().keys().any(|key| key.group_id == group_id)
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: TopicIdPartition = (Uuid::from_u128(1), 0);
    const B: TopicIdPartition = (Uuid::from_u128(1), 1);

    fn key(member: &str) -> SessionKey {
        SessionKey { group_id: "g".to_owned(), member_id: member.to_owned() }
    }

    fn connection(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn open(
        it: &ShareSessions,
        epoch: i32,
        requested: &[TopicIdPartition],
        forgotten: &[TopicIdPartition],
    ) -> Result<SessionContext, ErrorCode> {
        it.open(&key("m"), epoch, connection(1), requested, forgotten, false)
    }

    #[test]
    fn a_session_remembers_its_partitions_and_counts_its_requests() {
        let it = ShareSessions::new(1);
        assert_eq!(open(&it, 1, &[], &[]), Err(ErrorCode::ShareSessionNotFound));
        assert_eq!(open(&it, 0, &[A], &[]), Ok(SessionContext::Initial(vec![A])));
        assert_eq!(open(&it, 1, &[B], &[]), Ok(SessionContext::Subsequent { partitions: vec![A, B], epoch: 2 }));
        assert_eq!(open(&it, 1, &[], &[]), Err(ErrorCode::InvalidShareSessionEpoch));
        assert_eq!(open(&it, 2, &[], &[A]), Ok(SessionContext::Subsequent { partitions: vec![B], epoch: 3 }));
        assert_eq!(it.acknowledge(&key("m"), 3), Ok(()));
        assert_eq!(it.acknowledge(&key("m"), 3), Err(ErrorCode::InvalidShareSessionEpoch));
        assert_eq!(it.acknowledge(&key("m"), 0), Err(ErrorCode::InvalidShareSessionEpoch));
        assert_eq!(open(&it, -1, &[], &[]), Ok(SessionContext::Final));
        assert_eq!(it.remove(&key("m")), Some(vec![B]));
        assert_eq!(open(&it, -1, &[], &[]), Err(ErrorCode::ShareSessionNotFound));
    }

    #[test]
    fn there_are_only_so_many_sessions() {
        let it = ShareSessions::new(1);
        assert!(open(&it, 0, &[A], &[]).is_ok());
        assert!(open(&it, 0, &[A], &[]).is_ok(), "the same member again");
        let other = it.open(&key("other"), 0, connection(2), &[A], &[], false);
        assert_eq!(other, Err(ErrorCode::ShareSessionLimitReached));
    }

    #[test]
    fn a_session_does_not_begin_with_acknowledgements() {
        let it = ShareSessions::new(1);
        assert_eq!(it.open(&key("m"), 0, connection(1), &[A], &[], true), Err(ErrorCode::InvalidRequest));
    }

    #[test]
    fn a_subsequent_answer_holds_only_news() {
        let it = ShareSessions::new(1);
        open(&it, 0, &[A], &[]).expect("a session");
        open(&it, 1, &[B], &[]).expect("one more partition");
        let none = [(A, false, false), (B, false, false)];
        assert_eq!(it.select(&key("m"), 2, &none), Ok(vec![false, true]), "a new partition is told of once");
        assert_eq!(it.select(&key("m"), 2, &none), Ok(vec![false, false]));
        assert_eq!(it.select(&key("m"), 2, &[(A, false, true)]), Ok(vec![true]));
        assert_eq!(it.select(&key("m"), 2, &[(A, false, false)]), Ok(vec![true]), "and that its error is gone");
        assert_eq!(it.select(&key("m"), 1, &none), Err(ErrorCode::InvalidShareSessionEpoch));
    }

    #[test]
    fn a_partition_that_had_records_waits_its_turn() {
        let it = ShareSessions::new(1);
        open(&it, 0, &[A, B], &[]).expect("a session");
        it.select(&key("m"), 1, &[(A, true, false), (B, false, false)]).expect("selected");
        assert_eq!(open(&it, 1, &[], &[]), Ok(SessionContext::Subsequent { partitions: vec![B, A], epoch: 2 }));
    }

    #[test]
    fn sessions_belong_to_connections() {
        let it = ShareSessions::new(5);
        open(&it, 0, &[A], &[]).expect("a session");
        assert_eq!(it.of_connection(connection(1)), [key("m")]);
        assert_eq!(it.of_connection(connection(2)), []);
        assert!(it.has_group("g"));
        it.remove(&key("m"));
        assert!(!it.has_group("g"));
    }
}
