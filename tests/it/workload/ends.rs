//! What ends a run: the job, its platform's webhook, time. And what is open only while the platform says that it runs.

use std::time::Duration;

use caponier::flow::finish::settle;
use caponier::flow::recognise::recognise_certificate;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};

use super::{Ci, SECRET, certificate, exchange};
use caponier::identity::token::hex;

/// GitHub's `workflow_run`.
fn workflow_run(action: &str, attempt: u64) -> Value {
    json!({
        "action": action,
        "workflow_run": { "id": 987_654_321_u64, "run_attempt": attempt, "conclusion": "success", "name": "deploy" },
        "repository": { "id": 123_456, "full_name": "acme/shop" },
        "padding": "x".repeat(40_000),
    })
}

fn signature(body: &str, secret: &str) -> String {
    let mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap().chain_update(body);
    format!("sha256={}", hex(&mac.finalize().into_bytes()))
}

/// Sends a delivery; the status and the answer's text.
async fn deliver(ci: &Ci, issuer: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = http.post(ci.site.page(&format!("/webhooks/{issuer}"))).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn github(ci: &Ci, id: &str, event: &Value) -> (u16, String) {
    let body = event.to_string();
    let signed = signature(&body, SECRET);
    let headers = [
        ("x-github-event", "workflow_run"),
        ("x-github-delivery", id),
        ("x-hub-signature-256", signed.as_str()),
    ];
    deliver(ci, "github", &headers, &body).await
}

async fn gitlab(ci: &Ci, id: &str, status: &str) -> (u16, String) {
    let body =
        json!({ "object_attributes": { "id": 31, "status": status }, "project": { "id": 42 } }).to_string();
    let headers =
        [("x-gitlab-event", "Pipeline Hook"), ("x-gitlab-event-uuid", id), ("x-gitlab-token", SECRET)];
    deliver(ci, "gitlab", &headers, &body).await
}

#[tokio::test]
async fn the_job_says_that_it_is_done() {
    let ci = Ci::start().await;
    let (client, answer) = ci.signed_in(&[]).await;
    let (other, _) = ci.signed_in(&[]).await;
    let asked = json!({ "role": "repair", "targets": ["web1"], "logins": ["root"], "seconds": 600, "reason": "fix it now" });
    let (status, filed) = client.call("POST", "/v1/requests", &asked).await;
    assert!(status.is_success(), "{filed}");
    let from = "127.0.0.1".parse().unwrap();
    assert!(recognise_certificate(&ci.site.app, &certificate(&answer), from).await.is_ok());

    let (status, _) = client.call("POST", "/v1/runs/done", &Value::Null).await;
    assert_eq!(status, 204);
    assert!(recognise_certificate(&ci.site.app, &certificate(&answer), from).await.is_err());
    assert_eq!(client.call("POST", "/v1/certificate", &json!({})).await.0, 401);
    let audit = ci.site.audit().await.join("\n");
    let serial = answer["certificate"]["serial"].as_str().unwrap();
    for said in ["run_over {", "\"by\":\"job\"", "case_closed {", "\"close\":\"cancelled\""] {
        assert!(audit.contains(said), "{said} in {audit}");
    }
    let revoked = ci.site.app.store.revocations(None, 10).await.unwrap();
    assert!(revoked.iter().any(|row| row.kind == "serial" && row.value == serial), "{revoked:?}");
    // The other job of the same run goes on.
    assert_eq!(other.call("POST", "/v1/certificate", &json!({})).await.0, 200);
    // A second time is a plain no; and a person has no run to end.
    assert_eq!(client.call("POST", "/v1/runs/done", &Value::Null).await.0, 401);
    let person = ci.site.client();
    person.login("engineer").await;
    assert_eq!(person.call("POST", "/v1/runs/done", &Value::Null).await.0, 404);
}

#[tokio::test]
async fn githubs_webhook_ends_the_run_and_no_other() {
    let ci = Ci::start().await;
    let (client, _) = ci.signed_in(&[]).await;
    let (second, _) = ci.signed_in(&[]).await;
    let (rerun, _) = ci.signed_in(&[("run_attempt", json!("2"))]).await;
    let (elsewhere, _) = ci.signed_in(&[("run_id", json!("555"))]).await;
    let done = workflow_run("completed", 1);
    assert_eq!(github(&ci, "d-1", &done).await, (200, "ended 2 sign-ins\n".into()));
    for gone in [&client, &second] {
        assert_eq!(gone.call("POST", "/v1/certificate", &json!({})).await.0, 401);
    }
    for there in [&rerun, &elsewhere] {
        assert_eq!(there.call("POST", "/v1/certificate", &json!({})).await.0, 200);
    }
    // The same once more does nothing, whatever its delivery is called, and the run gets nothing more.
    for id in ["d-1", "d-7"] {
        assert_eq!(github(&ci, id, &done).await, (200, "nothing to do\n".into()));
    }
    let (status, answer) = ci.show(&ci.site.client(), &[]).await;
    assert_eq!((status, &answer["error"]["code"]), (403, &json!("run-over")), "{answer}");
    assert_eq!(
        github(&ci, "d-2", &workflow_run("in_progress", 1)).await.0,
        200,
        "late words do not open it again"
    );
    assert_eq!(ci.show(&ci.site.client(), &[]).await.1["error"]["code"], "run-over");
    let audit = ci.site.audit().await.join("\n");
    assert!(audit.contains("\"by\":\"webhook\"") && audit.contains("success (delivery d-1)"), "{audit}");
}

#[tokio::test]
async fn gitlabs_pipeline_runs_again_under_its_id() {
    let ci = Ci::start().await;
    let client = ci.site.client();
    let token = || ci.gitlab.mint(&ci.gitlab.gitlab(&ci.own()));
    assert_eq!(exchange(&client, &token()).await.0, 200);
    let old = token();
    // GitLab takes the event's id from whoever causes it, so it tells nothing apart.
    assert_eq!(gitlab(&ci, "same", "running").await, (200, "the run is known\n".into()));
    assert_eq!(gitlab(&ci, "same", "failed").await, (200, "ended 1 sign-ins\n".into()));
    assert_eq!(client.call("POST", "/v1/certificate", &json!({})).await.0, 401);
    assert_eq!(exchange(&ci.site.client(), &old).await.1["error"]["code"], "run-over");
    // A word that comes late opens nothing: only a token that was issued afterwards shows that it runs again.
    assert_eq!(gitlab(&ci, "same", "pending").await, (200, "the run is known\n".into()));
    assert_eq!(exchange(&ci.site.client(), &old).await.1["error"]["code"], "run-over");
    ci.clock.advance(Duration::from_secs(30));
    let again = ci.site.client();
    assert_eq!(exchange(&again, &token()).await.0, 200);
    assert_eq!(exchange(&ci.site.client(), &old).await.1["error"]["code"], "run-over");
    assert_eq!(gitlab(&ci, "same", "success").await, (200, "ended 1 sign-ins\n".into()));
    assert_eq!(again.call("POST", "/v1/certificate", &json!({})).await.0, 401);
    assert_eq!(gitlab(&ci, "same", "manual").await, (200, "nothing to do\n".into()));
}

#[tokio::test]
async fn one_word_for_many_pipelines_ends_each() {
    let ci = Ci::start().await;
    let pipelines = ["31", "32"];
    let mut clients = Vec::new();
    for pipeline in pipelines {
        let client = ci.site.client();
        let claims = super::changed(ci.gitlab.gitlab(&ci.own()), &[("pipeline_id", json!(pipeline))]);
        assert_eq!(exchange(&client, &ci.gitlab.mint(&claims)).await.0, 200);
        clients.push(client);
    }
    for pipeline in pipelines {
        let body = json!({ "object_attributes": { "id": pipeline.parse::<u64>().unwrap(), "status": "canceled" }, "project": { "id": 42 } });
        let headers =
            [("x-gitlab-event", "Pipeline Hook"), ("x-gitlab-event-uuid", "one"), ("x-gitlab-token", SECRET)];
        assert_eq!(deliver(&ci, "gitlab", &headers, &body.to_string()).await.1, "ended 1 sign-ins\n");
    }
    for client in clients {
        assert_eq!(client.call("POST", "/v1/certificate", &json!({})).await.0, 401);
    }
}

#[tokio::test]
async fn only_what_the_platform_signed_is_heard() {
    let ci = Ci::start().await;
    let (client, _) = ci.signed_in(&[]).await;
    let body = workflow_run("completed", 1).to_string();
    let good = signature(&body, SECRET);
    let wrong = signature(&body, "another-webhook-secret");
    let event = ("x-github-event", "workflow_run");
    let id = ("x-github-delivery", "d-9");
    type Row<'a> = (&'a str, Vec<(&'a str, &'a str)>, &'a str, u16);
    let rows: [Row<'_>; 9] = [
        ("github", vec![event, id], &body, 401),
        ("github", vec![event, id, ("x-hub-signature-256", &wrong)], &body, 401),
        ("github", vec![event, id, ("x-hub-signature-256", &good)], "{}", 401),
        ("github", vec![event, id, ("x-hub-signature-256", good.trim_start_matches("sha256="))], &body, 401),
        (
            "github",
            vec![event, id, ("x-hub-signature-256", &good), ("x-hub-signature-256", &wrong)],
            &body,
            401,
        ),
        ("github", vec![event, id, ("x-gitlab-token", SECRET)], &body, 401),
        ("github", vec![event, ("x-hub-signature-256", &good)], &body, 400),
        (
            "gitlab",
            vec![("x-gitlab-event", "Pipeline Hook"), ("x-gitlab-event-uuid", "1"), ("x-gitlab-token", "no")],
            &body,
            401,
        ),
        ("nobody", vec![event, id, ("x-hub-signature-256", &good)], &body, 404),
    ];
    let mut codes = Vec::new();
    for (issuer, headers, body, status) in rows {
        let (found, text) = deliver(&ci, issuer, &headers, body).await;
        assert_eq!(found, status, "{headers:?}: {text}");
        codes.push(match status {
            401 => "signature",
            404 => "unknown-issuer",
            _ => "shape",
        });
    }
    let written = ci.refusals("webhook").await;
    assert_eq!(written.iter().map(|(code, _)| code.as_str()).collect::<Vec<_>>(), codes);
    assert_eq!(client.call("POST", "/v1/certificate", &json!({})).await.0, 200, "nothing has ended");
    let long = "x".repeat(600_000);
    assert_eq!(deliver(&ci, "github", &[event, id], &long).await.0, 413);
}

#[tokio::test]
async fn an_announced_rule_waits_for_the_platforms_word() {
    let ci = Ci::start().await;
    let night = [("event_name", json!("schedule")), ("environment", json!("none"))];
    let (status, answer) = ci.show(&ci.site.client(), &night).await;
    assert_eq!((status, &answer["error"]["code"]), (403, &json!("announced")), "{answer}");
    assert_eq!(github(&ci, "a-1", &workflow_run("in_progress", 1)).await, (200, "the run is known\n".into()));
    let client = ci.site.client();
    let (status, answer) = ci.show(&client, &night).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        (&answer["rules"], &answer["certificate"]["principals"]),
        (&json!(["nightly"]), &json!(["night"]))
    );
    assert_eq!(github(&ci, "a-2", &workflow_run("completed", 1)).await, (200, "ended 1 sign-ins\n".into()));
    assert_eq!(client.call("POST", "/v1/certificate", &json!({})).await.0, 401);
}

