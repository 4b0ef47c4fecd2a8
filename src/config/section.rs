//! One table of a document: questions about its keys, each answered with a value and its place, or with nothing and,
//! when the file is wrong, a problem. A key that nobody asked for is unknown, and unknown keys are refused.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::document::{At, Document, Place, Spot, hint};
use super::units::{self, Bounds};

/// One table of the document, or its absence: every question about an absent table is answered with "not given".
#[derive(Debug)]
pub(crate) struct Section<'d> {
    doc: &'d Document<'d>,
    /// As people call it: `[ssh]`, `[[provider]] number 2`; empty for the top of the file.
    name: String,
    /// Its keys, joined by dots; without numbers.
    path: String,
    /// Where it stands.
    pub(crate) place: Place,
    table: Option<&'d DeTable<'d>>,
    asked: Vec<&'static str>,
}

impl<'d> Section<'d> {
    /// The top of the file.
    pub(crate) fn top(doc: &'d Document<'d>, table: &'d DeTable<'d>) -> Self {
        Self {
            doc,
            name: String::new(),
            path: String::new(),
            place: Place::File,
            table: Some(table),
            asked: Vec::new(),
        }
    }

    /// Notes a problem.
    pub(crate) fn problem(&self, place: Place, message: impl Into<String>) {
        self.doc.problem(place, message);
    }

