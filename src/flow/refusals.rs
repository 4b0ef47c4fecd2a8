//! Refusals of strangers go into the audit log, up to so many for each network and minute; how many more there were is
//! one entry afterwards. So nobody can fill the log, and no flood is without a trace. Refusals of people whom we know
//! are not counted here, whoever shares their network (`denials` does that, by sign-in).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::desk::lock;
use crate::app::App;
use crate::audit::AuditEvent;
use crate::place::area;
use crate::store::StoreError;
use crate::time::Timestamp;

/// Entries for one network in one minute.
const WRITTEN_MAX: u32 = 60;
/// A network's count begins anew after this.
pub(super) const MINUTE: Duration = Duration::from_secs(60);
/// Networks that are told apart at once; what comes from further ones is counted together.
const AREAS_MAX: usize = 10_000;
/// The network of those further ones.
const ELSEWHERE: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// What was refused of late, by network.
#[derive(Debug, Default)]
pub(super) struct Refusals(HashMap<IpAddr, Window>);

#[derive(Debug)]
struct Window {
    since: Timestamp,
    written: u32,
    more: u64,
}

/// Refusals that were not written one by one.
#[derive(Debug, PartialEq, Eq)]
struct More {
    area: IpAddr,
    since: Timestamp,
    count: u64,
}

impl Refusals {
    /// Counts one refusal: whether it is written down, and what is to be told before about the last minute.
    fn take(&mut self, from: IpAddr, now: Timestamp) -> (bool, Option<More>) {
        let mut area = area(from);
        if self.0.len() >= AREAS_MAX && !self.0.contains_key(&area) {
            self.0.retain(|_, window| window.more > 0 || !window.is_over(now));
            if self.0.len() >= AREAS_MAX {
                area = ELSEWHERE;
            }
        }
        let over = self.0.get(&area).is_some_and(|window| window.is_over(now));
        let told = if over { self.0.remove(&area).and_then(|window| window.told(area)) } else { None };
        let window = self.0.entry(area).or_insert(Window { since: now, written: 0, more: 0 });
        let is_written = window.written < WRITTEN_MAX;
        if is_written {
            window.written += 1;
        } else {
            window.more += 1;
        }
        (is_written, told)
    }

    /// Forgets the minutes that are over, and says what is to be told of them.
    fn over(&mut self, now: Timestamp) -> Vec<More> {
        let over = self.0.extract_if(|_, window| window.is_over(now));
        over.filter_map(|(area, window)| window.told(area)).collect()
    }
}

impl Window {
    fn is_over(&self, now: Timestamp) -> bool {
        now.since(self.since) >= MINUTE
    }

    fn told(self, area: IpAddr) -> Option<More> {
        (self.more > 0).then_some(More { area, since: self.since, count: self.more })
    }
}

impl More {
    fn event(&self) -> AuditEvent {
        AuditEvent::RefusalsNotListed {
            network: self.area.to_string(),
            since: self.since.as_secs(),
            count: self.count,
        }
    }
}

/// Writes the refusal of somebody at `from` down; false when there was no room for it, and it is only counted.
pub(super) async fn note(app: &App, from: IpAddr, event: AuditEvent) -> Result<bool, StoreError> {
    let now = app.clock.now();
    let (is_written, told) = lock(&app.desk.refusals).take(from, now);
    if let Some(more) = told {
        app.store.note(now, more.event()).await?;
    }
    if is_written {
        app.store.note(now, event).await?;
    }
    Ok(is_written)
}

/// Tells of the minutes before `until` in which there was no room for all.
pub(super) async fn tell_of_more(app: &App, until: Timestamp) -> Result<(), StoreError> {
    let over = lock(&app.desk.refusals).over(until);
    for more in over {
        app.store.note(app.clock.now(), more.event()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_entry_and_hides_nobody_else() {
        let mut refusals = Refusals::default();
        let at = |secs: u64| Timestamp::from_secs(1000 + secs);
        let from = |last: u8| IpAddr::from([192, 0, 2, last]);
        let written = (0..100).filter(|_| refusals.take(from(1), at(0)).0).count();
        assert_eq!(written, 60);
        assert_eq!(refusals.take(from(2), at(0)), (true, None));
        assert!(!refusals.take(from(1), at(59)).0);
        let more = More { area: from(1), since: at(0), count: 41 };
        assert_eq!(refusals.take(from(1), at(60)), (true, Some(more)));
        assert_eq!(refusals.over(at(61)), []);
        let written = (0..62).filter(|_| refusals.take(from(1), at(60)).0).count();
        assert_eq!(written, 59, "one was before");
        assert_eq!(refusals.over(at(120)), [More { area: from(1), since: at(60), count: 3 }]);
        assert!(refusals.0.is_empty());
    }

    #[test]
    fn the_list_of_networks_has_an_end_and_nothing_goes_uncounted() {
        let mut refusals = Refusals::default();
        let now = Timestamp::from_secs(1000);
        for n in 0..u32::try_from(AREAS_MAX).unwrap() + 100 {
            refusals.take(IpAddr::from((n + 1).to_be_bytes()), now);
        }
        assert_eq!(refusals.0.len(), AREAS_MAX + 1);
        assert_eq!(refusals.over(now.plus(MINUTE)), [More { area: ELSEWHERE, since: now, count: 40 }]);
    }
}
