//! AlterClientQuotas 0-1: who may use how much. The controller decides; here only the names of hosts are looked up. Source:
//! `ClientQuotaControlManager.alterClientQuotas`.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::broker::request_context::RequestContext;
use crate::broker::server::Broker;
use crate::controller::quotas::IP;
use crate::protocol::messages::{AlterClientQuotasRequest, AlterClientQuotasResponse};

/// How many names of hosts one request may have looked up; nobody has that many with a quota.
const MAX_LOOKUPS: usize = 64;

pub(crate) async fn handle(broker: &Arc<Broker>, _ctx: &RequestContext, request: AlterClientQuotasRequest) -> AlterClientQuotasResponse {
    let addresses = request.entries.iter().flat_map(|entry| &entry.entity).filter(|part| part.entity_type == IP);
    let names: BTreeSet<&String> = addresses.filter_map(|part| part.entity_name.as_ref()).filter(|name| !name.is_empty()).collect();
    let mut unresolvable = BTreeSet::new();
    let mut lookups = 0;
    for name in names {
        if name.parse::<IpAddr>().is_ok() {
            continue;
        }
        lookups += 1;
        if lookups > MAX_LOOKUPS || !resolves(name).await {
            unresolvable.insert(name.clone());
        }
    }
    broker.controller.alter_client_quotas(request, unresolvable).await
}

async fn resolves(name: &str) -> bool {
    tokio::net::lookup_host((name, 0)).await.is_ok_and(|mut addresses| addresses.next().is_some())
}
