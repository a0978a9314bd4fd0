//! Is an expression valid in RE2's syntax, which brokers use for the subscriptions of KIP-848 consumers, and if not, why?
//!
//! Only the syntax is checked, in RE2/J's words and order of discovery; nothing is matched. Differs: a range of a multi-part class
//! is checked at its ends only.
//! Source: `com.google.re2j.Parser`, https://github.com/google/re2/wiki/Syntax.

const BAD_CLASS_RANGE: &str = "invalid character class range";
const BAD_ESCAPE: &str = "invalid escape sequence";
const BAD_NAMED_CAPTURE: &str = "invalid named capture";
const BAD_PERL: &str = "invalid or unsupported Perl syntax";
const BAD_REPEAT_ARGUMENT: &str = "missing argument to repetition operator";
const BAD_REPEAT_COUNT: &str = "invalid repeat count";
const DUPLICATE_NAME: &str = "duplicate capture group name";
const INTERNAL: &str = "regexp/syntax: internal error";
const MISSING_BRACKET: &str = "missing closing ]";
const MISSING_PAREN: &str = "missing closing )";
const NESTED_REPEAT: &str = "invalid nested repetition operator";
const TRAILING_BACKSLASH: &str = "trailing backslash at end of expression";

/// RE2 refuses to repeat anything more often.
const MOST_REPEATS: u32 = 1000;

/// What stands before the next character, as far as repetition is concerned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    Atom,
    Repetition,
}

struct Scanner<'a> {
    rest: &'a str,
    open_groups: usize,
    names: Vec<String>,
    before: Before,
}

/// `Ok` when the expression is valid, else the reason.
pub(super) fn check(expression: &str) -> Result<(), &'static str> {
    let mut scanner = Scanner { rest: expression, open_groups: 0, names: Vec::new(), before: Before::Nothing };
    while let Some(next) = scanner.rest.chars().next() {
        scanner.step(next)?;
    }
    if scanner.open_groups > 0 { Err(MISSING_PAREN) } else { Ok(()) }
}

