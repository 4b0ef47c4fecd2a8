//! Between values and columns: what a TEXT or BIGINT may hold, and what a row that we do not understand becomes.
//! It decides that nothing is guessed: a value that does not parse is [`StoreError::BadRow`]. SQL is left to the other files.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::StoreError;
use crate::time::Timestamp;

/// A row that does not hold, or was not given, what the table is for.
pub(super) fn bad(table: &'static str, what: impl Display) -> StoreError {
    StoreError::BadRow { table, what: what.to_string() }
}

/// A count for a BIGINT column; refuses what does not fit 63 bits.
pub(super) fn whole(table: &'static str, column: &str, value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| bad(table, format_args!("{column} {value} does not fit 63 bits")))
}

/// An instant for a BIGINT column; refuses what does not fit 63 bits.
pub(super) fn millis(table: &'static str, column: &str, at: Timestamp) -> Result<i64, StoreError> {
    whole(table, column, at.as_millis())
}

/// A text for a TEXT column. PostgreSQL cannot hold NUL, so neither database gets it.
pub(super) fn text<'t>(table: &'static str, column: &str, text: &'t str) -> Result<&'t str, StoreError> {
    if text.contains('\0') {
        return Err(bad(table, format_args!("{column} holds a NUL character")));
    }
    Ok(text)
}

/// As [`text`], for columns that may be empty.
pub(super) fn text_opt<'t>(
    table: &'static str,
    column: &str,
    value: Option<&'t str>,
) -> Result<Option<&'t str>, StoreError> {
    value.map(|value| text(table, column, value)).transpose()
}

/// A label that somebody outside chose: NUL becomes U+FFFD, because a name with a NUL in it must not keep the
/// session it labels from being written.
pub(super) fn label(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// One of the words that a column may hold; used before writing and after reading.
pub(super) fn word<'t>(
    table: &'static str,
    column: &str,
    value: &'t str,
    known: &[&str],
) -> Result<&'t str, StoreError> {
    if known.contains(&value) {
        Ok(value)
    } else {
        Err(bad(table, format_args!("{column} {value:?} is not one of {}", known.join(", "))))
    }
}

/// A row as it came, with the name of its table for errors.
pub(super) struct Columns<'r> {
    pub(super) table: &'static str,
    pub(super) row: &'r AnyRow,
}

impl Columns<'_> {
    /// A TEXT column that is NOT NULL.
    pub(super) fn text(&self, column: &str) -> Result<String, StoreError> {
        self.row.try_get(column).map_err(|e| self.unreadable(column, &e))
    }

    /// A TEXT column that may be NULL.
    pub(super) fn text_opt(&self, column: &str) -> Result<Option<String>, StoreError> {
        self.row.try_get(column).map_err(|e| self.unreadable(column, &e))
    }

    /// A BIGINT column that is NOT NULL and never negative.
    pub(super) fn whole(&self, column: &str) -> Result<u64, StoreError> {
        let value: i64 = self.row.try_get(column).map_err(|e| self.unreadable(column, &e))?;
        u64::try_from(value).map_err(|_| bad(self.table, format_args!("{column} is negative: {value}")))
    }

    /// A BIGINT column that may be NULL and is never negative.
    pub(super) fn whole_opt(&self, column: &str) -> Result<Option<u64>, StoreError> {
        let value: Option<i64> = self.row.try_get(column).map_err(|e| self.unreadable(column, &e))?;
        value
            .map(|value| {
                u64::try_from(value)
                    .map_err(|_| bad(self.table, format_args!("{column} is negative: {value}")))
            })
            .transpose()
    }

    /// An instant.
    pub(super) fn time(&self, column: &str) -> Result<Timestamp, StoreError> {
        self.whole(column).map(Timestamp::from_millis)
    }

    /// An instant that may be NULL.
    pub(super) fn time_opt(&self, column: &str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.whole_opt(column)?.map(Timestamp::from_millis))
    }

    /// An id or a name.
    pub(super) fn parsed<T: FromStr<Err: Display>>(&self, column: &str) -> Result<T, StoreError> {
        self.text(column)?.parse().map_err(|e: T::Err| bad(self.table, format_args!("{column}: {e}")))
    }

    /// One of the words `known`.
    pub(super) fn word(&self, column: &str, known: &[&str]) -> Result<String, StoreError> {
        let value = self.text(column)?;
        word(self.table, column, &value, known)?;
        Ok(value)
    }

    fn unreadable(&self, column: &str, error: &sqlx::Error) -> StoreError {
        bad(self.table, format_args!("{column}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_column_refuses() {
        assert_eq!(whole("t", "c", 5).unwrap(), 5);
        assert!(matches!(whole("t", "c", u64::MAX), Err(StoreError::BadRow { table: "t", .. })));
        assert!(matches!(text("t", "c", "a\0b"), Err(StoreError::BadRow { .. })));
        assert_eq!(text("t", "c", "é\n").unwrap(), "é\n");
        assert_eq!(text_opt("t", "c", None).unwrap(), None);
        assert_eq!(label("a\0b"), "a\u{fffd}b");
        assert_eq!(label("plain"), "plain");
        assert_eq!(word("t", "c", "b", &["a", "b"]).unwrap(), "b");
        let refused = word("t", "c", "B", &["a", "b"]).unwrap_err();
        assert_eq!(refused.to_string(), "table t: c \"B\" is not one of a, b");
    }
}
