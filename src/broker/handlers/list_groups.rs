//! ListGroups 0-5: the groups this broker coordinates. Source: `KafkaApis.handleListGroupsRequest`.
//!
//! - 4: filter by state (KIP-518).
//! - 5: filter by type (KIP-848).

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::messages::{ListGroupsRequest, ListGroupsResponse};

pub(crate) async fn handle(broker: &Arc<Broker>, _ctx: &RequestContext, request: ListGroupsRequest) -> ListGroupsResponse {
    match broker.groups.list_groups(request.states_filter, request.types_filter).await {
        Ok(groups) => ListGroupsResponse { groups, ..Default::default() },
        Err(error) => ListGroupsResponse { error_code: error.code(), ..Default::default() },
    }
}
