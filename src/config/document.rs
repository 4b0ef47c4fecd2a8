//! Reads a TOML file as a tree that remembers where everything stands, and collects every problem instead of
//! stopping at the first. It knows TOML, positions and near misses; tables are left to `section`, and what keys there
//! are and what they mean to the callers.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeTable;

use super::Problem;

/// Largest file that is read, in bytes. A configuration is written by people.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Most problems that are kept. Nobody reads more, and each costs a walk through the text.
const PROBLEMS_MAX: usize = 200;

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

/// Where something stands, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The file.
    pub file: PathBuf,
    /// Line from 1; 0 when it is the file as a whole.
    pub line: usize,
    /// Column from 1.
    pub column: usize,
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
    known: RefCell<BTreeSet<String>>,
}

impl<'t> Document<'t> {
    /// A document over `text`, which was read from `file`.
    pub(crate) fn new(file: &Path, text: &'t str) -> Self {
        Self { file: file.to_owned(), text, problems: RefCell::default(), known: RefCell::default() }
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
        if self.problems.borrow().len() >= PROBLEMS_MAX {
            return;
        }
        let Spot { file, line, column } = self.spot(place);
        self.problems.borrow_mut().push(Problem { file, line, column, message: message.into() });
    }

    /// The place in words that people understand.
    pub(crate) fn spot(&self, place: Place) -> Spot {
        let (line, column) = match place {
            Place::File => (0, 0),
            Place::Byte(byte) => position(self.text, byte),
        };
        Spot { file: self.file.clone(), line, column }
    }

    /// Notes keys, as `table.key`, that a table knows.
    pub(super) fn note_known(&self, keys: impl Iterator<Item = String>) {
        self.known.borrow_mut().extend(keys);
    }

    /// The keys that were asked for in tables that have been read to their end, as `table.key`.
    #[cfg(test)]
    pub(crate) fn known(&self) -> BTreeSet<String> {
        self.known.borrow().clone()
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
    let end = (byte.min(text.len())..=text.len()).find(|at| text.is_char_boundary(*at));
    let before = text.get(..end.unwrap_or_default()).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
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
