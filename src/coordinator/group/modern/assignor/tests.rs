use super::*;
use crate::common::random::Random;
use crate::coordinator::group::tests::image_with_topics;

const A: Uuid = Uuid::from_u128(0xa);
const B: Uuid = Uuid::from_u128(0xb);

struct Case {
    image: Arc<MetadataImage>,
    members: BTreeMap<String, MemberSpec>,
    inverted: BTreeMap<Uuid, BTreeMap<i32, String>>,
}

impl Case {
    fn new(topics: &[(Uuid, i32)]) -> Case {
        let named: Vec<(String, Uuid, i32)> = topics.iter().map(|&(id, count)| (format!("t{id}"), id, count)).collect();
        let named: Vec<(&str, Uuid, i32)> = named.iter().map(|(name, id, count)| (name.as_str(), *id, *count)).collect();
        Case { image: image_with_topics(0, &named), members: BTreeMap::new(), inverted: BTreeMap::new() }
    }

    fn member(&mut self, id: &str, topics: &[Uuid]) {
        let member = self.members.entry(id.to_owned()).or_default();
        member.subscribed_topics = Arc::new(topics.iter().copied().collect());
    }

    fn assign(&mut self, assignor: &dyn PartitionAssignor) -> BTreeMap<String, TopicPartitions> {
        let first = self.members.values().next().map(|member| Arc::clone(&member.subscribed_topics));
        let same = self.members.values().all(|member| Some(&member.subscribed_topics) == first.as_ref());
        let subscription_type = if same { SubscriptionType::Homogeneous } else { SubscriptionType::Heterogeneous };
        let group =
            GroupSpec { members: self.members.clone(), subscription_type, inverted: &self.inverted, assignable: None, image: &self.image };
        let mut assignment = assignor.assign(&group).expect("every topic exists");
        assignment.values_mut().for_each(|topics| topics.retain(|_, partitions| !partitions.is_empty()));
        self.every_partition_has_one_subscribed_owner(&assignment);
        self.inverted.clear();
        for (id, member) in &mut self.members {
            member.assignment = assignment.get(id).cloned().unwrap_or_default();
            for (&topic, partitions) in &member.assignment {
                self.inverted.entry(topic).or_default().extend(partitions.iter().map(|&partition| (partition, id.clone())));
            }
        }
        assignment
    }

    fn remove(&mut self, id: &str) {
        self.members.remove(id);
        self.inverted.values_mut().for_each(|owners| owners.retain(|_, owner| owner != id));
    }

    fn every_partition_has_one_subscribed_owner(&self, assignment: &BTreeMap<String, TopicPartitions>) {
        let mut owners: BTreeMap<(Uuid, i32), &str> = BTreeMap::new();
        for (id, topics) in assignment {
            for (&topic, partitions) in topics {
                assert!(self.members[id].subscribed_topics.contains(&topic), "{id} does not read {topic}");
                for &partition in partitions {
                    assert_eq!(owners.insert((topic, partition), id), None, "{topic}-{partition} has two owners");
                }
            }
        }
        for topic in self.image.topics.iter().filter(|t| self.members.values().any(|m| m.subscribed_topics.contains(&t.id))) {
            for partition in topic.partitions.keys() {
                assert!(owners.contains_key(&(topic.id, *partition)), "{}-{partition} has no owner", topic.name);
            }
        }
    }
}

fn sizes(assignment: &BTreeMap<String, TopicPartitions>) -> Vec<usize> {
    assignment.values().map(|topics| topics.values().map(BTreeSet::len).sum()).collect()
}

fn moved(before: &BTreeMap<String, TopicPartitions>, after: &BTreeMap<String, TopicPartitions>) -> usize {
    let had = |id: &str, topic: &Uuid, partition: &i32| {
        before.get(id).and_then(|topics| topics.get(topic)).is_some_and(|partitions| partitions.contains(partition))
    };
    let of = |(id, topics): (&String, &TopicPartitions)| -> usize {
        topics.iter().map(|(topic, partitions)| partitions.iter().filter(|p| !had(id, topic, p)).count()).sum()
    };
    after.iter().map(of).sum()
}

