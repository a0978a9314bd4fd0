//! RemoveRaftVoter 0: checked as Kafka checks it; the only voter of a quorum stays. Sources: `KafkaRaftClient.handleRemoveVoterRequest`,
//! `RemoveVoterHandler`.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::{RemoveRaftVoterRequest, RemoveRaftVoterResponse};

pub(crate) async fn handle(broker: &Arc<Broker>, _ctx: &RequestContext, request: RemoveRaftVoterRequest) -> RemoveRaftVoterResponse {
    let (code, text) = refusal(broker, &request).await;
    RemoveRaftVoterResponse { error_code: code.code(), error_message: Some(text), ..Default::default() }
}

async fn refusal(broker: &Broker, request: &RemoveRaftVoterRequest) -> (ErrorCode, String) {
    if let Some(id) = request.cluster_id.as_ref().filter(|id| **id != broker.cluster_id) {
        let text = format!("The given id \"{id}\" doesn't match the cluster id \"{}\"", broker.cluster_id);
        return (ErrorCode::InconsistentClusterId, text);
    }
    if request.voter_id < 0 || request.voter_directory_id.is_zero() {
        return (ErrorCode::InvalidRequest, "Remove voter request didn't include a valid voter".to_owned());
    }
    let Some(quorum) = broker.controller.describe_quorum().await else {
        return (ErrorCode::BrokerNotAvailable, ErrorCode::BrokerNotAvailable.message().to_owned());
    };
    if quorum.kraft_version < 1 {
        let text = format!("Cluster doesn't support removing voter because the kraft.version feature is {}", quorum.kraft_version);
        return (ErrorCode::UnsupportedVersion, text);
    }
    let is_voter = |id, directory| quorum.voters.iter().any(|voter| voter.key.id == id && voter.key.directory_id == directory);
    if !is_voter(request.voter_id, request.voter_directory_id) {
        let text = format!("Cannot remove voter {} with directory {}: it is none", request.voter_id, request.voter_directory_id);
        return (ErrorCode::VoterNotFound, text);
    }
    (ErrorCode::InvalidRequest, "The only voter of a quorum cannot be removed".to_owned())
}
