//! The arguments of `kafka-e2e-latency`: by name, or as the five or six words that they were before.
//!
//! Source: `EndToEndLatency.EndToEndLatencyCommandOptions`, `EndToEndLatency.convertLegacyArgs`.

use std::str::FromStr;

use clap::{Arg, Command};

use crate::client::{ClientConfig, ClientKind};
use crate::common::clock::{Clock, SystemClock};
use crate::tools::args::{self, Options, connection_args, optional_value, value};
use crate::tools::connect::{self, ConnectError, read_properties};
use crate::tools::exit::{Failure, Usage};
use crate::tools::session::Session;

const REQUIRED: [&str; 5] = ["bootstrap-server", "topic", "num-records", "producer-acks", "record-size"];

pub(super) fn command() -> Command {
    let command = args::command("kafka-e2e-latency", "Measure how long a record takes from a producer to a consumer, one at a time")
        .arg(Arg::new("words").hide(true).num_args(0..).help("Former arguments: servers, topic, records, acks, size, configuration"))
        .args(connection_args())
        .next_help_heading("Test")
        .args([
            value("topic", "TOPIC", "The topic to send to and read from; it is created if it is not there"),
            value("num-records", "N", "How many records to send"),
            value("producer-acks", "ACKS", "Who must have a record before it counts as sent: 1 (the leader) or all"),
        ])
        .next_help_heading("Records")
        .args([
            value("record-size", "BYTES", "The size of a record's value"),
            optional_value("record-key-size", "BYTES", "The size of its key [default: 0]"),
            optional_value("num-headers", "N", "How many headers it has [default: 0]"),
            optional_value("record-header-key-size", "BYTES", "The size of a header's key [default: 0]"),
            optional_value("record-header-size", "BYTES", "The size of a header's value; -1 for null [default: 0]"),
        ])
        .after_help(
            "Examples:\n  \
             kafka-e2e-latency --bootstrap-server localhost:9092 --topic test --num-records 10000 --producer-acks all --record-size 100",
        );
    args::with_general_args(command)
}

/// The test to run.
pub(super) struct Request {
    pub(super) topic: String,
    pub(super) records: u32,
    pub(super) record_size: usize,
    pub(super) key_size: usize,
    pub(super) headers: usize,
    pub(super) header_key_size: usize,
    /// `None` for null.
    pub(super) header_value_size: Option<usize>,
    pub(super) producer: ClientConfig,
    pub(super) consumer: ClientConfig,
    pub(super) admin: ClientConfig,
}

/// The values of the options, by name or by place.
struct Values<'a> {
    options: &'a Options,
    /// The former arguments, if those were given.
    words: Option<&'a [String]>,
}

impl<'a> Values<'a> {
    fn get(&self, name: &str) -> Result<Option<&'a str>, Usage> {
        let place = REQUIRED.iter().chain(&["command-config"]).position(|other| *other == name);
        match (self.words, place) {
            (Some(words), Some(place)) => Ok(words.get(place).map(String::as_str)),
            (Some(_), None) => Ok(None),
            (None, _) => Ok(self.options.value(name)?.filter(|value| !value.is_empty())),
        }
    }

    fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, Usage> {
        let unparseable = |value| Usage(format!("Cannot parse argument '{value}' of option {name}"));
        self.get(name)?.map(|value| value.parse().map_err(|_| unparseable(value))).transpose()
    }

    /// A number of bytes or of things, 0 if it is not given.
    fn size(&self, name: &str) -> Result<usize, Usage> {
        match self.number::<i32>(name)?.unwrap_or_default() {
            size @ 0.. => Ok(size.unsigned_abs() as usize),
            _ => Err(Usage(format!("Value for --{name} must be a non-negative integer."))),
        }
    }
}

