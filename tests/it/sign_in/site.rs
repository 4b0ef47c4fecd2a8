//! A bastion's web door in this process: SQLite, the demo's identity provider, a clock that the test moves, and clients
//! that can lie. Nothing here judges; what is right stands in the tests.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests fail by panicking; clippy exempts only functions that are tests themselves"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use caponier::app::App;
use caponier::ca::{Signer, init};
use caponier::config::Config;
use caponier::demo::browser::Browser;
use caponier::demo::provider::{self, Provider};
use caponier::flow::Desk;
use caponier::identity::proof;
use caponier::random::Random;
use caponier::store::Store;
use caponier::time::{Clock, Timestamp};
use caponier::{policy, web};
use reqwest::{Method, StatusCode};
use russh::keys::ssh_key::encoding::Encode as _;
use russh::keys::ssh_key::{Algorithm, HashAlg, PrivateKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

use crate::world::{recordings, scratch};

/// The address that loopback sign-ins hand over to. Nobody listens there: tests stop before it.
pub(crate) const HANDOFF: &str = "http://127.0.0.1:9/";

pub(crate) struct Site {
    pub(crate) app: App,
    pub(crate) provider: Provider,
    pub(crate) url: Url,
    dir: tempfile::TempDir,
    _stop: DropGuard,
}

/// What differs from the usual site.
pub(crate) struct Setup<'a> {
    /// More of the configuration, whole tables.
    pub(crate) extra: &'a str,
    /// `http`, or `https` when the door shall end TLS itself.
    pub(crate) scheme: &'a str,
    /// More of `[web]`.
    pub(crate) web: &'a str,
    /// The policy.
    pub(crate) policy: &'a str,
    /// The store's URL.
    pub(crate) store: &'a str,
    /// Files beside the configuration, for its owner only.
    pub(crate) files: &'a [(&'a str, &'a str)],
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self { extra: "", scheme: "http", web: "", policy: POLICY, store: "sqlite:test.db", files: &[] }
    }
}

/// One target, and one role that has it without asking.
const POLICY: &str = r#"
[[target]]
name = "web1"
address = "127.0.0.1:22"
host_key = { ca = true }

[[role]]
name = "web"
members = { groups = ["corp:engineers"] }
targets = { names = ["web1"] }
logins = ["deploy", "root"]
channels = ["shell", "exec", "sftp"]
standing = true
"#;

pub(crate) struct Client<'a> {
    pub(crate) site: &'a Site,
    pub(crate) key: PrivateKey,
    pub(crate) http: reqwest::Client,
}

/// A loopback sign-in that has begun.
pub(crate) struct Begun {
    pub(crate) id: String,
    pub(crate) url: Url,
    pub(crate) verifier: String,
}

impl Site {
    pub(crate) async fn start() -> Self {
        Self::start_with("", "http").await
    }

    /// `extra` is more of the configuration; with `https` the door ends TLS itself, with `tls.pem` and `tls.key`.
    pub(crate) async fn start_with(extra: &str, scheme: &str) -> Self {
        Self::start_web(extra, scheme, "").await
    }

    /// `web` is more of `[web]`.
    pub(crate) async fn start_web(extra: &str, scheme: &str, web: &str) -> Self {
        Self::start_set(Setup { extra, scheme, web, ..Setup::default() }).await
    }

    /// As `setup` says.
    pub(crate) async fn start_set(setup: Setup<'_>) -> Self {
        Self::start_at(setup, Clock::fixed(Timestamp::from_secs(1_900_000_000))).await
    }

