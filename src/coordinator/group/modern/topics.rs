//! The topics of the cluster as groups see them: the newest metadata image, who reads what, and the hashes by which a group notices that a
//! topic it reads has changed. Sources: `Utils.computeTopicHash`, `Utils.computeGroupHash`, `groupsByTopics` and `topicHashCache` of
//! `GroupMetadataManager`.
//!
//! Invariant: a cached hash is that of the topic in `image`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use twox_hash::XxHash3_64;

use crate::common::uuid::Uuid;
use crate::metadata::image::{MetadataImage, TopicImage};

/// The version of the hash; part of what is hashed.
const TOPIC_HASH_MAGIC_BYTE: u8 = 0;

/// What changed between two images, as far as groups care.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicsDelta {
    /// Names of topics that are new or whose partitions changed, and of topics that are gone.
    pub changed: BTreeSet<String>,
    /// Is any topic new? Then regular expressions have to be resolved again.
    pub created: bool,
}

/// The shard's view of the cluster's topics.
#[derive(Debug)]
pub struct Topics {
    image: Arc<MetadataImage>,
    hashes: HashMap<String, i64>,
    groups_by_topic: HashMap<String, BTreeSet<String>>,
    /// The version of the last image that brought topics; -1 before the first image.
    last_version_with_new_topics: i64,
}

impl Topics {
    pub fn new(image: Arc<MetadataImage>) -> Topics {
        let last_version_with_new_topics = image.provenance.offset;
        Topics { image, hashes: HashMap::new(), groups_by_topic: HashMap::new(), last_version_with_new_topics }
    }

    pub fn image(&self) -> &Arc<MetadataImage> {
        &self.image
    }

    pub(in crate::coordinator::group) fn last_version_with_new_topics(&self) -> i64 {
        self.last_version_with_new_topics
    }

    /// Takes a newer image; gives the groups that read what changed.
    pub(in crate::coordinator::group) fn update(&mut self, image: Arc<MetadataImage>, delta: &TopicsDelta) -> BTreeSet<String> {
        if delta.created || self.last_version_with_new_topics == -1 {
            self.last_version_with_new_topics = image.provenance.offset;
        }
        self.image = image;
        let mut groups = BTreeSet::new();
        for topic in &delta.changed {
            self.hashes.remove(topic);
            groups.extend(self.groups_by_topic.get(topic).into_iter().flatten().cloned());
        }
        groups
    }

    /// A group reads other topics than before.
    pub(in crate::coordinator::group) fn subscriptions_changed(&mut self, group_id: &str, old: &BTreeSet<String>, new: &BTreeSet<String>) {
        for topic in old.difference(new) {
            if let Some(groups) = self.groups_by_topic.get_mut(topic) {
                groups.remove(group_id);
                if groups.is_empty() {
                    self.groups_by_topic.remove(topic);
                    self.hashes.remove(topic);
                }
            }
        }
        for topic in new.difference(old) {
            self.groups_by_topic.entry(topic.clone()).or_default().insert(group_id.to_owned());
        }
    }

    pub fn topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.image.topics.topic(name)
    }

    pub fn topic_by_id(&self, id: Uuid) -> Option<&Arc<TopicImage>> {
        self.image.topics.topic_by_id(id)
    }

    /// The ids of those of these topics that exist.
    pub fn ids<'a>(&self, names: impl IntoIterator<Item = &'a String>) -> BTreeSet<Uuid> {
        names.into_iter().filter_map(|name| Some(self.image.topics.topic(name)?.id)).collect()
    }

    /// The metadata hash of a group that reads these topics; 0 when none of them exists.
    pub fn group_hash<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) -> i64 {
        // By name, which is the order of the hash.
        let names: BTreeSet<&str> = names.into_iter().collect();
        let mut bytes = Vec::with_capacity(names.len() * 8);
        for name in names {
            let Some(topic) = self.image.topics.topic(name) else { continue };
            let hash = match self.hashes.get(name) {
                Some(&hash) => hash,
                None => {
                    let hash = topic_hash(topic, &self.image);
                    if self.groups_by_topic.contains_key(name) {
                        self.hashes.insert(name.to_owned(), hash);
                    }
                    hash
                }
            };
            bytes.extend_from_slice(&hash.to_le_bytes());
        }
        if bytes.is_empty() { 0 } else { XxHash3_64::oneshot(&bytes) as i64 }
    }
}

