//! Where the replicas of new partitions go: spread over racks, then over the brokers of a rack, unfenced ones first, the
//! leader never on a fenced one. Starts at a random place, so that many small topics spread too.
//!
//! Source: Kafka's `StripedReplicaPlacer`.

use crate::common::random::Random;

/// A broker that may take replicas.
#[derive(Debug, Clone)]
pub struct UsableBroker {
    pub id: i32,
    pub rack: Option<String>,
    pub fenced: bool,
}

#[derive(Debug, Default)]
struct Brokers {
    ids: Vec<i32>,
    index: usize,
    offset: usize,
    round: usize,
}

impl Brokers {
    fn start(&mut self, random: &mut Random) {
        self.ids.sort_unstable();
        self.offset = random.below(self.ids.len() as u64) as usize;
    }

    /// The next broker of this round; every round begins one further.
    fn next(&mut self, round: usize) -> Option<i32> {
        if self.ids.is_empty() {
            return None;
        }
        if self.round != round {
            self.round = round;
            self.index = 0;
            self.offset = (self.offset + 1) % self.ids.len();
        }
        let id = (self.index < self.ids.len()).then(|| self.ids[(self.index + self.offset) % self.ids.len()])?;
        self.index += 1;
        Some(id)
    }
}

#[derive(Debug, Default)]
struct Rack {
    name: Option<String>,
    unfenced: Brokers,
    fenced: Brokers,
}

/// Chooses the replicas of `partitions` partitions; the error is Kafka's text.
pub fn place(
    brokers: impl Iterator<Item = UsableBroker>,
    partitions: usize,
    replication_factor: i16,
    random: &mut Random,
) -> Result<Vec<Vec<i32>>, String> {
    let (mut racks, mut total, mut unfenced) = (Vec::<Rack>::new(), 0usize, 0usize);
    for broker in brokers {
        let index = match racks.iter().position(|rack| rack.name == broker.rack) {
            Some(index) => index,
            None => {
                racks.push(Rack { name: broker.rack.clone(), ..Rack::default() });
                racks.len() - 1
            }
        };
        total += 1;
        if broker.fenced {
            racks[index].fenced.ids.push(broker.id);
        } else {
            unfenced += 1;
            racks[index].unfenced.ids.push(broker.id);
        }
    }
    if replication_factor <= 0 {
        return Err(format!("Invalid replication factor {replication_factor}: the replication factor must be positive."));
    }
    if unfenced == 0 {
        return Err("All brokers are currently fenced, or have all their log directories cordoned.".to_owned());
    }
    let replication_factor = replication_factor as usize;
    if replication_factor > total {
        return Err(format!(
            "The target replication factor of {replication_factor} cannot be reached because only {total} broker(s) are registered \
             or some brokers have all their log directories cordoned."
        ));
    }
    racks.sort_by(|a, b| a.name.cmp(&b.name));
    for rack in &mut racks {
        rack.unfenced.start(random);
        rack.fenced.start(random);
    }
    let mut offset = random.below(racks.len() as u64) as usize;
    // Differs: the rounds never count from 0 again, so that no list mistakes a new round for one it took part in.
    let (mut round, mut since_shuffle) = (0, 0);
    let mut placements = Vec::with_capacity(partitions);
    for _ in 0..partitions {
        // After as many partitions as there are brokers the pattern would repeat.
        if since_shuffle == unfenced && unfenced > 1 {
            random.shuffle(&mut racks);
            for rack in &mut racks {
                random.shuffle(&mut rack.unfenced.ids);
                random.shuffle(&mut rack.fenced.ids);
            }
            since_shuffle = 0;
        }
        placements.push(place_one(&mut racks, offset, round, replication_factor));
        round += 1;
        since_shuffle += 1;
        offset = (offset + 1) % racks.len();
    }
    Ok(placements)
}

fn place_one(racks: &mut [Rack], offset: usize, round: usize, replication_factor: usize) -> Vec<i32> {
    let count = racks.len();
    let mut replicas = Vec::with_capacity(replication_factor);
    let mut first = offset;
    loop {
        if let Some(id) = racks[first].unfenced.next(round) {
            replicas.push(id);
            break;
        }
        first = (first + 1) % count;
    }
    // The rack of the leader sits out once.
    let mut skip = Some(first);
    let mut index = offset;
    while replicas.len() < replication_factor {
        if skip == Some(index) {
            skip = None;
        } else {
            let rack = &mut racks[index];
            if let Some(id) = rack.unfenced.next(round).or_else(|| rack.fenced.next(round)) {
                replicas.push(id);
            }
        }
        index = (index + 1) % count;
    }
    replicas
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broker(id: i32, rack: Option<&str>, fenced: bool) -> UsableBroker {
        UsableBroker { id, rack: rack.map(str::to_owned), fenced }
    }

    #[test]
    fn replicas_are_distinct_and_leaders_unfenced() {
        for seed in 0..50 {
            let mut random = Random::new(seed);
            let brokers: Vec<_> = (0..7).map(|id| broker(id, [Some("a"), Some("b"), None][id as usize % 3], id % 4 == 3)).collect();
            let placements = place(brokers.into_iter(), 100, 3, &mut random).expect("placed");
            for replicas in placements {
                let mut distinct = replicas.clone();
                distinct.sort_unstable();
                distinct.dedup();
                assert_eq!(distinct.len(), 3, "seed {seed}: {replicas:?}");
                assert_ne!(replicas[0] % 4, 3, "seed {seed}: a fenced leader in {replicas:?}");
            }
        }
    }

    #[test]
    fn leaders_are_spread_evenly() {
        let brokers = (0..3).map(|id| broker(id, None, false));
        let placements = place(brokers, 30, 1, &mut Random::new(1)).expect("placed");
        for id in 0..3 {
            assert_eq!(placements.iter().filter(|replicas| replicas[0] == id).count(), 10);
        }
    }

    #[test]
    fn too_few_brokers_is_an_error() {
        let error = place([broker(1, None, false)].into_iter(), 1, 3, &mut Random::new(1));
        assert_eq!(
            error,
            Err("The target replication factor of 3 cannot be reached because only 1 broker(s) are registered or some brokers \
                 have all their log directories cordoned."
                .to_owned())
        );
        let error = place([broker(1, None, true)].into_iter(), 1, 1, &mut Random::new(1));
        assert!(error.is_err_and(|text| text.starts_with("All brokers are currently fenced")));
    }
}
