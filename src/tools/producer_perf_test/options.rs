//! The arguments of `kafka-producer-perf-test`: what there is, and the test they describe.
//!
//! Source: `ProducerPerformance.argParser`, `ProducerPerformance.ConfigPostProcessor`.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use clap::Command;

use crate::client::{ClientConfig, ClientKind};
use crate::common::random::Random;
use crate::common::uuid::Uuid;
use crate::tools::args::{self, Options, connection_args, file, flag, value, values};
use crate::tools::connect::{ConnectError, read_properties};
use crate::tools::exit::{Failure, Usage};
use crate::tools::output::Format;
use crate::tools::session::Session;

pub(super) const CLIENT_ID: &str = "perf-producer-client";
const TRANSACTIONAL_ID_PREFIX: &str = "performance-producer-";
const TRANSACTION_DURATION_MS: i64 = 3000;
const REPORTING_INTERVAL_MS: i64 = 5000;

const PAYLOADS: [&str; 3] = ["record-size", "payload-file", "payload-monotonic"];

pub(super) fn command() -> Command {
    let command = args::command("kafka-producer-perf-test", "Measure how many records a second a producer sends, and how long they take")
        .args(connection_args())
        .next_help_heading("Test")
        .args([
            value("topic", "TOPIC", "The topic to send to"),
            value("num-records", "N", "How many records to send"),
            value("throughput", "RECORDS/S", "How many to send a second; -1: as many as possible [default: -1]").long_help(
                "How many to send a second; -1: as many as possible [default: -1]. At a fixed rate a record's latency counts from the \
                 moment it was due, so that what waits behind a slow one is not forgotten (coordinated omission); with KAFKA_CLI_COMPAT=4.3, \
                 as in Kafka's tool, from the moment it was sent",
            ),
            value("warmup-records", "N", "So many records first, which a second summary leaves out [default: 0]"),
            value("reporting-interval", "MS", "How often to say how it goes [default: 5000]"),
            flag("print-metrics", "Print what was counted under the names of Kafka's metrics at the end"),
        ])
        .next_help_heading("Records")
        .args([
            value("record-size", "BYTES", "Random letters, so many a record"),
            file("payload-file", "Records drawn from this file"),
            value("payload-delimiter", "REGEX", "What stands between the records in the file [default: end of line]"),
            flag("payload-monotonic", "Numbers from 0"),
            value("record-key-size", "BYTES", "Random letters as the key, so many a record [default: no key]"),
        ])
        .next_help_heading("Producer")
        .args([
            values("command-property", "NAME=VALUE", "Properties of the producer, before those of --command-config, such as acks=1 linger.ms=10"),
            value("transactional-id", "ID", "Send in transactions with this id"),
            value("transaction-duration-ms", "MS", "Send in transactions and commit so often [default: 3000]"),
            values("producer-props", "NAME=VALUE", "Former name of --command-property").hide(true),
            file("producer.config", "Former name of --command-config").hide(true),
        ])
        .after_help(
            "Examples:\n  \
             kafka-producer-perf-test --bootstrap-server localhost:9092 --topic test --num-records 1000000 --record-size 100 --throughput -1\n  \
             kafka-producer-perf-test --bootstrap-server localhost:9092 --topic test --num-records 50000 --record-size 1024 \
             --throughput 5000 --command-property acks=all linger.ms=0 --output json",
        );
    args::with_general_args(command)
}

/// What the records hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Random letters, so many.
    Letters(usize),
    /// One of these.
    Chosen(Vec<Bytes>),
    /// The record's number.
    Monotonic,
}

/// The test to run.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) topic: String,
    pub(super) records: u64,
    pub(super) warmup: u64,
    pub(super) content: Content,
    pub(super) key_size: Option<usize>,
    /// Records a second; `None` for as many as possible.
    pub(super) rate: Option<f64>,
    /// How long a transaction lasts, if there are any.
    pub(super) transaction: Option<Duration>,
    pub(super) print_metrics: bool,
    pub(super) reporting_interval: Duration,
}

/// A mistake in the words of argparse4j, or of the tool.
fn mistake<T>(message: impl Into<String>) -> anyhow::Result<T> {
    Err(Usage(message.into()).into())
}

