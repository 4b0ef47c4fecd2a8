//! `caponier kill`, with real clients: the session ends at once with who and why, at this bastion and at another one that
//! shares the database, and everything on it; who may give such an order, and what is wrong with others.

use std::io::Read as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::postgres;
use crate::world::bastion::Laptop;
use crate::world::process::{Finished, run};
use crate::world::stage::{Multiplexed, Plan, Stage};
use crate::world::{PATIENCE, free_port, wait_for};

/// How long a session may go on.
const SOON: Duration = Duration::from_secs(2);
/// Who may end sessions, and somebody who may only look. Admins may too: `api::permissions`.
const PEOPLE: &str =
    "[sign_in.killers]\nsubjects = [\"corp:reviewer\"]\n[sign_in.auditors]\nsubjects = [\"corp:auditor\"]\n";

fn signed_in(stage: &Stage, person: &str) -> Laptop {
    let laptop = Laptop::new();
    stage.login_at(&laptop, person);
    laptop
}

fn kill(laptop: &Laptop, session: &str, reason: &str) -> Finished {
    run(&mut laptop.caponier(&["kill", session, "--reason", reason]), b"", PATIENCE)
}

/// The newest entry of this kind.
#[track_caller]
fn newest(stage: &Stage, kind: &str) -> Value {
    let all = stage.audit();
    let found = all.iter().rev().find(|(k, _)| k == kind).unwrap_or_else(|| panic!("no {kind} in {all:#?}"));
    serde_json::from_str(&found.1).unwrap()
}

fn text<'f>(fields: &'f Value, name: &str) -> &'f str {
    fields[name].as_str().unwrap_or_else(|| panic!("no {name} in {fields}"))
}

/// Opens a terminal, gives the order for its session, and waits for its end.
#[track_caller]
#[expect(clippy::print_stdout, reason = "a measurement to print")]
fn assert_killed(stage: &Stage, how: &str, by: &str, order: impl FnOnce(&str, &str) -> Finished) {
    let terminal = stage.live_terminal();
    let opened = newest(stage, "session_opened");
    let session = text(&opened, "session");
    let before = Instant::now();
    let said = order(session, "wrong machine").ok();
    let (status, shown) = terminal.finish(PATIENCE);
    let took = before.elapsed();
    println!("{how}: the live terminal was closed {took:.2?} after the command began");
    assert!(said.contains(session) && said.contains("corp:engineer"), "{said}");
    assert_eq!(status, Some(255), "{how}: {shown}");
    assert!(
        shown.contains(&format!("session closed: {by} ended it: wrong machine [killed]")),
        "{how}: {shown}"
    );
    assert!(took < SOON, "{how}: {took:?}");
    let closed = stage.wait_for_audit("session_closed", session);
    assert!(closed.contains("\"killed\""), "{closed}");
    let entry = newest(stage, "session_killed");
    assert_eq!(
        [text(&entry, "by"), text(&entry, "reason"), text(&entry, "session")],
        [by, "wrong machine", session]
    );
    assert_eq!([text(&entry, "whose"), text(&entry, "target")], ["corp:engineer", "web1"]);
    // The order is about that session only.
    stage.ssh(&["web1", "true"]).run().ok();
}

#[test]
fn a_live_session_ends_with_who_and_why() {
    let stage = Stage::set_to(Plan { config: PEOPLE, ..Plan::default() });
    let killer = signed_in(&stage, "reviewer");
    assert_killed(&stage, "over the API", "corp:reviewer", |session, reason| kill(&killer, session, reason));
    assert_killed(&stage, "on the server", "admin", |session, reason| {
        stage.bastion.admin(&["kill", session, "--reason", reason, "--on-server"])
    });
    let listed = stage.bastion.admin(&["sessions"]).ok();
    assert_eq!(listed.matches("killed").count(), 2, "{listed}");
}

#[test]
fn an_order_at_one_bastion_ends_a_session_at_the_other() {
    let postgres = postgres::start();
    let stage =
        Stage::set_to(Plan { config: PEOPLE, store: Some(postgres.fresh_database()), ..Plan::default() });
    let killer = signed_in(&stage, "reviewer");
    let second = stage.second_bastion();
    let state = killer.home().join(".caponier/client.json");
    let said = std::fs::read_to_string(&state).unwrap();
    std::fs::write(&state, said.replace(&stage.bastion.url(), &second.url())).unwrap();
    assert_killed(&stage, "at another bastion", "corp:reviewer", |session, reason| {
        kill(&killer, session, reason)
    });
    assert_killed(&stage, "on the server of another", "admin", |session, reason| {
        second.admin(&["kill", session, "--reason", reason, "--on-server"])
    });
}

