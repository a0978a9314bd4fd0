//! A bit that flips in a file at rest: is it found, and does anybody get a wrong answer?
//!
//! `ottla check` names the file and the position, recovery says both in its warning and cuts there. A clean start verifies nothing, as Apache
//! Kafka's does not, unless an index is damaged too: to make that anew cuts the segment, and leaves those after it.
//!
//! What covers which bits:
//! - Of a batch the checksum covers everything from the attributes on. The broker does not verify it when it serves a fetch, nor does Apache
//!   Kafka's: the consumer does, and stops at that batch. Recovery and compaction do. Length, magic and the checksum itself show as well.
//! - A batch's base offset and leader epoch are covered by nothing, because leaders stamp them. Both are held against their neighbours. A base
//!   offset that became larger in the very last batch is not found; its records are then served at offsets where they never were. In the last
//!   batch of a segment it is found by `ottla check`, but recovery takes it for right and the next segment for wrong.
//! - Offset and time index have no checksums. What an entry points to is looked at whenever it is used, so the answers stay right; but a time
//!   index entry that moved to another batch with the same largest timestamp may hide earlier records with exactly that timestamp.
//! - The transaction index has none either. Each entry is held against its marker and its first batch when the log is opened, and rebuilt from
//!   the log when it does not fit; what lies in an earlier segment is not looked at.
//! - A producer snapshot has a checksum. The leader epochs are plain text: what cannot be read is taken from the batches, a digit that became
//!   another digit is believed (as it is by Apache Kafka), but found by `ottla check`. So are the checkpoints of the log directory.

use std::path::{Path, PathBuf};

use super::invariants::{findings, records};
use super::{HISTORIES, Model, assert_injected};
use crate::common::histories;
use crate::common::topic_partition::TopicPartition;
use crate::protocol::batch::{BatchHeader, BatchView, Batches};
use crate::storage::check::{Checker, Finding, Repair};
use crate::storage::checkpoint;
use crate::storage::fs::faults::Fault;
use crate::storage::fs::{self, faults};
use crate::storage::log::tests::bytes_of;
use crate::storage::log::{FetchIsolation, Log};

/// A flipped bit.
struct Flip {
    path: PathBuf,
    byte: usize,
}

impl Flip {
    fn is_in(&self, extension: &str) -> bool {
        self.path.extension().is_some_and(|it| it == extension)
    }

    /// Is there a finding that names the file and a place at or before the bit?
    fn is_named_by(&self, findings: &[Finding]) -> bool {
        findings.iter().any(|finding| finding.path == self.path && finding.position.is_none_or(|position| position <= self.byte as u64))
    }
}

impl Model {
    /// Writes, stops as after a kill or cleanly, and flips a bit of some file.
    fn flip(&mut self) -> Option<Flip> {
        for _ in 0..12 {
            self.step().expect("done");
        }
        self.flush().expect("flushed");
        let log = self.log.take().expect("open");
        log.close().expect("closed");
        self.expected.checkpointed_start = self.expected.log_start_offset;
        self.reloaded_to = self.expected.log_end_offset;
        drop(log);
        let flippable = |path: &PathBuf| {
            let is_kind =
                path.extension().is_some_and(|it| ["log", "index", "timeindex", "txnindex", "snapshot"].iter().any(|kind| it == *kind));
            is_kind || path.ends_with(checkpoint::LEADER_EPOCH_CHECKPOINT)
        };
        let mut paths: Vec<PathBuf> = fs::list(&self.dir()).expect("listed").into_iter().filter(flippable).collect();
        paths.retain(|path| fs::size(path).expect("read").is_some_and(|size| size > 0));
        // Half of the flips in the logs, whose headers are where it matters.
        if self.random.one_in(2) {
            paths.retain(|path| path.extension().is_some_and(|it| it == "log"));
        }
        if paths.is_empty() {
            return None;
        }
        let path = paths.swap_remove(self.random.below(paths.len() as u64) as usize);
        let content = fs::read(&path).expect("read");
        let byte = if path.extension().is_some_and(|it| it == "log") && self.random.one_in(2) {
            let batches: Vec<usize> = Located::all(&content).iter().map(|batch| batch.position).collect();
            batches[self.random.below(batches.len() as u64) as usize] + self.random.below(61) as usize
        } else {
            self.random.below(content.len() as u64) as usize
        };
        let bit = self.random.below(8) as u32;
        self.story.push(format!("bit {bit} of byte {byte} of {}, {} bytes", path.display(), content.len()));
        faults::flip_bit(&path, byte, bit);
        Some(Flip { path, byte })
    }

    fn play_flip(&mut self) {
        let Some(flip) = self.flip() else { return };
        if flip.is_in("log") {
            let flipped = fs::read(&flip.path).expect("read");
            let original = self.unflipped(&flip, &flipped);
            self.flip_in_a_log(&flip, &original);
        } else {
            self.flip_beside_a_log(&flip);
        }
    }

