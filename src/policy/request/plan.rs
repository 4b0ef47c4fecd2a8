//! From a wish to what a case begins with: which role, which targets, what the policy demands, who decides. Pure. What is not
//! open to somebody and what is not there get the same answer.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{RequestRules, StageRule};
use crate::access::{Approvers, Case, Lock, LockOn, Once, Scope, Stage};
use crate::config::show_duration;
use crate::identity::Identity;
use crate::names::{GroupName, LoginName, RoleName, TargetName};
use crate::policy::decide::{has_labels, is_member, opens_target};
use crate::policy::{ChannelKind, Policy, Role, Target};
use crate::time::Timestamp;

/// Most targets and most commands of one request.
const TARGETS_MAX: usize = 50;
const COMMANDS_MAX: usize = 20;
/// Longest command, in characters.
const COMMAND_MAX: usize = 1000;
/// How far ahead a window may begin.
const AHEAD_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// A target as people name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetWish {
    /// By name.
    Name(TargetName),
    /// Every one that they can ask for and that has this label.
    Label(String, String),
}

/// What somebody asks for.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Targets.
    pub targets: Vec<TargetWish>,
    /// Logins. None: all that the role opens, where that is one.
    pub logins: BTreeSet<LoginName>,
    /// Under which role.
    pub role: Option<RoleName>,
    /// Only these command lines.
    pub commands: BTreeSet<String>,
    /// How long.
    pub length: Option<Duration>,
    /// From when.
    pub start: Option<Timestamp>,
    /// For one use.
    pub once: Option<Once>,
    /// Why.
    pub reason: String,
    /// A ticket.
    pub ticket: String,
    /// At once, and reviewed afterwards.
    pub break_glass: bool,
}

/// What a case begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What is asked for.
    pub scope: Scope,
    /// From when, where that was said.
    pub start: Option<Timestamp>,
    /// How long it may wait.
    pub pending_max: Duration,
    /// Who decides, one after the other.
    pub stages: Vec<Stage>,
    /// Number, from 1, of the automatic condition that holds: nobody is asked.
    pub automatic: Option<usize>,
    /// Opened at once, and these look at it afterwards.
    pub break_glass: Option<Approvers>,
}

/// Why a wish cannot be a request. The text is for whoever asks, and says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanRefused {
    /// No role, or no such target; nobody learns which.
    #[error("{0}")]
    NoAccess(String),
    /// The role's rules want it otherwise.
    #[error("{0}")]
    Rules(String),
    /// The roles give it without asking.
    #[error("{0}")]
    Standing(String),
    /// It is locked.
    #[error("{0}")]
    Locked(String),
}

/// Makes the plan. `approved` says when people last approved this scope for this person.
pub fn plan(
    policy: &Policy,
    who: &Identity,
    wish: &Wish,
    locks: &[Lock],
    approved: impl Fn(&Scope) -> Option<Timestamp>,
    now: Timestamp,
) -> Result<Plan, PlanRefused> {
    let rules = |text: String| PlanRefused::Rules(text);
    if locks.iter().any(|lock| lock.holds(now) && lock.is_on(who)) {
        return Err(PlanRefused::Locked("your access is locked; ask an administrator".to_owned()));
    }
    let (role, targets, logins) = choose(policy, who, wish)?;
    let Some(asking) = role.access.rules() else {
        return Err(PlanRefused::Standing(format!(
            "you need not ask: role \"{}\" gives you this already",
            role.name
        )));
    };
    if let Some(lock) = locked(locks, role, &targets, now) {
        let text = format!("the {} {} is locked; ask an administrator", lock.on.kind(), lock.on.name());
        return Err(PlanRefused::Locked(text));
    }
    asking.reason.check("reason", &wish.reason).map_err(rules)?;
    asking.ticket.check("ticket", &wish.ticket).map_err(rules)?;
    let length = length_of(role, asking, wish).map_err(rules)?;
    check_commands(role, wish).map_err(rules)?;
    check_start(wish, length, now).map_err(rules)?;
    let scope = Scope {
        role: role.name.clone(),
        targets,
        logins,
        commands: wish.commands.clone(),
        length,
        once: wish.once,
    };
    let stages = resolved(policy, asking, &scope)?;
    let mut plan = Plan {
        scope,
        start: wish.start,
        pending_max: asking.pending_max,
        stages,
        automatic: None,
        break_glass: None,
    };
    if wish.break_glass {
        let Some(told) = &asking.break_glass else {
            return Err(rules(format!(
                "role \"{}\" knows no break-glass; ask in the ordinary way",
                role.name
            )));
        };
        if wish.start.is_some() {
            return Err(rules("break-glass opens at once: leave out --start".to_owned()));
        }
        return Ok(Plan { stages: Vec::new(), break_glass: Some(told.clone()), ..plan });
    }
    plan.automatic = asking.automatic(policy, who, &plan, approved(&plan.scope), now);
    if plan.automatic.is_some() {
        plan.stages.clear();
    } else if plan.stages.is_empty() {
        return Err(rules(format!(
            "role \"{}\" is given automatically only, and its conditions do not hold for this request",
            role.name
        )));
    }
    Ok(plan)
}

