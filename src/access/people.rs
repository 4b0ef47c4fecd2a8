//! Who takes part in a case: people as they were when they acted, and sets of people who may approve.

use std::collections::BTreeSet;
use std::fmt;

use crate::identity::{Identity, Kind};
use crate::names::GroupName;

/// Somebody who asked, approved, denied, released or revoked. Equal when the issuer and the subject are: the rest
/// is how they are called.
#[derive(Clone, Debug)]
pub struct Party {
    /// The OpenID issuer.
    pub issuer: String,
    /// The subject at that issuer, as [`Identity::holder`] has it.
    pub subject: String,
    /// `provider:subject`, as policy and audit write it.
    pub reference: String,
    /// A label for people.
    pub display: String,
}

impl Party {
    /// Whom an identity is.
    pub fn of(who: &Identity) -> Self {
        Self {
            issuer: who.issuer.clone(),
            subject: who.holder(),
            reference: who.reference(),
            display: who.display.clone(),
        }
    }

    /// The bastion itself, or its administrator at its own shell: no issuer vouches for them, so they are never
    /// equal to anybody who signed in.
    pub fn local(name: &str) -> Self {
        Self {
            issuer: String::new(),
            subject: name.to_owned(),
            reference: name.to_owned(),
            display: name.to_owned(),
        }
    }

    /// Whether `who` is this person.
    pub fn is(&self, who: &Identity) -> bool {
        self.issuer == who.issuer && self.subject == who.holder()
    }
}

impl PartialEq for Party {
    fn eq(&self, other: &Self) -> bool {
        self.issuer == other.issuer && self.subject == other.subject
    }
}

impl Eq for Party {}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reference)
    }
}

/// People by group and by subject. Empty names nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Approvers {
    /// Namespaced groups.
    pub groups: BTreeSet<GroupName>,
    /// `provider:subject` references.
    pub subjects: BTreeSet<String>,
}

impl Approvers {
    /// Whether `who` is among them. A provider speaks for its own groups only, and no job approves anything.
    pub fn names(&self, who: &Identity) -> bool {
        who.kind == Kind::Person && self.has(who)
    }

    fn has(&self, who: &Identity) -> bool {
        self.subjects.contains(&who.reference())
            || who.groups.iter().any(|group| *group.provider() == who.provider && self.groups.contains(group))
    }

    /// Whether it names nobody.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.subjects.is_empty()
    }

    /// Both together.
    pub fn and(&self, other: &Self) -> Self {
        Self { groups: &self.groups | &other.groups, subjects: &self.subjects | &other.subjects }
    }

    /// As the policy writes them, groups first.
    pub fn listed(&self) -> Vec<String> {
        let groups = self.groups.iter().map(ToString::to_string);
        groups.chain(self.subjects.iter().cloned()).collect()
    }
}

impl fmt::Display for Approvers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.listed().join(", "))
    }
}
