//! Groups and offsets, request by request. Many of these situations are those of Kafka's `GroupMetadataManagerTest`.

pub(super) mod acknowledged;
mod admin;
mod membership;
mod offsets;
mod records;
mod static_members;

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::classic_group::CONSUMER_PROTOCOL_TYPE;
use super::*;
use crate::common::uuid::Uuid;
use crate::metadata::delta::MetadataDelta;
use crate::metadata::image::Provenance;
use crate::metadata::record::MetadataRecord;
use crate::protocol::codec::{Message, Writer};
use crate::protocol::messages::join_group_request::JoinGroupRequestProtocol;
use crate::protocol::messages::leave_group_request::MemberIdentity;
use crate::protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use crate::protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use crate::protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use crate::protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use crate::protocol::messages::{
    ConsumerProtocolSubscription, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, OffsetCommitRequest, OffsetDeleteRequest,
    SyncGroupRequest,
};
use crate::protocol::messages::{PartitionRecord, TopicRecord};

pub(super) const TOPIC_ID: Uuid = Uuid::from_u128(77);

pub(super) fn subscription(topics: &[&str]) -> Bytes {
    let mut writer = Writer::new();
    writer.i16(0);
    let message = ConsumerProtocolSubscription {
        topics: topics.iter().map(|&topic| topic.to_owned()).collect(),
        ..ConsumerProtocolSubscription::default()
    };
    message.encode(&mut writer, 0).expect("a subscription of version 0");
    writer.into_bytes()
}

/// Metadata of this version with these topics: name, id, number of partitions.
pub(super) fn image_with_topics(version: i64, topics: &[(&str, Uuid, i32)]) -> Arc<MetadataImage> {
    let mut delta = MetadataDelta::new(Arc::default());
    let mut replay = |record: MetadataRecord| delta.replay(&record).expect("a record that fits");
    for &(name, topic_id, partitions) in topics {
        replay(MetadataRecord::Topic(TopicRecord { name: name.to_owned(), topic_id, ..TopicRecord::default() }));
        for partition_id in 0..partitions {
            replay(MetadataRecord::Partition(PartitionRecord {
                topic_id,
                partition_id,
                replicas: vec![1],
                isr: vec![1],
                leader: 1,
                ..PartitionRecord::default()
            }));
        }
    }
    Arc::new(delta.apply(Provenance { offset: version, ..Provenance::default() }))
}

/// A shard with its log and its clients.
pub(super) struct Harness {
    pub(super) shard: GroupShard,
    pub(super) now: Now,
    pub(super) log: Vec<(Bytes, Option<Bytes>)>,
    /// How long the log was after each batch.
    pub(super) batch_ends: Vec<usize>,
    /// Which records of the log are of a producer's transaction, and before which record a transaction ended, and how.
    producers: BTreeMap<usize, i64>,
    transaction_ends: Vec<(usize, i64, bool)>,
    pub(super) answers: HashMap<WaiterId, ParkedResponse>,
    pub(super) held: Option<Vec<AfterCommit>>,
    pub(super) waiters: u64,
    pub(super) api_version: i16,
}

impl Harness {
    fn new() -> Harness {
        Harness::with(GroupCoordinatorConfig::default())
    }

    pub(super) fn with(config: GroupCoordinatorConfig) -> Harness {
        Harness::at(config, Arc::default())
    }

    pub(super) fn at(config: GroupCoordinatorConfig, image: Arc<MetadataImage>) -> Harness {
        Harness {
            shard: GroupShard::new(config, image, Random::new(1)),
            now: Now { wall_ms: 1_000_000, monotonic_ms: 0 },
            log: Vec::new(),
            batch_ends: Vec::new(),
            producers: BTreeMap::new(),
            transaction_ends: Vec::new(),
            answers: HashMap::new(),
            held: None,
            waiters: 0,
            api_version: 9,
        }
    }

    pub(super) fn client(&self) -> ClientContext {
        ClientContext { client_id: "client".to_owned(), client_host: "/127.0.0.1".to_owned(), api_version: self.api_version }
    }

