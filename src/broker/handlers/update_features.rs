//! UpdateFeatures 0-2: levels of the cluster's features, all of them or none. The controller decides. Source:
//! `QuorumController.updateFeatures`, KIP-584, KIP-1022.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};

pub(crate) async fn handle(broker: &Arc<Broker>, ctx: &RequestContext, request: UpdateFeaturesRequest) -> UpdateFeaturesResponse {
    broker.controller.update_features(request, broker.kraft_version, ctx.api_version).await
}
