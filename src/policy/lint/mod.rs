//! What is legal in a policy and hardly meant: rules for everything, rules around other rules, and what nobody uses.
//! Hints for the author; nothing here decides, and nothing is hinted at that is not certain. `roles` compares roles
//! with each other, `env` knows variables, `jobs` looks at rules about runs; what is unwise within command sets, path rules and forwards, these say
//! themselves.

mod env;
mod jobs;
mod roles;
#[cfg(test)]
mod tests;

use super::files::FileOp;
use super::outline::Outline;
use super::{ChannelKind, Policy, Recording, Role, Selector};
use crate::config::Spot;
use crate::net::Cidr;

/// A hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lint {
    /// A stable word for the kind of hint, one of [`CODES`].
    pub code: &'static str,
    /// Where the role, set or target stands, if it stands in the policy.
    pub place: Option<Spot>,
    /// What it is about: `role "operators"`, `web-care: restart web`.
    pub subject: String,
    /// What is wrong and what to do.
    pub text: String,
}

/// Every kind of hint, and what it is about.
pub const CODES: [(&str, &str); 24] = [
    ("every-target", "a role that opens every target by pattern or label"),
    ("every-source", "a role whose networks are the whole internet"),
    ("every-forward", "forwards to everything"),
    ("every-file", "path rules that allow everything"),
    ("followed-links", "path rules beside programs that follow links past them"),
    ("dangerous-env", "variables that make programs run something else"),
    ("not-recorded", "a shell or commands without a recording"),
    ("nobody", "a role that nobody could ever use"),
    ("shadowed-role", "a role that changes nothing beside another one"),
    ("walk-around", "rules of one role that another role gives a way around"),
    ("startup-files", "command rules beside files that a shell reads when it starts"),
    ("unused-template", "a template that no role extends"),
    ("unused-commands", "a command set that no role names"),
    ("unopened-target", "a target that no role opens"),
    ("unused-workload", "a rule about runs of jobs that no role names"),
    ("unused-service", "a service account that no role names"),
    ("every-branch", "a rule that lets runs of every branch pass"),
    ("no-environment", "a role that opens production to jobs of no environment"),
    ("default-allow", "a command set that is a list of what is denied"),
    ("opaque-allow", "a command set that lets lines through that cannot be read"),
    ("shell-escape", "an allowed program that opens a shell or runs other programs"),
    ("every-argument", "a command rule that lets every argument through"),
    ("shadowed-rule", "a command rule that never matters"),
    ("narrow-deny", "a deny rule that one word more gets past"),
];

/// Every hint, in the order of the files. `env_default` are the variables that pass where a role does not say, when the
/// configuration is known.
pub fn lints(policy: &Policy, outline: &Outline, env_default: &[String]) -> Vec<Lint> {
    let mut lints = Vec::new();
    for role in &policy.roles {
        let place = outline.roles.get(&role.name).map(|role| &role.spot);
        let alone = alone(policy, role).into_iter().chain(roles::among(policy, role));
        lints.extend(alone.map(|(code, text)| Lint {
            code,
            place: place.cloned(),
            subject: format!("role \"{}\"", role.name),
            text,
        }));
    }
    lints.extend(unused(policy, outline));
    lints.extend(jobs::lints(policy, outline));
    for set in outline.sets.values() {
        lints.extend(set.set.lints().into_iter().map(|lint| Lint {
            code: lint.code,
            place: Some(set.spot.clone()),
            subject: format!("commands \"{}\"", lint.rule),
            text: lint.text,
        }));
    }
    lints.extend(env::dangerous(env_default).map(|text| Lint {
        code: "dangerous-env",
        place: None,
        subject: "sessions.env of the configuration".to_owned(),
        text,
    }));
    let order = |lint: &Lint| lint.place.as_ref().map(|spot| (spot.file.clone(), spot.line, spot.column));
    lints.sort_by_key(order);
    lints
}

