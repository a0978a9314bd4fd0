//! From a line to a record: key, headers and value by their separators.
//!
//! Invariant: what is found where, and the texts of the errors, are Kafka's; bytes that are not UTF-8 pass through unchanged (with
//! Kafka's tool each becomes U+FFFD).
//! Source: `org.apache.kafka.tools.LineMessageReader`.

use std::collections::BTreeMap;

use bytes::Bytes;
use memchr::memmem::Finder;
use regex::bytes::Regex;

use crate::protocol::batch::RecordHeader;
use crate::tools::exit::Failure;

/// How lines are taken apart.
#[derive(Clone, Debug)]
pub(super) struct LineReader {
    key_separator: Option<Finder<'static>>,
    headers_delimiter: Option<Finder<'static>>,
    /// Kafka takes this one for a regular expression.
    headers_separator: Regex,
    headers_key_separator: Finder<'static>,
    null_marker: Option<Vec<u8>>,
    ignore_error: bool,
}

/// A line taken apart. Its headers are in the list that was passed along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ParsedLine<'a> {
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
}

impl LineReader {
    /// From the reader's properties; unknown ones have no effect.
    pub(super) fn new(properties: &BTreeMap<String, String>) -> Result<LineReader, Failure> {
        let is_true = |name: &str| properties.get(name).is_some_and(|value| value.trim().eq_ignore_ascii_case("true"));
        let text = |name: &str, default| properties.get(name).map_or(default, String::as_str);
        let key_separator = text("key.separator", "\t");
        let headers_delimiter = text("headers.delimiter", "\t");
        let headers_separator = text("headers.separator", ",");
        let headers_key_separator = text("headers.key.separator", ":");
        let null_marker = properties.get("null.marker").map(String::as_str);
        let pattern = Regex::new(headers_separator).map_err(|_| {
            Failure::new(format!("headers.separator={headers_separator} is no regular expression"))
                .advise("put a backslash before a character that has a meaning there")
        })?;
        let distinct = [
            ("headers.delimiter", headers_delimiter, "headers.separator", Some(headers_separator)),
            ("headers.delimiter", headers_delimiter, "headers.key.separator", Some(headers_key_separator)),
            ("headers.separator", headers_separator, "headers.key.separator", Some(headers_key_separator)),
            ("null.marker", key_separator, "key.separator", null_marker),
            ("null.marker", headers_separator, "headers.separator", null_marker),
            ("null.marker", headers_delimiter, "headers.delimiter", null_marker),
            ("null.marker", headers_key_separator, "headers.key.separator", null_marker),
        ];
        if let Some((one, _, other, _)) = distinct.into_iter().find(|(_, one, _, other)| Some(*one) == *other) {
            return Err(Failure::new(format!("{one} and {other} may not be equal")));
        }
        let finder = |text: &str| Finder::new(text).into_owned();
        Ok(LineReader {
            key_separator: is_true("parse.key").then(|| finder(key_separator)),
            headers_delimiter: is_true("parse.headers").then(|| finder(headers_delimiter)),
            headers_separator: pattern,
            headers_key_separator: finder(headers_key_separator),
            null_marker: null_marker.map(|marker| marker.as_bytes().to_vec()),
            ignore_error: is_true("ignore.error"),
        })
    }

    pub(super) fn parses_keys(&self) -> bool {
        self.key_separator.is_some()
    }

