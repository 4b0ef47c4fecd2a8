//! Providers are asked again about people who signed in, and tell of logouts: with the demo's provider and a clock that the
//! test moves. What a real provider and a real ssh make of it stands in `live`, logout tokens in `logout`.

mod live;
mod logout;
mod present;

use std::time::Duration;

use caponier::demo::provider::Tamper;
use caponier::flow::recheck::{Checked, all_due, recheck};
use caponier::ids::SignInId;
use caponier::secret::Sealed;
use caponier::store::{CheckNote, SignInCheck};
use serde_json::{Value, json};

use crate::canary::files_with;
use crate::sign_in::site::{Client, Site};

const MINUTE: Duration = Duration::from_secs(60);

/// Signs `engineer` in; answers the sign-in.
async fn signed_in(client: &Client<'_>) -> SignInId {
    client.login("engineer").await["sign_in"].as_str().unwrap().parse().unwrap()
}

async fn kept(site: &Site, id: &SignInId) -> Option<SignInCheck> {
    site.app.store.check_of(id).await.unwrap()
}

async fn is_live(site: &Site, id: &SignInId) -> bool {
    site.app.store.sign_in(id).await.unwrap().unwrap().is_live(site.app.clock.now())
}

async fn groups(site: &Site, id: &SignInId) -> Vec<String> {
    let row = site.app.store.sign_in(id).await.unwrap().unwrap();
    row.who.groups.iter().map(ToString::to_string).collect()
}

async fn renew(client: &Client<'_>) -> (u16, Value) {
    let (status, answer) = client.call("POST", "/v1/certificate", &json!({})).await;
    (status.as_u16(), answer)
}

/// Writes something else where the refresh token is.
async fn replace(site: &Site, id: &SignInId, sealed: Sealed) {
    let now = site.app.clock.now();
    let row = kept(site, id).await.unwrap();
    let lease = site.app.store.lease_check(id, "test", now, now, now).await.unwrap();
    assert!(lease.is_some());
    let note = CheckNote { sealed: Some(sealed), checked: row.checked, tried: row.tried, failure: None };
    assert!(site.app.store.note_check(id, "test", &note).await.unwrap());
}

#[tokio::test]
async fn a_refresh_token_is_sealed_rotated_and_gone_with_its_sign_in() {
    let site = Site::start().await;
    let client = site.client();
    let id = signed_in(&client).await;
    let mut before: Option<Sealed> = None;
    for round in 0..3 {
        let tokens = site.provider.refresh_tokens();
        assert_eq!(tokens.len(), 1, "one sign-in, one token");
        let found = files_with(site.dir(), &tokens[0]);
        assert!(found.is_empty(), "the refresh token lies open in {found:?}");
        let row = kept(&site, &id).await.unwrap();
        assert_eq!(row.checked, site.app.clock.now());
        assert_ne!(row.sealed, before, "round {round}");
        before = row.sealed;
        assert_eq!(all_due(&site.app).await.unwrap(), 0, "not yet");
        site.app.clock.advance(10 * MINUTE);
        assert_eq!(all_due(&site.app).await.unwrap(), 1);
        assert!(is_live(&site, &id).await);
    }
    let audit = site.audit().await.join("\n");
    assert!(!audit.contains("refresh"), "{audit}");
    let (status, _) = client.call("DELETE", "/v1/sign-in", &Value::Null).await;
    assert_eq!(status, 204);
    assert!(kept(&site, &id).await.is_none());
    // A key that signs in again takes the old token away; one that is never ended loses it when its time is over.
    let first = signed_in(&client).await;
    let second = signed_in(&client).await;
    assert!(kept(&site, &first).await.is_none() && kept(&site, &second).await.is_some());
    site.app.clock.advance(600 * MINUTE);
    caponier::flow::sweep::sweep(&site.app).await.unwrap();
    assert!(kept(&site, &second).await.is_none());
}

