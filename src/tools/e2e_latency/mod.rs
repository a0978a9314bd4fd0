//! `kafka-e2e-latency`: how long a record takes from a producer to a consumer, one record at a time.
//!
//! Differs from Kafka's tool unless `KAFKA_CLI_COMPAT` is set: on a terminal, and in JSON, percentiles have a fraction.
//!
//! Invariant: each record that is received is the one that was sent, or the test fails. Source: `org.apache.kafka.tools.EndToEndLatency`.

mod options;

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use serde_json::json;

use options::Request;

use super::args::Options;
use super::exit::{Exit, Failure};
use super::java_number::{double, fixed};
use super::latencies::{Latencies, milliseconds};
use super::output::{Format, print_json};
use super::payload::JavaRandom;
use super::session::Session;
use super::signals::Signals;
use super::{Parser, Tool, connect};
use crate::client::admin::{Admin, NewTopic};
use crate::client::consumer::{Consumer, ConsumerError, ConsumerRecord, RecordHeader};
use crate::client::producer::{Producer, ProducerRecord};
use crate::common::topic_partition::TopicPartition;

pub(super) const TOOL: Tool = Tool { name: "kafka-e2e-latency", parser: Parser::Jopt, command: options::command, run };

/// How long a record is waited for.
const POLL_TIMEOUT: Duration = Duration::from_secs(60);
/// Every so many records a line says how long the last took.
const PROGRESS_EVERY: u32 = 1000;
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

fn run(session: &mut Session, options: &Options) -> anyhow::Result<Exit> {
    let request = Request::read(session, options)?;
    // The two clients' tasks must not wait for each other.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().context("cannot start the runtime")?;
    let result = runtime.block_on(async {
        let mut signals = Signals::listen().context("cannot listen for signals")?;
        tokio::select! {
            result = test(session, &request) => result,
            exit = signals.next() => Ok(exit),
        }
    });
    runtime.shutdown_background();
    result
}

/// A client's error as itself, so that what is known about it is found.
fn unwrapped(error: ConsumerError) -> anyhow::Error {
    match error {
        ConsumerError::Client(error) => error.into(),
        other => other.into(),
    }
}

async fn test(session: &mut Session, request: &Request) -> anyhow::Result<Exit> {
    let servers = connect::describe_servers(&request.consumer);
    let (message, notice) = (format!("Connecting to {servers}"), format!("no answer from {servers} yet"));
    let consumer = session.patiently(&message, &notice, Consumer::new(&request.consumer)).await.map_err(unwrapped)?;
    let producer = session.patiently(&message, &notice, Producer::connect(&request.producer)).await?;
    if !consumer.list_topics().await.map_err(unwrapped)?.contains(&request.topic) {
        create_topic(session, request).await?;
    }
    start_at_the_end(&consumer, &request.topic).await.map_err(unwrapped)?;

    let mut random = JavaRandom::new(0);
    let mut latencies = Latencies::new();
    for number in 0..request.records {
        let key = random.one_letter(request.key_size);
        let value = random.one_letter(request.record_size);
        let headers: Vec<RecordHeader> = (0..request.headers)
            .map(|_| RecordHeader {
                key: random.one_letter(request.header_key_size).into(),
                value: request.header_value_size.map(|size| random.one_letter(size).into()),
            })
            .collect();
        let record =
            ProducerRecord { topic: &request.topic, key: Some(&key), value: Some(&value), headers: &headers, ..Default::default() };
        let began = Instant::now();
        producer.send(record).await?.wait().await?;
        let received = consumer.poll(POLL_TIMEOUT).await.map_err(unwrapped)?;
        let elapsed = began.elapsed();
        if let Err(error) = check(&received, &key, &value, &headers) {
            // Kafka's tool leaves its position behind as well.
            let _ = consumer.commit_sync().await;
            return Err(error.into());
        }
        let us = elapsed.as_micros() as u64;
        latencies.record(us);
        if number % PROGRESS_EVERY == 0 && session.format() != Format::Json {
            writeln!(session.out, "{number}\t{}", double(elapsed.as_nanos() as f64 / 1000.0 / 1000.0))?;
            session.out.flush()?;
        }
    }
    print(session, request, &latencies)?;
    consumer.commit_sync().await.map_err(unwrapped)?;
    producer.close(CLOSE_WITHIN).await;
    consumer.close(CLOSE_WITHIN).await.map_err(unwrapped)?;
    Ok(Exit::SUCCESS)
}

