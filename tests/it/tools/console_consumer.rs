//! `kafka-console-consumer` against a broker.

use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use ottla::protocol::batch::{BatchBuilder, RecordHeader};
use ottla::protocol::compression::Compression;
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::sync::mpsc;

use super::{call, session};
use crate::broker::{Broker, batch};

/// Longer than anything here takes; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two records that have everything, with these timestamps.
fn rich(first: i64, second: i64) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    let header = |key: &'static [u8], value: Option<&'static [u8]>| RecordHeader {
        key: Bytes::from_static(key),
        value: value.map(Bytes::from_static),
    };
    let headers = [header(b"a", Some(b"x")), header(b"b", None)];
    builder.append(first, Some(b"key"), Some(b"ABCDEFGH"), &headers).expect("a small record");
    builder.append(second, None, Some(b"\xffBCD"), &[]).expect("a small record");
    builder.finish().expect("a batch")
}

fn broker_with(topic: &str, partitions: i32, batches: &[(i32, Bytes)]) -> Broker {
    let broker = Broker::start_with(&["--ephemeral", "--override", "group.initial.rebalance.delay.ms=0"]);
    let mut connection = broker.connect();
    connection.create_topic(topic, partitions);
    for (partition, records) in batches {
        connection.produce(topic, *partition, records.clone(), -1);
    }
    broker
}

#[tokio::test]
async fn records_are_printed_as_kafka_does() {
    let broker = broker_with("t", 1, &[(0, rich(1_700_000_000_000, 1_700_000_000_001))]);
    let all = "--formatter-property print.timestamp=true --formatter-property print.partition=true --formatter-property print.offset=true \
               --formatter-property print.epoch=true --formatter-property print.headers=true --formatter-property print.key=true";
    assert_eq!(
        session(
            &broker,
            &[
                "kafka-console-consumer --topic t --from-beginning --max-messages 1",
                &format!("kafka-console-consumer --topic t --from-beginning --max-messages 1 {all}"),
                "kafka-console-consumer --topic t --partition 0 --offset 0 --max-messages 1 --value-deserializer long",
                "kafka-console-consumer --topic t --from-beginning --exit-at-end --value-deserializer IntegerDeserializer",
                "kafka-console-consumer --topic t --from-beginning --exit-at-end --skip-message-on-error --value-deserializer integer",
                "kafka-console-consumer --topic t --from-beginning --exit-at-end --output json --quiet",
                "kafka-console-consumer --topic t --timeout-ms 100",
                "kafka-console-consumer --include t|u --from-beginning --timeout-ms 500 --property print.value=false --property print.key=true",
                "kafka-console-consumer --topic t --from-beginning --max-messages 2 --formatter NoOpMessageFormatter",
            ]
        )
        .await,
        format!(
            "$ kafka-console-consumer --topic t --from-beginning --max-messages 1\n\
             ABCDEFGH\n\
             ! Processed a total of 1 messages\n\
             $ kafka-console-consumer --topic t --from-beginning --max-messages 1 {all}\n\
             CreateTime:1700000000000\tPartition:0\tOffset:0\tEpoch:0\ta:x,b:null\tkey\tABCDEFGH\n\
             ! Processed a total of 1 messages\n\
             $ kafka-console-consumer --topic t --partition 0 --offset 0 --max-messages 1 --value-deserializer long\n\
             4702394921427289928\n\
             ! Processed a total of 1 messages\n\
             $ kafka-console-consumer --topic t --from-beginning --exit-at-end --value-deserializer IntegerDeserializer\n\
             ! kafka-console-consumer: the record at offset 0 of t-0 cannot be printed: Size of data received by IntegerDeserializer is not 4\n\
             exit code 1\n\
             $ kafka-console-consumer --topic t --from-beginning --exit-at-end --skip-message-on-error --value-deserializer integer\n\
             -12434620\n\
             ! kafka-console-consumer: skipped: the record at offset 0 of t-0 cannot be printed: \
             Size of data received by IntegerDeserializer is not 4\n\
             ! Processed a total of 1 messages\n\
             $ kafka-console-consumer --topic t --from-beginning --exit-at-end --output json --quiet\n\
             {{\"topic\":\"t\",\"partition\":0,\"offset\":0,\"timestamp\":1700000000000,\"timestampType\":\"CreateTime\",\"leaderEpoch\":0,\
             \"headers\":[{{\"key\":\"a\",\"value\":\"x\"}},{{\"key\":\"b\",\"value\":null}}],\"key\":\"key\",\"value\":\"ABCDEFGH\"}}\n\
             {{\"topic\":\"t\",\"partition\":0,\"offset\":1,\"timestamp\":1700000000001,\"timestampType\":\"CreateTime\",\"leaderEpoch\":0,\
             \"headers\":[],\"key\":null,\"value\":{{\"base64\":\"/0JDRA==\"}}}}\n\
             $ kafka-console-consumer --topic t --timeout-ms 100\n\
             ! Processed a total of 0 messages\n\
             $ kafka-console-consumer --include t|u --from-beginning --timeout-ms 500 --property print.value=false --property print.key=true\n\
             key\n\
             null\n\
             ! kafka-console-consumer: Option --property is deprecated and will be removed in a future version. Use --formatter-property instead.\n\
             ! Processed a total of 2 messages\n\
             $ kafka-console-consumer --topic t --from-beginning --max-messages 2 --formatter NoOpMessageFormatter\n\
             ! Processed a total of 2 messages\n"
        )
    );
}

