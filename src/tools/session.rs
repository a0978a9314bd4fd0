//! What a tool is called with: its streams, its terminal, its environment and the choices every tool has in common.
//!
//! Invariant: results go to [`Session::out`], everything else (errors, warnings, questions, progress) to standard error, unless
//! `KAFKA_CLI_COMPAT=4.3` asks for Apache Kafka's streams and exit codes to the byte.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{self, BufRead, BufWriter, IsTerminal, Write};
use std::time::Duration;

use anyhow::Context;

use super::args::Options;
use super::connect::{self, ConnectError};
use super::exit::{Exit, Failure, Usage};
use super::output::{Format, wants_color};

/// A spinner for something that is done sooner would only flicker.
const PROGRESS_AFTER: Duration = Duration::from_millis(400);
/// After this a cluster that does not answer, or a topic that is not there, deserves a notice.
const NOTICE_AFTER: Duration = Duration::from_secs(4);

/// Which of the standard streams are terminals.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Terminals {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
}

/// One call of one tool.
pub(crate) struct Session {
    /// May be lent to a thread that writes.
    pub(crate) out: Box<dyn Write + Send>,
    pub(crate) err: Box<dyn Write>,
    pub(crate) terminals: Terminals,
    environment: BTreeMap<String, String>,
    /// How the user called it: `kafka-topics`, or `ottla topics`.
    program: String,
    /// The exit code of a mistake in the arguments: 1 for the `kafka-*` names as in Kafka, 2 for `ottla <noun>`.
    pub(crate) usage_exit: Exit,
    compat: bool,
    format: Format,
    color: bool,
    quiet: bool,
    yes: bool,
}

impl Session {
    /// The streams and the environment of this process.
    pub(crate) fn of_process(program: impl Into<String>, usage_exit: Exit) -> Session {
        let terminals =
            Terminals { stdin: io::stdin().is_terminal(), stdout: io::stdout().is_terminal(), stderr: io::stderr().is_terminal() };
        let environment =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect();
        Session::new(Box::new(BufWriter::new(io::stdout())), Box::new(io::stderr()), terminals, environment, program.into(), usage_exit)
    }

    pub(crate) fn new(
        out: Box<dyn Write + Send>,
        err: Box<dyn Write>,
        terminals: Terminals,
        environment: BTreeMap<String, String>,
        program: String,
        usage_exit: Exit,
    ) -> Session {
        let compat = environment.get("KAFKA_CLI_COMPAT").is_some_and(|version| !version.is_empty());
        let color = !compat && wants_color(None, terminals.stdout, &environment);
        Session { out, err, terminals, environment, program, usage_exit, compat, format: Format::Plain, color, quiet: false, yes: false }
    }

    /// Takes over the choices that every tool has (`--output`, `--color`, `--quiet`, `--yes`).
    pub(crate) fn choose(&mut self, options: &Options) {
        let asked = if self.compat && !options.has("output") { None } else { options.last("output") };
        self.format = Format::choose(asked, self.terminals.stdout && !self.compat);
        self.color = wants_color(options.last("color"), self.terminals.stdout && !self.compat, &self.environment);
        self.quiet = options.has("quiet");
        self.yes = options.has("yes");
    }

    /// Writes the client's log messages to standard error if `KAFKA_LOG` says which, for example `debug`.
    pub(crate) fn log_to_stderr(&self) {
        let Some(filter) = self.variable("KAFKA_LOG").filter(|filter| !filter.is_empty()) else { return };
        let Ok(filter) = tracing_subscriber::EnvFilter::try_new(filter) else { return };
        let logging = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(self.terminals.stderr);
        // A second subscriber in one process (a test) is refused, and the first goes on.
        // What cannot be written is lost: to complain on standard error, of all places, is to panic.
        let _ = logging.log_internal_errors(false).try_init();
    }

    pub(crate) fn program(&self) -> &str {
        &self.program
    }

