//! `caponier audit` as people run it: over the log of a real passage (request, vote, session), and what it says when somebody was
//! at the database or at a copy.

use std::fs;
use std::path::Path;
use std::process::Command;

use caponier::audit::schema;
use serde_json::Value;

use crate::requests::ssh::{BY_REVIEWERS, ask, by, set};
use crate::world::bastion::{Bastion, CAPONIER};
use crate::world::process::{Finished, Running, run};
use crate::world::stage::Stage;
use crate::world::{PATIENCE, part, scratch, wait_for};

/// Runs a statement on the database of a bastion, behind its back.
pub(super) fn tamper(bastion: &Bastion, sql: &str) {
    let script = "import sqlite3,sys; db=sqlite3.connect(sys.argv[1], timeout=30); db.executescript(sys.argv[2]); db.commit()";
    let python = part("target/test-parts/clients/bin/python");
    let database = bastion.dir().join("state/caponier.db");
    run(Command::new(python).args(["-c", script]).arg(database).arg(sql), b"", PATIENCE).ok();
}

/// `caponier audit ARGS` where there is no configuration.
fn elsewhere(args: &[&str]) -> Finished {
    let dir = scratch();
    run(Command::new(CAPONIER).arg("audit").args(args).current_dir(dir.path()), b"", PATIENCE)
}

/// A session with everything before it: asked for, approved, opened, one command, closed. Its id.
fn passage() -> (Stage, String) {
    let (stage, reviewer) = set(None, BY_REVIEWERS);
    let case = ask(&stage.laptop, &[]);
    by(&reviewer, &["approve", &case, "--note", "ten minutes will do"]).ok();
    assert_eq!(stage.ssh(&["web1", "echo", "in"]).run().ok(), "in\n");
    let closed: Value = serde_json::from_str(&stage.wait_for_audit("session_closed", "finished")).unwrap();
    let session = closed["session"].as_str().unwrap().to_owned();
    (stage, session)
}

#[test]
fn one_access_from_request_to_seal() {
    let (stage, session) = passage();
    let page = stage.bastion.admin(&["audit", "story", &session]).ok();
    let mut rest = page.as_str();
    for part in [
        "corp:engineer (Erin Engineer) as ",
        "signed in from",
        "certificate ",
        "asked for ",
        "OPS-1 look",
        "corp:reviewer approved (reviewers), note \"ten minutes will do\"",
        "access was opened (approved)",
        "the session was opened from 127.0.0.1: exec: echo in",
        "command (allow): echo in",
        "output: 3 bytes",
        "the session was closed: finished, exit status 0",
    ] {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part:?}, in this order, in\n{page}"));
        rest = &rest[at..];
    }
    let story: Value =
        serde_json::from_str(&stage.bastion.admin(&["audit", "story", &session, "--json"]).ok()).unwrap();
    let kinds: Vec<&str> =
        story["parts"].as_array().unwrap().iter().filter_map(|part| part["kind"].as_str()).collect();
    for kind in
        ["signed_in", "case_filed", "case_approved", "grant_opened", "session_opened", "session_closed"]
    {
        assert_eq!(kinds.iter().filter(|one| **one == kind).count(), 1, "{kind} in {kinds:?}");
    }
    let seal = story["recording_sha256"].as_str().unwrap();
    assert!(page.contains(&format!("seal {seal}")), "{page}");
    let none = "ses_00000000000000000000000000";
    let missing = stage.bastion.admin(&["audit", "story", none]);
    missing.ended(1);
    assert!(missing.errors().contains("there is no session"), "{}", missing.errors());

    found(&stage, &session);
    proven(&stage);
    // Whatever this passage wrote stands in the schema.
    for (kind, json) in stage.audit() {
        assert_eq!(schema::misfit(&kind, &serde_json::from_str(&json).unwrap()), None);
    }
}

