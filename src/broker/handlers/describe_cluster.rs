//! DescribeCluster 0-2: the cluster's id and its brokers; with version 2, fenced ones on request. Source: `AuthHelper`, `KafkaApis`.
//!
//! The controller named is any live broker, because clients cannot reach controllers and every broker passes requests on.

use std::sync::Arc;

use super::metadata::CLUSTER_OPERATIONS;
use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::describe_cluster_response::DescribeClusterBroker;
use crate::protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub(crate) async fn handle(broker: &Arc<Broker>, ctx: &RequestContext, request: DescribeClusterRequest) -> DescribeClusterResponse {
    let refused = |code: ErrorCode, text: String| {
        let code = if ctx.api_version == 0 { ErrorCode::InvalidRequest } else { code };
        DescribeClusterResponse { error_code: code.code(), error_message: Some(text), ..Default::default() }
    };
    match request.endpoint_type {
        BROKERS => {}
        CONTROLLERS => {
            return refused(
                ErrorCode::MismatchedEndpointType,
                "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER".to_owned(),
            );
        }
        other => return refused(ErrorCode::UnsupportedEndpointType, format!("Unsupported endpoint type {other}")),
    }
    let image = broker.image();
    let brokers: Vec<DescribeClusterBroker> = image
        .cluster
        .brokers
        .values()
        .filter(|registered| !registered.fenced || request.include_fenced_brokers)
        .filter_map(|registered| {
            let endpoint = registered.listener(&ctx.listener_name)?;
            Some(DescribeClusterBroker {
                broker_id: registered.id,
                host: endpoint.host.clone(),
                port: i32::from(endpoint.port),
                rack: registered.rack.clone(),
                is_fenced: registered.fenced,
                ..Default::default()
            })
        })
        .collect();
    DescribeClusterResponse {
        cluster_id: broker.cluster_id.clone(),
        controller_id: brokers.iter().find(|it| !it.is_fenced).map_or(-1, |it| it.broker_id),
        brokers,
        cluster_authorized_operations: if request.include_cluster_authorized_operations { CLUSTER_OPERATIONS } else { i32::MIN },
        endpoint_type: BROKERS,
        ..Default::default()
    }
}
