//! Looking through whole log directories for what is wrong: `ottla check`. Nothing is changed but by [`repair`], which is recovery.
//!
//! What no checksum covers is held against its neighbours: base offsets and leader epochs must grow, and epochs be those of their file. So a
//! batch at the end of a log whose base offset became larger goes unnoticed, unless an index names it.
//!
//! Every batch of every segment is read once, and everything else in the directory is held against what the batches say: offset, time and
//! transaction indexes, leader epochs, producer snapshots, checkpoints, topic ids. A finding says what recovery would do about it, and
//! what that would lose.
//!
//! Invariant: no more memory than the largest batch, an open transaction each, and the aborted transactions of one segment.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common::clock::SystemClock;
use crate::common::topic_partition::TopicPartition;
use crate::common::uuid::Uuid;
use crate::protocol::batch::{BatchError, BatchHeader, BatchView, DecompressionLimits};

use super::checkpoint;
use super::config::LogConfig;
use super::errors::StorageError;
use super::fs;
use super::inspect::{InspectError, LogBatch, LogBatches, LogFile, OffsetIndexFile, TimeIndexFile, TxnIndexFile, snapshot_producers};
use super::log::{Log, LogOptions, parse_topic_partition_name};
use super::log_dirs::{CLUSTER_METADATA_DIR, stray_name};
use super::meta_properties::{META_PROPERTIES, MetaProperties};
use super::partition_metadata::{self, PARTITION_METADATA};
use super::segment::{INDEX_SUFFIX, LOG_SUFFIX, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX, end_txn_marker, segment_path};

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub path: PathBuf,
    /// Byte in the file, where there is one.
    pub position: Option<u64>,
    pub problem: String,
    pub repair: Repair,
}

/// What recovery does about a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// It puts the file right without losing a record; how.
    Lossless(&'static str),
    /// It cuts the log where the finding is; all that follows is lost.
    Cut {
        /// The first offset that is lost.
        first_offset: i64,
        /// The last offset that still has a readable header.
        last_offset: Option<i64>,
        bytes: u64,
    },
    /// A broker renames the directory of a replica that the cluster does not have to `…-stray`.
    SetAside,
    /// Nothing: it does not look at this, or cannot help.
    None,
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub logs: u64,
    pub segments: u64,
    pub batches: u64,
    pub records: u64,
    pub bytes: u64,
}

/// A log that was looked through.
#[derive(Clone, Debug)]
pub struct CheckedLog {
    pub dir: PathBuf,
    pub topic_partition: TopicPartition,
    pub log_start_offset: i64,
    /// The offset after the last whole and valid batch.
    pub end_offset: i64,
    /// How many findings recovery would put right.
    pub repairable: usize,
    /// The first place where offsets are missing, and how many such places there are.
    pub gap: Option<(Gap, u64)>,
    /// Compaction was here, so that offsets may be missing.
    pub was_compacted: bool,
    /// The file of leader epochs has to be written anew.
    bad_epochs: bool,
}

/// Offsets that no batch has, though there are batches before and behind.
#[derive(Clone, Debug)]
pub struct Gap {
    pub path: PathBuf,
    /// Of the batch behind it.
    pub position: u64,
    pub first_offset: i64,
    pub last_offset: i64,
}

/// Goes through log directories; findings are handed out as they come.
pub struct Checker<'a> {
    report: &'a mut dyn FnMut(Finding),
    /// Called with the bytes that have been read since it was called last.
    progress: &'a dyn Fn(u64),
    pub counts: Counts,
    /// Those of the log that is being looked through.
    repairable: usize,
    pub logs: Vec<CheckedLog>,
    /// Checkpoints and the partitions in them that have no directory: of a topic that was deleted this is nothing.
    pub without_log: Vec<(PathBuf, TopicPartition)>,
    topic_ids: BTreeMap<String, (Uuid, PathBuf)>,
}

/// What one log has shown so far.
#[derive(Default)]
struct Walk {
    /// Where the log's first segment begins.
    first_base: i64,
    log_start_offset: i64,
    next_offset: i64,
    /// Neighbouring batches of one epoch.
    epochs: Vec<EpochRun>,
    /// Producers with an open transaction, and its first offset.
    open: HashMap<i64, i64>,
    /// Compaction was here: batches lack records, and markers may be gone.
    is_compacted: bool,
    gap: Option<Gap>,
    gaps: u64,
    /// It holds what this build cannot read: nothing may be concluded from it, and nothing repaired.
    is_foreign: bool,
}

