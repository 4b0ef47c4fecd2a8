//! Stages one after the other, quorums, time, and many at once; on SQLite and on PostgreSQL.

use std::time::Duration;

use caponier::flow::answer::elapse;
use futures_util::future::join_all;
use serde_json::json;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

/// A lead, then two of the target's owners.
const TWO: &str = r#"[role.request]
max = "2h"
pending_max = "8h"
[[role.request.stage]]
name = "leads"
groups = ["corp:leads"]
remind_after = "30m"
escalate_after = "1h"
escalate_to = { groups = ["corp:bosses"] }
give_up_after = "4h"
[[role.request.stage]]
name = "owners"
owner_label = "owner"
approvals = 2
"#;

#[tokio::test]
async fn two_stages_and_a_quorum_of_two() {
    on_both(&role("ops", TWO), async |site| {
        let dora = person(site, "dora", &["dev"]).await;
        let lead = person(site, "lead", &["leads", "shop"]).await;
        let (max, mia) = (person(site, "max", &["shop"]).await, person(site, "mia", &["shop"]).await);
        let stranger = person(site, "data", &["data"]).await;
        let request = file(&dora, &json!({})).await;
        assert_eq!((&request["state"], &request["missing"]), (&json!("waiting"), &json!(1)));
        assert_eq!(request["approvers"], json!(["corp:leads"]));
        assert_eq!(request["may"], json!(["cancel"]));
        // Whom it does not concern yet, and whom it never does.
        assert_eq!(approve(&max, &request).await, no(403, "no-access"));
        assert_eq!(approve(&stranger, &request).await, no(404, "not-found"));
        assert_eq!((inbox(&lead).await, inbox(&max).await), (vec![id(&request)], vec![]));

        assert_eq!(approve(&lead, &request).await, ok("waiting"));
        let now = seen(&dora, &request).await;
        assert_eq!((&now["approvers"], &now["missing"]), (&json!(["corp:shop"]), &json!(2)));
        assert_eq!(now["stages"][0]["state"], "done");
        assert_eq!(now["stages"][0]["approvals"][0]["by"]["who"], "corp:lead");
        assert_eq!(
            (&now["stages"][1]["name"], &now["stages"][1]["state"]),
            (&json!("owners"), &json!("now"))
        );
        // One person counts once in all of it, also where they are owner too.
        assert_eq!(approve(&lead, &request).await, no(409, "twice"));
        assert_eq!(inbox(&lead).await, [""; 0]);

        assert_eq!(approve(&max, &request).await, ok("waiting"));
        assert_eq!(approve(&max, &request).await, no(409, "twice"));
        let other_key = person(site, "max", &["shop"]).await;
        assert_eq!(approve(&other_key, &request).await, no(409, "twice"));
        assert_eq!(seen(&mia, &request).await["missing"], 1);
        assert_eq!(approve(&mia, &request).await, ok("granted"));

        let now = seen(&dora, &request).await;
        let starts = site.app.clock.now().as_secs();
        assert_eq!(
            (&now["grant"]["starts"], &now["grant"]["until"]),
            (&json!(starts), &json!(starts + 1800))
        );
        assert_eq!((&now["grant"]["live"], &now["may"]), (&json!(true), &json!(["release"])));
        let kinds: Vec<String> = site
            .audit()
            .await
            .iter()
            .filter_map(|entry| entry.split(' ').next().map(str::to_owned))
            .filter(|kind| kind.starts_with("case_") || kind.starts_with("grant_"))
            .collect();
        assert_eq!(kinds, ["case_filed", "case_approved", "case_approved", "case_approved", "grant_opened"]);
        // A request is decided once.
        assert_eq!(approve(&mia, &request).await, no(409, "state"));
        assert_eq!(act(&mia, &request, "deny", json!({"reason": "late"})).await, no(409, "state"));
    })
    .await;
}

#[tokio::test]
async fn a_no_at_either_stage_ends_it() {
    on_both(&role("ops", TWO), async |site| {
        let dora = person(site, "dora", &["dev"]).await;
        let (lead, max) = (person(site, "lead", &["leads"]).await, person(site, "max", &["shop"]).await);
        let first = file(&dora, &json!({})).await;
        let why = json!({"reason": "not during the freeze"});
        // A later stage has no say yet, and a no needs a reason.
        assert_eq!(act(&max, &first, "deny", why.clone()).await, no(403, "no-access"));
        for nothing in [json!({"reason": " "}), json!({})] {
            assert_eq!(act(&lead, &first, "deny", nothing).await, no(400, "bad-request"));
        }
        assert_eq!(act(&lead, &first, "deny", why.clone()).await, ok("denied"));

        let second = file(&dora, &json!({})).await;
        assert_eq!(approve(&lead, &second).await, ok("waiting"));
        assert_eq!(act(&lead, &second, "deny", why.clone()).await, no(403, "no-access"));
        assert_eq!(act(&max, &second, "deny", why).await, ok("denied"));
        for request in [&first, &second] {
            let now = seen(&dora, request).await;
            assert_eq!((&now["state"], &now["grant"]), (&json!("denied"), &Value::Null));
            assert_eq!(now["closed"]["note"], "not during the freeze");
            assert_eq!(approve(&lead, request).await, no(409, "state"));
            assert_eq!(act(&dora, request, "cancel", Value::Null).await, no(409, "state"));
        }
        assert_eq!(entries(site, "case_closed").await.len(), 2);
        assert_eq!(entries(site, "grant_opened").await.len(), 0);
    })
    .await;
}

