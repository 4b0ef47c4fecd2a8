//! Places for clients that have not logged in yet: so many in all, and so many from one network. When all are taken, the
//! oldest of the network that has the most makes room, so that no few sources can close the door for everybody.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::limits::UNAUTHENTICATED_OF_ONE_MAX;
use crate::place::area as network;

/// The places.
pub(super) struct Places {
    all: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    next: u64,
    count: usize,
    /// Of each network: who has a place there, the oldest first, and what ends their connections.
    networks: HashMap<IpAddr, VecDeque<(u64, CancellationToken)>>,
}

/// One place; free again when dropped.
pub(super) struct Place {
    places: Arc<Places>,
    network: IpAddr,
    number: u64,
}

impl Places {
    pub(super) fn new(all: usize) -> Self {
        Self { all, taken: Mutex::default() }
    }

    /// A place for a client from there, unless its network has its share. `kill` ends its connection, should it have to
    /// make room.
    pub(super) fn take(self: &Arc<Self>, from: IpAddr, kill: &CancellationToken) -> Option<Place> {
        let network = network(from);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.networks.get(&network).map_or(0, VecDeque::len) >= UNAUTHENTICATED_OF_ONE_MAX {
            return None;
        }
        if taken.count >= self.all {
            taken.make_room();
        }
        if taken.count >= self.all {
            return None;
        }
        let number = taken.next;
        taken.next += 1;
        taken.count += 1;
        taken.networks.entry(network).or_default().push_back((number, kill.clone()));
        Some(Place { places: Arc::clone(self), network, number })
    }
}

impl Taken {
    /// Ends the oldest connection of the network that has the most; of several, the one that waits longest.
    fn make_room(&mut self) {
        let age = |waiting: &VecDeque<(u64, CancellationToken)>| {
            waiting.front().map_or(0, |(number, _)| u64::MAX - number)
        };
        let fullest = self.networks.iter().max_by_key(|(_, waiting)| (waiting.len(), age(waiting)));
        let oldest = fullest.and_then(|(network, waiting)| Some((*network, waiting.front()?.clone())));
        if let Some((network, (number, kill))) = oldest {
            kill.cancel();
            self.remove(network, number);
        }
    }

    /// Nothing, when it is gone already.
    fn remove(&mut self, network: IpAddr, number: u64) {
        let Some(waiting) = self.networks.get_mut(&network) else { return };
        let before = waiting.len();
        waiting.retain(|(other, _)| *other != number);
        self.count -= before - waiting.len();
        if waiting.is_empty() {
            self.networks.remove(&network);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.remove(self.network, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_network_takes_its_share_and_gives_it_back() {
        let places = Arc::new(Places::new(UNAUTHENTICATED_OF_ONE_MAX + 1));
        let kill = CancellationToken::new();
        let held: Vec<Place> = (0..UNAUTHENTICATED_OF_ONE_MAX)
            .map(|n| places.take(at(&format!("2001:db8::{n:x}")), &kill).unwrap())
            .collect();
        assert!(places.take(at("2001:db8::ffff:1"), &kill).is_none(), "the same /64");
        let other = places.take(at("2001:db8:0:1::1"), &kill);
        assert!(other.is_some() && !kill.is_cancelled());
        drop((held, other));
        assert!(places.take(at("2001:db8::1"), &kill).is_some());
        assert!(places.taken.lock().unwrap().networks.is_empty());
        assert_eq!(places.taken.lock().unwrap().count, 0);
    }

    #[test]
    fn few_networks_do_not_close_the_door() {
        let places = Arc::new(Places::new(64));
        let mut crowd = Vec::new();
        for n in 0..64 {
            let kill = CancellationToken::new();
            let place = places.take(at(&format!("192.0.2.{}", n % 3)), &kill).unwrap();
            crowd.push((kill, place));
        }
        let quiet = CancellationToken::new();
        let someone = places.take(at("198.51.100.1"), &quiet).unwrap();
        assert!(crowd[0].0.is_cancelled(), "the fullest network's oldest makes room");
        assert_eq!(crowd.iter().filter(|(kill, _)| kill.is_cancelled()).count(), 1);
        for n in 2..32 {
            assert!(places.take(at(&format!("198.51.100.{n}")), &CancellationToken::new()).is_some());
        }
        assert!(!quiet.is_cancelled(), "who is alone in a network is not the one");
        drop((crowd, someone));
        assert_eq!(places.taken.lock().unwrap().count, 0);
    }
}
