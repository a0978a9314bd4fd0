//! How many histories the model tests play, and from which seed on: thousands in a normal run, millions by request.
//!
//! `OTTLA_HISTORIES` is the number for each model and `OTTLA_SEED` the first seed, otherwise 0. Every test that plays histories has
//! `histories` in its name, so that one filter runs them all.
//!
//! Invariant: a history follows from its seed alone, so that the seed of a failure is all that is needed to see it again.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// The seeds of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seeds {
    first: u64,
    count: u64,
}

impl Seeds {
    /// `usual` histories, unless the environment wants otherwise.
    fn wanted(usual: u64, variable: impl Fn(&str) -> Option<String>) -> Seeds {
        let number = |name: &str| variable(name).map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")));
        Seeds { first: number("OTTLA_SEED").unwrap_or(0), count: number("OTTLA_HISTORIES").unwrap_or(usual) }
    }

    fn play(self, test: &str, mut history: impl FnMut(u64)) {
        for seed in self.first..self.first.saturating_add(self.count) {
            let played = catch_unwind(AssertUnwindSafe(|| history(seed)));
            assert!(played.is_ok(), "the history above fails again by: OTTLA_SEED={seed} OTTLA_HISTORIES=1 cargo test --lib {test}");
        }
    }
}

/// Plays `history` with one seed after the other, `usual` of them unless the environment wants otherwise. A failure says how to see it
/// again by `test`, the test's name. False when so few were played that nobody can expect everything to happen in them.
pub(crate) fn play(test: &str, usual: u64, history: impl FnMut(u64)) -> bool {
    let seeds = Seeds::wanted(usual, |name| std::env::var(name).ok());
    seeds.play(test, history);
    seeds.count >= usual
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_says_how_many_and_from_where() {
        assert_eq!(Seeds::wanted(100, |_| None), Seeds { first: 0, count: 100 });
        let variables = |name: &str| Some(if name == "OTTLA_SEED" { "7" } else { "3" }.to_owned());
        assert_eq!(Seeds::wanted(100, variables), Seeds { first: 7, count: 3 });
        let mut played = Vec::new();
        Seeds::wanted(100, variables).play("it", |seed| played.push(seed));
        assert_eq!(played, [7, 8, 9]);
    }

    #[test]
    fn a_failure_says_how_to_see_it_again() {
        let failed = catch_unwind(|| Seeds { first: 0, count: 9 }.play("some::histories", |seed| assert!(seed < 4)));
        let text = failed.expect_err("seed 4 fails");
        let text = text.downcast_ref::<String>().expect("a text");
        assert!(text.ends_with("OTTLA_SEED=4 OTTLA_HISTORIES=1 cargo test --lib some::histories"), "{text}");
    }
}
