//! A member of a group as its coordinator sees it: what the next heartbeat says, and what an answer means.
//!
//! Pure state. Invariants: a field is sent when the coordinator does not know it yet or an error makes that doubtful, and never otherwise.
//! An assignment is acknowledged only by the heartbeat after it has been taken over.
//! Source: `ConsumerHeartbeatRequestManager`, `AbstractMembershipManager`; KIP-848, KIP-1082 (the member makes its own id).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::client::error::{ApiError, ClientError};
use crate::common::uuid::Uuid;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use crate::protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

const JOIN_EPOCH: i32 = 0;
const LEAVE_EPOCH: i32 = -1;
/// Of a static member, whose place is kept for its return.
const LEAVE_STATIC_EPOCH: i32 = -2;

/// Kafka's words, which say what to do.
const NOT_SUPPORTED: &str = "The cluster does not support the new CONSUMER group protocol. Set group.protocol=classic on the consumer \
                             configs to revert to the CLASSIC protocol until the cluster is upgraded.";

/// Partitions by topic id.
pub(super) type Partitions = BTreeMap<Uuid, BTreeSet<i32>>;

/// What the consumer subscribes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) topics: BTreeSet<String>,
    /// For the coordinator to resolve, in RE2's syntax.
    pub(super) regex: Option<String>,
}

/// An assignment with the number that it has here, so that getting the same partitions twice is told from getting them once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Assignment {
    number: u64,
    pub(super) partitions: Partitions,
}

impl Assignment {
    /// Does it hold what could be taken over of another?
    pub(super) fn is_part_of(&self, whole: &Assignment) -> bool {
        self.number == whole.number
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Joining,
    Reconciling,
    Acknowledging,
    Stable,
}

/// What a heartbeat's answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The next is due after this.
    Fine(Duration),
    /// The group has given this member's partitions to others; it may join again.
    Fenced,
    FindCoordinator,
    Retry,
    /// The user is to know, and the member goes on.
    Trouble(ClientError),
    Fatal(ClientError),
}

/// Settings that never change.
#[derive(Clone, Debug, Default)]
pub(super) struct Profile {
    pub(super) group_id: String,
    pub(super) instance_id: Option<String>,
    pub(super) rack_id: Option<String>,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) server_assignor: Option<String>,
}

/// What the coordinator has been told; `None` is not known to be.
#[derive(Default)]
struct Told {
    rebalance_timeout: bool,
    topics: Option<BTreeSet<String>>,
    regex: Option<String>,
    server_assignor: bool,
    current: Option<Option<Assignment>>,
}

pub(super) struct Member {
    profile: Profile,
    id: String,
    epoch: i32,
    state: State,
    target: Option<Assignment>,
    current: Option<Assignment>,
    told: Told,
}

