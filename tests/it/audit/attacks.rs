//! The chain in both databases: writers of all kinds make one, and whatever is done to its rows is found and named.

use caponier::audit::chain::Head;
use caponier::flow::log::verify::Known;
use caponier::store::Store;
use caponier::time::Timestamp;
use tokio::task::JoinSet;

use super::{event, first_wrong, judge, write};
use crate::store::on_both;

/// A log of nine entries with one thing done to it, and the entry that must be named.
const ATTACKS: [(&str, &str, u64); 14] = [
    ("an edited text", "UPDATE audit SET json = REPLACE(json, 'said 4', 'said 7') WHERE seq = 5", 5),
    ("an edited kind", "UPDATE audit SET kind = 'signed_in' WHERE seq = 5", 5),
    ("an edited time", "UPDATE audit SET at = at + 1 WHERE seq = 5", 5),
    (
        "an edited hash",
        "UPDATE audit SET hash = REPLACE(hash, SUBSTR(hash, 1, 8), '00000000') WHERE seq = 5",
        5,
    ),
    ("a hash taken away", "UPDATE audit SET hash = NULL WHERE seq = 5", 5),
    ("all hashes taken away", "UPDATE audit SET hash = NULL", 1),
    (
        "the chain said to begin later",
        "UPDATE audit SET hash = NULL WHERE seq < 4; UPDATE audit_head SET unhashed = 3",
        4,
    ),
    ("a removed entry", "DELETE FROM audit WHERE seq = 5", 5),
    ("the first removed", "DELETE FROM audit WHERE seq = 1", 1),
    ("the last removed", "DELETE FROM audit WHERE seq = 9", 9),
    (
        "two that changed places",
        "UPDATE audit SET seq = 99 WHERE seq = 4; UPDATE audit SET seq = 4 WHERE seq = 5; \
      UPDATE audit SET seq = 5 WHERE seq = 99",
        4,
    ),
    (
        "an entry written past the head",
        "INSERT INTO audit (seq, at, kind, json, hash) SELECT 10, at, kind, json, hash FROM \
      audit WHERE seq = 9",
        10,
    ),
    ("the head moved back", "UPDATE audit_head SET seq = 7", 7),
    (
        "the end cut off, but not from the head",
        "DELETE FROM audit WHERE seq > 7; UPDATE audit_head SET seq = 7",
        7,
    ),
];

#[tokio::test]
async fn whatever_is_done_to_a_row_is_named() {
    on_both("attacks on rows", async |place| {
        let store = place.open().await;
        for (what, sql, seq) in ATTACKS {
            place.run("DELETE FROM audit").await;
            place.run("UPDATE audit_head SET seq = 0, hash = NULL, unhashed = 0").await;
            write(&store, 9).await;
            let sound = judge(&store, &mut []).await.unwrap();
            assert_eq!((sound.head.seq, sound.links, sound.unhashed), (9, 9, 0));
            place.run(sql).await;
            let (named, why) = first_wrong(&store, &mut []).await;
            assert_eq!(named, seq, "{what}: {why}");
        }
    })
    .await;
}

/// Somebody with all rights in the database makes the log anew: only what is known from elsewhere shows it.
#[tokio::test]
async fn a_log_made_anew_is_seen_from_elsewhere() {
    on_both("a log made anew", async |place| {
        let store = place.open().await;
        write(&store, 9).await;
        let noted = judge(&store, &mut []).await.unwrap().head;
        place.run("DELETE FROM audit WHERE seq > 3").await;
        let forged = "UPDATE audit_head SET seq = 3, hash = (SELECT hash FROM audit WHERE seq = 3)";
        place.run(forged).await;
        judge(&store, &mut []).await.unwrap();
        let (named, _) = first_wrong(&store, &mut [Known::one(noted.clone())]).await;
        assert_eq!(named, 4, "cut off");
        for n in 20..30 {
            store.note(Timestamp::from_secs(2000), event(n)).await.unwrap();
        }
        assert_eq!(judge(&store, &mut []).await.unwrap().head.seq, 13, "in itself it is right");
        let (named, why) = first_wrong(&store, &mut [Known::one(noted)]).await;
        assert_eq!(named, 9);
        assert!(why.contains("what was written down"), "{why}");
    })
    .await;
}

