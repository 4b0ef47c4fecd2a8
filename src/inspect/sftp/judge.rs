//! What a path operation needs, asked of the rules. Everything about the target is known here: where the paths lead,
//! and what was seen there where that matters.

use super::request::{Look, PathWish};
use super::wire::{Attrs, open};
use crate::policy::files::{CanonicalPath, FileOp, FileRules, FileVerdict, judge_all, may_look};

/// What LSTAT said of a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Seen {
    /// It was not asked, or answered with an error.
    #[default]
    Unknown,
    /// Nothing is there.
    Missing,
    There(Attrs),
}

/// One operation that was judged, for the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) op: FileOp,
    pub(super) path: String,
    pub(super) second: Option<String>,
    pub(super) rule: String,
}

/// What becomes of a path operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    Allowed(Vec<Judged>),
    Refused(Judged),
    /// A look that is refused: nothing for the audit.
    Hidden,
}

/// All that a judgement depends on.
pub(super) struct Case<'c> {
    pub(super) wish: &'c PathWish,
    /// Where the paths of the wish lead, in its order.
    pub(super) found: &'c [CanonicalPath],
    /// What was seen there.
    pub(super) seen: &'c [Seen; 2],
    pub(super) rules: &'c [FileRules],
    pub(super) restricted: bool,
    pub(super) home: Option<&'c CanonicalPath>,
}

/// What an OPEN does, by its flags and what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opening {
    /// The file is made by it.
    pub(super) creates: bool,
    pub(super) reads: bool,
    /// Its content may change.
    pub(super) writes: bool,
}

/// Without READ and WRITE OpenSSH opens for reading.
pub(super) fn opening(flags: u32, seen: &Seen) -> Opening {
    let has = |bits: u32| flags & bits != 0;
    Opening {
        creates: has(open::CREAT) && (has(open::EXCL) || *seen == Seen::Missing),
        reads: has(open::READ) || !has(open::WRITE),
        writes: has(open::WRITE | open::APPEND | open::CREAT | open::TRUNC),
    }
}

impl Opening {
    pub(super) fn ops(self) -> Vec<FileOp> {
        let content = match (self.creates, self.writes) {
            (true, _) => Some(FileOp::Create),
            (false, true) => Some(FileOp::Write),
            (false, false) => None,
        };
        content.into_iter().chain(self.reads.then_some(FileOp::Read)).collect()
    }
}

