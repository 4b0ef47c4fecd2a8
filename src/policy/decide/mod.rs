//! The one function that says yes or no. Pure: a policy, somebody and an ask in, a verdict out.
//!
//! Access is the union of the roles: an ask is allowed when at least one role has the person among its members, opens
//! the target and the login, and opens the kind of channel. Nothing else allows, so no role means no.
//!
//! Limits are the intersection: the terms are narrowed over *every* role that allows this same ask, whatever their
//! order. A second role therefore never widens a limit and never takes an obligation (`recording`) away; it only
//! opens what the first one did not. The verdict is named after the first allowing role in the order of the file.

mod asking;
mod exec;
mod forward;
mod open;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::commands::Assurance;
use super::files::FileRules;
use super::forwards::Host;
use super::hours::Opening;
use super::{
    Act, Ask, ChannelKind, Circumstances, Members, Policy, Refusal, RefusalCode, Role, Target, Terms,
    env_passes, workload,
};
use crate::access::{Grant, Lock, LockOn};
use crate::identity::{Identity, Kind};
use crate::inspect::transfer::Transfer;
use crate::names::{LoginName, RoleName, TargetName};
use crate::time::Timestamp;
pub use asking::{Reach, asks_by_itself, reach_for};
use open::{Open, done_under};

/// What stands in refusal texts for the name of the bastion, which the policy does not know. A door that knows it may
/// replace this word.
pub const BASTION: &str = "BASTION";

/// The answer of the policy.
#[derive(Clone, Debug)]
#[must_use]
pub enum Verdict {
    /// Allowed.
    Allow(Box<Allowance>),
    /// Refused.
    Refuse(Refusal),
}

/// What is allowed, and how. It carries all that acting needs, so that nobody looks anything up a second time.
#[derive(Clone, Debug)]
pub struct Allowance {
    /// The target, address and host key included.
    pub target: Target,
    /// The narrowed terms.
    pub terms: Terms,
    /// The roles that allow it, in the order of the policy. Never empty.
    pub roles: Vec<RoleName>,
    /// For a command: what is sent, and why it may be.
    pub command: Option<CommandPass>,
    /// For sftp: the path rules of each allowing role, by which every operation is judged while it runs.
    pub files: Vec<FileRules>,
    /// Environment variables that may pass, for programs: the lists of the allowing roles; None where one of them
    /// leaves it to the configuration.
    pub env: Vec<Option<Vec<String>>>,
    /// The first moment at which one of the roles closes: to be judged again then.
    pub until: Option<Timestamp>,
    /// For a connection to a host: what the target is to be asked for, one after the other until one answers.
    pub hosts: Vec<String>,
    /// The grants that it hangs on, and that a session must take: none that last where a role with standing access allows
    /// it as well, and of those for one use only one, and only where nothing else opens as much.
    pub grants: Vec<Grant>,
    /// When the last of them is over; none where a role with standing access allows it as well.
    pub ends: Option<Timestamp>,
}

impl Allowance {
    /// Whether this environment variable may pass: one of the allowing roles passes it. `default` holds for roles that
    /// leave it to the configuration.
    pub fn passes(&self, default: &[String], variable: &str) -> bool {
        let lists = self.env.iter().map(|own| own.as_deref().unwrap_or(default));
        lists.into_iter().any(|patterns| env_passes(patterns, variable))
    }
}

/// A command that may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandPass {
    /// The text for the target: ours where the line was judged word for word, the client's otherwise.
    pub send: Vec<u8>,
    /// The rule that allows it and how sure that is; none where a role allows every command.
    pub rule: Option<(String, Assurance)>,
    /// What files it moves, where it is an old copying program.
    pub transfer: Option<Transfer>,
}

/// Judges one ask. Default deny. Unknown and forbidden targets differ in the `reason` for the audit only.
pub fn decide(policy: &Policy, who: &Identity, ask: &Ask, at: &Circumstances) -> Verdict {
    let Some(target) = policy.targets.get(&ask.target) else {
        return no_access(ask, format!("there is no target {}", ask.target));
    };
    let eligible = asking::eligible(policy, who, ask, target);
    if eligible.is_empty() {
        return no_access(ask, why_not(policy, who, target, &ask.login));
    }
    // The networks of a service account hold for all that it does, whatever its roles say.
    if workload::service_of(policy, who).is_some_and(|service| !service.is_source(at.from)) {
        let text = format!("this service account may not be used from {}", at.from);
        return refuse(ask, RefusalCode::Source, text, "not among the account's sources".into());
    }
    let eligible = match unlocked(who, ask, eligible, at) {
        Ok(eligible) => eligible,
        Err(refusal) => return Verdict::Refuse(refusal),
    };
    let verdict = among(who, ask, target, &open::open(&eligible, who, ask, at), at);
    // What a grant would open is told only to those who could ask for it, and what it would not open is no reason to ask.
    match &verdict {
        // Nothing was found out, so nothing is said of it.
        Verdict::Refuse(refusal) if refusal.code == RefusalCode::Limit => verdict,
        Verdict::Refuse(_) if eligible.iter().any(|role| role.access.rules().is_some()) => {
            match asking::if_granted(&eligible, who, ask, target, at) {
                Verdict::Allow(allowance) => asking::by_request(ask, &allowance, &eligible),
                refused @ Verdict::Refuse(_) => refused,
            }
        }
        Verdict::Refuse(_) | Verdict::Allow(_) => verdict,
    }
}

