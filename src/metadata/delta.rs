//! Records on their way into an image: the next image and what it changes.
//!
//! Invariant: `replay` accepts records in log order and either applies one whole or fails; a failure means that the log
//! is damaged or newer than this build, and stops the node.
//! Source: Kafka's `MetadataDelta` and its parts (KIP-631 for what each record does).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::image::{ConfigResource, MetadataImage, Provenance, TopicImage};
use crate::common::uuid::Uuid;

/// What changed of one topic.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TopicChanges {
    /// The partitions that are new or differ.
    pub partitions: BTreeSet<i32>,
    /// The topic is new.
    pub created: bool,
}

/// The difference between an image and the next one.
#[derive(Debug, Clone)]
pub struct MetadataDelta {
    pub(super) image: Arc<MetadataImage>,
    pub(super) next: MetadataImage,
    pub(super) topics: BTreeMap<Uuid, TopicChanges>,
    /// Removed topics, those included that came and went within the delta.
    pub(super) deleted_topics: BTreeSet<Uuid>,
    pub(super) brokers: BTreeSet<i32>,
    pub(super) controllers: BTreeSet<i32>,
    pub(super) configs: BTreeSet<ConfigResource>,
    pub(super) features: bool,
    pub(super) client_quotas: bool,
    pub(super) producer_ids: bool,
    pub(super) acls: bool,
    pub(super) scram: bool,
    pub(super) delegation_tokens: bool,
}

impl MetadataDelta {
    /// A delta without changes on top of `image`.
    pub fn new(image: Arc<MetadataImage>) -> MetadataDelta {
        MetadataDelta {
            next: (*image).clone(),
            image,
            topics: BTreeMap::new(),
            deleted_topics: BTreeSet::new(),
            brokers: BTreeSet::new(),
            controllers: BTreeSet::new(),
            configs: BTreeSet::new(),
            features: false,
            client_quotas: false,
            producer_ids: false,
            acls: false,
            scram: false,
            delegation_tokens: false,
        }
    }

    /// The image before the changes.
    pub fn image(&self) -> &Arc<MetadataImage> {
        &self.image
    }

    /// The image with the changes so far, at the place of the old one until [`MetadataDelta::apply`].
    pub fn next(&self) -> &MetadataImage {
        &self.next
    }

    /// The image after the changes.
    pub fn apply(&self, provenance: Provenance) -> MetadataImage {
        MetadataImage { provenance, ..self.next.clone() }
    }

    /// Counts the changes from `image` on, which holds a part of them already. What is said to have changed may then be more
    /// than what did, never less.
    pub(super) fn rebase(&mut self, image: &Arc<MetadataImage>) {
        self.image = Arc::clone(image);
        for (id, changes) in &mut self.topics {
            changes.created = image.topics.topic_by_id(*id).is_none();
        }
    }

    /// The topics that are new or have changed partitions; a topic that came and went again is not among them.
    pub fn changed_topics(&self) -> impl Iterator<Item = (&Arc<TopicImage>, &TopicChanges)> {
        self.topics.iter().filter_map(|(id, changes)| Some((self.next.topics.topic_by_id(*id)?, changes)))
    }

    /// The topics of the old image that are gone, as they were.
    pub fn deleted_topics(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.deleted_topics.iter().filter_map(|id| self.image.topics.topic_by_id(*id))
    }

    /// The brokers that registered, changed or are gone.
    pub fn changed_brokers(&self) -> &BTreeSet<i32> {
        &self.brokers
    }

    /// The controllers that registered.
    pub fn changed_controllers(&self) -> &BTreeSet<i32> {
        &self.controllers
    }

    /// The resources whose configs changed; those of a deleted topic are not among them.
    pub fn changed_configs(&self) -> &BTreeSet<ConfigResource> {
        &self.configs
    }

    pub fn features_changed(&self) -> bool {
        self.features
    }

    pub fn client_quotas_changed(&self) -> bool {
        self.client_quotas
    }

    pub fn producer_ids_changed(&self) -> bool {
        self.producer_ids
    }

    pub fn acls_changed(&self) -> bool {
        self.acls
    }

    pub fn scram_changed(&self) -> bool {
        self.scram
    }

    pub fn delegation_tokens_changed(&self) -> bool {
        self.delegation_tokens
    }
}
