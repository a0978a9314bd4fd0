//! PushTelemetry 0: the metrics of a client. Source: `ClientMetricsManager`, KIP-714.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::messages::{PushTelemetryRequest, PushTelemetryResponse};

pub(crate) async fn handle(broker: &Arc<Broker>, ctx: &RequestContext, request: PushTelemetryRequest) -> PushTelemetryResponse {
    broker.telemetry.push(ctx, &request)
}
