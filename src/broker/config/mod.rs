//! The configs of a node: what its properties file says ([`BrokerConfig`]), what is in force after the changes that came through the
//! metadata log ([`DynamicConfig`]), and how both are described to clients.
//!
//! Invariant: a `BrokerConfig` never changes; a change makes a new one.
//! Sources: `KafkaConfig`, `AbstractKafkaConfig`, `DynamicBrokerConfig`.

pub(crate) mod alter;
mod describe;
mod dynamic;
mod endpoint;
mod group_bounds;
mod listeners;
mod log_config;
mod schema;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

pub use describe::describe;
pub use dynamic::DynamicConfig;
pub use endpoint::{Endpoint, SecurityProtocol};
pub use schema::NodeConfigSchema;

use crate::metadata::config::{self, ConfigError, ConfigValue, ConfigValues};
use crate::storage::config::LogConfig;

/// What a node does in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessRole {
    Broker,
    Controller,
}

/// What a cluster of one sets to 1, because it has no brokers for more replicas.
const ONE_REPLICA: [&str; 5] = [
    "offsets.topic.replication.factor",
    "share.coordinator.state.topic.min.isr",
    "share.coordinator.state.topic.replication.factor",
    "transaction.state.log.min.isr",
    "transaction.state.log.replication.factor",
];

/// The configs of a node, parsed and checked.
///
/// The configs that the node reads often are fields; every other one is found by its name with [`BrokerConfig::value`] and its typed
/// forms. Times are in the unit that the name ends in, sizes in bytes.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// Never negative.
    pub node_id: i32,
    pub process_roles: Vec<ProcessRole>,
    pub broker_rack: Option<String>,
    /// Everything the node listens on, listeners for controllers among them.
    pub listeners: Vec<Endpoint>,
    /// What clients are told to connect to, without the controllers' listeners; the host is never empty or 0.0.0.0 unless
    /// `advertised.listeners` is unset and `listeners` has such a host.
    pub advertised_listeners: Vec<Endpoint>,
    pub controller_listener_names: Vec<String>,
    pub inter_broker_listener_name: String,
    /// At least one.
    pub log_dirs: Vec<PathBuf>,
    pub metadata_log_dir: PathBuf,

    pub socket_request_max_bytes: i32,
    pub socket_send_buffer_bytes: i32,
    pub socket_receive_buffer_bytes: i32,
    pub socket_listen_backlog_size: i32,
    pub max_connections: i32,
    pub max_connections_per_ip: i32,
    pub connections_max_idle_ms: i64,
    pub queued_max_requests: i32,
    pub queued_max_request_bytes: i64,
    pub request_timeout_ms: i32,

    pub message_max_bytes: i32,
    pub fetch_max_bytes: i32,
    pub max_incremental_fetch_session_cache_slots: i32,
    pub max_request_partition_size_limit: i32,
    pub auto_create_topics_enable: bool,
    pub delete_topic_enable: bool,
    pub num_partitions: i32,
    pub default_replication_factor: i32,
    pub min_insync_replicas: i32,

    pub replica_lag_time_max_ms: i64,
    pub replica_high_watermark_checkpoint_interval_ms: i64,
    pub broker_heartbeat_interval_ms: i32,
    pub broker_session_timeout_ms: i32,
    pub controlled_shutdown_enable: bool,

    pub log_retention_check_interval_ms: i64,
    pub log_flush_scheduler_interval_ms: i64,
    pub log_flush_offset_checkpoint_interval_ms: i32,
    pub log_flush_start_offset_checkpoint_interval_ms: i32,
    pub log_initial_task_delay_ms: i64,
    pub num_recovery_threads_per_data_dir: i32,
    pub log_cleaner_enable: bool,
    pub log_cleaner_threads: i32,
    pub log_cleaner_backoff_ms: i64,
    pub log_cleaner_dedupe_buffer_size: i64,
    pub producer_id_expiration_ms: i32,
    pub producer_id_expiration_check_interval_ms: i32,
    pub transaction_max_timeout_ms: i32,
    pub transactional_id_expiration_ms: i32,

    pub offsets_topic_num_partitions: i32,
    pub offsets_topic_replication_factor: i16,
    pub offsets_topic_segment_bytes: i32,
    pub offsets_topic_compression_codec: i32,
    pub offsets_load_buffer_size: i32,
    pub offsets_retention_minutes: i32,
    pub offsets_retention_check_interval_ms: i64,
    pub offsets_commit_timeout_ms: i32,
    pub offset_metadata_max_bytes: i32,
    pub group_min_session_timeout_ms: i32,
    pub group_max_session_timeout_ms: i32,
    pub group_initial_rebalance_delay_ms: i32,
    pub group_max_size: i32,

    pub transaction_state_log_num_partitions: i32,
    pub transaction_state_log_replication_factor: i16,
    pub transaction_state_log_min_isr: i32,
    pub transaction_state_log_segment_bytes: i32,

    pub metadata_log_segment_bytes: i32,
    pub metadata_log_segment_ms: i64,
    pub metadata_max_retention_bytes: i64,
    pub metadata_max_retention_ms: i64,
    pub metadata_max_idle_interval_ms: i32,
    pub metadata_log_max_record_bytes_between_snapshots: i64,
    pub metadata_log_max_snapshot_interval_ms: i64,

    /// What was set, by name: the properties file with the node's own additions (see [`BrokerConfig::from_properties`]).
    originals: BTreeMap<String, String>,
    /// Were the roles in the properties, or are they this program's own choice?
    roles_are_given: bool,
    values: ConfigValues,
    /// What the node gives to topics that set nothing: the values, and the same as logs take them.
    topic_values: ConfigValues,
    log_defaults: Arc<LogConfig>,
    warnings: Vec<String>,
}

