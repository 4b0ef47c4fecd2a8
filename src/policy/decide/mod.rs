//! The one function that says yes or no. Pure: a policy, somebody and an ask in, a verdict out.
//!
//! Access is the union of the roles: an ask is allowed when at least one role has the person among its members, opens
//! the target and the login, and opens the kind of channel. Nothing else allows, so no role means no.
//!
//! Limits are the intersection: the terms are narrowed over *every* role that allows this same ask, whatever their
//! order. A second role therefore never widens a limit and never takes an obligation (`record_input`) away; it only
//! opens what the first one did not. The verdict is named after the first allowing role in the order of the file.

use std::collections::{BTreeMap, BTreeSet};

use super::{Act, Ask, ChannelKind, Policy, Refusal, RefusalCode, Role, Target, Terms};
use crate::identity::Identity;
use crate::names::{LoginName, RoleName, TargetName};

/// What stands in refusal texts for the name of the bastion, which the policy does not know. A door that knows it may
/// replace this word.
pub const BASTION: &str = "BASTION";

/// The answer of the policy.
#[derive(Clone, Debug)]
#[must_use]
pub enum Verdict {
    /// Allowed, by these roles, under these terms, at this target (address and host key included, so that
    /// whoever acts cannot look up another one).
    Allow {
        /// The target.
        target: Target,
        /// The narrowed terms.
        terms: Terms,
        /// The first role that allows it.
        role: RoleName,
    },
    /// Refused.
    Refuse(Refusal),
}

/// Judges one ask. Default deny. Unknown and forbidden targets differ in the `reason` for the audit only.
pub fn decide(policy: &Policy, who: &Identity, ask: &Ask) -> Verdict {
    let Some(target) = policy.targets.get(&ask.target) else {
        return no_access(ask, format!("there is no target {}", ask.target));
    };
    let opening: Vec<&Role> = roles_of(policy, who)
        .filter(|role| opens_target(role, target) && role.logins.contains(&ask.login))
        .collect();
    if opening.is_empty() {
        return no_access(ask, why_not(policy, who, target, &ask.login));
    }
    let Some(kind) = kind_of(&ask.act) else {
        return unknown_act(ask);
    };
    let mut allowing = opening.iter().filter(|role| role.channels.contains(&kind));
    let Some(first) = allowing.next() else {
        return wrong_kind(ask, kind, &opening);
    };
    let terms = allowing.fold(first.terms.clone(), |terms, role| terms.narrow(&role.terms));
    Verdict::Allow { target: target.clone(), terms, role: first.name.clone() }
}

/// Every login that any role opens for `who` on any target: the principals a certificate may carry.
pub fn logins_for(policy: &Policy, who: &Identity) -> BTreeSet<LoginName> {
    targets_for(policy, who).into_iter().flat_map(|(_, logins)| logins).collect()
}

/// The targets `who` may reach, each with the logins, for `ssh bastion targets`. In the order of their names.
pub fn targets_for(policy: &Policy, who: &Identity) -> Vec<(TargetName, BTreeSet<LoginName>)> {
    let roles: Vec<&Role> = roles_of(policy, who).filter(|role| !role.channels.is_empty()).collect();
    let mut reachable = Vec::new();
    for (name, target) in &policy.targets {
        let logins: BTreeSet<LoginName> = roles
            .iter()
            .filter(|role| opens_target(role, target))
            .flat_map(|role| role.logins.iter().cloned())
            .collect();
        if !logins.is_empty() {
            reachable.push((name.clone(), logins));
        }
    }
    reachable
}

/// Whether `labels` has every pair of `wanted`. An empty `wanted` matches nothing: a rule that says nothing opens nothing.
pub(super) fn has_labels(labels: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    !wanted.is_empty() && wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn roles_of<'p>(policy: &'p Policy, who: &'p Identity) -> impl Iterator<Item = &'p Role> {
    policy.roles.iter().filter(|role| is_member(role, who))
}

/// A provider speaks for its own groups only: a group of another provider in an identity counts for nothing, whoever
/// put it there.
fn is_member(role: &Role, who: &Identity) -> bool {
    role.members.subjects.contains(&who.reference())
        || who
            .groups
            .iter()
            .any(|group| *group.provider() == who.provider && role.members.groups.contains(group))
}

fn opens_target(role: &Role, target: &Target) -> bool {
    role.target_names.contains(&target.name)
        || role.target_labels.iter().any(|wanted| has_labels(&target.labels, wanted))
}

/// The kind of channel that an act needs; none when we do not know the act. `scp` and `rsync` are `exec` here.
fn kind_of(act: &Act) -> Option<ChannelKind> {
    match act {
        Act::Shell { .. } => Some(ChannelKind::Shell),
        Act::Exec { .. } => Some(ChannelKind::Exec),
        Act::Subsystem { name } => (name == "sftp").then_some(ChannelKind::Sftp),
    }
}

fn no_access(ask: &Ask, reason: String) -> Verdict {
    let text = format!(
        "no access to {} as {}: ask an administrator for a role, or try: ssh {BASTION} targets",
        ask.target, ask.login
    );
    Verdict::Refuse(Refusal { code: RefusalCode::NoAccess, text, reason })
}

/// For the audit: what is missing, as near as it can be said.
fn why_not(policy: &Policy, who: &Identity, target: &Target, login: &LoginName) -> String {
    let mut roles = roles_of(policy, who).peekable();
    if roles.peek().is_none() {
        return format!("{} is in no role", who.reference());
    }
    if roles.any(|role| opens_target(role, target)) {
        format!("no role of {} opens {} as {login}", who.reference(), target.name)
    } else {
        format!("no role of {} opens {}", who.reference(), target.name)
    }
}

fn unknown_act(ask: &Ask) -> Verdict {
    let name = match &ask.act {
        Act::Subsystem { name } => name.as_str(),
        Act::Shell { .. } | Act::Exec { .. } => "",
    };
    // The client chose the name: it is quoted, cut and without control characters before anybody reads it.
    let shown: String = name.chars().take(64).collect::<String>().escape_debug().collect();
    Verdict::Refuse(Refusal {
        code: RefusalCode::Unknown,
        text: "this server knows the subsystem sftp only: use sftp, a command or a shell".into(),
        reason: format!("unknown subsystem \"{shown}\" for {} as {}", ask.target, ask.login),
    })
}

fn wrong_kind(ask: &Ask, kind: ChannelKind, opening: &[&Role]) -> Verdict {
    let open: BTreeSet<ChannelKind> = opening.iter().flat_map(|role| role.channels.iter().copied()).collect();
    let open: Vec<&str> = open.into_iter().map(ChannelKind::as_str).collect();
    let open = if open.is_empty() { "nothing".to_owned() } else { open.join(" and ") };
    let (target, login, kind) = (&ask.target, &ask.login, kind.as_str());
    let names: Vec<&str> = opening.iter().map(|role| role.name.as_str()).collect();
    Verdict::Refuse(Refusal {
        code: RefusalCode::ChannelKind,
        text: format!(
            "{target} as {login} is open to you for {open}, not for {kind}: ask an administrator for a role that has {kind}"
        ),
        reason: format!("role {} opens {target} as {login} for {open}, not for {kind}", names.join(", ")),
    })
}

#[cfg(test)]
mod tests;
