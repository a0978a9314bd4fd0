//! DeleteGroups 0-2: removes groups without members, with their offsets (KIP-229). Source: `KafkaApis.handleDeleteGroupsRequest`.
//!
//! What the share coordinator holds of a share group goes first; a group of which something is left there is not deleted.

use std::collections::HashSet;
use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::broker::share_groups;
use crate::protocol::messages::delete_groups_response::DeletableGroupResult;
use crate::protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

pub(crate) async fn handle(broker: &Arc<Broker>, _ctx: &RequestContext, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut seen = HashSet::new();
    let (mut results, mut groups) = (Vec::new(), Vec::new());
    for group_id in request.groups_names.into_iter().filter(|group| seen.insert(group.clone())) {
        match share_groups::prepare_deletion(broker, &group_id).await {
            Ok(()) => groups.push(group_id),
            Err(error) => results.push(DeletableGroupResult { group_id, error_code: error.code(), ..Default::default() }),
        }
    }
    results.extend(broker.groups.delete_groups(groups).await);
    DeleteGroupsResponse { results, ..Default::default() }
}
