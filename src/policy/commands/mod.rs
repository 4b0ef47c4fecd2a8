//! Command rules: which command lines a role lets through `exec`. A set of rules is read from one `[[commands]]`
//! table (`read`), judges a line that was read once (`judge`), and tells what is unwise in it (`lints`).
//!
//! What can be enforced is the *request*: which words reach the target. What a program then does is the target's.
//!
//! - Rules are over the words of a command, each word anchored: `*` is one word, a last `**` the rest, `a|b` either.
//!   Inside a word `*` is a run of characters without `/`; as a whole component of a path `**` is any depth. A path
//!   pattern never matches a word with `..`, `.` or `//` in it.
//! - `allow` is strict: a word that begins with a dash matches only what is written with a dash, in its place in
//!   `argv` or anywhere behind the program when `options` names it. The program is compared as written: `ls` does not
//!   allow `/bin/ls`.
//! - `deny` and `review` are generous, because missing something there means letting it pass: options that the rule
//!   does not name are passed over (and the word behind one may be its value), a program matches by its file name too,
//!   and a path with `..` in it may be any path.
//! - Every command of a line is judged, the strictest verdict wins. Within one command deny beats review beats allow;
//!   what nothing matches gets the default.
//! - A line that cannot be read word for word gets the set's `opaque`. Where there are deny or review rules, the
//!   commands that a parser finds in it, or behind `sudo`, `sh -c` and their like, are held against them too: such a
//!   verdict is *detected*. A line that would pass and is not understood is denied.
//! - Review also opens: where the default is deny, a command that a review rule matches strictly may be asked for.

mod judge;
mod lints;
mod pattern;
mod read;
mod rule;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use rule::Rule;

pub use lints::Lint;
pub(in crate::policy) use read::read;
pub use read::read_sets;

/// A set of command rules, checked: what a role's `commands` key names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandSet {
    /// As roles call it.
    pub name: String,
    /// What becomes of a command that no rule matches.
    pub default: DefaultRule,
    /// What becomes of a line that the strict grammar does not read.
    pub opaque: Verdict,
    /// Lines that are allowed byte for byte, whatever the rules say.
    pinned: BTreeSet<Pin>,
    allow: Vec<Rule>,
    review: Vec<Rule>,
    deny: Vec<Rule>,
}

/// What becomes of a command that no rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DefaultRule {
    /// It is refused: the set is a list of what is allowed.
    #[default]
    Deny,
    /// It passes: the set is a list of what is denied, which can be walked around.
    Allow,
}

/// What becomes of a command line, from the mildest to the strictest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It is sent.
    Allow,
    /// Somebody must approve it first.
    Review,
    /// It is refused.
    Deny,
}

/// How sure a verdict is. Computed, never written by an author.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Assurance {
    /// The words that were judged are the words that the target gets, or nothing is sent.
    Enforced,
    /// A reading of a line that a shell may read otherwise.
    Detected,
}

/// A verdict with its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Finding {
    /// What becomes of the line.
    pub verdict: Verdict,
    /// A rule or a pin matched, or what would pass could not be understood; `false` when only the set's `default` or
    /// `opaque` spoke. An allowed line is explicit when each of its commands is.
    pub explicit: bool,
    /// What spoke, for people and the audit: `web-deploy: restart web`, `web-deploy: default`.
    pub rule: String,
    /// What the author of the rule has to say to whom it stops.
    pub message: Option<String>,
    /// How sure it is.
    pub assurance: Assurance,
    /// Whether an allowed line is sent as it came (a pin, an opaque line) and not in our own quoting.
    pub verbatim: bool,
    /// Why, on one line, for people and the audit.
    pub why: String,
    /// Nothing was found out, because others are being judged: asked again, the answer may be another one.
    pub busy: bool,
}

/// A line that is allowed byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Pin {
    /// By its text.
    Text(String),
    /// By its SHA-256 in lower-case hex.
    Sha256(String),
}

impl CommandSet {
    /// A set that allows exactly these lines, byte for byte.
    pub fn of_lines(name: &str, lines: &BTreeSet<String>) -> Self {
        Self {
            name: name.to_owned(),
            default: DefaultRule::Deny,
            opaque: Verdict::Deny,
            pinned: lines.iter().cloned().map(Pin::Text).collect(),
            allow: Vec::new(),
            review: Vec::new(),
            deny: Vec::new(),
        }
    }
}

impl Verdict {
    /// As the policy file writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Review => "review",
            Self::Deny => "deny",
        }
    }
}

impl Assurance {
    /// As audit entries and explanations write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforced => "enforced",
            Self::Detected => "detected",
        }
    }
}
