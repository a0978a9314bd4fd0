//! The command-line tools: `kafka-topics`, `kafka-console-producer`, `kafka-console-consumer`, `kafka-consumer-groups`, and the same as
//! `ottla topics`, `ottla console-producer` and so on.
//!
//! [`ottla`] finds the tool in [`TOOLS`] by the name it was called by (or by the first argument after `ottla`), parses its arguments
//! ([`args`]), and runs it in a [`Session`] (streams, terminal, environment). A tool's result is printed by [`output`]; how it ends
//! is an [`Exit`].
//!
//! Invariant: flags, plain results and their order are Kafka's. What goes beyond Kafka: errors in one line on standard error and a
//! non-zero exit code, dry runs that are dry, names before patterns, JSON, tables on a terminal. `KAFKA_CLI_COMPAT=4.3` takes the
//! differences in standard output and exit codes back.
//! Invariant: tools use `client`, `protocol` and `common` only; those that work on a data directory without a broker also `storage`, `raft`
//! and `metadata`. The broker is another world.

mod args;
mod check;
mod connect;
mod console_consumer;
mod console_producer;
mod consumer_groups;
mod consumer_perf_test;
mod coordinator_records;
mod dump_log;
mod e2e_latency;
mod exit;
mod generate;
mod java_json;
mod java_number;
mod latencies;
mod links;
mod metrics;
mod names;
mod output;
mod payload;
mod producer_perf_test;
mod quickstart;
mod record_json;
mod session;
mod signals;
mod storage;
mod suggest;
mod time;
mod topics;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Command;

use args::Options;
use exit::Usage;
use session::Session;

pub use exit::Exit;

/// The release of Apache Kafka whose flags and texts these tools have.
pub const KAFKA_VERSION: &str = "4.3.0";

/// What parses the arguments of Kafka's own tool, where that shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parser {
    /// Help is a failure on standard error.
    Jopt,
    /// Help is a success on standard output; there is no `--version`; the beginning of a flag's name is enough.
    Argparse4j,
}

/// One tool.
pub(crate) struct Tool {
    /// Kafka's name for it, such as `kafka-topics`.
    pub(crate) name: &'static str,
    pub(crate) parser: Parser,
    /// Its arguments, from which help, completions and man pages are made too.
    pub(crate) command: fn() -> Command,
    /// Does the work. An error that comes back is printed in one line.
    pub(crate) run: fn(&mut Session, &Options) -> anyhow::Result<Exit>,
}

impl Tool {
    /// The word after `ottla` that means this tool.
    pub(crate) fn noun(&self) -> &'static str {
        self.name.trim_start_matches("kafka-")
    }
}

/// Every tool, by name.
pub(crate) const TOOLS: &[Tool] = &[
    console_consumer::TOOL,
    console_producer::TOOL,
    consumer_groups::TOOL,
    consumer_perf_test::TOOL,
    dump_log::TOOL,
    e2e_latency::TOOL,
    producer_perf_test::TOOL,
    storage::TOOL,
    topics::TOOL,
];

/// Runs the tool of this name whatever the executable is called.
pub fn main_of(name: &str, args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match TOOLS.iter().find(|tool| tool.name == name) {
        Some(tool) => run(tool, tool.name.to_owned(), Exit::FAILURE, args.into_iter().skip(1).collect()).into(),
        None => ottla(args, &[]),
    }
}

/// `kafka-topics`, `/usr/bin/kafka-topics.sh`, `kafka-topics.exe`.
fn by_program_name(called: &OsString) -> Option<&'static Tool> {
    let name = Path::new(called).file_name()?.to_str()?;
    let name = [".sh", ".bat", ".exe"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    TOOLS.iter().find(|tool| tool.name == name)
}

/// One call of one tool, from its words to its exit code.
fn run(tool: &Tool, program: String, usage_exit: Exit, args: Vec<OsString>) -> Exit {
    let mut session = Session::of_process(program, usage_exit);
    session.log_to_stderr();
    let result = parse_and_run(tool, &mut session, args).and_then(|exit| {
        session.out.flush()?;
        Ok(exit)
    });
    conclude(&mut session, result)
}

/// Turns the result of a call into its exit code, and an error into a line.
fn conclude(session: &mut Session, result: anyhow::Result<Exit>) -> Exit {
    match result {
        Ok(exit) => exit,
        Err(error) if exit::is_broken_pipe(&error) => Exit::SUCCESS,
        Err(error) => {
            // What was printed before the error belongs before it.
            let _ = session.out.flush();
            session.report(&error)
        }
    }
}

fn parse_and_run(tool: &Tool, session: &mut Session, words: Vec<OsString>) -> anyhow::Result<Exit> {
    let command = (tool.command)();
    let words = args::utf8(words)?;
    let takes_words = command.get_positionals().next().is_some();
    let by_argparse = tool.parser == Parser::Argparse4j;
    let options = Options::parse(command.clone(), &words, session.compat() && !by_argparse)?;
    session.choose(&options);
    if options.has("help") || (session.compat() && words.is_empty() && !(by_argparse && takes_words)) {
        return help(session, command, by_argparse, takes_words || words.is_empty());
    }
    if options.has("version") {
        // The third kind: arguments that may come without names, which are counted before --version is looked for.
        return if session.compat() && (by_argparse || takes_words) {
            Err(Usage::new("unrecognized arguments: '--version'").into())
        } else {
            version(session)
        };
    }
    if by_argparse && !takes_words && !options.stray().is_empty() {
        return Err(Usage(format!("unrecognized arguments: '{}'", options.stray().join(" "))).into());
    }
    for word in options.stray().iter().filter(|_| !takes_words) {
        session.warn(format_args!("ignored: '{word}' belongs to no option"));
    }
    (tool.run)(session, &options)
}