#[tokio::test]
async fn reading_starts_and_ends_where_it_is_told() {
    let at = |values: &[(&str, i64)]| {
        let mut builder = BatchBuilder::new(Compression::None);
        for (value, timestamp) in values {
            builder.append(*timestamp, None, Some(value.as_bytes()), &[]).expect("a small record");
        }
        builder.finish().expect("a batch")
    };
    // 2023-11-14T22:13:20Z is 1 700 000 000 s.
    let broker = broker_with("t", 1, &[(0, at(&[("a", 1_700_000_000_000), ("b", 1_700_000_001_000), ("c", 1_700_000_002_000)]))]);
    assert_eq!(
        session(
            &broker,
            &[
                "kafka-console-consumer --quiet --topic t --from 2023-11-14T22:13:21Z --exit-at-end",
                "kafka-console-consumer --quiet --topic t --from-beginning --to 1700000002000",
                "kafka-console-consumer --quiet --topic t --from 2023-11-14 --to 2023-11-15",
                "kafka-console-consumer --quiet --topic t --from -1h --to now",
                "kafka-console-consumer --quiet --topic t --tail 2 --exit-at-end",
                "kafka-console-consumer --quiet --topic t --tail 20 --exit-at-end --partition 0",
                "kafka-console-consumer --quiet --topic t --exit-at-end",
                "kafka-console-consumer --quiet --topic t --partition 0 --offset 1 --max-messages 1",
                "kafka-console-consumer --quiet --topic t --group g --from-beginning --max-messages 1",
                "kafka-console-consumer --quiet --topic t --group g --exit-at-end",
                "kafka-console-consumer --quiet --topic t --group g --exit-at-end",
            ]
        )
        .await,
        "$ kafka-console-consumer --quiet --topic t --from 2023-11-14T22:13:21Z --exit-at-end\nb\nc\n\
         $ kafka-console-consumer --quiet --topic t --from-beginning --to 1700000002000\na\nb\n\
         $ kafka-console-consumer --quiet --topic t --from 2023-11-14 --to 2023-11-15\na\nb\nc\n\
         $ kafka-console-consumer --quiet --topic t --from -1h --to now\n\
         $ kafka-console-consumer --quiet --topic t --tail 2 --exit-at-end\nb\nc\n\
         $ kafka-console-consumer --quiet --topic t --tail 20 --exit-at-end --partition 0\na\nb\nc\n\
         $ kafka-console-consumer --quiet --topic t --exit-at-end\n\
         $ kafka-console-consumer --quiet --topic t --partition 0 --offset 1 --max-messages 1\nb\n\
         $ kafka-console-consumer --quiet --topic t --group g --from-beginning --max-messages 1\na\n\
         $ kafka-console-consumer --quiet --topic t --group g --exit-at-end\nb\nc\n\
         $ kafka-console-consumer --quiet --topic t --group g --exit-at-end\n"
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_said_and_nothing_is_created() {
    let broker = broker_with("orders", 1, &[]);
    assert_eq!(
        session(
            &broker,
            &[
                "kafka-console-consumer --topic oders --timeout-ms 100",
                "kafka-console-consumer --topic oders --group g --timeout-ms 100",
                "kafka-console-consumer --topic orders --partition 4 --offset earliest",
                "kafka-console-consumer --topic orders --offset 3",
                "kafka-console-consumer --topic orders --partition 0 --offset newest",
                "kafka-console-consumer --topic orders --group g --partition 0",
                "kafka-console-consumer --topic orders --group g --command-property group.id=h",
                "kafka-console-consumer --topic orders --from yesterday",
                "kafka-console-consumer --topic orders --include o.*",
                "kafka-console-consumer --include [a",
                "kafka-topics --list",
                "kafka-consumer-groups --list",
            ]
        )
        .await,
        "$ kafka-console-consumer --topic oders --timeout-ms 100\n\
         ! kafka-console-consumer: topic 'oders' does not exist; did you mean 'orders'?\n\
         exit code 1\n\
         $ kafka-console-consumer --topic oders --group g --timeout-ms 100\n\
         ! kafka-console-consumer: topic 'oders' does not exist; did you mean 'orders'?\n\
         exit code 1\n\
         $ kafka-console-consumer --topic orders --partition 4 --offset earliest\n\
         ! kafka-console-consumer: topic 'orders' has no partition 4\n\
         exit code 1\n\
         $ kafka-console-consumer --topic orders --offset 3\n\
         ! kafka-console-consumer: The partition is required when offset is specified.\n\
         ! Try 'kafka-console-consumer --help' for the options.\n\
         exit code 1\n\
         $ kafka-console-consumer --topic orders --partition 0 --offset newest\n\
         ! kafka-console-consumer: The provided offset value 'newest' is incorrect. Valid values are 'earliest', 'latest', or a non-negative long.\n\
         ! Try 'kafka-console-consumer --help' for the options.\n\
         exit code 1\n\
         $ kafka-console-consumer --topic orders --group g --partition 0\n\
         ! kafka-console-consumer: Options group and partition cannot be specified together.\n\
         ! Try 'kafka-console-consumer --help' for the options.\n\
         exit code 1\n\
         $ kafka-console-consumer --topic orders --group g --command-property group.id=h\n\
         ! kafka-console-consumer: The group ids provided in different places (directly using '--group', via '--consumer-property', \
         or via '--consumer.config') do not match. Detected group ids: 'g', 'h'\n\
         ! Try 'kafka-console-consumer --help' for the options.\n\
         exit code 1\n\
         $ kafka-console-consumer --topic orders --from yesterday\n\
         ! kafka-console-consumer: 'yesterday' is no moment; it may be 2026-01-31T08:30:00.000, the same with an offset (Z, +02:00), \
         2026-01-31, -2h or now\n\
         ! Try 'kafka-console-consumer --help' for the options.\n\
         exit code 1\n\
         $ kafka-console-consumer --topic orders --include o.*\n\
         ! kafka-console-consumer: Exactly one of the following arguments is required: [include], [topic]\n\
         ! Try 'kafka-console-consumer --help' for the options.\n\
         exit code 1\n\
         $ kafka-console-consumer --include [a\n\
         ! kafka-console-consumer: '[a' is not a valid regular expression\n\
         exit code 1\n\
         $ kafka-topics --list\n\
         orders\n\
         $ kafka-consumer-groups --list\n"
    );
}

#[tokio::test]
async fn compat_restores_kafkas_streams_and_exit_codes() {
    let broker = broker_with("t", 1, &[(0, rich(1_700_000_000_000, 1_700_000_000_001))]);
    let call = |rest: &str| {
        call(&format!("kafka-console-consumer --bootstrap-server {} {rest}", broker.address)).variable("KAFKA_CLI_COMPAT", "4.3")
    };
    let epoch = call("--topic t --from-beginning --max-messages 1 --property print.epoch=true").transcript().await;
    assert!(
        epoch.ends_with(
            "\nOption --property is deprecated and will be removed in a future version. Use --formatter-property instead.\n\
             Epoch:NOT_PRESENT\tABCDEFGH\n! Processed a total of 1 messages\n"
        ),
        "{epoch}"
    );
    let missing = call("--topic none --timeout-ms 100").transcript().await;
    assert!(missing.ends_with("\n! Processed a total of 0 messages\n"), "{missing}");
    let unknown = call("--topic t --from-beginning --max-messages 1 --value-deserializer no.such.Class").transcript().await;
    assert!(unknown.contains("\nABCDEFGH\n") && !unknown.contains("exit code"), "{unknown}");
}

/// A consumer that goes on running, and its lines.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

fn start(broker: &Broker, rest: &str) -> Running {
    let mut command = call(&format!("kafka-console-consumer --bootstrap-server {} {rest}", broker.address)).command;
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn().expect("starts");
    let lines = BufReader::new(child.stdout.take().expect("a piped stdout")).lines();
    Running { child, lines }
}

fn interrupt(child: &Child) {
    let pid = child.id().and_then(|id| rustix::process::Pid::from_raw(id as i32)).expect("it runs");
    rustix::process::kill_process(pid, Signal::INT).expect("signalled");
}

async fn exit_code(child: &mut Child) -> Option<i32> {
    tokio::time::timeout(PATIENCE, child.wait()).await.expect("it ends").expect("its status").code()
}

#[tokio::test]
async fn it_ends_at_once_when_nobody_reads_its_output() {
    let broker = broker_with("t", 1, &[(0, batch(&["a", "b"]))]);
    let mut running = start(&broker, "--topic t --from-beginning");
    assert_eq!(running.lines.next_line().await.expect("text").as_deref(), Some("a"));
    drop(running.lines);
    assert_eq!(exit_code(&mut running.child).await, Some(0));
}

#[tokio::test]
async fn an_interrupt_commits_what_was_printed() {
    let broker = broker_with("t", 1, &[(0, batch(&["a", "b"]))]);
    let mut running = start(&broker, "--topic t --group g --from-beginning --command-property auto.commit.interval.ms=3600000");
    for expected in ["a", "b"] {
        assert_eq!(running.lines.next_line().await.expect("text").as_deref(), Some(expected));
    }
    interrupt(&running.child);
    assert_eq!(exit_code(&mut running.child).await, Some(130));
    broker.connect().produce("t", 0, batch(&["c"]), -1);
    assert_eq!(
        session(&broker, &["kafka-console-consumer --quiet --topic t --group g --from-beginning --exit-at-end"]).await,
        "$ kafka-console-consumer --quiet --topic t --group g --from-beginning --exit-at-end\nc\n"
    );
}

/// Waits until this many members share three partitions; a member has one or none.
async fn shared_by(broker: &Broker, members: usize) {
    let settled = async {
        loop {
            let line = format!(
                "kafka-consumer-groups --bootstrap-server {} --describe --group x --members --quiet --output plain",
                broker.address
            );
            let shown = call(&line).transcript().await;
            let counts: Vec<&str> =
                shown.lines().filter(|line| line.starts_with("x ")).filter_map(|line| line.split_whitespace().last()).collect();
            let with_one = counts.iter().filter(|count| **count == "1").count();
            if counts.len() == members && with_one == 3 {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, settled).await.expect("the group settles");
}

#[tokio::test]
async fn four_members_share_three_partitions_and_a_leaver_is_replaced() {
    let broker = broker_with("t", 3, &[]);
    let (sender, mut lines) = mpsc::unbounded_channel();
    let mut members = Vec::new();
    for number in 0..4 {
        let quick = "--command-property heartbeat.interval.ms=100";
        let Running { child, lines: mut printed } =
            start(&broker, &format!("--topic t --group x --from-beginning {quick} --formatter-property print.partition=true"));
        members.push(child);
        let sender = sender.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = printed.next_line().await {
                let _ = sender.send((number, line));
            }
        });
    }
    shared_by(&broker, 4).await;
    let mut connection = broker.connect();
    let mut round = async |value: &str| {
        for partition in 0..3 {
            connection.produce("t", partition, batch(&[value]), -1);
        }
        let mut printed = Vec::new();
        while printed.len() < 3 {
            let (member, line): (usize, String) = tokio::time::timeout(PATIENCE, lines.recv()).await.expect("a line").expect("a line");
            printed.push((line, member));
        }
        printed.sort();
        let texts: Vec<String> = printed.iter().map(|(line, _)| line.clone()).collect();
        assert_eq!(texts, [0, 1, 2].map(|partition| format!("Partition:{partition}\t{value}")));
        let mut readers: Vec<usize> = printed.into_iter().map(|(_, member)| member).collect();
        readers.sort_unstable();
        readers
    };
    let first = round("one").await;
    let idle: Vec<usize> = (0..4).filter(|member| !first.contains(member)).collect();
    assert_eq!(idle.len(), 1, "each partition has a member of its own: {first:?}");
    interrupt(&members[first[0]]);
    assert_eq!(exit_code(&mut members[first[0]]).await, Some(130));
    shared_by(&broker, 3).await;
    let second = round("two").await;
    let remaining: Vec<usize> = (0..4).filter(|member| *member != first[0]).collect();
    assert_eq!(second, remaining, "the idle member takes over");
}
