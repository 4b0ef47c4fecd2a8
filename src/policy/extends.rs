//! Joins roles with what they extend. A role takes over what it does not say itself, and what it says can only narrow:
//! lists must be parts of the extended role's, times no longer, and everything else becomes one more layer that must
//! hold as well. What would widen is refused where it stands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::role::{Draft, Limits, NEEDED};
use super::target::Targets;
use super::{
    Access, ChannelKind, CommandSet, FileRules, ForwardRules, Hours, Members, Recording, RequestRules, Role,
    Selector, Terms, WhenDiskFull, request,
};
use crate::config::{At, hint, show_duration};
use crate::names::{LoginName, RoleName};
use crate::net::Cidr;

/// Longest chain of roles, against mistakes nobody could follow.
const CHAIN_MAX: usize = 8;

/// Everything a role says, its own and what it extends.
#[derive(Clone, Debug, Default)]
struct Joined {
    extends: Vec<RoleName>,
    members: Vec<Members>,
    targets: Vec<Selector>,
    logins: Option<BTreeSet<LoginName>>,
    channels: Option<BTreeSet<ChannelKind>>,
    commands: Vec<Arc<CommandSet>>,
    files: FileRules,
    env: Option<Vec<String>>,
    sources: Vec<Vec<Cidr>>,
    hours: Vec<Hours>,
    forwards: Option<ForwardRules>,
    /// A role that people can have is among them, so what it does not open stays closed.
    usable: bool,
    terms: Terms,
    recording: Option<Recording>,
    when_disk_full: Option<WhenDiskFull>,
    access: Option<Access>,
}

/// The roles of the files, templates left out. Problems are noted in the drafts' tables, which are closed.
pub(super) fn join(drafts: Vec<Draft<'_>>, targets: &Targets) -> Vec<Role> {
    let by_name: BTreeMap<&RoleName, usize> =
        drafts.iter().enumerate().rev().map(|(at, draft)| (&draft.name.value, at)).collect();
    let mut roles = Vec::new();
    for (at, draft) in drafts.iter().enumerate() {
        if by_name.get(&draft.name.value) != Some(&at) {
            let place = draft.section.place_of("name").unwrap_or(draft.section.place);
            draft.section.problem(place, format!("there is a role \"{}\" already", draft.name.value));
        }
        let Some(joined) = joined(&drafts, &by_name, at) else { continue };
        if !draft.template {
            roles.push(finished(draft, joined, targets));
        }
    }
    unknown_roles(&drafts, &by_name);
    drafts.into_iter().for_each(|draft| draft.section.finish());
    roles
}

