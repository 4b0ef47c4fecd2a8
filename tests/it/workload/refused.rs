//! Every wrong token with its own reason and its own audit entry.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};

use super::{Ci, NOW, exchange, without};

/// A change of the claims, and the code that it earns.
fn rows(ci: &Ci, audience: &str) -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("aud", json!("https://github.com/acme"), "audience"),
        ("aud", json!(ci.own()), "audience"),
        ("aud", json!([audience, "https://other.example"]), "audience"),
        ("aud", json!(format!("{}.evil.example?ssh-key-sha256={}", ci.own(), "0".repeat(64))), "audience"),
        ("aud", json!(format!("{}?ssh-key-sha256={}", ci.own(), "0".repeat(64))), "other-key"),
        ("aud", json!({ "a": 1 }), "shape"),
        ("iss", json!("https://token.actions.githubusercontent.com"), "issuer"),
        ("iss", json!(format!("{}/", ci.github.issuer)), "issuer"),
        ("iss", json!(7), "issuer"),
        ("exp", json!(NOW), "expired"),
        ("exp", json!(NOW - 3600), "expired"),
        ("exp", json!((NOW + 300).to_string()), "shape"),
        ("iat", json!(NOW - 301), "age"),
        ("iat", json!(NOW + 120), "age"),
        ("iat", json!("now"), "shape"),
        ("nbf", json!(NOW + 120), "age"),
        ("jti", json!(""), "jti"),
        ("jti", json!(42), "jti"),
        ("repository_id", json!("1234567"), "no-rule"),
        ("repository_id", json!("12345"), "no-rule"),
        ("repository_id", json!(123_456), "claim"),
        ("repository_id", json!(null), "claim"),
        ("repository_id", json!(["123456"]), "claim"),
        ("ref", json!("refs/heads/main2"), "no-rule"),
        ("ref", json!("refs/tags/main"), "no-rule"),
        ("ref", json!("main"), "no-rule"),
        ("ref", json!(true), "claim"),
        ("environment", json!("staging"), "no-rule"),
        ("environment", json!("production:x"), "no-rule"),
        ("event_name", json!("pull_request"), "event"),
        ("event_name", json!("pull_request_target"), "event"),
        ("event_name", json!("workflow_run"), "event"),
        ("event_name", json!("issue_comment"), "event"),
        ("head_ref", json!("evil"), "event"),
        ("run_id", json!({}), "claim"),
        ("sha", json!("x".repeat(9000)), "shape"),
    ]
}

#[tokio::test]
async fn each_wrong_claim_has_its_reason_and_its_entry() {
    let ci = Ci::start().await;
    let mut expected = Vec::new();
    let client = ci.site.client();
    let audience = ci.audience(&client);
    for (name, value, code) in rows(&ci, &audience) {
        let (status, answer) = ci.show(&client, &[(name, value.clone())]).await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (403, &json!(code)),
            "{name} = {value:.100}: {answer}"
        );
        expected.push(code);
    }
    for (name, code) in [
        ("aud", "audience"),
        ("iss", "issuer"),
        ("exp", "shape"),
        ("iat", "shape"),
        ("jti", "jti"),
        ("repository_id", "claim"),
        ("ref", "claim"),
        ("environment", "no-rule"),
        ("event_name", "claim"),
    ] {
        let token = ci.github.mint(&without(ci.claims(&client, &[]), name));
        let (status, answer) = exchange(&client, &token).await;
        assert_eq!((status, &answer["error"]["code"]), (403, &json!(code)), "without {name}: {answer}");
        expected.push(code);
    }
    let written = ci.refusals("workload-token").await;
    let codes: Vec<&str> = written.iter().map(|(code, _)| code.as_str()).collect();
    assert_eq!(codes, expected);
    assert!(written.iter().all(|(_, text)| !text.contains("eyJ")), "no token in the audit log");
    // Nothing of all that is left but the entries, and the right token still counts.
    assert!(ci.site.app.store.sign_ins(ci.clock.now()).await.unwrap().is_empty());
    assert_eq!(ci.show(&client, &[]).await.0, 200);
}

