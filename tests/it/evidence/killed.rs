//! `kill -9` of the bastion at random moments. What a client has seen was written down before, so it must be there afterwards:
//! session, certificate, audit entry, and a recording that plays, is sealed, and says that it was interrupted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::RngExt as _;
use rand::SeedableRng as _;
use serde_json::Value;

use super::sessions;
use crate::recording::asciinema;
use crate::world::PATIENCE;
use crate::world::process::Running;
use crate::world::stage::Stage;

/// How often the bastion is killed.
fn rounds() -> u32 {
    if std::env::var_os("CAPONIER_TEST_LONG").is_some_and(|said| said == "1") { 300 } else { 12 }
}

/// Three clients of one round: each prints its name and goes on printing.
fn clients(stage: &Stage, round: u32) -> Vec<(String, Running)> {
    (0..3)
        .map(|n| {
            let name = format!("mark-{round}-{n}");
            let command = format!("echo {name}; while :; do echo more-of-{name}; sleep 0.02; done");
            let running = stage.ssh(&["-o", "ConnectTimeout=10", "web1", &command]).start();
            (name, running)
        })
        .collect()
}

#[test]
fn nothing_acknowledged_is_lost_at_any_moment() {
    let mut stage = Stage::set();
    let mut random = rand::rngs::StdRng::seed_from_u64(300);
    let mut seen = Vec::new();
    for round in 0..rounds() {
        let running = clients(&stage, round);
        let moment = Duration::from_millis(random.random_range(0..900));
        let began = Instant::now();
        crate::world::wait_for("the moment", PATIENCE, || (began.elapsed() >= moment).then_some(()));
        stage.bastion.kill();
        for (name, client) in running {
            let said = client.finish(PATIENCE);
            assert!(said.status != Some(0), "{name} ended well");
            if said.text().contains(&name) {
                seen.push(name);
            }
        }
        stage.bastion.start();
    }
    println!("{} of {} clients saw something", seen.len(), 3 * rounds());
    assert!(seen.len() >= 3, "the moments were too early: {seen:?}");
    assert_all_is_there(&stage, &seen);
}

fn assert_all_is_there(stage: &Stage, seen: &[String]) {
    // The doors are bound before what a crash left is sealed, and opened after that.
    let rows = crate::world::wait_for("the seals", PATIENCE, || {
        Some(sessions(&stage.bastion)).filter(|rows| rows.iter().all(|row| row["state"] != "open"))
    });
    let audit = stage.audit();
    let opened: BTreeMap<String, Value> = audit
        .iter()
        .filter(|(kind, _)| kind == "session_opened")
        .map(|(_, json)| serde_json::from_str::<Value>(json).unwrap())
        .map(|entry| (entry["session"].as_str().unwrap().to_owned(), entry))
        .collect();
    for name in seen {
        let row = rows.iter().find(|row| row["command"].as_str().unwrap().contains(&format!("echo {name};")));
        let row = row.unwrap_or_else(|| panic!("no session of {name}, which its client has seen"));
        let id = row["id"].as_str().unwrap();
        let entry = opened.get(id).unwrap_or_else(|| panic!("no entry of {name}"));
        let serial: u64 = entry["target_serial"].as_str().unwrap().parse().unwrap();
        let certificate = stage.ask_store(async |store| store.certificate(serial).await.unwrap());
        assert!(certificate.is_some(), "no certificate of {name}");
        let path = stage.bastion.admin(&["recordings", "path", id]).ok();
        let (shown, content) = asciinema("cat", path.trim().as_ref());
        assert!(content, "asciinema does not play {name}");
        let shown = String::from_utf8_lossy(&shown).into_owned();
        assert!(shown.contains(&format!("{name}\r\n")), "{name} was seen and is not in {shown:?}");
    }
    let mut interrupted = 0;
    for row in &rows {
        assert_eq!(
            row["state"],
            if row["close_reason"] == "interrupted" { "interrupted" } else { "sealed" },
            "{row:#}"
        );
        interrupted += usize::from(row["close_reason"] == "interrupted");
    }
    assert!(interrupted > 0);
    let said = stage.bastion.admin(&["recordings", "verify", "--all", "--json"]).ok();
    let verified: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(verified.len(), rows.len());
    let says_so = verified.iter().filter(|one| one["interrupted"] == true).count();
    assert_eq!(says_so, interrupted, "each seal says whether it was interrupted");
    // Every folder is somebody's: what had no session yet when the power went is gone.
    let folders = std::process::Command::new("find")
        .arg(stage.bastion.dir().join("recordings"))
        .args(["-name", "session.json"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&folders.stdout).lines().count(), rows.len());
}
