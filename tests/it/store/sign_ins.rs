//! Sign-ins, those that have begun, and nonces.

use std::collections::BTreeSet;

use caponier::identity::{Identity, Kind};
use caponier::ids::{PendingId, SignInId};
use caponier::random::Random;
use caponier::store::{SignIn, StoreError};
use caponier::time::Timestamp;

use super::{Place, at, event, numbers, on_both, rows, same, write_sign_in};

#[tokio::test(flavor = "multi_thread")]
async fn sign_ins_and_pending() {
    on_both("sign-ins come back as they were", sign_ins_come_back).await;
    on_both("live sign-ins", live_sign_ins).await;
    on_both("pending sign-ins", pending).await;
    on_both("pending keys are unique", pending_conflicts).await;
    on_both("sweep", sweep).await;
}

async fn sign_ins_come_back(place: &Place) {
    let (store, random) = (place.open().await, Random::seeded(1));
    let person = rows::sign_in(&random);
    let job = SignIn {
        id: SignInId::random(&random),
        who: Identity { kind: Kind::Workload, groups: BTreeSet::new(), ..person.who.clone() },
        key_fingerprint: None,
        method: "ssh".into(),
        ended: Some(at(1500)),
        ..person.clone()
    };
    for row in [&person, &job] {
        write_sign_in(&store, row).await;
        let read = store.sign_in(&row.id).await.unwrap().unwrap();
        same(&read, row);
        assert_eq!(read.who, row.who);
    }
    assert!(store.sign_in(&SignInId::random(&random)).await.unwrap().is_none());

    // The same id twice; and what no column may hold.
    let mut tx = store.begin().await.unwrap();
    assert!(matches!(tx.insert_sign_in(&person).await, Err(StoreError::Conflict)));
    let fresh = || SignIn { id: SignInId::random(&random), ..person.clone() };
    let mut nul = fresh();
    nul.who.subject = "a\0b".into();
    for bad in [
        nul,
        SignIn { method: "telepathy".into(), ..fresh() },
        SignIn { expires: Timestamp::from_millis(u64::MAX), ..fresh() },
    ] {
        let error = tx.insert_sign_in(&bad).await.unwrap_err();
        assert!(matches!(error, StoreError::BadRow { table: "sign_in", .. }), "{error}");
    }
    // None of these spoils the transaction; a label with a NUL is kept readable.
    let labelled = SignIn { client: "lap\0top".into(), ..fresh() };
    tx.insert_sign_in(&labelled).await.unwrap();
    tx.commit(at(1000), event(0)).await.unwrap();
    assert_eq!(store.sign_in(&labelled.id).await.unwrap().unwrap().client, "lap\u{fffd}top");
}

async fn live_sign_ins(place: &Place) {
    let (store, random) = (place.open().await, Random::seeded(2));
    let older = rows::sign_in(&random);
    let newer = SignIn { created: at(1100), ..SignIn { id: SignInId::random(&random), ..older.clone() } };
    let other = SignIn {
        id: SignInId::random(&random),
        key_fingerprint: Some("SHA256:bob".into()),
        created: at(1050),
        expires: at(5000),
        ..older.clone()
    };
    for row in [&older, &newer, &other] {
        write_sign_in(&store, row).await;
    }
    let by_key = async |secs| store.sign_in_by_key("SHA256:alice", at(secs)).await.unwrap().map(|row| row.id);
    let live = async |secs| -> Vec<SignInId> {
        store.sign_ins(at(secs)).await.unwrap().into_iter().map(|row| row.id).collect()
    };
    let end = async |id: &SignInId, secs| {
        let mut tx = store.begin().await.unwrap();
        let ended = tx.end_sign_in(id, at(secs)).await.unwrap();
        tx.commit(at(secs), event(0)).await.unwrap();
        ended
    };
    assert_eq!(by_key(1200).await, Some(newer.id.clone()));
    assert_eq!(store.sign_in_by_key("SHA256:nobody", at(1200)).await.unwrap().map(|row| row.id), None);
    assert_eq!(live(1200).await, [newer.id.clone(), other.id.clone(), older.id.clone()]);

    assert!(end(&newer.id, 1300).await);
    assert!(!end(&newer.id, 1301).await, "ended twice");
    assert!(!end(&SignInId::random(&random), 1301).await, "unknown");
    assert!(!store.sign_in(&newer.id).await.unwrap().unwrap().is_live(at(1300)));
    assert_eq!(store.sign_in(&newer.id).await.unwrap().unwrap().ended, Some(at(1300)));
    assert_eq!(by_key(1300).await, Some(older.id.clone()), "the older one lives on");

    // The instant of expiry is over; an expired one cannot be ended.
    assert_eq!(by_key(1999).await, Some(older.id.clone()));
    assert_eq!(by_key(2000).await, None);
    assert_eq!(live(2000).await, std::slice::from_ref(&other.id));
    assert!(!end(&older.id, 2000).await);

    assert!(end(&other.id, 2100).await);
    // What has expired has not been ended, and what nobody knows is not there.
    let unknown = SignInId::random(&random);
    let all = [newer.id.clone(), older.id.clone(), other.id.clone(), unknown];
    assert_eq!(store.sign_ins_not_ended(&all).await.unwrap(), std::slice::from_ref(&older.id));
    assert_eq!(store.sign_ins_not_ended(&[]).await.unwrap(), [] as [SignInId; 0]);
}

