//! AlterShareGroupOffsets 0: where a share group without members goes on (KIP-932). Source: `KafkaApis.handleAlterShareGroupOffsetsRequest`.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::broker::share_groups;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::alter_share_group_offsets_response::{
    AlterShareGroupOffsetsResponsePartition, AlterShareGroupOffsetsResponseTopic,
};
use crate::protocol::messages::{AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsResponse};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    ctx: &RequestContext,
    mut request: AlterShareGroupOffsetsRequest,
) -> AlterShareGroupOffsetsResponse {
    let failed = |error: ErrorCode, message: String| AlterShareGroupOffsetsResponse {
        error_code: error.code(),
        error_message: Some(message),
        ..Default::default()
    };
    if !broker.share_groups_enabled() {
        return failed(ErrorCode::UnsupportedVersion, ErrorCode::UnsupportedVersion.message().to_owned());
    }
    let image = broker.image();
    let (known, unknown) = request.topics.into_iter().partition(|topic| image.topics.topic(&topic.topic_name).is_some());
    request.topics = known;
    let unknown: Vec<_> = unknown;
    match share_groups::alter_offsets(broker, ctx, request).await {
        Ok(mut responses) => {
            let error = ErrorCode::UnknownTopicOrPartition;
            responses.extend(unknown.into_iter().map(|topic| {
                AlterShareGroupOffsetsResponseTopic {
                    partitions: topic
                        .partitions
                        .iter()
                        .map(|partition| AlterShareGroupOffsetsResponsePartition {
                            partition_index: partition.partition_index,
                            error_code: error.code(),
                            error_message: Some(error.message().to_owned()),
                            ..Default::default()
                        })
                        .collect(),
                    topic_name: topic.topic_name,
                    ..Default::default()
                }
            }));
            AlterShareGroupOffsetsResponse { responses, ..Default::default() }
        }
        Err(error) => failed(error.error, error.message),
    }
}
