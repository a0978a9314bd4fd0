//! Values of configs: text to value as `ConfigDef.parseType` does it, and back as `ConfigDef.convertToString` does.

use std::fmt;

use super::{ConfigError, ConfigType};

/// A parsed value.
#[derive(Clone, Debug, PartialEq)]
pub enum ConfigValue {
    Null,
    Boolean(bool),
    Short(i16),
    Int(i32),
    Long(i64),
    Double(f64),
    String(String),
    List(Vec<String>),
    Class(String),
    Password(String),
}

impl ConfigValue {
    /// Parses `text` as a value of `config_type`; errors have Kafka's text and name the config.
    pub fn parse(name: &str, config_type: ConfigType, text: &str) -> Result<ConfigValue, ConfigError> {
        // Java's `trim` takes every control character for a blank.
        let trimmed = text.trim_matches(|c| c <= ' ');
        let not_a_number = || ConfigError::invalid_value(name, text, &format!("Not a number of type {}", config_type.name()));
        Ok(match config_type {
            ConfigType::Boolean if trimmed.eq_ignore_ascii_case("true") => ConfigValue::Boolean(true),
            ConfigType::Boolean if trimmed.eq_ignore_ascii_case("false") => ConfigValue::Boolean(false),
            ConfigType::Boolean => return Err(ConfigError::invalid_value(name, text, "Expected value to be either true or false")),
            ConfigType::String => ConfigValue::String(trimmed.to_owned()),
            ConfigType::Short => ConfigValue::Short(trimmed.parse().map_err(|_| not_a_number())?),
            ConfigType::Int => ConfigValue::Int(trimmed.parse().map_err(|_| not_a_number())?),
            ConfigType::Long => ConfigValue::Long(trimmed.parse().map_err(|_| not_a_number())?),
            ConfigType::Double => ConfigValue::Double(parse_double(trimmed).ok_or_else(not_a_number)?),
            ConfigType::List => ConfigValue::List(parse_list(trimmed)),
            ConfigType::Class => ConfigValue::Class(trimmed.to_owned()),
            ConfigType::Password => ConfigValue::Password(trimmed.to_owned()),
        })
    }

    /// The text of a value as DescribeConfigs shows it, secrets in clear; none for null.
    pub fn to_text(&self) -> Option<String> {
        Some(match self {
            ConfigValue::Null => return None,
            ConfigValue::Boolean(value) => value.to_string(),
            ConfigValue::Short(value) => value.to_string(),
            ConfigValue::Int(value) => value.to_string(),
            ConfigValue::Long(value) => value.to_string(),
            ConfigValue::Double(value) => double_text(*value),
            ConfigValue::String(value) | ConfigValue::Class(value) | ConfigValue::Password(value) => value.clone(),
            ConfigValue::List(values) => values.join(","),
        })
    }

    pub fn is_null(&self) -> bool {
        *self == ConfigValue::Null
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self {
            ConfigValue::Boolean(value) => Some(*value),
            _ => None,
        }
    }

    pub fn as_i16(&self) -> Option<i16> {
        match self {
            ConfigValue::Short(value) => Some(*value),
            _ => None,
        }
    }

    pub fn as_i32(&self) -> Option<i32> {
        match self {
            ConfigValue::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The value of any integer type.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            ConfigValue::Short(value) => Some(i64::from(*value)),
            ConfigValue::Int(value) => Some(i64::from(*value)),
            ConfigValue::Long(value) => Some(*value),
            _ => None,
        }
    }

    pub fn as_f64(&self) -> Option<f64> {
        match self {
            ConfigValue::Double(value) => Some(*value),
            _ => None,
        }
    }

    /// The text of a string, class or password.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            ConfigValue::String(value) | ConfigValue::Class(value) | ConfigValue::Password(value) => Some(value),
            _ => None,
        }
    }

    pub fn as_list(&self) -> Option<&[String]> {
        match self {
            ConfigValue::List(values) => Some(values),
            _ => None,
        }
    }

    /// Keeps the first of equal values in a list.
    pub(super) fn remove_duplicates(&mut self) {
        if let ConfigValue::List(values) = self {
            let mut seen = std::collections::HashSet::new();
            values.retain(|value| seen.insert(value.clone()));
        }
    }
}

/// As Java prints the value in an error text.
impl fmt::Display for ConfigValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigValue::Null => f.write_str("null"),
            ConfigValue::List(values) => write!(f, "[{}]", values.join(", ")),
            ConfigValue::Password(_) => f.write_str("[hidden]"),
            other => f.write_str(&other.to_text().unwrap_or_default()),
        }
    }
}

