//! Access that exists now, or from its start on.

use super::case::{Once, Scope};
use super::people::Party;
use crate::ids::{CaseId, GrantId, SessionId};
use crate::names::{LoginName, TargetName};
use crate::time::Timestamp;

/// What an approved case opened.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Its id.
    pub id: GrantId,
    /// The case behind it.
    pub case: CaseId,
    /// Whose.
    pub who: Party,
    /// What it reaches.
    pub scope: Scope,
    /// From when.
    pub starts: Timestamp,
    /// The first moment at which it is over.
    pub until: Timestamp,
    /// Opened by break-glass.
    pub break_glass: bool,
    /// The session that has used it up, where one use is all.
    pub used_by: Option<SessionId>,
    /// When it was ended before its time, or found to be over.
    pub ended: Option<Timestamp>,
}

impl Grant {
    /// Whether it opens anything at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.ended.is_none() && self.starts <= now && now < self.until
    }

    /// Whether it reaches `login` on `target` at `now`, for somebody who is not using it yet, or for `session`.
    pub fn opens(
        &self,
        target: &TargetName,
        login: &LoginName,
        session: Option<&SessionId>,
        now: Timestamp,
    ) -> bool {
        self.is_live(now)
            && self.scope.targets.contains(target)
            && self.scope.logins.contains(login)
            && (self.used_by.is_none() || self.used_by.as_ref() == session)
    }

    /// Whether one use is all.
    pub fn once(&self) -> Option<Once> {
        self.scope.once
    }
}
