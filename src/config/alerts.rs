//! `[alerts]`: which rules look at the audit log, and from when on they speak. What they look for is `alerts::rules`'.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use super::defaults;
use super::section::Section;
use super::units::Bounds;

/// A rule over audit entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlertRule {
    /// Sign-ins that fail, from one network.
    FailedSignIns,
    /// Refused sessions, forwards and files of one person.
    RefusedAccess,
    /// Refused certificates and requests to the API, from one network.
    RefusedCredentials,
    /// Requests for access by one person.
    RepeatedRequests,
    /// A person's first session.
    FirstAccessPerson,
    /// A person's first session at a target.
    FirstAccessTarget,
    /// A sign-in or a session outside of office hours.
    OddHours,
    /// A sign-in or a session from a network where the person never was.
    NewNetwork,
    /// Certificates after their time.
    ExpiredCertificate,
    /// A certificate that was revoked, or whose sign-in has ended.
    RevokedCertificate,
    /// A target that shows another host key than it should.
    HostKey,
    /// Access without asking first.
    BreakGlass,
    /// A recording that could not be written.
    Recorder,
    /// A notice that reached its receiver in no attempt.
    Undelivered,
    /// An audit log that is not what it was.
    AuditAltered,
    /// A copy of the audit log that is behind, or has lost something.
    AuditCopy,
}

/// What a rule is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleSetting {
    /// Whether it speaks.
    pub on: bool,
    /// From how many events in `window` on.
    pub count: u64,
    /// In which time; further events within it after an alert belong to that alert.
    pub window: Duration,
}

/// What a rule can be set to: its default, and whether there is something to count.
struct Shape {
    default: RuleSetting,
    counts: bool,
    spans: bool,
}

impl AlertRule {
    /// Every rule, in the order of the documentation.
    pub const ALL: [Self; 16] = [
        Self::FailedSignIns,
        Self::RefusedAccess,
        Self::RefusedCredentials,
        Self::RepeatedRequests,
        Self::FirstAccessPerson,
        Self::FirstAccessTarget,
        Self::OddHours,
        Self::NewNetwork,
        Self::ExpiredCertificate,
        Self::RevokedCertificate,
        Self::HostKey,
        Self::BreakGlass,
        Self::Recorder,
        Self::Undelivered,
        Self::AuditAltered,
        Self::AuditCopy,
    ];

    /// The stable word, which is its table's name in the configuration too.
    pub fn word(self) -> &'static str {
        match self {
            Self::FailedSignIns => "failed_sign_ins",
            Self::RefusedAccess => "refused_access",
            Self::RefusedCredentials => "refused_credentials",
            Self::RepeatedRequests => "repeated_requests",
            Self::FirstAccessPerson => "first_access_person",
            Self::FirstAccessTarget => "first_access_target",
            Self::OddHours => "odd_hours",
            Self::NewNetwork => "new_network",
            Self::ExpiredCertificate => "expired_certificate",
            Self::RevokedCertificate => "revoked_certificate",
            Self::HostKey => "host_key",
            Self::BreakGlass => "break_glass",
            Self::Recorder => "recorder",
            Self::Undelivered => "undelivered",
            Self::AuditAltered => "audit_altered",
            Self::AuditCopy => "audit_copy",
        }
    }

    /// The rule with this word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.word() == word)
    }

    fn shape(self) -> Shape {
        let (on, count, minutes) = match self {
            Self::FailedSignIns => (true, 5, 10),
            Self::RefusedAccess => (true, 10, 10),
            Self::RefusedCredentials => (true, 20, 10),
            Self::RepeatedRequests => (true, 5, 60),
            // Both are told once for each person (and target), so there is nothing to count and no time to count in.
            Self::FirstAccessPerson | Self::NewNetwork | Self::BreakGlass => (true, 0, 0),
            // Noise where people have many targets.
            Self::FirstAccessTarget => (false, 0, 0),
            // Nobody else's office hours are right.
            Self::OddHours => (false, 0, 12 * 60),
            // A laptop that wakes up may show its last certificate once.
            Self::ExpiredCertificate => (true, 3, 60),
            Self::RevokedCertificate
            | Self::HostKey
            | Self::Recorder
            | Self::AuditAltered
            | Self::AuditCopy => (true, 1, 60),
            Self::Undelivered => (true, 1, 24 * 60),
        };
        Shape {
            default: RuleSetting { on, count: count.max(1), window: Duration::from_secs(minutes * 60) },
            counts: count > 0,
            spans: minutes > 0,
        }
    }

    /// Whether a number of events can be set.
    pub(super) fn counts(self) -> bool {
        self.shape().counts
    }

    /// Whether a time can be set.
    pub(super) fn spans(self) -> bool {
        self.shape().spans
    }
}

/// When people work: on these days, from and to these minutes of the day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfficeHours {
    /// Whose wall clock.
    pub zone: TimeZone,
    /// Its name.
    pub zone_name: String,
    /// Days.
    pub days: Vec<Weekday>,
    /// First minute of the day.
    pub from: u16,
    /// First minute after.
    pub to: u16,
}

/// `[alerts]`
#[derive(Clone, Debug)]
pub struct Alerts {
    rules: BTreeMap<AlertRule, RuleSetting>,
    /// `[alerts.odd_hours]`
    pub hours: OfficeHours,
}

