//! The arguments of `kafka-console-producer`: what there is, and the request they make.
//!
//! Invariant: a setting of the producer whose flag is absent stays as the client has it (or as the properties say), unlike in Kafka's
//! tool, whose flags have defaults of their own that are worse on a slow link; `KAFKA_CLI_COMPAT` brings those back.
//! Source: `ConsoleProducer.ConsoleProducerOptions`.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clap::Command;

use super::reader::LineReader;
use crate::client::{ClientConfig, ClientKind};
use crate::protocol::batch::RecordHeader;
use crate::tools::args::{self, Options, connection_args, file, flag, optional_value, value};
use crate::tools::connect::{ConnectError, read_properties};
use crate::tools::exit::{Failure, Usage};
use crate::tools::session::Session;
use crate::tools::{suggest, time};

/// The one line reader there is.
const LINE_READER: &str = "org.apache.kafka.tools.LineMessageReader";

const READER_PROPERTIES: &[&str] = &[
    "topic",
    "parse.key",
    "key.separator",
    "parse.headers",
    "headers.delimiter",
    "headers.separator",
    "headers.key.separator",
    "ignore.error",
    "null.marker",
];

/// A flag that is a property of the producer.
struct Setting {
    flag: &'static str,
    property: &'static str,
    /// What Kafka's tool takes without the flag.
    kafka_default: &'static str,
    /// Is its value a number of at most 32 bits, or of 64, or text?
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Int,
    Long,
    Text,
}

const fn setting(flag: &'static str, property: &'static str, kafka_default: &'static str, kind: Kind) -> Setting {
    Setting { flag, property, kafka_default, kind }
}

/// Of two flags for one property the later here wins.
const SETTINGS: &[Setting] = &[
    setting("timeout", "linger.ms", "1000", Kind::Long),
    setting("request-required-acks", "acks", "-1", Kind::Text),
    setting("request-timeout-ms", "request.timeout.ms", "1500", Kind::Int),
    setting("message-send-max-retries", "retries", "3", Kind::Int),
    setting("retry-backoff-ms", "retry.backoff.ms", "100", Kind::Long),
    setting("socket-buffer-size", "send.buffer.bytes", "102400", Kind::Int),
    setting("max-memory-bytes", "buffer.memory", "33554432", Kind::Long),
    setting("batch-size", "batch.size", "16384", Kind::Int),
    setting("max-partition-memory-bytes", "batch.size", "16384", Kind::Int),
    setting("metadata-expiry-ms", "metadata.max.age.ms", "300000", Kind::Long),
    setting("max-block-ms", "max.block.ms", "60000", Kind::Long),
];

const READER_PROPERTY_HELP: &str = "A property of the line reader; may be repeated. With their defaults:\n  \
     parse.key=false            a line is key, separator, value\n  \
     key.separator=\\t\n  \
     parse.headers=false        headers stand before all else: h1:v1,h2:v2\n  \
     headers.delimiter=\\t       ends the headers\n  \
     headers.separator=,        between two headers; a regular expression\n  \
     headers.key.separator=:\n  \
     null.marker=               a key, value or header value of this text is null\n  \
     ignore.error=false         a line without the separators is all value";

