//! Transactional ids that nobody uses are forgotten. Source: `TransactionStateManager.removeExpiredTransactionalIds`.

use super::metadata::TransactionMetadata;
use super::{Effects, IDS_PER_SWEEP, TimerKey, TransactionShard};
use crate::coordinator::timers::Now;

impl TransactionShard {
    /// Writes tombstones for the ids that had no transaction for `transactional.id.expiration.ms`.
    pub(super) fn remove_expired(&mut self, now: Now) -> Effects {
        let oldest_ms = now.wall_ms.saturating_sub(self.config.transactional_id_expiration_ms);
        let is_expired =
            |metadata: &TransactionMetadata| metadata.state.is_expiration_allowed() && metadata.last_update_timestamp_ms <= oldest_ms;
        let expired = self.transactions.iter().filter(|(_, metadata)| is_expired(metadata)).take(IDS_PER_SWEEP);
        let records: Vec<_> = expired.map(|(id, _)| self.record(id, None)).collect();
        if !records.is_empty() {
            tracing::info!("{} transactional ids have expired", records.len());
        }
        let again_ms = if records.len() == IDS_PER_SWEEP { 0 } else { self.config.remove_expired_interval_ms };
        self.timers.schedule(now, TimerKey::RemoveExpired, again_ms, ());
        Effects { records, replay: true, divisible: true, ..Effects::default() }
    }
}
