//! StreamsGroupHeartbeat: a member joins, tells its topology, is given tasks and gives them back, and leaves. Source:
//! `GroupMetadataManager.streamsGroupHeartbeat`, `GroupCoordinatorService`, `TargetAssignmentBuilder`.
//!
//! Differs: a member that lists other tasks than it was given is told its tasks again. Kafka tells them once; when that answer is lost, the
//! member never works on them.

use std::collections::BTreeMap;

use super::assignor::{self, AssignmentMember};
use super::endpoints;
use super::group::MetadataDeadline;
use super::internal_topics::{self, ConfiguredTopology, StatusCode};
use super::member::{MemberState, StreamsGroupMember, UserEndpoint};
use super::reconcile;
use super::records;
use super::tasks::{Tasks, answered};
use super::topology::{StreamsTopology, topology_value};
use super::{StreamsError, StreamsGroup};
use crate::coordinator::group::modern::{LEAVE_GROUP_MEMBER_EPOCH, LEAVE_GROUP_STATIC_MEMBER_EPOCH, METADATA_REFRESH_INTERVAL_MS};
use crate::coordinator::group::records::{GroupRecord, group_tombstones};
use crate::coordinator::group::{ClientContext, Effects, Group, GroupShard, TimerAction, TimerKey};
use crate::coordinator::timers::Now;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::create_topics_request::CreatableTopic;
use crate::protocol::messages::streams_group_heartbeat_request::{TaskIds, Topology};
use crate::protocol::messages::streams_group_heartbeat_response::Status;
use crate::protocol::messages::{StreamsGroupHeartbeatRequest, StreamsGroupHeartbeatResponse};

/// What comes of a heartbeat.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StreamsHeartbeatAnswer {
    pub response: StreamsGroupHeartbeatResponse,
    /// Internal topics that the group lacks.
    pub topics_to_create: Vec<CreatableTopic>,
}

impl From<StreamsError> for StreamsHeartbeatAnswer {
    fn from(error: StreamsError) -> StreamsHeartbeatAnswer {
        let response = StreamsGroupHeartbeatResponse { error_code: error.code.code(), error_message: error.message, ..Default::default() };
        StreamsHeartbeatAnswer { response, topics_to_create: Vec::new() }
    }
}

impl From<ErrorCode> for StreamsHeartbeatAnswer {
    fn from(code: ErrorCode) -> StreamsHeartbeatAnswer {
        StreamsError { code, message: Some(code.message().to_owned()) }.into()
    }
}

/// What is wrong with a request whatever the state of its group.
pub fn validate_streams_group_heartbeat(request: &StreamsGroupHeartbeatRequest) -> Result<(), StreamsError> {
    let invalid = |message: &str| Err(StreamsError::new(ErrorCode::InvalidRequest, message));
    let is_blank = |text: &str| text.trim().is_empty();
    let is_not_empty = |tasks: &Option<Vec<TaskIds>>| tasks.as_ref().is_none_or(|tasks| !tasks.is_empty());

    if request.instance_id.is_some() {
        return invalid("Static membership is not yet supported.");
    }
    if request.task_offsets.is_some() {
        return invalid("TaskOffsets are not supported yet.");
    }
    if request.task_end_offsets.is_some() {
        return invalid("TaskEndOffsets are not supported yet.");
    }
    if request.warmup_tasks.as_ref().is_some_and(|tasks| !tasks.is_empty()) {
        return invalid("WarmupTasks are not supported yet.");
    }
    let subtopologies = request.topology.iter().flat_map(|topology| &topology.subtopologies);
    if subtopologies.clone().any(|subtopology| !subtopology.source_topic_regex.is_empty()) {
        return invalid("Regular expressions for source topics are not supported yet.");
    }
    if is_blank(&request.member_id) {
        return invalid("MemberId can't be empty.");
    }
    if is_blank(&request.group_id) {
        return invalid("GroupId can't be empty.");
    }
    if request.rack_id.as_deref().is_some_and(is_blank) {
        return invalid("RackId can't be empty.");
    }
    match request.member_epoch {
        0 if request.rebalance_timeout_ms == -1 => return invalid("RebalanceTimeoutMs must be provided in first request."),
        0 if is_not_empty(&request.active_tasks) => return invalid("ActiveTasks must be empty when (re-)joining."),
        0 if is_not_empty(&request.standby_tasks) => return invalid("StandbyTasks must be empty when (re-)joining."),
        0 if is_not_empty(&request.warmup_tasks) => return invalid("WarmupTasks must be empty when (re-)joining."),
        0 if request.topology.is_none() => return invalid("Topology must be non-null when (re-)joining."),
        0 => {
            let mut changelogs = subtopologies.flat_map(|subtopology| &subtopology.state_changelog_topics);
            if let Some(topic) = changelogs.find(|topic| topic.partitions != 0) {
                return Err(StreamsError::invalid_topology(&format!(
                    "Changelog topic {} must have an undefined partition count, but it is set to {}.",
                    topic.name, topic.partitions
                )));
            }
        }
        LEAVE_GROUP_STATIC_MEMBER_EPOCH => return invalid("InstanceId can't be null."),
        epoch if epoch < LEAVE_GROUP_STATIC_MEMBER_EPOCH => {
            return invalid(&format!("MemberEpoch is {epoch}, but must be greater than or equal to -2."));
        }
        _ => {}
    }
    let given = [&request.active_tasks, &request.standby_tasks, &request.warmup_tasks].into_iter().filter(|tasks| tasks.is_some()).count();
    if given != 0 && given != 3 {
        return invalid("If one task-type is non-null, all must be non-null.");
    }
    if request.member_epoch != 0 && request.topology.is_some() {
        return invalid("Topology can only be provided when (re-)joining.");
    }
    Ok(())
}

