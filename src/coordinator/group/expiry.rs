//! Offsets that nobody has asked for in a long time go, and groups without members or offsets with them. Source:
//! `cleanupGroupMetadata`, `cleanupExpiredOffsets`, `ClassicGroup.offsetExpirationCondition`; KIP-211.

use super::offsets::OffsetAndMetadata;
use super::records::{group_tombstones, offset_commit_tombstone};
use super::{ClassicGroup, ClassicGroupState, Effects, GroupShard, TimerAction, TimerKey};
use crate::coordinator::timers::Now;

impl GroupShard {
    pub(super) fn schedule_expiration(&mut self, now: Now) {
        let interval_ms = self.config.offsets_retention_check_interval_ms;
        self.timers.schedule(now, TimerKey::Expiration, interval_ms, TimerAction::ExpireOffsets);
    }

    /// Tombstones for what has expired; sets the next look.
    pub fn expire_offsets(&mut self, now: Now) -> Effects {
        let mut effects = Effects { replay: true, divisible: true, ..Effects::default() };
        for group in self.groups.values() {
            let group_id = group.group_id();
            let mut all_expired = !self.offsets.has_pending(group_id);
            for (topic, partition, offset) in self.offsets.of_group(group_id) {
                let expired = group.is_offset_expired(topic, offset, now.wall_ms, self.config.offsets_retention_ms);
                if expired && !self.offsets.is_pending(group_id, topic, partition) {
                    effects.records.push(offset_commit_tombstone(group_id, topic, partition));
                } else {
                    all_expired = false;
                }
            }
            if all_expired && group.is_empty() && group.should_expire() {
                group_tombstones(group, &mut effects.records);
            }
        }
        self.schedule_expiration(now);
        effects
    }
}

impl ClassicGroup {
    pub(super) fn is_offset_expired(&self, topic: &str, offset: &OffsetAndMetadata, now_ms: i64, retention_ms: i64) -> bool {
        let since = match (&self.protocol_type, self.state) {
            // A simple consumer: from its last commit.
            (None, _) => offset.commit_timestamp_ms,
            // From when the last member went.
            (Some(_), ClassicGroupState::Empty) => self.current_state_timestamp.unwrap_or(offset.commit_timestamp_ms),
            // Topics that no member reads any more, if that is known.
            (Some(_), ClassicGroupState::Stable) if self.uses_consumer_group_protocol() && self.subscribed_topics.is_some() => {
                offset.commit_timestamp_ms
            }
            _ => return false,
        };
        if self.is_subscribed_to_topic(topic) {
            return false;
        }
        offset.has_expired(since, now_ms, retention_ms)
    }
}

impl OffsetAndMetadata {
    /// By its own time of expiry if it has one, else by the retention `since` some time.
    pub(super) fn has_expired(&self, since_ms: i64, now_ms: i64, retention_ms: i64) -> bool {
        match self.expire_timestamp_ms {
            Some(expire_ms) => now_ms >= expire_ms,
            None => now_ms.saturating_sub(since_ms) >= retention_ms,
        }
    }
}
