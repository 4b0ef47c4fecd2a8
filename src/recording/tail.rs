//! Reads along while a recording is being written, from its files: what has come since the last look, and where that ended.
//! The writer is not asked for anything, and knows of nobody who reads. Blocks.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::str::FromStr;

use super::asciicast;
use super::folder::{JoinedEvent, cast_name};
use super::later;
use super::screen::Screen;

/// What is read at once, in bytes. A line of ours is shorter.
const PIECE: u64 = 256 * 1024;

/// A place in a recording, between two lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    part: u32,
    offset: u64,
    last_micros: u64,
    /// Added to the times of the part.
    shift_micros: u64,
}

/// A text that is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no place in a recording")]
pub struct BadPlace;

impl Place {
    /// Where every recording begins.
    pub const BEGIN: Self = Self { part: 1, offset: 0, last_micros: 0, shift_micros: 0 };

    /// Whether something stands behind this place and before the other.
    pub fn is_before(self, other: Self) -> bool {
        (self.part, self.offset) < (other.part, other.offset)
    }

    /// Microseconds since the beginning.
    pub fn at_micros(self) -> u64 {
        self.last_micros
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { part, offset, last_micros, shift_micros } = self;
        write!(f, "{part}-{offset}-{last_micros}-{shift_micros}")
    }
}

impl FromStr for Place {
    type Err = BadPlace;
    fn from_str(text: &str) -> Result<Self, BadPlace> {
        let numbers: Vec<u64> =
            text.split('-').map(|number| number.parse().map_err(|_| BadPlace)).collect::<Result<_, _>>()?;
        match *numbers.as_slice() {
            [part, offset, last_micros, shift_micros] => {
                let part = u32::try_from(part).map_err(|_| BadPlace)?;
                Ok(Self { part, offset, last_micros, shift_micros })
            }
            _ => Err(BadPlace),
        }
    }
}

/// What has come since `place` in the recording in `folder`, and where that ends. When nothing has come the place may still
/// be another one, and then there may be more; when it is the same, there is nothing yet.
pub fn read(folder: &Path, place: Place) -> io::Result<(Vec<JoinedEvent>, Place)> {
    // Asked first: once there is another part, nothing more comes in this one.
    let is_whole = folder.join(cast_name(place.part.saturating_add(1))).exists();
    let mut file = File::open(folder.join(cast_name(place.part)))?;
    file.seek(SeekFrom::Start(place.offset))?;
    let mut bytes = Vec::new();
    file.take(PIECE).read_to_end(&mut bytes)?;
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let mut now = place;
    let mut events = Vec::new();
    for line in bytes.get(..end).unwrap_or_default().split_inclusive(|byte| *byte == b'\n') {
        let begins = now.offset == 0;
        now.offset += line.len() as u64;
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        if begins && asciicast::is_header(line) {
            continue;
        }
        let Some(event) = asciicast::parse_event(line) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a line is no event"));
        };
        now.last_micros = now.last_micros.max(now.shift_micros.saturating_add(event.at_micros));
        events.push(JoinedEvent {
            at_micros: now.last_micros,
            letter: event.letter,
            text: event.text.into_owned(),
        });
    }
    if end == 0 {
        if bytes.len() as u64 >= PIECE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a line is too long"));
        }
        if is_whole {
            now = Place { part: place.part + 1, offset: 0, shift_micros: now.last_micros, ..now };
        }
    }
    Ok((events, now))
}

