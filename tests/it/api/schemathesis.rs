//! schemathesis against the running server and its own description: no 5xx, no status that is not described, contents
//! and headers as described, and what the description does not have is refused. As nobody, as a stranger with a key, as
//! somebody signed in, and as an admin.
//!
//! The ordinary suite always asks the same; `--long` and `--fuzz` draw anew and more.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use caponier::flow::permission::Permission;
use caponier::web::openapi;
use caponier::web::table::endpoints;
use russh::keys::ssh_key::PrivateKey;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use sha2::{Digest as _, Sha256};

use super::permissions::{EXTRA, people};
use crate::sign_in::site::Site;
use crate::world::process::run;
use crate::world::{part, scratch};

/// How many keys somebody has: each request is signed by another, as some end the sign-in of theirs.
const KEYS: u32 = 3000;

/// The key that `tests/openapi/hooks.py` derives in the same way.
fn key(word: &str, number: u32) -> PrivateKey {
    let seed: [u8; 32] = Sha256::digest(format!("{word} {number}")).into();
    PrivateKey::new(KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed)), "").unwrap()
}

fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|said| said == "1")
}

/// The statuses of all answers, by `METHOD PATH`.
type Seen = BTreeMap<String, BTreeSet<u16>>;

/// Lets schemathesis ask the server as `who`, and fails with what it found.
async fn check(who: &str) -> Seen {
    let site = Site::start_web(EXTRA, "http", "trusted_proxies = [\"127.0.0.1\"]").await;
    let signs = who != "nobody";
    if !["nobody", "stranger"].contains(&who) {
        let keys: Vec<PrivateKey> = (0..KEYS).map(|number| key(who, number)).collect();
        people(&site, who, &keys).await;
    }
    let others: Vec<PrivateKey> = (0..200).map(|number| key("other", number)).collect();
    let ids = people(&site, "other", &others).await;
    let dir = scratch();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("openapi.json"), openapi::text()).unwrap();
    std::fs::write(at("ids"), ids.join("\n")).unwrap();
    let drawn = is_set("CAPONIER_TEST_LONG") || is_set("CAPONIER_TEST_FUZZ");
    let mut schemathesis = Command::new(part("target/test-parts/openapi/bin/schemathesis"));
    schemathesis
        .arg("--config-file")
        .arg(part("tests/openapi/schemathesis.toml"))
        .arg("run")
        .arg(at("openapi.json"))
        .args(["--url", site.url.as_str().trim_end_matches('/'), "--no-color", "--continue-on-failure"])
        .args(["--max-examples", if drawn { "500" } else { "20" }])
        // What is signed is signed right; nobody's headers are nonsense.
        .args(["--generation-with-security-parameters", if signs { "false" } else { "true" }])
        .args(if drawn { &["--generation-database=none"] } else { &["--generation-deterministic"] })
        .current_dir(dir.path())
        .env("PYTHONPATH", part("tests/openapi"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("CAPONIER_AS", who)
        .env("CAPONIER_KEYS", KEYS.to_string())
        .env("CAPONIER_TIME", site.app.clock.now().as_secs().to_string())
        .env("CAPONIER_AUTHORITY", caponier::identity::proof::authority(&site.url))
        .env("CAPONIER_IDS", at("ids"))
        .env("CAPONIER_SEEN", at("seen"));
    let patience = Duration::from_secs(if drawn { 900 } else { 120 });
    let finished = tokio::task::spawn_blocking(move || run(&mut schemathesis, b"", patience)).await.unwrap();
    finished.ok();
    let mut seen = Seen::new();
    for line in std::fs::read_to_string(at("seen")).unwrap().lines() {
        let (operation, status) = line.rsplit_once(' ').unwrap();
        seen.entry(operation.to_owned()).or_default().insert(status.parse().unwrap());
    }
    for endpoint in endpoints() {
        let operation = format!("{} {}", endpoint.method(), endpoint.path());
        assert!(seen.contains_key(&operation), "{operation} was not asked: {seen:?}");
    }
    seen
}

/// Which of these statuses somebody without the permission got from an endpoint that asks for one.
fn beyond(seen: &Seen, has: Option<Permission>, expected: &[u16]) -> Vec<String> {
    let mut wrong = Vec::new();
    for endpoint in endpoints()
        .iter()
        .filter(|endpoint| endpoint.permission() != Permission::Public && Some(endpoint.permission()) > has)
    {
        let operation = format!("{} {}", endpoint.method(), endpoint.path());
        let more = seen[&operation].iter().filter(|status| !expected.contains(status));
        wrong.extend(more.map(|status| format!("{operation}: {status}")));
    }
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_nobody() {
    let seen = check("nobody").await;
    assert_eq!(beyond(&seen, None, &[401]), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_stranger_with_a_key() {
    let seen = check("stranger").await;
    assert_eq!(beyond(&seen, Some(Permission::SignedKey), &[401]), [""; 0]);
    assert!(seen["POST /v1/sign-in/begin"].contains(&200), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_somebody_signed_in() {
    let seen = check("engineer").await;
    assert_eq!(beyond(&seen, Some(Permission::SignedIn), &[403]), [""; 0]);
    assert!(!seen["DELETE /v1/sign-in/{id}"].contains(&204), "that of others: {seen:?}");
    assert!(seen["POST /v1/certificate"].contains(&200), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_an_admin() {
    let seen = check("admin").await;
    for (operation, status) in [
        ("GET /v1/openapi.json", 200),
        ("GET /v1/sign-in", 200),
        ("DELETE /v1/sign-in", 204),
        ("DELETE /v1/sign-in/{id}", 204),
        ("POST /v1/certificate", 200),
    ] {
        assert!(seen[operation].contains(&status), "{operation}: {seen:?}");
    }
}
