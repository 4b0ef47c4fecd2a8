//! Wire shapes of what jobs and services call: the exchange of a token for a certificate, the look before it, what a client must
//! know of the issuers beforehand, and the platforms' webhooks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CertificateAnswer, SignInAnswer};

/// `POST /v1/certificates`, signed by the **new** key: a job's token, or a service account's statement, for a sign-in of that
/// key and its first certificate. `POST /v1/certificates/check` takes the same and uses nothing up.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend(
    "oneOf" = [
        { "properties": { "token": { "type": "string" }, "service": { "type": "null" } }, "required": ["token"] },
        { "properties": { "token": { "type": "null" }, "service": { "type": "object" } }, "required": ["service"] },
    ],
    "examples" = [{ "token": "eyJhbGciOiJSUzI1NiJ9.e30.AA", "principals": ["deploy"], "life": 120 }],
))]
pub struct ExchangeRequest {
    /// The job's token: a JWT of a configured issuer.
    #[schemars(length(max = 12_288))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// A service account's statement, for machines without a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceStatement>,
    /// Only these logins.
    #[schemars(length(max = 256), inner(regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,31}$")))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principals: Option<Vec<String>>,
    /// The certificate at most so many seconds.
    #[schemars(range(min = 10, max = 86_400))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life: Option<u64>,
}

/// What a registered key says: this new key (the one that signs the request) is mine, now, at this server.
/// The signature is an SSHSIG with namespace `service@caponier` and SHA-512 over the text
/// `caponier-service-v1\nACCOUNT\nAUTHORITY\nTIME\nNONCE\nSHA256:FINGERPRINT-OF-THE-NEW-KEY\n`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceStatement {
    /// The service account's name in the policy.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"))]
    pub account: String,
    /// The registered public key, `ssh-ed25519 AAAA...`, no comment.
    #[schemars(length(max = 1024))]
    pub key: String,
    /// Unix seconds.
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    pub time: u64,
    /// 43 characters of base64url, used once.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{43}$"))]
    pub nonce: String,
    /// The SSHSIG blob in base64, no armour.
    #[schemars(length(max = 3072))]
    pub signature: String,
}

/// Answer to the exchange.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ExchangeAnswer {
    /// The new sign-in: it ends with the run, or by itself.
    pub sign_in: SignInAnswer,
    /// Its first certificate; `POST /v1/certificate` gives more while the sign-in lasts.
    pub certificate: CertificateAnswer,
    /// The certificate's key id.
    pub key_id: String,
    /// What the run is.
    pub run: RunAnswer,
    /// The workload rules that the run fits.
    pub rules: Vec<String>,
    /// Roles of the run that must be asked for before they open anything.
    pub by_request: Vec<String>,
}

/// Answer to the look: what the exchange would come to.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ExchangeLook {
    /// What the run is.
    pub run: RunAnswer,
    /// The workload rules that the run fits.
    pub rules: Vec<String>,
    /// Rules for this very repository, project or account that the run does not fit, and why.
    pub near: Vec<NearRule>,
    /// The logins that a certificate would name; empty when there would be none.
    pub principals: Vec<String>,
    /// Roles that must be asked for before they open anything.
    pub by_request: Vec<String>,
    /// Null when a certificate would be issued; otherwise what the refusal would say.
    pub refusal: Option<String>,
}

/// A rule that does not fit.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct NearRule {
    /// The rule's name.
    pub rule: String,
    /// The first claim that does not fit.
    pub claim: String,
    /// What the rule wants of it.
    pub wanted: String,
    /// What the token says; null when it does not say.
    pub found: Option<String>,
}

/// A run, as the token tells of it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RunAnswer {
    /// The platform: `github`, `gitlab`, ..., `service`.
    pub platform: String,
    /// What runs, by its immutable id: `repository/123456`.
    pub subject: String,
    /// What people call it: `acme/shop`.
    pub label: String,
    /// The platform's id of the run.
    pub id: Option<String>,
    /// Which attempt.
    pub attempt: Option<String>,
    /// The commit.
    pub commit: Option<String>,
    /// Where to look at it.
    pub url: Option<String>,
}

/// `GET /v1/workloads`: what a client must know before it asks its platform for a token.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct WorkloadSettings {
    /// The issuers that are believed here.
    pub issuers: Vec<IssuerAnswer>,
    /// The host CA's public key, one line without comment. Compare its fingerprint with a pinned one.
    pub host_ca: String,
}

/// One issuer.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct IssuerAnswer {
    /// Its name here.
    pub name: String,
    /// Its platform: `github`, `gitlab`, `forgejo`, `buildkite`, `circleci`, `kubernetes`, `oidc`.
    pub platform: String,
    /// `iss`.
    #[schemars(url)]
    pub issuer: String,
    /// The audience that a token must have. With `bind` = `audience`, `?ssh-key-sha256=HEX` follows it: the SHA-256 of the
    /// new public key's blob, in lower-case hexadecimal.
    pub audience: String,
    /// How a token is bound to the new key: `audience` or `signature`.
    #[schemars(extend("enum" = ["audience", "signature"]))]
    pub bind: String,
}
