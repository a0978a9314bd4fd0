//! Groups and their committed offsets. Asked of each group's coordinator; lists of every broker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::{Admin, Results, all_failed, authorized_operations, spread};
use crate::client::committed::{OffsetAndMetadata, offset_commit_topics};
use crate::client::error::{ApiError, ClientError};
use crate::client::metadata::Broker;
use crate::common::topic_partition::{TopicPartition, by_topic};
use crate::protocol::api_key::ApiKey;
use crate::protocol::codec::{DecodeError, Message, Reader};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::consumer_group_describe_response::{self, Assignment};
use crate::protocol::messages::describe_groups_response;
use crate::protocol::messages::leave_group_request::MemberIdentity;
use crate::protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use crate::protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics};
use crate::protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerProtocolAssignment, DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest,
    LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest,
};

macro_rules! named {
    ($(#[$doc:meta])* $type:ident { $($variant:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $type { $($variant),* }

        impl $type {
            /// Every value but the unknown one.
            pub const ALL: &[$type] = &[$($type::$variant),*];

            /// As the wire and Kafka's tools write it.
            pub fn name(self) -> &'static str {
                match self { $($type::$variant => stringify!($variant)),* }
            }

            /// By name, in any case; what is not known is `Unknown`.
            pub fn parse(name: &str) -> $type {
                $type::ALL.iter().copied().find(|it| it.name().eq_ignore_ascii_case(name)).unwrap_or($type::Unknown)
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
pub(super) use named;

named! {
    /// A group's state.
    GroupState { Unknown, PreparingRebalance, CompletingRebalance, Stable, Dead, Empty, Assigning, Reconciling, NotReady }
}

named! {
    /// A group's kind.
    GroupType { Unknown, Consumer, Classic, Share, Streams }
}

/// A group as brokers list it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
    pub group_id: String,
    /// `None` from brokers that do not tell (before Kafka 3.8).
    pub type_: Option<GroupType>,
    /// `consumer`, `connect`, empty and so on.
    pub protocol: String,
    /// `None` from brokers that do not tell (before Kafka 2.6).
    pub state: Option<GroupState>,
}

impl GroupListing {
    /// A group without members that only has committed offsets.
    pub fn is_simple_consumer_group(&self) -> bool {
        self.type_.is_none_or(|type_| type_ == GroupType::Classic) && self.protocol.is_empty()
    }
}

/// Which groups to list; empty sets mean all. The brokers filter by state and type, this side by protocol.
#[derive(Clone, Debug, Default)]
pub struct ListGroupsFilter {
    pub states: Vec<GroupState>,
    pub types: Vec<GroupType>,
    pub protocols: Vec<String>,
}

/// What the brokers that answered listed, by group id, and the brokers that failed.
#[derive(Clone, Debug, Default)]
pub struct ListedGroups {
    pub groups: Vec<GroupListing>,
    pub errors: Vec<(i32, ClientError)>,
}

/// A group of consumers, of the classic protocol or KIP-848's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupDescription {
    pub group_id: String,
    pub is_simple_consumer_group: bool,
    /// By member id.
    pub members: Vec<MemberDescription>,
    pub partition_assignor: String,
    pub type_: GroupType,
    pub state: GroupState,
    pub coordinator: Broker,
    pub authorized_operations: Option<i32>,
    /// Of KIP-848 groups.
    pub group_epoch: Option<i32>,
    pub target_assignment_epoch: Option<i32>,
}

/// A member of a consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDescription {
    pub member_id: String,
    pub group_instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub client_id: String,
    pub host: String,
    pub assignment: BTreeSet<TopicPartition>,
    /// Of KIP-848 members.
    pub target_assignment: Option<BTreeSet<TopicPartition>>,
    pub member_epoch: Option<i32>,
    /// In a KIP-848 group: does it speak that protocol, not the classic one?
    pub upgraded: Option<bool>,
}

/// Any group of the classic protocol, its members' data undecoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicGroupDescription {
    pub group_id: String,
    pub protocol: String,
    pub protocol_data: String,
    pub members: Vec<ClassicMemberDescription>,
    pub state: GroupState,
    pub coordinator: Broker,
    pub authorized_operations: Option<i32>,
}

