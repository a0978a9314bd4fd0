//! What `kafka-consumer-groups` shows of groups, and how: Kafka's padded columns, tables, JSON.
//!
//! Source: `ConsumerGroupCommand.printOffsets`, `printMembers`, `printStates`, `printGroupInfo`; `OffsetsUtils.printOffsetsToReset`.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use crate::common::topic_partition::TopicPartition;
use crate::tools::output::{Table, TableCell, Tone, number, pad, text};

/// What stands in a column without a value.
pub(super) const MISSING: &str = "-";

/// One group of a list.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GroupListing {
    pub(super) group: String,
    #[serde(rename = "type")]
    pub(super) group_type: String,
    pub(super) state: String,
}

/// A group with its offsets.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GroupOffsets {
    pub(super) group: String,
    pub(super) state: String,
    /// The sum of the partitions' lags, as far as they are known.
    pub(super) total_lag: i64,
    pub(super) partitions: Vec<PartitionOffsets>,
}

/// One partition that a group reads or has an offset for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PartitionOffsets {
    pub(super) topic: Option<String>,
    pub(super) partition: Option<i32>,
    pub(super) leader_epoch: Option<i32>,
    pub(super) current_offset: Option<i64>,
    pub(super) log_end_offset: Option<i64>,
    pub(super) lag: Option<i64>,
    /// The member that has the partition.
    pub(super) consumer_id: Option<String>,
    pub(super) host: Option<String>,
    pub(super) client_id: Option<String>,
}

/// One member of a group.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Member {
    pub(super) consumer_id: String,
    pub(super) group_instance_id: Option<String>,
    pub(super) host: String,
    pub(super) client_id: String,
    /// The group's target epoch, which Kafka's tool shows under TARGET-EPOCH.
    pub(super) target_epoch: Option<i32>,
    /// The epoch that the member itself is in.
    pub(super) current_epoch: Option<i32>,
    #[serde(serialize_with = "as_names")]
    pub(super) assignment: Vec<TopicPartition>,
    #[serde(serialize_with = "as_names")]
    pub(super) target_assignment: Vec<TopicPartition>,
    /// In a group that moves from one protocol to the other: has this member moved?
    pub(super) upgraded: Option<bool>,
}

/// A group with its members.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GroupMembers {
    pub(super) group: String,
    pub(super) state: String,
    pub(super) members: Vec<Member>,
}

/// A group's state.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GroupState {
    pub(super) group: String,
    /// `host:port`.
    pub(super) coordinator: String,
    pub(super) coordinator_id: i32,
    pub(super) assignment_strategy: Option<String>,
    pub(super) state: String,
    pub(super) group_epoch: Option<i32>,
    pub(super) target_assignment_epoch: Option<i32>,
    pub(super) member_count: usize,
}

fn as_names<S: serde::Serializer>(partitions: &[TopicPartition], serializer: S) -> Result<S::Ok, S::Error> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition);
    }
    topics.serialize(serializer)
}

fn or_missing<T: ToString>(value: &Option<T>) -> String {
    value.as_ref().map_or_else(|| MISSING.to_owned(), ToString::to_string)
}

/// The widest of some texts, at least `least`.
fn widest<'a>(texts: impl Iterator<Item = &'a str>, least: usize) -> usize {
    texts.map(|text| text.chars().count()).max().unwrap_or(0).max(least)
}

/// Kafka's list with states or types.
pub(super) fn list_plain(groups: &[GroupListing], with_type: bool, with_state: bool) -> String {
    let group_width = widest(groups.iter().map(|group| group.group.as_str()), 15) + 10;
    let line = |group: &str, group_type: &str, state: &str| {
        let mut cells = vec![(group, group_width)];
        if with_type {
            cells.push((group_type, 20));
        }
        if with_state {
            cells.push((state, 20));
        }
        pad(&cells) + "\n"
    };
    let mut lines = line("GROUP", "TYPE", "STATE");
    for group in groups {
        lines.push_str(&line(&group.group, &group.group_type, &group.state));
    }
    lines
}

pub(super) fn list_table(groups: &[GroupListing]) -> Table {
    let mut table = Table::new([text("GROUP"), text("TYPE"), text("STATE")]);
    for group in groups {
        let tone = match group.state.as_str() {
            "Stable" => Tone::Good,
            "Empty" | "Dead" => Tone::Quiet,
            _ => Tone::Warning,
        };
        table.row([group.group.as_str().into(), group.group_type.as_str().into(), TableCell::toned(&group.state, tone)]);
    }
    table
}

