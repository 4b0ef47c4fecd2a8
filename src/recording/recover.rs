//! What a crash left: cut to the last whole line, marked and sealed as interrupted. Decides what is damage of a crash
//! (a torn end) and what is not (damage before whole events: that is left alone, for somebody must look at it).

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::asciicast::{self, Encoder, Header};
use super::chain::{Chain, Head, Reading};
use super::event::{Event, Line};
use super::folder::{CHAIN, EVENTS, Folder, LINE_MAX, Lines, SESSION};
use super::key::RecordingKey;
use super::place::{self, locate};
use super::recorder::RecorderError;
use super::seal::{self, Seal};
use super::tally::{Sum, Tally};
use super::verify;
use crate::ids::SessionId;

/// The label of the last event of an interrupted recording.
pub const INTERRUPTED: &str = "recording interrupted";

/// Repairs the cast at `relative` below `dir`, of before there were folders, after a crash of its writer and seals it.
/// Running it again changes nothing. `relative` is not trusted (see [`locate`]). Blocks: call it off the async threads.
///
/// Errors: the file is missing, still being written, not a recording's path, or damaged in its middle (then it is left
/// as it is).
pub fn recover(dir: &Path, relative: &str) -> Result<Seal, RecorderError> {
    let path = locate(dir, relative)?;
    let failed = |what: String| RecorderError::new(&path, what);
    let io = |error: io::Error| RecorderError::new(&path, format!("cannot recover it: {error}"));
    let named = std::fs::symlink_metadata(&path).map_err(io)?;
    let file = OpenOptions::new().read(true).write(true).open(&path).map_err(io)?;
    let opened = file.metadata().map_err(io)?;
    if (named.dev(), named.ino()) != (opened.dev(), opened.ino()) {
        return Err(failed("was exchanged while it was opened".to_owned()));
    }
    file.try_lock()
        .map_err(|error| failed(format!("is still being written, or cannot be locked: {error}")))?;
    let sum = mend(&path, &file, true)?;
    Ok(Seal { bytes: sum.bytes, sha256: sum.sha256, interrupted: true })
}

/// Cuts a cast to its last whole line, and marks its end when it is to be marked.
fn mend(path: &Path, mut file: &File, mark: bool) -> Result<Sum, RecorderError> {
    let io = |error: io::Error| RecorderError::new(path, format!("cannot recover it: {error}"));
    let mut scan = scan(file).map_err(io)?;
    if let Some(line) = scan.damaged_before {
        let what =
            format!("line {line} is a whole event after damage that no crash leaves; it was not changed");
        return Err(RecorderError::new(path, what));
    }
    let addition = if mark || scan.lines == 0 { scan.addition() } else { String::new() };
    file.set_len(scan.kept).map_err(io)?;
    file.seek(SeekFrom::End(0)).map_err(io)?;
    file.write_all(addition.as_bytes()).map_err(io)?;
    file.sync_all().map_err(io)?;
    scan.tally.add(addition.as_bytes());
    Ok(scan.tally.sum(&path.file_name().unwrap_or_default().to_string_lossy()))
}

/// What became of a folder that a crash left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Its seal.
    pub seal: Seal,
    /// Why the session ended, when the crash came after that: the folder was sealed already.
    pub reason: Option<String>,
}

