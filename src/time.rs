//! Time as the rest of the crate sees it: wall-clock instants in whole milliseconds, and the one place
//! that reads the system clock. Below the flows time is an argument (`now: Timestamp`).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A wall-clock instant: milliseconds since the Unix epoch, never before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// From seconds since the Unix epoch (the unit of OpenSSH certificates).
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// This instant plus `by`; saturates.
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }

    /// This instant minus `by`; stops at the epoch.
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with whole seconds, e.g. `2026-11-21T06:00:00Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = i64::try_from(self.as_secs()).unwrap_or(i64::MAX);
        match jiff::Timestamp::from_second(secs) {
            Ok(at) => write!(f, "{at}"),
            Err(_) => write!(f, "@{secs}"),
        }
    }
}

/// A text that is no moment after 1970.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time: write it as in RFC 3339, such as \"2026-11-20T12:00:00+01:00\"")]
pub struct BadTime(String);

impl FromStr for Timestamp {
    type Err = BadTime;

    /// RFC 3339, with an offset.
    fn from_str(text: &str) -> Result<Self, BadTime> {
        let wrong = || BadTime(text.chars().take(64).collect());
        let at: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
        Ok(Self(u64::try_from(at.as_millisecond()).map_err(|_| wrong())?))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where "now" comes from.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The system's wall clock.
    System,
    /// A clock that tests set by hand; clones share the same hand.
    Fixed(Arc<AtomicU64>),
}

impl Clock {
    /// A fixed clock that stands at `at` until it is moved.
    pub fn fixed(at: Timestamp) -> Self {
        Self::Fixed(Arc::new(AtomicU64::new(at.as_millis())))
    }

    /// The current instant.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => {
                #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
                let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
            }
            Self::Fixed(hand) => Timestamp(hand.load(Ordering::SeqCst)),
        }
    }

    /// Moves a fixed clock forward; the system clock does not obey.
    pub fn advance(&self, by: Duration) {
        if let Self::Fixed(hand) = self {
            hand.fetch_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
        }
    }
}