async fn pending(place: &Place) {
    let (store, random) = (place.open().await, Random::seeded(3));
    let begun = rows::pending(&random);
    store.insert_pending(&begun).await.unwrap();
    same(&store.pending(&begun.id, at(1599)).await.unwrap().unwrap(), &begun);
    assert!(store.pending(&begun.id, at(1600)).await.unwrap().is_none(), "void at its end");
    assert!(store.pending(&PendingId::random(&random), at(1000)).await.unwrap().is_none());

    let mut next = begun.clone();
    next.state = "at-provider".into();
    next.oauth_state_hash = Some("aa".into());
    next.user_code_hash = Some("bb".into());
    next.json = r#"{"nonce":"é"}"#.into();
    next.expires = at(1700);
    assert!(!store.step_pending("identified", &next).await.unwrap());
    assert!(store.step_pending("begun", &next).await.unwrap());
    assert!(!store.step_pending("begun", &next).await.unwrap());
    for found in [
        store.pending(&begun.id, at(1650)).await.unwrap(),
        store.pending_by_oauth_state("aa", at(1650)).await.unwrap(),
        store.pending_by_user_code("bb", at(1650)).await.unwrap(),
    ] {
        same(&found.unwrap(), &next);
    }
    assert!(store.pending_by_oauth_state("aa", at(1700)).await.unwrap().is_none());
    assert!(store.pending_by_user_code("bb", at(1700)).await.unwrap().is_none());
    assert!(store.pending_by_oauth_state("bb", at(1650)).await.unwrap().is_none());
    assert!(store.pending_by_user_code("aa", at(1650)).await.unwrap().is_none());
    assert_eq!(numbers(&store).await, [] as [u64; 0], "steps are not audited");

    // Inside a transaction: with the rest, or not at all.
    let mut done = next.clone();
    done.state = "done".into();
    let mut tx = store.begin().await.unwrap();
    assert!(tx.step_pending("at-provider", &done).await.unwrap());
    drop(tx);
    assert_eq!(store.pending(&begun.id, at(1650)).await.unwrap().unwrap().state, "at-provider");
    let mut tx = store.begin().await.unwrap();
    assert!(tx.step_pending("at-provider", &done).await.unwrap());
    assert!(!tx.step_pending("at-provider", &done).await.unwrap());
    tx.commit(at(1650), event(0)).await.unwrap();
    assert_eq!(store.pending(&begun.id, at(1650)).await.unwrap().unwrap().state, "done");
}

async fn pending_conflicts(place: &Place) {
    let (store, random) = (place.open().await, Random::seeded(4));
    let mut first = rows::pending(&random);
    first.oauth_state_hash = Some("aa".into());
    first.user_code_hash = Some("bb".into());
    store.insert_pending(&first).await.unwrap();
    let fresh = rows::pending(&random);
    let mut same_state = fresh.clone();
    same_state.oauth_state_hash = Some("aa".into());
    let mut same_code = fresh.clone();
    same_code.user_code_hash = Some("bb".into());
    for row in [&first, &same_state, &same_code] {
        assert!(matches!(store.insert_pending(row).await, Err(StoreError::Conflict)), "{row:?}");
    }
    store.insert_pending(&fresh).await.unwrap();
    for row in [&same_state, &same_code] {
        assert!(matches!(store.step_pending("begun", row).await, Err(StoreError::Conflict)), "{row:?}");
    }
    let mut odd = rows::pending(&random);
    odd.mode = "carrier-pigeon".into();
    let refused = store.insert_pending(&odd).await;
    assert!(matches!(refused, Err(StoreError::BadRow { table: "pending_sign_in", .. })));
    same(&store.pending(&fresh.id, at(1000)).await.unwrap().unwrap(), &fresh);
}

async fn sweep(place: &Place) {
    let (store, random) = (place.open().await, Random::seeded(5));
    let (early, mut late) = (rows::pending(&random), rows::pending(&random));
    late.expires = at(1700);
    store.insert_pending(&early).await.unwrap();
    store.insert_pending(&late).await.unwrap();
    let mut tx = store.begin().await.unwrap();
    tx.use_nonce("SHA256:k", "old", at(1600)).await.unwrap();
    tx.use_nonce("SHA256:k", "new", at(1601)).await.unwrap();
    tx.use_nonce("SHA256:l", "old", at(1601)).await.unwrap();
    assert!(matches!(tx.use_nonce("SHA256:k", "old", at(9)).await, Err(StoreError::Conflict)));
    tx.commit(at(1000), event(0)).await.unwrap();
    let counts = async |now: u64, area: [u8; 4], wide: [u8; 4]| {
        let counts = store.pending_counts(area.into(), wide.into(), at(now)).await.unwrap();
        (counts.all, counts.area, counts.wide_area)
    };
    let (one, other) = ([192, 0, 2, 1], [192, 0, 2, 9]);
    assert_eq!(counts(1599, one, [192, 0, 2, 0]).await, (2, 2, 2));
    assert_eq!(counts(1600, one, [192, 0, 2, 0]).await, (1, 1, 1));
    assert_eq!(counts(1599, other, [192, 0, 2, 0]).await, (2, 0, 2));
    assert_eq!(counts(1599, other, [192, 0, 3, 0]).await, (2, 0, 0));
    assert_eq!(store.sweep(at(1599)).await.unwrap(), 0);
    assert_eq!(store.sweep(at(1600)).await.unwrap(), 2);
    assert_eq!(counts(0, one, [192, 0, 2, 0]).await, (1, 1, 1));
    let mut tx = store.begin().await.unwrap();
    tx.use_nonce("SHA256:k", "old", at(1800)).await.unwrap();
    assert!(matches!(tx.use_nonce("SHA256:k", "new", at(1800)).await, Err(StoreError::Conflict)));
}