/// Repairs the folder of `session` at `relative` below `dir` after a crash of its writer: casts and events are cut to their last whole
/// line and marked, and all is sealed as interrupted. A folder that is sealed already is left alone.
///
/// Errors: as [`recover`]; also, when what is there contradicts its own checkpoints.
pub(super) fn recover_folder(
    dir: &Path,
    relative: &str,
    session: &SessionId,
    key: &RecordingKey,
    node: &str,
    sealed: String,
) -> Result<Recovered, RecorderError> {
    let path = place::locate_folder(dir, relative)?;
    let failed = |what: String| RecorderError::new(&path, what);
    let io = |error: io::Error| RecorderError::new(&path, format!("cannot recover it: {error}"));
    let events =
        OpenOptions::new().append(true).read(true).create(true).open(path.join(EVENTS)).map_err(io)?;
    events
        .try_lock()
        .map_err(|error| failed(format!("is still being written, or cannot be locked: {error}")))?;
    let folder = Folder::copy(path.clone());
    if let Ok(verified) = verify::verify(&folder, session, std::slice::from_ref(key.public())) {
        let bytes = verified.seal.files.iter().map(|sum| sum.bytes).sum();
        let interrupted = verified.seal.interrupted;
        let seal = Seal { bytes, sha256: verified.sha256, interrupted };
        return Ok(Recovered { seal, reason: Some(verified.seal.reason) });
    }
    let mut sums = Vec::new();
    let casts = folder.casts().map_err(io)?;
    // First what was there before is compared with its checkpoints: nothing is changed when it contradicts them.
    let chain = Claims::read(&path).map_err(io)?;
    chain.check(&path).map_err(|what| failed(format!("{what}; it was not changed")))?;
    for (n, cast) in casts.iter().enumerate() {
        let file = OpenOptions::new().read(true).write(true).open(cast).map_err(io)?;
        sums.push(mend(cast, &file, n + 1 == casts.len())?);
    }
    let (events, complete) = mend_events(&path, &events).map_err(io)?;
    sums.push(events);
    let mut whole = vec![read_sum(&path, SESSION).map_err(io)?];
    whole.extend(sums.iter().cloned());
    let head = chain.go_on(&path, sums).map_err(io)?;
    whole.push(read_sum(&path, CHAIN).map_err(io)?);
    seal::remove(&path).map_err(io)?;
    let ending = seal::Ending {
        session,
        node,
        sealed,
        reason: "interrupted",
        interrupted: true,
        complete,
        head,
        files: whole,
    };
    Ok(Recovered { seal: seal::seal(&path, key, ending)?, reason: None })
}

/// Removes a folder that nobody writes, nobody sealed, and that holds nothing but a beginning: what more was written belongs to a session,
/// even if no row names it.
pub(super) fn remove_begun(dir: &Path, relative: &str) -> Result<(), RecorderError> {
    let path = place::locate_folder(dir, relative)?;
    let failed = |what: String| RecorderError::new(&path, what);
    match File::open(path.join(EVENTS)) {
        Ok(events) => {
            events.try_lock().map_err(|error| failed(format!("is still being written: {error}")))?
        }
        // It came not even to that; or somebody is about to make them, whose folder is not empty then.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return std::fs::remove_dir(&path).map_err(|error| failed(format!("cannot remove it: {error}")));
        }
        Err(error) => return Err(failed(error.to_string())),
    }
    let begun = |name: &str, most: usize| -> io::Result<bool> {
        let mut lines = match Lines::open(&path.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            lines => lines?,
        };
        let mut count = 0;
        while lines.next_line()?.is_some() {
            count += 1;
        }
        Ok(count <= most)
    };
    // The header and the marker of a command; its event; the first checkpoint.
    let is_beginning = [("0001.cast", 2), (EVENTS, 1), (CHAIN, 1), ("0002.cast", 0)]
        .into_iter()
        .try_fold(true, |all, (name, most)| Ok::<_, io::Error>(all && begun(name, most)?));
    if !is_beginning.map_err(|error| failed(error.to_string()))? {
        return Err(failed(
            "has more than a beginning, and no session in the database; it was left alone".to_owned(),
        ));
    }
    std::fs::remove_dir_all(&path).map_err(|error| failed(format!("cannot remove it: {error}")))
}

/// Cuts `events.ndjson` to its last whole line and adds that the session was interrupted. False when it says that the session went
/// on unrecorded.
fn mend_events(path: &Path, mut file: &File) -> io::Result<(Sum, bool)> {
    let mut tally = Tally::default();
    let (mut last, mut kept, mut complete) = (None::<Line>, 0, true);
    let mut reader = BufReader::new(File::open(path.join(EVENTS))?);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.by_ref().take(LINE_MAX).read_until(b'\n', &mut line)? == 0 || !line.ends_with(b"\n") {
            break;
        }
        let Ok(read) = serde_json::from_slice::<Line>(&line) else { break };
        tally.add(&line);
        kept += line.len() as u64;
        complete &= !matches!(read.event, Event::Lost { .. });
        last = Some(read);
    }
    file.set_len(kept)?;
    if !last.as_ref().is_some_and(|line| line.event == (Event::Interrupted {})) {
        let (n, t) = last.map_or((1, 0.0), |line| (line.n + 1, line.t));
        let line = Line { n, t, cast: None, offset: None, event: Event::Interrupted {} };
        let text = serde_json::to_string(&line).map_err(io::Error::other)? + "\n";
        file.write_all(text.as_bytes())?;
        tally.add(text.as_bytes());
    }
    file.sync_all()?;
    Ok((tally.sum(EVENTS), complete))
}

