//! How numbers and texts look inside a line, pure: seconds with six decimals, and the inside of a JSON string with
//! line ends made right. Written by hand, for it is done to every byte that is shown.

/// Line ends of what is shown.
#[derive(Debug)]
pub(super) enum Newlines {
    /// A terminal's driver made them.
    AsTheyAre,
    /// Nobody did: LF becomes CR LF, except after a CR.
    Expand { after_cr: bool },
}

/// Microseconds as seconds with six decimals: written by hand, for this is done for every event.
pub(super) fn push_seconds(micros: u64, lines: &mut String) {
    let mut digits = [b'0'; 20];
    let mut rest = micros;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    let (seconds, fraction) = digits.split_at(14);
    let zeros = seconds.iter().take(13).take_while(|d| **d == b'0').count();
    lines.extend(seconds.iter().skip(zeros).map(|d| char::from(*d)));
    lines.push('.');
    lines.extend(fraction.iter().map(|d| char::from(*d)));
}

/// The inside of a JSON string.
pub(super) fn push_escaped(text: &str, newlines: &mut Newlines, lines: &mut String) {
    lines.reserve(text.len() + text.len() / 4);
    let mut rest = text;
    while let Some((at, special)) =
        rest.bytes().enumerate().find(|(_, b)| *b < 0x20 || *b == b'"' || *b == b'\\')
    {
        // The byte found is ASCII, so both cuts are between characters.
        let (plain, found) = rest.split_at(at);
        rest = found.get(1..).unwrap_or_default();
        lines.push_str(plain);
        if let Newlines::Expand { after_cr } = newlines {
            if special == b'\n' && (!plain.is_empty() || !*after_cr) {
                lines.push_str("\\r");
            }
            *after_cr = special == b'\r';
        }
        lines.push_str(match special {
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            b'"' => "\\\"",
            b'\\' => "\\\\",
            0x08 => "\\b",
            0x1b => "\\u001b",
            _ => {
                lines.push_str("\\u00");
                lines.push(if special < 0x10 { '0' } else { '1' });
                let low = special & 15;
                lines.push(char::from(if low < 10 { b'0' + low } else { b'a' + low - 10 }));
                continue;
            }
        });
    }
    if let (Newlines::Expand { after_cr }, false) = (newlines, rest.is_empty()) {
        *after_cr = false;
    }
    lines.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let rows = [
            (0, "0.000000"),
            (1, "0.000001"),
            (999_999, "0.999999"),
            (1_000_000, "1.000000"),
            (86_400_000_001, "86400.000001"),
            (u64::MAX, "18446744073709.551615"),
        ];
        for (micros, expect) in rows {
            let mut line = String::new();
            push_seconds(micros, &mut line);
            assert_eq!(line, expect);
        }
    }

    #[test]
    fn every_ascii_character_survives_json() {
        let text: String =
            (0..=0x7f).map(char::from).chain(['\u{80}', '\u{2028}', '\u{fffd}', '\u{1f600}']).collect();
        let mut json = String::from("\"");
        push_escaped(&text, &mut Newlines::AsTheyAre, &mut json);
        json.push('"');
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        assert!(json.chars().all(|c| c >= ' '), "{json:?}");
    }
}
