//! The arguments of the `kafka-*` tools: defined with clap, parsed by the rules of Kafka's own parser (jopt-simple).
//!
//! The clap definitions are the one source of names, help texts, shell completions and man pages. Before clap sees a command line it
//! is rewritten word by word into `--name=value`, because jopt's rules are not clap's:
//! - `--topic t`, `--topic=t` and `-topic t` are the same; there are no one-letter flags;
//! - a flag that needs a value takes the next word whatever it looks like (`--shift-by -5`);
//! - a flag whose value may be left out (`--state`) takes the next word unless that begins with `-` and is no number;
//! - words that belong to no flag are ignored (here: with a warning);
//! - a single-valued flag given twice is an error only once its value is asked for.
//!
//! Beyond Kafka: an unambiguous beginning of a name is enough, and `--execute=false` is refused instead of read as `--execute`.
//! Sources: `joptsimple.OptionParser`, `org.apache.kafka.server.util.CommandLineUtils`.

use std::ffi::OsString;
use std::str::FromStr;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint};

use super::exit::Usage;

/// A flag without a value.
pub(crate) fn flag(name: &'static str, help: &'static str) -> Arg {
    // Repeats are no mistake.
    Arg::new(name).long(name).action(ArgAction::SetTrue).overrides_with(name).help(help)
}

/// A flag that needs a value. Repeats are kept: whether more than one makes sense is decided where it is read.
pub(crate) fn value(name: &'static str, value_name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::Append).num_args(1).allow_hyphen_values(true).value_name(value_name).help(help)
}

/// A flag whose value may be left out.
pub(crate) fn optional_value(name: &'static str, value_name: &'static str, help: &'static str) -> Arg {
    value(name, value_name, help).num_args(0..=1).require_equals(true).default_missing_value("")
}

/// A flag that takes all words up to the next flag, at least one, as argparse4j's `nargs("+")` does.
pub(crate) fn values(name: &'static str, value_name: &'static str, help: &'static str) -> Arg {
    value(name, value_name, help).num_args(1..).require_equals(true)
}

/// A file's name.
pub(crate) fn file(name: &'static str, help: &'static str) -> Arg {
    value(name, "FILE", help).value_hint(ValueHint::FilePath)
}

/// A command without arguments; [`with_general_args`] ends its definition.
pub(crate) fn command(name: &'static str, about: &'static str) -> Command {
    Command::new(name).about(about).disable_help_flag(true).disable_version_flag(true).max_term_width(110)
}

/// The command with the flags that every tool has, which come last in its help.
pub(crate) fn with_general_args(command: Command) -> Command {
    command.next_help_heading("General").args([
        Arg::new("output")
            .long("output")
            .action(ArgAction::Append)
            .num_args(1)
            .value_name("FORMAT")
            .value_parser(["plain", "table", "json"])
            .help("How to print the result: Kafka's text, a table, or JSON [default: a table on a terminal, else plain]")
            .env("KAFKA_OUTPUT")
            .hide_env_values(true),
        Arg::new("color")
            .long("color")
            .action(ArgAction::Append)
            .num_args(1)
            .value_name("WHEN")
            .value_parser(["auto", "always", "never"])
            .help("Colour the output [default: auto]"),
        flag("yes", "Do not ask before deleting or overwriting"),
        flag("quiet", "No progress and no notices on standard error"),
        flag("help", "Print this help"),
        flag("version", "Print the version of Kafka that this tool is compatible with"),
    ])
}

/// The flags that say which cluster, and as whom.
pub(crate) fn connection_args() -> [Arg; 2] {
    [
        value("bootstrap-server", "HOST:PORT,...", "The brokers to connect to first")
            .help_heading("Connection")
            .long_help(
                "The brokers to connect to first. Without it: bootstrap.servers in the --command-config file, \
                 then the environment variable KAFKA_BOOTSTRAP_SERVERS",
            )
            .value_hint(ValueHint::Other),
        file("command-config", "Properties file with client settings (security, timeouts), as for Kafka's clients")
            .help_heading("Connection"),
    ]
}

