//! One scrape: the counters read, and everything else looked up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::exposition::{Exposition, Labels};
use super::requests::ApiReading;
use crate::broker::group_coordinator::GroupOffset;
use crate::broker::server::Broker;
use crate::broker::telemetry::TelemetryCounters;
use crate::common::topic_name;
use crate::metadata::image::MetadataImage;
use crate::replication::partition::Partition;

/// Kafka's number for a broker that serves: `BrokerState.RUNNING`; and for one in controlled shutdown.
const RUNNING: f64 = 3.0;
const SHUTTING_DOWN: f64 = 7.0;

/// The text of all metrics as they are now.
pub(super) async fn scrape(broker: &Arc<Broker>) -> Result<String, std::fmt::Error> {
    let mut out = Exposition::default();
    let image = broker.image();
    let partitions = broker.replicas.partitions();
    requests(&mut out, broker);
    topics(&mut out, broker, &image);
    replicas(&mut out, broker, &partitions);
    logs(&mut out, broker, &partitions);
    cleaner(&mut out, broker);
    cluster(&mut out, broker, &image);
    quorum(&mut out, broker).await;
    groups(&mut out, broker).await;
    share_coordinator(&mut out, broker);
    telemetry(&mut out, broker);
    connections(&mut out, broker);
    process(&mut out);
    out.into_text()
}

fn label(name: &'static str, value: impl Into<String>) -> Labels {
    vec![(name, value.into())]
}

fn requests(out: &mut Exposition, broker: &Broker) {
    let read = broker.metrics.requests.read();
    let by_api = |api: &ApiReading| label("request", api.key.name());
    out.counter(
        "kafka_network_requestmetrics_requests",
        "Requests, by API and version.",
        read.iter().flat_map(|api| {
            let version = |version: usize| vec![("request", api.key.name().to_owned()), ("version", version.to_string())];
            api.requests.iter().map(move |&(v, count)| (version(v), count as f64))
        }),
    );
    out.counter(
        "kafka_network_requestmetrics_errors",
        "Error codes in responses, NONE among them, by API.",
        read.iter().flat_map(|api| {
            let error = |name: &str| vec![("request", api.key.name().to_owned()), ("error", name.to_owned())];
            api.errors.iter().map(move |&(code, count)| (error(code.name()), count as f64))
        }),
    );
    out.counter(
        "kafka_network_requestmetrics_requestbytes",
        "Bytes of requests, by API.",
        read.iter().map(|api| (by_api(api), api.request_bytes as f64)),
    );
    out.histogram(
        "kafka_network_requestmetrics_totaltimems",
        "Milliseconds from a request's arrival until its response was sent.",
        read.iter().map(|api| (by_api(api), api.total.clone())),
    );
    out.histogram(
        "kafka_network_requestmetrics_localtimems",
        "Milliseconds that the handler itself took.",
        read.iter().map(|api| (by_api(api), api.local.clone())),
    );
    out.histogram(
        "kafka_network_requestmetrics_remotetimems",
        "Milliseconds that a request waited for other replicas or for data; only of requests that waited.",
        read.iter().filter(|api| api.remote.count > 0).map(|api| (by_api(api), api.remote.clone())),
    );
    out.histogram(
        "kafka_network_requestmetrics_responsesendtimems",
        "Milliseconds until the operating system had taken the response.",
        read.iter().map(|api| (by_api(api), api.send.clone())),
    );
}