/// Roles that conditions for automatic approval name, and nobody wrote.
fn unknown_roles(drafts: &[Draft<'_>], by_name: &BTreeMap<&RoleName, usize>) {
    let known: Vec<&str> = by_name.keys().map(|name| name.as_str()).collect();
    for draft in drafts {
        let Some(request) = &draft.request else { continue };
        let named = request.value.automatic.iter().flat_map(|rule| &rule.roles);
        for name in named.filter(|name| !by_name.contains_key(name)) {
            draft.section.problem(request.place, request::unknown_role(name, &known));
        }
    }
}

/// What the role at `at` says together with its chain; `None` when the chain is broken, which is noted once, where the
/// breaking name stands.
fn joined(drafts: &[Draft<'_>], by_name: &BTreeMap<&RoleName, usize>, at: usize) -> Option<Joined> {
    let mut chain = Vec::new();
    let mut next = Some(at);
    while let Some(at) = next {
        let draft = drafts.get(at)?;
        chain.push(draft);
        next = match &draft.extends {
            None => None,
            Some(base) => {
                let first = chain.len() == 1;
                let Some(found) = by_name.get(&base.value) else {
                    if first {
                        let known: Vec<&str> = by_name.keys().map(|name| name.as_str()).collect();
                        let hint = hint(base.value.as_str(), &known);
                        draft.section.problem(
                            base.place,
                            format!("there is no role \"{}\" to extend{hint}", base.value),
                        );
                    }
                    return None;
                };
                if chain.iter().any(|seen| seen.name.value == base.value) {
                    if first
                        || drafts
                            .get(*found)
                            .is_some_and(|base| std::ptr::eq(base, *chain.first().unwrap_or(&draft)))
                    {
                        draft
                            .section
                            .problem(base.place, format!("\"{}\" extends itself, through this", base.value));
                    }
                    return None;
                }
                if chain.len() >= CHAIN_MAX {
                    draft
                        .section
                        .problem(base.place, format!("more than {CHAIN_MAX} roles extend each other"));
                    return None;
                }
                Some(*found)
            }
        };
    }
    let mut joined = Joined::default();
    while let Some(draft) = chain.pop() {
        narrow(&mut joined, draft);
        if !chain.is_empty() {
            joined.extends.insert(0, draft.name.value.clone());
        }
    }
    Some(joined)
}

/// Adds what `draft` says to what its base says.
fn narrow(joined: &mut Joined, draft: &Draft<'_>) {
    joined.members.extend(draft.members.clone());
    joined.targets.extend(draft.targets.clone());
    joined.commands.extend(draft.commands.as_ref().map(|set| Arc::clone(&set.value)));
    if let Some(files) = &draft.files {
        joined.files = files.clone().within(&joined.files);
    }
    joined.sources.extend(draft.sources.clone());
    joined.hours.extend(draft.hours.clone());
    let base = joined.extends.first().cloned();
    joined.logins = subset(
        draft,
        base.as_ref(),
        "login",
        joined.logins.take(),
        draft.logins.as_ref(),
        ToString::to_string,
    );
    let kinds = draft.channels.as_ref();
    joined.channels = subset(draft, base.as_ref(), "channel kind", joined.channels.take(), kinds, |kind| {
        kind.as_str().to_owned()
    });
    if let Some(env) = &draft.env {
        match &joined.env {
            Some(wide) => {
                for pattern in env.value.iter().filter(|pattern| !covered(wide, pattern)) {
                    widens(draft, env, base.as_ref(), &format!("variable {pattern}"));
                }
            }
            // The base passes what the configuration says, which is not known here.
            None if joined.usable && !env.value.is_empty() => {
                widens(draft, env, base.as_ref(), "variables, since it says no \"env\"");
            }
            None => {}
        }
        joined.env = Some(env.value.clone());
    }
    forwards(joined, draft, base.as_ref());
    limits(joined, draft, base.as_ref());
    access(joined, draft, base.as_ref());
    joined.usable |= !draft.template;
}

/// Forwards are off where nobody says otherwise: a role that extends one without any cannot turn them on.
fn forwards(joined: &mut Joined, draft: &Draft<'_>, base: Option<&RoleName>) {
    let Some(given) = &draft.forwards else { return };
    joined.forwards = match joined.forwards.take() {
        Some(wide) => Some(wide.narrow(&given.value)),
        None if joined.usable => {
            widens(draft, given, base, "forwards");
            None
        }
        None => Some(given.value.clone()),
    };
}

/// By request is less than standing, so what must be asked for stays so; and there is one way of asking.
fn access(joined: &mut Joined, draft: &Draft<'_>, base: Option<&RoleName>) {
    if let (Some(standing), Some(Access::ByRequest(_)), Some(base)) = (&draft.standing, &joined.access, base)
    {
        let message = format!("\"{base}\", which this role extends, is by request: a role can only narrow");
        draft.section.problem(standing.place, message);
    } else if let (Some(request), Some(Access::ByRequest(_)), Some(base)) =
        (&draft.request, &joined.access, base)
    {
        let message = format!(
            "\"{base}\", which this role extends, says how to ask for it: take that, or extend a role that does not say"
        );
        draft.section.problem(request.place, message);
    } else if let Some(request) = &draft.request {
        joined.access = Some(Access::ByRequest(Arc::new(request.value.clone())));
    } else if draft.standing.is_some() {
        joined.access = Some(Access::Standing);
    }
}

fn limits(joined: &mut Joined, draft: &Draft<'_>, base: Option<&RoleName>) {
    let Limits { certificate_max, session_max, idle_max, recording, when_disk_full } = &draft.limits;
    let terms = joined.terms.clone();
    for (key, given, wide) in [
        ("certificate_max", certificate_max, terms.certificate_max),
        ("session_max", session_max, terms.session_max),
        ("idle_max", idle_max, terms.idle_max),
    ] {
        if let (Some(given), Some(wide), Some(base)) = (given, wide, base)
            && given.value > wide
        {
            let wide = show_duration(wide);
            let message = format!(
                "{key:?} is longer than the {wide} of \"{base}\", which this role extends: a role can only narrow"
            );
            draft.section.problem(given.place, message);
        }
    }
    if let (Some(given), Some(wide), Some(base)) = (recording, joined.recording, base)
        && given.value < wide
    {
        let message = format!(
            "\"{base}\", which this role extends, has recording = {:?}: a role can only record more",
            wide.as_str()
        );
        draft.section.problem(given.place, message);
    }
    if let (Some(given), Some(WhenDiskFull::Close), Some(base)) =
        (when_disk_full, joined.when_disk_full, base)
        && given.value == WhenDiskFull::Continue
    {
        let message = format!(
            "\"{base}\", which this role extends, has when_disk_full = \"close\": a role can only be stricter"
        );
        draft.section.problem(given.place, message);
    }
    joined.terms = terms.narrow(&Terms {
        certificate_max: certificate_max.as_ref().map(|at| at.value),
        session_max: session_max.as_ref().map(|at| at.value),
        idle_max: idle_max.as_ref().map(|at| at.value),
        ..Terms::default()
    });
    joined.when_disk_full = when_disk_full.as_ref().map(|at| at.value).max(joined.when_disk_full);
    joined.recording = recording.as_ref().map(|at| at.value).max(joined.recording);
}

/// The narrower of the two lists; what only the new one has is a problem at its place.
fn subset<T: Ord + Clone>(
    draft: &Draft<'_>,
    base: Option<&RoleName>,
    what: &str,
    wide: Option<BTreeSet<T>>,
    given: Option<&At<Vec<At<T>>>>,
    show: impl Fn(&T) -> String,
) -> Option<BTreeSet<T>> {
    let Some(given) = given else { return wide };
    if let Some(wide) = &wide {
        for extra in given.value.iter().filter(|at| !wide.contains(&at.value)) {
            widens(draft, extra, base, &format!("{what} {}", show(&extra.value)));
        }
    }
    Some(given.value.iter().map(|at| at.value.clone()).collect())
}

fn widens<T>(draft: &Draft<'_>, at: &At<T>, base: Option<&RoleName>, what: &str) {
    if let Some(base) = base {
        let message =
            format!("\"{base}\", which this role extends, does not have the {what}: a role can only narrow");
        draft.section.problem(at.place, message);
    }
}

fn covered(wide: &[String], pattern: &str) -> bool {
    wide.iter().any(|wide| match wide.strip_suffix('*') {
        Some(prefix) => pattern.starts_with(prefix),
        None => wide == pattern,
    })
}

/// Rules that a channel of the same role would walk around. Such a role does not load: its rules would be a promise
/// that nobody keeps.
fn unenforceable(draft: &Draft<'_>, joined: &Joined) {
    let section = &draft.section;
    let Some(channels) = &joined.channels else { return };
    let place = |key| section.place_of(key).or_else(|| section.place_of("channels")).unwrap_or(section.place);
    let has = |kind| channels.contains(&kind);
    if !joined.commands.is_empty() {
        if has(ChannelKind::Shell) {
            let message = "command rules hold for \"exec\" only, and this role gives a shell too, where whatever is \
                           typed runs: take \"shell\" out of its channels, or give the shell in a role of its own";
            section.problem(place("commands"), message);
        }
        if !has(ChannelKind::Exec) {
            let message =
                "command rules are for \"exec\", which this role does not open: add it, or leave them out";
            section.problem(place("commands"), message);
        }
    }
    if !joined.files.is_unrestricted() {
        let everything = if has(ChannelKind::Shell) {
            Some("a shell")
        } else {
            (has(ChannelKind::Exec) && joined.commands.is_empty()).then_some("every command")
        };
        if let Some(everything) = everything {
            let message = format!(
                "path rules hold for \"sftp\", \"scp\", \"rsync\" and \"git\" only, and this role gives {everything} too, \
                 which reads and writes any file: take it out of its channels, or give it in a role of its own"
            );
            section.problem(place("files"), message);
        }
        let transfers = [ChannelKind::Sftp, ChannelKind::Scp, ChannelKind::Rsync, ChannelKind::Git];
        if !transfers.into_iter().any(has) {
            let message =
                "path rules are for \"sftp\", \"scp\", \"rsync\" and \"git\", of which this role opens none";
            section.problem(place("files"), message);
        }
    }
}

/// The role, and what is missing or left empty by the joining.
fn finished(draft: &Draft<'_>, joined: Joined, targets: &Targets) -> Role {
    let section = &draft.section;
    let name = &draft.name.value;
    if let Some(extends) = &draft.extends {
        for (key, what) in NEEDED {
            let missing = match key {
                "members" => joined.members.is_empty(),
                "targets" => joined.targets.is_empty(),
                "logins" => joined.logins.is_none(),
                _ => joined.channels.is_none(),
            };
            if missing {
                let message =
                    format!("{key:?} is missing: neither this role nor \"{}\" says {what}", extends.value);
                section.problem(section.place, message);
            }
        }
        let left = targets.read.values().any(|target| joined.targets.iter().all(|layer| layer.names(target)));
        if !targets.incomplete && !joined.targets.is_empty() && !left {
            let place = section.place_of("targets").unwrap_or(section.place);
            let message =
                format!("no target is in both this role and \"{}\", which it extends", extends.value);
            section.problem(place, message);
        }
    }
    unenforceable(draft, &joined);
    if joined.access.is_none() {
        section.problem(section.place, request::MISSING);
    }
    Role {
        name: name.clone(),
        extends: joined.extends,
        members: joined.members,
        targets: joined.targets,
        logins: joined.logins.unwrap_or_default(),
        channels: joined.channels.unwrap_or_default(),
        commands: joined.commands,
        files: joined.files,
        env: joined.env,
        sources: joined.sources,
        hours: joined.hours,
        forwards: joined.forwards.unwrap_or_default(),
        terms: Terms {
            recording: joined.recording.unwrap_or(Recording::Output),
            when_disk_full: joined.when_disk_full.unwrap_or(WhenDiskFull::Close),
            ..joined.terms
        },
        // A role that does not say does not load; until that is said, nobody has it.
        access: joined.access.unwrap_or_else(|| Access::ByRequest(Arc::new(RequestRules::closed()))),
    }
}
