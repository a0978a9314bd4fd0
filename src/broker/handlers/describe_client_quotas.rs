//! DescribeClientQuotas 0-1: the quotas of the entities that a filter matches. Source: `ClientQuotasImage.describe`.
//!
//! Differs: entries come in the order of their entities; Kafka's order is that of a hash table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::controller::quotas::{
    CLIENT_ID, CONSUMER_BYTE_RATE, CONTROLLER_MUTATION_RATE, IP, PRODUCER_BYTE_RATE, REQUEST_PERCENTAGE, USER,
};
use crate::metadata::image::{ClientQuotaEntity, ClientQuotasImage};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::describe_client_quotas_response::{EntityData, EntryData, ValueData};
use crate::protocol::messages::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};

/// How a component of a filter matches the name of an entity.
const MATCH_EXACT: i8 = 0;
const MATCH_DEFAULT: i8 = 1;
const MATCH_SPECIFIED: i8 = 2;

/// The order of an entity's values, by which Kafka's own tool prints them as it does those of its broker.
const VALUE_ORDER: [&str; 4] = [REQUEST_PERCENTAGE, PRODUCER_BYTE_RATE, CONSUMER_BYTE_RATE, CONTROLLER_MUTATION_RATE];

pub(crate) async fn handle(
    broker: &Arc<Broker>,
    _ctx: &RequestContext,
    request: DescribeClientQuotasRequest,
) -> DescribeClientQuotasResponse {
    match describe(&broker.image().client_quotas, &request) {
        Ok(entries) => DescribeClientQuotasResponse { entries: Some(entries), error_message: Some(String::new()), ..Default::default() },
        Err((code, text)) => {
            DescribeClientQuotasResponse { error_code: code.code(), error_message: Some(text), entries: None, ..Default::default() }
        }
    }
}

/// What a filter asks of an entity.
#[derive(Default)]
struct Filter<'a> {
    exact: BTreeMap<&'a str, Option<&'a str>>,
    specified: BTreeSet<&'a str>,
}