#[test]
fn range_gives_neighbouring_partitions_in_the_same_order_for_every_topic() {
    let mut case = Case::new(&[(A, 3), (B, 3)]);
    case.member("m1", &[A, B]);
    case.member("m2", &[A, B]);
    let assignment = case.assign(&RangeAssignor);
    assert_eq!(assignment["m1"], TopicPartitions::from([(A, [0, 1].into()), (B, [0, 1].into())]));
    assert_eq!(assignment["m2"], TopicPartitions::from([(A, [2].into()), (B, [2].into())]));
}

#[test]
fn range_puts_static_members_first_by_instance() {
    let mut case = Case::new(&[(A, 2)]);
    case.member("a", &[A]);
    case.member("z", &[A]);
    case.members.get_mut("z").expect("it was added").instance_id = Some("i".to_owned());
    let assignment = case.assign(&RangeAssignor);
    assert_eq!(assignment["z"], TopicPartitions::from([(A, [0].into())]));
}

#[test]
fn uniform_loads_differ_by_one_at_most() {
    let mut case = Case::new(&[(A, 7), (B, 4)]);
    for id in ["m1", "m2", "m3"] {
        case.member(id, &[A, B]);
    }
    let mut loads = sizes(&case.assign(&UniformAssignor));
    loads.sort_unstable();
    assert_eq!(loads, [3, 4, 4]);
}

#[test]
fn uniform_moves_no_more_than_it_has_to() {
    let mut case = Case::new(&[(A, 12)]);
    for id in ["m1", "m2"] {
        case.member(id, &[A]);
    }
    let before = case.assign(&UniformAssignor);
    case.member("m3", &[A]);
    let after = case.assign(&UniformAssignor);
    assert_eq!(sizes(&after), [4, 4, 4]);
    assert_eq!(moved(&before, &after), 4, "only what the newcomer gets");
    case.remove("m2");
    let last = case.assign(&UniformAssignor);
    assert_eq!(moved(&after, &last), 4, "only what the member that left had");
}

#[test]
fn uniform_with_different_subscriptions_balances_where_it_may() {
    let mut case = Case::new(&[(A, 6), (B, 6)]);
    case.member("a", &[A]);
    case.member("b", &[B]);
    case.member("both", &[A, B]);
    let loads = sizes(&case.assign(&UniformAssignor));
    assert!(loads[0].abs_diff(loads[2]) <= 1 && loads[1].abs_diff(loads[2]) <= 1, "subscribers of a topic are balanced: {loads:?}");
    case.remove("b");
    // Only one reads the second topic now.
    assert_eq!(sizes(&case.assign(&UniformAssignor)), [6, 6]);
}

#[test]
fn a_topic_that_is_not_there_is_an_error_not_a_panic() {
    let case = Case::new(&[]);
    let member = MemberSpec { subscribed_topics: Arc::new([A].into()), ..MemberSpec::default() };
    let group = GroupSpec {
        members: [("m".to_owned(), member)].into(),
        subscription_type: SubscriptionType::Homogeneous,
        inverted: &BTreeMap::new(),
        assignable: None,
        image: &case.image,
    };
    assert!(UniformAssignor.assign(&group).is_err());
    assert!(RangeAssignor.assign(&group).is_err());
}

#[test]
fn random_groups_are_assigned_whole_by_every_assignor() {
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let topics: Vec<(Uuid, i32)> =
            (0..1 + random.below(5)).map(|n| (Uuid::from_u128(0x100 + u128::from(n)), random.below(9) as i32)).collect();
        let mut case = Case::new(&topics);
        let assignor: &dyn PartitionAssignor = if random.one_in(3) { &RangeAssignor } else { &UniformAssignor };
        let same = random.one_in(2);
        for _ in 0..6 {
            let id = format!("m{}", random.below(6));
            if random.one_in(3) {
                case.remove(&id);
            } else {
                let read: Vec<Uuid> = topics.iter().map(|&(id, _)| id).filter(|_| same || random.one_in(2)).collect();
                case.member(&id, &read);
            }
            if !case.members.is_empty() {
                let loads = sizes(&case.assign(assignor));
                if same && assignor.name() == "uniform" {
                    let (most, least) = (loads.iter().max().copied().unwrap_or(0), loads.iter().min().copied().unwrap_or(0));
                    assert!(most - least <= 1, "seed {seed}: {loads:?}");
                }
            }
        }
    }
}
