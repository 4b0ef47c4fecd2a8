//! Revocations in the store: they come back, happen once, in an order that only rises; whose certificates live.

use caponier::identity::Kind;
use caponier::ids::RevocationId;
use caponier::random::Random;
use caponier::store::{CertificateRow, RevocationRow, Store};
use tokio::task::JoinSet;

use super::{Place, at, event, on_both, rows, same, write_session, write_sign_in};

fn row(random: &Random, kind: &str, value: &str) -> RevocationRow {
    RevocationRow {
        id: RevocationId::random(random),
        kind: kind.into(),
        authority: if kind == "serial" { "user" } else { "any" }.into(),
        value: value.into(),
        public_key: (kind == "ca").then(|| "ssh-ed25519 AAAA".into()),
        reason: "left'; DROP TABLE revocation; --".into(),
        by: "corp:admin".into(),
        created: at(1000),
        until: (kind == "serial").then(|| at(1500)),
    }
}

/// Writes it; whether it was new, and the version.
async fn revoke(store: &Store, row: &RevocationRow) -> (bool, u64) {
    let mut tx = store.begin().await.unwrap();
    let version = tx.next_revocation_version(row.created).await.unwrap();
    let is_new = tx.insert_revocation(row).await.unwrap();
    tx.commit(row.created, event(0)).await.unwrap();
    (is_new, version)
}

#[tokio::test(flavor = "multi_thread")]
async fn revocations() {
    on_both("revocations come back", come_back).await;
    on_both("what is asked of others", of_others).await;
    on_both("eight at once", at_once).await;
}

async fn come_back(place: &Place) {
    let store = place.open().await;
    let random = Random::seeded(1);
    let start = store.revocation_version().await.unwrap();
    assert_eq!((start.version, start.changed), (1, at(0)), "a list of nothing has a version, too");
    let rows = [row(&random, "serial", "18446744073709551615"), row(&random, "ca", "SHA256:x")];
    let (first, v1) = revoke(&store, &rows[0]).await;
    let (second, v2) = revoke(&store, &rows[1]).await;
    assert!(first && second && v1 == 1000 && v2 == 1001, "at least the time, and rising: {v1} {v2}");
    assert_eq!(store.revocation_version().await.unwrap().version, 1001);
    // The same thing again, by another row.
    let (again, _) =
        revoke(&store, &RevocationRow { reason: "other".into(), ..row(&random, "ca", "SHA256:x") }).await;
    assert!(!again);
    let mut listed = store.revocations(None, 10).await.unwrap();
    listed.sort_by(|a, b| b.kind.cmp(&a.kind));
    same(&listed, &rows.to_vec());
    // In pages, whatever stands between.
    let page = store.revocations(None, 1).await.unwrap();
    let next = store.revocations(Some(&page[0].id), 10).await.unwrap();
    assert!(page.len() == 1 && next.len() == 1 && next[0].id != page[0].id);
    let kinds = async |now| -> Vec<String> {
        store.revocations_in_force(at(now)).await.unwrap().into_iter().map(|row| row.kind).collect()
    };
    assert_eq!(kinds(1499).await.len(), 2);
    assert_eq!(kinds(1500).await, ["ca"]);
    let mut tx = store.begin().await.unwrap();
    tx.insert_revocation(&row(&random, "other", "x")).await.unwrap_err();
    drop(tx);
    // One that is given up leaves the version.
    let mut tx = store.begin().await.unwrap();
    tx.next_revocation_version(at(9000)).await.unwrap();
    drop(tx);
    assert_eq!(store.revocation_version().await.unwrap().version, 1002);
}

async fn of_others(place: &Place) {
    let store = place.open().await;
    let random = Random::seeded(2);
    let alice = rows::sign_in(&random);
    let mut bob = rows::sign_in(&random);
    bob.who.subject = "bob".into();
    bob.key_fingerprint = Some("SHA256:bob".into());
    let session = rows::session(&random, &alice.id);
    write_sign_in(&store, &alice).await;
    write_sign_in(&store, &bob).await;
    write_session(&store, &session).await;
    let hers = rows::certificate(&random, &alice.id);
    let at_target = CertificateRow {
        kind: "target",
        session: Some(session.id.clone()),
        ..rows::certificate(&random, &alice.id)
    };
    let old = CertificateRow { valid_before: at(1050), ..rows::certificate(&random, &alice.id) };
    let mut tx = store.begin().await.unwrap();
    for certificate in [&hers, &at_target, &old, &rows::certificate(&random, &bob.id)] {
        tx.insert_certificate(certificate).await.unwrap();
    }
    tx.commit(at(1000), event(0)).await.unwrap();

    let found = store.certificate(at_target.serial).await.unwrap().unwrap();
    assert_eq!((found.authority.as_str(), &found.session), ("target", &Some(session.id.clone())));
    assert_eq!(store.certificate(1).await.unwrap(), None);
    assert_eq!(store.certificates_of_session(&session.id).await.unwrap(), [found]);
    let who = alice.who.reference().parse().unwrap();
    assert!(store.has_signed_in(Kind::Person, &who).await.unwrap());
    assert!(!store.has_signed_in(Kind::Workload, &who).await.unwrap());
    assert!(store.is_key_of("SHA256:alice", &alice.who).await.unwrap());
    assert!(!store.is_key_of("SHA256:alice", &bob.who).await.unwrap());

    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.end_sign_ins_of(Kind::Workload, &who, at(1100)).await.unwrap().len(), 0);
    let ended = tx.end_sign_ins_of(Kind::Person, &who, at(1100)).await.unwrap();
    let mut serials: Vec<u64> = tx
        .certificates_of(Kind::Person, &who, at(1100))
        .await
        .unwrap()
        .iter()
        .map(|one| one.serial)
        .collect();
    tx.commit(at(1100), event(1)).await.unwrap();
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].id, alice.id);
    serials.sort_unstable();
    let mut expect = [hers.serial, at_target.serial];
    expect.sort_unstable();
    assert_eq!(serials, expect, "not the one that has expired, not bob's");
    assert!(store.sign_in(&bob.id).await.unwrap().unwrap().is_live(at(1100)));
    assert!(!store.sign_in(&alice.id).await.unwrap().unwrap().is_live(at(1100)));
}

async fn at_once(place: &Place) {
    let store = place.open().await;
    let mut tasks = JoinSet::new();
    for n in 0..8 {
        let store = store.clone();
        // All of the same thing: one is first.
        tasks.spawn(async move { revoke(&store, &row(&Random::seeded(n), "key", "SHA256:x")).await });
    }
    let done = tasks.join_all().await;
    assert_eq!(done.iter().filter(|(is_new, _)| *is_new).count(), 1);
    let mut versions: Vec<u64> = done.iter().map(|(_, version)| *version).collect();
    versions.sort_unstable();
    assert_eq!(versions, (1000..1008).collect::<Vec<_>>());
}
