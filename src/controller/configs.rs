//! Dynamic configs of topics, brokers, groups and client metrics.
//!
//! Sources: Kafka's `ConfigurationControlManager` for the rules, `ControllerApis` for duplicates and unknown types.

use std::collections::{BTreeMap, BTreeSet};

use super::api_error::{ApiError, error_of};
use super::brokers::MIN_ISR;
use super::{Controller, MAX_RECORDS_PER_OPERATION, Outcome, topics};
use crate::metadata::image::{ConfigResource, ConfigResourceType};
use crate::metadata::record::{MetadataRecord, VersionedRecord};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::*;

/// A config's value may not be longer (in UTF-16 units, as Java counts).
const MAX_VALUE_LENGTH: usize = i16::MAX as usize;

/// What IncrementalAlterConfigs does to one config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AlterOperation {
    Set,
    Delete,
    Append,
    Subtract,
}

impl AlterOperation {
    fn from_code(code: i8) -> Option<AlterOperation> {
        match code {
            0 => Some(AlterOperation::Set),
            1 => Some(AlterOperation::Delete),
            2 => Some(AlterOperation::Append),
            3 => Some(AlterOperation::Subtract),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            AlterOperation::Set => "SET",
            AlterOperation::Delete => "DELETE",
            AlterOperation::Append => "APPEND",
            AlterOperation::Subtract => "SUBTRACT",
        }
    }
}

/// One answer in AlterConfigs and IncrementalAlterConfigs, which have the same shape.
struct Answer {
    type_: i8,
    name: String,
    error: ApiError,
}

impl Controller {
    /// AlterConfigs: what is named becomes all that is set.
    pub fn alter_configs(&mut self, request: &AlterConfigsRequest) -> Outcome<AlterConfigsResponse> {
        let resources = request.resources.iter().map(|resource| (resource.resource_type, resource.resource_name.as_str(), resource));
        let (records, answers) = self.alter(resources, |controller, resource, wanted| {
            let configs = wanted.configs.iter().map(|config| (config.name.clone(), config.value.clone())).collect();
            controller.replace_configs(resource, &configs)
        });
        let responses = answers.into_iter().map(|answer| alter_configs_response::AlterConfigsResourceResponse {
            error_code: answer.error.code.code(),
            error_message: answer.error.message,
            resource_type: answer.type_,
            resource_name: answer.name,
            ..Default::default()
        });
        let response = AlterConfigsResponse { responses: responses.collect(), ..Default::default() };
        Outcome { records: if request.validate_only { Vec::new() } else { records }, response }
    }

    /// IncrementalAlterConfigs.
    pub fn incremental_alter_configs(&mut self, request: &IncrementalAlterConfigsRequest) -> Outcome<IncrementalAlterConfigsResponse> {
        let resources = request.resources.iter().map(|resource| (resource.resource_type, resource.resource_name.as_str(), resource));
        let (records, answers) = self.alter(resources, |controller, resource, wanted| {
            // Of several changes of the same config the last counts.
            let mut changes = BTreeMap::new();
            for config in &wanted.configs {
                let Some(operation) = AlterOperation::from_code(config.config_operation) else {
                    let text = format!("Unknown operation type {}", config.config_operation);
                    return Err(ApiError::new(ErrorCode::InvalidRequest, text));
                };
                changes.insert(config.name.as_str(), (operation, config.value.as_deref()));
            }
            controller.change_configs(resource, &changes)
        });
        let responses = answers.into_iter().map(|answer| incremental_alter_configs_response::AlterConfigsResourceResponse {
            error_code: answer.error.code.code(),
            error_message: answer.error.message,
            resource_type: answer.type_,
            resource_name: answer.name,
            ..Default::default()
        });
        let response = IncrementalAlterConfigsResponse { responses: responses.collect(), ..Default::default() };
        Outcome { records: if request.validate_only { Vec::new() } else { records }, response }
    }

