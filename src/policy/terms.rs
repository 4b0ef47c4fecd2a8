//! The limits an allowed act carries. They only narrow: permissions AND, obligations OR, times MIN, lists intersect.

use std::time::Duration;

/// Limits. `None` means "no limit from here", never zero.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Terms {
    /// Longest life of a user certificate.
    pub certificate_max: Option<Duration>,
    /// Longest life of a session.
    pub session_max: Option<Duration>,
    /// Longest silence.
    pub idle_max: Option<Duration>,
    /// What must be recorded at least. An obligation: the most that any of the terms asks for.
    pub recording: Recording,
    /// What becomes of sessions when there is no room to record them. The strictest of the terms.
    pub when_disk_full: WhenDiskFull,
}

/// What becomes of a session when the disk of the recordings is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum WhenDiskFull {
    /// It goes on, unrecorded from there, and an alarm is raised.
    #[default]
    Continue,
    /// It is closed.
    Close,
}

impl WhenDiskFull {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Continue, Self::Close];

    /// The word of the policy file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Continue => "continue",
            Self::Close => "close",
        }
    }
}

/// How much of a session is recorded; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Recording {
    /// Nothing but the session's row and its audit entries.
    #[default]
    Nothing,
    /// What the person saw.
    Output,
    /// What was typed as well.
    Input,
}

impl Recording {
    /// Every value, least first.
    pub const ALL: [Self; 3] = [Self::Nothing, Self::Output, Self::Input];

    /// The word of the policy file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "no",
            Self::Output => "yes",
            Self::Input => "input",
        }
    }
}

impl Terms {
    /// The terms that satisfy both.
    pub fn narrow(&self, other: &Self) -> Self {
        Self {
            certificate_max: min(self.certificate_max, other.certificate_max),
            session_max: min(self.session_max, other.session_max),
            idle_max: min(self.idle_max, other.idle_max),
            recording: self.recording.max(other.recording),
            when_disk_full: self.when_disk_full.max(other.when_disk_full),
        }
    }
}

fn min(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}