/// The screen as it stands now, as the header and first event of a cast, and where what comes next begins.
pub fn snapshot(folder: &Path) -> io::Result<(String, Place)> {
    let mut header = Vec::new();
    File::open(folder.join(cast_name(1)))?.take(PIECE).read_to_end(&mut header)?;
    let end = header.iter().position(|byte| *byte == b'\n').unwrap_or_default();
    let header = String::from_utf8_lossy(header.get(..end).unwrap_or_default()).into_owned();
    let mut screen = Screen::of_header(&header)?;
    let mut place = Place::BEGIN;
    loop {
        let (events, now) = read(folder, place)?;
        events.iter().for_each(|event| screen.event(event));
        // Its lines are nobody's concern here, and would add up.
        screen.take();
        if now == place {
            break;
        }
        place = now;
    }
    let mut cast = format!("{}\n", later::header(&header, &screen, place.at_micros() / 1_000_000)?);
    later::push(0, 'o', &screen.dump(), &mut cast);
    Ok((cast, place))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write as _;

    use super::*;

    const HEADER: &str = "{\"version\": 2, \"width\": 20, \"height\": 5, \"timestamp\": 1700000000}\n";

    fn texts(events: &[JoinedEvent]) -> Vec<(u64, &str)> {
        events.iter().map(|event| (event.at_micros, event.text.as_str())).collect()
    }

    #[test]
    fn reads_along_over_parts_and_torn_lines() {
        let dir = tempfile::tempdir().unwrap();
        let append = |name: &str, text: &str| {
            let mut file = OpenOptions::new().append(true).create(true).open(dir.path().join(name)).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        };
        append("0001.cast", HEADER);
        append("0001.cast", "[1.5, \"o\", \"one\\r\\n\"]\n[2.0, \"r\", \"30x6\"]\n[2.5, \"o\", \"tw");
        let (cast, place) = snapshot(dir.path()).unwrap();
        assert_eq!(place.to_string().parse(), Ok(place));
        assert_eq!(place.at_micros(), 2_000_000);
        let lines: Vec<serde_json::Value> =
            cast.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&lines[0]["width"], &lines[0]["timestamp"]), (&30.into(), &1_700_000_002_u64.into()));
        assert!(lines.len() == 2 && lines[1][2].as_str().unwrap().contains("one"), "{cast}");

        assert_eq!(read(dir.path(), place).unwrap(), (vec![], place), "a line that is being written waits");
        append("0001.cast", "o\"]\n");
        let (events, place) = read(dir.path(), place).unwrap();
        assert_eq!(texts(&events), [(2_500_000, "two")]);
        assert_eq!(read(dir.path(), place).unwrap(), (vec![], place));
        append("0002.cast", HEADER);
        append("0002.cast", "[0.5, \"o\", \"three\"]\n");
        let (events, place) = read(dir.path(), place).unwrap();
        assert!(events.is_empty());
        let (events, place) = read(dir.path(), place).unwrap();
        assert_eq!(texts(&events), [(3_000_000, "three")]);
        assert_eq!(read(dir.path(), place).unwrap(), (vec![], place));
        append("0002.cast", "no event\n");
        assert!(read(dir.path(), place).is_err());
    }

    #[test]
    fn long_recordings_come_in_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let mut cast = HEADER.to_owned();
        for n in 0..20_000 {
            cast.push_str(&format!("[{n}.0, \"o\", \"line {n}\\r\\n\"]\n"));
        }
        fs::write(dir.path().join("0001.cast"), &cast).unwrap();
        let (mut place, mut count) = (Place::BEGIN, 0);
        for _ in 0..100 {
            let (events, now) = read(dir.path(), place).unwrap();
            count += events.len();
            place = now;
        }
        assert_eq!((count, place.offset), (20_000, cast.len() as u64));
        assert!(snapshot(dir.path()).unwrap().0.contains("line 19999"));
        fs::write(dir.path().join("0001.cast"), format!("{HEADER}{}", "x".repeat(300_000))).unwrap();
        assert!(snapshot(dir.path()).is_err(), "no line of ours is so long");
    }

    #[test]
    fn what_is_no_place() {
        for text in
            ["", "1", "1-2-3", "1-2-3-4-5", "-1-2-3-4", "99999999999-1-1-1", "1-2-3-x", "../../etc/passwd"]
        {
            assert_eq!(text.parse::<Place>(), Err(BadPlace), "{text}");
        }
    }
}
