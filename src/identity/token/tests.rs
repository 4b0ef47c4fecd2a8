//! What a token must be, row by row.

use serde_json::json;

use super::*;
use crate::config::Keys;
use crate::platform::Platform;

const NOW: u64 = 1_800_000_000;
const KEY: &str = "11c1dfd0a1d6a4d2c1e1f4ad0d3a2c1b11c1dfd0a1d6a4d2c1e1f4ad0d3a2c1b";

fn issuer(platform: Platform, bind: Bind) -> Issuer {
    Issuer {
        name: "ci".parse().unwrap(),
        platform,
        issuer: "https://ci.example".into(),
        audience: "https://b.example".into(),
        bind,
        algorithms: vec!["RS256".into()],
        age_max: std::time::Duration::from_secs(300),
        run_max: std::time::Duration::from_secs(3600),
        keys: Keys::Discovery,
        webhook_secret: None,
        generic: None,
    }
}

fn github() -> Issuer {
    issuer(Platform::GitHub, Bind::Audience)
}

fn good() -> Value {
    json!({"iss": "https://ci.example", "aud": format!("https://b.example?ssh-key-sha256={KEY}"), "iat": NOW,
           "nbf": NOW - 5, "exp": NOW + 300, "jti": "j-1"})
}

fn token(header: &Value, claims: &str) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{}", part(&header.to_string()), part(claims), part("signature"))
}

fn header() -> Value {
    json!({"alg": "RS256", "kid": "k1", "typ": "JWT"})
}

fn judge(claims: &Value, issuer: &Issuer) -> Result<WorkloadToken, TokenRefused> {
    let token = token(&header(), &claims.to_string());
    let opened = open(&token)?;
    check_algorithm(&opened, issuer)?;
    check(opened, issuer, KEY, Timestamp::from_secs(NOW))
}

#[test]
fn a_good_one() {
    let judged = judge(&good(), &github()).unwrap();
    assert_eq!(judged.id(), "jti:j-1");
    assert_eq!(judged.useless_from(), Timestamp::from_secs(NOW + 300 + 121));
    // As long as it is remembered it is believed nowhere any more, also by a clock a minute behind.
    let text = token(&header(), &good().to_string());
    let late = Timestamp::from_secs(judged.useless_from().as_secs() - 60);
    assert!(check(open(&text).unwrap(), &github(), KEY, late).is_err());
    let mut long = good();
    long["exp"] = json!(NOW + 86_400);
    assert_eq!(
        judge(&long, &github()).unwrap().useless_from(),
        Timestamp::from_secs(NOW + 421),
        "age counts"
    );
}

#[test]
fn each_claim_is_checked() {
    let ours = "https://b.example";
    let rows = [
        ("iss", json!("https://ci.example/"), "issuer"),
        ("iss", json!("https://CI.example"), "issuer"),
        ("iss", json!(null), "issuer"),
        ("iss", json!(["https://ci.example"]), "issuer"),
        ("aud", json!(ours), "audience"),
        ("aud", json!("https://other.example"), "audience"),
        ("aud", json!(format!("{ours}/?ssh-key-sha256={KEY}")), "audience"),
        ("aud", json!(format!("{ours}.evil.example?ssh-key-sha256={KEY}")), "audience"),
        ("aud", json!(format!("{ours}?ssh-key-sha256={}", "0".repeat(64))), "other-key"),
        ("aud", json!(format!("{ours}?ssh-key-sha256={KEY}&x=1")), "other-key"),
        ("aud", json!(format!("{ours}?x=1&ssh-key-sha256={KEY}")), "audience"),
        ("aud", json!(format!("{ours}?ssh-key-sha256={}", KEY.to_uppercase())), "other-key"),
        ("aud", json!([format!("{ours}?ssh-key-sha256={KEY}"), "https://other.example"]), "audience"),
        ("aud", json!([]), "audience"),
        ("aud", json!(7), "shape"),
        ("aud", json!([7]), "audience"),
        ("exp", json!(NOW), "expired"),
        ("exp", json!(NOW - 100), "expired"),
        ("exp", json!((NOW + 300).to_string()), "shape"),
        ("exp", json!(1.8e9), "shape"),
        ("exp", json!(-1), "shape"),
        ("exp", json!(null), "shape"),
        ("iat", json!(NOW - 301), "age"),
        ("iat", json!(NOW + 61), "age"),
        ("iat", json!(NOW.to_string()), "shape"),
        ("iat", json!(true), "shape"),
        ("nbf", json!(NOW + 61), "age"),
        ("nbf", json!("now"), "shape"),
        ("jti", json!(""), "jti"),
        ("jti", json!(7), "jti"),
        ("jti", json!("j\u{0}1"), "jti"),
        ("jti", json!(null), "jti"),
        ("jti", json!("x".repeat(256)), "jti"),
    ];
    for (name, value, code) in rows {
        let mut claims = good();
        claims[name] = value.clone();
        let refused = judge(&claims, &github()).expect_err(&format!("{name} = {value}"));
        assert_eq!(refused.code, code, "{name} = {value}: {refused}");
    }
    for (missing, code) in
        [("iss", "issuer"), ("aud", "audience"), ("exp", "shape"), ("iat", "shape"), ("jti", "jti")]
    {
        let mut claims = good();
        claims.as_object_mut().unwrap().remove(missing);
        assert_eq!(judge(&claims, &github()).unwrap_err().code, code, "without {missing}");
    }
}

