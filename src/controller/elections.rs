//! Elections that someone asks for, and those that put leaders back on their preferred replicas.
//!
//! Source: Kafka's `ReplicationControlManager`.

use super::api_error::ApiError;
use super::partition_change::{Election, PartitionChange};
use super::{Controller, MAX_RECORDS_PER_OPERATION, Outcome};
use crate::metadata::record::VersionedRecord;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use crate::protocol::messages::*;

/// How many partitions one pass of balancing moves at most.
const MAX_ELECTIONS_PER_PASS: usize = 1000;

impl Controller {
    /// ElectLeaders.
    pub fn elect_leaders(&mut self, request: &ElectLeadersRequest) -> Outcome<ElectLeadersResponse> {
        let election = match request.election_type {
            0 => Election::Preferred,
            1 => Election::Unclean,
            unknown => {
                let error = ApiError::new(ErrorCode::InvalidRequest, format!("Unknown election type {unknown}"));
                let topics = request.topic_partitions.iter().flatten();
                let results = topics.map(|topic| ReplicaElectionResult {
                    topic: topic.topic.clone(),
                    partition_result: topic.partitions.iter().map(|&index| partition_result(index, error.clone())).collect(),
                    ..Default::default()
                });
                let error_code = error.code.code();
                let replica_election_results = results.collect();
                return Outcome::without_records(ElectLeadersResponse { error_code, replica_election_results, ..Default::default() });
            }
        };
        let mut records = Vec::new();
        let mut results = Vec::new();
        match &request.topic_partitions {
            Some(topics) => {
                for topic in topics {
                    let partitions = topic.partitions.iter();
                    let partition_result = partitions
                        .map(|&index| partition_result(index, self.elect_leader(&topic.topic, index, election, &mut records)))
                        .collect();
                    results.push(ReplicaElectionResult { topic: topic.topic.clone(), partition_result, ..Default::default() });
                }
            }
            // All partitions: those that have the wanted leader already are left out of the answer.
            None => {
                for topic in self.image.topics.iter() {
                    let mut partition_result_list = Vec::new();
                    for &index in topic.partitions.keys() {
                        let error = self.elect_leader(&topic.name, index, election, &mut records);
                        if error.code != ErrorCode::ElectionNotNeeded {
                            partition_result_list.push(partition_result(index, error));
                        }
                    }
                    let partition_result = partition_result_list;
                    results.push(ReplicaElectionResult { topic: topic.name.clone(), partition_result, ..Default::default() });
                }
            }
        }
        Outcome { records, response: ElectLeadersResponse { replica_election_results: results, ..Default::default() } }
    }

    fn elect_leader(&self, name: &str, index: i32, election: Election, records: &mut Vec<VersionedRecord>) -> ApiError {
        let Some(topic) = self.image.topics.topic(name) else {
            return ApiError::new(ErrorCode::UnknownTopicOrPartition, format!("No such topic as {name}"));
        };
        let Some(partition) = topic.partition(index) else {
            return ApiError::new(ErrorCode::UnknownTopicOrPartition, format!("No such partition as {name}-{index}"));
        };
        let satisfied = match election {
            Election::Preferred => partition.leader == partition.preferred_replica(),
            _ => partition.has_leader(),
        };
        if satisfied {
            return ApiError::generic(ErrorCode::ElectionNotNeeded);
        }
        if records.len() >= MAX_RECORDS_PER_OPERATION {
            return ApiError::new(ErrorCode::PolicyViolation, super::topics::TOO_LARGE);
        }
        let acceptable = |id: i32| self.image.cluster.is_active(id) && self.has_online_replica(partition, id);
        let default_directory = |id: i32| self.default_directory(id);
        let change =
            PartitionChange { election, ..self.change_of(topic, index, partition, &acceptable, &default_directory, self.min_isr(topic)) };
        match (change.build(), election) {
            (Some(record), _) => {
                records.push(record);
                ApiError::none()
            }
            (None, Election::Preferred) => ApiError::generic(ErrorCode::PreferredLeaderNotAvailable),
            (None, _) => ApiError::generic(ErrorCode::EligibleLeadersNotAvailable),
        }
    }

    /// Elects leaders for partitions that have none and whose topics prefer any live replica to waiting for one in sync; says whether
    /// more may be left. That a replica comes back elects by itself; this is for configs that changed meanwhile.
    pub fn elect_unclean_leaders(&mut self) -> Outcome<bool> {
        let mut records = Vec::new();
        for topic in self.image.topics.iter() {
            let mut leaderless = topic.partitions.iter().filter(|(_, partition)| !partition.has_leader()).peekable();
            if leaderless.peek().is_none() || !self.unclean_election(&topic.name) {
                continue;
            }
            for (&index, _) in leaderless {
                if records.len() >= MAX_ELECTIONS_PER_PASS {
                    return Outcome { records, response: true };
                }
                let error = self.elect_leader(&topic.name, index, Election::Unclean, &mut records);
                match error.code {
                    ErrorCode::None => tracing::info!("electing an unclean leader for {}-{index}, which had none", topic.name),
                    code => tracing::debug!("no unclean leader for {}-{index}: {code}", topic.name),
                }
            }
        }
        Outcome { records, response: false }
    }

    /// Moves leaders back to preferred replicas that are in sync; says whether more are left to move.
    pub fn balance_leaders(&mut self) -> Outcome<bool> {
        let mut records = Vec::new();
        let unbalanced = self.image.topics.iter().flat_map(|topic| {
            let partitions = topic.partitions.iter().filter(|(_, partition)| partition.leader != partition.preferred_replica());
            partitions.map(move |(&index, partition)| (topic, index, partition))
        });
        for (topic, index, partition) in unbalanced {
            if records.len() >= MAX_ELECTIONS_PER_PASS {
                return Outcome { records, response: true };
            }
            let acceptable = |id: i32| self.image.cluster.is_active(id) && self.has_online_replica(partition, id);
            let default_directory = |id: i32| self.default_directory(id);
            let change = PartitionChange {
                election: Election::Preferred,
                ..self.change_of(topic, index, partition, &acceptable, &default_directory, self.min_isr(topic))
            };
            records.extend(change.build());
        }
        Outcome { records, response: false }
    }
}

fn partition_result(index: i32, error: ApiError) -> PartitionResult {
    PartitionResult { partition_id: index, error_code: error.code.code(), error_message: error.message, ..Default::default() }
}