/// Kafka's lines of a group's offsets: each begins a new line, and one more ends the block.
pub(super) fn offsets_plain(group: &GroupOffsets, verbose: bool) -> String {
    let group_width = widest([group.group.as_str()].into_iter(), 15);
    let column = |value: fn(&PartitionOffsets) -> &Option<String>| {
        widest(group.partitions.iter().map(|row| value(row).as_deref().unwrap_or(MISSING)), 15)
    };
    let (topic_width, consumer_width, host_width) = (column(|row| &row.topic), column(|row| &row.consumer_id), column(|row| &row.host));
    let line = |cells: [&str; 10]| {
        let widths = [group_width, topic_width, 10, 15, 15, 15, 15, consumer_width, host_width, 0];
        let shown: Vec<(&str, usize)> =
            cells.into_iter().zip(widths).enumerate().filter(|&(at, _)| verbose || at != 3).map(|(_, cell)| cell).collect();
        format!("\n{}", pad(&shown))
    };
    let mut lines = line([
        "GROUP",
        "TOPIC",
        "PARTITION",
        "LEADER-EPOCH",
        "CURRENT-OFFSET",
        "LOG-END-OFFSET",
        "LAG",
        "CONSUMER-ID",
        "HOST",
        "CLIENT-ID",
    ]);
    for row in &group.partitions {
        lines.push_str(&line([
            &group.group,
            row.topic.as_deref().unwrap_or(MISSING),
            &or_missing(&row.partition),
            &or_missing(&row.leader_epoch),
            &or_missing(&row.current_offset),
            &or_missing(&row.log_end_offset),
            &or_missing(&row.lag),
            row.consumer_id.as_deref().unwrap_or(MISSING),
            row.host.as_deref().unwrap_or(MISSING),
            row.client_id.as_deref().unwrap_or(MISSING),
        ]));
    }
    lines.push('\n');
    lines
}

/// `a:0,1;b:2`
fn assignment_text(partitions: &[TopicPartition]) -> String {
    if partitions.is_empty() {
        return MISSING.to_owned();
    }
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition);
    }
    let mut texts: Vec<String> = topics
        .into_iter()
        .map(|(topic, mut numbers)| {
            numbers.sort_unstable();
            let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
            format!("{topic}:{}", numbers.join(","))
        })
        .collect();
    // Kafka sorts the finished texts, in which a topic's name is followed by a colon.
    texts.sort();
    texts.join(";")
}

/// Kafka's lines of a group's members. Without any there is still the heading.
pub(super) fn members_plain(group: &GroupMembers, verbose: bool) -> String {
    let members = &group.members;
    let group_width = if members.is_empty() { 15 } else { widest([group.group.as_str()].into_iter(), 15) };
    let consumer_width = widest(members.iter().map(|it| it.consumer_id.as_str()), 15);
    let instance_width = widest(members.iter().filter_map(|it| it.group_instance_id.as_deref()), 17);
    let host_width = widest(members.iter().map(|it| it.host.as_str()), 15);
    let client_width = widest(members.iter().map(|it| it.client_id.as_str()), 15);
    let assignments: Vec<(String, String)> =
        members.iter().map(|it| (assignment_text(&it.assignment), assignment_text(&it.target_assignment))).collect();
    let current_width = widest(assignments.iter().map(|(current, _)| current.as_str()), 20);
    let target_width = widest(assignments.iter().map(|(_, target)| target.as_str()), 20);
    let with_instance = members.iter().any(|it| it.group_instance_id.as_deref().is_some_and(|id| !id.is_empty()));
    let migrating = members.iter().any(|it| it.upgraded == Some(true)) && members.iter().any(|it| it.upgraded == Some(false));
    let line = |cells: [&str; 11]| {
        let widths = [
            group_width,
            consumer_width,
            instance_width,
            host_width,
            client_width,
            15,
            15,
            current_width,
            15,
            // The last column is padded unless another follows it.
            target_width,
            0,
        ];
        let shown: Vec<(&str, usize)> = cells
            .into_iter()
            .zip(widths)
            .enumerate()
            .filter(|&(at, _)| (at != 2 || with_instance) && (at < 6 || verbose) && (at != 10 || migrating))
            .map(|(_, cell)| cell)
            .collect();
        let blank = if verbose { "" } else { " " };
        format!("{}{blank}\n", pad(&shown))
    };
    let mut lines = String::from("\n");
    lines.push_str(&line([
        "GROUP",
        "CONSUMER-ID",
        "GROUP-INSTANCE-ID",
        "HOST",
        "CLIENT-ID",
        "#PARTITIONS",
        "CURRENT-EPOCH",
        "CURRENT-ASSIGNMENT",
        "TARGET-EPOCH",
        "TARGET-ASSIGNMENT",
        "UPGRADED",
    ]));
    for (member, (current, target)) in members.iter().zip(&assignments) {
        lines.push_str(&line([
            &group.group,
            &member.consumer_id,
            member.group_instance_id.as_deref().unwrap_or_default(),
            &member.host,
            &member.client_id,
            &member.assignment.len().to_string(),
            &or_missing(&member.current_epoch),
            current,
            &or_missing(&member.target_epoch),
            target,
            &or_missing(&member.upgraded),
        ]));
    }
    lines
}

