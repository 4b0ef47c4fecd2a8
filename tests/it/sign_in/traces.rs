//! What is refused stands in the audit log, each time with who and why; and a flood neither fills the log nor is lost.

use std::sync::Arc;
use std::time::Duration;

use caponier::audit::AuditEvent;
use caponier::flow::recognise::recognise_certificate;
use caponier::flow::sweep::{last, sweep};
use caponier::store::StoreError;
use russh::keys::ssh_key::Certificate;
use serde_json::{Value, json};

use super::site::Site;
use super::{HERE, handed};

/// The last entry, which must be of this kind and say all of this.
async fn expect_last(site: &Site, kind: &str, parts: &[&str]) {
    let last = site.last_audit().await;
    assert!(last.starts_with(&format!("{kind} ")), "{kind}: {last}");
    for part in parts {
        assert!(last.contains(part), "{part}: {last}");
    }
}

#[tokio::test]
async fn every_refused_request_leaves_its_trace() {
    let site = Site::start().await;
    let (stranger, engineer, auditor) = (site.client(), site.client(), site.client());
    for (method, path) in [("GET", "/v1/sign-in"), ("POST", "/v1/certificate"), ("DELETE", "/v1/sign-in")] {
        let body = if method == "POST" { json!({}) } else { Value::Null };
        assert_eq!(stranger.call(method, path, &body).await.0, 401, "{path}");
        expect_last(&site, "credential_refused", &["not-signed-in", &stranger.fingerprint()]).await;
        site.app.store.note(site.app.clock.now(), mark()).await.unwrap();
    }

    let id = engineer.login("engineer").await["sign_in"].as_str().unwrap().to_owned();
    auditor.login("auditor").await;
    assert_eq!(auditor.call("DELETE", &format!("/v1/sign-in/{id}"), &Value::Null).await.0, 404);
    let parts = ["corp:auditor", &format!("end sign-in {id}"), "it is of corp:engineer"];
    expect_last(&site, "access_refused", &parts).await;
    let absent = format!("{}0000", &id[..id.len() - 4]);
    assert_eq!(auditor.call("DELETE", &format!("/v1/sign-in/{absent}"), &Value::Null).await.0, 404);
    expect_last(&site, "access_refused", &["there is no such sign-in"]).await;

    assert_eq!(engineer.call("POST", "/v1/certificate", &json!({"life": 1})).await.0, 403);
    expect_last(&site, "access_refused", &["corp:engineer", "certificate", "too short a life"]).await;
    let mut crowded = (*site.app.policy()).clone();
    crowded.roles[0].logins.extend((0..300).map(|n| format!("u{n}").parse().unwrap()));
    site.app.policy.send_replace(Arc::new(crowded));
    assert_eq!(engineer.call("POST", "/v1/certificate", &json!({})).await.0, 400);
    expect_last(&site, "access_refused", &["corp:engineer", "302"]).await;
    assert_eq!(engineer.call("POST", "/v1/certificate", &json!({"principals": ["root"]})).await.0, 200);
}

fn mark() -> AuditEvent {
    AuditEvent::ServerStarted { version: "between".into(), interrupted: 0 }
}

#[tokio::test]
async fn replays_leave_their_trace() {
    let site = Site::start().await;
    let client = site.client();
    let (begun, code) = handed(&site, &client).await;
    let finish = json!({"id": begun.id, "code": code, "verifier": begun.verifier}).to_string();
    let finish_headers = client.headers("POST", "/v1/sign-in/finish", &finish);
    assert_eq!(client.send("POST", "/v1/sign-in/finish", &finish, &finish_headers).await.0, 200);
    let headers = client.headers("POST", "/v1/certificate", "{}");
    assert_eq!(client.send("POST", "/v1/certificate", "{}", &headers).await.0, 200);
    assert_eq!(client.send("POST", "/v1/certificate", "{}", &headers).await.0, 409);
    expect_last(&site, "credential_refused", &["replay", &client.fingerprint()]).await;
    let headers = client.headers("DELETE", "/v1/sign-in", "");
    assert_eq!(client.send("DELETE", "/v1/sign-in", "", &headers).await.0, 204);
    assert_eq!(client.send("DELETE", "/v1/sign-in", "", &headers).await.0, 409);
    expect_last(&site, "credential_refused", &["replay"]).await;
    // A pending sign-in is over after its finish, so a repeated finish finds nothing, unless both come at once.
    let nonce = finish_headers.iter().find(|(name, _)| *name == "caponier-nonce").unwrap().1.clone();
    let mut tx = site.app.store.begin().await.unwrap();
    let used = tx.use_nonce(&client.fingerprint(), &nonce, site.app.clock.now()).await;
    assert!(matches!(used, Err(StoreError::Conflict)), "finish used its request up");
}

#[tokio::test]
async fn a_sign_in_that_nobody_comes_for_leaves_its_trace() {
    let site = Site::start().await;
    let client = site.client();
    let (late, code) = handed(&site, &client).await;
    site.app.clock.advance(Duration::from_secs(60));
    assert_eq!(client.finish(&late, &code).await.0, 404);
    expect_last(&site, "sign_in_failed", &["corp:engineer", "too late", "127.0.0.1"]).await;
    site.app.store.note(site.app.clock.now(), mark()).await.unwrap();

    site.app.clock.advance(Duration::from_secs(600));
    assert_eq!(sweep(&site.app).await.unwrap(), 1);
    expect_last(&site, "sign_in_failed", &["corp:engineer", "never came for it", "\"corp\""]).await;
    let entries = site.audit().await.len();
    assert_eq!(sweep(&site.app).await.unwrap(), 0);
    assert_eq!(site.audit().await.len(), entries, "once");
}

#[tokio::test]
async fn a_flood_of_bad_certificates_is_one_more_entry() {
    let site = Site::start().await;
    let client = site.client();
    client.login("engineer").await;
    let (_, issued) = client.call("POST", "/v1/certificate", &json!({})).await;
    let certificate = Certificate::from_openssh(issued["certificate"].as_str().unwrap()).unwrap();
    client.call("DELETE", "/v1/sign-in", &Value::Null).await;
    let refused = async || {
        let audit = site.audit().await;
        audit.iter().filter(|entry| entry.starts_with("credential_refused ")).count()
    };
    for _ in 0..75 {
        assert!(recognise_certificate(&site.app, &certificate, HERE).await.is_err());
    }
    assert_eq!(refused().await, 60);
    // Others are not hidden by it.
    let elsewhere = [192, 0, 2, 1].into();
    assert!(recognise_certificate(&site.app, &certificate, elsewhere).await.is_err());
    assert_eq!(refused().await, 61);
    sweep(&site.app).await.unwrap();
    assert!(site.last_audit().await.starts_with("credential_refused "), "the minute is not over");
    site.app.clock.advance(Duration::from_secs(60));
    sweep(&site.app).await.unwrap();
    expect_last(&site, "refusals_not_listed", &["\"count\":15", "127.0.0.1"]).await;
    // Nor does the end of the process lose the count.
    for _ in 0..61 {
        assert!(recognise_certificate(&site.app, &certificate, HERE).await.is_err());
    }
    last(&site.app).await.unwrap();
    expect_last(&site, "refusals_not_listed", &["\"count\":1,"]).await;
}
