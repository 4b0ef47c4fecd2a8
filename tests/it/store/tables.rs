//! Each method, table by table.

use std::collections::BTreeSet;

use caponier::identity::Kind;
use caponier::ids::{PendingId, SessionId, SignInId};
use caponier::random::Random;
use caponier::store::{SessionFilter, SessionRow, SignIn, Store, StoreError};

use super::{Place, at, event, numbers, on_both, rows};

async fn write_sign_in(store: &Store, row: &SignIn) {
    let mut tx = store.begin().await.unwrap();
    tx.insert_sign_in(row).await.unwrap();
    tx.commit(row.created, event(0)).await.unwrap();
}

async fn write_session(store: &Store, row: &SessionRow) {
    let mut tx = store.begin().await.unwrap();
    tx.insert_session(row).await.unwrap();
    tx.commit(row.opened, event(0)).await.unwrap();
}

/// Two rows are the same: their debug forms hold every field.
fn same<T: std::fmt::Debug>(left: &T, right: &T) {
    assert_eq!(format!("{left:#?}"), format!("{right:#?}"));
}

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
        who: caponier::identity::Identity {
            kind: Kind::Workload,
            groups: BTreeSet::new(),
            ..person.who.clone()
        },
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
        SignIn { expires: caponier::time::Timestamp::from_millis(u64::MAX), ..fresh() },
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
    assert_eq!(live(2000).await, [other.id.clone()]);
    assert!(!end(&older.id, 2000).await);

    assert!(end(&other.id, 2100).await);
    let ended = async |secs| store.sign_ins_ended_since(at(secs)).await.unwrap();
    assert_eq!(ended(0).await, [newer.id.clone(), other.id.clone()]);
    assert_eq!(ended(1300).await, [newer.id.clone(), other.id.clone()]);
    assert_eq!(ended(1301).await, [other.id.clone()]);
    assert_eq!(ended(2101).await, [] as [SignInId; 0]);
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
    assert_eq!(store.pending_count(at(1599)).await.unwrap(), 2);
    assert_eq!(store.pending_count(at(1600)).await.unwrap(), 1);
    assert_eq!(store.sweep(at(1599)).await.unwrap(), 0);
    assert_eq!(store.sweep(at(1600)).await.unwrap(), 2);
    assert_eq!(store.pending_count(at(0)).await.unwrap(), 1);
    let mut tx = store.begin().await.unwrap();
    tx.use_nonce("SHA256:k", "old", at(1800)).await.unwrap();
    assert!(matches!(tx.use_nonce("SHA256:k", "new", at(1800)).await, Err(StoreError::Conflict)));
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_certificates_audit() {
    on_both("sessions", sessions).await;
    on_both("lists of sessions", lists_of_sessions).await;
    on_both("certificates", certificates).await;
    on_both("all or nothing", all_or_nothing).await;
    on_both("audit", audit).await;
    on_both("rows nobody wrote", bad_rows).await;
}

async fn sessions(place: &Place) {
    let (store, random) = (place.open().await, Random::seeded(6));
    let sign_in = rows::sign_in(&random);
    write_sign_in(&store, &sign_in).await;
    let open = rows::session(&random, &sign_in.id);
    write_session(&store, &open).await;
    same(&store.session(&open.id).await.unwrap().unwrap(), &open);
    assert!(store.session(&SessionId::random(&random)).await.unwrap().is_none());

    let mut tx = store.begin().await.unwrap();
    assert!(matches!(tx.insert_session(&open).await, Err(StoreError::Conflict)));
    assert!(matches!(tx.close_session(&open).await, Err(StoreError::BadRow { .. })), "no time, no reason");
    let closed = SessionRow {
        closed: Some(at(1200)),
        close_reason: Some("finished".into()),
        exit_status: Some(u32::MAX),
        bytes_in: 1 << 40,
        bytes_out: u64::try_from(i64::MAX).unwrap(),
        recording_sha256: Some("ab".into()),
        ..open.clone()
    };
    assert!(tx.close_session(&closed).await.unwrap());
    assert!(!tx.close_session(&closed).await.unwrap(), "closed already");
    let unknown = SessionRow { id: SessionId::random(&random), ..closed.clone() };
    assert!(!tx.close_session(&unknown).await.unwrap());
    tx.commit(at(1200), event(0)).await.unwrap();
    same(&store.session(&open.id).await.unwrap().unwrap(), &closed);

    // What a client sent must not keep its session from being written; what we choose must be right.
    let hostile = SessionRow { command: "a\0b\n\u{1b}[2J'".into(), ..rows::session(&random, &sign_in.id) };
    write_session(&store, &hostile).await;
    assert_eq!(store.session(&hostile.id).await.unwrap().unwrap().command, "a\u{fffd}b\n\u{1b}[2J'");
    let mut tx = store.begin().await.unwrap();
    for odd in [
        SessionRow { kind: "x11".into(), ..rows::session(&random, &sign_in.id) },
        SessionRow { target: "a\0".into(), ..rows::session(&random, &sign_in.id) },
        SessionRow { bytes_in: u64::MAX, ..rows::session(&random, &sign_in.id) },
    ] {
        let refused = tx.insert_session(&odd).await;
        assert!(matches!(refused, Err(StoreError::BadRow { table: "session", .. })), "{odd:?}");
    }
}

