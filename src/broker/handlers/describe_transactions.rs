//! DescribeTransactions 0: the state of transactional ids that this broker coordinates (KIP-664). Source:
//! `KafkaApis.handleDescribeTransactionsRequest`.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::messages::{DescribeTransactionsRequest, DescribeTransactionsResponse};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    _ctx: &RequestContext,
    request: DescribeTransactionsRequest,
) -> DescribeTransactionsResponse {
    let mut response = DescribeTransactionsResponse::default();
    for transactional_id in request.transactional_ids {
        response.transaction_states.push(broker.transactions.describe_transaction(transactional_id).await);
    }
    response
}