fn topics(out: &mut Exposition, broker: &Broker, image: &MetadataImage) {
    let help = |name: &str| match name {
        "messages_in" => ("kafka_server_brokertopicmetrics_messagesin", "Records appended; without a topic, of all topics."),
        "bytes_in" => ("kafka_server_brokertopicmetrics_bytesin", "Bytes of batches appended."),
        "bytes_out" => ("kafka_server_brokertopicmetrics_bytesout", "Bytes of batches sent to clients."),
        "bytes_rejected" => ("kafka_server_brokertopicmetrics_bytesrejected", "Bytes of batches that were refused."),
        "total_produce_requests" => ("kafka_server_brokertopicmetrics_totalproducerequests", "Partitions in Produce requests."),
        "failed_produce_requests" => ("kafka_server_brokertopicmetrics_failedproducerequests", "Partitions that Produce failed for."),
        "total_fetch_requests" => ("kafka_server_brokertopicmetrics_totalfetchrequests", "Partitions in Fetch requests."),
        _ => ("kafka_server_brokertopicmetrics_failedfetchrequests", "Partitions that Fetch failed for."),
    };
    /// One counter: its sum, and its value for each topic.
    #[derive(Default)]
    struct Counted {
        sum: u64,
        by_topic: Vec<(Labels, f64)>,
    }
    let mut families: BTreeMap<&'static str, Counted> = BTreeMap::new();
    for (topic, counters) in broker.metrics.topics.read(|topic| image.topics.topic(topic).is_some()) {
        for (name, value) in counters.read() {
            let counted = families.entry(name).or_default();
            counted.sum += value;
            counted.by_topic.push((label("topic", topic.clone()), value as f64));
        }
    }
    for (name, Counted { sum, by_topic }) in families {
        let (name, text) = help(name);
        out.counter(name, text, std::iter::once((Labels::new(), sum as f64)).chain(by_topic));
    }
}

fn replicas(out: &mut Exposition, broker: &Broker, partitions: &[Arc<Partition>]) {
    let id = broker.node_id();
    let mut producer_ids = 0;
    let (mut leaders, mut under_replicated, mut under_min_isr, mut at_min_isr, mut offline) = (0, 0, 0, 0, 0);
    for partition in partitions {
        let registration = partition.registration();
        let log = partition.log();
        offline += usize::from(log.is_err());
        producer_ids += log.as_ref().map_or(0, |log| log.producer_id_count());
        if registration.leader != id {
            continue;
        }
        leaders += 1;
        under_replicated += usize::from(registration.isr.len() < registration.replicas.len());
        if let Ok(log) = log {
            let min_isr = usize::try_from(log.config().min_insync_replicas).unwrap_or(1);
            under_min_isr += usize::from(registration.isr.len() < min_isr);
            at_min_isr += usize::from(registration.isr.len() == min_isr);
        }
    }
    let mut gauge = |name, help, value: usize| out.value(name, help, value as f64);
    gauge("kafka_server_replicamanager_partitioncount", "Replicas on this broker.", partitions.len());
    gauge("kafka_server_replicamanager_produceridcount", "Producers whose sequences are remembered, in each partition.", producer_ids);
    gauge("kafka_server_replicamanager_leadercount", "Partitions that this broker leads.", leaders);
    gauge(
        "kafka_server_replicamanager_underreplicatedpartitions",
        "Led partitions with fewer in-sync replicas than replicas.",
        under_replicated,
    );
    gauge("kafka_server_replicamanager_underminisrpartitioncount", "Led partitions below min.insync.replicas.", under_min_isr);
    gauge("kafka_server_replicamanager_atminisrpartitioncount", "Led partitions with exactly min.insync.replicas in sync.", at_min_isr);
    gauge("kafka_server_replicamanager_offlinereplicacount", "Replicas whose log directory has failed.", offline);
}

