//! `kafka-topics`: create, list, describe, alter and delete topics.
//!
//! Differs from Kafka's tool unless `KAFKA_CLI_COMPAT` is set: a name goes before a pattern ([`select`]), a pattern that would change
//! more than one topic needs a yes, `--topic` may be repeated, missing topics are reported beside those that are there, errors go to
//! standard error.
//! Source: `org.apache.kafka.tools.TopicCommand`.

mod describe;
mod options;
mod select;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use describe::{PartitionDescription, Reassignment, TopicDescription, TopicListing};
use options::{Action, Request};
use select::{Candidate, Selection};

use super::args::Options;
use super::exit::{Exit, Failure, Usage};
use super::output::{Format, print_json};
use super::session::{Session, runtime};
use super::{Parser, Tool, connect};
use crate::client::admin::{Admin, ConfigEntry, ConfigResource, NewPartitions, NewTopic, Results, TopicPartitionInfo};
use crate::client::{ApiError, ClientConfig, ClientError};
use crate::common::topic_partition::TopicPartition;
use crate::protocol::error_code::ErrorCode;

pub(crate) use options::TOPIC_CONFIGS;

pub(crate) const TOOL: Tool = Tool { name: "kafka-topics", parser: Parser::Jopt, command: options::command, run };

const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

fn run(session: &mut Session, options: &Options) -> anyhow::Result<Exit> {
    let action = options::check(session, options)?;
    if session.compat() {
        let config = match connect::admin_config(session, options, None) {
            Ok(config) => config,
            Err(error) => return Err(connect::in_kafkas_words(error)),
        };
        let result = Request::read(action, options, true).and_then(|request| work(session, action, &request, config));
        return match result {
            Ok(exit) => Ok(exit),
            // A broker that no name leads to keeps Kafka's tool from having a client at all.
            Err(error) if connect::is_unresolvable(&error) => Err(Failure::new(connect::NO_ADMIN_CLIENT).into()),
            Err(error) if super::exit::is_broken_pipe(&error) => Err(error),
            Err(error) => {
                writeln!(session.out, "Error while executing topic command : {}", super::exit::one_line(&error))?;
                // In place of Kafka's stack trace.
                Ok(session.report(&error))
            }
        };
    }
    let request = Request::read(action, options, false)?;
    let config = connect::admin_config(session, options, request.timeout_ms)?;
    work(session, action, &request, config)
}

fn work(session: &mut Session, action: Action, request: &Request, config: ClientConfig) -> anyhow::Result<Exit> {
    let servers = connect::describe_servers(&config);
    runtime()?.block_on(async {
        let admin = session.with_progress(&format!("Connecting to {servers}"), Admin::connect(&config)).await?;
        match action {
            Action::List => list(session, request, &admin).await,
            Action::Describe => describe(session, request, &admin).await,
            Action::Create => create(session, request, &admin).await,
            Action::Alter => alter(session, request, &admin).await,
            Action::Delete => delete(session, request, &admin, &servers).await,
        }
    })
}

/// All topics of the cluster, by name.
async fn candidates(session: &Session, admin: &Admin) -> Result<Vec<Candidate>, ClientError> {
    let listings = session.with_progress("Listing topics", admin.list_topics()).await?;
    Ok(listings.into_iter().map(|listing| Candidate { name: listing.name, internal: listing.is_internal }).collect())
}

/// The topics that `--topic` means, of all there are.
async fn chosen(session: &Session, request: &Request, admin: &Admin) -> anyhow::Result<(Vec<Candidate>, Selection)> {
    let all = candidates(session, admin).await?;
    let selection = select::select(&all, &request.topics, request.exclude_internal, !session.compat())?;
    Ok((all, selection))
}

/// The first error, in the order of the items' names.
fn first_error<K, T>(results: Results<K, T>) -> Result<BTreeMap<K, T>, ClientError>
where
    K: Ord,
{
    results.into_iter().map(|(key, result)| result.map(|value| (key, value))).collect()
}

