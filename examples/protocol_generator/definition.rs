//! The definition files: what a message is made of, one line a field.
//!
//! ```text
//! request FetchRequest key=1 versions=4-18 flexible=12+ listeners=broker,controller
//!   struct Voter 0+                                    a structure that several fields share
//!     VoterId: int32 0+
//!   ClusterId: string 12+ nullable=12+ tag=0@12+ default=null ignorable
//!   Topics: []FetchTopic 0+                            a structure of its own: its fields follow, indented
//!     Topic: string 0-12 ignorable
//! ```
//!
//! `request`, `response`, `header`, `metadata`, `coordinator-key`, `coordinator-value` and `data` are the kinds; `ignorable` lets a
//! version that lacks the field drop it; `key` marks the key of a map; `flexible=none` keeps a field out of compact encoding.

use std::collections::BTreeMap;
use std::path::Path;

/// First and last version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) min: i16,
    pub(crate) max: i16,
}

impl Versions {
    pub(crate) const NONE: Versions = Versions { min: 0, max: -1 };

    fn parse(text: &str) -> Result<Versions, String> {
        let number = |text: &str| text.parse::<i16>().map_err(|_| format!("not a version: {text}"));
        if text == "none" {
            Ok(Versions::NONE)
        } else if let Some(min) = text.strip_suffix('+') {
            Ok(Versions { min: number(min)?, max: i16::MAX })
        } else if let Some((min, max)) = text.split_once('-') {
            Ok(Versions { min: number(min)?, max: number(max)? })
        } else {
            number(text).map(|only| Versions { min: only, max: only })
        }
    }

    pub(crate) fn is_none(self) -> bool {
        self.min > self.max
    }

    pub(crate) fn covers(self, other: Versions) -> bool {
        self.min <= other.min && other.max <= self.max
    }

    pub(crate) fn intersect(self, other: Versions) -> Versions {
        Versions { min: self.min.max(other.min), max: self.max.min(other.max) }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) api_key: Option<i16>,
    pub(crate) versions: Versions,
    pub(crate) flexible: Versions,
    pub(crate) listeners: Vec<String>,
    pub(crate) unstable: bool,
    pub(crate) fields: Vec<Field>,
    /// Every structure by name: shared ones and those of single fields.
    pub(crate) structs: BTreeMap<String, Vec<Field>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) type_: Type,
    pub(crate) versions: Versions,
    pub(crate) nullable: Versions,
    pub(crate) tag: Option<(u32, Versions)>,
    pub(crate) default: Option<String>,
    pub(crate) ignorable: bool,
    pub(crate) never_flexible: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Scalar(String),
    String,
    Bytes,
    Records,
    Struct(String),
    Array(Box<Type>),
}

impl Type {
    fn parse(text: &str) -> Type {
        if let Some(element) = text.strip_prefix("[]") {
            return Type::Array(Box::new(Type::parse(element)));
        }
        match text {
            "string" => Type::String,
            "bytes" => Type::Bytes,
            "records" => Type::Records,
            name if name.starts_with(|c: char| c.is_ascii_uppercase()) => Type::Struct(name.to_owned()),
            scalar => Type::Scalar(scalar.to_owned()),
        }
    }

    pub(crate) fn struct_name(&self) -> Option<&str> {
        match self {
            Type::Struct(name) => Some(name),
            Type::Array(element) => element.struct_name(),
            _ => None,
        }
    }
}

/// All messages of a folder of definitions, sorted by name.
pub(crate) fn read(folder: &Path) -> Result<Vec<Message>, String> {
    let mut messages = Vec::new();
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path.extension().is_some_and(|extension| extension == "def") {
            let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            messages.extend(parse(&text).map_err(|error| format!("{}: {error}", path.display()))?);
        }
    }
    messages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(messages)
}

struct Line<'a> {
    number: usize,
    indent: usize,
    words: Vec<&'a str>,
}

