//! Logout tokens over HTTP: what they end, and every way in which one can be wrong.

use std::time::Duration;

use caponier::demo::provider::Tamper;
use caponier::flow::back_channel::{LogoutRefused, log_out};
use caponier::identity::logout::EVENT;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{is_live, signed_in};
use crate::sign_in::site::Site;
use crate::store::doom;

const PATH: &str = "/back-channel-logout/corp";

/// Sends a body; answers status and text.
async fn send(site: &Site, path: &str, kind: &str, body: &str) -> (StatusCode, String) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = http.post(site.page(path)).header("content-type", kind).body(body.to_owned());
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["cache-control"], "no-store");
    assert_eq!(answer.headers().get_all("cache-control").iter().count(), 1);
    (answer.status(), answer.text().await.unwrap())
}

async fn post(site: &Site, token: &str) -> (StatusCode, String) {
    send(site, PATH, "application/x-www-form-urlencoded", &format!("logout_token={token}")).await
}

fn header() -> Value {
    json!({"alg": "EdDSA", "typ": "logout+jwt", "kid": "demo"})
}

fn claims(site: &Site, more: &Value) -> Value {
    let now = site.app.clock.now().as_secs();
    let mut claims = json!({
        "iss": site.provider.issuer, "aud": site.provider.client_id, "iat": now, "exp": now + 120,
        "jti": site.app.random.token(), "events": { EVENT: {} },
    });
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    claims
}

fn good(site: &Site, more: &Value) -> String {
    site.provider.signed(&header(), &claims(site, more), &Tamper::Nothing).unwrap()
}

#[tokio::test]
async fn a_provider_logs_a_person_or_one_session_out() {
    let site = Site::start().await;
    let (one, two, other) = (site.client(), site.client(), site.client());
    let first = signed_in(&one).await;
    let sid = site.provider.sids("engineer").remove(0);
    let second = signed_in(&two).await;
    let reviewer = other.login("reviewer").await["sign_in"].as_str().unwrap().parse().unwrap();
    let mut ended = site.app.desk.ended();

    assert_eq!(
        post(&site, &good(&site, &json!({"sid": "of-nobody"}))).await.0,
        200,
        "nothing to end is fine"
    );
    assert!(site.last_audit().await.contains("\"ended\":[]"), "{}", site.last_audit().await);
    let of_another = json!({"sid": sid, "sub": "reviewer"});
    assert_eq!(post(&site, &good(&site, &of_another)).await.0, 200);
    assert!(is_live(&site, &first).await, "both must fit");

    let token = good(&site, &json!({"sid": sid}));
    assert_eq!(post(&site, &token).await, (StatusCode::OK, String::new()));
    assert_eq!(ended.recv().await.unwrap(), first);
    assert!(!is_live(&site, &first).await && is_live(&site, &second).await);
    let audit = site.audit().await;
    let last: Vec<&String> = audit.iter().rev().take(2).collect();
    assert!(last[0].starts_with("provider_logged_out ") && last[0].contains(first.as_str()), "{last:?}");
    assert!(
        last[1].starts_with("sign_in_ended ") && last[1].contains("logged out at the provider"),
        "{last:?}"
    );

    let (status, said) = post(&site, &token).await;
    assert!(status == 400 && said.contains("came before"), "{said}");
    assert_eq!(post(&site, &good(&site, &json!({"sub": "engineer"}))).await.0, 200);
    assert!(!is_live(&site, &second).await && is_live(&site, &reviewer).await);
}

