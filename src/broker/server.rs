//! One node's broker: everything a handler may use, and the wiring of it. Source: `BrokerServer`.

use std::sync::Arc;

use tokio::sync::watch;

use super::config::{BrokerConfig, DynamicConfig};
use super::fetch_session::FetchSessions;
use super::group_coordinator::GroupCoordinator;
use super::producer_ids::ProducerIds;
use super::quorum::ControllerHandle;
use crate::common::clock::Clock;
use crate::common::random::Random;
use crate::metadata::cache::MetadataCache;
use crate::metadata::image::MetadataImage;
use crate::replication::replicas::Replicas;

/// What handlers are given. Shared as `Arc<Broker>`; every field has its own synchronisation.
pub struct Broker {
    /// The configs in force; [`Broker::config`] for what they are now.
    pub(crate) dynamic_config: Arc<DynamicConfig>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) cluster_id: String,
    pub(crate) controller: ControllerHandle,
    pub(crate) metadata: Arc<MetadataCache>,
    pub(crate) replicas: Arc<Replicas>,
    pub(crate) fetch_sessions: FetchSessions,
    pub(crate) producer_ids: ProducerIds,
    /// Also a publisher, to be registered after [`Broker::replicas`].
    pub(crate) groups: Arc<GroupCoordinator>,
    shutdown: watch::Sender<bool>,
}

impl Broker {
    /// A broker over its parts; it serves nobody yet.
    pub(crate) fn new(
        dynamic_config: Arc<DynamicConfig>,
        clock: Arc<dyn Clock>,
        cluster_id: String,
        controller: ControllerHandle,
        metadata: Arc<MetadataCache>,
        replicas: Arc<Replicas>,
    ) -> Broker {
        let slots = usize::try_from(dynamic_config.static_config().max_incremental_fetch_session_cache_slots).unwrap_or(0);
        let groups = GroupCoordinator::new(dynamic_config.static_config(), Arc::clone(&clock), Arc::clone(&replicas));
        Broker {
            groups: Arc::new(groups),
            fetch_sessions: FetchSessions::new(slots, Random::from_entropy()),
            producer_ids: ProducerIds::default(),
            shutdown: watch::Sender::new(false),
            dynamic_config,
            clock,
            cluster_id,
            controller,
            metadata,
            replicas,
        }
    }

    /// The configs in force now.
    pub(crate) fn config(&self) -> Arc<BrokerConfig> {
        self.dynamic_config.current()
    }

    /// The newest metadata.
    pub(crate) fn image(&self) -> Arc<MetadataImage> {
        self.metadata.image()
    }

    /// This node's id.
    pub(crate) fn node_id(&self) -> i32 {
        self.dynamic_config.static_config().node_id
    }

    /// Becomes true when the broker stops serving.
    pub(crate) fn shutdown_signal(&self) -> watch::Receiver<bool> {
        self.shutdown.subscribe()
    }

    /// Tells listeners and connections to end.
    pub(crate) fn begin_shutdown(&self) {
        self.shutdown.send_replace(true);
    }
}
