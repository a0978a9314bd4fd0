//! How the rest of the node asks the controller for changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc;

use tokio::sync::{oneshot, watch};

use crate::common::uuid::Uuid;
use crate::controller::refusal::Refuse;
use crate::controller::{Controller, Outcome, PartitionChangeQuota};
use crate::metadata::record::VersionedRecord;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::*;
use crate::raft::voters::VoterSet;

/// What is called with the outcome of an operation: `Ok` once its records are committed and published.
pub(super) type Completion = Box<dyn FnOnce(Result<(), ErrorCode>) + Send>;

/// An operation on the controller; gives the records to write, and what to call when that is done.
pub(super) type Operation = Box<dyn FnOnce(&mut Controller) -> (Vec<VersionedRecord>, Completion) + Send>;

/// A message to the owner of the quorum's state.
pub(super) enum Message {
    Operation(Operation),
    Describe(oneshot::Sender<QuorumDescription>),
    /// Close the log and end.
    Close(oneshot::Sender<()>),
}

/// The state of the quorum, as DescribeQuorum shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumDescription {
    /// -1 when none is known.
    pub leader_id: i32,
    pub leader_epoch: i32,
    /// -1 when it is not known yet.
    pub high_watermark: i64,
    pub log_end_offset: i64,
    pub kraft_version: i16,
    pub voters: VoterSet,
    /// The wall-clock time of the description, in milliseconds.
    pub now_ms: i64,
}

/// A way to the active controller, cheap to clone. Every method waits until what it changed has been committed and
/// published, so that who asks next sees it; a refusal (the node stops, another node leads) is an ordinary answer with
/// an error code in it.
#[derive(Clone)]
pub struct ControllerHandle {
    pub(super) sender: mpsc::Sender<Message>,
    pub(super) node_id: i32,
    pub(super) broker_epoch: Arc<AtomicI64>,
    pub(super) failure: watch::Receiver<Option<String>>,
}

impl std::fmt::Debug for ControllerHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControllerHandle").finish_non_exhaustive()
    }
}

