//! The features of a cluster, and which levels of them this build can read and write.
//!
//! Source: Kafka 4.3's `MetadataVersion` and `Feature`.

use crate::protocol::codec::VersionRange;

/// The feature that says which records a metadata log may hold.
pub const METADATA_VERSION: &str = "metadata.version";
/// The feature that says how voters are known; it lives in control records, never in a FeatureLevelRecord.
pub const KRAFT_VERSION: &str = "kraft.version";
pub const TRANSACTION_VERSION: &str = "transaction.version";
pub const GROUP_VERSION: &str = "group.version";
pub const ELIGIBLE_LEADER_REPLICAS_VERSION: &str = "eligible.leader.replicas.version";
pub const SHARE_VERSION: &str = "share.version";
pub const STREAMS_VERSION: &str = "streams.version";

/// The feature levels that this build reads, in the order of their names.
pub const SUPPORTED: [(&str, VersionRange); 7] = [
    (ELIGIBLE_LEADER_REPLICAS_VERSION, VersionRange::new(0, 1)),
    (GROUP_VERSION, VersionRange::new(0, 1)),
    (KRAFT_VERSION, VersionRange::new(0, 1)),
    (METADATA_VERSION, VersionRange::new(7, 30)),
    (SHARE_VERSION, VersionRange::new(0, 1)),
    (STREAMS_VERSION, VersionRange::new(0, 1)),
    (TRANSACTION_VERSION, VersionRange::new(0, 2)),
];

/// The levels that a new cluster starts with, metadata.version first, as `kafka-storage format` of 4.3 writes them.
pub const NEW_CLUSTER: [(&str, i16); 6] = [
    (METADATA_VERSION, 30),
    (ELIGIBLE_LEADER_REPLICAS_VERSION, 1),
    (GROUP_VERSION, 1),
    (SHARE_VERSION, 1),
    (STREAMS_VERSION, 1),
    (TRANSACTION_VERSION, 2),
];

/// The levels of a feature that this build reads; `None` for a feature it does not know.
pub fn supported(name: &str) -> Option<VersionRange> {
    SUPPORTED.iter().find(|(known, _)| *known == name).map(|&(_, range)| range)
}

/// The highest metadata.version of this build.
pub const LATEST_METADATA_VERSION: MetadataVersion = MetadataVersion(30);

/// A level of metadata.version, and what it decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetadataVersion(pub i16);

impl MetadataVersion {
    /// The names of the levels from 7 on.
    const NAMES: [&'static str; 24] = [
        "3.3-IV3", "3.4-IV0", "3.5-IV0", "3.5-IV1", "3.5-IV2", "3.6-IV0", "3.6-IV1", "3.6-IV2", "3.7-IV0", "3.7-IV1", "3.7-IV2", "3.7-IV3",
        "3.7-IV4", "3.8-IV0", "3.9-IV0", "4.0-IV0", "4.0-IV1", "4.0-IV2", "4.0-IV3", "4.1-IV0", "4.1-IV1", "4.2-IV0", "4.2-IV1", "4.3-IV0",
    ];

    /// The level's name, such as `4.3-IV0`; `None` for a level that this build does not know.
    pub fn name(self) -> Option<&'static str> {
        usize::try_from(self.0 - 7).ok().and_then(|index| MetadataVersion::NAMES.get(index)).copied()
    }

    /// The level after the latest one: it can be named, but no release has it yet.
    const UNSTABLE: (MetadataVersion, &'static str) = (MetadataVersion(31), "4.4-IV0");

    /// As [`MetadataVersion::name`], also of the level that no release has yet.
    pub fn name_of_any(self) -> Option<&'static str> {
        self.name().or_else(|| (self == MetadataVersion::UNSTABLE.0).then_some(MetadataVersion::UNSTABLE.1))
    }

    /// All levels by name, oldest first, those that no release has yet too.
    pub fn all() -> impl Iterator<Item = (MetadataVersion, &'static str)> {
        let released = MetadataVersion::NAMES.iter().zip(7..).map(|(&name, level)| (MetadataVersion(level), name));
        released.chain([MetadataVersion::UNSTABLE])
    }

    /// The level of a release (`4.1`, `4.1.1`: its last one), or the one of this name (`4.1-IV0`). Source: `fromVersionString`.
    pub fn from_release(text: &str) -> Option<MetadataVersion> {
        let words: Vec<&str> = text.trim_end_matches('.').split('.').collect();
        let release = if words.len() > 2 { words[..2].join(".") } else { text.to_owned() };
        if let Some((level, _)) = MetadataVersion::all().find(|(_, name)| *name == release) {
            return Some(level);
        }
        let of_release = |name: &str| name.split_once('-').is_some_and(|(of, _)| of == release);
        MetadataVersion::all().filter(|(level, name)| of_release(name) && *level <= LATEST_METADATA_VERSION).map(|(level, _)| level).last()
    }

    pub fn leader_epoch_bump_on_isr_shrink(self) -> bool {
        self.0 < 12
    }

    pub fn has_metadata_transactions(self) -> bool {
        self.0 >= 13
    }

    pub fn has_controller_registration(self) -> bool {
        self.0 >= 15
    }

    pub fn has_directories(self) -> bool {
        self.0 >= 17
    }

    /// The first level with the records of eligible leader replicas.
    pub const FIRST_WITH_ELR: MetadataVersion = MetadataVersion(23);

    pub fn has_elr(self) -> bool {
        self >= MetadataVersion::FIRST_WITH_ELR
    }

    /// Could a log of this level hold what a node at the lower level `older` cannot read?
    pub fn changed_metadata_since(self, older: MetadataVersion) -> bool {
        /// The levels that brought new records or fields.
        const CHANGES: [i16; 9] = [7, 8, 11, 13, 14, 15, 17, 23, 30];
        CHANGES.iter().any(|level| (older.0 + 1..=self.0).contains(level))
    }

    pub fn has_cordoned_directories(self) -> bool {
        self.0 >= 30
    }

    /// At which version RegisterBrokerRecord is written.
    pub fn register_broker_record_version(self) -> i16 {
        match self.0 {
            30.. => 4,
            17.. => 3,
            8.. => 2,
            _ => 1,
        }
    }

    /// At which version PartitionRecord and PartitionChangeRecord are written.
    pub fn partition_record_version(self) -> i16 {
        match self.0 {
            23.. => 2,
            17.. => 1,
            _ => 0,
        }
    }

    pub fn has_scram(self) -> bool {
        self.0 >= 11
    }

    pub fn has_delegation_tokens(self) -> bool {
        self.0 >= 14
    }
}

