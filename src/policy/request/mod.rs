//! How people get to a role: by standing access, or by asking. What must be said, how long it may be, who approves
//! and when nobody needs to. `read` reads it from the policy, `plan` makes of a wish what a case begins with, `eligible` is what there is
//! to wish for.

mod eligible;
mod plan;
mod read;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use regex_lite::Regex;

use super::hours::{Hours, Opening};
use super::{Policy, Role, decide};
use crate::access::Approvers;
use crate::identity::Identity;
use crate::names::RoleName;
use crate::time::Timestamp;

pub use eligible::{Eligible, eligible};
pub use plan::{Plan, PlanRefused, TargetWish, Wish, check_lines, plan, still_asked};
pub(super) use read::{MISSING, read, unknown_role};

/// How people get what a role opens.
#[derive(Clone, Debug)]
pub enum Access {
    /// Its members have it. Only where the policy says `standing = true`.
    Standing,
    /// Its members may ask for it.
    ByRequest(Arc<RequestRules>),
}

impl Access {
    /// The rules for asking; none where nobody needs to.
    pub fn rules(&self) -> Option<&RequestRules> {
        match self {
            Self::Standing => None,
            Self::ByRequest(rules) => Some(rules),
        }
    }
}

/// `[role.request]`: the rules for asking.
#[derive(Clone, Debug)]
pub struct RequestRules {
    /// The longest grant.
    pub max: Duration,
    /// How long a request may wait.
    pub pending_max: Duration,
    /// What the reason must be like.
    pub reason: Words,
    /// What the ticket must be like.
    pub ticket: Words,
    /// A connection files the request itself and waits.
    pub connect: bool,
    /// When nobody needs to approve: any of these.
    pub automatic: Vec<Automatic>,
    /// Who approves, in this order.
    pub stages: Vec<StageRule>,
    /// In an emergency it opens at once, and these are told and look at it afterwards.
    pub break_glass: Option<Approvers>,
}

/// What people must say.
#[derive(Clone, Debug)]
pub struct Words {
    /// Whether something must be said at all.
    pub required: bool,
    /// Fewest characters, blanks at the ends not counted.
    pub min: usize,
    /// What the whole text must match.
    pub pattern: Option<Pattern>,
}

/// A regular expression that a whole text must match.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// As the policy writes it.
    pub text: String,
    whole: Regex,
}

/// Conditions under which nobody needs to approve. All that are given must hold.
#[derive(Clone, Debug, Default)]
pub struct Automatic {
    /// Every target has one of these sets of labels.
    pub labels: Vec<BTreeMap<String, String>>,
    /// The person is a member of one of these roles as well.
    pub roles: BTreeSet<RoleName>,
    /// It is one of these hours.
    pub hours: Option<Hours>,
    /// People approved the same for the same person not longer ago than this.
    pub approved_within: Option<Duration>,
    /// It is for no longer than this.
    pub max: Option<Duration>,
}

/// `[[role.request.stage]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageRule {
    /// Its name, for people.
    pub name: String,
    /// Who may approve.
    pub approvers: Approvers,
    /// The owners of the target, whom this label of it names, may as well.
    pub owner_label: Option<String>,
    /// How many different people.
    pub needed: usize,
    /// When to remind them.
    pub remind_after: Option<Duration>,
    /// When others may approve as well, and who.
    pub escalate: Option<(Duration, Approvers)>,
    /// When to give up.
    pub give_up_after: Option<Duration>,
}

/// What is asked for when nobody says how long, unless the role allows less.
const LENGTH: Duration = Duration::from_secs(30 * 60);
/// Longest reason, ticket or note, in characters.
pub const WORDS_MAX: usize = 1000;

impl Words {
    /// Checks what somebody said; the answer says what is missing. `what` is `reason` or `ticket`.
    pub fn check(&self, what: &str, said: &str) -> Result<(), String> {
        let said = said.trim();
        if said.is_empty() {
            return if self.required { Err(format!("a {what} is needed: --{what} '...'")) } else { Ok(()) };
        }
        let length = said.chars().count();
        if length > WORDS_MAX {
            return Err(format!("the {what} is longer than {WORDS_MAX} characters"));
        }
        if said.chars().any(char::is_control) {
            return Err(format!("the {what} must be one line without control characters"));
        }
        if length < self.min {
            return Err(format!("the {what} must have at least {} characters; this has {length}", self.min));
        }
        match &self.pattern {
            Some(pattern) if !pattern.whole.is_match(said) => {
                Err(format!("the {what} must match {:?}", pattern.text))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl RequestRules {
    /// What is asked for when nobody says how long.
    pub fn usual_length(&self) -> Duration {
        LENGTH.min(self.max)
    }

    /// Rules by which nobody can get anything.
    pub(super) fn closed() -> Self {
        let words = Words { required: true, min: 0, pattern: None };
        Self {
            max: Duration::ZERO,
            pending_max: Duration::ZERO,
            reason: words.clone(),
            ticket: words,
            connect: false,
            automatic: Vec::new(),
            stages: Vec::new(),
            break_glass: None,
        }
    }

    /// The first of the automatic conditions that hold for this, as a number from 1. `approved` is when people last
    /// approved the same for the same person.
    fn automatic(
        &self,
        policy: &Policy,
        who: &Identity,
        plan: &Plan,
        approved: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<usize> {
        let holds = |rule: &Automatic| {
            let targets = || plan.scope.targets.iter().filter_map(|name| policy.targets.get(name));
            let labelled = rule.labels.is_empty()
                || targets().all(|target| {
                    rule.labels.iter().any(|wanted| decide::has_labels(&target.labels, wanted))
                });
            let is_member = |role: &&Role| rule.roles.contains(&role.name) && decide::is_member(role, who);
            let member = rule.roles.is_empty() || policy.roles.iter().any(|role| is_member(&role));
            // A window that starts later is judged by the hour at which it starts.
            let begins = plan.start.map_or(now, |start| start.max(now));
            let open = rule.hours.as_ref().is_none_or(|hours| hours.at(begins) != Opening::Closed);
            let before = rule
                .approved_within
                .is_none_or(|within| approved.is_some_and(|at| at <= now && now.since(at) <= within));
            let short = rule.max.is_none_or(|max| plan.scope.length <= max);
            labelled && member && open && before && short
        };
        self.automatic.iter().position(holds).map(|at| at + 1)
    }
}
