//! CreatePartitions 0-3: more partitions for topics, never fewer. The controller decides. Source: `ControllerApis.createPartitions`.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

pub(crate) async fn handle(broker: &Arc<Broker>, _ctx: &RequestContext, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
    broker.controller.create_partitions(request).await
}
