//! What tools ask: describe, list and delete groups. Source: `describeGroups`, `listGroups` of `GroupMetadataManager`, `deleteGroups` of
//! `GroupCoordinatorShard`.

use super::records::group_tombstones;
use super::{ClassicGroupMember, ClassicGroupState, Effects, GroupShard};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::delete_groups_response::DeletableGroupResult;
use crate::protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use crate::protocol::messages::list_groups_response::ListedGroup;

impl GroupShard {
    /// One group, for DescribeGroups of this version. An unknown group, or one that is not classic, is dead; from version 6 on that is an
    /// error too.
    pub fn describe_group(&self, group_id: &str, api_version: i16) -> DescribedGroup {
        let Some(group) = self.classic_group(group_id) else {
            let mut described = DescribedGroup {
                group_id: group_id.to_owned(),
                group_state: ClassicGroupState::Dead.name().to_owned(),
                ..DescribedGroup::default()
            };
            if api_version >= 6 {
                described.error_code = ErrorCode::GroupIdNotFound.code();
                described.error_message = Some(match self.groups.contains_key(group_id) {
                    true => format!("Group {group_id} is not a classic group."),
                    false => format!("Group {group_id} not found."),
                });
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
        let is_in =
            |filter: &[String], name: &str| filter.is_empty() || filter.iter().any(|wanted| wanted.trim().eq_ignore_ascii_case(name));
        self.groups()
            .filter(|group| is_in(states_filter, group.state_name()) && is_in(types_filter, group.group_type().name()))
            .map(|group| ListedGroup {
                group_id: group.group_id().to_owned(),
                protocol_type: group.protocol_type().to_owned(),
                group_state: group.state_name().to_owned(),
                group_type: group.group_type().name().to_owned(),
                ..ListedGroup::default()
            })
            .collect()
    }

    /// Deletes those of these groups that exist and have no members, with their offsets.
    pub fn delete_groups(&mut self, group_ids: &[String]) -> (Vec<DeletableGroupResult>, Effects) {
        let mut effects = Effects { replay: true, ..Effects::default() };
        let mut results = Vec::with_capacity(group_ids.len());
        for group_id in group_ids {
            let deleted = self.groups.get(group_id).ok_or(ErrorCode::GroupIdNotFound).and_then(|group| {
                group.validate_delete()?;
                self.delete_all_offsets(group_id, &mut effects.records);
                group_tombstones(group, &mut effects.records);
                Ok(())
            });
            let error_code = deleted.err().unwrap_or(ErrorCode::None).code();
            results.push(DeletableGroupResult { group_id: group_id.clone(), error_code, ..DeletableGroupResult::default() });
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
