//! Many at once on PostgreSQL, where a transaction holds a connection of its own: nobody who holds one waits for another.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use super::*;

/// As many at once as come with the first minute of a working day; far more than connections to the database.
const MANY: u8 = 64;
const SOON: Duration = Duration::from_secs(5);

const STANDING: &str = "standing = true";

#[tokio::test(flavor = "multi_thread")]
async fn many_signed_requests_at_once_starve_nobody() {
    let cluster = postgres::start();
    let place = Place::postgres(&cluster);
    let roles = [role("all", STANDING), role("ops", ONE)].concat();
    let site = town_on(&place.url, &roles).await;
    let mut all = Vec::new();
    for number in 0..MANY {
        let one = person(&site, &format!("dora{number}"), &["dev"]).await;
        all.push(one.at([127, 0, 1, number + 1]));
    }
    let began = Instant::now();
    let issued = join_all(all.iter().map(|one| async {
        let (status, answer) = one.call("POST", "/v1/certificate", &json!({})).await;
        (status.as_u16(), answer)
    }));
    for (status, answer) in issued.await {
        assert_eq!(status, 200, "{answer}");
    }
    assert!(began.elapsed() < SOON, "certificates: {:?}", began.elapsed());

    // The other ways to a transaction: what is not there, or not theirs, is looked up beside it.
    let began = Instant::now();
    let refused = join_all(all.iter().enumerate().map(|(number, one)| async move {
        let reason = json!({"reason": "over"});
        let ask = wish(&json!({"role": "ops"}));
        let (path, body) = match number % 4 {
            0 => ("/v1/requests/req_0abcdefghjkmnpqrstvwxyz01/deny", reason),
            1 => ("/v1/requests", ask),
            2 => ("/v1/revocations", json!({"kind": "serial", "value": "7", "reason": "over"})),
            _ => ("/v1/sign-in", Value::Null),
        };
        one.call(if number % 4 == 3 { "DELETE" } else { "POST" }, path, &body).await.0
    }));
    for status in refused.await {
        assert!(status.as_u16() < 500, "{status}");
    }
    assert!(began.elapsed() < SOON, "the others: {:?}", began.elapsed());
    site.app.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_what_must_end_never_waits_for_who_writes() {
    let cluster = postgres::start();
    let place = Place::postgres(&cluster);
    let site = town_on(&place.url, &role("all", STANDING)).await;
    // Every connection that writers may have.
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(site.app.store.begin().await.unwrap());
    }
    let began = Instant::now();
    let nobody = SignInId::random(&site.app.random);
    assert!(site.app.store.sign_ins_not_ended(&[nobody]).await.unwrap().is_empty());
    site.app.store.audit_end().await.unwrap();
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    held.clear();
    site.app.store.close().await;
}
