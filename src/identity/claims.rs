//! What an ID token may say, and who it is then: strict checks of the claims and their mapping to an [`Identity`].
//! Pure: the signature is `oidc`'s matter and was checked before; what the person may do is the policy's.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::{Identity, Kind};
use crate::config;
use crate::names::GroupName;
use crate::plain::is_hidden;
use crate::time::Timestamp;

/// Longest ID token that is looked at, in bytes; checked before anything parses it.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Oldest `iat`, in seconds: the token was just made for us, so minutes are generous.
const AGE_SECS_MAX: u64 = 600;
/// How far a provider's clock may run ahead of ours, in seconds.
pub(super) const AHEAD_SECS_MAX: u64 = 60;
const SUBJECT_BYTES_MAX: usize = 255;
const DISPLAY_BYTES_MAX: usize = 128;
const GROUPS_MAX: usize = 2000;

/// Why a token is refused. The text is for the audit and for people; it never quotes the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct TokenRefused {
    /// `shape`, `signature`, `issuer`, `audience`, `expired`, `age`, `nonce`, `subject`, `groups`.
    pub code: &'static str,
    /// The sentence.
    pub reason: String,
}

impl TokenRefused {
    pub(crate) fn new(code: &'static str, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }
}

/// Proof: a configured provider said this to us, now, for the very attempt that asked. Made by `check` only.
#[derive(Clone, Debug)]
pub struct VerifiedToken {
    identity: Identity,
    session: Session,
}

/// The provider's own names for a person and their session there. `sub` is also there when another claim is our key for
/// the person: checks and logouts speak of `sub`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// `sub`
    pub sub: String,
    /// `sid` (OpenID Connect Front-Channel Logout section 3), where the provider says it.
    pub sid: Option<String>,
}

/// What the nonce of an ID token must be.
#[derive(Clone, Copy, Debug)]
pub(super) enum NonceRule<'a> {
    /// This one: the token answers an attempt of ours.
    Exactly(&'a str),
    /// None, or the one with this SHA-256 (hex): the token came with a refresh (OpenID Connect Core section 12.2).
    AbsentOrHash(&'a str),
}

impl NonceRule<'_> {
    /// Whether a token with this nonce fits.
    pub(super) fn fits(self, nonce: Option<&str>) -> bool {
        match (self, nonce) {
            (Self::Exactly(wanted), Some(nonce)) => nonce == wanted,
            (Self::AbsentOrHash(wanted), Some(nonce)) => nonce_hash(nonce) == wanted,
            (Self::AbsentOrHash(_), None) => true,
            (Self::Exactly(_), None) => false,
        }
    }
}

/// What is kept of a nonce.
pub fn nonce_hash(nonce: &str) -> String {
    use sha2::{Digest as _, Sha256};
    Sha256::digest(nonce).iter().map(|b| format!("{b:02x}")).collect()
}

impl VerifiedToken {
    /// Who the token is about.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The provider's own names for them.
    pub fn session(&self) -> &Session {
        &self.session
    }
}

/// Refuses, before any parsing, what is not the size and shape of a signed token (RFC 7515 compact form).
pub fn check_shape(token: &str) -> Result<(), TokenRefused> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenRefused::new("shape", format!("the ID token is over {TOKEN_BYTES_MAX} bytes")));
    }
    if token.bytes().filter(|b| *b == b'.').count() != 2 {
        return Err(TokenRefused::new("shape", "the ID token is not of the form header.payload.signature"));
    }
    Ok(())
}

/// Judges the payload of a token whose signature holds, and maps it.
pub(super) fn check(
    payload: &[u8],
    provider: &config::Provider,
    nonce: NonceRule<'_>,
    now: Timestamp,
) -> Result<VerifiedToken, TokenRefused> {
    let claims = object(payload)?;
    if text(&claims, "iss", "issuer")? != provider.issuer {
        return Err(TokenRefused::new("issuer", "the ID token was issued by somebody else"));
    }
    check_audience(&claims, &provider.client_id)?;
    check_times(&claims, now)?;
    let said = claims.contains_key("nonce").then(|| text(&claims, "nonce", "nonce")).transpose()?;
    if !nonce.fits(said) {
        return Err(TokenRefused::new("nonce", "the ID token belongs to another sign-in attempt"));
    }
    // Our key for the person first: what is wrong with it has the better words.
    let identity = map(&claims, provider)?;
    let session = Session {
        sub: name(&claims, "sub")?.ok_or_else(|| TokenRefused::new("subject", "the ID token has no sub"))?,
        sid: name(&claims, "sid")?,
    };
    Ok(VerifiedToken { identity, session })
}

