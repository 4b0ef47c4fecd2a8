//! A sign-in that ends takes its live sessions with it within two seconds, whoever ends it: its owner, the command line
//! on the server, or another bastion that shares the database.

use std::time::Duration;

use serde_json::Value;

use crate::passage::{assert_logout_ends_the_session, until_closed};
use crate::postgres;
use crate::world::PATIENCE;
use crate::world::bastion::Bastion;
use crate::world::process::run;
use crate::world::stage::{Plan, Stage};

/// How long a session may go on.
const SOON: Duration = Duration::from_secs(2);

/// The sign-ins that are live, by `caponier sign-ins ls`.
pub(crate) fn sign_ins(bastion: &Bastion) -> Vec<Value> {
    serde_json::from_str(&bastion.admin(&["sign-ins", "ls", "--json"]).ok()).unwrap()
}

/// Ends the one live sign-in, by `caponier sign-ins end` with this bastion's configuration.
fn end_the_one(bastion: &Bastion) {
    let listed = sign_ins(bastion);
    assert_eq!(listed.len(), 1, "{listed:#?}");
    let id = listed[0]["id"].as_str().unwrap();
    let said = bastion.admin(&["sign-ins", "end", id, "--reason", "laptop stolen"]).ok();
    assert_eq!(said, format!("{id} has ended\n"));
    bastion.admin(&["sign-ins", "end", id]).ended(1);
}

#[expect(clippy::print_stdout, reason = "a measurement to print")]
fn assert_soon(took: Duration, how: &str) {
    println!("{how}: the live session was closed after {took:.2?}");
    assert!(took < SOON, "{how}: {took:?}");
}

#[test]
fn an_admin_ends_a_live_session_on_the_server() {
    let stage = Stage::set();
    let listed = stage.bastion.admin(&["sign-ins", "ls"]).ok();
    assert!(listed.contains("corp:engineer (Erin Engineer)") && listed.contains("loopback"), "{listed}");
    assert_soon(until_closed(&stage, || end_the_one(&stage.bastion)), "sign-ins end, SQLite");
    stage.wait_for_audit("sign_in_ended", "laptop stolen");
    assert_eq!(stage.bastion.admin(&["sign-ins", "ls"]).ok(), "nobody is signed in\n");
    stage.ssh(&["web1", "true"]).run().ended(255);
}

#[test]
fn a_passage_on_postgresql() {
    let postgres = postgres::start();
    let stage = Stage::set_to(Plan { store: Some(postgres.fresh_database()), ..Plan::default() });
    assert_eq!(stage.ssh(&["web1", "echo on postgres; exit 3"]).run().ended(3).text(), "on postgres\n");
    let closed = stage.wait_for_audit("session_closed", "\"finished\"");
    assert!(closed.contains("\"exit_status\":3"), "{closed}");
    let listed = stage.bastion.admin(&["sessions"]).ok();
    assert!(listed.contains("exec: echo on postgres; exit 3"), "{listed}");
    assert!(std::fs::exists(stage.bastion.dir().join("state")).unwrap());
    assert!(!std::fs::exists(stage.bastion.dir().join("state/caponier.db")).unwrap(), "SQLite was used");
    assert_logout_ends_the_session(&stage);
}

#[test]
fn two_bastions_share_a_postgresql_and_what_ends_at_one_ends_at_the_other() {
    let postgres = postgres::start();
    let stage = Stage::set_to(Plan { store: Some(postgres.fresh_database()), ..Plan::default() });
    let second = stage.second_bastion();
    let live = stage.live_terminal();
    let third = stage.second_bastion();
    assert!(!live.shown().contains("closed"), "another's start ended it: {}", live.shown());
    drop((live, third));
    // The command line of the second, then a person's logout at the second's door.
    assert_soon(
        until_closed(&stage, || end_the_one(&second)),
        "sign-ins end beside another bastion, PostgreSQL",
    );
    stage.login("engineer");
    let at_second = || {
        let state = stage.laptop.home().join(".caponier/client.json");
        let text = std::fs::read_to_string(&state).unwrap();
        assert!(text.contains(&stage.bastion.url()), "{text}");
        std::fs::write(&state, text.replace(&stage.bastion.url(), &second.url())).unwrap();
        run(&mut stage.laptop.caponier(&["logout"]), b"", PATIENCE).ok();
    };
    assert_soon(until_closed(&stage, at_second), "logout at another bastion, PostgreSQL");
}
