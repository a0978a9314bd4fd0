//! StreamsGroupDescribe. Source: `StreamsGroup.asDescribedGroup`.

use super::internal_topics::ConfiguredTopology;
use super::topology::StreamsTopology;
use super::{StreamsError, StreamsGroup};
use crate::coordinator::group::GroupShard;
use crate::protocol::messages::streams_group_describe_response::DescribedGroup;

impl GroupShard {
    /// One group, for StreamsGroupDescribe.
    pub fn describe_streams_group(&self, group_id: &str) -> DescribedGroup {
        self.streams_group(group_id).and_then(describe).unwrap_or_else(|error| DescribedGroup {
            group_id: group_id.to_owned(),
            error_code: error.code.code(),
            error_message: error.message,
            ..Default::default()
        })
    }
}

/// UNKNOWN_SERVER_ERROR while the log has not told the group's topology, as in Kafka.
fn describe(group: &StreamsGroup) -> Result<DescribedGroup, StreamsError> {
    let configured = group.configured.as_ref().filter(|configured| configured.ready().is_some()).map(ConfiguredTopology::describe);
    let topology = configured.or_else(|| group.topology().map(StreamsTopology::describe));
    Ok(DescribedGroup {
        group_id: group.group_id.clone(),
        group_state: group.state().name().to_owned(),
        group_epoch: group.group_epoch,
        assignment_epoch: group.assignment_epoch,
        topology: Some(topology.ok_or_else(|| StreamsError::unknown("a streams group without a topology"))?),
        members: group.members().values().map(|member| member.describe(group.target_assignment.get(&member.member_id))).collect(),
        ..Default::default()
    })
}
