//! The arguments of `kafka-topics`: what there is, and which of it goes together.
//!
//! Source: `TopicCommand.TopicCommandOptions`.

use std::collections::{BTreeMap, BTreeSet};

use clap::Command;

use crate::common::uuid::Uuid;
use crate::tools::args::{self, Options, connection_args, flag, value};
use crate::tools::connect;
use crate::tools::exit::{Failure, Usage};
use crate::tools::session::Session;

/// The configs that a topic may override.
pub(crate) const TOPIC_CONFIGS: &[&str] = &[
    "cleanup.policy",
    "compression.gzip.level",
    "compression.lz4.level",
    "compression.type",
    "compression.zstd.level",
    "delete.retention.ms",
    "file.delete.delay.ms",
    "flush.messages",
    "flush.ms",
    "follower.replication.throttled.replicas",
    "index.interval.bytes",
    "leader.replication.throttled.replicas",
    "local.retention.bytes",
    "local.retention.ms",
    "max.compaction.lag.ms",
    "max.message.bytes",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "message.timestamp.type",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "min.insync.replicas",
    "preallocate",
    "remote.log.copy.disable",
    "remote.log.delete.on.disable",
    "remote.storage.enable",
    "retention.bytes",
    "retention.ms",
    "segment.bytes",
    "segment.index.bytes",
    "segment.jitter.ms",
    "segment.ms",
    "unclean.leader.election.enable",
];

pub(crate) fn command() -> Command {
    let command = args::command("kafka-topics", "Create, list, describe, alter and delete topics")
        .args(connection_args())
        .next_help_heading("Actions")
        .args([
            flag("list", "List the topics, or those that --topic names"),
            flag("describe", "Show partitions, leaders, replicas and configs"),
            flag("create", "Create a topic"),
            flag("alter", "Add partitions to a topic (its configs are changed with kafka-configs)"),
            flag("delete", "Delete topics"),
        ])
        .next_help_heading("Topics")
        .args([
            value("topic", "TOPIC", "The topic").long_help(
                "The topic. For every action but --create a regular expression also does, and commas separate alternatives; \
                 a topic of exactly that name goes before a pattern. May be repeated",
            ),
            value("topic-id", "ID", "The id of the topic to describe"),
            flag("exclude-internal", "Leave out Kafka's own topics when listing or describing"),
            flag("if-exists", "With --alter, --delete, --describe: a topic that does not exist is no error"),
            flag("if-not-exists", "With --create: a topic that exists already is no error"),
        ])
        .next_help_heading("Create and alter")
        .args([
            value("partitions", "N", "The number of partitions [default with --create: the cluster's num.partitions]").long_help(
                "The number of partitions of the topic to create or alter [default with --create: the cluster's num.partitions]. \
                 Adding partitions changes which partition a key goes to",
            ),
            value(
                "replication-factor",
                "N",
                "The number of replicas of each partition [default: the cluster's default.replication.factor]",
            ),
            value("replica-assignment", "B:B,...", "The brokers of each partition, in place of the two above").long_help(
                "The brokers of each partition's replicas: ids joined by ':' for a partition, partitions separated by commas, \
                 as in 1:2,2:3. The first of each is the preferred leader",
            ),
            value("config", "NAME=VALUE", "A config of the topic to create; may be repeated")
                .long_help(format!("A config of the topic to create; may be repeated. The names are: {}", TOPIC_CONFIGS.join(", "))),
            value("delete-config", "NAME", "No effect since Kafka 4.0").hide(true),
            flag("dry-run", "Check with the cluster what --create, --alter or --delete would do, and change nothing"),
        ])
        .next_help_heading("Describe")
        .args([
            flag("under-replicated-partitions", "Only partitions with fewer in-sync replicas than replicas"),
            flag("unavailable-partitions", "Only partitions without a live leader"),
            flag("under-min-isr-partitions", "Only partitions with fewer in-sync replicas than min.insync.replicas"),
            flag("at-min-isr-partitions", "Only partitions with exactly min.insync.replicas in-sync replicas"),
            flag("topics-with-overrides", "Only topics with configs of their own, without their partitions"),
            value("partition-size-limit-per-response", "N", "The most partitions to ask for at once [default: 2000]"),
        ])
        .next_help_heading("Connection")
        .args([value("timeout", "MS", "The most time the call may take, in milliseconds [default: default.api.timeout.ms]")])
        .after_help(
            "Examples:\n  \
             kafka-topics --bootstrap-server localhost:9092 --create --topic orders --partitions 3\n  \
             kafka-topics --bootstrap-server localhost:9092 --describe --topic orders --output json\n  \
             kafka-topics --bootstrap-server localhost:9092 --delete --topic 'tmp-.*' --dry-run",
        );
    args::with_general_args(command)
}

/// The one thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    List,
    Describe,
    Create,
    Alter,
    Delete,
}

