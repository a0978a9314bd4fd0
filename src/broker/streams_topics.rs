//! The internal topics of Kafka Streams applications: created when a heartbeat finds them missing, beside the heartbeat, which does not wait
//! for them; the next one finds them. Source: `AutoTopicCreationManager.createStreamsInternalTopics`, `ExpiringErrorCache`.
//!
//! Invariant: a topic is asked for once at a time, and not again before its last error has expired, so that heartbeats of many members make
//! no storm at the controller.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::request_context::RequestContext;
use super::server::Broker;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::CreateTopicsRequest;
use crate::protocol::messages::create_topics_request::CreatableTopic;

/// Errors that are remembered at most; the ones that expire first make room.
const MAX_ERRORS: usize = 1000;

/// What is being created, and what could not be.
#[derive(Debug, Default)]
pub(crate) struct StreamsTopics {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    in_flight: HashSet<String>,
    errors: HashMap<String, TopicError>,
}

#[derive(Debug)]
struct TopicError {
    /// Monotonic milliseconds.
    expires_ms: u64,
    text: String,
}

impl StreamsTopics {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held leaves at worst a topic that is not asked for again.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The errors of those of these topics that could not be created a short while ago, by name.
    pub(crate) fn errors(&self, topics: &[String], now_ms: u64) -> Vec<(String, String)> {
        let state = self.state();
        let error = |name: &String| state.errors.get(name).filter(|error| error.expires_ms > now_ms).map(|error| error.text.clone());
        topics.iter().filter_map(|name| Some((name.clone(), error(name)?))).collect()
    }

    /// Those of these topics that are to be asked for now; the caller says when it is [`StreamsTopics::done`].
    fn begin(&self, topics: Vec<CreatableTopic>, now_ms: u64) -> Vec<CreatableTopic> {
        let mut state = self.state();
        let State { in_flight, errors } = &mut *state;
        let has_failed = |name: &str| errors.get(name).is_some_and(|error| error.expires_ms > now_ms);
        topics.into_iter().filter(|topic| !has_failed(&topic.name) && in_flight.insert(topic.name.clone())).collect()
    }

    /// These topics have been asked for, and these errors have come of it.
    fn done(&self, asked: &[String], errors: Vec<(String, String)>, now_ms: u64, keep_ms: u64) {
        let mut state = self.state();
        for name in asked {
            state.in_flight.remove(name);
        }
        state.errors.retain(|_, error| error.expires_ms > now_ms);
        for (name, text) in errors {
            if state.errors.len() >= MAX_ERRORS
                && let Some(first) = state.errors.iter().min_by_key(|(_, error)| error.expires_ms).map(|(name, _)| name.clone())
            {
                state.errors.remove(&first);
            }
            state.errors.insert(name, TopicError { expires_ms: now_ms.saturating_add(keep_ms), text });
        }
    }
}

/// Asks the controller for these topics on behalf of the client, without waiting. Errors are kept for `keep_ms`.
pub(crate) fn create(broker: &Arc<Broker>, ctx: &RequestContext, topics: Vec<CreatableTopic>, keep_ms: u64) {
    let topics = broker.streams_topics.begin(topics, broker.clock.monotonic_ms());
    if topics.is_empty() {
        return;
    }
    let (broker, principal) = (Arc::clone(broker), Arc::clone(&ctx.principal));
    tokio::spawn(async move {
        let names: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
        tracing::info!(%principal, topics = names.join(", "), "creating internal topics of a streams group");
        let request = CreateTopicsRequest { topics, timeout_ms: broker.config().request_timeout_ms, ..Default::default() };
        let response = broker.controller.create_topics(request).await;
        let mut errors = Vec::new();
        for result in response.topics {
            let code = ErrorCode::from_code(result.error_code);
            if code != ErrorCode::None {
                let text = result.error_message.filter(|text| !text.is_empty()).unwrap_or_else(|| code.message().to_owned());
                tracing::warn!("internal topic {} could not be created: {} ({text})", result.name, code.name());
                errors.push((result.name, text));
            }
        }
        broker.streams_topics.done(&names, errors, broker.clock.monotonic_ms(), keep_ms);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(names: &[&str]) -> Vec<CreatableTopic> {
        names.iter().map(|name| CreatableTopic { name: (*name).to_owned(), ..Default::default() }).collect()
    }

    fn names(topics: &[CreatableTopic]) -> Vec<String> {
        topics.iter().map(|topic| topic.name.clone()).collect()
    }

    #[test]
    fn a_topic_is_asked_for_once_at_a_time() {
        let state = StreamsTopics::default();
        let first = names(&state.begin(topics(&["a", "b"]), 0));
        assert_eq!(first, ["a", "b"]);
        assert_eq!(names(&state.begin(topics(&["b", "c"]), 0)), ["c"]);
        state.done(&first, Vec::new(), 0, 10);
        assert_eq!(names(&state.begin(topics(&["b"]), 0)), ["b"]);
    }

    #[test]
    fn an_error_holds_until_it_expires() {
        let state = StreamsTopics::default();
        let asked = names(&state.begin(topics(&["a"]), 0));
        let error = ("a".to_owned(), "no".to_owned());
        state.done(&asked, vec![error.clone()], 0, 10);
        assert_eq!(state.errors(&asked, 9), [error]);
        assert!(state.begin(topics(&["a"]), 9).is_empty());
        assert!(state.errors(&asked, 10).is_empty());
        assert_eq!(names(&state.begin(topics(&["a"]), 10)), ["a"]);
    }

    #[test]
    fn errors_do_not_pile_up() {
        let state = StreamsTopics::default();
        for number in 0..2 * MAX_ERRORS {
            state.done(&[], vec![(number.to_string(), String::new())], number as u64, 1_000_000);
        }
        assert_eq!(state.state().errors.len(), MAX_ERRORS);
        assert!(state.errors(&["0".to_owned()], 0).is_empty());
    }
}
