//! What signing in remembers between requests, in this process only: the providers' keys, who tried how often from
//! where, and who wants to hear of ended sign-ins. Losing it costs nothing but time; everything that must last is
//! in the store.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::time::Instant;

use super::change::{self, Change};
use super::denials::Denials;
use super::kill::Kills;
use super::refusals::Refusals;
use super::revoke::Known;
use super::watch::Watches;
use crate::identity::oidc::{Issuers, Oidc};
use crate::ids::{CaseId, SignInId};
use crate::names::ProviderName;
use crate::place::{area, wide_area};
use crate::secret::Keyring;
use crate::time::Timestamp;

/// Addresses remembered at once in each bucket list.
const ADDRESSES_MAX: usize = 10_000;
/// Ended sign-ins that a slow listener may be behind before it must ask the store instead.
const ENDED_BACKLOG: usize = 256;

/// The desk. One for each process.
pub struct Desk {
    pub(super) oidc: Oidc,
    pub(super) issuers: Issuers,
    /// Providers that did not answer when they were last asked about somebody.
    pub(super) silent: Mutex<BTreeSet<ProviderName>>,
    /// What refresh tokens are sealed under, once it was wanted.
    pub(super) keyring: OnceLock<Keyring>,
    /// The bastion's own addresses, and when they were looked up.
    pub(super) own: tokio::sync::Mutex<Option<(Timestamp, Arc<[IpAddr]>)>>,
    ended: broadcast::Sender<SignInId>,
    changes: broadcast::Sender<Change>,
    cases: broadcast::Sender<CaseId>,
    /// Held while a connection asks for access, so that two of one person do not ask twice.
    pub(super) asking: tokio::sync::Mutex<()>,
    /// Held while a report on everybody is made.
    pub(super) reports: tokio::sync::Mutex<()>,
    begins: Mutex<Buckets>,
    guesses: Mutex<Guesses>,
    pub(super) refusals: Mutex<Refusals>,
    pub(super) denials: Mutex<Denials>,
    /// Counted by themselves, so that refused files hide no other refusal.
    pub(super) file_denials: Mutex<Denials>,
    /// What is revoked, as far as this process knows; `revoke::refresh` asks the store.
    pub(super) revoked: Mutex<Arc<Known>>,
    /// Who watches which live session.
    pub(super) watches: Mutex<Watches>,
    /// The sessions that were ended by order.
    pub(super) kills: Mutex<Kills>,
    /// When the list for targets was last compared with the store.
    pub(super) list_asked: Mutex<Option<Instant>>,
}

impl Default for Desk {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self {
            oidc: Oidc::default(),
            issuers: Issuers::default(),
            silent: Mutex::default(),
            keyring: OnceLock::new(),
            own: tokio::sync::Mutex::default(),
            ended: broadcast::channel(ENDED_BACKLOG).0,
            changes: broadcast::channel(change::BACKLOG).0,
            cases: broadcast::channel(ENDED_BACKLOG).0,
            asking: tokio::sync::Mutex::default(),
            reports: tokio::sync::Mutex::default(),
            begins: Mutex::new(Buckets::new(30, secs(5))),
            guesses: Mutex::default(),
            refusals: Mutex::default(),
            denials: Mutex::default(),
            file_denials: Mutex::default(),
            revoked: Mutex::default(),
            watches: Mutex::default(),
            kills: Mutex::default(),
            list_asked: Mutex::default(),
        }
    }
}

impl Desk {
    /// Hears of every sign-in that this process ends before its time. Other processes end sign-ins too: whoever holds
    /// sessions also asks `Store::sign_ins_not_ended`, and does so at once when this channel says it lagged.
    pub fn ended(&self) -> broadcast::Receiver<SignInId> {
        self.ended.subscribe()
    }

    pub(super) fn tell_ended(&self, id: &SignInId) {
        // Nobody listening is no error: then there are no sessions to close.
        if self.ended.send(id.clone()).is_err() {
            tracing::trace!(sign_in = %id, "nobody listens for ended sign-ins");
        }
    }