/// Judges what the UserInfo endpoint says (OpenID Connect Core section 5.3.2), fetched for the person `sub`.
pub(super) fn check_user_info(
    body: &[u8],
    provider: &config::Provider,
    sub: &str,
) -> Result<Identity, TokenRefused> {
    let claims = object(body)?;
    if text(&claims, "sub", "subject")? != sub {
        return Err(TokenRefused::new("subject", "UserInfo is about somebody else"));
    }
    map(&claims, provider)
}

/// The claims of a payload, no name twice.
pub(super) fn object(payload: &[u8]) -> Result<Map<String, Value>, TokenRefused> {
    let Claims(claims) = serde_json::from_slice(payload)
        .map_err(|e| TokenRefused::new("shape", format!("the token's claims: {e}")))?;
    Ok(claims)
}

/// A provider's name for a person or session: text of 1 to 255 bytes, if the claim is there.
pub(super) fn name(claims: &Map<String, Value>, claim: &str) -> Result<Option<String>, TokenRefused> {
    match claims.get(claim) {
        None => Ok(None),
        Some(Value::String(text))
            if (1..=SUBJECT_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control) =>
        {
            Ok(Some(text.clone()))
        }
        Some(_) => {
            Err(TokenRefused::new("subject", format!("the claim {claim:?} is empty, too long or not text")))
        }
    }
}

/// Whether `aud` is this client and nobody else.
pub(super) fn check_audience(claims: &Map<String, Value>, client_id: &str) -> Result<(), TokenRefused> {
    let refused = || TokenRefused::new("audience", "the token is not for this server alone (aud)");
    let ours = match claims.get("aud") {
        Some(Value::String(one)) => one == client_id,
        Some(Value::Array(list)) => matches!(list.as_slice(), [Value::String(one)] if one == client_id),
        _ => false,
    };
    if !ours {
        return Err(refused());
    }
    match claims.get("azp") {
        None => Ok(()),
        Some(Value::String(azp)) if azp == client_id => Ok(()),
        Some(_) => Err(TokenRefused::new("audience", "the token was asked for by another client (azp)")),
    }
}

fn check_times(claims: &Map<String, Value>, now: Timestamp) -> Result<(), TokenRefused> {
    if seconds(claims, "exp")? <= now.as_secs() {
        return Err(TokenRefused::new("expired", "the ID token has expired"));
    }
    check_age(claims, AGE_SECS_MAX, now)?;
    Ok(())
}

/// `iat` and `nbf`: whole seconds, not in the future, and `iat` at most `age_secs_max` ago. Answers `iat`.
pub(super) fn check_age(
    claims: &Map<String, Value>,
    age_secs_max: u64,
    now: Timestamp,
) -> Result<u64, TokenRefused> {
    let now = now.as_secs();
    let issued = seconds(claims, "iat")?;
    if issued > now.saturating_add(AHEAD_SECS_MAX) {
        return Err(TokenRefused::new("age", "the token was issued in the future: compare the clocks"));
    }
    if issued.saturating_add(age_secs_max) < now {
        return Err(TokenRefused::new("age", "the token was issued too long ago"));
    }
    if claims.contains_key("nbf") && seconds(claims, "nbf")? > now.saturating_add(AHEAD_SECS_MAX) {
        return Err(TokenRefused::new("age", "the token is not valid yet"));
    }
    Ok(issued)
}

fn map(claims: &Map<String, Value>, provider: &config::Provider) -> Result<Identity, TokenRefused> {
    let subject = text(claims, &provider.claim_subject, "subject")?;
    if subject.is_empty() || subject.len() > SUBJECT_BYTES_MAX || subject.chars().any(char::is_control) {
        return Err(TokenRefused::new("subject", "the subject is empty, too long or not text"));
    }
    // An address that the provider has not verified can be anybody's.
    if provider.claim_subject == "email" && claims.get("email_verified") != Some(&Value::Bool(true)) {
        return Err(TokenRefused::new("subject", "the provider has not verified the e-mail address"));
    }
    let display = provider
        .claim_display
        .iter()
        .filter_map(|name| claims.get(name)?.as_str())
        .map(|said| label(said, DISPLAY_BYTES_MAX))
        .find(|shown| !shown.is_empty())
        .unwrap_or_else(|| label(subject, DISPLAY_BYTES_MAX));
    Ok(Identity {
        kind: Kind::Person,
        provider: provider.name.clone(),
        issuer: provider.issuer.clone(),
        subject: subject.to_owned(),
        display,
        groups: groups(claims, provider)?,
        run: None,
    })
}

