//! Computes the next target assignment of a group. Source: `TargetAssignmentBuilder`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::assignor::{GroupSpec, MemberSpec, PartitionAssignor, PartitionAssignorError};
use super::{ModernGroup, ModernMember, SubscriptionType, TopicPartitions};
use crate::common::uuid::Uuid;
use crate::metadata::image::MetadataImage;

/// What goes into the computation besides the group itself.
pub struct TargetAssignment<'a, M> {
    pub group: &'a ModernGroup<M>,
    pub assignor: &'a dyn PartitionAssignor,
    pub subscription_type: SubscriptionType,
    pub image: &'a MetadataImage,
    /// The member as this request makes it, not replayed yet.
    pub updated: Option<&'a M>,
    /// The static member whose place `updated` takes: it counts no more, and its assignment is the newcomer's.
    pub replaced: Option<&'a str>,
    /// The partitions that may be assigned; `None` when all may.
    pub assignable: Option<&'a TopicPartitions>,
}

/// A target assignment and how it differs from the one before.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ComputedAssignment {
    /// Members with a part that is new or different, each to be written.
    pub changed: Vec<(String, TopicPartitions)>,
    pub all: BTreeMap<String, TopicPartitions>,
}

impl<M: ModernMember> TargetAssignment<'_, M> {
    /// Asks the assignor. `topics_of` names all topics a member reads, regular expressions resolved.
    pub fn compute(&self, topics_of: impl Fn(&M) -> Cow<'_, BTreeSet<String>>) -> Result<ComputedAssignment, PartitionAssignorError> {
        let mut resolved: BTreeMap<BTreeSet<String>, Arc<BTreeSet<Uuid>>> = BTreeMap::new();
        let mut spec = |member: &M, assignment: TopicPartitions| {
            let ids = |names: &BTreeSet<String>| names.iter().filter_map(|name| Some(self.image.topics.topic(name)?.id)).collect();
            let names = topics_of(member);
            let subscribed_topics = match resolved.get(names.as_ref()) {
                Some(ids) => Arc::clone(ids),
                None => {
                    let ids = Arc::new(ids(&names));
                    resolved.insert(names.into_owned(), Arc::clone(&ids));
                    ids
                }
            };
            MemberSpec {
                instance_id: member.instance_id().map(str::to_owned),
                rack_id: member.rack_id().map(str::to_owned),
                subscribed_topics,
                assignment,
            }
        };
        let mut members = BTreeMap::new();
        for (id, member) in self.group.members() {
            if self.replaced != Some(id) && self.updated.is_none_or(|updated| updated.member_id() != id) {
                members.insert(id.clone(), spec(member, self.group.target_assignment(id)));
            }
        }
        if let Some(updated) = self.updated {
            let id = updated.member_id();
            let assignment = self.group.target_assignment(self.replaced.unwrap_or(id));
            members.insert(id.to_owned(), spec(updated, assignment));
        }
        let group = GroupSpec {
            members,
            subscription_type: self.subscription_type,
            inverted: self.group.inverted_target(),
            assignable: self.assignable,
            image: self.image,
        };
        let mut assigned = self.assignor.assign(&group)?;
        let mut computed = ComputedAssignment::default();
        for id in group.members.into_keys() {
            let mut assignment = assigned.remove(&id).unwrap_or_default();
            assignment.retain(|_, partitions| !partitions.is_empty());
            if self.group.target().get(&id) != Some(&assignment) {
                computed.changed.push((id.clone(), assignment.clone()));
            }
            computed.all.insert(id, assignment);
        }
        Ok(computed)
    }
}
