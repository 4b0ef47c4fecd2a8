//! Lines for people (standard error) and results (standard output). A reader that went away is no failure of ours,
//! so nothing here panics as `println!` would.

use std::fmt::Display;
use std::io::{self, Write as _};

use crate::plain::is_hidden;

/// A line for the person: progress, warnings, errors. Goes to standard error.
pub fn say(text: impl Display) {
    // When standard error is closed there is nobody left to tell.
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// A line of result on standard output. A closed pipe counts as success: the reader has what it wanted.
pub fn print(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Text that came from elsewhere, fit for a terminal: what must not be shown is gone, at most `max` characters.
pub fn plain(text: &str, max: usize) -> String {
    text.chars().filter(|c| !is_hidden(*c)).take(max).collect()
}

/// A length of time for people: `2 d 3 h`, `9 h 59 min`, `4 min 5 s`, `12 s`.
pub fn span(secs: u64) -> String {
    let (days, hours, minutes) = (secs / 86_400, secs / 3600 % 24, secs / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{} s", secs % 60),
        (0, 0, m) => format!("{m} min {} s", secs % 60),
        (0, h, m) => format!("{h} h {m} min"),
        (d, h, _) => format!("{d} d {h} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_elsewhere_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[31mb\r\nc\u{202e}d", 100), "a[31mbcd");
        assert_eq!(plain("abcdef", 3), "abc");
    }

    #[test]
    fn spans() {
        for (secs, text) in
            [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (35_999, "9 h 59 min"), (90_000, "1 d 1 h")]
        {
            assert_eq!(span(secs), text);
        }
    }
}
