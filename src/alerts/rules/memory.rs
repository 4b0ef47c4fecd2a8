//! What the rules remember: who did what lately (windows), and what has been met before (seen). Pure. Windows are made
//! again from the log after a restart; what was seen is kept by the store, and only borrowed here.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use crate::config::AlertRule;
use crate::time::Timestamp;

/// Windows that are kept at once; then the one that was quiet for longest goes.
const WINDOWS_MAX: usize = 10_000;
/// Seen things that are kept in memory; then all go, and the store is asked again.
const SEEN_MAX: usize = 50_000;

/// Something met: `subject` had to do with `what`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seen {
    /// Which rule remembers it.
    pub rule: AlertRule,
    /// Who.
    pub subject: String,
    /// With what; empty for anything at all.
    pub what: String,
}

/// Events of one rule and subject within a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) events: u64,
    pub(super) first_seq: u64,
}

/// Events within a window, oldest first: number, time, weight.
type Window = VecDeque<(u64, Timestamp, u64)>;

/// See above.
#[derive(Debug, Default)]
pub struct Memory {
    windows: HashMap<(AlertRule, String), Window>,
    seen: BTreeSet<Seen>,
    learned: Vec<(Seen, u64)>,
}

impl Memory {
    /// Tells it of something that the store knows.
    pub fn recall(&mut self, seen: Seen) {
        if self.seen.len() >= SEEN_MAX {
            // What was learned and not written down yet must stay.
            self.seen = self.learned.iter().map(|(seen, _)| seen.clone()).collect();
        }
        self.seen.insert(seen);
    }

    /// Whether it knows this; if not, the store may.
    pub fn knows(&self, seen: &Seen) -> bool {
        self.seen.contains(seen)
    }

    /// What it has learned since the last time it was asked, each with the number of the entry.
    pub fn take_learned(&mut self) -> Vec<(Seen, u64)> {
        std::mem::take(&mut self.learned)
    }

    /// Whether this is new; from now on it is not.
    pub(super) fn learn(&mut self, seen: Seen, seq: u64) -> bool {
        if self.seen.contains(&seen) {
            return false;
        }
        self.recall(seen.clone());
        self.learned.push((seen, seq));
        true
    }

    /// Adds `weight` events and says how many there were within `window`; at most about `enough` are remembered one by
    /// one.
    pub(super) fn count(
        &mut self,
        key: (AlertRule, String),
        (seq, at): (u64, Timestamp),
        weight: u64,
        (enough, window): (u64, Duration),
    ) -> Count {
        if self.windows.len() >= WINDOWS_MAX && !self.windows.contains_key(&key) {
            let last = |queue: &Window| queue.back().map(|(seq, ..)| *seq);
            let quietest =
                self.windows.iter().min_by_key(|(_, queue)| last(queue)).map(|(key, _)| key.clone());
            quietest.map(|key| self.windows.remove(&key));
        }
        let queue = self.windows.entry(key).or_default();
        queue.push_back((seq, at, weight));
        queue.retain(|(_, then, _)| at.since(*then) < window);
        while queue.len() > usize::try_from(enough).unwrap_or(usize::MAX).max(1) {
            queue.pop_front();
        }
        Count {
            events: queue.iter().map(|(_, _, weight)| *weight).fold(0, u64::saturating_add),
            first_seq: queue.front().map_or(seq, |(first, ..)| *first),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(n: usize) -> Seen {
        Seen { rule: AlertRule::NewNetwork, subject: n.to_string(), what: String::new() }
    }

    #[test]
    fn memory_is_bounded_and_forgets_nothing_it_owes() {
        let mut memory = Memory::default();
        let now = Timestamp::from_secs(1000);
        for n in 0..30_000 {
            let key = (AlertRule::FailedSignIns, n.to_string());
            memory.count(key, (n, now), 1, (5, Duration::from_secs(60)));
        }
        assert_eq!(memory.windows.len(), WINDOWS_MAX);
        assert!(memory.windows.contains_key(&(AlertRule::FailedSignIns, "29999".into())));
        assert!(memory.learn(seen(0), 1) && !memory.learn(seen(0), 2));
        for n in 1..SEEN_MAX + 10 {
            memory.recall(seen(n));
        }
        assert!(memory.seen.len() <= SEEN_MAX);
        assert!(!memory.learn(seen(0), 3), "it was learned and is not written down yet");
        assert_eq!(memory.take_learned(), [(seen(0), 1)]);
        assert!(memory.take_learned().is_empty());
    }

    #[test]
    fn a_window_slides() {
        let mut memory = Memory::default();
        let key = || (AlertRule::FailedSignIns, "x".to_owned());
        let limits = (3, Duration::from_secs(60));
        let at = Timestamp::from_secs;
        let mut count = |seq, secs, weight| memory.count(key(), (seq, at(secs)), weight, limits);
        assert_eq!(count(1, 0, 1), Count { events: 1, first_seq: 1 });
        assert_eq!(count(2, 59, 1), Count { events: 2, first_seq: 1 });
        assert_eq!(count(3, 60, 1), Count { events: 2, first_seq: 2 });
        assert_eq!(count(4, 61, 1), Count { events: 3, first_seq: 2 });
        assert_eq!(count(5, 62, 1), Count { events: 3, first_seq: 3 }, "enough is enough");
        assert_eq!(count(6, 500, 40), Count { events: 40, first_seq: 6 });
    }
}