/// A member of a classic group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicMemberDescription {
    pub member_id: String,
    pub group_instance_id: Option<String>,
    pub client_id: String,
    pub host: String,
    pub metadata: Bytes,
    pub assignment: Bytes,
}

/// A member to remove, by either of its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberToRemove {
    pub member_id: String,
    pub group_instance_id: Option<String>,
}

/// Groups that turned out not to be KIP-848's, and what the broker said to that.
#[derive(Default)]
struct Refused(Mutex<BTreeMap<String, Option<String>>>);

impl Refused {
    fn insert(&self, group: String, message: Option<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(group, message);
    }

    fn contains(&self, group: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(group)
    }

    fn message(&self, group: &str) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(group).cloned().flatten()
    }
}

impl Admin {
    /// Asks every broker for its groups. Brokers that fail are named beside what the others listed.
    pub async fn list_groups(&self, filter: &ListGroupsFilter) -> Result<ListedGroups, ClientError> {
        self.describe_cluster(false).await?;
        let request = ListGroupsRequest {
            states_filter: filter.states.iter().map(|state| state.name().to_owned()).collect(),
            types_filter: filter.types.iter().map(|type_| type_.name().to_owned()).collect(),
            ..Default::default()
        };
        let mut listed = ListedGroups::default();
        let mut seen = BTreeMap::new();
        let metadata = self.cluster.metadata();
        for broker in metadata.brokers.keys() {
            let outcome = self
                .retried("listGroups", || async {
                    let response = self.cluster.send_to(*broker, &request).await?;
                    ApiError::check(response.error_code, None)?;
                    Ok(response)
                })
                .await;
            match outcome {
                Err(error) => listed.errors.push((*broker, error)),
                Ok(response) => {
                    for group in response.groups {
                        if !filter.protocols.is_empty() && !filter.protocols.contains(&group.protocol_type) {
                            continue;
                        }
                        let listing = GroupListing {
                            group_id: group.group_id.clone(),
                            type_: (!group.group_type.is_empty()).then(|| GroupType::parse(&group.group_type)),
                            protocol: group.protocol_type,
                            state: (!group.group_state.is_empty()).then(|| GroupState::parse(&group.group_state)),
                        };
                        seen.insert(group.group_id, listing);
                    }
                }
            }
        }
        listed.groups = seen.into_values().collect();
        Ok(listed)
    }

    /// Describes consumer groups of either protocol. A group that does not exist is `GROUP_ID_NOT_FOUND` on brokers since Kafka 4.0, and a
    /// description in state `Dead` before.
    pub async fn describe_consumer_groups(&self, groups: &[String]) -> Results<String, ConsumerGroupDescription> {
        let classic = &Refused::default();
        self.rounds("describeConsumerGroups", groups.iter().cloned(), |pending: Vec<String>| async move {
            let (coordinators, mut results) = self.by_coordinator(&pending).await;
            let mut modern: BTreeMap<i32, Vec<String>> = BTreeMap::new();
            let mut old: BTreeMap<i32, Vec<String>> = BTreeMap::new();
            for (broker, groups) in coordinators {
                let serves = match self.cluster.connection(broker, crate::client::pool::Use::General).await {
                    Ok(connection) => connection.served().serves(ApiKey::ConsumerGroupDescribe),
                    // The request below finds the reason again.
                    Err(_) => true,
                };
                for group in groups {
                    let by_broker = if serves && !classic.contains(&group) { &mut modern } else { &mut old };
                    by_broker.entry(broker).or_default().push(group);
                }
            }
            let answers = self.to_brokers(modern, |connection, groups: &[String]| {
                let request = ConsumerGroupDescribeRequest { group_ids: groups.to_vec(), ..Default::default() };
                Ok((request, connection.version_of::<ConsumerGroupDescribeRequest>()?))
            });
            for (broker, groups, answer) in answers.await {
                match answer {
                    Err(error) => results.extend(all_failed(groups, &error)),
                    Ok((response, _)) => {
                        for group in response.groups {
                            match ErrorCode::from_code(group.error_code) {
                                ErrorCode::GroupIdNotFound | ErrorCode::UnsupportedVersion => {
                                    classic.insert(group.group_id.clone(), group.error_message);
                                    old.entry(broker).or_default().push(group.group_id);
                                }
                                code => {
                                    let outcome = ApiError::check(code.code(), group.error_message.clone());
                                    let id = group.group_id.clone();
                                    results.insert(id, outcome.map(|()| self.modern_group(broker, group)));
                                }
                            }
                        }
                    }
                }
            }
            for (id, outcome) in self.describe_classic_round(old).await {
                let outcome = outcome.and_then(|group| self.classic_consumer_group(group));
                let outcome = outcome.map_err(|error| match (&error, classic.message(&id)) {
                    // The first refusal says more than the second.
                    (ClientError::Api(ApiError { code: ErrorCode::GroupIdNotFound, .. }), Some(message)) => {
                        ApiError::new(ErrorCode::GroupIdNotFound, Some(message)).into()
                    }
                    _ => error,
                });
                results.insert(id, outcome);
            }
            results
        })
        .await
    }

