//! Roles beside roles: one that changes nothing, one whose rules another one gives a way around, one that nobody could
//! use. People are compared by the groups and subjects that the roles name, jobs by the rules; who is in which group, no file
//! says.

use super::{Hint, meet};
use crate::identity::Identity;
use crate::names::LoginName;
use crate::policy::decide::{is_member, opens_target};
use crate::policy::files::{CanonicalPath, FileOp};
use crate::policy::hours::{self, Hours};
use crate::policy::somebody::least_members;
use crate::policy::{ChannelKind, Policy, Role, Target, workload};

/// What is unwise in `role` beside the others.
pub(super) fn among(policy: &Policy, role: &Role) -> Vec<Hint> {
    let mut hints = Vec::new();
    let others = || policy.roles.iter().filter(|other| other.name != role.name);
    // Of two that say the same, the later one.
    let earlier = |other: &Role| {
        policy.roles.iter().find(|one| one.name == role.name || one.name == other.name).map(|one| &one.name)
            == Some(&other.name)
    };
    let shadow = others().find(|other| {
        gives_all_of(policy, other, role) && (earlier(other) || !gives_all_of(policy, role, other))
    });
    if let Some(other) = shadow {
        let text = format!(
            "it changes nothing: \"{}\" gives the same people as much, under no stricter limits; remove one of them",
            other.name
        );
        hints.push(("shadowed-role", text));
    }
    for other in others() {
        if let Some(text) = walked_around(policy, role, other) {
            hints.push(("walk-around", text));
        }
    }
    hints.extend(policy.roles.iter().find_map(|other| startup_files(policy, role, other)));
    hints
}

/// Certain that taking `less` away would change nothing as long as `more` is there.
fn gives_all_of(policy: &Policy, more: &Role, less: &Role) -> bool {
    let Some(people) = least_members(less) else { return false };
    let env = match (&less.env, &more.env) {
        (Some(less), Some(more)) => less.iter().all(|pattern| more.contains(pattern)),
        (less, more) => less == more,
    };
    let opens = |target| !opens_target(less, target) || opens_target(more, target);
    (!people.is_empty() || workload::is_for_workloads(less))
        && workload::are_within(less, more)
        && people.iter().all(|one| is_member(more, one))
        && policy.targets.values().all(opens)
        && less.logins.is_subset(&more.logins)
        && less.channels.is_subset(&more.channels)
        // Rules also take away from other roles (deny, review), so none may be missing afterwards.
        && less.commands == more.commands
        && less.files == more.files
        && (less.forwards.is_empty() || less.forwards == more.forwards)
        && env
        && (more.sources.is_empty() || more.sources == less.sources)
        && (more.hours.is_empty() || more.hours == less.hours)
        && more.terms.narrow(&less.terms) == more.terms
}

/// How `other` gives people of `role` what its rules do not let them have.
fn walked_around(policy: &Policy, role: &Role, other: &Role) -> Option<String> {
    let way = way_around(role, other)?;
    if !overlap(role, other) {
        return None;
    }
    let mut places = places(policy, role, other);
    let (target, login) = places.next()?;
    let more = match places.count() {
        0 => String::new(),
        more => format!(" and in {more} more place{}", if more == 1 { "" } else { "s" }),
    };
    Some(format!(
        "its rules can be walked around: \"{}\" {way} on {} as {login}{more}, to members of both; let the people, \
         targets or logins of the two differ, or give both the same rules",
        other.name, target.name
    ))
}

