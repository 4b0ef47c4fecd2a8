//! Finding in recordings: what is kept and found is the same on SQLite and on PostgreSQL; and from a session of a real client
//! to `caponier recordings search` and `play --at`.

use std::fs;
use std::process::Command;

use caponier::ids::SessionId;
use caponier::random::Random;
use caponier::recording::text::{Block, Kind};
use caponier::recording::words::Wanted;
use caponier::store::{BlockSearch, SessionRow, Store, Unread};
use caponier::time::Timestamp;
use serde_json::Value;

use crate::postgres;
use crate::store::{Place, on_both, rows};
use crate::world::bastion::CAPONIER;
use crate::world::process::{Finished, run};
use crate::world::stage::{Plan, Stage};
use crate::world::{PATIENCE, wait_for};

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn event() -> caponier::audit::AuditEvent {
    caponier::audit::AuditEvent::ServerStarted { version: "test".into(), interrupted: 0 }
}

/// A session that was open from `opened` to `opened + 100`.
async fn closed_session(store: &Store, random: &Random, change: impl Fn(&mut SessionRow)) -> SessionId {
    let sign_in = rows::sign_in(random);
    let mut row = rows::session(random, &sign_in.id);
    change(&mut row);
    let mut tx = store.begin().await.unwrap();
    tx.insert_sign_in(&sign_in).await.unwrap();
    tx.insert_session(&row).await.unwrap();
    let closed = row.opened.plus(std::time::Duration::from_secs(100));
    row = SessionRow { closed: Some(closed), close_reason: Some("finished".into()), ..row };
    assert!(tx.close_session(&row).await.unwrap());
    tx.commit(closed, event()).await.unwrap();
    row.id
}

fn block(kind: Kind, lines: &[&str]) -> Block {
    let lines = lines.iter().zip(0..).map(|(line, n)| (n * 1000, (*line).to_owned())).collect();
    Block { kind, lines }
}

fn search(texts: &[&str]) -> BlockSearch {
    let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    BlockSearch { wanted: Wanted::of(&texts), limit: 100, ..BlockSearch::default() }
}

