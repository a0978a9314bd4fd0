//! The settings a group coordinator obeys, with Kafka's defaults. Source: `GroupCoordinatorConfig`.

/// What the broker's configuration says about groups. Times in milliseconds, sizes in bytes unless told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupCoordinatorConfig {
    /// `group.min.session.timeout.ms`
    pub min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`
    pub max_session_timeout_ms: i32,
    /// `group.initial.rebalance.delay.ms`: how long the first rebalance of an empty group waits for more members, again after each
    /// newcomer, up to the rebalance timeout.
    pub initial_rebalance_delay_ms: i32,
    /// `group.max.size`: members of one group.
    pub max_size: usize,
    /// How long a new member may wait in JoinGroup before it is taken for gone (it has no session yet). Not configurable in Kafka.
    pub new_member_join_timeout_ms: i32,
    /// `offset.metadata.max.bytes`, counted in UTF-16 units as Java counts a string.
    pub offset_metadata_max_size: usize,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`
    pub offsets_retention_check_interval_ms: i64,
    /// `offsets.topic.num.partitions`, when the topic does not exist yet.
    pub offsets_topic_num_partitions: i32,
    /// `offsets.topic.replication.factor`
    pub offsets_topic_replication_factor: i16,
    /// `offsets.topic.segment.bytes`
    pub offsets_topic_segment_bytes: i32,
    /// `offsets.commit.timeout.ms`: how long a write may wait to be committed.
    pub offsets_commit_timeout_ms: u64,
    /// `group.consumer.session.timeout.ms` and its bounds for groups with a config of their own.
    pub consumer_session_timeout_ms: Bounded,
    /// `group.consumer.heartbeat.interval.ms` likewise.
    pub consumer_heartbeat_interval_ms: Bounded,
    /// `group.consumer.assignment.interval.ms` likewise: the least time between two target assignments of a group.
    pub consumer_assignment_interval_ms: Bounded,
    /// `group.streams.session.timeout.ms` likewise.
    pub streams_session_timeout_ms: Bounded,
    /// `group.streams.heartbeat.interval.ms` likewise.
    pub streams_heartbeat_interval_ms: Bounded,
    /// `group.streams.assignment.interval.ms` likewise: the least time between two target assignments of a group.
    pub streams_assignment_interval_ms: Bounded,
    /// `group.streams.initial.rebalance.delay.ms`: how long the first assignment of an empty group waits for more members.
    pub streams_initial_rebalance_delay_ms: Bounded,
    /// `group.streams.num.standby.replicas`: copies of each task's state.
    pub streams_num_standby_replicas: Bounded,
    /// `group.streams.max.size`: members of one streams group.
    pub streams_max_size: usize,
    /// `group.consumer.max.size`: members of one consumer group.
    pub consumer_max_size: usize,
    /// `group.consumer.assignors`, by name; the first is the default.
    pub consumer_assignors: Vec<String>,
    /// `group.consumer.migration.policy`
    pub consumer_migration_policy: MigrationPolicy,
    /// `group.consumer.regex.refresh.interval.ms`
    pub consumer_regex_refresh_interval_ms: i64,
    /// `group.share.session.timeout.ms` and its bounds for groups with a config of their own.
    pub share_session_timeout_ms: Bounded,
    /// `group.share.heartbeat.interval.ms` likewise.
    pub share_heartbeat_interval_ms: Bounded,
    /// `group.share.assignment.interval.ms` likewise.
    pub share_assignment_interval_ms: Bounded,
    /// `group.share.max.size`: members of one share group.
    pub share_max_size: usize,
    /// `group.share.initialize.retry.interval.ms`: how long the share coordinator has to initialize a topic before it is asked again.
    pub share_initialize_retry_interval_ms: i64,
}

/// A setting that a group may have a value of its own for, within bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounded {
    pub default: i32,
    pub min: i32,
    pub max: i32,
}

impl Bounded {
    /// The value for a group that says `own`, brought within the bounds.
    pub fn for_group(self, own: Option<&str>) -> i32 {
        match own.and_then(|own| own.trim().parse::<i32>().ok()) {
            Some(own) => own.min(self.max).max(self.min),
            None => self.default,
        }
    }
}

/// Which groups may change their protocol while they have members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationPolicy {
    Disabled,
    Upgrade,
    Downgrade,
    Bidirectional,
}

impl MigrationPolicy {
    /// By its name in configs, in any case; one that is not known disables migration.
    pub fn parse(name: &str) -> MigrationPolicy {
        match name.to_ascii_lowercase().as_str() {
            "bidirectional" => MigrationPolicy::Bidirectional,
            "upgrade" => MigrationPolicy::Upgrade,
            "downgrade" => MigrationPolicy::Downgrade,
            _ => MigrationPolicy::Disabled,
        }
    }

    pub fn allows_upgrade(self) -> bool {
        matches!(self, MigrationPolicy::Upgrade | MigrationPolicy::Bidirectional)
    }

    pub fn allows_downgrade(self) -> bool {
        matches!(self, MigrationPolicy::Downgrade | MigrationPolicy::Bidirectional)
    }
}

impl Default for GroupCoordinatorConfig {
    fn default() -> GroupCoordinatorConfig {
        GroupCoordinatorConfig {
            min_session_timeout_ms: 6_000,
            max_session_timeout_ms: 1_800_000,
            initial_rebalance_delay_ms: 3_000,
            max_size: i32::MAX as usize,
            new_member_join_timeout_ms: 5 * 60 * 1000,
            offset_metadata_max_size: 4096,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1000,
            offsets_retention_check_interval_ms: 600_000,
            offsets_topic_num_partitions: 50,
            offsets_topic_replication_factor: 3,
            offsets_topic_segment_bytes: 100 * 1024 * 1024,
            offsets_commit_timeout_ms: 5_000,
            consumer_session_timeout_ms: Bounded { default: 45_000, min: 45_000, max: 60_000 },
            consumer_heartbeat_interval_ms: Bounded { default: 5_000, min: 5_000, max: 15_000 },
            consumer_assignment_interval_ms: Bounded { default: 1_000, min: 0, max: 15_000 },
            streams_session_timeout_ms: Bounded { default: 45_000, min: 45_000, max: 60_000 },
            streams_heartbeat_interval_ms: Bounded { default: 5_000, min: 5_000, max: 15_000 },
            streams_assignment_interval_ms: Bounded { default: 1_000, min: 0, max: 15_000 },
            streams_initial_rebalance_delay_ms: Bounded { default: 3_000, min: 0, max: i32::MAX },
            streams_num_standby_replicas: Bounded { default: 0, min: 0, max: 2 },
            streams_max_size: i32::MAX as usize,
            consumer_max_size: i32::MAX as usize,
            consumer_assignors: vec!["uniform".to_owned(), "range".to_owned()],
            consumer_migration_policy: MigrationPolicy::Bidirectional,
            consumer_regex_refresh_interval_ms: 600_000,
            share_session_timeout_ms: Bounded { default: 45_000, min: 45_000, max: 60_000 },
            share_heartbeat_interval_ms: Bounded { default: 5_000, min: 5_000, max: 15_000 },
            share_assignment_interval_ms: Bounded { default: 1_000, min: 0, max: 15_000 },
            share_max_size: 200,
            share_initialize_retry_interval_ms: 30_000,
        }
    }
}
