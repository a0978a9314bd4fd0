//! The arguments of `kafka-consumer-groups`: what there is, and which of it goes together.
//!
//! Source: `ConsumerGroupCommandOptions`.

use clap::Command;

use crate::tools::args::{self, Options, connection_args, file, flag, optional_value, value};
use crate::tools::connect;
use crate::tools::exit::Usage;
use crate::tools::session::Session;

pub(crate) fn command() -> Command {
    let command = args::command("kafka-consumer-groups", "List, describe and delete consumer groups, and reset their offsets")
        .args(connection_args())
        .arg(value("timeout", "MS", "The most time a call may take, in milliseconds [default: 30000]").help_heading("Connection"))
        .next_help_heading("Actions")
        .args([
            flag("list", "List the groups"),
            flag("describe", "Show a group's offsets and lag (or its --members, or its --state)"),
            flag("delete", "Delete groups, with all their offsets"),
            flag("reset-offsets", "Set a group's offsets; the group must have no members"),
            flag("delete-offsets", "Delete a group's offsets for the topics that --topic names"),
            value("validate-regex", "REGEX", "Say whether an expression is valid for subscriptions (RE2's syntax); needs no cluster"),
        ])
        .next_help_heading("Groups and topics")
        .args([
            value("group", "GROUP", "The group; may be repeated"),
            flag("all-groups", "All groups"),
            value(
                "topic",
                "TOPIC",
                "The topic; may be repeated. With --reset-offsets and --delete-offsets also TOPIC:0,1,2 for some partitions",
            ),
            flag("all-topics", "With --reset-offsets: all topics that the group has offsets for"),
        ])
        .next_help_heading("List and describe")
        .args([
            flag("offsets", "With --describe: offsets and lag of each partition (the default)"),
            flag("members", "With --describe: the members and how many partitions each has"),
            optional_value("state", "STATE,...", "With --describe: the group's state. With --list: show states, or only groups in these"),
            optional_value("type", "TYPE,...", "With --list: show types, or only groups of these (classic, consumer)"),
            flag("verbose", "With --describe: more columns (epochs, assignments)"),
            optional_value("watch", "SECONDS", "With --describe: show it again every so often, with rates [default: 2]").long_help(
                "With --describe: show lag, the rate at which it shrinks and the time to catch up, again and again until Ctrl-C. \
                 On a terminal the screen is redrawn; in a pipe there is one block (with --output json one line) a time [default: 2]",
            ),
        ])
        .next_help_heading("Reset offsets")
        .args([
            flag("dry-run", "Only show what would be done (the default of --reset-offsets)"),
            flag("execute", "Do it"),
            flag("export", "Print the new offsets as CSV, which --from-file reads"),
            flag("to-earliest", "To the first offset there is"),
            flag("to-latest", "To the end"),
            flag("to-current", "To the offset committed now"),
            value("to-offset", "OFFSET", "To this offset"),
            value("shift-by", "N", "By so many offsets forward, or back when negative"),
            value("to-datetime", "TIME", "To the first record since a moment").long_help(
                "To the first record since a moment: 2026-01-31T08:30:00.000, UTC unless it ends in an offset such as +02:00. \
                 Seconds and their fraction may be left out, the time of day too; -2h is two hours ago",
            ),
            value("by-duration", "DURATION", "To the first record since so long ago: P1DT2H3M4S"),
            file("from-file", "To what a CSV file says: lines of TOPIC,PARTITION,OFFSET or GROUP,TOPIC,PARTITION,OFFSET"),
        ])
        .after_help(
            "Examples:\n  \
             kafka-consumer-groups --bootstrap-server localhost:9092 --describe --group readers\n  \
             kafka-consumer-groups --bootstrap-server localhost:9092 --describe --all-groups --watch\n  \
             kafka-consumer-groups --bootstrap-server localhost:9092 --group readers --topic orders \\\n      \
             --reset-offsets --to-datetime -2h --execute",
        );
    args::with_general_args(command)
}

/// The one thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    List,
    Describe,
    Delete,
    ResetOffsets,
    DeleteOffsets,
    ValidateRegex,
}

const ACTIONS: [(&str, Action); 6] = [
    ("list", Action::List),
    ("describe", Action::Describe),
    ("delete", Action::Delete),
    ("reset-offsets", Action::ResetOffsets),
    ("delete-offsets", Action::DeleteOffsets),
    ("validate-regex", Action::ValidateRegex),
];

/// The flags that say what offsets are reset to.
const RESET_TARGETS: [&str; 8] =
    ["to-offset", "shift-by", "to-datetime", "by-duration", "to-earliest", "to-latest", "to-current", "from-file"];