impl BrokerConfig {
    /// Parses and checks the properties of a node.
    ///
    /// Unknown keys are kept and named in [`BrokerConfig::warnings`]. `broker.id` and `node.id` stand for each other.
    ///
    /// `ottla serve` needs no file. What Kafka wants from it has a value here when the properties do not name it, and counts as set:
    /// `node.id=1`, `process.roles=broker,controller`, `controller.listener.names=CONTROLLER`. Where they do not name `process.roles`,
    /// the node is a cluster of one, and the topics of its coordinators have one replica, as in Kafka's own example file.
    pub fn from_properties(properties: &BTreeMap<String, String>) -> Result<BrokerConfig, ConfigError> {
        let mut originals = properties.clone();
        // Before its copy under the other name, so that an error names what was written.
        if let (Some(definition), Some(id)) = (config::broker().get("node.id"), properties.get("node.id")) {
            definition.parse(id)?;
        }
        match (originals.get("broker.id").cloned(), originals.get("node.id").cloned()) {
            (None, Some(id)) => originals.insert("broker.id".to_owned(), id),
            (Some(id), None) => originals.insert("node.id".to_owned(), id),
            (None, None) => {
                originals.insert("broker.id".to_owned(), "1".to_owned());
                originals.insert("node.id".to_owned(), "1".to_owned())
            }
            (Some(_), Some(_)) => None,
        };
        let roles_are_given = originals.contains_key("process.roles");
        if !roles_are_given {
            for name in ONE_REPLICA {
                originals.entry(name.to_owned()).or_insert_with(|| "1".to_owned());
            }
        }
        originals.entry("process.roles".to_owned()).or_insert_with(|| "broker,controller".to_owned());
        originals.entry("controller.listener.names".to_owned()).or_insert_with(|| "CONTROLLER".to_owned());

        let config = BrokerConfig::parse(originals, roles_are_given)?;
        // Only of the properties: Kafka takes any lags while it runs.
        config::rules::compaction_lags(&config.topic_values)?;
        Ok(config)
    }

    /// The same node with other properties: those that [`BrokerConfig::from_properties`] has completed already.
    fn reparsed(originals: BTreeMap<String, String>, node: &BrokerConfig) -> Result<BrokerConfig, ConfigError> {
        BrokerConfig::parse(originals, node.roles_are_given)
    }

    fn parse(originals: BTreeMap<String, String>, roles_are_given: bool) -> Result<BrokerConfig, ConfigError> {
        let values = config::broker().parse(&originals)?;
        let mut config = BrokerConfig::from_values(originals, values, roles_are_given)?;
        config.validate()?;
        config.topic_values = config::topic().parse(&config.topic_defaults())?;
        config.log_defaults = Arc::new(log_config::from_values(&config.topic_values));
        Ok(config)
    }