impl<'a> Filter<'a> {
    fn parse(request: &'a DescribeClientQuotasRequest) -> Result<Filter<'a>, (ErrorCode, String)> {
        let invalid = |text: &str| Err((ErrorCode::InvalidRequest, text.to_owned()));
        let mut filter = Filter::default();
        for component in &request.components {
            let entity_type = component.entity_type.as_str();
            if entity_type.is_empty() {
                return invalid("Invalid empty entity type.");
            }
            if filter.names(entity_type) {
                return invalid(&format!("Entity type {entity_type} cannot appear more than once in the filter."));
            }
            if ![IP, USER, CLIENT_ID].contains(&entity_type) {
                return Err((ErrorCode::UnsupportedVersion, format!("Unsupported entity type {entity_type}")));
            }
            match (component.match_type, component.match_.as_deref()) {
                (MATCH_EXACT, None) => return invalid("Request specified MATCH_TYPE_EXACT, but set match string to null."),
                (MATCH_EXACT, name) => drop(filter.exact.insert(entity_type, name)),
                (MATCH_DEFAULT, None) => drop(filter.exact.insert(entity_type, None)),
                (MATCH_DEFAULT, _) => return invalid("Request specified MATCH_TYPE_DEFAULT, but also specified a match string."),
                (MATCH_SPECIFIED, None) => drop(filter.specified.insert(entity_type)),
                (MATCH_SPECIFIED, _) => return invalid("Request specified MATCH_TYPE_SPECIFIED, but also specified a match string."),
                (unknown, _) => return invalid(&format!("Unknown match type {unknown}")),
            }
        }
        if filter.names(IP) && (filter.names(USER) || filter.names(CLIENT_ID)) {
            return invalid(
                "Invalid entity filter component combination. IP filter component should not be used with user or clientId filter \
                 component.",
            );
        }
        Ok(filter)
    }

    fn names(&self, entity_type: &str) -> bool {
        self.exact.contains_key(entity_type) || self.specified.contains(entity_type)
    }

    fn matches(&self, entity: &ClientQuotaEntity, strict: bool) -> bool {
        if strict && entity.len() != self.exact.len() + self.specified.len() {
            return false;
        }
        let exact = self.exact.iter().all(|(entity_type, name)| entity.get(*entity_type).is_some_and(|found| found.as_deref() == *name));
        exact && self.specified.iter().all(|entity_type| entity.contains_key(*entity_type))
    }
}

fn describe(quotas: &ClientQuotasImage, request: &DescribeClientQuotasRequest) -> Result<Vec<EntryData>, (ErrorCode, String)> {
    let filter = Filter::parse(request)?;
    let matching = quotas.entities.iter().filter(|(entity, _)| filter.matches(entity, request.strict));
    let place = |key: &str| VALUE_ORDER.iter().position(|known| *known == key);
    let in_order = |values: &BTreeMap<String, f64>| {
        let mut values: Vec<ValueData> =
            values.iter().map(|(key, &value)| ValueData { key: key.clone(), value, ..Default::default() }).collect();
        values.sort_by_key(|value| place(&value.key));
        values
    };
    let entry = |(entity, values): (&ClientQuotaEntity, &Arc<BTreeMap<String, f64>>)| EntryData {
        entity: entity
            .iter()
            .map(|(entity_type, entity_name)| EntityData {
                entity_type: entity_type.clone(),
                entity_name: entity_name.clone(),
                ..Default::default()
            })
            .collect(),
        values: in_order(values),
        ..Default::default()
    };
    Ok(matching.map(entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::messages::describe_client_quotas_request::ComponentData;

    fn entity(parts: &[(&str, Option<&str>)]) -> ClientQuotaEntity {
        parts.iter().map(|(entity_type, name)| ((*entity_type).to_owned(), name.map(str::to_owned))).collect()
    }

    fn found(strict: bool, components: &[(&str, i8, Option<&str>)]) -> Result<Vec<String>, String> {
        let mut quotas = ClientQuotasImage::default();
        let entities = [
            entity(&[(USER, Some("u"))]),
            entity(&[(USER, None)]),
            entity(&[(USER, Some("u")), (CLIENT_ID, Some("c"))]),
            entity(&[(CLIENT_ID, None)]),
            entity(&[(IP, Some("1.2.3.4"))]),
        ];
        for entity in entities {
            quotas.entities.insert(entity, Arc::new(BTreeMap::from([("producer_byte_rate".to_owned(), 1.0)])));
        }
        let components = components.iter().map(|(entity_type, match_type, name)| ComponentData {
            entity_type: (*entity_type).to_owned(),
            match_type: *match_type,
            match_: name.map(str::to_owned),
            ..Default::default()
        });
        let request = DescribeClientQuotasRequest { components: components.collect(), strict, ..Default::default() };
        let entries = describe(&quotas, &request).map_err(|(_, text)| text)?;
        let part = |part: &EntityData| format!("{}={}", part.entity_type, part.entity_name.as_deref().unwrap_or("<default>"));
        Ok(entries.iter().map(|entry| entry.entity.iter().map(part).collect::<Vec<_>>().join(",")).collect())
    }

    #[test]
    fn a_filter_matches_by_name_by_default_and_by_being_there() {
        let all = found(false, &[]).expect("valid");
        assert_eq!(all.len(), 5);
        assert_eq!(found(false, &[(USER, MATCH_EXACT, Some("u"))]).expect("valid"), ["client-id=c,user=u", "user=u"]);
        assert_eq!(found(true, &[(USER, MATCH_EXACT, Some("u"))]).expect("valid"), ["user=u"]);
        assert_eq!(found(false, &[(USER, MATCH_DEFAULT, None)]).expect("valid"), ["user=<default>"]);
        assert_eq!(
            found(true, &[(USER, MATCH_SPECIFIED, None), (CLIENT_ID, MATCH_SPECIFIED, None)]).expect("valid"),
            ["client-id=c,user=u"]
        );
        assert_eq!(found(true, &[]).expect("valid"), [""; 0]);
    }

    #[test]
    fn a_filter_that_contradicts_itself_is_refused() {
        let refusal = |components: &[(&str, i8, Option<&str>)]| found(false, components).expect_err("refused");
        assert_eq!(refusal(&[("", MATCH_EXACT, None)]), "Invalid empty entity type.");
        assert_eq!(refusal(&[("group", MATCH_EXACT, None)]), "Unsupported entity type group");
        assert_eq!(refusal(&[(USER, MATCH_EXACT, None)]), "Request specified MATCH_TYPE_EXACT, but set match string to null.");
        assert_eq!(refusal(&[(USER, 3, None)]), "Unknown match type 3");
        let twice = [(USER, MATCH_DEFAULT, None), (USER, MATCH_SPECIFIED, None)];
        assert_eq!(refusal(&twice), "Entity type user cannot appear more than once in the filter.");
        assert!(refusal(&[(IP, MATCH_DEFAULT, None), (USER, MATCH_DEFAULT, None)]).starts_with("Invalid entity filter component"));
    }
}
