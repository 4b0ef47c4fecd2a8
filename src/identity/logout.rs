//! Judges logout tokens (OpenID Connect Back-Channel Logout 1.0 sections 2.4 and 2.6), as far as they can be judged
//! without keys: the header before the signature is looked at, the claims after it. Pure. The signature is `oidc`'s matter,
//! that a token is used once the store's.

use serde_json::Value;

use super::claims::{AHEAD_SECS_MAX, TokenRefused, check_age, check_audience, name, object, seconds, text};
use crate::config;
use crate::time::Timestamp;

/// The member of `events` that makes it a logout token.
pub const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// What `typ` must be when it is there (RFC 8725 section 3.11).
const TYPE: &str = "logout+jwt";
/// Oldest `iat`, in seconds: it is sent when it is made, perhaps a few times.
const AGE_SECS_MAX: u64 = 300;

/// Proof: a configured provider tells us to log somebody out. Made by `check` only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutToken {
    sub: Option<String>,
    sid: Option<String>,
    jti: String,
    useless_from: Timestamp,
}

impl LogoutToken {
    /// Whom, by the provider's own name.
    pub fn sub(&self) -> Option<&str> {
        self.sub.as_deref()
    }
    /// Which session of theirs. Of `sub` and `sid` at least one is there.
    pub fn sid(&self) -> Option<&str> {
        self.sid.as_deref()
    }
    /// The token's own name, which must not have come before.
    pub fn jti(&self) -> &str {
        &self.jti
    }
    /// Until when that must be remembered: from then on its age alone refuses it.
    pub fn useless_from(&self) -> Timestamp {
        self.useless_from
    }
}

/// What the header of a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// `alg`, one of those configured for the provider.
    pub(super) algorithm: String,
    /// `kid`
    pub(super) key_id: Option<String>,
}

/// Judges the header: the algorithm is a configured one, the type fits, and nothing in it must be understood that we do
/// not. Keys that it brings along are not looked at.
pub(super) fn check_header(header: &[u8], provider: &config::Provider) -> Result<Header, TokenRefused> {
    let header = object(header)?;
    let algorithm = text(&header, "alg", "signature")?;
    if !provider.algorithms.iter().any(|one| one == algorithm) {
        return Err(TokenRefused::new("signature", "the token's algorithm is not one of those configured"));
    }
    if let Some(typ) = header.get("typ")
        && !typ.as_str().is_some_and(is_logout_type)
    {
        return Err(TokenRefused::new("type", format!("the token's typ is not {TYPE}")));
    }
    if header.contains_key("crit") {
        return Err(TokenRefused::new("type", "the token has extensions that must be understood (crit)"));
    }
    let key_id = match header.get("kid") {
        None => None,
        Some(Value::String(id)) => Some(id.clone()),
        Some(_) => return Err(TokenRefused::new("shape", "the token's kid is not text")),
    };
    Ok(Header { algorithm: algorithm.to_owned(), key_id })
}

/// Media types have no case, and may leave `application/` out (RFC 7515 section 4.1.9).
fn is_logout_type(typ: &str) -> bool {
    let typ = typ.to_ascii_lowercase();
    typ.strip_prefix("application/").unwrap_or(&typ) == TYPE
}

