//! Attacks on signing in: tokens that lie, browsers that are others, requests that are bent or repeated. Each is
//! refused, and what could be an attack is in the audit log.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use caponier::demo::browser::Browser;
use caponier::demo::provider::Tamper;
use reqwest::StatusCode;
use serde_json::{Value, json};
use url::Url;

use super::handed;
use super::site::{HANDOFF, Site, brought};

#[tokio::test]
async fn tokens_that_lie_sign_nobody_in() {
    let site = Site::start().await;
    let now = site.app.clock.now().as_secs();
    let none = |payload: &Value| {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.", part(&json!({"alg": "none"})), part(payload))
    };
    let rows = [
        (Tamper::Claim("aud", json!("another-client")), "audience|alone"),
        (Tamper::Claim("aud", json!([site.provider.client_id, "another"])), "alone"),
        (Tamper::Claim("aud", json!(null)), "alone|aud"),
        (Tamper::Claim("azp", json!("another-client")), "azp"),
        (Tamper::Claim("iss", json!("https://login.example.test")), "somebody else"),
        (Tamper::Claim("iss", json!(format!("{}/", site.provider.issuer))), "somebody else"),
        (Tamper::Claim("nonce", json!("of-another-attempt")), "another sign-in attempt"),
        (Tamper::Claim("nonce", json!(null)), "another sign-in attempt|nonce"),
        (Tamper::Claim("exp", json!(now)), "expired"),
        (Tamper::Claim("exp", json!("4102444800")), "exp|token response|parse"),
        (Tamper::Claim("exp", json!(null)), "exp|parse"),
        (Tamper::Claim("iat", json!(now + 61)), "in the future"),
        (Tamper::Claim("iat", json!(now - 601)), "too long ago"),
        (Tamper::Claim("nbf", json!(now + 300)), "not valid yet"),
        (Tamper::Claim("groups", json!("engineers")), "not a list"),
        (Tamper::Claim("groups", json!(["engineers", 7])), "groups"),
        (Tamper::Claim("sub", json!("")), "subject"),
        (Tamper::Unsigned, "signature|Unsigned|signing|none"),
        (Tamper::Hmac, "HS256|algorithm|signature"),
        (Tamper::Algorithm("RS512"), "algorithm|signature"),
        (Tamper::Algorithm("ES256"), "key|signature"),
        (Tamper::OtherKey("demo"), "signature"),
        (Tamper::OtherKey("unknown"), "unknown key"),
        (Tamper::AfterSigning, "signature"),
        (Tamper::Token(none(&json!({"sub": "engineer"}))), "token|signature|parse"),
        (Tamper::Token("a.b.c.d.e".into()), "header.payload.signature"),
        (Tamper::Token(".".repeat(10_000)), "header.payload.signature"),
        (Tamper::Token(format!("a.{}.c", "b".repeat(20_000))), "16384 bytes"),
        (Tamper::Redirect, "token|redirect|response"),
    ];
    for (lie, expect) in rows {
        site.app.clock.advance(Duration::from_secs(11));
        let now = site.app.clock.now().as_secs();
        // Times are relative to the moved clock.
        let lie = match (expect, lie) {
            ("in the future", _) => Tamper::Claim("iat", json!(now + 61)),
            ("not valid yet", _) => Tamper::Claim("nbf", json!(now + 300)),
            (_, lie) => lie,
        };
        site.provider.tamper(lie.clone());
        let client = site.client();
        let begun = client.begin().await;
        let text = brought(&mut Browser::of("engineer").unwrap(), &begun, "error").await;
        assert!(!text.is_empty() && !text.contains("code="), "{lie:?}: {text}");
        let audit = site.last_audit().await;
        assert!(audit.starts_with("sign_in_failed "), "{lie:?}: {audit}");
        assert!(expect.split('|').any(|word| audit.contains(word)), "{lie:?}: {audit}");
        assert_eq!(client.finish(&begun, "").await.0, 403, "{lie:?}");
    }
    assert!(site.app.store.sign_ins(site.app.clock.now()).await.unwrap().is_empty());
    site.provider.tamper(Tamper::Nothing);
    site.client().login("engineer").await;
}