    /// Describes groups of the classic protocol, whatever they are for.
    pub async fn describe_classic_groups(&self, groups: &[String]) -> Results<String, ClassicGroupDescription> {
        self.rounds("describeClassicGroups", groups.iter().cloned(), |pending: Vec<String>| async move {
            let (coordinators, mut results) = self.by_coordinator(&pending).await;
            results.extend(self.describe_classic_round(coordinators).await);
            results
        })
        .await
    }

    async fn describe_classic_round(&self, groups: BTreeMap<i32, Vec<String>>) -> Results<String, ClassicGroupDescription> {
        let mut results = BTreeMap::new();
        let answers = self.to_brokers(groups, |connection, groups: &[String]| {
            let request = DescribeGroupsRequest { groups: groups.to_vec(), ..Default::default() };
            Ok((request, connection.version_of::<DescribeGroupsRequest>()?))
        });
        for (broker, groups, answer) in answers.await {
            match answer {
                Err(error) => results.extend(all_failed(groups, &error)),
                Ok((response, _)) => {
                    for group in response.groups {
                        let outcome = ApiError::check(group.error_code, group.error_message.clone());
                        let id = group.group_id.clone();
                        results.insert(id, outcome.map(|()| self.classic_group(broker, group)));
                    }
                }
            }
        }
        results
    }

    pub(super) fn coordinator_node(&self, broker: i32) -> Broker {
        let unknown = Broker { id: broker, host: String::new(), port: -1, rack: None };
        self.cluster.metadata().brokers.get(&broker).cloned().unwrap_or(unknown)
    }

    fn modern_group(&self, broker: i32, group: consumer_group_describe_response::DescribedGroup) -> ConsumerGroupDescription {
        let partitions = |assignment: &Assignment| {
            let topics = assignment.topic_partitions.iter();
            topics.flat_map(|topic| topic.partitions.iter().map(|it| TopicPartition::new(topic.topic_name.clone(), *it))).collect()
        };
        let mut members: Vec<MemberDescription> = group
            .members
            .into_iter()
            .map(|member| MemberDescription {
                assignment: partitions(&member.assignment),
                target_assignment: Some(partitions(&member.target_assignment)),
                member_id: member.member_id,
                group_instance_id: member.instance_id,
                rack_id: member.rack_id,
                client_id: member.client_id,
                host: member.client_host,
                member_epoch: Some(member.member_epoch),
                upgraded: (member.member_type != -1).then_some(member.member_type == 1),
            })
            .collect();
        members.sort_by(|a, b| a.member_id.cmp(&b.member_id));
        ConsumerGroupDescription {
            group_id: group.group_id,
            is_simple_consumer_group: false,
            members,
            partition_assignor: group.assignor_name,
            type_: GroupType::Consumer,
            state: GroupState::parse(&group.group_state),
            coordinator: self.coordinator_node(broker),
            authorized_operations: authorized_operations(group.authorized_operations),
            group_epoch: Some(group.group_epoch),
            target_assignment_epoch: Some(group.assignment_epoch),
        }
    }

