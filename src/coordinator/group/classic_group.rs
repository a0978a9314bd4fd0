//! One classic group: its state, its members, what they support and who waits. Source: `ClassicGroup`, `ClassicGroupMember`.
//!
//! This file holds the bookkeeping; what happens on a request or a deadline stands in [`super::join`], [`super::rebalance`],
//! [`super::sync`] and [`super::leave`].
//!
//! Invariant: the leader, when there is one, is a member; `static_members` and the members' instance ids say the same;
//! `awaiting_join` is the number of members that wait in JoinGroup; `supported_protocols` counts every member's protocols.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use bytes::Bytes;

use super::{Completed, Effects, ParkedResponse, WaiterId};
use crate::common::random::Random;
use crate::common::uuid::Uuid;
use crate::coordinator::java_hash;
use crate::coordinator::timers::Now;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::join_group_response::JoinGroupResponseMember;
use crate::protocol::messages::{JoinGroupResponse, SyncGroupResponse};

/// The protocol type of Kafka's consumers; other types (Connect) have subscriptions the coordinator cannot read.
pub const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// Where a group is in its life. The text is what DescribeGroups and ListGroups say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClassicGroupState {
    /// No members; offsets may remain.
    Empty,
    /// Waiting for members to join the next generation.
    PreparingRebalance,
    /// The generation stands; waiting for the leader's assignment.
    CompletingRebalance,
    /// Every member of the generation may fetch its assignment.
    Stable,
    /// Removed, or moved to another coordinator.
    Dead,
}

impl ClassicGroupState {
    pub fn name(self) -> &'static str {
        match self {
            ClassicGroupState::Empty => "Empty",
            ClassicGroupState::PreparingRebalance => "PreparingRebalance",
            ClassicGroupState::CompletingRebalance => "CompletingRebalance",
            ClassicGroupState::Stable => "Stable",
            ClassicGroupState::Dead => "Dead",
        }
    }

    fn may_follow(self, previous: ClassicGroupState) -> bool {
        use ClassicGroupState::{CompletingRebalance, Dead, Empty, PreparingRebalance, Stable};
        match self {
            Empty => previous == PreparingRebalance,
            PreparingRebalance => matches!(previous, Stable | CompletingRebalance | Empty),
            CompletingRebalance => previous == PreparingRebalance,
            Stable => previous == CompletingRebalance,
            Dead => true,
        }
    }
}

impl fmt::Display for ClassicGroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One protocol (assignor) a member supports, with its metadata (for consumers, its subscription).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberProtocol {
    pub name: String,
    pub metadata: Bytes,
}

/// One member of a classic group.
#[derive(Clone, Debug)]
pub struct ClassicGroupMember {
    pub member_id: String,
    pub group_instance_id: Option<String>,
    pub client_id: String,
    /// As Java prints an address: `/127.0.0.1`.
    pub client_host: String,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    pub protocol_type: String,
    /// In the member's order of preference.
    pub protocols: Vec<MemberProtocol>,
    pub assignment: Bytes,
    /// Joined in this rebalance and not answered yet: such a member has no session of its own.
    pub is_new: bool,
    pub(super) awaiting_join: Option<WaiterId>,
    pub(super) awaiting_sync: Option<WaiterId>,
}

impl ClassicGroupMember {
    pub fn is_awaiting_join(&self) -> bool {
        self.awaiting_join.is_some()
    }

    pub fn is_awaiting_sync(&self) -> bool {
        self.awaiting_sync.is_some()
    }

    pub fn is_static(&self) -> bool {
        self.group_instance_id.is_some()
    }

    /// The member's metadata for a protocol; `None` when it does not support it.
    pub fn metadata(&self, protocol: &str) -> Option<&Bytes> {
        self.protocols.iter().find(|p| p.name == protocol).map(|p| &p.metadata)
    }

    /// A member that waits for the coordinator cannot heartbeat and need not; a new one may be gone even so.
    pub fn has_satisfied_heartbeat(&self) -> bool {
        !self.is_new && (self.is_awaiting_join() || self.is_awaiting_sync())
    }
}

/// A classic group.
#[derive(Clone, Debug)]
pub struct ClassicGroup {
    pub(super) group_id: String,
    pub(super) state: ClassicGroupState,
    pub(super) previous_state: ClassicGroupState,
    /// When the group came into its state, in wall-clock milliseconds; `None` for groups read from records too old to tell.
    pub(super) current_state_timestamp: Option<i64>,
    pub(super) protocol_type: Option<String>,
    pub(super) protocol_name: Option<String>,
    pub(super) generation_id: i32,
    pub(super) leader_id: Option<String>,
    pub(super) members: BTreeMap<String, ClassicGroupMember>,
    /// Instance id to member id.
    pub(super) static_members: HashMap<String, String>,
    /// Member ids that were given out (KIP-394) and not used yet.
    pub(super) pending_join_members: BTreeSet<String>,
    /// Members of this generation whose SyncGroup has not come.
    pub(super) pending_sync_members: BTreeSet<String>,
    pub(super) awaiting_join: usize,
    pub(super) supported_protocols: HashMap<String, usize>,
    /// `None`: not known, so assume everything.
    pub(super) subscribed_topics: Option<BTreeSet<String>>,
    pub(super) new_member_added: bool,
}

