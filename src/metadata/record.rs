//! The records of the metadata log.
//!
//! A record's value is a frame version (1), the record's type and the version of its body as unsigned varints, then the body.
//! Invariant: a record that this build does not know cannot be skipped: it would change what every later record means. The
//! node that meets one stops.
//! Source: Kafka's `MetadataRecordSerde` and `metadata/src/main/resources/common/metadata`.

use bytes::Bytes;

use crate::protocol::codec::{DecodeError, EncodeError, Message, Reader, VersionRange, Writer};
use crate::protocol::messages::*;

/// The version of the frame around each record.
const FRAME_VERSION: u32 = 1;

/// Why a record's value cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("metadata record with unknown frame version {0}: the log was written by a newer release")]
    UnknownFrameVersion(u32),
    #[error("unknown metadata record type {0}: the log was written by a newer release")]
    UnknownType(u32),
    #[error("{name} has no version {version} in this build, which knows {} to {}: the log was written by a newer release", known.min, known.max)]
    UnknownVersion { name: &'static str, version: u32, known: KnownVersions },
    #[error("malformed {name}: {source}")]
    Malformed { name: &'static str, source: DecodeError },
}

/// The versions of a record type that this build reads.
pub type KnownVersions = VersionRange;

macro_rules! records {
    ($($variant:ident $message:ident $key:literal $name:literal),* $(,)?) => {
        /// A record of the metadata log, by its type.
        #[derive(Debug, Clone, PartialEq)]
        pub enum MetadataRecord {
            $($variant($message),)*
        }

        $(
            impl From<$message> for MetadataRecord {
                fn from(record: $message) -> MetadataRecord {
                    MetadataRecord::$variant(record)
                }
            }
        )*

        impl MetadataRecord {
            /// The number of the record's type.
            pub fn key(&self) -> u16 {
                match self {
                    $(MetadataRecord::$variant(_) => $key,)*
                }
            }

            /// The record type's name as Kafka's tools print it, such as `TOPIC_RECORD`.
            pub fn type_name(&self) -> &'static str {
                match self {
                    $(MetadataRecord::$variant(_) => $name,)*
                }
            }

            /// The highest version of the record's type.
            pub fn highest_version(&self) -> i16 {
                match self {
                    $(MetadataRecord::$variant(_) => $message::VERSIONS.max,)*
                }
            }

            /// The record's body as Kafka's tools print it.
            pub fn to_json(&self, version: i16) -> serde_json::Value {
                match self {
                    $(MetadataRecord::$variant(record) => record.to_json(version),)*
                }
            }

            fn encode_body(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
                match self {
                    $(MetadataRecord::$variant(record) => record.encode(writer, version),)*
                }
            }

            fn decode_body(key: u32, version: u32, body: Bytes) -> Result<(MetadataRecord, i16), RecordError> {
                match key {
                    $($key => decode::<$message>(version, body).map(|(record, version)| (record.into(), version)),)*
                    _ => Err(RecordError::UnknownType(key)),
                }
            }
        }
    };
}

