//! What hostile bytes cost: no input makes a decoder hold more than a small multiple of the input's length.

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla::common::random::Random;
use ottla::protocol::messages::registry::MESSAGES;
use ottla::protocol::registry::Entry;
use serde_json::Value;

/// A structure of many fields takes one byte a field on the wire and up to 24 in memory, and a growing vector holds two copies.
const MULTIPLE: u64 = 64;

fn held_while_decoding(entry: &Entry, version: i16, bytes: &Bytes) -> u64 {
    let bytes = bytes.clone();
    allocation_counter::measure(|| {
        // Right or wrong, the result is of no interest.
        let _ = (entry.decode)(bytes, version);
    })
    .bytes_max
}

fn assert_small(entry: &Entry, version: i16, bytes: &Bytes) {
    let held = held_while_decoding(entry, version, bytes);
    assert!(
        held <= MULTIPLE * bytes.len() as u64 + 1024,
        "{} v{version}: {held} bytes held for {} bytes of input: {bytes:02x?}",
        entry.name,
        bytes.len()
    );
}

#[test]
fn huge_counts_allocate_little() {
    for entry in MESSAGES {
        for version in entry.versions.min..=entry.versions.max {
            for fill in [0x00, 0x01, 0x02, 0x7f, 0xfe, 0xff] {
                assert_small(entry, version, &Bytes::from(vec![fill; 60]));
                assert_small(entry, version, &Bytes::from(vec![fill; 4000]));
            }
        }
    }
}

#[test]
fn damaged_messages_allocate_little_and_never_panic() {
    let entries: BTreeMap<&str, &Entry> = MESSAGES.iter().map(|entry| (entry.name, entry)).collect();
    let mut random = Random::new(42);
    for line in include_str!("../../golden/wire/messages.jsonl").lines() {
        let sample: Value = serde_json::from_str(line).expect("a line of JSON");
        let hex = sample["hex"].as_str().expect("hex");
        let bytes: Vec<u8> = (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hex")).collect();
        let version = sample["version"].as_i64().expect("a version") as i16;
        let entry = entries[sample["name"].as_str().expect("a name")];
        for _ in 0..20 {
            let mut damaged = bytes.clone();
            for _ in 0..=random.below(3) {
                if !damaged.is_empty() {
                    let at = random.below(damaged.len() as u64) as usize;
                    damaged[at] = [0x00, 0x01, 0x7f, 0x80, 0xff, random.next_u64() as u8][random.below(6) as usize];
                }
            }
            assert_small(entry, version, &Bytes::from(damaged));
        }
    }
}
