//! Sizes as an operator writes them: `512`, `64KiB`, `16MiB`, `1GiB`.

/// The units, largest first, in octets.
const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// Reads a size in octets: a whole number, and `KiB`, `MiB`, `GiB` or nothing behind it. Errors are
/// in words for the operator.
pub(crate) fn parse(text: &str) -> Result<usize, String> {
    let wrong =
        || format!("`{text}` is not a size: write octets, or KiB, MiB or GiB of them, as in 16MiB");
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let octets: u64 = match UNITS.iter().find(|(name, _)| *name == unit) {
        Some((_, octets)) => *octets,
        None if unit.is_empty() => 1,
        None => return Err(wrong()),
    };
    if number.is_empty() {
        return Err(wrong());
    }
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(octets))
        .and_then(|size| usize::try_from(size).ok())
        .ok_or_else(|| format!("`{text}` is more than this machine can count"))
}

/// Writes a size in the largest unit that holds it whole, so that [`parse`] reads it back.
pub(crate) fn show(octets: usize) -> String {
    let octets = octets as u64;
    UNITS
        .iter()
        .find(|(_, unit)| octets >= *unit && octets.is_multiple_of(*unit))
        .map_or_else(|| octets.to_string(), |(name, unit)| format!("{}{name}", octets / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c13_each_unit_is_read_and_shown() {
        for (text, octets) in
            [("0", 0), ("512", 512), ("1KiB", 1024), ("16MiB", 16 << 20), ("3GiB", 3 << 30)]
        {
            assert_eq!(parse(text), Ok(octets), "{text}");
            assert_eq!(show(octets), text);
        }
        assert_eq!(show(1536 << 10), "1536KiB");
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "MiB", "-1", "1.5MiB", "16 MiB", "16MB", "16mib", "99999999999999999999"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert!(parse("18446744073709551615GiB").is_err());
    }
}