#[derive(Clone, Copy)]
struct EpochRun {
    epoch: i32,
    start_offset: i64,
    last_offset: i64,
}

/// The abort markers in one segment, by offset.
type AbortMarkers = BTreeMap<i64, AbortMarker>;

struct AbortMarker {
    producer_id: i64,
    /// Of the transaction, if the log still holds that.
    first_offset: Option<i64>,
    /// The log's, when the marker was appended.
    last_stable_offset: i64,
}

impl<'a> Checker<'a> {
    pub fn new(report: &'a mut dyn FnMut(Finding), progress: &'a dyn Fn(u64)) -> Checker<'a> {
        let counts = Counts::default();
        Checker { report, progress, counts, repairable: 0, logs: Vec::new(), without_log: Vec::new(), topic_ids: BTreeMap::new() }
    }

    fn found(&mut self, path: &Path, position: impl Into<Option<u64>>, problem: impl Into<String>, repair: Repair) {
        self.repairable += usize::from(repair != Repair::None);
        (self.report)(Finding { path: path.to_owned(), position: position.into(), problem: problem.into(), repair });
    }

    /// Looks through a log directory (one of `log.dirs`). An error: it cannot be read at all.
    pub fn check_dir(&mut self, dir: &Path) -> Result<(), StorageError> {
        let paths = fs::list(dir)?;
        match MetaProperties::read(dir) {
            Ok(Some(_)) => {}
            Ok(None) => self.found(&dir.join(META_PROPERTIES), None, "the directory is not formatted: the file is missing", Repair::None),
            Err(error) => self.found(&dir.join(META_PROPERTIES), None, error.reason.to_string(), Repair::None),
        }
        let starts = self.offsets(dir, checkpoint::LOG_START_OFFSET_CHECKPOINT);
        let recovery_points = self.offsets(dir, checkpoint::RECOVERY_POINT_CHECKPOINT);
        let high_watermarks = self.offsets(dir, checkpoint::HIGH_WATERMARK_CHECKPOINT);
        let cleaned_to = self.offsets(dir, checkpoint::CLEANER_OFFSET_CHECKPOINT);
        let before = self.logs.len();
        for path in paths.iter().filter(|path| fs::is_dir(path)) {
            let Some(topic_partition) = parse_topic_partition_name(path) else { continue };
            let start = starts.get(&topic_partition).copied().unwrap_or(0);
            let mut attempts = 0;
            // Beside a running broker files go while they are read: then the log is looked through anew, if it is still there.
            while let Err(error) = self.check_log(path, topic_partition.clone(), start) {
                attempts += 1;
                match error.reason.kind() {
                    std::io::ErrorKind::NotFound if attempts < 10 && fs::is_dir(path) => {}
                    std::io::ErrorKind::NotFound if !fs::is_dir(path) => break,
                    _ => return Err(error),
                }
            }
        }
        for log in &mut self.logs[before..] {
            log.was_compacted |= cleaned_to.contains_key(&log.topic_partition);
        }
        self.check_duplicates(before);
        let checked: Vec<CheckedLog> = self.logs[before..].to_vec();
        let is_unknown =
            |tp: &&TopicPartition| !checked.iter().any(|log| log.topic_partition == **tp) && !fs::is_dir(&dir.join(tp.to_string()));
        for topic_partition in starts.keys().filter(is_unknown) {
            self.without_log.push((dir.join(checkpoint::LOG_START_OFFSET_CHECKPOINT), topic_partition.clone()));
        }
        let committed = [
            (checkpoint::RECOVERY_POINT_CHECKPOINT, &recovery_points, "flushed"),
            (checkpoint::HIGH_WATERMARK_CHECKPOINT, &high_watermarks, "committed"),
        ];
        for (name, offsets, what) in committed {
            for (topic_partition, &offset) in offsets {
                match checked.iter().find(|log| log.topic_partition == *topic_partition) {
                    Some(log) if offset > log.end_offset => {
                        let problem = format!(
                            "records of {topic_partition} up to offset {offset} were {what}, but the log ends at {}",
                            log.end_offset
                        );
                        self.found(&dir.join(name), None, problem, Repair::None);
                    }
                    Some(_) => {}
                    None if fs::is_dir(&dir.join(topic_partition.to_string())) => {}
                    None => self.without_log.push((dir.join(name), topic_partition.clone())),
                }
            }
        }
        Ok(())
    }

    /// Holds the logs from `from` on against those of the directories before.
    fn check_duplicates(&mut self, from: usize) {
        for n in from..self.logs.len() {
            let (log, others) = (self.logs[n].clone(), &self.logs[..from]);
            if let Some(other) = others.iter().find(|other| other.topic_partition == log.topic_partition).map(|other| other.dir.clone()) {
                let problem = format!("the partition is in {} too: Apache Kafka does not start with both", other.display());
                self.found(&log.dir, None, problem, Repair::None);
            }
        }
    }

    fn offsets(&mut self, dir: &Path, name: &str) -> BTreeMap<TopicPartition, i64> {
        let path = dir.join(name);
        checkpoint::read_offsets(&path).unwrap_or_else(|error| {
            self.found(&path, None, error.reason.to_string(), Repair::Lossless("it is begun anew"));
            BTreeMap::new()
        })
    }

    /// Looks through the directory of a log.
    pub fn check_log(&mut self, dir: &Path, topic_partition: TopicPartition, checkpointed_start: i64) -> Result<(), StorageError> {
        self.repairable = 0;
        self.counts.logs += 1;
        let is_metadata = dir.file_name().is_some_and(|name| name == CLUSTER_METADATA_DIR);
        self.check_topic_id(dir, &topic_partition, is_metadata);
        let (mut bases, mut producer_snapshots, mut indexes) = (Vec::new(), Vec::new(), Vec::new());
        // Of the metadata log, which begins there.
        let mut oldest_snapshot: Option<i64> = None;
        for path in fs::list(dir)? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            let Some((base, suffix)) = name.split_at_checked(20).and_then(|(digits, suffix)| Some((digits.parse::<i64>().ok()?, suffix)))
            else {
                continue;
            };
            match suffix {
                LOG_SUFFIX => bases.push(base),
                INDEX_SUFFIX | TIME_INDEX_SUFFIX | TXN_INDEX_SUFFIX => indexes.push((base, path)),
                ".snapshot" => producer_snapshots.push((base, path)),
                _ if is_metadata && suffix.ends_with(".checkpoint") => {
                    oldest_snapshot = Some(oldest_snapshot.map_or(base, |oldest| oldest.min(base)));
                }
                _ if suffix.ends_with(".deleted") || suffix.ends_with(".cleaned") => {
                    self.found(&path, None, "left over from a removal or a compaction", Repair::Lossless("it is removed"));
                }
                _ if suffix.ends_with(".swap") => {
                    self.found(&path, None, "a compaction was interrupted", Repair::Lossless("the compaction is finished, or undone"));
                }
                _ => {}
            }
        }
        bases.sort_unstable();
        for (_, path) in indexes.iter().filter(|(base, _)| bases.binary_search(base).is_err()) {
            self.found(path, None, "an index without its log", Repair::Lossless("it is removed"));
        }
        let first_base = bases.first().copied().unwrap_or(checkpointed_start);
        let mut walk = Walk { first_base, log_start_offset: checkpointed_start, next_offset: first_base, ..Walk::default() };
        for (n, &base) in bases.iter().enumerate() {
            self.counts.segments += 1;
            if !self.check_segment(dir, base, &bases[n + 1..], &mut walk)? {
                break;
            }
        }
        if walk.is_foreign {
            return Ok(());
        }
        let start = checkpointed_start.max(bases.first().copied().unwrap_or(0));
        if checkpointed_start > walk.next_offset {
            let problem = format!("the log ends at {}, before the start offset of its checkpoint, {checkpointed_start}", walk.next_offset);
            let first_offset = bases.first().copied().unwrap_or(0);
            let bytes = self.size_of_segments(dir, &bases)?;
            self.found(dir, None, problem, Repair::Cut { first_offset, last_offset: Some(walk.next_offset - 1), bytes });
        }
        let bad_epochs = self.check_epochs(dir, &walk, oldest_snapshot.unwrap_or(start));
        for (offset, path) in producer_snapshots {
            if let Err(problem) = snapshot_producers(&fs::read(&path)?) {
                self.found(&path, None, problem.to_string(), Repair::Lossless("it is made anew from the log"));
            } else if offset > walk.next_offset {
                let problem = format!("it is of offset {offset}, but the log ends at {}", walk.next_offset);
                self.found(&path, None, problem, Repair::Lossless("it is removed"));
            }
        }
        let (end_offset, repairable) = (walk.next_offset, self.repairable);
        self.logs.push(CheckedLog {
            dir: dir.to_owned(),
            topic_partition,
            log_start_offset: start,
            end_offset,
            repairable,
            gap: walk.gap.map(|gap| (gap, walk.gaps)),
            was_compacted: walk.is_compacted,
            bad_epochs,
        });
        Ok(())
    }

    fn check_topic_id(&mut self, dir: &Path, topic_partition: &TopicPartition, is_metadata: bool) {
        let path = dir.join(PARTITION_METADATA);
        match partition_metadata::read(dir) {
            Ok(Some(id)) => match self.topic_ids.get(&topic_partition.topic).cloned() {
                Some((other, of)) if other != id => {
                    let problem = format!("the topic's id is {id} here and {other} in {}", of.display());
                    self.found(&path, None, problem, Repair::None);
                }
                Some(_) => {}
                None => drop(self.topic_ids.insert(topic_partition.topic.clone(), (id, path))),
            },
            Ok(None) if is_metadata => {}
            Ok(None) => self.found(&path, None, "the file with the topic's id is missing", Repair::None),
            Err(error) => self.found(&path, None, error.reason.to_string(), Repair::None),
        }
    }

    fn size_of_segments(&self, dir: &Path, bases: &[i64]) -> Result<u64, StorageError> {
        bases.iter().map(|base| Ok(fs::size(&segment_path(dir, *base, LOG_SUFFIX, ""))?.unwrap_or(0))).sum()
    }

    /// Reads a segment; false when recovery would cut the log in it.
    fn check_segment(&mut self, dir: &Path, base: i64, later: &[i64], walk: &mut Walk) -> Result<bool, StorageError> {
        let path = segment_path(dir, base, LOG_SUFFIX, "");
        let log = LogFile::open(&path)?;
        if base < walk.next_offset {
            let problem = format!("it begins at offset {base}, but the segment before it ends at {}", walk.next_offset);
            let last_offset = last_readable(dir, &mut log.batches(0, u64::MAX), later)?;
            let bytes = log.size_bytes() + self.size_of_segments(dir, later)?;
            self.found(&path, 0, problem, Repair::Cut { first_offset: walk.next_offset, last_offset, bytes });
            return Ok(false);
        }
        walk.gap_before(base, &path, 0);
        let mut batches = log.batches(0, u64::MAX);
        let mut offset_index = IndexWalk::open(dir, base);
        let mut time_index = TimeIndexWalk::open(dir, base);
        let mut markers = AbortMarkers::new();
        let mut segment_next = base;
        let mut before = None;
        let wrong = loop {
            let position = batches.position();
            let batch = match batches.next_batch() {
                Ok(Some(batch)) => batch,
                Ok(None) if position == log.size_bytes() => break None,
                Ok(None) => break Some((position, format!("{} bytes at the end are no whole batch", log.size_bytes() - position))),
                Err(InspectError::Storage(error)) => return Err(error),
                Err(InspectError::Batch { source: BatchError::OldMagic { magic, .. }, .. }) => {
                    // Recovery must keep its hands off what is whole but strange.
                    let problem =
                        format!("messages of format {magic}, from before Kafka 0.11: this build reads neither them nor what follows");
                    self.found(&path, position, problem, Repair::None);
                    walk.is_foreign = true;
                    return Ok(false);
                }
                Err(error) => break Some((position, error.to_string())),
            };
            (self.progress)(batch.size_bytes);
            self.counts.batches += 1;
            self.counts.bytes += batch.size_bytes;
            if let Some(problem) = invalid(&mut batches, &batch, base, segment_next)? {
                break Some((position, problem));
            }
            let header = batch.header;
            walk.gap_before(header.base_offset, &path, position);
            segment_next = header.next_offset();
            walk.next_offset = segment_next;
            offset_index.pass(&batch)?;
            time_index.pass(&batch)?;
            if let Some(problem) = walk.epoch_seen(&header) {
                self.found(&path, before, problem, Repair::None);
            }
            before = Some(position);
            if i64::from(header.record_count) != header.count_from_offsets() {
                walk.is_compacted = true;
            }
            let content = batches.bytes(&batch).map_err(|error| StorageError::new(&path, std::io::Error::other(error.to_string())))?;
            if let Ok(view) = BatchView::parse(&content) {
                if let Some(problem) = self.check_records(&view) {
                    self.found(&path, position, problem, Repair::None);
                }
                walk.transaction_seen(&view, &mut markers);
            }
        };
        if let Some((position, problem)) = wrong {
            let last_offset = last_readable(dir, &mut batches, later)?;
            let bytes = log.size_bytes() - position + self.size_of_segments(dir, later)?;
            self.found(&path, position, problem, Repair::Cut { first_offset: segment_next, last_offset, bytes });
            return Ok(false);
        }
        let is_wrong = "it is made anew from the log";
        let size = log.size_bytes();
        for (suffix, problem) in [(INDEX_SUFFIX, offset_index.problem(size)), (TIME_INDEX_SUFFIX, time_index.problem())] {
            let path = segment_path(dir, base, suffix, "");
            // A segment without batches is left so by a kill, or a disk that was full, and needs no index.
            if let Some((position, problem)) = problem.filter(|_| size > 0 || fs::exists(&path)) {
                self.found(&path, position, problem, Repair::Lossless(is_wrong));
            }
        }
        let txn_index = segment_path(dir, base, TXN_INDEX_SUFFIX, "");
        if let Some((position, problem)) = txn_index_problem(&txn_index, base, segment_next, markers, walk)? {
            self.found(&txn_index, position, problem, Repair::Lossless(is_wrong));
        }
        Ok(true)
    }

    /// Why the records of a batch whose checksum is right cannot be read.
    fn check_records(&mut self, view: &BatchView<'_>) -> Option<String> {
        let header = view.header();
        let mut last = header.base_offset - 1;
        for record in view.summaries(DecompressionLimits::default()) {
            let record = match record {
                Ok(record) => record,
                Err(error) => return Some(format!("the batch at offset {} cannot be read: {error}", header.base_offset)),
            };
            self.counts.records += 1;
            if record.offset <= last || record.offset > header.last_offset() {
                return Some(format!("record {} does not follow {last} in a batch that ends at {}", record.offset, header.last_offset()));
            }
            last = record.offset;
        }
        None
    }

    /// Holds the file of leader epochs against the batches from the log's start on; true when it is wrong.
    fn check_epochs(&mut self, dir: &Path, walk: &Walk, log_start_offset: i64) -> bool {
        let path = dir.join(checkpoint::LEADER_EPOCH_CHECKPOINT);
        let repair = Repair::Lossless("it is made anew from the log");
        let entries = match checkpoint::read_epochs(&path) {
            Ok(entries) => entries,
            Err(error) => {
                self.found(&path, None, error.reason.to_string(), repair);
                return true;
            }
        };
        let falls = entries.windows(2).find(|pair| pair[1].0 <= pair[0].0 || pair[1].1 < pair[0].1);
        let problem = if let Some([before, after]) = falls {
            Some(format!("epoch {} from offset {} follows epoch {} from offset {}", after.0, after.1, before.0, before.1))
        } else if let Some((epoch, start)) = entries.iter().find(|(_, start)| *start > walk.next_offset) {
            Some(format!("epoch {epoch} begins at offset {start}, but the log ends at {}", walk.next_offset))
        } else {
            // What was deleted has no epochs any more, though a segment may still hold it.
            let known = |offset| entries.iter().rev().find(|(_, from)| *from <= offset).map(|(epoch, _)| *epoch);
            let live = walk.epochs.iter().filter(|run| run.last_offset >= log_start_offset && run.epoch != -1);
            let ends = live.flat_map(|run| [(run.start_offset.max(log_start_offset), run.epoch), (run.last_offset, run.epoch)]);
            ends.into_iter().find(|(offset, epoch)| known(*offset) != Some(*epoch)).map(|(offset, epoch)| match known(offset) {
                Some(known) => format!("offset {offset} is of epoch {epoch}, not {known}"),
                None => format!("offset {offset} is of epoch {epoch}, which is missing"),
            })
        };
        match problem {
            Some(problem) => self.found(&path, None, problem, repair),
            None => return false,
        }
        true
    }
}

