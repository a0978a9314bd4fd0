//! `--describe`: a group's offsets and lag, its members, its state.
//!
//! Source: `ConsumerGroupService.collectGroupsOffsets`, `collectGroupsMembers`, `collectGroupsState`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use super::failure;
use super::rows::{self, GroupMembers, GroupOffsets, Member, PartitionOffsets};
use crate::client::ClientError;
use crate::client::admin::{Admin, ConsumerGroupDescription, GroupState, IsolationLevel, MemberDescription, OffsetAndMetadata, OffsetSpec};
use crate::common::topic_partition::TopicPartition;
use crate::protocol::error_code::ErrorCode;
use crate::tools::args::Options;
use crate::tools::exit::{Exit, Failure};
use crate::tools::output::{Format, print_json};
use crate::tools::session::Session;
use crate::tools::suggest;

pub(super) async fn run(session: &mut Session, options: &Options, admin: &Admin) -> anyhow::Result<Exit> {
    let ids = super::group_ids(session, options, admin).await?;
    let verbose = options.has("verbose");
    let (groups, exit) = describe(session, admin, &ids).await?;
    if options.has("members") {
        let groups: Vec<GroupMembers> = groups.into_iter().map(members).collect();
        print_members(session, &groups, verbose)?;
    } else if options.has("state") {
        let groups: Vec<rows::GroupState> = groups.into_iter().map(state).collect();
        print_states(session, &groups, verbose)?;
    } else {
        let reading = offsets(session, admin, &groups);
        let groups = session.with_progress("Reading offsets", reading).await?;
        print_offsets(session, &groups, verbose)?;
    }
    Ok(exit)
}

/// Describes groups, sorted. Those that do not exist are reported beside the others, unless the one that was asked for is missing.
pub(super) async fn describe(
    session: &mut Session,
    admin: &Admin,
    ids: &[String],
) -> anyhow::Result<(Vec<ConsumerGroupDescription>, Exit)> {
    let results = session.with_progress("Describing groups", admin.describe_consumer_groups(ids)).await;
    let mut groups = Vec::new();
    let mut exit = Exit::SUCCESS;
    let single = results.len() == 1;
    for (id, result) in results {
        let error = match result {
            Ok(group) if group.state == GroupState::Dead && !session.compat() => ErrorCode::GroupIdNotFound.into(),
            Ok(group) => {
                groups.push(group);
                continue;
            }
            Err(error) => error,
        };
        if session.compat() {
            return Err(failure::awaited(error));
        }
        let failure = explain(admin, &id, error).await;
        if single {
            return Err(failure);
        }
        exit = session.report(&failure);
    }
    Ok((groups, exit))
}

/// An error about a group; for one that does not exist with the nearest that does.
pub(super) async fn explain(admin: &Admin, id: &str, error: ClientError) -> anyhow::Error {
    if !error.is(ErrorCode::GroupIdNotFound) {
        return anyhow::anyhow!("group '{id}': {error}");
    }
    let failure = Failure::new(format!("group '{id}' does not exist"));
    let listed = admin.list_groups(&super::consumer_groups()).await.unwrap_or_default();
    let near = suggest::closest(id, listed.groups.iter().map(|group| group.group_id.as_str()));
    match near {
        Some(near) => failure.advise(format!("did you mean '{near}'?")).into(),
        None => failure.into(),
    }
}

/// A group's committed offsets; partitions whose offset could not be read are left out.
pub(super) async fn committed(admin: &Admin, group: &str) -> anyhow::Result<BTreeMap<TopicPartition, Option<OffsetAndMetadata>>> {
    let results = admin.list_group_offsets(group, None, false).await.map_err(failure::thrown)?;
    Ok(results.into_iter().filter_map(|(partition, result)| Some((partition, result.ok()?))).collect())
}

/// Log end offsets. A partition without a leader has none; with `strict` a topic that does not exist is an error, as in Kafka's tool.
pub(super) async fn end_offsets(
    admin: &Admin,
    partitions: &BTreeSet<TopicPartition>,
    strict: bool,
) -> anyhow::Result<BTreeMap<TopicPartition, i64>> {
    let topics: BTreeSet<&str> = partitions.iter().map(|partition| partition.topic.as_str()).collect();
    let topics: Vec<String> = topics.into_iter().map(str::to_owned).collect();
    let mut specs = BTreeMap::new();
    for (topic, description) in admin.describe_topics(&topics).await {
        match description {
            Ok(description) => {
                for partition in description.partitions.iter().filter(|partition| partition.leader.is_some()) {
                    let partition = TopicPartition::new(topic.clone(), partition.partition);
                    if partitions.contains(&partition) {
                        specs.insert(partition, OffsetSpec::Latest);
                    }
                }
            }
            Err(error) if strict => return Err(failure::thrown(error)),
            Err(_) => {}
        }
    }
    let mut offsets = BTreeMap::new();
    for (partition, listed) in admin.list_offsets(&specs, IsolationLevel::ReadUncommitted).await {
        match listed {
            Ok(listed) => {
                offsets.insert(partition, listed.offset);
            }
            Err(error) if strict => return Err(failure::thrown(error)),
            Err(_) => {}
        }
    }
    Ok(offsets)
}

