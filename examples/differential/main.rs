//! The differential test: the same requests to our broker and to Apache Kafka's, the answers compared field by field.
//!
//! ```text
//! differential OUR_PORT=DATA_DIRECTORY APACHE_PORT=DATA_DIRECTORY [--only FILE_OR_SECTION] [--verbose]
//! ```
//!
//! `tests/interop/run --only differential` starts both brokers and this. The requests are in `tests/interop/differential/*.txt`
//! (`scenario.rs` says how they are written), what may differ in `differences.txt` there (`compare.rs`). Ends with 1 when an answer differs
//! and the difference is not listed, when a listed one no longer occurs, and when a scenario is wrong. What is served and never asked is
//! said aloud.
//!
//! Requests go to both brokers in turn, one after the other. What becomes visible a little later on one of them is waited for: an answer
//! that says so ("coordinator loading") is asked for again, and so is a question that changes nothing while the answers differ.

#![allow(clippy::print_stdout, reason = "its report")]

#[path = "../protocol_generator/definition.rs"]
#[allow(dead_code, reason = "the generator needs more of it")]
mod definition;

mod compare;
mod message;
mod scenario;
mod side;
mod special;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use compare::{Difference, Listed, Pairs, differences, show};
use message::Messages;
use ottla::protocol::api_key::ApiKey;
use scenario::{Action, Request, Step, VersionChoice};
use serde_json::Value;
use side::{Side, api_key};

/// How long to wait for a coordinator.
const LOADING: Duration = Duration::from_secs(20);
/// How long to wait for answers to become the same.
const VISIBLE: Duration = Duration::from_secs(3);
/// COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR
const LOADING_ERRORS: &[i64] = &[14, 15, 16];
/// Errors of what was created just now: UNKNOWN_TOPIC_OR_PARTITION, LEADER_NOT_AVAILABLE, NOT_LEADER_OR_FOLLOWER, CONCURRENT_TRANSACTIONS,
/// UNKNOWN_TOPIC_ID, INCONSISTENT_TOPIC_ID
const EARLY_ERRORS: &[i64] = &[3, 5, 6, 51, 100, 103];
/// Requests that change nothing.
const QUESTIONS: &[&str] = &[
    "Describe",
    "Heartbeat",
    "List",
    "Metadata",
    "OffsetFetch",
    "OffsetForLeaderEpoch",
    "ConsumerGroupDescribe",
    "ShareGroupDescribe",
    "StreamsGroupDescribe",
];

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: impl Iterator<Item = String>) -> Result<bool, String> {
    let (mut places, mut only, mut verbose) = (Vec::new(), None, false);
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--only" => only = arguments.next(),
            "--verbose" => verbose = true,
            _ => places.push(argument),
        }
    }
    let [ours, apache] = &places[..] else { return Err("two of PORT=DIRECTORY are wanted: ours, Apache's".into()) };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/differential");
    let messages = Messages::read()?;
    let mut test = Test {
        ours: Side::new(&messages, ours)?,
        apache: Side::new(&messages, apache)?,
        listed: Listed::read(&folder.join("differences.txt"))?,
        asked: BTreeMap::new(),
        under_way: BTreeMap::new(),
        pairs: Pairs::default(),
        unknown: BTreeSet::new(),
        requests: 0,
        wrong: 0,
        verbose,
    };
    for file in scenario_files(&folder)? {
        for step in scenario::read(&file)? {
            if only.as_ref().is_none_or(|only| step.place.starts_with(only.as_str()) || step.section.contains(only.as_str())) {
                match test.step(&step) {
                    // It needs the answer of an API that is not served.
                    Err(error) if test.unknown.contains(&error) => {}
                    done => done.map_err(|error| format!("{}: {error}", step.place))?,
                }
            }
        }
    }
    Ok(test.report(only.is_some()))
}

fn scenario_files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt") && !file.ends_with("differences.txt"));
    files.sort();
    Ok(files)
}

struct Test<'a> {
    ours: Side<'a>,
    apache: Side<'a>,
    listed: Listed,
    /// Key -> the versions that were asked.
    asked: BTreeMap<i16, BTreeSet<i16>>,
    /// Connection -> the request whose answer has not been read.
    under_way: BTreeMap<String, (String, i16)>,
    pairs: Pairs,
    /// Errors of steps whose variables were never captured, because one of the brokers does not serve the API.
    unknown: BTreeSet<String>,
    requests: usize,
    wrong: usize,
    verbose: bool,
}