impl Default for Alerts {
    fn default() -> Self {
        let hours = OfficeHours {
            zone: TimeZone::UTC,
            zone_name: defaults::ALERT_ZONE.to_owned(),
            days: Vec::new(),
            from: 0,
            to: 24 * 60,
        };
        Self { rules: BTreeMap::new(), hours }
    }
}

impl Alerts {
    /// What a rule is set to.
    pub fn setting(&self, rule: AlertRule) -> RuleSetting {
        self.rules.get(&rule).copied().unwrap_or_else(|| rule.shape().default)
    }

    /// The longest time in which anything is counted.
    pub fn window_max(&self) -> Duration {
        AlertRule::ALL.into_iter().map(|rule| self.setting(rule).window).max().unwrap_or_default()
    }
}

/// Names of weekdays.
pub(super) const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// Reads `[alerts]`.
pub(super) fn read(top: &mut Section<'_>) -> Option<Alerts> {
    let mut section = top.child("alerts");
    let mut rules = BTreeMap::new();
    let mut hours = None;
    for rule in AlertRule::ALL {
        let Shape { default, counts, spans } = rule.shape();
        let mut table = section.child(rule.word());
        let on = table.flag("on").map_or(default.on, |at| at.value);
        let mut setting = RuleSetting { on, ..default };
        if counts {
            let bounds = Bounds { default: default.count, ..defaults::ALERT_COUNT };
            setting.count = table.number("count", &bounds).map_or(default.count, |at| at.value);
        }
        if spans {
            let bounds = Bounds { default: default.window, ..defaults::ALERT_WINDOW };
            setting.window = table.duration("window", &bounds).map_or(default.window, |at| at.value);
        }
        if rule == AlertRule::OddHours {
            hours = office_hours(&mut table);
        }
        table.finish();
        rules.insert(rule, setting);
    }
    section.finish();
    Some(Alerts { rules, hours: hours? })
}

fn office_hours(table: &mut Section<'_>) -> Option<OfficeHours> {
    let zone_name = table.text("zone").map(|at| (at.place, at.value));
    let zone = match zone_name {
        None => TimeZone::get(defaults::ALERT_ZONE).ok(),
        Some((place, name)) => {
            let zone = TimeZone::get(name).ok();
            if zone.is_none() {
                table.problem(
                    place,
                    format!("{name:?} is not a time zone; write one such as \"Europe/Berlin\""),
                );
            }
            zone
        }
    };
    let days = match table.texts("days") {
        None => defaults::ALERT_DAYS.map(str::to_owned).to_vec(),
        Some(days) => days.value.iter().map(|at| at.value.to_owned()).collect(),
    };
    let place = |table: &Section<'_>, key| table.place_of(key).unwrap_or(table.place);
    let mut known = Vec::new();
    for day in &days {
        match DAYS.iter().find(|(name, _)| name == day) {
            Some((_, day)) => known.push(*day),
            None => {
                let message = format!("{day:?} is no day; there is: mon, tue, wed, thu, fri, sat, sun");
                table.problem(place(table, "days"), message);
            }
        }
    }
    let from = minute(table, "from", defaults::ALERT_FROM);
    let to = minute(table, "to", defaults::ALERT_TO);
    if let (Some(from), Some(to)) = (from, to)
        && from >= to
    {
        table.problem(place(table, "to"), "\"to\" must come after \"from\", on the same day");
    }
    let zone_name = zone_name.map_or(defaults::ALERT_ZONE, |(_, name)| name).to_owned();
    Some(OfficeHours { zone: zone?, zone_name, days: known, from: from?, to: to? })
}

/// `HH:MM` as minutes; `24:00` is the end of the day.
fn minute(table: &mut Section<'_>, key: &'static str, default: &str) -> Option<u16> {
    let text = table.text(key);
    let value = text.as_ref().map_or(default, |at| at.value);
    let parsed = parse_minute(value);
    if parsed.is_none() {
        let place = text.map_or(table.place, |at| at.place);
        table.problem(place, format!("{key:?} must be a time of the day such as \"07:30\", not {value:?}"));
    }
    parsed
}

fn parse_minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
    if !two(hours) || !two(minutes) {
        return None;
    }
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    let minute = hours * 60 + minutes;
    (minutes < 60 && minute <= 24 * 60).then_some(minute)
}

/// `HH:MM`, as the file has it.
pub(super) fn show_minute(minute: u16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_of_the_day() {
        for (text, expect) in [
            ("00:00", Some(0)),
            ("07:30", Some(450)),
            ("24:00", Some(1440)),
            ("24:01", None),
            ("7:30", None),
            ("07:60", None),
            ("+7:30", None),
            ("07:30 ", None),
            ("", None),
        ] {
            assert_eq!(parse_minute(text), expect, "{text:?}");
        }
        assert_eq!(show_minute(450), "07:30");
    }

    #[test]
    fn every_rule_has_its_word() {
        for rule in AlertRule::ALL {
            assert_eq!(AlertRule::of(rule.word()), Some(rule));
        }
        assert_eq!(AlertRule::of("rule"), None);
    }
}
