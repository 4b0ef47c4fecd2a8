//! Signing in over HTTP: the three ways that work, what a certificate is good for, and how it ends. The attacks stand
//! in `attacks` (tokens, browsers, requests) and `limits`.

mod attacks;
mod limits;
mod pages;
pub(crate) mod site;
mod traces;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use caponier::audit::AuditEvent;
use caponier::demo::browser::{Browser, sign_in_without_browser};
use caponier::flow::end_sign_in::end;
use caponier::flow::issue::{Wish, issue};
use caponier::flow::permission::{Proof as _, SignedIn};
use caponier::flow::recognise::{CertificateRejected, Request, recognise_certificate};
use caponier::flow::sign_in::{SshPairingState, begin_ssh, finish_ssh};
use caponier::identity::proof::Shown;
use caponier::ids::SignInId;
use reqwest::StatusCode;
use russh::keys::ssh_key::Certificate;
use serde_json::{Value, json};
use site::{Site, brought};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[tokio::test]
async fn a_loopback_sign_in_leads_to_a_certificate_until_it_ends() {
    let site = Site::start().await;
    let client = site.client();
    let answer = client.login("engineer").await;
    assert_eq!(answer["who"], "corp:engineer");
    assert_eq!(answer["display"], "Erin Engineer");
    assert_eq!(answer["groups"], json!(["corp:engineers"]));
    assert_eq!(answer["expires"], site.app.clock.now().as_secs() + 36_000);
    assert_eq!(answer["ssh"]["host"], "bastion.test");
    assert_eq!(answer["ssh"]["patterns"], json!(["web1"]));
    assert!(answer["ssh"]["host_ca"].as_str().unwrap().starts_with("ssh-ed25519 "));
    let signed_in = site.last_audit().await;
    assert!(signed_in.starts_with("signed_in ") && signed_in.contains(&client.fingerprint()), "{signed_in}");

    assert_eq!(client.call("GET", "/v1/sign-in", &Value::Null).await, (StatusCode::OK, answer.clone()));

    let (status, issued) = client.call("POST", "/v1/certificate", &json!({})).await;
    assert_eq!((status, &issued["principals"]), (StatusCode::OK, &json!(["deploy", "root"])), "{issued}");
    assert!(site.last_audit().await.starts_with("certificate_issued "));
    let certificate = Certificate::from_openssh(issued["certificate"].as_str().unwrap()).unwrap();
    assert_eq!(certificate.serial().to_string(), issued["serial"].as_str().unwrap());
    let key_id = format!("corp:engineer/{}", answer["sign_in"].as_str().unwrap());
    assert_eq!(certificate.key_id(), key_id);

    let caller = recognise_certificate(&site.app, &certificate, HERE).await.unwrap();
    assert_eq!(caller.identity().reference(), "corp:engineer");
    assert!(caller.may_use(&"root".parse().unwrap()) && !caller.may_use(&"admin".parse().unwrap()));

    let (status, _) = client.call("DELETE", "/v1/sign-in", &Value::Null).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert!(site.last_audit().await.starts_with("sign_in_ended "));
    let refused = recognise_certificate(&site.app, &certificate, HERE).await.unwrap_err();
    assert!(matches!(&refused, CertificateRejected::Refused(why) if why.code == "sign-in-ended"));
    let audit = site.last_audit().await;
    assert!(audit.starts_with("credential_refused ") && audit.contains("sign-in-ended"), "{audit}");
    let (status, error) = client.call("POST", "/v1/certificate", &json!({})).await;
    assert_eq!((status.as_u16(), &error["error"]["code"]), (401, &json!("not-signed-in")));
}

