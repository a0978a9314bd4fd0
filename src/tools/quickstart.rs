//! `ottla quickstart`: Kafka's first half hour in a few seconds. Starts a broker on a free port with a directory that goes away at the
//! end, and lets the real tools, each a process of its own that talks to it over the wire, do what every Kafka tutorial does.
//!
//! The records are `quickstart.tsv`: the first flights out of New York in 2013, from the U.S. Bureau of Transportation Statistics, keyed
//! by carrier.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command as Process, Stdio};

use anyhow::{Context, bail};
use clap::Command;

use super::exit::Exit;
use super::session::Session;

const FLIGHTS: &str = include_str!("quickstart.tsv");

/// The arguments of `ottla quickstart`.
pub(super) fn command() -> Command {
    Command::new("quickstart").about("See a broker and the tools at work, on a free port and without leaving a trace")
}

/// Runs the tour.
pub(crate) fn run(session: &mut Session, args: &[OsString]) -> anyhow::Result<Exit> {
    if args.iter().any(|word| word == "--help" || word == "-h") {
        write!(session.out, "{}", command().bin_name("ottla quickstart").render_help())?;
        return Ok(Exit::SUCCESS);
    }
    let broker = Broker::start()?;
    let server = format!("--bootstrap-server={}", broker.address);
    let out = &mut session.out;
    writeln!(out, "A broker is ready on {}.", broker.address)?;

    tool(out, "topics", &["--create", "--topic=flights", "--partitions=3", &server], None)?;
    tool(out, "topics", &["--describe", "--topic=flights", &server], None)?;
    let count = FLIGHTS.lines().count().to_string();
    writeln!(out, "\n{count} records, each with its carrier as key, go in:")?;
    tool(out, "console-producer", &["--topic=flights", "--reader-property=parse.key=true", &server], Some(FLIGHTS))?;
    writeln!(out, "\nAnd out: every key has one partition, and its records keep their order.")?;
    let print = ["print.partition=true", "print.offset=true", "print.key=true"].map(|name| format!("--formatter-property={name}"));
    let max = format!("--max-messages={count}");
    let mut consume = vec!["--topic=flights", "--group=tour", "--from-beginning", "--timeout-ms=20000", &max, &server];
    consume.extend(print.iter().map(String::as_str));
    tool(out, "console-consumer", &consume, None)?;
    writeln!(out, "\nTwo more arrive while nobody reads:")?;
    let late: String = FLIGHTS.lines().take(2).flat_map(|line| [line, "\n"]).collect();
    tool(out, "console-producer", &["--topic=flights", "--reader-property=parse.key=true", &server], Some(&late))?;
    tool(out, "consumer-groups", &["--describe", "--group=tour", &server], None)?;

    writeln!(
        out,
        "\nThe broker ends now and takes its data with it. To go on:\n\
         \x20 ottla serve                 a broker on localhost:9092 that keeps its data\n\
         \x20 ottla links ~/.local/bin    the tools under Kafka's own names\n\
         \x20 ottla --help                everything else"
    )?;
    broker.stop()?;
    Ok(Exit::SUCCESS)
}

/// Runs one tool of this executable and prints what was typed and what it said.
fn tool(out: &mut dyn Write, name: &str, args: &[&str], input: Option<&str>) -> anyhow::Result<()> {
    writeln!(out, "\n$ kafka-{name} {}{}", args.join(" "), if input.is_some() { " < flights.tsv" } else { "" })?;
    out.flush()?;
    let mut child = Process::new(std::env::current_exe().context("cannot find this executable")?)
        .arg(name)
        .args(args)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start ottla {name}"))?;
    if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
        stdin.write_all(text.as_bytes())?;
    }
    let done = child.wait_with_output()?;
    out.write_all(&done.stdout)?;
    if !done.status.success() {
        bail!("kafka-{name} failed ({})", done.status);
    }
    Ok(())
}

/// A broker in a process of its own, which ends with the tour however the tour ends.
struct Broker {
    process: Child,
    address: String,
}

impl Broker {
    fn start() -> anyhow::Result<Broker> {
        let mut process = Process::new(std::env::current_exe().context("cannot find this executable")?)
            .args(["serve", "--ephemeral", "--listen", "127.0.0.1:0", "--override", "group.initial.rebalance.delay.ms=0"])
            // The tools speak here; the broker only when something is wrong, unless someone asked to hear it.
            .env("KAFKA_LOG", std::env::var_os("KAFKA_LOG").unwrap_or_else(|| "warn".into()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start ottla serve")?;
        let stdout = process.stdout.take().context("the broker's output is piped")?;
        let mut broker = Broker { process, address: String::new() };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        // `ottla ready on HOST:PORT (…)`
        broker.address = line.strip_prefix("ottla ready on ").and_then(|rest| rest.split(' ').next()).unwrap_or_default().to_owned();
        if broker.address.is_empty() {
            bail!("the broker did not start");
        }
        Ok(broker)
    }

    /// Ends it cleanly, so that it removes its data.
    fn stop(mut self) -> anyhow::Result<()> {
        let id = i32::try_from(self.process.id()).ok().and_then(rustix::process::Pid::from_raw).context("a process has an id")?;
        rustix::process::kill_process(id, rustix::process::Signal::TERM)?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // After `stop` there is nothing left to end, and then both of these say so.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
