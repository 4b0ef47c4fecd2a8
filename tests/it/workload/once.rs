//! A token counts once: at the same moment, at another server of the same database, and after a restart.

use std::collections::BTreeMap;
use std::sync::Arc;

use caponier::app::App;
use caponier::flow::exchange::{ExchangeRefused, Shown, exchange};
use caponier::flow::issue::Wish;
use caponier::flow::recognise::{Request, SignedBy, recognise_request};
use caponier::identity::proof::{HEADER_KEY, HEADER_NONCE, HEADER_SIGNATURE, HEADER_TIME, Shown as Proof};
use caponier::store::Store;
use futures_util::future::join_all;

use super::{Ci, Client};
use crate::postgres;
use crate::store::doom;

/// The signature of a request by this client, as the server `app` judges it.
async fn signed(app: &App, client: &Client<'_>) -> SignedBy {
    signed_at(app, client, "127.0.0.1").await
}

/// The same, come from this address.
async fn signed_at(app: &App, client: &Client<'_>, from: &str) -> SignedBy {
    let headers: BTreeMap<&str, String> =
        client.headers("POST", "/v1/certificates", "").into_iter().collect();
    let request = Request {
        method: "POST",
        path_and_query: "/v1/certificates",
        shown: Proof {
            key: &headers[HEADER_KEY],
            time: &headers[HEADER_TIME],
            nonce: &headers[HEADER_NONCE],
            signature: &headers[HEADER_SIGNATURE],
        },
        body: b"",
        from: from.parse().unwrap(),
    };
    recognise_request(app, request).await.unwrap()
}

/// Another server of the same database, as after a restart: it remembers nothing.
async fn another(ci: &Ci) -> App {
    let store = Store::open(ci.site.app.config.store_url.expose()).await.unwrap();
    App { store, desk: Arc::default(), node: "other".into(), ..ci.site.app.clone() }
}

async fn shown_to(app: &App, client: &Client<'_>, token: &str) -> Result<(), &'static str> {
    let signed = signed(app, client).await;
    let done = exchange(app, &signed, &Shown::Token(token.to_owned()), &Wish::default()).await;
    done.map(drop).map_err(|refused| refused.code().unwrap_or("broken"))
}

/// Twenty at once at two servers, with one key and with a key each.
async fn race(ci: &Ci) {
    let other = another(ci).await;
    let client = ci.site.client();
    let token = ci.github.mint(&ci.claims(&client, &[]));
    let tries = (0..20).map(|n| shown_to(if n % 2 == 0 { &ci.site.app } else { &other }, &client, &token));
    let answers = join_all(tries).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
    assert!(answers.iter().all(|answer| matches!(answer, Ok(()) | Err("used" | "key-used"))), "{answers:?}");

    let clients: Vec<Client<'_>> = (0..20).map(|_| ci.site.client()).collect();
    let token = ci.gitlab.mint(&ci.gitlab.gitlab(&ci.own()));
    let tries = clients.iter().enumerate();
    let tries =
        tries.map(|(n, client)| shown_to(if n % 2 == 0 { &ci.site.app } else { &other }, client, &token));
    let answers = join_all(tries).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
    assert!(answers.iter().all(|answer| matches!(answer, Ok(()) | Err("used"))), "{answers:?}");

    // A server that was started anew knows it as well, for as long as the token could be believed.
    let restarted = another(ci).await;
    assert_eq!(shown_to(&restarted, &ci.site.client(), &token).await, Err("used"));
    ci.site.app.store.sweep(ci.clock.now()).await.unwrap();
    assert_eq!(shown_to(&restarted, &ci.site.client(), &token).await, Err("used"));
    let live = ci.site.app.store.sign_ins(ci.clock.now()).await.unwrap();
    assert_eq!(live.len(), 2);
}

#[tokio::test]
async fn a_token_counts_once_on_sqlite() {
    race(&Ci::start().await).await;
}

#[tokio::test]
async fn a_token_counts_once_on_postgresql() {
    let cluster = postgres::start();
    race(&Ci::start_on(&cluster.fresh_database()).await).await;
}

#[tokio::test]
async fn a_key_has_one_run() {
    let ci = Ci::start().await;
    let (client, _) = ci.signed_in(&[]).await;
    let (status, answer) = ci.show(&client, &[]).await;
    assert_eq!((status, answer["error"]["code"].as_str()), (409, Some("key-used")), "{answer}");
    // Nor does it have another when that is over.
    let (status, _) = client.call("POST", "/v1/runs/done", &serde_json::Value::Null).await;
    assert_eq!(status, 204);
    let (status, answer) = ci.show(&client, &[]).await;
    assert_eq!((status, answer["error"]["code"].as_str()), (409, Some("key-used")), "{answer}");
    // A person's key is not taken for a job either.
    let person = ci.site.client();
    person.login("engineer").await;
    let (status, answer) = ci.show(&person, &[]).await;
    assert_eq!((status, answer["error"]["code"].as_str()), (409, Some("key-used")), "{answer}");
    assert_eq!(person.call("GET", "/v1/sign-in", &serde_json::Value::Null).await.0, 200);
}

/// Else a job would give up, or make another key, for a run that is not there.
#[tokio::test]
async fn that_something_was_used_before_is_said_when_that_is_written() {
    let (ci, from) = (Ci::start().await, "203.0.113.9");
    let (app, wish) = (&ci.site.app, Wish::default());
    let _keys_are_known = ci.signed_in(&[]).await;
    // A refusal that is written down would wait for the batch by itself.
    let (stranger, nothing) = (ci.site.client(), Shown::Token("x".to_owned()));
    let by = signed_at(app, &stranger, from).await;
    for _ in 0..60 {
        exchange(app, &by, &nothing, &wish).await.unwrap_err();
    }
    assert!(matches!(exchange(app, &by, &nothing, &wish).await, Err(ExchangeRefused::Limit)));
    let mut shared = 0;
    // On a busy machine the batch may be too old for another member.
    for _ in 0..20 {
        let client = ci.site.client();
        let by = signed_at(app, &client, from).await;
        let token = Shown::Token(ci.github.mint(&ci.claims(&client, &[])));
        let until = ci.clock.now().plus(std::time::Duration::from_secs(900));
        let mut first = app.store.begin().await.unwrap();
        first.use_nonce(&client.fingerprint(), "(exchange)", until).await.unwrap();
        let (second, ()) = tokio::join!(exchange(app, &by, &token, &wish), doom(first));
        match second {
            Err(ExchangeRefused::Store(_)) => shared += 1,
            other => assert!(other.is_ok(), "{other:?}"),
        }
    }
    assert!(shared > 0, "never in one batch");
}