    /// The same by this clock.
    pub(crate) async fn start_at(setup: Setup<'_>, clock: Clock) -> Self {
        // Clients of reqwest need one; another test of this process may have been first.
        drop(rustls::crypto::ring::default_provider().install_default());
        let dir = scratch();
        let random = Random::System;
        let provider = provider::start(&random, &clock).await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{}://127.0.0.1:{}", setup.scheme, listener.local_addr().unwrap().port());
        let tls = if setup.scheme == "https" { make_tls(dir.path()) } else { "" };
        let config = load(dir.path(), &url, &provider, tls, &setup);
        init::init(&config.ca.dir, None, &random).unwrap();
        let recordings = recordings(&config, &random, "test");
        let app = App {
            recordings,
            policy: Arc::new(watch::Sender::new(Arc::new(policy::file::load(&config.policy_file).unwrap()))),
            store: Store::open(config.store_url.expose()).await.unwrap(),
            signer: Signer::open(&config.ca).await.unwrap(),
            config: Arc::new(config),
            clock,
            random,
            desk: Arc::new(Desk::default()),
            node: "test".into(),
        };
        let stop = CancellationToken::new();
        tokio::spawn(web::serve(app.clone(), listener, stop.clone()));
        Self { app, provider, url: url.parse().unwrap(), dir, _stop: stop.drop_guard() }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Another policy from now on.
    pub(crate) async fn change_policy(&self, policy: &str) {
        std::fs::write(self.dir.path().join("policy.toml"), policy).unwrap();
        let reloaded = caponier::flow::reload::reload(&self.app).await.unwrap();
        assert!(matches!(reloaded, caponier::flow::reload::Reloaded::Changed), "{policy}");
    }

    pub(crate) fn page(&self, path: &str) -> Url {
        self.url.join(path).unwrap()
    }

    /// A client with a fresh key.
    pub(crate) fn client(&self) -> Client<'_> {
        let key = self.app.random.with(|rng| PrivateKey::random(rng, Algorithm::Ed25519).unwrap());
        Client { site: self, key, http: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    /// The audit log as `kind json`.
    pub(crate) async fn audit(&self) -> Vec<String> {
        let rows = self.app.store.audit(0, 10_000).await.unwrap();
        rows.into_iter().map(|row| format!("{} {}", row.kind, row.json)).collect()
    }

    /// The last entry of the audit log.
    pub(crate) async fn last_audit(&self) -> String {
        self.audit().await.pop().unwrap_or_default()
    }
}

impl Client<'_> {
    /// The same at another address of this machine: one address has so many connections and no more.
    pub(crate) fn at(self, address: [u8; 4]) -> Self {
        let http = reqwest::Client::builder().no_proxy().local_address(std::net::IpAddr::from(address));
        Self { http: http.build().unwrap(), ..self }
    }

    pub(crate) fn fingerprint(&self) -> String {
        self.key.fingerprint(HashAlg::Sha256).to_string()
    }

    /// The headers of a signed request made now.
    pub(crate) fn headers(&self, method: &str, path: &str, body: &str) -> Vec<(&'static str, String)> {
        self.headers_at(method, path, body, self.site.app.clock.now().as_secs())
    }

    pub(crate) fn headers_at(
        &self,
        method: &str,
        path: &str,
        body: &str,
        time: u64,
    ) -> Vec<(&'static str, String)> {
        let nonce = self.site.app.random.token();
        let authority = proof::authority(&self.site.url);
        let text = proof::signed_text(method, &authority, path, time, &nonce, body.as_bytes());
        let signature = self.key.sign(proof::NAMESPACE, HashAlg::Sha512, text.as_bytes()).unwrap();
        let mut public = self.key.public_key().clone();
        public.set_comment("");
        vec![
            (proof::HEADER_KEY, public.to_openssh().unwrap()),
            (proof::HEADER_TIME, time.to_string()),
            (proof::HEADER_NONCE, nonce),
            (proof::HEADER_SIGNATURE, STANDARD.encode(signature.encode_vec().unwrap())),
        ]
    }

    /// Sends a request with these headers, whatever they are.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        body: &str,
        headers: &[(&'static str, String)],
    ) -> (StatusCode, Value) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.http.request(method, self.site.page(path)).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status();
        if answer.headers().get("content-type").is_some_and(|kind| kind == "application/octet-stream") {
            return (status, Value::Null);
        }
        let text = answer.text().await.unwrap();
        (status, if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() })
    }

