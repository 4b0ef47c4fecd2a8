//! What nobody has granted yet: the one line that asks for it, the role that a connection may ask for by itself, and what
//! somebody can reach in which way. Says nothing that [`super::decide`] would not: who is told to ask would be allowed,
//! were it granted.

use std::collections::BTreeMap;

use super::{
    Allowance, Circumstances, Verdict, among, is_member, no_access, open, opens_target, roles_of, unlocked,
};
use crate::access::{Grant, LockOn};
use crate::config::show_duration;
use crate::identity::Identity;
use crate::names::{LoginName, RoleName, TargetName};
use crate::policy::{Access, Ask, Granted, Held, Policy, Refusal, RefusalCode, Role, Target};
use crate::time::Timestamp;

/// How somebody reaches a login on a target. The later ones are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Locked, so not at all.
    Locked,
    /// By asking for it.
    ByRequest,
    /// It is granted until then.
    Granted(Timestamp),
    /// Without asking.
    Standing,
}

/// What `who` can reach, and in which way now. In the order of names.
pub fn reach_for(
    policy: &Policy,
    who: &Identity,
    at: &Circumstances,
) -> Vec<(TargetName, BTreeMap<LoginName, Reach>)> {
    let holding = || at.held.locks.iter().filter(|lock| lock.holds(at.now));
    let is_locked = |on: &LockOn| holding().any(|lock| lock.on == *on);
    let nothing = holding().any(|lock| lock.is_on(who));
    let mut all = Vec::new();
    for (name, target) in &policy.targets {
        let closed = nothing || is_locked(&LockOn::Target(name.clone()));
        let mut logins: BTreeMap<LoginName, Reach> = BTreeMap::new();
        for role in roles_of(policy, who).filter(|role| !role.channels.is_empty()) {
            if !opens_target(role, target) {
                continue;
            }
            let closed = closed || is_locked(&LockOn::Role(role.name.clone()));
            for login in &role.logins {
                let reach = if closed { Reach::Locked } else { reach(role, who, (name, login), at) };
                let best = logins.entry(login.clone()).or_insert(reach);
                *best = reach.max(*best);
            }
        }
        if !logins.is_empty() {
            all.push((name.clone(), logins));
        }
    }
    all
}

fn reach(
    role: &Role,
    who: &Identity,
    (target, login): (&TargetName, &LoginName),
    at: &Circumstances,
) -> Reach {
    match (&role.access, &at.held.granted) {
        (Access::Standing, _) => Reach::Standing,
        (Access::ByRequest(_), Granted::Assumed) => Reach::ByRequest,
        (Access::ByRequest(_), Granted::Only(grants)) => {
            let opens = |grant: &&Grant| {
                grant.who.is(who)
                    && grant.scope.role == role.name
                    && grant.opens(target, login, at.held.session.as_ref(), at.now)
            };
            let until = grants.iter().filter(opens).map(|grant| grant.until).max();
            until.map_or(Reach::ByRequest, Reach::Granted)
        }
    }
}

/// The role that a connection asks for by itself, where nothing that is granted allows `ask`: the first one that would
/// allow it and says `connect = true`.
pub fn asks_by_itself<'p>(
    policy: &'p Policy,
    who: &Identity,
    ask: &Ask,
    at: &Circumstances,
) -> Option<&'p Role> {
    let target = policy.targets.get(&ask.target)?;
    let eligible: Vec<&Role> = eligible(policy, who, ask, target);
    let eligible = unlocked(who, ask, eligible, at).ok()?;
    let Verdict::Allow(allowance) = if_granted(&eligible, who, ask, target, at) else { return None };
    eligible.into_iter().find(|role| {
        allowance.roles.contains(&role.name) && role.access.rules().is_some_and(|rules| rules.connect)
    })
}

pub(super) fn eligible<'p>(policy: &'p Policy, who: &Identity, ask: &Ask, target: &Target) -> Vec<&'p Role> {
    policy
        .roles
        .iter()
        .filter(|role| is_member(role, who) && opens_target(role, target) && role.logins.contains(&ask.login))
        .collect()
}

/// The verdict if everything were granted that could be asked for.
pub(super) fn if_granted(
    eligible: &[&Role],
    who: &Identity,
    ask: &Ask,
    target: &Target,
    at: &Circumstances,
) -> Verdict {
    let held = Held { granted: Granted::Assumed, ..at.held.clone() };
    let assumed = Circumstances { held, ..at.clone() };
    among(who, ask, target, &open::open(eligible, who, ask, &assumed), &assumed)
}

/// Nothing is granted; the text is the one line that asks for it. `allowance` is what would be, were it granted.
pub(super) fn by_request(ask: &Ask, allowance: &Allowance, eligible: &[&Role]) -> Verdict {
    let (target, login) = (&ask.target, &ask.login);
    let roles = &allowance.roles;
    let asked: Vec<&&Role> =
        eligible.iter().filter(|role| roles.contains(&role.name) && role.access.rules().is_some()).collect();
    let Some((first, rules)) = asked.first().and_then(|role| Some((*role, role.access.rules()?))) else {
        return no_access(ask, format!("nothing that could be asked for opens {target} as {login}"));
    };
    let only = eligible.iter().filter(|role| role.access.rules().is_some()).count() == 1;
    let by_name = if only { String::new() } else { format!(" --role {}", first.name) };
    let ticket = if rules.ticket.required { " --ticket TICKET" } else { "" };
    let length = show_duration(rules.usual_length());
    let names: Vec<&str> = roles.iter().map(RoleName::as_str).collect();
    Verdict::Refuse(Refusal {
        code: RefusalCode::ByRequest,
        rule: None,
        text: format!(
            "{target} as {login} is open to those who ask: caponier request {target} --as {login} --for {length} \
             --reason '...'{by_name}{ticket}"
        ),
        reason: format!("role {} is by request, and nothing is granted", names.join(", ")),
    })
}