pub(crate) fn command() -> Command {
    let command = args::command("kafka-console-producer", "Send records to a topic: each line of standard input is one")
        .args(connection_args())
        .next_help_heading("Records")
        .args([
            value("topic", "TOPIC", "The topic to send to (with --input json: in place of the records' own)"),
            value("input", "FORMAT", "What standard input holds [default: lines]").value_parser(["lines", "json"]).long_help(
                "What standard input holds: lines, or json, one object a line as kafka-console-consumer --output json prints them: \
                     {\"topic\", \"partition\", \"timestamp\", \"headers\": [{\"key\", \"value\"}], \"key\", \"value\"}, of which only \
                     value must be there. Bytes that are no text are {\"base64\": \"…\"} [default: lines]",
            ),
            value("reader-property", "NAME=VALUE", "How a line becomes a record, such as parse.key=true; may be repeated")
                .long_help(READER_PROPERTY_HELP),
            file("reader-config", "Properties file for the line reader; --reader-property goes before it"),
            value("key", "KEY", "The key of every record"),
            value("header", "NAME:VALUE", "A header added to every record; may be repeated"),
            flag("tombstone", "Send deletions: each line is a key, and the value is null (with --key: just one, without input)"),
            value("partition", "N", "The partition of every record [default: by key, else spread]"),
            value("timestamp", "TIME", "The timestamp of every record: milliseconds since 1970, a date and time, -2h [default: now]"),
            value("line-reader", "CLASS", "The class that takes lines apart; only Kafka's own is there").hide(true),
            value("property", "NAME=VALUE", "Former name of --reader-property").hide(true),
        ])
        .next_help_heading("Producer")
        .args([
            flag("sync", "Send one record at a time and wait for each"),
            value("request-required-acks", "ACKS", "Who must have a record before it counts as sent: all, 1 (the leader) or 0 (acks)"),
            optional_value("compression-codec", "CODEC", "none, gzip, snappy, lz4 or zstd; gzip if left out (compression.type)"),
            value("batch-size", "BYTES", "The most bytes of a partition's records to send together (batch.size)"),
            value("timeout", "MS", "How long a record waits for others to be sent with (linger.ms)"),
            value("message-send-max-retries", "N", "How often a failed request is sent again (retries)"),
            value("retry-backoff-ms", "MS", "The pause before that (retry.backoff.ms)"),
            value("request-timeout-ms", "MS", "How long to wait for an answer (request.timeout.ms)"),
            value("max-block-ms", "MS", "How long to wait for metadata or for room in the buffer (max.block.ms)"),
            value("max-memory-bytes", "BYTES", "The buffer for records that are not sent yet (buffer.memory)"),
            value("metadata-expiry-ms", "MS", "When metadata is fetched again without a cause (metadata.max.age.ms)"),
            value("socket-buffer-size", "BYTES", "The send buffer of the sockets (send.buffer.bytes)"),
            value("max-partition-memory-bytes", "BYTES", "Former name of --batch-size").hide(true),
        ])
        .next_help_heading("Connection")
        .args([
            value("command-property", "NAME=VALUE", "A property of the producer, before those of --command-config; may be repeated"),
            value("producer-property", "NAME=VALUE", "Former name of --command-property").hide(true),
            file("producer.config", "Former name of --command-config").hide(true),
        ])
        .after_help(
            "Examples:\n  \
             kafka-console-producer --bootstrap-server localhost:9092 --topic orders < orders.txt\n  \
             kafka-console-producer --bootstrap-server localhost:9092 --topic orders --reader-property parse.key=true\n  \
             kafka-console-producer --bootstrap-server localhost:9092 --topic orders --key 17 --tombstone",
        );
    args::with_general_args(command)
}

/// What standard input holds.
#[derive(Clone, Debug)]
pub(super) enum Input {
    Lines(Box<LineReader>),
    /// Each line is a key to delete.
    Keys,
    Json,
    /// Standard input is not read: one deletion.
    OneTombstone,
}

/// What is to be sent.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// The topic of all records; JSON records may have their own.
    pub(super) topic: Option<String>,
    pub(super) input: Input,
    pub(super) sync: bool,
    pub(super) key: Option<Bytes>,
    pub(super) headers: Vec<RecordHeader>,
    pub(super) partition: Option<i32>,
    /// Milliseconds since the epoch.
    pub(super) timestamp: Option<i64>,
}

/// Pairs of flags, the newer first, of which only one may be given.
const RENAMED: [(&str, &str); 3] =
    [("command-config", "producer.config"), ("command-property", "producer-property"), ("reader-property", "property")];

/// Says what is deprecated: on standard output, as Kafka's tool does, only for those who want that.
fn deprecated(session: &mut Session, notice: &str) -> anyhow::Result<()> {
    if session.compat() {
        writeln!(session.out, "Warning: {notice}")?;
    } else if !session.quiet() {
        session.warn(notice);
    }
    Ok(())
}