impl Walk {
    /// What comes next begins at `offset`.
    fn gap_before(&mut self, offset: i64, path: &Path, position: u64) {
        if offset > self.next_offset {
            let (first_offset, last_offset) = (self.next_offset, offset - 1);
            self.gap.get_or_insert_with(|| Gap { path: path.to_owned(), position, first_offset, last_offset });
            self.gaps += 1;
            self.next_offset = offset;
        }
    }

    /// What is wrong between this batch and the one before.
    fn epoch_seen(&mut self, header: &BatchHeader) -> Option<String> {
        let (epoch, last_offset) = (header.partition_leader_epoch, header.last_offset());
        match self.epochs.last_mut() {
            Some(run) if run.epoch == epoch => {
                run.last_offset = last_offset;
                None
            }
            before => {
                let falls = before.filter(|before| epoch < before.epoch).map(|before| before.epoch);
                self.epochs.push(EpochRun { epoch, start_offset: header.base_offset, last_offset });
                falls.map(|before| format!("the batch before offset {} is of leader epoch {before}, and it of {epoch}", header.base_offset))
            }
        }
    }

    fn transaction_seen(&mut self, view: &BatchView<'_>, markers: &mut AbortMarkers) {
        let header = view.header();
        if !header.is_transactional() {
            return;
        }
        if !header.is_control() {
            self.open.entry(header.producer_id).or_insert(header.base_offset);
            return;
        }
        let first_offset = self.open.remove(&header.producer_id);
        if end_txn_marker(view).is_some_and(|marker| !marker.commit) {
            let last_stable_offset = self.open.values().copied().min().unwrap_or(header.next_offset());
            markers.insert(header.last_offset(), AbortMarker { producer_id: header.producer_id, first_offset, last_stable_offset });
        }
    }
}

