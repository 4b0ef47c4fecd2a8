//! Reads a TOML file as a tree that remembers where everything stands, and collects every problem instead of
//! stopping at the first. It knows TOML and positions; what keys there are and what they mean is left to its callers.
//! A key that nobody asked for is unknown, and unknown keys are refused.

use std::cell::RefCell;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Problem;
use super::units::{self, Bounds};

/// Largest file that is read, in bytes. A configuration is written by people.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Where in the file something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nowhere in particular: it concerns the file.
    File,
    /// At this byte.
    Byte(usize),
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    /// The value.
    pub(crate) value: T,
    /// Where.
    pub(crate) place: Place,
}

/// Reads the file as text. Too large, not UTF-8, not there, writable by everybody: a problem of the whole file.
pub(crate) fn read_text(path: &Path) -> Result<String, Problem> {
    let whole = |message| Problem { file: path.to_owned(), line: 0, column: 0, message };
    let meta = std::fs::metadata(path).map_err(|e| whole(format!("cannot be read: {e}")))?;
    if !meta.is_file() {
        return Err(whole("is not a file".into()));
    }
    if meta.len() > FILE_BYTES_MAX {
        return Err(whole(format!("is larger than {FILE_BYTES_MAX} bytes")));
    }
    if super::files::mode(&meta) & 0o002 != 0 {
        return Err(whole(format!("everybody may write to this file: chmod o-w {}", path.display())));
    }
    std::fs::read_to_string(path).map_err(|e| whole(format!("cannot be read: {e}")))
}

/// One file being read.
#[derive(Debug)]
pub(crate) struct Document<'t> {
    file: PathBuf,
    text: &'t str,
    problems: RefCell<Vec<Problem>>,
}

impl<'t> Document<'t> {
    /// A document over `text`, which was read from `file`.
    pub(crate) fn new(file: &Path, text: &'t str) -> Self {
        Self { file: file.to_owned(), text, problems: RefCell::default() }
    }

    /// Parses the text. Syntax errors become problems; `None` when what is left makes no sense to read on.
    pub(crate) fn parse(&self) -> Option<Spanned<DeTable<'t>>> {
        const DUPLICATE: &str = "duplicate key";
        let (table, errors) = DeTable::parse_recoverable(self.text);
        let mut readable = true;
        for error in &errors {
            let place = error.span().map_or(Place::File, |span| Place::Byte(span.start));
            if error.message() == DUPLICATE {
                let key = error.span().and_then(|span| self.text.get(span)).unwrap_or_default();
                self.problem(place, format!("{key:?} is given twice; keep one"));
            } else {
                readable = false;
                self.problem(place, format!("not TOML: {}", error.message()));
            }
        }
        readable.then_some(table)
    }

    /// Notes a problem.
    pub(crate) fn problem(&self, place: Place, message: impl Into<String>) {
        let (line, column) = match place {
            Place::File => (0, 0),
            Place::Byte(byte) => position(self.text, byte),
        };
        let problem = Problem { file: self.file.clone(), line, column, message: message.into() };
        self.problems.borrow_mut().push(problem);
    }

    /// Whether nothing is wrong so far.
    pub(crate) fn is_clean(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    /// Every problem, in the order of the file.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by(|a, b| (a.line, a.column, &a.message).cmp(&(b.line, b.column, &b.message)));
        problems.dedup();
        problems
    }
}

/// Line and column, both from 1, the column in characters.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before: String = text.char_indices().take_while(|(at, _)| *at < byte).map(|(_, c)| c).collect();
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    (line, column)
}

/// The candidate nearest to `word`, if one is near enough that it was probably meant.
pub(crate) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let word = plain(word);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| {
            let contained = word.len() >= 3 && plain(candidate).contains(&word);
            *distance <= 1.max(candidate.len() / 3) || contained
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `; did you mean "x"?`, or the short list of what there is, or nothing.
pub(crate) fn hint(word: &str, candidates: &[&str]) -> String {
    match nearest(word, candidates.iter().copied()) {
        Some(near) => format!("; did you mean {near:?}?"),
        None if candidates.is_empty() || candidates.len() > 20 => String::new(),
        None => format!("; there is: {}", candidates.join(", ")),
    }
}

/// One table of the document, or its absence: every question about an absent table is answered with "not given".
#[derive(Debug)]
pub(crate) struct Section<'d> {
    doc: &'d Document<'d>,
    /// As people call it: `[ssh]`, `[[provider]] 2`; empty for the top of the file.
    name: String,
    /// Where it stands.
    pub(crate) place: Place,
    table: Option<&'d DeTable<'d>>,
    asked: Vec<&'static str>,
}

impl<'d> Section<'d> {
    /// The top of the file.
    pub(crate) fn top(doc: &'d Document<'d>, table: &'d DeTable<'d>) -> Self {
        Self { doc, name: String::new(), place: Place::File, table: Some(table), asked: Vec::new() }
    }

    /// Notes a problem.
    pub(crate) fn problem(&self, place: Place, message: impl Into<String>) {
        self.doc.problem(place, message);
    }

