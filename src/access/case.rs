//! One access request with its history. What may happen to it is [`super::step()`]'s.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::people::{Approvers, Party};
use crate::ids::{CaseId, GrantId};
use crate::names::{LoginName, RoleName, TargetName};
use crate::time::Timestamp;

/// A request: who asks for what and why, who must say yes, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Its id.
    pub id: CaseId,
    /// Who asks, and only they will have the access.
    pub who: Party,
    /// What was asked for.
    pub asked: Scope,
    /// What would be granted: as asked, or narrower after an approver narrowed it.
    pub scope: Scope,
    /// The start of a window that was asked for; else it starts when it is approved.
    pub start: Option<Timestamp>,
    /// Why, in the person's own words. Text from outside.
    pub reason: String,
    /// A ticket, as the person named it. Text from outside.
    pub ticket: Option<String>,
    /// Opened without waiting for anybody, and reviewed afterwards.
    pub break_glass: bool,
    /// When it was filed.
    pub filed: Timestamp,
    /// When it is void unless approved.
    pub expires: Timestamp,
    /// Who must approve, one stage after the other, as the policy said when it was filed. Empty: nobody had to.
    pub stages: Vec<Stage>,
    /// Who approved, in order.
    pub approvals: Vec<Approval>,
    /// How far it has come.
    pub state: State,
    /// What is to be looked at afterwards.
    pub review: Review,
    /// Who must look at it afterwards, where somebody must.
    pub reviewers: Approvers,
}

/// What access reaches: all of it must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The role whose terms hold.
    pub role: RoleName,
    /// Targets, never empty.
    pub targets: BTreeSet<TargetName>,
    /// Logins, never empty.
    pub logins: BTreeSet<LoginName>,
    /// Commands as rules write them (`systemctl restart *`). Empty: whatever the role opens; else only these, and no
    /// shell, file transfer or forward.
    pub commands: BTreeSet<String>,
    /// How long.
    pub length: Duration,
    /// Whether one use is all.
    pub once: Option<Once>,
}

/// A grant for one use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Once {
    /// It ends when the first session does.
    Session,
    /// One command only, and it ends when that is done.
    Exec,
}

impl Once {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Session, Self::Exec];

    /// As command line, API and rows write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Exec => "exec",
        }
    }
}

impl Scope {
    /// Whether `other` asks for nothing that this one does not have. How long does not count.
    pub fn covers(&self, other: &Self) -> bool {
        self.role == other.role
            && other.targets.is_subset(&self.targets)
            && other.logins.is_subset(&self.logins)
            && (self.commands.is_empty()
                || !other.commands.is_empty() && other.commands.is_subset(&self.commands))
            && (self.once.is_none() || self.once == other.once)
    }

    /// Whether there is a target and a login that both reach, by whatever role.
    pub fn overlaps(&self, other: &Self) -> bool {
        !self.targets.is_disjoint(&other.targets) && !self.logins.is_disjoint(&other.logins)
    }
}

/// Somebody has to approve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Its name, for people.
    pub name: String,
    /// Who may; owners of the targets are among them already.
    pub approvers: Approvers,
    /// How many different people; at least one.
    pub needed: usize,
    /// When to remind them, from the start of the stage.
    pub remind_after: Option<Duration>,
    /// When others may approve as well, and who.
    pub escalate: Option<(Duration, Approvers)>,
    /// When to give up.
    pub give_up_after: Option<Duration>,
}

/// A yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// For which stage, from 0.
    pub stage: usize,
    /// Whose.
    pub by: Party,
    /// When.
    pub at: Timestamp,
    /// What they said. Text from outside.
    pub note: String,
}

/// How far a case has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Somebody must approve.
    Waiting {
        /// The stage it is in, from 0.
        stage: usize,
        /// Since when.
        since: Timestamp,
        /// Its approvers were reminded.
        reminded: bool,
        /// Others may approve as well.
        escalated: bool,
    },
    /// Access exists, or will from its start on.
    Granted {
        /// The grant.
        grant: GrantId,
        /// From when.
        starts: Timestamp,
        /// The first moment at which it is over.
        until: Timestamp,
    },
    /// It is over.
    Closed {
        /// How.
        close: Close,
        /// When.
        at: Timestamp,
        /// By whom; none when time did it.
        by: Option<Party>,
        /// What they said. Text from outside.
        note: String,
    },
}

/// How a case came to its end. The first four never opened anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Close {
    /// An approver said no.
    Denied,
    /// Nobody approved in time.
    Expired,
    /// The person did not want it any more, or an administrator withdrew it.
    Cancelled,
    /// What the policy asks of such a request has changed.
    Outdated,
    /// Its time was over.
    Lapsed,
    /// Given back by the person.
    Released,
    /// Taken away.
    Revoked,
    /// Used once, as asked for.
    Used,
    /// Something else ended that it belonged to (a job of CI).
    Finished,
}

impl Close {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::Denied,
        Self::Expired,
        Self::Cancelled,
        Self::Outdated,
        Self::Lapsed,
        Self::Released,
        Self::Revoked,
        Self::Used,
        Self::Finished,
    ];

    /// Whether there was a grant that ended in this way.
    pub fn had_grant(self) -> bool {
        self > Self::Outdated
    }

    /// As API, rows and audit write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Outdated => "outdated",
            Self::Lapsed => "lapsed",
            Self::Released => "released",
            Self::Revoked => "revoked",
            Self::Used => "used",
            Self::Finished => "finished",
        }
    }
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Looking at it afterwards: what a break-glass leaves to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Review {
    /// Nobody has to.
    NotNeeded,
    /// Somebody else has to.
    Due,
    /// Somebody did.
    Done {
        /// Who.
        by: Party,
        /// When.
        at: Timestamp,
        /// What they found. Text from outside.
        note: String,
    },
}

impl State {
    /// One word for lists: `waiting`, `granted`, or how it was closed.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Waiting { .. } => "waiting",
            Self::Granted { .. } => "granted",
            Self::Closed { close, .. } => close.as_str(),
        }
    }
}

impl Case {
    /// Who may approve now; nobody when nothing is waited for.
    pub fn approvers(&self) -> Approvers {
        let State::Waiting { stage, escalated, .. } = &self.state else { return Approvers::default() };
        let Some(stage) = self.stages.get(*stage) else { return Approvers::default() };
        match &stage.escalate {
            Some((_, others)) if *escalated => stage.approvers.and(others),
            Some(_) | None => stage.approvers.clone(),
        }
    }

    /// How many more people must approve in this stage.
    pub fn missing(&self) -> usize {
        let State::Waiting { stage, .. } = &self.state else { return 0 };
        let there = self.approvals.iter().filter(|approval| approval.stage == *stage).count();
        self.stages.get(*stage).map_or(0, |stage| stage.needed.saturating_sub(there))
    }
}