    fn classic_group(&self, broker: i32, group: describe_groups_response::DescribedGroup) -> ClassicGroupDescription {
        let mut members: Vec<ClassicMemberDescription> = group
            .members
            .into_iter()
            .map(|member| ClassicMemberDescription {
                member_id: member.member_id,
                group_instance_id: member.group_instance_id,
                client_id: member.client_id,
                host: member.client_host,
                metadata: member.member_metadata,
                assignment: member.member_assignment,
            })
            .collect();
        members.sort_by(|a, b| a.member_id.cmp(&b.member_id));
        ClassicGroupDescription {
            group_id: group.group_id,
            protocol: group.protocol_type,
            protocol_data: group.protocol_data,
            members,
            state: GroupState::parse(&group.group_state),
            coordinator: self.coordinator_node(broker),
            authorized_operations: authorized_operations(group.authorized_operations),
        }
    }

    fn classic_consumer_group(&self, group: ClassicGroupDescription) -> Result<ConsumerGroupDescription, ClientError> {
        if !matches!(group.protocol.as_str(), "consumer" | "") {
            let message = format!("GroupId {} is not a consumer group ({}).", group.group_id, group.protocol);
            return Err(ApiError::new(ErrorCode::InconsistentGroupProtocol, Some(message)).into());
        }
        let mut members = Vec::new();
        for member in group.members {
            let assignment = decode_assignment(&member.assignment).map_err(|error| {
                let message = format!("the assignment of member {} is malformed: {error}", member.member_id);
                ClientError::from(ApiError::new(ErrorCode::UnknownServerError, Some(message)))
            })?;
            members.push(MemberDescription {
                member_id: member.member_id,
                group_instance_id: member.group_instance_id,
                rack_id: None,
                client_id: member.client_id,
                host: member.host,
                assignment,
                target_assignment: None,
                member_epoch: None,
                upgraded: None,
            });
        }
        Ok(ConsumerGroupDescription {
            group_id: group.group_id,
            is_simple_consumer_group: group.protocol.is_empty(),
            members,
            partition_assignor: group.protocol_data,
            type_: GroupType::Classic,
            state: group.state,
            coordinator: group.coordinator,
            authorized_operations: group.authorized_operations,
            group_epoch: None,
            target_assignment_epoch: None,
        })
    }

    /// Deletes groups without members, their offsets included.
    pub async fn delete_groups(&self, groups: &[String]) -> Results<String, ()> {
        let request = |groups: &[String]| DeleteGroupsRequest { groups_names: groups.to_vec(), ..Default::default() };
        let read = |_, response: DeleteGroupsResponse| {
            response.results.into_iter().map(|it| (it.group_id, ApiError::check(it.error_code, None))).collect()
        };
        self.ask_coordinators("deleteConsumerGroups", groups.iter().cloned(), request, read).await
    }