#[test]
fn where_the_audience_is_fixed_it_carries_no_key() {
    let gitlab = issuer(Platform::GitLab, Bind::Signature);
    let mut claims = good();
    assert_eq!(judge(&claims, &gitlab).unwrap_err().code, "audience");
    claims["aud"] = json!("https://b.example");
    assert_eq!(judge(&claims, &gitlab).unwrap().id(), "jti:j-1");
    claims.as_object_mut().unwrap().remove("jti");
    assert_eq!(judge(&claims, &gitlab).unwrap_err().code, "jti");
    let circle = issuer(Platform::CircleCi, Bind::Signature);
    let id = judge(&claims, &circle).unwrap().id().to_owned();
    assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
    claims["sub"] = json!("x");
    assert_ne!(judge(&claims, &circle).unwrap().id(), id);
}

#[test]
fn headers_and_shapes() {
    let claims = good().to_string();
    for (header, code) in [
        (json!({"alg": "none", "kid": "k"}), "algorithm"),
        (json!({"alg": "None", "kid": "k"}), "algorithm"),
        (json!({"alg": "HS256", "kid": "k"}), "algorithm"),
        (json!({"alg": "ES256", "kid": "k"}), "algorithm"),
        (json!({"alg": "rs256", "kid": "k"}), "algorithm"),
        (json!({"alg": 1, "kid": "k"}), "algorithm"),
        (json!({"kid": "k"}), "algorithm"),
        (json!({"alg": "RS256"}), "signature"),
        (json!({"alg": "RS256", "kid": ""}), "signature"),
        (json!({"alg": "RS256", "kid": 7}), "signature"),
        (json!({"alg": "RS256", "kid": "k", "crit": ["b64"], "b64": false}), "shape"),
        (json!({"alg": "RS256", "kid": "k", "zip": "DEF"}), "shape"),
        (json!({"alg": "RS256", "kid": "k", "typ": "logout+jwt"}), "shape"),
        (json!({"alg": "RS256", "kid": "k", "typ": "at+jwt"}), "shape"),
        (json!(["RS256"]), "shape"),
    ] {
        let token = token(&header, &claims);
        let judged = open(&token).and_then(|opened| check_algorithm(&opened, &github()));
        assert_eq!(judged.unwrap_err().code, code, "{header}");
    }
    let good = token(&header(), &claims);
    assert!(open(&good).is_ok());
    let twice = token(&header(), &claims.replacen('{', r#"{"iss":"https://evil.example","#, 1));
    for bad in [
        String::new(),
        ".".repeat(10_000),
        format!("{good}."),
        good.replacen('.', "", 1),
        format!("{good}="),
        format!("{good} "),
        good.replace('.', ". "),
        format!("{good}{}", "A".repeat(BYTES_MAX)),
        token(&json!({}), "not json"),
        token(&header(), "[]"),
        token(&header(), "\u{feff}{}"),
        twice,
    ] {
        assert!(open(&bad).is_err(), "{:.80}", bad);
    }
}
