//! The three columns: what is enforced, what can be detected, what nobody controls, for some roles together. One function
//! for each subject; a new setting of a role is one more of them.

use std::collections::BTreeSet;

use super::Subject;
use crate::config::show_duration;
use crate::inspect::command::Dialect;
use crate::net::Cidr;
use crate::policy::commands::{CommandSet, DefaultRule, Verdict};
use crate::policy::{ChannelKind, Recording, Role, Terms};

/// Sentences in three columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// It is so, or nothing happens.
    pub enforced: Vec<String>,
    /// It is looked for, and can be hidden.
    pub detected: Vec<String>,
    /// It is up to the person, or to the target.
    pub uncontrolled: Vec<String>,
}

/// The columns of these roles, which all open the target and the login to the person.
pub(super) fn of(subject: &Subject<'_>, roles: &[&Role]) -> Columns {
    let mut columns = Columns::default();
    if roles.is_empty() {
        columns.enforced("nothing is open".to_owned());
        return columns;
    }
    shell(&mut columns, subject, roles);
    exec(&mut columns, subject, roles);
    sftp(&mut columns, roles);
    copies(&mut columns, roles);
    environment(&mut columns, subject, roles);
    forwards(&mut columns, roles);
    columns.enforced("network interfaces (tun) and requests we do not know: refused".to_owned());
    limits(&mut columns, subject, roles);
    columns
}

impl Columns {
    fn enforced(&mut self, text: String) {
        self.enforced.push(text);
    }

    fn detected(&mut self, text: String) {
        self.detected.push(text);
    }

    fn uncontrolled(&mut self, text: String) {
        self.uncontrolled.push(text);
    }
}

fn with<'r>(roles: &[&'r Role], kind: ChannelKind) -> Vec<&'r Role> {
    roles.iter().filter(|role| role.channels.contains(&kind)).copied().collect()
}

/// `"a", "b"`.
fn names<'r>(roles: impl IntoIterator<Item = &'r &'r Role>) -> String {
    let names: Vec<String> = roles.into_iter().map(|role| format!("\"{}\"", role.name)).collect();
    names.join(", ")
}

/// The terms of all these roles at once.
fn terms(subject: &Subject<'_>, roles: &[&Role]) -> Terms {
    roles.iter().fold(subject.limits.clone(), |terms, role| terms.narrow(&role.terms))
}

fn shell(columns: &mut Columns, subject: &Subject<'_>, roles: &[&Role]) {
    let roles = with(roles, ChannelKind::Shell);
    if roles.is_empty() {
        columns.enforced("no shell".to_owned());
        return;
    }
    let recorded = match terms(subject, &roles).recording {
        Recording::Nothing => "not even recorded",
        Recording::Output => "what the person sees is recorded",
        Recording::Input => "what the person sees and types is recorded",
    };
    columns.uncontrolled(format!("what is typed in a shell, and what that runs ({recorded})"));
}

fn exec(columns: &mut Columns, subject: &Subject<'_>, roles: &[&Role]) {
    let roles = with(roles, ChannelKind::Exec);
    let (free, ruled): (Vec<&Role>, Vec<&Role>) = roles.iter().partition(|role| role.commands.is_empty());
    if roles.is_empty() {
        columns.enforced("no commands beside file transfers".to_owned());
        return;
    }
    if !free.is_empty() {
        columns.uncontrolled(format!(
            "which commands run: {} allows every one (each is written down)",
            names(&free)
        ));
        if !ruled.is_empty() {
            let names = names(&ruled);
            columns.detected(format!(
                "what the rules of {names} deny or hold, while it is called by its own name"
            ));
        }
        return;
    }
    for role in &ruled {
        commands(columns, subject, role);
    }
    columns.uncontrolled("what an allowed program does: files, network, other programs".to_owned());
    let sets = ruled.iter().flat_map(|role| &role.commands);
    let escapes: BTreeSet<(String, String)> = sets.flat_map(|set| set.escapes()).collect();
    for (rule, escape) in escapes {
        columns.uncontrolled(format!("`{rule}`: {escape}"));
    }
}

/// The command rules of one role: all of its sets must allow.
fn commands(columns: &mut Columns, subject: &Subject<'_>, role: &Role) {
    let name = |set: &&CommandSet| format!("\"{}\"", set.name);
    let sets: Vec<&CommandSet> = role.commands.iter().map(AsRef::as_ref).collect();
    let all = sets.iter().map(name).collect::<Vec<_>>().join(" and ");
    let opaque = sets.iter().map(|set| set.opaque).max().unwrap_or(Verdict::Deny);
    let read = subject.target.dialect == Dialect::Posix;
    if !read {
        columns.enforced(format!("commands are lines that {all} pins, byte for byte (dialect \"none\")"));
    } else if sets.iter().any(|set| set.default == DefaultRule::Deny) {
        columns.enforced(format!(
            "which words are sent: only commands that {all} allows, in our own quoting of what was judged"
        ));
    } else {
        columns.detected(format!("what {all} denies or holds, while it is called by its own name"));
        columns.uncontrolled(format!("every command that {all} does not deny"));
    }
    let lines = if read { "lines that cannot be read word for word" } else { "all other lines" };
    match opaque {
        Verdict::Deny => columns.enforced(format!("{lines}: refused unless {all} pins them")),
        Verdict::Review => columns.enforced(format!("{lines}: held for approval (opaque = \"review\")")),
        Verdict::Allow => {
            columns.detected(format!("what {all} denies or holds inside {lines}"));
            columns.uncontrolled(format!("{lines}: they pass as they are (opaque = \"allow\")"));
        }
    }
}