/// A command line rewritten for clap.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Rewritten {
    /// `--name` and `--name=value`, in the order given.
    pub(crate) words: Vec<String>,
    /// Words that belong to no flag.
    pub(crate) stray: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    Optional,
    Value,
    Values,
}

fn takes(arg: &Arg) -> Takes {
    if !arg.get_action().takes_values() {
        Takes::Nothing
    } else if arg.get_num_args().is_some_and(|range| range.min_values() == 0) {
        Takes::Optional
    } else if arg.get_num_args().is_some_and(|range| range.max_values() > 1) {
        Takes::Values
    } else {
        Takes::Value
    }
}

/// Finds the argument that `name` means: exactly, by another of its names, or (when `abbreviations`) by an unambiguous beginning.
fn find<'a>(command: &'a Command, name: &str, abbreviations: bool) -> Result<&'a Arg, Usage> {
    let longs = |arg: &'a Arg| arg.get_long().into_iter().chain(arg.get_all_aliases().unwrap_or_default());
    if let Some(arg) = command.get_arguments().find(|&arg| longs(arg).any(|long| long == name)) {
        return Ok(arg);
    }
    let unknown = || Usage(format!("{name} is not a recognized option"));
    if !abbreviations || name.is_empty() {
        return Err(unknown());
    }
    let candidates: Vec<&Arg> = command.get_arguments().filter(|&arg| longs(arg).any(|long| long.starts_with(name))).collect();
    match candidates[..] {
        [arg] => Ok(arg),
        [] => {
            let names = command.get_arguments().filter_map(Arg::get_long);
            Err(match super::suggest::closest(name, names) {
                Some(near) => Usage(format!("{name} is not a recognized option; did you mean --{near}?")),
                None => unknown(),
            })
        }
        _ => {
            let names: Vec<String> = candidates.iter().filter_map(|arg| arg.get_long()).map(|long| format!("--{long}")).collect();
            Err(Usage(format!("{name} may be any of {}", names.join(", "))))
        }
    }
}

/// Rewrites the words after the tool's name. `strict` leaves out what goes beyond Kafka.
pub(crate) fn rewrite(command: &Command, args: &[String], strict: bool) -> Result<Rewritten, Usage> {
    let mut rewritten = Rewritten::default();
    let mut args = args.iter();
    while let Some(word) = args.next() {
        if word == "--" {
            rewritten.stray.extend(args.by_ref().cloned());
            break;
        }
        let Some(body) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).filter(|body| !body.is_empty()) else {
            rewritten.stray.push(word.clone());
            continue;
        };
        let (name, attached) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (body, None),
        };
        let arg = find(command, name, !strict)?;
        let long = arg.get_long().unwrap_or(name);
        let takes = takes(arg);
        let mut value = match takes {
            Takes::Nothing if attached.is_some() && !strict => return Err(Usage(format!("Option {name} takes no value"))),
            Takes::Nothing => None,
            Takes::Optional => {
                // A negative number is a value, as with jopt.
                let is_value = |next: &&String| next.strip_prefix('-').is_none_or(|rest| rest.parse::<u64>().is_ok());
                attached.or_else(|| args.as_slice().first().filter(is_value).and_then(|_| args.next().cloned()))
            }
            Takes::Value | Takes::Values => match attached.or_else(|| args.next().cloned()) {
                Some(value) => Some(value),
                None => return Err(Usage(format!("Option {name} requires an argument"))),
            },
        };
        if takes == Takes::Values {
            while let Some(next) = args.as_slice().first().filter(|next| !next.starts_with('-')) {
                rewritten.words.extend(value.replace(next.clone()).map(|value| format!("--{long}={value}")));
                args.next();
            }
        }
        rewritten.words.push(match value {
            Some(value) => format!("--{long}={value}"),
            None => format!("--{long}"),
        });
    }
    Ok(rewritten)
}

/// The arguments of one call.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    matches: ArgMatches,
    stray: Vec<String>,
}

