//! JSON as Kafka's tools print it: one line without blanks, numbers as Java writes them. Source: Jackson's `JsonNode.toString`.

use std::fmt::Write;

use serde_json::Value;

use crate::metadata::config::double_text;

/// The text of a value.
pub(crate) fn text(value: &Value) -> String {
    let mut text = String::new();
    write(&mut text, value);
    text
}

fn write(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(double) => out.push_str(&double_text(double)),
            None => drop(write!(out, "{number}")),
        },
        Value::String(string) => write_string(out, string),
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(out, item);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            out.push('{');
            for (at, (name, field)) in fields.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_string(out, name);
                out.push(':');
                write(out, field);
            }
            out.push('}');
        }
    }
}

fn write_string(out: &mut String, string: &str) {
    out.push('"');
    for c in string.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\0'..='\u{1f}' => drop(write!(out, "\\u{:04X}", u32::from(c))),
            _ => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_are_jacksons() {
        let value = json!({"a": [1, -2, null, true], "b\u{1f}\"\\/\n": "ü\u{2028}\u{7f}", "c": {}, "d": [1.0, 1e7, 0.0001, 123456.5]});
        assert_eq!(
            text(&value),
            "{\"a\":[1,-2,null,true],\"b\\u001F\\\"\\\\/\\n\":\"ü\u{2028}\u{7f}\",\"c\":{},\"d\":[1.0,1.0E7,1.0E-4,123456.5]}"
        );
    }
}
