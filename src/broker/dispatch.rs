//! From a frame to its handler: the one table of served APIs.
//!
//! ApiVersions, the README's table and the fuzz targets derive from [`SERVED`]; what is not in it does not exist for a client. To serve
//! another API, add one line, sorted by name, and a file in `handlers`.
//!
//! What Kafka does with requests it cannot serve, and so do we: ApiVersions of an unknown version is answered in version 0 with
//! UNSUPPORTED_VERSION and the versions we have; any other unknown key or version, and anything that cannot be decoded, closes the
//! connection. Source: `RequestContext.parseRequest`, `SocketServer.processCompletedReceives`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::connection::Peer;
use super::handlers;
use super::quota::Measured;
use super::request_context::{RequestContext, Waited};
use super::server::Broker;
use crate::protocol::api_key::ApiKey;
use crate::protocol::codec::{DecodeError, EncodeError, Message, Reader};
use crate::protocol::frame::{self, Frame};

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Reply {
    Frame(Frame),
    /// The client expects no response (Produce with `acks=0`).
    Nothing,
    /// The only way to tell this client that something went wrong; the text is for the log.
    Close(String),
}

/// A reply, and for how long nothing is to be read from the client after it (KIP-219).
#[derive(Debug)]
pub(crate) struct Handled {
    pub(crate) reply: Reply,
    pub(crate) throttle_ms: u32,
}

/// Why a request got no reply.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    #[error("{bytes} bytes are too short for a request")]
    Short { bytes: usize },
    #[error("unknown API key {key} (version {version})")]
    UnknownKey { key: i16, version: i16 },
    #[error("{} version {version} is not served", key.name())]
    UnsupportedVersion { key: ApiKey, version: i16 },
    #[error("malformed {} request, version {version}: {source}", key.name())]
    Malformed { key: ApiKey, version: i16, source: DecodeError },
    #[error("malformed request header: {0}")]
    MalformedHeader(DecodeError),
    #[error("a response to {} version {version} could not be encoded: {source}", key.name())]
    Unencodable { key: ApiKey, version: i16, source: EncodeError },
}

type Outcome<'a> = Pin<Box<dyn Future<Output = Result<Reply, DispatchError>> + Send + 'a>>;

/// One line of the table of served APIs.
pub struct ServedApi {
    pub key: ApiKey,
    /// The lowest and the highest version that is served.
    pub min: i16,
    pub max: i16,
    /// Decodes a body and drops it: what a fuzz target needs.
    pub check: fn(Bytes, i16) -> Result<(), DecodeError>,
    handle: for<'a> fn(&'a Arc<Broker>, &'a RequestContext, Bytes) -> Outcome<'a>,
}

/// `Name: min..=max => handler module;`, one API a line, sorted by name.
macro_rules! served_apis {
    ($($name:ident($request:ident): $min:literal..=$max:literal => $handler:ident;)*) => {
        /// Every API this broker serves, sorted by name.
        pub static SERVED: &[ServedApi] = &[$(ServedApi {
            key: ApiKey::$name,
            min: $min,
            max: $max,
            check: |body, version| decode::<crate::protocol::messages::$request>(body, version).map(drop),
            handle: |broker, ctx, body| Box::pin(async move {
                let request = decode::<crate::protocol::messages::$request>(body, ctx.api_version)
                    .map_err(|source| DispatchError::Malformed { key: ctx.api_key, version: ctx.api_version, source })?;
                let mut answer = handlers::$handler::handle(broker, ctx, request).await;
                if ctx.account.is_some() {
                    let throttle_ms = broker.quotas.settle(ctx, answer.has_response());
                    IntoReply::set_throttle_time_ms(&mut answer, throttle_ms);
                }
                answer.visit_error_codes(&mut |code| broker.metrics.requests.answered(ctx.api_key, code));
                answer.into_reply(ctx)
            }),
        }),*];
    };
}