fn logs(out: &mut Exposition, broker: &Broker, partitions: &[Arc<Partition>]) {
    let mut logs: Vec<_> = partitions.iter().filter_map(|it| Some((it.topic_partition().clone(), it.log().ok()?))).collect();
    logs.sort_by(|a, b| a.0.cmp(&b.0));
    let labels: Vec<Labels> =
        logs.iter().map(|(it, _)| vec![("topic", it.topic.clone()), ("partition", it.partition.to_string())]).collect();
    let mut gauge = |name, help, value: fn(&crate::storage::log::Log) -> f64| {
        out.gauge(name, help, labels.iter().cloned().zip(logs.iter().map(|(_, log)| value(log))));
    };
    gauge("kafka_log_log_size", "Bytes of a partition's log.", |log| log.size_bytes() as f64);
    gauge("kafka_log_log_logstartoffset", "The first offset of a partition.", |log| log.log_start_offset() as f64);
    gauge("kafka_log_log_logendoffset", "The offset that a partition's next record gets.", |log| log.log_end_offset() as f64);
    gauge("kafka_log_log_numlogsegments", "Segments of a partition's log.", |log| log.segment_count() as f64);
    gauge("kafka_cluster_partition_laststableoffsetlag", "Records above the last stable offset.", |log| {
        (log.high_watermark() - log.last_stable_offset()).max(0) as f64
    });
    let directories = broker.replicas.log_dirs().directories();
    let offline = directories.iter().filter(|dir| !dir.online).count();
    out.value("kafka_log_logmanager_offlinelogdirectorycount", "Log directories that have failed.", offline as f64);
    out.gauge(
        "kafka_log_logmanager_logdirectoryoffline",
        "1 for a log directory that has failed.",
        directories.iter().map(|dir| (label("logDirectory", dir.path.display().to_string()), f64::from(u8::from(!dir.online)))),
    );
}

fn cleaner(out: &mut Exposition, broker: &Broker) {
    let metrics = broker.replicas.log_dirs().cleaner_metrics();
    let since_ms = if metrics.last_run_ms == 0 { -1 } else { broker.clock.now_ms() - metrics.last_run_ms };
    out.value(
        "kafka_log_logcleaner_cleaner_recopy_percent",
        "Of the bytes of the last compaction, those that stayed.",
        metrics.recopy_percent,
    );
    out.value("kafka_log_logcleaner_max_clean_time_secs", "Seconds that the last compaction took.", metrics.clean_time_ms as f64 / 1000.0);
    out.value(
        "kafka_log_logcleaner_max_buffer_utilization_percent",
        "How full the map of the last compaction was.",
        metrics.buffer_utilization_percent,
    );
    out.value(
        "kafka_log_logcleaner_max_compaction_delay_secs",
        "How far a log is behind max.compaction.lag.ms.",
        metrics.max_compaction_delay_ms as f64 / 1000.0,
    );
    out.value("kafka_log_logcleanermanager_max_dirty_percent", "The dirty part of the dirtiest log.", metrics.max_dirty_percent);
    out.value("kafka_log_logcleanermanager_time_since_last_run_ms", "Since logs were looked at for compaction.", since_ms as f64);
    out.gauge(
        "kafka_log_logcleanermanager_uncleanable_partitions_count",
        "Partitions that cannot be compacted, by directory.",
        metrics.uncleanable.iter().map(|(dir, partitions)| (label("logDirectory", dir.display().to_string()), partitions.len() as f64)),
    );
}

fn cluster(out: &mut Exposition, broker: &Broker, image: &MetadataImage) {
    let partitions = || image.topics.iter().flat_map(|topic| topic.partitions.values());
    let (active, fenced): (Vec<_>, Vec<_>) = image.cluster.brokers.values().partition(|broker| !broker.fenced);
    let mut gauge = |name, help, value: usize| out.value(name, help, value as f64);
    gauge("kafka_controller_kafkacontroller_globaltopiccount", "Topics of the cluster.", image.topics.len());
    gauge("kafka_controller_kafkacontroller_globalpartitioncount", "Partitions of the cluster.", partitions().count());
    gauge(
        "kafka_controller_kafkacontroller_offlinepartitionscount",
        "Partitions without a leader.",
        partitions().filter(|partition| !partition.has_leader()).count(),
    );
    gauge(
        "kafka_controller_kafkacontroller_preferredreplicaimbalancecount",
        "Partitions that another than their first replica leads.",
        partitions().filter(|partition| partition.has_leader() && partition.leader != partition.preferred_replica()).count(),
    );
    gauge("kafka_controller_kafkacontroller_activebrokercount", "Brokers that are not fenced.", active.len());
    gauge("kafka_controller_kafkacontroller_fencedbrokercount", "Brokers that are fenced.", fenced.len());
    let state = if broker.is_stopping() { SHUTTING_DOWN } else { RUNNING };
    out.value("kafka_server_kafkaserver_brokerstate", "The broker's state: 3 running, 7 shutting down.", state);
}

