//! AddRaftVoter 0-1: checked as Kafka checks it; a voter besides this node is refused, because quorums of several nodes are not served
//! yet. Sources: `KafkaRaftClient.handleAddVoterRequest`, `AddVoterHandler`.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::{AddRaftVoterRequest, AddRaftVoterResponse};

pub(crate) async fn handle(broker: &Arc<Broker>, _ctx: &RequestContext, request: AddRaftVoterRequest) -> AddRaftVoterResponse {
    let (code, text) = refusal(broker, &request).await;
    AddRaftVoterResponse { error_code: code.code(), error_message: Some(text), ..Default::default() }
}

async fn refusal(broker: &Broker, request: &AddRaftVoterRequest) -> (ErrorCode, String) {
    if let Some(id) = request.cluster_id.as_ref().filter(|id| **id != broker.cluster_id) {
        let text = format!("The given id \"{id}\" doesn't match the cluster id \"{}\"", broker.cluster_id);
        return (ErrorCode::InconsistentClusterId, text);
    }
    if request.voter_id < 0 || request.voter_directory_id.is_zero() {
        return (ErrorCode::InvalidRequest, "Add voter request didn't include a valid voter".to_owned());
    }
    let Some(quorum) = broker.controller.describe_quorum().await else {
        return (ErrorCode::BrokerNotAvailable, ErrorCode::BrokerNotAvailable.message().to_owned());
    };
    let default_listener = quorum.voters.iter().flat_map(|voter| &voter.endpoints).next().map(|endpoint| endpoint.name.clone());
    let default_listener = default_listener.unwrap_or_default();
    if !request.listeners.iter().any(|listener| listener.name == default_listener) {
        let text = format!("Add voter request didn't include the endpoint for the default listener {default_listener}");
        return (ErrorCode::InvalidRequest, text);
    }
    if quorum.kraft_version < 1 {
        let text = format!("Cluster doesn't support adding voter because the kraft.version feature is {}", quorum.kraft_version);
        return (ErrorCode::UnsupportedVersion, text);
    }
    if quorum.voters.iter().any(|voter| voter.key.id == request.voter_id) {
        return (ErrorCode::DuplicateVoter, format!("The voter id {} is already part of the set of voters.", request.voter_id));
    }
    (ErrorCode::UnsupportedVersion, "This controller does not support quorums of several nodes yet".to_owned())
}
