//! The audit log outside of its database: one line of JSON for each entry, the same bytes in exports and in the copies of sinks,
//! and reading such lines back with their chain. What is in a line is a promise; adding to it is not possible without
//! breaking readers that check it byte for byte, so it says all there is.
//!
//! `{"seq":7,"at":"2026-11-21T06:00:00.123Z","kind":"...","fields":{...},"prev":"HEX or null","hash":"HEX or null"}`
//!
//! `fields` stands there byte for byte as it is hashed (`audit::chain`), `at` with its milliseconds, and `prev` is the hash of the entry
//! before, so that a part of the log can be checked too.

use std::io::{BufRead, Read as _};

use serde_json::Value;

use super::chain::{Broken, Head, Link, Walk};
use crate::plain;
use crate::time::Timestamp;

/// Longest line that is read.
const LINE_MAX: u64 = 16 * 1024 * 1024;

/// The columns of the CSV.
pub const CSV_HEAD: &str = "seq,at,kind,fields,prev,hash\r\n";

/// An entry outside of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Its kind.
    pub kind: String,
    /// Its fields as JSON, byte for byte as stored.
    pub json: String,
    /// The hash of the entry before; empty when it has none.
    pub prev: String,
    /// Its hash; none for what is older than the chain.
    pub hash: Option<String>,
}

impl Line {
    /// As the chain sees it.
    pub fn link(&self) -> Link<'_> {
        Link { seq: self.seq, at: self.at.as_millis(), kind: &self.kind, json: &self.json }
    }

    /// The line, without a newline.
    pub fn text(&self) -> String {
        let (front, back) = (self.front(), self.back());
        format!("{front}{}{back}", self.json)
    }

    /// A row of CSV. Text that a spreadsheet would take for a formula is defused, so this form cannot be verified.
    pub fn csv(&self) -> String {
        let hash = self.hash.clone().unwrap_or_default();
        let cells = [
            self.seq.to_string(),
            moment(self.at),
            self.kind.clone(),
            self.json.clone(),
            self.prev.clone(),
            hash,
        ];
        cells.map(|cell| plain::csv(&cell)).join(",") + "\r\n"
    }

    /// When, in RFC 3339, UTC, with milliseconds.
    pub fn moment(&self) -> String {
        moment(self.at)
    }

    fn front(&self) -> String {
        let kind = Value::from(self.kind.as_str());
        format!("{{\"seq\":{},\"at\":\"{}\",\"kind\":{kind},\"fields\":", self.seq, moment(self.at))
    }

    fn back(&self) -> String {
        let prev = Some(self.prev.as_str()).filter(|prev| !prev.is_empty());
        format!(",\"prev\":{},\"hash\":{}}}", Value::from(prev), Value::from(self.hash.as_deref()))
    }

    /// Reads a line. It must be exactly what [`Self::text`] makes of what stands in it.
    pub fn read(text: &str) -> Result<Self, BadLine> {
        let value: Value = serde_json::from_str(text).map_err(|_| BadLine)?;
        let field = |name: &str| value.get(name).ok_or(BadLine);
        let word = |name: &str| Ok(field(name)?.as_str().ok_or(BadLine)?.to_owned());
        let hash = |name: &str| match field(name)? {
            Value::Null => Ok(None),
            Value::String(hash) => Ok(Some(hash.clone())),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Err(BadLine),
        };
        let mut line = Self {
            seq: field("seq")?.as_u64().ok_or(BadLine)?,
            at: word("at")?.parse().map_err(|_| BadLine)?,
            kind: word("kind")?,
            json: String::new(),
            prev: hash("prev")?.unwrap_or_default(),
            hash: hash("hash")?,
        };
        let inner = text.strip_prefix(&line.front()).and_then(|rest| rest.strip_suffix(&line.back()));
        let json = inner.ok_or(BadLine)?;
        // With a second `hash` in it, it would not be one object.
        if !matches!(serde_json::from_str(json), Ok(Value::Object(_))) {
            return Err(BadLine);
        }
        json.clone_into(&mut line.json);
        Ok(line)
    }
}

/// RFC 3339 in UTC with milliseconds.
fn moment(at: Timestamp) -> String {
    let millis = i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| at.to_string(), |at| format!("{at:.3}"))
}

/// A line that is not as an export has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not a line of `caponier audit export`, byte for byte")]
pub struct BadLine;

/// Why a copy proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Its chain is broken.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// A line in it is no entry.
    #[error("line {line} (after entry {after}): {why}")]
    Unreadable {
        /// Which, from 1.
        line: u64,
        /// The last entry that was right.
        after: u64,
        /// What is wrong with it.
        why: String,
    },
}

/// A copy of the log, or of a part of it: its entries, each checked against the one before. It ends with the first error.
pub struct Copy<R> {
    reader: R,
    walk: Option<Walk>,
    line: u64,
    over: bool,
}

impl<R: BufRead> Copy<R> {
    /// Reads lines.
    pub fn new(reader: R) -> Self {
        Self { reader, walk: None, line: 0, over: false }
    }

    /// The last entry that was right; none before the first.
    pub fn head(&self) -> Option<&Head> {
        self.walk.as_ref().map(Walk::head)
    }

    fn unreadable(&self, why: impl ToString) -> CopyError {
        let after = self.head().map_or(0, |head| head.seq);
        CopyError::Unreadable { line: self.line, after, why: why.to_string() }
    }

