//! What the clients of a model test know of their commits to the group `g`, to be held against what the coordinator has.
//!
//! Every commit of a history has a higher offset than all before it, so that an offset says which commit it is of.

use std::collections::{BTreeMap, BTreeSet};

use crate::coordinator::group::GroupShard;

type Partition = (String, i32);

/// A member and its instance. Who takes over the place of a static member is the same member.
#[derive(Clone, Debug)]
struct Committer {
    member_id: String,
    instance: Option<String>,
}

impl Committer {
    fn is(&self, other: &Committer) -> bool {
        self.member_id == other.member_id || (self.instance.is_some() && self.instance == other.instance)
    }
}

#[derive(Debug, Default)]
pub(in crate::coordinator::group) struct Acknowledged {
    /// The last commit that was acknowledged.
    offsets: BTreeMap<Partition, i64>,
    /// Later ones of which nobody knows whether they count.
    unheard: BTreeMap<Partition, BTreeSet<i64>>,
    /// Those that count when their producer's transaction is committed.
    in_transactions: BTreeMap<i64, Vec<(Partition, i64)>>,
    /// Who has committed for a partition in an epoch, or generation.
    committers: BTreeMap<Partition, BTreeMap<i32, Committer>>,
}

impl Acknowledged {
    pub(in crate::coordinator::group) fn heard(&mut self, topic: &str, partition: i32, offset: i64) {
        self.counts((topic.to_owned(), partition), offset);
    }

    fn counts(&mut self, partition: Partition, offset: i64) {
        if let Some(unheard) = self.unheard.get_mut(&partition) {
            unheard.retain(|later| *later > offset);
        }
        let last = self.offsets.entry(partition).or_insert(offset);
        *last = offset.max(*last);
    }

    pub(in crate::coordinator::group) fn unheard(&mut self, topic: &str, partition: i32, offset: i64) {
        self.unheard.entry((topic.to_owned(), partition)).or_default().insert(offset);
    }

    pub(in crate::coordinator::group) fn in_transaction(&mut self, producer_id: i64, topic: &str, partition: i32, offset: i64) {
        self.in_transactions.entry(producer_id).or_default().push(((topic.to_owned(), partition), offset));
    }

    /// Producers with a transaction that has commits.
    pub(in crate::coordinator::group) fn producers(&self) -> Vec<i64> {
        self.in_transactions.keys().copied().collect()
    }

    /// All its commits count, or none.
    pub(in crate::coordinator::group) fn transaction_ended(&mut self, producer_id: i64, commit: bool) {
        let commits = self.in_transactions.remove(&producer_id).unwrap_or_default();
        commits.into_iter().filter(|_| commit).for_each(|(partition, offset)| self.counts(partition, offset));
    }

    /// What `shard` has is committed: it is what counts from now on.
    pub(in crate::coordinator::group) fn settle(&mut self, shard: &GroupShard) {
        for ((topic, partition), _) in std::mem::take(&mut self.unheard) {
            if let Some(found) = shard.offsets().get("g", &topic, partition) {
                self.counts((topic, partition), found.committed_offset);
            }
        }
    }

    pub(in crate::coordinator::group) fn topic_deleted(&mut self, topic: &str) {
        self.offsets.retain(|(name, _), _| name != topic);
        self.unheard.retain(|(name, _), _| name != topic);
        self.committers.retain(|(name, _), _| name != topic);
        self.in_transactions.values_mut().for_each(|commits| commits.retain(|((name, _), _)| name != topic));
    }

    /// Epochs may begin anew: an empty group that changes its type is a new one.
    pub(in crate::coordinator::group) fn group_is_empty(&mut self) {
        self.committers.clear();
    }

    /// A commit was accepted.
    pub(in crate::coordinator::group) fn accepted(
        &mut self,
        seed: u64,
        (member_id, instance): (&str, Option<&str>),
        generation: i32,
        (topic, partition): (&str, i32),
    ) {
        let who = Committer { member_id: member_id.to_owned(), instance: instance.map(str::to_owned) };
        let committers = self.committers.entry((topic.to_owned(), partition)).or_default();
        one_owner_per_partition_and_generation(seed, committers.get(&generation), &who, generation);
        who_has_lost_a_partition_commits_nothing(seed, committers.range(generation + 1..).next_back(), &who, generation);
        committers.insert(generation, who);
    }

    /// Invariant: an offset stays until a later commit, whatever else happens; of a transaction's commits none counts before its end.
    pub(in crate::coordinator::group) fn committed_offsets_never_go_back(&self, shard: &GroupShard, seed: u64) {
        for ((topic, partition), offset) in &self.offsets {
            let found = shard.offsets().get("g", topic, *partition).map(|found| found.committed_offset);
            let may_be = |found| {
                let unheard = self.unheard.get(&(topic.clone(), *partition));
                found > *offset && unheard.is_some_and(|unheard| unheard.contains(&found))
            };
            assert!(found == Some(*offset) || found.is_some_and(may_be), "seed {seed}: {topic}-{partition} at {found:?}, not {offset}");
        }
    }
}

/// Invariant: in one epoch, or generation, one member gets commits for a partition accepted.
fn one_owner_per_partition_and_generation(seed: u64, other: Option<&Committer>, who: &Committer, generation: i32) {
    assert!(other.is_none_or(|other| other.is(who)), "seed {seed}: {who:?} and {other:?} own a partition in generation {generation}");
}

/// Invariant: after another member's commit of a later generation none is accepted.
fn who_has_lost_a_partition_commits_nothing(seed: u64, later: Option<(&i32, &Committer)>, who: &Committer, generation: i32) {
    let is_owner = later.is_none_or(|(_, other)| other.is(who));
    assert!(is_owner, "seed {seed}: {who:?} commits in generation {generation} after {later:?}");
}
