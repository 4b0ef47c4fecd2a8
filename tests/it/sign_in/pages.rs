//! The pages in a real Chromium with JavaScript off: they lead through both ways of signing in, and neither the console
//! nor the Content Security Policy has anything to complain of.

use caponier::demo::browser::Browser as Unseen;
use reqwest::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::block_in_place;

use super::site::Site;
use crate::world::browser::Browser;

#[tokio::test(flavor = "multi_thread")]
async fn chromium_confirms_a_device_sign_in() {
    let site = Site::start().await;
    let client = site.client();
    let (id, code) = client.begin_device("build-box").await;
    let device = site.page("/device");
    let confirm = block_in_place(|| {
        let mut browser = Browser::start();
        assert_eq!(browser.goto(device.as_str()), 200);
        browser.fill("input[name=code]", "BBBB-BBBB");
        browser.click("Continue");
        browser.expect("unknown or has expired");
        browser.fill("input[name=code]", &code.to_lowercase());
        browser.click("Continue");
        browser.expect("Who are you?");
        browser.click("Erin Engineer");
        browser.expect("Does your terminal show exactly this code?");
        browser.expect(&code);
        let confirm = browser.page()["url"].as_str().unwrap().to_owned();
        browser.click("Yes, sign it in");
        browser.expect("Signed in");
        // The one failed document is the wrong code.
        let problems: Vec<String> =
            browser.problems().into_iter().filter(|problem| !problem.contains("400")).collect();
        assert_eq!(problems, Vec::<String>::new());
        confirm
    });
    assert_eq!(client.poll(&id).await.0, StatusCode::OK);
    let other = Unseen::of("engineer").unwrap().go(&confirm.parse().unwrap()).await.unwrap();
    assert_eq!(other.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn chromium_carries_a_loopback_sign_in_to_the_client() {
    let site = Site::start().await;
    let client = site.client();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ask = json!({"mode": "loopback", "port": listener.local_addr().unwrap().port(),
                     "challenge": "A".repeat(43), "client": "laptop"});
    let (_, begun) = client.call("POST", "/v1/sign-in/begin", &ask).await;
    let fingerprint = client.fingerprint();
    let heard = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 4096];
            let n = stream.read(&mut head).await.unwrap();
            let head = String::from_utf8_lossy(&head[..n]).into_owned();
            let page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<link rel=icon href=data:,>Back at the client";
            stream.write_all(page.as_bytes()).await.unwrap();
            if head.starts_with("GET /?code=") {
                return head;
            }
        }
    });
    block_in_place(|| {
        let mut browser = Browser::start();
        browser.goto(begun["url"].as_str().unwrap());
        browser.expect(&fingerprint);
        browser.click("Continue");
        browser.expect("Who are you?");
        browser.click("Robin Reviewer");
        browser.expect("Back at the client");
        assert_eq!(browser.problems(), Vec::<String>::new());
    });
    assert!(!heard.await.unwrap().to_lowercase().contains("referer"));
}
