//! Durations as an operator writes them: `500ms`, `3s`, `5m`, `24h`, `31d`.

use std::time::Duration;

/// Reads a duration: a whole number and one of the units `ms`, `s`, `m`, `h`, `d`. Any positive
/// value; zero, a missing unit and what does not fit in 64 bits of milliseconds are errors, said
/// in words for the operator.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!("`{text}` is not a duration: write a whole number and ms, s, m, h or d, as in 24h")
    };
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit_at);
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    if number.is_empty() {
        return Err(wrong());
    }
    let ms = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit_ms))
        .ok_or_else(|| format!("`{text}` is longer than a duration can be"))?;
    if ms == 0 {
        return Err(format!("`{text}` is no time at all: a duration is positive"));
    }
    Ok(Duration::from_millis(ms))
}

/// Writes a duration in the largest unit that holds it whole, so that [`parse`] reads it back.
pub(crate) fn show(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    for (unit, unit_ms) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        // A day or two reads better in hours: that is how retention is quoted.
        let least = if unit == "d" { 3 * unit_ms } else { unit_ms };
        if ms >= least && ms % unit_ms == 0 {
            return format!("{}{unit}", ms / unit_ms);
        }
    }
    format!("{ms}ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit_is_read_and_shown() {
        for (text, ms) in [
            ("500ms", 500),
            ("3s", 3_000),
            ("5m", 300_000),
            ("24h", 86_400_000),
            ("31d", 31 * 86_400_000),
            ("90s", 90_000),
        ] {
            let duration = Duration::from_millis(ms);
            assert_eq!(parse(text), Ok(duration), "{text}");
            assert_eq!(show(duration), text);
        }
        assert_eq!(parse("1d"), parse("24h"));
    }

    #[test]
    fn what_is_not_a_positive_duration_is_refused() {
        for text in [
            "",
            "s",
            "24",
            "0s",
            "0ms",
            "-3s",
            "+3s",
            "1.5h",
            "3 s",
            " 3s",
            "3S",
            "3w",
            "3sec",
            "1h30m",
            "99999999999999999999s",
            "18446744073709551615d",
            "٣s",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
