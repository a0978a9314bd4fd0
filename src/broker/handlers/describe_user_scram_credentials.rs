//! DescribeUserScramCredentials 0: which SCRAM credentials users have, never the keys. Source: `ScramImage.describe`.
//!
//! Differs: users come in the order of their names; Kafka's order is that of a hash table.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::metadata::image::ScramImage;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::describe_user_scram_credentials_response::{CredentialInfo, DescribeUserScramCredentialsResult};
use crate::protocol::messages::{DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse};

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    _ctx: &RequestContext,
    request: DescribeUserScramCredentialsRequest,
) -> DescribeUserScramCredentialsResponse {
    describe(&broker.image().scram, &request)
}

fn describe(scram: &ScramImage, request: &DescribeUserScramCredentialsRequest) -> DescribeUserScramCredentialsResponse {
    // How often each user was asked for.
    let mut users: BTreeMap<&str, usize> = BTreeMap::new();
    match request.users.as_deref() {
        None | Some([]) => users.extend(scram.credentials.keys().map(|(_, user)| (user.as_str(), 1))),
        Some(named) => named.iter().for_each(|user| *users.entry(&user.name).or_default() += 1),
    }
    let results = users.into_iter().map(|(user, count)| {
        let credentials = scram.credentials.iter().filter(|((_, name), _)| name == user);
        let credential_infos: Vec<CredentialInfo> = credentials
            .map(|((mechanism, _), credential)| CredentialInfo {
                mechanism: *mechanism,
                iterations: credential.iterations,
                ..Default::default()
            })
            .collect();
        let refused = |code: ErrorCode, text: &str| DescribeUserScramCredentialsResult {
            user: user.to_owned(),
            error_code: code.code(),
            error_message: Some(format!("{text}{user}")),
            ..Default::default()
        };
        if count > 1 {
            refused(ErrorCode::DuplicateResource, "Cannot describe SCRAM credentials for the same user twice in a single request: ")
        } else if credential_infos.is_empty() {
            refused(ErrorCode::ResourceNotFound, "Attempt to describe a user credential that does not exist: ")
        } else {
            DescribeUserScramCredentialsResult {
                user: user.to_owned(),
                credential_infos,
                error_message: Some(String::new()),
                ..Default::default()
            }
        }
    });
    DescribeUserScramCredentialsResponse { results: results.collect(), error_message: Some(String::new()), ..Default::default() }
}