    fn from_values(originals: BTreeMap<String, String>, values: ConfigValues, roles_are_given: bool) -> Result<BrokerConfig, ConfigError> {
        let int = |name: &str| values.get(name).and_then(ConfigValue::as_i32).unwrap_or_default();
        let short = |name: &str| values.get(name).and_then(ConfigValue::as_i16).unwrap_or_default();
        let long = |name: &str| values.get(name).and_then(ConfigValue::as_i64).unwrap_or_default();
        let boolean = |name: &str| values.get(name).and_then(ConfigValue::as_bool).unwrap_or_default();
        let string = |name: &str| values.get(name).and_then(ConfigValue::as_str).map(str::to_owned);
        let list = |name: &str| values.get(name).and_then(ConfigValue::as_list).map(<[String]>::to_vec);

        let process_roles = list("process.roles").unwrap_or_default();
        let process_roles =
            process_roles.iter().map(|role| if role == "broker" { ProcessRole::Broker } else { ProcessRole::Controller }).collect();
        let log_dirs: Vec<PathBuf> =
            list("log.dirs").or_else(|| list("log.dir")).unwrap_or_default().into_iter().map(PathBuf::from).collect();
        let metadata_log_dir = string("metadata.log.dir").map(PathBuf::from).or_else(|| log_dirs.first().cloned()).unwrap_or_default();
        let controller_listener_names = list("controller.listener.names").unwrap_or_default();
        let protocols = listeners::security_protocols(&originals, &values)?;
        let listeners = listeners::endpoints(&list("listeners").unwrap_or_default(), &protocols, true)?;
        let advertised = match list("advertised.listeners") {
            Some(advertised) => listeners::endpoints(&advertised, &protocols, false)?,
            None => listeners.clone(),
        };
        let advertised_listeners =
            advertised.into_iter().filter(|endpoint| !controller_listener_names.contains(&endpoint.listener)).collect();
        let inter_broker_listener_name = listeners::inter_broker_listener_name(&originals, &values, &protocols)?;

        Ok(BrokerConfig {
            node_id: int("node.id"),
            process_roles,
            broker_rack: string("broker.rack"),
            listeners,
            advertised_listeners,
            controller_listener_names,
            inter_broker_listener_name,
            log_dirs,
            metadata_log_dir,
            socket_request_max_bytes: int("socket.request.max.bytes"),
            socket_send_buffer_bytes: int("socket.send.buffer.bytes"),
            socket_receive_buffer_bytes: int("socket.receive.buffer.bytes"),
            socket_listen_backlog_size: int("socket.listen.backlog.size"),
            max_connections: int("max.connections"),
            max_connections_per_ip: int("max.connections.per.ip"),
            connections_max_idle_ms: long("connections.max.idle.ms"),
            queued_max_requests: int("queued.max.requests"),
            queued_max_request_bytes: long("queued.max.request.bytes"),
            request_timeout_ms: int("request.timeout.ms"),
            message_max_bytes: int("message.max.bytes"),
            fetch_max_bytes: int("fetch.max.bytes"),
            max_incremental_fetch_session_cache_slots: int("max.incremental.fetch.session.cache.slots"),
            max_request_partition_size_limit: int("max.request.partition.size.limit"),
            auto_create_topics_enable: boolean("auto.create.topics.enable"),
            delete_topic_enable: boolean("delete.topic.enable"),
            num_partitions: int("num.partitions"),
            default_replication_factor: int("default.replication.factor"),
            min_insync_replicas: int("min.insync.replicas"),
            replica_lag_time_max_ms: long("replica.lag.time.max.ms"),
            replica_high_watermark_checkpoint_interval_ms: long("replica.high.watermark.checkpoint.interval.ms"),
            broker_heartbeat_interval_ms: int("broker.heartbeat.interval.ms"),
            broker_session_timeout_ms: int("broker.session.timeout.ms"),
            controlled_shutdown_enable: boolean("controlled.shutdown.enable"),
            log_retention_check_interval_ms: long("log.retention.check.interval.ms"),
            log_flush_scheduler_interval_ms: long("log.flush.scheduler.interval.ms"),
            log_flush_offset_checkpoint_interval_ms: int("log.flush.offset.checkpoint.interval.ms"),
            log_flush_start_offset_checkpoint_interval_ms: int("log.flush.start.offset.checkpoint.interval.ms"),
            log_initial_task_delay_ms: long("log.initial.task.delay.ms"),
            num_recovery_threads_per_data_dir: int("num.recovery.threads.per.data.dir"),
            log_cleaner_enable: boolean("log.cleaner.enable"),
            log_cleaner_threads: int("log.cleaner.threads"),
            log_cleaner_backoff_ms: long("log.cleaner.backoff.ms"),
            log_cleaner_dedupe_buffer_size: long("log.cleaner.dedupe.buffer.size"),
            producer_id_expiration_ms: int("producer.id.expiration.ms"),
            producer_id_expiration_check_interval_ms: int("producer.id.expiration.check.interval.ms"),
            transaction_max_timeout_ms: int("transaction.max.timeout.ms"),
            transactional_id_expiration_ms: int("transactional.id.expiration.ms"),
            offsets_topic_num_partitions: int("offsets.topic.num.partitions"),
            offsets_topic_replication_factor: short("offsets.topic.replication.factor"),
            offsets_topic_segment_bytes: int("offsets.topic.segment.bytes"),
            offsets_topic_compression_codec: int("offsets.topic.compression.codec"),
            offsets_load_buffer_size: int("offsets.load.buffer.size"),
            offsets_retention_minutes: int("offsets.retention.minutes"),
            offsets_retention_check_interval_ms: long("offsets.retention.check.interval.ms"),
            offsets_commit_timeout_ms: int("offsets.commit.timeout.ms"),
            offset_metadata_max_bytes: int("offset.metadata.max.bytes"),
            group_min_session_timeout_ms: int("group.min.session.timeout.ms"),
            group_max_session_timeout_ms: int("group.max.session.timeout.ms"),
            group_initial_rebalance_delay_ms: int("group.initial.rebalance.delay.ms"),
            group_max_size: int("group.max.size"),
            transaction_state_log_num_partitions: int("transaction.state.log.num.partitions"),
            transaction_state_log_replication_factor: short("transaction.state.log.replication.factor"),
            transaction_state_log_min_isr: int("transaction.state.log.min.isr"),
            transaction_state_log_segment_bytes: int("transaction.state.log.segment.bytes"),
            metadata_log_segment_bytes: int("metadata.log.segment.bytes"),
            metadata_log_segment_ms: long("metadata.log.segment.ms"),
            metadata_max_retention_bytes: long("metadata.max.retention.bytes"),
            metadata_max_retention_ms: long("metadata.max.retention.ms"),
            metadata_max_idle_interval_ms: int("metadata.max.idle.interval.ms"),
            metadata_log_max_record_bytes_between_snapshots: long("metadata.log.max.record.bytes.between.snapshots"),
            metadata_log_max_snapshot_interval_ms: long("metadata.log.max.snapshot.interval.ms"),
            warnings: warnings(&originals),
            roles_are_given,
            topic_values: ConfigValues::new(),
            log_defaults: Arc::default(),
            originals,
            values,
        })
    }

