//! `--delete` and `--delete-offsets`.
//!
//! Source: `ConsumerGroupService.deleteGroups`, `deleteOffsets`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use super::describe::explain;
use super::failure::{exception, thrown};
use super::reset::parse_topic_partitions;
use super::rows::MISSING;
use crate::client::ClientError;
use crate::client::admin::Admin;
use crate::common::topic_partition::TopicPartition;
use crate::protocol::error_code::ErrorCode;
use crate::tools::args::Options;
use crate::tools::exit::Exit;
use crate::tools::output::pad;
use crate::tools::session::Session;

fn quoted<'a>(groups: impl IntoIterator<Item = &'a String>) -> String {
    groups.into_iter().map(|group| format!("'{group}'")).collect::<Vec<_>>().join(", ")
}

pub(super) async fn groups(session: &mut Session, options: &Options, admin: &Admin, servers: &str) -> anyhow::Result<Exit> {
    let ids = super::group_ids(session, options, admin).await?;
    if options.has("dry-run") {
        return preview(session, admin, &ids).await;
    }
    let all = options.has("all-groups");
    if all && !ids.is_empty() && !session.compat() {
        writeln!(session.err, "These groups will be deleted ({}):", ids.len())?;
        for id in &ids {
            writeln!(session.err, "  {id}")?;
        }
    }
    let what = if let [id] = &ids[..] { format!("group '{id}'") } else { format!("{} groups", ids.len()) };
    if !ids.is_empty() && !session.confirm(&format!("Delete {what} and all committed offsets at {servers}?"), all)? {
        return Ok(Exit::FAILURE);
    }
    let results = session.with_progress("Deleting groups", admin.delete_groups(&ids)).await;
    let mut deleted = Vec::new();
    let mut failed = Vec::new();
    for (id, result) in results {
        match result {
            Ok(()) => deleted.push(id),
            Err(error) => failed.push((id, error)),
        }
    }
    if failed.is_empty() {
        writeln!(session.out, "Deletion of requested consumer groups ({}) was successful.", quoted(&deleted))?;
        return Ok(Exit::SUCCESS);
    }
    if session.compat() {
        writeln!(session.out, "\nError: Deletion of some consumer groups failed:")?;
        for (id, error) in &failed {
            writeln!(session.out, "* Group '{id}' could not be deleted due to: {}", exception(error))?;
        }
        if !deleted.is_empty() {
            writeln!(session.out, "\nThese consumer groups were deleted successfully: {}", quoted(&deleted))?;
        }
        return Ok(Exit::SUCCESS);
    }
    for (id, error) in failed {
        let failure = explain(admin, &id, error).await;
        session.report(&failure);
    }
    if !deleted.is_empty() {
        writeln!(session.out, "These consumer groups were deleted successfully: {}", quoted(&deleted))?;
    }
    Ok(Exit::FAILURE)
}

/// What a deletion would do, asked without a request that changes anything.
async fn preview(session: &mut Session, admin: &Admin, ids: &[String]) -> anyhow::Result<Exit> {
    let mut exit = Exit::SUCCESS;
    for (id, result) in admin.describe_consumer_groups(ids).await {
        match result {
            Ok(group) if group.members.is_empty() => writeln!(session.out, "Group '{id}' would be deleted.")?,
            Ok(group) => {
                exit = Exit::FAILURE;
                session.warn(format_args!("group '{id}' could not be deleted: it has {} members", group.members.len()));
            }
            Err(error) => {
                let failure = explain(admin, &id, error).await;
                exit = session.report(&failure);
            }
        }
    }
    Ok(exit)
}

