//! Moments and durations as people and Kafka write them.
//!
//! Kafka's own forms: `2026-01-31T08:30:00.000` with or without an offset (`Utils.getDateTime`), and ISO 8601 durations
//! (`java.time.Duration.parse`). Beyond Kafka: RFC 3339 with less detail, a date alone, `now`, `-2h`, milliseconds since 1970.

use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// A moment as Kafka's tools read it, in milliseconds since 1970; the error is the text of Java's exception.
pub(crate) fn kafka_datetime(text: &str) -> Result<i64, String> {
    let Some((_, time)) = text.split_once('T') else {
        return Err("java.text.ParseException: Error parsing timestamp. It does not contain a 'T' according to ISO8601 format".to_owned());
    };
    let zoned = if time.contains(['+', '-', 'Z']) { text.to_owned() } else { format!("{text}Z") };
    let unparseable = || format!("java.text.ParseException: Unparseable date: \"{zoned}\"");
    // Java wants a fraction of the second; without one its pattern does not match.
    if !time.contains('.') {
        return Err(unparseable());
    }
    rfc3339(&zoned).ok_or_else(unparseable)
}

/// A moment as people write it, in milliseconds since 1970. `now_ms` is the moment that "now" and "-2h" count from.
pub(crate) fn moment(text: &str, now_ms: i64) -> Result<i64, String> {
    let text = text.trim();
    let invalid =
        || format!("'{text}' is no moment; it may be 2026-01-31T08:30:00.000, the same with an offset (Z, +02:00), 2026-01-31, -2h or now");
    if text == "now" {
        return Ok(now_ms);
    }
    if let Some(ago) = text.strip_prefix('-') {
        let ago = duration_ms(ago).map_err(|_| invalid())?;
        return now_ms.checked_sub(ago).ok_or_else(invalid);
    }
    // Milliseconds since 1970 have more digits than a year.
    if text.len() > 8 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map_err(|_| invalid());
    }
    rfc3339(text).ok_or_else(invalid)
}

/// A date with or without a time of day, UTC where no offset is given.
fn rfc3339(text: &str) -> Option<i64> {
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Some(timestamp.as_millisecond());
    }
    // An offset of hours alone, which Java takes: +02.
    if let Some((rest, hours)) = text.rsplit_once(['+', '-'])
        && rest.contains('T')
        && hours.len() <= 2
        && let (Ok(datetime), Ok(hours)) = (rest.parse::<DateTime>(), hours.parse::<i8>())
    {
        let hours = if text[rest.len()..].starts_with('-') { -hours } else { hours };
        let offset = Offset::from_hours(hours).ok()?;
        return datetime.to_zoned(offset.to_time_zone()).ok().map(|zoned| zoned.timestamp().as_millisecond());
    }
    let datetime = match text.parse::<DateTime>() {
        Ok(datetime) => datetime,
        Err(_) => text.parse::<Date>().ok()?.to_datetime(jiff::civil::Time::midnight()),
    };
    datetime.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp().as_millisecond())
}

/// A duration as `java.time.Duration` reads it, in milliseconds.
pub(crate) fn kafka_duration_ms(text: &str) -> Result<i64, String> {
    let unparseable = || "Text cannot be parsed to a Duration".to_owned();
    let upper = text.to_ascii_uppercase();
    let (sign, rest) = match upper.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, upper.strip_prefix('+').unwrap_or(&upper)),
    };
    let rest = rest.strip_prefix('P').ok_or_else(unparseable)?;
    let (days, time) = match rest.split_once('T') {
        Some((_, "")) => return Err(unparseable()),
        Some((days, time)) => (days, time),
        None => (rest, ""),
    };
    let mut total_ms: i64 = 0;
    let mut parts = 0;
    let mut read = |text: &str, units: &[(char, i64)]| -> Option<()> {
        let mut rest = text;
        let mut units = units.iter();
        while !rest.is_empty() {
            let end = rest.find(|c: char| c.is_ascii_alphabetic())?;
            let unit = rest[end..].chars().next()?;
            let (_, unit_ms) = units.find(|(name, _)| *name == unit)?;
            let number = &rest[..end];
            // Only seconds may have a fraction.
            let amount_ms = match number.split_once(['.', ',']) {
                Some((whole, fraction)) if unit == 'S' && fraction.len() <= 9 && fraction.bytes().all(|b| b.is_ascii_digit()) => {
                    let whole_ms = whole.parse::<i64>().ok()?.checked_mul(1000)?;
                    let millis: i64 = format!("{fraction:0<3}")[..3].parse().ok()?;
                    if whole.starts_with('-') { whole_ms - millis } else { whole_ms + millis }
                }
                Some(_) => return None,
                None => number.parse::<i64>().ok()?.checked_mul(*unit_ms)?,
            };
            total_ms = total_ms.checked_add(amount_ms)?;
            parts += 1;
            rest = &rest[end + 1..];
        }
        Some(())
    };
    read(days, &[('D', 86_400_000)]).ok_or_else(unparseable)?;
    read(time, &[('H', 3_600_000), ('M', 60_000), ('S', 1000)]).ok_or_else(unparseable)?;
    if parts == 0 { Err(unparseable()) } else { Ok(sign * total_ms) }
}

