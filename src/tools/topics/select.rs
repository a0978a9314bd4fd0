//! Which topics `--topic` means.
//!
//! In Kafka the argument is always a regular expression, so `--delete --topic a.b` also deletes `axb`. Here a topic of exactly that name
//! goes first and alone; only where there is none is the text a pattern. `KAFKA_CLI_COMPAT` brings Kafka's rule back.
//! Source: `TopicFilter.IncludeList`, `Topic.isInternal`.

use regex::Regex;

use crate::tools::exit::Failure;
use crate::tools::suggest;

/// A topic as far as choosing goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) name: String,
    pub(super) internal: bool,
}

/// What was chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    /// Sorted, each once.
    pub(super) names: Vec<String>,
    /// The arguments that no topic matched.
    pub(super) missing: Vec<String>,
    /// Did a pattern, and not a name, choose some of them?
    pub(super) by_pattern: bool,
}

/// Chooses among `all`; no `wanted` at all chooses everything.
pub(super) fn select(all: &[Candidate], wanted: &[String], exclude_internal: bool, names_first: bool) -> Result<Selection, Failure> {
    let allowed = |candidate: &&Candidate| !(exclude_internal && candidate.internal);
    let mut selection = Selection::default();
    if wanted.is_empty() {
        selection.names = all.iter().filter(allowed).map(|candidate| candidate.name.clone()).collect();
    }
    for argument in wanted {
        let found = match_one(all, argument, names_first)?;
        let names: Vec<&Candidate> = found.matches.into_iter().filter(allowed).collect();
        // Kafka takes an empty argument for none, and so not for one that does not exist.
        if names.is_empty() && !argument.is_empty() {
            selection.missing.push(argument.clone());
        }
        selection.by_pattern |= found.by_pattern && !names.is_empty();
        selection.names.extend(names.into_iter().map(|candidate| candidate.name.clone()));
    }
    selection.names.sort();
    selection.names.dedup();
    Ok(selection)
}

struct Found<'a> {
    matches: Vec<&'a Candidate>,
    by_pattern: bool,
}

fn match_one<'a>(all: &'a [Candidate], argument: &str, names_first: bool) -> Result<Found<'a>, Failure> {
    if names_first {
        if let Some(exact) = all.iter().find(|candidate| candidate.name == argument) {
            return Ok(Found { matches: vec![exact], by_pattern: false });
        }
        // A list of names is no pattern either, when each is one.
        let parts: Option<Vec<&Candidate>> =
            argument.split(',').map(|part| all.iter().find(|candidate| candidate.name == part.trim())).collect();
        if let Some(matches) = parts {
            return Ok(Found { matches, by_pattern: false });
        }
    }
    let pattern = pattern_text(argument);
    let regex = Regex::new(&format!("^(?:{pattern})$")).map_err(|error| {
        let failure = Failure::new(format!("{pattern} is an invalid regex."));
        // The library's last line is the reason; Kafka gives none.
        let text = error.to_string();
        match text.lines().last().map(|line| line.trim_start_matches("error: ")).filter(|_| names_first) {
            Some(reason) => Failure::new(failure.message.trim_end_matches('.')).advise(reason),
            None => failure,
        }
    })?;
    let matches: Vec<&Candidate> = all.iter().filter(|candidate| regex.is_match(&candidate.name)).collect();
    let by_pattern = !matches.iter().all(|candidate| candidate.name == argument);
    Ok(Found { matches, by_pattern })
}

/// Kafka's reading of a pattern: commas separate alternatives, blanks and quotes around it do not count.
fn pattern_text(argument: &str) -> String {
    let text = argument.trim().replace(',', "|").replace(' ', "");
    text.trim_matches(['"', '\'']).to_owned()
}

/// The error about a topic that is not there, with the nearest one that is; or only Kafka's words.
pub(super) fn does_not_exist(name: &str, all: &[Candidate], kafkas_words: bool) -> Failure {
    if kafkas_words {
        return Failure::new(format!("Topic '{name}' does not exist as expected"));
    }
    let failure = Failure::new(format!("topic '{name}' does not exist"));
    match suggest::closest(name, all.iter().map(|candidate| candidate.name.as_str())) {
        Some(near) => failure.advise(format!("did you mean '{near}'?")),
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Candidate> {
        ["__consumer_offsets", "a.b", "axb", "orders", "orders-eu"]
            .map(|name| Candidate { name: name.into(), internal: name.starts_with("__") })
            .into()
    }

    fn names(wanted: &[&str], names_first: bool) -> Vec<String> {
        let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
        select(&all(), &wanted, false, names_first).unwrap().names
    }

    #[test]
    fn an_exact_name_goes_before_a_pattern() {
        assert_eq!(names(&["a.b"], true), ["a.b"]);
        assert_eq!(names(&["a.b"], false), ["a.b", "axb"]);
        assert_eq!(names(&["a.b,orders"], true), ["a.b", "orders"]);
        assert_eq!(names(&["a.b,orders.*"], true), ["a.b", "axb", "orders", "orders-eu"]);
    }

    #[test]
    fn a_pattern_matches_whole_names() {
        assert_eq!(names(&["order"], true), [""; 0]);
        assert_eq!(names(&["orders.*|axb"], true), ["axb", "orders", "orders-eu"]);
        assert_eq!(names(&["orders", "axb", "orders"], true), ["axb", "orders"]);
    }

    #[test]
    fn internal_topics_can_be_left_out() {
        let selection = select(&all(), &[], true, true).unwrap();
        assert_eq!(selection.names, ["a.b", "axb", "orders", "orders-eu"]);
        let selection = select(&all(), &["__consumer_offsets".into()], true, true).unwrap();
        assert_eq!(selection.missing, ["__consumer_offsets"]);
    }

    #[test]
    fn what_is_missing_is_named_with_what_is_near() {
        let selection = select(&all(), &["oders".into(), "axb".into()], false, true).unwrap();
        assert_eq!((selection.names, selection.missing), (vec!["axb".to_owned()], vec!["oders".to_owned()]));
        assert_eq!(does_not_exist("oders", &all(), false).to_string(), "topic 'oders' does not exist; did you mean 'orders'?");
    }

    #[test]
    fn patterns_and_names_are_told_apart() {
        assert!(select(&all(), &["orders.*".into()], false, true).unwrap().by_pattern);
        assert!(!select(&all(), &["orders".into()], false, true).unwrap().by_pattern);
        let message = |names_first| select(&all(), &["[a".into()], false, names_first).unwrap_err().to_string();
        assert_eq!(message(false), "[a is an invalid regex.");
        assert_eq!(message(true), "[a is an invalid regex; unclosed character class");
    }
}
