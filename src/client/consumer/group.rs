//! Membership.
use std::sync::Arc;

use super::Shared;

pub(super) async fn run(shared: Arc<Shared>) {
    shared.closed().await;
}
