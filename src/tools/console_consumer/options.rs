//! The arguments of `kafka-console-consumer`: what there is, and which of it goes together.
//!
//! Source: `ConsoleConsumerOptions`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;

use clap::Command;

use super::formatter::{self, Formatter};
use crate::client::{ClientConfig, ClientKind};
use crate::common::clock::{Clock, SystemClock};
use crate::tools::args::{self, Options, connection_args, file, flag, value};
use crate::tools::connect::{self, ConnectError};
use crate::tools::exit::{Failure, Usage};
use crate::tools::output::Format;
use crate::tools::session::Session;
use crate::tools::time;

pub(super) fn command() -> Command {
    let command = args::command("kafka-console-consumer", "Read records of topics and print them")
        .args(connection_args())
        .args([
            value("command-property", "NAME=VALUE", "A property of the consumer, before those of --command-config; may be repeated"),
            value("consumer-property", "NAME=VALUE", "The old name of --command-property").hide(true),
            file("consumer.config", "The old name of --command-config").alias("consumer-config").hide(true),
        ])
        .mut_args(|arg| arg.help_heading("Connection"))
        .next_help_heading("What to read")
        .args([
            value("topic", "TOPIC", "The topic"),
            value("include", "REGEX", "All topics whose whole name matches, also those to come"),
            value("partition", "N", "Only this partition of the topic"),
            value("group", "GROUP", "Read as a member of this consumer group, and commit what was printed").long_help(
                "Read as a member of this consumer group: go on where the group stopped, share the partitions with its other members, and \
                 commit what was printed. Without it (or group.id) the partitions are read on their own, and no group comes to be",
            ),
            value(
                "isolation-level",
                "LEVEL",
                "read_committed leaves out records of open and aborted transactions [default: read_uncommitted]",
            ),
        ])
        .next_help_heading("Where to start and to end")
        .args([
            flag("from-beginning", "Start at the first record instead of behind the last; a group that has committed goes on from there"),
            value("offset", "OFFSET", "Start --partition at this offset, or at 'earliest' or 'latest'"),
            value("from", "MOMENT", "Start at the first record of this moment or later").long_help(
                "Start at the first record of this moment or later, and leave out earlier ones. A moment is RFC 3339 \
                 (2026-01-31T08:30:00Z), a date (UTC), milliseconds since 1970, a time ago (-2h, -7d) or now",
            ),
            value("to", "MOMENT", "End where this moment is reached: print only records before it").long_help(
                "Print only records before this moment, and end where each partition has its first record of that moment or later. When it \
                 lies ahead, records are printed until it comes. Moments are written as for --from",
            ),
            value("tail", "N", "Start N records before the end of each partition").long_help(
                "Start N records before the end of each partition (as kcat -o -N does), and go on with those that come; \
                 with --exit-at-end, print just these",
            ),
            flag("exit-at-end", "End behind the records that there were at the start"),
            value("max-messages", "N", "End after this many records"),
            value("timeout-ms", "MS", "End when no record came for this long"),
        ])
        .next_help_heading("How to print")
        .args([
            value("formatter-property", "NAME=VALUE", "A property of the formatter; may be repeated").long_help(
                "A property of the formatter; may be repeated. The default formatter has: print.timestamp, print.partition, print.offset, \
                 print.delivery, print.epoch, print.headers, print.key (each true or false [default: false]), print.value [default: true], \
                 key.separator [default: a tab], line.separator [default: a line feed], headers.separator [default: a comma], null.literal \
                 [default: null], key.deserializer, value.deserializer, headers.deserializer. Columns are printed in this order",
            ),
            value("property", "NAME=VALUE", "The old name of --formatter-property").hide(true),
            file("formatter-config", "Properties file for the formatter; --formatter-property goes before it"),
            value("formatter", "CLASS", "What prints the records [default: DefaultMessageFormatter]")
                .long_help(format!("What prints the records [default: DefaultMessageFormatter]. There are: {}", formatter::names())),
            value("key-deserializer", "CLASS", "How to read keys, as by the formatter's key.deserializer"),
            value("value-deserializer", "CLASS", "How to read values, as by the formatter's value.deserializer")
                .long_help(format!("How to read values. There are: {}", super::deserializer::names())),
            flag("skip-message-on-error", "Go on after a record that cannot be printed"),
            flag("enable-systest-events", "Print shutdown_complete at the end").hide(true),
        ])
        .after_help(
            "Examples:\n  \
             kafka-console-consumer --bootstrap-server localhost:9092 --topic orders --from-beginning\n  \
             kafka-console-consumer --bootstrap-server localhost:9092 --topic orders --tail 10 --exit-at-end --output json\n  \
             kafka-console-consumer --bootstrap-server localhost:9092 --topic orders --from -2h --formatter-property print.key=true",
        );
    args::with_general_args(command)
}

/// What to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Topic(String),
    /// Text of a regular expression.
    Include(String),
}