served_apis! {
    AddOffsetsToTxn(AddOffsetsToTxnRequest): 0..=4 => add_offsets_to_txn;
    AddPartitionsToTxn(AddPartitionsToTxnRequest): 0..=5 => add_partitions_to_txn;
    AddRaftVoter(AddRaftVoterRequest): 0..=1 => add_raft_voter;
    AlterClientQuotas(AlterClientQuotasRequest): 0..=1 => alter_client_quotas;
    AlterConfigs(AlterConfigsRequest): 0..=2 => alter_configs;
    AlterPartitionReassignments(AlterPartitionReassignmentsRequest): 0..=1 => alter_partition_reassignments;
    AlterReplicaLogDirs(AlterReplicaLogDirsRequest): 1..=2 => alter_replica_log_dirs;
    AlterShareGroupOffsets(AlterShareGroupOffsetsRequest): 0..=0 => alter_share_group_offsets;
    AlterUserScramCredentials(AlterUserScramCredentialsRequest): 0..=0 => alter_user_scram_credentials;
    ApiVersions(ApiVersionsRequest): 0..=4 => api_versions;
    ConsumerGroupDescribe(ConsumerGroupDescribeRequest): 0..=1 => consumer_group_describe;
    ConsumerGroupHeartbeat(ConsumerGroupHeartbeatRequest): 0..=1 => consumer_group_heartbeat;
    CreateAcls(CreateAclsRequest): 1..=3 => create_acls;
    CreateDelegationToken(CreateDelegationTokenRequest): 1..=3 => create_delegation_token;
    CreatePartitions(CreatePartitionsRequest): 0..=3 => create_partitions;
    CreateTopics(CreateTopicsRequest): 2..=7 => create_topics;
    DeleteAcls(DeleteAclsRequest): 1..=3 => delete_acls;
    DeleteGroups(DeleteGroupsRequest): 0..=2 => delete_groups;
    DeleteRecords(DeleteRecordsRequest): 0..=2 => delete_records;
    DeleteShareGroupOffsets(DeleteShareGroupOffsetsRequest): 0..=0 => delete_share_group_offsets;
    DeleteShareGroupState(DeleteShareGroupStateRequest): 0..=0 => delete_share_group_state;
    DeleteTopics(DeleteTopicsRequest): 1..=6 => delete_topics;
    DescribeAcls(DescribeAclsRequest): 1..=3 => describe_acls;
    DescribeClientQuotas(DescribeClientQuotasRequest): 0..=1 => describe_client_quotas;
    DescribeCluster(DescribeClusterRequest): 0..=2 => describe_cluster;
    DescribeConfigs(DescribeConfigsRequest): 1..=4 => describe_configs;
    DescribeDelegationToken(DescribeDelegationTokenRequest): 1..=3 => describe_delegation_token;
    DescribeGroups(DescribeGroupsRequest): 0..=6 => describe_groups;
    DescribeLogDirs(DescribeLogDirsRequest): 1..=5 => describe_log_dirs;
    DescribeProducers(DescribeProducersRequest): 0..=0 => describe_producers;
    DescribeQuorum(DescribeQuorumRequest): 0..=2 => describe_quorum;
    DescribeShareGroupOffsets(DescribeShareGroupOffsetsRequest): 0..=1 => describe_share_group_offsets;
    DescribeTopicPartitions(DescribeTopicPartitionsRequest): 0..=0 => describe_topic_partitions;
    DescribeTransactions(DescribeTransactionsRequest): 0..=0 => describe_transactions;
    DescribeUserScramCredentials(DescribeUserScramCredentialsRequest): 0..=0 => describe_user_scram_credentials;
    ElectLeaders(ElectLeadersRequest): 0..=2 => elect_leaders;
    EndTxn(EndTxnRequest): 0..=5 => end_txn;
    ExpireDelegationToken(ExpireDelegationTokenRequest): 1..=2 => expire_delegation_token;
    Fetch(FetchRequest): 4..=18 => fetch;
    FindCoordinator(FindCoordinatorRequest): 0..=6 => find_coordinator;
    GetTelemetrySubscriptions(GetTelemetrySubscriptionsRequest): 0..=0 => get_telemetry_subscriptions;
    Heartbeat(HeartbeatRequest): 0..=4 => heartbeat;
    IncrementalAlterConfigs(IncrementalAlterConfigsRequest): 0..=1 => incremental_alter_configs;
    InitProducerId(InitProducerIdRequest): 0..=5 => init_producer_id;
    InitializeShareGroupState(InitializeShareGroupStateRequest): 0..=0 => initialize_share_group_state;
    JoinGroup(JoinGroupRequest): 0..=9 => join_group;
    LeaveGroup(LeaveGroupRequest): 0..=5 => leave_group;
    ListConfigResources(ListConfigResourcesRequest): 0..=1 => list_config_resources;
    ListGroups(ListGroupsRequest): 0..=5 => list_groups;
    ListOffsets(ListOffsetsRequest): 1..=11 => list_offsets;
    ListPartitionReassignments(ListPartitionReassignmentsRequest): 0..=0 => list_partition_reassignments;
    ListTransactions(ListTransactionsRequest): 0..=2 => list_transactions;
    Metadata(MetadataRequest): 0..=13 => metadata;
    OffsetCommit(OffsetCommitRequest): 2..=10 => offset_commit;
    OffsetDelete(OffsetDeleteRequest): 0..=0 => offset_delete;
    OffsetFetch(OffsetFetchRequest): 1..=10 => offset_fetch;
    OffsetForLeaderEpoch(OffsetForLeaderEpochRequest): 2..=4 => offset_for_leader_epoch;
    Produce(ProduceRequest): 3..=13 => produce;
    PushTelemetry(PushTelemetryRequest): 0..=0 => push_telemetry;
    ReadShareGroupState(ReadShareGroupStateRequest): 0..=0 => read_share_group_state;
    ReadShareGroupStateSummary(ReadShareGroupStateSummaryRequest): 0..=1 => read_share_group_state_summary;
    RemoveRaftVoter(RemoveRaftVoterRequest): 0..=0 => remove_raft_voter;
    RenewDelegationToken(RenewDelegationTokenRequest): 1..=2 => renew_delegation_token;
    SaslAuthenticate(SaslAuthenticateRequest): 0..=2 => sasl_authenticate;
    SaslHandshake(SaslHandshakeRequest): 0..=1 => sasl_handshake;
    ShareAcknowledge(ShareAcknowledgeRequest): 1..=2 => share_acknowledge;
    ShareFetch(ShareFetchRequest): 1..=2 => share_fetch;
    ShareGroupDescribe(ShareGroupDescribeRequest): 1..=1 => share_group_describe;
    ShareGroupHeartbeat(ShareGroupHeartbeatRequest): 1..=1 => share_group_heartbeat;
    StreamsGroupDescribe(StreamsGroupDescribeRequest): 0..=0 => streams_group_describe;
    StreamsGroupHeartbeat(StreamsGroupHeartbeatRequest): 0..=0 => streams_group_heartbeat;
    SyncGroup(SyncGroupRequest): 0..=5 => sync_group;
    TxnOffsetCommit(TxnOffsetCommitRequest): 0..=5 => txn_offset_commit;
    UnregisterBroker(UnregisterBrokerRequest): 0..=0 => unregister_broker;
    UpdateFeatures(UpdateFeaturesRequest): 0..=2 => update_features;
    WriteShareGroupState(WriteShareGroupStateRequest): 0..=1 => write_share_group_state;
    WriteTxnMarkers(WriteTxnMarkersRequest): 1..=2 => write_txn_markers;
}

