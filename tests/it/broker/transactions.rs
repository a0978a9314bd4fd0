//! Transactions over the wire, in the classic protocol and with transaction.version 2, and over a kill.

use ottla::common::topic_partition::TopicPartition;
use ottla::protocol::messages::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use ottla::protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use ottla::protocol::messages::txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic};
use ottla::protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use ottla::protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, DescribeTransactionsRequest, EndTxnRequest, EndTxnResponse, FindCoordinatorRequest,
    InitProducerIdRequest, ListOffsetsRequest, ListTransactionsRequest, OffsetFetchRequest, TxnOffsetCommitRequest, WriteTxnMarkersRequest,
};

use super::*;

const READ_COMMITTED: i8 = 1;

/// What clients ask again after: the transaction before is not complete, or a coordinator is still loading.
fn is_not_now(error: ErrorCode) -> bool {
    matches!(error, ErrorCode::ConcurrentTransactions | ErrorCode::CoordinatorLoadInProgress | ErrorCode::NotCoordinator)
}

/// One batch of one record of this moment: a much older one would go into another segment than the markers, and be deleted for its age.
fn batch_of_now(mut builder: BatchBuilder, value: &str) -> Bytes {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock that is set");
    builder.append(since_1970.as_millis() as i64, None, Some(value.as_bytes()), &[]).expect("a small record");
    builder.finish().expect("a batch")
}

/// A producer's side of the protocol, by hand.
pub(crate) struct Producer<'a> {
    connection: &'a mut Connection,
    id: &'static str,
    producer_id: i64,
    epoch: i16,
    sequence: i32,
    /// With transaction.version 2.
    bumps_epoch: bool,
}

