//! Two runs of one repository are two: neither sees, revokes or ends what the other has; and one run has so much and no more.

use caponier::audit::AuditEvent;
use caponier::ids::{SessionId, SignInId};
use caponier::store::{SessionRow, SignIn};
use serde_json::{Value, json};

use super::{Ci, certificate};

/// An open session under this sign-in, as if one had begun.
async fn session(ci: &Ci, sign_in: &SignInId) -> SessionId {
    let row = SessionRow {
        id: SessionId::random(&ci.site.app.random),
        sign_in: sign_in.clone(),
        who: "github:repository/123456".into(),
        display: "acme/shop".into(),
        target: "web1".into(),
        login: "deploy".into(),
        kind: "exec".into(),
        command: "deploy --password hunter2".into(),
        from: "127.0.0.1".into(),
        node: "test".into(),
        recording: None,
        opened: ci.clock.now(),
        closed: None,
        close_reason: None,
        exit_status: None,
        bytes_in: 0,
        bytes_out: 0,
        recording_sha256: None,
    };
    let mut tx = ci.site.app.store.begin().await.unwrap();
    tx.insert_session(&row).await.unwrap();
    tx.commit(ci.clock.now(), AuditEvent::ServerStarted { version: "test".into(), interrupted: 0 })
        .await
        .unwrap();
    row.id
}

#[tokio::test]
async fn runs_of_one_repository_have_nothing_in_common() {
    let ci = Ci::start().await;
    let (own, own_answer) = ci.signed_in(&[]).await;
    let (other, other_answer) = ci.signed_in(&[("run_id", json!("555"))]).await;
    let id = |answer: &Value| -> SignInId { answer["sign_in"]["sign_in"].as_str().unwrap().parse().unwrap() };
    let serial = |answer: &Value| certificate(answer).serial().to_string();
    let (mine, theirs) = (session(&ci, &id(&own_answer)).await, session(&ci, &id(&other_answer)).await);

    let (status, seen) = own.call("GET", "/v1/access", &Value::Null).await;
    assert_eq!(status, 200, "{seen}");
    assert!(
        seen.to_string().contains(mine.as_str()) && !seen.to_string().contains(theirs.as_str()),
        "{seen}"
    );
    let key = other.key.public_key().to_openssh().unwrap();
    for (kind, value) in [
        ("session", theirs.to_string()),
        ("serial", serial(&other_answer)),
        ("key", key.split(' ').take(2).collect::<Vec<_>>().join(" ")),
        ("key", other.fingerprint()),
        ("workload", "github:repository/123456".to_owned()),
    ] {
        let ask = json!({ "kind": kind, "value": value, "reason": "to break it" });
        let (status, answer) = own.call("POST", "/v1/revocations", &ask).await;
        assert_eq!(status, 404, "{kind} {value}: {answer}");
    }
    let path = format!("/v1/sign-in/{}", id(&other_answer));
    assert_eq!(own.call("DELETE", &path, &Value::Null).await.0, 404);
    assert_eq!(other.call("POST", "/v1/certificate", &json!({})).await.0, 200, "nothing has happened to it");
    // What is one's own can be revoked.
    for (kind, value) in
        [("session", mine.to_string()), ("serial", serial(&own_answer)), ("key", own.fingerprint())]
    {
        let ask = json!({ "kind": kind, "value": value, "reason": "it leaked" });
        let (status, answer) = own.call("POST", "/v1/revocations", &ask).await;
        assert!(status.is_success(), "{kind}: {answer}");
    }
    assert_eq!(own.call("POST", "/v1/certificate", &json!({})).await.0, 401);
}

#[tokio::test]
async fn one_run_has_so_many_sign_ins() {
    let ci = Ci::start().await;
    let (_, answer) = ci.signed_in(&[]).await;
    let id: SignInId = answer["sign_in"]["sign_in"].as_str().unwrap().parse().unwrap();
    let first = ci.site.app.store.sign_in(&id).await.unwrap().unwrap();
    let mut tx = ci.site.app.store.begin().await.unwrap();
    for _ in 0..511 {
        let id = SignInId::random(&ci.site.app.random);
        tx.insert_sign_in(&SignIn { id, key_fingerprint: None, ..first.clone() }).await.unwrap();
    }
    let event = AuditEvent::ServerStarted { version: "test".into(), interrupted: 0 };
    tx.commit(ci.clock.now(), event).await.unwrap();
    let (status, answer) = ci.show(&ci.site.client(), &[]).await;
    assert_eq!((status, &answer["error"]["code"]), (403, &json!("limit")), "{answer}");
    // Another run is not held up by it.
    assert_eq!(ci.show(&ci.site.client(), &[("run_id", json!("555"))]).await.0, 200);
}