#[tokio::test]
async fn tokens_that_are_wrong_log_nobody_out() {
    let site = Site::start().await;
    let client = site.client();
    let id = signed_in(&client).await;
    let whom = json!({"sub": "engineer"});
    let now = site.app.clock.now().as_secs();
    let with = |name: &str, value: Value| {
        let mut claims = claims(&site, &whom);
        if value.is_null() {
            drop(claims.as_object_mut().unwrap().remove(name))
        } else {
            claims[name] = value
        }
        site.provider.signed(&header(), &claims, &Tamper::Nothing).unwrap()
    };
    let under =
        |header: Value| site.provider.signed(&header, &claims(&site, &whom), &Tamper::Nothing).unwrap();
    let by = |header: Value, lie: Tamper| site.provider.signed(&header, &claims(&site, &whom), &lie).unwrap();
    let cut = good(&site, &whom);
    let (body, signature) = cut.rsplit_once('.').unwrap();
    let other = good(&site, &json!({"sub": "auditor"}));
    let rows = [
        (with("iss", json!("https://elsewhere.example")), "issuer"),
        (with("aud", json!("another")), "audience"),
        (with("aud", json!([site.provider.client_id, "another"])), "audience"),
        (with("aud", json!([site.provider.client_id, site.provider.client_id])), "audience"),
        (with("aud", Value::Null), "audience"),
        (with("iat", json!(now - 301)), "age"),
        (with("iat", json!(now + 61)), "age"),
        (with("iat", Value::Null), "shape"),
        (with("exp", json!(now)), "expired"),
        (with("jti", Value::Null), "jti"),
        (with("events", Value::Null), "events"),
        (with("events", json!({})), "events"),
        (with("nonce", json!("n")), "nonce"),
        (with("sub", Value::Null), "subject"),
        (with("sub", json!(7)), "subject"),
        (under(json!({"alg": "none"})), "signature"),
        (under(json!({"alg": "HS256", "kid": "demo"})), "signature"),
        (under(json!({"alg": "ES256", "kid": "demo"})), "signature"),
        (under(json!({"alg": "EdDSA", "kid": "another"})), "signature"),
        (under(json!({"alg": "EdDSA", "kid": "demo", "typ": "JWT"})), "type"),
        (under(json!({"alg": "EdDSA", "kid": "demo", "crit": ["x"]})), "type"),
        (by(header(), Tamper::OtherKey("demo")), "signature"),
        (by(json!({"alg": "HS256", "kid": "demo"}), Tamper::Hmac), "signature"),
        (by(json!({"alg": "EdDSA", "kid": "demo"}), Tamper::Unsigned), "signature"),
        // The claims of one token under the signature of another.
        (format!("{body}.{}", other.rsplit_once('.').unwrap().1), "signature"),
        (format!("{body}."), "signature"),
        (format!("{body}.{signature}="), "shape"),
        (body.to_owned(), "shape"),
        (String::new(), "shape"),
        ("a.b.c".to_owned(), "shape"),
    ];
    for (token, code) in rows {
        // Strangers have so many refusals a minute written down.
        let (status, said) = post(&site, &token).await;
        assert_eq!(status, 400, "{token}: {said}");
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["error"], "invalid_request");
        let audit = site.last_audit().await;
        assert!(audit.starts_with("credential_refused ") && audit.contains("logout-token"), "{audit}");
        assert!(audit.contains(&format!("\"code\":\"{code}\"")), "{token}: {audit}");
        assert!(is_live(&site, &id).await, "{token}");
    }
    assert_eq!(post(&site, &good(&site, &whom)).await.0, 200);
    assert!(!is_live(&site, &id).await);
}

#[tokio::test]
async fn requests_that_are_no_logout_are_answered_in_the_same_way() {
    let site = Site::start().await;
    let token = good(&site, &json!({"sub": "engineer"}));
    let form = "application/x-www-form-urlencoded";
    let twice = format!("logout_token={token}&logout_token={token}");
    let rows = [
        ("/back-channel-logout/other", form, format!("logout_token={token}")),
        (PATH, "application/json", format!("{{\"logout_token\":\"{token}\"}}")),
        (PATH, form, String::new()),
        (PATH, form, "logout_token=".to_owned()),
        (PATH, form, twice),
        (PATH, form, format!("logout_token={}", "a".repeat(15_000))),
    ];
    for (path, kind, body) in rows {
        let (status, said) = send(&site, path, kind, &body).await;
        assert_eq!(status, 400, "{kind} {body:.80}: {said}");
        assert!(said.contains("invalid_request"), "{said}");
    }
    // The provider cannot be asked for its keys: it may send the token again.
    site.app.clock.advance(Duration::from_secs(7200));
    let late = good(&site, &json!({"sub": "engineer"}));
    site.provider.tamper(Tamper::Issuer);
    let (status, said) = post(&site, &late).await;
    assert!(status == 400 && said.contains("send it again"), "{said}");
    site.provider.tamper(Tamper::Nothing);
    site.app.clock.advance(Duration::from_secs(11));
    assert_eq!(post(&site, &late).await.0, 200);
}

/// Else the provider would take it for done.
#[tokio::test]
async fn that_a_token_came_before_is_said_when_that_is_written() {
    let site = Site::start().await;
    assert_eq!(post(&site, &good(&site, &json!({"sub": "nobody"}))).await.0, 200, "the keys are known now");
    let (app, from) = (&site.app, "203.0.113.9".parse().unwrap());
    // A refusal that is written down would wait for the batch by itself.
    for _ in 0..60 {
        log_out(app, "other", "x", from).await.unwrap_err();
    }
    assert!(matches!(log_out(app, "other", "x", from).await, Err(LogoutRefused::Limit)));
    let mut shared = 0;
    // On a busy machine the batch may be too old for another member.
    for n in 0..20 {
        let jti = format!("same-{n}");
        let token = good(&site, &json!({"sub": "engineer", "jti": &jti}));
        let mut first = app.store.begin().await.unwrap();
        first.use_nonce("(logout) corp", &jti, app.clock.now().plus(Duration::from_secs(900))).await.unwrap();
        let (second, ()) = tokio::join!(log_out(app, "corp", &token, from), doom(first));
        match second {
            Err(LogoutRefused::Store(_)) => shared += 1,
            other => assert!(matches!(other, Ok(0)), "{other:?}"),
        }
    }
    assert!(shared > 0, "never in one batch");
}
