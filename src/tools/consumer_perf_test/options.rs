//! The arguments of `kafka-consumer-perf-test`: what there is, and the test they describe.
//!
//! Differs: a property that a flag of Kafka's tool sets even where it is absent (`group.id`, `max.partition.fetch.bytes`, …) may come from
//! the configuration file, unless `KAFKA_CLI_COMPAT` is set. Source: `ConsumerPerformance.ConsumerPerfOptions`.

use std::time::Duration;

use clap::Command;

use super::date_format::DateFormat;
use crate::client::{ClientConfig, ClientKind};
use crate::common::random::Random;
use crate::tools::args::{self, Options, connection_args, file, flag, optional_value, value};
use crate::tools::connect::{self, ConnectError, read_properties};
use crate::tools::exit::{Failure, Usage};
use crate::tools::session::Session;

pub(super) const CLIENT_ID: &str = "perf-consumer-client";
const TIMEOUT_MS: i64 = 10_000;
const REPORTING_INTERVAL_MS: i64 = 5000;
const DATE_FORMAT: &str = "yyyy-MM-dd HH:mm:ss:SSS";

pub(super) fn command() -> Command {
    let command = args::command("kafka-consumer-perf-test", "Measure how many records a second a consumer reads")
        .args(connection_args())
        .next_help_heading("Test")
        .args([
            value("topic", "TOPIC", "The topic to read"),
            value("include", "REGEX", "The topics to read, instead of --topic"),
            value("num-records", "N", "How many records to read"),
            optional_value("timeout", "MS", "End when no record has come for so long [default: 10000]"),
            flag("from-latest", "A group without offsets begins behind the last records instead of before the first"),
            flag("show-detailed-stats", "A line every --reporting-interval instead of one at the end"),
            value("reporting-interval", "MS", "How often to say how it goes [default: 5000]"),
            flag("hide-header", "No line with the names of the columns"),
            value("date-format", "PATTERN", "How to print moments, as Java's SimpleDateFormat [default: yyyy-MM-dd HH:mm:ss:SSS]"),
            flag("print-metrics", "Print what was counted under the names of Kafka's metrics at the end"),
            value("messages", "N", "Former name of --num-records").hide(true),
        ])
        .next_help_heading("Consumer")
        .args([
            value("group", "GROUP", "The group to read in [default: one of its own]"),
            value("fetch-size", "BYTES", "The most to fetch of a partition at once (max.partition.fetch.bytes) [default: 1048576]"),
            value("socket-buffer-size", "BYTES", "The receive buffer of the sockets (receive.buffer.bytes) [default: 2097152]"),
            value("command-property", "NAME=VALUE", "A property of the consumer, before those of --command-config; may be repeated"),
            file("consumer.config", "Former name of --command-config").hide(true),
        ])
        .after_help(
            "Examples:\n  \
             kafka-consumer-perf-test --bootstrap-server localhost:9092 --topic test --num-records 1000000\n  \
             kafka-consumer-perf-test --bootstrap-server localhost:9092 --topic test --num-records 1000000 --output json",
        );
    args::with_general_args(command)
}

/// Which topics to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Topics {
    One(String),
    Matching(String),
}

/// The test to run.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) topics: Topics,
    pub(super) records: u64,
    pub(super) timeout: Duration,
    pub(super) reporting_interval: Duration,
    pub(super) detailed: bool,
    pub(super) header: bool,
    pub(super) date_format: DateFormat,
    pub(super) print_metrics: bool,
    pub(super) config: ClientConfig,
}

fn one_of(options: &Options, names: [&str; 2]) -> Result<(), Usage> {
    let given = names.iter().filter(|name| options.has(name)).count();
    if given == 1 {
        return Ok(());
    }
    Err(Usage(format!("Exactly one of the following arguments is required: [{}], [{}]", names[0], names[1])))
}

impl Request {
    pub(super) fn read(session: &mut Session, options: &Options) -> anyhow::Result<Request> {
        if !connect::has_servers(session, options) {
            options.require("bootstrap-server")?;
        }
        one_of(options, ["include", "topic"])?;
        one_of(options, ["messages", "num-records"])?;
        options.conflict("consumer.config", &["command-config"])?;
        for (old, new) in [("messages", "num-records"), ("consumer.config", "command-config")] {
            if options.has(old) {
                session.deprecated(&format!("Warning: --{old} is deprecated. Use --{new} instead."))?;
            }
        }
        let records = options.parsed::<i64>("num-records")?.or(options.parsed("messages")?).unwrap_or_default();
        if records <= 0 && !session.compat() {
            return Err(Usage::new("--num-records should be greater than zero").into());
        }
        let timeout_ms = match options.value("timeout")? {
            Some("") | None => TIMEOUT_MS,
            Some(_) => options.parsed("timeout")?.unwrap_or(TIMEOUT_MS),
        };
        let interval_ms = options.parsed::<i64>("reporting-interval")?.unwrap_or(REPORTING_INTERVAL_MS);
        if interval_ms <= 0 {
            return Err(Usage::new("Reporting interval must be greater than 0.").into());
        }
        let pattern = options.value("date-format")?.unwrap_or(DATE_FORMAT);
        let date_format = DateFormat::parse(pattern).map_err(|error| Failure::new(format!("--date-format '{pattern}': {error}")))?;
        let topics = match (options.value("topic")?, options.value("include")?) {
            (Some(topic), _) => Topics::One(topic.to_owned()),
            (None, pattern) => Topics::Matching(pattern.unwrap_or_default().to_owned()),
        };
        Ok(Request {
            topics,
            records: records.max(0).unsigned_abs(),
            timeout: Duration::from_millis(timeout_ms.max(0).unsigned_abs()),
            reporting_interval: Duration::from_millis(interval_ms.unsigned_abs()),
            detailed: options.has("show-detailed-stats"),
            header: !options.has("hide-header"),
            date_format,
            print_metrics: options.has("print-metrics"),
            config: config(session, options)?,
        })
    }
}

