//! The runtime over a log in memory whose appends, commits and loads the test decides.

use std::sync::Mutex;

use tokio::sync::watch;

use super::*;
use crate::common::clock::SystemClock;
use crate::common::random::Random;
use crate::coordinator::group::config::GroupCoordinatorConfig;
use crate::coordinator::group::{ClientContext, GroupShard, ParkedResponse};
use crate::protocol::messages::join_group_request::JoinGroupRequestProtocol;
use crate::protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use crate::protocol::messages::{JoinGroupRequest, OffsetCommitRequest};

/// As a topic's `max.message.bytes`.
const MAX_MESSAGE_BYTES: usize = 1 << 20;

type Batches = Vec<Vec<(Bytes, Option<Bytes>)>>;

struct MemoryLog {
    batches: Mutex<Batches>,
    refuse: Mutex<Option<ErrorCode>>,
    /// Offsets below this are committed.
    committed: watch::Sender<i64>,
    /// Appends pass while this is true.
    appends_open: watch::Sender<bool>,
    /// Loading goes on while this is true.
    load_open: Mutex<std::sync::mpsc::Receiver<()>>,
}

impl MemoryLog {
    fn batches(&self) -> Batches {
        self.batches.lock().expect("no test panics while it holds this").clone()
    }

    fn commit_everything(&self) {
        self.committed.send_replace(i64::MAX);
    }
}

impl PartitionWriter for MemoryLog {
    async fn append(&self, _partition: i32, leader_epoch: i32, records: Vec<(Bytes, Option<Bytes>)>) -> Result<i64, ErrorCode> {
        assert_eq!(leader_epoch, 5);
        let mut open = self.appends_open.subscribe();
        open.wait_for(|open| *open).await.expect("the log outlives its writers");
        if let Some(error) = *self.refuse.lock().expect("no test panics while it holds this") {
            return Err(error);
        }
        if records.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Bytes::len)).sum::<usize>() > MAX_MESSAGE_BYTES {
            return Err(ErrorCode::MessageTooLarge);
        }
        let mut batches = self.batches.lock().expect("no test panics while it holds this");
        let base_offset = batches.iter().map(Vec::len).sum::<usize>() as i64;
        batches.push(records);
        Ok(base_offset)
    }

    async fn wait_until_committed(&self, _partition: i32, _leader_epoch: i32, offset: i64) -> Result<(), ErrorCode> {
        let mut committed = self.committed.subscribe();
        committed.wait_for(|committed| *committed >= offset).await.expect("the log outlives its writers");
        Ok(())
    }
}

impl Loader for MemoryLog {
    fn load(&self, _partition: i32, visit: &mut dyn FnMut(LogEntry)) -> Result<(), ErrorCode> {
        let _ = self.load_open.lock().expect("no test panics while it holds this").recv();
        for (offset, (key, value)) in self.batches().into_iter().flatten().enumerate() {
            visit(LogEntry::Record { offset: offset as i64, producer_id: None, key, value });
        }
        Ok(())
    }
}

struct Fixture {
    log: Arc<MemoryLog>,
    runtime: Arc<Runtime<GroupShard, MemoryLog>>,
    load: std::sync::mpsc::Sender<()>,
}

impl Fixture {
    fn new() -> Fixture {
        let (load, load_open) = std::sync::mpsc::channel();
        let log = Arc::new(MemoryLog {
            batches: Mutex::default(),
            refuse: Mutex::default(),
            committed: watch::Sender::new(0),
            appends_open: watch::Sender::new(true),
            load_open: Mutex::new(load_open),
        });
        let config = GroupCoordinatorConfig { initial_rebalance_delay_ms: 0, ..GroupCoordinatorConfig::default() };
        let new_shard = move |_| GroupShard::new(config.clone(), Arc::default(), Random::new(1));
        let runtime = Arc::new(Runtime::new(Arc::clone(&log), SystemClock::shared(), 60_000, new_shard));
        Fixture { log, runtime, load }
    }

    /// A partition that is loaded.
    async fn loaded() -> Fixture {
        let fixture = Fixture::new();
        fixture.runtime.load(0, 5);
        fixture.finish_load().await;
        fixture
    }

