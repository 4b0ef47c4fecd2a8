//! Wire shapes of `/v1`, spoken by our server and our client. Requests marked *signed* carry the headers of
//! `identity::proof`. Every error is `{"error": {"code": "...", "message": "..."}}` with a fitting status.
//!
//! `requests`, `locks`, `alerts`, `looking`, `revocations`, `sessions` and `workloads` have those of theirs.

pub mod alerts;
pub mod locks;
pub mod looking;
pub mod requests;
pub mod revocations;
pub mod sessions;
pub mod workloads;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `POST /v1/sign-in/begin`, signed: begin a sign-in for the signing key.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend(
    "oneOf" = [
        {
            "properties": {
                "mode": { "const": "loopback" },
                "port": { "type": "integer" },
                "challenge": { "type": "string" },
            },
            "required": ["port", "challenge"],
        },
        { "properties": { "mode": { "const": "device" }, "port": { "type": "null" }, "challenge": { "type": "null" } } },
    ],
    "examples" = [{ "mode": "device", "client": "build-7" }],
))]
pub struct BeginRequest {
    /// How the person comes back.
    pub mode: SignInMode,
    /// Loopback: the port on 127.0.0.1 the client listens on.
    #[schemars(range(min = 1))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Loopback: base64url SHA-256 of a verifier that `finish` must show.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{43}$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<String>,
    /// The client machine's name as it calls itself; shown when confirming, cut to 64 bytes.
    #[schemars(length(max = 256))]
    pub client: String,
    /// Provider to go to at once; otherwise the page asks when there are several.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
}

/// How a person comes back from the browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SignInMode {
    /// By a redirect to the client's own port, on the same machine.
    Loopback,
    /// By a code that is typed and compared, on any machine.
    Device,
}

/// Answer to `begin`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct BeginAnswer {
    /// The pending sign-in.
    #[schemars(regex(pattern = r"^pnd_[0-9a-hjkmnp-tv-z]{26}$"))]
    pub id: String,
    /// Where the browser goes.
    #[schemars(url)]
    pub url: String,
    /// Device: the code to type there, `BCDF-GHJK`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_code: Option<String>,
    /// Seconds until it is void.
    pub expires_in: u64,
    /// Device: seconds between polls.
    pub interval: u64,
}

/// `POST /v1/sign-in/finish`, signed by the same key. Answers 200 with [`SignInAnswer`], 202 while the browser is not done.
/// Loopback: the client's listener got `GET /?code=CODE&id=ID` (or `?error=TEXT&id=ID`) by redirect.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{ "id": "pnd_0123456789abcdefghjkmnpqrs" }]))]
pub struct FinishRequest {
    /// The pending sign-in.
    #[schemars(regex(pattern = r"^pnd_[0-9a-hjkmnp-tv-z]{26}$"))]
    pub id: String,
    /// Loopback: the code of the redirect.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Loopback: the verifier behind the challenge.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verifier: Option<String>,
}

/// `GET /v1/sign-in`, signed (who am I), and the answer to `finish`. `DELETE /v1/sign-in`, signed, ends it (204).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SignInAnswer {
    /// The sign-in.
    #[schemars(regex(pattern = r"^sgn_[0-9a-hjkmnp-tv-z]{26}$"))]
    pub sign_in: String,
    /// `provider:subject`.
    pub who: String,
    /// Display label.
    pub display: String,
    /// Groups, `provider:group`.
    pub groups: Vec<String>,
    /// Unix seconds when it ends.
    pub expires: u64,
    /// What the client needs for its ssh configuration.
    pub ssh: SshClientSettings,
}

/// What a client puts into its ssh configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SshClientSettings {
    /// Name of the bastion.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The host CA's public key, one line without comment.
    pub host_ca: String,
    /// Host patterns that go through the bastion.
    pub patterns: Vec<String>,
}

/// `POST /v1/certificate`, signed: a certificate for the signing key. The client can only narrow.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("examples" = [{}, { "principals": ["deploy"], "life": 60 }]))]
pub struct CertificateRequest {
    /// Only these logins.
    #[schemars(length(max = 256), inner(regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,31}$")))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principals: Option<Vec<String>>,
    /// At most so many seconds.
    #[schemars(range(min = 10, max = 86_400))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life: Option<u64>,
}

/// The certificate.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CertificateAnswer {
    /// One line, `ssh-ed25519-cert-v01@openssh.com AAAA...`.
    pub certificate: String,
    /// Serial, decimal.
    #[schemars(regex(pattern = r"^[0-9]{1,20}$"))]
    pub serial: String,
    /// Logins.
    pub principals: Vec<String>,
    /// Unix seconds.
    pub valid_before: u64,
    /// Current settings, so that renewals keep the ssh configuration fresh.
    pub ssh: SshClientSettings,
}

/// The body of every error.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorDetail,
}

/// Code and text of an error.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ErrorDetail {
    /// Stable: `not-signed-in`, `bad-signature`, `clock`, `replay`, `no-access`, `not-found`, `bad-request`, `limit`,
    /// `internal`, `denied`, `expired`, `method`, and the codes of the policy's refusals.
    #[schemars(regex(pattern = r"^[a-z]+(-[a-z]+)*$"))]
    pub code: String,
    /// For people: what to do.
    pub message: String,
}