/// Why recovery would not take this batch.
fn invalid(batches: &mut LogBatches<'_>, batch: &LogBatch, base: i64, next_offset: i64) -> Result<Option<String>, StorageError> {
    let (first, last) = (batch.header.base_offset, batch.header.last_offset());
    if batch.magic != 2 {
        return Ok(Some(format!("the batch of offsets {first} to {last} has the unknown magic {}", batch.magic)));
    }
    if !batches.is_valid(batch)? {
        return Ok(Some(format!("the checksum of the batch of offsets {first} to {last} is wrong")));
    }
    if first < next_offset || last < first || i32::try_from(last.wrapping_sub(base)).is_err() {
        return Ok(Some(format!("offsets {first} to {last} do not follow {next_offset}")));
    }
    Ok(None)
}

/// The last offset that a header still tells, in the rest of a segment and in those after it.
fn last_readable(dir: &Path, batches: &mut LogBatches<'_>, later: &[i64]) -> Result<Option<i64>, StorageError> {
    fn last(batches: &mut LogBatches<'_>) -> Option<i64> {
        let mut last = None;
        while let Ok(Some(batch)) = batches.next_batch() {
            last = last.max(Some(batch.header.last_offset()));
        }
        last
    }
    let mut found = last(batches);
    for base in later.iter().rev() {
        let log = LogFile::open(&segment_path(dir, *base, LOG_SUFFIX, ""))?;
        let of_segment = last(&mut log.batches(0, u64::MAX));
        if of_segment.is_some() {
            found = found.max(of_segment);
            break;
        }
    }
    Ok(found)
}

