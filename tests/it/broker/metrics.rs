//! The HTTP endpoint for operators: off unless asked for, Kafka's names, and numbers that follow what clients do.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use super::{Broker, PATIENCE, batch, command, values};

/// A broker with its endpoint's `host:port`, which it tells its log.
fn start() -> (Broker, String) {
    let mut command = command(&["--ephemeral", "--override", "metrics.listener=127.0.0.1:0"]);
    let mut broker = Broker::start_command(command.env("KAFKA_LOG", "info").args(["--listen", "127.0.0.1:0"]).stderr(Stdio::piped()));
    let log = BufReader::new(broker.child.stderr.take().expect("a log"));
    let mut lines = log.lines().map(|line| line.expect("UTF-8"));
    let line = lines.find(|line| line.contains("metrics on http://")).expect("the address of the endpoint");
    let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next()).expect("an address").to_owned();
    // The broker must never wait for somebody to read its log.
    std::thread::spawn(move || lines.for_each(drop));
    (broker, address)
}

/// The status line and the body of `request`.
fn http(address: &str, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("the endpoint listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    write!(stream, "{request} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
}

fn metrics(address: &str) -> BTreeMap<String, f64> {
    let (status, body) = http(address, "GET /metrics");
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(body.ends_with("# EOF\n"), "{body}");
    let samples = body.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| line.rsplit_once(' ').expect("name and value"))
        .map(|(name, value)| (name.to_owned(), value.parse().expect("a number")))
        .collect()
}

#[test]
fn the_numbers_follow_what_clients_do() {
    let (broker, address) = start();
    let mut client = broker.connect();
    client.create_topic("metered", 2);
    assert_eq!(client.produce("metered", 0, batch(&["a", "b", "c"]), 1).error_code, 0);
    assert_eq!(values(&client.fetch("metered", 0, 0)).len(), 3);
    assert_ne!(client.produce("absent", 0, batch(&["d"]), 1).error_code, 0);

    let metrics = metrics(&address);
    let value = |name: &str| metrics.get(name).copied().unwrap_or_else(|| panic!("{name} is missing from {metrics:#?}"));
    assert_eq!(value("kafka_server_brokertopicmetrics_messagesin_total{topic=\"metered\"}"), 3.0);
    assert_eq!(value("kafka_server_brokertopicmetrics_messagesin_total"), 3.0);
    let size = value("kafka_log_log_size{topic=\"metered\",partition=\"0\"}");
    assert_eq!(value("kafka_server_brokertopicmetrics_bytesin_total{topic=\"metered\"}"), size);
    assert_eq!(value("kafka_server_brokertopicmetrics_bytesout_total{topic=\"metered\"}"), size);
    assert_eq!(value("kafka_log_log_logendoffset{topic=\"metered\",partition=\"0\"}"), 3.0);
    assert_eq!(value("kafka_log_log_logendoffset{topic=\"metered\",partition=\"1\"}"), 0.0);
    assert_eq!(value("kafka_network_requestmetrics_totaltimems_count{request=\"CreateTopics\"}"), 1.0);
    assert_eq!(value("kafka_network_requestmetrics_errors_total{request=\"Produce\",error=\"UNKNOWN_TOPIC_OR_PARTITION\"}"), 1.0);
    assert_eq!(value("kafka_server_replicamanager_leadercount"), 2.0);
    assert_eq!(value("kafka_server_replicamanager_underreplicatedpartitions"), 0.0);
    assert_eq!(value("kafka_controller_kafkacontroller_activecontrollercount"), 1.0);
    assert_eq!(value("kafka_server_kafkaserver_brokerstate"), 3.0);
    assert_eq!(value("kafka_server_socketservermetrics_connection_count{listener=\"PLAINTEXT\"}"), 1.0);
    assert_eq!(value("kafka_server_replicamanager_produceridcount"), 0.0);
    assert_eq!(value("kafka_server_group_coordinator_metrics_group_count{protocol=\"share\"}"), 0.0);
    assert_eq!(value("kafka_server_group_coordinator_metrics_share_group_count{state=\"Stable\"}"), 0.0);
    assert_eq!(value("kafka_server_share_coordinator_metrics_write_total"), 0.0);
    assert_eq!(value("kafka_server_client_metrics_instance_count"), 0.0);
    assert_eq!(value("kafka_server_client_metrics_plugin_export_total"), 0.0);
    assert!(value("process_resident_memory_bytes") > 0.0);
}

#[test]
fn health_and_readiness_are_one_line() {
    let (_broker, address) = start();
    for path in ["/health", "/ready"] {
        assert_eq!(http(&address, &format!("GET {path}")), ("HTTP/1.1 200 OK".to_owned(), "ok\n".to_owned()));
    }
    assert_eq!(http(&address, "GET /nothing").0, "HTTP/1.1 404 Not Found");
    assert_eq!(http(&address, "POST /metrics").0, "HTTP/1.1 405 Method Not Allowed");
}

#[test]
fn an_address_that_is_none_is_refused() {
    let output = command(&["--ephemeral", "--override", "metrics.listener=9404"]).args(["--listen", "127.0.0.1:0"]).output().expect("runs");
    assert!(!output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "ottla serve: metrics.listener=9404: expected HOST:PORT\n");
}
