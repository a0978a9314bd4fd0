//! The task that keeps this consumer a member of its group: KIP-848's protocol, in which the coordinator says who reads what.
//!
//! Heartbeats carry everything: what is subscribed to, what is being read, and in their answers what is to be read. [`member`] knows what
//! to say and what an answer means; here is when it is said, and how an assignment is taken over.
//!
//! Invariants: partitions are taken away in good order only with the [`Permission`] of a poll, after their positions are committed if
//! commits are automatic, and before the coordinator hears of it; they are lost, without any of that, when it no longer knows the member.
//! Heartbeats go on all the while.
//! Source: `ConsumerMembershipManager`, `AbstractHeartbeatRequestManager`; KIP-848, KIP-345.

mod member;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use self::member::{Assignment, Heard, Member, Partitions, Profile, Wanted};
use super::state::{self, Permission, Subscription};
use super::{OffsetAndMetadata, RebalanceEvent, Shared, offsets};
use crate::client::cluster::{AutoCreate, CoordinatorKind, Topics};
use crate::client::error::ClientError;
use crate::client::pool::Use;
use crate::client::retry::Recovery;
use crate::common::random::Random;
use crate::common::topic_partition::TopicPartition;
use crate::common::uuid::Uuid;
use crate::protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

/// How long a farewell may take.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

/// Why a member goes on to something else.
enum Next {
    Join,
    /// Somebody has to poll, or subscribe, first.
    Wait,
    /// It cannot be a member.
    End,
}

/// An assignment that is being taken over.
struct Reconciliation {
    target: Assignment,
    resolved: Partitions,
    assigned: BTreeSet<TopicPartition>,
    taken: BTreeSet<TopicPartition>,
    stage: Stage,
}

#[derive(PartialEq, Eq)]
enum Stage {
    /// For a poll.
    Waiting,
    Committing,
    Done,
}

struct Membership {
    shared: Arc<Shared>,
    group: String,
    member: Member,
    /// A heartbeat has been sent since the last farewell.
    known: bool,
    beats: JoinSet<Result<ConsumerGroupHeartbeatResponse, ClientError>>,
    commits: JoinSet<()>,
    lookups: JoinSet<()>,
    /// The names of topics that are assigned, in case the metadata forgets them.
    names: BTreeMap<Uuid, String>,
    next_beat: Instant,
    next_lookup: Instant,
    failures: u32,
    reconciliation: Option<Reconciliation>,
}

/// Works until the consumer is closed, then leaves the group.
pub(super) async fn run(shared: Arc<Shared>) {
    let settings = &shared.settings;
    let profile = Profile {
        group_id: settings.group_id.clone().unwrap_or_default(),
        instance_id: settings.group_instance_id.clone(),
        rack_id: Some(settings.client_rack.clone()).filter(|rack| !rack.is_empty()),
        rebalance_timeout_ms: i32::try_from(settings.max_poll_interval.as_millis()).unwrap_or(i32::MAX),
        server_assignor: settings.group_remote_assignor.clone(),
    };
    let now = Instant::now();
    let mut membership = Membership {
        group: profile.group_id.clone(),
        member: Member::new(profile, Uuid::random(&mut Random::from_entropy()).to_string()),
        known: false,
        beats: JoinSet::new(),
        commits: JoinSet::new(),
        lookups: JoinSet::new(),
        names: BTreeMap::new(),
        next_beat: now,
        next_lookup: now,
        failures: 0,
        reconciliation: None,
        shared: Arc::clone(&shared),
    };
    tokio::select! {
        biased;
        () = shared.closed() => {}
        () = membership.work() => {}
    }
    membership.leave().await;
}

impl Membership {
    async fn work(&mut self) {
        let mut seen_poll = None;
        loop {
            self.wait_for_poll(seen_poll).await;
            loop {
                self.member.join();
                self.publish();
                self.next_beat = Instant::now();
                match self.stay().await {
                    Next::Join => {}
                    Next::Wait => break,
                    Next::End => return,
                }
            }
            seen_poll = self.shared.state().last_poll;
        }
    }

    /// For a poll that began after the last one that was seen, or one under way, of a consumer that subscribes to something.
    async fn wait_for_poll(&self, seen: Option<Instant>) {
        loop {
            {
                let state = self.shared.state();
                if state.subscription.is_by_group() && (state.polls > 0 || state.last_poll > seen) {
                    return;
                }
            }
            self.shared.group_wake.notified().await;
        }
    }

    /// Lets commits and callers see the member as it is.
    fn publish(&self) {
        let member = state::Member { id: self.member.id().to_owned(), generation: self.member.epoch().unwrap_or(-1) };
        self.shared.state().member = member;
    }

    fn wanted(&self) -> Option<Wanted> {
        if let Subscription::ServerPattern(pattern) = &self.shared.state().subscription {
            return Some(Wanted { topics: BTreeSet::new(), regex: Some(pattern.clone()) });
        }
        Some(Wanted { topics: self.shared.subscribed_topics()?, regex: None })
    }