    /// Are standard output and exit codes to be Apache Kafka's exactly?
    pub(crate) fn compat(&self) -> bool {
        self.compat
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    pub(crate) fn color(&self) -> bool {
        self.color
    }

    pub(crate) fn quiet(&self) -> bool {
        self.quiet
    }

    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str)
    }

    /// The width of the terminal in columns; `None` when standard output is none.
    pub(crate) fn width(&self) -> Option<usize> {
        if !self.terminals.stdout {
            return None;
        }
        crossterm::terminal::size().ok().map(|(columns, _)| usize::from(columns)).filter(|&columns| columns > 0)
    }

    /// A line on standard error that is no error.
    pub(crate) fn warn(&mut self, message: impl std::fmt::Display) {
        // Standard error may be closed; the work goes on.
        let _ = writeln!(self.err, "{}: {message}", self.program);
    }

    /// An error on standard error, one line; a mistake in the arguments also points to the help. Returns the exit code it deserves.
    pub(crate) fn report(&mut self, error: &anyhow::Error) -> Exit {
        let explained = error.downcast_ref::<ConnectError>().filter(|_| !self.compat).map(ConnectError::explained);
        let mut line = explained.map_or_else(|| super::exit::one_line(error), |failure| failure.to_string());
        if let Some(advice) = connect::advice(error).filter(|_| !self.compat) {
            line = format!("{line}; {advice}");
        }
        let usage = error.downcast_ref::<Usage>().is_some();
        // Kafka prints the bare message first, and what reads its standard error may look for that.
        let prefix = if self.compat { String::new() } else { format!("{}: ", self.program) };
        let _ = writeln!(self.err, "{prefix}{line}");
        if usage {
            let _ = writeln!(self.err, "Try '{} --help' for the options.", self.program);
        }
        if usage { self.usage_exit } else { Exit::FAILURE }
    }

    /// Asks before something is destroyed. `needed` says whether the question matters so much that a call without a terminal must have
    /// `--yes`; otherwise such a call just goes on, as scripts written for Kafka's tools expect.
    pub(crate) fn confirm(&mut self, question: &str, needed: bool) -> anyhow::Result<bool> {
        if self.yes || self.compat {
            return Ok(true);
        }
        if !(self.terminals.stdin && self.terminals.stderr) {
            if needed {
                return Err(Failure::new("not done without a confirmation").advise("add --yes to go on without a question").into());
            }
            return Ok(true);
        }
        write!(self.err, "{question} [y/N] ").and_then(|()| self.err.flush()).context("cannot ask")?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).context("cannot read the answer")?;
        let yes = matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes");
        if !yes {
            writeln!(self.err, "Nothing was changed.")?;
        }
        Ok(yes)
    }

    /// Awaits `work`, with a spinner for a terminal and a line on standard error after some seconds for all.
    pub(crate) async fn patiently<F: Future>(&mut self, message: &str, notice: &str, work: F) -> F::Output {
        let mut work = std::pin::pin!(work);
        if let Ok(result) = tokio::time::timeout(NOTICE_AFTER, self.with_progress(message, &mut work)).await {
            return result;
        }
        self.warn(notice);
        work.await
    }

    /// Says what is deprecated: on standard output, as Kafka's tools do, only for those who want that.
    pub(crate) fn deprecated(&mut self, notice: &str) -> io::Result<()> {
        if self.compat {
            writeln!(self.out, "{notice}")?;
        } else if !self.quiet {
            self.warn(notice);
        }
        Ok(())
    }

    /// Awaits `work`, with a spinner on standard error if that takes long and someone watches.
    pub(crate) async fn with_progress<F: Future>(&self, message: &str, work: F) -> F::Output {
        if self.quiet || self.compat || !self.terminals.stderr {
            return work.await;
        }
        let mut work = std::pin::pin!(work);
        if let Ok(result) = tokio::time::timeout(PROGRESS_AFTER, &mut work).await {
            return result;
        }
        let spinner = indicatif::ProgressBar::new_spinner().with_message(message.to_owned());
        spinner.enable_steady_tick(Duration::from_millis(100));
        let result = work.await;
        spinner.finish_and_clear();
        result
    }
}

/// The asynchronous runtime of one call: one thread is enough for a tool.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")
}
