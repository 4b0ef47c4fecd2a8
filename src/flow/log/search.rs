//! Finding entries of the audit log. Entries that name only a session are found by whose session it was too.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::store::{AuditRow, SessionRow, Store, StoreError};
use crate::time::Timestamp;

/// Entries read at once.
const PAGE: u32 = 1000;
/// How far clocks of nodes may differ: from here on times are trusted to rise with the numbers.
const CLOCKS: Duration = Duration::from_secs(600);

/// What to look for; all that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// One of these kinds; empty for all.
    pub kinds: Vec<String>,
    /// Done by this person or workload, or to their access: `provider:subject`.
    pub who: Option<String>,
    /// About this session.
    pub session: Option<String>,
    /// About this target.
    pub target: Option<String>,
    /// Not before this.
    pub since: Option<Timestamp>,
    /// Before this.
    pub until: Option<Timestamp>,
    /// With this text somewhere in it, in any case.
    pub text: Option<String>,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The newest that were found, oldest first.
    pub rows: Vec<AuditRow>,
    /// How many there were before those.
    pub earlier: u64,
}

/// Reads the log from `since` on; keeps the newest `limit` that were found.
pub async fn search(store: &Store, wanted: &Wanted, limit: usize) -> Result<Found, StoreError> {
    let mut after = match wanted.since {
        Some(since) => number_at(store, since.minus(CLOCKS)).await?,
        None => 0,
    };
    let stop = wanted.until.map(|until| until.plus(CLOCKS));
    let mut sessions = Sessions { store, known: BTreeMap::new() };
    let mut rows = std::collections::VecDeque::new();
    let mut earlier = 0;
    loop {
        let page = store.audit(after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        let is_over = stop.is_some_and(|stop| last.at > stop);
        for row in page {
            if !matches(wanted, &row, &mut sessions).await? {
                continue;
            }
            rows.push_back(row);
            if rows.len() > limit {
                rows.pop_front();
                earlier += 1;
            }
        }
        if is_over {
            break;
        }
    }
    Ok(Found { rows: rows.into(), earlier })
}

/// The last entry before `at`, as far as the times rise with the numbers.
async fn number_at(store: &Store, at: Timestamp) -> Result<u64, StoreError> {
    let (mut before, mut after) = (0, store.audit_end().await?.saturating_add(1));
    while before + 1 < after {
        let middle = u64::midpoint(before, after);
        match store.audit_time(middle).await? {
            Some(there) if there >= at => after = middle,
            Some(_) | None => before = middle,
        }
    }
    Ok(before)
}

/// Whose sessions there are.
struct Sessions<'s> {
    store: &'s Store,
    known: BTreeMap<String, Option<SessionRow>>,
}

/// Most sessions that are remembered.
const SESSIONS_MAX: usize = 10_000;

impl Sessions<'_> {
    async fn get(&mut self, id: &str) -> Result<Option<&SessionRow>, StoreError> {
        if !self.known.contains_key(id) {
            let row = match id.parse() {
                Ok(id) => self.store.session(&id).await?,
                Err(_) => None,
            };
            if self.known.len() >= SESSIONS_MAX {
                self.known.clear();
            }
            self.known.insert(id.to_owned(), row);
        }
        Ok(self.known.get(id).and_then(Option::as_ref))
    }
}

async fn matches(wanted: &Wanted, row: &AuditRow, sessions: &mut Sessions<'_>) -> Result<bool, StoreError> {
    let in_time = wanted.since.is_none_or(|since| row.at >= since)
        && wanted.until.is_none_or(|until| row.at < until)
        && (wanted.kinds.is_empty() || wanted.kinds.contains(&row.kind));
    if !in_time {
        return Ok(false);
    }
    // What is no JSON has no fields; it is found by its kind and time.
    let fields: Value = serde_json::from_str(&row.json).unwrap_or(Value::Null);
    let session = fields.get("session").and_then(Value::as_str);
    if wanted.session.is_some() && wanted.session.as_deref() != session {
        return Ok(false);
    }
    if let Some(text) = &wanted.text
        && !holds_text(&fields, &text.to_lowercase())
        && !row.kind.contains(text.as_str())
    {
        return Ok(false);
    }
    let says = |names: [&str; 2], wanted: &str| {
        names.iter().filter_map(|name| fields.get(name)).any(|value| is_or_has(value, wanted))
    };
    let mut whose = None;
    if let (Some(id), true) = (session, wanted.who.is_some() || wanted.target.is_some()) {
        whose = sessions.get(id).await?;
    }
    let by = wanted
        .who
        .as_deref()
        .is_none_or(|who| says(["who", "by"], who) || whose.is_some_and(|row| row.who == who));
    let there = wanted.target.as_deref().is_none_or(|target| {
        says(["target", "targets"], target) || whose.is_some_and(|row| row.target == target)
    });
    Ok(by && there)
}

fn is_or_has(value: &Value, wanted: &str) -> bool {
    match value {
        Value::String(text) => text == wanted,
        Value::Array(items) => items.iter().any(|item| item.as_str() == Some(wanted)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    }
}

/// Whether some text or number in it holds `lower`.
fn holds_text(value: &Value, lower: &str) -> bool {
    match value {
        Value::String(text) => text.to_lowercase().contains(lower),
        Value::Number(number) => number.to_string().contains(lower),
        Value::Array(items) => items.iter().any(|item| holds_text(item, lower)),
        Value::Object(fields) => fields.values().any(|item| holds_text(item, lower)),
        Value::Null | Value::Bool(_) => false,
    }
}
