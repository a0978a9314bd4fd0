//! AlterUserScramCredentials 0: SCRAM credentials made, changed and taken away. The controller decides. Source:
//! `ScramControlManager.alterCredentials`.

use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::messages::{AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    _ctx: &RequestContext,
    request: AlterUserScramCredentialsRequest,
) -> AlterUserScramCredentialsResponse {
    broker.controller.alter_user_scram_credentials(request).await
}
