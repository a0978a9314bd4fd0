//! Client quotas: who may use how much. Source: Kafka's `ClientQuotaControlManager`.
//!
//! Invariant: an entity is users and clients in any combination, or an address alone; a name that is null stands for all who have no
//! quota of their own.

use std::collections::{BTreeMap, BTreeSet};

use super::api_error::ApiError;
use super::{Controller, MAX_RECORDS_PER_OPERATION, Outcome, topics};
use crate::metadata::image::ClientQuotaEntity;
use crate::metadata::record::VersionedRecord;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::*;

/// What an entity may be named by.
pub const USER: &str = "user";
pub const CLIENT_ID: &str = "client-id";
pub const IP: &str = "ip";

/// The quotas of users and clients.
pub const PRODUCER_BYTE_RATE: &str = "producer_byte_rate";
pub const CONSUMER_BYTE_RATE: &str = "consumer_byte_rate";
pub const REQUEST_PERCENTAGE: &str = "request_percentage";
pub const CONTROLLER_MUTATION_RATE: &str = "controller_mutation_rate";

/// The quota of an address.
pub const CONNECTION_CREATION_RATE: &str = "connection_creation_rate";

/// How a quota's value is typed.
#[derive(Clone, Copy)]
enum ValueType {
    Double,
    Int,
    Long,
}

fn value_type(key: &str, is_address: bool) -> Option<ValueType> {
    match (key, is_address) {
        (PRODUCER_BYTE_RATE | CONSUMER_BYTE_RATE, false) => Some(ValueType::Long),
        (REQUEST_PERCENTAGE | CONTROLLER_MUTATION_RATE, false) => Some(ValueType::Double),
        (CONNECTION_CREATION_RATE, true) => Some(ValueType::Int),
        _ => None,
    }
}

fn invalid(text: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InvalidRequest, text)
}

