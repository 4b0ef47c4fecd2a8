//! Retention and legal holds, on SQLite and on PostgreSQL: what must go goes, what is held stays, and each is in the audit log.

use std::path::PathBuf;
use std::time::Duration;

use caponier::app::App;
use caponier::audit::AuditEvent;
use caponier::flow::archive::hold;
use caponier::names::RoleName;
use caponier::store::{Held, Here, SessionRow};
use caponier::time::Clock;

use super::folder::{make_vault, until_row, vault};
use super::{TWO_PARTS, insert, new_row, recordings, seal, sealed, write_open};
use crate::store::{Place, on_both};
use crate::telling::{NOW, Outpost};
use crate::world::until;

const DAY: Duration = Duration::from_secs(86_400);

fn local(app: &App, row: &SessionRow) -> PathBuf {
    app.config.recording.dir.join(row.recording.as_ref().unwrap())
}

fn archived(app: &App, row: &SessionRow) -> PathBuf {
    app.config.state_dir.join("vault").join(row.recording.as_ref().unwrap())
}

async fn outpost(place: &Place, more: &str) -> (Outpost, Clock) {
    let clock = Clock::fixed(NOW);
    let outpost = Outpost::named("one", &place.url, &vault(more), clock.clone()).await;
    make_vault(&outpost.app);
    (outpost, clock)
}

/// A session that is over; of this person, at this target.
async fn of(app: &App, who: &str, target: &str) -> SessionRow {
    let mut row = new_row(app);
    row.who = who.to_owned();
    row.target = target.to_owned();
    let path = write_open(app, &row.id, &TWO_PARTS);
    row.recording_sha256 = Some(seal(app, &path));
    row.closed = Some(app.clock.now());
    row.close_reason = Some("finished".to_owned());
    insert(app, &row).await;
    row
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_stays_and_the_rest_goes() {
    on_both("holds", async |place| {
        let (outpost, clock) = outpost(place, "retention_days = 10\nkeep_local = \"5d\"").await;
        let app = &outpost.app;
        let plain = of(app, "corp:ann", "web1").await;
        let (by_session, by_user) = (of(app, "corp:bob", "web1").await, of(app, "corp:eve", "web1").await);
        let by_target = of(app, "corp:bob", "vault").await;
        let all = [&plain, &by_session, &by_user, &by_target];
        let id = by_session.id.as_str();
        recordings(app, &["hold", "set", "--session", id, "--reason", "case 7"]).await.unwrap();
        recordings(app, &["hold", "set", "--target", "vault", "--reason", "case 8"]).await.unwrap();
        recordings(app, &["hold", "set", "--user", "corp:eve", "--reason", "case 9"]).await.unwrap();
        let running = outpost.run();
        for row in all {
            until_row(app, row, "archived", |row| row.state == "archived").await;
        }
        assert!(all.iter().all(|row| local(app, row).exists()), "keep_local has not passed");

        clock.advance(5 * DAY);
        until_row(app, &plain, "gone from here", |row| row.here == Here::No).await;
        assert!(!local(app, &plain).exists() && archived(app, &plain).exists());
        clock.advance(5 * DAY);
        until_row(app, &plain, "deleted", |row| row.state == "deleted").await;
        assert!(!archived(app, &plain).exists());
        for row in &all[1..] {
            assert!(local(app, row).exists() && archived(app, row).exists(), "{} is held", row.who);
        }

        let listed = recordings(app, &["hold", "ls", "--json"]).await.unwrap();
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        let hold = listed.as_array().unwrap().iter().find(|hold| hold["what"] == "user").unwrap();
        let hold = hold["id"].as_str().unwrap();
        recordings(app, &["hold", "release", hold, "--reason", "closed"]).await.unwrap();
        let twice = recordings(app, &["hold", "release", hold, "--reason", "closed"]).await.unwrap_err();
        assert!(twice.contains("there is no hold"), "{twice}");
        until_row(app, &by_user, "deleted", |row| row.state == "deleted").await;
        assert!(!local(app, &by_user).exists() && !archived(app, &by_user).exists());
        drop(running);
        assert!(local(app, &by_session).exists() && archived(app, &by_target).exists());

        let audit = outpost.audit().await;
        let count = |kind: &str| audit.iter().filter(|line| line.starts_with(kind)).count();
        assert_eq!(count("recording_archived "), 4);
        let removed = |row: &SessionRow| {
            let of = |line: &&String| {
                line.starts_with("recording_local_removed ") && line.contains(row.id.as_str())
            };
            audit.iter().filter(of).count()
        };
        assert_eq!((removed(&plain), removed(&by_session), removed(&by_target)), (1, 0, 0));
        assert_eq!(count("recording_deleted "), 2);
        assert_eq!((count("legal_hold_set "), count("legal_hold_released ")), (3, 1));
        let deleted = audit.iter().find(|line| line.starts_with("recording_deleted ")).unwrap();
        assert!(
            deleted.contains(plain.recording_sha256.as_ref().unwrap()),
            "its seal stays in the log: {deleted}"
        );
        app.store.close().await;
    })
    .await;
}

/// Who sets a hold while deletions are decided gets an answer that is true: what was not decided before stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_and_a_deletion_at_the_same_time() {
    on_both("race", async |place| {
        let (outpost, clock) = outpost(place, "retention_days = 1").await;
        let app = &outpost.app;
        let mut rows = Vec::new();
        for _ in 0..12 {
            rows.push(sealed(app, &TWO_PARTS).await);
        }
        let running = outpost.run();
        for row in &rows {
            until_row(app, row, "archived", |row| row.state == "archived").await;
        }
        clock.advance(DAY);
        // Somewhere among the deletions.
        until("a first deletion", async || {
            let gone = app.store.archive_rows(true, 100).await.unwrap();
            gone.iter().any(|row| row.state.starts_with("delet")).then_some(())
        })
        .await;
        let held = Held::Target("web1".to_owned());
        hold::set(&app.store, &app.random, NOW, held, "stop".to_owned(), "admin", false).await.unwrap();
        let audit = outpost.audit().await;
        let hold_at = audit.iter().position(|line| line.starts_with("legal_hold_set ")).unwrap();
        // Whatever the job does afterwards, no deletion is decided behind the hold.
        clock.advance(DAY);
        let probe = of(app, "corp:new", "elsewhere").await;
        clock.advance(DAY);
        until_row(app, &probe, "a later deletion", |row| row.state == "deleted").await;
        drop(running);
        let audit = outpost.audit().await;
        for line in audit.iter().skip(hold_at).filter(|line| line.starts_with("recording_deleted ")) {
            assert!(line.contains(probe.id.as_str()), "deleted in spite of the hold: {line}");
        }
        for row in &rows {
            let state = app.store.archive_row(&row.id).await.unwrap().unwrap().state;
            assert_eq!(archived(app, row).join("index.json").exists(), state == "archived", "{state}");
        }
        app.store.close().await;
    })
    .await;
}

