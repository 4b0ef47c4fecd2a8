//! Places for clients that have not logged in yet: so many in all, and so many from one network, so that no single
//! source can close the door for everybody.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limits::UNAUTHENTICATED_OF_ONE_MAX;
use crate::place::area as network;

/// The places.
pub(super) struct Places {
    all: Arc<Semaphore>,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// One place; free again when dropped.
pub(super) struct Place {
    places: Arc<Places>,
    network: IpAddr,
    _one: OwnedSemaphorePermit,
}

impl Places {
    pub(super) fn new(all: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), taken: Mutex::default() }
    }

    /// A place for a client from there, if there is one.
    pub(super) fn take(self: &Arc<Self>, from: IpAddr) -> Option<Place> {
        let network = network(from);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = taken.get(&network).copied().unwrap_or(0);
        if mine >= UNAUTHENTICATED_OF_ONE_MAX {
            return None;
        }
        let one = Arc::clone(&self.all).try_acquire_owned().ok()?;
        taken.insert(network, mine + 1);
        Some(Place { places: Arc::clone(self), network, _one: one })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mine) = taken.get_mut(&self.network) {
            *mine -= 1;
            if *mine == 0 {
                taken.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_takes_its_share_and_gives_it_back() {
        let places = Arc::new(Places::new(UNAUTHENTICATED_OF_ONE_MAX + 1));
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        let held: Vec<Place> = (0..UNAUTHENTICATED_OF_ONE_MAX)
            .map(|n| places.take(at(&format!("2001:db8::{n:x}"))).unwrap())
            .collect();
        assert!(places.take(at("2001:db8::ffff:1")).is_none(), "the same /64");
        let other = places.take(at("2001:db8:0:1::1"));
        assert!(other.is_some());
        assert!(places.take(at("192.0.2.1")).is_none(), "no place at all is left");
        drop((held, other));
        assert!(places.take(at("2001:db8::1")).is_some());
        assert!(places.taken.lock().unwrap().is_empty());
    }
}