/// The group of a heartbeat, out of the shard while it is worked on.
struct Held {
    group: Box<StreamsGroup>,
    /// Whether it goes back; a new group comes into being by its records.
    is_persisted: bool,
}

/// The epoch of a target assignment, and what it gives the member in question.
struct Target {
    epoch: i32,
    tasks: Tasks,
}

impl GroupShard {
    /// Handles a StreamsGroupHeartbeat that passed [`validate_streams_group_heartbeat`].
    pub fn streams_group_heartbeat(
        &mut self,
        now: Now,
        client: &ClientContext,
        request: StreamsGroupHeartbeatRequest,
    ) -> (StreamsHeartbeatAnswer, Effects) {
        let answer = match request.member_epoch {
            LEAVE_GROUP_MEMBER_EPOCH | LEAVE_GROUP_STATIC_MEMBER_EPOCH => self.streams_group_leave(&request),
            _ => self.streams_group_member_heartbeat(now, client, request),
        };
        match answer {
            Ok((answer, records)) => (answer, effects(records)),
            Err(error) => (error.into(), Effects::default()),
        }
    }

    fn streams_group_member_heartbeat(
        &mut self,
        now: Now,
        client: &ClientContext,
        request: StreamsGroupHeartbeatRequest,
    ) -> Result<(StreamsHeartbeatAnswer, Vec<GroupRecord>), StreamsError> {
        let mut records = Vec::new();
        let mut held = self.hold_streams_group(&request.group_id, (request.member_epoch == 0).then_some(&mut records))?;
        let answer = self.heartbeat_in_streams_group(now, client, request, &mut held, &mut records);
        self.release_streams_group(held);
        Ok((answer?, records))
    }

    /// With `create`, a group that does not exist is made, and what an empty classic group of that name leaves is removed by those records.
    fn hold_streams_group(&mut self, group_id: &str, create: Option<&mut Vec<GroupRecord>>) -> Result<Held, StreamsError> {
        let new = || Held { group: Box::new(StreamsGroup::new(group_id)), is_persisted: false };
        let not_found = |message: String| Err(StreamsError::new(ErrorCode::GroupIdNotFound, &message));
        match (self.groups.get(group_id), create) {
            (None, Some(_)) => Ok(new()),
            (None, None) => not_found(format!("Streams group {group_id} not found.")),
            (Some(empty @ Group::Classic(_)), Some(records)) if empty.is_empty() => {
                tracing::info!(group = group_id, "an empty classic group makes room for a streams group");
                group_tombstones(empty, records);
                Ok(new())
            }
            (Some(Group::Streams(_)), _) => match self.groups.remove(group_id) {
                Some(Group::Streams(group)) => Ok(Held { group, is_persisted: true }),
                _ => not_found(format!("Streams group {group_id} not found.")),
            },
            (Some(_), _) => not_found(format!("Group {group_id} is not a streams group.")),
        }
    }

