//! `ottla check DIR…`: reads whole data directories, ours or Apache Kafka's, and says what is wrong in them.
//!
//! [`crate::storage::check`] looks through the logs; [`metadata`] adds the metadata log's own files (snapshots, records, quorum-state) and
//! whether the other logs are of partitions that there are. One
//! line a finding: the file, the byte, what is wrong, what recovery would do and what that would lose. The exit code is 1 when something
//! is wrong. `--repair` does what recovery would, where it would do something, and then looks again.
//!
//! A directory may be in use: what is found is looked for again then, and told only if it is found both times.
//!
//! Invariant: without `--repair` nothing is changed, no file is created and no lock is kept.

mod metadata;

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::{Arg, Command, ValueHint};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::args::{self, Options, flag, with_general_args};
use super::exit::{Exit, Failure, Usage};
use super::output::{Format, print_json};
use super::session::Session;
use crate::storage::check::{CheckedLog, Checker, Counts, Finding, Repair, repair, repair_checkpoints, set_aside};
use crate::storage::fs;
use crate::storage::log_dirs::CLUSTER_METADATA_DIR;

/// The arguments of `ottla check`.
pub(super) fn command() -> Command {
    with_general_args(args::command("check", "Look through data directories and say what is wrong in them").args([
        Arg::new("dir").value_name("DIR").num_args(1..).value_hint(ValueHint::DirPath).help("The directories (log.dirs) of one node"),
        flag("repair", "Do what recovery does after a crash to every log that needs it; the broker must not be running"),
    ]))
}

/// `ottla check DIR…`
pub(super) fn run(session: &mut Session, words: &[OsString]) -> anyhow::Result<Exit> {
    let options = Options::parse(command(), &args::utf8(words.to_vec())?, false)?;
    session.choose(&options);
    if options.has("help") {
        return super::help(session, command(), true, true);
    }
    if options.stray().is_empty() {
        return Err(Usage::new("check takes the directories to look through").into());
    }
    let directories: Vec<PathBuf> = options.stray().iter().map(PathBuf::from).collect();
    if let Some(missing) = directories.iter().find(|directory| !fs::is_dir(directory)) {
        return Err(Failure::new(format!("{} is no directory", missing.display())).into());
    }
    let (mut locks, mut is_in_use) = (Vec::new(), false);
    for directory in &directories {
        match lock(directory)? {
            Lock::Taken if options.has("repair") => {
                let failure = Failure::new(format!("{} is in use", directory.display()));
                return Err(failure.advise("stop the broker first").into());
            }
            Lock::Taken => {
                is_in_use = true;
                session.warn(format_args!(
                    "{} is in use: what is being written just now may look torn, and checkpoints may lag",
                    directory.display()
                ));
            }
            Lock::Held { _file: file } if options.has("repair") => locks.push(file),
            Lock::Held { .. } | Lock::None => {}
        }
    }
    let mut report = look(session, &directories)?;
    if is_in_use && !report.findings.is_empty() {
        // What was being written then is whole by now; what is wrong is still wrong.
        let (again, mut twice) = (look(session, &directories)?.findings, Vec::new());
        for finding in report.findings {
            if again.contains(&finding) && !twice.contains(&finding) {
                twice.push(finding);
            }
        }
        report.findings = twice;
    }
    if options.has("repair") && !report.findings.is_empty() {
        let first = report.findings.clone();
        for directory in &directories {
            repair_checkpoints(directory)?;
        }
        for log in report.logs.iter().filter(|log| log.repairable > 0) {
            repair(log).with_context(|| format!("cannot repair {}", log.dir.display()))?;
        }
        let is_stray = |log: &CheckedLog| first.iter().any(|it| it.repair == Repair::SetAside && it.path == log.dir);
        for log in report.logs.iter().filter(|log| is_stray(log)) {
            let aside = set_aside(log)?;
            session.warn(format_args!("{} is {} now", log.dir.display(), aside.display()));
        }
        report = look(session, &directories)?;
        print(session, &report, Some(&first))?;
    } else {
        print(session, &report, None)?;
    }
    Ok(if report.findings.is_empty() { Exit::SUCCESS } else { Exit::FAILURE })
}

enum Lock {
    /// By this process; ends with the file.
    Held { _file: std::fs::File },
    /// By another one: a broker is running.
    Taken,
    /// There is nothing to lock.
    None,
}

fn lock(directory: &Path) -> anyhow::Result<Lock> {
    let path = directory.join(".lock");
    // Opened, never created: a directory that no broker has used stays as it is.
    let Ok(file) = OpenOptions::new().read(true).write(true).open(&path) else { return Ok(Lock::None) };
    Ok(if fs::try_lock(&file, &path)? { Lock::Held { _file: file } } else { Lock::Taken })
}

/// What a look through the directories gave.
struct Report {
    findings: Vec<Finding>,
    counts: Counts,
    logs: Vec<CheckedLog>,
}