/// Checks which flags were given together.
pub(super) fn check(session: &mut Session, options: &Options) -> anyhow::Result<()> {
    if options.last("input") != Some("json") {
        options.require("topic")?;
    }
    for (new, old) in RENAMED {
        if options.has(new) && options.has(old) {
            return Err(Usage(format!("Options --{new} and --{old} cannot be specified together.")).into());
        }
    }
    for (new, old) in [RENAMED[1], RENAMED[0], RENAMED[2]] {
        if options.has(old) {
            deprecated(session, &format!("--{old} is deprecated and will be removed in a future version. Use --{new} instead."))?;
        }
    }
    if options.has("max-partition-memory-bytes") {
        let notice = "--max-partition-memory-bytes is deprecated and will be removed in Apache Kafka 5.0. Use --batch-size instead.";
        deprecated(session, notice)?;
    }
    if session.compat() {
        let servers = options.value("bootstrap-server")?.unwrap_or_default();
        if servers.trim().is_empty() {
            return Err(Usage::new("Error while validating the bootstrap address").into());
        }
        if ClientConfig::with_servers(ClientKind::Producer, servers).is_err() {
            return Err(Usage::new("Please provide valid host:port like host1:9091,host2:9092").into());
        }
    }
    for lines_only in ["reader-property", "property", "reader-config", "tombstone"] {
        if options.last("input") == Some("json") {
            options.conflict(lines_only, &["input"])?;
        }
    }
    options.conflict("tombstone", &["reader-property", "property", "reader-config"])?;
    Ok(())
}

fn key_value(argument: &str) -> (String, String) {
    let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
    (name.to_owned(), value.to_owned())
}

/// All values of a flag and of its former name.
fn properties<'a>(options: &'a Options, new: &str, old: &str) -> impl Iterator<Item = (String, String)> + use<'a> {
    options.values(new).into_iter().chain(options.values(old)).map(key_value)
}

/// The name=value pairs of the line reader.
fn reader_properties(session: &mut Session, options: &Options) -> anyhow::Result<BTreeMap<String, String>> {
    let mut merged = BTreeMap::new();
    if let Some(path) = options.value("reader-config")? {
        merged.extend(read_properties(path)?);
    }
    if let Some(topic) = options.value("topic")? {
        merged.insert("topic".to_owned(), topic.to_owned());
    }
    merged.extend(properties(options, "reader-property", "property"));
    if !session.compat() {
        for name in merged.keys().filter(|name| !READER_PROPERTIES.contains(&name.as_str())) {
            match suggest::closest(name, READER_PROPERTIES.iter().copied()) {
                Some(near) => session.warn(format_args!("the line reader has no property {name}; did you mean {near}?")),
                None => session.warn(format_args!("the line reader has no property {name}")),
            }
        }
    }
    Ok(merged)
}

impl Request {
    pub(super) fn read(session: &mut Session, options: &Options) -> anyhow::Result<Request> {
        let reader_class = options.value("line-reader")?.unwrap_or(LINE_READER);
        if reader_class != LINE_READER {
            let failure = Failure::new(format!("line reader {reader_class} is not there")).advise(format!("{LINE_READER} is built in"));
            return Err(failure.into());
        }
        let key = options.value("key")?.map(|key| Bytes::copy_from_slice(key.as_bytes()));
        let mut topic = options.value("topic")?.map(str::to_owned);
        let input = if options.last("input") == Some("json") {
            Input::Json
        } else if options.has("tombstone") {
            if key.is_some() { Input::OneTombstone } else { Input::Keys }
        } else {
            let properties = reader_properties(session, options)?;
            let reader = LineReader::new(&properties)?;
            // It is the reader that makes the records.
            topic = properties.get("topic").cloned();
            if reader.parses_keys() && key.is_some() {
                return Err(Usage::new("Option \"[key]\" can't be used with the line reader's property parse.key").into());
            }
            Input::Lines(Box::new(reader))
        };
        let headers = options.values("header").into_iter().map(header).collect::<Result<_, _>>()?;
        let partition: Option<i32> = options.parsed("partition")?;
        if let Some(partition) = partition.filter(|partition| *partition < 0) {
            return Err(Usage(format!("Cannot parse argument '{partition}' of option partition")).into());
        }
        let timestamp = options.value("timestamp")?.map(timestamp).transpose()?;
        Ok(Request { topic, input, sync: options.has("sync"), key, headers, partition, timestamp })
    }
}