/// An offset index beside the walk through its segment.
struct IndexWalk {
    index: Result<OffsetIndexFile, String>,
    next: u64,
    /// The first entry that is wrong, and how.
    wrong: Option<(u64, String)>,
    wrong_entries: u64,
}

impl IndexWalk {
    fn open(dir: &Path, base: i64) -> IndexWalk {
        let path = segment_path(dir, base, INDEX_SUFFIX, "");
        let opened = OffsetIndexFile::open(&path, base).and_then(|mut index| index.trim_padding().map(|()| index));
        let index = opened.map_err(|error| unopened(&error));
        let index = index.and_then(|mut index| index.sanity_check().map(|()| index).map_err(|error| error.to_string()));
        IndexWalk { index, next: 0, wrong: None, wrong_entries: 0 }
    }

    fn note(&mut self, entry: u64, problem: String) {
        self.wrong_entries += 1;
        self.wrong.get_or_insert((entry, problem));
    }

    fn pass(&mut self, batch: &LogBatch) -> Result<(), StorageError> {
        let Ok(index) = &mut self.index else { return Ok(()) };
        let mut problems = Vec::new();
        while self.next < index.len() {
            let entry = index.entry(self.next)?;
            let position = u64::try_from(entry.position).unwrap_or(u64::MAX);
            if position >= batch.position + batch.size_bytes {
                break;
            }
            self.next += 1;
            if position != batch.position || entry.offset != batch.header.last_offset() {
                let problem = format!(
                    "entry {} says that offset {} is at byte {position}, where offset {} is at byte {}",
                    self.next - 1,
                    entry.offset,
                    batch.header.last_offset(),
                    batch.position
                );
                problems.push((self.next - 1, problem));
            }
        }
        problems.into_iter().for_each(|(entry, problem)| self.note(entry, problem));
        Ok(())
    }