async fn list(session: &mut Session, request: &Request, admin: &Admin) -> anyhow::Result<Exit> {
    let (_, selection) = chosen(session, request, admin).await?;
    if session.format() == Format::Plain {
        // Without any topic Kafka's tool prints an empty line.
        writeln!(session.out, "{}", selection.names.join("\n"))?;
        return Ok(Exit::SUCCESS);
    }
    let metadata = admin.cluster().metadata();
    let listings: Vec<TopicListing> = selection
        .names
        .iter()
        .filter_map(|name| metadata.topic(name))
        .map(|topic| TopicListing {
            topic: topic.name.clone(),
            topic_id: (!topic.id.is_zero()).then(|| topic.id.to_string()),
            partition_count: topic.partitions.len(),
            replication_factor: topic.partitions.first().map_or(0, |partition| partition.replicas.len()),
            internal: topic.is_internal,
        })
        .collect();
    match session.format() {
        Format::Json => print_json(session, &listings)?,
        _ => describe::list_table(&listings).print(session)?,
    }
    Ok(Exit::SUCCESS)
}

async fn describe(session: &mut Session, request: &Request, admin: &Admin) -> anyhow::Result<Exit> {
    if request.topic_id.is_some() && !request.topics.is_empty() && request.if_exists {
        let notice = "Only topic id will be used when both --topic and --topic-id are specified and topicId is not Uuid.ZERO_UUID";
        if session.compat() {
            writeln!(session.out, "{notice}")?;
        } else {
            session.warn(notice);
        }
    }
    let mut exit = Exit::SUCCESS;
    let described: Vec<crate::client::admin::TopicDescription> = match request.topic_id {
        Some(id) => {
            let listings = admin.list_topics().await?;
            let known = listings.iter().any(|topic| topic.topic_id == id && !(request.exclude_internal && topic.is_internal));
            if !known && !request.if_exists {
                return Err(Failure::new(format!("TopicId '{id}' does not exist as expected")).into());
            }
            if known { first_error(admin.describe_topics_by_id(&[id]).await)?.into_values().collect() } else { Vec::new() }
        }
        None => {
            let (all, selection) = chosen(session, request, admin).await?;
            if !request.if_exists {
                for name in &selection.missing {
                    let failure = select::does_not_exist(name, &all, session.compat());
                    if selection.names.is_empty() && selection.missing.len() == 1 {
                        return Err(failure.into());
                    }
                    exit = session.report(&failure.into());
                }
            }
            let describing = admin.describe_topics_by_pages_of(request.partitions_per_response, &selection.names);
            first_error(session.with_progress("Describing topics", describing).await)?.into_values().collect()
        }
    };
    let resources: Vec<ConfigResource> = described.iter().map(|topic| ConfigResource::topic(&topic.name)).collect();
    let mut configs = admin.describe_configs(&resources, None, false, false).await;
    let live_brokers: BTreeSet<i32> = match request.filters.unavailable {
        true => admin.describe_cluster(false).await?.brokers.iter().map(|broker| broker.id).collect(),
        false => BTreeSet::new(),
    };
    let mut reassignments = reassignments(admin, &described).await?;
    let mut topics = Vec::new();
    for topic in described {
        let entries = configs.remove(&ConfigResource::topic(&topic.name)).unwrap_or_else(|| Err(ErrorCode::UnknownServerError.into()))?;
        topics.push(description(topic, entries, &mut reassignments));
    }
    let topics = describe::filter(topics, &request.filters, &live_brokers);
    match session.format() {
        Format::Plain => session.out.write_all(describe::plain(&topics, &request.filters).as_bytes())?,
        Format::Table => session.out.write_all(describe::table(&topics, session.width(), session.color()).as_bytes())?,
        Format::Json => print_json(session, &topics)?,
    }
    Ok(exit)
}

