//! ElectLeaders 0-2: preferred or unclean elections, of the named partitions or of all. The controller decides. Source:
//! `ControllerApis.handleElectLeaders`.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};

pub(crate) async fn handle(broker: &Arc<Broker>, _ctx: &RequestContext, request: ElectLeadersRequest) -> ElectLeadersResponse {
    broker.controller.elect_leaders(request).await
}
