//! The outbox itself, on both databases: whose turn it is, who has it, what is given up, what is forgotten.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use caponier::alerts::{Concerned, Notice, NoticeKind, Sink};
use caponier::flow::tell;
use caponier::ids::{CaseId, NoticeId};
use caponier::random::Random;
use caponier::store::{Delivery, Store};
use caponier::time::{Clock, Timestamp};
use tokio::task::JoinSet;

use super::receiver::Receiver;
use super::{NOW, Outpost, enqueue, webhook};
use crate::store::on_both;

const LEASE: Duration = Duration::from_secs(90);

fn sink(name: &str) -> Sink {
    Sink { lane: name.to_owned(), name: name.to_owned() }
}

fn notice(case: Option<&CaseId>, title: &str) -> Notice {
    let notice = Notice::new(NoticeId::random(&Random::System), NoticeKind::RequestPending, title);
    match case {
        Some(case) => notice.about(case),
        None => notice,
    }
}

async fn claim(store: &Store, lane: &str, node: &str, now: Timestamp) -> Vec<Delivery> {
    store.claim_deliveries(lane, node, (now, now.plus(LEASE)), 100).await.unwrap()
}

fn titles(claimed: &[Delivery]) -> Vec<&str> {
    claimed.iter().map(|one| one.queued.notice.title.as_str()).collect()
}

