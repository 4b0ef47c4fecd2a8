//! What may take open access away, told to whoever holds some: at once in this process, and within half a second to every other
//! process that shares the store, because each follows the audit log, which has an entry for each such act.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{broadcast, watch};

use super::authorize::Permit;
use super::kill::Kill;
use crate::app::App;
use crate::ids::CaseId;
use crate::names::{RoleName, TargetName};
use crate::policy::Policy;
use crate::store::{AuditRow, StoreError};

/// Changes that a slow listener may be behind before it must take everything as changed.
pub(super) const BACKLOG: usize = 1024;
/// Entries read at once.
const ENTRIES: u32 = 500;

/// Something was taken from somebody, or may have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// From this person, by issuer and subject: a grant ended, groups changed.
    Identity {
        /// The OpenID issuer.
        issuer: String,
        /// The subject there.
        subject: String,
    },
    /// From this person, by `provider:subject`.
    User(String),
    /// A target was locked.
    Target(TargetName),
    /// A role was locked.
    Role(RoleName),
    /// Somebody ordered a session to end.
    Session(Kill),
    /// A user certificate was revoked.
    Certificate(u64),
    /// Something else, that could concern anybody.
    Everything,
}

impl Change {
    /// What an entry of the audit log takes away; none when nothing.
    pub fn of_entry(entry: &AuditRow) -> Option<Self> {
        if !KINDS.contains(&entry.kind.as_str()) {
            return None;
        }
        let Ok(fields) = serde_json::from_str::<Value>(&entry.json) else { return Some(Self::Everything) };
        let text = |key: &str| fields.get(key).and_then(Value::as_str);
        let change = match entry.kind.as_str() {
            "grant_opened" | "grant_ended" | "groups_changed" => {
                text("issuer").zip(text("subject")).map(|(issuer, subject)| Self::Identity {
                    issuer: issuer.to_owned(),
                    subject: subject.to_owned(),
                })
            }
            "locked" => text("kind").zip(text("name")).and_then(|(kind, name)| match kind {
                "user" => Some(Self::User(name.to_owned())),
                "target" => name.parse().ok().map(Self::Target),
                "role" => name.parse().ok().map(Self::Role),
                _ => None,
            }),
            "session_killed" => text("session").and_then(|id| id.parse().ok()).map(|session| {
                let text = |key| text(key).unwrap_or_default().to_owned();
                Self::Session(Kill { session, by: text("by"), reason: text("reason") })
            }),
            _ => None,
        };
        Some(change.unwrap_or(Self::Everything))
    }

    fn concerns(&self, permit: &Permit) -> bool {
        let caller = permit.caller();
        match self {
            Self::Identity { issuer, subject } => {
                caller.identity().issuer == *issuer && caller.identity().holder() == *subject
            }
            Self::User(reference) => caller.identity().reference() == *reference,
            Self::Target(target) => permit.ask().target == *target,
            Self::Role(role) => permit.has_role(role),
            Self::Session(kill) => permit.session() == Some(&kill.session),
            Self::Certificate(serial) => caller.certificate_serial() == Some(*serial),
            Self::Everything => true,
        }
    }
}

/// Kinds of audit entries that take something away, or move its end. What ends a sign-in is not among them: whoever holds
/// sessions asks for those.
const KINDS: &[&str] =
    &["grant_opened", "grant_ended", "locked", "groups_changed", "revoked", "session_killed"];

/// Kinds of audit entries that decide a case, for whoever waits for one.
const DECIDED: &[&str] = &["grant_opened", "case_closed"];
/// Both.
const FOLLOWED: &[&str] =
    &["grant_opened", "grant_ended", "locked", "groups_changed", "revoked", "session_killed", "case_closed"];

/// The case that an entry decides.
fn decided(entry: &AuditRow) -> Option<CaseId> {
    if !DECIDED.contains(&entry.kind.as_str()) {
        return None;
    }
    let fields: Value = serde_json::from_str(&entry.json).ok()?;
    fields.get("case")?.as_str()?.parse().ok()
}

/// What whoever holds a permit listens to. To be made before the permit, so that nothing falls between.
pub struct Changes {
    policy: watch::Receiver<Arc<Policy>>,
    access: broadcast::Receiver<Change>,
}

impl App {
    /// Listens from now on.
    pub fn changes(&self) -> Changes {
        Changes { policy: self.policy.subscribe(), access: self.desk.changes() }
    }
}

impl Changes {
    /// Waits for something that may concern `permit`. Never ready once the server is gone; so are its sessions.
    pub(super) async fn concerning(&mut self, permit: &Permit) {
        loop {
            tokio::select! {
                changed = self.policy.changed() => match changed {
                    Ok(()) => return,
                    Err(_) => std::future::pending().await,
                },
                change = self.access.recv() => match change {
                    Ok(change) if change.concerns(permit) => return,
                    Ok(_) => {}
                    Err(broadcast::error::RecvError::Lagged(_)) => return,
                    Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
                },
            }
        }
    }
}

/// Where following the audit log begins: at its end.
pub async fn end_of_log(app: &App) -> Result<u64, StoreError> {
    app.store.audit_end().await
}

/// Has everything that is open judged again: for when it could not be seen for a while what others took away.
pub fn suspect(app: &App) {
    app.desk.tell(Change::Everything);
}

/// Tells of everything that the audit log has after entry `seq`; returns the last entry seen.
pub async fn follow(app: &App, mut seq: u64) -> Result<u64, StoreError> {
    loop {
        let entries = app.store.audit_of_kinds(seq, FOLLOWED, ENTRIES).await?;
        for entry in &entries.rows {
            if let Some(case) = decided(entry) {
                app.desk.tell_case(&case);
            }
            if let Some(change) = Change::of_entry(entry) {
                app.desk.tell(change);
            }
        }
        seq = entries.seen;
        if !entries.more {
            return Ok(seq);
        }
    }
}