async fn quorum(out: &mut Exposition, broker: &Broker) {
    let Some(quorum) = broker.controller.describe_quorum().await else { return };
    let leads = quorum.leader_id == broker.node_id();
    out.value(
        "kafka_controller_kafkacontroller_activecontrollercount",
        "1 on the node that is the active controller.",
        f64::from(u8::from(leads)),
    );
    let mut gauge = |name, help, value: i64| out.value(name, help, value as f64);
    gauge("kafka_server_raft_metrics_current_leader", "The metadata quorum's leader.", i64::from(quorum.leader_id));
    gauge("kafka_server_raft_metrics_current_epoch", "The metadata quorum's epoch.", i64::from(quorum.leader_epoch));
    gauge("kafka_server_raft_metrics_high_watermark", "The metadata log's high watermark.", quorum.high_watermark);
    gauge("kafka_server_raft_metrics_log_end_offset", "The metadata log's end.", quorum.log_end_offset);
}

/// The names of gauges, and the states that they count.
const CLASSIC_GROUPS_BY_STATE: [(&str, &str, &str); 4] = [
    (
        "kafka_coordinator_group_groupmetadatamanager_numgroupspreparingrebalance",
        "PreparingRebalance",
        "Classic groups that wait for their members.",
    ),
    (
        "kafka_coordinator_group_groupmetadatamanager_numgroupscompletingrebalance",
        "CompletingRebalance",
        "Classic groups that wait for their leader's assignment.",
    ),
    ("kafka_coordinator_group_groupmetadatamanager_numgroupsstable", "Stable", "Classic groups at rest."),
    ("kafka_coordinator_group_groupmetadatamanager_numgroupsempty", "Empty", "Classic groups without members."),
];

/// The names of gauges, the protocols of the groups that they count, and the states these can be in.
const GROUPS_BY_STATE: [(&str, &str, &str, &[&str]); 3] = [
    (
        "kafka_server_group_coordinator_metrics_consumer_group_count",
        "consumer",
        "Groups of the consumer protocol, by state.",
        &["Empty", "Assigning", "Reconciling", "Stable"],
    ),
    ("kafka_server_group_coordinator_metrics_share_group_count", "share", "Share groups, by state.", &["Empty", "Stable"]),
    (
        "kafka_server_group_coordinator_metrics_streams_group_count",
        "streams",
        "Streams groups, by state.",
        &["Empty", "NotReady", "Assigning", "Reconciling", "Stable"],
    ),
];

async fn groups(out: &mut Exposition, broker: &Broker) {
    // While shards are being loaded there is nothing to tell of them.
    let listed = broker.groups.list_groups(Vec::new(), Vec::new()).await.unwrap_or_default();
    let count = |protocol: &str, state: Option<&str>| {
        let of = listed.iter().filter(|it| it.group_type.eq_ignore_ascii_case(protocol));
        of.filter(|it| state.is_none_or(|state| it.group_state == state)).count() as f64
    };
    out.gauge(
        "kafka_server_group_coordinator_metrics_group_count",
        "Groups that this broker coordinates, by protocol.",
        ["classic", "consumer", "share", "streams"].map(|protocol| (label("protocol", protocol), count(protocol, None))),
    );
    out.value("kafka_coordinator_group_groupmetadatamanager_numgroups", "Groups of the classic protocol.", count("classic", None));
    for (name, state, help) in CLASSIC_GROUPS_BY_STATE {
        out.value(name, help, count("classic", Some(state)));
    }
    for (name, protocol, help, states) in GROUPS_BY_STATE {
        out.gauge(name, help, states.iter().map(|&state| (label("state", state), count(protocol, Some(state)))));
    }
    let offsets = broker.groups.committed_offsets().await;
    out.value("kafka_coordinator_group_groupmetadatamanager_numoffsets", "Offsets committed by groups.", offsets.len() as f64);
    let labels = |it: &GroupOffset| {
        vec![("consumergroup", it.group_id.clone()), ("topic", it.topic.clone()), ("partition", it.partition.to_string())]
    };
    out.gauge(
        "kafka_consumergroup_current_offset",
        "The offset that a group has committed.",
        offsets.iter().map(|it| (labels(it), it.offset as f64)),
    );
    // Only a leader knows where its partition ends.
    let lags = offsets.iter().filter_map(|it| {
        let log = broker.replicas.partition(&it.topic, it.partition).ok()?.leader_log(-1).ok()?;
        Some((labels(it), (log.high_watermark() - it.offset).max(0) as f64))
    });
    out.gauge("kafka_consumergroup_lag", "Records that a group has not read yet, of partitions led here.", lags);
}

