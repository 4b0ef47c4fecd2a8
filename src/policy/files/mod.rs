//! Path rules: which operations on which files of a target a role allows. Deny by default; a rule that denies beats
//! every rule that allows, whatever their order and whichever role they stand in.
//!
//! Judged are canonical paths, as the target resolved them: who asks says where the login's home is. Old `scp`,
//! `rsync` and `git` name paths that nobody resolves; `transfer` says how they are judged all the same.

mod live;
pub mod path;
mod pattern;
mod read;
mod rule;
#[cfg(test)]
mod tests;
mod transfer;

pub use live::LiveRules;
pub use path::CanonicalPath;
pub use pattern::{Pattern, PatternError};
pub use transfer::judge_transfer;

pub(in crate::policy) use read::read;
pub use read::read_alone;

use rule::Rule;

/// What can be done to a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileOp {
    /// Read its content.
    Read,
    /// Change the content of what is there.
    Write,
    /// Make a file that was not there, with its first content.
    Create,
    /// Remove a file or an empty folder.
    Remove,
    /// Give it another name; asked for both names.
    Rename,
    /// Change permissions, owner or times.
    SetAttr,
    /// Make a symbolic link of this name.
    Symlink,
    /// Make a folder.
    Mkdir,
    /// See what is in a folder.
    List,
}

impl FileOp {
    /// Every operation, in the order people are told of them.
    pub const ALL: [Self; 9] = [
        Self::Read,
        Self::Write,
        Self::Create,
        Self::Remove,
        Self::Rename,
        Self::SetAttr,
        Self::Symlink,
        Self::Mkdir,
        Self::List,
    ];

    /// The operation as the policy file and the audit write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Create => "create",
            Self::Remove => "remove",
            Self::Rename => "rename",
            Self::SetAttr => "setattr",
            Self::Symlink => "symlink",
            Self::Mkdir => "mkdir",
            Self::List => "list",
        }
    }
}

/// An answer about one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct FileVerdict {
    /// Yes or no.
    pub allowed: bool,
    /// What spoke, for people and the audit: a rule's name, or that none allows it.
    pub rule: String,
}

/// The path rules of one role. A role that extends another has a layer for each, and all of them must allow.
/// No layer at all: a role without path rules, which allows everything.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct FileRules {
    layers: Vec<Vec<Rule>>,
}

/// How one role answers.
enum Answer<'r> {
    /// A rule says no, for every role.
    Denied(&'r str),
    Allowed(&'r str),
    /// No rule of some layer allows it.
    Nothing,
}

/// What is allowed where nothing is ruled.
const NO_RULES: &str = "no path rules";

impl FileRules {
    /// A role without path rules: everything is allowed.
    pub fn unrestricted() -> Self {
        Self::default()
    }

    /// Whether it has no rules.
    pub fn is_unrestricted(&self) -> bool {
        self.layers.is_empty()
    }

    /// These rules within those of an extended role: both must allow.
    #[must_use]
    pub fn within(mut self, base: &Self) -> Self {
        self.layers.extend(base.layers.iter().cloned());
        self
    }

    /// Judges one operation. `home` is the login's home as the target says; where a rule speaks of it and it is not
    /// known, nothing is allowed.
    pub fn judge(&self, op: FileOp, path: &CanonicalPath, home: Option<&CanonicalPath>) -> FileVerdict {
        judge_all(std::slice::from_ref(self), op, path, home)
    }

    /// Whether some rule denies something.
    pub fn denies(&self) -> bool {
        self.rules().any(|rule| !rule.allow)
    }

    /// Whether rules allow the operation somewhere; false for a role without rules.
    pub fn may_allow(&self, op: FileOp) -> bool {
        let allows = |layer: &Vec<Rule>| layer.iter().any(|rule| rule.allow && rule.says(op));
        !self.layers.is_empty() && self.layers.iter().all(allows)
    }

    /// What is legal in these rules, and hardly meant.
    pub fn lints(&self) -> Vec<String> {
        self.layers.iter().flatten().filter_map(Rule::lint).collect()
    }

    fn answer(&self, op: FileOp, path: &CanonicalPath, home: Option<&CanonicalPath>) -> Answer<'_> {
        let mut first = None;
        let mut open = true;
        for layer in &self.layers {
            let speaking = || layer.iter().filter(|rule| rule.says(op));
            if let Some(rule) = speaking().find(|rule| !rule.allow && rule.matches(path, home)) {
                return Answer::Denied(&rule.name);
            }
            match speaking().find(|rule| rule.allow && rule.matches(path, home)) {
                Some(rule) => first = first.or(Some(rule.name.as_str())),
                None => open = false,
            }
        }
        if open { Answer::Allowed(first.unwrap_or(NO_RULES)) } else { Answer::Nothing }
    }

    fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.layers.iter().flatten()
    }
}

