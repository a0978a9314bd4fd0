//! AlterConfigs 0-2: all configs of a resource at once; what is not named is unset. Broker configs are checked here, because only the
//! broker knows what it can take; the rest is the controller's. Source: `KafkaApis.handleAlterConfigsRequest`, `ConfigAdminManager`.

use std::sync::Arc;

use crate::broker::config::alter::{Alteration, Change, Verdict, preprocess};
use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use crate::protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};

pub(crate) async fn handle(broker: &Arc<Broker>, _ctx: &RequestContext, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let alterations: Vec<Alteration<'_>> = request
        .resources
        .iter()
        .map(|resource| Alteration {
            resource_type: resource.resource_type,
            resource_name: &resource.resource_name,
            replaces_all: true,
            changes: resource
                .configs
                .iter()
                .map(|config| Change { name: &config.name, operation: 0, value: config.value.as_deref() })
                .collect(),
        })
        .collect();
    let verdicts = preprocess(&broker.dynamic_config, &alterations);
    let mut remaining = AlterConfigsRequest { resources: Vec::new(), validate_only: request.validate_only, ..Default::default() };
    remaining.resources.extend(request.resources.iter().zip(&verdicts).filter(|(_, verdict)| verdict.is_none()).map(|(it, _)| it.clone()));
    let answers = match remaining.resources.is_empty() {
        true => Vec::new(),
        false => broker.controller.alter_configs(remaining).await.responses,
    };
    let answer = |resource_type: i8, resource_name: &str| -> Verdict {
        let found = answers.iter().find(|it| it.resource_type == resource_type && it.resource_name == resource_name);
        let missing = (ErrorCode::UnknownServerError, Some(ErrorCode::UnknownServerError.message().to_owned()));
        found.map_or(missing, |it| (ErrorCode::from_code(it.error_code), it.error_message.clone()))
    };
    let responses = request.resources.iter().zip(verdicts).map(|(resource, verdict)| {
        let (code, error_message) = verdict.unwrap_or_else(|| answer(resource.resource_type, &resource.resource_name));
        AlterConfigsResourceResponse {
            error_code: code.code(),
            error_message,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            ..Default::default()
        }
    });
    AlterConfigsResponse { responses: responses.collect(), ..Default::default() }
}