    fn release_streams_group(&mut self, held: Held) {
        if held.is_persisted {
            self.groups.insert(held.group.group_id.clone(), Group::Streams(held.group));
        }
    }

    fn heartbeat_in_streams_group(
        &mut self,
        now: Now,
        client: &ClientContext,
        request: StreamsGroupHeartbeatRequest,
        held: &mut Held,
        records: &mut Vec<GroupRecord>,
    ) -> Result<StreamsHeartbeatAnswer, StreamsError> {
        let group = held.group.as_mut();
        let group_id = request.group_id.as_str();
        let is_joining = request.member_epoch == 0;
        if is_joining && group.members().len() >= self.config.streams_max_size {
            let max_size = self.config.streams_max_size;
            let message = format!("The streams group has reached its maximum capacity of {max_size} members.");
            return Err(StreamsError::new(ErrorCode::GroupMaxSizeReached, &message));
        }
        let owned = Tasks::from_request(&request);
        let member = if is_joining { group.member_or_new(&request.member_id) } else { group.member(&request.member_id)?.clone() };
        check_epoch(&member, request.member_epoch, owned.as_ref())?;

        // The member.
        let mut updated = updated_member(&member, client, &request);
        let mut bump = updated != member;
        if bump {
            records.push(records::member_metadata(group_id, &updated));
        }

        // The topology.
        let mut status = Vec::new();
        let topology = topology_after(group, request.topology.as_ref(), records)?;
        if let Some(known) = group.topology().filter(|known| updated.topology_epoch < known.epoch) {
            status.push(StatusCode::StaleTopology.with(format!(
                "The member's topology epoch {} is behind the group's topology epoch {}.",
                updated.topology_epoch, known.epoch
            )));
        }

        // Its topics.
        let mut metadata_hash = group.metadata_hash;
        let mut configure = group.topology().is_none();
        if configure || group.configured.is_none() || group.has_metadata_expired(now.wall_ms) {
            metadata_hash = self.topics.group_hash(topology.required_topics());
            let topics_changed = metadata_hash != group.metadata_hash;
            bump |= topics_changed;
            configure |= topics_changed;
        }
        let configured = match &group.configured {
            Some(configured) if !configure => configured.clone(),
            _ => {
                let configured = internal_topics::configure(&topology, &|topic| self.partition_count(topic))?;
                match &configured.problem {
                    None => tracing::info!(group = group_id, epoch = topology.epoch, "the topology fits the topics"),
                    Some(problem) => tracing::info!(group = group_id, epoch = topology.epoch, problem = problem.status_detail),
                }
                group.configured = Some(configured.clone());
                configured
            }
        };
        let validated_topology_epoch = if configured.ready().is_some() { topology.epoch } else { -1 };
        check_tasks(&configured, &request)?;
        bump |= validated_topology_epoch != group.validated_topology_epoch;

        // The group's epoch.
        let assignment_configs = self.streams_assignment_configs(group_id);
        bump |= assignment_configs != group.last_assignment_configs;
        let mut group_epoch = group.group_epoch;
        if bump {
            group_epoch += 1;
            records.push(records::group_metadata(group_id, group_epoch, metadata_hash, validated_topology_epoch, &assignment_configs));
            tracing::info!(group = group_id, epoch = group_epoch, metadata_hash, validated_topology_epoch, "streams group epoch raised");
            group.metadata_deadline = MetadataDeadline { at_ms: now.wall_ms.saturating_add(METADATA_REFRESH_INTERVAL_MS), group_epoch };
        }
        let initial_delay = TimerKey::InitialRebalance { group_id: group_id.to_owned() };
        let delay_ms = self.streams_initial_rebalance_delay_ms(group_id);
        if group.is_empty() && delay_ms > 0 && !self.timers.is_set(&initial_delay) {
            self.timers.schedule(now, initial_delay, i64::from(delay_ms), TimerAction::InitialRebalance);
        }

        // The assignment: the group's, then the member's.
        let target =
            self.streams_target(now, group, group_epoch, Some(&updated), &configured, &assignment_configs, records, &mut status)?;
        updated = self.reconcile_streams_member(now, group, updated, &target, owned.as_ref(), records)?;
        let session_timeout_ms = self.streams_session_timeout_ms(group_id);
        let session = TimerKey::Session { group_id: group_id.to_owned(), member_id: updated.member_id.clone() };
        self.timers.schedule(now, session, i64::from(session_timeout_ms), TimerAction::Fence);
        if request.shutdown_application {
            group.request_shutdown(&request.member_id);
        }

        // The answer.
        let mut response = StreamsGroupHeartbeatResponse {
            member_id: updated.member_id.clone(),
            member_epoch: updated.member_epoch,
            heartbeat_interval_ms: self.streams_heartbeat_interval_ms(group_id),
            ..Default::default()
        };
        let is_news = is_joining || member.assigned != updated.assigned;
        // The answer that told it may have been lost.
        let is_other = owned.is_some_and(|owned| owned != updated.assigned.without_epochs());
        if is_news || is_other {
            response.active_tasks = Some(answered(&updated.assigned.active_sets()));
            response.standby_tasks = Some(answered(&updated.assigned.standby));
            response.warmup_tasks = Some(answered(&updated.assigned.warmup));
        }
        if is_news && updated.user_endpoint.is_some() {
            group.endpoint_information_epoch = group.endpoint_information_epoch.wrapping_add(1);
        }
        if group.endpoint_information_epoch != request.endpoint_information_epoch {
            let by_endpoint = endpoints::partitions_by_endpoint(group, &updated, &|topic| self.partition_count(topic));
            response.partitions_by_user_endpoint = Some(by_endpoint);
        }
        if held.is_persisted {
            response.endpoint_information_epoch = held.group.endpoint_information_epoch;
        }
        status.extend(configured.problem.clone());
        if let Some(requester) = &held.group.shutdown_requested_by {
            status.push(StatusCode::ShutdownApplication.with(format!(
                "Streams group member {requester} encountered a fatal error and requested a shutdown for the entire application."
            )));
        }
        response.status = Some(status);
        Ok(StreamsHeartbeatAnswer { response, topics_to_create: configured.topics_to_create })
    }