/// A feature besides metadata.version: its levels, each with the first metadata.version at which a new cluster gets it, and what a level
/// needs of another feature.
pub struct Feature {
    pub name: &'static str,
    pub levels: &'static [(i16, MetadataVersion)],
    /// Level, the feature that it needs, and that one's lowest level.
    pub dependencies: &'static [(i16, &'static str, i16)],
}

const FIRST: MetadataVersion = MetadataVersion(7);

/// The features in Kafka's own order.
pub const FEATURES: [Feature; 6] = [
    Feature { name: KRAFT_VERSION, levels: &[(0, FIRST), (1, MetadataVersion(21))], dependencies: &[] },
    Feature { name: TRANSACTION_VERSION, levels: &[(0, FIRST), (1, MetadataVersion(24)), (2, MetadataVersion(24))], dependencies: &[] },
    Feature { name: GROUP_VERSION, levels: &[(0, FIRST), (1, MetadataVersion(22))], dependencies: &[] },
    Feature {
        name: ELIGIBLE_LEADER_REPLICAS_VERSION,
        levels: &[(0, FIRST), (1, MetadataVersion(26))],
        dependencies: &[(1, METADATA_VERSION, MetadataVersion::FIRST_WITH_ELR.0)],
    },
    Feature { name: SHARE_VERSION, levels: &[(0, FIRST), (1, MetadataVersion(28))], dependencies: &[] },
    Feature { name: STREAMS_VERSION, levels: &[(0, FIRST), (1, MetadataVersion(29))], dependencies: &[] },
];

impl Feature {
    /// The level that a new cluster gets.
    pub fn default_level(&self, metadata_version: MetadataVersion) -> i16 {
        self.levels.iter().take_while(|(_, first)| *first <= metadata_version).last().map_or(0, |(level, _)| *level)
    }

    pub fn has_level(&self, level: i16) -> bool {
        self.levels.iter().any(|(known, _)| *known == level)
    }

    /// What a level needs: features and their lowest levels.
    pub fn dependencies_of(&self, level: i16) -> impl Iterator<Item = (&'static str, i16)> {
        self.dependencies.iter().filter(move |(of, ..)| *of == level).map(|&(_, name, needed)| (name, needed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_cluster_has_the_default_levels() {
        for (name, level) in NEW_CLUSTER.into_iter().filter(|(name, _)| *name != METADATA_VERSION) {
            let feature = FEATURES.iter().find(|feature| feature.name == name).expect("known");
            assert_eq!(feature.default_level(LATEST_METADATA_VERSION), level, "{name}");
            assert!(feature.has_level(level));
        }
    }

    #[test]
    fn releases_have_their_last_level() {
        assert_eq!(MetadataVersion::from_release("4.1"), Some(MetadataVersion(27)));
        assert_eq!(MetadataVersion::from_release("4.1.1"), Some(MetadataVersion(27)));
        assert_eq!(MetadataVersion::from_release("4.0-IV1"), Some(MetadataVersion(23)));
        assert_eq!(MetadataVersion::from_release("3.3"), Some(MetadataVersion(7)));
        assert_eq!(MetadataVersion::from_release("4.4"), None, "not released");
        assert_eq!(MetadataVersion::from_release("4.4-IV0"), Some(MetadataVersion(31)));
        assert_eq!(MetadataVersion::from_release("0.7"), None);
    }
}