impl Controller {
    /// AlterClientQuotas. `unresolvable` holds the addresses of the request that are neither addresses nor names of hosts: to find that
    /// out is for who may ask the network.
    pub fn alter_client_quotas(
        &mut self,
        request: &AlterClientQuotasRequest,
        unresolvable: &BTreeSet<String>,
    ) -> Outcome<AlterClientQuotasResponse> {
        let mut records = Vec::new();
        // In the order in which the entities were first named; of an entity that is named twice the later answer counts.
        let mut answers: Vec<(ClientQuotaEntity, ApiError)> = Vec::new();
        for entry in &request.entries {
            let entity: ClientQuotaEntity = entry.entity.iter().map(|part| (part.entity_type.clone(), part.entity_name.clone())).collect();
            let (mut changes, mut repeated) = (BTreeMap::new(), false);
            for op in &entry.ops {
                match changes.contains_key(op.key.as_str()) {
                    true => repeated = true,
                    false => drop(changes.insert(op.key.as_str(), (!op.remove).then_some(op.value))),
                }
            }
            let known = answers.iter_mut().find(|(answered, _)| *answered == entity);
            if known.is_some() || repeated {
                let error = invalid(format!("Ignoring duplicate entity {}", entity_text(&entity)));
                match known {
                    Some((_, answer)) => *answer = error,
                    None => answers.push((entity, error)),
                }
                continue;
            }
            let error = match self.change_client_quotas(&entity, &changes, unresolvable) {
                Ok(changed) => {
                    records.extend(changed);
                    ApiError::none()
                }
                Err(error) => error,
            };
            answers.push((entity, error));
        }
        if records.len() > MAX_RECORDS_PER_OPERATION {
            records.clear();
            let refused = ApiError::new(ErrorCode::PolicyViolation, topics::TOO_LARGE);
            answers.iter_mut().for_each(|(_, error)| *error = refused.clone());
        }
        if request.validate_only {
            records.clear();
        }
        let entries = answers.into_iter().map(|(entity, error)| alter_client_quotas_response::EntryData {
            error_code: error.code.code(),
            error_message: error.message,
            entity: entity
                .into_iter()
                .map(|(entity_type, entity_name)| alter_client_quotas_response::EntityData {
                    entity_type,
                    entity_name,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        });
        Outcome { records, response: AlterClientQuotasResponse { entries: entries.collect(), ..Default::default() } }
    }

    /// The records that give `entity` the quotas in `changes`, or take away those without a value.
    fn change_client_quotas(
        &self,
        entity: &ClientQuotaEntity,
        changes: &BTreeMap<&str, Option<f64>>,
        unresolvable: &BTreeSet<String>,
    ) -> Result<Vec<VersionedRecord>, ApiError> {
        validate_entity(entity, unresolvable)?;
        let is_address = entity.contains_key(IP);
        let current = self.image.client_quotas.entities.get(entity);
        let record = |key: &str, value: f64, remove: bool| {
            let entity = entity.iter().map(|(entity_type, entity_name)| client_quota_record::EntityData {
                entity_type: entity_type.clone(),
                entity_name: entity_name.clone(),
                ..Default::default()
            });
            let record = ClientQuotaRecord { entity: entity.collect(), key: key.to_owned(), value, remove, ..Default::default() };
            VersionedRecord::new(record, 0)
        };
        let mut records = Vec::new();
        for (&key, &value) in changes {
            let set = current.and_then(|quotas| quotas.get(key)).copied();
            match value {
                None if set.is_some() => records.push(record(key, 0.0, true)),
                None => {}
                Some(value) => {
                    validate_value(key, value, is_address)?;
                    if set != Some(value) {
                        records.push(record(key, value, false));
                    }
                }
            }
        }
        Ok(records)
    }
}

fn validate_entity(entity: &ClientQuotaEntity, unresolvable: &BTreeSet<String>) -> Result<(), ApiError> {
    if entity.is_empty() {
        return Err(invalid("Invalid empty client quota entity"));
    }
    for (entity_type, name) in entity {
        if ![USER, CLIENT_ID, IP].contains(&entity_type.as_str()) {
            return Err(invalid(format!("Unhandled client quota entity type: {entity_type}")));
        }
        if name.as_deref() == Some("") {
            return Err(invalid(format!("Empty {entity_type} not supported")));
        }
    }
    match entity.get(IP) {
        Some(_) if entity.len() > 1 => {
            // Kafka's text lacks the blank too.
            Err(invalid("Invalid quota entity combination, IP entity shouldnot be combined with User or ClientId"))
        }
        Some(Some(address)) if unresolvable.contains(address) => Err(invalid(format!("{address} is not a valid IP or resolvable host."))),
        _ => Ok(()),
    }
}

fn validate_value(key: &str, value: f64, is_address: bool) -> Result<(), ApiError> {
    let Some(value_type) = value_type(key, is_address) else {
        return Err(invalid(format!("Invalid configuration key {key}")));
    };
    if value <= 0.0 {
        return Err(invalid(format!("Quota {key} must be greater than 0")));
    }
    let (highest, name) = match value_type {
        ValueType::Double => return Ok(()),
        ValueType::Int => (f64::from(i32::MAX), "an INT"),
        ValueType::Long => (i64::MAX as f64, "a LONG"),
    };
    if value > highest {
        return Err(invalid(format!("Proposed value for {key} is too large for {name}.")));
    }
    if (value % 1.0).abs() > 1e-6 {
        return Err(invalid(format!("{key} cannot be a fractional value.")));
    }
    Ok(())
}

/// An entity as Kafka's texts show it.
fn entity_text(entity: &ClientQuotaEntity) -> String {
    let parts: Vec<String> =
        entity.iter().map(|(entity_type, name)| format!("{entity_type}={}", name.as_deref().unwrap_or("null"))).collect();
    format!("ClientQuotaEntity(entries={{{}}})", parts.join(", "))
}
