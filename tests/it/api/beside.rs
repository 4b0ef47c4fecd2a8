//! That nothing is served beside the table: in the source, and on the wire.

use std::collections::BTreeSet;

use caponier::web::openapi;
use caponier::web::table::endpoints;
use reqwest::Method;
use serde_json::{Value, json};

use crate::sign_in::site::Site;
use crate::world::root;

/// Where something may be routed, and how often: the table's own router, the pages, where providers and platforms speak,
/// the door that joins them.
const ROUTERS: [(&str, usize); 5] =
    [("listen.rs", 5), ("logout.rs", 1), ("pages.rs", 6), ("table.rs", 2), ("webhook.rs", 1)];

/// What routes.
const WORDS: [&str; 8] = [
    ".route(",
    ".route_service(",
    ".nest(",
    ".nest_service(",
    ".merge(",
    ".fallback(",
    ".fallback_service(",
    ".method_not_allowed_fallback(",
];

#[test]
fn nothing_is_routed_beside_the_table() {
    let mut found = BTreeSet::new();
    let mut folders = vec![root().join("src/web")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let name = path.strip_prefix(root().join("src/web")).unwrap().display().to_string();
            let count = WORDS.iter().map(|word| text.matches(word).count()).sum::<usize>();
            if count > 0 {
                found.insert((name.clone(), count));
            }
            let own = text
                .lines()
                .any(|line| WORDS.iter().any(|word| line.contains(word)) && line.contains("\"/v1"));
            assert!(!own || name == "table.rs", "{name} routes below /v1 beside the table");
        }
    }
    let known: BTreeSet<(String, usize)> =
        ROUTERS.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    assert_eq!(found, known);
}

#[test]
fn every_endpoint_is_described_and_nothing_else() {
    let description: Value = serde_json::from_str(openapi::text()).unwrap();
    let mut described = BTreeSet::new();
    for (path, operations) in description["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let permission = operation["x-caponier-permission"].as_str().unwrap().to_owned();
            described.insert((method.to_uppercase(), path.clone(), permission));
        }
    }
    let row = |endpoint: &caponier::web::endpoint::Endpoint| {
        (endpoint.method().to_string(), endpoint.path().to_owned(), endpoint.permission().as_str().to_owned())
    };
    let rows: BTreeSet<_> = endpoints().iter().map(row).collect();
    assert_eq!(described, rows);
    assert_eq!(rows.len(), endpoints().len(), "two rows for one");
    let names: BTreeSet<&str> = endpoints().iter().map(|endpoint| endpoint.name()).collect();
    assert_eq!(names.len(), endpoints().len(), "two operations of one name");
    assert!(rows.len() >= 7, "{rows:?}");
}

#[tokio::test]
async fn other_paths_and_other_methods_are_answered_in_the_same_words() {
    let site = Site::start().await;
    let client = site.client();
    for path in
        ["/v1", "/v1/", "/v1/nothing", "/v1/sign-in/", "/v1/sign-in/x/y", "/v1/certificate%2f", "/v1/%ff"]
    {
        let (status, error) = client.call("GET", path, &Value::Null).await;
        assert_eq!((status.as_u16(), &error["error"]["code"]), (404, &json!("not-found")), "{path}");
    }
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut tried = 0;
    for path in endpoints().iter().map(|endpoint| endpoint.path()).collect::<BTreeSet<_>>() {
        let mut own: BTreeSet<String> = endpoints()
            .iter()
            .filter(|endpoint| endpoint.path() == path)
            .map(|endpoint| endpoint.method().to_string())
            .collect();
        if own.contains("GET") {
            own.insert("HEAD".into());
        }
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"] {
            if own.contains(method) {
                continue;
            }
            let url = site.page(&path.replace("{id}", "sgn_0123456789abcdefghjkmnpqrs"));
            let answer =
                http.request(Method::from_bytes(method.as_bytes()).unwrap(), url).send().await.unwrap();
            assert_eq!(answer.status(), 405, "{method} {path}");
            let allow = answer.headers()["allow"].to_str().unwrap().to_owned();
            assert_eq!(allow.split(',').map(str::to_owned).collect::<BTreeSet<_>>(), own, "{method} {path}");
            let text = answer.text().await.unwrap();
            if method != "HEAD" {
                let error: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(error["error"]["code"], "method", "{method} {path}");
            }
            tried += 1;
        }
    }
    assert!(tried > 30, "{tried}");
}