/// Where to start in each partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// Where the group stopped, else where `auto.offset.reset` says.
    Configured,
    Earliest,
    Latest,
    Offset(i64),
    /// This many records before the end.
    Tail(i64),
    /// Milliseconds since 1970.
    Time(i64),
}

/// The values of the arguments.
pub(super) struct Request {
    pub(super) source: Source,
    pub(super) partition: Option<i32>,
    pub(super) by_group: bool,
    pub(super) start: Start,
    /// Milliseconds since 1970; no record of this moment or later.
    pub(super) to: Option<i64>,
    pub(super) exit_at_end: bool,
    pub(super) max_messages: Option<u64>,
    /// The longest wait for a record.
    pub(super) timeout: Option<Duration>,
    pub(super) skip_errors: bool,
    pub(super) systest_events: bool,
    pub(super) formatter: Formatter,
    pub(super) config: ClientConfig,
}

/// Of two names of an option, the one that is used.
fn either<'a>(session: &mut Session, options: &Options, old: &'a str, new: &'a str) -> anyhow::Result<&'a str> {
    if options.has(old) && options.has(new) {
        return Err(Usage::new(format!("Options --{old} and --{new} cannot be specified together.")).into());
    }
    if !options.has(old) {
        return Ok(new);
    }
    let notice = format!("Option --{old} is deprecated and will be removed in a future version. Use --{new} instead.");
    if session.compat() {
        writeln!(session.out, "{notice}")?;
    } else if !session.quiet() {
        session.warn(notice);
    }
    Ok(old)
}

/// `name=value` pairs, the later of equals; a value may be left out.
fn pairs(texts: &[&str]) -> BTreeMap<String, String> {
    texts.iter().map(|text| text.split_once('=').unwrap_or((text, ""))).map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

impl Request {
    /// Reads and checks all of it, in Kafka's order.
    pub(super) fn read(session: &mut Session, options: &Options) -> anyhow::Result<Request> {
        let source = match (options.value("topic")?, options.value("include")?) {
            (Some(topic), None) => Source::Topic(topic.to_owned()),
            (None, Some(pattern)) => Source::Include(pattern.to_owned()),
            _ if options.has("partition") && !options.has("include") && !session.compat() => {
                return Err(Usage::new("The topic is required when partition is specified.").into());
            }
            _ => return Err(Usage::new("Exactly one of the following arguments is required: [include], [topic]").into()),
        };
        let partition: Option<i32> = options.parsed("partition")?;
        if partition.is_some() {
            if matches!(source, Source::Include(_)) {
                return Err(Usage::new("The topic is required when partition is specified.").into());
            }
            if options.has("from-beginning") && options.has("offset") {
                return Err(Usage::new("Options from-beginning and offset cannot be specified together.").into());
            }
        } else if options.has("offset") {
            return Err(Usage::new("The partition is required when offset is specified.").into());
        }
        if session.compat() {
            options.require("bootstrap-server")?;
        }
        for (name, others) in
            [("from", &["from-beginning", "offset", "tail", "group"][..]), ("tail", &["from-beginning", "offset", "group"])]
        {
            options.conflict(name, others)?;
        }
        let property_option = either(session, options, "consumer-property", "command-property")?;
        let config_option = either(session, options, "consumer.config", "command-config")?;
        let (config, by_group) = config(session, options, property_option, config_option, partition.is_some())?;
        let start = start(session, options)?;
        if by_group && matches!(start, Start::Tail(_) | Start::Time(_)) {
            return Err(Usage::new("--from and --tail cannot be used in a group, which goes on where it stopped").into());
        }
        // A group goes on where it stopped; and a whole topic's end is the configuration's default, in place of which another may be given.
        let start = if by_group || (partition.is_none() && start == Start::Latest) { Start::Configured } else { start };
        let to = match options.value("to")? {
            Some(text) => Some(moment(text)?),
            None => None,
        };
        let timeout_ms: Option<i64> = options.parsed("timeout-ms")?;
        let max_messages: Option<i32> = options.parsed("max-messages")?;
        let formatter = read_formatter(session, options)?;
        Ok(Request {
            source,
            partition,
            by_group,
            start,
            to,
            exit_at_end: options.has("exit-at-end"),
            max_messages: max_messages.and_then(|max| u64::try_from(max).ok()),
            timeout: timeout_ms.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis),
            skip_errors: options.has("skip-message-on-error"),
            systest_events: options.has("enable-systest-events"),
            formatter,
            config,
        })
    }
}

