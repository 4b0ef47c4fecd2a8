//! Judges a file transfer that only its command describes (old `scp`, `rsync`, `git`).
//!
//! Paths are taken literally: relative ones and `~/` are below the login's home, `..` is refused, and **symbolic links
//! are not resolved**: a link inside an allowed folder leads these programs wherever it points. Who needs more uses
//! sftp (as `scp` without `-O` does). Where the home is, nobody has asked yet: what could be denied for some home is
//! denied.

use super::path::CanonicalPath;
use super::rule::Rule;
use super::{FileOp, FileRules, FileVerdict, NO_RULES};
use crate::inspect::transfer::{Also, Direction, Tool, Transfer};

/// A path of a command.
struct Place {
    /// Absolute, or as if home were `/`.
    path: CanonicalPath,
    at_home: bool,
}

/// Judges it by the rules of every role that opens the channel, as `judge_all` does: some role must allow all of it on
/// each path (and on everything below, where it reaches that), and no rule of any role may possibly deny any of it.
/// A download needs `read`, an upload `write`, `create` and `mkdir`, and each what else it does; links and devices, that
/// everything is allowed everywhere, for that is where they may lead.
pub fn judge_transfer(roles: &[FileRules], transfer: &Transfer) -> FileVerdict {
    if !roles.is_empty() && roles.iter().all(FileRules::is_unrestricted) {
        return FileVerdict { allowed: true, rule: NO_RULES.into() };
    }
    let everything = Place { path: CanonicalPath::root(), at_home: false };
    let free = |op: &FileOp| all_of(roles, *op, &everything, true).is_ok();
    if transfer.also.contains(&Also::MakesLinks) && !FileOp::ALL.iter().all(free) {
        return no(
            "links and devices could lead past the path rules; leave them out (rsync: --no-links --no-D)"
                .into(),
        );
    }
    let ops = ops(transfer);
    let mut spoke = None;
    for text in &transfer.paths {
        let Some(place) = place(text) else {
            return no(format!("{text:?} is no path that can be judged without asking the target"));
        };
        if let Some(name) = side_door(roles, &place) {
            return no(format!(
                "{text:?}: what is below {name} has other names too, and no rule spells {name} out"
            ));
        }
        for op in &ops {
            match all_of(roles, *op, &place, transfer.deep) {
                Ok(rule) => spoke = spoke.or(Some(rule)),
                Err(Some(rule)) => return no(rule.to_owned()),
                Err(None) => return no(format!("no rule allows {} for all of {text:?}", op.as_str())),
            }
        }
        if transfer.tool == Tool::Git
            && let Some(rule) = instead(roles, &ops, text)
        {
            return no(rule);
        }
    }
    match spoke {
        Some(rule) => FileVerdict { allowed: true, rule: rule.to_owned() },
        None => no("it names no path".into()),
    }
}

/// Where `x` is no repository, git opens `x/.git`, `x.git/.git` or `x.git` in its place, so those are judged too; why not,
/// if so. Behind a name that ends in `.git` already nobody puts another one: there it is enough that no rule denies it,
/// or a rule for one repository would not suffice to open it.
fn instead(roles: &[FileRules], ops: &[FileOp], text: &str) -> Option<String> {
    let whole = text.trim_end_matches('/');
    let other = format!("{whole}.git");
    let Some(place) = place(&other) else {
        return Some(format!("git may open {other:?} for {text:?}, which cannot be judged"));
    };
    ops.iter().find_map(|op| match all_of(roles, *op, &place, true) {
        Ok(_) => None,
        Err(Some(rule)) => Some(rule.to_owned()),
        Err(None) if whole.ends_with(".git") => None,
        Err(None) => Some(format!(
            "git may open {other:?} for {text:?}, and no rule allows {} for all of it; name the repository with .git, or \
             allow both",
            op.as_str()
        )),
    })
}

/// What stands in these folders leads to everything else by another name (`/proc/self/root`), without a link that anybody
/// made: only rules that spell them out open them. For accounts whose home is `/` the first one may stand there too.
fn side_door(roles: &[FileRules], place: &Place) -> Option<&'static str> {
    let first = place.path.components().next()?;
    let name = match (first, place.at_home) {
        (b"proc", false) => "/proc",
        (b"dev", false) => "/dev",
        (b"proc", true) => "~/proc",
        _ => return None,
    };
    let spells = |rule: &Rule| {
        let mut paths = rule.paths.iter().filter(|path| path.begins_with(first, place.at_home));
        rule.allow && paths.any(|path| path.might_match(&place.path, place.at_home, false))
    };
    (!roles.iter().flat_map(FileRules::rules).any(spells)).then_some(name)
}

fn ops(transfer: &Transfer) -> Vec<FileOp> {
    let mut ops = match (transfer.direction, transfer.deep) {
        (Direction::FromTarget, _) => vec![FileOp::Read],
        (Direction::ToTarget, true) => vec![FileOp::Write, FileOp::Create, FileOp::Mkdir],
        (Direction::ToTarget, false) => vec![FileOp::Write, FileOp::Create],
    };
    ops.extend(transfer.also.iter().map(|also| match also {
        Also::Removes => FileOp::Remove,
        Also::SetsAttributes => FileOp::SetAttr,
        Also::Lists => FileOp::List,
        Also::Compares => FileOp::Read,
        Also::MakesLinks => FileOp::Symlink,
    }));
    ops
}

/// The rule that allows it; otherwise the one that may deny it, or none when no role allows it.
fn all_of<'r>(
    roles: &'r [FileRules],
    op: FileOp,
    place: &Place,
    deep: bool,
) -> Result<&'r str, Option<&'r str>> {
    let mut denying = roles.iter().flat_map(FileRules::rules).filter(|rule| !rule.allow && rule.says(op));
    if let Some(rule) = denying.find(|rule| might(rule, place, deep)) {
        return Err(Some(&rule.name));
    }
    roles.iter().find_map(|role| allowing(role, op, place, deep)).ok_or(None)
}

fn no(rule: String) -> FileVerdict {
    FileVerdict { allowed: false, rule }
}

/// None for `..`, `~user`, and what is no path.
fn place(text: &str) -> Option<Place> {
    let (rest, at_home) = match text.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => (rest, true),
        Some(_) => return None,
        None => (text, !text.starts_with('/')),
    };
    let plain = !text.is_empty() && rest.split('/').all(|component| component != "..");
    let path = CanonicalPath::lexical(rest.trim_start_matches('/').as_bytes(), &CanonicalPath::root());
    path.filter(|_| plain).map(|path| Place { path, at_home })
}

fn might(rule: &Rule, place: &Place, deep: bool) -> bool {
    rule.paths.iter().any(|pattern| pattern.might_match(&place.path, place.at_home, deep))
}

/// The rule of each layer that allows it; named after the first layer's.
fn allowing<'r>(role: &'r FileRules, op: FileOp, place: &Place, deep: bool) -> Option<&'r str> {
    let covers = |rule: &&Rule| {
        rule.paths.iter().any(|pattern| match (place.at_home, deep) {
            (true, true) => pattern.covers_at_home(&place.path) || pattern.is_everything(),
            (true, false) => pattern.matches_at_home(&place.path) || pattern.is_everything(),
            (false, true) => pattern.covers(&place.path, None),
            (false, false) => pattern.matches(&place.path, None),
        })
    };
    let mut first = None;
    for layer in &role.layers {
        let rule = layer.iter().filter(|rule| rule.allow && rule.says(op)).find(covers)?;
        first = first.or(Some(rule.name.as_str()));
    }
    Some(first.unwrap_or(NO_RULES))
}