fn share_coordinator(out: &mut Exposition, broker: &Broker) {
    out.counter(
        "kafka_server_share_coordinator_metrics_write",
        "Writes of what share groups have done in partitions.",
        [(Labels::new(), broker.share_coordinator.writes() as f64)],
    );
    out.gauge(
        "kafka_server_share_coordinator_metrics_last_pruned_offset",
        "Up to where a partition of the share groups' states was cut the last time.",
        broker.share_coordinator.pruned().into_iter().map(|(partition, offset)| {
            (vec![("topic", topic_name::SHARE_GROUP_STATE.to_owned()), ("partition", partition.to_string())], offset as f64)
        }),
    );
}

fn telemetry(out: &mut Exposition, broker: &Broker) {
    let telemetry = &broker.telemetry;
    out.value("kafka_server_client_metrics_instance_count", "Clients that asked which metrics to send.", telemetry.instance_count() as f64);
    let mut counter = |name, help, value: &AtomicU64| out.counter(name, help, [(Labels::new(), value.load(Ordering::Relaxed) as f64)]);
    let TelemetryCounters { pushes, throttled, unknown_subscriptions } = telemetry.counters();
    counter("kafka_server_client_metrics_plugin_export", "Metrics taken from clients.", pushes);
    counter("kafka_server_client_metrics_throttle", "Requests about client metrics that came too early.", throttled);
    counter(
        "kafka_server_client_metrics_unknown_subscription_request",
        "Metrics of clients that answered another subscription than theirs.",
        unknown_subscriptions,
    );
}

fn connections(out: &mut Exposition, broker: &Broker) {
    let connections = broker.metrics.connections();
    out.gauge(
        "kafka_server_socketservermetrics_connection_count",
        "Open connections, by listener.",
        connections.iter().map(|(listener, open, _)| (label("listener", &**listener), *open as f64)),
    );
    out.counter(
        "kafka_server_socketservermetrics_connection_creation",
        "Connections accepted, by listener.",
        connections.iter().map(|(listener, _, created)| (label("listener", &**listener), *created as f64)),
    );
    let (sessions, partitions) = broker.fetch_sessions.size();
    out.value("kafka_server_fetchsessioncache_numincrementalfetchsessions", "Fetch sessions.", sessions as f64);
    out.value("kafka_server_fetchsessioncache_numincrementalfetchpartitionscached", "Partitions in fetch sessions.", partitions as f64);
}

/// What Prometheus' clients of all languages tell of their process; where there is a `/proc`.
fn process(out: &mut Exposition) {
    let Some(status) = std::fs::read_to_string("/proc/self/stat").ok() else { return };
    // The program's name stands in parentheses and may hold anything.
    let Some((_, after)) = status.rsplit_once(')') else { return };
    let fields: Vec<u64> = after.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
    let (ticks, page) = (rustix::param::clock_ticks_per_second() as f64, rustix::param::page_size() as f64);
    // Fields 14, 15 and 24 of proc(5), without the first two.
    let [user, system] = [11, 12].map(|at| fields.get(at).copied().unwrap_or(0));
    out.counter("process_cpu_seconds", "Processor time used.", [(Labels::new(), (user + system) as f64 / ticks)]);
    if let Some(&pages) = fields.get(21) {
        out.value("process_resident_memory_bytes", "Memory in use.", pages as f64 * page);
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        out.value("process_open_fds", "Open file descriptors.", files.count() as f64);
    }
}
