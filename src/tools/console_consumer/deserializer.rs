//! Kafka's deserializers, as far as printing goes: bytes to the text that Java's `toString` makes of the object.
//!
//! Source: `org.apache.kafka.common.serialization`.

use std::io::Write;

use super::formatter::FormatError;

/// One of the deserializers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deserializer {
    Boolean,
    /// The bytes as they are.
    ByteArray,
    ByteBuffer,
    /// Printable ASCII, and `\xNN` for the rest.
    Bytes,
    Double,
    Float,
    Integer,
    Long,
    Short,
    String,
    Uuid,
    Void,
}

const ALL: [(&str, Deserializer); 12] = [
    ("BooleanDeserializer", Deserializer::Boolean),
    ("ByteArrayDeserializer", Deserializer::ByteArray),
    ("ByteBufferDeserializer", Deserializer::ByteBuffer),
    ("BytesDeserializer", Deserializer::Bytes),
    ("DoubleDeserializer", Deserializer::Double),
    ("FloatDeserializer", Deserializer::Float),
    ("IntegerDeserializer", Deserializer::Integer),
    ("LongDeserializer", Deserializer::Long),
    ("ShortDeserializer", Deserializer::Short),
    ("StringDeserializer", Deserializer::String),
    ("UUIDDeserializer", Deserializer::Uuid),
    ("VoidDeserializer", Deserializer::Void),
];

const PACKAGE: &str = "org.apache.kafka.common.serialization.";

/// The short names, for help texts.
pub(super) fn names() -> String {
    ALL.map(|(name, _)| name).join(", ")
}

impl Deserializer {
    /// By the name of its class. `strict` takes only whole names, else `IntegerDeserializer` and `integer` do too.
    pub(super) fn parse(class: &str, strict: bool) -> Option<Deserializer> {
        let class = class.trim();
        let find = |name: &str| ALL.iter().find(|(known, _)| *known == name).map(|(_, found)| *found);
        match class.strip_prefix(PACKAGE) {
            Some(name) => find(name),
            None if strict => None,
            None => find(class).or_else(|| {
                let wanted = format!("{class}Deserializer");
                ALL.iter().find(|(known, _)| known.eq_ignore_ascii_case(&wanted)).map(|(_, found)| *found)
            }),
        }
    }

    fn name(self) -> &'static str {
        ALL.iter().find(|(_, deserializer)| *deserializer == self).map_or("", |(name, _)| name)
    }

    /// Appends the text of `bytes`.
    pub(super) fn write(self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), FormatError> {
        let wrong_size = |_| FormatError::new(format!("Size of data received by {} is not {}", self.name(), self.size()));
        let invalid = |text: String| Err(FormatError::new(text));
        match self {
            Deserializer::ByteArray => out.extend_from_slice(bytes),
            Deserializer::String => match std::str::from_utf8(bytes) {
                Ok(_) => out.extend_from_slice(bytes),
                Err(_) => out.extend_from_slice(String::from_utf8_lossy(bytes).as_bytes()),
            },
            Deserializer::Short => append(out, format_args!("{}", i16::from_be_bytes(bytes.try_into().map_err(wrong_size)?))),
            Deserializer::Integer => append(out, format_args!("{}", i32::from_be_bytes(bytes.try_into().map_err(wrong_size)?))),
            Deserializer::Long => append(out, format_args!("{}", i64::from_be_bytes(bytes.try_into().map_err(wrong_size)?))),
            Deserializer::Float => {
                let number = f32::from_be_bytes(bytes.try_into().map_err(wrong_size)?);
                out.extend_from_slice(java_float(&format!("{number:e}"), number.is_finite()).as_bytes());
            }
            Deserializer::Double => {
                let number = f64::from_be_bytes(bytes.try_into().map_err(wrong_size)?);
                out.extend_from_slice(java_float(&format!("{number:e}"), number.is_finite()).as_bytes());
            }
            Deserializer::Boolean => match bytes {
                [0] => out.extend_from_slice(b"false"),
                [1] => out.extend_from_slice(b"true"),
                [other] => return invalid(format!("Unexpected byte received by BooleanDeserializer: {other}")),
                _ => return invalid("Size of data received by BooleanDeserializer is not 1".to_owned()),
            },
            Deserializer::Bytes => {
                for &byte in bytes {
                    match byte {
                        b'\\' => out.extend_from_slice(b"\\x5C"),
                        b' '..=b'~' => out.push(byte),
                        _ => append(out, format_args!("\\x{byte:02X}")),
                    }
                }
            }
            Deserializer::ByteBuffer => append(out, format_args!("java.nio.HeapByteBuffer[pos=0 lim={0} cap={0}]", bytes.len())),
            Deserializer::Uuid => match uuid(bytes) {
                Some(text) => out.extend_from_slice(text.as_bytes()),
                None => return invalid(format!("Error parsing data into UUID: {}", String::from_utf8_lossy(bytes))),
            },
            Deserializer::Void => return invalid("Data should be null for a VoidDeserializer.".to_owned()),
        }
        Ok(())
    }

    /// Bytes of a value, for those that have a fixed size.
    fn size(self) -> usize {
        match self {
            Deserializer::Short => 2,
            Deserializer::Integer | Deserializer::Float => 4,
            Deserializer::Long | Deserializer::Double => 8,
            _ => 1,
        }
    }
}

