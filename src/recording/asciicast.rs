//! asciicast v2 (<https://docs.asciinema.org/manual/asciicast/v2/>), pure: events in, lines out, and back.
//!
//! Decides how a line looks so that asciinema 2.x, 3.x and the web player all take it: whole-second timestamp,
//! no comment lines, exactly three elements, only the letters `o i r m`, sizes of at least 1x1, valid UTF-8.
//! Leaves to others what is worth an event and when it is written.

use std::borrow::Cow;

use serde::Deserialize;

use super::escape::{Newlines, push_escaped, push_seconds};
use super::utf8::Utf8Carry;

/// Columns a header or a resize event may name at most. Players allocate the grid from these numbers, and the
/// client chose them.
pub const COLUMNS_MAX: u32 = 1000;
/// Rows a header or a resize event may name at most.
pub const ROWS_MAX: u32 = 500;
/// The size when there is no terminal, or its size is not known.
pub const SIZE_DEFAULT: (u32, u32) = (80, 24);

/// A size (columns, rows) that players can show. A zero means "not said" (RFC 4254 section 6.2): `before` stands.
pub fn sane_size((columns, rows): (u32, u32), before: (u32, u32)) -> (u32, u32) {
    let pick = |said: u32, before: u32, max: u32| if said == 0 { before } else { said }.clamp(1, max);
    (pick(columns, before.0, COLUMNS_MAX), pick(rows, before.1, ROWS_MAX))
}

/// The first line.
#[derive(Clone, Debug)]
pub struct Header<'a> {
    /// Columns and rows, already sane.
    pub size: (u32, u32),
    /// Seconds since the epoch; a fraction would make asciinema 3.x refuse the file.
    pub at_secs: Option<u64>,
    /// Who did what where.
    pub title: &'a str,
    /// The command, none for a shell.
    pub command: Option<&'a str>,
    /// `TERM`; left out when it does not look like a terminal's name.
    pub term: &'a str,
}

impl Header<'_> {
    /// The line with its newline.
    pub fn line(&self) -> String {
        let (columns, rows) = self.size;
        let mut line = format!("{{\"version\": 2, \"width\": {columns}, \"height\": {rows}");
        if let Some(at) = self.at_secs {
            line.push_str(&format!(", \"timestamp\": {at}"));
        }
        let mut text = |key: &str, value: &str| {
            line.push_str(", \"");
            line.push_str(key);
            line.push_str("\": \"");
            push_escaped(value, &mut Newlines::AsTheyAre, &mut line);
            line.push('"');
        };
        if !self.title.is_empty() {
            text("title", self.title);
        }
        if let Some(command) = self.command {
            text("command", command);
        }
        if is_terminal_name(self.term) {
            line.push_str(", \"env\": {\"TERM\": \"");
            line.push_str(self.term);
            line.push_str("\"}");
        }
        line.push_str("}\n");
        line
    }
}

/// `TERM` is the client's text: only what terminfo names look like.
fn is_terminal_name(term: &str) -> bool {
    (1..=64).contains(&term.len())
        && term.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'+'))
}

/// Where bytes come from. Each has its own half characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The terminal's output, or stdout.
    Output,
    /// stderr of a command without a terminal.
    Errors,
    /// What was typed.
    Input,
}

/// Makes event lines. Times never run backwards.
#[derive(Debug)]
pub struct Encoder {
    /// Where the part at hand begins: the times of its events count from there.
    base_micros: u64,
    last_micros: u64,
    newlines: Newlines,
    output: Utf8Carry,
    errors: Utf8Carry,
    input: Utf8Carry,
}

impl Encoder {
    /// With `terminal` bytes are shown as they are; without, a line feed alone becomes CR LF (a replay would show a
    /// staircase otherwise).
    pub fn new(terminal: bool) -> Self {
        Self {
            base_micros: 0,
            last_micros: 0,
            newlines: if terminal { Newlines::AsTheyAre } else { Newlines::Expand { after_cr: false } },
            output: Utf8Carry::default(),
            errors: Utf8Carry::default(),
            input: Utf8Carry::default(),
        }
    }

    /// Appends the event for `bytes` to `lines`, or nothing when they complete no character. `at_micros` counts from
    /// the beginning of the recording.
    pub fn bytes(&mut self, source: Source, bytes: &[u8], at_micros: u64, lines: &mut String) {
        self.text_event(source, at_micros, lines, |carry, emit| {
            carry.feed(bytes, emit);
        });
    }

