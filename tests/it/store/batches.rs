//! Writers that share a transaction of SQLite: each is for itself, and what was said to be written is.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use caponier::ids::SignInId;
use caponier::random::Random;
use caponier::store::{SignIn, Store, StoreError};
use caponier::time::Timestamp;
use tokio::task::JoinSet;

use super::{Place, at, event, fresh_sqlite, numbers, on_both, rows};

/// What a writer does with its transaction, after it has written a sign-in.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Commit,
    Drop,
    Leave,
    /// Meets a nonce that another has used, and gives up.
    Conflict,
    /// Its audit entry cannot be written.
    BadEntry,
    /// It refers to what is not there, which comes out at COMMIT.
    Orphan,
}

/// True when it was committed.
async fn write(store: &Store, row: &SignIn, end: End) -> Result<bool, StoreError> {
    let mut tx = store.begin().await?;
    tx.insert_sign_in(row).await?;
    match end {
        End::Commit => tx.commit(at(1000), event(0)).await.map(|()| true),
        End::Drop => Ok(false),
        End::Leave => tx.leave().await.map(|()| false),
        End::Conflict => {
            let used = tx.use_nonce("SHA256:k", "used", at(2000)).await;
            assert!(matches!(used, Err(StoreError::Conflict)), "{used:?}");
            Ok(false)
        }
        End::BadEntry => tx.commit(Timestamp::from_millis(u64::MAX), event(0)).await.map(|()| true),
        End::Orphan => {
            let random = Random::seeded(row.created.as_secs());
            tx.insert_certificate(&rows::certificate(&random, &SignInId::random(&random))).await?;
            tx.commit(at(1000), event(0)).await.map(|()| true)
        }
    }
}

/// Lets `ends` queue up behind a transaction, then drops that: they come one after the other without a gap. Gives what became
/// of each.
async fn all_at_once(store: &Store, ends: &[End]) -> Vec<(End, SignInId, Result<bool, StoreError>)> {
    let random = Random::seeded(7);
    let first = store.begin().await.unwrap();
    let mut tasks = JoinSet::new();
    for end in ends.iter().copied() {
        let (store, row) = (store.clone(), rows::sign_in(&random));
        tasks.spawn(async move { (end, row.id.clone(), write(&store, &row, end).await) });
    }
    // Each runs until it waits for its turn.
    tokio::task::yield_now().await;
    drop(first);
    tasks.join_all().await
}

/// The nonce that [`End::Conflict`] meets.
async fn use_the_nonce(store: &Store) {
    let mut tx = store.begin().await.unwrap();
    tx.use_nonce("SHA256:k", "used", at(2000)).await.unwrap();
    tx.commit(at(1000), event(0)).await.unwrap();
}

#[tokio::test]
async fn what_one_does_is_nothing_to_the_others() {
    on_both("ends of all kinds", async |place| {
        let store = place.open().await;
        use_the_nonce(&store).await;
        let ends = [End::Commit, End::Drop, End::Leave, End::Conflict, End::BadEntry, End::Commit];
        let ends: Vec<End> = ends.into_iter().cycle().take(60).collect();
        for (end, id, outcome) in all_at_once(&store, &ends).await {
            let there = store.sign_in(&id).await.unwrap().is_some();
            assert_eq!(there, end == End::Commit, "{end:?}");
            match end {
                End::Commit => assert!(outcome.unwrap()),
                End::BadEntry => assert!(matches!(outcome, Err(StoreError::BadRow { .. })), "{outcome:?}"),
                End::Drop | End::Leave | End::Conflict | End::Orphan => assert!(!outcome.unwrap()),
            }
        }
        assert_eq!(numbers(&store).await, (1..=21).collect::<Vec<u64>>(), "no gap");
    })
    .await;
}

#[tokio::test]
async fn a_failed_commit_is_told_to_everybody() {
    on_both("one that cannot be committed", async |place| {
        let store = place.open().await;
        let ends = [End::Commit, End::Commit, End::Orphan, End::Commit];
        let mut written = 0;
        // Whom it takes with it is a matter of time; that it is said is not.
        for (end, id, outcome) in all_at_once(&store, &ends).await {
            let there = store.sign_in(&id).await.unwrap().is_some();
            assert_eq!(there, outcome.is_ok(), "{end:?}: {outcome:?}");
            assert!(end != End::Orphan || outcome.is_err());
            assert!(place.sqlite || end == End::Orphan || outcome.is_ok(), "PostgreSQL has no batches");
            written += u64::from(there);
        }
        store.note(at(1000), event(1)).await.unwrap();
        assert_eq!(numbers(&store).await.len() as u64, written + 1);
        store.close().await;
        assert!(store.note(at(1000), event(1)).await.is_err(), "closed");
        let again = numbers(&place.open().await).await;
        assert_eq!(again, (1..=written + 1).collect::<Vec<u64>>());
    })
    .await;
}