    /// The batches as they were: the log of before the flip is the one that the list of what was written describes.
    fn unflipped(&self, flip: &Flip, flipped: &[u8]) -> Vec<Located> {
        for bit in 0..8 {
            let mut content = flipped.to_vec();
            content[flip.byte] ^= 1 << bit;
            let batches = Located::all(&content);
            let is_whole = batches.last().is_some_and(|last| last.position + last.header.size_bytes() == content.len());
            let is_written = |batch: &Located| {
                let view = BatchView::parse(&content[batch.position..]).expect("a batch");
                view.verify_crc().is_ok() && records(&view).all(|record| self.written.was_ever(&record))
            };
            let epochs_grow = batches.is_sorted_by_key(|batch| batch.header.partition_leader_epoch);
            let are_known = batches.iter().all(|batch| batch.header.partition_leader_epoch <= self.leader_epoch);
            if is_whole && epochs_grow && are_known && batches.iter().all(is_written) {
                return batches;
            }
        }
        panic!("the file was not what was written before either");
    }

    fn flip_in_a_log(&mut self, flip: &Flip, batches: &[Located]) {
        let at = batches.iter().rposition(|batch| batch.position <= flip.byte).expect("a batch");
        let batch = &batches[at];
        let field = flip.byte - batch.position;
        let base_offset = batch.header.base_offset;
        let found = findings(self);
        match field {
            0..8 => {
                let is_last = batch.header.next_offset() == self.expected.log_end_offset;
                assert!(!found.is_empty() || is_last || self.is_compacted(), "{found:?}");
            }
            12..16 => {
                let is_deleted = batch.header.next_offset() <= self.expected.log_start_offset;
                assert!(!found.is_empty() || is_deleted, "the leader epoch");
            }
            _ => {
                let cut = found.iter().any(|finding| finding.path == flip.path && finding.position == Some(batch.position as u64));
                assert!(cut, "byte {field} of the batch at {}: {found:#?}", batch.position);
                // A clean start may cut this segment, for its indexes' sake, and leave those after it.
                if self.random.one_in(2) {
                    let log = self.open(self.expected.log_end_offset, true).expect("opened");
                    return only_this_batch_is_corrupt(self, &log, field, &batch.header);
                }
            }
        }
        if field >= 8 && !(12..16).contains(&field) {
            // Recovery keeps what comes before.
            self.expected.synced_end = base_offset;
            self.expected.checkpointed_start = self.expected.checkpointed_start.min(base_offset);
            let log = self.open(0, false).expect("opened");
            let end = log.log_end_offset();
            assert!(
                end <= base_offset || end == self.expected.checkpointed_start,
                "byte {field} of the batch at {base_offset}, and it ends at {end}"
            );
            self.high_watermark = self.high_watermark.clamp(log.log_start_offset(), end);
            log.update_high_watermark(self.high_watermark);
            self.reloaded_to = end;
            self.expected.log_start_offset = log.log_start_offset().max(self.expected.log_start_offset);
            // What was compacted may have gone for what is cut off now.
            if !self.is_compacted() {
                self.check(&log, self.expected);
            }
        } else if field < 8 && !self.is_compacted() {
            let log = self.open(0, false).expect("opened");
            let is_cut = log.log_end_offset() <= base_offset.max(self.expected.checkpointed_start);
            assert!(is_cut || at + 1 == batches.len(), "ends at {}", log.log_end_offset());
        }
    }

    /// In what can be made anew from the log: no answer may be wrong.
    fn flip_beside_a_log(&mut self, flip: &Flip) {
        let found = findings(self);
        let is_epochs = flip.path.ends_with(checkpoint::LEADER_EPOCH_CHECKPOINT);
        let is_named = flip.is_named_by(&found);
        let is_clean = self.random.one_in(2);
        let end = self.expected.log_end_offset;
        self.expected.synced_end = end;
        let recovery_point = if is_clean { end } else { self.random.below(end as u64 + 1) as i64 };
        self.story.push(format!("clean: {is_clean}, from {recovery_point}"));
        let log = self.open(recovery_point, is_clean).expect("opened");
        self.high_watermark = self.high_watermark.clamp(log.log_start_offset(), end);
        log.update_high_watermark(self.high_watermark);
        self.reloaded_to = end;
        if is_epochs {
            // Unless it concerns only what was deleted.
            let agrees =
                (log.log_start_offset()..end).all(|offset| self.epoch_of(offset).is_none_or(|epoch| log.epoch_of(offset) == Some(epoch)));
            assert!(is_named || agrees, "{found:?}");
            return;
        }
        let may_be_harmless =
            flip.is_in("timeindex") && flip.byte % 12 >= 8 || flip.is_in("txnindex") && (self.is_compacted() || !log_holds(&log, 0));
        assert!(is_named || may_be_harmless, "{found:?}");
        // The first offset of a transaction that begins in an earlier segment is believed.
        let is_believed = flip.is_in("txnindex") && (10..18).contains(&(flip.byte % 34));
        if !is_believed {
            self.check(&log, self.expected);
        }
    }

