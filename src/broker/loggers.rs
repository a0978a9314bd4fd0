//! The loggers of this process and their levels, which change while it runs (KIP-412).
//!
//! A logger is named after the module that writes to it, such as `ottla::storage::cleaner`; one without a level of its own has that of the
//! nearest module around it, at last that of `root`. The levels of a start are those of `KAFKA_LOG`: `info`, or
//! `warn,ottla::broker=debug`. As in log4j a logger exists once it has been used; the modules at the top always do.
//!
//! Invariant: there is one set of loggers in a process, since there is one log.
//! Sources: Kafka's `LoggingController`, `RuntimeLoggerManager`.

mod json;

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber, warn};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

use super::load_bar::LogLines;

/// The logger that all others are below.
pub(crate) const ROOT: &str = "root";

/// The levels of Kafka's loggers, in the order in which its texts name them.
pub(crate) const LEVELS: [&str; 6] = ["DEBUG", "ERROR", "FATAL", "INFO", "TRACE", "WARN"];

/// The modules at the top.
const TOP: [&str; 12] = [
    "ottla",
    "ottla::broker",
    "ottla::client",
    "ottla::common",
    "ottla::controller",
    "ottla::coordinator",
    "ottla::metadata",
    "ottla::protocol",
    "ottla::raft",
    "ottla::replication",
    "ottla::security",
    "ottla::storage",
];

/// Loggers that are remembered at most; there are as many as modules.
const MAX_SEEN: usize = 4096;

#[derive(Debug)]
struct State {
    root: String,
    /// The loggers with a level of their own.
    levels: BTreeMap<String, String>,
    /// Those that have been used.
    seen: BTreeSet<String>,
}

/// The loggers of the process.
#[derive(Debug)]
pub(crate) struct Loggers {
    state: Mutex<State>,
    filter: OnceLock<reload::Handle<Targets, Registry>>,
}

static LOGGERS: OnceLock<Loggers> = OnceLock::new();

/// The loggers of this process.
pub(crate) fn loggers() -> &'static Loggers {
    LOGGERS.get_or_init(|| Loggers::new("INFO"))
}

/// Kafka's name of a level.
fn level_name(level: LevelFilter) -> &'static str {
    match level.into_level() {
        None => "OFF",
        Some(tracing::Level::ERROR) => "ERROR",
        Some(tracing::Level::WARN) => "WARN",
        Some(tracing::Level::INFO) => "INFO",
        Some(tracing::Level::DEBUG) => "DEBUG",
        Some(tracing::Level::TRACE) => "TRACE",
    }
}

/// What is written at a level. Nothing here is fatal but an error.
fn level_filter(name: &str) -> LevelFilter {
    match name {
        "OFF" => LevelFilter::OFF,
        "FATAL" | "ERROR" => LevelFilter::ERROR,
        "WARN" => LevelFilter::WARN,
        "DEBUG" => LevelFilter::DEBUG,
        "TRACE" => LevelFilter::TRACE,
        _ => LevelFilter::INFO,
    }
}

