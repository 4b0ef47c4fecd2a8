//! The exchange of a job's token for a certificate, over HTTP, with an issuer that makes tokens like GitHub's and GitLab's: what
//! passes, what is refused for which reason and with which audit entry, that a token counts once wherever it is shown, and what
//! ends a run.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that cannot go on says so")]

mod account;
mod apart;
mod ends;
mod once;
mod refused;

use caponier::flow::recognise::recognise_certificate;
use caponier::identity::token::hex;
use caponier::time::{Clock, Timestamp};
use russh::keys::ssh_key::{Certificate, HashAlg};
use serde_json::{Value, json};

use crate::sign_in::site::{Client, Setup, Site};
use crate::world::issuer::JobIssuer;

/// When the tests' clocks begin.
const NOW: u64 = 1_900_000_000;
/// What webhooks are signed with.
const SECRET: &str = "a-webhook-secret-for-tests";

/// One target; who may deploy to it by its rule, who after somebody approved, and a service account.
const POLICY: &str = r#"
[[target]]
name = "web1"
address = "127.0.0.1:22"
host_key = { ca = true }

[[workload]]
name = "deploy-shop"
issuer = "github"
repository_id = "123456"
ref = "refs/heads/main"
environment = "production"

[[workload]]
name = "nightly"
issuer = "github"
repository_id = "123456"
ref = "refs/heads/main"
event_name = "schedule"
announced = true

[[workload]]
name = "lab"
issuer = "gitlab"
project_id = "42"
ref = "main"

[[service]]
name = "backup"
keys = ["SERVICE_KEY"]
sources = ["127.0.0.1"]

[[role]]
name = "deployers"
members = { workloads = ["deploy-shop", "lab"], services = ["backup"] }
targets = { names = ["web1"] }
logins = ["deploy"]
channels = ["exec", "sftp"]
standing = true

[[role]]
name = "night"
members = { workloads = ["nightly"] }
targets = { names = ["web1"] }
logins = ["night"]
channels = ["exec"]
standing = true

[[role]]
name = "repair"
members = { workloads = ["deploy-shop"] }
targets = { names = ["web1"] }
logins = ["root"]
channels = ["exec"]

[role.request]
max = "1h"

[[role.request.stage]]
name = "leads"
groups = ["corp:reviewers"]
"#;

/// A site that believes two issuers.
struct Ci {
    site: Site,
    github: JobIssuer,
    gitlab: JobIssuer,
    /// The registered key of the service account.
    service: russh::keys::ssh_key::PrivateKey,
    clock: Clock,
}

impl Ci {
    async fn start() -> Self {
        Self::start_on("sqlite:test.db").await
    }

    async fn start_on(store: &str) -> Self {
        let clock = Clock::fixed(Timestamp::from_secs(NOW));
        let (github, gitlab) = (JobIssuer::start_at(clock.clone()), JobIssuer::start_at(clock.clone()));
        let extra = issuers(&github, &gitlab);
        let service = caponier::random::Random::System
            .with(|rng| {
                russh::keys::ssh_key::PrivateKey::random(rng, russh::keys::ssh_key::Algorithm::Ed25519)
            })
            .unwrap();
        let policy = POLICY.replace("SERVICE_KEY", &service.public_key().to_openssh().unwrap());
        let files = [("webhook", SECRET)];
        let setup = Setup { extra: &extra, policy: &policy, store, files: &files, ..Setup::default() };
        let site = Site::start_at(setup, clock.clone()).await;
        Self { site, github, gitlab, service, clock }
    }

    /// The audience of GitHub's tokens for this client's key.
    fn audience(&self, client: &Client<'_>) -> String {
        let hash = client.key.public_key().fingerprint(HashAlg::Sha256);
        format!("{}?ssh-key-sha256={}", self.own(), hex(hash.as_bytes()))
    }

    /// The audience without a key.
    fn own(&self) -> String {
        self.site.url.as_str().trim_end_matches('/').to_owned()
    }