    /// What both requests share: unknown types and duplicates are refused, each resource succeeds or fails as a whole.
    fn alter<'a, T: 'a>(
        &self,
        resources: impl Iterator<Item = (i8, &'a str, &'a T)>,
        change: impl Fn(&Controller, &ConfigResource, &'a T) -> Result<Vec<VersionedRecord>, ApiError>,
    ) -> (Vec<VersionedRecord>, Vec<Answer>) {
        let (mut answers, mut wanted, mut duplicates) = (Vec::new(), Vec::<(ConfigResource, &T)>::new(), BTreeSet::new());
        for (type_, name, resource) in resources {
            let known = ConfigResourceType::from_code(type_).filter(|type_| *type_ != ConfigResourceType::BrokerLogger);
            let Some(known) = known else {
                let error = ApiError::new(ErrorCode::UnsupportedVersion, format!("Unknown resource type {type_}."));
                answers.push(Answer { type_, name: name.to_owned(), error });
                continue;
            };
            let key = ConfigResource { type_: known, name: name.to_owned() };
            if duplicates.contains(&key) {
                continue;
            }
            let before = wanted.len();
            wanted.retain(|(other, _)| *other != key);
            if wanted.len() < before {
                let error = ApiError::new(ErrorCode::InvalidRequest, "Duplicate resource.");
                answers.push(Answer { type_, name: name.to_owned(), error });
                duplicates.insert(key);
            } else {
                wanted.push((key, resource));
            }
        }
        let mut records = Vec::new();
        for (resource, wanted) in wanted {
            let changed = change(self, &resource, wanted).and_then(|changed| {
                if records.len() + changed.len() > MAX_RECORDS_PER_OPERATION {
                    return Err(ApiError::new(ErrorCode::PolicyViolation, topics::TOO_LARGE));
                }
                records.extend(changed);
                Ok(())
            });
            answers.push(Answer { type_: resource.type_.code(), name: resource.name, error: error_of(changed) });
        }
        let clearing = self.clear_elr_records(&records);
        records.extend(clearing);
        (records, answers)
    }

    /// The records that set the configs of a topic which is about to be created.
    pub(super) fn new_topic_config_records(
        &self,
        resource: &ConfigResource,
        configs: &BTreeMap<String, String>,
    ) -> Result<Vec<VersionedRecord>, ApiError> {
        if configs.is_empty() {
            return Ok(Vec::new());
        }
        let mut records: Vec<VersionedRecord> =
            configs.iter().map(|(name, value)| config_record(resource, name, Some(value.clone()))).collect();
        self.validate_changes(resource, &records, true)?;
        let clearing = self.clear_elr_records(&records);
        records.extend(clearing);
        Ok(records)
    }

    fn change_configs(
        &self,
        resource: &ConfigResource,
        changes: &BTreeMap<&str, (AlterOperation, Option<&str>)>,
    ) -> Result<Vec<VersionedRecord>, ApiError> {
        let current = self.configs_of(resource);
        let mut records = Vec::new();
        for (&name, &(operation, value)) in changes {
            let current_value = current.get(name);
            let new_value = match operation {
                AlterOperation::Set => value.map(str::to_owned),
                AlterOperation::Delete => None,
                AlterOperation::Append | AlterOperation::Subtract => {
                    if !self.schema.is_list(resource.type_, name) {
                        let text = format!("Can't {} to key {name} because its type is not LIST.", operation.name());
                        return Err(ApiError::new(ErrorCode::InvalidConfig, text));
                    }
                    let base = current_value.cloned().or_else(|| self.schema.default_value(resource.type_, name));
                    Some(change_list(base.as_deref().unwrap_or_default(), operation, value.unwrap_or_default()))
                }
            };
            if changes_anything(resource, current_value, new_value.as_ref()) {
                records.push(config_record(resource, name, new_value));
            }
        }
        self.validate_changes(resource, &records, false)?;
        Ok(records)
    }

    fn replace_configs(
        &self,
        resource: &ConfigResource,
        wanted: &BTreeMap<String, Option<String>>,
    ) -> Result<Vec<VersionedRecord>, ApiError> {
        let current = self.configs_of(resource);
        let set = wanted.iter().filter(|(name, value)| changes_anything(resource, current.get(*name), value.as_ref()));
        let mut records: Vec<VersionedRecord> = set.map(|(name, value)| config_record(resource, name, value.clone())).collect();
        let unset = current.keys().filter(|name| !wanted.contains_key(*name));
        records.extend(unset.map(|name| config_record(resource, name, None)));
        self.validate_changes(resource, &records, false)?;
        Ok(records)
    }

    fn validate_changes(&self, resource: &ConfigResource, records: &[VersionedRecord], is_new: bool) -> Result<(), ApiError> {
        let existing = self.configs_of(resource);
        let mut configs: BTreeMap<String, Option<String>> =
            existing.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).collect();
        for record in records {
            let MetadataRecord::Config(record) = &record.record else { continue };
            if record.name == MIN_ISR && resource.type_ == ConfigResourceType::Broker && self.elr_enabled() {
                let invalid = |text: &str| Err(ApiError::new(ErrorCode::InvalidConfig, text));
                if !resource.name.is_empty() {
                    return invalid("Broker-level min.insync.replicas cannot be altered while ELR is enabled.");
                }
                if record.value.is_none() {
                    return invalid("Cluster-level min.insync.replicas cannot be removed while ELR is enabled.");
                }
            }
            match &record.value {
                Some(value) if value.encode_utf16().count() > MAX_VALUE_LENGTH => {
                    let text = format!(
                        "The configuration value cannot be added because it exceeds the maximum value size of {MAX_VALUE_LENGTH} bytes."
                    );
                    return Err(ApiError::new(ErrorCode::InvalidConfig, text));
                }
                Some(value) => configs.insert(record.name.clone(), Some(value.clone())),
                None => configs.remove(&record.name),
            };
        }
        self.schema.validate(resource, &configs, existing)?;
        if is_new { Ok(()) } else { self.validate_existence(resource) }
    }

