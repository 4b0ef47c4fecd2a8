//! Who may decide, end and review, and how far: each attempt that must fail, with the trace it leaves.

use std::time::Duration;

use serde_json::json;

use super::*;

/// The last refusal in the audit log.
async fn last_refusal(site: &Site) -> String {
    entries(site, "access_refused").await.pop().unwrap_or_default()
}

#[tokio::test]
async fn nobody_decides_their_own_admins_included() {
    let site = town(&role("ops", ONE)).await;
    for (who, groups) in [("both", ["dev", "leads"]), ("root", ["dev", "leads"])] {
        let (one, other_key) = (person(&site, who, &groups).await, person(&site, who, &groups).await);
        let request = file(&one, &json!({})).await;
        for key in [&one, &other_key] {
            assert_eq!(approve(key, &request).await, no(403, "own-request"), "{who}");
            let why = json!({"reason": "no"});
            assert_eq!(act(key, &request, "deny", why).await, no(403, "own-request"), "{who}");
            assert!(!inbox(key).await.contains(&id(&request)), "{who}");
        }
        let trace = last_refusal(&site).await;
        assert!(
            trace.contains(&format!("deny {}", id(&request))) && trace.contains(&format!("corp:{who}")),
            "{trace}"
        );
        assert_eq!(seen(&one, &request).await["state"], "waiting");
    }
    // An admin who is no approver does not approve either; they may withdraw.
    let dora = person(&site, "dora", &["dev"]).await;
    let root = person(&site, "root", &[]).await;
    let request = file(&dora, &json!({})).await;
    assert_eq!(approve(&root, &request).await, no(403, "no-access"));
    assert_eq!(act(&root, &request, "cancel", Value::Null).await, ok("cancelled"));
    assert_eq!(seen(&dora, &request).await["closed"]["by"]["who"], "corp:root");
}

#[tokio::test]
async fn unknown_requests_and_those_of_others_look_alike() {
    let site = town(&role("ops", ONE)).await;
    let dora = person(&site, "dora", &["dev"]).await;
    let eve = person(&site, "eve", &["dev"]).await;
    let request = file(&dora, &json!({})).await;
    let unknown = json!({"id": "req_0123456789abcdefghjkmnpqrs"});
    let nonsense = json!({"id": "req_1"});
    for what in ["", "approve", "deny", "cancel", "release", "revoke", "review"] {
        let body = match what {
            "approve" => json!({}),
            "deny" | "revoke" => json!({"reason": "r"}),
            "review" => json!({"note": "n"}),
            _ => Value::Null,
        };
        let mut answers = Vec::new();
        for request in [&request, &unknown, &nonsense] {
            let path = if what.is_empty() {
                format!("/v1/requests/{}", id(request))
            } else {
                format!("/v1/requests/{}/{what}", id(request))
            };
            let method = if what.is_empty() { "GET" } else { "POST" };
            let before = entries(&site, "access_refused").await.len();
            let (status, answer) = eve.call(method, &path, &body).await;
            assert_eq!((status.as_u16(), &answer["error"]["code"]), (404, &json!("not-found")), "{what}");
            if what.is_empty() || request == &nonsense {
                continue;
            }
            answers.push(answer);
            // Who tries leaves a trace that says which it was.
            let traces = entries(&site, "access_refused").await;
            assert_eq!(traces.len(), before + 1, "{what}");
            let trace = traces.last().unwrap();
            assert!(
                trace.contains(&format!("{what} {}", id(request))) && trace.contains("corp:eve"),
                "{trace}"
            );
            assert_eq!(trace.contains("it is of corp:dora"), request != &unknown, "{trace}");
        }
        assert!(answers.windows(2).all(|two| two[0] == two[1]), "{answers:?}");
    }
    assert_eq!(seen(&dora, &request).await["state"], "waiting");
}