impl Request {
    pub(super) fn read(session: &mut Session, options: &Options) -> anyhow::Result<Request> {
        let words = options.stray();
        let by_name = REQUIRED.iter().any(|name| options.has(name));
        if !by_name && !matches!(words.len(), 5 | 6) && (session.compat() || !words.is_empty()) {
            let usage = "Usage: bootstrap-server topic num-records producer-acks record-size [optional] command-config";
            let count = words.len();
            let rule = format!("Invalid number of arguments. Expected 5 or 6 positional arguments, but got {count}. {usage}");
            return Err(Failure::new(rule).into());
        }
        let values = Values { options, words: (!by_name && !words.is_empty()).then_some(words) };
        if values.words.is_some() {
            session.deprecated(
                "WARNING: Positional argument usage is deprecated and will be removed in Apache Kafka 5.0. Please use named arguments \
                 instead: --bootstrap-server, --topic, --num-records, --producer-acks, --record-size, --command-config",
            )?;
        }
        for name in REQUIRED {
            let known = name == "bootstrap-server" && connect::has_servers(session, options);
            if values.get(name)?.is_none() && !known {
                return Err(Usage(format!("Missing required argument \"[{name}]\"")).into());
            }
        }
        let acks = values.get("producer-acks")?.unwrap_or_default();
        if !["1", "all"].contains(&acks) {
            let rule = "Invalid value for --producer-acks. Latency testing requires synchronous acknowledgement. Please use '1' or 'all'.";
            return Err(Usage::new(rule).into());
        }
        let records = values.number::<i32>("num-records")?.unwrap_or_default();
        if records <= 0 {
            return Err(Usage::new("Value for --num-records must be a positive integer.").into());
        }
        let header_value_size = match values.number::<i32>("record-header-size")?.unwrap_or_default() {
            -1 => None,
            size @ 0.. => Some(size.unsigned_abs() as usize),
            _ => {
                return Err(Usage::new("Value for --record-header-size must be a non-negative integer or -1 for null header value.").into());
            }
        };
        let file = match values.get("command-config")? {
            Some(path) => read_properties(path)?,
            None => Vec::new(),
        };
        let servers = values.get("bootstrap-server")?;
        let environment = session.variable("KAFKA_BOOTSTRAP_SERVERS").filter(|_| !session.compat()).map(str::to_owned);
        let config = |kind, fixed: &[(&str, &str)]| {
            let mut builder = ClientConfig::builder(kind).environment(environment.clone()).file(file.clone());
            for (name, value) in fixed.iter().copied().chain(servers.map(|servers| ("bootstrap.servers", servers))) {
                builder = builder.flag(name, value);
            }
            builder.build().map_err(ConnectError::from)
        };
        let group = format!("test-group-{}", SystemClock::new().now_ms());
        Ok(Request {
            topic: values.get("topic")?.unwrap_or_default().to_owned(),
            records: records.unsigned_abs(),
            record_size: values.size("record-size")?,
            key_size: values.size("record-key-size")?,
            headers: values.size("num-headers")?,
            header_key_size: values.size("record-header-key-size")?,
            header_value_size,
            // A record waits for no other, neither to be sent nor to be fetched.
            producer: config(ClientKind::Producer, &[("linger.ms", "0"), ("max.block.ms", &i64::MAX.to_string()), ("acks", acks)])?,
            consumer: config(
                ClientKind::Consumer,
                &[("group.id", &group), ("enable.auto.commit", "false"), ("auto.offset.reset", "latest"), ("fetch.max.wait.ms", "0")],
            )?,
            admin: config(ClientKind::Admin, &[])?,
        })
    }
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

    const NAMED: &str = "--bootstrap-server h:1 --topic t --num-records 5 --producer-acks all --record-size 7";

    fn refused(line: &str) -> String {
        read(line).map(|_| ()).unwrap_err()
    }

    #[test]
    fn former_words_mean_the_same_as_names() {
        for line in [NAMED, "h:1 t 5 all 7"] {
            let request = read(line).unwrap();
            assert_eq!((request.topic.as_str(), request.records, request.record_size), ("t", 5, 7));
            assert_eq!(request.producer.string("acks"), Some("all"));
            assert_eq!(request.consumer.bootstrap_servers()[0].to_string(), "h:1");
        }
        assert!(
            refused("h:1 t 5 all").starts_with("Invalid number of arguments. Expected 5 or 6 positional arguments, but got 4. Usage: ")
        );
        assert!(refused("h:1 t 5 all 7 /no/such/file").contains("/no/such/file"));
    }

    #[test]
    fn numbers_are_checked_as_by_kafka() {
        assert_eq!(refused("--topic t"), "Missing required argument \"[bootstrap-server]\"");
        assert!(refused(&NAMED.replace("all", "0")).starts_with("Invalid value for --producer-acks."));
        assert_eq!(refused(&NAMED.replace('5', "0")), "Value for --num-records must be a positive integer.");
        assert_eq!(refused(&NAMED.replace('7', "-1")), "Value for --record-size must be a non-negative integer.");
        let request = read(&format!("{NAMED} --num-headers 2 --record-header-size=-1 --record-key-size")).unwrap();
        assert_eq!((request.headers, request.header_value_size, request.key_size), (2, None, 0));
        assert!(refused(&format!("{NAMED} --record-header-size=-2")).contains("or -1 for null"));
    }
}
