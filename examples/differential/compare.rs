//! Two answers field by field, after what must differ has been renamed.
//!
//! Renamed: times within a day of now, the brokers' ports and directories. Uuids, ids made of them and ids of fetch sessions are the same
//! when they have met before or when neither has met another. Objects in an array have no order; numbers, texts and records have.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use regex::{Captures, Regex};
use serde_json::{Value, json};

/// A random uuid in either of its texts, with what stands around it.
static RANDOM_ID: LazyLock<Regex> = LazyLock::new(|| {
    let hexadecimal = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
    let pattern = format!("({hexadecimal})|(^|[^A-Za-z0-9_-])([A-Za-z0-9_-]{{22}})($|[^A-Za-z0-9_-])");
    Regex::new(&pattern).unwrap_or_else(|error| panic!("{error}"))
});
static MARKED_ID: LazyLock<Regex> = LazyLock::new(|| Regex::new("<id [^>]*>").unwrap_or_else(|error| panic!("{error}")));
const ZERO_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The fields by which objects in an array are told apart, the first that is there.
const KEYS: &[&str] = &[
    "name",
    "topic",
    "topicName",
    "topicId",
    "groupId",
    "resourceName",
    "logDir",
    "transactionalId",
    "memberId",
    "apiKey",
    "partitionIndex",
    "partition",
    "partitionId",
    "index",
    "nodeId",
    "brokerId",
    "producerId",
    "feature",
    "key",
];

/// What one broker calls things.
pub(crate) struct Names {
    port: u16,
    directory: String,
}

impl Names {
    pub(crate) fn new(port: u16, directory: &str) -> Names {
        Names { port, directory: directory.to_owned() }
    }

    /// The answer with this broker's names replaced by common ones, and ids marked, `<id …>`. Objects in arrays are sorted.
    pub(crate) fn rename(&self, answer: &Value) -> Value {
        let mut answer = self.rename_value("", answer);
        sort(&mut answer);
        answer
    }

    fn rename_value(&self, field: &str, value: &Value) -> Value {
        match value {
            Value::Array(elements) => elements.iter().map(|element| self.rename_value(field, element)).collect(),
            Value::Object(map) => Value::Object(map.iter().map(|(key, value)| (key.clone(), self.rename_value(key, value))).collect()),
            Value::String(text) => json!(self.rename_text(text)),
            Value::Number(number) => match number.as_i64() {
                Some(id) if field == "sessionId" && id != 0 => json!(format!("<id {id}>")),
                Some(time) if is_now(time) => json!("<now>"),
                Some(port) if port == i64::from(self.port) => json!("<port>"),
                Some(port) if port == i64::from(self.port) + 1 => json!("<controller port>"),
                _ => value.clone(),
            },
            other => other.clone(),
        }
    }

    fn rename_text(&self, text: &str) -> String {
        let text = text.replace(&self.directory, "<dir>").replace(&format!(":{}", self.port), ":<port>");
        let text = text.replace(&format!(":{}", self.port + 1), ":<controller port>");
        let mark = |found: &Captures<'_>| {
            let part = |group: usize| found.get(group).map_or("", |part| part.as_str());
            let id = if part(1).is_empty() { part(3) } else { part(1) };
            // Lower case alone is a word that a scenario made up.
            match id == ZERO_ID || !id.contains(|c: char| c.is_ascii_uppercase() || c.is_ascii_digit()) {
                true => found[0].to_owned(),
                false => format!("{}<id {id}>{}", part(2), part(4)),
            }
        };
        RANDOM_ID.replace_all(&text, mark).into_owned()
    }
}

/// Brings the objects of every array into an order that does not depend on ids.
fn sort(value: &mut Value) {
    match value {
        Value::Array(elements) => {
            elements.iter_mut().for_each(sort);
            if elements.iter().all(Value::is_object) && !elements.iter().any(|element| element.get("crc").is_some()) {
                elements.sort_by_cached_key(|element| MARKED_ID.replace_all(&element.to_string(), "<id>").into_owned());
            }
        }
        Value::Object(map) => map.values_mut().for_each(sort),
        _ => {}
    }
}