    /// Lines for the log about settings that have no effect.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What was set, by name.
    pub fn originals(&self) -> &BTreeMap<String, String> {
        &self.originals
    }

    /// Does the properties file say what the node does in its cluster?
    pub fn roles_are_given(&self) -> bool {
        self.roles_are_given
    }

    /// The value of every defined config, by name.
    pub fn values(&self) -> &ConfigValues {
        &self.values
    }

    /// The value of a config; null for one that does not exist.
    pub fn value(&self, name: &str) -> &ConfigValue {
        self.values.get(name).unwrap_or(&ConfigValue::Null)
    }

    /// The value of a config of an integer type; 0 when it is null.
    pub fn long(&self, name: &str) -> i64 {
        self.value(name).as_i64().unwrap_or_default()
    }

    /// Is the node a broker?
    pub fn is_broker(&self) -> bool {
        self.process_roles.contains(&ProcessRole::Broker)
    }

    /// Is the node a controller?
    pub fn is_controller(&self) -> bool {
        self.process_roles.contains(&ProcessRole::Controller)
    }

    /// The listeners for clients and brokers.
    pub fn broker_listeners(&self) -> impl Iterator<Item = &Endpoint> {
        self.listeners.iter().filter(|endpoint| !self.controller_listener_names.contains(&endpoint.listener))
    }

