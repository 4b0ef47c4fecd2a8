//! What a policy means for one person at one target and login: which roles hold and why not the others, what becomes of
//! an ask, and what of all that is enforced, what can only be detected, and what nobody controls. Everything is worked out
//! from the roles; verdicts are `decide`'s.

mod columns;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use super::decide::{is_member, is_source, opening_of, opens_target};
use super::hours::Opening;
use super::outcome::{Outcome, Question};
use super::{Act, Ask, ChannelKind, Circumstances, Policy, RefusalCode, Role, Target, Terms, targets_for};
use crate::identity::Identity;
use crate::names::{LoginName, RoleName};

pub use columns::Columns;

/// What is to be explained.
#[derive(Clone, Debug)]
pub struct Subject<'p> {
    /// The policy.
    pub policy: &'p Policy,
    /// Who.
    pub who: Identity,
    /// Where: one of the policy's targets.
    pub target: &'p Target,
    /// As whom.
    pub login: LoginName,
    /// When and from where.
    pub at: Circumstances,
    /// Variables that pass where a role leaves them to the configuration.
    pub env_default: Vec<String>,
    /// The configuration's limits; none where it is not known.
    pub limits: Terms,
}

/// The answer.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Every role, in the order of the policy.
    pub roles: Vec<RoleLine>,
    /// What becomes of the command; without one, of everything that needs no more words.
    pub asks: Vec<(String, Meaning)>,
    /// What that is worth, from the roles that hold here and now; where none does, from those that would at another
    /// time or place.
    pub columns: Columns,
}

/// What becomes of an ask.
#[derive(Clone, Debug)]
pub enum Meaning {
    /// This.
    Verdict(Box<Outcome>),
    /// It depends on what exactly is asked; a sentence.
    Depends(String),
}

/// Why a role holds or does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleLine {
    /// Its name.
    pub name: RoleName,
    /// The person is among its members.
    pub member: bool,
    /// It opens the target.
    pub target: bool,
    /// It opens the login.
    pub login: bool,
    /// The client's address is among its networks.
    pub source: bool,
    /// Whether its hours are now.
    pub hours: Opening,
    /// The channel kinds that it opens.
    pub channels: BTreeSet<ChannelKind>,
}

impl RoleLine {
    /// Whether it holds: all of them.
    pub fn holds(&self) -> bool {
        self.member && self.target && self.login && self.source && self.hours != Opening::Closed
    }
}

/// The logins to explain when nobody names one: those that the person has there; else all that any role opens there.
pub fn logins(policy: &Policy, who: &Identity, target: &Target) -> BTreeSet<LoginName> {
    let own = targets_for(policy, who).into_iter().find(|(name, _)| *name == target.name);
    own.map(|(_, logins)| logins).unwrap_or_else(|| {
        let roles = policy.roles.iter().filter(|role| opens_target(role, target));
        roles.flat_map(|role| role.logins.iter().cloned()).collect()
    })
}

impl Subject<'_> {
    /// Explains it; with `command`, that command line as well.
    pub fn explain(&self, command: Option<&[u8]>) -> Explanation {
        let asks = match command {
            Some(command) => {
                let act = Act::Exec { command: command.to_vec(), pty: false };
                vec![(act.to_string(), self.put(act))]
            }
            None => self.asks(),
        };
        let roles = self.policy.roles.iter().map(|role| self.line(role)).collect();
        Explanation { roles, asks, columns: columns::of(self, &self.holding()) }
    }

    fn line(&self, role: &Role) -> RoleLine {
        RoleLine {
            name: role.name.clone(),
            member: is_member(role, &self.who),
            target: opens_target(role, self.target),
            login: role.logins.contains(&self.login),
            source: is_source(role, &self.at),
            hours: opening_of(role, &self.at),
            channels: role.channels.clone(),
        }
    }

    /// The roles that hold; where none does, those that would at another time or place.
    fn holding(&self) -> Vec<&Role> {
        let eligible = self.policy.roles.iter().filter(|role| {
            let line = self.line(role);
            line.member && line.target && line.login
        });
        let eligible: Vec<&Role> = eligible.collect();
        let now: Vec<&Role> = eligible.iter().filter(|role| self.line(role).holds()).copied().collect();
        if now.is_empty() { eligible } else { now }
    }

    /// What can be asked for without more words.
    fn asks(&self) -> Vec<(String, Meaning)> {
        // Where rules judge commands, their answer to any one command says nothing of the others.
        let any = match self.put(Act::Exec { command: b"true".to_vec(), pty: false }) {
            Meaning::Verdict(outcome) if by_rules(&outcome) => {
                Meaning::Depends("it depends on the command: name one to see".to_owned())
            }
            Meaning::Verdict(outcome) => Meaning::Verdict(Box::new(Outcome { sends: None, ..*outcome })),
            other @ Meaning::Depends(_) => other,
        };
        [
            ("shell", self.put(Act::Shell { pty: true })),
            ("exec", any),
            ("sftp", self.put(Act::Subsystem { name: "sftp".to_owned() })),
            ("agent forwarding", self.put(Act::Agent)),
            ("X11 forwarding", self.put(Act::X11)),
        ]
        .map(|(name, meaning)| (name.to_owned(), meaning))
        .into()
    }

    fn put(&self, act: Act) -> Meaning {
        let ask = Ask { target: self.target.name.clone(), login: self.login.clone(), act };
        let question = Question {
            who: self.who.clone(),
            ask,
            file: None,
            at: self.at.clone(),
            env_default: self.env_default.clone(),
        };
        let mut outcome = question.put(self.policy);
        outcome.terms = outcome.terms.narrow(&self.limits);
        Meaning::Verdict(Box::new(outcome))
    }
}

/// A command rule spoke, or the lack of one.
fn by_rules(outcome: &Outcome) -> bool {
    use RefusalCode::{Command, Opaque, Review};
    outcome.assurance.is_some() || matches!(outcome.code, Some(Command | Opaque | Review))
}
