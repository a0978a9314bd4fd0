//! How the rest of the node asks the controller for changes.

use std::sync::mpsc;

use tokio::sync::oneshot;

use crate::controller::refusal::Refuse;
use crate::controller::{Controller, Outcome};
use crate::metadata::record::VersionedRecord;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::*;

/// What is called with the outcome of an operation: `Ok` once its records are committed and published.
pub(super) type Completion = Box<dyn FnOnce(Result<(), ErrorCode>) + Send>;

/// An operation on the controller; gives the records to write, and what to call when that is done.
pub(super) type Operation = Box<dyn FnOnce(&mut Controller) -> (Vec<VersionedRecord>, Completion) + Send>;

/// A message to the owner of the quorum's state.
pub(super) enum Message {
    Operation(Operation),
}

/// A way to the active controller, cheap to clone. Every method waits until what it changed has been committed and
/// published, so that who asks next sees it; a refusal (the node stops, another node leads) is an ordinary answer with
/// an error code in it.
#[derive(Clone)]
pub struct ControllerHandle {
    pub(super) sender: mpsc::Sender<Message>,
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

    /// CreateTopics. Duplicate names and the metadata topic are refused here; authorization is the caller's, which gives only
    /// topics that may be created. Results of duplicates and refusals stand after the others, as in Kafka.
    pub async fn create_topics(&self, request: CreateTopicsRequest) -> CreateTopicsResponse {
        self.request(request, Controller::create_topics).await
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

    /// UnregisterBroker.
    pub async fn unregister_broker(&self, request: UnregisterBrokerRequest) -> UnregisterBrokerResponse {
        self.request(request, Controller::unregister_broker).await
    }
}
