//! The whole way on real parts only: people sign in at a real provider with a real browser, use the stock clients with
//! the configuration that `caponier login` wrote, against a real sshd; then an auditor looks at what happened. What the
//! clients must get is the same as in `passage`, whose checks are used here.

use std::process::Command;

use serde_json::Value;

use crate::passage::{
    assert_commands_end_as_directly, assert_files_travel, assert_one_connection_carries_several_sessions,
    assert_terminal_is_followed_and_recorded,
};
use crate::recording::asciinema;
use crate::world::bastion::CAPONIER;
use crate::world::stage::{Plan, Stage};
use crate::world::terminal::Terminal;
use crate::world::{PATIENCE, wait_for};

#[test]
fn the_whole_way_on_real_parts() {
    for alg in ["RS256", "ES256"] {
        let stage = Stage::set_to(Plan { real: Some(alg), ..Plan::default() });
        assert_commands_end_as_directly(&stage);
        assert_terminal_is_followed_and_recorded(&stage);
        assert_files_travel(&stage, &stage.through(), "through");
        assert_files_travel(&stage, &stage.direct(), "directly");
        assert_one_connection_carries_several_sessions(&stage);
        assert_auditor_sees_it(&stage);
    }
}

/// The command's answer as rows.
fn rows(stage: &Stage, args: &[&str]) -> Vec<Value> {
    serde_json::from_str(&stage.bastion.admin(args).ok()).unwrap()
}

fn assert_auditor_sees_it(stage: &Stage) {
    // A session is closed when its seal has been verified.
    let sessions = wait_for("the end of all sessions", PATIENCE, || {
        let rows = rows(stage, &["sessions", "--json", "--limit", "1000"]);
        rows.iter().all(|row| !row["closed"].is_null()).then_some(rows)
    });
    assert!(sessions.iter().all(|row| row["who"] == "corp:engineer" && row["target"] == "web1"));
    for (kind, command) in [
        ("shell", ""),
        ("exec", "exit 137"),
        ("exec", "rsync --server"),
        ("exec", "git-upload-pack"),
        ("exec", "echo mux-2"),
        ("sftp", ""),
    ] {
        let is = |row: &&Value| {
            row["kind"] == kind && row["command"].as_str().is_some_and(|said| said.starts_with(command))
        };
        let row = sessions.iter().find(is).unwrap_or_else(|| panic!("no {kind} {command:?}: {sessions:#?}"));
        assert_eq!(row["close_reason"], "finished", "{row:#}");
    }
    let table = stage.bastion.admin(&["sessions"]).ok();
    assert!(table.contains("corp:engineer (Erin Engineer)") && table.contains("@web1"), "{table}");

    let recordings = rows(stage, &["recordings", "ls", "--json", "--limit", "1000"]);
    assert_eq!(recordings.len(), sessions.len(), "every session");
    let verified = stage.bastion.admin(&["recordings", "verify", "--all"]).ok();
    assert_eq!(verified, format!("{} as sealed, 0 not\n", sessions.len()));
    for row in &recordings {
        let id = row["id"].as_str().unwrap();
        if row["kind"] == "sftp" {
            let none = stage.bastion.admin(&["recordings", "path", id]);
            assert!(none.ended(1).errors().contains("no screen"), "{}", none.errors());
            continue;
        }
        let path = stage.bastion.admin(&["recordings", "path", id]).ok();
        let (_, content) = asciinema("cat", path.trim().as_ref());
        assert!(content, "asciinema does not show {row:#}");
    }
    // Played by our own command in the auditor's terminal, with everything that the person saw.
    let shell = recordings.iter().find(|row| row["kind"] == "shell").unwrap()["id"].as_str().unwrap();
    let mut play = Command::new(CAPONIER);
    play.args(["recordings", "play", shell, "--speed", "1000", "--config"]).arg(stage.bastion.config());
    let (status, shown) = Terminal::start(play.env("LC_ALL", "C.UTF-8"), 120, 40).finish(PATIENCE);
    assert_eq!(status, Some(0), "{shown}");
    assert!(shown.contains("resized-42") && shown.contains("grüße €"), "{shown}");
}
