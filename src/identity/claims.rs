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
const AHEAD_SECS_MAX: u64 = 60;
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
    pub(super) fn new(code: &'static str, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }
}

/// Proof: a configured provider said this to us, now, for the very attempt that asked. Made by `check` only.
#[derive(Clone, Debug)]
pub struct VerifiedToken {
    identity: Identity,
}

impl VerifiedToken {
    /// Who the token is about.
    pub fn identity(&self) -> &Identity {
        &self.identity
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

/// Judges the payload of a token whose signature holds, and maps it. `nonce` is the one of the attempt.
pub(super) fn check(
    payload: &[u8],
    provider: &config::Provider,
    nonce: &str,
    now: Timestamp,
) -> Result<VerifiedToken, TokenRefused> {
    let Claims(claims) = serde_json::from_slice(payload)
        .map_err(|e| TokenRefused::new("shape", format!("the ID token's claims: {e}")))?;
    if text(&claims, "iss", "issuer")? != provider.issuer {
        return Err(TokenRefused::new("issuer", "the ID token was issued by somebody else"));
    }
    check_audience(&claims, &provider.client_id)?;
    check_times(&claims, now)?;
    if text(&claims, "nonce", "nonce")? != nonce {
        return Err(TokenRefused::new("nonce", "the ID token belongs to another sign-in attempt"));
    }
    Ok(VerifiedToken { identity: map(&claims, provider)? })
}

fn check_audience(claims: &Map<String, Value>, client_id: &str) -> Result<(), TokenRefused> {
    let refused = || TokenRefused::new("audience", "the ID token is not for this server alone (aud)");
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
        Some(_) => Err(TokenRefused::new("audience", "the ID token was asked for by another client (azp)")),
    }
}

fn check_times(claims: &Map<String, Value>, now: Timestamp) -> Result<(), TokenRefused> {
    let now = now.as_secs();
    if seconds(claims, "exp")? <= now {
        return Err(TokenRefused::new("expired", "the ID token has expired"));
    }
    let issued = seconds(claims, "iat")?;
    if issued > now.saturating_add(AHEAD_SECS_MAX) {
        return Err(TokenRefused::new("age", "the ID token was issued in the future: compare the clocks"));
    }
    if issued.saturating_add(AGE_SECS_MAX) < now {
        return Err(TokenRefused::new("age", "the ID token was issued too long ago"));
    }
    if claims.contains_key("nbf") && seconds(claims, "nbf")? > now.saturating_add(AHEAD_SECS_MAX) {
        return Err(TokenRefused::new("age", "the ID token is not valid yet"));
    }
    Ok(())
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

fn text<'a>(claims: &'a Map<String, Value>, name: &str, code: &'static str) -> Result<&'a str, TokenRefused> {
    claims
        .get(name)
        .and_then(Value::as_str)
        .ok_or_else(|| TokenRefused::new(code, format!("the ID token has no text claim {name:?}")))
}

/// A time as whole seconds. Another type is not "absent": it refuses the token.
fn seconds(claims: &Map<String, Value>, name: &str) -> Result<u64, TokenRefused> {
    claims
        .get(name)
        .and_then(Value::as_u64)
        .ok_or_else(|| TokenRefused::new("shape", format!("the ID token has no whole number {name:?}")))
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
        }
    }

    fn good() -> Value {
        json!({"iss": "https://id.example", "aud": "caponier", "sub": "42", "exp": NOW + 300, "iat": NOW,
               "nonce": "n", "name": "Erin", "groups": ["ops", "dev"]})
    }

    fn judge(claims: &Value) -> Result<VerifiedToken, TokenRefused> {
        check(claims.to_string().as_bytes(), &provider(), "n", Timestamp::from_secs(NOW))
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
        assert_eq!(check(twice.as_bytes(), &provider(), "n", now).unwrap_err().code, "shape");
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
            assert_eq!(check(claims.to_string().as_bytes(), &provider, "n", now).is_ok(), ok);
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
