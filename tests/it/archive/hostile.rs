//! Somebody who can write in the database, or who changes the configuration, must not have other recordings deleted, or have
//! it said that something was deleted that is still there; and who only turns retention on deletes nothing with it.

use std::fs;
use std::time::Duration;

use caponier::app::App;
use caponier::recording::key::RecordingKey;
use caponier::store::{Here, SessionRow};
use caponier::time::Clock;
use russh::keys::ssh_key::{Algorithm, PrivateKey};

use super::folder::{make_vault, until_row, vault};
use super::{TWO_PARTS, insert, new_row, recordings, seal_by, sealed, write_open};
use crate::store::run_past;
use crate::telling::{NOW, Outpost, run};

const DAY: Duration = Duration::from_secs(86_400);

fn url(app: &App) -> String {
    format!("sqlite:{}", app.config.state_dir.join("caponier.db").display())
}

async fn archived(app: &App, rows: &[&SessionRow]) {
    for row in rows {
        until_row(app, row, "archived", |row| row.state == "archived").await;
    }
}

#[tokio::test]
async fn a_path_in_the_database_does_not_say_what_else_goes() {
    let clock = Clock::fixed(NOW);
    let outpost = Outpost::open(&vault("retention_days = 10\nkeep_local = \"5d\""), clock.clone()).await;
    let app = &outpost.app;
    let archive = make_vault(app);
    let good = sealed(app, &TWO_PARTS).await;
    let other = good.recording.clone().unwrap();
    let outside = app.config.state_dir.join("outside");
    fs::create_dir(&outside).unwrap();
    let paths =
        ["", ".", "..", "/", "2027", "2027/01/15", &other, &format!("{other}/"), &outside.to_string_lossy()];
    let mut bent = Vec::new();
    for _ in paths {
        bent.push(sealed(app, &TWO_PARTS).await);
    }
    recordings(app, &["hold", "set", "--session", good.id.as_str(), "--reason", "case 7"]).await.unwrap();
    let running = outpost.run();
    archived(app, &bent.iter().chain([&good]).collect::<Vec<_>>()).await;
    drop(running);
    for (row, path) in bent.iter().zip(paths) {
        let sql = format!("UPDATE session SET recording = '{path}' WHERE id = '{}'", row.id);
        run_past(&url(app), &sql).await;
    }
    // First the local copies would go, then all.
    for (act, keep) in [("remove", "5d"), ("delete", "3650d")] {
        clock.advance(5 * DAY);
        let app = &outpost.reconfigured(&vault(&format!("retention_days = 10\nkeep_local = \"{keep}\"")));
        let before = app.store.archive_row(&bent[0].id).await.unwrap().unwrap().attempts;
        let running = run(app);
        for row in &bent {
            let row = until_row(app, row, act, |row| row.attempts > before).await;
            assert!(row.problem.as_ref().unwrap().contains("nothing is touched"), "{row:?}");
            assert_eq!((row.state.as_str(), row.here), ("archived", Here::Yes), "{act}");
        }
        drop(running);
    }
    for top in [&archive, &app.config.recording.dir] {
        for row in bent.iter().chain([&good]) {
            let day = top.join("2027/01/15").join(row.id.as_str());
            assert!(day.join("seal.sig").exists(), "{day:?}");
        }
    }
    assert!(outside.exists());
    assert!(!outpost.audit().await.iter().any(|line| line.starts_with("recording_deleted ")));
}

#[tokio::test]
async fn what_an_archive_has_is_not_called_deleted_without_it() {
    let clock = Clock::fixed(NOW);
    let outpost = Outpost::open(&vault("retention_days = 10"), clock.clone()).await;
    let app = &outpost.app;
    let archive = make_vault(app);
    let row = sealed(app, &TWO_PARTS).await;
    let there = archive.join(row.recording.as_ref().unwrap());
    let running = outpost.run();
    archived(app, &[&row]).await;
    drop(running);
    clock.advance(10 * DAY);
    let without = outpost.reconfigured("[archive]\nkind = \"none\"\nretention_days = 10\n");
    let running = run(&without);
    let refused = until_row(app, &row, "a refusal", |row| row.attempts > 0).await;
    drop(running);
    assert!(
        refused.problem.as_ref().unwrap().contains("until the archive is configured again"),
        "{refused:?}"
    );
    assert_eq!((refused.state.as_str(), refused.here), ("archived", Here::Yes));
    assert!(
        there.join("index.json").exists()
            && app.config.recording.dir.join(row.recording.as_ref().unwrap()).exists()
    );
    assert!(!outpost.audit().await.iter().any(|line| line.starts_with("recording_deleted ")));
    // With the archive it goes.
    clock.advance(DAY);
    let _running = outpost.run();
    until_row(app, &row, "deleted", |row| row.state == "deleted").await;
    assert!(!there.exists());
}

