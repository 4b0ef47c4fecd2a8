//! Places for connections that wait for access: so many of one identity, so many in all. How often connections of one
//! identity may ask anew, because each request tells its approvers. And which requests some of them wait for, so that the last one to leave takes back what a connection asked for.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::limits::{ASKED_OF_ONE_MAX, ASKED_WITHIN, HELD_MAX, HELD_OF_ONE_MAX};
use crate::identity::Identity;
use crate::ids::CaseId;

/// Issuer and subject.
type Who = (String, String);

/// The places.
#[derive(Default)]
pub(super) struct Hold(Mutex<Held>);

#[derive(Default)]
struct Held {
    all: usize,
    of: HashMap<Who, usize>,
    cases: HashMap<CaseId, Waiters>,
    /// When connections of somebody asked, of late.
    asked: HashMap<Who, VecDeque<Instant>>,
}

#[derive(Default)]
struct Waiters {
    count: usize,
    /// A connection here has asked for it; else the person did, and keeps it.
    ours: bool,
}

/// One place; free again when dropped.
pub(super) struct HoldPlace {
    hold: Arc<Hold>,
    who: Who,
    case: Option<CaseId>,
}

impl Hold {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more connection of `who`; none when there are too many.
    pub(super) fn take(self: &Arc<Self>, who: &Identity) -> Option<HoldPlace> {
        let who = (who.issuer.clone(), who.subject.clone());
        let mut held = self.held();
        if held.all >= HELD_MAX || held.of.get(&who).is_some_and(|count| *count >= HELD_OF_ONE_MAX) {
            return None;
        }
        held.all += 1;
        *held.of.entry(who.clone()).or_default() += 1;
        Some(HoldPlace { hold: Arc::clone(self), who, case: None })
    }
}

impl HoldPlace {
    /// Whether connections of this identity may ask for something new.
    pub(super) fn may_ask(&self, now: Instant) -> bool {
        let mut held = self.hold.held();
        held.asked.retain(|_, times| {
            times.retain(|at| now.saturating_duration_since(*at) < ASKED_WITHIN);
            !times.is_empty()
        });
        held.asked.get(&self.who).is_none_or(|times| times.len() < ASKED_OF_ONE_MAX)
    }

    /// This connection has asked for something new.
    pub(super) fn has_asked(&self, now: Instant) {
        self.hold.held().asked.entry(self.who.clone()).or_default().push_back(now);
    }

    /// This connection waits for `case`; `ours` when it has asked for it just now.
    pub(super) fn wait_for(&mut self, case: &CaseId, ours: bool) {
        self.leave();
        let mut held = self.hold.held();
        let waiters = held.cases.entry(case.clone()).or_default();
        waiters.count += 1;
        waiters.ours |= ours;
        self.case = Some(case.clone());
    }

    /// It waits no more: the case, if a connection had asked for it and nobody else waits for it.
    pub(super) fn leave(&mut self) -> Option<CaseId> {
        let case = self.case.take()?;
        let mut held = self.hold.held();
        let waiters = held.cases.get_mut(&case)?;
        waiters.count -= 1;
        let (left, ours) = (waiters.count, waiters.ours);
        if left > 0 {
            return None;
        }
        held.cases.remove(&case);
        ours.then_some(case)
    }
}

impl Drop for HoldPlace {
    fn drop(&mut self) {
        self.leave();
        let mut held = self.hold.held();
        held.all -= 1;
        if let Some(count) = held.of.get_mut(&self.who) {
            *count -= 1;
            if *count == 0 {
                held.of.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Kind;
    use crate::random::Random;

    fn somebody(subject: &str) -> Identity {
        Identity {
            kind: Kind::Person,
            provider: "corp".parse().unwrap(),
            issuer: "https://id.example".into(),
            subject: subject.into(),
            display: subject.into(),
            groups: std::collections::BTreeSet::new(),
            run: None,
        }
    }

    #[test]
    fn one_person_has_a_share_and_everybody_a_sum() {
        let hold = Arc::new(Hold::default());
        let mine: Vec<_> = (0..HELD_OF_ONE_MAX).map(|_| hold.take(&somebody("ann")).unwrap()).collect();
        assert!(hold.take(&somebody("ann")).is_none());
        let others: Vec<_> =
            (HELD_OF_ONE_MAX..HELD_MAX).map(|n| hold.take(&somebody(&format!("{n}"))).unwrap()).collect();
        assert!(hold.take(&somebody("bob")).is_none());
        drop((mine, others));
        assert!(hold.take(&somebody("ann")).is_some());
        let held = hold.held();
        assert!(held.all == 0 && held.of.is_empty() && held.cases.is_empty());
    }

    #[test]
    fn nobody_asks_without_end_by_connecting() {
        let hold = Arc::new(Hold::default());
        let (ann, bob) = (hold.take(&somebody("ann")).unwrap(), hold.take(&somebody("bob")).unwrap());
        let now = Instant::now();
        for _ in 0..ASKED_OF_ONE_MAX {
            assert!(ann.may_ask(now));
            ann.has_asked(now);
        }
        assert!(!ann.may_ask(now) && bob.may_ask(now));
        assert!(ann.may_ask(now + ASKED_WITHIN));
        assert!(hold.held().asked.is_empty());
    }

    #[test]
    fn the_last_to_leave_takes_back_what_a_connection_asked_for() {
        let hold = Arc::new(Hold::default());
        let (one, other) = (CaseId::random(&Random::System), CaseId::random(&Random::System));
        let mut places: Vec<_> = (0..4).map(|_| hold.take(&somebody("ann")).unwrap()).collect();
        places[0].wait_for(&one, true);
        places[1].wait_for(&one, false);
        places[2].wait_for(&other, false);
        assert_eq!(places[0].leave(), None, "another still waits");
        assert_eq!(places[1].leave(), Some(one.clone()));
        assert_eq!(places[1].leave(), None, "once");
        assert_eq!(places[2].leave(), None, "the person asked for it, not a connection");
        places[3].wait_for(&one, true);
        drop(places);
        assert!(hold.held().cases.is_empty());
    }
}