impl Member {
    /// A member under an id of its own making that is not in the group yet.
    pub(super) fn new(profile: Profile, id: String) -> Member {
        let told = Told::default();
        Member { profile, id, epoch: JOIN_EPOCH, state: State::Joining, target: None, current: None, told }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// `None` while it is not in the group.
    pub(super) fn epoch(&self) -> Option<i32> {
        (self.epoch > JOIN_EPOCH).then_some(self.epoch)
    }

    pub(super) fn is_static(&self) -> bool {
        self.profile.instance_id.is_some()
    }

    /// Joins with the next heartbeat, with nothing assigned.
    pub(super) fn join(&mut self) {
        self.epoch = JOIN_EPOCH;
        self.state = State::Joining;
        self.target = None;
        self.current = None;
    }

    /// Is the next heartbeat due at once?
    pub(super) fn is_urgent(&self) -> bool {
        matches!(self.state, State::Joining | State::Acknowledging)
    }

    /// Would a heartbeat tell another subscription than the last one did?
    pub(super) fn has_news(&self, wanted: &Wanted) -> bool {
        self.told.topics.as_ref() != Some(&wanted.topics) || self.told.regex != wanted.regex
    }

    /// What is to be taken over, if it is not what there is.
    pub(super) fn to_reconcile(&self) -> Option<&Assignment> {
        self.target.as_ref().filter(|_| self.state == State::Reconciling)
    }

    pub(super) fn current(&self) -> Option<&Assignment> {
        self.current.as_ref()
    }

    /// Says that of `target` these partitions have been taken over: those whose topics are known by name.
    pub(super) fn reconciled(&mut self, target: &Assignment, partitions: Partitions) {
        self.current = Some(Assignment { number: target.number, partitions });
        self.state = State::Acknowledging;
    }

    /// The next heartbeat. It counts as sent.
    pub(super) fn heartbeat(&mut self, wanted: &Wanted) -> ConsumerGroupHeartbeatRequest {
        let all = self.state == State::Joining;
        let mut request = ConsumerGroupHeartbeatRequest {
            group_id: self.profile.group_id.clone(),
            member_id: self.id.clone(),
            member_epoch: self.epoch,
            instance_id: self.profile.instance_id.clone(),
            ..Default::default()
        };
        if all || !self.told.rebalance_timeout {
            request.rebalance_timeout_ms = self.profile.rebalance_timeout_ms;
            self.told.rebalance_timeout = true;
        }
        if all || self.told.topics.as_ref() != Some(&wanted.topics) {
            request.subscribed_topic_names = Some(wanted.topics.iter().cloned().collect());
            self.told.topics = Some(wanted.topics.clone());
        }
        if (all && wanted.regex.is_some()) || self.told.regex != wanted.regex {
            // An empty one takes back the one before.
            request.subscribed_topic_regex = Some(wanted.regex.clone().unwrap_or_default());
            self.told.regex = wanted.regex.clone();
        }
        if all || !self.told.server_assignor {
            request.server_assignor = self.profile.server_assignor.clone();
            self.told.server_assignor = true;
        }
        if all || self.told.current.as_ref() != Some(&self.current) {
            let partitions = self.current.iter().flat_map(|current| &current.partitions);
            let partitions = partitions.map(|(topic_id, partitions)| TopicPartitions {
                topic_id: *topic_id,
                partitions: partitions.iter().copied().collect(),
                ..Default::default()
            });
            request.topic_partitions = Some(partitions.collect());
            self.told.current = Some(self.current.clone());
        }
        if all {
            request.rack_id = self.profile.rack_id.clone();
        }
        if self.state == State::Acknowledging {
            self.state = if self.current == self.target { State::Stable } else { State::Reconciling };
        }
        request
    }

    /// The heartbeat by which it leaves.
    pub(super) fn farewell(&self) -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest {
            group_id: self.profile.group_id.clone(),
            member_id: self.id.clone(),
            member_epoch: if self.is_static() { LEAVE_STATIC_EPOCH } else { LEAVE_EPOCH },
            instance_id: self.profile.instance_id.clone(),
            ..Default::default()
        }
    }

    /// The answer to a heartbeat did not come: whether it arrived is not known.
    pub(super) fn unanswered(&mut self) {
        self.told = Told::default();
    }

    /// Takes in the answer to a heartbeat.
    pub(super) fn answered(&mut self, response: ConsumerGroupHeartbeatResponse) -> Heard {
        let code = ErrorCode::from_code(response.error_code);
        if code == ErrorCode::None {
            if response.member_epoch > JOIN_EPOCH {
                self.epoch = response.member_epoch;
            }
            if let Some(assignment) = response.assignment {
                let topics = assignment.topic_partitions.into_iter();
                self.assigned(topics.map(|topic| (topic.topic_id, topic.partitions.into_iter().collect())).collect());
            }
            return Heard::Fine(Duration::from_millis(u64::try_from(response.heartbeat_interval_ms).unwrap_or(0)));
        }
        self.told = Told::default();
        let message = response.error_message;
        match code {
            ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable => Heard::FindCoordinator,
            ErrorCode::CoordinatorLoadInProgress => Heard::Retry,
            ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId => Heard::Fenced,
            // It may be allowed any time.
            ErrorCode::TopicAuthorizationFailed => Heard::Trouble(ApiError::new(code, message).into()),
            ErrorCode::UnsupportedVersion => Heard::Fatal(ApiError::new(code, Some(NOT_SUPPORTED.to_owned())).into()),
            ErrorCode::GroupAuthorizationFailed => {
                let message = format!("Not authorized to access group: {}", self.profile.group_id);
                Heard::Fatal(ApiError::new(code, Some(message)).into())
            }
            ErrorCode::InvalidRegularExpression => {
                let message = message.unwrap_or_default();
                let message = format!("Invalid RE2J SubscriptionPattern provided in the call to subscribe. {message}");
                Heard::Fatal(ApiError::new(code, Some(message)).into())
            }
            code => Heard::Fatal(ApiError::new(code, message).into()),
        }
    }

    fn assigned(&mut self, partitions: Partitions) {
        if self.target.as_ref().is_none_or(|target| target.partitions != partitions) {
            let number = self.target.as_ref().map_or(0, |target| target.number + 1);
            self.target = Some(Assignment { number, partitions });
        }
        if self.target != self.current {
            self.state = State::Reconciling;
        } else if matches!(self.state, State::Reconciling | State::Joining) {
            self.state = State::Stable;
        }
    }

