//! Rules over the audit log: which entries somebody should look at. Pure: entries in, findings out, memory as an argument.
//! Reading the log, keeping the place in it and writing alerts down is `flow::alert`'s; from when on each rule speaks
//! stands in `[alerts]`.
//!
//! A rule that is off still learns, so that it does not take everything for new when it is switched on.

mod fact;
mod memory;
mod signal;
#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::config::{AlertRule, Alerts, RuleSetting, show_duration};
use crate::time::Timestamp;

use fact::Fact;
pub use memory::{Memory, Seen};
use signal::{Signal, When, signals};

/// One entry of the audit log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its number.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Its kind.
    pub kind: String,
    /// Its fields.
    pub fields: Value,
}

/// Whose session it was, for entries that name only the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whose {
    /// `provider:subject`.
    pub who: String,
    /// Target.
    pub target: String,
    /// The bastion.
    pub node: String,
}

/// What a rule found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which rule.
    pub rule: AlertRule,
    /// Whom or what it is about; findings of one rule about one subject belong together for the rule's window.
    pub subject: String,
    /// In one line.
    pub title: String,
    /// More for people.
    pub fields: Vec<(&'static str, String)>,
    /// How many events this finding adds.
    pub events: u64,
    /// How many there were within the window, this one included.
    pub in_window: u64,
    /// The first entry that counts.
    pub first_seq: u64,
    /// The entry that made it a finding.
    pub seq: u64,
    /// When that was.
    pub at: Timestamp,
}

/// The session that has to be looked up before the entry is judged.
pub fn session_of(entry: &Entry) -> Option<&str> {
    Fact::of(entry).and_then(|fact| fact.session())
}

/// What the memory has to know before the entry is judged.
pub fn wants(entry: &Entry, config: &Alerts) -> Vec<Seen> {
    let mut wanted = Vec::new();
    for signal in signals(entry, None, config) {
        let seen = |what: String| Seen { rule: signal.rule, subject: signal.subject.clone(), what };
        match signal.when {
            When::Often(_) | When::Always => {}
            When::First(what) => wanted.push(seen(what)),
            When::Other(what) => wanted.extend([seen(what), seen(String::new())]),
        }
    }
    wanted
}

/// Judges one entry. With `quiet` nothing is found, and all is learned.
pub fn judge(
    entry: &Entry,
    whose: Option<&Whose>,
    config: &Alerts,
    memory: &mut Memory,
    quiet: bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for signal in signals(entry, whose, config) {
        let setting = config.setting(signal.rule);
        let found = weigh(&signal, entry, setting, memory);
        if let Some(finding) = found
            && setting.on
            && !quiet
        {
            findings.push(finding);
        }
    }
    findings
}

fn weigh(signal: &Signal, entry: &Entry, setting: RuleSetting, memory: &mut Memory) -> Option<Finding> {
    let rule = signal.rule;
    let seen = |what: &str| Seen { rule, subject: signal.subject.clone(), what: what.to_owned() };
    let mut finding = Finding {
        rule,
        subject: signal.subject.clone(),
        title: signal.title.clone(),
        fields: signal.fields.clone(),
        events: 1,
        in_window: 1,
        first_seq: entry.seq,
        seq: entry.seq,
        at: entry.at,
    };
    match &signal.when {
        When::Always => {}
        When::First(what) => {
            if !memory.learn(seen(what), entry.seq) {
                return None;
            }
        }
        When::Other(what) => {
            let is_new = memory.learn(seen(what), entry.seq);
            let is_first = memory.learn(seen(""), entry.seq);
            if !is_new || is_first {
                return None;
            }
        }
        When::Often(weight) => {
            let limits = (setting.count, setting.window);
            let key = (rule, signal.subject.clone());
            let count = memory.count(key, (entry.seq, entry.at), *weight, limits);
            if count.events < setting.count {
                return None;
            }
            finding.events = *weight;
            finding.in_window = count.events;
            finding.first_seq = count.first_seq;
            if setting.count > 1 {
                finding.title =
                    format!("{} ({} within {})", signal.title, count.events, show_duration(setting.window));
            }
        }
    }
    Some(finding)
}
