//! UnregisterBroker 0: takes a broker out of the cluster's metadata. The controller decides. Source:
//! `ControllerApis.handleUnregisterBroker`.
//!
//! Differs: a node does not take itself out while it runs. Kafka lets it, and the node then serves without being known to anybody until
//! it is started anew.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::{UnregisterBrokerRequest, UnregisterBrokerResponse};

pub(crate) async fn handle(broker: &Arc<Broker>, _ctx: &RequestContext, request: UnregisterBrokerRequest) -> UnregisterBrokerResponse {
    if request.broker_id == broker.node_id() {
        return UnregisterBrokerResponse {
            error_code: ErrorCode::InvalidRequest.code(),
            error_message: Some(format!("Broker {} is running; stop it before unregistering it.", request.broker_id)),
            ..Default::default()
        };
    }
    broker.controller.unregister_broker(request).await
}
