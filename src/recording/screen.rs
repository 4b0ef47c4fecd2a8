//! What stood on a screen, as lines with their times. Pure: events of a cast go in, lines come out; a terminal of the crate
//! `avt` is in between. Off the path of the bytes: recordings are read here after they were written.
//!
//! A line counts when the cursor leaves it after something was written to it, and one that stays for half a second counts
//! then too. So text that was wiped off later is there, and each key of a typed command is not. What was written and
//! overwritten within half a second is not.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;

use avt::parser::Function;
use avt::{Observation, Observer, Operation, Terminal};

use serde_json::Value;

use super::asciicast::sane_size;
use super::folder::JoinedEvent;

/// How long text must stay in the cursor's line to count before the cursor leaves it.
const STAYS_MICROS: u64 = 500_000;
/// The same line again within this time is the same one, drawn again.
const AGAIN_MICROS: u64 = 60_000_000;
/// Lines remembered for that.
const REMEMBERED_MAX: usize = 8192;
/// Longest line, in characters; a longer one is several.
const LINE_MAX: usize = 2000;

/// A line that stood on the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Microseconds since the beginning of the recording, when its last character was written.
    pub at_micros: u64,
    /// What it says, without blanks at its end.
    pub text: String,
}

/// A terminal that is read along.
pub struct Screen {
    terminal: Terminal,
    reader: Reader,
}

impl Screen {
    /// An empty one. Sizes are those of headers and resize events: whatever they say, memory stays bounded.
    pub fn new(size: (u32, u32)) -> io::Result<Self> {
        let (columns, rows) = cells(size);
        let terminal = Terminal::new(columns, rows).map_err(io::Error::other)?;
        Ok(Self { terminal, reader: Reader::default() })
    }

    /// One of the size that the header of a cast says.
    pub fn of_header(header: &str) -> io::Result<Self> {
        let said: Value = serde_json::from_str(header).map_err(io::Error::other)?;
        let side = |name: &str| said.get(name).and_then(Value::as_u64).unwrap_or_default();
        let cells = |name| u32::try_from(side(name)).unwrap_or(u32::MAX);
        Self::new((cells("width"), cells("height")))
    }

    /// An event of a cast. What was typed and markers change nothing.
    pub fn event(&mut self, event: &JoinedEvent) {
        match event.letter {
            'o' => self.output(event.at_micros, &event.text),
            'r' => {
                if let Some((columns, rows)) = event.text.split_once('x')
                    && let (Ok(columns), Ok(rows)) = (columns.parse(), rows.parse())
                {
                    self.resize(event.at_micros, (columns, rows));
                }
            }
            _ => {}
        }
    }

    /// The target wrote `text`.
    pub fn output(&mut self, at_micros: u64, text: &str) {
        if at_micros.saturating_sub(self.reader.written_micros) >= STAYS_MICROS {
            self.reader.stays(&self.terminal);
        }
        self.reader.now_micros = at_micros;
        self.terminal.feed_with(text, &mut self.reader);
    }

    /// The terminal has another size.
    pub fn resize(&mut self, at_micros: u64, size: (u32, u32)) {
        let (columns, rows) = cells(size);
        self.reader.now_micros = at_micros;
        self.terminal.resize_with(columns, rows, &mut self.reader);
    }

    /// The lines since this was asked last.
    pub fn take(&mut self) -> Vec<Seen> {
        self.reader.last = None;
        std::mem::take(&mut self.reader.lines)
    }

    /// The last lines: what is still being written.
    pub fn finish(mut self) -> Vec<Seen> {
        self.reader.leave(&self.terminal);
        self.reader.lines
    }

    /// Columns and rows.
    pub fn size(&self) -> (usize, usize) {
        self.terminal.size()
    }

    /// What puts an empty terminal of the same size into this state.
    pub fn dump(&self) -> String {
        self.terminal.dump()
    }
}

fn cells(size: (u32, u32)) -> (usize, usize) {
    let (columns, rows) = sane_size(size, (80, 24));
    (columns as usize, rows as usize)
}

#[derive(Default)]
struct Reader {
    now_micros: u64,
    /// Something was written to the line of the cursor since it was read.
    fresh: bool,
    /// When.
    written_micros: u64,
    /// The beginning of the line that wraps at the margin.
    carry: String,
    lines: Vec<Seen>,
    /// The line that stayed and is still being written is the last of `lines`.
    last: Option<String>,
    remembered: HashMap<u64, u64>,
}