/// Which of our ids is which of Apache's.
#[derive(Clone, Default)]
pub(crate) struct Pairs {
    ours: HashMap<String, String>,
    apache: HashMap<String, String>,
}

impl Pairs {
    /// True when the texts are the same but for ids, and those are the same as ever.
    fn same(&mut self, ours: &str, apache: &str) -> bool {
        if MARKED_ID.replace_all(ours, "<id>") != MARKED_ID.replace_all(apache, "<id>") {
            return false;
        }
        MARKED_ID.find_iter(ours).zip(MARKED_ID.find_iter(apache)).all(|(ours, apache)| {
            let (ours, apache) = (ours.as_str(), apache.as_str());
            match (self.ours.get(ours), self.apache.get(apache)) {
                (Some(is_apache), Some(is_ours)) => is_apache == apache && is_ours == ours,
                (None, None) => {
                    self.ours.insert(ours.to_owned(), apache.to_owned());
                    self.apache.insert(apache.to_owned(), ours.to_owned());
                    true
                }
                _ => false,
            }
        })
    }
}

fn is_now(time: i64) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    u64::try_from(time).is_ok_and(|time| time.abs_diff(now) < DAY_MS)
}

/// One field that is not the same; `None` is a field or an element that is not there.
#[derive(Clone, Debug)]
pub(crate) struct Difference {
    pub(crate) path: String,
    pub(crate) ours: Option<Value>,
    pub(crate) apache: Option<Value>,
}

/// Every field in which the renamed answers differ.
pub(crate) fn differences(ours: &Value, apache: &Value, pairs: &mut Pairs) -> Vec<Difference> {
    let mut found = Vec::new();
    walk(String::new(), Some(ours), Some(apache), pairs, &mut found);
    found
}

fn walk(path: String, ours: Option<&Value>, apache: Option<&Value>, pairs: &mut Pairs, found: &mut Vec<Difference>) {
    match (ours, apache) {
        (Some(Value::String(ours)), Some(Value::String(apache))) if pairs.same(ours, apache) => {}
        (Some(ours), Some(apache)) if ours == apache && !ours.is_string() && !ours.is_array() && !ours.is_object() => {}
        (Some(Value::Object(ours)), Some(Value::Object(apache))) => {
            let fields: BTreeSet<&String> = ours.keys().chain(apache.keys()).collect();
            for field in fields {
                let dot = if path.is_empty() { "" } else { "." };
                walk(format!("{path}{dot}{field}"), ours.get(field), apache.get(field), pairs, found);
            }
        }
        (Some(Value::Array(ours)), Some(Value::Array(apache))) => {
            let paired;
            let (ours, apache) = match (by_key(ours), by_key(apache)) {
                (Some(ours), Some(apache)) => (ours, apache),
                _ => {
                    paired = pair_up(ours, apache, pairs);
                    (by_position(ours), by_position(&paired))
                }
            };
            let keys: BTreeSet<&String> = ours.keys().chain(apache.keys()).collect();
            for key in keys {
                walk(format!("{path}[{key}]"), ours.get(key).copied(), apache.get(key).copied(), pairs, found);
            }
        }
        _ => found.push(Difference { path, ours: ours.cloned(), apache: apache.cloned() }),
    }
}

/// Apache's elements in the order of ours: those that are the same, but for ids that may be the same, come where ours are.
fn pair_up(ours: &[Value], apache: &[Value], pairs: &Pairs) -> Vec<Value> {
    let mut left: Vec<&Value> = apache.iter().collect();
    let mut places: Vec<Option<Value>> = vec![None; ours.len()];
    let mut known = pairs.clone();
    for (place, ours) in places.iter_mut().zip(ours).filter(|(_, ours)| ours.is_object()) {
        let same = left.iter().position(|apache| {
            let mut trial = known.clone();
            let same = differences(ours, apache, &mut trial).is_empty();
            if same {
                known = trial;
            }
            same
        });
        *place = same.map(|at| left.remove(at).clone());
    }
    let mut rest = left.into_iter().cloned();
    let mut all: Vec<Value> = places.into_iter().filter_map(|place| place.or_else(|| rest.next())).collect();
    all.extend(rest);
    all
}