    /// By the batches in the files.
    fn epoch_of(&self, offset: i64) -> Option<i32> {
        let logs = fs::list(&self.dir()).expect("listed").into_iter().filter(|path| path.extension().is_some_and(|it| it == "log"));
        logs.filter_map(|path| {
            let content = fs::read(&path).expect("read");
            let found =
                Located::all(&content).into_iter().find(|batch| (batch.header.base_offset..batch.header.next_offset()).contains(&offset));
            found.map(|batch| batch.header.partition_leader_epoch)
        })
        .next()
    }
}

/// Has nothing been deleted?
fn log_holds(log: &Log, offset: i64) -> bool {
    log.first_segment_base_offset() <= offset
}

struct Located {
    position: usize,
    header: BatchHeader,
}

impl Located {
    fn all(content: &[u8]) -> Vec<Located> {
        let mut position = 0;
        let batches = Batches::new(content).map_while(Result::ok);
        batches
            .map(|batch| {
                let at = position;
                position += batch.header().size_bytes();
                Located { position: at, header: *batch.header() }
            })
            .collect()
    }
}

/// What a client sees before anything is repaired: every other batch as it was written, and this one with a wrong checksum, or nothing of it
/// where its length or magic is wrong.
fn only_this_batch_is_corrupt(model: &Model, log: &Log, field: usize, corrupt: &BatchHeader) {
    log.update_high_watermark(log.log_end_offset());
    let mut offset = log.log_start_offset();
    while offset < log.log_end_offset() {
        let Ok(read) = log.read(offset, 4000, true, FetchIsolation::HighWatermark) else { break };
        let before = offset;
        for batch in Batches::new(&bytes_of(&read.records)).map_while(Result::ok) {
            if batch.verify_crc().is_err() {
                assert!(field < 21 || batch.header().base_offset == corrupt.base_offset, "another batch is corrupt");
                // A consumer stops here, or seeks beyond.
                offset = offset.max(corrupt.next_offset());
                break;
            }
            let written = records(&batch).all(|record| model.written.was_ever(&record));
            assert!(written, "what was never written is served");
            offset = batch.header().next_offset();
        }
        if offset == before {
            break;
        }
    }
}

#[test]
fn histories_with_a_flipped_bit() {
    let is_usual = histories::play("histories_with_a_flipped_bit", HISTORIES / 2, |seed| Model::new(seed, seed % 4 == 0).play_flip());
    if is_usual {
        assert_injected(&[Fault::FlippedBit]);
    }
}

/// The checkpoints of a log directory are plain text, too.
#[test]
fn histories_of_a_flipped_checkpoint() {
    histories::play("histories_of_a_flipped_checkpoint", HISTORIES / 20, |seed| {
        let mut model = Model::new(seed, false);
        for _ in 0..4 {
            model.append(false).expect("appended");
        }
        model.stop_cleanly();
        let (dir, end, tp) = (model.disk.dir(), model.expected.log_end_offset, TopicPartition::new("t", 0));
        let write = |name: &str, offset| fs::write(&dir.join(name), checkpoint::offsets_text([(&tp, offset)]).as_bytes()).expect("written");
        let names = [checkpoint::RECOVERY_POINT_CHECKPOINT, checkpoint::HIGH_WATERMARK_CHECKPOINT, checkpoint::LOG_START_OFFSET_CHECKPOINT];
        names.iter().zip([end, end, 0]).for_each(|(name, offset)| write(name, offset));
        let path = dir.join(names[model.random.below(3) as usize]);
        let size = fs::size(&path).expect("read").expect("there") as usize;
        let (byte, bit) = (model.random.below(size as u64) as usize, model.random.below(8) as u32);
        faults::flip_bit(&path, byte, bit);
        model.story.push(format!("bit {bit} of byte {byte} of {}", path.display()));
        let found = check_dir(&dir);
        // A number that became another that is possible is believed.
        let is_possible =
            checkpoint::read_offsets(&path).is_ok_and(|offsets| offsets.get(&tp).is_some_and(|offset| (0..=end).contains(offset)));
        assert!(is_possible || found.iter().any(|finding| finding.path == path || finding.path == model.dir()), "{found:?}");
    });
}

fn check_dir(dir: &Path) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut report = |finding: Finding| found.push(finding);
    let mut checker = Checker::new(&mut report, &|_| {});
    checker.check_dir(dir).expect("read");
    // Whether such a topic was ever there the metadata know, which this directory lacks.
    let without_log = std::mem::take(&mut checker.without_log);
    let unknown = without_log.into_iter().map(|(path, tp)| Finding {
        path,
        position: None,
        problem: format!("{tp} has no directory"),
        repair: Repair::None,
    });
    found.extend(unknown);
    found
}
