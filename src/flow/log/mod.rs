//! The audit log as a whole: finding entries, what led to a session and what came of it, that nothing was altered, and
//! signing that. What an entry says is `audit`'s, what its hash is `audit::chain`'s.

pub mod checkpoint;
pub mod copy;
pub mod last_head;
pub mod search;
pub mod story;
pub mod verify;

use crate::audit::export::Line;
use crate::store::{AuditRow, Store, StoreError};

/// An entry as it stands outside of the database, behind one whose hash is `prev` (empty for none).
pub fn line_of(row: AuditRow, prev: String) -> Line {
    Line { seq: row.seq, at: row.at, kind: row.kind, json: row.json, prev, hash: row.hash }
}

/// The entries behind `after`, at most `limit`, as they stand outside of the database. `prev` is the hash of the entry
/// `after`; where it is not known it is read.
pub async fn lines(
    store: &Store,
    after: u64,
    prev: Option<String>,
    limit: u32,
) -> Result<Vec<Line>, StoreError> {
    let mut prev = match prev {
        Some(prev) => prev,
        None => hash_of(store, after).await?,
    };
    let rows = store.audit(after, limit).await?;
    let mut lines = Vec::with_capacity(rows.len());
    for row in rows {
        let line = line_of(row, prev);
        prev = line.hash.clone().unwrap_or_default();
        lines.push(line);
    }
    Ok(lines)
}

/// The hash of an entry; empty when it has none, or is not there.
pub async fn hash_of(store: &Store, seq: u64) -> Result<String, StoreError> {
    let Some(before) = seq.checked_sub(1) else { return Ok(String::new()) };
    let row = store.audit(before, 1).await?.into_iter().next().filter(|row| row.seq == seq);
    Ok(row.and_then(|row| row.hash).unwrap_or_default())
}