impl Options {
    /// Parses the words after the tool's name.
    pub(crate) fn parse(command: Command, args: &[String], strict: bool) -> Result<Options, Usage> {
        let rewritten = rewrite(&command, args, strict)?;
        let name = command.get_name().to_owned();
        let matches = command.try_get_matches_from(std::iter::once(name).chain(rewritten.words)).map_err(explain)?;
        Ok(Options { matches, stray: rewritten.stray })
    }

    /// Words that belong to no flag.
    pub(crate) fn stray(&self) -> &[String] {
        &self.stray
    }

    /// Was the flag given on the command line?
    pub(crate) fn has(&self, name: &str) -> bool {
        self.matches.value_source(name) == Some(ValueSource::CommandLine)
    }

    /// All values of a flag, in order; none when it is absent. A value left out is empty.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        self.matches.get_many::<String>(name).map(|values| values.map(String::as_str).collect()).unwrap_or_default()
    }

    /// The one value of a flag.
    pub(crate) fn value(&self, name: &str) -> Result<Option<&str>, Usage> {
        match self.values(name)[..] {
            [] => Ok(None),
            [value] => Ok(Some(value)),
            _ => Err(Usage(format!("Found multiple arguments for option {name}, but you asked for only one"))),
        }
    }

    /// The one value of a flag, as a number or another type.
    pub(crate) fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>, Usage> {
        self.value(name)?
            .map(|value| value.parse().map_err(|_| Usage(format!("Cannot parse argument '{value}' of option {name}"))))
            .transpose()
    }

    /// The last value of a flag that may be repeated and comes with a choice of values (`--output`, `--color`).
    pub(crate) fn last(&self, name: &str) -> Option<&str> {
        self.values(name).last().copied()
    }

    /// Fails if `used` was given together with one of `others`.
    pub(crate) fn conflict(&self, used: &str, others: &[&str]) -> Result<(), Usage> {
        match others.iter().find(|other| self.has(used) && self.has(other)) {
            Some(other) => Err(Usage(format!("Option \"[{used}]\" can't be used with option \"[{other}]\""))),
            None => Ok(()),
        }
    }

    /// Fails if `name` was not given.
    pub(crate) fn require(&self, name: &str) -> Result<(), Usage> {
        if self.has(name) { Ok(()) } else { Err(Usage(format!("Missing required argument \"[{name}]\""))) }
    }

    /// Fails if `name` was given without any of `with`.
    pub(crate) fn only_with(&self, name: &str, with: &[&str]) -> Result<(), Usage> {
        if self.has(name) && !with.iter().any(|other| self.has(other)) {
            return Err(Usage(format!("Option(s) [{name}] are unavailable given other options on the command line")));
        }
        Ok(())
    }
}

/// clap's message, as one line in the words of the other messages.
fn explain(error: clap::Error) -> Usage {
    use clap::error::{ContextKind, ContextValue};
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    };
    match error.kind() {
        clap::error::ErrorKind::InvalidValue => {
            let option = text(ContextKind::InvalidArg);
            let option = option.split_whitespace().next().unwrap_or_default().trim_start_matches('-');
            let valid = text(ContextKind::ValidValue);
            Usage(format!("Cannot parse argument '{}' of option {option}; it may be {valid}", text(ContextKind::InvalidValue)))
        }
        _ => {
            let rendered = error.render().to_string();
            let first = rendered.lines().next().unwrap_or_default();
            Usage(first.trim_start_matches("error: ").to_owned())
        }
    }
}