#[tokio::test]
async fn a_certificate_is_narrowed_by_wish_and_needs_a_role() {
    let site = Site::start().await;
    let client = site.client();
    client.login("engineer").await;
    let wish = json!({"principals": ["root", "admin"], "life": 60});
    let (_, issued) = client.call("POST", "/v1/certificate", &wish).await;
    assert_eq!(issued["principals"], json!(["root"]));
    assert_eq!(issued["valid_before"], site.app.clock.now().as_secs() + 60);
    let (status, error) = client.call("POST", "/v1/certificate", &json!({"principals": ["admin"]})).await;
    assert_eq!((status.as_u16(), &error["error"]["code"]), (403, &json!("no-access")));
    for bad in [json!({"principals": ["-oProxy"]}), json!({"life": -1}), json!({"key": "x"}), json!([])] {
        assert_eq!(client.call("POST", "/v1/certificate", &bad).await.0, 400, "{bad}");
    }

    let stranger = site.client();
    stranger.login("auditor").await;
    let (status, error) = stranger.call("POST", "/v1/certificate", &json!({})).await;
    assert_eq!(status, 403);
    assert!(error["error"]["message"].as_str().unwrap().contains("ask the administrators"), "{error}");
    assert!(site.last_audit().await.starts_with("access_refused "));
}

#[tokio::test]
async fn the_clients_listener_gets_the_code() {
    let site = Site::start().await;
    let client = site.client();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ask = json!({"mode": "loopback", "port": listener.local_addr().unwrap().port(),
                     "challenge": "A".repeat(43), "client": "laptop"});
    let (_, begun) = client.call("POST", "/v1/sign-in/begin", &ask).await;
    let url = begun["url"].as_str().unwrap().to_owned();
    let browser = tokio::spawn(async move { sign_in_without_browser(&url, "reviewer").await });
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut head = vec![0; 4096];
    let n = stream.read(&mut head).await.unwrap();
    assert!(head[..n].starts_with(b"GET /?code="), "{}", String::from_utf8_lossy(&head[..n]));
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\ndone\n")
        .await
        .unwrap();
    assert_eq!(browser.await.unwrap().unwrap().text, "done\n");
}

#[tokio::test]
async fn a_device_sign_in_is_compared_and_confirmed() {
    let site = Site::start().await;
    let client = site.client();
    let (id, code) = client.begin_device("build-box").await;
    assert_eq!(client.poll(&id).await.0, StatusCode::ACCEPTED);
    let mut browser = Browser::of("engineer").unwrap();
    let typed = code.to_lowercase().replace('-', " ");
    let page = browser.send(&site.page("/device"), &[("code", &typed)]).await.unwrap();
    assert!(page.url.path().starts_with("/confirm/"), "{} {}", page.url, page.text);
    for shown in [code.as_str(), "build-box", "127.0.0.1", &client.fingerprint(), "Erin Engineer"] {
        assert!(page.text.contains(shown), "{shown} in {}", page.text);
    }
    assert_eq!(client.poll(&id).await.0, StatusCode::ACCEPTED, "not before somebody confirms");
    let csrf = page.field("csrf").unwrap();
    let done = browser.send(&page.url, &[("csrf", &csrf), ("decision", "confirm")]).await.unwrap();
    assert!(done.status == 200 && done.text.contains("Signed in"), "{}", done.text);
    let (status, answer) = client.poll(&id).await;
    assert_eq!((status.as_u16(), &answer["who"]), (200, &json!("corp:engineer")));
    assert_eq!(client.poll(&id).await.0, 404, "once only");
    assert!(site.last_audit().await.contains("device"));
}

#[tokio::test]
async fn a_device_sign_in_can_be_denied() {
    let site = Site::start().await;
    let client = site.client();
    let (id, code) = client.begin_device("somebody").await;
    let mut browser = Browser::of("engineer").unwrap();
    let page = browser.send(&site.page("/device"), &[("code", &code)]).await.unwrap();
    let csrf = page.field("csrf").unwrap();
    browser.send(&page.url, &[("csrf", &csrf), ("decision", "deny")]).await.unwrap();
    let (status, answer) = client.poll(&id).await;
    assert_eq!((status.as_u16(), &answer["error"]["code"]), (403, &json!("denied")));
    assert!(site.last_audit().await.starts_with("sign_in_failed "));
    let again = browser.send(&page.url, &[("csrf", &csrf), ("decision", "confirm")]).await.unwrap();
    assert_eq!(again.status, 404);
}

