//! Reads a recording as text: commands, files and forwards from `events.ndjson`, and what stood on the screen. Bounded, and
//! off the path of the bytes. What it is worth to whoever searches is decided elsewhere; that recordings are whole is `verify`'s.

use std::io;

use super::Folder;
use super::event::{Event, Line};
use super::folder::{EVENTS, Lines};
use super::screen::Screen;
use super::words::words;

/// Text that is kept of one recording, in bytes. What comes after that is not found, and that is said.
const TEXT_MAX: usize = 2 << 20;
/// Output that is read of one recording, in bytes.
const OUTPUT_MAX: usize = 512 << 20;
/// Text of a block, in bytes.
const BLOCK_MAX: usize = 8 << 10;

/// What a line tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A command line, exactly as it came.
    Command,
    /// An operation on a file in an sftp session.
    File,
    /// A forward.
    Forward,
    /// Something that the user was told.
    Note,
    /// A line of the screen.
    Screen,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Command, Self::File, Self::Forward, Self::Note, Self::Screen];

    /// The stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::File => "file",
            Self::Forward => "forward",
            Self::Note => "note",
            Self::Screen => "screen",
        }
    }
}

/// Some lines of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Of this kind.
    pub kind: Kind,
    /// Milliseconds since the beginning of the recording, and the line.
    pub lines: Vec<(u64, String)>,
}

impl Block {
    /// Each of its words once.
    pub fn words(&self) -> Vec<String> {
        let mut all: Vec<String> = self.lines.iter().flat_map(|(_, line)| words(line)).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// A recording as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// All of it, in the order of time within each kind.
    pub blocks: Vec<Block>,
    /// There was more than is kept, or the rest cannot be read.
    pub cut: bool,
}

/// Reads `folder`; with `screen` also what stood on the screen. `command` is the command of the session's row, for recordings
/// whose events do not tell it. Blocks, and takes a while.
///
/// Errors: the files cannot be read. What is wrong in them cuts the text.
pub fn read(folder: &Folder, command: &str, screen: bool) -> io::Result<Text> {
    let mut text = Writing::default();
    events(folder, &mut text)?;
    if !command.is_empty() && text.blocks.iter().all(|block| block.kind != Kind::Command) {
        text.add(Kind::Command, 0, command);
    }
    if screen && !folder.casts()?.is_empty() {
        cast(folder, &mut text)?;
    }
    Ok(Text { blocks: text.blocks, cut: text.cut })
}

#[derive(Default)]
struct Writing {
    blocks: Vec<Block>,
    /// Bytes of the last block, and of all.
    bytes: (usize, usize),
    cut: bool,
}

impl Writing {
    /// False when there is no room for more.
    fn add(&mut self, kind: Kind, at_millis: u64, line: &str) -> bool {
        if self.bytes.1.saturating_add(line.len()) > TEXT_MAX {
            self.cut = true;
            return false;
        }
        self.bytes.1 += line.len();
        let line = (at_millis, line.to_owned());
        match self.blocks.last_mut() {
            Some(block) if block.kind == kind && self.bytes.0 + line.1.len() <= BLOCK_MAX => {
                self.bytes.0 += line.1.len();
                block.lines.push(line);
            }
            Some(_) | None => {
                self.bytes.0 = line.1.len();
                self.blocks.push(Block { kind, lines: vec![line] });
            }
        }
        true
    }
}

/// Commands first: whatever else there is, they are kept.
fn events(folder: &Folder, text: &mut Writing) -> io::Result<()> {
    if folder.is_alone() {
        return Ok(());
    }
    for commands in [true, false] {
        let mut lines = match Lines::open(&folder.path().join(EVENTS)) {
            Ok(lines) => lines,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        while let Some(line) = lines.next_line()? {
            let Ok(line) = serde_json::from_slice::<Line>(line) else {
                text.cut = true;
                break;
            };
            let Some((kind, said)) = told(line.event) else { continue };
            let millis = if line.t.is_finite() { (line.t.max(0.0) * 1000.0) as u64 } else { 0 };
            if (kind == Kind::Command) == commands && !text.add(kind, millis, &said) {
                break;
            }
        }
    }
    Ok(())
}

fn told(event: Event) -> Option<(Kind, String)> {
    Some(match event {
        Event::Command { command, .. } => (Kind::Command, command),
        Event::File { op, path, second, allowed, .. } => {
            let second = second.map(|second| format!(" {second}")).unwrap_or_default();
            (Kind::File, format!("{op} {path}{second}{}", if allowed { "" } else { " (refused)" }))
        }
        Event::ForwardOpened { direction, kind, what, addresses, .. } => (
            Kind::Forward,
            format!("{direction} {kind} {what} {}", addresses.join(" ")).trim_end().to_owned(),
        ),
        Event::Note { text } | Event::Lost { why: text } => (Kind::Note, text),
        Event::Transfer { .. }
        | Event::ForwardClosed { .. }
        | Event::Stream { .. }
        | Event::Part { .. }
        | Event::Closed { .. }
        | Event::Interrupted {} => return None,
    })
}

fn cast(folder: &Folder, text: &mut Writing) -> io::Result<()> {
    let mut joined = folder.joined()?;
    let mut screen = Screen::of_header(joined.header())?;
    let mut output = 0_usize;
    loop {
        let event = match joined.next_event() {
            Ok(Some(event)) => event,
            Ok(None) => break,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                text.cut = true;
                break;
            }
            Err(error) => return Err(error),
        };
        output = output.saturating_add(event.text.len());
        if output > OUTPUT_MAX {
            text.cut = true;
            break;
        }
        screen.event(&event);
        if output % (1 << 16) < event.text.len() && !keep(text, screen.take()) {
            return Ok(());
        }
    }
    keep(text, screen.finish());
    Ok(())
}

fn keep(text: &mut Writing, lines: Vec<super::screen::Seen>) -> bool {
    lines.into_iter().all(|line| text.add(Kind::Screen, line.at_micros / 1000, &line.text))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const HEADER: &str = "{\"version\": 2, \"width\": 80, \"height\": 24}\n";

    fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let folder = Folder::copy(dir.path().to_owned());
        (dir, folder)
    }