    /// The settings that an assignment depends on.
    fn streams_assignment_configs(&self, group_id: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(NUM_STANDBY_REPLICAS.to_owned(), self.streams_num_standby_replicas(group_id).to_string())])
    }

    fn partition_count(&self, topic: &str) -> Option<i32> {
        self.topics.topic(topic).map(|topic| i32::try_from(topic.partition_count()).unwrap_or(i32::MAX))
    }

    /// The target assignment that holds now, newly computed if the group has moved on and nothing delays it.
    #[allow(clippy::too_many_arguments, reason = "they are the group, its next epoch and what goes into the assignment")]
    fn streams_target(
        &self,
        now: Now,
        group: &StreamsGroup,
        group_epoch: i32,
        updated: Option<&StreamsGroupMember>,
        configured: &ConfiguredTopology,
        assignment_configs: &BTreeMap<String, String>,
        records: &mut Vec<GroupRecord>,
        status: &mut Vec<Status>,
    ) -> Result<Target, StreamsError> {
        let group_id = group.group_id.as_str();
        if self.timers.is_set(&TimerKey::InitialRebalance { group_id: group_id.to_owned() }) {
            let detail = "Assignment delayed due to the configured initial rebalance delay.".to_owned();
            status.push(StatusCode::AssignmentDelayed.with(detail));
            return Ok(Target { epoch: group.assignment_epoch, tasks: Tasks::default() });
        }
        let last =
            || Target { epoch: group.assignment_epoch, tasks: updated.map(|member| group.target(&member.member_id)).unwrap_or_default() };
        if group.assignment_epoch >= group_epoch {
            return Ok(last());
        }
        let interval_ms = i64::from(self.streams_assignment_interval_ms(group_id));
        if group.assignment_timestamp_ms != 0 && !now.is_past(group.assignment_timestamp_ms, interval_ms) {
            status.push(StatusCode::AssignmentDelayed.with("Assignment delayed due to the configured assignment interval.".to_owned()));
            return Ok(last());
        }
        let mut all = compute_target(group, updated, configured, assignment_configs)
            .ok_or_else(|| StreamsError::unknown("tasks without members to assign them to"))?;
        tracing::info!(group = group_id, epoch = group_epoch, members = all.len(), "new target assignment of a streams group");
        for (member_id, tasks) in &all {
            if group.target_assignment.get(member_id) != Some(tasks) {
                records.push(records::target_assignment(group_id, member_id, tasks));
            }
        }
        records.push(records::target_assignment_metadata(group_id, group_epoch, now.wall_ms));
        let tasks = updated.and_then(|member| all.remove(&member.member_id)).unwrap_or_default();
        Ok(Target { epoch: group_epoch, tasks })
    }

    /// The first rebalance of a group, once its members had time to come.
    pub(in crate::coordinator::group) fn initial_streams_rebalance(&mut self, now: Now, group_id: &str) -> Effects {
        let Some(Group::Streams(group)) = self.groups.get(group_id) else { return Effects::default() };
        let Some(configured) = &group.configured else { return Effects::default() };
        if group.is_empty() || group.group_epoch <= group.assignment_epoch {
            return Effects::default();
        }
        let mut records = Vec::new();
        let configs = &group.last_assignment_configs;
        match self.streams_target(now, group, group.group_epoch, None, configured, configs, &mut records, &mut Vec::new()) {
            Ok(_) => effects(records),
            Err(error) => {
                tracing::error!(group = group_id, %error, "the first assignment of a streams group failed");
                Effects::default()
            }
        }
    }

    /// Leads the member one step towards its target.
    fn reconcile_streams_member(
        &mut self,
        now: Now,
        group: &StreamsGroup,
        member: StreamsGroupMember,
        target: &Target,
        owned: Option<&Tasks>,
        records: &mut Vec<GroupRecord>,
    ) -> Result<StreamsGroupMember, StreamsError> {
        if member.is_reconciled_to(target.epoch) {
            return Ok(member);
        }
        let next = reconcile::reconcile(&member, target.epoch, &target.tasks, owned, group)?;
        if next != member {
            records.push(records::current_assignment(&group.group_id, &next));
            self.schedule_streams_rebalance_timeout(now, &group.group_id, &next);
        }
        Ok(next)
    }

    /// A member that has to give tasks back has its rebalance timeout to do so.
    fn schedule_streams_rebalance_timeout(&mut self, now: Now, group_id: &str, member: &StreamsGroupMember) {
        let key = TimerKey::Rebalance { group_id: group_id.to_owned(), member_id: member.member_id.clone() };
        if member.state == MemberState::UnrevokedTasks {
            let action = TimerAction::LeaveEpoch { member_epoch: member.member_epoch };
            self.timers.schedule(now, key, i64::from(member.rebalance_timeout_ms), action);
        } else {
            self.timers.cancel(&key);
        }
    }

    fn streams_group_leave(
        &mut self,
        request: &StreamsGroupHeartbeatRequest,
    ) -> Result<(StreamsHeartbeatAnswer, Vec<GroupRecord>), StreamsError> {
        let group = self.streams_group_mut(&request.group_id)?;
        if request.shutdown_application {
            group.request_shutdown(&request.member_id);
        }
        group.member(&request.member_id)?;
        tracing::info!(group = request.group_id, member = request.member_id, "member left the streams group");
        let response = StreamsGroupHeartbeatResponse {
            member_id: request.member_id.clone(),
            member_epoch: request.member_epoch,
            status: Some(Vec::new()),
            ..Default::default()
        };
        let records = self.remove_streams_member(&request.group_id, &request.member_id);
        Ok((StreamsHeartbeatAnswer { response, topics_to_create: Vec::new() }, records))
    }

    /// The streams group, or GROUP_ID_NOT_FOUND.
    pub(in crate::coordinator::group) fn streams_group(&self, group_id: &str) -> Result<&StreamsGroup, StreamsError> {
        match self.groups.get(group_id) {
            Some(Group::Streams(group)) => Ok(group),
            other => Err(not_a_streams_group(group_id, other.is_some())),
        }
    }

    fn streams_group_mut(&mut self, group_id: &str) -> Result<&mut StreamsGroup, StreamsError> {
        match self.groups.get_mut(group_id) {
            Some(Group::Streams(group)) => Ok(group),
            other => Err(not_a_streams_group(group_id, other.is_some())),
        }
    }

    /// Nothing when there is no such member.
    fn remove_streams_member(&mut self, group_id: &str, member_id: &str) -> Vec<GroupRecord> {
        let Ok(group) = self.streams_group(group_id) else { return Vec::new() };
        if group.member(member_id).is_err() {
            return Vec::new();
        }
        let mut records = Vec::from(records::remove_member(group_id, member_id));
        records.push(records::group_metadata(
            group_id,
            group.group_epoch + 1,
            group.metadata_hash,
            group.validated_topology_epoch,
            &group.last_assignment_configs,
        ));
        self.cancel_member_timers(group_id, member_id);
        records
    }

    /// A member's session has ended, or it has not done in time what it had to.
    pub(in crate::coordinator::group) fn fence_streams_member(&mut self, group_id: &str, member_id: &str, reason: &str) -> Effects {
        let records = self.remove_streams_member(group_id, member_id);
        if !records.is_empty() {
            tracing::info!(group = group_id, member = member_id, reason, "streams group member is fenced");
        }
        effects(records)
    }

    /// The member has not given its tasks back in time, if it is still in that epoch.
    pub(in crate::coordinator::group) fn end_streams_rebalance(&mut self, group_id: &str, member_id: &str, member_epoch: i32) -> Effects {
        let epoch = self.streams_group(group_id).ok().and_then(|group| group.members().get(member_id)).map(|member| member.member_epoch);
        match epoch {
            Some(epoch) if epoch == member_epoch => {
                self.fence_streams_member(group_id, member_id, "it has not given back its tasks in time")
            }
            _ => Effects::default(),
        }
    }

    /// Deadlines of the members that replay found.
    pub(in crate::coordinator::group) fn on_streams_group_loaded(&mut self, now: Now, group_id: &str) {
        let session_timeout_ms = i64::from(self.streams_session_timeout_ms(group_id));
        let Ok(group) = self.streams_group(group_id) else { return };
        for member in group.members().values().cloned().collect::<Vec<_>>() {
            let session = TimerKey::Session { group_id: group_id.to_owned(), member_id: member.member_id.clone() };
            self.timers.schedule(now, session, session_timeout_ms, TimerAction::Fence);
            if member.state == MemberState::UnrevokedTasks {
                self.schedule_streams_rebalance_timeout(now, group_id, &member);
            }
        }
    }
}

