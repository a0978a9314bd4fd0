//! Numbers as Java writes them: `%.2f` of `java.util.Formatter` and `Double.toString`.
//!
//! Where Rust rounds the binary value, Java rounds the shortest decimal that means it, and half goes up: 0.125 is 0.13.

/// `%.{places}f`.
pub(crate) fn fixed(value: f64, places: usize) -> String {
    if let Some(name) = not_finite(value) {
        return name.to_owned();
    }
    let shortest = format!("{}", value.abs());
    let (whole, fraction) = shortest.split_once('.').unwrap_or((&shortest, ""));
    let kept: String = fraction.chars().chain(std::iter::repeat('0')).take(places).collect();
    let mut digits: Vec<u8> = whole.bytes().chain(kept.bytes()).collect();
    if fraction.as_bytes().get(places).is_some_and(|digit| *digit >= b'5') {
        let nines = digits.iter().rev().take_while(|digit| **digit == b'9').count();
        let at = digits.len() - nines;
        digits[at..].fill(b'0');
        match at.checked_sub(1) {
            Some(last) => digits[last] += 1,
            None => digits.insert(0, b'1'),
        }
    }
    let (whole, fraction) = digits.split_at(digits.len() - places);
    let sign = if value.is_sign_negative() { "-" } else { "" };
    let point = if places == 0 { "" } else { "." };
    format!("{sign}{}{point}{}", String::from_utf8_lossy(whole), String::from_utf8_lossy(fraction))
}

/// `Double.toString`.
pub(crate) fn double(value: f64) -> String {
    if let Some(name) = not_finite(value) {
        return name.to_owned();
    }
    let size = value.abs();
    let text = if size == 0.0 || (1e-3..1e7).contains(&size) { format!("{value}") } else { format!("{value:E}") };
    let (digits, exponent) = text.split_once('E').map_or((text.as_str(), None), |(digits, exponent)| (digits, Some(exponent)));
    let point = if digits.contains('.') { "" } else { ".0" };
    match exponent {
        Some(exponent) => format!("{digits}{point}E{exponent}"),
        None => format!("{digits}{point}"),
    }
}

fn not_finite(value: f64) -> Option<&'static str> {
    match value {
        _ if value.is_nan() => Some("NaN"),
        f64::INFINITY => Some("Infinity"),
        f64::NEG_INFINITY => Some("-Infinity"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_shortest_decimal_goes_up() {
        let golden = [
            (0.125, 2, "0.13"),
            (0.375, 2, "0.38"),
            (1.005, 2, "1.01"),
            (2.5, 0, "3"),
            (9.996, 2, "10.00"),
            (99.95, 1, "100.0"),
            (0.0, 6, "0.000000"),
            (-1.25, 1, "-1.3"),
            (123456.0, 6, "123456.000000"),
            (1e-7, 4, "0.0000"),
            (f64::NAN, 2, "NaN"),
            (f64::INFINITY, 4, "Infinity"),
        ];
        for (value, places, text) in golden {
            assert_eq!(fixed(value, places), text, "{value}");
        }
    }

    #[test]
    fn doubles_have_a_fraction_and_an_exponent_where_java_has_one() {
        let golden =
            [(0.5, "0.5"), (12.0, "12.0"), (0.001, "0.001"), (0.00012, "1.2E-4"), (1e7, "1.0E7"), (1234567.25, "1234567.25"), (0.0, "0.0")];
        for (value, text) in golden {
            assert_eq!(double(value), text);
        }
    }
}
