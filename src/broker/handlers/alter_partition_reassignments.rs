//! AlterPartitionReassignments 0-1: other replicas for partitions, or the ones from before. The controller decides. Source:
//! `ControllerApis.handleAlterPartitionReassignments`.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::messages::{AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    _ctx: &RequestContext,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    broker.controller.alter_partition_reassignments(request).await
}
