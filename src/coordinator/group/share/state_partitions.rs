//! Which share partitions of a group have a state at the share coordinator: a topic that a group reads for the first time is first
//! *initializing*, and is assigned once it is *initialized*; one whose offsets are being removed is *deleting*. Source:
//! `ShareGroupStatePartitionMetadataInfo`, `subscribedTopicsChangeMap`, `addInitializingTopicsRecords`, `initializeShareGroupState`,
//! `uninitializeShareGroupState`, `shareGroupBuildPartitionDeleteRequest`, `maybeCleanupShareGroupState` of `GroupMetadataManager`.

use std::collections::{BTreeMap, BTreeSet};

use super::{ShareGroup, records};
use crate::common::uuid::Uuid;
use crate::coordinator::group::modern::TopicPartitions;
use crate::coordinator::group::records::GroupRecord;
use crate::coordinator::group::{Effects, Group, GroupShard};
use crate::coordinator::share::UNINITIALIZED_START_OFFSET;
use crate::coordinator::timers::Now;
use crate::protocol::error_code::ErrorCode;

/// Partitions of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InitTopic {
    pub name: String,
    pub partitions: BTreeSet<i32>,
}

type InitTopics = BTreeMap<Uuid, InitTopic>;

/// The share partitions of a group by what is known of their state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatePartitions {
    pub initializing: InitTopics,
    pub initialized: InitTopics,
    pub deleting: BTreeSet<Uuid>,
}

impl StatePartitions {
    /// The partitions with a state.
    pub fn initialized_partitions(&self) -> TopicPartitions {
        self.initialized.iter().map(|(&id, topic)| (id, topic.partitions.clone())).collect()
    }
}

/// The names in `added` win.
fn combine(mut topics: InitTopics, added: &InitTopics) -> InitTopics {
    for (&id, topic) in added {
        let combined = topics.entry(id).or_default();
        combined.name.clone_from(&topic.name);
        combined.partitions.extend(&topic.partitions);
    }
    topics
}

fn without(topics: &InitTopics, removed: &TopicPartitions) -> InitTopics {
    let mut left = topics.clone();
    left.retain(|id, topic| match removed.get(id) {
        Some(removed) => {
            topic.partitions.retain(|partition| !removed.contains(partition));
            !topic.partitions.is_empty()
        }
        None => true,
    });
    left
}

/// What to ask the share coordinator for: states of this epoch that begin at these offsets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateInitialization {
    pub group_id: String,
    pub state_epoch: i32,
    /// Topic, partition, start offset; -1 leaves it to the group's `share.auto.offset.reset`.
    pub partitions: Vec<(Uuid, i32, i64)>,
}

impl StateInitialization {
    /// What it is about, without offsets.
    pub fn topic_partitions(&self) -> TopicPartitions {
        let mut partitions = TopicPartitions::new();
        for &(topic, partition, _) in &self.partitions {
            partitions.entry(topic).or_default().insert(partition);
        }
        partitions
    }
}

/// What to ask the share coordinator to forget.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateDeletion {
    pub group_id: String,
    pub partitions: TopicPartitions,
}

impl ShareGroup {
    /// Are there initialized partitions of topics the group reads that the target assignment does not give to anybody?
    pub(super) fn is_initialized_assignment_pending(&self) -> bool {
        let Some(state) = &self.state_partitions else { return false };
        let assigned =
            |id: &Uuid| -> BTreeSet<i32> { self.common.target().values().filter_map(|target| target.get(id)).flatten().copied().collect() };
        let read = state.initialized.iter().filter(|(_, topic)| self.common.subscribed_topics().contains(&topic.name));
        read.into_iter().any(|(id, topic)| assigned(id) != topic.partitions)
    }
}

impl GroupShard {
    fn topic_name(&self, id: Uuid) -> String {
        self.topics.topic_by_id(id).map_or_else(|| "<UNKNOWN>".to_owned(), |topic| topic.name.clone())
    }

    /// The record of a group's share partitions.
    pub(super) fn state_partitions_record(&self, group_id: &str, state: &StatePartitions) -> GroupRecord {
        records::state_partition_metadata(group_id, state, |id| self.topic_name(id))
    }