/// The verdict of roles that are open, at this time and place.
fn among(who: &Identity, ask: &Ask, target: &Target, open: &[Open<'_>], at: &Circumstances) -> Verdict {
    if open.is_empty() {
        return refuse(ask, RefusalCode::ByRequest, String::new(), "nothing is granted".into());
    }
    let opening = match here_and_now(ask, open.iter().collect(), at) {
        Ok(opening) => opening,
        Err(refusal) => return Verdict::Refuse(refusal),
    };
    match &ask.act {
        Act::Shell { .. } => by_kind(ask, target, ChannelKind::Shell, &opening, at),
        Act::Exec { command, .. } => exec::judge(who, ask, target, command, &opening, at),
        Act::Subsystem { name } if name == "sftp" => by_kind(ask, target, ChannelKind::Sftp, &opening, at),
        Act::Env { name } => {
            // What a role leaves to the configuration, the flow above judges: the policy does not know it.
            let passes = |role: &&&Open<'_>| role.env.as_ref().is_none_or(|env| env_passes(env, name));
            let allowing: Vec<&Open<'_>> = opening.iter().filter(passes).copied().collect();
            allow(target, &allowing, at).unwrap_or_else(|| {
                refuse(ask, RefusalCode::Env, "this variable may not pass".into(), "no role passes it".into())
            })
        }
        Act::LocalForward { .. }
        | Act::LocalSocket { .. }
        | Act::RemoteForward { .. }
        | Act::RemoteSocket { .. }
        | Act::Agent
        | Act::X11 => forward::decide(ask, target, &opening, at),
        Act::Tun => refuse(
            ask,
            RefusalCode::Tun,
            "network interfaces are never forwarded; use -L, -R or -D".into(),
            "tun@openssh.com".into(),
        ),
        Act::Subsystem { name } => {
            let text = "this server knows the subsystem sftp only: use sftp, a command or a shell";
            refuse(ask, RefusalCode::Unknown, text.into(), format!("unknown subsystem {}", shown(name)))
        }
        Act::Unknown { name } => refuse(
            ask,
            RefusalCode::Unknown,
            "this server does not know this request".into(),
            format!("unknown request {}", shown(name)),
        ),
    }
}

/// What the client called something: quoted, cut and without control characters before anybody reads it.
fn shown(name: &str) -> String {
    format!("\"{}\"", name.chars().take(64).collect::<String>().escape_debug())
}

/// Those of `eligible` that no lock closes.
fn unlocked<'p>(
    who: &Identity,
    ask: &Ask,
    eligible: Vec<&'p Role>,
    at: &Circumstances,
) -> Result<Vec<&'p Role>, Refusal> {
    let holding = || at.held.locks.iter().filter(|lock| lock.holds(at.now));
    let locked = |what: String, lock: &Lock| Refusal {
        code: RefusalCode::Locked,
        rule: None,
        text: format!("{what} is locked; ask an administrator"),
        reason: format!("{} on {} {:?}", lock.id, lock.on.kind(), lock.on.name()),
    };
    if let Some(lock) = holding().find(|lock| lock.is_on(who)) {
        return Err(locked("your access".to_owned(), lock));
    }
    if let Some(lock) = holding().find(|lock| lock.on == LockOn::Target(ask.target.clone())) {
        return Err(locked(ask.target.to_string(), lock));
    }
    let is_locked = |role: &&Role| holding().find(|lock| lock.on == LockOn::Role(role.name.clone()));
    let first = eligible.iter().find_map(is_locked);
    let left: Vec<&Role> = eligible.into_iter().filter(|role| is_locked(role).is_none()).collect();
    match first {
        Some(lock) if left.is_empty() => {
            Err(locked(format!("{} as {}, by way of its role,", ask.target, ask.login), lock))
        }
        Some(_) | None => Ok(left),
    }
}