    async fn finish_load(&self) {
        self.load.send(()).expect("somebody loads");
        while self.runtime.read(0, |_| ()).await == Err(ErrorCode::CoordinatorLoadInProgress) {
            tokio::task::yield_now().await;
        }
    }

    fn commit(&self, offset: i64) -> tokio::task::JoinHandle<Result<(), ErrorCode>> {
        let runtime = Arc::clone(&self.runtime);
        tokio::spawn(async move {
            let committed = runtime.append(0, move |shard, now| shard.commit_offsets(now, &client(), &commit_request(offset)));
            committed.await.map(drop)
        })
    }

    async fn offset(&self) -> Result<Option<i64>, ErrorCode> {
        self.runtime.read(0, |shard| shard.offsets().get("g", "t", 0).map(|o| o.committed_offset)).await
    }
}

fn client() -> ClientContext {
    ClientContext { client_id: "c".to_owned(), client_host: "/127.0.0.1".to_owned(), api_version: 3 }
}

fn commit_request(offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition { committed_offset: offset, ..OffsetCommitRequestPartition::default() };
    let topic = OffsetCommitRequestTopic { name: "t".to_owned(), partitions: vec![partition], ..OffsetCommitRequestTopic::default() };
    OffsetCommitRequest { group_id: "g".to_owned(), topics: vec![topic], ..OffsetCommitRequest::default() }
}

fn join_request() -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: "g".to_owned(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![JoinGroupRequestProtocol { name: "range".to_owned(), ..JoinGroupRequestProtocol::default() }],
        ..JoinGroupRequest::default()
    }
}

#[tokio::test]
async fn a_partition_that_is_not_here_is_another_brokers() {
    let fixture = Fixture::new();
    assert_eq!(fixture.offset().await, Err(ErrorCode::NotCoordinator));
}

#[tokio::test]
async fn while_a_partition_loads_clients_are_told_so() {
    let fixture = Fixture::new();
    fixture.runtime.load(0, 5);
    assert_eq!(fixture.offset().await, Err(ErrorCode::CoordinatorLoadInProgress));
    fixture.finish_load().await;
    assert_eq!(fixture.offset().await, Ok(None));
}

#[tokio::test]
async fn an_answer_waits_until_its_records_are_committed() {
    let fixture = Fixture::loaded().await;
    let commit = fixture.commit(7);
    while fixture.log.batches().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(!commit.is_finished());
    fixture.log.commit_everything();
    assert_eq!(commit.await.expect("no panic"), Ok(()));
    assert_eq!(fixture.offset().await, Ok(Some(7)));
}

#[tokio::test]
async fn a_reader_sees_only_what_is_committed() {
    let fixture = Fixture::loaded().await;
    let commit = fixture.commit(7);
    while fixture.log.batches().is_empty() {
        tokio::task::yield_now().await;
    }
    let read = {
        let runtime = Arc::clone(&fixture.runtime);
        tokio::spawn(async move { runtime.read(0, |shard| shard.offsets().has_any("g")).await })
    };
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!read.is_finished(), "it has looked at an offset that may yet be lost");
    fixture.log.commit_everything();
    assert_eq!(read.await.expect("no panic"), Ok(true));
    assert_eq!(commit.await.expect("no panic"), Ok(()));
}

#[tokio::test]
async fn commits_that_queue_up_share_a_batch() {
    let fixture = Fixture::loaded().await;
    fixture.log.commit_everything();
    fixture.log.appends_open.send_replace(false);
    let commits: Vec<_> = (0..50).map(|offset| fixture.commit(offset)).collect();
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    fixture.log.appends_open.send_replace(true);
    for commit in commits {
        assert_eq!(commit.await.expect("no panic"), Ok(()));
    }
    let batches = fixture.log.batches();
    assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), 50);
    assert!(batches.len() <= 3, "{} batches", batches.len());
}

#[tokio::test]
async fn what_cannot_be_appended_is_not_state() {
    let fixture = Fixture::loaded().await;
    fixture.log.commit_everything();
    *fixture.log.refuse.lock().expect("free") = Some(ErrorCode::NotEnoughReplicas);
    assert_eq!(fixture.commit(7).await.expect("no panic"), Err(ErrorCode::CoordinatorNotAvailable));
    *fixture.log.refuse.lock().expect("free") = None;
    assert_eq!(fixture.offset().await, Ok(None));
    assert_eq!(fixture.commit(8).await.expect("no panic"), Ok(()));
    assert_eq!(fixture.offset().await, Ok(Some(8)));
}