fn read_sum(path: &Path, name: &str) -> io::Result<Sum> {
    let mut tally = Tally::default();
    let mut file = BufReader::with_capacity(128 * 1024, File::open(path.join(name))?);
    loop {
        let bytes = file.fill_buf()?;
        if bytes.is_empty() {
            return Ok(tally.sum(name));
        }
        tally.add(bytes);
        let read = bytes.len();
        file.consume(read);
    }
}

/// What the checkpoints say, up to the last whole line.
struct Claims {
    reading: Reading,
    kept: u64,
    sums: Vec<Sum>,
}

impl Claims {
    fn read(path: &Path) -> io::Result<Self> {
        let mut claims = Self { reading: Reading::new(), kept: 0, sums: Vec::new() };
        // The first checkpoint is on the disk before a session begins.
        let mut lines = Lines::open(&path.join(CHAIN))?;
        while let Some(line) = lines.next_line()? {
            let bytes = line.len() as u64 + 1;
            let Some(checkpoint) = claims.reading.take(line) else { break };
            claims.kept += bytes;
            claims.sums.extend(checkpoint.files);
        }
        if claims.sums.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it has no checkpoint; it was not changed",
            ));
        }
        Ok(claims)
    }

    /// Whether each file begins with what the checkpoints say. A checkpoint is written when what it tells of is on the disk.
    fn check(&self, path: &Path) -> Result<(), String> {
        let mut names: Vec<&str> = self.sums.iter().map(|sum| sum.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let points: Vec<(u64, String)> = self
                .sums
                .iter()
                .filter(|sum| sum.name == name)
                .map(|sum| (sum.bytes, sum.sha256.clone()))
                .collect();
            let Some((bytes, sha256)) = points.last().cloned() else { continue };
            let last = Sum { name: name.to_owned(), bytes, sha256 };
            match verify::examine(path, name, &points, &last, verify::Rest::Any) {
                Ok(None) => {}
                Ok(Some(place)) => return Err(format!("{name} is not what its checkpoints say: {place}")),
                Err(fault) => return Err(fault.to_string()),
            }
        }
        Ok(())
    }

    /// Adds the checkpoint over what is there now.
    fn go_on(self, path: &Path, sums: Vec<Sum>) -> io::Result<Head> {
        let mut file = OpenOptions::new().append(true).create(true).open(path.join(CHAIN))?;
        file.set_len(self.kept)?;
        let mut lines = String::new();
        let head = Chain::after(self.reading.head()).add(0, sums, &mut lines);
        file.write_all(lines.as_bytes())?;
        file.sync_all()?;
        Ok(head)
    }
}

/// What a pass over the file found.
struct Scan {
    /// Bytes of whole lines from the beginning.
    kept: u64,
    tally: Tally,
    lines: u64,
    last_micros: u64,
    /// The last line is our own mark.
    marked: bool,
    /// The last line is whole but for its newline.
    unended: bool,
    /// Number of a whole event line that stands after a damaged one.
    damaged_before: Option<u64>,
}

impl Scan {
    /// What must be appended to what is kept.
    fn addition(&self) -> String {
        let mut addition = String::new();
        if self.lines == 0 {
            let (title, command, term) = (INTERRUPTED, None, "");
            let size = asciicast::SIZE_DEFAULT;
            addition = Header { size, at_secs: None, title, command, term }.line();
        } else if self.unended {
            addition.push('\n');
        }
        if !self.marked {
            Encoder::new(true).marker(INTERRUPTED, self.last_micros, &mut addition);
        }
        addition
    }

    fn take(&mut self, line: &[u8]) -> bool {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        if self.lines == 0 {
            if !asciicast::is_header(text) {
                return false;
            }
        } else {
            let Some(event) = asciicast::parse_event(text) else { return false };
            self.last_micros = self.last_micros.max(event.at_micros);
            self.marked = event.letter == 'm' && event.text == INTERRUPTED;
        }
        self.lines += 1;
        self.kept += line.len() as u64;
        self.unended = text.len() == line.len();
        self.tally.add(line);
        true
    }
}

