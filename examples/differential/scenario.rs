//! Scenario files: a line a request. JSON without the quotes that nothing needs.
//!
//! ```text
//! # a comment
//! == topics with odd names                                 a section; the list of differences can name it
//! defaults CreateTopics {timeoutMs: 30000}                 fields of every such request from here on
//! CreateTopics 2-7 {topics: [{name: odd-$version, numPartitions: 1, replicationFactor: 1}]}
//! JoinGroup 9 {groupId: g} => member=memberId              captures `$member` from the answer
//! two: JoinGroup 9 {groupId: g} send                       on a connection of its own, the answer is read later
//! two: receive => other=memberId
//! two: close
//! ConsumerGroupHeartbeat 1 {…} until assignment            asked until the answer has it; nothing is compared
//! Metadata * {topics: null}                                once for each version that both brokers serve
//! ```
//!
//! Versions: a number, `a-b`, `*`, `min`, `max`; a number may be one that nobody serves. `$version` is the one in use. A line that begins
//! with a blank goes on where the one before ended. `now` behind a body takes the first answer, also one that says "not yet".
//! Values that begin with `@` stand for bytes, see [`crate::special`].

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use crate::special;

/// One line.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// `groups.txt:12`
    pub(crate) place: String,
    pub(crate) section: String,
    pub(crate) connection: String,
    pub(crate) action: Action,
    /// Variable and path in the answer.
    pub(crate) captures: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
pub(crate) enum Action {
    Ask {
        request: Request,
        only_send: bool,
        now: bool,
        /// A path that the answer must have.
        until: Option<String>,
    },
    Receive,
    Close,
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) api: String,
    pub(crate) versions: VersionChoice,
    pub(crate) body: Value,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum VersionChoice {
    All,
    Lowest,
    Highest,
    Range(i16, i16),
}

/// The steps of one file.
pub(crate) fn read(path: &Path) -> Result<Vec<Step>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let mut section = String::new();
    let mut defaults: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let mut steps = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let mut whole = line.to_owned();
        while let Some((_, more)) = lines.next_if(|(_, next)| next.starts_with(' ')) {
            whole.push_str(more);
        }
        let place = format!("{name}:{}", number + 1);
        if let Some(title) = whole.strip_prefix("== ") {
            section = title.trim().to_owned();
        } else if let Some(rest) = whole.strip_prefix("defaults ") {
            let (api, body) = rest.split_once(' ').ok_or_else(|| format!("{place}: an API and its fields are wanted"))?;
            let body = Parser::whole(body).map_err(|error| format!("{place}: {error}"))?;
            defaults.insert(api.to_owned(), body.as_object().cloned().unwrap_or_default());
        } else {
            steps.push(step(&whole, &place, &section, &defaults).map_err(|error| format!("{place}: {error}"))?);
        }
    }
    Ok(steps)
}

fn step(line: &str, place: &str, section: &str, defaults: &BTreeMap<String, Map<String, Value>>) -> Result<Step, String> {
    let (connection, rest) = match line.split_once(": ") {
        Some((name, rest)) if name.chars().all(char::is_alphanumeric) => (name, rest),
        _ => ("main", line),
    };
    let mut parser = Parser { rest: rest.trim_start() };
    let action = match parser.word() {
        "receive" => Action::Receive,
        "close" => Action::Close,
        api => {
            let versions = versions(parser.word())?;
            let mut body = defaults.get(api).cloned().unwrap_or_default();
            if parser.rest.starts_with('{') {
                body.extend(parser.value()?.as_object().cloned().unwrap_or_default());
            }
            let request = Request { api: api.to_owned(), versions, body: Value::Object(body) };
            let (mut only_send, mut now, mut until) = (false, false, None);
            loop {
                parser.blanks();
                if parser.rest.is_empty() || parser.rest.starts_with("=>") {
                    break;
                }
                match parser.word() {
                    "send" => only_send = true,
                    "now" => now = true,
                    "until" => until = Some(parser.word().to_owned()),
                    other => return Err(format!("what is {other}?")),
                }
            }
            Action::Ask { request, only_send, now, until }
        }
    };
    parser.blanks();
    let captures = match parser.rest.strip_prefix("=>") {
        Some(captures) => captures
            .split_whitespace()
            .map(|capture| capture.split_once('=').map(|(name, path)| (name.to_owned(), path.to_owned())))
            .collect::<Option<_>>()
            .ok_or("a capture is NAME=PATH")?,
        None => Vec::new(),
    };
    Ok(Step { place: place.to_owned(), section: section.to_owned(), connection: connection.to_owned(), action, captures })
}

