//! `--reset-offsets`: where a group goes on reading.
//!
//! Invariant: without `--execute` no request is sent that changes anything.
//! Source: `ConsumerGroupService.resetOffsets`, `OffsetsUtils`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use super::describe::{committed, explain};
use super::failure;
use super::rows::{self, NewOffsets};
use crate::client::admin::{Admin, GroupState, IsolationLevel, ListedOffset, OffsetAndMetadata, OffsetSpec};
use crate::client::{ApiError, ClientError};
use crate::common::clock::{Clock, SystemClock};
use crate::common::topic_partition::TopicPartition;
use crate::protocol::error_code::ErrorCode;
use crate::tools::args::Options;
use crate::tools::exit::{Exit, Failure, Usage};
use crate::tools::output::{Format, print_json};
use crate::tools::session::Session;
use crate::tools::{suggest, time};

/// What offsets are set to.
#[derive(Clone, Debug)]
pub(super) enum Target {
    Earliest,
    Latest,
    Current,
    Offset(i64),
    ShiftBy(i64),
    /// The first record since a moment, in milliseconds since 1970.
    Since(i64),
    /// Offsets by group and partition.
    Plan(BTreeMap<String, NewOffsets>),
}

impl Target {
    /// What the flags ask for; `None` if they do not say.
    pub(super) fn read(session: &mut Session, options: &Options) -> anyhow::Result<Option<Target>> {
        let now_ms = SystemClock::new().now_ms();
        if let Some(offset) = options.parsed("to-offset")? {
            return Ok(Some(Target::Offset(offset)));
        }
        if options.has("to-earliest") {
            return Ok(Some(Target::Earliest));
        }
        if options.has("to-latest") {
            return Ok(Some(Target::Latest));
        }
        if let Some(offsets) = options.parsed("shift-by")? {
            return Ok(Some(Target::ShiftBy(offsets)));
        }
        if let Some(text) = options.value("to-datetime")? {
            if session.compat() {
                return Ok(Some(Target::Since(time::kafka_datetime(text).map_err(Failure::new)?)));
            }
            let moment = time::moment(text, now_ms).map_err(Failure::new)?;
            if !session.quiet() {
                session.warn(format_args!("{text} is {} or {} here", time::utc_text(moment), time::local_text(moment)));
            }
            return Ok(Some(Target::Since(moment)));
        }
        if let Some(text) = options.value("by-duration")? {
            let parse = if session.compat() { time::kafka_duration_ms } else { time::duration_ms };
            return Ok(Some(Target::Since(now_ms.saturating_sub(parse(text).map_err(Failure::new)?))));
        }
        if let Some(path) = options.value("from-file")? {
            let text = std::fs::read_to_string(path).map_err(|error| match session.compat() {
                true => Failure::new(format!("java.io.IOException: Unable to read file {path}")),
                false => Failure::new(format!("cannot read {path}: {error}")),
            })?;
            return Ok(Some(Target::Plan(parse_plan(&text, &options.values("group"), path)?)));
        }
        Ok(options.has("to-current").then_some(Target::Current))
    }
}

/// A CSV file's offsets: `topic,partition,offset` for the one group, or the group first on each line.
fn parse_plan(text: &str, groups: &[&str], path: &str) -> Result<BTreeMap<String, NewOffsets>, Failure> {
    let mut plan: BTreeMap<String, NewOffsets> = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let fields = csv_fields(line);
        let fields: Vec<&str> = fields.iter().map(|field| field.trim()).collect();
        let malformed = || Failure::new(format!("{path}, line {}: not [GROUP,]TOPIC,PARTITION,OFFSET: {line}", number + 1));
        // Numbers left out are 0 to Kafka; the topic then decides whether that makes sense.
        let number = |at: usize| -> Option<i64> {
            match fields.get(at) {
                None => Some(0),
                Some(text) => text.parse().ok(),
            }
        };
        let as_row = |first: usize| {
            let topic = fields.get(first)?;
            let partition = i32::try_from(number(first + 1)?).ok()?;
            Some((TopicPartition::new(*topic, partition), number(first + 2)?))
        };
        let (group, row) = match groups {
            [group] if fields.len() <= 3 => ((*group).to_owned(), as_row(0)),
            _ => (fields.first().copied().unwrap_or_default().to_owned(), as_row(1)),
        };
        let (partition, offset) = row.ok_or_else(malformed)?;
        plan.entry(group).or_default().insert(partition, offset);
    }
    Ok(plan)
}

