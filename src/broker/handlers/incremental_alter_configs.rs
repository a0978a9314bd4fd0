//! IncrementalAlterConfigs 0-1: single configs set, unset, or appended to and subtracted from. Broker configs are checked here, because
//! only the broker knows what it can take; loggers are its own; the rest is the controller's. Source:
//! `KafkaApis.handleIncrementalAlterConfigsRequest`, `ConfigAdminManager`.

use std::sync::Arc;

use crate::broker::config::alter::{Alteration, Change, Verdict, alter_loggers, preprocess};
use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::metadata::image::ConfigResourceType;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use crate::protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    _ctx: &RequestContext,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let alterations: Vec<Alteration<'_>> = request
        .resources
        .iter()
        .map(|resource| Alteration {
            resource_type: resource.resource_type,
            resource_name: &resource.resource_name,
            replaces_all: false,
            changes: resource
                .configs
                .iter()
                .map(|config| Change { name: &config.name, operation: config.config_operation, value: config.value.as_deref() })
                .collect(),
        })
        .collect();
    let verdicts = preprocess(&broker.dynamic_config, &alterations);
    for (alteration, verdict) in alterations.iter().zip(&verdicts).filter(|_| !request.validate_only) {
        if alteration.resource_type == ConfigResourceType::BrokerLogger.code() && matches!(verdict, Some((ErrorCode::None, _))) {
            alter_loggers(alteration);
        }
    }
    let mut remaining =
        IncrementalAlterConfigsRequest { resources: Vec::new(), validate_only: request.validate_only, ..Default::default() };
    remaining.resources.extend(request.resources.iter().zip(&verdicts).filter(|(_, verdict)| verdict.is_none()).map(|(it, _)| it.clone()));
    let answers = match remaining.resources.is_empty() {
        true => Vec::new(),
        false => broker.controller.incremental_alter_configs(remaining).await.responses,
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
    IncrementalAlterConfigsResponse { responses: responses.collect(), ..Default::default() }
}
