//! When a role may be used: weekdays and hours of a time zone, as wall clocks there show them. Pure; the zones are
//! compiled in, so that the same file means the same everywhere.

use jiff::Unit;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;

use crate::time::Timestamp;

/// Names of weekdays in the policy file, in the order of the week.
pub(super) const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// Minutes of a day.
const DAY: u16 = 24 * 60;
/// How many days ahead the end of an opening is looked for. A week of openings without a gap has no end.
const AHEAD: i64 = 8;

/// Openings in one time zone. Several may overlap or meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hours {
    zone: TimeZone,
    windows: Vec<Window>,
}

/// One opening on some days of the week. When it ends at or before its beginning, it ends on the next day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// Days on which it begins.
    pub(super) days: Vec<Weekday>,
    /// Minute of the day, 0 to 1439.
    pub(super) from: u16,
    /// Minute of the day, 1 to 1440.
    pub(super) to: u16,
}

/// Whether somebody may come, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Not now.
    Closed,
    /// Until then.
    Until(Timestamp),
    /// For at least a week.
    Open,
}

impl Hours {
    /// Openings in `zone`.
    pub(super) fn new(zone: TimeZone, windows: Vec<Window>) -> Self {
        Self { zone, windows }
    }

    /// What holds at `now`.
    pub fn at(&self, now: Timestamp) -> Opening {
        let Ok(instant) =
            jiff::Timestamp::from_millisecond(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
        else {
            return Opening::Closed;
        };
        let today = instant.to_zoned(self.zone.clone()).date();
        let mut spans: Vec<(Timestamp, Timestamp)> = Vec::new();
        for day in -1..=AHEAD {
            let Ok(date) = today.checked_add(jiff::Span::new().days(day)) else { continue };
            spans.extend(self.windows.iter().filter_map(|window| self.span(window, date)));
        }
        spans.sort_unstable();
        let mut end: Option<Timestamp> = None;
        for (from, to) in spans {
            match end {
                None if from <= now && now < to => end = Some(to),
                Some(so_far) if from <= so_far => end = Some(so_far.max(to)),
                None | Some(_) => {}
            }
        }
        let far = now.plus(std::time::Duration::from_secs(86_400 * 7));
        match end {
            None => Opening::Closed,
            Some(end) if end > far => Opening::Open,
            Some(end) => Opening::Until(end),
        }
    }

    /// When openings begin in some week, for comparing hours with each other.
    pub(super) fn beginnings(&self) -> Vec<Timestamp> {
        let monday = jiff::civil::date(2026, 1, 5);
        let days = (0..7).filter_map(|day| monday.checked_add(jiff::Span::new().days(day)).ok());
        days.flat_map(|date| self.windows.iter().filter_map(move |window| Some(self.span(window, date)?.0)))
            .collect()
    }

    /// The opening that begins on `date`, if one does. Hours that a clock change leaves out begin after it.
    fn span(&self, window: &Window, date: Date) -> Option<(Timestamp, Timestamp)> {
        if !window.days.contains(&date.weekday()) {
            return None;
        }
        let until = if window.to <= window.from { date.tomorrow().ok()? } else { date };
        Some((self.instant(date, window.from)?, self.instant(until, window.to)?))
    }

    fn instant(&self, date: Date, minute: u16) -> Option<Timestamp> {
        let (date, minute) =
            if minute >= DAY { (date.tomorrow().ok()?, minute - DAY) } else { (date, minute) };
        let (hour, minute) = (i8::try_from(minute / 60).ok()?, i8::try_from(minute % 60).ok()?);
        let zoned = date.at(hour, minute, 0, 0).to_zoned(self.zone.clone()).ok()?;
        let zoned = zoned.round(Unit::Second).ok()?;
        Some(Timestamp::from_millis(u64::try_from(zoned.timestamp().as_millisecond()).ok()?))
    }
}

/// `HH:MM` as minutes; `24:00` is the end of the day.
pub(super) fn parse_minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |digits: &str| {
        (digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse::<u16>().ok())
    };
    let (hours, minutes) = (two(hours)??, two(minutes)??);
    let total = hours * 60 + minutes;
    (minutes < 60 && total <= DAY).then_some(total)
}