/// Whoever has seen what another wrote, and leaves, may tell of it: it is there by then.
#[tokio::test]
async fn who_leaves_has_seen_what_is_there() {
    on_both("leaving", async |place| {
        let store = place.open().await;
        let random = Random::seeded(4);
        let first = store.begin().await.unwrap();
        let mut tasks = JoinSet::new();
        let mut ids = Vec::new();
        for _ in 0..20 {
            let (writer, reader, row) = (store.clone(), store.clone(), rows::sign_in(&random));
            let id = row.id.clone();
            ids.push(row.id.clone());
            tasks.spawn(async move { write(&writer, &row, End::Commit).await.unwrap() });
            tasks.spawn(async move {
                let mut tx = reader.begin().await.unwrap();
                let seen = tx.end_sign_in(&id, at(1100)).await.unwrap();
                tx.leave().await.unwrap();
                assert!(!seen || reader.sign_in(&id).await.unwrap().is_some(), "seen, and not there");
                seen
            });
        }
        tokio::task::yield_now().await;
        drop(first);
        let yes = tasks.join_all().await.into_iter().filter(|yes| *yes).count();
        assert!(yes > 20 || !place.sqlite, "nobody saw anything");
        for id in ids {
            assert!(store.sign_in(&id).await.unwrap().unwrap().ended.is_none(), "what was left is not done");
        }
    })
    .await;
}

/// Another process gets its turns beside one that always has something to write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_neighbour_leaves_room() {
    const NOTES: usize = 20;
    let (busy, place) = fresh_sqlite().await;
    let other = place.open().await;
    let over = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for n in 0..16 {
        let (store, over) = (busy.clone(), Arc::clone(&over));
        tasks.spawn(async move {
            let mut written = 0;
            while !over.load(Ordering::SeqCst) {
                store.note(at(1000), event(n)).await.unwrap();
                written += 1;
            }
            written
        });
    }
    let mut longest = std::time::Duration::ZERO;
    for n in 0..NOTES {
        let began = Instant::now();
        other.note(at(1001), event(n)).await.unwrap();
        longest = longest.max(began.elapsed());
    }
    over.store(true, Ordering::SeqCst);
    let written: usize = tasks.join_all().await.into_iter().sum();
    println!("{NOTES} beside {written}, the longest took {longest:?}");
    assert!(written > NOTES);
    let all = u64::try_from(written + NOTES).unwrap();
    assert_eq!(numbers(&other).await, (1..=all).collect::<Vec<u64>>());
}

/// Where [`scenario_write_until_killed`] finds the database.
const URL: &str = "CAPONIER_TEST_BATCHES_URL";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a part of `kill_9_takes_nothing_that_was_committed`, which runs it in a process of its own and kills it"]
async fn scenario_write_until_killed() {
    let url = std::env::var(URL).expect("run by kill_9_takes_nothing_that_was_committed");
    let store = Store::open(&url).await.unwrap();
    let random = Random::System;
    let mut tasks = JoinSet::new();
    for _ in 0..32 {
        let (store, random) = (store.clone(), random.clone());
        tasks.spawn(async move {
            loop {
                let row = rows::sign_in(&random);
                write(&store, &row, End::Commit).await.unwrap();
                println!("committed {}", row.id);
            }
        });
    }
    tasks.join_next().await;
}

#[tokio::test]
async fn kill_9_takes_nothing_that_was_committed() {
    let place = Place::sqlite();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::batches::scenario_write_until_killed", "--ignored", "--nocapture"])
        .env(URL, &place.url)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said: Vec<SignInId> = Vec::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in lines.by_ref() {
        said.extend(line.unwrap().strip_prefix("committed ").map(|id| id.parse().unwrap()));
        if said.len() == 1000 {
            child.kill().unwrap();
            break;
        }
    }
    // What it said before it was killed and we have not read yet; the last line may be a part of one.
    for line in lines.map_while(Result::ok) {
        said.extend(line.strip_prefix("committed ").and_then(|id| id.parse().ok()));
    }
    child.wait().unwrap();
    assert!(said.len() >= 1000, "it ended before it was killed, after {}", said.len());
    let store = place.open().await;
    for id in &said {
        assert!(store.sign_in(id).await.unwrap().is_some(), "{id} was committed and is not there");
    }
    let entries = numbers(&store).await;
    assert!(entries.len() >= said.len());
    assert_eq!(entries, (1..=entries.len() as u64).collect::<Vec<u64>>(), "no gap");
}