fn append(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a Vec takes all that is written");
}

/// The lower-case form of a UUID in text.
fn uuid(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let parts: Vec<&str> = text.split('-').collect();
    let widths = [8, 4, 4, 4, 12];
    if parts.len() != widths.len() {
        return None;
    }
    // Java fills up parts that are short.
    let filled: Option<Vec<String>> = parts
        .iter()
        .zip(widths)
        .map(|(part, width)| {
            let fits = (1..=width).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_hexdigit());
            fits.then(|| format!("{:0>width$}", part.to_ascii_lowercase()))
        })
        .collect();
    Some(filled?.join("-"))
}

/// A number as Java's `Double.toString` writes it, from Rust's shortest scientific form: plain between 10^-3 and 10^7, with at least one
/// digit behind the point.
fn java_float(scientific: &str, finite: bool) -> String {
    let (sign, rest) = match scientific.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", scientific),
    };
    if !finite {
        let name = if rest == "inf" { "Infinity" } else { "NaN" };
        return format!("{}{name}", if name == "NaN" { "" } else { sign });
    }
    let (mantissa, exponent) = rest.split_once('e').unwrap_or((rest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    if digits.bytes().all(|digit| digit == b'0') {
        return format!("{sign}0.0");
    }
    let behind = |digits: &str| if digits.is_empty() { "0".to_owned() } else { digits.to_owned() };
    match exponent {
        0..=6 => {
            let whole = exponent as usize + 1;
            let digits = format!("{digits:0<whole$}");
            format!("{sign}{}.{}", &digits[..whole], behind(&digits[whole..]))
        }
        -3..=-1 => format!("{sign}0.{}{digits}", "0".repeat((-exponent - 1) as usize)),
        _ => format!("{sign}{}.{}E{exponent}", &digits[..1], behind(&digits[1..])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(class: &str, bytes: &[u8]) -> Result<String, String> {
        let mut out = Vec::new();
        let deserializer = Deserializer::parse(class, false).ok_or("unknown")?;
        deserializer.write(bytes, &mut out).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn classes_are_known_by_whole_and_by_short_names() {
        let whole = "org.apache.kafka.common.serialization.LongDeserializer";
        for name in [whole, "LongDeserializer", "long"] {
            assert_eq!(Deserializer::parse(name, false), Some(Deserializer::Long), "{name}");
        }
        assert_eq!(Deserializer::parse(whole, true), Some(Deserializer::Long));
        assert_eq!(Deserializer::parse("long", true), None);
        assert_eq!(Deserializer::parse("no.such.Deserializer", false), None);
    }

    #[test]
    fn numbers_are_big_endian_and_of_their_size() {
        assert_eq!(text("integer", b"ABCD"), Ok("1094861636".into()));
        assert_eq!(text("long", b"ABCDEFGH"), Ok("4702394921427289928".into()));
        assert_eq!(text("short", &[0xff, 0xfe]), Ok("-2".into()));
        assert_eq!(text("integer", b"ABCDE"), Err("Size of data received by IntegerDeserializer is not 4".into()));
        assert_eq!(text("boolean", &[1]), Ok("true".into()));
    }

    #[test]
    fn floating_point_is_written_as_java_does() {
        let double = |number: f64| text("double", &number.to_be_bytes()).unwrap();
        for (number, expected) in [
            (4.0, "4.0"),
            (-0.0, "-0.0"),
            (0.001, "0.001"),
            (0.00099, "9.9E-4"),
            (9_999_999.0, "9999999.0"),
            (10_000_000.0, "1.0E7"),
            (123.456, "123.456"),
            (1.5e300, "1.5E300"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
            (f64::MIN_POSITIVE, "2.2250738585072014E-308"),
        ] {
            assert_eq!(double(number), expected);
        }
        assert_eq!(text("float", &2.5f32.to_be_bytes()), Ok("2.5".into()));
        assert_eq!(text("float", &0.1f32.to_be_bytes()), Ok("0.1".into()));
    }

    #[test]
    fn bytes_and_uuids_have_javas_text() {
        assert_eq!(text("bytes", b"a\\\x00\xff~"), Ok("a\\x5C\\x00\\xFF~".into()));
        assert_eq!(text("uuid", b"1-2-3-4-ABC"), Ok("00000001-0002-0003-0004-000000000abc".into()));
        assert!(text("uuid", b"hello").is_err());
        assert!(text("void", b"x").is_err());
        assert_eq!(text("string", b"\xff"), Ok("\u{fffd}".into()));
    }
}