#[tokio::test]
async fn time_ends_what_nobody_ends() {
    let ci = Ci::start().await;
    let (client, answer) = ci.signed_in(&[]).await;
    ci.clock.advance(Duration::from_secs(600));
    let asked = json!({ "role": "repair", "targets": ["web1"], "logins": ["root"], "seconds": 3600, "reason": "fix it now" });
    let (status, filed) = client.call("POST", "/v1/requests", &asked).await;
    assert!(status.is_success(), "{filed}");
    let id = filed["request"]["id"].as_str().unwrap();
    let lead = ci.site.client();
    lead.login("reviewer").await;
    let (status, said) =
        lead.call("POST", &format!("/v1/requests/{id}/approve"), &json!({ "note": "ok" })).await;
    assert_eq!(status, 200, "{said}");
    // Another run of the same repository finds nothing open, and does not even see it.
    let (other, _) = ci.signed_in(&[]).await;
    let (_, seen) = other.call("GET", "/v1/requests", &Value::Null).await;
    assert_eq!(seen["items"], json!([]), "{seen}");
    assert_eq!(settle(&ci.site.app).await.unwrap(), 0);
    ci.clock.advance(Duration::from_secs(3001));
    assert_eq!(settle(&ci.site.app).await.unwrap(), 1);
    let audit = ci.site.audit().await.join("\n");
    assert!(audit.contains("grant_ended {") && audit.contains("\"close\":\"finished\""), "{audit}");
    assert_eq!(client.call("POST", "/v1/certificate", &json!({})).await.0, 401);
    let from = "127.0.0.1".parse().unwrap();
    assert!(recognise_certificate(&ci.site.app, &certificate(&answer), from).await.is_err());
}