#[tokio::test]
async fn a_discovery_document_of_another_issuer_is_refused() {
    let site = Site::start().await;
    site.provider.tamper(Tamper::Issuer);
    let begun = site.client().begin().await;
    let page = Browser::of("engineer").unwrap().sign_in(&begun.url, None).await.unwrap();
    assert_eq!(page.status, StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn the_address_of_a_sign_in_does_nothing_until_a_person_has_seen_who_asks() {
    let site = Site::start().await;
    let client = site.client();
    let begun = client.begin().await;
    let id = begun.id.parse().unwrap();
    let state = async || site.app.store.pending(&id, site.app.clock.now()).await.unwrap().unwrap();
    let mut browser = Browser::of("engineer").unwrap();
    let page = browser.go(&begun.url).await.unwrap();
    assert!(page.status == 200 && page.url == begun.url, "{} {}", page.status, page.url);
    for shown in ["laptop", "127.0.0.1", &client.fingerprint()] {
        assert!(page.text.contains(shown), "{shown} in {}", page.text);
    }
    assert!(!page.text.contains("id=\"warning\""), "{}", page.text);
    assert_eq!(state().await.state, "begun");

    // Nobody else makes the browser go on: the form's token is of this browser and this sign-in.
    let csrf = page.field("csrf").unwrap();
    let other = client.begin().await;
    let others = browser.go(&other.url).await.unwrap().field("csrf").unwrap();
    let mut stranger = Browser::of("engineer").unwrap();
    assert_eq!(stranger.send(&begun.url, &[("csrf", &csrf)]).await.unwrap().status, 400, "no cookie");
    stranger.go(&begun.url).await.unwrap();
    assert_eq!(stranger.send(&begun.url, &[("csrf", &csrf)]).await.unwrap().status, 400, "another cookie");
    for form in [vec![], vec![("csrf", "")], vec![("csrf", others.as_str())]] {
        assert_eq!(browser.send(&begun.url, &form).await.unwrap().status, 400, "{form:?}");
    }
    assert_eq!(state().await.state, "begun");

    // The same, asked from elsewhere.
    let mut row = state().await;
    row.json = row.json.replace("127.0.0.1", "192.0.2.7");
    assert!(site.app.store.step_pending("begun", &row).await.unwrap());
    let page = browser.go(&begun.url).await.unwrap();
    assert!(page.text.contains("192.0.2.7") && page.text.contains("id=\"warning\""), "{}", page.text);
    browser.sign_in(&begun.url, Some(&site.provider.issuer)).await.unwrap();
    assert_eq!(state().await.state, "at-provider");
}

/// The provider's redirect back to us, not followed.
async fn callback_url(site: &Site, browser: &mut Browser, begun: &Url) -> Url {
    let callback = site.page("/callback/corp").to_string();
    let page = browser.sign_in(begun, Some(&callback)).await.unwrap();
    assert!(page.url.as_str().starts_with(&callback), "{}", page.url);
    page.url
}

fn with(url: &Url, name: &str, value: &str) -> Url {
    let kept: Vec<(String, String)> = url
        .query_pairs()
        .map(|(k, v)| (k.to_string(), if k == name { value.to_owned() } else { v.to_string() }))
        .collect();
    let mut changed = url.clone();
    changed.query_pairs_mut().clear().extend_pairs(kept);
    changed
}

fn query(url: &Url, name: &str) -> String {
    url.query_pairs().find(|(k, _)| k == name).unwrap().1.into_owned()
}

#[tokio::test]
async fn a_callback_belongs_to_the_browser_that_left() {
    let site = Site::start().await;
    let client = site.client();
    let begun = client.begin().await;
    let mut browser = Browser::of("engineer").unwrap();
    let callback = callback_url(&site, &mut browser, &begun.url).await;
    // The attacker's own answer, laid before a victim without cookie, and before one with another sign-in's cookie.
    let stranger = Browser::of("engineer").unwrap().go(&callback).await.unwrap();
    assert_eq!(stranger.status, 400);
    assert!(site.last_audit().await.contains("another browser"));
    let mut other = Browser::of("engineer").unwrap();
    callback_url(&site, &mut other, &client.begin().await.url).await;
    assert_eq!(other.go(&callback).await.unwrap().status, 400);
    // The right browser still gets on, once.
    let page = browser.go_until(&callback, HANDOFF).await.unwrap();
    assert!(page.url.as_str().starts_with(&format!("{HANDOFF}?code=")), "{}", page.url);
    assert_eq!(browser.go_until(&callback, HANDOFF).await.unwrap().status, 404, "state is used once");
    for state in ["", "x", &"A".repeat(43), &"A".repeat(100_000)[..9000]] {
        assert_eq!(browser.go(&with(&callback, "state", state)).await.unwrap().status, 404);
    }
}

#[tokio::test]
async fn answers_of_two_attempts_cannot_be_mixed() {
    let site = Site::start().await;
    let (victim, attacker) = (site.client(), site.client());
    let mut browser = Browser::of("engineer").unwrap();
    // Both in one browser, so that the cookie is right for either.
    let (begun, other) = (victim.begin().await, attacker.begin().await);
    let first = callback_url(&site, &mut browser, &begun.url).await;
    let second = callback_url(&site, &mut browser, &other.url).await;
    let mixed = with(&first, "code", &query(&second, "code"));
    let page = browser.go_until(&mixed, HANDOFF).await.unwrap();
    assert!(page.url.as_str().contains("?error="), "{}", page.url);
    assert_eq!(victim.finish(&begun, "").await.0, 403);
    // The answer names the issuer that it is from (RFC 9207).
    let begun = victim.begin().await;
    let callback = callback_url(&site, &mut browser, &begun.url).await;
    let mixed_up = with(&callback, "iss", "https://evil.example");
    assert!(browser.go_until(&mixed_up, HANDOFF).await.unwrap().url.as_str().contains("?error="));
    assert!(site.last_audit().await.contains("iss"));
    // The answer of one provider at the address of another: refused, whatever else it says.
    let begun = victim.begin().await;
    let mut elsewhere = callback_url(&site, &mut browser, &begun.url).await;
    elsewhere.set_path("/callback/other");
    assert!(browser.go_until(&elsewhere, HANDOFF).await.unwrap().url.as_str().contains("?error="));
    assert!(site.last_audit().await.contains("address of another provider"));
    elsewhere.set_path("/callback");
    assert_eq!(browser.go(&elsewhere).await.unwrap().status, 404);
}

#[tokio::test]
async fn a_handoff_code_is_for_one_key_one_verifier_once_and_soon() {
    let site = Site::start().await;
    let client = site.client();
    let (mut begun, code) = handed(&site, &client).await;
    let thief = site.client();
    assert_eq!(thief.finish(&begun, &code).await.0, 404);
    assert!(site.last_audit().await.contains("another key"));
    let verifier = std::mem::replace(&mut begun.verifier, "A".repeat(43));
    assert_eq!(client.finish(&begun, &code).await.0, 403);
    begun.verifier = verifier;
    assert_eq!(client.finish(&begun, &"A".repeat(43)).await.0, 403);
    let without = json!({"id": begun.id});
    assert_eq!(client.call("POST", "/v1/sign-in/finish", &without).await.0, 403);
    assert_eq!(client.finish(&begun, &code).await.0, 200);
    assert_eq!(client.finish(&begun, &code).await.0, 404, "once");

    let (late, code) = handed(&site, &client).await;
    site.app.clock.advance(Duration::from_secs(60));
    assert_eq!(client.finish(&late, &code).await.0, 404, "a minute is enough");
}

#[tokio::test]
async fn requests_cannot_be_repeated_or_bent() {
    let site = Site::start().await;
    let client = site.client();
    client.login("engineer").await;
    let (path, body) = ("/v1/certificate", "{}");
    let headers = client.headers("POST", path, body);
    assert_eq!(client.send("POST", path, body, &headers).await.0, 200);
    let (status, error) = client.send("POST", path, body, &headers).await;
    assert_eq!((status.as_u16(), &error["error"]["code"]), (409, &json!("replay")));

    let fresh = || client.headers("POST", path, body);
    let other = site.client();
    let changed = |name: &'static str, value: String| {
        let mut headers = fresh();
        headers.iter_mut().filter(|(n, _)| *n == name).for_each(|header| header.1.clone_from(&value));
        headers
    };
    let now = site.app.clock.now().as_secs();
    let rows = vec![
        ("POST", path, "{\"life\":60}", fresh(), "bad-signature"),
        ("POST", "/v1/certificate?x=1", body, fresh(), "bad-signature"),
        ("POST", "/v1/sign-in/begin", body, fresh(), "bad-signature"),
        ("DELETE", "/v1/sign-in", "", fresh(), "bad-signature"),
        ("POST", path, body, changed("caponier-time", (now + 1).to_string()), "bad-signature"),
        ("POST", path, body, changed("caponier-nonce", "A".repeat(43)), "bad-signature"),
        ("POST", path, body, changed("caponier-nonce", String::new()), "bad-signature"),
        (
            "POST",
            path,
            body,
            changed("caponier-key", other.headers("GET", "/", "")[0].1.clone()),
            "bad-signature",
        ),
        ("POST", path, body, changed("caponier-signature", "AAAA".into()), "bad-signature"),
        ("POST", path, body, Vec::new(), "bad-signature"),
        ("POST", path, body, [fresh(), fresh()].concat(), "bad-signature"),
        ("POST", path, body, client.headers_at("POST", path, body, now - 121), "clock"),
        ("POST", path, body, client.headers_at("POST", path, body, now + 121), "clock"),
    ];
    for (number, (method, path, body, headers, code)) in rows.into_iter().enumerate() {
        let (status, error) = client.send(method, path, body, &headers).await;
        assert_eq!((status.as_u16(), &error["error"]["code"]), (401, &json!(code)), "row {number}");
    }
    let audit = site.audit().await;
    assert!(audit.iter().any(|e| e.starts_with("credential_refused ") && e.contains("clock")), "{audit:?}");
    // Logging out is not repeatable either: the first repetition finds nobody signed in.
    let headers = client.headers("DELETE", "/v1/sign-in", "");
    assert_eq!(client.send("DELETE", "/v1/sign-in", "", &headers).await.0, 204);
    client.login("engineer").await;
    assert_eq!(client.send("DELETE", "/v1/sign-in", "", &headers).await.0, 409, "not the new one");
}

#[tokio::test]
async fn a_confirmation_needs_the_browser_and_the_form() {
    let site = Site::start().await;
    let client = site.client();
    let (id, code) = client.begin_device("box").await;
    let mut browser = Browser::of("engineer").unwrap();
    let page = browser.send(&site.page("/device"), &[("code", &code)]).await.unwrap();
    let csrf = page.field("csrf").unwrap();
    let mut stranger = Browser::of("engineer").unwrap();
    assert_eq!(stranger.go(&page.url).await.unwrap().status, 404);
    let yes = ("decision", "confirm");
    assert_eq!(stranger.send(&page.url, &[("csrf", &csrf), yes]).await.unwrap().status, 404);
    for form in [vec![yes], vec![("csrf", ""), yes], vec![("csrf", "00"), yes], vec![("csrf", &csrf)]] {
        let status = browser.send(&page.url, &form).await.unwrap().status;
        assert!(status.is_client_error(), "{form:?}");
    }
    assert_eq!(client.poll(&id).await.0, 202, "still nobody confirmed");
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    for (name, value) in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")] {
        let forged = http
            .post(site.page("/device"))
            .header(name, value)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("code={code}"));
        assert_eq!(forged.send().await.unwrap().status(), 400, "{name}");
    }
    assert_eq!(browser.send(&page.url, &[("csrf", &csrf), yes]).await.unwrap().status, 200);
    assert_eq!(client.poll(&id).await.0, 200);
}

