//! The file `quorum-state`: the epoch, its leader and this node's vote, which must survive a crash.
//!
//! Source: Kafka's `FileQuorumStateStore` and `QuorumStateData`. Version 1 belongs to kraft.version 1, version 0 to the ones before.

use serde_json::{Value, json};

use super::voters::ReplicaKey;
use crate::common::uuid::Uuid;

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuorumState {
    pub epoch: i32,
    pub leader_id: Option<i32>,
    pub voted: Option<ReplicaKey>,
}

/// The file cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed quorum-state: {0}")]
pub struct QuorumStateError(String);

impl QuorumState {
    /// The file's content at the version that `kraft_version` calls for; `voters` stand only in version 0.
    pub fn to_text(&self, kraft_version: i16, voters: impl Iterator<Item = i32>) -> String {
        let voted = self.voted.map_or(-1, |voted| voted.id);
        let leader = self.leader_id.unwrap_or(-1);
        if kraft_version > 0 {
            let directory = self.voted.map_or(Uuid::ZERO, |voted| voted.directory_id);
            return format!(
                "{{\"leaderId\":{leader},\"leaderEpoch\":{},\"votedId\":{voted},\"votedDirectoryId\":\"{directory}\",\"data_version\":1}}",
                self.epoch
            );
        }
        let voters: Vec<Value> = voters.map(|id| json!({ "voterId": id })).collect();
        format!(
            "{{\"clusterId\":\"\",\"leaderId\":{leader},\"leaderEpoch\":{},\"votedId\":{voted},\"appliedOffset\":0,\"currentVoters\":{},\
             \"data_version\":0}}",
            self.epoch,
            Value::Array(voters)
        )
    }

    /// Reads either version.
    pub fn parse(text: &str) -> Result<QuorumState, QuorumStateError> {
        let malformed = |what: &str| QuorumStateError(what.to_owned());
        let value: Value = serde_json::from_str(text).map_err(|error| QuorumStateError(error.to_string()))?;
        match value.get("data_version").and_then(Value::as_i64) {
            Some(0 | 1) => {}
            Some(version) => return Err(QuorumStateError(format!("unknown data_version {version}"))),
            None => return Err(malformed("data_version is missing")),
        }
        let number = |name: &'static str| -> Result<i32, QuorumStateError> {
            let number = value.get(name).and_then(Value::as_i64).and_then(|number| i32::try_from(number).ok());
            number.ok_or_else(|| malformed(&format!("{name} is not a number")))
        };
        let directory = match value.get("votedDirectoryId") {
            Some(id) => id.as_str().and_then(|id| id.parse().ok()).ok_or_else(|| malformed("votedDirectoryId is not a UUID"))?,
            None => Uuid::ZERO,
        };
        let voted = number("votedId")?;
        Ok(QuorumState {
            epoch: number("leaderEpoch")?,
            leader_id: Some(number("leaderId")?).filter(|&id| id >= 0),
            voted: (voted >= 0).then_some(ReplicaKey { id: voted, directory_id: directory }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by Apache Kafka 4.3.
    const GOLDEN: &str = r#"{"leaderId":1,"leaderEpoch":1,"votedId":-1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1}"#;

    #[test]
    fn kafkas_file_round_trips() {
        let state = QuorumState::parse(GOLDEN).expect("parsed");
        assert_eq!(state, QuorumState { epoch: 1, leader_id: Some(1), voted: None });
        assert_eq!(state.to_text(1, std::iter::empty()), GOLDEN);
    }

    #[test]
    fn the_static_form_round_trips() {
        let voted = Some(ReplicaKey { id: 2, directory_id: Uuid::ZERO });
        let state = QuorumState { epoch: 7, leader_id: None, voted };
        let text = state.to_text(0, [1, 2].into_iter());
        assert!(text.contains(r#""currentVoters":[{"voterId":1},{"voterId":2}]"#), "{text}");
        assert_eq!(QuorumState::parse(&text), Ok(state));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "{}", r#"{"data_version":2}"#, r#"{"data_version":1,"leaderEpoch":"x","votedId":-1,"leaderId":1}"#] {
            assert!(QuorumState::parse(text).is_err(), "{text}");
        }
    }
}