    /// The committed offsets of a group, of all its partitions or of those given; `Ok(None)` where nothing is committed.
    /// With `require_stable` offsets of open transactions are waited for.
    pub async fn list_group_offsets(
        &self,
        group: &str,
        partitions: Option<&[TopicPartition]>,
        require_stable: bool,
    ) -> Result<Results<TopicPartition, Option<OffsetAndMetadata>>, ClientError> {
        let topics = partitions.map(|partitions| by_topic(partitions.iter().map(|it| (it.topic.clone(), it.partition))));
        // Version 10 and later name topics by id, which a caller who asks by name does not know.
        let build = |connection: &crate::client::conn::Connection| {
            let version = connection.version_up_to::<OffsetFetchRequest>(9)?;
            let mut request = OffsetFetchRequest { require_stable: require_stable && version >= 7, ..Default::default() };
            if version >= 8 {
                let topics = topics.as_ref().map(|topics| {
                    let topics = topics.iter().map(|(name, partitions)| OffsetFetchRequestTopics {
                        name: name.clone(),
                        partition_indexes: partitions.clone(),
                        ..Default::default()
                    });
                    topics.collect()
                });
                request.groups = vec![OffsetFetchRequestGroup { group_id: group.to_owned(), topics, ..Default::default() }];
            } else {
                request.group_id = group.to_owned();
                request.topics = topics.as_ref().map(|topics| {
                    let topics = topics.iter().map(|(name, partitions)| OffsetFetchRequestTopic {
                        name: name.clone(),
                        partition_indexes: partitions.clone(),
                        ..Default::default()
                    });
                    topics.collect()
                });
            }
            Ok((request, version))
        };
        let code = |response: &crate::protocol::messages::OffsetFetchResponse, version: i16| {
            let code = if version >= 8 { response.groups.first().map_or(0, |group| group.error_code) } else { response.error_code };
            let unstable = |code: i16| ErrorCode::from_code(code) == ErrorCode::UnstableOffsetCommit;
            let mut partitions = response.groups.iter().flat_map(|group| group.topics.iter().flat_map(|topic| topic.partitions.iter()));
            match ErrorCode::from_code(code) {
                ErrorCode::None if partitions.any(|partition| unstable(partition.error_code)) => ErrorCode::UnstableOffsetCommit,
                code => code,
            }
        };
        let (response, version) = self.on_coordinator("listConsumerGroupOffsets", group, build, code).await?;
        let mut results = BTreeMap::new();
        let mut add = |topic: &str, partition: i32, offset: i64, epoch: i32, metadata: Option<String>, code: i16| {
            let committed =
                OffsetAndMetadata { offset, leader_epoch: (epoch >= 0).then_some(epoch), metadata: metadata.unwrap_or_default() };
            let outcome = ApiError::check(code, None).map(|()| (offset >= 0).then_some(committed));
            results.insert(TopicPartition::new(topic, partition), outcome);
        };
        if version >= 8 {
            for topic in response.groups.into_iter().flat_map(|group| group.topics) {
                for it in topic.partitions {
                    add(&topic.name, it.partition_index, it.committed_offset, it.committed_leader_epoch, it.metadata, it.error_code);
                }
            }
        } else {
            for topic in response.topics {
                for it in topic.partitions {
                    add(&topic.name, it.partition_index, it.committed_offset, it.committed_leader_epoch, it.metadata, it.error_code);
                }
            }
        }
        Ok(results)
    }

    /// Commits offsets for a group without members.
    pub async fn alter_group_offsets(
        &self,
        group: &str,
        offsets: &BTreeMap<TopicPartition, OffsetAndMetadata>,
    ) -> Results<TopicPartition, ()> {
        let build = |connection: &crate::client::conn::Connection| {
            let request = OffsetCommitRequest {
                group_id: group.to_owned(),
                generation_id_or_member_epoch: -1,
                topics: offset_commit_topics(offsets),
                ..Default::default()
            };
            Ok((request, connection.version_up_to::<OffsetCommitRequest>(9)?))
        };
        let code = |response: &crate::protocol::messages::OffsetCommitResponse, _: i16| {
            coordinator_code(response.topics.iter().flat_map(|topic| topic.partitions.iter().map(|partition| partition.error_code)))
        };
        let outcome = self.on_coordinator("alterConsumerGroupOffsets", group, build, code).await.map(|(response, _)| {
            let results = response.topics.into_iter().flat_map(|topic| {
                topic.partitions.into_iter().map(move |partition| {
                    (TopicPartition::new(topic.name.clone(), partition.partition_index), ApiError::check(partition.error_code, None))
                })
            });
            results.collect()
        });
        spread(offsets.keys().cloned(), outcome)
    }