    /// Takes line `number`, counted from 1, apart; its headers are added to `headers`.
    pub(super) fn parse<'a>(&self, line: &'a [u8], number: u64, headers: &mut Vec<RecordHeader>) -> Result<ParsedLine<'a>, Failure> {
        let mut rest = line;
        let listed = match &self.headers_delimiter {
            Some(delimiter) => self.cut(line, &mut rest, delimiter, "headers delimiter", number)?,
            None => None,
        };
        let key = match &self.key_separator {
            Some(separator) => self.cut(line, &mut rest, separator, "key separator", number)?,
            None => None,
        };
        if let Some(listed) = listed.filter(|listed| !self.is_null(listed)) {
            for pair in self.split(listed) {
                headers.push(self.header(pair, number)?);
            }
        }
        Ok(ParsedLine { key: key.filter(|key| !self.is_null(key)), value: Some(rest).filter(|value| !self.is_null(value)) })
    }

    fn is_null(&self, field: &[u8]) -> bool {
        self.null_marker.as_deref() == Some(field)
    }

    /// Takes what stands before a separator, and the separator, off the front of `rest`.
    fn cut<'a>(
        &self,
        line: &[u8],
        rest: &mut &'a [u8],
        separator: &Finder<'_>,
        name: &str,
        number: u64,
    ) -> Result<Option<&'a [u8]>, Failure> {
        match separator.find(rest) {
            Some(at) => {
                let field = &rest[..at];
                *rest = &rest[at + separator.needle().len()..];
                Ok(Some(field))
            }
            None if self.ignore_error => Ok(None),
            None => Err(Failure::new(format!("No {name} found on line number {number}: '{}'", String::from_utf8_lossy(line)))),
        }
    }

    /// Java's `Pattern.split`: nothing empty at the end, and no match means one part.
    fn split<'a>(&self, list: &'a [u8]) -> Vec<&'a [u8]> {
        let mut parts = Vec::new();
        let mut start = 0;
        for found in self.headers_separator.find_iter(list) {
            if found.start() == 0 && found.is_empty() {
                continue;
            }
            parts.push(&list[start..found.start()]);
            start = found.end();
        }
        if parts.is_empty() {
            return vec![list];
        }
        parts.push(&list[start..]);
        while parts.last().is_some_and(|part| part.is_empty()) {
            parts.pop();
        }
        parts
    }

    fn header(&self, pair: &[u8], number: u64) -> Result<RecordHeader, Failure> {
        let Some(at) = self.headers_key_separator.find(pair) else {
            if self.ignore_error {
                return Ok(RecordHeader { key: Bytes::copy_from_slice(pair), value: None });
            }
            let pair = String::from_utf8_lossy(pair);
            return Err(Failure::new(format!("No header key separator found in pair '{pair}' on line number {number}")));
        };
        let key = &pair[..at];
        if self.is_null(key) {
            let marker = String::from_utf8_lossy(key);
            let message = format!("Header keys should not be equal to the null marker '{marker}' as they can't be null");
            return Err(Failure::new(message));
        }
        let value = Some(&pair[at + self.headers_key_separator.needle().len()..]).filter(|value| !self.is_null(value));
        Ok(RecordHeader { key: Bytes::copy_from_slice(key), value: value.map(Bytes::copy_from_slice) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(properties: &[(&str, &str)]) -> Result<LineReader, String> {
        let properties = properties.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        LineReader::new(&properties).map_err(|failure| failure.to_string())
    }

    /// `headers | key | value`, null as `-`.
    fn parsed(properties: &[(&str, &str)], line: &str) -> Result<String, String> {
        let mut headers = Vec::new();
        let parsed = reader(properties)?.parse(line.as_bytes(), 4, &mut headers).map_err(|failure| failure.to_string())?;
        let text = |bytes: Option<&[u8]>| bytes.map_or("-".to_owned(), |bytes| String::from_utf8_lossy(bytes).into_owned());
        let headers: Vec<String> =
            headers.iter().map(|header| format!("{}={}", text(Some(&header.key)), text(header.value.as_deref()))).collect();
        Ok(format!("{} | {} | {}", headers.join(" "), text(parsed.key), text(parsed.value)))
    }

    fn ok(text: &str) -> Result<String, String> {
        Ok(text.to_owned())
    }

    const KEY: (&str, &str) = ("parse.key", " True ");
    const HEADERS: (&str, &str) = ("parse.headers", "true");

    #[test]
    fn a_line_is_a_value_unless_told_otherwise() {
        assert_eq!(parsed(&[], "a\tb:c"), ok(" | - | a\tb:c"));
        assert_eq!(parsed(&[], ""), ok(" | - | "));
        assert_eq!(parsed(&[("key.separator", ":"), ("parse.key", "yes")], "a:b"), ok(" | - | a:b"));
    }

    #[test]
    fn a_key_stands_before_the_first_separator() {
        assert_eq!(parsed(&[KEY], "k\tv\tw"), ok(" | k | v\tw"));
        assert_eq!(parsed(&[KEY], "\tv"), ok(" |  | v"));
        assert_eq!(parsed(&[KEY, ("key.separator", "=>")], "k=>"), ok(" | k | "));
        assert_eq!(parsed(&[KEY, ("key.separator", "")], "kv"), ok(" |  | kv"));
        assert_eq!(parsed(&[KEY], "none"), Err("No key separator found on line number 4: 'none'".to_owned()));
        assert_eq!(parsed(&[KEY, ("ignore.error", "true")], "none"), ok(" | - | none"));
    }

    #[test]
    fn headers_stand_before_key_and_value() {
        assert_eq!(parsed(&[HEADERS, KEY], "a:1,a:2\tk\tv"), ok("a=1 a=2 | k | v"));
        assert_eq!(parsed(&[HEADERS], "a:b:c,:\tv"), ok("a=b:c = | - | v"));
        assert_eq!(parsed(&[HEADERS], "a:1,,\tv"), ok("a=1 | - | v"));
        assert_eq!(parsed(&[HEADERS], ",\tv"), ok(" | - | v"));
        assert_eq!(parsed(&[HEADERS], "v"), Err("No headers delimiter found on line number 4: 'v'".to_owned()));
        assert_eq!(parsed(&[HEADERS], "\tv"), Err("No header key separator found in pair '' on line number 4".to_owned()));
        assert_eq!(parsed(&[HEADERS, KEY], "a:1\tk"), Err("No key separator found on line number 4: 'a:1\tk'".to_owned()));
        let forgiving = ("ignore.error", "true");
        assert_eq!(parsed(&[HEADERS, forgiving], "a,b:1\tv"), ok("a=- b=1 | - | v"));
        assert_eq!(parsed(&[HEADERS, KEY, forgiving], "a:1\tk"), ok("a=1 | - | k"));
        assert_eq!(parsed(&[HEADERS, ("headers.separator", "[;|]")], "a:1;b:2|c:3\tv"), ok("a=1 b=2 c=3 | - | v"));
        assert_eq!(parsed(&[HEADERS, ("headers.separator", ""), forgiving], "ab\tv"), ok("a=- b=- | - | v"));
    }

    #[test]
    fn the_marker_stands_for_null() {
        let marker = ("null.marker", "NULL");
        assert_eq!(parsed(&[HEADERS, KEY, marker], "NULL\tNULL\tNULL"), ok(" | - | -"));
        assert_eq!(parsed(&[HEADERS, KEY, marker], "a:NULL\tk\tNULL?"), ok("a=- | k | NULL?"));
        assert_eq!(
            parsed(&[HEADERS, marker], "NULL:1\tv"),
            Err("Header keys should not be equal to the null marker 'NULL' as they can't be null".to_owned())
        );
    }

    #[test]
    fn separators_may_not_be_equal() {
        let refused = |properties: &[(&str, &str)]| reader(properties).unwrap_err();
        assert_eq!(refused(&[("headers.delimiter", ",")]), "headers.delimiter and headers.separator may not be equal");
        assert_eq!(refused(&[("headers.delimiter", ":")]), "headers.delimiter and headers.key.separator may not be equal");
        assert_eq!(refused(&[("headers.separator", ":")]), "headers.separator and headers.key.separator may not be equal");
        assert_eq!(refused(&[("null.marker", "\t")]), "null.marker and key.separator may not be equal");
        assert_eq!(refused(&[("null.marker", ",")]), "null.marker and headers.separator may not be equal");
        assert_eq!(refused(&[("null.marker", "\t"), ("key.separator", ";")]), "null.marker and headers.delimiter may not be equal");
        assert_eq!(refused(&[("null.marker", ":")]), "null.marker and headers.key.separator may not be equal");
        assert!(refused(&[("headers.separator", "[")]).starts_with("headers.separator=[ is no regular expression"));
    }

    #[test]
    fn bytes_that_are_not_utf8_pass() {
        let mut headers = Vec::new();
        let reader = reader(&[KEY, HEADERS]).unwrap();
        let parsed = reader.parse(b"\xff:\xfe\t\xfd\t\xfc", 1, &mut headers).unwrap();
        assert_eq!(parsed, ParsedLine { key: Some(b"\xfd"), value: Some(b"\xfc") });
        assert_eq!(headers, [RecordHeader { key: Bytes::from_static(b"\xff"), value: Some(Bytes::from_static(b"\xfe")) }]);
    }
}