    /// Where the table stands, for people.
    pub(crate) fn spot(&self) -> Spot {
        self.doc.spot(self.place)
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
        self.as_text(&format!("{key:?}"), value)
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
            self.wrong_type(&format!("{key:?}"), "an array of texts, [\"...\"]", value);
            return None;
        };
        let name = format!("every item of {key:?}");
        let items = items.iter().filter_map(|item| self.as_text(&name, item)).collect();
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
        self.wrong_type(&format!("{key:?}"), "true or false", value);
        None
    }

    /// A whole number within bounds.
    pub(crate) fn number(&mut self, key: &'static str, bounds: &Bounds<u64>) -> Option<At<u64>> {
        let value = self.find(key)?;
        let DeValue::Integer(number) = value.get_ref() else {
            self.wrong_type(&format!("{key:?}"), "a whole number", value);
            return None;
        };
        let number = u64::from_str_radix(number.as_str(), number.radix()).ok();
        self.bounded(key, value, number, bounds, |n| n.to_string())
    }

    /// A time span as text within bounds, or the default.
    pub(crate) fn duration(&mut self, key: &'static str, bounds: &Bounds<Duration>) -> Option<At<Duration>> {
        let value = self.find(key)?;
        let DeValue::String(text) = value.get_ref() else {
            self.wrong_type(
                &format!("{key:?}"),
                "a time span as text, such as \"90s\", \"5m\", \"1h30m\"",
                value,
            );
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
            self.wrong_type(
                &format!("{key:?}"),
                "a size, such as \"64KiB\", \"1MiB\" or a number of bytes",
                value,
            );
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
                self.wrong_type(
                    &format!("{key:?}"),
                    if self.path.is_empty() { "a table, [...]" } else { "a table, { ... }" },
                    value,
                );
            }
            table
        });
        Self { doc: self.doc, name, path: self.path_to(key), place, table, asked: Vec::new() }
    }

    /// The tables of an array, `[[key]]`, or `[{...}, {...}]`.
    pub(crate) fn children(&mut self, key: &'static str) -> Vec<Self> {
        let Some(value) = self.find(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_type(
                &format!("{key:?}"),
                if self.path.is_empty() {
                    "an array of tables, [[...]]"
                } else {
                    "an array of tables, [{ ... }]"
                },
                value,
            );
            return Vec::new();
        };
        let mut children = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let Some(table) = item.get_ref().as_table() else {
                self.wrong_type(&format!("every item of {key:?}"), "a table, { ... }", item);
                continue;
            };
            children.push(Self {
                doc: self.doc,
                name: format!("[[{key}]] number {}", index + 1),
                path: self.path_to(key),
                place: Place::Byte(item.span().start),
                table: Some(table),
                asked: Vec::new(),
            });
        }
        children
    }

    /// Every key with its text, for a table whose keys are the author's own.
    pub(crate) fn pairs(&self) -> Vec<(At<&'d str>, At<&'d str>)> {
        let mut pairs = Vec::new();
        for (key, value) in self.table.into_iter().flat_map(|table| table.iter()) {
            let name = At { value: key.get_ref().as_ref(), place: Place::Byte(key.span().start) };
            if let Some(text) = self.as_text(&format!("{:?}", name.value), value) {
                pairs.push((name, text));
            }
        }
        pairs
    }

    /// Every key that nobody asked for, with what stands there as texts: one text, whole number or boolean, or an array of
    /// them. For tables in which some keys are the author's own; anything else there is a problem.
    pub(crate) fn others(&self) -> Vec<(At<&'d str>, Vec<At<String>>)> {
        let mut others = Vec::new();
        for (key, value) in self.table.into_iter().flat_map(|table| table.iter()) {
            let name = At { value: key.get_ref().as_ref(), place: Place::Byte(key.span().start) };
            if self.asked.contains(&name.value) {
                continue;
            }
            let items: Vec<&Spanned<DeValue<'_>>> = match value.get_ref() {
                DeValue::Array(items) => items.iter().collect(),
                DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_)
                | DeValue::Table(_) => vec![value],
            };
            let texts: Vec<At<String>> =
                items.iter().filter_map(|item| self.as_scalar(name.value, item)).collect();
            // What is wrong in the list has been noted; what is left must not look like the whole of it.
            if texts.len() == items.len() {
                others.push((name, texts));
            }
        }
        others
    }

    fn as_scalar(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<At<String>> {
        let text = match value.get_ref() {
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Integer(number) => {
                i64::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
            }
            DeValue::Boolean(value) => Some(value.to_string()),
            DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
        };
        if text.is_none() {
            let wanted = "text, a whole number, true or false, or an array of these";
            self.wrong_type(&format!("{key:?}"), wanted, value);
        }
        Some(At { value: text?, place: Place::Byte(value.span().start) })
    }

    /// As [`Self::finish`] for a table of which the other keys have been read with [`Self::others`].
    pub(crate) fn finish_open(self) {
        self.doc.note_known(self.asked.iter().map(|key| self.path_to(key)));
    }

    /// Whether the key holds a value of this TOML type (`string`, `table`, ...), without asking for it.
    pub(crate) fn holds(&self, key: &str, type_name: &str) -> bool {
        self.table.and_then(|table| table.get(key)).is_some_and(|v| v.get_ref().type_str() == type_name)
    }

    /// Whether the key holds an array with nothing in it.
    pub(crate) fn is_empty_array(&self, key: &str) -> bool {
        let value = self.table.and_then(|table| table.get(key));
        value.and_then(|v| v.get_ref().as_array()).is_some_and(|items| items.is_empty())
    }

    /// Ends the reading of this table: every key that nobody asked for is a problem.
    pub(crate) fn finish(self) {
        for (key, _) in self.table.into_iter().flat_map(|table| table.iter()) {
            let name: &str = key.get_ref();
            if !self.asked.contains(&name) {
                let inside = if self.name.is_empty() { String::new() } else { format!(" in {}", self.name) };
                let message = format!("unknown key {name:?}{inside}{}", hint(name, &self.asked));
                self.problem(Place::Byte(key.span().start), message);
            }
        }
        self.doc.note_known(self.asked.iter().map(|key| self.path_to(key)));
    }

    fn path_to(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn find(&mut self, key: &'static str) -> Option<&'d Spanned<DeValue<'d>>> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        self.table?.get(key)
    }

    fn as_text(&self, subject: &str, value: &'d Spanned<DeValue<'d>>) -> Option<At<&'d str>> {
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(subject, "text, \"...\"", value);
            return None;
        };
        Some(At { value: text, place: Place::Byte(value.span().start) })
    }

    /// `subject` as the message shows it: a quoted key, or words.
    fn wrong_type(&self, subject: &str, wanted: &str, found: &Spanned<DeValue<'_>>) {
        let type_name = match found.get_ref() {
            DeValue::String(_) => "text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        let message = format!("{subject} must be {wanted}; this is {type_name}");
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