    /// What has to be initialized for a group that reads these topics; a request that was not answered in time is repeated.
    pub(super) fn initialize_subscribed<'a>(
        &mut self,
        now: Now,
        group: &ShareGroup,
        group_epoch: i32,
        topics: impl Iterator<Item = &'a str>,
        effects: &mut Effects,
    ) -> Option<StateInitialization> {
        let group_id = group.group_id();
        let retry_ms = self.config.share_initialize_retry_interval_ms.max(0).cast_unsigned();
        let since = self.share_initializing.get(group_id);
        let is_recent =
            |id: &Uuid| since.and_then(|since| since.get(id)).is_some_and(|&since_ms| now.monotonic_ms.saturating_sub(since_ms) < retry_ms);
        let mut added = InitTopics::new();
        for name in topics {
            let Some(topic) = self.topics.topic(name) else { continue };
            let state = group.state_partitions.as_ref();
            let initialized = state.and_then(|state| state.initialized.get(&topic.id));
            let initializing = state.and_then(|state| state.initializing.get(&topic.id)).filter(|_| is_recent(&topic.id));
            let is_known =
                |partition: &i32| [initialized, initializing].into_iter().flatten().any(|topic| topic.partitions.contains(partition));
            let partitions: BTreeSet<i32> = topic.partitions.keys().copied().filter(|partition| !is_known(partition)).collect();
            if !partitions.is_empty() {
                added.insert(topic.id, InitTopic { name: topic.name.clone(), partitions });
            }
        }
        if added.is_empty() {
            return None;
        }
        self.add_initializing(now, group, &added, effects);
        let partitions = added
            .iter()
            .flat_map(|(&id, topic)| topic.partitions.iter().map(move |&partition| (id, partition, UNINITIALIZED_START_OFFSET)))
            .collect();
        Some(StateInitialization { group_id: group_id.to_owned(), state_epoch: group_epoch, partitions })
    }

    /// Writes down that these are being initialized.
    pub(super) fn add_initializing(&mut self, now: Now, group: &ShareGroup, added: &InitTopics, effects: &mut Effects) {
        if added.is_empty() {
            return;
        }
        let group_id = group.group_id();
        let mut state = group.state_partitions.clone().unwrap_or_default();
        state.initializing = combine(state.initializing, added);
        state.deleting.retain(|id| !state.initializing.contains_key(id));
        effects.records.push(self.state_partitions_record(group_id, &state));
        let since = self.share_initializing.entry(group_id.to_owned()).or_default();
        since.extend(added.keys().map(|&id| (id, now.monotonic_ms)));
    }

    /// The share coordinator has initialized these.
    pub fn share_state_initialized(&mut self, group_id: &str, partitions: &TopicPartitions) -> Effects {
        let Ok(group) = self.share_group(group_id) else { return Effects::default() };
        if partitions.is_empty() {
            return Effects::default();
        }
        let added: InitTopics = partitions
            .iter()
            .map(|(&id, partitions)| (id, InitTopic { name: self.topic_name(id), partitions: partitions.clone() }))
            .collect();
        let mut state = group.state_partitions.clone().unwrap_or_default();
        state.initialized = combine(state.initialized, &added);
        state.initializing = without(&state.initializing, partitions);
        one_record(self.state_partitions_record(group_id, &state))
    }

    /// The share coordinator could not initialize these; the next heartbeat tries again.
    pub fn share_state_not_initialized(&mut self, group_id: &str, partitions: &TopicPartitions) -> Effects {
        let Some(state) = self.share_group(group_id).ok().and_then(|group| group.state_partitions.as_ref()) else {
            return Effects::default();
        };
        if state.initializing.is_empty() || partitions.is_empty() {
            return Effects::default();
        }
        let state = StatePartitions { initializing: without(&state.initializing, partitions), ..state.clone() };
        one_record(self.state_partitions_record(group_id, &state))
    }

    /// A group is about to be deleted: what the share coordinator has to forget first. `None`: nothing, or it is not a share group.
    pub fn begin_share_group_deletion(&mut self, group_id: &str) -> Result<(Option<StateDeletion>, Effects), ErrorCode> {
        let Ok(group) = self.share_group(group_id) else { return Ok((None, Effects::default())) };
        if !group.is_empty() {
            return Err(ErrorCode::NonEmptyGroup);
        }
        let Some(state) = &group.state_partitions else { return Ok((None, Effects::default())) };
        let mut partitions = TopicPartitions::new();
        for (&id, topic) in state.initialized.iter().chain(&state.initializing) {
            partitions.entry(id).or_default().extend(&topic.partitions);
        }
        // Deletions that were not seen through; of topics that are gone, the share coordinator has forgotten on its own.
        for (&id, topic) in state.deleting.iter().filter_map(|id| Some((id, self.topics.topic_by_id(*id)?))) {
            partitions.entry(id).or_default().extend(topic.partitions.keys());
        }
        let state = StatePartitions { deleting: partitions.keys().copied().collect(), ..StatePartitions::default() };
        let effects = one_record(self.state_partitions_record(group_id, &state));
        let deletion = (!partitions.is_empty()).then(|| StateDeletion { group_id: group_id.to_owned(), partitions });
        Ok((deletion, effects))
    }

    /// Topics are gone, and with them their share partitions. Gives the records of all groups that had any.
    pub(in crate::coordinator::group) fn forget_share_partitions(&self, deleted: &BTreeSet<Uuid>) -> Vec<GroupRecord> {
        let groups = self.groups().filter_map(|group| match group {
            Group::Share(group) => Some((group.group_id(), group.state_partitions.as_ref()?)),
            _ => None,
        });
        let left = groups.filter_map(|(group_id, state)| {
            let mut left = state.clone();
            left.initializing.retain(|id, _| !deleted.contains(id));
            left.initialized.retain(|id, _| !deleted.contains(id));
            left.deleting.retain(|id| !deleted.contains(id));
            (left != *state).then(|| self.state_partitions_record(group_id, &left))
        });
        left.collect()
    }
}

pub(super) fn one_record(record: GroupRecord) -> Effects {
    Effects { records: vec![record], replay: true, ..Effects::default() }
}
