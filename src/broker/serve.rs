//! `ottla serve`: one node from the command line, from its first start to its clean end.
//!
//! Standard output gets one line, when the node is ready for its first produce; everything else goes to standard error. What keeps the
//! node from starting is one line there and exit code 1.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use super::config::BrokerConfig;
use super::load_bar::LoadBar;
use super::loggers::{self, LogFormat};
use super::server::Server;
use crate::common::clock::SystemClock;
use crate::common::properties;
use crate::storage::load_progress::LoadProgress;

/// Where the node listens when neither the command line nor a file says it.
const DEFAULT_LISTEN: &str = "localhost:9092";

/// What the command line says.
#[derive(Debug, Default)]
struct Options {
    data: Option<PathBuf>,
    listen: Option<String>,
    config: Option<PathBuf>,
    overrides: Vec<(String, String)>,
    ephemeral: bool,
    json_log: bool,
}

/// The command line of `ottla serve`, also for completions and the manual.
pub fn command() -> Command {
    Command::new("serve")
        .about("Run a Kafka broker (and its controller) on this machine")
        .long_about(
            "Run a Kafka broker, which is also its own controller, until SIGTERM or Ctrl-C.\n\n\
             Without any option it listens on localhost:9092 and keeps its data in $XDG_DATA_HOME/ottla (most often \
             ~/.local/share/ottla), which it formats at the first start. When it is ready for clients, it prints one line with its \
             address.\n\n\
             Log messages go to standard error; the environment variable KAFKA_LOG says which (default: info).",
        )
        .arg(
            Arg::new("data")
                .long("data")
                .value_name("DIR")
                .help("Keep the data here (log.dirs); formatted when new")
                .value_parser(value_parser!(PathBuf))
                .value_hint(ValueHint::DirPath)
                .conflicts_with("ephemeral"),
        )
        .arg(
            Arg::new("listen")
                .long("listen")
                .value_name("HOST:PORT")
                .help("Listen here (default: localhost:9092); port 0 takes a free one and prints it")
                .value_hint(ValueHint::Hostname),
        )
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .help("Read Kafka's server.properties; what the other options say goes first")
                .value_parser(value_parser!(PathBuf))
                .value_hint(ValueHint::FilePath),
        )
        .arg(
            Arg::new("override")
                .long("override")
                .value_name("KEY=VALUE")
                .help("Set one property, over the file and the other options; may be repeated")
                .action(ArgAction::Append)
                .value_parser(parse_override),
        )
        .arg(
            Arg::new("log-format")
                .long("log-format")
                .value_name("FORMAT")
                .help("Write log messages as lines of text (the default) or as one JSON object a line")
                .value_parser(["text", "json"]),
        )
        .arg(
            Arg::new("ephemeral")
                .long("ephemeral")
                .help("Keep the data in a temporary directory that is removed at the end")
                .action(ArgAction::SetTrue),
        )
}

fn parse_override(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

/// Runs a node with the words after `ottla serve`, to its end.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words = std::iter::once(OsString::from("ottla serve")).chain(args);
    let options = match command().bin_name("ottla serve").try_get_matches_from(words) {
        Ok(matches) => Options::from_matches(&matches),
        Err(error) => {
            // Help goes to standard output and is no failure.
            let code = if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
            let _ = error.print();
            return code;
        }
    };
    loggers::start(if options.json_log { LogFormat::Json } else { LogFormat::Text });
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "ottla serve: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Options {
    fn from_matches(matches: &ArgMatches) -> Options {
        Options {
            data: matches.get_one("data").cloned(),
            listen: matches.get_one("listen").cloned(),
            config: matches.get_one("config").cloned(),
            overrides: matches.get_many("override").into_iter().flatten().cloned().collect(),
            ephemeral: matches.get_flag("ephemeral"),
            json_log: matches.get_one::<String>("log-format").is_some_and(|format| format == "json"),
        }
    }

    /// The node's properties: the file's, under the options', under the overrides.
    fn properties(&self, ephemeral_dir: Option<&Path>) -> anyhow::Result<BTreeMap<String, String>> {
        let mut all = match &self.config {
            Some(path) => read_properties(path)?,
            None => BTreeMap::new(),
        };
        if let Some(dir) = ephemeral_dir.or(self.data.as_deref()) {
            all.retain(|key, _| !matches!(key.as_str(), "log.dir" | "log.dirs" | "metadata.log.dir"));
            all.insert("log.dirs".to_owned(), dir.display().to_string());
        } else if !all.contains_key("log.dirs") && !all.contains_key("log.dir") {
            all.insert("log.dirs".to_owned(), default_data_dir().display().to_string());
        }
        match &self.listen {
            Some(listen) => {
                // The advertised addresses of the file belong to its listeners.
                all.remove("advertised.listeners");
                let listeners = listeners_with(&all, listen_address(listen)?);
                all.insert("listeners".to_owned(), listeners);
            }
            None => {
                all.entry("listeners".to_owned()).or_insert_with(|| format!("PLAINTEXT://{DEFAULT_LISTEN}"));
            }
        }
        all.extend(self.overrides.iter().cloned());
        Ok(all)
    }
}