fn scan(file: &File) -> io::Result<Scan> {
    let mut scan = Scan {
        kept: 0,
        tally: Tally::default(),
        lines: 0,
        last_micros: 0,
        marked: false,
        unended: false,
        damaged_before: None,
    };
    let mut reader = BufReader::with_capacity(128 * 1024, file);
    let (mut line, mut number, mut damaged) = (Vec::new(), 0, false);
    loop {
        line.clear();
        if reader.by_ref().take(LINE_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(scan);
        }
        number += 1;
        if !damaged {
            damaged = !scan.take(&line);
        } else if asciicast::parse_event(line.strip_suffix(b"\n").unwrap_or(&line)).is_some() {
            scan.damaged_before = Some(number);
            return Ok(scan);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tally::digest;
    use super::*;

    const HEADER: &str = "{\"version\": 2, \"width\": 80, \"height\": 24}\n";
    const FRESH: &str =
        "{\"version\": 2, \"width\": 80, \"height\": 24, \"title\": \"recording interrupted\"}\n";

    fn mark(at: &str) -> String {
        format!("[{at}, \"m\", \"recording interrupted\"]\n")
    }

    fn check(name: &str, before: &[u8], expect: Option<String>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.cast");
        std::fs::write(&path, before).unwrap();
        let got = recover(dir.path(), "x.cast");
        let after = std::fs::read(&path).unwrap();
        let Some(expect) = expect else {
            assert!(got.is_err(), "{name}");
            assert_eq!(after, before, "{name}: left alone");
            return;
        };
        assert_eq!(String::from_utf8_lossy(&after), expect, "{name}");
        let seal = got.unwrap();
        let digest = digest(&after);
        assert_eq!(seal, Seal { bytes: after.len() as u64, sha256: digest, interrupted: true }, "{name}");
        assert_eq!(recover(dir.path(), "x.cast"), Ok(seal), "{name}: twice");
        assert_eq!(std::fs::read(&path).unwrap(), after, "{name}: twice");
    }

    #[test]
    fn rows() {
        let a = "[0.500000, \"o\", \"a\"]\n";
        let b = "[1.250000, \"o\", \"\u{20ac}\"]\n";
        let whole = format!("{HEADER}{a}{b}");
        let kept = |lines: &str, at: &str| Some(format!("{HEADER}{lines}{}", mark(at)));
        check("whole", whole.as_bytes(), kept(&format!("{a}{b}"), "1.250000"));
        check("only the header", HEADER.as_bytes(), kept("", "0.000000"));
        check("empty", b"", Some(format!("{FRESH}{}", mark("0.000000"))));
        check("torn header", b"{\"version\": 2, \"wid", Some(format!("{FRESH}{}", mark("0.000000"))));
        check("zeros", &[0; 5000], Some(format!("{FRESH}{}", mark("0.000000"))));
        check(
            "zeros at the end",
            &[whole.as_bytes(), &[0; 5000]].concat(),
            kept(&format!("{a}{b}"), "1.250000"),
        );
        check("two bad lines", format!("{whole}[2\n[3").as_bytes(), kept(&format!("{a}{b}"), "1.250000"));
        check("damage before whole events", format!("{HEADER}[0.1, \"o\n{b}").as_bytes(), None);
        check("torn header before events", format!("{{\"ver\n{a}").as_bytes(), None);
        for (name, line) in [
            ("four elements", "[2.0, \"o\", \"x\", 1]\n"),
            ("comment", "# x\n"),
            ("letter", "[2.0, \"x\", \"0\"]\n"),
            ("negative", "[-1.0, \"o\", \"0\"]\n"),
            ("lone surrogate", "[2.0, \"o\", \"\\ud800\"]\n"),
            ("blank", "\n"),
        ] {
            check(name, format!("{whole}{line}").as_bytes(), kept(&format!("{a}{b}"), "1.250000"));
        }
        check(
            "invalid UTF-8",
            &[whole.as_bytes(), b"[2.0, \"o\", \"\xff\"]\n"].concat(),
            kept(&format!("{a}{b}"), "1.250000"),
        );
        let (end, header) = (whole.len(), HEADER.len());
        for cut in header..end {
            let text = &whole.as_bytes()[..cut];
            let (lines, at) = match cut - header {
                n if n < a.len() - 1 => (String::new(), "0.000000"),
                n if n < a.len() + b.len() - 1 => (a.to_owned(), "0.500000"),
                _ => (format!("{a}{b}"), "1.250000"),
            };
            check(&format!("cut at {cut}"), text, kept(&lines, at));
        }
    }

    #[test]
    fn refusals() {
        let dir = tempfile::tempdir().unwrap();
        let missing = recover(dir.path(), "2026/11/21/x.cast").unwrap_err();
        assert!(missing.to_string().contains("is missing"), "{missing}");
        assert!(recover(dir.path(), "../x.cast").is_err());
        let path = dir.path().join("x.cast");
        std::fs::write(&path, HEADER).unwrap();
        let writer = File::open(&path).unwrap();
        writer.lock().unwrap();
        assert!(recover(dir.path(), "x.cast").unwrap_err().what.contains("still being written"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), HEADER);
    }
}
