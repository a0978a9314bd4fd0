//! ListPartitionReassignments 0: the partitions that are being moved, as this broker knows them. Source:
//! `ReplicationControlManager.listPartitionReassignments`.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::controller::reassignments::list_partition_reassignments;
use crate::protocol::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    _ctx: &RequestContext,
    request: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    list_partition_reassignments(&broker.image(), &request)
}