impl ClassicGroup {
    /// A group without members or protocol: what a first JoinGroup or a simple consumer's commit creates.
    pub fn empty(group_id: &str, current_state_timestamp: Option<i64>) -> ClassicGroup {
        ClassicGroup {
            group_id: group_id.to_owned(),
            state: ClassicGroupState::Empty,
            previous_state: ClassicGroupState::Dead,
            current_state_timestamp,
            protocol_type: None,
            protocol_name: None,
            generation_id: 0,
            leader_id: None,
            members: BTreeMap::new(),
            static_members: HashMap::new(),
            pending_join_members: BTreeSet::new(),
            pending_sync_members: BTreeSet::new(),
            awaiting_join: 0,
            supported_protocols: HashMap::new(),
            subscribed_topics: None,
            new_member_added: false,
        }
    }

    pub fn group_id(&self) -> &str {
        &self.group_id
    }

    pub fn state(&self) -> ClassicGroupState {
        self.state
    }

    pub fn is_in(&self, state: ClassicGroupState) -> bool {
        self.state == state
    }

    pub fn generation_id(&self) -> i32 {
        self.generation_id
    }

    pub fn protocol_type(&self) -> Option<&str> {
        self.protocol_type.as_deref()
    }

    pub fn protocol_name(&self) -> Option<&str> {
        self.protocol_name.as_deref()
    }

    pub fn leader_id(&self) -> Option<&str> {
        self.leader_id.as_deref()
    }

    pub fn is_leader(&self, member_id: &str) -> bool {
        self.leader_id.as_deref() == Some(member_id)
    }

    pub fn members(&self) -> impl Iterator<Item = &ClassicGroupMember> {
        self.members.values()
    }

    pub fn member(&self, member_id: &str) -> Option<&ClassicGroupMember> {
        self.members.get(member_id)
    }

    pub fn has_member(&self, member_id: &str) -> bool {
        self.members.contains_key(member_id)
    }

    pub fn member_ids(&self) -> Vec<String> {
        self.members.keys().cloned().collect()
    }

    /// Does the group consist of nothing but offsets that someone without a group committed?
    pub fn is_simple(&self) -> bool {
        self.is_in(ClassicGroupState::Empty) && self.protocol_type.is_none() && self.pending_join_members.is_empty()
    }