impl Test<'_> {
    fn step(&mut self, step: &Step) -> Result<(), String> {
        match &step.action {
            Action::Close => {
                self.under_way.remove(&step.connection);
                self.ours.close(&step.connection);
                self.apache.close(&step.connection);
            }
            Action::Receive => {
                let (api, version) = self.under_way.remove(&step.connection).ok_or("nothing is under way")?;
                let answers = (self.ours.receive(&step.connection)?, self.apache.receive(&step.connection)?);
                self.judge(step, &api, version, &answers)?;
            }
            Action::Ask { request, only_send, now, until } => {
                let key = api_key(&request.api).ok_or_else(|| format!("no API {}", request.api))?;
                let Some(common) = self.common(key) else {
                    self.unknown.extend(step.captures.iter().map(|(name, _)| format!("no variable ${name}")));
                    return Ok(());
                };
                for version in versions(request.versions, common) {
                    self.requests += 1;
                    self.asked.entry(key.code()).or_default().insert(version);
                    if let Some(path) = until {
                        self.ask_until(step, request, version, path)?;
                    } else if *only_send {
                        self.ours.send(&step.connection, &request.api, version, &request.body)?;
                        self.apache.send(&step.connection, &request.api, version, &request.body)?;
                        self.under_way.insert(step.connection.clone(), (request.api.clone(), version));
                    } else {
                        let answers = self.ask(step, request, version, *now)?;
                        self.judge(step, &request.api, version, &answers)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The versions that both brokers serve.
    fn common(&self, key: ApiKey) -> Option<(i16, i16)> {
        let (ours, apache) = (self.ours.served.get(&key.code())?, self.apache.served.get(&key.code())?);
        Some((ours.0.max(apache.0), ours.1.min(apache.1)))
    }

    /// Both answers, waited for where waiting is what a client would do.
    fn ask(&mut self, step: &Step, request: &Request, version: i16, now: bool) -> Result<(Value, Value), String> {
        let begin = Instant::now();
        let (connection, api, body) = (step.connection.as_str(), request.api.as_str(), &request.body);
        let pause = || std::thread::sleep(Duration::from_millis(40));
        self.ours.send(connection, api, version, body)?;
        self.apache.send(connection, api, version, body)?;
        // Without an answer: acks=0. The next request on the connection is answered after it.
        if api == "Produce" && body.get("acks").and_then(Value::as_i64) == Some(0) {
            return Ok(self.without_answer(connection));
        }
        let mut answers = (self.ours.receive(connection)?, self.apache.receive(connection)?);
        while !now && begin.elapsed() < LOADING {
            let again = (has_error(&answers.0, LOADING_ERRORS), has_error(&answers.1, LOADING_ERRORS));
            if again == (false, false) {
                break;
            }
            pause();
            self.again(connection, api, version, body, again, &mut answers)?;
        }
        let begin = Instant::now();
        while !now && begin.elapsed() < VISIBLE && !self.unlisted(step, api, &answers, false).is_empty() {
            let early = (has_error(&answers.0, EARLY_ERRORS), has_error(&answers.1, EARLY_ERRORS));
            let again = match QUESTIONS.iter().any(|question| api.starts_with(question)) {
                true => (true, true),
                false if early.0 != early.1 => early,
                false => break,
            };
            pause();
            self.again(connection, api, version, body, again, &mut answers)?;
        }
        Ok(answers)
    }

    /// Asks each side until its answer has something at `path`.
    fn ask_until(&mut self, step: &Step, request: &Request, version: i16, path: &str) -> Result<(), String> {
        for side in [&mut self.ours, &mut self.apache] {
            let begin = Instant::now();
            loop {
                side.send(&step.connection, &request.api, version, &request.body)?;
                let answer = side.receive(&step.connection)?;
                if find(&answer, path).is_some_and(|found| !found.is_null()) {
                    break;
                }
                if begin.elapsed() > LOADING {
                    return Err(format!("no {path} in {answer}"));
                }
                std::thread::sleep(Duration::from_millis(40));
            }
        }
        Ok(())
    }

    /// Asks the chosen sides again.
    fn again(
        &mut self,
        connection: &str,
        api: &str,
        version: i16,
        body: &Value,
        sides: (bool, bool),
        answers: &mut (Value, Value),
    ) -> Result<(), String> {
        for (side, chosen, answer) in [(&mut self.ours, sides.0, &mut answers.0), (&mut self.apache, sides.1, &mut answers.1)] {
            if chosen {
                side.send(connection, api, version, body)?;
                *answer = side.receive(connection)?;
            }
        }
        Ok(())
    }

    fn without_answer(&mut self, connection: &str) -> (Value, Value) {
        self.ours.no_answer(connection);
        self.apache.no_answer(connection);
        (Value::Null, Value::Null)
    }

    /// What differs and is not listed; the ids that met are remembered when `keep` says so.
    fn unlisted(&mut self, step: &Step, api: &str, answers: &(Value, Value), keep: bool) -> Vec<Difference> {
        let mut pairs = self.pairs.clone();
        let (mut ours, mut apache) = (self.ours.names.rename(&answers.0), self.apache.names.rename(&answers.1));
        if api == "ApiVersions" {
            // What only one of them serves is said at the end.
            let common: BTreeSet<i16> = self.ours.served.keys().filter(|key| self.apache.served.contains_key(key)).copied().collect();
            for answer in [&mut ours, &mut apache] {
                if let Some(apis) = answer.get_mut("apiKeys").and_then(Value::as_array_mut) {
                    apis.retain(|api| api["apiKey"].as_i64().is_some_and(|key| common.contains(&(key as i16))));
                }
            }
        }
        let found = differences(&ours, &apache, &mut pairs);
        if keep {
            self.pairs = pairs;
        }
        found.into_iter().filter(|difference| !self.listed.covers(api, &step.section, difference, keep)).collect()
    }

    fn judge(&mut self, step: &Step, api: &str, version: i16, answers: &(Value, Value)) -> Result<(), String> {
        if self.verbose {
            println!("{} {api} {version}\n    ours   {}\n    apache {}", step.place, answers.0, answers.1);
        }
        let mut first = true;
        for difference in self.unlisted(step, api, answers, true) {
            if first {
                println!("{} [{}] {api} {version}", step.place, step.section);
            }
            first = false;
            self.wrong += 1;
            println!(
                "    {}\n        ours   {}\n        apache {}",
                difference.path,
                show(difference.ours.as_ref()),
                show(difference.apache.as_ref())
            );
        }
        for (name, path) in &step.captures {
            for (side, answer) in [(&mut self.ours, &answers.0), (&mut self.apache, &answers.1)] {
                let value = find(answer, path).ok_or_else(|| format!("no {path} in {answer}"))?;
                side.variables.insert(name.clone(), value.clone());
            }
        }
        Ok(())
    }

    fn report(&self, partial: bool) -> bool {
        let unseen = if partial { Vec::new() } else { self.listed.unseen() };
        unseen.iter().for_each(|line| println!("{line}"));
        let name = |key: i16| ApiKey::from_code(key).map_or_else(|| format!("API {key}"), |key| key.name().to_owned());
        for (key, (min, max)) in &self.ours.served {
            let asked = self.asked.get(key);
            let missing: Vec<String> = (*min..=*max)
                .filter(|version| !asked.is_some_and(|asked| asked.contains(version)))
                .map(|version| version.to_string())
                .collect();
            match (self.apache.served.get(key), missing.is_empty() || partial) {
                (None, _) => println!("served here, not by Apache: {}", name(*key)),
                (Some(_), true) => {}
                (Some(_), false) => println!("NOT COMPARED: {} {}", name(*key), missing.join(", ")),
            }
        }
        for (key, (min, max)) in &self.apache.served {
            match self.ours.served.get(key) {
                None => println!("served by Apache, not here: {}", name(*key)),
                Some(ours) if ours != &(*min, *max) => {
                    println!("versions of {}: {}-{} here, {min}-{max} at Apache's", name(*key), ours.0, ours.1)
                }
                Some(_) => {}
            }
        }
        println!(
            "{} requests, {} fields differ as listed, {} otherwise, {} listed no longer",
            self.requests,
            self.listed.seen(),
            self.wrong,
            unseen.len()
        );
        self.wrong == 0 && unseen.is_empty()
    }
}

fn versions(choice: VersionChoice, (min, max): (i16, i16)) -> std::ops::RangeInclusive<i16> {
    match choice {
        VersionChoice::All => min..=max,
        VersionChoice::Lowest => min..=min,
        VersionChoice::Highest => max..=max,
        VersionChoice::Range(low, high) if low == high => low..=high,
        VersionChoice::Range(low, high) => low.max(min)..=high.min(max),
    }
}

/// True when any field named `errorCode` has one of these.
fn has_error(answer: &Value, codes: &[i64]) -> bool {
    match answer {
        Value::Array(elements) => elements.iter().any(|element| has_error(element, codes)),
        Value::Object(map) => map.iter().any(|(key, value)| {
            (key == "errorCode" && value.as_i64().is_some_and(|code| codes.contains(&code))) || has_error(value, codes)
        }),
        _ => false,
    }
}

/// `topics.0.topicId`
fn find<'v>(answer: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(answer, |value, part| match part.parse::<usize>() {
        Ok(at) => value.get(at),
        Err(_) => value.get(part),
    })
}