    /// The listeners for controllers.
    pub fn controller_listeners(&self) -> impl Iterator<Item = &Endpoint> {
        self.listeners.iter().filter(|endpoint| self.controller_listener_names.contains(&endpoint.listener))
    }

    /// How long a topic keeps its records when nobody says otherwise, in milliseconds; -1 is for ever.
    pub fn log_retention_ms(&self) -> i64 {
        let ms = match (self.value("log.retention.ms"), self.value("log.retention.minutes")) {
            (ConfigValue::Long(ms), _) => *ms,
            (_, ConfigValue::Int(minutes)) => i64::from(*minutes) * 60_000,
            _ => self.long("log.retention.hours") * 3_600_000,
        };
        ms.max(-1)
    }

    /// The text of what this node gives to topics that do not set a config themselves, by the topic's name of it.
    pub fn topic_defaults(&self) -> BTreeMap<String, String> {
        let text = |topic_config: &str, broker_config: &str| match topic_config {
            "retention.ms" => Some(self.log_retention_ms().to_string()),
            "segment.ms" => Some(self.hours_as_ms("log.roll.ms", "log.roll.hours").to_string()),
            "segment.jitter.ms" => Some(self.hours_as_ms("log.roll.jitter.ms", "log.roll.jitter.hours").to_string()),
            "flush.ms" => self.value("log.flush.interval.ms").to_text().or_else(|| self.value("log.flush.scheduler.interval.ms").to_text()),
            _ => self.value(broker_config).to_text(),
        };
        config::topic()
            .iter()
            .filter_map(|definition| Some((definition.name.to_owned(), text(definition.name, definition.synonym?)?)))
            .collect()
    }

    fn hours_as_ms(&self, ms: &str, hours: &str) -> i64 {
        self.value(ms).as_i64().unwrap_or_else(|| self.long(hours) * 3_600_000)
    }

    /// The settings that must agree with each other.
    fn validate(&self) -> Result<(), ConfigError> {
        let require = |holds: bool, text: &str| if holds { Ok(()) } else { Err(ConfigError::Requirement(text.to_owned())) };
        if self.value("broker.id") != self.value("node.id") {
            return Err(ConfigError::Config("You must set `node.id` to the same value as `broker.id`.".to_owned()));
        }
        require(self.hours_as_ms("log.roll.ms", "log.roll.hours") >= 1, "log.roll.ms must be greater than or equal to 1")?;
        require(
            self.hours_as_ms("log.roll.jitter.ms", "log.roll.jitter.hours") >= 0,
            "log.roll.jitter.ms must be greater than or equal to 0",
        )?;
        require(self.log_retention_ms() != 0, "log.retention.ms must be unlimited (-1) or, greater than or equal to 1")?;
        require(!self.log_dirs.is_empty(), "At least one log directory must be defined via log.dirs or log.dir.")?;
        // Kafka divides by the number of threads, and so cannot start with none; here the cleaner then has one anyway.
        require(
            self.log_cleaner_dedupe_buffer_size / i64::from(self.log_cleaner_threads.max(1)) > 1024 * 1024,
            "log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.",
        )?;
        let fetch_wait_ms = self.long("replica.fetch.wait.max.ms");
        require(
            fetch_wait_ms <= self.long("replica.socket.timeout.ms"),
            "replica.socket.timeout.ms should always be at least replica.fetch.wait.max.ms to prevent unnecessary socket timeouts",
        )?;
        require(
            fetch_wait_ms <= self.replica_lag_time_max_ms,
            "replica.fetch.wait.max.ms should always be less than or equal to replica.lag.time.max.ms to prevent frequent changes in ISR",
        )?;
        require(
            self.queued_max_request_bytes <= 0 || self.queued_max_request_bytes >= i64::from(self.socket_request_max_bytes),
            "queued.max.bytes must be larger or equal to socket.request.max.bytes",
        )?;
        require(
            self.max_connections_per_ip != 0
                || self.value("max.connections.per.ip.overrides").as_str().is_some_and(|text| !text.is_empty()),
            "max.connections.per.ip can be set to zero only if max.connections.per.ip.overrides property is set.",
        )?;
        let delay_ms = self.long("connection.failed.authentication.delay.ms");
        require(
            self.connections_max_idle_ms < 0 || delay_ms < self.connections_max_idle_ms,
            &format!(
                "connection.failed.authentication.delay.ms={delay_ms} should always be less than connections.max.idle.ms={} to prevent \
                 failed authentication responses from timing out",
                self.connections_max_idle_ms
            ),
        )?;
        self.validate_cordoned_log_dirs()?;
        group_bounds::validate(&self.values)?;
        listeners::validate(self)
    }