fn parse(text: &str) -> Result<Vec<Message>, String> {
    let lines: Vec<Line<'_>> = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|(number, line)| Line {
            number: number + 1,
            indent: (line.len() - line.trim_start().len()) / 2,
            words: line.split_whitespace().collect(),
        })
        .collect();
    let mut rest = lines.as_slice();
    let mut messages = Vec::new();
    while let Some((head, after)) = rest.split_first() {
        let body_len = after.iter().take_while(|line| line.indent > 0).count();
        let (body, next) = after.split_at(body_len);
        messages.push(message(head, body).map_err(|(number, error)| format!("line {number}: {error}"))?);
        rest = next;
    }
    Ok(messages)
}

type LineError = (usize, String);

fn message(head: &Line<'_>, body: &[Line<'_>]) -> Result<Message, LineError> {
    let at = |error: String| (head.number, error);
    let [kind, name, attributes @ ..] = head.words.as_slice() else { return Err(at("a kind and a name are wanted".into())) };
    let mut message = Message {
        kind: (*kind).to_owned(),
        name: (*name).to_owned(),
        api_key: None,
        versions: Versions::NONE,
        flexible: Versions::NONE,
        listeners: Vec::new(),
        unstable: false,
        fields: Vec::new(),
        structs: BTreeMap::new(),
    };
    for attribute in attributes {
        match attribute.split_once('=') {
            Some(("key", key)) => message.api_key = Some(key.parse().map_err(|_| at(format!("not a key: {key}")))?),
            Some(("versions", versions)) => message.versions = Versions::parse(versions).map_err(at)?,
            Some(("flexible", versions)) => message.flexible = Versions::parse(versions).map_err(at)?,
            Some(("listeners", names)) => message.listeners = names.split(',').map(str::to_owned).collect(),
            None if *attribute == "unstable" => message.unstable = true,
            _ => return Err(at(format!("unknown attribute {attribute}"))),
        }
    }
    let mut body = body;
    message.fields = fields(&mut body, 1, &mut message.structs)?;
    Ok(message)
}

/// The fields at one depth of indentation; what they contain goes into `structs`.
fn fields(lines: &mut &[Line<'_>], indent: usize, structs: &mut BTreeMap<String, Vec<Field>>) -> Result<Vec<Field>, LineError> {
    let mut result = Vec::new();
    while let Some((line, rest)) = lines.split_first().filter(|(line, _)| line.indent == indent) {
        *lines = rest;
        if let ["struct", name, ..] = line.words.as_slice() {
            let inner = fields(lines, indent + 1, structs)?;
            structs.insert((*name).to_owned(), inner);
            continue;
        }
        let field = field(line).map_err(|error| (line.number, error))?;
        let inner = fields(lines, indent + 1, structs)?;
        if let Some(name) = field.type_.struct_name()
            && !inner.is_empty()
        {
            structs.insert(name.to_owned(), inner);
        }
        result.push(field);
    }
    Ok(result)
}

fn field(line: &Line<'_>) -> Result<Field, String> {
    let [name, type_, versions, attributes @ ..] = line.words.as_slice() else {
        return Err("a name, a type and versions are wanted".into());
    };
    let mut field = Field {
        name: name.strip_suffix(':').ok_or("a colon is wanted after the name")?.to_owned(),
        type_: Type::parse(type_),
        versions: Versions::parse(versions)?,
        nullable: Versions::NONE,
        tag: None,
        default: None,
        ignorable: false,
        never_flexible: false,
    };
    for attribute in attributes {
        match attribute.split_once('=') {
            Some(("nullable", versions)) => field.nullable = Versions::parse(versions)?,
            Some(("tag", tag)) => {
                let (number, versions) = tag.split_once('@').ok_or("tag=NUMBER@VERSIONS is wanted")?;
                field.tag = Some((number.parse().map_err(|_| "not a tag number")?, Versions::parse(versions)?));
            }
            Some(("default", text)) => field.default = Some(text.trim_matches('"').to_owned()),
            Some(("flexible", "none")) => field.never_flexible = true,
            None if *attribute == "ignorable" => field.ignorable = true,
            None if *attribute == "key" => {}
            _ => return Err(format!("unknown attribute {attribute}")),
        }
    }
    Ok(field)
}