/// Splits at commas, with the blanks around them; no text is no element, but an empty element counts.
fn parse_list(trimmed: &str) -> Vec<String> {
    if trimmed.is_empty() {
        return Vec::new();
    }
    let last = trimmed.split(',').count() - 1;
    let blank = [' ', '\t', '\n', '\x0b', '\x0c', '\r'];
    let element = |(index, element): (usize, &str)| {
        let element = if index > 0 { element.trim_start_matches(blank) } else { element };
        let element = if index < last { element.trim_end_matches(blank) } else { element };
        element.to_owned()
    };
    trimmed.split(',').enumerate().map(element).collect()
}

/// `Double.parseDouble`, hexadecimal floats left out.
fn parse_double(text: &str) -> Option<f64> {
    let (sign, unsigned) = match text.strip_prefix(['+', '-']) {
        Some(rest) => (if text.starts_with('-') { -1.0 } else { 1.0 }, rest),
        None => (1.0, text),
    };
    match unsigned {
        "NaN" => return Some(f64::NAN),
        "Infinity" => return Some(sign * f64::INFINITY),
        _ => {}
    }
    let digits = unsigned.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(unsigned);
    // Rust would also read "inf" and "nan" in any case.
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    digits.parse::<f64>().ok().map(|value| sign * value)
}

/// `Double.toString`: plain between a thousandth and ten million, else with an exponent; always with a fraction.
pub(crate) fn double_text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let magnitude = value.abs();
    if magnitude == 0.0 || (1e-3..1e7).contains(&magnitude) {
        return format!("{value:?}");
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) if mantissa.contains('.') => format!("{mantissa}E{exponent}"),
        Some((mantissa, exponent)) => format!("{mantissa}.0E{exponent}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(config_type: ConfigType, text: &str) -> Result<ConfigValue, String> {
        ConfigValue::parse("x.y", config_type, text).map_err(|error| error.to_string())
    }

    #[test]
    fn texts_parse_as_their_type() {
        assert_eq!(parse(ConfigType::Boolean, " True "), Ok(ConfigValue::Boolean(true)));
        assert_eq!(parse(ConfigType::Int, "+7"), Ok(ConfigValue::Int(7)));
        assert_eq!(parse(ConfigType::Long, "-1 "), Ok(ConfigValue::Long(-1)));
        assert_eq!(parse(ConfigType::Double, "5e-1"), Ok(ConfigValue::Double(0.5)));
        assert_eq!(parse(ConfigType::Double, "1d"), Ok(ConfigValue::Double(1.0)));
        assert_eq!(parse(ConfigType::Short, "300"), Ok(ConfigValue::Short(300)));
        assert_eq!(parse(ConfigType::String, " a b "), Ok(ConfigValue::String("a b".into())));
    }

    #[test]
    fn a_text_that_does_not_parse_has_kafkas_error() {
        let error = |config_type, text| parse(config_type, text).expect_err(text);
        assert_eq!(error(ConfigType::Int, "ten"), "Invalid value ten for configuration x.y: Not a number of type INT");
        assert_eq!(error(ConfigType::Long, ""), "Invalid value  for configuration x.y: Not a number of type LONG");
        assert_eq!(error(ConfigType::Int, "2147483648"), "Invalid value 2147483648 for configuration x.y: Not a number of type INT");
        assert_eq!(error(ConfigType::Double, "inf"), "Invalid value inf for configuration x.y: Not a number of type DOUBLE");
        assert_eq!(error(ConfigType::Boolean, "yes"), "Invalid value yes for configuration x.y: Expected value to be either true or false");
    }

    #[test]
    fn lists_split_at_commas() {
        let list = |text| match parse(ConfigType::List, text) {
            Ok(ConfigValue::List(values)) => values,
            other => panic!("{other:?}"),
        };
        assert_eq!(list(" a , b,c "), ["a", "b", "c"]);
        assert_eq!(list("a,,b"), ["a", "", "b"]);
        assert_eq!(list("a,"), ["a", ""]);
        assert!(list("  ").is_empty());
    }

    #[test]
    fn doubles_print_as_java_prints_them() {
        for (value, text) in [
            (0.5, "0.5"),
            (0.8, "0.8"),
            (1.0, "1.0"),
            (0.0, "0.0"),
            (f64::MAX, "1.7976931348623157E308"),
            (1e7, "1.0E7"),
            (1234567.5, "1234567.5"),
            (0.0001, "1.0E-4"),
            (f64::INFINITY, "Infinity"),
        ] {
            assert_eq!(double_text(value), text);
        }
    }
}