fn by_key(elements: &[Value]) -> Option<BTreeMap<String, &Value>> {
    // Ids tell elements apart, but are not the same on both sides.
    let tells = |value: Option<&Value>| value.is_some_and(|value| value.as_str().is_none_or(|text| !MARKED_ID.is_match(text)));
    let key = KEYS.iter().find(|key| elements.iter().all(|element| tells(element.get(**key))))?;
    let show = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let map: BTreeMap<String, &Value> = elements.iter().map(|element| (show(&element[*key]), element)).collect();
    (map.len() == elements.len()).then_some(map)
}

fn by_position(elements: &[Value]) -> BTreeMap<String, &Value> {
    elements.iter().enumerate().map(|(at, element)| (format!("{at:03}"), element)).collect()
}

/// `differences.txt`: what may differ, and why.
pub(crate) struct Listed {
    entries: Vec<Entry>,
}

struct Entry {
    line: usize,
    api: String,
    section: String,
    path: String,
    ours: String,
    apache: String,
    sometimes: bool,
    seen: usize,
}

impl Listed {
    /// A line: `API [SECTION] | path | ours | apache | reason`, with `*` for anything; a reason that begins with `sometimes` allows that
    /// the difference does not occur.
    pub(crate) fn read(path: &Path) -> Result<Listed, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut entries = Vec::new();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#')) {
            let columns: Vec<&str> = line.split(" | ").map(str::trim).collect();
            let [request, path, ours, apache, reason] = columns[..] else {
                return Err(format!("differences.txt:{}: five columns are wanted", number + 1));
            };
            let (api, section) = request.split_once(' ').unwrap_or((request, "*"));
            entries.push(Entry {
                line: number + 1,
                api: api.to_owned(),
                section: section.trim_matches(['[', ']']).to_owned(),
                path: path.to_owned(),
                ours: ours.to_owned(),
                apache: apache.to_owned(),
                sometimes: reason.starts_with("sometimes"),
                seen: 0,
            });
        }
        Ok(Listed { entries })
    }

    /// True when the difference is listed; counts it when `count` says so.
    pub(crate) fn covers(&mut self, api: &str, section: &str, difference: &Difference, count: bool) -> bool {
        let (ours, apache) = (show(difference.ours.as_ref()), show(difference.apache.as_ref()));
        let found = self.entries.iter_mut().find(|entry| {
            glob(&entry.api, api)
                && glob(&entry.section, section)
                && glob(&entry.path, &difference.path)
                && glob(&entry.ours, &ours)
                && glob(&entry.apache, &apache)
        });
        found.map(|entry| entry.seen += usize::from(count)).is_some()
    }

    /// How many differences were covered.
    pub(crate) fn seen(&self) -> usize {
        self.entries.iter().map(|entry| entry.seen).sum()
    }

    /// Lines that say what no longer happens.
    pub(crate) fn unseen(&self) -> Vec<String> {
        let unseen = self.entries.iter().filter(|entry| entry.seen == 0 && !entry.sometimes);
        unseen.map(|entry| format!("differences.txt:{}: {} {} is listed but no longer occurs", entry.line, entry.api, entry.path)).collect()
    }
}

/// A value in a line: texts without quotes, `(none)` for what is not there.
pub(crate) fn show(value: Option<&Value>) -> String {
    match value {
        None => "(none)".to_owned(),
        Some(Value::String(text)) => text.replace('\n', " "),
        Some(other) => other.to_string(),
    }
}

/// `*` in the pattern stands for anything.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}