    /// Where the key `key` stands, if it is given.
    pub(crate) fn place_of(&self, key: &str) -> Option<Place> {
        let (name, _) = self.table?.get_key_value(key)?;
        Some(Place::Byte(name.span().start))
    }

    /// Whether the key is given with something that is not an array; that has been noted as a problem already.
    pub(crate) fn is_wrong(&self, key: &str) -> bool {
        self.place_of(key).is_some() && !self.holds(key, "array")
    }

    /// Notes a problem when `key` is not given; `what` says what to write.
    pub(crate) fn require(&self, key: &str, what: &str) {
        if self.place_of(key).is_none() {
            let inside = if self.name.is_empty() { String::new() } else { format!(" in {}", self.name) };
            self.problem(self.place, format!("{key:?} is missing{inside}: {what}"));
        }
    }

    /// Notes a problem at every one of `keys` that is given after the first: they exclude each other.
    /// Returns how many are given.
    pub(crate) fn only_one(&self, keys: &[&str]) -> usize {
        let given: Vec<(Place, &str)> =
            keys.iter().filter_map(|key| Some((self.place_of(key)?, *key))).collect();
        if let [(_, first), rest @ ..] = given.as_slice() {
            for (place, key) in rest {
                self.problem(*place, format!("both {first:?} and {key:?} are given: keep one"));
            }
        }
        given.len()
    }

    /// Text.
    pub(crate) fn text(&mut self, key: &'static str) -> Option<At<&'d str>> {
        let value = self.find(key)?;
        self.as_text(key, value)
    }

    /// Text that is parsed; what the parser says is the problem.
    pub(crate) fn parsed<T: FromStr<Err: Display>>(&mut self, key: &'static str) -> Option<At<T>> {
        let text = self.text(key)?;
        self.parse_at(&text)
    }

    /// Parses a text that was found before.
    pub(crate) fn parse_at<T: FromStr<Err: Display>>(&self, text: &At<&str>) -> Option<At<T>> {
        match text.value.parse() {
            Ok(value) => Some(At { value, place: text.place }),
            Err(error) => {
                self.problem(text.place, format!("{error}"));
                None
            }
        }
    }

    /// An array of texts. What is not text is a problem and left out.
    pub(crate) fn texts(&mut self, key: &'static str) -> Option<At<Vec<At<&'d str>>>> {
        let value = self.find(key)?;
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_type(key, "an array of texts, [\"...\"]", value);
            return None;
        };
        let items = items.iter().filter_map(|item| self.as_text(key, item)).collect();
        Some(At { value: items, place: Place::Byte(value.span().start) })
    }

    /// An array of different texts, each parsed. Twice the same is a problem.
    pub(crate) fn names<T>(&mut self, key: &'static str) -> Option<At<Vec<At<T>>>>
    where
        T: FromStr<Err: Display> + PartialEq + Display,
    {
        let texts = self.texts(key)?;
        let mut names: Vec<At<T>> = Vec::new();
        for name in texts.value.iter().filter_map(|text| self.parse_at::<T>(text)) {
            if names.iter().any(|n| n.value == name.value) {
                self.problem(name.place, format!("\"{}\" is listed twice", name.value));
            } else {
                names.push(name);
            }
        }
        Some(At { value: names, place: texts.place })
    }

    /// `true` or `false`.
    pub(crate) fn flag(&mut self, key: &'static str) -> Option<At<bool>> {
        let value = self.find(key)?;
        if let DeValue::Boolean(flag) = value.get_ref() {
            return Some(At { value: *flag, place: Place::Byte(value.span().start) });
        }
        self.wrong_type(key, "true or false", value);
        None
    }

    /// A whole number within bounds.
    pub(crate) fn number(&mut self, key: &'static str, bounds: &Bounds<u64>) -> Option<At<u64>> {
        let value = self.find(key)?;
        let DeValue::Integer(number) = value.get_ref() else {
            self.wrong_type(key, "a whole number", value);
            return None;
        };
        let number = u64::from_str_radix(number.as_str(), number.radix()).ok();
        self.bounded(key, value, number, bounds, |n| n.to_string())
    }

    /// A time span as text within bounds, or the default.
    pub(crate) fn duration(&mut self, key: &'static str, bounds: &Bounds<Duration>) -> Option<At<Duration>> {
        let value = self.find(key)?;
        let DeValue::String(text) = value.get_ref() else {
            self.wrong_type(key, "a time span as text, such as \"90s\", \"5m\", \"1h30m\"", value);
            return None;
        };
        match units::parse_duration(text) {
            Ok(span) => self.bounded(key, value, Some(span), bounds, |d| units::show_duration(*d)),
            Err(error) => {
                self.problem(Place::Byte(value.span().start), format!("{key:?}: {error}"));
                None
            }
        }
    }

    /// A number of bytes, as a number or as text such as `64KiB`, within bounds.
    pub(crate) fn size(&mut self, key: &'static str, bounds: &Bounds<u64>) -> Option<At<u64>> {
        let value = self.find(key)?;
        if let DeValue::Integer(_) = value.get_ref() {
            return self.number(key, bounds);
        }
        let DeValue::String(text) = value.get_ref() else {
            self.wrong_type(key, "a size, such as \"64KiB\", \"1MiB\" or a number of bytes", value);
            return None;
        };
        match units::parse_size(text) {
            Ok(size) => self.bounded(key, value, Some(size), bounds, |n| units::show_size(*n)),
            Err(error) => {
                self.problem(Place::Byte(value.span().start), format!("{key:?}: {error}"));
                None
            }
        }
    }

    /// A table below this one.
    pub(crate) fn child(&mut self, key: &'static str) -> Self {
        let name = if self.name.is_empty() { format!("[{key}]") } else { format!("{key:?}") };
        let found = self.find(key);
        let place = self.place_of(key).unwrap_or(self.place);
        let table = found.and_then(|value| {
            let table = value.get_ref().as_table();
            if table.is_none() {
                self.wrong_type(key, &format!("a table, [{key}]"), value);
            }
            table
        });
        Self { doc: self.doc, name, place, table, asked: Vec::new() }
    }

    /// The tables of an array, `[[key]]`, or `[{...}, {...}]`.
    pub(crate) fn children(&mut self, key: &'static str) -> Vec<Self> {
        let Some(value) = self.find(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_type(key, &format!("an array of tables, [[{key}]]"), value);
            return Vec::new();
        };
        let mut children = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let Some(table) = item.get_ref().as_table() else {
                self.wrong_type(key, "a table", item);
                continue;
            };
            children.push(Self {
                doc: self.doc,
                name: format!("[[{key}]] number {}", index + 1),
                place: Place::Byte(item.span().start),
                table: Some(table),
                asked: Vec::new(),
            });
        }
        children
    }

    /// Every key with its text, for a table whose keys are the author's own.
    pub(crate) fn pairs(self) -> Vec<(At<&'d str>, At<&'d str>)> {
        let mut pairs = Vec::new();
        for (key, value) in self.table.into_iter().flat_map(|table| table.iter()) {
            let name = At { value: key.get_ref().as_ref(), place: Place::Byte(key.span().start) };
            if let Some(text) = self.as_text(name.value, value) {
                pairs.push((name, text));
            }
        }
        pairs
    }

    /// Whether the key holds a value of this TOML type (`string`, `table`, ...), without asking for it.
    pub(crate) fn holds(&self, key: &str, type_name: &str) -> bool {
        self.table.and_then(|table| table.get(key)).is_some_and(|v| v.get_ref().type_str() == type_name)
    }

    /// Ends the reading of this table: every key that nobody asked for is a problem. Returns the keys that are known.
    pub(crate) fn finish(self) -> Vec<&'static str> {
        for (key, _) in self.table.into_iter().flat_map(|table| table.iter()) {
            let name: &str = key.get_ref();
            if !self.asked.contains(&name) {
                let inside = if self.name.is_empty() { String::new() } else { format!(" in {}", self.name) };
                let message = format!("unknown key {name:?}{inside}{}", hint(name, &self.asked));
                self.problem(Place::Byte(key.span().start), message);
            }
        }
        self.asked
    }