/// The hash of a topic's id, name, partitions and the racks of their replicas.
pub fn topic_hash(topic: &TopicImage, image: &MetadataImage) -> i64 {
    let mut bytes = vec![TOPIC_HASH_MAGIC_BYTE];
    let (upper, lower) = topic.id.halves();
    bytes.extend_from_slice(&upper.to_le_bytes());
    bytes.extend_from_slice(&lower.to_le_bytes());
    put_string(&mut bytes, &topic.name);
    let partitions = i32::try_from(topic.partition_count()).unwrap_or(i32::MAX);
    bytes.extend_from_slice(&partitions.to_le_bytes());
    for partition in 0..partitions {
        bytes.extend_from_slice(&partition.to_le_bytes());
        let mut racks = partition_racks(topic, partition, image);
        racks.sort_unstable();
        for rack in racks {
            bytes.extend_from_slice(&(rack.encode_utf16().count() as i32).to_le_bytes());
            put_string(&mut bytes, rack);
        }
    }
    XxHash3_64::oneshot(&bytes) as i64
}

/// The racks of the partition's replicas.
pub fn partition_racks<'a>(topic: &TopicImage, partition: i32, image: &'a MetadataImage) -> Vec<&'a str> {
    let replicas = topic.partition(partition).map(|p| p.replicas.as_slice()).unwrap_or_default();
    replicas.iter().filter_map(|&id| image.cluster.brokers.get(&id)?.rack.as_deref()).collect()
}

/// A string as hash4j's streams take it: UTF-16 units, then their number.
fn put_string(bytes: &mut Vec<u8>, text: &str) {
    let mut units = 0i32;
    for unit in text.encode_utf16() {
        bytes.extend_from_slice(&unit.to_le_bytes());
        units += 1;
    }
    bytes.extend_from_slice(&units.to_le_bytes());
}

/// Names by id, for responses: topics that are gone are left out.
pub fn names_by_id<'a>(image: &'a MetadataImage, ids: impl IntoIterator<Item = &'a Uuid>) -> BTreeMap<Uuid, String> {
    ids.into_iter().filter_map(|&id| Some((id, image.topics.topic_by_id(id)?.name.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::group::tests::image_with_topics;

    #[test]
    fn the_hash_of_a_groups_topics_is_kafkas() {
        // Written by one and taken as unchanged by the other, Kafka 4.3, when it loaded the group.
        let id: Uuid = "NHfjVp5ERsG6-u9JbR2mbQ".parse().expect("an identifier");
        let mut topics = Topics::new(image_with_topics(1, &[("foo", id, 6), ("foobar", Uuid::from_u128(7), 2)]));
        assert_eq!(topics.group_hash(["foo"]), 7_391_232_523_803_044_995);
        assert_eq!(topics.group_hash(["foo", "not there"]), 7_391_232_523_803_044_995);
        assert_ne!(topics.group_hash(["foo", "foobar"]), 7_391_232_523_803_044_995);
        assert_eq!(topics.group_hash(["not there"]), 0);
    }

    #[test]
    fn groups_are_found_by_the_topics_they_read() {
        let mut topics = Topics::new(Arc::default());
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
        topics.subscriptions_changed("g", &names(&[]), &names(&["a", "b"]));
        topics.subscriptions_changed("h", &names(&[]), &names(&["b"]));
        topics.subscriptions_changed("g", &names(&["a", "b"]), &names(&["a"]));
        let changed = |names: BTreeSet<String>| TopicsDelta { changed: names, created: false };
        assert_eq!(topics.update(Arc::default(), &changed(names(&["a"]))), names(&["g"]));
        assert_eq!(topics.update(Arc::default(), &changed(names(&["b", "c"]))), names(&["h"]));
    }
}