fn groups(
    claims: &Map<String, Value>,
    provider: &config::Provider,
) -> Result<BTreeSet<GroupName>, TokenRefused> {
    let claim = &provider.claim_groups;
    let list = match claims.get(claim) {
        None => return Ok(BTreeSet::new()),
        Some(Value::Array(list)) if list.len() <= GROUPS_MAX => list,
        Some(_) => {
            return Err(TokenRefused::new(
                "groups",
                format!("the claim {claim:?} is not a list of group names"),
            ));
        }
    };
    list.iter()
        .map(|group| {
            let name = group.as_str().ok_or("not text").map_err(|e| e.to_owned());
            name.and_then(|name| GroupName::new(provider.name.clone(), name).map_err(|bad| bad.to_string()))
                .map_err(|why| TokenRefused::new("groups", format!("the claim {claim:?}: {why}")))
        })
        .collect()
}

/// `said` as a label: without control, bidirectional and invisible characters, blanks joined, at most `bytes_max`
/// bytes. For names that come from outside and are shown to people.
pub fn label(said: &str, bytes_max: usize) -> String {
    let mut shown = String::new();
    for c in said.chars() {
        let c = if c.is_whitespace() { ' ' } else { c };
        let double_blank = c == ' ' && (shown.is_empty() || shown.ends_with(' '));
        if is_hidden(c) || double_blank {
            continue;
        }
        if shown.len() + c.len_utf8() > bytes_max {
            break;
        }
        shown.push(c);
    }
    shown.truncate(shown.trim_end().len());
    shown
}

/// A claim that must be there and be text.
pub(super) fn text<'a>(
    claims: &'a Map<String, Value>,
    name: &str,
    code: &'static str,
) -> Result<&'a str, TokenRefused> {
    claims
        .get(name)
        .and_then(Value::as_str)
        .ok_or_else(|| TokenRefused::new(code, format!("the token has no text claim {name:?}")))
}

/// A time as whole seconds. Another type is not "absent": it refuses the token.
pub(super) fn seconds(claims: &Map<String, Value>, name: &str) -> Result<u64, TokenRefused> {
    claims
        .get(name)
        .and_then(Value::as_u64)
        .ok_or_else(|| TokenRefused::new("shape", format!("the token has no whole number {name:?}")))
}