/// Whether the policy still asks for the same approvals as when the case was filed, and still gives as much.
pub fn still_asked(policy: &Policy, case: &Case) -> bool {
    let scope = &case.scope;
    let Some(role) = policy.roles.iter().find(|role| role.name == scope.role) else { return false };
    let Some(rules) = role.access.rules() else { return false };
    let open = |name: &TargetName| policy.targets.get(name).is_some_and(|target| opens_target(role, target));
    scope.targets.iter().all(open)
        && scope.logins.is_subset(&role.logins)
        && scope.length <= rules.max
        && resolved(policy, rules, scope).is_ok_and(|stages| stages == case.stages)
}

/// Finds the role and what of the wish it opens.
fn choose<'p>(
    policy: &'p Policy,
    who: &Identity,
    wish: &Wish,
) -> Result<(&'p Role, BTreeSet<TargetName>, BTreeSet<LoginName>), PlanRefused> {
    let mine = |role: &&Role| {
        is_member(role, who)
            && !role.channels.is_empty()
            && wish.role.as_ref().is_none_or(|wanted| *wanted == role.name)
            && (wish.break_glass <= role.access.rules().is_some_and(|rules| rules.break_glass.is_some()))
    };
    let fitting: Vec<_> = policy
        .roles
        .iter()
        .filter(mine)
        .filter_map(|role| Some((role, targets_of(policy, role, wish)?, logins_of(role, wish)?)))
        .collect();
    let standing =
        fitting.iter().find(|(role, ..)| role.access.rules().is_none() && wish.commands.is_empty());
    let asked: Vec<_> = fitting.iter().filter(|(role, ..)| role.access.rules().is_some()).collect();
    match asked.as_slice() {
        [] => match standing {
            Some((role, targets, logins)) => Ok((role, targets.clone(), logins.clone())),
            None => Err(nothing(wish)),
        },
        [(role, targets, logins)] => Ok((role, targets.clone(), logins.clone())),
        [(_, first, _), ..] => {
            let names: Vec<&str> = asked.iter().map(|(role, ..)| role.name.as_str()).collect();
            let text = format!(
                "{} roles open this for you: name one of them with --role ({})",
                names.len(),
                names.join(", ")
            );
            // Which targets a label means may differ from role to role; who names the role knows.
            if first.is_empty() { Err(nothing(wish)) } else { Err(PlanRefused::Rules(text)) }
        }
    }
}

/// The targets of the wish, if the role opens all of them; a label means those with it that the role opens.
fn targets_of(policy: &Policy, role: &Role, wish: &Wish) -> Option<BTreeSet<TargetName>> {
    let mut targets = BTreeSet::new();
    for wanted in &wish.targets {
        match wanted {
            TargetWish::Name(name) => {
                policy.targets.get(name).filter(|target| opens_target(role, target))?;
                targets.insert(name.clone());
            }
            TargetWish::Label(key, value) => {
                let labels = [(key.clone(), value.clone())].into();
                let fits =
                    |target: &&Target| opens_target(role, target) && has_labels(&target.labels, &labels);
                let before = targets.len();
                targets.extend(policy.targets.values().filter(fits).map(|target| target.name.clone()));
                if targets.len() == before {
                    return None;
                }
            }
        }
    }
    (!targets.is_empty() && targets.len() <= TARGETS_MAX).then_some(targets)
}

fn logins_of(role: &Role, wish: &Wish) -> Option<BTreeSet<LoginName>> {
    if wish.logins.is_empty() {
        return Some(role.logins.clone());
    }
    wish.logins.is_subset(&role.logins).then(|| wish.logins.clone())
}

fn nothing(wish: &Wish) -> PlanRefused {
    let what: Vec<String> = wish
        .targets
        .iter()
        .map(|target| match target {
            TargetWish::Name(name) => name.to_string(),
            TargetWish::Label(key, value) => format!("{key}={value}"),
        })
        .collect();
    let logins: Vec<&str> = wish.logins.iter().map(LoginName::as_str).collect();
    let by = if logins.is_empty() { String::new() } else { format!(" as {}", logins.join(", ")) };
    let role = wish.role.as_ref().map(|role| format!(" under role {role}")).unwrap_or_default();
    PlanRefused::NoAccess(format!(
        "there is no role by which you could ask for {}{by}{role} (at most {TARGETS_MAX} targets): see what you can ask \
         for with: caponier request --list",
        if what.is_empty() { "nothing".to_owned() } else { what.join(", ") }
    ))
}