pub(super) fn members_table(groups: &[GroupMembers]) -> Table {
    let mut table = Table::new([text("GROUP"), text("MEMBER"), text("HOST"), text("CLIENT"), number("PARTITIONS"), text("ASSIGNMENT")]);
    for group in groups {
        for member in &group.members {
            table.row([
                TableCell::from(&group.group),
                member.group_instance_id.as_deref().unwrap_or(&member.consumer_id).into(),
                member.host.as_str().into(),
                member.client_id.as_str().into(),
                member.assignment.len().into(),
                assignment_text(&member.assignment).into(),
            ]);
        }
    }
    table
}

/// Kafka's lines of a group's state.
pub(super) fn state_plain(group: &GroupState, verbose: bool) -> String {
    let coordinator = format!("{}  ({})", group.coordinator, group.coordinator_id);
    let line = |cells: [&str; 7]| {
        let widths = [widest([group.group.as_str()].into_iter(), 15), widest([coordinator.as_str()].into_iter(), 25), 20, 20, 15, 25, 0];
        let shown: Vec<(&str, usize)> =
            cells.into_iter().zip(widths).enumerate().filter(|&(at, _)| verbose || !(4..6).contains(&at)).map(|(_, cell)| cell).collect();
        format!("\n{}", pad(&shown))
    };
    let mut lines =
        line(["GROUP", "COORDINATOR (ID)", "ASSIGNMENT-STRATEGY", "STATE", "GROUP-EPOCH", "TARGET-ASSIGNMENT-EPOCH", "#MEMBERS"]);
    lines.push_str(&line([
        &group.group,
        &coordinator,
        group.assignment_strategy.as_deref().filter(|name| !name.is_empty()).unwrap_or(MISSING),
        &group.state,
        &or_missing(&group.group_epoch),
        &or_missing(&group.target_assignment_epoch),
        &group.member_count.to_string(),
    ]));
    lines.push('\n');
    lines
}

pub(super) fn state_table(groups: &[GroupState]) -> Table {
    let mut table = Table::new([text("GROUP"), text("COORDINATOR"), text("STRATEGY"), text("STATE"), number("MEMBERS")]);
    for group in groups {
        let tone = if group.state == "Stable" { Tone::Good } else { Tone::Normal };
        table.row([
            TableCell::from(&group.group),
            format!("{} ({})", group.coordinator, group.coordinator_id).into(),
            or_missing(&group.assignment_strategy).into(),
            TableCell::toned(&group.state, tone),
            group.member_count.into(),
        ]);
    }
    table
}

/// The new offsets of one group, by partition.
pub(super) type NewOffsets = BTreeMap<TopicPartition, i64>;

/// Kafka's lines of a reset.
pub(super) fn reset_plain(groups: &BTreeMap<String, NewOffsets>) -> String {
    let group_width = widest(groups.keys().map(String::as_str), 15);
    let topic_width = widest(groups.values().flat_map(|offsets| offsets.keys().map(|it| it.topic.as_str())), 15);
    let line = |cells: [&str; 4]| {
        let widths = [group_width, topic_width, 10, 0];
        format!("\n{}", pad(&cells.into_iter().zip(widths).collect::<Vec<_>>()))
    };
    let mut lines = String::new();
    if !groups.is_empty() {
        lines.push_str(&line(["GROUP", "TOPIC", "PARTITION", "NEW-OFFSET"]));
    }
    for (group, offsets) in groups {
        for (partition, offset) in offsets {
            lines.push_str(&line([group, &partition.topic, &partition.partition.to_string(), &offset.to_string()]));
        }
    }
    lines.push('\n');
    lines
}