    /// Hears of everything that may take open access away.
    pub(super) fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Tells whoever holds access that some may be gone. To be called after the commit.
    pub(super) fn tell(&self, change: Change) {
        // Before it is told: whoever hears of it looks here.
        if let Change::Session(kill) = &change {
            lock(&self.kills).add(kill.clone());
        }
        if self.changes.send(change).is_err() {
            tracing::trace!("nobody holds access");
        }
    }

    /// Hears of every request that this process changes. Other processes change some too: whoever waits also asks the store.
    pub fn cases(&self) -> broadcast::Receiver<CaseId> {
        self.cases.subscribe()
    }

    pub(super) fn tell_case(&self, id: &CaseId) {
        if self.cases.send(id.clone()).is_err() {
            tracing::trace!(case = %id, "nobody waits");
        }
    }

    /// Whether one more sign-in may begin from there.
    pub(super) fn may_begin(&self, from: IpAddr, now: Timestamp) -> bool {
        lock(&self.begins).take(area(from), now)
    }

    /// Whether one more user code may be tried from there. A right code gives its try back by [`Desk::guessed`].
    pub(super) fn may_guess(&self, from: IpAddr, now: Timestamp) -> bool {
        lock(&self.guesses).take(from, now)
    }

    /// The code was right: that was no guess.
    pub(super) fn guessed(&self, from: IpAddr) {
        lock(&self.guesses).give_back(from);
    }
}

pub(super) fn lock<T>(buckets: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    buckets.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What stands for everybody together where an address is wanted.
const EVERYBODY: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// Guesses at user codes: by one customer, by one wider network, and by everybody. The last is a backstop far above what
/// people do, so that a single network cannot use it up and so lock everybody out: 50 guesses a second against 20^8 codes.
struct Guesses {
    wide: Buckets,
    one: Buckets,
    all: Buckets,
}

impl Default for Guesses {
    fn default() -> Self {
        Self {
            wide: Buckets::new(60, Duration::from_secs(10)),
            one: Buckets::new(10, Duration::from_secs(30)),
            all: Buckets::new(5000, Duration::from_millis(20)),
        }
    }
}

impl Guesses {
    /// One from each or none from any. The wide one is asked first: a network without any left adds no more areas to the
    /// list of those.
    fn take(&mut self, from: IpAddr, now: Timestamp) -> bool {
        if !self.wide.take(wide_area(from), now) {
            return false;
        }
        if !self.one.take(area(from), now) {
            self.wide.give_back(wide_area(from));
            return false;
        }
        if !self.all.take(EVERYBODY, now) {
            self.one.give_back(area(from));
            self.wide.give_back(wide_area(from));
            return false;
        }
        true
    }

    fn give_back(&mut self, from: IpAddr) {
        self.wide.give_back(wide_area(from));
        self.one.give_back(area(from));
        self.all.give_back(EVERYBODY);
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
    fn one_network_guesses_so_often_and_locks_nobody_else_out() {
        let mut guesses = Guesses::default();
        let now = Timestamp::from_secs(1000);
        let six = |site: u16, net: u16| IpAddr::from([0x2001, 0xdb8, site, net, 0, 0, 0, 1]);
        let tries = |guesses: &mut Guesses, site: u16| {
            (0..1000).map(|n| six(site, n)).filter(|from| guesses.take(*from, now)).count()
        };
        assert_eq!((0..20).filter(|_| guesses.take(six(1, 1), now)).count(), 10, "one customer");
        assert_eq!(tries(&mut guesses, 1), 50, "one /48, with the ten before");
        assert_eq!(guesses.one.full_at.len(), 51, "those refused for their network are not listed");
        assert!(guesses.take(six(2, 1), now), "nobody else is locked out");
        guesses.give_back(six(1, 1));
        assert!(guesses.take(six(1, 1), now));
        let many = (3..200).map(|site| tries(&mut guesses, site)).sum::<usize>();
        assert_eq!(many, 5000 - 61, "there is an end to what all together may try");
        assert!(guesses.take(six(201, 1), now.plus(Duration::from_millis(20))));
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
}
