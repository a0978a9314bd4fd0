//! Who votes. Source: Kafka's `VoterSet`, `VoterSetHistory`, `ReplicaKey` (KIP-853).

use std::collections::BTreeMap;

use crate::common::uuid::Uuid;
use crate::protocol::messages::{VotersRecord, voters_record};

/// A replica of the metadata log: a node and the directory that holds its log, since a node with an empty disk is another voter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplicaKey {
    pub id: i32,
    /// Zero where it is not known (kraft.version 0).
    pub directory_id: Uuid,
}

/// Where a voter can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoterEndpoint {
    /// The listener's name.
    pub name: String,
    pub host: String,
    pub port: u16,
}

/// A voter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voter {
    pub key: ReplicaKey,
    pub endpoints: Vec<VoterEndpoint>,
    /// The kraft.versions that the voter supports, lowest and highest.
    pub kraft_versions: (i16, i16),
}

/// The voters at one time, by node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VoterSet {
    voters: BTreeMap<i32, Voter>,
}

impl VoterSet {
    pub fn new(voters: impl IntoIterator<Item = Voter>) -> VoterSet {
        VoterSet { voters: voters.into_iter().map(|voter| (voter.key.id, voter)).collect() }
    }

    /// Adds a voter, or replaces the one with its node's ID.
    pub fn insert(&mut self, voter: Voter) {
        self.voters.insert(voter.key.id, voter);
    }

    pub fn get(&self, id: i32) -> Option<&Voter> {
        self.voters.get(&id)
    }

    /// Is this replica a voter? A zero directory ID on either side matches any.
    pub fn contains(&self, key: ReplicaKey) -> bool {
        self.voters.get(&key.id).is_some_and(|voter| {
            let known = voter.key.directory_id;
            known == key.directory_id || known.is_zero() || key.directory_id.is_zero()
        })
    }

    /// Is it the only voter?
    pub fn is_only(&self, key: ReplicaKey) -> bool {
        self.voters.len() == 1 && self.contains(key)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Voter> {
        self.voters.values()
    }

    pub fn len(&self) -> usize {
        self.voters.len()
    }

    pub fn is_empty(&self) -> bool {
        self.voters.is_empty()
    }

    /// How many voters decide.
    pub fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    pub fn to_record(&self) -> VotersRecord {
        let voters = self.voters.values().map(|voter| voters_record::Voter {
            voter_id: voter.key.id,
            voter_directory_id: voter.key.directory_id,
            endpoints: voter
                .endpoints
                .iter()
                .map(|endpoint| voters_record::Endpoint {
                    name: endpoint.name.clone(),
                    host: endpoint.host.clone(),
                    port: endpoint.port,
                    ..Default::default()
                })
                .collect(),
            kraft_version_feature: voters_record::KRaftVersionFeature {
                min_supported_version: voter.kraft_versions.0,
                max_supported_version: voter.kraft_versions.1,
                ..Default::default()
            },
            ..Default::default()
        });
        VotersRecord { version: 0, voters: voters.collect(), ..Default::default() }
    }

    pub fn from_record(record: &VotersRecord) -> VoterSet {
        VoterSet::new(record.voters.iter().map(|voter| {
            Voter {
                key: ReplicaKey { id: voter.voter_id, directory_id: voter.voter_directory_id },
                endpoints: voter
                    .endpoints
                    .iter()
                    .map(|endpoint| VoterEndpoint { name: endpoint.name.clone(), host: endpoint.host.clone(), port: endpoint.port })
                    .collect(),
                kraft_versions: (voter.kraft_version_feature.min_supported_version, voter.kraft_version_feature.max_supported_version),
            }
        }))
    }
}

/// The voter sets and the kraft.version by the offset from which they hold.
///
/// Invariant: they hold from when they are appended, before they are committed; a truncation of the log takes them back.
#[derive(Debug, Clone, Default)]
pub struct VoterHistory {
    sets: BTreeMap<i64, VoterSet>,
    kraft_versions: BTreeMap<i64, i16>,
}

impl VoterHistory {
    /// Takes over what a snapshot that ends at `offset` says.
    pub fn load_snapshot(&mut self, offset: i64, kraft_version: i16, voters: Option<VoterSet>) {
        self.sets.clear();
        self.kraft_versions.clear();
        self.kraft_versions.insert(offset - 1, kraft_version);
        if let Some(voters) = voters {
            self.sets.insert(offset - 1, voters);
        }
    }

    pub fn add_voters(&mut self, offset: i64, voters: VoterSet) {
        self.sets.insert(offset, voters);
    }

    pub fn add_kraft_version(&mut self, offset: i64, version: i16) {
        self.kraft_versions.insert(offset, version);
    }

    /// The log was cut to end at `offset`.
    pub fn truncate_to(&mut self, offset: i64) {
        self.sets.retain(|&at, _| at < offset);
        self.kraft_versions.retain(|&at, _| at < offset);
    }

    /// The voters now.
    pub fn latest(&self) -> Option<&VoterSet> {
        self.sets.last_key_value().map(|(_, voters)| voters)
    }

    /// Do the voters come from the log, not just from the snapshot of the format step?
    pub fn is_in_log(&self) -> bool {
        self.sets.last_key_value().is_some_and(|(&offset, _)| offset >= 0)
    }

    /// The kraft.version now.
    pub fn kraft_version(&self) -> i16 {
        self.kraft_versions.last_key_value().map_or(0, |(_, &version)| version)
    }
}