fn effects(records: Vec<GroupRecord>) -> Effects {
    Effects { records, replay: true, ..Effects::default() }
}

fn not_a_streams_group(group_id: &str, exists: bool) -> StreamsError {
    let message = if exists { format!("Group {group_id} is not a streams group.") } else { format!("Group {group_id} not found.") };
    StreamsError::new(ErrorCode::GroupIdNotFound, &message)
}

/// A member may be one epoch behind when the answer that told it of the next was lost, as long as it has nothing it was not given.
fn check_epoch(member: &StreamsGroupMember, epoch: i32, owned: Option<&Tasks>) -> Result<(), StreamsError> {
    let comparison = match epoch {
        0 => return Ok(()),
        _ if epoch == member.member_epoch => return Ok(()),
        _ if epoch > member.member_epoch => "greater",
        _ if epoch == member.previous_member_epoch && owned.is_some_and(|owned| member.assigned.contains_all(owned)) => return Ok(()),
        _ => "smaller",
    };
    Err(StreamsError::fenced(&format!(
        "The streams group member has a {comparison} member epoch ({epoch}) than the one known by the group coordinator ({}). The member \
         must abandon all its partitions and rejoin.",
        member.member_epoch
    )))
}

/// The member with what the request tells anew.
fn updated_member(member: &StreamsGroupMember, client: &ClientContext, request: &StreamsGroupHeartbeatRequest) -> StreamsGroupMember {
    let mut updated = member.clone();
    updated.rack_id = request.rack_id.clone().or(updated.rack_id);
    if request.rebalance_timeout_ms != -1 {
        updated.rebalance_timeout_ms = request.rebalance_timeout_ms;
    }
    if let Some(topology) = &request.topology {
        updated.topology_epoch = topology.epoch;
    }
    updated.client_id.clone_from(&client.client_id);
    updated.client_host.clone_from(&client.client_host);
    if let Some(process_id) = &request.process_id {
        updated.process_id.clone_from(process_id);
    }
    if let Some(tags) = &request.client_tags {
        updated.client_tags = tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect();
    }
    if let Some(endpoint) = &request.user_endpoint {
        updated.user_endpoint = Some(UserEndpoint { host: endpoint.host.clone(), port: endpoint.port });
    }
    updated
}

