//! What ShareFetch and ShareAcknowledge have in common: acknowledgements are checked, handed to their share partitions, and awaited.
//! Source: `KafkaApis.handleAcknowledgements`, `validateAcknowledgementBatches`.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use super::server::Broker;
use super::share::{AcknowledgementBatch, SessionKey, ShareError, TopicIdPartition, acknowledge_type};
use crate::protocol::error_code::ErrorCode;

/// The longest member id that a client of share groups may have.
const MAX_MEMBER_ID_LENGTH: usize = 36;

/// Whose request it is, or what is wrong with that.
pub(crate) fn session_key(group_id: Option<String>, member_id: Option<String>) -> Result<SessionKey, ErrorCode> {
    let group_id = group_id.ok_or(ErrorCode::InvalidRequest)?;
    let member_id = member_id.filter(|id| is_member_id_valid(id)).ok_or(ErrorCode::InvalidRequest)?;
    Ok(SessionKey { group_id, member_id })
}

pub(crate) fn is_member_id_valid(member_id: &str) -> bool {
    !member_id.is_empty() && member_id.encode_utf16().count() <= MAX_MEMBER_ID_LENGTH
}

/// Which acknowledgements a request may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AcknowledgementRules {
    /// The request's version knows renewal.
    pub(crate) supports_renew: bool,
    /// The request says that it renews.
    pub(crate) is_renew: bool,
}

type Results = HashMap<TopicIdPartition, Result<(), ShareError>>;
type PendingResult = Pin<Box<dyn Future<Output = Result<(), ShareError>> + Send>>;

/// Acknowledgements on their way.
pub(crate) struct Acknowledgements {
    results: Results,
    pending: Vec<(TopicIdPartition, PendingResult)>,
}

impl Acknowledgements {
    /// Waits until all are persisted, or refused.
    pub(crate) async fn finish(mut self) -> Results {
        for (partition, result) in self.pending {
            self.results.insert(partition, result.await);
        }
        self.results
    }
}

/// Hands acknowledgements to their share partitions, in which they take effect before this returns.
pub(crate) fn begin(
    broker: &Arc<Broker>,
    key: &SessionKey,
    rules: AcknowledgementRules,
    partitions: Vec<(TopicIdPartition, Vec<AcknowledgementBatch>)>,
) -> Acknowledgements {
    let image = broker.image();
    let mut begun = Acknowledgements { results: HashMap::new(), pending: Vec::new() };
    // Named twice, the last one counts.
    for ((topic_id, index), batches) in partitions.into_iter().collect::<HashMap<_, _>>() {
        let refused = match image.topics.topic_by_id(topic_id) {
            None => Some(ErrorCode::UnknownTopicId),
            Some(_) if !are_valid(&batches, rules) => Some(ErrorCode::InvalidRequest),
            Some(topic) if topic.partition(index).is_none() => Some(ErrorCode::UnknownTopicOrPartition),
            Some(_) => None,
        };
        match refused {
            Some(code) => {
                begun.results.insert((topic_id, index), Err(ShareError { code, message: None }));
            }
            None if batches.is_empty() => {
                begun.results.insert((topic_id, index), Ok(()));
            }
            None => {
                let pending = broker.shares.acknowledge(key, (topic_id, index), &batches);
                begun.pending.push(((topic_id, index), Box::pin(pending)));
            }
        }
    }
    begun
}

fn are_valid(batches: &[AcknowledgementBatch], rules: AcknowledgementRules) -> bool {
    let last_type = if rules.supports_renew { acknowledge_type::RENEW } else { acknowledge_type::REJECT };
    let mut last_offset = -1;
    batches.iter().all(|batch| {
        let types = &batch.acknowledge_types;
        let follows = batch.first_offset <= batch.last_offset && batch.first_offset >= last_offset;
        last_offset = batch.last_offset;
        let fits = match types.len() {
            0 => false,
            1 => true,
            count => batch.last_offset.checked_sub(batch.first_offset) == i64::try_from(count).ok().map(|count| count - 1),
        };
        let known = types.iter().all(|kind| (acknowledge_type::GAP..=last_type).contains(kind));
        follows && fits && known && (rules.is_renew || !types.contains(&acknowledge_type::RENEW))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(first_offset: i64, last_offset: i64, types: &[i8]) -> AcknowledgementBatch {
        AcknowledgementBatch { first_offset, last_offset, acknowledge_types: types.to_vec() }
    }

    const RULES: AcknowledgementRules = AcknowledgementRules { supports_renew: true, is_renew: true };

    #[test]
    fn one_type_for_all_or_one_for_each() {
        assert!(are_valid(&[batch(0, 9, &[1])], RULES));
        assert!(are_valid(&[batch(0, 1, &[1, 0]), batch(2, 2, &[3])], RULES));
        for wrong in [batch(0, 9, &[]), batch(0, 9, &[1, 1]), batch(5, 4, &[1]), batch(0, 0, &[5]), batch(0, 0, &[-1])] {
            assert!(!are_valid(std::slice::from_ref(&wrong), RULES), "{wrong:?}");
        }
        assert!(!are_valid(&[batch(5, 9, &[1]), batch(0, 4, &[1])], RULES), "out of order");
    }

    #[test]
    fn renewal_is_said_twice() {
        let renewal = [batch(0, 9, &[4])];
        assert!(are_valid(&renewal, RULES));
        assert!(!are_valid(&renewal, AcknowledgementRules { is_renew: false, ..RULES }));
        assert!(!are_valid(&renewal, AcknowledgementRules { supports_renew: false, ..RULES }));
    }

    #[test]
    fn members_and_groups_have_names() {
        assert!(session_key(Some("g".to_owned()), Some("m".repeat(36))).is_ok());
        assert!(session_key(None, Some("m".to_owned())).is_err());
        assert!(session_key(Some("g".to_owned()), None).is_err());
        assert!(session_key(Some("g".to_owned()), Some("m".repeat(37))).is_err());
        assert!(session_key(Some("g".to_owned()), Some(String::new())).is_err());
    }
}