fn sftp(columns: &mut Columns, roles: &[&Role]) {
    let roles = with(roles, ChannelKind::Sftp);
    let (free, ruled): (Vec<&Role>, Vec<&Role>) = roles.iter().partition(|role| role.files.is_unrestricted());
    if roles.is_empty() {
        columns.enforced("no sftp".to_owned());
        return;
    }
    if !free.is_empty() {
        let names = names(&free);
        columns.uncontrolled(format!(
            "which files sftp touches: {names} has no path rules (each act is in the audit log)"
        ));
    }
    if !ruled.is_empty() {
        let what =
            if free.is_empty() { "which files sftp touches, and how" } else { "what sftp must not touch" };
        let names = names(&ruled);
        columns.enforced(format!("{what}: path rules of {names}, on paths as the target resolves them"));
        columns.uncontrolled("links on the target that change between our question and its act".to_owned());
    }
}

fn copies(columns: &mut Columns, roles: &[&Role]) {
    let kinds = [ChannelKind::Scp, ChannelKind::Rsync, ChannelKind::Git];
    let by = |ruled: bool| {
        let opens =
            |kind: &ChannelKind| with(roles, *kind).iter().any(|role| role.files.is_unrestricted() != ruled);
        let kinds = kinds.iter().filter(|kind| opens(kind)).map(|kind| kind.as_str());
        kinds.collect::<Vec<_>>().join(", ")
    };
    let (free, ruled) = (by(false), by(true));
    if !free.is_empty() {
        columns.uncontrolled(format!(
            "which files move by {free}: no path rules (direction and path are written down)"
        ));
    }
    if !ruled.is_empty() {
        columns.enforced(format!("direction and paths of {ruled}, by path rules, as the command names them"));
        columns.uncontrolled(format!("where symbolic links lead that {ruled} meet"));
    }
}

fn environment(columns: &mut Columns, subject: &Subject<'_>, roles: &[&Role]) {
    let lists = roles.iter().map(|role| role.env.as_deref().unwrap_or(&subject.env_default));
    let all: BTreeSet<&str> = lists.flatten().map(String::as_str).collect();
    if all.is_empty() {
        columns.enforced("no environment variables".to_owned());
        return;
    }
    let all: Vec<&str> = all.into_iter().collect();
    columns.enforced(format!("which environment variables pass: {}", all.join(", ")));
    columns.uncontrolled("the values of those variables".to_owned());
}

fn forwards(columns: &mut Columns, roles: &[&Role]) {
    let mut some = false;
    for role in roles {
        for line in role.forwards.described() {
            some = true;
            columns.enforced(format!("forwards by \"{}\": {line}", role.name));
        }
    }
    if some {
        columns.uncontrolled(
            "what passes through a forward (address and bytes are in the audit log)".to_owned(),
        );
    } else {
        columns.enforced("no forwards".to_owned());
    }
    if roles.iter().any(|role| role.forwards.agent()) {
        columns.uncontrolled(
            "the ssh-agent while it is forwarded: root on the target can use its keys".to_owned(),
        );
    } else {
        columns.enforced("no agent forwarding".to_owned());
    }
    if roles.iter().any(|role| role.forwards.x11()) {
        columns.uncontrolled("the X display while it is forwarded: programs there see and type".to_owned());
    } else {
        columns.enforced("no X11 forwarding".to_owned());
    }
}

/// What roles say of time and place holds for what they open, not for what another one opens.
fn limits(columns: &mut Columns, subject: &Subject<'_>, roles: &[&Role]) {
    for role in roles {
        let terms = terms(subject, &[role]);
        let limits = [("a session of at most", terms.session_max), ("silence of at most", terms.idle_max)];
        let limits =
            limits.into_iter().filter_map(|(what, limit)| Some(format!("{what} {}", show_duration(limit?))));
        let mut all: Vec<String> = limits.collect();
        if !role.sources.is_empty() {
            let layer =
                |layer: &Vec<Cidr>| layer.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let layers: Vec<String> = role.sources.iter().map(layer).collect();
            all.push(format!("only from {}", layers.join(" within ")));
        }
        if !role.hours.is_empty() {
            all.push("only in its hours; then it ends".to_owned());
        }
        if !all.is_empty() {
            columns.enforced(format!("what \"{}\" opens: {}", role.name, all.join("; ")));
        }
    }
}