fn positive<T: PartialOrd + Default + std::str::FromStr>(options: &Options, name: &str) -> anyhow::Result<Option<T>> {
    match options.parsed::<T>(name)? {
        Some(number) if number <= T::default() => mistake(format!("--{name} should be greater than zero.")),
        number => Ok(number),
    }
}

impl Request {
    /// Reads the arguments. The configuration comes along, because either decides on the other.
    pub(super) fn read(session: &mut Session, options: &Options) -> anyhow::Result<(Request, ClientConfig)> {
        let compat = session.compat();
        for name in ["topic", "num-records", "throughput"] {
            if !options.has(name) && (compat || name != "throughput") {
                return mistake(format!("argument --{name} is required"));
            }
        }
        // Kafka's tool sends no keys.
        if compat && options.has("record-key-size") {
            return mistake("unrecognized arguments: '--record-key-size'");
        }
        let content: Vec<&str> = PAYLOADS.into_iter().filter(|name| options.has(name)).collect();
        match content[..] {
            [_] => {}
            [] => return mistake("one of the arguments --record-size --payload-file --payload-monotonic is required"),
            [first, second, ..] => return mistake(format!("argument --{second}: not allowed with argument --{first}")),
        }
        let records = positive::<i64>(options, "num-records")?.unwrap_or_default().unsigned_abs();
        let warmup = options.parsed::<i64>("warmup-records")?.unwrap_or_default().max(0).unsigned_abs();
        if warmup >= records {
            let rule = "The value for --warmup-records must be strictly fewer than the number of records in the test, --num-records.";
            return mistake(rule);
        }
        let size = positive::<i32>(options, "record-size")?;
        let sources = ["bootstrap-server", "command-property", "producer-props", "producer.config", "command-config"];
        if compat && !sources.iter().any(|name| options.has(name)) {
            let all = "--bootstrap-server, --command-property, --producer-props, --producer.config or --command-config";
            return mistake(format!("At least one of {all} must be specified."));
        }
        for (new, old) in [("command-property", "producer-props"), ("command-config", "producer.config")] {
            if options.has(new) && options.has(old) {
                return mistake(format!("--{new} and --{old} cannot be specified together."));
            }
        }
        let duration_ms = positive::<i64>(options, "transaction-duration-ms")?;
        let interval_ms = positive::<i64>(options, "reporting-interval")?.unwrap_or(REPORTING_INTERVAL_MS);
        let rate = match options.parsed::<f64>("throughput")? {
            Some(0.0) => return mistake("--throughput 0 would send nothing; -1 is without a limit"),
            Some(rate) if rate.is_nan() => return mistake("--throughput should be a number"),
            rate => rate.filter(|rate| *rate > 0.0 && rate.is_finite()),
        };
        let content = match (size, options.value("payload-file")?) {
            (Some(size), _) => Content::Letters(size.unsigned_abs() as usize),
            (None, Some(path)) => Content::Chosen(payloads(session, path, options.value("payload-delimiter")?)?),
            (None, None) => Content::Monotonic,
        };
        for (new, old) in [("command-property", "producer-props"), ("command-config", "producer.config")] {
            if options.has(old) {
                let notice = format!("Option --{old} has been deprecated and will be removed in a future version. Use --{new} instead.");
                session.deprecated(&notice)?;
            }
        }
        let wants_transactions = duration_ms.is_some() || options.has("transactional-id");
        let config = config(session, options, wants_transactions)?;
        let transactional = config.string("transactional.id").is_some();
        let duration_ms = duration_ms.unwrap_or(TRANSACTION_DURATION_MS).unsigned_abs();
        let request = Request {
            topic: options.value("topic")?.unwrap_or_default().to_owned(),
            records,
            warmup,
            content,
            key_size: positive::<i32>(options, "record-key-size")?.map(|size| size.unsigned_abs() as usize),
            rate,
            transaction: transactional.then(|| Duration::from_millis(duration_ms)),
            print_metrics: options.has("print-metrics"),
            reporting_interval: Duration::from_millis(interval_ms.unsigned_abs()),
        };
        Ok((request, config))
    }
}

