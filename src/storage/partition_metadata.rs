//! `partition.metadata`: the topic id of a partition's directory. Source: `PartitionMetadataFile`.

use std::path::Path;

use crate::common::uuid::Uuid;

use super::errors::StorageError;
use super::fs;

/// The file's name in each partition's directory.
pub const PARTITION_METADATA: &str = "partition.metadata";

/// Reads the topic id; None when there is no file, or one without content: the power failed between the creation of the partition and the
/// sync of the file, which comes before the first record counts.
pub fn read(dir: &Path) -> Result<Option<Uuid>, StorageError> {
    let path = dir.join(PARTITION_METADATA);
    let Some(content) = fs::read_if_exists(&path)?.filter(|content| content.iter().any(|&byte| byte != 0)) else { return Ok(None) };
    let malformed = || StorageError::new(&path, std::io::Error::new(std::io::ErrorKind::InvalidData, "malformed partition metadata"));
    let text = String::from_utf8(content).map_err(|_| malformed())?;
    let (mut version, mut topic_id) = (None, None);
    for line in text.lines() {
        let (key, value) = line.split_once(": ").ok_or_else(malformed)?;
        match key {
            "version" => version = Some(value.trim()),
            "topic_id" => topic_id = Some(value.trim().parse::<Uuid>().map_err(|_| malformed())?),
            _ => return Err(malformed()),
        }
    }
    match (version, topic_id) {
        (Some("0"), Some(id)) if !id.is_zero() => Ok(Some(id)),
        _ => Err(malformed()),
    }
}

/// Writes the file, without syncing it; a crash of the machine may leave it without content, which [`read`] understands.
pub fn write(dir: &Path, topic_id: Uuid) -> Result<(), StorageError> {
    fs::write(&dir.join(PARTITION_METADATA), &content(topic_id))
}

/// What the file of this topic's partitions says.
pub fn content(topic_id: Uuid) -> Vec<u8> {
    format!("version: 0\ntopic_id: {topic_id}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_43_bytes_and_round_trips() {
        let dir = tempfile::tempdir().expect("temporary directory");
        assert_eq!(read(dir.path()).expect("read"), None);
        fs::write(&dir.path().join(PARTITION_METADATA), &content(Uuid::from_u128(1))).expect("written");
        let content = fs::read(&dir.path().join(PARTITION_METADATA)).expect("read");
        assert_eq!(content, b"version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(content.len(), 43);
        assert_eq!(read(dir.path()).expect("read"), Some(Uuid::from_u128(1)));
    }

    #[test]
    fn a_file_that_lost_its_content_is_as_none() {
        let dir = tempfile::tempdir().expect("temporary directory");
        for lost in [&[][..], &[0; 43]] {
            fs::write(&dir.path().join(PARTITION_METADATA), lost).expect("written");
            assert_eq!(read(dir.path()).expect("read"), None);
        }
        fs::write(&dir.path().join(PARTITION_METADATA), b"version: 0").expect("written");
        assert!(read(dir.path()).is_err());
    }
}