#[tokio::test]
async fn somebody_who_is_gone_at_the_provider_is_out_at_the_next_check() {
    let site = Site::start().await;
    let client = site.client();
    let id = signed_in(&client).await;
    let mut ended = site.app.desk.ended();
    site.provider.disable("engineer");
    site.app.clock.advance(9 * MINUTE);
    assert_eq!(all_due(&site.app).await.unwrap(), 0);
    assert_eq!(renew(&client).await.0, 200, "the last check is not old yet");
    site.app.clock.advance(MINUTE);
    assert_eq!(all_due(&site.app).await.unwrap(), 1);
    assert!(!is_live(&site, &id).await);
    assert_eq!(ended.recv().await.unwrap(), id, "who holds sessions hears of it");
    let audit = site.last_audit().await;
    assert!(audit.starts_with("sign_in_ended ") && audit.contains("\"by\":\"provider\""), "{audit}");
    assert!(audit.contains("invalid_grant"), "{audit}");
    assert_eq!(renew(&client).await.0, 401);
}

#[tokio::test]
async fn renewing_a_certificate_asks_first() {
    let site = Site::start().await;
    let client = site.client();
    let id = signed_in(&client).await;
    site.provider.tamper(Tamper::Claim("groups", json!(["engineers", "more"])));
    site.app.clock.advance(10 * MINUTE);
    assert_eq!(renew(&client).await.0, 200);
    assert_eq!(groups(&site, &id).await, ["corp:engineers", "corp:more"]);
    let audit = site.audit().await;
    let changed = audit.iter().find(|entry| entry.starts_with("groups_changed ")).unwrap();
    assert!(changed.contains("\"before\":[\"corp:engineers\"]"), "{changed}");
    // The role hung on a group that is gone: the same request opens nothing.
    site.provider.tamper(Tamper::Claim("groups", json!([])));
    site.app.clock.advance(10 * MINUTE);
    let (status, answer) = renew(&client).await;
    assert_eq!((status, &answer["error"]["code"]), (403, &json!("no-access")), "{answer}");
    assert!(is_live(&site, &id).await);
    let (_, answer) = client.call("GET", "/v1/sign-in", &Value::Null).await;
    assert_eq!(answer["groups"], json!([]));
    site.provider.disable("engineer");
    site.app.clock.advance(10 * MINUTE);
    assert_eq!(renew(&client).await.0, 401);
    assert!(!is_live(&site, &id).await);
}

#[tokio::test]
async fn what_is_a_no_and_what_is_no_answer() {
    let site = Site::start().await;
    let client = site.client();
    let word = |status: u16, word: &str| Tamper::Answer(status, json!({ "error": word }));
    let rows = [
        (word(400, "invalid_grant"), Checked::Ended),
        (word(401, "invalid_grant"), Checked::Ended),
        (word(403, "access_denied"), Checked::Ended),
        (word(400, "interaction_required"), Checked::Ended),
        (word(400, "login_required"), Checked::Ended),
        // About us, not about the person.
        (word(401, "invalid_client"), Checked::Silent),
        (word(400, "unauthorized_client"), Checked::Silent),
        (word(400, "invalid_scope"), Checked::Silent),
        // A provider that is broken says nothing, whatever its words.
        (word(500, "invalid_grant"), Checked::Silent),
        (word(503, "temporarily_unavailable"), Checked::Silent),
        (word(429, "invalid_grant"), Checked::Silent),
        (word(302, "invalid_grant"), Checked::Silent),
        (Tamper::Answer(400, json!("gone")), Checked::Silent),
        (Tamper::Answer(404, Value::Null), Checked::Silent),
        (Tamper::Answer(200, json!({})), Checked::Silent),
        (Tamper::Redirect, Checked::Silent),
        // Somebody else is a no.
        (Tamper::Claim("sub", json!("auditor")), Checked::Ended),
        (Tamper::Claim("iss", json!("https://elsewhere.example")), Checked::Ended),
        // What we cannot believe says nothing.
        (Tamper::Claim("nonce", json!("of-another")), Checked::Silent),
        (Tamper::Claim("aud", json!("another")), Checked::Silent),
        (Tamper::Claim("exp", json!(1)), Checked::Silent),
        (Tamper::Claim("groups", json!("engineers")), Checked::Silent),
        (Tamper::OtherKey("demo"), Checked::Silent),
        (Tamper::OtherKey("unknown"), Checked::Silent),
        (Tamper::Unsigned, Checked::Silent),
        (Tamper::Hmac, Checked::Silent),
        (Tamper::AfterSigning, Checked::Silent),
        (Tamper::Claim("groups", json!([])), Checked::Changed),
        (Tamper::Claim("groups", Value::Null), Checked::Changed),
        (Tamper::Claim("nonce", Value::Null), Checked::Same),
        (Tamper::NewKey, Checked::Same),
        (Tamper::NoIdToken, Checked::Same),
        (Tamper::NoPerson, Checked::Ended),
        (Tamper::Nothing, Checked::Same),
    ];
    for (lie, expect) in rows {
        site.provider.tamper(Tamper::Nothing);
        // Longer than a silent provider is left alone, and than its keys are taken for fresh.
        site.app.clock.advance(6 * MINUTE);
        let id = signed_in(&client).await;
        let before = kept(&site, &id).await.unwrap();
        site.provider.tamper(lie.clone());
        site.app.clock.advance(MINUTE);
        assert_eq!(recheck(&site.app, &id).await.unwrap(), expect, "{lie:?}");
        assert_eq!(is_live(&site, &id).await, expect != Checked::Ended, "{lie:?}");
        if expect == Checked::Silent {
            let row = kept(&site, &id).await.unwrap();
            assert_eq!(row.checked, before.checked, "{lie:?}");
            assert!(row.failure.is_some(), "{lie:?}");
            // The token was used up in some of these; what took its place was kept.
            site.provider.tamper(Tamper::Nothing);
            site.app.clock.advance(MINUTE);
            assert_eq!(recheck(&site.app, &id).await.unwrap(), Checked::Same, "after {lie:?}");
        }
    }
}