#[tokio::test]
async fn algorithms_and_shapes() {
    let ci = Ci::start().await;
    let client = ci.site.client();
    let claims = ci.claims(&client, &[]);
    let good = ci.github.mint(&claims);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    // The public key is known to everybody: whoever took it for a secret would believe anybody.
    let hmac = |key: &[u8], kid: &str| {
        let signed =
            format!("{}.{}", part(&json!({ "alg": "HS256", "typ": "JWT", "kid": kid })), part(&claims));
        let mac = Hmac::<sha2::Sha256>::new_from_slice(key).unwrap().chain_update(&signed);
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    };
    let jwks: Value = serde_json::from_str(&ci.github.jwks()).unwrap();
    let modulus = URL_SAFE_NO_PAD.decode(jwks["keys"][0]["n"].as_str().unwrap()).unwrap();
    let unsigned = format!("{}.{}.", part(&json!({ "alg": "none", "kid": "key-1" })), part(&claims));
    let mut flipped = URL_SAFE_NO_PAD.decode(signature).unwrap();
    flipped[100] ^= 1;
    let other = ci.gitlab.mint(&claims);
    let rows = [
        (unsigned, "algorithm"),
        (ci.github.mint_with(&json!({ "alg": "none", "kid": "key-1" }), &claims), "algorithm"),
        (ci.github.mint_with(&json!({ "alg": "NONE", "kid": "key-1" }), &claims), "algorithm"),
        (ci.github.mint_with(&json!({ "alg": "RS512", "kid": "key-1" }), &claims), "algorithm"),
        (ci.github.mint_with(&json!({ "alg": "ES256", "kid": "key-1" }), &claims), "algorithm"),
        (ci.github.mint_with(&json!({ "alg": ["RS256"], "kid": "key-1" }), &claims), "algorithm"),
        (hmac(&modulus, "key-1"), "algorithm"),
        (hmac(ci.github.jwks().as_bytes(), "key-1"), "algorithm"),
        (ci.github.mint_with(&json!({ "alg": "RS256" }), &claims), "signature"),
        (ci.github.mint_with(&json!({ "alg": "RS256", "kid": "key-2" }), &claims), "signature"),
        (ci.github.mint_with(&json!({ "alg": "RS256", "kid": "key-1", "crit": ["exp"] }), &claims), "shape"),
        (ci.github.mint_with(&json!({ "alg": "RS256", "kid": "key-1", "typ": "at+jwt" }), &claims), "shape"),
        (format!("{signed}.{}", URL_SAFE_NO_PAD.encode(&flipped)), "signature"),
        (format!("{signed}."), "signature"),
        (format!("{signed}.{signature}="), "shape"),
        (format!("{signed}.{signature}.{signature}"), "shape"),
        (".".repeat(10_000), "shape"),
        (format!("{good}{}", "A".repeat(12_300)), "shape"),
        ("not a token".to_owned(), "shape"),
        (String::new(), "shape"),
        // Signed by somebody whom we believe too, for other things.
        (other, "signature"),
    ];
    let mut expected = Vec::new();
    for (token, code) in rows {
        let (status, answer) = exchange(&client, &token).await;
        assert_eq!((status, &answer["error"]["code"]), (403, &json!(code)), "{token:.60}: {answer}");
        expected.push(code);
    }
    let written = ci.refusals("workload-token").await;
    assert_eq!(written.iter().map(|(code, _)| code.as_str()).collect::<Vec<_>>(), expected);
    // A body that is longer than anything we read is not even parsed.
    let (status, _) = exchange(&client, &"A".repeat(60_000)).await;
    assert_eq!(status, 413);
    assert_eq!(exchange(&client, &good).await.0, 200);
}

#[tokio::test]
async fn a_stolen_token_fits_no_other_key() {
    let ci = Ci::start().await;
    let (job, thief) = (ci.site.client(), ci.site.client());
    let token = ci.github.mint(&ci.claims(&job, &[]));
    let (status, answer) = exchange(&thief, &token).await;
    assert_eq!((status, &answer["error"]["code"]), (403, &json!("other-key")));
    // Nor does the thief's request go through with the job's key in its header.
    let body = json!({ "token": token }).to_string();
    let mut headers = thief.headers("POST", "/v1/certificates", &body);
    headers[0].1 = job.headers("POST", "/v1/certificates", &body)[0].1.clone();
    let (status, answer) = thief.send("POST", "/v1/certificates", &body, &headers).await;
    assert_eq!((status.as_u16(), &answer["error"]["code"]), (401, &json!("bad-signature")));
    assert_eq!(exchange(&job, &token).await.0, 200, "the job itself still has it");
}

#[tokio::test]
async fn gitlabs_merge_requests_and_forks_get_nothing() {
    let ci = Ci::start().await;
    let claims = ci.gitlab.gitlab(&ci.own());
    let rows = [
        ("pipeline_source", json!("merge_request_event"), "event"),
        ("pipeline_source", json!("trigger"), "event"),
        ("ref_protected", json!("false"), "no-rule"),
        ("ref_protected", json!(true), "claim"),
        ("ref", json!("main2"), "no-rule"),
        ("project_id", json!("421"), "no-rule"),
        ("job_project_id", json!("43"), "fork"),
        ("aud", json!("https://gitlab.com"), "audience"),
    ];
    for (name, value, code) in rows {
        let token = ci.gitlab.mint(&super::changed(claims.clone(), &[(name, value.clone())]));
        let (status, answer) = exchange(&ci.site.client(), &token).await;
        assert_eq!((status, &answer["error"]["code"]), (403, &json!(code)), "{name} = {value}: {answer}");
    }
}

/// As README says it: by the name that its sign-ins have.
#[tokio::test]
async fn an_admin_locks_and_revokes_a_repository() {
    let ci = Ci::start().await;
    let (running, _) = ci.signed_in(&[]).await;
    let admin = ci.site.client();
    admin.login("reviewer").await;
    let repository = "github:repository/123456";
    let ask = json!({ "kind": "workload", "value": repository, "reason": "incident" });
    let (status, answer) = admin.call("POST", "/v1/revocations", &ask).await;
    assert!(status.is_success(), "{answer}");
    assert_eq!(running.call("POST", "/v1/certificate", &json!({})).await.0, 401);
    for name in [repository, "service:account/backup"] {
        let ask = json!({ "on": "user", "name": name, "reason": "incident" });
        let (status, answer) = admin.call("POST", "/v1/locks", &ask).await;
        assert_eq!(status, 201, "{name}: {answer}");
    }
    let ask = json!({ "on": "user", "name": "nobody:repository/1", "reason": "incident" });
    assert_eq!(admin.call("POST", "/v1/locks", &ask).await.0, 404);
    let (status, answer) = ci.show(&ci.site.client(), &[]).await;
    assert_eq!((status, &answer["error"]["code"]), (403, &json!("locked")), "{answer}");
    assert_eq!(ci.refusals("workload-token").await[0].0, "locked");
}