#[tokio::test]
async fn who_turns_retention_on_deletes_nothing_with_it() {
    let clock = Clock::fixed(NOW);
    let outpost = Outpost::open("", clock.clone()).await;
    let old = sealed(&outpost.app, &TWO_PARTS).await;
    clock.advance(400 * DAY);
    let app = outpost.reconfigured("[archive]\nkind = \"none\"\nretention_days = 365\n");
    let running = run(&app);
    let taken = until_row(&app, &old, "taken up", |_| true).await;
    assert_eq!(taken.delete_after, Some(NOW.plus(400 * DAY).plus(365 * DAY)), "counted from now on");
    let new = sealed(&app, &TWO_PARTS).await;
    let taken = until_row(&app, &new, "taken up", |_| true).await;
    assert_eq!(taken.delete_after, Some(NOW.plus(400 * DAY).plus(365 * DAY)));
    clock.advance(365 * DAY);
    until_row(&app, &old, "deleted", |row| row.state == "deleted").await;
    drop(running);
}

/// All digests fit, also that in the database, but who signed is nobody.
#[tokio::test]
async fn a_seal_by_another_key_does_not_get_into_the_archive() {
    let outpost = Outpost::open(&vault("keep_local = \"0s\""), Clock::System).await;
    let app = &outpost.app;
    let archive = make_vault(app);
    let mut row = new_row(app);
    let path = write_open(app, &row.id, &TWO_PARTS);
    let key = app.random.with(|rng| PrivateKey::random(rng, Algorithm::Ed25519)).unwrap();
    row.recording_sha256 = Some(seal_by(app, &RecordingKey::new(key), &path));
    row.closed = Some(app.clock.now());
    insert(app, &row).await;
    let _running = outpost.run();
    let refused = until_row(app, &row, "a refusal", |row| row.attempts > 0).await;
    assert!(refused.problem.as_ref().unwrap().contains("not among the signers"), "{refused:?}");
    assert_eq!((refused.state.as_str(), refused.here), ("waiting", Here::Yes));
    assert!(
        path.join("seal.sig").exists() && !archive.join(row.recording.unwrap()).join("index.json").exists()
    );
}

#[tokio::test]
async fn a_hold_on_a_name_that_nobody_has_is_no_hold() {
    let outpost = Outpost::open(&vault(""), Clock::System).await;
    let app = &outpost.app;
    let mut rows = Vec::new();
    for _ in 0..3 {
        rows.push(sealed(app, &TWO_PARTS).await);
    }
    let _running = outpost.run();
    make_vault(app);
    archived(app, &rows.iter().collect::<Vec<_>>()).await;
    let sql = format!("UPDATE archive SET state = 'deleted' WHERE session = '{}'", rows[0].id);
    run_past(&url(app), &sql).await;
    let set =
        async |args: &[&str]| recordings(app, &[&["hold", "set", "--reason", "case 7"], args].concat()).await;
    for (args, says) in [
        (&["--user", "eve"][..], "PROVIDER:SUBJECT"),
        (&["--user", "corp:"], "PROVIDER:SUBJECT"),
        (&["--user", "corp a:eve"], "provider name"),
        (&["--target", "Web1"], "target name"),
        (&["--target", ""], "target name"),
        (&["--target", "web2"], "--future"),
        (&["--user", "corp:a-2"], "--future"),
        (&["--session", "zzz"], "none of"),
        (&["--session", rows[0].id.as_str()], "is deleted"),
    ] {
        let said = set(args).await.unwrap_err();
        assert!(said.contains(says), "{args:?}: {said}");
    }
    assert_eq!(recordings(app, &["hold", "ls"]).await.unwrap(), "no holds\n");
    let said = set(&["--user", "corp:a-1"]).await.unwrap();
    assert!(said.contains("corp:a-1: 2 now") && said.contains("1 more are deleted"), "{said}");
    let said = set(&["--target", "web2", "--future"]).await.unwrap();
    assert!(said.contains("web2: 0 now"), "{said}");
    let said = set(&["--session", rows[1].id.as_str()]).await.unwrap();
    assert!(said.contains(": 1 now"), "{said}");
}

#[tokio::test]
async fn who_reads_a_recording_is_in_the_log_before() {
    let outpost = Outpost::open("", Clock::System).await;
    let app = &outpost.app;
    let row = sealed(app, &TWO_PARTS).await;
    let id = row.id.as_str();
    recordings(app, &["export", id]).await.unwrap();
    recordings(app, &["path", id, "--folder"]).await.unwrap();
    let entry =
        |how: &str| format!("recording_read {{\"by\":\"admin\",\"how\":\"{how}\",\"session\":\"{id}\"}}");
    let read = async || -> Vec<String> {
        outpost.audit().await.into_iter().filter(|line| line.starts_with("recording_read ")).collect()
    };
    assert_eq!(read().await, [entry("export"), entry("path")]);
    // What cannot be written down is not given out.
    run_past(&url(app), "ALTER TABLE audit RENAME TO audit_elsewhere").await;
    for args in [&["export", id][..], &["path", id], &["play", id]] {
        let said = recordings(app, args).await.unwrap_err();
        assert!(said.contains("cannot be written down"), "{args:?}: {said}");
    }
}
