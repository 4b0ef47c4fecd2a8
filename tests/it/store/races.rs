//! Many writers at once.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Instant;

use caponier::random::Random;
use caponier::store::{Store, StoreError};
use tokio::task::JoinSet;

use super::{at, event, numbers, on_both, rows};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_winner() {
    on_both("one nonce, 100 requests, two processes", async |place| {
        let stores = [place.open().await, place.open().await];
        let mut tasks = JoinSet::new();
        for n in 0..100 {
            let store = stores[n % 2].clone();
            tasks.spawn(async move {
                let mut tx = store.begin().await.unwrap();
                match tx.use_nonce("SHA256:k", "n", at(2000)).await {
                    Ok(()) => tx.commit(at(1000), event(n)).await.map(|()| true).unwrap(),
                    Err(StoreError::Conflict) => false,
                    Err(other) => panic!("{other}"),
                }
            });
        }
        let winners = tasks.join_all().await.into_iter().filter(|won| *won).count();
        assert_eq!(winners, 1);
        assert_eq!(numbers(&stores[0]).await, [1]);
    })
    .await;

    on_both("one step, 50 tasks", async |place| {
        let store = place.open().await;
        let begun = rows::pending(&Random::seeded(1));
        store.insert_pending(&begun).await.unwrap();
        let mut tasks = JoinSet::new();
        for n in 0..50 {
            let (store, mut row) = (store.clone(), begun.clone());
            tasks.spawn(async move {
                row.state = "at-provider".into();
                row.json = n.to_string();
                store.step_pending("begun", &row).await.unwrap().then_some(row.json)
            });
        }
        let winners: Vec<String> = tasks.join_all().await.into_iter().flatten().collect();
        assert_eq!(winners.len(), 1);
        let stands = store.pending(&begun.id, at(1000)).await.unwrap().unwrap();
        assert_eq!((stands.state.as_str(), &stands.json), ("at-provider", &winners[0]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_key_has_one_live_sign_in() {
    on_both("one key, 40 sign-ins, two processes", async |place| {
        let stores = [place.open().await, place.open().await];
        let random = Random::seeded(5);
        let mut tasks = JoinSet::new();
        for n in 0..40 {
            let (store, row) = (stores[n % 2].clone(), rows::sign_in(&random));
            tasks.spawn(async move {
                let key = row.key_fingerprint.clone().unwrap();
                let mut tx = store.begin().await.unwrap();
                let ended = tx.end_sign_ins_of_key(&key, at(1100)).await.unwrap();
                tx.insert_sign_in(&row).await.unwrap();
                tx.commit(at(1100), event(n)).await.unwrap();
                ended.len()
            });
        }
        let ended: usize = tasks.join_all().await.into_iter().sum();
        assert_eq!((ended, stores[1].sign_ins(at(1100)).await.unwrap().len()), (39, 1));
    })
    .await;
}

/// Runs `work` for at most `polls` steps and then drops it with its last step under way; says whether it finished.
async fn cut_off(polls: usize, work: impl Future<Output = ()>) -> bool {
    let mut work = pin!(work);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        match work.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(true),
            Poll::Pending if left == 0 => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// A client that goes away cancels whatever its request was at: begin, insert or commit. Each of these either happened
/// whole or not at all, and the store goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cancelled_anywhere() {
    on_both("cancelled writers", async |place| {
        let store = place.open().await;
        let random = Random::seeded(3);
        let mut tasks = JoinSet::new();
        for n in 0..400 {
            let (store, row) = (store.clone(), rows::sign_in(&random));
            tasks.spawn(async move {
                let write = async {
                    let mut tx = store.begin().await.unwrap();
                    tx.insert_sign_in(&row).await.unwrap();
                    tx.commit(at(1000), event(0)).await.unwrap();
                };
                (row.id.clone(), cut_off(n % 10, write).await)
            });
        }
        let outcomes = tasks.join_all().await;
        store.note(at(1001), event(1)).await.unwrap();
        let mut written = 0;
        for (id, finished) in &outcomes {
            let there = store.sign_in(id).await.unwrap().is_some();
            assert!(there || !finished, "{id} was committed and is not there");
            written += u64::from(there);
        }
        let cut = outcomes.iter().filter(|(_, finished)| !finished).count();
        assert!(cut > 0 && cut < outcomes.len(), "{cut} cut off: nothing was tried");
        assert_eq!(numbers(&store).await, (1..=written + 1).collect::<Vec<u64>>());
        eprintln!("{cut} of {} cut off, {written} written", outcomes.len());
    })
    .await;
}

/// Reads the log by `seq > after` while it grows; what one such reader gets is what an exporter gets.
async fn reader(store: Store, written: Arc<AtomicBool>) -> Vec<u64> {
    let mut seen: Vec<u64> = Vec::new();
    loop {
        let last_round = written.load(Ordering::SeqCst);
        let page = store.audit(seen.last().copied().unwrap_or(0), 1000).await.unwrap();
        seen.extend(page.iter().map(|row| row.seq));
        if last_round {
            return seen;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_at_once() {
    on_both("1,000 sessions closed at once", async |place| {
        const SESSIONS: usize = 1000;
        let store = place.open().await;
        let random = Random::seeded(2);
        let sign_in = rows::sign_in(&random);
        let mut tx = store.begin().await.unwrap();
        tx.insert_sign_in(&sign_in).await.unwrap();
        let sessions: Vec<_> = (0..SESSIONS).map(|_| rows::session(&random, &sign_in.id)).collect();
        for session in &sessions {
            tx.insert_session(session).await.unwrap();
        }
        tx.commit(at(1000), event(0)).await.unwrap();

        let written = Arc::new(AtomicBool::new(false));
        let reader = tokio::spawn(reader(store.clone(), Arc::clone(&written)));
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for mut session in sessions {
            let store = store.clone();
            tasks.spawn(async move {
                session.closed = Some(at(1200));
                session.close_reason = Some("drain".into());
                let mut tx = store.begin().await.unwrap();
                assert!(tx.close_session(&session).await.unwrap());
                tx.commit(at(1200), event(1)).await.unwrap();
            });
        }
        tasks.join_all().await;
        eprintln!("{SESSIONS} commits in {:?}", began.elapsed());
        written.store(true, Ordering::SeqCst);
        let all: Vec<u64> = (1..=1001).collect();
        assert_eq!(reader.await.unwrap(), all);
        assert_eq!(numbers(&store).await, all);
        assert!(store.open_sessions_of("one").await.unwrap().is_empty());
    })
    .await;

    on_both("two processes, 50 tasks each", async |place| {
        let stores = [place.open().await, place.open().await];
        let mut tasks = JoinSet::new();
        for n in 0..100 {
            let store = stores[n % 2].clone();
            tasks.spawn(async move { store.note(at(1000), event(n)).await.unwrap() });
        }
        tasks.join_all().await;
        assert_eq!(numbers(&stores[1]).await, (1..=100).collect::<Vec<u64>>());
    })
    .await;
}
