//! Java's `SimpleDateFormat`, as far as a moment is printed with it: `yyyy-MM-dd HH:mm:ss:SSS`.
//!
//! Left out: the letters for a week's year and number (Y, w, W, F) and for eras in other words than AD; names of days and months are English.

use jiff::Zoned;

/// A pattern that is known to be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DateFormat(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// A letter and how often it stands there.
    Field(char, usize),
}

const LETTERS: &str = "GyuMLdDEaHkKhmsSzZX";

impl DateFormat {
    /// The error is what Java says, or which letter is not known here.
    pub(super) fn parse(pattern: &str) -> Result<DateFormat, String> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut letters = pattern.chars().peekable();
        let mut quoted = false;
        while let Some(letter) = letters.next() {
            match letter {
                '\'' if letters.peek() == Some(&'\'') => {
                    letters.next();
                    text.push('\'');
                }
                '\'' => quoted = !quoted,
                _ if quoted || !letter.is_ascii_alphabetic() => text.push(letter),
                _ if LETTERS.contains(letter) => {
                    if !text.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut text)));
                    }
                    let mut count = 1;
                    while letters.next_if_eq(&letter).is_some() {
                        count += 1;
                    }
                    if letter == 'X' && count > 3 {
                        return Err(format!("invalid ISO 8601 format: length={count}"));
                    }
                    parts.push(Part::Field(letter, count));
                }
                _ => return Err(format!("Illegal pattern character '{letter}'")),
            }
        }
        if quoted {
            return Err("Unterminated quote".to_owned());
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(DateFormat(parts))
    }

    pub(super) fn format(&self, moment: &Zoned) -> String {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Field(letter, count) => field(&mut out, *letter, *count, moment),
            }
        }
        out
    }
}

fn field(out: &mut String, letter: char, count: usize, at: &Zoned) {
    use std::fmt::Write;
    let hour = i32::from(at.hour());
    let number = match letter {
        'y' if count == 2 => i32::from(at.year()) % 100,
        'y' => i32::from(at.year()),
        'u' => i32::from(at.weekday().to_monday_one_offset()),
        'M' | 'L' if count >= 3 => {
            out.push_str(&at.strftime(if count == 3 { "%b" } else { "%B" }).to_string());
            return;
        }
        'M' | 'L' => i32::from(at.month()),
        'd' => i32::from(at.day()),
        'D' => i32::from(at.day_of_year()),
        'H' => hour,
        'k' => {
            if hour == 0 {
                24
            } else {
                hour
            }
        }
        'K' => hour % 12,
        'h' => {
            if hour % 12 == 0 {
                12
            } else {
                hour % 12
            }
        }
        'm' => i32::from(at.minute()),
        's' => i32::from(at.second()),
        'S' => i32::from(at.millisecond()),
        other => {
            let seconds = at.offset().seconds();
            let (sign, minutes) = (if seconds < 0 { '-' } else { '+' }, seconds.unsigned_abs() / 60);
            let (hours, minutes) = (minutes / 60, minutes % 60);
            let text = match (other, count) {
                ('G', _) => "AD".to_owned(),
                ('E', 0..=3) => at.strftime("%a").to_string(),
                ('E', _) => at.strftime("%A").to_string(),
                ('a', _) => if hour < 12 { "AM" } else { "PM" }.to_owned(),
                ('X', _) if seconds == 0 => "Z".to_owned(),
                ('X', 1) => format!("{sign}{hours:02}"),
                ('X', 3) => format!("{sign}{hours:02}:{minutes:02}"),
                ('X' | 'Z', _) => format!("{sign}{hours:02}{minutes:02}"),
                _ => at.strftime("%Z").to_string(),
            };
            out.push_str(&text);
            return;
        }
    };
    // Writing to a string cannot fail.
    let _ = write!(out, "{number:0count$}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(pattern: &str) -> Result<String, String> {
        let moment: Zoned = "2026-03-07T00:05:09.042+02:00[+02:00]".parse().unwrap();
        DateFormat::parse(pattern).map(|format| format.format(&moment))
    }

    /// The texts are what Java prints.
    #[test]
    fn moments_are_printed_as_by_java() {
        let golden = [
            ("yyyy-MM-dd HH:mm:ss:SSS", "2026-03-07 00:05:09:042"),
            ("yy/M/d k:m:s.S", "26/3/7 24:5:9.42"),
            ("EEE, d MMM yyyy hh:mm a", "Sat, 7 Mar 2026 12:05 AM"),
            ("EEEE MMMM D u K", "Saturday March 66 6 0"),
            ("yyyy-MM-dd'T'HH:mm:ssXXX", "2026-03-07T00:05:09+02:00"),
            ("X XX Z", "+02 +0200 +0200"),
            ("'o''clock' ''h''", "o'clock '12'"),
            ("", ""),
        ];
        for (pattern, text) in golden {
            assert_eq!(format(pattern).as_deref(), Ok(text), "{pattern}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        assert_eq!(format("yyyy b"), Err("Illegal pattern character 'b'".to_owned()));
        assert_eq!(format("'open"), Err("Unterminated quote".to_owned()));
        assert_eq!(format("XXXX"), Err("invalid ISO 8601 format: length=4".to_owned()));
    }
}