#[test]
fn a_killed_session_takes_its_forwards_and_no_other_session_with_it() {
    let role = "forwards = { local = [\"127.0.0.1:1024-65535\"] }";
    let stage = Stage::set_to(Plan { config: PEOPLE, role, ..Plan::default() });
    let killer = signed_in(&stage, "reviewer");
    // Two programs over one connection of the client: one ends, the other does not notice.
    let shared = Multiplexed::over(&stage);
    let stays = shared.ssh("echo stays; sleep 30").start();
    stage.wait_for_audit("session_opened", "echo stays");
    let near = free_port();
    let spec = format!("{near}:127.0.0.1:{}", stage.web1.port);
    let ssh = stage.ssh(&["-N", "-L", &spec, "web1"]).start();
    let mut stream = wait_for("the forward", PATIENCE, || TcpStream::connect(("127.0.0.1", near)).ok());
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut greeting = [0; 8];
    stream.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"SSH-2.0-");
    let session = text(&newest(&stage, "forward_opened"), "session").to_owned();
    let before = Instant::now();
    kill(&killer, &session, "no tunnels today").ok();
    let mut rest = Vec::new();
    // The end, or a reset: both are one.
    drop(stream.read_to_end(&mut rest));
    assert!(before.elapsed() < SOON, "{:?}", before.elapsed());
    let closed = stage.wait_for_audit("forward_closed", &session);
    assert!(closed.contains("\"killed\""), "{closed}");
    let closed = stage.wait_for_audit("session_closed", &session);
    assert!(closed.contains("\"killed\""), "{closed}");
    drop(ssh);
    let open = stage.bastion.admin(&["sessions", "--open"]).ok();
    assert!(open.contains("echo stays") && open.lines().count() == 2, "{open}");
    drop(stays);
}

#[test]
fn who_may_end_sessions_and_which() {
    let stage = Stage::set_to(Plan { config: PEOPLE, ..Plan::default() });
    let (killer, auditor) = (signed_in(&stage, "reviewer"), signed_in(&stage, "auditor"));
    let terminal = stage.live_terminal();
    let session = text(&newest(&stage, "session_opened"), "session").to_owned();
    // Not their own either: who wants to go closes it.
    for (laptop, who) in [(&stage.laptop, "corp:engineer"), (&auditor, "corp:auditor")] {
        let said = kill(laptop, &session, "because");
        said.ended(126);
        assert!(said.errors().contains("sign_in.killers"), "{}", said.errors());
        let refused = stage.wait_for_audit("access_refused", &format!("{who} is no killer"));
        assert!(refused.contains(&session), "{refused}");
    }
    kill(&Laptop::new(), &session, "because").ended(77);
    let unknown = "ses_00000000000000000000000000";
    for (id, reason, told) in [
        (unknown, "because", "there is no session"),
        (session.as_str(), "", "a reason is needed"),
        (session.as_str(), "two\nlines", "one line"),
    ] {
        let said = kill(&killer, id, reason);
        said.ended(1);
        assert!(said.errors().contains(told), "{told}: {}", said.errors());
        let said = stage.bastion.admin(&["kill", id, "--reason", reason, "--on-server"]);
        said.ended(1);
        assert!(said.errors().contains(told), "{told}: {}", said.errors());
    }
    kill(&killer, "ses_x", "because").ended(2);
    run(&mut killer.caponier(&["kill", &session]), b"", PATIENCE).ended(2);
    assert!(stage.audit().iter().all(|(kind, _)| kind != "session_killed"));
    terminal.type_in("echo still-$((1+1))\n");
    terminal.wait_for("still-2");

    kill(&killer, &session, "enough").ok();
    terminal.finish(PATIENCE);
    stage.wait_for_audit("session_closed", &session);
    let said = kill(&killer, &session, "again");
    said.ended(1);
    assert!(said.errors().contains("is closed already (killed)"), "{}", said.errors());
    assert_eq!(stage.audit().iter().filter(|(kind, _)| kind == "session_killed").count(), 1);
}
