//! Records, byte for byte.

use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[test]
fn records_are_byte_for_byte_kafkas() {
    // Both from a directory that Apache Kafka wrote.
    let offset = OffsetAndMetadata {
        record_offset: -1,
        committed_offset: 0,
        leader_epoch: -1,
        metadata: String::new(),
        commit_timestamp_ms: 0x01a2_05af_4e96,
        expire_timestamp_ms: None,
        topic_id: Uuid::ZERO,
    };
    let (key, value) = super::super::records::offset_commit_record("x", "test2", 1, &offset).encode().expect("writable");
    assert_eq!(hex(&key), "00010001780005746573743200000001");
    assert_eq!(hex(&value.expect("a value")), "00040000000000000000ffffffff01000001a205af4e9600");
    let (key, value) = super::super::records::empty_group_metadata_record("x", Some(0x01a2_05af_3ac2)).encode().expect("writable");
    assert_eq!(hex(&key), "0002000178");
    assert_eq!(hex(&value.expect("a value")), "0003000000000000ffffffff000001a205af3ac200000000");
}

#[test]
fn a_group_that_kafka_wrote_is_read_and_written_back_the_same() {
    // A dynamic member, alone in generation 2 with an empty assignment, and an offset with its topic's id.
    let member = "636c2d32346133356262322d383764392d343563302d393662392d623337343061336338313033";
    let group = format!(
        "00030008636f6e73756d657200000002000572616e67650027{member}000001a20818939d000000010027{member}\
         ffff0002636c000a2f3132372e302e302e3100002710000027100000000d000000000001000174ffffffff00000000"
    );
    let offset = "0004000000000000000bffffffff0278000001a2081891a3010010c8af7e93931d417a8882334ab1678169";
    let mut h = Harness::new();
    for (key, value) in [("0002000167", group.as_str()), ("000100016700017400000000", offset)] {
        let (key, value) = (unhex(key), unhex(value));
        let record = GroupRecord::decode(key.clone(), Some(value.clone())).expect("readable").expect("of a known type");
        assert_eq!(record.encode(), Ok((key.clone(), Some(value.clone()))));
        h.shard.load(LogEntry::Record { offset: 3, producer_id: None, key, value: Some(value) });
    }
    let group = h.group();
    assert_eq!((group.state(), group.generation_id(), group.protocol_name()), (ClassicGroupState::Stable, 2, Some("range")));
    let member = group.members().next().expect("a member");
    assert_eq!(member.member_id, "cl-24a35bb2-87d9-45c0-96b9-b3740a3c8103");
    assert_eq!((member.client_id.as_str(), member.client_host.as_str()), ("cl", "/127.0.0.1"));
    assert_eq!((member.rebalance_timeout_ms, member.session_timeout_ms), (10_000, 10_000));
    assert!(group.is_leader(&member.member_id) && group.is_subscribed_to_topic("t"));
    let rewritten = super::super::records::group_metadata_record(group, |m| m.assignment.clone()).encode().expect("writable");
    assert!(hex(&rewritten.1.expect("a value")).starts_with("00030008636f6e73756d657200000002000572616e6765"));
    assert_eq!(h.fetch_by_id("t", Uuid::ZERO, 0), 11);
}

#[test]
fn records_of_other_kinds_and_of_old_versions_are_read() {
    // Type 999: of a version of Kafka that is yet to come.
    assert_eq!(GroupRecord::decode(Bytes::from_static(b"\x03\xe7\x00\x01g"), None), Ok(None));
    // Type 0, the offsets of Kafka 0.8.
    let key = Bytes::from_static(b"\x00\x00\x00\x01g\x00\x01t\x00\x00\x00\x02");
    let value = Bytes::from_static(b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x09\x00\x01m\x00\x00\x00\x00\x00\x00\x00\x05");
    let mut h = Harness::new();
    h.shard.load(LogEntry::Record { offset: 0, producer_id: None, key, value: Some(value) });
    assert_eq!(h.fetch_by_id("t", Uuid::ZERO, 2), 9);
    // Whatever else stands there is skipped.
    for key in [&b""[..], b"\x00", b"\x00\x01", b"\x00\x02\xff\xff"] {
        h.shard.load(LogEntry::Record { offset: 0, producer_id: None, key: Bytes::copy_from_slice(key), value: None });
    }
}