    /// GitHub's claims for this client, changed.
    fn claims(&self, client: &Client<'_>, changes: &[(&str, Value)]) -> Value {
        changed(self.github.github(&self.audience(client)), changes)
    }

    /// Shows GitHub's token with these claims.
    async fn show(&self, client: &Client<'_>, changes: &[(&str, Value)]) -> (u16, Value) {
        exchange(client, &self.github.mint(&self.claims(client, changes))).await
    }

    /// A client with a sign-in, and what the server said.
    async fn signed_in(&self, changes: &[(&str, Value)]) -> (Client<'_>, Value) {
        let client = self.site.client();
        let (status, answer) = self.show(&client, changes).await;
        assert_eq!(status, 200, "{answer}");
        (client, answer)
    }

    /// The refusals in the audit log so far: code and the whole entry.
    async fn refusals(&self, what: &str) -> Vec<(String, String)> {
        let entries = self.site.audit().await.into_iter();
        let fields = entries.filter_map(|entry| entry.strip_prefix("credential_refused ").map(str::to_owned));
        let parsed = fields.map(|text| (serde_json::from_str::<Value>(&text).unwrap(), text));
        parsed
            .filter(|(json, _)| json["what"] == what)
            .map(|(json, text)| (json["code"].as_str().unwrap().to_owned(), text))
            .collect()
    }
}

fn issuers(github: &JobIssuer, gitlab: &JobIssuer) -> String {
    format!(
        "[[issuer]]\nname = \"github\"\ntype = \"github\"\nissuer = \"{}\"\nwebhook_secret_file = \"webhook\"\n\
         [[issuer]]\nname = \"gitlab\"\ntype = \"gitlab\"\nissuer = \"{}\"\nwebhook_secret_file = \"webhook\"\n\
         [sign_in.admins]\ngroups = [\"corp:reviewers\"]\n",
        github.issuer, gitlab.issuer
    )
}

fn changed(mut claims: Value, changes: &[(&str, Value)]) -> Value {
    for (name, value) in changes {
        claims[*name] = value.clone();
    }
    claims
}

fn without(mut claims: Value, name: &str) -> Value {
    claims.as_object_mut().unwrap().remove(name);
    claims
}

async fn exchange(client: &Client<'_>, token: &str) -> (u16, Value) {
    let (status, answer) = client.call("POST", "/v1/certificates", &json!({ "token": token })).await;
    (status.as_u16(), answer)
}

