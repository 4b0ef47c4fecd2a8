//! What signing in remembers between requests, in this process only: the providers' keys, who tried how often from
//! where, and who wants to hear of ended sign-ins. Losing it costs nothing but time; everything that must last is
//! in the store.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast;

use crate::identity::oidc::Oidc;
use crate::ids::SignInId;
use crate::time::Timestamp;

/// Addresses remembered at once in each bucket list.
const ADDRESSES_MAX: usize = 10_000;
/// Ended sign-ins that a slow listener may be behind before it must ask the store instead.
const ENDED_BACKLOG: usize = 256;

/// The desk. One for each process.
pub struct Desk {
    pub(super) oidc: Oidc,
    /// The bastion's own addresses, and when they were looked up.
    pub(super) own: tokio::sync::Mutex<Option<(Timestamp, Arc<[IpAddr]>)>>,
    ended: broadcast::Sender<SignInId>,
    begins: Mutex<Buckets>,
    guesses: Mutex<Buckets>,
    all_guesses: Mutex<Buckets>,
    refusals: Mutex<Buckets>,
}

impl Default for Desk {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self {
            oidc: Oidc::default(),
            own: tokio::sync::Mutex::default(),
            ended: broadcast::channel(ENDED_BACKLOG).0,
            begins: Mutex::new(Buckets::new(30, secs(5))),
            guesses: Mutex::new(Buckets::new(10, secs(30))),
            all_guesses: Mutex::new(Buckets::new(200, secs(1))),
            refusals: Mutex::new(Buckets::new(60, secs(1))),
        }
    }
}

impl Desk {
    /// Hears of every sign-in that this process ends before its time. Other processes end sign-ins too: whoever holds
    /// sessions also asks `Store::sign_ins_ended_since`, and does so at once when this channel says it lagged.
    pub fn ended(&self) -> broadcast::Receiver<SignInId> {
        self.ended.subscribe()
    }

    pub(super) fn tell_ended(&self, id: &SignInId) {
        // Nobody listening is no error: then there are no sessions to close.
        if self.ended.send(id.clone()).is_err() {
            tracing::trace!(sign_in = %id, "nobody listens for ended sign-ins");
        }
    }

    /// Whether one more sign-in may begin from there.
    pub(super) fn may_begin(&self, from: IpAddr, now: Timestamp) -> bool {
        take(&self.begins, Some(from), now)
    }

    /// Whether one more user code may be tried from there. A right code gives its try back by [`Desk::guessed`].
    pub(super) fn may_guess(&self, from: IpAddr, now: Timestamp) -> bool {
        take(&self.guesses, Some(from), now) && take(&self.all_guesses, None, now)
    }

    /// The code was right: that was no guess.
    pub(super) fn guessed(&self, from: IpAddr) {
        give_back(&self.guesses, Some(from));
        give_back(&self.all_guesses, None);
    }

    /// Whether one more refusal from there is written down, so that nobody can fill the audit log.
    pub(super) fn may_be_refused(&self, from: IpAddr, now: Timestamp) -> bool {
        take(&self.refusals, Some(from), now)
    }
}

fn lock(buckets: &Mutex<Buckets>) -> std::sync::MutexGuard<'_, Buckets> {
    buckets.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take(buckets: &Mutex<Buckets>, from: Option<IpAddr>, now: Timestamp) -> bool {
    lock(buckets).take(area(from), now)
}

fn give_back(buckets: &Mutex<Buckets>, from: Option<IpAddr>) {
    lock(buckets).give_back(area(from));
}

/// One customer has one IPv4 address, or one /64 of IPv6. `None` is everybody together.
fn area(from: Option<IpAddr>) -> IpAddr {
    match from.map(|ip| ip.to_canonical()) {
        None => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        Some(IpAddr::V4(ip)) => IpAddr::V4(ip),
        Some(IpAddr::V6(ip)) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
    }
}

/// Token buckets, one for each address: `burst` at once, then one each `refill`.
struct Buckets {
    burst: u32,
    refill: Duration,
    /// When the bucket of this address is full again.
    full_at: HashMap<IpAddr, Timestamp>,
}

impl Buckets {
    fn new(burst: u32, refill: Duration) -> Self {
        Self { burst, refill, full_at: HashMap::new() }
    }

    fn after_taking(&self, from: IpAddr, now: Timestamp) -> Option<Timestamp> {
        let full_at = self.full_at.get(&from).copied().unwrap_or(now).max(now).plus(self.refill);
        (full_at.since(now) <= self.refill * self.burst).then_some(full_at)
    }

    fn take(&mut self, from: IpAddr, now: Timestamp) -> bool {
        if self.full_at.len() >= ADDRESSES_MAX && !self.full_at.contains_key(&from) {
            self.full_at.retain(|_, full_at| *full_at > now);
            if self.full_at.len() >= ADDRESSES_MAX {
                return false;
            }
        }
        match self.after_taking(from, now) {
            Some(full_at) => {
                self.full_at.insert(from, full_at);
                true
            }
            None => false,
        }
    }

    fn give_back(&mut self, from: IpAddr) {
        let refill = self.refill;
        if let Some(full_at) = self.full_at.get_mut(&from) {
            *full_at = full_at.minus(refill);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_fills_again() {
        let mut buckets = Buckets::new(3, Duration::from_secs(10));
        let (a, b) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let at = |secs: u64| Timestamp::from_secs(1000 + secs);
        for _ in 0..3 {
            assert!(buckets.take(a, at(0)));
        }
        assert!(!buckets.take(a, at(0)) && !buckets.take(a, at(9)));
        assert!(buckets.take(b, at(0)), "another address has its own");
        assert!(buckets.take(a, at(10)) && !buckets.take(a, at(10)));
        buckets.give_back(a);
        assert!(buckets.take(a, at(10)));
    }

    #[test]
    fn the_list_of_addresses_has_an_end() {
        let mut buckets = Buckets::new(1, Duration::from_secs(10));
        let now = Timestamp::from_secs(1000);
        for n in 0..ADDRESSES_MAX {
            assert!(buckets.take(IpAddr::from(u32::try_from(n).unwrap().to_be_bytes()), now));
        }
        let one_more = IpAddr::from([250, 0, 0, 1]);
        assert!(!buckets.take(one_more, now));
        assert!(buckets.take(one_more, now.plus(Duration::from_secs(11))));
    }

    #[test]
    fn one_customer_is_one_area() {
        let ip = |text: &str| Some(text.parse().unwrap());
        assert_eq!(area(ip("2001:db8::1")), area(ip("2001:db8::ffff:1")));
        assert_ne!(area(ip("2001:db8::1")), area(ip("2001:db8:0:1::1")));
        assert_eq!(area(ip("::ffff:192.0.2.1")), area(ip("192.0.2.1")));
        assert_ne!(area(ip("192.0.2.1")), area(ip("192.0.2.2")));
    }
}