records! {
    RegisterBroker RegisterBrokerRecord 0 "REGISTER_BROKER_RECORD",
    UnregisterBroker UnregisterBrokerRecord 1 "UNREGISTER_BROKER_RECORD",
    Topic TopicRecord 2 "TOPIC_RECORD",
    Partition PartitionRecord 3 "PARTITION_RECORD",
    Config ConfigRecord 4 "CONFIG_RECORD",
    PartitionChange PartitionChangeRecord 5 "PARTITION_CHANGE_RECORD",
    FenceBroker FenceBrokerRecord 7 "FENCE_BROKER_RECORD",
    UnfenceBroker UnfenceBrokerRecord 8 "UNFENCE_BROKER_RECORD",
    RemoveTopic RemoveTopicRecord 9 "REMOVE_TOPIC_RECORD",
    DelegationToken DelegationTokenRecord 10 "DELEGATION_TOKEN_RECORD",
    UserScramCredential UserScramCredentialRecord 11 "USER_SCRAM_CREDENTIAL_RECORD",
    FeatureLevel FeatureLevelRecord 12 "FEATURE_LEVEL_RECORD",
    ClientQuota ClientQuotaRecord 14 "CLIENT_QUOTA_RECORD",
    ProducerIds ProducerIdsRecord 15 "PRODUCER_IDS_RECORD",
    BrokerRegistrationChange BrokerRegistrationChangeRecord 17 "BROKER_REGISTRATION_CHANGE_RECORD",
    AccessControlEntry AccessControlEntryRecord 18 "ACCESS_CONTROL_ENTRY_RECORD",
    RemoveAccessControlEntry RemoveAccessControlEntryRecord 19 "REMOVE_ACCESS_CONTROL_ENTRY_RECORD",
    NoOp NoOpRecord 20 "NO_OP_RECORD",
    ZkMigrationState ZkMigrationStateRecord 21 "ZK_MIGRATION_STATE_RECORD",
    RemoveUserScramCredential RemoveUserScramCredentialRecord 22 "REMOVE_USER_SCRAM_CREDENTIAL_RECORD",
    BeginTransaction BeginTransactionRecord 23 "BEGIN_TRANSACTION_RECORD",
    EndTransaction EndTransactionRecord 24 "END_TRANSACTION_RECORD",
    AbortTransaction AbortTransactionRecord 25 "ABORT_TRANSACTION_RECORD",
    RemoveDelegationToken RemoveDelegationTokenRecord 26 "REMOVE_DELEGATION_TOKEN_RECORD",
    RegisterController RegisterControllerRecord 27 "REGISTER_CONTROLLER_RECORD",
    ClearElr ClearElrRecord 28 "CLEAR_ELR_RECORD",
}

fn decode<M: Message>(version: u32, body: Bytes) -> Result<(M, i16), RecordError> {
    let unknown = RecordError::UnknownVersion { name: M::NAME, version, known: M::VERSIONS };
    let version = i16::try_from(version).ok().filter(|&version| M::VERSIONS.contains(version)).ok_or(unknown)?;
    match M::from_bytes(body, version) {
        Ok(record) => Ok((record, version)),
        Err(source) => Err(RecordError::Malformed { name: M::NAME, source }),
    }
}

impl MetadataRecord {
    /// Reads a record's value; also tells the version of its body.
    pub fn from_value(value: Bytes) -> Result<(MetadataRecord, i16), RecordError> {
        let malformed = |source| RecordError::Malformed { name: "metadata record frame", source };
        let mut reader = Reader::new(value);
        let frame_version = reader.uvarint().map_err(malformed)?;
        if frame_version != FRAME_VERSION {
            return Err(RecordError::UnknownFrameVersion(frame_version));
        }
        let key = reader.uvarint().map_err(malformed)?;
        let version = reader.uvarint().map_err(malformed)?;
        MetadataRecord::decode_body(key, version, reader.into_rest())
    }

    /// The record's value with its body at `version`.
    pub fn to_value(&self, version: i16) -> Result<Bytes, EncodeError> {
        let mut writer = Writer::new();
        writer.uvarint(FRAME_VERSION);
        writer.uvarint(u32::from(self.key()));
        writer.uvarint(version.max(0) as u32);
        self.encode_body(&mut writer, version)?;
        Ok(writer.into_bytes())
    }
}

/// A record together with the version at which it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct VersionedRecord {
    pub record: MetadataRecord,
    pub version: i16,
}

impl VersionedRecord {
    pub fn new(record: impl Into<MetadataRecord>, version: i16) -> VersionedRecord {
        VersionedRecord { record: record.into(), version }
    }