type Hint = (&'static str, String);

/// What is unwise in a role by itself.
fn alone(policy: &Policy, role: &Role) -> Vec<Hint> {
    let mut hints: Vec<Hint> = Vec::new();
    if opens_everything(policy, role) {
        let text = "it opens every target by pattern or label, and those that will be added: name the targets, or a \
                    label that only some have";
        hints.push(("every-target", text.to_owned()));
    }
    for range in role.sources.iter().flatten().filter(|range| range.is_all()) {
        let text =
            format!("\"sources\" has {range}, which is everywhere: leave it out, or name the networks");
        hints.push(("every-source", text));
    }
    hints.extend(role.forwards.lints().into_iter().map(|text| ("every-forward", text)));
    hints.extend(role.files.lints().into_iter().map(|text| ("every-file", text)));
    hints.extend(followed_links(role).map(|text| ("followed-links", text)));
    hints.extend(env::dangerous(role.env.as_deref().unwrap_or_default()).map(|text| ("dangerous-env", text)));
    let has = |kind| role.channels.contains(&kind);
    if role.terms.recording == Recording::Nothing && (has(ChannelKind::Shell) || has(ChannelKind::Exec)) {
        let text = "recording = \"no\": of its sessions nothing but begin, end and command is kept; leave it out, unless \
                    another role or the configuration records them";
        hints.push(("not-recorded", text.to_owned()));
    }
    hints.extend(jobs::no_environment(policy, role).map(|text| ("no-environment", text)));
    if let Some(text) = roles::for_nobody(role) {
        hints.push(("nobody", text));
    }
    hints
}

/// Old copying programs are judged by the words of their commands, and follow links.
fn followed_links(role: &Role) -> Option<String> {
    let kinds = [ChannelKind::Scp, ChannelKind::Rsync, ChannelKind::Git];
    let open: Vec<&str> =
        kinds.into_iter().filter(|kind| role.channels.contains(kind)).map(ChannelKind::as_str).collect();
    let what = match (role.files.denies(), role.files.may_allow(FileOp::Symlink)) {
        _ if open.is_empty() => return None,
        (true, _) => "lead past its path rules that deny",
        (false, true) => "it lets people make lead past its path rules",
        (false, false) => return None,
    };
    let which = if role.files.denies() { "links on a target" } else { "links that" };
    Some(format!(
        "{which} {what} when {} follows them: leave these channels to a role of their own without such rules, and use \
         sftp here (scp uses it too)",
        open.join(" or ")
    ))
}

/// Every target, and not because each is named.
fn opens_everything(policy: &Policy, role: &Role) -> bool {
    let widely = |layer: &Selector| Selector { names: std::collections::BTreeSet::new(), ..layer.clone() };
    let layers: Vec<Selector> = role.targets.iter().map(widely).collect();
    policy.targets.len() > 1
        && policy.targets.values().all(|target| layers.iter().all(|layer| layer.names(target)))
}

/// What stands in the files and opens nothing to anybody.
fn unused(policy: &Policy, outline: &Outline) -> Vec<Lint> {
    let mut lints = Vec::new();
    let mut add = |code, place: &Spot, subject: String, text: &str| {
        lints.push(Lint { code, place: Some(place.clone()), subject, text: text.to_owned() });
    };
    for (name, role) in outline.roles.iter().filter(|(_, role)| role.template && !role.extended) {
        let text = "no role extends this template, so it opens nothing: remove it, or extend it";
        add("unused-template", &role.spot, format!("role \"{name}\""), text);
    }
    for (name, set) in outline.sets.iter().filter(|(_, set)| !set.used) {
        let text = "no role names this command set: remove it, or name it under \"commands\" of a role";
        add("unused-commands", &set.spot, format!("commands \"{name}\""), text);
    }
    for (name, target) in &policy.targets {
        let opened = policy.roles.iter().any(|role| super::decide::opens_target(role, target));
        if let (false, Some(spot)) = (opened, outline.targets.get(name)) {
            let text = "no role opens it, so nobody can come there: remove it, or open it to somebody";
            add("unopened-target", spot, format!("target \"{name}\""), text);
        }
    }
    lints
}

/// Whether some address is in every layer.
fn meet(layers: &[Vec<Cidr>]) -> bool {
    let mut networks = layers.iter().flatten().map(Cidr::network);
    layers.is_empty()
        || networks
            .any(|address| layers.iter().all(|layer| layer.iter().any(|range| range.contains(address))))
}