impl Scanner<'_> {
    fn take(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.rest = &self.rest[next.len_utf8()..];
        Some(next)
    }

    fn take_prefix(&mut self, prefix: &str) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn step(&mut self, next: char) -> Result<(), &'static str> {
        match next {
            '(' => {
                self.take();
                self.group()
            }
            ')' => {
                self.take();
                // RE2/J has no better word for it.
                self.open_groups = self.open_groups.checked_sub(1).ok_or(INTERNAL)?;
                self.before = Before::Atom;
                Ok(())
            }
            '|' => {
                self.take();
                self.before = Before::Nothing;
                Ok(())
            }
            '[' => {
                self.take();
                self.before = Before::Atom;
                self.class()
            }
            '*' | '+' | '?' => {
                self.take();
                self.repetition()
            }
            '{' => match self.counts() {
                Some((min, max)) => {
                    if min > MOST_REPEATS || max.is_some_and(|max| max > MOST_REPEATS || max < min) {
                        return Err(BAD_REPEAT_COUNT);
                    }
                    self.repetition()
                }
                // A brace that is no count stands for itself.
                None => {
                    self.take();
                    self.before = Before::Atom;
                    Ok(())
                }
            },
            '\\' => {
                self.take();
                self.before = Before::Atom;
                if self.take_prefix("Q") {
                    let end = self.rest.find("\\E");
                    self.rest = end.map_or("", |end| &self.rest[end + 2..]);
                    return Ok(());
                }
                if self.rest.starts_with(['A', 'b', 'B', 'z']) {
                    self.take();
                    return Ok(());
                }
                self.escape().map(|_| ())
            }
            _ => {
                self.take();
                self.before = Before::Atom;
                Ok(())
            }
        }
    }

    /// After an operator that repeats what was before it.
    fn repetition(&mut self) -> Result<(), &'static str> {
        match self.before {
            Before::Nothing => return Err(BAD_REPEAT_ARGUMENT),
            Before::Repetition => return Err(NESTED_REPEAT),
            Before::Atom => {}
        }
        self.take_prefix("?");
        self.before = Before::Repetition;
        Ok(())
    }

    /// `{2}`, `{2,}`, `{2,3}`; a number too long for the limit is just too large. `None`, and nothing taken, for anything else.
    fn counts(&mut self) -> Option<(u32, Option<u32>)> {
        let inner = self.rest.strip_prefix('{')?;
        let end = inner.find('}')?;
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
            digits.then(|| text.parse().unwrap_or(u32::MAX))
        };
        let counts = match inner[..end].split_once(',') {
            None => number(&inner[..end]).map(|count| (count, Some(count))),
            Some((min, "")) => number(min).map(|min| (min, None)),
            Some((min, max)) => Some((number(min)?, Some(number(max)?))),
        }?;
        self.rest = &inner[end + 1..];
        Some(counts)
    }

    /// After `(`.
    fn group(&mut self) -> Result<(), &'static str> {
        self.before = Before::Nothing;
        if !self.take_prefix("?") {
            self.open_groups += 1;
            return Ok(());
        }
        if self.take_prefix("P<") || self.take_prefix("<") {
            let end = self.rest.find('>').ok_or(BAD_NAMED_CAPTURE)?;
            let name = &self.rest[..end];
            if name.is_empty() || !name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()) {
                return Err(BAD_NAMED_CAPTURE);
            }
            if self.names.iter().any(|other| other == name) {
                return Err(DUPLICATE_NAME);
            }
            self.names.push(name.to_owned());
            self.rest = &self.rest[end + 1..];
            self.open_groups += 1;
            return Ok(());
        }
        // Flags, then either the end of the group or its content.
        let (mut minus, mut flags_since_minus) = (false, true);
        loop {
            match self.take() {
                Some('i' | 'm' | 's' | 'U') => flags_since_minus = true,
                Some('-') if !minus => (minus, flags_since_minus) = (true, false),
                Some(':') if flags_since_minus => {
                    self.open_groups += 1;
                    return Ok(());
                }
                Some(')') if flags_since_minus => return Ok(()),
                _ => return Err(BAD_PERL),
            }
        }
    }

    /// After `[`.
    fn class(&mut self) -> Result<(), &'static str> {
        self.take_prefix("^");
        let mut first = true;
        loop {
            if self.rest.is_empty() {
                return Err(MISSING_BRACKET);
            }
            if !first && self.take_prefix("]") {
                return Ok(());
            }
            first = false;
            if let Some(rest) = self.rest.strip_prefix("[:")
                && let Some(end) = rest.find(":]")
            {
                let name = rest[..end].trim_start_matches('^');
                if !POSIX_CLASSES.contains(&name) {
                    return Err(BAD_CLASS_RANGE);
                }
                self.rest = &rest[end + 2..];
                continue;
            }
            if let Some(rest) = self.rest.strip_prefix('\\')
                && rest.starts_with(['d', 'D', 's', 'S', 'w', 'W', 'p', 'P'])
            {
                self.take();
                self.escape()?;
                continue;
            }
            let low = self.class_character()?;
            // A hyphen before the end stands for itself.
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") {
                self.take();
                let high = self.class_character()?;
                if high < low {
                    return Err(BAD_CLASS_RANGE);
                }
            }
        }
    }

    fn class_character(&mut self) -> Result<char, &'static str> {
        match self.take() {
            None => Err(MISSING_BRACKET),
            Some('\\') => match self.rest.chars().next() {
                // Whole classes are no end of a range.
                Some('d' | 'D' | 's' | 'S' | 'w' | 'W' | 'p' | 'P') => Err(BAD_ESCAPE),
                _ => self.escape()?.ok_or(BAD_ESCAPE),
            },
            Some(character) => Ok(character),
        }
    }

    /// After `\`: the character it stands for, or `None` for a class.
    fn escape(&mut self) -> Result<Option<char>, &'static str> {
        let character = self.take().ok_or(TRAILING_BACKSLASH)?;
        match character {
            'd' | 'D' | 's' | 'S' | 'w' | 'W' => Ok(None),
            'p' | 'P' => {
                let name = if self.take_prefix("{") {
                    let end = self.rest.find('}').ok_or(BAD_CLASS_RANGE)?;
                    let name = self.rest[..end].to_owned();
                    self.rest = &self.rest[end + 1..];
                    name
                } else {
                    self.take().ok_or(BAD_CLASS_RANGE)?.to_string()
                };
                let name = name.trim_start_matches('^');
                match name == "Any" || regex::Regex::new(&format!("\\p{{{name}}}")).is_ok() {
                    true => Ok(None),
                    false => Err(BAD_CLASS_RANGE),
                }
            }
            'a' => Ok(Some('\x07')),
            'f' => Ok(Some('\x0c')),
            'n' => Ok(Some('\n')),
            'r' => Ok(Some('\r')),
            't' => Ok(Some('\t')),
            'v' => Ok(Some('\x0b')),
            'x' => self.hexadecimal().map(Some),
            // An octal number begins with 0, or has a second digit; a lone digit would be a reference back, which RE2 has not.
            '0'..='7' => {
                let octal = |c: char| c.is_digit(8);
                if character != '0' && !self.rest.starts_with(octal) {
                    return Err(BAD_ESCAPE);
                }
                let mut code = character.to_digit(8).unwrap_or(0);
                for _ in 0..2 {
                    match self.rest.chars().next().and_then(|next| next.to_digit(8)) {
                        Some(digit) => {
                            code = code * 8 + digit;
                            self.take();
                        }
                        None => break,
                    }
                }
                Ok(char::from_u32(code))
            }
            other if other.is_ascii_alphanumeric() => Err(BAD_ESCAPE),
            other => Ok(Some(other)),
        }
    }

    /// After `\x`: two digits, or any number of them in braces.
    fn hexadecimal(&mut self) -> Result<char, &'static str> {
        let digits = if self.take_prefix("{") {
            let end = self.rest.find('}').ok_or(BAD_ESCAPE)?;
            let digits = &self.rest[..end];
            self.rest = &self.rest[end + 1..];
            digits
        } else {
            let digits = self.rest.get(..2).ok_or(BAD_ESCAPE)?;
            self.rest = &self.rest[2..];
            digits
        };
        let code = if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) { u32::from_str_radix(digits, 16).ok() } else { None };
        code.and_then(char::from_u32).ok_or(BAD_ESCAPE)
    }
}