/// The fields of a line, quotes around one taken off.
fn csv_fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                if let Some(field) = fields.last_mut() {
                    field.push('"');
                }
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            _ => {
                if let Some(field) = fields.last_mut() {
                    field.push(c);
                }
            }
        }
    }
    fields
}

/// `topic:0,1,2`
pub(super) fn parse_topic_partitions(argument: &str) -> Result<Vec<TopicPartition>, Usage> {
    let parts: Vec<&str> = argument.trim_end_matches(':').split(':').collect();
    let [topic, partitions] = parts[..] else {
        return Err(Usage(format!("Invalid topic arg '{argument}', expected topic name and partitions")));
    };
    partitions
        .trim_end_matches(',')
        .split(',')
        .map(|partition| match partition.parse() {
            Ok(number) => Ok(TopicPartition::new(topic, number)),
            Err(_) => Err(Usage(format!("Invalid partition '{partition}' specified in topic arg '{argument}''"))),
        })
        .collect()
}

pub(super) async fn run(session: &mut Session, options: &Options, admin: &Admin, target: Option<Target>) -> anyhow::Result<Exit> {
    let ids = super::group_ids(session, options, admin).await?;
    let execute = options.has("execute") && !options.has("dry-run");
    if execute && options.has("all-groups") && !ids.is_empty() && !session.compat() {
        writeln!(session.err, "The offsets of these groups will be set ({}):", ids.len())?;
        for id in &ids {
            writeln!(session.err, "  {id}")?;
        }
        if !session.confirm(&format!("Reset the offsets of {} groups?", ids.len()), true)? {
            return Ok(Exit::FAILURE);
        }
    }
    let mut exit = Exit::SUCCESS;
    let mut new_offsets: BTreeMap<String, NewOffsets> = BTreeMap::new();
    let described = session.with_progress("Describing groups", admin.describe_consumer_groups(&ids)).await;
    for (id, description) in described {
        match description {
            Ok(group) if !matches!(group.state, GroupState::Empty | GroupState::Dead) => {
                let state = group.state;
                let text = format!("Assignments can only be reset if the group '{id}' is inactive, but the current state is {state}.");
                if session.compat() {
                    writeln!(session.out, "\nError: {text}")?;
                    new_offsets.insert(id, NewOffsets::new());
                } else {
                    let advice = format!("stop its {} members first", group.members.len());
                    exit = session.report(&Failure::new(text.trim_end_matches('.')).advise(advice).into());
                }
                continue;
            }
            Err(error) if !error.is(ErrorCode::GroupIdNotFound) => {
                if session.compat() {
                    return Err(failure::thrown(error));
                }
                exit = session.report(&explain(admin, &id, error).await);
                continue;
            }
            _ => {}
        }
        let offsets = prepare(session, options, admin, &id, target.as_ref()).await?;
        if execute {
            commit(admin, &id, &offsets).await?;
        }
        new_offsets.insert(id, offsets);
    }
    print(session, options, &new_offsets)?;
    Ok(exit)
}

async fn commit(admin: &Admin, group: &str, offsets: &NewOffsets) -> anyhow::Result<()> {
    let offsets: BTreeMap<TopicPartition, OffsetAndMetadata> =
        offsets.iter().map(|(partition, &offset)| (partition.clone(), OffsetAndMetadata { offset, ..Default::default() })).collect();
    for (partition, result) in admin.alter_group_offsets(group, &offsets).await {
        if let Err(error) = result {
            let named = ClientError::Api(match error {
                ClientError::Api(error) => error,
                other => return Err(failure::unwrapped(other)),
            });
            return Err(failure::unwrapped(named).context(format!("cannot set the offset of {partition}")));
        }
    }
    Ok(())
}