impl Reader {
    /// The cursor leaves its line.
    fn leave(&mut self, terminal: &Terminal) {
        if std::mem::take(&mut self.fresh) {
            let mut text = std::mem::take(&mut self.carry);
            text.push_str(&row(terminal));
            self.push(text.trim_end());
        }
        self.carry.clear();
        self.last = None;
    }

    /// What stands in the cursor's line has stayed for a while.
    fn stays(&mut self, terminal: &Terminal) {
        if self.fresh {
            let text = format!("{}{}", self.carry, row(terminal));
            let text = text.trim_end();
            self.push(text);
            self.fresh = false;
            self.last = Some(text.to_owned());
        }
    }

    fn push(&mut self, text: &str) {
        if text.trim().is_empty() {
            return;
        }
        // The same line, further written.
        if let Some(last) = &self.last
            && text.starts_with(last.as_str())
            && self.lines.last().is_some_and(|seen| seen.text == *last)
        {
            self.lines.pop();
        }
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        if self.remembered.len() >= REMEMBERED_MAX {
            self.remembered.clear();
        }
        let before = self.remembered.insert(hasher.finish(), self.written_micros);
        if before.is_some_and(|before| self.written_micros.saturating_sub(before) < AGAIN_MICROS) {
            return;
        }
        let chars: Vec<char> = text.chars().collect();
        for piece in chars.chunks(LINE_MAX) {
            self.lines.push(Seen { at_micros: self.written_micros, text: piece.iter().collect() });
        }
    }
}

/// The line of the cursor.
fn row(terminal: &Terminal) -> String {
    let line = terminal.screen().line(terminal.cursor().row);
    line.map(|line| line.chars().collect()).unwrap_or_default()
}

impl Observer for &mut Reader {
    type Output = ();

    fn before(&mut self, context: &mut Observation<'_>, operation: &Operation) {
        let terminal = context.terminal();
        match operation {
            Operation::Function(Function::Print(_) | Function::Rep(_)) => {
                // The next character goes to the next line, which belongs to this one.
                if self.fresh && terminal.cursor().col >= terminal.size().0 {
                    self.carry.push_str(&row(terminal));
                    if self.carry.chars().count() >= LINE_MAX {
                        let carry = std::mem::take(&mut self.carry);
                        self.push(&carry);
                        self.last = None;
                    }
                }
            }
            Operation::Function(function) if stays_in_line(function) => {}
            Operation::Function(_) | Operation::Resize { .. } => self.leave(terminal),
        }
    }

    fn after(&mut self, _: &mut Observation<'_>, operation: &Operation) {
        if matches!(operation, Operation::Function(Function::Print(_) | Function::Rep(_))) {
            self.fresh = true;
            self.written_micros = self.now_micros;
        }
    }

