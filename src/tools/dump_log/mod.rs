//! `kafka-dump-log`: what is in the files of a log.
//!
//! Reads as a stream and only reads, so it may be used beside a running broker: a file ends where it ended when it was opened.
//! A file that is damaged ends the dump with one line in Kafka's words, after what could be read of it.
//!
//! Beyond Kafka: `--output json` (one object a line), and exit code 1 when an index, a checksum or a snapshot is wrong, not only when a
//! file cannot be read at all. Differs: a missing index is not created.
//! Source: `org.apache.kafka.tools.DumpLogSegments`.

mod decoder;
mod indexes;
mod log;
mod remote_log;

use std::io::Write;
use std::path::Path;

use clap::Command;
use serde_json::{Value, json};

use self::decoder::{DECODERS, Decoder};
use super::args::{self, Options, flag, optional_value, value, with_general_args};
use super::exit::{Exit, Failure};
use super::output::Format;
use super::session::Session;
use super::{Parser, Tool};
use crate::storage::fs;
use crate::storage::inspect::{TxnIndexFile, snapshot_producers};

pub(super) const TOOL: Tool = Tool { name: "kafka-dump-log", parser: Parser::Jopt, command, run };

const MAX_MESSAGE_SIZE: i32 = 5 * 1024 * 1024;

fn command() -> Command {
    with_general_args(
        args::command("dump-log", "Show what is in the files of a log: segments, indexes, snapshots").args([
            value("files", "FILE,...", "The files: .log, .index, .timeindex, .txnindex, .snapshot, .checkpoint")
                .value_hint(clap::ValueHint::FilePath),
            flag("print-data-log", "Print the records' keys and values too; every decoder implies it"),
            flag("deep-iteration", "List the records of each batch; --print-data-log implies it"),
            flag("skip-record-metadata", "Of each record print only what is in it; leaves control records out"),
            value("max-bytes", "BYTES", "Read only so many bytes of each .log file"),
            flag("verify-index-only", "Compare an index with its log without printing it"),
            flag("index-sanity-check", "Check an index as a broker does when it starts, without printing it"),
            value("max-message-size", "BYTES", "The largest batch that is looked for at an index entry [default: 5242880]"),
            optional_value(
                "key-decoder-class",
                "CLASS",
                "How keys are read: StringDecoder (the default), IntegerDecoder, LongDecoder, DefaultDecoder",
            )
            .help_heading("Decoders"),
            optional_value("value-decoder-class", "CLASS", "How values are read, as --key-decoder-class").help_heading("Decoders"),
            flag("offsets-decoder", "The log is of __consumer_offsets").help_heading("Decoders"),
            flag("transaction-log-decoder", "The log is of __transaction_state").help_heading("Decoders"),
            flag("share-group-state-decoder", "The log is of __share_group_state").help_heading("Decoders"),
            flag("cluster-metadata-decoder", "The log is of __cluster_metadata, or the file is one of its snapshots")
                .help_heading("Decoders"),
            flag("remote-log-metadata-decoder", "The log is of __remote_log_metadata").help_heading("Decoders"),
        ]),
    )
}

/// What the flags ask for.
struct Request {
    files: Vec<String>,
    contents: bool,
    deep: bool,
    skip_metadata: bool,
    verify_only: bool,
    sanity_only: bool,
    max_bytes: i32,
    max_message_size: i32,
    decoder: Decoder,
}

impl Request {
    fn read(options: &Options) -> anyhow::Result<Request> {
        options.require("files")?;
        let files = options.value("files")?.unwrap_or_default();
        // As Java's split: empty words at the end do not count.
        let files: Vec<String> = files.trim_end_matches(',').split(',').map(java_path).collect();
        let contents = options.has("print-data-log") || DECODERS.iter().any(|name| options.has(name));
        Ok(Request {
            files,
            contents,
            deep: contents || options.has("deep-iteration"),
            skip_metadata: options.has("skip-record-metadata"),
            verify_only: options.has("verify-index-only"),
            sanity_only: options.has("index-sanity-check"),
            max_bytes: options.parsed("max-bytes")?.unwrap_or(i32::MAX),
            max_message_size: options.parsed("max-message-size")?.unwrap_or(MAX_MESSAGE_SIZE),
            decoder: Decoder::choose(options)?,
        })
    }
}

/// A path as `java.io.File` writes it: one slash in place of several, none at the end.
fn java_path(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for c in path.chars() {
        if !(c == '/' && text.ends_with('/')) {
            text.push(c);
        }
    }
    if text.len() > 1 && text.ends_with('/') {
        text.pop();
    }
    text
}

/// A file that is dumped, and where to.
struct Dump<'a> {
    session: &'a mut Session,
    request: &'a Request,
    /// As it is printed.
    file: &'a str,
    path: &'a Path,
    /// What is wrong with any of the files, which Kafka's tool tells after all else: a heading with the file's name, and lines.
    problems: Vec<(String, Vec<String>)>,
    /// Something is wrong with a file.
    is_bad: bool,
}