fn versions(text: &str) -> Result<VersionChoice, String> {
    let number = |text: &str| text.parse::<i16>().map_err(|_| format!("not a version: {text}"));
    Ok(match text {
        "*" => VersionChoice::All,
        "min" => VersionChoice::Lowest,
        "max" => VersionChoice::Highest,
        _ => match text.split_once('-') {
            Some((low, high)) => VersionChoice::Range(number(low)?, number(high)?),
            None => VersionChoice::Range(number(text)?, number(text)?),
        },
    })
}

/// What stands in `value` for `$name`: the variable's value where it is all of a string, its text inside a longer one.
pub(crate) fn substitute(value: &Value, variables: &BTreeMap<String, Value>) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) if text.contains('$') => {
            if let Some(value) = text.strip_prefix('$').and_then(|name| variables.get(name)) {
                return Ok(value.clone());
            }
            let mut parts = text.split('$');
            let mut all = parts.next().unwrap_or_default().to_owned();
            for part in parts {
                let end = part.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(part.len());
                let value = variables.get(&part[..end]).ok_or_else(|| format!("no variable ${}", &part[..end]))?;
                all.push_str(&value.as_str().map_or_else(|| value.to_string(), str::to_owned));
                all.push_str(&part[end..]);
            }
            Value::String(all)
        }
        Value::Array(elements) => elements.iter().map(|element| substitute(element, variables)).collect::<Result<_, _>>()?,
        Value::Object(map) => {
            let map = map.iter().map(|(key, value)| Ok((key.clone(), substitute(value, variables)?))).collect::<Result<_, String>>()?;
            let object = Value::Object(map);
            special::text(&object).map_or(object, Value::String)
        }
        other => other.clone(),
    })
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn whole(text: &str) -> Result<Value, String> {
        Parser { rest: text.trim() }.value()
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Up to the next blank, which is skipped.
    fn word(&mut self) -> &'a str {
        let end = self.rest.find(char::is_whitespace).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        word
    }

    fn take(&mut self, sign: char) -> bool {
        self.blanks();
        match self.rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// A quoted text, or letters up to a sign or a blank.
    fn text(&mut self) -> Result<(String, bool), String> {
        self.blanks();
        if self.rest.starts_with('"') {
            let mut stream = serde_json::Deserializer::from_str(self.rest).into_iter::<String>();
            let text = stream.next().ok_or("a text is wanted")?.map_err(|error| error.to_string())?;
            self.rest = &self.rest[stream.byte_offset()..];
            return Ok((text, true));
        }
        let end = self.rest.find(|c: char| c.is_whitespace() || ",:[]{}\"".contains(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        if word.is_empty() {
            return Err(format!("a value is wanted at: {rest}"));
        }
        self.rest = rest;
        Ok((word.to_owned(), false))
    }

    fn value(&mut self) -> Result<Value, String> {
        if self.take('[') {
            let mut elements = Vec::new();
            while !self.take(']') {
                elements.push(self.value()?);
                self.take(',');
            }
            return Ok(Value::Array(elements));
        }
        if self.take('{') {
            let mut map = Map::new();
            while !self.take('}') {
                let (key, _) = self.text()?;
                if !self.take(':') {
                    return Err(format!("a colon is wanted behind {key}"));
                }
                map.insert(key, self.value()?);
                self.take(',');
            }
            return Ok(Value::Object(map));
        }
        let (word, quoted) = self.text()?;
        if !quoted && word.starts_with('@') {
            return Ok(Value::Object(Map::from_iter([(word, self.value()?)])));
        }
        Ok(match (quoted, word.as_str()) {
            (false, "null") => Value::Null,
            (false, "true") => Value::Bool(true),
            (false, "false") => Value::Bool(false),
            (false, number) if number.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
                number.parse::<i64>().map(Value::from).or_else(|_| number.parse::<f64>().map(Value::from)).unwrap_or(Value::String(word))
            }
            (false, _) => Value::String(word),
            (true, _) => Value::String(word),
        })
    }
}