#[tokio::test]
async fn an_ssh_connection_is_paired() {
    let site = Site::start().await;
    let pairing = begin_ssh(&site.app, HERE).await.unwrap();
    let state = finish_ssh(&site.app, &pairing.id, HERE).await.unwrap();
    assert!(matches!(state, SshPairingState::Waiting));
    let mut browser = Browser::of("engineer").unwrap();
    let page = browser.send(&pairing.url, &[("code", &pairing.user_code)]).await.unwrap();
    assert!(page.text.contains("an SSH connection"), "{}", page.text);
    let csrf = page.field("csrf").unwrap();
    browser.send(&page.url, &[("csrf", &csrf), ("decision", "confirm")]).await.unwrap();
    let elsewhere = IpAddr::from([192, 0, 2, 1]);
    assert!(finish_ssh(&site.app, &pairing.id, elsewhere).await.is_err());
    let SshPairingState::Done(caller) = finish_ssh(&site.app, &pairing.id, HERE).await.unwrap() else {
        panic!("not done");
    };
    assert_eq!(caller.identity().reference(), "corp:engineer");
    assert_eq!(caller.certificate_serial(), None);
    let again = finish_ssh(&site.app, &pairing.id, HERE).await.unwrap();
    assert!(matches!(again, SshPairingState::Denied(_)), "said once");

    let denied = begin_ssh(&site.app, HERE).await.unwrap();
    let page = browser.send(&denied.url, &[("code", &denied.user_code)]).await.unwrap();
    let csrf = page.field("csrf").unwrap();
    browser.send(&page.url, &[("csrf", &csrf), ("decision", "deny")]).await.unwrap();
    let state = finish_ssh(&site.app, &denied.id, HERE).await.unwrap();
    assert!(matches!(state, SshPairingState::Denied(_)));
    let late = begin_ssh(&site.app, HERE).await.unwrap();
    site.app.clock.advance(Duration::from_secs(601));
    let state = finish_ssh(&site.app, &late.id, HERE).await.unwrap();
    assert!(matches!(state, SshPairingState::Denied(text) if text.contains("expired")));
}

