//! The task that keeps this consumer a member of its group: the classic protocol.
//!
//! It joins when there is a subscription and somebody polls, is the group's leader when told so, keeps the membership alive by
//! heartbeats, and joins again when the coordinator or a change of topics asks for it.
//!
//! Invariants: partitions are taken away in good order only with the [`Permission`] of a poll; they are lost, without it, when the
//! coordinator no longer knows the member. Heartbeats go on while permission is waited for.
//! Source: `AbstractCoordinator`, `ConsumerCoordinator`; KIP-62, KIP-345, KIP-394, KIP-429.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::assignors::{Assignor, Member, TopicRacks};
use super::state::{self, Permission};
use super::{OffsetAndMetadata, RebalanceEvent, Shared, offsets, protocol};
use crate::client::cluster::{CoordinatorKind, Topics};
use crate::client::conn::Connection;
use crate::client::error::{ApiError, ClientError};
use crate::client::pool::Use;
use crate::common::topic_partition::TopicPartition;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::join_group_request::JoinGroupRequestProtocol;
use crate::protocol::messages::leave_group_request::MemberIdentity;
use crate::protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use crate::protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest, SyncGroupResponse,
};

const PROTOCOL_TYPE: &str = "consumer";
/// A join takes as long as the slowest member; the coordinator's answer may be late by this.
const JOIN_GRACE: Duration = Duration::from_secs(5);
/// The first version of LeaveGroup that lists members.
const LEAVE_BY_MEMBER: i16 = 3;

/// Why a member goes on to something else.
enum Next {
    Join,
    /// Somebody has to poll, or subscribe, first.
    Wait,
    /// Another process took this member's place.
    End,
}

/// What a heartbeat said.
enum Beat {
    Fine,
    Rebalancing,
    Lost,
    Fenced,
}

struct Group {
    shared: Arc<Shared>,
    id: String,
    cooperative: bool,
    /// The topics that were named in the last join.
    joined: BTreeSet<String>,
    /// Of a leader: the numbers of partitions it has assigned.
    counted: Option<BTreeMap<String, usize>>,
    /// What was assigned last, which the sticky assignor is told.
    last_assigned: Option<(Vec<TopicPartition>, i32)>,
    last_beat: Instant,
    reason: &'static str,
}

/// Works until the consumer is closed, then leaves the group.
pub(super) async fn run(shared: Arc<Shared>) {
    let id = shared.settings.group_id.clone().unwrap_or_default();
    let cooperative = shared.settings.assignors.iter().all(|assignor| assignor.is_cooperative());
    let mut group = Group {
        id,
        cooperative,
        joined: BTreeSet::new(),
        counted: None,
        last_assigned: None,
        last_beat: Instant::now(),
        reason: "",
        shared: Arc::clone(&shared),
    };
    tokio::select! {
        biased;
        () = shared.closed() => {}
        () = group.work() => {}
    }
    group.leave("the consumer is being closed").await;
}

impl Group {
    async fn work(&mut self) {
        let mut failures = 0;
        let mut next = Next::Wait;
        let mut seen_poll = None;
        loop {
            match next {
                Next::End => return,
                Next::Wait => {
                    // A poll that began after the last one that was seen, or one under way.
                    loop {
                        {
                            let state = self.shared.state();
                            if state.subscription.is_by_group() && (state.polls > 0 || state.last_poll > seen_poll) {
                                break;
                            }
                        }
                        self.shared.group_wake.notified().await;
                    }
                }
                Next::Join => {}
            }
            next = match self.join().await {
                Ok(next) => {
                    failures = 0;
                    match next {
                        Some(next) => next,
                        None => self.stay().await,
                    }
                }
                Err(error) => {
                    let fenced = error.is(ErrorCode::FencedInstanceId);
                    self.recover(&error).await;
                    if fenced {
                        self.lose();
                        self.shared.fail(error.into());
                        Next::End
                    } else {
                        let fatal = !error.recovery().is_retriable();
                        tracing::debug!(%error, "joining the group failed");
                        if fatal {
                            self.shared.fail(error.into());
                        }
                        sleep(self.shared.cluster.backoff().pause(failures)).await;
                        failures = failures.saturating_add(1);
                        if fatal { Next::Wait } else { Next::Join }
                    }
                }
            };
            seen_poll = self.shared.state().last_poll;
        }
    }