    /// What is wrong, once the whole segment has been passed.
    fn problem(mut self, size: u64) -> Option<(Option<u64>, String)> {
        let left = match &mut self.index {
            Err(problem) => return Some((None, problem.clone())),
            Ok(index) if self.next < index.len() => index.entry(self.next).ok(),
            Ok(_) => None,
        };
        if let Some(entry) = left {
            self.note(self.next, format!("entry {} points to byte {} of {size}", self.next, entry.position));
        }
        and_more(self.wrong, self.wrong_entries, 8)
    }
}

/// A time index beside the walk through its segment.
struct TimeIndexWalk {
    index: Result<TimeIndexFile, String>,
    next: u64,
    last_timestamp: i64,
    /// The first entry that is wrong, and how.
    wrong: Option<(u64, String)>,
    wrong_entries: u64,
}

impl TimeIndexWalk {
    fn open(dir: &Path, base: i64) -> TimeIndexWalk {
        let path = segment_path(dir, base, TIME_INDEX_SUFFIX, "");
        let opened = TimeIndexFile::open(&path, base).and_then(|mut index| index.trim_padding().map(|()| index));
        let index = opened.map_err(|error| unopened(&error));
        let index = index.and_then(|mut index| index.sanity_check().map(|()| index).map_err(|error| error.to_string()));
        TimeIndexWalk { index, next: 0, last_timestamp: i64::MIN, wrong: None, wrong_entries: 0 }
    }