#[tokio::test]
async fn an_approver_takes_away_and_never_adds() {
    let site = town(&role("ops", &format!("{ONE}approvals = 2\n"))).await;
    let dora = person(&site, "dora", &["dev"]).await;
    let (one, two) = (person(&site, "one", &["leads"]).await, person(&site, "two", &["leads"]).await);
    let wide = json!({"logins": ["deploy", "root"], "seconds": 3600, "commands": ["id", "uptime"]});
    let request = file(&dora, &wide).await;
    for more in [
        json!({"seconds": 3601}),
        json!({"logins": ["deploy", "root", "admin"]}),
        json!({"logins": ["admin"]}),
        json!({"commands": ["id", "reboot"]}),
        json!({"commands": ["id "]}),
    ] {
        let (status, code) = act(&one, &request, "approve", more.clone()).await;
        assert!(status == 403 && code == "widens" || status == 400, "{more}: {status} {code}");
    }
    for nonsense in [
        json!({"seconds": 0}),
        json!({"logins": []}),
        json!({"commands": []}),
        json!({"targets": ["web1"]}),
        json!({"note": "two\nlines"}),
        json!({"note": "x".repeat(1001)}),
        json!({"commands": ["a\nb"]}),
    ] {
        let (status, _) = act(&one, &request, "approve", nonsense.clone()).await;
        assert!(status == 400 || status == 403, "{nonsense}: {status}");
    }
    assert_eq!(seen(&dora, &request).await["narrowed"], false, "what is refused changes nothing");
    let less = json!({"seconds": 600, "logins": ["deploy"], "note": "ten minutes"});
    assert_eq!(act(&one, &request, "approve", less).await, ok("waiting"));
    // The next approver starts from there.
    let back = json!({"logins": ["deploy", "root"]});
    assert_eq!(act(&two, &request, "approve", back).await, no(403, "widens"));
    assert_eq!(act(&two, &request, "approve", json!({"seconds": 601})).await, no(403, "widens"));
    assert_eq!(act(&two, &request, "approve", json!({"commands": ["id"]})).await, ok("granted"));
    let now = seen(&dora, &request).await;
    assert_eq!(now["narrowed"], true);
    assert_eq!(now["asked"]["logins"], json!(["deploy", "root"]));
    assert_eq!((&now["scope"]["logins"], &now["scope"]["commands"]), (&json!(["deploy"]), &json!(["id"])));
    let grant = &site.app.store.grants(None, None, 9).await.unwrap()[0].grant;
    assert_eq!(grant.until, site.app.clock.now().plus(Duration::from_secs(600)));
    assert_eq!(grant.scope.logins.len(), 1);
    assert!(entries(&site, "case_approved").await[0].contains("\"narrowed\":true"));
}

#[tokio::test]
async fn commands_may_be_narrowed_where_none_were_named() {
    let site = town(&role("ops", ONE)).await;
    let (dora, lead) = (person(&site, "dora", &["dev"]).await, person(&site, "lead", &["leads"]).await);
    let request = file(&dora, &json!({})).await;
    let (status, answer) = act_whole(&lead, &request, "approve", json!({"commands": ["uptime"]})).await;
    assert_eq!((status, &answer["scope"]["commands"]), (200, &json!(["uptime"])));
}

