//! What makes a whole chain no proof: nobody has signed it, or a bastion has said itself that it was altered. Pure.

use std::time::Duration;

use serde_json::Value;

use crate::audit::chain::Link;
use crate::cli::table::printable;
use crate::time::Timestamp;

/// The kind of entry by which a bastion says so.
const ALTERED: &str = "audit_altered";
/// How many of these are told one by one.
const TOLD: usize = 20;

/// Looks at the entries of a log, one after the other.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    first: Option<u64>,
    last: u64,
    altered: usize,
    told: Vec<String>,
}

impl Doubts {
    /// The next entry.
    pub(super) fn look(&mut self, link: Link<'_>) {
        self.first.get_or_insert(link.at);
        self.last = link.at;
        if link.kind != ALTERED {
            return;
        }
        self.altered += 1;
        if self.told.len() < TOLD {
            let fields: Value = serde_json::from_str(link.json).unwrap_or_default();
            let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or("?").to_owned();
            let said = format!("entry {}: {} found: {}", link.seq, text("node"), text("why"));
            self.told.push(printable(&said));
        }
    }

    /// Why the log is not believed. `checkpoints` are those whose signatures were found good, `every` is how often one is due, and
    /// `now` when the log is looked at (none for a copy: that ends when it ends).
    pub(super) fn all(mut self, checkpoints: u64, every: Duration, now: Option<Timestamp>) -> Vec<String> {
        let until = now.map_or(self.last, Timestamp::as_millis);
        let age = Duration::from_millis(until.saturating_sub(self.first.unwrap_or(until)));
        if checkpoints == 0 && age > every.saturating_mul(2) {
            let why = "no checkpoint is in it, though bastions sign it all the time: it was made anew, or no bastion ran";
            self.told.push(why.to_owned());
        }
        if self.altered > TOLD {
            self.told.push(format!("{} more entries say that the log was altered", self.altered - TOLD));
        }
        self.told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doubts(entries: &[(u64, &str, &str)], checkpoints: u64, now: Option<u64>) -> Vec<String> {
        let mut all = Doubts::default();
        for (seq, (at, kind, json)) in (1..).zip(entries) {
            all.look(Link { seq, at: *at * 1000, kind, json });
        }
        all.all(checkpoints, Duration::from_secs(60), now.map(Timestamp::from_secs))
    }

    #[test]
    fn a_log_that_nobody_signed_or_somebody_altered_is_doubted() {
        let plain = [(100, "signed_in", "{}"), (110, "signed_in", "{}")];
        let none: Vec<String> = Vec::new();
        assert_eq!(doubts(&[], 0, Some(9999)), none);
        assert_eq!(doubts(&plain, 0, Some(220)), none, "it is young");
        assert_eq!(doubts(&plain, 1, Some(9999)), none);
        assert_eq!(doubts(&plain, 0, None), none, "a short part of a log");
        assert!(doubts(&plain, 0, Some(221))[0].contains("no checkpoint"));
        let long = [(100, "signed_in", "{}"), (300, "signed_in", "{}")];
        assert!(doubts(&long, 0, None)[0].contains("no checkpoint"));
        let said = [(100, ALTERED, "{\"node\":\"b1\",\"seq\":4,\"why\":\"gone\u{202e}\"}")];
        assert_eq!(doubts(&said, 1, None), ["entry 1: b1 found: gone\u{fffd}"]);
        let many: Vec<_> = std::iter::repeat_n((100, ALTERED, "{}"), 25).collect();
        let told = doubts(&many, 1, None);
        assert_eq!((told.len(), told[20].as_str()), (21, "5 more entries say that the log was altered"));
    }
}
