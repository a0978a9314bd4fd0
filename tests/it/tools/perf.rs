//! `kafka-producer-perf-test`, `kafka-consumer-perf-test` and `kafka-e2e-latency` against a broker; numbers that differ from run to run are
//! masked.

use ottla::protocol::batch::Batches;
use ottla::protocol::records::Records;
use regex::Regex;

use super::{call, session};
use crate::broker::Broker;

/// Rates, latencies and moments as N, with what stands around them.
fn masked(text: &str) -> String {
    let rules = [
        (r"[0-9.]+ (records/sec|MB/sec|ms)", "N $1"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d:\d{3}", "TIME"),
        (r"(TIME, TIME, |TIME, 0, )([0-9.]+), [0-9.]+, (\d+), [0-9.]+, \d+, \d+, [0-9.]+, [0-9.]+", "${1}${2}, N, $3, N, N, N, N, N"),
        (r"(?m)^0\t[0-9.E-]+$", "0\tN"),
        (r"(latency: |th = )[0-9.]+", "${1}N"),
        (r#"("(?:seconds|\w+PerSecond|\w+Seconds|mean|max|p[0-9.]+)"):[0-9.]+"#, "$1:N"),
        (r#""startTime":"[^"]+""#, r#""startTime":"TIME""#),
    ];
    rules.iter().fold(text.to_owned(), |text, (pattern, to)| Regex::new(pattern).expect("a pattern").replace_all(&text, *to).into_owned())
}

async fn masked_session(broker: &Broker, lines: &[&str]) -> String {
    masked(&session(broker, lines).await)
}

/// Keys and values of a partition's records, and how many batches are of a transaction.
fn log(broker: &Broker, topic: &str) -> (Vec<String>, usize) {
    let data = broker.connect().fetch(topic, 0, 0);
    let bytes = data.records.as_ref().and_then(Records::as_bytes).cloned().unwrap_or_default();
    let mut records = Vec::new();
    let mut transactional = 0;
    for batch in Batches::new(&bytes) {
        let batch = batch.expect("a whole batch");
        transactional += usize::from(batch.header().is_transactional() && !batch.header().is_control());
        for record in batch.records().filter(|_| !batch.header().is_control()) {
            let record = record.expect("a record");
            let text = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or("-".to_owned(), |bytes| bytes.escape_ascii().to_string());
            records.push(format!("{} {}", text(&record.key), text(&record.value)));
        }
    }
    (records, transactional)
}

const TOTAL: &str =
    "records sent, N records/sec (N MB/sec), N ms avg latency, N ms max latency, N ms 50th, N ms 95th, N ms 99th, N ms 99.9th.";

#[tokio::test]
async fn a_producer_sends_kafkas_payloads_and_prints_kafkas_line() {
    let broker = Broker::start();
    broker.connect().create_topic("t", 1);
    let line = "kafka-producer-perf-test --topic t --num-records 3 --record-size 20 --throughput -1";
    assert_eq!(masked_session(&broker, &[line]).await, format!("$ {line}\n3 {TOTAL}\n"));
    let letters = ["- YQHHNEBSEPDNSEIFGAMS", "- UJXKOLTXSPLGHDIOYZJF", "- NIDSPWHZMKVJAXDBZFCO"];
    assert_eq!(log(&broker, "t").0, letters);

    broker.connect().create_topic("m", 1);
    let line =
        "kafka-producer-perf-test --topic m --num-records 3 --payload-monotonic --throughput 500 --record-key-size 4 --print-metrics";
    let metrics = "\n\
        Metric Name                                                                           Value\n\
        producer-metrics:record-error-total:{client-id=perf-producer-client}                : 0.000\n\
        producer-metrics:record-send-total:{client-id=perf-producer-client}                 : 3.000\n\
        producer-topic-metrics:record-error-total:{client-id=perf-producer-client, topic=m} : 0.000\n\
        producer-topic-metrics:record-send-total:{client-id=perf-producer-client, topic=m}  : 3.000\n";
    assert_eq!(masked_session(&broker, &[line]).await, format!("$ {line}\n3 {TOTAL}\n{metrics}"));
    let records = log(&broker, "m").0;
    assert_eq!(records.iter().map(|record| &record[5..]).collect::<Vec<_>>(), ["0", "1", "2"]);
    assert!(records.iter().all(|record| record[..4].bytes().all(|letter| letter.is_ascii_uppercase())), "{records:?}");
}

#[tokio::test]
async fn payloads_come_from_a_file_as_kafka_draws_them() {
    let broker = Broker::start();
    broker.connect().create_topic("t", 1);
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("f"), "a\n\nb\n\n").expect("room");
    let address = broker.address.to_string();
    let line = format!(
        "kafka-producer-perf-test --topic t --num-records 10 --payload-file f --throughput -1 --producer-props bootstrap.servers={address} acks=1"
    );
    let transcript = call(&line).within(dir.path()).transcript().await;
    let file = dir.path().canonicalize().expect("it is there").join("f");
    let read = format!("Reading payloads from: {}\nNumber of records read: 4\n", file.display());
    let notice = "Option --producer-props has been deprecated and will be removed in a future version. Use --command-property instead.";
    assert_eq!(masked(&transcript), format!("$ {line}\n{read}10 {TOTAL}\n! kafka-producer-perf-test: {notice}\n"));
    assert_eq!(log(&broker, "t").0, ["- ", "- ", "- ", "- b", "- b", "- ", "- ", "- ", "- ", "- "]);
    let compat = call(&line).variable("KAFKA_CLI_COMPAT", "4.3").within(dir.path()).transcript().await;
    assert!(masked(&compat).ends_with(&format!("{read}{notice}\n10 {TOTAL}\n")), "{compat}");
}

#[tokio::test]
async fn a_warm_up_has_a_summary_of_its_own_and_json_an_object_each() {
    let broker = Broker::start();
    broker.connect().create_topic("t", 1);
    let line = "kafka-producer-perf-test --topic t --num-records 100 --record-size 10 --warmup-records 40 --throughput -1";
    let warmup = "Warmup first 40 records. Steady state results will print after the complete test summary.\n";
    let steady = format!("60 steady state {TOTAL}\n");
    assert_eq!(masked_session(&broker, &[line]).await, format!("$ {line}\n{warmup}100 {TOTAL}\n{steady}"));
    let latencies = r#""latencyMs":{"mean":N,"p50":N,"p90":N,"p95":N,"p99":N,"p99.9":N,"p99.99":N,"max":N}"#;
    let rates = r#""seconds":N,"recordsPerSecond":N,"mebibytesPerSecond":N"#;
    let expected = format!(
        "{{\"type\":\"total\",\"steadyState\":false,\"records\":100,\"bytes\":1000,{rates},{latencies},\"failedRecords\":0}}\n\
         {{\"type\":\"total\",\"steadyState\":true,\"records\":60,\"bytes\":600,{rates},{latencies}}}\n"
    );
    let line = format!("{line} --output json");
    assert_eq!(masked_session(&broker, &[&line]).await, format!("$ {line}\n{expected}"));
}

#[tokio::test]
async fn windows_are_printed_while_records_come() {
    let broker = Broker::start();
    broker.connect().create_topic("t", 1);
    let line = "kafka-producer-perf-test --topic t --num-records 40 --payload-monotonic --throughput 200 --reporting-interval 10 --command-property linger.ms=0";
    let transcript = masked_session(&broker, &[line]).await;
    let lines: Vec<&str> = transcript.lines().skip(1).collect();
    let (total, windows) = lines.split_last().expect("lines");
    assert_eq!(*total, format!("40 {TOTAL}"));
    assert!(!windows.is_empty());
    for window in windows {
        let rest = window.trim_start_matches(|c: char| c.is_ascii_digit());
        assert_eq!(rest, " records sent, N records/sec (N MB/sec), N ms avg latency, N ms max latency.");
    }
}

#[tokio::test]
async fn records_are_sent_in_transactions_of_a_duration() {
    let broker = Broker::start();
    broker.connect().create_topic("t", 1);
    let line = "kafka-producer-perf-test --topic t --num-records 30 --payload-monotonic --throughput 1000 --transaction-duration-ms 10";
    assert_eq!(masked_session(&broker, &[line]).await, format!("$ {line}\n30 {TOTAL}\n"));
    let (records, transactional) = log(&broker, "t");
    assert_eq!(records.len(), 30);
    assert!(transactional >= 1, "{transactional}");
}

#[tokio::test]
async fn arguments_that_kafka_refuses_are_refused() {
    let broker = Broker::start();
    let tool = "kafka-producer-perf-test";
    let refused = async |arguments: &str| {
        let transcript = session(&broker, &[&format!("{tool} {arguments}")]).await;
        let (_, printed) = transcript.split_once('\n').expect("a line");
        let end = "\n! Try 'kafka-producer-perf-test --help' for the options.\nexit code 1\n";
        let start = "! kafka-producer-perf-test: ";
        printed.strip_suffix(end).and_then(|it| it.strip_prefix(start)).unwrap_or_else(|| panic!("{transcript}")).to_owned()
    };
    assert_eq!(refused("--num-records 10 --record-size 50 --throughput -1").await, "argument --topic is required");
    let needed = "one of the arguments --record-size --payload-file --payload-monotonic is required";
    assert_eq!(refused("--topic t --num-records 10 --throughput -1").await, needed);
    let zero = "--num-records should be greater than zero.";
    assert_eq!(refused("--topic t --num-records 0 --record-size 50 --throughput -1").await, zero);
    assert_eq!(refused("--topic t stray --num-records 1 --record-size 50").await, "unrecognized arguments: 'stray'");
    let nowhere = call("kafka-producer-perf-test --topic t --num-records 1 --record-size 5 --throughput -1").transcript().await;
    assert!(nowhere.contains("! kafka-producer-perf-test: no broker to connect to; give --bootstrap-server"), "{nowhere}");
    let strict = call("kafka-producer-perf-test").variable("KAFKA_CLI_COMPAT", "4.3").transcript().await;
    assert!(strict.contains("Usage:") && !strict.contains("exit code"), "{strict}");
    let keys = call("kafka-producer-perf-test --topic t --num-records 1 --record-size 5 --throughput -1 --record-key-size 3");
    let strict = keys.variable("KAFKA_CLI_COMPAT", "4.3").transcript().await;
    assert!(strict.contains("unrecognized arguments: '--record-key-size'") && strict.ends_with("exit code 1\n"), "{strict}");
    let strict = call("kafka-producer-perf-test --help").variable("KAFKA_CLI_COMPAT", "4.3").transcript().await;
    assert!(strict.contains("Usage:") && strict.ends_with("exit code 1\n"), "{strict}");
    let strict = call("kafka-e2e-latency --version").variable("KAFKA_CLI_COMPAT", "4.3").transcript().await;
    assert!(strict.ends_with("exit code 1\n"), "{strict}");
}

#[tokio::test]
async fn records_that_fail_are_counted_and_make_the_exit_code() {
    let broker = Broker::start();
    broker.connect().create_topic_with("t", 1, &[("max.message.bytes", "200")]);
    let line = "kafka-producer-perf-test --topic t --num-records 5 --record-size 400 --throughput -1 --command-property batch.size=1";
    let lost = "5 of 5 records were not delivered, the first because: \
                The request included a message larger than the max message size the server will accept.";
    assert_eq!(session(&broker, &[line]).await, format!("$ {line}\n! kafka-producer-perf-test: {lost}\nexit code 1\n"));
    let nothing =
        "0 records sent, N records/sec (N MB/sec), NaN ms avg latency, N ms max latency, N ms 50th, N ms 95th, N ms 99th, N ms 99.9th.";
    let compat = call(&format!("{line} --bootstrap-server {}", broker.address)).variable("KAFKA_CLI_COMPAT", "4.3").transcript().await;
    assert!(masked(&compat).ends_with(&format!("\n{nothing}\n! {lost}\n")), "{compat}");
    let address = broker.address;
    let missing = "kafka-producer-perf-test --topic none/such --num-records 5 --record-size 4 --throughput -1";
    let transcript = call(&format!("{missing} --bootstrap-server {address}")).transcript().await;
    assert!(transcript.contains("! kafka-producer-perf-test: topic 'none/such'") && transcript.ends_with("exit code 1\n"), "{transcript}");
}

const HEADER: &str = "start.time, end.time, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, rebalance.time.ms, fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec";

#[tokio::test]
async fn a_consumer_reads_and_prints_kafkas_columns() {
    let broker = Broker::start();
    broker.connect().create_topic("t", 2);
    let sent = "kafka-producer-perf-test --topic t --num-records 2048 --record-size 512 --throughput -1";
    masked_session(&broker, &[sent]).await;
    let line = "kafka-consumer-perf-test --topic t --num-records 2048";
    let expected = format!("$ {line}\n{HEADER}\nTIME, TIME, 1.0000, N, 2048, N, N, N, N, N\n");
    assert_eq!(masked_session(&broker, &[line]).await, expected);

    let line = "kafka-consumer-perf-test --include t.* --num-records 2048 --show-detailed-stats --reporting-interval 1 --timeout 20000";
    let transcript = masked_session(&broker, &[line]).await;
    let lines: Vec<&str> = transcript.lines().skip(1).collect();
    assert_eq!(lines[0], HEADER.replace("start.time, end.time", "time, threadId"));
    assert!(lines[1].starts_with("TIME, 0, ") && lines[1].ends_with(", N, N, N, N, N"), "{transcript}");

    let line = "kafka-consumer-perf-test --topic t --messages 2048 --hide-header --date-format yyyy --print-metrics";
    let transcript = session(&broker, &[line]).await;
    let lines: Vec<&str> = transcript.lines().skip(1).collect();
    assert!(Regex::new(r"^\d{4}, \d{4}, 1\.0000, ").expect("a pattern").is_match(lines[0]), "{transcript}");
    let metrics = [
        "",
        "Metric Name                                                                               Value",
        "consumer-fetch-manager-metrics:records-consumed-total:{client-id=perf-consumer-client} : 2048.000",
        "! kafka-consumer-perf-test: Warning: --messages is deprecated. Use --num-records instead.",
    ];
    assert_eq!(lines[1].len(), 0);
    assert_eq!(lines[3..], metrics[2..]);
    assert_eq!(lines[2].split_whitespace().collect::<Vec<_>>(), ["Metric", "Name", "Value"]);
}

#[tokio::test]
async fn a_consumer_that_waits_in_vain_says_so() {
    let broker = Broker::start();
    broker.connect().create_topic("t", 1);
    let warning = "WARNING: Exiting before consuming the expected number of records: timeout (N ms) exceeded. \
                   You can use the --timeout option to increase the timeout.";
    let line = "kafka-consumer-perf-test --topic t --num-records 5 --timeout 50";
    let printed = format!("{HEADER}\n{warning}\nTIME, TIME, 0.0000, N, 0, N, N, N, N, N\n");
    assert_eq!(masked_session(&broker, &[line]).await, format!("$ {line}\n{printed}exit code 1\n"));
    let compat = call(&format!("{line} --bootstrap-server {}", broker.address)).variable("KAFKA_CLI_COMPAT", "4.3").transcript().await;
    assert!(masked(&compat).ends_with(&format!("\n{printed}")), "{compat}");
    let line = "kafka-consumer-perf-test --topic t --num-records 5 --timeout 50 --output json";
    let transcript = masked_session(&broker, &[line]).await;
    assert!(transcript.contains(r#""timedOut":true}"#), "{transcript}");
    let line = "kafka-consumer-perf-test --topic none --num-records 5";
    let missing = format!("$ {line}\n{HEADER}\n! kafka-consumer-perf-test: topic 'none' does not exist\nexit code 1\n");
    assert_eq!(session(&broker, &[line]).await, missing);
}

#[tokio::test]
async fn a_record_takes_so_long_from_end_to_end() {
    let broker = Broker::start();
    let line = "kafka-e2e-latency --topic t --num-records 5 --producer-acks all --record-size 3 --num-headers 2 --record-header-key-size 2 --record-header-size -1";
    let created = "Topic \"t\" does not exist. Will create topic with 1 partition(s) and replication factor = 1\n";
    let result = "0\tN\nAvg latency: N ms\nPercentiles: 50th = N, 99th = N, 99.9th = N\n";
    assert_eq!(masked_session(&broker, &[line]).await, format!("$ {line}\n{created}{result}"));
    let records = log(&broker, "t").0;
    assert_eq!(records.len(), 5);
    assert_eq!(records[0], " SSS");
    let line = format!("kafka-e2e-latency {} t 3 1 3", broker.address);
    let transcript = call(&line).transcript().await;
    let notice = "! kafka-e2e-latency: WARNING: Positional argument usage is deprecated and will be removed in Apache Kafka 5.0. ";
    assert!(masked(&transcript).starts_with(&format!("$ {line}\n{result}{notice}")), "{transcript}");
    let line = "kafka-e2e-latency --topic t --num-records 5 --producer-acks 1 --record-size 3 --output json";
    let latencies = r#"{"mean":N,"p50":N,"p90":N,"p95":N,"p99":N,"p99.9":N,"p99.99":N,"max":N}"#;
    assert_eq!(
        masked_session(&broker, &[line]).await,
        format!("$ {line}\n{{\"type\":\"total\",\"records\":5,\"latencyMs\":{latencies}}}\n")
    );
}
