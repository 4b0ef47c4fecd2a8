//! A recording as one plain cast for others to play: all parts joined, as asciicast v2, or v3
//! (<https://docs.asciinema.org/manual/asciicast/v3/>), whose times are intervals and which says how the command ended.
//! Decides only how lines look; whether the recording is what was sealed is `verify`'s matter.

use std::io::{self, Write};

use serde::Deserialize;

use super::Folder;
use super::escape::{Newlines, push_escaped, push_seconds};
use super::event::Event;

/// How the cast is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// asciicast v2: every asciinema and every player takes it.
    V2,
    /// asciicast v3: asciinema 3 and its player.
    V3,
}

/// Writes the recording in `folder` to `out`. Blocks.
///
/// Errors: a file cannot be read or is no cast, the session had no screen (`NotFound`), `out` takes no more.
pub fn write(folder: &Folder, format: Format, out: &mut dyn Write) -> io::Result<()> {
    let mut joined = folder.joined()?;
    let mut line = match format {
        Format::V2 => format!("{}\n", joined.header()),
        Format::V3 => header_v3(joined.header())?,
    };
    out.write_all(line.as_bytes())?;
    let mut before = 0;
    while let Some(event) = joined.next_event()? {
        // In v3 what stands is the time since the line before, so no rounding may add up: whole microseconds.
        let micros = match format {
            Format::V2 => event.at_micros,
            Format::V3 => event.at_micros - before,
        };
        before = event.at_micros;
        line.clear();
        push_event(micros, event.letter, &event.text, &mut line);
        out.write_all(line.as_bytes())?;
    }
    if format == Format::V3
        && let Some((at_micros, status)) = exit_status(folder)?
    {
        line.clear();
        push_event(at_micros.saturating_sub(before), 'x', &status.to_string(), &mut line);
        out.write_all(line.as_bytes())?;
    }
    out.flush()
}

fn push_event(micros: u64, letter: char, text: &str, line: &mut String) {
    line.push('[');
    push_seconds(micros, line);
    line.push_str(", \"");
    line.push(letter);
    line.push_str("\", \"");
    push_escaped(text, &mut Newlines::AsTheyAre, line);
    line.push_str("\"]\n");
}

/// When the command ended, and how, as `events.ndjson` says; none for what was interrupted, and for shells whose end
/// nobody told.
fn exit_status(folder: &Folder) -> io::Result<Option<(u64, u32)>> {
    let ended = |line: super::event::Line| match line.event {
        Event::Closed { exit_status: Some(status), .. } => {
            Some(((line.t.max(0.0) * 1e6).round() as u64, status))
        }
        Event::Closed { exit_status: None, .. }
        | Event::Command { .. }
        | Event::File { .. }
        | Event::Transfer { .. }
        | Event::ForwardOpened { .. }
        | Event::ForwardClosed { .. }
        | Event::Note { .. }
        | Event::Stream { .. }
        | Event::Part { .. }
        | Event::Lost { .. }
        | Event::Interrupted {} => None,
    };
    Ok(folder.events()?.into_iter().rev().find_map(ended))
}

/// What of a header of ours is carried over.
#[derive(Deserialize)]
struct HeaderV2 {
    width: u16,
    height: u16,
    timestamp: Option<u64>,
    title: Option<String>,
    command: Option<String>,
    #[serde(default)]
    env: EnvV2,
}

#[derive(Default, Deserialize)]
struct EnvV2 {
    #[serde(rename = "TERM")]
    term: Option<String>,
}