    /// A signed request.
    pub(crate) async fn call(&self, method: &str, path: &str, body: &Value) -> (StatusCode, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(method, path, &body, &self.headers(method, path, &body)).await
    }

    pub(crate) async fn begin(&self) -> Begun {
        let verifier = self.site.app.random.token();
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
        let ask = json!({"mode": "loopback", "port": 9, "challenge": challenge, "client": "laptop"});
        let (status, answer) = self.call("POST", "/v1/sign-in/begin", &ask).await;
        assert_eq!(status, 200, "{answer}");
        Begun {
            id: answer["id"].as_str().unwrap().to_owned(),
            url: answer["url"].as_str().unwrap().parse().unwrap(),
            verifier,
        }
    }

    pub(crate) async fn finish(&self, begun: &Begun, code: &str) -> (StatusCode, Value) {
        let shown = json!({"id": begun.id, "code": code, "verifier": begun.verifier});
        self.call("POST", "/v1/sign-in/finish", &shown).await
    }

    /// The whole loopback sign-in.
    pub(crate) async fn login(&self, person: &str) -> Value {
        let begun = self.begin().await;
        let code = brought(&mut Browser::of(person).unwrap(), &begun, "code").await;
        let (status, answer) = self.finish(&begun, &code).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// Begins by device: the pending id, and the code to type.
    pub(crate) async fn begin_device(&self, name: &str) -> (String, String) {
        let (status, answer) =
            self.call("POST", "/v1/sign-in/begin", &json!({"mode": "device", "client": name})).await;
        assert_eq!(status, 200, "{answer}");
        let text = |name: &str| answer[name].as_str().unwrap().to_owned();
        (text("id"), text("user_code"))
    }

    pub(crate) async fn poll(&self, id: &str) -> (StatusCode, Value) {
        self.call("POST", "/v1/sign-in/finish", &json!({"id": id})).await
    }
}

/// What the browser brings to the client's port under `name`.
pub(crate) async fn brought(browser: &mut Browser, begun: &Begun, name: &str) -> String {
    let page = browser.sign_in(&begun.url, Some(HANDOFF)).await.unwrap();
    assert!(page.url.as_str().starts_with(HANDOFF), "{} {} {}", page.url, page.status, page.text);
    let found = page.url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    found.unwrap_or_else(|| panic!("no {name} in {}", page.url))
}

fn load(dir: &Path, url: &str, provider: &Provider, tls: &str, setup: &Setup<'_>) -> Config {
    let Setup { extra, web, policy, store, .. } = setup;
    let text = format!(
        r#"state_dir = "state"
[ssh]
listen = "127.0.0.1:2222"
host_names = ["bastion.test"]
[web]
listen = "127.0.0.1:0"
public_url = "{url}"
{web}
{tls}
[store]
url = "{store}"
[ca]
dir = "ca"
plain = true
[policy]
file = "policy.toml"
[[provider]]
name = "corp"
title = "Example <Corp>"
issuer = "{}"
client_id = "{}"
client_secret_file = "secret"
scopes = ["profile", "email", "groups"]
{extra}
"#,
        provider.issuer, provider.client_id
    );
    for (name, text) in setup.files.iter().chain([&("secret", provider.client_secret.as_str())]) {
        let file = dir.join(name);
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    std::fs::write(dir.join("policy.toml"), policy).unwrap();
    std::fs::write(dir.join("caponier.toml"), text).unwrap();
    Config::load(&dir.join("caponier.toml"), &BTreeMap::new()).unwrap_or_else(|problems| {
        panic!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })
}

/// A certificate for 127.0.0.1 by the system's openssl.
fn make_tls(dir: &Path) -> &'static str {
    let done = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", "tls.key", "-out", "tls.pem"])
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    std::fs::set_permissions(dir.join("tls.key"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    "tls_cert = \"tls.pem\"\ntls_key = \"tls.key\""
}
