//! Subscriptions by regular expression (RE2 syntax, KIP-848). Sources: `TopicRegexResolver`, `ResolvedRegularExpression`,
//! `maybeUpdateRegularExpressions` and `handleRegularExpressionsResult` of `GroupMetadataManager`.
//!
//! An expression is matched against all topics, which may be many; so the shard only says that this is to be done ([`RegexResolution`]),
//! it is done elsewhere ([`resolve_regexes`]), and the outcome comes back as an operation of its own and becomes records, for all
//! expressions of the group at once.
//!
//! Differs: the crate `regex` stands for RE2/J. It has the same syntax but for a few escapes (`\C`, `\Q..\E`), and the same linear time.
//!
//! Invariant: a group has at most one resolution under way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{ConsumerGroup, ConsumerGroupMember, SubscribedTopics, records};
use crate::coordinator::group::records::GroupRecord;
use crate::coordinator::group::{Effects, GroupError, GroupShard};
use crate::coordinator::timers::Now;
use crate::metadata::image::MetadataImage;
use crate::protocol::error_code::ErrorCode;

/// Expressions of a group are not resolved again more often than this.
const MIN_REFRESH_INTERVAL_MS: i64 = 10_000;
/// What one compiled expression may take, in bytes: it comes from the wire.
const SIZE_LIMIT_BYTES: usize = 1 << 20;

/// What a regular expression matched, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvedRegex {
    pub topics: BTreeSet<String>,
    /// The version of the metadata image.
    pub version: i64,
    pub timestamp_ms: i64,
}

/// A resolution to be run, by [`resolve_regexes`], and its result to be given to [`GroupShard::regexes_resolved`] on every path.
#[derive(Clone, Debug)]
pub struct RegexResolution {
    pub group_id: String,
    pub regexes: BTreeSet<String>,
    pub image: Arc<MetadataImage>,
    pub now_ms: i64,
}

/// What a heartbeat did to the expression of its member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RegexUpdate {
    Unchanged,
    /// Its topics will be known after a resolution.
    Updated,
    /// Its topics are known.
    UpdatedAndResolved,
}

fn compile(regex: &str) -> Result<regex::Regex, regex::Error> {
    // The whole name has to match.
    regex::RegexBuilder::new(&format!("^(?:{regex})$")).size_limit(SIZE_LIMIT_BYTES).dfa_size_limit(SIZE_LIMIT_BYTES).build()
}

fn check(regex: &str) -> Result<(), GroupError> {
    // By itself: what only compiles within the parentheses above is not an expression.
    let alone = regex::RegexBuilder::new(regex).size_limit(SIZE_LIMIT_BYTES).build();
    alone.and_then(|_| compile(regex)).map(drop).map_err(|error| {
        let reason = match &error {
            regex::Error::Syntax(text) => text.lines().last().unwrap_or("").trim_start_matches("error: ").to_owned(),
            other => other.to_string(),
        };
        GroupError::new(
            ErrorCode::InvalidRegularExpression,
            format!("SubscribedTopicRegex `{regex}` is not a valid regular expression: {reason}."),
        )
    })
}

/// Matches the expressions with all topics. May take long.
pub fn resolve_regexes(resolution: &RegexResolution) -> BTreeMap<String, ResolvedRegex> {
    let resolved = |regex: &String| {
        let topics = match compile(regex) {
            Ok(compiled) => resolution.image.topics.iter().filter(|t| compiled.is_match(&t.name)).map(|t| t.name.clone()).collect(),
            // Another version may have accepted and written it.
            Err(error) => {
                tracing::error!(group = resolution.group_id, regex, %error, "regular expression cannot be read, it matches nothing");
                BTreeSet::new()
            }
        };
        let resolved = ResolvedRegex { topics, version: resolution.image.provenance.offset, timestamp_ms: resolution.now_ms };
        (regex.clone(), resolved)
    };
    resolution.regexes.iter().map(resolved).collect()
}