impl Dump<'_> {
    fn json(&self) -> bool {
        self.session.format() == Format::Json
    }

    /// One object on a line of its own, in which the file stands first.
    fn line(&mut self, kind: &str, value: Value) -> anyhow::Result<()> {
        let line = json!({"file": self.file, kind: value});
        serde_json::to_writer(&mut self.session.out, &line).map_err(std::io::Error::from)?;
        writeln!(self.session.out)?;
        Ok(())
    }

    /// The base offset that the file's name begins with.
    fn base_offset(&self) -> Result<i64, Failure> {
        let word = self.name().split('.').next().unwrap_or_default();
        word.parse().map_err(|_| Failure::new(format!("{}: its name does not begin with an offset", self.file)))
    }

    fn name(&self) -> &str {
        self.file.rsplit('/').next().unwrap_or_default()
    }

    fn absolute(&self) -> String {
        std::path::absolute(self.path).unwrap_or_else(|_| self.path.to_owned()).display().to_string()
    }

    /// Notes what is wrong, to be told after all files.
    fn problem(&mut self, heading: String, line: String) {
        // A log with holes everywhere would fill the memory.
        const MOST: usize = 10_000;
        match self.problems.iter_mut().find(|(known, _)| *known == heading) {
            Some((_, lines)) if lines.len() == MOST => lines.push("  and more".to_owned()),
            Some((_, lines)) if lines.len() > MOST => {}
            Some((_, lines)) => lines.push(line),
            None => self.problems.push((heading, vec![line])),
        }
    }

    fn dump(&mut self) -> anyhow::Result<()> {
        if !self.json() {
            writeln!(self.session.out, "Dumping {}", self.file)?;
        }
        let suffix = self.name().rfind('.').map(|dot| self.name()[dot..].to_owned());
        match suffix.as_deref() {
            Some(".log" | ".checkpoint") => self.dump_log(),
            Some(".index") => self.dump_index(),
            Some(".timeindex") => self.dump_time_index(),
            Some(".txnindex") => self.dump_txn_index(),
            Some(".snapshot") => self.dump_producer_snapshot(),
            _ => {
                writeln!(self.session.err, "Ignoring unknown file {}", self.file)?;
                Ok(())
            }
        }
    }

    fn dump_txn_index(&mut self) -> anyhow::Result<()> {
        self.base_offset()?;
        let mut index = TxnIndexFile::open(self.path)?;
        // As Kafka's tool: nothing of an index that is not readable to its end.
        for n in 0..index.len() {
            index.entry(n)?;
        }
        for n in 0..index.len() {
            let txn = index.entry(n)?;
            if self.json() {
                self.line(
                    "abortedTransaction",
                    json!({
                        "version": txn.version, "producerId": txn.producer_id, "firstOffset": txn.first_offset,
                        "lastOffset": txn.last_offset, "lastStableOffset": txn.last_stable_offset,
                    }),
                )?;
            } else {
                writeln!(
                    self.session.out,
                    "version: {} producerId: {} firstOffset: {} lastOffset: {} lastStableOffset: {}",
                    txn.version, txn.producer_id, txn.first_offset, txn.last_offset, txn.last_stable_offset
                )?;
            }
        }
        Ok(())
    }

    fn dump_producer_snapshot(&mut self) -> anyhow::Result<()> {
        let producers = match snapshot_producers(&fs::read(self.path)?) {
            Ok(producers) => producers,
            Err(problem) => {
                self.is_bad = true;
                writeln!(self.session.err, "{problem}")?;
                return Ok(());
            }
        };
        for producer in producers {
            let first_offset = producer.current_txn_first_offset;
            if self.json() {
                let batch = producer.last_batch.map(|(first_sequence, last_sequence, last_offset, offset_delta)| {
                    json!({
                        "firstSequence": first_sequence, "lastSequence": last_sequence, "lastOffset": last_offset,
                        "offsetDelta": offset_delta, "timestamp": producer.last_timestamp,
                    })
                });
                self.line(
                    "producer",
                    json!({
                        "producerId": producer.producer_id, "producerEpoch": producer.producer_epoch,
                        "coordinatorEpoch": producer.coordinator_epoch, "currentTxnFirstOffset": first_offset,
                        "lastTimestamp": producer.last_timestamp, "lastBatch": batch,
                    }),
                )?;
                continue;
            }
            let out = &mut self.session.out;
            write!(
                out,
                "producerId: {} producerEpoch: {} coordinatorEpoch: {} currentTxnFirstOffset: {} lastTimestamp: {}",
                producer.producer_id,
                producer.producer_epoch,
                producer.coordinator_epoch,
                optional_long(first_offset),
                producer.last_timestamp
            )?;
            if let Some((first_sequence, last_sequence, last_offset, offset_delta)) = producer.last_batch {
                write!(
                    out,
                    " firstSequence: {first_sequence} lastSequence: {last_sequence} lastOffset: {last_offset} offsetDelta: {offset_delta} \
                     timestamp: {}",
                    producer.last_timestamp
                )?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

/// A number that may be missing, as Java writes one.
fn optional_long(value: Option<i64>) -> String {
    value.map_or_else(|| "OptionalLong.empty".to_owned(), |value| format!("OptionalLong[{value}]"))
}

fn run(session: &mut Session, options: &Options) -> anyhow::Result<Exit> {
    let request = Request::read(options)?;
    let mut problems = Vec::new();
    let mut is_bad = false;
    for file in &request.files {
        let mut dump = Dump { session, request: &request, file, path: Path::new(file), problems, is_bad };
        dump.dump()?;
        (problems, is_bad) = (dump.problems, dump.is_bad);
    }
    session.out.flush()?;
    for (heading, lines) in problems {
        writeln!(session.err, "{heading}")?;
        for line in lines {
            writeln!(session.err, "{line}")?;
        }
    }
    Ok(if is_bad && !session.compat() { Exit::FAILURE } else { Exit::SUCCESS })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_as_java_writes_them() {
        assert_eq!(java_path("//a///b/c.log"), "/a/b/c.log");
        assert_eq!(java_path("a/b/"), "a/b");
        assert_eq!(java_path("/"), "/");
    }
}