#[tokio::test]
async fn only_who_has_it_gives_it_back_and_only_approvers_and_admins_take_it() {
    let site = town(&role("ops", ONE)).await;
    let (dora, lead) = (person(&site, "dora", &["dev"]).await, person(&site, "lead", &["leads"]).await);
    let (other, root) = (person(&site, "other", &["leads"]).await, person(&site, "root", &[]).await);
    let max = person(&site, "max", &["dev"]).await;
    let why = json!({"reason": "over"});
    let waiting = file(&dora, &json!({})).await;
    for (who, what, body, expect) in [
        (&lead, "cancel", Value::Null, no(403, "no-access")),
        (&max, "cancel", Value::Null, no(404, "not-found")),
        (&dora, "release", Value::Null, no(409, "state")),
        (&lead, "revoke", why.clone(), no(409, "state")),
        (&lead, "review", json!({"note": "n"}), no(409, "state")),
    ] {
        assert_eq!(act(who, &waiting, what, body).await, expect, "{what}");
    }
    assert_eq!(act(&dora, &waiting, "cancel", Value::Null).await, ok("cancelled"));

    let granted = async || {
        let request = file(&dora, &json!({})).await;
        assert_eq!(approve(&lead, &request).await, ok("granted"));
        request
    };
    let request = granted().await;
    for (who, what, body, expect) in [
        (&lead, "release", Value::Null, no(403, "no-access")),
        (&root, "release", Value::Null, no(403, "no-access")),
        (&max, "release", Value::Null, no(404, "not-found")),
        (&max, "revoke", why.clone(), no(404, "not-found")),
        (&dora, "revoke", why.clone(), no(403, "no-access")),
        (&dora, "cancel", Value::Null, no(409, "state")),
        (&lead, "revoke", json!({"reason": " "}), no(400, "bad-request")),
    ] {
        assert_eq!(act(who, &request, what, body).await, expect, "{what}");
    }
    assert_eq!(act(&dora, &request, "release", Value::Null).await, ok("released"));
    assert_eq!(act(&dora, &request, "release", Value::Null).await, no(409, "state"));
    // Another approver than the one who said yes, and an admin who has no part in it.
    for (who, name) in [(&other, "corp:other"), (&root, "corp:root")] {
        let request = granted().await;
        assert_eq!(act(who, &request, "revoke", why.clone()).await, ok("revoked"));
        let now = seen(&dora, &request).await;
        assert_eq!((&now["closed"]["by"]["who"], &now["closed"]["note"]), (&json!(name), &json!("over")));
        assert!(now["grant"]["ended"].is_number() && now["grant"]["live"] == false, "{now}");
    }
    assert_eq!(entries(&site, "grant_ended").await.len(), 3);
}

#[tokio::test]
async fn a_break_glass_opens_at_once_and_somebody_else_closes_its_review() {
    let rules = format!("{ONE}[role.request.break_glass]\ngroups = [\"corp:bosses\", \"corp:dev\"]\n");
    let site = town(&(role("ops", &rules) + &role("calm", ONE))).await;
    let dora = person(&site, "dora", &["dev"]).await;
    let changes = json!({"break_glass": true, "role": "ops"});
    let refused = async |who: &Client<'_>, changes: &Value, code: &str, text: &str| {
        let (status, answer) = who.call("POST", "/v1/requests", &wish(changes)).await;
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(status == 403 && answer["error"]["code"] == code && message.contains(text), "{answer}");
    };
    refused(&dora, &json!({"break_glass": true, "role": "calm"}), "no-access", "no role").await;
    refused(&dora, &json!({"break_glass": true, "role": "ops", "reason": ""}), "rules", "reason").await;
    refused(&dora, &json!({"break_glass": true, "role": "ops", "seconds": 7201}), "rules", "at most 2h")
        .await;
    let start = site.app.clock.now().as_secs() + 60;
    refused(&dora, &json!({"break_glass": true, "role": "ops", "start": start}), "rules", "--start").await;

    let request = file(&dora, &changes).await;
    assert_eq!((&request["state"], &request["grant"]["live"]), (&json!("granted"), &json!(true)));
    assert_eq!((&request["break_glass"], &request["review"]["due"]), (&json!(true), &json!(true)));
    assert!(entries(&site, "grant_opened").await[0].contains("\"how\":\"break-glass\""));
    let (boss, max) = (person(&site, "boss", &["bosses"]).await, person(&site, "max", &["dev"]).await);
    let stranger = person(&site, "lead", &["leads"]).await;
    assert_eq!(inbox(&dora).await, [""; 0], "their own, though they are among those named");
    for who in [&boss, &max] {
        assert_eq!(inbox(who).await, [id(&request)]);
    }
    let note = json!({"note": "restarted nginx only"});
    assert_eq!(act(&dora, &request, "review", note.clone()).await, no(403, "own-request"));
    let again = person(&site, "dora", &["dev", "bosses"]).await;
    assert_eq!(act(&again, &request, "review", note.clone()).await, no(403, "own-request"));
    assert_eq!(act(&stranger, &request, "review", note.clone()).await, no(404, "not-found"));
    assert_eq!(act(&boss, &request, "review", json!({"note": " "})).await, no(400, "bad-request"));
    // It stays open when the access is over.
    assert_eq!(act(&dora, &request, "release", Value::Null).await, ok("released"));
    assert_eq!(inbox(&boss).await, [id(&request)]);
    assert_eq!(act(&boss, &request, "review", note.clone()).await, ok("released"));
    assert_eq!(act(&max, &request, "review", note).await, no(409, "state"));
    assert_eq!(inbox(&max).await, [""; 0]);
    let now = seen(&dora, &request).await;
    assert_eq!((&now["review"]["by"]["who"], &now["review"]["due"]), (&json!("corp:boss"), &json!(false)));
    assert_eq!(entries(&site, "break_glass_reviewed").await.len(), 1);
    // The one who could not ask for it in the ordinary way cannot break the glass either.
    refused(&stranger, &changes, "no-access", "no role").await;
}