#[tokio::test]
async fn time_reminds_asks_others_and_gives_up() {
    on_both(&role("ops", TWO), async |site| {
        let dora = person(site, "dora", &["dev"]).await;
        let (lead, boss) = (person(site, "lead", &["leads"]).await, person(site, "boss", &["bosses"]).await);
        let (asked, left) = (file(&dora, &json!({})).await, file(&dora, &json!({"logins": ["root"]})).await);
        let pressed = async |how: &str| {
            assert!(elapse(&site.app).await.unwrap() <= 2);
            let how = format!("\"how\":\"{how}\"");
            entries(site, "case_pressed").await.iter().filter(|entry| entry.contains(&how)).count()
        };
        assert_eq!(pressed("reminded").await, 0);
        site.app.clock.advance(30 * MINUTE);
        assert_eq!(pressed("reminded").await, 2);
        assert_eq!(pressed("reminded").await, 2, "once");
        assert_eq!(approve(&boss, &asked).await, no(403, "no-access"), "not before it is escalated");
        assert_eq!(inbox(&boss).await, [""; 0]);

        site.app.clock.advance(30 * MINUTE);
        // Shown already, though nobody has looked at the clock.
        let both = inbox(&boss).await;
        assert!(both.len() == 2 && both.contains(&id(&asked)) && both.contains(&id(&left)), "{both:?}");
        assert_eq!(pressed("escalated").await, 2);
        assert_eq!(seen(&boss, &asked).await["approvers"], json!(["corp:bosses", "corp:leads"]));
        assert_eq!(approve(&boss, &asked).await, ok("waiting"));

        // The one that nobody looked at is void, also before its time is written down.
        site.app.clock.advance(3 * HOUR);
        assert_eq!(seen(&dora, &left).await["state"], "expired");
        assert_eq!(approve(&lead, &left).await, no(409, "state"));
        assert_eq!(inbox(&lead).await, [""; 0]);
        assert_eq!(elapse(&site.app).await.unwrap(), 1);
        assert_eq!(entries(site, "case_closed").await.len(), 1);
        // The second stage gives up with the request.
        assert_eq!(seen(&dora, &asked).await["state"], "waiting");
        site.app.clock.advance(4 * HOUR);
        let owner = person(site, "max", &["shop"]).await;
        assert_eq!(approve(&owner, &asked).await, no(409, "state"));
        assert_eq!(elapse(&site.app).await.unwrap(), 1);
        assert_eq!(seen(&owner, &asked).await["state"], "expired");
        assert_eq!(entries(site, "grant_opened").await.len(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_grant_ends_when_its_window_does() {
    on_both(&role("ops", ONE), async |site| {
        let dora = person(site, "dora", &["dev"]).await;
        let lead = person(site, "lead", &["leads"]).await;
        let start = site.app.clock.now().as_secs() + 3600;
        let request = file(&dora, &json!({"start": start, "seconds": 600})).await;
        assert_eq!(approve(&lead, &request).await, ok("granted"));
        assert_eq!(seen(&dora, &request).await["grant"]["live"], false, "not before its start");
        site.app.clock.advance(HOUR);
        let now = seen(&dora, &request).await;
        assert_eq!((&now["grant"]["live"], &now["grant"]["until"]), (&json!(true), &json!(start + 600)));
        site.app.clock.advance(10 * MINUTE);
        assert_eq!(seen(&dora, &request).await["state"], "lapsed", "to the millisecond");
        assert_eq!(act(&dora, &request, "release", Value::Null).await, no(409, "state"));
        assert_eq!(elapse(&site.app).await.unwrap(), 1);
        assert!(seen(&dora, &request).await["grant"]["ended"].is_number());
        assert_eq!(entries(site, "grant_ended").await.len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_approvals_at_once_open_one_grant() {
    for (needed, rules) in [(1, ONE.to_owned()), (2, format!("{ONE}approvals = 2\n"))] {
        on_both(&role("ops", &rules), async |site| {
            let dora = person(site, "dora", &["dev"]).await;
            let mut leads = Vec::new();
            for number in 0..100_u8 {
                let lead = person(site, &format!("lead{number}"), &["leads"]).await;
                leads.push(lead.at([127, 0, 0, 2 + number % 4]));
            }
            let request = file(&dora, &json!({})).await;
            let answers = join_all(leads.iter().map(|lead| approve(lead, &request))).await;
            let done = answers.iter().filter(|(status, _)| *status == 200).count();
            let late = answers.iter().filter(|answer| **answer == no(409, "state")).count();
            assert_eq!((done, late), (needed, 100 - needed), "{answers:?}");
            let grants = site.app.store.grants(None, None, 10).await.unwrap();
            assert_eq!(grants.len(), 1);
            assert_eq!(entries(site, "grant_opened").await.len(), 1);
            assert_eq!(entries(site, "case_approved").await.len(), needed);
            let now = seen(&dora, &request).await;
            assert_eq!(now["grant"]["id"], grants[0].grant.id.as_str());
            assert_eq!(now["stages"][0]["approvals"].as_array().unwrap().len(), needed);
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_person_at_once_with_many_keys_counts_once() {
    on_both(&role("ops", &format!("{ONE}approvals = 2\n")), async |site| {
        let dora = person(site, "dora", &["dev"]).await;
        let mut keys = Vec::new();
        for _ in 0..10 {
            keys.push(person(site, "lead", &["leads"]).await);
        }
        let request = file(&dora, &json!({})).await;
        let answers = join_all(keys.iter().map(|key| approve(key, &request))).await;
        assert_eq!(answers.iter().filter(|(status, _)| *status == 200).count(), 1, "{answers:?}");
        assert_eq!(answers.iter().filter(|answer| **answer == no(409, "twice")).count(), 9, "{answers:?}");
        assert_eq!(seen(&dora, &request).await["missing"], 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_yes_a_no_and_a_cancel_at_once_are_one_of_them() {
    on_both(&role("ops", ONE), async |site| {
        let dora = person(site, "dora", &["dev"]).await;
        let (one, two) = (person(site, "one", &["leads"]).await, person(site, "two", &["leads"]).await);
        for _ in 0..10 {
            let request = file(&dora, &json!({})).await;
            let (yes, nay, cancel) = tokio::join!(
                approve(&one, &request),
                act(&two, &request, "deny", json!({"reason": "no"})),
                act(&dora, &request, "cancel", Value::Null)
            );
            let answers = [&yes, &nay, &cancel];
            assert_eq!(answers.iter().filter(|(status, _)| *status == 200).count(), 1, "{answers:?}");
            let granted = seen(&dora, &request).await["state"] == "granted";
            assert_eq!(granted, yes.0 == 200, "{answers:?}");
            if granted {
                assert_eq!(act(&dora, &request, "release", Value::Null).await, ok("released"));
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_key_twice_at_once_is_one_request() {
    on_both(&role("ops", ONE), async |site| {
        let dora = person(site, "dora", &["dev"]).await;
        let send = async |who: &Client<'_>, word: &str, changes: Value| {
            let body = wish(&changes).to_string();
            let mut headers = who.headers("POST", "/v1/requests", &body);
            headers.push(("idempotency-key", word.to_owned()));
            let (status, answer) = who.send("POST", "/v1/requests", &body, &headers).await;
            (status.as_u16(), answer)
        };
        let word = "0123456789abcdef";
        let answers = join_all((0..10).map(|_| send(&dora, word, json!({})))).await;
        let filed: Vec<u16> = answers.iter().map(|(status, _)| *status).collect();
        assert_eq!(filed.iter().filter(|status| **status == 201).count(), 1, "{answers:?}");
        assert_eq!(filed.iter().filter(|status| **status == 200).count(), 9, "{answers:?}");
        let first = id(&answers[0].1["request"]);
        assert!(answers.iter().all(|(_, answer)| id(&answer["request"]) == first));
        assert_eq!(entries(site, "case_filed").await.len(), 1);
        // Another wish is another request, and needs another key.
        for other in [
            json!({"seconds": 60}),
            json!({"reason": "OPS-2 another"}),
            json!({"logins": ["root"]}),
            json!({"ticket": "OPS-2"}),
            json!({"once": "exec"}),
            json!({"start": site.app.clock.now().as_secs()}),
        ] {
            let (status, answer) = send(&dora, word, other.clone()).await;
            assert_eq!((status, &answer["error"]["code"]), (409, &json!("other-key")), "{other}");
        }
        // Keys are everybody's own.
        let max = person(site, "max", &["dev"]).await;
        assert_eq!(send(&max, word, json!({})).await.0, 201);
        for bad in ["short", "has a blank in it", ""] {
            assert_eq!(send(&dora, bad, json!({})).await.0, 400, "{bad:?}");
        }
    })
    .await;
}