/// `mon`, or `mon-fri` (which may run over the end of the week).
pub(super) fn parse_days(text: &str) -> Option<Vec<Weekday>> {
    let number = |name: &str| DAYS.iter().position(|(known, _)| *known == name);
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    let count = (last + DAYS.len() - first) % DAYS.len() + 1;
    Some(DAYS.iter().cycle().skip(first).take(count).map(|(_, day)| *day).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(zone: &str, windows: &[(&str, &str, &str)]) -> Hours {
        let windows = windows.iter().map(|(days, from, to)| Window {
            days: parse_days(days).unwrap(),
            from: parse_minute(from).unwrap(),
            to: parse_minute(to).unwrap(),
        });
        Hours::new(TimeZone::get(zone).unwrap(), windows.collect())
    }

    fn at(text: &str) -> Timestamp {
        let instant: jiff::Timestamp = text.parse().unwrap();
        Timestamp::from_millis(instant.as_millisecond().try_into().unwrap())
    }

    #[test]
    fn openings() {
        let office: &[(&str, &str, &str)] = &[("mon-fri", "08:00", "18:00")];
        let night: &[(&str, &str, &str)] = &[("fri", "22:00", "06:00")];
        let always: &[(&str, &str, &str)] = &[("mon-sun", "00:00", "24:00")];
        let week: &[(&str, &str, &str)] = &[("mon-fri", "00:00", "24:00")];
        let halves: &[(&str, &str, &str)] = &[("mon-sun", "08:00", "12:00"), ("mon-sun", "12:00", "18:00")];
        for (zone, windows, now, expect) in [
            // 2026-11-20 is a Friday; Berlin is one hour ahead in winter, two in summer.
            ("Europe/Berlin", office, "2026-11-20T06:59:59Z", None),
            ("Europe/Berlin", office, "2026-11-20T07:00:00Z", Some("2026-11-20T17:00:00Z")),
            ("Europe/Berlin", office, "2026-11-20T16:59:59.999Z", Some("2026-11-20T17:00:00Z")),
            ("Europe/Berlin", office, "2026-11-20T17:00:00Z", None),
            ("Europe/Berlin", office, "2026-07-17T06:00:00Z", Some("2026-07-17T16:00:00Z")),
            ("Europe/Berlin", office, "2026-11-21T10:00:00Z", None),
            // A Friday in Auckland begins on Thursday in UTC.
            ("Pacific/Auckland", office, "2026-11-19T20:00:00Z", Some("2026-11-20T05:00:00Z")),
            ("Pacific/Auckland", office, "2026-11-20T20:00:00Z", None),
            ("UTC", night, "2026-11-20T21:59:00Z", None),
            ("UTC", night, "2026-11-20T23:00:00Z", Some("2026-11-21T06:00:00Z")),
            ("UTC", night, "2026-11-21T05:59:00Z", Some("2026-11-21T06:00:00Z")),
            ("UTC", night, "2026-11-21T22:30:00Z", None),
            ("UTC", always, "2026-11-21T22:30:00Z", Some("open")),
            ("UTC", week, "2026-11-18T12:00:00Z", Some("2026-11-21T00:00:00Z")),
            ("UTC", halves, "2026-11-18T09:00:00Z", Some("2026-11-18T18:00:00Z")),
            // The night of the change to winter time has 25 hours: 22:00 to 06:00 lasts nine of them.
            (
                "Europe/Berlin",
                &[("sat", "22:00", "06:00")],
                "2026-10-25T04:59:00Z",
                Some("2026-10-25T05:00:00Z"),
            ),
            // 02:30 does not exist on the day of the change to summer time.
            ("Europe/Berlin", &[("sun", "02:30", "04:00")], "2026-03-29T01:15:00Z", None),
            (
                "Europe/Berlin",
                &[("sun", "02:30", "04:00")],
                "2026-03-29T01:31:00Z",
                Some("2026-03-29T02:00:00Z"),
            ),
        ] {
            let expect = match expect {
                None => Opening::Closed,
                Some("open") => Opening::Open,
                Some(end) => Opening::Until(at(end)),
            };
            assert_eq!(hours(zone, windows).at(at(now)), expect, "{zone} {windows:?} {now}");
        }
    }

    #[test]
    fn texts() {
        for (text, expect) in [
            ("00:00", Some(0)),
            ("24:00", Some(1440)),
            ("23:59", Some(1439)),
            ("24:01", None),
            ("8:00", None),
            ("08:60", None),
            ("+8:00", None),
            ("08", None),
        ] {
            assert_eq!(parse_minute(text), expect, "{text}");
        }
        for (text, count) in [("mon", 1), ("mon-fri", 5), ("sat-mon", 3), ("mon-sun", 7), ("tue-mon", 7)] {
            assert_eq!(parse_days(text).unwrap().len(), count, "{text}");
        }
        for text in ["", "monday", "mon-", "mon-fri-sun", "Mon"] {
            assert_eq!(parse_days(text), None, "{text}");
        }
    }
}
