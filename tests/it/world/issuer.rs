//! An issuer of jobs' tokens, shaped like GitHub's and GitLab's: discovery, keys that rotate (RS256), tokens with any claims.
//! The runner that asks for them stands in `ci::runner`.

use std::process::Command;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use caponier::random::Random;
use caponier::time::Clock;
use openidconnect::core::{CoreJsonWebKeySet, CoreJwsSigningAlgorithm, CoreRsaPrivateSigningKey};
use openidconnect::{JsonWebKeyId, PrivateSigningKey as _};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::scratch;

/// A running issuer; it stops when this is dropped.
pub(crate) struct JobIssuer {
    /// `iss`: `http://127.0.0.1:PORT`.
    pub(crate) issuer: String,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

struct Shared {
    issuer: String,
    clock: Clock,
    state: Mutex<Holding>,
}

struct Holding {
    keys: Vec<SigningKey>,
    published: CoreJsonWebKeySet,
    asked_for_keys: usize,
}

struct SigningKey {
    id: String,
    key: CoreRsaPrivateSigningKey,
}

impl SigningKey {
    /// Of 2048 bits, made by ssh-keygen.
    fn make(id: &str) -> Self {
        let dir = scratch();
        let path = dir.path().join("key");
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "", "-f"])
            .arg(&path)
            .status()
            .unwrap();
        assert!(made.success());
        let pem = std::fs::read_to_string(&path).unwrap();
        let key = CoreRsaPrivateSigningKey::from_pem(&pem, Some(JsonWebKeyId::new(id.into()))).unwrap();
        Self { id: id.into(), key }
    }
}

impl JobIssuer {
    /// Starts one with one key, `key-1`.
    #[track_caller]
    pub(crate) fn start() -> Self {
        Self::start_at(Clock::System)
    }

    /// The same by another clock. It runs on a thread of its own, so that tests with and without a runtime can have one.
    #[track_caller]
    pub(crate) fn start_at(clock: Clock) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let first = SigningKey::make("key-1");
        let published = CoreJsonWebKeySet::new(vec![first.key.as_verification_key()]);
        let state = Holding { keys: vec![first], published, asked_for_keys: 0 };
        let shared = Arc::new(Shared { issuer: issuer.clone(), clock, state: Mutex::new(state) });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(describe))
            .route("/jwks", get(keys))
            .with_state(Arc::clone(&shared));
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, router).with_graceful_shutdown(stopped).await.unwrap();
            });
        });
        Self { issuer, shared, _stop: stop.drop_guard() }
    }

    fn now(&self) -> u64 {
        self.shared.clock.now().as_secs()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, Holding> {
        self.shared.state.lock().unwrap()
    }

    /// Signs with a new key from now on, and publishes only that one.
    pub(crate) fn rotate(&self) {
        let mut state = self.state();
        let key = SigningKey::make(&format!("key-{}", state.keys.len() + 1));
        state.published = CoreJsonWebKeySet::new(vec![key.key.as_verification_key()]);
        state.keys.push(key);
    }

    /// The keys as a file has them.
    pub(crate) fn jwks(&self) -> String {
        serde_json::to_string(&self.state().published).unwrap()
    }

    /// How often somebody asked for the keys.
    pub(crate) fn asked_for_keys(&self) -> usize {
        self.state().asked_for_keys
    }

    /// A token with these claims, signed with the newest key.
    pub(crate) fn mint(&self, claims: &Value) -> String {
        let kid = self.state().keys.last().unwrap().id.clone();
        self.mint_with(&json!({ "alg": "RS256", "typ": "JWT", "kid": kid }), claims)
    }

    /// A token with this header, signed with the newest key all the same.
    pub(crate) fn mint_with(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let algorithm = CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256;
        let signature = self.state().keys.last().unwrap().key.sign(&algorithm, signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The claims of a job of GitHub Actions: repository `acme/shop` (123456), a push to `main` that deploys to `production`.
    pub(crate) fn github(&self, audience: &str) -> Value {
        let now = self.now();
        json!({
            "iss": self.issuer, "aud": audience, "iat": now, "nbf": now - 300, "exp": now + 300,
            "jti": format!("jti-{:016x}", Random::System.u64()),
            "sub": "repo:acme/shop:environment:production",
            "repository": "acme/shop", "repository_id": "123456",
            "repository_owner": "acme", "repository_owner_id": "9876", "repository_visibility": "private",
            "ref": "refs/heads/main", "ref_type": "branch", "ref_protected": "true",
            "environment": "production", "event_name": "push", "head_ref": "", "base_ref": "",
            "sha": "0123456789abcdef0123456789abcdef01234567",
            "workflow": "deploy", "workflow_ref": "acme/shop/.github/workflows/deploy.yml@refs/heads/main",
            "workflow_sha": "0123456789abcdef0123456789abcdef01234567",
            "job_workflow_ref": "acme/shop/.github/workflows/deploy.yml@refs/heads/main",
            "job_workflow_sha": "0123456789abcdef0123456789abcdef01234567",
            "run_id": "987654321", "run_number": "42", "run_attempt": "1", "runner_environment": "github-hosted",
            "actor": "octocat", "actor_id": "583231", "check_run_id": "31415",
        })
    }

    /// The claims of a job of GitLab CI: project `acme/shop` (42), a push to the protected branch `main`.
    pub(crate) fn gitlab(&self, audience: &str) -> Value {
        let now = self.now();
        json!({
            "iss": self.issuer, "aud": audience, "iat": now, "nbf": now - 5, "exp": now + 3600,
            "jti": format!("jti-{:016x}", Random::System.u64()),
            "sub": "project_path:acme/shop:ref_type:branch:ref:main",
            "project_id": "42", "project_path": "acme/shop", "namespace_id": "7", "namespace_path": "acme",
            "user_id": "1", "user_login": "ann", "user_email": "ann@example.com", "user_access_level": "maintainer",
            "pipeline_id": "31", "pipeline_source": "push", "job_id": "1001",
            "ref": "main", "ref_type": "branch", "ref_path": "refs/heads/main", "ref_protected": "true",
            "environment": "production", "environment_protected": "true", "deployment_tier": "production",
            "runner_id": 5, "runner_environment": "gitlab-hosted",
            "sha": "0123456789abcdef0123456789abcdef01234567", "project_visibility": "private",
            "ci_config_ref_uri": "gitlab.com/acme/shop//.gitlab-ci.yml@refs/heads/main",
            "ci_config_sha": "0123456789abcdef0123456789abcdef01234567",
            "job_project_id": "42", "job_project_path": "acme/shop",
            "job_namespace_id": "7", "job_namespace_path": "acme",
        })
    }
}

async fn describe(State(shared): State<Arc<Shared>>) -> Json<Value> {
    // As little as GitHub's says.
    Json(json!({
        "issuer": shared.issuer,
        "jwks_uri": format!("{}/jwks", shared.issuer),
        "response_types_supported": ["id_token"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }))
}

async fn keys(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let mut state = shared.state.lock().unwrap();
    state.asked_for_keys += 1;
    Json(serde_json::to_value(&state.published).unwrap())
}
