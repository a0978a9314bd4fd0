//! Client quotas. Source: `KafkaAdminClient.describeClientQuotas`, `alterClientQuotas`; KIP-546.

use std::collections::BTreeMap;

use super::{Admin, Results, spread};
use crate::client::error::{ApiError, ClientError};
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use crate::protocol::messages::describe_client_quotas_request::ComponentData;
use crate::protocol::messages::{AlterClientQuotasRequest, DescribeClientQuotasRequest};

/// Whom a quota is for: names by entity type (`user`, `client-id`, `ip`), `None` being the default of that type.
pub type ClientQuotaEntity = BTreeMap<String, Option<String>>;

/// What the name of an entity must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientQuotaMatch {
    Exact(String),
    Default,
    Any,
}

/// Which entities to describe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientQuotaFilter {
    /// By entity type; an entity that lacks one of them does not match.
    pub components: Vec<(String, ClientQuotaMatch)>,
    /// Entities with further types do not match either.
    pub strict: bool,
}

/// New quotas of an entity, `None` removing one.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientQuotaAlteration {
    pub entity: ClientQuotaEntity,
    pub ops: BTreeMap<String, Option<f64>>,
}

impl Admin {
    /// The quotas of entities, by their keys.
    pub async fn describe_client_quotas(
        &self,
        filter: &ClientQuotaFilter,
    ) -> Result<BTreeMap<ClientQuotaEntity, BTreeMap<String, f64>>, ClientError> {
        let components = filter.components.iter().map(|(entity_type, wanted)| {
            let (match_type, match_) = match wanted {
                ClientQuotaMatch::Exact(name) => (0, Some(name.clone())),
                ClientQuotaMatch::Default => (1, None),
                ClientQuotaMatch::Any => (2, None),
            };
            ComponentData { entity_type: entity_type.clone(), match_type, match_, ..Default::default() }
        });
        let request = DescribeClientQuotasRequest { components: components.collect(), strict: filter.strict, ..Default::default() };
        let response = self
            .retried("describeClientQuotas", || async {
                let response = self.cluster.send_to_any(&request).await?;
                ApiError::check(response.error_code, response.error_message.clone())?;
                Ok(response)
            })
            .await?;
        let described = response.entries.unwrap_or_default().into_iter().map(|entry| {
            let entity = entry.entity.into_iter().map(|it| (it.entity_type, it.entity_name)).collect();
            (entity, entry.values.into_iter().map(|it| (it.key, it.value)).collect())
        });
        Ok(described.collect())
    }

    /// Changes quotas, or with `validate_only` says whether that would be possible.
    pub async fn alter_client_quotas(&self, alterations: &[ClientQuotaAlteration], validate_only: bool) -> Results<ClientQuotaEntity, ()> {
        let entries = alterations.iter().map(|alteration| {
            let entity = alteration.entity.iter().map(|(entity_type, entity_name)| EntityData {
                entity_type: entity_type.clone(),
                entity_name: entity_name.clone(),
                ..Default::default()
            });
            let ops = alteration.ops.iter().map(|(key, value)| OpData {
                key: key.clone(),
                value: value.unwrap_or_default(),
                remove: value.is_none(),
                ..Default::default()
            });
            EntryData { entity: entity.collect(), ops: ops.collect(), ..Default::default() }
        });
        let request = AlterClientQuotasRequest { entries: entries.collect(), validate_only, ..Default::default() };
        let code = |response: &crate::protocol::messages::AlterClientQuotasResponse| {
            let moved = response.entries.iter().any(|it| ErrorCode::from_code(it.error_code) == ErrorCode::NotController);
            if moved { ErrorCode::NotController } else { ErrorCode::None }
        };
        let outcome = self.on_controller("alterClientQuotas", &request, code).await.map(|response| {
            let results = response.entries.into_iter().map(|entry| {
                let entity: ClientQuotaEntity = entry.entity.into_iter().map(|it| (it.entity_type, it.entity_name)).collect();
                (entity, ApiError::check(entry.error_code, entry.error_message))
            });
            results.collect()
        });
        spread(alterations.iter().map(|alteration| alteration.entity.clone()), outcome)
    }
}