    fn pass(&mut self, batch: &LogBatch) -> Result<(), StorageError> {
        let Ok(index) = &mut self.index else { return Ok(()) };
        while self.next < index.len() {
            let entry = index.entry(self.next)?;
            if entry.offset > batch.header.last_offset() {
                break;
            }
            self.next += 1;
            let problem = if entry.timestamp <= self.last_timestamp {
                format!("entry {} has timestamp {}, which is not after {}", self.next - 1, entry.timestamp, self.last_timestamp)
            } else if entry.timestamp != batch.header.max_timestamp {
                format!(
                    "entry {} says that offset {} has timestamp {}, where {} is the largest of its batch",
                    self.next - 1,
                    entry.offset,
                    entry.timestamp,
                    batch.header.max_timestamp
                )
            } else {
                self.last_timestamp = entry.timestamp;
                continue;
            };
            self.wrong_entries += 1;
            self.wrong.get_or_insert((self.next - 1, problem));
        }
        Ok(())
    }

    fn problem(mut self) -> Option<(Option<u64>, String)> {
        let left = match &mut self.index {
            Err(problem) => return Some((None, problem.clone())),
            Ok(index) if self.next < index.len() => index.entry(self.next).ok(),
            Ok(_) => None,
        };
        if let Some(entry) = left {
            self.wrong_entries += 1;
            let problem = format!("entry {} is of offset {}, which the segment does not hold", self.next, entry.offset);
            self.wrong.get_or_insert((self.next, problem));
        }
        and_more(self.wrong, self.wrong_entries, 12)
    }
}

fn unopened(error: &StorageError) -> String {
    if error.reason.kind() == std::io::ErrorKind::NotFound { "the file is missing".to_owned() } else { error.reason.to_string() }
}

/// With the position of the first of `count` entries that are wrong.
fn and_more(first: Option<(u64, String)>, count: u64, entry_size: u64) -> Option<(Option<u64>, String)> {
    first.map(|(entry, problem)| {
        let problem = if count > 1 { format!("{problem} (and {} more entries are wrong)", count - 1) } else { problem };
        (Some(entry * entry_size), problem)
    })
}

