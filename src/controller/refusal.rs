//! The answers to requests that the controller did not get to: it is stopping, or not the active one.
//!
//! Source: the `getErrorResponse` methods of Kafka's request classes.

use crate::protocol::codec::Request;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::*;

/// A request that can be answered without having been looked at.
pub trait Refuse: Request {
    /// The answer with `code` in every place where this API carries errors.
    fn refuse(&self, code: ErrorCode) -> Self::Response;
}

fn text(code: ErrorCode) -> Option<String> {
    Some(code.message().to_owned())
}

impl Refuse for CreateTopicsRequest {
    fn refuse(&self, code: ErrorCode) -> CreateTopicsResponse {
        let topics = self.topics.iter().map(|topic| create_topics_response::CreatableTopicResult {
            name: topic.name.clone(),
            error_code: code.code(),
            error_message: text(code),
            ..Default::default()
        });
        CreateTopicsResponse { topics: topics.collect(), ..Default::default() }
    }
}

impl Refuse for DeleteTopicsRequest {
    fn refuse(&self, code: ErrorCode) -> DeleteTopicsResponse {
        let by_name = self.topic_names.iter().map(|name| (Some(name.clone()), Default::default()));
        let by_state = self.topics.iter().map(|topic| (topic.name.clone(), topic.topic_id));
        let responses = by_name.chain(by_state).map(|(name, topic_id)| delete_topics_response::DeletableTopicResult {
            name,
            topic_id,
            error_code: code.code(),
            error_message: text(code),
            ..Default::default()
        });
        DeleteTopicsResponse { responses: responses.collect(), ..Default::default() }
    }
}

impl Refuse for CreatePartitionsRequest {
    fn refuse(&self, code: ErrorCode) -> CreatePartitionsResponse {
        let results = self.topics.iter().map(|topic| create_partitions_response::CreatePartitionsTopicResult {
            name: topic.name.clone(),
            error_code: code.code(),
            error_message: text(code),
            ..Default::default()
        });
        CreatePartitionsResponse { results: results.collect(), ..Default::default() }
    }
}

impl Refuse for AlterConfigsRequest {
    fn refuse(&self, code: ErrorCode) -> AlterConfigsResponse {
        let responses = self.resources.iter().map(|resource| alter_configs_response::AlterConfigsResourceResponse {
            error_code: code.code(),
            error_message: text(code),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            ..Default::default()
        });
        AlterConfigsResponse { responses: responses.collect(), ..Default::default() }
    }
}

impl Refuse for IncrementalAlterConfigsRequest {
    fn refuse(&self, code: ErrorCode) -> IncrementalAlterConfigsResponse {
        let responses = self.resources.iter().map(|resource| incremental_alter_configs_response::AlterConfigsResourceResponse {
            error_code: code.code(),
            error_message: text(code),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            ..Default::default()
        });
        IncrementalAlterConfigsResponse { responses: responses.collect(), ..Default::default() }
    }
}

impl Refuse for AlterClientQuotasRequest {
    fn refuse(&self, code: ErrorCode) -> AlterClientQuotasResponse {
        let entries = self.entries.iter().map(|entry| alter_client_quotas_response::EntryData {
            error_code: code.code(),
            error_message: text(code),
            entity: entry
                .entity
                .iter()
                .map(|part| alter_client_quotas_response::EntityData {
                    entity_type: part.entity_type.clone(),
                    entity_name: part.entity_name.clone(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        });
        AlterClientQuotasResponse { entries: entries.collect(), ..Default::default() }
    }
}

impl Refuse for AlterUserScramCredentialsRequest {
    fn refuse(&self, code: ErrorCode) -> AlterUserScramCredentialsResponse {
        let users = self.deletions.iter().map(|it| &it.name).chain(self.upsertions.iter().map(|it| &it.name));
        let users: std::collections::BTreeSet<&String> = users.collect();
        let results = users.into_iter().map(|user| alter_user_scram_credentials_response::AlterUserScramCredentialsResult {
            user: user.clone(),
            error_code: code.code(),
            error_message: text(code),
            ..Default::default()
        });
        AlterUserScramCredentialsResponse { results: results.collect(), ..Default::default() }
    }
}

macro_rules! refuse_at_the_top {
    ($($request:ident $response:ident),* $(,)?) => {
        $(
            impl Refuse for $request {
                fn refuse(&self, code: ErrorCode) -> $response {
                    $response { error_code: code.code(), ..Default::default() }
                }
            }
        )*
    };
}

refuse_at_the_top! {
    AllocateProducerIdsRequest AllocateProducerIdsResponse,
    AssignReplicasToDirsRequest AssignReplicasToDirsResponse,
    AlterPartitionReassignmentsRequest AlterPartitionReassignmentsResponse,
    AlterPartitionRequest AlterPartitionResponse,
    BrokerHeartbeatRequest BrokerHeartbeatResponse,
    BrokerRegistrationRequest BrokerRegistrationResponse,
    DescribeQuorumRequest DescribeQuorumResponse,
    ElectLeadersRequest ElectLeadersResponse,
    UnregisterBrokerRequest UnregisterBrokerResponse,
    UpdateFeaturesRequest UpdateFeaturesResponse,
}