const ACTIONS: [(&str, Action); 5] = [
    ("list", Action::List),
    ("describe", Action::Describe),
    ("create", Action::Create),
    ("alter", Action::Alter),
    ("delete", Action::Delete),
];

const FILTERS: [&str; 4] = ["under-replicated-partitions", "under-min-isr-partitions", "at-min-isr-partitions", "unavailable-partitions"];

/// Checks which flags were given together and finds the action.
pub(super) fn check(session: &mut Session, options: &Options) -> Result<Action, Usage> {
    let mut actions = ACTIONS.iter().filter(|(name, _)| options.has(name));
    let (Some(&(_, action)), None) = (actions.next(), actions.next()) else {
        return Err(Usage::new("Command must include exactly one action: --list, --describe, --create, --alter or --delete"));
    };
    if options.has("delete-config") {
        session.warn("delete-config option is no longer supported and deprecated since version 4.0. The config will be fully removed in future releases.");
    }
    if !connect::has_servers(session, options) {
        let also = if session.compat() { "" } else { " (or KAFKA_BOOTSTRAP_SERVERS, or bootstrap.servers in the --command-config file)" };
        return Err(Usage(format!("--bootstrap-server must be specified{also}")));
    }
    if action == Action::Describe && options.has("if-exists") && !options.has("topic") && !options.has("topic-id") {
        return Err(Usage::new("--topic or --topic-id is required to describe a topic"));
    }
    if !matches!(action, Action::List | Action::Describe) {
        options.require("topic")?;
    }
    if action == Action::Alter {
        if options.has("bootstrap-server") && options.has("config") {
            return Err(Usage::new(
                "Option combination \"[[bootstrap-server], [config]]\" can't be used with option \"[alter]\" \
                 (To alter topic configurations, the kafka-configs tool can be used.)",
            ));
        }
        options.require("partitions")?;
    }
    let not_with = |used: &str, allowed: &[Action]| {
        let others: Vec<&str> = ACTIONS.iter().filter(|(_, action)| !allowed.contains(action)).map(|(name, _)| *name).collect();
        options.conflict(used, &others)
    };
    not_with("config", &[Action::Alter, Action::Create])?;
    not_with("partitions", &[Action::Alter, Action::Create])?;
    not_with("replication-factor", &[Action::Create])?;
    not_with("replica-assignment", &[Action::Alter, Action::Create])?;
    if action == Action::Create {
        options.conflict("replica-assignment", &["partitions", "replication-factor"])?;
    }
    for filter in FILTERS {
        not_with(filter, &[Action::Describe])?;
        options.conflict(filter, &["topics-with-overrides"])?;
    }
    not_with("topics-with-overrides", &[Action::Describe])?;
    not_with("if-exists", &[Action::Alter, Action::Delete, Action::Describe])?;
    not_with("if-not-exists", &[Action::Create])?;
    not_with("exclude-internal", &[Action::List, Action::Describe])?;
    not_with("dry-run", &[Action::Create, Action::Alter, Action::Delete])?;
    Ok(action)
}

/// The values of the arguments.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    pub(super) topics: Vec<String>,
    pub(super) topic_id: Option<Uuid>,
    pub(super) partitions: Option<i32>,
    pub(super) replication_factor: Option<i16>,
    /// The replicas of each partition.
    pub(super) replica_assignment: Option<Vec<Vec<i32>>>,
    pub(super) configs: BTreeMap<String, String>,
    pub(super) exclude_internal: bool,
    pub(super) if_exists: bool,
    pub(super) if_not_exists: bool,
    pub(super) dry_run: bool,
    pub(super) partitions_per_response: i32,
    pub(super) filters: Filters,
    pub(super) timeout_ms: Option<u64>,
}

/// Which partitions `--describe` shows; none set means all.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Filters {
    pub(super) under_replicated: bool,
    pub(super) unavailable: bool,
    pub(super) under_min_isr: bool,
    pub(super) at_min_isr: bool,
    /// Only topics with overridden configs, without partitions.
    pub(super) overrides: bool,
}

impl Filters {
    /// Is a partition's state asked for, so that the topics' own lines are left out?
    pub(super) fn by_partition(&self) -> bool {
        self.under_replicated || self.unavailable || self.under_min_isr || self.at_min_isr
    }
}

