//! `kafka-storage`: formats the directories of a node, and says what is in them.
//!
//! What is written is written by [`crate::metadata::format`], as when a broker starts on new directories.
//! Differs: the files of all directories are durable before the first of them counts as formatted. Beyond Kafka: `--output json`.
//! Source: `kafka.tools.StorageTool`, `org.apache.kafka.metadata.storage.Formatter`.

mod config;
mod features;
mod format;
mod info;
mod scram;

use std::io::Write;

use clap::{Arg, Command, ValueHint};
use serde_json::json;

use self::config::NodeConfig;
use super::args::{self, Options, file, flag, value, with_general_args};
use super::exit::{Exit, Usage};
use super::output::{Format, print_json};
use super::session::Session;
use super::{Parser, Tool};
use crate::common::random::Random;
use crate::common::uuid::Uuid;

pub(super) const TOOL: Tool = Tool { name: "kafka-storage", parser: Parser::Argparse4j, command, run };

const COMMANDS: [&str; 5] = ["info", "format", "version-mapping", "feature-dependencies", "random-uuid"];

fn command() -> Command {
    with_general_args(
        args::command(
            "storage",
            "Format the directories of a node, or look at them: info, format, version-mapping, feature-dependencies, random-uuid",
        )
        .args([
            Arg::new("command").value_name("COMMAND").value_parser(COMMANDS).help("What to do"),
            file("config", "The node's server.properties (info, format; -c)").alias("c").value_hint(ValueHint::FilePath),
            value("cluster-id", "ID", "The cluster that the node belongs to (format; -t)").alias("t"),
            flag("standalone", "The node is the only voter of a new quorum (format; -s)").alias("s"),
            value("initial-controllers", "ID@HOST:PORT:DIRECTORY,...", "The voters of a new quorum, the same on every node (format; -I)")
                .alias("I"),
            flag("no-initial-controllers", "The voters of the quorum are known elsewhere (format; -N)").alias("N"),
            flag("ignore-formatted", "Leave directories alone that are formatted (format; -g)").alias("g"),
            value("release-version", "RELEASE", "The release whose feature levels to take (format, version-mapping; -r)").alias("r"),
            value("feature", "NAME=LEVEL", "A feature's level; may be repeated (format, feature-dependencies; -f)").alias("f"),
            value(
                "add-scram",
                "MECHANISM=[NAME=VALUE,...]",
                "A user to begin with: name, password, and perhaps salt, iterations, saltedpassword; may be repeated (format; -S)",
            )
            .alias("S"),
        ]),
    )
}

/// The options that a command takes.
fn options_of(command: &str) -> &'static [&'static str] {
    match command {
        "info" => &["config"],
        "format" => &[
            "config",
            "cluster-id",
            "standalone",
            "initial-controllers",
            "no-initial-controllers",
            "ignore-formatted",
            "release-version",
            "feature",
            "add-scram",
        ],
        "version-mapping" => &["release-version"],
        "feature-dependencies" => &["feature"],
        _ => &[],
    }
}

fn run(session: &mut Session, options: &Options) -> anyhow::Result<Exit> {
    let command = match options.stray() {
        [] => return Err(Usage::new(format!("which command? There are {}", COMMANDS.join(", "))).into()),
        [command] if COMMANDS.contains(&command.as_str()) => command.as_str(),
        [command] => {
            let near = super::suggest::closest(command, COMMANDS);
            let hint = near.map_or_else(|| format!("there are {}", COMMANDS.join(", ")), |near| format!("did you mean '{near}'?"));
            return Err(Usage(format!("invalid choice: '{command}'; {hint}")).into());
        }
        [_, words @ ..] => return Err(Usage(format!("unrecognized arguments: '{}'", words.join(" "))).into()),
    };
    let known = options_of(command);
    if let Some(option) = options_of("format").iter().find(|option| options.has(option) && !known.contains(option)) {
        return Err(Usage(format!("{command} takes no --{option}")).into());
    }
    match command {
        "info" => info::run(session, &node_config(options)?),
        "format" => {
            required(options, "cluster-id")?;
            format::run(session, options, &node_config(options)?)
        }
        "version-mapping" => features::version_mapping(session, options.last("release-version")),
        "feature-dependencies" => {
            required(options, "feature")?;
            features::dependencies(session, &options.values("feature"))
        }
        _ => {
            let id = Uuid::random(&mut Random::from_entropy()).to_string();
            match session.format() {
                Format::Json => print_json(session, &json!(id))?,
                _ => writeln!(session.out, "{id}")?,
            }
            Ok(Exit::SUCCESS)
        }
    }
}

fn required(options: &Options, name: &str) -> Result<(), Usage> {
    if options.has(name) { Ok(()) } else { Err(Usage(format!("argument --{name} is required"))) }
}

fn node_config(options: &Options) -> anyhow::Result<NodeConfig> {
    required(options, "config")?;
    NodeConfig::read(options.last("config").unwrap_or_default().as_ref())
}
