//! A recording from some moment on, as one asciicast v2 that begins with the screen as it stood then. For players that cannot
//! be told where to begin. What is in it before that moment is played here, not there.

use std::io::{self, Write};
use std::time::Duration;

use serde_json::{Value, json};

use super::Folder;
use super::escape::{Newlines, push_escaped, push_seconds};
use super::screen::Screen;

/// Writes what `folder` holds from `at` on to `out`. Blocks.
///
/// Errors: as `export::write`; `InvalidInput` when the recording is over by then.
pub fn write(folder: &Folder, at: Duration, out: &mut dyn Write) -> io::Result<()> {
    let at_micros = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
    let mut joined = folder.joined()?;
    let mut screen = Screen::of_header(joined.header())?;
    let mut last = 0;
    let first = loop {
        match joined.next_event()? {
            Some(event) if event.at_micros < at_micros => {
                last = event.at_micros;
                screen.event(&event);
            }
            Some(event) => break event,
            None => {
                let length = last as f64 / 1e6;
                let message = format!("the recording is over after {length:.1} seconds");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
        }
    };
    writeln!(out, "{}", header(joined.header(), &screen, at.as_secs())?)?;
    let mut line = String::new();
    push(0, 'o', &screen.dump(), &mut line);
    let mut next = Some(first);
    while let Some(event) = next {
        push(event.at_micros - at_micros, event.letter, &event.text, &mut line);
        out.write_all(line.as_bytes())?;
        line.clear();
        next = joined.next_event()?;
    }
    out.flush()
}

/// The header with the size of that moment, and its time.
pub fn header(header: &str, screen: &Screen, later_secs: u64) -> io::Result<String> {
    let mut header: Value = serde_json::from_str(header).map_err(io::Error::other)?;
    let (columns, rows) = screen.size();
    let began = header.get("timestamp").and_then(Value::as_u64);
    if let Some(fields) = header.as_object_mut() {
        fields.insert("width".to_owned(), json!(columns));
        fields.insert("height".to_owned(), json!(rows));
        if let Some(began) = began {
            fields.insert("timestamp".to_owned(), json!(began.saturating_add(later_secs)));
        }
    }
    Ok(header.to_string())
}

/// One event, as a line with its newline.
pub fn push(micros: u64, letter: char, text: &str, line: &mut String) {
    line.push('[');
    push_seconds(micros, line);
    line.push_str(", \"");
    line.push(letter);
    line.push_str("\", \"");
    push_escaped(text, &mut Newlines::AsTheyAre, line);
    line.push_str("\"]\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "{\"version\": 2, \"width\": 80, \"height\": 24, \"timestamp\": 1700000000}\n";

    #[test]
    fn it_begins_with_the_screen_of_that_moment() {
        let dir = tempfile::tempdir().unwrap();
        let first =
            format!("{HEADER}[1.0, \"o\", \"one\\r\\n\"]\n[2.0, \"r\", \"40x10\"]\n[3.5, \"m\", \"mark\"]\n");
        let second = format!("{HEADER}[1.0, \"o\", \"two\\r\\n\"]\n[2.5, \"o\", \"three\\r\\n\"]\n");
        std::fs::write(dir.path().join("0001.cast"), first).unwrap();
        std::fs::write(dir.path().join("0002.cast"), second).unwrap();
        let folder = Folder::copy(dir.path().to_owned());
        let from = |secs: f64| {
            let mut out = Vec::new();
            write(&folder, Duration::from_secs_f64(secs), &mut out).map(|()| String::from_utf8(out).unwrap())
        };
        let text = from(4.25).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let header = json!({ "version": 2, "width": 40, "height": 10, "timestamp": 1_700_000_004 });
        assert_eq!(lines[0], header);
        let screen = lines[1][2].as_str().unwrap();
        assert_eq!((&lines[1][0], screen.contains("one")), (&json!(0.0), true), "{screen:?}");
        assert!(!screen.contains("two"));
        assert_eq!(lines[2..], [json!([0.25, "o", "two\r\n"]), json!([1.75, "o", "three\r\n"])]);
        // From the beginning everything is there, and nothing is after the end.
        assert_eq!(from(0.0).unwrap().lines().count(), 2 + 5);
        let error = from(6.5).unwrap_err();
        assert!(error.to_string().contains("over after 6.0 seconds"), "{error}");
    }
}
