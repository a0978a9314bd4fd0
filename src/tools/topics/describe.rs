//! What `kafka-topics --describe` and `--list` show, and how: Kafka's lines, a table, JSON.
//!
//! Source: `TopicCommand.TopicDescription`, `TopicCommand.PartitionDescription`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde::Serialize;

use super::options::Filters;
use crate::tools::output::{Table, TableCell, Tone, number, text};

/// One topic of a list.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TopicListing {
    pub(super) topic: String,
    pub(super) topic_id: Option<String>,
    pub(super) partition_count: usize,
    pub(super) replication_factor: usize,
    pub(super) internal: bool,
}

/// One topic with its partitions.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TopicDescription {
    pub(super) topic: String,
    /// Absent where brokers are older than topic ids.
    pub(super) topic_id: Option<String>,
    pub(super) partition_count: usize,
    pub(super) replication_factor: usize,
    /// Those that are not the default, in the broker's order.
    #[serde(serialize_with = "as_map")]
    pub(super) configs: Vec<(String, String)>,
    #[serde(skip)]
    pub(super) min_insync_replicas: usize,
    /// In order of their numbers.
    pub(super) partitions: Vec<PartitionDescription>,
}

/// One partition.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PartitionDescription {
    pub(super) partition: i32,
    pub(super) leader: Option<i32>,
    pub(super) replicas: Vec<i32>,
    pub(super) isr: Vec<i32>,
    /// Set while the partition is being reassigned.
    #[serde(flatten)]
    pub(super) reassignment: Option<Reassignment>,
    /// `None` when the brokers do not tell.
    pub(super) elr: Option<Vec<i32>>,
    pub(super) last_known_elr: Option<Vec<i32>>,
}

/// Replicas on the move.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reassignment {
    #[serde(skip)]
    pub(super) replicas: Vec<i32>,
    pub(super) adding_replicas: Vec<i32>,
    pub(super) removing_replicas: Vec<i32>,
}

fn as_map<S: serde::Serializer>(pairs: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    pairs.iter().map(|(key, value)| (key, value)).collect::<BTreeMap<_, _>>().serialize(serializer)
}

impl PartitionDescription {
    /// The number of replicas there will be; while replicas move there are more for a time.
    pub(super) fn replication_factor(&self) -> usize {
        match &self.reassignment {
            Some(moving) if self.replicas.iter().any(|id| moving.adding_replicas.contains(id) || moving.removing_replicas.contains(id)) => {
                moving.replicas.len().saturating_sub(moving.adding_replicas.len())
            }
            _ => self.replicas.len(),
        }
    }

    fn is_under_replicated(&self) -> bool {
        self.replication_factor() > self.isr.len()
    }

    fn is_unavailable(&self, live_brokers: &BTreeSet<i32>) -> bool {
        self.leader.is_none_or(|leader| !live_brokers.contains(&leader))
    }

    fn is_under_min_isr(&self, min_insync_replicas: usize) -> bool {
        self.leader.is_none() || self.isr.len() < min_insync_replicas
    }

    /// Do the filters of `--describe` let it through?
    fn passes(&self, filters: &Filters, min_insync_replicas: usize, live_brokers: &BTreeSet<i32>) -> bool {
        !filters.by_partition()
            || filters.under_replicated && self.is_under_replicated()
            || filters.unavailable && self.is_unavailable(live_brokers)
            || filters.under_min_isr && self.is_under_min_isr(min_insync_replicas)
            || filters.at_min_isr && self.isr.len() == min_insync_replicas
    }
}

/// Leaves out what the filters do not ask for: partitions, then topics without anything to show.
pub(super) fn filter(topics: Vec<TopicDescription>, filters: &Filters, live_brokers: &BTreeSet<i32>) -> Vec<TopicDescription> {
    topics
        .into_iter()
        .filter_map(|mut topic| {
            if filters.overrides {
                topic.partitions.clear();
                return (!topic.configs.is_empty()).then_some(topic);
            }
            let min_insync_replicas = topic.min_insync_replicas;
            topic.partitions.retain(|partition| partition.passes(filters, min_insync_replicas, live_brokers));
            (!filters.by_partition() || !topic.partitions.is_empty()).then_some(topic)
        })
        .collect()
}

