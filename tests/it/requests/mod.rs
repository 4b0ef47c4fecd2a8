//! Requests from asking to the end: who may do what to them, on a real server, over the API and the command line, with stock
//! ssh. What the pure state machine does stands in `src/access/step`; here the recipes around it are asked, and the races.

mod chain;
mod crowd;
mod decide;
mod lists;
mod locks;
mod rules;
pub(crate) mod ssh;

use caponier::audit::AuditEvent;
use caponier::identity::{Identity, Kind};
use caponier::ids::SignInId;
use caponier::store::SignIn;
use serde_json::{Value, json};

use crate::postgres;
use crate::sign_in::site::{Client, Setup, Site};
use crate::store::Place;

const TARGETS: &str = r#"
[[target]]
name = "web1"
address = "127.0.0.1:22"
host_key = { ca = true }
labels = { env = "prod", owner = "corp:shop" }
[[target]]
name = "web2"
address = "127.0.0.1:22"
host_key = { ca = true }
labels = { env = "prod", owner = "corp:data" }
[[target]]
name = "dev1"
address = "127.0.0.1:22"
host_key = { ca = true }
labels = { env = "dev" }
"#;

/// Everybody whom the tests know is nobody's member but of the groups that they are given.
const CONFIG: &str =
    "[sign_in]\nadmins = { subjects = [\"corp:root\"] }\nauditors = { subjects = [\"corp:audrey\"] }\n";

/// A role `name` for the group `dev` that opens all targets as `deploy` and `root`, by these rules.
fn role(name: &str, rules: &str) -> String {
    format!(
        "[[role]]\nname = \"{name}\"\nmembers = {{ groups = [\"corp:dev\"] }}\n\
         targets = {{ names = [\"web1\", \"web2\", \"dev1\"] }}\nlogins = [\"deploy\", \"root\"]\n\
         channels = [\"shell\", \"exec\", \"sftp\"]\n{rules}\n"
    )
}

/// One stage: one of the leads.
const ONE: &str =
    "[role.request]\nmax = \"2h\"\n[[role.request.stage]]\nname = \"leads\"\ngroups = [\"corp:leads\"]\n";

/// A site with this policy beside the targets.
async fn town(roles: &str) -> Site {
    town_on("sqlite:test.db", roles).await
}

async fn town_on(store: &str, roles: &str) -> Site {
    let policy = format!("{TARGETS}{roles}");
    Site::start_set(Setup { extra: CONFIG, policy: &policy, store, ..Setup::default() }).await
}

/// Plays each case on SQLite and on PostgreSQL.
#[expect(clippy::print_stderr, reason = "a failed test must say on which database")]
async fn on_both(roles: &str, case: impl AsyncFn(&Site)) {
    eprintln!("on SQLite");
    case(&town(roles).await).await;
    eprintln!("on PostgreSQL");
    let cluster = postgres::start();
    let place = Place::postgres(&cluster);
    let site = town_on(&place.url, roles).await;
    case(&site).await;
    // The cluster stops with this test and waits for its clients.
    site.app.store.close().await;
}

/// `subject` in these groups, signed in with a fresh key, as if they had come by the browser.
pub(crate) async fn person<'a>(site: &'a Site, subject: &str, groups: &[&str]) -> Client<'a> {
    let client = site.client();
    let now = site.app.clock.now();
    let sign_in = SignIn {
        id: SignInId::random(&site.app.random),
        who: Identity {
            kind: Kind::Person,
            provider: "corp".parse().unwrap(),
            issuer: site.provider.issuer.clone(),
            subject: subject.into(),
            display: format!("{subject} the person"),
            groups: groups.iter().map(|group| format!("corp:{group}").parse().unwrap()).collect(),
            run: None,
        },
        key_fingerprint: Some(client.fingerprint()),
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
    client
}

/// A wish for `web1` as `deploy`, with these fields changed.
fn wish(changes: &Value) -> Value {
    let mut wish =
        json!({"targets": ["web1"], "logins": ["deploy"], "seconds": 1800, "reason": "OPS-1 rotate"});
    for (key, value) in changes.as_object().unwrap() {
        wish[key] = value.clone();
    }
    wish
}

/// Asks, and expects it to be filed.
async fn file(who: &Client<'_>, changes: &Value) -> Value {
    let (status, answer) = who.call("POST", "/v1/requests", &wish(changes)).await;
    assert_eq!(status, 201, "{answer}");
    answer["request"].clone()
}

fn id(request: &Value) -> String {
    request["id"].as_str().unwrap().to_owned()
}

/// Does something to a request: the status, and the code of a refusal or the state afterwards.
async fn act(who: &Client<'_>, request: &Value, what: &str, body: Value) -> (u16, String) {
    let (status, answer) = act_whole(who, request, what, body).await;
    let word = if status == 200 { &answer["state"] } else { &answer["error"]["code"] };
    (status, word.as_str().unwrap_or_default().to_owned())
}

async fn act_whole(who: &Client<'_>, request: &Value, what: &str, body: Value) -> (u16, Value) {
    let (status, answer) = who.call("POST", &format!("/v1/requests/{}/{what}", id(request)), &body).await;
    (status.as_u16(), answer)
}

async fn approve(who: &Client<'_>, request: &Value) -> (u16, String) {
    act(who, request, "approve", json!({})).await
}

/// The request as `who` sees it now.
async fn seen(who: &Client<'_>, request: &Value) -> Value {
    let (status, answer) = who.call("GET", &format!("/v1/requests/{}", id(request)), &Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// The ids in somebody's inbox.
async fn inbox(who: &Client<'_>) -> Vec<String> {
    let (status, answer) = who.call("GET", "/v1/inbox", &Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    answer["items"].as_array().unwrap().iter().map(id).collect()
}

/// Entries of the audit log of this kind.
async fn entries(site: &Site, kind: &str) -> Vec<String> {
    let kind = format!("{kind} ");
    site.audit().await.into_iter().filter(|entry| entry.starts_with(&kind)).collect()
}

fn ok(state: &str) -> (u16, String) {
    (200, state.to_owned())
}

fn no(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}