fn certificate(answer: &Value) -> Certificate {
    Certificate::from_openssh(answer["certificate"]["certificate"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn a_job_gets_a_certificate_for_its_run() {
    let ci = Ci::start().await;
    let (client, answer) = ci.signed_in(&[]).await;
    let sign_in = answer["sign_in"]["sign_in"].as_str().unwrap();
    assert_eq!(answer["sign_in"]["who"], "github:repository/123456");
    assert_eq!(answer["sign_in"]["display"], "acme/shop run 987654321 by octocat");
    assert_eq!(answer["sign_in"]["expires"], NOW + 3600, "run_max");
    assert_eq!(answer["rules"], json!(["deploy-shop"]));
    assert_eq!(answer["by_request"], json!(["repair"]));
    assert_eq!(answer["run"]["commit"], "0123456789abcdef0123456789abcdef01234567");
    let certificate = certificate(&answer);
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let key_id = certificate.key_id();
    assert!(key_id.starts_with("github:repository/123456/run/987654321.1/commit/"), "{key_id}");
    assert!(key_id.contains(commit) && key_id.ends_with(sign_in), "{key_id}");
    assert_eq!(answer["key_id"], key_id);
    assert_eq!(certificate.valid_principals(), ["deploy", "root"]);
    assert_eq!(certificate.valid_before(), NOW + 300);
    let run = certificate.extensions().get("run@caponier").unwrap().clone();
    let wanted = format!("platform=github id=repository/123456 run=987654321 attempt=1 commit={commit}");
    assert!(run.starts_with(&wanted), "{run}");

    // It is somebody at the SSH door, and the same key gets more.
    let from = "127.0.0.1".parse().unwrap();
    let caller = recognise_certificate(&ci.site.app, &certificate, from).await.unwrap();
    assert_eq!(caller.identity().reference(), "github:repository/123456");
    let (status, again) = client.call("POST", "/v1/certificate", &json!({})).await;
    assert_eq!(status, 200, "{again}");
    let again = Certificate::from_openssh(again["certificate"].as_str().unwrap()).unwrap();
    assert_eq!(again.key_id(), key_id);
    assert_eq!(again.extensions().get("run@caponier"), Some(&run));

    let audit = ci.site.audit().await;
    let signed_in = audit.iter().find(|entry| entry.starts_with("workload_signed_in ")).unwrap();
    for said in [sign_in, "deploy-shop", "987654321", "octocat", &client.fingerprint(), commit] {
        assert!(signed_in.contains(said), "{said} in {signed_in}");
    }
    let issued = audit.iter().position(|entry| entry.starts_with("certificate_issued ")).unwrap();
    assert!(audit[issued].contains(key_id), "{}", audit[issued]);
    let listed = ci.site.app.store.sign_ins(ci.clock.now()).await.unwrap();
    assert!(listed.iter().any(|one| one.id.as_str() == sign_in && one.method == "token"));
}

#[tokio::test]
async fn what_is_asked_for_only_narrows() {
    let ci = Ci::start().await;
    let client = ci.site.client();
    let token = ci.github.mint(&ci.claims(&client, &[]));
    let ask = json!({ "token": token, "principals": ["deploy", "admin"], "life": 60 });
    let (status, answer) = client.call("POST", "/v1/certificates", &ask).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(certificate(&answer).valid_principals(), ["deploy"]);
    assert_eq!(certificate(&answer).valid_before(), NOW + 60);

    let client = ci.site.client();
    let token = ci.github.mint(&ci.claims(&client, &[]));
    let ask = json!({ "token": token, "principals": ["admin"] });
    let (status, answer) = client.call("POST", "/v1/certificates", &ask).await;
    assert_eq!((status.as_u16(), &answer["error"]["code"]), (403, &json!("no-access")), "{answer}");
    // The token was not used up by a refusal that the job can mend.
    assert_eq!(exchange(&client, &token).await.0, 200);
}

#[tokio::test]
async fn gitlab_binds_by_the_signature() {
    let ci = Ci::start().await;
    let client = ci.site.client();
    let token = ci.gitlab.mint(&ci.gitlab.gitlab(&ci.own()));
    let (status, answer) = exchange(&client, &token).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["sign_in"]["who"], "gitlab:project/42");
    assert_eq!(answer["rules"], json!(["lab"]));
    assert!(certificate(&answer).key_id().starts_with("gitlab:project/42/run/31/commit/"));
    // Whoever finds it later has a used one.
    let (status, answer) = exchange(&ci.site.client(), &token).await;
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("used")), "{answer}");
}

