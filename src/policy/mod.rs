//! What may pass: the policy file, its checked form, and the one pure function that decides.
//!
//! `file` reads and checks (`target` and `role` one table each, `workload` jobs and service accounts, `extends` what roles
//! take from each other, `clients` what is too much for one member); `decide` answers. No clock, no disk, no async in `decide`.

pub mod ask;
pub mod cases;
mod clients;
pub mod commands;
mod conditions;
pub mod decide;
pub mod explain;
pub mod extends;
pub mod file;
pub mod files;
pub mod forwards;
pub mod hours;
pub mod lint;
pub mod outcome;
pub mod outline;
pub mod request;
mod role;
pub mod somebody;
mod target;
pub mod terms;
pub mod ways;
pub mod workload;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::inspect::command::Dialect;
use crate::names::{GroupName, LoginName, RoleName, ServiceName, TargetName, WorkloadName};
use crate::net::Cidr;

pub use ask::{Act, Ask, ChannelKind, Circumstances, Granted, Held, Refusal, RefusalCode};
pub use commands::CommandSet;
pub use decide::{
    Allowance, CommandPass, Reach, Verdict, asks_by_itself, certificate_max, decide, logins_for, reach_for,
    targets_for, wants_addresses,
};
pub use file::{check_against, load, load_for, load_outlined};
pub use files::FileRules;
pub use forwards::ForwardRules;
pub use hours::Hours;
pub use outcome::{Answer, Outcome, Question};
pub use outline::Outline;
pub use request::{Access, RequestRules, StageRule};
pub use terms::{Recording, Terms, WhenDiskFull};
pub use workload::{Service, WorkloadRule};

/// A checked policy: what the files said, every name parsed, every reference resolved.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// By name.
    pub targets: BTreeMap<TargetName, Target>,
    /// In the order of the files. Templates are not among them: what they say stands in the roles that extend them.
    pub roles: Vec<Role>,
    /// Which runs of jobs are meant, by name.
    pub workloads: BTreeMap<WorkloadName, Arc<WorkloadRule>>,
    /// Service accounts, by name.
    pub services: BTreeMap<ServiceName, Arc<Service>>,
    /// SHA-256 in hex over the names and bytes of the files, written into sessions and audit entries.
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
    /// What it makes of command lines.
    pub dialect: Dialect,
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

/// A rule of eligibility. What a role extends stands in it as further layers: a value with layers holds only where
/// every layer does, so a role can narrow what it extends and nothing else.
#[derive(Clone, Debug)]
pub struct Role {
    /// Its name.
    pub name: RoleName,
    /// The roles it extends, nearest first.
    pub extends: Vec<RoleName>,
    /// Whom it is for: somebody in every layer.
    pub members: Vec<Members>,
    /// Which targets: those in every layer.
    pub targets: Vec<Selector>,
    /// Accounts it opens.
    pub logins: BTreeSet<LoginName>,
    /// Channel kinds it opens.
    pub channels: BTreeSet<ChannelKind>,
    /// Command rules for `exec`: every set must allow. Empty: every command.
    pub commands: Vec<Arc<CommandSet>>,
    /// Path rules for `sftp`, `scp`, `rsync` and `git`.
    pub files: FileRules,
    /// Environment variables that may pass: names, `*` only at the end. None: what the configuration says.
    pub env: Option<Vec<String>>,
    /// Where the client may connect from: an address in every layer.
    pub sources: Vec<Vec<Cidr>>,
    /// When it may be used: a moment in every layer.
    pub hours: Vec<Hours>,
    /// What may be forwarded.
    pub forwards: ForwardRules,
    /// Limits that an allowed act carries.
    pub terms: Terms,
    /// How its members get it.
    pub access: Access,
}

/// Whom a role is for: people of any of the groups, or any of the subjects (`provider:subject`); runs that fit any of the
/// rules; any of the service accounts. Groups and subjects are of people only, rules and accounts never of people.
#[derive(Clone, Debug, Default)]
pub struct Members {
    /// Namespaced groups.
    pub groups: BTreeSet<GroupName>,
    /// `provider:subject` references.
    pub subjects: BTreeSet<String>,
    /// Rules about runs of jobs.
    pub workloads: Vec<Arc<WorkloadRule>>,
    /// Service accounts.
    pub services: BTreeMap<ServiceName, Arc<Service>>,
}

impl Members {
    /// Whether it is for nobody.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
            && self.subjects.is_empty()
            && self.workloads.is_empty()
            && self.services.is_empty()
    }
}

/// Which targets: any that one of the three lists names.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    /// By name.
    pub names: BTreeSet<TargetName>,
    /// By pattern: `*` is any run of characters without a dot.
    pub patterns: Vec<String>,
    /// By label: every pair of one map must match; any map of the list suffices.
    pub labels: Vec<BTreeMap<String, String>>,
}

impl Selector {
    /// Whether it names this target.
    pub fn names(&self, target: &Target) -> bool {
        self.names.contains(&target.name)
            || self.patterns.iter().any(|pattern| matches(pattern, target.name.as_str(), '.'))
            || self.labels.iter().any(|wanted| decide::has_labels(&target.labels, wanted))
    }
}

/// Whether `name` is what `pattern` describes, where `*` is any run of characters without the character `fence`. Anchored.
fn matches(pattern: &str, name: &str, fence: char) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        let at = if last { rest.len().checked_sub(part.len()) } else { rest.find(part) };
        let Some((skipped, tail)) = at.and_then(|at| rest.split_at_checked(at)) else { return false };
        let Some(after) = tail.strip_prefix(part) else { return false };
        if skipped.contains(fence) {
            return false;
        }
        rest = after;
    }
    rest.is_empty()
}

/// Whether a list of environment variables (`LC_*`, `LANG`) has `name`. What is not a variable's name is in no list.
pub fn env_passes(patterns: &[String], name: &str) -> bool {
    let sane = !name.is_empty()
        && name.len() <= 128
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    sane && patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_patterns() {
        for (pattern, name, expect) in [
            ("web*", "web1", true),
            ("web*", "web", true),
            ("web*", "web1.eu", false),
            ("web*", "xweb1", false),
            ("web*.eu", "web1.eu", true),
            ("web*.eu", "web1.eu.eu", false),
            ("*-db-*", "a-db-b", true),
            ("*-db-*", "a-db-db-b", true),
            ("*-db-*", "-db", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "ac", false),
            ("*.prod", "x.prod", true),
            ("*.prod", "x.y.prod", false),
            ("web1", "web1", true),
            ("web1", "web11", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, name, '.'), expect, "{pattern} {name}");
        }
    }

    #[test]
    fn environment_patterns() {
        for (pattern, name, expected) in [
            ("LANG", "LANG", true),
            ("LANG", "LANGUAGE", false),
            ("LC_*", "LC_ALL", true),
            ("LC_*", "LC_", true),
            ("LC_*", "LD_PRELOAD", false),
            ("LC_*", "LC_A=B", false),
            ("*", "", false),
            ("*", "A B", false),
            ("*", "1A", false),
        ] {
            assert_eq!(env_passes(&[pattern.to_owned()], name), expected, "{pattern} {name}");
        }
    }
}