/// The replicas that are moving; none where the cluster cannot or must not tell.
async fn reassignments(
    admin: &Admin,
    topics: &[crate::client::admin::TopicDescription],
) -> Result<BTreeMap<TopicPartition, Reassignment>, ClientError> {
    let partitions: Vec<TopicPartition> = topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|partition| TopicPartition::new(topic.name.clone(), partition.partition)))
        .collect();
    if partitions.is_empty() {
        return Ok(BTreeMap::new());
    }
    match admin.list_partition_reassignments(Some(&partitions)).await {
        Ok(moving) => Ok(moving
            .into_iter()
            .map(|(partition, it)| {
                let moving =
                    Reassignment { replicas: it.replicas, adding_replicas: it.adding_replicas, removing_replicas: it.removing_replicas };
                (partition, moving)
            })
            .collect()),
        Err(error) if error.is_unsupported_version() || error.is(ErrorCode::ClusterAuthorizationFailed) => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

fn description(
    topic: crate::client::admin::TopicDescription,
    entries: Vec<ConfigEntry>,
    reassignments: &mut BTreeMap<TopicPartition, Reassignment>,
) -> TopicDescription {
    let min_insync_replicas =
        entries.iter().find(|entry| entry.name == MIN_INSYNC_REPLICAS).and_then(|entry| entry.value.as_deref()?.parse().ok()).unwrap_or(1);
    let configs = entries
        .into_iter()
        .filter(|entry| !entry.is_default())
        // Kafka's tool prints a value that it may not see as Java's null.
        .map(|entry| (entry.name, entry.value.unwrap_or_else(|| "null".to_owned())))
        .collect();
    let partition_count = topic.partitions.len();
    let partitions: Vec<PartitionDescription> = topic
        .partitions
        .into_iter()
        .map(|partition| {
            let key = TopicPartition::new(topic.name.clone(), partition.partition);
            let TopicPartitionInfo { partition, leader, replicas, isr, elr, last_known_elr, .. } = partition;
            PartitionDescription { partition, leader, replicas, isr, reassignment: reassignments.remove(&key), elr, last_known_elr }
        })
        .collect();
    TopicDescription {
        topic: topic.name,
        topic_id: (!topic.topic_id.is_zero()).then(|| topic.topic_id.to_string()),
        partition_count,
        replication_factor: partitions.first().map_or(0, PartitionDescription::replication_factor),
        configs,
        min_insync_replicas,
        partitions,
    }
}

/// Kafka's warning for names that may become the same metric.
const COLLISION_WARNING: &str = "WARNING: Due to limitations in metric names, topics with a period ('.') or underscore ('_') could \
     collide. To avoid issues it is best to use either, but not both.";

async fn create(session: &mut Session, request: &Request, admin: &Admin) -> anyhow::Result<Exit> {
    for name in &request.topics {
        if name.contains(['.', '_']) {
            writeln!(session.out, "{COLLISION_WARNING}")?;
        }
        if name.is_empty() {
            return Err(Failure::new("The given topic name '' cannot be represented in a request.").into());
        }
    }
    let new_topics: Vec<NewTopic> = request
        .topics
        .iter()
        .map(|name| NewTopic {
            name: name.clone(),
            num_partitions: request.partitions,
            replication_factor: request.replication_factor,
            replicas_assignments: request
                .replica_assignment
                .iter()
                .flatten()
                .cloned()
                .enumerate()
                .map(|(at, it)| (at as i32, it))
                .collect(),
            configs: request.configs.clone(),
        })
        .collect();
    let results = session.with_progress("Creating", admin.create_topics(&new_topics, request.dry_run)).await;
    let mut outcome = Outcome::new(results.len());
    for name in &request.topics {
        match results.get(name) {
            Some(Ok(_)) if request.dry_run => writeln!(session.out, "Topic {name} can be created.")?,
            Some(Ok(_)) => writeln!(session.out, "Created topic {name}.")?,
            Some(Err(error)) if request.if_not_exists && error.is(ErrorCode::TopicAlreadyExists) => {}
            Some(Err(error)) => outcome.failed(session, name, error)?,
            None => {}
        }
    }
    Ok(outcome.exit)
}

/// How a call about several topics goes: one topic's error is the call's; among several each is reported with its name.
struct Outcome {
    several: bool,
    exit: Exit,
}

impl Outcome {
    fn new(topics: usize) -> Outcome {
        Outcome { several: topics > 1, exit: Exit::SUCCESS }
    }

    fn failed(&mut self, session: &mut Session, name: &str, error: &ClientError) -> anyhow::Result<()> {
        // With Kafka's tool the first error ends it.
        if !self.several || session.compat() {
            return Err(error.clone().into());
        }
        self.exit = session.report(&anyhow::anyhow!("{name}: {error}"));
        Ok(())
    }
}

/// The topics to change: all that are named must exist.
async fn to_change(session: &Session, request: &Request, admin: &Admin) -> anyhow::Result<Selection> {
    let (all, selection) = chosen(session, request, admin).await?;
    match selection.missing.first() {
        Some(name) if !request.if_exists => Err(select::does_not_exist(name, &all, session.compat()).into()),
        _ => Ok(selection),
    }
}

async fn alter(session: &mut Session, request: &Request, admin: &Admin) -> anyhow::Result<Exit> {
    let selection = to_change(session, request, admin).await?;
    let Some(total_count) = request.partitions else { return Err(Usage::new("Missing required argument \"[partitions]\"").into()) };
    if selection.names.is_empty() {
        return Ok(Exit::SUCCESS);
    }
    if selection.by_pattern && selection.names.len() > 1 && !request.dry_run {
        announce(session, "These topics match and will get", &selection.names)?;
        if !session.confirm(&format!("Set {} topics to {total_count} partitions?", selection.names.len()), true)? {
            return Ok(Exit::FAILURE);
        }
    }
    let mut new_partitions = BTreeMap::new();
    for name in &selection.names {
        let assignments = match &request.replica_assignment {
            // The whole assignment is given, of which the partitions that exist have theirs already.
            Some(assignment) => {
                let existing = admin.cluster().metadata().topic(name).map_or(0, |topic| topic.partitions.len());
                Some(assignment.iter().skip(existing).cloned().collect())
            }
            None => None,
        };
        new_partitions.insert(name.clone(), NewPartitions { total_count, assignments });
    }
    let results = session.with_progress("Adding partitions", admin.create_partitions(&new_partitions, request.dry_run)).await;
    let mut outcome = Outcome::new(results.len());
    for (name, result) in &results {
        match result {
            Ok(()) if request.dry_run => writeln!(session.out, "Topic {name} can have {total_count} partitions.")?,
            Ok(()) if session.terminals.stdout => writeln!(session.out, "Topic {name} has {total_count} partitions now.")?,
            Ok(()) => {}
            Err(error) => outcome.failed(session, name, error)?,
        }
    }
    Ok(outcome.exit)
}

async fn delete(session: &mut Session, request: &Request, admin: &Admin, servers: &str) -> anyhow::Result<Exit> {
    let selection = to_change(session, request, admin).await?;
    let names = &selection.names;
    if names.is_empty() {
        return Ok(Exit::SUCCESS);
    }
    if request.dry_run {
        for name in names {
            writeln!(session.out, "Topic {name} would be deleted.")?;
        }
        return Ok(Exit::SUCCESS);
    }
    let by_pattern = selection.by_pattern && names.len() > 1;
    if by_pattern {
        announce(session, "These topics match and will be deleted", names)?;
    }
    let what = if names.len() == 1 { format!("topic '{}'", names[0]) } else { format!("{} topics", names.len()) };
    if !session.confirm(&format!("Delete {what} and all its records at {servers}?"), by_pattern)? {
        return Ok(Exit::FAILURE);
    }
    let results = session.with_progress("Deleting", admin.delete_topics(names)).await;
    let mut outcome = Outcome::new(results.len());
    for (name, result) in &results {
        match result {
            Ok(()) if session.terminals.stdout && !session.compat() => writeln!(session.out, "Deleted topic {name}.")?,
            Ok(()) => {}
            Err(ClientError::Api(ApiError { code: ErrorCode::TopicDeletionDisabled, .. })) if !session.compat() => {
                let failure = Failure::new(ErrorCode::TopicDeletionDisabled.message()).advise("the brokers have delete.topic.enable=false");
                return Err(failure.into());
            }
            Err(error) => outcome.failed(session, name, error)?,
        }
    }
    Ok(outcome.exit)
}

/// Says on standard error which topics are meant, before a question about them or a refusal.
fn announce(session: &mut Session, what: &str, names: &[String]) -> anyhow::Result<()> {
    if session.compat() {
        return Ok(());
    }
    writeln!(session.err, "{what} ({}):", names.len())?;
    for name in names {
        writeln!(session.err, "  {name}")?;
    }
    Ok(())
}
