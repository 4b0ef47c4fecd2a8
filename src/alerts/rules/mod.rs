//! Rules over the audit log: which entries somebody should look at. Pure: entries in, findings out, memory as an argument.
//! Reading the log, keeping the place in it and writing alerts down is `flow::alert`'s; from when on each rule speaks
//! stands in `[alerts]`.
//!
//! A rule that is off still learns, so that it does not take everything for new when it is switched on.

mod fact;
mod memory;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use jiff::tz::TimeZone;
use serde_json::Value;

use crate::config::{AlertRule, Alerts, OfficeHours, RuleSetting, show_duration};
use crate::place::{area, wide_area};
use crate::time::Timestamp;

use fact::Fact;
pub use memory::{Memory, Seen};

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

/// What makes a signal a finding.
enum When {
    /// Enough of them within the window; so many at once.
    Often(u64),
    /// Always.
    Always,
    /// The first time with this.
    First(String),
    /// The first time with this, of somebody who has been met with something else before.
    Other(String),
}

/// Something that a rule cares about.
struct Signal {
    rule: AlertRule,
    subject: String,
    when: When,
    title: String,
    fields: Vec<(&'static str, String)>,
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

/// Codes of refused credentials that happen to people who do nothing wrong.
const HARMLESS: [&str; 3] = ["expired", "not-signed-in", "clock"];

/// Codes of certificates that somebody took back.
fn is_revoked(code: &str) -> bool {
    code.starts_with("revoked") || matches!(code, "sign-in-ended" | "locked")
}

fn signals(entry: &Entry, whose: Option<&Whose>, config: &Alerts) -> Vec<Signal> {
    let Some(fact) = Fact::of(entry) else { return Vec::new() };
    let (who, target, node) =
        whose.map_or(("", "", ""), |whose| (whose.who.as_str(), whose.target.as_str(), whose.node.as_str()));
    let signal = |rule, subject: &str, when, title: String, fields| Signal {
        rule,
        subject: subject.to_owned(),
        when,
        title,
        fields,
    };
    let one = |rule, subject: &str, title: String, fields| {
        vec![signal(rule, subject, When::Often(1), title, fields)]
    };
    match fact {
        Fact::SignInFailed { from } => {
            let network = network(from, area);
            one(AlertRule::FailedSignIns, &network, format!("failed sign-ins from {network}"), vec![])
        }
        Fact::AccessRefused { who, what } => one(
            AlertRule::RefusedAccess,
            who,
            format!("{who} is refused again and again"),
            vec![("last", what)],
        ),
        Fact::FileRefused { path, .. } => {
            let fields = vec![("last", format!("{target}: {path}"))];
            one(AlertRule::RefusedAccess, who, format!("{who} is refused again and again"), fields)
        }
        Fact::NotListed { network, count } => vec![signal(
            AlertRule::RefusedCredentials,
            network,
            When::Often(count),
            format!("refused credentials from {network}"),
            vec![],
        )],
        Fact::CredentialRefused { what, claimed, code, from } => credential(what, claimed, code, from),
        Fact::CaseFiled { who } => {
            one(AlertRule::RepeatedRequests, who, format!("{who} asks for access again and again"), vec![])
        }
        Fact::SignedIn { who, from } => came(who, from, entry.at, config, "signed in"),
        Fact::SessionOpened { who, target, login, from } => {
            let mut found = vec![
                signal(
                    AlertRule::FirstAccessPerson,
                    who,
                    When::First(String::new()),
                    format!("{who} opened a session for the first time"),
                    vec![
                        ("target", target.to_owned()),
                        ("login", login.to_owned()),
                        ("from", from.to_owned()),
                    ],
                ),
                signal(
                    AlertRule::FirstAccessTarget,
                    who,
                    When::First(target.to_owned()),
                    format!("{who} opened a session at {target} for the first time"),
                    vec![("login", login.to_owned()), ("from", from.to_owned())],
                ),
            ];
            found.extend(came(who, from, entry.at, config, &format!("opened a session at {target}")));
            found
        }
        Fact::SessionClosed { reason: "host-key", session } => {
            let fields = vec![("who", who.to_owned()), ("session", session.to_owned())];
            let title = format!("{target} showed a host key that is not trusted");
            one(AlertRule::HostKey, target, title, fields)
        }
        Fact::SessionClosed { reason: "recorder", session } => {
            let fields =
                vec![("who", who.to_owned()), ("target", target.to_owned()), ("session", session.to_owned())];
            one(AlertRule::Recorder, node, format!("a recording failed at {node}"), fields)
        }
        Fact::RecorderFailed { who, target, node, why } => {
            let fields =
                vec![("who", who.to_owned()), ("target", target.to_owned()), ("why", why.to_owned())];
            one(AlertRule::Recorder, node, format!("a recording failed at {node}"), fields)
        }
        Fact::SessionClosed { .. } => Vec::new(),
        Fact::BreakGlass { who, targets, grant } => vec![signal(
            AlertRule::BreakGlass,
            grant,
            When::Always,
            format!("{who} broke the glass for {targets}"),
            vec![("who", who.to_owned())],
        )],
        Fact::GivenUp { sink, kind } => {
            let title = format!("a notice did not reach {sink}");
            one(AlertRule::Undelivered, sink, title, vec![("kind", kind.to_owned())])
        }
    }
}

fn credential(what: &str, claimed: &str, code: &str, from: &str) -> Vec<Signal> {
    let often = |rule, subject: String, title: String| Signal {
        rule,
        subject,
        when: When::Often(1),
        title,
        fields: vec![("claimed", claimed.to_owned()), ("code", code.to_owned()), ("from", from.to_owned())],
    };
    let mut found = Vec::new();
    if what == "certificate" && code == "expired" {
        let title = "an expired certificate is still used".to_owned();
        found.push(often(AlertRule::ExpiredCertificate, claimed.to_owned(), title));
    }
    if what == "certificate" && is_revoked(code) {
        let title = "a certificate was used that is revoked".to_owned();
        found.push(often(AlertRule::RevokedCertificate, claimed.to_owned(), title));
    }
    if !HARMLESS.contains(&code) {
        let network = network(from, area);
        let title = format!("refused credentials from {network}");
        found.push(often(AlertRule::RefusedCredentials, network, title));
    }
    found
}

/// Somebody came: from where, and when.
fn came(who: &str, from: &str, at: Timestamp, config: &Alerts, did: &str) -> Vec<Signal> {
    let network = network(from, wide_area);
    let mut found = vec![Signal {
        rule: AlertRule::NewNetwork,
        subject: who.to_owned(),
        when: When::Other(network.clone()),
        title: format!("{who} {did} from a network where they never were"),
        fields: vec![("from", from.to_owned()), ("network", network)],
    }];
    if !is_office_time(&config.hours, at) {
        let zone = &config.hours.zone_name;
        found.push(Signal {
            rule: AlertRule::OddHours,
            subject: who.to_owned(),
            when: When::Always,
            title: format!("{who} {did} outside of office hours ({at}, hours of {zone})"),
            fields: vec![("from", from.to_owned())],
        });
    }
    found
}

/// The network of an address, as `place` cuts it; what is no address stays as it is.
fn network(from: &str, cut: impl Fn(IpAddr) -> IpAddr) -> String {
    from.parse().map_or_else(|_| from.to_owned(), |ip| cut(ip).to_string())
}

fn is_office_time(hours: &OfficeHours, at: Timestamp) -> bool {
    let millis = i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
    let Ok(instant) = jiff::Timestamp::from_millisecond(millis) else { return false };
    let there = instant.to_zoned(TimeZone::clone(&hours.zone));
    let minute = u16::try_from(there.hour()).unwrap_or_default() * 60
        + u16::try_from(there.minute()).unwrap_or_default();
    hours.days.contains(&there.weekday()) && (hours.from..hours.to).contains(&minute)
}