    /// The cluster has these topics from now on.
    pub(super) fn set_topics(&mut self, version: i64, topics: &[(&str, Uuid, i32)]) {
        let old = Arc::clone(self.shard.topics().image());
        let new = image_with_topics(version, topics);
        let mut delta = TopicsDelta::default();
        for topic in new.topics.iter() {
            let before = old.topics.topic(&topic.name);
            delta.created |= before.is_none_or(|before| before.id != topic.id);
            if before.is_none_or(|before| before != topic) {
                delta.changed.insert(topic.name.clone());
            }
        }
        let gone = old.topics.iter().filter(|topic| new.topics.topic(&topic.name).is_none());
        delta.changed.extend(gone.map(|topic| topic.name.clone()));
        self.shard.on_new_metadata_image(new, &delta);
    }

    pub(super) fn apply(&mut self, effects: Effects) {
        self.apply_in(None, effects);
    }

    /// The records are appended within this producer's transaction, if any.
    pub(super) fn apply_in(&mut self, producer_id: Option<i64>, effects: Effects) {
        let is_batch = !effects.records.is_empty();
        for completed in effects.completed {
            let twice = self.answers.insert(completed.waiter, completed.response);
            assert!(twice.is_none(), "{:?} was answered twice", completed.waiter);
        }
        for record in effects.records {
            let (key, value) = record.encode().expect("a record that can be written");
            let mut read = GroupRecord::decode(key.clone(), value.clone()).expect("readable").expect("of a known type");
            if let (GroupRecord::OffsetCommit(_, Some(read)), GroupRecord::OffsetCommit(_, Some(written))) = (&mut read, &record)
                && written.expire_timestamp != -1
            {
                // The version of the record that has a time of expiry has no topic id.
                read.topic_id = written.topic_id;
            }
            assert_eq!(read, record);
            if let Some(producer_id) = producer_id {
                self.producers.insert(self.log.len(), producer_id);
            }
            self.log.push((key, value));
            let offset = self.log.len() as i64 - 1;
            match producer_id {
                Some(_) => self.shard.replay_record(offset, producer_id, record),
                None if effects.replay => self.shard.replay(offset, record),
                None => {}
            }
        }
        if is_batch {
            self.batch_ends.push(self.log.len());
        }
        match (&mut self.held, effects.after_commit) {
            (Some(held), Some(after)) => held.push(after),
            (None, Some(after)) => {
                let effects = self.shard.committed(after, Ok(()), self.now);
                self.apply(effects);
            }
            (_, None) => {}
        }
    }

    /// A transaction's marker is written.
    pub(super) fn end_transaction(&mut self, producer_id: i64, commit: bool) {
        self.transaction_ends.push((self.log.len(), producer_id, commit));
        self.shard.replay_end_transaction(producer_id, commit);
    }

    /// The log loses what comes after `len` records, which was never committed.
    pub(super) fn lose(&mut self, len: usize) {
        self.log.truncate(len);
        self.batch_ends.retain(|end| *end <= len);
        self.producers.split_off(&len);
    }

    pub(super) fn release(&mut self, result: Result<(), ErrorCode>) {
        for after in self.held.take().unwrap_or_default() {
            let effects = self.shard.committed(after, result, self.now);
            self.apply(effects);
        }
    }

    /// Lets time pass, deadline by deadline.
    pub(super) fn advance(&mut self, ms: u64) {
        let end = self.now.monotonic_ms + ms;
        loop {
            match self.shard.next_deadline() {
                Some(deadline) if deadline <= end => {
                    let step = deadline.saturating_sub(self.now.monotonic_ms);
                    self.now = Now { wall_ms: self.now.wall_ms + step as i64, monotonic_ms: self.now.monotonic_ms + step };
                    if let Some(effects) = self.shard.poll(self.now) {
                        self.apply(effects);
                    }
                }
                _ => break,
            }
        }
        let step = end - self.now.monotonic_ms;
        self.now = Now { wall_ms: self.now.wall_ms + step as i64, monotonic_ms: end };
    }

    pub(super) fn waiter(&mut self) -> WaiterId {
        self.waiters += 1;
        WaiterId(self.waiters)
    }

