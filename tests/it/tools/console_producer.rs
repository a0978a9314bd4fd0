//! `kafka-console-producer` against a broker.

use std::process::Stdio;

use ottla::protocol::batch::Batches;
use ottla::protocol::compression::Compression;
use ottla::protocol::records::Records;
use tokio::io::AsyncWriteExt;

use super::call;
use crate::broker::Broker;

/// A call with this input; the broker's address is left out of the transcript.
async fn send(broker: &Broker, arguments: &[&str], input: &[u8]) -> String {
    let address = broker.address.to_string();
    let mut call = call(&format!("kafka-console-producer --bootstrap-server {address}"));
    for argument in arguments {
        call = call.argument(argument);
    }
    call.input(input).transcript().await.replace(&address, "BROKER").replace(" --bootstrap-server BROKER", "")
}

/// Without the line that was typed.
fn printed(transcript: &str) -> &str {
    transcript.split_once('\n').expect("a line").1
}

/// The records of a partition: `offset headers key value`, null as `-`.
fn log(broker: &Broker, topic: &str, partition: i32) -> Vec<String> {
    let data = broker.connect().fetch(topic, partition, 0);
    let bytes = data.records.as_ref().and_then(Records::as_bytes).cloned().unwrap_or_default();
    let text = |bytes: Option<&[u8]>| bytes.map_or("-".to_owned(), |bytes| format!("'{}'", bytes.escape_ascii()));
    let mut records = Vec::new();
    for batch in Batches::new(&bytes) {
        let batch = batch.expect("a whole batch");
        for record in batch.records() {
            let record = record.expect("a record");
            let headers: Vec<String> =
                record.headers.iter().map(|header| format!("{}={}", text(Some(&header.key)), text(header.value.as_deref()))).collect();
            let (key, value) = (text(record.key.as_deref()), text(record.value.as_deref()));
            records.push(format!("{} [{}] {key} {value}", record.offset, headers.join(" ")));
        }
    }
    records
}

#[tokio::test]
async fn each_line_is_a_record_and_nothing_is_printed() {
    let broker = Broker::start();
    broker.connect().create_topic("t", 1);
    let input = b"one\n  two words  \n\ntab\there\ndos\r\nold mac\r\xff\xfe\nno end";
    assert_eq!(printed(&send(&broker, &["--topic", "t"], input).await), "");
    let expected = ["'one'", "'  two words  '", "''", "'tab\\there'", "'dos'", "'old mac'", "'\\xff\\xfe'", "'no end'"];
    let expected: Vec<String> = expected.iter().enumerate().map(|(offset, value)| format!("{offset} [] - {value}")).collect();
    assert_eq!(log(&broker, "t", 0), expected);
}

#[tokio::test]
async fn lines_have_keys_headers_and_nulls() {
    let broker = Broker::start();
    broker.connect().create_topic("t", 1);
    let properties = [
        "--topic",
        "t",
        "--reader-property",
        "parse.key=true",
        "--reader-property",
        "parse.headers=true",
        "--reader-property",
        "key.separator=:",
        "--property=null.marker=NULL",
    ];
    let both = send(&broker, &properties, b"").await;
    assert!(
        printed(&both).starts_with("! kafka-console-producer: Options --reader-property and --property cannot be specified together.\n")
    );
    let properties = [&properties[..8], &["--reader-property=null.marker=NULL", "--header", "all:x"]].concat();
    let input = b"a:1,a:NULL\tk:v\nNULL\tNULL:NULL\nb:\t:\n";
    assert_eq!(printed(&send(&broker, &properties, input).await), "");
    assert_eq!(log(&broker, "t", 0), ["0 ['a'='1' 'a'=- 'all'='x'] 'k' 'v'", "1 ['all'='x'] - -", "2 ['b'='' 'all'='x'] '' ''"]);
}

#[tokio::test]
async fn what_was_read_before_a_bad_line_is_sent() {
    let broker = Broker::start();
    broker.connect().create_topic("t", 1);
    let arguments = ["--topic", "t", "--reader-property", "parse.key=true"];
    let transcript = send(&broker, &arguments, b"k\tv\nnone\nk\tw\n").await;
    assert_eq!(printed(&transcript), "! kafka-console-producer: No key separator found on line number 2: 'none'\nexit code 1\n");
    assert_eq!(log(&broker, "t", 0), ["0 [] 'k' 'v'"]);
}

