//! The consumer's fetch sessions, as a scripted broker sees them.

use std::time::Duration;

use ottla::client::config::{ClientConfig, ClientKind};
use ottla::client::consumer::Consumer;
use ottla::common::topic_partition::TopicPartition;
use ottla::protocol::batch::BatchBuilder;
use ottla::protocol::compression::Compression;
use ottla::protocol::error_code::ErrorCode;
use ottla::protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use ottla::protocol::messages::{FetchRequest, FetchResponse, MetadataRequest};

use super::fake_broker::{Action, Bound, FakeBroker, metadata, metadata_for};

const SESSION: i32 = 9;

/// Partitions 0 and 1 of `t`. Each fetch of partition 0 brings a record, up to offset 3; partition 1 is empty. The session is forgotten
/// once, at the epoch `forget_at`.
async fn broker(mut forget_at: Option<i32>) -> FakeBroker {
    let bound = Bound::new().await;
    let port = bound.port();
    let bound = bound.on::<MetadataRequest>(move |request, _| metadata_for(&request, metadata(&[(1, port)], &[("t", &[1, 1])], 0)));
    let mut offset = 0;
    let bound = bound.on::<FetchRequest>(move |request, _| {
        if request.session_epoch < 0 {
            return Action::Answer(FetchResponse::default());
        }
        if forget_at.take_if(|epoch| *epoch == request.session_epoch).is_some() {
            return Action::Answer(FetchResponse { error_code: ErrorCode::FetchSessionIdNotFound.code(), ..Default::default() });
        }
        let asked: Vec<(i32, i64)> =
            request.topics.iter().flat_map(|topic| topic.partitions.iter().map(|it| (it.partition, it.fetch_offset))).collect();
        if let Some((_, at)) = asked.iter().find(|(partition, _)| *partition == 0) {
            offset = *at;
        }
        if offset == 3 {
            // As a broker that has nothing new.
            return Action::Silence;
        }
        let mut builder = BatchBuilder::new(Compression::None).base_offset(offset).partition_leader_epoch(0);
        builder.append(1, None, Some(b"v"), &[]).expect("fits");
        let data = |partition_index, records: Option<bytes::Bytes>| PartitionData {
            partition_index,
            high_watermark: 3,
            last_stable_offset: 3,
            records: records.map(Into::into),
            ..Default::default()
        };
        let mut partitions = vec![data(0, Some(builder.finish().expect("a batch")))];
        if request.session_epoch == 0 {
            partitions.push(data(1, None));
        }
        let topic = FetchableTopicResponse { topic: "t".to_owned(), partitions, ..Default::default() };
        Action::Answer(FetchResponse { session_id: SESSION, responses: vec![topic], ..Default::default() })
    });
    bound.start()
}

/// Reads all three records; gives session id, epoch and partitions of each fetch.
async fn fetches(broker: &FakeBroker) -> Vec<(i32, i32, Vec<(i32, i64)>)> {
    let builder = ClientConfig::builder(ClientKind::Consumer).flag("bootstrap.servers", broker.servers());
    let config = builder.property("max.poll.records", "1").build().expect("valid");
    let consumer = Consumer::new(&config).await.expect("connects");
    let partitions = [TopicPartition::new("t", 0), TopicPartition::new("t", 1)];
    consumer.assign(partitions.clone());
    for partition in &partitions {
        consumer.seek(partition, 0).expect("assigned");
    }
    for offset in 0..3 {
        let records = consumer.poll(Duration::from_secs(60)).await.expect("records");
        assert_eq!(records[0].offset, offset);
    }
    consumer.close(Duration::from_secs(60)).await.expect("closes");
    let requests = broker.requests::<FetchRequest>().into_iter().map(|(_, request)| {
        let topics = request.topics.iter();
        let asked = topics.flat_map(|topic| topic.partitions.iter().map(|it| (it.partition, it.fetch_offset))).collect();
        (request.session_id, request.session_epoch, asked)
    });
    requests.collect()
}

#[tokio::test]
async fn later_fetches_only_say_what_changed() {
    let broker = broker(None).await;
    let fetches = fetches(&broker).await;
    assert_eq!(fetches[0].1, 0);
    let full = fetches.iter().position(|(_, epoch, asked)| *epoch == 0 && asked.len() == 2).expect("a full fetch");
    assert_eq!(fetches[full + 1], (SESSION, 1, vec![(0, fetches[full].2[0].1 + 1)]), "partition 1 has not changed");
}

#[tokio::test]
async fn a_forgotten_session_is_begun_anew_and_nothing_is_lost() {
    let broker = broker(Some(1)).await;
    let fetches = fetches(&broker).await;
    let forgotten = fetches.iter().position(|(_, epoch, _)| *epoch == 1).expect("an incremental fetch");
    let (id, epoch, asked) = &fetches[forgotten + 1];
    assert_eq!((*id, *epoch, asked.len()), (0, 0, 2), "everything again");
}
