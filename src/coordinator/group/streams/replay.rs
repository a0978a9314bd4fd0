//! The records of streams groups become state. Source: the `replay` methods of `GroupMetadataManager`.
//!
//! A log that was compacted may hold tombstones without what they remove, and the records of a member in any order: what does not fit is
//! passed over, never a reason to fail.

use std::collections::BTreeSet;

use super::StreamsGroup;
use super::member::StreamsGroupMember;
use super::tasks::Tasks;
use super::topology::StreamsTopology;
use crate::coordinator::group::records::GroupRecord;
use crate::coordinator::group::{Group, GroupShard};

impl GroupShard {
    /// Makes one record of a streams group part of the state; others are not for here.
    pub(in crate::coordinator::group) fn replay_streams_group(&mut self, record: GroupRecord) {
        let (group_id, creates) = match &record {
            GroupRecord::StreamsGroupMetadata(key, value) => (key.group_id.clone(), value.is_some()),
            GroupRecord::StreamsGroupTopology(key, value) => (key.group_id.clone(), value.is_some()),
            GroupRecord::StreamsGroupMemberMetadata(key, value) => (key.group_id.clone(), value.is_some()),
            GroupRecord::StreamsGroupTargetAssignmentMetadata(key, value) => (key.group_id.clone(), value.is_some()),
            GroupRecord::StreamsGroupTargetAssignmentMember(key, value) => (key.group_id.clone(), value.is_some()),
            GroupRecord::StreamsGroupCurrentMemberAssignment(key, value) => (key.group_id.clone(), value.is_some()),
            _ => return,
        };
        let Some(group) = self.persisted_streams_group(&group_id, creates) else { return };
        let is_group_tombstone = matches!(record, GroupRecord::StreamsGroupMetadata(_, None));
        let old = required_topics(group);
        let changes_topics = is_group_tombstone || matches!(record, GroupRecord::StreamsGroupTopology(..));
        group.replay(record);
        if !changes_topics {
            return;
        }
        let new = if is_group_tombstone { BTreeSet::new() } else { required_topics(group) };
        if is_group_tombstone {
            self.groups.remove(&group_id);
        }
        self.topics.subscriptions_changed(&group_id, &old, &new);
    }

    /// The streams group that a record is about. One that only had offsets so far becomes one when it has to.
    fn persisted_streams_group(&mut self, group_id: &str, create: bool) -> Option<&mut StreamsGroup> {
        let may_become_one = match self.groups.get(group_id) {
            Some(Group::Classic(group)) => group.is_simple(),
            Some(_) => false,
            None => true,
        };
        if may_become_one && create {
            self.groups.insert(group_id.to_owned(), Group::Streams(Box::new(StreamsGroup::new(group_id))));
        }
        match self.groups.get_mut(group_id) {
            Some(Group::Streams(group)) => Some(group),
            Some(_) if create => {
                tracing::error!(group = group_id, "a streams group's record for a group of another type, skipped");
                None
            }
            _ => None,
        }
    }
}

fn required_topics(group: &StreamsGroup) -> BTreeSet<String> {
    group.topology().into_iter().flat_map(StreamsTopology::required_topics).map(str::to_owned).collect()
}

impl StreamsGroup {
    fn replay(&mut self, record: GroupRecord) {
        match record {
            GroupRecord::StreamsGroupMetadata(_, Some(value)) => self.set_metadata(value),
            GroupRecord::StreamsGroupTopology(_, value) => {
                let topology = value.map(StreamsTopology::from_record).transpose();
                match topology {
                    Ok(topology) => self.set_topology(topology),
                    Err(error) => tracing::error!(group = self.group_id, %error, "a topology that cannot be, skipped"),
                }
            }
            GroupRecord::StreamsGroupMemberMetadata(key, Some(value)) => {
                let member = self.member_or_new(&key.member_id).with_metadata(value);
                self.update_member(member);
            }
            GroupRecord::StreamsGroupMemberMetadata(key, None) => self.remove_member(&key.member_id),
            GroupRecord::StreamsGroupTargetAssignmentMetadata(_, value) => {
                (self.assignment_epoch, self.assignment_timestamp_ms) =
                    value.map_or((-1, 0), |value| (value.assignment_epoch, value.assignment_timestamp));
            }
            GroupRecord::StreamsGroupTargetAssignmentMember(key, Some(value)) => {
                self.target_assignment.insert(key.member_id, Tasks::from_record(&value));
            }
            GroupRecord::StreamsGroupTargetAssignmentMember(key, None) => {
                self.target_assignment.remove(&key.member_id);
            }
            GroupRecord::StreamsGroupCurrentMemberAssignment(key, Some(value)) => {
                let member = self.member_or_new(&key.member_id).with_current_assignment(&value);
                self.update_member(member);
            }
            GroupRecord::StreamsGroupCurrentMemberAssignment(key, None) => {
                if let Ok(member) = self.member(&key.member_id) {
                    let member = member.without_assignment();
                    self.update_member(member);
                }
            }
            _ => {}
        }
    }

    pub(super) fn member_or_new(&self, member_id: &str) -> StreamsGroupMember {
        self.members().get(member_id).cloned().unwrap_or_else(|| StreamsGroupMember::new(member_id))
    }
}
