//! CreateTopics 2-7: topics with their partitions, replicas and configs. Everything is decided by the controller, which also answers for
//! names that appear twice and for the metadata log's. Source: `ControllerApis.createTopics`.
//!
//! When the response is sent, this broker leads and serves the partitions that it was given.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};

pub(crate) async fn handle(broker: &Arc<Broker>, _ctx: &RequestContext, request: CreateTopicsRequest) -> CreateTopicsResponse {
    broker.controller.create_topics(request).await
}
