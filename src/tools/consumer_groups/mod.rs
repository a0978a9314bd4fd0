//! `kafka-consumer-groups`: list, describe and delete consumer groups, reset their offsets.
//!
//! Differs from Kafka's tool unless `KAFKA_CLI_COMPAT` is set: a failure is on standard error and the exit code is 1, groups that exist
//! are shown beside those that do not, everything is sorted, `--dry-run` is honoured by each action that changes something.
//! Source: `org.apache.kafka.tools.consumer.group.ConsumerGroupCommand`, `org.apache.kafka.tools.OffsetsUtils`.

mod delete;
mod describe;
mod failure;
mod options;
mod regex_check;
mod reset;
mod rows;
mod watch;

use std::io::Write;

use options::Action;
use rows::GroupListing;

use super::args::Options;
use super::connect::ConnectError;
use super::exit::{Exit, Usage, is_broken_pipe};
use super::output::{Format, print_json};
use super::session::{Session, runtime};
use super::{Parser, Tool, connect};
use crate::client::admin::{Admin, GroupState, GroupType, ListGroupsFilter};

pub(crate) const TOOL: Tool = Tool { name: "kafka-consumer-groups", parser: Parser::Jopt, command: options::command, run };

/// How long a call may take when `--timeout` does not say.
const TIMEOUT_MS: u64 = 30_000;

fn run(session: &mut Session, options: &Options) -> anyhow::Result<Exit> {
    let action = options::check(session, options)?;
    if action == Action::ValidateRegex {
        return validate_regex(session, options);
    }
    let result = work(session, action, options);
    match result {
        Err(error) if session.compat() && !is_usage_for_kafka(&error) && !is_broken_pipe(&error) => {
            let words = in_kafkas_words(&error);
            writeln!(session.out, "\nError: Executing consumer group command failed due to {words}")?;
            // In place of Kafka's stack trace.
            session.report(&error);
            Ok(Exit::SUCCESS)
        }
        other => other,
    }
}

/// Would Kafka's tool answer with its usage? A flag's value that is no number, or is given twice, it only finds when at work.
fn is_usage_for_kafka(error: &anyhow::Error) -> bool {
    let found_late = |text: &str| text.starts_with("Cannot parse argument '") || text.starts_with("Found multiple arguments for option ");
    error.downcast_ref::<Usage>().is_some_and(|usage| !found_late(&usage.0))
}

/// The message of the exception that Kafka's tool would have caught.
fn in_kafkas_words(error: &anyhow::Error) -> String {
    if connect::is_unresolvable(error) {
        return connect::NO_ADMIN_CLIENT.to_owned();
    }
    if let Some(failure) = error.downcast_ref::<failure::KafkaFailure>() {
        return failure.kafka.clone();
    }
    match error.downcast_ref::<ConnectError>() {
        Some(connect) => match connect.kafka_exception() {
            Some(exception) => format!("{exception}: {}", connect.kafka_message()),
            None => connect.kafka_message(),
        },
        None => super::exit::one_line(error),
    }
}

fn work(session: &mut Session, action: Action, options: &Options) -> anyhow::Result<Exit> {
    let filter = if action == Action::List { Some(list_filter(options)?) } else { None };
    let target = if action == Action::ResetOffsets { reset::Target::read(session, options)? } else { None };
    let timeout_ms = options.parsed("timeout")?.unwrap_or(TIMEOUT_MS);
    let config = connect::admin_config(session, options, Some(timeout_ms))?;
    let servers = connect::describe_servers(&config);
    runtime()?.block_on(async {
        let admin = session.with_progress(&format!("Connecting to {servers}"), Admin::connect(&config)).await.map_err(failure::thrown)?;
        match action {
            Action::List => list(session, options, &admin, filter.unwrap_or_default()).await,
            Action::Describe if options.has("watch") => watch::run(session, options, &admin).await,
            Action::Describe => describe::run(session, options, &admin).await,
            Action::Delete => delete::groups(session, options, &admin, &servers).await,
            Action::DeleteOffsets => delete::offsets(session, options, &admin).await,
            Action::ResetOffsets => reset::run(session, options, &admin, target).await,
            Action::ValidateRegex => Ok(Exit::SUCCESS),
        }
    })
}

