//! Rows for the rules: entries in, alerts out.

use jiff::tz::TimeZone;
use serde_json::json;

use super::signal::is_office_time;
use super::*;
use crate::config::OfficeHours;

/// Monday, 2027-01-18, 12:00 UTC.
const NOON: u64 = 1_800_273_600;

fn entry(seq: u64, secs: u64, kind: &str, fields: Value) -> Entry {
    Entry { seq, at: Timestamp::from_secs(NOON + secs), kind: kind.into(), fields }
}

/// Plays entries over the defaults and gives `rule subject` of every finding.
fn play(entries: &[Entry]) -> Vec<String> {
    let whose = Whose { who: "corp:ann".into(), target: "web1".into(), node: "b1:22".into() };
    let (config, mut memory) = (Alerts::default(), Memory::default());
    let findings = entries.iter().flat_map(|entry| judge(entry, Some(&whose), &config, &mut memory, false));
    findings.map(|finding| format!("{} {}", finding.rule.word(), finding.subject)).collect()
}

fn session(who: &str, target: &str, from: &str) -> Value {
    json!({ "who": who, "target": target, "login": "root", "from": from })
}

#[test]
fn what_is_counted_is_found_when_it_is_enough_and_not_before() {
    let refused =
        json!({ "who": "corp:ann", "target": "web1", "login": "root", "act": "shell", "from": "192.0.2.1" });
    let file = json!({ "session": "ses_x", "op": "read", "path": "/etc/shadow", "allowed": false });
    let bad = json!({ "what": "request", "claimed": "k", "code": "bad-signature", "from": "2001:db8::7" });
    let expired =
        json!({ "what": "certificate", "claimed": "(not read)", "code": "expired", "from": "192.0.2.1" });
    let rows = [
        ("sign_in_failed", json!({ "from": "192.0.2.1" }), 5, "failed_sign_ins 192.0.2.1"),
        ("access_refused", refused, 10, "refused_access corp:ann"),
        ("file_operation", file, 10, "refused_access corp:ann"),
        ("credential_refused", bad, 20, "refused_credentials 2001:db8::"),
        ("credential_refused", expired, 3, "expired_certificate 192.0.2.1"),
        ("case_filed", json!({ "who": "corp:ann" }), 5, "repeated_requests corp:ann"),
    ];
    for (kind, fields, enough, expect) in rows {
        let many = |spread: u64| -> Vec<Entry> {
            (0..enough).map(|n| entry(n + 1, n * spread, kind, fields.clone())).collect()
        };
        assert_eq!(play(&many(1)), [expect], "{kind}: {enough}");
        assert_eq!(play(&many(1)[1..]), [""; 0], "{kind}: one fewer");
        assert_eq!(play(&many(3600)), [""; 0], "{kind}: over a long time");
    }
}

#[test]
fn what_is_found_at_once() {
    let dead = |code: &str| json!({ "what": "certificate", "claimed": "ann SHA256:x", "code": code, "from": "192.0.2.1" });
    let closed = |reason: &str| json!({ "session": "ses_x", "reason": reason });
    let many = json!({ "network": "192.0.2.1", "since": 1, "count": 500 });
    let glass = |is: bool| json!({ "who": "corp:ann", "targets": ["db1", "db2"], "grant": "grt_1", "break_glass": is });
    for (kind, fields, expect) in [
        ("credential_refused", dead("sign-in-ended"), &["revoked_certificate ann SHA256:x"][..]),
        ("credential_refused", dead("revoked"), &["revoked_certificate ann SHA256:x"]),
        ("credential_refused", dead("revoked-key"), &["revoked_certificate ann SHA256:x"]),
        ("credential_refused", dead("wrong-ca"), &[]),
        ("refusals_not_listed", many, &["refused_credentials 192.0.2.1"]),
        ("session_closed", closed("host-key"), &["host_key web1"]),
        ("session_closed", closed("recorder"), &["recorder b1:22"]),
        ("session_closed", closed("finished"), &[]),
        (
            "archive_failed",
            json!({ "session": "ses_1", "act": "archive", "node": "b3:22", "attempts": 4, "problem": "503" }),
            &["recorder b3:22"],
        ),
        (
            "recorder_failed",
            json!({ "who": "corp:ann", "target": "web1", "node": "b2:22", "why": "full" }),
            &["recorder b2:22"],
        ),
        ("grant_opened", glass(true), &["break_glass grt_1"]),
        ("grant_opened", glass(false), &[]),
        (
            "notice_given_up",
            json!({ "sink": "webhook:ops", "kind": "grant.ended" }),
            &["undelivered webhook:ops"],
        ),
        (
            "audit_altered",
            json!({ "node": "b1:22", "seq": 5, "why": "entry 5 is missing" }),
            &["audit_altered b1:22"],
        ),
        ("audit_sink_gap", json!({ "sink": "copy", "has": 3, "had": 9, "why": "cut" }), &["audit_copy copy"]),
        ("audit_sink_behind", json!({ "sink": "copy", "seq": 3, "problem": "503" }), &["audit_copy copy"]),
        ("audit_sink_caught_up", json!({ "sink": "copy", "seq": 9 }), &[]),
        ("file_operation", json!({ "session": "s", "allowed": true }), &[]),
        ("alerts_raised", json!({ "alerts": [] }), &[]),
        ("something_new", json!({ "who": "x" }), &[]),
        ("session_opened", json!("not an object"), &[]),
        ("sign_in_failed", json!({ "from": 7 }), &[]),
    ] {
        assert_eq!(play(&[entry(1, 0, kind, fields.clone())]), expect, "{kind} {fields}");
    }
}

