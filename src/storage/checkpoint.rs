//! The text files that hold offsets. Sources: `CheckpointFile`, `OffsetCheckpointFile`, `LeaderEpochCheckpointFile`.
//!
//! Line `0` (the version), a line with the number of entries, one line for each entry; a newline after each. An empty file is an empty checkpoint.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::common::topic_partition::TopicPartition;

use super::errors::StorageError;
use super::fs;

/// Names of the offset checkpoints in each log directory.
pub const RECOVERY_POINT_CHECKPOINT: &str = "recovery-point-offset-checkpoint";
pub const LOG_START_OFFSET_CHECKPOINT: &str = "log-start-offset-checkpoint";
pub const HIGH_WATERMARK_CHECKPOINT: &str = "replication-offset-checkpoint";
pub const CLEANER_OFFSET_CHECKPOINT: &str = "cleaner-offset-checkpoint";
/// Name of the leader epoch checkpoint in each partition's directory.
pub const LEADER_EPOCH_CHECKPOINT: &str = "leader-epoch-checkpoint";

/// Reads an offset checkpoint; a missing file is an empty one.
pub fn read_offsets(path: &Path) -> Result<BTreeMap<TopicPartition, i64>, StorageError> {
    read_lines(path, |line| {
        // A topic's name has no blank, so the fields are exactly three.
        let mut fields = line.split_ascii_whitespace();
        let (topic, partition, offset) = (fields.next()?, fields.next()?, fields.next()?);
        match fields.next() {
            None => Some((TopicPartition::new(topic, partition.parse().ok()?), offset.parse().ok()?)),
            Some(_) => None,
        }
    })
    .map(|entries| entries.into_iter().collect())
}

/// As [`read_offsets`]; one that is damaged is empty too: what it says can be found out from the logs, at some cost.
pub fn read_offsets_or_none(path: &Path) -> Result<BTreeMap<TopicPartition, i64>, StorageError> {
    match read_offsets(path) {
        Err(error) if error.reason.kind() == std::io::ErrorKind::InvalidData => {
            tracing::warn!(%error, "a damaged checkpoint is left out of account");
            Ok(BTreeMap::new())
        }
        read => read,
    }
}

/// The content of an offset checkpoint.
pub fn offsets_text<'a>(offsets: impl IntoIterator<Item = (&'a TopicPartition, i64)>) -> String {
    let lines = offsets.into_iter().map(|(tp, offset)| format!("{} {} {offset}", tp.topic, tp.partition));
    text(lines.collect())
}

/// Reads `(epoch, start offset)` pairs; a missing file is an empty one.
pub fn read_epochs(path: &Path) -> Result<Vec<(i32, i64)>, StorageError> {
    read_lines(path, |line| {
        let (epoch, offset) = line.split_once(' ')?;
        Some((epoch.parse().ok()?, offset.parse().ok()?))
    })
}

/// The content of a leader epoch checkpoint.
pub fn epochs_text(epochs: &[(i32, i64)]) -> String {
    text(epochs.iter().map(|(epoch, offset)| format!("{epoch} {offset}")).collect())
}

fn text(lines: Vec<String>) -> String {
    let mut text = format!("0\n{}\n", lines.len());
    for line in lines {
        let _ = writeln!(text, "{line}");
    }
    text
}

fn read_lines<T>(path: &Path, parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, StorageError> {
    let malformed = |what: String| StorageError::new(path, std::io::Error::new(std::io::ErrorKind::InvalidData, what));
    let Some(content) = fs::read_if_exists(path)? else { return Ok(Vec::new()) };
    let text = String::from_utf8(content).map_err(|_| malformed("not text".to_owned()))?;
    let mut lines = text.lines();
    let Some(version) = lines.next() else { return Ok(Vec::new()) };
    if version.trim() != "0" {
        return Err(malformed(format!("unknown checkpoint version '{version}'")));
    }
    // Kafka takes a file that ends after the version for an empty one.
    let Some(count) = lines.next() else { return Ok(Vec::new()) };
    let count: usize = count.trim().parse().map_err(|_| malformed(format!("malformed entry count '{count}'")))?;
    let mut entries = Vec::new();
    for line in lines {
        entries.push(parse(line).ok_or_else(|| malformed(format!("malformed line '{line}'")))?);
    }
    if entries.len() != count {
        return Err(malformed(format!("expected {count} entries in the checkpoint but found {}", entries.len())));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_round_trip_in_kafkas_text() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join(RECOVERY_POINT_CHECKPOINT);
        let offsets = BTreeMap::from([(TopicPartition::new("a", 0), 5), (TopicPartition::new("b-1", 12), 7)]);
        fs::write(&path, offsets_text(offsets.iter().map(|(tp, offset)| (tp, *offset))).as_bytes()).expect("written");
        assert_eq!(fs::read(&path).expect("read"), b"0\n2\na 0 5\nb-1 12 7\n");
        assert_eq!(read_offsets(&path).expect("parsed"), offsets);
    }

    #[test]
    fn missing_and_empty_files_are_empty_checkpoints() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join(LEADER_EPOCH_CHECKPOINT);
        assert_eq!(read_epochs(&path).expect("parsed"), []);
        fs::write_atomically(&path, b"").expect("written");
        assert_eq!(read_epochs(&path).expect("parsed"), []);
        fs::write(&path, epochs_text(&[(0, 0), (3, 10)]).as_bytes()).expect("written");
        assert_eq!(fs::read(&path).expect("read"), b"0\n2\n0 0\n3 10\n");
        assert_eq!(read_epochs(&path).expect("parsed"), [(0, 0), (3, 10)]);
    }

    #[test]
    fn malformed_checkpoints_are_refused() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join(LEADER_EPOCH_CHECKPOINT);
        for text in ["1\n0\n", "0\nx\n", "0\n2\n1 1\n", "0\n1\n1\n", "0\n1\n1 x\n"] {
            fs::write_atomically(&path, text.as_bytes()).expect("written");
            assert!(read_epochs(&path).is_err(), "{text:?}");
        }
    }
}