/// The served API with this key.
pub fn served(key: ApiKey) -> Option<&'static ServedApi> {
    SERVED.iter().find(|api| api.key == key)
}

/// Bytes behind the message are ignored, as in Kafka: librdkafka sends a few behind a Metadata request for all topics.
fn decode<M: Message>(body: Bytes, version: i16) -> Result<M, DecodeError> {
    M::decode(&mut Reader::new(body), version)
}

/// Answers the request in `frame`.
pub(crate) async fn handle(broker: &Arc<Broker>, peer: &Peer, frame: Bytes) -> Result<Handled, DispatchError> {
    let bytes = frame.len();
    let mut reader = Reader::new(frame);
    let mut ahead = reader.clone();
    let (Ok(key), Ok(version)) = (ahead.i16(), ahead.i16()) else { return Err(DispatchError::Short { bytes }) };
    let api_key = ApiKey::from_code(key).ok_or(DispatchError::UnknownKey { key, version })?;
    let header = frame::decode_request_header(&mut reader).map_err(DispatchError::MalformedHeader)?;
    let mut ctx = RequestContext {
        api_key,
        api_version: version,
        correlation_id: header.correlation_id,
        client_id: header.client_id,
        client_address: peer.address,
        listener_name: Arc::clone(&peer.listener_name),
        principal: Arc::clone(&peer.principal),
        connection: Arc::clone(&peer.connection),
        request_bytes: bytes,
        account: broker.quotas.account(),
        waited: Waited::default(),
    };
    let api = served(api_key).ok_or(DispatchError::UnsupportedVersion { key: api_key, version })?;
    if !(api.min..=api.max).contains(&version) {
        if api_key != ApiKey::ApiVersions {
            return Err(DispatchError::UnsupportedVersion { key: api_key, version });
        }
        ctx.api_version = 0;
        let reply = handlers::api_versions::unsupported_version().into_reply(&ctx)?;
        return Ok(Handled { reply, throttle_ms: 0 });
    }
    let started = Instant::now();
    let work = (api.handle)(broker, &ctx, reader.into_rest());
    let handled = match &ctx.account {
        None => work.await.map(|reply| Handled { reply, throttle_ms: 0 }),
        Some(account) => {
            Measured::new(work, Arc::clone(account)).await.map(|reply| Handled { reply, throttle_ms: broker.quotas.settle(&ctx, true) })
        }
    };
    broker.metrics.requests.handled(api_key, version, bytes, started.elapsed(), ctx.waited.duration());
    handled
}