#[tokio::test]
async fn a_signed_approval_works_once() {
    let site = town(&role("ops", &format!("{ONE}approvals = 2\n"))).await;
    let (dora, lead) = (person(&site, "dora", &["dev"]).await, person(&site, "lead", &["leads"]).await);
    let request = file(&dora, &json!({})).await;
    let path = format!("/v1/requests/{}/approve", id(&request));
    let headers = lead.headers("POST", &path, "{}");
    assert_eq!(lead.send("POST", &path, "{}", &headers).await.0, 200);
    let (status, answer) = lead.send("POST", &path, "{}", &headers).await;
    assert_eq!((status.as_u16(), &answer["error"]["code"]), (409, &json!("replay")));
    // Nor for another request, nor with another body.
    let second = file(&dora, &json!({"logins": ["root"]})).await;
    let other = format!("/v1/requests/{}/approve", id(&second));
    let headers = lead.headers("POST", &path, "{}");
    assert_eq!(lead.send("POST", &other, "{}", &headers).await.0, 401);
    let narrowed = "{\"seconds\":60}";
    let headers = lead.headers("POST", &other, narrowed);
    assert_eq!(lead.send("POST", &other, "{}", &headers).await.0, 401);
    // A request to ask works once as well.
    let body = wish(&json!({})).to_string();
    let headers = dora.headers("POST", "/v1/requests", &body);
    assert_eq!(dora.send("POST", "/v1/requests", &body, &headers).await.0, 201);
    assert_eq!(dora.send("POST", "/v1/requests", &body, &headers).await.0, 409);
    assert_eq!(entries(&site, "case_filed").await.len(), 3);
}

#[tokio::test]
async fn an_approver_who_is_locked_or_signed_out_decides_nothing() {
    let site = town(&role("ops", ONE)).await;
    let (dora, lead) = (person(&site, "dora", &["dev"]).await, person(&site, "lead", &["leads"]).await);
    let root = person(&site, "root", &[]).await;
    let request = file(&dora, &json!({})).await;
    let wanted = json!({"on": "user", "name": "corp:lead", "reason": "laptop stolen"});
    let (status, lock) = root.call("POST", "/v1/locks", &wanted).await;
    assert_eq!(status, 201, "{lock}");
    assert_eq!(approve(&lead, &request).await, no(403, "locked"));
    assert_eq!(act(&lead, &request, "deny", json!({"reason": "no"})).await, no(403, "locked"));
    assert!(last_refusal(&site).await.contains("locked"));
    assert_eq!(seen(&lead, &request).await["may"], json!([]));
    let path = format!("/v1/locks/{}", lock["id"].as_str().unwrap());
    assert_eq!(root.call("DELETE", &path, &Value::Null).await.0, 204);
    assert_eq!(lead.call("DELETE", "/v1/sign-in", &Value::Null).await.0, 204);
    assert_eq!(approve(&lead, &request).await, no(401, "not-signed-in"));
    let lead = person(&site, "lead", &["leads"]).await;
    assert_eq!(approve(&lead, &request).await, ok("granted"));
}