#[tokio::test]
async fn a_key_has_one_sign_in_and_everybody_hears_when_it_ends() {
    let site = Site::start().await;
    let client = site.client();
    let mut ended = site.app.desk.ended();
    let first = client.login("engineer").await;
    let second = client.login("reviewer").await;
    assert_eq!(ended.recv().await.unwrap().as_str(), first["sign_in"].as_str().unwrap());
    let live = site.app.store.sign_ins(site.app.clock.now()).await.unwrap();
    assert_eq!(live.len(), 1);
    assert_eq!(live[0].id.as_str(), second["sign_in"].as_str().unwrap());
    let replaced = format!("\"replaced\":[\"{}\"]", first["sign_in"].as_str().unwrap());
    assert!(site.last_audit().await.contains(&replaced), "{}", site.last_audit().await);
    assert!(end(&site.app, &live[0].id, "admin", "lost laptop").await.unwrap());
    assert_eq!(ended.recv().await.unwrap(), live[0].id);
    assert!(!end(&site.app, &live[0].id, "admin", "again").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_sign_ins_that_finish_at_once_one_is_left() {
    let site = Site::start().await;
    let client = site.client();
    for _ in 0..5 {
        let (one, two) = (handed(&site, &client).await, handed(&site, &client).await);
        let (first, second) = tokio::join!(client.finish(&one.0, &one.1), client.finish(&two.0, &two.1));
        assert_eq!((first.0.as_u16(), second.0.as_u16()), (200, 200), "{first:?} {second:?}");
        assert_eq!(site.app.store.sign_ins(site.app.clock.now()).await.unwrap().len(), 1);
    }
    // Whatever is live when the person leaves, ends.
    let third = handed(&site, &client).await;
    let (finished, left) =
        tokio::join!(client.finish(&third.0, &third.1), client.call("DELETE", "/v1/sign-in", &Value::Null));
    assert_eq!((finished.0.as_u16(), left.0.as_u16()), (200, 204), "{finished:?} {left:?}");
    assert!(site.app.store.sign_ins(site.app.clock.now()).await.unwrap().len() <= 1);
}

#[tokio::test]
async fn only_admins_end_the_sign_ins_of_others() {
    let extra = "[sign_in]\nadmins = { groups = [\"corp:reviewers\"], subjects = [\"corp:auditors\"] }\n";
    let site = Site::start_with(extra, "http").await;
    let (engineer, auditor, reviewer) = (site.client(), site.client(), site.client());
    let id = engineer.login("engineer").await["sign_in"].as_str().unwrap().to_owned();
    auditor.login("auditor").await;
    reviewer.login("reviewer").await;
    let path = format!("/v1/sign-in/{id}");
    assert_eq!(auditor.call("DELETE", &path, &Value::Null).await.0, 404);
    assert_eq!(reviewer.call("DELETE", &path, &Value::Null).await.0, 204);
    assert!(site.last_audit().await.contains("corp:reviewer"));
    assert_eq!(engineer.call("GET", "/v1/sign-in", &Value::Null).await.0, 401);
    assert_eq!(reviewer.call("DELETE", &path, &Value::Null).await.0, 404, "it has ended");
}

#[tokio::test]
async fn the_same_subject_of_another_provider_is_somebody_else() {
    let site = Site::start().await;
    let client = site.client();
    client.login("engineer").await;
    let now = site.app.clock.now();
    let own = site.app.store.sign_ins(now).await.unwrap().remove(0);
    for (provider, status) in [("other", 404), ("corp", 204)] {
        // Two providers may share an issuer and read the subject from different claims.
        let mut twin = own.clone();
        twin.id = SignInId::random(&site.app.random);
        twin.key_fingerprint = Some(format!("SHA256:{provider}"));
        twin.who.provider = provider.parse().unwrap();
        let mut tx = site.app.store.begin().await.unwrap();
        tx.insert_sign_in(&twin).await.unwrap();
        let event = AuditEvent::ServerStarted { version: "test".into(), interrupted: 0 };
        tx.commit(now, event).await.unwrap();
        let path = format!("/v1/sign-in/{}", twin.id);
        assert_eq!(client.call("DELETE", &path, &Value::Null).await.0, status, "{provider}");
    }
}

#[tokio::test]
async fn a_certificate_lives_from_when_it_is_made() {
    let site = Site::start().await;
    let client = site.client();
    client.login("engineer").await;
    let headers = client.headers("POST", "/v1/certificate", "{}");
    let header = |name: &str| headers.iter().find(|(n, _)| *n == name).unwrap().1.as_str();
    let request = Request {
        method: "POST",
        path_and_query: "/v1/certificate",
        shown: Shown {
            key: header("caponier-key"),
            time: header("caponier-time"),
            nonce: header("caponier-nonce"),
            signature: header("caponier-signature"),
        },
        body: b"{}",
        from: HERE,
    };
    let by = SignedIn::of(&site.app, request).await.unwrap();
    // The database is busy for longer than a certificate lives.
    let busy = site.app.store.begin().await.unwrap();
    let mut issuing = Box::pin(issue(&site.app, &by, Wish::default()));
    let waiting = tokio::time::timeout(Duration::from_millis(200), &mut issuing).await;
    assert!(waiting.is_err(), "nothing is issued without a row");
    site.app.clock.advance(Duration::from_secs(1200));
    drop(busy);
    let issued = issuing.await.unwrap();
    assert_eq!(issued.valid_before, site.app.clock.now().plus(Duration::from_secs(300)));
}

#[tokio::test]
async fn several_providers_are_offered_as_buttons() {
    let other = "[[provider]]\nname = \"other\"\nissuer = \"http://127.0.0.1:1\"\nclient_id = \"x\"\n";
    let site = Site::start_with(other, "http").await;
    let client = site.client();
    let begun = client.begin().await;
    let mut browser = Browser::of("engineer").unwrap();
    let page = browser.go(&begun.url).await.unwrap();
    assert!(page.text.contains("value=\"corp\">Example &lt;Corp&gt;</button>"), "{}", page.text);
    let csrf = page.field("csrf").unwrap();
    let down = browser.send(&begun.url, &[("csrf", &csrf), ("provider", "other")]).await.unwrap();
    assert_eq!(down.status, 502, "{}", down.text);
    assert!(!down.text.contains("127.0.0.1:1"), "nothing of the network behind us: {}", down.text);
    for form in [vec![("csrf", csrf.as_str()), ("provider", "evil")], vec![("csrf", csrf.as_str())]] {
        assert_eq!(browser.send(&begun.url, &form).await.unwrap().status, 400);
    }

    let (id, code) = client.begin_device("box").await;
    let page = browser.send(&site.page("/device"), &[("code", &code)]).await.unwrap();
    let kept = page.field("code").unwrap();
    let page = browser.send(&page.url, &[("code", &kept), ("provider", "corp")]).await.unwrap();
    assert!(page.url.path().starts_with("/confirm/"), "{}", page.text);
    assert_eq!(client.poll(&id).await.0, 202);
}

#[tokio::test]
async fn keys_change_and_providers_fail() {
    let mut site = Site::start().await;
    let client = site.client();
    client.login("engineer").await;
    site.provider.tamper(caponier::demo::provider::Tamper::NewKey);
    site.app.clock.advance(Duration::from_secs(11));
    client.login("engineer").await;

    // A provider that is gone: what was known of it serves for an hour, then no longer.
    let elsewhere = caponier::demo::provider::start(&site.app.random, &site.app.clock).await.unwrap();
    drop(std::mem::replace(&mut site.provider, elsewhere));
    let client = site.client();
    for (minutes, status) in [(6, 200), (50, 200), (20, 502)] {
        site.app.clock.advance(Duration::from_secs(minutes * 60));
        let begun = client.begin().await;
        let mut browser = Browser::of("engineer").unwrap();
        let page = browser.sign_in(&begun.url, Some("http://")).await.unwrap();
        assert_eq!(page.status, status, "{minutes}");
    }
}

#[tokio::test]
async fn the_door_ends_tls_and_a_stalled_client_stalls_nobody() {
    let site = Site::start_with("", "https").await;
    let port = site.url.port().unwrap();
    let mut stalled = Vec::new();
    for _ in 0..20 {
        stalled.push(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    }
    let root = std::fs::read(site.dir().join("tls.pem")).unwrap();
    let http = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&root).unwrap()])
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    assert_eq!(http.get(site.page("/healthz")).send().await.unwrap().text().await.unwrap(), "ok\n");
    // The cookie of an https door cannot be set by other hosts, and never travels in the clear.
    let signer = site.client();
    let body = json!({"mode": "loopback", "port": 9, "challenge": "A".repeat(43), "client": "x"}).to_string();
    let mut request = http.post(site.page("/v1/sign-in/begin")).body(body.clone());
    for (name, value) in signer.headers("POST", "/v1/sign-in/begin", &body) {
        request = request.header(name, value);
    }
    let begun: Value = serde_json::from_str(&request.send().await.unwrap().text().await.unwrap()).unwrap();
    let away = http.get(begun["url"].as_str().unwrap()).send().await.unwrap();
    let cookie = away.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("__Host-caponier="), "{cookie}");
    for attribute in ["; Secure", "; HttpOnly", "; SameSite=Lax", "; Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
}

#[tokio::test]
async fn every_page_is_guarded() {
    let site = Site::start().await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    for (path, status) in
        [("/", 200), ("/device", 200), ("/healthz", 200), ("/nothing", 404), ("/v1/nothing", 404)]
    {
        let answer = http.get(site.page(path)).send().await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert!(header("content-security-policy").starts_with("default-src 'none';"), "{path}");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("referrer-policy"), "no-referrer");
        assert_eq!(header("cache-control"), "no-store");
        assert!(!answer.text().await.unwrap().contains("<script"), "{path}");
    }
}

/// A browser that is in the middle of a loopback sign-in, with the code it would hand over.
async fn handed(site: &Site, client: &site::Client<'_>) -> (site::Begun, String) {
    let begun = client.begin().await;
    assert!(begun.url.as_str().starts_with(site.url.as_str()));
    let code = brought(&mut Browser::of("engineer").unwrap(), &begun, "code").await;
    (begun, code)
}
