//! For whom a token is, as it says itself (RFC 7519 section 4.1.3). Its signature is not looked at: whether the token is believed
//! is the server's to judge; here it is only decided to whom it may be shown at all. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::cli::terminal::plain;

/// What a token says about its audience.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Audience {
    /// Exactly this one.
    One(String),
    /// None, several, or something that is no text; in words.
    Other(String),
}

/// Reads it; none where the text is no signed token in the compact form. Whoever calls has bounded its length.
pub(super) fn of(token: &str) -> Option<Audience> {
    let parts: Vec<&str> = token.splitn(4, '.').collect();
    let &[header, payload, signature] = parts.as_slice() else { return None };
    if header.is_empty() || signature.is_empty() {
        return None;
    }
    let payload = Zeroizing::new(URL_SAFE_NO_PAD.decode(payload).ok()?);
    let Value::Object(claims) = serde_json::from_slice(&payload).ok()? else { return None };
    Some(match claims.get("aud") {
        Some(Value::String(one)) => Audience::One(one.clone()),
        Some(Value::Array(several)) => match several.as_slice() {
            [Value::String(one)] => Audience::One(one.clone()),
            [] => Audience::Other("nobody".to_owned()),
            several => Audience::Other(shown(several)),
        },
        None => Audience::Other("nobody in particular".to_owned()),
        Some(_) => Audience::Other("something that cannot be read".to_owned()),
    })
}

fn shown(several: &[Value]) -> String {
    let one = |value: &Value| {
        value.as_str().map_or_else(|| "?".to_owned(), |text| format!("{:?}", plain(text, 200)))
    };
    several.iter().take(4).map(one).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(payload: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn only_a_single_text_is_an_audience() {
        let one = || Some(Audience::One("https://b.example".into()));
        let other = |text: &str| Some(Audience::Other(text.into()));
        for (payload, expect) in [
            (r#"{"aud":"https://b.example"}"#, one()),
            (r#"{"aud":["https://b.example"]}"#, one()),
            (
                r#"{"aud":["https://b.example","https://c.example"]}"#,
                other(r#""https://b.example" and "https://c.example""#),
            ),
            (
                r#"{"aud":["https://b.example","https://b.example"]}"#,
                other(r#""https://b.example" and "https://b.example""#),
            ),
            (r#"{"aud":["https://b.example",7]}"#, other(r#""https://b.example" and ?"#)),
            (r#"{"aud":[7]}"#, other("?")),
            (r#"{"aud":[]}"#, other("nobody")),
            (r#"{"aud":[["https://b.example"]]}"#, other("?")),
            (r#"{"aud":{"https://b.example":1}}"#, other("something that cannot be read")),
            (r#"{"aud":null}"#, other("something that cannot be read")),
            (r#"{"AUD":"https://b.example"}"#, other("nobody in particular")),
            (r#"["aud"]"#, None),
            (r#"{"aud":"https://b.example"} "#, one()),
            (r#"{"aud":"https://b.example"}{}"#, None),
            ("", None),
        ] {
            assert_eq!(of(&token(payload)), expect, "{payload}");
        }
    }

    #[test]
    fn what_is_no_signed_token_has_no_audience() {
        let payload = URL_SAFE_NO_PAD.encode(r#"{"aud":"https://b.example"}"#);
        assert!(of(&format!("e30.{payload}.c2ln")).is_some());
        for bad in [
            payload.clone(),
            format!("e30.{payload}"),
            format!("e30.{payload}."),
            format!(".{payload}.c2ln"),
            format!("e30.{payload}.c2ln.more"),
            format!("e30.{payload}=.c2ln"),
            "a.b.c".to_owned(),
            "glpat-0123456789".to_owned(),
            "..".to_owned(),
            String::new(),
        ] {
            assert_eq!(of(&bad), None, "{bad}");
        }
    }
}
