//! What the audit log says of the recording of a session: where it was begun, what its seal is, how far it had come, and that it was
//! deleted. Found by the session's id and by the numbers of entries, never by a row that somebody could have altered. That
//! nobody altered the log is proven elsewhere (`flow::log::verify`).

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::ids::SessionId;
use crate::store::{AuditRow, Store, StoreError};
use crate::time::Timestamp;

/// The kinds that are looked at here, beside checkpoints.
const KINDS: [&str; 4] = ["session_opened", "session_closed", "recording_archived", "recording_deleted"];
const CHECKPOINT: &str = "recording_checkpoint";
/// Entries read at once.
const PAGE: u32 = 500;
/// Checkpoints are written a moment after what they tell of.
const LATE: Duration = Duration::from_secs(3600);

/// The entry of a session's opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Its number.
    pub seq: u64,
    /// Where the recording lies, relative to the folder of recordings; none when there is none.
    pub recording: Option<String>,
}

/// The entry of a session's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Its number.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Digest of what the seal is over; none when nothing was sealed.
    pub sha256: Option<String>,
}

/// What the log says of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// That it was opened.
    pub opened: Option<Opened>,
    /// That it is over.
    pub closed: Option<Closed>,
    /// The entry by which the archive has the recording.
    pub archived: Option<u64>,
    /// The entry by which the recording is deleted.
    pub deleted: Option<u64>,
    /// An entry that tells the opening or the end a second time, which no bastion writes.
    pub again: Option<u64>,
}

impl Told {
    fn learn(&mut self, row: &AuditRow, fields: &Value) {
        let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
        match row.kind.as_str() {
            "session_opened" if self.opened.is_none() => {
                self.opened = Some(Opened { seq: row.seq, recording: text("recording") });
            }
            "session_closed" if self.closed.is_none() => {
                self.closed = Some(Closed { seq: row.seq, at: row.at, sha256: text("recording_sha256") });
            }
            "session_opened" | "session_closed" => self.again = Some(row.seq),
            "recording_archived" => self.archived = Some(row.seq),
            "recording_deleted" => self.deleted = Some(row.seq),
            _ => {}
        }
    }
}

fn session_of(fields: &Value) -> Option<SessionId> {
    fields.get("session")?.as_str()?.parse().ok()
}

/// What the log says of one session. Reads the whole log.
pub async fn told(store: &Store, session: &SessionId) -> Result<Told, StoreError> {
    let mut told = Told::default();
    for row in store.audit_of_session(session, &KINDS).await? {
        let fields: Value = serde_json::from_str(&row.json).unwrap_or_default();
        if session_of(&fields).as_ref() == Some(session) {
            told.learn(&row, &fields);
        }
    }
    Ok(told)
}

/// What the log says of all sessions.
pub async fn told_of_all(store: &Store) -> Result<BTreeMap<SessionId, Told>, StoreError> {
    let mut all: BTreeMap<SessionId, Told> = BTreeMap::new();
    let mut after = 0;
    loop {
        let look = store.audit_of_kinds(after, &KINDS, PAGE).await?;
        for row in &look.rows {
            let fields: Value = serde_json::from_str(&row.json).unwrap_or_default();
            if let Some(session) = session_of(&fields) {
                all.entry(session).or_default().learn(row, &fields);
            }
        }
        after = look.seen;
        if !look.more {
            return Ok(all);
        }
    }
}

/// A checkpoint in the log that is not among those of the recording, as number of the checkpoint and of its entry. `checkpoints` are
/// the digests of the recording's own, in order.
pub async fn contradiction(
    store: &Store,
    session: &SessionId,
    (opened, closed): (&Opened, &Closed),
    checkpoints: &[String],
) -> Result<Option<(u64, u64)>, StoreError> {
    let until = store.audit_behind(closed.seq, closed.at.plus(LATE)).await?;
    let mut after = opened.seq;
    loop {
        let page = store.audit_of_kind_before(CHECKPOINT, after, until, PAGE).await?;
        let Some(last) = page.last() else { return Ok(None) };
        after = last.seq;
        for entry in &page {
            if let Some((n, sha256)) = checkpoint_of(&entry.json, session)
                && usize::try_from(n).ok().and_then(|n| checkpoints.get(n)) != Some(&sha256)
            {
                return Ok(Some((n, entry.seq)));
            }
        }
    }
}

/// Number and digest that an entry has for a session.
fn checkpoint_of(json: &str, session: &SessionId) -> Option<(u64, String)> {
    let fields: Value = serde_json::from_str(json).ok()?;
    let one = fields
        .get("recordings")?
        .as_array()?
        .iter()
        .find(|one| one.get("session").and_then(Value::as_str) == Some(session.as_str()))?;
    Some((one.get("n")?.as_u64()?, one.get("sha256")?.as_str()?.to_owned()))
}