    pub fn uses_consumer_group_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL_TYPE)
    }

    /// A new member id: client id (or instance id) and a random UUID in Java's text.
    pub(super) fn generate_member_id(random: &mut Random, client_id: &str, group_instance_id: Option<&str>) -> String {
        let uuid = Uuid::random(random).0;
        let hex: String = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
        let prefix = group_instance_id.unwrap_or(client_id);
        format!("{prefix}-{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }

    /// Moves to `state`. The order of states is the program's own, never a client's: a wrong one is a defect here.
    pub(super) fn transition_to(&mut self, now: Now, state: ClassicGroupState) {
        debug_assert!(state.may_follow(self.state), "{} may not follow {}", state, self.state);
        self.previous_state = self.state;
        self.state = state;
        self.current_state_timestamp = Some(now.wall_ms);
    }

    pub(super) fn can_rebalance(&self) -> bool {
        ClassicGroupState::PreparingRebalance.may_follow(self.state)
    }

    /// Adds a member, which becomes the leader when there is none. The caller has checked that its protocols fit.
    pub(super) fn add(&mut self, member: ClassicGroupMember) {
        if let Some(instance) = &member.group_instance_id {
            self.static_members.insert(instance.clone(), member.member_id.clone());
        }
        if self.members.is_empty() {
            self.protocol_type = Some(member.protocol_type.clone());
        }
        if self.leader_id.is_none() {
            self.leader_id = Some(member.member_id.clone());
        }
        self.count_protocols(&member, true);
        self.awaiting_join += usize::from(member.is_awaiting_join());
        self.pending_join_members.remove(&member.member_id);
        self.members.insert(member.member_id.clone(), member);
    }

    /// Removes a member, pending or not; leadership passes on. Its parked request must have been answered.
    pub(super) fn remove(&mut self, member_id: &str) {
        if let Some(member) = self.members.remove(member_id) {
            self.count_protocols(&member, false);
            self.awaiting_join -= usize::from(member.is_awaiting_join());
            if let Some(instance) = &member.group_instance_id {
                self.static_members.remove(instance);
            }
        }
        if self.is_leader(member_id) {
            self.leader_id = self.members.keys().next().cloned();
        }
        self.pending_join_members.remove(member_id);
        self.pending_sync_members.remove(member_id);
    }

    fn count_protocols(&mut self, member: &ClassicGroupMember, add: bool) {
        for protocol in &member.protocols {
            if add {
                *self.supported_protocols.entry(protocol.name.clone()).or_default() += 1;
            } else if let Some(count) = self.supported_protocols.get_mut(&protocol.name) {
                *count -= 1;
                if *count == 0 {
                    self.supported_protocols.remove(&protocol.name);
                }
            }
        }
    }

    /// Gives a member new protocols and timeouts, and the request it waits in now. `None` when there is no such member.
    pub(super) fn update_member(
        &mut self,
        member_id: &str,
        protocols: Vec<MemberProtocol>,
        rebalance_timeout_ms: i32,
        session_timeout_ms: i32,
        awaiting_join: Option<WaiterId>,
    ) -> Option<()> {
        let mut member = self.members.remove(member_id)?;
        self.count_protocols(&member, false);
        self.awaiting_join -= usize::from(member.is_awaiting_join());
        member.protocols = protocols;
        member.rebalance_timeout_ms = rebalance_timeout_ms;
        member.session_timeout_ms = session_timeout_ms;
        member.awaiting_join = awaiting_join;
        self.count_protocols(&member, true);
        self.awaiting_join += usize::from(member.is_awaiting_join());
        self.members.insert(member_id.to_owned(), member);
        Some(())
    }

    /// Puts a new member id in the place of a static member's old one; whoever waits under the old id is fenced. The member keeps its
    /// assignment. `None` when the old member is unknown.
    pub(super) fn replace_static_member(&mut self, instance: &str, old_id: &str, new_id: &str, effects: &mut Effects) -> Option<()> {
        let mut member = self.members.remove(old_id)?;
        if let Some(waiter) = member.awaiting_join.take() {
            self.awaiting_join -= 1;
            effects.completed.push(Completed {
                waiter,
                response: ParkedResponse::Join(JoinGroupResponse {
                    member_id: old_id.to_owned(),
                    protocol_name: None,
                    error_code: ErrorCode::FencedInstanceId.code(),
                    ..JoinGroupResponse::default()
                }),
            });
        }
        if let Some(waiter) = member.awaiting_sync.take() {
            effects.completed.push(Completed { waiter, response: sync_error(ErrorCode::FencedInstanceId) });
        }
        // The old id must not linger among those whose SyncGroup is awaited: it would be "removed" when that wait ends.
        if self.pending_sync_members.remove(old_id) {
            self.pending_sync_members.insert(new_id.to_owned());
        }
        member.member_id = new_id.to_owned();
        member.is_new = false;
        self.members.insert(new_id.to_owned(), member);
        if self.is_leader(old_id) {
            self.leader_id = Some(new_id.to_owned());
        }
        self.static_members.insert(instance.to_owned(), new_id.to_owned());
        Some(())
    }

    /// Answers the member's parked JoinGroup, if it has one.
    pub(super) fn complete_join(&mut self, member_id: &str, response: JoinGroupResponse, effects: &mut Effects) {
        if let Some(waiter) = self.members.get_mut(member_id).and_then(|member| member.awaiting_join.take()) {
            self.awaiting_join -= 1;
            effects.completed.push(Completed { waiter, response: ParkedResponse::Join(response) });
        }
    }

    /// Answers the member's parked SyncGroup; was there one?
    pub(super) fn complete_sync(&mut self, member_id: &str, response: SyncGroupResponse, effects: &mut Effects) -> bool {
        match self.members.get_mut(member_id).and_then(|member| member.awaiting_sync.take()) {
            Some(waiter) => {
                effects.completed.push(Completed { waiter, response: ParkedResponse::Sync(response) });
                true
            }
            None => false,
        }
    }

    /// Keeps a leader that has joined the coming generation, or elects one that has. False when nobody has joined.
    pub(super) fn maybe_elect_new_joined_leader(&mut self) -> bool {
        let Some(leader) = self.leader_id.as_deref().and_then(|id| self.members.get(id)) else { return false };
        if leader.is_awaiting_join() {
            return true;
        }
        match self.members.values().find(|member| member.is_awaiting_join()) {
            Some(joined) => {
                tracing::info!(group = self.group_id, old = leader.member_id, new = joined.member_id, "leader did not rejoin in time");
                self.leader_id = Some(joined.member_id.clone());
                true
            }
            None => false,
        }
    }

    pub(super) fn has_all_members_joined(&self) -> bool {
        self.members.len() == self.awaiting_join && self.pending_join_members.is_empty()
    }

    /// The longest rebalance timeout of any member, in milliseconds.
    pub(super) fn rebalance_timeout_ms(&self) -> i32 {
        self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0).max(0)
    }

    /// Is this one of the group's members, and under its instance id? The order of the checks is Kafka's.
    pub(super) fn validate_member(&self, member_id: &str, group_instance_id: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance) = group_instance_id {
            match self.static_members.get(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(existing) if existing != member_id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.has_member(member_id) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    /// Would a member with these protocols fit in?
    pub(super) fn supports_protocols(&self, protocol_type: &str, protocols: &[MemberProtocol]) -> bool {
        if self.is_in(ClassicGroupState::Empty) {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|p| self.supported_protocols.get(&p.name).copied().unwrap_or(0) == self.members.len())
    }

    /// The protocol all members support that most of them prefer. `None` when they have none in common.
    pub(super) fn select_protocol(&self) -> Option<String> {
        let everyone = self.members.len();
        let mut votes: HashMap<&str, usize> = HashMap::new();
        for member in self.members.values() {
            let vote = member.protocols.iter().find(|p| self.supported_protocols.get(&p.name) == Some(&everyone))?;
            *votes.entry(&vote.name).or_default() += 1;
        }
        // Of equally many votes Kafka takes the first in the order of a Java hash map: the same here, so that both choose alike.
        votes
            .into_iter()
            .min_by_key(|&(name, count)| (std::cmp::Reverse(count), java_hash::bucket(name), name))
            .map(|(name, _)| name.to_owned())
    }

    /// Starts the next generation with those who have joined.
    pub(super) fn init_next_generation(&mut self, now: Now) {
        self.generation_id = self.generation_id.wrapping_add(1).max(0);
        if self.members.is_empty() {
            self.protocol_name = None;
            self.compute_subscribed_topics();
            self.transition_to(now, ClassicGroupState::Empty);
        } else {
            self.protocol_name = self.select_protocol();
            self.compute_subscribed_topics();
            self.transition_to(now, ClassicGroupState::CompletingRebalance);
        }
        self.pending_sync_members.clear();
    }

    /// Reads the topics out of the members' subscriptions; unknown when the group is not of consumers or one cannot be read.
    pub(super) fn compute_subscribed_topics(&mut self) {
        self.subscribed_topics = if !self.uses_consumer_group_protocol() {
            None
        } else if self.members.is_empty() {
            Some(BTreeSet::new())
        } else {
            self.protocol_name.as_deref().and_then(|protocol| {
                let mut all = BTreeSet::new();
                for member in self.members.values() {
                    match super::subscription::topics(member.metadata(protocol)?) {
                        Some(topics) => all.extend(topics),
                        None => {
                            tracing::warn!(group = self.group_id, member = member.member_id, "cannot read the member's subscription");
                            return None;
                        }
                    }
                }
                Some(all)
            })
        };
    }

    /// Does a member read this topic? Assumed when the subscriptions of a consumer group are not known.
    pub fn is_subscribed_to_topic(&self, topic: &str) -> bool {
        match &self.subscribed_topics {
            Some(topics) => topics.contains(topic),
            None => self.uses_consumer_group_protocol(),
        }
    }

    /// The members as the leader's JoinGroup response lists them.
    pub(super) fn members_for_leader(&self) -> Vec<JoinGroupResponseMember> {
        let protocol = self.protocol_name.as_deref().unwrap_or("");
        self.members
            .values()
            .map(|member| JoinGroupResponseMember {
                member_id: member.member_id.clone(),
                group_instance_id: member.group_instance_id.clone(),
                metadata: member.metadata(protocol).cloned().unwrap_or_default(),
                ..JoinGroupResponseMember::default()
            })
            .collect()
    }

    /// The state of a group as other members see it, for a JoinGroup response.
    pub(super) fn join_response(&self, member_id: &str, members: Vec<JoinGroupResponseMember>) -> JoinGroupResponse {
        JoinGroupResponse {
            member_id: member_id.to_owned(),
            generation_id: self.generation_id,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            leader: self.leader_id.clone().unwrap_or_default(),
            members,
            ..JoinGroupResponse::default()
        }
    }
}

/// A JoinGroup response that only says what went wrong.
pub(super) fn join_error(member_id: &str, error: ErrorCode) -> JoinGroupResponse {
    JoinGroupResponse { member_id: member_id.to_owned(), error_code: error.code(), ..JoinGroupResponse::default() }
}

/// A SyncGroup response that only says what went wrong.
pub(super) fn sync_error(error: ErrorCode) -> ParkedResponse {
    ParkedResponse::Sync(SyncGroupResponse { error_code: error.code(), ..SyncGroupResponse::default() })
}
