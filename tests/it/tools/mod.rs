//! The tools as programs: their whole standard output, standard error and exit code.

mod arguments;
mod check;
mod console_consumer;
mod console_producer;
mod consumer_groups;
mod dry_run;
mod dump_log;
mod generated;
mod perf;
mod storage;
mod strangers;
mod topics;

use std::io::{Seek, Write};
use std::process::Stdio;

use tokio::process::Command;

use crate::broker::Broker;

/// Where a program is.
fn executable(program: &str) -> &'static str {
    match program {
        "kafka-topics" => env!("CARGO_BIN_EXE_kafka-topics"),
        "kafka-consumer-groups" => env!("CARGO_BIN_EXE_kafka-consumer-groups"),
        "kafka-console-producer" => env!("CARGO_BIN_EXE_kafka-console-producer"),
        "kafka-console-consumer" => env!("CARGO_BIN_EXE_kafka-console-consumer"),
        "kafka-producer-perf-test" => env!("CARGO_BIN_EXE_kafka-producer-perf-test"),
        "kafka-consumer-perf-test" => env!("CARGO_BIN_EXE_kafka-consumer-perf-test"),
        "kafka-e2e-latency" => env!("CARGO_BIN_EXE_kafka-e2e-latency"),
        "kafka-dump-log" => env!("CARGO_BIN_EXE_kafka-dump-log"),
        "kafka-storage" => env!("CARGO_BIN_EXE_kafka-storage"),
        "ottla" => env!("CARGO_BIN_EXE_ottla"),
        other => panic!("{other} is no program of this package"),
    }
}

/// A call of a program, in an environment that says nothing about Kafka.
struct Call {
    command: Command,
    line: String,
}

/// A call as it would be typed: the program's name and its arguments, blanks between them.
fn call(line: &str) -> Call {
    let mut words = line.split(' ');
    let program = words.next().expect("a program");
    let mut command = Command::new(executable(program));
    command.args(words).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("KAFKA_") || text.starts_with("CLICOLOR") || text == "NO_COLOR" {
            command.env_remove(&name);
        }
    }
    Call { command, line: line.to_owned() }
}

impl Call {
    fn argument(mut self, argument: &str) -> Call {
        self.command.arg(argument);
        self.line.push_str(&format!(" '{argument}'"));
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Call {
        self.command.env(name, value);
        self.line.insert_str(0, &format!("{name}={value} "));
        self
    }

    /// What the program reads on standard input, instead of nothing.
    fn input(mut self, input: &[u8]) -> Call {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(input).and_then(|()| file.rewind()).expect("room for the input");
        self.command.stdin(Stdio::from(file));
        self
    }

    /// Runs in this directory.
    fn within(mut self, directory: &std::path::Path) -> Call {
        self.command.current_dir(directory);
        self
    }

    /// Runs to the end.
    async fn output(&mut self) -> std::process::Output {
        self.command.output().await.expect("starts")
    }

    /// Runs to the end: the command line, standard output, standard error with `! ` before each line, and the exit code if it is not 0.
    async fn transcript(mut self) -> String {
        let output = self.output().await;
        let mut text = format!("$ {}\n{}", self.line, String::from_utf8_lossy(&output.stdout));
        for line in String::from_utf8_lossy(&output.stderr).lines() {
            text.push_str(&format!("! {line}\n"));
        }
        if let Some(code) = output.status.code().filter(|code| *code != 0) {
            text.push_str(&format!("exit code {code}\n"));
        }
        text
    }
}

/// Runs calls one after the other against a broker, whose address is added to each, and joins their transcripts. What differs from run to
/// run (the address, topic ids) is replaced.
async fn session(broker: &Broker, lines: &[&str]) -> String {
    let address = broker.address.to_string();
    let mut transcripts = String::new();
    for line in lines {
        let (program, rest) = line.split_once(' ').expect("arguments");
        let transcript = call(&format!("{program} --bootstrap-server {address} {rest}")).transcript().await;
        let transcript = transcript.replace(&format!(" --bootstrap-server {address}"), "").replace(&address, "BROKER");
        transcripts.push_str(&transcript);
    }
    let ids = regex::Regex::new("(TopicId: |id |\"topicId\":\")[A-Za-z0-9_-]{22}").expect("a pattern");
    ids.replace_all(&transcripts, "${1}ID").into_owned()
}
