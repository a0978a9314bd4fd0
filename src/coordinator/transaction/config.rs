//! The settings a transaction coordinator obeys, with Kafka's defaults. Source: `TransactionStateManagerConfig`, `TransactionLogConfig`.

/// What the broker's configuration says about transactions. Times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionCoordinatorConfig {
    /// `transaction.max.timeout.ms`: the longest timeout a producer may ask for.
    pub max_timeout_ms: i32,
    /// `transactional.id.expiration.ms`: how long a transactional id without an open transaction is remembered.
    pub transactional_id_expiration_ms: i64,
    /// `transaction.abort.timed.out.transaction.cleanup.interval.ms`
    pub abort_timed_out_interval_ms: i64,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`
    pub remove_expired_interval_ms: i64,
    /// `transaction.two.phase.commit.enable` (KIP-939)
    pub two_phase_commit_enable: bool,
    /// `transaction.state.log.num.partitions`, when the topic does not exist yet.
    pub state_log_num_partitions: i32,
    /// `request.timeout.ms`: how long a write may wait to be committed.
    pub append_timeout_ms: u64,
}

impl Default for TransactionCoordinatorConfig {
    fn default() -> TransactionCoordinatorConfig {
        TransactionCoordinatorConfig {
            max_timeout_ms: 15 * 60 * 1000,
            transactional_id_expiration_ms: 7 * 24 * 60 * 60 * 1000,
            abort_timed_out_interval_ms: 10_000,
            remove_expired_interval_ms: 60 * 60 * 1000,
            two_phase_commit_enable: false,
            state_log_num_partitions: 50,
            append_timeout_ms: 30_000,
        }
    }
}