    fn entry(&mut self) -> Result<Option<Line>, CopyError> {
        let mut bytes = Vec::new();
        self.line += 1;
        let read = self.reader.by_ref().take(LINE_MAX).read_until(b'\n', &mut bytes);
        if read.map_err(|error| self.unreadable(error))? == 0 {
            return Ok(None);
        }
        let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let text = std::str::from_utf8(text).map_err(|error| self.unreadable(error))?;
        let line = Line::read(text).map_err(|error| self.unreadable(error))?;
        let walk = match &mut self.walk {
            Some(walk) => walk,
            None if line.seq <= 1 => self.walk.insert(Walk::new(None)),
            None => {
                let before = Head { seq: line.seq - 1, hash: line.prev.clone() };
                self.walk.insert(Walk::after(before, None))
            }
        };
        if walk.head().seq.checked_add(1) == Some(line.seq) && walk.head().hash != line.prev {
            return Err(Broken::Previous { seq: line.seq }.into());
        }
        walk.step(line.link(), line.hash.as_deref())?;
        Ok(Some(line))
    }
}

impl<R: BufRead> Iterator for Copy<R> {
    type Item = Result<Line, CopyError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let entry = self.entry().transpose();
        self.over = !matches!(entry, Some(Ok(_)));
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::super::chain;
    use super::*;

    fn lines(count: u64) -> Vec<Line> {
        let mut prev = String::new();
        (1..=count)
            .map(|seq| {
                let at = Timestamp::from_millis(1_700_000_000_000 + seq);
                let json = format!("{{\"n\":{seq},\"text\":\"\\\"hash\\\":null}}\"}}");
                let mut line =
                    Line { seq, at, kind: "signed_in".into(), json, prev: prev.clone(), hash: None };
                let hash = chain::hash(&prev, line.link());
                prev.clone_from(&hash);
                line.hash = Some(hash);
                line
            })
            .collect()
    }

    fn read(texts: &[String]) -> Result<u64, CopyError> {
        let whole = texts.iter().map(|text| format!("{text}\n")).collect::<String>();
        let mut last = 0;
        for line in Copy::new(whole.as_bytes()) {
            last = line?.seq;
        }
        Ok(last)
    }

    #[test]
    fn a_line_comes_back() {
        let line = lines(1).remove(0);
        let hash = line.hash.clone().unwrap();
        let text = format!(
            "{{\"seq\":1,\"at\":\"2023-11-14T22:13:20.001Z\",\"kind\":\"signed_in\",\"fields\":\
             {{\"n\":1,\"text\":\"\\\"hash\\\":null}}\"}},\"prev\":null,\"hash\":\"{hash}\"}}"
        );
        assert_eq!(line.text(), text);
        assert_eq!(Line::read(&text), Ok(line.clone()));
        let old = Line { hash: None, ..line };
        assert_eq!(Line::read(&old.text()), Ok(old));
        for bad in [
            text.replace("\"n\":1", "\"n\": 1"),
            text.replace(".001Z", ".0010Z"),
            text.replace("\"seq\":1", "\"seq\":1.0"),
            text.replace("\"prev\":null,", ""),
            text.replace("{\"n\"", "{},\"hash\":null,\"fields\":{\"n\""),
            format!("{text} "),
            text.replace("{\"seq\"", "{\"more\":1,\"seq\""),
            String::new(),
            "[]".to_owned(),
        ] {
            // Other white space within the fields is read as it stands, and then its hash does not fit.
            let alone = Line::read(&bad).ok();
            let fits = alone.is_some_and(|line| Some(chain::hash(&line.prev, line.link())) == line.hash);
            assert!(!fits, "{bad}");
        }
        assert!(lines(1)[0].csv().starts_with("\"1\",\"2023-11-14T22:13:20.001Z\",\"signed_in\",\"{"));
    }

    #[test]
    fn whatever_is_done_to_a_copy_is_seen() {
        let whole: Vec<String> = lines(9).iter().map(Line::text).collect();
        assert_eq!(read(&whole).unwrap(), 9);
        assert_eq!(read(&whole[4..]).unwrap(), 9, "a part is whole in itself");
        type Change = fn(&mut Vec<String>);
        let rows: [(&str, Change, u64); 6] = [
            ("a removed line", |texts| drop(texts.remove(4)), 5),
            ("two swapped", |texts| texts.swap(3, 4), 4),
            ("an edited one", |texts| texts[4] = texts[4].replace("\"n\":5", "\"n\":6"), 5),
            ("one twice", |texts| texts.insert(4, texts[4].clone()), 5),
            (
                "another prev",
                |texts| texts[4] = Line { prev: "0".repeat(64), ..lines(9).remove(4) }.text(),
                5,
            ),
            (
                "one in its place that fits itself",
                |texts| {
                    let mut line = lines(9).remove(4);
                    line.json = "{}".into();
                    line.hash = Some(chain::hash(&line.prev, line.link()));
                    texts[4] = line.text();
                },
                6,
            ),
        ];
        for (what, change, seq) in rows {
            let mut texts = whole.clone();
            change(&mut texts);
            let Err(CopyError::Broken(broken)) = read(&texts) else { panic!("{what}") };
            assert_eq!(broken.seq(), seq, "{what}: {broken}");
        }
        let mut torn = whole.clone();
        torn[8].truncate(50);
        let error = read(&torn).unwrap_err().to_string();
        assert!(error.starts_with("line 9 (after entry 8)"), "{error}");
    }
}
