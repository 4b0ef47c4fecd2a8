//! Opening: new, again, together, and what is refused.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use caponier::random::Random;
use caponier::store::Store;
use tokio::task::JoinSet;

use super::{at, event, fresh_sqlite, numbers, on_both, rows};

#[tokio::test(flavor = "multi_thread")]
async fn again_and_together() {
    on_both("reopen", async |place| {
        let random = Random::seeded(1);
        let sign_in = rows::sign_in(&random);
        let store = place.open().await;
        let mut tx = store.begin().await.unwrap();
        tx.insert_sign_in(&sign_in).await.unwrap();
        tx.commit(at(1000), event(1)).await.unwrap();
        // Its URL may hold a password.
        let shown = format!("{store:?}");
        assert!(!shown.contains("127.0.0.1") && !shown.contains("store.db"), "{shown}");
        store.close().await;
        let store = place.open().await;
        assert!(store.sign_in(&sign_in.id).await.unwrap().is_some());
        store.note(at(1001), event(2)).await.unwrap();
        assert_eq!(numbers(&store).await, [1, 2]);
    })
    .await;

    on_both("eight open a new database together", async |place| {
        let mut tasks = JoinSet::new();
        for n in 0..8 {
            let url = place.url.clone();
            tasks.spawn(async move { Store::open(&url).await.unwrap().note(at(1), event(n)).await.unwrap() });
        }
        tasks.join_all().await;
        assert_eq!(numbers(&place.open().await).await.len(), 8);
    })
    .await;

    on_both("made by a newer version", async |place| {
        place.open().await.close().await;
        place.run("UPDATE _sqlx_migrations SET version = 999 WHERE version = 2").await;
        let error = Store::open(&place.url).await.unwrap_err().to_string();
        assert!(error.contains("newer than this program"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn places_refused() {
    let (store, place) = fresh_sqlite().await;
    store.note(at(1), event(1)).await.unwrap();
    let mut files = Vec::new();
    for entry in place.dir.path().read_dir().unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
        files.push(entry.file_name().into_string().unwrap());
    }
    files.sort();
    assert_eq!(files, ["store.db", "store.db-shm", "store.db-wal"]);

    let other = place.dir.path().join("text.db");
    std::fs::write(&other, "not a database, but long enough to be looked at".repeat(50)).unwrap();
    std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o600)).unwrap();
    let error = Store::open(&format!("sqlite:{}", other.display())).await.unwrap_err().to_string();
    assert!(error.contains("is it a SQLite file?") && error.contains("text.db"), "{error}");

    // A port nobody listens on: taken by us, then given back.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("postgres://me:s3cret@127.0.0.1:{port}/caponier");
    let error = Store::open(&url).await.unwrap_err().to_string();
    assert!(error.contains(&port.to_string()) && error.contains("check that it runs"), "{error}");
    assert!(!error.contains("s3cret"), "{error}");
}