#[tokio::test]
async fn a_look_tells_which_rule_fits_and_uses_nothing_up() {
    let ci = Ci::start().await;
    let client = ci.site.client();
    let token = ci.github.mint(&ci.claims(&client, &[]));
    for _ in 0..2 {
        let (status, look) = client.call("POST", "/v1/certificates/check", &json!({ "token": token })).await;
        assert_eq!(status, 200, "{look}");
        assert_eq!((&look["rules"], &look["refusal"]), (&json!(["deploy-shop"]), &Value::Null));
        assert_eq!(look["principals"], json!(["deploy", "root"]));
        assert_eq!(look["near"][0]["rule"], "nightly");
        assert_eq!(look["near"][0]["claim"], "event_name");
    }
    assert_eq!(exchange(&client, &token).await.0, 200);

    let client = ci.site.client();
    let token = ci.github.mint(&ci.claims(&client, &[("environment", json!("staging"))]));
    let (status, look) = client.call("POST", "/v1/certificates/check", &json!({ "token": token })).await;
    assert_eq!(status, 200, "{look}");
    assert_eq!((&look["rules"], &look["principals"]), (&json!([]), &json!([])));
    let near = &look["near"][0];
    assert_eq!(
        (&near["rule"], &near["claim"], &near["found"]),
        (&json!("deploy-shop"), &json!("environment"), &json!("staging"))
    );
    assert!(look["refusal"].as_str().unwrap().contains("environment must be production"), "{look}");
    // A stranger's repository learns nothing of the rules.
    let token = ci.github.mint(&ci.claims(&client, &[("repository_id", json!("666"))]));
    let (_, look) = client.call("POST", "/v1/certificates/check", &json!({ "token": token })).await;
    assert_eq!((&look["near"], &look["rules"]), (&json!([]), &json!([])), "{look}");
    assert!(ci.site.last_audit().await.starts_with("workload_checked "));
    assert_eq!(ci.site.app.store.sign_ins(ci.clock.now()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn keys_rotate_and_may_come_from_a_file() {
    let ci = Ci::start().await;
    let (client, _) = ci.signed_in(&[]).await;
    drop(client);
    let client = ci.site.client();
    let old = ci.github.mint(&ci.claims(&client, &[]));
    ci.github.rotate();
    let new = ci.github.mint(&ci.claims(&client, &[]));
    assert_eq!(exchange(&client, &new).await.1["error"]["code"], "signature", "asked a moment ago");
    ci.clock.advance(std::time::Duration::from_secs(11));
    let (status, answer) = exchange(&client, &new).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        exchange(&ci.site.client(), &old).await.1["error"]["code"],
        "signature",
        "the old key is gone"
    );
    let asked = ci.github.asked_for_keys();
    for _ in 0..20 {
        let forged =
            ci.github.mint_with(&json!({ "alg": "RS256", "kid": "nobody's" }), &ci.claims(&client, &[]));
        assert_eq!(exchange(&ci.site.client(), &forged).await.0, 403);
    }
    assert!(ci.github.asked_for_keys() <= asked + 1, "strangers cannot make us ask for ever");
}

#[tokio::test]
async fn keys_of_a_file_need_no_network() {
    let clock = Clock::fixed(Timestamp::from_secs(NOW));
    let github = JobIssuer::start_at(clock.clone());
    let jwks = github.jwks();
    let issuer = "https://tokens.example";
    let extra = format!(
        "[[issuer]]\nname = \"github\"\ntype = \"github\"\nissuer = \"{issuer}\"\njwks_file = \"keys.json\"\n\
         [[issuer]]\nname = \"gitlab\"\ntype = \"gitlab\"\n"
    );
    let policy = POLICY.split("[[service]]").next().unwrap().to_owned()
        + "[[role]]\nname = \"deployers\"\nmembers = { workloads = [\"deploy-shop\", \"lab\", \"nightly\"] }\n\
           targets = { names = [\"web1\"] }\nlogins = [\"deploy\"]\nchannels = [\"exec\"]\nstanding = true\n";
    let files = [("keys.json", jwks.as_str())];
    let setup = Setup { extra: &extra, policy: &policy, files: &files, ..Setup::default() };
    let site = Site::start_at(setup, clock.clone()).await;
    let token = |client: &Client<'_>| {
        let hash = hex(client.key.public_key().fingerprint(HashAlg::Sha256).as_bytes());
        let audience = format!("{}?ssh-key-sha256={hash}", site.url.as_str().trim_end_matches('/'));
        github.mint(&changed(github.github(&audience), &[("iss", json!(issuer))]))
    };
    let client = site.client();
    let (status, answer) = exchange(&client, &token(&client)).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(github.asked_for_keys(), 0);
    // Who takes the keys out of the file wants them believed no more, at once.
    std::fs::write(site.dir().join("keys.json"), r#"{ "keys": [] }"#).unwrap();
    let client = site.client();
    assert_eq!(exchange(&client, &token(&client)).await.1["error"]["code"], "signature");
    std::fs::remove_file(site.dir().join("keys.json")).unwrap();
    let (status, answer) = exchange(&client, &token(&client)).await;
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("issuer-down")), "{answer}");
}