/// The roles of `opening` that hold at this address and this moment.
fn here_and_now<'p>(
    ask: &Ask,
    opening: Vec<&'p Open<'p>>,
    at: &Circumstances,
) -> Result<Vec<&'p Open<'p>>, Refusal> {
    let (target, login) = (&ask.target, &ask.login);
    let names =
        |roles: &[&Open<'_>]| roles.iter().map(|role| role.name.as_str()).collect::<Vec<_>>().join(", ");
    let here: Vec<&Open<'_>> = opening.iter().filter(|role| is_source(role, at)).copied().collect();
    if here.is_empty() {
        return Err(Refusal {
            code: RefusalCode::Source,
            rule: None,
            text: format!(
                "{target} as {login} is open to you, but not from {}: connect from a network it is meant for",
                at.from
            ),
            reason: format!("role {} does not have {} among its sources", names(&opening), at.from),
        });
    }
    let now: Vec<&Open<'_>> =
        here.iter().filter(|role| opening_of(role, at) != Opening::Closed).copied().collect();
    if now.is_empty() {
        return Err(Refusal {
            code: RefusalCode::Hours,
            rule: None,
            text: format!(
                "{target} as {login} is open to you, but not at this time: come back in its hours, or ask an administrator"
            ),
            reason: format!("role {} is closed at {}", names(&here), at.now),
        });
    }
    Ok(now)
}

pub(super) fn is_source(role: &Role, at: &Circumstances) -> bool {
    role.sources.iter().all(|layer| layer.iter().any(|range| range.contains(at.from)))
}

/// The narrowest opening of all layers.
pub(super) fn opening_of(role: &Role, at: &Circumstances) -> Opening {
    role.hours.iter().map(|hours| hours.at(at.now)).fold(Opening::Open, |a, b| match (a, b) {
        (Opening::Closed, _) | (_, Opening::Closed) => Opening::Closed,
        (Opening::Until(a), Opening::Until(b)) => Opening::Until(a.min(b)),
        (Opening::Until(one), Opening::Open) | (Opening::Open, Opening::Until(one)) => Opening::Until(one),
        (Opening::Open, Opening::Open) => Opening::Open,
    })
}

fn by_kind(
    ask: &Ask,
    target: &Target,
    kind: ChannelKind,
    opening: &[&Open<'_>],
    at: &Circumstances,
) -> Verdict {
    let allowing: Vec<&Open<'_>> = opening.iter().filter(|role| role.opens(kind)).copied().collect();
    // What may be done with files is judged later, by the rules of each role.
    allow_under(target, &done_under(&allowing, kind == ChannelKind::Sftp), at)
        .unwrap_or_else(|| wrong_kind(ask, kind, opening))
}

/// Allowed by these roles; none when there is none.
fn allow(target: &Target, allowing: &[&Open<'_>], at: &Circumstances) -> Option<Verdict> {
    allow_under(target, &done_under(allowing, false), at)
}

/// Allowed by exactly these roles.
fn allow_under(target: &Target, allowing: &[&Open<'_>], at: &Circumstances) -> Option<Verdict> {
    let first = allowing.first()?;
    let until = allowing.iter().filter_map(|role| match opening_of(role, at) {
        Opening::Until(end) => Some(end),
        Opening::Open | Opening::Closed => None,
    });
    let until = until.chain(allowing.iter().filter_map(|role| role.over()));
    let over: Option<Vec<Timestamp>> = allowing.iter().map(|role| role.over()).collect();
    let mut roles: Vec<RoleName> = allowing.iter().map(|role| role.name.clone()).collect();
    // Several grants may open one role.
    roles.dedup();
    Some(Verdict::Allow(Box::new(Allowance {
        target: target.clone(),
        terms: allowing.iter().fold(first.terms.clone(), |terms, role| terms.narrow(&role.terms)),
        roles,
        command: None,
        files: allowing.iter().map(|role| role.files.clone()).collect(),
        env: allowing.iter().map(|role| role.env.clone()).collect(),
        until: until.min(),
        hosts: Vec::new(),
        grants: grants(allowing, over.is_none()),
        ends: over.and_then(|over| over.into_iter().max()),
    })))
}

/// Those that last count where nothing stands.
fn grants(under: &[&Open<'_>], stands: bool) -> Vec<Grant> {
    let all = under.iter().filter_map(|role| role.grant);
    all.filter(|grant| !stands || grant.once().is_some()).cloned().collect()
}

fn refuse(ask: &Ask, code: RefusalCode, text: String, reason: String) -> Verdict {
    let reason = format!("{reason} for {} as {}", ask.target, ask.login);
    Verdict::Refuse(Refusal { code, rule: None, text, reason })
}

/// Whether the verdict on a forward depends on what its host's name resolves to. Names that no rule could allow are not
/// looked up, or anybody could have the bastion ask anything of the world.
pub fn wants_addresses(policy: &Policy, who: &Identity, ask: &Ask) -> bool {
    let Act::LocalForward { host, port, .. } = &ask.act else { return false };
    let (Some(target), Ok(host), Ok(port)) =
        (policy.targets.get(&ask.target), Host::parse(host), u16::try_from(*port))
    else {
        return false;
    };
    roles_of(policy, who)
        .filter(|role| opens_target(role, target) && role.logins.contains(&ask.login))
        .any(|role| role.forwards.wants_addresses(&host, port))
}

/// Every login that any role opens for `who` on any target: the principals a certificate may carry.
pub fn logins_for(policy: &Policy, who: &Identity) -> BTreeSet<LoginName> {
    targets_for(policy, who).into_iter().flat_map(|(_, logins)| logins).collect()
}

/// The longest life of a certificate of `who` for `logins`, if a role that opens one of them says so: of several the
/// shortest.
pub fn certificate_max(policy: &Policy, who: &Identity, logins: &[LoginName]) -> Option<Duration> {
    let contributing =
        roles_of(policy, who).filter(|role| logins.iter().any(|login| role.logins.contains(login)));
    contributing.filter_map(|role| role.terms.certificate_max).min()
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
/// put it there. Groups and subjects are of people; a job is a member by a rule that its run fits, now and at every step.
pub(super) fn is_member(role: &Role, who: &Identity) -> bool {
    let person = |members: &Members| {
        members.subjects.contains(&who.reference())
            || who
                .groups
                .iter()
                .any(|group| *group.provider() == who.provider && members.groups.contains(group))
    };
    let in_layer = |members: &Members| match who.kind {
        Kind::Person => who.run.is_none() && person(members),
        Kind::Workload => workload::is_among(members, who),
    };
    !role.members.is_empty() && role.members.iter().all(in_layer)
}

/// A role without selectors, which no file can say, opens nothing.
pub(super) fn opens_target(role: &Role, target: &Target) -> bool {
    !role.targets.is_empty() && role.targets.iter().all(|layer| layer.names(target))
}

fn no_access(ask: &Ask, reason: String) -> Verdict {
    let text = format!(
        "no access to {} as {}: ask an administrator for a role, or try: ssh {BASTION} targets",
        ask.target, ask.login
    );
    Verdict::Refuse(Refusal { code: RefusalCode::NoAccess, rule: None, text, reason })
}

/// For the audit: what is missing, as near as it can be said.
fn why_not(policy: &Policy, who: &Identity, target: &Target, login: &LoginName) -> String {
    let mut roles = roles_of(policy, who).peekable();
    if roles.peek().is_none() {
        let near = who.run.as_deref().map(|run| workload::judge(policy, &who.provider, run).near);
        let near = near.into_iter().flatten().map(|(rule, why)| format!("; rule {rule}: {why}"));
        return format!("{} is in no role{}", who.reference(), near.collect::<String>());
    }
    if roles.any(|role| opens_target(role, target)) {
        format!("no role of {} opens {} as {login}", who.reference(), target.name)
    } else {
        format!("no role of {} opens {}", who.reference(), target.name)
    }
}

fn wrong_kind(ask: &Ask, kind: ChannelKind, opening: &[&Open<'_>]) -> Verdict {
    let kinds =
        |role: &&Open<'_>| ChannelKind::ALL.into_iter().filter(|kind| role.opens(*kind)).collect::<Vec<_>>();
    let open: BTreeSet<ChannelKind> = opening.iter().flat_map(kinds).collect();
    let open: Vec<&str> = open.into_iter().map(ChannelKind::as_str).collect();
    let open = if open.is_empty() { "nothing".to_owned() } else { open.join(" and ") };
    let (target, login, kind) = (&ask.target, &ask.login, kind.as_str());
    let names: Vec<&str> = opening.iter().map(|role| role.name.as_str()).collect();
    Verdict::Refuse(Refusal {
        code: RefusalCode::ChannelKind,
        rule: None,
        text: format!(
            "{target} as {login} is open to you for {open}, not for {kind}: ask an administrator for a role that has {kind}"
        ),
        reason: format!("role {} opens {target} as {login} for {open}, not for {kind}", names.join(", ")),
    })
}

#[cfg(test)]
mod once;
#[cfg(test)]
mod tests;
