//! A recorded session as it lies on a disk: one folder with the files named here. Reading only; what is written when is
//! the recorder's matter, and whether it is what was sealed `verify`'s.
//!
//! | file | what it is |
//! |---|---|
//! | `session.json` | who, where, as whom, on which grants: written before the session begins, never changed |
//! | `0001.cast`, `0002.cast`, ... | the screen as asciicast v2, in parts that each play alone; none for sftp and forwards |
//! | `events.ndjson` | what happened beside the screen: [`super::event`] |
//! | `chain.ndjson` | checkpoints while it ran |
//! | `seal.json` | how it ended, with length and SHA-256 of each file |
//! | `seal.sig` | a signature (SSHSIG) over what `sha256sum` prints for all the others |

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::asciicast::{self, Event as CastEvent};
use super::event::Line;
use super::place;
use super::recorder::RecorderError;

/// Written first.
pub const SESSION: &str = "session.json";
/// What happened beside the screen.
pub const EVENTS: &str = "events.ndjson";
/// Checkpoints.
pub const CHAIN: &str = "chain.ndjson";
/// Written last but for its signature.
pub const SEAL: &str = "seal.json";
/// The signature.
pub const SIGNATURE: &str = "seal.sig";
/// Longest line that is read of any file.
pub(super) const LINE_MAX: u64 = 8 * 1024 * 1024;

/// The name of a part of the cast, from 1.
pub fn cast_name(part: u32) -> String {
    format!("{part:04}.cast")
}

/// Whether `name` is a part of the cast.
pub fn is_cast(name: &str) -> bool {
    name.strip_suffix(".cast").is_some_and(|number| {
        number.len() >= 4 && number.bytes().all(|b| b.is_ascii_digit()) && number.bytes().any(|b| b != b'0')
    })
}

/// Whether `name` is a file of a recording, other than the signature.
pub fn is_content(name: &str) -> bool {
    matches!(name, SESSION | EVENTS | CHAIN | SEAL) || is_cast(name)
}

/// A recorded session on a disk: a folder, or, for those of before version 0.2, one cast.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    /// Recorded before there were folders.
    alone: bool,
}

impl Folder {
    /// The recording at `relative` below `dir`. `relative` comes from the database and is not trusted: it must name an
    /// existing folder (or plain `.cast` file) below `dir`, without `..` and without passing through a symbolic link.
    pub fn locate(dir: &Path, relative: &str) -> Result<Self, RecorderError> {
        if relative.ends_with(".cast") {
            return Ok(Self { path: place::locate(dir, relative)?, alone: true });
        }
        Ok(Self { path: place::locate_folder(dir, relative)?, alone: false })
    }

    /// A copy that lies elsewhere, in the shape of a recording's folder.
    pub fn copy(path: PathBuf) -> Self {
        Self { path, alone: false }
    }

    /// The folder; the cast itself for what was recorded before there were folders.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is one cast alone, with nothing that seals it but the digest in the database.
    pub fn is_alone(&self) -> bool {
        self.alone
    }

    /// The names of its files but the signature's, in the order in which they are sealed.
    pub fn names(&self) -> io::Result<Vec<String>> {
        if self.alone {
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != SIGNATURE {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The parts of the cast, in their order; none for sessions without a screen.
    pub fn casts(&self) -> io::Result<Vec<PathBuf>> {
        if self.alone {
            return Ok(vec![self.path.clone()]);
        }
        let mut parts: Vec<String> = self.names()?.into_iter().filter(|name| is_cast(name)).collect();
        parts.sort_unstable_by_key(|name| (name.len(), name.clone()));
        Ok(parts.into_iter().map(|name| self.path.join(name)).collect())
    }

    /// The lines of `events.ndjson`, up to the first that cannot be read (an error).
    pub fn events(&self) -> io::Result<Vec<Line>> {
        if self.alone {
            return Ok(Vec::new());
        }
        let mut lines = Lines::open(&self.path.join(EVENTS))?;
        let mut events = Vec::new();
        while let Some(line) = lines.next_line()? {
            events.push(serde_json::from_slice(line).map_err(io::Error::other)?);
        }
        Ok(events)
    }

    /// The whole cast, all parts as one.
    pub fn joined(&self) -> io::Result<Joined> {
        Joined::open(self.casts()?)
    }
}

/// The lines of a file, one at a time, without their newlines.
pub(super) struct Lines {
    reader: BufReader<File>,
    line: Vec<u8>,
}

impl Lines {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { reader: BufReader::with_capacity(128 * 1024, File::open(path)?), line: Vec::new() })
    }

    /// The next line, none at the end.
    pub(super) fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        self.line.clear();
        if self.reader.by_ref().take(LINE_MAX).read_until(b'\n', &mut self.line)? == 0 {
            return Ok(None);
        }
        Ok(Some(self.line.strip_suffix(b"\n").unwrap_or(&self.line)))
    }
}