    fn lines(text: &Text) -> Vec<(&'static str, u64, &str)> {
        let of = |block: &'_ Block| block.kind.as_str();
        text.blocks
            .iter()
            .flat_map(|block| block.lines.iter().map(move |(at, line)| (of(block), *at, line.as_str())))
            .collect()
    }

    #[test]
    fn events_and_the_screen_of_all_parts() {
        let events = "\
{\"n\":1,\"t\":0.5,\"event\":\"note\",\"text\":\"welcome\"}
{\"n\":2,\"t\":1.25,\"event\":\"command\",\"command\":\"cat /etc/hosts\",\"sha256\":\"ab\",\"verdict\":\"allow\"}
{\"n\":3,\"t\":2.0,\"event\":\"file\",\"op\":\"rename\",\"path\":\"/a\",\"second\":\"/b\",\"allowed\":false,\"rule\":\"r\"}
{\"n\":4,\"t\":3.0,\"event\":\"closed\",\"reason\":\"finished\",\"bytes_in\":0,\"bytes_out\":0}
";
        let first = format!("{HEADER}[1.0, \"o\", \"$ cat /etc/ho\"]\n");
        let second = format!("{HEADER}[0.5, \"o\", \"sts\\r\\n127.0.0.1\\r\\n\"]\n[0.6, \"m\", \"mark\"]\n");
        let (_dir, folder) =
            folder(&[("events.ndjson", events), ("0001.cast", &first), ("0002.cast", &second)]);
        let text = read(&folder, "ignored", true).unwrap();
        assert!(!text.cut);
        assert_eq!(
            lines(&text),
            [
                ("command", 1250, "cat /etc/hosts"),
                ("note", 500, "welcome"),
                ("file", 2000, "rename /a /b (refused)"),
                ("screen", 1500, "$ cat /etc/hosts"),
                ("screen", 1500, "127.0.0.1"),
            ]
        );
        let commands = read(&folder, "", false).unwrap();
        assert!(commands.blocks.iter().all(|block| block.kind != Kind::Screen));
        assert_eq!(text.blocks[0].words(), ["cat", "etc", "hosts"]);
    }

    #[test]
    fn old_recordings_and_sessions_without_a_screen() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ses_x.cast"), format!("{HEADER}[1.0, \"o\", \"hi\\r\\n\"]\n")).unwrap();
        let alone = Folder::locate(dir.path(), "ses_x.cast").unwrap();
        let text = read(&alone, "echo hi", true).unwrap();
        assert_eq!(lines(&text), [("command", 0, "echo hi"), ("screen", 1000, "hi")]);
        let (_dir, none) = folder(&[("session.json", "{}")]);
        assert_eq!(read(&none, "", true).unwrap(), Text::default());
    }

    #[test]
    fn what_is_broken_or_too_much_is_cut() {
        let (_dir, torn) =
            folder(&[("0001.cast", &format!("{HEADER}[1.0, \"o\", \"hi\\r\\n\"]\n[2.0, \"o"))]);
        let text = read(&torn, "", true).unwrap();
        assert!(text.cut && lines(&text) == [("screen", 1000, "hi")], "{text:?}");
        let mut much = HEADER.to_owned();
        for n in 0..60_000 {
            much.push_str(&format!("[{n}.0, \"o\", \"{n} {}\\r\\n\"]\n", "y".repeat(70)));
        }
        let (_dir, much) = folder(&[("0001.cast", &much)]);
        let text = read(&much, "", true).unwrap();
        let bytes: usize = text.blocks.iter().flat_map(|b| &b.lines).map(|(_, line)| line.len()).sum();
        assert!(text.cut && bytes <= TEXT_MAX && bytes > TEXT_MAX - 200, "{bytes}");
        let of_block = |block: &Block| block.lines.iter().map(|(_, line)| line.len()).sum::<usize>();
        assert!(text.blocks.iter().all(|block| of_block(block) <= BLOCK_MAX));
    }
}
