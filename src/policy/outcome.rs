//! The verdict on an ask in words for people and tests: yes, no, "by request" or "to be approved", by which rule, and what is sent.
//! It judges nothing itself: it asks `decide`, and for an operation on a file the same path rules that a session asks.

use super::commands::Assurance;
use super::files::{self, CanonicalPath, FileOp};
use super::{Act, Allowance, Ask, Circumstances, Policy, RefusalCode, Terms, Verdict, decide};
use crate::identity::Identity;
use crate::names::RoleName;
use crate::time::Timestamp;

/// Yes, no, "by request", or "to be approved".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It passes.
    Allow,
    /// It does not.
    Refuse,
    /// It waits for somebody's approval.
    Review,
    /// It would pass for whoever asked for access and got it.
    Request,
}

impl Answer {
    /// Every answer.
    pub const ALL: [Self; 4] = [Self::Allow, Self::Refuse, Self::Review, Self::Request];

    /// The answer as files of cases and reports write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Refuse => "refuse",
            Self::Review => "review",
            Self::Request => "request",
        }
    }
}

/// What is asked, beside the policy: everything that a verdict depends on.
#[derive(Clone, Debug)]
pub struct Question {
    /// Who asks.
    pub who: Identity,
    /// For what.
    pub ask: Ask,
    /// In an sftp session: the operation on a path as the target resolved it, and the login's home if it is known.
    pub file: Option<(FileOp, CanonicalPath, Option<CanonicalPath>)>,
    /// When and from where.
    pub at: Circumstances,
    /// Variables that pass where a role leaves them to the configuration.
    pub env_default: Vec<String>,
}

/// What becomes of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Yes or no.
    pub answer: Answer,
    /// The code of a refusal.
    pub code: Option<RefusalCode>,
    /// What spoke: the rule of a command set or of path rules, else the first role that allows.
    pub rule: Option<String>,
    /// How sure a verdict on a command is.
    pub assurance: Option<Assurance>,
    /// What a refused user reads.
    pub text: Option<String>,
    /// What the audit says of a refusal.
    pub reason: Option<String>,
    /// For a command: what goes to the target.
    pub sends: Option<Vec<u8>>,
    /// For a forward: what the target is asked for, one after the other.
    pub hosts: Vec<String>,
    /// The roles that allow it.
    pub roles: Vec<RoleName>,
    /// Their terms, narrowed.
    pub terms: Terms,
    /// When the first of them closes.
    pub until: Option<Timestamp>,
}

impl Question {
    /// Asks the policy.
    pub fn put(&self, policy: &Policy) -> Outcome {
        match decide(policy, &self.who, &self.ask, &self.at) {
            Verdict::Refuse(refusal) => {
                let answer = if refusal.code == RefusalCode::Review {
                    Answer::Review
                } else if refusal.code == RefusalCode::ByRequest {
                    Answer::Request
                } else {
                    Answer::Refuse
                };
                Outcome {
                    rule: refusal.rule,
                    text: Some(refusal.text),
                    reason: Some(refusal.reason),
                    ..Outcome::bare(answer, Some(refusal.code))
                }
            }
            Verdict::Allow(allowed) => self.allowed(*allowed),
        }
    }

    fn allowed(&self, allowed: Allowance) -> Outcome {
        let refused = |code, rule: Option<String>, text: String| Outcome {
            rule,
            text: Some(text),
            ..Outcome::bare(Answer::Refuse, Some(code))
        };
        // What a session asks beyond the first verdict: `flow::authorize::may_send`, and the guard of sftp.
        if let Act::Env { name } = &self.ask.act
            && !allowed.passes(&self.env_default, name)
        {
            return refused(RefusalCode::Env, None, "this variable may not pass".to_owned());
        }
        let mut rule = allowed.roles.first().map(ToString::to_string);
        if let Some((op, path, home)) = &self.file {
            let verdict = files::judge_all(&allowed.files, *op, path, home.as_ref());
            if !verdict.allowed {
                return refused(RefusalCode::File, Some(verdict.rule.clone()), verdict.rule);
            }
            rule = Some(verdict.rule);
        }
        let mut outcome = Outcome {
            hosts: allowed.hosts,
            roles: allowed.roles,
            terms: allowed.terms,
            until: allowed.until,
            ..Outcome::bare(Answer::Allow, None)
        };
        if let Some(command) = allowed.command {
            outcome.sends = Some(command.send);
            if let Some((spoke, assurance)) = command.rule {
                rule = Some(spoke);
                outcome.assurance = Some(assurance);
            }
        }
        outcome.rule = rule;
        outcome
    }
}

impl Outcome {
    fn bare(answer: Answer, code: Option<RefusalCode>) -> Self {
        Self {
            answer,
            code,
            rule: None,
            assurance: None,
            text: None,
            reason: None,
            sends: None,
            hosts: Vec::new(),
            roles: Vec::new(),
            terms: Terms::default(),
            until: None,
        }
    }
}