/// What a handler may return: a response, or a decision about the connection.
pub(crate) trait IntoReply {
    fn into_reply(self, ctx: &RequestContext) -> Result<Reply, DispatchError>;

    /// Is anything sent to the client?
    fn has_response(&self) -> bool;

    /// Tells the client its throttle time.
    fn set_throttle_time_ms(&mut self, throttle_ms: u32);

    /// Visits every error code of the response.
    fn visit_error_codes(&self, visit: &mut dyn FnMut(i16));
}

impl<M: Message> IntoReply for M {
    fn into_reply(self, ctx: &RequestContext) -> Result<Reply, DispatchError> {
        frame::encode_response(ctx.correlation_id, ctx.api_key, &self, ctx.api_version)
            .map(Reply::Frame)
            .map_err(|source| DispatchError::Unencodable { key: ctx.api_key, version: ctx.api_version, source })
    }

    fn has_response(&self) -> bool {
        true
    }

    fn set_throttle_time_ms(&mut self, throttle_ms: u32) {
        Message::set_throttle_time_ms(self, i32::try_from(throttle_ms).unwrap_or(i32::MAX));
    }

    fn visit_error_codes(&self, visit: &mut dyn FnMut(i16)) {
        self.each_error_code(visit);
    }
}

/// A response that may be withheld.
#[derive(Debug)]
pub(crate) enum Answer<M> {
    Response(M),
    Nothing,
    Close(String),
}

impl<M: Message> IntoReply for Answer<M> {
    fn into_reply(self, ctx: &RequestContext) -> Result<Reply, DispatchError> {
        match self {
            Answer::Response(response) => response.into_reply(ctx),
            Answer::Nothing => Ok(Reply::Nothing),
            Answer::Close(reason) => Ok(Reply::Close(reason)),
        }
    }

    fn has_response(&self) -> bool {
        matches!(self, Answer::Response(_))
    }

    fn set_throttle_time_ms(&mut self, throttle_ms: u32) {
        if let Answer::Response(response) = self {
            IntoReply::set_throttle_time_ms(response, throttle_ms);
        }
    }

    fn visit_error_codes(&self, visit: &mut dyn FnMut(i16)) {
        if let Answer::Response(response) = self {
            response.each_error_code(visit);
        }
    }
}
