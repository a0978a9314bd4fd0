//! Cases of Kafka's own assignors: random groups, which the sticky ones see rebalance after rebalance.

use super::*;
use serde_json::Value;

const CASES: &str = include_str!("../../../../tests/golden/assignors/cases.jsonl");

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn partitions(value: &Value) -> Vec<TopicPartition> {
    let parse = |text: String| {
        let (topic, partition) = text.rsplit_once('-')?;
        Some(TopicPartition::new(topic, partition.parse().ok()?))
    };
    strings(value).into_iter().filter_map(parse).collect()
}

fn member(case: &Value, assignor: Assignor) -> Member {
    let text = |key: &str| case[key].as_str().map(str::to_owned);
    let before = (!case["before"].is_null()).then(|| partitions(&case["before"]));
    let generation = case["generation"].as_i64().expect("a number") as i32;
    let cooperative = assignor.is_cooperative();
    Member {
        id: text("id").expect("an id"),
        group_instance_id: text("instance"),
        topics: strings(&case["topics"]),
        user_data: assignor.user_data(before.as_deref(), generation),
        owned_partitions: before.filter(|_| cooperative).unwrap_or_default(),
        generation: Some(generation).filter(|generation| cooperative && *generation >= 0),
        rack: text("rack"),
    }
}

#[test]
fn assignments_are_those_of_kafka() {
    for (line, text) in CASES.lines().enumerate() {
        let case: Value = serde_json::from_str(text).expect("JSON");
        let assignor = Assignor::parse(case["assignor"].as_str().expect("a name")).expect("known");
        let topics = case["topics"].as_object().expect("topics").iter().map(|(name, partitions)| {
            let racks = partitions.as_array().into_iter().flatten().map(|racks| strings(racks).into_iter().collect());
            (name.clone(), racks.collect())
        });
        let members: Vec<Member> = case["members"].as_array().expect("members").iter().map(|it| member(it, assignor)).collect();
        let mut assignment = assignor.assign(&topics.collect(), &members);
        assignment.values_mut().for_each(|list| list.sort());
        let expected: Assignment =
            case["assignment"].as_object().expect("assignment").iter().map(|(id, list)| (id.clone(), partitions(list))).collect();
        assert_eq!(assignment, expected, "line {}: {text}", line + 1);
    }
}

#[test]
fn assignors_are_known_by_their_names_and_by_kafkas_classes() {
    for assignor in [Assignor::Range, Assignor::RoundRobin, Assignor::Sticky, Assignor::CooperativeSticky] {
        assert_eq!(Assignor::parse(assignor.name()), Some(assignor));
    }
    assert_eq!(Assignor::parse("org.apache.kafka.clients.consumer.CooperativeStickyAssignor"), Some(Assignor::CooperativeSticky));
    assert_eq!(Assignor::parse("com.example.Mine"), None);
}
