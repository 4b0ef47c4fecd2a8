//! Sessions, certificates, the audit, and rows that nobody should have written.

use caponier::ids::{SessionId, SignInId};
use caponier::random::Random;
use caponier::store::{SessionFilter, SessionRow, StoreError};
use caponier::time::Timestamp;

use super::{Place, at, event, numbers, on_both, rows, same, write_session, write_sign_in};

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
    assert!(matches!(refused, Err(StoreError::Database(_) | StoreError::NotCommitted(_))), "{refused:?}");
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
    let too_late = Timestamp::from_millis(u64::MAX);
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
    place.run("UPDATE sign_in SET id = 'sgn_short'").await;
    let refused = store.sign_ins(at(0)).await;
    assert!(matches!(refused, Err(StoreError::BadRow { table: "sign_in", .. })), "{refused:?}");
}