/// The records of a file. As Java's `Scanner` sees it, a delimiter at the very beginning or end has nothing before or behind it.
fn payloads(session: &mut Session, path: &str, delimiter: Option<&str>) -> anyhow::Result<Vec<Bytes>> {
    let tells = session.compat() || session.format() != Format::Json;
    let absolute = std::path::absolute(path).unwrap_or_else(|_| Path::new(path).to_owned());
    if tells {
        writeln!(session.out, "Reading payloads from: {}", absolute.display())?;
    }
    let delimiter = match delimiter {
        None | Some("\\n") => "\n",
        Some(delimiter) => delimiter,
    };
    let pattern = regex::bytes::Regex::new(delimiter)
        .map_err(|error| Failure::new(format!("--payload-delimiter '{delimiter}' is no regular expression: {error}")))?;
    let content = match std::fs::read(path) {
        Ok(content) if !content.is_empty() => Bytes::from(content),
        _ if session.compat() => return Err(Failure::new("File does not exist or empty file provided.").into()),
        Ok(_) => return Err(Failure::new(format!("{path} is empty")).into()),
        Err(error) => return Err(Failure::new(format!("cannot read {path}: {error}")).into()),
    };
    let mut payloads: Vec<Bytes> = pattern.split(&content).map(|payload| content.slice_ref(payload)).collect();
    if payloads.first().is_some_and(Bytes::is_empty) {
        payloads.remove(0);
    }
    if payloads.last().is_some_and(Bytes::is_empty) {
        payloads.pop();
    }
    if tells {
        writeln!(session.out, "Number of records read: {}", payloads.len())?;
    }
    if payloads.is_empty() {
        return Err(Failure::new(format!("there is no record in {path}")).into());
    }
    Ok(payloads)
}