async fn lists_of_sessions(place: &Place) {
    let (store, random) = (place.open().await, Random::seeded(7));
    let sign_in = rows::sign_in(&random);
    write_sign_in(&store, &sign_in).await;
    // Index is the age: 0 is the oldest. Odd ones are closed, every third is bob's, the upper half is at db1.
    let mut ids = Vec::new();
    for n in 0..6_u64 {
        let odd = n % 2 == 1;
        let row = SessionRow {
            opened: at(1100 + n),
            closed: odd.then(|| at(1200)),
            close_reason: odd.then(|| "finished".into()),
            who: if n % 3 == 0 { "corp:bob".into() } else { "corp:alice".into() },
            target: if n >= 3 { "db1".into() } else { "web1".into() },
            node: if n == 4 { "two".into() } else { "one".into() },
            ..rows::session(&random, &sign_in.id)
        };
        write_session(&store, &row).await;
        ids.push(row.id);
    }
    let all = SessionFilter { limit: 100, ..SessionFilter::default() };
    let on = |target: &str| SessionFilter { target: Some(target.into()), ..all.clone() };
    let by = |who: &str| SessionFilter { who: Some(who.into()), ..all.clone() };
    for (filter, wanted) in [
        (all.clone(), &[5, 4, 3, 2, 1, 0][..]),
        (SessionFilter { limit: 2, ..all.clone() }, &[5, 4]),
        (SessionFilter::default(), &[]),
        (SessionFilter { open: true, ..all.clone() }, &[4, 2, 0]),
        (on("db1"), &[5, 4, 3]),
        (SessionFilter { open: true, ..on("web1") }, &[2, 0]),
        (by("corp:bob"), &[3, 0]),
        (SessionFilter { open: true, ..by("corp:bob") }, &[0]),
        (SessionFilter { who: Some("corp:alice".into()), ..on("db1") }, &[5, 4]),
        (SessionFilter { open: true, who: Some("corp:alice".into()), ..on("db1") }, &[4]),
        (on("' OR 1 = 1 --"), &[]),
    ] {
        let found: Vec<_> = store.sessions(&filter).await.unwrap().into_iter().map(|row| row.id).collect();
        let wanted: Vec<_> = wanted.iter().map(|n| ids[*n].clone()).collect();
        assert_eq!(found, wanted, "{filter:?}");
    }
    for (node, wanted) in [("one", &[0, 2][..]), ("two", &[4]), ("three", &[])] {
        let found = store.open_sessions_of(node).await.unwrap();
        let found: Vec<_> = found.into_iter().map(|row| row.id).collect();
        assert_eq!(found, wanted.iter().map(|n| ids[*n].clone()).collect::<Vec<_>>(), "{node}");
    }
}

async fn certificates(place: &Place) {
    let (store, random) = (place.open().await, Random::seeded(8));
    let sign_in = rows::sign_in(&random);
    let session = rows::session(&random, &sign_in.id);
    let mut first = rows::certificate(&random, &sign_in.id);
    first.serial = u64::MAX;
    // Any order within one transaction; a serial drawn twice is drawn again in the same one.
    let mut tx = store.begin().await.unwrap();
    let mut for_target = rows::certificate(&random, &sign_in.id);
    for_target.kind = "target";
    for_target.session = Some(session.id.clone());
    tx.insert_certificate(&for_target).await.unwrap();
    tx.insert_certificate(&first).await.unwrap();
    assert!(matches!(tx.insert_certificate(&first).await, Err(StoreError::Conflict)));
    first.serial -= 1;
    tx.insert_certificate(&first).await.unwrap();
    tx.insert_session(&session).await.unwrap();
    tx.insert_sign_in(&sign_in).await.unwrap();
    tx.commit(at(1000), event(0)).await.unwrap();

    let mut tx = store.begin().await.unwrap();
    assert!(matches!(tx.insert_certificate(&first).await, Err(StoreError::Conflict)), "across transactions");
    let mut odd = rows::certificate(&random, &sign_in.id);
    odd.kind = "host";
    assert!(matches!(tx.insert_certificate(&odd).await, Err(StoreError::BadRow { .. })));
    drop(tx);

    // A certificate for a sign-in that does not exist cannot be committed.
    let mut tx = store.begin().await.unwrap();
    tx.insert_certificate(&rows::certificate(&random, &SignInId::random(&random))).await.unwrap();
    let refused = tx.commit(at(1000), event(1)).await;
    assert!(matches!(refused, Err(StoreError::Database(_))), "{refused:?}");
    assert_eq!(numbers(&store).await, [1]);
    store.note(at(1000), event(2)).await.unwrap();
    assert_eq!(numbers(&store).await, [1, 2]);
}