/// Judges one operation by the rules of every role that opens the channel: some role must allow it, and no rule of any
/// role may deny it. Without a role nothing is allowed.
pub fn judge_all(
    roles: &[FileRules],
    op: FileOp,
    path: &CanonicalPath,
    home: Option<&CanonicalPath>,
) -> FileVerdict {
    if home.is_none() && roles.iter().flat_map(FileRules::rules).any(Rule::needs_home) {
        return FileVerdict { allowed: false, rule: "the rules speak of ~, and home is not known".into() };
    }
    let mut allowed = None;
    for role in roles {
        match role.answer(op, path, home) {
            Answer::Denied(rule) => return FileVerdict { allowed: false, rule: rule.to_owned() },
            Answer::Allowed(rule) => allowed = allowed.or(Some(rule)),
            Answer::Nothing => {}
        }
    }
    match allowed {
        Some(rule) => FileVerdict { allowed: true, rule: rule.to_owned() },
        None => FileVerdict { allowed: false, rule: format!("no rule allows {}", op.as_str()) },
    }
}

/// The rule that explicitly denies the operation, if one does.
pub fn denied_by<'r>(
    roles: &'r [FileRules],
    op: FileOp,
    path: &CanonicalPath,
    home: Option<&CanonicalPath>,
) -> Option<&'r str> {
    let mut denying = roles.iter().flat_map(FileRules::rules).filter(|rule| !rule.allow && rule.says(op));
    denying.find(|rule| rule.matches(path, home)).map(|rule| rule.name.as_str())
}

/// The rule whose protection a folder would leave or enter if it moved from `from` to `to` with everything in it, if
/// there is one. Within what a rule denies as a whole, things may move.
pub fn moves_protected<'r>(
    roles: &'r [FileRules],
    from: &CanonicalPath,
    to: &CanonicalPath,
    home: Option<&CanonicalPath>,
) -> Option<&'r str> {
    let mut denying = roles.iter().flat_map(FileRules::rules).filter(|rule| !rule.allow);
    let touched = |rule: &Rule| rule.reaches_below(from, home) || rule.reaches_below(to, home);
    denying.find(|rule| touched(rule) && !rule.covers_both(from, to, home)).map(|rule| rule.name.as_str())
}

/// What of everything below `from` could be open to more if it stood below `to`, if anything could: allowed somewhere
/// below `to`, and not certainly below the whole of `from`. (Rules that deny are [`moves_protected`]'s.)
pub fn gains_below(
    roles: &[FileRules],
    from: &CanonicalPath,
    to: &CanonicalPath,
    home: Option<&CanonicalPath>,
) -> Option<FileOp> {
    let every_layer = |role: &FileRules, op: FileOp, fits: &dyn Fn(&Rule) -> bool| {
        role.layers.iter().all(|layer| layer.iter().any(|rule| rule.allow && rule.says(op) && fits(rule)))
    };
    FileOp::ALL.into_iter().find(|op| {
        let open_there =
            roles.iter().any(|role| every_layer(role, *op, &|rule| rule.reaches_below(to, home)));
        let open_here = roles.iter().any(|role| every_layer(role, *op, &|rule| rule.covers(from, home)));
        open_there && !open_here
    })
}

/// Whether somebody may know what `path` is (its attributes, where it leads), which file programs ask all the time:
/// when something is allowed at `path`, somewhere below it, or in the folder it stands in; and no rule denies everything
/// at it.
pub fn may_look(roles: &[FileRules], path: &CanonicalPath, home: Option<&CanonicalPath>) -> bool {
    let near = |rule: &Rule| {
        rule.reaches_below(path, home) || path.parent().is_some_and(|above| rule.matches(&above, home))
    };
    let opened = roles
        .iter()
        .any(|role| role.layers.iter().all(|layer| layer.iter().any(|rule| rule.allow && near(rule))));
    let closed = |rule: &Rule| !rule.allow && rule.says_everything() && rule.matches(path, home);
    opened && !roles.iter().flat_map(FileRules::rules).any(closed)
}
