//! Alerts over the API: pages, acknowledging, and who may not.

use caponier::audit::{AuditEvent, TellingEvent};
use caponier::flow::alert::{self, Watch};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::api::permissions::{EXTRA, people};
use crate::sign_in::site::Site;

#[tokio::test]
async fn auditors_read_alerts_in_pages_and_acknowledge_them_once() {
    let site = Site::start_with(EXTRA, "http").await;
    let (auditor, engineer) = (site.client(), site.client());
    people(&site, "auditor", std::slice::from_ref(&auditor.key)).await;
    people(&site, "engineer", std::slice::from_ref(&engineer.key)).await;
    let mut watch = Watch::default();
    while alert::look(&site.app, &mut watch).await.unwrap() > 0 {}
    for n in 0..5 {
        let event = TellingEvent::RecorderFailed {
            who: "corp:ann".into(),
            target: "web1".into(),
            login: "root".into(),
            node: format!("node{n}"),
            why: "disk full".into(),
        };
        site.app.store.note(site.app.clock.now(), AuditEvent::Telling(event)).await.unwrap();
        site.app.clock.advance(std::time::Duration::from_secs(u64::from(n % 2 == 0)));
        while alert::look(&site.app, &mut watch).await.unwrap() > 0 {}
    }
    let mut subjects = Vec::new();
    let mut after = String::new();
    for _ in 0..3 {
        let (status, page) = auditor.call("GET", &format!("/v1/alerts?limit=2{after}"), &Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        let items = page["items"].as_array().unwrap();
        subjects.extend(items.iter().map(|one| one["subject"].as_str().unwrap().to_owned()));
        after = page["next"].as_str().map(|next| format!("&after={next}")).unwrap_or_default();
    }
    assert_eq!((after.as_str(), subjects.len()), ("", 5));
    subjects.sort();
    assert_eq!(subjects, ["node0", "node1", "node2", "node3", "node4"]);

    let (_, page) = auditor.call("GET", "/v1/alerts?limit=1", &Value::Null).await;
    let path = format!("/v1/alerts/{}/ack", page["items"][0]["id"].as_str().unwrap());
    let note = json!({ "note": "a larger disk" });
    let (status, refused) = engineer.call("POST", &path, &note).await;
    assert_eq!((status, &refused["error"]["code"]), (StatusCode::FORBIDDEN, &"no-access".into()));
    let (status, row) = auditor.call("POST", &path, &note).await;
    assert_eq!((status, &row["acknowledged_by"]), (StatusCode::OK, &"corp:auditor".into()), "{row}");
    let (status, refused) = auditor.call("POST", &path, &note).await;
    assert_eq!((status, &refused["error"]["code"]), (StatusCode::CONFLICT, &"already".into()));
    for bad in [json!({ "note": " " }), json!({ "note": "x".repeat(2000) }), json!({})] {
        assert_eq!(auditor.call("POST", &path, &bad).await.0, StatusCode::BAD_REQUEST, "{bad}");
    }
    let bad = auditor.call("GET", "/v1/alerts?after=bm9uc2Vuc2U", &Value::Null).await;
    assert_eq!(bad.0, StatusCode::BAD_REQUEST, "{}", bad.1);
    let (_, open) = auditor.call("GET", "/v1/alerts?open=true", &Value::Null).await;
    assert_eq!(open["items"].as_array().unwrap().len(), 4);
    let entry = site.audit().await.into_iter().find(|entry| entry.starts_with("alert_acknowledged")).unwrap();
    assert!(entry.contains("corp:auditor") && entry.contains("a larger disk"), "{entry}");
}
