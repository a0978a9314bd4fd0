//! A new node's directories, as `kafka-storage format` of Kafka 4.3 leaves them: for a broker that starts on new directories, and for the
//! tool.
//!
//! Invariant: `meta.properties` is written last: a directory that has one is formatted whole.
//! Source: Kafka's `Formatter`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::features;
use super::record::VersionedRecord;
use crate::common::clock::Clock;
use crate::common::random::Random;
use crate::common::uuid::Uuid;
use crate::protocol::messages::FeatureLevelRecord;
use crate::raft::snapshot::{Snapshot, SnapshotId};
use crate::raft::voters::{ReplicaKey, Voter, VoterEndpoint, VoterSet};
use crate::storage::errors::StorageError;
use crate::storage::fs;
use crate::storage::log_dirs::CLUSTER_METADATA_DIR;
use crate::storage::meta_properties::{META_PROPERTIES, MetaProperties};

/// The file with what a new cluster starts with.
pub const BOOTSTRAP: &str = "bootstrap.checkpoint";

/// What a new node is to be.
#[derive(Clone)]
pub struct FormatOptions {
    /// `log.dirs`, and `metadata.log.dir` if it is none of these.
    pub log_dirs: Vec<PathBuf>,
    /// `metadata.log.dir`: one of `log_dirs`.
    pub metadata_log_dir: PathBuf,
    pub node_id: i32,
    /// `None`: a random one.
    pub cluster_id: Option<String>,
    /// Where the controller listens, or would listen: the address of the only voter.
    pub controller_endpoint: VoterEndpoint,
    pub clock: Arc<dyn Clock>,
}

/// Why directories cannot be formatted or used.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("{path} is not formatted, but other log directories are; is a disk not mounted?", path = path.display())]
    PartlyFormatted { path: PathBuf },
    #[error("{path} holds logs but no {META_PROPERTIES}; it is left alone", path = path.display())]
    HoldsLogs { path: PathBuf },
    #[error("cannot write {what}: {reason}")]
    Unwritable { what: &'static str, reason: String },
}

/// Formats the directories if none of them is formatted yet; says whether it did.
pub fn format_if_new(options: &FormatOptions, random: &mut Random) -> Result<bool, FormatError> {
    let is_formatted = |dir: &PathBuf| fs::exists(&dir.join(META_PROPERTIES));
    let missing: Vec<&PathBuf> = options.log_dirs.iter().filter(|dir| !is_formatted(dir)).collect();
    match missing.first() {
        None => return Ok(false),
        Some(path) if missing.len() < options.log_dirs.len() => {
            return Err(FormatError::PartlyFormatted { path: path.to_path_buf() });
        }
        Some(_) => {}
    }
    for dir in &options.log_dirs {
        if fs::is_dir(dir) && holds_logs(dir)? {
            return Err(FormatError::HoldsLogs { path: dir.clone() });
        }
    }
    let directories: Vec<NewDirectory> = options
        .log_dirs
        .iter()
        .map(|dir| NewDirectory { path: dir.clone(), id: Uuid::random(random), is_metadata: *dir == options.metadata_log_dir })
        .collect();
    let voter = directories.iter().find(|directory| directory.is_metadata).map(|directory| Voter {
        key: ReplicaKey { id: options.node_id, directory_id: directory.id },
        endpoints: vec![options.controller_endpoint.clone()],
        kraft_versions: (0, 1),
    });
    let formatting = Formatting {
        cluster_id: options.cluster_id.clone().unwrap_or_else(|| Uuid::random(random).to_string()),
        node_id: options.node_id,
        bootstrap: bootstrap_records(),
        kraft_version: 1,
        voters: Some(VoterSet::new(voter)),
        now_ms: options.clock.now_ms(),
    };
    formatting.write(&directories)?;
    Ok(true)
}

/// What the directories of a node are to say.
pub struct Formatting {
    pub cluster_id: String,
    pub node_id: i32,
    /// What a new cluster starts with.
    pub bootstrap: Vec<VersionedRecord>,
    pub kraft_version: i16,
    /// The voters that the metadata log starts with. `None`: they are in the configuration, or come later.
    pub voters: Option<VoterSet>,
    /// Milliseconds since 1970.
    pub now_ms: i64,
}

/// A directory to format, whether it is there or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDirectory {
    pub path: PathBuf,
    pub id: Uuid,
    /// It holds the metadata log.
    pub is_metadata: bool,
}