    fn find(&mut self, key: &'static str) -> Option<&'d Spanned<DeValue<'d>>> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        self.table?.get(key)
    }

    fn as_text(&self, key: &str, value: &'d Spanned<DeValue<'d>>) -> Option<At<&'d str>> {
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(key, "text, \"...\"", value);
            return None;
        };
        Some(At { value: text, place: Place::Byte(value.span().start) })
    }

    fn wrong_type(&self, key: &str, wanted: &str, found: &Spanned<DeValue<'_>>) {
        let type_name = match found.get_ref() {
            DeValue::String(_) => "text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        let message = format!("{key:?} must be {wanted}; this is {type_name}");
        self.problem(Place::Byte(found.span().start), message);
    }

    fn bounded<T: PartialOrd + Copy>(
        &self,
        key: &str,
        at: &Spanned<DeValue<'_>>,
        value: Option<T>,
        bounds: &Bounds<T>,
        show: impl Fn(&T) -> String,
    ) -> Option<At<T>> {
        let place = Place::Byte(at.span().start);
        match value {
            Some(value) if bounds.min <= value && value <= bounds.max => Some(At { value, place }),
            _ => {
                let (min, max) = (show(&bounds.min), show(&bounds.max));
                self.problem(place, format!("{key:?} must be from {min} to {max}"));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters() {
        for (text, byte, expect) in
            [("", 0, (1, 1)), ("ab\ncd", 3, (2, 1)), ("é = 1", 3, (1, 3)), ("a\n", 9, (2, 1))]
        {
            assert_eq!(position(text, byte), expect, "{text:?} {byte}");
        }
    }

    #[test]
    fn nearest_keys() {
        for (word, expect) in [
            ("lisen", Some("listen")),
            ("Listen", Some("listen")),
            ("public-port", Some("public_port")),
            ("port", Some("public_port")),
            ("zzz", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, ["listen", "public_port", "host_names"]), expect, "{word}");
        }
    }
}
