//! One binary an API, all from this file: the target's name says which request is decoded. The first two bytes choose the version.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ottla::broker::dispatch::SERVED;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, body)) = data.split_first() else { return };
    let api = SERVED.iter().find(|api| api.key.name() == env!("CARGO_BIN_NAME")).expect("the target is named after a served API");
    let version = api.min + i16::from(choice) % (api.max - api.min + 1);
    let _ = (api.check)(Bytes::copy_from_slice(body), version);
});