impl Case<'_> {
    /// Which of the found paths must be looked at before judging.
    pub(super) fn looks(&self) -> Vec<usize> {
        let [from, to] = [self.found.first(), self.found.get(1)];
        match (self.wish, from, to) {
            (PathWish::Open { flags, .. }, ..) if flags & open::CREAT != 0 && flags & open::EXCL == 0 => {
                vec![0]
            }
            (PathWish::Hardlink { .. }, ..) if self.restricted => vec![0],
            (PathWish::Rename { .. }, Some(from), Some(to)) if self.restricted => {
                self.looks_to_move(from, to)
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn judge(&self) -> Judgement {
        let Some(path) = self.found.first() else { return Judgement::Hidden };
        match self.wish {
            PathWish::Open { flags, .. } => self.open(path, *flags),
            PathWish::OpenDir { .. } => self.each(&[FileOp::List], path),
            PathWish::SetStat { attrs, .. } => {
                let others = Attrs { size: None, ..attrs.clone() } != Attrs::default();
                match (attrs.size.is_some(), others) {
                    (true, true) => self.each(&[FileOp::Write, FileOp::SetAttr], path),
                    (true, false) => self.each(&[FileOp::Write], path),
                    (false, _) => self.each(&[FileOp::SetAttr], path),
                }
            }
            PathWish::Remove { .. } | PathWish::Rmdir { .. } => self.each(&[FileOp::Remove], path),
            PathWish::Mkdir { .. } => self.each(&[FileOp::Mkdir], path),
            PathWish::Look { how: Look::Stat | Look::Lstat | Look::Readlink | Look::Statvfs, .. }
            | PathWish::Where { .. } => {
                if self.may_look(path) {
                    Judgement::Allowed(Vec::new())
                } else {
                    Judgement::Hidden
                }
            }
            PathWish::Rename { .. } => self.with_second(|to| self.rename(path, to)),
            PathWish::Hardlink { .. } => self.with_second(|to| self.hardlink(path, to)),
            PathWish::Symlink { .. } => self.with_second(|leads_to| self.symlink(path, leads_to)),
        }
    }

    pub(super) fn may_look(&self, path: &CanonicalPath) -> bool {
        may_look(self.rules, path, self.home)
    }

    /// Whether bits such as set-user-id may be given to something new.
    pub(super) fn may_set_bits(&self, path: &CanonicalPath) -> bool {
        self.ask(FileOp::SetAttr, path).allowed
    }

    pub(super) fn ask(&self, op: FileOp, path: &CanonicalPath) -> FileVerdict {
        judge_all(self.rules, op, path, self.home)
    }

    fn with_second(&self, judge: impl FnOnce(&CanonicalPath) -> Judgement) -> Judgement {
        self.found.get(1).map_or(Judgement::Hidden, judge)
    }

    fn each(&self, ops: &[FileOp], path: &CanonicalPath) -> Judgement {
        let mut allowed = Vec::new();
        for op in ops {
            let verdict = self.ask(*op, path);
            let judged = Judged { op: *op, path: path.to_string(), second: None, rule: verdict.rule };
            if !verdict.allowed {
                return Judgement::Refused(judged);
            }
            allowed.push(judged);
        }
        Judgement::Allowed(allowed)
    }

    fn open(&self, path: &CanonicalPath, flags: u32) -> Judgement {
        let seen = self.seen.first().unwrap_or(&Seen::Unknown);
        let ops = opening(flags, seen).ops();
        if let (Seen::There(attrs), Some(op)) = (seen, ops.first())
            && self.restricted
            && attrs.is_link()
        {
            let rule = "the target did not say where this link leads".to_owned();
            return Judgement::Refused(Judged { op: *op, path: path.to_string(), second: None, rule });
        }
        self.each(&ops, path)
    }

    /// Under its new name the same file must not be open to more than under the old one.
    fn hardlink(&self, from: &CanonicalPath, to: &CanonicalPath) -> Judgement {
        let judged = |rule: &str| Judged {
            op: FileOp::Create,
            path: to.to_string(),
            second: Some(from.to_string()),
            rule: rule.to_owned(),
        };
        let (create, read) = (self.ask(FileOp::Create, to), self.ask(FileOp::Read, from));
        for verdict in [&create, &read] {
            if !verdict.allowed {
                return Judgement::Refused(judged(&verdict.rule));
            }
        }
        for op in [FileOp::Write, FileOp::SetAttr] {
            let old = self.ask(op, from);
            if !old.allowed && self.ask(op, to).allowed {
                return Judgement::Refused(judged(&old.rule));
            }
        }
        let link = matches!(self.seen.first(), Some(Seen::There(attrs)) if attrs.is_link());
        if self.restricted && link {
            return Judgement::Refused(judged("a hard link to a symbolic link"));
        }
        Judgement::Allowed(vec![judged(&create.rule)])
    }

    /// A link may only lead where its maker may go, and not elsewhere once it stands elsewhere, or once a folder in its
    /// text is another one: so without `..`.
    fn symlink(&self, link: &CanonicalPath, leads_to: &CanonicalPath) -> Judgement {
        let judged = |rule: &str| Judged {
            op: FileOp::Symlink,
            path: link.to_string(),
            second: Some(leads_to.to_string()),
            rule: rule.to_owned(),
        };
        let make = self.ask(FileOp::Symlink, link);
        if !make.allowed {
            return Judgement::Refused(judged(&make.rule));
        }
        let climbs = |target: &[u8]| target.split(|b| *b == b'/').any(|name| name == b"..");
        if let PathWish::Symlink { target, .. } = self.wish
            && self.restricted
            && climbs(target)
        {
            return Judgement::Refused(judged(
                "a link with .. would lead elsewhere once it is moved: write the whole path",
            ));
        }
        let goes = [FileOp::Read, FileOp::Write, FileOp::List].map(|op| self.ask(op, leads_to));
        match goes.iter().find(|verdict| !verdict.allowed) {
            Some(verdict) if goes.iter().all(|verdict| !verdict.allowed) => {
                Judgement::Refused(judged(&format!("where it leads: {}", verdict.rule)))
            }
            Some(_) | None => Judgement::Allowed(vec![judged(&make.rule)]),
        }
    }
}
