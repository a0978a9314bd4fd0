//! What of a log could be compacted now, and how much it needs it. Sources: `LogToClean`, `LogCleanerManager.cleanableOffsets`, KIP-354.

use crate::storage::errors::StorageError;
use crate::storage::log::Log;

/// What of a log could be compacted now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::storage) struct Cleanable {
    pub(in crate::storage) first_dirty_offset: i64,
    /// Where a segment begins of which something is not to be compacted yet.
    pub(in crate::storage) end_offset: i64,
    pub(in crate::storage) clean_bytes: u64,
    pub(in crate::storage) dirty_bytes: u64,
    /// By how much the oldest dirty record has outlived `max.compaction.lag.ms`; 0 when it has not.
    pub(in crate::storage) overdue_ms: i64,
    /// The checkpoint lay outside the log and does not count.
    pub(in crate::storage) checkpoint_is_invalid: bool,
}

impl Cleanable {
    /// Dirty bytes of all bytes.
    pub(in crate::storage) fn dirty_ratio(&self) -> f64 {
        self.dirty_bytes as f64 / (self.clean_bytes + self.dirty_bytes).max(1) as f64
    }

    /// Is it worth a round?
    pub(in crate::storage) fn is_wanted(&self, min_cleanable_dirty_ratio: f64) -> bool {
        self.dirty_bytes > 0 && (self.overdue_ms > 0 || self.dirty_ratio() > min_cleanable_dirty_ratio)
    }
}

/// Looks at a log without changing it.
pub(in crate::storage) fn cleanable(log: &Log, now_ms: i64) -> Result<Cleanable, StorageError> {
    let config = log.config();
    let segments = log.all_segments();
    let log_start_offset = log.log_start_offset();
    let (active_base_offset, inactive) = match segments.split_last() {
        Some((active, inactive)) => (active.base_offset(), inactive),
        None => (log_start_offset, &[][..]),
    };
    let checkpointed = log.cleaning().cleaned_to();
    // A checkpoint outside the log is one from before a truncation or a deletion.
    let valid = checkpointed.filter(|offset| (log_start_offset..=log.log_end_offset()).contains(offset));
    let first_dirty_offset = valid.unwrap_or(log_start_offset);

    let mut uncleanable_from = active_base_offset.min(log.last_stable_offset());
    let mut oldest_dirty_ms = i64::MAX;
    for (n, segment) in inactive.iter().enumerate() {
        let next = inactive.get(n + 1).map_or(active_base_offset, |next| next.base_offset());
        if next <= first_dirty_offset {
            continue;
        }
        if let Some(first) = segment.first_batch_timestamp()?.filter(|first| *first > 0) {
            oldest_dirty_ms = oldest_dirty_ms.min(first);
        }
        if config.min_compaction_lag_ms > 0 && segment.largest_timestamp()? > now_ms.saturating_sub(config.min_compaction_lag_ms) {
            uncleanable_from = uncleanable_from.min(segment.base_offset());
            break;
        }
    }
    // Segments are compacted whole.
    let containing = segments.iter().rev().map(|segment| segment.base_offset()).find(|base| *base <= uncleanable_from);
    let end_offset = containing.unwrap_or(uncleanable_from);
    let bytes = |wanted: &dyn Fn(i64) -> bool| segments.iter().filter(|s| wanted(s.base_offset())).map(|s| s.size_bytes()).sum::<u64>();
    // As in Kafka, the segment in whose middle the first dirty offset lies counts as clean and as dirty.
    let clean_bytes = bytes(&|base| base < first_dirty_offset);
    let first_dirty_segment =
        segments.iter().rev().map(|s| s.base_offset()).find(|base| *base <= first_dirty_offset).unwrap_or(first_dirty_offset);
    let dirty_bytes = bytes(&|base| base >= first_dirty_segment.min(end_offset) && base < end_offset);
    let clean_until_ms = now_ms.saturating_sub(config.max_compaction_lag_ms.max(0));
    Ok(Cleanable {
        first_dirty_offset,
        end_offset: end_offset.max(first_dirty_offset),
        clean_bytes,
        dirty_bytes,
        overdue_ms: clean_until_ms.saturating_sub(oldest_dirty_ms).max(0),
        checkpoint_is_invalid: checkpointed.is_some() && valid.is_none(),
    })
}
