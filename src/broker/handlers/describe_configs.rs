//! DescribeConfigs 1-4: the configs of topics, brokers, groups, client metrics subscriptions and loggers, with their sources. Source:
//! `ConfigHelper`.
//!
//! Differs: documentation is our own, short, and null for what nobody sets by hand.

use std::sync::Arc;

use crate::broker::config::describe;
use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

pub(crate) async fn handle(broker: &Arc<Broker>, _ctx: &RequestContext, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let image = broker.image();
    let results = request
        .resources
        .iter()
        .map(|resource| describe(&broker.dynamic_config, &image, resource, request.include_synonyms, request.include_documentation))
        .collect();
    DescribeConfigsResponse { results, ..Default::default() }
}
