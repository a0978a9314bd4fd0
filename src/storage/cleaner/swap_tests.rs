//! Readers beside compaction.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::tests::{batch, clean, committed, compacted, end_transaction};
use crate::protocol::batch::{BatchHeader, Batches};
use crate::storage::log::FetchIsolation;
use crate::storage::log::tests::{bytes_of, produce};

/// Readers of all kinds beside swaps: no batch twice, none above what the reader may see, no committed value missing.
#[test]
fn readers_in_the_middle_of_a_swap_see_consistent_data() {
    let fixture = compacted(1500);
    let log = fixture.open();
    let mut sequence = 0;
    for n in 0..300 {
        produce(&log, &batch(1, sequence, false, &[(&format!("k{}", n % 7), Some("some value")), (&format!("unique{n}"), Some("u"))]));
        sequence += 2;
        if n % 10 == 0 {
            produce(&log, &batch(9, n / 10, true, &[("aborted", Some("never seen"))]));
            end_transaction(&log, 9, false);
        }
    }
    // From here on undecided, inside a segment that is cleaned beside it.
    produce(&log, &batch(8, 0, true, &[("open", Some("undecided"))]));
    let stable = log.last_stable_offset();
    for n in 0..100 {
        produce(&log, &batch(1, sequence + n, false, &[(&format!("k{}", n % 7), Some("above"))]));
    }
    let high_watermark = log.high_watermark();
    produce(&log, &batch(1, sequence + 100, false, &[("beyond", Some("unreplicated"))]));
    log.update_high_watermark(high_watermark);
    let stop = AtomicBool::new(false);
    let log = Arc::new(log);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut passes = 0;
                    while !stop.load(Ordering::Relaxed) || passes == 0 {
                        let keys: BTreeSet<String> = committed(&log, 700).into_iter().map(|(_, key, _)| key).collect();
                        assert!(!keys.contains("aborted") && !keys.contains("open") && !keys.contains("beyond"));
                        assert!((0..300).all(|n| keys.contains(&format!("unique{n}"))));
                        for (isolation, end) in
                            [(FetchIsolation::HighWatermark, high_watermark), (FetchIsolation::TransactionCommitted, stable)]
                        {
                            let mut offset = 0;
                            while offset < end {
                                let read = log.read(offset, 2000, true, isolation).expect("read");
                                let bytes = bytes_of(&read.records);
                                let before = offset;
                                for batch in Batches::new(&bytes).map_while(Result::ok) {
                                    batch.verify_crc().expect("whole");
                                    let BatchHeader { base_offset, .. } = *batch.header();
                                    assert!(base_offset < end && batch.header().last_offset() >= offset);
                                    offset = batch.header().next_offset();
                                }
                                if offset == before {
                                    break;
                                }
                            }
                        }
                        passes += 1;
                    }
                })
            })
            .collect();
        for _ in 0..30 {
            log.cleaning().set_cleaned_to(None);
            clean(&log, &fixture.clock);
        }
        stop.store(true, Ordering::Relaxed);
        readers.into_iter().for_each(|reader| reader.join().expect("no reader fails"));
    });
}