fn print(session: &mut Session, options: &Options, offsets: &BTreeMap<String, NewOffsets>) -> anyhow::Result<()> {
    if options.has("export") {
        let csv = rows::reset_csv(offsets, options.values("group").len() == 1);
        session.out.write_all(csv.as_bytes())?;
        return Ok(());
    }
    match session.format() {
        Format::Json => print_json(session, &rows::reset_rows(offsets))?,
        Format::Table => rows::reset_table(offsets).print(session)?,
        Format::Plain => session.out.write_all(rows::reset_plain(offsets).as_bytes())?,
    }
    Ok(())
}

/// The new offsets of one group.
async fn prepare(
    session: &mut Session,
    options: &Options,
    admin: &Admin,
    group: &str,
    target: Option<&Target>,
) -> anyhow::Result<NewOffsets> {
    let partitions = partitions_to_reset(session, options, admin, group).await?;
    check_partitions(session, admin, &partitions).await?;
    let wanted: NewOffsets = match target {
        None => return Err(Usage::new("Option '[reset-offsets]' requires one of the following scenarios: [to-offset], [shift-by], [to-datetime], [by-duration], [to-earliest], [to-latest], [to-current], [from-file]").into()),
        Some(Target::Earliest) => return listed(admin, &partitions, OffsetSpec::Earliest).await,
        Some(Target::Latest) => return listed(admin, &partitions, OffsetSpec::Latest).await,
        Some(Target::Since(moment)) => return since(session, admin, &partitions, *moment).await,
        Some(Target::Current) => return current(admin, group, &partitions).await,
        Some(Target::Offset(offset)) => partitions.iter().map(|partition| (partition.clone(), *offset)).collect(),
        Some(Target::ShiftBy(by)) => {
            let committed = committed(admin, group).await?;
            let mut shifted = NewOffsets::new();
            for partition in &partitions {
                let Some(Some(offset)) = committed.get(partition) else {
                    let text = format!("Cannot shift offset for partition {partition} since there is no current committed offset");
                    return Err(if session.compat() { Usage(text).into() } else { Failure::new(text).into() });
                };
                shifted.insert(partition.clone(), offset.offset.saturating_add(*by));
            }
            shifted
        }
        Some(Target::Plan(plan)) => match plan.get(group) {
            Some(offsets) => offsets.clone(),
            None => {
                let text = format!("No reset plan for group {group} found");
                if !session.compat() {
                    return Err(Failure::new(text).into());
                }
                writeln!(session.out, "\nError: {text}")?;
                return Ok(NewOffsets::new());
            }
        },
    };
    within_range(session, admin, wanted).await
}

/// The partitions that `--all-topics` or `--topic` mean; none for `--from-file`, which names its own.
async fn partitions_to_reset(session: &Session, options: &Options, admin: &Admin, group: &str) -> anyhow::Result<BTreeSet<TopicPartition>> {
    if options.has("all-topics") {
        return Ok(committed(admin, group).await?.into_keys().collect());
    }
    if !options.has("topic") {
        if options.has("from-file") {
            return Ok(BTreeSet::new());
        }
        return Err(Usage::new("One of the reset scopes should be defined: --all-topics, --topic.").into());
    }
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
            Err(error) => return Err(no_such_topic(session, admin, &topic, error).await),
        }
    }
    Ok(partitions)
}

/// An error about a topic; for one that does not exist with the nearest that does.
async fn no_such_topic(session: &Session, admin: &Admin, topic: &str, error: ClientError) -> anyhow::Error {
    if session.compat() || !error.is(ErrorCode::UnknownTopicOrPartition) {
        return failure::unwrapped(error);
    }
    let failure = Failure::new(format!("topic '{topic}' does not exist"));
    let known = admin.list_topics().await.unwrap_or_default();
    match suggest::closest(topic, known.iter().map(|listing| listing.name.as_str())) {
        Some(near) => failure.advise(format!("did you mean '{near}'?")).into(),
        None => failure.into(),
    }
}