    pub fn to_value(&self) -> Result<Bytes, EncodeError> {
        self.record.to_value(self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values written by Apache Kafka 4.1.1.
    const GOLDEN: [(&str, &str); 17] = [
        ("NO_OP_RECORD", "01140000"),
        ("BEGIN_TRANSACTION_RECORD", "01170001001212426f6f747374726170207265636f726473"),
        ("END_TRANSACTION_RECORD", "01180000"),
        ("FEATURE_LEVEL_RECORD", "010c000e67726f75702e76657273696f6e000100"),
        ("TOPIC_RECORD", "0102000362312c2321c85a054e7eba56ba0f3279594a00"),
        (
            "PARTITION_RECORD",
            "0103020000000073dcac0907294e3ab25fbc90deb6e70202000000010200000001010100000001000000000000000002020e9e9ef12b431e9bc225c73c1c489500",
        ),
        ("PARTITION_CHANGE_RECORD", "01050200000000e2d4fa1702484f1896f0500c7c04aa600100050200000001"),
        ("CONFIG_RECORD", "01040002056b722d640b7365676d656e742e6d730000"),
        ("REMOVE_TOPIC_RECORD", "0109004f76090db5dc400e83ef5238397e45cf00"),
        ("PRODUCER_IDS_RECORD", "010f0000000001000000000000000b00000000000003e800"),
        ("BROKER_REGISTRATION_CHANGE_RECORD", "01110000000001000000000000000b010001ff"),
        ("BROKER_REGISTRATION_CHANGE_RECORD", "01110100000001000000000000002a01010101"),
        ("UNREGISTER_BROKER_RECORD", "0101000000000300000000000000eb00"),
        (
            "CLIENT_QUOTA_RECORD",
            "010e00030a636c69656e742d69640000057573657206616c696365001370726f64756365725f627974655f7261746540900000000000000000",
        ),
        ("ACCESS_CONTROL_ENTRY_RECORD", "011200a9df2b9b3ee34588a1e8d24d07d085c802046b722d040b557365723a616c696365022a030300"),
        ("CLEAR_ELR_RECORD", "011c000675782d726f00"),
        ("REMOVE_DELEGATION_TOKEN_RECORD", "011a00027400"),
    ];

    fn bytes(hex: &str) -> Bytes {
        (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex")).collect()
    }

    #[test]
    fn golden_values_round_trip() {
        for (name, hex) in GOLDEN {
            let (record, version) = MetadataRecord::from_value(bytes(hex)).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(record.type_name(), name);
            assert_eq!(record.to_value(version).expect("encodes"), bytes(hex), "{name}");
        }
    }

    #[test]
    fn golden_fields_are_read() {
        let (record, version) = MetadataRecord::from_value(bytes(GOLDEN[5].1)).expect("decodes");
        let MetadataRecord::Partition(partition) = record else { panic!("a partition") };
        assert_eq!((version, partition.replicas, partition.leader, partition.directories.len()), (2, vec![1], 1, 1));
        let (record, _) = MetadataRecord::from_value(bytes(GOLDEN[10].1)).expect("decodes");
        let MetadataRecord::BrokerRegistrationChange(change) = record else { panic!("a change") };
        assert_eq!((change.broker_id, change.broker_epoch, change.fenced), (1, 11, -1));
    }

    #[test]
    fn an_unknown_type_or_version_is_refused() {
        assert_eq!(MetadataRecord::from_value(bytes("017f0000")), Err(RecordError::UnknownType(127)));
        assert_eq!(MetadataRecord::from_value(bytes("01060000")), Err(RecordError::UnknownType(6)));
        assert_eq!(MetadataRecord::from_value(bytes("02140000")), Err(RecordError::UnknownFrameVersion(2)));
        let error = MetadataRecord::from_value(bytes("01140100")).expect_err("NoOp has only version 0");
        assert_eq!(
            error.to_string(),
            "NoOpRecord has no version 1 in this build, which knows 0 to 0: the log was written by a newer release"
        );
    }
}