impl Formatting {
    /// Formats the directories. After a crash each is either as it was or formatted, and none is formatted while another lacks a file.
    pub fn write(&self, directories: &[NewDirectory]) -> Result<(), FormatError> {
        let now_ms = self.now_ms;
        let unwritable =
            |what| move |error: crate::raft::control::RaftRecordError| FormatError::Unwritable { what, reason: error.to_string() };
        let values: Result<Vec<_>, _> = self.bootstrap.iter().map(VersionedRecord::to_value).collect();
        let values = values.map_err(|error| FormatError::Unwritable { what: BOOTSTRAP, reason: error.to_string() })?;
        let bootstrap = Snapshot { values, ..Snapshot::default() };
        let bootstrap = bootstrap.to_bytes(0, now_ms).map_err(unwritable(BOOTSTRAP))?;
        // All that is new becomes durable together, and then, with one rename for each directory, formatted.
        let mut unsynced: Vec<PathBuf> = Vec::new();
        let mut renames: Vec<(PathBuf, PathBuf)> = Vec::new();
        let date = java_date(now_ms);
        for directory in directories {
            let dir = &directory.path;
            fs::create_dir_all(dir)?;
            fs::write(&dir.join(BOOTSTRAP), &bootstrap)?;
            let (cluster_id, node_id) = (self.cluster_id.clone(), self.node_id);
            let meta = MetaProperties { cluster_id, node_id, directory_id: Some(directory.id) };
            let path = dir.join(META_PROPERTIES);
            let tmp = fs::with_suffix(&path, ".tmp");
            fs::write(&tmp, meta.to_text(&date).as_bytes())?;
            unsynced.extend([dir.join(BOOTSTRAP), tmp.clone()]);
            renames.push((tmp, path));
            if let (true, Some(voters)) = (directory.is_metadata, &self.voters) {
                let metadata_dir = dir.join(CLUSTER_METADATA_DIR);
                fs::create_dir_all(&metadata_dir)?;
                let first = Snapshot {
                    last_contained_log_timestamp_ms: now_ms,
                    kraft_version: self.kraft_version,
                    voters: Some(voters.clone()),
                    values: Vec::new(),
                };
                let first = first.to_bytes(0, now_ms).map_err(unwritable("the first snapshot"))?;
                let path = metadata_dir.join(SnapshotId { end_offset: 0, epoch: 0 }.file_name());
                // A first try may have left it, and it is read-only.
                fs::remove_file(&path)?;
                fs::write(&path, &first)?;
                fs::make_read_only(&path)?;
                unsynced.extend([path, metadata_dir]);
            }
        }
        // The directories' entries too, so that none is formatted before the others are there.
        let mut dirs: Vec<&Path> = directories.iter().map(|directory| directory.path.as_path()).collect();
        dirs.extend(directories.iter().filter_map(|directory| directory.path.parent()).filter(|parent| !parent.as_os_str().is_empty()));
        dirs.sort_unstable();
        dirs.dedup();
        unsynced.extend(dirs.iter().map(|dir| dir.to_path_buf()));
        fs::sync_together(&unsynced)?;
        for (tmp, path) in &renames {
            fs::rename_unsynced(tmp, path)?;
        }
        fs::sync_together(&directories.iter().map(|directory| directory.path.as_path()).collect::<Vec<_>>())?;
        Ok(())
    }
}

/// Does an unformatted directory hold what must not be taken for a new node's?
fn holds_logs(dir: &Path) -> Result<bool, StorageError> {
    for path in fs::list(dir)?.iter().filter(|path| fs::is_dir(path)) {
        let is_log = crate::storage::log::parse_topic_partition_name(path).is_some();
        let segments = fs::list(path)?.iter().any(|file| file.extension().is_some_and(|extension| extension == "log"));
        if is_log && segments {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The feature levels of a new cluster.
pub fn bootstrap_records() -> Vec<VersionedRecord> {
    let levels = features::NEW_CLUSTER.iter();
    let record = |&(name, feature_level): &(&str, i16)| FeatureLevelRecord { name: name.to_owned(), feature_level, ..Default::default() };
    levels.map(|level| VersionedRecord::new(record(level), 0)).collect()
}

/// A date as `java.util.Date` writes it.
fn java_date(now_ms: i64) -> String {
    let timestamp = jiff::Timestamp::from_millisecond(now_ms).unwrap_or_default();
    timestamp.strftime("%a %b %d %H:%M:%S UTC %Y").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::clock::ManualClock;

    fn options(dir: &Path) -> FormatOptions {
        FormatOptions {
            log_dirs: vec![dir.join("a"), dir.join("b")],
            metadata_log_dir: dir.join("a"),
            node_id: 1,
            cluster_id: None,
            controller_endpoint: VoterEndpoint { name: "CONTROLLER".to_owned(), host: "localhost".to_owned(), port: 9093 },
            clock: Arc::new(ManualClock::new(1_795_429_724_112)),
        }
    }

    #[test]
    fn directories_are_formatted_once() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let options = options(dir.path());
        assert!(format_if_new(&options, &mut Random::new(1)).expect("formatted"));
        let a = MetaProperties::read(&dir.path().join("a")).expect("read").expect("formatted");
        let b = MetaProperties::read(&dir.path().join("b")).expect("read").expect("formatted");
        assert_eq!((a.node_id, &a.cluster_id), (1, &b.cluster_id));
        assert_ne!(a.directory_id, b.directory_id);
        assert!(!format_if_new(&options, &mut Random::new(2)).expect("left alone"));
        assert_eq!(MetaProperties::read(&dir.path().join("a")).expect("read"), Some(a));
        assert_eq!(java_date(1_795_429_724_112), "Mon Nov 23 10:28:44 UTC 2026");
    }

    #[test]
    fn a_missing_disk_is_not_formatted() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let options = options(dir.path());
        format_if_new(&options, &mut Random::new(1)).expect("formatted");
        std::fs::remove_dir_all(dir.path().join("b")).expect("removed");
        let error = format_if_new(&options, &mut Random::new(1)).expect_err("refused");
        assert!(matches!(error, FormatError::PartlyFormatted { .. }));
    }

    #[test]
    fn logs_without_meta_properties_are_left_alone() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let partition = dir.path().join("a/orders-0");
        std::fs::create_dir_all(&partition).expect("created");
        std::fs::write(partition.join("00000000000000000000.log"), b"").expect("written");
        let error = format_if_new(&options(dir.path()), &mut Random::new(1)).expect_err("refused");
        assert!(matches!(error, FormatError::HoldsLogs { .. }));
    }
}