impl<'a> Producer<'a> {
    pub(crate) fn new(connection: &'a mut Connection, id: &'static str, bumps_epoch: bool) -> Producer<'a> {
        let find = FindCoordinatorRequest { key_type: 1, coordinator_keys: vec![id.to_owned()], ..Default::default() };
        assert_eq!(connection.call(&find, 5).coordinators[0].error_code, 0);
        let mut producer = Producer { connection, id, producer_id: -1, epoch: -1, sequence: 0, bumps_epoch };
        while let Err(error) = producer.init(60_000) {
            assert!(is_not_now(error), "{error:?}");
            std::thread::yield_now();
        }
        producer
    }

    fn init(&mut self, timeout_ms: i32) -> Result<(), ErrorCode> {
        let request =
            InitProducerIdRequest { transactional_id: Some(self.id.to_owned()), transaction_timeout_ms: timeout_ms, ..Default::default() };
        let response = self.connection.call(&request, 5);
        ErrorCode::from_code(response.error_code).into_result()?;
        (self.producer_id, self.epoch, self.sequence) = (response.producer_id, response.producer_epoch, 0);
        Ok(())
    }

    fn add(&mut self, topic: &str, partitions: &[i32]) -> Vec<ErrorCode> {
        let request = AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: self.id.to_owned(),
            v3_and_below_producer_id: self.producer_id,
            v3_and_below_producer_epoch: self.epoch,
            v3_and_below_topics: vec![AddPartitionsToTxnTopic {
                name: topic.to_owned(),
                partitions: partitions.to_vec(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let results = self.connection.call(&request, 3).results_by_topic_v3_and_below;
        results.iter().flat_map(|topic| &topic.results_by_partition).map(|it| ErrorCode::from_code(it.partition_error_code)).collect()
    }

    /// Produces one record, again while the transaction before is being completed.
    pub(crate) fn send(&mut self, topic: &str, partition: i32, value: &str) -> ErrorCode {
        let builder = BatchBuilder::new(Compression::None).producer(self.producer_id, self.epoch, self.sequence).transactional(true);
        let mut request = produce_request(topic, partition, batch_of_now(builder, value), -1);
        request.transactional_id = Some(self.id.to_owned());
        let version = if self.bumps_epoch { 12 } else { 11 };
        loop {
            let response = self.connection.call(&request, version).responses.remove(0).partition_responses.remove(0);
            let error = ErrorCode::from_code(response.error_code);
            if error != ErrorCode::ConcurrentTransactions {
                self.sequence += i32::from(error == ErrorCode::None);
                return error;
            }
        }
    }

    fn end(&mut self, commit: bool) -> EndTxnResponse {
        let request = EndTxnRequest {
            transactional_id: self.id.to_owned(),
            producer_id: self.producer_id,
            producer_epoch: self.epoch,
            committed: commit,
            ..Default::default()
        };
        self.connection.call(&request, if self.bumps_epoch { 5 } else { 4 })
    }

    /// Ends the transaction and takes over the next epoch.
    pub(crate) fn finish(&mut self, commit: bool) {
        let response = self.end(commit);
        assert_eq!(ErrorCode::from_code(response.error_code), ErrorCode::None);
        if self.bumps_epoch {
            (self.producer_id, self.epoch, self.sequence) = (response.producer_id, response.producer_epoch, 0);
        }
    }

    fn commit_offset(&mut self, group: &str, topic: &str, offset: i64) -> ErrorCode {
        let partition = TxnOffsetCommitRequestPartition { committed_offset: offset, ..Default::default() };
        let topic = TxnOffsetCommitRequestTopic { name: topic.to_owned(), partitions: vec![partition], ..Default::default() };
        let request = TxnOffsetCommitRequest {
            transactional_id: self.id.to_owned(),
            group_id: group.to_owned(),
            producer_id: self.producer_id,
            producer_epoch: self.epoch,
            topics: vec![topic],
            ..Default::default()
        };
        let version = if self.bumps_epoch { 5 } else { 4 };
        loop {
            let error = ErrorCode::from_code(self.connection.call(&request, version).topics[0].partitions[0].error_code);
            if !is_not_now(error) {
                return error;
            }
        }
    }

    fn state(&mut self) -> String {
        let request = DescribeTransactionsRequest { transactional_ids: vec![self.id.to_owned()], ..Default::default() };
        self.connection.call(&request, 0).transaction_states.remove(0).transaction_state
    }

    fn wait_for(&mut self, state: &str) {
        while self.state() != state {
            std::thread::yield_now();
        }
    }
}

/// The values that a reader of this isolation level sees, as a consumer filters them, and the last stable offset.
fn read(connection: &mut Connection, topic: &str, isolation_level: i8) -> (Vec<String>, i64) {
    let mut request = fetch_request(topic, 0, 0);
    request.isolation_level = isolation_level;
    let data = only_partition(connection.call(&request, 12));
    let mut aborted = data.aborted_transactions.clone().unwrap_or_default();
    aborted.sort_by_key(|it| it.first_offset);
    let bytes = data.records.as_ref().and_then(Records::as_bytes).cloned().unwrap_or_default();
    let mut values = Vec::new();
    let mut skipping = std::collections::BTreeSet::new();
    for batch in ottla::protocol::batch::Batches::new(&bytes) {
        let batch = batch.expect("a whole batch");
        let header = batch.header();
        while aborted.first().is_some_and(|it| it.first_offset <= header.last_offset()) {
            skipping.insert(aborted.remove(0).producer_id);
        }
        if header.is_control() {
            skipping.remove(&header.producer_id);
        } else if !skipping.contains(&header.producer_id) {
            values.extend(batch.records().map(|it| String::from_utf8_lossy(&it.expect("a record").value.unwrap_or_default()).into_owned()));
        }
    }
    (values, data.last_stable_offset)
}

fn latest(connection: &mut Connection, topic: &str, isolation_level: i8) -> i64 {
    use ottla::protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
    let partition = ListOffsetsPartition { timestamp: -1, ..Default::default() };
    let topic = ListOffsetsTopic { name: topic.to_owned(), partitions: vec![partition], ..Default::default() };
    let request = ListOffsetsRequest { replica_id: -1, isolation_level, topics: vec![topic], ..Default::default() };
    connection.call(&request, 7).topics[0].partitions[0].offset
}

/// A group's committed offset for partition 0, or why there is none to be told.
fn committed_offset(connection: &mut Connection, group: &str, topic: &str, require_stable: bool) -> Result<i64, ErrorCode> {
    let topics = vec![OffsetFetchRequestTopics { name: topic.to_owned(), partition_indexes: vec![0], ..Default::default() }];
    let groups = vec![OffsetFetchRequestGroup { group_id: group.to_owned(), topics: Some(topics), ..Default::default() }];
    let request = OffsetFetchRequest { groups, require_stable, ..Default::default() };
    let mut response = connection.call(&request, 8);
    while is_not_now(ErrorCode::from_code(response.groups[0].error_code)) {
        response = connection.call(&request, 8);
    }
    let partition = &response.groups[0].topics[0].partitions[0];
    ErrorCode::from_code(partition.error_code).into_result().map(|()| partition.committed_offset)
}

#[test]
fn a_transaction_is_seen_whole_or_not_at_all() {
    let broker = Broker::start();
    let (mut connection, mut reader) = (broker.connect(), broker.connect());
    connection.create_topic("t", 1);
    for bumps_epoch in [false, true] {
        let mut producer = Producer::new(&mut connection, if bumps_epoch { "new" } else { "classic" }, bumps_epoch);
        let before = read(&mut reader, "t", READ_COMMITTED).0;
        let end = latest(&mut reader, "t", READ_COMMITTED);
        for (commit, value) in [(true, "kept"), (false, "dropped"), (true, "kept too")] {
            if !bumps_epoch {
                while producer.add("t", &[0]) == [ErrorCode::ConcurrentTransactions] {}
            }
            let seen = read(&mut reader, "t", READ_COMMITTED);
            assert_eq!(producer.send("t", 0, value), ErrorCode::None);
            assert_eq!(read(&mut reader, "t", READ_COMMITTED), seen, "an open transaction is hidden");
            assert_eq!(latest(&mut reader, "t", READ_COMMITTED), seen.1);
            assert_eq!(latest(&mut reader, "t", 0), seen.1 + 1);
            producer.finish(commit);
            producer.wait_for(if commit { "CompleteCommit" } else { "CompleteAbort" });
        }
        let (values, last_stable_offset) = read(&mut reader, "t", READ_COMMITTED);
        assert_eq!(values, [before, vec!["kept".to_owned(), "kept too".to_owned()]].concat());
        assert_eq!(last_stable_offset, end + 6, "three records and three markers");
    }
    assert_eq!(read(&mut reader, "t", 0).0.len(), 6);
}

#[test]
fn a_zombie_is_fenced_everywhere() {
    let broker = Broker::start();
    let (mut first, mut second) = (broker.connect(), broker.connect());
    first.create_topic("t", 1);
    let find = FindCoordinatorRequest { key_type: 0, coordinator_keys: vec!["g".to_owned()], ..Default::default() };
    assert_eq!(first.call(&find, 5).coordinators[0].error_code, 0);
    let mut zombie = Producer::new(&mut first, "id", true);
    assert_eq!(zombie.send("t", 0, "unfinished"), ErrorCode::None);
    let mut successor = Producer::new(&mut second, "id", true);
    assert_eq!((successor.producer_id, successor.epoch), (zombie.producer_id, zombie.epoch + 2));
    assert_eq!(zombie.send("t", 0, "zombie"), ErrorCode::InvalidProducerEpoch);
    assert_eq!(zombie.end(true).error_code, ErrorCode::ProducerFenced.code());
    zombie.bumps_epoch = false;
    assert_eq!(zombie.add("t", &[0]), [ErrorCode::ProducerFenced]);
    assert_eq!(zombie.commit_offset("g", "t", 1), ErrorCode::InvalidProducerEpoch);
    assert_eq!(successor.send("t", 0, "successor"), ErrorCode::None);
    successor.finish(true);
    successor.wait_for("CompleteCommit");
    assert_eq!(read(successor.connection, "t", READ_COMMITTED).0, ["successor"]);
}

#[test]
fn records_outside_of_any_transaction_are_kept_out() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    connection.create_topic("t", 2);
    let mut producer = Producer::new(&mut connection, "id", false);
    assert_eq!(producer.send("t", 0, "not added"), ErrorCode::TransactionAbortable);
    assert_eq!(producer.add("t", &[0, 7]), [ErrorCode::OperationNotAttempted, ErrorCode::UnknownTopicOrPartition]);
    assert_eq!(producer.add("t", &[0]), [ErrorCode::None]);
    assert_eq!(producer.send("t", 0, "added"), ErrorCode::None);
    assert_eq!(producer.send("t", 1, "not added"), ErrorCode::TransactionAbortable);
    // A broker that asks on behalf of another gets one answer a partition.
    let transaction = AddPartitionsToTxnTransaction {
        transactional_id: "id".to_owned(),
        producer_id: producer.producer_id,
        producer_epoch: producer.epoch,
        verify_only: true,
        topics: vec![AddPartitionsToTxnTopic { name: "t".to_owned(), partitions: vec![0, 1], ..Default::default() }],
        ..Default::default()
    };
    let request = AddPartitionsToTxnRequest { transactions: vec![transaction], ..Default::default() };
    let results = producer.connection.call(&request, 5).results_by_transaction.remove(0).topic_results.remove(0);
    let errors: Vec<i16> = results.results_by_partition.iter().map(|it| it.partition_error_code).collect();
    assert_eq!(errors, [0, ErrorCode::TransactionAbortable.code()]);
    // Without a transactional id nobody may write transactional records.
    let builder = BatchBuilder::new(Compression::None).producer(producer.producer_id, producer.epoch, 1).transactional(true);
    let refused = producer.connection.produce("t", 0, batch_of_now(builder, "x"), -1);
    assert_eq!(refused.error_code, ErrorCode::TransactionalIdAuthorizationFailed.code());
}

#[test]
fn offsets_are_committed_with_their_transaction() {
    let broker = Broker::start();
    let (mut connection, mut reader) = (broker.connect(), broker.connect());
    connection.create_topic("t", 1);
    let find = FindCoordinatorRequest { key_type: 0, coordinator_keys: vec!["g".to_owned()], ..Default::default() };
    assert_eq!(reader.call(&find, 5).coordinators[0].error_code, 0);
    for bumps_epoch in [false, true] {
        let mut producer = Producer::new(&mut connection, "id", bumps_epoch);
        for (commit, offset) in [(true, 7), (false, 9)] {
            let before = committed_offset(&mut reader, "g", "t", false);
            if !bumps_epoch {
                let request = AddOffsetsToTxnRequest {
                    transactional_id: "id".to_owned(),
                    producer_id: producer.producer_id,
                    producer_epoch: producer.epoch,
                    group_id: "g".to_owned(),
                    ..Default::default()
                };
                while producer.connection.call(&request, 3).error_code == ErrorCode::ConcurrentTransactions.code() {}
            }
            assert_eq!(producer.commit_offset("g", "t", offset), ErrorCode::None);
            assert_eq!(committed_offset(&mut reader, "g", "t", false), before, "pending offsets are not told");
            assert_eq!(committed_offset(&mut reader, "g", "t", true), Err(ErrorCode::UnstableOffsetCommit));
            producer.finish(commit);
            producer.wait_for(if commit { "CompleteCommit" } else { "CompleteAbort" });
            assert_eq!(committed_offset(&mut reader, "g", "t", true), Ok(7));
        }
    }
}

#[test]
fn what_was_decided_before_a_kill_happens_after_it() {
    let (_keep, dir) = data_dir();
    let broker = Broker::start_in(&dir);
    let mut connection = broker.connect();
    connection.create_topic("t", 1);
    connection.create_topic("open", 1);
    let mut other = broker.connect();
    let mut left_open = Producer::new(&mut other, "open", true);
    assert_eq!(left_open.send("open", 0, "unfinished"), ErrorCode::None);
    let mut producer = Producer::new(&mut connection, "id", true);
    for n in 0..20 {
        assert_eq!(producer.send("t", 0, &n.to_string()), ErrorCode::None);
        producer.finish(n % 2 == 0);
    }
    // The markers of the last one may or may not be written.
    broker.kill();

    let broker = Broker::start_in(&dir);
    let (mut connection, mut other) = (broker.connect(), broker.connect());
    let even: Vec<String> = (0..20).step_by(2).map(|n: i32| n.to_string()).collect();
    while read(&mut connection, "t", READ_COMMITTED).0 != even {}
    assert_eq!(read(&mut connection, "open", READ_COMMITTED), (vec![], 0));
    assert_eq!(read(&mut connection, "open", 0).0, ["unfinished"]);
    let request = ListTransactionsRequest { state_filters: vec!["Ongoing".to_owned(), "Nonsense".to_owned()], ..Default::default() };
    let mut listed = other.call(&request, 1);
    while is_not_now(ErrorCode::from_code(listed.error_code)) {
        listed = other.call(&request, 1);
    }
    assert_eq!(listed.transaction_states.iter().map(|it| it.transactional_id.as_str()).collect::<Vec<_>>(), ["open"]);
    assert_eq!(listed.unknown_state_filters, ["Nonsense"]);
    // Its successor ends it.
    let mut successor = Producer::new(&mut other, "open", true);
    assert_eq!(successor.send("open", 0, "finished"), ErrorCode::None);
    successor.finish(true);
    successor.wait_for("CompleteCommit");
    assert_eq!(read(&mut connection, "open", READ_COMMITTED).0, ["finished"]);
}

#[test]
fn a_transaction_times_out() {
    let options = ["--ephemeral", "--override", "transaction.abort.timed.out.transaction.cleanup.interval.ms=20"];
    let broker = Broker::start_with(&options);
    let mut connection = broker.connect();
    connection.create_topic("t", 1);
    let mut producer = Producer::new(&mut connection, "id", true);
    producer.init(500).expect("another epoch");
    assert_eq!(producer.init(0), Err(ErrorCode::InvalidTransactionTimeout));
    assert_eq!(producer.init(900_001), Err(ErrorCode::InvalidTransactionTimeout));
    // On a very slow machine it may be too late already.
    let _ = producer.send("t", 0, "late");
    producer.wait_for("CompleteAbort");
    assert_eq!(producer.end(true).error_code, ErrorCode::InvalidTxnState.code());
    let ended = producer.end(false);
    assert_eq!((ended.error_code, ended.producer_epoch), (0, producer.epoch + 1));
    assert_eq!(read(&mut connection, "t", READ_COMMITTED).0, Vec::<String>::new());
}

#[test]
fn an_operator_ends_a_hanging_transaction() {
    let broker = Broker::start();
    let mut connection = broker.connect();
    connection.create_topic("t", 1);
    let mut producer = Producer::new(&mut connection, "id", false);
    assert_eq!(producer.add("t", &[0]), [ErrorCode::None]);
    assert_eq!(producer.send("t", 0, "hanging"), ErrorCode::None);
    let marker = |partition: TopicPartition, coordinator_epoch| WriteTxnMarkersRequest {
        markers: vec![WritableTxnMarker {
            producer_id: producer.producer_id,
            producer_epoch: producer.epoch,
            coordinator_epoch,
            topics: vec![WritableTxnMarkerTopic {
                name: partition.topic,
                partition_indexes: vec![partition.partition],
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let (good, unknown, zombie) =
        (marker(TopicPartition::new("t", 0), 5), marker(TopicPartition::new("t", 9), 5), marker(TopicPartition::new("t", 0), 4));
    let error = |connection: &mut Connection, request: WriteTxnMarkersRequest| {
        ErrorCode::from_code(connection.call(&request, 2).markers[0].topics[0].partitions[0].error_code)
    };
    assert_eq!(error(&mut connection, good), ErrorCode::None);
    assert_eq!(error(&mut connection, unknown), ErrorCode::UnknownTopicOrPartition);
    assert_eq!(error(&mut connection, zombie), ErrorCode::TransactionCoordinatorFenced);
    assert_eq!(latest(&mut connection, "t", READ_COMMITTED), 2);
    assert_eq!(read(&mut connection, "t", READ_COMMITTED).0, Vec::<String>::new());
}