#[tokio::test]
async fn records_that_fail_are_counted_and_make_the_exit_code() {
    let broker = Broker::start();
    broker.connect().create_topic_with("t", 1, &[("max.message.bytes", "200")]);
    let mut input = b"short\n".to_vec();
    input.extend([b'x'; 400]);
    input.extend(b"\nshort too\n");
    let lost = "the first of them from line 2: The request included a message larger than the max message size the server will accept.";
    let arguments = ["--topic", "t", "--batch-size", "1"];
    let transcript = send(&broker, &arguments, &input).await;
    assert_eq!(printed(&transcript), format!("! kafka-console-producer: 1 of 3 records was not delivered, {lost}\nexit code 1\n"));
    assert_eq!(log(&broker, "t", 0), ["0 [] - 'short'", "1 [] - 'short too'"]);
    let address = broker.address.to_string();
    let compat = call(&format!("kafka-console-producer --topic t --batch-size 1 --bootstrap-server {address}"));
    let transcript = compat.variable("KAFKA_CLI_COMPAT", "4.3").input(&input).transcript().await;
    assert_eq!(printed(&transcript), format!("! 1 of 3 records was not delivered, {lost}\n"), "with Kafka's exit code");
    let one_by_one = send(&broker, &["--topic", "t", "--sync"], &input).await;
    assert!(printed(&one_by_one).starts_with("! kafka-console-producer: line 2 was not delivered: "), "{one_by_one}");
    assert_eq!(log(&broker, "t", 0).len(), 5, "the third line was not sent");
}

#[tokio::test]
async fn json_records_arrive_as_they_are_written() {
    let broker = Broker::start();
    broker.connect().create_topic("t", 2);
    broker.connect().create_topic("u", 1);
    let input = concat!(
        r#"{"topic":"t","partition":1,"offset":5,"timestamp":1700000000000,"timestampType":"CreateTime","leaderEpoch":0,"#,
        r#""headers":[{"key":"a","value":"x"},{"key":{"base64":"/w=="},"value":null}],"key":"text","value":null}"#,
        "\n\n",
        r#"{"topic":"u","value":{"base64":"gIE="}}"#,
        "\n"
    );
    assert_eq!(printed(&send(&broker, &["--input", "json"], input.as_bytes()).await), "");
    assert_eq!(log(&broker, "t", 1), ["0 ['a'='x' '\\xff'=-] 'text' -"]);
    assert_eq!(log(&broker, "u", 0), ["0 [] - '\\x80\\x81'"]);
    let fixed = ["--input=json", "--topic=u", "--key=k", "--partition=0", "--timestamp=5"];
    assert_eq!(printed(&send(&broker, &fixed, input.as_bytes()).await), "");
    assert_eq!(log(&broker, "u", 0)[1..], ["1 ['a'='x' '\\xff'=-] 'k' -", "2 [] 'k' '\\x80\\x81'"]);
    let wrong = send(&broker, &["--input=json"], b"{\"topic\":\"u\",\"value\":\"good\"}\n{\"topic\":\"u\",\"vale\":\"x\"}\n").await;
    assert_eq!(printed(&wrong), "! kafka-console-producer: line 2: no field of a record: 'vale'\nexit code 1\n");
    assert_eq!(log(&broker, "u", 0).len(), 4, "the line before it was sent");
}

#[tokio::test]
async fn tombstones_are_sent_by_key() {
    let broker = Broker::start();
    broker.connect().create_topic("t", 1);
    assert_eq!(printed(&send(&broker, &["--topic", "t", "--tombstone"], b"a\nb\n").await), "");
    assert_eq!(printed(&send(&broker, &["--topic", "t", "--tombstone", "--key", "c"], b"not read\n").await), "");
    assert_eq!(log(&broker, "t", 0), ["0 [] 'a' -", "1 [] 'b' -", "2 [] 'c' -"]);
}

