//! Kafka's error codes, with the words Kafka's clients and tools use for them. Source: `org.apache.kafka.common.protocol.Errors`, 4.3.

use std::fmt;

/// One line a code: variant, number, name, Java exception, kind, text.
macro_rules! error_codes {
    ($($variant:ident $code:literal $name:literal $exception:literal $kind:ident $message:literal,)*) => {
        /// What went wrong, as a number on the wire. `None` is success.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i16)]
        pub enum ErrorCode {
            $(#[doc = concat!($name, ": ", $message)] $variant = $code,)*
        }

        impl ErrorCode {
            /// Every code, ascending.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$variant,)*];

            /// The error with this number; an unknown number is `UnknownServerError`, as in Kafka's clients.
            pub fn from_code(code: i16) -> ErrorCode {
                match code {
                    $($code => ErrorCode::$variant,)*
                    _ => ErrorCode::UnknownServerError,
                }
            }

            /// The name in Kafka's protocol guide, such as `UNKNOWN_TOPIC_OR_PARTITION`.
            pub fn name(self) -> &'static str {
                match self {
                    $(ErrorCode::$variant => $name,)*
                }
            }

            /// The simple name of the exception that Java clients throw; empty for `None`.
            pub fn exception(self) -> &'static str {
                match self {
                    $(ErrorCode::$variant => $exception,)*
                }
            }

            /// Kafka's own sentence for it; empty for `None`.
            pub fn message(self) -> &'static str {
                match self {
                    $(ErrorCode::$variant => $message,)*
                }
            }

            fn kind(self) -> Kind {
                match self {
                    $(ErrorCode::$variant => Kind::$kind,)*
                }
            }
        }
    };
}

#[derive(PartialEq, Eq)]
enum Kind {
    Fatal,
    Retriable,
    /// Retriable, after the client has fetched metadata anew.
    StaleMetadata,
}

impl ErrorCode {
    /// The number on the wire.
    pub fn code(self) -> i16 {
        self as i16
    }

    pub fn is_error(self) -> bool {
        self != ErrorCode::None
    }

    /// The error as clients know it that do not know PRODUCER_FENCED yet.
    pub fn before_producer_fenced(self) -> ErrorCode {
        if self == ErrorCode::ProducerFenced { ErrorCode::InvalidProducerEpoch } else { self }
    }

    /// May the same request succeed later? (`RetriableException`)
    pub fn is_retriable(self) -> bool {
        self.kind() != Kind::Fatal
    }

    /// Does it say that the client's metadata is out of date? (`InvalidMetadataException`)
    pub fn is_stale_metadata(self) -> bool {
        self.kind() == Kind::StaleMetadata
    }

