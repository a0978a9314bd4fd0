//! Java's `.properties` text: `key=value`, `key: value` or `key value`; `#` and `!` comments; `\` at the end of a line joins it with the
//! next; `\t \n \r \f \uXXXX` escapes. Source: `java.util.Properties.load`.
//!
//! Invariant: keys keep the order of the file, and a later key replaces an earlier one of the same name, as in Java.

use std::collections::BTreeMap;

/// A malformed escape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: malformed \\uXXXX escape")]
pub struct ParsePropertiesError {
    /// Counted from 1; of a joined line, its first.
    pub line: usize,
}

/// Parses a whole file into key and value pairs, sorted by key.
pub fn parse(text: &str) -> Result<BTreeMap<String, String>, ParsePropertiesError> {
    let mut properties = BTreeMap::new();
    let mut lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).enumerate();
    while let Some((number, first)) = lines.next() {
        let first = first.trim_start_matches([' ', '\t', '\x0c']);
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = first.to_owned();
        while ends_with_continuation(&logical) {
            logical.pop();
            match lines.next() {
                Some((_, next)) => logical.push_str(next.trim_start_matches([' ', '\t', '\x0c'])),
                None => break,
            }
        }
        let (key, value) = split(&logical);
        let error = ParsePropertiesError { line: number + 1 };
        let key = unescape(key).ok_or_else(|| error.clone())?;
        properties.insert(key, unescape(value).ok_or(error)?);
    }
    Ok(properties)
}

/// Is the number of backslashes at the end odd?
fn ends_with_continuation(line: &str) -> bool {
    line.bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 1
}

/// Splits at the first unescaped `=`, `:` or blank; blanks around one `=` or `:` belong to neither side.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line
        .char_indices()
        .find(|&(_, c)| {
            let ends = !escaped && matches!(c, '=' | ':' | ' ' | '\t' | '\x0c');
            escaped = c == '\\' && !escaped;
            ends
        })
        .map_or(line.len(), |(at, _)| at);
    let blank = [' ', '\t', '\x0c'];
    let rest = line[end..].trim_start_matches(blank);
    let value = rest.strip_prefix(['=', ':']).map_or(rest, |value| value.trim_start_matches(blank));
    (&line[..end], value)
}

fn unescape(text: &str) -> Option<String> {
    let mut result = String::with_capacity(text.len());
    let mut units: Vec<u16> = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let plain = if c != '\\' {
            c
        } else {
            match chars.next() {
                Some('u') => {
                    let hex: String = chars.by_ref().take(4).collect();
                    if hex.len() != 4 {
                        return None;
                    }
                    // Collected as UTF-16, because a character beyond the basic plane is written as two escapes.
                    units.push(u16::from_str_radix(&hex, 16).ok()?);
                    continue;
                }
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\x0c',
                Some(other) => other,
                None => break,
            }
        };
        result.push_str(&String::from_utf16_lossy(&units));
        units.clear();
        result.push(plain);
    }
    result.push_str(&String::from_utf16_lossy(&units));
    Some(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).expect("well-formed").into_iter().collect()
    }

    fn one(key: &str, value: &str) -> Vec<(String, String)> {
        vec![(key.to_owned(), value.to_owned())]
    }

    #[test]
    fn separators_and_blanks_are_javas() {
        for text in ["a=b", "a = b", "a:b", "a b", " a\t:\tb", "a=b\r\n"] {
            assert_eq!(pairs(text), one("a", "b"), "{text:?}");
        }
        assert_eq!(pairs("a"), one("a", ""));
        assert_eq!(pairs("a==b"), one("a", "=b"));
        assert_eq!(pairs("a=b "), one("a", "b "));
    }

    #[test]
    fn comments_continuations_and_escapes() {
        assert_eq!(pairs("# x\n! y\n\na=b,\\\n   c"), one("a", "b,c"));
        assert_eq!(pairs(r"a\=b=c\\d"), one("a=b", r"c\d"));
        assert_eq!(pairs(r"k=\u00e9\ud83d\ude00\t"), one("k", "é😀\t"));
        assert_eq!(parse("x=1\nk=\\u12"), Err(ParsePropertiesError { line: 2 }));
    }

    #[test]
    fn the_last_of_two_equal_keys_wins() {
        assert_eq!(pairs("a=1\na=2"), one("a", "2"));
    }
}
