//! Reads what of a `[[role]]` says when, from where and how long it holds: hours, networks, environment, terms.

use std::collections::BTreeSet;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use super::hours::{DAYS, Hours, Window, parse_days, parse_minute};
use super::role::Limits;
use super::terms::{Recording, WhenDiskFull};
use crate::config::{At, CERTIFICATE_LIFE, SESSION_IDLE, SESSION_MAX, Section, hint};
use crate::net::Cidr;

/// `env = ["LANG", "LC_*"]`.
pub(super) fn env(section: &mut Section<'_>) -> Option<At<Vec<String>>> {
    let texts = section.texts("env")?;
    for text in &texts.value {
        let name = text.value.strip_suffix('*').unwrap_or(text.value);
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if name.is_empty() || name.len() > 128 || !name.bytes().all(word) {
            let message =
                format!("{:?} is not a variable: a name, or the beginning of one and *", text.value);
            section.problem(text.place, message);
        }
    }
    Some(At { value: texts.value.iter().map(|text| text.value.to_owned()).collect(), place: texts.place })
}

/// `sources = ["10.0.0.0/8"]`.
pub(super) fn sources(section: &mut Section<'_>) -> Option<Vec<Cidr>> {
    let texts = section.texts("sources")?;
    if section.is_empty_array("sources") {
        section.problem(texts.place, "\"sources\" is empty, so the role could never be used");
    }
    let mut ranges = Vec::new();
    for text in &texts.value {
        match Cidr::parse(text.value) {
            Some(range) => ranges.push(range),
            None => section.problem(
                text.place,
                format!(
                    "{:?} is not a network: write ADDRESS or ADDRESS/BITS, the rest of the bits zero",
                    text.value
                ),
            ),
        }
    }
    Some(ranges)
}

/// `hours = [{ days = ["mon-fri"], from = "08:00", to = "18:00" }]` with `time_zone = "Europe/Berlin"`.
pub(super) fn hours(section: &mut Section<'_>) -> Option<Hours> {
    let zone = section.text("time_zone");
    let given = section.place_of("hours");
    let zone = match (&zone, given) {
        (Some(zone), None) => {
            section.problem(zone.place, "\"time_zone\" goes with \"hours\"; give both or neither");
            None
        }
        (None, Some(place)) => {
            section.problem(place, "\"hours\" needs a \"time_zone\", such as \"Europe/Berlin\" or \"UTC\"");
            None
        }
        (Some(zone), Some(_)) => {
            let found = TimeZone::get(zone.value).ok();
            if found.is_none() {
                let message = format!(
                    "{:?} is not a time zone: write one such as \"Europe/Berlin\" or \"UTC\"",
                    zone.value
                );
                section.problem(zone.place, message);
            }
            found
        }
        (None, None) => None,
    };
    given?;
    if section.is_empty_array("hours") {
        section.problem(given?, "\"hours\" is empty, so the role could never be used");
    }
    let windows = section.children("hours").into_iter().filter_map(window).collect();
    Some(Hours::new(zone.unwrap_or(TimeZone::UTC), windows))
}

fn window(mut table: Section<'_>) -> Option<Window> {
    table.require("from", "the time it opens, such as \"08:00\"");
    table.require("to", "the time it closes, such as \"18:00\" or \"24:00\"");
    let every = BTreeSet::from_iter(0..DAYS.len());
    let days = match table.texts("days") {
        None => every.into_iter().filter_map(|day| DAYS.get(day)).map(|(_, day)| *day).collect(),
        Some(texts) => {
            let mut days: Vec<Weekday> = Vec::new();
            for text in &texts.value {
                match parse_days(text.value) {
                    Some(more) => days.extend(more),
                    None => {
                        let known = DAYS.map(|(name, _)| name);
                        let message = format!(
                            "{:?} is not a day: write \"mon\" or \"mon-fri\"{}",
                            text.value,
                            hint(text.value, &known)
                        );
                        table.problem(text.place, message);
                    }
                }
            }
            if table.is_empty_array("days") {
                table.problem(texts.place, "\"days\" is empty: name days, or leave it out for every day");
            }
            days
        }
    };
    let (from, to) = (minute(&mut table, "from"), minute(&mut table, "to"));
    if let (Some(from), Some(to)) = (&from, &to)
        && from.value == to.value
    {
        table.problem(
            to.place,
            "it opens and closes at the same time; for a whole day write \"00:00\" to \"24:00\"",
        );
    }
    if let Some(from) = &from
        && from.value >= 24 * 60
    {
        table.problem(from.place, "a day's last minute is \"23:59\"; \"24:00\" is the next day's \"00:00\"");
    }
    table.finish();
    Some(Window { days, from: from?.value, to: to?.value })
}

fn minute(table: &mut Section<'_>, key: &'static str) -> Option<At<u16>> {
    let text = table.text(key)?;
    let minute = parse_minute(text.value);
    if minute.is_none() {
        table.problem(text.place, format!("{:?} is not a time of day: write HH:MM", text.value));
    }
    Some(At { value: minute?, place: text.place })
}

/// Longest certificate, session and silence, and what is recorded.
pub(super) fn limits(section: &mut Section<'_>) -> Limits {
    let certificate_max = section.duration("certificate_max", &CERTIFICATE_LIFE);
    let session_max = section.duration("session_max", &SESSION_MAX);
    let idle_max = section.duration("idle_max", &SESSION_IDLE);
    if let (Some(session), Some(idle)) = (&session_max, &idle_max)
        && idle.value > session.value
    {
        section
            .problem(idle.place, "\"idle_max\" is longer than \"session_max\" and would never end a session");
    }
    let recording = section.text("recording").and_then(|text| {
        let found = Recording::ALL.into_iter().find(|recording| recording.as_str() == text.value);
        if found.is_none() {
            let known = Recording::ALL.map(Recording::as_str);
            let message = format!("unknown recording {:?}{}", text.value, hint(text.value, &known));
            section.problem(text.place, message);
        }
        Some(At { value: found?, place: text.place })
    });
    let when_disk_full = section.text("when_disk_full").and_then(|text| {
        let found = WhenDiskFull::ALL.into_iter().find(|when| when.as_str() == text.value);
        if found.is_none() {
            let message = format!("{:?} is neither \"close\" nor \"continue\"", text.value);
            section.problem(text.place, message);
        }
        Some(At { value: found?, place: text.place })
    });
    Limits { certificate_max, session_max, idle_max, recording, when_disk_full }
}
