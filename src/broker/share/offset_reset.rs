//! Where a share group begins in a partition it has no offsets for: `share.auto.offset.reset`. Source:
//! `ShareGroupAutoOffsetResetStrategy`, `ShareFetchUtils`.

/// The strategies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OffsetReset {
    Earliest,
    Latest,
    /// At the first record not older than so many milliseconds.
    ByDuration(i64),
}

impl OffsetReset {
    /// Reads a value that the config's validator let pass; anything else is the default, `latest`.
    pub(super) fn parse(text: &str) -> OffsetReset {
        match text.split_once(':') {
            Some(("by_duration", duration)) => duration_ms(duration).map_or(OffsetReset::Latest, OffsetReset::ByDuration),
            None if text == "earliest" => OffsetReset::Earliest,
            _ => OffsetReset::Latest,
        }
    }
}

/// An ISO 8601 duration of days, hours, minutes and seconds, in milliseconds.
fn duration_ms(text: &str) -> Option<i64> {
    let text = text.to_ascii_uppercase();
    let (days, time) = match text.strip_prefix('P')?.split_once('T') {
        Some((days, time)) => (days, time),
        None => (text.strip_prefix('P')?, ""),
    };
    let mut total: f64 = 0.0;
    for (part, units) in [(days, &[('D', 86_400_000.0)][..]), (time, &[('H', 3_600_000.0), ('M', 60_000.0), ('S', 1000.0)][..])] {
        let mut number = String::new();
        for symbol in part.chars() {
            match units.iter().find(|(unit, _)| *unit == symbol) {
                Some((_, factor)) => total += std::mem::take(&mut number).parse::<f64>().ok()? * factor,
                None => number.push(symbol),
            }
        }
        if !number.is_empty() {
            return None;
        }
    }
    // Saturates, as casts of floats do.
    (total.is_finite() && total >= 0.0).then_some(total as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strategies_are_read() {
        for (text, strategy) in [
            ("earliest", OffsetReset::Earliest),
            ("latest", OffsetReset::Latest),
            ("by_duration:PT1H", OffsetReset::ByDuration(3_600_000)),
            ("by_duration:P1DT2H3M4.5S", OffsetReset::ByDuration(93_784_500)),
            ("by_duration:nonsense", OffsetReset::Latest),
            ("nonsense", OffsetReset::Latest),
        ] {
            assert_eq!(OffsetReset::parse(text), strategy, "{text}");
        }
    }
}
