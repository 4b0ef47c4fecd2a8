//! The story of one session: every entry of the audit log that led to it or came of it, joined by ids: sign-in, request,
//! votes, access, certificate, session, what was done in it, its end, its seal, and what happened to its recording. What stands in the
//! recording only (commands, notes) is put between, where the recording is at hand.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::ids::SessionId;
use crate::recording::Folder;
use crate::recording::event::{Event, Line};
use crate::store::{AuditRow, SessionRow, Store, StoreError};
use crate::time::Timestamp;

/// Most entries of one story; more of a session with very many files is cut.
const ENTRIES_MAX: u32 = 20_000;

/// One thing in a story.
#[derive(Clone, Debug)]
pub struct Part {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: What,
}

impl Part {
    fn is_end(&self) -> bool {
        matches!(&self.what, What::Entry(row, _) if row.kind == "session_closed")
    }
}

/// Where it stands.
#[derive(Clone, Debug)]
pub enum What {
    /// In the audit log, with its fields.
    Entry(AuditRow, Value),
    /// In the recording.
    Recorded(Line),
}

/// A session from request to seal.
#[derive(Clone, Debug)]
pub struct Story {
    /// The session.
    pub session: SessionRow,
    /// What happened, in order of time.
    pub parts: Vec<Part>,
    /// Why the recording could not be read for it, if so.
    pub without_recording: Option<String>,
    /// There is more than is shown.
    pub cut: bool,
}

/// Gathers it; none when there is no such session. `recordings` is the folder of all recordings.
pub async fn story(store: &Store, recordings: &Path, id: &SessionId) -> Result<Option<Story>, StoreError> {
    let Some(session) = store.session(id).await? else { return Ok(None) };
    let mut ties = Ties { session: id.as_str().to_owned(), ..Ties::default() };
    ties.sign_in = Some(session.sign_in.as_str().to_owned());
    let mut rows = store.audit_that_name(&[id.as_str()], ENTRIES_MAX).await?;
    let cut = rows.len() >= usize::try_from(ENTRIES_MAX).unwrap_or(usize::MAX);
    for row in &rows {
        ties.learn(row);
    }
    // Access names its request, so requests are known only after access.
    for _ in 0..2 {
        let ids = ties.ids();
        let more =
            store.audit_that_name(&ids.iter().map(String::as_str).collect::<Vec<_>>(), ENTRIES_MAX).await?;
        for row in &more {
            ties.learn(row);
        }
        rows.extend(more);
    }
    let mut seen = BTreeSet::new();
    let mut parts: Vec<Part> = rows
        .into_iter()
        .filter(|row| seen.insert(row.seq))
        .filter_map(|row| {
            let fields: Value = serde_json::from_str(&row.json).ok()?;
            ties.holds(&row.kind, &fields).then_some(Part { at: row.at, what: What::Entry(row, fields) })
        })
        .collect();
    parts.sort_by_key(|part| match &part.what {
        What::Entry(row, _) => row.seq,
        What::Recorded(_) => u64::MAX,
    });
    let mut without_recording = None;
    match recorded(recordings, &session) {
        Ok(lines) => {
            // What was recorded was recorded before the end.
            let closed = parts.iter().find(|part| part.is_end()).map(|part| part.at);
            parts.extend(
                lines
                    .into_iter()
                    .map(|part| Part { at: closed.map_or(part.at, |at| part.at.min(at)), ..part }),
            );
        }
        Err(why) => without_recording = Some(why),
    }
    // Stable: entries of the log keep their order within a moment.
    parts.sort_by_key(|part| {
        let rank = match &part.what {
            What::Entry(..) if part.is_end() => 2,
            What::Entry(..) => 0,
            What::Recorded(_) => 1,
        };
        (part.at, rank)
    });
    Ok(Some(Story { session, parts, without_recording, cut }))
}