fn way_around(role: &Role, other: &Role) -> Option<&'static str> {
    let gives = |kind| other.channels.contains(&kind);
    let every_command = gives(ChannelKind::Exec) && other.commands.is_empty();
    let shares = |kind| role.channels.contains(&kind) && gives(kind);
    let transfers = [ChannelKind::Sftp, ChannelKind::Scp, ChannelKind::Rsync, ChannelKind::Git];
    if role.commands.is_empty() && role.files.is_unrestricted() {
        None
    } else if gives(ChannelKind::Shell) {
        Some("gives a shell, where whatever is typed runs,")
    } else if every_command {
        Some("gives every command that no rule denies by name")
    } else if !role.files.is_unrestricted()
        && other.files.is_unrestricted()
        && transfers.into_iter().any(shares)
    {
        Some("moves files without path rules")
    } else {
        None
    }
}

/// Files below the home of a login that shells, sshd or their like run before the command that was judged.
const STARTUP_FILES: [&str; 7] =
    [".bashrc", ".zshenv", ".ssh/rc", ".ssh/environment", ".profile", ".config/fish/config.fish", ".cshrc"];

/// How file transfers of `other`, which can be `role` itself, get around the command rules of `role`.
fn startup_files(policy: &Policy, role: &Role, other: &Role) -> Option<Hint> {
    let transfers = [ChannelKind::Sftp, ChannelKind::Scp, ChannelKind::Rsync];
    let moves = transfers.into_iter().find(|kind| other.channels.contains(kind))?;
    if role.commands.is_empty() || !overlap(role, other) {
        return None;
    }
    let (target, login) = places(policy, role, other).next()?;
    let home = if login.as_str() == "root" { "/root".to_owned() } else { format!("/home/{login}") };
    let home = CanonicalPath::parse(home.as_bytes())?;
    let written = STARTUP_FILES.into_iter().find(|file| {
        let path = CanonicalPath::lexical(file.as_bytes(), &home);
        let may = |op| path.as_ref().is_some_and(|path| other.files.judge(op, path, Some(&home)).allowed);
        [FileOp::Write, FileOp::Create, FileOp::Rename].into_iter().any(may)
    })?;
    let by = if other.name == role.name { "it".to_owned() } else { format!("\"{}\"", other.name) };
    let text = format!(
        "{by} lets the same people write ~/{written} by {} on {} as {login}; what stands there runs whatever the command \
         rules say: give \"files\" rules that leave such files out",
        moves.as_str(),
        target.name
    );
    Some(("startup-files", text))
}

/// Targets and logins that both open.
fn places<'p>(
    policy: &'p Policy,
    one: &'p Role,
    other: &'p Role,
) -> impl Iterator<Item = (&'p Target, &'p LoginName)> {
    let targets =
        policy.targets.values().filter(|target| opens_target(one, target) && opens_target(other, target));
    targets.flat_map(|target| one.logins.intersection(&other.logins).map(move |login| (target, login)))
}

/// Whether somebody with no more groups than one of the roles asks for is in both.
fn overlap(one: &Role, other: &Role) -> bool {
    let in_both = |who: &Identity| is_member(one, who) && is_member(other, who);
    let least = |role| least_members(role).unwrap_or_default();
    least(one).iter().chain(&least(other)).any(in_both) || workload::overlap(one, other)
}

/// Why nobody could ever use the role, whoever they are.
pub(super) fn for_nobody(role: &Role) -> Option<String> {
    if least_members(role).is_some_and(|people| people.is_empty()) && !workload::is_for_workloads(role) {
        Some(
            "nobody can be among its members and those of what it extends at once: name groups of one provider, or \
             people, rules or accounts that both have"
                .to_owned(),
        )
    } else if !meet(&role.sources) {
        Some("no address is in its networks and in those of what it extends at once".to_owned())
    } else if never_open(&role.hours) {
        Some("its hours and those of what it extends never meet".to_owned())
    } else {
        None
    }
}

/// When several hours hold at once, they begin to with one of them; so it is enough to look at beginnings.
fn never_open(layers: &[Hours]) -> bool {
    if layers.len() < 2 {
        return false;
    }
    let open = |at| layers.iter().all(|hours| hours.at(at) != hours::Opening::Closed);
    !layers.iter().flat_map(Hours::beginnings).any(open)
}
