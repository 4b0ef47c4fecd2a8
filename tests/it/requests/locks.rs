//! Locks over the API and on the server: who sets them, who sees them, and that nothing is filed or decided under one.

use std::time::Duration;

use serde_json::json;

use super::*;

async fn lock(who: &Client<'_>, on: &str, name: &str, changes: Value) -> (u16, Value) {
    let mut body = json!({"on": on, "name": name, "reason": "incident 42"});
    for (key, value) in changes.as_object().unwrap() {
        body[key] = value.clone();
    }
    let (status, answer) = who.call("POST", "/v1/locks", &body).await;
    (status.as_u16(), answer)
}

async fn held(who: &Client<'_>) -> Vec<Value> {
    let (status, answer) = who.call("GET", "/v1/locks", &Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    answer["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn admins_lock_and_lift_and_auditors_look() {
    let site = town(&role("ops", ONE)).await;
    let (root, audrey) = (person(&site, "root", &[]).await, person(&site, "audrey", &[]).await);
    let dora = person(&site, "dora", &["dev"]).await;
    for who in [&dora, &audrey] {
        assert_eq!(lock(who, "target", "web1", json!({})).await.0, 403);
    }
    assert_eq!(dora.call("GET", "/v1/locks", &Value::Null).await.0, 403);
    for (on, name, changes, status) in [
        ("target", "nope", json!({}), 404),
        ("target", "NOPE", json!({}), 404),
        ("role", "nope", json!({}), 404),
        ("user", "dora", json!({}), 404),
        ("user", "other:dora", json!({}), 404),
        ("user", " corp:dora", json!({}), 404),
        ("user", "corp:dora ", json!({}), 400),
        ("user", "corp: dora", json!({}), 400),
        ("user", "corp:do\u{7}ra", json!({}), 400),
        ("user", "corp:", json!({}), 400),
        ("target", "web1", json!({"reason": " "}), 400),
        ("target", "web1", json!({"reason": "two\nlines"}), 400),
        ("target", "web1", json!({"seconds": 0}), 400),
        ("host", "web1", json!({}), 400),
        ("target", "", json!({}), 400),
    ] {
        let (got, answer) = lock(&root, on, name, changes).await;
        assert_eq!(got, status, "{on} {name}: {answer}");
    }
    assert_eq!(held(&root).await.len(), 0);
    let (status, one) = lock(&root, "target", "web1", json!({"seconds": 60})).await;
    assert_eq!((status, &one["by"], &one["on"]), (201, &json!("corp:root"), &json!("target")));
    assert_eq!(one["until"], site.app.clock.now().as_secs() + 60);
    let (_, other) = lock(&root, "role", "ops", json!({})).await;
    assert_eq!(held(&audrey).await.len(), 2);
    let refused = async |changes: Value| {
        let (status, answer) = dora.call("POST", "/v1/requests", &wish(&changes)).await;
        (status.as_u16(), answer["error"]["code"].clone())
    };
    assert_eq!(refused(json!({})).await, (403, json!("locked")));
    site.app.clock.advance(Duration::from_secs(60));
    assert_eq!(held(&audrey).await.len(), 1, "it opened by itself");
    assert_eq!(refused(json!({"targets": ["web2"]})).await, (403, json!("locked")), "the role");
    let path = format!("/v1/locks/{}", other["id"].as_str().unwrap());
    assert_eq!(audrey.call("DELETE", &path, &Value::Null).await.0, 403);
    assert_eq!(root.call("DELETE", &path, &Value::Null).await.0, 204);
    assert_eq!(root.call("DELETE", &path, &Value::Null).await.0, 404);
    file(&dora, &json!({})).await;
    assert_eq!((entries(&site, "locked").await.len(), entries(&site, "unlocked").await.len()), (2, 1));
}

#[tokio::test]
async fn a_locked_admin_does_not_free_themselves() {
    let config = CONFIG.replace("[\"corp:root\"]", "[\"corp:root\", \"corp:boss\"]");
    let policy = format!("{TARGETS}{}", role("ops", ONE));
    let site = Site::start_set(Setup { extra: &config, policy: &policy, ..Setup::default() }).await;
    let (root, boss) = (person(&site, "root", &[]).await, person(&site, "boss", &[]).await);
    let (status, slip) = lock(&root, "user", "corp:bos", json!({})).await;
    let warning = slip["warning"].as_str().unwrap();
    assert!(status == 201 && warning.contains("nobody called corp:bos ever signed in here"), "{slip}");
    let (_, set) = lock(&root, "user", "corp:boss", json!({})).await;
    assert_eq!(set["warning"], Value::Null);
    let path = format!("/v1/locks/{}", set["id"].as_str().unwrap());
    assert_eq!(boss.call("DELETE", &path, &Value::Null).await.0, 403);
    assert_eq!(lock(&boss, "user", "corp:root", json!({})).await.0, 403);
    assert_eq!(boss.call("GET", "/v1/requests?scope=all", &Value::Null).await.0, 403);
    // Nor anything else that admins may: what is somebody else's is not there for them.
    let dora = person(&site, "dora", &["dev"]).await;
    let request = file(&dora, &json!({})).await;
    let (_, theirs) = dora.call("GET", "/v1/sign-in", &Value::Null).await;
    let sign_in = format!("/v1/sign-in/{}", theirs["sign_in"].as_str().unwrap());
    assert_eq!(boss.call("DELETE", &sign_in, &Value::Null).await.0, 404);
    assert_eq!(act(&boss, &request, "cancel", Value::Null).await, no(404, "not-found"));
    assert_eq!(boss.call("GET", &format!("/v1/requests/{}", id(&request)), &Value::Null).await.0, 404);
    assert_eq!(root.call("DELETE", &path, &Value::Null).await.0, 204);
    assert_eq!(boss.call("GET", "/v1/requests?scope=all", &Value::Null).await.0, 200);
    assert_eq!(seen(&boss, &request).await["may"], json!(["cancel"]));
    assert_eq!(boss.call("DELETE", &sign_in, &Value::Null).await.0, 204);
}
