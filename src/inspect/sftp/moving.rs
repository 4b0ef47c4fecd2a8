//! Whether something may be given another name: asked of the rules for both names. What is there keeps what it is open
//! to: nothing leaves or enters what a rule denies, nothing becomes open to more, nothing that may neither be written
//! nor removed is replaced, and no link leads elsewhere from its new place.

use super::judge::{Case, Judged, Judgement, Seen};
use crate::policy::files::{CanonicalPath, FileOp, denied_by, gains_below, moves_protected};

/// What decides what a file is open to.
const CONTENT: [FileOp; 4] = [FileOp::Read, FileOp::Write, FileOp::SetAttr, FileOp::Remove];

impl Case<'_> {
    /// What must be looked at before a move can be judged: 0 is what moves, 1 what is at the new name.
    pub(super) fn looks_to_move(&self, from: &CanonicalPath, to: &CanonicalPath) -> Vec<usize> {
        let mut looks = Vec::new();
        if from.parent() != to.parent() || self.changes_below(from, to).is_some() {
            looks.push(0);
        }
        if self.kept(to).is_some() {
            looks.push(1);
        }
        looks
    }

    /// `rename` at both ends, and what stands above.
    pub(super) fn rename(&self, from: &CanonicalPath, to: &CanonicalPath) -> Judgement {
        let judged = |rule: &str| Judged {
            op: FileOp::Rename,
            path: from.to_string(),
            second: Some(to.to_string()),
            rule: rule.to_owned(),
        };
        let first = self.ask(FileOp::Rename, from);
        for verdict in [&first, &self.ask(FileOp::Rename, to)] {
            if !verdict.allowed {
                return Judgement::Refused(judged(&verdict.rule));
            }
        }
        let against = self.changed(from, to).or_else(|| self.moved_wrongly(from, to));
        match against {
            Some(rule) if self.restricted => Judgement::Refused(judged(&rule)),
            Some(_) | None => Judgement::Allowed(vec![judged(&first.rule)]),
        }
    }

    /// What would be open otherwise under the new name.
    fn changed(&self, from: &CanonicalPath, to: &CanonicalPath) -> Option<String> {
        for op in CONTENT {
            let [here, there] = [from, to].map(|path| denied_by(self.rules, op, path, self.home));
            if let (Some(rule), None) | (None, Some(rule)) = (here, there) {
                return Some(rule.to_owned());
            }
        }
        let gained = CONTENT.into_iter().find(|op| !self.ask(*op, from).allowed && self.ask(*op, to).allowed);
        gained.map(gains)
    }

    /// What speaks against the move by what is there.
    fn moved_wrongly(&self, from: &CanonicalPath, to: &CanonicalPath) -> Option<String> {
        let [old, new] = self.seen;
        let is_file = matches!(old, Seen::There(attrs) if attrs.is_surely_no_folder());
        let is_link = match old {
            Seen::There(attrs) => !attrs.is_surely_no_link(),
            Seen::Missing => false,
            Seen::Unknown => true,
        };
        if from.parent() != to.parent() && is_link {
            return Some("a link would lead elsewhere from there: make it anew".to_owned());
        }
        if let Some(rule) = self.changes_below(from, to)
            && !is_file
            && *old != Seen::Missing
        {
            return Some(rule);
        }
        self.kept(to).filter(|_| *new != Seen::Missing)
    }

    /// What would be open otherwise below a folder.
    fn changes_below(&self, from: &CanonicalPath, to: &CanonicalPath) -> Option<String> {
        let denied = moves_protected(self.rules, from, to, self.home).map(str::to_owned);
        denied.or_else(|| gains_below(self.rules, from, to, self.home).map(gains))
    }

    /// What keeps what is at `path` from being replaced.
    fn kept(&self, path: &CanonicalPath) -> Option<String> {
        let ops = [FileOp::Remove, FileOp::Write];
        let denied = ops.iter().find_map(|op| denied_by(self.rules, *op, path, self.home)).map(str::to_owned);
        let replaceable = || ops.iter().any(|op| self.ask(*op, path).allowed);
        denied.or_else(|| {
            (!replaceable()).then(|| "no rule allows write or remove where it would replace".to_owned())
        })
    }
}

fn gains(op: FileOp) -> String {
    format!("no rule allows {} under the old name, and one does under the new", op.as_str())
}
