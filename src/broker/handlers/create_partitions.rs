//! CreatePartitions 0-3: more partitions for topics, never fewer. The controller decides. Source: `ControllerApis.createPartitions`.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

/// From this version on a client without quota left is refused (KIP-599).
const STRICT_QUOTA_SINCE: i16 = 3;

pub(crate) async fn handle(broker: &Arc<Broker>, ctx: &RequestContext, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
    let quota = broker.quotas.partition_changes(ctx, STRICT_QUOTA_SINCE);
    broker.controller.create_partitions_within(quota, request).await
}
