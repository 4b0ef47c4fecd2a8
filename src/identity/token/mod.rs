//! Judges the token of a job (RFC 7519; RFC 8725), as far as one can without keys and without knowing its platform: size and shape
//! before anything is parsed, the header before the signature is looked at, the standard claims after it. Pure. The signature is
//! `oidc`'s matter, the platform's own claims are `workload`'s, that a token is used once is the store's.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::claims::{AHEAD_SECS_MAX, TokenRefused, check_age, object, seconds, text};
use super::workload::preset;
use crate::config::{Bind, Issuer};
use crate::time::Timestamp;

/// Longest token that is looked at, in bytes. Those of the platforms have one to three thousand.
pub const BYTES_MAX: usize = 12 * 1024;
/// What stands between an audience and the hash of the key that it is bound to.
pub const KEY_IN_AUDIENCE: &str = "?ssh-key-sha256=";
/// Longest `kid` and `jti`, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// A token taken apart and believed in nothing.
#[derive(Debug)]
pub struct Opened<'t> {
    issuer: String,
    algorithm: String,
    key_id: String,
    claims: Map<String, Value>,
    signed: &'t str,
    signature: Vec<u8>,
}

impl<'t> Opened<'t> {
    /// `iss`, as it claims: for finding the issuer.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }
    /// `alg`, as it claims.
    pub(super) fn algorithm(&self) -> &str {
        &self.algorithm
    }
    /// `kid`
    pub(super) fn key_id(&self) -> &str {
        &self.key_id
    }
    /// What the signature is over.
    pub(super) fn signed(&self) -> &'t str {
        self.signed
    }
    /// The signature.
    pub(super) fn signature(&self) -> &[u8] {
        &self.signature
    }
}

/// Proof: a configured issuer said this of a job, now, to us, for the key that asks. Made by [`check`] only, which `oidc` calls
/// when the signature holds.
#[derive(Clone, Debug)]
pub struct WorkloadToken {
    claims: Map<String, Value>,
    id: String,
    issued: Timestamp,
    useless_from: Timestamp,
}

impl WorkloadToken {
    /// All its claims; the standard ones are judged.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }
    /// The token's own name at its issuer: its `jti`, or its hash where the platform gives none. It must not have come before.
    pub fn id(&self) -> &str {
        &self.id
    }
    /// When it was issued, by the issuer's clock.
    pub fn issued(&self) -> Timestamp {
        self.issued
    }
    /// Until when that must be remembered: from then on its age alone refuses it.
    pub fn useless_from(&self) -> Timestamp {
        self.useless_from
    }
}

/// Takes a token apart: three parts of base64url, two JSON objects without a name twice, and a header that asks for nothing we
/// do not know. What it says is not believed.
pub fn open(token: &str) -> Result<Opened<'_>, TokenRefused> {
    let shape = |why: String| TokenRefused::new("shape", why);
    if token.len() > BYTES_MAX {
        return Err(shape(format!("the token is over {BYTES_MAX} bytes")));
    }
    if token.bytes().filter(|b| *b == b'.').count() != 2 {
        return Err(shape("the token is not of the form header.payload.signature".to_owned()));
    }
    let (signed, signature) = token.rsplit_once('.').unwrap_or_default();
    let (header, payload) = signed.split_once('.').unwrap_or_default();
    let decode = |part: &str| {
        URL_SAFE_NO_PAD
            .decode(part)
            .map_err(|_| shape("the token is not base64url without padding".to_owned()))
    };
    let (header, payload, signature) = (decode(header)?, decode(payload)?, decode(signature)?);
    let header = object(&header)?;
    if header.contains_key("crit") || header.contains_key("b64") || header.contains_key("zip") {
        return Err(shape("the token has extensions that must be understood (crit)".to_owned()));
    }
    if let Some(typ) = header.get("typ")
        && !typ.as_str().is_some_and(|typ| typ.eq_ignore_ascii_case("JWT"))
    {
        return Err(shape("the token's typ is not JWT: it is meant for something else".to_owned()));
    }
    let algorithm = text(&header, "alg", "algorithm")?.to_owned();
    let key_id = text(&header, "kid", "signature")?;
    if key_id.is_empty() || key_id.len() > NAME_BYTES_MAX {
        return Err(TokenRefused::new("signature", "the token's kid is empty or too long"));
    }
    let claims = object(&payload)?;
    Ok(Opened {
        issuer: text(&claims, "iss", "issuer")?.to_owned(),
        algorithm,
        key_id: key_id.to_owned(),
        claims,
        signed,
        signature,
    })
}