    /// `Ok` for `None`.
    pub fn into_result(self) -> Result<(), ErrorCode> {
        if self.is_error() { Err(self) } else { Ok(()) }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::error::Error for ErrorCode {}

#[rustfmt::skip]
error_codes! {
    UnknownServerError -1 "UNKNOWN_SERVER_ERROR" "UnknownServerException" Fatal "The server experienced an unexpected error when processing the request.",
    None 0 "NONE" "" Fatal "",
    OffsetOutOfRange 1 "OFFSET_OUT_OF_RANGE" "OffsetOutOfRangeException" Fatal "The requested offset is not within the range of offsets maintained by the server.",
    CorruptMessage 2 "CORRUPT_MESSAGE" "CorruptRecordException" Retriable "This message has failed its CRC checksum, exceeds the valid size, has a null key for a compacted topic, or is otherwise corrupt.",
    UnknownTopicOrPartition 3 "UNKNOWN_TOPIC_OR_PARTITION" "UnknownTopicOrPartitionException" StaleMetadata "This server does not host this topic-partition.",
    InvalidFetchSize 4 "INVALID_FETCH_SIZE" "InvalidFetchSizeException" Fatal "The requested fetch size is invalid.",
    LeaderNotAvailable 5 "LEADER_NOT_AVAILABLE" "LeaderNotAvailableException" StaleMetadata "There is no leader for this topic-partition as we are in the middle of a leadership election.",
    NotLeaderOrFollower 6 "NOT_LEADER_OR_FOLLOWER" "NotLeaderOrFollowerException" StaleMetadata "For requests intended only for the leader, this error indicates that the broker is not the current leader. For requests intended for any replica, this error indicates that the broker is not a replica of the topic partition.",
    RequestTimedOut 7 "REQUEST_TIMED_OUT" "TimeoutException" Retriable "The request timed out.",
    BrokerNotAvailable 8 "BROKER_NOT_AVAILABLE" "BrokerNotAvailableException" Fatal "The broker is not available.",
    ReplicaNotAvailable 9 "REPLICA_NOT_AVAILABLE" "ReplicaNotAvailableException" StaleMetadata "The replica is not available for the requested topic-partition. Produce/Fetch requests and other requests intended only for the leader or follower return NOT_LEADER_OR_FOLLOWER if the broker is not a replica of the topic-partition.",
    MessageTooLarge 10 "MESSAGE_TOO_LARGE" "RecordTooLargeException" Fatal "The request included a message larger than the max message size the server will accept.",
    StaleControllerEpoch 11 "STALE_CONTROLLER_EPOCH" "ControllerMovedException" Fatal "The controller moved to another broker.",
    OffsetMetadataTooLarge 12 "OFFSET_METADATA_TOO_LARGE" "OffsetMetadataTooLarge" Fatal "The metadata field of the offset request was too large.",
    NetworkException 13 "NETWORK_EXCEPTION" "NetworkException" StaleMetadata "The server disconnected before a response was received.",
    CoordinatorLoadInProgress 14 "COORDINATOR_LOAD_IN_PROGRESS" "CoordinatorLoadInProgressException" Retriable "The coordinator is loading and hence can't process requests.",
    CoordinatorNotAvailable 15 "COORDINATOR_NOT_AVAILABLE" "CoordinatorNotAvailableException" Retriable "The coordinator is not available.",
    NotCoordinator 16 "NOT_COORDINATOR" "NotCoordinatorException" Retriable "This is not the correct coordinator.",
    InvalidTopicException 17 "INVALID_TOPIC_EXCEPTION" "InvalidTopicException" Fatal "The request attempted to perform an operation on an invalid topic.",
    RecordListTooLarge 18 "RECORD_LIST_TOO_LARGE" "RecordBatchTooLargeException" Fatal "The request included message batch larger than the configured segment size on the server.",
    NotEnoughReplicas 19 "NOT_ENOUGH_REPLICAS" "NotEnoughReplicasException" Retriable "Messages are rejected since there are fewer in-sync replicas than required.",
    NotEnoughReplicasAfterAppend 20 "NOT_ENOUGH_REPLICAS_AFTER_APPEND" "NotEnoughReplicasAfterAppendException" Retriable "Messages are written to the log, but to fewer in-sync replicas than required.",
    InvalidRequiredAcks 21 "INVALID_REQUIRED_ACKS" "InvalidRequiredAcksException" Fatal "Produce request specified an invalid value for required acks.",
    IllegalGeneration 22 "ILLEGAL_GENERATION" "IllegalGenerationException" Fatal "Specified group generation id is not valid.",
    InconsistentGroupProtocol 23 "INCONSISTENT_GROUP_PROTOCOL" "InconsistentGroupProtocolException" Fatal "The group member's supported protocols are incompatible with those of existing members or first group member tried to join with empty protocol type or empty protocol list.",
    InvalidGroupId 24 "INVALID_GROUP_ID" "InvalidGroupIdException" Fatal "The group id is invalid.",
    UnknownMemberId 25 "UNKNOWN_MEMBER_ID" "UnknownMemberIdException" Fatal "The coordinator is not aware of this member.",
    InvalidSessionTimeout 26 "INVALID_SESSION_TIMEOUT" "InvalidSessionTimeoutException" Fatal "The session timeout is not within the range allowed by the broker (as configured by group.min.session.timeout.ms and group.max.session.timeout.ms).",
    RebalanceInProgress 27 "REBALANCE_IN_PROGRESS" "RebalanceInProgressException" Fatal "The group is rebalancing, so a rejoin is needed.",
    InvalidCommitOffsetSize 28 "INVALID_COMMIT_OFFSET_SIZE" "InvalidCommitOffsetSizeException" Fatal "The committing offset data size is not valid.",
    TopicAuthorizationFailed 29 "TOPIC_AUTHORIZATION_FAILED" "TopicAuthorizationException" Fatal "Topic authorization failed.",
    GroupAuthorizationFailed 30 "GROUP_AUTHORIZATION_FAILED" "GroupAuthorizationException" Fatal "Group authorization failed.",
    ClusterAuthorizationFailed 31 "CLUSTER_AUTHORIZATION_FAILED" "ClusterAuthorizationException" Fatal "Cluster authorization failed.",
    InvalidTimestamp 32 "INVALID_TIMESTAMP" "InvalidTimestampException" Fatal "The timestamp of the message is out of acceptable range.",
    UnsupportedSaslMechanism 33 "UNSUPPORTED_SASL_MECHANISM" "UnsupportedSaslMechanismException" Fatal "The broker does not support the requested SASL mechanism.",
    IllegalSaslState 34 "ILLEGAL_SASL_STATE" "IllegalSaslStateException" Fatal "Request is not valid given the current SASL state.",
    UnsupportedVersion 35 "UNSUPPORTED_VERSION" "UnsupportedVersionException" Fatal "The version of API is not supported.",
    TopicAlreadyExists 36 "TOPIC_ALREADY_EXISTS" "TopicExistsException" Fatal "Topic with this name already exists.",
    InvalidPartitions 37 "INVALID_PARTITIONS" "InvalidPartitionsException" Fatal "Number of partitions is below 1.",
    InvalidReplicationFactor 38 "INVALID_REPLICATION_FACTOR" "InvalidReplicationFactorException" Fatal "Replication factor is below 1 or larger than the number of available brokers.",
    InvalidReplicaAssignment 39 "INVALID_REPLICA_ASSIGNMENT" "InvalidReplicaAssignmentException" Fatal "Replica assignment is invalid.",
    InvalidConfig 40 "INVALID_CONFIG" "InvalidConfigurationException" Fatal "Configuration is invalid.",
    NotController 41 "NOT_CONTROLLER" "NotControllerException" Retriable "This is not the correct controller for this cluster.",
    InvalidRequest 42 "INVALID_REQUEST" "InvalidRequestException" Fatal "This most likely occurs because of a request being malformed by the client library or the message was sent to an incompatible broker. See the broker logs for more details.",
    UnsupportedForMessageFormat 43 "UNSUPPORTED_FOR_MESSAGE_FORMAT" "UnsupportedForMessageFormatException" Fatal "The message format version on the broker does not support the request.",
    PolicyViolation 44 "POLICY_VIOLATION" "PolicyViolationException" Fatal "Request parameters do not satisfy the configured policy.",
    OutOfOrderSequenceNumber 45 "OUT_OF_ORDER_SEQUENCE_NUMBER" "OutOfOrderSequenceException" Fatal "The broker received an out of order sequence number.",
    DuplicateSequenceNumber 46 "DUPLICATE_SEQUENCE_NUMBER" "DuplicateSequenceException" Fatal "The broker received a duplicate sequence number.",
    InvalidProducerEpoch 47 "INVALID_PRODUCER_EPOCH" "InvalidProducerEpochException" Fatal "Producer attempted to produce with an old epoch.",
    InvalidTxnState 48 "INVALID_TXN_STATE" "InvalidTxnStateException" Fatal "The producer attempted a transactional operation in an invalid state.",
    InvalidProducerIdMapping 49 "INVALID_PRODUCER_ID_MAPPING" "InvalidPidMappingException" Fatal "The producer attempted to use a producer id which is not currently assigned to its transactional id.",
    InvalidTransactionTimeout 50 "INVALID_TRANSACTION_TIMEOUT" "InvalidTxnTimeoutException" Fatal "The transaction timeout is larger than the maximum value allowed by the broker (as configured by transaction.max.timeout.ms).",
    ConcurrentTransactions 51 "CONCURRENT_TRANSACTIONS" "ConcurrentTransactionsException" Retriable "The producer attempted to update a transaction while another concurrent operation on the same transaction was ongoing.",
    TransactionCoordinatorFenced 52 "TRANSACTION_COORDINATOR_FENCED" "TransactionCoordinatorFencedException" Fatal "Indicates that the transaction coordinator sending a WriteTxnMarker is no longer the current coordinator for a given producer.",
    TransactionalIdAuthorizationFailed 53 "TRANSACTIONAL_ID_AUTHORIZATION_FAILED" "TransactionalIdAuthorizationException" Fatal "Transactional Id authorization failed.",
    SecurityDisabled 54 "SECURITY_DISABLED" "SecurityDisabledException" Fatal "Security features are disabled.",
    OperationNotAttempted 55 "OPERATION_NOT_ATTEMPTED" "OperationNotAttemptedException" Fatal "The broker did not attempt to execute this operation. This may happen for batched RPCs where some operations in the batch failed, causing the broker to respond without trying the rest.",
    KafkaStorageError 56 "KAFKA_STORAGE_ERROR" "KafkaStorageException" StaleMetadata "Disk error when trying to access log file on the disk.",
    LogDirNotFound 57 "LOG_DIR_NOT_FOUND" "LogDirNotFoundException" Fatal "The user-specified log directory is not found in the broker config.",
    SaslAuthenticationFailed 58 "SASL_AUTHENTICATION_FAILED" "SaslAuthenticationException" Fatal "SASL Authentication failed.",
    UnknownProducerId 59 "UNKNOWN_PRODUCER_ID" "UnknownProducerIdException" Fatal "This exception is raised by the broker if it could not locate the producer metadata associated with the producerId in question. This could happen if, for instance, the producer's records were deleted because their retention time had elapsed. Once the last records of the producerId are removed, the producer's metadata is removed from the broker, and future appends by the producer will return this exception.",
    ReassignmentInProgress 60 "REASSIGNMENT_IN_PROGRESS" "ReassignmentInProgressException" Fatal "A partition reassignment is in progress.",
    DelegationTokenAuthDisabled 61 "DELEGATION_TOKEN_AUTH_DISABLED" "DelegationTokenDisabledException" Fatal "Delegation Token feature is not enabled.",
    DelegationTokenNotFound 62 "DELEGATION_TOKEN_NOT_FOUND" "DelegationTokenNotFoundException" Fatal "Delegation Token is not found on server.",
    DelegationTokenOwnerMismatch 63 "DELEGATION_TOKEN_OWNER_MISMATCH" "DelegationTokenOwnerMismatchException" Fatal "Specified Principal is not valid Owner/Renewer.",
    DelegationTokenRequestNotAllowed 64 "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED" "UnsupportedByAuthenticationException" Fatal "Delegation Token requests are not allowed on PLAINTEXT/1-way SSL channels and on delegation token authenticated channels.",
    DelegationTokenAuthorizationFailed 65 "DELEGATION_TOKEN_AUTHORIZATION_FAILED" "DelegationTokenAuthorizationException" Fatal "Delegation Token authorization failed.",
    DelegationTokenExpired 66 "DELEGATION_TOKEN_EXPIRED" "DelegationTokenExpiredException" Fatal "Delegation Token is expired.",
    InvalidPrincipalType 67 "INVALID_PRINCIPAL_TYPE" "InvalidPrincipalTypeException" Fatal "Supplied principalType is not supported.",
    NonEmptyGroup 68 "NON_EMPTY_GROUP" "GroupNotEmptyException" Fatal "The group is not empty.",
    GroupIdNotFound 69 "GROUP_ID_NOT_FOUND" "GroupIdNotFoundException" Fatal "The group id does not exist.",
    FetchSessionIdNotFound 70 "FETCH_SESSION_ID_NOT_FOUND" "FetchSessionIdNotFoundException" Retriable "The fetch session ID was not found.",
    InvalidFetchSessionEpoch 71 "INVALID_FETCH_SESSION_EPOCH" "InvalidFetchSessionEpochException" Retriable "The fetch session epoch is invalid.",
    ListenerNotFound 72 "LISTENER_NOT_FOUND" "ListenerNotFoundException" StaleMetadata "There is no listener on the leader broker that matches the listener on which metadata request was processed.",
    TopicDeletionDisabled 73 "TOPIC_DELETION_DISABLED" "TopicDeletionDisabledException" Fatal "Topic deletion is disabled.",
    FencedLeaderEpoch 74 "FENCED_LEADER_EPOCH" "FencedLeaderEpochException" StaleMetadata "The leader epoch in the request is older than the epoch on the broker.",
    UnknownLeaderEpoch 75 "UNKNOWN_LEADER_EPOCH" "UnknownLeaderEpochException" Retriable "The leader epoch in the request is newer than the epoch on the broker.",
    UnsupportedCompressionType 76 "UNSUPPORTED_COMPRESSION_TYPE" "UnsupportedCompressionTypeException" Fatal "The requesting client does not support the compression type of given partition.",
    StaleBrokerEpoch 77 "STALE_BROKER_EPOCH" "StaleBrokerEpochException" Fatal "Broker epoch has changed.",
    OffsetNotAvailable 78 "OFFSET_NOT_AVAILABLE" "OffsetNotAvailableException" Retriable "The leader high watermark has not caught up from a recent leader election so the offsets cannot be guaranteed to be monotonically increasing.",
    MemberIdRequired 79 "MEMBER_ID_REQUIRED" "MemberIdRequiredException" Fatal "The group member needs to have a valid member id before actually entering a consumer group.",
    PreferredLeaderNotAvailable 80 "PREFERRED_LEADER_NOT_AVAILABLE" "PreferredLeaderNotAvailableException" StaleMetadata "The preferred leader was not available.",
    GroupMaxSizeReached 81 "GROUP_MAX_SIZE_REACHED" "GroupMaxSizeReachedException" Fatal "The group has reached its maximum size.",
    FencedInstanceId 82 "FENCED_INSTANCE_ID" "FencedInstanceIdException" Fatal "The broker rejected this static consumer since another consumer with the same group.instance.id has registered with a different member.id.",
    EligibleLeadersNotAvailable 83 "ELIGIBLE_LEADERS_NOT_AVAILABLE" "EligibleLeadersNotAvailableException" StaleMetadata "Eligible topic partition leaders are not available.",
    ElectionNotNeeded 84 "ELECTION_NOT_NEEDED" "ElectionNotNeededException" StaleMetadata "Leader election not needed for topic partition.",
    NoReassignmentInProgress 85 "NO_REASSIGNMENT_IN_PROGRESS" "NoReassignmentInProgressException" Fatal "No partition reassignment is in progress.",
    GroupSubscribedToTopic 86 "GROUP_SUBSCRIBED_TO_TOPIC" "GroupSubscribedToTopicException" Fatal "Deleting offsets of a topic is forbidden while the consumer group is actively subscribed to it.",
    InvalidRecord 87 "INVALID_RECORD" "InvalidRecordException" Fatal "This record has failed the validation on broker and hence will be rejected.",
    UnstableOffsetCommit 88 "UNSTABLE_OFFSET_COMMIT" "UnstableOffsetCommitException" Retriable "There are unstable offsets that need to be cleared.",
    ThrottlingQuotaExceeded 89 "THROTTLING_QUOTA_EXCEEDED" "ThrottlingQuotaExceededException" Retriable "The throttling quota has been exceeded.",
    ProducerFenced 90 "PRODUCER_FENCED" "ProducerFencedException" Fatal "There is a newer producer with the same transactionalId which fences the current one.",
    ResourceNotFound 91 "RESOURCE_NOT_FOUND" "ResourceNotFoundException" Fatal "A request illegally referred to a resource that does not exist.",
    DuplicateResource 92 "DUPLICATE_RESOURCE" "DuplicateResourceException" Fatal "A request illegally referred to the same resource twice.",
    UnacceptableCredential 93 "UNACCEPTABLE_CREDENTIAL" "UnacceptableCredentialException" Fatal "Requested credential would not meet criteria for acceptability.",
    InconsistentVoterSet 94 "INCONSISTENT_VOTER_SET" "InconsistentVoterSetException" Fatal "Indicates that the either the sender or recipient of a voter-only request is not one of the expected voters.",
    InvalidUpdateVersion 95 "INVALID_UPDATE_VERSION" "InvalidUpdateVersionException" Fatal "The given update version was invalid.",
    FeatureUpdateFailed 96 "FEATURE_UPDATE_FAILED" "FeatureUpdateFailedException" Fatal "Unable to update finalized features due to an unexpected server error.",
    PrincipalDeserializationFailure 97 "PRINCIPAL_DESERIALIZATION_FAILURE" "PrincipalDeserializationException" Fatal "Request principal deserialization failed during forwarding. This indicates an internal error on the broker cluster security setup.",
    SnapshotNotFound 98 "SNAPSHOT_NOT_FOUND" "SnapshotNotFoundException" Fatal "Requested snapshot was not found.",
    PositionOutOfRange 99 "POSITION_OUT_OF_RANGE" "PositionOutOfRangeException" Fatal "Requested position is not greater than or equal to zero, and less than the size of the snapshot.",
    UnknownTopicId 100 "UNKNOWN_TOPIC_ID" "UnknownTopicIdException" StaleMetadata "This server does not host this topic ID.",
    DuplicateBrokerRegistration 101 "DUPLICATE_BROKER_REGISTRATION" "DuplicateBrokerRegistrationException" Fatal "This broker ID is already in use.",
    BrokerIdNotRegistered 102 "BROKER_ID_NOT_REGISTERED" "BrokerIdNotRegisteredException" Fatal "The given broker ID was not registered.",
    InconsistentTopicId 103 "INCONSISTENT_TOPIC_ID" "InconsistentTopicIdException" StaleMetadata "The log's topic ID did not match the topic ID in the request.",
    InconsistentClusterId 104 "INCONSISTENT_CLUSTER_ID" "InconsistentClusterIdException" Fatal "The clusterId in the request does not match that found on the server.",
    TransactionalIdNotFound 105 "TRANSACTIONAL_ID_NOT_FOUND" "TransactionalIdNotFoundException" Fatal "The transactionalId could not be found.",
    FetchSessionTopicIdError 106 "FETCH_SESSION_TOPIC_ID_ERROR" "FetchSessionTopicIdException" Retriable "The fetch session encountered inconsistent topic ID usage.",
    IneligibleReplica 107 "INELIGIBLE_REPLICA" "IneligibleReplicaException" Fatal "The new ISR contains at least one ineligible replica.",
    NewLeaderElected 108 "NEW_LEADER_ELECTED" "NewLeaderElectedException" Fatal "The AlterPartition request successfully updated the partition state but the leader has changed.",
    OffsetMovedToTieredStorage 109 "OFFSET_MOVED_TO_TIERED_STORAGE" "OffsetMovedToTieredStorageException" Fatal "The requested offset is moved to tiered storage.",
    FencedMemberEpoch 110 "FENCED_MEMBER_EPOCH" "FencedMemberEpochException" Fatal "The member epoch is fenced by the group coordinator. The member must abandon all its partitions and rejoin.",
    UnreleasedInstanceId 111 "UNRELEASED_INSTANCE_ID" "UnreleasedInstanceIdException" Fatal "The instance ID is still used by another member in the consumer group. That member must leave first.",
    UnsupportedAssignor 112 "UNSUPPORTED_ASSIGNOR" "UnsupportedAssignorException" Fatal "The assignor or its version range is not supported by the consumer group.",
    StaleMemberEpoch 113 "STALE_MEMBER_EPOCH" "StaleMemberEpochException" Fatal "The member epoch is stale. The member must retry after receiving its updated member epoch via the ConsumerGroupHeartbeat API.",
    MismatchedEndpointType 114 "MISMATCHED_ENDPOINT_TYPE" "MismatchedEndpointTypeException" Fatal "The request was sent to an endpoint of the wrong type.",
    UnsupportedEndpointType 115 "UNSUPPORTED_ENDPOINT_TYPE" "UnsupportedEndpointTypeException" Fatal "This endpoint type is not supported yet.",
    UnknownControllerId 116 "UNKNOWN_CONTROLLER_ID" "UnknownControllerIdException" Fatal "This controller ID is not known.",
    UnknownSubscriptionId 117 "UNKNOWN_SUBSCRIPTION_ID" "UnknownSubscriptionIdException" Fatal "Client sent a push telemetry request with an invalid or outdated subscription ID.",
    TelemetryTooLarge 118 "TELEMETRY_TOO_LARGE" "TelemetryTooLargeException" Fatal "Client sent a push telemetry request larger than the maximum size the broker will accept.",
    InvalidRegistration 119 "INVALID_REGISTRATION" "InvalidRegistrationException" Fatal "The controller has considered the broker registration to be invalid.",
    TransactionAbortable 120 "TRANSACTION_ABORTABLE" "TransactionAbortableException" Fatal "The server encountered an error with the transaction. The client can abort the transaction to continue using this transactional ID.",
    InvalidRecordState 121 "INVALID_RECORD_STATE" "InvalidRecordStateException" Fatal "The record state is invalid. The acknowledgement of delivery could not be completed.",
    ShareSessionNotFound 122 "SHARE_SESSION_NOT_FOUND" "ShareSessionNotFoundException" Retriable "The share session was not found.",
    InvalidShareSessionEpoch 123 "INVALID_SHARE_SESSION_EPOCH" "InvalidShareSessionEpochException" Retriable "The share session epoch is invalid.",
    FencedStateEpoch 124 "FENCED_STATE_EPOCH" "FencedStateEpochException" Fatal "The share coordinator rejected the request because the share-group state epoch did not match.",
    InvalidVoterKey 125 "INVALID_VOTER_KEY" "InvalidVoterKeyException" Fatal "The voter key doesn't match the receiving replica's key.",
    DuplicateVoter 126 "DUPLICATE_VOTER" "DuplicateVoterException" Fatal "The voter is already part of the set of voters.",
    VoterNotFound 127 "VOTER_NOT_FOUND" "VoterNotFoundException" Fatal "The voter is not part of the set of voters.",
    InvalidRegularExpression 128 "INVALID_REGULAR_EXPRESSION" "InvalidRegularExpression" Fatal "The regular expression is not valid.",
    RebootstrapRequired 129 "REBOOTSTRAP_REQUIRED" "RebootstrapRequiredException" Fatal "Client metadata is stale. The client should rebootstrap to obtain new metadata.",
    StreamsInvalidTopology 130 "STREAMS_INVALID_TOPOLOGY" "StreamsInvalidTopologyException" Fatal "The supplied topology is invalid.",
    StreamsInvalidTopologyEpoch 131 "STREAMS_INVALID_TOPOLOGY_EPOCH" "StreamsInvalidTopologyEpochException" Fatal "The supplied topology epoch is invalid.",
    StreamsTopologyFenced 132 "STREAMS_TOPOLOGY_FENCED" "StreamsTopologyFencedException" Fatal "The supplied topology epoch is outdated.",
    ShareSessionLimitReached 133 "SHARE_SESSION_LIMIT_REACHED" "ShareSessionLimitReachedException" Retriable "The limit of share sessions has been reached.",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip_and_unknown_ones_are_server_errors() {
        for &error in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_code(error.code()), error);
        }
        assert_eq!(ErrorCode::from_code(9999), ErrorCode::UnknownServerError);
        assert_eq!(ErrorCode::from_code(3).to_string(), "UNKNOWN_TOPIC_OR_PARTITION");
        assert!(ErrorCode::NotLeaderOrFollower.is_stale_metadata() && ErrorCode::NotEnoughReplicas.is_retriable());
        assert!(!ErrorCode::TopicAlreadyExists.is_retriable());
    }
}