/// What was refused does not succeed later, when whoever listened sends the same bytes again.
#[tokio::test]
async fn what_was_refused_is_used_up() {
    let site = town(&role("ops", ONE)).await;
    let (dora, lead) = (person(&site, "dora", &["dev"]).await, person(&site, "lead", &["leads"]).await);
    let root = person(&site, "root", &[]).await;
    let request = file(&dora, &json!({})).await;
    let mut locks = Vec::new();
    for name in ["corp:lead", "corp:dora"] {
        let wanted = json!({"on": "user", "name": name, "reason": "laptop stolen"});
        locks.push(root.call("POST", "/v1/locks", &wanted).await.1["id"].as_str().unwrap().to_owned());
    }
    let approve_path = format!("/v1/requests/{}/approve", id(&request));
    let wish = wish(&json!({})).to_string();
    let asks = [(&lead, approve_path.as_str(), "{}"), (&dora, "/v1/requests", wish.as_str())];
    let sent: Vec<_> = asks.iter().map(|(who, path, body)| who.headers("POST", path, body)).collect();
    for ((who, path, body), headers) in asks.iter().zip(&sent) {
        let (status, answer) = who.send("POST", path, body, headers).await;
        assert_eq!((status.as_u16(), &answer["error"]["code"]), (403, &json!("locked")), "{path}");
    }
    for lock in locks {
        assert_eq!(root.call("DELETE", &format!("/v1/locks/{lock}"), &Value::Null).await.0, 204);
    }
    for ((who, path, body), headers) in asks.iter().zip(&sent) {
        let (status, answer) = who.send("POST", path, body, headers).await;
        assert_eq!((status.as_u16(), &answer["error"]["code"]), (409, &json!("replay")), "{path}");
    }
    assert_eq!(seen(&dora, &request).await["state"], "waiting");
    assert_eq!(approve(&lead, &request).await, ok("granted"));
}

/// Whoever is refused again and again fills no log, whatever they try.
#[tokio::test]
async fn a_flood_of_refused_orders_is_a_few_entries_that_say_how_many_there_were() {
    let site = town(&role("ops", ONE)).await;
    let eve = person(&site, "eve", &[]).await;
    let (end, revoke) = (format!("/v1/sign-in/{}", SignInId::random(&site.app.random)), "/v1/revocations");
    let order = json!({"kind": "serial", "value": "7", "reason": "mine now"});
    for _ in 0..40 {
        assert_eq!(eve.call("DELETE", &end, &Value::Null).await.0, 404);
        assert_eq!(eve.call("POST", revoke, &order).await.0, 404);
        assert_eq!(eve.call("POST", "/v1/certificate", &json!({})).await.0, 403);
    }
    assert_eq!(entries(&site, "access_refused").await.len(), 60);
    site.app.clock.advance(Duration::from_secs(60));
    assert_eq!(eve.call("DELETE", &end, &Value::Null).await.0, 404);
    assert!(last_refusal(&site).await.contains("60 more were refused before"));
}

#[tokio::test]
async fn a_request_is_void_when_its_rules_have_changed() {
    let site = town(&role("ops", ONE)).await;
    let (dora, lead) = (person(&site, "dora", &["dev"]).await, person(&site, "lead", &["leads"]).await);
    let kept = file(&dora, &json!({})).await;
    // What has nothing to do with it changes nothing.
    site.change_policy(&format!("{TARGETS}{}{}", role("ops", ONE), role("more", "standing = true"))).await;
    assert_eq!(approve(&lead, &kept).await, ok("granted"));
    for rules in [
        role("ops", &ONE.replace("corp:leads", "corp:bosses")),
        role("ops", &format!("{ONE}approvals = 2\n")),
        role("ops", &ONE.replace("2h", "10m")),
        role("ops", ONE).replace("[\"deploy\", \"root\"]", "[\"root\"]"),
        role("ops", "standing = true"),
        role("other", ONE),
    ] {
        site.change_policy(&format!("{TARGETS}{}", role("ops", ONE))).await;
        let request = file(&dora, &json!({})).await;
        site.change_policy(&format!("{TARGETS}{rules}")).await;
        assert_eq!(approve(&lead, &request).await, no(409, "outdated"), "{rules}");
        assert_eq!(seen(&dora, &request).await["state"], "outdated", "{rules}");
        assert_eq!(approve(&lead, &request).await, no(409, "state"));
    }
    assert_eq!(entries(&site, "grant_opened").await.len(), 1);
}