    /// Forgets committed offsets of partitions that no member of the group subscribes to.
    pub async fn delete_group_offsets(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Results<TopicPartition, ()>, ClientError> {
        let build = |connection: &crate::client::conn::Connection| {
            let topics = by_topic(partitions.iter().map(|it| {
                let entry = OffsetDeleteRequestPartition { partition_index: it.partition, ..Default::default() };
                (it.topic.clone(), entry)
            }));
            let topics = topics.into_iter().map(|(name, partitions)| OffsetDeleteRequestTopic { name, partitions, ..Default::default() });
            let request = OffsetDeleteRequest { group_id: group.to_owned(), topics: topics.collect(), ..Default::default() };
            Ok((request, connection.version_of::<OffsetDeleteRequest>()?))
        };
        let code = |response: &crate::protocol::messages::OffsetDeleteResponse, _: i16| ErrorCode::from_code(response.error_code);
        let (response, _) = self.on_coordinator("deleteConsumerGroupOffsets", group, build, code).await?;
        let results = response.topics.into_iter().flat_map(|topic| {
            topic.partitions.into_iter().map(move |partition| {
                (TopicPartition::new(topic.name.clone(), partition.partition_index), ApiError::check(partition.error_code, None))
            })
        });
        Ok(spread(partitions.iter().cloned(), Ok(results.collect())))
    }

    /// Removes members from a group. One outcome for each, in their order.
    pub async fn remove_members_from_group(
        &self,
        group: &str,
        members: &[MemberToRemove],
    ) -> Result<Vec<(MemberToRemove, Result<(), ClientError>)>, ClientError> {
        let build = |connection: &crate::client::conn::Connection| {
            let identity = |member: &MemberToRemove| MemberIdentity {
                member_id: member.member_id.clone(),
                group_instance_id: member.group_instance_id.clone(),
                ..Default::default()
            };
            let members = members.iter().map(identity).collect();
            let request = LeaveGroupRequest { group_id: group.to_owned(), members, ..Default::default() };
            Ok((request, connection.version_of::<LeaveGroupRequest>()?))
        };
        let code = |response: &crate::protocol::messages::LeaveGroupResponse, _: i16| ErrorCode::from_code(response.error_code);
        let (response, _) = self.on_coordinator("removeMembersFromConsumerGroup", group, build, code).await?;
        let outcomes = response.members.into_iter().map(|member| {
            let removed = MemberToRemove { member_id: member.member_id, group_instance_id: member.group_instance_id };
            (removed, ApiError::check(member.error_code, None))
        });
        Ok(outcomes.collect())
    }
}

/// A coordinator that cannot serve the request says so at every item.
fn coordinator_code(mut codes: impl Iterator<Item = i16>) -> ErrorCode {
    let coordinators = [ErrorCode::NotCoordinator, ErrorCode::CoordinatorNotAvailable, ErrorCode::CoordinatorLoadInProgress];
    match codes.next().map(ErrorCode::from_code) {
        Some(code) if coordinators.contains(&code) => code,
        _ => ErrorCode::None,
    }
}

/// A classic consumer's assignment: a version, then `ConsumerProtocolAssignment`. Versions from the future read as the newest known.
fn decode_assignment(bytes: &Bytes) -> Result<BTreeSet<TopicPartition>, DecodeError> {
    if bytes.is_empty() {
        return Ok(BTreeSet::new());
    }
    let mut reader = Reader::new(bytes.clone());
    let range = ConsumerProtocolAssignment::VERSIONS;
    let version = reader.i16()?.clamp(range.min, range.max);
    let assignment = ConsumerProtocolAssignment::decode(&mut reader, version)?;
    let topics = assignment.assigned_partitions.into_iter();
    Ok(topics.flat_map(|topic| topic.partitions.into_iter().map(move |it| TopicPartition::new(topic.topic.clone(), it))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_and_types_parse_in_any_case() {
        assert_eq!(GroupState::parse("preparingrebalance"), GroupState::PreparingRebalance);
        assert_eq!(GroupState::parse("x"), GroupState::Unknown);
        assert_eq!(GroupType::parse("SHARE").to_string(), "Share");
    }

    #[test]
    fn an_assignment_of_a_newer_version_is_read() {
        let bytes = Bytes::from_static(&[0, 9, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 3, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(decode_assignment(&bytes), Ok(BTreeSet::from([TopicPartition::new("t", 3)])));
        assert_eq!(decode_assignment(&Bytes::new()), Ok(BTreeSet::new()));
        assert!(decode_assignment(&Bytes::from_static(&[0, 0, 0, 0, 0xff, 0xff])).is_err());
    }
}
