//! `kafka-console-consumer`: reads records and prints them.
//!
//! Differs from Kafka's tool unless `KAFKA_CLI_COMPAT` is set: a topic that is not there, a broker that cannot be reached and any other
//! error is one line and exit code 1; nothing is created by reading; the leader epoch is printed. In either case there is no group unless
//! one is named: partitions are read on their own.
//!
//! Invariant: what is committed was written to standard output before; a record that was not printed is read again by the group.
//! Source: `ConsoleConsumer`.

mod coordinator_records;
mod deserializer;
mod formatter;
mod options;
mod partitions;
mod progress;
mod reading;
mod stop;
mod writer;

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context;
use tokio::time::Instant;

use options::Request;
use progress::Progress;
use reading::{End, Reading};
use stop::{Ending, Stop};
use writer::Writer;

use super::args::Options;
use super::exit::Exit;
use super::session::Session;
use super::{Parser, Tool, connect};
use crate::client::consumer::{Consumer, ConsumerError};

pub(crate) const TOOL: Tool = Tool { name: "kafka-console-consumer", parser: Parser::Jopt, command: options::command, run };

/// Committing and leaving the group may take this long.
const CLOSING: Duration = Duration::from_secs(30);

fn run(session: &mut Session, options: &Options) -> anyhow::Result<Exit> {
    let request = match Request::read(session, options) {
        Ok(request) => request,
        Err(error) if session.compat() => return Err(connect::in_kafkas_words(error)),
        Err(error) => return Err(error),
    };
    // Fetching must not wait for formatting, so this takes more than one thread.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().context("cannot start the runtime")?;
    let result = runtime.block_on(consume(session, &request));
    // A name that is still being looked up must not hold up the end.
    runtime.shutdown_background();
    result
}

async fn consume(session: &mut Session, request: &Request) -> anyhow::Result<Exit> {
    let stop = Stop::listen()?;
    let started = Instant::now();
    let servers = connect::describe_servers(&request.config);
    let connecting = format!("Connecting to {servers}");
    let connected = tokio::select! {
        consumer = session.with_progress(&connecting, Consumer::new(&request.config)) => consumer,
        ending = stop.wait() => return conclude(session, request, 0, End::Stopped(ending)),
    };
    let consumer = match (connected, request.timeout) {
        (Ok(consumer), _) => consumer,
        // Kafka's tool goes on trying, and takes a time-out for a good end.
        (Err(ConsumerError::Client(error)), Some(timeout)) if session.compat() => {
            session.warn(error);
            let end = tokio::select! {
                () = tokio::time::sleep(timeout.saturating_sub(started.elapsed())) => End::Idle,
                ending = stop.wait() => End::Stopped(ending),
            };
            return conclude(session, request, 0, end);
        }
        (Err(error), _) => return Err(reading::unwrapped(error)),
    };
    let progress = Progress::new(session);
    let mut writer = Writer::start(std::mem::replace(&mut session.out, Box::new(io::sink())));
    let mut reading = Reading::new(request, session.compat(), &consumer, &stop, progress);
    let mut end = reading.run(session, &mut writer).await;
    // All that was formatted is still printed, unless nobody takes it.
    let printed = tokio::select! {
        printed = reading.print(&mut writer) => printed,
        () = stop.wait_for_second_signal() => false,
    };
    let count = reading.finish(printed);
    tokio::select! {
        closed = consumer.close(CLOSING) => if let Err(error) = closed {
            session.warn(format_args!("the offsets were not committed: {error}"));
        },
        () = stop.wait_for_second_signal() => end = End::Stopped(Ending::Again),
    }
    tokio::select! {
        (out, result) = writer.finish() => {
            session.out = out;
            match result {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => end = End::Stopped(Ending::HangUp),
                Err(error) => end = End::Failed(anyhow::Error::from(error).context("cannot write to standard output")),
            }
        }
        () = stop.wait_for_second_signal() => end = End::Stopped(Ending::Again),
    }
    conclude(session, request, count, end)
}

/// The last words, and the exit code.
fn conclude(session: &mut Session, request: &Request, count: u64, end: End) -> anyhow::Result<Exit> {
    let compat = session.compat();
    // Where nothing was read, an error says it all.
    let failed_at_once = matches!(end, End::Failed(_)) && count == 0;
    if !session.quiet() && (compat || !failed_at_once) {
        // Standard error may be closed.
        let _ = writeln!(session.err, "Processed a total of {count} messages");
    }
    if request.systest_events && !matches!(end, End::Stopped(Ending::HangUp | Ending::Again)) {
        writeln!(session.out, "shutdown_complete")?;
    }
    match end {
        End::Done | End::Idle | End::Stopped(Ending::HangUp | Ending::No) => Ok(Exit::SUCCESS),
        End::Stopped(Ending::Signal(code)) if compat => Ok(Exit(code)),
        End::Stopped(_) => Ok(Exit::INTERRUPTED),
        // Whatever keeps Kafka's tool from reading on, it calls the end.
        End::Failed(error) if compat && !error.is::<formatter::FormatError>() => {
            session.report(&error);
            Ok(Exit::SUCCESS)
        }
        End::Failed(error) => Err(error),
    }
}