async fn all_or_nothing(place: &Place) {
    let (store, random) = (place.open().await, Random::seeded(9));
    let sign_in = rows::sign_in(&random);
    for _ in 0..3 {
        let mut tx = store.begin().await.unwrap();
        tx.insert_sign_in(&sign_in).await.unwrap();
        tx.use_nonce("SHA256:k", "n", at(2000)).await.unwrap();
        drop(tx);
        assert!(store.sign_in(&sign_in.id).await.unwrap().is_none());
        assert_eq!(numbers(&store).await, [] as [u64; 0]);
    }
    // Nobody sees a change before it is committed with its entry.
    let mut tx = store.begin().await.unwrap();
    tx.insert_sign_in(&sign_in).await.unwrap();
    assert!(store.sign_in(&sign_in.id).await.unwrap().is_none());
    // An entry that cannot be written takes the change with it.
    let too_late = caponier::time::Timestamp::from_millis(u64::MAX);
    assert!(matches!(tx.commit(too_late, event(0)).await, Err(StoreError::BadRow { table: "audit", .. })));
    assert!(store.sign_in(&sign_in.id).await.unwrap().is_none());
    write_sign_in(&store, &sign_in).await;
    assert_eq!(numbers(&store).await, [1], "what was dropped leaves no gap");
}

async fn audit(place: &Place) {
    let store = place.open().await;
    for n in 0..5_u64 {
        store.note(at(100 + n), event(usize::try_from(n).unwrap())).await.unwrap();
    }
    let page = store.audit(1, 2).await.unwrap();
    let read: Vec<_> =
        page.iter().map(|row| (row.seq, row.at, row.kind.as_str(), row.json.as_str())).collect();
    assert_eq!(
        read,
        [
            (2, at(101), "server_started", r#"{"interrupted":1,"version":"test"}"#),
            (3, at(102), "server_started", r#"{"interrupted":2,"version":"test"}"#),
        ]
    );
    for (after, limit, wanted) in
        [(0, 100, &[1, 2, 3, 4, 5][..]), (0, 0, &[]), (4, 100, &[5]), (5, 100, &[]), (u64::MAX, 100, &[])]
    {
        let seqs: Vec<u64> = store.audit(after, limit).await.unwrap().iter().map(|row| row.seq).collect();
        assert_eq!(seqs, wanted, "after {after}, at most {limit}");
    }
}

/// Rows that a fault or a newer version wrote are errors, never guesses.
async fn bad_rows(place: &Place) {
    let (store, random) = (place.open().await, Random::seeded(10));
    let sign_in = rows::sign_in(&random);
    let session = rows::session(&random, &sign_in.id);
    let begun = rows::pending(&random);
    write_sign_in(&store, &sign_in).await;
    write_session(&store, &session).await;
    store.insert_pending(&begun).await.unwrap();
    let read = async || {
        store.sign_in(&sign_in.id).await?;
        store.sign_ins(at(1500)).await?;
        store.sign_in_by_key("SHA256:alice", at(1500)).await?;
        store.session(&session.id).await?;
        store.sessions(&SessionFilter { limit: 10, ..SessionFilter::default() }).await?;
        store.pending(&begun.id, at(1500)).await?;
        store.audit(0, 10).await.map(|_| ())
    };
    read().await.unwrap();
    let text_in_number = [("session", "bytes_in", "'many'", "0")];
    let cases = [
        ("sign_in", "who_kind", "'ghost'", "'person'"),
        ("sign_in", "provider", "'-x'", "'corp'"),
        ("sign_in", "groups_json", "'[\"ops\"]'", "'[]'"),
        ("sign_in", "groups_json", "'{}'", "'[]'"),
        ("sign_in", "method", "'Loopback'", "'loopback'"),
        ("sign_in", "created", "-1", "1000"),
        ("session", "kind", "''", "'shell'"),
        ("session", "exit_status", "4294967296", "0"),
        ("session", "exit_status", "-1", "0"),
        ("session", "bytes_out", "-5", "0"),
        ("pending_sign_in", "mode", "'x'", "'device'"),
        ("audit", "at", "-1", "1"),
    ];
    // SQLite's columns hold any type.
    for (table, column, bad, good) in cases.iter().chain(text_in_number.iter().filter(|_| place.sqlite)) {
        place.run(&format!("UPDATE {table} SET {column} = {bad}")).await;
        match read().await {
            Err(StoreError::BadRow { table: named, what }) => {
                assert_eq!(named, *table);
                assert!(what.contains(column), "{column} = {bad}: {what}");
            }
            other => panic!("{table}.{column} = {bad}: {other:?}"),
        }
        place.run(&format!("UPDATE {table} SET {column} = {good}")).await;
        read().await.unwrap();
    }
    place.run("DELETE FROM session").await;
    place.run("UPDATE sign_in SET id = 'sgn_short', ended = 1500").await;
    let refused = store.sign_ins_ended_since(at(0)).await;
    assert!(matches!(refused, Err(StoreError::BadRow { table: "sign_in", .. })), "{refused:?}");
}