/// The lock that is on the role or on one of the targets.
fn locked<'l>(
    locks: &'l [Lock],
    role: &Role,
    targets: &BTreeSet<TargetName>,
    now: Timestamp,
) -> Option<&'l Lock> {
    locks.iter().filter(|lock| lock.holds(now)).find(|lock| match &lock.on {
        LockOn::Role(name) => *name == role.name,
        LockOn::Target(name) => targets.contains(name),
        LockOn::User(_) => false,
    })
}

/// How long. What is too long is refused: who asked for two hours shall not find out later that they have one.
fn length_of(role: &Role, rules: &RequestRules, wish: &Wish) -> Result<Duration, String> {
    let length = wish.length.unwrap_or_else(|| rules.usual_length());
    if length > rules.max {
        let max = show_duration(rules.max);
        return Err(format!("role \"{}\" gives at most {max} at a time: ask with --for {max}", role.name));
    }
    if length < Duration::from_secs(1) {
        return Err("ask for some time, such as --for 30m".to_owned());
    }
    Ok(length)
}

fn check_commands(role: &Role, wish: &Wish) -> Result<(), String> {
    let narrowed = !wish.commands.is_empty() || wish.once == Some(Once::Exec);
    if narrowed && !role.channels.contains(&ChannelKind::Exec) {
        return Err(format!("role \"{}\" runs no commands: leave out --command", role.name));
    }
    check_lines(&wish.commands)
}

/// Whether these can be the commands of a request, or what an approver leaves of them.
pub fn check_lines<L: AsRef<str>>(lines: impl IntoIterator<Item = L>) -> Result<(), String> {
    for (at, line) in lines.into_iter().enumerate() {
        let line = line.as_ref();
        if at >= COMMANDS_MAX {
            return Err(format!("at most {COMMANDS_MAX} commands in one request"));
        }
        if line.is_empty()
            || line.chars().count() > COMMAND_MAX
            || line.trim() != line
            || line.chars().any(char::is_control)
        {
            return Err(format!(
                "a command is one line of 1 to {COMMAND_MAX} characters without control characters, as you will send it"
            ));
        }
    }
    Ok(())
}

fn check_start(wish: &Wish, length: Duration, now: Timestamp) -> Result<(), String> {
    match wish.start {
        Some(start) if start.plus(length) <= now => Err("this window is over already".to_owned()),
        Some(start) if start > now.plus(AHEAD_MAX) => {
            Err(format!("a window may begin at most {} ahead", show_duration(AHEAD_MAX)))
        }
        Some(_) | None => Ok(()),
    }
}

/// The stages with the owners in them.
fn resolved(policy: &Policy, rules: &RequestRules, scope: &Scope) -> Result<Vec<Stage>, PlanRefused> {
    let stage = |rule: &StageRule| {
        let mut approvers = rule.approvers.clone();
        if let Some(label) = &rule.owner_label {
            approvers = approvers.and(&owners(policy, label, scope));
        }
        if approvers.is_empty() {
            let label = rule.owner_label.as_deref().unwrap_or_default();
            return Err(PlanRefused::Rules(format!(
                "stage \"{}\" is for the owner whom the label {label:?} names, and these targets name none in common: \
                 ask for one target at a time, or tell an administrator",
                rule.name
            )));
        }
        Ok(Stage {
            name: rule.name.clone(),
            approvers,
            needed: rule.needed,
            remind_after: rule.remind_after,
            escalate: rule.escalate.clone(),
            give_up_after: rule.give_up_after,
        })
    };
    rules.stages.iter().map(stage).collect()
}

/// Who owns every one of the targets: the label's value is a group or a subject, `PROVIDER:NAME`.
fn owners(policy: &Policy, label: &str, scope: &Scope) -> Approvers {
    let mut owners: Option<BTreeSet<&str>> = None;
    for name in &scope.targets {
        let value = policy.targets.get(name).and_then(|target| target.labels.get(label));
        let of_this: BTreeSet<&str> =
            value.map(|value| value.split_whitespace().collect()).unwrap_or_default();
        owners = Some(match owners {
            None => of_this,
            Some(common) => &common & &of_this,
        });
    }
    let mut approvers = Approvers::default();
    for owner in owners.unwrap_or_default() {
        if let Some(subject) = owner.strip_prefix("subject=") {
            approvers.subjects.insert(subject.to_owned());
        } else if let Ok(group) = owner.parse::<GroupName>() {
            approvers.groups.insert(group);
        }
    }
    approvers
}