/// A duration in Kafka's form or as people write it (`90s`, `2h 30m`, `1d`), in milliseconds.
pub(crate) fn duration_ms(text: &str) -> Result<i64, String> {
    if let Ok(ms) = kafka_duration_ms(text) {
        return Ok(ms);
    }
    let invalid = || format!("'{text}' is no duration; it may be P1DT2H3M4S, 1d, 2h30m or 90s");
    // A day is 24 hours here, as in Java.
    let span: jiff::Span = text.trim().parse().map_err(|_| invalid())?;
    let hours_only: SignedDuration = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| invalid())?;
    i64::try_from(hours_only.as_millis()).map_err(|_| invalid())
}

/// Milliseconds since 1970 as RFC 3339 in UTC, to the second.
pub(crate) fn utc_text(ms: i64) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(timestamp) => timestamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => ms.to_string(),
    }
}

/// The same moment in the zone of this machine, with its offset.
pub(crate) fn local_text(ms: i64) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(timestamp) => timestamp.to_zoned(TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        Err(_) => ms.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: i64 = 1_769_848_200_000; // 2026-01-31T08:30:00Z

    #[test]
    fn kafka_wants_milliseconds() {
        assert_eq!(kafka_datetime("2026-01-31T08:30:00.000"), Ok(MOMENT));
        assert_eq!(kafka_datetime("2026-01-31T10:30:00.000+02:00"), Ok(MOMENT));
        assert_eq!(kafka_datetime("2026-01-31T10:30:00.000+02"), Ok(MOMENT));
        assert_eq!(kafka_datetime("2026-01-31T08:30:00.250Z"), Ok(MOMENT + 250));
        assert_eq!(
            kafka_datetime("2026-01-31T08:30:00"),
            Err("java.text.ParseException: Unparseable date: \"2026-01-31T08:30:00Z\"".into())
        );
        assert!(kafka_datetime("2026-01-31").unwrap_err().contains("does not contain a 'T'"));
        assert!(kafka_datetime("2026-13-31T08:30:00.000").is_err());
    }

    #[test]
    fn people_may_be_brief() {
        for text in ["2026-01-31T08:30:00", "2026-01-31T08:30", "2026-01-31 08:30", "2026-01-31T10:30+02:00", "1769848200000"] {
            assert_eq!(moment(text, 0), Ok(MOMENT), "{text}");
        }
        assert_eq!(moment("2026-01-31", 0), Ok(MOMENT - 30_600_000));
        assert_eq!(moment("-2h", MOMENT), Ok(MOMENT - 7_200_000));
        assert_eq!(moment("now", MOMENT), Ok(MOMENT));
        assert!(moment("yesterday", MOMENT).is_err());
    }

    #[test]
    fn durations_are_javas() {
        for (text, ms) in [
            ("P1D", 86_400_000),
            ("pt1h", 3_600_000),
            ("P1DT2H3M4S", 93_784_000),
            ("PT0S", 0),
            ("PT1.5S", 1500),
            ("-PT1M", -60_000),
            ("PT-1M", -60_000),
        ] {
            assert_eq!(kafka_duration_ms(text), Ok(ms), "{text}");
        }
        for text in ["1h", "P1M", "P", "PT", "P1DT", "PT1M1H", "", "P1.5D"] {
            assert!(kafka_duration_ms(text).is_err(), "{text}");
        }
    }

    #[test]
    fn people_write_shorter_durations() {
        for (text, ms) in [("90s", 90_000), ("2h30m", 9_000_000), ("1d", 86_400_000), ("2h 30m", 9_000_000)] {
            assert_eq!(duration_ms(text), Ok(ms), "{text}");
        }
        assert!(duration_ms("soon").is_err());
    }
}