/// A JSON object without repeated names, so that two readers cannot understand it differently.
struct Claims(Map<String, Value>);

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Claims;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of claims")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Claims, A::Error> {
                let mut claims = Map::new();
                while let Some((name, value)) = entries.next_entry::<String, Value>()? {
                    if claims.insert(name, value).is_some() {
                        return Err(A::Error::custom("a claim stands twice"));
                    }
                }
                Ok(Claims(claims))
            }
        }
        deserializer.deserialize_map(Each)
    }
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
            algorithms: vec!["EdDSA".into()],
            claim_subject: "sub".into(),
            claim_display: vec!["name".into(), "email".into()],
            claim_groups: "groups".into(),
            refresh_token: config::RefreshToken::Auto,
        }
    }

    fn good() -> Value {
        json!({"iss": "https://id.example", "aud": "caponier", "sub": "42", "exp": NOW + 300, "iat": NOW,
               "nonce": "n", "name": "Erin", "groups": ["ops", "dev"]})
    }

    fn judge(claims: &Value) -> Result<VerifiedToken, TokenRefused> {
        check(claims.to_string().as_bytes(), &provider(), NonceRule::Exactly("n"), Timestamp::from_secs(NOW))
    }

    #[test]
    fn a_good_token_names_somebody() {
        let token = judge(&good()).unwrap();
        let who = token.identity();
        assert_eq!(who.reference(), "corp:42");
        assert_eq!(who.display, "Erin");
        let groups: Vec<_> = who.groups.iter().map(ToString::to_string).collect();
        assert_eq!(groups, ["corp:dev", "corp:ops"]);
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
            ("azp", json!("other"), "audience"),
            ("azp", json!(1), "audience"),
            ("exp", json!(NOW), "expired"),
            ("exp", json!((NOW + 300).to_string()), "shape"),
            ("exp", json!(null), "shape"),
            ("exp", json!(-1), "shape"),
            ("iat", json!(NOW + 61), "age"),
            ("iat", json!(NOW - 601), "age"),
            ("iat", json!(true), "shape"),
            ("nbf", json!(NOW + 61), "age"),
            ("nbf", json!("soon"), "shape"),
            ("nonce", json!("m"), "nonce"),
            ("nonce", json!(null), "nonce"),
            ("sub", json!(42), "subject"),
            ("sub", json!(""), "subject"),
            ("sub", json!("a\nb"), "subject"),
            ("sub", json!("x".repeat(256)), "subject"),
            ("sid", json!(7), "subject"),
            ("sid", json!(""), "subject"),
            ("groups", json!("ops"), "groups"),
            ("groups", json!(null), "groups"),
            ("groups", json!({"ops": true}), "groups"),
            ("groups", json!(["ops", 1]), "groups"),
            ("groups", json!([""]), "groups"),
            ("groups", json!(["a\u{7}"]), "groups"),
        ];
        for (name, value, code) in rows {
            let mut claims = good();
            claims[name] = value.clone();
            let refused = judge(&claims).expect_err(&format!("{name} = {value}"));
            assert_eq!(refused.code, code, "{name} = {value}: {refused}");
        }
        for name in ["iss", "aud", "exp", "iat", "nonce", "sub"] {
            let mut claims = good();
            claims.as_object_mut().unwrap().remove(name);
            assert!(judge(&claims).is_err(), "without {name}");
        }
    }

    #[test]
    fn a_refreshed_token_repeats_the_nonce_or_has_none() {
        let now = Timestamp::from_secs(NOW);
        let hash = nonce_hash("n");
        let rule = NonceRule::AbsentOrHash(&hash);
        for (nonce, ok) in
            [(Some(json!("n")), true), (None, true), (Some(json!("m")), false), (Some(json!(1)), false)]
        {
            let mut claims = good();
            match nonce {
                Some(nonce) => claims["nonce"] = nonce,
                None => drop(claims.as_object_mut().unwrap().remove("nonce")),
            }
            assert_eq!(check(claims.to_string().as_bytes(), &provider(), rule, now).is_ok(), ok, "{claims}");
        }
        let mut other_key = provider();
        other_key.claim_subject = "oid".into();
        let mut claims = good();
        claims["oid"] = json!("of-ours");
        claims["sid"] = json!("s-1");
        let token = check(claims.to_string().as_bytes(), &other_key, rule, now).unwrap();
        assert_eq!(token.identity().subject, "of-ours");
        assert_eq!(token.session(), &Session { sub: "42".into(), sid: Some("s-1".into()) });
    }

    #[test]
    fn user_info_must_be_about_the_same_person() {
        let ask = |claims: Value| check_user_info(claims.to_string().as_bytes(), &provider(), "42");
        let who = ask(json!({"sub": "42", "groups": ["dev"]})).unwrap();
        assert_eq!(who.groups.iter().map(ToString::to_string).collect::<Vec<_>>(), ["corp:dev"]);
        for wrong in [
            json!({"sub": "43"}),
            json!({}),
            json!({"sub": 42}),
            json!([]),
            json!({"sub": "42", "groups": 1}),
        ] {
            assert!(ask(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn missing_groups_are_none_and_a_single_audience_may_stand_in_a_list() {
        let mut claims = good();
        claims.as_object_mut().unwrap().remove("groups");
        claims["aud"] = json!(["caponier"]);
        assert!(judge(&claims).unwrap().identity().groups.is_empty());
    }

    #[test]
    fn a_claim_that_stands_twice_is_refused() {
        let twice = good().to_string().replacen('{', r#"{"sub":"root","#, 1);
        let now = Timestamp::from_secs(NOW);
        assert_eq!(
            check(twice.as_bytes(), &provider(), NonceRule::Exactly("n"), now).unwrap_err().code,
            "shape"
        );
    }

    #[test]
    fn an_unverified_address_is_nobody() {
        let mut provider = provider();
        provider.claim_subject = "email".into();
        for (verified, ok) in [(json!(true), true), (json!(false), false), (json!("true"), false)] {
            let mut claims = good();
            claims["email"] = json!("erin@example.com");
            claims["email_verified"] = verified;
            let now = Timestamp::from_secs(NOW);
            let nonce = NonceRule::Exactly("n");
            assert_eq!(check(claims.to_string().as_bytes(), &provider, nonce, now).is_ok(), ok);
        }
    }

    #[test]
    fn labels_show_what_they_are() {
        for (said, shown) in [
            ("Erin  Engineer\n", "Erin Engineer"),
            ("a\u{202e}b\u{200b}c\u{e0041}", "abc"),
            ("\u{1b}[31mred", "[31mred"),
            ("\u{3164}\u{feff} ", ""),
            ("Zoë 🦀", "Zoë 🦀"),
        ] {
            assert_eq!(label(said, 64), shown, "{said:?}");
        }
        assert_eq!(label("éé", 3), "é");
        let mut claims = good();
        claims["name"] = json!("\u{202e}");
        claims["email"] = json!("erin@example.com");
        assert_eq!(judge(&claims).unwrap().identity().display, "erin@example.com");
    }

    #[test]
    fn the_shape_is_checked_before_parsing() {
        assert!(check_shape("a.b.c").is_ok());
        for bad in ["", "a.b", "a.b.c.d", &".".repeat(9000), &format!("a.{}.c", "b".repeat(TOKEN_BYTES_MAX))]
        {
            assert_eq!(check_shape(bad).unwrap_err().code, "shape");
        }
    }
}