    async fn recover(&self, error: &ClientError) {
        self.shared.cluster.recover(error, None, Some((CoordinatorKind::Group, &self.id))).await;
    }

    async fn connection(&self, use_: Use) -> Result<Connection, ClientError> {
        let coordinator = self.shared.cluster.coordinator(CoordinatorKind::Group, &self.id).await?;
        self.shared.cluster.connection(coordinator, use_).await
    }

    fn member(&self) -> state::Member {
        self.shared.state().member.clone()
    }

    /// Gives up all partitions without ceremony, because the group has, and the place in the group.
    fn lose(&mut self) {
        let lost = self.shared.lose_partitions();
        self.counted = None;
        self.shared.tell(RebalanceEvent::Lost(lost));
    }

    /// As [`Group::lose`], and the next join is that of a new member.
    fn forget_member(&mut self) {
        self.lose();
        self.shared.state().member.id.clear();
    }

    async fn leave_as_idle(&mut self) -> Next {
        tracing::warn!(
            "the time between polls was longer than max.poll.interval.ms, which often means that too much time is spent on the records: \
             leaving the group until the next poll"
        );
        self.leave("consumer poll timeout has expired.").await;
        self.lose();
        Next::Wait
    }

    /// Waits until a poll permits to take partitions away, and gives all positions as they are then. `Err`: what to do instead.
    async fn permission(&mut self, taken: BTreeSet<TopicPartition>) -> Result<BTreeMap<TopicPartition, OffsetAndMetadata>, Next> {
        {
            let mut state = self.shared.state();
            state.permission = Permission::Requested(taken);
            state.grant();
        }
        loop {
            {
                let mut state = self.shared.state();
                if let Permission::Granted(_) = state.permission
                    && let Permission::Granted(positions) = std::mem::take(&mut state.permission)
                {
                    return Ok(positions);
                }
                if !state.subscription.is_by_group() {
                    state.permission = Permission::NotNeeded;
                    return Err(Next::Wait);
                }
            }
            if self.shared.is_idle() {
                return Err(self.leave_as_idle().await);
            }
            tokio::select! {
                () = self.shared.group_wake.notified() => {}
                () = sleep_until(self.last_beat + self.shared.settings.heartbeat_interval) => match self.beat().await {
                    Beat::Fine | Beat::Rebalancing => {}
                    Beat::Lost => return Err(Next::Join),
                    Beat::Fenced => return Err(Next::End),
                },
            }
        }
    }

    /// Commits `positions` if commits are automatic. That a rebalance cannot wait for.
    async fn commit(&self, positions: &BTreeMap<TopicPartition, OffsetAndMetadata>) {
        if self.shared.settings.auto_commit_interval.is_none() {
            return;
        }
        let limit = self.shared.cluster.request_timeout().min(self.shared.settings.max_poll_interval);
        if let Err(error) = offsets::commit(&self.shared, positions, limit).await {
            tracing::warn!(%error, "the commit before a rebalance failed");
        }
    }

    /// Takes away what must be before a join: everything, or of cooperative members what is no longer subscribed to.
    async fn revoke_before(&mut self, topics: &BTreeSet<String>) -> Result<(), Next> {
        let taken: BTreeSet<TopicPartition> = {
            let state = self.shared.state();
            if state.assigned().is_empty() {
                return Ok(());
            }
            let assigned = state.assigned().keys();
            assigned.filter(|partition| !self.cooperative || !topics.contains(&partition.topic)).cloned().collect()
        };
        let positions = self.permission(taken.clone()).await?;
        self.commit(&positions).await;
        {
            let mut state = self.shared.state();
            let kept: Vec<_> = state.assigned().keys().filter(|partition| !taken.contains(partition)).cloned().collect();
            state.assign(kept);
        }
        self.shared.tell(RebalanceEvent::Revoked(taken.into_iter().collect()));
        Ok(())
    }