    /// No more bytes come from `source`: a half character is shown as U+FFFD.
    pub fn finish(&mut self, source: Source, at_micros: u64, lines: &mut String) {
        self.text_event(source, at_micros, lines, |carry, emit| {
            carry.finish(emit);
        });
    }

    /// Drops the half character of `source`, whose rest will not be kept.
    pub fn forget(&mut self, source: Source) {
        self.carry(source).0.forget();
    }

    /// The terminal's new size, already sane.
    pub fn resize(&mut self, (columns, rows): (u32, u32), at_micros: u64, lines: &mut String) {
        self.begin('r', at_micros, lines);
        lines.push_str(&format!("{columns}x{rows}\"]\n"));
    }

    /// A marker.
    pub fn marker(&mut self, label: &str, at_micros: u64, lines: &mut String) {
        self.begin('m', at_micros, lines);
        push_escaped(label, &mut Newlines::AsTheyAre, lines);
        lines.push_str("\"]\n");
    }

    fn text_event(
        &mut self,
        source: Source,
        at_micros: u64,
        lines: &mut String,
        decode: impl FnOnce(&mut Utf8Carry, &mut dyn FnMut(&str)),
    ) {
        let before = lines.len();
        self.begin(if source == Source::Input { 'i' } else { 'o' }, at_micros, lines);
        let opened = lines.len();
        let (carry, newlines) = self.carry(source);
        let mut as_they_are = Newlines::AsTheyAre;
        let newlines = if source == Source::Input { &mut as_they_are } else { newlines };
        decode(carry, &mut |text| push_escaped(text, newlines, lines));
        if lines.len() == opened {
            lines.truncate(before);
        } else {
            lines.push_str("\"]\n");
        }
    }

    fn carry(&mut self, source: Source) -> (&mut Utf8Carry, &mut Newlines) {
        let carry = match source {
            Source::Output => &mut self.output,
            Source::Errors => &mut self.errors,
            Source::Input => &mut self.input,
        };
        (carry, &mut self.newlines)
    }

    /// What follows is for another file, whose beginning is `at_micros`.
    pub fn next_part(&mut self, at_micros: u64) {
        self.base_micros = at_micros;
        self.last_micros = 0;
    }

    fn begin(&mut self, letter: char, at_micros: u64, lines: &mut String) {
        self.last_micros = self.last_micros.max(at_micros.saturating_sub(self.base_micros));
        lines.push('[');
        push_seconds(self.last_micros, lines);
        lines.push_str(", \"");
        lines.push(letter);
        lines.push_str("\", \"");
    }
}

/// An event read back.
#[derive(Clone, Debug, PartialEq)]
pub struct Event<'a> {
    /// Microseconds since the beginning.
    pub at_micros: u64,
    /// `o`, `i`, `r` or `m`.
    pub letter: char,
    /// Its text.
    pub text: Cow<'a, str>,
}

#[derive(Deserialize)]
struct EventLine<'a>(f64, char, #[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct HeaderLine {
    version: u64,
    width: u16,
    height: u16,
    #[serde(default)]
    timestamp: u64,
}

/// Reads one event line, strictly: none for anything that one of the players would stop at.
pub fn parse_event(line: &[u8]) -> Option<Event<'_>> {
    let EventLine(seconds, letter, text) = serde_json::from_slice(line).ok()?;
    let known = matches!(letter, 'o' | 'i' | 'r' | 'm') && (0.0..1e12).contains(&seconds);
    let at_micros = (seconds * 1e6).round() as u64;
    known.then_some(Event { at_micros, letter, text })
}

