//! What a rule wants of one claim: a value, byte for byte, or a pattern.

use std::fmt;

use crate::policy::matches;

/// One value that a rule takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Exactly this.
    Exactly(String),
    /// `*` is any run of characters without a slash. Anchored.
    Glob(String),
    /// One of the words of a claim that is a list.
    Among(String),
}

impl Pattern {
    /// Whether the claim's value is what the rule takes.
    pub fn fits(&self, found: &str) -> bool {
        match self {
            Self::Exactly(text) => text == found,
            Self::Glob(pattern) => matches(pattern, found, '/'),
            Self::Among(text) => found.split(' ').any(|word| word == text),
        }
    }

    /// A value that fits, for hints: nobody is known by it.
    pub(in crate::policy) fn example(&self) -> String {
        match self {
            Self::Exactly(text) | Self::Among(text) => text.clone(),
            Self::Glob(pattern) => pattern.replace('*', "x"),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(text) | Self::Glob(text) | Self::Among(text) => f.write_str(text),
        }
    }
}