/// The client's configuration, and whether it is in a group.
fn config(
    session: &mut Session,
    options: &Options,
    property_option: &str,
    config_option: &str,
    one_partition: bool,
) -> anyhow::Result<(ClientConfig, bool)> {
    let mut from_file: BTreeMap<String, String> = match options.value(config_option)? {
        Some(path) => connect::read_properties(path)?.into_iter().collect(),
        None => BTreeMap::new(),
    };
    let mut properties = pairs(&options.values(property_option));
    let groups: BTreeSet<&str> =
        [options.value("group")?, from_file.get("group.id").map(String::as_str), properties.get("group.id").map(String::as_str)]
            .into_iter()
            .flatten()
            .collect();
    if groups.len() > 1 {
        let found: Vec<String> = groups.iter().map(|group| format!("'{group}'")).collect();
        return Err(Usage::new(format!(
            "The group ids provided in different places (directly using '--group', via '--consumer-property', or via '--consumer.config') \
             do not match. Detected group ids: {}",
            found.join(", ")
        ))
        .into());
    }
    let group = groups.first().map(|group| (*group).to_owned());
    if group.is_some() && one_partition {
        return Err(Usage::new("Options group and partition cannot be specified together.").into());
    }
    let reset = properties.get("auto.offset.reset").or_else(|| from_file.get("auto.offset.reset"));
    match reset {
        Some(reset) if options.has("from-beginning") && reset != "earliest" => {
            return Err(Failure::new(format!(
                "Can't simultaneously specify --from-beginning and 'auto.offset.reset={reset}', please remove one option"
            ))
            .into());
        }
        Some(_) => {}
        None => {
            let reset = if options.has("from-beginning") { "earliest" } else { "latest" };
            properties.insert("auto.offset.reset".to_owned(), reset.to_owned());
        }
    }
    for given in [&mut from_file, &mut properties] {
        if group.is_none() {
            // There is nothing to commit to.
            given.remove("enable.auto.commit");
        }
    }
    let servers = session.variable("KAFKA_BOOTSTRAP_SERVERS").map(str::to_owned);
    let mut builder = ClientConfig::builder(ClientKind::Consumer).environment(servers).file(from_file);
    for (key, value) in properties {
        builder = builder.property(key, value);
    }
    if let Some(group) = &group {
        builder = builder.flag("group.id", group);
    }
    if let Some(level) = options.value("isolation-level")? {
        builder = builder.flag("isolation.level", level);
    }
    if let Some(servers) = options.value("bootstrap-server")? {
        builder = builder.flag("bootstrap.servers", servers);
    }
    let mut config = builder.build().map_err(ConnectError::from)?;
    // Reading never creates a topic, and answers are formatted many records at a time.
    for (key, value) in [("client.id", "console-consumer"), ("allow.auto.create.topics", "false"), ("max.poll.records", "2000")] {
        config = config.or_default(key, value).map_err(ConnectError::from)?;
    }
    for warning in config.warnings() {
        session.warn(warning);
    }
    Ok((config, group.is_some()))
}

fn moment(text: &str) -> Result<i64, Usage> {
    time::moment(text, SystemClock::new().now_ms()).map_err(Usage)
}

fn start(session: &Session, options: &Options) -> Result<Start, Usage> {
    if let Some(text) = options.value("offset")? {
        return match text.to_lowercase().as_str() {
            "earliest" => Ok(Start::Earliest),
            "latest" => Ok(Start::Latest),
            _ => match text.parse::<i64>() {
                Ok(offset) if offset >= 0 => Ok(Start::Offset(offset)),
                _ => Err(Usage(format!(
                    "The provided offset value '{text}' is incorrect. Valid values are 'earliest', 'latest', or a non-negative long."
                ))),
            },
        };
    }
    if let Some(text) = options.value("from")? {
        return moment(text).map(Start::Time);
    }
    if let Some(count) = options.parsed::<u32>("tail")? {
        return Ok(Start::Tail(i64::from(count)));
    }
    // Kafka's tool takes one partition from its end whatever auto.offset.reset says.
    Ok(match (options.has("from-beginning"), session.compat() || options.has("partition")) {
        (true, _) => Start::Earliest,
        (false, true) => Start::Latest,
        (false, false) => Start::Configured,
    })
}

fn read_formatter(session: &mut Session, options: &Options) -> anyhow::Result<Formatter> {
    let property_option = either(session, options, "property", "formatter-property")?;
    let mut properties: BTreeMap<String, String> = match options.value("formatter-config")? {
        Some(path) => connect::read_properties(path)?.into_iter().collect(),
        None => BTreeMap::new(),
    };
    for (option, key) in [("key-deserializer", "key.deserializer"), ("value-deserializer", "value.deserializer")] {
        if let Some(class) = options.value(option)?.filter(|class| !class.is_empty()) {
            properties.insert(key.to_owned(), class.to_owned());
        }
    }
    properties.extend(pairs(&options.values(property_option)));
    let class = options.value("formatter")?;
    if session.format() == Format::Json && class.is_none() {
        return Ok(Formatter::Json);
    }
    let compat = session.compat();
    let formatter = Formatter::new(class.unwrap_or("DefaultMessageFormatter"), &properties, compat, &mut |warning| session.warn(warning))?;
    Ok(formatter)
}
