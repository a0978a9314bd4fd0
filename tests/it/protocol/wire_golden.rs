//! Every message at every version, as Apache Kafka 4.3 serializes it: `tests/golden/wire/messages.jsonl` holds one sample each, made by
//! `tests/interop/kafka wire-golden`. `WIRE_GOLDEN=FILE` checks a file of more of them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};

use bytes::Bytes;
use ottla::protocol::messages::registry::MESSAGES;
use ottla::protocol::registry::Entry;
use serde_json::Value;

fn unhex(text: &str) -> Bytes {
    let digit = |c: u8| (c as char).to_digit(16).expect("a hex digit") as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// Kafka's JSON writes integers and floats as JSON numbers; 1.0 and 1 are the same.
fn same(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b))),
        (a, b) => a == b,
    }
}

/// Decodes, compares with the JSON form, encodes, compares with the bytes.
fn check(entries: &BTreeMap<&str, &Entry>, sample: &Value) -> Result<(), String> {
    let name = sample["name"].as_str().ok_or("a name")?;
    let version = sample["version"].as_i64().ok_or("a version")? as i16;
    let bytes = unhex(sample["hex"].as_str().ok_or("hex")?);
    let entry = entries.get(name).ok_or_else(|| format!("{name}: unknown message"))?;
    let message = (entry.decode)(bytes.clone(), version).map_err(|error| format!("{name} v{version}: {error}"))?;
    let json = message.to_json(version);
    if !same(&json, &sample["json"]) {
        return Err(format!("{name} v{version}:\nours   {json}\ntheirs {}", sample["json"]));
    }
    let again = message.to_bytes(version).map_err(|error| format!("{name} v{version}: {error}"))?;
    if again != bytes {
        return Err(format!("{name} v{version}: encodes to other bytes\nours   {again:02x?}\ntheirs {bytes:02x?}"));
    }
    Ok(())
}

fn check_all(lines: impl Iterator<Item = String>) -> usize {
    let entries: BTreeMap<&str, &Entry> = MESSAGES.iter().map(|entry| (entry.name, entry)).collect();
    let mut count = 0;
    let mut failures = Vec::new();
    for line in lines {
        count += 1;
        let sample = serde_json::from_str(&line).expect("a line of JSON");
        if let Err(failure) = check(&entries, &sample) {
            failures.push(failure);
        }
    }
    assert!(failures.is_empty(), "{} of {count} samples differ:\n{}", failures.len(), failures[..failures.len().min(10)].join("\n"));
    count
}

#[test]
fn every_message_and_version_is_kafkas_to_the_byte() {
    let text = include_str!("../../golden/wire/messages.jsonl");
    assert_eq!(check_all(text.lines().map(str::to_owned)), 723);
    if let Ok(path) = std::env::var("WIRE_GOLDEN") {
        let file = std::fs::File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let count = check_all(BufReader::new(file).lines().map(|line| line.expect("UTF-8")));
        writeln!(std::io::stdout(), "{count} samples of {path}").expect("standard output is open");
    }
}

#[test]
fn a_message_cut_short_is_an_error_and_never_a_panic() {
    let entries: BTreeMap<&str, &Entry> = MESSAGES.iter().map(|entry| (entry.name, entry)).collect();
    for line in include_str!("../../golden/wire/messages.jsonl").lines() {
        let sample: Value = serde_json::from_str(line).expect("a line of JSON");
        let bytes = unhex(sample["hex"].as_str().expect("hex"));
        let version = sample["version"].as_i64().expect("a version") as i16;
        let decode = entries[sample["name"].as_str().expect("a name")].decode;
        for len in 0..bytes.len() {
            assert!(decode(bytes.slice(..len), version).is_err(), "{line} at {len}");
        }
        let longer: Bytes = bytes.iter().copied().chain([0]).collect();
        assert!(decode(longer, version).is_err(), "{line} and one byte more");
    }
}
