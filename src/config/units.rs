//! Time spans and sizes as people write them: `90s`, `5m`, `1h30m`; `64KiB`, `1MiB`. Pure.

use std::time::Duration;

/// What a value may be, and what it is when the file says nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds<T> {
    /// When not given.
    pub(crate) default: T,
    /// At least.
    pub(crate) min: T,
    /// At most.
    pub(crate) max: T,
}

/// Units of time in seconds, largest first.
const TIME_UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];
/// Units of size in bytes, largest first.
const SIZE_UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// Reads `1h30m`: whole numbers with `d`, `h`, `m` or `s`, larger units first, each at most once.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time span: write it as \"90s\", \"5m\", \"10h\" or \"1h30m\"");
    let mut secs = 0u64;
    let mut digits = String::new();
    let mut units = TIME_UNITS.iter();
    for c in text.chars() {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        let (_, unit) = units.by_ref().find(|(name, _)| *name == c).ok_or_else(wrong)?;
        let count: u64 = digits.parse().map_err(|_| wrong())?;
        secs = count.checked_mul(*unit).and_then(|more| secs.checked_add(more)).ok_or_else(wrong)?;
        digits.clear();
    }
    if text.is_empty() || !digits.is_empty() {
        return Err(wrong());
    }
    Ok(Duration::from_secs(secs))
}

/// Writes a time span in whole seconds as the configuration reads it.
pub fn show_duration(span: Duration) -> String {
    let mut secs = span.as_secs();
    if secs == 0 {
        return "0s".into();
    }
    let mut text = String::new();
    for (name, unit) in TIME_UNITS {
        if secs >= unit {
            text.push_str(&format!("{}{name}", secs / unit));
            secs %= unit;
        }
    }
    text
}

/// Reads `64KiB`: a whole number with `KiB`, `MiB` or `GiB`.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("{text:?} is not a size: write \"64KiB\", \"1MiB\", \"2GiB\" or a number of bytes");
    let (name, unit) = SIZE_UNITS.iter().find(|(name, _)| text.ends_with(name)).ok_or_else(wrong)?;
    let digits = text.strip_suffix(name).unwrap_or_default();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let count: u64 = digits.parse().map_err(|_| wrong())?;
    count.checked_mul(*unit).ok_or_else(wrong)
}

/// Writes a number of bytes as the configuration reads it when it is a whole number of units, else as a plain number.
pub fn show_size(bytes: u64) -> String {
    match SIZE_UNITS.iter().find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_spans() {
        for (text, expect) in [
            ("90s", Some(90)),
            ("5m", Some(300)),
            ("10h", Some(36_000)),
            ("1h30m", Some(5400)),
            ("1d2h3m4s", Some(93_784)),
            ("0s", Some(0)),
            ("", None),
            ("5", None),
            ("m", None),
            ("5 m", None),
            ("-5m", None),
            ("+5m", None),
            ("1.5h", None),
            ("30m1h", None),
            ("1h1h", None),
            ("5M", None),
            ("5m3", None),
            ("99999999999999999999s", None),
            ("999999999999999999d", None),
            ("٣m", None),
        ] {
            assert_eq!(parse_duration(text).ok().map(|d| d.as_secs()), expect, "{text:?}");
        }
        for secs in [0, 1, 59, 60, 61, 3600, 5400, 86_399, 86_400, 93_784] {
            let span = Duration::from_secs(secs);
            assert_eq!(parse_duration(&show_duration(span)), Ok(span));
        }
    }

    #[test]
    fn sizes() {
        for (text, expect) in [
            ("1MiB", Some(1 << 20)),
            ("64KiB", Some(64 << 10)),
            ("2GiB", Some(2 << 30)),
            ("0KiB", Some(0)),
            ("1MB", None),
            ("MiB", None),
            ("-1MiB", None),
            ("1 MiB", None),
            ("12", None),
            ("", None),
            ("99999999999999999999KiB", None),
            ("99999999999999999GiB", None),
        ] {
            assert_eq!(parse_size(text).ok(), expect, "{text:?}");
        }
        for bytes in [1u64 << 10, 64 << 10, 1 << 20, 3 << 30] {
            assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
        }
        assert_eq!(show_size(1000), "1000");
    }
}