fn config(session: &mut Session, options: &Options) -> anyhow::Result<ClientConfig> {
    let compat = session.compat();
    let servers = session.variable("KAFKA_BOOTSTRAP_SERVERS").filter(|_| !compat).map(str::to_owned);
    let mut builder = ClientConfig::builder(ClientKind::Consumer).environment(servers);
    for name in ["command-config", "consumer.config"] {
        if let Some(path) = options.value(name)? {
            builder = builder.file(read_properties(path)?);
        }
    }
    for property in options.values("command-property") {
        let (name, value) = property.split_once('=').unwrap_or((property, ""));
        builder = builder.property(name, value);
    }
    if let Some(servers) = options.value("bootstrap-server")? {
        builder = builder.flag("bootstrap.servers", servers);
    }
    let group = format!("perf-consumer-{}", Random::from_entropy().below(100_000));
    let number = |name: &str| Ok::<_, Usage>(options.parsed::<i32>(name)?.map(|number| number.to_string()));
    // What each flag sets, and to what it is set without one.
    let settings = [
        ("group.id", options.value("group")?.map(str::to_owned), group.as_str()),
        ("receive.buffer.bytes", number("socket-buffer-size")?, "2097152"),
        ("max.partition.fetch.bytes", number("fetch-size")?, "1048576"),
        ("auto.offset.reset", options.has("from-latest").then(|| "latest".to_owned()), "earliest"),
        ("check.crcs", None, "false"),
    ];
    for (property, given, otherwise) in &settings {
        if let Some(value) = given.as_deref().or(compat.then_some(*otherwise)) {
            builder = builder.flag(*property, value);
        }
    }
    let mut config = builder.build().map_err(ConnectError::from)?.or_default("client.id", CLIENT_ID).map_err(ConnectError::from)?;
    for (property, _, otherwise) in &settings {
        config = config.or_default(property, otherwise).map_err(ConnectError::from)?;
    }
    if !compat {
        // Reading creates no topic.
        config = config.or_default("allow.auto.create.topics", "false").map_err(ConnectError::from)?;
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

    fn read(line: &str) -> Result<Request, String> {
        let sink = || Box::new(std::io::sink());
        let mut session = Session::new(sink(), sink(), Terminals::default(), BTreeMap::new(), "tool".to_owned(), Exit::FAILURE);
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let options = Options::parse(command(), &words, false).map_err(|error| error.0)?;
        Request::read(&mut session, &options).map_err(|error| error.to_string())
    }

    fn refused(line: &str) -> String {
        read(line).map(|_| ()).unwrap_err()
    }

    #[test]
    fn there_is_one_source_and_one_count() {
        assert_eq!(refused("--topic t"), "Missing required argument \"[bootstrap-server]\"");
        let servers = "--bootstrap-server h:1";
        let one = "Exactly one of the following arguments is required: [include], [topic]";
        assert_eq!(refused(&format!("{servers} --num-records 1")), one);
        assert_eq!(refused(&format!("{servers} --topic t --include t --num-records 1")), one);
        let one = "Exactly one of the following arguments is required: [messages], [num-records]";
        assert_eq!(refused(&format!("{servers} --topic t")), one);
        assert_eq!(refused(&format!("{servers} --topic t --messages 1 --num-records 1")), one);
        assert!(refused(&format!("{servers} --topic t --messages 1 --reporting-interval 0")).starts_with("Reporting interval must be"));
        assert!(refused(&format!("{servers} --topic t --messages 1 --date-format b")).ends_with("Illegal pattern character 'b'"));
        let request = read(&format!("{servers} --include t.* --messages 7 --timeout")).unwrap();
        assert_eq!((request.topics, request.records, request.timeout), (Topics::Matching("t.*".into()), 7, Duration::from_secs(10)));
    }

    #[test]
    fn what_no_flag_says_a_property_may() {
        let request = read("--bootstrap-server h:1 --topic t --num-records 1").unwrap();
        assert!(request.config.string("group.id").is_some_and(|group| group.starts_with("perf-consumer-")));
        assert_eq!(request.config.string("auto.offset.reset"), Some("earliest"));
        assert_eq!(request.config.int("receive.buffer.bytes"), 2 << 20);
        assert!(!request.config.boolean("check.crcs"));
        let given = "--command-property group.id=g --command-property check.crcs=true --fetch-size 5 --from-latest";
        let request = read(&format!("--bootstrap-server h:1 --topic t --num-records 1 {given}")).unwrap();
        assert_eq!(request.config.string("group.id"), Some("g"));
        assert_eq!(request.config.string("auto.offset.reset"), Some("latest"));
        assert_eq!(request.config.int("max.partition.fetch.bytes"), 5);
        assert!(request.config.boolean("check.crcs"));
    }
}
