//! Looking: who has access, who could, who had it, and what nobody uses. With real ssh through the real program, on SQLite
//! and on PostgreSQL; and over the API with flows of this process and a clock that the test moves.

use std::time::Duration;

use caponier::audit::AuditEvent;
use caponier::flow::permission::{Proof as _, SignedIn};
use caponier::flow::recognise::Request;
use caponier::flow::session::{self, Outcome};
use caponier::flow::{answer, authorize};
use caponier::identity::proof::Shown;
use caponier::identity::{Identity, Kind};
use caponier::ids::SignInId;
use caponier::policy::{self, Act, Ask};
use caponier::store::SignIn;
use russh::keys::ssh_key::HashAlg;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::postgres;
use crate::sign_in::site::{Client, Site};
use crate::store::run_past;
use crate::world::stage::{Plan, Stage, policy as usual};
use crate::world::{PATIENCE, me};

const DAY: Duration = Duration::from_secs(86_400);
const AUDITOR: &str = "[sign_in]\nauditors = { subjects = [\"corp:auditor\"] }\n";

// --- the program, with real ssh ------------------------------------------------------------------------------------

/// Nobody has standing access; engineers get into web1 by asking, and reviewers could into other1.
fn by_request(stage: &Stage) -> String {
    let asking = "[role.request]\nmax = \"2h\"\n[[role.request.automatic]]\nmax = \"1h\"\n\
                  [[role.request.stage]]\nname = \"leads\"\ngroups = [\"corp:leads\"]\nsubjects = [\"corp:boss\"]\n\
                  [[role]]\nname = \"idle\"\nmembers = { groups = [\"corp:reviewers\"], subjects = [\"corp:ghost\"] }\n\
                  targets = { names = [\"other1\"] }\nlogins = [\"nobody\"]\nchannels = [\"shell\"]\nstanding = true\n";
    usual(stage.web1.port, "").replace("standing = true\n", asking)
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// A command of whoever is signed in on the laptop.
#[track_caller]
fn client(stage: &Stage, args: &[&str]) -> crate::world::process::Finished {
    crate::world::process::run(&mut stage.laptop.caponier(args), b"", PATIENCE)
}

#[track_caller]
fn ask(stage: &Stage, reason: &str) {
    client(stage, &["request", "web1", "--as", &me(), "--for", "30m", "--reason", reason]).ok();
}

#[expect(clippy::too_many_lines, reason = "one story from the first look to the last")]
fn look_with_real_ssh(stage: &Stage) {
    // A standing role: who is there, by which role.
    let live = stage.live_terminal();
    let now = parsed(&client(stage, &["access", "now", "--json"]).ok());
    assert_eq!((&now["everybody"], &now["grants"]), (&json!(false), &json!([])), "{now:#}");
    assert_eq!(now["sessions"][0]["roles"], json!(["engineers"]), "{now:#}");
    assert_eq!(now["sessions"][0]["target"], "web1");
    let text = stage.bastion.admin(&["access", "now", "--on-server", "--target", "web1"]).ok();
    assert!(text.contains("corp:engineer (Erin Engineer)") && text.contains("Who could get there"), "{text}");
    stage.wait_for_audit("access_seen", "\"who\":\"admin\"");
    stage.bastion.write_policy(&by_request(stage));
    live.finish(PATIENCE);
    stage.wait_for_audit("policy_loaded", "");

    // By request: asked for, used twice, given back.
    ask(stage, "=OPS-1 look");
    stage.ssh(&["web1", "echo once"]).run().ok();
    let live = stage.live_terminal();
    let now = parsed(&client(stage, &["access", "now", "--target", "web1", "--json"]).ok());
    let grant = &now["grants"][0];
    assert_eq!((grant["state"].as_str(), grant["uses"].as_u64()), (Some("open"), Some(2)), "{now:#}");
    assert_eq!(grant["sessions"].as_array().unwrap().len(), 1, "one of the two is open: {now:#}");
    assert_eq!((&grant["reason"], &now["sessions"]), (&json!("=OPS-1 look"), &json!([])));
    assert_eq!(now["roles"][0]["request"]["stages"][0]["approvers"], json!(["corp:leads", "corp:boss"]));
    let none = parsed(&client(stage, &["access", "now", "--target", "other1", "--json"]).ok());
    assert_eq!((&none["grants"], &none["roles"][0]["role"]), (&json!([]), &json!("engineers")), "{none:#}");
    let refused = client(stage, &["access", "now", "--user", "corp:reviewer"]);
    assert!(refused.ended(126).errors().contains("auditors"));
    stage.wait_for_audit("access_refused", "see access of others (now)");
    client(stage, &["release"]).ok();
    live.finish(PATIENCE);
    ask(stage, "OPS-2 in vain");
    client(stage, &["release"]).ok();

    let past = parsed(&client(stage, &["access", "history", "--json"]).ok());
    let ends: Vec<_> = past["items"].as_array().unwrap().iter().map(|one| &one["state"]).collect();
    assert_eq!(ends, ["released", "released"], "{past:#}");
    assert_eq!(
        (&past["items"][1]["uses"], &past["items"][1]["ended_by"]),
        (&json!(2), &json!("corp:engineer"))
    );
    assert_eq!(past["items"][1]["sessions"].as_array().unwrap().len(), 2, "{past:#}");
    // In pages.
    let first = client(stage, &["access", "history", "--limit", "1", "--json"]);
    let next = parsed(&first.text())["next"].as_str().unwrap().to_owned();
    assert!(first.errors().contains(&format!("--after {next}")), "{}", first.errors());
    let rest = parsed(&client(stage, &["access", "history", "--after", &next, "--json"]).ok());
    assert_eq!((&rest["items"][0]["id"], &rest["next"]), (&past["items"][1]["id"], &Value::Null));
    client(stage, &["access", "history", "--after", "nonsense"]).ended(1);

    // What the engineer used is not in the report; what they asked for in vain is.
    let unused = parsed(&client(stage, &["report", "unused", "--days", "1", "--json"]).ok());
    assert_eq!(
        (&unused["roles"], &unused["members"], &unused["people"]),
        (&json!([]), &json!([]), &json!([]))
    );
    assert_eq!(unused["grants"][0]["reason"], "OPS-2 in vain", "{unused:#}");
    assert_eq!(unused["uncounted_until"], Value::Null);

    // The auditor sees everybody, and that is on record.
    stage.login("auditor");
    let text = client(stage, &["access", "now", "--target", "other1", "--user", "corp:reviewer"]).ok();
    assert!(text.contains("corp:reviewer: never signed in here"), "{text}");
    let csv = client(stage, &["access", "history", "--user", "corp:engineer", "--since", "1d", "--csv"]).ok();
    assert!(csv.starts_with("\"id\",\"request\"") && csv.contains("\"'=OPS-1 look\""), "{csv}");
    stage.wait_for_audit("access_seen", "\"user\":\"corp:engineer\",\"what\"");
    let report = client(stage, &["report", "unused", "--csv"]).ok();
    for line in [
        "\"role\",\"idle\"",
        "\"member-person\",\"idle\",\"corp:ghost\"",
        "\"member-group\",\"idle\",\"corp:reviewers\"",
    ] {
        assert!(report.contains(line), "{line}: {report}");
    }
    let here = stage.bastion.admin(&["report", "unused", "--on-server", "--csv"]).ok();
    assert_eq!(here, report);
    let here = stage.bastion.admin(&["access", "history", "--on-server", "--json"]).ok();
    assert_eq!(parsed(&here)["items"], past["items"]);
    lists_as_csv(stage);
    // Signed out: nothing is shown, and the status says so.
    client(stage, &["logout"]).ok();
    client(stage, &["access", "now"]).ended(77);
}

fn lists_as_csv(stage: &Stage) {
    for list in [&["sessions"][..], &["sign-ins", "ls"], &["recordings", "ls"]] {
        let form = |form: &str| stage.bastion.admin(&[list, &[form]].concat()).ok();
        let (csv, json) = (form("--csv"), parsed(&form("--json")));
        let rows = json.as_array().unwrap();
        assert_eq!(csv.lines().count(), rows.len() + 1, "{csv}");
        assert_eq!(
            csv.lines().next().unwrap().split(',').count(),
            rows[0].as_object().unwrap().len(),
            "{csv}"
        );
        assert!(csv.contains(rows[0]["id"].as_str().unwrap()), "{csv}");
        stage.bastion.admin(&[list, &["--csv", "--json"]].concat()).ended(2);
    }
}

#[test]
fn the_program_says_who_has_and_had_access() {
    look_with_real_ssh(&Stage::set_to(Plan { config: AUDITOR, ..Plan::default() }));
}

#[test]
fn the_same_on_postgresql() {
    let postgres = postgres::start();
    let plan = Plan { config: AUDITOR, store: Some(postgres.fresh_database()), ..Plan::default() };
    look_with_real_ssh(&Stage::set_to(plan));
}

// --- the API, with a clock -----------------------------------------------------------------------------------------

/// Somebody signs in with this client's key, as if by the browser.
async fn signed_in(site: &Site, client: &Client<'_>, kind: Kind, subject: &str, group: &str) -> SignInId {
    let now = site.app.clock.now();
    let sign_in = SignIn {
        id: SignInId::random(&site.app.random),
        who: Identity {
            kind,
            provider: "corp".parse().unwrap(),
            issuer: site.provider.issuer.clone(),
            subject: subject.into(),
            display: subject.to_uppercase(),
            groups: [group.parse().unwrap()].into(),
            run: None,
        },
        key_fingerprint: Some(client.key.fingerprint(HashAlg::Sha256).to_string()),
        method: "loopback".into(),
        from: "127.0.0.1".into(),
        client: "laptop".into(),
        created: now,
        expires: now.plus(site.app.config.sign_in_life),
        ended: None,
    };
    let mut tx = site.app.store.begin().await.unwrap();
    tx.insert_sign_in(&sign_in).await.unwrap();
    tx.commit(now, AuditEvent::ServerStarted { version: "test".into(), interrupted: 0 }).await.unwrap();
    sign_in.id
}

/// Whoever has this client's key, as the API recognises them.
async fn person(site: &Site, client: &Client<'_>) -> SignedIn {
    let headers = client.headers("GET", "/v1/access", "");
    let header = |name: &str| headers.iter().find(|(known, _)| *known == name).unwrap().1.as_str();
    let request = Request {
        method: "GET",
        path_and_query: "/v1/access",
        shown: Shown {
            key: header("caponier-key"),
            time: header("caponier-time"),
            nonce: header("caponier-nonce"),
            signature: header("caponier-signature"),
        },
        body: b"",
        from: [127, 0, 0, 1].into(),
    };
    SignedIn::of(&site.app, request).await.unwrap()
}

/// Opens a session as the gateway does.
async fn open(site: &Site, client: &Client<'_>, login: &str) -> session::OpenSession {
    let by = person(site, client).await;
    let act = Act::Exec { command: b"uptime".to_vec(), pty: false };
    let ask = Ask { target: "web1".parse().unwrap(), login: login.parse().unwrap(), act };
    let permit = authorize::authorize(&site.app, by.caller(), ask).await.unwrap().unwrap();
    session::open(&site.app, permit, None, &[], CancellationToken::new()).await.unwrap()
}

const POLICY: &str = r#"
[[target]]
name = "web1"
address = "127.0.0.1:22"
host_key = { ca = true }
labels = { owner = "corp:team subject=corp:olga" }

[[target]]
name = "web_1"
address = "127.0.0.1:22"
host_key = { ca = true }

[[role]]
name = "ops"
members = { groups = ["corp:dev"] }
targets = { names = ["web1", "web_1"] }
logins = ["root", "web1"]
channels = ["shell", "exec"]
[role.request]
max = "2h"
[[role.request.stage]]
name = "team"
groups = ["corp:leads"]
owner_label = "owner"

[[role]]
name = "see"
members = { groups = ["corp:dev"] }
targets = { names = ["web1"] }
logins = ["viewer"]
channels = ["exec"]
standing = true
"#;

async fn site() -> Site {
    let site = Site::start_with(AUDITOR, "http").await;
    let file = site.dir().join("policy.toml");
    std::fs::write(&file, POLICY).unwrap();
    site.app.policy.send_replace(std::sync::Arc::new(policy::file::load(&file).unwrap()));
    site
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story from the request to the history")]
async fn grants_from_the_request_to_the_history() {
    let site = site().await;
    let [ann, lead, auditor] = [site.client(), site.client(), site.client()];
    signed_in(&site, &ann, Kind::Person, "ann", "corp:dev").await;
    signed_in(&site, &lead, Kind::Person, "lead", "corp:leads").await;
    signed_in(&site, &auditor, Kind::Person, "auditor", "corp:audit").await;
    let get = async |client: &Client<'_>, path: &str| {
        let (status, answer) = client.call("GET", path, &Value::Null).await;
        assert_eq!(status, 200, "{path}: {answer:#}");
        answer
    };
    let body =
        json!({"targets": ["web1"], "logins": ["root"], "seconds": 3600, "reason": "OPS-1", "ticket": "T-1"});
    let (_, asked) = ann.call("POST", "/v1/requests", &body).await;
    let id = asked["request"]["id"].as_str().unwrap().to_owned();
    assert_eq!(get(&auditor, "/v1/access").await["grants"], json!([]), "nobody has said yes");
    let (status, said) =
        lead.call("POST", &format!("/v1/requests/{id}/approve"), &json!({"seconds": 1800})).await;
    assert_eq!(status, 200, "{said}");

    // Open, with a session under it, and one by the standing role.
    let by_grant = open(&site, &ann, "root").await;
    let standing = open(&site, &ann, "viewer").await;
    let now = get(&auditor, "/v1/access?target=web1").await;
    let grant = &now["grants"][0];
    assert_eq!(
        (&grant["who"], &grant["state"], &grant["uses"]),
        (&json!("corp:ann"), &json!("open"), &json!(1))
    );
    assert_eq!((&grant["approved_by"], &grant["ticket"]), (&json!(["corp:lead"]), &json!("T-1")));
    assert_eq!(grant["until"].as_u64().unwrap() - grant["starts"].as_u64().unwrap(), 1800, "as narrowed");
    assert_eq!(grant["sessions"][0]["id"], by_grant.id().as_str());
    assert_eq!(now["sessions"].as_array().unwrap().len(), 1, "{now:#}");
    assert_eq!(
        (&now["sessions"][0]["id"], &now["sessions"][0]["roles"]),
        (&json!(standing.id().as_str()), &json!(["see"]))
    );
    let roles: Vec<_> = now["roles"].as_array().unwrap().iter().map(|one| &one["role"]).collect();
    assert_eq!(roles, ["ops", "see"]);
    assert_eq!(
        now["roles"][0]["members"],
        json!([{"groups": ["corp:dev"], "subjects": [], "workloads": [], "services": []}])
    );
    assert_eq!(now["roles"][0]["request"]["stages"][0]["owners"], json!(["corp:team", "corp:olga"]));
    // The login web1 and the target web_1 are not the target web1: `_` is no wildcard, and logins are no targets.
    assert_eq!(get(&auditor, "/v1/access?target=web_1").await["grants"], json!([]));
    // A lock: there is a grant, and nobody gets in by it.
    let lock = caponier::flow::locks::LockWish {
        on: caponier::access::LockOn::Role("ops".parse().unwrap()),
        reason: "drill".into(),
        length: Some(Duration::from_secs(60)),
    };
    lock_here(&site, lock).await;
    let locked = get(&auditor, "/v1/access?user=corp:ann").await;
    assert_eq!(
        (&locked["grants"][0]["state"], &locked["roles"][0]["locked"]),
        (&json!("locked"), &json!(true))
    );
    assert_eq!(locked["person"]["groups"], json!(["corp:dev"]));

    sees_themselves_only(&site, &lead, &ann).await;

    for session in [by_grant, standing] {
        session::close(&site.app, session, Outcome { reason: "finished", ..Outcome::default() })
            .await
            .unwrap();
    }
    // Time ends it; that counts also before anybody has written it down.
    site.app.clock.advance(Duration::from_secs(1801));
    let past = get(&auditor, "/v1/access/history?target=web1&user=corp:ann").await;
    assert_eq!(
        (&past["items"][0]["state"], &past["items"][0]["note"]),
        (&json!("lapsed"), &json!("")),
        "{past:#}"
    );
    answer::elapse(&site.app).await.unwrap();
    let past = get(&auditor, "/v1/access/history?limit=1").await;
    let one = &past["items"][0];
    assert_eq!((&one["state"], &one["sessions"][0]["close_reason"]), (&json!("lapsed"), &json!("finished")));
    assert_eq!((&one["ended_by"], &past["next"]), (&Value::Null, &Value::Null));
    let later = site.app.clock.now().as_secs() + 1;
    assert_eq!(get(&auditor, &format!("/v1/access/history?since={later}")).await["items"], json!([]));
    for bad in
        ["user=ann", "user=corp:", "user=corp:a%00", "target=WEB", "since=-1", "limit=0", "after=Zm9v", "x=1"]
    {
        let (status, said) = auditor.call("GET", &format!("/v1/access/history?{bad}"), &Value::Null).await;
        assert_eq!(status, 400, "{bad}: {said}");
    }
}

async fn lock_here(site: &Site, wish: caponier::flow::locks::LockWish) {
    let (app, now) = (&site.app, site.app.clock.now());
    caponier::flow::locks::lock_by_command(&app.store, &app.random, wish, now).await.unwrap();
}

/// Who is no auditor: not others, not by name, not by target, and a lock takes the auditor's eyes away.
async fn sees_themselves_only(site: &Site, lead: &Client<'_>, ann: &Client<'_>) {
    for path in ["/v1/access", "/v1/access?target=web1", "/v1/access?user=corp:lead", "/v1/access/history"] {
        let (status, answer) = lead.call("GET", path, &Value::Null).await;
        assert_eq!(status, 200, "{answer}");
        assert!(!answer.to_string().contains("corp:ann"), "{path}: {answer:#}");
        assert!(!answer.to_string().contains("corp:dev"), "members of roles are others: {answer:#}");
    }
    let entries = site.audit().await.len();
    for path in ["/v1/access?user=corp:ann", "/v1/access/history?user=corp:nobody"] {
        let (status, answer) = lead.call("GET", path, &Value::Null).await;
        assert_eq!((status.as_u16(), answer["error"]["code"].as_str()), (403, Some("no-access")), "{answer}");
    }
    assert_eq!(site.audit().await.len(), entries + 2, "each refusal is on record, looking at oneself is not");
    let (_, own) = ann.call("GET", "/v1/access?user=corp:ann", &Value::Null).await;
    assert_eq!((&own["everybody"], own["grants"].as_array().unwrap().len()), (&json!(false), 1));
    assert_eq!(
        own["roles"][0]["members"],
        json!([{"groups": ["corp:dev"], "subjects": [], "workloads": [], "services": []}])
    );
}

#[tokio::test]
async fn an_auditor_who_is_locked_sees_themselves_only() {
    let site = site().await;
    let [auditor, ann] = [site.client(), site.client()];
    signed_in(&site, &auditor, Kind::Person, "auditor", "corp:audit").await;
    signed_in(&site, &ann, Kind::Person, "ann", "corp:dev").await;
    let (_, all) = auditor.call("GET", "/v1/reports/unused", &Value::Null).await;
    assert_eq!(all["everybody"], true);
    assert!(site.last_audit().await.starts_with("access_seen "), "{}", site.last_audit().await);
    let wish = caponier::flow::locks::LockWish {
        on: caponier::access::LockOn::User("corp:auditor".into()),
        reason: "gone".into(),
        length: None,
    };
    lock_here(&site, wish).await;
    let (_, own) = auditor.call("GET", "/v1/reports/unused", &Value::Null).await;
    assert_eq!((&own["everybody"], &own["members"]), (&json!(false), &json!([])), "{own:#}");
    assert_eq!(auditor.call("GET", "/v1/access?user=corp:ann", &Value::Null).await.0, 403);
}

#[tokio::test]
async fn what_nobody_used_for_ninety_days() {
    let site = site().await;
    let [ann, bob, build, left, auditor] = [(); 5].map(|()| site.client());
    signed_in(&site, &ann, Kind::Person, "ann", "corp:dev").await;
    signed_in(&site, &bob, Kind::Person, "bob", "corp:dev").await;
    signed_in(&site, &build, Kind::Workload, "build", "corp:ci").await;
    let session = open(&site, &ann, "viewer").await;
    session::close(&site.app, session, Outcome { reason: "finished", ..Outcome::default() }).await.unwrap();
    let report = async |days: u32| {
        signed_in(&site, &auditor, Kind::Person, "auditor", "corp:audit").await;
        let (status, answer) =
            auditor.call("GET", &format!("/v1/reports/unused?days={days}"), &Value::Null).await;
        assert_eq!(status, 200, "{answer}");
        answer
    };
    let names = |list: &Value, name: &str| -> Vec<String> {
        let all = list.as_array().unwrap().iter();
        all.map(|one| one[name].as_str().unwrap().to_owned()).collect()
    };
    let first = report(90).await;
    assert_eq!(names(&first["roles"], "role"), ["ops"], "{first:#}");
    assert_eq!((&first["people"], &first["workloads"]), (&json!([]), &json!([])));
    let idle = |report: &Value| -> Vec<String> {
        let all = report["members"].as_array().unwrap().iter();
        all.map(|one| format!("{} {}", one["role"].as_str().unwrap(), one["member"].as_str().unwrap()))
            .collect()
    };
    assert_eq!(idle(&first), ["ops corp:ann", "ops corp:bob", "see corp:bob"]);

    // On the ninetieth day it still counts as used, then no more.
    let used = site.app.clock.now();
    site.app.clock.advance(90 * DAY);
    assert_eq!(names(&report(90).await["roles"], "role"), ["ops"]);
    site.app.clock.advance(DAY);
    let id = signed_in(&site, &left, Kind::Person, "left", "corp:dev").await;
    let now = site.app.clock.now();
    let mut tx = site.app.store.begin().await.unwrap();
    assert!(tx.end_sign_in(&id, now).await.unwrap());
    let reason = "the provider knows the account no more".to_owned();
    let ended = AuditEvent::SignInEnded { sign_in: id, by: "provider".into(), reason };
    tx.commit(now, ended).await.unwrap();
    let last = report(90).await;
    assert_eq!(names(&last["roles"], "role"), ["ops", "see"], "{last:#}");
    assert_eq!(last["roles"][1]["last"], used.as_secs());
    assert_eq!(names(&last["people"], "who"), ["corp:ann", "corp:bob", "corp:left"]);
    assert_eq!(last["people"][2]["gone"], "the provider knows the account no more");
    assert_eq!(last["people"][0]["gone"], Value::Null);
    assert_eq!(names(&last["workloads"], "who"), ["corp:build"]);
    assert_eq!(names(&report(365).await["roles"], "role"), ["ops"]);

    // Access that was given in vain.
    signed_in(&site, &ann, Kind::Person, "ann", "corp:dev").await;
    signed_in(&site, &bob, Kind::Person, "lead", "corp:leads").await;
    let body = json!({"targets": ["web1"], "logins": ["root"], "reason": "OPS-1"});
    let (_, asked) = ann.call("POST", "/v1/requests", &body).await;
    let id = asked["request"]["id"].as_str().unwrap().to_owned();
    assert_eq!(bob.call("POST", &format!("/v1/requests/{id}/approve"), &json!({})).await.0, 200);
    assert_eq!(report(90).await["grants"], json!([]), "it can still be used");
    assert_eq!(ann.call("POST", &format!("/v1/requests/{id}/release"), &Value::Null).await.0, 200);
    let last = report(90).await;
    assert_eq!(
        (&last["grants"][0]["request"], &last["grants"][0]["state"]),
        (&json!(id), &json!("released"))
    );
    for bad in ["days=0", "days=3651", "days=x"] {
        assert_eq!(auditor.call("GET", &format!("/v1/reports/unused?{bad}"), &Value::Null).await.0, 400);
    }
}

/// What a report on oneself reads is one's own: rows of others that cannot be read do not matter to it, and it is not
/// they whom it costs.
#[tokio::test]
async fn a_report_on_oneself_reads_nothing_of_others() {
    let site = site().await;
    let [ann, auditor] = [(); 2].map(|()| site.client());
    signed_in(&site, &ann, Kind::Person, "ann", "corp:dev").await;
    signed_in(&site, &auditor, Kind::Person, "auditor", "corp:audit").await;
    let row = "INSERT INTO role_use (role, issuer, subject, who, first_used, last_used, uses) \
               VALUES ('see', 'https://id', 'bob', 'corp:bob', 0, 0, -1)";
    run_past(site.app.config.store_url.expose(), row).await;
    let path = "/v1/reports/unused?days=90";
    assert_eq!(auditor.call("GET", path, &Value::Null).await.0, 500, "a row that cannot be read");
    let (status, own) = ann.call("GET", path, &Value::Null).await;
    assert_eq!(status, 200, "{own}");
    let members: Vec<&str> =
        own["members"].as_array().unwrap().iter().map(|one| one["role"].as_str().unwrap()).collect();
    assert_eq!(members, ["ops", "see"], "{own:#}");
}

/// Sessions of one person that open at once are all counted.
#[tokio::test(flavor = "multi_thread")]
async fn uses_are_counted_once_each() {
    let site = site().await;
    let ann = site.client();
    signed_in(&site, &ann, Kind::Person, "ann", "corp:dev").await;
    let all =
        tokio::join!(open(&site, &ann, "viewer"), open(&site, &ann, "viewer"), open(&site, &ann, "viewer"));
    assert_ne!(all.0.id(), all.1.id());
    let uses = site.app.store.role_uses(None).await.unwrap();
    assert_eq!((uses.len(), uses[0].uses, uses[0].role.as_str()), (1, 3, "see"));
    assert_eq!(
        (uses[0].who.as_str(), uses[0].first, uses[0].last),
        ("corp:ann", uses[0].last, site.app.clock.now())
    );
}