/// The parts of a cast read as one: times count from the beginning of the first.
pub struct Joined {
    header: String,
    parts: std::vec::IntoIter<PathBuf>,
    lines: Lines,
    /// Added to the times of the part at hand.
    shift_micros: u64,
    last_micros: u64,
}

/// An event of a joined cast.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinedEvent {
    /// Microseconds since the beginning of the first part.
    pub at_micros: u64,
    /// `o`, `i`, `r` or `m`.
    pub letter: char,
    /// Its text.
    pub text: String,
}

impl Joined {
    fn open(parts: Vec<PathBuf>) -> io::Result<Self> {
        let mut parts = parts.into_iter();
        let first =
            parts.next().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it has no screen"))?;
        let mut lines = Lines::open(&first)?;
        let header = header(&mut lines)?;
        Ok(Self { header, parts, lines, shift_micros: 0, last_micros: 0 })
    }

    /// The header line of the first part, without its newline.
    pub fn header(&self) -> &str {
        &self.header
    }

    /// The next event; none at the end.
    pub fn next_event(&mut self) -> io::Result<Option<JoinedEvent>> {
        loop {
            if let Some(line) = self.lines.next_line()? {
                let Some(CastEvent { at_micros, letter, text }) = asciicast::parse_event(line) else {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "a line is no event"));
                };
                self.last_micros = self.last_micros.max(self.shift_micros + at_micros);
                return Ok(Some(JoinedEvent {
                    at_micros: self.last_micros,
                    letter,
                    text: text.into_owned(),
                }));
            }
            let Some(next) = self.parts.next() else { return Ok(None) };
            self.lines = Lines::open(&next)?;
            header(&mut self.lines)?;
            self.shift_micros = self.last_micros;
        }
    }
}

fn header(lines: &mut Lines) -> io::Result<String> {
    match lines.next_line()? {
        Some(line) if asciicast::is_header(line) => Ok(String::from_utf8_lossy(line).into_owned()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "its first line is no header of an asciicast")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "{\"version\": 2, \"width\": 80, \"height\": 24}\n";

    #[test]
    fn names() {
        assert_eq!(cast_name(1), "0001.cast");
        assert_eq!(cast_name(12345), "12345.cast");
        for name in ["0001.cast", "9999.cast", "10000.cast", SESSION, EVENTS, CHAIN, SEAL] {
            assert!(is_content(name), "{name}");
        }
        for name in ["0000.cast", "1.cast", "a001.cast", ".cast", "0001.cast.zst", SIGNATURE, "x", ""] {
            assert!(!is_content(name), "{name}");
        }
    }

    #[test]
    fn parts_are_read_as_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ses_x");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("0001.cast"), format!("{HEADER}[0.5, \"o\", \"a\"]\n[2.0, \"o\", \"b\"]\n"))
            .unwrap();
        std::fs::write(path.join("0002.cast"), format!("{HEADER}[0.25, \"o\", \"c\"]\n")).unwrap();
        std::fs::write(path.join(SESSION), "{}").unwrap();
        let folder = Folder::locate(dir.path(), "ses_x").unwrap();
        assert_eq!(folder.names().unwrap(), ["0001.cast", "0002.cast", SESSION]);
        let mut joined = folder.joined().unwrap();
        assert_eq!(joined.header(), HEADER.trim_end());
        let mut all = Vec::new();
        while let Some(event) = joined.next_event().unwrap() {
            all.push((event.at_micros, event.text));
        }
        let expect = [(500_000, "a"), (2_000_000, "b"), (2_250_000, "c")];
        assert_eq!(all, expect.map(|(at, text)| (at, text.to_owned())));
        std::fs::write(path.join("0002.cast"), "x\n").unwrap();
        let mut joined = folder.joined().unwrap();
        assert!((0..3).any(|_| joined.next_event().is_err()));
    }
}