#[tokio::test]
async fn order_leases_and_independent_sinks() {
    on_both("order and leases", async |place| {
        let store = place.open().await;
        let (one, two) = (CaseId::random(&Random::System), CaseId::random(&Random::System));
        let all = [
            notice(Some(&one), "a1"),
            notice(Some(&two), "b1"),
            notice(Some(&one), "a2 \0 \u{202e}"),
            notice(None, "c")
                .to([Concerned::Group("corp:ops".to_owned()), Concerned::Person("corp:ops".to_owned())])
                .with("k", "v\0")
                .with("k", "w"),
        ];
        for notice in &all {
            enqueue(&store, notice, NOW).await;
        }
        let queued = store.unspread(10).await.unwrap();
        assert_eq!(queued.len(), 4);
        let back = queued.iter().find(|one| one.notice.id == all[3].id).unwrap();
        assert_eq!((&back.notice.audience, &back.notice.fields), (&all[3].audience, &all[3].fields));
        // A later notice of a case is not spread before the earlier one.
        let sinks = [sink("x"), sink("y")];
        assert!(!store.spread(&all[2].id, &sinks, NOW).await.unwrap());
        for notice in &all {
            assert!(store.spread(&notice.id, &sinks, NOW).await.unwrap());
            assert!(!store.spread(&notice.id, &sinks, NOW).await.unwrap(), "twice");
        }
        let first = claim(&store, "x", "n1", NOW).await;
        let mut seen = titles(&first);
        seen.sort_unstable();
        assert_eq!(seen, ["a1", "b1", "c"], "a2 waits for a1");
        assert!(claim(&store, "x", "n2", NOW).await.is_empty(), "they are taken");
        assert_eq!(claim(&store, "y", "n2", NOW).await.len(), 3, "another sink has its own turn");
        // One is delivered, one is to be tried later, and the node that has the third dies.
        let by = |title: &str| first.iter().find(|one| one.queued.notice.title == title).unwrap();
        store.postpone_delivery(by("a1"), "n1", NOW.plus(LEASE * 3), "500").await.unwrap();
        store.delivered(by("b1"), NOW).await.unwrap();
        let later = NOW.plus(LEASE);
        let again = claim(&store, "x", "n2", later).await;
        assert_eq!(titles(&again), ["c"], "its lease is over; a1 is not due, so a2 still waits");
        assert_eq!(again[0].attempts, 2);
        // Who lost its lease says late that it failed: nothing happens.
        store.postpone_delivery(by("c"), "n1", NOW, "late").await.unwrap();
        assert!(claim(&store, "x", "n3", later).await.is_empty());
        // A node that comes back has its own again at once.
        assert_eq!(store.release_deliveries("n2").await.unwrap(), 4);
        assert_eq!(titles(&claim(&store, "x", "n3", later).await), ["c"]);
        let due = NOW.plus(LEASE * 3);
        assert_eq!(titles(&claim(&store, "x", "n1", due).await).len(), 2);
        store.delivered(by("a1"), due).await.unwrap();
        assert_eq!(titles(&claim(&store, "x", "n1", due).await), ["a2 \u{fffd} \u{202e}"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_claim_and_each_is_taken_once() {
    on_both("60 deliveries, 6 claimers, two processes", async |place| {
        let stores = [place.open().await, place.open().await];
        for n in 0..60 {
            let one = notice(None, &n.to_string());
            enqueue(&stores[0], &one, NOW).await;
            assert!(stores[0].spread(&one.id, &[sink("x")], NOW).await.unwrap());
        }
        let left = Arc::new(AtomicUsize::new(60));
        let mut tasks = JoinSet::new();
        for n in 0..6 {
            let (store, left) = (stores[n % 2].clone(), Arc::clone(&left));
            tasks.spawn(async move {
                let mut taken = Vec::new();
                // Who finds nothing may only have been slower than others.
                for _ in 0..10_000 {
                    if left.load(Ordering::SeqCst) == 0 {
                        break;
                    }
                    let node = n.to_string();
                    let some = store.claim_deliveries("x", &node, (NOW, NOW.plus(LEASE)), 7).await.unwrap();
                    left.fetch_sub(some.len(), Ordering::SeqCst);
                    taken.extend(some.into_iter().map(|one| one.queued.notice.title));
                }
                taken
            });
        }
        let mut all: Vec<String> = tasks.join_all().await.into_iter().flatten().collect();
        all.sort();
        all.dedup();
        assert_eq!((all.len(), left.load(Ordering::SeqCst)), (60, 0));
    })
    .await;
}

#[tokio::test]
async fn what_fails_for_too_long_is_given_up_and_written_down() {
    let dead = Receiver::start(|_, _| super::receiver::Answer::Status(503, "retry-after: 60\r\n".into()));
    let clock = Clock::fixed(NOW);
    let desk = Outpost::open(&webhook("ops", &dead.url(), ""), clock.clone()).await;
    let app = &desk.app;
    let receivers = tell::receivers(app);
    let case = desk.case();
    let first = desk.tell(Some(&case), NoticeKind::RequestPending, "first").await;
    clock.advance(Duration::from_secs(3600));
    desk.tell(Some(&case), NoticeKind::RequestExpired, "second").await;
    tell::spread(app).await.unwrap();
    // Each pause is at least what the receiver asked for, and longer in the end.
    let mut attempts = 0;
    for _ in 0..2000 {
        for delivery in tell::claim(app, "webhook:ops", 8).await.unwrap() {
            assert_eq!(delivery.queued.notice.title, "first", "the second waits");
            tell::attempt(app, &receivers, &delivery).await.unwrap();
            attempts += 1;
        }
        if tell::give_up(app).await.unwrap() > 0 {
            break;
        }
        clock.advance(Duration::from_secs(60));
    }
    assert!((90..200).contains(&attempts), "{attempts} attempts in a day");
    assert_eq!(app.clock.now().since(NOW.plus(Duration::from_secs(3600))).as_secs() / 3600, 24);
    let audit = desk.audit().await;
    let entry = audit.iter().find(|entry| entry.starts_with("notice_given_up")).unwrap();
    assert!(
        entry.contains(first.as_str()) && entry.contains("webhook:ops") && entry.contains("503"),
        "{entry}"
    );
    // Now it is the second's turn; it has had none, so it gets one before it is given up too.
    assert_eq!(tell::give_up(app).await.unwrap(), 0);
    let next = tell::claim(app, "webhook:ops", 8).await.unwrap();
    assert_eq!(titles(&next), ["second"]);
    tell::attempt(app, &receivers, &next[0]).await.unwrap();
    assert_eq!(tell::give_up(app).await.unwrap(), 1);
    // And after a while nothing is left of either.
    assert_eq!(tell::forget(app).await.unwrap(), 0);
    clock.advance(Duration::from_secs(31 * 24 * 3600));
    assert_eq!(tell::forget(app).await.unwrap(), 4);
    assert!(app.store.unspread(1).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_sink_that_is_gone_from_the_configuration_blocks_nobody_and_ends_in_the_audit_log() {
    let clock = Clock::fixed(NOW);
    let gone = Receiver::willing();
    let desk = Outpost::open(&webhook("gone", &gone.url(), ""), clock.clone()).await;
    desk.tell(None, NoticeKind::AlertRaised, "x").await;
    tell::spread(&desk.app).await.unwrap();
    let stays = Receiver::willing();
    let app = desk.reconfigured(&webhook("stays", &stays.url(), ""));
    desk.tell(None, NoticeKind::AlertRaised, "y").await;
    tell::spread(&app).await.unwrap();
    let receivers = tell::receivers(&app);
    for lane in tell::lanes_of(&app) {
        for delivery in tell::claim(&app, &lane, 8).await.unwrap() {
            tell::attempt(&app, &receivers, &delivery).await.unwrap();
        }
    }
    assert_eq!((stays.accepted().len(), gone.taken().len()), (1, 0));
    clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(tell::give_up(&app).await.unwrap(), 0, "another bastion may still know it");
    clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(tell::give_up(&app).await.unwrap(), 1);
    assert!(
        desk.audit()
            .await
            .iter()
            .any(|entry| entry.contains("notice_given_up") && entry.contains("webhook:gone"))
    );
}

/// Measured: how long an outbox takes that has filled up while a receiver was away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_outbox_empties() {
    let receiver = Receiver::willing();
    let desk = Outpost::open(&webhook("ops", &receiver.url(), ""), Clock::System).await;
    for n in 0..200 {
        desk.tell(None, NoticeKind::AlertRaised, &n.to_string()).await;
    }
    let began = std::time::Instant::now();
    let _jobs = desk.run();
    super::until_all_told(&desk.app.store).await;
    println!("200 notices to one receiver: {:.2?}", began.elapsed());
    assert_eq!(receiver.accepted().len(), 200);
}
