//! What a crash left: cut to the last whole line, marked and sealed as interrupted. Decides what is damage of a crash
//! (a torn end) and what is not (damage before whole events: that is left alone, for somebody must look at it).

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::asciicast::{self, Encoder, Header};
use super::budget::hex;
use super::place::locate;
use super::recorder::{RecorderError, Seal};

/// The label of the last event of an interrupted recording.
pub const INTERRUPTED: &str = "recording interrupted";
/// Longest line that is read; the recorder's are below 2 MiB even for the longest command in a header.
const LINE_MAX: u64 = 8 * 1024 * 1024;

/// Repairs the recording at `relative` below `dir` after a crash of its writer and seals it. Running it again changes
/// nothing. `relative` is not trusted (see [`locate`]). Blocks: call it off the async threads.
///
/// Errors: the file is missing, still being written, not a recording's path, or damaged in its middle (then it is left
/// as it is).
pub fn recover(dir: &Path, relative: &str) -> Result<Seal, RecorderError> {
    let path = locate(dir, relative)?;
    let failed = |what: String| RecorderError::new(&path, what);
    let io = |error: std::io::Error| RecorderError::new(&path, format!("cannot recover it: {error}"));
    let named = std::fs::symlink_metadata(&path).map_err(io)?;
    let mut file = OpenOptions::new().read(true).write(true).open(&path).map_err(io)?;
    let opened = file.metadata().map_err(io)?;
    if (named.dev(), named.ino()) != (opened.dev(), opened.ino()) {
        return Err(failed("was exchanged while it was opened".to_owned()));
    }
    file.try_lock()
        .map_err(|error| failed(format!("is still being written, or cannot be locked: {error}")))?;
    let mut scan = scan(&file).map_err(io)?;
    if let Some(line) = scan.damaged_before {
        let what =
            format!("line {line} is a whole event after damage that no crash leaves; it was not changed");
        return Err(failed(what));
    }
    let addition = scan.addition();
    file.set_len(scan.kept).map_err(io)?;
    file.seek(SeekFrom::End(0)).map_err(io)?;
    file.write_all(addition.as_bytes()).map_err(io)?;
    file.sync_all().map_err(io)?;
    scan.hash.update(addition.as_bytes());
    Ok(Seal { bytes: scan.kept + addition.len() as u64, sha256: hex(scan.hash), interrupted: true })
}

/// What a pass over the file found.
struct Scan {
    /// Bytes of whole lines from the beginning.
    kept: u64,
    hash: Sha256,
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
        self.hash.update(line);
        true
    }
}

fn scan(file: &File) -> std::io::Result<Scan> {
    let mut scan = Scan {
        kept: 0,
        hash: Sha256::new(),
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
        let digest = hex(Sha256::new_with_prefix(&after));
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
