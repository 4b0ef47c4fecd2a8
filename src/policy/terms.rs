//! The limits an allowed act carries. They only narrow: permissions AND, obligations OR, times MIN, lists intersect.

use std::time::Duration;

/// Limits. `None` means "no limit from here", never zero.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Terms {
    /// Longest life of a session.
    pub session_max: Option<Duration>,
    /// Longest silence in both directions.
    pub idle_max: Option<Duration>,
    /// Record what is typed. An obligation: it stands if any of the terms asks for it.
    pub record_input: bool,
}

impl Terms {
    /// The terms that satisfy both.
    pub fn narrow(&self, other: &Self) -> Self {
        Self {
            session_max: min(self.session_max, other.session_max),
            idle_max: min(self.idle_max, other.idle_max),
            record_input: self.record_input || other.record_input,
        }
    }
}

fn min(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}
