//! DeleteGroups 0-2: removes groups without members, with their offsets (KIP-229). Source: `KafkaApis.handleDeleteGroupsRequest`.

use std::collections::HashSet;
use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

pub(crate) async fn handle(broker: &Arc<Broker>, _ctx: &RequestContext, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut seen = HashSet::new();
    let groups = request.groups_names.into_iter().filter(|group| seen.insert(group.clone())).collect();
    DeleteGroupsResponse { results: broker.groups.delete_groups(groups).await, ..Default::default() }
}
