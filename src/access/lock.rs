//! Locks: nobody in, nothing out, whatever roles and grants say.

use crate::identity::Identity;
use crate::ids::LockId;
use crate::names::{RoleName, TargetName};
use crate::time::Timestamp;

/// A lock that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Its id.
    pub id: LockId,
    /// What is locked.
    pub on: LockOn,
    /// Why. Text from an administrator.
    pub reason: String,
    /// Who set it: `provider:subject`, or `admin` for the command on the server.
    pub by: String,
    /// When.
    pub created: Timestamp,
    /// When it opens by itself.
    pub until: Option<Timestamp>,
}

/// What is locked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockOn {
    /// A person or a workload, as `provider:subject`.
    User(String),
    /// A target.
    Target(TargetName),
    /// A role.
    Role(RoleName),
}

impl LockOn {
    /// `user`, `target` or `role`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Target(_) => "target",
            Self::Role(_) => "role",
        }
    }

    /// Whom or what.
    pub fn name(&self) -> &str {
        match self {
            Self::User(reference) => reference,
            Self::Target(name) => name.as_str(),
            Self::Role(name) => name.as_str(),
        }
    }
}

impl Lock {
    /// Whether it holds at `now`.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// Whether it keeps `who` out of everything.
    pub fn is_on(&self, who: &Identity) -> bool {
        matches!(&self.on, LockOn::User(reference) if *reference == who.reference())
    }
}
