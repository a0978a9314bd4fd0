//! Quotas over the wire: set, described, refused, and what happens to who is over them.
//!
//! Who is throttled is not read from for seconds, so each such step has a connection of its own that nobody waits for.

use ottla::protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use ottla::protocol::messages::*;

use super::*;

type Entity<'a> = &'a [(&'a str, Option<&'a str>)];

fn alter(connection: &mut Connection, entity: Entity<'_>, ops: &[(&str, Option<f64>)]) -> (ErrorCode, String) {
    let part = |(entity_type, name): &(&str, Option<&str>)| EntityData {
        entity_type: (*entity_type).to_owned(),
        entity_name: name.map(str::to_owned),
        ..Default::default()
    };
    let op = |(key, value): &(&str, Option<f64>)| OpData {
        key: (*key).to_owned(),
        value: value.unwrap_or_default(),
        remove: value.is_none(),
        ..Default::default()
    };
    let entry = EntryData { entity: entity.iter().map(part).collect(), ops: ops.iter().map(op).collect(), ..Default::default() };
    let request = AlterClientQuotasRequest { entries: vec![entry], ..Default::default() };
    let answer = connection.call(&request, 1).entries.remove(0);
    (ErrorCode::from_code(answer.error_code), answer.error_message.unwrap_or_default())
}

fn set(connection: &mut Connection, entity: Entity<'_>, key: &str, value: f64) {
    assert_eq!(alter(connection, entity, &[(key, Some(value))]), (ErrorCode::None, String::new()));
}

/// All quotas, as `user=u,client-id=<default> key=value`.
fn describe(connection: &mut Connection) -> Vec<String> {
    let request = DescribeClientQuotasRequest::default();
    let response = connection.call(&request, 1);
    assert_eq!(response.error_code, 0);
    let entries = response.entries.expect("entries");
    entries
        .iter()
        .map(|entry| {
            let part = |part: &describe_client_quotas_response::EntityData| {
                format!("{}={}", part.entity_type, part.entity_name.as_deref().unwrap_or("<default>"))
            };
            let entity: Vec<String> = entry.entity.iter().map(part).collect();
            let values: Vec<String> = entry.values.iter().map(|value| format!("{}={}", value.key, value.value)).collect();
            format!("{} {}", entity.join(","), values.join(","))
        })
        .collect()
}

#[test]
fn quotas_are_set_described_and_taken_away_and_survive_a_restart() {
    let (_dir, path) = data_dir();
    let broker = Broker::start_in(&path);
    let mut connection = broker.connect();
    set(&mut connection, &[("user", Some("u")), ("client-id", None)], "producer_byte_rate", 1e9);
    set(&mut connection, &[("user", Some("u")), ("client-id", None)], "request_percentage", 12.5);
    set(&mut connection, &[("ip", Some("10.0.0.1"))], "connection_creation_rate", 7.0);
    let all =
        ["client-id=<default>,user=u request_percentage=12.5,producer_byte_rate=1000000000", "ip=10.0.0.1 connection_creation_rate=7"];
    assert_eq!(describe(&mut connection), all);
    drop(connection);
    broker.kill();
    let broker = Broker::start_in(&path);
    let mut connection = broker.connect();
    assert_eq!(describe(&mut connection), all);
    let taken = alter(&mut connection, &[("ip", Some("10.0.0.1"))], &[("connection_creation_rate", None)]);
    assert_eq!(taken, (ErrorCode::None, String::new()));
    assert_eq!(describe(&mut connection), all[..1]);
}

#[test]
fn quotas_that_make_no_sense_are_refused_with_kafkas_words() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    let mut refusal = |entity: Entity<'_>, key: &str, value: f64| {
        let (code, text) = alter(&mut connection, entity, &[(key, Some(value))]);
        assert_eq!(code, ErrorCode::InvalidRequest);
        text
    };
    let user: Entity<'_> = &[("user", Some("u"))];
    assert_eq!(refusal(user, "producer_byte_rate", 0.0), "Quota producer_byte_rate must be greater than 0");
    assert_eq!(refusal(user, "producer_byte_rate", 1.5), "producer_byte_rate cannot be a fractional value.");
    assert_eq!(refusal(user, "nonsense", 1.0), "Invalid configuration key nonsense");
    assert_eq!(refusal(&[], "producer_byte_rate", 1.0), "Invalid empty client quota entity");
    assert_eq!(refusal(&[("group", Some("g"))], "producer_byte_rate", 1.0), "Unhandled client quota entity type: group");
    assert_eq!(refusal(&[("user", Some(""))], "producer_byte_rate", 1.0), "Empty user not supported");
    assert_eq!(refusal(&[("ip", Some("1.2.3.4"))], "producer_byte_rate", 1.0), "Invalid configuration key producer_byte_rate");
    assert_eq!(
        refusal(&[("ip", Some("no.such.host.invalid"))], "connection_creation_rate", 1.0),
        "no.such.host.invalid is not a valid IP or resolvable host."
    );
    assert!(refusal(&[("ip", None), ("user", None)], "connection_creation_rate", 1.0).starts_with("Invalid quota entity combination"));
    let (code, text) = alter(&mut connection, user, &[("producer_byte_rate", Some(1.0)), ("producer_byte_rate", Some(2.0))]);
    assert_eq!((code, text.as_str()), (ErrorCode::InvalidRequest, "Ignoring duplicate entity ClientQuotaEntity(entries={user=u})"));
}

