//! What an audit entry means to the rules: signals, each for one rule and subject. Pure. Whether a signal is worth an alert is
//! weighed beside it (`judge`).

use std::net::IpAddr;

use jiff::tz::TimeZone;

use super::fact::Fact;
use super::{Entry, Whose};
use crate::config::{AlertRule, Alerts, OfficeHours};
use crate::place::{area, wide_area};
use crate::time::Timestamp;

/// What makes a signal a finding.
pub(super) enum When {
    /// Enough of them within the window; so many at once.
    Often(u64),
    /// Always.
    Always,
    /// The first time with this.
    First(String),
    /// The first time with this, of somebody who has been met with something else before.
    Other(String),
}

/// More for people: names and texts.
type Fields = Vec<(&'static str, String)>;

/// Something that a rule cares about.
pub(super) struct Signal {
    pub(super) rule: AlertRule,
    pub(super) subject: String,
    pub(super) when: When,
    pub(super) title: String,
    pub(super) fields: Fields,
}

impl Signal {
    /// One event that is counted.
    fn once(rule: AlertRule, subject: &str, title: String, fields: Fields) -> Self {
        Self { rule, subject: subject.to_owned(), when: When::Often(1), title, fields }
    }

    fn with(self, when: When) -> Self {
        Self { when, ..self }
    }
}

/// Codes of refused credentials that happen to people who do nothing wrong.
const HARMLESS: [&str; 3] = ["expired", "not-signed-in", "clock"];

/// Codes of certificates that somebody took back.
fn is_revoked(code: &str) -> bool {
    code.starts_with("revoked") || matches!(code, "sign-in-ended" | "locked")
}

/// What the entry means. `whose` is whose session it is about, where it names only the session.
pub(super) fn signals(entry: &Entry, whose: Option<&Whose>, config: &Alerts) -> Vec<Signal> {
    let Some(fact) = Fact::of(entry) else { return Vec::new() };
    let unknown = Whose { who: String::new(), target: String::new(), node: String::new() };
    let Whose { who: owner, target: place, node } = whose.unwrap_or(&unknown);
    let refused = |who: &str, last| {
        Signal::once(AlertRule::RefusedAccess, who, format!("{who} is refused again and again"), last)
    };
    let one = match fact {
        Fact::SignInFailed { from } => {
            let network = network(from, area);
            let title = format!("failed sign-ins from {network}");
            Signal::once(AlertRule::FailedSignIns, &network, title, vec![])
        }
        Fact::AccessRefused { who, what } => refused(who, vec![("last", what)]),
        Fact::FileRefused { path, .. } => refused(owner, vec![("last", format!("{place}: {path}"))]),
        Fact::NotListed { network, count } => {
            let title = format!("refused credentials from {network}");
            Signal::once(AlertRule::RefusedCredentials, network, title, vec![]).with(When::Often(count))
        }
        Fact::CredentialRefused { what, claimed, code, from } => {
            return credential(what, claimed, code, from);
        }
        Fact::CaseFiled { who } => {
            let title = format!("{who} asks for access again and again");
            Signal::once(AlertRule::RepeatedRequests, who, title, vec![])
        }
        Fact::SignedIn { who, from } => return came(who, from, entry.at, config, "signed in"),
        Fact::SessionOpened { who, is_job, target, login, from } => {
            let mut found = first_access(who, target, login, from);
            // Jobs run at night, and each on another machine.
            if is_job {
                return found;
            }
            found.extend(came(who, from, entry.at, config, &format!("opened a session at {target}")));
            return found;
        }
        Fact::SessionClosed { reason: "host-key", session } => {
            let fields = vec![("who", owner.clone()), ("session", session.to_owned())];
            let title = format!("{place} showed a host key that is not trusted");
            Signal::once(AlertRule::HostKey, place, title, fields)
        }
        Fact::SessionClosed { reason: "recorder", session } => {
            recorder(node, owner, place, ("session", session.to_owned()))
        }
        Fact::SessionClosed { .. } => return Vec::new(),
        Fact::RecorderFailed { who, target, node, why } => {
            recorder(node, who, target, ("why", why.to_owned()))
        }
        Fact::BreakGlass { who, targets, grant } => {
            let title = format!("{who} broke the glass for {targets}");
            let fields = vec![("who", who.to_owned())];
            Signal::once(AlertRule::BreakGlass, grant, title, fields).with(When::Always)
        }
        Fact::GivenUp { sink, kind } => {
            let title = format!("a notice did not reach {sink}");
            Signal::once(AlertRule::Undelivered, sink, title, vec![("kind", kind.to_owned())])
        }
        Fact::AuditAltered { node, why } => {
            let title = format!("the audit log was altered, as {node} saw it");
            Signal::once(AlertRule::AuditAltered, node, title, vec![("why", why.to_owned())])
        }
        Fact::AuditCopy { sink, why } => {
            let title = format!("the copy {sink} of the audit log is behind, or has lost entries");
            Signal::once(AlertRule::AuditCopy, sink, title, vec![("why", why.to_owned())])
        }
    };
    vec![one]
}

fn recorder(node: &str, who: &str, target: &str, more: (&'static str, String)) -> Signal {
    let fields = vec![("who", who.to_owned()), ("target", target.to_owned()), more];
    Signal::once(AlertRule::Recorder, node, format!("a recording failed at {node}"), fields)
}

fn first_access(who: &str, target: &str, login: &str, from: &str) -> Vec<Signal> {
    let fields = vec![("target", target.to_owned()), ("login", login.to_owned()), ("from", from.to_owned())];
    let person = format!("{who} opened a session for the first time");
    let place = format!("{who} opened a session at {target} for the first time");
    vec![
        Signal::once(AlertRule::FirstAccessPerson, who, person, fields.clone())
            .with(When::First(String::new())),
        Signal::once(AlertRule::FirstAccessTarget, who, place, fields).with(When::First(target.to_owned())),
    ]
}

fn credential(what: &str, claimed: &str, code: &str, from: &str) -> Vec<Signal> {
    let often = |rule, subject: String, title: String| Signal {
        rule,
        subject,
        when: When::Often(1),
        title,
        fields: vec![("claimed", claimed.to_owned()), ("code", code.to_owned()), ("from", from.to_owned())],
    };
    // The SSH library refuses some by itself, and then nobody has read whose it is.
    let whose = if claimed.contains("SHA256:") { claimed.to_owned() } else { network(from, area) };
    let mut found = Vec::new();
    if what == "certificate" && code == "expired" {
        let title = "an expired certificate is still used".to_owned();
        found.push(often(AlertRule::ExpiredCertificate, whose.clone(), title));
    }
    if what == "certificate" && is_revoked(code) {
        let title = "a certificate was used that is revoked".to_owned();
        found.push(often(AlertRule::RevokedCertificate, whose, title));
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

pub(super) fn is_office_time(hours: &OfficeHours, at: Timestamp) -> bool {
    let millis = i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
    let Ok(instant) = jiff::Timestamp::from_millisecond(millis) else { return false };
    let there = instant.to_zoned(TimeZone::clone(&hours.zone));
    let minute = u16::try_from(there.hour()).unwrap_or_default() * 60
        + u16::try_from(there.minute()).unwrap_or_default();
    hours.days.contains(&there.weekday()) && (hours.from..hours.to).contains(&minute)
}