pub(super) async fn offsets(session: &mut Session, options: &Options, admin: &Admin) -> anyhow::Result<Exit> {
    let group = options.value("group")?.unwrap_or_default().to_owned();
    let mut outcomes: BTreeMap<TopicPartition, Result<(), ClientError>> = BTreeMap::new();
    let mut partitions = BTreeSet::new();
    let mut whole_topics = Vec::new();
    for topic in options.values("topic") {
        if topic.contains(':') {
            partitions.extend(parse_topic_partitions(topic)?);
        } else {
            whole_topics.push(topic.to_owned());
        }
    }
    for (topic, description) in admin.describe_topics(&whole_topics).await {
        match description {
            Ok(description) => {
                partitions.extend(description.partitions.iter().map(|it| TopicPartition::new(topic.clone(), it.partition)));
            }
            Err(error) => {
                outcomes.insert(TopicPartition::new(topic, -1), Err(error));
            }
        }
    }
    let partitions: Vec<TopicPartition> = partitions.into_iter().collect();
    if options.has("dry-run") {
        return preview_offsets(session, admin, &group, &partitions, &outcomes).await;
    }
    // The first partition's error counts as the call's, as in Kafka's client.
    let first_error = match admin.delete_group_offsets(&group, &partitions).await {
        Ok(results) => {
            let first = results.values().find_map(|result| result.as_ref().err().cloned());
            outcomes.extend(results);
            first
        }
        Err(error) => {
            outcomes.extend(partitions.into_iter().map(|partition| (partition, Err(error.clone()))));
            Some(error)
        }
    };
    let failed = outcomes.values().any(Result::is_err);
    match first_error {
        None => writeln!(session.out, "Request succeeded for deleting offsets from group {group}.")?,
        Some(error) => {
            let text = match error.code() {
                Some(
                    code @ (ErrorCode::InvalidGroupId
                    | ErrorCode::GroupIdNotFound
                    | ErrorCode::GroupAuthorizationFailed
                    | ErrorCode::NonEmptyGroup),
                ) => code.message().to_owned(),
                Some(ErrorCode::GroupSubscribedToTopic | ErrorCode::TopicAuthorizationFailed | ErrorCode::UnknownTopicOrPartition) => {
                    "Encountered some partition-level error, see the follow-up details.".to_owned()
                }
                Some(code) => format!("Encountered some unknown error: {}", code.name()),
                None => return Err(thrown(error)),
            };
            if session.compat() {
                writeln!(session.out, "\nError: {text}")?;
            } else if error.is(ErrorCode::GroupIdNotFound) {
                return Err(explain(admin, &group, error).await);
            } else {
                session.report(&anyhow::anyhow!("group '{group}': {text}"));
            }
        }
    }
    print_outcomes(session, &outcomes)?;
    Ok(if failed && !session.compat() { Exit::FAILURE } else { Exit::SUCCESS })
}

fn print_outcomes(session: &mut Session, outcomes: &BTreeMap<TopicPartition, Result<(), ClientError>>) -> anyhow::Result<()> {
    let topic_width = outcomes.keys().map(|partition| partition.topic.chars().count()).max().unwrap_or(0).max(15);
    let mut write = |cells: [&str; 3]| write!(session.out, "\n{}", pad(&[(cells[0], topic_width), (cells[1], 10), (cells[2], 15)]));
    write(["TOPIC", "PARTITION", "STATUS"])?;
    for (partition, outcome) in outcomes {
        let number = if partition.partition >= 0 { partition.partition.to_string() } else { MISSING.to_owned() };
        let status = match outcome {
            Ok(()) => "Successful".to_owned(),
            Err(error) => format!("Error: {}", exception(error)),
        };
        write([&partition.topic, &number, &status])?;
    }
    writeln!(session.out)?;
    Ok(())
}

/// Which of the offsets there are to delete, asked without a request that changes anything.
async fn preview_offsets(
    session: &mut Session,
    admin: &Admin,
    group: &str,
    partitions: &[TopicPartition],
    missing: &BTreeMap<TopicPartition, Result<(), ClientError>>,
) -> anyhow::Result<Exit> {
    let committed = super::describe::committed(admin, group).await?;
    for partition in partitions {
        if let Some(Some(offset)) = committed.get(partition) {
            writeln!(session.out, "The offset {} of {partition} would be deleted from group '{group}'.", offset.offset)?;
        }
    }
    let mut exit = Exit::SUCCESS;
    for partition in missing.keys() {
        exit = session.report(&anyhow::anyhow!("topic '{}' does not exist", partition.topic));
    }
    Ok(exit)
}
