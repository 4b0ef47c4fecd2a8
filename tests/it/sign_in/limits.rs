//! What a crowd gets: limits on guesses, begins, refusals and sizes.

use std::net::IpAddr;
use std::time::Duration;

use caponier::demo::browser::Browser;
use caponier::flow::sign_in::PENDING_OF_WIDE_AREA_MAX;
use caponier::ids::PendingId;
use caponier::place::{area, wide_area};
use caponier::store::PendingSignIn;
use serde_json::json;

use super::site::Site;

#[tokio::test]
async fn user_codes_cannot_be_guessed_for_long() {
    let site = Site::start().await;
    let client = site.client();
    let (_, code) = client.begin_device("box").await;
    let mut browser = Browser::of("engineer").unwrap();
    let device = site.page("/device");
    for nonsense in ["", "AAAA-AAAA", "BBBB", "' OR 1=1"].into_iter().cycle().take(30) {
        assert_eq!(browser.send(&device, &[("code", nonsense)]).await.unwrap().status, 400, "no guess");
    }
    for _ in 0..10 {
        assert_eq!(browser.send(&device, &[("code", "BBBB-BBBB")]).await.unwrap().status, 400);
    }
    assert_eq!(
        browser.send(&device, &[("code", &code)]).await.unwrap().status,
        429,
        "not even the right one"
    );
    site.app.clock.advance(Duration::from_secs(30));
    let page = browser.send(&device, &[("code", &code)]).await.unwrap();
    assert!(page.url.path().starts_with("/confirm/"), "{}", page.text);
    assert_eq!(browser.send(&device, &[("code", &code)]).await.unwrap().status, 400, "a code is used once");
}

#[tokio::test]
async fn right_codes_are_no_guesses() {
    let site = Site::start().await;
    let client = site.client();
    let mut browser = Browser::of("engineer").unwrap();
    for _ in 0..12 {
        let (_, code) = client.begin_device("box").await;
        let page = browser.send(&site.page("/device"), &[("code", &code)]).await.unwrap();
        assert!(page.url.path().starts_with("/confirm/"), "{}", page.text);
    }
}

#[tokio::test]
async fn one_address_begins_so_many_sign_ins() {
    let site = Site::start().await;
    let client = site.client();
    let ask = json!({"mode": "device", "client": "x"});
    for _ in 0..20 {
        assert_eq!(client.call("POST", "/v1/sign-in/begin", &ask).await.0, 200);
    }
    let (status, error) = client.call("POST", "/v1/sign-in/begin", &ask).await;
    assert_eq!((status.as_u16(), &error["error"]["code"]), (429, &json!("limit")));
    assert!(error["error"]["message"].as_str().unwrap().contains("your network"), "{error}");
    site.app.clock.advance(Duration::from_secs(601));
    for _ in 0..20 {
        assert_eq!(client.call("POST", "/v1/sign-in/begin", &ask).await.0, 200);
    }
}

#[tokio::test]
async fn what_was_denied_makes_room_soon() {
    let site = Site::start().await;
    let client = site.client();
    let ids: Vec<(String, String)> = {
        let mut ids = Vec::new();
        for _ in 0..20 {
            ids.push(client.begin_device("x").await);
        }
        ids
    };
    let mut browser = Browser::of("engineer").unwrap();
    let page = browser.send(&site.page("/device"), &[("code", &ids[0].1)]).await.unwrap();
    let csrf = page.field("csrf").unwrap();
    browser.send(&page.url, &[("csrf", &csrf), ("decision", "deny")]).await.unwrap();
    let ask = json!({"mode": "device", "client": "x"});
    assert_eq!(client.call("POST", "/v1/sign-in/begin", &ask).await.0, 429);
    assert_eq!(client.poll(&ids[0].0).await.0, 403, "the client hears of it");
    site.app.clock.advance(Duration::from_secs(60));
    assert_eq!(client.call("POST", "/v1/sign-in/begin", &ask).await.0, 200);
}

