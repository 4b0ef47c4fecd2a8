//! The commands around requests: `request`, `requests`, `inbox`, `approve`, `deny`, `cancel`, `release`, `review`. They say what
//! is wanted and show what the server answers; every rule is checked there.

pub mod ask;
pub mod decide;
pub mod end;
mod find;
pub mod list;
mod shown;
pub(in crate::cli) mod wait;

use std::time::Duration;

use crate::config::parse_duration;

/// The address of a request, or of something to do to it.
pub(in crate::cli) fn path(id: &str, act: &str) -> String {
    if act.is_empty() { format!("/v1/requests/{id}") } else { format!("/v1/requests/{id}/{act}") }
}

/// `30m`, `1h30m`.
pub(in crate::cli) fn span(text: &str) -> Result<Duration, String> {
    let span = parse_duration(text)?;
    if span.is_zero() { Err("some time is needed, such as 30m".to_owned()) } else { Ok(span) }
}
