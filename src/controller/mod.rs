//! The active controller: what turns requests into records of the metadata log.
//!
//! An operation reads the controller's image, decides, and returns an [`Outcome`]: the answer and the records that make it
//! true. It changes nothing itself. Whoever drives the controller appends the records, has them replayed by
//! `Controller::replay`, and gives the answer once they are committed.
//!
//! Invariant: only `replay` changes the image. Invariant: no I/O and no clock here; time comes as an argument.
//! Sources: Kafka's `QuorumController` and the control managers below it (KIP-631), `ControllerApis` for what is checked
//! before an operation.

pub mod refusal;

use crate::metadata::record::VersionedRecord;

/// An operation's answer, and the records that must be committed before it may be given.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome<R> {
    /// One atomic batch; empty when nothing changes.
    pub records: Vec<VersionedRecord>,
    pub response: R,
}

impl<R> Outcome<R> {
    /// An answer that changes nothing.
    pub fn without_records(response: R) -> Outcome<R> {
        Outcome { records: Vec::new(), response }
    }
}

/// The active controller.
#[derive(Debug)]
pub struct Controller {}

macro_rules! not_yet {
    ($($name:ident $request:ident $response:ident),* $(,)?) => {
        use crate::protocol::error_code::ErrorCode;
        use crate::protocol::messages::*;
        use refusal::Refuse;

        impl Controller {
            $(
                pub fn $name(&mut self, request: &$request) -> Outcome<$response> {
                    Outcome::without_records(request.refuse(ErrorCode::BrokerNotAvailable))
                }
            )*
        }
    };
}

not_yet! {
    create_topics CreateTopicsRequest CreateTopicsResponse,
    delete_topics DeleteTopicsRequest DeleteTopicsResponse,
    create_partitions CreatePartitionsRequest CreatePartitionsResponse,
    alter_configs AlterConfigsRequest AlterConfigsResponse,
    incremental_alter_configs IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse,
    allocate_producer_ids AllocateProducerIdsRequest AllocateProducerIdsResponse,
    elect_leaders ElectLeadersRequest ElectLeadersResponse,
    unregister_broker UnregisterBrokerRequest UnregisterBrokerResponse,
}