    /// Gives up all partitions without ceremony, because the group has.
    fn lose(&mut self) {
        self.beats.abort_all();
        self.beats = JoinSet::new();
        self.commits = JoinSet::new();
        self.reconciliation = None;
        self.names.clear();
        self.member.join();
        let lost = self.shared.lose_partitions();
        self.publish();
        self.shared.tell(RebalanceEvent::Lost(lost));
    }

    /// Says goodbye, once, if the coordinator may know of the member.
    async fn leave(&mut self) {
        if !std::mem::take(&mut self.known) {
            return;
        }
        let request = self.member.farewell();
        let sent = send(&self.shared, &self.group, &request);
        match timeout(LEAVE_WITHIN, sent).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "leaving the group failed"),
            Err(_) => tracing::debug!("leaving the group took too long"),
        }
    }

    /// Joins, and stays a member until there is a reason to be none.
    async fn stay(&mut self) -> Next {
        loop {
            let Some(wanted) = self.wanted() else {
                self.leave().await;
                self.lose();
                return Next::Wait;
            };
            if self.shared.is_idle() {
                tracing::warn!(
                    "the time between polls was longer than max.poll.interval.ms, which often means that too much time is spent on the \
                     records: leaving the group until the next poll"
                );
                self.leave().await;
                self.lose();
                return Next::Wait;
            }
            self.reconcile();
            // Differs: Kafka's consumer tells of a changed subscription when the interval is over, not at once.
            let news = self.member.epoch().is_some() && self.member.has_news(&wanted);
            let now = Instant::now();
            if self.beats.is_empty() && (self.next_beat <= now || (self.failures == 0 && (self.member.is_urgent() || news))) {
                self.beat(&wanted);
            }
            let next_beat = if self.beats.is_empty() { self.next_beat } else { now + self.shared.cluster.request_timeout() };
            let next = if self.needs_lookup() { next_beat.min(self.next_lookup.max(now)) } else { next_beat };
            tokio::select! {
                biased;
                Some(answer) = self.beats.join_next() => {
                    let Ok(answer) = answer else { continue };
                    if let Some(next) = self.heard(answer).await {
                        return next;
                    }
                }
                Some(_) = self.commits.join_next() => {
                    if let Some(reconciliation) = &mut self.reconciliation {
                        reconciliation.stage = Stage::Done;
                    }
                }
                Some(_) = self.lookups.join_next() => {}
                () = self.shared.group_wake.notified() => {}
                () = sleep_until(next) => {}
            }
        }
    }

    fn beat(&mut self, wanted: &Wanted) {
        let request = self.member.heartbeat(wanted);
        self.known = true;
        let (shared, group) = (Arc::clone(&self.shared), self.group.clone());
        self.beats.spawn(async move { send(&shared, &group, &request).await });
    }

    async fn heard(&mut self, answer: Result<ConsumerGroupHeartbeatResponse, ClientError>) -> Option<Next> {
        let heard = match answer {
            Ok(response) => self.member.answered(response),
            Err(error) => {
                let error = self.member.unsupported(error);
                self.member.unanswered();
                match error.recovery() {
                    Recovery::Fatal => Heard::Fatal(error),
                    Recovery::Retry => Heard::Retry,
                    Recovery::RefreshMetadata | Recovery::FindCoordinator => {
                        tracing::debug!(%error, "a heartbeat failed");
                        Heard::FindCoordinator
                    }
                }
            }
        };
        match heard {
            Heard::Fine(interval) => {
                self.failures = 0;
                self.next_beat = Instant::now() + interval;
                self.publish();
                return None;
            }
            Heard::Fenced => {
                tracing::info!("the group no longer knows this member: it joins again");
                self.failures = 0;
                self.lose();
                return Some(Next::Join);
            }
            Heard::Fatal(error) => {
                tracing::error!(%error, "this consumer cannot be a member of the group");
                self.known = false;
                self.lose();
                self.shared.fail(error.into());
                return Some(Next::End);
            }
            Heard::FindCoordinator => self.shared.cluster.forget_coordinator(CoordinatorKind::Group, &self.group),
            Heard::Trouble(error) => self.shared.fail(error.into()),
            Heard::Retry => {}
        }
        self.next_beat = Instant::now() + self.shared.cluster.backoff().pause(self.failures);
        self.failures = self.failures.saturating_add(1);
        None
    }

    /// The topics of an assignment that are known by name, and whether they are all.
    fn resolve(&mut self, target: &Assignment) -> (Partitions, BTreeSet<TopicPartition>, bool) {
        let metadata = self.shared.cluster.metadata();
        let (mut resolved, mut named, mut complete) = (Partitions::new(), BTreeSet::new(), true);
        for (id, partitions) in &target.partitions {
            if let Some(topic) = metadata.topic_by_id(*id) {
                self.names.insert(*id, topic.name.clone());
            }
            match self.names.get(id) {
                Some(name) => {
                    named.extend(partitions.iter().map(|partition| TopicPartition::new(name.clone(), *partition)));
                    resolved.insert(*id, partitions.clone());
                }
                None => complete = false,
            }
        }
        (resolved, named, complete)
    }

    fn needs_lookup(&self) -> bool {
        let unknown = |target: &Assignment| target.partitions.keys().any(|id| !self.names.contains_key(id));
        self.reconciliation.is_none() && self.lookups.is_empty() && self.member.to_reconcile().is_some_and(unknown)
    }

    fn look_up(&mut self, target: &Assignment) {
        let now = Instant::now();
        if !self.lookups.is_empty() || self.next_lookup > now {
            return;
        }
        self.next_lookup = now + self.shared.cluster.backoff().pause(0);
        let ids: Vec<Uuid> = target.partitions.keys().filter(|id| !self.names.contains_key(id)).copied().collect();
        let cluster = self.shared.cluster.clone();
        self.lookups.spawn(async move {
            if let Err(error) = cluster.refresh(Topics::Ids(&ids), AutoCreate::Never).await {
                tracing::debug!(%error, "the names of assigned topics cannot be had");
            }
        });
    }

    /// Goes one step on with taking over what the coordinator assigned.
    fn reconcile(&mut self) {
        let Some(target) = self.member.to_reconcile().cloned() else { return };
        // What waits for a poll may as well begin anew with a newer assignment.
        if self.reconciliation.as_ref().is_some_and(|it| it.stage == Stage::Waiting && it.target != target) {
            self.shared.state().permission = Permission::NotNeeded;
            self.reconciliation = None;
        }
        if self.reconciliation.is_none() {
            let (resolved, assigned, complete) = self.resolve(&target);
            if !complete {
                self.look_up(&target);
            }
            if let Some(current) = self.member.current().filter(|current| current.partitions == resolved) {
                // Once: the names that are missing may take their time.
                if !current.is_part_of(&target) {
                    self.member.reconciled(&target, resolved);
                }
                return;
            }
            let owned: BTreeSet<TopicPartition> = self.shared.state().assigned().keys().cloned().collect();
            let taken: BTreeSet<TopicPartition> = owned.difference(&assigned).cloned().collect();
            let stage = if taken.is_empty() && self.shared.settings.auto_commit_interval.is_none() {
                Stage::Done
            } else {
                let mut state = self.shared.state();
                state.permission = Permission::Requested(taken.clone());
                state.grant();
                Stage::Waiting
            };
            self.reconciliation = Some(Reconciliation { target, resolved, assigned, taken, stage });
        }
        let granted = {
            let mut state = self.shared.state();
            match std::mem::take(&mut state.permission) {
                Permission::Granted(positions) => Some(positions),
                other => {
                    state.permission = other;
                    None
                }
            }
        };
        let Some(reconciliation) = &mut self.reconciliation else { return };
        if let Some(positions) = granted.filter(|_| reconciliation.stage == Stage::Waiting) {
            reconciliation.stage = Stage::Done;
            if self.shared.settings.auto_commit_interval.is_some() && !positions.is_empty() {
                reconciliation.stage = Stage::Committing;
                self.commit(positions);
            }
        }
        if let Some(reconciliation) = self.reconciliation.take_if(|it| it.stage == Stage::Done) {
            self.take_over(reconciliation);
        }
    }

    fn commit(&mut self, positions: BTreeMap<TopicPartition, OffsetAndMetadata>) {
        let shared = Arc::clone(&self.shared);
        self.commits.spawn(async move {
            // No longer than the coordinator waits for the member.
            let limit = shared.settings.max_poll_interval;
            if let Err(error) = offsets::commit(&shared, &positions, limit).await {
                tracing::warn!(%error, "the commit before a rebalance failed");
            }
        });
    }

    fn take_over(&mut self, reconciliation: Reconciliation) {
        let Reconciliation { target, resolved, assigned, taken, .. } = reconciliation;
        let added: Vec<TopicPartition> = {
            let mut state = self.shared.state();
            if !state.subscription.is_by_group() {
                return;
            }
            let added = assigned.iter().filter(|partition| !state.assigned().contains_key(partition)).cloned().collect();
            state.assign(assigned);
            state.next_auto_commit = None;
            added
        };
        self.names.retain(|id, _| resolved.contains_key(id));
        self.member.reconciled(&target, resolved);
        self.shared.wake.notify_one();
        self.shared.ready.notify_waiters();
        self.shared.tell(RebalanceEvent::Revoked(taken.into_iter().collect()));
        self.shared.tell(RebalanceEvent::Assigned(added));
    }
}

async fn send(
    shared: &Shared,
    group: &str,
    request: &ConsumerGroupHeartbeatRequest,
) -> Result<ConsumerGroupHeartbeatResponse, ClientError> {
    let coordinator = shared.cluster.coordinator(CoordinatorKind::Group, group).await?;
    let connection = shared.cluster.connection(coordinator, Use::Coordinator).await?;
    Ok(connection.send(request).await?)
}