/// What `search` and `tail` find.
fn found(stage: &Stage, session: &str) {
    let search = |args: &[&str]| -> Vec<Value> {
        let all = [&["audit", "search", "--json"], args].concat();
        stage.bastion.admin(&all).ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let kinds = |args: &[&str]| -> Vec<String> {
        search(args).iter().map(|entry| entry["kind"].as_str().unwrap().to_owned()).collect()
    };
    let of_session = kinds(&["--session", session]);
    assert!(of_session.contains(&"session_closed".to_owned()), "{of_session:?}");
    // The end names no target and nobody; it is found all the same.
    let ends = ["--kind", "session_closed", "--kind", "server_started", "--target", "web1"];
    assert_eq!(kinds(&ends), ["session_closed"]);
    let of_her = kinds(&["--who", "corp:engineer"]);
    assert!(of_her.contains(&"session_closed".to_owned()) && !of_her.contains(&"server_started".to_owned()));
    assert_eq!(kinds(&["--who", "corp:reviewer", "--kind", "case_approved"]), ["case_approved"]);
    assert_eq!(kinds(&["TEN MINUTES"]), ["case_approved"]);
    assert_eq!(kinds(&["no such text"]), [""; 0]);
    assert_eq!(kinds(&["--until", "1h"]), [""; 0]);
    assert_eq!(kinds(&["--since", "1h", "--limit", "1"]).len(), 1);
    assert_eq!(kinds(&["--since", "2999-01-01T00:00:00Z"]), [""; 0]);
    stage.bastion.admin(&["audit", "search", "--since", "yesterday"]).ended(2);

    let last = stage.bastion.admin(&["audit", "tail", "-n", "1"]).ok();
    assert_eq!(last.lines().count(), 1, "{last}");
    let mut follow = Command::new(CAPONIER);
    follow.args(["audit", "tail", "-f", "-n", "0", "--config"]).arg(stage.bastion.config());
    let tail = Running::start(&mut follow, b"");
    assert_eq!(stage.ssh(&["web1", "echo", "followed"]).run().ok(), "followed\n");
    tail.wait_for_text("act=\"exec: echo followed\"", PATIENCE);
    tail.signal("TERM");
    tail.finish(PATIENCE);
}

/// What `export` and `verify` say of the log, of copies, and of what was altered.
fn proven(stage: &Stage) {
    let dir = scratch();
    let copy = dir.path().join("audit.ndjson");
    let admin = |args: &[&str]| stage.bastion.admin(&[&["audit"], args].concat());
    let path = copy.to_str().unwrap();
    admin(&["export", "-o", path]).ok();
    admin(&["export", "-o", path]).ended(1);
    let whole = fs::read_to_string(&copy).unwrap();
    let count = whole.lines().count();
    let csv = admin(&["export", "--format", "csv"]).ok();
    assert!(csv.starts_with("seq,at,kind,fields,prev,hash\r\n\"1\",") && csv.lines().count() > count);

    let verified: Value = serde_json::from_str(&admin(&["verify", "--json"]).ok()).unwrap();
    assert_eq!((verified["whole"].as_bool(), verified["first"].as_u64()), (Some(true), Some(1)));
    let head = format!("{}:{}", verified["seq"], verified["hash"].as_str().unwrap());
    let said = admin(&["verify", "--head", &head, "--against", path]).ok();
    assert!(said.starts_with("whole: entries 1 to "), "{said}");
    admin(&["verify", "--head", "1:00"]).ended(2);
    elsewhere(&["verify", "--file", path]).ok();
    elsewhere(&["verify", "--file", "/none/audit.ndjson"]).ended(1);
    let later = dir.path().join("later.ndjson");
    fs::write(&later, admin(&["export", "--from", "5"]).ok()).unwrap();
    let said = elsewhere(&["verify", "--file", later.to_str().unwrap(), "--head", &head]).ok();
    assert!(said.starts_with("whole: entries 5 to "), "{said}");
    // What is known of an entry that is not in the copy proves nothing of the copy.
    let first: Value = serde_json::from_str(whole.lines().next().unwrap()).unwrap();
    let first = format!("1:{}", first["hash"].as_str().unwrap());
    elsewhere(&["verify", "--file", path, "--head", &first]).ok();
    let said = elsewhere(&["verify", "--file", later.to_str().unwrap(), "--head", &first]);
    assert!(said.ended(1).errors().contains("is not there to be compared"), "{}", said.errors());
    elsewhere(&["verify", "--file", later.to_str().unwrap(), "--against", path]).ended(1);
    elsewhere(&["verify", "--file", path, "--against", later.to_str().unwrap()]).ok();
    altered_copies(&whole, &copy, count);

    // The same at the database, and against a copy from before.
    fs::write(&copy, &whole).unwrap();
    let original = whole.lines().nth(4).unwrap();
    let (forged, wrong) =
        ("UPDATE audit SET json = '{}' WHERE seq = 5", "BROKEN: the hash of entry 5 is not");
    tamper(&stage.bastion, forged);
    let said = admin(&["verify"]);
    said.ended(1);
    assert!(said.text().starts_with(wrong), "{}", said.text());
    let json: Value = serde_json::from_str(&admin(&["verify", "--json"]).text()).unwrap();
    assert_eq!((json["whole"].as_bool(), json["first_bad"].as_u64()), (Some(false), Some(5)));
    let fields = &original[original.find("\"fields\":").unwrap() + 9..original.find(",\"prev\":").unwrap()];
    tamper(
        &stage.bastion,
        &format!("UPDATE audit SET json = '{}' WHERE seq = 5", fields.replace('\'', "''")),
    );
    admin(&["verify", "--against", path]).ok();
    // The end cut off, with a head that fits: only the copy knows.
    wait_for("a bastion at rest", PATIENCE, || (admin(&["verify"]).status == Some(0)).then_some(()));
    tamper(
        &stage.bastion,
        "DELETE FROM audit WHERE seq > 6; UPDATE audit_head SET seq = 6, hash = (SELECT hash FROM audit WHERE seq = 6)",
    );
    admin(&["verify"]).ok();
    let said = admin(&["verify", "--against", path]);
    said.ended(1);
    assert!(said.text().starts_with("BROKEN: entry 7 is missing"), "{}", said.text());
}

fn altered_copies(whole: &str, copy: &Path, count: usize) {
    let path = copy.to_str().unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let mut removed = lines.clone();
    removed.remove(3);
    let mut swapped = lines.clone();
    swapped.swap(3, 4);
    let edited: Vec<String> = lines.iter().map(|line| line.replace("OPS-1 look", "OPS-2 look")).collect();
    let filed = 1 + lines.iter().position(|line| line.contains("OPS-1 look")).unwrap();
    for (what, text, seq) in [
        ("removed", removed.join("\n"), 4),
        ("swapped", swapped.join("\n"), 4),
        ("edited", edited.join("\n"), filed),
        ("repeated", [lines.as_slice(), &lines[count - 1..]].concat().join("\n"), count),
    ] {
        fs::write(copy, text).unwrap();
        let said = elsewhere(&["verify", "--file", path, "--json"]);
        said.ended(1);
        let json: Value = serde_json::from_str(&said.text()).unwrap();
        assert_eq!(json["first_bad"].as_u64(), Some(seq as u64), "{what}: {json}");
    }
    fs::write(copy, &whole[..whole.len() - 10]).unwrap();
    let said = elsewhere(&["verify", "--file", path]);
    said.ended(1);
    assert!(said.errors().contains(&format!("line {count} ")), "{}", said.errors());
    fs::write(copy, "").unwrap();
    elsewhere(&["verify", "--file", path]).ended(1);
}

#[test]
fn the_schema_is_told_without_a_server() {
    let text = elsewhere(&["schema"]).ok();
    assert!(text.contains("session_closed\n"), "{text}");
    let json: Value = serde_json::from_str(&elsewhere(&["schema", "--json"]).ok()).unwrap();
    let kinds: Vec<&str> =
        json["oneOf"].as_array().unwrap().iter().filter_map(|kind| kind["title"].as_str()).collect();
    assert!(kinds.contains(&"session_opened") && kinds.contains(&"grant_opened"), "{kinds:?}");
}
