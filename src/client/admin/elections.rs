//! Elections of leaders. Source: `KafkaAdminClient.electLeaders`; KIP-460.

use super::{Admin, Results, wire_millis};
use crate::client::error::{ApiError, ClientError};
use crate::common::topic_partition::{TopicPartition, by_topic};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::elect_leaders_request::TopicPartitions;
use crate::protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};

/// Whom to elect. The numbers are the wire's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElectionType {
    /// The first replica, if it is in sync.
    Preferred = 0,
    /// The first replica alive, even where that loses records.
    Unclean = 1,
}

impl Admin {
    /// Elects leaders of the given partitions, or of all that need it. A partition whose leader is the right one already is
    /// `ELECTION_NOT_NEEDED`; with `None` only those appear for which something was done or went wrong.
    pub async fn elect_leaders(
        &self,
        election_type: ElectionType,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<Results<TopicPartition, ()>, ClientError> {
        let topic_partitions = partitions.map(|partitions| {
            let topics = by_topic(partitions.iter().map(|it| (it.topic.clone(), it.partition)));
            let topics = topics.into_iter().map(|(topic, partitions)| TopicPartitions { topic, partitions, ..Default::default() });
            topics.collect()
        });
        let request = ElectLeadersRequest {
            election_type: election_type as i8,
            topic_partitions,
            timeout_ms: wire_millis(self.cluster.request_timeout()),
            ..Default::default()
        };
        let code = |response: &ElectLeadersResponse| ErrorCode::from_code(response.error_code);
        let response = self.on_controller("electLeaders", &request, code).await?;
        ApiError::check(response.error_code, None)?;
        let results = response.replica_election_results.into_iter().flat_map(|topic| {
            topic.partition_result.into_iter().map(move |it| {
                (TopicPartition::new(topic.topic.clone(), it.partition_id), ApiError::check(it.error_code, it.error_message))
            })
        });
        Ok(results.collect())
    }
}
