//! Makes tokens as GitHub and GitLab make them, with one RSA key whose public half the bastion has in a file.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use caponier::random::Random;
use caponier::time::Clock;
use openidconnect::core::{CoreJwsSigningAlgorithm, CoreRsaPrivateSigningKey};
use openidconnect::{JsonWebKeyId, PrivateSigningKey as _};
use serde_json::{Value, json};

use crate::world::PATIENCE;
use crate::world::process::run;

const KEY_ID: &str = "platforms-1";

/// Both platforms.
pub(crate) struct Issuer {
    key: CoreRsaPrivateSigningKey,
}

impl Issuer {
    /// With a new key, made in this folder.
    pub(crate) fn new(dir: &Path) -> Self {
        let file = dir.join("platforms");
        let make = ["-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "", "-f"];
        run(Command::new("ssh-keygen").args(make).arg(&file), b"", PATIENCE).ok();
        let pem = std::fs::read_to_string(file).unwrap();
        let id = JsonWebKeyId::new(KEY_ID.to_owned());
        Self { key: CoreRsaPrivateSigningKey::from_pem(&pem, Some(id)).unwrap() }
    }

    /// The public half, as `jwks_file` has it.
    pub(crate) fn keys(&self) -> String {
        json!({ "keys": [serde_json::to_value(self.key.as_verification_key()).unwrap()] }).to_string()
    }

    /// What a run of `acme/shop` on GitHub, pushed to main, has for this audience; `changes` are written over it.
    pub(crate) fn github(&self, audience: &str, changes: &Value) -> String {
        let claims = json!({
            "iss": "https://token.actions.githubusercontent.com",
            "sub": "repo:acme/shop:ref:refs/heads/main",
            "repository": "acme/shop",
            "repository_id": "123456",
            "repository_owner": "acme",
            "repository_owner_id": "99",
            "repository_visibility": "private",
            "ref": "refs/heads/main",
            "ref_type": "branch",
            "sha": "0123456789abcdef0123456789abcdef01234567",
            "event_name": "push",
            "workflow_ref": "acme/shop/.github/workflows/deploy.yml@refs/heads/main",
            "runner_environment": "github-hosted",
            "run_id": "987654321",
            "run_attempt": "1",
            "actor": "octocat",
            "actor_id": "1",
        });
        self.token(claims, audience, changes)
    }

    /// The same for a pipeline on GitLab.
    pub(crate) fn gitlab(&self, audience: &str, changes: &Value) -> String {
        let claims = json!({
            "iss": "https://gitlab.com",
            "sub": "project_path:acme/shop:ref_type:branch:ref:main",
            "project_id": "42",
            "project_path": "acme/shop",
            "namespace_id": "7",
            "namespace_path": "acme",
            "ref": "main",
            "ref_type": "branch",
            "ref_path": "refs/heads/main",
            "ref_protected": "true",
            "pipeline_source": "push",
            "pipeline_id": "555",
            "job_id": "777",
            "sha": "0123456789abcdef0123456789abcdef01234567",
            "user_login": "ada",
        });
        self.token(claims, audience, changes)
    }

    fn token(&self, mut claims: Value, audience: &str, changes: &Value) -> String {
        let now = Clock::System.now().as_secs();
        let of_this_one = json!({
            "aud": audience, "iat": now, "nbf": now - 5, "exp": now + 300, "jti": Random::System.token(),
        });
        for more in [&of_this_one, changes] {
            for (claim, value) in more.as_object().unwrap() {
                claims[claim] = value.clone();
            }
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed =
            format!("{}.{}", part(&json!({"alg": "RS256", "kid": KEY_ID, "typ": "JWT"})), part(&claims));
        let algorithm = CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256;
        let signature = self.key.sign(&algorithm, signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
