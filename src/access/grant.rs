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

    /// Whether it reaches `login` on `target` at `now`: for somebody who could begin to use it, or, with a `session`, for
    /// what belongs to that one. Of what is for one use a session that did not take it has nothing.
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
            && self.is_free_for(session)
    }

    fn is_free_for(&self, session: Option<&SessionId>) -> bool {
        match (self.once(), session) {
            (Some(_), Some(session)) => self.used_by.as_ref() == Some(session),
            (Some(_), None) | (None, _) => self.used_by.is_none(),
        }
    }

    /// Whether it is for one use, and nobody has begun that.
    pub fn is_to_be_taken(&self) -> bool {
        self.once().is_some() && self.used_by.is_none()
    }

    /// Whether one use is all.
    pub fn once(&self) -> Option<Once> {
        self.scope.once
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn one_use_belongs_to_the_session_that_took_it() {
        let random = Random::seeded(7);
        let (one, other) = (SessionId::random(&random), SessionId::random(&random));
        let now = Timestamp::from_secs(1000);
        let grant = |once: Option<Once>, used_by: Option<&SessionId>| Grant {
            id: GrantId::random(&random),
            case: CaseId::random(&random),
            who: Party::local("ann"),
            scope: Scope {
                role: "ops".parse().unwrap(),
                targets: ["web1".parse().unwrap()].into(),
                logins: ["root".parse().unwrap()].into(),
                commands: std::collections::BTreeSet::new(),
                length: std::time::Duration::from_secs(60),
                once,
            },
            starts: now,
            until: now.plus(std::time::Duration::from_secs(60)),
            break_glass: false,
            used_by: used_by.cloned(),
            ended: None,
        };
        let once = Some(Once::Session);
        let rows = [
            (grant(None, None), None, true),
            (grant(None, None), Some(&one), true),
            (grant(once, None), None, true),
            // Somebody else's session is not let in by what nobody has begun to use.
            (grant(once, None), Some(&other), false),
            (grant(once, Some(&one)), Some(&one), true),
            (grant(once, Some(&one)), Some(&other), false),
            (grant(once, Some(&one)), None, false),
            (grant(Some(Once::Exec), None), Some(&other), false),
        ];
        let (target, login) = ("web1".parse().unwrap(), "root".parse().unwrap());
        for (grant, session, expect) in rows {
            let opens = grant.opens(&target, &login, session, now);
            assert_eq!(opens, expect, "{:?} used by {:?} for {session:?}", grant.once(), grant.used_by);
        }
    }
}