/// The words of a command line as text; Kafka's names and patterns are never anything but UTF-8.
pub(crate) fn utf8(args: impl IntoIterator<Item = OsString>) -> Result<Vec<String>, Usage> {
    args.into_iter().map(|arg| arg.into_string().map_err(|arg| Usage(format!("{} is not UTF-8", arg.to_string_lossy())))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Command {
        with_general_args(command("sample", "for tests").args([
            flag("list", ""),
            flag("execute", ""),
            flag("exact", ""),
            value("topic", "T", ""),
            value("topic-id", "T", ""),
            optional_value("state", "S", ""),
            value("shift-by", "N", "").alias("shift"),
            values("property", "P=V", ""),
        ]))
    }

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    fn rewritten(line: &str) -> Result<String, String> {
        rewrite(&sample(), &words(line), false).map(|it| it.words.join(" ")).map_err(|it| it.0)
    }

    #[test]
    fn one_dash_two_dashes_equals_and_blank_are_the_same() {
        for line in ["--topic t", "--topic=t", "-topic t", "-topic=t"] {
            assert_eq!(rewritten(line), Ok("--topic=t".into()), "{line}");
        }
    }

    #[test]
    fn a_needed_value_is_the_next_word_whatever_it_looks_like() {
        assert_eq!(rewritten("--shift-by -5 --topic --list"), Ok("--shift-by=-5 --topic=--list".into()));
        assert_eq!(rewritten("--list --topic"), Err("Option topic requires an argument".into()));
    }

    #[test]
    fn an_optional_value_is_the_next_word_unless_it_is_a_flag() {
        assert_eq!(rewritten("--state --list"), Ok("--state --list".into()));
        assert_eq!(rewritten("--state Empty --list"), Ok("--state=Empty --list".into()));
        assert_eq!(rewritten("--list --state"), Ok("--list --state".into()));
        assert_eq!(rewritten("--state -1"), Ok("--state=-1".into()));
    }

    #[test]
    fn a_flag_of_many_values_takes_all_words_up_to_the_next_flag() {
        assert_eq!(rewritten("--property a=1 b=2 --list c"), Ok("--property=a=1 --property=b=2 --list".into()));
        assert_eq!(rewritten("--property=a=1 b=2"), Ok("--property=a=1 --property=b=2".into()));
        let options = Options::parse(sample(), &words("--property a=1 b=-2 --list --property=c"), false).unwrap();
        assert_eq!(options.values("property"), ["a=1", "b=-2", "c"]);
    }

    #[test]
    fn unambiguous_beginnings_are_enough_but_not_in_strict_mode() {
        assert_eq!(rewritten("--exe"), Ok("--execute".into()));
        assert_eq!(rewritten("--topic t"), Ok("--topic=t".into()));
        assert_eq!(rewritten("--shift 3"), Ok("--shift-by=3".into()));
        assert_eq!(rewritten("--ex"), Err("ex may be any of --execute, --exact".into()));
        assert_eq!(rewritten("--exekute"), Err("exekute is not a recognized option; did you mean --execute?".into()));
        let strict = rewrite(&sample(), &words("--exe"), true);
        assert_eq!(strict, Err(Usage("exe is not a recognized option".into())));
    }

    #[test]
    fn a_value_for_a_bare_flag_is_refused() {
        assert_eq!(rewritten("--execute=false"), Err("Option execute takes no value".into()));
    }

    #[test]
    fn stray_words_are_kept_apart() {
        let result = rewrite(&sample(), &words("one --list two -- --three"), false).unwrap();
        assert_eq!((result.words, result.stray), (words("--list"), words("one two --three")));
    }

    #[test]
    fn values_are_read_by_name() {
        let options = Options::parse(sample(), &words("--topic a --topic b --shift-by x --state"), false).unwrap();
        assert_eq!(options.values("topic"), ["a", "b"]);
        assert_eq!(options.value("topic"), Err(Usage("Found multiple arguments for option topic, but you asked for only one".into())));
        assert_eq!(options.value("state"), Ok(Some("")));
        assert_eq!(options.parsed::<i64>("shift-by"), Err(Usage("Cannot parse argument 'x' of option shift-by".into())));
        assert!(!options.has("list"));
        assert_eq!(options.value("topic-id"), Ok(None));
    }

    #[test]
    fn a_wrong_choice_names_the_right_ones() {
        let error = Options::parse(sample(), &words("--output xml"), false).unwrap_err();
        assert_eq!(error.0, "Cannot parse argument 'xml' of option output; it may be plain, table, json");
    }
}