#[tokio::test]
async fn a_parked_request_is_answered_by_a_deadline() {
    let fixture = Fixture::loaded().await;
    fixture.log.commit_everything();
    let joined = fixture.runtime.park(0, |shard, now, waiter| shard.join_group(now, &client(), join_request(), waiter)).await;
    match joined {
        Ok(ParkedResponse::Join(response)) => assert_eq!((response.error_code, response.generation_id), (0, 1)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn those_who_wait_when_a_partition_moves_are_told() {
    let fixture = Fixture::loaded().await;
    let commit = fixture.commit(7);
    while fixture.log.batches().is_empty() {
        tokio::task::yield_now().await;
    }
    fixture.runtime.unload(0);
    assert_eq!(commit.await.expect("no panic"), Err(ErrorCode::NotCoordinator));
    assert_eq!(fixture.offset().await, Err(ErrorCode::NotCoordinator));
}

#[tokio::test]
async fn a_shard_comes_back_from_its_log() {
    let fixture = Fixture::loaded().await;
    fixture.log.commit_everything();
    assert_eq!(fixture.commit(7).await.expect("no panic"), Ok(()));
    fixture.runtime.unload(0);
    fixture.runtime.load(0, 5);
    fixture.finish_load().await;
    assert_eq!(fixture.offset().await, Ok(Some(7)));
    // Hearing of the same epoch again changes nothing.
    fixture.runtime.load(0, 5);
    assert_eq!(fixture.offset().await, Ok(Some(7)));
    assert_eq!(fixture.runtime.partitions(), [0]);
}

/// A commit of so many partitions, of about four thousand bytes each.
fn large_request(group_id: &str, partitions: i32) -> OffsetCommitRequest {
    let partition = |partition_index| OffsetCommitRequestPartition {
        partition_index,
        committed_metadata: Some("m".repeat(4000)),
        ..OffsetCommitRequestPartition::default()
    };
    let mut request = commit_request(0);
    request.group_id = group_id.to_owned();
    request.topics[0].partitions = (0..partitions).map(partition).collect();
    request
}

#[tokio::test]
async fn an_operation_does_not_fail_because_it_shares_a_batch() {
    let fixture = Fixture::loaded().await;
    fixture.log.commit_everything();
    fixture.log.appends_open.send_replace(false);
    let first = fixture.commit(1);
    let later = [100, 200].map(|partitions| {
        let runtime = Arc::clone(&fixture.runtime);
        let request = large_request("g", partitions);
        tokio::spawn(async move { runtime.append(0, move |shard, now| shard.commit_offsets(now, &client(), &request)).await.map(drop) })
    });
    // All have been sent to the shard by now.
    tokio::task::yield_now().await;
    fixture.log.appends_open.send_replace(true);
    assert_eq!(first.await.expect("no panic"), Ok(()));
    for commit in later {
        assert_eq!(commit.await.expect("no panic"), Ok(()));
    }
}

#[tokio::test]
async fn what_is_divisible_goes_into_as_many_batches_as_it_takes() {
    let fixture = Fixture::loaded().await;
    fixture.log.commit_everything();
    let write = |divisible: bool| {
        fixture.runtime.write(0, move |shard: &mut GroupShard, now| {
            let (_, effects) = shard.commit_offsets(now, &client(), &large_request("g", 300))?;
            Ok(((), Effects { divisible, ..effects }))
        })
    };
    assert_eq!(write(false).await, Err(ErrorCode::UnknownServerError));
    assert!(fixture.log.batches().is_empty());
    assert_eq!(write(true).await, Ok(()));
    let batches = fixture.log.batches();
    assert_eq!((batches.len(), batches.iter().map(Vec::len).sum::<usize>()), (3, 300));
    let known = fixture.runtime.read(0, |shard| (0..300).filter(|&it| shard.offsets().get("g", "t", it).is_some()).count()).await;
    assert_eq!(known, Ok(300));
}