impl Loggers {
    fn new(root: &str) -> Loggers {
        let state = State { root: root.to_owned(), levels: BTreeMap::new(), seen: BTreeSet::new() };
        Loggers { state: Mutex::new(state), filter: OnceLock::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a logger of this name been used, or one below it?
    pub(crate) fn exists(&self, name: &str) -> bool {
        let state = self.state();
        let below = |seen: &String| seen.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        name == ROOT || TOP.contains(&name) || state.levels.contains_key(name) || state.seen.iter().any(below)
    }

    /// All loggers with the levels that hold for them, in the order of their names.
    pub(crate) fn list(&self) -> Vec<(String, String)> {
        let state = self.state();
        let mut names: BTreeSet<&str> = TOP.into_iter().chain(state.seen.iter().map(String::as_str)).collect();
        names.extend(state.levels.keys().map(String::as_str));
        let mut all: Vec<(String, String)> = names.into_iter().map(|name| (name.to_owned(), state.level(name).to_owned())).collect();
        all.push((ROOT.to_owned(), state.root.clone()));
        all.sort();
        all
    }

    /// Gives a logger a level of its own, or with `None` the one around it. Both have been found to exist.
    pub(crate) fn set_level(&self, name: &str, level: Option<&str>) {
        let filter = {
            let mut state = self.state();
            match (name, level) {
                (ROOT, Some(level)) => state.root = level.to_owned(),
                (ROOT, None) => {}
                (name, Some(level)) => drop(state.levels.insert(name.to_owned(), level.to_owned())),
                (name, None) => drop(state.levels.remove(name)),
            }
            state.filter()
        };
        // Outside of the lock: what is reloaded may ask which loggers there are.
        if let Some(handle) = self.filter.get()
            && let Err(error) = handle.reload(filter)
        {
            warn!("the log levels could not be changed: {error}");
        }
        match level {
            Some(level) => warn!("updated the log level of {name} to {level}"),
            None => warn!("unset the log level of {name}"),
        }
    }

    fn see(&self, target: &str) {
        let mut state = self.state();
        if state.seen.len() < MAX_SEEN && !state.seen.contains(target) {
            state.seen.insert(target.to_owned());
        }
    }
}

impl State {
    /// The level that holds for a logger.
    fn level(&self, name: &str) -> &str {
        let mut around = name;
        loop {
            if let Some(level) = self.levels.get(around) {
                return level;
            }
            match around.rsplit_once("::") {
                Some((outer, _)) => around = outer,
                None => return &self.root,
            }
        }
    }

    fn filter(&self) -> Targets {
        let levels = self.levels.iter().map(|(name, level)| (name.clone(), level_filter(level)));
        Targets::new().with_default(level_filter(&self.root)).with_targets(levels)
    }
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// A line for people.
    Text,
    /// An object a line, for programs.
    Json,
}

/// Hears of every place that logs, once.
struct Seeing;

impl<S: Subscriber> Layer<S> for Seeing {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        loggers().see(metadata.target());
        Interest::always()
    }
}

/// Sends the log to standard error, at the levels of `KAFKA_LOG`. A second call in one process (a test) keeps the first.
pub(crate) fn start(format: LogFormat) {
    let text = std::env::var("KAFKA_LOG").unwrap_or_default();
    let wanted = if text.trim().is_empty() { Ok(Targets::new().with_default(LevelFilter::INFO)) } else { text.parse::<Targets>() };
    let (targets, complaint) = match wanted {
        Ok(targets) => (targets, None),
        Err(error) => (Targets::new().with_default(LevelFilter::INFO), Some(error)),
    };
    let root = targets.default_level().map_or("OFF", level_name);
    {
        let mut state = loggers().state();
        state.root = root.to_owned();
        state.levels = targets.iter().map(|(name, level)| (name.to_owned(), level_name(level).to_owned())).collect();
    }
    let (filter, handle) = reload::Layer::new(targets);
    let _ = loggers().filter.set(handle);
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // What cannot be written (a log file on a full disk, a pipe that nobody reads) is lost: to complain on standard error is to panic.
    let lines = fmt::layer().with_writer(|| LogLines).with_ansi(colour).log_internal_errors(false);
    let (plain, objects) = match format {
        LogFormat::Text => (Some(lines), None),
        LogFormat::Json => (None, Some(json::Lines)),
    };
    let _ = tracing_subscriber::registry().with(filter).with(plain).with(objects).with(Seeing).try_init();
    if let Some(error) = complaint {
        warn!("KAFKA_LOG={text} is not understood ({error}); the level is INFO");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(loggers: &Loggers, name: &str) -> String {
        let all = loggers.list();
        all.iter().find(|(listed, _)| listed == name).map(|(_, level)| level.clone()).unwrap_or_default()
    }

    #[test]
    fn a_logger_has_the_level_of_the_nearest_around_it() {
        let loggers = Loggers::new("INFO");
        loggers.see("ottla::broker::quota::rate");
        loggers.set_level("ottla::broker", Some("DEBUG"));
        assert_eq!(level(&loggers, "ottla::broker::quota::rate"), "DEBUG");
        assert_eq!(level(&loggers, "ottla::storage"), "INFO");
        loggers.set_level(ROOT, Some("FATAL"));
        assert_eq!((level(&loggers, "ottla::storage"), level(&loggers, ROOT)), ("FATAL".to_owned(), "FATAL".to_owned()));
        loggers.set_level("ottla::broker", None);
        assert_eq!(level(&loggers, "ottla::broker::quota::rate"), "FATAL");
        assert_eq!(loggers.state().filter().default_level(), Some(LevelFilter::ERROR));
    }

    #[test]
    fn a_logger_that_nobody_uses_does_not_exist() {
        let loggers = Loggers::new("INFO");
        loggers.see("ottla::broker::quota::rate");
        for name in ["root", "ottla", "ottla::raft", "ottla::broker::quota", "ottla::broker::quota::rate"] {
            assert!(loggers.exists(name), "{name}");
        }
        for name in ["", "kafka.server.KafkaApis", "ottla::broker::quo", "ottla::nothing"] {
            assert!(!loggers.exists(name), "{name}");
        }
    }
}