/// The offsets of groups: of each member's partitions, then of those that nobody has.
pub(super) async fn offsets(session: &Session, admin: &Admin, groups: &[ConsumerGroupDescription]) -> anyhow::Result<Vec<GroupOffsets>> {
    let mut all = Vec::new();
    let mut partitions = BTreeSet::new();
    for group in groups {
        let committed = committed(admin, &group.group_id).await?;
        partitions.extend(committed.keys().cloned());
        partitions.extend(group.members.iter().flat_map(|member| member.assignment.iter().cloned()));
        all.push((group, committed));
    }
    let end_offsets = end_offsets(admin, &partitions, session.compat()).await?;
    Ok(all.into_iter().map(|(group, committed)| group_offsets(group, &committed, &end_offsets, session.compat())).collect())
}

fn group_offsets(
    group: &ConsumerGroupDescription,
    committed: &BTreeMap<TopicPartition, Option<OffsetAndMetadata>>,
    end_offsets: &BTreeMap<TopicPartition, i64>,
    kafkas_order: bool,
) -> GroupOffsets {
    let row = |partition: &TopicPartition, member: Option<&MemberDescription>| {
        let offset = committed.get(partition).and_then(Option::as_ref);
        let current_offset = offset.map(|offset| offset.offset);
        let log_end_offset = end_offsets.get(partition).copied();
        PartitionOffsets {
            topic: Some(partition.topic.clone()),
            partition: Some(partition.partition),
            leader_epoch: offset.and_then(|offset| offset.leader_epoch),
            current_offset,
            log_end_offset,
            lag: current_offset.zip(log_end_offset).map(|(current, end)| end - current),
            consumer_id: member.map(|member| member.member_id.clone()),
            host: member.map(|member| member.host.clone()),
            client_id: member.map(|member| member.client_id.clone()),
        }
    };
    let mut members: Vec<&MemberDescription> = group.members.iter().filter(|member| !member.assignment.is_empty()).collect();
    // Kafka's tool begins with the member that has most.
    members.sort_by_key(|member| std::cmp::Reverse(member.assignment.len()));
    let mut partitions: Vec<PartitionOffsets> =
        members.iter().flat_map(|member| member.assignment.iter().map(|partition| row(partition, Some(member)))).collect();
    let assigned: BTreeSet<&TopicPartition> = members.iter().flat_map(|member| &member.assignment).collect();
    partitions.extend(committed.keys().filter(|partition| !assigned.contains(partition)).map(|partition| row(partition, None)));
    if !kafkas_order {
        partitions.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    }
    GroupOffsets {
        group: group.group_id.clone(),
        state: group.state.to_string(),
        total_lag: partitions.iter().filter_map(|row| row.lag).sum(),
        partitions,
    }
}

fn members(group: ConsumerGroupDescription) -> GroupMembers {
    let target_epoch = group.target_assignment_epoch;
    let members = group
        .members
        .into_iter()
        .map(|member| Member {
            consumer_id: member.member_id,
            group_instance_id: member.group_instance_id,
            host: member.host,
            client_id: member.client_id,
            current_epoch: member.member_epoch,
            target_epoch,
            assignment: member.assignment.into_iter().collect(),
            target_assignment: member.target_assignment.into_iter().flatten().collect(),
            upgraded: member.upgraded,
        })
        .collect();
    GroupMembers { group: group.group_id, state: group.state.to_string(), members }
}

fn state(group: ConsumerGroupDescription) -> rows::GroupState {
    rows::GroupState {
        group: group.group_id,
        coordinator: format!("{}:{}", group.coordinator.host, group.coordinator.port),
        coordinator_id: group.coordinator.id,
        assignment_strategy: Some(group.partition_assignor).filter(|name| !name.is_empty()),
        state: group.state.to_string(),
        group_epoch: group.group_epoch,
        target_assignment_epoch: group.target_assignment_epoch,
        member_count: group.members.len(),
    }
}

