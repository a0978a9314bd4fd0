//! The coordinators' records that each of Kafka's formatters prints.
//!
//! Records of another type than the formatter's, and types that are not known, are left out.
//! Source: `CoordinatorRecordMessageFormatter` and its subclasses.

use bytes::Bytes;
use serde_json::{Value, json};

use super::formatter::FormatError;
use crate::tools::coordinator_records::{Coordinator, RecordType, split};

/// Which records are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Offsets,
    GroupMetadata,
    ShareGroup,
    TransactionLog,
}

impl Kind {
    fn record_type(self, number: i16) -> Option<RecordType> {
        match (self, number) {
            (Kind::Offsets, 0 | 1) | (Kind::GroupMetadata, 2) | (Kind::ShareGroup, 10..=15) => Coordinator::Group.record_type(number),
            (Kind::TransactionLog, _) => Coordinator::Transaction.record_type(number),
            _ => None,
        }
    }

    /// Appends the JSON of a record, if it is of this kind. Kafka puts nothing between records; `line_end` is what follows each.
    pub(super) fn write(
        self,
        offset: i64,
        key: Option<&Bytes>,
        value: Option<&Bytes>,
        line_end: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), FormatError> {
        let Some(key) = key else { return Ok(()) };
        let unreadable = |reason: String| FormatError::new(format!("Could not read record at offset {offset} due to: {reason}"));
        let (number, key) = split(key).ok_or_else(|| unreadable("the key has no type".to_owned()))?;
        let Some(record_type) = self.record_type(number) else { return Ok(()) };
        let key = json!({"type": number, "data": (record_type.key)(key).map_err(|error| unreadable(error.to_string()))?});
        let value = match value {
            None => Value::Null,
            Some(value) => {
                let (version, value) = split(value).ok_or_else(|| unreadable("the value has no version".to_owned()))?;
                json!({"version": version, "data": (record_type.value)(value, version).map_err(|error| unreadable(error.to_string()))?})
            }
        };
        let record = json!({"key": key, "value": value});
        serde_json::to_writer(&mut *out, &record).map_err(|error| unreadable(error.to_string()))?;
        out.extend_from_slice(line_end);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::codec::Message;
    use crate::protocol::messages::*;

    fn versioned<M: Message>(number: i16, version: i16, message: &M) -> Bytes {
        [&number.to_be_bytes()[..], &message.to_bytes(version).unwrap()].concat().into()
    }

    #[test]
    fn committed_offsets_are_shown_and_other_records_are_not() {
        let key = OffsetCommitKey { group: "g".into(), topic: "t".into(), partition: 2, ..Default::default() };
        let value = OffsetCommitValue { offset: 7, leader_epoch: 1, commit_timestamp: 5, ..Default::default() };
        let (key, value) = (versioned(1, 0, &key), versioned(3, 3, &value));
        let mut out = Vec::new();
        Kind::Offsets.write(0, Some(&key), Some(&value), b"", &mut out).unwrap();
        Kind::Offsets.write(1, Some(&key), None, b"\n", &mut out).unwrap();
        Kind::GroupMetadata.write(0, Some(&key), Some(&value), b"\n", &mut out).unwrap();
        Kind::Offsets.write(2, None, Some(&value), b"\n", &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"key\":{\"type\":1,\"data\":{\"group\":\"g\",\"topic\":\"t\",\"partition\":2}},\
             \"value\":{\"version\":3,\"data\":{\"offset\":7,\"leaderEpoch\":1,\"metadata\":\"\",\"commitTimestamp\":5}}}\
             {\"key\":{\"type\":1,\"data\":{\"group\":\"g\",\"topic\":\"t\",\"partition\":2}},\"value\":null}\n"
        );
    }

    #[test]
    fn a_record_that_cannot_be_read_is_named_by_its_offset() {
        let error = Kind::Offsets.write(9, Some(&Bytes::from_static(b"\0\x01\0")), None, b"", &mut Vec::new()).unwrap_err();
        assert!(error.to_string().starts_with("Could not read record at offset 9 due to: "), "{error}");
    }
}
