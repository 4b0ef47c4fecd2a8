//! Endpoint x permission as one table under snapshot: every endpoint, asked by everybody, on a real server.

use std::fmt::Write as _;

use caponier::audit::AuditEvent;
use caponier::flow::permission::{Admin, Anybody, Auditor, Permission, Proof, SignedIn};
use caponier::flow::recognise::{Request, SignedBy};
use caponier::identity::proof::Shown;
use caponier::identity::{Identity, Kind};
use caponier::ids::SignInId;
use caponier::store::SignIn;
use caponier::web::endpoint::Endpoint;
use caponier::web::openapi;
use caponier::web::table::endpoints;
use russh::keys::ssh_key::{HashAlg, PrivateKey};
use serde_json::Value;

use crate::sign_in::site::{Client, Site};
use crate::world::root;

/// Endpoints that may do the same again for the same signed request, each with its reason.
const REPEATABLE: [&str; 1] = [
    // Another pending sign-in for the same key, which is nothing that whoever repeats it could use.
    "POST /v1/sign-in/begin",
];

/// Who asks, from the weakest to the strongest, with what they have.
const COLUMNS: [(&str, Option<Permission>); 6] = [
    ("nobody", None),
    ("bad signature", None),
    ("signed key", Some(Permission::SignedKey)),
    ("signed in", Some(Permission::SignedIn)),
    ("auditor", Some(Permission::Auditor)),
    ("admin", Some(Permission::Admin)),
];

pub(crate) const EXTRA: &str =
    "[sign_in]\nadmins = { subjects = [\"corp:admin\"] }\nauditors = { subjects = [\"corp:auditor\"] }\n";

/// Sign-ins of this person, one for each key, as if they had come by the browser; their ids.
pub(crate) async fn people(site: &Site, person: &str, keys: &[PrivateKey]) -> Vec<String> {
    let now = site.app.clock.now();
    let mut tx = site.app.store.begin().await.unwrap();
    let mut ids = Vec::new();
    for key in keys {
        let sign_in = SignIn {
            id: SignInId::random(&site.app.random),
            who: Identity {
                kind: Kind::Person,
                provider: "corp".parse().unwrap(),
                issuer: site.provider.issuer.clone(),
                subject: person.into(),
                display: person.into(),
                groups: ["corp:engineers".parse().unwrap()].into(),
                run: None,
            },
            key_fingerprint: Some(key.fingerprint(HashAlg::Sha256).to_string()),
            method: "loopback".into(),
            from: "127.0.0.1".into(),
            client: "laptop".into(),
            created: now,
            expires: now.plus(site.app.config.sign_in_life),
            ended: None,
        };
        tx.insert_sign_in(&sign_in).await.unwrap();
        ids.push(sign_in.id.to_string());
    }
    tx.commit(now, AuditEvent::ServerStarted { version: "test".into(), interrupted: 0 }).await.unwrap();
    ids
}

/// The path and body of a request that is in order, out of the description's examples.
fn example(description: &Value, endpoint: &Endpoint) -> (String, String) {
    let method = endpoint.method().as_str().to_lowercase();
    let operation = &description["paths"][endpoint.path()][&method];
    assert!(operation.is_object(), "{endpoint:?} is not described");
    let resolved = |schema: &Value| match schema["$ref"].as_str() {
        Some(reference) => description.pointer(reference.trim_start_matches('#')).unwrap().clone(),
        None => schema.clone(),
    };
    let mut path = endpoint.path().to_owned();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap();
        let example = &resolved(&parameter["schema"])["examples"][0];
        match parameter["in"].as_str().unwrap() {
            "path" => path = path.replace(&format!("{{{name}}}"), example.as_str().unwrap()),
            _ => {
                assert!(!parameter["required"].as_bool().unwrap(), "{endpoint:?}: {name} has no example here")
            }
        }
    }
    assert!(!path.contains('{'), "{path}");
    let content = operation["requestBody"]["content"].as_object();
    let body = match content.and_then(|content| content.iter().next()) {
        None => String::new(),
        Some((kind, content)) => {
            let example = resolved(&content["schema"])["examples"][0].clone();
            assert!(example.is_object(), "{endpoint:?}: its request type needs an example");
            match kind.as_str() {
                "application/json" => example.to_string(),
                _ => url::form_urlencoded::Serializer::new(String::new())
                    .extend_pairs(example.as_object().unwrap().iter().map(|(k, v)| (k, v.as_str().unwrap())))
                    .finish(),
            }
        }
    };
    (path, body)
}

/// The status of the first request, and that of the same bytes sent again.
async fn cell(site: &Site, description: &Value, endpoint: &Endpoint, column: &str) -> (u16, u16) {
    // Refusals are counted by minute; each cell has its own.
    site.app.clock.advance(std::time::Duration::from_secs(61));
    let (path, body) = example(description, endpoint);
    let method = endpoint.method().as_str();
    let client = site.client();
    let person = match column {
        "nobody" | "signed key" => None,
        "bad signature" | "admin" => Some("admin"),
        "signed in" => Some("engineer"),
        other => Some(other),
    };
    if let Some(person) = person {
        people(site, person, std::slice::from_ref(&client.key)).await;
    }
    let headers = match column {
        "nobody" => Vec::new(),
        "bad signature" => client.headers(method, "/v1/other", &body),
        _ => client.headers(method, &path, &body),
    };
    let first = client.send(method, &path, &body, &headers).await.0.as_u16();
    // Every refusal of a permission is in the audit log.
    let audit = site.last_audit().await;
    let again = client.send(method, &path, &body, &headers).await.0.as_u16();
    if first == 401 || first == 403 {
        // A token is a credential too.
        let is_token = path.starts_with("/v1/certificates") && audit.contains("\"workload-token\"");
        let is_credential = first == 401 || is_token;
        assert!(
            audit.starts_with(if is_credential { "credential_refused " } else { "access_refused " }),
            "{audit}"
        );
    }
    (first, again)
}