/// `TOPIC,PARTITION,OFFSET` lines, with the group before them when there can be more than one; a blank line ends them as in Kafka.
pub(super) fn reset_csv(groups: &BTreeMap<String, NewOffsets>, single_group: bool) -> String {
    let mut lines = String::new();
    for (group, offsets) in groups {
        for (partition, offset) in offsets {
            if !single_group {
                let _ = write!(lines, "{},", csv_field(group));
            }
            let _ = writeln!(lines, "{},{},{offset}", csv_field(&partition.topic), partition.partition);
        }
    }
    lines.push('\n');
    lines
}

/// A field is quoted when it holds what a reader would take for the file's own.
fn csv_field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r', ' ']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// A reset as JSON: one object a partition.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ResetRow<'a> {
    pub(super) group: &'a str,
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) new_offset: i64,
}

pub(super) fn reset_rows(groups: &BTreeMap<String, NewOffsets>) -> Vec<ResetRow<'_>> {
    groups
        .iter()
        .flat_map(|(group, offsets)| {
            offsets.iter().map(move |(partition, &new_offset)| ResetRow {
                group,
                topic: &partition.topic,
                partition: partition.partition,
                new_offset,
            })
        })
        .collect()
}

pub(super) fn reset_table(groups: &BTreeMap<String, NewOffsets>) -> Table {
    let mut table = Table::new([text("GROUP"), text("TOPIC"), number("PARTITION"), number("NEW-OFFSET")]);
    for row in reset_rows(groups) {
        table.row([TableCell::from(row.group), row.topic.into(), row.partition.into(), row.new_offset.into()]);
    }
    table
}

/// The tone of a lag: none is good, some is normal.
fn lag_cell(lag: Option<i64>) -> TableCell {
    match lag {
        Some(0) => TableCell::toned(0, Tone::Good),
        Some(lag) => TableCell::toned(lag, Tone::Warning),
        None => TableCell::toned(MISSING, Tone::Quiet),
    }
}

/// A heading and a table with totals for one group.
pub(super) fn offsets_table(group: &GroupOffsets, width: Option<usize>, color: bool) -> String {
    let mut table = Table::new([
        text("TOPIC"),
        number("PARTITION"),
        number("CURRENT-OFFSET"),
        number("LOG-END-OFFSET"),
        number("LAG"),
        text("MEMBER"),
        text("HOST"),
        text("CLIENT"),
    ]);
    for row in &group.partitions {
        table.row([
            or_missing(&row.topic).into(),
            or_missing(&row.partition).into(),
            or_missing(&row.current_offset).into(),
            or_missing(&row.log_end_offset).into(),
            lag_cell(row.lag),
            or_missing(&row.consumer_id).into(),
            or_missing(&row.host).into(),
            or_missing(&row.client_id).into(),
        ]);
    }
    if group.partitions.len() > 1 {
        let mut total: Vec<TableCell> = vec![TableCell::toned("TOTAL", Tone::Quiet)];
        total.extend(["", "", ""].map(TableCell::from));
        total.push(lag_cell(Some(group.total_lag)));
        total.extend(["", "", ""].map(TableCell::from));
        table.row(total);
    }
    format!("{}\n{}", heading(group, color), table.render(width, color))
}