fn header(text: &str) -> Result<RecordHeader, Usage> {
    let Some((key, value)) = text.split_once(':') else {
        return Err(Usage(format!("Cannot parse argument '{text}' of option header; it may be NAME:VALUE")));
    };
    Ok(RecordHeader { key: Bytes::copy_from_slice(key.as_bytes()), value: Some(Bytes::copy_from_slice(value.as_bytes())) })
}

/// Milliseconds since 1970 of any size, or a moment as people write it.
fn timestamp(text: &str) -> Result<i64, Usage> {
    if let Ok(ms) = text.parse::<u32>() {
        return Ok(i64::from(ms));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    let moment = time::moment(text, now).map_err(|reason| Usage(format!("Cannot parse argument of option timestamp: {reason}")))?;
    if moment < 0 {
        return Err(Usage(format!("Cannot parse argument '{text}' of option timestamp: it is before 1970")));
    }
    Ok(moment)
}

/// The producer's configuration from its flags, properties, files and the environment.
pub(super) fn producer_config(session: &mut Session, options: &Options) -> anyhow::Result<ClientConfig> {
    let compat = session.compat();
    let servers = session.variable("KAFKA_BOOTSTRAP_SERVERS").filter(|_| !compat).map(str::to_owned);
    let mut builder = ClientConfig::builder(ClientKind::Producer).environment(servers);
    for name in ["command-config", "producer.config"] {
        if let Some(path) = options.value(name)? {
            builder = builder.file(read_properties(path)?);
        }
    }
    for (name, value) in properties(options, "command-property", "producer-property") {
        builder = builder.property(name, value);
    }
    if let Some(servers) = options.value("bootstrap-server")? {
        builder = builder.flag("bootstrap.servers", servers);
    }
    match options.value("compression-codec")? {
        Some("") => builder = builder.flag("compression.type", "gzip"),
        Some(codec) => builder = builder.flag("compression.type", codec),
        // Kafka's tool leaves no other way to choose one.
        None if compat => builder = builder.flag("compression.type", "none"),
        None => {}
    }
    for Setting { flag, property, kind, .. } in SETTINGS {
        let value = match kind {
            Kind::Int => options.parsed::<i32>(flag)?.map(|number| number.to_string()),
            Kind::Long => options.parsed::<i64>(flag)?.map(|number| number.to_string()),
            Kind::Text => options.value(flag)?.map(str::to_owned),
        };
        if let Some(value) = value {
            builder = builder.flag(*property, value);
        }
    }
    let mut config =
        builder.build().map_err(ConnectError::from)?.or_default("client.id", "console-producer").map_err(ConnectError::from)?;
    if compat {
        for Setting { property, kafka_default, .. } in SETTINGS {
            config = config.or_default(property, kafka_default).map_err(ConnectError::from)?;
        }
    }
    if options.has("sync") {
        // A record that is waited for has no others to wait for.
        config = config.or_default("linger.ms", "0").map_err(ConnectError::from)?;
    }
    for warning in config.warnings() {
        session.warn(warning);
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_may_lack_its_value_and_hold_more_than_one_equals_sign() {
        assert_eq!(key_value("parse.key"), ("parse.key".to_owned(), String::new()));
        assert_eq!(key_value("key.separator==>"), ("key.separator".to_owned(), "=>".to_owned()));
    }

    #[test]
    fn timestamps_are_milliseconds_or_moments() {
        assert_eq!(timestamp("0"), Ok(0));
        assert_eq!(timestamp("1700000000000"), Ok(1_700_000_000_000));
        assert_eq!(timestamp("2026-01-31T08:30:00Z"), Ok(1_769_848_200_000));
        assert!(timestamp("soon").is_err());
        assert!(timestamp("1960-01-01").is_err());
    }

    #[test]
    fn a_header_needs_its_colon() {
        let header_of = |text| header(text).map(|header| (header.key, header.value));
        assert_eq!(header_of("a:b:c"), Ok(("a".into(), Some("b:c".into()))));
        assert_eq!(header_of("a:"), Ok(("a".into(), Some(Bytes::new()))));
        assert!(header_of("a").is_err());
    }
}
