//! A seeded stand-in for the coverage-guided fuzzers in `fuzz/`, which need a tool of their own: whatever bytes a served API or a record
//! batch is made of, decoding ends with a value or an error and holds little memory.

use bytes::Bytes;
use ottla::broker::dispatch::SERVED;
use ottla::common::random::Random;
use ottla::protocol::batch::Batches;

const ROUNDS: usize = 300;

/// Bytes that look like lengths and counts more often than random ones do.
fn bytes(random: &mut Random, len: u64) -> Vec<u8> {
    (0..random.below(len))
        .map(|_| match random.below(4) {
            0 => 0,
            1 => random.below(4) as u8,
            2 => 0xff,
            _ => random.next_u64() as u8,
        })
        .collect()
}

#[test]
fn no_bytes_make_a_served_request_panic_or_allocate_much() {
    for api in SERVED {
        let mut random = Random::new(api.key.code() as u64);
        for version in api.min..=api.max {
            for _ in 0..ROUNDS {
                let body = Bytes::from(bytes(&mut random, 200));
                let len = body.len() as u64;
                let held = allocation_counter::measure(|| drop((api.check)(body, version))).bytes_max;
                assert!(held <= 64 * len + 1024, "{} v{version}: {held} bytes held for {len}", api.key.name());
            }
        }
    }
}

#[test]
fn no_bytes_make_a_batch_panic() {
    let mut random = Random::new(2);
    for _ in 0..20 * ROUNDS {
        let mut bytes = bytes(&mut random, 300);
        // Most get past the first checks: the right magic and a length that fits.
        if bytes.len() >= 61 && !random.one_in(4) {
            bytes[16] = 2;
            let len = bytes.len() as i32 - 12;
            bytes[8..12].copy_from_slice(&len.to_be_bytes());
        }
        for batch in Batches::new(&bytes) {
            let Ok(batch) = batch else { break };
            let _ = batch.verify_crc();
            let _ = batch.records().take_while(Result::is_ok).count();
        }
    }
}

#[test]
fn each_served_api_has_its_fuzz_target() {
    let manifest = include_str!("../../fuzz/Cargo.toml");
    for api in SERVED {
        let target = format!("[[bin]]\nname = \"{0}\"\npath = \"fuzz_targets/request.rs\"\n", api.key.name());
        assert!(manifest.contains(&target), "fuzz/Cargo.toml has no target {}", api.key.name());
    }
}