#[tokio::test]
async fn endpoints_times_permissions() {
    let site = Site::start_with(EXTRA, "http").await;
    let description: Value = serde_json::from_str(openapi::text()).unwrap();
    let mut got = String::new();
    for endpoint in endpoints() {
        let permission = endpoint.permission();
        writeln!(got, "{} {} ({})", endpoint.method(), endpoint.path(), permission.as_str()).unwrap();
        for (column, has) in COLUMNS {
            let (status, again) = cell(&site, &description, endpoint, column).await;
            writeln!(got, "    {column}: {status}, again {again}").unwrap();
            let operation = format!("{} {}", endpoint.method(), endpoint.path());
            let once = endpoint.method() != "GET" && permission != Permission::Public;
            if once && status < 300 && !REPEATABLE.contains(&operation.as_str()) {
                assert_eq!(again, 409, "{operation} as {column} works twice");
            }
            // Whatever the snapshot says: who lacks the permission gets 401 or 403.
            if has < Some(permission) && permission != Permission::Public {
                let refused = if has >= Some(Permission::SignedIn) { 403 } else { 401 };
                assert_eq!(status, refused, "{endpoint:?} {column}");
            } else {
                assert!(status < 500, "{endpoint:?} {column}: {status}");
            }
        }
    }
    let path = root().join("tests/it/api/permissions.txt");
    if std::env::var_os("CAPONIER_WRITE_SNAPSHOT").is_some() {
        std::fs::write(&path, &got).unwrap();
    }
    let held = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = got.lines().zip(held.lines()).find(|(got, held)| got != held);
    assert!(got == held, "the table has changed, first here (now, before): {differs:#?}\n{got}");
}

/// Whether this client, at this moment, proves `P`.
async fn proves<P: Proof>(site: &Site, client: &Client<'_>) -> bool {
    let headers = client.headers("GET", "/v1/everything?x=1", "");
    let header = |name: &str| headers.iter().find(|(known, _)| *known == name).unwrap().1.as_str();
    let request = Request {
        method: "GET",
        path_and_query: "/v1/everything?x=1",
        shown: Shown {
            key: header("caponier-key"),
            time: header("caponier-time"),
            nonce: header("caponier-nonce"),
            signature: header("caponier-signature"),
        },
        body: b"",
        from: [127, 0, 0, 1].into(),
    };
    P::of(&site.app, request).await.is_ok()
}

#[tokio::test]
async fn who_has_which_permission() {
    let site = Site::start_with(EXTRA, "http").await;
    let rows = [
        ("", [true, true, false, false, false]),
        ("engineer", [true, true, true, false, false]),
        ("auditor", [true, true, true, true, false]),
        ("admin", [true, true, true, true, true]),
    ];
    for (person, expect) in rows {
        let client = site.client();
        if !person.is_empty() {
            people(&site, person, std::slice::from_ref(&client.key)).await;
        }
        let has = [
            proves::<Anybody>(&site, &client).await,
            proves::<SignedBy>(&site, &client).await,
            proves::<SignedIn>(&site, &client).await,
            proves::<Auditor>(&site, &client).await,
            proves::<Admin>(&site, &client).await,
        ];
        assert_eq!(has, expect, "{person:?}");
        // A permission ends with the sign-in.
        assert_eq!(client.call("DELETE", "/v1/sign-in", &Value::Null).await.0 == 204, !person.is_empty());
        assert!(!proves::<SignedIn>(&site, &client).await && !proves::<Auditor>(&site, &client).await);
        assert!(!proves::<Admin>(&site, &client).await, "{person:?}");
    }
    // By default nobody is admin or auditor.
    let site = Site::start().await;
    let client = site.client();
    people(&site, "admin", std::slice::from_ref(&client.key)).await;
    assert!(!proves::<Auditor>(&site, &client).await && !proves::<Admin>(&site, &client).await);
}

#[tokio::test]
async fn who_lacks_a_permission_is_in_the_audit_log_and_does_not_fill_it() {
    let site = Site::start_with(EXTRA, "http").await;
    let client = site.client();
    people(&site, "auditor", std::slice::from_ref(&client.key)).await;
    assert!(!proves::<Admin>(&site, &client).await);
    let last = site.last_audit().await;
    assert!(last.starts_with("access_refused ") && last.contains("corp:auditor is no admin"), "{last}");
    assert!(last.contains("GET /v1/everything\""), "no query: it is the caller's text: {last}");
    for _ in 0..100 {
        assert!(!proves::<Admin>(&site, &client).await);
    }
    let refused = async || site.audit().await.iter().filter(|one| one.starts_with("access_refused ")).count();
    assert_eq!(refused().await, 60);
    site.app.clock.advance(std::time::Duration::from_secs(1));
    assert!(!proves::<Admin>(&site, &client).await);
    assert!(site.last_audit().await.contains("(41 more were refused before)"));
}
