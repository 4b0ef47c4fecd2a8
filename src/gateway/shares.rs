//! Connections of one identity at once, whichever of its sign-ins they came with: nobody takes all that there are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::limits::CONNECTIONS_OF_ONE_MAX;
use crate::identity::Identity;

/// Issuer and subject.
type Who = (String, String);

/// What each identity has of the connections.
pub(super) struct Shares {
    most: usize,
    open: Mutex<HashMap<Who, usize>>,
}

/// One connection of somebody; free again when dropped.
pub(super) struct Share {
    shares: Arc<Shares>,
    who: Who,
}

impl Shares {
    /// Of `all` connections nobody gets more than half, nor more than `CONNECTIONS_OF_ONE_MAX`; and everybody one.
    pub(super) fn of(all: usize) -> Self {
        Self { most: CONNECTIONS_OF_ONE_MAX.min(all / 2).max(1), open: Mutex::default() }
    }

    /// One more for this identity; none when it has its share.
    pub(super) fn take(self: &Arc<Self>, who: &Identity) -> Option<Share> {
        let who = (who.issuer.clone(), who.subject.clone());
        let mut all = self.open();
        let open = all.entry(who.clone()).or_insert(0);
        if *open >= self.most {
            return None;
        }
        *open += 1;
        Some(Share { shares: Arc::clone(self), who })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Who, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut all = self.shares.open();
        if let Some(open) = all.get_mut(&self.who) {
            *open -= 1;
            if *open == 0 {
                all.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::identity::Kind;

    fn who(issuer: &str, subject: &str) -> Identity {
        Identity {
            kind: Kind::Person,
            provider: "corp".parse().unwrap(),
            issuer: issuer.into(),
            subject: subject.into(),
            display: subject.into(),
            groups: BTreeSet::new(),
            run: None,
        }
    }

    #[test]
    fn nobody_takes_all() {
        for (all, most) in [(1, 1), (2, 1), (10, 5), (256, 128), (1024, 128)] {
            let shares = Arc::new(Shares::of(all));
            let ann = who("https://a", "ann");
            let mut held: Vec<Share> = (0..most).map(|_| shares.take(&ann).unwrap()).collect();
            // The same person, known by another name.
            let again = Identity { display: "Ann".into(), ..who("https://a", "ann") };
            assert!(shares.take(&again).is_none(), "{all}");
            assert!(shares.take(&who("https://a", "bob")).is_some());
            assert!(shares.take(&who("https://b", "ann")).is_some(), "somebody else of that name");
            held.pop();
            held.push(shares.take(&again).unwrap());
            drop(held);
            assert!(shares.open().is_empty());
        }
    }
}