#[test]
fn a_producer_over_its_quota_is_answered_at_once_and_told_to_wait() {
    let broker = Broker::start();
    let mut admin = broker.connect();
    admin.create_topic("t", 1);
    set(&mut admin, &[("client-id", Some("greedy"))], "producer_byte_rate", 1000.0);
    let mut greedy = broker.connect();
    greedy.client_id = "greedy";
    let request = produce_request("t", 0, batch(&[&"x".repeat(20_000)]), 1);
    let bytes = frame::encode_request(1, Some("greedy"), &request, 9).expect("encoded").to_bytes().len() - 4;
    let response = greedy.call(&request, 9);
    // So many bytes, seen over ten seconds: (bytes / 10 - 1000) / 1000 * 10 seconds.
    assert_eq!(response.throttle_time_ms, bytes as i32 - 10_000);
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0, "what was sent is appended all the same");
    // Others are not concerned.
    assert_eq!(admin.call(&request, 9).throttle_time_ms, 0);
    // Without the quota nobody waits any more.
    assert_eq!(alter(&mut admin, &[("client-id", Some("greedy"))], &[("producer_byte_rate", None)]).0, ErrorCode::None);
    let mut freed = broker.connect();
    freed.client_id = "greedy";
    assert_eq!(freed.call(&request, 9).throttle_time_ms, 0);
}

#[test]
fn a_consumer_over_its_quota_gets_nothing_until_its_time_has_passed() {
    let broker = Broker::start();
    let mut admin = broker.connect();
    admin.create_topic("t", 1);
    for _ in 0..2 {
        admin.produce("t", 0, batch(&[&"x".repeat(4000)]), 1);
    }
    set(&mut admin, &[("user", None)], "consumer_byte_rate", 1000.0);
    let fetch = |broker: &Broker| {
        let mut connection = broker.connect();
        connection.call(&fetch_request("t", 0, 0), 12)
    };
    // Within ten seconds' worth.
    let first = fetch(&broker);
    assert_eq!(first.throttle_time_ms, 0);
    let bytes = first.responses[0].partitions[0].records.as_ref().map_or(0, Records::len);
    assert!((8000..=10_000).contains(&bytes), "{bytes}");
    let second = fetch(&broker);
    assert!(second.throttle_time_ms > 0);
    assert!(second.responses.is_empty(), "a throttled fetch carries nothing");
    // What was not sent does not count: the third is as the second.
    assert!(fetch(&broker).throttle_time_ms <= second.throttle_time_ms);
}

#[test]
fn who_has_changed_too_much_is_refused_from_the_strict_versions_on() {
    let broker = Broker::start();
    let mut admin = broker.connect();
    set(&mut admin, &[("user", Some("ANONYMOUS"))], "controller_mutation_rate", 1.0);
    let create = |name: &str, partitions: i32, version: i16| {
        let topic = CreatableTopic { name: name.to_owned(), num_partitions: partitions, replication_factor: 1, ..Default::default() };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 30_000, ..Default::default() };
        let response = broker.connect().call(&request, version);
        (ErrorCode::from_code(response.topics[0].error_code), response.throttle_time_ms)
    };
    // A burst of eleven windows may be overdrawn once.
    assert_eq!(create("a", 31, 7), (ErrorCode::None, 0));
    let (code, throttle_ms) = create("b", 1, 7);
    assert_eq!(code, ErrorCode::ThrottlingQuotaExceeded);
    assert!((1..=20_000).contains(&throttle_ms), "{throttle_ms}");
    let (code, throttle_ms) = create("c", 1, 5);
    assert_eq!(code, ErrorCode::None, "old versions do not know the error");
    assert!((1..=21_000).contains(&throttle_ms), "{throttle_ms}");
    let request = DeleteTopicsRequest { topic_names: vec!["a".to_owned()], timeout_ms: 30_000, ..Default::default() };
    let deleted = broker.connect().call(&request, 5);
    assert_eq!(ErrorCode::from_code(deleted.responses[0].error_code), ErrorCode::ThrottlingQuotaExceeded);
    let topic =
        create_partitions_request::CreatePartitionsTopic { name: "a".to_owned(), count: 32, assignments: None, ..Default::default() };
    let request = CreatePartitionsRequest { topics: vec![topic], timeout_ms: 30_000, ..Default::default() };
    let grown = broker.connect().call(&request, 3);
    assert_eq!(ErrorCode::from_code(grown.results[0].error_code), ErrorCode::ThrottlingQuotaExceeded);
}

#[test]
fn an_address_over_its_rate_of_connections_is_closed() {
    let broker = Broker::start();
    let mut admin = broker.connect();
    set(&mut admin, &[("ip", Some("127.0.0.1"))], "connection_creation_rate", 1.0);
    // Ten in ten seconds, and the next is over.
    let mut taken: Vec<Connection> = (0..10).map(|_| broker.connect()).collect();
    assert!(broker.connect().is_closed());
    for connection in &mut taken {
        assert_eq!(connection.call(&ApiVersionsRequest::default(), 0).error_code, 0);
    }
}