/// The producer's configuration.
fn config(session: &mut Session, options: &Options, wants_transactions: bool) -> anyhow::Result<ClientConfig> {
    let compat = session.compat();
    let servers = session.variable("KAFKA_BOOTSTRAP_SERVERS").filter(|_| !compat).map(str::to_owned);
    let mut builder = ClientConfig::builder(ClientKind::Producer).environment(servers);
    for name in ["command-config", "producer.config"] {
        if let Some(path) = options.value(name)? {
            builder = builder.file(read_properties(path)?);
        }
    }
    for property in options.values("command-property").into_iter().chain(options.values("producer-props")) {
        match property.split_once('=') {
            // Kafka's tool takes no value with an = in it, such as a JAAS configuration.
            Some((name, value)) if !name.is_empty() && !(compat && (value.is_empty() || value.contains('='))) => {
                builder = builder.property(name, value);
            }
            _ => return Err(Failure::new(format!("Invalid property: {property}")).into()),
        }
    }
    if let Some(servers) = options.value("bootstrap-server")? {
        builder = builder.flag("bootstrap.servers", servers);
    }
    if let Some(id) = options.value("transactional-id")? {
        builder = builder.flag("transactional.id", id);
    }
    let mut config = builder.build().map_err(ConnectError::from)?.or_default("client.id", CLIENT_ID).map_err(ConnectError::from)?;
    if wants_transactions {
        let id = format!("{TRANSACTIONAL_ID_PREFIX}{}", Uuid::random(&mut Random::from_entropy()));
        config = config.or_default("transactional.id", &id).map_err(ConnectError::from)?;
    }
    for warning in config.warnings() {
        session.warn(warning);
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::tools::exit::Exit;
    use crate::tools::session::Terminals;

    fn session(compat: bool) -> Session {
        let variables = if compat { BTreeMap::from([("KAFKA_CLI_COMPAT".to_owned(), "4.3".to_owned())]) } else { BTreeMap::new() };
        Session::new(
            Box::new(std::io::sink()),
            Box::new(std::io::sink()),
            Terminals::default(),
            variables,
            "tool".to_owned(),
            Exit::FAILURE,
        )
    }

    fn read_as(compat: bool, line: &str) -> Result<(Request, ClientConfig), String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let options = Options::parse(command(), &words, false).map_err(|error| error.0)?;
        Request::read(&mut session(compat), &options).map_err(|error| error.to_string())
    }

    fn read(line: &str) -> Result<(Request, ClientConfig), String> {
        read_as(false, line)
    }

    const WHERE: &str = "--bootstrap-server localhost:9092 --topic t";

    #[test]
    fn one_kind_of_record_is_needed_and_no_more() {
        let needed = "one of the arguments --record-size --payload-file --payload-monotonic is required";
        assert_eq!(read(&format!("{WHERE} --num-records 1")).unwrap_err(), needed);
        let both = read(&format!("{WHERE} --num-records 1 --payload-monotonic --record-size 5")).unwrap_err();
        assert_eq!(both, "argument --payload-monotonic: not allowed with argument --record-size");
        let (request, config) = read(&format!("{WHERE} --num-records 3 --record-size 5 --throughput -1")).unwrap();
        assert_eq!((request.content, request.records, request.rate), (Content::Letters(5), 3, None));
        assert_eq!(config.string("client.id"), Some(CLIENT_ID));
        assert_eq!(request.transaction, None);
    }

    #[test]
    fn numbers_are_checked_as_by_kafka() {
        let refused = |more: &str| read(&format!("{WHERE} --payload-monotonic {more}")).unwrap_err();
        assert_eq!(refused("--num-records 0"), "--num-records should be greater than zero.");
        assert_eq!(refused("--num-records x"), "Cannot parse argument 'x' of option num-records");
        assert!(refused("--num-records 5 --warmup-records 5").starts_with("The value for --warmup-records must be strictly fewer"));
        assert_eq!(refused("--num-records 5 --reporting-interval 0"), "--reporting-interval should be greater than zero.");
        assert_eq!(refused("--num-records 5 --transaction-duration-ms 0"), "--transaction-duration-ms should be greater than zero.");
        assert!(refused("--num-records 5 --throughput 0").starts_with("--throughput 0 would send nothing"));
        let refused = |more: &str| read_as(true, &format!("--topic t --payload-monotonic {more}")).unwrap_err();
        assert_eq!(refused("--num-records 5"), "argument --throughput is required");
        assert!(refused("--num-records 5 --throughput -1").starts_with("At least one of --bootstrap-server, --command-property, "));
    }

    #[test]
    fn properties_are_words_up_to_the_next_flag() {
        let words = "--num-records 1 --payload-monotonic --topic t --producer-props bootstrap.servers=h:1 acks=1 --throughput 5.5";
        let (request, config) = read(words).unwrap();
        assert_eq!((config.string("acks"), request.rate), (Some("1"), Some(5.5)));
        assert_eq!(config.bootstrap_servers()[0].to_string(), "h:1");
        assert_eq!(read(&format!("{WHERE} --num-records 1 --payload-monotonic --command-property x")).unwrap_err(), "Invalid property: x");
        let both = read(&format!("{words} --command-property acks=0")).unwrap_err();
        assert_eq!(both, "--command-property and --producer-props cannot be specified together.");
    }

    #[test]
    fn transactions_come_with_an_id_or_a_duration() {
        let base = format!("{WHERE} --num-records 1 --payload-monotonic");
        let (request, config) = read(&format!("{base} --transaction-duration-ms 7")).unwrap();
        assert_eq!(request.transaction, Some(Duration::from_millis(7)));
        assert!(config.string("transactional.id").is_some_and(|id| id.starts_with(TRANSACTIONAL_ID_PREFIX)));
        let (request, config) = read(&format!("{base} --transactional-id a --command-property transactional.id=b")).unwrap();
        assert_eq!((request.transaction, config.string("transactional.id")), (Some(Duration::from_secs(3)), Some("a")));
        let (request, _) = read(&format!("{base} --command-property transactional.id=b")).unwrap();
        assert!(request.transaction.is_some());
    }

    #[test]
    fn a_file_is_cut_as_by_javas_scanner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f").to_str().unwrap().to_owned();
        let cut = |content: &[u8], delimiter: Option<&str>| {
            std::fs::write(&path, content).unwrap();
            payloads(&mut session(false), &path, delimiter).map_err(|error| error.to_string())
        };
        assert_eq!(cut(b"a\n\nb\n\n", None).unwrap(), ["a", "", "b", ""]);
        assert_eq!(cut(b"\na", Some("\\n")).unwrap(), ["a"]);
        assert_eq!(cut(b"a1b22c", Some("[0-9]+")).unwrap(), ["a", "b", "c"]);
        assert!(cut(b"", None).unwrap_err().ends_with(" is empty"));
        assert!(cut(b"\n", None).unwrap_err().starts_with("there is no record in"));
        assert!(cut(b"a", Some("(")).is_err());
    }
}
