//! What a role's rules make of a wish: on every way in the server checks them, says what is wrong, and shortens nothing.

use std::time::Duration;

use caponier::flow::ask::{AskRefused, ask_here};
use caponier::flow::permission::{Proof as _, SignedIn};
use caponier::flow::recognise::Request;
use caponier::identity::proof::Shown;
use caponier::policy::request::{TargetWish, Wish};
use serde_json::json;

use super::*;

const STRICT: &str = r#"[role.request]
max = "2h"
[role.request.reason]
min = 10
pattern = "OPS-[0-9]+ .+"
[role.request.ticket]
pattern = "OPS-[0-9]+"
[[role.request.stage]]
groups = ["corp:leads"]
"#;

fn good() -> Value {
    json!({"reason": "OPS-1 rotate the key", "ticket": "OPS-1"})
}

fn with(changes: &Value) -> Value {
    let mut all = good();
    for (key, value) in changes.as_object().unwrap() {
        all[key] = value.clone();
    }
    wish(&all)
}

/// What the flow makes of the same wish when it comes over an SSH connection.
async fn over_ssh(site: &Site, who: &Client<'_>, wish: &Value) -> Option<String> {
    let headers = who.headers("GET", "/v1/sign-in", "");
    let header = |name: &str| headers.iter().find(|(known, _)| *known == name).unwrap().1.as_str();
    let request = Request {
        method: "GET",
        path_and_query: "/v1/sign-in",
        shown: Shown {
            key: header("caponier-key"),
            time: header("caponier-time"),
            nonce: header("caponier-nonce"),
            signature: header("caponier-signature"),
        },
        body: b"",
        from: [127, 0, 0, 1].into(),
    };
    let person = SignedIn::of(&site.app, request).await.unwrap();
    let text = |name: &str| wish[name].as_str().unwrap_or_default().to_owned();
    let wish = Wish {
        targets: vec![TargetWish::Name("web1".parse().unwrap())],
        logins: ["deploy".parse().unwrap()].into(),
        length: wish["seconds"].as_u64().map(Duration::from_secs),
        reason: text("reason"),
        ticket: text("ticket"),
        ..Wish::default()
    };
    match ask_here(&site.app, person.caller(), &wish).await {
        Ok(_) => None,
        Err(AskRefused::Plan(why)) => Some(why.to_string()),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn reason_ticket_and_length_are_checked_on_every_way() {
    let site = town(&role("ops", STRICT)).await;
    let dora = person(&site, "dora", &["dev"]).await;
    let rows = [
        (json!({"reason": ""}), "a reason is needed"),
        (json!({"reason": "   \u{3000}"}), "a reason is needed"),
        (json!({"reason": "OPS-1 a"}), "at least 10 characters"),
        (json!({"reason": "please let me in now"}), "must match"),
        (json!({"reason": "OPS-1 line\u{1b}[2J one"}), "control characters"),
        (json!({"reason": format!("OPS-1 {}", "x".repeat(1000))}), "longer than 1000"),
        (json!({"ticket": ""}), "a ticket is needed"),
        (json!({"ticket": "JIRA-1"}), "must match"),
        (json!({"seconds": 7201}), "at most 2h at a time: ask with --for 2h"),
    ];
    for (changes, wanted) in &rows {
        let wish = with(changes);
        let (status, answer) = dora.call("POST", "/v1/requests", &wish).await;
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert_eq!(
            (status.as_u16(), &answer["error"]["code"]),
            (403, &json!("rules")),
            "{changes}: {answer}"
        );
        assert!(message.contains(wanted), "{changes}: {message}");
        let trace = entries(&site, "access_refused").await.pop().unwrap();
        assert!(trace.contains("by-request") && trace.contains("\"act\":\"request\""), "{trace}");
        // The same on a dry run, and over SSH.
        let mut dry = wish.clone();
        dry["dry_run"] = json!(true);
        assert_eq!(dora.call("POST", "/v1/requests", &dry).await.1["error"]["message"], message);
        assert_eq!(over_ssh(&site, &dora, &wish).await.as_deref(), Some(message), "{changes}");
    }
    assert_eq!(entries(&site, "case_filed").await.len(), 0);
    assert_eq!(over_ssh(&site, &dora, &with(&json!({}))).await, None);
    assert_eq!(dora.call("POST", "/v1/requests", &with(&json!({"seconds": 7200}))).await.0, 201);
}

#[tokio::test]
async fn what_does_not_make_sense_is_refused() {
    let site = town(&role("ops", ONE)).await;
    let dora = person(&site, "dora", &["dev"]).await;
    let many: Vec<String> = (0..51).map(|number| format!("web{number}")).collect();
    for (changes, status) in [
        (json!({"targets": []}), 400),
        (json!({"targets": many}), 400),
        (json!({"targets": ["WEB1"]}), 400),
        (json!({"targets": ["=prod"]}), 400),
        (json!({"targets": ["env=\n"]}), 400),
        (json!({"logins": ["-oProxyCommand"]}), 400),
        (json!({"role": "../x"}), 400),
        (json!({"seconds": 0}), 400),
        (json!({"seconds": -1}), 400),
        (json!({"seconds": 31_536_001}), 400),
        (json!({"start": 9_999_999_999_u64}), 400),
        (json!({"once": "twice"}), 400),
        (json!({"more": 1}), 400),
        (json!({"targets": ["nope"]}), 403),
        (json!({"targets": ["web1", "nope"]}), 403),
        (json!({"targets": ["env=stage"]}), 403),
        (json!({"logins": ["admin"]}), 403),
        (json!({"role": "other"}), 403),
        (json!({"commands": ["a\nb"]}), 403),
        (json!({"start": site.app.clock.now().as_secs() - 7200}), 403),
        (json!({"start": site.app.clock.now().as_secs() + 31 * 86_400}), 403),
    ] {
        let (got, answer) = dora.call("POST", "/v1/requests", &wish(&changes)).await;
        assert_eq!(got.as_u16(), status, "{changes}: {answer}");
    }
    assert_eq!(entries(&site, "case_filed").await.len(), 0);
    // What is not there and what is not theirs get the same words.
    let stranger = person(&site, "eve", &[]).await;
    let words = async |who: &Client<'_>, target: &str| {
        let (_, answer) = who.call("POST", "/v1/requests", &wish(&json!({"targets": [target]}))).await;
        answer["error"]["message"].as_str().unwrap().replace(target, "X")
    };
    assert_eq!(words(&dora, "nope").await, words(&stranger, "web1").await);
}

#[tokio::test]
async fn a_label_means_what_the_role_opens_and_a_dry_run_says_it() {
    let site = town(&role("ops", ONE)).await;
    let dora = person(&site, "dora", &["dev"]).await;
    let mut changes = json!({"targets": ["env=prod"], "logins": []});
    changes["dry_run"] = json!(true);
    let (status, answer) = dora.call("POST", "/v1/requests", &wish(&changes)).await;
    assert_eq!(status, 200);
    let plan = &answer["plan"];
    assert_eq!(plan["scope"]["targets"], json!(["web1", "web2"]));
    assert_eq!(plan["scope"]["logins"], json!(["deploy", "root"]));
    assert_eq!((&plan["stages"][0]["name"], &plan["stages"][0]["needed"]), (&json!("leads"), &json!(1)));
    assert_eq!(plan["stages"][0]["approvers"], json!(["corp:leads"]));
    assert_eq!((&plan["automatic"], &plan["break_glass"]), (&Value::Null, &Value::Null));
    assert_eq!(entries(&site, "case_filed").await.len(), 0);
    changes["dry_run"] = json!(false);
    let request = file(&dora, &changes).await;
    assert_eq!(request["scope"], plan["scope"]);
    assert_eq!(request["stages"][0]["approvers"], plan["stages"][0]["approvers"]);
}

#[tokio::test]
async fn what_is_had_already_need_not_be_asked_for() {
    let site = town(&role("ops", "standing = true")).await;
    let dora = person(&site, "dora", &["dev"]).await;
    let (status, answer) = dora.call("POST", "/v1/requests", &wish(&json!({}))).await;
    assert_eq!((status.as_u16(), &answer["error"]["code"]), (409, &json!("standing")));
}

#[tokio::test]
async fn conditions_approve_by_themselves() {
    let rules = |condition: &str| {
        format!(
            "[role.request]\nmax = \"2h\"\nautomatic = [{condition}]\n[[role.request.stage]]\nname = \"leads\"\ngroups = [\"corp:leads\"]\n"
        )
    };
    // The clock stands at 2030-03-17T17:46:40Z, a Sunday.
    let helper = "[[role]]\nname = \"oncall\"\nmembers = { groups = [\"corp:oncall\"] }\ntargets = { names = [\"dev1\"] }\n\
         logins = [\"x\"]\nchannels = [\"exec\"]\nstanding = true\n";
    let rows = [
        ("{ labels = [{ env = \"dev\" }] }", json!({"targets": ["dev1"]}), true),
        ("{ labels = [{ env = \"dev\" }] }", json!({"targets": ["dev1", "web1"]}), false),
        ("{ labels = [{ env = \"dev\" }], max = \"10m\" }", json!({"targets": ["dev1"]}), false),
        (
            "{ labels = [{ env = \"dev\" }], max = \"10m\" }",
            json!({"targets": ["dev1"], "seconds": 600}),
            true,
        ),
        ("{ roles = [\"oncall\"] }", json!({}), true),
        ("{ time_zone = \"UTC\", hours = [{ from = \"17:00\", to = \"18:00\" }] }", json!({}), true),
        ("{ time_zone = \"UTC\", hours = [{ from = \"18:00\", to = \"19:00\" }] }", json!({}), false),
        (
            "{ time_zone = \"UTC\", hours = [{ days = [\"mon-fri\"], from = \"00:00\", to = \"24:00\" }] }",
            json!({}),
            false,
        ),
        ("{ always = true }", json!({}), true),
    ];
    for (condition, changes, opens) in rows {
        let site = town(&(role("ops", &rules(condition)) + helper)).await;
        let dora = person(&site, "dora", &["dev", "oncall"]).await;
        let mut dry = changes.clone();
        dry["dry_run"] = json!(true);
        let (_, plan) = dora.call("POST", "/v1/requests", &wish(&dry)).await;
        assert_eq!(plan["plan"]["automatic"] == 1, opens, "{condition} {changes}: {plan}");
        let request = file(&dora, &changes).await;
        let state = if opens { "granted" } else { "waiting" };
        assert_eq!(request["state"], state, "{condition} {changes}");
        assert_eq!(request["stages"].as_array().unwrap().is_empty(), opens);
        if opens {
            assert!(entries(&site, "grant_opened").await[0].contains("\"how\":\"automatic\""));
            assert!(entries(&site, "case_filed").await[0].contains("\"automatic\":1"));
        }
        if condition.contains("oncall") {
            let max = person(&site, "max", &["dev"]).await;
            assert_eq!(file(&max, &changes).await["state"], "waiting", "not on call");
        }
    }
}

#[tokio::test]
async fn what_people_approved_lately_opens_again_for_the_same() {
    let rules = "[role.request]\nmax = \"2h\"\nautomatic = [{ approved_within = \"2h\" }]\n[[role.request.stage]]\ngroups = [\"corp:leads\"]\n";
    let site = town(&role("ops", rules)).await;
    let (dora, lead) = (person(&site, "dora", &["dev"]).await, person(&site, "lead", &["leads"]).await);
    let state = async |who: &Client<'_>, changes: Value| file(who, &changes).await["state"].clone();
    assert_eq!(state(&dora, json!({})).await, "waiting");
    let request = file(&dora, &json!({})).await;
    assert_eq!(state(&dora, json!({})).await, "waiting", "asked is not approved");
    assert_eq!(approve(&lead, &request).await, ok("granted"));
    let again = file(&dora, &json!({})).await;
    assert_eq!(again["state"], "granted");
    for more in [json!({"seconds": 1801}), json!({"logins": ["root"]}), json!({"targets": ["web2"]})] {
        assert_eq!(state(&dora, more.clone()).await, "waiting", "{more}");
    }
    let max = person(&site, "max", &["dev"]).await;
    assert_eq!(state(&max, json!({})).await, "waiting", "for the same person only");
    // What opened by itself is no approval: the time counts from what people said.
    site.app.clock.advance(Duration::from_secs(7201));
    assert_eq!(state(&dora, json!({})).await, "waiting");
    // Approved and lapsed, approved again and taken away: the first yes does not come back.
    let first = file(&dora, &json!({"seconds": 60})).await;
    assert_eq!(approve(&lead, &first).await, ok("granted"));
    site.app.clock.advance(Duration::from_secs(61));
    caponier::flow::answer::elapse(&site.app).await.unwrap();
    assert_eq!(seen(&dora, &first).await["state"], "lapsed");
    let second = file(&dora, &json!({"seconds": 61})).await;
    assert_eq!(approve(&lead, &second).await, ok("granted"));
    assert_eq!(state(&dora, json!({"seconds": 60})).await, "granted", "both say yes");
    assert_eq!(act(&lead, &second, "revoke", json!({"reason": "mistake"})).await, ok("revoked"));
    assert_eq!(state(&dora, json!({"seconds": 60})).await, "waiting", "the later word counts");
    // A yes after that does, until somebody says no to something of it.
    site.app.clock.advance(Duration::from_secs(1));
    let third = file(&dora, &json!({"seconds": 60})).await;
    assert_eq!(approve(&lead, &third).await, ok("granted"));
    assert_eq!(state(&dora, json!({"seconds": 60})).await, "granted");
    let wide = file(&dora, &json!({"targets": ["web1", "web2"], "seconds": 7200})).await;
    site.app.clock.advance(Duration::from_secs(1));
    assert_eq!(act(&lead, &wide, "deny", json!({"reason": "not now"})).await, ok("denied"));
    assert_eq!(state(&dora, json!({"seconds": 60})).await, "waiting");
    // Nor is what was taken away an approval.
    let request = file(&dora, &json!({})).await;
    assert_eq!(approve(&lead, &request).await, ok("granted"));
    assert_eq!(act(&lead, &request, "revoke", json!({"reason": "mistake"})).await, ok("revoked"));
    assert_eq!(state(&dora, json!({})).await, "waiting");
}

#[tokio::test]
async fn there_is_an_end_to_what_is_filed_and_held() {
    let by_itself = "[role.request]\nmax = \"2h\"\nautomatic = [{ labels = [{ env = \"dev\" }] }]\n[[role.request.stage]]\ngroups = [\"corp:leads\"]\n";
    on_both(&role("ops", by_itself), async |site| {
        let dora = person(site, "dora", &["dev"]).await;
        let refused = async |who: &Client<'_>, changes: &Value| {
            let (status, answer) = who.call("POST", "/v1/requests", &wish(changes)).await;
            assert_eq!((status.as_u16(), &answer["error"]["code"]), (429, &json!("limit")), "{answer}");
        };
        // Asked and taken back again and again.
        for _ in 0..60 {
            let request = file(&dora, &json!({})).await;
            assert_eq!(act(&dora, &request, "cancel", Value::Null).await, ok("cancelled"));
        }
        refused(&dora, &json!({})).await;
        let filed = entries(site, "case_filed").await.len();
        refused(&dora, &json!({"targets": ["dev1"]})).await;
        assert_eq!(entries(site, "case_filed").await.len(), filed);
        let max = person(site, "max", &["dev"]).await;
        file(&max, &json!({})).await;
        site.app.clock.advance(Duration::from_secs(601));
        file(&dora, &json!({})).await;

        // Given without anybody's yes, again and again.
        let mia = person(site, "mia", &["dev"]).await;
        let dev = json!({"targets": ["dev1"], "seconds": 7200});
        let mut last = Value::Null;
        for _ in 0..50 {
            last = file(&mia, &dev).await;
            assert_eq!(last["state"], "granted");
        }
        refused(&mia, &dev).await;
        assert_eq!(act(&mia, &last, "release", Value::Null).await, ok("released"));
        file(&mia, &dev).await;
    })
    .await;
}

#[tokio::test]
async fn there_is_an_end_to_what_may_wait() {
    let site = town(&role("ops", ONE)).await;
    let dora = person(&site, "dora", &["dev"]).await;
    for _ in 0..20 {
        file(&dora, &json!({})).await;
    }
    let (status, answer) = dora.call("POST", "/v1/requests", &wish(&json!({}))).await;
    assert_eq!((status.as_u16(), &answer["error"]["code"]), (429, &json!("limit")));
    let max = person(&site, "max", &["dev"]).await;
    file(&max, &json!({})).await;
}