    /// What a request that could not be sent at any version means.
    pub(super) fn unsupported(&self, error: ClientError) -> ClientError {
        match error.is_unsupported_version() {
            true if self.told.regex.is_some() => {
                let message =
                    "The cluster does not support regular expressions resolution on the broker side. It must be upgraded to use it.";
                ApiError::new(ErrorCode::UnsupportedVersion, Some(message.to_owned())).into()
            }
            true => ApiError::new(ErrorCode::UnsupportedVersion, Some(NOT_SUPPORTED.to_owned())).into(),
            false => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::messages::consumer_group_heartbeat_response;

    const TOPIC: Uuid = Uuid::from_u128(7);

    fn member() -> Member {
        let profile = Profile {
            group_id: "g".to_owned(),
            rack_id: Some("r".to_owned()),
            rebalance_timeout_ms: 300_000,
            server_assignor: Some("uniform".to_owned()),
            ..Profile::default()
        };
        Member::new(profile, "m".to_owned())
    }

    fn wanted(topics: &[&str]) -> Wanted {
        Wanted { topics: topics.iter().map(|topic| (*topic).to_owned()).collect(), regex: None }
    }

    fn fine(epoch: i32, partitions: Option<&[i32]>) -> ConsumerGroupHeartbeatResponse {
        let topic = |partitions: &[i32]| consumer_group_heartbeat_response::TopicPartitions {
            topic_id: TOPIC,
            partitions: partitions.to_vec(),
            ..Default::default()
        };
        let assignment = partitions.map(|partitions| consumer_group_heartbeat_response::Assignment {
            topic_partitions: if partitions.is_empty() { Vec::new() } else { vec![topic(partitions)] },
            ..Default::default()
        });
        ConsumerGroupHeartbeatResponse { member_epoch: epoch, heartbeat_interval_ms: 5000, assignment, ..Default::default() }
    }

    fn refused(code: ErrorCode) -> ConsumerGroupHeartbeatResponse {
        ConsumerGroupHeartbeatResponse { error_code: code.code(), ..Default::default() }
    }

    fn partitions(partitions: &[i32]) -> Partitions {
        BTreeMap::from([(TOPIC, partitions.iter().copied().collect())])
    }

    fn take_over(member: &mut Member) {
        let target = member.to_reconcile().expect("something to take over").clone();
        member.reconciled(&target, target.partitions.clone());
    }

    #[test]
    fn joining_says_everything_and_later_heartbeats_only_what_changed() {
        let mut member = member();
        assert!(member.is_urgent());
        let request = member.heartbeat(&wanted(&["t"]));
        assert_eq!((request.member_epoch, request.rebalance_timeout_ms), (0, 300_000));
        assert_eq!(request.subscribed_topic_names, Some(vec!["t".to_owned()]));
        assert_eq!((request.topic_partitions, request.subscribed_topic_regex), (Some(Vec::new()), None));
        assert_eq!((request.server_assignor.as_deref(), request.rack_id.as_deref()), (Some("uniform"), Some("r")));
        assert_eq!(member.answered(fine(3, Some(&[0, 1]))), Heard::Fine(Duration::from_secs(5)));
        take_over(&mut member);
        assert!(member.is_urgent(), "the coordinator waits for it");
        let request = member.heartbeat(&wanted(&["t"]));
        assert_eq!((request.member_epoch, request.rebalance_timeout_ms), (3, -1));
        assert_eq!(request.topic_partitions.expect("acknowledged")[0].partitions, [0, 1]);
        assert_eq!((request.subscribed_topic_names, request.server_assignor, request.rack_id), (None, None, None));
        assert!(!member.is_urgent());
        assert_eq!(member.heartbeat(&wanted(&["t"])).topic_partitions, None);
        assert!(member.has_news(&wanted(&["u"])));
        assert_eq!(member.heartbeat(&wanted(&["u"])).subscribed_topic_names, Some(vec!["u".to_owned()]));
    }

    #[test]
    fn an_assignment_is_acknowledged_only_when_it_is_taken_over() {
        let mut member = member();
        member.heartbeat(&wanted(&["t"]));
        member.answered(fine(1, Some(&[0, 1])));
        take_over(&mut member);
        member.heartbeat(&wanted(&["t"]));
        member.answered(fine(2, Some(&[0])));
        assert_eq!(member.heartbeat(&wanted(&["t"])).topic_partitions, None, "partition 1 is still being read");
        take_over(&mut member);
        assert_eq!(member.heartbeat(&wanted(&["t"])).topic_partitions.expect("acknowledged")[0].partitions, [0]);
    }

    #[test]
    fn a_new_target_while_the_old_one_is_acknowledged_is_taken_over_next() {
        let mut member = member();
        member.heartbeat(&wanted(&["t"]));
        member.answered(fine(1, Some(&[0])));
        let target = member.to_reconcile().expect("a target").clone();
        member.answered(fine(2, Some(&[1])));
        member.reconciled(&target, partitions(&[0]));
        member.heartbeat(&wanted(&["t"]));
        assert_eq!(member.to_reconcile().map(|target| &target.partitions), Some(&partitions(&[1])));
    }

    #[test]
    fn the_same_partitions_given_twice_are_acknowledged_twice() {
        let mut member = member();
        member.heartbeat(&wanted(&["t"]));
        member.answered(fine(1, Some(&[])));
        take_over(&mut member);
        assert_eq!(member.heartbeat(&wanted(&["t"])).topic_partitions, Some(Vec::new()));
        member.answered(fine(2, Some(&[])));
        assert_eq!(member.to_reconcile(), None, "nothing changed");
    }

    #[test]
    fn an_error_makes_the_next_heartbeat_say_everything_again() {
        let mut member = member();
        member.heartbeat(&wanted(&["t"]));
        member.answered(fine(1, Some(&[0])));
        take_over(&mut member);
        member.heartbeat(&wanted(&["t"]));
        assert_eq!(member.answered(refused(ErrorCode::CoordinatorLoadInProgress)), Heard::Retry);
        let request = member.heartbeat(&wanted(&["t"]));
        assert_eq!(request.subscribed_topic_names, Some(vec!["t".to_owned()]));
        assert_eq!(request.topic_partitions.expect("again")[0].partitions, [0]);
        assert_eq!(request.member_epoch, 1);
    }

    #[test]
    fn a_fenced_member_joins_as_a_new_one_under_its_id() {
        for code in [ErrorCode::FencedMemberEpoch, ErrorCode::UnknownMemberId] {
            let mut member = member();
            member.heartbeat(&wanted(&["t"]));
            member.answered(fine(4, Some(&[0])));
            assert_eq!(member.answered(refused(code)), Heard::Fenced);
            member.join();
            assert_eq!(member.epoch(), None);
            let request = member.heartbeat(&wanted(&["t"]));
            assert_eq!((request.member_id.as_str(), request.member_epoch, request.topic_partitions), ("m", 0, Some(Vec::new())));
        }
    }

    #[test]
    fn a_regular_expression_is_sent_and_taken_back() {
        let mut member = member();
        let regex = Wanted { topics: BTreeSet::new(), regex: Some("t.*".to_owned()) };
        assert_eq!(member.heartbeat(&regex).subscribed_topic_regex.as_deref(), Some("t.*"));
        member.answered(fine(1, Some(&[])));
        assert_eq!(member.heartbeat(&regex).subscribed_topic_regex, None);
        assert_eq!(member.heartbeat(&wanted(&["t"])).subscribed_topic_regex.as_deref(), Some(""));
    }

    #[test]
    fn a_static_member_says_that_it_will_be_back() {
        assert_eq!(member().farewell().member_epoch, -1);
        let profile = Profile { instance_id: Some("i".to_owned()), ..Profile::default() };
        let farewell = Member::new(profile, "m".to_owned()).farewell();
        assert_eq!((farewell.member_epoch, farewell.instance_id.as_deref()), (-2, Some("i")));
    }

    #[test]
    fn errors_are_told_apart() {
        let mut member = member();
        for code in [ErrorCode::NotCoordinator, ErrorCode::CoordinatorNotAvailable] {
            assert_eq!(member.answered(refused(code)), Heard::FindCoordinator);
        }
        assert!(matches!(member.answered(refused(ErrorCode::TopicAuthorizationFailed)), Heard::Trouble(_)));
        for code in [
            ErrorCode::GroupAuthorizationFailed,
            ErrorCode::InvalidRequest,
            ErrorCode::GroupMaxSizeReached,
            ErrorCode::UnsupportedAssignor,
            ErrorCode::UnsupportedVersion,
            ErrorCode::UnreleasedInstanceId,
            ErrorCode::FencedInstanceId,
            ErrorCode::InvalidRegularExpression,
            ErrorCode::GroupIdNotFound,
            ErrorCode::UnknownServerError,
        ] {
            assert!(matches!(member.answered(refused(code)), Heard::Fatal(error) if error.is(code)), "{}", code.name());
        }
    }
}
