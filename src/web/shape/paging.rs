//! Lists in pages: how many, and from where on. The cursor is opaque to clients; what stands in it is the matter of who
//! makes the list, usually the id or the number of the last row.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::{JsonSchema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::{Incoming, Input, Query, Takes};
use crate::web::error::ApiError;

const LIMIT_DEFAULT: u32 = 50;
const LIMIT_MAX: u32 = 200;
/// Longest cursor, in characters.
const CURSOR_MAX: usize = 256;

/// The query of every list.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
struct Asked {
    /// How many at most; 50 unless told.
    #[schemars(range(min = 1, max = 200))]
    #[serde(default)]
    limit: Option<u32>,
    /// Only what comes after: `next` of the page before.
    #[schemars(length(max = 256), regex(pattern = r"^[A-Za-z0-9_-]+$"))]
    #[serde(default)]
    after: Option<String>,
}

/// Which page is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paging {
    limit: u32,
    /// Where the page before ended, as [`Paging::page`] was told.
    pub after: Option<String>,
}

impl Paging {
    /// As the query says it: `limit` rows (50 without), behind the cursor `after`.
    ///
    /// Errors: a sentence for whoever asked.
    pub fn of(limit: Option<u32>, after: Option<&str>) -> Result<Self, String> {
        let limit = limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(format!("limit is a number from 1 to {LIMIT_MAX}"));
        }
        let read = |cursor: &str| {
            let fits = (1..=CURSOR_MAX).contains(&cursor.len());
            fits.then(|| String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()).flatten()
        };
        match after.map(read) {
            Some(None) => Err("\"after\" is no cursor of ours; take \"next\" of the page before".to_owned()),
            after => Ok(Self { limit, after: after.flatten() }),
        }
    }

    /// How many rows to ask the store for: one more than fit, so that it is known whether there are more.
    pub fn rows(&self) -> u32 {
        self.limit.saturating_add(1)
    }

    /// The page out of up to [`Paging::rows`] rows; `place` is where a row stands.
    pub fn page<R, T>(
        &self,
        mut rows: Vec<R>,
        place: impl Fn(&R) -> String,
        show: impl Fn(R) -> T,
    ) -> Page<T> {
        let fit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let more = rows.len() > fit;
        rows.truncate(fit);
        let next = if more { rows.last().map(|last| URL_SAFE_NO_PAD.encode(place(last))) } else { None };
        Page { items: rows.into_iter().map(show).collect(), next }
    }
}

impl Input for Paging {
    fn describe(takes: &mut Takes, schemas: &mut SchemaGenerator) {
        Query::<Asked>::describe(takes, schemas);
    }

    fn read(incoming: &Incoming) -> Result<Self, ApiError> {
        let Query(asked) = Query::<Asked>::read(incoming)?;
        Self::of(asked.limit, asked.after.as_deref()).map_err(ApiError::bad)
    }
}

/// One page of a list.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PageOf{T}")]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Give this as `after` for the next page; none on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
