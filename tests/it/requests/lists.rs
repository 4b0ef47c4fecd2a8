//! Who sees which requests, page by page, and what there is to ask for.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::*;

async fn pages(who: &Client<'_>, path: &str, limit: usize) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), String::new());
    for _ in 0..50 {
        let with = if path.contains('?') { '&' } else { '?' };
        let (status, page) =
            who.call("GET", &format!("{path}{with}limit={limit}{after}"), &Value::Null).await;
        assert_eq!(status, 200, "{page}");
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= limit);
        all.extend(items.iter().cloned());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return all,
        }
    }
    panic!("no end of {path}");
}

#[tokio::test]
async fn everybody_sees_their_own_and_auditors_all() {
    let site = town(&role("ops", ONE)).await;
    let (dora, max) = (person(&site, "dora", &["dev"]).await, person(&site, "max", &["dev"]).await);
    let lead = person(&site, "lead", &["leads"]).await;
    let mut hers = Vec::new();
    for number in 0..7 {
        hers.push(id(&file(&dora, &json!({})).await));
        // Some at the same moment, some not.
        site.app.clock.advance(Duration::from_secs(number % 2));
    }
    let his = file(&max, &json!({})).await;
    assert_eq!(approve(&lead, &his).await, ok("granted"));
    for limit in [1, 2, 3, 50] {
        let listed: Vec<String> = pages(&dora, "/v1/requests", limit).await.iter().map(id).collect();
        assert_eq!(listed.len(), 7);
        assert_eq!(listed.iter().collect::<BTreeSet<_>>(), hers.iter().collect(), "each once: {limit}");
        let waiting: Vec<String> = pages(&lead, "/v1/inbox", limit).await.iter().map(id).collect();
        assert_eq!(waiting.iter().collect::<BTreeSet<_>>(), hers.iter().collect());
    }
    let newest_first = pages(&dora, "/v1/requests", 3).await;
    assert!(newest_first.windows(2).all(|two| two[0]["filed"].as_u64() >= two[1]["filed"].as_u64()));
    assert_eq!(pages(&dora, "/v1/requests?state=granted", 5).await.len(), 0);
    assert_eq!(pages(&max, "/v1/requests?state=granted&scope=own", 5).await.len(), 1);

    for (who, groups) in [("audrey", []), ("root", [])] {
        let who = person(&site, who, &groups).await;
        assert_eq!(pages(&who, "/v1/requests?scope=all", 3).await.len(), 8);
        assert_eq!(pages(&who, "/v1/requests?scope=all&state=granted", 3).await.len(), 1);
        assert_eq!(pages(&who, "/v1/requests", 3).await.len(), 0);
        assert_eq!(seen(&who, &his).await["reason"], "OPS-1 rotate");
    }
    for who in [&dora, &lead] {
        let (status, answer) = who.call("GET", "/v1/requests?scope=all", &Value::Null).await;
        assert_eq!((status.as_u16(), &answer["error"]["code"]), (403, &json!("no-access")));
        assert!(site.last_audit().await.contains("see the requests of everybody"));
    }
    // Auditors read, and nothing else.
    let audrey = person(&site, "audrey", &[]).await;
    let waiting = json!({"id": hers[0]});
    assert_eq!(seen(&audrey, &waiting).await["may"], json!([]));
    assert_eq!(approve(&audrey, &waiting).await, no(404, "not-found"));
}

#[tokio::test]
async fn lists_take_their_own_cursors_only() {
    let site = town(&role("ops", ONE)).await;
    let dora = person(&site, "dora", &["dev"]).await;
    for after in ["!", "bm9uZQ", "MTg0NDY3NDQwNzM3MDk1NTE2MTUgcmVxXzAxMjM0NTY3ODlhYmNkZWZnaGprbW5wcXJz"] {
        for path in ["/v1/requests", "/v1/inbox"] {
            let (status, _) = dora.call("GET", &format!("{path}?after={after}"), &Value::Null).await;
            assert_eq!(status, 400, "{path} {after}");
        }
    }
    for query in ["scope=some", "state=odd", "limit=0", "limit=201", "who=max"] {
        assert_eq!(dora.call("GET", &format!("/v1/requests?{query}"), &Value::Null).await.0, 400, "{query}");
    }
}

#[tokio::test]
async fn a_request_shows_what_was_said_about_it() {
    let site = town(&role("ops", ONE)).await;
    let (dora, lead) = (person(&site, "dora", &["dev"]).await, person(&site, "lead", &["leads"]).await);
    let request = file(&dora, &json!({"ticket": "OPS-1", "once": "session", "commands": ["id"]})).await;
    assert_eq!(request["by"], json!({"who": "corp:dora", "display": "dora the person"}));
    assert_eq!((&request["ticket"], &request["reason"]), (&json!("OPS-1"), &json!("OPS-1 rotate")));
    assert_eq!(
        (&request["scope"]["once"], &request["scope"]["commands"]),
        (&json!("session"), &json!(["id"]))
    );
    assert_eq!(seen(&lead, &request).await["may"], json!(["approve", "deny"]));
    let (_, answer) = act_whole(&lead, &request, "approve", json!({"note": "go ahead"})).await;
    let approval = &answer["stages"][0]["approvals"][0];
    assert_eq!((&approval["note"], &approval["by"]["who"]), (&json!("go ahead"), &json!("corp:lead")));
    assert_eq!(answer["may"], json!(["revoke"]));
}

#[tokio::test]
async fn what_there_is_to_ask_for() {
    let rules = format!("{ONE}[role.request.ticket]\nrequired = true\n");
    let site = town(&(role("ops", &rules) + &role("look", "standing = true"))).await;
    let dora = person(&site, "dora", &["dev"]).await;
    for limit in [1, 50] {
        let roles = pages(&dora, "/v1/eligible", limit).await;
        assert_eq!(
            roles.iter().map(|one| one["role"].clone()).collect::<Vec<_>>(),
            [json!("look"), json!("ops")]
        );
        assert_eq!(roles[0]["asking"], Value::Null);
        assert_eq!(roles[1]["asking"]["max"], 7200);
        assert_eq!(roles[1]["asking"]["ticket"]["required"], true);
        assert_eq!(roles[1]["asking"]["stages"], json!(["leads"]));
        assert_eq!(
            (&roles[1]["targets"], &roles[1]["target_count"]),
            (&json!(["dev1", "web1", "web2"]), &json!(3))
        );
    }
    let stranger = person(&site, "eve", &[]).await;
    assert_eq!(pages(&stranger, "/v1/eligible", 50).await.len(), 0);
}