const POSIX_CLASSES: [&str; 14] =
    ["alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word", "xdigit"];

#[cfg(test)]
mod tests {
    use super::*;

    /// What Kafka 4.3's tool says to each.
    #[test]
    fn verdicts_are_kafkas() {
        let valid = [
            "a{",
            "a{1",
            "a{,3}",
            "(?<n>a)",
            r"\Qa.b\E",
            "a+?",
            "[]a]",
            "[a&&b]",
            r"\z",
            r"\p{Greek}",
            "a||b",
            "",
            "$^",
            "{",
            "x{3}y{",
            r"\_",
            r"\-",
            r"\ ",
            "orders-.*",
            "(?i)a|(?:b)",
            "[[:alpha:]-z]",
            r"[\d\-x]",
            r"\012",
        ];
        for expression in valid {
            assert_eq!(check(expression), Ok(()), "{expression}");
        }
        let invalid = [
            (")", INTERNAL),
            ("a)", INTERNAL),
            ("(a", MISSING_PAREN),
            ("*a", BAD_REPEAT_ARGUMENT),
            ("a**", NESTED_REPEAT),
            ("a{2,1}", BAD_REPEAT_COUNT),
            ("a{1001}", BAD_REPEAT_COUNT),
            ("[b-a]", BAD_CLASS_RANGE),
            (r"\", TRAILING_BACKSLASH),
            (r"\8", BAD_ESCAPE),
            (r"\1", BAD_ESCAPE),
            (r"\q", BAD_ESCAPE),
            ("(?P<n>a)(?P<n>b)", DUPLICATE_NAME),
            ("(?P<>a)", BAD_NAMED_CAPTURE),
            ("(?P<n", BAD_NAMED_CAPTURE),
            ("[[:foo:]]", BAD_CLASS_RANGE),
            (r"\pX", BAD_CLASS_RANGE),
            ("(?z)a", BAD_PERL),
            ("(?i", BAD_PERL),
            ("(?", BAD_PERL),
            (r"\C", BAD_ESCAPE),
            ("a{1}{2}", NESTED_REPEAT),
            ("a++", NESTED_REPEAT),
            (r"\Z", BAD_ESCAPE),
            (r"\p{Foo}", BAD_CLASS_RANGE),
            ("(?!a)", BAD_PERL),
            ("(?=a)b", BAD_PERL),
            ("(?<=a)", BAD_NAMED_CAPTURE),
            (r"\x{110000}", BAD_ESCAPE),
            (r"\xZ", BAD_ESCAPE),
            ("[^", MISSING_BRACKET),
            ("[a", MISSING_BRACKET),
            ("[a-", MISSING_BRACKET),
            (r"[a-\d]", BAD_ESCAPE),
        ];
        for (expression, reason) in invalid {
            assert_eq!(check(expression), Err(reason), "{expression}");
        }
    }
}