fn look(session: &Session, directories: &[PathBuf]) -> anyhow::Result<Report> {
    let bar = progress_bar(session, directories);
    let mut findings = Vec::new();
    let mut report = |finding| findings.push(finding);
    let progress = |bytes| bar.inc(bytes);
    let mut checker = Checker::new(&mut report, &progress);
    for directory in directories {
        checker.check_dir(directory)?;
    }
    let (counts, logs, without_log) = (checker.counts, checker.logs, checker.without_log);
    let metadata = directories.iter().map(|directory| directory.join(CLUSTER_METADATA_DIR)).find(|directory| fs::is_dir(directory));
    if let Some(metadata) = metadata {
        let of_logs = findings.len();
        let mut attempts = 0;
        while let Err(error) = metadata::check(&metadata, &logs, &without_log, &mut findings) {
            attempts += 1;
            // A running broker has removed a file just now.
            if error.reason.kind() != ErrorKind::NotFound || attempts > 10 {
                return Err(error.into());
            }
            findings.truncate(of_logs);
        }
    } else {
        findings.extend(without_log.iter().map(|(checkpoint, partition)| metadata::without_log(checkpoint, partition)));
    }
    bar.finish_and_clear();
    Ok(Report { findings, counts, logs })
}

/// Of the bytes of all segments, if someone watches.
fn progress_bar(session: &Session, directories: &[PathBuf]) -> ProgressBar {
    if session.quiet() || !session.terminals.stderr {
        return ProgressBar::hidden();
    }
    let mut total = 0;
    for log in directories.iter().flat_map(|directory| fs::list(directory).unwrap_or_default()).filter(|path| fs::is_dir(path)) {
        let segments = fs::list(&log).unwrap_or_default();
        let segments = segments.iter().filter(|path| path.extension().is_some_and(|extension| extension == "log"));
        total += segments.filter_map(|path| fs::size(path).ok().flatten()).sum::<u64>();
    }
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    let bar = ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn place(finding: &Finding) -> String {
    match finding.position {
        Some(position) => format!("{}:{position}", finding.path.display()),
        None => finding.path.display().to_string(),
    }
}

/// What recovery would do, as the end of a line.
fn outcome(repair: &Repair) -> String {
    match repair {
        Repair::Lossless(what) => format!("recovery: {what}, nothing is lost"),
        Repair::Cut { first_offset, last_offset, bytes } => {
            let lost = match last_offset {
                Some(last) if last > first_offset => format!("offsets {first_offset} to {last}"),
                Some(_) => format!("offset {first_offset}"),
                None => format!("what follows offset {}", first_offset - 1),
            };
            format!("recovery: the log is cut here, {lost} ({bytes} bytes) would be lost")
        }
        Repair::SetAside => "recovery: the directory is renamed to …-stray, nothing in it is lost".to_owned(),
        Repair::None => "recovery leaves it as it is".to_owned(),
    }
}

fn finding_json(finding: &Finding) -> Value {
    let (repair, lost) = match &finding.repair {
        Repair::Lossless(what) => (Value::from(*what), Value::Null),
        Repair::Cut { first_offset, last_offset, bytes } => {
            ("cut".into(), json!({"firstOffset": first_offset, "lastOffset": last_offset, "bytes": bytes}))
        }
        Repair::SetAside => ("stray".into(), Value::Null),
        Repair::None => (Value::Null, Value::Null),
    };
    json!({"file": finding.path, "position": finding.position, "problem": finding.problem, "repair": repair, "lost": lost})
}

/// `first` is what was found before a repair.
fn print(session: &mut Session, report: &Report, first: Option<&[Finding]>) -> anyhow::Result<()> {
    let Counts { logs, segments, batches, records, bytes } = report.counts;
    if session.format() == Format::Json {
        let all = |findings: &[Finding]| findings.iter().map(finding_json).collect::<Vec<_>>();
        let mut document = json!({
            "logs": logs, "segments": segments, "batches": batches, "records": records, "bytes": bytes,
            "findings": all(&report.findings),
        });
        if let Some(first) = first {
            document["repaired"] = all(first).into();
        }
        return print_json(session, &document);
    }
    let out = &mut session.out;
    for finding in first.unwrap_or(&report.findings) {
        writeln!(out, "{}: {}; {}", place(finding), finding.problem, outcome(&finding.repair))?;
    }
    let count = |n: u64, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let read = format!(
        "{}, {}, {}, {}",
        count(logs, "log"),
        count(segments, "segment"),
        count(batches, "batch").replace("batchs", "batches"),
        count(records, "record")
    );
    match first {
        Some(_) if report.findings.is_empty() => writeln!(out, "{read}: nothing is wrong after the repair")?,
        Some(_) => {
            writeln!(out, "{read}: after the repair there is still")?;
            for finding in &report.findings {
                writeln!(out, "{}: {}", place(finding), finding.problem)?;
            }
        }
        None if report.findings.is_empty() => writeln!(out, "{read}: nothing is wrong")?,
        None => writeln!(out, "{read}: {}", count(report.findings.len() as u64, "finding"))?,
    }
    Ok(())
}