fn joined<'a>(partitions: impl IntoIterator<Item = &'a TopicPartition>) -> String {
    partitions.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Do the partitions exist, and has each a leader?
async fn check_partitions(session: &Session, admin: &Admin, partitions: &BTreeSet<TopicPartition>) -> anyhow::Result<()> {
    let topics: BTreeSet<&str> = partitions.iter().map(|partition| partition.topic.as_str()).collect();
    let topics: Vec<String> = topics.into_iter().map(str::to_owned).collect();
    let mut existing = BTreeSet::new();
    let mut leaderless = BTreeSet::new();
    for (topic, description) in admin.describe_topics(&topics).await {
        match description {
            Ok(description) => {
                for it in description.partitions {
                    let partition = TopicPartition::new(topic.clone(), it.partition);
                    if it.leader.is_none() {
                        leaderless.insert(partition.clone());
                    }
                    existing.insert(partition);
                }
            }
            Err(error) if session.compat() => return Err(failure::thrown(error)),
            Err(error) => return Err(no_such_topic(session, admin, &topic, error).await),
        }
    }
    let fail = |code, text: String| Err(failure::unwrapped(ApiError::new(code, Some(text)).into()));
    let missing: Vec<&TopicPartition> = partitions.difference(&existing).collect();
    if !missing.is_empty() {
        return fail(ErrorCode::UnknownTopicOrPartition, format!("The partitions \"{}\" do not exist", joined(missing)));
    }
    let leaderless: Vec<&TopicPartition> = partitions.intersection(&leaderless).collect();
    if !leaderless.is_empty() {
        return fail(ErrorCode::LeaderNotAvailable, format!("The partitions \"{}\" have no leader", joined(leaderless)));
    }
    Ok(())
}

async fn list_offsets(
    admin: &Admin,
    partitions: impl IntoIterator<Item = &TopicPartition>,
    spec: OffsetSpec,
) -> anyhow::Result<BTreeMap<TopicPartition, ListedOffset>> {
    let specs: BTreeMap<TopicPartition, OffsetSpec> = partitions.into_iter().map(|partition| (partition.clone(), spec)).collect();
    let mut offsets = BTreeMap::new();
    for (partition, listed) in admin.list_offsets(&specs, IsolationLevel::ReadUncommitted).await {
        match listed {
            Ok(listed) => {
                offsets.insert(partition, listed);
            }
            Err(error) if error.is(ErrorCode::InvalidTopicException) => {
                let topic = &partition.topic;
                let text = format!("Failed to fetch metadata for partition {partition} due to invalid topic `{topic}`");
                return Err(failure::thrown(ApiError::new(ErrorCode::InvalidTopicException, Some(text)).into()));
            }
            Err(error) => return Err(failure::thrown(error).context(format!("cannot find the offset of {partition}"))),
        }
    }
    Ok(offsets)
}

async fn listed(admin: &Admin, partitions: &BTreeSet<TopicPartition>, spec: OffsetSpec) -> anyhow::Result<NewOffsets> {
    let offsets = list_offsets(admin, partitions, spec).await?;
    Ok(offsets.into_iter().map(|(partition, listed)| (partition, listed.offset)).collect())
}

/// The first offsets since a moment; the end where there is no record since.
async fn since(session: &mut Session, admin: &Admin, partitions: &BTreeSet<TopicPartition>, moment: i64) -> anyhow::Result<NewOffsets> {
    let found = list_offsets(admin, partitions, OffsetSpec::Timestamp(moment)).await?;
    let (found, empty): (BTreeMap<_, _>, BTreeMap<_, _>) = found.into_iter().partition(|(_, listed)| listed.offset >= 0);
    for partition in empty.keys() {
        let text =
            format!("Partition {} from topic {} is empty. Falling back to latest known offset.", partition.partition, partition.topic);
        if session.compat() {
            writeln!(session.out, "\nWarn: {text}")?;
        } else {
            session.warn(format_args!("{partition} has no record since then: its end is taken"));
        }
    }
    let mut offsets: NewOffsets = found.into_iter().map(|(partition, listed)| (partition, listed.offset)).collect();
    if !empty.is_empty() {
        offsets.extend(listed(admin, &empty.into_keys().collect(), OffsetSpec::Latest).await?);
    }
    Ok(offsets)
}

/// The committed offsets; the end where nothing is committed.
async fn current(admin: &Admin, group: &str, partitions: &BTreeSet<TopicPartition>) -> anyhow::Result<NewOffsets> {
    let committed = committed(admin, group).await?;
    let mut offsets = NewOffsets::new();
    let mut uncommitted = BTreeSet::new();
    for partition in partitions {
        match committed.get(partition) {
            Some(Some(offset)) => {
                offsets.insert(partition.clone(), offset.offset);
            }
            _ => {
                uncommitted.insert(partition.clone());
            }
        }
    }
    if !uncommitted.is_empty() {
        offsets.extend(listed(admin, &uncommitted, OffsetSpec::Latest).await?);
    }
    Ok(offsets)
}

/// Offsets outside of a log are moved to its nearer end.
async fn within_range(session: &mut Session, admin: &Admin, wanted: NewOffsets) -> anyhow::Result<NewOffsets> {
    if wanted.is_empty() {
        return Ok(wanted);
    }
    let starts = list_offsets(admin, wanted.keys(), OffsetSpec::Earliest).await?;
    let ends = list_offsets(admin, wanted.keys(), OffsetSpec::Latest).await?;
    let mut offsets = NewOffsets::new();
    for (partition, offset) in wanted {
        let start = starts.get(&partition).map_or(0, |listed| listed.offset);
        let end = ends.get(&partition).map_or(i64::MAX, |listed| listed.offset);
        let adjusted = offset.min(end).max(start.min(end));
        if adjusted != offset {
            let (direction, bound) = if offset > end { ("higher", "latest") } else { ("lower", "earliest") };
            session.warn(format_args!(
                "New offset ({offset}) is {direction} than {bound} offset for topic partition {partition}. Value will be set to {adjusted}"
            ));
        }
        offsets.insert(partition, adjusted);
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_of_a_topic_are_listed_after_a_colon() {
        assert_eq!(parse_topic_partitions("t:0,2"), Ok(vec![TopicPartition::new("t", 0), TopicPartition::new("t", 2)]));
        assert_eq!(parse_topic_partitions("t:x").unwrap_err().0, "Invalid partition 'x' specified in topic arg 't:x''");
        assert_eq!(parse_topic_partitions("a:b:c").unwrap_err().0, "Invalid topic arg 'a:b:c', expected topic name and partitions");
        assert!(parse_topic_partitions("t:").is_err());
    }

    #[test]
    fn a_plan_is_of_one_group_or_names_them() {
        let plan = parse_plan("t,0,5\n\n\"u\",1,7\n", &["g"], "f").unwrap();
        assert_eq!(
            plan["g"].iter().map(|(partition, offset)| (partition.to_string(), *offset)).collect::<Vec<_>>(),
            [("t-0".into(), 5), ("u-1".into(), 7)]
        );
        let plan = parse_plan("a,t,0,5\nb,t,1,7", &["a", "b"], "f").unwrap();
        assert_eq!(plan.keys().collect::<Vec<_>>(), ["a", "b"]);
        let error = parse_plan("t,0,5\nt,x,5", &["g"], "plan.csv").unwrap_err();
        assert_eq!(error.message, "plan.csv, line 2: not [GROUP,]TOPIC,PARTITION,OFFSET: t,x,5");
    }

    #[test]
    fn quoted_csv_fields_may_hold_commas() {
        assert_eq!(csv_fields(r#""a,b",0,"say ""x""""#), ["a,b", "0", r#"say "x""#]);
    }

    #[test]
    fn context_does_not_hide_kafkas_words() {
        let error = failure::thrown(ErrorCode::InvalidGroupId.into()).context("on the way");
        assert!(error.downcast_ref::<failure::KafkaFailure>().is_some());
    }
}
