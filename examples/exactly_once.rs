//! Exactly once: reads a topic, doubles each number, writes another topic; the offsets read and the records written are one transaction.
//!
//! `exactly_once BOOTSTRAP_SERVERS FROM TO GROUP TRANSACTIONAL_ID [consumer property=value ...]` works until it is killed, and goes on where
//! it was when it is started again: kill it at any point, and readers of committed records still find each number doubled once.
//! `tests/interop/run` does so.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example prints what it does")]

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, anyhow};
use ottla::client::consumer::{Consumer, OffsetAndMetadata};
use ottla::client::{ClientConfig, ClientError, ClientKind, Producer, ProducerRecord, TransactionError};
use ottla::common::topic_partition::TopicPartition;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [servers, from, to, group, transactional_id, properties @ ..] = arguments.as_slice() else {
        return Err(anyhow!("usage: exactly_once BOOTSTRAP_SERVERS FROM TO GROUP TRANSACTIONAL_ID [PROPERTY=VALUE ...]"));
    };
    loop {
        let producer = Producer::connect(
            &ClientConfig::builder(ClientKind::Producer)
                .flag("bootstrap.servers", servers)
                .flag("transactional.id", transactional_id)
                .property("transaction.timeout.ms", "10000")
                .build()?,
        )
        .await?;
        // Before anything is read: what an earlier run had open is completed now, so that its offsets are known.
        producer.init_transactions().await?;
        let mut config = ClientConfig::builder(ClientKind::Consumer)
            .flag("bootstrap.servers", servers)
            .flag("group.id", group)
            .property("enable.auto.commit", "false")
            .property("auto.offset.reset", "earliest")
            .property("isolation.level", "read_committed");
        for property in properties {
            let (key, value) = property.split_once('=').context("a property is PROPERTY=VALUE")?;
            config = config.property(key, value);
        }
        let consumer = Consumer::new(&config.build()?).await?;
        consumer.subscribe([from.as_str()])?;
        match copy(&consumer, &producer, to).await {
            // Whoever comes next starts from what was committed.
            Err(error) if may_go_on(&error) => eprintln!("begins again: {error:#}"),
            outcome => return outcome,
        }
        drop(consumer);
        producer.close(Duration::from_secs(5)).await;
    }
}

/// Is it an error after which the transaction could be aborted?
fn may_go_on(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ClientError::Transaction(TransactionError::Abortable(_)) | ClientError::TimedOut { .. }))
}

async fn copy(consumer: &Consumer, producer: &Producer, to: &str) -> anyhow::Result<()> {
    loop {
        let records = consumer.poll(Duration::from_millis(500)).await?;
        if records.is_empty() {
            continue;
        }
        producer.begin_transaction()?;
        let mut offsets: BTreeMap<TopicPartition, OffsetAndMetadata> = BTreeMap::new();
        for record in &records {
            let number: i64 = std::str::from_utf8(record.value.as_deref().unwrap_or_default())?.trim().parse()?;
            let value = (2 * number).to_string();
            let key = record.key.as_deref();
            producer.send(ProducerRecord { topic: to, key, value: Some(value.as_bytes()), ..Default::default() }).await?;
            offsets.insert(TopicPartition::new(&*record.topic, record.partition), OffsetAndMetadata::from(record.offset + 1));
        }
        producer.send_offsets_to_transaction(&offsets, &consumer.group_metadata()?).await?;
        producer.commit_transaction().await?;
        println!("{}", records.len());
    }
}
