//! One member of a share group. Source: `ShareGroupMember`.

use std::collections::BTreeSet;

use crate::coordinator::group::modern::{MemberState, ModernMember, TopicPartitions};
use crate::protocol::messages::share_group_current_member_assignment_value::TopicPartitions as RecordTopicPartitions;
use crate::protocol::messages::{ShareGroupCurrentMemberAssignmentValue, ShareGroupMemberMetadataValue};

/// A member as its records tell of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareGroupMember {
    pub member_id: String,
    pub rack_id: Option<String>,
    pub client_id: String,
    /// As Java prints an address: `/127.0.0.1`.
    pub client_host: String,
    pub subscribed_topic_names: BTreeSet<String>,
    pub member_epoch: i32,
    pub previous_member_epoch: i32,
    pub state: MemberState,
    pub assigned_partitions: TopicPartitions,
}

impl ShareGroupMember {
    /// A member that has not been heard of.
    pub(super) fn new(member_id: &str) -> ShareGroupMember {
        ShareGroupMember {
            member_id: member_id.to_owned(),
            rack_id: None,
            client_id: String::new(),
            client_host: String::new(),
            subscribed_topic_names: BTreeSet::new(),
            member_epoch: 0,
            previous_member_epoch: -1,
            state: MemberState::Stable,
            assigned_partitions: TopicPartitions::new(),
        }
    }

    pub(super) fn update_metadata(&mut self, value: ShareGroupMemberMetadataValue) {
        self.rack_id = value.rack_id;
        self.client_id = value.client_id;
        self.client_host = value.client_host;
        self.subscribed_topic_names = value.subscribed_topic_names.into_iter().collect();
    }

    pub(super) fn update_assignment(&mut self, value: ShareGroupCurrentMemberAssignmentValue) {
        self.member_epoch = value.member_epoch;
        self.previous_member_epoch = value.previous_member_epoch;
        self.state = MemberState::from_code(value.state);
        let topic = |topic: RecordTopicPartitions| (topic.topic_id, topic.partitions.into_iter().collect());
        self.assigned_partitions = value.assigned_partitions.into_iter().map(topic).collect();
    }
}

impl ModernMember for ShareGroupMember {
    fn member_id(&self) -> &str {
        &self.member_id
    }

    fn instance_id(&self) -> Option<&str> {
        None
    }

    fn rack_id(&self) -> Option<&str> {
        self.rack_id.as_deref()
    }

    fn subscribed_topic_names(&self) -> &BTreeSet<String> {
        &self.subscribed_topic_names
    }

    fn is_reconciled_to(&self, assignment_epoch: i32) -> bool {
        self.state == MemberState::Stable && self.member_epoch == assignment_epoch
    }
}
