//! SCRAM credentials: what is stored of users' passwords. Source: Kafka's `ScramControlManager`.
//!
//! Invariant: no password and no salted password gets here; what a client sends has become a credential before.

use std::collections::BTreeMap;

use super::api_error::ApiError;
use super::{Controller, Outcome};
use crate::common::scram::{Mechanism, Verifiers};
use crate::metadata::record::VersionedRecord;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::alter_user_scram_credentials_request::{ScramCredentialDeletion, ScramCredentialUpsertion};
use crate::protocol::messages::alter_user_scram_credentials_response::AlterUserScramCredentialsResult;
use crate::protocol::messages::*;

/// How often a password may be hashed at most.
const MAX_ITERATIONS: i32 = 16_384;

/// What is to become of one user.
enum Change<'a> {
    Delete(&'a ScramCredentialDeletion),
    Upsert(&'a ScramCredentialUpsertion),
    Refuse(ApiError),
}

impl Controller {
    /// AlterUserScramCredentials: each user at most once.
    pub fn alter_user_scram_credentials(
        &mut self,
        request: &AlterUserScramCredentialsRequest,
    ) -> Outcome<AlterUserScramCredentialsResponse> {
        let mut users: Vec<&str> = Vec::new();
        let mut changes: BTreeMap<&str, Change<'_>> = BTreeMap::new();
        let deletions = request.deletions.iter().map(|deletion| (deletion.name.as_str(), Change::Delete(deletion)));
        let upsertions = request.upsertions.iter().map(|upsertion| (upsertion.name.as_str(), Change::Upsert(upsertion)));
        for (user, change) in deletions.chain(upsertions) {
            let change = match changes.get(user) {
                // The first refusal stands.
                Some(Change::Refuse(_)) => continue,
                Some(_) => {
                    let text = "A user credential cannot be altered twice in the same request";
                    Change::Refuse(ApiError::new(ErrorCode::DuplicateResource, text))
                }
                None => {
                    users.push(user);
                    match self.validate_credential(&change) {
                        Ok(()) => change,
                        Err(error) => Change::Refuse(error),
                    }
                }
            };
            changes.insert(user, change);
        }
        let mut records = Vec::new();
        let results = users.into_iter().map(|user| {
            let error = match &changes[user] {
                Change::Delete(deletion) => {
                    let record = RemoveUserScramCredentialRecord {
                        name: deletion.name.clone(),
                        mechanism: deletion.mechanism,
                        ..Default::default()
                    };
                    records.push(VersionedRecord::new(record, 0));
                    ApiError::none()
                }
                Change::Upsert(upsertion) => {
                    records.extend(credential_record(upsertion));
                    ApiError::none()
                }
                Change::Refuse(error) => error.clone(),
            };
            AlterUserScramCredentialsResult {
                user: user.to_owned(),
                error_code: error.code.code(),
                error_message: error.message,
                ..Default::default()
            }
        });
        let results = results.collect();
        Outcome { records, response: AlterUserScramCredentialsResponse { results, ..Default::default() } }
    }

    fn validate_credential(&self, change: &Change<'_>) -> Result<(), ApiError> {
        let (name, mechanism) = match change {
            Change::Delete(deletion) => (&deletion.name, deletion.mechanism),
            Change::Upsert(upsertion) => (&upsertion.name, upsertion.mechanism),
            Change::Refuse(error) => return Err(error.clone()),
        };
        if !self.metadata_version().has_scram() {
            return Err(ApiError::new(ErrorCode::UnsupportedVersion, "The current metadata.version does not support SCRAM"));
        }
        let unacceptable = |text: &str| Err(ApiError::new(ErrorCode::UnacceptableCredential, text));
        if name.is_empty() {
            return unacceptable("Username must not be empty");
        }
        let Some(known) = Mechanism::from_code(mechanism) else {
            return Err(ApiError::new(ErrorCode::UnsupportedSaslMechanism, "Unknown SCRAM mechanism"));
        };
        match change {
            Change::Upsert(upsertion) if upsertion.iterations < known.min_iterations() => unacceptable("Too few iterations"),
            Change::Upsert(upsertion) if upsertion.iterations > MAX_ITERATIONS => unacceptable("Too many iterations"),
            Change::Delete(_) if !self.image.scram.credentials.contains_key(&(mechanism, name.clone())) => {
                Err(ApiError::new(ErrorCode::ResourceNotFound, "Attempt to delete a user credential that does not exist"))
            }
            _ => Ok(()),
        }
    }
}

fn credential_record(upsertion: &ScramCredentialUpsertion) -> Option<VersionedRecord> {
    let verifiers = Verifiers::of_salted_password(Mechanism::from_code(upsertion.mechanism)?, &upsertion.salted_password);
    let record = UserScramCredentialRecord {
        name: upsertion.name.clone(),
        mechanism: upsertion.mechanism,
        salt: upsertion.salt.clone(),
        stored_key: verifiers.stored_key.into(),
        server_key: verifiers.server_key.into(),
        iterations: upsertion.iterations,
        ..Default::default()
    };
    Some(VersionedRecord::new(record, 0))
}