#[tokio::test]
async fn names_from_outside_are_shown_as_text() {
    let site = Site::start().await;
    let nasty = "<script>alert(1)</script>\"'><img src=x>\u{202e}";
    site.provider.tamper(Tamper::Claim("name", json!(nasty)));
    let client = site.client();
    let (_, code) = client.begin_device(nasty).await;
    let mut browser = Browser::of("engineer").unwrap();
    let page = browser.send(&site.page("/device"), &[("code", &code)]).await.unwrap();
    assert_eq!(page.text.matches("&lt;script&gt;").count(), 2, "person and machine: {}", page.text);
    let typed = browser.send(&site.page("/device"), &[("code", nasty)]).await.unwrap();
    let asked = browser.go(&site.page("/device?code=%22%3E%3Cscript%3E")).await.unwrap();
    let filled = browser.go(&site.page("/device?code=BCDF-GHJK")).await.unwrap();
    assert!(!filled.text.contains("BCDF-GHJK"), "no address fills a code in: {}", filled.text);
    let failed =
        browser.go(&site.page("/callback/corp?error=%3Cscript%3E&state=%3Cscript%3E")).await.unwrap();
    for page in [page, typed, asked, failed] {
        for bad in ["<script", "<img", "\u{202e}"] {
            assert!(!page.text.contains(bad), "{bad} in {}", page.text);
        }
    }
}

