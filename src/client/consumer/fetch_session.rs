//! What a broker remembers of this consumer's fetches, so that each has only to say what changed (KIP-227).
//!
//! Pure state. Invariant: what is remembered here is what the broker remembers, or else the next fetch is a full one.
//! Source: `FetchSessionHandler`, `FetchMetadata`; KIP-516 (topic ids).

use std::collections::BTreeMap;

use crate::common::topic_partition::{TopicPartition, by_topic};
use crate::common::uuid::Uuid;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use crate::protocol::messages::{FetchRequest, FetchResponse};

/// A session that does not exist.
const NO_SESSION: i32 = 0;
/// Of a fetch that lists everything, and begins a session if the broker has room for one.
const FULL_EPOCH: i32 = 0;
/// Of a fetch that ends its session.
const FINAL_EPOCH: i32 = -1;

/// What is asked of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Zero when it is not known.
    pub(super) topic_id: Uuid,
    pub(super) offset: i64,
    pub(super) leader_epoch: i32,
    pub(super) max_bytes: i32,
}

/// What an answer is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// It says something of every partition that was asked for.
    Full,
    /// It only says what is new.
    Incremental,
    /// The broker only wanted to throttle.
    Throttled,
    /// The broker has forgotten the session: the next fetch may follow at once.
    Forgotten,
    /// It does not fit what was asked; nothing of it can be used.
    Odd,
    /// It is an error that concerns all.
    Refused(ErrorCode),
}

#[derive(Debug, Default)]
pub(super) struct FetchSession {
    id: i32,
    epoch: i32,
    by_id: bool,
    partitions: BTreeMap<TopicPartition, Wanted>,
}

impl FetchSession {
    /// Writes into `request` what has to be said so that the broker fetches `next`. `by_id`: topics are named by their ids.
    pub(super) fn plan(&mut self, next: BTreeMap<TopicPartition, Wanted>, by_id: bool, request: &mut FetchRequest) {
        if self.by_id != by_id {
            // It ends the session and begins another.
            self.epoch = FULL_EPOCH;
            self.by_id = by_id;
        }
        (request.session_id, request.session_epoch) = (self.id, self.epoch);
        let full = self.epoch == FULL_EPOCH;
        let told = next.iter().filter(|(partition, wanted)| full || self.partitions.get(partition) != Some(wanted));
        let topics = by_topic(told.map(|(partition, wanted)| {
            let entry = FetchPartition {
                partition: partition.partition,
                current_leader_epoch: wanted.leader_epoch,
                fetch_offset: wanted.offset,
                partition_max_bytes: wanted.max_bytes,
                ..Default::default()
            };
            ((&partition.topic, wanted.topic_id), entry)
        }));
        let topics = topics.into_iter().map(|((topic, topic_id), partitions)| {
            let (topic, topic_id) = name(by_id, topic, topic_id);
            FetchTopic { topic, topic_id, partitions, ..Default::default() }
        });
        request.topics = topics.collect();
        // A topic of the same name with another id is another topic.
        let stays = |after: &Wanted, before: &Wanted| !by_id || after.topic_id == before.topic_id;
        let forgotten = self.partitions.iter().filter(|(partition, before)| {
            let stays = next.get(partition).is_some_and(|after| stays(after, before));
            !full && !stays
        });
        let forgotten = by_topic(forgotten.map(|(partition, before)| ((&partition.topic, before.topic_id), partition.partition)));
        let forgotten = forgotten.into_iter().map(|((topic, topic_id), partitions)| {
            let (topic, topic_id) = name(by_id, topic, topic_id);
            ForgottenTopic { topic, topic_id, partitions, ..Default::default() }
        });
        request.forgotten_topics_data = forgotten.collect();
        self.partitions = next;
    }

    /// The name of a topic that was asked for by its id.
    pub(super) fn topic(&self, id: Uuid) -> Option<&str> {
        let mut partitions = self.partitions.iter().filter(|(_, wanted)| !id.is_zero() && wanted.topic_id == id);
        partitions.next().map(|(partition, _)| partition.topic.as_str())
    }