fn header_v3(header: &str) -> io::Result<String> {
    let header: HeaderV2 = serde_json::from_str(header).map_err(io::Error::other)?;
    let mut line =
        format!("{{\"version\": 3, \"term\": {{\"cols\": {}, \"rows\": {}", header.width, header.height);
    let text = |key: &str, value: Option<&str>, line: &mut String| {
        let Some(value) = value else { return };
        line.push_str(", \"");
        line.push_str(key);
        line.push_str("\": \"");
        push_escaped(value, &mut Newlines::AsTheyAre, line);
        line.push('"');
    };
    text("type", header.env.term.as_deref(), &mut line);
    line.push('}');
    if let Some(at) = header.timestamp {
        line.push_str(&format!(", \"timestamp\": {at}"));
    }
    text("title", header.title.as_deref(), &mut line);
    text("command", header.command.as_deref(), &mut line);
    line.push_str("}\n");
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::recording::asciicast;

    const HEADER: &str = "{\"version\": 2, \"width\": 80, \"height\": 24, \"timestamp\": 1700000000, \
                          \"title\": \"a \\\"b\\\"\", \"command\": \"x\\n\", \"env\": {\"TERM\": \"xterm\"}}\n";

    fn folder(top: &Path, parts: &[&str], events: &str) -> Folder {
        let path = top.join("ses_x");
        std::fs::create_dir(&path).unwrap();
        for (number, events) in (1..).zip(parts) {
            let name = crate::recording::folder::cast_name(number);
            std::fs::write(path.join(name), format!("{HEADER}{events}")).unwrap();
        }
        std::fs::write(path.join("events.ndjson"), events).unwrap();
        Folder::locate(top, "ses_x").unwrap()
    }

    fn written(folder: &Folder, format: Format) -> String {
        let mut out = Vec::new();
        write(folder, format, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    const CLOSED: &str = "{\"n\":1,\"t\":3.5,\"event\":\"closed\",\"reason\":\"finished\",\"exit_status\":42,\
                          \"bytes_in\":0,\"bytes_out\":2}\n";

    #[test]
    fn both_formats() {
        let top = tempfile::tempdir().unwrap();
        let one = "[0.5, \"o\", \"a\\u0000\\\"\\u20ac\"]\n[2.000001, \"r\", \"90x30\"]\n";
        let folder =
            folder(top.path(), &[one, "[0.25, \"o\", \"c\\r\\n\"]\n[0.25, \"m\", \"mark\"]\n"], CLOSED);
        let v2 = written(&folder, Format::V2);
        let expect = "[0.500000, \"o\", \"a\\u0000\\\"\u{20ac}\"]\n[2.000001, \"r\", \"90x30\"]\n\
                      [2.250001, \"o\", \"c\\r\\n\"]\n[2.250001, \"m\", \"mark\"]\n";
        assert_eq!(v2, format!("{HEADER}{expect}"));
        assert!(asciicast::is_header(v2.lines().next().unwrap().as_bytes()));
        let v3 = written(&folder, Format::V3);
        assert_eq!(
            v3,
            "{\"version\": 3, \"term\": {\"cols\": 80, \"rows\": 24, \"type\": \"xterm\"}, \"timestamp\": 1700000000, \
             \"title\": \"a \\\"b\\\"\", \"command\": \"x\\n\"}\n\
             [0.500000, \"o\", \"a\\u0000\\\"\u{20ac}\"]\n[1.500001, \"r\", \"90x30\"]\n\
             [0.250000, \"o\", \"c\\r\\n\"]\n[0.000000, \"m\", \"mark\"]\n[1.249999, \"x\", \"42\"]\n"
        );
    }

    #[test]
    fn what_is_missing_is_left_out() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("old.cast");
        std::fs::write(&path, "{\"version\": 2, \"width\": 1, \"height\": 1}\n[0.1, \"o\", \"x\"]\n")
            .unwrap();
        let old = Folder::locate(top.path(), "old.cast").unwrap();
        assert_eq!(
            written(&old, Format::V3),
            "{\"version\": 3, \"term\": {\"cols\": 1, \"rows\": 1}}\n[0.100000, \"o\", \"x\"]\n"
        );
        let none = folder(top.path(), &[], CLOSED);
        let error = write(&none, Format::V2, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
    }

    /// A year of events of a third of a second: v3 ends when v2 does.
    #[test]
    fn intervals_add_up() {
        let top = tempfile::tempdir().unwrap();
        let events: String = (1..5000).map(|n| format!("[{}, \"o\", \"x\"]\n", f64::from(n) / 3.0)).collect();
        let folder = folder(top.path(), &[&events], "");
        let micros =
            |line: &str| -> u64 { line[1..line.find(',').unwrap()].replace('.', "").parse().unwrap() };
        let v3: u64 = written(&folder, Format::V3).lines().skip(1).map(micros).sum();
        let v2 = written(&folder, Format::V2).lines().last().map(micros);
        assert_eq!(Some(v3), v2);
    }
}
