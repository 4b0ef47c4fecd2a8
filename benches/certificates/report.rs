//! What came of it, in sums: for people and as JSON.

use std::fmt;
use std::time::Duration;

use serde_json::json;

use crate::Plan;
use crate::load::Answers;
use crate::site::{Checked, Mark};

/// One run.
pub(crate) struct Report {
    what: &'static str,
    clients: usize,
    seconds: f64,
    counted: usize,
    /// p50, p90, p99 and the longest.
    waits: [Duration; 4],
    /// Processors in use, of which the machine has so many.
    server: f64,
    load: f64,
    others: f64,
    processors: usize,
    synced: Duration,
    checked: Checked,
}

impl Report {
    /// Sums up.
    pub(crate) fn of(
        plan: &Plan,
        what: &'static str,
        answers: &[Answers],
        (begin, end): (&Mark, &Mark),
        synced: Duration,
        checked: Checked,
    ) -> Self {
        let mut waits: Vec<Duration> = answers.iter().flat_map(|one| &one.waits).copied().collect();
        waits.sort();
        let at = |share: f64| {
            let place = (waits.len() as f64 * share) as usize;
            waits.get(place).or_else(|| waits.last()).copied().unwrap_or_default()
        };
        let seconds = end.at.duration_since(begin.at).as_secs_f64();
        let share = |of: fn(&Mark) -> f64| (of(end) - of(begin)) / seconds;
        let (server, load) = (share(|mark| mark.server), share(|mark| mark.clients));
        Self {
            what,
            clients: plan.clients,
            seconds,
            counted: waits.len(),
            waits: [at(0.5), at(0.9), at(0.99), at(1.0)],
            server,
            load,
            others: (share(|mark| mark.all) - server - load).max(0.0),
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            synced,
            checked,
        }
    }

    /// Certificates per second.
    pub(crate) fn per_second(&self) -> u64 {
        (self.counted as f64 / self.seconds) as u64
    }

    /// One line.
    pub(crate) fn json(&self) -> serde_json::Value {
        let [p50, p90, p99, longest] = self.waits.map(milliseconds);
        json!({
            "certificates_per_second": self.per_second(),
            "by": self.what,
            "clients": self.clients,
            "seconds": self.seconds,
            "wait_ms": { "p50": p50, "p90": p90, "p99": p99, "max": longest },
            "processors": {
                "server": self.server, "clients": self.load, "others": self.others, "there_are": self.processors,
            },
            "sync_ms": milliseconds(self.synced),
            "checked": { "certificates": self.checked.certificates, "verified": self.checked.verified },
        })
    }
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p90, p99, longest] = self.waits.map(milliseconds);
        let Self { what, clients, seconds, server, load, others, processors, checked, .. } = self;
        let rate = self.per_second();
        let each = (server + load) / (self.counted as f64 / seconds) * 1e6;
        writeln!(f, "certificates/s  {rate}   {what} over HTTP, {clients} clients, {seconds:.1} s, SQLite")?;
        writeln!(f, "wait            p50 {p50} ms   p90 {p90} ms   p99 {p99} ms   max {longest} ms")?;
        writeln!(
            f,
            "processors      server {server:.2}, clients {load:.2}, others {others:.2}, of {processors}   {each:.0} µs a certificate"
        )?;
        writeln!(f, "disk            syncs a small file in {} ms", milliseconds(self.synced))?;
        let Checked { certificates, verified } = checked;
        write!(
            f,
            "checked         {certificates} acknowledged, as many rows and audit entries; {verified} certificates verified"
        )
    }
}