impl ControllerHandle {
    /// Runs `operation` at its turn.
    async fn submit<R: Send + 'static>(
        &self,
        operation: impl FnOnce(&mut Controller) -> Outcome<R> + Send + 'static,
    ) -> Result<R, ErrorCode> {
        let (reply, answer) = oneshot::channel();
        let operation: Operation = Box::new(move |controller| {
            let Outcome { records, response } = operation(controller);
            let completion: Completion = Box::new(move |result| {
                // Nobody waits any more when the client has gone.
                let _ = reply.send(result.map(|()| response));
            });
            (records, completion)
        });
        self.sender.send(Message::Operation(operation)).map_err(|_| ErrorCode::BrokerNotAvailable)?;
        answer.await.unwrap_or(Err(ErrorCode::BrokerNotAvailable))
    }

    /// As `submit`, with the request's own form of a refusal.
    async fn request<Q: Refuse>(&self, request: Q, operation: fn(&mut Controller, &Q) -> Outcome<Q::Response>) -> Q::Response {
        let refused = request.clone();
        self.submit(move |controller| operation(controller, &request)).await.unwrap_or_else(|code| refused.refuse(code))
    }

    async fn request_within<Q: Refuse>(
        &self,
        quota: Option<PartitionChangeQuota>,
        request: Q,
        operation: fn(&mut Controller, &Q) -> Outcome<Q::Response>,
    ) -> Q::Response {
        let refused = request.clone();
        let decided = self.submit(move |controller| controller.within(quota, |controller| operation(controller, &request)));
        decided.await.unwrap_or_else(|code| refused.refuse(code))
    }

    /// CreateTopics. Duplicate names and the metadata topic are refused here; authorization is the caller's, which gives only
    /// topics that may be created. Results of duplicates and refusals stand after the others, as in Kafka.
    pub async fn create_topics(&self, request: CreateTopicsRequest) -> CreateTopicsResponse {
        self.request(request, Controller::create_topics).await
    }

    /// CreateTopics of a client with a quota.
    pub async fn create_topics_within(&self, quota: Option<PartitionChangeQuota>, request: CreateTopicsRequest) -> CreateTopicsResponse {
        self.request_within(quota, request, Controller::create_topics).await
    }

    /// DeleteTopics of a client with a quota.
    pub async fn delete_topics_within(&self, quota: Option<PartitionChangeQuota>, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
        self.request_within(quota, request, Controller::delete_topics).await
    }

    /// CreatePartitions of a client with a quota.
    pub async fn create_partitions_within(
        &self,
        quota: Option<PartitionChangeQuota>,
        request: CreatePartitionsRequest,
    ) -> CreatePartitionsResponse {
        self.request_within(quota, request, Controller::create_partitions).await
    }

    /// DeleteTopics, by name, by ID or both. `delete.topic.enable` is the caller's to check.
    pub async fn delete_topics(&self, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
        self.request(request, Controller::delete_topics).await
    }

    /// CreatePartitions.
    pub async fn create_partitions(&self, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
        self.request(request, Controller::create_partitions).await
    }

    /// AlterConfigs of topics, brokers, groups and client metrics; broker loggers are the caller's.
    pub async fn alter_configs(&self, request: AlterConfigsRequest) -> AlterConfigsResponse {
        self.request(request, Controller::alter_configs).await
    }

    /// IncrementalAlterConfigs of topics, brokers, groups and client metrics; broker loggers are the caller's.
    pub async fn incremental_alter_configs(&self, request: IncrementalAlterConfigsRequest) -> IncrementalAlterConfigsResponse {
        self.request(request, Controller::incremental_alter_configs).await
    }

    /// The next block of producer IDs for the broker of this request.
    pub async fn allocate_producer_ids(&self, request: AllocateProducerIdsRequest) -> AllocateProducerIdsResponse {
        self.request(request, Controller::allocate_producer_ids).await
    }

    /// ElectLeaders.
    pub async fn elect_leaders(&self, request: ElectLeadersRequest) -> ElectLeadersResponse {
        self.request(request, Controller::elect_leaders).await
    }

    /// The epoch of this node's broker: the offset of its registration.
    pub fn broker_epoch(&self) -> i64 {
        self.broker_epoch.load(Ordering::SeqCst)
    }

    /// Has the controller failed beyond repair?
    pub fn has_failed(&self) -> bool {
        self.failure.borrow().is_some()
    }

    /// Waits until the controller has failed beyond repair (a disk error, a record it does not understand), and says why. The
    /// node must stop then. Never returns when the controller is closed in good order.
    pub async fn failed(&self) -> String {
        let mut failure = self.failure.clone();
        let reason = failure.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        match reason {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }

    /// The state of the quorum; `None` when the controller has stopped.
    pub async fn describe_quorum(&self) -> Option<QuorumDescription> {
        let (reply, answer) = oneshot::channel();
        self.sender.send(Message::Describe(reply)).ok()?;
        answer.await.ok()
    }

    /// BrokerHeartbeat, for what the node's own heartbeats (which need nobody's help) do not say: directories that failed.
    pub async fn heartbeat(&self, request: BrokerHeartbeatRequest) -> BrokerHeartbeatResponse {
        self.request(request, Controller::heartbeat).await
    }

    /// Reports log directories that cannot be used any more; their replicas lose their leadership.
    pub async fn report_offline_directories(&self, directories: Vec<Uuid>) -> BrokerHeartbeatResponse {
        let request = BrokerHeartbeatRequest {
            broker_id: self.node_id,
            broker_epoch: self.broker_epoch(),
            current_metadata_offset: i64::MAX,
            offline_log_dirs: directories,
            ..Default::default()
        };
        self.heartbeat(request).await
    }

    /// Says in which of this broker's directories replicas lie, as `(topic, partition, directory)`.
    pub async fn assign_directories(&self, replicas: &[(Uuid, i32, Uuid)]) -> AssignReplicasToDirsResponse {
        use assign_replicas_to_dirs_request::{DirectoryData, PartitionData, TopicData};
        let mut by_directory: BTreeMap<Uuid, BTreeMap<Uuid, Vec<PartitionData>>> = BTreeMap::new();
        for &(topic, partition_index, directory) in replicas {
            let partitions = by_directory.entry(directory).or_default().entry(topic).or_default();
            partitions.push(PartitionData { partition_index, ..Default::default() });
        }
        let directories = by_directory.into_iter().map(|(id, topics)| DirectoryData {
            id,
            topics: topics.into_iter().map(|(topic_id, partitions)| TopicData { topic_id, partitions, ..Default::default() }).collect(),
            ..Default::default()
        });
        let request = AssignReplicasToDirsRequest {
            broker_id: self.node_id,
            broker_epoch: self.broker_epoch(),
            directories: directories.collect(),
            ..Default::default()
        };
        self.request(request, Controller::assign_replicas_to_directories).await
    }

    /// Gives up this broker's leaderships and fences it, so that its logs may be closed. What the publishers are told on the
    /// way is that the broker leads nothing any more.
    pub async fn controlled_shutdown(&self) -> Result<(), ErrorCode> {
        loop {
            let request = BrokerHeartbeatRequest {
                broker_id: self.node_id,
                broker_epoch: self.broker_epoch(),
                // What is committed has been published, and what is published has been read.
                current_metadata_offset: i64::MAX,
                want_shut_down: true,
                ..Default::default()
            };
            let response = self.heartbeat(request).await;
            ErrorCode::from_code(response.error_code).into_result()?;
            if response.should_shut_down {
                return Ok(());
            }
        }
    }

    /// Closes the metadata log; returns when the controller's thread has let go of it. Operations that come later are refused.
    pub async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.sender.send(Message::Close(reply)).is_ok() {
            let _ = closed.await;
        }
    }

    /// AlterClientQuotas; `unresolvable` as in [`Controller::alter_client_quotas`].
    pub async fn alter_client_quotas(
        &self,
        request: AlterClientQuotasRequest,
        unresolvable: BTreeSet<String>,
    ) -> AlterClientQuotasResponse {
        let refused = request.clone();
        let decided = self.submit(move |controller| controller.alter_client_quotas(&request, &unresolvable));
        decided.await.unwrap_or_else(|code| refused.refuse(code))
    }

    /// AlterUserScramCredentials.
    pub async fn alter_user_scram_credentials(&self, request: AlterUserScramCredentialsRequest) -> AlterUserScramCredentialsResponse {
        self.request(request, Controller::alter_user_scram_credentials).await
    }

    /// AlterPartitionReassignments.
    pub async fn alter_partition_reassignments(&self, request: AlterPartitionReassignmentsRequest) -> AlterPartitionReassignmentsResponse {
        self.request(request, Controller::alter_partition_reassignments).await
    }

    /// UpdateFeatures; the other arguments as in [`Controller::update_features`].
    pub async fn update_features(&self, request: UpdateFeaturesRequest, kraft_version: i16, api_version: i16) -> UpdateFeaturesResponse {
        let refused = request.clone();
        let decided = self.submit(move |controller| controller.update_features(&request, kraft_version, api_version));
        decided.await.unwrap_or_else(|code| refused.refuse(code))
    }

    /// UnregisterBroker.
    pub async fn unregister_broker(&self, request: UnregisterBrokerRequest) -> UnregisterBrokerResponse {
        self.request(request, Controller::unregister_broker).await
    }
}