/// Two processes, batches, entries together, and members that are taken back: one chain without a fork.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_writers_make_one_chain() {
    on_both("many writers", async |place| {
        let stores = [place.open().await, place.open().await];
        let mut tasks = JoinSet::new();
        for n in 0..120 {
            let store = stores[n % 2].clone();
            tasks.spawn(async move { one_of_many(&store, n).await });
        }
        let written: u64 = tasks.join_all().await.into_iter().sum();
        let sound = judge(&stores[0], &mut []).await.unwrap();
        assert_eq!((sound.head.seq, sound.links), (written, written));
        // Who comes later goes on where it ends, also after a restart.
        stores[0].close().await;
        stores[1].close().await;
        let store = place.open().await;
        write(&store, 2).await;
        let end = judge(&store, &mut [Known::one(sound.head)]).await.unwrap().head;
        assert_eq!(end.seq, written + 2);
    })
    .await;
}

/// How many entries it wrote.
async fn one_of_many(store: &Store, n: usize) -> u64 {
    let now = Timestamp::from_secs(1000);
    match n % 4 {
        0 => store.note_all(now, (0..3).map(event).collect()).await.map(|()| 3).unwrap(),
        1 => {
            drop(store.begin().await.unwrap());
            0
        }
        // A time that no column holds: the member fails after others have written.
        2 => {
            let bad = store.note(Timestamp::from_millis(u64::MAX), event(n)).await;
            assert!(bad.is_err());
            0
        }
        _ => store.note(now, event(n)).await.map(|()| 1).unwrap(),
    }
}

/// Entries from before the chain stay what they are, and the chain begins behind them.
#[tokio::test]
async fn an_older_log_gets_its_chain_from_here_on() {
    on_both("a log from before the chain", async |place| {
        place.open().await.close().await;
        // As the version before this one left it.
        for sql in [
            "DELETE FROM _sqlx_migrations WHERE version = 9",
            "DROP TABLE audit_sink",
            "DROP INDEX audit_of_checkpoints",
            "ALTER TABLE audit DROP COLUMN hash",
            "ALTER TABLE audit_head DROP COLUMN hash",
            "ALTER TABLE audit_head DROP COLUMN unhashed",
            "INSERT INTO audit (seq, at, kind, json) VALUES (1, 1000, 'server_started', '{}'), (2, 1001, 'server_started', '{}')",
            "UPDATE audit_head SET seq = 2",
        ] {
            place.run(sql).await;
        }
        let store = place.open().await;
        assert_eq!(judge(&store, &mut []).await.unwrap().head, Head { seq: 2, hash: String::new() });
        write(&store, 3).await;
        let sound = judge(&store, &mut []).await.unwrap();
        assert_eq!((sound.head.seq, sound.links, sound.unhashed), (5, 3, 2));
        // Nothing but a copy proves what is older, and that does by its whole content.
        let rows = store.audit(0, 100).await.unwrap();
        let marks: Vec<Head> = rows.iter().map(|row| Known::mark(row.link(), row.hash.as_deref())).collect();
        let copy = || Known::of("the copy", marks.clone().into_iter().map(Ok));
        judge(&store, &mut [copy()]).await.unwrap();
        place.run("UPDATE audit SET json = '{\"version\":\"x\"}' WHERE seq = 2").await;
        judge(&store, &mut []).await.unwrap();
        assert_eq!(first_wrong(&store, &mut [copy()]).await.0, 2);
        place.run("UPDATE audit SET hash = (SELECT hash FROM audit WHERE seq = 3) WHERE seq = 2").await;
        assert_eq!(first_wrong(&store, &mut []).await.0, 2);
    })
    .await;
}