#[tokio::test]
async fn an_outage_keeps_who_is_in_and_opens_nothing_new_after_its_time() {
    let site = Site::start().await;
    let client = site.client();
    let id = signed_in(&client).await;
    site.provider.tamper(Tamper::Answer(503, Value::Null));
    for minute in (10..60).step_by(10) {
        site.app.clock.advance(10 * MINUTE);
        assert_eq!(renew(&client).await.0, 200, "minute {minute}");
        all_due(&site.app).await.unwrap();
    }
    site.app.clock.advance(10 * MINUTE);
    let (status, answer) = renew(&client).await;
    assert_eq!((status, &answer["error"]["code"]), (403, &json!("unchecked")), "{answer}");
    let text = answer["error"]["message"].as_str().unwrap();
    assert!(text.contains("corp") && text.contains("has not confirmed since 2030-"), "{text}");
    assert!(site.last_audit().await.contains("status 503"), "{}", site.last_audit().await);
    all_due(&site.app).await.unwrap();
    site.app.clock.advance(60 * MINUTE);
    all_due(&site.app).await.unwrap();
    assert!(is_live(&site, &id).await, "the sign-in goes on");
    site.provider.tamper(Tamper::Nothing);
    site.app.clock.advance(MINUTE);
    assert_eq!(renew(&client).await.0, 200, "it answers again");
    let audit = site.audit().await;
    let count = |kind: &str| audit.iter().filter(|entry| entry.starts_with(kind)).count();
    assert_eq!((count("provider_silent "), count("provider_answers ")), (1, 1), "{audit:#?}");
}

#[tokio::test]
async fn an_outage_ends_sign_ins_where_that_is_wanted() {
    let extra = "[sign_in]\nprovider_outage = \"end\"\nprovider_outage_max = \"30m\"\n";
    let mut site = Site::start_with(extra, "http").await;
    let id = signed_in(&site.client()).await;
    let elsewhere = caponier::demo::provider::start(&site.app.random, &site.app.clock).await.unwrap();
    drop(std::mem::replace(&mut site.provider, elsewhere));
    for minute in [10, 20] {
        site.app.clock.advance(10 * MINUTE);
        assert_eq!(all_due(&site.app).await.unwrap(), 1);
        assert!(is_live(&site, &id).await, "minute {minute}");
    }
    site.app.clock.advance(10 * MINUTE);
    assert_eq!(all_due(&site.app).await.unwrap(), 1);
    assert!(!is_live(&site, &id).await);
    let audit = site.last_audit().await;
    assert!(audit.starts_with("sign_in_ended ") && audit.contains("\"by\":\"outage\""), "{audit}");
}