#[tokio::test]
async fn a_crowd_of_sign_ins_elsewhere_locks_nobody_out() {
    let site = Site::start().await;
    let now = site.app.clock.now();
    let begun = |n: u64| {
        let from = IpAddr::from([10, 0, u8::try_from(n / 200).unwrap(), u8::try_from(n % 200).unwrap()]);
        PendingSignIn {
            id: PendingId::random(&site.app.random),
            mode: "device".into(),
            state: "begun".into(),
            oauth_state_hash: None,
            user_code_hash: None,
            json: "{}".into(),
            area: area(from),
            wide_area: wide_area(from),
            created: now,
            expires: now.plus(Duration::from_secs(600)),
        }
    };
    for n in 0..1000 {
        site.app.store.insert_pending(&begun(n)).await.unwrap();
    }
    let client = site.client();
    let ask = json!({"mode": "device", "client": "x"});
    assert_eq!(client.call("POST", "/v1/sign-in/begin", &ask).await.0, 200);
    // A wider network has an end too, however many customers it has.
    for _ in 0..PENDING_OF_WIDE_AREA_MAX {
        let row = PendingSignIn { area: [127, 0, 0, 9].into(), wide_area: [127, 0, 0, 0].into(), ..begun(0) };
        site.app.store.insert_pending(&row).await.unwrap();
    }
    assert_eq!(client.call("POST", "/v1/sign-in/begin", &ask).await.0, 429);
}

#[tokio::test]
async fn refused_requests_fill_neither_time_nor_log() {
    let site = Site::start().await;
    let client = site.client();
    let mut last = 0;
    for _ in 0..70 {
        let headers = client.headers("GET", "/v1/other", "");
        last = client.send("GET", "/v1/sign-in", "", &headers).await.0.as_u16();
    }
    assert_eq!(last, 429);
    let refused = site.audit().await.iter().filter(|e| e.starts_with("credential_refused ")).count();
    assert_eq!(refused, 60);
}

#[tokio::test]
async fn large_bodies_and_forms_are_turned_away() {
    let site = Site::start().await;
    let client = site.client();
    let body = format!("{{\"x\":\"{}\"}}", "y".repeat(20_000));
    let headers = client.headers("POST", "/v1/certificate", &body);
    let (status, error) = client.send("POST", "/v1/certificate", &body, &headers).await;
    assert_eq!((status.as_u16(), &error["error"]["code"]), (413, &json!("limit")));
    let mut browser = Browser::of("engineer").unwrap();
    let page = browser.send(&site.page("/device"), &[("code", &"B".repeat(20_000))]).await.unwrap();
    assert!(page.status.is_client_error());
}

#[tokio::test]
async fn a_sign_in_goes_to_the_provider_only_so_often() {
    let site = Site::start().await;
    let begun = site.client().begin().await;
    let mut browser = Browser::of("engineer").unwrap();
    for _ in 0..10 {
        let page = browser.sign_in(&begun.url, Some(&site.provider.issuer)).await.unwrap();
        assert!(page.url.as_str().starts_with(&site.provider.issuer), "{}", page.url);
    }
    assert_eq!(browser.sign_in(&begun.url, None).await.unwrap().status, 429);
    site.app.clock.advance(Duration::from_secs(600));
    assert_eq!(browser.sign_in(&begun.url, None).await.unwrap().status, 404, "and not after its time");
}

#[tokio::test]
async fn hanging_up_takes_no_entry_out_of_the_audit_log() {
    use tokio::io::AsyncWriteExt as _;
    let site = Site::start().await;
    let client = site.client();
    let page = site.page("/v1/sign-in");
    let address = format!("{}:{}", page.host_str().unwrap(), page.port().unwrap());
    for _ in 0..20 {
        let mut request = format!("GET /v1/sign-in HTTP/1.1\r\nhost: {address}\r\n");
        for (name, value) in client.headers("GET", "/v1/other", "") {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        stream.write_all(format!("{request}\r\n").as_bytes()).await.unwrap();
        drop(stream);
    }
    let refused =
        async || site.audit().await.iter().filter(|entry| entry.starts_with("credential_refused ")).count();
    let all = async {
        while refused().await < 20 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), all).await.ok();
    assert_eq!(refused().await, 20, "an entry for each");
}