fn ids(ids: &[i32]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn configs(topic: &TopicDescription) -> String {
    topic.configs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// Kafka's lines. With a filter by partition the topics' own lines are left out.
pub(super) fn plain(topics: &[TopicDescription], filters: &Filters) -> String {
    let mut lines = String::new();
    for topic in topics {
        if !filters.by_partition() {
            let id = topic.topic_id.as_ref().map(|id| format!("\tTopicId: {id}")).unwrap_or_default();
            let (name, count, factor) = (&topic.topic, topic.partition_count, topic.replication_factor);
            let configs = configs(topic);
            let _ = writeln!(lines, "Topic: {name}{id}\tPartitionCount: {count}\tReplicationFactor: {factor}\tConfigs: {configs}");
        }
        for partition in &topic.partitions {
            let leader = partition.leader.map_or_else(|| "none".to_owned(), |id| id.to_string());
            let _ = write!(lines, "\tTopic: {}\tPartition: {}\tLeader: {leader}", topic.topic, partition.partition);
            let _ = write!(lines, "\tReplicas: {}\tIsr: {}", ids(&partition.replicas), ids(&partition.isr));
            if let Some(moving) = &partition.reassignment {
                let (adding, removing) = (ids(&moving.adding_replicas), ids(&moving.removing_replicas));
                let _ = write!(lines, "\tAdding Replicas: {adding}\tRemoving Replicas: {removing}");
            }
            let known = |list: &Option<Vec<i32>>| list.as_deref().map_or_else(|| "N/A".to_owned(), ids);
            let _ = writeln!(lines, "\tElr: {}\tLastKnownElr: {}", known(&partition.elr), known(&partition.last_known_elr));
        }
    }
    lines
}

/// The state of a partition in a word, for people.
fn state(partition: &PartitionDescription, min_insync_replicas: usize) -> TableCell {
    if partition.leader.is_none() {
        TableCell::toned("no leader", Tone::Bad)
    } else if partition.isr.len() < min_insync_replicas {
        TableCell::toned("under min isr", Tone::Bad)
    } else if partition.reassignment.is_some() {
        TableCell::toned("moving", Tone::Warning)
    } else if partition.is_under_replicated() {
        TableCell::toned("under replicated", Tone::Warning)
    } else {
        TableCell::toned("ok", Tone::Good)
    }
}

/// For each topic a heading, its configs, and a table of its partitions.
pub(super) fn table(topics: &[TopicDescription], width: Option<usize>, color: bool) -> String {
    let mut drawn = String::new();
    for (at, topic) in topics.iter().enumerate() {
        if at > 0 {
            drawn.push('\n');
        }
        let partitions = if topic.partition_count == 1 { "partition" } else { "partitions" };
        let (bold, plain) = if color { ("\u{1b}[1m", "\u{1b}[0m") } else { ("", "") };
        let _ = writeln!(
            drawn,
            "{bold}{}{plain}: {} {partitions}, replication factor {}{}",
            topic.topic,
            topic.partition_count,
            topic.replication_factor,
            topic.topic_id.as_ref().map(|id| format!(", id {id}")).unwrap_or_default()
        );
        for (key, value) in &topic.configs {
            let _ = writeln!(drawn, "  {key}={value}");
        }
        if topic.partitions.is_empty() {
            continue;
        }
        let shows_elr = topic.partitions.iter().any(|it| it.elr.as_ref().is_some_and(|elr| !elr.is_empty()));
        let mut columns = vec![number("PARTITION"), number("LEADER"), text("REPLICAS"), text("ISR")];
        if shows_elr {
            columns.push(text("ELR"));
        }
        columns.push(text("STATE"));
        let mut table = Table::new(columns);
        for partition in &topic.partitions {
            let mut cells: Vec<TableCell> = vec![
                partition.partition.into(),
                partition.leader.map_or_else(|| "none".to_owned(), |id| id.to_string()).into(),
                ids(&partition.replicas).into(),
                ids(&partition.isr).into(),
            ];
            if shows_elr {
                cells.push(partition.elr.as_deref().map(ids).unwrap_or_default().into());
            }
            cells.push(state(partition, topic.min_insync_replicas));
            table.row(cells);
        }
        drawn.push_str(&table.render(width, color));
    }
    drawn
}

/// The table of `--list`.
pub(super) fn list_table(topics: &[TopicListing]) -> Table {
    let mut table = Table::new([text("TOPIC"), number("PARTITIONS"), number("REPLICAS")]);
    for topic in topics {
        let tone = if topic.internal { Tone::Quiet } else { Tone::Normal };
        table.row([TableCell::toned(&topic.topic, tone), topic.partition_count.into(), topic.replication_factor.into()]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic() -> TopicDescription {
        let healthy = PartitionDescription {
            leader: Some(1),
            replicas: vec![1, 2],
            isr: vec![1, 2],
            elr: Some(vec![]),
            last_known_elr: Some(vec![]),
            ..Default::default()
        };
        TopicDescription {
            topic: "t".into(),
            topic_id: Some("abc".into()),
            partition_count: 3,
            replication_factor: 2,
            configs: vec![("min.insync.replicas".into(), "2".into()), ("a".into(), "b".into())],
            min_insync_replicas: 2,
            partitions: vec![
                healthy.clone(),
                PartitionDescription { partition: 1, isr: vec![1], elr: None, last_known_elr: None, ..healthy.clone() },
                PartitionDescription { partition: 2, leader: None, isr: vec![], elr: Some(vec![2]), ..healthy },
            ],
        }
    }

    fn shown(filters: Filters) -> Vec<i32> {
        let topics = filter(vec![topic()], &filters, &[1, 2].into());
        topics.iter().flat_map(|topic| topic.partitions.iter().map(|it| it.partition)).collect()
    }

    #[test]
    fn the_lines_are_kafkas() {
        assert_eq!(
            plain(&[topic()], &Filters::default()),
            "Topic: t\tTopicId: abc\tPartitionCount: 3\tReplicationFactor: 2\tConfigs: min.insync.replicas=2,a=b\n\
             \tTopic: t\tPartition: 0\tLeader: 1\tReplicas: 1,2\tIsr: 1,2\tElr: \tLastKnownElr: \n\
             \tTopic: t\tPartition: 1\tLeader: 1\tReplicas: 1,2\tIsr: 1\tElr: N/A\tLastKnownElr: N/A\n\
             \tTopic: t\tPartition: 2\tLeader: none\tReplicas: 1,2\tIsr: \tElr: 2\tLastKnownElr: \n"
        );
    }

    #[test]
    fn replicas_on_the_move_are_shown_and_not_counted() {
        let mut topic = topic();
        topic.partitions.truncate(1);
        topic.partitions[0].replicas = vec![1, 2, 3];
        topic.partitions[0].reassignment =
            Some(Reassignment { replicas: vec![1, 2, 3], adding_replicas: vec![3], removing_replicas: vec![1] });
        assert_eq!(topic.partitions[0].replication_factor(), 2);
        let filters = Filters { under_min_isr: true, ..Filters::default() };
        assert!(plain(&[topic], &filters).contains("\tIsr: 1,2\tAdding Replicas: 3\tRemoving Replicas: 1\tElr: "));
    }

    #[test]
    fn filters_choose_partitions() {
        assert_eq!(shown(Filters { under_replicated: true, ..Filters::default() }), [1, 2]);
        assert_eq!(shown(Filters { unavailable: true, ..Filters::default() }), [2]);
        assert_eq!(shown(Filters { under_min_isr: true, ..Filters::default() }), [1, 2]);
        assert_eq!(shown(Filters { at_min_isr: true, ..Filters::default() }), [0]);
        assert_eq!(shown(Filters { overrides: true, ..Filters::default() }), [0; 0]);
    }

    #[test]
    fn the_table_names_what_is_wrong() {
        assert_eq!(
            table(&[topic()], None, false),
            "t: 3 partitions, replication factor 2, id abc\n\
             \x20 min.insync.replicas=2\n\
             \x20 a=b\n\
             PARTITION  LEADER  REPLICAS  ISR  ELR  STATE\n\
             \x20       0       1  1,2       1,2       ok\n\
             \x20       1       1  1,2       1         under min isr\n\
             \x20       2    none  1,2            2    no leader\n"
        );
    }

    #[test]
    fn json_keeps_lists_and_maps() {
        let mut topic = topic();
        topic.partitions.truncate(2);
        assert_eq!(
            serde_json::to_string(&topic).unwrap(),
            r#"{"topic":"t","topicId":"abc","partitionCount":3,"replicationFactor":2,"configs":{"a":"b","min.insync.replicas":"2"},"partitions":[{"partition":0,"leader":1,"replicas":[1,2],"isr":[1,2],"elr":[],"lastKnownElr":[]},{"partition":1,"leader":1,"replicas":[1,2],"isr":[1],"elr":null,"lastKnownElr":null}]}"#
        );
    }
}