/// The file's listeners with one for clients, at `address`, in place of those that it has: by the name that brokers know each other by,
/// or else that of the first. Those for controllers stay.
fn listeners_with(properties: &BTreeMap<String, String>, address: &str) -> String {
    let list = |key: &str| {
        let text = properties.get(key).map_or("", String::as_str);
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    let controllers = list("controller.listener.names");
    let name = |listener: &String| listener.split_once("://").map_or("", |(name, _)| name).to_owned();
    let (kept, replaced): (Vec<String>, Vec<String>) =
        list("listeners").into_iter().partition(|listener| controllers.contains(&name(listener)));
    let inter_broker = properties.get("inter.broker.listener.name").map(|name| name.trim().to_owned());
    let client = inter_broker.or_else(|| replaced.first().map(name)).unwrap_or_else(|| "PLAINTEXT".to_owned());
    let listeners: Vec<String> = std::iter::once(format!("{client}://{address}")).chain(kept).collect();
    listeners.join(",")
}

/// `HOST:PORT`, `:PORT` or `[IPv6]:PORT`, as it came.
fn listen_address(text: &str) -> anyhow::Result<&str> {
    let port = text.rsplit_once(':').map(|(_, port)| port);
    match port.map(str::parse::<u16>) {
        Some(Ok(_)) if !text.contains("://") => Ok(text),
        _ => bail!("--listen {text}: expected HOST:PORT, such as localhost:9092"),
    }
}

fn read_properties(path: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        anyhow::anyhow!("{}: line {line} is not UTF-8", path.display())
    })?;
    properties::parse(&text).with_context(|| format!("{} is malformed", path.display()))
}

/// `$XDG_DATA_HOME/ottla`, `~/.local/share/ottla`, or, for want of a home, a directory here.
fn default_data_dir() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_DATA_HOME")
        .filter(|dir| dir.is_absolute())
        .or_else(|| Some(set("HOME")?.join(".local/share")))
        .map_or_else(|| PathBuf::from("ottla-data"), |dir| dir.join("ottla"))
}

fn run(options: Options) -> anyhow::Result<()> {
    let temporary = match options.ephemeral {
        true => Some(tempfile::Builder::new().prefix("ottla-").tempdir().context("cannot make a temporary directory")?),
        false => None,
    };
    let properties = options.properties(temporary.as_ref().map(tempfile::TempDir::path))?;
    let config = BrokerConfig::from_properties(&properties)?;
    for warning in config.warnings() {
        warn!("{warning}");
    }
    raise_open_files_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
    let result = runtime.block_on(serve(config, !options.json_log));
    // Work that still runs on the pool must not outlive the directory it works on.
    drop(runtime);
    drop(temporary);
    result
}

/// Takes as many descriptors as the system lets this process have, as the JVM does for Kafka.
fn raise_open_files_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // What is not granted is done without.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Were we started by `nohup`, to outlive the terminal?
fn hang_up_is_ignored() -> bool {
    const HANG_UP_BIT: u64 = 1;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & HANG_UP_BIT != 0)
}