/// Judges the claims of a token whose signature holds. `exp` is required by the standard and was not by its drafts; as the
/// age is capped, a token without one is not refused for that.
pub(super) fn check(
    payload: &[u8],
    provider: &config::Provider,
    now: Timestamp,
) -> Result<LogoutToken, TokenRefused> {
    let claims = object(payload)?;
    if text(&claims, "iss", "issuer")? != provider.issuer {
        return Err(TokenRefused::new("issuer", "the token was issued by somebody else"));
    }
    check_audience(&claims, &provider.client_id)?;
    if claims.contains_key("exp") && seconds(&claims, "exp")? <= now.as_secs() {
        return Err(TokenRefused::new("expired", "the token has expired"));
    }
    let issued = check_age(&claims, AGE_SECS_MAX, now)?;
    let is_logout = match claims.get("events") {
        Some(Value::Object(events)) => events.get(EVENT).is_some_and(Value::is_object),
        _ => false,
    };
    if !is_logout {
        return Err(TokenRefused::new("events", "the token does not tell of a logout (events)"));
    }
    if claims.contains_key("nonce") {
        return Err(TokenRefused::new("nonce", "a logout token has no nonce; this is another token"));
    }
    let jti = name(&claims, "jti")?.ok_or_else(|| TokenRefused::new("jti", "the token has no jti"))?;
    let (sub, sid) = (name(&claims, "sub")?, name(&claims, "sid")?);
    if sub.is_none() && sid.is_none() {
        return Err(TokenRefused::new("subject", "the token names neither a person nor a session"));
    }
    // Another server's clock may be behind ours by as much as a provider's may be ahead.
    let useless_from = issued.max(now.as_secs()).saturating_add(AGE_SECS_MAX + 2 * AHEAD_SECS_MAX + 1);
    Ok(LogoutToken { sub, sid, jti, useless_from: Timestamp::from_secs(useless_from) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: u64 = 1_800_000_000;

    fn provider() -> config::Provider {
        config::Provider {
            name: "corp".parse().unwrap(),
            title: "Corp".into(),
            issuer: "https://id.example".into(),
            client_id: "caponier".into(),
            client_secret: None,
            scopes: Vec::new(),
            algorithms: vec!["EdDSA".into(), "RS256".into()],
            claim_subject: "sub".into(),
            claim_display: Vec::new(),
            claim_groups: "groups".into(),
            refresh_token: config::RefreshToken::Auto,
        }
    }

    fn good() -> Value {
        json!({"iss": "https://id.example", "aud": "caponier", "iat": NOW, "exp": NOW + 120, "jti": "j-1",
               "sub": "42", "sid": "s-1", "events": {EVENT: {}}})
    }

    fn judge(claims: &Value) -> Result<LogoutToken, TokenRefused> {
        check(claims.to_string().as_bytes(), &provider(), Timestamp::from_secs(NOW))
    }

    #[test]
    fn a_good_one_names_person_or_session() {
        let token = judge(&good()).unwrap();
        assert_eq!((token.sub(), token.sid(), token.jti()), (Some("42"), Some("s-1"), "j-1"));
        // As long as it is remembered it is still believed nowhere, also by a clock a minute behind.
        let late = Timestamp::from_secs(token.useless_from().as_secs() - 60);
        assert!(check(good().to_string().as_bytes(), &provider(), late).is_err());
        for missing in ["sub", "sid", "exp"] {
            let mut claims = good();
            claims.as_object_mut().unwrap().remove(missing);
            judge(&claims).unwrap_or_else(|why| panic!("without {missing}: {why}"));
        }
    }

    #[test]
    fn each_claim_is_checked() {
        let rows = [
            ("iss", json!("https://id.example/"), "issuer"),
            ("iss", json!(null), "issuer"),
            ("aud", json!("other"), "audience"),
            ("aud", json!(["caponier", "other"]), "audience"),
            ("aud", json!(["caponier", "caponier"]), "audience"),
            ("aud", json!([]), "audience"),
            ("exp", json!(NOW), "expired"),
            ("exp", json!("soon"), "shape"),
            ("iat", json!(NOW - 301), "age"),
            ("iat", json!(NOW + 61), "age"),
            ("iat", json!(NOW.to_string()), "shape"),
            ("nbf", json!(NOW + 61), "age"),
            ("jti", json!(""), "subject"),
            ("jti", json!(7), "subject"),
            ("jti", json!("x".repeat(256)), "subject"),
            ("nonce", json!("n"), "nonce"),
            ("nonce", json!(null), "nonce"),
            ("events", json!(null), "events"),
            ("events", json!({}), "events"),
            ("events", json!([EVENT]), "events"),
            ("events", json!(EVENT), "events"),
            ("events", json!({EVENT: true}), "events"),
            ("events", json!({EVENT: null}), "events"),
            ("events", json!({"http://schemas.openid.net/event/other": {}}), "events"),
            ("sub", json!(42), "subject"),
            ("sub", json!(""), "subject"),
            ("sid", json!(["s-1"]), "subject"),
        ];
        for (name, value, code) in rows {
            let mut claims = good();
            claims[name] = value.clone();
            let refused = judge(&claims).expect_err(&format!("{name} = {value}"));
            assert_eq!(refused.code, code, "{name} = {value}: {refused}");
        }
        for missing in [&["iss"][..], &["aud"], &["iat"], &["jti"], &["events"], &["sub", "sid"]] {
            let mut claims = good();
            missing.iter().for_each(|name| drop(claims.as_object_mut().unwrap().remove(*name)));
            assert!(judge(&claims).is_err(), "without {missing:?}");
        }
        let twice = good().to_string().replacen('{', r#"{"sub":"root","#, 1);
        assert_eq!(
            check(twice.as_bytes(), &provider(), Timestamp::from_secs(NOW)).unwrap_err().code,
            "shape"
        );
    }

    #[test]
    fn headers() {
        let rows = [
            (json!({"alg": "EdDSA"}), None),
            (json!({"alg": "EdDSA", "typ": "logout+jwt", "kid": "k"}), None),
            (json!({"alg": "RS256", "typ": "application/Logout+JWT"}), None),
            (json!({"alg": "none"}), Some("signature")),
            (json!({"alg": "HS256"}), Some("signature")),
            (json!({"alg": "ES256"}), Some("signature")),
            (json!({"alg": 1}), Some("signature")),
            (json!({}), Some("signature")),
            (json!({"alg": "EdDSA", "typ": "JWT"}), Some("type")),
            (json!({"alg": "EdDSA", "typ": "at+jwt"}), Some("type")),
            (json!({"alg": "EdDSA", "typ": 7}), Some("type")),
            (json!({"alg": "EdDSA", "crit": ["exp"]}), Some("type")),
            (json!({"alg": "EdDSA", "kid": 7}), Some("shape")),
            (json!(["EdDSA"]), Some("shape")),
        ];
        for (header, expect) in rows {
            let judged = check_header(header.to_string().as_bytes(), &provider());
            assert_eq!(judged.err().map(|refused| refused.code), expect, "{header}");
        }
    }
}
