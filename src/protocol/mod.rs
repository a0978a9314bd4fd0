//! Kafka's wire format: primitive types, messages, frames, record batches, error codes.
//!
//! Invariant: nothing read from the wire is trusted; see [`codec`]. The messages are generated from `definitions/` (one file an API,
//! its grammar in `examples/protocol_generator/definition.rs`): `cargo run --example protocol_generator`.

pub mod api_key;
pub mod batch;
pub mod codec;
pub mod compression;
pub mod error_code;
pub mod frame;
pub mod messages;
pub mod records;
pub mod registry;