impl Request {
    /// Reads the values. Kafka does so only once it has a client, so with `KAFKA_CLI_COMPAT` an error here is one at work.
    pub(super) fn read(action: Action, options: &Options, strict: bool) -> anyhow::Result<Request> {
        let topics: Vec<String> = if strict {
            options.value("topic")?.into_iter().map(str::to_owned).collect()
        } else {
            options.values("topic").into_iter().map(str::to_owned).collect()
        };
        let changes = matches!(action, Action::Create | Action::Alter);
        let partitions: Option<i32> = options.parsed("partitions")?;
        let replication_factor: Option<i32> = options.parsed("replication-factor")?;
        if action == Action::Create {
            if replication_factor.is_some_and(|factor| !(1..=i32::from(i16::MAX)).contains(&factor)) {
                return Err(Failure::new(format!("The replication factor must be between 1 and {} inclusive", i16::MAX)).into());
            }
            if partitions.is_some_and(|partitions| partitions < 1) {
                return Err(Failure::new("The partitions must be greater than 0").into());
            }
        }
        let replica_assignment = match options.value("replica-assignment")? {
            Some(text) if changes && !text.is_empty() => Some(parse_replica_assignment(text)?),
            _ => None,
        };
        let topic_id = match options.value("topic-id")? {
            Some(text) => {
                let id: Uuid = text.parse().map_err(|_| Failure::new(format!("'{text}' is no topic id")))?;
                Some(id).filter(|id| !id.is_zero())
            }
            None => None,
        };
        Ok(Request {
            topics,
            topic_id,
            partitions,
            replication_factor: replication_factor.and_then(|factor| i16::try_from(factor).ok()),
            replica_assignment,
            configs: if changes { parse_configs(&options.values("config"))? } else { BTreeMap::new() },
            exclude_internal: options.has("exclude-internal"),
            if_exists: options.has("if-exists"),
            if_not_exists: options.has("if-not-exists"),
            dry_run: options.has("dry-run"),
            partitions_per_response: options.parsed("partition-size-limit-per-response")?.unwrap_or(2000),
            filters: Filters {
                under_replicated: options.has("under-replicated-partitions"),
                unavailable: options.has("unavailable-partitions"),
                under_min_isr: options.has("under-min-isr-partitions"),
                at_min_isr: options.has("at-min-isr-partitions"),
                overrides: options.has("topics-with-overrides"),
            },
            timeout_ms: options.parsed("timeout")?,
        })
    }
}

/// `1:2,2:3` is two partitions with two replicas each.
fn parse_replica_assignment(text: &str) -> Result<Vec<Vec<i32>>, Failure> {
    let mut partitions: Vec<Vec<i32>> = Vec::new();
    // Java's split drops empty parts at the end.
    for (number, part) in text.trim_end_matches(',').split(',').enumerate() {
        let brokers: Vec<i32> = part
            .trim_end_matches(':')
            .split(':')
            .map(|id| {
                let id = id.trim();
                id.parse().map_err(|_| Failure::new(format!("For input string: \"{id}\"")))
            })
            .collect::<Result<_, _>>()?;
        let mut seen = BTreeSet::new();
        let duplicates: BTreeSet<i32> = brokers.iter().copied().filter(|&id| !seen.insert(id)).collect();
        if !duplicates.is_empty() {
            let duplicates: Vec<String> = duplicates.iter().map(ToString::to_string).collect();
            return Err(Failure::new(format!("Partition replica lists may not contain duplicate entries: {}", duplicates.join(","))));
        }
        if partitions.first().is_some_and(|first| first.len() != brokers.len()) {
            return Err(Failure::new(format!("Partition {number} has different replication factor: {brokers:?}")));
        }
        partitions.push(brokers);
    }
    Ok(partitions)
}

/// `key=value`, blanks around either dropped; a later value of a key replaces an earlier one.
fn parse_configs(texts: &[&str]) -> Result<BTreeMap<String, String>, Failure> {
    texts
        .iter()
        .map(|text| {
            let parts: Vec<&str> = text.split('=').collect();
            // Kafka splits at every '=' and wants exactly two parts; a value may not be empty, nor contain a '='.
            match parts[..] {
                [key, value] if !value.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
                _ => Err(Failure::new(
                    "requirement failed: Invalid topic config: all configs to be added must be in the format \"key=val\".",
                )),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replica_assignments_are_checked_as_kafka_does() {
        assert_eq!(parse_replica_assignment("1:2, 2 :3"), Ok(vec![vec![1, 2], vec![2, 3]]));
        let message = |text| parse_replica_assignment(text).unwrap_err().message;
        assert_eq!(message("1:1"), "Partition replica lists may not contain duplicate entries: 1");
        assert_eq!(message("1,1:2"), "Partition 1 has different replication factor: [1, 2]");
        assert_eq!(message("one"), "For input string: \"one\"");
    }

    #[test]
    fn configs_are_key_and_value() {
        let configs = parse_configs(&["a=1", "b = 2", "a=3"]).unwrap();
        assert_eq!(configs.into_iter().collect::<Vec<_>>(), [("a".into(), "3".into()), ("b".into(), "2".into())]);
        for bad in ["a", "a=", "a=b=c"] {
            assert!(parse_configs(&[bad]).is_err(), "{bad}");
        }
    }
}
