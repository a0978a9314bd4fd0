//! What strangers send: each costs its sender the connection and nobody else anything.

use ottla::protocol::codec::Request;
use ottla::protocol::error_code::ErrorCode;
use ottla::protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, MetadataRequest};

use super::*;

/// A connection that sends these bytes is closed; a second one, opened before, goes on.
fn costs_only_its_sender(broker: &Broker, bytes: &[u8]) {
    let mut other = broker.connect();
    assert_eq!(other.call(&ApiVersionsRequest::default(), 0).error_code, 0);
    let mut hostile = broker.connect();
    hostile.write(bytes);
    assert!(hostile.is_closed(), "{bytes:?}");
    assert_eq!(other.call(&ApiVersionsRequest::default(), 0).error_code, 0);
}

fn frame_of(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes()[..], body].concat()
}

#[test]
fn strangers_are_shown_the_door() {
    let broker = Broker::start();
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        // The beginning of a TLS 1.2 hello.
        &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03],
        b"SSH-2.0-OpenSSH_9.6\r\n",
        &[0xff; 64],
        // Lengths: negative, the largest, just above the limit.
        &[0x80, 0, 0, 0],
        &[0x7f, 0xff, 0xff, 0xff],
        &104_857_601_u32.to_be_bytes(),
        // A frame of nothing, of one byte, of half a header.
        &[0, 0, 0, 0],
        &frame_of(&[0]),
        &frame_of(&[0, 3, 0, 1, 0, 0]),
        // An API key that does not exist.
        &frame_of(&[0x7f, 0x00, 0, 0, 0, 0, 0, 1, 0xff, 0xff]),
        // Metadata version 99.
        &frame_of(&[0, 3, 0, 99, 0, 0, 0, 1, 0xff, 0xff]),
        // Metadata version 1 with two thousand million topics.
        &frame_of(&[0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]),
    ] {
        costs_only_its_sender(&broker, bytes);
    }
}

#[test]
fn a_torn_frame_is_dropped_and_a_huge_promise_costs_no_memory() {
    let broker = Broker::start();
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", broker.child.id())).ok()?;
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok())
    };
    let before = resident();
    // Each promises 100 MB and sends a few bytes.
    let mut liars: Vec<Connection> = (0..50).map(|_| broker.connect()).collect();
    for liar in &mut liars {
        liar.write(&100_000_000_u32.to_be_bytes());
        liar.write(&[0, 3, 0, 1]);
    }
    assert_eq!(broker.connect().call(&ApiVersionsRequest::default(), 3).error_code, ErrorCode::InvalidRequest.code());
    if let (Some(before), Some(after)) = (before, resident()) {
        assert!(after < before + 50 * 1024, "{before} kB became {after} kB");
    }
    drop(liars);
    assert_eq!(broker.connect().call(&MetadataRequest::default(), 1).error_code, 0);
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    connection.write(&frame_of(&[0, 18, 0, 99, 0, 0, 0, 7, 0xff, 0xff, 0, 1, 2, 3]));
    let frame = connection.read_frame().expect("an answer");
    assert_eq!(frame[..4], [0, 0, 0, 7]);
    let response = ApiVersionsResponse::from_bytes(frame.slice(4..), 0).expect("version 0");
    assert_eq!(response.error_code, ErrorCode::UnsupportedVersion.code());
    let own: Vec<_> = response.api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect();
    assert_eq!(own, [(ApiVersionsRequest::KEY.code(), 0, 4)]);
    // The connection goes on: the client tries again with what it learned.
    let request =
        ApiVersionsRequest { client_software_name: "test".to_owned(), client_software_version: "1".to_owned(), ..Default::default() };
    assert_eq!(connection.call(&request, 4).error_code, 0);
}

#[test]
fn bytes_behind_a_request_are_ignored() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    // Metadata version 1 for all topics and three bytes, which librdkafka 2.16 sends in its version 13.
    connection.write(&frame_of(&[0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0]));
    assert_eq!(connection.read_frame().expect("an answer")[..4], [0, 0, 0, 1]);
    assert_eq!(connection.call(&MetadataRequest::default(), 1).error_code, 0);
}

#[test]
fn a_corrupt_batch_is_refused_and_nothing_of_it_is_stored() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    connection.create_topic("corrupt", 1);
    let good = batch(&["one", "two"]);
    for at in [20, 40, good.len() - 1] {
        let mut bad = good.to_vec();
        bad[at] ^= 0x10;
        let response = connection.produce("corrupt", 0, bad.into(), -1);
        assert_ne!(response.error_code, 0, "byte {at}");
    }
    let torn = good.slice(..good.len() - 1);
    assert_ne!(connection.produce("corrupt", 0, torn, -1).error_code, 0);
    assert_eq!(connection.produce("corrupt", 0, good, -1).base_offset, 0);
    assert_eq!(values(&connection.fetch("corrupt", 0, 0)), [(0, "one".to_owned()), (1, "two".to_owned())]);
}

#[test]
fn a_decompression_bomb_is_refused_and_others_are_served_meanwhile() {
    let broker = Broker::start();
    let mut other = broker.connect();
    // What has another codec has to be inflated.
    other.create_topic_with("bombed", 1, &[("compression.type", "gzip")]);
    let mut builder = BatchBuilder::new(Compression::Zstd);
    builder.append(0, None, Some(&vec![0; 300_000_000]), &[]).expect("appended");
    let bomb = builder.finish().expect("finished");
    assert!(bomb.len() < 100_000);
    let mut senders: Vec<Connection> = (0..8).map(|_| broker.connect()).collect();
    for sender in &mut senders {
        sender.send(&produce_request("bombed", 0, bomb.clone(), -1), 9);
    }
    assert_eq!(other.produce("bombed", 0, batch(&["harmless"]), -1).base_offset, 0);
    for sender in &mut senders {
        let response = sender.receive::<ProduceRequest>(9).expect("an answer");
        assert_eq!(response.responses[0].partition_responses[0].error_code, ErrorCode::MessageTooLarge.code());
    }
    assert_eq!(values(&other.fetch("bombed", 0, 0)), [(0, "harmless".to_owned())]);
}

#[test]
fn an_error_with_acks_0_closes_the_connection() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    connection.send(&produce_request("nowhere", 0, batch(&["x"]), 0), 9);
    assert!(connection.is_closed());
}

#[test]
fn one_address_gets_only_so_many_connections() {
    let broker = Broker::start_with(&["--ephemeral", "--override", "max.connections.per.ip=1"]);
    let mut first = broker.connect();
    assert_eq!(first.call(&ApiVersionsRequest::default(), 0).error_code, 0);
    assert!(broker.connect().is_closed());
    assert_eq!(first.call(&ApiVersionsRequest::default(), 0).error_code, 0);
}

#[test]
fn a_connection_too_many_waits_for_its_turn() {
    let broker = Broker::start_with(&["--ephemeral", "--override", "max.connections=1"]);
    let mut first = broker.connect();
    assert_eq!(first.call(&ApiVersionsRequest::default(), 0).error_code, 0);
    let mut second = broker.connect();
    second.send(&ApiVersionsRequest::default(), 0);
    drop(first);
    assert_eq!(second.receive::<ApiVersionsRequest>(0).expect("an answer").error_code, 0);
}

#[test]
fn an_idle_connection_is_closed() {
    let broker = Broker::start_with(&["--ephemeral", "--override", "connections.max.idle.ms=200"]);
    let mut idle = broker.connect();
    assert_eq!(idle.call(&ApiVersionsRequest::default(), 0).error_code, 0);
    assert!(idle.is_closed());
}