/// The group's topology, which the first member brings and nobody may change; an older one is let be.
fn topology_after(
    group: &StreamsGroup,
    brought: Option<&Topology>,
    records: &mut Vec<GroupRecord>,
) -> Result<StreamsTopology, StreamsError> {
    let brought =
        brought.map(|topology| Ok((topology_value(topology), StreamsTopology::from_record(topology_value(topology))?))).transpose()?;
    match (group.topology(), brought) {
        (None, None) => Err(StreamsError::unknown("neither the group nor the request has a topology")),
        (None, Some((value, topology))) => {
            tracing::info!(group = group.group_id, epoch = topology.epoch, "the topology of a streams group");
            records.push(records::topology(&group.group_id, value));
            Ok(topology)
        }
        (Some(known), Some((_, topology))) if known.epoch <= topology.epoch && *known != topology => {
            Err(StreamsError::new(ErrorCode::InvalidRequest, "Topology updates are not supported yet."))
        }
        (Some(known), _) => Ok(known.clone()),
    }
}

/// A member can only have tasks that there are.
fn check_tasks(configured: &ConfiguredTopology, request: &StreamsGroupHeartbeatRequest) -> Result<(), StreamsError> {
    let Some(subtopologies) = configured.ready() else { return Ok(()) };
    let invalid = |message: String| Err(StreamsError::new(ErrorCode::InvalidRequest, &message));
    for task in [&request.active_tasks, &request.standby_tasks, &request.warmup_tasks].into_iter().flatten().flatten() {
        let id = &task.subtopology_id;
        let Some(subtopology) = subtopologies.get(id) else { return invalid(format!("Subtopology {id} does not exist in the topology.")) };
        let tasks = subtopology.number_of_tasks;
        if let Some(partition) = task.partitions.iter().find(|partition| !(0..tasks).contains(*partition)) {
            return invalid(format!("Task {partition} for subtopology {id} is invalid. Number of tasks for this subtopology: {tasks}"));
        }
    }
    Ok(())
}

