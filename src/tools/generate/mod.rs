//! Shell completions and man pages, made from the same clap definitions that parse and explain the arguments.
//!
//! The scripts hold every flag, so that completing a flag runs nothing; for the names of topics and groups they call
//! `ottla complete` ([`super::names`]). One script a shell serves all programs.
//! Invariant: the committed files under `completions/` and `man/` are what [`files`] makes; a test compares them.

mod bash;
mod fish;
mod man;
mod powershell;
mod zsh;

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use clap::{Arg, Command, ValueHint};

use super::exit::{Exit, Usage};
use super::session::Session;
use super::topics::TOPIC_CONFIGS;
use super::{OwnCommand, TOOLS};

/// What may stand after a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Values {
    /// The flag takes no value.
    None,
    /// Nothing that can be guessed.
    Free,
    Choice(Vec<String>),
    Files,
    Directories,
    /// Names that the cluster knows: the word for `ottla complete`.
    Names(&'static str),
    /// Names of topic configs, each to be followed by `=` and a value.
    TopicConfigs,
}

/// One flag of a program.
struct Flag {
    long: String,
    help: String,
    value_name: String,
    values: Values,
    /// The value may be left out.
    optional: bool,
}

/// A program, or a command of `ottla`.
struct Program {
    /// `kafka-topics`; empty for what is only a command of `ottla`.
    name: String,
    /// `topics`
    noun: String,
    about: String,
    flags: Vec<Flag>,
    /// What stands without a flag.
    operand: Values,
}

impl Program {
    /// A name that a shell function may have.
    fn function(&self) -> String {
        format!("_ottla_{}", self.noun.replace('-', "_"))
    }
}

fn values_of(arg: &Arg) -> Values {
    if !arg.get_action().takes_values() {
        return Values::None;
    }
    let choices: Vec<String> = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    match (arg.get_id().as_str(), arg.get_value_hint()) {
        _ if !choices.is_empty() => Values::Choice(choices),
        ("topic", _) => Values::Names("topics"),
        ("group", _) => Values::Names("groups"),
        ("state", _) => Values::Choice(["Stable", "Empty", "PreparingRebalance", "CompletingRebalance", "Dead"].map(str::to_owned).into()),
        ("type", _) => Values::Choice(["classic", "consumer"].map(str::to_owned).into()),
        ("config", ValueHint::Unknown) => Values::TopicConfigs,
        (_, ValueHint::FilePath) => Values::Files,
        (_, ValueHint::DirPath) => Values::Directories,
        _ => Values::Free,
    }
}

fn program(name: &str, noun: &str, command: &Command) -> Program {
    let flag = |arg: &Arg| {
        Some(Flag {
            long: arg.get_long()?.to_owned(),
            help: arg.get_help().map(ToString::to_string).unwrap_or_default(),
            value_name: arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string).unwrap_or_default(),
            values: values_of(arg),
            optional: arg.get_num_args().is_some_and(|range| range.min_values() == 0 && range.max_values() > 0),
        })
    };
    let mut flags: Vec<Flag> = command.get_arguments().filter(|arg| !arg.is_hide_set()).filter_map(flag).collect();
    flags.sort_by(|a, b| a.long.cmp(&b.long));
    Program {
        name: name.to_owned(),
        noun: noun.to_owned(),
        about: command.get_about().map(ToString::to_string).unwrap_or_default(),
        flags,
        operand: command.get_positionals().next().map_or(Values::None, values_of),
    }
}

fn programs(own: &[OwnCommand]) -> Vec<Program> {
    let tools = TOOLS.iter().map(|tool| program(tool.name, tool.noun(), &(tool.command)()));
    let own = own.iter().map(|own| {
        let command = (own.command)();
        program("", command.get_name(), &command)
    });
    let mut programs: Vec<Program> = tools.chain(own).collect();
    programs.sort_by(|a, b| a.noun.cmp(&b.noun));
    programs
}

const HEAD: &str = "Completions for ottla and for Kafka's tools. Made by `ottla generate`, from the tools' own definitions.";

/// A shell's script.
fn script(shell: &str, programs: &[Program]) -> Option<String> {
    match shell {
        "bash" => Some(bash::script(programs)),
        "zsh" => Some(zsh::script(programs)),
        "fish" => Some(fish::script(programs)),
        "powershell" => Some(powershell::script(programs)),
        _ => None,
    }
}

/// Every file: its path and its content.
fn files(own: &[OwnCommand]) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let programs = programs(own);
    let mut files = vec![
        ("completions/ottla.bash".to_owned(), bash::script(&programs).into_bytes()),
        ("completions/_ottla".to_owned(), zsh::script(&programs).into_bytes()),
        ("completions/ottla.fish".to_owned(), fish::script(&programs).into_bytes()),
        ("completions/_ottla.ps1".to_owned(), powershell::script(&programs).into_bytes()),
        ("man/ottla.1".to_owned(), man::overview(&programs)?),
    ];
    for tool in TOOLS {
        files.push((format!("man/{}.1", tool.name), man::tool_page(tool.name, (tool.command)())?));
    }
    for own in own {
        let command = (own.command)();
        let name = format!("ottla-{}", command.get_name());
        files.push((format!("man/{name}.1"), man::page(&name, command)?));
    }
    Ok(files)
}

/// `ottla generate DIR`: writes `DIR/completions` and `DIR/man`.
pub(super) fn run(session: &mut Session, args: &[OsString], own: &[OwnCommand]) -> anyhow::Result<Exit> {
    let [dir] = args else { return Err(Usage::new("generate takes one argument: the directory to write to").into()) };
    for (path, content) in files(own)? {
        let path = Path::new(dir).join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        }
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        writeln!(session.out, "{}", path.display())?;
    }
    Ok(Exit::SUCCESS)
}

/// The arguments of `ottla completion`.
pub(super) fn completion_command() -> Command {
    Command::new("completion")
        .about("Print the script that completes commands in a shell")
        .arg(Arg::new("shell").required(true).value_name("SHELL").value_parser(["bash", "zsh", "fish", "powershell"]))
}

/// `ottla completion SHELL`: prints the script.
pub(super) fn completion(session: &mut Session, args: &[OsString], own: &[OwnCommand]) -> anyhow::Result<Exit> {
    let usage = || Usage::new("completion takes one argument: bash, zsh, fish or powershell");
    let [shell] = args else { return Err(usage().into()) };
    let script = shell.to_str().and_then(|shell| script(shell, &programs(own))).ok_or_else(usage)?;
    session.out.write_all(script.as_bytes())?;
    Ok(Exit::SUCCESS)
}

/// Every topic config, with the `=` that follows it.
fn topic_configs() -> Vec<String> {
    TOPIC_CONFIGS.iter().map(|name| format!("{name}=")).collect()
}
