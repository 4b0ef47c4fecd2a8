//! One rule: some operations on some paths, allowed or denied.

use super::FileOp;
use super::path::CanonicalPath;
use super::pattern::Pattern;

/// One entry of a role's `files`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// `allow` or `deny`.
    pub(super) allow: bool,
    pub(super) ops: Vec<FileOp>,
    pub(super) paths: Vec<Pattern>,
    /// The author's name for it, or its number.
    pub(super) name: String,
}

impl Rule {
    pub(super) fn says(&self, op: FileOp) -> bool {
        self.ops.contains(&op)
    }

    pub(super) fn says_everything(&self) -> bool {
        FileOp::ALL.iter().all(|op| self.says(*op))
    }

    pub(super) fn matches(&self, path: &CanonicalPath, home: Option<&CanonicalPath>) -> bool {
        self.paths.iter().any(|pattern| pattern.matches(path, home))
    }

    /// Whether it speaks of `path` or of something that could stand below it.
    pub(super) fn reaches_below(&self, path: &CanonicalPath, home: Option<&CanonicalPath>) -> bool {
        self.paths.iter().any(|pattern| pattern.reaches_below(path, home))
    }

    /// Whether one pattern has the folder with everything below it.
    pub(super) fn covers(&self, path: &CanonicalPath, home: Option<&CanonicalPath>) -> bool {
        self.paths.iter().any(|pattern| pattern.covers(path, home))
    }

    /// Whether one pattern has both folders with everything below them.
    pub(super) fn covers_both(
        &self,
        one: &CanonicalPath,
        other: &CanonicalPath,
        home: Option<&CanonicalPath>,
    ) -> bool {
        self.paths.iter().any(|pattern| pattern.covers(one, home) && pattern.covers(other, home))
    }

    pub(super) fn needs_home(&self) -> bool {
        self.paths.iter().any(Pattern::is_home)
    }

    pub(super) fn lint(&self) -> Option<String> {
        let everything =
            self.allow && self.says_everything() && self.paths.iter().any(Pattern::is_everything);
        everything.then(|| {
            format!("{}: allows everything everywhere; leave out \"files\" if that is meant", self.name)
        })
    }
}