/// Holds a transaction index against the abort markers of its segment. What is wrong, with its position.
fn txn_index_problem(
    path: &Path,
    base: i64,
    end: i64,
    mut markers: AbortMarkers,
    walk: &Walk,
) -> Result<Option<(Option<u64>, String)>, StorageError> {
    let Walk { first_base, log_start_offset, is_compacted, .. } = *walk;
    const ENTRY_SIZE: u64 = 34;
    if fs::exists(path) {
        let mut index = TxnIndexFile::open(path)?;
        if index.trailing_bytes() > 0 {
            let problem = format!("{} bytes at its end are no whole entry", index.trailing_bytes());
            return Ok(Some((Some(index.len() * ENTRY_SIZE), problem)));
        }
        for n in 0..index.len() {
            let at = Some(n * ENTRY_SIZE);
            let entry = match index.entry(n) {
                Ok(entry) => entry,
                Err(InspectError::Storage(error)) => return Err(error),
                Err(error) => return Ok(Some((at, error.to_string()))),
            };
            let marker = markers.remove(&entry.last_offset);
            let fits = marker.as_ref().is_some_and(|marker| {
                let begins = |first_offset| first_offset == entry.first_offset || (0..first_base).contains(&entry.first_offset);
                marker.producer_id == entry.producer_id && marker.first_offset.is_none_or(begins)
            });
            if entry.version < 0 || entry.last_offset < base || entry.last_offset >= end || !(fits || is_compacted) {
                let problem = format!(
                    "entry {n} is of a transaction of producer {} from offset {} to {}, of which the log knows nothing",
                    entry.producer_id, entry.first_offset, entry.last_offset
                );
                return Ok(Some((at, problem)));
            }
            // Of a transaction that began before the log does nothing is known here, and it may have been open.
            let is_known = |marker: &AbortMarker| entry.last_stable_offset >= first_base && !is_compacted && marker.first_offset.is_some();
            if let Some(marker) = marker.filter(is_known)
                && marker.last_stable_offset != entry.last_stable_offset
            {
                let problem = format!(
                    "entry {n} says that the last stable offset was {}, not {}",
                    entry.last_stable_offset, marker.last_stable_offset
                );
                return Ok(Some((at, problem)));
            }
        }
    }
    // Of one that began in what was deleted nothing may be left.
    let missing = markers.into_iter().find_map(|(offset, marker)| {
        Some((offset, marker.producer_id, marker.first_offset.filter(|first_offset| *first_offset >= log_start_offset)?))
    });
    Ok(missing.filter(|_| !is_compacted).map(|(offset, producer_id, first_offset)| {
        let problem = format!(
            "the aborted transaction of producer {producer_id} from offset {first_offset} to {offset} is missing: its records would be read"
        );
        (None, problem)
    }))
}

/// Does what recovery does after a crash, to the whole of a log whatever its checkpoints say.
pub fn repair(log: &CheckedLog) -> Result<(), StorageError> {
    if log.bad_epochs {
        fs::remove_file(&log.dir.join(checkpoint::LEADER_EPOCH_CHECKPOINT))?;
    }
    let options = LogOptions {
        log_start_offset: log.log_start_offset,
        // Whether it was or not: what is behind a gap can be read, and stays.
        was_compacted: true,
        ..LogOptions::new(&log.dir, log.topic_partition.clone(), Arc::new(LogConfig::default()), Arc::new(SystemClock::new()))
    };
    let log = Log::open(options)?;
    log.flush()?;
    log.close()
}

/// Does what a broker does at its start with a replica that the cluster does not have. Gives the new name.
pub fn set_aside(log: &CheckedLog) -> Result<PathBuf, StorageError> {
    let aside = log.dir.with_file_name(stray_name(&log.topic_partition));
    fs::rename(&log.dir, &aside)?;
    Ok(aside)
}

/// Begins the checkpoints of a log directory anew that cannot be read.
pub fn repair_checkpoints(dir: &Path) -> Result<(), StorageError> {
    let names = [
        checkpoint::RECOVERY_POINT_CHECKPOINT,
        checkpoint::LOG_START_OFFSET_CHECKPOINT,
        checkpoint::HIGH_WATERMARK_CHECKPOINT,
        checkpoint::CLEANER_OFFSET_CHECKPOINT,
    ];
    for path in names.map(|name| dir.join(name)) {
        if checkpoint::read_offsets(&path).is_err() {
            fs::write_atomically(&path, checkpoint::offsets_text([]).as_bytes())?;
        }
    }
    Ok(())
}
