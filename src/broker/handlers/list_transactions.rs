//! ListTransactions 0-2: the transactional ids that this broker coordinates (KIP-664). Source: `KafkaApis.handleListTransactionsRequest`.
//!
//! - 1: only transactions that are open for longer than a duration (KIP-994).
//! - 2: only transactional ids that match a regular expression as a whole (KIP-1152).
//!
//! Differs: the expression is of this program's dialect, which knows no look-around and no back references.

use std::sync::Arc;

use regex::Regex;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::coordinator::transaction::{TransactionFilter, TransactionState};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::{ListTransactionsRequest, ListTransactionsResponse};

/// Of the compiled expression.
const PATTERN_SIZE_LIMIT_BYTES: usize = 1 << 20;

pub(crate) async fn handle(broker: &Arc<Broker>, _ctx: &RequestContext, request: ListTransactionsRequest) -> ListTransactionsResponse {
    let failed = |error: ErrorCode| ListTransactionsResponse { error_code: error.code(), ..Default::default() };
    let pattern = match request.transactional_id_pattern.filter(|pattern| !pattern.is_empty()).map(|it| whole(&it)).transpose() {
        Ok(pattern) => pattern,
        Err(_) => return failed(ErrorCode::InvalidRegularExpression),
    };
    let (mut states, mut unknown_state_filters) = (None, Vec::new());
    if !request.state_filters.is_empty() {
        let states = states.insert(std::collections::BTreeSet::new());
        for name in request.state_filters {
            match TransactionState::from_name(&name) {
                Some(state) => {
                    states.insert(state);
                }
                // States in which a transactional id is only for a moment there, and never here.
                None if ["Dead", "PrepareEpochFence"].contains(&name.as_str()) => {}
                None => unknown_state_filters.push(name),
            }
        }
    }
    let filter = TransactionFilter {
        producer_ids: request.producer_id_filters.into_iter().collect(),
        states,
        duration_ms: request.duration_filter,
        transactional_id_pattern: pattern,
    };
    match broker.transactions.list_transactions(filter, broker.clock.now_ms()).await {
        Ok(transaction_states) => ListTransactionsResponse { unknown_state_filters, transaction_states, ..Default::default() },
        Err(error) => failed(error),
    }
}

/// An expression for a whole string.
fn whole(pattern: &str) -> Result<Regex, regex::Error> {
    // Alone first: what is wrong with it must not be healed by what is put around it.
    let compile = |pattern: &str| regex::RegexBuilder::new(pattern).size_limit(PATTERN_SIZE_LIMIT_BYTES).build();
    compile(pattern)?;
    compile(&format!("^(?:{pattern})$"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_for_the_whole_id() {
        let pattern = whole("a|b+").expect("valid");
        assert!(pattern.is_match("a") && pattern.is_match("bb"));
        assert!(!pattern.is_match("ab") && !pattern.is_match("xa"));
        assert!(whole("(").is_err() && whole(")|(").is_err());
    }
}