    fn end(&mut self, _: &mut Observation<'_>) {}
}

/// Whether the cursor stays in its line, and the lines where they are: whatever is not named here may move them.
fn stays_in_line(function: &Function) -> bool {
    matches!(
        function,
        Function::Bs
            | Function::Cbt(_)
            | Function::Cha(_)
            | Function::Cht(_)
            | Function::Cr
            | Function::Ctc(_)
            | Function::Cub(_)
            | Function::Cuf(_)
            | Function::Dch(_)
            | Function::Decsc
            | Function::Ech(_)
            | Function::El(_)
            | Function::G1d4(_)
            | Function::Gzd4(_)
            | Function::Ht
            | Function::Hts
            | Function::Ich(_)
            | Function::Osc(_)
            | Function::Rm(_)
            | Function::Scosc
            | Function::Sgr(_)
            | Function::Si
            | Function::Sm(_)
            | Function::So
            | Function::Tbc(_)
            | Function::Xtwinops(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(size: (u32, u32), events: &[(u64, &str)]) -> Vec<(u64, String)> {
        let mut screen = Screen::new(size).unwrap();
        for (millis, text) in events {
            screen.output(millis * 1000, text);
        }
        screen.finish().into_iter().map(|seen| (seen.at_micros / 1000, seen.text)).collect()
    }

    #[track_caller]
    fn check(events: &[(u64, &str)], expect: &[(u64, &str)]) {
        let expect: Vec<(u64, String)> = expect.iter().map(|(at, text)| (*at, (*text).to_owned())).collect();
        assert_eq!(seen((20, 5), events), expect, "{events:?}");
    }

    #[test]
    fn lines_with_their_times() {
        check(&[(100, "one\r\ntwo\r\n"), (900, "three")], &[(100, "one"), (100, "two"), (900, "three")]);
        // Typed slowly: one line, and its last moment.
        let typed = [(0, "$ "), (1000, "l"), (2000, "s"), (3000, "\r\nfile\r\n")];
        check(&typed, &[(2000, "$ ls"), (3000, "file")]);
        // Corrected with backspace.
        check(&[(0, "$ lx\u{8} \u{8}s\r\n")], &[(0, "$ ls")]);
        // Through the colours, and over the edge of the screen.
        check(&[(0, "\u{1b}[31mred\u{1b}[0m and\u{1b}]0;title\u{7} plain\r\n")], &[(0, "red and plain")]);
        check(&[(0, "0123456789012345678901234\r\nx\r\n")], &[(0, "0123456789012345678901234"), (0, "x")]);
        check(&[(0, "你好世界\r\n👍 e\u{301}\r\n")], &[(0, "你好世界"), (0, "👍 e\u{301}")]);
    }

    #[test]
    fn what_is_wiped_off_was_seen() {
        check(&[(0, "secret\u{1b}[2J\u{1b}[Hafter\r\n")], &[(0, "secret"), (0, "after")]);
        check(&[(0, "pass: hunter2"), (700, "\r\u{1b}[Kgone\r\n")], &[(0, "pass: hunter2"), (700, "gone")]);
        // Too short for anybody to read.
        check(&[(0, "pass: hunter2"), (100, "\r\u{1b}[Kgone\r\n")], &[(100, "gone")]);
        // Editors and pagers use another screen, and write anywhere.
        let editor = "\u{1b}[?1049h\u{1b}[2J\u{1b}[3;3Hsecond\u{1b}[1;1Hfirst";
        check(
            &[(0, "$ vi\r\n"), (50, editor), (90, "\u{1b}[?1049l$ ")],
            &[(0, "$ vi"), (50, "  second"), (50, "first"), (90, "$")],
        );
        check(&[(0, "before reset\u{1b}c")], &[(0, "before reset")]);
    }

    #[test]
    fn a_picture_that_is_drawn_again_is_one() {
        let mut events = Vec::new();
        for n in 0..20 {
            events.push((n * 3000, "\u{1b}[H\u{1b}[2Jload\r\nfree\r\n"));
        }
        check(&events, &[(0, "load"), (0, "free")]);
        // Later it is worth a line again.
        check(&[(0, "x\r\n"), (61_000, "x\r\n")], &[(0, "x"), (61_000, "x")]);
    }

    #[test]
    fn sizes_that_nobody_has() {
        for size in [(0, 0), (1, 1), (u32::MAX, u32::MAX), (2, 1)] {
            let lines = seen(size, &[(0, "a你b\r\n\u{1b}[999;999Hz\u{1b}[5S\u{1b}[3L"), (9, "end")]);
            assert!(lines.iter().any(|(_, text)| text.contains('z')), "{size:?}: {lines:?}");
        }
        let mut screen =
            Screen::of_header("{\"version\": 2, \"width\": 4000000000, \"height\": 70000}").unwrap();
        assert_eq!(screen.size(), (1000, 500));
        for (at, text) in [(1, "0x0"), (2, "1x1"), (3, "300x200"), (4, "x"), (5, "99999999999x1")] {
            screen.event(&JoinedEvent { at_micros: at, letter: 'r', text: text.into() });
            screen.event(&JoinedEvent { at_micros: at, letter: 'o', text: "wörld ".into() });
        }
        assert_eq!(screen.size(), (300, 200));
        assert!(!screen.take().is_empty());
    }

    #[test]
    fn a_dump_is_the_screen() {
        let mut screen = Screen::new((20, 5)).unwrap();
        screen.output(0, "one\r\n\u{1b}[31mtwo\u{1b}[2;9H");
        let mut copy = Screen::new((20, 5)).unwrap();
        copy.output(0, &screen.dump());
        screen.output(1, "x");
        copy.output(1, "x");
        assert_eq!(copy.terminal.screen().text(), screen.terminal.screen().text());
        assert_eq!(screen.terminal.screen().text()[1].trim_end(), "two     x");
    }

    #[test]
    fn a_line_without_end_stays_bounded() {
        let long: String = (0..5000).map(|n| format!("{n} ")).collect();
        let lines = seen((80, 24), &[(0, &long)]);
        assert!(lines.iter().all(|(_, text)| text.chars().count() <= LINE_MAX + 80));
        let all: usize = lines.iter().map(|(_, text)| text.len()).sum();
        assert!(all > 23_000 && all <= long.len(), "{all}");
    }
}
