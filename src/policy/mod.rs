//! What may pass: the policy file, its checked form, and the one pure function that decides.
//!
//! `file` reads and checks (`target` and `role` one table each, `clients` what is too much for one member); `decide` answers. No clock, no disk, no async in `decide`.

mod clients;
pub mod decide;
pub mod file;
mod role;
mod target;
pub mod terms;

use std::collections::{BTreeMap, BTreeSet};

use crate::names::{GroupName, LoginName, RoleName, TargetName};

pub use decide::{Verdict, decide, logins_for, targets_for};
pub use file::{check_against, load, load_for};
pub use terms::Terms;

/// A checked policy: what the file said, every name parsed, every reference resolved.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// By name.
    pub targets: BTreeMap<TargetName, Target>,
    /// In the order of the file.
    pub roles: Vec<Role>,
    /// SHA-256 of the file's bytes in hex, written into sessions and audit entries.
    pub digest: String,
}

/// A machine behind the bastion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// As users call it.
    pub name: TargetName,
    /// Where it listens: host name or IP address, and port.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Free key = value labels.
    pub labels: BTreeMap<String, String>,
    /// How its host key is known. There is no trust on first use.
    pub host_key: HostKey,
}

/// How a target proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostKey {
    /// A host certificate of our host CA for `principal` (the target's name unless the file says otherwise).
    Ca {
        /// The name that must stand among the certificate's principals.
        principal: String,
    },
    /// One of exactly these keys, in OpenSSH's one-line form without comment.
    Pinned(Vec<String>),
}

/// A rule of eligibility.
#[derive(Clone, Debug)]
pub struct Role {
    /// Its name.
    pub name: RoleName,
    /// Whom it is for.
    pub members: Members,
    /// Targets by name.
    pub target_names: BTreeSet<TargetName>,
    /// Targets by label: every pair of one map must match; any map of the list suffices.
    pub target_labels: Vec<BTreeMap<String, String>>,
    /// Accounts it opens.
    pub logins: BTreeSet<LoginName>,
    /// Channel kinds it opens.
    pub channels: BTreeSet<ChannelKind>,
    /// Limits that an allowed act carries.
    pub terms: Terms,
}

/// Whom a role is for: any of the groups, or any of the subjects (`provider:subject`).
#[derive(Clone, Debug, Default)]
pub struct Members {
    /// Namespaced groups.
    pub groups: BTreeSet<GroupName>,
    /// `provider:subject` references.
    pub subjects: BTreeSet<String>,
}

/// Kinds of channel a role can open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChannelKind {
    /// A shell, with or without a terminal.
    Shell,
    /// One command.
    Exec,
    /// The `sftp` subsystem.
    Sftp,
}

impl ChannelKind {
    /// Every kind, in the order people are told of them.
    pub const ALL: [Self; 3] = [Self::Shell, Self::Exec, Self::Sftp];

    /// The kind as the policy file and refusals write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shell => "shell",
            Self::Exec => "exec",
            Self::Sftp => "sftp",
        }
    }
}

/// What somebody wants to do on a target. One per channel; the same type for every door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The target's name as the client gave it.
    pub target: TargetName,
    /// The account.
    pub login: LoginName,
    /// What in particular.
    pub act: Act,
}

/// The particular thing asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// A shell (RFC 4254 section 6.5 `shell`).
    Shell {
        /// With a pseudo-terminal.
        pty: bool,
    },
    /// One command (`exec`), as the bytes the client sent.
    Exec {
        /// The command line.
        command: Vec<u8>,
        /// With a pseudo-terminal.
        pty: bool,
    },
    /// A subsystem by name; only `sftp` is known.
    Subsystem {
        /// Its name.
        name: String,
    },
}

/// A no, as an answer: not an error. `code` is stable and documented, `text` is one line for the user and says
/// what to do next, `reason` is the fuller text for the audit. Unknown and forbidden targets get the same `text`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Stable code, e.g. `no-access`.
    pub code: RefusalCode,
    /// One line for the user.
    pub text: String,
    /// For the audit only.
    pub reason: String,
}

/// Stable codes of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusalCode {
    /// No role opens this target with this login for this person, or there is no such target.
    NoAccess,
    /// A role opens the target, but not this kind of channel.
    ChannelKind,
    /// The certificate does not name this login.
    Principal,
    /// The sign-in has ended.
    SignInEnded,
    /// A limit of the server is reached.
    Limit,
    /// A request that this server does not know.
    Unknown,
}

impl RefusalCode {
    /// The code as users see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoAccess => "no-access",
            Self::ChannelKind => "channel-kind",
            Self::Principal => "principal",
            Self::SignInEnded => "sign-in-ended",
            Self::Limit => "limit",
            Self::Unknown => "unknown-request",
        }
    }
}