impl GroupShard {
    /// The resolution that the last operation asked for. Whoever takes it runs it.
    pub fn take_regex_resolution(&mut self) -> Option<RegexResolution> {
        self.requested_resolutions.pop()
    }

    /// Checks a member's new expression and has the group's expressions resolved when that is due.
    pub(super) fn update_regexes(
        &mut self,
        now: Now,
        group: &ConsumerGroup,
        old: &ConsumerGroupMember,
        new: &ConsumerGroupMember,
        effects: &mut Vec<GroupRecord>,
    ) -> Result<RegexUpdate, GroupError> {
        let group_id = group.group_id();
        let mut update = RegexUpdate::Unchanged;
        let mut due = false;
        if old.subscribed_topic_regex != new.subscribed_topic_regex {
            update = RegexUpdate::Updated;
            if let Some(regex) = old.regex().filter(|regex| group.regex_subscribers(regex) == 1) {
                effects.push(records::regular_expression_tombstone(group_id, regex));
            }
            match new.regex() {
                Some(regex) if group.regex_subscribers(regex) == 0 => {
                    check(regex)?;
                    due = true;
                }
                Some(regex) if group.resolved_regexes.contains_key(regex) => update = RegexUpdate::UpdatedAndResolved,
                Some(_) => {}
                None if old.regex().is_some() => update = RegexUpdate::UpdatedAndResolved,
                None => {}
            }
        }
        if (!due && group.subscribed_regexes.is_empty()) || self.resolving.contains(group_id) {
            return Ok(update);
        }
        // All expressions of a group are resolved together, so that any of them tells when and for which metadata that was.
        let last = group.resolved_regexes.values().next();
        if last.is_some_and(|last| !now.is_past(last.timestamp_ms, MIN_REFRESH_INTERVAL_MS + 1)) {
            return Ok(update);
        }
        let regexes: BTreeSet<String> = group.subscribed_regexes_after(old, new).into_keys().collect();
        let refresh_interval_ms = self.config.consumer_regex_refresh_interval_ms;
        due |= regexes.len() != group.resolved_regexes.len()
            || last.map_or(0, |last| last.version) < self.topics.last_version_with_new_topics()
            || last.is_none_or(|last| now.is_past(last.timestamp_ms, refresh_interval_ms.saturating_add(1)));
        if due && !regexes.is_empty() {
            self.resolving.insert(group_id.to_owned());
            self.requested_resolutions.push(RegexResolution {
                group_id: group_id.to_owned(),
                regexes,
                image: Arc::clone(self.topics.image()),
                now_ms: now.wall_ms,
            });
        }
        Ok(update)
    }

    /// A resolution has come back; `None` when it failed.
    pub fn regexes_resolved(&mut self, now: Now, group_id: &str, resolved: Option<BTreeMap<String, ResolvedRegex>>) -> Effects {
        self.resolving.remove(group_id);
        let mut effects = Effects { replay: true, ..Effects::default() };
        let Some(resolved) = resolved else { return effects };
        let Ok(mut held) = self.hold(group_id) else { return effects };
        let group = &mut held.group;
        let mut topics: SubscribedTopics = group.common.subscribed_topics().clone();
        let mut changed = false;
        for (regex, resolved) in &resolved {
            if group.regex_subscribers(regex) == 0 {
                continue;
            }
            let old = group.resolved_regexes.get(regex).map(|old| &old.topics);
            if old.unwrap_or(&BTreeSet::new()) != &resolved.topics {
                changed = true;
                topics.add_regex(&resolved.topics);
                topics.remove_regex(old.into_iter().flatten());
            }
            effects.records.push(records::regular_expression(group_id, regex, resolved));
        }
        let (old_hash, group_epoch) = (group.common.metadata_hash(), group.common.group_epoch() + 1);
        let hash = self.topics.group_hash(topics.names());
        if changed || hash != old_hash {
            effects.records.push(records::group_epoch(group_id, group_epoch, hash));
            group.common.metadata_refreshed(now.wall_ms, group_epoch);
        }
        self.release(now, held, true, &mut effects);
        effects
    }
}