/// Says what a group's state means for what follows; `false` when nothing can follow.
fn comment_on_state(session: &mut Session, group: &str, state: &str, rows: usize) -> anyhow::Result<bool> {
    let comment = match GroupState::parse(state) {
        GroupState::Dead => {
            if session.compat() {
                writeln!(session.out, "\nError: Consumer group '{group}' does not exist.")?;
            }
            return Ok(false);
        }
        GroupState::Empty => Some(("", format!("Consumer group '{group}' has no active members."))),
        GroupState::PreparingRebalance | GroupState::CompletingRebalance | GroupState::Assigning | GroupState::Reconciling => {
            Some(("Warning: ", format!("Consumer group '{group}' is rebalancing.")))
        }
        _ => None,
    };
    match comment {
        Some((label, comment)) if session.compat() => writeln!(session.err, "\n{label}{comment}")?,
        Some((_, comment)) if !session.quiet() => session.warn(comment),
        _ => {}
    }
    Ok(rows > 0)
}

pub(super) fn print_offsets(session: &mut Session, groups: &[GroupOffsets], verbose: bool) -> anyhow::Result<()> {
    match session.format() {
        Format::Json => print_json(session, &groups)?,
        Format::Table => {
            for (at, group) in groups.iter().enumerate() {
                let gap = if at > 0 { "\n" } else { "" };
                let table = rows::offsets_table(group, session.width(), session.color());
                write!(session.out, "{gap}{table}")?;
            }
        }
        Format::Plain => {
            for group in groups {
                if comment_on_state(session, &group.group, &group.state, group.partitions.len())? {
                    session.out.write_all(rows::offsets_plain(group, verbose).as_bytes())?;
                }
            }
        }
    }
    Ok(())
}

fn print_members(session: &mut Session, groups: &[GroupMembers], verbose: bool) -> anyhow::Result<()> {
    match session.format() {
        Format::Json => print_json(session, &groups)?,
        Format::Table => rows::members_table(groups).print(session)?,
        Format::Plain => {
            for group in groups {
                comment_on_state(session, &group.group, &group.state, group.members.len())?;
                session.out.write_all(rows::members_plain(group, verbose).as_bytes())?;
            }
        }
    }
    Ok(())
}

fn print_states(session: &mut Session, groups: &[rows::GroupState], verbose: bool) -> anyhow::Result<()> {
    match session.format() {
        Format::Json => print_json(session, &groups)?,
        Format::Table => rows::state_table(groups).print(session)?,
        Format::Plain => {
            for group in groups {
                if comment_on_state(session, &group.group, &group.state, 1)? {
                    session.out.write_all(rows::state_plain(group, verbose).as_bytes())?;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::admin::GroupType;
    use crate::client::metadata::Broker;

    fn member(id: &str, partitions: &[i32]) -> MemberDescription {
        MemberDescription {
            member_id: id.into(),
            group_instance_id: None,
            rack_id: None,
            client_id: "c".into(),
            host: "/h".into(),
            assignment: partitions.iter().map(|&partition| TopicPartition::new("t", partition)).collect(),
            target_assignment: None,
            member_epoch: None,
            upgraded: None,
        }
    }

    #[test]
    fn rows_are_of_members_first_only_where_kafkas_order_is_asked_for() {
        let group = ConsumerGroupDescription {
            group_id: "g".into(),
            is_simple_consumer_group: false,
            members: vec![member("few", &[0]), member("many", &[2, 3]), member("idle", &[])],
            partition_assignor: "range".into(),
            type_: GroupType::Classic,
            state: GroupState::Stable,
            coordinator: Broker { id: 1, host: "h".into(), port: 1, rack: None },
            authorized_operations: None,
            group_epoch: None,
            target_assignment_epoch: None,
        };
        let at = |offset| Some(OffsetAndMetadata { offset, leader_epoch: Some(4), metadata: String::new() });
        let committed = [(TopicPartition::new("t", 1), at(5)), (TopicPartition::new("t", 2), at(7))].into();
        let ends: BTreeMap<TopicPartition, i64> = (0..4).map(|partition| (TopicPartition::new("t", partition), 10)).collect();
        let order = |kafkas| {
            let offsets = group_offsets(&group, &committed, &ends, kafkas);
            assert_eq!(offsets.total_lag, 8);
            offsets.partitions.iter().filter_map(|row| row.partition).collect::<Vec<_>>()
        };
        assert_eq!(order(true), [2, 3, 0, 1]);
        assert_eq!(order(false), [0, 1, 2, 3]);
        let rows = group_offsets(&group, &committed, &ends, false).partitions;
        assert_eq!((rows[0].current_offset, rows[0].lag), (None, None));
        assert_eq!((rows[1].consumer_id.as_deref(), rows[1].lag, rows[1].leader_epoch), (None, Some(5), Some(4)));
        assert_eq!(rows[2].consumer_id.as_deref(), Some("many"));
    }
}