/// `orders-readers: Stable, lag 12`
pub(super) fn heading(group: &GroupOffsets, color: bool) -> String {
    let (bold, plain) = if color { ("\u{1b}[1m", "\u{1b}[0m") } else { ("", "") };
    format!("{bold}{}{plain}: {}, lag {}", group.group, group.state, group.total_lag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(number: i32, current: Option<i64>, end: i64) -> PartitionOffsets {
        PartitionOffsets {
            topic: Some("t".into()),
            partition: Some(number),
            current_offset: current,
            log_end_offset: Some(end),
            lag: current.map(|current| end - current),
            ..Default::default()
        }
    }

    fn group(partitions: Vec<PartitionOffsets>) -> GroupOffsets {
        GroupOffsets { group: "g".into(), state: "Empty".into(), total_lag: partitions.iter().filter_map(|row| row.lag).sum(), partitions }
    }

    #[test]
    fn offsets_are_kafkas_columns() {
        let group = group(vec![partition(0, Some(4), 10), partition(1, None, 0)]);
        assert_eq!(
            offsets_plain(&group, false),
            "\nGROUP           TOPIC           PARTITION  CURRENT-OFFSET  LOG-END-OFFSET  LAG             CONSUMER-ID     HOST            CLIENT-ID\n\
             g               t               0          4               10              6               -               -               -\n\
             g               t               1          -               0               -               -               -               -\n"
        );
        assert_eq!(
            offsets_plain(&group, true).lines().nth(2),
            Some(
                "g               t               0          -               4               10              6               -               -               -"
            )
        );
    }

    #[test]
    fn members_are_kafkas_columns() {
        let mut group = GroupMembers { group: "g".into(), state: "Empty".into(), members: vec![] };
        assert_eq!(members_plain(&group, false), "\nGROUP           CONSUMER-ID     HOST            CLIENT-ID       #PARTITIONS     \n");
        assert_eq!(
            members_plain(&group, true),
            "\nGROUP           CONSUMER-ID     HOST            CLIENT-ID       #PARTITIONS     CURRENT-EPOCH   CURRENT-ASSIGNMENT   TARGET-EPOCH    TARGET-ASSIGNMENT   \n"
        );
        group.members.push(Member {
            consumer_id: "console-consumer-1".into(),
            host: "/127.0.0.1".into(),
            client_id: "console-consumer".into(),
            assignment: vec![TopicPartition::new("t", 1), TopicPartition::new("t", 0)],
            ..Default::default()
        });
        assert_eq!(
            members_plain(&group, true).lines().nth(2),
            Some(
                "g               console-consumer-1 /127.0.0.1      console-consumer 2               -               t:0,1                -               -                   "
            )
        );
        group.members[0].group_instance_id = Some("static".into());
        assert_eq!(
            members_plain(&group, false),
            "\nGROUP           CONSUMER-ID        GROUP-INSTANCE-ID HOST            CLIENT-ID        #PARTITIONS     \n\
             g               console-consumer-1 static            /127.0.0.1      console-consumer 2               \n"
        );
    }

    #[test]
    fn states_are_kafkas_columns() {
        let state = GroupState {
            group: "g".into(),
            coordinator: "localhost:9092".into(),
            coordinator_id: 1,
            assignment_strategy: Some(String::new()),
            state: "Empty".into(),
            group_epoch: None,
            target_assignment_epoch: Some(3),
            member_count: 0,
        };
        assert_eq!(
            state_plain(&state, false),
            "\nGROUP           COORDINATOR (ID)          ASSIGNMENT-STRATEGY  STATE                #MEMBERS\n\
             g               localhost:9092  (1)       -                    Empty                0\n"
        );
        assert_eq!(
            state_plain(&state, true),
            "\nGROUP           COORDINATOR (ID)          ASSIGNMENT-STRATEGY  STATE                GROUP-EPOCH     TARGET-ASSIGNMENT-EPOCH   #MEMBERS\n\
             g               localhost:9092  (1)       -                    Empty                -               3                         0\n"
        );
    }

    #[test]
    fn lists_are_kafkas_columns() {
        let groups = [GroupListing { group: "g".into(), group_type: "Classic".into(), state: "Empty".into() }];
        assert_eq!(
            list_plain(&groups, true, true),
            "GROUP                     TYPE                 STATE               \n\
             g                         Classic              Empty               \n"
        );
        assert_eq!(list_plain(&[], false, true), "GROUP                     STATE               \n");
    }

    #[test]
    fn resets_are_kafkas_columns_or_csv() {
        let offsets: NewOffsets = [(TopicPartition::new("t", 1), 5), (TopicPartition::new("t", 0), 3)].into();
        let groups: BTreeMap<String, NewOffsets> = [("g".to_owned(), offsets)].into();
        assert_eq!(
            reset_plain(&groups),
            "\nGROUP           TOPIC           PARTITION  NEW-OFFSET\n\
             g               t               0          3\n\
             g               t               1          5\n"
        );
        assert_eq!(reset_plain(&BTreeMap::new()), "\n");
        assert_eq!(reset_csv(&groups, true), "t,0,3\nt,1,5\n\n");
        assert_eq!(reset_csv(&groups, false), "g,t,0,3\ng,t,1,5\n\n");
    }

    #[test]
    fn the_table_has_totals() {
        let shown = offsets_table(&group(vec![partition(0, Some(4), 10), partition(1, Some(1), 3)]), None, false);
        assert_eq!(
            shown,
            "g: Empty, lag 8\n\
             TOPIC  PARTITION  CURRENT-OFFSET  LOG-END-OFFSET  LAG  MEMBER  HOST  CLIENT\n\
             t              0               4              10    6  -       -     -\n\
             t              1               1               3    2  -       -     -\n\
             TOTAL                                               8\n"
        );
    }
}