    fn validate_cordoned_log_dirs(&self) -> Result<(), ConfigError> {
        let cordoned = self.value("cordoned.log.dirs").as_list().unwrap_or_default();
        if cordoned.iter().any(|dir| dir == "*") {
            return match cordoned.len() {
                1 => Ok(()),
                _ => Err(ConfigError::Requirement("When cordoned.log.dirs is set to *, it must not contain other values".to_owned())),
            };
        }
        let unknown: Vec<_> = cordoned.iter().filter(|dir| !self.log_dirs.contains(&PathBuf::from(dir))).map(String::as_str).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        Err(ConfigError::Requirement(format!(
            "All entries in cordoned.log.dirs must be present in log.dirs or log.dir. Missing entries : {}",
            unknown.join(", ")
        )))
    }
}

/// Names the keys that mean nothing to a node.
fn warnings(originals: &BTreeMap<String, String>) -> Vec<String> {
    let prefixes = ["listener.name.", "config.providers.", "rsm.config.", "rlmm.config.", "sasl.", "ssl.", "confluent."];
    let ours = super::metrics::endpoint::LISTENER_CONFIG;
    let known = |name: &str| name == ours || config::broker().get(name).is_some() || prefixes.iter().any(|prefix| name.starts_with(prefix));
    originals.keys().filter(|name| !known(name)).map(|name| format!("unknown configuration '{name}' is ignored")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<BrokerConfig, String> {
        let properties = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        BrokerConfig::from_properties(&properties).map_err(|error| error.to_string())
    }

    fn error(pairs: &[(&str, &str)]) -> String {
        parse(pairs).expect_err("invalid")
    }

    #[test]
    fn a_node_needs_no_properties() {
        let config = parse(&[]).expect("valid");
        assert_eq!((config.node_id, config.is_broker(), config.is_controller()), (1, true, true));
        assert_eq!(config.log_dirs, [PathBuf::from("/tmp/kafka-logs")]);
        assert_eq!(config.metadata_log_dir, config.log_dirs[0]);
        assert_eq!((config.num_partitions, config.offsets_topic_replication_factor, config.offsets_topic_num_partitions), (1, 1, 50));
        let [listener] = &config.listeners[..] else { panic!("{:?}", config.listeners) };
        assert_eq!((listener.listener.as_str(), listener.host.as_deref(), listener.port), ("PLAINTEXT", None, 9092));
        assert_eq!(config.warnings(), &[] as &[String]);
    }

    #[test]
    fn values_are_parsed_and_checked() {
        assert_eq!(error(&[("num.partitions", "0")]), "Invalid value 0 for configuration num.partitions: Value must be at least 1");
        assert_eq!(error(&[("node.id", "x")]), "Invalid value x for configuration node.id: Not a number of type INT");
        assert_eq!(
            error(&[("auto.create.topics.enable", "maybe")]),
            "Invalid value maybe for configuration auto.create.topics.enable: Expected value to be either true or false"
        );
        assert_eq!(error(&[("node.id", "1"), ("broker.id", "2")]), "You must set `node.id` to the same value as `broker.id`.");
    }

    #[test]
    fn settings_must_agree() {
        for (pairs, text) in [
            (&[("log.roll.ms", "0")][..], "log.roll.ms must be greater than or equal to 1"),
            (&[("log.retention.ms", "0")], "log.retention.ms must be unlimited (-1) or, greater than or equal to 1"),
            (&[("log.cleaner.dedupe.buffer.size", "1000")], "log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread."),
            (&[("queued.max.request.bytes", "1")], "queued.max.bytes must be larger or equal to socket.request.max.bytes"),
            (&[("group.coordinator.rebalance.protocols", "consumer")], "Disabling the 'classic' protocol is not supported."),
            (
                &[("group.consumer.session.timeout.ms", "90000")],
                "group.consumer.session.timeout.ms must be less than or equal to group.consumer.max.session.timeout.ms",
            ),
            (
                &[("log.cleaner.min.compaction.lag.ms", "5"), ("log.cleaner.max.compaction.lag.ms", "4")],
                "conflict topic config setting min.compaction.lag.ms (5) > max.compaction.lag.ms (4)",
            ),
            (
                &[("cordoned.log.dirs", "/x")],
                "All entries in cordoned.log.dirs must be present in log.dirs or log.dir. Missing entries : /x",
            ),
        ] {
            assert_eq!(error(pairs), text);
        }
    }

    #[test]
    fn listeners_are_checked() {
        for (pairs, text) in [
            (
                &[("listeners", "localhost:9092")][..],
                "Error creating broker listeners from '[localhost:9092]': Unable to parse localhost:9092 to a broker endpoint",
            ),
            (
                &[("listeners", "EXT://:9092")],
                "Error creating broker listeners from '[EXT://:9092]': No security protocol defined for listener EXT",
            ),
            (
                &[("listeners", "PLAINTEXT://:9092,SSL://:9092")],
                "Error creating broker listeners from '[PLAINTEXT://:9092, SSL://:9092]': Each listener must have a different port, \
                 listeners: [PLAINTEXT://:9092, SSL://:9092]",
            ),
            (
                &[("listener.security.protocol.map", "PLAINTEXT:TLS")],
                "Invalid security protocol `TLS` defined in listener.security.protocol.map",
            ),
            (
                &[("advertised.listeners", "PLAINTEXT://0.0.0.0:9092")],
                "advertised.listeners cannot use the nonroutable meta-address 0.0.0.0. Use a routable IP address.",
            ),
            (
                &[("listeners", "SSL://:9092")],
                "inter.broker.listener.name must be a listener name defined in advertised.listeners. The valid options based on \
                 currently configured listeners are SSL",
            ),
            (
                &[("process.roles", "broker,controller")],
                "If using process.roles, either controller.quorum.bootstrap.servers must contain the set of bootstrap controllers or \
                 controller.quorum.voters must contain a parseable set of controllers.",
            ),
            (
                &[("process.roles", "broker,controller"), ("controller.quorum.voters", "2@localhost:9093")],
                "If process.roles contains the 'controller' role, the node id 1 must be included in the set of voters \
                 controller.quorum.voters=Set(2)",
            ),
            (
                &[("process.roles", "broker,controller"), ("controller.quorum.voters", "1@localhost:9093")],
                "controller.listener.names must contain at least one value appearing in the 'listeners' configuration when running the \
                 KRaft controller role",
            ),
        ] {
            assert_eq!(error(pairs), text);
        }
    }

    #[test]
    fn a_listener_of_its_own_name_is_advertised() {
        let config = parse(&[
            ("listeners", "EXT://0.0.0.0:9092,INT://127.0.0.1:9093"),
            ("advertised.listeners", "ext://example.org:19092,INT://127.0.0.1:9093"),
            ("listener.security.protocol.map", "EXT:PLAINTEXT,INT:PLAINTEXT"),
            ("inter.broker.listener.name", "INT"),
        ])
        .expect("valid");
        let advertised: Vec<_> = config.advertised_listeners.iter().map(|it| (it.listener.as_str(), it.host.as_deref(), it.port)).collect();
        assert_eq!(advertised, [("EXT", Some("example.org"), 19092), ("INT", Some("127.0.0.1"), 9093)]);
        assert_eq!(config.inter_broker_listener_name, "INT");
    }

    #[test]
    fn unknown_keys_are_warnings() {
        let config = parse(&[("num.partitons", "3"), ("listener.name.ext.ssl.keystore.type", "PEM")]).expect("valid");
        assert_eq!(config.warnings(), ["unknown configuration 'num.partitons' is ignored"]);
    }
}