/// Kafka's warning when a reset says neither `--execute` nor `--dry-run`.
const NO_EXECUTE: &str = "WARN: No action will be performed as the --execute option is missing. In version 5.0, this command will \
     require either --dry-run or --execute to be specified. You should add the --dry-run option explicitly if you are scripting this \
     command and want to keep the current default behavior without prompting.";

/// Checks which flags were given together and finds the action.
pub(super) fn check(session: &mut Session, options: &Options) -> Result<Action, Usage> {
    for name in ["members", "verbose", "offsets"] {
        options.only_with(name, &["describe"])?;
    }
    options.only_with("state", &["describe", "list"])?;
    options.only_with("type", &["list"])?;
    options.only_with("watch", &["describe"])?;
    if !options.has("validate-regex") && !connect::has_servers(session, options) {
        let also = if session.compat() { "" } else { " (or KAFKA_BOOTSTRAP_SERVERS, or bootstrap.servers in the --command-config file)" };
        return Err(Usage(format!("Missing required argument \"[bootstrap-server]\"{also}")));
    }
    let takes_groups = |action: &str| {
        if options.has("group") || options.has("all-groups") {
            return Ok(());
        }
        Err(Usage(format!("Option [{action}] takes one of these options: [group], [all-groups]")))
    };
    if options.has("describe") {
        takes_groups("describe")?;
        if ["members", "offsets", "state"].iter().filter(|name| options.has(name)).count() > 1 {
            return Err(Usage::new("Option [describe] takes at most one of these options: [members], [offsets], [state]"));
        }
        if options.values("state").iter().any(|state| !state.is_empty()) {
            return Err(Usage::new("Option [describe] does not take a value for [state]"));
        }
        options.conflict("watch", &["members", "state"])?;
    }
    if options.has("delete") {
        takes_groups("delete")?;
        if options.has("topic") {
            return Err(Usage::new("The consumer does not support topic-specific offset deletion from a consumer group."));
        }
    }
    if options.has("delete-offsets") && !(options.has("group") && options.has("topic")) {
        return Err(Usage::new("Option [delete-offsets] takes the following options: [group], [topic]"));
    }
    if options.has("reset-offsets") {
        check_reset(session, options)?;
        takes_groups("reset-offsets")?;
        for target in RESET_TARGETS {
            let others: Vec<&str> = RESET_TARGETS.into_iter().filter(|&other| other != target).collect();
            options.conflict(target, &others)?;
        }
    }
    options.conflict("group", &["all-groups"])?;
    options.conflict("group", &["list"])?;
    options.conflict("topic", &["list", "describe"])?;
    let mut actions = ACTIONS.iter().filter(|(name, _)| options.has(name));
    let (Some(&(_, action)), None) = (actions.next(), actions.next()) else {
        let names: Vec<String> = ACTIONS.iter().map(|(name, _)| format!("--{name}")).collect();
        return Err(Usage(format!("Command must include exactly one action: {}", names.join(", "))));
    };
    if action == Action::ResetOffsets && !session.compat() {
        // Kafka finds these out only after it has talked to the cluster.
        if !RESET_TARGETS.iter().any(|target| options.has(target)) {
            let names: Vec<String> = RESET_TARGETS.iter().map(|name| format!("--{name}")).collect();
            return Err(Usage(format!("--reset-offsets needs one of {}", names.join(", "))));
        }
        if !options.has("all-topics") && !options.has("topic") && !options.has("from-file") {
            return Err(Usage::new("One of the reset scopes should be defined: --all-topics, --topic."));
        }
    }
    // Where it has no meaning Kafka ignores it and acts; whoever wrote it wanted to see first.
    if options.has("dry-run") && !matches!(action, Action::ResetOffsets | Action::Delete | Action::DeleteOffsets) {
        let name = ACTIONS.iter().find(|(_, other)| *other == action).map_or("", |(name, _)| name);
        if !session.compat() {
            return Err(Usage(format!("Option \"[dry-run]\" can't be used with option \"[{name}]\"")));
        }
    }
    Ok(action)
}

fn check_reset(session: &mut Session, options: &Options) -> Result<(), Usage> {
    if options.has("dry-run") && options.has("execute") {
        return Err(Usage::new("Option [reset-offsets] only accepts one of [execute] and [dry-run]"));
    }
    if !options.has("dry-run") && !options.has("execute") {
        if session.compat() {
            let _ = writeln!(session.err, "{NO_EXECUTE}");
        } else {
            session.warn("a dry run: nothing is changed without --execute");
        }
    }
    Ok(())
}
