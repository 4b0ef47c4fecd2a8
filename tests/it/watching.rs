//! `caponier watch`, with real clients: the screen as it stands and what comes, until the session or the watcher's sign-in is
//! over; who may, which sessions, and what the audit log has of it.

use serde_json::Value;

use crate::world::PATIENCE;
use crate::world::bastion::Laptop;
use crate::world::process::{Finished, Running, run};
use crate::world::stage::{Plan, Stage};

/// Who may watch, and somebody who may by reading everything.
const PEOPLE: &str =
    "[sign_in.watchers]\nsubjects = [\"corp:reviewer\"]\n[sign_in.auditors]\nsubjects = [\"corp:auditor\"]\n";

fn signed_in(stage: &Stage, person: &str) -> Laptop {
    let laptop = Laptop::new();
    stage.login_at(&laptop, person);
    laptop
}

fn watching(laptop: &Laptop, session: &str, more: &[&str]) -> Running {
    Running::start(&mut laptop.caponier(&[&["watch", session], more].concat()), b"")
}

fn refused(laptop: &Laptop, session: &str) -> Finished {
    run(&mut laptop.caponier(&["watch", session]), b"", PATIENCE)
}

/// The session that was opened last.
fn newest_session(stage: &Stage) -> String {
    let all = stage.audit();
    let (_, opened) = all.iter().rev().find(|(kind, _)| kind == "session_opened").unwrap();
    let fields: Value = serde_json::from_str(opened).unwrap();
    fields["session"].as_str().unwrap().to_owned()
}

#[test]
fn the_screen_as_it_stands_and_what_comes() {
    let stage = Stage::set_to(Plan { config: PEOPLE, ..Plan::default() });
    let (watcher, auditor) = (signed_in(&stage, "reviewer"), signed_in(&stage, "auditor"));
    let terminal = stage.live_terminal();
    let session = newest_session(&stage);
    let cast = watching(&watcher, &session, &["--cast"]);
    cast.wait_for_text("here-2", PATIENCE);
    let plain = watching(&auditor, &session, &[]);
    plain.wait_for_text("here-2", PATIENCE);
    for who in ["corp:reviewer", "corp:auditor"] {
        let entry = stage.wait_for_audit("session_watched", who);
        assert!(entry.contains(&session) && entry.contains("\"whose\":\"corp:engineer\""), "{entry}");
    }
    terminal.type_in("echo later-$((1+1))\n");
    cast.wait_for_text("later-2", PATIENCE);
    plain.wait_for_text("later-2", PATIENCE);
    terminal.type_in("exit\n");
    terminal.finish(PATIENCE);

    let (cast, plain) = (cast.finish(PATIENCE), plain.finish(PATIENCE));
    assert!(cast.ended(0).errors().contains("the session is over"), "{}", cast.errors());
    assert!(plain.ended(0).errors().contains("80 columns and 24 rows"), "{}", plain.errors());
    assert!(plain.text().ends_with("\u{1b}[?2004l\r\n"), "the terminal is put back: {:?}", plain.text());
    // A whole cast: header, screen, and events whose times begin with the watch.
    let lines: Vec<Value> = cast.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["version"], &lines[0]["width"]), (&2.into(), &80.into()));
    assert_eq!((&lines[1][0], &lines[1][1]), (&0.0.into(), &"o".into()));
    let times: Vec<f64> = lines[1..].iter().map(|line| line[0].as_f64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    stage.wait_for_audit("session_watch_ended", "session-over");
    let ends = stage.audit().iter().filter(|(kind, _)| kind == "session_watch_ended").count();
    assert_eq!(ends, 2);
}

#[test]
fn a_watch_ends_with_the_sign_in_of_the_watcher() {
    let stage = Stage::set_to(Plan { config: PEOPLE, ..Plan::default() });
    let watcher = signed_in(&stage, "reviewer");
    let terminal = stage.live_terminal();
    let session = newest_session(&stage);
    let watch = watching(&watcher, &session, &[]);
    watch.wait_for_text("here-2", PATIENCE);
    run(&mut watcher.caponier(&["logout"]), b"", PATIENCE).ok();
    watch.finish(PATIENCE).ended(77);
    // The session goes on, and nobody sees it any more.
    terminal.type_in("echo still-$((1+1))\n");
    terminal.wait_for("still-2");
}

#[test]
fn who_may_watch_what_and_where() {
    let stage = Stage::set_to(Plan { config: PEOPLE, ..Plan::default() });
    let watcher = signed_in(&stage, "reviewer");
    let terminal = stage.live_terminal();
    let session = newest_session(&stage);
    let said = refused(&stage.laptop, &session);
    assert!(said.ended(126).errors().contains("sign_in.watchers"), "{}", said.errors());
    stage.wait_for_audit("access_refused", "corp:engineer is no watcher");
    refused(&Laptop::new(), &session).ended(77);
    let said = refused(&watcher, "ses_00000000000000000000000000");
    assert!(said.ended(1).errors().contains("there is no session"), "{}", said.errors());
    refused(&watcher, "ses_x").ended(2);

    // Another bastion of the same store says where it is.
    let second = stage.second_bastion();
    let state = watcher.home().join(".caponier/client.json");
    let here = std::fs::read_to_string(&state).unwrap();
    std::fs::write(&state, here.replace(&stage.bastion.url(), &second.url())).unwrap();
    let said = refused(&watcher, &session);
    let node = format!(":{}; ask that one", stage.bastion.ssh_port);
    assert!(said.ended(1).errors().contains(&node), "{}", said.errors());
    std::fs::write(&state, here).unwrap();

    terminal.type_in("exit\n");
    terminal.finish(PATIENCE);
    stage.wait_for_audit("session_closed", &session);
    let said = refused(&watcher, &session);
    assert!(said.ended(1).errors().contains("recordings play"), "{}", said.errors());
    assert!(stage.audit().iter().all(|(kind, _)| kind != "session_watched"));
}
