//! StreamsGroupHeartbeat 0: a member of a streams group (KIP-1071) joins with its topology, lives, is told its tasks, leaves; internal topics
//! that are missing are created on its behalf. Source: `KafkaApis.handleStreamsGroupHeartbeat`.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::broker::streams_topics;
use crate::common::topic_name;
use crate::coordinator::group::streams::StatusCode;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::streams_group_heartbeat_request::Topology;
use crate::protocol::messages::{StreamsGroupHeartbeatRequest, StreamsGroupHeartbeatResponse};

/// Errors of single topics that a status shows at most.
const MAX_SHOWN_ERRORS: usize = 3;

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    request: StreamsGroupHeartbeatRequest,
) -> StreamsGroupHeartbeatResponse {
    let failed = |error: ErrorCode, message: String| StreamsGroupHeartbeatResponse {
        error_code: error.code(),
        error_message: Some(message),
        ..Default::default()
    };
    if !broker.groups.is_streams_protocol_enabled() {
        return failed(ErrorCode::UnsupportedVersion, ErrorCode::UnsupportedVersion.message().to_owned());
    }
    if let Some(topology) = &request.topology
        && let Err(message) = check_names(topology)
    {
        return failed(ErrorCode::StreamsInvalidTopology, message);
    }
    let group_id = request.group_id.clone();
    let answer = broker.groups.streams_group_heartbeat(ctx, request).await;
    let mut response = answer.response;
    if answer.topics_to_create.is_empty() {
        return response;
    }
    let names: Vec<String> = answer.topics_to_create.iter().map(|topic| topic.name.clone()).collect();
    // Two heartbeats: long enough for every member to be told, short enough to try again soon.
    let keep_ms = u64::try_from(broker.groups.streams_heartbeat_interval_ms(&group_id)).unwrap_or(0) * 2;
    streams_topics::create(broker, ctx, answer.topics_to_create, keep_ms);
    let errors = broker.streams_topics.errors(&names, broker.clock.monotonic_ms());
    let missing = response.status.iter_mut().flatten().find(|status| status.status_code == StatusCode::MissingInternalTopics as i8);
    if let Some(status) = missing
        && !errors.is_empty()
    {
        let mut shown = errors.iter().take(MAX_SHOWN_ERRORS).map(|(name, text)| format!("{name} ({text})")).collect::<Vec<_>>().join(", ");
        if errors.len() > MAX_SHOWN_ERRORS {
            shown += &format!(" and {} more", errors.len() - MAX_SHOWN_ERRORS);
        }
        status.status_detail += &format!("; Creation failed: {shown}.");
    }
    response
}

/// An application can use neither Kafka's own topics nor topics that cannot be.
fn check_names(topology: &Topology) -> Result<(), String> {
    let mut names: Vec<&str> = Vec::new();
    for subtopology in &topology.subtopologies {
        names.extend(subtopology.source_topics.iter().map(String::as_str));
        names.extend(subtopology.repartition_sink_topics.iter().map(String::as_str));
        names.extend(subtopology.repartition_source_topics.iter().map(|topic| topic.name.as_str()));
        names.extend(subtopology.state_changelog_topics.iter().map(|topic| topic.name.as_str()));
    }
    // Each once, in the order in which they come.
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(*name));
    let chosen = |choose: &dyn Fn(&str) -> bool| names.iter().copied().filter(|name| choose(name)).collect::<Vec<_>>();
    let internal = chosen(&topic_name::is_internal);
    if !internal.is_empty() {
        return Err(format!("Use of Kafka internal topics {} in a Kafka Streams topology is prohibited.", internal.join(",")));
    }
    let invalid = chosen(&|name| topic_name::validate(name).is_err());
    if !invalid.is_empty() {
        return Err(format!("Topic names {} are not valid topic names.", invalid.join(",")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::messages::streams_group_heartbeat_request::Subtopology;

    #[test]
    fn topics_that_no_application_may_use_are_named() {
        let topology = |names: &[&str]| Topology {
            subtopologies: vec![Subtopology { source_topics: names.iter().map(|name| (*name).to_owned()).collect(), ..Default::default() }],
            ..Default::default()
        };
        assert_eq!(check_names(&topology(&["a", "b"])), Ok(()));
        let text = "Use of Kafka internal topics __consumer_offsets in a Kafka Streams topology is prohibited.";
        assert_eq!(check_names(&topology(&["a b", "__consumer_offsets", "__consumer_offsets"])), Err(text.to_owned()));
        assert_eq!(check_names(&topology(&["a b", "c", "d/e"])), Err("Topic names a b,d/e are not valid topic names.".to_owned()));
    }
}