/// Whether a line is a header that all players take.
pub fn is_header(line: &[u8]) -> bool {
    serde_json::from_slice::<HeaderLine>(line).is_ok_and(|header| {
        header.version == 2 && header.width > 0 && header.height > 0 && header.timestamp < 1 << 53
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(size: (u32, u32), title: &str, command: Option<&str>, term: &str) -> String {
        Header { size, at_secs: Some(1_700_000_000), title, command, term }.line()
    }

    /// The texts of all events of one letter, put together; checks every line on the way.
    fn joined(lines: &str, letter: char) -> String {
        let mut before = 0;
        let mut all = String::new();
        for line in lines.split_inclusive('\n') {
            let event = parse_event(line.as_bytes()).unwrap_or_else(|| panic!("{line:?}"));
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(value.as_array().map(Vec::len), Some(3), "{line:?}");
            assert!(event.at_micros >= before, "{line:?} runs backwards");
            assert!(!line.trim_end_matches('\n').contains(|c: char| c < ' '), "{line:?}");
            before = event.at_micros;
            if event.letter == letter {
                all.push_str(&event.text);
            }
        }
        all
    }

    /// What breaks one player or another, one row per matter.
    #[test]
    fn headers() {
        let line = header(
            (80, 24),
            "root@web1, by corp:u1 (\"Eve\"\n\u{1f600})",
            Some("printf '\\0'"),
            "xterm-256color",
        );
        assert_eq!(
            line,
            "{\"version\": 2, \"width\": 80, \"height\": 24, \"timestamp\": 1700000000, \"title\": \"root@web1, by corp:u1 \
             (\\\"Eve\\\"\\n\u{1f600})\", \"command\": \"printf '\\\\0'\", \"env\": {\"TERM\": \"xterm-256color\"}}\n"
        );
        assert!(is_header(line.as_bytes()));
        for term in ["", "x y", "x\"y", "\u{e9}", "x\n", &"x".repeat(65)] {
            let line = header((80, 24), "", None, term);
            assert_eq!(line, header((80, 24), "", None, ""), "{term:?}");
            assert!(is_header(line.as_bytes()));
        }
        let rows = [
            ("fraction in timestamp", "{\"version\":2,\"width\":80,\"height\":24,\"timestamp\":1.5}"),
            ("version 3", "{\"version\":3,\"term\":{\"cols\":80,\"rows\":24}}"),
            ("zero size", "{\"version\":2,\"width\":0,\"height\":24}"),
            ("no size", "{\"version\":2}"),
            ("torn", "{\"version\":2,\"width\":80,"),
            ("comment", "# x"),
            ("event", "[0.0,\"o\",\"x\"]"),
        ];
        for (name, line) in rows {
            assert!(!is_header(line.as_bytes()), "{name}");
        }
    }

    #[test]
    fn sizes() {
        let rows = [
            ((80, 24), (80, 24)),
            ((0, 0), (132, 43)),
            ((1, 1), (1, 1)),
            ((0, 10), (132, 10)),
            ((u32::MAX, u32::MAX), (1000, 500)),
            ((1001, 501), (1000, 500)),
        ];
        for (said, expect) in rows {
            assert_eq!(sane_size(said, (132, 43)), expect, "{said:?}");
        }
    }

    #[test]
    fn times_never_run_backwards() {
        let (mut encoder, mut lines) = (Encoder::new(true), String::new());
        encoder.marker("late", 2_000_000, &mut lines);
        encoder.marker("early", 1_000_000, &mut lines);
        assert_eq!(lines, "[2.000000, \"m\", \"late\"]\n[2.000000, \"m\", \"early\"]\n");
    }

    #[test]
    fn events() {
        let rows: &[(bool, &[&[u8]], &str)] = &[
            (true, &[b"a\n"], "[0.000000, \"o\", \"a\\n\"]\n"),
            (true, &[b""], ""),
            (true, &[b"\xe2", b"\x82"], "[0.000000, \"o\", \"\u{fffd}\"]\n"),
            (true, &[b"\xe2", b"\x82", b"\xac"], "[0.000000, \"o\", \"\u{20ac}\"]\n"),
            (
                true,
                &[b"\0\x07\x1b[1m\t\"\\\x7f"],
                "[0.000000, \"o\", \"\\u0000\\u0007\\u001b[1m\\t\\\"\\\\\u{7f}\"]\n",
            ),
            (true, &[b"\xed\xa0\x80"], "[0.000000, \"o\", \"\u{fffd}\u{fffd}\u{fffd}\"]\n"),
            (false, &[b"a\nb\r\nc\n\n"], "[0.000000, \"o\", \"a\\r\\nb\\r\\nc\\r\\n\\r\\n\"]\n"),
            (false, &[b"a\r", b"\n"], "[0.000000, \"o\", \"a\\r\"]\n[0.000000, \"o\", \"\\n\"]\n"),
            (false, &[b"\r", b"x\n"], "[0.000000, \"o\", \"\\r\"]\n[0.000000, \"o\", \"x\\r\\n\"]\n"),
            (
                false,
                &[b"\r", b"\xff\n"],
                "[0.000000, \"o\", \"\\r\"]\n[0.000000, \"o\", \"\u{fffd}\\r\\n\"]\n",
            ),
        ];
        for (terminal, chunks, expect) in rows {
            let (mut encoder, mut lines) = (Encoder::new(*terminal), String::new());
            for chunk in *chunks {
                encoder.bytes(Source::Output, chunk, 0, &mut lines);
            }
            encoder.finish(Source::Output, 0, &mut lines);
            assert_eq!(lines, *expect, "{chunks:x?}");
        }
    }

    #[test]
    fn stderr_between_the_halves_of_a_character() {
        let (mut encoder, mut lines) = (Encoder::new(false), String::new());
        encoder.bytes(Source::Output, b"\xe2\x82", 1, &mut lines);
        encoder.bytes(Source::Errors, b"warning\n", 2, &mut lines);
        encoder.bytes(Source::Output, b"\xac\n", 3, &mut lines);
        assert_eq!(joined(&lines, 'o'), "warning\r\n\u{20ac}\r\n");
    }

    /// Any chunking of the same bytes shows the same: what a terminal shows is `from_utf8_lossy`, without a
    /// terminal with CR LF for each bare LF.
    #[test]
    fn any_chunking_is_the_same() {
        use rand::{RngExt as _, SeedableRng as _};
        let mut random = rand::rngs::StdRng::seed_from_u64(31);
        let atoms: [&[u8]; 14] = [
            b"a",
            b"word ",
            b"\n",
            b"\r",
            b"\r\n",
            b"\x1b[0m",
            b"\"",
            b"\\",
            b"\0",
            b"\xff",
            b"\xe2\x82",
            "\u{20ac}".as_bytes(),
            "\u{1f600}".as_bytes(),
            b"\xed\xa0\x80",
        ];
        for round in 0..4000 {
            let bytes: Vec<u8> = (0..random.random_range(0..40))
                .flat_map(|_| atoms[random.random_range(0..atoms.len())])
                .copied()
                .collect();
            let lossy = String::from_utf8_lossy(&bytes).into_owned();
            let expanded = lossy.replace("\r\n", "\n").replace('\n', "\r\n");
            for terminal in [true, false] {
                let (mut encoder, mut lines, mut rest) = (Encoder::new(terminal), String::new(), &bytes[..]);
                while !rest.is_empty() {
                    let (chunk, after) = rest.split_at(random.random_range(1..=rest.len().min(9)));
                    encoder.bytes(Source::Output, chunk, random.random_range(0..1000), &mut lines);
                    rest = after;
                }
                encoder.finish(Source::Output, 2000, &mut lines);
                let expect = if terminal { &lossy } else { &expanded };
                assert_eq!(&joined(&lines, 'o'), expect, "round {round}, terminal {terminal}: {bytes:x?}");
            }
        }
    }

    #[test]
    fn lines_that_players_stop_at() {
        assert!(parse_event(b"[0.5, \"o\", \"x\"]").is_some());
        let rows: &[(&str, &[u8])] = &[
            ("fourth element", b"[0.5, \"o\", \"x\", 1]"),
            ("two elements", b"[0.5, \"o\"]"),
            ("unknown letter", b"[0.5, \"x\", \"0\"]"),
            ("two letters", b"[0.5, \"oo\", \"0\"]"),
            ("comment", b"# x"),
            ("negative", b"[-0.5, \"o\", \"x\"]"),
            ("lone surrogate", b"[0.5, \"o\", \"\\udc00\"]"),
            ("invalid UTF-8", b"[0.5, \"o\", \"\xff\"]"),
            ("raw control", b"[0.5, \"o\", \"\x01\"]"),
            ("number as text", b"[0.5, \"o\", 1]"),
            ("time as text", b"[\"0.5\", \"o\", \"x\"]"),
            ("two on a line", b"[0.5, \"o\", \"x\"][0.5, \"o\", \"x\"]"),
            ("header", b"{\"version\": 2, \"width\": 80, \"height\": 24}"),
            ("torn", b"[0.5, \"o\", \"x"),
        ];
        for (name, line) in rows {
            assert!(parse_event(line).is_none(), "{name}");
        }
    }
}