#[test]
fn first_times_and_new_networks() {
    let (home, near, away) = ("192.0.2.1", "192.0.2.200", "198.51.100.1");
    let entries = [
        entry(1, 0, "signed_in", json!({ "who": "corp:ann", "from": home })),
        entry(2, 1, "session_opened", session("corp:ann", "web1", near)),
        entry(3, 2, "session_opened", session("corp:ann", "web1", home)),
        entry(4, 3, "session_opened", session("corp:ann", "web2", away)),
        entry(5, 4, "session_opened", session("corp:ann", "web2", away)),
        entry(6, 5, "session_opened", session("corp:bob", "web1", away)),
    ];
    assert_eq!(
        play(&entries),
        ["first_access_person corp:ann", "new_network corp:ann", "first_access_person corp:bob"]
    );
    // The rule about targets is off, and learns.
    let (config, mut memory) = (Alerts::default(), Memory::default());
    for entry in &entries {
        judge(entry, None, &config, &mut memory, true);
    }
    let learned = memory.take_learned();
    let targets: Vec<_> =
        learned.iter().filter(|(seen, _)| seen.rule == AlertRule::FirstAccessTarget).collect();
    assert_eq!(targets.len(), 3, "{learned:?}");
    let wanted = wants(&entries[0], &config);
    assert!(wanted.iter().all(|seen| memory.knows(seen)) && wanted.len() == 2, "{wanted:?}");
}

/// A job runs at any hour and each time on another machine; only that it comes for the first time is worth a word.
#[test]
fn jobs_keep_no_office_hours() {
    let came = |kind: &str| {
        let session = |target: &str, from: &str| {
            let mut fields = session("github:repository/1", target, from);
            fields["who_kind"] = kind.into();
            fields
        };
        let night = 12 * 3600;
        play(&[
            entry(1, night, "session_opened", session("web1", "192.0.2.1")),
            entry(2, night + 60, "session_opened", session("web1", "198.51.100.7")),
            entry(3, night + 120, "session_opened", session("web2", "203.0.113.9")),
        ])
    };
    assert_eq!(came("workload"), ["first_access_person github:repository/1"]);
    assert!(came("person").len() > 1, "{:?}", came("person"));
}

#[test]
fn what_only_teaches_is_not_found() {
    let (config, mut memory) = (Alerts::default(), Memory::default());
    let one = entry(1, 0, "session_opened", session("corp:ann", "web1", "192.0.2.1"));
    assert!(judge(&one, None, &config, &mut memory, true).is_empty());
    let again = Entry { seq: 2, ..one };
    assert!(judge(&again, None, &config, &mut memory, false).is_empty(), "she was there before");
}

#[test]
fn office_hours_are_those_of_a_place() {
    let zone = |name: &str| TimeZone::get(name).unwrap();
    let days: Vec<_> = [jiff::civil::Weekday::Monday, jiff::civil::Weekday::Friday].into();
    let hours = |name: &str| OfficeHours {
        zone: zone(name),
        zone_name: name.into(),
        days: days.clone(),
        from: 7 * 60,
        to: 20 * 60,
    };
    const HOUR: u64 = 3600;
    for (zone, secs, expect) in [
        ("UTC", 0, true),
        ("UTC", 8 * HOUR - 1, true),
        ("UTC", 8 * HOUR, false),
        ("UTC", 24 * HOUR, false),
        ("UTC", 4 * 24 * HOUR, true),
        ("Europe/Berlin", 7 * HOUR - 1, true),
        ("Europe/Berlin", 7 * HOUR, false),
        ("Asia/Tokyo", 0, false),
    ] {
        let at = Timestamp::from_secs(NOON + secs);
        assert_eq!(is_office_time(&hours(zone), at), expect, "{zone} {secs}");
    }
}

#[test]
fn a_finding_says_how_many_and_since_which_entry() {
    let (config, mut memory) = (Alerts::default(), Memory::default());
    let fields = json!({ "from": "192.0.2.1" });
    let mut last = None;
    for n in 1..=7 {
        last = judge(&entry(n, n, "sign_in_failed", fields.clone()), None, &config, &mut memory, false).pop();
    }
    let last = last.unwrap();
    assert_eq!((last.first_seq, last.seq, last.events, last.in_window), (3, 7, 1, 5));
    assert_eq!(last.title, "failed sign-ins from 192.0.2.1 (5 within 10m)");
}