    pub(super) fn join_request(&self, member_id: &str) -> JoinGroupRequest {
        JoinGroupRequest {
            group_id: "g".to_owned(),
            member_id: member_id.to_owned(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 30_000,
            protocol_type: CONSUMER_PROTOCOL_TYPE.to_owned(),
            protocols: vec![JoinGroupRequestProtocol {
                name: "range".to_owned(),
                metadata: subscription(&["t"]),
                ..JoinGroupRequestProtocol::default()
            }],
            ..JoinGroupRequest::default()
        }
    }

    pub(super) fn send_join(&mut self, request: JoinGroupRequest) -> WaiterId {
        let waiter = self.waiter();
        let effects = self.shard.join_group(self.now, &self.client(), request, waiter);
        self.apply(effects);
        waiter
    }

    pub(super) fn send_sync(&mut self, member_id: &str, generation_id: i32, assignments: &[(&str, &str)]) -> WaiterId {
        self.send_sync_request(SyncGroupRequest {
            group_id: "g".to_owned(),
            member_id: member_id.to_owned(),
            generation_id,
            assignments: assignments
                .iter()
                .map(|&(member_id, assignment)| SyncGroupRequestAssignment {
                    member_id: member_id.to_owned(),
                    assignment: Bytes::copy_from_slice(assignment.as_bytes()),
                    ..SyncGroupRequestAssignment::default()
                })
                .collect(),
            ..SyncGroupRequest::default()
        })
    }

    fn send_sync_request(&mut self, request: SyncGroupRequest) -> WaiterId {
        let waiter = self.waiter();
        let effects = self.shard.sync_group(self.now, request, waiter);
        self.apply(effects);
        waiter
    }

    fn joined(&mut self, waiter: WaiterId) -> JoinGroupResponse {
        match self.answers.remove(&waiter) {
            Some(ParkedResponse::Join(response)) => response,
            other => panic!("a JoinGroup response wanted, got {other:?}"),
        }
    }

    fn synced(&mut self, waiter: WaiterId) -> SyncGroupResponse {
        match self.answers.remove(&waiter) {
            Some(ParkedResponse::Sync(response)) => response,
            other => panic!("a SyncGroup response wanted, got {other:?}"),
        }
    }

    fn is_parked(&self, waiter: WaiterId) -> bool {
        !self.answers.contains_key(&waiter)
    }

    /// A member id, by the detour of KIP-394.
    fn member_id(&mut self) -> String {
        let waiter = self.send_join(self.join_request(""));
        let response = self.joined(waiter);
        assert_eq!(response.error_code, ErrorCode::MemberIdRequired.code());
        response.member_id
    }

    /// A stable group of dynamic members: their ids, the leader first.
    fn stable_group(&mut self, size: usize) -> Vec<String> {
        let ids: Vec<String> = (0..size).map(|_| self.member_id()).collect();
        let waiters: Vec<WaiterId> = ids.iter().map(|id| self.send_join(self.join_request(id))).collect();
        self.advance(60_000.min(3_000 * (size as u64 + 1)));
        let responses: Vec<JoinGroupResponse> = waiters.iter().map(|&w| self.joined(w)).collect();
        self.sync_all(&responses)
    }

    fn sync_all(&mut self, responses: &[JoinGroupResponse]) -> Vec<String> {
        let leader = responses[0].leader.clone();
        let generation = responses[0].generation_id;
        let mut ids: Vec<String> = responses.iter().map(|r| r.member_id.clone()).collect();
        ids.sort_by_key(|id| *id != leader);
        let assignments: Vec<(String, String)> = ids.iter().map(|id| (id.clone(), format!("of {id}"))).collect();
        let borrowed: Vec<(&str, &str)> = assignments.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let mut waiters = Vec::new();
        for id in ids.iter().rev() {
            waiters.push((id.clone(), self.send_sync(id, generation, if *id == leader { &borrowed } else { &[] })));
        }
        for (id, waiter) in waiters {
            let response = self.synced(waiter);
            assert_eq!(response.error_code, 0);
            assert_eq!(response.assignment, format!("of {id}").as_bytes());
        }
        assert_eq!(self.state(), ClassicGroupState::Stable);
        ids
    }

    fn state(&self) -> ClassicGroupState {
        self.group().state()
    }

    fn group(&self) -> &ClassicGroup {
        self.shard.classic_group("g").expect("the group exists")
    }

    fn generation(&self) -> i32 {
        self.group().generation_id()
    }

    pub(super) fn heartbeat(&mut self, member_id: &str, generation_id: i32) -> Result<(), ErrorCode> {
        let request =
            HeartbeatRequest { group_id: "g".to_owned(), member_id: member_id.to_owned(), generation_id, ..HeartbeatRequest::default() };
        self.shard.heartbeat(self.now, &request)
    }

    pub(super) fn leave(&mut self, members: &[(&str, Option<&str>)]) -> Vec<i16> {
        let request = LeaveGroupRequest {
            group_id: "g".to_owned(),
            members: members
                .iter()
                .map(|&(id, instance)| MemberIdentity {
                    member_id: id.to_owned(),
                    group_instance_id: instance.map(str::to_owned),
                    ..MemberIdentity::default()
                })
                .collect(),
            ..LeaveGroupRequest::default()
        };
        let (response, effects) = self.shard.leave_group(self.now, &request);
        self.apply(effects);
        response.members.iter().map(|m| m.error_code).collect()
    }

    pub(super) fn commit_request(
        &self,
        member_id: &str,
        generation_id: i32,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> OffsetCommitRequest {
        OffsetCommitRequest {
            group_id: "g".to_owned(),
            member_id: member_id.to_owned(),
            generation_id_or_member_epoch: generation_id,
            topics: vec![OffsetCommitRequestTopic {
                name: topic.to_owned(),
                topic_id: TOPIC_ID,
                partitions: vec![OffsetCommitRequestPartition {
                    partition_index: partition,
                    committed_offset: offset,
                    committed_metadata: Some("m".to_owned()),
                    ..OffsetCommitRequestPartition::default()
                }],
                ..OffsetCommitRequestTopic::default()
            }],
            ..OffsetCommitRequest::default()
        }
    }

    pub(super) fn commit(&mut self, request: &OffsetCommitRequest) -> Result<i16, ErrorCode> {
        let (response, effects) = self.shard.commit_offsets(self.now, &self.client(), request)?;
        self.apply(effects);
        Ok(response.topics[0].partitions[0].error_code)
    }

    fn fetch(&self, topic: &str, partition: i32) -> i64 {
        self.fetch_by_id(topic, TOPIC_ID, partition)
    }

    fn fetch_by_id(&self, topic: &str, topic_id: Uuid, partition: i32) -> i64 {
        let request = OffsetFetchRequestGroup {
            group_id: "g".to_owned(),
            topics: Some(vec![OffsetFetchRequestTopics {
                name: topic.to_owned(),
                topic_id,
                partition_indexes: vec![partition],
                ..OffsetFetchRequestTopics::default()
            }]),
            ..OffsetFetchRequestGroup::default()
        };
        self.shard.fetch_offsets(&request, false).topics[0].partitions[0].committed_offset
    }

    fn delete_offset(&mut self, topic: &str) -> Result<i16, ErrorCode> {
        let request = OffsetDeleteRequest {
            group_id: "g".to_owned(),
            topics: vec![OffsetDeleteRequestTopic {
                name: topic.to_owned(),
                partitions: vec![OffsetDeleteRequestPartition { partition_index: 0, ..OffsetDeleteRequestPartition::default() }],
                ..OffsetDeleteRequestTopic::default()
            }],
            ..OffsetDeleteRequest::default()
        };
        let (response, effects) = self.shard.delete_offsets(&request)?;
        self.apply(effects);
        Ok(response.topics[0].partitions[0].error_code)
    }

    /// A new shard from nothing but the log.
    pub(super) fn restarted(&self) -> Harness {
        let mut next = Harness::at(self.shard.config().clone(), Arc::clone(self.shard.topics().image()));
        next.now = self.now;
        let mut ends = self.transaction_ends.iter().peekable();
        for at in 0..=self.log.len() {
            while let Some((_, producer_id, commit)) = ends.next_if(|(place, ..)| *place == at) {
                next.shard.load(LogEntry::EndTransaction { producer_id: *producer_id, commit: *commit });
            }
            if let Some((key, value)) = self.log.get(at) {
                let producer_id = self.producers.get(&at).copied();
                next.shard.load(LogEntry::Record { offset: at as i64, producer_id, key: key.clone(), value: value.clone() });
            }
        }
        next.log.clone_from(&self.log);
        next.batch_ends.clone_from(&self.batch_ends);
        next.producers.clone_from(&self.producers);
        next.transaction_ends.clone_from(&self.transaction_ends);
        let effects = next.shard.on_loaded(next.now);
        next.apply(effects);
        next
    }
}

fn instance(request: JoinGroupRequest, instance: &str) -> JoinGroupRequest {
    JoinGroupRequest { group_instance_id: Some(instance.to_owned()), ..request }
}

fn with_protocols(request: JoinGroupRequest, names: &[&str]) -> JoinGroupRequest {
    let protocols = names
        .iter()
        .map(|&name| JoinGroupRequestProtocol {
            name: name.to_owned(),
            metadata: subscription(&["t"]),
            ..JoinGroupRequestProtocol::default()
        })
        .collect();
    JoinGroupRequest { protocols, ..request }
}