    /// One join and sync. `Ok(None)`: a member with an assignment.
    async fn join(&mut self) -> Result<Option<Next>, ClientError> {
        let Some(topics) = self.shared.subscribed_topics() else { return Ok(Some(Next::Wait)) };
        if let Err(next) = self.revoke_before(&topics).await {
            return Ok(Some(next));
        }
        let response = match self.send_join(&topics).await? {
            Ok(response) => response,
            Err(next) => return Ok(Some(next)),
        };
        {
            let mut state = self.shared.state();
            state.member = state::Member { id: response.member_id.clone(), generation: response.generation_id };
        }
        self.joined = topics;
        self.counted = None;
        let name = response.protocol_name.clone().unwrap_or_default();
        let assignments = match response.leader == response.member_id && !response.skip_assignment {
            true => self.assign(&name, &response).await?,
            false => Vec::new(),
        };
        let request = SyncGroupRequest {
            group_id: self.id.clone(),
            generation_id: response.generation_id,
            member_id: response.member_id.clone(),
            group_instance_id: self.shared.settings.group_instance_id.clone(),
            protocol_type: Some(PROTOCOL_TYPE.to_owned()),
            protocol_name: Some(name),
            assignments,
            ..Default::default()
        };
        let limit = self.shared.settings.max_poll_interval + JOIN_GRACE;
        let synced = self.connection(Use::Coordinator).await?.send_within(&request, limit).await?;
        self.last_beat = Instant::now();
        match ErrorCode::from_code(synced.error_code) {
            ErrorCode::None => Ok(self.take_assignment(synced, response.generation_id).await?),
            ErrorCode::RebalanceInProgress => Ok(Some(Next::Join)),
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration => {
                self.forget_member();
                Ok(Some(Next::Join))
            }
            code => Err(code.into()),
        }
    }