/// Starts the node, with a bar on a terminal if it is wanted, says so, and waits for the signal to stop.
async fn serve(config: BrokerConfig, shows_bar: bool) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // Looked at first: to listen for a signal is to no longer ignore it.
    let hang_up_is_ignored = hang_up_is_ignored();
    let mut hang_up = signal(SignalKind::hangup())?;
    let dirs = config.log_dirs.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(",");
    let progress = Arc::new(LoadProgress::default());
    let bar = shows_bar.then(|| LoadBar::on_terminal(&progress));
    let server = Server::start(Arc::new(config), SystemClock::shared(), progress).await?;
    drop(bar);
    {
        let mut out = std::io::stdout().lock();
        // Whoever started us may not listen; that is no reason to stop.
        let _ = writeln!(
            out,
            "ottla ready on {} (cluster {}, node {}, data in {dirs})",
            server.address(),
            server.cluster_id(),
            server.node_id()
        );
        let _ = out.flush();
    }
    let failure = tokio::select! {
        reason = server.failed() => Some(reason),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        _ = hang_up.recv(), if !hang_up_is_ignored => None,
    };
    info!("shutting down");
    tokio::select! {
        () = server.shutdown() => info!("shut down"),
        _ = interrupt.recv() => bail!("interrupted again: stopped without a clean shutdown"),
    }
    match failure {
        Some(reason) => bail!(reason),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&str]) -> Options {
        let matches = command().try_get_matches_from(std::iter::once(&"serve").chain(words)).expect("valid words");
        Options::from_matches(&matches)
    }

    #[test]
    fn options_go_over_the_file_and_overrides_over_all() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "listeners=PLAINTEXT://a:1\nadvertised.listeners=PLAINTEXT://b:2\nlog.dirs=/x\nnum.partitions=5\n")
            .expect("written");
        let path = file.path().display().to_string();
        let from_file = options(&["--config", &path]).properties(None).expect("properties");
        assert_eq!((&*from_file["listeners"], &*from_file["log.dirs"]), ("PLAINTEXT://a:1", "/x"));
        let all = options(&["--config", &path, "--listen", "localhost:0", "--data", "/y", "--override", "num.partitions=7"]);
        let all = all.properties(None).expect("properties");
        assert_eq!((&*all["listeners"], &*all["log.dirs"], &*all["num.partitions"]), ("PLAINTEXT://localhost:0", "/y", "7"));
        assert!(!all.contains_key("advertised.listeners"));
    }

    #[test]
    fn an_address_on_the_command_line_leaves_the_controllers_theirs() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let text = "process.roles=broker,controller\nnode.id=1\nlisteners=INSIDE://a:1, CONTROLLER://a:2,OUTSIDE://b:3\n\
                    controller.listener.names=CONTROLLER\ninter.broker.listener.name=INSIDE\ncontroller.quorum.voters=1@a:2\n\
                    listener.security.protocol.map=INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT\n";
        std::fs::write(file.path(), text).expect("written");
        let path = file.path().display().to_string();
        let all = options(&["--config", &path, "--listen", "localhost:0"]).properties(None).expect("properties");
        assert_eq!(all["listeners"], "INSIDE://localhost:0,CONTROLLER://a:2");
        BrokerConfig::from_properties(&all).expect("valid");
    }

    #[test]
    fn a_malformed_file_is_named_with_its_line() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "a=1\nb=\\u12\n").expect("written");
        let error = read_properties(file.path()).expect_err("malformed");
        assert!(format!("{error:#}").ends_with("is malformed: line 2: malformed \\uXXXX escape"), "{error:#}");
        std::fs::write(file.path(), b"a=1\n\xff\n").expect("written");
        let error = read_properties(file.path()).expect_err("not UTF-8");
        assert!(format!("{error:#}").ends_with("line 2 is not UTF-8"), "{error:#}");
    }

    #[test]
    fn an_address_to_listen_on_has_a_port() {
        for good in ["localhost:9092", ":0", "[::1]:9092"] {
            assert!(listen_address(good).is_ok(), "{good}");
        }
        for bad in ["localhost", "localhost:", "localhost:99999", "PLAINTEXT://x:1"] {
            assert!(listen_address(bad).is_err(), "{bad}");
        }
    }
}