async fn create_topic(session: &mut Session, request: &Request) -> anyhow::Result<()> {
    let topic = &request.topic;
    if session.format() != Format::Json {
        writeln!(session.out, "Topic \"{topic}\" does not exist. Will create topic with 1 partition(s) and replication factor = 1")?;
        session.out.flush()?;
    }
    let admin = Admin::connect(&request.admin).await?;
    let new = NewTopic { name: topic.clone(), num_partitions: Some(1), replication_factor: Some(1), ..Default::default() };
    let created = admin.create_topics(&[new], false).await.remove(topic);
    if let Some(Err(error)) = created {
        if session.compat() {
            writeln!(session.out, "Creation of topic {topic} failed")?;
        }
        return Err(anyhow::Error::from(error).context(format!("topic '{topic}' was not created")));
    }
    Ok(())
}

/// Reads all partitions from behind their last records.
async fn start_at_the_end(consumer: &Consumer, topic: &str) -> Result<(), ConsumerError> {
    let count = consumer.partitions_for(topic).await?.partitions.len();
    let partitions: Vec<TopicPartition> = (0..count).map(|partition| TopicPartition::new(topic, partition as i32)).collect();
    consumer.assign(partitions.iter().cloned());
    consumer.seek_to_end(&partitions)?;
    for partition in &partitions {
        consumer.position(partition).await?;
    }
    Ok(())
}

/// Is it the one record that was sent?
fn check(received: &[ConsumerRecord], key: &[u8], value: &[u8], headers: &[RecordHeader]) -> Result<(), Failure> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let record = match received {
        [] => {
            let limit = POLL_TIMEOUT.as_millis();
            return Err(Failure::new(format!("poll() timed out before finding a result (timeout:[{limit}ms])")));
        }
        [record, ..] => record,
    };
    let differs = |what: &str, read: &Option<Bytes>, sent: &[u8]| match read {
        Some(read) if read == sent => Ok(()),
        Some(read) => {
            Err(Failure::new(format!("The message {what} read [{}] did not match the message {what} sent [{}]", text(read), text(sent))))
        }
        None => Err(Failure::new(format!("Expected message {what} but received null"))),
    };
    differs("value", &record.value, value)?;
    differs("key", &record.key, key)?;
    if !headers.is_empty() && record.headers != headers {
        let message = match record.headers.len() {
            0 => "Expected message headers but received none",
            count if count != headers.len() => "Header count mismatch between sent and received messages",
            _ => "The message headers read did not match the message headers sent",
        };
        return Err(Failure::new(message));
    }
    match received.len() {
        1 => Ok(()),
        count => Err(Failure::new(format!("Only one result was expected during this test. We found [{count}]"))
            .advise("the topic must be nobody else's while the test runs")),
    }
}

fn print(session: &mut Session, request: &Request, latencies: &Latencies) -> anyhow::Result<()> {
    if session.format() == Format::Json {
        let result = json!({ "type": "total", "records": request.records, "latencyMs": latencies.to_json() });
        return print_json(session, &result);
    }
    let whole = session.format() == Format::Plain;
    let [p50, p99, p999] = [50.0, 99.0, 99.9].map(|percent| milliseconds(latencies.percentile_us(percent), whole));
    writeln!(session.out, "Avg latency: {} ms", fixed(latencies.mean_ms(), 4))?;
    writeln!(session.out, "Percentiles: 50th = {p50}, 99th = {p99}, 99.9th = {p999}")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::consumer::TimestampType;

    fn record(key: Option<&'static str>, value: &'static str, headers: &[RecordHeader]) -> ConsumerRecord {
        ConsumerRecord {
            topic: "t".into(),
            partition: 0,
            offset: 0,
            leader_epoch: None,
            timestamp: 0,
            timestamp_type: TimestampType::CreateTime,
            key: key.map(Bytes::from),
            value: Some(value.into()),
            headers: headers.to_vec(),
        }
    }

    #[test]
    fn only_the_record_that_was_sent_will_do() {
        let header = RecordHeader { key: "h".into(), value: None };
        let checked =
            |received: &[ConsumerRecord], headers: &[RecordHeader]| check(received, b"k", b"v", headers).map_err(|failure| failure.message);
        let sent = record(Some("k"), "v", std::slice::from_ref(&header));
        assert_eq!(checked(std::slice::from_ref(&sent), std::slice::from_ref(&header)), Ok(()));
        assert_eq!(checked(std::slice::from_ref(&sent), &[]), Ok(()));
        let refused = |received: &[ConsumerRecord]| checked(received, std::slice::from_ref(&header)).unwrap_err();
        assert_eq!(refused(&[]), "poll() timed out before finding a result (timeout:[60000ms])");
        assert_eq!(refused(&[record(Some("k"), "w", &[])]), "The message value read [w] did not match the message value sent [v]");
        assert_eq!(refused(&[record(None, "v", &[])]), "Expected message key but received null");
        assert_eq!(refused(&[record(Some("k"), "v", &[])]), "Expected message headers but received none");
        assert_eq!(refused(&[sent.clone(), sent]), "Only one result was expected during this test. We found [2]");
    }
}