#[tokio::test]
async fn without_a_refresh_token_a_sign_in_lasts_its_hours() {
    let site = Site::start_with("refresh_token = \"never\"\n", "http").await;
    let client = site.client();
    let id = signed_in(&client).await;
    assert_eq!(site.provider.refresh_tokens(), Vec::<String>::new(), "none is asked for");
    assert_eq!(kept(&site, &id).await.unwrap().sealed, None);
    site.provider.tamper(Tamper::Answer(400, json!({"error": "invalid_grant"})));
    site.app.clock.advance(599 * MINUTE);
    assert_eq!(all_due(&site.app).await.unwrap(), 0);
    assert_eq!(renew(&client).await.0, 200);
    site.app.clock.advance(MINUTE);
    assert_eq!(renew(&client).await.0, 401);
}

#[tokio::test]
async fn rows_that_were_altered_end_and_rows_of_other_keys_wait() {
    let site = Site::start().await;
    let (one, two) = (site.client(), site.client());
    let first = signed_in(&one).await;
    let second = two.login("reviewer").await["sign_in"].as_str().unwrap().parse().unwrap();
    let sealed = kept(&site, &first).await.unwrap().sealed.unwrap();
    let other = kept(&site, &second).await.unwrap().sealed.unwrap();
    // A key that this server does not have: as good as no answer, and the log says what to do.
    let unknown = Sealed { key_id: "0123456789abcdef".into(), ..sealed.clone() };
    replace(&site, &first, unknown).await;
    site.app.clock.advance(10 * MINUTE);
    assert_eq!(recheck(&site.app, &first).await.unwrap(), Checked::Silent);
    let failure = kept(&site, &first).await.unwrap().failure.unwrap();
    assert!(failure.contains("0123456789abcdef") && failure.contains("sign_in.key_file"), "{failure}");
    assert!(is_live(&site, &first).await);
    replace(&site, &first, sealed.clone()).await;
    assert_eq!(recheck(&site.app, &first).await.unwrap(), Checked::Same);
    // Another person's token in this row, and a changed one: somebody writes into the database.
    replace(&site, &first, other.clone()).await;
    assert_eq!(recheck(&site.app, &first).await.unwrap(), Checked::Ended);
    assert!(site.last_audit().await.contains("was altered"), "{}", site.last_audit().await);
    let mut bent = other.clone();
    let last = if bent.text.ends_with('A') { "B" } else { "A" };
    bent.text.replace_range(20..21, last);
    assert_ne!(bent, other);
    replace(&site, &second, bent).await;
    assert_eq!(recheck(&site.app, &second).await.unwrap(), Checked::Ended);
    assert_eq!(site.provider.refresh_tokens().len(), 2, "none of them was used");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_ask_at_once_one_does() {
    let site = Site::start().await;
    let id = signed_in(&site.client()).await;
    for _ in 0..5 {
        site.app.clock.advance(10 * MINUTE);
        let asked = (0..8).map(|_| all_due(&site.app));
        let asked: usize = futures_util::future::join_all(asked).await.into_iter().map(Result::unwrap).sum();
        assert_eq!(asked, 1);
        assert!(is_live(&site, &id).await, "a token that was used twice would have ended it");
    }
    // A server that died while it asked holds nobody up for longer than its lease.
    let now = site.app.clock.now();
    let until = now.plus(2 * MINUTE);
    assert!(site.app.store.lease_check(&id, "dead", until, now, now).await.unwrap().is_some());
    site.app.clock.advance(MINUTE);
    assert_eq!(recheck(&site.app, &id).await.unwrap(), Checked::Untouched);
    site.app.clock.advance(MINUTE);
    assert_eq!(recheck(&site.app, &id).await.unwrap(), Checked::Same);
    // And should it come back, its answer does not count any more.
    let note = CheckNote { sealed: None, checked: now, tried: now, failure: None };
    assert!(!site.app.store.note_check(&id, "dead", &note).await.unwrap());
}