fn validate_regex(session: &mut Session, options: &Options) -> anyhow::Result<Exit> {
    let expression = options.value("validate-regex")?.unwrap_or_default();
    match regex_check::check(expression) {
        Ok(()) => {
            writeln!(session.out, "The regular expression `{expression}` is valid.")?;
            Ok(Exit::SUCCESS)
        }
        Err(reason) => {
            writeln!(session.out, "The regular expression `{expression}` is invalid: {reason}.")?;
            Ok(if session.compat() { Exit::SUCCESS } else { Exit::FAILURE })
        }
    }
}

/// The states that a consumer group can be in.
const CONSUMER_GROUP_STATES: [GroupState; 7] = [
    GroupState::PreparingRebalance,
    GroupState::CompletingRebalance,
    GroupState::Stable,
    GroupState::Dead,
    GroupState::Empty,
    GroupState::Assigning,
    GroupState::Reconciling,
];

/// The groups that belong to consumers: of either protocol, and those that somebody only commits offsets for.
pub(crate) fn consumer_groups() -> ListGroupsFilter {
    ListGroupsFilter {
        states: Vec::new(),
        types: vec![GroupType::Classic, GroupType::Consumer],
        protocols: vec![String::new(), "consumer".to_owned()],
    }
}

/// What `--state` and `--type` ask for.
fn list_filter(options: &Options) -> Result<ListGroupsFilter, Usage> {
    let mut filter = consumer_groups();
    if let Some(text) = options.value("state")?.filter(|text| !text.is_empty()) {
        filter.states = text.split(',').map(|name| GroupState::parse(&name.trim().replace('_', ""))).collect();
        if !filter.states.iter().all(|state| CONSUMER_GROUP_STATES.contains(state)) {
            let valid = CONSUMER_GROUP_STATES.map(GroupState::name).join(", ");
            return Err(Usage(format!("Invalid state list '{text}'. Valid states are: {valid}")));
        }
    }
    if let Some(text) = options.value("type")?.filter(|text| !text.is_empty()) {
        filter.types = text.split(',').map(|name| GroupType::parse(name.trim())).collect();
        if !filter.types.iter().all(|type_| matches!(type_, GroupType::Classic | GroupType::Consumer)) {
            return Err(Usage(format!("Invalid types list '{text}'. Valid types are: Classic, Consumer")));
        }
    }
    Ok(filter)
}

async fn list(session: &mut Session, options: &Options, admin: &Admin, filter: ListGroupsFilter) -> anyhow::Result<Exit> {
    let listed = session.with_progress("Listing groups", admin.list_groups(&filter)).await.map_err(failure::thrown)?;
    let mut exit = Exit::SUCCESS;
    for (broker, error) in listed.errors {
        if session.compat() {
            return Err(failure::thrown(error));
        }
        exit = session.report(&anyhow::anyhow!("broker {broker} could not be asked: {error}"));
    }
    let mut groups: Vec<GroupListing> = listed
        .groups
        .into_iter()
        .map(|group| GroupListing {
            group: group.group_id,
            group_type: group.type_.unwrap_or(GroupType::Unknown).to_string(),
            state: group.state.unwrap_or(GroupState::Unknown).to_string(),
        })
        .collect();
    groups.sort_by(|a, b| a.group.cmp(&b.group));
    let (with_type, with_state) = (options.has("type"), options.has("state"));
    match session.format() {
        Format::Json => print_json(session, &groups)?,
        Format::Table => rows::list_table(&groups).print(session)?,
        Format::Plain if with_type || with_state => {
            session.out.write_all(rows::list_plain(&groups, with_type, with_state).as_bytes())?;
        }
        Format::Plain => {
            for group in &groups {
                writeln!(session.out, "{}", group.group)?;
            }
        }
    }
    Ok(exit)
}

/// The ids of the groups that `--group` and `--all-groups` mean.
async fn group_ids(session: &mut Session, options: &Options, admin: &Admin) -> anyhow::Result<Vec<String>> {
    if !options.has("all-groups") {
        let mut ids: Vec<String> = options.values("group").into_iter().map(str::to_owned).collect();
        ids.sort();
        ids.dedup();
        return Ok(ids);
    }
    let listed = session.with_progress("Listing groups", admin.list_groups(&consumer_groups())).await.map_err(failure::thrown)?;
    if let Some((_, error)) = listed.errors.into_iter().next() {
        return Err(failure::thrown(error));
    }
    let mut ids: Vec<String> = listed.groups.into_iter().map(|group| group.group_id).collect();
    ids.sort();
    Ok(ids)
}