    /// Does the thing exist whose configs are to change?
    fn validate_existence(&self, resource: &ConfigResource) -> Result<(), ApiError> {
        match resource.type_ {
            ConfigResourceType::Topic if self.image.topics.topic(&resource.name).is_none() => {
                let text = format!("The topic '{}' does not exist.", resource.name);
                Err(ApiError::new(ErrorCode::UnknownTopicOrPartition, text))
            }
            ConfigResourceType::Broker if !resource.name.is_empty() => {
                let known = |id: i32| self.image.cluster.broker(id).is_some() || self.image.cluster.controllers.contains_key(&id);
                match resource.name.parse() {
                    Ok(id) if known(id) => Ok(()),
                    Ok(id) => Err(ApiError::new(ErrorCode::BrokerIdNotRegistered, format!("No node with id {id} found."))),
                    Err(_) => Err(ApiError::new(ErrorCode::InvalidRequest, format!("Invalid broker name {}", resource.name))),
                }
            }
            _ => Ok(()),
        }
    }

    /// Who is eligible depends on the minimum of in-sync replicas: when it changes, all who are eligible lose it.
    fn clear_elr_records(&self, records: &[VersionedRecord]) -> Vec<VersionedRecord> {
        if !self.elr_enabled() {
            return Vec::new();
        }
        let changes = records.iter().filter_map(|record| match &record.record {
            MetadataRecord::Config(record) if record.name == MIN_ISR => Some(record),
            _ => None,
        });
        let clearing = changes.map(|record| match record.resource_type {
            type_ if type_ == ConfigResourceType::Topic.code() => record.resource_name.clone(),
            _ => String::new(),
        });
        clearing.map(|topic_name| VersionedRecord::new(ClearElrRecord { topic_name, ..Default::default() }, 0)).collect()
    }
}

/// Brokers reload files and keystores when a config is set to what it was (KAFKA-14136).
fn changes_anything(resource: &ConfigResource, current: Option<&String>, new: Option<&String>) -> bool {
    resource.type_ == ConfigResourceType::Broker || current != new
}

fn config_record(resource: &ConfigResource, name: &str, value: Option<String>) -> VersionedRecord {
    let record = ConfigRecord {
        resource_type: resource.type_.code(),
        resource_name: resource.name.clone(),
        name: name.to_owned(),
        value,
        ..Default::default()
    };
    VersionedRecord::new(record, 0)
}

/// A list with values added that it lacks, or removed.
fn change_list(list: &str, operation: AlterOperation, values: &str) -> String {
    let mut items: Vec<&str> = list.split(',').filter(|item| !item.is_empty()).collect();
    for value in values.split(',') {
        let position = items.iter().position(|item| *item == value);
        match (operation, position) {
            (AlterOperation::Append, None) => items.push(value),
            (AlterOperation::Subtract, Some(position)) => drop(items.remove(position)),
            _ => {}
        }
    }
    items.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_grow_and_shrink_without_repetition() {
        assert_eq!(change_list("", AlterOperation::Append, "a"), "a");
        assert_eq!(change_list("a", AlterOperation::Append, "b,a"), "a,b");
        assert_eq!(change_list("a,b", AlterOperation::Subtract, "a,c"), "b");
    }
}