/// The first lines of the blocks that are found.
async fn found(store: &Store, search: &BlockSearch) -> Vec<String> {
    let found = store.search_blocks(search).await.unwrap();
    found.into_iter().map(|found| found.block.lines[0].1.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_found_and_forgotten() {
    on_both("words", words).await;
    on_both("filters", filters).await;
    on_both("states", states).await;
}

async fn words(place: &Place) {
    let (store, random) = (place.open().await, Random::seeded(31));
    let session = closed_session(&store, &random, |_| {}).await;
    let hostile = "it's a \"quote\" \\ OR * : & | ! ( ) \0 nul -- ; DROP TABLE session";
    let blocks = [
        block(Kind::Command, &["cat /etc/passwd", "rm -rf /srv/x"]),
        block(Kind::Screen, &["Größe: 12kB ÄÖ", "你好世界 wide"]),
        block(Kind::Screen, &[hostile]),
        block(Kind::File, &["read /srv/über.txt"]),
    ];
    assert!(store.keep_transcript(&session, &blocks, false).await.unwrap());
    let rows: [(&[&str], &[&str]); 16] = [
        (&["/etc/passwd"], &["cat /etc/passwd"]),
        (&["PASSW"], &["cat /etc/passwd"]),
        (&["asswd"], &[]),
        // In the same block; whether on the same line is looked at by whoever asks.
        (&["passwd", "rm"], &["cat /etc/passwd"]),
        (&["passwd", "read"], &[]),
        (&["größe"], &["Größe: 12kB ÄÖ"]),
        (&["äö"], &["Größe: 12kB ÄÖ"]),
        (&["grosse"], &[]),
        (&["世界"], &["Größe: 12kB ÄÖ"]),
        (&["über"], &["read /srv/über.txt"]),
        (&["uber"], &[]),
        (&["'quote'"], &[hostile]),
        (&["OR"], &[hostile]),
        (&["drop table session"], &[hostile]),
        (&["nul:*"], &[hostile]),
        (&["\") OR 1=1 --"], &[]),
    ];
    for (texts, expect) in rows {
        let expect: Vec<String> = expect.iter().map(|line| line.replace('\0', "\u{fffd}")).collect();
        assert_eq!(found(&store, &search(texts)).await, expect, "{texts:?}");
    }
    let commands = BlockSearch { commands: true, ..search(&[]) };
    assert_eq!(found(&store, &commands).await, ["cat /etc/passwd"]);
    assert_eq!(found(&store, &BlockSearch { commands: true, ..search(&["srv"]) }).await, ["cat /etc/passwd"]);
    assert_eq!(found(&store, &search(&["srv"])).await, ["read /srv/über.txt", "cat /etc/passwd"]);
}

async fn filters(place: &Place) {
    let (store, random) = (place.open().await, Random::seeded(32));
    let mut sessions = Vec::new();
    for (n, (who, target)) in
        [("corp:a", "web1"), ("corp:b", "web1"), ("corp:a", "db1")].into_iter().enumerate()
    {
        let opened = at(1000 + 1000 * n as u64);
        let session = closed_session(&store, &random, |row| {
            (row.who, row.target, row.opened) = (who.into(), target.into(), opened);
        })
        .await;
        let line = format!("needle {n}");
        assert!(store.keep_transcript(&session, &[block(Kind::Screen, &[&line])], n == 2).await.unwrap());
        sessions.push(session);
    }
    let needle = search(&["needle"]);
    let rows = [
        (needle.clone(), vec![2, 1, 0]),
        (BlockSearch { who: Some("corp:a".into()), ..needle.clone() }, vec![2, 0]),
        (BlockSearch { target: Some("web1".into()), ..needle.clone() }, vec![1, 0]),
        (BlockSearch { since: Some(at(2100)), ..needle.clone() }, vec![2, 1]),
        (BlockSearch { since: Some(at(2101)), ..needle.clone() }, vec![2]),
        (BlockSearch { until: Some(at(2000)), ..needle.clone() }, vec![1, 0]),
        (BlockSearch { limit: 1, ..needle.clone() }, vec![2]),
        (BlockSearch { who: Some("corp:a".into()), target: Some("web1".into()), ..needle.clone() }, vec![0]),
    ];
    for (search, expect) in rows {
        let expect: Vec<String> = expect.into_iter().map(|n| format!("needle {n}")).collect();
        assert_eq!(found(&store, &search).await, expect, "{search:?}");
    }
    // Page by page.
    let first = store.search_blocks(&BlockSearch { limit: 2, ..needle.clone() }).await.unwrap();
    assert!(first[0].cut && !first[1].cut && first[0].session == sessions[2]);
    let rest = BlockSearch { before: Some(first[1].id), ..needle };
    assert_eq!(found(&store, &rest).await, ["needle 0"]);
    assert_eq!(store.unread_transcripts().await.unwrap(), Unread { waiting: 0, failed: 0, cut: 1 });
}

async fn states(place: &Place) {
    let (store, random) = (place.open().await, Random::seeded(33));
    let session = closed_session(&store, &random, |_| {}).await;
    let other_node = closed_session(&store, &random, |row| row.node = "two".into()).await;
    let unrecorded = closed_session(&store, &random, |row| row.recording = None).await;
    let due = async |now| {
        let due = store.transcripts_due("one", now, 10).await.unwrap();
        due.into_iter().map(|due| (due.session, due.tries)).collect::<Vec<_>>()
    };
    assert_eq!(due(at(1200)).await, [(session.clone(), 0)]);
    assert_eq!(due(at(1199)).await, [], "it was closed at 1200");
    store.transcript_failed(&session, "no such file", Some(at(2000))).await.unwrap();
    assert_eq!(due(at(1999)).await, []);
    assert_eq!(due(at(2000)).await, [(session.clone(), 1)]);
    // An attempt that did not come to its end leaves nothing behind.
    let many: Vec<Block> = (0..20).map(|n| block(Kind::Screen, &[&format!("needle {n}")])).collect();
    assert!(store.keep_transcript(&session, &many, false).await.unwrap());
    assert_eq!(found(&store, &search(&["needle"])).await.len(), 20);
    assert_eq!(due(at(9000)).await, []);
    assert!(!store.keep_transcript(&session, &many, false).await.unwrap(), "it is kept already");

    let mut tx = store.begin().await.unwrap();
    tx.forget_transcript(&session).await.unwrap();
    tx.forget_transcript(&unrecorded).await.unwrap();
    tx.commit(at(3000), event()).await.unwrap();
    assert_eq!(found(&store, &search(&["needle"])).await, [""; 0]);
    assert!(!store.keep_transcript(&session, &many, false).await.unwrap(), "forgotten is forgotten");
    assert_eq!(found(&store, &search(&["needle"])).await, [""; 0]);
    assert_eq!(due(at(9000)).await, []);
    store.transcript_failed(&other_node, "never", None).await.unwrap();
    assert_eq!(store.unread_transcripts().await.unwrap(), Unread { waiting: 0, failed: 1, cut: 0 });
}

fn searched(stage: &Stage, args: &[&str]) -> Finished {
    stage.bastion.admin(&[&["recordings", "search", "--json"], args].concat())
}

/// The hits, once there is one.
#[track_caller]
fn hits(stage: &Stage, args: &[&str]) -> Vec<Value> {
    wait_for(&format!("hits for {args:?}"), PATIENCE, || {
        let said: Value = serde_json::from_str(&searched(stage, args).text()).ok()?;
        let hits = said["hits"].as_array()?.clone();
        (!hits.is_empty()).then_some(hits)
    })
}

#[test]
fn from_a_session_to_its_second() {
    let stage = Stage::set();
    assert_found(&stage);
}

#[test]
fn from_a_session_to_its_second_on_postgresql() {
    let postgres = postgres::start();
    assert_found(&Stage::set_to(Plan { store: Some(postgres.fresh_database()), ..Plan::default() }));
}

fn assert_found(stage: &Stage) {
    stage.ssh(&["web1", "echo alpha-$((40+2)); echo 'Bravo CHARLIE'"]).run().ok();
    let terminal = stage.live_terminal();
    terminal.type_in("printf 'wiped-%s\\n' off; clear; echo delta-$((1+1))\n");
    terminal.wait_for("delta-2");
    terminal.type_in("exit\n");
    terminal.finish(PATIENCE);

    let command = hits(stage, &["--command", "echo alpha-*"]);
    assert_eq!(command[0]["line"], "echo alpha-$((40+2)); echo 'Bravo CHARLIE'");
    assert_eq!((&command[0]["kind"], &command[0]["target"]), (&"command".into(), &"web1".into()));
    let shown = hits(stage, &["alpha-42"]);
    assert_eq!((&shown[0]["kind"], &shown[0]["session"]), (&"screen".into(), &command[0]["session"]));
    assert_eq!(shown[0]["marks"], serde_json::json!([[0, 8]]));
    let both = hits(stage, &["bravo charlie", "echo"]);
    assert_eq!(both.len(), 1, "the command has both, the screen has not: {both:#?}");
    // What was wiped off stood there, if only for a moment.
    let wiped = hits(stage, &["wiped-off"]);
    let second = wiped[0]["second"].as_f64().unwrap();
    let session = wiped[0]["session"].as_str().unwrap().to_owned();
    assert_eq!(hits(stage, &["delta-2", "--user", "corp:engineer"])[0]["session"], session.as_str());

    let nothing = searched(stage, &["delta-2", "--target", "other1"]);
    nothing.ended(1);
    stage.bastion.admin(&["recordings", "search", "|>"]).ended(1);
    stage.bastion.admin(&["recordings", "search"]).ended(1);
    let table = stage.bastion.admin(&["recordings", "search", "wiped-off"]).ok();
    assert!(table.contains("«wiped-off»") && table.contains(&session), "{table}");
    assert_eq!(hits(stage, &["--target", "web1"]).len(), 2, "sessions, where no text is searched for");
    stage.wait_for_audit("recordings_searched", "wiped-off");

    // Played from there, the screen as it stood comes first. The player is a script that shows what it was given.
    let programs = stage.dir().join("programs");
    fs::create_dir(&programs).unwrap();
    let player = programs.join("asciinema");
    fs::write(&player, "#!/bin/sh\ncat \"$2\"\n").unwrap();
    run(Command::new("chmod").arg("755").arg(&player), b"", PATIENCE).ok();
    let moment = format!("{second:.3}");
    let mut play = Command::new(CAPONIER);
    play.args(["recordings", "play", &session, "--at", &moment, "--config"]).arg(stage.bastion.config());
    let path = std::env::var("PATH").unwrap();
    play.env("PATH", format!("{}:{path}", programs.display()));
    let cast = run(&mut play, b"", PATIENCE).ok();
    let lines: Vec<Value> = cast.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["version"], &lines[1][1]), (&2.into(), &"o".into()), "{cast}");
    assert!(lines[1][2].as_str().unwrap().contains("here-2"), "{cast}");
    assert!(cast.contains("delta-"), "{cast}");
}