#[tokio::test]
async fn nobody_is_sent_anywhere_else() {
    let site = Site::start().await;
    let client = site.client();
    let challenge = "A".repeat(43);
    let rows = [
        json!({"mode": "loopback", "port": "9@evil.example", "challenge": challenge, "client": "x"}),
        json!({"mode": "loopback", "port": 0, "challenge": challenge, "client": "x"}),
        json!({"mode": "loopback", "port": 65536, "challenge": challenge, "client": "x"}),
        json!({"mode": "loopback", "port": 9, "challenge": "short", "client": "x"}),
        json!({"mode": "loopback", "port": 9, "client": "x"}),
        json!({"mode": "device", "port": 9, "client": "x"}),
        json!({"mode": "web", "client": "x"}),
        json!({"mode": "device", "client": "x", "redirect_uri": "https://evil.example"}),
        json!({"mode": "device", "client": "x", "provider": "https://evil.example"}),
        json!({"mode": "device"}),
    ];
    for ask in rows {
        let (status, error) = client.call("POST", "/v1/sign-in/begin", &ask).await;
        assert_eq!((status.as_u16(), &error["error"]["code"]), (400, &json!("bad-request")), "{ask}");
    }
    // The provider refuses an answer in words: they travel as one encoded parameter to the port, no further.
    let begun = client.begin().await;
    let mut browser = Browser::of("engineer").unwrap();
    let callback = callback_url(&site, &mut browser, &begun.url).await;
    let mut evil = callback.clone();
    evil.query_pairs_mut()
        .clear()
        .append_pair("state", &query(&callback, "state"))
        .append_pair("error", "x\r\nLocation: https://evil.example/;url=https://evil.example");
    let page = browser.go_until(&evil, HANDOFF).await.unwrap();
    assert_eq!((page.url.host_str(), page.url.port()), (Some("127.0.0.1"), Some(9)), "{}", page.url);
    assert!(page.headers.get("location").is_none());
    // A device sign-in cannot be opened by its id: the code must be typed.
    let (id, _) = client.begin_device("x").await;
    assert_eq!(browser.go(&site.page(&format!("/sign-in/{id}"))).await.unwrap().status, 404);
}