/// The help text on standard output; Kafka's tools print theirs on standard error and fail. With argparse4j it is standard output, and whether
/// it is a success depends on the tool.
fn help(session: &mut Session, mut command: Command, by_argparse: bool, is_success: bool) -> anyhow::Result<Exit> {
    let program = session.program().to_owned();
    let text = command.clone().bin_name(program).render_help();
    if session.compat() && !by_argparse {
        if let Some(about) = command.get_about() {
            writeln!(session.err, "{about}")?;
        }
        write!(session.err, "{}", command.render_help())?;
        return Ok(Exit::FAILURE);
    }
    if session.color() {
        write!(session.out, "{}", text.ansi())?;
    } else {
        write!(session.out, "{text}")?;
    }
    Ok(if session.compat() && !is_success { Exit::FAILURE } else { Exit::SUCCESS })
}

fn version(session: &mut Session) -> anyhow::Result<Exit> {
    if session.compat() {
        writeln!(session.out, "{KAFKA_VERSION}")?;
    } else {
        writeln!(session.out, "{KAFKA_VERSION} (ottla {})", env!("CARGO_PKG_VERSION"))?;
    }
    Ok(Exit::SUCCESS)
}

/// A command of `ottla` that is no tool.
pub struct OwnCommand {
    /// Its name, purpose and arguments.
    pub command: fn() -> Command,
    /// Runs it with the words after its name.
    pub run: fn(Vec<OsString>) -> ExitCode,
}

/// `ottla NOUN …`, also by the tools' own names. `others` are commands that live elsewhere, such as the broker.
pub fn ottla(args: impl IntoIterator<Item = OsString>, others: &[OwnCommand]) -> ExitCode {
    let mut args = args.into_iter();
    let called = args.next().unwrap_or_default();
    let args: Vec<OsString> = args.collect();
    if let Some(tool) = by_program_name(&called) {
        return run(tool, tool.name.to_owned(), Exit::FAILURE, args).into();
    }
    let first = args.first().and_then(|word| word.to_str()).unwrap_or_default().to_owned();
    let rest = || args.iter().skip(1).cloned().collect::<Vec<_>>();
    if let Some(tool) = TOOLS.iter().find(|tool| tool.noun() == first || tool.name == first) {
        return run(tool, format!("ottla {}", tool.noun()), Exit(2), rest()).into();
    }
    if let Some(other) = others.iter().find(|other| (other.command)().get_name() == first) {
        return (other.run)(rest());
    }
    let mut session = Session::of_process("ottla", Exit(2));
    // What this module adds to the commands from elsewhere: they have arguments too, for completions and man pages.
    let described: Vec<OwnCommand> = others
        .iter()
        .map(|other| OwnCommand { command: other.command, run: other.run })
        .chain(
            [check::command, links::command, quickstart::command, generate::completion_command]
                .map(|command| OwnCommand { command, run: |_| ExitCode::FAILURE }),
        )
        .collect();
    let result = match first.as_str() {
        "check" => check::run(&mut session, &rest()),
        "links" => links::run(&mut session, &rest()),
        "quickstart" => quickstart::run(&mut session, &rest()),
        "completion" => generate::completion(&mut session, &rest(), &described),
        // For the shells' completions, and for those who work on this program.
        "complete" => names::run(&mut session, &rest()),
        "generate" => generate::run(&mut session, &rest(), &described),
        "-V" | "--version" | "-version" => version(&mut session),
        "help" | "-h" | "--help" | "-help" => overview(&mut session, &described),
        "" => overview(&mut session, &described).map(|_| Exit(2)),
        other => Err(unknown_command(other, &described).into()),
    };
    let result = result.and_then(|exit| {
        session.out.flush()?;
        Ok(exit)
    });
    conclude(&mut session, result).into()
}

/// Every command: its name and purpose, sorted.
fn commands(others: &[OwnCommand]) -> Vec<(String, String)> {
    let about = |command: &Command| command.get_about().map(ToString::to_string).unwrap_or_default();
    let tools = TOOLS.iter().map(|tool| (tool.noun().to_owned(), about(&(tool.command)())));
    let others = others.iter().map(|other| (other.command)()).map(|command| (command.get_name().to_owned(), about(&command)));
    let mut commands: Vec<(String, String)> = tools.chain(others).collect();
    commands.sort();
    commands
}

fn unknown_command(name: &str, others: &[OwnCommand]) -> Usage {
    let commands = commands(others);
    match suggest::closest(name, commands.iter().map(|(name, _)| name.as_str())) {
        Some(near) => Usage(format!("'{name}' is no command; did you mean '{near}'?")),
        None => Usage(format!("'{name}' is no command")),
    }
}

fn overview(session: &mut Session, others: &[OwnCommand]) -> anyhow::Result<Exit> {
    let out = &mut session.out;
    writeln!(out, "Kafka as one native program: the broker and its command-line tools.\n")?;
    writeln!(out, "Usage: ottla COMMAND [OPTIONS]\n\nCommands:")?;
    for (name, about) in commands(others) {
        writeln!(out, "  {name:<18} {about}")?;
    }
    writeln!(out, "\n'ottla COMMAND --help' explains a command. The tools also go by Kafka's names (see 'ottla links').")?;
    Ok(Exit::SUCCESS)
}