/// Judges the algorithm, before any key is asked for: one of those configured, whatever the token says of itself.
pub(super) fn check_algorithm(opened: &Opened<'_>, issuer: &Issuer) -> Result<(), TokenRefused> {
    if issuer.algorithms.contains(&opened.algorithm) {
        return Ok(());
    }
    Err(TokenRefused::new("algorithm", "the token's algorithm is not one of those configured for its issuer"))
}

/// Judges the standard claims of a token whose signature holds. `key_sha256` is the SHA-256 of the blob of the key that asks,
/// in lower-case hexadecimal.
pub(super) fn check(
    opened: Opened<'_>,
    issuer: &Issuer,
    key_sha256: &str,
    now: Timestamp,
) -> Result<WorkloadToken, TokenRefused> {
    let claims = &opened.claims;
    if opened.issuer != issuer.issuer {
        return Err(TokenRefused::new("issuer", "the token was issued by somebody else"));
    }
    check_audience(claims, issuer, key_sha256)?;
    let expires = seconds(claims, "exp")?;
    if expires <= now.as_secs() {
        return Err(TokenRefused::new("expired", "the token has expired; the job must ask for a new one"));
    }
    let issued = check_age(claims, issuer.age_max.as_secs(), now)?;
    let id = match claims.get("jti") {
        Some(Value::String(jti))
            if (1..=NAME_BYTES_MAX).contains(&jti.len()) && !jti.chars().any(char::is_control) =>
        {
            format!("jti:{jti}")
        }
        Some(_) => return Err(TokenRefused::new("jti", "the token's jti is empty, too long or not text")),
        None if preset(issuer.platform).needs_jti => {
            return Err(TokenRefused::new(
                "jti",
                "the token has no jti, so nobody could tell whether it was used",
            ));
        }
        // The signature is left out: some algorithms have two for the same text.
        None => format!("sha256:{}", hex(&Sha256::digest(opened.signed))),
    };
    // Another server's clock may be behind ours by as much as the issuer's may be ahead.
    let too_old = issued.saturating_add(issuer.age_max.as_secs()).min(expires);
    let useless_from = Timestamp::from_secs(too_old.saturating_add(2 * AHEAD_SECS_MAX + 1));
    Ok(WorkloadToken { claims: opened.claims, id, issued: Timestamp::from_secs(issued), useless_from })
}

/// Exactly one audience, and it is ours; where the platform lets the job choose it, ours for this key.
fn check_audience(
    claims: &Map<String, Value>,
    issuer: &Issuer,
    key_sha256: &str,
) -> Result<(), TokenRefused> {
    let refused = |why: String| TokenRefused::new("audience", why);
    let audience = match claims.get("aud") {
        Some(Value::String(one)) => one,
        Some(Value::Array(list)) => match list.as_slice() {
            [Value::String(one)] => one,
            _ => return Err(refused("the token is for several, or for nobody (aud)".to_owned())),
        },
        Some(_) => {
            return Err(TokenRefused::new("shape", "the token's aud is neither text nor a list of texts"));
        }
        None => return Err(refused("the token is for nobody (aud)".to_owned())),
    };
    let ours = &issuer.audience;
    match (audience.strip_prefix(ours.as_str()), issuer.bind) {
        (Some(""), Bind::Signature) => Ok(()),
        (Some(""), Bind::Audience) => Err(refused(format!(
            "the token is bound to no key: the job must ask for the audience {ours}{KEY_IN_AUDIENCE}HEX"
        ))),
        (Some(rest), Bind::Audience) => match rest.strip_prefix(KEY_IN_AUDIENCE) {
            Some(hash) if hash == key_sha256 => Ok(()),
            Some(_) => Err(TokenRefused::new(
                "other-key",
                "the token is bound to another key than the one that asks",
            )),
            None => Err(refused(format!("the token is for another audience than {ours}"))),
        },
        (Some(_) | None, _) => Err(refused(format!("the token is for another audience than {ours}"))),
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests;