    async fn send_join(&mut self, topics: &BTreeSet<String>) -> Result<Result<JoinGroupResponse, Next>, ClientError> {
        let member = self.member();
        let settings = &self.shared.settings;
        let assigned: Vec<TopicPartition> = self.shared.state().assigned().keys().cloned().collect();
        let (last, generation) = match &self.last_assigned {
            Some((partitions, generation)) => (Some(partitions.as_slice()), *generation),
            None => (None, -1),
        };
        let mut protocols = Vec::new();
        for assignor in &settings.assignors {
            let subscription = Member {
                topics: topics.iter().cloned().collect(),
                user_data: assignor.user_data(last, generation),
                owned_partitions: assigned.clone(),
                generation: (member.generation >= 0).then_some(member.generation),
                rack: Some(settings.client_rack.clone()).filter(|rack| !rack.is_empty()),
                ..Member::default()
            };
            // A subscription fails to encode only when a topic's name is longer than any topic can be.
            let metadata = protocol::write_subscription(&subscription).map_err(|_| ClientError::from(ErrorCode::InvalidTopicException))?;
            protocols.push(JoinGroupRequestProtocol { name: assignor.name().to_owned(), metadata, ..Default::default() });
        }
        let millis = |duration: Duration| i32::try_from(duration.as_millis()).unwrap_or(i32::MAX);
        let request = JoinGroupRequest {
            group_id: self.id.clone(),
            session_timeout_ms: millis(settings.session_timeout),
            rebalance_timeout_ms: millis(settings.max_poll_interval),
            member_id: member.id,
            group_instance_id: settings.group_instance_id.clone(),
            protocol_type: PROTOCOL_TYPE.to_owned(),
            protocols,
            reason: Some(self.reason.to_owned()),
            ..Default::default()
        };
        let limit = settings.max_poll_interval + JOIN_GRACE;
        let response = self.connection(Use::Coordinator).await?.send_within(&request, limit).await?;
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::None => Ok(Ok(response)),
            ErrorCode::MemberIdRequired => {
                self.shared.state().member.id = response.member_id;
                self.reason = "need to re-join with the given member-id";
                Ok(Err(Next::Join))
            }
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration => {
                self.forget_member();
                Ok(Err(Next::Join))
            }
            ErrorCode::RebalanceInProgress => {
                sleep(self.shared.cluster.backoff().pause(0)).await;
                Ok(Err(Next::Join))
            }
            code => Err(code.into()),
        }
    }

    /// As the leader: says who reads what.
    async fn assign(&mut self, name: &str, response: &JoinGroupResponse) -> Result<Vec<SyncGroupRequestAssignment>, ClientError> {
        let refuse = |what: String| ClientError::Api(ApiError::new(ErrorCode::InconsistentGroupProtocol, Some(what)));
        let assignor = Assignor::parse(name).ok_or_else(|| refuse(format!("the coordinator chose the unknown protocol {name}")))?;
        let mut members = Vec::new();
        for member in &response.members {
            let read = protocol::read_subscription(member.member_id.clone(), member.group_instance_id.clone(), member.metadata.clone());
            members.push(read.map_err(|error| refuse(format!("the subscription of {} cannot be read: {error}", member.member_id)))?);
        }
        let mut wanted: Vec<String> = members.iter().flat_map(|member| member.topics.iter().cloned()).collect();
        wanted.sort();
        wanted.dedup();
        if !wanted.is_empty() {
            self.shared.cluster.refresh(Topics::Named(&wanted), self.shared.settings.auto_create).await?;
        }
        let metadata = self.shared.cluster.metadata();
        let mut topics = TopicRacks::new();
        for topic in wanted.iter().filter_map(|name| metadata.topic(name)) {
            let rack = |id: &i32| metadata.brokers.get(id).and_then(|broker| broker.rack.clone());
            let racks = topic.partitions.iter().map(|partition| partition.replicas.iter().filter_map(rack).collect());
            topics.insert(topic.name.clone(), racks.collect());
        }
        self.counted = Some(self.count(&self.joined));
        let assignment = assignor.assign(&topics, &members);
        let written = assignment.into_iter().map(|(member_id, partitions)| {
            let assignment = protocol::write_assignment(&partitions).map_err(|error| refuse(error.to_string()))?;
            Ok(SyncGroupRequestAssignment { member_id, assignment, ..Default::default() })
        });
        written.collect()
    }

    fn count(&self, topics: &BTreeSet<String>) -> BTreeMap<String, usize> {
        let metadata = self.shared.cluster.metadata();
        let counted = topics.iter().filter_map(|name| Some((name.clone(), metadata.topic(name)?.partitions.len())));
        counted.collect()
    }

    /// Takes what the leader gave. `Ok(Some)` when a cooperative member has given partitions up and must tell so.
    async fn take_assignment(&mut self, synced: SyncGroupResponse, generation: i32) -> Result<Option<Next>, ClientError> {
        let partitions = protocol::read_assignment(synced.assignment).map_err(|error| {
            let message = format!("the assignment cannot be read: {error}");
            ClientError::Api(ApiError::new(ErrorCode::InconsistentGroupProtocol, Some(message)))
        })?;
        self.last_assigned = Some((partitions.clone(), generation));
        let assigned: BTreeSet<TopicPartition> = partitions.into_iter().collect();
        let owned: BTreeSet<TopicPartition> = self.shared.state().assigned().keys().cloned().collect();
        let taken: BTreeSet<TopicPartition> = owned.difference(&assigned).cloned().collect();
        if !taken.is_empty() {
            let mut positions = match self.permission(taken.clone()).await {
                Ok(positions) => positions,
                Err(next) => return Ok(Some(next)),
            };
            positions.retain(|partition, _| taken.contains(partition));
            self.commit(&positions).await;
        }
        {
            let mut state = self.shared.state();
            if !state.subscription.is_by_group() {
                return Ok(Some(Next::Wait));
            }
            state.assign(assigned.iter().cloned());
        }
        self.shared.wake.notify_one();
        self.shared.ready.notify_waiters();
        let rejoin = !taken.is_empty();
        self.shared.tell(RebalanceEvent::Revoked(taken.into_iter().collect()));
        self.shared.tell(RebalanceEvent::Assigned(assigned.difference(&owned).cloned().collect()));
        self.reason = "need to revoke partitions and re-join";
        Ok(rejoin.then_some(Next::Join))
    }

    /// Stays a member until there is a reason to join again.
    async fn stay(&mut self) -> Next {
        loop {
            let Some(topics) = self.shared.subscribed_topics() else {
                self.leave("the consumer unsubscribed from all topics").await;
                self.lose();
                self.shared.state().member.id.clear();
                return Next::Wait;
            };
            if topics != self.joined {
                self.reason = "the subscription has changed";
                return Next::Join;
            }
            if self.counted.as_ref().is_some_and(|counted| *counted != self.count(&topics)) {
                self.reason = "the topics' partitions have changed";
                return Next::Join;
            }
            if self.shared.is_idle() {
                return self.leave_as_idle().await;
            }
            tokio::select! {
                () = self.shared.group_wake.notified() => {}
                () = sleep_until(self.last_beat + self.shared.settings.heartbeat_interval) => match self.beat().await {
                    Beat::Fine => {}
                    Beat::Rebalancing => {
                        self.reason = "group is already rebalancing";
                        return Next::Join;
                    }
                    Beat::Lost => return Next::Join,
                    Beat::Fenced => return Next::End,
                },
            }
        }
    }

    /// One heartbeat; what it cannot tell now, the next will.
    async fn beat(&mut self) -> Beat {
        let member = self.member();
        self.last_beat = Instant::now();
        if member.generation < 0 {
            return Beat::Lost;
        }
        let request = HeartbeatRequest {
            group_id: self.id.clone(),
            generation_id: member.generation,
            member_id: member.id,
            group_instance_id: self.shared.settings.group_instance_id.clone(),
            ..Default::default()
        };
        let sent = async { Ok::<_, ClientError>(self.connection(Use::Coordinator).await?.send(&request).await?) };
        let error = match sent.await {
            Ok(response) => match ErrorCode::from_code(response.error_code) {
                ErrorCode::None => return Beat::Fine,
                ErrorCode::RebalanceInProgress => return Beat::Rebalancing,
                ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration => {
                    self.forget_member();
                    return Beat::Lost;
                }
                ErrorCode::FencedInstanceId => {
                    self.lose();
                    self.shared.fail(ClientError::from(ErrorCode::FencedInstanceId).into());
                    return Beat::Fenced;
                }
                code => ClientError::from(code),
            },
            Err(error) => error,
        };
        tracing::debug!(%error, "a heartbeat failed");
        self.recover(&error).await;
        if !error.recovery().is_retriable() {
            self.shared.fail(error.into());
            return Beat::Fine;
        }
        // Sooner than the interval, since a new coordinator counts the session from when it hears of the member.
        let pause = self.shared.cluster.backoff().pause(0);
        self.last_beat = (Instant::now() + pause).checked_sub(self.shared.settings.heartbeat_interval).unwrap_or(self.last_beat);
        Beat::Fine
    }

    /// Leaves, unless this is a static member, whose place is kept for its return.
    async fn leave(&self, reason: &str) {
        let member = self.member();
        if member.id.is_empty() || self.shared.settings.group_instance_id.is_some() {
            return;
        }
        let sent = async {
            let connection = self.connection(Use::General).await?;
            let version = connection.version_of::<LeaveGroupRequest>()?;
            let mut request = LeaveGroupRequest { group_id: self.id.clone(), ..Default::default() };
            if version >= LEAVE_BY_MEMBER {
                let reason = Some(reason.to_owned());
                request.members = vec![MemberIdentity { member_id: member.id.clone(), reason, ..Default::default() }];
            } else {
                request.member_id = member.id.clone();
            }
            Ok::<_, ClientError>(connection.send_at(&request, version).await?)
        };
        match timeout(JOIN_GRACE, sent).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "leaving the group failed"),
            Err(_) => tracing::debug!("leaving the group took too long"),
        }
    }
}
