//! Consumer groups, heartbeat by heartbeat. Many of these situations are those of Kafka's `GroupMetadataManagerTest`.

mod heartbeat;
mod invariants;
mod migration;
mod sim;

use std::collections::BTreeSet;

use bytes::Bytes;

use super::*;
use crate::coordinator::group::modern::TopicPartitions;
use crate::coordinator::group::tests::Harness;
use crate::coordinator::group::{Effects, Group, GroupCoordinatorConfig, ParkedResponse, WaiterId, subscription};
use crate::protocol::codec::{Message, Writer};
use crate::protocol::messages::consumer_group_heartbeat_request::TopicPartitions as RequestTopicPartitions;
use crate::protocol::messages::join_group_request::JoinGroupRequestProtocol;
use crate::protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, ConsumerProtocolSubscription, JoinGroupRequest, JoinGroupResponse,
};

const FOO: Uuid = Uuid::from_u128(0xf00);
const BAR: Uuid = Uuid::from_u128(0xba4);

/// A shard whose cluster has the topics `foo`, of six partitions, and `bar`, of three.
fn harness() -> Harness {
    harness_with(GroupCoordinatorConfig::default())
}

fn harness_with(config: GroupCoordinatorConfig) -> Harness {
    let mut h = Harness::with(config);
    h.set_topics(1, &[("foo", FOO, 6), ("bar", BAR, 3)]);
    h
}

/// A first heartbeat.
fn joining(member_id: &str, topics: &[&str]) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: "g".to_owned(),
        member_id: member_id.to_owned(),
        member_epoch: 0,
        rebalance_timeout_ms: 30_000,
        subscribed_topic_names: Some(topics.iter().map(|&topic| topic.to_owned()).collect()),
        topic_partitions: Some(Vec::new()),
        ..ConsumerGroupHeartbeatRequest::default()
    }
}

/// A heartbeat of a member that owns these partitions.
fn alive(member_id: &str, member_epoch: i32, owned: &TopicPartitions) -> ConsumerGroupHeartbeatRequest {
    let topic = |(&topic_id, partitions): (&Uuid, &BTreeSet<i32>)| RequestTopicPartitions {
        topic_id,
        partitions: partitions.iter().copied().collect(),
        ..RequestTopicPartitions::default()
    };
    ConsumerGroupHeartbeatRequest {
        group_id: "g".to_owned(),
        member_id: member_id.to_owned(),
        member_epoch,
        rebalance_timeout_ms: -1,
        topic_partitions: Some(owned.iter().map(topic).collect()),
        ..ConsumerGroupHeartbeatRequest::default()
    }
}

fn leaving(member_id: &str, member_epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest { topic_partitions: None, ..alive(member_id, member_epoch, &TopicPartitions::new()) }
}

fn with_instance(request: ConsumerGroupHeartbeatRequest, instance: &str) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest { instance_id: Some(instance.to_owned()), ..request }
}

impl Harness {
    fn beat(&mut self, request: ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse {
        let (response, effects) = self.shard.consumer_group_heartbeat(self.now, &self.client(), request);
        self.apply(effects);
        self.resolve_all();
        response
    }

    /// As [`Harness::beat`], of a heartbeat that is to succeed.
    fn beat_ok(&mut self, request: ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse {
        let response = self.beat(request);
        assert_eq!(response.error_code, 0, "{:?}", response.error_message);
        response
    }

    fn resolve_all(&mut self) {
        while let Some(resolution) = self.shard.take_regex_resolution() {
            let resolved = resolve_regexes(&resolution);
            let effects = self.shard.regexes_resolved(self.now, &resolution.group_id, Some(resolved));
            self.apply(effects);
        }
    }

    fn consumer_group(&self) -> &ConsumerGroup {
        self.shard.consumer_group("g").expect("a consumer group")
    }

    /// Members heartbeat, owning what they are given, until none is given anything new. Their epochs and partitions.
    fn settle(&mut self, members: &[&str]) -> BTreeMap<String, (i32, TopicPartitions)> {
        let mut known: BTreeMap<String, (i32, TopicPartitions)> = BTreeMap::new();
        for &id in members {
            let member = self.consumer_group().member(id).expect("a member");
            known.insert(id.to_owned(), (member.member_epoch, member::without_epochs(&member.assigned_partitions)));
        }
        for round in 0..10 {
            self.advance(1_000);
            let mut changed = false;
            for (id, (epoch, owned)) in &mut known {
                let response = self.beat_ok(alive(id, *epoch, owned));
                changed |= response.member_epoch != *epoch || response.assignment.is_some();
                *epoch = response.member_epoch;
                if let Some(assignment) = response.assignment {
                    *owned = assigned(assignment);
                }
            }
            // What a heartbeat has resolved is seen by the next.
            if !changed && round > 1 {
                break;
            }
        }
        known
    }
}

fn assigned(assignment: crate::protocol::messages::consumer_group_heartbeat_response::Assignment) -> TopicPartitions {
    assignment.topic_partitions.into_iter().map(|topic| (topic.topic_id, topic.partitions.into_iter().collect())).collect()
}

fn count(partitions: &TopicPartitions) -> usize {
    partitions.values().map(BTreeSet::len).sum()
}

/// The subscription of a classic member.
fn classic_subscription(topics: &[&str]) -> Bytes {
    let mut writer = Writer::new();
    writer.i16(1);
    let message = ConsumerProtocolSubscription {
        topics: topics.iter().map(|&topic| topic.to_owned()).collect(),
        ..ConsumerProtocolSubscription::default()
    };
    message.encode(&mut writer, 1).expect("a subscription of version 1");
    writer.into_bytes()
}

fn classic_join(member_id: &str, topics: &[&str]) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: "g".to_owned(),
        member_id: member_id.to_owned(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 30_000,
        protocol_type: CONSUMER_PROTOCOL_TYPE.to_owned(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".to_owned(),
            metadata: classic_subscription(topics),
            ..JoinGroupRequestProtocol::default()
        }],
        ..JoinGroupRequest::default()
    }
}
