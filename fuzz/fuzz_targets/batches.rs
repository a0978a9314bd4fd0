//! Runs of record batches, as a producer may send them: every batch and every record in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ottla::protocol::batch::Batches;

fuzz_target!(|data: &[u8]| {
    for batch in Batches::new(data) {
        let Ok(batch) = batch else { return };
        let _ = batch.verify_crc();
        let _ = batch.records().take_while(Result::is_ok).count();
    }
});
