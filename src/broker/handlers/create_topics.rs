//! CreateTopics 2-7: topics with their partitions, replicas and configs. Everything is decided by the controller, which also answers for
//! names that appear twice and for the metadata log's. Source: `ControllerApis.createTopics`.
//!
//! When the response is sent, this broker leads and serves the partitions that it was given.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};

/// From this version on a client without quota left is refused (KIP-599).
const STRICT_QUOTA_SINCE: i16 = 6;

pub(crate) async fn handle(broker: &Arc<Broker>, ctx: &RequestContext, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let quota = broker.quotas.partition_changes(ctx, STRICT_QUOTA_SINCE);
    broker.controller.create_topics_within(quota, request).await
}