#[tokio::test]
async fn settings_reach_the_producer_from_flags_properties_and_files() {
    let broker = Broker::start();
    broker.connect().create_topic("t", 1);
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("client.properties");
    std::fs::write(&file, "compression.type=zstd\nacks = all\n").expect("written");
    let file = file.to_str().expect("UTF-8");
    for arguments in [
        &["--compression-codec"][..],
        &["--command-config", file],
        &["--command-config", file, "--command-property", "compression.type=lz4"],
        &["--command-config", file, "--compression-codec", "none", "--request-required-acks", "1"],
    ] {
        let arguments = [&["--topic", "t"], arguments].concat();
        assert_eq!(printed(&send(&broker, &arguments, &[b'x'; 1000]).await), "", "{arguments:?}");
    }
    let data = broker.connect().fetch("t", 0, 0);
    let bytes = data.records.as_ref().and_then(Records::as_bytes).cloned().unwrap_or_default();
    let codecs: Vec<Compression> = Batches::new(&bytes).map(|batch| batch.expect("whole").header().compression().expect("known")).collect();
    assert_eq!(codecs, [Compression::Gzip, Compression::Zstd, Compression::Lz4, Compression::None]);
}

#[tokio::test]
async fn a_topic_is_created_on_first_use_and_a_partition_is_not() {
    let broker = Broker::start();
    assert_eq!(printed(&send(&broker, &["--topic", "new"], b"").await), "");
    assert_eq!(super::session(&broker, &["kafka-topics --list"]).await, "$ kafka-topics --list\n\n", "nothing was sent");
    let transcript = send(&broker, &["--topic", "new"], b"x\n").await;
    assert_eq!(transcript.lines().last(), Some("$ kafka-console-producer '--topic' 'new'"));
    assert_eq!(log(&broker, "new", 0), ["0 [] - 'x'"]);
    assert_eq!(
        printed(&send(&broker, &["--topic", "new", "--partition", "7"], b"x\n").await),
        "! kafka-console-producer: topic 'new' has 1 partition: there is no partition 7\nexit code 1\n"
    );
    assert_eq!(
        printed(&send(&broker, &["--topic", "a/b"], b"x\n").await),
        "! kafka-console-producer: topic 'a/b': The request attempted to perform an operation on an invalid topic.\nexit code 1\n"
    );
}

#[tokio::test]
async fn mistakes_in_the_arguments_are_named_in_kafkas_words() {
    let of = async |arguments: &str| {
        let transcript = call(&format!("kafka-console-producer {arguments}")).transcript().await;
        printed(&transcript).lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(of("--bootstrap-server x:1").await, "! kafka-console-producer: Missing required argument \"[topic]\"");
    assert_eq!(
        of("--topic t").await,
        "! kafka-console-producer: no broker to connect to; give --bootstrap-server, KAFKA_BOOTSTRAP_SERVERS, or bootstrap.servers in the \
         --command-config file"
    );
    assert_eq!(
        of("--topic t --bootstrap-server x:1 --command-config a --producer.config b").await,
        "! kafka-console-producer: Options --command-config and --producer.config cannot be specified together."
    );
    assert_eq!(
        of("--topic t --bootstrap-server x:1 --batch-size many").await,
        "! kafka-console-producer: Cannot parse argument 'many' of option batch-size"
    );
    assert_eq!(
        of("--topic t --bootstrap-server x:1 --reader-property pars.key=true --compression-codec rar").await,
        "! kafka-console-producer: the line reader has no property pars.key; did you mean parse.key?"
    );
    assert!(of("--topic t --bootstrap-server 127.0.0.1:1").await.contains("is a broker running there?"));
}

#[tokio::test]
async fn an_interrupted_call_sends_what_it_read() {
    let broker = Broker::start();
    broker.connect().create_topic("t", 1);
    let address = broker.address.to_string();
    let mut call = call(&format!(
        "kafka-console-producer --topic t --timeout 3600000 --batch-size 2000000 --compression-codec gzip --bootstrap-server {address}"
    ));
    let mut child = call.command.stdin(Stdio::piped()).spawn().expect("starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    // More than the pipe and the program's queue of blocks hold: when all is written, the first line is with the producer, where it lingers.
    let mut lines = b"first\n".to_vec();
    for _ in 0..2000 {
        lines.extend([b'x'; 800]);
        lines.push(b'\n');
    }
    stdin.write_all(&lines).await.expect("it reads");
    assert!(log(&broker, "t", 0).is_empty());
    let pid = rustix::process::Pid::from_raw(child.id().expect("it runs") as i32).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it takes signals");
    let status = child.wait().await.expect("ends");
    assert_eq!(status.code(), Some(130));
    assert_eq!(log(&broker, "t", 0)[0], "0 [] - 'first'");
}