    /// Takes in the answer to what was planned last.
    pub(super) fn answered(&mut self, response: &FetchResponse) -> Answered {
        let code = ErrorCode::from_code(response.error_code);
        if code.is_error() {
            return match code {
                ErrorCode::FetchSessionIdNotFound => {
                    self.restart();
                    Answered::Forgotten
                }
                ErrorCode::InvalidFetchSessionEpoch | ErrorCode::FetchSessionTopicIdError => {
                    self.failed();
                    Answered::Forgotten
                }
                code => {
                    self.failed();
                    Answered::Refused(code)
                }
            };
        }
        let mut answered = 0;
        for topic in &response.responses {
            let name = if self.by_id { self.topic(topic.topic_id) } else { Some(topic.topic.as_str()) };
            for partition in &topic.partitions {
                let known = name.is_some_and(|name| self.partitions.contains_key(&TopicPartition::new(name, partition.partition_index)));
                if !known {
                    self.failed();
                    return Answered::Odd;
                }
                answered += 1;
            }
        }
        if self.epoch != FULL_EPOCH {
            match response.session_id {
                NO_SESSION => self.restart(),
                _ => self.epoch = self.epoch.checked_add(1).unwrap_or(1),
            }
            return Answered::Incremental;
        }
        let answer = match answered {
            0 if response.throttle_time_ms > 0 && !self.partitions.is_empty() => Answered::Throttled,
            count if count < self.partitions.len() => Answered::Odd,
            _ => Answered::Full,
        };
        match (answer, response.session_id) {
            (Answered::Full, id) if id != NO_SESSION => (self.id, self.epoch) = (id, 1),
            _ => self.restart(),
        }
        answer
    }

    /// Whether the broker has seen the last fetch is not known: the next ends the session and begins another.
    pub(super) fn failed(&mut self) {
        self.epoch = FULL_EPOCH;
    }

    fn restart(&mut self) {
        (self.id, self.epoch) = (NO_SESSION, FULL_EPOCH);
    }

    /// The fetch that ends the session, if there is one.
    pub(super) fn farewell(&self) -> Option<FetchRequest> {
        let request = FetchRequest { session_id: self.id, session_epoch: FINAL_EPOCH, replica_id: -1, ..Default::default() };
        (self.id != NO_SESSION).then_some(request)
    }
}