/// What a session is tied to.
#[derive(Debug, Default)]
struct Ties {
    session: String,
    sign_in: Option<String>,
    client_serial: Option<String>,
    grants: BTreeSet<String>,
    cases: BTreeSet<String>,
}

fn text<'f>(fields: &'f Value, name: &str) -> Option<&'f str> {
    fields.get(name).and_then(Value::as_str)
}

impl Ties {
    /// Ids to look for beside the session's own.
    fn ids(&self) -> Vec<String> {
        self.sign_in.iter().chain(&self.grants).chain(&self.cases).cloned().collect()
    }

    fn learn(&mut self, row: &AuditRow) {
        let Ok(fields) = serde_json::from_str::<Value>(&row.json) else { return };
        match row.kind.as_str() {
            "session_opened" if text(&fields, "session") == Some(&self.session) => {
                self.client_serial = text(&fields, "client_serial").map(str::to_owned);
                let grants = fields.get("grants").and_then(Value::as_array).into_iter().flatten();
                self.grants.extend(grants.filter_map(Value::as_str).map(str::to_owned));
            }
            "grant_opened" if text(&fields, "grant").is_some_and(|grant| self.grants.contains(grant)) => {
                self.cases.extend(text(&fields, "case").map(str::to_owned));
            }
            _ => {}
        }
    }

    /// Whether an entry that names one of the ids belongs to the story.
    fn holds(&self, kind: &str, fields: &Value) -> bool {
        let is = |name: &str, wanted: Option<&str>| wanted.is_some() && text(fields, name) == wanted;
        let named = |name: &str, id: &str| {
            let items = fields.get(name).and_then(Value::as_array).into_iter().flatten();
            items.filter_map(Value::as_str).any(|item| item == id)
        };
        if is("session", Some(&self.session)) {
            return true;
        }
        let sign_in = self.sign_in.as_deref();
        match kind {
            // Others of the same sign-in are other stories.
            "certificate_issued" => is("serial", self.client_serial.as_deref()),
            "signed_in" | "workload_signed_in" | "sign_in_ended" | "groups_changed" => is("sign_in", sign_in),
            "provider_logged_out" => sign_in.is_some_and(|id| named("ended", id)),
            "revoked" => is("value", Some(&self.session)) || sign_in.is_some_and(|id| named("sign_ins", id)),
            "run_over" => sign_in.is_some_and(|id| named("sign_ins", id)),
            _ => {
                // What hangs on the sign-in only (other sessions, refusals) is not part of this one.
                let grant = text(fields, "grant").is_some_and(|id| self.grants.contains(id));
                let case = text(fields, "case").is_some_and(|id| self.cases.contains(id));
                (grant || case) && fields.get("session").is_none()
            }
        }
    }
}

/// What stands in the recording and not in the log.
fn recorded(recordings: &Path, session: &SessionRow) -> Result<Vec<Part>, String> {
    let Some(place) = &session.recording else { return Err("the session was not recorded".into()) };
    let folder = Folder::locate(recordings, place).map_err(|error| error.to_string())?;
    if folder.is_alone() {
        return Err("recorded by an older version, which wrote no events".into());
    }
    let lines = folder.events().map_err(|error| format!("its events cannot be read: {error}"))?;
    let is_news = |line: &Line| match line.event {
        Event::Command { .. }
        | Event::Note { .. }
        | Event::Stream { .. }
        | Event::Lost { .. }
        | Event::Interrupted {} => true,
        // The audit log has the same; parts of the cast are the reader's matter.
        Event::File { .. }
        | Event::Transfer { .. }
        | Event::ForwardOpened { .. }
        | Event::ForwardClosed { .. }
        | Event::Closed { .. }
        | Event::Part { .. } => false,
    };
    let when =
        |line: &Line| session.opened.plus(Duration::try_from_secs_f64(line.t.max(0.0)).unwrap_or_default());
    Ok(lines
        .into_iter()
        .filter(is_news)
        .map(|line| Part { at: when(&line), what: What::Recorded(line) })
        .collect())
}