/// What each member shall have, `updated` included; nothing while the topology is not ready.
fn compute_target(
    group: &StreamsGroup,
    updated: Option<&StreamsGroupMember>,
    configured: &ConfiguredTopology,
    assignment_configs: &BTreeMap<String, String>,
) -> Option<BTreeMap<String, Tasks>> {
    let members = group.members().values().filter(|member| updated.is_none_or(|updated| updated.member_id != member.member_id));
    let members = members.chain(updated).map(|member| {
        let spec = AssignmentMember { process_id: member.process_id.clone(), previous: group.target(&member.member_id) };
        (member.member_id.clone(), spec)
    });
    let members: BTreeMap<String, AssignmentMember> = members.collect();
    let Some(subtopologies) = configured.ready() else { return Some(members.into_keys().map(|id| (id, Tasks::default())).collect()) };
    let standby_replicas = assignment_configs.get(NUM_STANDBY_REPLICAS).and_then(|count| count.parse().ok()).unwrap_or(0);
    let (assignment, unplaced) = assignor::assign(&members, subtopologies, standby_replicas)?;
    if unplaced > 0 {
        tracing::warn!(group = group.group_id, unplaced, "too few application instances for all standby replicas");
    }
    Some(assignment)
}

/// The name under which the number of standby replicas stands among the assignment's configs.
pub(super) const NUM_STANDBY_REPLICAS: &str = "num.standby.replicas";