fn name(by_id: bool, topic: &str, topic_id: Uuid) -> (String, Uuid) {
    if by_id { (String::new(), topic_id) } else { (topic.to_owned(), Uuid::ZERO) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};

    const ID: Uuid = Uuid::from_u128(7);

    fn wanted(partitions: &[(i32, i64)]) -> BTreeMap<TopicPartition, Wanted> {
        let wanted = |offset| Wanted { topic_id: ID, offset, leader_epoch: 0, max_bytes: 100 };
        partitions.iter().map(|(partition, offset)| (TopicPartition::new("t", *partition), wanted(*offset))).collect()
    }

    fn response(session_id: i32, partitions: &[i32]) -> FetchResponse {
        let partition = |index: &i32| PartitionData { partition_index: *index, ..Default::default() };
        let topic = FetchableTopicResponse { topic_id: ID, partitions: partitions.iter().map(partition).collect(), ..Default::default() };
        let responses = if partitions.is_empty() { Vec::new() } else { vec![topic] };
        FetchResponse { session_id, responses, ..Default::default() }
    }

    /// Session id and epoch, partitions with offsets, and forgotten partitions.
    type Said = ((i32, i32), Vec<(i32, i64)>, Vec<i32>);

    fn plan(session: &mut FetchSession, partitions: &[(i32, i64)]) -> Said {
        let mut request = FetchRequest::default();
        session.plan(wanted(partitions), true, &mut request);
        let asked = request.topics.iter().flat_map(|topic| topic.partitions.iter().map(|it| (it.partition, it.fetch_offset)));
        let forgotten = request.forgotten_topics_data.iter().flat_map(|topic| topic.partitions.iter().copied());
        ((request.session_id, request.session_epoch), asked.collect(), forgotten.collect())
    }

    fn established() -> FetchSession {
        let mut session = FetchSession::default();
        assert_eq!(plan(&mut session, &[(0, 5), (1, 6)]), ((0, 0), vec![(0, 5), (1, 6)], vec![]));
        assert_eq!(session.answered(&response(9, &[0, 1])), Answered::Full);
        session
    }

    #[test]
    fn a_session_says_only_what_changed() {
        let mut session = established();
        assert_eq!(plan(&mut session, &[(0, 5), (1, 7)]), ((9, 1), vec![(1, 7)], vec![]));
        assert_eq!(session.answered(&response(9, &[1])), Answered::Incremental);
        assert_eq!(plan(&mut session, &[(1, 7), (2, 0)]), ((9, 2), vec![(2, 0)], vec![0]), "one gone, one new");
        assert_eq!(session.answered(&response(9, &[])), Answered::Incremental);
        assert_eq!(plan(&mut session, &[(1, 7), (2, 0)]), ((9, 3), vec![], vec![]));
    }

    #[test]
    fn a_broker_without_room_gets_full_fetches() {
        let mut session = FetchSession::default();
        for _ in 0..2 {
            assert_eq!(plan(&mut session, &[(0, 5)]), ((0, 0), vec![(0, 5)], vec![]));
            assert_eq!(session.answered(&response(0, &[0])), Answered::Full);
        }
        assert_eq!(session.farewell(), None);
    }

    #[test]
    fn a_session_that_the_broker_forgot_begins_anew() {
        let refused = |code: ErrorCode| FetchResponse { error_code: code.code(), ..Default::default() };
        let mut session = established();
        plan(&mut session, &[(0, 5), (1, 6)]);
        assert_eq!(session.answered(&refused(ErrorCode::FetchSessionIdNotFound)), Answered::Forgotten);
        assert_eq!(plan(&mut session, &[(0, 5), (1, 6)]), ((0, 0), vec![(0, 5), (1, 6)], vec![]));
        let mut session = established();
        plan(&mut session, &[(0, 5), (1, 6)]);
        assert_eq!(session.answered(&refused(ErrorCode::InvalidFetchSessionEpoch)), Answered::Forgotten);
        assert_eq!(plan(&mut session, &[(0, 5)]), ((9, 0), vec![(0, 5)], vec![]), "the old one is ended by the way");
        let mut session = established();
        plan(&mut session, &[(0, 5), (1, 6)]);
        assert_eq!(session.answered(&refused(ErrorCode::UnknownTopicId)), Answered::Refused(ErrorCode::UnknownTopicId));
    }

    #[test]
    fn a_lost_answer_ends_the_session() {
        let mut session = established();
        plan(&mut session, &[(0, 5), (1, 6)]);
        session.failed();
        assert_eq!(plan(&mut session, &[(0, 5), (1, 6)]), ((9, 0), vec![(0, 5), (1, 6)], vec![]));
        assert_eq!(session.farewell().map(|request| (request.session_id, request.session_epoch)), Some((9, -1)));
    }

    #[test]
    fn an_answer_that_does_not_fit_is_not_used() {
        let mut session = FetchSession::default();
        plan(&mut session, &[(0, 5), (1, 6)]);
        assert_eq!(session.answered(&response(9, &[0])), Answered::Odd, "a full answer lists everything");
        let mut session = established();
        plan(&mut session, &[(0, 5), (1, 6)]);
        assert_eq!(session.answered(&response(9, &[2])), Answered::Odd, "nobody asked for it");
        assert_eq!(plan(&mut session, &[(0, 5)]), ((9, 0), vec![(0, 5)], vec![]));
    }

    #[test]
    fn an_empty_answer_to_a_full_fetch_may_be_a_throttle() {
        let mut session = FetchSession::default();
        plan(&mut session, &[(0, 5)]);
        let throttled = FetchResponse { throttle_time_ms: 100, ..Default::default() };
        assert_eq!(session.answered(&throttled), Answered::Throttled);
        assert_eq!(plan(&mut session, &[(0, 5)]), ((0, 0), vec![(0, 5)], vec![]));
    }

    #[test]
    fn a_topic_that_was_created_anew_is_forgotten_and_asked_for() {
        let mut session = established();
        let mut next = wanted(&[(0, 0), (1, 6)]);
        let other = Uuid::from_u128(8);
        next.get_mut(&TopicPartition::new("t", 0)).expect("there").topic_id = other;
        let mut request = FetchRequest::default();
        session.plan(next, true, &mut request);
        assert_eq!((request.topics.len(), request.topics[0].topic_id), (1, other));
        assert_eq!((request.forgotten_topics_data.len(), request.forgotten_topics_data[0].topic_id), (1, ID));
    }
}
