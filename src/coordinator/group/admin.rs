//! What tools ask: describe, list and delete groups. Source: `describeGroups`, `listGroups` of `GroupMetadataManager`, `deleteGroups` of
//! `GroupCoordinatorShard`.

use super::records::group_metadata_tombstone;
use super::{ClassicGroup, ClassicGroupMember, ClassicGroupState, Effects, GroupShard};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::delete_groups_response::DeletableGroupResult;
use crate::protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use crate::protocol::messages::list_groups_response::ListedGroup;

/// What ListGroups calls these groups (KIP-848).
const CLASSIC_GROUP_TYPE: &str = "Classic";

impl GroupShard {
    /// One group, for DescribeGroups of this version. An unknown group is dead; from version 6 on that is an error too.
    pub fn describe_group(&self, group_id: &str, api_version: i16) -> DescribedGroup {
        let Some(group) = self.groups.get(group_id) else {
            let mut described = DescribedGroup {
                group_id: group_id.to_owned(),
                group_state: ClassicGroupState::Dead.name().to_owned(),
                ..DescribedGroup::default()
            };
            if api_version >= 6 {
                described.error_code = ErrorCode::GroupIdNotFound.code();
                described.error_message = Some(format!("Group {group_id} not found."));
            }
            return described;
        };
        let protocol = group.protocol_name().filter(|_| group.is_in(ClassicGroupState::Stable));
        DescribedGroup {
            group_id: group_id.to_owned(),
            group_state: group.state().name().to_owned(),
            protocol_type: group.protocol_type().unwrap_or("").to_owned(),
            protocol_data: protocol.unwrap_or("").to_owned(),
            members: group.members().map(|member| describe_member(member, protocol)).collect(),
            ..DescribedGroup::default()
        }
    }

    /// The groups in one of these states and of one of these types, whatever their case; an empty filter lets everything through.
    pub fn list_groups(&self, states_filter: &[String], types_filter: &[String]) -> Vec<ListedGroup> {
        let states: Vec<String> = states_filter.iter().map(|state| state.trim().to_lowercase()).collect();
        if !types_filter.is_empty() && !types_filter.iter().any(|t| t.eq_ignore_ascii_case(CLASSIC_GROUP_TYPE)) {
            return Vec::new();
        }
        let listed = |group: &&ClassicGroup| states.is_empty() || states.contains(&group.state().name().to_lowercase());
        self.groups()
            .filter(listed)
            .map(|group| ListedGroup {
                group_id: group.group_id().to_owned(),
                protocol_type: group.protocol_type().unwrap_or("").to_owned(),
                group_state: group.state().name().to_owned(),
                group_type: CLASSIC_GROUP_TYPE.to_owned(),
                ..ListedGroup::default()
            })
            .collect()
    }

    /// Deletes those of these groups that exist and have no members, with their offsets.
    pub fn delete_groups(&mut self, group_ids: &[String]) -> (Vec<DeletableGroupResult>, Effects) {
        let mut effects = Effects { replay: true, ..Effects::default() };
        let mut results = Vec::with_capacity(group_ids.len());
        for group_id in group_ids {
            let error = match self.groups.get(group_id).map(ClassicGroup::state) {
                None | Some(ClassicGroupState::Dead) => ErrorCode::GroupIdNotFound,
                Some(ClassicGroupState::Empty) => {
                    self.delete_all_offsets(group_id, &mut effects.records);
                    effects.records.push(group_metadata_tombstone(group_id));
                    ErrorCode::None
                }
                Some(_) => ErrorCode::NonEmptyGroup,
            };
            results.push(DeletableGroupResult { group_id: group_id.clone(), error_code: error.code(), ..DeletableGroupResult::default() });
        }
        (results, effects)
    }
}

fn describe_member(member: &ClassicGroupMember, protocol: Option<&str>) -> DescribedGroupMember {
    DescribedGroupMember {
        member_id: member.member_id.clone(),
        group_instance_id: member.group_instance_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        member_metadata: protocol.and_then(|protocol| member.metadata(protocol)).cloned().unwrap_or_default(),
        member_assignment: member.assignment.clone(),
        ..DescribedGroupMember::default()
    }
}