#[tokio::test]
async fn the_longest_rule_that_fits_counts() {
    let rules = "kind = \"none\"\nretention_days = 10\n[[archive.retention]]\nrole = \"long\"\ndays = 100\n\
                 [[archive.retention]]\nrole = \"short\"\ndays = 1\n";
    let clock = Clock::fixed(NOW);
    let outpost = Outpost::open(&format!("[archive]\n{rules}"), clock.clone()).await;
    let app = &outpost.app;
    let mut expect = Vec::new();
    for (roles, days) in
        [(&[][..], 10), (&["short"][..], 1), (&["short", "long"][..], 100), (&["other"][..], 10)]
    {
        let row = sealed(app, &TWO_PARTS).await;
        let roles: Vec<RoleName> = roles.iter().map(|role| role.parse().unwrap()).collect();
        let who = crate::store::rows::sign_in(&app.random).who;
        let mut tx = app.store.begin().await.unwrap();
        tx.use_roles(&roles, &who, &row.id, NOW).await.unwrap();
        tx.commit(NOW, AuditEvent::ServerStarted { version: "test".into(), interrupted: 0 }).await.unwrap();
        expect.push((row, days));
    }
    let _running = outpost.run();
    for (row, days) in &expect {
        let found = until_row(app, row, "taken up", |_| true).await;
        assert_eq!(found.delete_after, Some(NOW.plus(*days * DAY)));
        assert_eq!(found.state, "local", "there is no archive");
    }
    clock.advance(10 * DAY);
    for (row, days) in &expect {
        if *days <= 10 {
            until_row(app, row, "deleted", |row| row.state == "deleted").await;
        }
        assert_eq!(local(app, row).exists(), *days > 10);
    }
}

/// Recordings of before there was an archive go there when there is one.
#[tokio::test]
async fn an_archive_that_comes_later_gets_everything() {
    let outpost = Outpost::open("[archive]\nkind = \"none\"\n", Clock::System).await;
    let row = sealed(&outpost.app, &TWO_PARTS).await;
    let running = outpost.run();
    until_row(&outpost.app, &row, "taken up", |row| row.state == "local").await;
    drop(running);
    let app = outpost.reconfigured(&vault(""));
    make_vault(&app);
    let _running = crate::telling::run(&app);
    let row = until_row(&app, &row, "archived", |row| row.state == "archived").await;
    assert_eq!(row.here, Here::Yes, "seven days have not passed");
}
